"""What the ranks of test_losses_parallel.py do with a linear layer whose classes are split, against one process.

The judge is the unfused loss in float64 of the layer that one process has whole, as in test_losses_linear.py, whose cases
these are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from agree import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, agree
from labelsmooth.losses import (
    _libraries,
    _linear,
    _linear_autograd,
    _linear_blocks,
    _parallel_linear_mesh,
    _triton,
    linear_cross_entropy,
)
from parallel_judge import BY_CLASS, even, odd
from parallel_messages import Messages
from ranks import gathered, team, together
from test_losses_functional_laws import no_native_kernel, pytest
from test_losses_linear import CASES as WORDS
from test_losses_linear import draw, labels, layer, shares, unfused

CASES: dict[str, Callable[[int, int], None]] = {}
NAMES = ("hidden", "weight", "bias")


def case(name: str) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        CASES[f"linear: {name}"] = function
        return function

    return add


def run(way: Any, leaves: list[Any], target: Any, **words: Any) -> list[Any]:
    """Give loss and gradients; into an unreduced loss another number a row is pushed."""
    leaves = [None if x is None else x.detach().clone().requires_grad_() for x in leaves]
    loss = way(*leaves, target, **words)
    loss.backward(pushed(loss))
    return [loss.detach(), *(None if x is None else x.grad for x in leaves)]


def pushed(loss: Any) -> Any:
    return (torch.arange(1.0, loss.numel() + 1).to(loss) / max(loss.numel(), 1)).reshape(loss.shape)


def split(hidden: Any, head: Any, bias: Any, target: Any, **words: Any) -> Any:
    words = {"chunk_rows": 3, "group": team(), **words}
    return linear_cross_entropy(hidden, head, target, linear_bias=bias, **words)


def cut(x: Any, name: str, classes: int, at: slice) -> Any:
    """Cut what has classes to this rank's."""
    by_class = isinstance(x, torch.Tensor) and name in BY_CLASS and (name != "target" or x.is_floating_point())
    return x[..., at.start : min(at.stop, classes)] if by_class else x


def agree_on_ranks(
    tensors: list[Any], target: Any, rank: int, ranks: int, *, sizes: Any = even, parts: bool = False,
    budget: float = FLOAT64, what: str, way: Any = split, judge: Any = unfused, **words: Any,
) -> None:  # fmt: skip
    """Compare loss and gradients on all ranks with those of one process in float64."""
    wide = tensors[1].shape[0]
    shard = sizes(wide, ranks)
    at, real = slice(sum(shard[:rank]), sum(shard[: rank + 1])), wide - words.get("padded_classes", 0)
    given = {"target": target, **words}
    here = {name: cut(x, name, real, at) for name, x in given.items()} if parts else given
    found = run(way, [tensors[0], *(None if x is None else x[at] for x in tensors[1:])], **here, class_sizes=shard)
    exact = run(judge, [None if x is None else x.double() for x in tensors], **given, class_dim=-1)
    everyone = collected(found, shard)
    for other in everyone:
        agree(other[0], everyone[0][0], budget=0, what=f"{what}: the loss on another rank", nan_agrees=True)
        agree(other[1], exact[1], budget=budget, what=f"{what}: gradient of hidden")
    agree(everyone[0][0], exact[0], budget=budget, what=f"{what}: loss", nan_agrees=True, any_dtype=True)
    for i, name in enumerate(NAMES[1:], 2):
        if exact[i] is not None:
            agree(torch.cat([of[i] for of in everyone]), exact[i], budget=budget, what=f"{what}: gradient of {name}")


def collected(found: list[Any], shard: list[int]) -> list[list[Any]]:
    """Give what every rank has found, by one message, as it is or in float64."""
    loss, hidden, *of_classes = found
    shapes = [
        [loss.shape, hidden.shape, *(torch.Size([n, *x.shape[1:]]) for x in of_classes if x is not None)] for n in shard
    ]
    counts = [[shape.numel() for shape in of] for of in shapes]
    own = torch.cat([x.double().flatten() for x in found if x is not None])
    told = together(own, [sum(of) for of in counts])
    return [[piece.view(shape) for piece, shape in zip(x.split(n), of, strict=True)]
            for x, n, of in zip(told, counts, shapes, strict=True)]  # fmt: skip


# Every word -----------------------------------------------------------------------------------------------------------


def every_word(names: list[str], rank: int, ranks: int) -> None:
    """Run each case one way of twelve; on three and four ranks, where another split is all that is new, one of three."""
    for number, name in enumerate(names):
        if ranks > 2 and number % 3 != ranks - 3:
            continue
        target, words = WORDS[name]
        way, parts = ("mean", "sum", "none")[number % 5 % 3], number // 3 % 2 == 0
        sizes = odd if number // 6 % 2 else even
        agree_on_ranks(layer(), target, rank, ranks, parts=parts, sizes=sizes, reduction=way, chunk_rows=6,
                       what=f"{name}, {way}, {sizes.__name__}, {'shares' if parts else 'whole'}",
                       **{"label_smoothing": 0.1, **words})  # fmt: skip


CASES["linear: every word"] = partial(every_word, list(WORDS))


@case("plain torch where there is no native kernel")
def plain_torch(rank: int, ranks: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        no_native_kernel(patch)
        every_word(list(WORDS)[::5], rank, ranks)


@case("the GPU's kernel in the CPU's place, interpreted")
def interpreted(rank: int, ranks: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(_libraries.LIBRARIES, "cpu", _triton)
        tensors, mask = layer(rows=4), draw(6, 4, 7) > -9
        for way, words in (
            ("mean", {"prior": shares(1, 7), "z_loss": 0.1}),
            ("none", {"class_mask": mask, "softcap": 3.0}),
        ):
            agree_on_ranks(
                tensors, labels(4), rank, ranks, sizes=odd, reduction=way, label_smoothing=0.1, what=way, **words
            )


# Sizes and dtypes -----------------------------------------------------------------------------------------------------


@case("252 rows, 507 classes, in chunks of a chosen size and of its own")
def odd_sizes(rank: int, ranks: int) -> None:
    target, D = labels(252, 507), 9
    target[::10] = -100
    tensors = [draw(1, 252, D), draw(2, 507, D), draw(3, 507)]
    prior, mask = shares(4, 507), draw(5, 507) > -0.5
    mask[target[target >= 0]] = True
    for way, parts, words in (
        ("mean", False, {"chunk_rows": None}), ("sum", True, {"prior": prior}), ("none", False, {"z_loss": 1e-3, "softcap": 9.0}),
        ("mean", True, {"prior": prior[:400] / prior[:400].sum(), "padded_classes": 107, "target": target.clamp(max=399)}),
        ("mean", True, {"class_mask": mask, "weight": 1 + prior, "weighting": "nll"}),
    ):  # fmt: skip
        agree_on_ranks(tensors, **{"target": target, "chunk_rows": 50, **words}, rank=rank, ranks=ranks, parts=parts,
                       reduction=way, label_smoothing=0.1, what=f"{[*words]}, {way}")  # fmt: skip


@case("one row, several axes of rows, no bias")
def shapes(rank: int, ranks: int) -> None:
    hidden, weight, _ = layer()
    for shape in ((), (1,), (2, 5)):
        rows = torch.Size(shape).numel()
        agree_on_ranks([hidden[:rows].reshape(*shape, 4), weight, None], labels()[:rows].reshape(shape), rank, ranks,
                       reduction="none", label_smoothing=0.1, what=f"{shape}")  # fmt: skip


@case("single and half precision, with blocks of classes and without")
def precisions(rank: int, ranks: int) -> None:
    y, prior = labels(60, 40), shares(1, 40)
    for dtype, budget in ((torch.float32, 4 * FLOAT32), (torch.bfloat16, 2 * BFLOAT16), (torch.float16, 2 * FLOAT16)):
        tensors = layer(dtype, rows=60, classes=40)
        for blocks in (False, True)[: 1 if dtype == torch.float32 else 2]:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(_linear_autograd, "by_classes", lambda _, wanted, blocks=blocks: blocks and wanted.weight)
                patch.setattr(_linear_blocks, "_sizes", lambda _: _linear_blocks._Sizes(16, 7))
                for way in ("mean", "none"):  # a row's loss in float32 and its gradient, added up over ranks in half
                    agree_on_ranks(tensors, y, rank, ranks, budget=budget, reduction=way, chunk_rows=25, prior=prior,
                                   z_loss=0.01, label_smoothing=0.1, what=f"{dtype}, {way}, {blocks}")  # fmt: skip


@case("-inf in the bias: a whole shard, masked or not; a label that only one rank sees masked")
def infinite(rank: int, ranks: int) -> None:
    hidden, weight, bias = layer()
    first = even(7, ranks)[0]
    bias[first:] = -torch.inf
    target = labels() % first
    for words in ({}, {"class_mask": "finite"}, {"class_mask": "finite", "z_loss": 0.1}):
        smoothing = 0.1 if words else 0.0
        agree_on_ranks([hidden, weight, bias], target, rank, ranks, label_smoothing=smoothing, what=f"{words}", **words)
    mask = torch.ones(7, dtype=torch.bool)
    mask[3] = False
    at = slice(sum(even(7, ranks)[:rank]), sum(even(7, ranks)[: rank + 1]))
    loss = split(hidden, weight[at], None, labels(), class_mask=mask[at], class_sizes=even(7, ranks), reduction="none",
                 label_smoothing=0.1, validate=False)  # fmt: skip
    agree(loss.isnan().double(), (labels() == 3).double(), budget=0, what="rows whose label is masked")


# The backward ---------------------------------------------------------------------------------------------------------


def mine(tensors: list[Any], rank: int, ranks: int) -> tuple[list[Any], dict[str, Any]]:
    """Give this rank's leaves of a layer, and the words for it."""
    shard = even(len(tensors[1]), ranks)
    at = slice(sum(shard[:rank]), sum(shard[: rank + 1]))
    leaves = [tensors[0], *(x[at] for x in tensors[1:])]
    return [x.clone().requires_grad_() for x in leaves], {"class_sizes": shard, "label_smoothing": 0.1}


@case("a kept graph, another push, frozen parts and what is learned beside the layer")
def machinery(rank: int, ranks: int) -> None:
    y = labels()
    for reduction in ("mean", "none"):
        leaves, words = mine(layer(), rank, ranks)
        loss = split(*leaves, y, reduction=reduction, **words).sum()
        once = torch.autograd.grad(loss, leaves, retain_graph=True)
        twice = torch.autograd.grad(loss, leaves, torch.tensor(-2.5).double(), retain_graph=True)
        for a, b in zip(once, twice, strict=True):
            agree(b, -2.5 * a, budget=FLOAT64, what="pushed with -2.5")
        with pytest.raises(RuntimeError, match="has first derivatives only"):
            torch.autograd.grad(loss, leaves, create_graph=True)
        with pytest.raises(RuntimeError, match="has first derivatives only"):
            torch.autograd.grad(loss, leaves, torch.ones(2).double(), is_grads_batched=True, retain_graph=True)
        for i in range(3):
            some = [x.detach().requires_grad_(j == i) for j, x in enumerate(leaves)]
            (found,) = torch.autograd.grad(split(*some, y, reduction=reduction, **words).sum(), some[i])
            agree(found, once[i], budget=FLOAT64, what=f"only {NAMES[i]} learns")
    exact = [torch.tensor(0.2).double().requires_grad_(), shares(1, 7).requires_grad_()]
    unfused(*layer(), y, label_smoothing=exact[0], prior=exact[1]).backward()
    leaves, words = mine(layer(), rank, ranks)
    found = [x.detach().clone().requires_grad_() for x in exact]
    split(*leaves, y, **{**words, "label_smoothing": found[0], "prior": found[1], "chunk_rows": None}).backward()
    for name, x, truth in zip(("ε", "the prior"), found, exact, strict=True):
        parts = gathered(x.grad, ranks)
        agree(parts[0] if name == "ε" else sum(parts), truth.grad, budget=FLOAT64, what=f"gradient of {name}")


@case("a scaler saves a gradient in float16 from underflow")
def scaler(rank: int, ranks: int) -> None:
    hidden = torch.ones(65536, 1, dtype=torch.float16)
    weight = (torch.arange(2.0 * ranks) / 4).reshape(-1, 1).half()
    (x, own), words = mine([hidden, weight], rank, ranks)
    loss = split(x, own, None, torch.zeros(65536, dtype=torch.long), **{**words, "chunk_rows": None})
    torch.amp.GradScaler("cpu", init_scale=65536.0).scale(loss).backward()
    z, K = weight.double().squeeze(), 2 * ranks
    exact = z.softmax(0) - 0.1 / K - 0.9 * (torch.arange(K) == 0)
    agree(x.grad[:3], (exact @ weight.double()).expand(3, 1), budget=2.0**-9, what="scaled", any_dtype=True)


@case(
    "one all_gather of 2n floats for a chunk, one before for what the words need, the input's in the backward; three products"
)
def messages(rank: int, ranks: int) -> None:
    N, D, four = 11, 4, 4
    y, soft, mask = labels(), shares(5, N, 7).float(), draw(6, N, 7) > -9
    for before, reduction, words in (
        ([], "mean", {}), ([], "none", {"z_loss": 0.1, "softcap": 9.0}), ([four], "sum", {"prior": shares(7, 7).float()}),
        ([N * four], "mean", {"class_mask": mask}), ([N * four], "none", {"target": soft}),
        ([2 * N * four], "mean", {"target": soft, "class_mask": mask}),
    ):  # fmt: skip
        leaves, given = mine([x.float() for x in layer()], rank, ranks)
        with Messages() as forward:
            loss = split(*leaves, **{"target": y, **given, **words, "reduction": reduction, "chunk_rows": 4})
        with Messages() as backward:
            loss.sum().backward()
        assert (forward.products, backward.products) == ((3, 9) if reduction == "none" else (9, 0)), f"{[*words]}"
        said = [size for _, size in forward.sent]
        assert said == [*before, *(2 * n * four for n in (4, 4, 3))], f"{[*words]}: {said}"
        assert all("gather" in name for name, _ in forward.sent)
        assert [size for _, size in backward.sent] == [N * D * four], f"{[*words]}: {backward.sent}"
        assert "all_reduce" in backward.sent[0][0]


# Errors that must be seen ---------------------------------------------------------------------------------------------


@case("planted: a gradient of this rank's own softmax, of masses that are here, and a chunk that nobody else hears of")
def wrong_chunks(rank: int, ranks: int) -> None:
    losses = _linear.losses_of_all

    def own_softmax(z: Any, label: Any, charge: Any, known: Any, stats: Any) -> Any:
        loss = losses(z, label, charge, known, stats)
        stats[2] = known.masses.sum(0)
        return loss

    def own_mass(z: Any, label: Any, charge: Any, known: Any, stats: Any) -> Any:
        return losses(
            z, label, charge, known._replace(masses=known.masses * (torch.arange(ranks) == rank).view(-1, 1)), stats
        )

    def nobody_else(parts: Any, _shards: Any) -> Any:
        return {name: x.expand(ranks, -1) for name, x in parts.items()}

    compare = partial(agree_on_ranks, layer(), labels(), rank, ranks, label_smoothing=0.1)
    compare(what="unharmed")
    for place, wrong in (("_linear.losses_of_all", own_softmax), ("_linear.losses_of_all", own_mass),
                         ("_linear_ranks.exchanged", nobody_else)):  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"labelsmooth.losses.{place}", wrong)
            with pytest.raises(AssertionError, match="differ"):
                compare(what=wrong.__name__)


# DTensor --------------------------------------------------------------------------------------------------------------


def layouts(ranks: int) -> list[tuple[Any, list[Any], list[Any] | None]]:
    """Give meshes, and how weight and input lie on them; a plain input is on all ranks."""
    line, whole, first = DeviceMesh.from_group(team(), "cpu"), Replicate(), Shard(0)
    found: list[tuple[Any, list[Any], list[Any] | None]] = [
        (line, [first], x) for x in (None, [whole], [first], [Shard(1)], [Shard(2)])
    ]
    found.append((line, [whole], [first]))
    if ranks == 4:
        square = init_device_mesh("cpu", (2, 2))
        found += [(square, [whole, first], x) for x in (None, [first, whole], [first, first], [whole, Shard(1)])]
        found.append((square, [first, whole], [whole, first]))
    return found


def on_mesh(mesh: Any, of_weight: list[Any], of_input: Any, way: str, words: dict[str, Any], ranks: int) -> None:
    what = f"{of_weight}, {of_input}, {way}, {[*words]}"
    x, weight, bias = draw(1, 5, 2, 4), draw(2, 7, 4), draw(3, 7)
    target = words.get("target", labels(10).view(5, 2).index_fill(0, torch.tensor(3), -100))
    given: dict[str, Any] = {"label_smoothing": 0.1, "reduction": way, **words, "target": target}
    plain = of_input is None
    rows = [Replicate() if plain or p == Shard(2) else p for p in of_input or of_weight]
    here = {name: distribute_tensor(t, mesh, rows if t.dim() > 1 else [Replicate()] * len(rows))
            if isinstance(t, torch.Tensor) and not plain else t for name, t in given.items()}  # fmt: skip
    leaves = [t if p is None else distribute_tensor(t, mesh, p) for t, p in ((x, of_input), (weight, of_weight),
                                                                             (bias, of_weight))]  # fmt: skip
    leaves = [t.detach().requires_grad_() for t in leaves]
    loss = linear_cross_entropy(*leaves[:2], linear_bias=leaves[2], chunk_rows=3, **here)
    assert isinstance(loss, DTensor)
    loss.backward(distribute_tensor(pushed(loss), mesh, loss.placements))
    exact = run(unfused, [x, weight, bias], **given, class_dim=-1)
    for name, leaf in zip(NAMES, leaves, strict=True):
        if isinstance(leaf, DTensor):
            assert leaf.grad.placements == leaf.placements, (
                f"{what}: {name} has a gradient placed as {leaf.grad.placements}"
            )
    found = [t.full_tensor() if isinstance(t, DTensor) else t for t in (loss.detach(), *(t.grad for t in leaves))]
    for number, everyone in enumerate(zip(*collected(found, [7] * ranks), strict=True)):
        for other in everyone:
            agree(other, everyone[0], budget=0 if number == 0 else FLOAT64, what=f"{what}: on another rank")
        agree(everyone[0], exact[number], budget=FLOAT64, what=f"{what}: {('loss', *NAMES)[number]}")


@case("a layer on a mesh: rows on all ranks, on a dimension of their own or on that of the classes")
def on_meshes(_rank: int, ranks: int) -> None:
    mask = draw(6, 5, 2, 7) > -9
    mask[..., 6] = False
    soft = shares(7, 5, 2, 7)
    several: list[dict[str, Any]] = [
        {}, {"prior": shares(4, 7), "weight": 1 + shares(5, 7)}, {"target": soft, "row_weight": draw(8, 5, 2).abs()},
        {"class_mask": mask, "target": labels(10).clamp(max=5).view(5, 2), "z_loss": 0.1},
    ]  # fmt: skip
    number = 0
    for mesh, of_weight, of_input in layouts(ranks):
        for words in several:
            number += 1
            if (number + ranks) % 2:
                on_mesh(mesh, of_weight, of_input, ("mean", "sum", "none")[number % 3], words, ranks)


@case("what does not lie as it must is refused in a line, and so is a head of FSDP with other rows on every rank")
def refused(rank: int, _ranks: int) -> None:
    mesh = DeviceMesh.from_group(team(), "cpu")
    other = DeviceMesh.from_group(team(), "cpu", mesh_dim_names=("other",))
    x, weight, y = draw(1, 4, 3), draw(2, 7, 3), labels(4)
    head, column = distribute_tensor(weight, mesh, [Shard(0)]), distribute_tensor(weight, mesh, [Shard(1)])
    elsewhere, bias = distribute_tensor(x, other, [Replicate()]), draw(3, 7)
    refusals: tuple[tuple[Any, Any, dict[str, Any], type, str], ...] = (
        (elsewhere, weight, {}, TypeError, "input is a DTensor and linear_weight is none: give both as DTensors"),
        (elsewhere, head, {}, ValueError, "input lies on another mesh than linear_weight: redistribute it"),
        (x, head, {"group": team()}, ValueError, "group and class_sizes are for plain tensors"),
        (x, column, {}, ValueError, r"linear_weight is placed as \(Shard\(dim=1\),\) on its mesh, expected Shard\(0\)"),
        (x, head, {"linear_bias": bias}, TypeError, "linear_bias is plain and linear_weight a DTensor"),
        (x, head, {"linear_bias": distribute_tensor(bias, other, [Replicate()])}, ValueError,
         "linear_bias lies on another mesh than linear_weight: redistribute it"),
        (x, weight, {"linear_bias": distribute_tensor(bias, mesh, [Shard(0)])}, TypeError,
         "linear_bias is a DTensor and linear_weight is none"),
        (x, weight.view(7, 1, 3), {"group": team()}, ValueError, r"linear_weight is \(K, D\), got shape \(7, 1, 3\)"),
    )  # fmt: skip
    for hidden, w, words, error, message in refusals:
        with pytest.raises(error, match=message):
            linear_cross_entropy(hidden, w, y, **words)
    with pytest.raises(RuntimeError, match="gives its gradient to backward"):
        torch.func.grad(lambda x: linear_cross_entropy(x, weight, y, group=team()))(x)
    _parallel_linear_mesh._COMPARED.clear()
    with pytest.raises(
        ValueError, match=r"rank 1 .* another target than rank 0: .*fully_shard has sharded is whole inside"
    ):
        linear_cross_entropy(x, head, (y + rank) % 7)
    for _ in range(2):
        linear_cross_entropy(x, head, y)
    assert [*_parallel_linear_mesh._COMPARED] == [mesh.get_group()]


class HeadOfFsdp(torch.nn.Linear):
    """A head whose forward is its loss."""

    def forward(self, hidden: Any, target: Any, **words: Any) -> Any:
        return linear_cross_entropy(hidden, self.weight, target, linear_bias=self.bias, label_smoothing=0.1, **words)


@case("a head that FSDP2 has sharded, whole in its own forward")
def fsdp(rank: int, ranks: int) -> None:
    N, (_, weight, bias) = 4 * ranks, layer()
    whole = HeadOfFsdp(4, 7, dtype=torch.float64)
    whole.load_state_dict({"weight": weight, "bias": bias})
    head = HeadOfFsdp(4, 7, dtype=torch.float64)
    head.load_state_dict(whole.state_dict())
    fully_shard(head, mesh=DeviceMesh.from_group(team(), "cpu"))
    x, y = draw(1, N, 4), labels(N)
    y[1:3] = -100  # rank 0 has fewer rows that count
    whole(x, y).backward()
    mine = slice(4 * rank, 4 * rank + 4)
    for _ in range(2):
        head.zero_grad()
        loss = head(x[mine], y[mine], reduction="sum", normalizer=(y != -100).sum().double() / ranks, chunk_rows=3)
        loss.backward()
        for name, parameter in whole.named_parameters():
            sharded = head.get_parameter(name)
            assert sharded.placements == sharded.grad.placements == (Shard(0),)
            agree(sharded.grad.full_tensor(), parameter.grad, budget=FLOAT64, what=f"gradient of {name}")


@case("torch.compile makes one graph of it")
def compiled(rank: int, ranks: int) -> None:
    def both(of: Any, *layer: Any, **words: Any) -> Any:
        return of(*layer, **words, reduction="none") * of(*layer, **words, reduction="mean")

    way = torch.compile(partial(both, split), fullgraph=True, backend="aot_eager")
    agree_on_ranks(layer(), labels(), rank, ranks, way=way, judge=partial(both, unfused), prior=shares(1, 7), z_loss=0.1,
                   label_smoothing=0.1, what="compiled")  # fmt: skip


ON_TWO = (
    "linear: torch.compile makes one graph of it",
    "linear: the GPU's kernel in the CPU's place, interpreted",
)
QUICK = (
    "linear: 252 rows, 507 classes, in chunks of a chosen size and of its own",
    "linear: a kept graph, another push, frozen parts and what is learned beside the layer",
)
