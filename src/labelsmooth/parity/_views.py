"""What stands in place of ln p: the log-softmax, or what a mistake makes of the logits.

One `View` holds one such matrix and the few sums over classes that every target needs of it, each computed when first asked
for. With them a hypothesis costs a few operations on N numbers and none on N·K, which is what makes thousands of pairs cheap.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from labelsmooth.maths.evaluate import Array

Numbers = NDArray[np.int64]

CLIP = 1e-7  # Keras's backend.epsilon()
HALF_ROUNDING = 2.0**-9  # two roundings of float16
REACH = 9  # the normal density of width at most 1 is below 1e-17 beyond


def log_softmax(z: Array, axis: int = 1) -> Array:
    """Natural log of the softmax, shifted."""
    shifted = z - z.max(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


def softmax(z: Array) -> Array:
    """Softmax over the classes."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _logits_for_probabilities(z: Array) -> Array:
    share = z / z.sum(axis=1, keepdims=True)
    return np.asarray(np.log(np.clip(share, CLIP, 1 - CLIP)))


def _decimal_sum(z: Array, *, shifted: bool) -> Array:
    left = z - z.max(axis=1, keepdims=True) if shifted else z
    return np.asarray(left - np.log10(np.exp(left).sum(axis=1, keepdims=True)))


def _half(z: Array) -> Array:
    return log_softmax(z.astype(np.float16).astype(np.float64)).astype(np.float16).astype(np.float64)


def _softplus(z: Array) -> Array:
    """ln(1 + exp z); `logaddexp` says the same, four times slower."""
    return np.asarray(np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z))))


SCORES: dict[str, Callable[[Array], Array]] = {
    "log-softmax": log_softmax,
    "softmax twice": lambda z: log_softmax(softmax(z)),
    "logits for log-probabilities": lambda z: z,
    "probabilities for log-probabilities": softmax,
    "logits for probabilities": _logits_for_probabilities,
    "sigmoid": lambda z: -_softplus(-z),
    "log10 of the sum": lambda z: _decimal_sum(z, shifted=False),
    "log10 of the shifted sum": lambda z: _decimal_sum(z, shifted=True),
    "float16": _half,
    "clipped": lambda z: np.log(np.clip(softmax(z), CLIP, 1 - CLIP)),
    "softmax over rows": lambda z: log_softmax(z, axis=0),
}


class View:
    """One matrix ℓ (N, K) in place of ln p, and its sums over the classes."""

    def __init__(self, logits: Array, scores: str, temperature: float) -> None:
        self.inputs = logits if temperature == 1 else logits / temperature
        with np.errstate(all="ignore"):
            self.ell = SCORES[scores](self.inputs)
        if scores == "softmax twice":
            self.inputs = softmax(self.inputs)
        self.half = scores == "float16"
        self._known: dict[str, Array] = {}
        self.index = np.arange(len(logits))

    def _once(self, key: str, compute: Callable[[], Array]) -> Array:
        if key not in self._known:
            with np.errstate(all="ignore"):
                self._known[key] = compute()
        return self._known[key]

    def at(self, labels: Numbers) -> Array:
        """−ℓ at a class a row."""
        return np.asarray(-self.ell[self.index, labels])

    def expected(self, q: Array) -> Array:
        """−Σ q·ℓ for a distribution a row, or one for all."""
        return np.asarray(-(q @ self.ell.T) if q.ndim == 1 else -np.einsum("nk,nk->n", q, self.ell))

    def total(self) -> Array:
        """−Σ ℓ over the classes; in float16 a sum beyond its largest number is infinite."""

        def compute() -> Array:
            whole = np.asarray(-self.ell.sum(axis=1))
            return whole.astype(np.float16).astype(np.float64) if self.half else whole

        return self._once("total", compute)

    def weighted_total(self, weight: Array) -> Array:
        """−Σ w·ℓ over the classes."""
        return self._once("weighted", lambda: self.expected(weight))

    def prior_total(self, prior: Array, weight: Array | None) -> Array:
        """−Σ u·ℓ, or −Σ u·w·ℓ, over the classes."""
        key = "prior" if weight is None else "weighted prior"
        return self._once(key, lambda: self.expected(prior if weight is None else prior * weight))

    def column(self, k: int) -> Array:
        """−ℓ of one class."""
        return np.asarray(-self.ell[:, k])

    def probabilities(self) -> Array:
        """Exp ℓ (N, K)."""
        return self._once("p", lambda: np.exp(self.ell))

    def whole(self) -> Array:
        """Σ exp ℓ: 1 where ℓ is a log-softmax over the classes."""
        return self._once("sum of p", lambda: self.probabilities().sum(axis=1))

    def own_entropy(self) -> Array:
        """−Σ p·ln p."""
        return self._once("entropy of p", lambda: -np.einsum("nk,nk->n", self.probabilities(), self.ell))

    def near(self, labels: Numbers, width: float) -> Array:
        """−Σ density(k − label)·ℓ for a normal density of that width."""
        classes, out = self.ell.shape[1], np.zeros(len(self.ell))
        if width <= 0:
            return np.full(len(self.ell), np.nan)
        for far in range(-min(REACH, classes - 1), min(REACH, classes - 1) + 1):
            k = labels + far
            there = (k >= 0) & (k < classes)
            density = np.exp(-((far / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi))
            out[there] -= density * self.ell[self.index[there], k[there]]
        return out

    def softplus(self) -> Array:
        """Σ ln(1 + exp z) over the classes."""
        return self._once("softplus", lambda: _softplus(self.inputs).sum(axis=1))

    def input_sum(self) -> Array:
        """Σ z over the classes."""
        return self._once("inputs", lambda: self.inputs.sum(axis=1))
