"""The tables of conventions give the figures that the frameworks give."""

from __future__ import annotations

import re
import subprocess
import sys
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, agree
from cases import LABELS, LOGITS, WEIGHT
from labelsmooth.maths.conventions import (
    CONVENTIONS,
    FAMILIES,
    WEIGHTINGS,
    Convention,
    convention_named,
    weighting_named,
)
from labelsmooth.maths.convert import convert
from labelsmooth.maths.trace import smooth_labels, trace

PRINTED = 5.1e-7  # the published figures have six decimals
DENSITY = [0.037526, 0.239103, 0.443269, 0.239103, 0.037526]


def entropy(target: Any) -> float:
    return float(-sum(x * log(x) for x in np.ravel(target) if x > 0))


# Targets -------------------------------------------------------------------------------------------------------------

# on, off, sum and −Σ q' ln q' (where it was published) at ε = 0.1, for five classes and for two.
TARGETS = [
    ("uniform", 5, 0.92, 0.02, 1, 0.389673),
    ("uniform", 2, 0.95, 0.05, 1, 0.198515),
    ("others", 5, 0.9, 0.025, 1, 0.463712),
    ("others", 2, 0.9, 0.1, 1, 0.325083),
    ("renormalised", 5, 0.92727273, 0.01818182, 1, 0.361459),
    ("renormalised", 2, 0.95454545, 0.04545455, 1, 0.184907),
    ("unnormalised", 5, 0.9, 0.02, 0.98, 0.407786),
    ("unnormalised", 2, 0.9, 0.05, 0.95, 0.244611),
    ("binary", 5, 0.95, 0.05, 1.15, None),
    ("binary", 2, 0.95, 0.05, 1, None),
    ("multi-label", 5, 0.9, 0.1, 1.3, None),
    ("multi-label", 2, 0.9, 0.1, 1, None),
    ("1/K for ε/K", 5, 1.1, 0.2, 1.9, None),
    ("(1−ε)/K for ε/K", 5, 1.08, 0.18, 1.8, None),
    ("1−ε for ε", 5, 0.28, 0.18, 1, None),
    ("1−εK/(K−1) for 1−ε", 5, 0.895, 0.02, 0.975, None),
    ("1/(K−1) for 1/K", 5, 0.925, 0.025, 1.025, None),
    ("smoothed twice", 5, 0.848, 0.038, 1, None),
]


@pytest.mark.parametrize(("name", "classes", "on", "off", "whole", "own"), TARGETS)
def test_a_target_has_the_published_figures(
    name: str, classes: int, on: float, off: float, whole: float, own: float | None
) -> None:
    agree(FAMILIES[name].on_off(0.1, classes), [on, off], budget=1e-8, what="on, off")
    target = smooth_labels(range(classes), classes, 0.1, convention=name)
    agree(target, off + (on - off) * np.eye(classes), budget=1e-8, what="the target in the chain")
    agree(target[0].sum(), whole, budget=FLOAT64, what="its sum")
    if own is not None:
        agree(entropy(target[0]), own, budget=PRINTED, what="its entropy")


def test_padding_gets_nothing_and_its_rows_no_target() -> None:
    target = smooth_labels([0, 2, 4], 5, 0.1, convention="opennmt-py@3.0.2", ignore_index=4)
    third = 0.1 / 3
    agree(target[0], [0.9, third, third, third, 0], budget=FLOAT64, what="a row")
    agree(target[2], np.zeros(5), budget=0, what="a row of padding")
    agree(entropy(target[1]), 0.434944, budget=PRINTED, what="entropy")
    agree(FAMILIES["others but padding"].on_off(0.1, 5), [0.9, third], budget=FLOAT64, what="on, off")


def test_padding_needs_three_classes() -> None:
    for refused in (
        lambda: FAMILIES["others but padding"].on_off(0.1, 2),
        lambda: smooth_labels([0], 2, convention="joeynmt", ignore_index=1),
        lambda: trace([[1, 2]], [0], convention="joeynmt", ignore_index=1),
    ):
        with pytest.raises(ValueError, match=r"'others but padding' needs at least 3 classes, got 2"):
            refused()


def test_the_gaussian_target_is_a_density_of_width_one_minus_epsilon() -> None:
    target = smooth_labels([2, 0], 5, 0.1, convention="tensor2tensor.smoothing_cross_entropy(gaussian)")
    agree(target[0], DENSITY, budget=PRINTED, what="in the middle")
    agree(target[1], [*DENSITY[2:], 0.001714, 0.000023], budget=PRINTED, what="at the edge")
    agree(target.sum(axis=1), [0.996527, 0.721635], budget=PRINTED, what="sums")
    with pytest.raises(ValueError, match="depends on the distance from the label: use smooth_labels"):
        FAMILIES["gaussian"].on_off(0.1, 5)
    with pytest.raises(ValueError, match="label_smoothing must be below 1"):
        smooth_labels([0], 5, 1.0, convention="gaussian")


# Class weights -------------------------------------------------------------------------------------------------------

MEANS = {
    "class/label": 0.989757,
    "class/N": 2.474393,
    "nll": 0.908078,
    "nll/N": 1.954600,
    "expected": 0.876821,
    "label/N": 2.218003,
    "label": 0.887201,
}
SUMS = {"class/label": 4.948786, "nll": 3.909199, "expected": 4.471786}
ROWS = {"class/label": [1.342297, 3.606489], "nll": [0.651914, 3.257285], "expected": [0.782297, 3.689489]}


@pytest.mark.parametrize("meaning", WEIGHTINGS)
def test_a_meaning_of_class_weights_has_the_published_mean(meaning: str) -> None:
    run = trace(LOGITS, LABELS, 0.1, weight=WEIGHT, weighting=meaning)
    agree(run.loss, MEANS[meaning], budget=PRINTED, what=meaning)


@pytest.mark.parametrize("meaning", SUMS)
def test_a_meaning_of_class_weights_has_the_published_rows_and_sum(meaning: str) -> None:
    rows = trace(LOGITS, LABELS, 0.1, weight=WEIGHT, weighting=meaning, reduction="none")
    agree(rows.row_loss, ROWS[meaning], budget=PRINTED, what=f"{meaning}: rows")
    total = trace(LOGITS, LABELS, 0.1, weight=WEIGHT, weighting=meaning, reduction="sum")
    agree(total.loss, SUMS[meaning], budget=PRINTED, what=f"{meaning}: sum")


def test_without_smoothing_the_weighted_means_by_weight_meet() -> None:
    for meaning in ("class/label", "nll", "expected", "label"):
        run = trace(LOGITS, LABELS, 0.0, weight=WEIGHT, weighting=meaning)
        agree(run.loss, 0.775201, budget=PRINTED, what=meaning)


def test_torch_weighs_indices_and_the_equal_distributions_differently() -> None:
    agree(trace(LOGITS, LABELS, 0.1, weight=WEIGHT).loss, MEANS["class/label"], budget=PRINTED, what="indices")
    one_hot = np.eye(5)[LABELS]
    agree(trace(LOGITS, one_hot, 0.1, weight=WEIGHT).loss, MEANS["class/N"], budget=PRINTED, what="distributions")
    assert (weighting_named("torch").name, weighting_named("torch", soft=True).name) == ("class/label", "class/N")


def test_an_unknown_meaning_of_class_weights_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown weighting 'w': choose one of torch, class/label, .*nll/N"):
        weighting_named("w")


# Rows of the two published logits, ε = 0.1 ---------------------------------------------------------------------------

FINGERPRINTS = [
    ("torch", {}, 0.651914, 0.946023, 0.798969),
    ("torch", {"label_smoothing": 0.0}, 0.451914, 0.856023, 0.653969),
    ("fairseq", {}, 0.701914, 0.968523, 0.835219),
    ("fairseq@0.3", {}, 0.713212, 0.989923, 0.851568),
    ("fastai@1.0.48", {}, 0.701914, 0.968523, 0.835219),
    ("classy_vision", {}, 0.633733, 0.937841, 0.785787),
    ("coincheung", {}, 0.642876, 0.928902, 0.785889),
    ("1−εK/(K−1) for 1−ε", {}, 0.640617, 0.924622, 0.782619),
    ("1/K for ε/K", {}, 2.858637, 2.526443, 2.692540),
    ("(1−ε)/K for ε/K", {}, 2.613446, 2.350841, 2.482144),
    ("1−ε for ε", {}, 2.251914, 1.666023, 1.958969),
    ("smoothed twice", {}, 0.831914, 1.027023, 0.929469),
    ("others but padding", {"ignore_index": 4}, 0.651914, 0.966023, 0.808969),
    ("others but padding", {"ignore_index": 1}, 0.751914, 0.969356, 0.860635),
    ("others but padding", {"ignore_index": 2}, 0.718581, 0.956023, 0.837302),
    ("annotated_transformer", {"ignore_index": 4}, 0.216970, 0.531079, 0.374024),
    ("joeynmt", {"ignore_index": 4}, 0.216970, 0.531079, 0.374024),
    ("espnet", {}, 0.238202, 0.504810, 0.371506),
    ("t5x", {}, 0.238202, 0.504810, 0.371506),
]


@pytest.mark.parametrize(("convention", "options", "first", "second", "mean"), FINGERPRINTS)
def test_a_convention_has_the_published_rows(
    convention: str, options: dict[str, Any], first: float, second: float, mean: float
) -> None:
    run = trace(LOGITS, LABELS, **{"label_smoothing": 0.1, **options}, convention=convention)
    agree(run.row_loss, [first, second], budget=PRINTED, what="rows")
    agree(run.loss, mean, budget=PRINTED, what="mean")


def test_the_published_mistakes_of_arithmetic_follow_from_the_steps() -> None:
    run = trace(LOGITS, LABELS, 0.1)
    agree(run.row_loss / log(10), [0.283123, 0.410853], budget=PRINTED, what="log10 for ln")
    agree(run.row_loss / log(2), [0.940514, 1.364823], budget=PRINTED, what="log2 for ln")
    again = trace(run.softmax, LABELS, 0.1)
    agree(again.row_loss, [1.245771, 1.414428], budget=PRINTED, what="softmax twice")
    swapped = -(run.softmax * np.log(run.target)).sum(axis=1)
    agree(swapped, [1.475443, 2.285431], budget=PRINTED, what="arguments swapped")
    agree(run.row_loss - run.row_floor, [0.262241, 0.556350], budget=PRINTED, what="KL")


BINARY = [("binary", 0.554705, 0.654852), ("multi-label", 0.594705, 0.663852)]


@pytest.mark.parametrize(("family", "first", "second"), BINARY)
def test_a_target_of_yes_and_no_has_the_published_binary_loss(family: str, first: float, second: float) -> None:
    x, target = np.array(LOGITS), smooth_labels(LABELS, 5, 0.1, convention=family)
    each = np.logaddexp(0, x) - target * x
    agree(each.mean(axis=1), [first, second], budget=PRINTED, what=family)


# Names ---------------------------------------------------------------------------------------------------------------


def test_every_convention_is_found_by_its_key_and_its_full_name() -> None:
    for key, row in CONVENTIONS.items():
        assert convention_named(key) is row
        assert convention_named(row.full_name) is row
        assert convention_named(key.upper()) is row
    assert len({row.full_name for row in CONVENTIONS.values()}) == len(CONVENTIONS)


def test_a_bare_framework_is_its_newest_convention() -> None:
    newest = {"fairseq": "others", "opennmt-py": "uniform", "fastai": "uniform", "keras": "uniform", "nemo": "others"}
    older = {
        "fairseq@0.10": "uniform",
        "opennmt-py@3.0.2": "others but padding",
        "fastai@1.0.48": "others",
        "mmcls@0.12": "renormalised",
    }
    for name, family in {**newest, **older}.items():
        assert convention_named(name).family.name == family
    assert convention_named("speechbrain").weighting == "nll/N"
    assert convention_named("speechbrain.kldiv_loss").divergence == "kl"


@pytest.mark.parametrize("row", CONVENTIONS.values(), ids=lambda row: row.full_name)
def test_a_row_is_complete(row: Convention) -> None:
    assert row.divergence in {"ce", "kl"}
    assert not row.weighting or weighting_named(row.weighting)
    assert row.divergence == "ce" or "sums to one" in row.family.laws
    assert re.fullmatch(r"[\w.-]+/[\w.-]+: [\w./-]+\.(py|cpp)", row.source)
    assert row.since
    assert row.note
    assert re.fullmatch(r"[a-z0-9_-]+(@[0-9.]+)?", row.name), "a name can be typed"
    for older in (key for key in CONVENTIONS if key.startswith(f"{row.name}@")):
        assert CONVENTIONS[older].since != row.since


@pytest.mark.parametrize("name", FAMILIES)
def test_a_target_goes_by_its_own_name(name: str) -> None:
    for typed in (name, name.replace("−", "-").upper()):
        assert convention_named(typed).family is FAMILIES[name]


def test_mistakes_say_where_they_were_seen_and_no_framework_is_called_one_that_it_never_released() -> None:
    assert "issue 55" in FAMILIES["1/K for ε/K"].seen
    assert "pull request 2199" in FAMILIES["(1−ε)/K for ε/K"].seen
    assert "never released" in FAMILIES["1−εK/(K−1) for 1−ε"].seen
    made = {row.full_name for row in CONVENTIONS.values() if row.family.mistake}
    assert made == {"fairseq@0.3.LabelSmoothedNLLLoss"}
    assert not any(family.seen for family in FAMILIES.values() if not family.mistake)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pytorch", "Did you mean 'torch'?"),
        ("fairseq@0.9", "There is fairseq, fairseq@0.10, fairseq@0.3."),
        ("keras.Sparse", "There is keras, keras.BinaryCrossentropy."),
        ("mindspore", "There is mindspore@2020."),
        ("zzz", "unknown convention 'zzz'. `labelsmooth conventions` lists them"),
    ],
)
def test_an_unknown_convention_is_refused_with_a_hint(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        convention_named(name)


# The page ------------------------------------------------------------------------------------------------------------


def test_the_page_of_conventions_is_what_its_script_prints(root: Path) -> None:
    words = [sys.executable, "scripts/conventions_page.py"]
    printed = subprocess.run(words, cwd=root, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    page = (root / "docs" / "conventions.md").read_text(encoding="utf-8")
    assert page == printed, "python scripts/conventions_page.py > docs/conventions.md"
    for name in [*FAMILIES, *WEIGHTINGS, *(f"`{key}`" for key in CONVENTIONS)]:
        assert f"| {name} |" in page


@pytest.mark.parametrize("target", FAMILIES)
@pytest.mark.parametrize("source", FAMILIES)
def test_a_conversion_between_any_two_targets_is_exact_or_says_that_it_is_not(source: str, target: str) -> None:
    try:
        found = convert(0.1, source=source, target=target, num_classes=5)
    except ValueError as fault:
        assert source != target or source == "gaussian"
        assert re.search("no ε in common|can give them|is the same for every ε", str(fault))  # noqa: PT017
        return
    on, off = FAMILIES[source].on_off(0.1, 5)
    agree([found.on * off], [found.off * on], budget=FLOAT64, what="the same ratio")
    assert found.exact == (abs(found.on - on) + abs(found.off - off) <= FLOAT64)
    assert found.exact or "times that of" in found.note
