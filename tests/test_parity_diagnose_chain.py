"""The predictions of the diagnosis against the chain: whatever the chain can compute, both compute alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, agree
from cases import Example, all_examples
from labelsmooth.maths.conventions import NOT_PADDING, WEIGHTINGS
from labelsmooth.maths.trace import smooth_labels
from labelsmooth.parity._data import Data
from labelsmooth.parity._predictions import Predictor
from labelsmooth.parity._recipes import Recipe

EXAMPLES = [e for e in all_examples() if np.ndim(e.label_smoothing) == 0 and "class_mask" not in e.options]


def data_of(example: Example) -> Data:
    z = np.asarray(example.logits, np.float64)
    rows, options = len(z), example.options
    weight, prior = (None if options.get(k) is None else np.asarray(options[k]) for k in ("weight", "prior"))
    if example.soft:
        counts = np.asarray(options.get("keep", np.ones(rows))) == 1
        return Data(z, np.zeros(rows, np.int64), counts, np.asarray(example.labels), weight, prior)
    y = np.asarray(example.labels)
    there = y != options["ignore_index"]
    return Data(z, np.where(there, y, 0), there, None, weight, prior)


def recipe_of(example: Example) -> Recipe:
    padding = example.options["ignore_index"] if example.family.over == NOT_PADDING else -1
    return Recipe(family=example.family.name, padding=padding, epsilon=float(example.label_smoothing),
                  divergence="kl" if example.kl else "ce", weighting=example.options.get("weighting", ""))  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.name)
def test_rows_mean_and_sum_are_those_of_the_chain(example: Example) -> None:
    data, recipe = data_of(example), recipe_of(example)
    rows = Predictor(data, per_row=True).predict(replace(recipe, divisor="none"))
    agree(rows, example.trace(reduction="none").row_loss, budget=FLOAT64, what="rows")
    for reduction in ("mean", "sum"):
        one = Predictor(data, per_row=False).predict(replace(recipe, divisor=reduction))
        agree(one[0], example.trace(reduction=reduction).loss, budget=FLOAT64, what=reduction)


def test_the_examples_cover_every_meaning_of_weights_and_what_a_recipe_can_take() -> None:
    assert {e.options.get("weighting", "") for e in EXAMPLES} == {"", *WEIGHTINGS}
    names = " ".join(e.name for e in EXAMPLES)
    assert all(word in names for word in ("prior a row", "soft", "ignored row", "kl"))


def test_the_chain_notices_a_wrong_prediction() -> None:
    example = EXAMPLES[0]
    wrong = Predictor(data_of(example), per_row=True).predict(
        replace(recipe_of(example), epsilon=0.1001, divisor="none")
    )
    with pytest.raises(AssertionError, match="rows"):
        agree(wrong, example.trace(reduction="none").row_loss, budget=FLOAT64, what="rows")


def test_the_gaussian_target_is_that_of_smooth_labels() -> None:
    random = np.random.default_rng(3)
    z, y = random.normal(size=(4, 30)), np.array([0, 29, 12, 3])
    got = Predictor(Data(z, y, np.ones(4, bool)), per_row=True).predict(Recipe(family="gaussian", divisor="none"))
    ell = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    target = smooth_labels(y, 30, 0.1, convention="gaussian")
    agree(got, -(target * ell).sum(axis=1), budget=FLOAT64, what="gaussian")


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("divergence", ["swapped", "reverse", "kl"])
def test_a_prior_and_soft_labels_take_the_long_way_and_arrive_at_the_same(divergence: str, soft: bool) -> None:
    random = np.random.default_rng(4)
    z, y = random.normal(size=(5, 4)), np.array([0, 3, 1, 2, 1])
    q = random.dirichlet(np.ones(4), 5) if soft else np.eye(4)[y]
    u = random.dirichlet(np.ones(4))
    data = Data(z, y, np.ones(5, bool), q if soft else None, None, u)
    got = Predictor(data, per_row=True).predict(Recipe(divergence=divergence, divisor="none"))
    target: Any = 0.9 * q + 0.1 * u
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    wanted = {
        "kl": (target * np.log(target / p)).sum(axis=1),
        "swapped": -(p * np.log(target)).sum(axis=1),
        "reverse": (p * np.log(p / target)).sum(axis=1),
    }[divergence]
    agree(got, wanted, budget=FLOAT64, what=divergence)
