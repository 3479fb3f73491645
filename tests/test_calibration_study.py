"""The study from end to end on a few tiny runs: what is kept, what goes on after an interrupt, what is not mixed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

from agree import FLOAT64, agree
from labelsmooth.calibration import _running, _study_report
from labelsmooth.calibration._claims import CLAIMS
from labelsmooth.calibration._outcome import COVERAGES, curves, measured, spread
from labelsmooth.calibration._plan import GROUPS, Run
from labelsmooth.calibration.datasets import Data, Rows, load
from labelsmooth.calibration.selective import risk_at_coverage
from labelsmooth.calibration.study import Study, read_study, run_study
from labelsmooth.errors import InputError

TINY: dict[str, Any] = {"sets": ["digits"], "seeds": 3, "epsilons": [0.1], "epochs": 3}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished study of three seeds and two ε."""
    folder = tmp_path_factory.mktemp("study")
    run_study(folder, **TINY)
    yield folder
    load.cache_clear()


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that are trained while a test runs."""
    names: list[str] = []
    as_ever = _running.carry_out

    def counting(run: Run, *rest: Any) -> Any:
        names.append(run.name)
        return as_ever(run, *rest)

    monkeypatch.setattr(_running, "carry_out", counting)
    return names


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """No report, which takes longer than the runs."""
    monkeypatch.setattr(_study_report, "write_report", lambda *_, **__: None)


def copy(home: Path, to: Path) -> Path:
    (to / "runs").mkdir(parents=True)
    for file in (home / "runs").iterdir():
        (to / "runs" / file.name).write_bytes(file.read_bytes())
    return to


def test_a_study_leaves_a_file_a_run_a_json_and_a_report(home: Path) -> None:
    assert sorted(path.name for path in home.iterdir()) == ["report.html", "runs", "study.json"]
    names = [path.name for path in (home / "runs").iterdir()]
    assert len(names) == 6
    assert all(re.fullmatch(r"digits-eps0(\.1)?-seed[012]-[0-9a-f]{8}\.json", name) for name in names)


def test_every_measure_that_a_claim_or_the_report_asks_for_is_measured(home: Path) -> None:
    from labelsmooth.calibration._study_report import MEASURES

    told = set(read_study(home / "study.json").records[0]["measures"])
    assert {word for word, *_ in MEASURES} <= told
    assert {cell.measure for claim in CLAIMS for _, cell in claim.contrast} <= told


@pytest.mark.slow
def test_a_second_call_trains_nothing_and_gives_the_same(home: Path, tmp_path: Path, trained: list[str]) -> None:
    again = run_study(copy(home, tmp_path / "again"), **TINY)
    assert trained == []
    assert (tmp_path / "again" / "study.json").read_bytes() == (home / "study.json").read_bytes()
    assert (tmp_path / "again" / "report.html").read_bytes() == (home / "report.html").read_bytes()
    assert len(again.records) == 6


@pytest.mark.usefixtures("unwritten")
def test_an_interrupted_study_goes_on_where_it_stopped(
    home: Path, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, counting = tmp_path / "stopped", _running.carry_out

    def stopped(run: Run, *rest: Any) -> Any:
        if len(trained) == 2:
            raise KeyboardInterrupt
        return counting(run, *rest)

    monkeypatch.setattr(_running, "carry_out", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_study(folder, **TINY)
    assert len(list((folder / "runs").iterdir())) == 2
    assert not (folder / "study.json").exists()
    monkeypatch.setattr(_running, "carry_out", counting)
    trained.clear()
    done = run_study(folder, **TINY)
    assert len(trained) == 4
    same(done, read_study(home / "study.json"))


def same(one: Study, other: Study) -> None:
    """All but the seconds are equal to the last digit."""
    for mine, theirs in zip(one.records, other.records, strict=True):
        assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}


@pytest.mark.slow
@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize("damage", [b'{"schema_version":1,', b"[]", b"\xff\xfe"])
def test_a_damaged_result_is_trained_anew(damage: bytes, home: Path, tmp_path: Path, trained: list[str]) -> None:
    folder = copy(home, tmp_path / "damaged")
    bad = min((folder / "runs").iterdir())
    bad.write_bytes(damage)
    same(run_study(folder, **TINY), read_study(home / "study.json"))
    assert trained == [bad.stem]


@pytest.mark.usefixtures("unwritten")
def test_a_result_of_other_settings_is_not_mixed_in(home: Path, tmp_path: Path, trained: list[str]) -> None:
    folder = copy(home, tmp_path / "changed")
    done = run_study(folder, **{**TINY, "epochs": 2, "seeds": 1})
    assert len(trained) == 2
    assert {record["settings"]["recipe"]["epochs"] for record in done.records} == {2}
    assert len(list((folder / "runs").iterdir())) == 8  # the older ones stay
    forged = folder / "runs" / f"{trained[0]}.json"
    told = json.loads(forged.read_text())
    told["settings"]["recipe"]["rate"] = 5
    forged.write_text(json.dumps(told))
    trained.clear()
    run_study(folder, **{**TINY, "epochs": 2, "seeds": 1})
    assert trained == [forged.stem]


def test_words_and_estimates_do_not_change_the_digest_and_settings_do() -> None:
    from dataclasses import replace

    group = GROUPS["digits"]
    run = Run(group, 0.1, 0)
    assert Run(replace(group, words="x", seconds=9.0, seeds=2, epsilons=(0.1,)), 0.1, 0).digest() == run.digest()
    others = [Run(group, 0.2, 0), Run(group, 0.1, 1), Run(replace(group, train=299), 0.1, 0)]
    others.append(Run(replace(group, recipe=replace(group.recipe, rate=1.0)), 0.1, 0))
    assert len({run.digest(), *(other.digest() for other in others)}) == 5


@pytest.mark.slow
@pytest.mark.usefixtures("unwritten")
def test_two_processes_give_what_one_gives(home: Path, tmp_path: Path) -> None:
    shares: list[float] = []
    done = run_study(tmp_path / "two", **TINY, jobs=2, keep_logits=True, progress=shares.append)
    same(done, read_study(home / "study.json"))
    assert shares == sorted(shares)
    agree(shares[-1], 1.0, budget=FLOAT64, what="share done")
    kept = sorted(path.name for path in (tmp_path / "two" / "logits").iterdir())
    assert len(kept) == 12
    with np.load(tmp_path / "two" / "logits" / kept[0]) as arrays:
        assert arrays["logits"].shape == (1_097, 10)
        right = (arrays["logits"].argmax(axis=1) == arrays["labels"]).mean()
    agree(right, done.records[0]["measures"]["accuracy"], budget=1e-5, what="accuracy of the kept logits")


def test_teachers_and_students_are_measured_each(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setitem(_running.__dict__, "TEMPERATURES", (1.0, 4.0))
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 5_200)
    rows = Rows((np.eye(3, 9)[labels] + random.normal(size=(5_200, 9)) / 2).astype(np.float32), labels)
    data = Data("fashion", rows, rows.take(np.arange(100)), ("a", "b", "c"), "made")
    group = GROUPS["fashion-distil"]
    assert group.student is not None
    recipe, student = (
        replace(r, network="student", epochs=5, batch=16, rate=0.02) for r in (group.recipe, group.student)
    )
    small = replace(group, train=100, transfer=60, recipe=recipe, student=student, noise=0.2)
    monkeypatch.setattr(_running._outcome, "projection", lambda *_: {})
    record = _running.carry_out(Run(small, 0.1, 0), data)
    assert list(record["students"]) == ["labels", "T=1", "T=4"]
    accuracies = [told["accuracy"] for told in record["students"].values()]
    assert min(accuracies) > 0.6
    assert {"temperature_wrong", "ece_after_wrong"} <= set(record["measures"])
    assert record["measures"]["train_accuracy"] < 0.9  # a fifth of the labels is wrong


def test_the_curve_of_risk_is_the_risk_at_each_coverage() -> None:
    random = np.random.default_rng(0)
    z = random.normal(size=(300, 3)).round(1)  # with ties
    y = random.integers(0, 3, 300)
    told = curves((z, z), y, y)
    from labelsmooth.calibration.rows import rows_of

    rows = rows_of(z, y)
    expected = [risk_at_coverage(rows.confidence, rows.correct, c) for c in (0.1, 0.5, 1.0)]
    got = [told["risk"][int(np.flatnonzero(c == COVERAGES)[0])] for c in (0.1, 0.5, 1.0)]
    agree(got, expected, budget=FLOAT64, what="risk")
    assert sum(told["gaps"]) == 300


def test_a_refused_temperature_leaves_the_measures_as_they_are() -> None:
    z = 10 * np.eye(3)[np.arange(60) % 3] + np.random.default_rng(0).normal(size=(60, 3))
    told = measured((z, z), z.argmax(axis=1), np.roll(z.argmax(axis=1), 1))
    assert told["temperature"] == 1
    assert told["ece_after"] == told["ece"]


def test_tight_classes_have_a_small_spread() -> None:
    labels = np.repeat([0, 1, 2], 50)
    noise = np.random.default_rng(0).normal(size=(150, 2))
    loose, tight = (spread((np.eye(3, 2)[labels] * 5 + s * noise).astype(np.float32), labels) for s in (2.0, 0.2))
    assert tight < loose / 50
    assert spread(np.ones((4, 2), np.float32), np.array([0, 0, 1, 1])) == float("inf")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sets": ["mnist"]}, "there is no set 'mnist'"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"jobs": -1}, "jobs must be at least 1, got -1"),
        ({"epsilons": [1.0]}, "ε must be from 0 to below 1, got 1"),
    ],
)
def test_wrong_numbers_are_refused_before_anything_is_made(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        run_study(tmp_path / "never", **{**TINY, **options})
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("text", ["", "[1]", '{"schema_version": 1}', '{"schema_version": 2, "runs": [1]}'])
def test_a_file_that_is_no_study_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(InputError, match=r"file\.json: "):
        read_study(tmp_path / "file.json")


def test_the_report_has_a_figure_with_its_numbers_and_names_no_other_address(home: Path) -> None:
    page = (home / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == page.count("<details>") >= 6
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:src|href)="([^"#]+)"', page)) <= {
        f"https://arxiv.org/abs/{claim.cite[6:]}" for claim in CLAIMS
    }
    assert "url(http" not in page
    assert "nan" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL).lower().split()
