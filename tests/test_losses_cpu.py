"""The native CPU kernel against plain torch in float64: every dtype, every option, every instruction set."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from agree import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, LossAndGradient, agree, agree_result

torch = pytest.importorskip("torch")

from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

from charges import NAMES, draw, exact, labels, shares, variants  # noqa: E402
from labelsmooth.losses import _cpu as library  # noqa: E402
from labelsmooth.losses import _eager, _kernels, cross_entropy  # noqa: E402
from labelsmooth.losses._options import Charge  # noqa: E402

if not library.available():
    pytest.skip(f"the native kernel: {library.described()}", allow_module_level=True)

PATHS = [number for number in range(len(library.PATHS)) if library.LIBRARY.labelsmooth_paths() >> number & 1]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# float32 sums: a few roundings of the result. Gradients in half precision: the one rounding.
LOSS = dict.fromkeys(DTYPES, FLOAT32) | {torch.float64: FLOAT64}
GRADIENT = {torch.float32: FLOAT32, torch.float64: FLOAT64, torch.bfloat16: BFLOAT16, torch.float16: FLOAT16}
BLOCK = 2048  # classes that the kernel takes at once
WIDTHS = [1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 4099, 3 * BLOCK + 5]


@pytest.fixture(params=PATHS, ids=[library.PATHS[number] for number in PATHS])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make every call take one instruction set."""
    monkeypatch.setattr(library, "PATH", request.param + 1)
    return library.PATHS[request.param]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Use two threads, so that rows are shared out wherever there are enough of them."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def kernel(logits: Any, label: Any, charge: Charge, up: Any) -> LossAndGradient:
    z = logits.detach().requires_grad_()
    assert _kernels.serves(z, label, charge)
    loss = _kernels.row_losses(z, label, charge)
    (gradient,) = torch.autograd.grad(loss, z, up)
    assert gradient.dtype == logits.dtype
    assert gradient.shape == logits.shape
    return LossAndGradient(loss, gradient)


def at_once(logits: Any, label: Any, charge: Charge, up: Any) -> LossAndGradient:
    return LossAndGradient(*library.forward_and_backward(up, logits, label, charge))


def check(logits: Any, label: Any, charge: Charge, *, up: Any = None, what: str) -> None:
    """Compare the kernel's loss and gradient with float64; in both forms, two calls and one."""
    sums = _eager.wide(logits.dtype)
    up = torch.ones(logits.shape[:-1], dtype=sums) if up is None else up
    truth, ours = exact(logits, label, charge, up), kernel(logits, label, charge, up)
    agree(ours.loss, truth.loss, budget=LOSS[logits.dtype], what=f"{what}: loss", any_dtype=True)
    agree(ours.gradient, truth.gradient, budget=GRADIENT[logits.dtype], what=f"{what}: gradient", any_dtype=True)
    once = at_once(logits, label, charge, up)
    agree(once.loss, ours.loss, budget=0, what=f"{what}: loss in one call")
    # p from s in the sums' dtype or in double: the last bit may differ.
    agree(once.gradient, truth.gradient, budget=GRADIENT[logits.dtype], what=f"{what}: in one call", any_dtype=True)


# Against float64 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradient_are_those_of_float64(path: str, name: str, dtype: Any) -> None:
    for classes in (2, 17, 130):
        label, charge = variants(5, classes, dtype)[name]
        up = draw(8, 5, dtype=_eager.wide(dtype), scale=1.0)
        if charge.minus_floor:  # the sums of `_eager.floor` are plain torch's on both sides
            truth, ours = (f(draw(0, 5, classes, dtype=dtype), label, charge, up) for f in (exact, kernel))
            agree_result(ours, truth, budget=GRADIENT[dtype], what=name)
        else:
            check(draw(0, 5, classes, dtype=dtype), label, charge, up=up, what=f"{name}, {classes} classes, {path}")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("classes", [1024, 4099])
def test_loss_and_gradient_in_one_call_may_go_to_memory_that_is_there(path: str, dtype: Any, classes: int) -> None:
    """Four megabytes of it, from where the gradient is written past the caches, at addresses that no vector begins at."""
    rows = 4 * 2**20 // (classes * dtype.itemsize) + 1
    torch.manual_seed(classes)
    z = (torch.randn(classes) * 4 + torch.arange(rows)[:, None] % 7 * torch.arange(classes) / 40).to(dtype)
    label, charge, up = torch.arange(rows) % classes, Charge(0.9, 0.1), torch.rand(rows, dtype=_eager.wide(dtype))
    memory = torch.empty(rows * classes + 1, dtype=dtype)
    gradient, sums = memory[1:].view(rows, classes), up.new_empty(4, rows)
    library.call(library.BOTH, z, label, charge, loss=sums[3], stats=sums[:3], gradient=gradient, up=up)
    some = slice(None, None, 29)
    truth = exact(z[some], label[some], charge, up[some])
    agree(sums[3][some], truth.loss, budget=LOSS[dtype], what=f"loss, {path}", any_dtype=True)
    agree(gradient[some], truth.gradient, budget=GRADIENT[dtype], what=f"gradient, {path}", any_dtype=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_number_of_classes_ends_where_it_should(path: str, dtype: Any) -> None:
    for classes in WIDTHS:
        label = torch.tensor([0, classes - 1, classes // 2])
        z, prior = draw(0, 3, classes, dtype=dtype), shares(1, classes).to(_eager.wide(dtype))
        check(z, label, Charge(0.9, 0.1), what=f"{classes} classes, {path}")
        check(z, label, Charge(0.9, 0.1, prior=prior), what=f"{classes} classes with a prior, {path}")


def test_the_error_is_not_larger_than_that_of_torch(path: str) -> None:
    for classes in (10, 1000, 32000):
        z, y = draw(0, 4, classes), labels(1, 4, classes)
        up = torch.ones(4)
        truth = exact(z, y, Charge(0.9, 0.1), up)
        plain = z.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(plain, y, label_smoothing=0.1, reduction="none")
        loss.sum().backward()
        ours = kernel(z, y, Charge(0.9, 0.1), up)
        # Beyond torch's own error, one rounding of float32.
        agree_result(ours, truth, plain=LossAndGradient(loss, plain.grad), budget=1.2e-7, what=f"{classes}, {path}")


def test_the_paths_agree_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    y, charge = variants(6, 333, torch.float32)["mask by row"]
    results = []
    for number in PATHS:
        monkeypatch.setattr(library, "PATH", number + 1)
        results.append(kernel(draw(0, 6, 333), y, charge, torch.ones(6)))
    assert len(results) == len(PATHS)
    for other in results[1:]:
        agree_result(other, results[0], budget=FLOAT32, what="another instruction set")


def test_exp_is_within_two_units_over_its_range() -> None:
    lowest = -87.33654
    x = np.unique(np.concatenate([np.linspace(lowest, 0, 400_001), -np.logspace(-30, 1.9, 50_000)])).astype(np.float32)
    x = np.ascontiguousarray(x[x >= np.float32(lowest)])
    truth = np.exp(x.astype(np.float64))
    unit = np.spacing(truth.astype(np.float32)).astype(np.float64)
    for number in PATHS:
        y = exp(x, number)
        assert np.max(np.abs(y - truth) / unit) <= 2, library.PATHS[number]
        below = exp(np.array([-87.4, -88, -104, -1e4, -3e38, -np.inf, np.nan, 0], np.float32), number)
        agree(below, [0, 0, 0, 0, 0, 0, np.nan, 1], budget=0, what="below the range", nan_agrees=True)


def exp(x: np.ndarray, number: int) -> np.ndarray:
    import ctypes

    y = np.empty_like(x)
    library.LIBRARY.labelsmooth_exp(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data),
                                    ctypes.c_int64(x.size), ctypes.c_int64(number))  # fmt: skip
    return y


@pytest.mark.parametrize("part", ["a", "z", "up", "label"])
def test_a_planted_error_is_seen(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = library.call

    def off(task: int, z: Any, label: Any, charge: Charge, **rest: Any) -> None:
        if part == "a":
            charge = charge._replace(label=charge.label + 1e-5)
        if part == "z":
            z = z + torch.linspace(0, 1e-5, z.shape[-1])
        if part == "label":
            label = label.flip(0)
        if part == "up" and rest.get("up") is not None:
            rest["up"] = rest["up"] * (1 + 1e-5)
        real(task, z, label, charge, **rest)

    monkeypatch.setattr(library, "call", off)
    with pytest.raises(AssertionError, match="differ"):
        check(draw(0, 5, 20), torch.arange(5), Charge(0.9, 0.1), what="planted")


# Rows that break others -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_wide_gaps_and_large_logits_stay_exact(path: str, dtype: Any) -> None:
    rows = [[0.0, 200, 0, 0], [300, 0, -300, 1], [1e4, -1e4, 9990, 0], [-1e4, -1e4, -1e4, -1e4]]
    z = torch.tensor(rows, dtype=torch.float64).to(dtype)
    for y in range(4):
        check(z, torch.full((4,), y), Charge(0.9, 0.1), what=f"label {y}, {path}")
    loss = cross_entropy(z[:1], torch.tensor([1]), label_smoothing=0.1)
    agree(loss, 15.0, budget=FLOAT32, what="0, 200, 0, 0", any_dtype=True)


@pytest.mark.parametrize("general", [False, True])
def test_an_offset_of_all_logits_costs_a_float64_loss_nothing(path: str, general: bool) -> None:
    z = draw(3, 4, 3 * BLOCK + 5, dtype=torch.float64)
    z += torch.arange(z.shape[1]) / 1000  # the maximum grows from block to block
    near, y = (z + 1e6) - 1e6, labels(3, 4, z.shape[1])  # what is left of z beside 1e6
    charge = Charge(0.9, 0.1, shares(4, z.shape[1]).double() if general else None)
    up = torch.ones(4, dtype=torch.float64)
    agree_result(kernel(z + 1e6, y, charge, up), kernel(near, y, charge, up), budget=FLOAT64, what=path)


def test_the_largest_numbers_of_float16_do_not_overflow(path: str) -> None:
    z = torch.tensor([[65504.0, -65504.0, 0.0, 65504.0]], dtype=torch.float16)
    check(z, torch.tensor([1]), Charge(0.9, 0.1), what=path)


@pytest.mark.parametrize("classes", [4096, 131072])
def test_float16_with_many_classes_is_finite(path: str, classes: int) -> None:
    z = draw(0, 2, classes, dtype=torch.float16, scale=4.0)
    check(z, torch.tensor([0, classes - 1]), Charge(0.9, 0.1), what=path)
    assert torch.isfinite(cross_entropy(z, torch.tensor([0, 1]), label_smoothing=0.1))


def test_an_unmasked_infinity_is_an_infinite_loss_and_a_masked_one_is_not(path: str) -> None:
    z = draw(0, 3, 70)
    z[:, 5], z[1, :64] = -torch.inf, -torch.inf
    y = torch.tensor([1, 69, 2])
    loss = cross_entropy(z, y, label_smoothing=0.1, reduction="none")
    assert loss.tolist() == [torch.inf] * 3
    agree(
        loss, torch.nn.functional.cross_entropy(z, y, label_smoothing=0.1, reduction="none"), budget=0, what="as torch"
    )
    finite = cross_entropy(z[[0, 2]], y[[0, 2]], label_smoothing=0.1, class_mask="finite", reduction="none")
    assert torch.isfinite(finite).all()
    allowed = ~torch.isneginf(z)
    prior = allowed / allowed.sum(-1, keepdim=True)
    check(z[[0, 2]], y[[0, 2]], Charge(0.9, 0.1, prior=prior[[0, 2]], allowed=allowed[[0, 2]]), what=path)
    # Where it carries no mass, an infinity far below leaves the loss alone.
    check(z[[0, 2]], y[[0, 2]], Charge(1.0, 0.0), what=f"no mass, {path}")


def test_a_block_of_infinities_comes_before_the_first_number(path: str) -> None:
    z = torch.full((1, 2 * BLOCK + 10), -torch.inf)
    z[0, -3:] = torch.tensor([1.0, 2.0, 3.0])
    check(z, torch.tensor([2 * BLOCK + 9]), Charge(1.0, 0.0), what=path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [0, 20, BLOCK + 1])
def test_nan_and_infinity_reach_the_loss_and_the_gradient_of_their_row(path: str, value: float, at: int) -> None:
    y, up = torch.tensor([1, 1]), torch.ones(2)
    for dtype in (torch.float32, torch.bfloat16):
        for prior in (None, shares(1, BLOCK + 40).float()):
            z = draw(0, 2, BLOCK + 40, dtype=dtype)
            z[0, at] = value
            charge = Charge(0.9, 0.1, prior)
            for result in (kernel(z, y, charge, up), at_once(z, y, charge, up)):
                assert torch.isnan(result.loss).tolist() == [True, False], path
                assert torch.isnan(result.gradient).all(-1).tolist() == [True, False]
    z = draw(0, 2, BLOCK + 40)
    z[0] = -torch.inf
    assert torch.isnan(kernel(z, torch.tensor([1, 1]), Charge(0.9, 0.1), torch.ones(2)).loss).tolist() == [True, False]


def test_a_nan_that_is_pushed_stays_one_whatever_its_bits(path: str) -> None:
    """To round it as a number would carry into the sign."""
    up = torch.tensor([0x7FFFFFFF, 0x3F800000], dtype=torch.int32).view(torch.float32)
    for prior in (None, shares(1, 100).float()):
        z, y, charge = draw(0, 2, 100, dtype=torch.bfloat16), torch.tensor([3, 3]), Charge(0.9, 0.1, prior)
        for result in (kernel(z, y, charge, up), at_once(z, y, charge, up)):
            assert torch.isnan(result.gradient).all(-1).tolist() == [True, False], path


def test_nan_in_an_ignored_row_leaves_loss_and_gradient_alone(path: str) -> None:
    z, y = draw(0, 4, 33), torch.tensor([3, -100, 5, -100])
    z[1], z[3] = torch.nan, -torch.inf
    for words in ({}, {"z_loss": 0.1}, {"softcap": 5.0}, {"prior": shares(1, 33).float()}):
        leaf = z.clone().requires_grad_()
        loss = cross_entropy(leaf, y, label_smoothing=0.1, **words)
        loss.backward()
        assert torch.isfinite(loss), path
        assert torch.isfinite(leaf.grad).all()
        assert leaf.grad[[1, 3]].abs().sum() == 0


def test_a_label_out_of_range_is_named_and_reads_nothing(path: str) -> None:
    z = draw(0, 300, 400)
    for wrong in (-1, 400, 2**62, -(2**62)):
        y = labels(0, 300, 400)
        y[250], y[17] = wrong, wrong
        with pytest.raises(ValueError, match=rf"label {wrong} of row 17 is out of range.*{path[:0]}"):
            cross_entropy(z, y, label_smoothing=0.1)
        quiet = cross_entropy(z, y, label_smoothing=0.1, reduction="none", validate=False)
        assert torch.isnan(quiet).nonzero().flatten().tolist() == [17, 250]


# Shapes and layouts ---------------------------------------------------------------------------------------------------


def layouts() -> dict[str, Callable[[], Any]]:
    return {
        "a single row": lambda: draw(0, 9),
        "one row": lambda: draw(0, 1, 9),
        "rows apart": lambda: draw(0, 8, 30)[::2, 3:20],
        "rows backwards in memory order": lambda: draw(0, 3, 4, 10).transpose(0, 1),
        "all but the last token": lambda: draw(0, 3, 5, 10)[:, :-1],
        "classes apart": lambda: draw(0, 10, 6).t(),
        "a picture": lambda: draw(0, 2, 7, 3, 4).movedim(1, -1),
        "one row repeated": lambda: draw(0, 1, 12).expand(5, 12),
        "four axes": lambda: draw(0, 2, 3, 4, 6),
        "four axes, apart": lambda: draw(0, 2, 3, 4, 6)[:, :, ::2],
    }


@pytest.mark.parametrize("name", list(layouts()))
def test_rows_are_found_wherever_they_lie(name: str) -> None:
    z = layouts()[name]()
    rows, K = z.shape[:-1], z.shape[-1]
    y = torch.arange(rows.numel()).reshape(rows) % K
    up = draw(1, *rows) if rows else torch.tensor(0.7)
    check(z, y, Charge(0.9, 0.1), up=up, what=name)
    own = shares(2, *z.shape).float()
    check(z, y, Charge(0.9, 0.1, prior=own, allowed=own > 0), up=up, what=f"{name}, prior")
    check(z, own, Charge(0.9, 0.1, prior=own.flip(-1)), up=up, what=f"{name}, soft")


def test_no_rows_are_left_to_plain_torch() -> None:
    z = torch.zeros(0, 5, requires_grad=True)
    loss = cross_entropy(z, torch.zeros(0, dtype=torch.int64), label_smoothing=0.1, reduction="sum")
    loss.backward()
    assert loss.item() == 0
    assert z.grad.shape == (0, 5)


def test_labels_priors_and_masses_may_lie_anyhow() -> None:
    z = draw(0, 6, 10)
    y, prior = labels(1, 12, 10)[::2], shares(2, 10, 6).t()
    prior = prior / prior.sum(-1, keepdim=True)
    a = draw(3, 12)[::2]
    check(z, y, Charge(a, torch.tensor(0.1).expand(6), prior=prior), what="strided")
    assert not y.is_contiguous()
    short = cross_entropy(z, y.contiguous(), label_smoothing=0.1)
    agree(cross_entropy(z, y, label_smoothing=0.1), short, budget=FLOAT32, what="labels apart")


# The short way --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_short_way_gives_what_the_long_way_gives(path: str, reduction: str, dtype: Any) -> None:
    z, y = draw(0, 7, 45, dtype=dtype), labels(1, 7, 45)
    y[2] = 44
    up = (
        torch.tensor(-0.25, dtype=_eager.wide(dtype))
        if reduction != "none"
        else draw(2, 14, dtype=_eager.wide(dtype))[::2]
    )
    for ignore in (-100, 44):
        results = []
        for short in (True, False):
            leaf = z.clone().requires_grad_()
            words = {} if short else {"weighting": "nll"}  # without weights it changes nothing but the way
            loss = cross_entropy(leaf, y, label_smoothing=0.1, reduction=reduction, ignore_index=ignore, **words)
            assert ("Plain" in repr(loss.grad_fn)) is short
            loss.backward(up)
            results.append(LossAndGradient(loss, leaf.grad))
        agree_result(results[0], results[1], budget=GRADIENT[dtype] if dtype != torch.float32 else 3e-7, what=path)


def test_the_mean_of_no_rows_is_nan_and_its_gradient_0() -> None:
    z = draw(0, 3, 5).requires_grad_()
    loss = cross_entropy(z, torch.full((3,), -100), label_smoothing=0.1)
    loss.backward()
    assert torch.isnan(loss)
    assert z.grad.abs().sum() == 0


def test_the_sum_does_not_depend_on_the_number_of_threads() -> None:
    z, y = draw(0, 700, 1000), labels(1, 700, 1000)
    losses = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        losses.append(cross_entropy(z, y, label_smoothing=0.1).item())
    assert len(set(losses)) == 1


# Autograd -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [{}, {"z_loss": 0.1}], ids=["short", "long"])
def test_a_second_backward_and_another_push_are_right(words: dict[str, Any]) -> None:
    z, y = draw(0, 5, 20).requires_grad_(), labels(1, 5, 20)
    loss = cross_entropy(z, y, label_smoothing=0.1, **words)
    (first,) = torch.autograd.grad(loss, z, retain_graph=True)
    (again,) = torch.autograd.grad(loss, z, retain_graph=True)
    (pushed,) = torch.autograd.grad(loss, z, torch.tensor(4.0))
    agree(again, first, budget=0, what="again")
    agree(pushed, 4 * first, budget=FLOAT32, what="pushed 4")


def test_a_scaled_float16_loss_does_not_lose_its_small_gradients() -> None:
    N, K = 4096, 50
    z, y = draw(0, N, K, dtype=torch.float16, scale=1.0), labels(1, N, K)
    leaf = z.clone().requires_grad_()
    (cross_entropy(leaf, y, label_smoothing=0.1) * 65536).backward()
    truth = exact(z, y, Charge(0.9, 0.1), torch.full((N,), 65536 / N))
    agree(leaf.grad, truth.gradient, budget=FLOAT16, what="65536 times", any_dtype=True)
    assert (leaf.grad == 0).float().mean() < 1e-3  # unscaled, most of them would be 0


@pytest.mark.parametrize("words", [{}, {"prior": True}, {"z_loss": 0.1, "softcap": 3.0}], ids=str)
def test_first_and_second_derivatives_pass_gradcheck(words: dict[str, Any]) -> None:
    z, y = draw(0, 3, 6, dtype=torch.float64).requires_grad_(), torch.tensor([0, 5, -100])
    words = {**words, **({"prior": shares(1, 6)} if "prior" in words else {})}
    for reduction in ("mean", "none"):

        def loss(x: Any, reduction: str = reduction) -> Any:
            return cross_entropy(x, y, label_smoothing=0.1, reduction=reduction, **words)

        assert gradcheck(loss, z, check_batched_grad=True)
        assert gradgradcheck(loss, z)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own, at first use
def test_function_transforms_forward_mode_and_fake_tensors_go_to_plain_torch() -> None:
    z, y = draw(0, 4, 6), torch.tensor([0, 1, 2, 3])

    def loss(x: Any) -> Any:
        return cross_entropy(x, y, label_smoothing=0.1)

    leaf = z.clone().requires_grad_()
    loss(leaf).backward()
    agree(torch.func.grad(loss)(z), leaf.grad, budget=FLOAT32, what="torch.func.grad")
    _, along = torch.func.jvp(loss, (z,), (z,))
    agree(along, (leaf.grad * z).sum(), budget=FLOAT32, what="jvp")
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(z, z)
        agree(torch.autograd.forward_ad.unpack_dual(loss(dual)).tangent, along, budget=FLOAT32, what="forward mode")
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = cross_entropy(mode.from_tensor(z), y, label_smoothing=0.1, validate=False)
        assert fake.shape == ()


def test_a_gradient_for_anything_but_the_logits_goes_to_plain_torch() -> None:
    z, y = draw(0, 3, 5), torch.tensor([0, 1, 2])
    for name, value in (
        ("label_smoothing", torch.tensor(0.1)),
        ("prior", torch.full((5,), 0.2)),
        ("weight", torch.ones(5)),
    ):
        words = {"label_smoothing": 0.1, name: value.requires_grad_()}
        cross_entropy(z.clone().requires_grad_(), y, **words).backward()
        assert value.grad is not None, name


def test_changing_what_was_saved_is_an_error_and_not_a_wrong_gradient() -> None:
    z, y = draw(0, 3, 5).requires_grad_(), torch.tensor([0, 1, 2])
    for words in ({}, {"prior": torch.full((5,), 0.2)}):
        logits = z * 1
        loss = cross_entropy(logits, y, label_smoothing=0.1, **words)
        words.get("prior", logits).detach().mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_threads_of_python_may_call_at_once() -> None:
    cases = [(draw(seed, 90, 900), labels(seed, 90, 900)) for seed in range(8)]

    def run(case: Any) -> LossAndGradient:
        leaf = case[0].clone().requires_grad_()
        loss = cross_entropy(leaf, case[1], label_smoothing=0.1)
        loss.backward()
        return LossAndGradient(loss.detach(), leaf.grad)

    alone = [run(case) for case in cases]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for got, expected in zip(pool.map(run, cases), alone, strict=True):
                agree_result(got, expected, budget=0, what="at once")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uniform", "mask by row", "soft, weighted, prior", "softcap, mask, z-loss"])
def test_the_operators_pass_opcheck(name: str) -> None:
    from labelsmooth.losses._kernel_operators import flattened

    label, charge = variants(4, 10, torch.float32)[name]
    operators = torch.ops.labelsmooth
    for logits in (draw(0, 4, 10), draw(0, 10, 4).t(), draw(0, 8, 12)[::2, :10]):
        given = (label, *flattened(charge))
        torch.library.opcheck(operators.row_losses.default, (logits.clone().requires_grad_(), *given))
        _, stats = operators.row_losses(logits, *given)
        torch.library.opcheck(operators.row_gradient.default, (torch.ones(4), stats, logits, *given))


@pytest.mark.slow
def test_compiled_it_is_the_kernel_and_the_same_numbers() -> None:
    z, y = draw(0, 6, 40), labels(1, 6, 40)

    def loss(x: Any) -> Any:
        return cross_entropy(x, y, label_smoothing=0.1)

    seen = []

    def backend(graph: Any, _: Any) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    torch.compile(loss, fullgraph=True, backend=backend)(z)
    assert any("row_losses" in target for target in seen)
    leaf, plain = z.clone().requires_grad_(), z.clone().requires_grad_()
    got, expected = torch.compile(loss, fullgraph=True, backend="aot_eager")(leaf), loss(plain)
    got.backward()
    expected.backward()
    agree_result(LossAndGradient(got, leaf.grad), LossAndGradient(expected, plain.grad), budget=3e-7, what="compiled")


# In place and in one call ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("words", [{}, {"z_loss": 0.1}, {"class_mask": "finite"}], ids=str)
def test_in_place_the_gradient_lies_where_the_logits_were(path: str, dtype: Any, words: dict[str, Any]) -> None:
    x, y = draw(0, 5, 40, dtype=dtype), labels(1, 5, 40)
    results = []
    for inplace in (False, True):
        leaf = x.clone().requires_grad_()
        logits = leaf * 1
        loss = cross_entropy(logits, y, label_smoothing=0.1, inplace=inplace, **words)
        (loss / 4).backward()
        results.append(LossAndGradient(loss.detach(), leaf.grad))
        agree(logits.detach(), leaf.grad if inplace else x, budget=0, what=f"the logits afterwards, {path}")
    agree_result(results[1], results[0], budget=0 if words else 3e-7, what="in place")


def test_in_place_takes_the_flattened_logits_of_a_language_model() -> None:
    hidden, head = draw(0, 2, 6, 8), draw(1, 30, 8).requires_grad_()
    y = labels(2, 12, 30)
    gradients = []
    for inplace in (False, True):
        logits = torch.nn.functional.linear(hidden, head)
        loss = cross_entropy(logits.view(-1, 30), y, label_smoothing=0.1, inplace=inplace)
        gradients.append(torch.autograd.grad(loss, head)[0])
        assert logits._version == int(inplace)
    agree(gradients[1], gradients[0], budget=3e-6, what="the head's gradient")


def test_in_place_whoever_still_needs_the_logits_is_told() -> None:
    x, y = draw(0, 4, 9).requires_grad_(), labels(1, 4, 9)
    for before in (lambda z: z.softmax(-1), torch.tanh, torch.exp):
        loss = cross_entropy(before(x * 1), y, label_smoothing=0.1, inplace=True)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
    logits = x * 1
    two = cross_entropy(logits, y, inplace=True) + cross_entropy(logits, y, label_smoothing=0.1, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        two.backward()
    loss = cross_entropy(x * 1, y, inplace=True)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_in_place_refuses_leaves_their_views_and_overlapping_memory() -> None:
    y = torch.tensor([0, 1, 2])
    leaf = draw(0, 3, 8).requires_grad_()
    flat = draw(0, 24).requires_grad_()
    for logits in (leaf, leaf[:, :5], flat.view(3, 8)):
        with pytest.raises(ValueError, match="overwrite a leaf"):
            cross_entropy(logits, y, inplace=True)
    for logits in ((leaf[:1] * 1).expand(3, 8), (flat * 1).as_strided((3, 8), (4, 1)), (flat * 1).view(8, 3).t()):
        with pytest.raises(ValueError, match="do not overlap"):
            cross_entropy(logits, y, inplace=True)
    assert cross_entropy(leaf.detach(), y, inplace=True).grad_fn is None  # nothing to write


def test_in_place_rows_may_be_apart_or_in_another_order() -> None:
    for take in (lambda z: z[:, :-1], lambda z: z.transpose(0, 1)):
        x = draw(0, 3, 5, 10).requires_grad_()
        logits = take(x * 1)
        y = torch.zeros(logits.shape[:-1], dtype=torch.int64)
        results = [torch.autograd.grad(cross_entropy(take(x * 1), y, class_dim=-1, inplace=inplace), x)[0]
                   for inplace in (False, True)]  # fmt: skip
        agree(results[1], results[0], budget=0, what="in place")


@pytest.mark.slow
def test_in_place_gives_no_second_derivative_and_does_not_compile() -> None:
    x, y = draw(0, 3, 8).requires_grad_(), torch.tensor([0, 1, 2])
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(cross_entropy(x * 1, y, inplace=True), x, create_graph=True)
    compiled = torch.compile(lambda z: cross_entropy(z * 1, y, inplace=True), backend="eager", fullgraph=True)
    with pytest.raises(Exception, match=r"(?s)inplace=True|not available under torch.compile"):
        compiled(x)


@pytest.mark.parametrize("words", [{}, {"row_weight": torch.tensor([1.0, 0.5, 0, 2])}, {"reduction": "sum"}], ids=str)
def test_in_one_call_the_gradient_comes_with_the_loss(words: dict[str, Any]) -> None:
    z, y = draw(0, 4, 30), torch.tensor([3, -100, 5, 6])
    results = []
    for at_once in (False, True):
        leaf = z.clone().requires_grad_()
        loss = cross_entropy(leaf, y, label_smoothing=0.1, gradient_in_forward=at_once, **words)
        (loss * 3).backward(retain_graph=True)
        loss.backward()
        results.append(LossAndGradient(loss.detach(), leaf.grad))
    agree_result(results[1], results[0], budget=3e-6, what="in one call")


# The library ----------------------------------------------------------------------------------------------------------


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True,
                          text=True, check=False)  # fmt: skip


@pytest.mark.slow
def test_the_environment_chooses_the_path() -> None:
    say = "from labelsmooth.losses import _cpu; print(_cpu.described())"
    for number in PATHS:
        name = library.PATHS[number]
        assert f"native kernel, {name}" in run(say, LABELSMOOTH_CPU=name.lower()).stdout
    assert run(say, LABELSMOOTH_CPU="eager").stdout.startswith("plain torch")
    wrong = run(say, LABELSMOOTH_CPU="sse9")
    assert wrong.returncode
    assert "LABELSMOOTH_CPU must be portable, avx2, avx512, auto or eager, got 'sse9'" in wrong.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
def test_the_process_has_one_openmp_runtime() -> None:
    done = run("""
import torch
from labelsmooth.losses import _cpu, cross_entropy
torch.set_num_threads(2)
z = torch.randn(400, 1000, requires_grad=True)
cross_entropy(z, torch.zeros(400, dtype=torch.int64), label_smoothing=0.1).backward()
(z @ z.t()).sum().item()
files = {line.split()[-1] for line in open("/proc/self/maps") if "omp" in line.rsplit("/", 1)[-1]}
print(_cpu.described(), len({file for file in files if "gomp" in file or "iomp" in file or "libomp" in file}))
""")
    assert done.stdout.strip().endswith("the process's OpenMP 1"), done.stdout + done.stderr


def test_the_library_and_its_caller_mean_the_same_struct() -> None:
    assert library.LIBRARY.labelsmooth_job_bytes() == library._JOB.size == (15 + 20 + 5) * 8
