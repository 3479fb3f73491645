"""The batches that several tests share: published ones with published numbers, and one of every kind the chain knows.

`examples` is the net that laws and printers are held against: for a family and a meaning of class weights it gives a
batch for everything the family says it accepts. The numbers are drawn from a seed made of the example's name, so that a
failure can be repeated by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from labelsmooth.maths.case import Case, Chain
from labelsmooth.maths.conventions import FAMILIES, NOT_PADDING, WEIGHTINGS, Family
from labelsmooth.maths.steps import chain
from labelsmooth.maths.trace import Trace, prepare

# The worked examples of "Label Smoothing Explained using Microsoft Excel" (2020) ---------------------------------------

TWO_CLASSES = [[4.2, -2.4], [1.6, -0.6], [3.6, 1.2], [-0.5, 0.5], [-0.25, 1.7]]
TWO_LABELS = [0, 1, 1, 0, 0]
TWO_LOSSES = [0.331359444, 2.19508332, 2.366836152, 1.263261688, 1.985521075]
TWO_PRINTED = ["0.3314", "2.1951", "2.3668", "1.2633", "1.9855"]

FIVE_CLASSES = [
    [4.7, -2.5, 0.6, 1.2, 0.4],
    [-1.2, 2.4, 2.6, -0.6, 2.34],
    [-2.4, 1.2, 1.1, 0.8, 1.2],
    [1.2, 0.2, 0.8, 1.9, -0.6],
    [-0.9, -0.1, -0.2, -0.5, 1.6],
]
FIVE_LABELS = [0, 1, 2, 3, 4]
FIVE_LOSSES = [0.44129216, 1.30485915, 1.45362283, 0.85918351, 0.60188189]

# The batch on which the other frameworks were run: two rows, class weights 1 to 5, ε = 0.1 -----------------------------

LOGITS = [[2.0, 1.0, 0.0, -1.0, -2.0], [0.5, 0.1, -0.3, 1.2, 0.0]]
LABELS = [0, 3]
WEIGHT = [1.0, 2.0, 3.0, 4.0, 5.0]

SOFTMAX_FAMILIES = [name for name, family in FAMILIES.items() if family.link == "softmax"]
MEANINGS = ["", "kl", *WEIGHTINGS]  # how a row is charged: plainly, as KL, or by one meaning of class weights

ROWS, CLASSES = 4, 5


QUICK_MEANINGS = {"", "label"}  # what `make check` runs of them, where all would take seconds


def slow_except(quick: Iterable[Any], values: Iterable[Any]) -> list[Any]:
    """Give the parameters of a test of which `make check` runs the quick ones and `make test` all."""
    few = {str(value) for value in quick}
    return [pytest.param(v, id=str(v) or "unweighted", marks=() if str(v) in few else pytest.mark.slow) for v in values]


def one_in(every: int, values: Iterable[Any]) -> list[Any]:
    """Give the parameters of a test of which `make check` runs the first and every so many after it."""
    rows = (value if isinstance(value, tuple) else (value,) for value in values)
    return [pytest.param(*row, marks=pytest.mark.slow if i % every else ()) for i, row in enumerate(rows)]


@dataclass(frozen=True)
class Example:
    """A batch with everything that `trace` takes, and the divergence, which `trace` takes from a framework only."""

    name: str
    logits: Any
    labels: Any
    label_smoothing: Any = 0.1
    kl: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    @property
    def soft(self) -> bool:
        return np.ndim(self.labels) == 2

    @property
    def family(self) -> Family:
        return FAMILIES[self.options["convention"]]

    def case(self, **changes: Any) -> Case:
        return self.trace(**changes).chain.case

    def trace(self, chain_of: Any = chain, **changes: Any) -> Trace:
        given = {"logits": self.logits, "labels": self.labels, "label_smoothing": self.label_smoothing}
        problem = prepare(**{**given, **self.options, **changes})
        if self.kl:
            problem = replace(problem, case=replace(problem.case, divergence="kl"))
        steps: Chain = chain_of(problem.case)
        return Trace(problem, steps)

    def with_options(self, **options: Any) -> Example:
        return replace(self, options={**self.options, **options})


def examples(family: Family, meaning: str) -> Iterator[Example]:
    """One batch for each thing that the family accepts, and for what every family takes."""
    if meaning == "kl" and "sums to one" not in family.laws:
        return
    yield _example(family, meaning, "plain")
    yield _example(family, meaning, "one smoothing a row")
    yield _example(family, meaning, "ignored row")
    if "prior" in family.accepts:
        yield _example(family, meaning, "prior")
        yield _example(family, meaning, "prior a row")
    if "soft" in family.accepts:
        yield _example(family, meaning, "soft")
        yield _example(family, meaning, "soft, ignored row")
    if "mask" in family.accepts:
        yield _example(family, meaning, "mask")
        yield _example(family, meaning, "mask a row, prior")
    if {"soft", "prior", "mask"} <= family.accepts:
        yield _example(family, meaning, "soft, one smoothing a row, prior a row, mask, ignored row")


def all_examples() -> Iterator[Example]:
    for family in SOFTMAX_FAMILIES:
        for meaning in MEANINGS:
            yield from examples(FAMILIES[family], meaning)


def _example(family: Family, meaning: str, kind: str) -> Example:
    name = f"{family.name}, {meaning or 'unweighted'}, {kind}"
    random = np.random.default_rng(crc32(name.encode()))
    logits = random.normal(size=(ROWS, CLASSES)) * 2
    padding = CLASSES - 1 if family.over == NOT_PADDING else -100
    labels: Any = random.integers(0, CLASSES - 1, ROWS)
    options: dict[str, Any] = {"convention": family.name, "ignore_index": padding}
    if meaning in WEIGHTINGS:
        options |= {"weight": random.uniform(0.5, 3, CLASSES), "weighting": meaning}
    if "prior" in kind:
        options["prior"] = random.dirichlet(np.ones(CLASSES), ROWS if "prior a row" in kind else None)
    if "soft" in kind:
        labels = random.dirichlet(np.ones(CLASSES), ROWS)
    if "mask" in kind:
        allowed = np.ones((ROWS, CLASSES) if "mask a row" in kind else CLASSES)
        allowed[..., CLASSES - 1] = 0
        if allowed.ndim == 2:
            allowed[np.arange(ROWS - 1), (labels[1:] + 1) % (CLASSES - 1)] = 0
            allowed[np.arange(ROWS), labels] = 1
        options["class_mask"] = allowed
        logits[np.broadcast_to(allowed, logits.shape) == 0] = -np.inf
        if labels.ndim == 2:
            labels = labels * allowed / (labels * allowed).sum(axis=1, keepdims=True)
    if "ignored" in kind:
        logits[2] = np.nan
        if labels.ndim == 2:
            options["keep"] = [1, 1, 0, 1]
        else:
            labels[2] = padding
    epsilon = np.array([0.0, 0.1, 0.3, 0.45]) if "smoothing" in kind else 0.1
    return Example(name, logits, labels, epsilon, meaning == "kl", options)
