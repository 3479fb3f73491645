"""Answering only when sure: risk against coverage, for any score by which rows are ranked.

Scores may be equal (many confidences of 1.0 are), and a curve that breaks ties by the order of rows depends on that order.
Here a tie is taken as it would come out on average over all orders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .rows import NORMS, Rows

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The curve at each threshold that there is, from the highest score down."""

    coverage: Floats  # (G,) share of rows with a score at or above the threshold
    risk: Floats  # (G,) share of errors among them
    threshold: Floats  # (G,) the distinct scores, falling


def risk_coverage(score: ArrayLike, correct: ArrayLike) -> RiskCoverage:
    """Risk and coverage at every distinct score.

    Args:
        score: `(N,)`, larger is surer.
        correct: `(N,)` bool.

    Returns:
        The curve; it ends at coverage 1 and the error rate.

    Raises:
        ValueError: shapes that differ, no rows, or a score that is NaN.

    Example:
        >>> curve = risk_coverage([0.9, 0.8, 0.8, 0.5], [True, True, False, False])
        >>> curve.coverage.tolist(), curve.risk.round(3).tolist()
        ([0.25, 0.75, 1.0], [0.0, 0.333, 0.5])
    """
    values, rows, wrong = _groups(score, correct)
    return RiskCoverage(np.cumsum(rows) / rows.sum(), np.cumsum(wrong) / np.cumsum(rows), values)


def aurc(score: ArrayLike, correct: ArrayLike) -> float:
    """Area under the risk-coverage curve: the mean over k of the risk of the k surest rows, ties averaged.

    Args:
        score: `(N,)`, larger is surer.
        correct: `(N,)` bool.

    Returns:
        A number from 0 to 1; smaller is better.

    Raises:
        ValueError: as for `risk_coverage`.

    Example:
        >>> aurc([0.5, 0.5], [True, False])
        0.5

    Reference: Geifman, Uziel, El-Yaniv, Bias-Reduced Uncertainty Estimation, 2019.
    """
    _, rows, wrong = _groups(score, correct)
    n = rows.sum()
    group = np.repeat(np.arange(len(rows)), rows)
    k = np.arange(1, n + 1)
    before, first = (np.cumsum(wrong) - wrong)[group], (np.cumsum(rows) - rows)[group]
    expected = before + (k - first) * (wrong / rows)[group]  # errors among the first k, over all orders of the tie
    return float((expected / k).mean())


def excess_aurc(score: ArrayLike, correct: ArrayLike) -> float:
    """AURC minus that of the best ranking of the same predictions, all hits before all errors: what ranking alone loses.

    >>> excess_aurc([0.9, 0.8], [True, False])
    0.0
    """
    hit = np.asarray(correct, dtype=bool)
    return aurc(score, hit) - aurc(hit, hit)


def coverage_at_risk(score: ArrayLike, correct: ArrayLike, risk: float) -> float:
    """The largest share of rows that a threshold on the score can answer with at most this share of errors.

    Args:
        score: `(N,)`, larger is surer.
        correct: `(N,)` bool.
        risk: from 0 to 1.

    Returns:
        A number from 0 (no threshold does it) to 1.

    Raises:
        ValueError: as for `risk_coverage`, or a risk that is none.

    Example:
        >>> coverage_at_risk([0.9, 0.8, 0.7, 0.6], [True, True, True, False], 0.1)
        0.75
    """
    if not 0 <= risk <= 1:
        raise ValueError(f"a risk is from 0 to 1, got {risk}")
    curve = risk_coverage(score, correct)
    return float(curve.coverage[curve.risk <= risk].max(initial=0.0))


def risk_at_coverage(score: ArrayLike, correct: ArrayLike, coverage: float) -> float:
    """Share of errors among the surest rows, ties averaged; `coverage` is their share of all rows, at least one row.

    >>> risk_at_coverage([0.9, 0.8, 0.7, 0.6], [False, True, True, False], 0.25)
    1.0
    """
    _, rows, wrong = _groups(score, correct)
    k = max(round(coverage * rows.sum()), 1)
    ends = np.cumsum(rows)
    errors = np.interp(k, np.r_[0, ends], np.r_[0, np.cumsum(wrong)])
    return float(errors / k)


def best_norm(rows: Rows) -> int:
    """The p of `NORMS` whose logit norm ranks these rows best (smallest AURC); the smallest p of equals.

    The score is the largest centred logit over the p-norm of the centred logits: it forgets the length of the logits, which
    smoothing spoils as a sign of being right.

    >>> from labelsmooth.calibration.rows import rows_of
    >>> best_norm(rows_of([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0]], [0, 1])) in NORMS
    True

    Reference: Cattelan and Silva, How to Fix a Broken Confidence Estimator, 2024; Xia et al., Towards Understanding Why
    Label Smoothing Degrades Selective Classification, 2025.
    """
    areas = [aurc(rows.norm_scores[:, place], rows.correct) for place in range(len(NORMS))]
    return NORMS[int(np.argmin(areas))]


def norm_score(rows: Rows, p: int) -> NDArray[np.float32]:
    """The logit-norm score of each row for one p of `NORMS`."""
    if p not in NORMS:
        raise ValueError(f"p is one of {', '.join(map(str, NORMS))}, got {p}")
    return rows.norm_scores[:, NORMS.index(p)]


def _groups(score: ArrayLike, correct: ArrayLike) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """The distinct scores from the top, with how many rows and how many errors have each."""
    values, hit = np.asarray(score, dtype=np.float64), np.asarray(correct, dtype=bool)
    if values.ndim != 1 or values.shape != hit.shape or not len(values):
        raise ValueError(f"score and correct must be one a row, at least one, got {values.shape} and {hit.shape}")
    if np.isnan(values).any():
        raise ValueError("a score is NaN, and cannot be ranked")
    distinct, group = np.unique(-values, return_inverse=True)
    wrong = np.bincount(group, weights=~hit, minlength=len(distinct)).astype(np.int64)
    return -distinct, np.bincount(group, minlength=len(distinct)), wrong
