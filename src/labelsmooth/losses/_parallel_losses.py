"""What all ranks together make of their parts: the loss of each row where the classes are split.

Every rank computes lse and ℓ of its own classes (`_parallel_rows.py`), tells them to the others in one message
(`_parallel_shards.py`), and adds up what all ranks said:

    LSE = ln Σ_r exp lse_r,      loss = Σ_r (ℓ_r + (LSE − lse_r)·C_r) + λ·LSE²

C_r, the mass that a row charges to the classes of rank r, follows from the label and the sizes of the shards. That makes two
numbers a row. They become up to five where a, b or v are learned or known only when all ranks have spoken, or the loss is
wanted in parts (`_parallel_parts.py`).

Smoothing costs no message of its own, whatever the prior, and the backward none at all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import _eager, _kernels
from ._options import Elsewhere, Folded, Words, fold
from ._parallel_parts import Summed, all_parts, check_prior, floor, said_of_floor, uniform
from ._parallel_read import Split, read
from ._parallel_rows import charged, joined, mixed, summed
from ._parallel_shards import Shards, exchanged


class Rows(NamedTuple):
    """The losses of the rows, and what their mean needs."""

    losses: Tensor  # (rows), the same on every rank of the group
    split: Split
    folded: Folded


def row_losses(
    logits: Tensor,
    target: Tensor,
    words: Words,
    shards: Shards,
    across: Summed | None = None,
) -> Rows:
    """Give the loss of each row.

    Args:
        logits: this rank's, its classes on `words.class_dim`.
        target: as `cross_entropy` takes it; soft labels whole or this rank's share.
        words: the keywords; what has classes is whole or this rank's share.
        shards: who holds what.
        across: sums over the ranks that hold other rows.

    """
    split = read(logits, target, words, shards)
    if not _known(split):
        if words.inplace:
            raise RuntimeError(_kernels.NOT_IN_PLACE)
        return _apart(split, across, floored=split.convention.divergence == "kl")[0]
    folded = fold(split.given, split.convention.family, split.weighting, split.words, split.convention.divergence,
                  Elsewhere(summed=across))  # fmt: skip
    return Rows(_with_two_numbers(split, folded), split, folded)


def row_losses_apart(
    logits: Tensor, target: Tensor, words: Words, shards: Shards, across: Summed | None = None
) -> list[Rows]:
    """Give of each row the loss and what it is made of, in the order of `loss_parts`."""
    return _apart(read(logits, target, words, shards), across, floored=True)


def _apart(split: Split, across: Summed | None, *, floored: bool) -> list[Rows]:
    found, folded, least = all_parts(split, across, floored=floored)
    return [Rows(rows, split, folded) for rows in _eager.parted(found, folded, least)]


def reduced(rows: Rows) -> Tensor:
    """Weigh the rows and take their mean or sum, as the words say."""
    words, row_weight, losses = rows.split.words, rows.split.given.row_weight, rows.losses
    if row_weight is not None:
        losses = losses * row_weight
    if words.reduction == "none":
        return losses
    total = losses.sum()
    if words.reduction == "mean":
        return total / rows.folded.divisor
    return total if words.normalizer is None else total / words.normalizer


# Two numbers a row ----------------------------------------------------------------------------------------------------


def _known(split: Split) -> bool:
    """Say whether every rank knows a, b and v of its classes before it has heard of the others."""
    if split.soft or split.here.allowed is not None:
        return False
    if split.weighting is not None and {"weight", "prior"} & set(split.shares):
        return False
    learned = (split.given.epsilon, split.here.prior, split.given.weight)
    return not any(isinstance(x, Tensor) and x.requires_grad for x in learned)


def _with_two_numbers(split: Split, folded: Folded) -> Tensor:
    shards, charge = split.shards, folded.charge
    owners = shards.owners(split.label)  # (R, rows)
    owned, share = owners[shards.rank], shards.own / shards.classes
    here = split.here._replace(
        label=charge.label * owned.to(split.given.frame.dtype),
        spread=charge.spread * share if split.here.prior is None else charge.spread,
    )
    local = (split.label - shards.start).where(owned, 0)
    # Asked of all the logits, so that every rank comes to the same answer; a compiler fuses plain torch.
    native = not torch.compiler.is_compiling() and _kernels.serves(split.given.frame.logits, local, here)
    if split.words.inplace and not native:
        raise RuntimeError(_kernels.NOT_IN_PLACE)
    if native and split.z.numel():
        lse, loss = charged(split.z, local, here, inplace=split.words.inplace)
    else:
        lse, loss = mixed(split.z, local, owned, here)
    parts = {"lse": lse, "loss": loss}
    if split.here.prior is not None:
        parts["prior"] = split.here.prior.sum(-1)
    if charge.minus_floor:
        parts |= said_of_floor(split, folded, local, owned)
    told = exchanged(parts, shards)
    check_prior(split, told.get("prior"))
    total, rest = joined(told["lse"])
    mass = charge.label * owners.to(lse.dtype) + charge.spread * told.get("prior", uniform(split))  # (R, rows)
    losses = summed(told["loss"], rest, mass, here.keep)
    if charge.minus_floor:
        losses = losses - floor(split, folded, told, None, like=losses)
    return losses + _eager.z_loss(total, charge) if charge.z_loss else losses
