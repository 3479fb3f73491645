"""The language: axes from operands, and refusals that say what to do."""

from __future__ import annotations

from math import inf

import pytest

from labelsmooth.maths.case import K, N, eps, given, u, w, y, z
from labelsmooth.maths.expr import (
    INFINITY,
    Const,
    above,
    absolute,
    combine,
    equal,
    exp,
    factors,
    folded,
    largest,
    lift,
    log,
    log10,
    pick,
    step,
    total,
    where,
)


def test_a_result_varies_over_every_axis_of_its_operands_in_order() -> None:
    row, class_ = given("a", "a", "a", "n", "a row"), given("b", "b", "b", "k", "a class")
    assert (class_ * row).axes == "nk"
    assert (row / N).axes == "n"
    assert (1 - eps).axes == ""
    assert (-z).axes == "nk"
    assert where(above(row, 0), class_, 1).axes == "nk"
    assert combine("+", 1, 2).axes == ""


def test_operators_build_the_operation_they_look_like() -> None:
    for built, op in ((z + 1, "+"), (1 + z, "+"), (z - 1, "-"), (1 - z, "-"), (2 * z, "*"), (z / K, "/"), (1 / z, "/")):
        assert built.op == op
    assert [a.op for a in (1 - z).args] == ["const", "name"], "the order is kept"
    assert [a.op for a in (1 / z).args] == ["const", "name"]
    for built, op in ((exp(z), "exp"), (log(z), "log"), (log10(z), "log10"), (absolute(z), "abs"), (equal(y, 1), "==")):
        assert built.op == op


def test_numbers_are_lifted_and_expressions_are_left_alone() -> None:
    seven = lift(7)
    assert isinstance(seven, Const)
    assert (seven.value, seven.axes) == (7.0, "")
    assert lift(z) is z
    assert INFINITY.value == inf


def test_a_sum_takes_its_axis_away() -> None:
    assert total("k", z).axes == "n"
    assert total("n", z).axes == "k"
    assert total("k", u * w).axes == ""
    assert total("k", z * w).axes == "n"
    assert largest("k", z).axes == "n"
    assert folded("k", exp(z - K)).axes == "n"


def test_factors_are_given_in_the_order_they_were_written() -> None:
    assert factors(z * w * u) == (z, w, u)
    assert factors(z) == (z,)


@pytest.mark.parametrize("compound", [z - 1, exp(z), z * 2, z * (w - 1), -z, total("k", z) * z])
def test_a_compound_sum_is_refused_with_the_advice_to_name_it(compound: object) -> None:
    with pytest.raises(ValueError, match=r"a sum over 'k' takes named steps only: give the argument a name and a line"):
        total("k", compound)  # type: ignore[arg-type]


def test_a_maximum_takes_one_named_value() -> None:
    with pytest.raises(ValueError, match=r"a max over 'k' takes named steps only"):
        largest("k", z * w)
    with pytest.raises(ValueError, match=r"a max over 'k' takes named steps only"):
        largest("k", z - 1)


def test_a_factor_that_does_not_vary_belongs_outside_the_sum() -> None:
    with pytest.raises(ValueError, match=r"every factor of a sum over 'k' must vary over it: take the others out"):
        total("k", z * y)
    with pytest.raises(ValueError, match=r"every factor of a sum over 'n'"):
        total("n", w)
    with pytest.raises(ValueError, match=r"a sum over 'n' needs a value that varies over it, not over 'k'"):
        folded("n", w)


def test_a_condition_is_a_comparison() -> None:
    with pytest.raises(
        ValueError, match=r"where\(\) takes a comparison such as above\(a, b\) or equal\(a, b\), not '\+'"
    ):
        where(z + 1, 1, 0)


def test_pick_takes_an_index_a_row() -> None:
    assert pick(z, y).axes == "n"
    assert pick(u, y).axes == "n"
    with pytest.raises(
        ValueError, match=r"pick\(\) takes a value over classes and a class number a row, not 'n' and 'n'"
    ):
        pick(y, y)
    with pytest.raises(ValueError, match=r"not 'nk' and 'nk'"):
        pick(z, z)


def test_a_step_varies_as_its_formula_does_and_keeps_what_it_is_told() -> None:
    scaled = step("scaled", "s", "s", z / K, "logits over the number of classes", block="Scaled")
    assert (scaled.axes, scaled.word, scaled.symbol, scaled.says, scaled.block) == (
        "nk", "scaled", "s", "logits over the number of classes", "Scaled",
    )  # fmt: skip
    assert step("zero", "0", "0", 0, "a number").axes == ""
    assert z.formula is None
