"""Linear layer and loss as torch's autograd sees them, in eager mode and in a graph that torch.compile has made.

What shaped it:

- A mean or a sum has its gradients when its forward ends. The backward multiplies them by what arrives: in place when
  the graph is about to be freed, so that no second gradient of the weight's size is made, and into new memory when
  somebody keeps the graph for another backward.
- A loss a row waits for what arrives and computes the logits of each chunk again. So does a head in half precision whose
  sums are too large to be kept until then (`_linear_blocks.py`).
- Second derivatives and many gradients at once go through plain torch with all the logits: right, and as large as that.
- The gradients are kept in the dtype of the sums and rounded once, after the multiplication: a GradScaler's factor comes
  before float16 can lose anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  the name the whole world uses

from . import _eager
from ._kernels import _kept, needs_plain_torch
from ._linear import NOTHING, Wanted, losses_and_gradients
from ._linear_blocks import by_classes, gradients_by_classes
from ._linear_operators import losses_operator, total_operator
from ._linear_products import TILE, Head, Plan
from ._linear_ranks import Ranks
from ._options import Charge, counted, spread_out
from ._parallel_rows import ONE_AT_A_TIME


def row_losses(head: Head, label: Tensor, charge: Charge) -> Tensor:
    """Give the loss of each row, (N·P); the backward computes the logits again."""
    if torch.compiler.is_compiling():
        return losses_operator(head, label, charge)
    if not any(_wanted(head)):
        return losses_and_gradients(head, label, charge).losses
    rows: Tensor = _Rows.apply(*head, label, charge)  # type: ignore[no-untyped-call]
    return rows


def total_loss(head: Head, label: Tensor, charge: Charge, up: Tensor) -> Tensor:
    """Give Σ up·loss over the rows, the gradients computed with it."""
    wanted = _wanted(head)
    if any(wanted) and torch.compiler.is_compiling():
        return total_operator(head, label, charge, up, wanted)
    if not any(wanted) or by_classes(head, wanted):
        return (row_losses(head, label, charge) * up).sum()
    total: Tensor = _AtOnce.apply(*head, label, charge, up)  # type: ignore[no-untyped-call]
    return total


def _wanted(head: Head) -> Wanted:
    """Say which gradients a backward could ask for."""
    if not torch.is_grad_enabled():
        return NOTHING
    return Wanted(*(x is not None and x.requires_grad for x in (head.hidden, head.weight, head.bias)))


# Eager mode -----------------------------------------------------------------------------------------------------------


class _AtOnce(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, plan: Plan, ranks: Ranks | None, label: Tensor,
        charge: Charge, up: Tensor,
    ) -> Tensor:  # fmt: skip
        head = Head(hidden, weight, bias, plan, ranks)
        found = losses_and_gradients(head, label, charge, up, Wanted(*ctx.needs_input_grad[:3]))
        ctx.save_for_backward(*found[1:], hidden, weight, bias, label, up, *_tensors(charge))
        ctx.plan, ctx.ranks, ctx.charge = plan, ranks, charge
        return (found.losses * up).sum()

    @staticmethod
    def backward(ctx: Any, push: Tensor) -> tuple[Tensor | None, ...]:
        *found, scale, hidden, weight, bias, label, up = ctx.saved_tensors[:9]
        if _differentiated(push, ctx.ranks):
            head, wanted = Head(hidden, weight, bias, ctx.plan, ctx.ranks), Wanted(*ctx.needs_input_grad[:3])
            return *_differentiable(head, wanted, label, ctx.charge, up * push), *[None] * 5
        factor, kept = push if scale is None else push * scale, _kept()
        pairs = zip(found, (hidden, weight, bias), strict=True)
        return *(_times(x, factor, like, kept=kept) for x, like in pairs), *[None] * 5


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, plan: Plan, ranks: Ranks | None, label: Tensor,
        charge: Charge,
    ) -> Tensor:  # fmt: skip
        head, stats = Head(hidden, weight, bias, plan, ranks), None
        if ranks is not None or by_classes(head, Wanted(*ctx.needs_input_grad[:3])):
            stats = hidden.new_zeros((3, label.shape[0]), dtype=plan.sums)
        ctx.save_for_backward(hidden, weight, bias, label, stats, *_tensors(charge))
        ctx.plan, ctx.ranks, ctx.charge = plan, ranks, charge
        return losses_and_gradients(head, label, charge, stats=stats).losses

    @staticmethod
    def backward(ctx: Any, push: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, label, stats = ctx.saved_tensors[:5]
        head, wanted = Head(hidden, weight, bias, ctx.plan, ctx.ranks), Wanted(*ctx.needs_input_grad[:3])
        if _differentiated(push, ctx.ranks):
            return *_differentiable(head, wanted, label, ctx.charge, push), *[None] * 4
        if by_classes(head, wanted):
            return *gradients_by_classes(head, label, ctx.charge, stats, push, wanted), *[None] * 4
        found = losses_and_gradients(head, label, ctx.charge, push, wanted, stats=stats)
        scale = torch.ones_like(push[0]) if found.scale is None else found.scale
        pairs = zip(found[1:4], (hidden, weight, bias), strict=True)
        return *(_times(x, scale, like, kept=False) for x, like in pairs), *[None] * 4


def _differentiated(push: Tensor, ranks: Ranks | None) -> bool:
    """Say whether a backward is itself looked at; over ranks, whether for a derivative, which they cannot give."""
    if ranks is None:
        return needs_plain_torch(push)
    alone = not torch._C._are_functorch_transforms_active() and torch._C._has_storage(push)  # noqa: SLF001
    return torch.is_grad_enabled() or not alone


def _times(gradient: Tensor | None, factor: Tensor, like: Tensor | None, *, kept: bool) -> Tensor | None:
    """Give gradient·factor in the dtype of `like`; over the gradient's own memory unless it is kept."""
    if gradient is None or like is None:
        return None
    if gradient.dtype != like.dtype:
        return _rounded_product(gradient, factor, like.dtype)
    if kept:
        return gradient * factor
    if factor.device.type != "cpu" or factor.item() != 1:
        gradient.mul_(factor)
    return gradient.view_as(gradient)  # another tensor on the same memory, which `.grad` can take as it is


def _rounded_product(gradient: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """Multiply in the wide dtype and round once; in pieces, since a product of that size would stand there as a whole."""
    rounded = torch.empty_like(gradient, dtype=dtype)
    if gradient.device.type == "cuda":  # rounds on the way out, with nothing in between
        return torch.mul(gradient, factor, out=rounded)
    step = max(1, TILE // (gradient[0].numel() * gradient.itemsize))
    for start in range(0, gradient.shape[0], step):
        some = slice(start, start + step)
        rounded[some] = gradient[some] * factor
    return rounded


def _differentiable(head: Head, wanted: Wanted, label: Tensor, charge: Charge, up: Tensor) -> list[Tensor | None]:
    """Give the gradients in plain torch, with all the logits: for a second derivative, or many gradients at once."""
    if head.ranks is not None:
        raise RuntimeError(ONE_AT_A_TIME)
    with torch.enable_grad():
        layer = [None if x is None else x.detach().requires_grad_() if need and not x.requires_grad else x
                 for x, need in zip(head[:3], wanted, strict=True)]  # fmt: skip
        logits = _logits(Head._make([*layer, head.plan, None]), charge)
        charge = spread_out(charge, head.plan.sums)._replace(minus_floor=False)
        loss = _eager.row_losses(logits, label, charge)
        asked = [x for x, need in zip(layer, wanted, strict=True) if need and x is not None]
        found = iter(torch.autograd.grad(loss, asked, up.expand(loss.shape), create_graph=True))
    return [next(found) if need else None for need in wanted]


def _logits(head: Head, charge: Charge) -> Tensor:
    """Give all the logits, (N·P, K)."""
    hidden, weight, bias, plan, _ = head
    if charge.keep is not None:
        hidden = counted(hidden, charge.keep.view(-1, plan.positions).any(1))
    used, dtype = slice(0, plan.outputs), plan.products
    logits = F.linear(hidden.to(dtype), weight[used].to(dtype), None if bias is None else bias[used].to(dtype))
    return logits.view(-1, plan.classes)


def _tensors(charge: Charge) -> Iterator[Tensor]:
    return (x for x in charge if isinstance(x, Tensor))
