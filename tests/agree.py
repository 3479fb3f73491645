"""The one place where numbers are compared.

Every test that says two numbers are the same says it here, so that there is one meaning of "the same" and no verdict
that somebody can forget to look at: the functions return nothing and raise.

- A difference counts relative to the expected value above 1 and absolutely below it:
  |got - expected| <= budget * max(1, |expected|).
- Nothing is broadcast. Shapes must be equal, and so must dtypes where both sides have one.
- Equal infinities agree. NaN agrees with nothing unless the test asks for it.
- Comparing nothing is an error: an empty array proves nothing unless the test says that empty is the answer.

What was computed stands on the left, what was expected on the right. torch is not imported: its tensors are recognised
by their methods, because the tests of the first rooms run where only NumPy is installed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# Two derivations in float64. One rounding is 1.1e-16; a sum over a thousand classes and a logarithm leave about 1e-13.
# The smallest real mistake (a wrong convention at eps = 0.1) moves a loss by more than 1e-6.
FLOAT64 = 1e-12

# LibreOffice writes 15 significant digits into an .xlsx, so each cell read back is off by up to 5e-15 of itself, and a
# step computed from such cells by a few roundings more.
LIBREOFFICE = 1e-12

# float32: one rounding is 6e-8. The sums are kept in float32 too, so a few roundings survive to the result.
FLOAT32 = 1e-6

# A gradient stored in half precision is rounded once, by at most half a unit: 2**-11 for float16, 2**-8 for bfloat16. A
# whole unit is allowed, because the exact value may lie next to the middle between two neighbours.
FLOAT16 = 2.0**-10
BFLOAT16 = 2.0**-7

# Central differences in float64 with a step of about 1e-5: 1e-10 from the cut-off series, 1e-11 from cancellation, both
# times derivatives of order one to a hundred.
FINITE_DIFFERENCES = 1e-7

SHOWN = 5


@dataclass(frozen=True)
class LossAndGradient:
    """What a loss function gives: there is no way to compare only half of it."""

    loss: Any
    gradient: Any

    def __post_init__(self) -> None:
        for name in ("loss", "gradient"):
            if getattr(self, name) is None:
                raise TypeError(f"LossAndGradient needs a {name}, got None (did backward() run?)")


def agree(
    got: Any,
    expected: Any,
    *,
    budget: float,
    what: str,
    nan_agrees: bool = False,
    any_dtype: bool = False,
    may_be_empty: bool = False,
) -> None:
    """Raise AssertionError unless `got` is `expected` within `budget`, element by element.

    Args:
        got: what was computed: an array, a tensor, a number or nested lists of numbers.
        expected: what it should be.
        budget: the tolerance, one of the constants above: relative above 1, absolute below.
        what: the words the message starts with.
        nan_agrees: NaN on both sides counts as equal.
        any_dtype: compare values only; otherwise two arrays or tensors must have the same dtype.
        may_be_empty: nothing to compare is the right answer here.

    """
    if not 0 <= budget < math.inf:
        raise ValueError(f"{what}: the budget must be a finite number >= 0, got {budget!r}")
    left, right = _numbers(got, what), _numbers(expected, what)
    _same_frame(got, expected, left, right, what=what, any_dtype=any_dtype)
    if left.size == 0 and not may_be_empty:
        raise AssertionError(
            f"{what}: nothing to compare, both sides have shape {left.shape} (may_be_empty=True if that is right)"
        )
    _same_nan(left, right, what, nan_agrees=nan_agrees)
    off = ~(_within(left, right, budget) | (np.isnan(left) & np.isnan(right)))
    if off.any():
        raise AssertionError(_offenders(left, right, off, what, budget))


def agree_result(
    ours: LossAndGradient,
    truth: LossAndGradient,
    *,
    budget: float,
    plain: LossAndGradient | None = None,
    what: str = "result",
) -> None:
    """Raise AssertionError unless loss and gradient are both right.

    Args:
        ours: what the implementation under test gives, in any dtype.
        truth: the same in float64.
        budget: what our error may be, or with `plain`, by how much it may exceed the error of the plain path.
        plain: what the obvious code in the same dtype gives. Its error is granted to ours as well, but only where it is
            finite: an overflow in the plain path excuses nothing.
        what: the words the message starts with.

    """
    for part in ("loss", "gradient"):
        name = f"{what}: {part}"
        exact = getattr(truth, part)
        granted = 0.0 if plain is None else error(getattr(plain, part), exact, what=f"{name} of the plain path")
        agree(getattr(ours, part), exact, budget=budget + granted, what=name, any_dtype=True)


def error(got: Any, expected: Any, *, what: str) -> float:
    """Return the largest difference, relative above 1 and absolute below, over the elements where both are finite."""
    left, right = _numbers(got, what), _numbers(expected, what)
    _same_frame(got, expected, left, right, what=what, any_dtype=True)
    finite = np.isfinite(left) & np.isfinite(right)
    left, right = left[finite], right[finite]
    with np.errstate(over="ignore"):
        return float(np.max(np.abs(left - right) / np.maximum(1.0, np.abs(right)), initial=0.0))


def _numbers(value: Any, what: str) -> npt.NDArray[np.float64]:
    """Give any array, tensor, number or nested list as float64, refusing what is not a number."""
    if hasattr(value, "detach"):  # a torch tensor, bfloat16 included, which NumPy cannot hold
        value = value.detach().cpu().double().numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{what}: only real numbers can be compared, got {type(value).__name__} of {array.dtype}")
    return array.astype(np.float64)


def _dtype(value: Any) -> str | None:
    """Name the dtype of an array or tensor; a Python number or a list has none."""
    dtype = getattr(value, "dtype", None)
    return None if dtype is None else str(dtype).removeprefix("torch.")


def _same_frame(
    got: Any,
    expected: Any,
    left: npt.NDArray[np.float64],
    right: npt.NDArray[np.float64],
    *,
    what: str,
    any_dtype: bool,
) -> None:
    if left.shape != right.shape:
        raise AssertionError(f"{what}: shape {left.shape}, expected {right.shape}")
    ours, theirs = _dtype(got), _dtype(expected)
    if not any_dtype and ours is not None and theirs is not None and ours != theirs:
        raise AssertionError(f"{what}: dtype {ours}, expected {theirs} (any_dtype=True compares values only)")


def _same_nan(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64], what: str, *, nan_agrees: bool) -> None:
    bad = np.isnan(left) ^ np.isnan(right) if nan_agrees else np.isnan(left) | np.isnan(right)
    if bad.any():
        raise AssertionError(_offenders(left, right, bad, f"{what}: NaN", None))


def _within(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64], budget: float) -> npt.NDArray[np.bool_]:
    # An infinity on the right would make the tolerance infinite and agree with everything, hence equality for those.
    finite = np.isfinite(left) & np.isfinite(right)
    with np.errstate(over="ignore", invalid="ignore"):
        close = np.abs(left - right) <= budget * np.maximum(1.0, np.abs(right))
    verdict: npt.NDArray[np.bool_] = np.where(finite, close, left == right)
    return verdict


def _offenders(
    left: npt.NDArray[np.float64],
    right: npt.NDArray[np.float64],
    off: npt.NDArray[np.bool_],
    what: str,
    budget: float | None,
) -> str:
    """Say how many differ and show the first few with their index."""
    count = int(off.sum())
    within = "" if budget is None else f", budget {budget:.3g}"
    lines = [f"{what}: {count} of {off.size} differ{within}"]
    for index in np.argwhere(off)[:SHOWN]:
        place = tuple(int(i) for i in index)
        a, b = float(left[place]), float(right[place])
        lines.append(f"  {list(place)}  got {a!r}  expected {b!r}  difference {a - b:.3g}")
    if count > SHOWN:
        lines.append(f"  and {count - SHOWN} more")
    return "\n".join(lines)
