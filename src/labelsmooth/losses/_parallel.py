"""The loss where classes are split over ranks: a large vocabulary, each rank with its columns.

The front ends: a plain shard with its group, or a DTensor whose mesh says the same. What is computed stands in
`_parallel_losses.py`, and what is sent in `_parallel_shards.py`; a linear layer before it in `_parallel_linear.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import _checks, _eager, _kernels
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
        whole: Tensor = self.layout.whole(loss, self.given[2].reduction)
        return whole


def cross_entropy(input: Tensor, target: Tensor, words: Words) -> Tensor:  # noqa: A002  torch's word
    """Give the loss of a shard of logits and its group, or of DTensor logits."""
    place = _place(input, target, words)
    if not words.gradient_in_forward:
        return place.whole(reduced(row_losses(*place.given)))
    _kernels.may_be_at_once(words, target)
    z, target, words, shards, across = place.given
    return place.whole(_eager.at_once(lambda z: reduced(row_losses(z, target, words, shards, across)), z))


def loss_parts(input: Tensor, target: Tensor, words: Words) -> list[Tensor]:  # noqa: A002  torch's word
    """Give the loss and what it is made of, in the order of `LossParts`."""
    place = _place(input, target, words)
    return [place.whole(reduced(rows)) for rows in row_losses_apart(*place.given)]


def _place(input: Tensor, target: Tensor, words: Words) -> Place:  # noqa: A002  torch's word
    check_only_backward()
    if type(input).__name__ == "DTensor":
        return _on_a_mesh(input, target, words)
    axis = _checks.class_axis(input, words)
    shards = shards_of(words.group, input.shape[axis], words.class_sizes, words.padded_classes)
    if words.validate:
        same_everywhere(input, axis, target, words, shards)
    return Place((input, target, words, shards, None), None)


def check_only_backward() -> None:
    """Refuse what would look for a derivative in parts that are on other ranks."""
    if not torch.compiler.is_compiling() and (
        torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0  # noqa: SLF001
    ):
        raise RuntimeError(ONLY_BACKWARD)


def _on_a_mesh(input: Any, target: Tensor, words: Words) -> Place:  # noqa: A002  torch's word
    from . import _parallel_mesh as mesh  # loads torch.distributed.tensor, which only who has a DTensor has loaded

    layout = mesh.layout_of(input, words)
    z = input.to_local()
    shards = mesh.shards_on(layout, z.shape[layout.axis], words.padded_classes)
    target, words = mesh.local_words(target, words, layout, shards)
    if words.validate:
        same_everywhere(z, layout.axis, target, words, shards)
    return Place((z, target, words, shards, layout.across(words.reduction)), layout)
