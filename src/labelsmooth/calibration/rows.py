"""What is kept of each row of logits: a dozen numbers, from which every measure of this room is computed.

A million rows of a thousand classes are eight gigabytes in float64; what is kept of them here is 72 bytes a row. So the
logits are read in blocks, each block is reduced by `observe`, and nothing downstream sees a logit again. What needs every
probability and not only the largest (class-wise calibration) is kept as sums in bins, a small table that blocks add to.

Everything is float64 whatever the logits are: in float32 a confidence of 1 − 3e-8 is 1, and a third of the confidences of
an over-fitted network are that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

CLASS_BINS = 15
NORMS = (1, 2, 3, 4, 6)  # the p of the logit norms that are kept; whole numbers, so that powers are products
BLOCK = 1 << 18  # logits a block, 2 MB an array in float64


@dataclass(frozen=True, eq=False)
class Rows:
    """Facts of N rows. All arrays have N rows, in the order of the logits."""

    label: NDArray[np.int32]  # (N,)
    predicted: NDArray[np.int32]  # (N,) the class of the largest logit, the first of equals
    rank: NDArray[np.int32]  # (N,) of the label, 0 where it is predicted: classes above it, and equals before it
    confidence: Floats  # (N,) the largest probability
    label_log_probability: Floats  # (N,) so that NLL is minus its mean
    lse: Floats  # (N,) logsumexp of the logits (at the temperature)
    gap: Floats  # (N,) largest logit minus the second, in the units of the logits (not of the temperature)
    brier: Floats  # (N,) Σ over classes of (p − one-hot)²
    norm_scores: NDArray[np.float32]  # (N, len(NORMS)) largest centred logit over the p-norm of the centred logits

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.label)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(N,) whether the predicted class is the label."""
        return np.equal(self.rank, 0)

    def take(self, index: Any) -> Rows:
        """Some of the rows: a boolean mask, numbers of rows, or a slice."""
        return Rows(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


@dataclass(frozen=True, eq=False)
class ClassBins:
    """For each class, its probability over all rows in bins of equal width: what class-wise calibration needs. Additive."""

    count: Floats  # (K, CLASS_BINS) rows whose probability of the class lies in the bin
    probability: Floats  # (K, CLASS_BINS) sum of those probabilities
    hits: Floats  # (K, CLASS_BINS) how many of those rows have the class as label

    def __add__(self, other: ClassBins) -> ClassBins:
        return ClassBins(self.count + other.count, self.probability + other.probability, self.hits + other.hits)


@dataclass(frozen=True, eq=False)
class Observed:
    """What is kept of logits and labels."""

    rows: Rows
    classes: ClassBins


def rows_of(logits: ArrayLike, labels: ArrayLike, temperature: ArrayLike = 1.0) -> Rows:
    """The facts of each row, from arrays that are in memory.

    p = softmax(z/T); confidence = max p.

    Args:
        logits: `(N, K)`, any real dtype, K >= 2. −inf is a class that cannot be predicted.
        labels: `(N,)` whole numbers from 0 to K−1.
        temperature: T, one number or one a row.

    Returns:
        The facts of the N rows; probabilities are those at the temperature, `gap` and `norm_scores` do not know it.

    Raises:
        ValueError: shapes that do not fit, no rows, NaN or +inf, a label that is no class; the message names the row.

    Example:
        >>> rows = rows_of([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0]], [0, 1])
        >>> rows.predicted.tolist(), rows.rank.tolist(), rows.gap.tolist()
        ([0, 2], [0, 1], [2.0, 2.0])
        >>> rows.confidence.round(3).tolist()
        [0.787, 0.844]
    """
    return observe(logits, labels, temperature).rows


def observe(logits: ArrayLike, labels: ArrayLike, temperature: ArrayLike = 1.0) -> Observed:
    """`rows_of`, and the probabilities of every class in bins. Arguments and errors are those of `rows_of`.

    Example:
        >>> seen = observe([[2.0, 0.0], [0.0, 1.0]], [0, 1])
        >>> seen.classes.count.sum(axis=1).tolist()
        [2.0, 2.0]
    """
    z, y = checked(logits, labels)
    t = np.asarray(temperature, dtype=np.float64)
    if t.shape not in {(), (len(z),)} or not (t > 0).all():
        raise ValueError(f"the temperature must be positive, one number or one for each of the {len(z)} rows")
    step = max(BLOCK // z.shape[1], 1)
    parts = (
        _reduced(z[i : i + step], y[i : i + step], t if t.ndim == 0 else t[i : i + step], i)
        for i in range(0, len(z), step)
    )
    return joined(parts)


def observe_blocks(blocks: Iterable[tuple[ArrayLike, ArrayLike]], temperature: ArrayLike = 1.0) -> Observed:
    """The streaming twin of `observe`: blocks of logits and labels come one after the other and are forgotten.

    Args:
        blocks: pairs of logits `(n, K)` and labels `(n,)`, all with the same K.
        temperature: T, one number or one for each row of all blocks.

    Returns:
        The same as `observe` on all rows at once.

    Raises:
        ValueError: as for `rows_of`; the row is counted over all blocks.

    Example:
        >>> blocks = [([[2.0, 0.0]], [0]), ([[0.0, 1.0]], [1])]
        >>> observe_blocks(blocks).rows.rank.tolist()
        [0, 0]
    """
    return joined(_observed(blocks, np.asarray(temperature, dtype=np.float64)))


def _observed(blocks: Iterable[tuple[ArrayLike, ArrayLike]], temperature: Floats) -> Iterator[Observed]:
    start = 0
    for logits, labels in blocks:
        z, y = checked(logits, labels, start)
        t = temperature if temperature.ndim == 0 else temperature[start : start + len(z)]
        yield _reduced(z, y, t, start)
        start += len(z)


def joined(parts: Iterable[Observed]) -> Observed:
    """Several parts as one, in their order. Their class bins are added as they come: of many parts, one table is kept.

    Raises:
        ValueError: there are none, or they differ in the number of classes.
    """
    kept: list[Rows] = []
    classes: ClassBins | None = None
    for part in parts:
        kept.append(part.rows)
        if classes is not None and classes.count.shape != part.classes.count.shape:
            raise ValueError("blocks of logits must have the same number of classes")
        classes = part.classes if classes is None else classes + part.classes
    if classes is None:
        raise ValueError("there are no rows")
    rows = {field.name: np.concatenate([getattr(part, field.name) for part in kept]) for field in fields(Rows)}
    return Observed(Rows(**rows), classes)


def checked(logits: ArrayLike, labels: ArrayLike, start: int = 0) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Logits and labels that can be trusted but for their values, which `_reduced` looks at block by block."""
    z, y = np.asarray(logits), np.asarray(labels)
    if z.ndim != 2 or z.shape[1] < 2 or z.dtype.kind not in "fiu":
        raise ValueError(f"logits must be numbers of shape (N, K) with K >= 2, got {z.dtype} of shape {z.shape}")
    if len(z) == 0:
        raise ValueError("there are no rows")
    if y.shape != (len(z),):
        raise ValueError(f"{len(z):,} rows of logits need as many labels, got shape {y.shape}")
    if y.dtype.kind not in "iu":
        raise ValueError(f"labels must be whole numbers, got {y.dtype}")
    wrong = (y < 0) | (y >= z.shape[1])
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"row {start + row + 1}: label {y[row]} is no class, 0 to {z.shape[1] - 1} are")
    return z, y.astype(np.int64)


def _reduced(logits: NDArray[Any], y: NDArray[np.int64], temperature: Floats, start: int) -> Observed:
    """One block."""
    z = logits.astype(np.float64)  # (n, K)
    n, K = z.shape
    top = z.max(axis=1)  # (n,)
    bad = ~np.isfinite(top)  # NaN and +inf, and rows in which no class is left
    if bad.any():
        row = int(bad.argmax())
        what = "is -inf in every class" if top[row] == -np.inf else "holds NaN or infinity"
        raise ValueError(f"row {start + row + 1} of the logits {what}")
    each = np.arange(n)
    z_label = z[each, y]
    above = z > z_label[:, None]
    equal = z == z_label[:, None]
    before = np.arange(K) < y[:, None]
    t = np.broadcast_to(temperature, n)
    shifted = (z - top[:, None]) / t[:, None]
    p = np.exp(shifted)
    mass = p.sum(axis=1)
    p /= mass[:, None]
    p_label = p[each, y]
    rows = Rows(
        label=y.astype(np.int32),
        predicted=z.argmax(axis=1).astype(np.int32),
        rank=(above | (equal & before)).sum(axis=1).astype(np.int32),
        confidence=1.0 / mass,
        label_log_probability=(z_label - top) / t - np.log(mass),
        lse=top / t + np.log(mass),
        gap=top - np.partition(z, K - 2, axis=1)[:, K - 2],
        brier=np.square(p).sum(axis=1) - 2.0 * p_label + 1.0,
        norm_scores=_norm_scores(z),
    )
    return Observed(rows, _class_bins(p, y))


def _norm_scores(z: Floats) -> NDArray[np.float32]:
    """Largest centred logit over the p-norm of the centred logits; classes at −inf are no classes here."""
    present = np.isfinite(z)
    count = present.sum(axis=1, keepdims=True)
    a = np.where(present, z, 0.0)
    a = np.where(present, a - a.sum(axis=1, keepdims=True) / count, 0.0)
    top = a.max(axis=1)
    a = np.abs(a)
    scale = a.max(axis=1, keepdims=True)  # powers of a number up to 1 do not overflow
    a /= np.where(scale == 0, 1.0, scale)
    square = a * a
    powers = {1: a, 2: square, 3: square * a, 4: square * square, 6: square * square * square}
    out = np.zeros((len(z), len(NORMS)), dtype=np.float32)
    for place, p in enumerate(NORMS):
        norm = scale[:, 0] * powers[p].sum(axis=1) ** (1.0 / p)
        np.divide(top, norm, out=out[:, place], where=norm > 0, casting="same_kind")
    return out


def _class_bins(p: Floats, y: NDArray[np.int64]) -> ClassBins:
    n, K = p.shape
    place = np.clip(np.ceil(p * CLASS_BINS).astype(np.int64) - 1, 0, CLASS_BINS - 1)
    place += np.arange(K) * CLASS_BINS
    flat, size = place.ravel(), K * CLASS_BINS
    hits = np.bincount(place[np.arange(n), y], minlength=size)
    table = [np.bincount(flat, minlength=size), np.bincount(flat, weights=p.ravel(), minlength=size), hits]
    return ClassBins(*(sums.reshape(K, CLASS_BINS).astype(np.float64) for sums in table))
