"""The loss as Hugging Face's Trainer calls it: the divisor, the shift, where the logits are, and what is refused."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

from agree import FLOAT32, FLOAT64, LossAndGradient, agree, agree_result

torch = pytest.importorskip("torch")

from labelsmooth import compute_loss_func, cross_entropy  # noqa: E402  after the skip

K = 7
LOGITS = torch.randn(4, 5, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([[3, 1, 2, 0, 6], [-100, 5, 5, -100, -100], [0, 0, 1, 2, -100], [-100, -100, 4, 4, 1]])


def both(loss: Any) -> LossAndGradient:
    logits = LOGITS.clone().requires_grad_()
    value = loss(logits)
    value.backward()
    return LossAndGradient(value.detach(), logits.grad)


@pytest.mark.parametrize("outputs", [lambda z: {"logits": z}, lambda z: OrderedDict(logits=z), lambda z: (z, "states")])
def test_without_a_number_of_items_it_is_the_mean(outputs: Any) -> None:
    ours = both(lambda z: compute_loss_func(0.2)(outputs(z), LABELS))
    agree_result(ours, both(lambda z: cross_entropy(z, LABELS, label_smoothing=0.2, class_dim=-1)), budget=FLOAT64)


@pytest.mark.parametrize(
    "items", [14, torch.tensor(14), torch.tensor([[14], [14]])], ids=["int", "tensor", "two devices"]
)
def test_micro_batches_of_different_lengths_add_up_to_the_mean_of_the_step(items: Any) -> None:
    loss = compute_loss_func(0.1)
    assert (LABELS != -100).sum() == 14
    whole = both(lambda z: loss({"logits": z}, LABELS))
    parts = both(lambda z: sum(loss((z[i : i + 1],), LABELS[i : i + 1], num_items_in_batch=items) for i in range(4)))
    agree_result(parts, whole, budget=FLOAT64)
    mean_of_means = sum(loss((LOGITS[i],), LABELS[i]) for i in range(4)) / 4
    assert abs(mean_of_means - whole.loss) > 0.01


def test_the_trainer_may_multiply_the_loss_in_place() -> None:
    def scaled(z: Any) -> Any:
        value = compute_loss_func(0.1)({"logits": z}, LABELS, num_items_in_batch=7)
        value *= 0.5
        return value

    agree_result(both(scaled), both(lambda z: compute_loss_func(0.1)({"logits": z}, LABELS)), budget=FLOAT64)


def test_a_shift_compares_each_place_with_the_label_after_it() -> None:
    ours = both(lambda z: compute_loss_func(0.1, shift_labels=True)({"logits": z}, LABELS))
    truth = both(lambda z: cross_entropy(z[:, :-1], LABELS[:, 1:], label_smoothing=0.1, class_dim=-1))
    agree_result(ours, truth, budget=FLOAT64)
    agree(ours.gradient[:, -1].abs().max(), 0.0, budget=0, what="the last place predicts nothing", any_dtype=True)
    own = compute_loss_func(0.1, shift_labels=True, ignore_index=5)
    marked = LABELS.masked_fill(LABELS == -100, 5)
    theirs = cross_entropy(LOGITS[:, :-1], marked[:, 1:], label_smoothing=0.1, class_dim=-1, ignore_index=5)
    agree(own((LOGITS,), marked), theirs, budget=FLOAT64, what="another index to ignore")


def test_every_other_keyword_reaches_the_loss() -> None:
    words: dict[str, Any] = {
        "prior": torch.full((K - 2,), 1 / (K - 2), dtype=torch.float64),
        "padded_classes": 2,
        "z_loss": 0.1,
    }
    target = LABELS.clamp(max=K - 3)
    got = compute_loss_func(0.3, **words)((LOGITS,), target)
    agree(got, cross_entropy(LOGITS, target, label_smoothing=0.3, class_dim=-1, **words), budget=0, what="options")
    images = LOGITS.movedim(-1, 1)  # (B, K, T)
    got = compute_loss_func(0.1, class_dim=1)((images,), LABELS)
    agree(got, compute_loss_func(0.1)((LOGITS,), LABELS), budget=FLOAT64, what="classes on axis 1")
    half = compute_loss_func()((LOGITS.half(),), LABELS)
    assert half.dtype == torch.float32
    agree(half, compute_loss_func()((LOGITS.half().float(),), LABELS), budget=FLOAT32, what="half precision")


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"label_smoothing": 1.5}, ValueError, r"label_smoothing must be between 0\.0 and 1\.0, got 1\.5"),
        ({"convention": "binary"}, ValueError, "no softmax loss"),
        ({"reduction": "mean"}, ValueError, "reduction follows from num_items_in_batch, .* drop it"),
        ({"normalizer": 3}, ValueError, "normalizer follows from num_items_in_batch"),
        ({"smoothing": 0.1}, TypeError, "unexpected keyword argument 'smoothing'"),
    ],
)
def test_what_cannot_be_is_refused_when_the_function_is_made(words: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        compute_loss_func(**words)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"loss": 1.0, "states": 2}, "a dict with loss, states"),
        ({}, "a dict with nothing"),
        (LOGITS, "a Tensor"),
        ((), "a tuple"),
    ],
)
def test_outputs_without_logits_are_said(outputs: Any, said: str) -> None:
    with pytest.raises(TypeError, match=f"expected outputs with logits, .* got {said}"):
        compute_loss_func()(outputs, LABELS)


def test_missing_labels_are_said() -> None:
    with pytest.raises(ValueError, match=r"no labels .* column 'labels'"):
        compute_loss_func()((LOGITS,), None)
