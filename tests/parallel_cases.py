"""What the ranks of test_losses_parallel.py do: every target and law, sizes, adversaries, and what is sent.

Each case runs on two, three and four ranks, where shards are uneven and one is empty; `parallel_judge.py` judges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch

import parallel_judge
import parallel_linear_cases
import parallel_meshes
import ranks as processes
from agree import FLOAT64, LossAndGradient, agree
from cases import MEANINGS, SOFTMAX_FAMILIES, examples
from labelsmooth.losses import (
    _kernels,
    _parallel_losses,
    _parallel_parts,
    _parallel_rows,
    _triton,
    cross_entropy,
    loss_parts,
)
from labelsmooth.losses._libraries import LIBRARIES
from labelsmooth.maths.conventions import FAMILIES, NOT_PADDING
from parallel_judge import (
    BY_CLASS,
    CASES,
    HELD,
    INF,
    LABELS,
    NAN,
    SMALL,
    Problem,
    case,
    draw,
    even,
    large,
    odd,
    on_ranks,
    random,
    seen_to_differ,
    settle,
    settled,
    share,
    small,
    unigram,
)
from parallel_messages import Messages
from ranks import team, together
from test_losses_functional_laws import CLASSES, THE_LAWS, Loss, batches, in_torchs_words, no_native_kernel, pytest

# Every convention, every meaning of class weights, everything a family accepts ----------------------------------------


IMPLEMENTATIONS = (("chosen", "float64"), ("eager", "float64"), ("chosen", "float32"), ("chosen", "bfloat16"),
                   ("eager", "float32"), ("chosen", "float16"), ("eager", "bfloat16"))  # fmt: skip
REDUCTIONS = ("mean", "sum", "none")


def of_family(family: str, meanings: list[str], rank: int, ranks: int) -> None:
    """Run all examples on two ranks and half of them on three, the others on four; each one way of many."""
    every = [example for meaning in meanings for example in examples(FAMILIES[family], meaning)]
    for turn, example in enumerate(every if ranks == 2 else every[ranks % 2 :: 2]):
        # Numbers without a common factor: whatever depends on one meets everything that depends on another.
        shares, way, uneven = turn % 2 == 0, REDUCTIONS[turn % 3], turn % 5 == 0
        implementation, dtype = IMPLEMENTATIONS[turn % 7]
        parts = (turn + ranks) // 3 % 3 == 0
        logits = torch.tensor(np.asarray(example.logits)).to(getattr(torch, dtype))
        with Loss(implementation, dtype).chosen(example):
            on_ranks(Problem(logits, in_torchs_words(example)), rank, ranks, shares=shares, reduction=way, parts=parts,
                     sizes=odd if uneven else even, what=f"{example.name}, {implementation}, {dtype}, {way}, "
                     f"{'shares' if shares else 'whole'}{', parts' if parts else ''}")  # fmt: skip


for family in SOFTMAX_FAMILIES:
    there = [m for m in MEANINGS if m != "kl" or "sums to one" in FAMILIES[family].laws]
    CASES[f"target {family}"] = settled(partial(of_family, family, there))


# The laws -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OnRanks(Loss):
    """The loss as `test_losses_functional_laws.py` runs it, on the ranks."""

    rank: int = 0
    ranks: int = 1

    def ways(self) -> tuple[str, ...]:
        return ("none",)

    def __call__(self, example: Any, way: str, **changes: Any) -> LossAndGradient:
        logits = torch.tensor(np.asarray(changes.pop("logits", example.logits))).to(getattr(torch, self.dtype))
        rows, cut = len(logits), even(CLASSES, self.ranks)
        z = logits.narrow(1, sum(cut[: self.rank]), cut[self.rank]).clone().requires_grad_()
        with self.chosen(example):
            loss = cross_entropy(z, **in_torchs_words(example, **changes), reduction=way, group=team(), class_sizes=cut)
        loss.sum().backward()
        own = torch.cat([loss.detach().double().flatten(), z.grad.double().flatten()])
        told = together(own, [loss.numel() + rows * columns for columns in cut])
        gradient = torch.cat([x[loss.numel() :].view(rows, -1) for x in told], dim=1)
        return LossAndGradient(told[0][: loss.numel()].view(loss.shape).to(loss.dtype), gradient.to(logits.dtype))


def the_law(law: str, family: str, rank: int, ranks: int) -> None:
    """Hold two examples to the law, two others on each number of ranks."""
    for i, example in enumerate([*batches(family, [""])][ranks - 2 :: 3][:2]):
        turn = i if law == "floor" else 3 * i + ranks - 2  # that law asks for float64, which the first two are
        THE_LAWS[law](OnRanks(*IMPLEMENTATIONS[turn], rank, ranks), example)


def the_law_fails(law: str, family: str, rank: int, ranks: int) -> None:
    with pytest.raises(AssertionError, match=r"\d+ of \d+ differ"):
        THE_LAWS[law](OnRanks("chosen", "float64", rank, ranks), next(batches(family)))


for family in SOFTMAX_FAMILIES:
    for law in THE_LAWS:
        holds = the_law if law in FAMILIES[family].laws else the_law_fails
        CASES[f"law: {law} {'holds' if holds is the_law else 'fails'} for {family}"] = partial(holds, law, family)


# Sizes, dtypes, adversaries -------------------------------------------------------------------------------------------


@case("252 rows, 507 classes")
def odd_sizes(rank: int, ranks: int) -> None:
    for words in ({}, {"prior": unigram(507)}, {"z_loss": 1e-3, "softcap": 30.0}):
        for way in ("mean", "sum", "none"):
            on_ranks(large(**words), rank, ranks, shares=way == "sum", reduction=way, what=f"{[*words]}, {way}")


@case("252 rows, 507 classes, every target")
def odd_sizes_of_every_target(rank: int, ranks: int) -> None:
    for i, family in enumerate(SOFTMAX_FAMILIES):
        words = {"convention": family}
        if FAMILIES[family].over == NOT_PADDING:
            target = large().words["target"]
            words |= {"ignore_index": 506, "target": target.where(target >= 0, 506)}
        on_ranks(large(**words), rank, ranks, sizes=(odd, even)[i % 2], reduction=REDUCTIONS[i % 3], what=family)


@case("plain torch where there is no native kernel")
def plain_torch(rank: int, ranks: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        no_native_kernel(patch)
        for way in ("mean", "none"):
            on_ranks(large(prior=unigram(507)), rank, ranks, reduction=way, what=way)


@case("the gradient in the forward, and over the logits")
def at_once(rank: int, ranks: int) -> None:
    weight, first = torch.tensor([0.0, 2.0, 0.5]), even(7, ranks)[0]
    hidden = SMALL.clone()
    hidden[:2, first:] = -INF  # all shards but the first
    soft, mask = draw(7, 3, 7).softmax(-1), torch.ones(7, dtype=torch.bool)
    for also in ({"gradient_in_forward": True}, {"inplace": True}):
        for words in ({}, {"prior": unigram(7), "z_loss": 0.1, "softcap": 5.0}, {"weight": 1 + unigram(7), "weighting": "nll"},
                      {"row_weight": weight}, {"convention": "fairseq"}):  # fmt: skip
            for way, sizes in (("mean", odd), ("sum", even)):
                on_ranks(
                    small(**words), rank, ranks, sizes=sizes, reduction=way, also=also, what=f"{[*also, *words]}, {way}"
                )
        on_ranks(large(), rank, ranks, sizes=odd, also=also, what=f"{[*also]}, odd sizes")
        on_ranks(
            small(hidden, target=torch.tensor([0, 1, 6]), label_smoothing=0.0), rank, ranks, also=also, what="-inf"
        )
    for words in ({"target": soft}, {"class_mask": mask}, {"target": soft, "weight": 1 + unigram(7)}):
        on_ranks(small(**words), rank, ranks, also={"gradient_in_forward": True}, what=f"in the forward {[*words]}")
        with pytest.raises(RuntimeError, match="inplace=True writes the gradient over the logits"):
            on_ranks(small(**words), rank, ranks, also={"inplace": True})
    on_ranks(small(), rank, ranks, reduction="none", also={"inplace": True}, what="in place, a loss a row")


@case("the GPU's kernel, interpreted")
def interpreted(rank: int, ranks: int) -> None:
    pytest.importorskip("triton")
    calls, real = [], _triton.call
    hidden = SMALL.float()
    hidden[:2, even(7, ranks)[0] :] = -INF  # all shards but the first
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):  # NumPy warns of infinities
        patch.setitem(LIBRARIES, "cpu", _triton)
        patch.setattr(_triton, "DTYPES", {torch.float32})  # the judge stays plain torch
        patch.setattr(_triton, "call", lambda *args, **words: (calls.append(args[0]), real(*args, **words)))
        on_ranks(small(SMALL.float(), prior=unigram(7)), rank, ranks, what="interpreted")
        on_ranks(small(hidden, target=torch.tensor([0, 1, 6])), rank, ranks, reduction="none", what="interpreted, -inf")
        assert calls == [_triton.LOSS, _triton.GRADIENT] * 2, "on each rank, and not by the CPU's kernel"


@case("half and single precision")
def precisions(rank: int, ranks: int) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for also in ({}, {"gradient_in_forward": True}, {"inplace": True}):
            problem = replace(large(60, 211), logits=large(60, 211).logits.to(dtype))
            on_ranks(problem, rank, ranks, also=also, what=f"{dtype}, {[*also]}")


@case("classes on another axis, several axes of rows, one row")
def axes(rank: int, ranks: int) -> None:
    target = torch.randint(7, (2, 3, 4), generator=random(3))
    for axis in (1, -1, 3):
        logits = draw(4, 2, 3, 4, 7).movedim(-1, axis)
        prior = draw(5, 2, 3, 4, 7).softmax(-1).movedim(-1, axis)
        for shares in (False, True):
            on_ranks(Problem(logits, {"target": target, "label_smoothing": 0.1, "prior": prior}, axis % 4), rank, ranks,
                     reduction="none", shares=shares, what=f"axis {axis}")  # fmt: skip
    on_ranks(Problem(SMALL[0], {"target": LABELS[0], "label_smoothing": 0.1}, 0), rank, ranks, what="one row")


@case("columns that are no classes")
def padding(rank: int, ranks: int) -> None:
    for padded in (1, 3, 4):
        real = 7 - padded
        words = {"target": LABELS % real, "label_smoothing": 0.1, "prior": unigram(real), "weight": 1 + unigram(real)}
        logits = SMALL.clone()
        logits[:, real:] = NAN
        for shares in (False, True):
            problem = Problem(logits, words, padded=padded)
            on_ranks(problem, rank, ranks, shares=shares, what=f"{padded} padded, {shares}")


@case("a logit far above the others, on any rank")
def gaps(rank: int, ranks: int) -> None:
    for at in (0, 3, 6):
        for gap in (300.0, -300.0, 1e4, -1e4):
            logits = SMALL.clone()
            logits[:, at] += gap
            on_ranks(small(logits), rank, ranks, reduction="none", what=f"{gap} at {at}")
    on_ranks(
        small(SMALL + 1e4), rank, ranks, budget=1e-11, what="all at 10,000"
    )  # 1e4 has 2e-12 between its neighbours
    on_ranks(small(SMALL - 1e4), rank, ranks, budget=1e-11, what="all at -10,000")


@case("-inf: masked, a whole shard, unmasked, with the label")
def infinities(rank: int, ranks: int) -> None:
    for start, stop in ((1, 3), (4, 6), (5, 6)):
        logits = SMALL.clone()
        logits[:, start:stop] = -INF
        on_ranks(small(logits, class_mask="finite"), rank, ranks, what=f"masked {start} to {stop}")
        on_ranks(small(logits, class_mask=torch.isfinite(logits)), rank, ranks, shares=True, what="mask in shares")
        on_ranks(small(logits, class_mask=torch.isfinite(logits[0])), rank, ranks, what="mask by class")
        on_ranks(small(logits, label_smoothing=0.0), rank, ranks, what="no mass there")
        on_ranks(small(logits), rank, ranks, reduction="none", what="mass there")
    for words in ({}, {"softcap": 5.0}, {"class_mask": "finite", "softcap": 5.0}):
        logits = SMALL.clone()
        first = even(7, ranks)[0]
        logits[:2, first:] = -INF  # all shards but the first
        on_ranks(small(logits, target=torch.tensor([0, 1, 6]), **words), rank, ranks, reduction="none", what=f"{words}")


@case("nothing counts")
def nobody(rank: int, ranks: int) -> None:
    for all_ignored in ("nan", "zero"):
        on_ranks(small(SMALL, target=torch.full((3,), -100), all_ignored=all_ignored), rank, ranks, what=all_ignored)
    weight = torch.tensor([0.0, 2.0, 0.5])
    on_ranks(small(SMALL, row_weight=weight), rank, ranks, what="a row of weight 0")


@case("a normalizer, and sizes that the ranks ask each other for")
def normaliser(rank: int, ranks: int) -> None:
    on_ranks(small(normalizer=torch.tensor(5.0)), rank, ranks, reduction="sum", what="tensor")
    for _ in range(2):
        on_ranks(small(normalizer=5), rank, ranks, reduction="sum", known=True, what="number")
    if rank == 0:
        with pytest.raises(ValueError, match="pass the sizes of all ranks' shards as class_sizes"):
            cross_entropy(torch.zeros(2, 9), torch.tensor([0, 1]), group=team())


def total(z: Any, **words: Any) -> Any:
    """Add up the loss and its parts, each with another factor."""
    return sum(factor * part for factor, part in enumerate(loss_parts(z, **words), start=1))


def slopes(loss: Any, z: Any, given: dict[str, Any], change: Any, **words: Any) -> Any:
    """Give the gradients of what is given, end to end."""
    leaves = {name: x.clone().requires_grad_() for name, x in given.items()}
    if "class_mask" in words:
        words["class_mask"] = change(words["class_mask"], "class_mask")
    loss(z, **{"target": LABELS, **words, **{name: change(x, name) for name, x in leaves.items()}}).backward()
    return torch.cat([x.grad.flatten() for x in leaves.values()])


@case("gradients of smoothing, prior, weights and soft targets")
def learned(rank: int, ranks: int) -> None:
    soft, mask = draw(7, 3, 7).softmax(-1), torch.ones(7, dtype=torch.bool)
    mask[2] = False
    always = {"label_smoothing": torch.tensor([0.1, 0.2, 0.3]).double(), "prior": unigram(7),
              "row_weight": torch.tensor([1.0, 2.0, 0.5]).double(), "weight": 1 + unigram(7)}  # fmt: skip
    cut = even(7, ranks)
    z = SMALL[:, sum(cut[:rank]) : sum(cut[: rank + 1])]
    found: list[tuple[Any, Any, Any, str]] = []
    for words, loss, shares in product((
        {}, {"target": soft}, {"target": soft, "weight": None}, {"weighting": "expected"}, {"weighting": "nll"},
        {"target": soft, "weighting": "label"},
        {"class_mask": mask}, {"class_mask": mask, "target": soft * mask / (soft * mask).sum(-1, keepdim=True)},
    ), (cross_entropy, total), (False, True)):  # fmt: skip
        given = {name: words.get(name, x) for name, x in {**always, "target": None}.items()}
        given = {name: x for name, x in given.items() if x is not None}
        some = partial(share, problem=small(), sizes=cut, rank=rank) if shares else lambda x, _: x
        truth = slopes(loss, SMALL, given, lambda x, _: x, **words)
        own = slopes(loss, z, given, some, **words, group=team(), class_sizes=cut)
        # Each rank has its own classes' part. Mass on a masked class has no loss, so no slope.
        of_class = torch.cat([torch.full_like(x, name in BY_CLASS).flatten() for name, x in given.items()]) > 0
        there = torch.cat([(mask if name == "target" and "class_mask" in words else torch.ones(())).expand_as(x).flatten()
                           for name, x in given.items()])  # fmt: skip
        found.append((own * there, truth * there, of_class, f"{[*words]}, {loss.__name__}, shares: {shares}"))
    everyone = together(torch.cat([own for own, *_ in found]), [sum(len(own) for own, *_ in found)] * ranks)
    summed, first = (x.split([len(own) for own, *_ in found]) for x in (sum(everyone), everyone[0]))
    for (_, truth, of_class, what), all_parts, one in zip(found, summed, first, strict=True):
        agree(torch.where(of_class, all_parts, one), truth, budget=FLOAT64, what=what)


# Errors that must be seen ---------------------------------------------------------------------------------------------


@case("planted: the prior summed over the classes that are here")
def prior_here(rank: int, ranks: int) -> None:
    real = _parallel_losses.exchanged

    def only_mine(parts: Any, shards: Any) -> Any:
        told = real(parts, shards)
        return {**told, "prior": told["prior"][shards.rank].expand_as(told["prior"])}

    with seen_to_differ(rank, ranks) as patch:
        patch.setattr(_parallel_losses, "exchanged", only_mine)
        on_ranks(small(prior=unigram(7)), rank, ranks)


@case("planted: K is that of this rank")
def classes_here(rank: int, ranks: int) -> None:
    with seen_to_differ(rank, ranks) as patch:
        patch.setattr(_parallel_losses, "uniform", lambda split: torch.ones(ranks, 1, dtype=split.z.dtype))
        on_ranks(small(), rank, ranks)


@case("planted: lse added up without taking the largest out")
def without_most(rank: int, ranks: int) -> None:
    def naive(lse: Any) -> Any:
        total = lse.exp().sum(0).log()
        return total, total - lse

    with seen_to_differ(rank, ranks) as patch:
        patch.setattr(_parallel_losses, "joined", naive)
        on_ranks(small(SMALL + 800), rank, ranks)


@case("planted: the other ranks' part of the gradient left out")
def own_gradient(rank: int, ranks: int) -> None:
    for also in ({}, {"gradient_in_forward": True}, {"inplace": True}):
        with seen_to_differ(rank, ranks) as patch:
            patch.setattr(_parallel_rows, "with_more_mass", lambda stats, *_: stats)
            on_ranks(small(), rank, ranks, also=also)


@case("planted: the floor of the classes that are here")
def floor_here(rank: int, ranks: int) -> None:
    real = _parallel_parts.exchanged

    def only_mine(parts: Any, shards: Any) -> Any:
        told = real(parts, shards)
        return told if "logs" not in told else {**told, "logs": told["logs"][shards.rank].expand_as(told["logs"])}

    for words in ({"target": draw(1, 3, 7).softmax(-1)}, {"class_mask": torch.ones(7, dtype=torch.bool)}):
        on_ranks(small(**words), rank, ranks, parts=True, what=f"unharmed {[*words]}")
        settle(rank, ranks)
        with seen_to_differ(rank, ranks) as patch:
            patch.setattr(_parallel_parts, "exchanged", only_mine)
            on_ranks(small(**words), rank, ranks, parts=True)


@case("planted: the loss of one rank differs in its last bit")
def one_bit(rank: int, ranks: int) -> None:
    with seen_to_differ(rank, ranks):
        on_ranks(small(), rank, ranks)
        last = HELD[-1]
        HELD[-1] = replace(last, loss=torch.nextafter(last.loss, last.loss + rank))


# What is sent ---------------------------------------------------------------------------------------------------------


def sent(loss: Any, z: Any, **words: Any) -> tuple[list[int], list[tuple[str, int]]]:
    """Give how many floats each message of the forward holds, and the messages of the backward."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernels, "nobody_listens", lambda: True)  # the native kernel, though a mode looks on
        with Messages() as forward:
            found = loss(z.clone().requires_grad_(), group=team(), **words)
        with Messages() as backward:
            (sum(found) if isinstance(found, tuple) else found).backward()
    assert all("gather" in name for name, _ in forward.sent), forward.sent
    return [size // 4 for _, size in forward.sent], backward.sent


@case("one all_gather of 2N floats, at most 5N, and none in the backward")
def messages(rank: int, ranks: int) -> None:
    N, K = 6, 11
    cut = even(K, ranks)
    z = draw(0, N, K).float().narrow(1, sum(cut[:rank]), cut[rank])
    target, soft = torch.arange(N), draw(1, N, K).softmax(-1).float()
    mask, eps = torch.ones(N, K, dtype=torch.bool), torch.full((N,), 0.1)
    prior = unigram(K).float()
    usual: dict[str, Any] = {"target": target, "label_smoothing": 0.1, "class_sizes": cut}
    for floats, words in (
        (2 * N, {}), (2 * N, {"label_smoothing": eps}), (2 * N, {"z_loss": 0.1, "softcap": 9.0, "convention": "fairseq"}),
        (2 * N, {"gradient_in_forward": True}), (2 * N, {"weight": 1 + prior, "weighting": "nll"}),
        (2 * N + 1, {"prior": prior}), (2 * N + 1, {"weight": prior}),
        (3 * N, {"prior": soft}), (3 * N, {"label_smoothing": eps.clone().requires_grad_()}),
        (4 * N, {"target": soft}), (4 * N, {"class_mask": mask}), (5 * N, {"class_mask": mask, "target": soft}),
        (5 * N, {"target": soft, "prior": soft, "label_smoothing": eps.clone().requires_grad_()}),
    ):  # fmt: skip
        found = sent(cross_entropy, z, **{**usual, **words})
        assert found == ([floats], []), f"{[*words]}: {found}, not {floats} floats"
    for several, words in (
        ([3 * N], {}), ([3 * N + 1], {"prior": prior}), ([5 * N], {"target": soft}),
        ([5 * N + 1], {"target": soft, "prior": prior}), ([4 * N + 2], {"class_mask": mask[0]}), ([6 * N], {"class_mask": mask}),
        ([5 * N, 2 * N], {"target": soft, "weight": prior, "weighting": "label"}),
    ):  # fmt: skip
        found = sent(loss_parts, z, **{**usual, **words})
        assert found == (several, []), f"parts, {[*words]}: {found}, not {several} floats"


@case("torch.compile makes one graph of it")
def compiled(rank: int, ranks: int) -> None:
    compiled = torch.compile(cross_entropy, fullgraph=True, backend="aot_eager")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel_judge, "cross_entropy",
                      lambda z, **words: (compiled if "group" in words else cross_entropy)(z, **words))  # fmt: skip
        on_ranks(large(9, 23, prior=unigram(23)), rank, ranks, what="compiled")


@case("validate=True sees that a rank has other targets")
def other_targets(rank: int, ranks: int) -> None:
    z = draw(0, 4, 2 * ranks)[:, 2 * rank : 2 * rank + 2]
    words: dict[str, Any] = {"group": team(), "class_sizes": [2] * ranks, "validate": True}
    cross_entropy(z, torch.arange(4), **words)
    with pytest.raises(ValueError, match="rank 1 of the group has another target than rank 0"):
        cross_entropy(z, torch.arange(4) if rank != 1 else torch.tensor([0, 1, 3, 2]), **words)


# What runs where ------------------------------------------------------------------------------------------------------

QUICK = (  # for `make check`, on two ranks
    "target others", "law: shift holds for uniform", "252 rows, 507 classes", "half and single precision",
    "columns that are no classes", "a logit far above the others, on any rank",
    "-inf: masked, a whole shard, unmasked, with the label", "nothing counts",
    "a normalizer, and sizes that the ranks ask each other for",
    "planted: the other ranks' part of the gradient left out", "planted: K is that of this rank",
    "one all_gather of 2N floats, at most 5N, and none in the backward",
    *parallel_linear_cases.QUICK, "validate=True sees that a rank has other targets",
)  # fmt: skip
CASES |= parallel_meshes.CASES | parallel_linear_cases.CASES
ON_TWO = ("torch.compile makes one graph of it", "torch's loss_parallel refuses to smooth, and ours answers",
          "the GPU's kernel, interpreted", *parallel_linear_cases.ON_TWO)  # fmt: skip
ON_FOUR = ("the mean over a mesh of two dimensions",)


def sizes_of(name: str) -> tuple[int, ...]:
    """Say on how many ranks a case runs, besides what `make check` runs."""
    if name in ON_TWO:
        return (2,)
    if name in ON_FOUR:
        return (4,)
    return (3, 4) if name in QUICK else (2, 3, 4)


PARTS = {
    "quick": {name: CASES[name] for name in QUICK},
    "many": {f"{size}-{name}": processes.by_the_first(size, CASES[name]) for name in CASES for size in sizes_of(name)},
}
