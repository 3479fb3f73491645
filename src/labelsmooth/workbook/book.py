"""What goes into one workbook, before any file format: the problem, its chain in numbers, and where everything stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from labelsmooth.maths.case import Chain
from labelsmooth.maths.compact import compact_chain
from labelsmooth.maths.evaluate import Array, evaluate
from labelsmooth.maths.steps import chain
from labelsmooth.maths.trace import Problem

from .layout import FIRST_CLASS, MAX_COLUMNS, MAX_ROWS, Layout, Place, plan

FULL_LIMIT, FORMULA_LIMIT = 50_000, 500_000
MARKS = 2  # columns to the right of everything, where a student's copy marks the rows
TOP = 6  # rows above the first block: title, ε, K, N, class numbers
SCALARS = {"epsilon": 1, "n_classes": 2, "n_rows": 3}  # rows of the single inputs in the head
SHOWN = {"loss": Place("Steps", 1, 4, ""), "loss_floor": Place("Steps", 2, 4, "")}  # the head repeats these results


@dataclass(frozen=True)
class TorchRows:
    """PyTorch's own numbers for this batch; the loss is keep(ε)·label_loss + spread(ε)·prior_loss at any ε."""

    version: str
    how: str  # the code that made them, as text
    label_loss: NDArray[np.float64]  # (N,) H(q,p): the loss at ε = 0
    prior_loss: NDArray[np.float64]  # (N,) H(v,p): the loss at ε = 1 in the paper's convention
    row_loss: NDArray[np.float64]  # (N,) float64, at the ε the file was made with
    row_loss_single: NDArray[np.float64]  # (N,) the same in float32
    largest_gradient_gap: float  # largest |gradient difference| to the chain, float64


@dataclass(frozen=True)
class Book:
    """One workbook's content."""

    problem: Problem
    layout: Layout
    values: Mapping[str, Array]
    kind: str  # "full" or "compact"
    torch: TorchRows | None = None
    source: str = ""
    replaced: str = ""  # says what was put in place of non-finite logits

    @property
    def chain(self) -> Chain:
        """The steps on the sheet."""
        return self.layout.chain

    @property
    def rows(self) -> int:
        """N."""
        return self.layout.rows

    @property
    def classes(self) -> int:
        """K."""
        return self.layout.classes

    @property
    def linear(self) -> bool:
        """Whether a row's loss is keep(ε)·H(q,p) + spread(ε)·H(v,p) with one ε for all rows."""
        case = self.problem.case
        return not case.smoothing and (case.weighting is None or case.weighting.charge != "expected")

    @property
    def fingerprint(self) -> dict[str, float]:
        """One number for each input, by which a reader of the file knows that the input was changed.

        A single number stands for itself; of many, a sum whose weights have no pattern, so that exchanging two shows too.
        """
        out = {}
        for x in self.chain.inputs:
            if x.word not in ("class_index", "n_classes", "n_rows"):
                numbers = np.nan_to_num(self.values[x.word].ravel(), posinf=0.0, neginf=0.0)
                weights = 0.5 + np.modf(np.arange(1, numbers.size + 1) * 0.6180339887498949)[0]
                out[x.word] = float(numbers @ weights if numbers.size > 1 else numbers[0])
        return out


def make_book(
    problem: Problem, *, layout: str = "auto", torch: TorchRows | None = None, source: str = "", replaced: str = ""
) -> Book:
    """Choose the layout, place every step and evaluate it.

    Raises:
        ValueError: the batch does not fit the grid or the limit on formulas, or the compact layout cannot hold the case.
    """
    if layout not in ("auto", "full", "compact"):
        raise ValueError(f"layout must be 'auto', 'full' or 'compact', got {layout!r}")
    problem, uncounted = _filled(problem)
    rows, classes = problem.given["logits"].shape
    kind = layout
    placed = place_chain(chain(problem.case), rows, classes)
    if layout == "auto":
        kind = "full" if placed.formulas <= FULL_LIMIT else "compact"
    if kind == "compact":
        placed = place_chain(compact_chain(problem.case), rows, classes)
    if placed.formulas > FORMULA_LIMIT:
        raise ValueError(
            f"{rows:,} rows of {classes:,} classes need {placed.formulas:,} formulas, the limit is {FORMULA_LIMIT:,}: "
            "take fewer (--rows)"
        )
    if placed.end >= MAX_ROWS or placed.width + MARKS > MAX_COLUMNS:
        raise ValueError(
            f"{rows:,} rows of {classes:,} classes need {placed.end:,} rows and {placed.width:,} columns; "
            f"a sheet has {MAX_ROWS:,} and {MAX_COLUMNS:,}"
        )
    values = evaluate(placed.chain, problem.given)
    if not all(np.isfinite(values[word]).all() for word in ("row_loss", "loss") if word in values):
        raise ValueError(
            f"the loss is {values.get('loss', values['row_loss']).max():g}, which no cell can hold: "
            "no row counts, their weights sum to 0, or the logits are too large"
        )
    return Book(problem, placed, values, kind, torch, source, " ".join(filter(None, (replaced, uncounted))))


def place_chain(steps: Chain, rows: int, classes: int) -> Layout:
    """Where a chain stands on the sheet Steps, below the head with its single inputs."""
    head = {word: Place("Steps", row, 1, "") for word, row in SCALARS.items()}
    given = {word: place for word, place in head.items() if word != "epsilon" or not steps.case.smoothing}
    if "ignore_index" in steps:
        given["ignore_index"] = Place("Steps", 3, 4, "")
    given["class_index"] = Place("Steps", TOP - 2, FIRST_CLASS, "k", 1, classes)
    return plan(steps, rows, classes, top=TOP, given=given)


def _filled(problem: Problem) -> tuple[Problem, str]:
    """Put 0 in place of non-finite logits in rows that do not count, and say so.

    A cell holds no NaN, and text would spoil the row's formulas. A masked class keeps its own: no formula reads it.
    """
    given = problem.given
    if not problem.case.ignored:
        return problem, ""
    idle = given["keep"] == 0 if "keep" in given else given["label"] == given["ignore_index"]
    free = np.broadcast_to(given.get("allowed", 1.0), given["logits"].shape) > 0
    bad = ~np.isfinite(given["logits"]) & idle[:, None] & free
    if not bad.any():
        return problem, ""
    filled = replace(problem, given={**given, "logits": np.where(bad, 0.0, given["logits"])})
    return filled, f"{int(bad.sum())} logits of rows that do not count were not finite; 0 stands in their place."


def finite(z: Array, replacement: float | None) -> tuple[Array, str]:
    """Put a finite number in place of non-finite logits, where that was asked for, and say so."""
    bad = ~np.isfinite(z)
    if replacement is None or not bad.any():
        return z, ""
    if not np.isfinite(replacement):
        raise ValueError(f"replace_nonfinite must be finite, got {replacement}")
    says = f"{int(bad.sum())} logits were not finite; {replacement:g} stands in their place."
    return np.where(bad, replacement, z), says
