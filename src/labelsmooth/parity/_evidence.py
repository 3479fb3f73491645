"""What a match is worth, and what would tell explanations apart.

A match by chance is likely where many hypotheses crowd and numbers are coarse. Each number is worth log2 of how many of its
intervals fit into the spread of the hypotheses there; the number of hypotheses tried is paid for, and a parameter that was
solved for pays with the number that says most. "Certain" takes more than bits: one explanation only, and every other far away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import log2

import numpy as np

from labelsmooth.maths.evaluate import Array

from ._data import Data
from ._intervals import Observed
from ._predictions import Predictor
from ._recipes import ROUND_EPSILONS, Hypothesis
from ._search import Scores, same

CERTAIN_BITS, LIKELY_BITS = 20.0, 10.0
FAR = 30.0  # tolerances between the given numbers and any other explanation
CERTAIN, CERTAIN_UP_TO, LIKELY, FEW = "certain", "certain up to", "likely", "not enough numbers"
MOST_RIVALS = 5
COARSE = 1e-7  # one number with an interval wider than this, relative above 1, is never certain


@dataclass(frozen=True)
class Verdict:
    """How far a match can be trusted."""

    bits: float
    certainty: str
    rivals: tuple[Hypothesis, ...] = ()


def information(seen: Observed, scores: Scores) -> Array:
    """Bits of each sampled number: how many of its intervals fit into the middle half of all predictions."""
    out = []
    for s, number in enumerate(scores.sampled):
        column = scores.sample[:, s]
        finite = column[np.isfinite(column)]
        if not np.isfinite(seen.values[number]):
            alike = float(np.mean(column == seen.values[number]))
            out.append(max(0.0, -log2(alike)) if alike > 0 else 0.0)
            continue
        low, high = np.percentile(finite, [25, 75]) if len(finite) else (0.0, 0.0)
        out.append(log2(max(1.0, float(high - low) / float(2 * seen.tolerance[number]))))
    return np.array(out)


def weigh(
    seen: Observed, scores: Scores, groups: Sequence[Sequence[Hypothesis]], rivals: Sequence[Hypothesis]
) -> list[Verdict]:
    """One verdict a group of explanations that give the same numbers; `rivals` do not fit, but nearly."""
    bits = information(seen, scores)
    whole = float(bits.sum()) - log2(max(len(scores.hypotheses), 2))
    out = []
    for group in groups:
        worth = whole - (float(bits.max()) if group[0].solved else 0.0)
        others = tuple(g[0] for g in groups if g is not group)
        out.append(Verdict(worth, *_certainty(worth, seen, others, rivals)))
    return out


def _certainty(
    bits: float, seen: Observed, others: Sequence[Hypothesis], rivals: Sequence[Hypothesis]
) -> tuple[str, tuple[Hypothesis, ...]]:
    if bits < LIKELY_BITS:
        return FEW, ()
    if bits < CERTAIN_BITS or others or _one_coarse_number(seen):
        return LIKELY, ()
    return (CERTAIN_UP_TO, tuple(rivals[:MOST_RIVALS])) if rivals else (CERTAIN, ())


def _one_coarse_number(seen: Observed) -> bool:
    size = np.maximum(1.0, np.abs(np.nan_to_num(seen.values)))
    return int(seen.there.sum()) == 1 and bool(np.all((seen.tolerance / size)[seen.there] > COARSE))


def simplest_first(h: Hypothesis) -> tuple[int, bool, int]:
    """Few causes before many, round before solved, common ε before rare."""
    common = {x: i for i, x in enumerate(ROUND_EPSILONS)}
    return len(h.causes), bool(h.solved), common.get(h.recipe.epsilon, len(common))


def without_idle(fits: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Drop a cause that another value of ε or of the temperature has made up for: it fits without the cause as well."""
    kept: list[Hypothesis] = []
    for h in fits:
        free = _freed(h)
        if not free or not any(_freed(k) == free and set(_fixed(k)) < set(_fixed(h)) for k in kept):
            kept.append(h)
    return kept


def _freed(h: Hypothesis) -> str:
    """The parameter that was found from the numbers, if one was."""
    return h.solved or next(
        (key for c in h.causes for key in ("epsilon", "temperature") if c.found and key in c.changes), ""
    )


def _fixed(h: Hypothesis) -> tuple[str, ...]:
    return tuple(cause.name for cause in h.causes if not cause.found)


# --- what would separate explanations that are one on this batch --------------------------------------------------------


def separating(data: Data, members: Sequence[Hypothesis], *, per_row: bool) -> str:
    """The evidence that tells the first two of a class apart, found by trying it."""
    first, second = members[0].recipe, members[1].recipe
    for what, probe in _probes(data):
        predictor = Predictor(probe, per_row=per_row)
        try:
            if not same(predictor.predict(first), predictor.predict(second)):
                return what
        except (IndexError, ValueError):  # a padding class that the probe does not have
            continue
    if first.epsilon != second.epsilon:
        return "nothing in the numbers: look up which ε was set"
    return "nothing in the numbers: they are the same loss under two names"


def _probes(data: Data) -> Iterator[tuple[str, Data]]:
    """Batches that differ in one respect, the cheapest to get first."""
    rows, classes = data.logits.shape
    yield "one more row", _drawn(data, rows + 1, classes)
    yield "another batch size", _drawn(data, rows + 3, classes)
    if classes == 2:
        yield "a batch with three classes or more", _drawn(data, rows + 3, 5)
    yield "a batch with another number of classes", _drawn(data, rows + 3, classes + 2)
    if data.weight is not None:
        yield (
            "class weights that differ",
            replace(_drawn(data, rows + 3, classes), weight=np.linspace(0.5, 2.0, classes)),
        )
    yield "a batch with ignored rows", replace(_drawn(data, rows + 3, classes), counts=np.arange(rows + 3) > 0)


def _drawn(data: Data, rows: int, classes: int) -> Data:
    """A random batch like this one, of another size."""
    random = np.random.default_rng(rows * 1009 + classes)
    soft = None if data.soft is None else random.dirichlet(np.ones(classes), rows)
    weight = None if data.weight is None else np.resize(data.weight, classes)
    prior = None if data.prior is None else random.dirichlet(np.ones(classes))
    counts = np.resize(data.counts, rows)
    rank = None if data.rank is None or classes != len(data.rank) else data.rank
    labels = np.where(counts, np.arange(rows) % classes if rows >= classes else random.integers(0, classes, rows), 0)
    return Data(random.normal(size=(rows, classes)) * 2, labels, counts, soft, weight, prior, rank)
