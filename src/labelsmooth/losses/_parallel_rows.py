"""What one rank's classes add to each row: its own logarithm of a sum, and its own part of the cross-entropy.

A rank charges its own classes against its own softmax, which is what a kernel computes anyway and never cancels:

    ℓ = lse·C − Σ c·z     over the classes that are here, C = Σ c

What is missing on the whole is (LSE − lse)·C, LSE that of all ranks, and is never negative where C is not. A row whose
classes here are all at −∞ has lse = −∞ and is otherwise left alone: it is no NaN, because other ranks have more of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import _eager, _kernels
from ._libraries import LIBRARIES
from ._options import Charge, counted

ONE_AT_A_TIME = (
    "a loss whose classes are split over ranks has first derivatives only, one at a time: drop create_graph, "
    "is_grads_batched and vectorize"
)


class Here(NamedTuple):
    """A row's numbers on this rank, each (rows)."""

    lse: Tensor  # −inf where every class is
    label_loss: Tensor  # lse·Q − Σ q·z, Q the label's mass that is here
    prior_loss: Tensor  # lse·V − Σ v·z


def terms(z: Tensor, label: Tensor, owned: Tensor | None, charge: Charge, share: float) -> Here:
    """Give this rank's part of both cross-entropies, in plain torch.

    Args:
        z: (rows, K_r) logits of the classes that are here, perhaps none.
        label: (rows) int64, counted from the first class here; or (rows, K_r).
        owned: (rows), whether the label is here; None for a soft label.
        charge: prior, mask, weight of a soft label, keep and softcap; the masses are not looked at.
        share: K_r/K, the mass of a uniform prior that is here.

    """
    if not z.shape[-1]:
        nothing = z.sum(-1, dtype=_eager.wide(z.dtype))  # 0, and remembers where it comes from
        return Here(nothing - torch.inf, nothing, nothing)
    charge = charge._replace(label=1.0, spread=1.0, z_loss=1.0)  # so that nothing is left out
    empty = _nothing_finite(z, charge)
    keep = ~empty if charge.keep is None else charge.keep & ~empty
    parts = _eager.terms(z, label if owned is None else label.where(owned, 0), charge._replace(keep=keep), both=True)
    lse, prior_loss = parts.lse, parts.prior_loss
    if lse is None or prior_loss is None:
        raise RuntimeError("plain torch has left out what it was asked for")
    label_mass, prior_mass = _masses(label, owned, charge, share)
    if charge.prior is None:
        prior_loss = prior_loss * share
    label_loss = parts.label_loss if owned is None else parts.label_loss.where(owned, 0.0)
    lse = lse.where(~empty, -torch.inf)
    if charge.keep is not None:
        lse = lse.where(charge.keep, 0.0)
        empty = empty & charge.keep
    return Here(lse, *(torch.where(empty, torch.where(mass > 0, torch.inf, 0.0).to(loss.dtype), loss)
                       for mass, loss in ((label_mass, label_loss), (prior_mass, prior_loss))))  # fmt: skip


def _nothing_finite(z: Tensor, charge: Charge) -> Tensor:
    """Find the rows in which no class here can be predicted."""
    if charge.softcap is not None:  # brings −inf back to −c
        none = z.new_zeros(z.shape[:-1], dtype=torch.bool)
        return none if charge.allowed is None else none | ~charge.allowed.any(-1)
    z = z.detach()
    return torch.isneginf((z if charge.allowed is None else z.where(charge.allowed, -torch.inf)).amax(-1))


def _masses(label: Tensor, owned: Tensor | None, charge: Charge, share: float) -> tuple[Tensor, Tensor]:
    if owned is None:
        own = (label if charge.weight is None else label * charge.weight).detach().sum(-1)
    else:
        own = owned.to(torch.float32)
    v = torch.tensor(share, device=label.device) if charge.prior is None else charge.prior.detach().sum(-1)
    return own, v


def mixed(z: Tensor, label: Tensor, owned: Tensor | None, charge: Charge) -> tuple[Tensor, Tensor]:
    """Give lse and ℓ of each row in plain torch, for what `charged` asks of the native kernel.

    The spread mass under a uniform prior is that of this rank, which `terms` would take its share of once more.
    """
    found = terms(z, label, owned, charge, 1.0)
    return found.lse, _eager.mix(_eager.Terms(found.label_loss, found.prior_loss, None), charge.label, charge.spread,
                                 charge.keep)  # fmt: skip


# The native kernel ----------------------------------------------------------------------------------------------------


def charged(z: Tensor, label: Tensor, charge: Charge, *, inplace: bool = False) -> tuple[Tensor, Tensor]:
    """Give lse and ℓ of each row from the native kernel, which has been found to serve.

    Args:
        z: (rows, K_r).
        label: (rows) int64, every entry a class that is here.
        charge: what this rank charges: no mass at a label that is elsewhere, and no z-loss.
        inplace: the backward writes the gradient over the logits.

    """
    if z.requires_grad and torch.is_grad_enabled():
        if inplace:
            _kernels.may_be_overwritten(z)
        lse, loss = _Rows.apply(z, label, charge, inplace)  # type: ignore[no-untyped-call]
        return lse, loss
    loss, stats = LIBRARIES[z.device.type].forward(z, label, charge)
    return _finished(loss, stats)


def _finished(loss: Tensor, stats: Tensor) -> tuple[Tensor, Tensor]:
    """Give lse and ℓ from what the kernel left, and mend rows at −∞ in the loss and in what the backward will read."""
    m, s, mass = stats
    empty = torch.isneginf(m)
    if m.device.type == "cpu" and not empty.any():  # to look at it would wait for another device
        return m + s.log(), loss
    loss = torch.where(empty, torch.where(mass > 0, torch.inf, 0.0).to(loss.dtype), loss)
    lse = (m + s.log()).masked_fill(empty, -torch.inf)
    m.masked_fill_(empty, 0.0)
    s.masked_fill_(empty, 1.0)  # exp(−inf − 0) / 1 = 0
    return lse, loss


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, label: Tensor, charge: Charge, inplace: bool) -> tuple[Tensor, Tensor]:
        loss, stats = LIBRARIES[z.device.type].forward(z, label, charge)
        lse, loss = _finished(loss, stats)
        ctx.save_for_backward(z, label, stats, *(x for x in charge if isinstance(x, Tensor)))
        ctx.charge, ctx.inplace = charge, inplace
        return lse, loss

    @staticmethod
    def backward(ctx: Any, up_lse: Tensor, up: Tensor) -> tuple[Tensor, None, None, None]:
        z, label, stats, *_ = ctx.saved_tensors
        if _kernels.needs_plain_torch(up):
            raise RuntimeError(ONE_AT_A_TIME)
        stats, up = with_more_mass(stats, up_lse, up), up.contiguous()
        if ctx.inplace:
            return _kernels.overwrite(up, z, label, stats, ctx.charge), None, None, None
        return LIBRARIES[z.device.type].backward(up, z, label, stats, ctx.charge), None, None, None


def with_more_mass(stats: Tensor, up_lse: Tensor, up: Tensor) -> Tensor:
    """Let the kernel's gradient up·(p·Σc − c) be up·(p·Σc − c) + up_lse·p.

    Both gradients come from one loss, and where a row's is 0 so is the other.
    """
    more = torch.where(up == 0, 0.0, up_lse / up)
    return torch.stack([stats[0], stats[1], stats[2] + more])


def joined(lse: Tensor) -> tuple[Tensor, Tensor]:
    """Give LSE, (rows), and LSE − lse of every rank, (R, rows), never −inf or NaN because of one rank's −inf.

    The largest is taken out first: where logits are 10,000, what is left of a difference of two such numbers is noise.
    """
    most = lse.detach().amax(0)  # (rows)
    below = lse - most  # (R, rows), at most 0
    total = below.exp().sum(0).log()  # (rows)
    return total + most, total - torch.where(torch.isneginf(lse), -most, below)


def summed(parts: Tensor, rest: Tensor, mass: Tensor, keep: Tensor | None) -> Tensor:
    """Give Σ_r parts + rest·mass over the ranks; all (R, rows) but keep, (rows)."""
    return counted((parts + rest * mass).sum(0), keep)
