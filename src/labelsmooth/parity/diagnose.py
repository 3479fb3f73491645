"""Why are these losses not the expected ones? Which convention or mistake, or pair of them, gives exactly these numbers.

Every recipe that differs by one or two causes from the one that somebody believes in is computed on their logits and compared
with their numbers, each of which is an interval as wide as its last digit. Nothing is fitted by least squares and no match is
forced: a number outside its interval ends a hypothesis. What is left is said with what it is worth, and explanations that give
the same numbers are one explanation with several names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from labelsmooth.maths.conventions import NOT_PADDING
from labelsmooth.maths.trace import Problem, prepare

from ._data import Data
from ._evidence import FAR, Verdict, separating, simplest_first, weigh, without_idle
from ._fixes import also_known, check_framework, fix, says
from ._intervals import Observed, observed
from ._predictions import Predictor
from ._recipes import PER_ROW, SIGMOID_MEAN, Hypothesis, Recipe
from ._search import Progress, classes_of, misfit
from ._stages import MOST_ROUNDING, Found, Question, look

AGREES, ONE_CAUSE, SEVERAL_FIT, NONE_FITS = "agrees", "one_cause", "several_fit", "none_fits"
SHOWN = 5  # explanations that a person reads
NEAREST = 3
MOST_FITS = 400  # that are told apart; at two decimals thousands of pairs may fit a mean


@dataclass(frozen=True)
class Match:
    """One explanation: all recipes that give the same numbers on this batch."""

    causes: tuple[str, ...]  # empty where the recipe is the one believed in
    says: str
    fix: str
    max_abs_error: float
    bits: float
    certainty: str  # "certain", "certain up to", "likely" or "not enough numbers"
    label_smoothing: float
    temperature: float = 1.0
    same: tuple[str, ...] = ()  # explanations that give the same numbers
    separated_by: str = ""  # the evidence that would tell them apart
    rivals: tuple[str, ...] = ()  # explanations that do not fit, but nearly


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found; printing it shows what a person needs to read."""

    verdict: str  # "agrees", "one_cause", "several_fit" or "none_fits"
    matches: tuple[Match, ...]  # fewest causes and round parameters first
    nearest: tuple[Match, ...]  # what comes closest where none fits
    numbers: int  # how many numbers were explained
    precision: str  # "4 decimals", "float32", ...
    hypotheses: int  # how many were tried
    convention: str  # the recipe believed in
    label_smoothing: float | None  # the ε that was given
    notes: tuple[str, ...] = ()
    explanations: tuple[Hypothesis, ...] = ()  # the recipes of the matches, in their order
    subject: str = "the losses"

    @property
    def agree(self) -> bool:
        """Whether the numbers are as they should be."""
        return self.verdict == AGREES

    def __str__(self) -> str:
        """What a person reads."""
        from ._report import lines

        return "\n".join(lines(self))


def diagnose(
    logits: ArrayLike,
    labels: ArrayLike,
    losses: ArrayLike | Sequence[str] | None = None,
    *,
    loss: float | str | None = None,
    label_smoothing: float | None = None,
    convention: str = "torch",
    reduction: str = "mean",
    weight: ArrayLike | None = None,
    weighting: str = "torch",
    prior: ArrayLike | None = None,
    ignore_index: int = -100,
    class_names: Sequence[str] | None = None,
    sequences: int = 0,
    to: str | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    r"""Say which convention or mistake, or pair of them, gives somebody's numbers.

    $$|L_h(z, y) - x| \le \tfrac12\,10^{-d} \quad\text{for every given number } x \text{ with } d \text{ decimals}$$

    Args:
        logits: (N, K) what the numbers were computed from.
        labels: (N,) class numbers, or (N, K) distributions.
        losses: (N,) one number a row, NaN where one is missing; as text, zeros at the end count as digits.
        loss: instead of `losses`, one number for the batch.
        label_smoothing: the ε that was meant to be used; None if that is not known, and then common values are tried.
        convention: what the numbers are expected to follow, as in `trace`.
        reduction: what `loss` is expected to be: "mean" or "sum".
        weight: (K,) class weights that were passed.
        weighting: what they are expected to mean, as in `trace`.
        prior: (K,) or (N, K) distribution that ε is expected to be spread over.
        ignore_index: the label of rows that do not count.
        class_names: K names; with them an alphabetical order of the classes is recognised.
        sequences: how many sequences the rows come from, where a mean may be over sequences.
        to: the framework in whose words fixes are written, or "spreadsheet" or "numpy".
        progress: called with the share of the work done, from 0 to 1.

    Returns:
        A `Diagnosis`. Its verdict is "agrees", "one_cause", "several_fit" or "none_fits".

    Raises:
        ValueError: a shape or a value that does not fit, an unknown name.

    Example:
        >>> found = diagnose([[4.2, -2.4], [1.6, -0.6], [3.6, 1.2]], [0, 1, 1], ["0.1439", "0.9533", "1.0279"],
        ...                  label_smoothing=0.1, to="spreadsheet")
        >>> found.verdict, found.matches[0].causes, found.matches[0].fix
        ('one_cause', ('log base 10',), 'replace LOG by LN')

    `compare` runs other implementations on a batch; this explains numbers whose program is not at hand.
    """
    check_framework(to)
    if (losses is None) == (loss is None):
        raise ValueError("pass either losses, one number a row, or loss, one number for the batch")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    problem = prepare(
        logits, labels, 0.1 if label_smoothing is None else float(label_smoothing), convention=convention, prior=prior,
        weight=weight, weighting=weighting, ignore_index=ignore_index, class_names=class_names,
    )  # fmt: skip
    per_row = losses is not None
    data = _data(problem, ignore_index, sequences)
    seen = observed([str(loss)] if isinstance(loss, str) else [loss] if losses is None else losses)  # type: ignore[arg-type]
    if per_row and len(seen.values) != len(data.logits):
        raise ValueError(f"losses must be one number a row, {len(data.logits)} of them, got {len(seen.values)}")
    base = _believed(problem, ignore_index, divisor=PER_ROW if per_row else reduction)
    question = Question(data, seen, base, per_row, label_smoothing is not None, ignore_index, progress=progress)
    return answer(question, problem.convention.name, to)


def answer(
    question: Question, convention: str = "torch", to: str | None = None, predictor: Predictor | None = None
) -> Diagnosis:
    """The diagnosis of a question; a predictor of the same batch may be passed, with what it remembers."""
    predictor = predictor or Predictor(question.data, per_row=question.per_row)
    found = look(question, predictor)
    fits, rivals = _fitting(found)
    groups = [_simplest(group) for group in classes_of(predictor, fits[:MOST_FITS])]
    verdicts = weigh(found.seen, found.scores, groups, _far_from(predictor, rivals, fits[:1]))
    matches = [_match(question, predictor, g, v, convention, to) for g, v in zip(groups, verdicts, strict=True)]
    nearest = [] if matches else _nearest(question, predictor, found, convention, to)
    agrees = any(not match.causes for match in matches)
    verdict = AGREES if agrees else NONE_FITS if not matches else ONE_CAUSE if len(matches) == 1 else SEVERAL_FIT
    return Diagnosis(
        verdict, tuple(matches), tuple(nearest), int(question.seen.there.sum()), question.seen.says,
        len(found.scores.hypotheses), convention, question.base.epsilon if question.epsilon_given else None,
        notes=_notes(found, len(fits)), explanations=tuple(group[0] for group in groups),
    )  # fmt: skip


def _data(problem: Problem, ignore_index: int, sequences: int) -> Data:
    """The batch of a checked problem."""
    given = problem.given
    z = np.asarray(given["logits"], np.float64)
    rows = len(z)
    soft = np.asarray(given["soft_label"], np.float64) if "soft_label" in given else None
    labels = np.zeros(rows, np.int64) if soft is not None else np.asarray(given["label"], np.int64)
    counts = np.ones(rows, bool) if soft is not None else labels != ignore_index
    if problem.convention.family.over == NOT_PADDING:
        counts = np.ones(rows, bool)  # the padding class is a label here; its rows are left out by the target
    if not counts.any():
        raise ValueError(f"every row has the label {ignore_index}, which is ignored: there is nothing to explain")
    if sequences < 0 or (sequences and rows % sequences):
        raise ValueError(f"sequences must divide the number of rows, {rows}; got {sequences}")
    names = problem.class_names
    order = (
        sorted(range(len(names)), key=lambda k: names[k]) if not all(n.isdigit() for n in names) else range(len(names))
    )
    rank = np.argsort(np.array(order))
    weight, prior = (
        None if given.get(k) is None else np.asarray(given[k], np.float64) for k in ("class_weight", "prior")
    )
    return Data(z, np.where(counts, labels, 0), counts, soft, weight, prior, rank, sequences)


def _believed(problem: Problem, ignore_index: int, divisor: str) -> Recipe:
    family = problem.convention.family
    return Recipe(
        family=family.name,
        link=SIGMOID_MEAN if family.link == "sigmoid" else "softmax",
        padding=ignore_index if family.over == NOT_PADDING else -1,
        epsilon=problem.given["epsilon"],
        divergence=problem.case.divergence,
        weighting=problem.case.weighting.name if problem.case.weighting else "",
        divisor=divisor,
    )


def _fitting(found: Found) -> tuple[list[Hypothesis], list[Hypothesis]]:
    """Hypotheses that fit, the simplest first, and those that nearly do, the nearest first."""
    scores = found.scores
    order = scores.order()
    fits = [scores.hypotheses[i] for i in order if scores.ratio[i] <= 1]
    rivals = [scores.hypotheses[i] for i in order if 1 < scores.ratio[i] <= FAR]
    return without_idle(sorted(fits, key=simplest_first)), rivals


def _far_from(predictor: Predictor, rivals: Sequence[Hypothesis], fits: Sequence[Hypothesis]) -> list[Hypothesis]:
    """The simplest of each class of rivals."""
    if not fits:
        return []
    return [group[0] for group in classes_of(predictor, sorted(rivals[:50], key=simplest_first))]


def _simplest(group: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Of hypotheses that give the same numbers, those with the fewest causes: one more idle cause is no explanation."""
    first = group[0]
    return [h for h in group if (len(h.causes), bool(h.solved)) == (len(first.causes), bool(first.solved))]


def _match(
    question: Question,
    predictor: Predictor,
    group: Sequence[Hypothesis],
    verdict: Verdict,
    convention: str,
    to: str | None,
) -> Match:
    first, classes = group[0], predictor.classes
    named = dict.fromkeys(h.causes for h in group)
    others = tuple(" and ".join(c.name for c in causes) or "no cause" for causes in named if causes != first.causes)
    telling = separating(question.data, _different(group), per_row=question.per_row) if others else ""
    known = also_known(first, classes)
    return Match(
        causes=first.names,
        says=says(first),
        fix=fix(first, question.base, convention, to, classes),
        max_abs_error=_error(predictor, question.seen, first),
        bits=verdict.bits,
        certainty=verdict.certainty,
        label_smoothing=first.recipe.epsilon,
        temperature=first.recipe.temperature,
        same=(*others, *known),
        separated_by=telling or ("nothing in the numbers: look up which ε was set" if known else ""),
        rivals=tuple(" and ".join(h.names) or "no cause" for h in verdict.rivals),
    )


def _different(group: Sequence[Hypothesis]) -> list[Hypothesis]:
    return [group[0], next(h for h in group if h.causes != group[0].causes)]


def _error(predictor: Predictor, seen: Observed, hypothesis: Hypothesis) -> float:
    got, there = predictor.predict(hypothesis.recipe), seen.there
    return misfit(got[there], seen.values[there], seen.tolerance[there])[0]


def _nearest(question: Question, predictor: Predictor, found: Found, convention: str, to: str | None) -> list[Match]:
    best = np.argsort(found.scores.error, kind="stable")[: 20 * NEAREST]
    close = [found.scores.hypotheses[i] for i in best if np.isfinite(found.scores.error[i])]
    groups = classes_of(predictor, close)[:NEAREST]
    none = Verdict(0.0, "does not fit")
    return [_match(question, predictor, _simplest(sorted(g, key=simplest_first)), none, convention, to) for g in groups]


def _notes(found: Found, fits: int) -> tuple[str, ...]:
    notes = []
    if found.rounding and fits:
        notes.append(f"the logits were taken as rounded: each may be off by {found.rounding:g}")
    if found.rounding > MOST_ROUNDING and not fits:
        notes.append(
            f"the logits were taken as exact: if they are rounded by up to {found.rounding:g}, give more digits"
        )
    if fits > MOST_FITS:
        notes.append(f"{fits:,} of {len(found.scores.hypotheses):,} hypotheses fit: the numbers say next to nothing")
    return tuple(notes)
