"""Linear layer and loss as torch's operators: what a graph holds that torch.compile has made.

As `_kernel_operators.py` for the logits. The sizes of a chunk are chosen when the operator runs, so a graph with dynamic
shapes holds the same operators. The dtype to multiply in was chosen where autocast was in sight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._kernel_operators import _charge, flattened
from ._linear import Wanted, losses_and_gradients
from ._linear_products import Head, Plan
from ._linear_ranks import Ranks
from ._options import Charge
from ._parallel_shards import named, shards_named

_OPERATORS: Any = torch.library.Library("labelsmooth", "FRAGMENT")  # type: ignore[no-untyped-call]
_ARGUMENTS = (
    "Tensor hidden, Tensor weight, Tensor? bias, int classes, int positions, ScalarType products, int chunk_rows, "
    "Tensor label, bool minus_floor, Tensor? a_rows, Tensor? b_rows, Tensor? prior, Tensor? weight_of_class, "
    "Tensor? allowed, Tensor? keep, float a, float b, float z_loss, float softcap, Tensor? masses, str group, "
    "SymInt[] class_sizes, float z_loss_of_ranks"
)
_RANKS = 4  # and end with the ranks
# The losses and, where there are other ranks, what a backward needs to leave them alone: (3, N·P).
_OPERATORS.define(f"linear_losses({_ARGUMENTS}) -> (Tensor, Tensor)")
# Σ up·loss, the gradients of hidden, weight and bias, and what they are still to be multiplied by.
_OPERATORS.define(f"linear_total(Tensor up, Tensor? stats, bool[3] wanted, {_ARGUMENTS}) -> (Tensor, Tensor, Tensor, "
                  "Tensor, Tensor)")  # fmt: skip
_TENSORS = 3  # the operators' arguments begin with hidden, weight, bias,
_BEFORE = 3  # the second's with three more


def losses_operator(head: Head, label: Tensor, charge: Charge) -> Tensor:
    """Give the loss of each row through the operator, for a graph to hold."""
    loss: Tensor = torch.ops.labelsmooth.linear_losses(*_flat(head, label, charge))[0]
    return loss


def total_operator(head: Head, label: Tensor, charge: Charge, up: Tensor, wanted: Wanted) -> Tensor:
    """Give Σ up·loss through the operator, for a graph to hold."""
    total: Tensor = torch.ops.labelsmooth.linear_total(up, None, list(wanted), *_flat(head, label, charge))[0]
    return total


def _flat(head: Head, label: Tensor, charge: Charge) -> tuple[Any, ...]:
    ranks: tuple[Any, ...] = (None, "", [], 0.0)
    if head.ranks is not None:
        group, _, sizes = head.ranks.shards
        ranks = (head.ranks.masses, named(group), list(sizes), head.ranks.z_loss)
    return *head[:_TENSORS], *head.plan, label, charge.minus_floor, *flattened(charge), *ranks


def _read(*flat: Any) -> tuple[Head, Tensor, Charge]:
    hidden, weight, bias, classes, positions, products, chunk_rows, label, minus_floor, *charge = flat[:-_RANKS]
    masses, group, sizes, z_loss = flat[-_RANKS:]
    ranks = None if masses is None else Ranks(shards_named(group, sizes), masses, z_loss)
    head = Head(hidden, weight, bias, Plan(classes, positions, products, chunk_rows), ranks)
    return head, label, _charge(*charge)._replace(minus_floor=minus_floor)


def _losses(*flat: Any) -> tuple[Tensor, Tensor]:
    head, label, charge = _read(*flat)
    stats = _room_for_stats(head, label)
    return losses_and_gradients(head, label, charge, stats=stats if stats.numel() else None).losses, stats


def _room_for_stats(head: Head, label: Tensor) -> Tensor:
    shape = (0,) if head.ranks is None else (3, label.shape[0])
    return head.hidden.new_zeros(shape, dtype=head.plan.sums)


def _total(up: Tensor, stats: Tensor | None, wanted: list[bool], *flat: Any) -> tuple[Tensor, ...]:
    found = losses_and_gradients(*_read(*flat), up, Wanted(*wanted), stats=stats)
    scale = torch.ones_like(up[0]) if found.scale is None else found.scale
    nothing = (up.new_empty(0) for _ in wanted)  # an operator returns a tensor for each, and no two the same
    gradients = (none if x is None else x for x, none in zip(found[1:4], nothing, strict=True))
    return (found.losses * up).sum(), *gradients, scale


def _shapes_of_losses(*flat: Any) -> tuple[Tensor, Tensor]:
    head, label, _ = _read(*flat)
    return head.hidden.new_empty(label.shape[:1], dtype=head.plan.sums), _room_for_stats(head, label)


def _shapes_of_total(up: Tensor, _stats: Tensor | None, wanted: list[bool], *flat: Any) -> tuple[Tensor, ...]:
    inputs = zip(flat[:_TENSORS], wanted, strict=True)
    gradients = (up.new_empty(x.shape if need else 0) for x, need in inputs)
    return up.new_empty(()), *gradients, up.new_empty(())


def _save_total(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*output[1:])
    ctx.wanted, ctx.after = inputs[2], len(inputs) - _BEFORE - _TENSORS
    ctx.dtypes = [None if x is None else x.dtype for x in inputs[_BEFORE : _BEFORE + _TENSORS]]


def _through_total(ctx: Any, push: Tensor, *_: Any) -> tuple[Any, ...]:
    *found, scale = ctx.saved_tensors
    return *[None] * _BEFORE, *_rounded(found, push * scale, ctx.wanted, ctx.dtypes), *[None] * ctx.after


def _save_losses(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], *(x for x in inputs if isinstance(x, Tensor)))
    ctx.inputs = [None if isinstance(x, Tensor) else (x,) for x in inputs]  # what is no tensor, boxed
    ctx.wanted = [bool(need) for need in ctx.needs_input_grad[:_TENSORS]]


def _through_losses(ctx: Any, push: Tensor, _stats: Tensor) -> tuple[Any, ...]:
    stats, *tensors = ctx.saved_tensors
    rest = iter(tensors)
    inputs = [next(rest) if boxed is None else boxed[0] for boxed in ctx.inputs]
    known = None if inputs[-_RANKS] is None else stats
    _, *found, scale = torch.ops.labelsmooth.linear_total(push, known, ctx.wanted, *inputs)
    dtypes = [None if x is None else x.dtype for x in inputs[:_TENSORS]]
    return *_rounded(found, scale, ctx.wanted, dtypes), *[None] * (len(inputs) - _TENSORS)


def _rounded(found: Any, factor: Tensor, wanted: list[bool], dtypes: list[Any]) -> list[Tensor | None]:
    """Give gradients times `factor`, each rounded to the dtype of what it is the gradient of."""
    return [(x * factor).to(dtype) if need else None for x, need, dtype in zip(found, wanted, dtypes, strict=True)]


for _name, _run, _fake in (("linear_losses", _losses, _shapes_of_losses), ("linear_total", _total, _shapes_of_total)):
    _OPERATORS.impl(_name, _run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"labelsmooth::{_name}", _fake, lib=_OPERATORS)
torch.library.register_autograd(
    "labelsmooth::linear_losses", _through_losses, setup_context=_save_losses, lib=_OPERATORS
)
torch.library.register_autograd("labelsmooth::linear_total", _through_total, setup_context=_save_total, lib=_OPERATORS)
