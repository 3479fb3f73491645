"""What every cell of Steps should show, how exactly, and which other inputs a formula is to be tried on.

Two formulas that agree on one batch need not be the same, so the other inputs are made to tell apart what a slip confuses:
another row, another class, the label and the largest logit, a number and the ε that it was made with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelsmooth.maths.case import Chain, leaves
from labelsmooth.maths.evaluate import Array
from labelsmooth.maths.expr import Const, Expr
from labelsmooth.maths.printers import NO_INFINITY
from labelsmooth.workbook.book import Book

TOLERANCE = 1e-12  # relative to the largest number that enters a cell, above 1
MOST_DIGITS = 6
GOLDEN = 0.6180339887498949


class Slot(NamedTuple):
    """A cell of Steps that must hold a formula."""

    word: str
    n: int
    k: int
    cell: str
    formula: str  # with its =; empty where any formula will do that gives the number


@dataclass(frozen=True)
class Numbers:
    """What every cell should show, how exactly, and in which rows float64 has no number somewhere before it."""

    values: Mapping[str, Array]
    scales: Mapping[str, Array]
    undefined: Mapping[str, NDArray[np.bool_]]

    def right(self, slot: Slot, got: object) -> bool:
        """Whether a cell shows its number; where float64 leaves the numbers, an error is right too."""
        want, scale = float(self.values[slot.word][slot.n, slot.k]), self.scales[slot.word]
        if isinstance(got, str):
            return got.startswith("#") and self.may_be_an_error(slot)
        if isinstance(got, bool) or not isinstance(got, int | float):
            return False
        if np.isinf(want):
            return bool(np.sign(want) * got >= float(NO_INFINITY))
        return abs(got - want) <= TOLERANCE * float(scale[slot.n if len(scale) > 1 else 0])

    def may_be_an_error(self, slot: Slot) -> bool:
        """Whether a spreadsheet may show an error in a cell: EXP overflows there, or before it."""
        rows = self.undefined[slot.word]
        return bool(rows[slot.n if len(rows) > 1 else 0])


def numbers(chain: Chain, values: Mapping[str, Array]) -> Numbers:
    """The values of a chain; each is compared relative to what its formula takes in, since a difference cancels."""
    size = {word: np.where(np.isfinite(x), np.abs(x), 0.0).max(axis=1) for word, x in values.items()}
    scales = {word: np.maximum(1.0, size[word]) for word in values}
    undefined = {word: np.zeros(len(x), bool) for word, x in values.items()}
    for step in chain.steps:
        if not _has_infinity(step.formula):  # a sheet writes that one as a large number
            undefined[step.word] |= ~np.isfinite(values[step.word]).all(axis=1)
        for leaf in leaves(step.formula):
            along = "n" in leaf.axes and "n" in step.axes
            scales[step.word] = np.maximum(scales[step.word], size[leaf.word] if along else size[leaf.word].max())
            undefined[step.word] = undefined[step.word] | (
                undefined[leaf.word] if along else undefined[leaf.word].any()
            )
    return Numbers(values, scales, undefined)


def _has_infinity(x: Expr | None) -> bool:
    if isinstance(x, Const):
        return bool(np.isinf(x.value))
    return x is not None and any(_has_infinity(arg) for arg in x.args)


def other_inputs(book: Book) -> Iterator[dict[str, Array]]:
    """Other inputs of the same case, round by round; masks stay as they are.

    A row's label in round r is digit r of the row's number to the base K, so that any two rows differ in some round; then
    there is a round in which every label is another than now, and where rows can be ignored, two in which every second row
    changes sides. Logits change their order from one round to the next.
    """
    digits = 1
    while book.classes**digits < book.rows and digits < MOST_DIGITS:
        digits += 1
    for number in range(digits + (3 if book.problem.case.ignored else 1)):
        out = {}
        turned = np.arange(book.rows) % 2 == number - digits - 1  # rows that are ignored if they were not, and back
        for x in book.chain.inputs:
            now = np.array(book.values[x.word])
            noise = np.modf(np.arange(1, now.size + 1) * GOLDEN * (number // 2 + 1) + 0.37)[0].reshape(now.shape)
            if x.word == "logits":
                out[x.word] = np.where(np.isfinite(now), (6 * noise - 3) * (-1) ** number, now)
            elif x.word == "epsilon":
                out[x.word] = 0.05 + 0.9 * np.modf(noise + number * GOLDEN)[0]
            elif x.word in ("soft_label", "prior"):
                out[x.word] = now * (0.5 + noise) / (now * (0.5 + noise)).sum(axis=1, keepdims=True)
            elif x.word == "class_weight":
                out[x.word] = now * (0.5 + noise)
            elif x.word == "keep":
                out[x.word] = np.where(turned[:, None], 1 - now, now)
            elif x.word == "label":
                labels = [
                    _label(book, n, number if number < digits else None, bool(turned[n])) for n in range(book.rows)
                ]
                out[x.word] = np.array(labels)[:, None]
        yield out


def _label(book: Book, n: int, digit: int | None, turned: bool) -> float:
    """A label for row n: a digit of its number, or the one after the present label, or that of an ignored row."""
    now: float = book.values["label"][n, 0]
    spared: Any = book.values["ignore_index"][0, 0] if "ignore_index" in book.chain else None
    if (now == spared) != turned:
        return now if now == spared else float(spared)
    allowed = book.values["allowed"] if book.problem.case.mask else np.ones((1, book.classes))
    free = [k for k in range(book.classes) if allowed[n if len(allowed) > 1 else 0, k] and k != spared]
    if not free:
        return now
    after = free.index(int(now)) + 1 if now in free else n
    return float(free[(after if digit is None else n // len(free) ** digit) % len(free)])
