"""Training: the same seed gives the same network, and soft targets are what their formulas say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
import torch

from agree import FLOAT32, FLOAT64, agree
from labelsmooth.calibration._networks import network
from labelsmooth.calibration._training import Recipe, distilled, mixed, train
from labelsmooth.calibration.datasets import Rows

K = 4


def rows(count: int = 40) -> Rows:
    random = np.random.default_rng(0)
    labels = random.integers(0, K, count)
    inputs = np.eye(K, 6)[labels] + random.normal(size=(count, 6)) / 3
    return Rows(inputs.astype(np.float32), labels)


RECIPE = Recipe("student", epochs=3, batch=8, label_smoothing=0.1)


def logits(recipe: Recipe, seed: int) -> np.ndarray:
    return train(rows(), K, recipe, seed).logits(rows().inputs)


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, mixup=0.2)], ids=["plain", "mixup"])
def test_a_seed_gives_the_same_network_bit_by_bit(recipe: Recipe) -> None:
    first, second, other = logits(recipe, 5), logits(recipe, 5), logits(recipe, 6)
    agree(first, second, budget=0, what="the same seed")
    assert np.abs(first - other).max() > 1e-3


def test_epsilon_reaches_the_loss() -> None:
    gaps = []
    for epsilon in (0.0, 0.4):
        z = np.sort(logits(replace(RECIPE, epochs=60, rate=0.02, label_smoothing=epsilon), 0), axis=1)
        gaps.append(float((z[:, -1] - z[:, -2]).mean()))
    assert gaps[1] < 3 < gaps[0]  # the wall at ε = 0.4 and K = 4 is log(7) = 1.95


def test_training_learns() -> None:
    z = logits(replace(RECIPE, epochs=20, rate=0.01), 0)
    assert (z.argmax(axis=1) == rows().labels).mean() > 0.9


def test_mixup_mixes_inputs_and_targets_alike() -> None:
    given = rows(8)
    inputs, target = mixed(
        torch.from_numpy(given.inputs), torch.from_numpy(given.labels), K, 0.2, np.random.default_rng(3)
    )
    again = np.random.default_rng(3)
    share, other = again.beta(0.2, 0.2), again.permutation(8)
    x, q = given.inputs.astype(np.float64), np.eye(K)[given.labels]
    agree(inputs, share * x + (1 - share) * x[other], budget=FLOAT32, what="inputs", any_dtype=True)
    agree(target, share * q + (1 - share) * q[other], budget=FLOAT32, what="targets", any_dtype=True)
    assert 0 < share < 1


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_teachers_probabilities_are_the_softmax_at_the_temperature(temperature: float) -> None:
    z = np.array([[3.0, -1.0, 0.5], [300.0, 0.0, -300.0]], np.float32)
    power = np.exp((z.astype(np.float64) - z.max(axis=1, keepdims=True)) / temperature)
    agree(distilled(z, temperature), power / power.sum(axis=1, keepdims=True), budget=FLOAT32, what="p", any_dtype=True)


def test_the_students_loss_is_cross_entropy_at_the_temperature_times_its_square() -> None:
    from labelsmooth.calibration._training import _loss

    random = np.random.default_rng(0)
    z, q, T = random.normal(size=(5, K)), random.dirichlet(np.ones(K), 5), 4.0
    logp = z / T - np.log(np.exp(z / T).sum(axis=1, keepdims=True))
    recipe = replace(RECIPE, label_smoothing=0.0, temperature=T)
    got = _loss(lambda x: x, torch.from_numpy(z), torch.from_numpy(q), K, recipe, random)
    agree(float(got), float(-(T**2) * (q * logp).sum(axis=1).mean()), budget=FLOAT64, what="the student's loss")


@pytest.mark.parametrize("kind", ["mlp", "small", "student", "cnn", "bag"])
def test_every_network_gives_a_logit_a_class(kind: str) -> None:
    body, head = network(kind, inputs=784, classes=7)
    inputs = torch.ones((2, 9), dtype=torch.int32) if kind == "bag" else torch.zeros((2, 784))
    assert head(body(inputs)).shape == (2, 7)
    with pytest.raises(ValueError, match="there is no network 'rnn'"):
        network("rnn", inputs=1, classes=2)


def test_what_check_raises_ends_the_training() -> None:
    seen = []

    def check() -> None:
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(rows(), K, replace(RECIPE, epochs=50), 0, check=check)
    assert len(seen) == 2
