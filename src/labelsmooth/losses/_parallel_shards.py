"""Who holds which classes, and what the ranks tell each other about a row.

What shaped it:

- Sizes are known to every rank before the loss is computed, so that whose class a label is costs no message. A DTensor says
  them; for a plain shard they are asked once for each group and kept, or given by name.
- One all_gather, whatever is sent: everything is put end to end. The sums over ranks are then taken by every rank in the
  same order, so that the loss is the same on all of them to the last bit. An all_reduce promises less.
- A rank's own part keeps its history, those of the others are constants. Every rank pushes the same gradient back, so that
  is the whole derivative and the backward needs no message. It holds for the first derivative only, and a second is refused.
- So what all ranks have and may learn, as ε, is multiplied with what was told and is no part of it: of a part, each rank
  would have the derivative of its own classes alone.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor

NO_SECOND = (
    "a loss whose classes are split over ranks gives no second derivative, whose other parts are on other ranks: "
    "drop create_graph"
)
ProcessGroup = Any  # torch.distributed has none where it was built without
_SIZES: WeakKeyDictionary[ProcessGroup, tuple[int, ...]] = WeakKeyDictionary()
# The second is what releases before 2.13 have, and it does the same.
_all_gather: Any = getattr(dist, "all_gather_single", None) or getattr(dist, "all_gather_into_tensor", None)


class Shards(NamedTuple):
    """The classes of every rank, without padding."""

    group: ProcessGroup | None  # None for one rank that needs none
    rank: int
    sizes: tuple[int, ...]  # (R) how many classes each rank holds, in order

    @property
    def classes(self) -> int:
        """K, on all ranks together."""
        return sum(self.sizes)

    @property
    def own(self) -> int:
        """How many classes are here."""
        return self.sizes[self.rank]

    @property
    def starts(self) -> list[int]:
        """The first class of every rank."""
        return [0, *accumulate(self.sizes)][:-1]

    @property
    def start(self) -> int:
        """The first class of this rank."""
        return self.starts[self.rank]

    def owners(self, label: Tensor) -> Tensor:
        """Say of each rank whether it holds the label, (R, rows)."""
        return torch.stack([(label >= at) & (label < at + size)
                            for at, size in zip(self.starts, self.sizes, strict=True)])  # fmt: skip


def shards_of(group: ProcessGroup, columns: int, class_sizes: object, padded: int) -> Shards:
    """Say who holds what where the logits are a plain tensor."""
    if dist.is_available() and group == dist.GroupMember.NON_GROUP_MEMBER:  # what new_group gives to other ranks
        raise ValueError("this rank is not in group: call the loss on the group's ranks only")
    if not dist.is_available() or not isinstance(group, dist.ProcessGroup):
        raise TypeError(f"group must be a torch.distributed ProcessGroup, got {type(group).__name__}")
    rank, ranks = dist.get_rank(group), dist.get_world_size(group)
    sizes = _sizes_of(group, columns, ranks) if class_sizes is None else _given(class_sizes, ranks)
    if sizes[rank] != columns:
        how = "class_sizes says" if class_sizes is not None else "when this group was first used it held"
        raise ValueError(f"rank {rank} has logits of {columns} classes, and {how} {sizes[rank]}: pass the sizes of all "
                         "ranks' shards as class_sizes")  # fmt: skip
    return Shards(group, rank, without_padding(sizes, padded))


def without_padding(sizes: tuple[int, ...], padded: int) -> tuple[int, ...]:
    """Take the trailing columns that are no classes off the last ranks."""
    if not 0 <= padded < sum(sizes):
        raise ValueError(f"padded_classes={padded} leaves no class of the {sum(sizes)} on all ranks")
    real, left = [], sum(sizes) - padded
    for size in sizes:
        real.append(min(size, left))
        left -= real[-1]
    return tuple(real)


def _given(class_sizes: object, ranks: int) -> tuple[int, ...]:
    if not isinstance(class_sizes, list | tuple) or not all(type(n) is int and n >= 0 for n in class_sizes):
        raise TypeError("class_sizes must be a list of integers not below 0, one for each rank of group, "
                        f"got {class_sizes!r}")  # fmt: skip
    if len(class_sizes) != ranks:
        raise ValueError(f"class_sizes names {len(class_sizes)} shards, and group has {ranks} ranks")
    return tuple(class_sizes)


def _sizes_of(group: ProcessGroup, columns: int, ranks: int) -> tuple[int, ...]:
    if group not in _SIZES:
        if torch.compiler.is_compiling():
            raise RuntimeError("under torch.compile the sizes of the shards must be known: pass class_sizes, or call the "
                               "loss once before compiling")  # fmt: skip
        _SIZES[group] = tuple(n for (n,) in told(torch.tensor([columns]), group, ranks).tolist())
    return _SIZES[group]


def told(own: Tensor, group: ProcessGroup, ranks: int) -> Tensor:
    """Give what each rank says, (R, n), of n numbers each."""
    if own.device.type == "cpu" and dist.get_backend(group) == "nccl":
        own = own.to("cuda")
    everyone = own.new_empty(ranks * own.numel())
    _all_gather(everyone, own.contiguous(), group=group)
    return everyone.view(ranks, -1)


def exchanged(parts: dict[str, Tensor], shards: Shards) -> dict[str, Tensor]:
    """Give every rank's parts, by one all_gather.

    Args:
        parts: this rank's, of shape (rows), or () for what is the same in all rows.
        shards: who there is.

    Returns:
        For each part (R, rows), or (R, 1, ...) where it is the same in all rows.

    """
    own = torch.cat([part.reshape(-1) for part in parts.values()])  # (n)
    ranks = len(shards.sizes)
    if shards.group is None:
        everyone = own.unsqueeze(0)
    else:
        everyone = _gathered(own.detach(), shards.group, ranks)
        if own.requires_grad and torch.is_grad_enabled():
            if not torch.compiler.is_compiling():
                own.register_hook(_only_first)  # type: ignore[no-untyped-call]
            everyone = torch.cat([everyone[: shards.rank], own.unsqueeze(0), everyone[shards.rank + 1 :]])
    axes = max(part.dim() for part in parts.values())
    pieces = torch.split(everyone, [part.numel() for part in parts.values()], dim=1)
    return {name: piece.view(ranks, *(part.shape or [1] * axes))
            for (name, part), piece in zip(parts.items(), pieces, strict=True)}  # fmt: skip


def _gathered(own: Tensor, group: ProcessGroup, ranks: int) -> Tensor:
    if torch.compiler.is_compiling():  # an operator without a buffer of its own, which a graph can hold
        from torch.distributed import _functional_collectives as functional

        return functional.all_gather_tensor(own, 0, group).view(ranks, -1)
    everyone = own.new_empty(ranks * own.numel())
    _all_gather(everyone, own, group=group)
    return everyone.view(ranks, -1)


def _only_first(_gradient: Tensor) -> None:
    if torch.is_grad_enabled():
        raise RuntimeError(NO_SECOND)
