"""The loss against three judges: torch where torch is right, the chain of `maths` everywhere, and laws.

The chain and the loss share the numbers in `conventions.py` and nothing else, so that a slip in either shows.
"""

from __future__ import annotations

import doctest
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agree import FLOAT32, FLOAT64, LossAndGradient, agree, agree_result

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812  after the skip; the name the whole world uses

from labelsmooth.losses import _checks, cross_entropy, functional, loss_parts, module  # noqa: E402
from labelsmooth.maths import conventions  # noqa: E402
from labelsmooth.maths.case import Case  # noqa: E402
from labelsmooth.maths.conventions import FAMILIES, convention_named, weighting_named  # noqa: E402
from labelsmooth.maths.evaluate import evaluate  # noqa: E402
from labelsmooth.maths.steps import chain  # noqa: E402

INF, NAN = float("inf"), float("nan")
EXAMPLES = settings(max_examples=60, deadline=None)
SEEDS = st.integers(0, 2**31 - 1)
LOGITS = torch.tensor([[2, 1, 0, -1, -2], [0.5, 0.1, -0.3, 1.2, 0]], dtype=torch.float64)
LABELS = torch.tensor([0, 3])
WEIGHT = torch.arange(1.0, 6, dtype=torch.float64)


def both(loss: Callable[..., Any], logits: Any, *args: Any, **words: Any) -> LossAndGradient:
    """Give the loss and its gradient; the rows of an unreduced loss push with 1, 2, 3, ..."""
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, *args, **words)
    value.backward(torch.arange(1.0, value.numel() + 1).to(value).reshape(value.shape))
    return LossAndGradient(value.detach(), logits.grad)


def random(seed: int) -> Any:
    return torch.Generator().manual_seed(seed)


def draw(seed: int, *shape: int, scale: float = 3.0) -> Any:
    return scale * torch.randn(*shape, generator=random(seed), dtype=torch.float64)


# The post -------------------------------------------------------------------------------------------------------------


def test_two_class_losses_of_the_post_to_nine_decimals() -> None:
    logits = [[4.2, -2.4], [1.6, -0.6], [3.6, 1.2], [-0.5, 0.5], [-0.25, 1.7]]
    got = cross_entropy(torch.tensor(logits, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 0]),
                        label_smoothing=0.1, reduction="none")  # fmt: skip
    printed = [0.331359444, 2.19508332, 2.366836152, 1.263261688, 1.985521075]
    agree(got, printed, budget=5e-10, what="the post's losses, rounded to nine decimals")


def test_five_class_losses_of_the_post_to_eight_decimals() -> None:
    logits = [[4.7, -2.5, 0.6, 1.2, 0.4], [-1.2, 2.4, 2.6, -0.6, 2.34], [-2.4, 1.2, 1.1, 0.8, 1.2],
              [1.2, 0.2, 0.8, 1.9, -0.6], [-0.9, -0.1, -0.2, -0.5, 1.6]]  # fmt: skip
    got = cross_entropy(
        torch.tensor(logits, dtype=torch.float64), torch.arange(5), label_smoothing=0.1, reduction="none"
    )
    printed = [0.44129216, 1.30485915, 1.45362283, 0.85918351, 0.60188189]
    agree(got, printed, budget=5e-9, what="the post's losses, rounded to eight decimals")


# torch is the judge, where it is right ----------------------------------------------------------------------------------


@st.composite
def torch_arguments(draw_: Any, *, soft: bool) -> tuple[Any, Any, dict[str, Any]]:
    classes, rows = draw_(st.integers(1, 7)), draw_(st.integers(1, 5))
    extra = draw_(st.sampled_from([(), (), (2,), (2, 3)]))
    seed, scale = draw_(SEEDS), draw_(st.sampled_from([1.0, 30.0, 1e4]))
    single = not extra and draw_(st.booleans())
    shape = (classes,) if single else (rows, classes, *extra)
    words: dict[str, Any] = {
        "reduction": draw_(st.sampled_from(["mean", "sum", "none"])),
        "label_smoothing": draw_(st.sampled_from([0.0, 0.1, 1.0])),
    }
    if draw_(st.booleans()):
        words["weight"] = 0.2 + torch.rand(classes, generator=random(seed + 1), dtype=torch.float64)
    axis = 0 if single else 1
    if soft:
        return draw(seed, *shape, scale=scale), draw(seed + 2, *shape).softmax(axis), words
    label_shape = () if single else (rows, *extra)
    target = torch.randint(classes, label_shape, generator=random(seed + 2))
    if draw_(st.booleans()):
        words["ignore_index"] = draw_(st.sampled_from([-100, -1, classes - 1]))
        ignored = torch.rand(label_shape, generator=random(seed + 3)) < 0.4
        target = torch.where(ignored, words["ignore_index"], target)
    return draw(seed, *shape, scale=scale), target, words


@EXAMPLES
@given(torch_arguments(soft=False))
def test_class_indices_give_what_torch_gives(arguments: tuple[Any, Any, dict[str, Any]]) -> None:
    logits, target, words = arguments
    ours, torchs = both(cross_entropy, logits, target, **words), both(F.cross_entropy, logits, target, **words)
    agree(ours.loss, torchs.loss, budget=FLOAT64, what="loss", nan_agrees=True)
    if bool((target != words.get("ignore_index", -100)).any()):
        agree(ours.gradient, torchs.gradient, budget=FLOAT64, what="gradient")


@EXAMPLES
@given(torch_arguments(soft=True))
def test_soft_targets_give_what_torch_gives(arguments: tuple[Any, Any, dict[str, Any]]) -> None:
    logits, target, words = arguments
    agree_result(both(cross_entropy, logits, target, **words), both(F.cross_entropy, logits, target, **words),
                 budget=FLOAT64, what="soft targets")  # fmt: skip


@EXAMPLES
@given(SEEDS, st.sampled_from([2, 10, 1000]), st.sampled_from([1.0, 30.0]), st.sampled_from([0.0, 0.1, 1.0]))
def test_float32_is_no_further_from_the_truth_than_torch(seed: int, classes: int, scale: float, eps: float) -> None:
    logits, target = draw(seed, 4, classes, scale=scale).float(), torch.randint(classes, (4,), generator=random(seed))
    truth = both(F.cross_entropy, logits.double(), target, label_smoothing=eps)
    agree_result(both(cross_entropy, logits, target, label_smoothing=eps), truth,
                 plain=both(F.cross_entropy, logits, target, label_smoothing=eps), budget=FLOAT32)  # fmt: skip


def test_gradient_of_a_soft_target_is_torchs() -> None:
    logits, target = draw(1, 3, 4), draw(2, 3, 4).softmax(-1)
    ours = both(lambda q, z: cross_entropy(z, q, label_smoothing=0.1, weight=WEIGHT[:4]), target, logits)
    torchs = both(lambda q, z: F.cross_entropy(z, q, label_smoothing=0.1, weight=WEIGHT[:4]), target, logits)
    agree_result(ours, torchs, budget=FLOAT64)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_class_indices_of_any_integer_dtype(dtype: str) -> None:
    target = LABELS.to(getattr(torch, dtype))
    agree(cross_entropy(LOGITS, target), F.cross_entropy(LOGITS, LABELS), budget=FLOAT64, what=dtype)


@pytest.mark.parametrize("convention", ["torch", "renormalised"])
def test_one_class_costs_nothing_as_in_torch(convention: str) -> None:
    got = cross_entropy(draw(0, 3, 1), torch.zeros(3, dtype=torch.long), label_smoothing=0.1, convention=convention)
    agree(got.item(), 0.0, budget=FLOAT64, what="one class")


def test_no_rows_give_nan_and_a_zero_sum_as_in_torch() -> None:
    for target in (torch.zeros(0, dtype=torch.long), torch.zeros(0, 5)):
        assert cross_entropy(torch.zeros(0, 5), target).isnan()
        agree(cross_entropy(torch.zeros(0, 5), target, reduction="sum").item(), 0.0, budget=0, what="sum of nothing")


def test_classes_on_the_last_axis_by_name() -> None:
    logits, target = draw(3, 2, 4, 5), torch.randint(5, (2, 4), generator=random(3))
    prior, mask = draw(4, 2, 4, 5).softmax(-1), draw(5, 2, 4, 5) > -3
    mask.scatter_(-1, target.unsqueeze(-1), value=True)
    words = {"label_smoothing": 0.1, "reduction": "none"}
    last = cross_entropy(logits, target, prior=prior, class_mask=mask, class_dim=-1, **words)
    second = cross_entropy(
        logits.movedim(-1, 1), target, prior=prior.movedim(-1, 1), class_mask=mask.movedim(-1, 1), **words
    )
    agree(last, second, budget=0, what="class_dim=-1")
    soft = draw(6, 2, 4, 5).softmax(-1)
    agree(cross_entropy(logits, soft, class_dim=-1), F.cross_entropy(logits.movedim(-1, 1), soft.movedim(-1, 1)),
          budget=FLOAT64, what="soft, class_dim=-1")  # fmt: skip


# The chain is the judge -----------------------------------------------------------------------------------------------

SOFTMAX_FAMILIES = [name for name, family in FAMILIES.items() if family.link == "softmax"]
WEIGHTINGS = ["torch", *conventions.WEIGHTINGS]


@dataclass(frozen=True)
class Example:
    """A random case for the chain, and the same in torch's words."""

    case: Case
    given: dict[str, Any]
    logits: Any
    target: Any
    words: dict[str, Any]


@st.composite
def examples(draw_: Any) -> Example:
    family = FAMILIES[draw_(st.sampled_from(SOFTMAX_FAMILIES))]
    free = bool(family.accepts)
    soft, prior, mask = (free and draw_(st.booleans()) for _ in range(3))
    classes, rows, seed = draw_(st.integers(max(3, family.smallest), 7)), draw_(st.integers(1, 5)), draw_(SEEDS)
    kl = "sums to one" in family.laws and draw_(st.booleans())
    weighting = None if kl else draw_(st.sampled_from([None, *WEIGHTINGS]))
    logits = draw(seed, rows, classes)
    label = torch.randint(classes - 1, (rows,), generator=random(seed + 1))
    keep = torch.rand(rows, generator=random(seed + 2)) < draw_(st.sampled_from([1.1, 0.7]))
    keep[0] = True
    allowed = torch.ones(rows, classes, dtype=torch.bool)
    if mask:
        allowed = torch.rand(rows, classes, generator=random(seed + 3)) < 0.7
        allowed.scatter_(1, label.unsqueeze(1), value=True)
    q = (draw(seed + 4, rows, classes).softmax(-1) * allowed) if soft else label
    q = q / q.sum(-1, keepdim=True) if soft else q
    per_row = draw_(st.booleans())
    top = 1.0 if family.on_off(1.0, classes)[0] >= 0 else 0.5  # a negative target has no floor to agree about
    eps = top * torch.rand(rows, generator=random(seed + 5), dtype=torch.float64)
    eps = eps if per_row else draw_(st.sampled_from([0.0, 0.1, top]))
    u = draw(seed + 6, rows, classes).softmax(-1)
    w = 0.2 + torch.rand(classes, generator=random(seed + 7), dtype=torch.float64)
    ignore = classes - 1  # also the padding class, where the family has one
    reduction = draw_(st.sampled_from(["mean", "sum", "none"]))
    case = Case(
        family, "kl" if kl else "ce", weighting and weighting_named(weighting, soft=soft), soft=soft,
        prior="nk" if prior else "", smoothing="n" if per_row else "", mask="nk" if mask else "", ignored=True,
    )  # fmt: skip
    labels = torch.where(keep, label, ignore)
    known = {
        "logits": logits, "label": labels, "soft_label": q, "class_index": torch.arange(classes), "epsilon": eps,
        "n_classes": classes, "n_rows": rows, "prior": u, "class_weight": w, "allowed": allowed.double(),
        "ignore_index": ignore, "keep": keep.double(),
    }  # fmt: skip
    words = {
        "label_smoothing": eps, "reduction": reduction, "convention": family.name, "prior": u if prior else None,
        "class_mask": allowed if mask else None, "weight": None if weighting is None else w,
        "weighting": weighting or "torch", **({"row_weight": keep} if soft else {"ignore_index": ignore}),
    }  # fmt: skip
    return Example(case, known, logits, q if soft else labels, words)


@pytest.mark.slow
@settings(EXAMPLES, max_examples=250)
@given(examples())
def test_every_convention_and_weighting_gives_what_the_chain_gives(example: Example) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if example.case.divergence == "kl":
            speak_kl(patch)
        logits = example.logits.clone().requires_grad_()
        parts = loss_parts(logits, example.target, **example.words)
        loss = cross_entropy(logits, example.target, **example.words)
    loss.sum().backward()
    by_rows = example.words["reduction"] != "mean"  # a sum is that of the chain's rows
    truth = evaluate(chain(replace(example.case, reduction="none" if by_rows else "mean")), example.given)
    # A mean of no mass at all is NaN on both sides: "(1−ε)/K for ε/K" charges nothing at ε = 1.
    empty = not by_rows and "weight_sum" in truth and not np.any(truth["weight_sum"])
    agree(logits.grad, truth["gradient"], budget=FLOAT64, what="gradient", nan_agrees=empty)
    agree(parts.loss, loss, budget=FLOAT64, what="loss in parts", nan_agrees=empty)
    if not by_rows:
        agree(loss, truth["loss"][0, 0], budget=FLOAT64, what="loss", nan_agrees=empty)
        agree(parts.floor, truth["loss_floor"][0, 0], budget=FLOAT64, what="floor")
        return
    known = {"loss": "row_loss", "floor": "row_floor", "label_loss": "label_loss", "prior_loss": "prior_loss"}
    for part, word in known.items():
        rows = np.broadcast_to(truth[word], (len(logits), 1))[:, 0]
        expected = rows if example.words["reduction"] == "none" else rows.sum()
        agree(getattr(parts, part), expected, budget=FLOAT64, what=part)


def speak_kl(patch: pytest.MonkeyPatch) -> None:
    """Make every convention a KL divergence."""
    patch.setattr(_checks, "CONVENTIONS", {})
    patch.setattr(_checks, "convention_named", lambda name: replace(convention_named(name), divergence="kl"))


@pytest.mark.parametrize(
    ("weighting", "printed"),
    [
        ("torch", 0.989757), ("class/N", 2.474393), ("nll", 0.908078), ("expected", 0.876821), ("label/N", 2.218003),
        ("label", 0.887201),
    ],
)  # fmt: skip
def test_each_meaning_of_class_weights_has_its_number(weighting: str, printed: float) -> None:
    got = cross_entropy(LOGITS, LABELS, weight=WEIGHT, label_smoothing=0.1, weighting=weighting)
    agree(got.item(), printed, budget=5e-7, what=f"{weighting}, rounded to six decimals")


@pytest.mark.parametrize(
    ("convention", "printed"),
    [
        ("torch", [0.651914, 0.946023]), ("fairseq", [0.701914, 0.968523]), ("fairseq@0.10", [0.651914, 0.946023]),
        ("others but padding", [0.651914, 0.966023]), ("renormalised", [0.633733, 0.937841]),
        ("unnormalised", [0.642876, 0.928902]), ("1−εK/(K−1) for 1−ε", [0.640617, 0.924622]),
        ("1/K for ε/K", [2.858637, 2.526443]), ("(1−ε)/K for ε/K", [2.613446, 2.350841]),
        ("1−ε for ε", [2.251914, 1.666023]),
    ],
)  # fmt: skip
def test_each_convention_has_its_numbers(convention: str, printed: list[float]) -> None:
    got = cross_entropy(LOGITS, LABELS, label_smoothing=0.1, convention=convention, ignore_index=4, reduction="none")
    agree(got, printed, budget=5e-7, what=f"{convention}, rounded to six decimals")


def test_kl_is_the_cross_entropy_less_the_entropy_of_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    speak_kl(monkeypatch)
    got = cross_entropy(LOGITS, LABELS, label_smoothing=0.1, reduction="none", convention="uniform")
    agree(got, [0.262241, 0.556350], budget=5e-7, what="KL, rounded to six decimals")
    target = torch.full((1, 5), 0.02, dtype=torch.float64).index_fill_(1, torch.tensor(3), 0.92)
    agree(
        cross_entropy(target.log(), torch.tensor([3]), label_smoothing=0.1, convention="uniform").item(),
        0.0,
        budget=FLOAT64,
        what="at the optimum",
    )


# Smoothing, prior, mask -----------------------------------------------------------------------------------------------


def test_gradient_for_epsilon_is_prior_loss_minus_label_loss() -> None:
    logits, target = draw(7, 6, 5), torch.randint(5, (6,), generator=random(7))
    log_p = logits.log_softmax(-1)
    label, prior = -log_p.gather(1, target.unsqueeze(1)).squeeze(1), -log_p.mean(-1)
    one = both(lambda eps: cross_entropy(logits, target, label_smoothing=eps), torch.tensor(0.1, dtype=torch.float64))
    agree(one.gradient, (prior - label).mean(), budget=FLOAT64, what="d loss / d ε")
    per_row = both(
        lambda eps: cross_entropy(logits, target, label_smoothing=eps), torch.full((6,), 0.1, dtype=torch.float64)
    )
    agree(per_row.gradient, (prior - label) / 6, budget=FLOAT64, what="d loss / d ε, one a row")


def test_one_epsilon_a_row_is_as_many_losses() -> None:
    logits, target, eps = draw(8, 3, 5), torch.tensor([4, 0, 2]), torch.tensor([0.0, 0.3, 1.0])
    got = cross_entropy(logits, target, label_smoothing=eps, reduction="none")
    for row in range(3):
        alone = F.cross_entropy(logits[row], target[row], label_smoothing=eps[row].item())
        agree(got[row], alone, budget=FLOAT64, what=f"row {row}")


@pytest.mark.parametrize("shape", [(5,), (4, 5)])
def test_prior_is_what_epsilon_is_spread_over(shape: tuple[int, ...]) -> None:
    logits, target, prior = draw(9, 4, 5), torch.tensor([0, 1, 2, 4]), draw(10, *shape).softmax(-1)
    smoothed = 0.7 * F.one_hot(target, 5).double() + 0.3 * prior
    agree_result(both(cross_entropy, logits, target, label_smoothing=0.3, prior=prior),
                 both(F.cross_entropy, logits, smoothed), budget=FLOAT64)  # fmt: skip


def test_uniform_prior_is_no_prior() -> None:
    prior = torch.full((5,), 0.2, dtype=torch.float64)
    agree_result(both(cross_entropy, LOGITS, LABELS, label_smoothing=0.1, prior=prior, weight=WEIGHT),
                 both(cross_entropy, LOGITS, LABELS, label_smoothing=0.1, weight=WEIGHT), budget=FLOAT64)  # fmt: skip


@pytest.mark.parametrize("soft", [False, True])
def test_masked_classes_are_as_good_as_absent(soft: bool) -> None:
    mask = torch.tensor([True, False, True, True, False])
    prior = torch.tensor([0.1, 0.2, 0.3, 0.2, 0.2], dtype=torch.float64)
    target = torch.tensor([[0.5, 0, 0.5, 0, 0], [0, 0, 0, 1, 0]], dtype=torch.float64) if soft else LABELS
    present = target[:, mask] if soft else torch.tensor([0, 2])
    logits = LOGITS.clone()
    logits[:, 1], logits[:, 4] = -INF, NAN
    ours = both(cross_entropy, logits, target, label_smoothing=0.3, prior=prior, class_mask=mask, weight=WEIGHT)
    truth = both(
        cross_entropy, LOGITS[:, mask], present, label_smoothing=0.3, prior=prior[mask] / 0.6, weight=WEIGHT[mask]
    )
    agree_result(LossAndGradient(ours.loss, ours.gradient[:, mask]), truth, budget=FLOAT64)
    agree(ours.gradient[:, ~mask], torch.zeros(2, 2, dtype=torch.float64), budget=0, what="gradient of a masked class")


def test_mask_taken_from_the_logits() -> None:
    mask = torch.tensor([[True, True, False, True, False], [False, True, True, True, True]])
    logits = torch.where(mask, LOGITS, -INF)
    agree_result(both(cross_entropy, logits, LABELS, label_smoothing=0.1, class_mask="finite"),
                 both(cross_entropy, LOGITS, LABELS, label_smoothing=0.1, class_mask=mask), budget=0)  # fmt: skip
    assert cross_entropy(logits.index_fill(1, torch.tensor(3), NAN), LABELS, class_mask="finite").isnan()


def test_without_a_mask_an_unreachable_class_costs_infinity_as_in_torch() -> None:
    logits = torch.tensor([[0.0, -INF, 1.0]], dtype=torch.float64)
    for label, eps in ((0, 0.1), (1, 0.0), (1, 0.1), (0, 0.0)):
        got = cross_entropy(logits, torch.tensor([label]), label_smoothing=eps)
        agree(
            got,
            F.cross_entropy(logits, torch.tensor([label]), label_smoothing=eps),
            budget=FLOAT64,
            what=f"{label}, {eps}",
        )


def test_a_class_without_mass_adds_nothing_however_unlikely() -> None:
    logits, plain = (
        torch.tensor([[0.0, -INF, 1.0]], dtype=torch.float64),
        torch.tensor([[0.0, 1.0]], dtype=torch.float64),
    )
    without = F.cross_entropy(plain, torch.tensor([[0.75, 0.25]], dtype=torch.float64))
    soft = torch.tensor([[0.75, 0.0, 0.25]], dtype=torch.float64)
    agree(cross_entropy(logits, soft), without, budget=FLOAT64, what="soft target")
    prior = torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64)
    agree(
        cross_entropy(logits, torch.tensor([0]), label_smoothing=0.5, prior=prior),
        without,
        budget=FLOAT64,
        what="prior",
    )
    eps = torch.tensor([0.0], dtype=torch.float64)
    alone = F.cross_entropy(plain, torch.tensor([0]))
    agree(
        cross_entropy(logits, torch.tensor([0]), label_smoothing=eps),
        alone,
        budget=FLOAT64,
        what="an ε of 0 in a vector",
    )


# Rows -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("junk", [INF, -INF, NAN])
@pytest.mark.parametrize("by_weight", [False, True])
def test_an_ignored_row_equals_a_removed_row(junk: float, by_weight: bool) -> None:
    logits, target = (
        torch.cat([LOGITS, torch.full((1, 5), junk, dtype=torch.float64)]),
        torch.cat([LABELS, torch.tensor([-100])]),
    )
    words: dict[str, Any] = {"row_weight": torch.tensor([1, 1, 0])} if by_weight else {}
    eps = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    ours = both(cross_entropy, logits, target, label_smoothing=eps, weight=WEIGHT, **words)
    truth = both(cross_entropy, LOGITS, LABELS, label_smoothing=0.1, weight=WEIGHT)
    agree_result(LossAndGradient(ours.loss, ours.gradient[:2]), truth, budget=FLOAT64)
    agree(ours.gradient[2], torch.zeros(5, dtype=torch.float64), budget=0, what="gradient of the ignored row")
    assert eps.grad.isfinite()


def test_junk_in_everything_that_belongs_to_an_ignored_row_is_ignored() -> None:
    nan = torch.full((1, 5), NAN, dtype=torch.float64)
    uniform = torch.full((2, 5), 0.2, dtype=torch.float64)
    soft, prior = (
        torch.cat([F.one_hot(LABELS, 5).double(), nan]).requires_grad_(),
        torch.cat([uniform, nan]).requires_grad_(),
    )
    eps = torch.tensor([0.1, 0.1, NAN], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True] * 5, [True] * 5, [False] * 5])
    ours = both(cross_entropy, torch.cat([LOGITS, nan]), soft, label_smoothing=eps, prior=prior, class_mask=mask,
                row_weight=torch.tensor([1.0, 1.0, 0.0]))  # fmt: skip
    truth = both(cross_entropy, LOGITS, LABELS, label_smoothing=0.1)
    agree_result(LossAndGradient(ours.loss, ours.gradient[:2]), truth, budget=FLOAT64)
    assert all(x.grad.isfinite().all() for x in (soft, prior, eps))


def test_an_ignored_row_that_the_prior_gives_nothing_leaves_a_learned_prior_alone() -> None:
    mask, target = torch.tensor([[True] * 5, [False] * 4 + [True]]), torch.tensor([0, -100])
    learned = torch.tensor([0.25, 0.25, 0.25, 0.25, 0.0], dtype=torch.float64)
    ours = both(lambda u: cross_entropy(LOGITS, target, prior=u, class_mask=mask, label_smoothing=0.1), learned)
    alone = both(
        lambda u: cross_entropy(LOGITS[:1], target[:1], prior=u, class_mask=mask[:1], label_smoothing=0.1), learned
    )
    agree_result(ours, alone, budget=FLOAT64)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_row_of_weight_two_counts_as_two_rows(weighting: str) -> None:
    logits, target = draw(11, 3, 5), torch.tensor([1, 4, 2])
    twice = torch.tensor([0, 0, 1, 2, 2, 2])
    words = {"label_smoothing": 0.1, "weight": WEIGHT, "weighting": weighting}
    got = cross_entropy(logits, target, row_weight=torch.tensor([2.0, 1.0, 3.0]), **words)
    agree(got, cross_entropy(logits[twice], target[twice], **words), budget=FLOAT64, what=weighting)


def test_learned_row_weights_get_the_loss_of_their_row_even_at_zero() -> None:
    rows = cross_entropy(LOGITS, LABELS, reduction="none")
    got = both(
        lambda r: cross_entropy(LOGITS, LABELS, row_weight=r, reduction="sum"), torch.tensor([0.0, 1.0]).double()
    )
    agree(got.gradient, rows, budget=FLOAT64, what="gradient of row_weight")


@pytest.mark.parametrize("normalizer", [7, 7.0, torch.tensor(7)])
def test_a_sum_may_be_divided_by_what_one_says(normalizer: Any) -> None:
    rows = cross_entropy(LOGITS, LABELS, reduction="none")
    got = cross_entropy(LOGITS, LABELS, reduction="sum", normalizer=normalizer)
    agree(got, rows.sum() / 7, budget=FLOAT64, what="sum / 7")


def test_all_rows_ignored_give_nan_as_in_torch_and_no_gradient() -> None:
    got = both(cross_entropy, LOGITS, torch.tensor([-100, -100]), label_smoothing=0.1)
    assert got.loss.isnan()
    agree(got.gradient, torch.zeros_like(LOGITS), budget=0, what="gradient")


# Numerics -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize(("convention", "expected"), [("torch", 15.0), ("fairseq", 20.0)])
def test_a_gap_of_two_hundred_is_no_infinity(dtype: str, convention: str, expected: float) -> None:
    logits = torch.tensor([[0.0, 200, 0, 0]], dtype=getattr(torch, dtype))
    got = cross_entropy(logits, torch.tensor([1]), label_smoothing=0.1, convention=convention)
    agree(got.item(), expected, budget=FLOAT32, what=f"{convention} in {dtype}")


@pytest.mark.parametrize("classes", [4096, 131072])
def test_float16_logits_of_a_large_vocabulary_stay_finite(classes: int) -> None:
    logits, target = draw(12, 2, classes).half(), torch.tensor([7, classes - 1])
    got = cross_entropy(logits, target, label_smoothing=0.1)
    assert F.cross_entropy(logits, target, label_smoothing=0.1).isinf()  # what torch gives
    agree(
        got,
        F.cross_entropy(logits.double(), target, label_smoothing=0.1),
        budget=FLOAT32,
        what="float16",
        any_dtype=True,
    )
    assert got.dtype == torch.float32


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("soft", [False, True])
def test_half_precision_gradient_is_rounded_once(dtype: str, soft: bool) -> None:
    logits = draw(13, 8, 50).to(getattr(torch, dtype))
    target = draw(14, 8, 50).softmax(-1) if soft else torch.randint(50, (8,), generator=random(14))
    words = {"label_smoothing": 0.1, "reduction": "sum"}
    ours, single = both(cross_entropy, logits, target, **words), both(cross_entropy, logits.float(), target, **words)
    agree_result(single, both(F.cross_entropy, logits.double(), target, **words), budget=FLOAT32)
    agree(ours.gradient, single.gradient.to(logits.dtype), budget=0, what="the gradient in float32, rounded")
    agree(ours.loss, single.loss, budget=0, what="the loss in float32")


@pytest.mark.parametrize("shift", [-1e4, 0.0, 1e4])
def test_shifting_logits_changes_nothing_in_float32(shift: float) -> None:
    logits = torch.tensor([[2.0, 1, 0, -1, -2], [4, 1, -3, 2, 0]])  # integers: the shift itself is exact
    target = torch.tensor([0, 3])
    ours = both(cross_entropy, logits + shift, target, label_smoothing=0.1)
    agree_result(ours, both(F.cross_entropy, logits.double(), target, label_smoothing=0.1), budget=FLOAT32)


# Autograd -------------------------------------------------------------------------------------------------------------

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"label_smoothing": 0.1},
    "others": {"label_smoothing": 0.1, "convention": "fairseq"},
    "weights": {"label_smoothing": 0.1, "weight": WEIGHT, "weighting": "nll"},
    "mask": {"label_smoothing": 0.1, "class_mask": torch.tensor([True, False, True, True, True])},
    "ignored": {"label_smoothing": 0.1, "ignore_index": 3},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_first_and_second_derivatives_agree_with_finite_differences(variant: str, reduction: str) -> None:
    logits = LOGITS.clone().requires_grad_()

    def loss(z: Any) -> Any:
        return cross_entropy(z, LABELS, reduction=reduction, **VARIANTS[variant])

    assert torch.autograd.gradcheck(loss, logits)
    assert torch.autograd.gradgradcheck(loss, logits)


def test_derivatives_for_target_prior_and_epsilon_agree_with_finite_differences() -> None:
    soft, prior = (draw(seed, 2, 5).softmax(-1).requires_grad_() for seed in (15, 16))
    eps = torch.tensor([0.1, 0.6], dtype=torch.float64, requires_grad=True)

    def loss(z: Any, q: Any, u: Any, e: Any) -> Any:
        return cross_entropy(z, q, prior=u, label_smoothing=e, weight=WEIGHT, weighting="expected", validate=False)

    inputs = (LOGITS.clone().requires_grad_(), soft, prior, eps)
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs)


def test_kl_derivatives_agree_with_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    speak_kl(monkeypatch)
    eps = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    for convention in ("uniform", "others"):
        assert torch.autograd.gradcheck(
            lambda z, e, c=convention: cross_entropy(z, LABELS, label_smoothing=e, convention=c),
            (LOGITS.clone().requires_grad_(), eps),
        )


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch.func.jvp loads decompositions by torch.jit
def test_function_transforms_give_what_autograd_gives() -> None:
    from torch.func import grad, jvp, vmap

    def loss(z: Any, y: Any) -> Any:
        return cross_entropy(z, y, label_smoothing=0.1)

    logits, target = draw(17, 4, 5), torch.tensor([0, 3, 2, 2])
    direct = both(cross_entropy, logits, target, label_smoothing=0.1)
    agree(grad(loss)(logits, target), direct.gradient, budget=FLOAT64, what="grad")
    agree(vmap(grad(loss))(logits, target) / 4, direct.gradient, budget=FLOAT64, what="vmap of grad")
    tangent = draw(18, 4, 5)
    _, slope = jvp(lambda z: loss(z, target), (logits,), (tangent,))
    agree(slope, (direct.gradient * tangent).sum(), budget=FLOAT64, what="jvp")


def test_a_second_backward_adds_the_same_gradient_again() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = cross_entropy(logits, LABELS, label_smoothing=0.1) * 2
    loss.backward(retain_graph=True)
    once = logits.grad.clone()
    loss.backward()
    agree(logits.grad, 2 * once, budget=0, what="two backwards")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own are not ours to fix
@pytest.mark.parametrize(("backend", "dynamic"), [("inductor", None), ("aot_eager", True)])
def test_it_compiles_without_a_graph_break(backend: str, dynamic: bool | None) -> None:
    def loss(z: Any, y: Any) -> Any:
        return cross_entropy(z, y, label_smoothing=0.1, weight=WEIGHT, class_mask="finite")

    torch.compiler.reset()
    compiled = torch.compile(loss, backend=backend, fullgraph=True, dynamic=dynamic)
    for rows in (3, 5):
        logits, target = draw(19, rows, 5), torch.arange(rows) % 5
        target[0] = -100
        agree_result(both(compiled, logits, target), both(loss, logits, target), budget=FLOAT64)


# Refusals -------------------------------------------------------------------------------------------------------------

HALF = torch.full((2, 5), 0.2, dtype=torch.float64)
ODD = torch.tensor([0.5, -0.1, 0.2, 0.2, 0.2], dtype=torch.float64)
TRUE = torch.ones(5, dtype=torch.bool)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"label_smoothing": 1.5}, r"label_smoothing must be between 0\.0 and 1\.0, got 1\.5"),
        ({"label_smoothing": -0.1}, r"label_smoothing must be between 0\.0 and 1\.0, got -0\.1"),
        ({"label_smoothing": NAN}, r"label_smoothing must be between 0\.0 and 1\.0, got nan"),
        ({"label_smoothing": torch.tensor([0.1, 2.0])}, r"label_smoothing of row 1 must be between 0\.0 and 1\.0, got 2"),
        ({"label_smoothing": torch.tensor([0.1, NAN])}, r"label_smoothing of row 1 must be between .* got nan"),
        ({"label_smoothing": torch.zeros(3)}, r"label_smoothing has shape \(3,\), expected \(2,\): one entry a row"),
        ({"target": torch.tensor([0, 7])}, r"label 7 of row 1 is out of range: expected 0 to 4, or ignore_index=-100"),
        ({"target": torch.tensor([-1, 0])}, "label -1 of row 0 is out of range"),
        ({"target": torch.tensor([0, 1, 2])}, r"class indices for logits of shape \(2, 5\) have shape \(2,\), got \(3,\)"),
        ({"target": F.one_hot(LABELS, 5)}, "one-hot targets must be floating point"),
        ({"target": LABELS.double()}, r"a floating target .* the logits' shape \(2, 5\), got \(2,\): class indices need an"),
        ({"target": 2 * HALF}, r"the soft target of row 0 sums to 2, expected 1: divide it by its sum"),
        ({"target": torch.stack([HALF[0], ODD])}, r"the soft target of row 1 gives class 1 the mass -0\.1"),
        ({"target": NAN * HALF}, "the soft target of row 0 gives class 0 the mass nan"),
        ({"target": HALF, "ignore_index": 2}, "soft targets have no index to ignore, got ignore_index=2: use row_weight"),
        ({"prior": torch.ones(4) / 4}, r"prior has shape \(4,\), expected \(5,\), one number a class, or the logits' shape"),
        ({"prior": ODD}, r"the prior gives class 1 the mass -0\.1, expected none below 0"),
        ({"prior": HALF[0] * 2}, r"the prior sums to 2, expected 1"),
        ({"prior": HALF * torch.tensor([[1.0], [3.0]])}, r"the prior of row 1 sums to 3, expected 1"),
        (
            {"prior": HALF[0], "convention": "fairseq"},
            "convention 'fairseq' does not take a prior: use one whose target is uniform or renormalised, such as torch",
        ),
        ({"target": HALF, "convention": "fairseq"}, "convention 'fairseq' does not take soft targets"),
        ({"class_mask": TRUE, "convention": "fairseq"}, "convention 'fairseq' does not take a class mask"),
        ({"convention": "binary"}, "convention 'binary' is no softmax loss but a target for the diagnosis only"),
        ({"convention": "gaussian"}, "convention 'gaussian' is no softmax loss but a target for the diagnosis only"),
        ({"convention": "others but padding"}, "ignore_index must be that class, 0 to 4, got -100"),
        ({"convention": "fairsec"}, "unknown convention 'fairsec'"),
        ({"weighting": "keras"}, "unknown weighting 'keras'"),
        ({"weight": torch.ones(4)}, r"weight has shape \(4,\), expected \(5,\), one number a class"),
        ({"weight": -WEIGHT}, r"weight\[0\] is -1, expected a finite number not below 0"),
        ({"row_weight": torch.tensor([1.0, NAN])}, r"row_weight\[1\] is nan, expected a finite number not below 0"),
        ({"row_weight": torch.ones(2, 1)}, r"row_weight has shape \(2, 1\), expected \(2,\): one entry a row"),
        ({"class_mask": ~TRUE}, "class_mask leaves no class of row 0"),
        ({"class_mask": torch.stack([TRUE, ~TRUE])}, "class_mask leaves no class of row 1"),
        ({"class_mask": torch.arange(5) < 3}, "the label 3 of row 1 is masked by class_mask"),
        ({"class_mask": torch.arange(5) < 3, "target": HALF}, "the soft target of row 0 is masked by class_mask"),
        ({"class_mask": "infinite"}, "class_mask must be a bool tensor or 'finite', got 'infinite'"),
        ({"reduction": "average"}, "reduction must be one of mean, sum, none, got 'average'"),
        ({"normalizer": 3}, "normalizer divides a sum: use reduction='sum' with it, got 'mean'"),
        ({"normalizer": torch.ones(2), "reduction": "sum"}, r"normalizer has shape \(2,\), expected a number or a scalar"),
        ({"class_dim": 2}, r"logits of shape \(2, 5\) have no class axis 2"),
        ({"input": torch.zeros(2, 0)}, r"logits of shape \(2, 0\) have no class along axis 1"),
        ({"input": torch.tensor(1.0)}, r"logits of shape \(\) have no class axis"),
        ({"input": torch.zeros(2, 1), "target": LABELS * 0, "convention": "fairseq"}, "needs at least 2 classes, got 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        cross_entropy(**{"input": LOGITS, "target": LABELS, **words})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"input": LABELS.expand(2, 2)}, "logits must be a float16, bfloat16, float32 or float64 tensor, got torch.int64"),
        ({"input": [[1.0, 2.0]]}, "logits must be a .* tensor, got list"),
        ({"target": [0, 3]}, "target must be a tensor of class indices .* got list"),
        ({"target": LABELS > 0}, "target must be a tensor of class indices .* got torch.bool"),
        ({"label_smoothing": "0.1"}, "label_smoothing must be a number or a tensor, got str"),
        ({"label_smoothing": True}, "label_smoothing must be a number or a tensor, got bool"),
        ({"label_smoothing": LABELS}, "label_smoothing must be a floating-point tensor, got torch.int64"),
        ({"weight": [1.0] * 5}, "weight must be a floating-point tensor, got list"),
        ({"prior": [0.2] * 5}, "prior must be a floating-point tensor, got list"),
        ({"row_weight": [1, 1]}, "row_weight must be a tensor of real numbers"),
        ({"class_mask": torch.ones(5)}, "class_mask must be a bool tensor, True for a class that may be predicted, got torch.f"),
        ({"ignore_index": None}, "ignore_index must be an integer, got NoneType"),
    ],
)  # fmt: skip
def test_a_wrong_type_is_a_type_error(words: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        cross_entropy(**{"input": LOGITS, "target": LABELS, **words})


def test_a_prior_without_mass_on_the_allowed_classes_is_refused() -> None:
    prior, mask = torch.tensor([0.0, 0.5, 0.5, 0, 0]).double(), torch.tensor([True, False, False, True, True])
    with pytest.raises(ValueError, match="class_mask leaves no class that the prior gives mass to of row 0"):
        cross_entropy(LOGITS, LABELS, prior=prior, class_mask=mask, label_smoothing=0.1)


def test_kl_refuses_class_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    speak_kl(monkeypatch)
    with pytest.raises(ValueError, match="is a KL divergence"):
        cross_entropy(LOGITS, LABELS, weight=WEIGHT, validate=True)  # the short way has no KL
    with pytest.raises(ValueError, match="is a KL divergence"):
        cross_entropy(LOGITS, LABELS, convention="unnormalised")


def test_a_bad_row_that_nobody_looked_at_is_nan_and_says_so_in_its_gradient() -> None:
    mask = torch.tensor([True, True, True, True, False])
    for target in (torch.tensor([0, 5]), torch.tensor([0, -1]), torch.tensor([0, 4])):
        got = both(
            cross_entropy, LOGITS, target, label_smoothing=0.1, class_mask=mask, reduction="none", validate=False
        )
        assert got.loss.isnan().tolist() == [False, True]
        assert got.gradient.isnan().any(1).tolist() == [False, True]
    eps = torch.tensor([0.1, 1.1])
    assert cross_entropy(LOGITS, LABELS, label_smoothing=eps, reduction="none", validate=False).isnan().tolist() == [
        False,
        True,
    ]


def test_a_soft_target_taken_as_it_is_gives_torchs_number() -> None:
    agree_result(both(cross_entropy, LOGITS, 2 * HALF, label_smoothing=0.1, validate=False),
                 both(F.cross_entropy, LOGITS, 2 * HALF, label_smoothing=0.1), budget=FLOAT64)  # fmt: skip


def test_looking_can_be_asked_for_inside_a_transform() -> None:
    with pytest.raises(ValueError, match="label 9 of row 1 is out of range"):
        torch.func.grad(lambda z: cross_entropy(z, torch.tensor([0, 9]), validate=True))(LOGITS)


# Parts and documents --------------------------------------------------------------------------------------------------


def test_parts_mix_to_the_loss_and_the_label_part_is_the_unsmoothed_loss() -> None:
    parts = loss_parts(LOGITS, LABELS, label_smoothing=0.1)
    agree(parts.label_loss, F.cross_entropy(LOGITS, LABELS), budget=FLOAT64, what="H(q,p)")
    agree(0.9 * parts.label_loss + 0.1 * parts.prior_loss, parts.loss, budget=FLOAT64, what="the paper's identity")


def test_unknown_keywords_of_loss_parts_are_type_errors() -> None:
    with pytest.raises(TypeError, match="smoothing"):
        loss_parts(LOGITS, LABELS, smoothing=0.1)


@pytest.mark.parametrize("documented", [functional, module])
def test_examples_in_the_docstrings_run(documented: Any) -> None:
    results = doctest.testmod(documented, extraglobs={"torch": torch})
    assert results.attempted > 0
    assert results.failed == 0
