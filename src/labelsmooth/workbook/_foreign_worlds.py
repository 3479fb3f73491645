"""Numbers for one reading of a stranger's table: those that stand in the file, and random ones for recognising formulas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelsmooth.maths.evaluate import Array
from labelsmooth.workbook._foreign_cells import Web
from labelsmooth.workbook._foreign_formula import At
from labelsmooth.workbook._foreign_inputs import INDEX, PROBABILITIES, TARGETS, Labels, Table
from labelsmooth.workbook._foreign_labels import value_of
from labelsmooth.workbook._foreign_values import Scalar


@dataclass(frozen=True)
class Inputs:
    """Numbers for one reading in several worlds: what stands in its cells, and what they mean."""

    cells: tuple[dict[At, Scalar], ...]
    logits: Array  # (W, N, K)
    labels: Any  # (W, N) class numbers, or (W, N, K) distributions; None without labels
    epsilon: Array  # (W,)


def worlds_needed(rows: int, classes: int) -> int:
    """How many random batches tell rows and classes apart by their labels; fewer where each costs more."""
    return 14 if rows * classes <= 200 else 8


def random_inputs(table: Table, *, worlds: int) -> Inputs:
    """Random numbers for a reading; the same each time."""
    rng = np.random.default_rng(20201)
    N, K = len(table.lines), table.classes
    z = rng.normal(size=(worlds, N, K)) * 1.7
    if table.binary:
        z[:, :, 1] = 0.0
    y = rng.integers(K, size=(worlds, N))
    y[-1] = (y[0] + 1) % K  # no row keeps its label through all worlds
    epsilon = rng.uniform(0.05, 0.6, size=worlds)
    if not isinstance(table.epsilon, At):
        epsilon[:] = table.epsilon or 0.0
    labels: Any = y
    if table.labels is not None and table.labels.soft:
        labels = rng.dirichlet(np.ones(K), size=(worlds, N))
    cells = tuple(_cells(table, z[w], labels[w], float(epsilon[w])) for w in range(worlds))
    return Inputs(cells, z, labels if table.labels is not None else None, epsilon)


def _cells(table: Table, z: Array, labels: Any, epsilon: float) -> dict[At, Scalar]:
    shown = z
    if table.kind == PROBABILITIES:
        shown = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    out: dict[At, Scalar] = {at: float(shown[n, k]) for n, line in enumerate(table.lines) for k, at in enumerate(line)}
    if table.labels is not None:
        for n, line in enumerate(table.labels.cells):
            for k, at in enumerate(line):
                out[at] = _label(table.labels, labels[n], k)
    if isinstance(table.epsilon, At):
        out[table.epsilon] = epsilon
    return out


def _label(labels: Labels, y: Any, k: int) -> Scalar:
    if labels.kind == TARGETS:
        return float(y[k]) if labels.soft else float(y == k)
    return float(y + labels.base) if labels.kind == INDEX else labels.names[int(y)]


def actual_inputs(web: Web, table: Table) -> Inputs:
    """The numbers that stand in the file.

    Raises:
        ValueError: they are no batch: a cell without a number, a target that is no distribution.
    """

    def numbers(lines: Sequence[Sequence[At]]) -> Array:
        found = [[value_of(web, at) for at in line] for line in lines]
        bad = [
            at for line, row in zip(lines, found, strict=True) for at, x in zip(line, row, strict=True)
            if not isinstance(x, float)
        ]  # fmt: skip
        if bad:
            raise ValueError(f"{bad[0].shown} holds no number")
        return np.array(found, dtype=float)

    shown = numbers(table.lines)
    if table.kind == PROBABILITIES:
        if (shown < 0).any() or (shown > 1).any():
            raise ValueError("what stands under the logarithm is no probability")
        shown = np.hstack([shown, 1 - shown]) if table.binary else shown
        z = np.log(np.maximum(shown, np.finfo(float).tiny))
    else:
        z = np.hstack([shown, 0 * shown]) if table.binary else shown
    labels: Any = None
    if (found := table.labels) is not None:
        if found.kind == TARGETS:
            q = numbers(found.cells)
            q = np.hstack([q, 1 - q]) if q.shape[1] == 1 else q
            labels = q if found.soft or (q.sum(axis=1) != 1).any() else q.argmax(axis=1)
        elif found.kind == INDEX:
            labels = numbers(found.cells)[:, 0].astype(np.int64) - found.base
        else:
            places = {name.strip().casefold(): k for k, name in enumerate(found.names)}
            labels = np.array([places[str(web.typed[line[0]]).strip().casefold()] for line in found.cells])
        labels = labels[None]
    epsilon = table.epsilon
    value = value_of(web, epsilon) if isinstance(epsilon, At) else epsilon or 0.0
    return Inputs(({},), z[None], labels, np.array([value], dtype=float))
