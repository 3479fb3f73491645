"""A linear layer and its loss where the layer's classes are split over ranks: column-parallel, as Megatron has it.

What shaped it:

- What every row charges to every rank's classes (masses of soft labels, of a prior, what a mask leaves) depends on no logit.
  It is told in one message before the first chunk, where there is anything to tell; then a and b, v and the divisor are
  known, and a chunk needs of the others two numbers a row, whatever the convention (`_linear_ranks.py`).
- All ranks must cut the rows alike, since they wait for each other at every chunk: `_linear.py` reckons from the largest
  shard how many rows make one.
- Each rank has a part of the input's gradient, and a message in the backward adds them up: an all-reduce of the group, or
  what a mesh makes of it (`_parallel_linear_mesh.py`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  the name the whole world uses

from ._linear_loss import chunked, head_of, mask_of, reduced_loss
from ._linear_ranks import Ranks
from ._options import Folded, Words
from ._parallel import check_only_backward
from ._parallel_agreement import same_everywhere
from ._parallel_losses import reduced, row_losses
from ._parallel_parts import Summed, check_prior, folded_of, masked_label, room_of, uniform, without_logits
from ._parallel_read import Split, read
from ._parallel_shards import Shards, exchanged, shards_of


def is_distributed(x: object, weight: object, bias: object, group: object) -> bool:
    """Say whether the classes may be on several ranks, or anything is a DTensor."""
    return group is not None or any(type(tensor).__name__ == "DTensor" for tensor in (x, weight, bias))


def linear_cross_entropy(
    x: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, words: Words, chunk_rows: int
) -> Tensor:
    """Give the loss of a layer of which this rank has some classes; the words are checked, and shapes of the layer."""
    check_only_backward()
    if weight.dim() != 2:
        raise ValueError(f"with its classes split over ranks, linear_weight is (K, D), got shape {tuple(weight.shape)}: "
                         "compute the logits and give them to cross_entropy")  # fmt: skip
    if type(weight).__name__ == "DTensor" or type(x).__name__ == "DTensor":
        from ._parallel_linear_mesh import on_a_mesh  # loads torch.distributed.tensor, which only who has a DTensor has

        return on_a_mesh(x, weight, bias, target, words, chunk_rows)
    if type(bias).__name__ == "DTensor":
        raise TypeError(
            "linear_bias is a DTensor and linear_weight is none: give both as DTensors, or both as this rank's"
        )
    shards = shards_of(words.group, weight.shape[0], words.class_sizes, words.padded_classes)
    logits = like_logits(x, weight)
    if words.validate:
        same_everywhere(logits, -1, target, words, shards)
    return loss_here(same(x, shards), weight, bias, target, words, shards, None, chunk_rows)


def like_logits(x: Tensor, weight: Tensor) -> Tensor:
    """Give what has the logits' shape and no memory."""
    return x.new_empty(1).expand(*x.shape[:-1], weight.shape[0])


def loss_here(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    words: Words,
    shards: Shards,
    across: Summed | None,
    chunk_rows: int,
) -> Tensor:
    """Give the loss of rows that all ranks of `shards` have, each with its classes of the layer.

    The gradient of `x` is this rank's part of it.
    """
    words = words._replace(class_dim=-1)
    if not chunked(words, x, weight, bias, target, split=True) or not x.numel():
        return reduced(row_losses(F.linear(x, weight, bias), target, words, shards, across))
    words = words._replace(class_mask=mask_of(words.class_mask, x, bias, 0))
    split = read(like_logits(x, weight), target, words, shards)
    label, folded, masses = _told_before(split, across)
    ranks = Ranks(shards, masses, folded.charge.z_loss)
    folded = folded._replace(charge=folded.charge._replace(z_loss=0.0))
    head = head_of(x, weight, bias, shards.own, chunk_rows)._replace(ranks=ranks)
    return reduced_loss(head, label, split.given, folded, split.words)


def _told_before(split: Split, across: Summed | None) -> tuple[Tensor, Folded, Tensor]:
    """Give the label and the charge of the classes that are here, and what each row charges on each rank, (R, N)."""
    shards, here, label = split.shards, split.here, split.label
    owners = None if split.soft else shards.owners(label)
    owned = None if owners is None else owners[shards.rank]
    local = label if owned is None else (label - shards.start).where(owned, 0)
    said = without_logits(split, local, owned)
    rows = split.given.frame.rows
    told = exchanged(said, shards) if said else {}
    told = {name: x if x.dim() > 1 else x.view(-1, *[1] * len(rows)) for name, x in told.items()}  # one for all rows
    check_prior(split, told.get("prior"))
    room, dtype = room_of(split, told), split.given.frame.dtype
    folded = folded_of(split, told, room, across)
    a, b = folded.charge.label, folded.charge.spread
    b = b if room is None else b / room
    of_label = told["label"] if owners is None else owners.to(dtype)
    masses = a * of_label + b * told.get("prior", uniform(split))
    a = a if owned is None else a * owned.to(dtype)
    if (masked := masked_label(split, local, owned)) is not None:
        a = torch.where(masked, torch.nan, a)
    b = b * (shards.own / shards.classes) if here.prior is None else b
    a, b = (x.expand(rows) if isinstance(x, Tensor) and x.dim() else x for x in (a, b))
    charge = here._replace(label=a, spread=b, minus_floor=folded.charge.minus_floor, z_loss=folded.charge.z_loss)
    return local, folded._replace(charge=charge), masses.expand(-1, *rows).reshape(len(shards.sizes), -1)


# What all ranks have --------------------------------------------------------------------------------------------------


def same(x: Tensor, shards: Shards) -> Tensor:
    """Give what is the same on all ranks, each of which has a part of its gradient."""
    if shards.group is None:
        return x
    copy: Tensor = _Same.apply(x, shards.group)  # type: ignore[no-untyped-call]
    return copy


class _Same(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, up: Tensor) -> tuple[Tensor, None]:
        from torch.distributed import _functional_collectives as functional

        whole: Tensor = functional.wait_tensor(  # type: ignore[no-untyped-call]
            functional.all_reduce(up.contiguous(), "sum", ctx.group)
        )
        return whole, None
