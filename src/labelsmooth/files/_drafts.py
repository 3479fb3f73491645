"""A raw table or raw arrays to a draft of a batch: which numbers are logits, which are labels, what the names are.

Both kinds of file become one `Draft` here, in which nothing has been checked but names and shapes; `_labels.py` checks
its numbers and makes class numbers of its labels. A draft knows how to say where a row stands in the file (`place`),
so that a fault found later is still named as the user sees it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelsmooth.errors import InputError

from ._table import BARE, LABEL_COLUMNS, LOGITS_KEYS, Arrays, Table, as_text, repeated, show, show_all, suggestion

ID_COLUMNS = ("id", "name", "image", "row")
LABEL_KEYS = ("labels", "label_ids", "targets", "label", "target", "y")
ROW_NAME_KEYS = ("row_names", "ids", "id")
EXTRA_KEYS = ("losses", "weight", "prior")


@dataclass(frozen=True)
class Labels:
    """Labels as they stand in the file, and where."""

    cells: Any  # an array, or lists of names and numbers, in one of the shapes that `decoded_labels` knows
    place: Callable[[int], str]
    tabular: bool = False  # numbers are text there, and a class may be called "1"


@dataclass(frozen=True)
class Draft:
    """A batch before its numbers are checked and its labels decoded."""

    logits: NDArray[np.float64]  # (N, K) or (B, T, K)
    class_names: tuple[str, ...]
    row_names: tuple[str, ...]
    labels: Labels  # empty when they are elsewhere
    extra: dict[str, NDArray[np.float64]]
    place: Callable[[int], str]


# --- tables -----------------------------------------------------------------------------------------------------------


def draft_of_table(table: Table, columns: Sequence[str], *, labels_elsewhere: bool) -> Draft:
    """Columns to logits, labels and names; what is no label, identity or named column is a class."""
    names = table.names
    _check_header(table, labels_elsewhere=labels_elsewhere)
    for column in columns:
        if column not in names:
            raise InputError(f"there is no column {show(column)}{suggestion(column, names)}")
    soft = {names[i][2:].strip(): i for i in range(len(names)) if names[i].startswith("q:") and names[i] not in columns}
    free = [i for i in range(len(names)) if names[i] not in columns and i not in {*soft.values()}]
    label, identity = special_column(table, free, LABEL_COLUMNS), special_column(table, free, ID_COLUMNS)
    classes = [i for i in free if i not in (label, identity)]
    class_names = tuple(names[i] for i in classes)
    if label is None and not soft and not labels_elsewhere:
        advice = "one column must be called label, target or y, or pass --labels FILE"
        raise InputError(f"no label column among {show_all(names)}: {advice}")
    _check_classes(class_names)
    labels = Labels((), table.place) if label is None else table_labels(table, label)
    if soft:
        if label is not None:
            raise InputError(f"has a column {show(names[label])} and columns q:<class>: keep one kind of labels")
        if unpaired := sorted(soft.keys() ^ set(class_names)):
            raise InputError(f"the columns q:<class> must be one for each class: look at {show(unpaired[0])}")
        labels = Labels(table.numbers([soft[name] for name in class_names]), table.place)
    rows = range(len(table.columns[0]))
    row_names = [as_text(cell) for cell in table.columns[identity]] if identity is not None else [""] * len(rows)
    return Draft(
        logits=table.numbers(classes),
        class_names=class_names,
        row_names=tuple(row_names[i] or f"row {i + 1}" for i in rows),
        labels=labels,
        extra={column: _extra_column(table, names.index(column)) for column in columns},
        place=table.place,
    )


def _check_header(table: Table, *, labels_elsewhere: bool) -> None:
    names = table.names
    numeric = sum(is_number(name, table) for name in names)
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


def is_number(text: str, table: Table) -> bool:
    """True if a text would be read as a number in this table."""
    try:
        float(text.replace(",", ".") if table.decimal_comma else text)
    except ValueError:
        return False
    return True


def special_column(table: Table, free: Sequence[int], words: tuple[str, ...]) -> int | None:
    """The column called by one of `words`, in their order; others may be classes, as Y is among the letters."""
    found = sorted(
        (i for i in free if table.names[i].lower() in words), key=lambda i: words.index(table.names[i].lower())
    )
    for other in found[1:]:
        if all(re.fullmatch(r"-?\d+", as_text(cell)) for cell in table.columns[other]):
            both = f"{show(table.names[found[0]])} and {show(table.names[other])}"
            raise InputError(f"both columns {both} may be the {words[0]}: rename or remove one")
    return found[0] if found else None


def table_labels(table: Table, column: int) -> Labels:
    """The labels in one column, each with its line and the name of the column."""
    name = show(table.names[column])
    return Labels(list(table.columns[column]), lambda row: f"{table.place(row)}, column {name}", tabular=True)


def _extra_column(table: Table, column: int) -> NDArray[np.float64]:
    cells = ["nan" if as_text(cell) == "" else cell for cell in table.columns[column]]
    return replace(table, names=(table.names[column],), columns=(cells,)).numbers([0])[:, 0]


# --- arrays -----------------------------------------------------------------------------------------------------------


def draft_of_arrays(arrays: Arrays, columns: Sequence[str], *, labels_elsewhere: bool) -> Draft:
    """Arrays to logits, labels and names, by the names of the arrays."""
    logits = as_numbers(picked(arrays, LOGITS_KEYS), "logits")
    if logits.ndim not in (2, 3) or logits.size == 0:
        raise InputError(f"the shape of the logits is {logits.shape}: (N, K) or (B, T, K) was expected")
    size = logits.size // logits.shape[-1]
    class_names = _names(arrays, ("class_names",), logits.shape[-1]) or tuple(map(str, range(logits.shape[-1])))
    _check_classes(class_names)
    labels = next((arrays[key] for key in LABEL_KEYS if key in arrays), None)
    if labels is None and not labels_elsewhere:
        others = "" if BARE in arrays else f" among {show_all(arrays)}"
        raise InputError(f"there are no labels{others}: pass --labels FILE, or add an array called labels")
    return Draft(
        logits=logits,
        class_names=class_names,
        row_names=_names(arrays, ROW_NAME_KEYS, size) or tuple(map(row_name, range(size))),
        labels=Labels(() if labels is None else labels, row_name),
        extra=_extra_arrays(arrays, columns, logits.shape),
        place=row_name,
    )


def _check_classes(names: tuple[str, ...]) -> None:
    if len(names) < 2:
        found = f"the only class is {show(names[0])}" if names else "there are no columns of classes"
        raise InputError(f"{found}: two or more are needed (one logit z is the pair 0, z)")
    if (twice := repeated(names)) is not None:
        raise InputError(f"two classes are called {show(twice)}")


def row_name(row: int) -> str:
    """What a row is called where a file gives it no name, counted from 1."""
    return f"row {row + 1}"


def picked(arrays: Arrays, keys: Sequence[str]) -> Any:
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
            raise InputError(f"there is no array {show(column)}{suggestion(column, tuple(arrays))}")
    rows, classes = int(np.prod(shape[:-1])), shape[-1]
    shapes: dict[str, list[tuple[int, ...]]] = {"weight": [(classes,)], "prior": [(classes,), (rows, classes)]}
    extra = {}
    for name in dict.fromkeys((*EXTRA_KEYS, *columns)):
        if arrays.get(name) is None:
            continue
        array = as_numbers(arrays[name], name)
        if len(shape) == 3 and array.shape[:2] == shape[:2]:
            array = array.reshape(rows, *array.shape[2:])
        expected = shapes.get(name, [(rows,)])
        if array.shape not in expected:
            raise InputError(
                f"the shape of {show(name)} is {array.shape}: {' or '.join(map(str, expected))} was expected"
            )
        extra[name] = array
    return extra


def as_numbers(value: Any, name: str) -> NDArray[np.float64]:
    """An array or nested lists as float64; the faulty element is looked for only once there is one."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub":
            raise InputError(f"{name} are of dtype {value.dtype}, numbers were expected (save bfloat16 as float32)")
        return value.astype(np.float64)
    array = as_objects(value)
    if not set(map(type, array.ravel().tolist())) <= {bool, int, float}:
        _find_fault(value, name)
    try:
        return array.astype(np.float64)
    except (OverflowError, ValueError, TypeError):
        raise InputError(f"{name} cannot be read as an array of numbers") from None


def as_objects(value: Any) -> NDArray[np.object_]:
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
