"""What the ranks of test_losses_parallel.py do with DTensor logits, on meshes of one and two dimensions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor import parallel as tensor_parallel

from agree import FLOAT64, LossAndGradient, agree, agree_result
from labelsmooth.losses import cross_entropy, loss_parts
from parallel_judge import BY_CLASS, CASES, Problem, case, draw, pushed, random, unigram
from ranks import gathered, team, together

__all__ = ["CASES"]


def meshes(ranks: int) -> list[tuple[Any, Any]]:
    """Give meshes and placements of (N, K) logits on them."""
    line = DeviceMesh.from_group(team(), "cpu")
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
    found = []
    for i, words in enumerate(given):
        problem = Problem(draw(0, N, K), {"target": target, "label_smoothing": 0.1, **words})
        for j, (mesh, placements) in enumerate(meshes(ranks)):
            for k, way in enumerate(("mean", "sum", "none")):
                if ranks < 4 or (i + j + k) % 3 == 0:  # on the most meshes one way each
                    for how in ({"parts": True}, {}, {"gradient_in_forward": True})[(i + j) % 2 : 2 + (way != "none")]:
                        what = f"{placements}, {[*words]}, {way}, {how}"
                        got = on_a_mesh(problem, mesh, placements, reduction=way, **how)
                        truth = problem.truth(reduction=way, parts="parts" in how)
                        found.append((got, LossAndGradient(*truth), what))
    losses = torch.cat([got.loss.flatten() for got, _, _ in found])
    for other in together(losses, [losses.numel()] * ranks):
        agree(other, losses, budget=0, what="the losses on another rank")
    for got, truth, what in found:
        agree_result(got, truth, budget=FLOAT64, what=what)


def on_a_mesh(problem: Problem, mesh: Any, placements: Any, *, parts: bool = False, **changes: Any) -> LossAndGradient:
    def placed(x: Any, how: Any) -> Any:
        return distribute_tensor(x, mesh, how, src_data_rank=None)  # everybody has everything: no message

    z = placed(problem.logits, placements).requires_grad_()
    of_rows = [p if p.is_shard(0) else Replicate() for p in placements]
    of_classes = [Shard(0) if p.is_shard(1) else Replicate() for p in placements]
    words = {}
    for name, x in problem.words.items():
        alike = of_rows
        if isinstance(x, torch.Tensor):
            alike = placements if x.dim() == 2 else of_classes if name in BY_CLASS and name != "target" else of_rows
        words[name] = placed(x, alike) if isinstance(x, torch.Tensor) else x
    losses = loss_parts(z, **words, **changes) if parts else [cross_entropy(z, **words, **changes)]
    assert all(isinstance(loss, DTensor) for loss in losses)
    loss = torch.stack(tuple(losses)) if parts else losses[0]
    loss.backward(placed(pushed(loss), loss.placements))
    return LossAndGradient(loss.detach().full_tensor(), z.grad.full_tensor())


# The mean, where DDP averages -----------------------------------------------------------------------------------------


def averaged(mesh: Any, factor: int) -> None:
    """Train a layer by DDP, its rows on the first dimension of the mesh and its classes on the second, if there is one."""
    rows = mesh.size(0)
    columns = mesh.size(1) if mesh.ndim > 1 else 1
    row, column = (mesh.get_local_rank(i) if i < mesh.ndim else 0 for i in range(2))
    x, target = draw(0, 3 * rows, 5), torch.arange(3 * rows) % 6
    target[1:3] = -100  # the first rank has fewer rows that count
    weight, bias = draw(1, 6, 5), draw(2, 6)
    whole, layer = torch.nn.Linear(5, 6, dtype=torch.float64), torch.nn.Linear(5, 6 // columns, dtype=torch.float64)
    whole.load_state_dict({"weight": weight, "bias": bias})
    layer.load_state_dict({"weight": weight.chunk(columns)[column], "bias": bias.chunk(columns)[column]})
    cross_entropy(whole(x), target, label_smoothing=0.1).backward()
    # Kept until the backward, which it would not average otherwise.
    averaging = torch.nn.parallel.DistributedDataParallel(layer, process_group=mesh.get_group(0))
    at = slice(3 * row, 3 * row + 3)
    logits = DTensor.from_local(averaging(x[at]), mesh, [Shard(0), Shard(1)][: mesh.ndim])
    (cross_entropy(logits, target[at], label_smoothing=0.1) * factor).backward()
    everyone = gathered(layer.weight.grad, rows * columns)
    for first in range(0, rows * columns, columns):
        agree(torch.cat(everyone[first : first + columns]), whole.weight.grad, budget=FLOAT64, what="averaged gradient")


@case("the mean over a mesh times the ranks is what DDP's average makes the gradient of the mean")
def on_a_line(_rank: int, ranks: int) -> None:
    averaged(DeviceMesh.from_group(team(), "cpu"), ranks)


@case("the mean over a mesh of two dimensions")
def on_a_square(_rank: int, _ranks: int) -> None:
    mesh = init_device_mesh("cpu", (2, 2))
    averaged(mesh, 2)  # as many as have different rows, and not as many as there are
    for planted in (1, 4):
        with pytest.raises(AssertionError, match=r"averaged gradient.* differ"):
            averaged(mesh, planted)


@case("torch's loss_parallel refuses to smooth, and ours answers")
def loss_parallel(_rank: int, _ranks: int) -> None:
    mesh = DeviceMesh.from_group(team(), "cpu")
    logits, target = draw(0, 6, 11), torch.arange(6)
    z = distribute_tensor(logits, mesh, [Shard(1)]).requires_grad_()
    with tensor_parallel.loss_parallel():
        plain = torch.nn.functional.cross_entropy(z, target).full_tensor()
        with pytest.raises((RuntimeError, NotImplementedError), match=r"got mixed torch\.Tensor and DTensor"):
            torch.nn.functional.cross_entropy(z, target, label_smoothing=0.1)
        with pytest.raises(
            (RuntimeError, NotImplementedError), match="in-place operations that require placement changes"
        ):
            torch.nn.functional.cross_entropy(z, distribute_tensor(target, mesh, [Replicate()]), label_smoothing=0.1)
    ours = cross_entropy(z, target).full_tensor()
    agree(ours, plain, budget=FLOAT64, what="without smoothing, where torch answers")
    smoothed = cross_entropy(z, target, label_smoothing=0.1).full_tensor()
    agree(smoothed, torch.nn.functional.cross_entropy(logits, target, label_smoothing=0.1), budget=FLOAT64, what="ours")
