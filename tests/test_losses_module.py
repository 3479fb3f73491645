"""The loss as a module: state, repr, the hooks of fastai, and that it is the function and nothing else."""

from __future__ import annotations

import io
import pickle
from typing import Any

import pytest

from agree import FLOAT32, FLOAT64, LossAndGradient, agree, agree_result

torch = pytest.importorskip("torch")

from labelsmooth.losses import LabelSmoothingCrossEntropy, cross_entropy  # noqa: E402  after the skip

X = torch.tensor([[4.2, -2.4], [1.6, -0.6], [3.6, 1.2], [-0.5, 0.5], [-0.25, 1.7]])
Y = torch.tensor([0, 1, 1, 0, 0])
WEIGHT, PRIOR = torch.tensor([1.0, 3.0]), torch.tensor([0.25, 0.75])


def saved_and_loaded(loss: Any) -> Any:
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def test_the_post_writes_it_so_and_gets_these_numbers() -> None:
    got = LabelSmoothingCrossEntropy(ε=0.1, reduction="none")(X, Y)
    agree(got, [0.3314, 2.1951, 2.3668, 1.2633, 1.9855], budget=5e-5, what="as printed in the post")
    printed = [0.331359444, 2.19508332, 2.366836152, 1.263261688, 1.985521075]
    agree(got, printed, budget=FLOAT32, what="as in its spreadsheet, in float32")


@pytest.mark.parametrize("words", [{}, {"label_smoothing": 0.1}, {"ε": 0.1}])
def test_epsilon_is_a_tenth_by_default_and_has_two_names(words: dict[str, Any]) -> None:
    agree(
        LabelSmoothingCrossEntropy(**words)(X, Y), cross_entropy(X, Y, label_smoothing=0.1), budget=0, what=str(words)
    )


def test_epsilon_may_be_zero_or_the_first_argument() -> None:
    agree(LabelSmoothingCrossEntropy(0.0)(X, Y), cross_entropy(X, Y), budget=0, what="ε = 0")
    agree(LabelSmoothingCrossEntropy(0.3)(X, Y), cross_entropy(X, Y, label_smoothing=0.3), budget=0, what="ε = 0.3")


def test_epsilon_given_by_both_names_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="label_smoothing and ε are the same thing"):
        LabelSmoothingCrossEntropy(0.1, ε=0.1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"label_smoothing": 1.5}, r"label_smoothing must be between 0\.0 and 1\.0, got 1\.5"),
        ({"reduction": "average"}, "reduction must be one of mean, sum, none, got 'average'"),
        ({"convention": "binary"}, "no softmax loss"),
        ({"weighting": "keras"}, "unknown weighting 'keras'"),
        ({"all_ignored": "one"}, "all_ignored must be one of nan, zero, got 'one'"),
        ({"z_loss": -1}, "z_loss must be a finite number not below 0, got -1"),
    ],
)
def test_what_cannot_be_is_refused_when_the_loss_is_made(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelSmoothingCrossEntropy(**words)


def test_every_keyword_reaches_the_function() -> None:
    logits, target = X.T[None].clone(), torch.tensor([[0, 1]])  # (1, 2, 5): classes last by name
    words: dict[str, Any] = {
        "weight": torch.tensor([2.0, 3, 4, 5, 6]), "ignore_index": 1, "reduction": "sum", "prior": torch.full((5,), 0.2),
        "class_mask": torch.tensor([True, True, True, True, False]), "convention": "renormalised", "weighting": "nll",
        "class_dim": -1, "validate": True, "z_loss": 0.3, "softcap": 4.0, "padded_classes": 0, "all_ignored": "zero",
        "gradient_in_forward": True, "inplace": False,
    }  # fmt: skip
    assert {*words, "label_smoothing"} == LabelSmoothingCrossEntropy()._words().keys()
    batch = {"row_weight": torch.tensor([[2.0, 1.0]]), "normalizer": 3.0}
    ours = LabelSmoothingCrossEntropy(0.2, **words)(logits, target, **batch)
    agree(ours, cross_entropy(logits, target, label_smoothing=0.2, **words, **batch), budget=0, what="all keywords")
    others = {
        "weight": None,
        "ignore_index": -100,
        "convention": "torch",
        "weighting": "label",
        "z_loss": 0.0,
        "softcap": None,
    }
    for name, other in others.items():
        changed = LabelSmoothingCrossEntropy(0.2, **{**words, name: other})(logits, target, **batch)
        assert not torch.equal(ours, changed), name


def test_the_mean_of_nothing_and_padding_reach_the_function() -> None:
    nothing = torch.full((5,), -100)
    assert LabelSmoothingCrossEntropy()(X, nothing).isnan()
    agree(LabelSmoothingCrossEntropy(all_ignored="zero")(X, nothing).item(), 0.0, budget=0, what="nothing")
    padded = torch.cat([X, torch.full((5, 3), 7.0)], dim=1)
    got = LabelSmoothingCrossEntropy(padded_classes=3)(padded, Y)
    agree(got, LabelSmoothingCrossEntropy()(X, Y), budget=FLOAT32, what="padding")


def test_looking_at_values_can_be_turned_off() -> None:
    with pytest.raises(ValueError, match="label 2 of row 0 is out of range"):
        LabelSmoothingCrossEntropy()(X, Y + 2)
    assert LabelSmoothingCrossEntropy(validate=False)(X, Y + 2).isnan()


def test_a_mask_given_with_the_batch_replaces_the_modules() -> None:
    logits, target = torch.randn(2, 3), torch.tensor([0, 1])
    one, other = torch.tensor([True, True, False]), torch.tensor([[True, True, True], [False, True, True]])
    loss = LabelSmoothingCrossEntropy(class_mask=one)
    agree(
        loss(logits, target), cross_entropy(logits, target, label_smoothing=0.1, class_mask=one), budget=0, what="own"
    )
    expected = cross_entropy(logits, target, label_smoothing=0.1, class_mask=other)
    agree(loss(logits, target, class_mask=other), expected, budget=0, what="the batch's")


def test_reduction_is_read_at_the_call() -> None:
    loss = LabelSmoothingCrossEntropy()
    mean = loss(X, Y)
    loss.reduction = "none"  # as fastai does for mixup and for interpretation
    rows = loss(X, Y)
    assert rows.shape == (5,)
    agree(rows.mean(), mean, budget=FLOAT32, what="mean of the rows")


def test_label_smoothing_may_be_set_later() -> None:
    loss = LabelSmoothingCrossEntropy()
    loss.label_smoothing = 0.0
    agree(loss(X, Y), cross_entropy(X, Y), budget=0, what="after warming up")
    loss.label_smoothing = 2.0
    with pytest.raises(ValueError, match="label_smoothing must be between"):
        loss(X, Y)


def test_weight_prior_and_mask_are_buffers_and_travel_with_the_module() -> None:
    mask = torch.tensor([True, True])
    loss = LabelSmoothingCrossEntropy(weight=WEIGHT, prior=PRIOR, class_mask=mask)
    assert set(loss.state_dict()) == {"weight", "prior", "class_mask"}
    other = LabelSmoothingCrossEntropy(weight=torch.ones(2), prior=torch.full((2,), 0.5), class_mask=mask)
    other.load_state_dict(loss.state_dict())
    agree(other(X, Y), loss(X, Y), budget=0, what="after load_state_dict")
    assert loss.double().weight.dtype == torch.float64
    assert not list(loss.parameters())
    assert not LabelSmoothingCrossEntropy().state_dict()


def test_a_learned_epsilon_is_a_parameter_and_a_tensor_is_a_buffer() -> None:
    loss = LabelSmoothingCrossEntropy(torch.nn.Parameter(torch.tensor(0.1)))
    loss(X, Y).backward()
    (parameter,) = loss.parameters()
    log_p = X.log_softmax(-1)
    expected = (log_p.gather(1, Y[:, None])[:, 0] - log_p.mean(-1)).mean()
    agree(parameter.grad, expected, budget=FLOAT32, what="H(u,p) - H(q,p)")
    fixed = LabelSmoothingCrossEntropy(torch.tensor(0.1))
    assert "label_smoothing" in fixed.state_dict()
    assert not list(fixed.parameters())


@pytest.mark.parametrize("copied", [lambda loss: pickle.loads(pickle.dumps(loss)), saved_and_loaded])  # noqa: S301  ours
def test_a_copy_computes_the_same(copied: Any) -> None:
    loss = LabelSmoothingCrossEntropy(0.2, weight=WEIGHT, prior=PRIOR, weighting="nll", reduction="none")
    agree(copied(loss)(X, Y), loss(X, Y), budget=0, what="the copy")
    assert repr(copied(loss)) == repr(loss)


@pytest.mark.parametrize(
    ("loss", "shown"),
    [
        (LabelSmoothingCrossEntropy(), "LabelSmoothingCrossEntropy(label_smoothing=0.1)"),
        (LabelSmoothingCrossEntropy(ε=0.2, reduction="sum", class_dim=-1),
         "LabelSmoothingCrossEntropy(label_smoothing=0.2, reduction='sum', class_dim=-1)"),
        (LabelSmoothingCrossEntropy(weight=WEIGHT, convention="fairseq"),
         "LabelSmoothingCrossEntropy(label_smoothing=0.1, weight=tensor(2,), convention='fairseq')"),
    ],
)  # fmt: skip
def test_repr_says_what_was_set(loss: Any, shown: str) -> None:
    assert repr(loss) == shown


@pytest.mark.parametrize(
    ("shape", "words", "axis"),
    [((3, 4), {}, 1), ((3, 4, 2), {}, 1), ((4,), {}, 0), ((3, 2, 4), {"class_dim": -1}, 2)],
)
def test_fastai_finds_its_hooks(shape: tuple[int, ...], words: dict[str, Any], axis: int) -> None:
    loss, logits = LabelSmoothingCrossEntropy(**words), torch.randn(*shape, dtype=torch.float64)
    assert loss.y_int is True
    agree(loss.activation(logits), logits.softmax(axis), budget=FLOAT64, what="activation")
    agree(loss.decodes(logits), logits.argmax(axis), budget=0, what="decodes")
    agree(loss.decodes(loss.activation(logits)), logits.argmax(axis), budget=0, what="decodes, after activation")


def test_gradient_of_the_module_is_that_of_the_function() -> None:
    def both(loss: Any) -> LossAndGradient:
        logits = X.clone().requires_grad_()
        value = loss(logits)
        value.backward()
        return LossAndGradient(value.detach(), logits.grad)

    module = LabelSmoothingCrossEntropy(prior=PRIOR)
    agree_result(
        both(lambda z: module(z, Y)), both(lambda z: cross_entropy(z, Y, label_smoothing=0.1, prior=PRIOR)), budget=0
    )
