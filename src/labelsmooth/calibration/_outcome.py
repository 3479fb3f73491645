"""What is kept of a trained network: numbers by which runs are compared, and the few curves that figures draw.

The measures are those of `calibrate`. A temperature is fitted on the validation rows and used on the test rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .measures import (
    accuracy,
    brier,
    classwise_ece,
    ece,
    nll,
    null_test,
    overconfidence,
    reliability,
    smooth_ece,
    top_k,
)
from .rows import Rows as Facts
from .rows import observe, rows_of
from .selective import aurc, best_norm, coverage_at_risk, norm_score, risk_at_coverage, risk_coverage
from .temperature import Temperature, fit_temperature

if TYPE_CHECKING:
    from ._training import Trained
    from .datasets import Rows

RISKS = {"coverage": 0.01, "coverage_five": 0.05}  # coverage at 1% and at 5% risk
COVERAGES = np.r_[0.005:0.1:0.005, 0.1:1.001:0.02].round(3)  # where the curve of risk is kept
GAP_EDGES = np.arange(0.0, 40.25, 0.25)  # the last bin takes all larger ones
SHOWN_CLASSES = (5, 7, 9)  # sandal, sneaker and ankle boot: alike, and yet apart
SHOWN_POINTS = 70  # a class

Answer = tuple[NDArray[np.float32], NDArray[np.float32]]  # logits of the validation and of the test rows


def measured(answer: Answer, validation: ArrayLike, test: ArrayLike) -> dict[str, float]:
    """The numbers of one network: plain, after temperature, and for selection.

    Args:
        answer: logits `(V, K)` of the validation rows and `(N, K)` of the test rows.
        validation: `(V,)` labels.
        test: `(N,)` labels.

    Returns:
        Numbers by their word. After a temperature that was refused the measures are those without.
    """
    fit = fit_temperature(answer[0], validation)
    T = fit.value if fit.usable else 1.0
    seen, cooled = observe(answer[1], test), observe(answer[1], test, T)
    rows, after = seen.rows, cooled.rows
    norm = best_norm(rows_of(answer[0], validation))
    repaired = norm_score(rows, norm)
    return {
        "accuracy": accuracy(rows.correct),
        "top_three": top_k(rows.rank, 3),
        **_plain(rows, ""),
        "classwise_ece": float(classwise_ece(seen.classes).mean()),
        "gap": float(rows.gap.mean()),
        "temperature": T,
        **_plain(after, "_after"),
        "classwise_ece_after": float(classwise_ece(cooled.classes).mean()),
        "validation_nll_after": fit.nll_after if fit.usable else fit.nll_before,
        "ece_floor_after": null_test(after.confidence, after.correct, resamples=200).floor,
        "aurc": aurc(rows.confidence, rows.correct),
        "risk_surest_tenth": risk_at_coverage(rows.confidence, rows.correct, 0.1),
        "aurc_norm": aurc(repaired, rows.correct),
        **{word: coverage_at_risk(rows.confidence, rows.correct, risk) for word, risk in RISKS.items()},
        **{f"{word}_norm": coverage_at_risk(repaired, rows.correct, risk) for word, risk in RISKS.items()},
    }


def _plain(rows: Facts, ending: str) -> dict[str, float]:
    found = {
        "nll": nll(rows.label_log_probability),
        "brier": brier(rows.brier),
        "ece": ece(rows.confidence, rows.correct),
        "smooth_ece": smooth_ece(rows.confidence, rows.correct),
        "confidence": float(rows.confidence.mean()),
        "overconfidence": overconfidence(rows.confidence, rows.correct),
    }
    return {word + ending: number for word, number in found.items()}


def with_wrong_labels(answer: Answer, wrong: ArrayLike, test: ArrayLike) -> dict[str, float]:
    """What a temperature does that was fitted on validation labels with the same noise as the training labels."""
    fit: Temperature = fit_temperature(answer[0], wrong)
    rows = rows_of(answer[1], test, fit.value if fit.usable else 1.0)
    return {"temperature_wrong": fit.value, "ece_after_wrong": ece(rows.confidence, rows.correct)}


def curves(answer: Answer, validation: ArrayLike, test: ArrayLike) -> dict[str, Any]:
    """What the figures draw of one network: reliability with and without temperature, risk against coverage, gaps."""
    fit = fit_temperature(answer[0], validation)
    rows, after = rows_of(answer[1], test), rows_of(answer[1], test, fit.value if fit.usable else 1.0)
    norm = norm_score(rows, best_norm(rows_of(answer[0], validation)))
    return {
        "reliability": _bins(rows),
        "reliability_after": _bins(after),
        "risk": _risks(rows.confidence, rows.correct),
        "risk_norm": _risks(norm, rows.correct),
        "gaps": histogram(rows.gap),
    }


def _bins(rows: Facts) -> dict[str, list[float]]:
    found = reliability(rows.confidence, rows.correct)
    return {word: getattr(found, word).tolist() for word in ("lower", "count", "confidence", "accuracy")}


def _risks(score: ArrayLike, correct: ArrayLike) -> list[float]:
    """The share of errors among the surest rows, at each of COVERAGES; ties averaged, as in `risk_at_coverage`."""
    curve = risk_coverage(score, correct)
    errors = np.interp(COVERAGES, np.r_[0.0, curve.coverage], np.r_[0.0, curve.risk * curve.coverage])
    return [float(risk) for risk in errors / COVERAGES]


def histogram(gaps: ArrayLike) -> list[int]:
    """How many rows have which gap between the two largest logits."""
    counts, _ = np.histogram(np.minimum(gaps, GAP_EDGES[-1]), GAP_EDGES)
    return [int(count) for count in counts]


def spread(points: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """How wide the classes lie in a layer: variance within classes over variance between them.

    Args:
        points: `(N, D)`, what the last layer is given, or its logits.
        labels: `(N,)`.

    Returns:
        Σ|x − mean of its class|² / Σ|mean of its class − mean|², both over all rows; infinite if all means are one.

    Example:
        >>> points = np.array([[0, 0], [0, 2], [4, 0], [4, 2]], np.float32)
        >>> spread(points, np.array([0, 0, 1, 1]))  # 1 within, 4 between
        0.25
    """
    x = points.astype(np.float64)
    _, group, count = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.stack([np.bincount(group, weights=column) for column in x.T], axis=1) / count[:, None]
    within = float(np.square(x - means[group]).sum())
    between = float(np.square((means - x.mean(axis=0))[group]).sum())
    return within / between if between else float("inf")


def projection(trained: Trained, rows: Rows) -> dict[str, Any]:
    """Training rows of three classes, seen in the plane through the three classes' templates.

    A template is the class's row of the last layer's weight. The plane's axes are orthonormal and its origin the first
    template's foot, so that distances in the picture are distances in the layer.

    Reference: Müller, Kornblith, Hinton, "When does label smoothing help?", arXiv 1906.02629, 2019, section 2.
    """
    templates = trained.head.weight.detach().double().numpy()[list(SHOWN_CLASSES)]  # (3, D)
    axes, _ = np.linalg.qr((templates[1:] - templates[0]).T)  # (D, 2)
    points = {}
    for place in SHOWN_CLASSES:
        found = rows.take(np.flatnonzero(rows.labels == place)[:SHOWN_POINTS])
        points[str(place)] = ((trained.penultimate(found.inputs) - templates[0]) @ axes).round(3).tolist()
    return {"points": points, "templates": ((templates - templates[0]) @ axes).round(3).tolist()}
