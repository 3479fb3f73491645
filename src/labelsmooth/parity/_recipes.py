"""A recipe is a way to arrive at a loss; a cause is a departure from the recipe that one believes in.

Both are data. A `Cause` names the fields of a `Recipe` that it changes and says in words what happened, so causes compose by
changing different fields, and what composes is decided here and not by code that knows a cause by name. The targets and the
meanings of class weights are the rows of `maths/conventions.py`: a new row there is a new cause here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import combinations
from typing import Any

from labelsmooth.maths.conventions import ALL, FAMILIES, NEIGHBOURS

PER_ROW, MEAN, SUM = "none", "mean", "sum"
ROUND_EPSILONS = (0.1, 0.0, 0.05, 0.2, 0.15, 0.25, 0.3, 0.4, 0.5, 0.01, 0.02, 0.125)
ROUND_TEMPERATURES = (2.0, 0.5, 4.0, 10.0, 0.1)
SIGMOID_MEAN, SIGMOID_SUM = "sigmoid, mean", "sigmoid, sum"


@dataclass(frozen=True)
class Recipe:
    """Every choice on the way from logits and labels to a number; the defaults are those of the paper."""

    scores: str = "log-softmax"  # a name of `_views.SCORES`
    temperature: float = 1.0
    labels: str = "given"
    family: str = "uniform"
    link: str = "softmax"
    padding: int = -1  # the class that gets no mass, for the families that leave one out
    epsilon: float = 0.1
    divergence: str = "ce"  # "ce", "kl", "swapped" or "reverse"
    prior: str = "given"  # or "uniform": the given prior is not used
    weighting: str = ""  # a name of WEIGHTINGS, or "" for no class weights
    rows: str = "dropped"  # what becomes of ignored rows
    base: float = 1.0  # what the natural logarithm is multiplied by
    sign: int = 1
    divisor: str = MEAN

    def makes_sense(self) -> bool:
        """Whether the choices can meet in one program."""
        if self.link != "softmax":
            plain = self.scores in ("log-softmax", "softmax twice") and self.divergence == "ce"
            return plain and self.weighting in ("", "label", "label/N")
        if self.family == "gaussian":
            return self.divergence == "ce" and not self.weighting and self.epsilon < 1
        if self.divergence != "ce" and self.weighting:
            return False
        if self.divergence in ("swapped", "reverse"):
            return self.scores in ("log-softmax", "softmax twice", "softmax over rows") and self.epsilon > 0
        return True


RECIPE_FIELDS = frozenset(f.name for f in fields(Recipe))


@dataclass(frozen=True)
class Cause:
    """One departure: the fields it changes, what happened, what to do, and how to say it to users of one framework."""

    name: str
    changes: Mapping[str, Any]
    says: str
    fix: str
    words: Mapping[str, str] = field(default_factory=dict)
    found: bool = False  # a value of ε or of the temperature that the numbers asked for

    def __post_init__(self) -> None:
        """Refuse a field that no recipe has."""
        if unknown := set(self.changes) - RECIPE_FIELDS:
            raise ValueError(f"the cause {self.name!r} changes {sorted(unknown)}, which a recipe does not have")

    def __hash__(self) -> int:
        """A cause is known by its name."""
        return hash(self.name)


@dataclass(frozen=True)
class Hypothesis:
    """A recipe, and the causes that lead to it from the recipe one believes in."""

    recipe: Recipe
    causes: tuple[Cause, ...] = ()
    solved: str = ""  # "epsilon" or "temperature" where that was solved for

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its causes."""
        return tuple(cause.name for cause in self.causes)


@dataclass(frozen=True)
class Facts:
    """What decides which causes are possible at all."""

    rows: int
    classes: int
    labels: frozenset[int]  # class numbers that occur; empty for soft labels
    soft: bool = False
    per_row: bool = True
    ignored: bool = False
    weighted: bool = False
    prior: bool = False
    ignore_index: int = -100
    sequences: int = 0  # how many sequences the rows come from, 0 where nobody said
    sorted_differs: bool = False  # class names that would stand elsewhere in alphabetical order
    overflows: bool = False  # a sum of log-probabilities is beyond float16


def hypotheses(
    base: Recipe, causes: Sequence[Cause], *, epsilons: Iterable[float] = (), most: int = 2
) -> Iterator[Hypothesis]:
    """The recipe itself, every single cause and every pair that can meet; at each of `epsilons` where ε is open."""
    for count in range(most + 1):
        for chosen in combinations(causes, count):
            changed: dict[str, Any] = {}
            for cause in chosen:
                if changed.keys() & cause.changes.keys():
                    break
                changed |= cause.changes
            else:
                recipe = replace(base, **changed)
                for epsilon in list(epsilons) or [recipe.epsilon]:
                    at = recipe if epsilon == recipe.epsilon else replace(recipe, epsilon=epsilon)
                    if at.makes_sense():
                        yield Hypothesis(at, chosen)


def takes_prior(family: str) -> bool:
    """Whether a target spreads ε over a prior that is given."""
    return FAMILIES[family].over == ALL and "prior" in FAMILIES[family].accepts


def is_gaussian(family: str) -> bool:
    """Whether a target depends on the distance from the label."""
    return FAMILIES[family].over == NEIGHBOURS
