"""The two things a file becomes before anybody asks for labels: a `Table` or `Arrays`, and how their cells are shown.

A `Table` has named columns (CSV, XLSX, Parquet, rows of JSON); `Arrays` is a dictionary of arrays (NumPy, safetensors,
PyTorch, a JSON object). What shaped this:

- a big table is converted in bulk, and the faulty cell looked for only once that has failed.
- class and row names are whatever the file says, formulas, emoji and 40,000 characters included: they are text here,
  and a message shows as much of them as fits on its line.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelsmooth.errors import InputError

LABEL_COLUMNS = ("label", "target", "y")
LOGITS_KEYS = ("logits", "predictions")
BARE = ""  # the key of an array that came without a name
Arrays = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Named columns of equal length; the cells are text, numbers or None, as the format has them."""

    names: tuple[str, ...]
    columns: tuple[Sequence[Any], ...]  # an array counts as a sequence
    place: Callable[[int], str]  # row, from 0 -> "line 7"
    decimal_comma: bool = False  # "0,5" may be a half

    def numbers(self, wanted: Sequence[int]) -> NDArray[np.float64]:
        """The columns `wanted` as float64 (N, len(wanted)); an InputError says where the first cell is that is none."""
        columns = [self.columns[column] for column in wanted]
        commas = self.decimal_comma and any("," in "".join(column) for column in columns)
        mixed = commas and any("." in "".join(column) for column in columns)
        if commas and not mixed:
            columns = [[cell.replace(",", ".") for cell in column] for column in columns]
        try:
            return np.stack([_floats(column) for column in columns], axis=1)
        except (ValueError, TypeError, OverflowError):
            row, column = next(
                (i, j) for i in range(len(columns[0])) for j in range(len(columns)) if not _is_float(columns[j][i])
            )
        cell = self.columns[wanted[column]][row]
        where = f"{self.place(row)}, column {show(self.names[wanted[column]])}"
        raise InputError(f"{where}: {_not_a_number(cell, mixed=mixed)}")


def _floats(cells: Sequence[Any]) -> NDArray[np.float64]:
    if isinstance(cells, np.ndarray):
        return cells.astype(np.float64)
    numbers = np.fromiter(map(float, cells), np.float64, len(cells))
    try:
        text = "".join(cells)  # quick, and refused when a cell is a number already
    except TypeError:
        text = "".join(cell for cell in cells if isinstance(cell, str))
    if "_" in text:  # Python reads "1_000" as a number and no spreadsheet does
        raise ValueError
    return numbers


def _is_float(cell: object) -> bool:
    try:
        _floats([cell])
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _not_a_number(cell: object, *, mixed: bool) -> str:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return "the cell is empty (or a formula without a stored value), a number was expected"
    if mixed and isinstance(cell, str) and "," in cell:
        return f"{show(cell)} is not a number: this file has decimal commas and decimal points, keep one"
    return f"{show(cell)} is not a number"


def table_of_rows(
    names: tuple[str, ...], rows: Sequence[Sequence[Any]], place: Callable[[int], str], **options: bool
) -> Table:
    """Rows to columns. A last column without name or content, as spreadsheets leave it, is dropped."""
    odd = next((i for i, cells in enumerate(rows) if len(cells) != len(names)), None)
    if odd is not None:
        raise InputError(f"{place(odd)}: {len(rows[odd])} cells, but the header has {len(names)}")
    columns = tuple(zip(*rows, strict=True)) or tuple(() for _ in names)
    while len(names) > 1 and not names[-1] and not any(as_text(cell) for cell in columns[-1]):
        names, columns = names[:-1], columns[:-1]
    return Table(names, columns, place, **options)


def show(value: object) -> str:
    """A value from a file as it may stand in a message: quoted, on one line, and not 40,000 characters long."""
    text = as_text(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")


def show_all(values: Collection[object]) -> str:
    """The first few of `values`, for a message."""
    shown = ", ".join(show(value) for value in list(values)[:8])
    return f"{shown}, ... ({len(values)} in all)" if len(values) > 8 else shown or "none"


def as_text(cell: object) -> str:
    """A cell as text: 3.0 and "3" are the same label, an empty cell is an empty text."""
    if cell is None:
        return ""
    if isinstance(cell, bool | np.bool_) or (isinstance(cell, float | np.floating) and float(cell).is_integer()):
        return str(int(cell))
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace").strip()
    return str(cell).strip()


def repeated(names: Sequence[str]) -> str | None:
    """The first name that stands twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def suggestion(word: str, names: tuple[str, ...]) -> str:
    """A question about the nearest name; long names and long lists would take difflib minutes."""
    folded = {name.casefold(): name for name in names[:2000] if len(name) <= 60}
    close = difflib.get_close_matches(word[:60].casefold(), folded, n=1)
    return f", did you mean {show(folded[close[0]])}?" if close else ""
