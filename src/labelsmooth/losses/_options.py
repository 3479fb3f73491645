"""The numbers that travel to every kernel, and how arguments, conventions and class weights come down to them.

Whatever the convention, a row charges to each class the mass

    c = a·q + b·v,        loss = lse·Σc − Σ c·z,        gradient = p·Σc − c

with q the label (times the class weights, where a soft label is weighted class by class), v what is spread. A kernel
therefore needs `Charge` and nothing else: no ε, no framework's name, no meaning of class weights.

- Families that spread ε over the other classes only fold into the same form: v covers the label too, and a gives back
  what the label should not have had. Index labels then need no dense target, whatever the convention.
- The mean's divisor stays outside, since a row's loss must not depend on its neighbours. Only fastai's weighting puts a
  batch sum into a: its label part and its uniform part have different divisors.
- `rows` is the shape of the class indices, any number of axes or none; classes come last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from labelsmooth.maths.conventions import ALL, NOT_PADDING, Family, Weighting

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# How far a distribution over classes may miss 1: what rounding its entries to their dtype can do, with room to spare.
MISSES_ONE = {torch.float16: 1e-2, torch.bfloat16: 1e-2, torch.float32: 1e-5, torch.float64: 1e-5}
Mask = Tensor | Literal["finite"]
Mass = float | Tensor  # the same for all rows, or a tensor of shape () or rows


@dataclass(frozen=True, eq=False)
class Words:
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
    class_dim: int | None = None
    normalizer: float | Tensor | None = None
    validate: bool | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    """The logits with the classes last, and what other arguments are measured against."""

    logits: Tensor  # (rows, K)
    shape: torch.Size  # the logits' own, the classes where they stood
    axis: int
    rows: torch.Size  # shape of the class indices
    classes: int
    look: bool  # at values
    dtype: torch.dtype  # of the sums

    def per_class(self, name: str, x: Tensor) -> Tensor:
        """Check that `x` is (K,) or like the logits, and put its classes last."""
        if x.shape == self.shape:
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


# Arguments: checked, classes last, in the dtype of the sums ----------------------------------------------------------

Labels = tuple[Tensor, Tensor | None, Tensor | None]  # label, rows that count, rows found wrong where nobody raises


def indices(frame: Frame, target: Tensor, ignore_index: int, row_weight: Tensor | None) -> Labels:
    y = target.long()  # (rows)
    outside = (y < 0) | (y >= frame.classes)
    if frame.look and row_weight is None and not 0 <= ignore_index < frame.classes and not outside.any():
        return y, None, None  # every row counts, and the logits need no second copy without those that do not
    keep = _and(y != ignore_index, _weighed(row_weight))
    wrong = outside & keep
    if frame.look and (at := first(wrong)) is not None:
        raise ValueError(f"label {y[at].item()}{of_row(at)} is out of range: expected 0 to {frame.classes - 1}, or "
                         f"ignore_index={ignore_index} for a row to ignore")  # fmt: skip
    return torch.where(outside | ~keep, 0, y), keep, None if frame.look else wrong


def distributions(frame: Frame, target: Tensor, _ignore_index: int, row_weight: Tensor | None) -> Labels:
    keep = _weighed(row_weight)
    q = counted(target.movedim(frame.axis, -1).to(frame.dtype), keep)  # (rows, K)
    _check_distribution(frame, "the soft target", q, target.dtype, keep)
    return q, keep, None


def prior(frame: Frame, prior: Tensor, keep: Tensor | None) -> Tensor:
    floating("prior", prior)
    u = frame.per_class("prior", prior).to(frame.dtype)
    if u.shape == frame.logits.shape:
        u = counted(u, keep)
    _check_distribution(frame, "the prior", u, prior.dtype, keep)
    return u


def _check_distribution(frame: Frame, name: str, x: Tensor, dtype: torch.dtype, keep: Tensor | None) -> None:
    if not frame.look:
        return
    if (at := first(~(x >= 0))) is not None:
        mass = x[at].item()
        raise ValueError(f"{name}{of_row(at[:-1])} gives class {at[-1]} the mass {mass:.6g}, expected none below 0")
    total = x.detach().sum(-1)  # (rows) or ()
    off = (total - 1).abs() > MISSES_ONE[dtype]
    if (at := first(_and(off, keep) if off.shape == frame.rows else off)) is not None:
        raise ValueError(f"{name}{of_row(at)} sums to {total[at].item():.6g}, expected 1: divide it by its sum, or "
                         "pass validate=False")  # fmt: skip


def on_allowed(
    frame: Frame, label: Tensor, *, allowed: Tensor, prior: Tensor | None, keep: Tensor | None, wrong: Tensor | None
) -> Tensor | None:
    """Find rows whose label is masked, and rows in which there is nothing left to give mass to."""
    if label.is_floating_point():
        masked = ((label > 0) & ~allowed).any(-1)
    else:
        masked = ~allowed.expand_as(frame.logits).gather(-1, label.unsqueeze(-1)).squeeze(-1)
    masked = _and(masked, keep)  # (rows)
    if not frame.look:
        return masked if wrong is None else masked | wrong
    free = allowed if prior is None else allowed & (prior > 0)
    if (at := first(_and(~free.any(-1).expand(frame.rows), keep))) is not None:
        which = "" if prior is None else " that the prior gives mass to"
        raise ValueError(f"class_mask leaves no class{which}{of_row(at)}")
    if (at := first(masked)) is not None:
        what = "soft target" if label.is_floating_point() else f"label {label[at].item()}"
        raise ValueError(f"the {what}{of_row(at)} is masked by class_mask: allow its class, or ignore the row")
    return None


def _weighed(row_weight: Tensor | None) -> Tensor | None:
    """Rows of weight 0 do not count; unless the weights are learned, since then their gradient is the row's loss."""
    return None if row_weight is None or row_weight.requires_grad else row_weight != 0


def counted(x: Tensor, keep: Tensor | None) -> Tensor:
    """Put 0 for what rows that do not count hold, (rows) or (rows, K): times 0 would leave NaN in the gradient."""
    if keep is None:
        return x
    return torch.where(keep if x.dim() == keep.dim() else keep.unsqueeze(-1), x, 0.0)


def _and(a: Tensor, b: Tensor | None) -> Tensor:
    return a if b is None else a & b


def floating(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor) or x.dtype not in FLOATS:
        what = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} must be a floating-point tensor, got {what}")


def first(bad: Tensor) -> tuple[int, ...] | None:
    return tuple(bad.nonzero()[0].tolist()) if bad.any() else None


def of_row(at: tuple[int, ...]) -> str:
    return f" of row {at[0] if len(at) == 1 else at}" if at else ""


# What they come down to -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Charge:
    """The mass c = label·q + spread·v that a row charges to each class."""

    label: Mass
    spread: Mass
    prior: Tensor | None = None  # v: (K,) or (rows, K); None stands for 1/K in every class
    weight: Tensor | None = None  # (K,): multiplies a soft label class by class
    allowed: Tensor | None = None  # (K,) or (rows, K), bool: False takes the class out of the softmax
    keep: Tensor | None = None  # (rows), bool: False takes the row out of loss and gradient
    minus_floor: bool = False  # KL instead of cross-entropy


@dataclass(frozen=True, eq=False)
class Given:
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

    def count(self) -> Mass:
        """Give the number of rows that count, or the sum of their weights."""
        if self.row_weight is not None:
            return self.total(torch.ones_like(self.row_weight))
        return self.frame.rows.numel() if self.keep is None else self.keep.sum()


@dataclass(frozen=True, eq=False)
class Factors:
    """What class weights multiply the masses with, and the share of the spread mass taken back from the label."""

    label: Mass = 1.0
    taken_back: Mass = 1.0
    spread: Mass = 1.0
    share: float = 0.0

    def masses(self, kept: Mass, spread: Mass) -> tuple[Mass, Mass]:
        """Give (a, b) for a target that keeps `kept` at the label and spreads `spread`."""
        back = spread * self.share
        return kept * self.label - back * self.taken_back, (spread + back) * self.spread


@dataclass(frozen=True, eq=False)
class Folded:
    """A batch's charge, what turns ε's parts into masses, and what the mean divides by."""

    charge: Charge
    factors: Factors
    divisor: Mass


def fold(given: Given, family: Family, weighting: Weighting | None, *, mean: bool, kl: bool = False) -> Folded:
    """Turn ε, prior, mask and class weights into effective numbers."""
    K = given.frame.classes
    kept, spread = family.keep(given.epsilon, K), family.spread(given.epsilon, K)
    share = 0.0 if family.over == ALL else 1 / (K - (2 if family.over == NOT_PADDING else 1))
    factors, divisor = Factors(share=share), given.count()
    prior, soft_weight = _spread_over(given, family), None
    if weighting is not None and given.weight is not None:
        row = given.at_label(given.weight)
        if weighting.charge == "expected":
            a, b = factors.masses(kept, spread)
            row = a * row + b * (given.weight.mean() if prior is None else (given.weight * prior).sum(-1))
        # The label's part is averaged by weight and the rest by rows: one of the two divisors has to be folded in.
        ratio = divisor / given.total(row) if weighting.divisor == "apart" and mean else 1.0
        factors = _factors(weighting.charge, row, ratio, soft=given.soft, share=share)
        divisor = given.total(row) if weighting.divisor == "weights" else divisor
        if weighting.charge in {"class", "nll"} and given.soft:
            soft_weight = given.weight
        if weighting.charge == "class":
            prior = given.weight / K if prior is None else given.weight * prior
    if given.poison is not None:
        factors = replace(factors, label=factors.label + given.poison)
    a, b = factors.masses(kept, spread)
    return Folded(Charge(a, b, prior, soft_weight, given.allowed, given.keep, minus_floor=kl), factors, divisor)


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
    room = free.sum(-1, keepdim=True)
    if given.keep is not None and room.shape[:-1] == given.keep.shape:
        room = torch.where(given.keep.unsqueeze(-1), room, 1.0)  # no 0/0 from a row that does not count
    return free / room
