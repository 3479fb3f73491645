"""Workbooks and archives to a table or arrays, and the only door of the libraries that read them.

Nothing is ever unpickled, and sizes are looked at before anything is unpacked. The base install has NumPy and
openpyxl; every library but NumPy is imported by the function that needs it.
"""

from __future__ import annotations

import importlib
import zipfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelsmooth.errors import InputError, MissingExtra

from . import _guard
from ._table import BARE, LABEL_COLUMNS, LOGITS_KEYS, Arrays, Table, as_text, show, table_of_rows


def read_xlsx(path: Path, _wanted: Collection[str]) -> Table:
    """The first sheet with a label column, else the first with anything on it; values, never formulas."""
    import openpyxl

    with _guard.reading("an .xlsx workbook"), path.open("rb") as file:
        if file.read(8) == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
            raise InputError("is encrypted or an old .xls: save it as .xlsx without a password")
        _guard.check_size(path.stat().st_size, _guard.MAX_WORKBOOK_BYTES)
        _guard.check_zip(path, _guard.MAX_WORKBOOK_BYTES)
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
    return table_of_rows((*names, ""), rows, lambda row: f"sheet {title}, row {header + 1 + row}")


def read_numpy(path: Path, wanted: Collection[str]) -> Arrays:
    with _guard.reading("a NumPy file"), path.open("rb") as file:
        if zipfile.is_zipfile(path):
            _guard.check_zip(path, _guard.MAX_BYTES)
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


def map_numpy(path: Path) -> NDArray[Any]:
    """A .npy file as an array that is read from the disk where it is used: it may be larger than the memory."""
    _guard.check_file(path, limit=False)
    with _guard.reading("a NumPy file"):
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            if "Python objects" not in str(error):
                raise
            raise InputError("holds Python objects, which are never unpickled: save arrays of numbers") from error
    if array.dtype.kind not in "fiu":
        raise InputError(f"logits are of dtype {array.dtype}, numbers were expected (save bfloat16 as float32)")
    return array


def read_safetensors(path: Path, _wanted: Collection[str]) -> Arrays:
    purpose = "reading .safetensors"
    safetensors = _optional("safetensors", "safetensors", "files", purpose)
    with _guard.reading("a safetensors file"):
        return {name: _tensor_words(name, tensor) for name, tensor in safetensors.deserialize(path.read_bytes())}


def _tensor_words(name: str, tensor: dict[str, Any]) -> NDArray[Any]:
    words = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4"}
    words |= {"U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}
    if tensor["dtype"] not in words:
        raise InputError(f"tensor {show(name)} is of type {tensor['dtype']}: save it as F32")
    array = np.frombuffer(tensor["data"], words[tensor["dtype"]]).reshape(tensor["shape"])
    # A bfloat16 is the upper half of a float32; NumPy has no such type.
    return (array.astype(np.uint32) << 16).view(np.float32) if tensor["dtype"] == "BF16" else array


def read_torch(path: Path, _wanted: Collection[str]) -> Arrays:
    torch = _optional("torch", "torch", "torch", "reading .pt")
    with _guard.reading("a PyTorch file"):
        if zipfile.is_zipfile(path):
            _guard.check_zip(path, _guard.MAX_BYTES)
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
    _guard.check_size(max(tensor.numel() * tensor.element_size(), 1), _guard.MAX_BYTES, "declares a tensor of")
    tensor = tensor.detach()
    half = tensor.is_floating_point() and tensor.dtype != torch.float64  # NumPy has neither bfloat16 nor float8
    return (tensor.to(torch.float64) if half else tensor).numpy()


def read_parquet(path: Path, _wanted: Collection[str]) -> Table | Arrays:
    parquet = _optional("pyarrow.parquet", "pyarrow", "files", "reading .parquet")
    with _guard.reading("a Parquet file"):
        with closing(parquet.ParquetFile(path)) as file:
            # Run lengths let a small file declare any number of rows. The columns' own metadata would be more exact,
            # but looking at it when it is damaged ends the process (pyarrow 26).
            declared = 8 * file.metadata.num_rows * file.metadata.num_columns
            _guard.check_size(max(declared, 1), _guard.MAX_BYTES, "unpacks to")
            table = file.read()
        names = [name for name in table.column_names if not name.startswith("__index_level_")]  # pandas' own
        columns = {name: _arrow_column(table.column(name)) for name in names}
        if len(columns) < len(names):
            raise InputError("two columns have the same name")
        if any(len(columns.get(key, ())) and isinstance(columns[key][0], list) for key in LOGITS_KEYS):
            return dict(columns)
        return Table(tuple(map(str.strip, names)), tuple(columns.values()), lambda row: f"row {row + 1}")


class ParquetRows:
    """A Parquet file of which some rows at a time are in memory: columns of numbers, or one column of lists."""

    def __init__(self, path: Path) -> None:
        self._parquet = _optional("pyarrow.parquet", "pyarrow", "files", "reading .parquet")
        self._path = path
        with self._opened() as file:
            self.rows: int = file.metadata.num_rows
            self._names: list[str] = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
        first = self.head() if self.rows else {}
        lists = [] if isinstance(first, Table) else [len(first[key][0]) for key in LOGITS_KEYS if key in first]
        self.width: int = max(lists, default=len(self._names))

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        # With a buffer, a column is read as it is used and not a whole group of rows at once.
        with _guard.reading("a Parquet file"), closing(self._parquet.ParquetFile(self._path, buffer_size=1 << 16)) as f:
            yield f

    def head(self) -> Table | Arrays:
        """The first row, in the form that `read_parquet` gives."""
        with self._opened() as file:
            batch = next(file.iter_batches(batch_size=1, columns=self._names))
        columns = {name: batch.column(name).to_pylist() for name in self._names}
        if any(isinstance(columns.get(key, [None])[0], list) for key in LOGITS_KEYS):
            return dict(columns)
        return Table(tuple(map(str.strip, self._names)), tuple(columns.values()), lambda row: f"row {row + 1}")

    def column(self, name: str) -> Sequence[Any]:
        """One column whole."""
        with self._opened() as file:
            return _arrow_column(file.read(columns=[self._name(name)]).column(0))

    def blocks(self, names: Sequence[str], rows: int) -> Iterator[NDArray[np.float64]]:
        """Columns of numbers, or the one column of lists, as (n, K) with n up to `rows`."""
        wanted = [self._name(name) for name in names]
        with self._opened() as file:
            for batch in file.iter_batches(batch_size=rows, columns=wanted):
                columns = [batch.column(name) for name in wanted]
                if len(wanted) == 1:
                    yield np.asarray(columns[0].flatten().to_numpy(zero_copy_only=False)).reshape(len(batch), -1)
                else:
                    yield np.stack([column.to_numpy(zero_copy_only=False) for column in columns], axis=1)

    def _name(self, stripped: str) -> str:
        return next(name for name in self._names if name.strip() == stripped)


def _arrow_column(column: Any) -> Sequence[Any]:
    array = None if column.null_count else column.to_numpy()
    cells: Sequence[Any] = column.to_pylist() if array is None or array.dtype.kind not in "iuf" else array
    return cells


def _optional(module: str, package: str, extra: str, purpose: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(package, extra, purpose) from error
