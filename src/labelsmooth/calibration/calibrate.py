"""From streams to the answer: every run assessed, those with an ε compared, one recommendation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .assess import RISKS, Assessment, assess
from .runs import RESAMPLES, Comparison, compare_runs
from .verdict import Recommendation, recommend

if TYPE_CHECKING:
    from labelsmooth.files import Stream


@dataclass(frozen=True, eq=False)
class Given:
    """A run as the user gave it."""

    stream: Stream
    validation: Stream | None = None
    epsilon: float | None = None
    seed: int | None = None
    name: str = ""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was measured of all runs, and what follows."""

    runs: tuple[Assessment, ...]
    run: Assessment  # the one that is shown in full: the only one, or the first with the recommended ε
    comparison: Comparison | None
    recommendation: Recommendation
    notes: tuple[str, ...]  # what is approximate, and what was left out


def calibrate(
    given: Sequence[Given],
    *,
    risks: tuple[float, ...] = RISKS,
    context: tuple[str, ...] = (),
    noise: float | None = None,
    from_probabilities: bool = False,
    resamples: int = RESAMPLES,
    progress: Callable[[float], None] | None = None,
) -> Calibration:
    """Measures runs, compares those of several ε, and recommends.

    Args:
        given: one run or more, of rows that no model was trained on.
        risks: shares of errors at which the coverage is wanted.
        context: what the user says of the model: words of `rules.CONTEXTS`.
        noise: share of wrong training labels, if known.
        from_probabilities: the logits are logarithms of probabilities.
        resamples: of the bootstrap over test rows.
        progress: called with the share of the work done.

    Returns:
        Measures, comparison and recommendation.

    Raises:
        InputError: a row that cannot be used.
        ValueError: runs that cannot be compared, or a risk that is none.
        MissingExtra: SciPy is not installed.

    Example:
        >>> from labelsmooth.data import path
        >>> from labelsmooth.files import open_stream
        >>> calibrate([Given(open_stream(path("digits.csv")))]).recommendation.key
        'leave'
    """
    if not given:
        raise ValueError("there are no runs")
    if not risks or any(not 0 < risk < 1 for risk in risks):
        raise ValueError("a risk is a share of errors between 0 and 1, such as 0.01")
    runs = []
    for number, one in enumerate(given):
        share = _part(progress, number, len(given))
        run = assess(
            one.stream, validation=one.validation, name=one.name, epsilon=one.epsilon, seed=one.seed,
            risks=tuple(sorted(set(risks))), progress=share,
        )  # fmt: skip
        runs.append(run)
    known = [run for run in runs if run.epsilon is not None]
    comparison = compare_runs(runs, resamples=resamples) if len(runs) > 1 and len(known) == len(runs) else None
    shown = _shown(runs, comparison)
    recommendation = recommend(
        shown, comparison, context=context, noise=noise, from_probabilities=from_probabilities, runs=len(runs)
    )
    return Calibration(tuple(runs), shown, comparison, recommendation, tuple(_notes(runs, comparison)))


def _part(progress: Callable[[float], None] | None, number: int, of: int) -> Callable[[float], None] | None:
    return None if progress is None else lambda share: progress((number + share) / of)


def _shown(runs: list[Assessment], comparison: Comparison | None) -> Assessment:
    if comparison is None:
        return runs[0]
    return next(run for run in runs if run.epsilon == comparison.chosen)


def _notes(runs: list[Assessment], comparison: Comparison | None) -> list[str]:
    """What a reader would take for exact or complete and is not."""
    run, notes = runs[0], []
    if run.sample is not None:
        notes.append(
            f"The temperature was fitted on {run.sample:,} rows drawn at random from {run.rows:,}; every measure is of all rows."
        )
    if run.before.null.resamples < 1000:
        notes.append(f"The null tests have {run.before.null.resamples} resamples instead of 1,000.")
    if (ignored := sum(one.ignored for one in runs)) > 0:
        notes.append(f"{ignored:,} ignored rows were left out.")
    if len(runs) > 1 and comparison is None:
        notes.append(
            "Nothing is compared, because not every run has an ε: write FILE,eps=0.1 or put label_smoothing into the file."
        )
    if comparison is not None and len(comparison.groups) == 1:
        notes.append(f"All runs have ε = {comparison.groups[0].epsilon:g}: nothing tells what another one would do.")
    return notes
