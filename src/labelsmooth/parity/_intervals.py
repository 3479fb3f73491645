"""What a written number means: an interval.

0.3314 stands for anything from 0.33135 to 0.33145. A number with all its digits stands for itself within the rounding of the
type it was computed in, which its digits betray: a float32 written out has seventeen digits and is a float32 still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import numpy as np
from numpy.typing import ArrayLike

from labelsmooth.maths.evaluate import Array

FLOAT32 = 2e-6  # a sum over classes in float32, relative above 1
FLOAT64 = 1e-9  # two float64 programs differ by 1e-13; a sheet shows fifteen digits
BFLOAT16, FLOAT16 = 2.0**-8, 2.0**-10
NOISE = 2e-7  # a rounded number was a float32 before, as a rule
FLOAT32_DECIMALS, MANY_DECIMALS = 7, 9  # what NumPy and Python print of a float32 near 0.3; beyond are float64


@dataclass(frozen=True, eq=False)
class Observed:
    """Numbers as given: where each interval's middle lies, and half its width."""

    values: Array
    tolerance: Array
    says: str  # "four decimals", "float32", ...

    @property
    def there(self) -> Array:
        """Which numbers were given: an empty cell is NaN."""
        return np.asarray(~np.isnan(self.values))

    @property
    def full(self) -> bool:
        """Whether the numbers have all their digits."""
        return self.says in ("float32", "float64")


def observed(numbers: ArrayLike | Sequence[str] | str) -> Observed:
    """Read numbers as intervals; text keeps the zeros at its end, a float has lost them.

    >>> one = observed("0.3314")
    >>> one.values.tolist(), one.tolerance.round(6).tolist(), one.says
    ([0.3314], [5e-05], '4 decimals')
    """
    raw = np.atleast_1d(np.asarray(numbers))
    if raw.ndim != 1:
        raise ValueError(f"losses must be one number a row, got shape {raw.shape}")
    kind = str(raw.dtype)
    try:
        texts = [x if isinstance(x, str) else repr(float(x)).removesuffix(".0") for x in raw.tolist()]
        values = np.array([float(x) for x in texts])
    except ValueError:
        raise ValueError("the losses must be numbers") from None
    finite = np.isfinite(values)
    if not finite.any() and not np.isinf(values).any():
        raise ValueError("there is no loss to explain: every number is missing")
    half, says = _precision([t for t, ok in zip(texts, finite, strict=True) if ok], values[finite], kind)
    size = np.maximum(1.0, np.abs(np.where(finite, values, 1.0)))
    tolerance = half + NOISE * size if says.endswith("decimals") else half * size
    return Observed(values, np.asarray(tolerance, np.float64), says)


def _precision(texts: Sequence[str], values: Array, kind: str) -> tuple[float, str]:
    """Half the width of the interval, and what the numbers look like."""
    if kind in ("float16", "float32"):
        return (FLOAT16, "float16") if kind == "float16" else (FLOAT32, "float32")
    if not texts:
        return FLOAT32, "infinite"
    places = max((decimals(text) for text in texts), default=MANY_DECIMALS)
    if places < FLOAT32_DECIMALS:
        return 0.5 * 10.0**-places, f"{places} decimals"
    if places < MANY_DECIMALS:
        return FLOAT32, "float32"
    single = values.astype(np.float32)
    if np.all(single == values):
        if np.all(single.view(np.uint32) % 2**16 == 0):
            return BFLOAT16, "bfloat16"
        with np.errstate(over="ignore"):
            half = values.astype(np.float16) == values
        return (FLOAT16, "float16") if half.all() else (FLOAT32, "float32")
    return FLOAT64, "float64"


def decimals(text: str) -> int:
    """How many decimals a number is written with.

    >>> decimals("0.3310"), decimals("3.314e-01"), decimals("12")
    (4, 4, 0)
    """
    try:
        exponent = Decimal(text.strip()).as_tuple().exponent
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number") from None
    return max(0, -exponent) if isinstance(exponent, int) else 0


def logit_rounding(logits: Array) -> float:
    """Half a unit of the last decimal of logits that all have a few; 0 where they carry all their digits.

    >>> logit_rounding(np.array([[4.21, -2.4]])), logit_rounding(np.array([[4.2, 1 / 3]]))
    (0.005, 0.0)
    """
    for places in range(FLOAT32_DECIMALS):
        if np.all(np.abs(logits - np.round(logits, places)) <= 1e-12 * np.maximum(1.0, np.abs(logits))):
            return float(0.5 * 10.0**-places)
    return 0.0
