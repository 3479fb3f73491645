"""The plain case, told from the others and called in a few microseconds: index labels, and class weights or a prior or neither.

What shaped it:

- On 16 rows of 10 classes everything else costs more than the loss. So labels, weights and prior are checked and rows counted
  in the kernel, in the one call, and nothing is made that a row or a class would fill.
- Whatever is unusual or wrong is left to the longer way, which knows what to say of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _cpu as library
from . import _eager
from ._cpu import available
from ._kernels import (
    _TENSORS,
    NOT_TWICE,
    differentiable,
    may_be_overwritten,
    needs_plain_torch,
    nobody_listens,
    pushed,
)
from ._options import Charge

_REDUCTIONS = {"none": 0, "sum": 1, "mean": 2}


def plain_loss(
    logits: Any,
    label: Any,
    epsilon: Any,
    ignore_index: Any,
    reduction: Any,
    weight: Any,
    prior: Any,
    at_once: Any,
    inplace: Any,
) -> Tensor | None:
    """Give the reduced loss of (N, K) logits and int64 labels, or None if it has to be looked at.

    With class weights, as torch has them, or a prior, (K,) each and one of them at most. Labels, weights and prior are
    checked and rows counted in the kernel, in the one call: on 16 rows of 10 classes everything else costs more than the
    loss. None also where something is wrong, such as a label: the longer way knows what to say of it.
    """
    if not _is_plain(logits, label, epsilon, ignore_index, reduction) or (at_once and (inplace or reduction == "none")):
        return None
    (N, K), sums = logits.shape, _eager.wide(logits.dtype)
    vector = prior if weight is None else weight
    if vector is not None and not (_is_vector(vector, K, sums) and (weight is None or prior is None)):
        return None
    trained = logits.requires_grad and torch.is_grad_enabled()
    if inplace and trained:
        may_be_overwritten(logits)
    how = _REDUCTIONS[reduction]
    stats = torch.empty((4, N), dtype=sums)
    loss = torch.empty((N,) if not how else (), dtype=sums)
    gradient = torch.empty((N, K), dtype=logits.dtype) if at_once and trained else None
    at = stats.data_ptr()
    rows = loss.data_ptr() if not how else at + 3 * N * stats.itemsize  # losses that are summed need no tensor
    # Class weights multiply the label's mass, and are at the same time what ε is spread by.
    address, b = 0 if vector is None else vector.data_ptr(), epsilon if weight is None else epsilon / K
    numbers = (label.data_ptr(), rows, at, loss.data_ptr() if how else 0, N, K, logits.stride(0), ignore_index, how == 2,
               library.DTYPES[logits.dtype], 1.0 - epsilon, b, address, 0 if weight is None else address)  # fmt: skip
    task, to = (library.LOSS, 0) if gradient is None else (library.BOTH, gradient.data_ptr())
    if library.plain_call(task, logits.data_ptr(), to, 0, numbers) >= 0:
        return None
    if not trained:
        return loss
    result: Tensor = (
        _Plain.apply(logits, label, stats, [loss], numbers, vector, inplace) if gradient is None  # type: ignore[no-untyped-call]
        else _PlainAtOnce.apply(logits, [loss, gradient])  # type: ignore[no-untyped-call]
    )  # fmt: skip
    return result


def _is_plain(logits: Any, label: Any, epsilon: Any, ignore_index: Any, reduction: Any) -> bool:
    if (
        torch.compiler.is_compiling() or not available() or type(logits) not in _TENSORS or type(label) is not Tensor
        or logits.dim() != 2 or label.dim() != 1 or not nobody_listens() or label.dtype != torch.int64
        or logits.dtype not in library.DTYPES or type(epsilon) is not float or not 0.0 <= epsilon <= 1.0
        or type(ignore_index) is not int or reduction not in _REDUCTIONS or abs(ignore_index) > 2**62
    ):  # fmt: skip
        return False
    N, K = logits.shape
    return (
        label.shape[0] == N and logits.stride(1) == 1 and N > 0 and K > 0 and logits.is_cpu and label.is_cpu
        and label.is_contiguous() and logits.layout == torch.strided
    )  # fmt: skip


def _is_vector(x: Any, classes: int, dtype: torch.dtype) -> bool:
    return (
        type(x) in _TENSORS and x.shape == (classes,) and x.dtype == dtype and x.is_contiguous() and x.is_cpu
        and not x.requires_grad
    )  # fmt: skip


class _Plain(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, label: Tensor, stats: Tensor, loss: list[Tensor], numbers: tuple[Any, ...],
        vector: Tensor | None, inplace: bool,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(logits, label, stats, vector)
        ctx.numbers, ctx.inplace = numbers, inplace
        return loss[0]

    @staticmethod
    def backward(ctx: Any, up: Tensor) -> tuple[Tensor | None, ...]:
        logits, label, stats, vector = ctx.saved_tensors
        _, _, _, _, N, K, _, ignore_index, average, dtype, a, b, _, weighted = ctx.numbers
        nothing = (None,) * 6
        if needs_plain_torch(up):
            if ctx.inplace:
                raise RuntimeError(NOT_TWICE)
            keep = label != ignore_index
            y = label.where(keep, 0)
            row = vector[y] if weighted else torch.ones_like(stats[0])
            up = up / (row * keep).sum() if average else up
            charge = Charge(a * row, b, vector, keep=keep)
            return differentiable(up.expand(N), logits, y, charge), *nothing
        # Saved tensors may have come back from elsewhere: a checkpoint, a hook that keeps them on disk.
        logits = logits if logits.stride(1) == 1 else logits.contiguous()
        up = up.contiguous()
        gradient = logits.detach() if ctx.inplace else torch.empty((N, K), dtype=logits.dtype)
        prior = 0 if vector is None else vector.data_ptr()
        numbers = (label.data_ptr(), 0, stats.data_ptr(), 0, N, K, logits.stride(0), ignore_index, average, dtype, a, b,
                   prior, prior if weighted else 0)  # fmt: skip
        library.plain_call(library.GRADIENT, logits.data_ptr(), gradient.data_ptr(), up.data_ptr(), numbers,
                           ups=up.dim() == 1, fresh=not ctx.inplace)  # fmt: skip
        if ctx.inplace:
            torch.autograd.graph.increment_version(logits)
        return gradient, *nothing


class _PlainAtOnce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, _: Tensor, made: list[Tensor]) -> Tensor:
        ctx.save_for_backward(made[1])
        return made[0]

    @staticmethod
    def backward(ctx: Any, push: Tensor) -> tuple[Tensor, None]:
        return pushed(ctx, push), None
