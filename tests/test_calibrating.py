"""The command `calibrate`: what it reads, prints and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, agree
from labelsmooth.calibration.assess import assess
from labelsmooth.data import path
from labelsmooth.files import open_stream

click_testing = pytest.importorskip("click.testing")
pytest.importorskip("scipy")

T_AGAIN = 1e-8  # the search for T stops at 1e-10 of its logarithm, and logarithms of probabilities round otherwise
DIGITS = str(path("digits.csv"))


def call(*words: str | Path) -> Any:
    from labelsmooth.cli import main

    return click_testing.CliRunner().invoke(main, ["calibrate", *map(str, words)])


def answer(*words: str | Path) -> Any:
    done = call(*words, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    return json.loads(done.stdout)


def refused(*words: str | Path) -> str:
    done = call(*words)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return str(done.stderr).removeprefix("labelsmooth: ").strip()


def save(folder: Path, name: str = "run.npz", *, length: float = 3.0, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    z = random.normal(size=(400, 4)) * 2
    np.savez(folder / name, logits=length * z, labels=(z + random.gumbel(size=z.shape)).argmax(axis=1))
    return folder / name


def test_json_holds_the_stable_keys_and_what_was_measured() -> None:
    found, direct = answer(DIGITS), assess(open_stream(DIGITS))
    assert found["schema_version"] == 1
    agree(found["measures"]["before"]["ece"], direct.before.null.ece, budget=FLOAT64, what="ECE")
    agree(found["measures"]["after"]["nll"], direct.nll_after, budget=FLOAT64, what="NLL after")
    agree(found["temperature"]["value"], direct.temperature.value, budget=FLOAT64, what="T")
    assert found["recommendation"]["key"] == "leave"
    assert found["runs"][0]["measures"] == found["measures"]
    assert {"measures", "temperature", "recommendation", "runs", "comparison", "notes", "path"} <= found.keys()


def test_the_verdict_is_the_first_line_and_notes_are_on_standard_error(tmp_path: Path) -> None:
    done = call(save(tmp_path))
    assert done.exit_code == 0
    assert done.stdout.startswith("Over-confident by ")
    for words in (
        "smooth ECE",
        "logit norm",
        "Worst calibrated classes",
        "Temperature 3.",
        "Advice",
        "- For calibrated",
    ):
        assert words in done.stdout
    assert "next: add  -o report.html" in done.stderr


@pytest.mark.slow
def test_what_belongs_to_a_run_stands_behind_commas_or_in_the_archive(tmp_path: Path) -> None:
    names = []
    for epsilon, length in ((0.0, 2.0), (0.1, 1.0)):
        for seed in range(3):
            file = save(tmp_path, f"a,b{epsilon}{seed}.npz", length=length)  # a comma in a name is a comma
            names.append(f"{file},eps={epsilon},seed={seed},val={save(tmp_path, f'v{seed}.npz', seed=9)}")
    behind = answer(*names)
    held, inside = np.load(save(tmp_path, "v.npz", seed=9)), []
    for epsilon, length in ((0.0, 2.0), (0.1, 1.0)):
        for seed in range(3):
            run = np.load(save(tmp_path, "run.npz", length=length))
            inside.append(tmp_path / f"{epsilon}-{seed}.npz")
            split = {"val_logits": held["logits"], "val_labels": held["labels"]}
            np.savez(
                inside[-1], logits=run["logits"], labels=run["labels"], label_smoothing=epsilon, seed=seed, **split
            )
    archived = answer(*inside)
    assert archived["comparison"] == behind["comparison"]
    assert [g["seeds"] for g in archived["comparison"]["groups"]] == [[0, 1, 2], [0, 1, 2]]
    assert archived["comparison"]["on_validation"]
    assert archived["recommendation"]["label_smoothing"] == 0.0


def test_runs_without_epsilon_are_shown_and_not_compared(tmp_path: Path) -> None:
    done = call(save(tmp_path, "a.npz"), save(tmp_path, "b.npz", length=1.0))
    assert done.exit_code == 0
    assert "Nothing is compared, because not every run has an ε" in done.stderr.replace("\n", " ")
    assert "a.npz" in done.stdout
    assert "b.npz" in done.stdout


def test_probabilities_and_their_logarithms_give_what_logits_give(tmp_path: Path) -> None:
    logits = answer(save(tmp_path))
    loaded = np.load(tmp_path / "run.npz")
    p = np.exp(loaded["logits"] - loaded["logits"].max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    for name, numbers in (("p.npz", p), ("log.npz", np.log(p))):
        np.savez(tmp_path / name, logits=numbers, labels=loaded["labels"])
        said = answer(tmp_path / name, "--probs")
        agree(said["temperature"]["value"], logits["temperature"]["value"], budget=T_AGAIN, what=name)


def test_advice_follows_what_the_user_says(tmp_path: Path) -> None:
    keys = [
        a["key"]
        for a in answer(save(tmp_path), "--context", "few-data", "--label-noise", "0.2")["recommendation"]["advice"]
    ]
    assert {"few_data", "label_noise"} <= set(keys)
    wanted = answer(save(tmp_path), "--risk", "0.3", "--risk", "0.1")["measures"]["selective"][0]["coverage_at_risk"]
    assert list(wanted) == ["0.1", "0.3"]


@pytest.mark.slow
def test_a_report_is_written_beside_the_answer(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    target = tmp_path / "report.html"
    assert answer(save(tmp_path), "-o", target)["path"] == str(target)
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert refused(tmp_path / "run.npz", "-o", target) == f"{target}: exists already: pass --force to replace it"


def bad(folder: Path, name: str) -> Path:
    """Write a file that cannot be used."""
    file = folder / f"{name}.npz"
    z, y = np.random.default_rng(0).normal(size=(6, 3)), np.array([0, 1, 2, 0, 1, 2])
    if name == "nan":
        z[2, 1] = np.nan
    elif name == "range":
        y[4] = 3
    elif name == "lengths":
        y = y[:5]
    elif name == "probabilities":
        z = np.full((6, 3), 1 / 3)
    elif name == "soft":
        np.savez(file, logits=z, labels=np.full((6, 3), 1 / 3))
        return file
    elif name == "ignored":
        y[:] = -100
    if name == "empty":
        file.write_bytes(b"")
    else:
        np.savez(file, logits=z, labels=y)
    return file


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nan", "row 3, class 1: nan is no logit: correct or remove that row"),
        ("range", "row 5: label 3 is out of range: the 3 classes are numbered 0 to 2"),
        ("lengths", "5 labels for 6 rows of logits"),
        ("empty", "the file is empty"),
        (
            "probabilities",
            "these rows sum to 1: they look like probabilities; pass --probs (or --logits if they are logits)",
        ),
        ("soft", "the labels are distributions, one class a row was expected"),
        ("ignored", "every row is ignored, there is nothing to measure"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, name: str, says: str) -> None:
    assert refused(bad(tmp_path, name)) == f"{tmp_path / f'{name}.npz'}: {says}"


def test_bad_options_are_one_line(tmp_path: Path) -> None:
    file = save(tmp_path)
    other = tmp_path / "five.npz"
    np.savez(other, logits=np.random.default_rng(0).normal(size=(9, 5)), labels=np.zeros(9, int))
    assert refused(f"{file},eps=a") == f"{file}: eps=a is no number"
    assert refused(f"{file},eps=1") == f"{file}: ε is from 0 to below 1, got 1"
    assert refused(f"{file},seed=0.5") == f"{file}: seed=0.5 is no whole number"
    assert refused(f"{file},val={other}") == f"{file}: {other} has 5 classes, 4 were expected"
    assert refused(file, "--label-noise", "2") == "--label-noise is a share from 0 to 1, got 2"
    assert refused(file, "--risk", "1") == "a risk is a share of errors between 0 and 1, such as 0.01"
    assert refused(file, file, "--eps", "0.1").startswith("--validation and --eps are of a single run")
    assert refused(f"{file},eps=0,seed=1", f"{file},eps=0,seed=1").endswith("another run with ε = 0 and seed 1")
    assert refused(tmp_path / "none.npz") == f"{tmp_path / 'none.npz'}: no such file"
    assert refused(file, "--probs").endswith("row 1: a probability is from 0 to 1, -0.792629 is not")


@pytest.mark.slow
def test_without_the_extra_the_answer_is_the_line_that_installs_it(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['scipy'] = sys.modules['jinja2'] = None; from labelsmooth.cli import main; main()"
    command = [sys.executable, "-c", hide, "calibrate", str(save(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "labelsmooth: fitting a temperature needs SciPy: pip install 'labelsmooth[report]'\n"
