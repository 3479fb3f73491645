"""Known cases give the known verdict, and every rule is said when its condition is met and not else."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import pytest

from labelsmooth.calibration import rules
from labelsmooth.calibration.assess import assess
from labelsmooth.calibration.calibrate import Calibration, Given, calibrate
from labelsmooth.calibration.facts import facts_of
from labelsmooth.calibration.rules import RULES, said
from labelsmooth.files import Stream, stream_of

pytest.importorskip("scipy")


def model(length: float, n: int = 2000, classes: int = 10, seed: int = 0) -> Stream:
    """Calibrated logits made `length` times as long."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(n, classes)) * 3
    return stream_of(length * z, (z + random.gumbel(size=z.shape)).argmax(axis=1))


def answer(stream: Stream, **options: Any) -> Calibration:
    return calibrate([Given(stream)], **options)


@pytest.mark.parametrize(
    ("length", "key", "says"),
    [
        (3.0, "temperature", "Over-confident by"),
        (0.4, "temperature", "Under-confident by"),
        (1.0, "leave", "Already calibrated, leave it as it is."),
    ],
)
def test_a_single_run_gets_the_known_verdict(length: float, key: str, says: str) -> None:
    found = answer(model(length)).recommendation
    assert (found.key, found.verdict.startswith(says)) == (key, True)
    assert (found.temperature is None) == (key == "leave")
    if found.temperature:
        assert abs(found.temperature / length - 1) < 0.15


def test_with_few_rows_or_no_temperature_nothing_is_recommended() -> None:
    assert answer(model(3.0, n=50)).recommendation.verdict.startswith("50 rows are too few")
    right = np.repeat(np.eye(10) * 2, 30, axis=0)
    separable = answer(stream_of(right, right.argmax(axis=1))).recommendation
    assert separable.key == "undecided"
    assert "every label has the largest logit" in separable.verdict
    assert next(one.key for one in separable.warnings) == "temperature_refused"
    one_row = answer(stream_of(np.array([[0.0, 1.0]]), np.array([0])))
    assert one_row.recommendation.key == "undecided"


@pytest.mark.slow
def test_runs_of_a_better_epsilon_say_smooth_and_of_too_few_seeds_say_nothing() -> None:
    def run(epsilon: float, seed: int) -> Given:
        rows, own = np.random.default_rng(0), np.random.default_rng(100 + seed)
        truth = rows.normal(size=(800, 5)) * 2
        labels = (truth + rows.gumbel(size=truth.shape)).argmax(axis=1)
        noise = 1.5 if epsilon == 0 else 0.5
        return Given(stream_of(truth + noise * own.normal(size=truth.shape), labels), epsilon=epsilon, seed=seed)

    given = [run(e, s) for e in (0.0, 0.1) for s in range(3)]
    found = calibrate(given, resamples=50)
    assert (found.recommendation.key, found.recommendation.epsilon) == ("smooth", 0.1)
    assert found.run.epsilon == 0.1
    few = calibrate([given[0], given[1], given[3], given[4]], resamples=20).recommendation
    assert few.key == "undecided"
    assert few.verdict.startswith("No claim: of an ε there are 2 seeds")
    worse = [Given(g.stream, epsilon=0.1 - (g.epsilon or 0.0), seed=g.seed) for g in given]
    stay = calibrate(worse, resamples=50).recommendation
    assert (stay.key, stay.epsilon) == ("no_smoothing", 0.0)


# The rules -----------------------------------------------------------------------------------------------------------

QUIET = facts_of(assess(model(1.0)))
# What makes each rule speak, where no rule but `retrain` does.
MET: dict[str, dict[str, Any]] = {
    "temperature_suffices": {"over": 0.05, "over_low": 0.04, "gain": 0.2, "ece": 0.05, "ece_after": 0.01},
    "under_confident": {"over": -0.05, "over_high": -0.04},
    "retrain": {},
    "few_data": {"context": ("few-data",)},
    "label_noise": {"noise": 0.2, "refusal": "none"},
    "much_label_noise": {"noise": 0.5, "refusal": "none"},
    "abstain": {"context": ("abstain",)},
    "logit_norm": {"damaged": True, "ece_after": 1.0},
    "distil": {"context": ("distil",), "smoothed": True},
    "features": {"context": ("features",), "smoothed": True},
    "mixup": {"context": ("mixup",)},
    "many_classes": {"classes": 50_000},
    "temperature_refused": {"refusal": "every label has the largest logit"},
    "ece_is_noise": {"p_value": 0.5},
    "bins_matter": {"ece_5": 0.02, "ece_100": 0.05},
    "saturated": {"saturated": 0.3},
    "infinite_nll": {"infinite": 3},
    "from_probabilities": {"from_probabilities": True, "zeros": 0.1},
    "missing_classes": {"missing": 2},
    "validation_noisy": {"noise": 0.01},
    "validation_seen": {"val_accuracy": 0.999},
    "validation_is_test": {"val_same": True},
    "losses_differ": {"eps": 0.1},
    "surer_than_the_target": {"smoothed": True, "accuracy_above": 0.7, "accuracy_near": 0.9},
    "ranking_unseen": {"damaged": True, "ece": 0.2, "ece_after": 0.1},
    "surest_are_wrong": {"surest": 0.5},
    "temperature_mixed": {"gain": 0.1, "ece": 0.02, "ece_after": 0.05},
    "not_additive": {"smoothed_after": 0.5, "plain_after": 0.4, "best_smoothed": 0.1, "plain_eps": 0.0},
    "chosen_on_the_rows": {"runs": 12, "on_validation": False},
    "other_rows": {"runs": 12, "same_rows": False},
}
CALM = {"p_value": 0.01, "ece_5": 0.02, "ece_100": 0.02, "damaged": False, "accuracy": 0.8, "over": 0.0}


def test_every_rule_has_a_case() -> None:
    assert MET.keys() == {rule.key for rule in RULES}
    assert len({rule.key for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("key", MET)
def test_a_rule_speaks_when_its_condition_is_met_and_not_else(key: str) -> None:
    quiet = {**QUIET, **CALM}
    assert {one.key for one in said(quiet)} == {"retrain"}
    spoken = {one.key: one for one in said({**quiet, **MET[key]})}
    assert key in spoken
    assert "nan" not in spoken[key].text
    assert np.isfinite(spoken[key].number)


def test_every_rule_prints_a_number_that_was_measured() -> None:
    for rule in RULES:
        used = {name for _, name, _, _ in string.Formatter().parse(rule.says) if name}
        assert used <= QUIET.keys(), rule.key
        assert rule.number in QUIET
        assert used, rule.key


def test_a_number_that_was_not_measured_meets_no_condition() -> None:
    unknown = {name: float("nan") if isinstance(value, float) else value for name, value in {**QUIET, **CALM}.items()}
    assert {one.key for one in said(unknown)} == {"retrain"}


def test_the_command_knows_the_words_of_the_rules() -> None:
    from labelsmooth import _calibrating

    assert _calibrating.CONTEXTS == rules.CONTEXTS


# Networks that were really trained -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_networks_on_noisy_labels_of_real_images_say_smooth() -> None:
    torch = pytest.importorskip("torch")
    datasets = pytest.importorskip("sklearn.datasets")
    images, digits = datasets.load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16.0, dtype=torch.float32), torch.tensor(digits)
    order = np.random.default_rng(0).permutation(len(y))
    train, held, test = order[:600], order[600:1100], order[1100:]

    def logits(epsilon: float, seed: int) -> Given:
        random = np.random.default_rng(seed)
        noisy = y[train].clone()
        flipped = random.random(len(train)) < 0.3
        noisy[torch.tensor(flipped)] = torch.tensor(random.integers(0, 10, int(flipped.sum())))
        torch.manual_seed(seed)
        net = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
        step = torch.optim.Adam(net.parameters(), lr=5e-3)
        loss = torch.nn.CrossEntropyLoss(label_smoothing=epsilon)
        for _ in range(100):
            step.zero_grad()
            loss(net(x[train]), noisy).backward()
            step.step()
        with torch.no_grad():
            shown, split = net(x[test]).numpy(), net(x[held]).numpy()
        return Given(stream_of(shown, digits[test]), stream_of(split, digits[held]), epsilon, seed)

    found = calibrate([logits(e, s) for e in (0.0, 0.2) for s in range(4)]).recommendation
    assert (found.key, found.epsilon) == ("smooth", 0.2)
