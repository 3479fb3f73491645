"""The chain, a spreadsheet engine and PyTorch on the same batch: step by step, and a verdict.

The referee is the chain in float64. The spreadsheet is written, poisoned, recalculated and read back cell by cell; the
losses compute loss and gradient in float64 and float32. A row's loss under 'nll' weights carries the batch's factor in the
chain, since a sheet shows a mean as a sum of rows; implementations are then compared by the batch's loss and gradient.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelsmooth.maths.case import Case
from labelsmooth.maths.conventions import ALL, FAMILIES, NOT_PADDING, OTHERS
from labelsmooth.maths.printers import NO_INFINITY
from labelsmooth.maths.steps import chain
from labelsmooth.maths.trace import Problem, Trace, prepare
from labelsmooth.workbook.book import Book, TorchRows, make_book
from labelsmooth.workbook.recalc import Recalculation, recalculate
from labelsmooth.workbook.write import save

from .frameworks import Result, only_ours, torch_is_there, torch_ours, torch_own

Array = NDArray[np.float64]
TOLERANCE = {"float64": 1e-12, "float32": 2e-6}  # relative above 1; float32 sums over K classes round K times
SHEET_TOLERANCE = 1e-12


@dataclass(frozen=True)
class StepResult:
    """How far the sheet is from float64 in one step."""

    word: str
    symbol: str
    cells: int
    difference: float
    agrees: bool


@dataclass(frozen=True)
class Implementation:
    """How far one implementation is from the chain, in rows, batch and gradient."""

    name: str
    version: str
    dtype: str
    row_loss: tuple[float, ...] | None
    loss: float | None
    difference: float | None
    gradient_difference: float | None
    tolerance: float
    agrees: bool
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """Everything `labelsmooth compare` shows."""

    agree: bool
    tolerance: float
    engine: str
    steps: tuple[StepResult, ...]
    implementations: tuple[Implementation, ...]
    trace: Trace
    sheet_losses: tuple[float, ...]  # of the rows, as the engine calculated them
    layout: str
    path: str | None

    @property
    def largest(self) -> float:
        """The largest difference at float64 anywhere."""
        fine = [i.difference for i in self.implementations if i.dtype == "float64" and i.difference is not None]
        return max([s.difference for s in self.steps] + fine)


def compare(
    logits: ArrayLike,
    labels: ArrayLike,
    label_smoothing: ArrayLike = 0.1,
    *,
    engine: str = "ironcalc",
    path: str | Path | None = None,
    force: bool = False,
    layout: str = "auto",
    source: str = "",
    **options: Any,
) -> Comparison:
    """Compute the loss by the chain, by a spreadsheet engine and by PyTorch, and say how far they differ.

    Args:
        logits: (N, K).
        labels: (N,) class numbers or (N, K) distributions.
        label_smoothing: ε in [0, 1], one number or one a row.
        engine: "ironcalc", "libreoffice" or "formulon".
        path: where to keep the workbook; a temporary file when None.
        force: overwrite it.
        layout: of the workbook: "auto", "full" or "compact".
        source: where the logits come from, shown in the workbook.
        **options: convention, prior, weight, weighting, class_mask, ignore_index, keep, reduction, class_names, row_names,
            as in `labelsmooth.trace`.

    Returns:
        A `Comparison`; `.agree` is the verdict.

    Raises:
        ValueError: input that does not fit.
        EngineError: the engine is missing or did not calculate.

    Example:
        >>> compare([[4.2, -2.4], [1.6, -0.6]], [0, 1], 0.1).agree
        True
    """
    problem = prepare(logits, labels, label_smoothing, **options)
    return compare_problem(problem, engine=engine, path=path, force=force, layout=layout, source=source)


def compare_problem(
    problem: Problem,
    *,
    engine: str = "ironcalc",
    path: str | Path | None = None,
    force: bool = False,
    layout: str = "auto",
    source: str = "",
    recorded: TorchRows | None = None,
) -> Comparison:
    """Compare a problem that is already checked; see `compare`. `recorded` stands in for PyTorch where it is not run."""
    rows = torch_rows(problem) if recorded is None and torch_is_there() else recorded
    book = make_book(problem, layout=layout, torch=rows, source=source)
    with tempfile.TemporaryDirectory(prefix="labelsmooth-") as scratch:
        target = Path(scratch) / "book.xlsx" if path is None else Path(path)
        save(book, target, force=force)
        done = recalculate(target, engine=engine)
    steps = tuple(compare_steps(book, done))
    place = book.layout.places["row_loss"]
    sheet_losses = tuple(_number(done.values["Steps"][place.cell(n)]) for n in range(book.rows))
    trace = Trace(problem, chain(problem.case))
    others: tuple[Implementation, ...] = ()
    if rows is not None:
        others = (_recorded(rows, trace),) if recorded is not None else implementations(problem)
    agree = all(s.agrees for s in steps) and all(i.agrees for i in others)
    return Comparison(
        agree,
        SHEET_TOLERANCE,
        f"{done.engine} {done.version}",
        steps,
        others,
        trace,
        sheet_losses,
        book.kind,
        None if path is None else str(path),
    )


def compare_steps(book: Book, done: Recalculation) -> list[StepResult]:
    """Hold every recalculated step of the sheet against the chain."""
    cells = done.values["Steps"]
    out = []
    for line in book.chain.steps:
        place, numbers = book.layout.places[line.word], book.values[line.word]
        down, across = place.shape
        came = [[cells[place.cell(n, k)] for k in range(across)] for n in range(down)]
        worst = max(difference(x, float(numbers[n, k])) for n, row in enumerate(came) for k, x in enumerate(row))
        out.append(StepResult(line.word, line.symbol, down * across, worst, worst <= SHEET_TOLERANCE))
    return out


def difference(came: Any, truth: float) -> float:
    """How far a cell is from the truth, relative above 1; infinite for text and errors."""
    if isinstance(came, bool) or not isinstance(came, (int, float)):
        return float("inf")
    limit = float(NO_INFINITY)
    truth = max(-limit, min(limit, truth))
    return abs(float(came) - truth) / max(1.0, abs(truth))


def _number(came: Any) -> float:
    return float(came) if isinstance(came, (int, float)) else float("nan")


def _apart(came: Array, truth: Array) -> float:
    """Largest difference of two arrays, relative above 1; infinite where the shapes or the infinities differ."""
    if came.shape != truth.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        gap = np.abs(came - truth) / np.maximum(1.0, np.abs(truth))
    gap = np.where(came == truth, 0.0, np.where(np.isnan(gap), np.inf, gap))
    return float(gap.max(initial=0.0))


def implementations(problem: Problem) -> tuple[Implementation, ...]:
    """PyTorch's own loss and ours, in float64 and float32, against the chain; none where PyTorch is not installed."""
    if not torch_is_there():
        return ()
    trace = Trace(problem, chain(problem.case))
    return tuple(
        _judge(run(problem, dtype), trace) for run in (torch_own, torch_ours) for dtype in ("float64", "float32")
    )


def _judge(result: Result, trace: Trace) -> Implementation:
    """Compare loss and gradient of one implementation with the chain's."""
    tolerance = TOLERANCE[result.dtype]
    if result.reason:
        return Implementation(
            result.name,
            result.version,
            result.dtype,
            None,
            None,
            None,
            None,
            tolerance,
            agrees=True,
            note=f"not asked: {result.reason}",
        )
    row_loss, gradient = np.asarray(result.row_loss), np.asarray(result.gradient)
    gaps = [] if _folded(trace.problem.case) else [_apart(row_loss, trace.row_loss)]
    if result.loss is not None:
        gaps.append(_apart(np.array([result.loss]), np.array([trace.loss])))
    slope = _apart(gradient, trace.gradient)
    worst = max(gaps)
    return Implementation(
        result.name, result.version, result.dtype, tuple(row_loss.tolist()), result.loss, worst, slope, tolerance,
        agrees=worst <= tolerance and slope <= tolerance,
    )  # fmt: skip


def _recorded(rows: TorchRows, trace: Trace) -> Implementation:
    """PyTorch's rows as they were recorded: there is no gradient to compare."""
    gap, tolerance = _apart(rows.row_loss, trace.row_loss), TOLERANCE["float64"]
    name, note = "torch cross_entropy", "recorded numbers: PyTorch is not installed here"
    return Implementation(
        name,
        rows.version,
        "float64",
        tuple(rows.row_loss.tolist()),
        None,
        gap,
        None,
        tolerance,
        agrees=gap <= tolerance,
        note=note,
    )


def _folded(case: Case) -> bool:
    """Whether a row of the chain carries a factor of the batch, so that rows cannot be compared one by one."""
    return case.weighting is not None and case.weighting.name == "nll" and case.reduction == "mean"


def torch_rows(problem: Problem) -> TorchRows:
    """PyTorch's numbers for the workbook's PyTorch sheet.

    The loss of a row is keep(ε)·H(q,p) + spread(ε)·H(v,p); PyTorch gives the two as its losses at ε = 0 and ε = 1. By
    torch's own function where it has the convention, by `labelsmooth.cross_entropy` elsewhere.
    """
    import torch

    run = torch_ours if only_ours(problem) else torch_own
    base = {ALL: "uniform", OTHERS: "others", NOT_PADDING: "others but padding"}[problem.case.family.over]
    trace = Trace(problem, chain(problem.case))
    here, single = run(problem, "float64"), run(problem, "float32")
    plain = replace(
        problem,
        case=replace(problem.case, smoothing="", divergence="ce", family=FAMILIES[base]),
        convention=replace(problem.convention, name=base, family=FAMILIES[base], divergence="ce"),
    )
    label, prior = (
        np.asarray(run(replace(plain, given={**problem.given, "epsilon": e}), "float64").row_loss) for e in (0.0, 1.0)
    )
    if _folded(problem.case):
        label = label * trace.label_factor
    gap = float(np.max(np.abs(np.asarray(here.gradient) - trace.gradient)))
    single_rows = np.asarray(single.row_loss)
    return TorchRows(torch.__version__, _code(problem), label, prior, np.asarray(here.row_loss), single_rows, gap)


def _code(problem: Problem) -> str:
    """The lines of PyTorch that give these numbers, as text for the sheet."""
    case, words = problem.case, []
    if not case.smoothing:
        words.append(f"label_smoothing={problem.given['epsilon']:g}")
    if case.weighting is not None:
        words.append("weight=w")
    if not only_ours(problem):
        return f"torch.nn.functional.cross_entropy(logits, labels, {', '.join(words)}, reduction='none')"
    words.append(f"convention={problem.convention.name!r}")
    if case.weighting is not None:
        words.append(f"weighting={case.weighting.name!r}")
    return f"labelsmooth.cross_entropy(logits, labels, {', '.join(words)}, reduction='none')  # torch's own: {only_ours(problem)}"
