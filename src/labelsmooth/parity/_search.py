"""Every hypothesis against the given numbers: how far each is off, in tolerances.

The worst number decides: a hypothesis fits if every one of its numbers lies in its interval. Hypotheses are taken in the order of
their views, so that one matrix is held at a time. Predictions are kept at a few of the numbers only; with them the spread of
the hypotheses is known, and so what a match is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelsmooth.maths.evaluate import Array

from ._intervals import Observed
from ._predictions import TARGET_OF, Predictor
from ._recipes import Hypothesis
from ._views import HALF_ROUNDING

SAMPLED = 32  # numbers at which all predictions are kept
SAME = 1e-9  # two predictions are the same number, relative above 1
EVERY = 500  # hypotheses between two calls of `progress`
Progress = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Scores:
    """What the search found, one entry a hypothesis."""

    hypotheses: tuple[Hypothesis, ...]
    ratio: Array  # (H,) the largest error in tolerances; inf where a number is missing or infinite on one side only
    error: Array  # (H,) the largest error
    sample: Array  # (H, S) predictions at the sampled numbers
    sampled: NDArray[np.int64]  # (S,) which numbers those are

    def order(self) -> NDArray[np.int64]:
        """From the best to the worst."""
        return np.argsort(self.ratio, kind="stable")

    def joined(self, other: Scores) -> Scores:
        """Both searches as one."""
        return Scores(
            self.hypotheses + other.hypotheses,
            np.concatenate([self.ratio, other.ratio]),
            np.concatenate([self.error, other.error]),
            np.concatenate([self.sample, other.sample]),
            self.sampled,
        )


def search(
    predictor: Predictor,
    seen: Observed,
    hypotheses: Sequence[Hypothesis],
    *,
    extra: Callable[[Hypothesis], Array] | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Predict every hypothesis and measure it; `extra` is a tolerance of the hypothesis' own."""
    count = len(hypotheses)
    there = np.flatnonzero(seen.there)
    sampled = there[:: max(1, len(there) // SAMPLED)][:SAMPLED]
    ratio, error = np.full(count, np.inf), np.full(count, np.inf)
    sample = np.full((count, len(sampled)), np.nan)
    at = sorted(range(count), key=lambda i: TARGET_OF(hypotheses[i].recipe))
    last = None
    for done, i in enumerate(at):
        recipe = hypotheses[i].recipe
        if (recipe.scores, recipe.temperature) != last:
            predictor.forget()
            last = (recipe.scores, recipe.temperature)
        got = predictor.predict(recipe)
        tolerance = seen.tolerance
        if recipe.scores == "float16":
            tolerance = tolerance + HALF_ROUNDING * np.abs(np.nan_to_num(got, posinf=0.0, neginf=0.0))
        if extra is not None:
            tolerance = tolerance + extra(hypotheses[i])
        error[i], ratio[i] = misfit(got[there], seen.values[there], tolerance[there])
        sample[i] = got[sampled]
        if progress is not None and done % EVERY == 0:
            progress(done / count)
    return Scores(tuple(hypotheses), ratio, error, sample, sampled)


def misfit(got: Array, given: Array, tolerance: Array) -> tuple[float, float]:
    """The largest error, and the largest in tolerances; equal infinities are no error."""
    with np.errstate(invalid="ignore"):
        off = np.abs(got - given)
    worst = float(off.max())
    if worst < np.inf:  # false for NaN
        return worst, float((off / tolerance).max())
    off = np.where(np.isinf(given) & (got == given), 0.0, off)
    off = np.where(np.isnan(off), np.inf, off)
    return float(off.max()), float((off / tolerance).max())


def classes_of(predictor: Predictor, found: Sequence[Hypothesis]) -> list[list[Hypothesis]]:
    """Hypotheses that give the same numbers on this batch, together; within a class and among them, the simplest first."""
    groups: list[tuple[Array, list[Hypothesis]]] = []
    for hypothesis in found:
        got = predictor.predict(hypothesis.recipe)
        for shown, members in groups:
            if same(got, shown):
                members.append(hypothesis)
                break
        else:
            groups.append((got, [hypothesis]))
    return [members for _, members in groups]


def same(a: Array, b: Array) -> bool:
    """Whether two predictions are one, NaN and infinities included."""
    with np.errstate(invalid="ignore"):
        close = np.isfinite(b) & (np.abs(a - b) <= SAME * np.maximum(1.0, np.abs(b)))
    return bool(np.all(close | (a == b) | (np.isnan(a) & np.isnan(b))))
