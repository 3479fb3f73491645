"""The Lists sheet: class numbers and names, and what is needed to know the file again."""

from __future__ import annotations

from typing import Any

from labelsmooth.maths.conventions import convention_named

from ._panel import write_name
from ._style import Styles
from .book import Book
from .layout import Place


def write_lists(sheet: Any, book: Book, styles: Styles, *, tolerance: float) -> None:
    """Class numbers and names, the source of the drop-downs; and what a reader needs to know the file again."""
    sheet.write_string(0, 0, "Lists", styles("title"))
    sheet.write_string(1, 0, "class numbers and names; the drop-downs of Steps read them", styles("subtitle"))
    sheet.write_string(3, 0, "number", styles("head"))
    sheet.write_string(3, 1, "class", styles("head_left"))
    for k, name in enumerate(book.problem.class_names):
        sheet.write_number(4 + k, 0, k, styles("whole"))
        write_name(sheet, 4 + k, 1, name, styles)
    if "ignore_index" in book.chain:
        sheet.write_formula(4 + book.classes, 0, "=ignore_index", styles("whole"), book.problem.given["ignore_index"])
        sheet.write_string(4 + book.classes, 1, "this row does not count", styles("grey"))
    sheet.write_string(3, 3, "setting", styles("head_left"))
    sheet.write_string(3, 4, "value", styles("head_left"))
    for line, (name, value) in enumerate(settings(book).items()):
        sheet.write_string(4 + line, 3, name, styles("name"))
        sheet.write_string(4 + line, 4, value, styles("name"))
    line = 4 + len(settings(book))
    sheet.write_string(line, 3, "tolerance", styles("name"))
    sheet.write_number(line, 4, tolerance, styles("tiny"))
    sheet.set_column(0, 0, 10)
    sheet.set_column(1, 1, 30)
    sheet.set_column(3, 4, 20)
    sheet.fit_to_pages(1, 0)


def tolerance_place(book: Book) -> Place:
    """Where the tolerance stands."""
    return Place("Lists", 4 + len(settings(book)), 4, "")


def settings(book: Book) -> dict[str, str]:
    """What the file was made with, so that it can be read back."""
    case, row = book.problem.case, book.problem.convention
    return {
        "made by": "labelsmooth",
        "layout": book.kind,
        "convention": row.name if convention_named(row.name) == row else row.full_name,
        "weighting": case.weighting.name if case.weighting else "",
        "reduction": case.reduction,
        "labels": "soft" if case.soft else "numbers",
        "prior": case.prior,
        "smoothing": case.smoothing,
        "mask": case.mask,
        "ignored": "yes" if case.ignored else "",
        "exponentials": "both" if case.as_post else "shifted",
        "rows": str(book.rows),
        "classes": str(book.classes),
        "inputs": " ".join(f"{word}={number:.15g}" for word, number in book.fingerprint.items()),
    }
