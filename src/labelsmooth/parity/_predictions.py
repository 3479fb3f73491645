"""What each recipe gives on one batch: N numbers, or one.

A target with mass `keep` at the label and `spread` elsewhere makes every loss keep·A + spread·V + constant, where A and V are
sums over classes that a `View` has already made. So a recipe that shares its view, labels and target with another shares nearly
all its work, and logarithm base, sign and divisor are one multiplication. `maths/steps.py` is the referee: what this file gives
for a convention is compared with the chain in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from labelsmooth.maths.conventions import FAMILIES, NOT_PADDING, OTHERS, WEIGHTINGS
from labelsmooth.maths.evaluate import Array

from ._data import LARGEST_HALF, Bools, Data, Labels, relabelled, with_rows
from ._recipes import PER_ROW, SUM, Recipe, is_gaussian, takes_prior
from ._views import View

# The fields that decide a row's two parts: all but logarithm, sign and divisor.
TARGET_OF = attrgetter(
    "scores",
    "temperature",
    "labels",
    "rows",
    "family",
    "link",
    "padding",
    "epsilon",
    "divergence",
    "prior",
    "weighting",
)


@dataclass(frozen=True, eq=False)
class Parts:
    """The two parts of each row's loss, and what a mean divides them by."""

    label: Array  # (N,)
    rest: Array  # (N,)
    omega: Array  # (N,), the rows' weights
    counts: Bools


class Predictor:
    """The predictions of every recipe on one batch; keeps the views that were asked for until `forget`."""

    def __init__(self, data: Data, *, per_row: bool) -> None:
        self.data, self.per_row = data, per_row
        self.rows, self.classes = data.logits.shape
        self._views: dict[Any, View] = {}
        self._labels: dict[Any, Labels] = {}
        self._parts: tuple[Any, Parts] | None = None  # of the last recipe: the search asks for like after like

    def forget(self) -> None:
        """Drop the matrices; the next recipe makes its own."""
        self._views.clear()
        self._parts = None

    def view(self, r: Recipe) -> View:
        """The matrix in place of ln p."""
        key = (r.scores, r.temperature)
        if key not in self._views:
            self._views[key] = View(self.data.logits, *key)
        return self._views[key]

    def predict(self, r: Recipe) -> Array:
        """What the recipe gives: (N,) for numbers a row, else (1,)."""
        parts = self.parts(r)
        scale = r.base * r.sign
        if self.per_row:
            out = np.where(parts.counts, parts.label + parts.rest, 0.0)
            return np.asarray(out * (scale / self._row_divisor(r, parts)))
        with np.errstate(all="ignore"):
            return np.array([self._reduced(r, parts) * scale])

    def _row_divisor(self, r: Recipe, parts: Parts) -> float:
        whole = {"classes": self.classes, "rows": self.rows}
        divisor = float(parts.omega[parts.counts].sum() if r.divisor == "weights" else whole.get(r.divisor, 1))
        return divisor or float("nan")  # a cause may leave no row

    def _reduced(self, r: Recipe, parts: Parts) -> Any:
        """The batch's number."""
        on = parts.counts
        label, rest = parts.label[on].sum(), parts.rest[on].sum()
        whole = label + rest
        counted = self.rows if r.rows.endswith(("divisor", " counted")) else on.sum()
        if r.divisor == "mean of means":
            return self._mean_of_means(parts)
        fixed = {
            SUM: 1.0,
            PER_ROW: 1.0,
            "elements": counted * self.classes,
            "twice": counted**2,
            "sequences": self.data.sequences,
        }
        if r.divisor in fixed:
            return whole / fixed[r.divisor]
        weights = parts.omega[on].sum()
        if r.divisor == "weights":
            return whole / weights
        how = WEIGHTINGS[r.weighting].divisor if r.weighting else "rows"
        if r.rows == "keep the uniform part":
            return label / max(int(self.data.counts.sum()), 1) + rest / counted
        if how == "apart":
            return label / weights + rest / counted
        return whole / (weights if how == "weights" else counted)

    def _mean_of_means(self, parts: Parts) -> float:
        shape = (self.data.sequences, -1)
        on = parts.counts.reshape(shape)
        whole = np.where(on, (parts.label + parts.rest).reshape(shape), 0.0).sum(axis=1)
        return float(np.mean(whole / np.maximum(on.sum(axis=1), 1)))

    # --- the parts of a row -----------------------------------------------------------------------------------------

    def parts(self, r: Recipe) -> Parts:
        """Both parts of every row's loss, natural logarithm, before any divisor."""
        key = TARGET_OF(r)
        if self._parts is None or self._parts[0] != key:
            with np.errstate(all="ignore"):
                self._parts = key, self._compute(r)
        return self._parts[1]

    def _compute(self, r: Recipe) -> Parts:
        family, view, labels = FAMILIES[r.family], self.view(r), self.labels(r)
        keep, spread = family.keep(r.epsilon, self.classes), family.spread(r.epsilon, self.classes)
        counts = labels.counts & (labels.hard != r.padding) if family.over == NOT_PADDING else labels.counts
        if r.link != "softmax":
            return self._sigmoid(r, view, labels, keep, spread)
        none = np.zeros(self.rows)
        if is_gaussian(r.family):
            return Parts(none, view.near(labels.hard, 1 - r.epsilon), none + 1, counts)
        omega = none + 1 if self.data.weight is None else self._label_weight(labels, self.data.weight)
        if r.divergence in ("swapped", "reverse"):
            return Parts(none, self._swapped(r, view, labels, keep, spread), omega, counts)
        label, rest, omega = self._charged(r, view, labels, omega)
        first, second = np.asarray(keep * label), np.asarray(spread * rest)
        if r.divergence == "kl":
            second = second - self._entropy(r, labels, keep, spread)
        if view.half and not self.per_row and view.total()[counts].sum() > LARGEST_HALF:
            second = np.full(self.rows, np.inf)  # the rows' sums are added up in float16 too
        return Parts(first if labels.blind is None else np.where(labels.blind, 0.0, first), second, omega, counts)

    def _charged(self, r: Recipe, view: View, labels: Labels, omega: Array) -> tuple[Array, Array, Array]:
        """−Σ q·ℓ and −Σ v·ℓ with the class weights in them, and the weights of the rows."""
        weight = self.data.weight
        label = self._label_part(view, labels)
        if not r.weighting or weight is None:
            return label, self._rest_part(r, view, labels, None), omega
        family, charge = FAMILIES[r.family], WEIGHTINGS[r.weighting].charge
        rest = self._rest_part(r, view, labels, weight if charge == "class" else None)
        if charge == "expected":
            keep, spread = family.keep(r.epsilon, self.classes), family.spread(r.epsilon, self.classes)
            omega = np.asarray(keep * omega + spread * self._expected_weight(r, labels, weight))
        soft = labels.soft is not None and charge in ("class", "nll")
        label = view.expected(np.asarray(labels.soft) * weight) if soft else np.asarray(label * omega)
        return label, np.asarray(rest * omega) if charge in ("label", "expected") else rest, omega

    def _label_weight(self, labels: Labels, weight: Array) -> Array:
        return np.asarray(weight[labels.hard] if labels.soft is None else labels.soft @ weight)

    def _label_part(self, view: View, labels: Labels) -> Array:
        """−Σ q·ℓ."""
        if labels.soft is not None:
            return view.expected(labels.soft)
        label = view.at(labels.hard)
        if labels.uniform is None:
            return label
        return np.asarray(np.where(labels.uniform, view.total() / self.classes, label))

    def _rest_part(self, r: Recipe, view: View, labels: Labels, weight: Array | None) -> Array:
        """−Σ v·ℓ for what ε is spread over, each class times its weight where there is one."""
        over, K = FAMILIES[r.family].over, self.classes
        if self._prior(r) is not None:
            return view.prior_total(np.asarray(self._prior(r)), weight)
        whole: Any = view.total() if weight is None else view.weighted_total(weight)
        if over not in (OTHERS, NOT_PADDING):
            return np.asarray(whole / K)
        left: Any = whole - view.at(labels.hard) * (1.0 if weight is None else weight[labels.hard])
        if over == OTHERS:
            return np.asarray(left / (K - 1))
        left = left - view.column(r.padding) * (1.0 if weight is None else weight[r.padding])
        return np.asarray(left / (K - 2))

    def _expected_weight(self, r: Recipe, labels: Labels, weight: Array) -> Any:
        """Σ v·w."""
        over, K, whole = FAMILIES[r.family].over, self.classes, weight.sum()
        if self._prior(r) is not None:
            return np.asarray(self._prior(r)) @ weight
        if over == OTHERS:
            return (whole - weight[labels.hard]) / (K - 1)
        return (whole - weight[labels.hard] - weight[r.padding]) / (K - 2) if over == NOT_PADDING else whole / K

    def _prior(self, r: Recipe) -> Array | None:
        return self.data.prior if r.prior == "given" and takes_prior(r.family) else None

    def _values(self, r: Recipe, keep: float, spread: float) -> tuple[float, float, int]:
        """Target at the label and at another class that gets mass, and how many of those there are."""
        over, K = FAMILIES[r.family].over, self.classes
        if over in (OTHERS, NOT_PADDING):
            others = K - (1 if over == OTHERS else 2)
            return keep, spread / others, others
        return keep + spread / K, spread / K, K - 1

    def _target(self, r: Recipe, labels: Labels, keep: float, spread: float) -> Array:
        """The whole target (N, K), where no short cut serves: a prior or soft labels."""
        q = np.eye(self.classes)[labels.hard] if labels.soft is None else labels.soft
        prior = self._prior(r)
        return np.asarray(keep * q + spread * (1 / self.classes if prior is None else prior))

    def _entropy(self, r: Recipe, labels: Labels, keep: float, spread: float) -> Any:
        """−Σ q'·ln q'."""
        if labels.soft is None and self._prior(r) is None:
            on, off, others = self._values(r, keep, spread)
            return _surprise(on) + others * _surprise(off)
        return _surprise(self._target(r, labels, keep, spread)).sum(axis=1)

    def _swapped(self, r: Recipe, view: View, labels: Labels, keep: float, spread: float) -> Array:
        """−Σ p·ln q', less the entropy of p for the KL."""
        if labels.soft is None and self._prior(r) is None:
            on, off, _ = self._values(r, keep, spread)
            if off <= 0 or on <= 0 or FAMILIES[r.family].over == NOT_PADDING:
                return np.full(self.rows, np.inf)
            at = np.exp(-view.at(labels.hard))
            crossed = -(at * np.log(on) + (view.whole() - at) * np.log(off))
        else:
            crossed = -(view.probabilities() * np.log(self._target(r, labels, keep, spread))).sum(axis=1)
        return np.asarray(crossed if r.divergence == "swapped" else crossed - view.own_entropy())

    def _sigmoid(self, r: Recipe, view: View, labels: Labels, keep: float, spread: float) -> Parts:
        """Binary cross-entropy with the target: −Σ t·z + Σ ln(1 + exp z)."""
        inputs = view.inputs
        at = inputs[view.index, labels.hard] if labels.soft is None else np.einsum("nk,nk->n", labels.soft, inputs)
        whole = view.softplus() - keep * at - spread / self.classes * view.input_sum()
        omega = np.ones(self.rows) if self.data.weight is None else self._label_weight(labels, self.data.weight)
        factor = (omega if r.weighting else 1.0) / (self.classes if r.link.endswith("mean") else 1)
        return Parts(np.zeros(self.rows), np.asarray(whole * factor), omega, labels.counts)

    def labels(self, r: Recipe) -> Labels:
        """The labels as the recipe takes them."""
        key = (r.labels, r.rows)
        if key not in self._labels:
            self._labels[key] = with_rows(relabelled(self.data, r.labels), r.rows)
        return self._labels[key]


def _surprise(x: Any) -> Any:
    """−x·ln x, and 0 at 0."""
    with np.errstate(all="ignore"):
        return np.where(np.asarray(x) > 0, -np.asarray(x) * np.log(x), 0.0)
