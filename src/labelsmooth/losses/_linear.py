"""Linear layer and loss in chunks of rows: the logits of a chunk stand in one buffer, which is used again for the next.

What shaped it:

- Per chunk: a matrix product into the buffer, the row kernel over it, which leaves the gradient where the logits were,
  two matrix products out of it. Three products in all need the gradient while the logits are there, that is in the
  forward; who cannot say in the forward what each row will be multiplied by pays for the first product twice.
- Sums over chunks are float32 also for half precision. What is multiplied in which dtype: `_linear_products.py`.
- Half-precision gradients of a mean over many rows would be rounded to 0 before a GradScaler can help. What each row is
  multiplied by is therefore brought near 1 by a power of two, which comes back as `scale`.
- Rows that do not count take no part: on a CPU they are left out of the products, elsewhere, where looking for them would
  wait for the device, they are replaced by zeros. Whatever they hold leaves no NaN in the weight's gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from ._linear_products import TILE, Head, Tiles, add_product
from ._linear_ranks import gradient_in_place, losses_of_all
from ._linear_rows import EAGER_BYTES, Rows, losses_in_place, native, part
from ._options import Charge, counted, spread_out

SHARE = 8  # of the logits may live at a time,
LEAST = 128 * 2**20  # or so many bytes, whichever is more
LEAST_CHUNK = LEAST // 4  # of which so many for the logits of a chunk
# Beyond so many rows a product gets no faster; on a GPU it keeps more cores busy.
MOST_ROWS = {"cpu": 1024}
MOST_ROWS_ELSEWHERE = 2048
LIBRARY = 24 * 2**20  # bytes that a matrix product takes for its own buffers


class Wanted(NamedTuple):
    """Whose gradients are asked for."""

    hidden: bool = False
    weight: bool = False
    bias: bool = False


NOTHING = Wanted()


class Gradients(NamedTuple):
    """Loss of each row and, summed over the rows times what each is multiplied by over `scale`, the gradients."""

    losses: Tensor  # (N·P)
    hidden: Tensor | None  # (N, D), in the dtype of the sums as all
    weight: Tensor | None  # (P·K + padded, D)
    bias: Tensor | None  # (P·K + padded)
    scale: Tensor | None  # (): multiply the gradients by it; None for 1


def losses_and_gradients(
    head: Head,
    label: Tensor,
    charge: Charge,
    up: Tensor | None = None,
    wanted: Wanted = NOTHING,
    *,
    stats: Tensor | None = None,
) -> Gradients:
    """Give the loss of each row and the gradients that are wanted.

    Args:
        head: what makes the logits.
        label: (N·P) int64, or (N·P, K).
        charge: the effective numbers; what has rows has N·P of them.
        up: (N·P), what the loss of each row is multiplied by; needed where a gradient is wanted.
        wanted: which gradients.
        stats: (3, N·P), where to leave what a gradient can be made from, row by row; where `head.ranks` are others and `up`
            is given, what was left there, and the losses are not computed again.

    """
    # Autocast has had its say in `head.plan.products`, and would have it again in every product here.
    with torch.no_grad(), torch.autocast(head.hidden.device.type, enabled=False):
        scale = None
        if up is not None and head.plan.products != head.plan.sums:
            scale = power_of_two(up)
            up = up / scale
        run = _Chunks(head, label, charge, up, wanted, stats)
        run.run()
        return Gradients(run.losses, run.to_hidden, run.to_weight, run.to_bias, scale)


def power_of_two(up: Tensor) -> Tensor:
    """Give the power of two below the largest absolute value, 1 where that is 0 or no number."""
    largest = up.abs().amax()
    exponent = torch.frexp(torch.where(largest.isfinite() & (largest > 0), largest, 1.0)).exponent
    return torch.ldexp(torch.ones_like(largest), exponent - 1)


def rows_at_a_time(head: Head) -> int:
    """Choose how many rows of `hidden` make a chunk; the same on all ranks, which wait for each other at each."""
    N = head.hidden.shape[0]
    if head.plan.chunk_rows:
        return min(head.plan.chunk_rows, N)
    if head.ranks is not None:  # as the rank with the most classes would
        most = max(head.ranks.shards.sizes)
        weight = head.weight.new_empty(1).expand(most, head.weight.shape[1])
        head = head._replace(weight=weight, plan=head.plan._replace(classes=most))
    plan = head.plan
    budget, device = may_take(head), head.hidden.device.type
    budget -= LIBRARY if native(device) else LIBRARY + EAGER_BYTES
    if head.weight.dtype != plan.products:
        budget -= TILE
    budget -= wide_bytes(head)
    rows = max(budget, LEAST_CHUNK) // (plan.outputs * plan.products.itemsize)
    rows = max(1, min(rows, MOST_ROWS.get(device, MOST_ROWS_ELSEWHERE)))
    return ceil(N / ceil(N / rows))  # chunks of one size


def may_take(head: Head) -> int:
    """Say how many bytes may live beside inputs and gradients."""
    return max(head.hidden.shape[0] * head.plan.outputs * head.hidden.itemsize // SHARE, LEAST)


def wide_bytes(head: Head) -> int:
    """Say how many bytes the gradients take that are kept in a wider dtype than they will have."""
    return sum(x.numel() * head.plan.sums.itemsize for x in (head.hidden, head.weight) if x.dtype != head.plan.sums)


def chunks(head: Head, charge: Charge, rows: int) -> Iterator[Rows]:
    """Give so many rows at a time, those that do not count left out where that is free."""
    keep = charge.keep
    if keep is not None and head.plan.positions == 1 and head.hidden.device.type == "cpu" and not bool(keep.all()):
        yield from (some for some in torch.split(keep.nonzero().squeeze(1), rows) if some.numel())
        return
    for start in range(0, head.hidden.shape[0], rows):
        yield slice(start, min(start + rows, head.hidden.shape[0]))


def chunk_of(head: Head, charge: Charge, rows: Rows) -> tuple[Tensor, Charge]:
    """Give some rows of `hidden` in the dtype of the products, (n, D), and their charge, (n·P) rows."""
    P = head.plan.positions
    some = part(charge, rows if isinstance(rows, Tensor) else slice(rows.start * P, rows.stop * P))
    some = spread_out(some, head.plan.sums)
    hidden = head.hidden[rows].to(head.plan.products)
    return hidden if some.keep is None else counted(hidden, some.keep.view(-1, P).any(1)), some


class _Chunks:
    """The buffers of one run over the rows."""

    def __init__(
        self, head: Head, label: Tensor, charge: Charge, up: Tensor | None, wanted: Wanted, stats: Tensor | None
    ) -> None:
        self.head, self.label, self.charge, self.up = head, label, charge, up
        hidden, weight, sums = head.hidden, head.weight, head.plan.sums
        self.rows = rows_at_a_time(head)
        self.tiles = Tiles(head)
        self.buffer = hidden.new_empty((self.rows, head.plan.outputs), dtype=head.plan.products)
        self.losses = hidden.new_zeros(label.shape[0], dtype=sums)
        self.stats = stats
        self.to_hidden = torch.zeros_like(hidden, dtype=sums) if wanted.hidden else None
        self.to_weight = hidden.new_empty(weight.shape, dtype=sums) if wanted.weight else None
        self.to_bias = hidden.new_zeros(weight.shape[0], dtype=sums) if wanted.bias else None

    def run(self) -> None:
        """Go through the rows."""
        first = True
        for rows in chunks(self.head, self.charge, self.rows):
            self.chunk(rows, first=first)
            first = False
        if self.to_weight is not None:
            self.to_weight[0 if first else self.head.plan.outputs :].zero_()  # padding, or all where no row counts

    def chunk(self, rows: Rows, *, first: bool) -> None:
        """Compute one chunk's losses and add its gradients."""
        head, P = self.head, self.head.plan.positions
        each = rows if isinstance(rows, Tensor) else slice(rows.start * P, rows.stop * P)
        hidden, charge = chunk_of(head, self.charge, rows)  # (n, D)
        chunk = self.buffer[: hidden.shape[0]]  # (n, P·K), the logits
        self.tiles.logits(hidden, out=chunk)
        up = None if self.up is None else self.up[each]
        z = chunk.view(len(chunk) * P, head.plan.classes)
        self.kernel(z, each, charge, up)
        if up is not None:
            self.add_gradients(chunk, hidden, rows, first=first)

    def kernel(self, z: Tensor, rows: Rows, charge: Charge, up: Tensor | None) -> None:
        """Compute the losses of some rows; where there is `up`, leave the gradient in place of the logits, (n, K)."""
        label, stats = self.label[rows], self.losses.new_empty((3, len(z)))
        if self.head.ranks is None:
            self.losses[rows] = losses_in_place(z, label, charge, up, stats)
        else:
            ranks = self.head.ranks.part(rows)
            if up is not None and self.stats is not None:
                stats = self.stats[:, rows].contiguous()
            else:
                self.losses[rows] = losses_of_all(z, label, charge, ranks, stats)
            if up is not None:
                gradient_in_place(z, label, charge, up, ranks, stats)
        if up is None and self.stats is not None:
            self.stats[:, rows] = stats

    def add_gradients(self, gradient: Tensor, hidden: Tensor, rows: Rows, *, first: bool) -> None:
        """Add what a chunk's gradient of the logits, (n, P·K), gives to those of the layer."""
        outputs = self.head.plan.outputs
        if self.to_hidden is not None:
            self.to_hidden[rows] = self.tiles.through(gradient).to(self.to_hidden.dtype)
        if self.to_weight is not None:
            add_product(self.to_weight[:outputs], gradient, hidden, first=first)
        if self.to_bias is not None:
            self.to_bias[:outputs] += gradient.sum(0, dtype=self.to_bias.dtype)
