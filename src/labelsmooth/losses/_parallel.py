"""The loss where classes are split over ranks: a large vocabulary, each rank with its columns.

The front ends: a plain shard with its group, or a DTensor whose mesh says the same; logits, or a linear layer that makes
them. What is computed stands in `_parallel_losses.py`, and what is sent in `_parallel_shards.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F  # noqa: N812  the name the whole world uses

from . import _checks, _cpu, _eager
from ._options import Words
from ._parallel_agreement import same_everywhere
from ._parallel_losses import reduced, row_losses, row_losses_apart
from ._parallel_parts import Summed
from ._parallel_shards import Shards, shards_of

ONLY_BACKWARD = (
    "a loss whose classes are split over ranks gives its gradient to backward() and autograd.grad only: take it outside "
    "torch.func and forward mode"
)


def is_distributed(input: object, group: object) -> bool:  # noqa: A002  torch's word
    """Say whether the classes may be on several ranks."""
    return group is not None or type(input).__name__ == "DTensor"


class Place(NamedTuple):
    """What this rank has of a call, and what its results are on the whole."""

    given: tuple[Tensor, Tensor, Words, Shards, Summed | None]  # as `row_losses` takes it
    layout: Any  # None where logits are a plain tensor

    def whole(self, loss: Tensor) -> Tensor:
        """Give a loss of all ranks, or a loss a row, as the logits came."""
        if self.layout is None:
            return loss
        whole: Tensor = (self.layout.whole_rows if self.given[2].reduction == "none" else self.layout.total)(loss)
        return whole


def cross_entropy(input: Tensor, target: Tensor, words: Words) -> Tensor:  # noqa: A002  torch's word
    """Give the loss of a shard of logits and its group, or of DTensor logits."""
    place = _place(input, target, words)
    if not words.gradient_in_forward:
        return place.whole(reduced(row_losses(*place.given)))
    _cpu.may_be_at_once(words, target)
    z, target, words, shards, across = place.given
    return place.whole(_eager.at_once(lambda z: reduced(row_losses(z, target, words, shards, across)), z))


def loss_parts(input: Tensor, target: Tensor, words: Words) -> list[Tensor]:  # noqa: A002  torch's word
    """Give the loss and what it is made of, in the order of `LossParts`."""
    place = _place(input, target, words)
    return [place.whole(reduced(rows)) for rows in row_losses_apart(*place.given)]


def _place(input: Tensor, target: Tensor, words: Words) -> Place:  # noqa: A002  torch's word
    if not torch.compiler.is_compiling() and (
        torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0  # noqa: SLF001
    ):
        raise RuntimeError(ONLY_BACKWARD)
    if type(input).__name__ == "DTensor":
        return _on_a_mesh(input, target, words)
    axis = _checks.class_axis(input, words)
    shards = shards_of(words.group, input.shape[axis], words.class_sizes, words.padded_classes)
    if words.validate:
        same_everywhere(input, axis, target, words, shards)
    return Place((input, target, words, shards, None), None)


def _on_a_mesh(input: Any, target: Tensor, words: Words) -> Place:  # noqa: A002  torch's word
    from . import _parallel_mesh as mesh  # loads torch.distributed.tensor, which only who has a DTensor has loaded

    layout = mesh.layout_of(input, words)
    z = input.to_local()
    shards = mesh.shards_on(layout, z.shape[layout.axis], words.padded_classes)
    target = mesh.local("target", target, layout, shards)
    tensors = {name: x for name, x in words._asdict().items() if isinstance(x, Tensor)}
    here: dict[str, Any] = {name: mesh.local(name, x, layout, shards) for name, x in tensors.items()}
    words = words._replace(class_dim=layout.axis, **here)
    if words.validate:
        same_everywhere(z, layout.axis, target, words, shards)
    across = layout.summed if layout.splits_rows and words.reduction == "mean" else None
    return Place((z, target, words, shards, across), layout)


# With a linear layer before it ----------------------------------------------------------------------------------------


def linear_cross_entropy(
    x: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, words: Words, chunk_rows: int | None
) -> Tensor:
    """Give the loss of a column-parallel layer; this rank's logits are held."""
    if type(weight).__name__ == "DTensor" or weight.dim() != 2 or chunk_rows is not None:
        raise ValueError("with its classes split, linear_weight is a plain (K_r, D) tensor with group, and chunk_rows has "
                         "no place; of a DTensor give cross_entropy the logits")  # fmt: skip
    logits = F.linear(_Same.apply(x, words.group), weight, bias)  # type: ignore[no-untyped-call]
    return cross_entropy(logits, target, words)


class _Same(torch.autograd.Function):
    """What is the same on all ranks, each of which has a part of its gradient."""

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
