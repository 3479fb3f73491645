"""One temperature for all logits: fitted in float64, with an interval, and refused where the rows do not determine it.

The NLL of softmax(z/T) is convex in 1/T, so its derivative has one zero, which is found in a bracket. The reference recipe
that is copied most (50 steps of L-BFGS with a learning rate of 0.01) stops far from it: gpleiss/temperature_scaling#20, #29.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._extras import extra
from .rows import BLOCK, checked

Floats = NDArray[np.float64]

NAN = float("nan")
LOWEST, HIGHEST = 0.02, 50.0
FOLDS = 5
NEARBY = 0.1  # of log T: how far from the temperature of all rows that of four fifths is looked for first
WIDEST = 3.0  # an interval whose ends differ by more than this factor does not say which temperature
FEWEST = 20
QUANTILE = 1.959963984540054  # of the normal distribution, for 95%


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature; `refusal` says why it must not be used, and is empty where it may."""

    value: float  # NaN where there is none
    low: float  # 95% interval
    high: float
    rows: int
    nll_before: float
    nll_after: float  # on the rows it was fitted on; see `cross_fitted` for rows that it has not seen
    refusal: str = ""

    @property
    def usable(self) -> bool:
        """Whether the rows determine it."""
        return not self.refusal


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> Temperature:
    """The T that minimises the NLL of softmax(z/T), with a 95% interval.

    The interval is exp(log T ± 1.96·s) with the sandwich estimate of s, which does not take the model for true.

    Args:
        logits: `(N, K)`; −inf is a class that cannot be predicted.
        labels: `(N,)` whole numbers from 0 to K−1. Rows that the model was trained on give a T that is too small.

    Returns:
        The temperature. It is refused, with the reason, when no T from 0.02 to 50 is best (every label has the largest
        logit: T falls for ever), when the interval is wider than a factor of 3, or with fewer than 20 rows.

    Raises:
        ValueError: as for `rows_of`.
        MissingExtra: SciPy is not installed.

    Example:
        >>> random = np.random.default_rng(0)
        >>> z = random.normal(size=(2000, 5))
        >>> y = (z + random.gumbel(size=z.shape)).argmax(axis=1)  # labels drawn from softmax(z)
        >>> fit = fit_temperature(3 * z, y)
        >>> fit.low < 3 < fit.high, fit.usable
        (True, True)

    Reference: Guo et al. 2017, section 4.2.
    """
    z, y = _centred(logits, labels)
    return _fitted(z, y)


def cross_fitted(logits: ArrayLike, labels: ArrayLike, folds: int = FOLDS, seed: int = 0) -> Floats:
    """For each row, the temperature fitted on the folds that the row is not in: `(N,)`.

    With it, `rows_of(logits, labels, temperature)` gives measures after temperature without a validation set, and no row
    has a say in its own temperature.

    Args:
        logits: `(N, K)`.
        labels: `(N,)`.
        folds: how many parts; rows are dealt to them at random.
        seed: of the dealing.

    Returns:
        One temperature a row; 1.0 in a fold whose temperature was refused.

    Raises:
        ValueError: as for `rows_of`.
        MissingExtra: SciPy is not installed.

    Example:
        >>> z = np.random.default_rng(0).normal(size=(100, 3))
        >>> cross_fitted(z, z.argmax(axis=1)).tolist() == [1.0] * 100  # every label has the largest logit: refused
        True
    """
    place = dealt(len(np.asarray(labels)), folds, seed)
    found = fold_temperatures(logits, labels, place, folds)
    values: Floats = np.array([t.value if t.usable else 1.0 for t in found])[place]
    return values


def fold_temperatures(
    logits: ArrayLike, labels: ArrayLike, place: NDArray[np.int64], folds: int = FOLDS, *, near: float = NAN
) -> list[Temperature]:
    """For each fold, the temperature fitted on the rows of the others; `place` says which fold a row is in.

    `near` is where to look first, the temperature of all rows if it is known: that halves the time and changes nothing.

    >>> z = np.eye(3)[[0, 1, 2, 0]]
    >>> [t.usable for t in fold_temperatures(z, [0, 1, 2, 0], np.array([0, 1, 0, 1]), 2)]
    [False, False]
    """
    z, y = _centred(logits, labels)
    nobody = Temperature(NAN, NAN, NAN, 0, NAN, NAN, "there are no other rows")
    return [_fitted(z[place != f], y[place != f], near) if (place != f).any() else nobody for f in range(folds)]


def dealt(rows: int, folds: int = FOLDS, seed: int = 0) -> NDArray[np.int64]:
    """The fold of each row: at random, and of sizes that differ by at most one.

    >>> np.bincount(dealt(12, 5)).tolist()
    [3, 3, 2, 2, 2]
    """
    return np.random.default_rng(seed).permutation(rows) % folds


def _centred(logits: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """Logits with the largest of each row at 0."""
    z, y = checked(logits, labels)
    z = z.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    if np.isnan(z).any():
        raise ValueError(f"row {int(np.isnan(z).any(axis=1).argmax()) + 1} of the logits holds NaN or infinity")
    return z, y


def _fitted(z: Floats, y: NDArray[np.int64], near: float = NAN) -> Temperature:
    optimize = extra("scipy.optimize", "fitting a temperature")
    z_label = z[np.arange(len(z)), y]
    before = _nll(z, z_label, 1.0)
    refused = _hopeless(z_label)

    def slope_at(log_T: float) -> float:
        return float(_slopes(z, z_label, exp(-log_T))[0].mean())

    low, high = log(near) - NEARBY, log(near) + NEARBY
    if not refused and not (near > 0 and slope_at(low) > 0 > slope_at(high)):
        low, high = log(LOWEST), log(HIGHEST)
        if slope_at(high) >= 0:
            refused = f"the NLL still falls at T = {HIGHEST:g}: these logits say no more than chance"
        elif slope_at(low) <= 0:
            refused = f"the NLL still falls at T = {LOWEST:g}: nearly every label has the largest logit"
    if refused:
        return Temperature(NAN, NAN, NAN, len(z), before, NAN, refused)
    found = optimize.brentq(slope_at, low, high, xtol=1e-10, rtol=1e-12)
    T = exp(found)
    slope, curvature = _slopes(z, z_label, 1 / T)
    spread = sqrt(float(np.square(slope).mean()) / len(z)) / float(curvature.mean()) * T  # of log T
    low, high = T * exp(-min(QUANTILE * spread, 50)), T * exp(min(QUANTILE * spread, 50))
    if len(z) < FEWEST:
        refused = f"{len(z)} rows are too few for a temperature: {FEWEST} or more are needed"
    elif high > WIDEST * low:
        refused = f"{len(z)} rows do not determine it: 95% interval from {low:.2g} to {high:.2g}"
    return Temperature(T, low, high, len(z), before, _nll(z, z_label, T), refused)


def _hopeless(z_label: Floats) -> str:
    """Why no temperature can be best, whatever the search says."""
    if np.isneginf(z_label).any():
        row = int(np.isneginf(z_label).argmax()) + 1
        return f"the label of row {row} has the logit -inf: the NLL is infinite at every temperature"
    if (z_label == 0).all():
        return "every label has the largest logit: the NLL falls for ever as T goes to 0"
    return ""


def _blocks(z: Floats) -> list[slice]:
    step = max(BLOCK // z.shape[1], 1)
    return [slice(i, i + step) for i in range(0, len(z), step)]


def _nll(z: Floats, z_label: Floats, T: float) -> float:
    parts = [np.log(np.exp(z[part] / T).sum(axis=1)) for part in _blocks(z)]
    return float((np.concatenate(parts) - z_label / T).mean())


def _slopes(z: Floats, z_label: Floats, beta: float) -> tuple[Floats, Floats]:
    """First and second derivative of each row's NLL after β = 1/T: mean and variance of z under p, less the label's z."""
    slope, curvature = np.empty(len(z)), np.empty(len(z))
    for part in _blocks(z):
        block = z[part]
        p = np.exp(beta * block)
        p /= p.sum(axis=1, keepdims=True)
        finite = np.where(np.isneginf(block), 0.0, block)  # of probability 0
        mean = (p * finite).sum(axis=1)
        slope[part] = mean - z_label[part]
        curvature[part] = (p * np.square(finite - mean[:, None])).sum(axis=1)
    return slope, curvature
