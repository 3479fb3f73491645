"""Runs as a table, and what differs between two cells of it, seed by seed.

Runs of one seed share their training rows, first weights and test rows, so that the difference within a seed is freed of what
seeds differ in. The interval is Student's over the seeds' differences: what other training rows and weights would give. It
does not know that the test rows are a sample too, which for one comparison is the business of `labelsmooth calibrate`, and it
is made for each comparison alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from ._extras import extra

LEVEL = 0.95
FEWEST = 3  # seeds, below which nothing is concluded


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95% interval; NaN where there are fewer than two."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def sign(self) -> int:
        """1 above zero, -1 below, 0 where zero is inside or there are fewer than three seeds."""
        if self.seeds < FEWEST:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def interval(values: Iterable[float]) -> Interval:
    """Mean and Student's 95% interval.

    Args:
        values: one a seed.

    Example:
        >>> found = interval([1.0, 2.0, 3.0])
        >>> round(found.low, 3), found.mean, round(found.high, 3)
        (-0.484, 2.0, 4.484)
    """
    x = np.fromiter(values, np.float64)
    if len(x) < 2:
        nan = float("nan")
        return Interval(float(x[0]) if len(x) else nan, nan, nan, len(x))
    quantile = float(extra("scipy.stats", "an interval").t.ppf((1 + LEVEL) / 2, len(x) - 1))
    half = quantile * float(x.std(ddof=1)) / sqrt(len(x))
    mean = float(x.mean())
    return Interval(mean, mean - half, mean + half, len(x))


@dataclass(frozen=True)
class Cell:
    """One measure of one group at one ε."""

    group: str
    label_smoothing: float
    measure: str


class Table:
    """The measures of all runs, by group, ε and seed. The students of a run are groups of their own."""

    def __init__(self, records: Sequence[dict[str, Any]]) -> None:
        self._found: dict[tuple[str, float], dict[int, dict[str, float]]] = {}
        for record in records:
            told = record["settings"]
            parts = {told["name"]: record["measures"]}
            parts |= {student_group(told["name"], word): m for word, m in record.get("students", {}).items()}
            for group, measures in parts.items():
                self._found.setdefault((group, float(told["label_smoothing"])), {})[int(told["seed"])] = measures

    @property
    def groups(self) -> list[str]:
        """Their names, in the order of the runs."""
        return list(dict.fromkeys(group for group, _ in self._found))

    def epsilons(self, group: str) -> list[float]:
        """Those of a group, rising."""
        return sorted(epsilon for name, epsilon in self._found if name == group)

    def seeds(self, cell: Cell) -> dict[int, float]:
        """The measure by seed; empty where there is none."""
        runs = self._found.get((cell.group, cell.label_smoothing), {})
        return {seed: measures[cell.measure] for seed, measures in runs.items() if cell.measure in measures}

    def measures(self, group: str, label_smoothing: float) -> list[str]:
        """Words of the measures that every run of the cell has."""
        runs = list(self._found.get((group, label_smoothing), {}).values())
        return [word for word in runs[0] if all(word in run for run in runs)] if runs else []

    def contrast(self, terms: Sequence[tuple[float, Cell]]) -> Interval:
        """Σ factor · cell, over the seeds that all cells have.

        >>> runs = [{"settings": {"name": "a", "label_smoothing": e, "seed": s}, "measures": {"ece": e + s}}
        ...         for e in (0.0, 0.1) for s in (1, 2)]
        >>> found = Table(runs).contrast([(1, Cell("a", 0.1, "ece")), (-1, Cell("a", 0.0, "ece"))])
        >>> round(found.mean, 12), found.seeds
        (0.1, 2)
        """
        found = [self.seeds(cell) for _, cell in terms]
        common = sorted(set.intersection(*map(set, found))) if found else []
        return interval(sum(f * one[seed] for (f, _), one in zip(terms, found, strict=True)) for seed in common)


def student_group(teacher: str, word: str) -> str:
    """The name under which a teacher's students stand: "fashion-distil T=4"."""
    return f"{teacher} {word}"


def chosen(table: Table, group: str) -> float | None:
    """The ε that validation rows choose: the smallest whose NLL with T is within a standard error of the smallest mean.

    The rule and the number are those of `calibrate`; None where there is one ε, or fewer than three seeds of one.
    """
    found = {e: list(table.seeds(Cell(group, e, "validation_nll_after")).values()) for e in table.epsilons(group)}
    if len(found) < 2 or min(map(len, found.values())) < FEWEST:
        return None
    means = {epsilon: float(np.mean(values)) for epsilon, values in found.items()}
    best = min(means, key=lambda epsilon: means[epsilon])
    error = float(np.std(found[best], ddof=1)) / sqrt(len(found[best]))
    return next(epsilon for epsilon in means if means[epsilon] <= means[best] + error)


def summary(table: Table) -> list[dict[str, Any]]:
    """For each group and ε: each measure's mean and standard deviation over seeds, and its difference from ε = 0."""
    rows = []
    for group in table.groups:
        for epsilon in table.epsilons(group):
            measures = {}
            for word in table.measures(group, epsilon):
                cell, plain = Cell(group, epsilon, word), Cell(group, 0.0, word)
                values = list(table.seeds(cell).values())
                told: dict[str, Any] = {
                    "mean": float(np.mean(values)),
                    "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                }
                if epsilon and table.seeds(plain):
                    change = table.contrast([(1.0, cell), (-1.0, plain)])
                    told["difference"] = [change.mean, change.low, change.high]
                measures[word] = told
            seeds = sorted(table.seeds(Cell(group, epsilon, "accuracy")))
            rows.append({"group": group, "label_smoothing": epsilon, "seeds": seeds, "measures": measures})
    return rows
