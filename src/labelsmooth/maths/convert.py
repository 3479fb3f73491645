"""The ε that gives the same target in another convention.

No formula of a family stands here. A target with a uniform prior is two numbers, on at the label and off elsewhere.
Two such targets ask for the same prediction where the ratio of the two numbers is the same; whether they are the same
target is then seen from their sums. The ε is found by halving [0, 1], because in every family the ratio moves one way
as ε grows; so a new row in `conventions.py` converts without a line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np

from .conventions import NEIGHBOURS, NOT_PADDING, Family, convention_named

HALVINGS = 200  # from 1 down to 1e-60, and then to the last bit
ROUNDING = 1e-12  # the numbers of a family are a few roundings away from exact


@dataclass(frozen=True)
class Conversion:
    """What `convert` found."""

    label_smoothing: float
    exact: bool  # whether the two targets are the same, not only their ratio
    on: float  # the target convention's value at the label
    off: float  # and at another class
    note: str = ""  # by what the losses still differ


def convert(label_smoothing: float, *, source: str, target: str, num_classes: int) -> Conversion:
    r"""Give the ε at which `target` smooths as `source` does at `label_smoothing`.

    $$\frac{q'_{off}(\varepsilon)}{q'_{on}(\varepsilon)}\Big|_{source} = \frac{q'_{off}(x)}{q'_{on}(x)}\Big|_{target}$$

    Args:
        label_smoothing: ε in [0, 1], as `source` understands it.
        source: a framework or a target's name, as in `trace`.
        target: the same, for the ε that is wanted.
        num_classes: K.

    Returns:
        A `Conversion`; its `label_smoothing` is rounded to 15 digits. Where the targets have different sums, `exact` is
        False and the note says by which factor the losses differ; where one is a KL, the note says by which constant.

    Raises:
        ValueError: no ε from 0 to 1 does it, or the two kinds of target have nothing to do with each other.

    Example:
        >>> convert(0.1, source="fairseq", target="torch", num_classes=5)
        Conversion(label_smoothing=0.125, exact=True, on=0.9, off=0.025, note='')

    `convention=` of the losses computes each convention as it is; this is for a framework that has only its own.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be between 0 and 1, got {label_smoothing:g}")
    if not isinstance(num_classes, int | np.integer) or num_classes < 2:
        raise ValueError(f"num_classes must be a whole number of at least 2, got {num_classes!r}")
    classes, old, new = int(num_classes), convention_named(source), convention_named(target)
    _check_kinds(old.family, new.family, f"{source!r} and {target!r}")
    wanted = old.family.on_off(label_smoothing, classes)
    same = old.family is new.family
    found = float(label_smoothing) if same else _solve(wanted, new.family, classes, f"{source}'s {label_smoothing:g}")
    got = new.family.on_off(found, classes)
    factor = 1.0 if same else _sum(*wanted, classes) / _sum(*got, classes)
    exact = abs(factor - 1) <= ROUNDING
    notes = []
    if not exact:
        notes.append(f"same ratio on : off, but the cross-entropy of {source} is {factor:.6g} times that of {target}")
    if old.divergence != new.divergence:
        one, its, family = (source, wanted, old.family) if old.divergence == "kl" else (target, got, new.family)
        notes.append(f"{one} returns a KL divergence: its cross-entropy less the constant "
                     f"H(q') = {_entropy(*its, family, classes):.6g}")  # fmt: skip
    return Conversion(found, exact, *got, "; ".join(notes))


def _check_kinds(old: Family, new: Family, both: str) -> None:
    """Refuse two targets that no ε can make alike."""
    if NEIGHBOURS in {old.over, new.over}:
        raise ValueError(f"{both} have no ε in common: the target 'gaussian' depends on the distance from the label")
    if old.link != new.link:
        raise ValueError(f"{both} have no ε in common: one is a distribution, the other a yes or no a class")
    if old is not new and NOT_PADDING in {old.over, new.over}:
        raise ValueError(f"{both} have no ε in common: one gives a padding class nothing, the other gives it a share; "
                         "a prior that is 0 at padding comes near")  # fmt: skip


def _solve(wanted: tuple[float, float], family: Family, classes: int, asked: str) -> float:
    """The ε at which on : off of a family is as wanted; `asked` names what was wanted, for the refusals."""

    def turn(epsilon: float) -> float:
        on, off = family.on_off(epsilon, classes)
        return wanted[0] * off - wanted[1] * on

    if not any(wanted):
        raise ValueError(f"{asked} leaves no target at all: nothing has the same ratio")
    (on, off), (on_later, off_later) = family.on_off(0.0, classes), family.on_off(0.5, classes)
    if classes * abs(on * off_later - off * on_later) <= ROUNDING:
        raise ValueError(f"{asked} has no counterpart: in the target {family.name!r}, on : off is the same for every ε")
    low, high = (0.0, 1.0) if turn(0.0) < turn(1.0) else (1.0, 0.0)  # turn(low) is the smaller
    for end in (low, high):
        if turn(end) == 0:
            return end
    if classes * turn(low) > ROUNDING or classes * turn(high) < -ROUNDING:
        reach = sorted(_wrong(*family.on_off(end, classes), classes) for end in (low, high))
        raise ValueError(f"{asked} gives the wrong classes {_wrong(*wanted, classes):.6g} of the target at "
                         f"K = {classes}; {family.name!r} can give them {reach[0]:.6g} to {reach[1]:.6g}")  # fmt: skip
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if turn(middle) < 0 else (low, middle)
    return float(f"{high:.15g}")


def _sum(on: float, off: float, classes: int) -> float:
    return on + (classes - 1) * off


def _wrong(on: float, off: float, classes: int) -> float:
    """The share of the wrong classes; all of it where the target has no sum to share."""
    whole = _sum(on, off, classes)
    return (classes - 1) * off / whole if whole > 0 else 1.0


def _entropy(on: float, off: float, family: Family, classes: int) -> float:
    """H(q') of a target that sums to 1."""
    others = classes - (2 if family.over == NOT_PADDING else 1)
    return -sum(count * x * log(x) for count, x in ((1, on), (others, off)) if x > 0)
