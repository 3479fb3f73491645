"""The temperature against scikit-learn's, with an interval that holds what it says, and refused where it is not determined."""

from __future__ import annotations

import numpy as np
import pytest

from agree import FLOAT64, agree
from labelsmooth.calibration.rows import rows_of
from labelsmooth.calibration.temperature import cross_fitted, dealt, fit_temperature

pytest.importorskip("scipy")

SKLEARN = 1e-4  # scikit-learn stops where a step of log T is below about 1e-5
SLOPE = 1e-9  # of the mean NLL at its minimum; the search stops at 1e-10 of log T


def drawn(n: int, classes: int = 10, factor: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `factor` too long: the temperature is `factor`."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(n, classes)) * 2
    return factor * z, (z + random.gumbel(size=z.shape)).argmax(axis=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_temperature_is_that_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn", minversion="1.8")
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Logits(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        def fit(self, _x: np.ndarray, y: np.ndarray) -> Logits:
            self.classes_ = np.unique(y)
            return self

        def decision_function(self, x: np.ndarray) -> np.ndarray:
            return x

        def predict(self, x: np.ndarray) -> np.ndarray:
            return x.argmax(axis=1)

    z, y = drawn(3000, classes=5)
    model = CalibratedClassifierCV(FrozenEstimator(Logits().fit(z, y)), method="temperature").fit(z, y)
    theirs = 1 / model.calibrated_classifiers_[0].calibrators[0].beta_
    agree(fit_temperature(z, y).value, float(theirs), budget=SKLEARN, what=f"scikit-learn {sklearn.__version__}")


@pytest.mark.parametrize(("classes", "factor"), [(2, 0.5), (5, 3.0), (1774, 1.7)])
def test_the_nll_is_smallest_at_the_temperature(classes: int, factor: float) -> None:
    z, y = drawn(400, classes, factor)
    fit = fit_temperature(z, y)

    def mean(T: float) -> float:
        return -float(rows_of(z, y, T).label_log_probability.mean())

    agree(fit.nll_after, mean(fit.value), budget=FLOAT64, what="NLL after")
    agree(fit.nll_before, mean(1.0), budget=FLOAT64, what="NLL before")
    step = 1e-4 * fit.value
    agree((mean(fit.value + step) - mean(fit.value - step)) / (2 * step), 0.0, budget=SLOPE * 1e2, what="slope")
    assert mean(0.9 * fit.value) > fit.nll_after < mean(1.1 * fit.value)


def test_scaling_the_logits_scales_the_temperature_and_its_interval() -> None:
    z, y = drawn(500)
    one, ten = fit_temperature(z, y), fit_temperature(10 * z, y)
    agree([ten.value, ten.low, ten.high], [10 * one.value, 10 * one.low, 10 * one.high], budget=SLOPE, what="10 z")


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    fits = [fit_temperature(*drawn(200, classes=4, factor=2.0, seed=seed)) for seed in range(150)]
    held = sum(fit.low <= 2.0 <= fit.high for fit in fits)
    assert 132 <= held <= 149  # 142.5 expected
    widths = [np.log(fit_temperature(*drawn(n)).high / fit_temperature(*drawn(n)).low) for n in (250, 4000)]
    assert 3 < widths[0] / widths[1] < 5.5  # by the root of the number of rows


@pytest.mark.parametrize(
    ("logits", "labels", "says"),
    [
        (np.repeat(np.eye(3), 20, axis=0), np.repeat(np.arange(3), 20), "every label has the largest logit"),
        (np.repeat(np.eye(3), 20, axis=0), np.repeat([1, 2, 0], 20), "these logits say no more than chance"),
        (np.zeros((50, 4)), np.zeros(50, int), "every label has the largest logit"),
        (np.array([[0.0, 1.0]]), np.array([0]), "no more than chance"),
        (np.repeat([[-np.inf, 1.0, 0.0]], 50, axis=0), np.zeros(50, int), "the label of row 1 has the logit -inf"),
        (drawn(12)[0], drawn(12)[1], "12 rows are too few"),
        (
            np.tile(np.eye(3), (9, 1)),
            np.tile([0, 1, 2, 0, 1, 1, 1, 2, 2], 3),
            "27 rows do not determine it: 95% interval from",
        ),
    ],
)
def test_a_temperature_that_is_not_determined_is_refused(logits: np.ndarray, labels: np.ndarray, says: str) -> None:
    fit = fit_temperature(logits, labels)
    assert not fit.usable
    assert says in fit.refusal


def test_one_class_only_and_masked_classes_have_a_temperature() -> None:
    z, _ = drawn(300, classes=3)
    one_class = fit_temperature(z + np.array([2.0, 0.0, 0.0]), np.zeros(300, int))
    assert one_class.value > 0
    z, y = drawn(300, classes=4)
    masked = np.c_[z, np.full(300, -np.inf)]
    agree(fit_temperature(masked, y).value, fit_temperature(z, y).value, budget=SLOPE, what="with a masked class")


def test_no_row_has_a_say_in_its_own_temperature() -> None:
    z, y = drawn(200, classes=4)
    each = cross_fitted(z, y)
    assert len(set(each)) == 5
    place = dealt(200)
    changed = y.copy()
    changed[place == 2] = 0
    moved = cross_fitted(z, changed)
    agree(moved[place == 2], each[place == 2], budget=FLOAT64, what="T of the rows whose labels changed")
    assert (moved[place != 2] != each[place != 2]).all()


def test_after_cross_fitting_the_nll_is_a_little_above_that_of_the_fitted_rows() -> None:
    z, y = drawn(300)
    after = -rows_of(z, y, cross_fitted(z, y)).label_log_probability.mean()
    fit = fit_temperature(z, y)
    assert fit.nll_after < after < 1.05 * fit.nll_after < fit.nll_before


def test_nan_is_one_line() -> None:
    with pytest.raises(ValueError, match="row 1 of the logits holds NaN or infinity"):
        fit_temperature([[np.nan, 1.0]], [0])
