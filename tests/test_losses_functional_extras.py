"""What trainers ask for beside the loss: z-loss, softcap, padded classes, the mean of nothing, the gradient at once.

Each is judged by the formula written out in plain torch, or by the loss without it on a batch that means the same.
"""

from __future__ import annotations

import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agree import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, LossAndGradient, agree, agree_result

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812  after the skip; the name the whole world uses

from labelsmooth.losses import LabelSmoothingCrossEntropy, _cpu_plain, _kernels, cross_entropy, loss_parts  # noqa: E402

INF, NAN = float("inf"), float("nan")
LOGITS = torch.tensor([[2, 1, 0, -1, -2], [0.5, 0.1, -0.3, 1.2, 0]], dtype=torch.float64)
LABELS = torch.tensor([0, 3])
WEIGHT = torch.arange(1.0, 6, dtype=torch.float64)
IGNORED = torch.tensor([-100, -100])
REDUCTIONS = ("mean", "sum", "none")


def both(loss: Any, logits: Any, *args: Any, **words: Any) -> LossAndGradient:
    """Give the loss and its gradient; the rows of an unreduced loss push with 1, 2, 3, ..."""
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, *args, **words)
    value.backward(torch.arange(1.0, value.numel() + 1).to(value).reshape(value.shape))
    return LossAndGradient(value.detach(), logits.grad)


def draw(seed: int, *shape: int, scale: float = 3.0) -> Any:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# z-loss ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_z_loss_adds_the_squared_log_of_the_denominator(reduction: str) -> None:
    def plain(z: Any) -> Any:
        rows = F.cross_entropy(z, LABELS, label_smoothing=0.1, reduction="none") + 0.01 * z.logsumexp(-1) ** 2
        return rows if reduction == "none" else getattr(rows, reduction)()

    ours = both(cross_entropy, LOGITS + 5, LABELS, label_smoothing=0.1, z_loss=0.01, reduction=reduction)
    agree_result(ours, both(plain, LOGITS + 5), budget=FLOAT64)


def test_z_loss_notices_a_shift_of_the_logits() -> None:
    words = {"label_smoothing": 0.1, "reduction": "none"}
    lse = LOGITS.logsumexp(-1)
    plain = cross_entropy(LOGITS, LABELS, **words)
    shifted = cross_entropy(LOGITS + 100, LABELS, z_loss=0.5, **words)
    agree(shifted - plain, 0.5 * (lse + 100) ** 2, budget=FLOAT64, what="100 higher")


def test_z_loss_is_divided_like_the_loss_and_left_alone_by_class_weights() -> None:
    target, rows = torch.tensor([0, -100]), torch.tensor([3.0, 5.0], dtype=torch.float64)
    lse = LOGITS.logsumexp(-1)
    for words, expected in (
        ({}, lse[0] ** 2),
        ({"weight": WEIGHT + 1}, lse[0] ** 2 / 2),  # torch's mean divides by the weight of the label
        ({"weight": WEIGHT + 1, "weighting": "label/N"}, lse[0] ** 2),
        ({"row_weight": rows}, lse[0] ** 2),
        ({"row_weight": rows, "reduction": "sum"}, 3 * lse[0] ** 2),
        ({"reduction": "sum", "normalizer": 7}, lse[0] ** 2 / 7),
    ):
        plain = cross_entropy(LOGITS, target, label_smoothing=0.1, **words)
        more = cross_entropy(LOGITS, target, label_smoothing=0.1, z_loss=1.0, **words)
        agree(more - plain, expected, budget=FLOAT64, what=f"{list(words)}")


def test_z_loss_takes_the_denominator_of_what_the_mask_leaves() -> None:
    mask = torch.tensor([True, False, True, True, False])
    ours = both(cross_entropy, LOGITS, LABELS, label_smoothing=0.1, class_mask=mask, z_loss=0.3)
    truth = both(cross_entropy, LOGITS[:, mask], torch.tensor([0, 2]), label_smoothing=0.1, z_loss=0.3)
    agree_result(LossAndGradient(ours.loss, ours.gradient[:, mask]), truth, budget=FLOAT64)
    agree(ours.gradient[:, ~mask], torch.zeros(2, 2, dtype=torch.float64), budget=0, what="masked")


@pytest.mark.parametrize("junk", [INF, -INF, NAN])
def test_an_ignored_row_pays_no_z_loss(junk: float) -> None:
    logits = torch.cat([LOGITS, torch.full((1, 5), junk, dtype=torch.float64)])
    ours = both(cross_entropy, logits, torch.tensor([0, 3, -100]), label_smoothing=0.1, z_loss=0.3)
    truth = both(cross_entropy, LOGITS, LABELS, label_smoothing=0.1, z_loss=0.3)
    agree_result(LossAndGradient(ours.loss, ours.gradient[:2]), truth, budget=FLOAT64)
    agree(ours.gradient[2], torch.zeros(5, dtype=torch.float64), budget=0, what="the ignored row")


# Softcap --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [LABELS, draw(1, 2, 5).softmax(-1)], ids=["indices", "soft"])
def test_softcap_caps_the_logits(target: Any) -> None:
    def plain(z: Any) -> Any:
        capped = 2.5 * torch.tanh(z / 2.5)
        return F.cross_entropy(capped, target, label_smoothing=0.1) + 0.2 * (capped.logsumexp(-1) ** 2).mean()

    ours = both(cross_entropy, 4 * LOGITS, target, label_smoothing=0.1, softcap=2.5, z_loss=0.2)
    agree_result(ours, both(plain, 4 * LOGITS), budget=FLOAT64)


def test_a_mask_comes_after_the_softcap() -> None:
    logits = LOGITS.index_fill(1, torch.tensor(4), -INF)
    capped = 3 * torch.tanh(LOGITS[:, :4] / 3)
    expected = F.cross_entropy(capped, LABELS, label_smoothing=0.1)
    mask = torch.arange(5) < 4
    agree(cross_entropy(logits, LABELS, label_smoothing=0.1, softcap=3.0, class_mask=mask), expected, budget=FLOAT64,
          what="mask")  # fmt: skip
    agree(cross_entropy(logits, LABELS, label_smoothing=0.1, softcap=3.0, class_mask="finite"), expected,
          budget=FLOAT64, what="finite: asks the logits and not their caps")  # fmt: skip
    below = torch.cat([capped, torch.full((2, 1), -3.0)], dim=1)
    agree(cross_entropy(logits, LABELS, label_smoothing=0.1, softcap=3.0),
          F.cross_entropy(below, LABELS, label_smoothing=0.1), budget=FLOAT64, what="without a mask −inf is −c")  # fmt: skip


@pytest.mark.parametrize("junk", [INF, -INF, NAN])
def test_what_is_masked_or_ignored_leaves_no_trace_through_the_softcap(junk: float) -> None:
    logits, mask = torch.cat([LOGITS, torch.full((1, 5), junk, dtype=torch.float64)]), torch.arange(5) < 4
    logits[:, 4] = junk
    words: dict[str, Any] = {"label_smoothing": 0.1, "softcap": 3.0, "z_loss": 0.1}
    ours = both(cross_entropy, logits, torch.tensor([0, 3, -100]), class_mask=mask, **words)
    truth = both(cross_entropy, LOGITS[:, :4], LABELS, **words)
    agree_result(LossAndGradient(ours.loss, ours.gradient[:2, :4]), truth, budget=FLOAT64)
    agree(ours.gradient[2], torch.zeros(5, dtype=torch.float64), budget=0, what="the ignored row")
    agree(ours.gradient[:, 4], torch.zeros(3, dtype=torch.float64), budget=0, what="the masked class")


@pytest.mark.parametrize(("dtype", "budget"), [("float16", FLOAT16), ("bfloat16", BFLOAT16)])
def test_half_precision_logits_are_capped_in_float32_and_rounded_once(dtype: str, budget: float) -> None:
    logits, words = draw(2, 8, 50, scale=30).to(getattr(torch, dtype)), {"softcap": 30.0, "z_loss": 1e-3}
    target = torch.arange(8)
    ours, single = both(cross_entropy, logits, target, **words), both(cross_entropy, logits.float(), target, **words)
    agree_result(ours, both(cross_entropy, logits.double(), target, **words), budget=budget)
    agree(ours.gradient, single.gradient.to(logits.dtype), budget=0, what="the gradient in float32, rounded")
    agree(ours.loss, single.loss, budget=0, what="the loss in float32")


# Padded classes -------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from([(), (2,)]),
    st.booleans(),
    st.sampled_from(["indices", "soft"]),
)
def test_padded_classes_are_as_good_as_absent(classes: int, padded: int, extra: Any, last: bool, kind: str) -> None:
    logits = draw(classes, 3, classes + padded, *extra)
    logits[:, classes:] = torch.tensor([NAN, INF, -INF, 1e300])[:padded].double().reshape(-1, *(1 for _ in extra))
    target = torch.arange(3).reshape(3, *(1 for _ in extra)).expand(3, *extra) % classes
    if kind == "soft":
        target = draw(9, 3, classes, *extra).softmax(1)
    words: dict[str, Any] = {"label_smoothing": 0.3, "weight": WEIGHT[:classes], "z_loss": 0.1,
                             "prior": draw(7, classes).softmax(0)}  # fmt: skip
    whole, real = logits, logits[:, :classes]
    if last:
        whole, real = whole.movedim(1, -1), real.movedim(1, -1)
        target = target.movedim(1, -1) if kind == "soft" else target
        words["class_dim"] = -1
    ours = both(cross_entropy, whole, target, padded_classes=padded, **words)
    truth = both(cross_entropy, real, target, **words)
    axis = -1 if last else 1
    kept = ours.gradient.narrow(axis, 0, classes)
    agree_result(LossAndGradient(ours.loss, kept), truth, budget=0)
    rest = ours.gradient.narrow(axis, classes, padded)
    agree(rest, torch.zeros_like(rest), budget=0, what="gradient of the padding")


def test_a_label_in_the_padding_is_out_of_range() -> None:
    with pytest.raises(ValueError, match="label 3 of row 1 is out of range: expected 0 to 2"):
        cross_entropy(LOGITS, LABELS, padded_classes=2)


def test_without_it_a_padded_vocabulary_leaks_mass() -> None:
    padded = torch.cat([LOGITS, torch.full((2, 3), -1e4, dtype=torch.float64)], dim=1)
    right = F.cross_entropy(LOGITS, LABELS, label_smoothing=0.1)
    agree(
        cross_entropy(padded, LABELS, label_smoothing=0.1, padded_classes=3), right, budget=0, what="padded_classes=3"
    )
    assert F.cross_entropy(padded, LABELS, label_smoothing=0.1) > 100 * right


# The mean of nothing --------------------------------------------------------------------------------------------------

NO_ROW: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "ignored": (LOGITS, IGNORED, {}),
    "no rows": (LOGITS[:0], LABELS[:0], {}),
    "no soft rows": (LOGITS[:0], LOGITS[:0], {}),
    "weights of rows": (LOGITS, LABELS, {"row_weight": torch.zeros(2)}),
    "soft, weights of rows": (LOGITS, LOGITS.softmax(-1), {"row_weight": torch.zeros(2)}),
    "class weights": (LOGITS, IGNORED, {"weight": WEIGHT}),
    "class weights, apart": (LOGITS, IGNORED, {"weight": WEIGHT, "weighting": "nll"}),
    "not looked at": (LOGITS, IGNORED, {"validate": False}),
    "a row of junk": (NAN * LOGITS, IGNORED, {"z_loss": 0.1, "softcap": 3.0}),
}


@pytest.mark.parametrize("case", NO_ROW)
def test_the_mean_of_no_row_is_nan_or_zero_by_name(case: str) -> None:
    logits, target, words = NO_ROW[case]
    assert cross_entropy(logits, target, label_smoothing=0.1, **words).isnan()
    eps = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    got = both(cross_entropy, logits, target, label_smoothing=eps, all_ignored="zero", **words)
    agree(got.loss.item(), 0.0, budget=0, what="loss")
    agree(got.gradient, torch.zeros_like(logits), budget=0, what="gradient", may_be_empty=logits.numel() == 0)
    agree(eps.grad.item(), 0.0, budget=0, what="gradient of ε")


@pytest.mark.parametrize("weighting", ["torch", "nll", "expected", "label/N"])
def test_the_name_for_the_mean_of_nothing_changes_no_other_mean(weighting: str) -> None:
    words: dict[str, Any] = {"label_smoothing": 0.1, "weight": WEIGHT, "weighting": weighting}
    for target in (LABELS, torch.tensor([-100, 3])):
        agree_result(both(cross_entropy, LOGITS, target, all_ignored="zero", **words),
                     both(cross_entropy, LOGITS, target, **words), budget=FLOAT64)  # fmt: skip
    nothing = torch.zeros(5, dtype=torch.float64)  # rows that count and weigh nothing are a user's slip, and show
    assert not cross_entropy(LOGITS, LABELS, label_smoothing=0.1, weight=nothing, all_ignored="zero").isfinite()


# The gradient in the forward ------------------------------------------------------------------------------------------

AT_ONCE: dict[str, dict[str, Any]] = {
    "plain": {},
    "sum": {"reduction": "sum"},
    "normalizer": {"reduction": "sum", "normalizer": torch.tensor(3.0)},
    "weights": {"weight": WEIGHT, "row_weight": torch.tensor([2.0, 1.0]), "weighting": "nll"},
    "mask": {"class_mask": torch.tensor([True, True, False, True, True])},
    "extras": {"z_loss": 0.1, "softcap": 5.0},
    "fairseq": {"convention": "fairseq"},
}


@pytest.mark.parametrize("variant", AT_ONCE)
def test_the_gradient_in_the_forward_is_the_gradient(variant: str) -> None:
    words = {"label_smoothing": 0.1, **AT_ONCE[variant]}
    ours = both(cross_entropy, LOGITS, LABELS, gradient_in_forward=True, **words)
    agree_result(ours, both(cross_entropy, LOGITS, LABELS, **words), budget=FLOAT64)


def test_the_gradient_in_the_forward_is_multiplied_by_what_arrives_and_may_be_asked_for_twice() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = cross_entropy(logits, LABELS, label_smoothing=0.1, gradient_in_forward=True) * 3
    loss.backward(retain_graph=True)
    once = logits.grad.clone()
    agree(once, 3 * both(cross_entropy, LOGITS, LABELS, label_smoothing=0.1).gradient, budget=FLOAT64, what="times 3")
    loss.backward()
    agree(logits.grad, 2 * once, budget=0, what="two backwards")


def test_the_gradient_in_the_forward_frees_what_plain_torch_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kernels, "serves", lambda *_: False)
    monkeypatch.setattr(_cpu_plain, "plain_loss", lambda *_: None)

    class Box:
        def __init__(self, x: Any) -> None:
            self.x = x

    def held(**words: Any) -> int:
        alive: weakref.WeakSet[Box] = weakref.WeakSet()

        def pack(x: Any) -> Box:
            alive.add(box := Box(x))
            return box

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.x):
            loss = cross_entropy(draw(3, 8, 50).requires_grad_(), torch.arange(8), label_smoothing=0.1, **words)
        assert loss.requires_grad
        return len({box.x.data_ptr() for box in alive if box.x.numel() == 400})

    assert held(gradient_in_forward=True) == 1
    assert held() > 1


def test_the_gradient_in_the_forward_costs_nothing_where_nobody_wants_one() -> None:
    with torch.no_grad():
        got = cross_entropy(LOGITS.clone().requires_grad_(), LABELS, gradient_in_forward=True)
    assert not got.requires_grad
    agree(got, F.cross_entropy(LOGITS, LABELS), budget=FLOAT64, what="no_grad")
    assert not cross_entropy(LOGITS, LABELS, gradient_in_forward=True).requires_grad


def test_the_gradient_in_the_forward_has_no_second_derivative() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = cross_entropy(logits, LABELS, label_smoothing=0.1, gradient_in_forward=True)
    with pytest.raises(
        RuntimeError, match="gradient_in_forward gives no second derivative: drop it where create_graph"
    ):
        torch.autograd.grad(loss, logits, create_graph=True)


@pytest.mark.parametrize("name", ["label_smoothing", "prior", "row_weight", "weight", "target"])
def test_the_gradient_in_the_forward_refuses_other_gradients(name: str) -> None:
    learned = {"label_smoothing": torch.tensor(0.1), "prior": torch.full((5,), 0.2), "row_weight": torch.ones(2),
               "weight": torch.ones(5), "target": torch.full((2, 5), 0.2, dtype=torch.float64)}  # fmt: skip
    words = {"target": LABELS, name: learned[name].requires_grad_()}
    with pytest.raises(ValueError, match=f"gradient of the logits alone, and {name} requires one too"):
        cross_entropy(LOGITS, gradient_in_forward=True, **words)


# Parts ----------------------------------------------------------------------------------------------------------------


def test_parts_say_the_z_loss_apart() -> None:
    words: dict[str, Any] = {"label_smoothing": 0.1, "weight": WEIGHT, "reduction": "none", "softcap": 5.0}
    parts, plain = loss_parts(LOGITS, LABELS, z_loss=0.2, **words), loss_parts(LOGITS, LABELS, **words)
    agree(parts.z_loss, 0.2 * (5 * torch.tanh(LOGITS / 5)).logsumexp(-1) ** 2, budget=FLOAT64, what="λ·lse²")
    agree(parts.loss, plain.loss + parts.z_loss, budget=FLOAT64, what="loss")
    agree(parts.loss, cross_entropy(LOGITS, LABELS, z_loss=0.2, **words), budget=FLOAT64, what="the loss alone")
    agree(plain.z_loss, torch.zeros(2, dtype=torch.float64), budget=0, what="not asked for")
    for name in ("label_loss", "prior_loss", "floor"):
        agree(getattr(parts, name), getattr(plain, name), budget=0, what=name)


def test_the_floor_stays_the_smallest_loss_with_z_loss() -> None:
    q = F.one_hot(LABELS, 5) * 0.9 + 0.02
    parts = loss_parts(q.double().log(), LABELS, label_smoothing=0.1, z_loss=0.2)
    agree(parts.loss, parts.floor, budget=FLOAT32, what="at log q', whose lse is 0")


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"z_loss": -0.1}, r"z_loss must be a finite number not below 0, got -0\.1"),
        ({"z_loss": NAN}, "z_loss must be a finite number not below 0, got nan"),
        ({"z_loss": INF}, "z_loss must be a finite number not below 0, got inf"),
        ({"softcap": 0.0}, r"softcap must be a finite number above 0, or None for no cap, got 0\.0"),
        ({"softcap": -1}, "softcap must be a finite number above 0, or None for no cap, got -1"),
        ({"softcap": NAN}, "softcap must be a finite number above 0, or None for no cap, got nan"),
        ({"padded_classes": -1}, "padded_classes must not be below 0, got -1"),
        ({"padded_classes": 5}, r"padded_classes=5 leaves no class of logits of shape \(2, 5\)"),
        ({"padded_classes": 1, "weight": WEIGHT}, r"weight has shape \(5,\), expected \(4,\), one number a class"),
        ({"all_ignored": "raise"}, "all_ignored must be one of nan, zero, got 'raise'"),
        (
            {"gradient_in_forward": True, "reduction": "none"},
            "gradient_in_forward needs one number to take the gradient of: use reduction='mean' or 'sum'",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        cross_entropy(LOGITS, LABELS, **words)
    assert "\n" not in str(raised.value)
    if "shape" not in message:
        with pytest.raises(ValueError, match=message):
            LabelSmoothingCrossEntropy(**words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"z_loss": "0.1"}, "z_loss must be a number, got str"),
        ({"z_loss": torch.tensor(0.1)}, "z_loss must be a number, got Tensor"),
        ({"softcap": True}, "softcap must be a number, got bool"),
        ({"padded_classes": 1.0}, "padded_classes must be an integer, got float"),
        (
            {"target": torch.zeros(2, 5, dtype=torch.float8_e4m3fn)},
            "a soft target must be a floating-point tensor, got .*float8",
        ),
    ],
)
def test_a_wrong_type_is_a_type_error(words: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        cross_entropy(**{"input": LOGITS, "target": LABELS, **words})


@pytest.mark.parametrize("word", ["inplace", "gradient_in_forward"])
def test_parts_have_no_single_gradient_to_compute_or_write(word: str) -> None:
    with pytest.raises(ValueError, match="the parts of the loss each have a gradient: drop inplace and gradient_in_f"):
        loss_parts(LOGITS, LABELS, **{word: True})
