"""The installed torch judges from outside: its own sample inputs and reference losses, which nobody here wrote.

`torch.testing._internal` is what torch tests `nn.CrossEntropyLoss` and `F.cross_entropy` with. Its samples take targets
that do not sum to 1 and negative class weights, which our loss refuses unless told not to look: hence `validate=False`,
except where the samples are legal and looking must change nothing. The material is torch's private affair and may move;
the test then fails at its first line and says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from agree import FLOAT64, LossAndGradient, agree, agree_result

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest", reason="torch's own tests import expecttest: pip install expecttest")

import torch.nn.functional as F  # noqa: E402, N812  after the skip; the name the whole world uses
from torch.testing._internal import common_methods_invocations, common_modules, common_nn  # noqa: E402

from labelsmooth.losses import LabelSmoothingCrossEntropy, cross_entropy  # noqa: E402

REFERENCE = common_nn.cross_entropy_loss_reference


@pytest.fixture(autouse=True)
def same_samples() -> Iterator[None]:
    """Draw the samples from one seed, and leave the seed of the other tests alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def module_samples() -> list[Any]:
    make = common_modules.module_inputs_torch_nn_CrossEntropyLoss
    return list(make(None, device="cpu", dtype=torch.float64, requires_grad=True, training=True))


def both(loss: Any, logits: Any, target: Any) -> LossAndGradient:
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, target)
    value.sum().backward()
    return LossAndGradient(value.detach(), logits.grad)


def test_our_module_gives_what_torchs_reference_gives_on_torchs_sample_inputs() -> None:
    samples, judged = module_samples(), 0
    for sample in samples:
        words = dict(sample.constructor_input.kwargs)
        logits, target = sample.forward_input.args
        ours = LabelSmoothingCrossEntropy(words.pop("label_smoothing", 0.0), validate=False, **words)
        if logits.dim() == 1:  # the references know batches only; torch's loss is asked instead
            theirs = torch.nn.CrossEntropyLoss(**sample.constructor_input.kwargs)
        else:  # the sample's own reference copies its inputs, which cuts the gradient; this is what it calls
            judged += 1
            theirs = partial(REFERENCE, **sample.constructor_input.kwargs)
        got, expected = both(ours, logits, target), both(theirs, logits, target.detach())
        agree(got.loss, expected.loss, budget=FLOAT64, what=sample.desc, nan_agrees=True)
        if expected.loss.isfinite().all():  # else every row was ignored, and torch's gradient is NaN
            agree(got.gradient, expected.gradient, budget=FLOAT64, what=f"{sample.desc}: gradient")
    assert judged > 80
    descriptions = " ".join(sample.desc for sample in samples)
    for kind in ("ignore_index_label_smoothing", "weights", "prob_target_label_smoothing", "higher_dim"):
        assert kind in descriptions, f"torch's samples no longer have {kind}"


def test_looking_at_values_changes_nothing_where_the_samples_are_legal() -> None:
    looked = 0
    for sample in module_samples():
        words = dict(sample.constructor_input.kwargs)
        if "weight" in words:
            continue
        smoothing, (logits, target) = words.pop("label_smoothing", 0.0), sample.forward_input.args
        ours = (
            cross_entropy(logits, target, label_smoothing=smoothing, validate=look, **words) for look in (True, False)
        )
        agree(*ours, budget=0, what=sample.desc, nan_agrees=True)
        looked += 1
    assert looked > 60


@pytest.mark.parametrize("label_smoothing", [0.0, 0.15, 1.0])
def test_our_function_gives_what_torchs_gives_on_torchs_operator_samples(label_smoothing: float) -> None:
    samples = list(
        common_methods_invocations.sample_inputs_cross_entropy(None, "cpu", torch.float64, requires_grad=True)
    )
    assert len(samples) > 15
    for sample in samples:
        (target,), words = sample.args, {"label_smoothing": label_smoothing, **sample.kwargs}
        ours = both(partial(cross_entropy, validate=False, **words), sample.input, target)
        what = f"{tuple(sample.input.shape)}, {sorted(words)}"
        agree_result(ours, both(partial(F.cross_entropy, **words), sample.input, target), budget=FLOAT64,
                     what=f"torch's loss, {what}")  # fmt: skip
        agree_result(ours, both(partial(REFERENCE, **words), sample.input, target), budget=FLOAT64,
                     what=f"torch's reference, {what}")  # fmt: skip


def test_what_torchs_error_inputs_refuse_is_refused_here() -> None:
    make = common_modules.module_error_inputs_torch_nn_CrossEntropyLoss
    errors = list(make(None, device="cpu", dtype=torch.float64, requires_grad=False, training=True))
    for error in errors:
        given = error.module_error_input
        words = dict(given.constructor_input.kwargs)
        logits, target = given.forward_input.args
        with pytest.raises((ValueError, TypeError), match=r"expected|shape|must be|use row_weight"):
            LabelSmoothingCrossEntropy(words.pop("label_smoothing", 0.0), **words)(logits, target)
    assert errors
