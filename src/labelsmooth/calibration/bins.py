"""Rows in bins of their confidence: what a reliability diagram draws, and what the binned measures are computed from.

Equal confidences stay in one bin, whatever the order of rows: bins of equal mass that split ties give another number when
the rows are shuffled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

BINS = 15  # of Guo et al. 2017, and of nearly everybody since


@dataclass(frozen=True, eq=False)
class Bins:
    """Rows in bins of their confidence; empty bins are left out."""

    lower: Floats  # (B,) of equal width: the bin's edges; of equal mass: the smallest and largest confidence in it
    upper: Floats
    count: NDArray[np.int64]
    confidence: Floats  # mean confidence
    accuracy: Floats  # share of correct rows

    @property
    def ece(self) -> float:
        """Σ over bins of share · |accuracy − confidence|."""
        total = self.count.sum()
        return float((self.count * np.abs(self.accuracy - self.confidence)).sum() / total) if total else float("nan")


@dataclass(frozen=True)
class Decomposition:
    """Brier score of "the prediction is right": score = reliability − resolution + uncertainty + within."""

    score: float
    reliability: float  # of the bins: what calibration would remove
    resolution: float  # how far the bins' accuracies are apart: larger is better
    uncertainty: float  # accuracy · (1 − accuracy)
    within: float  # what bins hide: the spread of confidences inside them


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS, scheme: str = "width") -> Bins:
    """Mean confidence and accuracy in bins of confidence: what a reliability diagram draws.

    Args:
        confidence: `(N,)` in [0, 1].
        correct: `(N,)` bool.
        bins: how many, empty ones included.
        scheme: "width" for bins (i/bins, (i+1)/bins], the first with 0; "mass" for bins with about equally many rows.

    Returns:
        The bins that hold rows. Equal confidences are in one bin always, whatever the order of rows.

    Raises:
        ValueError: confidences outside [0, 1], shapes that differ, another scheme.

    Example:
        >>> found = reliability([0.95, 0.85, 1.0], [True, False, True], bins=10)
        >>> found.count.tolist(), found.lower.tolist()
        ([1, 2], [0.8, 0.9])
    """
    p, hit = pair(confidence, correct)
    place = places(p, bins, scheme)
    count = np.bincount(place, minlength=bins)
    kept = count > 0
    with np.errstate(invalid="ignore"):
        mean, right = (np.bincount(place, weights=x, minlength=bins)[kept] / count[kept] for x in (p, hit))
    if scheme == "width":
        edges = np.arange(bins + 1) / bins
        lower, upper = edges[:-1][kept], edges[1:][kept]
    else:
        lower, upper = np.full(bins, np.inf), np.full(bins, -np.inf)
        np.minimum.at(lower, place, p)
        np.maximum.at(upper, place, p)
        lower, upper = lower[kept], upper[kept]
    return Bins(lower, upper, count[kept], mean, right)


def decompose(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS, scheme: str = "mass") -> Decomposition:
    """The Brier score of "the prediction is right" in its parts; they add up exactly.

    Args:
        confidence: `(N,)` in [0, 1].
        correct: `(N,)` bool.
        bins: how many.
        scheme: "width" or "mass".

    Returns:
        The score and its four parts.

    Raises:
        ValueError: as for `reliability`.

    Example:
        >>> parts = decompose([0.9, 0.9, 0.6, 0.6], [True, True, True, False])
        >>> round(parts.reliability - parts.resolution + parts.uncertainty + parts.within - parts.score, 12)
        0.0

    Reference: Murphy, A New Vector Partition of the Probability Score, 1973; the part within bins: Stephenson et al. 2008.
    """
    p, hit = pair(confidence, correct)
    found = reliability(p, hit, bins, scheme)
    if len(p) == 0:
        return Decomposition(*[float("nan")] * 5)
    score, rate, share = float(np.square(p - hit).mean()), float(hit.mean()), found.count / len(p)
    off = float((share * np.square(found.accuracy - found.confidence)).sum())
    apart = float((share * np.square(found.accuracy - rate)).sum())
    unsure = rate * (1 - rate)
    return Decomposition(score, off, apart, unsure, score - off + apart - unsure)


def places(p: Floats, bins: int, scheme: str) -> NDArray[np.int64]:
    """The bin of each confidence, from 0."""
    if scheme == "width":
        # Against the edges themselves: 0.6 · 15 is 9.000000000000002 in floating point, and 0.6 is an edge.
        return np.maximum(np.searchsorted(np.arange(bins + 1) / bins, p, side="left") - 1, 0)
    if scheme != "mass":
        raise ValueError(f'scheme must be "width" or "mass", got {scheme!r}')
    # Equal confidences share one bin, that of their middle: bins that split ties depend on the order of rows.
    _, group, count = np.unique(p, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count + 1) / 2
    return (middle * bins / max(len(p), 1)).astype(np.int64)[group]


def pair(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64, checked."""
    p, hit = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if p.ndim != 1 or p.shape != hit.shape:
        raise ValueError(f"confidence and correct must be one number a row, got shapes {p.shape} and {hit.shape}")
    if len(p) and not (p.min() >= 0 and p.max() <= 1):
        raise ValueError(f"a confidence is from 0 to 1, got {p[~((p >= 0) & (p <= 1))][0]}")
    return p, hit
