"""The student's copy: the steps are blank and yellow, hidden sheets hold the answers and mark what is typed.

The answers are the same live formulas at the same addresses on another sheet, so they follow a changed ε, logit or label.
A row of a block is marked as a whole: "not filled in", "right", "look again".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ._panel import Panel
from ._steps import write_steps
from ._style import Styles
from .book import Book
from .layout import Place, letters, moved

MARKING_TOLERANCE = 0.0005  # relative above 1: four significant digits, or three decimals, are enough


def write_student(sheets: dict[str, Any], book: Book, styles: Styles) -> None:
    """Write Steps without its answers, the hidden answers, and the marks."""
    steps = sheets["Steps"]
    write_steps(steps, book, styles, fill=False)
    answers = Panel(sheets["Answers"], moved(book.layout, "Answers"), book.values, styles)
    for value in book.chain.steps:
        answers.write_step(value)
        _mark(sheets["Marks"], book.layout.places[value.word], styles)
    _verdicts(steps, book, styles)
    cells = book.layout.formulas
    area = f"Marks!$A$1:${letters(book.layout.width)}${book.layout.end}"
    steps.write_string(1, 3, "right so far", styles("bold"))
    steps.write_formula(1, 4, f"=SUM({area})", styles("whole"), 0)
    steps.write_string(2, 3, "of", styles("bold"))
    steps.write_number(2, 4, cells, styles("whole"))
    for name in ("Answers", "Marks"):
        sheets[name].hide()


def student_names(book: Book) -> Book:
    """The book whose names stand for the answers: formulas on the hidden sheet call single numbers by name."""
    return replace(book, layout=moved(book.layout, "Answers"))


def _mark(sheet: Any, place: Place, styles: Styles) -> None:
    """1 in every cell whose typed number is the answer, within the tolerance."""
    down, across = place.shape
    for n in range(down):
        for k in range(across):
            at = place.cell(n, k)
            right = f"ABS(Steps!{at}-Answers!{at})<=tolerance*(1+ABS(Answers!{at}))"
            sheet.write_formula(
                place.row + n, place.column + k, f"=IF(COUNT(Steps!{at})=0,0,IF({right},1,0))", styles("whole"), 0
            )


def _verdicts(sheet: Any, book: Book, styles: Styles) -> None:
    """One word a row of a block, to the right of everything."""
    column = max(book.layout.width, 9) + 1
    sheet.set_column(column, column, 15)
    for block in book.layout.blocks:
        todo = [book.layout.places[v.word] for v in block.values if v.formula is not None]
        if todo:
            sheet.write_string(block.heading, column, "your row", styles("head"))
            down = max(p.shape[0] for p in todo)
            for n in range(down):
                _verdict(sheet, block.first + n, column, todo, styles)
        for value in block.below:
            if value.formula is not None:
                place = book.layout.places[value.word]
                _verdict(sheet, place.row, column, [place], styles)
    for word, style in (("right", "ok"), ("look again", "bad")):
        sheet.conditional_format(6, column, book.layout.end, column,
                                 {"type": "cell", "criteria": "==", "value": f'"{word}"', "format": styles(style)})  # fmt: skip


def _verdict(sheet: Any, row: int, column: int, places: list[Place], styles: Styles) -> None:
    first = letters(min(p.column for p in places))
    last = letters(max(p.column + p.shape[1] for p in places) - 1)
    cells = sum(p.shape[1] for p in places)
    area = f"{first}{row + 1}:{last}{row + 1}"
    formula = f'=IF(COUNT({area})=0,"not filled in",IF(SUM(Marks!{area})={cells},"right","look again"))'
    sheet.write_formula(row, column, formula, styles("verdict"), "not filled in")
