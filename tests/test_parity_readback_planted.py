"""A workbook that somebody edited: each planted fault is named with its cell, and what is no fault is a note."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cases import one_in

openpyxl: Any = pytest.importorskip("openpyxl")
pytest.importorskip("ironcalc")
pytest.importorskip("xlsxwriter")
from labelsmooth.errors import WorkbookError  # noqa: E402
from labelsmooth.parity.demo import example  # noqa: E402
from labelsmooth.parity.readback import check_book, check_books  # noqa: E402
from labelsmooth.workbook.book import Book, make_book  # noqa: E402
from labelsmooth.workbook.write import save  # noqa: E402

Edit = Callable[[Any, Book], str]
pytestmark = pytest.mark.usefixtures("ironcalc_here")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Book]:
    book = make_book(example("post_five_animals"))
    path = tmp_path_factory.mktemp("books") / "book.xlsx"
    save(book, path)
    return path, book


def edited(original: tuple[Path, Book], target: Path, edit: Edit) -> str:
    """Edit a copy as a person would; return the cell that was touched."""
    path, book = original
    sheets = openpyxl.load_workbook(path)
    cell = edit(sheets["Steps"], book)
    sheets.save(target)
    return f"Steps!{cell}"


def log_for_ln(steps: Any, book: Book) -> str:
    cell = book.layout.places["log_softmax"].cell(1, 2)
    steps[cell] = steps[cell].value.replace("LN(", "LOG(")
    return cell


def pasted(steps: Any, book: Book) -> str:
    cell = book.layout.places["softmax"].cell(3, 1)
    steps[cell] = float(book.values["softmax"][3, 1])
    return cell


def another_row(steps: Any, book: Book) -> str:
    places = book.layout.places
    cell = places["row_loss"].cell(3)
    steps[cell] = steps[places["row_loss"].cell(2)].value
    return cell


def deleted(steps: Any, book: Book) -> str:
    cell = book.layout.places["target"].cell(0, 0)
    steps[cell] = None
    return cell


def text_for_a_number(steps: Any, book: Book) -> str:
    cell = book.layout.places["logits"].cell(2, 2)
    steps[cell] = "two"
    return cell


FAULTS = [log_for_ln, pasted, another_row, deleted, text_for_a_number]


@pytest.mark.parametrize("fault", one_in(4, FAULTS))
def test_a_planted_fault_is_named_with_its_cell(fault: Edit, original: tuple[Path, Book], tmp_path: Path) -> None:
    assert check_book(original[0]).exit_code == 0
    cell = edited(original, tmp_path / "book.xlsx", fault)
    verdict = check_book(tmp_path / "book.xlsx")
    assert verdict.exit_code == 1
    fatal = [f for f in verdict.findings if f.fatal]
    assert [f.cell for f in fatal] == [cell], [f.message for f in fatal]
    assert cell in fatal[0].message
    assert cell in verdict.line


def test_log_is_called_log(original: tuple[Path, Book], tmp_path: Path) -> None:
    edited(original, tmp_path / "book.xlsx", log_for_ln)
    message = check_book(tmp_path / "book.xlsx").findings[0].message
    assert "LOG" in message
    assert "LN" in message


def test_changed_inputs_are_a_note(original: tuple[Path, Book], tmp_path: Path) -> None:
    def change(steps: Any, book: Book) -> str:
        steps["B2"] = 0.25
        steps[book.layout.places["label"].cell(0)] = 3
        steps[book.layout.places["logits"].cell(4, 4)] = -7.5
        return "B2"

    edited(original, tmp_path / "book.xlsx", change)
    verdict = check_book(tmp_path / "book.xlsx")
    assert verdict.exit_code == 0, verdict.line
    said = " ".join(f.message for f in verdict.findings)
    assert "epsilon" in said
    assert "0.25" in said
    assert not any(f.fatal for f in verdict.findings)


@pytest.mark.slow
def test_the_same_formula_written_otherwise_is_a_note_and_a_lucky_one_is_not(
    original: tuple[Path, Book], tmp_path: Path
) -> None:
    def otherwise(steps: Any, book: Book) -> str:
        cell = book.layout.places["loss"].cell()
        steps[cell] = steps[cell].value.replace("SUM(", "n_rows*AVERAGE(")
        return cell

    def lucky(steps: Any, book: Book) -> str:
        cell = book.layout.places["off"].cell()
        steps[cell] = "=0.1/n_classes"  # right at ε = 0.1 only
        return cell

    edited(original, tmp_path / "a.xlsx", otherwise)
    assert check_book(tmp_path / "a.xlsx").exit_code == 0
    cell = edited(original, tmp_path / "b.xlsx", lucky)
    verdict = check_book(tmp_path / "b.xlsx")
    assert verdict.exit_code == 1
    assert [f.cell for f in verdict.findings if f.fatal] == [cell]


@pytest.mark.slow
def test_a_book_that_went_through_libreoffice_is_still_right(
    original: tuple[Path, Book], tmp_path: Path, soffice: str
) -> None:
    shutil.copyfile(original[0], tmp_path / "book.xlsx")
    words = [
        soffice,
        "--headless",
        f"-env:UserInstallation=file://{tmp_path}/profile",
        "--convert-to",
        "xlsx:Calc MS Excel 2007 XML",
    ]
    (tmp_path / "out").mkdir()
    subprocess.run(
        [*words, "--outdir", str(tmp_path / "out"), str(tmp_path / "book.xlsx")],
        check=True,
        capture_output=True,
        timeout=120,
    )
    verdict = check_book(tmp_path / "out" / "book.xlsx")
    assert verdict.exit_code == 0, verdict.line
    cell = edited((tmp_path / "out" / "book.xlsx", original[1]), tmp_path / "planted.xlsx", log_for_ln)
    assert [f.cell for f in check_book(tmp_path / "planted.xlsx").findings if f.fatal] == [cell]


@pytest.mark.slow
def test_students_get_a_line_each_and_a_broken_file_stops_nobody(tmp_path: Path) -> None:
    book = make_book(example("post_cat_dog"))
    for name in ("untouched", "half", "wrong"):
        save(book, tmp_path / f"{name}.xlsx", blank=True)
    target = book.layout.places["target"]
    for name, first in (("half", 0.95), ("wrong", 0.9)):
        sheets = openpyxl.load_workbook(tmp_path / f"{name}.xlsx")
        for n in range(5):
            for k in range(2):
                sheets["Steps"][target.cell(n, k)] = float(book.values["target"][n, k])
        sheets["Steps"][target.cell(0, 0)] = first
        sheets.save(tmp_path / f"{name}.xlsx")
    (tmp_path / "broken.xlsx").write_bytes(b"PK\x03\x04 and no more")
    names = ("untouched", "half", "wrong", "broken")
    verdicts = dict(zip(names, check_books([tmp_path / f"{n}.xlsx" for n in names]), strict=True))
    assert {n: v.exit_code for n, v in verdicts.items()} == {"untouched": 0, "half": 0, "wrong": 1, "broken": 2}
    assert (verdicts["half"].right, verdicts["half"].wrong) == (10, 0)
    assert f"Steps!{target.cell(0, 0)}" in verdicts["wrong"].line
    assert "0.95" not in verdicts["wrong"].line  # the answer stays with the teacher
    assert all(v.line.count("\n") == 0 for v in verdicts.values())


def test_somebody_elses_workbook_is_refused_in_one_line(shared: Path) -> None:
    with pytest.raises(WorkbookError, match="not made by labelsmooth") as refusal:
        check_book(shared)
    assert "\n" not in str(refusal.value)
