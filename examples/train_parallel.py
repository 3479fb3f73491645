"""A small language model trained by several processes, and by one: the same losses, the same gradients.

    torchrun --nproc-per-node 2 examples/train_parallel.py                  # each has a part of the vocabulary
    torchrun --nproc-per-node 2 examples/train_parallel.py --data-parallel  # each has a part of the rows: DDP

Both train on this project's README and docs, on CPUs over gloo, with the model of train_language_model.py. Split by
vocabulary, every process holds some rows of the head and their gradients, and no process ever has all the logits. Split by
rows, DDP averages gradients over processes and a step has several micro-batches, of which some words do not count.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from labelsmooth import cross_entropy, linear_cross_entropy
from train_language_model import CONTEXT, ROOT, ROWS, WIDTH, Model, read

STEPS, MICRO_BATCHES = 101, 3


def batches(text: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Give the contexts and the following words of every step, the same in every process."""
    places = [torch.randint(CONTEXT, len(text), (ROWS,)) for _ in range(STEPS)]
    return [(torch.stack([text[at - back] for back in range(CONTEXT, 0, -1)], dim=1), text[at]) for at in places]


def train(text: Tensor, words: int, group: dist.ProcessGroup | None) -> Tensor:
    """Train from the same start on the same batches, the head's rows split over the group, and give each step's loss."""
    torch.manual_seed(0)
    model, head = Model(words), torch.randn(words, WIDTH) * 0.3
    ranks, rank = (1, 0) if group is None else (dist.get_world_size(group), dist.get_rank(group))
    mine = head.tensor_split(ranks)[rank].clone().requires_grad_()
    sizes = None if group is None else [len(rows) for rows in head.tensor_split(ranks)]
    prior = torch.bincount(text, minlength=words) / len(text)
    optimiser = torch.optim.SGD([*model.parameters(), mine], lr=0.15, momentum=0.9)
    losses = []
    for context, target in batches(text):
        optimiser.zero_grad()
        loss = linear_cross_entropy(
            model(context), mine, target, label_smoothing=0.1, prior=prior, group=group, class_sizes=sizes
        )
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def by_vocabulary(text: Tensor, words: int) -> None:
    """Print both curves of losses."""
    split, one = train(text, words, dist.group.WORLD), train(text, words, None)
    if dist.get_rank() == 0:
        print(f"step   {dist.get_world_size()} processes   one process")
        for step in range(0, STEPS, 20):
            print(f"{step:4}   {split[step]:11.6f}   {one[step]:11.6f}")
        print(f"largest difference {(split - one).abs().max():.1e}")


class WithHead(nn.Module):
    """The words' model and its tied head: logits out."""

    def __init__(self, words: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = Model(words)

    def forward(self, context: Tensor) -> Tensor:
        return self.model(context) @ self.model.table.weight.t()


def accumulate(model: nn.Module, batch: list[tuple[Tensor, Tensor]], per_rank: Tensor) -> Tensor:
    """Add up the gradients of all micro-batches, sent once at the last, and give the loss."""
    total = torch.zeros(())
    for number, (context, target) in enumerate(batch):
        wait = isinstance(model, DistributedDataParallel) and number < len(batch) - 1
        with model.no_sync() if wait else nullcontext():
            loss = cross_entropy(model(context), target, label_smoothing=0.1, reduction="sum", normalizer=per_rank)
            loss.backward()
        total += loss.detach()
    return total


def by_rows(text: Tensor, words: int) -> None:
    """Print how far loss and gradients of one step are from those of one process."""
    torch.manual_seed(1)
    context, target = batches(text)[0]
    target[::7] = -100  # in some places no word is asked for
    target[: ROWS // 3] = -100  # and in some processes fewer than in others
    ranks, rank = dist.get_world_size(), dist.get_rank()
    mine = [x.tensor_split(ranks)[rank].tensor_split(MICRO_BATCHES) for x in (context, target)]

    count = sum((labels != -100).sum() for labels in mine[1])
    dist.all_reduce(count)
    model = DistributedDataParallel(WithHead(words))
    loss = accumulate(model, list(zip(*mine, strict=True)), count / ranks)  # DDP averages gradients over ranks
    dist.all_reduce(loss)

    one = WithHead(words)
    whole = cross_entropy(one(context), target, label_smoothing=0.1)
    whole.backward()
    if rank == 0:
        print(f"loss of {ranks} processes {loss / ranks:.6f}, of one process {whole:.6f}")
        pairs = zip(model.parameters(), one.parameters(), strict=True)
        print(f"largest difference of a gradient {max((a.grad - b.grad).abs().max() for a, b in pairs):.1e}")
        print(f"largest gradient {max(p.grad.abs().max() for p in one.parameters()):.1e}")


if __name__ == "__main__":
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    source = read([ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
    (by_rows if "--data-parallel" in sys.argv[1:] else by_vocabulary)(*source)
    dist.destroy_process_group()
