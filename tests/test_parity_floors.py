"""Where a loss stops: floors against the chain's, and the questions that people asked about them."""

from __future__ import annotations

import numpy as np
import pytest

from agree import FLOAT64, agree
from labelsmooth.maths.conventions import FAMILIES
from labelsmooth.maths.trace import trace
from labelsmooth.parity._recipes import Recipe
from labelsmooth.parity.floors import diagnose_floor, floor_of

SOFTMAX = [name for name, family in FAMILIES.items() if family.link == "softmax" and family.smallest == 2]


@pytest.mark.parametrize("family", SOFTMAX)
def test_the_floor_of_a_target_is_that_of_the_chain(family: str) -> None:
    for classes in (2, 5, 40):
        expected = trace(np.zeros((1, classes)), [0], 0.1, convention=family).loss_floor
        agree(floor_of(Recipe(family=family), classes), expected, budget=FLOAT64, what=f"{family}, K = {classes}")


def test_a_floor_of_044_at_a_thousand_classes_is_base_10() -> None:
    # pytorch issue 130342: −(1−ε) log(1−ε) − ε (log ε − log(K−1)) at ε = 0.1 is 1.0157, and 0.44 with base 10.
    found = diagnose_floor("0.44", 1000, label_smoothing=0.1)
    fitting = [m.causes for m in found.matches]
    assert fitting[0] == ("log base 10",)
    assert ("log base 10", "target others") in fitting
    assert all(m.certainty == "not enough numbers" for m in found.matches)
    assert diagnose_floor("1.0148", 1000, label_smoothing=0.1).verdict == "agrees"


def test_half_the_smoothing_shows_in_the_floor() -> None:
    # pytorch issue 148884: expected −0.9 ln 0.9 − 0.1 ln 0.1 = 0.3251 at K = 2, and got 0.1985.
    found = diagnose_floor("0.1985", 2, label_smoothing=0.1, convention="fairseq", to="torch")
    assert found.matches[0].causes == ("target uniform",)
    assert found.matches[0].fix == "pass label_smoothing=0.2 to torch for fairseq's 0.1 at K=2"


def test_a_loss_that_never_falls_below_a_softmax_of_a_softmax_is_recognised() -> None:
    best = np.log(np.e + 9) - 1  # one probability 1 and nine 0, taken for logits, with ε = 0
    found = diagnose_floor(f"{best:.4f}", 10, label_smoothing=0)
    assert found.matches[0].causes == ("softmax twice",)


def test_a_floor_that_nothing_has_fits_nothing() -> None:
    found = diagnose_floor("0.7777", 10, label_smoothing=0.1)
    assert found.verdict == "none_fits"
    assert found.nearest


@pytest.mark.parametrize(
    ("classes", "epsilon", "message"), [(1, 0.1, "needs at least 2 classes"), (5, 1.5, "between 0 and 1")]
)
def test_what_cannot_be_is_refused(classes: int, epsilon: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        diagnose_floor("0.4", classes, label_smoothing=epsilon)
