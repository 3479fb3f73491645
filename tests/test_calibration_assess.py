"""One run: what is fitted on which rows, and that a sample stands behind the temperature and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from agree import FLOAT64, agree
from labelsmooth.calibration import _sample
from labelsmooth.calibration.assess import assess, measure
from labelsmooth.calibration.calibrate import Given, calibrate
from labelsmooth.calibration.rows import NORMS, observe, rows_of
from labelsmooth.calibration.selective import aurc, best_norm, norm_score
from labelsmooth.calibration.temperature import cross_fitted, fit_temperature
from labelsmooth.data import path
from labelsmooth.files import stream_of

pytest.importorskip("scipy")

SEARCH = 1e-8  # the search for T stops at 1e-10 of its logarithm, wherever it starts


def logits(n: int = 600, seed: int = 0, length: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    z = random.normal(size=(n, 6)) * 2
    return length * z, (z + random.gumbel(size=z.shape)).argmax(axis=1)


def test_without_a_split_every_row_is_measured_at_the_temperature_of_the_others() -> None:
    z, y = logits()
    found = assess(stream_of(z, y))
    each = cross_fitted(z, y)
    assert found.after is not None
    agree(found.after.nll, measure(observe(z, y, each)).nll, budget=SEARCH, what="NLL after")
    agree(found.temperature.value, fit_temperature(z, y).value, budget=SEARCH, what="T")
    assert (found.fitted_on, found.sample) == ("cross-fitting", None)


def test_with_a_split_the_temperature_and_the_norm_are_the_splits() -> None:
    z, y = logits()
    held = logits(400, seed=1, length=3.0)
    found = assess(stream_of(z, y), validation=stream_of(*held))
    fit = fit_temperature(*held)
    agree(found.temperature.value, fit.value, budget=SEARCH, what="T")
    agree(
        found.nll_after, -float(rows_of(z, y, fit.value).label_log_probability.mean()), budget=SEARCH, what="NLL after"
    )
    assert found.norm == best_norm(rows_of(*held))
    assert found.validation is not None
    agree(found.criterion, found.validation.nll_after, budget=FLOAT64, what="criterion")
    assert found.validation.nll_after > fit.nll_after  # its own rows are cross-fitted


def test_the_norm_is_the_one_that_ranks_best() -> None:
    with np.load(path("fashion_mlp_eps00.npz")) as file:
        z, y = file["logits"][:3000], file["labels"][:3000].astype(int)
    rows = rows_of(z, y)
    areas = {p: aurc(norm_score(rows, p), rows.correct) for p in NORMS}
    found = assess(stream_of(z, y))
    assert found.norm != NORMS[0]
    agree(areas[found.norm], min(areas.values()), budget=FLOAT64, what="AURC")


def test_a_sample_stands_behind_the_temperature_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    z, y = logits()
    whole = assess(stream_of(z, y))
    monkeypatch.setattr(_sample, "SAMPLE_CELLS", 6 * 200)
    found = calibrate([Given(stream_of(z, y))])
    run = found.run
    assert run.sample == 200
    assert run.temperature.rows == 200
    assert found.notes == (
        "The temperature was fitted on 200 rows drawn at random from 600; every measure is of all rows.",
    )
    assert run.temperature.low < whole.temperature.value < run.temperature.high
    agree(run.before.nll, whole.before.nll, budget=FLOAT64, what="NLL of all rows")
    assert run.after is not None
    assert len(run.seen.rows) == 600
    agree(run.after.accuracy, whole.before.accuracy, budget=FLOAT64, what="accuracy after")


def test_progress_rises_to_one() -> None:
    shares: list[float] = []
    calibrate([Given(stream_of(*logits())), Given(stream_of(*logits(seed=1)))], progress=shares.append)
    assert shares == sorted(shares)
    agree(shares[-1], 1.0, budget=FLOAT64, what="done")


def test_a_split_of_other_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="the validation split has 2 classes, the rows have 6"):
        assess(stream_of(*logits()), validation=stream_of(np.eye(2), np.array([0, 1])))
