"""What other implementations say about the same batch: one function each, and each imports its framework when called.

An implementation gives the loss of each row, of the batch, and the gradient of the latter, all as float64 arrays, so that
nothing can be compared by half. PyTorch's own loss is asked only where it means the same convention; elsewhere it says why
not, instead of being fed targets that we made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelsmooth.errors import MissingExtra
from labelsmooth.maths.trace import Problem

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """Loss and gradient of one implementation, or the reason why it was not asked."""

    name: str
    version: str
    dtype: str
    row_loss: Array | None = None
    loss: float | None = None
    gradient: Array | None = None
    reason: str = ""


def torch_is_there() -> bool:
    """Whether PyTorch is installed; does not import it."""
    return find_spec("torch") is not None


def torch_missing() -> MissingExtra:
    """Return the error that names the line to run."""
    return MissingExtra("PyTorch", "torch", "comparing with PyTorch")


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
    """`torch.nn.functional.cross_entropy` itself."""
    import torch
    from torch.nn import functional

    why = only_ours(problem)
    if why:
        return Result("torch cross_entropy", torch.__version__, dtype, reason=why)
    words: dict[str, Any] = {"label_smoothing": float(problem.given["epsilon"])}
    if problem.case.weighting is not None:
        words["weight"] = _tensor(problem.given["class_weight"], dtype)
    if not problem.case.soft:
        words["ignore_index"] = int(problem.given["ignore_index"])
    return _run("torch cross_entropy", torch.__version__, dtype, functional.cross_entropy, problem, words)


def torch_ours(problem: Problem, dtype: str = "float64") -> Result:
    """`labelsmooth.cross_entropy`, the loss to train with: it shares no code with the chain."""
    from labelsmooth._version import __version__
    from labelsmooth.losses import cross_entropy

    return _run("labelsmooth cross_entropy", __version__, dtype, cross_entropy, problem, _our_words(problem, dtype))


def _our_words(problem: Problem, dtype: str) -> dict[str, Any]:
    case, given = problem.case, problem.given
    words: dict[str, Any] = {"convention": problem.convention.name, "label_smoothing": given["epsilon"]}
    if case.smoothing:
        words["label_smoothing"] = _tensor(given["epsilon"], "float64")
    if case.prior:
        words["prior"] = _tensor(given["prior"], dtype)
    if case.mask:
        words["class_mask"] = _tensor(given["allowed"], "float64") > 0
    if case.weighting is not None:
        words |= {"weight": _tensor(given["class_weight"], dtype), "weighting": case.weighting.name}
    if case.soft and case.ignored:
        words["row_weight"] = _tensor(given["keep"], dtype)
    if not case.soft:
        words["ignore_index"] = int(given["ignore_index"])
    return words


def _tensor(x: Any, dtype: str) -> Any:
    import torch

    return torch.tensor(np.asarray(x, np.float64), dtype=getattr(torch, dtype))


def _run(
    name: str, version: str, dtype: str, function: Callable[..., Any], problem: Problem, words: dict[str, Any]
) -> Result:
    """Rows, batch and gradient of one loss function."""
    import torch

    case, given = problem.case, problem.given
    target = _tensor(given["soft_label"], dtype) if case.soft else torch.tensor(np.asarray(given["label"], np.int64))
    logits = _tensor(given["logits"], dtype).requires_grad_()
    rows = function(logits, target, reduction="none", **words)
    loss = function(logits, target, reduction=case.reduction, **words) if case.reduction != "none" else rows.sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    return Result(
        name,
        version,
        dtype,
        rows.detach().double().numpy(),
        float(loss.detach()) if case.reduction != "none" else None,
        gradient.double().numpy(),
    )
