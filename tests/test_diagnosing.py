"""`labelsmooth diagnose` as a user meets it: where the numbers come from, what is printed, exit codes and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
from click.testing import CliRunner, Result

from agree import agree
from labelsmooth.cli import main

MINE = (
    "id,label,cat,dog,mine\na,cat,4.2,-2.4,0.1439\nb,dog,1.6,-0.6,0.9533\nc,dog,3.6,1.2,1.0279\nd,cat,-0.5,0.5,0.5486\n"
)
BARE = "label,cat,dog\ncat,4.2,-2.4\ndog,1.6,-0.6\ndog,3.6,1.2\ncat,-0.5,0.5\n"
RIGHT = "label,cat,dog,mine\ncat,4.2,-2.4,0.3314\ndog,1.6,-0.6,2.1951\ndog,3.6,1.2,2.3668\n"
KEYS = {"causes", "says", "fix", "max_abs_error", "bits", "certainty", "label_smoothing", "temperature", "same",
        "separated_by", "rivals"}  # fmt: skip


def run(*words: Any) -> Result:
    return CliRunner().invoke(main, ["diagnose", *(str(w) for w in words)], prog_name="labelsmooth")


def answer(*words: Any) -> dict[str, Any]:
    done = run(*words, "--json")
    assert done.exit_code in {0, 1}, done.output
    return dict(json.loads(done.stdout))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "batch.csv"
    path.write_text(MINE, encoding="utf-8")
    return path


def test_a_column_of_the_file_is_explained_and_the_exit_code_is_1(file: Path) -> None:
    done = run(file, "--losses", "mine", "--eps", 0.1, "--to", "spreadsheet")
    assert done.exit_code == 1
    assert "log base 10" in done.stdout
    assert "fix:  replace LOG by LN" in done.stdout


def test_numbers_that_agree_have_exit_code_0(tmp_path: Path) -> None:
    path = tmp_path / "right.csv"
    path.write_text(RIGHT, encoding="utf-8")
    done = run(path, "--losses", "mine", "--eps", 0.1)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (
        0,
        "agrees: 3 numbers (4 decimals) are torch's at ε = 0.1 (certain)",
    )


def test_the_json_has_its_keys(file: Path) -> None:
    found = answer(file, "--losses", "mine", "--eps", 0.1)
    assert (found["schema_version"], found["verdict"], found["numbers"]) == (1, "one_cause", 4)
    assert set(found["matches"][0]) == KEYS
    assert found["matches"][0]["causes"] == ["log base 10"]


@pytest.mark.slow
def test_losses_in_a_file_of_their_own_and_in_an_archive_are_the_same(file: Path, tmp_path: Path) -> None:
    bare, mine, archive = tmp_path / "bare.csv", tmp_path / "mine.txt.csv", tmp_path / "batch.npz"
    bare.write_text(BARE, encoding="utf-8")
    mine.write_text("mine\n0.1439\n0.9533\n1.0279\n0.5486\n", encoding="utf-8")
    z = [[4.2, -2.4], [1.6, -0.6], [3.6, 1.2], [-0.5, 0.5]]
    np.savez(archive, logits=z, labels=[0, 1, 1, 0], losses=[0.1439, 0.9533, 1.0279, 0.5486])
    column, apart, inside = (answer(file, "--losses", "mine"), answer(bare, "--losses", mine), answer(archive))
    agree(apart["matches"][0]["bits"], column["matches"][0]["bits"], budget=1e-9, what="a file of their own")
    assert [x["matches"][0]["causes"] for x in (column, apart, inside)] == [["log base 10"]] * 3


def test_one_number_keeps_the_digits_it_was_typed_with(tmp_path: Path) -> None:
    path = tmp_path / "bare.csv"
    path.write_text(BARE, encoding="utf-8")
    assert answer(path, "--loss", "0.6700", "--eps", 0.1)["precision"] == "4 decimals"
    assert answer(path, "--loss", "0.67", "--eps", 0.1)["precision"] == "2 decimals"


@pytest.mark.slow
def test_all_lists_what_is_hidden_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "bare.csv"
    path.write_text(BARE, encoding="utf-8")
    short, full = (run(path, "--loss", "0.67", *more).stdout for more in ((), ("--all",)))
    assert "--all lists them" in short
    assert "--all lists them" not in full
    assert len(full) > len(short)


def test_a_floor_needs_no_file() -> None:
    found = answer("--floor", "0.44", "--classes", 1000, "--eps", 0.1)
    assert found["matches"][0]["causes"] == ["log base 10"]


def test_probabilities_are_taken_with_the_option_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "probabilities.csv"
    path.write_text("label,a,b,mine\na,0.9,0.1,0.0458\nb,0.2,0.8,0.0969\na,0.7,0.3,0.1549\n", encoding="utf-8")
    assert run(path, "--losses", "mine", "--eps", 0).exit_code == 2
    assert answer(path, "--losses", "mine", "--eps", 0, "--probs")["matches"][0]["causes"] == ["log base 10"]


@pytest.mark.parametrize(
    ("words", "named"),
    [((), "which file?"), (("{file}",), "which numbers?"), (("{file}", "--losses", "mime"), "did you mean 'mine'"),
     (("{file}", "--losses", "mine", "--loss", "1"), "not both"), (("--floor", "0.4"), "--classes"),
     (("{file}", "--losses", "mine", "--eps", "2"), "between 0 and 1"), (("{file}", "--loss", "many"), "must be numbers"),
     (("{file}", "--losses", "mine", "--to", "tourch"), "unknown convention"), (("none.csv", "--loss", "1"), "none.csv"),
     (("--floor", "x", "--classes", "4"), "numbers")],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line_and_exit_code_2(words: tuple[str, ...], named: str, file: Path) -> None:
    done = run(*(word.format(file=file) for word in words))
    assert done.exit_code == 2, done.output
    assert not done.stdout
    assert len(done.stderr.strip().splitlines()) == 1
    assert named in done.stderr
