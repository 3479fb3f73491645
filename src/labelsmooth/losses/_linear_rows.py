"""The row kernel over a chunk's logits: the loss of each row, and the gradient where the logits were.

Plain torch, where there is no native kernel, holds several copies of what it works on. It is therefore given a few rows of
the chunk at a time, so that the matrix products can keep a chunk of their own size.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from . import _eager
from ._cpu import BOTH, LOSS
from ._libraries import library_of
from ._options import Charge, Mass

Rows = slice | Tensor  # which rows: a range, or their numbers

EAGER_COPIES = 8  # of the logits in the dtype of the sums, which plain torch holds at a time
EAGER_BYTES = 24 * 2**20  # that they may take


def losses_in_place(z: Tensor, label: Tensor, charge: Charge, up: Tensor | None, stats: Tensor) -> Tensor:
    """Give the loss of each row; where there is `up`, leave the gradient of Σ up·loss in place of the logits.

    Args:
        z: (n, K) logits, contiguous.
        label: (n) int64, or (n, K).
        charge: the effective numbers of these rows.
        up: (n) or None.
        stats: (3, n), where the native kernel leaves what it can make a gradient from.

    """
    library = library_of(z.device.type)
    if library is None:
        return _plain(z, label, charge, up)
    loss = z.new_empty(z.shape[0], dtype=_eager.wide(z.dtype))
    if up is None:
        library.call(LOSS, z, label, charge, loss=loss, stats=stats)
    else:
        library.call(BOTH, z, label, charge, loss=loss, stats=stats, gradient=z, up=up)
    return loss - _eager.floor(label, charge, like=loss, classes=z.shape[1]) if charge.minus_floor else loss


def native(device: str) -> bool:
    """Say whether a native kernel computes there."""
    return library_of(device) is not None


def _plain(z: Tensor, label: Tensor, charge: Charge, up: Tensor | None) -> Tensor:
    found = []
    for rows in pieces(z):
        if up is None:
            found.append(_eager.row_losses(z[rows], label[rows], part(charge, rows)))
            continue
        with torch.enable_grad():
            leaf = z[rows].detach().requires_grad_()
            loss = _eager.row_losses(leaf, label[rows], part(charge, rows))
            (gradient,) = torch.autograd.grad(loss, leaf, up[rows])
        z[rows] = gradient
        found.append(loss.detach())
    return torch.cat(found)


def pieces(z: Tensor) -> Iterator[slice]:
    """Give as many of the rows at a time as plain torch may copy."""
    step = max(1, EAGER_BYTES // (EAGER_COPIES * z.shape[1] * _eager.wide(z.dtype).itemsize))
    for start in range(0, z.shape[0], step):
        yield slice(start, start + step)


def part(charge: Charge, rows: Rows) -> Charge:
    """Give the charge of some rows."""

    def mass(x: Mass) -> Mass:
        return x[rows] if isinstance(x, Tensor) and x.dim() else x

    def per_class(x: Tensor | None) -> Tensor | None:
        return x if x is None or x.dim() == 1 else x[rows]

    keep = None if charge.keep is None else charge.keep[rows]
    return charge._replace(label=mass(charge.label), spread=mass(charge.spread), prior=per_class(charge.prior),
                           allowed=per_class(charge.allowed), keep=keep)  # fmt: skip
