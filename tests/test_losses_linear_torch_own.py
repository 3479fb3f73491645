"""The installed torch judges from outside: its own samples of `LinearCrossEntropyLoss`, and its reference loss.

As in `test_losses_functional_torch_own.py` the samples are torch's private affair and may move; some take class weights and
soft targets that do not sum to 1, hence `validate=False`. Samples that differ in torch's chunk sizes only are taken here with
chunks of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from agree import FLOAT64, LossAndGradient, agree, agree_result

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest", reason="torch's own tests import expecttest: pip install expecttest")
if not hasattr(torch.nn, "LinearCrossEntropyLoss"):
    pytest.skip(f"torch {torch.__version__} has no LinearCrossEntropyLoss (since 2.13)", allow_module_level=True)

from torch.testing._internal import common_methods_invocations, common_modules, common_nn  # noqa: E402  after the skip

from labelsmooth.losses import LinearLabelSmoothingCrossEntropy, linear_cross_entropy  # noqa: E402

REFERENCE = common_nn.linear_cross_entropy_loss_reference


@pytest.fixture(autouse=True)
def same_samples() -> Iterator[None]:
    """Draw the samples from one seed, and leave the seed of the other tests alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def all_of(loss: Any, tensors: list[Any], target: Any) -> LossAndGradient:
    """Loss and the gradients of input, weight and bias."""
    leaves = [x.detach().clone().requires_grad_() for x in tensors]
    value = loss(*leaves, target)
    value.sum().backward()
    return LossAndGradient(value.detach(), torch.cat([x.grad.flatten() for x in leaves]))


def ours(input: Any, weight: Any, *rest: Any, loss: Any) -> Any:  # noqa: A002  torch's word
    *bias, target = rest
    return loss(input, weight, target, linear_bias=bias[0] if bias else None)


def theirs(input: Any, weight: Any, *rest: Any, words: dict[str, Any]) -> Any:  # noqa: A002  torch's word
    *bias, target = rest
    return REFERENCE(input, weight, target, linear_bias=bias[0] if bias else None, **words)


def module_samples() -> Iterator[tuple[list[Any], Any, dict[str, Any], int | None]]:
    make = common_modules.module_inputs_torch_nn_LinearCrossEntropyLoss
    for sample in make(None, device="cpu", dtype=torch.float64, requires_grad=True, training=True):
        width, classes = sample.constructor_input.args
        words = {k: v for k, v in sample.constructor_input.kwargs.items() if k not in {"device", "dtype"}}
        positions, bias, options = words.pop("out_features"), words.pop("bias", False), words.pop("options")
        hidden, target = sample.forward_input.args
        shapes = [(classes, *positions, width), *([(classes, *positions)] if bias else [])]
        layer = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
        yield [hidden, *layer], target, words, getattr(options, "batch_chunk_size", None)


@pytest.mark.slow
def test_our_module_gives_what_torchs_reference_gives_on_torchs_sample_inputs() -> None:
    judged, kinds = 0, set()
    for tensors, target, given, chunk in module_samples():
        words = dict(given)
        loss = LinearLabelSmoothingCrossEntropy(
            words.pop("label_smoothing"), validate=False, chunk_rows=chunk or 3, **words
        )
        got = all_of(partial(ours, loss=loss), tensors, target)
        expected = all_of(partial(theirs, words=given), tensors, target)
        what = f"{[tuple(x.shape) for x in tensors]}, {sorted(given.items(), key=str)}"
        agree(got.loss, expected.loss, budget=FLOAT64, what=what, nan_agrees=True)
        if expected.loss.isfinite().all():  # else every row was ignored, and torch's gradient is NaN
            judged += 1
            agree(got.gradient, expected.gradient, budget=FLOAT64, what=f"{what}: gradients")
        kinds |= {("bias", len(tensors) == 3), ("positions", tensors[1].dim() > 2), ("soft", target.is_floating_point()),
                  ("smoothed", given["label_smoothing"] > 0), ("row", tensors[0].dim() == 1),
                  ("weight", given["weight"] is not None)}  # fmt: skip
    assert judged > 300
    assert len(kinds) == 12, f"torch's samples no longer have all kinds: {sorted(kinds)}"


@pytest.mark.parametrize("label_smoothing", [0.0, 0.15])
def test_our_function_gives_what_torchs_gives_on_torchs_operator_samples(label_smoothing: float) -> None:
    make = common_methods_invocations.sample_inputs_linear_cross_entropy
    samples = list(make(None, "cpu", torch.float64, requires_grad=True))
    for sample in samples:
        weight, target = sample.args
        given = {**sample.kwargs, "label_smoothing": label_smoothing}
        bias = given.pop("linear_bias", None)
        tensors = [sample.input, weight, *([] if bias is None else [bias])]
        loss = partial(linear_cross_entropy, validate=False, chunk_rows=2, **given)
        what = f"{[tuple(x.shape) for x in tensors]}, {sorted(given)}"
        agree_result(all_of(partial(ours, loss=loss), tensors, target),
                     all_of(partial(theirs, words=given), tensors, target), budget=FLOAT64, what=what)  # fmt: skip
    assert len(samples) > 40


def test_what_torchs_error_inputs_refuse_is_refused_here() -> None:
    make = common_modules.module_error_inputs_torch_nn_LinearCrossEntropyLoss
    errors = list(make(None, device="cpu", dtype=torch.float64, requires_grad=False, training=True))
    for error in errors:
        made = error.module_error_input.constructor_input
        width, classes = made.args
        words = {k: v for k, v in made.kwargs.items() if k not in {"device", "dtype"}}
        hidden, target = error.module_error_input.forward_input.args
        head = torch.ones(classes, width, dtype=torch.float64)
        with pytest.raises((ValueError, TypeError), match=r"expected|shape|must be"):
            LinearLabelSmoothingCrossEntropy(words.pop("label_smoothing", 0.0), **words)(hidden, head, target)
    assert errors
