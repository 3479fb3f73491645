"""From words to numbers where a rank holds some of the classes.

What shaped it:

- What has no class axis is the same on every rank and is read by the code that reads it elsewhere, against logits of all K
  classes without memory. So is what has all K classes; it is then cut to those that are here.
- What comes with the classes of this rank alone (a share of a prior, mask, weights or soft targets) cannot be judged here:
  whether a share sums to 1 only all ranks know. What only one rank can see is never raised there, since the others would
  wait for that rank, but makes the row NaN on all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from labelsmooth.maths.conventions import NOT_PADDING, Convention, Weighting, weighting_named

from . import _checks
from ._options import Charge, Frame, Given, Mask, Words
from ._parallel_shards import Shards


class Split(NamedTuple):
    """What the words came down to on this rank."""

    z: Tensor  # (rows, K_r)
    shards: Shards
    given: Given  # against all K classes; what is here alone is left out of it
    label: Tensor  # (rows) int64 of all K, or (rows, K_r)
    here: Charge  # prior, mask, weight, keep, softcap of this rank's classes; its masses are not yet known
    room: Tensor | None  # () or (rows): mass of the prior that the mask leaves here, where there is a mask
    weight: Tensor | None  # (K_r)
    shares: tuple[str, ...]  # which arguments came with the classes of this rank alone
    convention: Convention
    weighting: Weighting | None
    words: Words

    @property
    def soft(self) -> bool:
        """Whether the labels are distributions."""
        return self.label.is_floating_point()


class Cut(NamedTuple):
    """The logits on all ranks, those on this one, and how to tell which of the two an argument is like."""

    whole: Frame
    own: Frame
    shards: Shards

    def frame(self, x: Tensor) -> Frame:
        """Say what `x` is measured against."""
        columns = x.shape[self.axis(x)]
        # Where one rank holds everything, it cannot tell a share from the whole, and all must come to the same answer.
        one_has_all = max(self.shards.sizes) == self.whole.classes and len(self.shards.sizes) > 1
        mine = columns == self.own.classes or (one_has_all and columns == self.whole.classes)
        return self.own if mine and (one_has_all or columns != self.whole.classes) else self.whole

    def axis(self, x: Tensor) -> int:
        """Say where the classes of `x` are."""
        return self.whole.axis if x.dim() == len(self.whole.shape) else 0

    def here(self, x: Tensor, frame: Frame) -> Tensor:
        """Cut to this rank's classes what has them last."""
        return x if frame is self.own else x.narrow(-1, self.shards.start, self.own.classes)


def read(logits: Tensor, target: Tensor, words: Words, shards: Shards) -> Split:
    """Check what the user gave and bring it down to numbers."""
    convention = _checks.check_words(words)
    cut = _cut(logits, words, shards)
    whole = cut.whole
    _checks.check_classes(words, convention, whole.classes)
    tensors = {"target": target, "prior": words.prior, "class_mask": words.class_mask, "weight": words.weight}
    with_classes = {name: x for name, x in tensors.items() if isinstance(x, Tensor) and x.dim()
                    and (name != "target" or x.is_floating_point())}  # fmt: skip
    # What is learned has its gradient from the classes that are here, so only those may be looked at here.
    learned = {name for name, x in with_classes.items() if x.requires_grad and cut.frame(x) is whole}
    shares = tuple(name for name, x in with_classes.items() if name in learned or cut.frame(x) is cut.own)
    trimmed = {name: x.narrow(cut.axis(x), shards.start if name in learned else 0, shards.own) if name in shares else x
               for name, x in with_classes.items()}  # fmt: skip
    target = trimmed.get("target", target)
    others: dict[str, Any] = {name: x for name, x in trimmed.items() if name != "target"}
    words = words._replace(**others)
    soft = _checks.is_soft(cut.own if "target" in shares else whole, target)
    _checks.accepted(words, convention, soft=soft)
    return _numbers(cut, target, words, shares, convention, soft=soft)


def _cut(logits: Tensor, words: Words, shards: Shards) -> Cut:
    plain = words._replace(padded_classes=0)
    axis = _checks.class_axis(logits, plain)
    shape = list(logits.shape)
    shape[axis] = shards.classes
    whole = _checks.frame_of(logits.new_empty(1).expand(shape), plain)
    z = logits.narrow(axis, 0, shards.own)
    own = Frame(z.movedim(axis, -1), z.shape, whole.axis, whole.rows, shards.own, False, whole.dtype)
    return Cut(whole, own, shards)


def _numbers(
    cut: Cut, target: Tensor, words: Words, shares: tuple[str, ...], convention: Convention, *, soft: bool
) -> Split:
    whole = cut.whole
    frame = {name: cut.own if name in shares else whole for name in ("target", "prior", "class_mask", "weight")}
    row_weight = None if words.row_weight is None else _checks.row_weight_of(whole, words.row_weight)
    labels = _checks.distributions if soft else _checks.indices
    label, keep, wrong = labels(frame["target"], target, words.ignore_index, row_weight)
    prior = None if words.prior is None else _checks.prior_of(frame["prior"], words.prior, keep)
    weight = None if words.weight is None else _checks.weight_of(frame["weight"], words.weight)
    allowed = _allowed(cut, words.class_mask, frame["class_mask"])
    if allowed is not None and not isinstance(words.class_mask, str) and not set(shares) - {"weight"}:
        wrong = _checks.on_allowed(whole, label, allowed=allowed, prior=prior, keep=keep, wrong=wrong)
    poison = None
    if wrong is not None:
        poison = torch.zeros(whole.rows, dtype=whole.dtype, device=label.device).masked_fill(wrong, torch.nan)
    epsilon = _checks.epsilon(whole, words.label_smoothing, keep)
    given = Given(whole, label, epsilon, None if "prior" in shares else prior, None, keep, weight, row_weight, poison,
                  words.ignore_index)  # fmt: skip
    weighting = None if weight is None else weighting_named(words.weighting, soft=soft)
    mask_frame = cut.own if isinstance(words.class_mask, str) else frame["class_mask"]
    u, mask, w = (None if x is None else cut.here(x, at) for x, at in
                  ((prior, frame["prior"]), (allowed, mask_frame), (weight, frame["weight"])))  # fmt: skip
    if convention.family.over == NOT_PADDING:
        u = cut.here(_all_but(words.ignore_index, whole, label), whole)
    v, room = _spread_over(u, mask, w, weighting, whole)
    charged = w if soft and weighting is not None and weighting.charge in {"class", "nll"} else None
    here = Charge(1.0, 1.0, v, charged, mask, keep, softcap=words.softcap)
    own_label = cut.here(label, frame["target"]) if soft else label
    return Split(cut.own.logits, cut.shards, given, own_label, here, room, w, shares, convention, weighting, words)


def _allowed(cut: Cut, mask: Mask | None, frame: Frame) -> Tensor | None:
    if mask is None:
        return None
    return _checks.allowed_of(cut.own if isinstance(mask, str) else frame, mask)


def _all_but(padding: int, whole: Frame, like: Tensor) -> Tensor:
    free = torch.arange(whole.classes, device=like.device) != padding
    return free.to(whole.dtype) / (whole.classes - 1)


def _spread_over(
    u: Tensor | None, allowed: Tensor | None, weight: Tensor | None, weighting: Weighting | None, whole: Frame
) -> tuple[Tensor | None, Tensor | None]:
    """Give v here, not yet divided by the room that the mask leaves on all ranks, and that room here."""
    room = None
    if allowed is not None:
        u = torch.where(allowed, allowed.new_full((), 1 / whole.classes, dtype=whole.dtype) if u is None else u, 0.0)
        room = u.sum(-1)
    if weighting is not None and weight is not None and weighting.charge == "class":
        u = weight / whole.classes if u is None else weight * u
    return u, room
