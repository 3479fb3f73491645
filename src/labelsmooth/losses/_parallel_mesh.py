"""DTensor logits: classes split over one dimension of a mesh, rows over others or over none.

What shaped it:

- Every rank computes on its local shard, and the result is a DTensor of the same mesh: losses of rows as the rows lie, a sum
  or mean on every rank. What comes from the mesh (sizes of shards, who holds which rows) needs no message.
- A mean is that of all rows on the mesh, as everything a DTensor says is about the whole. DDP and FSDP, which know nothing
  of the mean of others, average gradients over their ranks: see docs/scaling.md for the factor.
- An argument may be a DTensor or a plain tensor. Redistributing the first is its own affair, gradients included. The second
  is what this rank has: its rows, and all classes or its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard

from . import _checks
from ._eager import wide
from ._options import Mass, Words
from ._parallel_shards import Shards, without_padding


class Layout(NamedTuple):
    """How logits lie on a mesh."""

    mesh: Any
    logits: tuple[Placement, ...]
    axis: int  # of the classes
    classes: int | None  # the dimension of the mesh that they are split over
    shape: torch.Size  # of all the logits
    dtype: torch.dtype  # of sums
    device: torch.device

    @property
    def rows(self) -> torch.Size:
        """The shape of all class indices."""
        return torch.Size(n for i, n in enumerate(self.shape) if i != self.axis)

    @property
    def of_rows(self) -> list[Placement]:
        """How the class indices lie."""
        return [Shard(p.dim - (p.dim > self.axis)) if isinstance(p, Shard) and p.dim != self.axis else Replicate()
                for p in self.logits]  # fmt: skip

    @property
    def of_sums(self) -> list[Placement]:
        """How a sum over this rank's rows lies."""
        return [Partial() if isinstance(p, Shard) else Replicate() for p in self.of_rows]

    @property
    def splits_rows(self) -> bool:
        """Whether other ranks have other rows."""
        return any(isinstance(p, Shard) for p in self.of_rows)

    def summed(self, x: Mass) -> Mass:
        """Sum over the ranks that hold other rows.

        Always by a message: where every row counts here, the number is none for a tensor, and some may not count elsewhere.
        """
        return self.total(torch.as_tensor(x, device=self.device).to(self.dtype)).to_local()

    def total(self, x: Tensor) -> DTensor:
        """Give the sum of what the ranks with different rows have, on all of them."""
        replicated = [Replicate()] * len(self.logits)
        return DTensor.from_local(x, self.mesh, self.of_sums, run_check=False).redistribute(self.mesh, replicated)

    def whole_rows(self, x: Tensor) -> DTensor:
        """Give a number a row as a DTensor."""
        stride = torch.empty(self.rows, device="meta").stride()
        return DTensor.from_local(x, self.mesh, self.of_rows, run_check=False, shape=self.rows, stride=stride)


def layout_of(logits: DTensor, words: Words) -> Layout:
    """Read where classes and rows lie."""
    if words.group is not None:
        raise ValueError(
            "group is for plain tensors, and these logits are a DTensor, whose mesh says who holds what: drop it"
        )
    if words.inplace:
        raise ValueError(
            "inplace is for plain tensors, and these logits are a DTensor: drop it, or pass logits.to_local() and group"
        )
    axis = _checks.class_axis(logits, words) % logits.dim()
    placements = tuple(logits.placements)
    if wrong := [p for p in placements if not (p.is_replicate() or type(p) is Shard)]:
        raise ValueError(
            f"logits are placed as {wrong[0]!r} on their mesh, expected Shard or Replicate: redistribute them"
        )
    over = [i for i, p in enumerate(placements) if p.is_shard(axis)]
    if len(over) > 1:
        raise ValueError(
            f"classes are split over {len(over)} dimensions of the mesh, expected one: redistribute the logits"
        )
    return Layout(logits.device_mesh, placements, axis, over[0] if over else None, logits.shape, wide(logits.dtype),
                  logits.to_local().device)  # fmt: skip


def shards_on(layout: Layout, columns: int, padded: int) -> Shards:
    """Say who holds which classes, as DTensor splits them."""
    total = layout.shape[layout.axis]
    if layout.classes is None:
        return Shards(None, 0, without_padding((total,), padded))
    ranks = layout.mesh.size(layout.classes)
    step = -(-total // ranks)
    sizes = tuple(max(0, min(step, total - step * rank)) for rank in range(ranks))  # as torch.chunk
    rank = layout.mesh.get_local_rank(layout.classes)
    if sizes[rank] != columns:
        raise ValueError(
            f"rank {rank} holds {columns} of {total} classes, expected {sizes[rank]} as torch.chunk splits them"
        )
    return Shards(layout.mesh.get_group(layout.classes), rank, without_padding(sizes, padded))


def local(name: str, x: Any, layout: Layout, shards: Shards) -> Any:
    """Give what this rank has of an argument, its gradient going back to where it came from."""
    if not isinstance(x, DTensor):
        return x
    if x.device_mesh != layout.mesh:
        raise ValueError(f"{name} lies on another mesh than the logits: redistribute it")
    by_class = name in {"weight", "prior", "class_mask"} or (name == "target" and x.is_floating_point())
    by_row = x.dim() > 0 and (x.dim() == len(layout.shape) or not by_class)
    axis = layout.axis if x.dim() == len(layout.shape) else 0
    wanted: list[Placement] = []
    back: list[Placement] = []
    for i, (rows, p) in enumerate(zip(layout.of_rows, x.placements, strict=True)):
        place: Placement = Replicate()
        if i == layout.classes and by_class and p.is_shard(axis):
            place = p
        elif by_row and isinstance(rows, Shard):
            place = Shard(rows.dim + (by_class and rows.dim >= layout.axis))
        wanted.append(place)
        # Whoever has all of an argument and sees some of the rows or classes has a part of its gradient.
        sees_a_part = isinstance(rows, Shard) or (i == layout.classes and by_class)
        back.append(Partial() if place.is_replicate() and sees_a_part else place)
    shard: Tensor = x.redistribute(layout.mesh, wanted).to_local(grad_placements=back)
    if by_class and layout.classes is not None and wanted[layout.classes].is_shard():
        return shard.narrow(axis, 0, min(shards.own, shard.shape[axis]))  # without columns that are no classes
    return shard
