"""Rows that need not fit into memory: logits and labels block by block, as often as somebody asks.

A `.npy` file is mapped, and a large `.parquet` file is read some rows at a time; labels, one number a row, are in memory.
Every other format is read whole by `read_batch`, under its limits. The checks are those of `read_batch`, done block by
block, except that -inf is allowed: a class that cannot be predicted is no fault where no cell has to hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelsmooth.errors import InputError

from ._archives import ParquetRows, map_numpy
from ._drafts import (
    LABEL_KEYS,
    Draft,
    Labels,
    as_numbers,
    draft_of_arrays,
    draft_of_table,
    row_name,
    special_column,
    table_labels,
)
from ._guard import named
from ._labels import SUM_TOLERANCE, decoded_labels, read_labels, refuse_lookalikes
from ._load import load
from ._table import BARE, LABEL_COLUMNS, LOGITS_KEYS, Arrays, Table
from .read import read_batch

Block = tuple[NDArray[Any], NDArray[np.int64]]
BLOCK_CELLS = 1 << 18  # logits a block
LARGE_CELLS = 1 << 22  # a Parquet file with fewer is read whole
LOG_OF_ONE = 1e-2  # what float16 may leave of the logarithm of a probability near 1, and of the sum of a row
EPSILON_KEYS = ("label_smoothing", "eps")


@dataclass(frozen=True, eq=False)
class Stream:
    """Logits and labels of N rows; ignored rows are left out."""

    source: str  # what the user typed
    rows: int
    class_names: tuple[str, ...]
    blocks: Callable[[], Iterator[Block]]  # afresh at each call: logits (n, K) and labels (n,)
    ignored: int = 0  # rows left out
    epsilon: float | None = None  # what an archive says in `label_smoothing`
    seed: int | None = None
    validation: Stream | None = None  # `val_logits` and `val_labels` of an archive

    @property
    def classes(self) -> int:
        """K."""
        return len(self.class_names)


def open_stream(
    path: str | Path,
    *,
    labels: str | Path | None = None,
    probabilities: bool = False,
    assume_logits: bool = False,
    ignore_index: int = -100,
) -> Stream:
    r"""Opens logits and labels of any format that `read_batch` reads, `.npy` and `.parquet` without reading them whole.

    Args:
        path: the file; "-" is standard input. A `.npz` may also hold the numbers `label_smoothing` (or `eps`) and `seed`,
            and a validation split as `val_logits` and `val_labels`.
        labels: a second file with the labels, for formats without.
        probabilities: the numbers are probabilities, or logarithms of probabilities.
        assume_logits: the numbers are logits even if they look like probabilities.
        ignore_index: the label of rows to be left out.

    Returns:
        The stream.

    Raises:
        InputError: the file cannot be used; one line with its name. A fault in a later block is raised on the way.
        MissingExtra: the format needs a library that is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "z.npz")
        >>> np.savez(path, logits=[[2.0, 0.5], [0.0, 3.0], [1.0, 1.5]], labels=[0, 1, -100], label_smoothing=0.1)
        >>> stream = open_stream(path)
        >>> stream.rows, stream.classes, stream.ignored, stream.epsilon
        (2, 2, 1, 0.1)
    """
    if probabilities and assume_logits:
        raise ValueError("the numbers are probabilities or logits: give probabilities or assume_logits, not both")
    suffix, options = Path(path).suffix.lower(), _Reading(str(path), probabilities, assume_logits, ignore_index)
    if suffix == ".npy":
        with named(path):
            logits = map_numpy(Path(path))
            class_names = draft_of_arrays({BARE: logits[:1]}, (), labels_elsewhere=True).class_names
            if labels is None:
                raise InputError("a .npy file holds no labels: pass --labels FILE")
        rows, classes = logits.size // logits.shape[-1], logits.shape[-1]
        found = _separate(labels, class_names, rows, ignore_index)
        return _of_blocks(options, lambda: _mapped(Path(path), rows, classes), found, class_names)
    if suffix == ".parquet":
        with named(path):
            opened = ParquetRows(Path(path))
        if opened.rows * opened.width > LARGE_CELLS:
            return _of_parquet(options, opened, labels)
    batch = read_batch(path, labels=labels, allow_nonfinite=True, assume_logits=True, ignore_index=ignore_index)
    if batch.labels is None:
        raise InputError(f"{path}: the labels are distributions, one class a row was expected")
    stream = _stream(options, batch.logits, batch.labels, batch.class_names)
    if suffix != ".npz":
        return stream
    with named(path):
        return _with_facts(
            stream, load(Path(path), wanted=(*EPSILON_KEYS, "seed", "val_logits", "val_labels")), options
        )


def stream_of(
    logits: NDArray[Any], labels: NDArray[Any], class_names: tuple[str, ...] = (), *, source: str = "arrays"
) -> Stream:
    """Logits `(N, K)` and class numbers `(N,)` that are in memory, as a stream.

    >>> stream_of(np.array([[2.0, 0.5], [0.0, 3.0]]), np.array([0, 1])).rows
    2
    """
    options = _Reading(source, probabilities=False, assume_logits=True, ignore_index=-100)
    names = class_names or tuple(map(str, range(logits.shape[1])))
    return _stream(options, logits, _decoded(Labels(labels, row_name), names, len(logits), -100), names)


# --- from blocks of numbers to blocks that can be trusted -------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    """What the user said about the numbers."""

    source: str
    probabilities: bool
    assume_logits: bool
    ignore_index: int

    def trusted(self, numbers: NDArray[Any], start: int) -> NDArray[Any]:
        """Logits of a block that begins at row `start`; a fault names file and row."""
        with named(self.source):
            if np.isnan(numbers).any() or np.isposinf(numbers).any():
                bad = ~(numbers < np.inf)
                row, column = np.argwhere(bad)[0]
                raise InputError(
                    f"{row_name(start + int(row))}, class {column}: {numbers[row, column]:g} is no logit: "
                    "correct or remove that row"
                )
            if self.probabilities:
                return _logarithms(numbers.astype(np.float64), start)
            if start == 0 and not self.assume_logits:
                refuse_lookalikes(numbers.astype(np.float64))
        return numbers


def _logarithms(numbers: NDArray[np.float64], start: int) -> NDArray[np.float64]:
    """Probabilities, or what are their logarithms already."""
    if (numbers <= LOG_OF_ONE).all() and (numbers < 0).any():
        sums, logarithms = np.exp(np.logaddexp.reduce(numbers, axis=1)), numbers
    else:
        if (wrong := (numbers < 0) | (numbers > 1)).any():
            row, column = np.argwhere(wrong)[0]
            raise InputError(
                f"{row_name(start + int(row))}: a probability is from 0 to 1, {numbers[row, column]:g} is not"
            )
        sums = numbers.sum(axis=1)
        with np.errstate(divide="ignore"):
            logarithms = np.log(numbers)
    if (wrong := np.abs(sums - 1) > (LOG_OF_ONE if logarithms is numbers else SUM_TOLERANCE)).any():
        row = int(wrong.argmax())
        raise InputError(f"{row_name(start + row)}: the probabilities sum to {sums[row]:.6g}, not to 1")
    return logarithms


def _stream(
    options: _Reading, numbers: NDArray[Any], labels: NDArray[np.int64], class_names: tuple[str, ...]
) -> Stream:
    """Rows of an array in memory."""
    step = max(BLOCK_CELLS // numbers.shape[1], 1)

    def raw() -> Iterator[NDArray[Any]]:
        for start in range(0, len(numbers), step):
            yield np.asarray(numbers[start : start + step])

    return _of_blocks(options, raw, labels, class_names)


def _mapped(path: Path, rows: int, classes: int) -> Iterator[NDArray[Any]]:
    """Blocks of a .npy file. It is mapped anew for each, so that what was read does not stay in memory."""
    step = max(BLOCK_CELLS // classes, 1)
    for start in range(0, rows, step):
        yield np.array(map_numpy(path).reshape(rows, classes)[start : start + step])


def _of_blocks(
    options: _Reading,
    raw: Callable[[], Iterator[NDArray[Any]]],
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
) -> Stream:
    kept = labels != options.ignore_index
    if not kept.any():
        raise InputError(f"{options.source}: every row is ignored, there is nothing to measure")

    def blocks() -> Iterator[Block]:
        start = 0
        for numbers in raw():
            place = slice(start, start + len(numbers))
            logits, use = options.trusted(numbers, start), kept[place]
            start += len(numbers)
            if use.all():
                yield logits, labels[place]
            elif use.any():
                yield logits[use], labels[place][use]

    count = int(kept.sum())
    return Stream(options.source, count, class_names, blocks, ignored=len(labels) - count)


# --- where labels and facts stand -------------------------------------------------------------------------------------


def _separate(path: str | Path, class_names: tuple[str, ...], rows: int, ignore_index: int) -> NDArray[np.int64]:
    """Labels from a file of their own."""
    with named(path):
        return _decoded(read_labels(Path(path)), class_names, rows, ignore_index)


def _decoded(labels: Labels, class_names: tuple[str, ...], rows: int, ignore_index: int) -> NDArray[np.int64]:
    shape = np.broadcast_to(np.float64(0), (rows, len(class_names)))  # a draft needs the shape and no numbers
    hard, _ = decoded_labels(labels, Draft(shape, class_names, (), labels, {}, row_name), ignore_index)
    if hard is None:
        raise InputError("the labels are distributions, one class a row was expected")
    return hard


def _of_parquet(options: _Reading, file: ParquetRows, labels_file: str | Path | None) -> Stream:
    """A large Parquet file: the label column is read first, then some rows at a time."""
    elsewhere = labels_file is not None
    with named(options.source):
        first = file.head()
        if isinstance(first, Table):
            draft = draft_of_table(first, (), labels_elsewhere=elsewhere)
            wanted = list(draft.class_names)
            column = special_column(first, range(len(first.names)), LABEL_COLUMNS)
            name = None if column is None else first.names[column]
        else:
            draft = draft_of_arrays(first, (), labels_elsewhere=elsewhere)
            wanted = [next(key for key in LOGITS_KEYS if key in first)]
            name = next((key for key in LABEL_KEYS if key in first), None)
    if labels_file is not None:
        labels = _separate(labels_file, draft.class_names, file.rows, options.ignore_index)
    else:
        with named(options.source):
            if name is None:
                raise InputError("the labels are distributions, one class a row was expected")
            column_table = Table((name,), (file.column(name),), lambda row: f"row {row + 1}")
            labels = _decoded(table_labels(column_table, 0), draft.class_names, file.rows, options.ignore_index)
    step = max(BLOCK_CELLS // len(draft.class_names), 1)
    return _of_blocks(options, lambda: file.blocks(wanted, step), labels, draft.class_names)


def _with_facts(stream: Stream, arrays: Table | Arrays, options: _Reading) -> Stream:
    """ε, seed and validation split of an archive."""
    if isinstance(arrays, Table):
        return stream
    epsilon = next((_scalar(arrays, key) for key in EPSILON_KEYS if arrays.get(key) is not None), None)
    seed = _scalar(arrays, "seed") if arrays.get("seed") is not None else None
    validation = None
    if arrays.get("val_logits") is not None:
        logits = as_numbers(arrays["val_logits"], "val_logits")
        if arrays.get("val_labels") is None or logits.ndim != 2 or logits.shape[1] != stream.classes:
            raise InputError(f"val_logits must be (N, {stream.classes}) and have val_labels beside them")
        found = _decoded(Labels(arrays["val_labels"], row_name), stream.class_names, len(logits), options.ignore_index)
        validation = _stream(
            replace(options, source=f"{options.source} (val_logits)"), logits, found, stream.class_names
        )
    return replace(stream, epsilon=epsilon, seed=None if seed is None else int(seed), validation=validation)


def _scalar(arrays: Arrays, key: str) -> float:
    value = as_numbers(arrays[key], key)
    if value.size != 1 or not np.isfinite(value).all():
        raise InputError(f"{key} must be one number, its shape is {value.shape}")
    return float(value.ravel()[0])
