"""Verdicts: planted tables go both ways, and every claim asks for runs and measures that the study has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")

from agree import FLOAT64, agree
from labelsmooth.calibration._claims import CLAIMS, NOT_DECIDED, NOT_REPRODUCED, REPRODUCED, Claim, judge
from labelsmooth.calibration._paired import Cell, Interval, Table, chosen, interval, summary
from labelsmooth.calibration._plan import GROUPS, TEMPERATURES
from labelsmooth.calibration._study_report import headlines
from labelsmooth.calibration.study import Study, study_of

GAIN = next(c for c in CLAIMS if c.says == "Smoothing raises accuracy.")


def record(group: str, epsilon: float, seed: int, **measures: float) -> dict[str, Any]:
    told = {"name": group, "label_smoothing": epsilon, "seed": seed}
    return {"settings": told, "measures": measures, "seconds": 1.0}


def planted(gains: list[float]) -> list[dict[str, Any]]:
    """Runs whose accuracy at ε = 0.1 is larger by these gains; seeds themselves differ by far more."""
    found = []
    for seed, gain in enumerate(gains):
        found += [record("fashion", 0.0, seed, accuracy=0.5 + seed / 10)]
        found += [record("fashion", 0.1, seed, accuracy=0.5 + seed / 10 + gain)]
    return found


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([0.010, 0.012, 0.011], REPRODUCED),
        ([-0.010, -0.012, -0.011], NOT_REPRODUCED),
        ([0.010, -0.012, 0.003], NOT_DECIDED),
        ([0.010, 0.012], NOT_DECIDED),  # two seeds
        ([0.010], NOT_DECIDED),
    ],
)
def test_the_verdict_follows_the_interval_over_seeds(gains: list[float], verdict: str) -> None:
    (finding,) = judge(Table(planted(gains)), [GAIN])
    assert finding.verdict == verdict
    assert finding.measured.seeds == len(gains)


def test_the_same_numbers_decide_the_opposite_claim_the_other_way() -> None:
    lowers = Claim(GAIN.question, "lowers", "x", "", "", GAIN.contrast, "", -1)
    table = Table(planted([0.010, 0.012, 0.011]))
    assert [f.verdict for f in judge(table, [GAIN, lowers])] == [REPRODUCED, NOT_REPRODUCED]


def test_a_claim_without_runs_is_not_judged() -> None:
    assert judge(Table([record("digits", 0.0, 0, accuracy=0.5)]), [GAIN]) == []
    assert judge(Table([]), list(CLAIMS)) == []


def test_seeds_that_only_one_side_has_do_not_count() -> None:
    runs = [*planted([0.01, 0.01, 0.02]), record("fashion", 0.1, 7, accuracy=0.0)]
    (finding,) = judge(Table(runs), [GAIN])
    assert finding.measured.seeds == 3
    agree(finding.measured.mean, 0.04 / 3, budget=FLOAT64, what="mean gain")


def test_the_interval_is_students() -> None:
    from scipy import stats

    values = np.random.default_rng(0).normal(size=7)
    low, high = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    found = interval(values)
    agree([found.mean, found.low, found.high], [values.mean(), low, high], budget=FLOAT64, what="interval")


@pytest.mark.parametrize(("ends", "sign"), [((0.1, 0.3), 1), ((-0.3, -0.1), -1), ((-0.1, 0.3), 0), ((0.0, 0.3), 0)])
def test_the_sign_of_an_interval_that_leaves_out_zero(ends: tuple[float, float], sign: int) -> None:
    assert Interval(sum(ends) / 2, *ends, 5).sign == sign
    assert Interval(sum(ends) / 2, *ends, 2).sign == 0


def test_every_claim_is_about_runs_that_the_plan_has() -> None:
    for claim in CLAIMS:
        assert claim.sign in {1, -1}
        for factor, cell in claim.contrast:
            assert factor in {1.0, -1.0}
            name, _, student = cell.group.partition(" ")
            assert cell.label_smoothing in GROUPS[name].epsilons, (claim.says, cell)
            assert student in {"", "labels", *(f"T={t:g}" for t in TEMPERATURES)}
        least = min(GROUPS[cell.group.partition(" ")[0]].seeds for _, cell in claim.contrast)
        assert least >= 3, f"{claim.says}: would never be decided"
    assert len({(c.says, c.where) for c in CLAIMS}) == len(CLAIMS)


def test_a_paper_is_cited_by_its_number_and_a_question_of_ours_is_not() -> None:
    for claim in CLAIMS:
        assert bool(claim.paper) == bool(claim.cite)
        assert claim.cite == "" or claim.cite.startswith(("arXiv:", "PMLR ")), claim.cite


def test_what_is_not_reproduced_stands_in_the_headline() -> None:
    against = study_of(planted([-0.010, -0.012, -0.011]))
    assert headlines(against)[0] == "1 claim of a paper was tried on these runs: 1 not reproduced."
    assert headlines(against)[1].startswith(
        "Not reproduced: Smoothing raises accuracy. (Szegedy et al. 2016, over-fitted MLP: −1.10"
    )
    for_it = study_of(planted([0.010, 0.012, 0.011]))
    assert headlines(for_it) == ["1 claim of a paper was tried on these runs: 1 reproduced."]


def test_the_summary_has_means_and_differences_within_seeds() -> None:
    plain, smoothed = summary(Table(planted([0.01, 0.02, 0.03])))
    assert "difference" not in plain["measures"]["accuracy"]
    told = smoothed["measures"]["accuracy"]
    agree(told["mean"], 0.62, budget=FLOAT64, what="mean")
    agree(told["difference"][0], 0.02, budget=FLOAT64, what="difference")
    assert smoothed["seeds"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({0.0: [1.0, 1.1, 1.2], 0.1: [0.5, 0.5, 0.5]}, 0.1),
        ({0.0: [0.50, 0.52, 0.51], 0.1: [0.495, 0.51, 0.515]}, 0.0),  # within a standard error: the smaller ε
        ({0.0: [0.5, 0.5], 0.1: [0.4, 0.4]}, None),  # two seeds
        ({0.0: [0.5, 0.5, 0.5]}, None),  # nothing to choose
    ],
)
def test_the_smallest_epsilon_within_a_standard_error_is_chosen(losses: Any, expected: float | None) -> None:
    runs = [record("digits", e, s, validation_nll_after=x) for e, some in losses.items() for s, x in enumerate(some)]
    assert chosen(Table(runs), "digits") == expected


def test_an_unknown_group_is_an_error_that_names_those_there_are() -> None:
    study = study_of(planted([0.01, 0.02, 0.03]))
    assert isinstance(study, Study)
    with pytest.raises(ValueError, match=r"no runs of 'mnist' at ε = 0\.1; groups: fashion"):
        study.mean("mnist", 0.1, "accuracy")
    agree(study.mean("fashion", 0.0, "accuracy"), 0.6, budget=FLOAT64, what="mean")
    cell = Cell("fashion", 0.3, "accuracy")
    assert study.table.seeds(cell) == {}
