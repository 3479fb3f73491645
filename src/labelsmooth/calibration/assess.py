"""One run, measured: everything that is said about it later is a number of its `Assessment`.

The logits are read twice. On the first pass each row is reduced to its facts, and a sample of the logits is kept to fit the
temperature on, all of them where they are few; on the second pass the facts are taken again at the temperature. So every
measure is of all rows and exact for the temperature that it names; what a sample stands behind is the temperature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import measures as m
from ._sample import Block, Sample
from .rows import NORMS, Observed, Rows, observe, observe_blocks
from .selective import aurc, best_norm, coverage_at_risk, excess_aurc, norm_score, risk_at_coverage
from .smoothing import Smoothing, trained_with_smoothing
from .temperature import FOLDS, QUANTILE, Temperature, dealt, fit_temperature, fold_temperatures

if TYPE_CHECKING:
    from labelsmooth.files import Stream

Floats = NDArray[np.float64]
Progress = Callable[[float], None]

RISKS = (0.01, 0.02, 0.05)
SUREST = 0.1  # the share of rows whose errors tell whether the ranking is damaged
TOP = (2, 3, 5)
WORST = 5  # classes that are named


@dataclass(frozen=True, eq=False)
class Measures:
    """What is measured of one set of probabilities. Intervals are 95%, of a mean over rows."""

    accuracy: float
    top_k: dict[int, float]
    nll: float
    brier: float
    mean_confidence: float
    overconfidence: float  # mean confidence − accuracy
    null: m.NullTest  # ECE in bins of equal width, and what chance makes of it
    null_mass: m.NullTest  # the same in bins of equal mass
    smooth_ece: float
    classwise_ece: float
    worst_classes: tuple[tuple[int, float], ...]  # class and its ECE
    decomposition: m.Decomposition
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Ranking:
    """How well one score ranks hits above errors."""

    score: str
    aurc: float
    excess: float  # AURC above that of the best ranking of the same predictions
    coverage: dict[float, float]  # risk -> the largest coverage with no more than it
    surest_errors: float  # share of errors among the surest tenth


@dataclass(frozen=True, eq=False)
class Assessment:
    """Everything that was measured of one run."""

    name: str
    rows: int
    classes: int
    class_names: tuple[str, ...]
    ignored: int
    epsilon: float | None  # as the user or the file says
    seed: int | None
    before: Measures
    after: Measures | None  # at the temperature; None if it was refused
    temperature: Temperature
    fitted_on: str  # "validation" or "cross-fitting"
    sample: int | None  # rows the temperature was fitted on, where these were not all
    rankings: tuple[Ranking, ...]
    norm: int  # p of the logit norm
    norm_agreed: bool  # every fold, or the validation split, chose it
    smoothing: Smoothing
    median_gap: float
    saturated: float  # share of confidences that are 1.0 in float32
    infinite: int  # rows whose label has probability 0
    missing: int  # classes that no row has as its label
    validation: Validation | None
    seen: Observed
    seen_after: Observed | None
    norm_scores: NDArray[np.float32]

    @property
    def nll_after(self) -> float:
        """NLL after temperature, and without it where it was refused: what runs are compared by on these rows."""
        return self.before.nll if self.after is None else self.after.nll

    @property
    def criterion(self) -> float:
        """NLL after temperature on the validation split, else on these rows: what ε is chosen by."""
        return self.nll_after if self.validation is None else self.validation.nll_after


@dataclass(frozen=True)
class Validation:
    """The validation split."""

    rows: int
    accuracy: float
    nll: float
    nll_after: float  # cross-fitted among its own rows


def assess(
    stream: Stream,
    *,
    validation: Stream | None = None,
    name: str = "",
    epsilon: float | None = None,
    seed: int | None = None,
    risks: tuple[float, ...] = RISKS,
    progress: Progress | None = None,
) -> Assessment:
    """Measures one run.

    Args:
        stream: logits and labels of rows that the model was not trained on (`labelsmooth.files.open_stream`).
        validation: other such rows to fit the temperature on; without them it is cross-fitted among the rows themselves.
        name: of the run; the file's by default.
        epsilon: ε it was trained with, if known and not in the file.
        seed: of its training, if known and not in the file.
        risks: shares of errors at which the coverage is wanted.
        progress: called with the share of the work done.

    Returns:
        The assessment.

    Raises:
        InputError: a row that cannot be used.
        ValueError: a validation split of other classes.
        MissingExtra: SciPy is not installed.

    Example:
        >>> from labelsmooth.data import path
        >>> from labelsmooth.files import open_stream
        >>> found = assess(open_stream(path("digits.csv")))
        >>> found.rows, found.before.accuracy, found.fitted_on
        (200, 0.935, 'cross-fitting')
    """
    share, held = progress or (lambda _: None), _split(stream, validation)
    sample = Sample(stream.rows, stream.classes)
    seen = observe_blocks(sample.keeping(_counted(stream, share, 0.0)))
    temperature, each, norms, split = (
        _among_themselves(seen.rows, sample) if held is None else _from_validation(held, stream.rows)
    )
    after = observe_blocks(_counted(stream, share, 0.5), each) if temperature.usable else None
    norm = max(NORMS, key=norms.count)
    scores = norm_score(seen.rows, norm)
    return Assessment(
        name=name or stream.source,
        rows=stream.rows,
        classes=stream.classes,
        class_names=stream.class_names,
        ignored=stream.ignored,
        epsilon=stream.epsilon if epsilon is None else epsilon,
        seed=stream.seed if seed is None else seed,
        before=measure(seen),
        after=None if after is None else measure(after),
        temperature=temperature,
        fitted_on="cross-fitting" if held is None else "validation",
        sample=sample.size if held is None and sample.size < stream.rows else None,
        rankings=_rankings(seen.rows, after, scores, norm, risks),
        norm=norm,
        norm_agreed=len(set(norms)) == 1,
        smoothing=trained_with_smoothing(seen.rows, stream.classes),
        median_gap=float(np.median(seen.rows.gap)),
        saturated=float((seen.rows.confidence.astype(np.float32) == 1).mean()),
        infinite=int(np.isneginf(seen.rows.label_log_probability).sum()),
        missing=stream.classes - len(np.unique(seen.rows.label)),
        validation=split,
        seen=seen,
        seen_after=after,
        norm_scores=scores,
    )


def _split(stream: Stream, validation: Stream | None) -> Stream | None:
    """The validation split, given or in the file."""
    held = stream.validation if validation is None else validation
    if held is not None and held.classes != stream.classes:
        raise ValueError(f"the validation split has {held.classes} classes, the rows have {stream.classes}")
    return held


def measure(seen: Observed) -> Measures:
    """All measures of one set of probabilities.

    >>> measure(observe([[2.0, 0.0], [0.0, 1.0]], [0, 1])).accuracy
    1.0
    """
    rows, hit = seen.rows, seen.rows.correct
    by_class = m.classwise_ece(seen.classes)
    worst = np.argsort(-by_class, kind="stable")[:WORST]
    parts = {
        "accuracy": hit.astype(np.float64),
        "nll": -rows.label_log_probability,
        "brier": rows.brier,
        "overconfidence": rows.confidence - hit,
    }
    return Measures(
        accuracy=m.accuracy(hit),
        top_k={k: m.top_k(rows.rank, k) for k in TOP if k < len(by_class)},
        nll=m.nll(rows.label_log_probability),
        brier=m.brier(rows.brier),
        mean_confidence=float(rows.confidence.mean()),
        overconfidence=m.overconfidence(rows.confidence, hit),
        null=m.null_test(rows.confidence, hit),
        null_mass=m.null_test(rows.confidence, hit, scheme="mass"),
        smooth_ece=m.smooth_ece(rows.confidence, hit),
        classwise_ece=float(by_class.mean()),
        worst_classes=tuple((int(k), float(by_class[k])) for k in worst),
        decomposition=m.decompose(rows.confidence, hit),
        intervals={key: _interval(values) for key, values in parts.items()},
    )


def _interval(values: Floats) -> tuple[float, float]:
    """95% for the mean over rows; without end where a value is infinite."""
    if len(values) < 2 or not np.isfinite(values).all():
        return (float("-inf"), float("inf"))
    mean, half = float(values.mean()), QUANTILE * float(values.std(ddof=1)) / len(values) ** 0.5
    return mean - half, mean + half


def _rankings(
    rows: Rows, after: Observed | None, norm_scores: NDArray[np.float32], norm: int, risks: tuple[float, ...]
) -> tuple[Ranking, ...]:
    scores = {"confidence": rows.confidence}
    if after is not None:
        scores["confidence, T"] = after.rows.confidence
    scores[f"logit norm {norm}"] = norm_scores.astype(np.float64)
    hit = rows.correct
    return tuple(
        Ranking(
            score=name,
            aurc=aurc(score, hit),
            excess=excess_aurc(score, hit),
            coverage={risk: coverage_at_risk(score, hit, risk) for risk in risks},
            surest_errors=risk_at_coverage(score, hit, SUREST),
        )
        for name, score in scores.items()
    )


_Fit = tuple[Temperature, Floats, list[int], "Validation | None"]  # T, T of each row, norms chosen, the split


def _among_themselves(rows: Rows, sample: Sample) -> _Fit:
    """Temperature and norm of the rows themselves; each row's own T is that of the folds that it is not in."""
    z, y, numbers = sample.arrays()
    place = dealt(len(rows))
    temperature = fit_temperature(z, y)
    each: Floats = _values(fold_temperatures(z, y, place[numbers], near=temperature.value))[place]
    norms = [best_norm(rows.take(place != fold)) for fold in range(FOLDS) if (place != fold).any()]
    return temperature, each, norms, None


def _from_validation(held: Stream, rows: int) -> _Fit:
    """Temperature and norm from the validation split, and its own NLL after temperature, cross-fitted."""
    sample = Sample(held.rows, held.classes)
    seen = observe_blocks(sample.keeping(held.blocks())).rows
    z, y, numbers = sample.arrays()
    place = dealt(held.rows)[numbers]
    temperature = replace(fit_temperature(z, y), rows=held.rows)
    after = observe(z, y, _values(fold_temperatures(z, y, place, near=temperature.value))[place]).rows
    split = Validation(
        held.rows, m.accuracy(seen.correct), m.nll(seen.label_log_probability), m.nll(after.label_log_probability)
    )
    return temperature, np.full(rows, temperature.value), [best_norm(seen)], split


def _values(found: list[Temperature]) -> Floats:
    """The temperatures, 1 where one was refused."""
    return np.array([t.value if t.usable else 1.0 for t in found])


def _counted(stream: Stream, progress: Progress, start: float) -> Iterator[Block]:
    """The blocks of a pass that is half of the work."""
    done = 0
    for logits, labels in stream.blocks():
        yield logits, labels
        done += len(labels)
        progress(start + 0.5 * done / stream.rows)
