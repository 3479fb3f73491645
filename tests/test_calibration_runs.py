"""Several ε: which is chosen, and that a difference is called one only when seeds and rows agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, agree
from labelsmooth.calibration.assess import Assessment, Validation, assess
from labelsmooth.calibration.runs import compare_runs
from labelsmooth.files import stream_of

pytest.importorskip("scipy")

# With 3 seeds: the 97.5% quantile of Student's t with 2 degrees of freedom (any table has it).
T2 = 4.302652729911275


def run(epsilon: float, seed: int, *, better: float = 0.0, n: int = 300, length: float = 1.0) -> Assessment:
    """A run of a model whose logits know `better` more; rows are the same for every seed."""
    rows, own = np.random.default_rng(0), np.random.default_rng(100 + seed)
    truth = rows.normal(size=(n, 4)) * 2
    labels = (truth + rows.gumbel(size=truth.shape)).argmax(axis=1)
    z = truth + (1.0 - better) * own.normal(size=truth.shape)
    return assess(stream_of(length * z, labels), name=f"e{epsilon:g} s{seed}", epsilon=epsilon, seed=seed)


def with_criterion(one: Assessment, value: float) -> Assessment:
    return replace(one, validation=Validation(100, 0.9, 1.0, value))


@pytest.fixture(scope="module")
def runs() -> list[Assessment]:
    return [run(e, s, better=b) for e, b in ((0.0, 0.0), (0.1, 0.6)) for s in range(3)]


def test_differences_are_paired_by_seed_and_have_students_interval(runs: list[Assessment]) -> None:
    found = compare_runs(runs, resamples=50)
    d = found.groups[1].differences["nll_after"]
    gaps = np.array([b.nll_after - a.nll_after for a, b in zip(runs[:3], runs[3:], strict=True)])
    half = T2 * gaps.std(ddof=1) / np.sqrt(3)
    agree(d.mean, gaps.mean(), budget=FLOAT64, what="mean")
    agree(d.seeds, (gaps.mean() - half, gaps.mean() + half), budget=1e-9, what="interval over seeds")
    assert d.paired
    assert found.enough


def test_the_bootstrap_resamples_the_same_rows_in_every_run(runs: list[Assessment]) -> None:
    twins = [runs[0], runs[1], replace(runs[0], epsilon=0.1), replace(runs[1], epsilon=0.1)]
    agree(compare_runs(twins, resamples=20).groups[1].differences["nll"].rows, (0.0, 0.0), budget=FLOAT64, what="twins")
    found = compare_runs(runs, resamples=400).groups[1].differences["nll_after"]
    per_row = np.mean([a.seen_after.rows.label_log_probability - b.seen_after.rows.label_log_probability
                       for a, b in zip(runs[:3], runs[3:], strict=True) if a.seen_after and b.seen_after], axis=0)  # fmt: skip
    half = 1.96 * per_row.std() / np.sqrt(len(per_row))
    assert found.rows is not None
    width = (found.rows[1] - found.rows[0]) / (2 * half)
    assert 0.8 < width < 1.2  # of the normal interval of a mean, which a bootstrap of one is


def test_the_better_epsilon_is_chosen_and_clear(runs: list[Assessment]) -> None:
    found = compare_runs(runs)
    assert (found.best, found.chosen) == (0.1, 0.1)
    assert found.groups[1].differences["nll_after"].clear
    assert found.groups[1].differences["nll_after"].mean < 0


def test_the_smallest_epsilon_within_a_standard_error_is_chosen(runs: list[Assessment]) -> None:
    base = [with_criterion(replace(one, epsilon=0.0), 1.00) for one in runs[:3]]
    for value, chosen in ((0.99, 0.0), (0.90, 0.1)):
        spread = [with_criterion(one, value + d) for one, d in zip(runs[3:], (-0.03, 0.0, 0.03), strict=True)]
        found = compare_runs([*base, *spread], resamples=5)
        agree(found.error, 0.03 / np.sqrt(3), budget=FLOAT64, what="standard error of the best")
        assert (found.best, found.chosen) == (0.1, chosen)
        assert found.on_validation


def test_fewer_than_three_seeds_make_no_claim(runs: list[Assessment]) -> None:
    assert not compare_runs([*runs[:2], *runs[3:]], resamples=5).enough
    one = compare_runs([runs[0], runs[3]], resamples=5)
    assert one.seeds == 1
    assert not one.groups[1].differences["accuracy"].clear


def test_runs_on_other_rows_have_no_bootstrap_and_other_seeds_no_pairs(runs: list[Assessment]) -> None:
    other = [run(0.1, s + 10, better=0.6) for s in range(2)]
    unpaired = compare_runs([*runs[:3], *other], resamples=5).groups[1].differences["nll"]
    assert not unpaired.paired
    assert unpaired.rows is not None
    shorter = compare_runs([*runs[:3], *(run(0.1, s, n=200) for s in range(3))], resamples=5)
    assert not shorter.same_rows
    assert shorter.groups[1].differences["nll"].rows is None


def test_what_cannot_be_compared_is_one_line(runs: list[Assessment]) -> None:
    cases: list[tuple[list[Any], str]] = [
        (runs[:1], "two or more runs"),
        ([runs[0], replace(runs[1], epsilon=None)], "e0 s1: which ε was it trained with"),
        ([runs[0], replace(runs[1], classes=5)], "e0 s1 has 5 classes, e0 s0 has 4"),
        ([runs[0], runs[0]], "another run with ε = 0 and seed 0"),
    ]
    for some, says in cases:
        with pytest.raises(ValueError, match=says):
            compare_runs(some)
