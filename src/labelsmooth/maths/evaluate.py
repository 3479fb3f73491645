"""The chain in numbers: float64, with NumPy.

Every value is two-dimensional inside, (rows, classes), with length 1 along an axis it does not vary over, so that
broadcasting needs no case. `Trace` hands values out in their natural shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .case import Chain
from .expr import AXES, Const, Expr, Named

Array = NDArray[np.float64]

ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "neg": np.negative,
    "exp": np.exp,
    "log": np.log,
    "log10": np.log10,
    "abs": np.abs,
    "==": lambda a, b: (a == b).astype(np.float64),
    ">": lambda a, b: (a > b).astype(np.float64),
    "where": lambda condition, a, b: np.where(condition != 0, a, b),
}
REDUCE: dict[str, Callable[..., Any]] = {"sum": np.sum, "max": np.max, "fold": np.sum}


def value(x: Expr, known: Mapping[str, Array]) -> Array:
    """Value of an expression, given the values of the words it refers to, all (rows, classes)."""
    if isinstance(x, Named):
        return known[x.word]
    if isinstance(x, Const):
        return np.full((1, 1), x.value)
    args = [value(arg, known) for arg in x.args]
    if x.op == "pick":
        index = np.broadcast_to(args[1], (max(len(args[0]), len(args[1])), 1)).astype(np.int64)
        rows = np.broadcast_to(args[0], (len(index), args[0].shape[1]))
        return np.take_along_axis(rows, np.clip(index, 0, rows.shape[1] - 1), axis=1)
    op, _, axis = x.op.partition(" ")
    if axis:
        out: Array = REDUCE[op](args[0], axis=AXES.index(axis), keepdims=True)
        return out
    return ELEMENTWISE[op](*args)  # type: ignore[no-any-return]


def two_dimensional(x: Any, axes: str) -> Array:
    """Give an array of the named axes its (rows, classes) shape."""
    shape = {"": (1, 1), "n": (-1, 1), "k": (1, -1)}
    array = np.asarray(x, np.float64)
    return array if axes == "nk" else array.reshape(shape[axes])


def natural(x: Array, axes: str) -> Any:
    """Drop the axes a value does not vary over; one number becomes a float."""
    if not axes:
        return float(x[0, 0])
    return x[:, 0] if axes == "n" else x[0] if axes == "k" else x


def evaluate(chain: Chain, given: Mapping[str, Any]) -> dict[str, Array]:
    """Every input and step of a chain, by word, as (rows, classes) arrays of float64.

    >>> from .steps import chain
    >>> values = evaluate(chain(), {"logits": [[4.2, -2.4]], "label": [0], "class_index": [0, 1],
    ...                             "epsilon": 0.1, "n_classes": 2, "n_rows": 1})
    >>> round(values["row_loss"].item(), 9)
    0.331359444
    """
    known = {x.word: two_dimensional(given[x.word], x.axes) for x in chain.inputs}
    with np.errstate(all="ignore"):  # a branch that IF does not take may divide by zero
        for line in chain.steps:
            if line.formula is None:
                raise ValueError(f"the step {line.word!r} has no formula")
            known[line.word] = value(line.formula, known)
    sizes = (max(len(v) for v in known.values()), max(v.shape[1] for v in known.values()))

    def full(axes: str) -> tuple[int, ...]:
        return tuple(size if axis in axes else 1 for axis, size in zip(AXES, sizes, strict=True))

    return {x.word: np.broadcast_to(known[x.word], full(x.axes)) for x in (*chain.inputs, *chain.steps)}
