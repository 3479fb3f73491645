"""Implementations beside the chain: how far each is from float64 in rows, batch and gradient.

Two questions, two functions. `implementations` asks PyTorch's loss and ours for the convention of the batch. `side_by_side`
asks every framework for the loss it has, and holds it against the chain under that framework's own convention: where its
number is another than ours, it is seen to be so because it means something else, and not because it computes badly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelsmooth.maths.case import Case
from labelsmooth.maths.conventions import FAMILIES, convention_named
from labelsmooth.maths.steps import chain
from labelsmooth.maths.trace import Problem, Trace
from labelsmooth.workbook.book import TorchRows

from ._frameworks_run import Result, asked, run, tensor
from ._frameworks_torch import index, soft
from .frameworks import Peer, torch_is_there

Array = NDArray[np.float64]
TOLERANCE = {"float64": 1e-12, "float32": 2e-6}  # relative above 1; float32 sums over K classes round K times
TORCH, OURS = "torch cross_entropy", "labelsmooth cross_entropy"


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
    convention: str = ""  # what it was held against, in words
    same: bool = True  # whether that is the convention of the batch


def only_ours(problem: Problem) -> str:
    """Why `torch.nn.functional.cross_entropy` cannot compute this problem; empty if it can."""
    case = problem.case
    own_weights = "class/N" if case.soft else "class/label"
    reasons = {
        f"it has no {case.family.name!r} target": case.family.name != "uniform",
        "it has no KL": case.divergence == "kl",
        "it spreads ε evenly only": bool(case.prior),
        "it takes one ε for all rows": bool(case.smoothing),
        "it has no masked classes": bool(case.mask),
        "it cannot ignore rows with soft labels": case.soft and case.ignored,
        f"its class weights mean {own_weights!r}": case.weighting is not None and case.weighting.name != own_weights,
    }
    return next((why for why, holds in reasons.items() if holds), "")


def torch_own(problem: Problem, dtype: str = "float64") -> Result:
    """`torch.nn.functional.cross_entropy` itself, where it means the same convention."""
    import torch

    why = only_ours(problem)
    if why:
        return Result(TORCH, torch.__version__, dtype, reason=why)
    return replace((soft if problem.case.soft else index)(problem, dtype), name=TORCH)


def torch_ours(problem: Problem, dtype: str = "float64") -> Result:
    """`labelsmooth.cross_entropy`, the loss to train with: it shares no code with the chain."""
    from labelsmooth._version import __version__
    from labelsmooth.losses import cross_entropy

    batch, words = asked(problem, dtype), _our_words(problem, dtype)
    target = batch.target if batch.labels is None else batch.labels
    return run(OURS, __version__, batch, lambda z, reduction: cross_entropy(z, target, reduction=reduction, **words))


def _our_words(problem: Problem, dtype: str) -> dict[str, Any]:
    case, given = problem.case, problem.given
    words: dict[str, Any] = {"convention": spelled(problem), "label_smoothing": given["epsilon"]}
    if case.smoothing:
        words["label_smoothing"] = tensor(given["epsilon"], "float64")
    if case.prior:
        words["prior"] = tensor(given["prior"], dtype)
    if case.mask:
        words["class_mask"] = tensor(given["allowed"], "float64") > 0
    if case.weighting is not None:
        words |= {"weight": tensor(given["class_weight"], dtype), "weighting": case.weighting.name}
    if case.soft and case.ignored:
        words["row_weight"] = tensor(given["keep"], dtype)
    if not case.soft:
        words["ignore_index"] = int(given["ignore_index"])
    return words


def spelled(problem: Problem) -> str:
    """The shortest name by which our loss finds the convention: a framework's bare name is only its first function."""
    row = problem.convention
    return row.name if row.name in FAMILIES or convention_named(row.name) == row else row.full_name


def implementations(problem: Problem) -> tuple[Implementation, ...]:
    """PyTorch's own loss and ours, in float64 and float32, against the chain; none where PyTorch is not installed."""
    if not torch_is_there():
        return ()
    trace = Trace(problem, chain(problem.case))
    return tuple(
        judge(run(problem, dtype), trace) for run in (torch_own, torch_ours) for dtype in ("float64", "float32")
    )


def side_by_side(problem: Problem, peers: Sequence[Peer]) -> tuple[Implementation, ...]:
    """Our loss under the convention of the batch, then each framework under its own, all against the chain."""
    trace = Trace(problem, chain(problem.case))
    out = [judge(torch_ours(problem, dtype), trace) for dtype in ("float64", "float32") if torch_is_there()]
    out = [replace(one, convention=convention_text(problem.case)) for one in out]
    for peer in peers:
        why = peer.refuses(problem)
        own = problem if why else peer.own(problem)
        truth = trace if why else Trace(own, chain(own.case))
        meaning = "" if why else convention_text(own.case)
        same = bool(why) or _same_meaning(own.case, problem.case)
        for dtype in peer.dtypes[: 1 if why else None]:
            one = judge(peer.ask(problem, dtype), truth)
            out.append(replace(one, convention=meaning, same=same, note=one.note or peer.note))
    return tuple(out)


def convention_text(case: Case) -> str:
    """The target, KL where it is one, and what class weights mean."""
    words = [case.family.name, *(["KL"] if case.divergence == "kl" else [])]
    return ", ".join(words + ([] if case.weighting is None else [f"weights {case.weighting.name}"]))


def _same_meaning(own: Case, asked_for: Case) -> bool:
    return convention_text(own) == convention_text(asked_for)


def judge(result: Result, trace: Trace) -> Implementation:
    """Compare rows, loss and gradient of one implementation with the chain's."""
    tolerance = TOLERANCE[result.dtype]
    if result.reason:
        return Implementation(
            result.name, result.version, result.dtype, None, None, None, None, tolerance,
            agrees=True, note=f"not asked: {result.reason}",
        )  # fmt: skip
    row_loss = np.asarray(result.row_loss)
    gaps = [] if folded(trace.problem.case) else [apart(row_loss, trace.row_loss)]
    if result.loss is not None:
        gaps.append(apart(np.array([result.loss]), np.array([trace.loss])))
    slope = None if result.gradient is None else apart(result.gradient, trace.gradient)
    worst = max(gaps)
    return Implementation(
        result.name, result.version, result.dtype, tuple(row_loss.tolist()), result.loss, worst, slope, tolerance,
        agrees=max(worst, slope or 0.0) <= tolerance,
    )  # fmt: skip


def recorded_torch(rows: TorchRows, trace: Trace) -> Implementation:
    """PyTorch's rows as they were recorded: there is no gradient to compare."""
    gap, tolerance = apart(rows.row_loss, trace.row_loss), TOLERANCE["float64"]
    note = "recorded numbers: PyTorch is not installed here"
    return Implementation(
        TORCH, rows.version, "float64", tuple(rows.row_loss.tolist()), None, gap, None, tolerance,
        agrees=gap <= tolerance, note=note,
    )  # fmt: skip


def apart(came: Array, truth: Array) -> float:
    """Largest difference of two arrays, relative above 1; infinite where the shapes or the infinities differ."""
    if came.shape != truth.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        gap = np.abs(came - truth) / np.maximum(1.0, np.abs(truth))
    gap = np.where(came == truth, 0.0, np.where(np.isnan(gap), np.inf, gap))
    return float(gap.max(initial=0.0))


def folded(case: Case) -> bool:
    """Whether a row of the chain carries a factor of the batch, so that rows cannot be compared one by one."""
    return case.weighting is not None and case.weighting.name == "nll" and case.reduction == "mean"
