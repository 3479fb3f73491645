"""`validate=True` where classes are split over ranks: did all ranks call the same loss on the same rows?

Ranks that got different batches compute a number, and it means nothing. Seeing that costs a message more, of eight integers
a rank, so it is for who asks. What differs is named on all ranks, so that none is left waiting.
"""

from __future__ import annotations

from zlib import crc32

import torch
from torch import Tensor

from ._options import Words
from ._parallel_shards import Shards, told

_PRIMES = (2_654_435_761, 40_503)  # Knuth's multiplier and another: a permuted target is another target


def same_everywhere(logits: Tensor, axis: int, target: Tensor, words: Words, shards: Shards) -> None:
    """Raise on every rank where one rank's call is not the others'."""
    if shards.group is None:
        return
    here = _described(logits, axis, target, words._replace(class_sizes=shards.sizes))
    own = torch.tensor(list(here.values()), dtype=torch.int64, device=logits.device)
    everyone = told(own, shards.group, len(shards.sizes)).tolist()
    for rank, theirs in enumerate(everyone):
        for name, first, other in zip(here, everyone[0], theirs, strict=True):
            if first != other:
                raise ValueError(f"rank {rank} of the group has another {name} than rank 0: all ranks that share the "
                                 "classes must be given the same rows")  # fmt: skip


def _described(logits: Tensor, axis: int, target: Tensor, words: Words) -> dict[str, int]:
    rows = list(logits.shape)
    del rows[axis]
    soft = target.is_floating_point()
    eps = words.label_smoothing
    plain = {name: x for name, x in words._asdict().items()
             if not isinstance(x, Tensor) and name not in {"group", "label_smoothing"}}  # fmt: skip
    tensors = sorted(name for name, x in words._asdict().items() if isinstance(x, Tensor))
    return {
        "dtype of logits": _number(logits.dtype),
        "shape of logits": _number(rows),
        "dtype of target": _number(target.dtype),
        "shape of target": 0 if soft else _number(list(target.shape)),
        "target": 0 if soft else _sum(target),
        "label_smoothing": _sum(eps) if isinstance(eps, Tensor) else _number(float(eps)),
        "set of tensors among its keywords": _number(tensors),
        "keyword": _number(plain),
    }


def _number(x: object) -> int:
    return crc32(repr(x).encode())


def _sum(x: Tensor) -> int:
    """Give a number that another tensor of this shape would hardly have."""
    x = x.detach().reshape(-1)
    whole = x.double().view(torch.int64) if x.is_floating_point() else x.long()
    place = torch.arange(1, x.numel() + 1, device=x.device)
    return int(((whole + _PRIMES[1]) * (place * _PRIMES[0])).sum().item())
