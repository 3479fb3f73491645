"""The laws of the loss, for every target, every meaning of class weights and everything a target accepts.

A family declares the laws it obeys. Each law is a function that takes an example and raises; it is run on all examples of
the families that declare it, and on one example of each family that does not, where it must raise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agree import FINITE_DIFFERENCES, FLOAT64, agree
from cases import CLASSES, MEANINGS, QUICK_MEANINGS, SOFTMAX_FAMILIES, Example, examples, slow_except
from labelsmooth.maths.case import Case
from labelsmooth.maths.conventions import FAMILIES, LAWS, WEIGHTINGS
from labelsmooth.maths.steps import chain
from labelsmooth.maths.trace import Trace, smooth_labels

REDUCTIONS = ("mean", "sum", "none")
Law = Callable[[Example], None]


def runs(example: Example, **changes: Any) -> list[tuple[str, Trace]]:
    """Give the example under each reduction."""
    return [(f"{example.name}, {way}", example.trace(reduction=way, **changes)) for way in REDUCTIONS]


def same(got: Trace, expected: Trace, words: tuple[str, ...], what: str) -> None:
    for word in words:
        if word in expected.chain:
            undefined = word in {"softmax", "log_softmax", "optimum_gap"}  # in an ignored row, these may be anything
            agree(
                getattr(got, word),
                getattr(expected, word),
                budget=FLOAT64,
                what=f"{what}: {word}",
                nan_agrees=undefined,
            )


def counts(example: Example) -> np.ndarray:
    """Give the rows that count, as booleans."""
    if "keep" in example.options:
        return np.asarray(example.options["keep"]) == 1
    return np.ones(len(example.labels), bool) if example.soft else example.labels != example.options["ignore_index"]


def by_row(example: Example, change: Callable[[np.ndarray], np.ndarray]) -> Example:
    """Change everything that has one entry a row."""
    options = dict(example.options)
    for word in ("prior", "class_mask", "keep"):
        if word in options and len(np.shape(options[word])) == (1 if word == "keep" else 2):
            options[word] = change(np.asarray(options[word]))
    smoothing = example.label_smoothing
    return replace(
        example,
        logits=change(example.logits),
        labels=change(example.labels),
        label_smoothing=change(smoothing) if np.ndim(smoothing) else smoothing,
        options=options,
    )


# The laws ------------------------------------------------------------------------------------------------------------


def shifting_logits_changes_nothing(example: Example) -> None:
    shift = np.array([[100.0], [-7.0], [0.5], [30.0]])
    for (what, plain), (_, shifted) in zip(runs(example), runs(example, logits=example.logits + shift), strict=True):
        same(
            shifted,
            plain,
            ("softmax", "log_softmax", "row_loss", "loss", "loss_floor", "optimum_gap", "gradient"),
            what,
        )


def permuting_classes_permutes(example: Example) -> None:
    order = np.roll(np.arange(CLASSES), -1)  # class k is now what class order[k] was
    options = dict(example.options)
    for word in ("prior", "class_mask", "weight"):
        if word in options:
            options[word] = np.asarray(options[word])[..., order]
    labels = example.labels
    if example.soft:
        labels = labels[:, order]
    else:
        ignored = ~counts(example)
        labels = np.where(ignored, labels, np.argsort(order)[np.where(ignored, 0, labels)])
    moved = replace(example, logits=example.logits[:, order], labels=labels, options=options)
    for (what, plain), (_, there) in zip(runs(example), runs(moved), strict=True):
        same(there, plain, ("row_loss", "loss", "loss_floor"), what)
        agree(there.gradient, plain.gradient[:, order], budget=FLOAT64, what=f"{what}: gradient")


def gradient_sums_to_zero_over_classes(example: Example) -> None:
    for what, run in runs(example):
        agree(run.gradient.sum(axis=1), np.zeros(len(run.gradient)), budget=FLOAT64, what=what)


def an_ignored_row_equals_a_removed_row(example: Example) -> None:
    there = counts(example)
    without = by_row(example, lambda x: x[there])
    longer = by_row(example, lambda x: np.insert(x, 1, x[0], axis=0))
    options, labels = dict(longer.options), longer.labels
    if example.soft:
        options["keep"] = np.insert(there.astype(float), 1, 0.0)
    else:
        labels[1] = options["ignore_index"]
    longer.logits[1] = [np.nan, np.inf, -np.inf, 0.0, 1e300]
    longer = replace(longer, labels=labels, options=options)
    kept = np.insert(there, 1, False)
    for (what, less), (_, more) in zip(runs(without), runs(longer), strict=True):
        same(more, less, ("loss", "loss_floor", "loss_excess"), what)
        for word in ("row_loss", "row_excess", "label_term", "prior_term", "gradient"):
            value = getattr(more, word)
            agree(value[kept], getattr(less, word), budget=FLOAT64, what=f"{what}: {word}")
            agree(value[~kept], np.zeros_like(value[~kept]), budget=0, what=f"{what}: {word} of ignored rows")


def no_smoothing_is_plain_cross_entropy(example: Example) -> None:
    run = example.trace(label_smoothing=0.0, reduction="none", as_post=False)
    there, options = counts(example), example.options
    q = np.asarray(example.labels) if example.soft else np.eye(CLASSES)[np.where(there, example.labels, 0)]
    z = np.where(np.asarray(options.get("class_mask", 1)) * np.isfinite(example.logits) > 0, example.logits, -np.inf)
    with np.errstate(all="ignore"):
        minus_log = np.where(q > 0, np.logaddexp.reduce(z, axis=1, keepdims=True) - z, 0.0)
        own = -np.where(q > 0, q * np.log(q), 0.0).sum(axis=1)
    w = np.asarray(options.get("weight", np.ones(CLASSES)))
    charge = WEIGHTINGS[options["weighting"]].charge if "weight" in options else ""
    if charge in {"label", "expected"}:
        expected = (q * w).sum(axis=1) * (q * minus_log).sum(axis=1)
    else:
        expected = (q * w * minus_log).sum(axis=1)
    agree(run.row_loss, np.where(there, expected - own * example.kl, 0.0), budget=FLOAT64, what=example.name)


def the_loss_is_smallest_and_equals_its_floor_at_the_charged_shares(example: Example) -> None:
    for what, run in runs(example):
        charged = getattr(run, "charged" if "charged" in run.chain else "target")
        with np.errstate(divide="ignore"):
            best = np.where(charged > 0, np.log(charged), -1000.0)  # exp(-1000) is 0, as -inf would give
        there = example.trace(logits=best, reduction=run.chain.case.reduction)
        agree(there.row_loss, there.row_floor + np.zeros(len(best)), budget=FLOAT64, what=f"{what}: the loss there")
        agree(there.gradient, np.zeros_like(best), budget=FLOAT64, what=f"{what}: the gradient there")
        assert np.all(run.row_excess > -FLOAT64), what
        assert np.all(run.row_excess[counts(example)] > 1e-6), f"{what}: any other prediction loses more"
        if "loss" in run.chain:
            agree(there.loss, run.loss_floor, budget=FLOAT64, what=f"{what}: the loss of the batch there")
            agree(run.loss - run.loss_floor, run.loss_excess, budget=FLOAT64, what=f"{what}: the excess")


def the_two_terms_add_up_to_the_cross_entropy(example: Example) -> None:
    for what, run in runs(example):
        whole = run.cross_entropy if example.kl else run.row_loss
        agree(run.label_term + run.prior_term, whole, budget=FLOAT64, what=what)
        agree(run.mixture, whole, budget=FLOAT64, what=what)
        agree(run.mixture_gap, np.zeros_like(whole), budget=FLOAT64, what=what)


def the_target_sums_to_one(example: Example) -> None:
    there = counts(example)
    agree(example.trace().target.sum(axis=1)[there], np.ones(there.sum()), budget=FLOAT64, what=example.name)


THE_LAWS: dict[str, Law] = {
    "shift": shifting_logits_changes_nothing,
    "permutation": permuting_classes_permutes,
    "gradient sums to zero": gradient_sums_to_zero_over_classes,
    "ignored is removed": an_ignored_row_equals_a_removed_row,
    "no smoothing is cross-entropy": no_smoothing_is_plain_cross_entropy,
    "floor": the_loss_is_smallest_and_equals_its_floor_at_the_charged_shares,
    "decomposition": the_two_terms_add_up_to_the_cross_entropy,
    "sums to one": the_target_sums_to_one,
}


# The laws hold where they are declared, and only there ---------------------------------------------------------------


def test_every_law_that_a_family_can_declare_is_written_here() -> None:
    assert set(THE_LAWS) == LAWS
    assert all(family.laws <= LAWS for family in FAMILIES.values())


DECLARED = [(f, law) for f in SOFTMAX_FAMILIES for law in sorted(FAMILIES[f].laws)]
NOT_DECLARED = [(f, law) for f in SOFTMAX_FAMILIES for law in sorted(LAWS - FAMILIES[f].laws)]


@pytest.mark.parametrize("meaning", slow_except(QUICK_MEANINGS, MEANINGS))
@pytest.mark.parametrize(("family", "law"), DECLARED)
def test_the_law_holds(family: str, law: str, meaning: str) -> None:
    for example in examples(FAMILIES[family], meaning):
        THE_LAWS[law](example)


@pytest.mark.parametrize(("family", "law"), NOT_DECLARED)
def test_a_law_that_is_not_declared_fails(family: str, law: str) -> None:
    example = next(examples(FAMILIES[family], ""))
    with pytest.raises(AssertionError, match=r"\d+ of \d+ differ"):
        THE_LAWS[law](example)


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.link != "softmax"])
def test_targets_that_are_no_distributions_declare_only_what_they_obey(family: str) -> None:
    laws = FAMILIES[family].laws
    assert laws <= {"permutation"}, "the other laws are about a loss, which there is not:"
    with pytest.raises(ValueError, match="not a softmax target"):
        chain(Case(FAMILIES[family]))
    plain = smooth_labels([1, 3], CLASSES, convention=family)
    assert np.all(np.abs(plain.sum(axis=1) - 1) > 1e-3), "they do not sum to one"
    rolled = smooth_labels([2, 4], CLASSES, convention=family)
    assert bool(np.all(np.abs(np.roll(plain, 1, axis=1) - rolled) < FLOAT64)) is ("permutation" in laws)


# Laws that are not a family's to declare -----------------------------------------------------------------------------


@pytest.mark.parametrize("meaning", slow_except(QUICK_MEANINGS, MEANINGS))
@pytest.mark.parametrize("family", SOFTMAX_FAMILIES)
def test_finite_differences_agree_with_the_gradient(family: str, meaning: str) -> None:
    step = 1e-5
    for example in examples(FAMILIES[family], meaning):
        way = np.random.default_rng(3).normal(size=example.logits.shape)
        for reduction in REDUCTIONS:
            ahead, behind = (example.trace(logits=example.logits + s * way, reduction=reduction) for s in (step, -step))
            word = "row_loss" if reduction == "none" else "loss"
            slope = (getattr(ahead, word) - getattr(behind, word)) / (2 * step)
            along = (example.trace(reduction=reduction).gradient * way).sum(axis=1)
            expected = along if reduction == "none" else along.sum()
            agree(slope, expected, budget=FINITE_DIFFERENCES, what=f"{example.name}, {reduction}", any_dtype=True)


@pytest.mark.parametrize("meaning", slow_except(QUICK_MEANINGS, MEANINGS))
@pytest.mark.parametrize("family", SOFTMAX_FAMILIES)
def test_the_mean_is_the_sum_over_the_divisor(family: str, meaning: str) -> None:
    for example in examples(FAMILIES[family], meaning):
        mean, total = example.trace(reduction="mean"), example.trace(reduction="sum")
        rows = counts(example).sum()
        if meaning not in WEIGHTINGS:
            agree(mean.loss, total.loss / rows, budget=FLOAT64, what=example.name)
            agree(mean.gradient, total.gradient / rows, budget=FLOAT64, what=example.name)
            continue
        weight = total.label_weight.sum()
        divisor = {"weights": weight, "rows": rows, "apart": None}[WEIGHTINGS[meaning].divisor]
        if divisor is None:
            apart = total.label_term.sum() / weight + total.prior_term.sum() / rows
            agree(mean.loss, apart, budget=FLOAT64, what=example.name)
        else:
            agree(mean.loss, total.loss / divisor, budget=FLOAT64, what=example.name)
            agree(mean.gradient, total.gradient / divisor, budget=FLOAT64, what=example.name)
        agree(total.row_loss, example.trace(reduction="none").row_loss, budget=0, what=example.name)


@pytest.mark.parametrize(
    "meaning", [m for m in MEANINGS if not m.startswith("nll")]
)  # "nll" weighs the two parts apart
def test_smoothing_over_the_others_is_smoothing_over_all_by_more(meaning: str) -> None:
    for example in examples(FAMILIES["others"], meaning):
        more = np.asarray(example.label_smoothing) * CLASSES / (CLASSES - 1)
        over_all = example.with_options(convention="uniform")
        for (what, others), (_, uniform) in zip(runs(example), runs(over_all, label_smoothing=more), strict=True):
            same(others, uniform, ("row_loss", "loss", "loss_floor", "optimum_gap", "gradient"), what)


def test_the_loss_is_a_line_in_the_smoothing() -> None:
    for example in examples(FAMILIES["uniform"], ""):
        none, half, whole = (example.trace(label_smoothing=e, reduction="sum").loss for e in (0.0, 0.5, 1.0))
        agree(half, (none + whole) / 2, budget=FLOAT64, what=example.name)
