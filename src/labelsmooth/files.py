"""Logits and labels from the files people have, and files written whole or not at all.

`_formats.py` turns a file into a table or into arrays; here these become a `Batch`, which the rest of the package can
trust: finite logits (N, K), N >= 1, K >= 2, distinct class names, labels in range. What shaped it:

- nothing is guessed in silence. Probabilities and log-probabilities are refused with the option that says what they
  are.
- a fault is named by file, row and column as the user sees them; inner code says row and column, the public functions
  put the file in front, once (`_named`).
- class and row names are whatever the file says, formulas, emoji and 40,000 characters included: they are text here.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelsmooth._formats import (
    BARE,
    LABEL_COLUMNS,
    LOGITS_KEYS,
    Arrays,
    Table,
    as_text,
    check_file,
    load,
    read_text,
    repeated,
    show,
    show_all,
)
from labelsmooth.errors import InputError

ID_COLUMNS = ("id", "name", "image", "row")
LABEL_KEYS = ("labels", "label_ids", "targets", "label", "target", "y")
ROW_NAME_KEYS = ("row_names", "ids", "id")
EXTRA_KEYS = ("losses", "weight", "prior")
IGNORED_LABELS = ("", "ignore", "ignored", "nan")
SUM_TOLERANCE = 1e-3  # of probabilities in a row: what three decimals or float16 leave of a sum of 1
LOG_SUM_TOLERANCE = 1e-6  # of log-probabilities: float32 keeps it, and logits do not have it by chance


@dataclass(frozen=True, eq=False)
class Batch:
    """Logits with what is known about them. Labels are class numbers or distributions: one of the two is None."""

    logits: NDArray[np.float64]  # (N, K)
    labels: NDArray[np.int64] | None  # (N,), ignore_index in a row to be ignored
    soft_labels: NDArray[np.float64] | None  # (N, K)
    class_names: tuple[str, ...]  # from the header, else "0", "1", ...
    row_names: tuple[str, ...]  # from the id column, else "row 1", ...
    extra: Mapping[str, NDArray[np.float64]]  # losses, weight, prior and the named columns
    source: str  # what the user typed


@dataclass(frozen=True)
class _Labels:
    cells: Any  # an array, or lists of names and numbers, in one of the shapes that `_decoded` knows
    place: Callable[[int], str]
    tabular: bool = False  # numbers are text there, and a class may be called "1"


@dataclass(frozen=True)
class _Draft:
    logits: NDArray[np.float64]  # (N, K) or (B, T, K)
    class_names: tuple[str, ...]
    row_names: tuple[str, ...]
    labels: _Labels  # empty when they are elsewhere
    extra: dict[str, NDArray[np.float64]]
    place: Callable[[int], str]


def read_batch(
    path: str | Path,
    *,
    labels: str | Path | None = None,
    probabilities: bool = False,
    assume_logits: bool = False,
    ignore_index: int = -100,
    allow_nonfinite: bool = False,
    columns: Sequence[str] = (),
) -> Batch:
    r"""Reads logits and labels from a file of any format in `_formats.READERS`, or from standard input.

    Tables (CSV, TSV, XLSX, Parquet, rows of JSON) have a column for each class, named after it, a column `label`,
    `target` or `y` (or for distributions a column `q:<class>` for each class), and optionally `id`, `name`, `image` or
    `row`. Arrays (NPZ, safetensors, PT, a JSON object) are called `logits` or `predictions`, and `labels`, `label_ids`,
    `targets`, `label`, `target` or `y`; `losses`, `weight`, `prior`, `class_names` and `row_names` are optional, and
    (B, T, K) is flattened. The first of these names that is there counts.

    A label is a class name or a class number from 0. Where the class names of a table are numbers themselves, labels
    are read as names if every one of them is the name of a class, else as numbers; numbers in arrays are class numbers
    always. An empty label, `ignore`, `ignored` or `nan` (unless a class has that name) and `ignore_index` mark a row to
    be ignored.

    Args:
        path: the file; "-" is standard input, JSON if it starts with { or [, else CSV.
        labels: a second file with the labels (.npy, .csv, .json, .txt with one a line, ...), for formats without; it
            takes precedence over labels in the first.
        probabilities: the numbers are probabilities: their logarithms become the logits.
        assume_logits: the numbers are logits even if they look like probabilities or log-probabilities.
        ignore_index: the label of a row to be ignored.
        allow_nonfinite: accept NaN and infinite logits.
        columns: names of further columns or arrays of one number a row, which go to `extra`; an empty cell is NaN.

    Returns:
        The batch; logits and extra arrays are float64, labels int64.

    Raises:
        InputError: the file cannot be used; one line with its name and, where there is one, row and column.
        MissingExtra: the format needs a library that is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "batch.csv")
        >>> _ = path.write_text("label,cat,dog\ncat,2.5,0.5\ndog,1.0,-1.0\n")
        >>> batch = read_batch(path)
        >>> batch.class_names, batch.labels.tolist(), batch.logits.tolist()
        (('cat', 'dog'), [0, 1], [[2.5, 0.5], [1.0, -1.0]])
    """
    if isinstance(columns, str):
        raise TypeError(f"columns must be a sequence of names, not one text: ({columns!r},)")
    if probabilities and assume_logits:
        raise ValueError("the numbers are probabilities or logits: give probabilities or assume_logits, not both")
    wanted = {*LOGITS_KEYS, *LABEL_KEYS, *ROW_NAME_KEYS, *EXTRA_KEYS, "class_names", *columns}
    with _named(path):
        raw = load(Path(path), wanted=wanted)
        if isinstance(raw, Table):
            draft = _draft_of_table(raw, columns, labels_elsewhere=labels is not None)
        else:
            draft = _draft_of_arrays(raw, columns, labels_elsewhere=labels is not None)
        logits = _checked_logits(draft, probabilities=probabilities, allow_nonfinite=allow_nonfinite)
        if not (probabilities or assume_logits):
            _refuse_lookalikes(logits)
    with _named(path if labels is None else labels):
        hard, soft = _decoded(draft.labels if labels is None else _read_labels(Path(labels)), draft, ignore_index)
    return Batch(logits, hard, soft, draft.class_names, draft.row_names, draft.extra, str(path))


def read_vector(
    path: str | Path, *, what: str = "prior", length: int | None = None, allow_nonfinite: bool = False
) -> NDArray[np.float64]:
    r"""Reads a prior, class weights or losses from a file of any format that `read_batch` reads.

    The numbers are the array called `what` or the only array of the file; in a table the column called `what`, else all
    columns, with or without a header. One row or one column of numbers becomes a vector.

    Args:
        path: the file; "-" is standard input.
        what: "prior", "weight" or "losses": the name of the array or column, and the word in messages.
        length: how many numbers are expected (in each row).
        allow_nonfinite: accept NaN and infinities, as losses may have them.

    Returns:
        float64, one-dimensional; for a prior also (N, K), one a row.

    Raises:
        InputError: the file cannot be used.
        MissingExtra: the format needs a library that is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "prior.csv")
        >>> _ = path.write_text("cat,dog\n0.75,0.25\n")
        >>> read_vector(path, length=2).tolist()
        [0.75, 0.25]
    """
    keys = (what, "weights") if what == "weight" else (what, "loss") if what == "losses" else (what,)
    with _named(path):
        raw = load(Path(path), wanted=keys)
        values = _vector_of_table(raw, keys) if isinstance(raw, Table) else _numbers(_picked(raw, keys), what)
        if values.ndim not in ((1, 2) if what == "prior" else (1,)) or values.size == 0:
            raise InputError(f"the shape of the {what} is {values.shape}, a list of numbers was expected")
        if length is not None and values.shape[-1] != length:
            raise InputError(f"{values.shape[-1]} numbers for the {what}, {length} were expected")
        if not allow_nonfinite and not np.isfinite(values).all():
            raise InputError(f"the {what} must be finite, {values[~np.isfinite(values)][0]} is not")
    return values


@contextmanager
def write_atomically(path: str | Path, *, force: bool) -> Iterator[Path]:
    """Gives a temporary path beside `path`, which takes its place when the block ends and is removed when it fails.

    Args:
        path: the file to write; a link is followed.
        force: replace an existing file, and keep its permissions.

    Raises:
        InputError: the file exists, its folder is missing or cannot be written to, or the disk is full.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "note.txt")
        >>> with write_atomically(path, force=False) as temporary:
        ...     _ = temporary.write_text("whole or not at all")
        >>> path.read_text()
        'whole or not at all'
    """
    with _named(path):
        target = _target(path, force=force)
        # The suffix stays: writers choose a format by it, or append one. Made here and not by tempfile, for the umask.
        suffix = target.suffix if len(target.suffix) < 20 else ""
        temporary = target.with_name(f".{secrets.token_hex(6)}{suffix}")
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot be written: {getattr(error, 'strerror', None) or error}") from error
    try:
        yield temporary
        with _named(path):
            _target(path, force=force)  # somebody may have been quicker
            try:
                if target.exists():
                    shutil.copymode(target, temporary)
                temporary.replace(target)
            except OSError as error:
                raise InputError(f"cannot be replaced: {error.strerror} (is it open in a program?)") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        with _named(path):
            raise InputError(f"cannot be written: {error.strerror}; nothing was left behind") from error
    finally:
        temporary.unlink(missing_ok=True)


def _target(path: str | Path, *, force: bool) -> Path:
    """The file that `path` means, if it may be written."""
    try:
        target = Path(os.path.realpath(path))
        has_folder, exists = target.parent.is_dir(), target.exists()
    except (OSError, ValueError) as error:  # a name too long, a NUL in the name
        raise InputError(f"cannot be written: {getattr(error, 'strerror', None) or error}") from error
    if not has_folder:
        raise InputError(f"the directory {str(target.parent)!r} does not exist: make it first")
    if target.is_dir():
        raise InputError("is a directory, the name of a file was expected")
    if exists and not target.is_file():  # replacing /dev/null would be no good turn
        raise InputError("is not a regular file")
    if exists and not force:
        raise InputError("exists already: pass --force to replace it")
    return target


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Puts the name of the file in front of a fault."""
    try:
        yield
    except InputError as error:
        name = "standard input" if str(path) == "-" else str(path)
        raise InputError(f"{name if name.isprintable() else repr(name)}: {error}") from error


# --- tables ---------------------------------------------------------------------------------------------------------


def _draft_of_table(table: Table, columns: Sequence[str], *, labels_elsewhere: bool) -> _Draft:
    names = table.names
    _check_header(table, labels_elsewhere=labels_elsewhere)
    for column in columns:
        if column not in names:
            raise InputError(f"there is no column {show(column)}{_suggestion(column, names)}")
    soft = {names[i][2:].strip(): i for i in range(len(names)) if names[i].startswith("q:") and names[i] not in columns}
    free = [i for i in range(len(names)) if names[i] not in columns and i not in {*soft.values()}]
    label, identity = _special(table, free, LABEL_COLUMNS), _special(table, free, ID_COLUMNS)
    classes = [i for i in free if i not in (label, identity)]
    class_names = tuple(names[i] for i in classes)
    if label is None and not soft and not labels_elsewhere:
        advice = "one column must be called label, target or y, or pass --labels FILE"
        raise InputError(f"no label column among {show_all(names)}: {advice}")
    _check_classes(class_names)
    labels = _Labels((), table.place) if label is None else _table_labels(table, label)
    if soft:
        if label is not None:
            raise InputError(f"has a column {show(names[label])} and columns q:<class>: keep one kind of labels")
        if unpaired := sorted(soft.keys() ^ set(class_names)):
            raise InputError(f"the columns q:<class> must be one for each class: look at {show(unpaired[0])}")
        labels = _Labels(table.numbers([soft[name] for name in class_names]), table.place)
    rows = range(len(table.columns[0]))
    row_names = [as_text(cell) for cell in table.columns[identity]] if identity is not None else [""] * len(rows)
    return _Draft(
        logits=table.numbers(classes),
        class_names=class_names,
        row_names=tuple(row_names[i] or f"row {i + 1}" for i in rows),
        labels=labels,
        extra={column: _extra_column(table, names.index(column)) for column in columns},
        place=table.place,
    )


def _check_header(table: Table, *, labels_elsewhere: bool) -> None:
    names = table.names
    numeric = sum(_is_number(name, table) for name in names)
    labelled = any(name.lower() in LABEL_COLUMNS or name.startswith("q:") for name in names)
    numbered = labels_elsewhere and all(re.fullmatch(r"\d+", name) for name in names)
    if numeric >= max(len(names) - 1, 1) and not labelled and not numbered:
        raise InputError("the first line holds numbers: a header such as label,cat,dog was expected above them")
    if "" in names:
        raise InputError(f"column {names.index('') + 1} has no name (pandas writes one with its index: index=False)")
    if (twice := repeated(names)) is not None:
        raise InputError(f"two columns are called {show(twice)}")
    if not len(table.columns[0]):
        raise InputError("there is a header and no rows below it")


def _is_number(text: str, table: Table) -> bool:
    try:
        float(text.replace(",", ".") if table.decimal_comma else text)
    except ValueError:
        return False
    return True


def _special(table: Table, free: Sequence[int], words: tuple[str, ...]) -> int | None:
    """The column called by one of `words`, in their order; others may be classes, as Y is among the letters."""
    found = sorted(
        (i for i in free if table.names[i].lower() in words), key=lambda i: words.index(table.names[i].lower())
    )
    for other in found[1:]:
        if all(re.fullmatch(r"-?\d+", as_text(cell)) for cell in table.columns[other]):
            both = f"{show(table.names[found[0]])} and {show(table.names[other])}"
            raise InputError(f"both columns {both} may be the {words[0]}: rename or remove one")
    return found[0] if found else None


def _table_labels(table: Table, column: int) -> _Labels:
    name = show(table.names[column])
    return _Labels(list(table.columns[column]), lambda row: f"{table.place(row)}, column {name}", tabular=True)


def _extra_column(table: Table, column: int) -> NDArray[np.float64]:
    cells = ["nan" if as_text(cell) == "" else cell for cell in table.columns[column]]
    return replace(table, names=(table.names[column],), columns=(cells,)).numbers([0])[:, 0]


# --- arrays ---------------------------------------------------------------------------------------------------------


def _row(row: int) -> str:
    return f"row {row + 1}"


def _draft_of_arrays(arrays: Arrays, columns: Sequence[str], *, labels_elsewhere: bool) -> _Draft:
    logits = _numbers(_picked(arrays, LOGITS_KEYS), "logits")
    if logits.ndim not in (2, 3) or logits.size == 0:
        raise InputError(f"the shape of the logits is {logits.shape}: (N, K) or (B, T, K) was expected")
    size = logits.size // logits.shape[-1]
    class_names = _names(arrays, ("class_names",), logits.shape[-1]) or tuple(map(str, range(logits.shape[-1])))
    _check_classes(class_names)
    labels = next((arrays[key] for key in LABEL_KEYS if key in arrays), None)
    if labels is None and not labels_elsewhere:
        others = "" if BARE in arrays else f" among {show_all(arrays)}"
        raise InputError(f"there are no labels{others}: pass --labels FILE, or add an array called labels")
    return _Draft(
        logits=logits,
        class_names=class_names,
        row_names=_names(arrays, ROW_NAME_KEYS, size) or tuple(map(_row, range(size))),
        labels=_Labels(() if labels is None else labels, _row),
        extra=_extra_arrays(arrays, columns, logits.shape),
        place=_row,
    )


def _picked(arrays: Arrays, keys: Sequence[str]) -> Any:
    """The array under the first of `keys` that is there, or the only array."""
    for key in (*keys, BARE):
        if key in arrays:
            return arrays[key]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise InputError(f"no array is called {' or '.join(keys[:2])}, there is {show_all(arrays)}")


def _names(arrays: Arrays, keys: Sequence[str], length: int) -> tuple[str, ...]:
    """The names in the first of `keys` that is there, or none."""
    value: Any = next((arrays[key] for key in keys if key in arrays), None)
    if value is None:
        return ()
    names = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(names, list | tuple) or len(names) != length:
        found = f"{len(names)} were found" if isinstance(names, list | tuple) else "something else was found"
        raise InputError(f"{length} {keys[0]} were expected, {found}")
    return tuple(map(as_text, names))


def _extra_arrays(arrays: Arrays, columns: Sequence[str], shape: tuple[int, ...]) -> dict[str, NDArray[np.float64]]:
    for column in columns:
        if column not in arrays:
            raise InputError(f"there is no array {show(column)}{_suggestion(column, tuple(arrays))}")
    rows, classes = int(np.prod(shape[:-1])), shape[-1]
    shapes: dict[str, list[tuple[int, ...]]] = {"weight": [(classes,)], "prior": [(classes,), (rows, classes)]}
    extra = {}
    for name in dict.fromkeys((*EXTRA_KEYS, *columns)):
        if arrays.get(name) is None:
            continue
        array = _numbers(arrays[name], name)
        if len(shape) == 3 and array.shape[:2] == shape[:2]:
            array = array.reshape(rows, *array.shape[2:])
        expected = shapes.get(name, [(rows,)])
        if array.shape not in expected:
            raise InputError(
                f"the shape of {show(name)} is {array.shape}: {' or '.join(map(str, expected))} was expected"
            )
        extra[name] = array
    return extra


def _numbers(value: Any, name: str) -> NDArray[np.float64]:
    """An array or nested lists as float64; the faulty element is looked for only once there is one."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub":
            raise InputError(f"{name} are of dtype {value.dtype}, numbers were expected (save bfloat16 as float32)")
        return value.astype(np.float64)
    array = _objects(value)
    if not set(map(type, array.ravel().tolist())) <= {bool, int, float}:
        _find_fault(value, name)
    try:
        return array.astype(np.float64)
    except (OverflowError, ValueError, TypeError):
        raise InputError(f"{name} cannot be read as an array of numbers") from None


def _objects(value: Any) -> NDArray[np.object_]:
    """Lists as an array of whatever stands in them: as an array of text one long cell would blow up all the others."""
    try:
        return np.array(value, dtype=object)
    except ValueError:  # lists of unequal length, in some shapes
        return np.array([None])


def _find_fault(value: Any, name: str, where: tuple[str, ...] = ()) -> None:
    place = f"{name}, {', '.join(where)}" if where else name
    if not isinstance(value, list):
        if isinstance(value, bool | int | float):
            return
        raise InputError(f"{place}: {'null' if value is None else show(value)} is not a number")
    if len(where) > 3:
        raise InputError(f"{place}: the lists are nested too deeply")
    for i, item in enumerate(value):
        here = (*where, f"{('row', 'column')[bool(where)]} {i + 1}")
        _find_fault(item, name, here)
        if isinstance(item, list) != isinstance(value[0], list):
            raise InputError(f"{name}, {', '.join(here)}: a list and a number stand side by side")
        if isinstance(item, list) and len(item) != len(value[0]):
            raise InputError(f"{name}, {', '.join(here)}: {len(item)} numbers, but {len(value[0])} in the first")


# --- labels ---------------------------------------------------------------------------------------------------------


def _read_labels(path: Path) -> _Labels:
    """A file of nothing but labels: an array, a list, or a text with one a line and `label` perhaps above them."""
    if path.suffix.lower() == ".txt" and path.is_file():
        check_file(path)
        lines = [line.strip() for line in read_text(path).rstrip().split("\n")]
        raw: Table | Arrays = Table((lines[0],), (lines[1:],), lambda row: f"line {row + 2}")
    else:
        raw = load(path, wanted=LABEL_KEYS)
    if not isinstance(raw, Table):
        return _Labels(_picked(raw, LABEL_KEYS), _row)
    column = _special(raw, range(len(raw.names)), LABEL_COLUMNS)
    if column is not None:
        return _table_labels(raw, column)
    if len(raw.names) > 1:
        raise InputError(f"no label column among {show_all(raw.names)}: one must be called label, target or y")
    cells = [raw.names[0], *raw.columns[0]]
    return _Labels(cells, lambda row: raw.place(row - 1) if row else "line 1", tabular=True)


def _decoded(
    labels: _Labels, draft: _Draft, ignore_index: int
) -> tuple[NDArray[np.int64] | None, NDArray[np.float64] | None]:
    """Class numbers (N,) or distributions (N, K), by the shape."""
    shape, cells = draft.logits.shape, labels.cells
    array = cells if isinstance(cells, np.ndarray) else _objects(cells)
    if array.shape == shape:
        return None, _checked_soft_labels(_numbers(cells, "soft labels").reshape(-1, shape[-1]), draft, labels.place)
    rows = int(np.prod(shape[:-1]))
    if array.shape not in (shape[:-1], (*shape[:-1], 1), (rows,)):
        if array.ndim == 1:
            raise InputError(f"{len(array)} labels for {rows} rows of logits")
        raise InputError(
            f"the shape of the labels is {array.shape}, but of the logits {shape}: classes stand last there"
        )
    return _class_numbers(array.ravel().tolist(), labels, draft.class_names, ignore_index), None


def _class_numbers(cells: list[Any], labels: _Labels, names: tuple[str, ...], ignore_index: int) -> NDArray[np.int64]:
    index = {name: number for number, name in enumerate(names)}
    odd = next((i for i, cell in enumerate(cells) if isinstance(cell, list | dict)), None)
    if odd is not None:
        raise InputError(f"{labels.place(odd)}: a class name or a class number was expected, not a list or an object")
    texts = {cell: as_text(cell) for cell in set(cells)}  # few are different, however many rows there are
    textual = labels.tabular or all(isinstance(cell, str) for cell in texts)
    by_name = textual and all(text in index or _is_ignored(text, ignore_index) for text in texts.values())
    numbers = {cell: _class_number(text, index, ignore_index, by_name=by_name) for cell, text in texts.items()}
    wrong = {cell for cell, k in numbers.items() if k is None or not (k == ignore_index or 0 <= k < len(names))}
    if wrong:
        row = next(i for i, cell in enumerate(cells) if cell in wrong)
        known = [k for k in numbers.values() if k is not None and k != ignore_index]
        raise InputError(f"{labels.place(row)}: {_label_fault(texts[cells[row]], numbers[cells[row]], known, names)}")
    return np.array([numbers[cell] for cell in cells], dtype=np.int64)


def _class_number(text: str, index: Mapping[str, int], ignore_index: int, *, by_name: bool) -> int | None:
    number = int(text.partition(".")[0]) if re.fullmatch(r"[+-]?\d{1,18}(\.0*)?", text, re.ASCII) else None
    if text in index and (by_name or number is None):
        return index[text]
    return ignore_index if _is_ignored(text, ignore_index) else number


def _is_ignored(text: str, ignore_index: int) -> bool:
    return text.lower() in IGNORED_LABELS or text in (str(ignore_index), f"{ignore_index}.0")


def _label_fault(text: str, number: int | None, known: Sequence[int], names: tuple[str, ...]) -> str:
    if number is None:
        return (
            f"{show(text)} is neither a class nor a class number{_suggestion(text, names)}; classes: {show_all(names)}"
        )
    if number < 0:
        return f"label {number} is negative: a row to be ignored has the label ignore_index, set it with --ignore-index"
    counted = f"the {len(names)} classes are numbered 0 to {len(names) - 1}"
    from_one = (
        " (the labels seem to be counted from 1: subtract 1)" if (min(known), max(known)) == (1, len(names)) else ""
    )
    return f"label {number} is out of range: {counted}{from_one}"


def _suggestion(word: str, names: tuple[str, ...]) -> str:
    """A question about the nearest name; long names and long lists would take difflib minutes."""
    folded = {name.casefold(): name for name in names[:2000] if len(name) <= 60}
    close = difflib.get_close_matches(word[:60].casefold(), folded, n=1)
    return f", did you mean {show(folded[close[0]])}?" if close else ""


# --- checks ---------------------------------------------------------------------------------------------------------


def _check_classes(names: tuple[str, ...]) -> None:
    if len(names) < 2:
        found = f"the only class is {show(names[0])}" if names else "there are no columns of classes"
        raise InputError(f"{found}: two or more are needed (one logit z is the pair 0, z)")
    if (twice := repeated(names)) is not None:
        raise InputError(f"two classes are called {show(twice)}")


def _checked_logits(draft: _Draft, *, probabilities: bool, allow_nonfinite: bool) -> NDArray[np.float64]:
    """(N, K), finite unless allowed; probabilities are checked and become their logarithms."""
    logits = draft.logits.reshape(-1, draft.logits.shape[-1])
    if probabilities:
        _refuse_cell(logits, ~((logits >= 0) & (logits <= 1)), draft, "is not a probability between 0 and 1")
        _check_sums(logits, draft.place, "the probabilities")
    if not allow_nonfinite:
        if probabilities:
            _refuse_cell(logits, logits == 0, draft, "as a probability is a logit of -inf: a finite one was expected")
        _refuse_cell(logits, ~np.isfinite(logits), draft, "is not finite: correct or remove that row")
    if probabilities:
        with np.errstate(divide="ignore"):  # only where allow_nonfinite
            return np.log(logits)
    return logits


def _refuse_cell(values: NDArray[np.float64], wrong: NDArray[np.bool_], draft: _Draft, fault: str) -> None:
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        others = f" ({wrong.sum()} such numbers in {wrong.any(axis=1).sum()} rows)" if wrong.sum() > 1 else ""
        where = f"{draft.place(int(row))}, class {show(draft.class_names[column])}"
        raise InputError(f"{where}: {values[row, column]:g} {fault}{others}")


def _check_sums(values: NDArray[np.float64], place: Callable[[int], str], what: str) -> None:
    with np.errstate(over="ignore"):
        sums = values.sum(axis=1)
    wrong = ~(np.abs(sums - 1) <= SUM_TOLERANCE)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"{place(row)}: {what} sum to {sums[row]:.6g}, not to 1")


def _checked_soft_labels(soft: NDArray[np.float64], draft: _Draft, place: Callable[[int], str]) -> NDArray[np.float64]:
    named = replace(draft, place=place)
    _refuse_cell(soft, ~((soft >= 0) & np.isfinite(soft)), named, "cannot be part of a distribution")
    _check_sums(soft, place, "the soft labels")
    return soft


def _refuse_lookalikes(logits: NDArray[np.float64]) -> None:
    """Every row must look so: ordinary logits do not lie between 0 and 1 and sum to 1, all of them."""
    if ((logits >= 0) & (logits <= 1)).all() and (np.abs(logits.sum(axis=1) - 1) <= SUM_TOLERANCE).all():
        raise InputError(
            "these rows sum to 1: they look like probabilities; pass --probs (or --logits if they are logits)"
        )
    if (logits <= 0).all():
        log_sums = np.logaddexp.reduce(logits, axis=1)
        if (np.abs(log_sums) <= LOG_SUM_TOLERANCE).all():
            raise InputError(
                "these rows look like log-probabilities: they are valid logits; pass --logits to use them as they are"
            )


# --- vectors --------------------------------------------------------------------------------------------------------


def _vector_of_table(table: Table, keys: Sequence[str]) -> NDArray[np.float64]:
    column = next((i for key in keys for i, name in enumerate(table.names) if name.lower() == key), None)
    names, rows = table.names, len(table.columns[0])
    counted = len(names) > 1 and names == tuple(map(str, range(len(names)))) and rows
    if column is not None and rows:
        return table.numbers([column])[:, 0]
    if all(_is_number(name, table) for name in names) and not counted:  # no header: the first line holds numbers too
        columns = tuple([name, *cells] for name, cells in zip(names, table.columns, strict=True))
        below = table.place
        table = replace(table, columns=columns, place=lambda row: below(row - 1) if row else "line 1")
    elif not rows:
        raise InputError("there is a header and no rows below it")
    values = table.numbers(range(len(names)))
    return values.ravel() if 1 in values.shape else values
