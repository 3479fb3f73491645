"""MathML says what the tree says: it is well formed, reads like the formula, and every symbol of every chain can be written."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from cases import all_examples
from labelsmooth.maths.case import K, eps, y, z
from labelsmooth.maths.expr import INFINITY, above, exp, given, largest, log, log10, pick, step, total, where
from labelsmooth.maths.mathml import equation, mathml, name
from labelsmooth.maths.steps import chain
from labelsmooth.page.chains import functions

A, B, C = (given(letter, letter, letter, "", letter) for letter in "abc")


def read(markup: str) -> str:
    """The text of MathML in one line, fractions and brackets as they are, by a parser that is not ours."""

    def words(node: ET.Element) -> str:
        parts = [words(child) for child in node]
        if node.tag == "mfrac":
            return f"({parts[0]})/({parts[1]})"
        if node.tag in {"msub", "munder"}:
            return f"{parts[0]}_{parts[1]}"
        if node.tag == "msup":
            return f"{parts[0]}^{parts[1]}"
        return (node.text or "") + "".join(parts)

    return words(ET.fromstring(f"<math>{markup}</math>")).replace("\u2062", "·")  # noqa: S314  our own markup


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (A - (B - C), "a−(b−c)"),
        (A - B - C, "a−b−c"),
        (A * (B + C), "a·(b+c)"),
        (A / (B + C), "(a)/(b+c)"),
        (-(A + B), "−(a+b)"),
        (exp(A - B), "exp(a−b)"),
        (log(A / B), "ln((a)/(b))"),
        (log10(A), "log_10(a)"),
        (where(above(A, 0), log(A), INFINITY), "{ln(a)a>0∞else"),
        (total("k", z), "∑_kz_nk"),
        (largest("k", z), "max_kz_nk"),
        (pick(z, y), "z_nk[y_n]"),
        ((1 - eps) * A + eps / K, "(1−ε)·a+(ε)/(K)"),
    ],
)
def test_the_notation_reads_as_the_formula(x: object, expected: str) -> None:
    assert read(mathml(x)) == expected  # type: ignore[arg-type]


def test_primes_stay_with_their_letter_and_subscripts_below_it() -> None:
    target = chain()["target"]
    assert read(name(target)) == "\U0001d45e′_nk"
    assert read(name(chain()["optimum_gap"])) == "g^*"
    assert read(name(chain()["off"])) == "\U0001d45e′_0"
    assert read(name(chain()["label_loss"])) == "H(q,p)"
    assert read(name(step("x", "z̃", r"\tilde{z}", z, "x"))) == "z~_nk"


@pytest.mark.slow
def test_every_step_of_every_chain_can_be_written() -> None:
    for one in all_examples():
        for line in one.trace().chain.steps:
            assert ET.fromstring(equation(line)).tag == "math"  # noqa: S314


def test_every_step_of_the_page_can_be_written() -> None:
    for _, whole in functions():
        for line in whole.steps:
            assert ET.fromstring(equation(line)).tag == "math"  # noqa: S314


def test_a_symbol_that_cannot_be_written_and_a_value_without_formula_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be written in MathML"):
        name(given("x", "x", r"\frac{1}{2}", "", "x"))
    with pytest.raises(ValueError, match="has no formula"):
        equation(eps)
