"""ε or a temperature that nobody named, found from the numbers: every root, and whether all numbers agree on it.

One number fixes the parameter, the others test it. The number that moves most in tolerances is the one to solve for; its roots
are looked for on a grid, halved down, and each is then moved to where the intervals of all numbers overlap, at the roundest
value there. ε is not linear in every convention (a renormalised target is a ratio, KL is convex, smoothing twice is quadratic),
so nothing here assumes a line except the last step, over a width of some tolerances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from labelsmooth.maths.evaluate import Array

from ._data import Data
from ._intervals import Observed
from ._predictions import Predictor
from ._recipes import Hypothesis

EPSILON_GRID = np.linspace(0.0, 1.0, 33)
TEMPERATURE_GRID = np.geomspace(0.02, 50.0, 49)
HALVINGS = 60
STEP = 1e-6  # of a slope
DIGITS = 12  # most that a parameter is written with

Function = Callable[[float], Array]


def solve(
    predictor: Predictor, seen: Observed, hypothesis: Hypothesis, parameter: str
) -> Iterator[tuple[Hypothesis, float]]:
    """Every value of "epsilon" or "temperature" at which all numbers fit, with the hypothesis there."""
    there = np.flatnonzero(seen.there & np.isfinite(seen.values))
    if not len(there):
        return
    grid = EPSILON_GRID if parameter == "epsilon" else TEMPERATURE_GRID
    curve = _curve(predictor, hypothesis, parameter, there)
    if curve is None:
        return
    given, tolerance = seen.values[there], seen.tolerance[there]
    values = np.array([curve(float(x)) for x in grid])  # (G, M)
    with np.errstate(all="ignore"):
        movement = (np.nanmax(values, axis=0) - np.nanmin(values, axis=0)) / tolerance
    if not np.isfinite(movement).any() or np.nanmax(np.where(np.isfinite(movement), movement, 0)) <= 2:
        return  # the parameter does nothing here
    best = int(np.argmax(np.where(np.isfinite(movement), movement, -1.0)))
    for root in _roots(lambda x: float(curve(x)[best] - given[best]), grid, values[:, best] - given[best]):
        found = _agreed(curve, root, given, tolerance)
        if found is not None and grid[0] <= found <= grid[-1]:
            changed: dict[str, Any] = {parameter: found}
            yield replace(hypothesis, recipe=replace(hypothesis.recipe, **changed)), found


def _curve(predictor: Predictor, hypothesis: Hypothesis, parameter: str, there: Any) -> Function | None:
    """The numbers as a function of the parameter, at a few rows if numbers are one a row."""
    recipe = hypothesis.recipe
    if parameter == "epsilon":
        if recipe.divergence in ("swapped", "reverse") and predictor.data.prior is not None:
            return None

        def at(x: float) -> Array:
            with np.errstate(all="ignore"):
                return np.asarray(predictor.predict(replace(recipe, epsilon=x))[there])

        return at

    def warm(x: float) -> Array:
        predictor.forget()
        return np.asarray(predictor.predict(replace(recipe, temperature=x))[there])

    return warm


def _roots(f: Callable[[float], float], grid: Array, values: Array) -> Iterator[float]:
    """Where f changes sign between neighbours of the grid, and where it touches zero without crossing."""
    for left, right, a, b in zip(grid[:-1], grid[1:], values[:-1], values[1:], strict=True):
        if not (np.isfinite(a) and np.isfinite(b)):
            continue
        if a == 0:
            yield float(left)
        elif a * b < 0:
            yield _halved(f, float(left), float(right), a < 0)
    if values[-1] == 0:
        yield float(grid[-1])
    for i in range(1, len(grid) - 1):  # a minimum of |f| inside: two roots close together, or one that touches
        near = np.abs(values[i - 1 : i + 2])
        if (
            np.all(np.isfinite(near))
            and values[i - 1] * values[i] > 0 < values[i] * values[i + 1]
            and near[1] <= near.min()
        ):
            yield from _inner(f, float(grid[i - 1]), float(grid[i + 1]))


def _halved(f: Callable[[float], float], low: float, high: float, rising: bool) -> float:
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if (f(middle) < 0) == rising:
            low = middle
        else:
            high = middle
        if high - low <= 1e-13 * max(1.0, abs(high)):
            break
    return (low + high) / 2


def _inner(f: Callable[[float], float], low: float, high: float) -> Iterator[float]:
    """The least |f| by golden section; where it crosses zero there, both roots."""
    golden = (np.sqrt(5) - 1) / 2
    left, right, sign = low, high, 1.0 if f((low + high) / 2) > 0 else -1.0
    for _ in range(HALVINGS):
        a, b = right - golden * (right - left), left + golden * (right - left)
        if sign * f(a) < sign * f(b):
            right = b
        else:
            left = a
        if right - left < 1e-10:
            break
    bottom = (left + right) / 2
    if sign * f(bottom) < 0:
        yield _halved(f, low, bottom, f(low) < 0)
        yield _halved(f, bottom, high, f(bottom) < 0)
    else:
        yield bottom


def _agreed(curve: Function, root: float, given: Array, tolerance: Array) -> float | None:
    """The roundest parameter near a root at which every number lies in its interval."""
    here = curve(root)
    slope = (curve(root + STEP) - curve(root - STEP)) / (2 * STEP) if 0 < root < 1 else _one_sided(curve, root, here)
    low, high = -np.inf, np.inf
    for value, wanted, half, m in zip(here, given, tolerance, slope, strict=True):
        if not np.isfinite(value):
            return None
        if abs(m) * max(abs(root), 1e-3) < half * 1e-3:  # this number says nothing about the parameter
            if abs(value - wanted) > half * 1.01:
                return None
            continue
        ends = sorted((root + (wanted - half - value) / m, root + (wanted + half - value) / m))
        low, high = max(low, ends[0]), min(high, ends[1])
    if low > high:
        return None
    return roundest(max(low, 0.0), high) if np.isfinite(low) and np.isfinite(high) else None


def _one_sided(curve: Function, root: float, here: Array) -> Array:
    step = STEP if root <= 0 else -STEP
    return np.asarray((curve(root + step) - here) / step)


def roundest(low: float, high: float) -> float:
    """The number with the fewest decimals between two, the middle one of those.

    >>> roundest(0.1249, 0.1251), roundest(0.2, 0.2), roundest(0.3171, 0.3174)
    (0.125, 0.2, 0.3173)
    """
    middle = (low + high) / 2
    for digits in range(1, DIGITS):
        x = round(middle, digits)
        if low <= x <= high:
            return x
    return middle


def few_rows(data: Data, seen: Observed, most: int = 8) -> tuple[Data, Observed]:
    """A part of a batch that decides quickly whether a solution is worth checking on all of it."""
    there = np.flatnonzero(seen.there & np.isfinite(seen.values) & data.counts)[:most]
    part = replace(
        data,
        logits=data.logits[there],
        labels=data.labels[there],
        counts=data.counts[there],
        soft=None if data.soft is None else data.soft[there],
        prior=data.prior if data.prior is None or data.prior.ndim == 1 else data.prior[there],
        sequences=0,
    )
    return part, Observed(seen.values[there], seen.tolerance[there], seen.says)
