"""The measures: pure functions on arrays, each a few lines, with what others get wrong beside it.

`confidence` is the largest probability of each row and `correct` whether its class was the label; both are (N,). Of no rows
every measure is NaN, not 0: nothing was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bins import BINS, Bins, Decomposition, decompose, pair, places, reliability
from .rows import CLASS_BINS, ClassBins

Floats = NDArray[np.float64]

__all__ = [
    "Bins", "Decomposition", "NullTest", "accuracy", "brier", "classwise_ece", "decompose", "ece", "nll", "null_test",
    "overconfidence", "reliability", "smooth_ece", "top_k",
]  # fmt: skip

GRID = 4096  # cells of the smooth ECE; a confidence moves by at most 1.2e-4
RESAMPLES = 1000
DRAWS = 20_000_000  # of the null test, beyond which fewer resamples are drawn


@dataclass(frozen=True)
class NullTest:
    """What the ECE of a perfectly calibrated model with these confidences would be."""

    ece: float
    floor: float  # its mean over the resamples
    high: float  # its 95% quantile
    p_value: float  # share of resamples with an ECE at least as large, counting the observed one
    resamples: int


def accuracy(correct: ArrayLike) -> float:
    """Share of correct rows.

    >>> accuracy([True, True, False, True])
    0.75
    """
    return _mean(correct)


def top_k(rank: ArrayLike, k: int) -> float:
    """Share of rows whose label is among the k largest logits; `rank` is that of the label, from 0.

    >>> top_k([0, 2, 1, 5], 3)
    0.75
    """
    return _mean(np.asarray(rank) < k)


def nll(label_log_probability: ArrayLike) -> float:
    """Mean of −log p(label): plain cross-entropy, infinite where a label had probability 0.

    >>> round(nll(np.log([0.5, 0.25])), 4)
    1.0397
    """
    return -_mean(label_log_probability)


def brier(terms: ArrayLike) -> float:
    """Mean of Σ over classes of (p − one-hot)², from 0 to 2: over all classes, and twice the binary one at K = 2.

    >>> brier([0.0, 2.0])
    1.0
    """
    return _mean(terms)


def overconfidence(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean confidence minus accuracy: above 0 the model promises too much, below 0 too little.

    >>> round(overconfidence([0.9, 0.9], [True, False]), 12)
    0.4
    """
    return _mean(confidence) - _mean(correct)


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS, scheme: str = "width") -> float:
    """Expected calibration error of the predicted class: Σ over bins of share · |accuracy − confidence|.

    It is biased upwards, the more the fewer rows (`null_test` says by how much), and knows neither the other classes nor
    whether errors are ranked below hits. torchmetrics 1.9 puts a confidence of exactly 1 into a bin of its own
    (Lightning-AI/torchmetrics#3510); here it is in the last bin.

    Args:
        confidence: `(N,)` in [0, 1].
        correct: `(N,)` bool.
        bins: how many.
        scheme: "width" or "mass", see `reliability`.

    Returns:
        A number from 0 to 1; NaN of no rows.

    Raises:
        ValueError: as for `reliability`.

    Example:
        >>> round(ece([0.9, 0.9, 0.6, 0.6], [True, False, True, False]), 12)
        0.25

    Reference: Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, 2017, section 2.
    """
    return reliability(confidence, correct, bins, scheme).ece


def null_test(
    confidence: ArrayLike,
    correct: ArrayLike,
    bins: int = BINS,
    scheme: str = "width",
    *,
    resamples: int | None = None,
    seed: int = 0,
) -> NullTest:
    """Could this ECE come from a perfectly calibrated model with these confidences? Consistency resampling.

    Each resample draws, for every row, whether it is right with probability `confidence`, and takes the ECE.

    Args:
        confidence: `(N,)` in [0, 1].
        correct: `(N,)` bool.
        bins: how many.
        scheme: "width" or "mass".
        resamples: how many; by default 1,000, and at least 200 beyond 20,000 rows.
        seed: of the draws.

    Returns:
        The ECE with the mean and 95% quantile of the resamples and a p-value, never smaller than 1/(resamples + 1).

    Raises:
        ValueError: as for `reliability`.

    Example:
        >>> test = null_test([0.7] * 1000, [True] * 700 + [False] * 300)
        >>> test.ece < 1e-9, test.p_value
        (True, 1.0)

    Reference: Broecker and Smith, Increasing the Reliability of Reliability Diagrams, 2007.
    """
    p, hit = pair(confidence, correct)
    observed = ece(p, hit, bins, scheme)
    if len(p) == 0:
        return NullTest(observed, observed, observed, observed, 0)
    times = int(np.clip(DRAWS // len(p), 200, RESAMPLES)) if resamples is None else resamples
    place = places(p, bins, scheme)
    order = np.argsort(place, kind="stable")
    p, place = p[order], place[order]
    starts = np.flatnonzero(np.r_[True, place[1:] != place[:-1]])
    promised = np.add.reduceat(p, starts)
    random, chance = np.random.default_rng(seed), p.astype(np.float32)
    drawn = np.empty(times)
    for i in range(times):
        right = np.add.reduceat(random.random(len(p), dtype=np.float32) < chance, starts, dtype=np.int64)
        drawn[i] = np.abs(right - promised).sum() / len(p)
    p_value = (1 + int((drawn >= observed - 1e-12).sum())) / (times + 1)
    return NullTest(observed, float(drawn.mean()), float(np.quantile(drawn, 0.95)), p_value, times)


def smooth_ece(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Calibration error without bins: residuals smoothed by a reflected Gaussian whose width is the error itself.

    smECE_σ = ∫ |Σᵢ (correctᵢ − confidenceᵢ)·K_σ(t, confidenceᵢ)|/N dt over [0, 1], at the σ where smECE_σ = σ.

    Args:
        confidence: `(N,)` in [0, 1].
        correct: `(N,)` bool.

    Returns:
        A number from 0 to 1; NaN of no rows.

    Raises:
        ValueError: as for `reliability`.

    Example:
        >>> half = [1.0] * 500 + [0.6] * 500, [True] * 500 + [True] * 200 + [False] * 300
        >>> round(smooth_ece(*half), 4)
        0.1

    The kernel has mass 1 for every confidence, those at 1.0 too: the series is mirrored at half a cell beyond each end.
    relplot 1.0.3 counts what lies on the last node half and gives 0.133 for the example.

    Reference: Blasiok and Nakkiran, Smooth ECE, 2023, section 3.
    """
    p, hit = pair(confidence, correct)
    if len(p) == 0:
        return float("nan")
    cell = np.minimum((p * GRID).astype(np.int64), GRID - 1)
    residual = np.bincount(cell, weights=hit - p, minlength=GRID) / len(p)
    waves = np.fft.rfft(np.r_[residual, residual[::-1]])  # of period 2: mirrored at 0 and at 1
    frequency = np.arange(len(waves)) / 2.0

    def smoothed(width: float) -> float:
        dampened = waves * np.exp(-2.0 * np.square(np.pi * width * frequency))
        return float(np.abs(np.fft.irfft(dampened, 2 * GRID)[:GRID]).sum())

    low, high = 0.0, 1.0
    for _ in range(40):  # smECE_σ falls as σ grows, so there is one σ
        middle = (low + high) / 2
        low, high = (middle, high) if smoothed(middle) > middle else (low, middle)
    return smoothed(high)


def classwise_ece(classes: ClassBins) -> Floats:
    """For each class, the ECE of its own probability over all rows: `(K,)`. Their mean is the class-wise ECE.

    Σ over bins of share · |mean p_k − share of label k|, 15 bins of equal width.

    >>> from labelsmooth.calibration.rows import observe
    >>> classwise_ece(observe([[0.0, 0.0], [0.0, 0.0]], [0, 1]).classes).tolist()
    [0.0, 0.0]

    Reference: Kull et al., Beyond Temperature Scaling, 2019, section 2.
    """
    if classes.count.shape[1] != CLASS_BINS:
        raise ValueError(f"class bins have {CLASS_BINS} columns, got {classes.count.shape[1]}")
    gaps: Floats = np.abs(classes.probability - classes.hits).sum(axis=1) / classes.count.sum(axis=1)
    return gaps


def _mean(values: ArrayLike) -> float:
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()) if array.size else float("nan")
