"""The Steps sheet: one block a step, stacked downward, every number a live formula."""

from __future__ import annotations

from typing import Any

from ._panel import Panel
from ._style import Styles
from .book import SHOWN, TOP, Book
from .layout import FIRST_CLASS, LABEL_COLUMN, letters

PAGE_ROWS, PAGE_CHARACTERS = 30, 88  # what an A4 landscape page takes at full size
MAX_MARKED = 20_000  # cells whose right class is marked by a conditional format


def write_steps(sheet: Any, book: Book, styles: Styles, *, fill: bool = True) -> None:
    """Write the head and every block; without `fill` the steps' cells are left for a student."""
    _head(sheet, book, styles, fill=fill)
    panel = Panel(
        sheet, book.layout, book.values, styles, book.problem.row_names, book.problem.class_names, numbered=True
    )
    panel.write(fill=fill)
    if "label" in book.layout.places:
        _labels(sheet, book, styles)
        _mark_right_class(sheet, book, styles)
    sheet.set_column(0, 0, 21)
    sheet.set_column(1, 2, 10)
    sheet.set_column(FIRST_CLASS, max(book.layout.width, 9) - 1, 11)
    sheet.freeze_panes(TOP, FIRST_CLASS)
    _print_setup(sheet, book)


def _head(sheet: Any, book: Book, styles: Styles, *, fill: bool) -> None:
    """The rows that stay in sight: ε, the loss, and the classes."""
    case, given = book.problem.case, book.problem.given
    sheet.write_string(0, 0, "Label smoothing, step by step", styles("title"))
    sheet.set_row(0, 26)
    for row, title in enumerate(("smoothing ε", "classes K", "rows N"), start=1):
        sheet.write_string(row, 0, title, styles("bold"))
    if case.smoothing:
        sheet.write_string(1, 1, "one a row", styles("grey"))
    else:
        sheet.write_number(1, 1, float(given["epsilon"]), styles("input"))
        _only_shares(sheet)
    index, logits = book.layout.places["class_index"], book.layout.places["logits"]
    first, last = letters(FIRST_CLASS), letters(FIRST_CLASS + book.classes - 1)
    sheet.write_formula(2, 1, f"=COLUMNS({first}{index.row + 1}:{last}{index.row + 1})", styles("whole"), book.classes)
    sheet.write_formula(
        3, 1, f"=ROWS({first}{logits.row + 1}:{first}{logits.row + logits.rows})", styles("whole"), book.rows
    )
    shown = (("loss", f"{case.reduction} loss"), ("loss_floor", "its floor")) if fill else ()
    for word, title in shown:
        if word in book.chain:
            row, column = SHOWN[word].row, SHOWN[word].column
            sheet.write_string(row, column - 1, title, styles("bold"))
            sheet.write_formula(row, column, f"={word}", styles("result"), book.values[word].item())
    if "ignore_index" in book.chain:
        sheet.write_string(3, 3, "ignored label", styles("bold"))
        sheet.write_number(3, 4, given["ignore_index"], styles("input_whole"))
    sheet.write_string(1, 5, f"convention: {book.problem.convention.name}", styles("aside_bold"))
    sheet.write_string(2, 5, case.family.says, styles("aside"))
    if case.weighting is not None:
        sheet.write_string(3, 5, f"class weights: {case.weighting.says}", styles("aside"))
    sheet.write_string(index.row, 0, "class number k", styles("grey"))
    sheet.write_string(index.row + 1, 0, "class", styles("head_left"))
    for column in (1, 2):
        sheet.write_blank(index.row + 1, column, None, styles("head_left"))
    for k, name in enumerate(book.problem.class_names):
        sheet.write_number(index.row, FIRST_CLASS + k, k, styles("grey_right"))
        sheet.write_formula(index.row + 1, FIRST_CLASS + k, f"=Lists!$B${5 + k}", styles("head"), name)


def _print_setup(sheet: Any, book: Book) -> None:
    """A4 landscape, the head on every page, and no block torn in two where one fits a page."""
    sheet.set_landscape()
    sheet.print_area(0, 0, book.layout.end, max(book.layout.width, 9) - 1)
    sheet.set_margins(left=0.4, right=0.4)
    sheet.repeat_rows(0, TOP - 1)
    wide = 41 + 11 * max(book.layout.width - FIRST_CLASS, 6)
    scale = max(10, min(100, 100 * PAGE_CHARACTERS // wide))
    sheet.set_print_scale(scale)
    room = 100 * PAGE_ROWS // scale - TOP
    breaks, start = [], TOP
    for block in book.layout.blocks:
        if block.end - start > room and block.top > start:
            breaks.append(block.top)
            start = block.top
    sheet.set_h_pagebreaks(breaks[:1000])


def _only_shares(sheet: Any) -> None:
    """The yellow cell takes a number from 0 to 1, and says so."""
    sheet.data_validation(1, 1, 1, 1, {
        "validate": "decimal", "criteria": "between", "minimum": 0, "maximum": 1,
        "input_title": "Smoothing", "input_message": "Type a number from 0 to 1. Everything follows.",
        "error_title": "Smoothing", "error_message": "Smoothing is a number from 0 to 1."})  # fmt: skip
    sheet.write_comment(
        1,
        1,
        "ε, the share of the label that is given away. 0 is plain cross-entropy, 0.1 is the usual choice.",
        {"x_scale": 2},
    )


def _labels(sheet: Any, book: Book, styles: Styles) -> None:
    """Beside each label the name of its class, and a drop-down of the class numbers."""
    place = book.layout.places["label"]
    ignores = "ignore_index" in book.chain
    last = 4 + book.classes + (1 if ignores else 0)
    sheet.data_validation(place.row, place.column, place.row + book.rows - 1, place.column, {
        "validate": "list", "source": f"=Lists!$A$5:$A${last}",
        "error_title": "Label", "error_message": "Choose a class number from the list."})  # fmt: skip
    if book.kind == "compact":
        return
    for n, label in enumerate(book.problem.given["label"]):
        here = f"$B{place.row + n + 1}"
        formula = f"INDEX(Lists!$B$5:$B${4 + book.classes},{here}+1)"
        counts = not ignores or label != book.problem.given["ignore_index"]
        if ignores:
            formula = f'IF({here}=ignore_index,"not counted",{formula})'
        sheet.write_formula(
            place.row + n,
            LABEL_COLUMN + 1,
            f"={formula}",
            styles("label_name"),
            book.problem.class_names[label] if counts else "not counted",
        )


def _mark_right_class(sheet: Any, book: Book, styles: Styles) -> None:
    """Underline the right class in every block, by a format that follows the label."""
    if book.rows * book.classes > MAX_MARKED:
        return
    label = book.layout.places["label"]
    for block in book.layout.blocks:
        for value in block.values:
            if value.axes == "nk":
                place = book.layout.places[value.word]
                rule = f"={letters(place.column)}${TOP - 1}=$B{label.row + 1}"
                sheet.conditional_format(place.row, place.column, place.row + book.rows - 1, place.column + book.classes - 1,
                                         {"type": "formula", "criteria": rule, "format": styles("right_class")})  # fmt: skip
