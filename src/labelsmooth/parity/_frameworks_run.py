"""What a batch asks of an implementation, and how a loss function of PyTorch is run on it.

The features are those that somebody's loss may have no words for. A reason stands here once; a framework with something
more exact to say brings its own.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelsmooth.maths.conventions import convention_named, weighting_named
from labelsmooth.maths.trace import Problem

Array = NDArray[np.float64]

WHY_NOT = {
    "smoothing": "it has no label smoothing",
    "rows": "it takes one ε for all rows",
    "all": "it wants ε below 1",
    "prior": "it spreads ε evenly only",
    "mask": "it has no masked classes",
    "soft": "it takes class numbers only",
    "ignored": "it cannot ignore rows",
    "ignored soft": "it cannot ignore rows with soft labels",
    "weight": "it takes no class weights",
    "soft weight": "it has no class weights for soft labels",
    "none": "it gives no rows",
    "mean": "it gives no mean",
    "sum": "it gives a mean only",
}


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


def features(problem: Problem) -> Iterator[str]:
    """What a batch asks for, by the words of WHY_NOT."""
    case = problem.case
    epsilon = np.asarray(problem.given["epsilon"])
    there = {
        "smoothing": bool(np.any(epsilon > 0)),
        "rows": bool(case.smoothing),
        "all": bool(np.any(epsilon == 1)),
        "prior": bool(case.prior),
        "mask": bool(case.mask),
        "soft": case.soft,
        "ignored": case.ignored and not case.soft,
        "ignored soft": case.ignored and case.soft,
        "weight": case.weighting is not None and not case.soft,
        "soft weight": case.weighting is not None and case.soft,
        case.reduction: True,
    }
    return (word for word in WHY_NOT if there.get(word))


def refusal(problem: Problem, takes: Collection[str], reasons: Mapping[str, str]) -> str:
    """Why an implementation that takes these features cannot compute a batch; empty if it can."""
    return next((reasons.get(f, WHY_NOT[f]) for f in features(problem) if f not in takes), "")


def own_problem(problem: Problem, row: str, *, distributions: bool) -> Problem:
    """The same batch under another convention, with one-hot distributions for class numbers where it wants those."""
    convention, case, given = convention_named(row), problem.case, dict(problem.given)
    soft = case.soft or distributions
    if soft and not case.soft:
        given["soft_label"] = np.eye(int(given["n_classes"]))[np.asarray(given["label"], np.int64)]
    meaning = None if case.weighting is None else weighting_named(convention.weighting, soft=soft)
    case = replace(case, family=convention.family, divergence=convention.divergence, weighting=meaning, soft=soft)
    return replace(problem, case=case, given=given, convention=convention)


@dataclass(frozen=True)
class Asked:
    """A batch as tensors: what a loss function of PyTorch is called with."""

    problem: Problem
    dtype: str
    logits: Any  # (N, K)
    epsilon: float
    ignore_index: int
    weight: Any  # (K,) or None
    labels: Any  # (N,) int64, or None where the labels are distributions
    target: Any  # (N, K)


def asked(problem: Problem, dtype: str) -> Asked:
    """Make the tensors of a batch."""
    import torch

    given, case = problem.given, problem.case
    labels = None if case.soft else torch.tensor(np.asarray(given["label"], np.int64))
    if labels is None:
        target = tensor(given["soft_label"], dtype)
    else:
        target = tensor(np.eye(int(given["n_classes"]))[np.maximum(given["label"], 0)], dtype)
    weight = None if case.weighting is None else tensor(given["class_weight"], dtype)
    epsilon = 0.0 if case.smoothing else float(given["epsilon"])
    ignore = int(given.get("ignore_index", -100))
    return Asked(problem, dtype, tensor(given["logits"], dtype), epsilon, ignore, weight, labels, target)


def tensor(x: Any, dtype: str) -> Any:
    """A tensor of a float dtype by its name."""
    import torch

    return torch.tensor(np.asarray(x, np.float64), dtype=getattr(torch, dtype))


def run(name: str, version: str, batch: Asked, loss_of: Callable[[Any, str], Any]) -> Result:
    """Rows, batch and gradient of a loss function of the logits and a reduction."""
    import torch

    reduction = batch.problem.case.reduction
    logits = batch.logits.requires_grad_()
    rows = loss_of(logits, "none")
    loss = loss_of(logits, reduction) if reduction != "none" else rows.sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    return Result(
        name,
        version,
        batch.dtype,
        rows.detach().double().numpy(),
        float(loss.detach()) if reduction != "none" else None,
        gradient.double().numpy(),
    )


def counts(batch: Asked) -> int:
    """How many rows count."""
    return len(batch.logits) if batch.labels is None else int((batch.labels != batch.ignore_index).sum())


@contextmanager
def quiet(**variables: str) -> Iterator[None]:
    """Hide what a framework prints about itself, with these environment variables while it lasts."""
    before = {name: os.environ.get(name) for name in variables}
    level = logging.root.manager.disable
    os.environ.update(variables)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
