"""Risk and coverage against brute force over all orders of ties."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest

from agree import FLOAT64, agree
from labelsmooth.calibration.rows import NORMS, rows_of
from labelsmooth.calibration.selective import (
    aurc,
    best_norm,
    coverage_at_risk,
    excess_aurc,
    norm_score,
    risk_at_coverage,
    risk_coverage,
)


def over_all_orders(score: list[float], correct: list[bool]) -> tuple[float, np.ndarray]:
    """The AURC and the risks of the first k, averaged over every order that the scores allow."""
    orders = [o for o in permutations(range(len(score))) if all(score[a] >= score[b] for a, b in pairwise(o))]
    wrong = ~np.array(correct)
    risks = [np.cumsum(wrong[list(order)]) / np.arange(1, len(score) + 1) for order in orders]
    return float(np.mean(risks)), np.mean(risks, axis=0)


@pytest.mark.parametrize("seed", range(6))
def test_ties_are_averaged_over_all_their_orders(seed: int) -> None:
    random = np.random.default_rng(seed)
    score = random.choice([0.2, 0.5, 1.0], 6).tolist()
    correct = (random.random(6) < 0.6).tolist()
    area, risks = over_all_orders(score, correct)
    agree(aurc(score, correct), area, budget=FLOAT64, what="AURC")
    got = [risk_at_coverage(score, correct, k / 6) for k in range(1, 7)]
    agree(got, risks, budget=FLOAT64, what="risk of the first k")


def test_coverage_at_risk_is_the_best_of_all_thresholds() -> None:
    random = np.random.default_rng(0)
    score, correct = random.choice(np.linspace(0, 1, 12), 60), random.random(60) < 0.8
    for risk in (0.0, 0.05, 0.2, 1.0):
        kept = [score >= t for t in np.unique(score)]
        best = max((k.mean() for k in kept if (~correct[k]).mean() <= risk), default=0.0)
        agree(coverage_at_risk(score, correct, risk), best, budget=FLOAT64, what=f"coverage at {risk}")


def test_the_best_ranking_has_no_excess_and_the_worst_has_most() -> None:
    correct = np.array([True] * 7 + [False] * 3)
    agree(excess_aurc(correct, correct), 0.0, budget=FLOAT64, what="excess of the best")
    assert excess_aurc(~correct, correct) > excess_aurc(np.zeros(10), correct) > 0
    agree(aurc(np.zeros(10), correct), 0.3, budget=FLOAT64, what="AURC of one tie is the error rate")
    assert (aurc([0.5], [True]), aurc([0.5], [False])) == (0.0, 1.0)


def test_the_curve_ends_at_the_error_rate_of_all() -> None:
    curve = risk_coverage([0.1, 0.9, 0.9, 0.4], [True, False, True, True])
    assert curve.threshold.tolist() == [0.9, 0.4, 0.1]
    assert (curve.coverage[-1], curve.risk[-1]) == (1.0, 0.25)


def test_the_logit_norm_repairs_a_ranking_that_long_logits_spoilt() -> None:
    random = np.random.default_rng(0)
    z = random.normal(size=(400, 10))
    sure = np.arange(400) < 200
    z[:, 0] += np.where(sure, 4.0, 1.5)
    labels = np.where(sure, 0, random.integers(0, 10, 400))
    z *= np.where(sure, 0.5, 3.0)[:, None]  # a smoothed model has short logits where it is right
    rows = rows_of(z, labels)
    p = best_norm(rows)
    assert aurc(norm_score(rows, p), rows.correct) < 0.7 * aurc(rows.confidence, rows.correct)
    agree([best_norm(rows_of(9 * z, labels))], [p], budget=FLOAT64, what="the norm forgets the length")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: aurc([], []), "at least one"),
        (lambda: aurc([0.5, np.nan], [True, True]), "a score is NaN"),
        (lambda: aurc([0.5], [True, True]), "one a row"),
        (lambda: coverage_at_risk([0.5], [True], 1.5), "a risk is from 0 to 1, got 1.5"),
        (lambda: norm_score(rows_of([[0.0, 1.0]], [0]), 5), f"p is one of {', '.join(map(str, NORMS))}, got 5"),
    ],
)
def test_a_wrong_argument_is_one_line(call: object, says: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=says):
        call()
