"""`labelsmooth study` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("torch")
pytest.importorskip("scipy")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
from click.testing import CliRunner, Result

from labelsmooth.calibration import datasets
from labelsmooth.cli import main

TINY = ("--quick", "--seeds", 1, "--eps", 0.1, "--epochs", 2, "--jobs", 1)


def run(*words: Any) -> Result:
    return CliRunner().invoke(main, ["study", *(str(word) for word in words)], prog_name="labelsmooth")


@pytest.mark.slow
def test_a_table_the_verdicts_and_where_the_report_is(tmp_path: Path) -> None:
    done = run("-o", tmp_path / "out", *TINY)
    assert done.exit_code == 0, done.output
    assert "digits: 300 images, MLP" in done.stdout
    assert "not decided" in done.stdout
    assert done.stdout.rstrip().endswith("study.json")
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.slow
def test_json_has_runs_and_summary(tmp_path: Path) -> None:
    done = run("-o", tmp_path / "out", *TINY, "--json")
    told = json.loads(done.stdout)
    assert told["schema_version"] == 1
    assert [row["settings"]["label_smoothing"] for row in told["runs"]] == [0.0, 0.1]
    assert [row["label_smoothing"] for row in told["summary"]] == [0.0, 0.1]
    assert {"says", "paper", "cite", "mean", "low", "high", "seeds", "verdict"} <= set(told["findings"][0])
    assert told["findings"][0]["low"] is None  # of one seed there is no interval
    assert "curves" not in told["runs"][0]
    assert all(Path(path).is_file() for path in told["paths"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--quick", "--set", "fashion"), "--quick is --set digits: pass one of --quick and --set"),
        (("--set", "mnist"), "'mnist' is not one of"),
        (("--eps", "1"), "1.0 is not in the range 0<=x<1"),
        (("--seeds", "0"), "0 is not in the range x>=1"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_two(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    done = run("-o", tmp_path / "out", *words)
    assert done.exit_code == 2
    assert says in done.stderr
    assert not (tmp_path / "out").exists()


def test_missing_images_are_said_with_the_way_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(datasets.ENVIRONMENT, raising=False)
    done = run("-o", tmp_path / "out", "--set", "fashion", "--data", tmp_path / "none")
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "none is no folder: sudo apt-get install dataset-fashion-mnist" in done.stderr


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    done = run("-o", tmp_path / "out", *TINY)
    assert done.exit_code == 2
    assert "the folder cannot be made" in done.stderr
    assert (tmp_path / "out").read_text() == "mine"


def test_an_interrupt_says_that_finished_runs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labelsmooth.calibration import study

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "run_study", interrupted)
    done = run("-o", tmp_path / "out", *TINY)
    assert done.exit_code == 130
    assert "finished runs are kept" in done.stderr
