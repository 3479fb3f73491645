"""A draft to what the package can trust: labels become class numbers or distributions, logits are checked.

Nothing is guessed in silence: numbers that look like probabilities or log-probabilities are refused with the option
that says what they are, and a label that may be meant in two ways is read by one rule, which `read_batch` states.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelsmooth.errors import InputError

from ._drafts import LABEL_KEYS, Draft, Labels, as_numbers, as_objects, picked, row_name, special_column, table_labels
from ._guard import check_file
from ._load import load
from ._table import LABEL_COLUMNS, Arrays, Table, as_text, show, show_all, suggestion
from ._text import read_text

IGNORED_LABELS = ("", "ignore", "ignored", "nan")
SUM_TOLERANCE = 1e-3  # of probabilities in a row: what three decimals or float16 leave of a sum of 1
LOG_SUM_TOLERANCE = 1e-6  # of log-probabilities: float32 keeps it, and logits do not have it by chance


# --- labels -----------------------------------------------------------------------------------------------------------


def read_labels(path: Path) -> Labels:
    """A file of nothing but labels: an array, a list, or a text with one a line and `label` perhaps above them."""
    if path.suffix.lower() == ".txt" and path.is_file():
        check_file(path)
        lines = [line.strip() for line in read_text(path).rstrip().split("\n")]
        raw: Table | Arrays = Table((lines[0],), (lines[1:],), lambda row: f"line {row + 2}")
    else:
        raw = load(path, wanted=LABEL_KEYS)
    if not isinstance(raw, Table):
        return Labels(picked(raw, LABEL_KEYS), row_name)
    column = special_column(raw, range(len(raw.names)), LABEL_COLUMNS)
    if column is not None:
        return table_labels(raw, column)
    if len(raw.names) > 1:
        raise InputError(f"no label column among {show_all(raw.names)}: one must be called label, target or y")
    cells = [raw.names[0], *raw.columns[0]]
    return Labels(cells, lambda row: raw.place(row - 1) if row else "line 1", tabular=True)


def decoded_labels(
    labels: Labels, draft: Draft, ignore_index: int
) -> tuple[NDArray[np.int64] | None, NDArray[np.float64] | None]:
    """Class numbers (N,) or distributions (N, K), by the shape."""
    shape, cells = draft.logits.shape, labels.cells
    array = cells if isinstance(cells, np.ndarray) else as_objects(cells)
    if array.shape == shape:
        return None, _checked_soft_labels(as_numbers(cells, "soft labels").reshape(-1, shape[-1]), draft, labels.place)
    rows = int(np.prod(shape[:-1]))
    if array.shape not in (shape[:-1], (*shape[:-1], 1), (rows,)):
        if array.ndim == 1:
            raise InputError(f"{len(array)} labels for {rows} rows of logits")
        raise InputError(
            f"the shape of the labels is {array.shape}, but of the logits {shape}: classes stand last there"
        )
    return _class_numbers(array.ravel().tolist(), labels, draft.class_names, ignore_index), None


def _class_numbers(cells: list[Any], labels: Labels, names: tuple[str, ...], ignore_index: int) -> NDArray[np.int64]:
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
            f"{show(text)} is neither a class nor a class number{suggestion(text, names)}; classes: {show_all(names)}"
        )
    if number < 0:
        return f"label {number} is negative: a row to be ignored has the label ignore_index, set it with --ignore-index"
    counted = f"the {len(names)} classes are numbered 0 to {len(names) - 1}"
    from_one = (
        " (the labels seem to be counted from 1: subtract 1)" if (min(known), max(known)) == (1, len(names)) else ""
    )
    return f"label {number} is out of range: {counted}{from_one}"


# --- checks -----------------------------------------------------------------------------------------------------------


def checked_logits(draft: Draft, *, probabilities: bool, allow_nonfinite: bool) -> NDArray[np.float64]:
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


def _refuse_cell(values: NDArray[np.float64], wrong: NDArray[np.bool_], draft: Draft, fault: str) -> None:
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


def _checked_soft_labels(soft: NDArray[np.float64], draft: Draft, place: Callable[[int], str]) -> NDArray[np.float64]:
    named = replace(draft, place=place)
    _refuse_cell(soft, ~((soft >= 0) & np.isfinite(soft)), named, "cannot be part of a distribution")
    _check_sums(soft, place, "the soft labels")
    return soft


def refuse_lookalikes(logits: NDArray[np.float64]) -> None:
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
