"""Linear layer and loss as torch's operators: what a graph holds that torch.compile has made.

As `_cpu_operators.py` for the logits. The sizes of a chunk are chosen when the operator runs, so a graph with dynamic
shapes holds the same operators. The dtype to multiply in was chosen where autocast was in sight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._cpu_operators import _charge, flattened
from ._linear import Wanted, losses_and_gradients
from ._linear_products import Head, Plan
from ._options import Charge

_OPERATORS: Any = torch.library.Library("labelsmooth", "FRAGMENT")  # type: ignore[no-untyped-call]
_ARGUMENTS = (
    "Tensor hidden, Tensor weight, Tensor? bias, int classes, int positions, ScalarType products, int chunk_rows, "
    "Tensor label, bool minus_floor, Tensor? a_rows, Tensor? b_rows, Tensor? prior, Tensor? weight_of_class, "
    "Tensor? allowed, Tensor? keep, float a, float b, float z_loss, float softcap"
)
_OPERATORS.define(f"linear_losses({_ARGUMENTS}) -> Tensor")
# Σ up·loss, the gradients of hidden, weight and bias, and what they are still to be multiplied by.
_OPERATORS.define(f"linear_total(Tensor up, bool[3] wanted, {_ARGUMENTS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)")
_TENSORS = 3  # the operators' arguments begin with hidden, weight, bias


def losses_operator(head: Head, label: Tensor, charge: Charge) -> Tensor:
    """Give the loss of each row through the operator, for a graph to hold."""
    loss: Tensor = torch.ops.labelsmooth.linear_losses(*_flat(head, label, charge))
    return loss


def total_operator(head: Head, label: Tensor, charge: Charge, up: Tensor, wanted: Wanted) -> Tensor:
    """Give Σ up·loss through the operator, for a graph to hold."""
    total: Tensor = torch.ops.labelsmooth.linear_total(up, list(wanted), *_flat(head, label, charge))[0]
    return total


def _flat(head: Head, label: Tensor, charge: Charge) -> tuple[Any, ...]:
    return *head[:_TENSORS], *head.plan, label, charge.minus_floor, *flattened(charge)


def _read(*flat: Any) -> tuple[Head, Tensor, Charge]:
    hidden, weight, bias, classes, positions, products, chunk_rows, label, minus_floor, *charge = flat
    head = Head(hidden, weight, bias, Plan(classes, positions, products, chunk_rows))
    return head, label, _charge(*charge)._replace(minus_floor=minus_floor)


def _losses(*flat: Any) -> Tensor:
    return losses_and_gradients(*_read(*flat)).losses


def _total(up: Tensor, wanted: list[bool], *flat: Any) -> tuple[Tensor, ...]:
    found = losses_and_gradients(*_read(*flat), up, Wanted(*wanted))
    scale = torch.ones_like(up[0]) if found.scale is None else found.scale
    nothing = (up.new_empty(0) for _ in wanted)  # an operator returns a tensor for each, and no two the same
    gradients = (none if x is None else x for x, none in zip(found[1:4], nothing, strict=True))
    return (found.losses * up).sum(), *gradients, scale


def _shape_of_losses(*flat: Any) -> Tensor:
    head, label, _ = _read(*flat)
    return head.hidden.new_empty(label.shape[:1], dtype=head.plan.sums)


def _shapes_of_total(up: Tensor, wanted: list[bool], *flat: Any) -> tuple[Tensor, ...]:
    inputs = zip(flat[:_TENSORS], wanted, strict=True)
    gradients = (up.new_empty(x.shape if need else 0) for x, need in inputs)
    return up.new_empty(()), *gradients, up.new_empty(())


def _save_total(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*output[1:])
    ctx.wanted, ctx.arguments = inputs[1], len(inputs)
    ctx.dtypes = [None if x is None else x.dtype for x in inputs[2 : 2 + _TENSORS]]


def _through_total(ctx: Any, push: Tensor, *_: Any) -> tuple[Any, ...]:
    *found, scale = ctx.saved_tensors
    return None, None, *_rounded(found, push * scale, ctx.wanted, ctx.dtypes), *[None] * (ctx.arguments - 2 - _TENSORS)


def _save_losses(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001  called by these names
    ctx.save_for_backward(*(x for x in inputs if isinstance(x, Tensor)))
    ctx.inputs = [None if isinstance(x, Tensor) else (x,) for x in inputs]  # what is no tensor, boxed
    ctx.wanted = [bool(need) for need in ctx.needs_input_grad[:_TENSORS]]


def _through_losses(ctx: Any, push: Tensor) -> tuple[Any, ...]:
    rest = iter(ctx.saved_tensors)
    inputs = [next(rest) if boxed is None else boxed[0] for boxed in ctx.inputs]
    _, *found, scale = torch.ops.labelsmooth.linear_total(push, ctx.wanted, *inputs)
    dtypes = [None if x is None else x.dtype for x in inputs[:_TENSORS]]
    return *_rounded(found, scale, ctx.wanted, dtypes), *[None] * (len(inputs) - _TENSORS)


def _rounded(found: Any, factor: Tensor, wanted: list[bool], dtypes: list[Any]) -> list[Tensor | None]:
    """Give gradients times `factor`, each rounded to the dtype of what it is the gradient of."""
    return [(x * factor).to(dtype) if need else None for x, need, dtype in zip(found, wanted, dtypes, strict=True)]


for _name, _run, _fake in (("linear_losses", _losses, _shape_of_losses), ("linear_total", _total, _shapes_of_total)):
    _OPERATORS.impl(_name, _run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"labelsmooth::{_name}", _fake, lib=_OPERATORS)
torch.library.register_autograd(
    "labelsmooth::linear_losses", _through_losses, setup_context=_save_losses, lib=_OPERATORS
)
torch.library.register_autograd("labelsmooth::linear_total", _through_total, setup_context=_save_total, lib=_OPERATORS)
