"""A batch as the diagnosis holds it, and its labels as a mistake in them leaves them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from labelsmooth.maths.evaluate import Array

from ._recipes import Facts
from ._views import View

Bools = NDArray[np.bool_]
LARGEST_HALF = 65504.0


@dataclass(frozen=True, eq=False)
class Data:
    """A checked batch: what the numbers in question were computed from."""

    logits: Array  # (N, K)
    labels: NDArray[np.int64]  # (N,), 0 in rows that do not count; unused where labels are soft
    counts: Bools  # (N,)
    soft: Array | None = None  # (N, K)
    weight: Array | None = None  # (K,)
    prior: Array | None = None  # (K,) or (N, K)
    rank: NDArray[np.int64] | None = None  # place of each class name in alphabetical order
    sequences: int = 0

    def facts(self, *, per_row: bool, ignore_index: int) -> Facts:
        """What decides which causes are possible."""
        rows, classes = self.logits.shape
        seen = frozenset() if self.soft is not None else frozenset(self.labels[self.counts].tolist())
        moved = self.rank is not None and bool(np.any(self.rank != np.arange(classes)))
        return Facts(
            rows, classes, seen, soft=self.soft is not None, per_row=per_row, ignored=not bool(self.counts.all()),
            weighted=self.weight is not None, prior=self.prior is not None, ignore_index=ignore_index,
            sequences=self.sequences, sorted_differs=moved, overflows=self._overflows(per_row=per_row),
        )  # fmt: skip

    def _overflows(self, *, per_row: bool) -> bool:
        """Whether a sum of log-probabilities is beyond float16: only then can float16 be told from rounding."""
        rows = self.logits[self.counts]
        if not np.all(np.abs(rows) < LARGEST_HALF):
            return False
        most = rows.shape[1] * float(np.ptp(rows, axis=1).max() + np.log(rows.shape[1]))
        if most * (1 if per_row else len(rows)) <= LARGEST_HALF:
            return False
        whole = View(rows, "float16", 1.0).total()
        return bool(np.isinf(whole).any() or (not per_row and whole.sum() > LARGEST_HALF))


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels as a recipe takes them."""

    hard: NDArray[np.int64]
    soft: Array | None
    counts: Bools
    uniform: Bools | None = None  # rows whose target is uniform
    blind: Bools | None = None  # rows without the label's part


def relabelled(d: Data, how: str) -> Labels:
    """The labels after a mistake in them; `how` is a value of a recipe's field `labels`."""
    K = d.logits.shape[1]
    maps: dict[str, Callable[[], NDArray[np.int64]]] = {
        "+1": lambda: (np.arange(K) + 1) % K,
        "-1": lambda: (np.arange(K) - 1) % K,
        "reversed": lambda: np.arange(K)[::-1],
        "sorted": lambda: np.arange(K) if d.rank is None else d.rank,
    }
    if how in maps:
        to = maps[how]()
        soft = None
        if d.soft is not None:
            soft = np.empty_like(d.soft)
            soft[:, to] = d.soft
        return Labels(to[d.labels], soft, d.counts)
    if how == "given":
        return Labels(d.labels, d.soft, d.counts)
    return _shifted(d, *how.split(", "))


def _shifted(d: Data, direction: str, end: str) -> Labels:
    """Labels of the next or previous row, within each sequence."""
    rows = len(d.logits)
    length = rows // max(d.sequences, 1)
    index = np.arange(rows).reshape(-1, length)
    from_row = np.roll(index, -1 if direction == "next" else 1, axis=1)
    counts = d.counts[from_row]
    if end == "cut":
        counts[:, -1 if direction == "next" else 0] = False
    flat = from_row.ravel()
    return Labels(d.labels[flat], None if d.soft is None else d.soft[flat], counts.ravel())


def with_rows(labels: Labels, rows: str) -> Labels:
    """What becomes of rows that do not count, or are taken for padding."""
    off = ~labels.counts
    everything = np.ones(len(labels.counts), bool)
    if rows.startswith("padding"):
        return replace(labels, counts=labels.counts & (labels.hard != int(rows.split()[1])))
    if rows == "taken for class 0":
        return replace(labels, hard=np.where(off, 0, labels.hard), counts=everything)
    if rows == "become uniform":
        return replace(labels, counts=everything, uniform=off)
    return replace(labels, counts=everything, blind=off) if rows == "keep the uniform part" else labels
