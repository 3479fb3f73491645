"""The row kernel over a chunk's logits where the other classes are on other ranks.

What shaped it:

- A rank needs of the others two numbers a row: the logarithm of their sum and their part of the loss (`_parallel_rows.py`).
  They come in one all_gather for the chunk, while its logits stand in the buffer, and are added up in the same order on
  every rank, so that the loss is the same on all of them to the last bit.
- The gradient up·(p·(C + 2λ·LSE) − c) is that of this rank's own softmax with another mass on it, since
  p = exp(z − LSE) = exp(z − lse)·exp(lse − LSE). So the kernel writes it from its three numbers a row, the third
  replaced, and whoever keeps the three needs no message in a backward.
- What every row charges to every rank's classes, C_r, depends on no logit and is known before the first chunk.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import _eager
from ._cpu import GRADIENT, LOSS
from ._libraries import library_of
from ._linear_rows import Rows, part, pieces
from ._options import Charge
from ._parallel_rows import _finished, joined, mixed, summed
from ._parallel_shards import Shards, exchanged


class Ranks(NamedTuple):
    """Who holds the other classes, and what all of them are charged."""

    shards: Shards
    masses: Tensor  # (R, rows): C_r
    z_loss: float  # λ, on the LSE of all ranks; that of this rank's charge is 0

    def part(self, rows: Rows) -> Ranks:
        """Give what belongs to some rows."""
        return self._replace(masses=self.masses[:, rows])


def losses_of_all(z: Tensor, label: Tensor, charge: Charge, ranks: Ranks, stats: Tensor) -> Tensor:
    """Give the loss of each row over all ranks, and leave in `stats` what `gradient_in_place` needs.

    Args:
        z: (n, K_r) logits, contiguous, perhaps of no class.
        label: (n) int64, every entry a class that is here; or (n, K_r).
        charge: what these rows charge here: no mass at a label that is elsewhere, and no z-loss.
        ranks: the others, of these rows.
        stats: (3, n): m, s and (C + 2λ·LSE)·exp(lse − LSE), which is written here.

    """
    lse, loss = _own(z, label, charge, stats)
    if charge.minus_floor and z.shape[1]:
        loss = loss - _eager.floor(label, charge, like=loss, classes=z.shape[1])
    told = exchanged({"lse": lse, "loss": loss}, ranks.shards)
    total, rest = joined(told["lse"])  # (n), (R, n)
    losses = summed(told["loss"], rest, ranks.masses, charge.keep)
    mass = ranks.masses.sum(0)
    if charge.minus_floor:  # each rank took off its own; that of all takes C·ln C for Σ C_r·ln C_r
        losses = losses - (_eager.x_ln_x(mass) - _eager.x_ln_x(ranks.masses).sum(0))
    if ranks.z_loss:
        losses = losses + _eager.z_loss(total, charge._replace(z_loss=ranks.z_loss))
        mass = mass + 2 * ranks.z_loss * total
    here = rest[ranks.shards.rank]
    stats[2] = torch.where(torch.isneginf(lse), 0.0, mass * (-here).exp())
    return losses


def gradient_in_place(z: Tensor, label: Tensor, charge: Charge, up: Tensor, ranks: Ranks, stats: Tensor) -> None:
    """Leave the gradient of Σ up·loss in place of the logits; arguments as above, and up (n)."""
    if not z.shape[1]:
        return
    library = library_of(z.device.type)
    if library is not None:
        library.call(GRADIENT, z, label, charge, stats=stats, gradient=z, up=up)
        return
    by_lse = stats[2] - ranks.masses[ranks.shards.rank]  # ℓ = lse·C_r − Σ c·z has taken C_r off already
    for rows in pieces(z):
        with torch.enable_grad():
            leaf = z[rows].detach().requires_grad_()
            found = _mixed(leaf, label[rows], charge, rows)
            (gradient,) = torch.autograd.grad(found, leaf, (up[rows] * by_lse[rows], up[rows]))
        z[rows] = gradient


def _own(z: Tensor, label: Tensor, charge: Charge, stats: Tensor) -> tuple[Tensor, Tensor]:
    """Give lse and ℓ of this rank's classes."""
    library = library_of(z.device.type)
    if not z.shape[1]:
        nothing = z.new_zeros(z.shape[0], dtype=_eager.wide(z.dtype))
        return nothing - torch.inf, nothing
    if library is None:
        found = [_mixed(z[rows], label[rows], charge, rows) for rows in pieces(z)]
        lse, loss = (torch.cat(parts) for parts in zip(*found, strict=True))
        return lse, loss
    loss = z.new_empty(z.shape[0], dtype=_eager.wide(z.dtype))
    library.call(LOSS, z, label, charge, loss=loss, stats=stats)
    return _finished(loss, stats)


def _mixed(z: Tensor, label: Tensor, charge: Charge, rows: Rows) -> tuple[Tensor, Tensor]:
    owned = None if label.is_floating_point() else torch.ones_like(label, dtype=torch.bool)  # what is not has no mass
    return mixed(z, label, owned, part(charge, rows))
