"""The loss where classes are split over ranks: a large vocabulary, each rank with its columns.

The front ends: a plain shard with its group, or a DTensor whose mesh says the same. What is computed stands in
`_parallel_losses.py`, and what is sent in `_parallel_shards.py`; a linear layer before it in `_parallel_linear.py`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from . import _checks
from ._options import Words
from ._parallel_agreement import same_everywhere
from ._parallel_losses import reduced, row_losses
from ._parallel_shards import shards_of


def is_distributed(input: object, group: object) -> bool:  # noqa: A002  torch's word
    """Say whether the classes may be on several ranks."""
    return group is not None or type(input).__name__ == "DTensor"


def cross_entropy(input: Tensor, target: Tensor, words: Words) -> Tensor:  # noqa: A002  torch's word
    """Give the loss of a shard of logits and its group, or of DTensor logits."""
    if type(input).__name__ == "DTensor":
        return _on_a_mesh(input, target, words)
    axis = _checks.class_axis(input, words)
    shards = shards_of(words.group, input.shape[axis], words.class_sizes, words.padded_classes)
    if words.validate:
        same_everywhere(input, axis, target, words, shards)
    return reduced(row_losses(input, target, words, shards))


def _on_a_mesh(input: Any, target: Tensor, words: Words) -> Tensor:  # noqa: A002  torch's word
    from . import _parallel_mesh as mesh  # loads torch.distributed.tensor, which only who has a DTensor has loaded

    layout = mesh.layout_of(input, words)
    z = input.to_local()
    shards = mesh.shards_on(layout, z.shape[layout.axis], words.padded_classes)
    target, words = mesh.local_words(target, words, layout, shards)
    if words.validate:
        same_everywhere(z, layout.axis, target, words, shards)
    loss = reduced(row_losses(z, target, words, shards, layout.across(words.reduction)))
    return layout.whole(loss, words.reduction)
