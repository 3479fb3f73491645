"""Several runs with their ε: which ε, and is the difference more than luck?

Two kinds of luck are kept apart. Another test set would give other numbers: a paired bootstrap over the test rows says by how
much. Another seed would too: the spread over seeds says it, paired where both ε have the seed. A difference is called one
only if both intervals exclude 0, and nothing is claimed of fewer than three seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._extras import extra
from .assess import Assessment
from .bins import BINS, places

Floats = NDArray[np.float64]

SEEDS = 3  # fewer of them, and no claim
RESAMPLES = 500
# What is compared: the word, and the number of a run.
MEASURED: dict[str, Callable[[Assessment], float]] = {
    "accuracy": lambda a: a.before.accuracy,
    "nll": lambda a: a.before.nll,
    "nll_after": lambda a: a.nll_after,
    "ece": lambda a: a.before.null.ece,
    "ece_after": lambda a: a.before.null.ece if a.after is None else a.after.null.ece,
    "overconfidence": lambda a: a.before.overconfidence,
    "temperature": lambda a: a.temperature.value,
    "aurc": lambda a: a.rankings[0].aurc,
    "aurc_norm": lambda a: a.rankings[-1].aurc,
    "criterion": lambda a: a.criterion,
}
BOOTSTRAPPED = ("accuracy", "nll", "nll_after", "ece")


@dataclass(frozen=True)
class Spread:
    """A number over the seeds."""

    mean: float
    deviation: float  # standard deviation; NaN of one seed
    seeds: int

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.deviation / float(self.seeds**0.5)


@dataclass(frozen=True)
class Difference:
    """A measure at one ε minus that at the smallest ε."""

    mean: float
    seeds: tuple[float, float]  # 95%, t distribution over seeds; infinite of one seed
    paired: bool  # by seed
    rows: tuple[float, float] | None  # 95%, paired bootstrap over test rows; None where runs are not on the same rows

    @property
    def clear(self) -> bool:
        """Whether every interval excludes 0."""
        return all(low > 0 or high < 0 for low, high in (self.seeds, self.rows or self.seeds))


@dataclass(frozen=True, eq=False)
class Group:
    """The runs of one ε."""

    epsilon: float
    seeds: tuple[int | None, ...]
    measured: dict[str, Spread]
    differences: dict[str, Difference]  # to the smallest ε; empty for that one


@dataclass(frozen=True, eq=False)
class Comparison:
    """All ε, and the one that is chosen."""

    groups: tuple[Group, ...]  # by rising ε
    best: float  # ε of the smallest mean criterion
    chosen: float  # the smallest ε within one standard error of it
    error: float  # that standard error
    seeds: int  # of the ε with the fewest
    same_rows: bool  # all runs are on the same labels in the same order
    on_validation: bool  # every run had a validation split to choose by
    resamples: int

    @property
    def enough(self) -> bool:
        """Whether there are seeds enough for a claim."""
        return self.seeds >= SEEDS

    def group(self, epsilon: float) -> Group:
        """The runs of one ε."""
        return next(g for g in self.groups if g.epsilon == epsilon)


def compare_runs(runs: list[Assessment], *, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Compares runs of several ε, over their seeds and over the test rows.

    ε is chosen by the mean NLL after temperature on the validation splits (on the rows themselves where a run has none):
    the smallest ε whose mean is within one standard error of the smallest mean.

    Args:
        runs: two or more, each with its ε, on the same classes.
        resamples: of the bootstrap over test rows.
        seed: of the bootstrap.

    Returns:
        The comparison.

    Raises:
        ValueError: a run without ε, other classes, or one run only.
        MissingExtra: SciPy is not installed.

    Example:
        >>> from dataclasses import replace
        >>> from labelsmooth.calibration.assess import assess
        >>> from labelsmooth.data import path
        >>> from labelsmooth.files import open_stream
        >>> run = assess(open_stream(path("digits.csv")), epsilon=0.0, seed=0)
        >>> found = compare_runs([run, replace(run, epsilon=0.1)], resamples=10)
        >>> found.chosen, found.enough, found.groups[1].differences["accuracy"].mean
        (0.0, False, 0.0)

    Reference: for the one-standard-error rule, Breiman et al., Classification and Regression Trees, 1984, section 3.4.3;
    for the criterion, Berta et al., Rethinking Early Stopping: Refine, Then Calibrate, 2025.
    """
    _check(runs)
    by_epsilon = {e: [r for r in runs if r.epsilon == e] for e in sorted({float(r.epsilon or 0.0) for r in runs})}
    base, *others = by_epsilon
    same = all(np.array_equal(r.seen.rows.label, runs[0].seen.rows.label) for r in runs[1:])
    drawn = _bootstrap(by_epsilon, resamples, seed) if same else {}
    groups = [_group(base, by_epsilon[base], {})]
    for e in others:
        differences = {key: _difference(key, by_epsilon[e], by_epsilon[base], drawn.get((e, key))) for key in MEASURED}
        groups.append(_group(e, by_epsilon[e], differences))
    means = {g.epsilon: g.measured["criterion"] for g in groups}
    best = min(means, key=lambda e: means[e].mean)
    error = means[best].error if means[best].seeds > 1 else 0.0
    chosen = next(e for e in means if means[e].mean <= means[best].mean + error)
    return Comparison(
        groups=tuple(groups),
        best=best,
        chosen=chosen,
        error=error,
        seeds=min(len(g.seeds) for g in groups),
        same_rows=same,
        on_validation=all(r.validation is not None for r in runs),
        resamples=resamples if same else 0,
    )


def _check(runs: list[Assessment]) -> None:
    if len(runs) < 2:
        raise ValueError("a comparison needs two or more runs")
    for run in runs:
        if run.epsilon is None:
            raise ValueError(f"{run.name}: which ε was it trained with? Write {run.name},eps=0.1")
        if run.classes != runs[0].classes:
            raise ValueError(f"{run.name} has {run.classes} classes, {runs[0].name} has {runs[0].classes}")
    seen: set[tuple[float | None, int]] = set()
    for run in runs:
        if run.seed is not None and (run.epsilon, run.seed) in seen:
            raise ValueError(f"{run.name}: there is another run with ε = {run.epsilon:g} and seed {run.seed}")
        if run.seed is not None:
            seen.add((run.epsilon, run.seed))


def _group(epsilon: float, runs: list[Assessment], differences: dict[str, Difference]) -> Group:
    measured = {}
    for key, number in MEASURED.items():
        values = np.array([number(run) for run in runs])
        spread = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
        measured[key] = Spread(float(values.mean()), spread, len(values))
    return Group(epsilon, tuple(run.seed for run in runs), measured, differences)


def _difference(key: str, ours: list[Assessment], base: list[Assessment], drawn: Floats | None) -> Difference:
    number = MEASURED[key]
    mine, theirs = ({r.seed: number(r) for r in runs} for runs in (ours, base))
    common = [s for s in mine if s in theirs and s is not None]
    paired = len(common) == len(ours) == len(base)
    if paired:
        gaps = np.array([mine[s] - theirs[s] for s in common])
        mean, n = float(gaps.mean()), len(gaps)
        error = float(gaps.std(ddof=1)) / n**0.5 if n > 1 else float("inf")
        freedom = n - 1.0
    else:
        a, b = (np.array([number(r) for r in runs]) for runs in (ours, base))
        mean, (error, freedom) = float(a.mean() - b.mean()), _welch(a, b)
    half = _t(freedom) * error if np.isfinite(error) else float("inf")
    rows = None if drawn is None else (float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975)))
    return Difference(mean, (mean - half, mean + half), paired, rows)


def _welch(a: Floats, b: Floats) -> tuple[float, float]:
    """Standard error of a difference of means, and its degrees of freedom."""
    if len(a) < 2 or len(b) < 2:
        return float("inf"), 1.0
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if va + vb == 0:
        return 0.0, float(len(a) + len(b) - 2)
    return float((va + vb) ** 0.5), float((va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1)))


def _t(freedom: float) -> float:
    return float(extra("scipy.special", "comparing runs").stdtrit(freedom, 0.975))


def _bootstrap(by_epsilon: dict[float, list[Assessment]], resamples: int, seed: int) -> dict[tuple[float, str], Floats]:
    """Differences to the smallest ε of each measure, of resampled test rows; all runs see the same resample."""
    base, random = next(iter(by_epsilon)), np.random.default_rng(seed)
    columns = {e: [_columns(run) for run in runs] for e, runs in by_epsilon.items()}
    n = next(iter(by_epsilon.values()))[0].rows
    drawn = {(e, key): np.empty(resamples) for e in by_epsilon for key in BOOTSTRAPPED}
    for i in range(resamples):
        weight = np.bincount(random.integers(0, n, n), minlength=n) / n
        for e, runs in columns.items():
            for key in BOOTSTRAPPED[:3]:
                drawn[e, key][i] = np.mean([weight @ run[key] for run in runs])
            gaps = [np.bincount(run["place"], weights=weight * run["gap"], minlength=BINS) for run in runs]
            drawn[e, "ece"][i] = np.mean([np.abs(gap).sum() for gap in gaps])
    return {(e, key): values - drawn[base, key] for (e, key), values in drawn.items() if e != base}


def _columns(run: Assessment) -> dict[str, NDArray[Any]]:
    rows, after = run.seen.rows, (run.seen_after or run.seen).rows
    return {
        "accuracy": rows.correct.astype(np.float64),
        "nll": -rows.label_log_probability,
        "nll_after": -after.label_log_probability,
        "gap": rows.confidence - rows.correct,
        "place": places(rows.confidence, BINS, "width"),
    }
