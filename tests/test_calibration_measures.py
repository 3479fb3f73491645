"""The measures against brute force, against numbers of other packages, and in the corners where those go wrong."""

from __future__ import annotations

import numpy as np
import pytest

from agree import FLOAT64, agree
from labelsmooth.calibration.bins import decompose, reliability
from labelsmooth.calibration.measures import (
    accuracy,
    classwise_ece,
    ece,
    nll,
    null_test,
    overconfidence,
    smooth_ece,
    top_k,
)
from labelsmooth.calibration.rows import observe, rows_of

# MulticlassCalibrationError of torchmetrics 1.9.0 and ECE of netcal 1.4.0 on the rows of `case` (10 and 15 bins).
TORCHMETRICS = {10: 0.17585624754428864, 15: 0.17625656723976135}
NETCAL = {10: 0.17585629453292717, 15: 0.17625661562456998}
SINGLE = 1e-6  # torchmetrics bins in float32
CELL = 1e-4  # the smooth ECE rounds confidences to 1/4096, by up to 1.2e-4, and half of that on average


def case() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    logits = np.round(random.normal(size=(400, 5)) * 3, 2)
    return logits, (logits + random.gumbel(size=logits.shape) * 2).argmax(axis=1)


def calibrated(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    confidence = random.beta(5, 2, n)
    return confidence, random.random(n) < confidence


@pytest.mark.parametrize("bins", [10, 15])
def test_ece_is_that_of_torchmetrics_and_netcal(bins: int) -> None:
    rows = rows_of(*case())
    agree(ece(rows.confidence, rows.correct, bins), NETCAL[bins], budget=FLOAT64, what="netcal 1.4.0")
    agree(ece(rows.confidence, rows.correct, bins), TORCHMETRICS[bins], budget=SINGLE, what="torchmetrics 1.9.0")


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    # torchmetrics 1.9.0 gives 0.515: it puts 1.0 into a bin of its own. netcal 1.4.0 gives 0.485.
    confidence, correct = [1.0] * 5 + [0.97] * 5, [False] * 5 + [True] * 5
    agree(ece(confidence, correct), 0.485, budget=FLOAT64, what="ECE at confidence 1")
    assert reliability([0.0, 1.0], [True, True]).lower.tolist() == [0.0, 14 / 15]


def test_an_edge_belongs_to_the_bin_below_it() -> None:
    found = reliability([0.6, 0.6000001, 0.2], [True] * 3, bins=15)  # 0.6 · 15 is more than 9 in floating point
    agree(found.upper, [3 / 15, 9 / 15, 10 / 15], budget=FLOAT64, what="upper edges")
    assert found.count.tolist() == [1, 1, 1]


def test_equal_mass_bins_are_those_of_splitting_the_sorted_rows() -> None:
    confidence, correct = calibrated(150)
    order = np.argsort(confidence)
    parts = np.split(order, 15)
    gap = sum(abs(confidence[p].mean() - correct[p].mean()) * len(p) for p in parts) / 150
    agree(ece(confidence, correct, scheme="mass"), gap, budget=FLOAT64, what="equal mass")


def test_equal_mass_bins_do_not_split_ties_and_do_not_know_the_order_of_rows() -> None:
    random = np.random.default_rng(1)
    confidence = random.choice([0.3, 0.5, 0.5, 0.9, 1.0, 1.0], 200)
    correct = random.random(200) < 0.6
    found = reliability(confidence, correct, scheme="mass")
    assert found.lower.tolist() == found.upper.tolist() == [0.3, 0.5, 0.9, 1.0]
    shuffled = random.permutation(200)
    moved = reliability(confidence[shuffled], correct[shuffled], scheme="mass")
    agree(moved.ece, found.ece, budget=FLOAT64, what="shuffled")


def test_smooth_ece_is_right_where_confidences_are_one() -> None:
    # The residuals have one sign, so their smoothed integral is 0.1 at every width. relplot 1.0.3 gives 0.1327.
    confidence, correct = [1.0] * 500 + [0.6] * 500, [True] * 700 + [False] * 300
    agree(smooth_ece(confidence, correct), 0.1, budget=CELL, what="smooth ECE")


def test_smooth_ece_is_the_integral_of_mirrored_gaussians_at_its_own_width() -> None:
    confidence, correct = calibrated(60, seed=3)
    confidence[:5] = 1.0
    t = (np.arange(4000) + 0.5) / 4000
    mirrored = np.concatenate([s * confidence + 2 * k for k in (-2, -1, 0, 1, 2) for s in (1, -1)])
    residual = np.tile(correct - confidence, 10)

    def brute(width: float) -> float:
        kernel = np.exp(-0.5 * ((t[:, None] - mirrored) / width) ** 2) / (width * np.sqrt(2 * np.pi))
        return float(np.abs(kernel @ residual).mean() / 60)

    width = smooth_ece(confidence, correct)
    agree(width, brute(width), budget=CELL, what="smECE_σ at σ = smECE")


def test_the_null_test_accepts_a_calibrated_model_and_rejects_another() -> None:
    confidence, correct = calibrated(2000)
    test = null_test(confidence, correct)
    assert test.p_value > 0.05
    assert 0.3 * test.ece < test.floor < 3 * test.ece  # what looks like an error is chance
    assert null_test(np.sqrt(confidence), correct).p_value == 1 / 1001
    assert null_test(confidence, correct, scheme="mass").p_value > 0.05


def test_the_null_test_rejects_a_calibrated_model_as_often_as_it_says() -> None:
    p = [null_test(*calibrated(200, seed), resamples=99).p_value for seed in range(200)]
    assert 2 <= sum(x <= 0.05 for x in p) <= 20  # 10 expected; binomial, one in ten thousand beyond


def test_the_floor_is_smaller_with_more_rows() -> None:
    floors = [null_test(*calibrated(n)).floor for n in (100, 1000, 10_000)]
    assert floors[0] > 2.5 * floors[1] > 2.5 * 2.5 * floors[2]


def test_the_parts_of_the_brier_score_add_up() -> None:
    confidence, correct = calibrated(500)
    for scheme in ("width", "mass"):
        d = decompose(confidence**2, correct, scheme=scheme)
        agree(d.reliability - d.resolution + d.uncertainty + d.within, d.score, budget=FLOAT64, what=scheme)
        agree(d.score, np.mean((confidence**2 - correct) ** 2), budget=FLOAT64, what="score")
    assert decompose(confidence**2, correct).reliability > 5 * decompose(confidence, correct).reliability


def test_class_wise_ece_is_that_of_each_classs_own_probability() -> None:
    logits, labels = case()
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = [ece(p[:, k], labels == k) for k in range(5)]
    agree(classwise_ece(observe(logits, labels).classes), expected, budget=FLOAT64, what="class-wise ECE")


def test_of_no_rows_nothing_is_measured() -> None:
    for number in (
        ece([], []),
        smooth_ece([], []),
        accuracy([]),
        nll([]),
        null_test([], []).ece,
        decompose([], []).score,
    ):
        assert np.isnan(number)


def test_all_right_and_all_wrong() -> None:
    for correct, expected in ((True, 0.1), (False, 0.9)):
        for measure in (ece, smooth_ece):
            agree(measure([0.9] * 50, [correct] * 50), expected, budget=CELL, what=measure.__name__)
    agree(overconfidence([0.9, 0.7], [True, False]), 0.3, budget=FLOAT64, what="conf − acc")


def test_top_k_counts_the_label_among_the_first_k() -> None:
    rows = rows_of([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 1.0, 1.0]], [1, 2, 1])
    agree([top_k(rows.rank, k) for k in (1, 2, 3)], [0, 2 / 3, 1], budget=FLOAT64, what="top 1, 2, 3")


@pytest.mark.parametrize(
    ("confidence", "correct", "scheme", "says"),
    [
        ([0.5, 1.5], [True, True], "width", "a confidence is from 0 to 1, got 1.5"),
        ([0.5, float("nan")], [True, True], "mass", "a confidence is from 0 to 1, got nan"),
        ([0.5], [True, True], "width", r"one number a row, got shapes \(1,\) and \(2,\)"),
        ([0.5], [True], "weight", 'scheme must be "width" or "mass", got \'weight\''),
    ],
)
def test_a_wrong_argument_is_one_line(confidence: list[float], correct: list[bool], scheme: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ece(confidence, correct, scheme=scheme)
