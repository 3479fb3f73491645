"""Linear layer and loss inside what training scripts are made of: second backwards, scalers, checkpoints, compilers.

Gradients are made in the forward, so everything that comes later (what is pushed, how often, into what) is tried here. The
judge is the same with all the logits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from agree import BFLOAT16, FLOAT32, FLOAT64, LossAndGradient, agree, agree_result

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812  after the skip; the name the whole world uses
from torch import nn  # noqa: E402
from torch._functorch import config as compiler_settings  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from labelsmooth.losses import (  # noqa: E402  # noqa: E402
    LinearLabelSmoothingCrossEntropy,
    _linear,
    _linear_autograd,
    _linear_operators,
    _linear_products,
    _options,
    cross_entropy,
    linear_cross_entropy,
)

N, D, K = 12, 5, 9
PRIOR = torch.arange(1.0, K + 1) / 45


def draw(seed: int, *shape: int, dtype: Any = torch.float64) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def layer(dtype: Any = torch.float64, rows: int = N) -> list[Any]:
    """Give hidden, weight and bias that require a gradient."""
    return [draw(n, *shape, dtype=dtype).requires_grad_() for n, shape in enumerate([(rows, D), (K, D), (K,)])]


def labels(rows: int = N) -> Any:
    y = torch.randint(K, (rows,), generator=torch.Generator().manual_seed(4))
    y[1] = -100
    return y


def fused(hidden: Any, head: Any, bias: Any, target: Any, **words: Any) -> Any:
    return linear_cross_entropy(
        hidden, head, target, linear_bias=bias, **{"chunk_rows": 4, "label_smoothing": 0.1, **words}
    )


def unfused(hidden: Any, head: Any, bias: Any, target: Any, **words: Any) -> Any:
    return cross_entropy(F.linear(hidden, head, bias), target, **{"label_smoothing": 0.1, **words})


def vector(gradients: Any) -> Any:
    return torch.cat([g.detach().flatten() for g in gradients])


def once(way: Callable[..., Any], tensors: list[Any], *, push: float = 1.0, **words: Any) -> LossAndGradient:
    value = way(*tensors, labels(len(tensors[0])), **words)
    total = (value * push).sum()
    return LossAndGradient(value.detach(), vector(torch.autograd.grad(total, tensors)))


def runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Write down which gradients each run over the chunks was asked for."""
    seen = []
    plain = _linear.losses_and_gradients

    def noted(head: Any, label: Any, charge: Any, up: Any = None, wanted: Any = _linear.NOTHING, **more: Any) -> Any:
        seen.append(tuple(wanted))
        return plain(head, label, charge, up, wanted, **more)

    for module in (_linear_autograd, _linear_operators):
        monkeypatch.setattr(module, "losses_and_gradients", noted)
    return seen


# What is pushed, and how often ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_a_second_and_a_third_backward_give_the_same_again(reduction: str, dtype: Any) -> None:
    tensors = layer(dtype)
    loss = fused(*tensors, labels(), reduction=reduction).sum()
    expected = once(fused, tensors, reduction=reduction).gradient
    for push in (1.0, 3.0, 1.0):
        loss.mul(push).backward(retain_graph=True)
        got = vector(x.grad for x in tensors)
        agree(got, (push * expected).to(dtype), budget=1e-14 if dtype == torch.float64 else BFLOAT16, what=f"{push}")
        for x in tensors:
            x.grad.fill_(7.0)  # what becomes of .grad is nobody else's business
            x.grad = None
    loss.backward()
    agree(vector(x.grad for x in tensors), expected, budget=0, what="the last")
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_backwards_of_a_kept_graph_add_up_in_grad() -> None:
    tensors = layer()
    loss = fused(*tensors, labels())
    for _ in range(3):
        loss.backward(retain_graph=True)
    agree(vector(x.grad for x in tensors), 3 * once(unfused, tensors).gradient, budget=FLOAT64, what="three times")


def test_gradients_of_two_parts_of_the_layer_may_be_asked_for_one_after_the_other() -> None:
    hidden, head, bias = tensors = layer()
    loss = fused(*tensors, labels())
    (first,) = torch.autograd.grad(loss, head, retain_graph=True)
    rest = torch.autograd.grad(2 * loss, (hidden, bias))
    expected = [torch.autograd.grad(unfused(*tensors, labels()), x)[0] for x in tensors]
    agree(vector([rest[0], first, rest[1]]), vector([2 * expected[0], expected[1], 2 * expected[2]]), budget=FLOAT64,
          what="one after the other")  # fmt: skip


def test_without_a_kept_graph_the_gradient_is_handed_over_and_not_copied() -> None:
    tensors, seen = layer(), []
    loss = fused(*tensors, labels())
    kept = loss.grad_fn.saved_tensors[1].data_ptr()
    loss.backward()
    assert tensors[1].grad.data_ptr() == kept
    again = fused(*tensors, labels())
    kept = again.grad_fn.saved_tensors[1].data_ptr()
    seen.extend(torch.autograd.grad(again, tensors, retain_graph=True))
    assert all(x.data_ptr() != kept for x in seen)


def test_where_torch_cannot_say_whether_a_graph_is_kept_it_is_taken_for_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_linear_autograd, "_kept", lambda: True)
    tensors = layer()
    agree_result(once(fused, tensors, push=3.0), once(unfused, tensors, push=3.0), budget=FLOAT64)


def test_a_mask_as_large_as_the_logits_is_spread_over_a_chunk_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its prior would be four times as large as the mask."""
    seen: list[int] = []
    plain = _options._over_its_sum
    monkeypatch.setattr(_options, "_over_its_sum", lambda free, keep: (seen.append(len(free)), plain(free, keep))[1])
    tensors, y = layer(), labels()
    allowed = torch.ones(N, K, dtype=torch.bool)
    allowed[::2, 3] = y[::2] == 3
    allowed[3:6, 1:4] &= y[3:6, None] == torch.arange(1, 4)
    words = {"class_mask": allowed}
    got = once(fused, tensors, **words)
    assert max(seen) <= 4
    assert sum(seen) == N - 1  # a row is ignored
    agree_result(got, once(unfused, tensors, **words), budget=FLOAT64)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_what_is_pushed_is_multiplied_in(reduction: str) -> None:
    tensors = layer()
    for push in (-2.5, 0.0, 1e30):
        words = {"push": push, "reduction": reduction}
        got, expected = once(fused, tensors, **words), once(unfused, tensors, **words)
        scale = max(abs(push), 1.0)
        agree(got.gradient / scale, expected.gradient / scale, budget=FLOAT64, what=f"{push}")


@pytest.mark.parametrize("fast", [False, True], ids=["this processor", "one that multiplies float16"])
def test_a_scaler_saves_the_gradient_from_underflow(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """1/N and float16 come together only after the scale has been multiplied in."""
    monkeypatch.setattr(_linear_products, "FAST_ON_CPU", frozenset([torch.float16]) if fast else frozenset())
    rows = 65536
    hidden = torch.ones(rows, 1, dtype=torch.float16).requires_grad_()
    head = (torch.arange(4.0) / 4).reshape(4, 1).half().requires_grad_()
    target = torch.zeros(rows, dtype=torch.long)
    for reduction, scale, words in (
        ("mean", 65536.0, {}),
        ("none", 1.0, {}),
        ("sum", 2.0**26, {"normalizer": 2.0**26}),
    ):
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        value = linear_cross_entropy(hidden, head, target, label_smoothing=0.1, reduction=reduction, **words)
        scaler.scale(value).sum().backward()
        exact = head.detach().double().squeeze().softmax(0) - torch.tensor([0.925, 0.025, 0.025, 0.025]).double()
        agree(hidden.grad[:3], (exact @ head.detach().double()).expand(3, 1), budget=2.0**-11, what=reduction,
              any_dtype=True)  # fmt: skip
        hidden.grad = head.grad = None


def test_a_scaler_finds_an_infinite_gradient_and_skips_the_step() -> None:
    tensors = [x.detach().requires_grad_() for x in layer(torch.float32)]
    before = tensors[1].detach().clone()
    optimiser, scaler = torch.optim.SGD(tensors, lr=0.1), torch.amp.GradScaler("cpu", init_scale=3e38)
    scaler.scale(fused(*tensors, labels(), reduction="sum") * 1e3).backward()
    scaler.step(optimiser)
    scaler.update()
    agree(tensors[1], before, budget=0, what="the weight, untouched")
    assert scaler.get_scale() < 3e38


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_micro_batches_divided_by_all_tokens_add_up_to_the_whole_batch(dtype: Any) -> None:
    tensors, y = layer(dtype), labels()
    whole, tokens = once(fused, tensors), (y != -100).sum()
    total = torch.zeros((), dtype=dtype)
    for rows in torch.arange(N).split(5):
        part = fused(tensors[0][rows], *tensors[1:], y[rows], reduction="sum", normalizer=tokens)
        part.backward()
        total += part.detach()
    budget = FLOAT64 if dtype == torch.float64 else FLOAT32
    agree_result(LossAndGradient(total, vector(x.grad for x in tensors)), whole, budget=budget)


# Frozen, tied ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_what_is_frozen_costs_no_product_and_gets_no_gradient(reduction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = runs(monkeypatch)
    whole = layer()
    gradients = torch.autograd.grad(unfused(*whole, labels(), reduction=reduction).sum(), whole)
    expected = dict(zip("hwb", gradients, strict=True))
    for trained in ("h", "w", "b", "hw", "wb", "hb"):
        tensors = dict(zip("hwb", layer(), strict=True))
        for name, x in tensors.items():
            x.requires_grad_(name in trained)
        seen.clear()
        fused(*tensors.values(), labels(), reduction=reduction).sum().backward()
        assert seen[-1] == tuple(name in trained for name in "hwb")
        for name, x in tensors.items():
            if name in trained:
                agree(x.grad, expected[name], budget=FLOAT64, what=f"{name} of {trained}")
            else:
                assert x.grad is None


def test_without_a_gradient_to_compute_there_is_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = runs(monkeypatch)
    tensors = layer()
    with torch.no_grad():
        got = fused(*tensors, labels())
    assert seen == [(False, False, False)]
    assert not got.requires_grad
    agree(got, unfused(*tensors, labels()), budget=FLOAT64, what="the loss")


def test_a_head_tied_to_the_embedding_gets_both_gradients() -> None:
    tokens, following = labels().clamp(min=0), labels().roll(1)
    results = []
    for way in (fused, unfused):
        table = draw(1, K, D).requires_grad_()
        value = way(table[tokens].tanh(), table, None, following)
        value.backward()
        results.append(LossAndGradient(value.detach(), table.grad))
    agree_result(*results, budget=FLOAT64)


# Second derivatives, transforms, learned words ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradients_of_gradients_agree_with_finite_differences(reduction: str) -> None:
    tensors = [x.detach()[:3].requires_grad_() for x in layer()]
    y = torch.tensor([0, 2, 1])
    words = {"reduction": reduction, "z_loss": 0.01, "softcap": 5.0, "validate": False}
    for loss in (lambda *x: fused(*x, y, **words), lambda h, w, b: fused(h, w, b, y, padded_classes=0, chunk_rows=2)):
        assert torch.autograd.gradcheck(loss, tensors)
        assert torch.autograd.gradgradcheck(loss, tensors)


@pytest.mark.parametrize("by_row", [False, True], ids=["no mask", "a mask by row"])
def test_a_gradient_penalty_is_that_of_the_unfused_loss(by_row: bool) -> None:
    found, words = [], {}
    if by_row:
        words = {
            "class_mask": (torch.arange(K) > 2)
            | (torch.arange(K) == labels()[:, None])
            | (torch.arange(N) % 2)[:, None].bool()
        }
    for way in (fused, unfused):
        tensors = layer()
        gradients = torch.autograd.grad(way(*tensors, labels(), **words), tensors, create_graph=True)
        found.append(vector(torch.autograd.grad(sum(g.square().sum() for g in gradients), tensors)))
    agree(*found, budget=FLOAT64, what="d |g|²")


def test_many_gradients_at_once_are_each_by_itself() -> None:
    tensors = layer()
    pushes = torch.eye(N, dtype=torch.float64)
    got = torch.autograd.grad(fused(*tensors, labels(), reduction="none"), tensors[1], pushes, is_grads_batched=True)[0]
    expected = torch.autograd.functional.jacobian(
        lambda w: unfused(tensors[0], w, tensors[2], labels(), reduction="none"), tensors[1]
    )
    agree(got, expected, budget=FLOAT64, what="row by row")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forward mode loads what torch itself deprecates
def test_func_transforms_and_forward_mode_go_through_all_the_logits() -> None:
    tensors = [x.detach() for x in layer()]
    y = labels().clamp(min=0)

    def loss(way: Any, h: Any, w: Any) -> Any:
        return way(h, w, tensors[2], y)

    for transform in (torch.func.grad, torch.func.jacrev, torch.func.jacfwd, torch.func.hessian):
        got, expected = (transform(partial(loss, way), argnums=1)(*tensors[:2]) for way in (fused, unfused))
        agree(got, expected, budget=FLOAT64, what=transform.__name__)
    many = torch.func.vmap(lambda h: fused(h, *tensors[1:], y, validate=False))(torch.stack([tensors[0], -tensors[0]]))
    agree(many, torch.stack([unfused(s * tensors[0], *tensors[1:], y) for s in (1, -1)]), budget=FLOAT64, what="vmap")


@pytest.mark.parametrize("name", ["label_smoothing", "prior", "weight", "row_weight", "target"])
def test_what_is_learned_beside_the_layer_gets_its_gradient(name: str) -> None:
    learned = {"label_smoothing": torch.tensor(0.2, dtype=torch.float64), "prior": PRIOR.double(),
               "weight": torch.arange(1.0, K + 1).double(), "row_weight": torch.arange(1.0, N + 1).double(),
               "target": draw(5, N, K).softmax(-1)}  # fmt: skip
    results = []
    for way in (fused, unfused):
        tensors = [*layer(), learned[name].detach().clone().requires_grad_()]
        words = {} if name == "target" else {name: tensors[3]}
        value = way(*tensors[:3], tensors[3] if name == "target" else labels(), **words)
        value.backward()
        results.append(LossAndGradient(value.detach(), vector(x.grad for x in tensors)))
    agree_result(*results, budget=FLOAT64, what=name)


def test_changing_a_tensor_between_forward_and_backward_is_autograds_own_error() -> None:
    for change in (1, 2):
        tensors = layer()
        loss = fused(*tensors, labels())
        with torch.no_grad():
            tensors[change].add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


# Checkpoints, autocast, threads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_checkpointing_recomputes_loss_and_gradients(reentrant: bool, reduction: str) -> None:
    tensors = layer()
    expected = once(unfused, tensors, reduction=reduction)
    value = checkpoint(partial(fused, reduction=reduction), *tensors, labels(), use_reentrant=reentrant)
    value.sum().backward()
    got = LossAndGradient(value.detach(), vector(x.grad for x in tensors))
    agree_result(got, expected, budget=FLOAT64, what=f"{reduction}, reentrant={reentrant}")


def test_saved_gradients_may_come_back_from_elsewhere() -> None:
    tensors = layer()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: x.numpy(force=True).copy(), torch.from_numpy):
        loss = fused(*tensors, labels())
    loss.mul(2).backward()
    agree(vector(x.grad for x in tensors), once(unfused, tensors, push=2.0).gradient, budget=FLOAT64, what="hooks")


@pytest.mark.parametrize("fast", [False, True], ids=["this processor", "one that multiplies bfloat16"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_under_autocast_the_loss_is_float32_and_the_gradients_are_the_parameters(
    reduction: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_linear_products, "FAST_ON_CPU", frozenset([torch.bfloat16]) if fast else frozenset())
    tensors = layer(torch.float32)
    body = nn.Linear(D, D, bias=False)
    with torch.no_grad():
        body.weight.copy_(torch.eye(D))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = body(tensors[0])
        value = fused(hidden, *tensors[1:], labels(), reduction=reduction)
        assert hidden.dtype == torch.bfloat16
    rounded = [hidden.detach().double().requires_grad_(), *(x.detach().double().requires_grad_() for x in tensors[1:])]
    truth = once(unfused, rounded, reduction=reduction)
    assert value.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):  # a backward inside is none of autocast's business
        value.sum().backward()
    assert [x.grad.dtype for x in tensors] == [torch.float32] * 3
    # Where bfloat16 is slow nothing but the hidden states, and so their gradient, is rounded to it.
    budget = 8 * BFLOAT16 if fast else 4 * FLOAT32
    agree(value, truth.loss, budget=budget, what="loss", any_dtype=True)
    got = vector(x.grad for x in tensors)
    agree(got[N * D :], truth.gradient[N * D :], budget=budget, what="weight and bias", any_dtype=True)
    agree(got[: N * D], truth.gradient[: N * D], budget=8 * BFLOAT16, what="hidden", any_dtype=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole = once(fused, tensors, reduction=reduction)
    wide = once(unfused, [x.detach().double().requires_grad_() for x in tensors], reduction=reduction)
    agree(whole.gradient, wide.gradient, budget=budget, what="from hidden states in float32", any_dtype=True)


def test_a_backward_may_run_in_another_thread_than_the_forward() -> None:
    for reduction in ("mean", "none"):
        tensors = layer()
        loss = fused(*tensors, labels(), reduction=reduction).sum()
        thread = threading.Thread(target=loss.backward)
        thread.start()
        thread.join()
        agree(
            vector(x.grad for x in tensors),
            once(fused, tensors, reduction=reduction).gradient,
            budget=0,
            what=reduction,
        )


def test_the_logits_are_never_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor that torch makes, forward or backward, is larger than the weight: with 4,096 rows the logits would be."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **kwargs or {})
            for x in result if isinstance(result, tuple | list) else [result]:
                if isinstance(x, torch.Tensor):
                    type(self).size = max(type(self).size, x.untyped_storage().nbytes())
            return result

    # Looking at every tensor is a reason to leave the chunks, were it not for these two lines.
    monkeypatch.setattr("labelsmooth.losses._linear_loss.nobody_listens", lambda: True)
    monkeypatch.setattr(_linear_autograd, "needs_plain_torch", lambda _: False)
    rows, y = 4096, labels(4096)
    for way, least, most in ((fused, 0, rows * D), (unfused, rows * K, 10**9)):
        hidden, head, bias = layer(rows=rows)
        Largest.size = 0
        more = {"chunk_rows": 64} if way is fused else {}
        for reduction in ("mean", "none"):
            with Largest():
                way(hidden, head, bias, y, reduction=reduction, **more).sum().backward()
        assert 8 * least <= Largest.size <= 8 * most, way.__name__


# Compilers and exporters ----------------------------------------------------------------------------------------------

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "none": {"reduction": "none"},
    "prior, rows": {"prior": PRIOR, "row_weight": torch.arange(1.0, 100), "z_loss": 0.01},
    "mask, softcap": {"class_mask": torch.arange(K) != 8, "softcap": 9.0, "reduction": "sum"},
    "padded, KL": {"padded_classes": 2, "convention": "espnet"},
    "weights": {"weight": torch.arange(1.0, K + 1), "weighting": "nll"},
    "learned ε": {"label_smoothing": torch.tensor(0.2, dtype=torch.float64, requires_grad=True)},
    "sizes chosen": {"chunk_rows": None},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own are not ours to fix
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dynamic", [False, True])
@compiler_settings.patch(donated_buffer=False)  # else torch refuses the second backward of what it has compiled
def test_it_compiles_without_a_graph_break(variant: str, dynamic: bool) -> None:
    def loss(h: Any, w: Any, b: Any, y: Any) -> Any:
        words = dict(VARIANTS[variant])
        if "row_weight" in words:
            words["row_weight"] = words["row_weight"][: h.shape[0]]
        return fused(h.tanh(), w, b, y, **words)

    torch.compiler.reset()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for rows in (N, 7):
        tensors, y = layer(rows=rows), labels(rows).clamp(max=6)
        results = []
        for way in (compiled, loss):
            value = way(*tensors, y)
            gradients = torch.autograd.grad(value.sum(), tensors, retain_graph=True)
            again = torch.autograd.grad(2 * value.sum(), tensors)
            agree(vector(again), 2 * vector(gradients), budget=1e-14, what="pushed again")
            results.append(LossAndGradient(value.detach(), vector(gradients)))
        agree_result(*results, budget=FLOAT64, what=f"{variant}, {rows}")
        with torch.no_grad():
            agree(compiled(*tensors, y), results[1].loss, budget=FLOAT64, what="without a gradient")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_module_compiles_with_inductor_and_frozen_parts(dtype: Any) -> None:
    loss = LinearLabelSmoothingCrossEntropy(0.1, prior=PRIOR)
    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True)
    for frozen in (1, 0):
        tensors = layer(dtype)
        tensors[frozen].requires_grad_(False)
        results = []
        for way in (compiled, loss):
            for x in tensors:
                x.grad = None
            value = way(*tensors[:2], labels(), linear_bias=tensors[2])
            value.backward()
            grads = [x.grad for x in tensors if x.requires_grad]
            assert [g.dtype for g in grads] == [dtype] * 2
            results.append(LossAndGradient(value.detach(), vector(grads).float()))
        assert tensors[frozen].grad is None
        agree_result(*results, budget=FLOAT32 if dtype == torch.float32 else BFLOAT16)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchs_own_check_of_operators_finds_nothing() -> None:
    from labelsmooth.losses._linear_products import Head, Plan
    from labelsmooth.losses._options import Charge

    head = Head(*layer(), Plan(K, 1, torch.float64, 4))
    y, keep = labels().clamp(min=0), labels() >= 0
    flat = _linear_operators._flat(head, y, Charge(0.9, 0.1, PRIOR.double(), keep=keep))
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(torch.ops.labelsmooth.linear_losses.default, flat, test_utils=tests)
    up = torch.full((N,), 0.5, dtype=torch.float64)
    for wanted in ([True, True, True], [False, True, False]):
        torch.library.opcheck(torch.ops.labelsmooth.linear_total.default, (up, None, wanted, *flat), test_utils=tests)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_exported_program_runs_without_us_and_computes_the_same() -> None:
    class Judged(nn.Module):
        def forward(self, h: Any, w: Any, y: Any) -> Any:
            return linear_cross_entropy(h, w, y, label_smoothing=0.1)

    hidden, head, _ = layer()
    program = torch.export.export(Judged(), (hidden, head, labels()))
    assert "labelsmooth" not in str(program.graph)
    agree(
        program.module()(hidden, head, labels()), unfused(hidden, head, None, labels()), budget=FLOAT64, what="exported"
    )
