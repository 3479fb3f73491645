"""The chain on somebody's own logits and labels: `trace` and `smooth_labels`, the two doors into the mathematics.

This is where arrays from outside are checked and the case is chosen; behind it, everything is float64 and trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .case import Case, Chain
from .conventions import NOT_PADDING, Convention, convention_named, weighting_named
from .evaluate import Array, evaluate, natural
from .printers import text
from .steps import chain, target_chain

AS_POST_LIMIT = 700.0  # EXP overflows a little above 709


class Trace:
    """Every step of the loss on one batch, by its word: `.one_hot`, `.target`, `.softmax`, `.row_loss`, `.gradient` ...

    Values over rows and classes are (N, K) arrays, over rows (N,), over classes (K,), and one number a float; all float64.
    `words` lists what there is; a notebook shows the steps as a table.
    """

    def __init__(self, problem: Problem, chain: Chain) -> None:
        self.problem, self.chain = problem, chain
        self.values: dict[str, Array] = evaluate(chain, problem.given)

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the inputs and steps, in order."""
        return tuple(self.values)

    def __getattr__(self, word: str) -> Any:
        """Return the value of a step or an input in its natural shape."""
        values = self.__dict__.get("values", {})
        if word not in values:
            there = ", ".join(values)
            raise AttributeError(f"this case has no step {word!r}; it has {there}")
        return natural(values[word], self.chain[word].axes)

    def __repr__(self) -> str:
        """One line: how many rows and classes, and the loss."""
        rows, classes = self.values["logits"].shape
        loss = f", loss={self.loss:.6g}" if "loss" in self.values else ""
        return f"Trace({rows} rows, {classes} classes{loss})"

    def _repr_html_(self) -> str:
        """The steps as an HTML table; every text from outside is escaped."""
        body = []
        for line in self.chain.steps:
            formula = escape(text(line.formula)) if line.formula is not None else ""
            shown = escape(_shown(natural(self.values[line.word], line.axes)))
            body.append(
                f"<tr><td><code>{line.word}</code></td><td>{escape(line.symbol)} = {formula}</td>"
                f"<td><pre>{shown}</pre></td><td>{escape(line.says)}</td></tr>"
            )
        head = "<tr><th>step</th><th>formula</th><th>value</th><th>what it is</th></tr>"
        return f"<table><caption>{escape(repr(self))}</caption><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"


def _shown(value: Any) -> str:
    with np.printoptions(precision=4, suppress=True, threshold=60, edgeitems=3):
        return f"{value:.6g}" if isinstance(value, float) else str(value)


def trace(
    logits: ArrayLike,
    labels: ArrayLike,
    label_smoothing: ArrayLike = 0.1,
    *,
    convention: str = "torch",
    prior: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    weighting: str = "torch",
    class_mask: ArrayLike | None = None,
    ignore_index: int = -100,
    keep: ArrayLike | None = None,
    reduction: str = "mean",
    as_post: bool | None = None,
    class_names: Sequence[str] | None = None,
    row_names: Sequence[str] | None = None,
) -> Trace:
    r"""Every step of label-smoothed cross-entropy, in float64.

    $$H(q',p) = -\sum_k q'_k \ln p_k = (1-\varepsilon)\,H(q,p) + \varepsilon\,H(u,p)$$

    Args:
        logits: (N, K) raw outputs of the model; finite, except where `class_mask` is 0 or the row is ignored.
        labels: (N,) class numbers, or (N, K) distributions (soft labels) of floating type.
        label_smoothing: ε in [0, 1], one number or (N,).
        convention: a framework (`labelsmooth conventions` lists them) or a target's name; "torch" is the paper's.
        prior: (K,) or (N, K) distribution that ε is spread over; uniform when None.
        weight: (K,) class weights, whose meaning `weighting` names.
        weighting: "torch", "nll", "expected", "label/N" or "label".
        class_mask: (K,) or (N, K), 1 (or True) for a class that may be predicted.
        ignore_index: the label of rows that do not count.
        keep: (N,) 1 for rows that count: the way to ignore rows whose labels are soft.
        reduction: "mean", "sum" or "none".
        as_post: also show exponentials that are not shifted; by default when every |logit| is below 700.
        class_names: K names for display.
        row_names: N names for display.

    Returns:
        A `Trace` with every step by its word.

    Raises:
        ValueError: a shape or a value that does not fit, naming the row where there is one.

    Example:
        >>> t = trace([[4.2, -2.4], [1.6, -0.6]], [0, 1], 0.1)
        >>> t.target.round(2).tolist()
        [[0.95, 0.05], [0.05, 0.95]]
        >>> t.row_loss.round(4).tolist()
        [0.3314, 2.1951]

    Reference: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016, section 7.
    `labelsmooth.cross_entropy` is the loss to train with; it shares no code with this.
    """
    problem = prepare(
        logits, labels, label_smoothing, convention=convention, prior=prior, weight=weight, weighting=weighting, class_mask=class_mask,
        ignore_index=ignore_index, keep=keep, reduction=reduction, as_post=as_post, class_names=class_names, row_names=row_names,
    )  # fmt: skip
    return Trace(problem, chain(problem.case))


@dataclass(frozen=True)
class Problem:
    """Checked input: the case, its numbers by word, and the names to show."""

    case: Case
    given: Mapping[str, Any]
    convention: Convention
    class_names: tuple[str, ...]
    row_names: tuple[str, ...]


def prepare(
    logits: ArrayLike,
    labels: ArrayLike,
    label_smoothing: ArrayLike = 0.1,
    *,
    convention: str = "torch",
    prior: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    weighting: str = "torch",
    class_mask: ArrayLike | None = None,
    ignore_index: int = -100,
    keep: ArrayLike | None = None,
    reduction: str = "mean",
    as_post: bool | None = None,
    class_names: Sequence[str] | None = None,
    row_names: Sequence[str] | None = None,
) -> Problem:
    """Check what `trace` was given and choose the case; the arguments are those of `trace`."""
    z = _matrix(logits)
    rows, classes = z.shape
    row = convention_named(convention)
    row.family.check_classes(classes)
    if row.family.over == NOT_PADDING and not 0 <= ignore_index < classes:
        raise ValueError(f"the convention {convention!r} leaves out a padding class: give its number as ignore_index, got {ignore_index}")
    given: dict[str, Any] = {"logits": z, "class_index": np.arange(classes), "n_classes": classes, "n_rows": rows, "ignore_index": ignore_index}
    given["epsilon"], smoothing = _epsilon(label_smoothing, rows)
    soft = _labels(labels, z, given, ignore_index)
    ignored = _keep(keep, given, soft=soft, ignore_index=ignore_index, rows=rows)
    if weight is not None:
        given["class_weight"] = _vector(weight, classes, "weight")
    case = Case(
        family=row.family,
        divergence=row.divergence,
        weighting=None if weight is None else weighting_named(weighting, soft=soft),
        reduction=reduction,
        soft=soft,
        prior=_prior(prior, given, (rows, classes)),
        smoothing=smoothing,
        mask=_mask(class_mask, given, (rows, classes)),
        ignored=ignored,
        as_post=(class_mask is None and bool(np.all(np.abs(z) < AS_POST_LIMIT))) if as_post is None else as_post,
    )
    _check_finite(z, given)
    return Problem(
        case,
        given,
        row,
        tuple(str(k) for k in range(classes)) if class_names is None else _names(class_names, classes, "class_names"),
        tuple(f"row {n + 1}" for n in range(rows)) if row_names is None else _names(row_names, rows, "row_names"),
    )


def smooth_labels(
    labels: ArrayLike,
    num_classes: int,
    label_smoothing: ArrayLike = 0.1,
    *,
    prior: ArrayLike | None = None,
    convention: str = "torch",
    ignore_index: int = -100,
) -> NDArray[np.float64]:
    r"""Smoothed targets, one row a label.

    $$q'_k = (1-\varepsilon)\,[k = y] + \varepsilon\,u_k$$

    Args:
        labels: (N,) class numbers.
        num_classes: K.
        label_smoothing: ε in [0, 1], one number or (N,).
        prior: (K,) or (N, K) distribution; uniform when None.
        convention: a framework or a target's name, those that have no loss here ("gaussian", "binary") included.
        ignore_index: the padding class, for the conventions that leave one out.

    Returns:
        (N, K) float64.

    Raises:
        ValueError: a label out of range, ε outside [0, 1], too few classes for the convention.

    Example:
        >>> smooth_labels([0, 2], 5, 0.1).round(2).tolist()
        [[0.92, 0.02, 0.02, 0.02, 0.02], [0.02, 0.02, 0.92, 0.02, 0.02]]

    Reference: Szegedy et al. 2016, section 7. Where optax wants one-hot rows, this takes class numbers.
    """
    numbers = np.asarray(labels)
    if not isinstance(num_classes, int) or num_classes < 2:
        raise ValueError(f"num_classes must be a whole number of at least 2, got {num_classes!r}")
    row = convention_named(convention)
    row.family.check_classes(num_classes)
    shape = (len(np.atleast_1d(numbers)), num_classes)
    given: dict[str, Any] = {"class_index": np.arange(num_classes), "n_classes": num_classes, "ignore_index": ignore_index}
    _labels(np.atleast_1d(numbers), np.zeros(shape), given, None)
    given["epsilon"], smoothing = _epsilon(label_smoothing, shape[0])
    case = Case(family=row.family, smoothing=smoothing, prior=_prior(prior, given, shape))
    return np.array(evaluate(target_chain(case), given)["target"])


# Checks -----------------------------------------------------------------------------------------------------------------


def _matrix(logits: ArrayLike) -> Array:
    z = np.asarray(logits, np.float64)
    if z.ndim != 2 or not z.size or z.shape[1] < 2:  # noqa: PLR2004  a choice needs two classes
        raise ValueError(f"logits must be (rows, classes) with at least one row and two classes, got shape {z.shape}")
    return z


def _vector(x: ArrayLike, length: int, what: str) -> Array:
    array = np.asarray(x, np.float64)
    if array.shape != (length,):
        raise ValueError(f"{what} must have {length} numbers, got shape {array.shape}")
    if not np.all(np.isfinite(array)) or np.any(array < 0):
        raise ValueError(f"{what} must be finite and not negative")
    return array


def _names(names: Sequence[str], length: int, what: str) -> tuple[str, ...]:
    if len(names) != length:
        raise ValueError(f"{what} must have {length} entries, got {len(names)}")
    return tuple(str(name) for name in names)


def _epsilon(label_smoothing: ArrayLike, rows: int) -> tuple[Any, str]:
    eps = np.asarray(label_smoothing, np.float64)
    bad = ~((eps >= 0) & (eps <= 1))  # catches NaN as well
    if np.any(bad):
        raise ValueError(f"label_smoothing must be between 0 and 1, got {eps[bad].flat[0]:g}")
    if eps.ndim == 0:
        return float(eps), ""
    if eps.shape != (rows,):
        raise ValueError(f"label_smoothing must be one number or one a row ({rows}), got shape {eps.shape}")
    return eps, "n"


def _labels(labels: ArrayLike, z: Array, given: dict[str, Any], ignore_index: int | None) -> bool:
    """Check the labels, put them among the given values, and say whether they are soft."""
    y = np.asarray(labels)
    rows, classes = z.shape
    if y.shape == z.shape and y.dtype.kind == "f":
        off = np.abs(y.sum(axis=1) - 1) > 1e-6  # noqa: PLR2004  float32 distributions are off by rounding
        if np.any(off) or np.any(y < 0) or not np.all(np.isfinite(y)):
            first = int(np.argmax(off | np.any(~(y >= 0), axis=1)))
            raise ValueError(f"soft labels must be distributions: row {first + 1} sums to {y[first].sum():g}")
        given["soft_label"] = y.astype(np.float64)
        return True
    if y.dtype.kind == "f" and np.all(y == np.floor(y)):
        y = y.astype(np.int64)
    if y.shape != (rows,) or y.dtype.kind not in "iu":
        raise ValueError(f"labels must be ({rows},) class numbers or {z.shape} distributions, got {y.dtype} {y.shape}")
    bad = ((y < 0) | (y >= classes)) & (y != ignore_index if ignore_index is not None else True)
    if np.any(bad):
        first = int(np.argmax(bad))
        raise ValueError(f"label {y[first]} in row {first + 1} is not a class number from 0 to {classes - 1}")
    given["label"] = y
    return False


def _keep(keep: ArrayLike | None, given: dict[str, Any], *, soft: bool, ignore_index: int, rows: int) -> bool:
    """Whether some rows do not count; soft labels say so by `keep`, class numbers by `ignore_index`."""
    if keep is None:
        return not soft and bool(np.any(given["label"] == ignore_index))
    if not soft:
        raise ValueError("keep is for soft labels; give rows with class numbers the label ignore_index")
    given["keep"] = _vector(keep, rows, "keep")
    if not np.all(np.isin(given["keep"], (0, 1))):
        raise ValueError("keep must hold 0 and 1 only")
    return True


def _prior(prior: ArrayLike | None, given: dict[str, Any], shape: tuple[int, int]) -> str:
    if prior is None:
        return ""
    u = np.asarray(prior, np.float64)
    if u.shape not in (shape[1:], shape):
        raise ValueError(f"prior must have {shape[1]} numbers, or {shape} for one a row; got shape {u.shape}")
    if not np.all(u >= 0) or np.any(np.abs(u.sum(axis=-1) - 1) > 1e-6):  # noqa: PLR2004
        raise ValueError(f"prior must be a distribution: not negative, and its sum 1; got the sum {np.ravel(u.sum(axis=-1))[0]:g}")
    given["prior"] = u
    return "k" if u.ndim == 1 else "nk"


def _mask(class_mask: ArrayLike | None, given: dict[str, Any], shape: tuple[int, int]) -> str:
    if class_mask is None:
        return ""
    mask = np.asarray(class_mask).astype(np.float64)
    if mask.shape not in (shape[1:], shape) or not np.all(np.isin(mask, (0, 1))):
        raise ValueError(f"class_mask must hold 0 and 1, {shape[1]} of them or {shape}; got shape {mask.shape}")
    room = np.broadcast_to(mask, shape) * np.broadcast_to(given.get("prior", 1.0), shape)
    if np.any(room.sum(axis=1) <= 0):
        raise ValueError(f"class_mask leaves row {int(np.argmax(room.sum(axis=1) <= 0)) + 1} no class that the prior gives mass")
    charged = given["soft_label"] if "soft_label" in given else np.arange(shape[1]) == given["label"][:, None]
    masked = (charged * (1 - np.broadcast_to(mask, shape))).sum(axis=1) > 0
    if np.any(masked):
        raise ValueError(f"the label of row {int(np.argmax(masked)) + 1} is a masked class")
    given["allowed"] = mask
    return "k" if mask.ndim == 1 else "nk"


def _check_finite(z: Array, given: dict[str, Any]) -> None:
    counts = np.ones(len(z)) if "label" not in given else given["label"] != given["ignore_index"]
    needed = np.broadcast_to(given.get("allowed", 1.0), z.shape) * np.reshape(given.get("keep", counts), (-1, 1)) > 0
    bad = ~np.isfinite(z) & needed
    if np.any(bad):
        n, k = (int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"the logit of row {n + 1}, class {k} is {z[n, k]}: mask the class, ignore the row, or replace it by a finite number")
