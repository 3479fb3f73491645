"""In which order explanations are looked for: each stage only if the one before found nothing.

1. The recipe one believes in, each single cause and each pair, with the ε that was given (or the common ones, if none was).
2. Another ε, or a temperature: a round one, then one solved from the numbers, together with at most one cause.
3. All of it again with logits taken as rounded to the decimals they are written with, if those are three to six.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from labelsmooth.maths.evaluate import Array

from ._data import Data
from ._intervals import Observed, logit_rounding
from ._library import causes_for
from ._predictions import Predictor
from ._recipes import ROUND_EPSILONS, Cause, Hypothesis, Recipe, hypotheses
from ._search import Progress, Scores, search
from ._solve import few_rows, solve

MOST_ROUNDING = 5e-4  # logits with one or two decimals were typed, as a rule, and are meant exactly
CLOSEST = 40  # hypotheses for which the rounding of logits is carried through exactly
GROUPS = 48  # of classes that are moved together to find Σ|∂L/∂z|
LARGE = 2_000_000  # entries of logits: beyond it fewer groups
LOCAL = frozenset({"given", "+1", "-1", "reversed", "sorted"})  # labels that stay in their row


@dataclass(frozen=True, eq=False)
class Question:
    """A batch, the numbers to explain, and the recipe one believes in."""

    data: Data
    seen: Observed
    base: Recipe
    per_row: bool
    epsilon_given: bool
    ignore_index: int = -100
    without: frozenset[str] = (
        frozenset()
    )  # causes that are left out, to learn what happens when the true one is missing
    progress: Progress | None = None

    @property
    def causes(self) -> tuple[Cause, ...]:
        """Every cause that is possible here."""
        facts = self.data.facts(per_row=self.per_row, ignore_index=self.ignore_index)
        found = causes_for(facts, self.base, smoothing_given=self.epsilon_given)
        return tuple(cause for cause in found if cause.name not in self.without)

    @property
    def numbers(self) -> int:
        """How many finite numbers there are."""
        return int(np.isfinite(self.seen.values).sum())


@dataclass(frozen=True, eq=False)
class Found:
    """The scores of all stages that were run, and what the logits may be off by."""

    scores: Scores
    seen: Observed
    rounding: float = 0.0


def look(question: Question, predictor: Predictor) -> Found:
    """Run the stages until one finds something."""
    scores = _first(question, predictor, None)
    if _fits(scores):
        return Found(scores, question.seen)
    scores = scores.joined(_second(question, predictor))
    rounding = logit_rounding(question.data.logits[question.data.counts])
    if _fits(scores):
        return Found(scores, question.seen)
    if not 0 < rounding <= MOST_ROUNDING:
        return Found(scores, question.seen, rounding)
    return _rounded(question, predictor, scores, rounding)


def _fits(scores: Scores) -> bool:
    return bool(np.any(scores.ratio <= 1))


def _first(question: Question, predictor: Predictor, extra: Callable[[Hypothesis], Array] | None) -> Scores:
    epsilons = () if question.epsilon_given else ROUND_EPSILONS
    tried = list(hypotheses(question.base, question.causes, epsilons=epsilons))
    return search(predictor, question.seen, tried, extra=extra, progress=question.progress)


def _second(question: Question, predictor: Predictor) -> Scores:
    tried = list(_other_epsilons(question)) if question.epsilon_given else []
    if question.numbers > 1:
        singles = list(hypotheses(question.base, question.causes, most=1))
        tried += _solved_epsilons(question, predictor, singles)
        if question.per_row and "temperature" not in question.without:
            tried += _solved_temperatures(question, singles)
    return search(predictor, question.seen, tried)


def _other_epsilons(question: Question) -> Iterator[Hypothesis]:
    """A round ε that is not the one that was given, alone and with each single cause."""
    if "epsilon" in question.without:
        return
    for hypothesis in hypotheses(question.base, question.causes, most=1):
        for epsilon in ROUND_EPSILONS:
            if epsilon not in (0.0, question.base.epsilon):
                yield _at_epsilon(hypothesis, epsilon, question, solved="")


def _at_epsilon(hypothesis: Hypothesis, epsilon: float, question: Question, *, solved: str) -> Hypothesis:
    changed = replace(hypothesis.recipe, epsilon=epsilon)
    if not question.epsilon_given:
        return Hypothesis(changed, hypothesis.causes, solved)
    given = question.base.epsilon
    cause = Cause(
        f"ε {epsilon:.6g}",
        {"epsilon": epsilon},
        f"ε is {epsilon:.6g}, not {given:g}",
        f"set ε to {given:g}",
        found=True,
    )
    return Hypothesis(changed, (*(c for c in hypothesis.causes if "epsilon" not in c.changes), cause), solved)


def _solved_epsilons(question: Question, predictor: Predictor, singles: Sequence[Hypothesis]) -> Iterator[Hypothesis]:
    if "epsilon" in question.without:
        return
    for hypothesis in singles:
        if any("epsilon" in cause.changes for cause in hypothesis.causes):
            continue
        for _, epsilon in solve(predictor, question.seen, hypothesis, "epsilon"):
            yield _at_epsilon(hypothesis, epsilon, question, solved="epsilon")
        predictor.forget()


def _solved_temperatures(question: Question, singles: Sequence[Hypothesis]) -> Iterator[Hypothesis]:
    """Solved on a few rows, since each temperature is a softmax of its own; the search then checks all rows."""
    part, seen = few_rows(question.data, question.seen)
    if len(seen.values) < 2:
        return
    predictor = Predictor(part, per_row=True)
    for hypothesis in singles:
        recipe = hypothesis.recipe
        elsewhere = (
            recipe.labels not in LOCAL or recipe.scores == "softmax over rows" or recipe.divisor in ("rows", "weights")
        )
        if elsewhere or recipe.temperature != 1:
            continue
        for _, value in solve(predictor, seen, hypothesis, "temperature"):
            if abs(value - 1) > 1e-6:
                cause = Cause(f"temperature {value:.6g}", {"temperature": value}, f"the logits were divided by {value:.6g}",
                              f"multiply the logits by {value:.6g}", found=True)  # fmt: skip
                yield Hypothesis(replace(recipe, temperature=value), (*hypothesis.causes, cause), "temperature")


# --- logits that are rounded themselves ---------------------------------------------------------------------------------


def _rounded(question: Question, predictor: Predictor, scores: Scores, rounding: float) -> Found:
    """What fits if every logit may be off by `rounding`: h·Σ|∂L/∂z| joins the tolerance of each hypothesis."""
    order = np.argsort(scores.error, kind="stable")[:CLOSEST]
    near = [scores.hypotheses[i] for i in order]
    carried: dict[Hypothesis, Array] = {}

    def extra(hypothesis: Hypothesis) -> Array:
        if hypothesis not in carried:
            carried[hypothesis] = rounding * sensitivity(question.data, hypothesis.recipe, per_row=question.per_row)
        return carried[hypothesis]

    again = search(predictor, question.seen, near, extra=extra)
    ratio = scores.ratio.copy()
    ratio[order] = again.ratio
    wider = replace(question.seen, tolerance=question.seen.tolerance + extra(near[int(np.argmin(again.ratio))]))
    return Found(replace(scores, ratio=ratio), wider, rounding)


def sensitivity(data: Data, recipe: Recipe, *, per_row: bool) -> Array:
    """Σ|∂L/∂z| of each number, by differences.

    Of a row's classes the label has one sign; the others, in the order of their logits, have one sign up to some place and
    the other behind. So they are moved in groups of neighbours: all but one group are exact.
    """
    rows, classes = data.logits.shape
    groups = min(classes, max(4, min(GROUPS, LARGE // (rows * classes))))
    others = data.logits.copy()
    others[np.arange(rows), data.labels] = -np.inf  # the label comes first, in a group of its own
    rank = np.argsort(np.argsort(others, axis=1, kind="stable"), axis=1)
    member = np.where(rank == 0, 0, 1 + (rank - 1) * (groups - 1) // max(classes - 1, 1))
    scale = max(1.0, float(np.abs(data.logits[data.counts]).max()))
    step = 1e-5 * scale
    whole = np.zeros(rows if per_row else 1)
    for group in range(groups):
        ends = [
            Predictor(replace(data, logits=data.logits + side * step * (member == group)), per_row=per_row).predict(
                recipe
            )
            for side in (1, -1)
        ]
        whole += np.abs(ends[0] - ends[1]) / (2 * step)
    return np.asarray(np.nan_to_num(whole))
