"""The figures of a report, each with the sentence that it shows and the numbers that it is drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._figures_runs import of_comparison
from .assess import Assessment
from .bins import BINS, Bins, reliability
from .calibrate import Calibration
from .plots import BAND, FIRST, INK, SECOND, THIRD, Figure, drawn, legend
from .rows import Rows
from .selective import RiskCoverage, risk_coverage
from .smoothing import wall
from .tables import shown_epsilon
from .temperature import QUANTILE

Floats = NDArray[np.float64]

POINTS = 200  # of a curve that is drawn
COVERAGES = tuple(n / 10 for n in range(1, 11))  # of a curve's table
LEAST = 0.005  # of the rows: from there on a risk is drawn, below it is one error more or less


def figures(found: Calibration) -> list[Figure]:
    """All figures of an answer; those of several ε first."""
    run, out = found.run, []
    if found.comparison is not None and len(found.comparison.groups) > 1:
        out += of_comparison(found.comparison)
    out.append(of_reliability(run.seen.rows, "before", "as it is"))
    if run.seen_after is not None:
        out.append(of_reliability(run.seen_after.rows, "after", "after temperature"))
    return [*out, of_confidences(run), of_gaps(run), of_selection(run)]


def of_reliability(rows: Rows, key: str, when: str) -> Figure:
    """Accuracy against confidence, with the band in which a calibrated model's points lie."""
    found = reliability(rows.confidence, rows.correct)
    half = _noise(rows, found)

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--", label="calibrated")
        axes.fill_between(found.confidence, found.confidence - half, found.confidence + half, color=BAND, linewidth=0,
                          label="chance, 95%")  # fmt: skip
        size = 8 + 90 * found.count / found.count.max()
        axes.vlines(found.confidence, found.confidence, found.accuracy, color=FIRST, linewidth=1)
        axes.scatter(found.confidence, found.accuracy, s=size, color=FIRST, label="15 bins, area: rows", zorder=3)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
        legend(axes)

    off = float((found.count * (found.confidence - found.accuracy)).sum() / found.count.sum())
    side = "below" if off > 0 else "above"
    outside = int((np.abs(found.accuracy - found.confidence) > half).sum())
    return Figure(
        f"reliability-{key}",
        f"Reliability {when}",
        f"Points {side} the dashed line are bins in which the model is right {'less' if off > 0 else 'more'} often than it says; "
        f"{outside} of {len(found.count)} lie outside the band in which chance alone puts those of a calibrated model. "
        f"ECE {found.ece:.4f}.",
        drawn(f"reliability-{key}", draw),
        ("confidence from", "to", "rows", "mean confidence", "accuracy", "chance ±"),
        tuple(
            (f"{a:.3f}", f"{b:.3f}", f"{n:,}", f"{c:.4f}", f"{hit:.4f}", f"{h:.4f}")
            for a, b, n, c, hit, h in zip(
                found.lower, found.upper, found.count, found.confidence, found.accuracy, half, strict=True
            )
        ),
    )


def _noise(rows: Rows, found: Bins) -> Floats:
    """Half the width of the band of each bin: the labels of a calibrated model are coins with these confidences."""
    place = np.minimum(np.searchsorted(found.upper, rows.confidence, side="left"), len(found.upper) - 1)
    variance = np.bincount(place, weights=rows.confidence * (1 - rows.confidence), minlength=len(found.count))
    half: Floats = QUANTILE * np.sqrt(variance) / found.count
    return half


def of_confidences(run: Assessment) -> Figure:
    """How many rows have which confidence, before and after temperature."""
    edges = np.linspace(0, 1, 2 * BINS + 1)
    counts = [np.histogram(run.seen.rows.confidence, edges)[0]]
    labels = ["as it is"]
    if run.seen_after is not None:
        counts.append(np.histogram(run.seen_after.rows.confidence, edges)[0])
        labels.append("after temperature")
    target = run.smoothing.confidence if run.smoothing.likely else None

    def draw(axes: Any) -> None:
        axes.stairs(100 * counts[0] / run.rows, edges, color=FIRST, fill=False, linewidth=1.5, label=labels[0])
        for count, label in zip(counts[1:], labels[1:], strict=True):
            axes.stairs(100 * count / run.rows, edges, color=SECOND, linestyle="--", linewidth=1.5, label=label)
        if target is not None:
            axes.axvline(target, color=THIRD, linewidth=1, linestyle=":", label=f"1−ε+ε/K = {target:.3f}")
        axes.set(xlim=(0, 1), xlabel="confidence", ylabel="% of rows")
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0, 200)
        axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        legend(axes)

    pile = (
        f" They pile up at {target:.3f}, as ε = {run.smoothing.epsilon:.2g} makes them." if target is not None else ""
    )
    return Figure(
        "confidences",
        "Confidences",
        f"Half of the rows have a confidence above {np.median(run.seen.rows.confidence):.3f}; the mean is "
        f"{run.before.mean_confidence:.3f}, the accuracy {run.before.accuracy:.3f}.{pile} The scale is logarithmic above 1%.",
        drawn("confidences", draw),
        ("confidence from", "to", *(f"rows, {label}" for label in labels)),
        tuple(
            (f"{edges[i]:.3f}", f"{edges[i + 1]:.3f}", *(f"{count[i]:,}" for count in counts))
            for i in range(len(edges) - 1)
            if any(count[i] for count in counts)
        ),
    )


def of_gaps(run: Assessment) -> Figure:
    """The gap between the two largest logits against the gap that smoothing aims at."""
    gap = run.seen.rows.gap
    finite = gap[np.isfinite(gap)]
    epsilon = shown_epsilon(run)
    aim = wall(epsilon, run.classes)
    high = max(float(np.quantile(finite, 0.99)) * 1.1 if len(finite) else 1.0, aim * 1.5)
    counts, edges = np.histogram(np.minimum(gap, high), np.linspace(0, high, 41))

    def draw(axes: Any) -> None:
        axes.stairs(100 * counts / len(gap), edges, color=FIRST, fill=True, alpha=0.75)
        axes.axvline(aim, color=SECOND, linewidth=1.8, linestyle="--", label=f"aim of ε = {epsilon:.2g}: {aim:.2f}")
        axes.set(xlim=(0, high), xlabel="largest logit − second", ylabel="% of rows")
        legend(axes)

    beyond = float((gap > aim).mean())
    last = " The last bar holds all larger gaps." if float(gap.max()) > high else ""
    return Figure(
        "gaps",
        "Gap between the two largest logits",
        f"Training with ε = {epsilon:.2g} aims at a gap of log(1 + K(1−ε)/ε) = {aim:.2f}, which is a wall to a smoothed model. "
        f"The median gap is {run.median_gap:.2f}, and {beyond:.1%} of the rows are beyond that line.{last}",
        drawn("gaps", draw),
        ("gap from", "to", "rows"),
        tuple((f"{edges[i]:.2f}", f"{edges[i + 1]:.2f}", f"{counts[i]:,}") for i in range(len(counts)) if counts[i]),
    )


def of_selection(run: Assessment) -> Figure:
    """Risk against coverage for the confidence and for the logit norm."""
    hit = run.seen.rows.correct
    curves = {
        "confidence": risk_coverage(run.seen.rows.confidence, hit),
        f"logit norm, p = {run.norm}": risk_coverage(run.norm_scores, hit),
    }

    def draw(axes: Any) -> None:
        for (label, curve), colour, line in zip(curves.items(), (FIRST, SECOND), ("-", "--"), strict=True):
            x, y = _thinned(curve)
            half = QUANTILE * np.sqrt(np.maximum(y * (1 - y), 0) / (x * run.rows))
            if colour == FIRST:
                axes.fill_between(100 * x, 100 * np.maximum(y - half, 0), 100 * (y + half), color=BAND, linewidth=0)
            axes.plot(100 * x, 100 * y, color=colour, linestyle=line, label=label)
        axes.set(xlim=(0, 100), xlabel="coverage, % of rows answered", ylabel="risk, % errors")
        axes.set_ylim(bottom=0)
        legend(axes)

    first, second = curves.values()
    ahead = run.rankings[-1].aurc < run.rankings[0].aurc
    areas = f"{run.rankings[0].aurc:.4f} by confidence, {run.rankings[-1].aurc:.4f} by logit norm"
    return Figure(
        "selection",
        "Risk and coverage",
        "Errors among the rows that are answered when the least sure are not: the lower, the better. The band is 95% for the "
        f"first. The area under the curve is smaller by {'the logit norm' if ahead else 'confidence'} ({areas}). The first "
        f"{LEAST:.1%} of the rows are not drawn.",
        drawn("selection", draw),
        ("coverage", *(f"risk by {label}" for label in curves)),
        tuple((f"{c:.0%}", f"{_at(first, c):.4f}", f"{_at(second, c):.4f}") for c in COVERAGES),
    )


def _thinned(curve: RiskCoverage) -> tuple[Floats, Floats]:
    """Enough points for the eye, evenly along the coverage."""
    x, y = curve.coverage, curve.risk
    start = min(int(np.searchsorted(x, LEAST)), len(x) - 1)
    if len(x) - start <= POINTS:
        return x[start:], y[start:]
    kept = np.unique(np.searchsorted(x, np.linspace(x[start], 1, POINTS)).clip(start, len(x) - 1))
    return x[kept], y[kept]


def _at(curve: RiskCoverage, coverage: float) -> float:
    return float(np.interp(coverage, curve.coverage, curve.risk))
