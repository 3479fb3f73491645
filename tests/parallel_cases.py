"""What the ranks of test_losses_parallel.py do: the loss with its classes split, against one process that has them all.

The judge is `cross_entropy` of all the logits in float64, which has judges of its own. Every case gathers what the ranks
have, asks for the same loss on all of them to the last bit, and compares loss and gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.distributed import group as groups
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor import parallel as tensor_parallel

import parallel_linear_cases
from agree import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, LossAndGradient, agree, agree_result
from cases import MEANINGS, SOFTMAX_FAMILIES, examples
from labelsmooth.losses import _cpu, _parallel_losses, _parallel_rows, cross_entropy
from labelsmooth.maths.conventions import FAMILIES
from parallel_messages import Messages
from ranks import even, gathered, odd
from test_losses_functional_laws import (
    CLASSES,
    THE_LAWS,
    Loss,
    batches,
    in_torchs_words,
    no_native_kernel,
    pytest,
)

cross_entropy_itself = cross_entropy
INF, NAN = float("inf"), float("nan")
BY_CLASS = ("prior", "class_mask", "weight", "target")  # what may come whole or as a share
CASES: dict[str, Callable[[int, int], None]] = {}


def case(name: str) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        CASES[name] = function
        return function

    return add


@dataclass(frozen=True)
class Problem:
    """Logits (N, K), or with the classes on another axis, and everything else in torch's words."""

    logits: Any
    words: dict[str, Any]
    axis: int = 1
    padded: int = 0

    def truth(self, **changes: Any) -> tuple[Any, Any]:
        """Give loss and gradient of one process in float64."""
        logits = self.logits.double().detach().requires_grad_()
        loss = cross_entropy(logits, **{**self.words, **changes}, class_dim=self.axis, padded_classes=self.padded)
        loss.backward(pushed(loss))
        return loss.detach(), logits.grad


def pushed(loss: Any) -> Any:
    """Push another number into every row of an unreduced loss."""
    return torch.arange(1.0, loss.numel() + 1).to(loss).reshape(loss.shape)


def share(x: Any, name: str, problem: Problem, sizes: list[int], rank: int) -> Any:
    """Cut what has classes to this rank's."""
    if not isinstance(x, torch.Tensor) or name not in BY_CLASS or (name == "target" and not x.is_floating_point()):
        return x
    axis = problem.axis if x.dim() == problem.logits.dim() else 0
    real = x.shape[axis]
    start = min(sum(sizes[:rank]), real)
    return x.narrow(axis, start, min(sizes[rank], real - start))


def on_ranks(
    problem: Problem, rank: int, ranks: int, *, shares: bool = False, sizes: Any = even, budget: float = FLOAT64,
    what: str = "", known: bool = False, **changes: Any,
) -> None:  # fmt: skip
    """Compare the loss on all ranks with that of one process."""
    wide = problem.logits.shape[problem.axis]
    cut = sizes(wide, ranks)
    z = problem.logits.narrow(problem.axis, sum(cut[:rank]), cut[rank]).clone().requires_grad_()
    words = {**problem.words, **changes}
    if shares:
        words = {name: share(x, name, problem, cut, rank) for name, x in words.items()}
    loss = cross_entropy(z, **words, class_dim=problem.axis, padded_classes=problem.padded, group=groups.WORLD,
                         class_sizes=None if known else cut)  # fmt: skip
    loss.backward(pushed(loss))
    losses, gradients = gathered(loss.detach(), ranks), gathered(z.grad, ranks)
    for other in losses:
        agree(other, losses[0], budget=0, what=f"{what}: the loss on another rank", nan_agrees=True)
    gradient = torch.cat(gradients, dim=problem.axis)
    exact, slope = problem.truth(**changes)
    agree(losses[0], exact, budget=budget, what=f"{what}: loss", nan_agrees=True, any_dtype=True)
    there = torch.isfinite(slope)
    agree(gradient.double().where(there, NAN), slope.where(there, NAN), budget=budget, what=f"{what}: gradient",
          nan_agrees=True)  # fmt: skip


def random(seed: int) -> Any:
    return torch.Generator().manual_seed(seed)


def draw(seed: int, *shape: int, scale: float = 3.0) -> Any:
    return scale * torch.randn(*shape, generator=random(seed), dtype=torch.float64)


def large(rows: int = 252, classes: int = 507, **words: Any) -> Problem:
    """Give odd sizes with an ignored row in ten."""
    target = torch.randint(classes, (rows,), generator=random(1))
    target[::10] = -100
    return Problem(draw(0, rows, classes), {"target": target, "label_smoothing": 0.1, **words})


def unigram(classes: int) -> Any:
    return draw(2, classes, scale=1.0).softmax(0)


# Every convention, every meaning of class weights, everything a family accepts ----------------------------------------


def of_family(family: str, meanings: list[str], rank: int, ranks: int) -> None:
    """Run each example one way of six, the next example and the next number of ranks another."""
    number = ranks
    for meaning in meanings:
        for example in examples(FAMILIES[family], meaning):
            way, shares = ("mean", "sum", "none")[number % 3], number // 3 % 2 == 0
            problem = Problem(torch.tensor(np.asarray(example.logits)), in_torchs_words(example))
            with Loss("chosen", "float64").chosen(example):
                on_ranks(problem, rank, ranks, shares=shares, sizes=odd if number % 5 == 0 else even, reduction=way,
                         what=f"{example.name}, {way}, {'shares' if shares else 'whole'}")  # fmt: skip
            number += 1


for family in SOFTMAX_FAMILIES:
    there = [m for m in MEANINGS if m != "kl" or "sums to one" in FAMILIES[family].laws]
    CASES[f"target {family}"] = partial(of_family, family, there if family in {"uniform", "others"} else there[:3])


# The laws -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OnRanks(Loss):
    """The loss as `test_losses_functional_laws.py` runs it, on the ranks."""

    rank: int = 0
    ranks: int = 1

    def ways(self) -> tuple[str, ...]:
        return ("none",)

    def __call__(self, example: Any, way: str, **changes: Any) -> LossAndGradient:
        logits = torch.tensor(np.asarray(changes.pop("logits", example.logits)))
        cut = even(CLASSES, self.ranks)
        z = logits.narrow(1, sum(cut[: self.rank]), cut[self.rank]).clone().requires_grad_()
        with self.chosen(example):
            loss = cross_entropy(z, **in_torchs_words(example, **changes), reduction=way, group=groups.WORLD,
                                 class_sizes=cut)  # fmt: skip
        loss.sum().backward()
        return LossAndGradient(gathered(loss.detach(), self.ranks)[0], torch.cat(gathered(z.grad, self.ranks), dim=1))


def the_law(law: str, family: str, rank: int, ranks: int) -> None:
    loss = OnRanks("chosen", "float64", rank, ranks)
    for example in batches(family, [""]):
        THE_LAWS[law](loss, example)


def the_law_fails(law: str, family: str, rank: int, ranks: int) -> None:
    with pytest.raises(AssertionError, match=r"\d+ of \d+ differ"):
        THE_LAWS[law](OnRanks("chosen", "float64", rank, ranks), next(batches(family)))


for family in ("uniform", "unnormalised"):
    for law in THE_LAWS:
        holds = the_law if law in FAMILIES[family].laws else the_law_fails
        CASES[f"law: {law} {'holds' if holds is the_law else 'fails'} for {family}"] = partial(holds, law, family)


# Sizes, dtypes, adversaries -------------------------------------------------------------------------------------------

SMALL = torch.tensor([[2, 1, 0, -1, -2, 0.5, 3], [0.5, 0.1, -0.3, 1.2, 0, -4, 1], [0, 0, 7, 0, 0, 0, 0]]).double()
LABELS = torch.tensor([0, 3, 6])


def small(logits: Any = SMALL, **words: Any) -> Problem:
    return Problem(logits, {"target": LABELS, "label_smoothing": 0.1, **words})


@case("252 rows, 507 classes")
def odd_sizes(rank: int, ranks: int) -> None:
    for words in ({}, {"prior": unigram(507)}, {"z_loss": 1e-3, "softcap": 30.0}):
        for way in ("mean", "sum", "none"):
            on_ranks(large(**words), rank, ranks, shares=way == "sum", reduction=way, what=f"{[*words]}, {way}")


@case("plain torch where there is no native kernel")
def plain_torch(rank: int, ranks: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        no_native_kernel(patch)
        for way in ("mean", "none"):
            on_ranks(large(prior=unigram(507)), rank, ranks, reduction=way, what=way)


@case("half and single precision")
def precisions(rank: int, ranks: int) -> None:
    for dtype, budget in ((torch.float32, 4 * FLOAT32), (torch.bfloat16, BFLOAT16), (torch.float16, FLOAT16)):
        problem = large(60, 211)
        on_ranks(replace(problem, logits=problem.logits.to(dtype)), rank, ranks, budget=budget, what=str(dtype))


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
            cross_entropy(torch.zeros(2, 9), torch.tensor([0, 1]), group=groups.WORLD)


@case("gradients of smoothing, prior, weights and soft targets")
def learned(rank: int, ranks: int) -> None:
    soft = draw(7, 3, 7).softmax(-1)
    mask = torch.ones(7, dtype=torch.bool)
    mask[2] = False
    for words in (
        {}, {"target": soft}, {"weighting": "expected"}, {"weighting": "nll"}, {"target": soft, "weighting": "label"},
        {"class_mask": mask}, {"class_mask": mask, "target": soft * mask / (soft * mask).sum(-1, keepdim=True)},
    ):  # fmt: skip
        names = ["label_smoothing", "prior", "row_weight", "weight"]
        given = [torch.tensor([0.1, 0.2, 0.3]).double(), unigram(7), torch.tensor([1.0, 2.0, 0.5]).double(),
                 1 + unigram(7)]  # fmt: skip
        target = words.get("target", LABELS)
        if target.is_floating_point():
            names, given = [*names, "target"], [*given, target]

        def gradients(
            z: Any, change: Any, words: Any = words, names: Any = names, given: Any = given, **sharded: Any
        ) -> list[Any]:
            leaves = [x.clone().requires_grad_() for x in given]
            changed = {"target": LABELS, **words, **{n: change(x, n) for n, x in zip(names, leaves, strict=True)}}
            mask = changed.get("class_mask")
            if mask is not None:
                changed["class_mask"] = change(mask, "class_mask")
            cross_entropy(z, **changed, **sharded).backward()
            return [x.grad for x in leaves]

        cut = even(7, ranks)
        at = slice(sum(cut[:rank]), sum(cut[: rank + 1]))
        truth = gradients(SMALL, lambda x, _: x)
        for shares in (False, True):
            some = partial(share, problem=small(), sizes=cut, rank=rank) if shares else lambda x, _: x
            found = gradients(SMALL[:, at], some, group=groups.WORLD, class_sizes=cut)
            for name, ours, exact in zip(names, found, truth, strict=True):
                parts = gathered(ours, ranks)
                got = sum(parts) if name in BY_CLASS else parts[0]  # each rank has its own classes' part
                # Mass on a masked class has no loss, so no slope.
                there = mask if name == "target" and "class_mask" in words else torch.ones(())
                agree(
                    got * there,
                    exact * there,
                    budget=FLOAT64,
                    what=f"{[*words]}, {name}, {'shares' if shares else 'whole'}",
                )


# Errors that must be seen ---------------------------------------------------------------------------------------------


def planted(module: Any, name: str, wrong: Any, problem: Problem, rank: int, ranks: int) -> None:
    """See the comparison fail when something is planted."""
    on_ranks(problem, rank, ranks, what="unharmed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, wrong)
        with pytest.raises(AssertionError, match="differ"):
            on_ranks(problem, rank, ranks, what=f"planted in {name}")


@case("planted: the prior summed over the classes that are here")
def prior_here(rank: int, ranks: int) -> None:
    real = _parallel_losses.exchanged

    def only_mine(parts: Any, shards: Any) -> Any:
        told = real(parts, shards)
        return {**told, "prior": told["prior"][shards.rank].expand_as(told["prior"])}

    planted(_parallel_losses, "exchanged", only_mine, small(prior=unigram(7)), rank, ranks)


@case("planted: K is that of this rank")
def classes_here(rank: int, ranks: int) -> None:
    planted(_parallel_losses, "_uniform", lambda split: torch.ones(ranks, 1, dtype=split.z.dtype), small(), rank, ranks)


@case("planted: lse added up without taking the largest out")
def without_most(rank: int, ranks: int) -> None:
    def naive(lse: Any) -> Any:
        total = lse.exp().sum(0).log()
        return total, total - lse

    planted(_parallel_losses, "joined", naive, small(SMALL + 800), rank, ranks)


@case("planted: the other ranks' part of the gradient left out")
def own_gradient(rank: int, ranks: int) -> None:
    planted(_parallel_rows, "with_more_mass", lambda stats, *_: stats, small(), rank, ranks)


# What is sent ---------------------------------------------------------------------------------------------------------


@case("one all_gather of 2N floats, at most 5N, and none in the backward")
def messages(rank: int, ranks: int) -> None:
    N, K, four = 6, 11, 4
    cut = even(K, ranks)
    z = draw(0, N, K).float().narrow(1, sum(cut[:rank]), cut[rank])
    target, soft = torch.arange(N), draw(1, N, K).softmax(-1).float()
    mask, eps = torch.ones(N, K, dtype=torch.bool), torch.full((N,), 0.1)
    prior = unigram(K).float()
    for floats, words in (
        (2 * N, {}), (2 * N, {"label_smoothing": eps}), (2 * N, {"z_loss": 0.1, "softcap": 9.0, "convention": "fairseq"}),
        (2 * N, {"weight": 1 + prior, "weighting": "nll"}), (2 * N + 1, {"prior": prior}), (2 * N + 1, {"weight": prior}),
        (3 * N, {"prior": soft}), (3 * N, {"label_smoothing": eps.clone().requires_grad_()}),
        (4 * N, {"target": soft}), (4 * N, {"class_mask": mask}), (5 * N, {"class_mask": mask, "target": soft}),
        (5 * N, {"target": soft, "prior": soft, "label_smoothing": eps.clone().requires_grad_()}),
    ):  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_cpu, "_nobody_listens", lambda: True)  # the native kernel, though a mode looks on
            with Messages() as forward:
                x = z.clone().requires_grad_()
                loss = cross_entropy(x, **{"target": target, "label_smoothing": 0.1, **words}, group=groups.WORLD,
                                     class_sizes=cut)  # fmt: skip
            with Messages() as backward:
                loss.backward()
        assert [size for _, size in forward.sent] == [four * floats], f"{[*words]}: {forward.sent}, not {floats} floats"
        assert "gather" in forward.sent[0][0]
        assert backward.sent == [], f"{[*words]}: {backward.sent}"


@case("torch.compile makes one graph of it")
def compiled(rank: int, ranks: int) -> None:
    problem = large(9, 23)
    compiled = torch.compile(cross_entropy, fullgraph=True, backend="aot_eager")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "cross_entropy", lambda z, **k: (
            compiled if "group" in k else cross_entropy_itself)(z, **k))  # fmt: skip
        on_ranks(replace(problem, words={**problem.words, "prior": unigram(23)}), rank, ranks, what="compiled")


@case("validate=True sees that a rank has other targets")
def other_targets(rank: int, ranks: int) -> None:
    z = draw(0, 4, 2 * ranks)[:, 2 * rank : 2 * rank + 2]
    words: dict[str, Any] = {"group": groups.WORLD, "class_sizes": [2] * ranks, "validate": True}
    cross_entropy(z, torch.arange(4), **words)
    with pytest.raises(ValueError, match="rank 1 of the group has another target than rank 0"):
        cross_entropy(z, torch.arange(4) if rank != 1 else torch.tensor([0, 1, 3, 2]), **words)


# DTensor --------------------------------------------------------------------------------------------------------------


def meshes(ranks: int) -> list[tuple[Any, Any]]:
    """Give meshes and placements of (N, K) logits on them."""
    line = init_device_mesh("cpu", (ranks,))
    found = [(line, [Shard(1)]), (line, [Shard(0)]), (line, [Replicate()])]
    if ranks == 4:
        square = init_device_mesh("cpu", (2, 2))
        found += [(square, p) for p in ([Shard(0), Shard(1)], [Shard(1), Shard(0)], [Replicate(), Shard(1)])]
    return found


@case("DTensor logits, all reductions, every argument a DTensor or not")
def on_meshes(_rank: int, ranks: int) -> None:
    N, K = 10, 7
    prior, weight, target = unigram(K), 1 + unigram(K), torch.randint(K, (N,), generator=random(1))
    target[3] = -100
    rows = torch.rand(N, generator=random(2), dtype=torch.float64)
    soft = draw(3, N, K).softmax(-1)
    given = ({}, {"prior": prior, "weight": weight}, {"weight": weight, "weighting": "nll", "row_weight": rows},
             {"target": soft, "label_smoothing": rows}, {"class_mask": soft > 0.0, "prior": soft})  # fmt: skip
    for i, words in enumerate(given):
        problem = Problem(draw(0, N, K), {"target": target, "label_smoothing": 0.1, **words})
        for j, (mesh, placements) in enumerate(meshes(ranks)):
            for k, way in enumerate(("mean", "sum", "none")):
                if ranks < 4 or (i + j + k) % 3 == 0:  # on the most meshes one way each
                    dtensor(problem, mesh, placements, ranks, reduction=way, what=f"{placements}, {[*words]}, {way}")


def dtensor(problem: Problem, mesh: Any, placements: Any, ranks: int, *, what: str, **changes: Any) -> None:
    z = distribute_tensor(problem.logits, mesh, placements).requires_grad_()
    of_rows = [p if p.is_shard(0) else Replicate() for p in placements]
    of_classes = [Shard(0) if p.is_shard(1) else Replicate() for p in placements]
    words = {}
    for name, x in problem.words.items():
        if isinstance(x, torch.Tensor):
            alike = placements if x.dim() == 2 else of_classes if name in BY_CLASS and name != "target" else of_rows
            words[name] = distribute_tensor(x, mesh, alike)
        else:
            words[name] = x
    loss = cross_entropy(z, **words, **changes)
    assert isinstance(loss, DTensor)
    loss.backward(distribute_tensor(pushed(loss), mesh, loss.placements))
    whole = loss.detach().full_tensor()
    for other in gathered(whole, ranks):
        agree(other, whole, budget=0, what=f"{what}: the loss on another rank")
    agree_result(LossAndGradient(whole, z.grad.full_tensor()), LossAndGradient(*problem.truth(**changes)),
                 budget=FLOAT64, what=what)  # fmt: skip


@case("the mean over a mesh times the ranks is what DDP's average makes the gradient of the mean")
def averaged(rank: int, ranks: int) -> None:
    x, target = draw(0, 3 * ranks, 5), torch.arange(3 * ranks) % 7
    target[1:3] = -100  # rank 0 has fewer rows that count
    whole, layer = (torch.nn.Linear(5, 7, dtype=torch.float64) for _ in range(2))
    layer.load_state_dict({"weight": draw(1, 7, 5), "bias": draw(2, 7)})
    whole.load_state_dict(layer.state_dict())
    cross_entropy(whole(x), target, label_smoothing=0.1).backward()
    rows, mesh = slice(3 * rank, 3 * rank + 3), init_device_mesh("cpu", (ranks,))
    averaging = torch.nn.parallel.DistributedDataParallel(layer)  # dropped before the backward it would not average
    logits = DTensor.from_local(averaging(x[rows]), mesh, [Shard(0)])
    (cross_entropy(logits, target[rows], label_smoothing=0.1) * ranks).backward()
    for other in gathered(layer.weight.grad, ranks):
        agree(other, whole.weight.grad, budget=FLOAT64, what="averaged gradient")


@case("torch's loss_parallel refuses to smooth, and ours answers")
def loss_parallel(_rank: int, ranks: int) -> None:
    mesh = init_device_mesh("cpu", (ranks,))
    logits, target = draw(0, 6, 11), torch.arange(6)
    z = distribute_tensor(logits, mesh, [Shard(1)]).requires_grad_()
    with tensor_parallel.loss_parallel():
        plain = torch.nn.functional.cross_entropy(z, target).full_tensor()
        with pytest.raises((RuntimeError, NotImplementedError)):
            torch.nn.functional.cross_entropy(z, target, label_smoothing=0.1)
    ours = cross_entropy(z, target).full_tensor()
    agree(ours, plain, budget=FLOAT64, what="without smoothing, where torch answers")
    smoothed = cross_entropy(z, target, label_smoothing=0.1).full_tensor()
    agree(smoothed, torch.nn.functional.cross_entropy(logits, target, label_smoothing=0.1), budget=FLOAT64, what="ours")


CASES |= parallel_linear_cases.CASES

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
ON_TWO = ("torch.compile makes one graph of it", "torch's loss_parallel refuses to smooth, and ours answers")
FAMILIES_ON = {3: ("uniform", "unnormalised"), 4: ("others", "others but padding")}
LAWS_ON_MORE = ("shift", "ignored is removed")


def on_more(name: str, ranks: int) -> bool:
    """Say whether a case runs on three or four ranks, where another split is all that is new."""
    if name.startswith("target "):
        return name.removeprefix("target ") in FAMILIES_ON[ranks]
    if name.startswith("law: "):
        return name in {f"law: {law} holds for uniform" for law in LAWS_ON_MORE}
    return name not in {*ON_TWO, *parallel_linear_cases.ON_TWO}


PARTS = {
    "quick": {name: CASES[name] for name in QUICK},
    "rest": {name: function for name, function in CASES.items() if name not in QUICK},
    "three": {name: function for name, function in CASES.items() if on_more(name, 3)},
    "four": {name: function for name, function in CASES.items() if on_more(name, 4)},
}
