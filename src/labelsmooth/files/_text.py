"""Text to a table or arrays: CSV with any separator, JSON in any of the shapes people have.

Bytes are UTF-8, or UTF-16 with a byte-order mark; anything else is refused by its line, never read with holes in it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from labelsmooth.errors import InputError

from ._guard import reading
from ._table import BARE, LABEL_COLUMNS, LOGITS_KEYS, Arrays, Table, repeated, show, table_of_rows


def read_text(path: Path) -> str:
    """The text of a file: UTF-8, or UTF-16 with a byte-order mark, as Excel's "Unicode text" is."""
    with reading("text"):
        return decoded_text(path.read_bytes())


def decoded_text(data: bytes) -> str:
    utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        advice = "save it as UTF-8 text (is it a binary file?)"
        raise InputError(f"line {line}: byte 0x{data[error.start]:02x} is not {error.encoding}: {advice}") from None
    if "\0" in text:
        raise InputError("holds NUL bytes: it is a binary file, text was expected")
    if not text.strip():
        raise InputError("the file is empty")
    return text


def parse_text(text: str) -> Table | Arrays:
    """JSON or CSV, by the first character."""
    return parse_json(text) if text.lstrip()[0] in "{[" else parse_csv(text)


def parse_csv(text: str, *, separators: str = ",;\t|") -> Table:
    """A CSV with any of the separators; the first row is the header. Blank lines are skipped, blank cells kept."""
    separator = _separator(text, separators)
    rows: list[list[str]] = []
    lines: list[int] = []
    for line, row in _csv_rows(text, separator):
        if row or (rows and len(rows[0]) == 1):  # in a file of one column a blank line is a blank cell
            rows.append(row or [""])
            lines.append(line)
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()
    names = tuple(cell.strip() for cell in rows[0])
    return table_of_rows(names, rows[1:], lambda row: f"line {lines[row + 1]}", decimal_comma=separator != ",")


def _csv_rows(text: str, separator: str, *, strict: bool = True) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=strict, skipinitialspace=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"line {line}: {error} (is a quotation mark missing?)") from error


def _separator(text: str, separators: str) -> str:
    """The separator under which header and first row agree best; a decimal comma must not be taken for one."""

    def score(separator: str) -> tuple[bool, bool, bool, int]:
        head: list[list[str]] = []
        with suppress(InputError):  # reported when the file is read for good
            head.extend(islice((row for _, row in _csv_rows(text, separator, strict=False) if row), 2))
        if not head:
            return False, False, False, 0
        labelled = any(cell.strip().lower() in LABEL_COLUMNS for cell in head[0])
        clean = not any(other in cell for row in head for cell in row for other in ";\t|")
        return labelled, len(head[0]) == len(head[-1]) > 1, clean, len(head[0])

    return max(separators, key=score)


def parse_json(text: str) -> Table | Arrays:
    """An object of arrays, a list of rows, or one row a line."""
    try:
        value = _json(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and error.lineno > 1:
            return parse_json_lines(text)
        raise InputError(f"line {error.lineno}, character {error.colno}: not JSON ({error.msg})") from error
    if isinstance(value, list):
        return _json_rows(value, lambda row: f"row {row + 1}")
    if not isinstance(value, dict):
        raise InputError(f"holds {_kind(value)}, an object with logits and labels or a list of rows was expected")
    return value


def parse_json_lines(text: str) -> Table | Arrays:
    rows, lines = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(_json(line))
            except json.JSONDecodeError as error:
                raise InputError(f"line {number}, character {error.colno}: not JSON ({error.msg})") from error
            lines.append(number)
    return _json_rows(rows, lambda row: f"line {lines[row]}")


def _json(text: str) -> Any:
    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise InputError(f"the name {show(repeated([name for name, _ in pairs]))} stands twice in one object")
        return found

    try:
        return json.loads(text, object_pairs_hook=distinct)
    except RecursionError:
        raise InputError("the JSON is nested too deeply") from None
    except (InputError, json.JSONDecodeError):
        raise
    except ValueError as error:  # an integer of more than 4,300 digits
        raise InputError(f"not JSON that can be read ({error})") from error


def _kind(value: object) -> str:
    kinds = {"list": "a list", "dict": "an object", "str": "a text", "NoneType": "null", "bool": "a truth value"}
    return kinds.get(type(value).__name__, "a number")


def _json_rows(rows: list[Any], place: Callable[[int], str]) -> Table | Arrays:
    if not rows or not isinstance(rows[0], dict):
        return {BARE: rows}
    names = tuple(rows[0])
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InputError(f"{place(i)}: {_kind(row)}, an object was expected as in the rows before")
        if different := sorted(row.keys() ^ rows[0].keys()):
            raise InputError(f"{place(i)}: {show(different[0])} stands in this row or in the first, and not in both")
    if any(isinstance(rows[0].get(key), list) for key in LOGITS_KEYS):
        return {name: [row[name] for row in rows] for name in names}
    return Table(tuple(map(str.strip, names)), tuple([row[name] for row in rows] for name in names), place)
