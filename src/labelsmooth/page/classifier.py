"""Panel 7's second tab: points on a map, and the chains of the classifier that is trained on them.

The classifier is linear, z = x₁·a + x₂·b + c, so its training is three short chains around the loss: the logits of the points,
the loss's own gradient, and what that gradient does to the nine weights. What is read off it afterwards is printed as well:
bins of confidence (k counts bins there, not classes), their calibration error, and what that error would be of a perfectly
calibrated model, exactly: the chances of every number of hits in a bin are folded row by row.

The points are fixed. Few of them, which three lines can part: so that hard labels, trained long enough, end too sure.
"""

from __future__ import annotations

from random import Random
from statistics import NormalDist
from typing import Any

from labelsmooth.maths.case import Case, Chain, K, N, j, y, z
from labelsmooth.maths.expr import above, absolute, exp, given, largest, log, pick, step, total, where

SEED = 49
CENTRES = ((0.0, 1.6), (-1.39, -0.8), (1.39, -0.8))  # of the three classes, equally far apart; the spread is 1
EACH, FRESH = 8, 100  # points of a class to train on, and to judge by
MOST_WRONG = 8  # labels that can be made wrong

first = given("first", "x₁", "x_1", "n", "how far right a point lies")
second = given("second", "x₂", "x_2", "n", "how far up a point lies")
a = given("first_weight", "a", "a", "k", "weight of x₁")
b = given("second_weight", "b", "b", "k", "weight of x₂")
c = given("bias", "c", "c", "k", "weight of 1")
rate = given("rate", "η", r"\eta", "", "learning rate")
slope = given("gradient", "g", "g", "nk", "derivative of the loss by the logit")
p = given("softmax", "p", "p", "nk", "the prediction")
sure = given("confidence", "p̂", r"\hat{p}", "n", "the largest probability")
hit = given("correct", "r", "r", "n", "1 where the prediction is the label")
one = given("row_confidence", "p̂", r"\hat{p}", "", "confidence of the next row")
chance = given("chance", "P", "P", "k", "chance of k hits among the rows so far")
moved = given("moved_chance", "P′", "P'", "k", "the same, of k−1 hits")
promised = given("promised_sum", "s", "s", "", "sum of the confidences of the bin's rows")
spread = given("bin_variance", "v", "v", "k", "variance of the hits of each bin")
far = given("bin_distance", "δ", r"\delta", "k", "how far hits are expected to lie from the sum of confidences")


def scored() -> Chain:
    """The logits of points."""
    return Chain(Case(), (step("logits", "z", "z", first * a + second * b + c, "a linear classifier"),))


def learned() -> Chain:
    """The weights after a step of gradient descent."""
    a_slope = step("first_slope", "a′", "a'", total("n", slope * first), "derivative by the weights of x₁")
    b_slope = step("second_slope", "b′", "b'", total("n", slope * second), "derivative by the weights of x₂")
    c_slope = step("bias_slope", "c′", "c'", total("n", slope), "derivative by the weights of 1")
    says = "after the step"
    return Chain(
        Case(),
        (
            a_slope, b_slope, c_slope,
            step("next_first", "a⁺", "a^+", a - rate * a_slope, says),
            step("next_second", "b⁺", "b^+", b - rate * b_slope, says),
            step("next_bias", "c⁺", "c^+", c - rate * c_slope, says),
        ),
    )  # fmt: skip


def judged() -> Chain:
    """How sure each row's prediction is, and whether it is right; of equal logits the first is the prediction."""
    own = step("own_logit", "z_y", "z_y", pick(z, y), "the label's logit")
    beaten = where(above(y, j), where(above(own, z), 0, 1), above(z, own))
    rival = step("rival", "b", "b", beaten, "1 for a class that comes before the label")
    best = step("confidence", "p̂", r"\hat{p}", largest("k", p), "the largest probability")
    right = where(above(total("k", rival), 0), 0, 1)
    return Chain(Case(), (own, rival, best, step("correct", "r", "r", right, "1 where the prediction is the label")))


def binned() -> Chain:
    """Rows in bins (k/K, (k+1)/K] of their confidence, and the expected calibration error: here K counts bins.

    A confidence of 0 would be in no bin; of three classes the largest probability is at least 1/3.
    """
    low = step("low_edge", "k/K", "l", j / K, "where a bin begins, itself left out")
    high = step("high_edge", "(k+1)/K", "h", (j + 1) / K, "where it ends")
    inside = where(above(sure, low), where(above(sure, high), 0, 1), 0)
    member = step("member", "m", "m", inside, "1 where a row is in the bin")
    count = step("bin_count", "n", "n_k", total("n", member), "rows in the bin")
    hits = step("bin_hits", "r", "r_k", total("n", member * hit), "those that are right")
    sums = step("bin_promised", "s", "s_k", total("n", member * sure), "how many their confidences promise")
    gap = step("bin_gap", "|r−s|", "d_k", absolute(hits - sums), "how far that is from what they keep")
    ece = step("ece", "ECE", "E", total("k", gap) / N, "expected calibration error")
    mean = step("mean_confidence", "p̄", r"\bar{p}", total("n", sure) / N, "what the rows promise")
    kept = step("accuracy", "A", "A", total("n", hit) / N, "what they keep")
    return Chain(Case(), (low, high, member, count, hits, sums, gap, ece, mean, kept))


def folded() -> Chain:
    """The chances of 0, 1, 2, ... hits in a bin, one more row counted."""
    then = step("next_chance", "P⁺", "P^+", (1 - one) * chance + one * moved, "either that row is no hit, or it is")
    return Chain(Case(), (then,))


def distance() -> Chain:
    """How far the hits of a bin lie from the sum of its confidences, where each row is right as often as it promises."""
    apart = step("apart", "|k−s|", "d", absolute(j - promised), "how far k hits lie from it")
    mean = step("expected_distance", "δ", r"\delta", total("k", chance * apart), "on average")
    return Chain(
        Case(),
        (apart, mean, step("hit_variance", "v", "v", total("k", chance * apart * apart), "variance of the hits")),
    )


def floor() -> Chain:
    """The calibration error that chance alone gives, and how much it varies: bins are independent."""
    mean = step("ece_floor", "E₀", "E_0", total("k", far) / N, "the error that a perfectly calibrated model reads")
    varies = step(
        "floor_variance", "V", "V", (total("k", spread) - total("k", far * far)) / (N * N), "variance of that reading"
    )
    root = where(above(varies, 0), exp(log(varies) / 2), 0)  # the language of the steps has no root
    return Chain(Case(), (mean, varies, step("floor_spread", "σ", r"\sigma", root, "its standard deviation")))


CHAINS = (scored, learned, judged, binned, folded, distance, floor)  # their names are those of the page's functions


def points() -> dict[str, Any]:
    """The points, in hundredths: those to train on, in which order their labels turn wrong, and those to judge by."""
    random = Random(SEED)  # noqa: S311  no secret; and `random()` is the one generator promised to stay as it is
    train, fresh = _cloud(random, EACH), _cloud(random, FRESH)
    order = _shuffled(random, 3 * EACH)[:MOST_WRONG]
    wrong = [[n, (train["label"][n] + 1 + int(2 * random.random())) % 3] for n in order]
    return {"train": train, "fresh": fresh, "wrong": wrong}


def _cloud(random: Random, each: int) -> dict[str, Any]:
    label = [n % 3 for n in range(3 * each)]
    at = [[round(100 * NormalDist(middle).inv_cdf(random.random())) for middle in CENTRES[k]] for k in label]
    return {"first": [x for x, _ in at], "second": [x for _, x in at], "label": label}


def _shuffled(random: Random, size: int) -> list[int]:
    return sorted(range(size), key=[random.random() for _ in range(size)].__getitem__)
