"""Numbers: every operation, in the shape it should have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, agree
from cases import TWO_CLASSES, TWO_LABELS
from labelsmooth.maths.case import Case, Chain, K, given, u, y, z
from labelsmooth.maths.evaluate import evaluate, natural, two_dimensional, value
from labelsmooth.maths.expr import (
    INFINITY,
    Operand,
    above,
    absolute,
    equal,
    exp,
    folded,
    largest,
    log,
    log10,
    pick,
    step,
    total,
    where,
)
from labelsmooth.maths.steps import chain

ROW = given("row", "r", "r", "n", "one a row")
KNOWN = {
    "logits": np.array([[1.0, 2.0, 4.0], [-1.0, 0.0, 8.0]]),
    "row": np.array([[3.0], [5.0]]),
    "prior": np.array([[0.5, 0.25, 0.25]]),
    "label": np.array([[2.0], [0.0]]),
    "n_classes": np.array([[3.0]]),
}

OPERATIONS: list[tuple[Operand, Any]] = [
    (z + ROW, [[4, 5, 7], [4, 5, 13]]),
    (z - ROW, [[-2, -1, 1], [-6, -5, 3]]),
    (ROW - z, [[2, 1, -1], [6, 5, -3]]),
    (z * u, [[0.5, 0.5, 1], [-0.5, 0, 2]]),
    (z / u, [[2, 8, 16], [-2, 0, 32]]),
    (-z, [[-1, -2, -4], [1, 0, -8]]),
    (exp(ROW), [[np.e**3], [np.e**5]]),
    (log(ROW), [[np.log(3)], [np.log(5)]]),
    (log10(ROW), [[np.log10(3)], [np.log10(5)]]),
    (absolute(z), [[1, 2, 4], [1, 0, 8]]),
    (equal(z, 2), [[0, 1, 0], [0, 0, 0]]),
    (above(z, 1), [[0, 1, 1], [0, 0, 1]]),
    (where(above(z, 1), z, -ROW), [[-3, 2, 4], [-5, -5, 8]]),
    (where(equal(z, 0), INFINITY, 0), [[0, 0, 0], [0, np.inf, 0]]),
    (total("k", z), [[7], [7]]),
    (total("n", z), [[0, 2, 12]]),
    (total("k", z * u), [[2], [1.5]]),
    (largest("k", z), [[4], [8]]),
    (largest("n", ROW), [[5]]),
    (folded("k", exp(z - z)), [[3], [3]]),
    (pick(z, y), [[4], [-1]]),
    (pick(u, y), [[0.25], [0.5]]),
    (1 / K, [[1 / 3]]),
]


@pytest.mark.parametrize(("expression", "expected"), OPERATIONS)
def test_an_operation_has_the_value_it_says(expression: Any, expected: Any) -> None:
    agree(value(expression, KNOWN), expected, budget=FLOAT64, what=expression.op)


def test_values_come_back_in_their_natural_shape() -> None:
    for axes, shape in (("", ()), ("n", (4,)), ("k", (4,)), ("nk", (2, 2))):
        x = np.arange(1.0 if not axes else 4.0).reshape(shape)
        agree(natural(two_dimensional(x, axes), axes), x, budget=0, what=axes, any_dtype=True)
    assert isinstance(natural(np.ones((1, 1)), ""), float)


def test_every_value_has_its_full_shape() -> None:
    inputs = {
        "logits": TWO_CLASSES, "label": TWO_LABELS, "class_index": [0, 1], "epsilon": 0.1, "n_classes": 2, "n_rows": 5,
    }  # fmt: skip
    steps = chain()
    values = evaluate(steps, inputs)
    full = {"": (1, 1), "n": (5, 1), "k": (1, 2), "nk": (5, 2)}
    assert list(values) == [x.word for x in (*steps.inputs, *steps.steps)]
    for x in (*steps.inputs, *steps.steps):
        assert values[x.word].shape == full[x.axes], x.word


def test_a_step_without_a_formula_is_refused() -> None:
    broken = Chain(Case(), (step("twice", "t", "t", z * 2, "twice"), given("lost", "l", "l", "n", "no formula")))
    with pytest.raises(ValueError, match="the step 'lost' has no formula"):
        evaluate(broken, {"logits": [[1.0, 2.0]]})
