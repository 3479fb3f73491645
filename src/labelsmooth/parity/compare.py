"""The chain, a spreadsheet engine, PyTorch and whatever other framework is installed, on the same batch: and a verdict.

The referee is the chain in float64. The spreadsheet is written, poisoned, recalculated and read back cell by cell; the
losses compute loss and gradient, and `judge.py` says how far they are. A row's loss under 'nll' weights carries the batch's
factor in the chain, since a sheet shows a mean as a sum of rows; implementations are then compared by the batch's loss and
gradient.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelsmooth.maths.conventions import ALL, FAMILIES, NOT_PADDING, OTHERS
from labelsmooth.maths.printers import NO_INFINITY
from labelsmooth.maths.steps import chain
from labelsmooth.maths.trace import Problem, Trace, prepare
from labelsmooth.workbook.book import Book, TorchRows, make_book
from labelsmooth.workbook.recalc import Recalculation, recalculate
from labelsmooth.workbook.write import save

from .frameworks import Peer, chosen, torch_is_there
from .judge import (
    Implementation,
    folded,
    implementations,
    only_ours,
    recorded_torch,
    side_by_side,
    spelled,
    torch_ours,
    torch_own,
)

Array = NDArray[np.float64]
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
    sheet_loss: float | None = None  # of the batch; None where rows are not reduced

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
    frameworks: Sequence[str] | None = None,
    **options: Any,
) -> Comparison:
    """Compute the loss by the chain, by a spreadsheet engine and by every framework, and say how far they differ.

    A framework is held against the chain under its own convention, so that "agrees" says that it computes what it is known to
    mean; `implementations[i].same` says whether that is the convention asked for.

    Args:
        logits: (N, K).
        labels: (N,) class numbers or (N, K) distributions.
        label_smoothing: ε in [0, 1], one number or one a row.
        engine: "ironcalc", "libreoffice" or "formulon".
        path: where to keep the workbook; a temporary file when None.
        force: overwrite it.
        layout: of the workbook: "auto", "full" or "compact".
        source: where the logits come from, shown in the workbook.
        frameworks: whom to ask, as "torch", "timm", ...; every one that is installed when None.
        **options: convention, prior, weight, weighting, class_mask, ignore_index, keep, reduction, class_names, row_names,
            as in `labelsmooth.trace`.

    Returns:
        A `Comparison`; `.agree` is the verdict.

    Raises:
        ValueError: input that does not fit; a framework that is unknown or not installed.
        EngineError: the engine is missing or did not calculate.

    Example:
        >>> compare([[4.2, -2.4], [1.6, -0.6]], [0, 1], 0.1).agree
        True
    """
    problem = prepare(logits, labels, label_smoothing, **options)
    peers = chosen(frameworks)
    return compare_problem(problem, engine=engine, path=path, force=force, layout=layout, source=source, peers=peers)


def compare_problem(
    problem: Problem,
    *,
    engine: str = "ironcalc",
    path: str | Path | None = None,
    force: bool = False,
    layout: str = "auto",
    source: str = "",
    recorded: TorchRows | None = None,
    peers: Sequence[Peer] | None = None,
) -> Comparison:
    """Compare a problem that is already checked; see `compare`.

    Without `peers`, PyTorch's loss and ours are asked and nobody else; `recorded` stands in for PyTorch where it is not run.
    """
    rows = torch_rows(problem) if recorded is None and torch_is_there() else recorded
    book = make_book(problem, layout=layout, torch=rows, source=source)
    with tempfile.TemporaryDirectory(prefix="labelsmooth-") as scratch:
        target = Path(scratch) / "book.xlsx" if path is None else Path(path)
        save(book, target, force=force)
        done = recalculate(target, engine=engine)
    steps = tuple(compare_steps(book, done))
    places, cells = book.layout.places, done.values["Steps"]
    sheet_losses = tuple(_number(cells[places["row_loss"].cell(n)]) for n in range(book.rows))
    trace = Trace(problem, chain(problem.case))
    if recorded is not None:
        others: tuple[Implementation, ...] = (recorded_torch(recorded, trace),)
    else:
        others = implementations(problem) if peers is None else side_by_side(problem, peers)
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
        _number(cells[places["loss"].cell(0)]) if "loss" in places else None,
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
    if folded(problem.case):
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
    words.append(f"convention={spelled(problem)!r}")
    if case.weighting is not None:
        words.append(f"weighting={case.weighting.name!r}")
    return f"labelsmooth.cross_entropy(logits, labels, {', '.join(words)}, reduction='none')  # torch's own: {only_ours(problem)}"
