"""The numbers that travel to every kernel, and how arguments, conventions and class weights come down to them.

Whatever the convention, a row charges to each class the mass

    c = a·q + b·v,        loss = lse·Σc − Σ c·z + λ·lse²,        gradient = p·(Σc + 2λ·lse) − c

with q the label (times the class weights, where a soft label is weighted class by class), v what is spread. A kernel
therefore needs `Charge` and nothing else: no ε, no framework's name, no meaning of class weights.

- Families that spread ε over the other classes only fold into the same form: v covers the label too, and a gives back
  what the label should not have had. Index labels then need no dense target, whatever the convention.
- The mean's divisor stays outside, since a row's loss must not depend on its neighbours. Only fastai's weighting puts a
  batch sum into a: its label part and its uniform part have different divisors.
- `rows` is the shape of the class indices, any number of axes or none; classes come last.
- Named tuples, where the house has frozen dataclasses elsewhere: five of these are made at every call, and a frozen
  dataclass takes a third of a microsecond a field, which a batch of 16 rows would notice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from labelsmooth.maths.conventions import ALL, NOT_PADDING, Family, Weighting

Mask = Tensor | Literal["finite"]
Mass = float | Tensor  # the same for all rows, or a tensor of shape () or rows


class Words(NamedTuple):
    """The keywords of `cross_entropy`, as the user wrote them."""

    weight: Tensor | None = None
    ignore_index: int = -100
    reduction: str = "mean"
    label_smoothing: float | Tensor = 0.0
    prior: Tensor | None = None
    class_mask: Mask | None = None
    row_weight: Tensor | None = None
    convention: str = "torch"
    weighting: str = "torch"
    z_loss: float = 0.0
    softcap: float | None = None
    padded_classes: int = 0
    class_dim: int | None = None
    normalizer: float | Tensor | None = None
    all_ignored: str = "nan"
    validate: bool | None = None
    gradient_in_forward: bool = False
    inplace: bool = False
    group: Any = None
    class_sizes: Sequence[int] | None = None


class Frame(NamedTuple):
    """The logits with the classes last, and what other arguments are measured against."""

    logits: Tensor  # (rows, K)
    shape: torch.Size  # of the logits as the user wrote them, without padded classes
    axis: int
    rows: torch.Size  # shape of the class indices
    classes: int
    look: bool  # at values
    dtype: torch.dtype  # of the sums

    def per_class(self, name: str, x: Tensor) -> Tensor:
        """Check that `x` is (K,) or like the logits, and put its classes last."""
        # Axes are counted first: comparing (K,) with (N, K) would tell an exporter that N is not K.
        if x.dim() == len(self.shape) and x.shape == self.shape:
            return x.movedim(self.axis, -1)
        if x.shape != (self.classes,):
            expected = f"({self.classes},), one number a class, or the logits' shape {tuple(self.shape)}"
            raise ValueError(f"{name} has shape {tuple(x.shape)}, expected {expected}")
        return x

    def per_row(self, name: str, x: Tensor) -> Tensor:
        """Check that `x` has an entry a row."""
        if x.shape != self.rows:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, expected {tuple(self.rows)}: one entry a row")
        return x


def counted(x: Tensor, keep: Tensor | None) -> Tensor:
    """Put 0 for what rows that do not count hold, (rows) or (rows, K): times 0 would leave NaN in the gradient."""
    if keep is None:
        return x
    return torch.where(keep if x.dim() == keep.dim() else keep.unsqueeze(-1), x, 0.0)


class Charge(NamedTuple):
    """The mass c = label·q + spread·v that a row charges to each class."""

    label: Mass
    spread: Mass
    prior: Tensor | None = None  # v: (K,) or (rows, K); None stands for 1/K in every class
    weight: Tensor | None = None  # (K,): multiplies a soft label class by class
    allowed: Tensor | None = None  # (K,) or (rows, K), bool: False takes the class out of the softmax
    keep: Tensor | None = None  # (rows), bool: False takes the row out of loss and gradient
    minus_floor: bool = False  # KL instead of cross-entropy
    z_loss: float = 0.0  # λ: every row that counts pays λ·lse² more
    softcap: float | None = None  # c: the logits are c·tanh(z/c), before any class is taken out


class Given(NamedTuple):
    """What the user gave: checked, classes last, in the dtype of the sums."""

    frame: Frame
    label: Tensor  # (rows) int64, every entry a class; or (rows, K)
    epsilon: Mass
    prior: Tensor | None = None  # (K,) or (rows, K)
    allowed: Tensor | None = None  # (K,) or (rows, K), bool
    keep: Tensor | None = None  # (rows), bool
    weight: Tensor | None = None  # (K,)
    row_weight: Tensor | None = None  # (rows)
    poison: Tensor | None = None  # (rows): NaN where the label is none and nobody wanted to look, 0 elsewhere
    padding: int = -1  # the class that gets nothing, where the family has one

    @property
    def soft(self) -> bool:
        """Whether the labels are distributions."""
        return self.label.is_floating_point()

    def at_label(self, per_class: Tensor) -> Tensor:
        """Pick a (K,) vector's entry at the label, or its mean under a soft label."""
        return (self.label * per_class).sum(-1) if self.soft else per_class[self.label]

    def total(self, per_row: Tensor) -> Tensor:
        """Sum `per_row` times the rows' weights over the rows that count."""
        weighed = per_row if self.row_weight is None else per_row * self.row_weight
        return counted(weighed, self.keep).sum()

    def number(self) -> Mass:
        """Give the number of rows that count, or the sum of their weights."""
        if self.row_weight is not None:
            return self.total(torch.ones_like(self.row_weight))
        return self.frame.rows.numel() if self.keep is None else self.keep.sum()

    def nobody(self) -> Mass:
        """Give 1 if no row counts, else 0: what turns the mean of nothing from 0/0 into 0/1."""
        if self.keep is None or not self.keep.numel():
            return 0.0 if self.frame.rows.numel() else 1.0
        return (~self.keep.any()).to(self.frame.dtype)


class Factors(NamedTuple):
    """What class weights multiply the masses with, and the share of the spread mass taken back from the label."""

    label: Mass = 1.0
    taken_back: Mass = 1.0
    spread: Mass = 1.0
    share: float = 0.0

    def masses(self, kept: Mass, spread: Mass) -> tuple[Mass, Mass]:
        """Give (a, b) for a target that keeps `kept` at the label and spreads `spread`."""
        back = spread * self.share
        return kept * self.label - back * self.taken_back, (spread + back) * self.spread


class Folded(NamedTuple):
    """A batch's charge, what turns ε's parts into masses, and what the mean divides by."""

    charge: Charge
    factors: Factors
    divisor: Mass


class Elsewhere(NamedTuple):
    """What `fold` cannot see where classes or rows are on several ranks."""

    at_label: Tensor | None = None  # (rows): the class weight at the label, or its mean under a soft one
    at_prior: Tensor | None = None  # () or (rows): the mean class weight under the prior
    summed: Callable[[Mass], Mass] | None = None  # over the rows of other ranks


def fold(
    given: Given,
    family: Family,
    weighting: Weighting | None,
    words: Words,
    divergence: str = "ce",
    elsewhere: Elsewhere = Elsewhere(),  # noqa: B008  a constant
    *,
    later: bool = False,
) -> Folded:
    """Turn ε, prior, mask and class weights into effective numbers.

    With `later` a v that would be as large as the logits, because the mask is, is left to `spread_out`.
    """
    summed = elsewhere.summed or _as_it_is
    K = given.frame.classes
    kept, spread = family.keep(given.epsilon, K), family.spread(given.epsilon, K)
    share = 0.0 if family.over == ALL else 1 / (K - (2 if family.over == NOT_PADDING else 1))
    factors, divisor = Factors(share=share), summed(given.number())
    nobody = given.nobody() if words.all_ignored == "zero" else 0.0
    if elsewhere.summed is not None and words.all_ignored == "zero":
        nobody = torch.as_tensor(divisor == 0).to(given.frame.dtype)
    allowed = given.allowed
    left = later and given.weight is None and given.prior is None and allowed is not None and allowed.dim() > 1
    prior, soft_weight = None if left and family.over != NOT_PADDING else _spread_over(given, family), None
    if weighting is not None and given.weight is not None:
        row = given.at_label(given.weight) if elsewhere.at_label is None else elsewhere.at_label
        if weighting.charge == "expected":
            a, b = factors.masses(kept, spread)
            mean = elsewhere.at_prior
            if mean is None:
                mean = given.weight.mean() if prior is None else (given.weight * prior).sum(-1)
            row = a * row + b * mean
        # The label's part is averaged by weight and the rest by rows: one of the two divisors has to be folded in.
        apart = weighting.divisor == "apart" and words.reduction == "mean"
        ratio = divisor / (summed(given.total(row)) + nobody) if apart else 1.0
        factors = _factors(weighting.charge, row, ratio, soft=given.soft, share=share)
        divisor = summed(given.total(row)) if weighting.divisor == "weights" else divisor
        if weighting.charge in {"class", "nll"} and given.soft:
            soft_weight = given.weight
        if weighting.charge == "class":
            prior = given.weight / K if prior is None else given.weight * prior
    if given.poison is not None:
        factors = factors._replace(label=factors.label + given.poison)
    a, b = factors.masses(kept, spread)
    charge = Charge(
        a, b, prior, soft_weight, given.allowed, given.keep, divergence == "kl", words.z_loss, words.softcap
    )
    return Folded(charge, factors, divisor + nobody)


def _as_it_is(x: Mass) -> Mass:
    return x


def _factors(charge: str, row: Tensor, ratio: Mass, *, soft: bool, share: float) -> Factors:
    if charge in {"class", "nll"}:
        label = ratio if soft else row * ratio  # a soft label is weighted class by class, in the kernel
        return Factors(label, label if charge == "class" else 1.0, 1.0, share)
    return Factors(row, row, row, share)


def _spread_over(given: Given, family: Family) -> Tensor | None:
    """Give v, renormalised over the classes that may get something; None for 1/K."""
    if family.over == NOT_PADDING:
        free = torch.arange(given.frame.classes, device=given.label.device) != given.padding
        return free.to(given.frame.dtype) / (given.frame.classes - 1)
    if given.allowed is None:
        return given.prior
    free = given.allowed.to(given.frame.dtype) if given.prior is None else torch.where(given.allowed, given.prior, 0.0)
    return _over_its_sum(free, given.keep)


def spread_out(charge: Charge, dtype: torch.dtype) -> Charge:
    """Give some rows of a charge with the v that `fold` has left for later."""
    if charge.prior is not None or charge.allowed is None:
        return charge
    return charge._replace(prior=_over_its_sum(charge.allowed.to(dtype), charge.keep))


def _over_its_sum(free: Tensor, keep: Tensor | None) -> Tensor:
    room = free.sum(-1, keepdim=True)
    if keep is not None and room.shape[:-1] == keep.shape:
        room = torch.where(keep.unsqueeze(-1), room, 1.0)  # no 0/0 from a row that does not count
    return free / room
