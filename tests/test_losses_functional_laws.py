"""The laws of the loss, for each implementation, target, meaning of class weights and dtype.

`test_laws.py` holds the same laws against the chain; here they are held against what trains: the eager path, whatever
`cross_entropy` chooses by itself (the native kernel where it is built and serves), and the gradient in the forward. A
family declares the laws it obeys. A law is run on all examples of the families that declare it, and on one example of
each family that does not, where it must fail.

Logits lie on a grid of eighths, which every dtype holds, so that a shift or a permutation is the same in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from agree import FINITE_DIFFERENCES, FLOAT32, FLOAT64, LossAndGradient, agree, agree_result
from cases import CLASSES, MEANINGS, SOFTMAX_FAMILIES, Example, examples

torch = pytest.importorskip("torch")

from labelsmooth.losses import _checks, _cpu_plain, _kernels, cross_entropy, loss_parts  # noqa: E402  after the skip
from labelsmooth.maths.conventions import FAMILIES, WEIGHTINGS, convention_named, weighting_named  # noqa: E402

DTYPES = ["float64", "float32", "bfloat16", "float16"]
IMPLEMENTATIONS = ["eager", "chosen", "at once"]
REDUCTIONS = {"eager": ("mean", "sum", "none"), "chosen": ("mean", "sum", "none"), "at once": ("mean", "sum")}
# What a gradient may miss in its dtype: two roundings, one in each of the runs that are compared.
GRADIENT = {"float64": FLOAT64, "float32": FLOAT32, "bfloat16": 2.0**-7, "float16": 2.0**-10}
LOSS = {"float64": FLOAT64, "float32": FLOAT32, "bfloat16": FLOAT32, "float16": FLOAT32}


@dataclass(frozen=True)
class Loss:
    """One implementation in one dtype; it runs examples."""

    implementation: str
    dtype: str

    def ways(self) -> tuple[str, ...]:
        return REDUCTIONS[self.implementation] if self.dtype == "float64" else ("mean",)

    def __call__(self, example: Example, way: str, **changes: Any) -> LossAndGradient:
        logits = torch.tensor(np.asarray(changes.pop("logits", example.logits))).to(getattr(torch, self.dtype))
        logits = logits.requires_grad_()
        with self.chosen(example):
            loss = cross_entropy(logits, **in_torchs_words(example, **changes), reduction=way,
                                 gradient_in_forward=self.implementation == "at once")  # fmt: skip
        loss.sum().backward()
        return LossAndGradient(loss.detach(), logits.grad)

    @contextmanager
    def chosen(self, example: Example) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            if self.implementation == "eager":
                no_native_kernel(patch)
            if example.kl:
                patch.setattr(_checks, "CONVENTIONS", {})
                named = lambda name: replace(convention_named(name), divergence="kl")  # noqa: E731
                patch.setattr(_checks, "convention_named", named)
            yield

    def same(self, got: LossAndGradient, expected: LossAndGradient, what: str) -> None:
        agree(got.loss, expected.loss, budget=LOSS[self.dtype], what=f"{what}: loss")
        agree(got.gradient, expected.gradient, budget=GRADIENT[self.dtype], what=f"{what}: gradient")


def no_native_kernel(patch: pytest.MonkeyPatch) -> None:
    """Leave everything to plain torch, as where there was no compiler."""
    patch.setattr(_kernels, "serves", lambda *_: False)
    patch.setattr(_cpu_plain, "plain_loss", lambda *_: None)


def in_torchs_words(example: Example, **changes: Any) -> dict[str, Any]:
    """Say an example in the keywords of `cross_entropy`."""
    options = {**example.options, **changes}
    target, eps = torch.tensor(np.asarray(example.labels)), options.pop("label_smoothing", example.label_smoothing)
    words: dict[str, Any] = {"target": target, "label_smoothing": torch.tensor(eps) if np.ndim(eps) else eps}
    for word in ("prior", "weight"):
        if word in options:
            words[word] = torch.tensor(np.asarray(options[word]))
    if "class_mask" in options:
        words["class_mask"] = torch.tensor(np.asarray(options["class_mask"]) == 1)
    if "keep" in options:
        words["row_weight"] = torch.tensor(np.asarray(options["keep"]))
    if not target.is_floating_point():
        words["ignore_index"] = options["ignore_index"]
    words |= {word: options[word] for word in ("convention", "weighting") if word in options}
    if words["convention"] == "uniform" and not example.kl:
        words["convention"] = "torch"  # the same target, by the name for which there is a shorter way
    return words


def on_the_grid(example: Example) -> Example:
    return replace(example, logits=np.round(np.asarray(example.logits) * 8) / 8)


def batches(family: str, meanings: Any = MEANINGS) -> Iterator[Example]:
    for meaning in meanings:
        yield from map(on_the_grid, examples(FAMILIES[family], meaning))


def counts(example: Example) -> Any:
    """Give the rows that count, as booleans."""
    if "keep" in example.options:
        return np.asarray(example.options["keep"]) == 1
    return np.ones(len(example.labels), bool) if example.soft else example.labels != example.options["ignore_index"]


def by_row(example: Example, change: Callable[[Any], Any]) -> Example:
    """Change everything that has one entry a row."""
    options = dict(example.options)
    for word in ("prior", "class_mask", "keep"):
        if word in options and len(np.shape(options[word])) == (1 if word == "keep" else 2):
            options[word] = change(np.asarray(options[word]))
    smoothing = (
        change(np.asarray(example.label_smoothing)) if np.ndim(example.label_smoothing) else example.label_smoothing
    )
    return replace(example, logits=change(example.logits), labels=change(example.labels), label_smoothing=smoothing,
                   options=options)  # fmt: skip


# The laws ------------------------------------------------------------------------------------------------------------


def shifting_logits_changes_nothing(loss: Loss, example: Example) -> None:
    shift = np.array([[8.0], [-7.0], [0.5], [3.0]])
    for way in loss.ways():
        shifted = loss(example, way, logits=example.logits + shift)
        loss.same(shifted, loss(example, way), f"{example.name}, {way}")


def permuting_classes_permutes(loss: Loss, example: Example) -> None:
    order = np.roll(np.arange(CLASSES), -1)  # class k is now what class order[k] was
    options, labels = dict(example.options), example.labels
    for word in ("prior", "class_mask", "weight"):
        if word in options:
            options[word] = np.asarray(options[word])[..., order]
    if example.soft:
        labels = labels[:, order]
    else:
        ignored = ~counts(example)
        labels = np.where(ignored, labels, np.argsort(order)[np.where(ignored, 0, labels)])
    moved = replace(example, logits=example.logits[:, order], labels=labels, options=options)
    for way in loss.ways():
        here, there = loss(example, way), loss(moved, way)
        loss.same(there, LossAndGradient(here.loss, here.gradient[:, order]), f"{example.name}, {way}")


def gradient_sums_to_zero_over_classes(loss: Loss, example: Example) -> None:
    for way in loss.ways():
        gradient = loss(example, way).gradient.double()
        agree(gradient.sum(1), torch.zeros(len(gradient)).double(), budget=CLASSES * GRADIENT[loss.dtype],
              what=f"{example.name}, {way}")  # fmt: skip


def an_ignored_row_equals_a_removed_row(loss: Loss, example: Example) -> None:
    there = counts(example)
    without = by_row(example, lambda x: x[there])
    longer = by_row(example, lambda x: np.insert(x, 1, x[0], axis=0))
    options, labels = dict(longer.options), longer.labels
    if example.soft:
        options["keep"] = np.insert(there.astype(float), 1, 0.0)
    else:
        labels[1] = options["ignore_index"]
    longer.logits[1] = [np.nan, np.inf, -np.inf, 0.0, 1e4]
    longer = replace(longer, labels=labels, options=options)
    kept = torch.tensor(np.insert(there, 1, False))
    for way in loss.ways():
        less, more = loss(without, way), loss(longer, way)
        value = more.loss[kept] if way == "none" else more.loss
        loss.same(LossAndGradient(value, more.gradient[kept]), less, f"{example.name}, {way}")
        agree(more.gradient[~kept], torch.zeros_like(more.gradient[~kept]), budget=0, what=f"{example.name}: ignored")


def no_smoothing_is_plain_cross_entropy(loss: Loss, example: Example) -> None:
    """Written out in NumPy, so that no part of ours is its own judge."""
    there, options = counts(example), example.options
    q = np.asarray(example.labels) if example.soft else np.eye(CLASSES)[np.where(there, example.labels, 0)]
    z = np.where(np.asarray(options.get("class_mask", 1)) * np.isfinite(example.logits) > 0, example.logits, -np.inf)
    with np.errstate(all="ignore"):
        minus_log = np.where(q > 0, np.logaddexp.reduce(z, axis=1, keepdims=True) - z, 0.0)
        own = -np.where(q > 0, q * np.log(q), 0.0).sum(axis=1)
    w = np.asarray(options.get("weight", np.ones(CLASSES)))
    charge = WEIGHTINGS[options["weighting"]].charge if "weight" in options else ""
    if charge in {"label", "expected"}:
        expected = (q * w).sum(axis=1) * (q * minus_log).sum(axis=1)
    else:
        expected = (q * w * minus_log).sum(axis=1)
    expected = np.where(there, expected - own * example.kl, 0.0)
    way = "none" if "none" in REDUCTIONS[loss.implementation] else "sum"
    got = loss(example, way, label_smoothing=0.0).loss
    agree(
        got, expected if way == "none" else expected.sum(), budget=LOSS[loss.dtype], what=example.name, any_dtype=True
    )


def the_loss_is_smallest_and_equals_its_floor_at_the_charged_shares(loss: Loss, example: Example) -> None:
    if loss.dtype != "float64":
        return  # the logarithm of a share is on no grid
    there = torch.tensor(counts(example))
    for way in loss.ways():
        run = example.trace(reduction=way)
        charged = getattr(run, "charged" if "charged" in run.chain else "target")
        with np.errstate(divide="ignore"):
            best = np.where(charged > 0, np.log(charged), -1000.0)  # exp(-1000) is 0, as -inf would give
        at_best = loss(example, way, logits=best)
        with loss.chosen(example):
            parts = loss_parts(torch.tensor(best), **in_torchs_words(example), reduction=way)
        agree(at_best.loss, parts.floor, budget=FLOAT64, what=f"{example.name}, {way}: the loss there")
        agree(
            at_best.gradient,
            torch.zeros_like(at_best.gradient),
            budget=FLOAT64,
            what=f"{example.name}, {way}: gradient",
        )
        more = loss(example, way).loss - parts.floor
        assert bool((more[there] if way == "none" else more).min() > 1e-6), (
            f"{example.name}: any other prediction loses more"
        )


def the_two_terms_add_up_to_the_loss(loss: Loss, example: Example) -> None:
    eps = example.label_smoothing
    words = in_torchs_words(example)
    with loss.chosen(example):
        parts = loss_parts(torch.tensor(example.logits).to(getattr(torch, loss.dtype)), **words, reduction="sum")
        floor = loss_parts(torch.tensor(example.logits), **words, reduction="sum").floor
    if np.ndim(eps) or example.kl:
        return  # a mixture with one ε only
    kept, spread = example.family.keep(eps, CLASSES), example.family.spread(eps, CLASSES)
    agree(kept * parts.label_loss + spread * parts.prior_loss, parts.loss, budget=LOSS[loss.dtype], what=example.name)
    way = "sum"
    agree(loss(example, way).loss, parts.loss, budget=LOSS[loss.dtype], what=f"{example.name}: the loss alone")
    assert floor.isfinite()


THE_LAWS: dict[str, Callable[[Loss, Example], None]] = {
    "shift": shifting_logits_changes_nothing,
    "permutation": permuting_classes_permutes,
    "gradient sums to zero": gradient_sums_to_zero_over_classes,
    "ignored is removed": an_ignored_row_equals_a_removed_row,
    "no smoothing is cross-entropy": no_smoothing_is_plain_cross_entropy,
    "floor": the_loss_is_smallest_and_equals_its_floor_at_the_charged_shares,
    "decomposition": the_two_terms_add_up_to_the_loss,
}

DECLARED = [(f, law) for f in SOFTMAX_FAMILIES for law in THE_LAWS if law in FAMILIES[f].laws]
NOT_DECLARED = [(f, law) for f in SOFTMAX_FAMILIES for law in THE_LAWS if law not in FAMILIES[f].laws]
QUICK = {("chosen", "float32")}  # one run a law and example; the others are `make test`'s
LOSSES = [
    pytest.param(Loss(i, d), id=f"{i}-{d}", marks=[] if (i, d) in QUICK else [pytest.mark.slow])
    for i in IMPLEMENTATIONS
    for d in DTYPES
]


@pytest.mark.parametrize(("family", "law"), DECLARED)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_law_holds(loss: Loss, family: str, law: str) -> None:
    for example in batches(family):
        THE_LAWS[law](loss, example)


@pytest.mark.parametrize(("family", "law"), NOT_DECLARED)
@pytest.mark.parametrize("loss", [Loss("eager", "float64"), Loss("chosen", "float32")], ids=lambda x: x.implementation)
def test_a_law_that_is_not_declared_fails(loss: Loss, family: str, law: str) -> None:
    with pytest.raises(AssertionError, match=r"\d+ of \d+ differ"):
        THE_LAWS[law](loss, next(batches(family)))


# Laws that are not a family's to declare -----------------------------------------------------------------------------


KINDS = [pytest.param(i, marks=[] if i == "chosen" else [pytest.mark.slow]) for i in IMPLEMENTATIONS]


@pytest.mark.parametrize("family", SOFTMAX_FAMILIES)
@pytest.mark.parametrize("implementation", KINDS)
def test_finite_differences_agree_with_the_gradient(implementation: str, family: str) -> None:
    loss, step = Loss(implementation, "float64"), 1e-5
    for example in batches(family):
        along = np.random.default_rng(3).normal(size=example.logits.shape)
        ahead, behind = (loss(example, "mean", logits=example.logits + s * along).loss for s in (step, -step))
        gradient = loss(example, "mean").gradient
        slope = (gradient.numpy() * along).sum()
        agree(((ahead - behind) / (2 * step)).item(), slope, budget=FINITE_DIFFERENCES, what=example.name)


@pytest.mark.parametrize("family", SOFTMAX_FAMILIES)
@pytest.mark.parametrize("implementation", KINDS)
def test_the_mean_is_the_sum_over_the_divisor(implementation: str, family: str) -> None:
    loss = Loss(implementation, "float64")
    for example in batches(family):
        meaning, there = example.options.get("weighting", ""), counts(example)
        mean, total = loss(example, "mean"), loss(example, "sum")
        q = np.asarray(example.labels) if example.soft else np.eye(CLASSES)[np.where(there, example.labels, 0)]
        divisor = {"weights": None, "rows": there.sum(), "apart": None}[
            weighting_named(meaning, soft=example.soft).divisor if meaning else "rows"
        ]
        if divisor is None and meaning in {"label", "class/label"}:
            divisor = (q[there] @ example.options["weight"]).sum()
        if divisor is not None:  # "expected" and "nll" have theirs in test_losses_functional.py, against the chain
            agree_result(mean, LossAndGradient(total.loss / divisor, total.gradient / divisor), budget=FLOAT64,
                         what=example.name)  # fmt: skip


@pytest.mark.parametrize("meaning", [m for m in MEANINGS if not m.startswith("nll")])  # "nll" weighs the parts apart
@pytest.mark.parametrize("loss", LOSSES)
def test_smoothing_over_the_others_is_smoothing_over_all_by_more(loss: Loss, meaning: str) -> None:
    for example in batches("others", [meaning]):
        more = np.asarray(example.label_smoothing) * CLASSES / (CLASSES - 1)
        over_all = example.with_options(convention="uniform")
        for way in loss.ways():
            uniform = loss(over_all, way, label_smoothing=more if more.ndim else more.item())
            loss.same(loss(example, way), uniform, f"{example.name}, {way}")


@pytest.mark.slow
@pytest.mark.parametrize("family", SOFTMAX_FAMILIES)
@pytest.mark.parametrize("dtype", [pytest.param(d, marks=[] if d == "float64" else [pytest.mark.slow]) for d in DTYPES])
def test_what_is_chosen_gives_what_the_eager_path_gives(dtype: str, family: str) -> None:
    for example in batches(family):
        for way in ("mean", "sum", "none"):
            chosen, eager = (Loss(name, dtype) for name in ("chosen", "eager"))
            chosen.same(chosen(example, way), eager(example, way), f"{example.name}, {way}")
