"""A book as an .xlsx file: live formulas, the true numbers cached beside them, notes, charts.

XlsxWriter writes it because it can cache a value with every formula, so a viewer that does not calculate shows the truth
and not zeros. Two rules keep strangers' text harmless: class and row names are written as strings and are never part of a
formula, a sheet name or a chart's text (charts refer to cells); and no formula uses a function outside the small set that
every spreadsheet program has.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xlsxwriter
from numpy.typing import ArrayLike
from xlsxwriter.exceptions import FileCreateError
from xlsxwriter.worksheet import Worksheet

from labelsmooth.files import write_atomically
from labelsmooth.maths.trace import prepare

from ._checks import write_checks
from ._lists import tolerance_place, write_lists
from ._play import write_play
from ._readme import write_readme
from ._steps import write_steps
from ._student import MARKING_TOLERANCE, student_names, write_student
from ._style import TOLERANCE, Styles
from ._torch import changed_place, write_torch
from .book import Book, TorchRows, finite, make_book

LONGEST_TEXT = 32_767  # characters a cell can hold


@dataclass(frozen=True)
class Written:
    """What was written: the file, its sheets, and how many formulas stand in it."""

    path: str
    sheets: tuple[str, ...]
    formulas: int
    rows: int
    classes: int
    kind: str


def write_workbook(
    path: str | Path,
    logits: ArrayLike,
    labels: ArrayLike,
    label_smoothing: ArrayLike = 0.1,
    *,
    class_names: Sequence[str] | None = None,
    row_names: Sequence[str] | None = None,
    layout: str = "auto",
    blank: bool = False,
    replace_nonfinite: float | None = None,
    torch: TorchRows | None = None,
    source: str = "",
    force: bool = False,
    **options: Any,
) -> Written:
    """Write the loss on these logits as a workbook of live formulas.

    Args:
        path: the .xlsx to write; an existing file is refused without `force`.
        logits: (N, K), finite.
        labels: (N,) class numbers or (N, K) distributions.
        label_smoothing: ε in [0, 1], one number or one a row; the yellow cell of the sheet.
        class_names: K names.
        row_names: N names.
        layout: "full" (a cell a thought), "compact" (five formulas a row), or "auto": full up to 50,000 formulas.
        blank: leave the steps for a student to fill in, with self-marking.
        replace_nonfinite: a finite number to write in place of non-finite logits; the sheet then says so.
        torch: PyTorch's numbers for the PyTorch sheet (`labelsmooth.parity.compare.torch_rows` makes them).
        source: where the logits come from, shown on the first sheet.
        force: overwrite.
        **options: convention, prior, weight, weighting, class_mask, ignore_index, keep, reduction, as in `labelsmooth.trace`.

    Returns:
        What was written.

    Raises:
        ValueError: input that does not fit, or a batch beyond the limits.
        InputError: the file exists, or cannot be written.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "book.xlsx")
        >>> write_workbook(path, [[4.2, -2.4], [1.6, -0.6]], [0, 1], 0.1, class_names=["cat", "dog"]).sheets
        ('Read me', 'Steps', 'Play', 'PyTorch', 'Checks', 'Lists')

    Reference: the worked example of "Label Smoothing Explained using Microsoft Excel" (amaarora.github.io, 2020).
    """
    if blank and layout == "compact":
        raise ValueError(
            "a student's copy has a cell for every thought: layout must be 'full' or 'auto', got 'compact'"
        )
    z, replaced = finite(np.asarray(logits, np.float64), replace_nonfinite)
    problem = prepare(z, labels, label_smoothing, class_names=class_names, row_names=row_names, **options)
    book = make_book(problem, layout="full" if blank else layout, torch=torch, source=source, replaced=replaced)
    return save(book, path, blank=blank, force=force)


def save(book: Book, path: str | Path, *, blank: bool = False, force: bool = False) -> Written:
    """Write a book to a file, whole or not at all."""
    for what, names in (("class", book.problem.class_names), ("row", book.problem.row_names)):
        for name in names:
            check_name(name, what)
    # XlsxWriter leaves its own temporary files behind when it fails, and a zip file that cannot be closed prints a
    # traceback when it is collected: hence a folder for the first (on the disk that must have room anyway) and memory
    # for the second.
    with (
        write_atomically(path, force=force) as temporary,
        tempfile.TemporaryDirectory(prefix=".", dir=temporary.parent) as scratch,
    ):
        options: dict[str, Any] = dict.fromkeys(("strings_to_formulas", "strings_to_urls", "strings_to_numbers"), False)
        buffer = io.BytesIO()
        workbook = xlsxwriter.Workbook(buffer, {**options, "tmpdir": scratch})
        failed: Exception | None = None
        try:
            sheets, formulas = _fill(workbook, book, blank=blank)
            workbook.close()
        except (
            FileCreateError
        ) as error:  # XlsxWriter's wrapping; anew and out of here, or the new one would hold this one,
            failed = type(error.args[0])(*error.args[0].args)  # its frames, and the zip file until the buffer is gone
        finally:
            workbook.fileclosed = True  # or it would try once more when it is collected
        if failed is not None:
            raise failed
        temporary.write_bytes(buffer.getbuffer())
    return Written(str(path), sheets, formulas, book.rows, book.classes, book.kind)


class _Sheet(Worksheet):  # type: ignore[misc]  # published without types
    """A sheet that keeps every number, and writes formulas as they are.

    XlsxWriter writes 16 digits, and some float64 need 17. And it looks in every formula for some thirty functions that newer
    programs write with a prefix; we use none of them (a test pins the set), and the search is most of the time that a large
    workbook takes.
    """

    def _prepare_formula(self, formula: str, expand_future_functions: bool = False) -> str:  # noqa: ARG002, FBT002
        return formula.removeprefix("=")

    def _xml_number_element(self, number: Any, attributes: Sequence[tuple[str, Any]] = ()) -> None:
        digits = f"{number:.16G}"
        if float(digits) != number:
            digits = repr(float(number))
        marks = "".join(f' {name}="{self._escape_attributes(value)}"' for name, value in attributes)
        self.fh.write(f"<c{marks}><v>{digits}</v></c>")


SHEETS = ("Read me", "Steps", "Play", "PyTorch", "Checks", "Lists")
STUDENT_SHEETS = ("Read me", "Steps", "Lists", "Answers", "Marks")


def _fill(workbook: Any, book: Book, *, blank: bool) -> tuple[tuple[str, ...], int]:
    """Write every sheet; return their names and the number of formulas on Steps."""
    styles = Styles(workbook)
    names = STUDENT_SHEETS if blank else SHEETS
    sheets = {name: workbook.add_worksheet(name, worksheet_class=_Sheet) for name in names}
    workbook.set_properties({"title": "Label smoothing, step by step", "comments": "Made by labelsmooth."})
    _define_names(workbook, student_names(book) if blank else book, blank=blank)
    write_lists(sheets["Lists"], book, styles, tolerance=MARKING_TOLERANCE if blank else TOLERANCE)
    verdict = "ok"
    if blank:
        write_student(sheets, book, styles)
    else:
        write_steps(sheets["Steps"], book, styles)
        write_play(workbook, sheets["Play"], book, styles)
        torch = write_torch(sheets["PyTorch"], book, styles)
        verdict = write_checks(sheets["Checks"], book, styles, torch=torch)
    write_readme(sheets["Read me"], book, styles, blank=blank, verdict=verdict)
    sheets["Read me"].activate()
    for sheet in sheets.values():
        sheet.hide_gridlines(2)
        sheet.protect(
            "", {"format_cells": True, "format_columns": True, "format_rows": True, "select_locked_cells": True}
        )
        sheet.set_paper(9)
        sheet.set_footer("&L&F&C&A&R&P / &N")
    return names, book.layout.formulas


def _define_names(workbook: Any, book: Book, *, blank: bool) -> None:
    """Every value of the chain by its word; formulas call the single numbers, readers find the rest."""
    places = {**book.layout.places, "tolerance": tolerance_place(book)}
    if not blank:
        places["inputs_changed"] = changed_place()
    for word, place in places.items():
        workbook.define_name(word, f"={place.area}")


def check_name(name: str, what: str) -> None:
    """Refuse a name that a cell cannot hold as it is."""
    if len(name.encode("utf-16-le", "surrogatepass")) // 2 > LONGEST_TEXT:
        raise ValueError(f"a {what} name has {len(name):,} characters; a cell holds {LONGEST_TEXT:,}: shorten it")
    bad = next(
        (
            c
            for c in name
            if (ord(c) < 32 and c not in "\t\n") or ord(c) in (0xFFFE, 0xFFFF) or 0xD800 <= ord(c) < 0xE000
        ),
        None,
    )
    if bad is not None:
        raise ValueError(
            f"the {what} name {name[:40]!r} holds the control character {bad!r}, which no cell can show: remove it"
        )
