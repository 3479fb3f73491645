"""The numbers that rules compare and print: one flat table of a run and, where there is one, of a comparison."""

from __future__ import annotations

from typing import Any

import numpy as np

from .assess import Assessment
from .measures import ece
from .runs import Comparison

NAN = float("nan")


def facts_of(
    run: Assessment, comparison: Comparison | None = None, *, context: tuple[str, ...] = (), noise: float | None = None,
    from_probabilities: bool = False, runs: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """Every number that a rule may look at, of one run and, where there is one, of the comparison."""
    before, after, seen = run.before, run.after, run.smoothing
    first, last = run.rankings[0], run.rankings[-1]
    risk = min(first.coverage)
    low, high = before.intervals["overconfidence"]
    rows, hit, split = run.seen.rows, run.seen.rows.correct, run.validation
    return {
        "n": run.rows, "classes": run.classes, "accuracy": before.accuracy, "over": before.overconfidence,
        "over_points": 100 * before.overconfidence, "under_points": -100 * before.overconfidence,
        "over_low": low, "over_high": high, "nll": before.nll, "nll_after": run.nll_after,
        "gain": 1 - run.nll_after / before.nll if before.nll > 0 else 0.0,
        "ece": before.null.ece, "floor": before.null.floor, "p_value": before.null.p_value, "smooth": before.smooth_ece,
        "ece_after": NAN if after is None else after.null.ece, "T": run.temperature.value, "refusal": run.temperature.refusal,
        "ece_5": ece(rows.confidence, hit, 5), "ece_100": ece(rows.confidence, hit, 100),
        "eps": NAN if run.epsilon is None else run.epsilon, "smoothed": seen.likely,
        "eps_any": seen.epsilon if run.epsilon is None else run.epsilon, "target": seen.confidence,
        "accuracy_near": seen.accuracy_near, "accuracy_above": seen.accuracy_above,
        "risk": risk, "surest": first.surest_errors, "covered": first.coverage[risk], "covered_norm": last.coverage[risk],
        "aurc": first.aurc, "aurc_norm": last.aurc, "aurc_after": NAN if after is None else run.rankings[1].aurc,
        "damaged": last.aurc < 0.9 * first.aurc and last.coverage[risk] > first.coverage[risk], "norm": run.norm,
        "saturated": run.saturated, "infinite": run.infinite, "missing": run.missing,
        "zeros": float(np.isposinf(rows.gap).mean()),
        "floor_probability": 0.1 / run.classes, "from_probabilities": from_probabilities,
        "noise": NAN if noise is None else noise, "context": context,
        "val_accuracy": NAN if split is None else split.accuracy,
        "val_same": split is not None and (split.rows, split.nll) == (run.rows, before.nll), "runs": runs,
        **_of_comparison(comparison),
    }  # fmt: skip


def _of_comparison(found: Comparison | None) -> dict[str, Any]:
    if found is None:
        return {"same_rows": True, "on_validation": True, "smoothed_after": NAN, "plain_after": NAN, "plain_eps": NAN,
                "best_smoothed": NAN}  # fmt: skip
    plain, *smoothed = found.groups
    best = min(smoothed, key=lambda g: g.measured["nll_after"].mean, default=plain)
    return {
        "same_rows": found.same_rows,
        "on_validation": found.on_validation,
        "smoothed_after": best.measured["nll_after"].mean,
        "plain_after": plain.measured["nll_after"].mean,
        "plain_eps": plain.epsilon,
        "best_smoothed": best.epsilon,
    }
