"""`labelsmooth page` as a user meets it: what is written, said and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("xlsxwriter")
from click.testing import CliRunner, Result

from agree import FLOAT64, agree
from labelsmooth._paging import PUBLISHED, post_presets
from labelsmooth.cli import main
from labelsmooth.maths.steps import chain
from labelsmooth.maths.trace import Trace
from labelsmooth.workbook.book import make_book

BATCH = "id,label,cat,dog\na,cat,4.2,-2.4\nb,dog,1.6,-0.6\n"


def run(*words: Any) -> Result:
    return CliRunner().invoke(main, ["page", *(str(w) for w in words)], prog_name="labelsmooth")


def presets_of(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8").split('id="data">')[1].split("</script>")[0])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "batch.csv"
    path.write_text(BATCH, encoding="utf-8")
    return path


def test_without_a_file_the_posts_examples_are_written(tmp_path: Path) -> None:
    done = run("-o", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    assert "loads nothing" in done.stdout
    data = presets_of(tmp_path / "page.html")
    assert [p["key"] for p in data["presets"]] == ["post", "pets"]
    assert data["eps"] == 0.1
    assert (tmp_path / "page.html").stat().st_size < 150_000


def test_a_file_comes_first_and_opens_with_what_was_asked_for(file: Path, tmp_path: Path) -> None:
    done = run(file, "-o", tmp_path / "page.html", "--eps", "0.25", "--convention", "fairseq", "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["path"] == str(tmp_path / "page.html")
    assert answer["schema_version"] == 1
    data = presets_of(tmp_path / "page.html")
    assert (data["eps"], data["families"][data["family"]]["name"]) == (0.25, "others")
    first = data["presets"][0]
    assert (first["title"], first["classes"], first["labels"]) == ("batch.csv", ["cat", "dog"], [0, 1])


def test_rows_that_are_not_shown_are_said(tmp_path: Path) -> None:
    lines = [f"{n % 2},{n / 7},{1 - n / 3}" for n in range(40)]
    (tmp_path / "many.csv").write_text("label,0,1\n" + "\n".join(lines) + "\n", encoding="utf-8")
    done = run(tmp_path / "many.csv", "-o", tmp_path / "page.html")
    assert "12 of 40 rows" in done.stderr
    few = run(tmp_path / "many.csv", "-o", tmp_path / "few.html", "--rows", "3")
    assert few.stderr == ""
    assert presets_of(tmp_path / "few.html")["presets"][0]["labels"] == [0, 1, 0]


def test_the_published_losses_are_the_posts_and_the_chains() -> None:
    post, pets = post_presets()
    assert post.published == ()
    agree(Trace(pets.problem, chain(pets.problem.case)).row_loss.round(4), PUBLISHED, budget=FLOAT64, what="the post's")


def test_the_cells_are_those_of_the_workbook() -> None:
    for preset in post_presets():
        layout = make_book(preset.problem, layout="full").layout
        for word, cells in preset.formulas.items():
            step = layout.chain[word]
            for n, (cell, formula) in zip(preset.rows, cells, strict=True):
                at = (n if "n" in step.axes else 0, int(preset.problem.given["label"][n]) if "k" in step.axes else 0)
                assert (cell, formula) == (layout.places[word].cell(*at), layout.formula(step, *at))


def test_a_kl_convention_says_where_its_number_is(file: Path, tmp_path: Path) -> None:
    done = run(file, "-o", tmp_path / "kl.html", "--convention", "espnet")
    assert done.exit_code == 0, done.output
    assert "gives the KL alone" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope.csv"], "nope.csv: no such file"),
        (["--eps", "2"], "label_smoothing must be between 0 and 1, got 2"),
        (["--convention", "gaussian"], "cannot show the target 'gaussian'"),
        (["--convention", "torhc"], "unknown convention 'torhc'"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    done = run(*words, "-o", tmp_path / "page.html")
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_too_many_classes_are_refused_in_one_line(tmp_path: Path) -> None:
    header = ",".join(str(k) for k in range(101))
    (tmp_path / "wide.csv").write_text(f"label,{header}\n3,{','.join('0.5' for _ in range(101))}\n", encoding="utf-8")
    done = run(tmp_path / "wide.csv", "-o", tmp_path / "page.html")
    assert done.exit_code == 2
    assert done.stderr.strip().endswith("at most 100 classes, got 101: use fewer columns")


def test_a_page_is_not_overwritten_without_force(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.write_text("mine", encoding="utf-8")
    done = run("-o", target)
    assert done.exit_code == 2
    assert "pass --force" in done.stderr
    assert target.read_text(encoding="utf-8") == "mine"
    assert run("-o", target, "--force").exit_code == 0
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert run("-o", tmp_path / "no" / "page.html").exit_code == 2
