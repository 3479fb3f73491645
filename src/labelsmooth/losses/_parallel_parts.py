"""Both cross-entropies of each row where the classes are split, and the floor: what a loss comes to that has to be taken apart.

Every rank tells lse and its parts of both, with the masses that only all ranks together know: of soft labels, masks, and a
prior for each row. What they are mixed with may follow from these. The floor goes in the same message, but where masses of soft
labels follow from what all ranks say: then it takes a second one, of two numbers a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from . import _checks, _eager
from ._options import Elsewhere, Folded, Mass, counted, fold
from ._parallel_read import Split
from ._parallel_rows import Here, joined, summed, terms
from ._parallel_shards import exchanged

Summed = Callable[[Mass], Mass]


class Parts(NamedTuple):
    """What the rows come to over all ranks."""

    found: _eager.Terms  # lse is LSE
    folded: Folded
    floor: Tensor  # (rows); 0 where nobody asks for it


def all_parts(split: Split, across: Summed | None, *, floored: bool) -> Parts:
    """Give both cross-entropies, and the masses that they are mixed with, known only now."""
    shards, label, keep = split.shards, split.label, split.here.keep
    owners = None if split.soft else shards.owners(label)
    owned = None if owners is None else owners[shards.rank]
    local = label if owned is None else (label - shards.start).where(owned, 0)
    found = terms(split.z, local, owned, split.here, shards.own / shards.classes)
    said = _spoken(split, found, local, owned)
    known = split.weighting is None and split.here.allowed is None
    before = _folded(split, {}, None, across) if known else None
    if floored:
        said |= said_of_floor(split, before, local, owned)
    told = exchanged(said, shards)
    check_prior(split, told.get("prior"))
    total, rest = joined(told["lse"])
    label_mass = owners.to(rest.dtype) if owners is not None else told["label"]
    prior_mass = told.get("prior", uniform(split))
    label_loss = summed(told["label_loss"], rest, label_mass, keep)
    prior_loss = summed(told["prior_loss"], rest, prior_mass, keep)
    room = _room(split, told)
    if room is not None:
        prior_loss = prior_loss / room
    folded = _folded(split, told, room, across) if before is None else before
    least = floor(split, folded, told, room, like=label_loss) if floored else torch.zeros_like(label_loss)
    return Parts(_eager.Terms(label_loss, prior_loss, total if folded.charge.z_loss else None), folded, least)


def uniform(split: Split) -> Tensor:
    """Give the mass of a uniform prior on each rank, (R, 1, ...)."""
    shares = torch.tensor(split.shards.sizes, dtype=split.given.frame.dtype, device=split.label.device)
    return (shares / split.shards.classes).view(-1, *[1] * len(split.given.frame.rows))


def check_prior(split: Split, masses: Tensor | None) -> None:
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


# The floor, C·ln C − Σ c·ln c -----------------------------------------------------------------------------------------


def said_of_floor(split: Split, before: Folded | None, local: Tensor, owned: Tensor | None) -> dict[str, Tensor]:
    """Choose what the others have to be told of the floor.

    Class indices: Σ v·ln v, and v at the label, from which what a and b come to can be kept apart. Soft labels: Σ c·ln c
    where a and b are known before and nobody learns them, and nothing yet where it is otherwise.
    """
    if not (split.soft or split.here.allowed is not None or split.shares):
        return {}
    v, classes = _spread_here(split), split.shards.own
    if owned is None:
        if before is None or any(isinstance(x, Tensor) and x.requires_grad for x in before.charge[:2]):
            return {}
        a, b = (torch.as_tensor(mass, dtype=v.dtype, device=v.device).unsqueeze(-1) for mass in before.charge[:2])
        return {"logs": _eager.x_ln_x(a * _labels_here(split) + b * v).sum(-1)}
    at = owned.to(v.dtype)
    if classes:
        at = at * v.expand(*local.shape, classes).gather(-1, local.unsqueeze(-1)).squeeze(-1)
    return {"logs": _eager.x_ln_x(v.expand(*v.shape[:-1], classes)).sum(-1), "at": at}


def floor(split: Split, folded: Folded, told: dict[str, Tensor], room: Tensor | None, *, like: Tensor) -> Tensor:
    """Give the smallest cross-entropy each row can have; of soft labels perhaps by a message of two numbers a row."""
    charge, keep = folded.charge, split.here.keep
    if not split.soft and "logs" not in told:
        return _eager.floor(split.label, charge, like=like, classes=split.shards.classes)
    a, b = (torch.as_tensor(mass, dtype=like.dtype, device=like.device) for mass in (charge.label, charge.spread))
    b = b if room is None else b / room
    q = told["label"].sum(0) if split.soft else torch.ones_like(like)
    v = told["prior"].sum(0) if "prior" in told else torch.ones_like(like)
    if not split.soft:  # all classes as if none were the label, then the label's own
        at = b * told["at"].sum(0)
        logs = b * told["logs"].sum(0) + _eager.x_ln_x(b) * v - _eager.x_ln_x(at) + _eager.x_ln_x(a + at)
    elif "logs" in told:
        logs = told["logs"].sum(0)
    else:
        logs = _mixed_logs(split, a, b, q, v)
    return counted(_eager.x_ln_x(a * q + b * v) - logs, keep)


def _mixed_logs(split: Split, a: Tensor, b: Tensor, q: Tensor, v: Tensor) -> Tensor:
    """Give Σ c·ln c of soft labels as a·Σ q·ln c + b·Σ v·ln c.

    Every rank multiplies with a and b itself. If they are learned, each then has their whole gradient, and not that of its
    own classes; that ln c depends on them too is the two last terms, which are 0.
    """
    own, spread = _labels_here(split), _spread_here(split)
    c = a.detach().unsqueeze(-1) * own + b.detach().unsqueeze(-1) * spread  # (rows, K_r)
    ln = torch.where(c > 0, c, 1.0).log()
    told = exchanged({"label": (own * ln).sum(-1), "prior": (spread * ln).sum(-1)}, split.shards)
    at_label, at_prior = told["label"].sum(0), told["prior"].sum(0)
    return a * at_label + b * at_prior + (a - a.detach()) * q.detach() + (b - b.detach()) * v.detach()


def _labels_here(split: Split) -> Tensor:
    """Give soft labels as they are charged, (rows, K_r)."""
    return split.label if split.here.weight is None else split.label * split.here.weight


def _spread_here(split: Split) -> Tensor:
    """Give v of the classes that are here, not yet divided by the room that a mask leaves; (1) where it is uniform."""
    if split.here.prior is not None:
        return split.here.prior
    return torch.full((1,), 1 / split.shards.classes, dtype=split.given.frame.dtype, device=split.label.device)


# What is told ---------------------------------------------------------------------------------------------------------


def _spoken(split: Split, found: Here, local: Tensor, owned: Tensor | None) -> dict[str, Tensor]:
    """Choose what the others have to be told."""
    here, weighting, weight = split.here, split.weighting, split.weight
    label_loss = found.label_loss
    if (masked := _masked_label(split, local, owned)) is not None:
        label_loss = label_loss.masked_fill(masked, torch.nan)
    said = {"lse": found.lse, "label_loss": label_loss, "prior_loss": found.prior_loss}
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
        at = weight[local] if weight.numel() else local.to(found.lse.dtype)
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
