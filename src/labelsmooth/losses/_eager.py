"""The loss in plain torch: any dtype of logits, double backward, function transforms.

It is the fallback and the referee of the native kernels, so it is written to be right first:

- Half-precision logits are read once into float32, where everything is summed; autograd brings the gradient back in one
  rounding.
- lse·Σc − Σ c·z, with the row's maximum taken out of both, so that what is subtracted is never positive and nothing
  cancels. Log-probabilities are never summed, a probability never logged: the first overflows float16 from about 4,096
  classes on, the second is −inf where a logit lies 100 below another.
- 0·∞ counts as 0: a class that is charged nothing does not matter, however far below the others it lies.
- A row that does not count is replaced by zeros after the maximum is taken out, and not multiplied by 0, which would
  leave NaN in its gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._options import Charge, Folded, Mass, counted


class Terms(NamedTuple):
    """What a row's logits come down to."""

    label_loss: Tensor  # (rows) H(q,p) = lse·Σq − Σ q·z
    prior_loss: Tensor | None  # (rows) H(v,p) = lse·Σv − Σ v·z; None where nothing is spread
    lse: Tensor | None  # (rows) with the maximum put back; None where nobody asks for λ·lse²


def wide(dtype: torch.dtype) -> torch.dtype:
    """Name the dtype in which logits of `dtype` are summed, which is also that of the loss."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def row_losses(logits: Tensor, label: Tensor, charge: Charge) -> Tensor:
    """Loss of each row, 0 where it does not count: what every kernel computes.

    Args:
        logits: (rows, K), any floating dtype.
        label: (rows) int64, or (rows, K) in the dtype of the sums.
        charge: the effective numbers.

    Returns:
        (rows), float32, or float64 for float64 logits.

    """
    parts = terms(logits, label, charge)
    loss = mix(parts, charge.label, charge.spread, charge.keep)
    if charge.minus_floor:
        loss = loss - floor(label, charge, like=loss, classes=logits.shape[-1])
    return loss if parts.lse is None else loss + z_loss(parts.lse, charge)


def at_once(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """Give the loss and keep its gradient, so that nothing else of the size of the logits lives until the backward.

    A compiler plans that by itself and gets the plain loss; so does who asks for no gradient.
    """
    if torch.compiler.is_compiling() or not (logits.requires_grad and torch.is_grad_enabled()):
        return loss(logits)
    once: Tensor = _AtOnce.apply(logits, loss)  # type: ignore[no-untyped-call]
    return once


class _AtOnce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            z = logits.detach().requires_grad_()
            value = loss(z)
        ctx.save_for_backward(*torch.autograd.grad(value, z))
        return value.detach()

    @staticmethod
    def backward(ctx: Any, push: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():  # `once_differentiable` would pass the gradient on as a constant
            raise RuntimeError("gradient_in_forward gives no second derivative: drop it where create_graph is used")
        (gradient,) = ctx.saved_tensors
        return gradient * push, None


def terms(logits: Tensor, label: Tensor, charge: Charge, *, both: bool = False) -> Terms:
    """Reduce the logits to two numbers a row, the second only if it is charged or `both` are wanted."""
    z = logits.to(wide(logits.dtype))  # (rows, K)
    if charge.softcap is not None:
        z = counted(z, charge.keep)  # first, as tanh sends 0·NaN back from what is taken out after it
        z = z if charge.allowed is None else torch.where(charge.allowed, z, 0.0)
        z = charge.softcap * (z / charge.softcap).tanh()
    if charge.allowed is not None:
        z = torch.where(charge.allowed, z, -torch.inf)
    # Detached: the loss does not depend on m, so neither its gradient nor its second derivative needs m's.
    m = z.detach().amax(-1, keepdim=True)
    z = counted(z - m, charge.keep)
    lse = z.exp().sum(-1).log()  # (rows); logsumexp would look for the maximum again
    whole = lse + m.squeeze(-1) if charge.z_loss else None
    if label.is_floating_point():
        label_loss = _cross(label if charge.weight is None else label * charge.weight, z, lse)
    else:
        label_loss = lse - z.gather(-1, label.unsqueeze(-1)).squeeze(-1)
    if not (both or isinstance(charge.spread, Tensor) or charge.spread):
        return Terms(label_loss, None, whole)
    return Terms(label_loss, lse - z.mean(-1) if charge.prior is None else _cross(charge.prior, z, lse), whole)


def mix(parts: Terms, label: Mass, spread: Mass, keep: Tensor | None) -> Tensor:
    """Cross-entropy of each row from its terms: label·H(q,p) + spread·H(v,p)."""
    loss = _times(label, parts.label_loss)
    if parts.prior_loss is not None:
        loss = loss + _times(spread, parts.prior_loss)
    return counted(loss, keep)


def parted(found: Terms, folded: Folded, floor: Tensor) -> tuple[Tensor, ...]:
    """Give of each row the loss, what it is against the label and against the prior, its floor and its λ·lse²."""
    charge, factors = folded.charge, folded.factors
    loss = mix(found, charge.label, charge.spread, charge.keep)
    label_loss = mix(found, *factors.masses(1.0, 0.0), charge.keep)
    prior_loss = mix(found, *factors.masses(0.0, 1.0), charge.keep)
    if charge.minus_floor:
        loss, floor = loss - floor, torch.zeros_like(floor)
    more = torch.zeros_like(loss) if found.lse is None else z_loss(found.lse, charge)
    return loss + more, label_loss, prior_loss, floor, more


def z_loss(lse: Tensor, charge: Charge) -> Tensor:
    """Give λ·lse² of each row that counts."""
    return counted(charge.z_loss * lse * lse, charge.keep)


def floor(label: Tensor, charge: Charge, *, like: Tensor, classes: int) -> Tensor:
    """Smallest cross-entropy each row can have: −Σ c·ln(c/C), C = Σc, reached at p = c/C."""
    a, b = (torch.as_tensor(mass, dtype=like.dtype, device=like.device) for mass in (charge.label, charge.spread))
    v = like.new_full((1,), 1 / classes) if charge.prior is None else charge.prior  # (1,), (K,) or (rows, K)
    spread = b.unsqueeze(-1) * v  # (1), (K,), (rows, 1) or (rows, K)
    if label.is_floating_point():
        own = label if charge.weight is None else label * charge.weight
        mass = a.unsqueeze(-1) * own + spread  # (rows, K)
        negative_floor = x_ln_x(mass).sum(-1) - x_ln_x(mass.sum(-1))
    else:
        # All classes as if none were the label, then the label's own: no dense target.
        repeats = classes if charge.prior is None else 1
        at = spread.expand(*label.shape, classes).gather(-1, label.unsqueeze(-1)).squeeze(-1)  # (rows)
        others = repeats * x_ln_x(spread).sum(-1) - x_ln_x(at)
        negative_floor = others + x_ln_x(a + at) - x_ln_x(a + repeats * spread.sum(-1))
    return counted(-negative_floor, charge.keep)


def _cross(mass: Tensor, z: Tensor, lse: Tensor) -> Tensor:
    """Give lse·Σ mass − Σ mass·z, a class without mass adding nothing even at −inf."""
    # Elementwise, not a matrix product: autocast and TF32 would take that one in lower precision.
    reachable = torch.where((mass == 0) & torch.isneginf(z), 0.0, z)
    return lse * mass.sum(-1) - (mass * reachable).sum(-1)


def _times(mass: Mass, loss: Tensor) -> Tensor:
    """Give mass·loss, 0 where there is no mass even if the loss is infinite."""
    if isinstance(mass, Tensor):
        return mass * torch.where((mass == 0) & torch.isinf(loss), 0.0, loss)
    # 0 times a finite loss, and not a constant: the logits have a gradient even where nothing is charged, namely 0.
    return 0.0 * torch.where(torch.isfinite(loss), loss, 0.0) if mass == 0 else mass * loss


def x_ln_x(x: Tensor) -> Tensor:
    """Give x·ln x, 0 at 0 and at the −1e-17 that rounding leaves, with a gradient that is finite there."""
    inside = x > 0
    return torch.where(inside, x * torch.where(inside, x, 1.0).log(), 0.0)
