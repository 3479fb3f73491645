"""Was this model trained with label smoothing, and with which ε? Read off the pile-up of its confidences.

Smoothing has an optimum at finite logits: the label's probability is 1−ε+ε/K and the others are equal, so the confidences
of a smoothed model pile up there, with hardly any above. Without it they run on towards 1. The place is looked for as
w = log((K−1)·c/(1−c)): the gap of a row with confidence c whose other classes are equal, log(1 + K(1−ε)/ε) at the optimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, log1p

import numpy as np
from numpy.typing import NDArray

from .rows import Rows

Floats = NDArray[np.float64]

NEAR = 0.15  # of the place: what counts as being in the pile
ENOUGH = (
    0.5  # of the rows in the pile: networks of the study with ε from 0.05 to 0.2 have 0.6 to 0.7, without 0.1 to 0.3
)
FEW = 0.12  # of the rows above the pile: with smoothing 0.02 to 0.12, without 0.2 to 0.9
FEWEST = 200  # rows, below which a pile is not told from chance


@dataclass(frozen=True)
class Smoothing:
    """Where the confidences pile up, and what that says."""

    likely: bool
    epsilon: float  # at the place where they pile up; means something only if likely
    low: float  # the same at the edges of the middle half of the pile
    high: float
    confidence: float  # 1−ε+ε/K there
    near: float  # share of rows in the pile
    above: float  # share of rows surer than the pile
    accuracy_near: float  # of the rows in the pile
    accuracy_above: float  # of the rows surer than the pile; NaN if there are none


def wall(epsilon: float, classes: int) -> float:
    """The gap between the label's logit and the others at the optimum of the smoothed loss: log(1 + K(1−ε)/ε).

    >>> round(wall(0.1, 10), 4), wall(0.0, 10)
    (4.5109, inf)
    """
    return log1p(classes * (1 - epsilon) / epsilon) if epsilon > 0 else float("inf")


def trained_with_smoothing(rows: Rows, classes: int) -> Smoothing:
    """Whether the confidences pile up as smoothing makes them, and at which ε.

    ε = (1−c)·K/(K−1), c the confidence at the mode of w.

    Args:
        rows: facts of rows that the model was not trained on, at temperature 1.
        classes: K.

    Returns:
        The place and the verdict. A temperature applied to the logits, and labels that were noisy in training, move or blur
        the pile; the sharper the noise-free pile, the surer the verdict.

    Raises:
        ValueError: there are no rows.

    Example:
        >>> from labelsmooth.calibration.rows import rows_of
        >>> z = np.zeros((1000, 10)); z[:, 3] = np.linspace(4.4, 4.6, 1000)
        >>> found = trained_with_smoothing(rows_of(z, [3] * 1000), 10)
        >>> found.likely, round(found.epsilon, 1)
        (True, 0.1)

    Reference: Mueller, Kornblith, Hinton, When Does Label Smoothing Help?, 2019, for the pile-up.
    """
    if len(rows) == 0:
        raise ValueError("there are no rows")
    c = np.clip(rows.confidence, 1 / classes, 1 - 1e-16)
    w = np.log(c) - np.log1p(-c) + log(classes - 1)
    place = _mode(w)
    near, above = np.abs(w - place) <= NEAR * place, w > (1 + NEAR) * place
    share, beyond = float(near.mean()), float(above.mean())
    hit = rows.correct
    quarter = np.quantile(w[near], [0.75, 0.25]) if near.any() else np.array([place, place])
    low, high = (_epsilon(float(x), classes) for x in quarter)
    epsilon = _epsilon(place, classes)
    return Smoothing(
        likely=len(rows) >= FEWEST and share >= ENOUGH and beyond <= FEW and epsilon < 0.9,
        epsilon=epsilon,
        low=low,
        high=high,
        confidence=1 - epsilon + epsilon / classes,
        near=share,
        above=beyond,
        accuracy_near=float(hit[near].mean()) if near.any() else float("nan"),
        accuracy_above=float(hit[above].mean()) if above.any() else float("nan"),
    )


def _epsilon(w: float, classes: int) -> float:
    """The ε whose optimum has this gap."""
    return classes / (classes - 1 + exp(min(w, 700.0)))


def _mode(values: Floats) -> float:
    """The half-sample mode: the densest half, again and again (Bickel and Fruehwirth, 2006)."""
    x = np.sort(values)
    while len(x) > 3:
        half = (len(x) + 1) // 2
        start = int((x[half - 1 :] - x[: len(x) - half + 1]).argmin())
        x = x[start : start + half]
    return float(x.mean())
