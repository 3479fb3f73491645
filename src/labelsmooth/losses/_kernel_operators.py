"""The native kernels as torch's operators: what a graph holds that torch.compile has made.

Two operators, loss and gradient, in the numbers of `Charge`; in eager mode `_kernels.py` reaches the library without them,
because the dispatcher would cost more than a small loss.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _eager
from ._libraries import LIBRARIES
from ._options import Charge

_OPERATORS: Any = torch.library.Library("labelsmooth", "DEF")  # type: ignore[no-untyped-call]
_ARGUMENTS = ("Tensor label, Tensor? a_rows, Tensor? b_rows, Tensor? prior, Tensor? weight, Tensor? allowed, "
              "Tensor? keep, float a, float b, float z_loss, float softcap")  # fmt: skip
_OPERATORS.define(f"row_losses(Tensor logits, {_ARGUMENTS}) -> (Tensor, Tensor)")
_OPERATORS.define(f"row_gradient(Tensor up, Tensor stats, Tensor logits, {_ARGUMENTS}) -> Tensor")


def flattened(charge: Charge) -> tuple[Any, ...]:
    """Give a charge as the operators take it."""
    a, b, prior, weight, allowed, keep, _, z_loss, softcap = charge
    rows = [x if isinstance(x, Tensor) else None for x in (a, b)]
    numbers = [0.0 if isinstance(x, Tensor) else x for x in (a, b)]
    return *rows, prior, weight, allowed, keep, *numbers, z_loss, softcap or 0.0


def _charge(*flat: Any) -> Charge:
    a_rows, b_rows, prior, weight, allowed, keep, a, b, z_loss, softcap = flat
    return Charge(a if a_rows is None else a_rows, b if b_rows is None else b_rows, prior, weight, allowed, keep,
                  z_loss=z_loss, softcap=softcap or None)  # fmt: skip


def row_losses_operator(logits: Tensor, label: Tensor, charge: Charge) -> Tensor:
    """Give the loss of each row through the operator, for a graph to hold."""
    loss: Tensor = torch.ops.labelsmooth.row_losses(logits, label, *flattened(charge))[0]
    return loss


def _row_losses(logits: Tensor, label: Tensor, *flat: Any) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] = LIBRARIES[logits.device.type].forward(logits, label, _charge(*flat))
    return found


def _row_gradient(up: Tensor, stats: Tensor, logits: Tensor, label: Tensor, *flat: Any) -> Tensor:
    found: Tensor = LIBRARIES[logits.device.type].backward(up, logits, label, stats, _charge(*flat))
    return found


def _shapes_of_losses(logits: Tensor, _label: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    rows, sums = logits.shape[:-1], _eager.wide(logits.dtype)
    return logits.new_empty(rows, dtype=sums), logits.new_empty((3, *rows), dtype=sums)


def _shape_of_gradient(_up: Tensor, _stats: Tensor, logits: Tensor, _label: Tensor, *_: Any) -> Tensor:
    return logits.new_empty(logits.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], *(x for x in inputs if isinstance(x, Tensor)))
    ctx.inputs = [None if isinstance(x, Tensor) else (x,) for x in inputs]  # what is no tensor, boxed


def _through(ctx: Any, up: Tensor, _stats: Tensor) -> tuple[Tensor | None, ...]:
    stats, *tensors = ctx.saved_tensors
    rest = iter(tensors)
    inputs = [next(rest) if boxed is None else boxed[0] for boxed in ctx.inputs]
    gradient = torch.ops.labelsmooth.row_gradient(up, stats, *inputs)
    return gradient, *[None] * (len(inputs) - 1)


for _device in ("CPU", "CUDA"):
    _OPERATORS.impl("row_losses", _row_losses, _device)
    _OPERATORS.impl("row_gradient", _row_gradient, _device)
torch.library.register_fake("labelsmooth::row_losses", _shapes_of_losses, lib=_OPERATORS)
torch.library.register_fake("labelsmooth::row_gradient", _shape_of_gradient, lib=_OPERATORS)
torch.library.register_autograd("labelsmooth::row_losses", _through, setup_context=_save, lib=_OPERATORS)
