"""Was it trained with smoothing? On logits made as smoothing makes them, and on others."""

from __future__ import annotations

import numpy as np
import pytest

from agree import FLOAT64, agree
from labelsmooth.calibration.rows import rows_of
from labelsmooth.calibration.smoothing import trained_with_smoothing, wall
from labelsmooth.maths.trace import trace


def at_the_wall(epsilon: float, classes: int, n: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Logits about the optimum of the smoothed loss for most rows, and undecided for the others."""
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, n)
    z = random.normal(size=(n, classes)) * 0.1
    share = np.where(random.random(n) < 0.75, random.normal(0.98, 0.03, n), random.uniform(0, 1, n))
    z[np.arange(n), labels] += wall(epsilon, classes) * share
    return z, labels


@pytest.mark.parametrize("classes", [3, 10, 1000])
@pytest.mark.parametrize("epsilon", [0.05, 0.1, 0.2])
def test_epsilon_is_read_off_the_pile(epsilon: float, classes: int) -> None:
    found = trained_with_smoothing(rows_of(*at_the_wall(epsilon, classes)), classes)
    assert found.likely
    assert abs(found.epsilon / epsilon - 1) < 0.3
    assert found.low < found.epsilon < found.high
    agree(found.confidence, 1 - found.epsilon + found.epsilon / classes, budget=FLOAT64, what="confidence of the pile")


def test_an_over_confident_and_a_calibrated_model_show_no_pile() -> None:
    random = np.random.default_rng(1)
    for length in (1.0, 6.0):
        z = random.normal(size=(3000, 10)) * 2
        labels = (z + random.gumbel(size=z.shape)).argmax(axis=1)
        assert not trained_with_smoothing(rows_of(length * z, labels), 10).likely


def test_a_few_rows_say_nothing() -> None:
    z, labels = at_the_wall(0.1, 10)
    assert not trained_with_smoothing(rows_of(z[:100], labels[:100]), 10).likely
    assert not trained_with_smoothing(rows_of(z[:1], labels[:1]), 10).likely


def test_saturated_confidences_are_no_pile_of_smoothing() -> None:
    z = np.zeros((500, 10))
    z[:, 0] = 900.0
    found = trained_with_smoothing(rows_of(z, np.zeros(500, int)), 10)
    assert found.epsilon < 1e-12
    assert not found.likely or found.epsilon < 1e-12


def test_the_wall_is_the_gap_at_the_optimum_of_our_loss() -> None:
    gap = trace([[0.0, 0.0, 0.0, 0.0]], [0], 0.1).optimum_gap
    agree(wall(0.1, 4), float(gap), budget=FLOAT64, what="log(1 + K(1−ε)/ε)")
    assert wall(0.0, 4) == float("inf")
