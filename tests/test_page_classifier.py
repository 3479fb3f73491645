"""The classifier of panel 7: its points, and that its bins and their floor are what `labelsmooth.calibration` measures."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from agree import FLOAT64, agree
from labelsmooth.calibration.bins import BINS, reliability
from labelsmooth.calibration.measures import null_test
from labelsmooth.maths.evaluate import evaluate
from labelsmooth.maths.trace import trace
from labelsmooth.page import chains, classifier


def bins_of(confidence: Any, correct: Any) -> dict[str, Any]:
    """The bins as the page makes them."""
    given = {"confidence": confidence, "correct": correct, "n_rows": len(confidence), "n_classes": BINS}
    return evaluate(classifier.binned(), given | {"class_index": range(BINS)})


def floor_of(confidence: Any) -> tuple[float, float]:
    """The floor and its standard deviation as the page makes them: row by row, bin by bin."""
    bins = bins_of(confidence, np.zeros(len(confidence)))
    apart = []
    for k in range(BINS):
        chance = np.ones(1)
        for one in np.asarray(confidence)[bins["member"][:, k] > 0]:
            given = {"chance": [*chance, 0], "moved_chance": [0, *chance], "row_confidence": one}
            chance = evaluate(classifier.folded(), given)["next_chance"][0]
        given = {"chance": chance, "promised_sum": bins["bin_promised"][0, k], "class_index": range(len(chance))}
        apart.append(evaluate(classifier.distance(), given))
    distance, variance = ([one[word].item() for one in apart] for word in ("expected_distance", "hit_variance"))
    made = evaluate(classifier.floor(), {"bin_distance": distance, "bin_variance": variance, "n_rows": len(confidence)})
    return made["ece_floor"].item(), made["floor_spread"].item()


def test_bins_and_their_error_are_those_of_the_calibration_room() -> None:
    random = np.random.default_rng(3)
    edges = np.arange(5, BINS + 1) / BINS  # an edge belongs to the bin below it
    for confidence in (np.r_[edges, edges], random.uniform(1 / 3, 1, 300), np.full(30, 1 / 3)):
        correct = random.random(len(confidence)) < confidence
        made, right = bins_of(confidence, correct), reliability(confidence, correct)
        held = made["bin_count"][0] > 0
        agree(made["bin_count"][0, held], right.count.astype(float), budget=FLOAT64, what="rows in the bins")
        agree((made["bin_hits"] / made["bin_count"].clip(1))[0, held], right.accuracy, budget=FLOAT64, what="accuracy")
        agree(made["ece"].item(), right.ece, budget=FLOAT64, what="ECE")
        agree(made["accuracy"].item(), float(correct.mean()), budget=FLOAT64, what="share that is right")
        agree(made["mean_confidence"].item(), float(confidence.mean()), budget=FLOAT64, what="mean confidence")


def test_the_floor_is_the_mean_error_over_everything_that_can_happen() -> None:
    confidence = [0.51, 0.52, 0.59, 0.9, 0.95, 0.99, 1.0]
    readings, weights = [], []
    for hits in product((0, 1), repeat=len(confidence)):
        readings.append(bins_of(confidence, hits)["ece"].item())
        weights.append(np.prod([p if hit else 1 - p for p, hit in zip(confidence, hits, strict=True)]))
    mean = np.dot(readings, weights)
    floor, spread = floor_of(confidence)
    agree(floor, mean, budget=FLOAT64, what="floor")
    agree(spread, np.sqrt(np.dot(np.square(readings), weights) - mean**2), budget=FLOAT64, what="its spread")


def test_the_floor_is_what_resampling_estimates() -> None:
    confidence = np.random.default_rng(5).uniform(0.4, 1, 120)
    floor, spread = floor_of(confidence)
    drawn = null_test(confidence, confidence > 0.5, resamples=4000)
    assert abs(drawn.floor - floor) < 4 * spread / np.sqrt(drawn.resamples)
    assert floor + spread < drawn.high < floor + 3 * spread


def test_of_equal_logits_the_first_is_the_prediction() -> None:
    z, y = [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 2.0, 2.0], [0.0, 0.0, 3.0]], [0, 1, 2, 2]
    given = {"logits": z, "softmax": trace(z, y).softmax, "label": y, "class_index": range(3), "n_rows": 4}
    made = evaluate(classifier.judged(), given)
    assert made["correct"][:, 0].tolist() == [1, 0, 0, 1]
    assert made["confidence"][:, 0].tolist() == trace(z, y).softmax.max(axis=1).tolist()


def test_a_step_follows_the_gradient_of_the_loss() -> None:
    random = np.random.default_rng(9)
    x, y, weights = random.normal(size=(7, 2)), random.integers(0, 3, 7), random.normal(size=(3, 3))
    given = {"first": x[:, 0], "second": x[:, 1], "first_weight": weights[0], "second_weight": weights[1]}
    given |= {"bias": weights[2], "rate": 0.5, "n_rows": 7, "n_classes": 3}
    z = evaluate(classifier.scored(), given)["logits"]
    agree(z, x @ weights[:2] + weights[2], budget=FLOAT64, what="logits")
    right = trace(z, y, 0.1)
    slope = evaluate(chains.sloped(), {"softmax": right.softmax, "target": right.target, "n_rows": 7})["gradient"]
    agree(slope, right.gradient, budget=FLOAT64, what="gradient by the logits")
    made = evaluate(classifier.learned(), given | {"gradient": slope})
    for row, word in enumerate(("next_first", "next_second", "next_bias")):
        for k in range(3):
            loss = []
            for by in (1e-5, -1e-5):
                moved = weights.copy()
                moved[row, k] += by
                loss.append(trace(x @ moved[:2] + moved[2], y, 0.1).loss)
            down = weights[row, k] - 0.5 * (loss[0] - loss[1]) / 2e-5
            agree(made[word][0, k], down, budget=1e-9, what=f"{word} {k}")


def test_the_points_are_the_same_in_every_build_and_can_be_parted() -> None:
    points = classifier.points()
    assert points == classifier.points()
    train, fresh, wrong = points["train"], points["fresh"], points["wrong"]
    assert (len(train["label"]), len(fresh["label"])) == (24, 300)
    assert (train["first"][:2], fresh["second"][:2]) == ([-150, -261], [317, -233])
    assert len({n for n, _ in wrong}) == len(wrong) == classifier.MOST_WRONG
    assert all(k != train["label"][n] and k in (0, 1, 2) for n, k in wrong)
    with_one = np.c_[train["first"], train["second"], np.ones(24)]
    label, weights = np.eye(3)[train["label"]], np.zeros((3, 3))
    for _ in range(500):  # a perceptron: it stops moving where three lines part the points
        weights += with_one.T @ (label - np.eye(3)[(with_one @ weights).argmax(axis=1)])
    assert (with_one @ weights).argmax(axis=1).tolist() == train["label"]
