"""Linear layer and loss in chunks against the same with all the logits, in float64: loss and every gradient.

The judge is `cross_entropy` of `F.linear`, which other tests hold against torch and against the chain; torch's own samples
judge in `test_losses_linear_torch_own.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agree import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, LossAndGradient, agree, agree_result
from labelsmooth.maths.conventions import CONVENTIONS, WEIGHTINGS

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812  after the skip; the name the whole world uses

from labelsmooth.losses import (  # noqa: E402  # noqa: E402
    LinearLabelSmoothingCrossEntropy,
    _cpu,
    _linear,
    _linear_products,
    cross_entropy,
    linear_cross_entropy,
)
from labelsmooth.losses._linear_products import Head, Plan  # noqa: E402

N, D, K = 11, 4, 7


@pytest.fixture(params=["native", "eager"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compute the chunks with either kernel."""
    if request.param == "eager":
        monkeypatch.setattr(_cpu, "LIBRARY", None)
    elif not _cpu.available():
        pytest.skip(f"the native kernel: {_cpu.described()}")
    return request.param


def draw(seed: int, *shape: int, dtype: Any = torch.float64) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def shares(seed: int, *shape: int) -> Any:
    return draw(seed, *shape).softmax(-1)


def layer(dtype: Any = torch.float64, *, rows: int = N, classes: int = K) -> list[Any]:
    """Give hidden, weight and bias."""
    return [2 * draw(1, rows, D, dtype=dtype), draw(2, classes, D, dtype=dtype), draw(3, classes, dtype=dtype)]


def labels(rows: int = N, classes: int = K) -> Any:
    return torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(4))


def fused(hidden: Any, head: Any, bias: Any, target: Any, **words: Any) -> Any:
    return linear_cross_entropy(hidden, head, target, linear_bias=bias, **{"chunk_rows": 3, **words})


def unfused(hidden: Any, head: Any, bias: Any, target: Any, **words: Any) -> Any:
    words.pop("chunk_rows", None)
    return cross_entropy(F.linear(hidden, head, bias), target, **words)


def both(way: Any, tensors: list[Any], target: Any, **words: Any) -> LossAndGradient:
    """Loss and all gradients in one vector, pushed with something that is not 1 and differs from row to row."""
    leaves = [x.detach().clone().requires_grad_() for x in tensors]
    value = way(*leaves, target, **words)
    push = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
    gradients = torch.autograd.grad(value, leaves, push)
    assert [g.dtype for g in gradients] == [x.dtype for x in tensors]
    return LossAndGradient(value.detach(), torch.cat([g.flatten() for g in gradients]))


def same(tensors: list[Any], target: Any, *, budget: float = FLOAT64, what: str, **words: Any) -> None:
    agree_result(both(fused, tensors, target, **words), both(unfused, tensors, target, **words), budget=budget,
                 what=f"{what}, {words.get('reduction', 'mean')}")  # fmt: skip


# Every word -----------------------------------------------------------------------------------------------------------


def cases() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Every convention with everything that it accepts, every meaning of weights, every extra: name, target, words."""
    y, soft = labels(), shares(5, N, K)
    holes = torch.where(torch.arange(N) % 4 == 1, 6, torch.where(y == 6, 5, y))
    allowed = torch.arange(K) != 6
    by_row = draw(6, N, K) > -0.7
    by_row[torch.arange(N), torch.where(holes == 6, 0, holes)] = True
    prior, rowwise, rows = shares(7, K), shares(8, N, K), draw(9, N).abs()
    rows[2] = 0
    for name, convention in CONVENTIONS.items():
        family = convention.family
        if family.link != "softmax":
            continue
        yield name, holes, {"convention": name, "ignore_index": 6}
        if "prior" in family.accepts:
            yield f"{name}, prior", y, {"convention": name, "prior": prior}
            yield f"{name}, prior by row", holes, {"convention": name, "prior": rowwise, "ignore_index": 6}
        if "mask" in family.accepts:
            yield f"{name}, mask", holes, {"convention": name, "class_mask": allowed, "ignore_index": 6}
            yield f"{name}, mask by row", holes, {"convention": name, "class_mask": by_row, "ignore_index": 6}
        if "soft" in family.accepts:
            yield f"{name}, soft", soft, {"convention": name, "row_weight": rows}
    for name in ("torch", *WEIGHTINGS):
        words = {"weighting": name, "weight": torch.arange(1.0, K + 1)}
        yield f"weights {name}", holes, {**words, "ignore_index": 6}
        yield f"weights {name}, prior, rows", y, {**words, "prior": prior, "row_weight": rows}
        yield f"weights {name}, others", y, {**words, "convention": "fairseq"}
        yield f"weights {name}, soft", soft, {**words, "prior": rowwise}
    yield "ε by row", holes, {"label_smoothing": draw(10, N).sigmoid(), "ignore_index": 6}
    yield "ε a tensor", y, {"label_smoothing": torch.tensor(0.3), "validate": False}
    yield "no smoothing", y, {"label_smoothing": 0.0}
    yield "all smoothing", y, {"label_smoothing": 1.0, "prior": prior}
    yield "z-loss", holes, {"z_loss": 0.05, "ignore_index": 6}
    yield "softcap", y, {"softcap": 3.0, "prior": prior}
    yield "softcap, mask, z-loss", holes, {"softcap": 3.0, "class_mask": by_row, "z_loss": 0.1, "ignore_index": 6}
    yield "padding", torch.where(y > 4, 2, y), {"padded_classes": 2, "prior": shares(11, K - 2)}
    yield "nothing counts, zero", torch.full((N,), -100), {"all_ignored": "zero"}
    yield "a row weight that is an integer", y, {"row_weight": torch.arange(N)}


CASES = {name: (target, words) for name, target, words in cases()}


@pytest.mark.parametrize("name", CASES)
def test_every_convention_prior_mask_and_weighting_is_the_unfused_loss(kernel: str, name: str) -> None:
    target, words = CASES[name]
    # The reductions are not the kernel's affair: one of them will do where it is slow.
    for reduction in ("mean", "sum", "none") if kernel == "native" else ("mean",):
        same(layer(), target, what=f"{name}, {kernel}", **{"label_smoothing": 0.1, **words, "reduction": reduction})


def test_a_sum_is_divided_by_what_is_given(kernel: str) -> None:
    for normalizer in (5.0, torch.tensor(5)):
        same(layer(), labels(), what=kernel, reduction="sum", normalizer=normalizer, label_smoothing=0.1)


def test_the_cases_cover_what_there_is() -> None:
    assert len(CASES) > 60
    assert sum("weights" in name for name in CASES) >= 4 * len(WEIGHTINGS)


def test_the_size_of_a_chunk_changes_nothing(kernel: str) -> None:
    for chunk_rows in (1, 2, 5, N, 100, None):
        same(layer(), labels(), what=f"{chunk_rows}, {kernel}", label_smoothing=0.1, chunk_rows=chunk_rows)


# Shapes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_rows_may_have_any_number_of_axes(kernel: str, reduction: str) -> None:
    _, weight, bias = layer()
    for shape in ((), (1,), (2, 3), (2, 2, 2)):
        target = labels(8)[: torch.Size(shape).numel()].reshape(shape)
        words = {"label_smoothing": 0.1, "reduction": reduction, "class_dim": -1}
        leaves = [draw(1, *shape, D), weight, bias]
        got = both(
            lambda *a, **w: fused(*a, **{k: v for k, v in w.items() if k != "class_dim"}), leaves, target, **words
        )
        agree_result(got, both(unfused, leaves, target, **words), budget=FLOAT64, what=f"{shape}, {kernel}")
        assert got.loss.shape == (shape if reduction == "none" else ())


def deep(hidden: Any, weight: Any, bias: Any, target: Any, **words: Any) -> Any:
    logits = F.linear(hidden, weight.flatten(0, -2), bias.flatten()).unflatten(1, weight.shape[:-1])
    return cross_entropy(logits, target, **words)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_weight_with_several_positions_gives_the_loss_of_each(kernel: str, reduction: str) -> None:
    tensors = [draw(1, N, D), draw(2, K, 2, 3, D), draw(3, K, 2, 3)]
    y = torch.randint(K - 2, (N, 2, 3), generator=torch.Generator().manual_seed(1))
    y[1, 0, 2] = -100
    y[4] = -100
    variants = {
        "plain": (y, {}),
        "soft": (shares(5, N, 2, 3, K).movedim(-1, 1), {}),
        "prior": (y, {"prior": shares(6, N, 2, 3, K).movedim(-1, 1), "row_weight": draw(7, N, 2, 3).abs()}),
        "padding": (y, {"padded_classes": 2}),
    }
    for name, (target, more) in variants.items():
        words = {**more, "label_smoothing": 0.1, "reduction": reduction}
        got = both(fused, tensors, target, **words)
        agree_result(got, both(deep, tensors, target, **words), budget=FLOAT64, what=f"{name}, {kernel}")


def test_without_a_bias_and_with_a_transposed_weight_the_loss_is_the_same(kernel: str) -> None:
    hidden, weight, _ = layer()
    for w in (weight, weight.t().contiguous().t()):
        leaves = [hidden.t().contiguous().t(), w]
        got = both(lambda h, a, y, **o: fused(h, a, None, y, **o), leaves, labels(), label_smoothing=0.1)
        expected = both(lambda h, a, y, **o: unfused(h, a, None, y, **o), leaves, labels(), label_smoothing=0.1)
        agree_result(got, expected, budget=FLOAT64, what=kernel)


@pytest.fixture
def nan_in_new_memory() -> Iterator[None]:
    """Fill memory that nobody has written with NaN, as torch does where it is asked to be deterministic."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("nan_in_new_memory")
def test_padding_and_a_batch_in_which_nothing_counts_have_a_gradient_of_zero(kernel: str) -> None:
    assert torch.empty(3).isnan().all()
    y = labels().clamp(max=4)
    same(layer(), y, what=f"padding, {kernel}", label_smoothing=0.1, padded_classes=2)
    same(layer(), torch.full((N,), -100), what=kernel, label_smoothing=0.1, reduction="sum")


# Laws -----------------------------------------------------------------------------------------------------------------


def test_an_ignored_row_equals_a_removed_row_whatever_it_holds(kernel: str) -> None:
    tensors, y = layer(), labels()
    for reduction in ("mean", "sum"):
        kept = torch.arange(N) != 4
        whole = [tensors[0].clone(), *tensors[1:]]
        whole[0][4] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e300])
        got = both(fused, whole, torch.where(kept, y, -100), label_smoothing=0.1, reduction=reduction)
        less = both(fused, [tensors[0][kept], *tensors[1:]], y[kept], label_smoothing=0.1, reduction=reduction)
        of_hidden = got.gradient[: N * D].reshape(N, D)
        agree(of_hidden[4], torch.zeros(D).double(), budget=0, what="the ignored row's gradient")
        rest = torch.cat([of_hidden[kept].flatten(), got.gradient[N * D :]])
        agree_result(LossAndGradient(got.loss, rest), less, budget=FLOAT64, what=f"{reduction}, {kernel}")


def test_an_ignored_row_of_several_positions_leaves_no_nan(kernel: str) -> None:
    tensors = [draw(1, N, D), draw(2, K, 2, D), draw(3, K, 2)]
    y = labels(2 * N).reshape(N, 2)
    y[4] = -100
    expected = both(fused, tensors, y, label_smoothing=0.1)
    tensors[0][4] = torch.nan
    agree_result(both(fused, tensors, y, label_smoothing=0.1), expected, budget=0, what=kernel)


def test_ignored_rows_are_left_out_of_the_products(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    multiplied = []
    plain = _linear_products.Tiles.logits

    def noted(self: Any, hidden: Any, *, out: Any) -> None:
        multiplied.append(len(hidden))
        plain(self, hidden, out=out)

    monkeypatch.setattr(_linear_products.Tiles, "logits", noted)
    both(fused, layer(), torch.where(torch.arange(N) < 4, labels(), -100), label_smoothing=0.1)
    assert multiplied == [3, 1], kernel


def test_the_gradients_of_weight_and_bias_sum_to_zero_over_classes(kernel: str) -> None:
    gradient = both(fused, layer(), labels(), label_smoothing=0.1, prior=shares(1, K)).gradient[N * D :]
    of_weight, of_bias = gradient[: K * D].reshape(K, D), gradient[K * D :]
    agree(of_weight.sum(0), torch.zeros(D).double(), budget=FLOAT64, what=f"weight, {kernel}")
    agree(of_bias.sum(), 0.0, budget=FLOAT64, what=f"bias, {kernel}")


def test_shifting_the_bias_changes_nothing_and_permuting_classes_permutes(kernel: str) -> None:
    hidden, weight, bias = layer()
    plain = both(fused, [hidden, weight, bias], labels(), label_smoothing=0.1)
    agree_result(both(fused, [hidden, weight, bias + 9], labels(), label_smoothing=0.1), plain, budget=FLOAT64)
    order = torch.randperm(K, generator=torch.Generator().manual_seed(0))
    moved = both(fused, [hidden, weight[order], bias[order]], order.argsort()[labels()], label_smoothing=0.1)
    of_weight = plain.gradient[N * D :][: K * D].reshape(K, D)
    rest = torch.cat([plain.gradient[: N * D], of_weight[order].flatten(), plain.gradient[N * D + K * D :][order]])
    agree_result(moved, LossAndGradient(plain.loss, rest), budget=FLOAT64, what=kernel)


def test_the_loss_is_at_its_floor_where_the_prediction_is_the_target(kernel: str) -> None:
    prior, y = shares(1, K), labels()
    q = 0.9 * F.one_hot(y, K).double() + 0.1 * prior
    leaves = [q.log(), torch.eye(K).double()]
    got = both(lambda h, w, t, **o: fused(h, w, None, t, **o), leaves, y, label_smoothing=0.1, prior=prior)
    agree(got.loss, -(q * q.log()).sum(1).mean(), budget=FLOAT64, what=f"the entropy, {kernel}")
    agree(got.gradient, torch.zeros_like(got.gradient), budget=FLOAT64, what=f"gradient at the optimum, {kernel}")


# Half precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "budget"), [(torch.float32, FLOAT32), (torch.bfloat16, BFLOAT16), (torch.float16, FLOAT16)], ids=str
)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_every_dtype_is_rounded_once(kernel: str, dtype: Any, budget: float, reduction: str) -> None:
    tensors, words = layer(dtype), {"label_smoothing": 0.1, "prior": shares(1, K), "reduction": reduction}
    got = both(fused, tensors, labels(), **words)
    truth = both(unfused, [x.double() for x in tensors], labels(), **words)
    assert got.loss.dtype == torch.float32
    agree(got.loss, truth.loss, budget=4 * FLOAT32, what=f"loss, {kernel}", any_dtype=True)
    agree(got.gradient, truth.gradient, budget=max(budget, 4 * FLOAT32), what=f"gradients, {kernel}", any_dtype=True)


def relative(got: Any, truth: Any) -> float:
    return float((got.double() - truth).norm() / truth.norm())


@pytest.mark.parametrize("tile", [2**22, 1000])
def test_the_weights_gradient_in_bfloat16_misses_float64_by_one_rounding(
    kernel: str, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 2e-3 of the gradient's length, over many chunks and with the weight widened whole or tile by tile."""
    monkeypatch.setattr(_linear_products, "TILE", tile)
    tensors, y = layer(torch.bfloat16, rows=256, classes=64), labels(256, 64)
    got = both(fused, tensors, y, label_smoothing=0.1, chunk_rows=8).gradient
    truth = both(unfused, [x.double() for x in tensors], y, label_smoothing=0.1).gradient
    of_weight = slice(256 * D, 256 * D + 64 * D)
    assert relative(got[of_weight], truth[of_weight]) < 2e-3, kernel
    logits = both(unfused, tensors, y, label_smoothing=0.1).gradient  # rounded logits, rounded gradient of the logits
    assert relative(logits[of_weight], truth[of_weight]) > relative(got[of_weight], truth[of_weight])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_where_the_processor_multiplies_half_precision_the_sums_are_still_float32(
    kernel: str, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of processors with such instructions, taken here without them."""
    monkeypatch.setattr(_linear_products, "FAST_ON_CPU", frozenset([torch.bfloat16, torch.float16]))
    tensors, y = layer(dtype, rows=256, classes=64), labels(256, 64)
    for reduction in ("mean", "none"):
        got = both(fused, tensors, y, label_smoothing=0.1, chunk_rows=8, reduction=reduction).gradient
        truth = both(unfused, [x.double() for x in tensors], y, label_smoothing=0.1, reduction=reduction).gradient
        plain = both(unfused, tensors, y, label_smoothing=0.1, reduction=reduction).gradient
        assert relative(got, truth) < 1.2 * relative(plain, truth), f"{reduction}, {kernel}"


# Sizes ----------------------------------------------------------------------------------------------------------------


def rows_of(rows: int, width: int, classes: int, dtype: Any = torch.float32) -> int:
    """How many rows a layer of that size is given at a time; its tensors take no memory."""
    hidden, weight = (torch.empty(1, dtype=dtype).expand(n, width) for n in (rows, classes))
    products = _linear_products.dtype_of_products(dtype, "cpu")
    return _linear.rows_at_a_time(Head(hidden, weight, None, Plan(classes, 1, products)))


def test_a_chunk_holds_an_eighth_of_the_logits_or_128_mib(kernel: str) -> None:
    for rows, width, classes in ((2048, 512, 32000), (1024, 256, 128256), (4096, 64, 1048576), (300, 8, 10)):
        n = rows_of(rows, width, classes)
        assert n * classes * 4 + _linear.LIBRARY <= max(rows * classes * 4 / 8, 2**27), f"{classes}, {kernel}"
        assert 1 <= n <= rows
        assert n * (-(-rows // n)) < rows + -(-rows // n), "chunks of one size"
    assert rows_of(2048, 512, 32000) >= 256
    assert rows_of(1, 8, 2**28) == 1, "a row that is larger than all that is allowed"


def test_a_chunk_in_half_precision_leaves_room_for_the_sums_in_float32() -> None:
    narrow, wide = (rows_of(4000, width, 128256, torch.bfloat16) for width in (8, 32))
    assert wide * 128256 * 4 + (128256 + 4000) * 32 * 4 + _linear.LIBRARY <= 2**27
    assert wide < narrow


# The module -----------------------------------------------------------------------------------------------------------


def test_the_module_is_the_function_and_smooths_by_a_tenth() -> None:
    hidden, weight, bias = layer()
    words = {"prior": shares(1, K), "z_loss": 0.01}
    loss = LinearLabelSmoothingCrossEntropy(chunk_rows=3, **words)
    got = loss(hidden, weight, labels(), linear_bias=bias)
    agree(got, fused(hidden, weight, bias, labels(), label_smoothing=0.1, **words), budget=0, what="the function")
    assert "label_smoothing=0.1, prior=tensor(7,), z_loss=0.01, chunk_rows=3" in repr(loss)
    assert set(loss.state_dict()) == {"prior"}
    per_batch = {"class_mask": torch.arange(K) < 6, "row_weight": torch.arange(N)}
    y = labels().clamp(max=5)
    got = loss(hidden, weight, y, linear_bias=bias, **per_batch)
    agree(got, fused(hidden, weight, bias, y, label_smoothing=0.1, **words, **per_batch), budget=0, what="per batch")


@pytest.mark.parametrize("word", ["class_dim", "gradient_in_forward", "inplace"])
def test_the_module_has_no_word_about_logits(word: str) -> None:
    with pytest.raises(TypeError, match=f"{word} is about logits, which are never whole here: drop it"):
        LinearLabelSmoothingCrossEntropy(0.1, **{word: True})


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"input": torch.ones(N, D + 1)}, ValueError, r"input of shape \(11, 5\) does not fit linear_weight of shape \(7, 4\)"),
        ({"input": torch.ones(N, D).int()}, TypeError, r"input must be a floating-point tensor, got torch\.int32"),
        ({"input": torch.ones(N, D).bfloat16()}, TypeError, r"linear_weight is torch\.float32 and input is torch\.bfloat16"),
        ({"linear_weight": torch.ones(D)}, ValueError, r"does not fit linear_weight of shape \(4,\): expected"),
        ({"linear_weight": torch.ones(K, 2, D), "input": torch.ones(2, 3, D)}, ValueError, r"needs an input \(N, D\)"),
        ({"linear_bias": torch.ones(K + 1)}, ValueError, r"linear_bias has shape \(8,\), expected \(7,\)"),
        ({"linear_bias": [0.0] * K}, TypeError, "linear_bias must be a floating-point tensor, got list"),
        ({"target": torch.zeros(N - 1).long()}, ValueError, r"class indices for logits of shape \(11, 7\) have shape"),
        ({"target": [0] * N}, TypeError, "target must be a tensor of class indices"),
        ({"target": torch.full((N,), 7)}, ValueError, "label 7 of row 0 is out of range: expected 0 to 6"),
        ({"chunk_rows": 0}, ValueError, "chunk_rows must be at least 1, or None to choose by size, got 0"),
        ({"chunk_rows": 2.0}, TypeError, "chunk_rows must be an integer or None, got float"),
        ({"label_smoothing": -0.1}, ValueError, r"label_smoothing must be between 0\.0 and 1\.0, got -0\.1"),
        ({"padded_classes": 7}, ValueError, "padded_classes=7 leaves no class"),
        ({"convention": "fairseq", "prior": torch.full((K,), 1 / K)}, ValueError, "does not take a prior"),
        ({"prior": torch.ones(K)}, ValueError, "the prior sums to 7, expected 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_line(change: dict[str, Any], error: type, message: str) -> None:
    words = {"input": torch.ones(N, D), "linear_weight": torch.ones(K, D), "target": labels()}
    with pytest.raises(error, match=message) as caught:
        linear_cross_entropy(**{**words, **change})
    assert "\n" not in str(caught.value)


def test_a_label_that_is_none_makes_its_row_nan_where_nobody_looks(kernel: str) -> None:
    hidden, weight, bias = layer()
    y = labels()
    y[3] = K
    got = fused(hidden, weight, bias, y, label_smoothing=0.1, reduction="none", validate=False)
    assert got.isnan().tolist() == [row == 3 for row in range(N)], kernel


def test_finite_masks_the_classes_whose_bias_is_minus_infinity(kernel: str) -> None:
    hidden, weight, bias = layer()
    bias[2] = -torch.inf
    y = torch.where(labels() == 2, 1, labels())
    same([hidden, weight, bias], y, what=kernel, label_smoothing=0.1, class_mask="finite")
    bias[2] = 0.0
    same([hidden, weight, bias], y, what=f"nothing to mask, {kernel}", label_smoothing=0.1, class_mask="finite")


def test_no_rows_are_what_they_are_for_the_unfused_loss() -> None:
    tensors, y = layer(rows=0), labels(0)
    agree(fused(*tensors, y, reduction="sum"), 0.0, budget=0, what="sum")
    assert fused(*tensors, y).isnan()
    assert fused(*tensors, y, reduction="none").shape == (0,)
