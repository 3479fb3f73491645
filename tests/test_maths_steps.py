"""The chain: the worked examples' numbers, which lines a case has, and the table it prints."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agree import FLOAT64, agree
from cases import (
    FIVE_CLASSES,
    FIVE_LABELS,
    FIVE_LOSSES,
    TWO_CLASSES,
    TWO_LABELS,
    TWO_LOSSES,
    TWO_PRINTED,
    all_examples,
)
from labelsmooth.maths.case import Case, Chain, z
from labelsmooth.maths.conventions import FAMILIES, WEIGHTINGS
from labelsmooth.maths.expr import step
from labelsmooth.maths.steps import chain, main, target_chain
from labelsmooth.maths.trace import trace

NINE_DECIMALS = 5.1e-10
EIGHT_DECIMALS = 5.1e-9


# The worked examples -------------------------------------------------------------------------------------------------


def test_the_smoothed_tables_are_those_of_the_worked_examples() -> None:
    five, two = trace(FIVE_CLASSES, FIVE_LABELS, 0.1), trace(TWO_CLASSES, TWO_LABELS, 0.1)
    agree(five.target, 0.02 + 0.9 * np.eye(5), budget=FLOAT64, what="0.92 and 0.02")
    right = np.array([[0.95, 0.05], [0.05, 0.95], [0.05, 0.95], [0.95, 0.05], [0.95, 0.05]])
    agree(two.target, right, budget=FLOAT64, what="0.95 and 0.05")
    agree(five.one_hot, np.eye(5), budget=0, what="one-hot")


def test_the_softmax_table_is_that_of_the_worked_example() -> None:
    run = trace(TWO_CLASSES, TWO_LABELS, 0.1)
    first = [*run.plain_exponential[0], run.plain_sum[0], *run.plain_softmax[0]]
    agree(first, [66.68633104, 0.090717953, 66.77704899, 0.99864148, 0.00135852], budget=EIGHT_DECIMALS, what="row 1")
    agree(run.plain_softmax, run.softmax, budget=FLOAT64, what="shifted or not, the same")


def test_the_losses_are_those_of_the_worked_examples() -> None:
    two = trace(TWO_CLASSES, TWO_LABELS, 0.1).row_loss
    agree(two, TWO_LOSSES, budget=NINE_DECIMALS, what="two classes")
    assert [f"{x:.4f}" for x in two] == TWO_PRINTED
    agree(trace(FIVE_CLASSES, FIVE_LABELS, 0.1).row_loss, FIVE_LOSSES, budget=EIGHT_DECIMALS, what="five classes")


# Which lines there are -----------------------------------------------------------------------------------------------


def words(case: Case) -> list[str]:
    return [s.word for s in chain(case).steps]


def test_the_plain_chain_mentions_nothing_that_it_does_not_need() -> None:
    there = words(Case())
    assert there[:9] == [
        "one_hot", "target", "row_max", "exponential", "exponential_sum", "softmax", "log_softmax", "row_loss", "loss",
    ]  # fmt: skip
    for absent in ("keep", "label_weight", "charged", "spread", "counted_rows", "weight_sum", "plain_exponential"):
        assert absent not in there
    assert [x.word for x in chain().inputs] == ["epsilon", "n_classes", "n_rows", "class_index", "label", "logits"]


@pytest.mark.parametrize(
    ("case", "there", "absent"),
    [
        (Case(soft=True), "target", "one_hot"),
        (Case(ignored=True), "counted_rows", "weight_sum"),
        (Case(ignored=True, reduction="sum"), "keep", "counted_rows"),
        (Case(mask="k"), "free_mass", "free_prior"),
        (Case(mask="k", prior="nk"), "free_prior", "not_padding"),
        (Case(divergence="kl"), "cross_entropy", "charged"),
        (Case(reduction="none"), "row_loss", "loss"),
        (Case(as_post=True), "plain_softmax", "charged"),
        (Case(FAMILIES["others"]), "spread", "charged_sum"),
        (Case(FAMILIES["unnormalised"]), "charged_sum", "charged"),
        (Case(weighting=WEIGHTINGS["nll"]), "label_factor", "not_padding"),
        (Case(weighting=WEIGHTINGS["nll"], reduction="sum"), "charged", "label_factor"),
        (Case(weighting=WEIGHTINGS["nll/N"]), "label_weight", "label_factor"),
        (Case(weighting=WEIGHTINGS["nll/N"]), "charged", "weight_sum"),
        (Case(weighting=WEIGHTINGS["class/label"], reduction="sum"), "loss_floor", "weight_sum"),
    ],
)
def test_a_case_has_the_lines_it_needs(case: Case, there: str, absent: str) -> None:
    assert there in words(case)
    assert absent not in words(case)


def test_every_line_has_words_for_machines_and_for_people() -> None:
    for example in all_examples():
        for line in example.trace(as_post="mask" not in example.name).chain.steps:
            assert line.word == line.word.lower()
            assert line.word.replace("_", "").isalpha(), line.word
            assert line.word not in {"r", "c"}
            assert line.symbol
            assert line.tex
            assert line.says


def test_the_target_chain_ends_at_the_target() -> None:
    for family in FAMILIES.values():
        assert target_chain(Case(family)).steps[-1].word == "target"


def test_a_chain_knows_its_words() -> None:
    plain = chain()
    assert plain["loss"].symbol == "L"
    assert plain["logits"] is z
    assert "loss" in plain
    assert "spread" not in plain
    with pytest.raises(KeyError, match="spread"):
        plain["spread"]


def test_a_word_that_stands_twice_is_refused() -> None:
    twice = (step("loss", "L", "L", z * 2, "one"), step("LOSS", "M", "M", z * 3, "another"))
    with pytest.raises(ValueError, match="a word stands twice in the chain: loss"):
        Chain(Case(), twice)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"family": FAMILIES["others"], "prior": "k"},
            "'others' does not take a prior: use 'uniform' or 'renormalised'",
        ),
        ({"family": FAMILIES["others"], "soft": True}, "'others' does not take soft labels"),
        ({"family": FAMILIES["unnormalised"], "mask": "k"}, "'unnormalised' does not take masked classes"),
        ({"reduction": "average"}, "reduction must be one of mean, sum, none, got 'average'"),
        ({"divergence": "js"}, "divergence must be 'ce' or 'kl', got 'js'"),
        ({"divergence": "kl", "weighting": WEIGHTINGS["label"]}, "KL is defined here for unweighted targets"),
        ({"divergence": "kl", "family": FAMILIES["unnormalised"]}, "KL is defined here for unweighted targets"),
    ],
)
def test_a_case_refuses_what_its_family_does_not_declare(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(Case(), **fields)  # type: ignore[arg-type]


# Edges ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1.0, 1e4, 1e300])
def test_large_logits_give_finite_losses(size: float) -> None:
    run = trace([[size, -size, 0.0], [745.0, 0.0, -745.0]], [1, 2], 0.1)
    assert np.all(np.isfinite(run.row_loss))
    assert np.all(np.isfinite(run.gradient))
    agree(run.row_loss[1], 1490 * 0.9 + 0.1 / 3 * (745 + 1490), budget=FLOAT64, what="a gap of 745")


def test_the_optimum_is_infinitely_far_only_without_smoothing() -> None:
    assert trace(FIVE_CLASSES, FIVE_LABELS, 0.0).optimum_gap == np.inf
    agree(trace(FIVE_CLASSES, FIVE_LABELS, 0.1).optimum_gap, np.log(0.92 / 0.02), budget=FLOAT64, what="gap")
    agree(trace(FIVE_CLASSES, FIVE_LABELS, 1.0).optimum_gap, 0.0, budget=FLOAT64, what="no gap")


def test_the_optimum_gap_is_how_far_the_best_logits_lie_below_the_largest() -> None:
    seen = 0
    for example in all_examples():
        run = example.trace()
        if "top_mass" not in run.chain:
            continue
        charged = getattr(run, "charged" if "charged" in run.chain else "target")
        rows = charged.sum(axis=1) > 0
        with np.errstate(divide="ignore"):
            best = np.log(charged[rows])
        agree(run.optimum_gap[rows], best.max(axis=1, keepdims=True) - best, budget=FLOAT64, what=example.name)
        seen += 1
    assert seen > 200


def test_a_batch_where_no_row_counts_has_no_mean() -> None:
    run = trace([[1.0, 2.0]], [-100], reduction="mean")
    assert np.isnan(run.loss)
    agree(run.row_loss, [0.0], budget=0, what="the row")
    agree(trace([[1.0, 2.0]], [-100], reduction="sum").loss, 0.0, budget=0, what="the sum")


# The room shows itself -----------------------------------------------------------------------------------------------


def shown(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "error", "-m", "labelsmooth.maths.steps", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)


def test_the_module_prints_the_chain_as_a_table(root: Path) -> None:
    done = shown(root)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == main()
    lines = done.stdout.splitlines()
    assert len(lines) == len(chain().steps)
    assert lines[1].split("  ")[0] == "target"
    assert "q′ = (1 − ε)·q + ε/K  " in lines[1]
    for line, of in zip(lines, chain().steps, strict=True):
        assert line.startswith(of.word)
        assert line.endswith(of.says)
    assert len({line.index(of.symbol + " = ") for line, of in zip(lines, chain().steps, strict=True)}) == 1


def test_the_module_prints_the_chain_of_a_convention(root: Path) -> None:
    done = shown(root, "joeynmt")
    assert done.returncode == 0
    assert "v = (1 − q)·o/(K − 2)" in done.stdout
    assert "h = H(q′,p) − H(q′)" in done.stdout


def test_the_module_refuses_an_unknown_convention_in_one_line(root: Path) -> None:
    done = shown(root, "pytorch")
    assert done.returncode == 1
    assert done.stderr == "unknown convention 'pytorch'. Did you mean 'torch'? `labelsmooth conventions` lists them\n"
