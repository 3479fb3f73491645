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

from ._checked import (
    check_finite,
    check_padding,
    matrix,
    names_for,
    sizes,
    smoothing_of,
    take_keep,
    take_labels,
    take_mask,
    take_prior,
    vector,
)
from .case import Case, Chain
from .conventions import NEIGHBOURS, NOT_PADDING, Convention, convention_named, weighting_named
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
        return (
            f"<table><caption>{escape(repr(self))}</caption><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"
        )


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
        weighting: "torch", "class/label", "class/N", "nll", "nll/N", "expected", "label/N" or "label".
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
        logits, labels, label_smoothing, convention=convention, prior=prior, weight=weight, weighting=weighting,
        class_mask=class_mask, ignore_index=ignore_index, keep=keep, reduction=reduction, as_post=as_post,
        class_names=class_names, row_names=row_names,
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
    z = matrix(logits)
    rows, classes = z.shape
    row = convention_named(convention)
    row.family.check_classes(classes)
    check_padding(row, ignore_index, classes)
    given = sizes(z, ignore_index)
    given["epsilon"], smoothing = smoothing_of(label_smoothing, rows)
    soft = take_labels(labels, z, given, ignore_index)
    ignored = take_keep(keep, given, soft=soft, ignore_index=ignore_index, rows=rows)
    meaning = weighting_named(weighting, soft=soft)
    if weight is not None:
        given["class_weight"] = vector(weight, classes, "weight")
    case = Case(
        family=row.family,
        divergence=row.divergence,
        weighting=None if weight is None else meaning,
        reduction=reduction,
        soft=soft,
        prior=take_prior(prior, given, (rows, classes)),
        smoothing=smoothing,
        mask=take_mask(class_mask, given, (rows, classes)),
        ignored=ignored,
        as_post=(class_mask is None and bool(np.all(np.abs(z) < AS_POST_LIMIT))) if as_post is None else as_post,
    )
    check_finite(z, given)
    columns = names_for(class_names, [str(k) for k in range(classes)], "class_names")
    lines = names_for(row_names, [f"row {n + 1}" for n in range(rows)], "row_names")
    return Problem(case, given, row, columns, lines)


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
    if not isinstance(num_classes, int | np.integer) or num_classes < 2:
        raise ValueError(f"num_classes must be a whole number of at least 2, got {num_classes!r}")
    row = convention_named(convention)
    row.family.check_classes(num_classes)
    check_padding(row, ignore_index, num_classes)
    shape = (len(np.atleast_1d(numbers)), num_classes)
    given: dict[str, Any] = {
        "class_index": np.arange(num_classes),
        "n_classes": num_classes,
        "ignore_index": ignore_index,
    }
    take_labels(np.atleast_1d(numbers), np.zeros(shape), given, None)
    given["epsilon"], smoothing = smoothing_of(label_smoothing, shape[0])
    if row.family.over == NEIGHBOURS and np.any(np.equal(label_smoothing, 1)):
        raise ValueError(f"the target {row.family.name!r} has the width 1−ε: label_smoothing must be below 1")
    case = Case(family=row.family, smoothing=smoothing, prior=take_prior(prior, given, shape))
    if not shape[0]:
        return np.empty(shape)
    target = np.array(evaluate(target_chain(case), given)["target"])
    if row.family.over == NOT_PADDING:
        target[given["label"] == ignore_index] = 0.0  # a row of padding has no target
    return target
