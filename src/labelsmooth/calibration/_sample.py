"""The rows that a temperature is fitted on, put aside while all rows stream by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Block = tuple[NDArray[Any], NDArray[np.int64]]

SAMPLE_CELLS = 10_000_000  # logits that are kept, 80 MB


class Sample:
    """The rows whose logits are kept: all, or as many as fit into SAMPLE_CELLS, drawn at random."""

    def __init__(self, rows: int, classes: int) -> None:
        self.size = min(rows, max(SAMPLE_CELLS // classes, 1))
        self._kept = np.zeros(rows, dtype=bool)
        self._kept[np.random.default_rng(0).choice(rows, self.size, replace=False)] = True
        self._parts: list[Block] = []

    def keeping(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The blocks as they come, of which some rows are put aside."""
        start = 0
        for logits, labels in blocks:
            mine = self._kept[start : start + len(labels)]
            start += len(labels)
            self._parts.append((np.array(logits[mine]), labels[mine]))
            yield logits, labels

    def arrays(self) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Logits, labels and numbers of the kept rows."""
        logits, labels = zip(*self._parts, strict=True)
        return np.concatenate(logits), np.concatenate(labels), np.flatnonzero(self._kept)
