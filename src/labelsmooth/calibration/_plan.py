"""What the study trains: the groups of runs, each a data set, a recipe, values of ε and seeds.

A group is a question. Within one everything is equal but ε and the seed, so that runs of the same seed are compared in pairs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ._training import Recipe

RECIPE = 1  # raised when what a run does changes, so that older files are not taken for its result
EPSILONS = (0.0, 0.05, 0.1, 0.2)
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Group:
    """Runs that differ in ε and seed only."""

    name: str
    data: str
    words: str  # what is trained, for tables
    recipe: Recipe
    train: int  # rows
    seconds: float  # of one core a run, for the progress bar
    seeds: int = 5
    epsilons: tuple[float, ...] = EPSILONS
    noise: float = 0.0  # share of wrong training labels
    student: Recipe | None = None  # learns from the trained network, on other rows
    transfer: int = 0  # how many


@dataclass(frozen=True)
class Run:
    """One training."""

    group: Group
    label_smoothing: float
    seed: int

    @property
    def recipe(self) -> Recipe:
        """How this run is trained."""
        return replace(self.group.recipe, label_smoothing=self.label_smoothing)

    def settings(self) -> dict[str, Any]:
        """Everything that its result depends on; words and estimates do not count."""
        told = asdict(self.group)
        for word in ("words", "seconds", "seeds", "epsilons"):
            told.pop(word)
        return told | {"label_smoothing": self.label_smoothing, "seed": self.seed, "version": RECIPE}

    def digest(self) -> str:
        """Eight hexadecimal digits of the settings."""
        return hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """The name of its file, without the ending.

        >>> Run(GROUPS["digits"], 0.1, 3).name[:-8]
        'digits-eps0.1-seed3-'
        """
        return f"{self.group.name}-eps{self.label_smoothing:g}-seed{self.seed}-{self.digest()}"


_MLP = Recipe("mlp", epochs=40)
_GROUPS = (
    Group("fashion", "fashion", "10,000 images, MLP, over-fitted", _MLP, 10_000, 12.0),
    Group("fashion-noise", "fashion", "the same, 20% of the labels wrong", _MLP, 10_000, 12.0, noise=0.2),
    Group(
        "fashion-cnn", "fashion", "10,000 images, CNN, not over-fitted", Recipe("cnn", epochs=12), 10_000, 11.0, seeds=3
    ),
    Group("fashion-few", "fashion", "500 images, MLP", Recipe("mlp", epochs=100, batch=32), 500, 4.0),
    Group(
        "fashion-mixup",
        "fashion",
        "10,000 images, MLP, mixup 0.2",
        replace(_MLP, mixup=0.2),
        10_000,
        14.0,
        seeds=3,
        epsilons=(0.0, 0.1),
    ),
    Group(
        "fashion-distil",
        "fashion",
        "MLP teaches a smaller one on 4,000 other images",
        replace(_MLP, epochs=20),
        10_000,
        14.0,
        seeds=3,
        epsilons=(0.0, 0.1),
        student=Recipe("student", epochs=20),
        transfer=4_000,
    ),
    Group("digits", "digits", "300 images, MLP", Recipe("small", epochs=60, batch=32, rate=1e-3), 300, 0.6, seeds=10),
    Group("names", "names", "50,000 names, bag of pieces", Recipe("bag", epochs=6, rate=5e-3), 50_000, 17.0, seeds=3),
)
GROUPS = {group.name: group for group in _GROUPS}


def plan(
    sets: Sequence[str],
    *,
    seeds: int | None = None,
    epsilons: Sequence[float] | None = None,
    epochs: int | None = None,
) -> list[Run]:
    """Lists the runs, those of a seed together, so that what is interrupted has whole comparisons.

    Args:
        sets: names of data sets.
        seeds: how many seeds in place of each group's own number.
        epsilons: in place of each group's own; 0, which all are compared with, is always among them.
        epochs: in place of each recipe's own.

    Example:
        >>> runs = plan(["digits"], seeds=2, epsilons=[0.1])
        >>> [(run.label_smoothing, run.seed) for run in runs]
        [(0.0, 0), (0.1, 0), (0.0, 1), (0.1, 1)]
    """
    groups = [_changed(group, seeds, epsilons, epochs) for group in _GROUPS if group.data in sets]
    most = max((group.seeds for group in groups), default=0)
    return [run for seed in range(most) for group in groups if seed < group.seeds for run in _of_seed(group, seed)]


def _of_seed(group: Group, seed: int) -> Iterator[Run]:
    for epsilon in group.epsilons:
        yield Run(group, epsilon, seed)


def _changed(group: Group, seeds: int | None, epsilons: Sequence[float] | None, epochs: int | None) -> Group:
    if seeds is not None:
        group = replace(group, seeds=seeds)
    if epsilons is not None:
        group = replace(group, epsilons=tuple(sorted({0.0, *map(float, epsilons)})))
    if epochs is not None:
        student = group.student and replace(group.student, epochs=epochs)
        group = replace(group, recipe=replace(group.recipe, epochs=epochs), student=student)
    return group
