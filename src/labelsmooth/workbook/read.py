"""A workbook of ours, read back after somebody worked in it: its inputs as they are now, and what should stand where.

The file knows itself by the settings on its sheet Lists. They decide the case and so the layout, and with it every
formula that is expected; none had to be stored twice. What shaped the rest:

- A file may come from anybody. It passes `gate.py` first, is read by openpyxl in read-only mode (which opens real
  workbooks that the full mode does not), and nothing it says decides an allocation before it was held against the number
  of cells that it really has.
- Only formulas and typed values are read. What a formula gives is for an engine to say (`recalc.py`); the number stored
  beside it is believed only where the caller brings nothing better.
- A fault in the file as a whole is a `WorkbookError` with its cell. An input that is no number is somebody's slip and not
  a broken file: it is collected in `Reading.faults`, so that every such cell can be named at once.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from openpyxl import load_workbook

from labelsmooth.errors import WorkbookError
from labelsmooth.maths.compact import compact_chain
from labelsmooth.maths.steps import chain
from labelsmooth.maths.trace import Problem

from ._cells import Value, read_values
from ._inputs import Fault, Look, changed_inputs, compute, read_inputs, shown
from ._settings import Settings, case_of, settings_table
from .book import FORMULA_LIMIT, Book, place_chain
from .gate import check_workbook_file
from .layout import MAX_COLUMNS, MAX_ROWS, Layout, moved

Calculated = Mapping[str, Mapping[str, Value]]  # sheet -> formula cell -> its result
LARGEST = int(sys.float_info.max)
FIRST_NAME = 5  # row of the first class's name on the sheet Lists


@dataclass(frozen=True)
class Contents:
    """What stands in the cells: sheet -> cell -> formula (with its =) or typed value; and the names, in lower case."""

    formulas: Mapping[str, Mapping[str, str]]
    typed: Mapping[str, Mapping[str, Any]]
    names: Mapping[str, str]


@dataclass(frozen=True)
class Reading:
    """The inputs of a workbook as they are now, and the chain on them."""

    faults: tuple[Fault, ...]
    computed: Book | None  # None where an input cannot be used
    changed: tuple[str, ...]  # inputs that are not those the file was made with

    @property
    def book(self) -> Book:
        """The same content as a book: problem, layout and the values of every step."""
        if self.computed is None:
            raise WorkbookError(self.faults[0].says)
        return self.computed

    @property
    def problem(self) -> Problem:
        """The case and its inputs."""
        return self.book.problem


@dataclass(frozen=True)
class OurBook:
    """A workbook that labelsmooth made: what stands in it, and where everything should."""

    path: str
    contents: Contents
    settings: Settings
    layout: Layout
    blank: bool  # a student's copy

    @property
    def formulas(self) -> Mapping[str, str]:
        """The formulas on the sheet Steps by cell."""
        return self.contents.formulas["Steps"]

    @property
    def typed(self) -> Mapping[str, Any]:
        """What was typed on the sheet Steps, by cell."""
        return self.contents.typed["Steps"]

    def read(self, calculated: Calculated | None = None) -> Reading:
        """Read the inputs and compute the chain on them; inputs that are formulas take their results from `calculated`."""
        given, faults = read_inputs(self.layout, self._look(calculated))
        if faults:
            return Reading(tuple(faults), None, ())
        lists = self.contents.typed["Lists"]
        rows = next(block for block in self.layout.blocks if any("n" in v.axes for v in block.values)).first + 1
        book = compute(
            self.layout,
            self.settings.text("convention"),
            given,
            kind=self.settings.text("layout"),
            class_names=[_name(lists.get(f"B{FIRST_NAME + k}")) for k in range(self.layout.classes)],
            row_names=[_name(self.typed.get(f"A{rows + n}")) for n in range(self.layout.rows)],
        )
        if isinstance(book, Fault):
            return Reading((book,), None, ())
        return Reading((), book, self._changed(book))

    def _look(self, calculated: Calculated | None) -> Look:
        """What stands in a cell of Steps: what was typed, or the result of the formula."""
        if calculated is not None:
            results = dict(calculated.get("Steps", {}))
        else:
            inputs = [self.layout.places[x.word] for x in self.layout.chain.inputs]
            cells = [at.cell(n, k) for at in inputs for n in range(at.shape[0]) for k in range(at.shape[1])]
            asked = [cell for cell in cells if cell in self.formulas]
            stored = read_values(Path(self.path), {"Steps": asked})["Steps"] if asked else []
            results = dict(zip(asked, stored, strict=True))

        def look(cell: str) -> Any:
            if cell not in self.formulas:
                return self.typed.get(cell)
            return self.formulas[cell] if results.get(cell) is None else results[cell]

        return look

    def _changed(self, book: Book) -> tuple[str, ...]:
        try:
            return changed_inputs(self.settings.text("inputs"), book)
        except ValueError as fault:
            raise WorkbookError(f"{self.path}: {self.settings.refuse('inputs', fault)}") from None


def is_our_book(path: str | Path) -> bool:
    """Whether a file is a workbook that labelsmooth made; a file that cannot be read is not."""
    try:
        with Path(path).open("rb") as stream:
            if stream.read(2) != b"PK":
                return False
        lists = read_contents(path, only="Lists").typed.get("Lists", {})
    except (WorkbookError, OSError):
        return False
    return settings_table(lists).get("made by", ("", ""))[0] == "labelsmooth"


def open_book(path: str | Path) -> OurBook:
    """Recognise a workbook of ours and lay out what should stand in it; no input is looked at yet.

    Raises:
        WorkbookError: the gate refuses the file, labelsmooth did not make it, or its settings, sheets or names are not
            as they were made.
    """
    contents = read_contents(path)
    try:
        return _opened(str(path), contents)
    except WorkbookError as fault:
        raise WorkbookError(f"{path}: {fault}") from None


def read_book(path: str | Path, *, calculated: Calculated | None = None) -> Reading:
    """Read a workbook that labelsmooth made back into inputs, and compute the chain on them.

    Args:
        path: the .xlsx file; it is only read.
        calculated: results of the formula cells from `recalc.recalculate`, for inputs that somebody replaced by a formula;
            without it the number stored in the file is taken.

    Returns:
        The reading; `faults` names the inputs that are no numbers, and is empty where the chain could be computed.

    Raises:
        WorkbookError: as `open_book`.

    Example:
        >>> import os, tempfile
        >>> from labelsmooth import write_workbook
        >>> path = os.path.join(tempfile.mkdtemp(), "book.xlsx")
        >>> _ = write_workbook(path, [[4.2, -2.4], [1.6, -0.6]], [0, 1], 0.1)
        >>> read_book(path).problem.given["logits"].tolist()
        [[4.2, -2.4], [1.6, -0.6]]
    """
    return open_book(path).read(calculated)


# The file ------------------------------------------------------------------------------------------------------------


def read_contents(path: str | Path, *, only: str | None = None) -> Contents:
    """Formulas and typed values of every sheet, or of one.

    Raises:
        WorkbookError: the gate or openpyxl refuses the file.
    """
    check_workbook_file(path)
    formulas: dict[str, dict[str, str]] = {}
    typed: dict[str, dict[str, Any]] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about extensions that it will not keep; nothing is written here
            book = load_workbook(path, read_only=True)
            try:
                for sheet in book.worksheets:
                    if only in (None, sheet.title):
                        formulas[sheet.title], typed[sheet.title] = _cells(sheet)
                names = {name.lower(): str(area.attr_text) for name, area in book.defined_names.items()}
            finally:
                book.close()
    except Exception as fault:  # openpyxl raises whatever its parsers meet
        said = " ".join(str(fault).split())[:200]
        raise WorkbookError(f"{path}: cannot be read ({said}): save it again with a spreadsheet program") from fault
    return Contents(formulas, typed, names)


def _cells(sheet: Any) -> tuple[dict[str, str], dict[str, Any]]:
    formulas, typed = {}, {}
    sheet.reset_dimensions()  # the size that a sheet declares may hide cells
    for row in sheet.iter_rows():
        for cell in row:
            if (value := cell.value) is None:
                continue
            if cell.data_type == "f":
                formulas[cell.coordinate] = (
                    value if isinstance(value, str) else f"{{{getattr(value, 'text', '=TABLE()')}}}"
                )
            else:
                # A number may have more digits than any float; no arithmetic below should have to think of that.
                typed[cell.coordinate] = inf if isinstance(value, int) and abs(value) > LARGEST else value
    return formulas, typed


# What the file says of itself ------------------------------------------------------------------------------------------


def _opened(path: str, contents: Contents) -> OurBook:
    settings = Settings(settings_table(contents.typed.get("Lists", {})))
    if "made by" not in settings.table or settings.text("made by") != "labelsmooth":
        raise WorkbookError("was not made by labelsmooth: its sheet Lists does not say so")
    if "Steps" not in contents.typed:
        raise WorkbookError("has no sheet Steps: the sheets must keep their names")
    rows, classes = settings.whole("rows", 1, MAX_ROWS), settings.whole("classes", 2, MAX_COLUMNS)
    cells = len(contents.typed["Steps"]) + len(contents.formulas["Steps"])
    if rows * classes > cells:
        raise settings.refuse(
            "rows", f"with {classes:,} classes it does not fit the {cells:,} cells of the sheet Steps"
        )
    case = case_of(settings, classes)
    try:
        steps = (chain if settings.one_of("layout", ("full", "compact")) == "full" else compact_chain)(case)
    except ValueError as fault:
        raise settings.refuse("layout", fault) from None
    layout = place_chain(steps, rows, classes)
    if layout.formulas > FORMULA_LIMIT:
        raise settings.refuse("rows", f"that makes {layout.formulas:,} formulas; the limit is {FORMULA_LIMIT:,}")
    if (blank := "Answers" in contents.formulas) != ("Marks" in contents.formulas):
        raise WorkbookError("has only one of the hidden sheets Answers and Marks: take the file as it was made")
    _check_names(contents.names, layout, blank=blank)
    settings.text("inputs")  # it must be there, whatever it says
    return OurBook(path, contents, settings, layout, blank)


def _name(found: object) -> str:
    return "" if found is None else str(found)


def _check_names(names: Mapping[str, str], layout: Layout, *, blank: bool) -> None:
    """The names that formulas call stand where they were made; an inserted row or another setting moves them."""
    places = (moved(layout, "Answers") if blank else layout).places
    for word, place in places.items():
        found = names.get(word)
        if found is None and (word in layout.names or word == "logits"):
            raise WorkbookError(
                f"the name {word} is missing, which stood for {place.area}: take the file as it was made"
            )
        if found is not None and found.replace("'", "").replace("$", "").lstrip("=") != place.area.replace("$", ""):
            raise WorkbookError(
                f"the name {word} stands for {shown(found)} where {place.area} is expected: "
                "rows, columns, settings or names were changed; undo that, or take the file as it was made"
            )
