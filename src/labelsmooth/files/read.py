"""Logits, labels, priors and weights from the files people have: the two functions that read, and what they give.

The rest of the package can trust a `Batch`: finite logits (N, K), N >= 1, K >= 2, distinct class names, labels in
range. A fault is one line with file, row and column as the user sees them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelsmooth.errors import InputError

from ._drafts import (
    EXTRA_KEYS,
    LABEL_KEYS,
    ROW_NAME_KEYS,
    as_numbers,
    draft_of_arrays,
    draft_of_table,
    is_number,
    picked,
)
from ._guard import named
from ._labels import checked_logits, decoded_labels, read_labels, refuse_lookalikes
from ._load import load
from ._table import LOGITS_KEYS, Table


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

    def first(self, rows: int) -> Batch:
        r"""The first rows, or all if there are no more: as if the file ended there.

        Example:
            >>> import pathlib, tempfile
            >>> path = pathlib.Path(tempfile.mkdtemp(), "batch.csv")
            >>> _ = path.write_text("label,cat,dog\ncat,2.5,0.5\ndog,1.0,-1.0\n")
            >>> read_batch(path).first(1).logits.tolist()
            [[2.5, 0.5]]
        """
        return replace(
            self,
            logits=self.logits[:rows],
            labels=None if self.labels is None else self.labels[:rows],
            soft_labels=None if self.soft_labels is None else self.soft_labels[:rows],
            row_names=self.row_names[:rows],
            extra={
                name: values if _one_a_class(name, values) else values[:rows] for name, values in self.extra.items()
            },
        )


def _one_a_class(name: str, values: NDArray[np.float64]) -> bool:
    return name == "weight" or (name == "prior" and values.ndim == 1)


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
    r"""Reads logits and labels from a file of any format in `_load.READERS`, or from standard input.

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
    with named(path):
        raw = load(Path(path), wanted=wanted)
        if isinstance(raw, Table):
            draft = draft_of_table(raw, columns, labels_elsewhere=labels is not None)
        else:
            draft = draft_of_arrays(raw, columns, labels_elsewhere=labels is not None)
        logits = checked_logits(draft, probabilities=probabilities, allow_nonfinite=allow_nonfinite)
        if not (probabilities or assume_logits):
            refuse_lookalikes(logits)
    with named(path if labels is None else labels):
        hard, soft = decoded_labels(draft.labels if labels is None else read_labels(Path(labels)), draft, ignore_index)
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
    with named(path):
        raw = load(Path(path), wanted=keys)
        values = _vector_of_table(raw, keys) if isinstance(raw, Table) else as_numbers(picked(raw, keys), what)
        if values.ndim not in ((1, 2) if what == "prior" else (1,)) or values.size == 0:
            raise InputError(f"the shape of the {what} is {values.shape}, a list of numbers was expected")
        if length is not None and values.shape[-1] != length:
            raise InputError(f"{values.shape[-1]} numbers for the {what}, {length} were expected")
        if not allow_nonfinite and not np.isfinite(values).all():
            raise InputError(f"the {what} must be finite, {values[~np.isfinite(values)][0]} is not")
    return values


def _vector_of_table(table: Table, keys: Sequence[str]) -> NDArray[np.float64]:
    column = next((i for key in keys for i, name in enumerate(table.names) if name.lower() == key), None)
    names, rows = table.names, len(table.columns[0])
    counted = len(names) > 1 and names == tuple(map(str, range(len(names)))) and rows
    if column is not None and rows:
        return table.numbers([column])[:, 0]
    if all(is_number(name, table) for name in names) and not counted:  # no header: the first line holds numbers too
        columns = tuple([name, *cells] for name, cells in zip(names, table.columns, strict=True))
        below = table.place
        table = replace(table, columns=columns, place=lambda row: below(row - 1) if row else "line 1")
    elif not rows:
        raise InputError("there is a header and no rows below it")
    values = table.numbers(range(len(names)))
    return values.ravel() if 1 in values.shape else values
