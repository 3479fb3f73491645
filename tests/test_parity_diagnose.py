"""What the diagnosis says: verdicts, known cases from other people's trackers, certainty, and what it refuses to claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import labelsmooth as ls
from agree import FLOAT64, agree
from cases import FIVE_CLASSES, FIVE_LABELS, TWO_CLASSES, TWO_LABELS, TWO_LOSSES, TWO_PRINTED
from labelsmooth.maths.trace import trace
from labelsmooth.parity._intervals import logit_rounding, observed
from labelsmooth.parity._predictions import Predictor
from labelsmooth.parity._recipes import Recipe
from labelsmooth.parity._search import same
from labelsmooth.parity._solve import solve
from labelsmooth.parity._stages import sensitivity
from labelsmooth.parity.diagnose import diagnose

RANDOM = np.random.default_rng(11)
Z = RANDOM.normal(size=(6, 7)) * 2
Y = RANDOM.integers(0, 7, 6)


def rows(epsilon: float = 0.1, **options: Any) -> Any:
    return trace(options.pop("logits", Z), options.pop("labels", Y), epsilon, reduction="none", **options).row_loss


def printed(numbers: Any, digits: int = 4) -> list[str]:
    return [f"{x:.{digits}f}" for x in numbers]


# Verdicts ------------------------------------------------------------------------------------------------------------


def test_the_posts_own_numbers_agree() -> None:
    for losses in (TWO_PRINTED, TWO_LOSSES):
        found = ls.diagnose(TWO_CLASSES, TWO_LABELS, losses, label_smoothing=0.1)
        assert (found.verdict, found.agree, found.matches[0].causes) == ("agrees", True, ())


def test_a_changed_digit_fits_nothing_and_the_nearest_is_said() -> None:
    found = ls.diagnose(
        FIVE_CLASSES, FIVE_LABELS, ["0.4413", "1.3049", "1.4636", "0.8592", "0.6019"], label_smoothing=0.1
    )
    assert (found.verdict, found.matches) == ("none_fits", ())
    assert found.nearest
    assert min(m.max_abs_error for m in found.nearest) > 5e-5
    assert "none of" in str(found)


@pytest.mark.slow
def test_without_an_epsilon_common_ones_are_tried_and_the_right_one_is_named() -> None:
    found = diagnose(Z, Y, printed(rows(0.2, convention="fairseq")))
    assert [(m.causes, m.label_smoothing) for m in found.matches] == [(("target others",), 0.2)]
    assert diagnose(Z, Y, printed(rows(0.05))).verdict == "agrees"


def test_missing_numbers_are_left_out_and_the_others_decide() -> None:
    numbers = rows() / np.log(10)
    numbers[[0, 3]] = np.nan
    found = diagnose(Z, Y, numbers, label_smoothing=0.1)
    assert (found.numbers, found.matches[0].causes) == (4, ("log base 10",))


def test_soft_labels_and_a_prior_are_understood() -> None:
    q, u = RANDOM.dirichlet(np.ones(7), 6), RANDOM.dirichlet(np.ones(7))
    right = rows(labels=q, prior=u)
    assert diagnose(Z, q, right, label_smoothing=0.1, prior=u).verdict == "agrees"
    without = diagnose(Z, q, rows(labels=q) / np.log(2), label_smoothing=0.1, prior=u)
    assert without.matches[0].causes == ("log base 2", "prior not applied")


# Known cases ---------------------------------------------------------------------------------------------------------


def test_a_mean_of_016425_and_a_sheets_028533_are_log10_and_a_sum() -> None:
    # A forum post on the fast.ai course's sheet, 2018: four rows, LOG where LN was meant, and SUM where a mean was.
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.2, 0.8]])
    agree(trace(np.log(p), [0, 1, 0, 1], 0.0).loss, 0.16425, budget=5.1e-6, what="the mean")
    found = diagnose(np.log(p), [0, 1, 0, 1], loss="0.28533", label_smoothing=0)
    assert found.matches[0].causes == ("log base 10", "reduction sum")
    assert found.matches[0].certainty != "certain"


def test_half_the_smoothing_at_two_classes_is_the_others_convention() -> None:
    # pytorch issue 148884: ε/(K−1) was expected and PyTorch spreads ε over both classes.
    numbers = rows(logits=TWO_CLASSES, labels=TWO_LABELS)
    found = diagnose(TWO_CLASSES, TWO_LABELS, numbers, label_smoothing=0.1, convention="fairseq", to="torch")
    assert (found.verdict, found.matches[0].causes) == ("one_cause", ("target uniform",))
    assert found.matches[0].fix == "pass label_smoothing=0.2 to torch for fairseq's 0.1 at K=2"


def test_keras_without_from_logits_is_recognised_both_ways() -> None:
    z, q = np.array(FIVE_CLASSES), 0.9 * np.eye(5)[FIVE_LABELS] + 0.02
    share = np.clip(z / z.sum(axis=1, keepdims=True), 1e-7, 1 - 1e-7)
    on_logits = -(q * np.log(share)).sum(axis=1)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    on_probabilities = -(q * (p - np.log(np.exp(p).sum(axis=1, keepdims=True)))).sum(axis=1)
    cases = ((on_logits, "logits taken for probabilities", "from_logits=True"),
             (on_probabilities, "softmax twice", "from_logits=False"))  # fmt: skip
    for numbers, cause, fix in cases:
        found = diagnose(z, FIVE_LABELS, printed(numbers), label_smoothing=0.1, to="keras")
        assert found.matches[0].causes == (cause,)
        assert fix in found.matches[0].fix


def test_the_other_frameworks_epsilon_is_given_in_torchs_words() -> None:
    five = rows(logits=FIVE_CLASSES, labels=FIVE_LABELS, convention="fairseq")
    found = diagnose(FIVE_CLASSES, FIVE_LABELS, five, label_smoothing=0.1, to="torch")
    assert found.matches[0].fix == "pass label_smoothing=0.125 to torch for fairseq's 0.1 at K=5"
    assert "target uniform with ε = 0.125" in found.matches[0].same
    assert found.matches[0].separated_by == "nothing in the numbers: look up which ε was set"
    agree(rows(0.125, logits=FIVE_CLASSES, labels=FIVE_LABELS), five, budget=FLOAT64, what="the fix")


def test_recorded_numbers_of_other_frameworks_are_never_taken_for_something_else(root: Path) -> None:
    given = json.loads((root / "tests/golden/batches.json").read_text(encoding="utf-8"))["weights"]
    for name, causes in (("torch_index", ()), ("fastai", ("weights nll",)), ("keras", ("weights label/N",))):
        recorded = json.loads((root / f"tests/golden/{name}.json").read_text(encoding="utf-8"))["results"]["weights"]
        found = diagnose(
            given["logits"], given["labels"], loss=recorded["loss"], weight=given["weight"], label_smoothing=0.2
        )
        assert found.matches[0].causes == causes, str(found)


# Evidence ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digits", [4, 5])
def test_a_mean_with_four_or_five_digits_is_never_certain(digits: int) -> None:
    for scale in (1.0, 1 / np.log(10), 6.0):
        number = f"{rows().mean() * scale:.{digits}f}"
        found = diagnose(Z, Y, loss=number, label_smoothing=0.1)
        assert found.matches
        assert all("certain" not in m.certainty for m in found.matches)


def test_rows_with_four_digits_are_certain_and_one_row_is_not() -> None:
    numbers = printed(rows() / np.log(10))
    assert diagnose(Z, Y, numbers, label_smoothing=0.1).matches[0].certainty == "certain"
    few = diagnose(Z[:1], Y[:1], numbers[:1], label_smoothing=0.1)
    assert all(m.certainty == "not enough numbers" for m in few.matches)


def test_more_numbers_are_more_bits() -> None:
    numbers = printed(rows() / np.log(10))
    bits = [diagnose(Z[:n], Y[:n], numbers[:n], label_smoothing=0.1).matches[0].bits for n in (2, 4, 6)]
    assert bits == sorted(bits)
    assert bits[0] + 20 < bits[2]


def test_rivals_within_thirty_tolerances_are_named() -> None:
    z = np.random.default_rng(2).normal(size=(8, 1000))
    numbers = printed(rows(0.1, logits=z, labels=np.arange(8) * 100))
    found = diagnose(z, np.arange(8) * 100, numbers, label_smoothing=0.1)
    assert found.verdict == "agrees"
    assert found.matches[0].certainty == "certain up to"
    assert "target others" in found.matches[0].rivals


def test_explanations_with_the_same_numbers_are_one_line_with_the_evidence_that_separates_them() -> None:
    z, y = np.array(TWO_CLASSES), np.array(TWO_LABELS)
    found = diagnose(z, y, rows(logits=z, labels=1 - y), label_smoothing=0.1)
    assert found.verdict == "one_cause"
    assert {*found.matches[0].causes, *found.matches[0].same} >= {
        "classes reversed",
        "labels one too low",
        "labels one too high",
    }
    assert found.matches[0].separated_by == "a batch with three classes or more"


def test_constant_class_weights_of_a_logarithm_s_size_are_that_logarithm_until_weights_differ() -> None:
    w = np.full(7, 1 / np.log(10))
    found = diagnose(Z, Y, rows(), weight=w, label_smoothing=0.1)
    assert found.matches[0].causes == ("weights not applied",)
    twice = diagnose(Z, Y, rows() / np.log(10), weight=w, weighting="label", label_smoothing=0.1)
    assert twice.verdict == "agrees"
    assert diagnose(Z, Y, rows() / np.log(10) ** 2, weight=w, weighting="label", label_smoothing=0.1).matches[
        0
    ].causes == ("log base 10",)


def test_at_one_row_the_sum_is_the_mean() -> None:
    found = diagnose(Z[:1], Y[:1], loss=float(rows()[0]), label_smoothing=0.1)
    assert found.verdict == "agrees"
    assert found.matches[0].causes == ()


# Solved parameters ---------------------------------------------------------------------------------------------------


def test_an_epsilon_that_is_not_round_is_solved_from_several_numbers() -> None:
    found = diagnose(Z, Y, rows(1 / 7), label_smoothing=0.1)
    assert found.verdict == "one_cause"
    assert found.matches[0].causes == ("ε 0.142857",)
    agree(found.matches[0].label_smoothing, 1 / 7, budget=1e-9, what="ε")


def test_one_number_never_supports_a_solved_parameter() -> None:
    found = diagnose(Z, Y, loss=float(rows(1 / 7).mean()), label_smoothing=0.1)
    assert found.verdict == "none_fits"
    cool = diagnose(Z[:1], Y[:1], rows(logits=Z / 1.37)[:1], label_smoothing=0.1)
    assert not any("temperature 1.37" in m.causes for m in cool.matches)


def test_a_given_epsilon_is_held_while_anything_else_fits() -> None:
    found = diagnose(Z, Y, rows(convention="fairseq"), label_smoothing=0.1)
    assert [m.label_smoothing for m in found.matches] == [0.1]


def test_a_solved_parameter_spends_the_number_that_says_most() -> None:
    few = slice(0, 2)
    given, solved = (diagnose(Z[few], Y[few], printed(rows(e)[few], 6), label_smoothing=0.1) for e in (0.1, 1 / 7))
    one, two = given.matches[0], next(m for m in solved.matches if len(m.causes) == 1)
    assert one.certainty == "certain"
    assert two.certainty != "certain"
    assert one.bits - two.bits > 10


def test_a_cause_that_another_epsilon_makes_up_for_is_no_explanation_of_its_own() -> None:
    found = diagnose(Z, Y, printed(rows(0.137), 5), label_smoothing=0.1)
    assert [m.causes for m in found.matches] == [("ε 0.137",)]


def test_two_roots_between_neighbours_of_the_grid_are_both_found() -> None:
    from labelsmooth.parity._solve import _roots

    grid = np.linspace(0, 1, 5)
    roots = sorted(_roots(lambda x: (x - 0.51) * (x - 0.55), grid, (grid - 0.51) * (grid - 0.55)))
    agree(roots, [0.51, 0.55], budget=1e-9, what="roots")


@pytest.mark.slow
def test_a_temperature_is_solved_and_explains_with_a_cause_beside_it() -> None:
    found = diagnose(Z, Y, rows(logits=Z / 1.37), label_smoothing=0.1)
    assert found.matches[0].causes == ("temperature 1.37",)
    both = diagnose(Z, Y, rows(logits=Z / 1.37) / np.log(10), label_smoothing=0.1)
    assert both.matches[0].causes == ("log base 10", "temperature 1.37")


@pytest.mark.parametrize("family", ["uniform", "renormalised", "smoothed twice", "others"])
@pytest.mark.parametrize("divergence", ["ce", "kl"])
def test_every_epsilon_is_found_again_in_conventions_that_are_not_linear(family: str, divergence: str) -> None:
    from labelsmooth.parity._data import Data
    from labelsmooth.parity._recipes import Hypothesis

    predictor = Predictor(Data(Z, Y, np.ones(6, bool)), per_row=True)
    for epsilon in (0.003, 0.31, 0.8437):
        recipe = Recipe(family=family, divergence=divergence, epsilon=epsilon, divisor="none")
        seen = observed(predictor.predict(recipe))
        roots = [x for _, x in solve(predictor, seen, Hypothesis(recipe), "epsilon")]
        assert any(abs(x - epsilon) < 1e-7 for x in roots), roots


def test_both_temperatures_of_one_row_are_found() -> None:
    from labelsmooth.parity._data import Data
    from labelsmooth.parity._recipes import Hypothesis

    z = np.array([[0.6, 2.0, -1.0, 0.3]])
    predictor = Predictor(Data(z, np.array([1]), np.ones(1, bool)), per_row=True)
    recipe = Recipe(epsilon=0.3, divisor="none", temperature=0.35)
    roots = [x for _, x in solve(predictor, observed(predictor.predict(recipe)), Hypothesis(recipe), "temperature")]
    assert len(roots) == 2
    for x in roots:
        one = predictor.predict(Recipe(epsilon=0.3, divisor="none", temperature=x))
        predictor.forget()
        agree(one, predictor.predict(recipe), budget=1e-8, what=f"the loss at temperature {x}")


# Intervals -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_number_at_the_edge_of_its_interval_fits_and_one_beyond_does_not() -> None:
    numbers = rows()
    for shift, verdict in ((0.49e-4, "agrees"), (0.56e-4, "none_fits")):
        moved = printed(numbers)
        at = int(np.argmax(np.abs(numbers)))
        moved[at] = f"{numbers[at] + shift:.4f}"
        exact = [f"{round(float(x), 4)}" for x in numbers]
        exact[at] = moved[at]
        inside = abs(float(moved[at]) - numbers[at]) <= 0.5e-4
        assert (diagnose(Z, Y, moved, label_smoothing=0.1).verdict == "agrees") == inside, verdict


@pytest.mark.parametrize(
    ("numbers", "says"),
    [(["0.3310", "2.19"], "4 decimals"), ([0.331, 2.19], "3 decimals"), (np.float32([0.1, 0.7]), "float32"),
     (np.float64(np.float32([0.1234567, 0.7])), "float32"), ([np.pi / 10, 0.3], "float64"), (["3.31e-1"], "3 decimals"),
     ([np.inf], "infinite"), (np.float16([0.1]), "float16")],
)  # fmt: skip
def test_the_precision_is_read_off_the_digits(numbers: Any, says: str) -> None:
    assert observed(numbers).says == says


def test_losses_of_a_float32_program_agree() -> None:
    numbers = rows().astype(np.float32)
    assert diagnose(Z, Y, numbers, label_smoothing=0.1).verdict == "agrees"
    assert diagnose(Z, Y, numbers.astype(np.float64), label_smoothing=0.1).verdict == "agrees"
    assert diagnose(Z, Y, numbers.astype(np.float64) + 1e-4, label_smoothing=0.1).verdict != "agrees"


def test_logits_rounded_in_a_file_are_carried_through() -> None:
    rounded = Z.round(3)
    found = diagnose(rounded, Y, rows() / np.log(10), label_smoothing=0.1)
    assert found.matches[0].causes == ("log base 10",)
    assert found.notes == ("the logits were taken as rounded: each may be off by 0.0005",)
    assert logit_rounding(Z) == 0


def test_logits_of_one_decimal_are_taken_as_exact_and_the_note_says_so() -> None:
    found = diagnose(Z.round(1), Y, rows(), label_smoothing=0.1)
    assert found.verdict == "none_fits"
    assert found.notes == ("the logits were taken as exact: if they are rounded by up to 0.05, give more digits",)


def test_the_carried_rounding_is_the_sum_of_the_slopes() -> None:
    from labelsmooth.parity._data import Data

    data = Data(Z, Y, np.ones(6, bool))
    slopes = np.abs(trace(Z, Y, 0.1, reduction="none").gradient).sum(axis=1)
    agree(sensitivity(data, Recipe(divisor="none"), per_row=True), slopes, budget=1e-7, what="Σ|∂L/∂z|")


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "pass either losses"), ({"losses": [1.0], "loss": 1.0}, "pass either losses"),
     ({"losses": [1.0, 2.0]}, r"losses must be one number a row, 6 of them, got 2"),
     ({"loss": 1.0, "label_smoothing": 1.5}, "label_smoothing must be between 0 and 1"),
     ({"loss": 1.0, "convention": "tourch"}, "unknown convention"), ({"loss": 1.0, "to": "tourch"}, "unknown convention"),
     ({"loss": 1.0, "reduction": "none"}, "reduction must be 'mean' or 'sum', got 'none'"),
     ({"loss": "many"}, "the losses must be numbers"), ({"losses": [np.nan] * 6}, "every number is missing"),
     ({"loss": 1.0, "sequences": 4}, "sequences must divide the number of rows, 6; got 4"),
     ({"loss": 1.0, "ignore_index": -1, "labels": [-1] * 6}, "every row has the label -1")],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    labels = options.pop("labels", Y)
    with pytest.raises(ValueError, match=message) as refused:
        diagnose(Z, labels, **options)
    assert "\n" not in str(refused.value)


def test_an_unknown_field_of_a_recipe_cannot_become_a_cause() -> None:
    from labelsmooth.parity._recipes import Cause

    with pytest.raises(ValueError, match="which a recipe does not have"):
        Cause("a slip", {"epsilom": 0.1}, "", "")


def test_progress_is_told_while_it_works() -> None:
    told: list[float] = []
    diagnose(Z, Y, rows(), label_smoothing=0.1, progress=told.append)
    assert told == sorted(told)
    assert len(told) > 1
    assert all(0 <= share <= 1 for share in told)


def test_infinities_and_nan_are_the_same_only_where_both_have_them() -> None:
    a = np.array([1.0, np.inf, np.nan])
    assert same(a, a.copy())
    assert not same(a, np.array([1.0, -np.inf, np.nan]))
    assert not same(a, np.array([1.0, np.inf, 0.0]))
