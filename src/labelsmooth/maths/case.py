"""What a chain has to cover, the values it starts from, and the chain itself.

A `Case` is the only thing that decides which lines of `steps.py` there are. It refuses what its family does not declare, so
that no later file has to ask again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .conventions import FAMILIES, Family, Weighting
from .expr import Expr, Named, given

REDUCTIONS = ("mean", "sum", "none")


# What comes from outside ------------------------------------------------------------------------------------------------

z = given("logits", "z", "z", "nk", "the model's raw outputs, one a class")
y = given("label", "y", "y", "n", "class number of the right answer, 0 for the first class")
t = given("soft_label", "q", "q", "nk", "the label as a distribution over classes (mixup, distillation)")
j = given("class_index", "k", "k", "k", "number of the class, 0 for the first")
eps = given("epsilon", "ε", r"\varepsilon", "", "smoothing: the share of the label that is given away")
eps_row = given("epsilon", "ε", r"\varepsilon", "n", "smoothing of each row")
K = given("n_classes", "K", "K", "", "number of classes")
N = given("n_rows", "N", "N", "", "number of rows")
u = given("prior", "u", "u", "k", "the distribution that ε is spread over")
u_row = given("prior", "u", "u", "nk", "the distribution that ε is spread over, one a row")
w = given("class_weight", "w", "w", "k", "weight of each class")
allowed = given("allowed", "A", "A", "k", "1 for a class that may be predicted, 0 for a masked one")
allowed_row = given("allowed", "A", "A", "nk", "1 for a class that may be predicted, 0 for a masked one")
ignore = given("ignore_index", "i", "i", "", "the label that means: this row does not count")
count_row = given("keep", "κ", r"\kappa", "n", "1 for a row that counts, 0 for one that is ignored")
INPUTS = (eps, eps_row, K, N, ignore, j, y, t, count_row, u, u_row, w, allowed, allowed_row, z)


@dataclass(frozen=True)
class Case:
    """What a chain has to cover; every field that is off leaves its lines out."""

    family: Family = FAMILIES["uniform"]
    divergence: str = "ce"
    weighting: Weighting | None = None
    reduction: str = "mean"
    soft: bool = False  # the labels are distributions
    prior: str = ""  # axes of a given prior: "" for uniform, "k", or "nk" for one a row
    smoothing: str = ""  # axes of ε: "" or "n" for one a row
    mask: str = ""  # axes of a mask of allowed classes: "" for none, "k" or "nk"
    ignored: bool = False  # some rows do not count
    as_post: bool = False  # also show the exponentials that are not shifted

    def __post_init__(self) -> None:
        """Refuse what the family does not declare."""
        asked = {"prior": self.prior, "soft": self.soft, "mask": self.mask}
        for word, there in asked.items():
            if there and word not in self.family.accepts:
                what = {"prior": "a prior", "soft": "soft labels", "mask": "masked classes"}[word]
                raise ValueError(
                    f"the target {self.family.name!r} does not take {what}: use 'uniform' or 'renormalised'"
                )
        if self.reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {self.reduction!r}")
        if self.divergence not in ("ce", "kl"):
            raise ValueError(f"divergence must be 'ce' or 'kl', got {self.divergence!r}")
        if self.divergence == "kl" and (self.weighting or "sums to one" not in self.family.laws):
            raise ValueError(
                "KL is defined here for unweighted targets that sum to 1: drop the class weights or use CE"
            )

    @property
    def epsilon(self) -> Named:
        """The smoothing: one number, or one a row."""
        return eps_row if self.smoothing else eps

    @property
    def given_prior(self) -> Named | None:
        """The prior that was given, or None for 1/K."""
        return {"": None, "k": u, "nk": u_row}[self.prior]

    @property
    def allowed(self) -> Named | None:
        """The mask of classes that may be predicted, or None."""
        return {"": None, "k": allowed, "nk": allowed_row}[self.mask]

    @property
    def plain(self) -> bool:
        """Whether a row charges exactly its target, and the target sums to 1."""
        return self.weighting is None and "sums to one" in self.family.laws


@dataclass(frozen=True)
class Chain:
    """The steps of one case, in the order they are computed, and the values they start from."""

    case: Case
    steps: tuple[Named, ...]
    inputs: tuple[Named, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Collect what the steps refer to, and refuse a repeated word."""
        words = [s.word.lower() for s in self.steps]
        if len(set(words)) != len(words):
            raise ValueError(f"a word stands twice in the chain: {min(w for w in words if words.count(w) > 1)}")
        used = dict.fromkeys(leaf for s in self.steps for leaf in leaves(s.formula) if leaf not in self.steps)
        own = tuple(x for x in used if x not in INPUTS)
        object.__setattr__(self, "inputs", tuple(x for x in INPUTS if x in used) + own)

    def __getitem__(self, word: str) -> Named:
        """Look a step or an input up by its word."""
        for value in (*self.steps, *self.inputs):
            if value.word == word:
                return value
        raise KeyError(word)

    def __contains__(self, word: str) -> bool:
        """Whether this case has such a step or input."""
        return any(value.word == word for value in (*self.steps, *self.inputs))


def leaves(x: Expr | None) -> Iterator[Named]:
    """The named values that an expression refers to, left to right."""
    if isinstance(x, Named):
        yield x
    elif x is not None:
        for arg in x.args:
            yield from leaves(arg)
