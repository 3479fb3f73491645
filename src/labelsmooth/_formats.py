"""Files to raw tables and arrays: everything that depends on a format, and nothing that depends on labels.

A file becomes one of two things: a `Table` (named columns: CSV, XLSX, Parquet, rows of JSON) or `Arrays` (a dictionary
of arrays: NumPy, safetensors, PyTorch, a JSON object). `files.py` makes the batch from either. What shaped this:

- a file may be hostile. Nothing is ever unpickled, sizes are looked at before anything is unpacked, and whatever a
  parser raises over bad bytes becomes one line (`_reading`).
- the base install has NumPy and openpyxl; every other library is imported by the function that needs it.
- a big CSV is converted in bulk, and the faulty cell looked for only once that has failed.
- an error states the fault and its place; `files.py` puts the name of the file in front, once.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import stat
import sys
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelsmooth.errors import InputError, LabelsmoothError, MissingExtra

MAX_BYTES = 2 * 1024**3  # of any file, and of what an archive declares that it unpacks to
MAX_WORKBOOK_BYTES = 256 * 1024**2  # a workbook is XML: openpyxl needs many times this in memory
MAX_ENTRIES = 2_000  # of a zip archive

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


def load(path: Path, *, wanted: Collection[str] = ()) -> Table | Arrays:
    """Reads a file of any known format, "-" as text from standard input. `wanted` spares unpacking other arrays."""
    if str(path) == "-":
        return parse_text(_decoded(_standard_input()))
    check_file(path)
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise InputError(f"the suffix {show(suffix)} is not one of those that are read: {' '.join(READERS)}")
    return READERS[suffix](path, wanted)


def check_file(path: Path) -> None:
    """Refuses what is missing, no file, empty or too large, before anything is read."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError("no such file") from None
    except (OSError, ValueError) as error:  # a name too long, a forbidden folder, a NUL in the name
        raise InputError(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError("is a directory, a file was expected")
    if not stat.S_ISREG(status.st_mode):
        raise InputError("is not a regular file: give - to read standard input")
    _check_size(status.st_size, MAX_BYTES)


def _check_size(size: int, limit: int, verb: str = "holds") -> None:
    if size == 0:
        raise InputError("the file is empty")
    if size > limit:
        raise InputError(f"{verb} {size / 1024**2:,.1f} MiB, more than the limit of {limit / 1024**2:,.1f} MiB")


def _standard_input() -> bytes:
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    _check_size(len(data), MAX_BYTES)
    return data


@contextmanager
def _reading(kind: str) -> Iterator[None]:
    """Makes one line of whatever a parser raises over bad bytes, and keeps its warnings off the user's screen."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except LabelsmoothError:
        raise
    except PermissionError as error:
        raise InputError("permission to read it is denied") from error
    except Exception as error:  # the parsers of hostile files raise anything, MemoryError and RecursionError included
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot be read as {kind}, is it cut short? ({reason[:200]})") from error


def _optional(module: str, package: str, extra: str, purpose: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(package, extra, purpose) from error


# --- text -----------------------------------------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """The text of a file: UTF-8, or UTF-16 with a byte-order mark, as Excel's "Unicode text" is."""
    with _reading("text"):
        return _decoded(path.read_bytes())


def _decoded(data: bytes) -> str:
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
    return _table(names, rows[1:], lambda row: f"line {lines[row + 1]}", decimal_comma=separator != ",")


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


def _table(
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


def parse_json(text: str) -> Table | Arrays:
    """An object of arrays, a list of rows, or one row a line."""
    try:
        value = _json(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and error.lineno > 1:
            return _parse_json_lines(text)
        raise InputError(f"line {error.lineno}, character {error.colno}: not JSON ({error.msg})") from error
    if isinstance(value, list):
        return _json_rows(value, lambda row: f"row {row + 1}")
    if not isinstance(value, dict):
        raise InputError(f"holds {_kind(value)}, an object with logits and labels or a list of rows was expected")
    return value


def _parse_json_lines(text: str) -> Table | Arrays:
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


# --- workbooks and archives -----------------------------------------------------------------------------------------


def _check_zip(path: Path, limit: int) -> None:
    """Refuses by what the directory of the archive declares; zipfile unpacks no more than that."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if len(members) > MAX_ENTRIES:
        raise InputError(f"the archive has {len(members):,} entries, more than the limit of {MAX_ENTRIES:,}")
    if any(member.flag_bits & 1 for member in members):
        raise InputError("the archive is encrypted: save it without a password")
    _check_size(sum(member.file_size for member in members), limit, "unpacks to")


def _read_xlsx(path: Path, _wanted: Collection[str]) -> Table:
    """The first sheet with a label column, else the first with anything on it; values, never formulas."""
    import openpyxl

    with _reading("an .xlsx workbook"), path.open("rb") as file:
        if file.read(8) == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
            raise InputError("is encrypted or an old .xls: save it as .xlsx without a password")
        _check_size(path.stat().st_size, MAX_WORKBOOK_BYTES)
        _check_zip(path, MAX_WORKBOOK_BYTES)
        with closing(openpyxl.load_workbook(file, read_only=True, data_only=True)) as book:
            heads = [(sheet, *_sheet_header(sheet)) for sheet in book.worksheets]
            heads = [(sheet, row, names) for sheet, row, names in heads if names]
            if not heads:
                raise InputError("no sheet has a header row")
            labelled = [head for head in heads if {name.lower() for name in head[2]} & set(LABEL_COLUMNS)]
            return _sheet_table(*(labelled or heads)[0])


def _sheet_header(sheet: Any) -> tuple[int, tuple[str, ...]]:
    sheet.reset_dimensions()  # what a file says of its own size may be wrong
    for number, row in enumerate(sheet.iter_rows(max_row=100, values_only=True), 1):
        if any(as_text(cell) for cell in row):
            names = [as_text(cell) for cell in row]
            while not names[-1]:
                names.pop()
            return number, tuple(names)
    return 0, ()


def _sheet_table(sheet: Any, header: int, names: tuple[str, ...]) -> Table:
    # One column more than the header, so that a cell beyond it is seen; no wider, for a row may claim 16,384 columns.
    width = len(names) + 1
    rows = [
        tuple(row) + (None,) * (width - len(row))
        for row in sheet.iter_rows(min_row=header + 1, max_col=width, values_only=True)
    ]
    while rows and not any(as_text(cell) for cell in rows[-1]):
        rows.pop()
    title = show(sheet.title)
    return _table((*names, ""), rows, lambda row: f"sheet {title}, row {header + 1 + row}")


def _read_numpy(path: Path, wanted: Collection[str]) -> Arrays:
    with _reading("a NumPy file"), path.open("rb") as file:
        if zipfile.is_zipfile(path):
            _check_zip(path, MAX_BYTES)
        try:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {BARE: loaded}
            with loaded:
                names = loaded.files
                return {name: loaded[name] if name in wanted or len(names) == 1 else None for name in names}
        except ValueError as error:
            if "pickle" not in str(error):
                raise
            raise InputError("holds Python objects, which are never unpickled: save arrays of numbers") from error


def _read_safetensors(path: Path, _wanted: Collection[str]) -> Arrays:
    purpose = "reading .safetensors"
    safetensors = _optional("safetensors", "safetensors", "files", purpose)
    with _reading("a safetensors file"):
        return {name: _tensor_words(name, tensor) for name, tensor in safetensors.deserialize(path.read_bytes())}


def _tensor_words(name: str, tensor: dict[str, Any]) -> NDArray[Any]:
    words = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4"}
    words |= {"U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}
    if tensor["dtype"] not in words:
        raise InputError(f"tensor {show(name)} is of type {tensor['dtype']}: save it as F32")
    array = np.frombuffer(tensor["data"], words[tensor["dtype"]]).reshape(tensor["shape"])
    # A bfloat16 is the upper half of a float32; NumPy has no such type.
    return (array.astype(np.uint32) << 16).view(np.float32) if tensor["dtype"] == "BF16" else array


def _read_torch(path: Path, _wanted: Collection[str]) -> Arrays:
    torch = _optional("torch", "torch", "torch", "reading .pt")
    with _reading("a PyTorch file"):
        if zipfile.is_zipfile(path):
            _check_zip(path, MAX_BYTES)
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            if "weights_only" not in str(error) and "Unsupported" not in str(error):
                raise
            raise InputError("holds Python objects, which are never unpickled: save a dict of tensors") from error
        if isinstance(loaded, torch.Tensor):
            return {BARE: _tensor_array(torch, loaded)}
        if not isinstance(loaded, dict):
            raise InputError(f"holds a {type(loaded).__name__}, a dict with the tensors logits and labels was expected")
        return {
            str(name): _tensor_array(torch, value) if isinstance(value, torch.Tensor) else value
            for name, value in loaded.items()
        }


def _tensor_array(torch: Any, tensor: Any) -> Any:
    # Strides of zero let a file of a few bytes declare a tensor of any size.
    _check_size(max(tensor.numel() * tensor.element_size(), 1), MAX_BYTES, "declares a tensor of")
    tensor = tensor.detach()
    half = tensor.is_floating_point() and tensor.dtype != torch.float64  # NumPy has neither bfloat16 nor float8
    return (tensor.to(torch.float64) if half else tensor).numpy()


def _read_parquet(path: Path, _wanted: Collection[str]) -> Table | Arrays:
    parquet = _optional("pyarrow.parquet", "pyarrow", "files", "reading .parquet")
    with _reading("a Parquet file"):
        with closing(parquet.ParquetFile(path)) as file:
            # Run lengths let a small file declare any number of rows. The columns' own metadata would be more exact,
            # but looking at it when it is damaged ends the process (pyarrow 26).
            declared = 8 * file.metadata.num_rows * file.metadata.num_columns
            _check_size(max(declared, 1), MAX_BYTES, "unpacks to")
            table = file.read()
        names = [name for name in table.column_names if not name.startswith("__index_level_")]  # pandas' own
        columns = {name: _arrow_column(table.column(name)) for name in names}
        if len(columns) < len(names):
            raise InputError("two columns have the same name")
        if any(len(columns.get(key, ())) and isinstance(columns[key][0], list) for key in LOGITS_KEYS):
            return dict(columns)
        return Table(tuple(map(str.strip, names)), tuple(columns.values()), lambda row: f"row {row + 1}")


def _arrow_column(column: Any) -> Sequence[Any]:
    array = None if column.null_count else column.to_numpy()
    cells: Sequence[Any] = column.to_pylist() if array is None or array.dtype.kind not in "iuf" else array
    return cells


READERS: dict[str, Callable[[Path, Collection[str]], Table | Arrays]] = {
    ".csv": lambda path, _: parse_csv(read_text(path)),
    ".tsv": lambda path, _: parse_csv(read_text(path), separators="\t,;|"),
    ".npz": _read_numpy,
    ".npy": _read_numpy,
    ".json": lambda path, _: parse_json(read_text(path)),
    ".jsonl": lambda path, _: _parse_json_lines(read_text(path)),
    ".xlsx": _read_xlsx,
    ".safetensors": _read_safetensors,
    ".pt": _read_torch,
    ".parquet": _read_parquet,
}
