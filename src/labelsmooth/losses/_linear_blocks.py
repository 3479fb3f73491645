"""The backward of a large head in half precision: a block of classes at a time, each block of the gradient finished at once.

What shaped it:

- Going through the rows in chunks, the weight's gradient is a sum that grows with every chunk, and it has to be held in
  float32: twice the memory of the gradient itself, which for a large head is more than all the rest. Where it does not fit,
  the forward keeps three numbers a row, and the backward goes through the classes instead: all rows of a block, then the next
  block, each sum rounded once and forgotten.
- The price is a fourth matrix product, the logits computed again, as `reduction="none"` has it anyway. In exchange what
  arrives is multiplied in before the rounding, whatever it is, and a graph that is kept keeps no gradients.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import _cpu as library
from ._libraries import library_of
from ._linear import (
    LEAST,
    LEAST_CHUNK,
    LIBRARY,
    MOST_ROWS,
    Wanted,
    chunk_of,
    chunks,
    may_take,
    power_of_two,
    wide_bytes,
)
from ._linear_products import Head, add_product
from ._options import Charge


def by_classes(head: Head, wanted: Wanted) -> bool:
    """Say whether the sums of a head's gradient are too large to be held, where a kernel takes some classes of a row."""
    if not wanted.weight or head.plan.positions > 1 or library_of(head.hidden.device.type) is not library:
        return False
    return wide_bytes(head) > 0 and wide_bytes(head) + LEAST_CHUNK + LIBRARY > may_take(head)


class _Sizes(NamedTuple):
    rows: int
    classes: int


def _sizes(head: Head) -> _Sizes:
    """Choose how many rows and classes are worked on at a time: the logits, a tile of the weight and of its gradient."""
    N, D = head.hidden.shape
    rows = min(N, head.plan.chunk_rows or MOST_ROWS["cpu"])
    a_class = (rows + D) * head.plan.products.itemsize + D * head.plan.sums.itemsize
    room = max(may_take(head) - LIBRARY - head.hidden.numel() * head.plan.sums.itemsize, LEAST // 2)
    return _Sizes(rows, max(1, min(room // a_class, head.plan.classes)))


def gradients_by_classes(
    head: Head, label: Tensor, charge: Charge, stats: Tensor, up: Tensor, wanted: Wanted
) -> list[Tensor | None]:
    """Give the gradients of Σ up·loss, each in the dtype of what it is the gradient of.

    Args:
        head: what makes the logits.
        label: (N) int64, or (N, K).
        charge: the effective numbers; what has rows has N of them.
        stats: (3, N), what the forward kept.
        up: (N), what the loss of each row is multiplied by.
        wanted: which gradients.

    """
    with torch.no_grad(), torch.autocast(head.hidden.device.type, enabled=False):
        scale = power_of_two(up)
        return _Blocks(head, label, charge, stats, up / scale, wanted).run(scale)


class _Blocks:
    """The buffers of one run over the classes."""

    def __init__(self, head: Head, label: Tensor, charge: Charge, stats: Tensor, up: Tensor, wanted: Wanted) -> None:
        self.head, self.label, self.charge, self.stats, self.up = head, label, charge, stats, up
        plan, D = head.plan, head.hidden.shape[1]
        self.sizes = _sizes(head)
        self.logits = head.hidden.new_empty(self.sizes.rows * self.sizes.classes, dtype=plan.products)
        self.sums = head.hidden.new_empty((self.sizes.classes, D), dtype=plan.sums)
        self.to_hidden = torch.zeros_like(head.hidden, dtype=plan.sums) if wanted.hidden else None
        self.to_weight = torch.zeros_like(head.weight)
        self.to_bias = None if head.bias is None or not wanted.bias else torch.zeros_like(head.bias)

    def run(self, scale: Tensor) -> list[Tensor | None]:
        """Go through the classes; `scale` has been taken out of what the rows are multiplied by."""
        for start in range(0, self.head.plan.classes, self.sizes.classes):
            at = slice(start, min(start + self.sizes.classes, self.head.plan.classes))
            sums, bias = self.block(at)
            self.to_weight[at] = sums.mul_(scale)
            if self.to_bias is not None:
                self.to_bias[at] = bias * scale
        to_hidden = None if self.to_hidden is None else self.to_hidden.mul_(scale).to(self.head.hidden.dtype)
        return [to_hidden, self.to_weight, self.to_bias]

    def block(self, at: slice) -> tuple[Tensor, Tensor]:
        """Sum the gradients of some classes over all rows, (k, D) and (k)."""
        head, dtype = self.head, self.head.plan.products
        weight = head.weight[at].to(dtype)  # (k, D)
        bias = None if head.bias is None else head.bias[at].to(dtype)
        sums, to_bias = self.sums[: len(weight)], self.sums.new_zeros(len(weight))
        first = True
        for rows in chunks(head, self.charge, self.sizes.rows):
            hidden, charge = chunk_of(head, self.charge, rows)
            z = self.logits[: len(hidden) * len(weight)].view(len(hidden), len(weight))
            torch.mm(hidden, weight.t(), out=z) if bias is None else torch.addmm(bias, hidden, weight.t(), out=z)
            self.gradient(z, rows, charge, at)
            if self.to_hidden is not None:
                self.to_hidden[rows] += z @ weight
            add_product(sums, z, hidden, first=first)
            to_bias += z.sum(0, dtype=to_bias.dtype)
            first = False
        return (sums.zero_() if first else sums), to_bias

    def gradient(self, z: Tensor, rows: slice | Tensor, charge: Charge, at: slice) -> None:
        """Turn the logits of some rows and classes into their gradient."""
        label = self.label[rows]
        some = charge._replace(prior=_columns(charge.prior, at), weight=_columns(charge.weight, at),
                               allowed=_columns(charge.allowed, at))  # fmt: skip
        library.call(library.GRADIENT, z, label[:, at] if label.is_floating_point() else label, some,
                     stats=self.stats[:, rows].contiguous(), gradient=z, up=self.up[rows],
                     classes=(at.start, self.head.plan.classes))  # fmt: skip


def _columns(x: Tensor | None, at: slice) -> Tensor | None:
    return None if x is None else x[..., at]
