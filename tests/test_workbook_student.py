"""The student's copy: blank, marking itself, and with the answers out of sight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("xlsxwriter")

from cases import examples
from labelsmooth.maths.conventions import FAMILIES
from labelsmooth.maths.trace import prepare
from labelsmooth.parity.demo import example
from labelsmooth.workbook.book import Book, make_book
from labelsmooth.workbook.recalc import recalculate
from labelsmooth.workbook.write import save

pytestmark = pytest.mark.usefixtures("ironcalc_here")


@pytest.fixture
def copy(tmp_path: Path) -> tuple[Path, Book]:
    book = make_book(example("post_cat_dog"))
    save(book, tmp_path / "copy.xlsx", blank=True)
    return tmp_path / "copy.xlsx", book


def filled(book: Book, word: str, *, times: float = 1.0) -> dict[str, float]:
    """The right numbers of a step, as a student types them, to four decimals."""
    place, numbers = book.layout.places[word], book.values[word]
    down, across = place.shape
    return {
        f"Steps!{place.cell(n, k)}": round(float(numbers[n, k]), 4) * times for n in range(down) for k in range(across)
    }


def marks(path: Path, changes: dict[str, float]) -> list[str]:
    pytest.importorskip("ironcalc")
    done = recalculate(path, changes=changes)
    return [v for v in done.values["Steps"].values() if v in {"right", "look again", "not filled in"}]


def test_the_steps_of_the_copy_are_blank_and_the_answers_hidden(copy: tuple[Path, Book]) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    path, book = copy
    sheets = openpyxl.load_workbook(path)
    for step in book.chain.steps:
        place = book.layout.places[step.word]
        assert sheets["Steps"][place.cell()].value is None
        assert str(sheets["Answers"][place.cell()].value).startswith("=")
        assert not sheets["Steps"][place.cell()].protection.locked
    assert {name: sheets[name].sheet_state for name in sheets.sheetnames} == {
        "Read me": "visible", "Steps": "visible", "Lists": "visible", "Answers": "hidden", "Marks": "hidden"}  # fmt: skip


def test_no_formula_of_a_step_stands_in_sight(copy: tuple[Path, Book]) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    path, book = copy
    shown = [
        str(c.value) for row in openpyxl.load_workbook(path)["Steps"].iter_rows() for c in row if c.value is not None
    ]
    for step in book.chain.steps:
        formula = book.layout.formula(step)
        assert not [text for text in shown if formula in text and len(formula) > 6], step.word


def test_an_untouched_copy_is_not_filled_in(copy: tuple[Path, Book]) -> None:
    path, _ = copy
    assert set(marks(path, {})) == {"not filled in"}


@pytest.mark.parametrize("word", ["one_hot", "target", "softmax", "log_softmax", "row_loss", "gradient"])
def test_right_numbers_to_four_decimals_are_right_and_wrong_ones_are_not(word: str, copy: tuple[Path, Book]) -> None:
    path, book = copy
    right = filled(book, word)
    place = book.layout.places[word]
    assert marks(path, right).count("right") == place.rows
    cell = f"Steps!{place.cell(1, 1)}"
    once = {**right, cell: right.get(cell, right[f"Steps!{place.cell(1, 0)}"]) + 0.01}
    assert (marks(path, once).count("right"), marks(path, once).count("look again")) == (place.rows - 1, 1)


def test_log_for_ln_is_to_be_looked_at_again(copy: tuple[Path, Book]) -> None:
    path, book = copy
    wrong = filled(book, "log_softmax", times=1 / np.log(10))
    assert marks(path, wrong).count("right") == 0


def test_the_answers_follow_another_epsilon(copy: tuple[Path, Book]) -> None:
    path, book = copy
    numbers = filled(book, "row_loss")
    assert marks(path, {**numbers, "Steps!B2": 0.3}).count("right") == 0
    other: Any = book.values["label_loss"][:, 0] * 0.7 + book.values["prior_loss"][:, 0] * 0.3
    place = book.layout.places["row_loss"]
    typed = {f"Steps!{place.cell(n)}": float(x) for n, x in enumerate(other)}
    assert marks(path, {**typed, "Steps!B2": 0.3}).count("right") == 5


def test_the_score_counts_the_right_cells(copy: tuple[Path, Book]) -> None:
    pytest.importorskip("ironcalc")
    path, book = copy
    assert recalculate(path).values["Steps"]["E2"] == 0
    assert recalculate(path, changes=filled(book, "target")).values["Steps"]["E2"] == 10


def everything(book: Book) -> dict[str, float]:
    """Every answer, as the sheet holds it: a number that stands for infinity where a float64 is infinite."""
    answers = {}
    for step in book.chain.steps:
        place, numbers = book.layout.places[step.word], np.clip(book.values[step.word], -9.99e307, 9.99e307)
        answers |= {f"Steps!{place.cell(n, k)}": float(numbers[n, k]) for n, k in np.ndindex(place.shape)}
    return answers


def hairy() -> Book:
    """A mask, weights, a prior a row, soft labels, an ignored row and one smoothing a row at once."""
    (example,) = [e for e in examples(FAMILIES["uniform"], "label") if e.name.count(",") > 5]
    return make_book(example.trace().problem)


@pytest.mark.parametrize("of", ["post", "hairy", "infinite"])
def test_a_copy_with_every_answer_in_it_is_right_everywhere(of: str, tmp_path: Path) -> None:
    pytest.importorskip("ironcalc")
    infinite = prepare([[1.0, 2.0, 3.0]], [0], 0.0, class_mask=[1, 1, 0])
    book = make_book(example("post_cat_dog")) if of == "post" else hairy() if of == "hairy" else make_book(infinite)
    save(book, tmp_path / "copy.xlsx", blank=True)
    answers = everything(book)
    done = recalculate(tmp_path / "copy.xlsx", changes=answers).values["Steps"]
    assert {v for v in done.values() if v in {"right", "look again", "not filled in"}} == {"right"}
    openpyxl = pytest.importorskip("openpyxl")
    assert done["E2"] == openpyxl.load_workbook(tmp_path / "copy.xlsx")["Steps"]["E3"].value == len(answers)


def test_a_row_that_is_half_filled_in_is_to_be_looked_at_again(copy: tuple[Path, Book]) -> None:
    path, book = copy
    cell = f"Steps!{book.layout.places['target'].cell(2, 0)}"
    found = marks(path, {cell: filled(book, "target")[cell]})
    assert (found.count("look again"), found.count("right")) == (1, 0)


def test_a_step_may_be_rounded_to_four_digits_and_no_further(copy: tuple[Path, Book]) -> None:
    path, book = copy
    place, losses = book.layout.places["row_loss"], book.values["row_loss"][:, 0]
    for off, right in ((0.0004, 5), (0.002, 0)):
        typed = {f"Steps!{place.cell(n)}": float(loss) + off for n, loss in enumerate(losses)}
        assert marks(path, typed).count("right") == right


def test_no_result_stands_on_a_sheet_that_can_be_seen(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    for book in (make_book(example("post_cat_dog")), hairy()):
        save(book, tmp_path / "copy.xlsx", blank=True, force=True)
        sheets = openpyxl.load_workbook(tmp_path / "copy.xlsx", data_only=True)
        shown = [
            cell.value
            for sheet in sheets
            if sheet.sheet_state == "visible"
            for row in sheet.iter_rows()
            for cell in row
            if isinstance(cell.value, float)
        ]
        given = {float(x) for word in book.chain.inputs for x in book.values[word.word].ravel()}
        for word in ("row_loss", "loss", "softmax", "log_softmax", "gradient"):
            answers = {float(x) for x in book.values[word].ravel()} - given - {0.0, 1.0}
            assert answers
            assert not answers & set(shown), word


def test_hidden_sheets_are_protected_too(copy: tuple[Path, Book]) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    sheets = openpyxl.load_workbook(copy[0])
    assert all(sheet.protection.sheet for sheet in sheets)
    assert all(
        cell.protection.locked for name in ("Answers", "Marks") for row in sheets[name].iter_rows() for cell in row
    )


def test_marks_stand_beside_the_rows_and_cover_no_step(copy: tuple[Path, Book]) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    path, book = copy
    steps = openpyxl.load_workbook(path)["Steps"]
    column = max(book.layout.width, 9) + 2  # counted from 1
    for block in book.layout.blocks:
        if any(v.formula is not None for v in block.values):
            assert steps.cell(block.heading + 1, column).value == "your row"
    assert column > max(place.column + place.shape[1] for place in book.layout.places.values())
