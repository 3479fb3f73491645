"""The backward of a large head in half precision, class block by class block, against all the logits in float64."""

from __future__ import annotations

from typing import Any

import pytest

from agree import BFLOAT16, FLOAT16, FLOAT64, agree
from cases import one_in
from test_losses_linear import CASES, D, K, N, both, fused, labels, layer, relative, same, unfused

torch = pytest.importorskip("torch")

from labelsmooth.losses import (  # noqa: E402
    _cpu,
    _linear,
    _linear_autograd,
    _linear_blocks,
    _linear_products,
)
from labelsmooth.losses._linear_products import Head, Plan  # noqa: E402

if not _cpu.available():
    pytest.skip(f"the native kernel: {_cpu.described()}", allow_module_level=True)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[slice]:
    """Take blocks for every head, small ones, and say which."""
    seen: list[slice] = []
    plain = _linear_blocks._Blocks.block

    def noted(self: Any, at: slice) -> Any:
        seen.append(at)
        return plain(self, at)

    monkeypatch.setattr(_linear_blocks._Blocks, "block", noted)
    monkeypatch.setattr(_linear_blocks, "_sizes", lambda _: _linear_blocks._Sizes(4, 3))
    monkeypatch.setattr(_linear_autograd, "by_classes", lambda _, wanted: wanted.weight)
    return seen


@pytest.mark.parametrize("name", one_in(4, CASES))
def test_every_convention_prior_mask_and_weighting_is_the_unfused_loss(name: str, blocks: list[slice]) -> None:
    """In float64, where a wrong offset of a class cannot hide behind a rounding."""
    target, words = CASES[name]
    for reduction in ("mean", "none"):
        same(layer(), target, what=name, **{"label_smoothing": 0.1, **words, "reduction": reduction})
    classes = K - words.get("padded_classes", 0)
    assert blocks[: -(-classes // 3)] == [slice(k, min(k + 3, classes)) for k in range(0, classes, 3)]


@pytest.mark.usefixtures("blocks")
def test_a_gradient_is_rounded_once_whatever_arrives() -> None:
    tensors, y = layer(torch.bfloat16, rows=256, classes=64), labels(256, 64)
    of_weight = slice(256 * D, 256 * D + 64 * D)
    for fast in (frozenset(), frozenset([torch.bfloat16])):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_linear_products, "FAST_ON_CPU", fast)
            got = both(lambda *given, **words: fused(*given, **words) / 3, tensors, y, label_smoothing=0.1).gradient
        truth = both(unfused, [x.double() for x in tensors], y, label_smoothing=0.1).gradient / 3
        plain = both(unfused, tensors, y, label_smoothing=0.1).gradient.double() / 3
        assert relative(got[of_weight], truth[of_weight]) < (relative(plain, truth) if fast else 2e-3)


@pytest.mark.usefixtures("blocks")
def test_a_factor_arrives_before_float16_can_lose_anything() -> None:
    """A mean over many rows is below what float16 can say, and comes back whole if it is scaled."""
    tensors, y = layer(torch.float16), labels()
    leaves = [x.requires_grad_() for x in tensors]
    loss = fused(*leaves, y, label_smoothing=0.1) * 1e-7
    got = torch.autograd.grad(loss * 2.0**24, leaves)[1]
    wide = [x.detach().double().requires_grad_() for x in tensors]
    expected = torch.autograd.grad(unfused(*wide, y, label_smoothing=0.1) * 1e-7 * 2**24, wide)[1]
    agree(got.double(), expected, budget=FLOAT16, what="the weight's gradient")


@pytest.mark.usefixtures("blocks")
def test_a_second_backward_gives_the_same_and_frozen_parts_get_nothing() -> None:
    hidden, head, bias = (x.requires_grad_() for x in layer())
    loss = fused(hidden, head, bias, labels(), label_smoothing=0.1)
    first = torch.autograd.grad(loss, (hidden, head, bias), retain_graph=True)
    for got, expected in zip(torch.autograd.grad(loss, (hidden, head, bias)), first, strict=True):
        agree(got, expected, budget=0, what="the second backward")
    alone = head.detach().requires_grad_()
    fused(hidden.detach(), alone, bias.detach(), labels(), label_smoothing=0.1).backward()
    agree(alone.grad, first[1], budget=FLOAT64, what="only the weight is trained")


def head_of(rows: int, width: int, classes: int, dtype: Any) -> Head:
    """Give a layer of that size whose tensors take no memory."""
    hidden, weight = (torch.empty(1, dtype=dtype).expand(n, width) for n in (rows, classes))
    return Head(hidden, weight, None, Plan(classes, 1, _linear_products.dtype_of_products(dtype, "cpu")))


def test_blocks_are_for_sums_that_do_not_fit_and_fit_themselves() -> None:
    wanted = _linear.Wanted(hidden=True, weight=True)
    for rows, width, classes in ((2048, 512, 128256), (8192, 4096, 128256), (1024, 256, 128256)):
        head = head_of(rows, width, classes, torch.bfloat16)
        assert _linear_blocks.by_classes(head, wanted), classes
        n, k = _linear_blocks._sizes(head)
        logits, tiles, hidden = n * k * 4, 2 * k * width * 4, rows * width * 4
        assert logits + tiles + hidden + _linear.LIBRARY <= max(rows * classes * 2 / 8, 2**27), classes
        assert k * 64 > classes, "products that are wide enough"
    assert not _linear_blocks.by_classes(head_of(2048, 512, 32000, torch.bfloat16), wanted)
    assert not _linear_blocks.by_classes(head_of(2048, 512, 128256, torch.float32), wanted)
    frozen = wanted._replace(weight=False)
    assert not _linear_blocks.by_classes(head_of(2048, 512, 128256, torch.bfloat16), frozen)


@pytest.mark.parametrize(("dtype", "budget"), [(torch.bfloat16, BFLOAT16), (torch.float16, FLOAT16)], ids=str)
def test_a_head_that_is_too_large_takes_blocks_by_itself(
    dtype: Any, budget: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes that are small instead of a head that is large."""
    for name, value in (("LEAST", 2000), ("LEAST_CHUNK", 500), ("LIBRARY", 0)):
        for module in (_linear, _linear_blocks):
            monkeypatch.setattr(module, name, value, raising=False)
    tensors, y = layer(dtype, rows=30, classes=90), labels(30, 90)
    assert _linear_blocks.by_classes(head_of(30, D, 90, dtype), _linear.Wanted(weight=True))
    got = both(fused, tensors, y, label_smoothing=0.1, chunk_rows=None)
    truth = both(unfused, [x.double() for x in tensors], y, label_smoothing=0.1)
    agree(got.loss, truth.loss.float(), budget=1e-5, what="loss")
    agree(got.gradient.double(), truth.gradient, budget=budget, what="gradients")
    assert N < 30  # more rows than one chunk
