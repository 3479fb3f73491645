"""The short chain and the long one meet, wherever the short one is taken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agree import FLOAT64, agree
from cases import SOFTMAX_FAMILIES, all_examples, examples
from labelsmooth.maths.case import Case
from labelsmooth.maths.compact import compact_chain
from labelsmooth.maths.conventions import ALL, FAMILIES, OTHERS, WEIGHTINGS

SHORT = [name for name in SOFTMAX_FAMILIES if FAMILIES[name].over in {ALL, OTHERS}]
WORDS = ("label_loss", "prior_loss", "row_loss", "loss")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("family", SHORT)
def test_the_short_chain_agrees_with_the_long_one(family: str, reduction: str) -> None:
    met = 0
    for example in examples(FAMILIES[family], ""):
        if "class_mask" in example.options:
            continue
        long = example.trace(reduction=reduction)
        short = example.trace(compact_chain, reduction=reduction)
        for word in WORDS[: 3 if reduction == "none" else 4]:
            agree(getattr(short, word), getattr(long, word), budget=FLOAT64, what=f"{example.name}: {word}")
        met += 1
    assert met >= 3
    assert ("loss" in short.chain) is (reduction != "none")


def test_the_short_chain_is_short() -> None:
    cases = [example.case() for example in examples(FAMILIES["uniform"], "") if "mask" not in example.name]
    assert max(len(compact_chain(case).steps) for case in cases) == 8


def test_every_case_is_either_taken_or_refused_with_what_has_no_room() -> None:
    reasons = {"class weights": 0, "masked classes": 0, "KL": 0, "the target 'others but padding'": 0}
    taken = 0
    for example in all_examples():
        case = example.case()
        if not (case.weighting or case.mask or case.divergence == "kl" or case.family.over not in {ALL, OTHERS}):
            compact_chain(case)
            taken += 1
            continue
        with pytest.raises(
            ValueError, match=r"the compact layout has no room for .*: use fewer rows and the full layout"
        ) as no:
            compact_chain(case)
        for reason in reasons:
            reasons[reason] += reason in str(no.value)
    assert taken > 30
    assert all(reasons.values()), reasons


def test_several_things_without_room_are_all_named() -> None:
    case = Case(weighting=WEIGHTINGS["label"], mask="k")
    with pytest.raises(ValueError, match="no room for class weights, masked classes"):
        compact_chain(case)
    with pytest.raises(ValueError, match="no room for the target 'binary'"):
        compact_chain(replace(case, weighting=None, mask="", family=FAMILIES["binary"]))
