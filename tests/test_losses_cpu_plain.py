"""The short way to the kernel against the longer one, and the kernel's shift where its blocks and its pairs could go wrong."""

from __future__ import annotations

from typing import Any

import pytest

from agree import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, LossAndGradient, agree, agree_result
from test_losses_cpu import PATHS, check, draw, labels, shares

torch = pytest.importorskip("torch")

from labelsmooth.losses import _cpu as library  # noqa: E402
from labelsmooth.losses import _cpu_plain, cross_entropy  # noqa: E402
from labelsmooth.losses._options import Charge  # noqa: E402

BUDGET = {torch.float32: FLOAT32, torch.float64: FLOAT64, torch.bfloat16: BFLOAT16, torch.float16: FLOAT16}
FIRST = 256  # classes of the kernel's first block
FAR = 32.0  # how far above its shift a logit may lie


@pytest.fixture(params=PATHS, ids=[library.PATHS[number] for number in PATHS])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make every call take one instruction set."""
    monkeypatch.setattr(library, "PATH", request.param + 1)
    return library.PATHS[request.param]


# The short way --------------------------------------------------------------------------------------------------------


def step(z: Any, y: Any, *, push: float = 1.0, **words: Any) -> LossAndGradient:
    """Loss and gradient of logits that were computed, so that the gradient may be written over them."""
    leaf = z.clone().requires_grad_()
    loss = cross_entropy(leaf * 1, y, **words)
    (gradient,) = torch.autograd.grad(loss, leaf, torch.full_like(loss, push))
    return LossAndGradient(loss.detach(), gradient)


def both(monkeypatch: pytest.MonkeyPatch, z: Any, y: Any, **words: Any) -> tuple[LossAndGradient, LossAndGradient]:
    """The short way, which has to serve, and the longer one."""
    taken, short = [], _cpu_plain.plain_loss

    def noted(*given: Any) -> Any:
        taken.append(short(*given))
        return taken[-1]

    with monkeypatch.context() as patch:
        patch.setattr(_cpu_plain, "plain_loss", noted)
        ours = step(z, y, **words)
        assert taken[-1] is not None, "the longer way was taken"
        patch.setattr(_cpu_plain, "plain_loss", lambda *_: None)
        return ours, step(z, y, **words)


@pytest.mark.parametrize("dtype", BUDGET, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_weights_a_prior_and_every_form_are_those_of_the_longer_way(
    dtype: Any, reduction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    z, y = draw(0, 9, 7, dtype=dtype), labels(1, 9, 7)
    y[4] = -100
    sums = torch.float64 if dtype == torch.float64 else torch.float32
    weight = torch.arange(7.0, dtype=sums) / 3  # one is 0
    forms = [{}, {"inplace": True}, {"gradient_in_forward": True}]
    for vector in ({}, {"weight": weight}, {"prior": shares(2, 7).to(sums)}):
        for form in forms if reduction != "none" else forms[:2]:
            for more in ({}, {"ignore_index": 3}, {"push": 0.25}, {"label_smoothing": 0.0}):
                words = {"label_smoothing": 0.1, "reduction": reduction, **vector, **form, **more}
                target = y.where(y != -100, 3) if "ignore_index" in more else y
                agree_result(*both(monkeypatch, z, target, **words), budget=BUDGET[dtype], what=str(words))


def test_second_derivatives_of_the_short_way_are_those_of_the_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    z, y, weight = draw(0, 5, 4, dtype=torch.float64), torch.tensor([0, 3, -100, 1, 2]), torch.arange(1.0, 5).double()

    def penalty(**words: Any) -> Any:
        leaf = z.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(leaf, y, label_smoothing=0.1, **words), leaf, create_graph=True)
        return torch.autograd.grad((gradient**2).sum(), leaf)[0]

    for words in ({"weight": weight}, {"prior": weight / 10}, {}):
        got = penalty(**words)
        with monkeypatch.context() as patch:
            patch.setattr(_cpu_plain, "plain_loss", lambda *_: None)
            agree(got, penalty(**words), budget=FLOAT64, what=str(words))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"prior": [0.5, 0.25, 0.125, 0.12]}, "the prior sums to 0.995, expected 1"),
        ({"prior": [1.5, -0.5, 0.0, 0.0]}, r"the prior gives class 1 the mass -0\.5"),
        ({"prior": [1.0, 0.0, torch.nan, 0.0]}, "the prior gives class 2 the mass nan"),
        ({"weight": [1.0, 2.0, -1.0, 1.0]}, r"weight\[2\] is -1, expected a finite number not below 0"),
        ({"weight": [1.0, torch.inf, 1.0, 1.0]}, r"weight\[1\] is inf"),
        ({"weight": [1.0, torch.nan, 1.0, 1.0]}, r"weight\[1\] is nan"),
    ],
)
def test_what_is_wrong_with_weights_and_priors_is_said(words: dict[str, Any], message: str, dtype: Any) -> None:
    """The kernel looks, and the longer way says it."""
    words = {name: torch.tensor(x, dtype=dtype) for name, x in words.items()}
    for more in ({}, {"gradient_in_forward": True}, {"inplace": True}):
        z = draw(0, 3, 4, dtype=dtype).requires_grad_() * 1
        with pytest.raises(ValueError, match=message):
            cross_entropy(z, torch.tensor([0, 1, 3]), label_smoothing=0.1, **words, **more)


def test_class_weights_give_torchs_numbers_and_a_changed_one_is_autograds_own_error() -> None:
    z, y, weight = draw(0, 6, 5), torch.tensor([0, 1, -100, 4, 2, 2]), torch.arange(1.0, 6)
    for words in ({"label_smoothing": 0.1}, {"reduction": "sum"}, {"label_smoothing": 0.3, "reduction": "none"}):
        leaf = z.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(leaf, y, weight=weight, **words)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        agree_result(step(z, y, weight=weight, **words), LossAndGradient(loss.detach(), gradient), budget=FLOAT32,
                     what=str(words))  # fmt: skip
    loss = cross_entropy(z.clone().requires_grad_(), y, weight=weight)
    weight[0] = 7
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# The kernel's shift and pairs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", BUDGET, ids=str)
def test_a_maximum_far_above_the_first_block_moves_the_shift(path: str, dtype: Any) -> None:
    """Just below, at and above what the shift bears, in every later block, also upwards again and again."""
    K, sums = 3 * 2048 + FIRST, torch.float64 if dtype == torch.float64 else torch.float32
    prior = shares(1, K).to(sums)
    for charge in (Charge(0.9, 0.1), Charge(0.9, 0.1, prior=prior)):
        for up in (FAR - 1, FAR, FAR + 1, 80.0, 2000.0):
            z = draw(0, 4, K, dtype=torch.float64, scale=0.5)
            for row, at in enumerate((FIRST, FIRST + 2048, K - 1)):
                z[row, at] += up
            z[3] += up / FAR * torch.arange(K).div(2048, rounding_mode="floor") * 20
            check(z.to(dtype), torch.tensor([FIRST, 0, K - 1, K - 2]), charge, what=f"{up}, {path}")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_nan_in_half_precision_is_seen_in_every_lane(path: str, dtype: Any) -> None:
    bits = {torch.bfloat16: (0x7FC0, 0x7F81, -1), torch.float16: (0x7E00, 0x7C01, -1)}[
        dtype
    ]  # quiet, signalling, negative
    for at in (*range(34), FIRST - 1, FIRST, FIRST + 2, 699):
        z = draw(0, 2, 700, dtype=dtype)
        z.view(torch.int16)[0, at] = bits[at % 3]
        loss = cross_entropy(z, torch.tensor([1, 1]), label_smoothing=0.1, reduction="none")
        assert loss.isnan().tolist() == [True, False], f"{at}, {path}"
        got = step(z, torch.tensor([1, 1]), label_smoothing=0.1, reduction="none").gradient
        assert got.isnan().any(-1).tolist() == [True, False], f"{at}, {path}"


def test_zero_mass_on_an_impossible_class_adds_nothing_in_any_block(path: str) -> None:
    K = FIRST + 2048 + 40
    z, prior = draw(0, 2, K), shares(1, K)
    for at in (3, FIRST - 1, FIRST + 5, K - 3):
        z[0, at], prior[at] = -torch.inf, 0.0
    charge = Charge(0.9, 0.1, prior=(prior / prior.sum()).float())
    check(z, torch.tensor([0, K - 1]), charge, what=path)
    z[1, FIRST + 6] = -torch.inf  # and where there is mass, infinitely much
    loss = library.forward(z, torch.tensor([0, K - 1]), charge)[0]
    assert loss.isfinite().tolist() == [True, False], path


def test_bfloat16_is_rounded_to_nearest_even_in_every_lane(path: str) -> None:
    """Gradients that lie halfway between two bfloat16: with all logits equal each is up/K, whatever up is."""
    K = 64
    for last in range(16):
        up = torch.tensor([float.fromhex("0x1.%02x8p0" % (2 * last)) * K])  # halves of units, odd and even below
        gradient = library.forward_and_backward(up, torch.zeros(1, K).bfloat16(), torch.tensor([0]), Charge(1.0, 0.0))[
            1
        ]
        halfway = up.expand(1, K) / K
        agree(gradient[:, 1:], halfway.bfloat16()[:, 1:], budget=0, what=f"{last}, {path}")


@pytest.mark.parametrize("planted", ["shift", "lane"])
def test_a_planted_error_is_seen(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = library.call

    def off(task: int, z: Any, label: Any, charge: Charge, **rest: Any) -> None:
        real(task, z, label, charge, **rest)
        if planted == "shift" and task != library.GRADIENT:
            rest["loss"][0] += 1e-3
        if planted == "lane" and rest.get("gradient") is not None:
            rest["gradient"][0] = rest["gradient"][0].view(-1, 2).flip(1).flatten()

    monkeypatch.setattr(library, "call", off)
    with pytest.raises(AssertionError, match="differ"):
        check(draw(0, 2, 600, dtype=torch.bfloat16), torch.tensor([0, 1]), Charge(0.9, 0.1), what=planted)
