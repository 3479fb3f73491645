"""Other people's training loops: what they did with our loss is on record, and done again by hand.

`tests/golden/loops/` holds what fastai, transformers, timm and Keras gave when `scripts/record_loops.py` ran them. Here
the same training is done in a few lines of plain torch with the same loss, so what our side of each loop gives is held where no
framework is installed; `make frameworks` runs the loops themselves.
"""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from agree import FLOAT32, agree

torch = pytest.importorskip("torch")

from labelsmooth import LabelSmoothingCrossEntropy, compute_loss_func, cross_entropy  # noqa: E402  after the skip

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden" / "loops"
TRAINED = 4 * FLOAT32  # a few steps of float32, whose products add up in another order


@pytest.fixture(scope="module")
def script() -> Any:
    place = spec_from_file_location("record_loops", ROOT / "scripts" / "record_loops.py")
    assert place is not None
    assert place.loader is not None
    module = module_from_spec(place)
    place.loader.exec_module(module)
    return module


def record(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return {key: torch.tensor(value) for key, value in read["results"].items()}


def same(got: Any, expected: Any, what: str, budget: float = FLOAT32) -> None:
    agree(got, expected, budget=budget, what=what, any_dtype=True)


def descend(model: Any, rate: float) -> None:
    """One step of SGD; torch.optim would load torch's compiler, which takes longer than all of this file."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(rate * parameter.grad)
            parameter.grad = None


def trained(script: Any, loss: Any) -> Any:
    """The linear model after the epochs of the record."""
    x, y = script.problem()
    model = script.linear()
    for _ in range(script.EPOCHS):
        for start in range(0, script.TRAINING, script.BATCH):
            loss(model(x[start : start + script.BATCH]), y[start : start + script.BATCH]).backward()
            descend(model, script.RATE)
    return model


@pytest.mark.parametrize("name", ["fastai", "keras"])
def test_the_loop_trains_as_a_loop_by_hand_does(name: str, script: Any) -> None:
    loss, then = LabelSmoothingCrossEntropy(0.1), record(name)
    model = trained(script, loss)
    x, y = (part[script.TRAINING :] for part in script.problem())
    same(model.weight, then["weight"], "weight", TRAINED)
    same(loss(model(x), y), then["valid_loss"], "smoothed validation loss", TRAINED)
    same(cross_entropy(model(x), y), then["plain_loss"], "plain validation loss", TRAINED)
    other = trained(script, LabelSmoothingCrossEntropy(0.11))
    assert abs(other.weight - then["weight"]).max() > 100 * TRAINED, "a slightly other loss is seen"


def test_fastai_gets_probabilities_and_labels_from_the_loss(script: Any) -> None:
    loss, then = LabelSmoothingCrossEntropy(0.1), record("fastai")
    x, _ = script.problem()
    logits = trained(script, loss)(x[script.TRAINING :])
    same(loss.activation(logits), then["probabilities"], "get_preds", TRAINED)
    same(loss.decodes(loss.activation(logits)), then["decoded"], "decoded", 0)
    same(then["predicted_probabilities"], then["probabilities"][0], "predict, probabilities", TRAINED)
    same(then["predicted"], then["decoded"][0], "predict, label", 0)


def test_fastais_mixup_smooths_once() -> None:
    then = record("fastai")
    rows = LabelSmoothingCrossEntropy(0.1, reduction="none")
    logits, share = then["mixup_logits"], then["mixup_share"]
    pair = (rows(logits, then[f"mixup_{which}"]) for which in ("other", "label"))
    same(torch.lerp(*pair, share).mean(), then["mixup_loss"], "two losses, mixed")
    one_hot = torch.nn.functional.one_hot
    mixed = torch.lerp(one_hot(then["mixup_other"], 4).float(), one_hot(then["mixup_label"], 4).float(), share[:, None])
    same(cross_entropy(logits, mixed, label_smoothing=0.1), then["mixup_loss"], "one loss of the mixed target")


def test_timms_mixup_has_smoothed_already() -> None:
    then = record("timm")
    logits, target, unsmoothed = then["logits"], then["target"], then["unsmoothed"]
    same(cross_entropy(logits, target), then["loss"], "smoothed by Mixup")
    same(cross_entropy(logits, unsmoothed, label_smoothing=0.1), then["loss"], "smoothed by the loss")
    twice = cross_entropy(logits, target, label_smoothing=0.1)
    same(twice, cross_entropy(logits, unsmoothed, label_smoothing=0.19), "smoothed by both")
    assert abs(twice - then["loss"]) > 0.01


def test_the_trainer_accumulates_as_a_loop_by_hand_does(script: Any) -> None:
    then, loss = record("transformers"), compute_loss_func(0.1, shift_labels=True)
    tokens, labels = script.sentences()
    model = script.Table()
    losses = []
    for step in range(4):
        rows = [slice(start, start + 2) for start in (step % 2 * 4, step % 2 * 4 + 2)]
        items = sum((labels[row] != -100).sum() for row in rows)
        parts = [loss(model(tokens[row]), labels[row], num_items_in_batch=items) for row in rows]
        sum(parts).backward()
        descend(model, script.RATE)
        losses.append(sum(parts).item())
    same(model.table.weight, then["weight"], "weight", TRAINED)
    same(losses, then["losses"], "loss of each step", TRAINED)
    same(loss(model(tokens), labels), then["valid_loss"], "evaluation", TRAINED)
    plain = compute_loss_func(0.0, shift_labels=True)(model(tokens), labels)
    same(plain, then["plain_loss"], "plain evaluation", TRAINED)


def test_the_shift_is_that_of_the_trainers_own_smoother(script: Any) -> None:
    then = record("transformers")
    _, labels = script.sentences()
    loss = compute_loss_func(0.1, shift_labels=True)
    ours = loss({"logits": then["smoother_logits"]}, labels, num_items_in_batch=50)
    same(ours, then["smoother_loss"], "LabelSmoother(shift_labels=True)")


def test_every_loop_is_on_record_and_a_moved_number_is_said(script: Any) -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(script.LOOPS)
    then = json.loads((GOLDEN / "keras.json").read_text(encoding="utf-8"))
    assert script.moved(then, then) == []
    planted = json.loads(json.dumps(then))
    planted["results"]["valid_loss"] += 1e-4
    planted["results"]["weight"] = planted["results"]["weight"][1:]
    assert script.moved(planted, then) == ["weight has moved", "valid_loss has moved"]
    del planted["results"]["weight"]
    assert script.moved(planted, then) == ["['weight'] came or went"]


@pytest.mark.frameworks
@pytest.mark.filterwarnings("default")  # each framework has its own to say
@pytest.mark.parametrize("name", ["fastai", "transformers", "timm", "keras"])
def test_the_loop_gives_what_is_on_record(name: str, script: Any) -> None:
    now = script.measure(name)
    then = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert script.moved(now, then) == []
