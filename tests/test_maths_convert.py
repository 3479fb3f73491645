"""The ε of another convention gives the same target, and what cannot be is refused with its reason."""

from __future__ import annotations

import re

import numpy as np
import pytest

from agree import FLOAT64, agree
from cases import LABELS, LOGITS
from labelsmooth.maths.conventions import FAMILIES
from labelsmooth.maths.convert import Conversion, convert
from labelsmooth.maths.trace import smooth_labels, trace

NORMALISED = ["uniform", "others", "renormalised", "smoothed twice", "1−ε for ε"]
SCALED = ["unnormalised", "1/K for ε/K", "1−εK/(K−1) for 1−ε", "1/(K−1) for 1/K"]


def test_a_tenth_in_fairseq_is_an_eighth_in_torch() -> None:
    found = convert(0.1, source="fairseq", target="torch", num_classes=5)
    assert found == Conversion(0.125, exact=True, on=0.9, off=0.025)


# K = 5, ε = 0.1: B is A(εK/(K−1)), D is A(ε/(1+ε)), twice is A(1−(1−ε)²), E is A(ε/(1−ε/K)) times 1−ε/K.
CLOSED = [
    ("fairseq", "torch", 0.125, True),
    ("torch", "fairseq", 0.08, True),
    ("classy_vision", "torch", 0.1 / 1.1, True),
    ("torch", "classy_vision", 0.1 / 0.9, True),
    ("smoothed twice", "torch", 0.19, True),
    ("torch", "smoothed twice", 1 - 0.9**0.5, True),
    ("1−ε for ε", "torch", 0.9, True),
    ("fairseq", "classy_vision", 0.125 / 0.875, True),
    ("coincheung", "torch", 0.1 / 0.98, False),
    ("torch", "coincheung", 0.1 / 1.02, False),
    ("keras.BinaryCrossentropy", "multi-label", 0.05, True),
    ("multi-label", "keras.BinaryCrossentropy", 0.2, True),
    ("fairseq@0.3", "fairseq@0.10", 0.125 / 1.025, False),
]


@pytest.mark.parametrize(("source", "target", "expected", "exact"), CLOSED)
def test_a_conversion_has_its_closed_form(source: str, target: str, expected: float, *, exact: bool) -> None:
    found = convert(0.1, source=source, target=target, num_classes=5)
    agree(found.label_smoothing, expected, budget=FLOAT64, what="ε")
    assert found.exact is exact
    there = smooth_labels([1], 5, found.label_smoothing, convention=target)[0]
    agree([found.on, found.off], there[[1, 0]], budget=FLOAT64, what="on, off")


@pytest.mark.parametrize("classes", [2, 3, 10, 1000, 250_000])
@pytest.mark.parametrize("target", NORMALISED)
@pytest.mark.parametrize("source", NORMALISED)
def test_targets_that_sum_to_one_convert_exactly_and_back(source: str, target: str, classes: int) -> None:
    for smoothing in (0.0, 1e-6, 0.1, 0.25, 0.5):
        try:
            found = convert(smoothing, source=source, target=target, num_classes=classes)
        except ValueError as fault:
            assert "can give them" in str(fault)  # noqa: PT017  some are out of reach, and say so
            continue
        assert found.exact
        given = FAMILIES[source].on_off(smoothing, classes)
        agree([found.on, found.off], given, budget=FLOAT64, what="the target")
        agree([found.off * classes], [given[1] * classes], budget=FLOAT64, what="the mass of the wrong classes")
        back = convert(found.label_smoothing, source=target, target=source, num_classes=classes)
        agree(back.label_smoothing, smoothing, budget=FLOAT64, what="back again")


@pytest.mark.parametrize("target", [*NORMALISED, *SCALED])
@pytest.mark.parametrize("source", SCALED)
def test_where_the_sums_differ_the_losses_differ_by_the_factor_in_the_note(source: str, target: str) -> None:
    smoothing = 0.1 if source != "1/K for ε/K" else 0.9
    try:
        found = convert(smoothing, source=source, target=target, num_classes=5)
    except ValueError as fault:
        assert "can give them" in str(fault)  # noqa: PT017
        return
    theirs = trace(LOGITS, LABELS, smoothing, convention=source).row_loss
    ours = trace(LOGITS, LABELS, found.label_smoothing, convention=target).row_loss
    if found.exact:
        agree(theirs, ours, budget=FLOAT64, what="equal losses")
        return
    factor = re.search(rf"cross-entropy of {re.escape(source)} is (\S+) times that of {re.escape(target)}", found.note)
    assert factor is not None
    agree(theirs, float(factor[1]) * ours, budget=5e-6, what="losses, by a factor of six digits")


@pytest.mark.parametrize(("source", "target", "entropy"), [("espnet", "torch", 0.463712), ("torch", "t5x", 0.389673)])
def test_kl_differs_from_cross_entropy_by_the_entropy_in_the_note(source: str, target: str, entropy: float) -> None:
    found = convert(0.1, source=source, target=target, num_classes=5)
    assert found.exact
    assert f"returns a KL divergence: its cross-entropy less the constant H(q') = {entropy}" in found.note
    theirs = trace(LOGITS, LABELS, 0.1, convention=source).row_loss
    ours = trace(LOGITS, LABELS, found.label_smoothing, convention=target).row_loss
    agree(np.abs(theirs - ours), np.full(2, entropy), budget=5.1e-7, what="difference")


def test_padding_converts_to_itself_with_its_entropy() -> None:
    found = convert(0.1, source="joeynmt", target="others but padding", num_classes=5)
    assert (found.label_smoothing, found.exact) == (0.1, True)
    assert "0.434944" in found.note


def test_kl_and_a_factor_are_both_in_the_note() -> None:
    note = convert(0.1, source="espnet", target="coincheung", num_classes=5).note
    assert "espnet is 1.025 times that of coincheung; espnet returns a KL divergence" in note
    assert "0.463712" in note


def test_no_smoothing_is_none_anywhere() -> None:
    for target in ("fairseq", "classy_vision", "coincheung", "smoothed twice"):
        assert convert(0.0, source="torch", target=target, num_classes=5).label_smoothing == 0.0


def test_numpy_numbers_are_numbers() -> None:
    found = convert(np.float64(0.1), source="fairseq", target="torch", num_classes=np.int64(5))  # type: ignore[arg-type]
    assert repr(found.label_smoothing) == "0.125"


@pytest.mark.parametrize(
    ("smoothing", "source", "target", "classes", "says"),
    [
        (
            0.6,
            "fairseq",
            "torch",
            2,
            "gives the wrong classes 0.6 of the target at K = 2; 'uniform' can give them 0 to 0.5",
        ),
        (1.0, "torch", "renormalised", 3, "torch's 1 gives the wrong classes 0.666667"),
        (0.1, "torch", "1/K for ε/K", 5, "can give them 0.4 to 0.8"),
        (0.1, "torch", "(1−ε)/K for ε/K", 5, "on : off is the same for every ε"),
        (1.0, "(1−ε)/K for ε/K", "torch", 5, "leaves no target at all"),
        (0.1, "joeynmt", "torch", 5, "gives a padding class nothing"),
        (0.1, "torch", "opennmt-py@3.0.2", 5, "gives a padding class nothing"),
        (0.1, "torch", "gaussian", 5, "depends on the distance from the label"),
        (0.1, "keras.BinaryCrossentropy", "torch", 5, "one is a distribution, the other a yes or no a class"),
        (0.1, "joeynmt", "joeynmt", 2, "needs at least 3 classes, got 2"),
        (1.5, "torch", "fairseq", 5, "label_smoothing must be between 0 and 1, got 1.5"),
        (float("nan"), "torch", "fairseq", 5, "label_smoothing must be between 0 and 1, got nan"),
        (0.1, "torch", "fairseq", 1, "num_classes must be a whole number of at least 2, got 1"),
        (0.1, "torch", "fairseq", 5.0, "num_classes must be a whole number of at least 2, got 5.0"),
        (0.1, "torch", "jaxx", 5, "unknown convention 'jaxx'"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_its_reason(
    smoothing: float, source: str, target: str, classes: int, says: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        convert(smoothing, source=source, target=target, num_classes=classes)
