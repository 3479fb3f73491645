"""A linear layer on a mesh, and its loss: the layer's classes split over one dimension, rows over others or over the same.

What shaped it:

- The rows are wanted by every rank that has some of the classes. An input whose rows lie over that dimension of the mesh is
  gathered, and its gradient scattered, by DTensor's own redistribution; one that all ranks have gets an all-reduce.
- A DTensor that all ranks have is seen by some of them with other rows, and then each has a part of its gradient. What part of
  what is said once, here, and adding up is DTensor's affair.
- A head that FSDP2 has sharded looks like a column-parallel one, and every rank has other rows. The first loss on each group
  therefore compares what the ranks were given, where the input is no DTensor that would say so.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard

from . import _parallel_mesh as mesh
from ._eager import wide
from ._options import Words
from ._parallel_agreement import same_everywhere
from ._parallel_linear import like_logits, loss_here, same
from ._parallel_shards import Shards

_COMPARED: WeakSet[Any] = WeakSet()  # groups
FSDP = (
    "a head that fully_shard has sharded is whole inside its module's forward only, so compute the loss there or call "
    "unshard() first"
)


def on_a_mesh(x: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, words: Words, chunk_rows: int) -> Tensor:
    """Give the loss of a layer that lies on a mesh, as a DTensor."""
    layout = _layout(x, weight, words)
    own_weight = _parameter("linear_weight", weight, layout)
    own_bias = None if bias is None else _parameter("linear_bias", bias, layout)
    shards = mesh.shards_on(layout, own_weight.shape[0], words.padded_classes)
    hidden = _rows(x, layout) if isinstance(x, DTensor) else same(x, shards)
    target, words = mesh.local_words(target, words, layout, shards)
    _compare(like_logits(hidden, own_weight), target, words, shards, said=isinstance(x, DTensor))
    across = layout.across(words.reduction)
    loss = loss_here(hidden, own_weight, own_bias, target, words, shards, across, chunk_rows)
    return layout.whole(loss, words.reduction)


def _layout(x: Tensor, weight: Tensor, words: Words) -> mesh.Layout:
    """Say how the logits would lie."""
    if not isinstance(weight, DTensor):
        raise TypeError(
            "input is a DTensor and linear_weight is none: give both as DTensors of one mesh, or input.to_local()"
        )
    if words.group is not None or words.class_sizes is not None:
        raise ValueError("group and class_sizes are for plain tensors, and linear_weight is a DTensor, whose mesh says who "
                         "holds what: drop them")  # fmt: skip
    if isinstance(x, DTensor) and x.device_mesh != weight.device_mesh:
        raise ValueError("input lies on another mesh than linear_weight: redistribute it")
    over = [i for i, p in enumerate(weight.placements) if type(p) is Shard and p.dim == 0]
    if len(over) > 1 or any(not p.is_replicate() for i, p in enumerate(weight.placements) if i not in over):
        raise ValueError(f"linear_weight is placed as {tuple(weight.placements)} on its mesh, expected Shard(0), its classes, "
                         f"on one dimension and Replicate on others: redistribute it; {FSDP}")  # fmt: skip
    last = x.dim() - 1
    placements: list[Placement] = []
    for i, p in enumerate(x.placements if isinstance(x, DTensor) else [Replicate()] * weight.device_mesh.ndim):
        by_row = type(p) is Shard and p.dim < last
        placements.append(Shard(last) if i in over else p if by_row else Replicate())
    shape = torch.Size([*x.shape[:-1], weight.shape[0]])
    return mesh.Layout(weight.device_mesh, tuple(placements), last, over[0] if over else None, shape, wide(x.dtype),
                       weight.to_local().device)  # fmt: skip


def _parameter(name: str, x: Tensor, layout: mesh.Layout) -> Tensor:
    """Give this rank's classes of weight or bias; its gradient is whole where all ranks of a dimension see the same rows."""
    if not isinstance(x, DTensor):
        raise TypeError(f"{name} is plain and linear_weight a DTensor: give it as a DTensor of the same mesh")
    if x.device_mesh != layout.mesh:
        raise ValueError(f"{name} lies on another mesh than linear_weight: redistribute it")
    wanted, back = [], []
    for i, rows in enumerate(layout.of_rows):
        place: Placement = Shard(0) if i == layout.classes else Replicate()
        wanted.append(place)
        back.append(Partial() if isinstance(rows, Shard) else place)
    here: Tensor = x.redistribute(layout.mesh, wanted).to_local(grad_placements=back)
    return here


def _rows(x: DTensor, layout: mesh.Layout) -> Tensor:
    """Give the rows that this rank and those with its other classes share; each has a part of their gradient."""
    wanted = layout.of_rows
    back = [Partial() if i == layout.classes else place for i, place in enumerate(wanted)]
    here: Tensor = x.redistribute(layout.mesh, wanted).to_local(grad_placements=back)
    return here


def _compare(logits: Tensor, target: Tensor, words: Words, shards: Shards, *, said: bool) -> None:
    """Compare what the ranks were given, if asked for; and once for each group where a plain input could be anything."""
    first = not said and shards.group is not None and shards.group not in _COMPARED
    if not words.validate and (not first or words.validate is False or torch.compiler.is_compiling()):
        return
    try:
        same_everywhere(logits, -1, target, words, shards)
    except ValueError as error:
        raise ValueError(f"{error}; {FSDP}") from None
    if shards.group is not None:
        _COMPARED.add(shards.group)
