"""What all ranks together make of their parts: the loss of each row where the classes are split.

Every rank computes lse and ℓ of its own classes (`_parallel_rows.py`), tells them to the others in one message
(`_parallel_shards.py`), and adds up what all ranks said:

    LSE = ln Σ_r exp lse_r,      loss = Σ_r (ℓ_r + (LSE − lse_r)·C_r) + λ·LSE²

C_r, the mass that a row charges to the classes of rank r, follows from the label and the sizes of the shards. That makes two
numbers a row. They become up to five where a, b or v are learned or known only when all ranks have spoken: the two parts
of the loss apart, and their masses, of soft labels, masks and a prior for each row.

Smoothing costs no message of its own, whatever the prior, and the backward none at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from . import _checks, _cpu, _eager
from ._options import Elsewhere, Folded, Mass, Words, counted, fold
from ._parallel_read import Split, read
from ._parallel_rows import Here, charged, joined, mixed, summed, terms
from ._parallel_shards import Shards, exchanged


class Rows(NamedTuple):
    """The losses of the rows, and what their mean needs."""

    losses: Tensor  # (rows), the same on every rank of the group
    split: Split
    folded: Folded


Summed = Callable[[Mass], Mass]


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
    if _known(split):
        folded = fold(split.given, split.convention.family, split.weighting, split.words, split.convention.divergence,
                      Elsewhere(summed=across))  # fmt: skip
        return Rows(_with_two_numbers(split, folded), split, folded)
    return _with_all_parts(split, across)


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
    if not torch.compiler.is_compiling() and _cpu.serves(split.z, local, here):  # a compiler fuses plain torch
        lse, loss = charged(split.z, local, here)
    else:
        lse, loss = mixed(split.z, local, owned, here)
    parts = {"lse": lse, "loss": loss}
    if split.here.prior is not None:
        parts["prior"] = split.here.prior.sum(-1)
    told = exchanged(parts, shards)
    _check_prior(split, told.get("prior"))
    total, rest = joined(told["lse"])
    mass = charge.label * owners.to(lse.dtype) + charge.spread * told.get("prior", _uniform(split))  # (R, rows)
    return _finished(summed(told["loss"], rest, mass, here.keep), total, split, folded)


def _uniform(split: Split) -> Tensor:
    """Give the mass of a uniform prior on each rank, (R, 1, ...)."""
    shares = torch.tensor(split.shards.sizes, dtype=split.given.frame.dtype, device=split.label.device)
    return (shares / split.shards.classes).view(-1, *[1] * len(split.given.frame.rows))


def _finished(losses: Tensor, total: Tensor, split: Split, folded: Folded, room: Tensor | None = None) -> Tensor:
    """Take off the floor where the loss is a KL divergence, and add λ·LSE²."""
    charge = folded.charge
    if charge.minus_floor:
        losses = losses - floor(split, folded, room, like=losses)
    return losses + _eager.z_loss(total, charge) if charge.z_loss else losses


def _check_prior(split: Split, masses: Tensor | None) -> None:
    """Refuse a prior that came in shares and misses 1; every rank sees it, and so every rank refuses."""
    prior = split.words.prior
    if masses is None or prior is None or "prior" not in split.shares or not split.given.frame.look or (
        split.weighting is not None or split.here.allowed is not None):  # fmt: skip
        return
    whole = masses.detach().sum(0)
    off = (whole - 1).abs() > _checks.MISSES_ONE[prior.dtype]
    if split.here.keep is not None and off.shape == split.here.keep.shape:
        off = off & split.here.keep
    if (at := _checks.first(off)) is not None:
        row = _checks.of_row(at) if off.numel() > 1 else ""
        raise ValueError(f"the shares of the prior{row} sum to {whole[at].item():.6g} on all ranks, expected 1: divide "
                         "them by that, or pass validate=False")  # fmt: skip


# All parts ------------------------------------------------------------------------------------------------------------


class Parts(NamedTuple):
    """The two cross-entropies of each row over all ranks."""

    label_loss: Tensor  # (rows)
    prior_loss: Tensor  # (rows)
    total: Tensor  # (rows) LSE
    folded: Folded
    room: Tensor | None  # () or (rows): what the mask leaves of the prior


def _with_all_parts(split: Split, across: Summed | None) -> Rows:
    parts = all_parts(split, across)
    charge = parts.folded.charge
    both = _eager.Terms(parts.label_loss, parts.prior_loss, None)
    losses = _eager.mix(both, charge.label, charge.spread, split.here.keep)
    return Rows(_finished(losses, parts.total, split, parts.folded, parts.room), split, parts.folded)


def all_parts(split: Split, across: Summed | None) -> Parts:
    """Give both cross-entropies, and the masses that they are mixed with, known only now."""
    shards, label = split.shards, split.label
    owners = None if split.soft else shards.owners(label)
    owned = None if owners is None else owners[shards.rank]
    local = label if owned is None else (label - shards.start).where(owned, 0)
    found = terms(split.z, local, owned, split.here, shards.own / shards.classes)
    told = exchanged(_spoken(split, found, local, owned), shards)
    _check_prior(split, told.get("prior"))
    total, rest = joined(told["lse"])
    label_mass = owners.to(rest.dtype) if owners is not None else told["label"]
    label_loss = summed(told["label_loss"], rest, label_mass, split.here.keep)
    prior_loss = summed(told["prior_loss"], rest, told.get("prior", _uniform(split)), split.here.keep)
    room = _room(split, told)
    if room is not None:
        prior_loss = prior_loss / room
    return Parts(label_loss, prior_loss, total, _folded(split, told, room, across), room)


def _spoken(split: Split, found: Here, local: Tensor, owned: Tensor | None) -> dict[str, Tensor]:
    """Choose what the others have to be told."""
    label_loss = found.label_loss
    if (masked := _masked_label(split, local, owned)) is not None:
        label_loss = label_loss.masked_fill(masked, torch.nan)
    spoken = {"lse": found.lse, "label_loss": label_loss, "prior_loss": found.prior_loss}
    return {**spoken, **masses_here(split, local, owned)}


def masses_here(split: Split, local: Tensor, owned: Tensor | None) -> dict[str, Tensor]:
    """Give what the others have to be told that depends on no logit."""
    here, weighting, weight = split.here, split.weighting, split.weight
    said = {}
    if split.soft:
        said["label"] = (local if here.weight is None else local * here.weight).sum(-1)
    if here.prior is not None:
        said["prior"] = here.prior.sum(-1)
    if weighting is None or weight is None:
        return said
    if split.room is not None and weighting.charge == "class":
        said["room"] = split.room
    if owned is None and here.weight is None:
        said["label_weight"] = (local * weight).sum(-1)
    elif owned is not None and "weight" in split.shares:
        at = weight[local] if weight.numel() else local.to(weight.dtype)
        said["label_weight"] = at.where(owned, 0.0)
    if weighting.charge == "expected" and (split.room is not None or split.shares):
        v = weight.new_full((), 1 / split.shards.classes) if here.prior is None else here.prior
        said["prior_weight"] = (weight * v).sum(-1)
    return said


def _masked_label(split: Split, local: Tensor, owned: Tensor | None) -> Tensor | None:
    """Find rows whose label is masked here."""
    allowed, keep = split.here.allowed, split.here.keep
    if allowed is None or not split.z.shape[-1]:
        return None
    if owned is None:
        masked = ((local > 0) & ~allowed).any(-1)
    else:
        masked = ~allowed.expand_as(split.z).gather(-1, local.unsqueeze(-1)).squeeze(-1) & owned
    return masked if keep is None else masked & keep


def _room(split: Split, told: dict[str, Tensor]) -> Tensor | None:
    """Give what the mask leaves of the prior on all ranks, (rows) or one number; 1 in a row that does not count."""
    if split.here.allowed is None:
        return None
    room = told["room" if "room" in told else "prior"].sum(0)
    keep = split.here.keep
    return room if keep is None or room.shape != keep.shape else room.where(keep, 1.0)


def _folded(split: Split, told: dict[str, Tensor], room: Tensor | None, across: Summed | None) -> Folded:
    at_label, at_prior = (told[name].sum(0) if name in told else None for name in ("label_weight", "prior_weight"))
    if split.soft and split.here.weight is not None:
        at_label = told["label"].sum(0)
    if at_prior is not None and room is not None:
        at_prior = at_prior / room
    if at_label is not None:
        at_label = counted(at_label, split.here.keep)
    given = split.given._replace(label=split.label)
    if given.weight is not None and "weight" in split.shares:
        given = given._replace(weight=given.weight.new_ones(()))  # there are some: what they come to was told
    return fold(given, split.convention.family, split.weighting, split.words,
                split.convention.divergence, Elsewhere(at_label, at_prior, across))  # fmt: skip


def floor(split: Split, folded: Folded, room: Tensor | None, *, like: Tensor) -> Tensor:
    """Give the smallest cross-entropy each row can have, C·ln C − Σ c·ln c.

    Where a rank does not know the whole target, that is a second message, of two numbers a row.
    """
    if not (split.soft or split.here.allowed is not None or split.shares):
        return _eager.floor(split.label, folded.charge, like=like, classes=split.shards.classes)
    shards, here = split.shards, split.here
    a, b = (torch.as_tensor(mass, dtype=like.dtype, device=like.device).unsqueeze(-1)
            for mass in (folded.charge.label, folded.charge.spread))  # fmt: skip
    v = like.new_full((1,), 1 / shards.classes) if here.prior is None else here.prior
    v = v if room is None else v / room.unsqueeze(-1)
    if split.soft:
        own = split.label if here.weight is None else split.label * here.weight
    else:
        classes = torch.arange(shards.start, shards.start + shards.own, device=like.device)
        own = (split.label.unsqueeze(-1) == classes).to(like.dtype)
    mass = (a * own + b * v).expand(*like.shape, shards.own)  # (rows, K_r)
    told = exchanged({"sum": mass.sum(-1), "logs": _eager.x_ln_x(mass).sum(-1)}, shards)
    return counted(_eager.x_ln_x(told["sum"].sum(0)) - told["logs"].sum(0), here.keep)
