"""How the cases of test_losses_parallel.py are judged: the loss with its classes split, against one process that has them all.

The judge is `cross_entropy` of all the logits in float64, which has judges of its own. `on_ranks` computes, and `settle`
compares everything a case has computed: one message for all of it, because with more ranks than cores a message takes longer
than a loss. It asks for the same loss on all ranks to the last bit, and compares loss and gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from agree import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, agree
from labelsmooth.losses import cross_entropy, loss_parts
from ranks import team, together

INF, NAN = float("inf"), float("nan")
BY_CLASS = ("prior", "class_mask", "weight", "target")  # what may come whole or as a share
# What a loss and a gradient may miss in the dtype of the logits: the ranks round what they tell each other once more.
BUDGETS = {torch.float64: (FLOAT64, FLOAT64), torch.float32: (4 * FLOAT32, 4 * FLOAT32),
           torch.bfloat16: (4 * FLOAT32, BFLOAT16), torch.float16: (4 * FLOAT32, FLOAT16)}  # fmt: skip
Case = Callable[[int, int], None]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    def add(function: Case) -> Case:
        CASES[name] = settled(function)
        return function

    return add


def settled(function: Case) -> Case:
    """Give a case at whose end everything it has computed is compared."""

    def run(rank: int, ranks: int) -> None:
        HELD.clear()
        function(rank, ranks)
        settle(rank, ranks)

    return run


def even(classes: int, ranks: int) -> list[int]:
    """Give the sizes of the shards that torch.chunk makes, empty ones at the end."""
    step = -(-classes // ranks)
    return [max(0, min(step, classes - step * rank)) for rank in range(ranks)]


def odd(classes: int, ranks: int) -> list[int]:
    """Give other sizes, with nothing on one rank where there are more than two."""
    few = [1] + [0] * (ranks - 2)
    return [*few, classes - 1]


@dataclass(frozen=True)
class Problem:
    """Logits (N, K), or with the classes on another axis, and everything else in torch's words."""

    logits: Any
    words: dict[str, Any]
    axis: int = 1
    padded: int = 0

    def truth(self, **changes: Any) -> tuple[Any, Any]:
        """Give loss and gradient of one process in float64."""
        return self.computed(self.logits.double(), class_dim=self.axis, **changes)

    def computed(self, logits: Any, *, parts: bool = False, **words: Any) -> tuple[Any, Any]:
        """Give the loss, or its five parts one after the other, and the gradient of what is pushed into them."""
        leaf = logits.detach().clone().requires_grad_()
        words = {**self.words, "padded_classes": self.padded, **words}
        z = leaf * 1 if words.get("inplace") else leaf
        loss = torch.stack(tuple(loss_parts(z, **words))) if parts else cross_entropy(z, **words)
        loss.backward(pushed(loss))
        return loss.detach(), z.detach() if words.get("inplace") else leaf.grad


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


# What was computed, and what should have been -------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """This rank's loss and gradient, and what one process gives."""

    loss: Any
    gradient: Any
    truth: tuple[Any, Any]
    axis: int
    sizes: list[int]
    budget: tuple[float, float]
    what: str

    def count(self, rank: int) -> int:
        """Say how many numbers a rank has of this."""
        return int(self.loss.numel() + self.truth[1].numel() // sum(self.sizes) * self.sizes[rank])


HELD: list[Held] = []


def on_ranks(
    problem: Problem, rank: int, ranks: int, *, shares: bool = False, sizes: Any = even, budget: float | None = None,
    what: str = "", known: bool = False, parts: bool = False, also: Any = None, **changes: Any,
) -> None:  # fmt: skip
    """Compute the loss on this rank, `also` with what one process is not asked for, and hold it for `settle`."""
    cut = sizes(problem.logits.shape[problem.axis], ranks)
    z = problem.logits.narrow(problem.axis, sum(cut[:rank]), cut[rank])
    words = {**problem.words, **changes}
    if shares:
        words = {name: share(x, name, problem, cut, rank) for name, x in words.items()}
    loss, gradient = problem.computed(z, parts=parts, **words, **(also or {}), class_dim=problem.axis, group=team(),
                                      class_sizes=None if known else cut)  # fmt: skip
    allowed = BUDGETS[z.dtype] if budget is None else (budget, budget)
    HELD.append(Held(loss, gradient, problem.truth(parts=parts, **changes), problem.axis, cut, allowed, what))


def settle(_rank: int, ranks: int) -> None:
    """Compare what was held."""
    held = HELD[:]
    HELD.clear()
    if not held:
        return
    own = torch.cat([x.double().flatten() for one in held for x in (one.loss, one.gradient)])
    everyone = together(own, [sum(one.count(rank) for one in held) for rank in range(ranks)])
    rows = [list(row.split([one.count(rank) for one in held])) for rank, row in enumerate(everyone)]
    for one, *numbers in zip(held, *rows, strict=True):
        compared(one, numbers)


def compared(one: Held, numbers: list[Any]) -> None:
    size, (exact, slope) = one.loss.numel(), one.truth
    losses = [row[:size].view(one.loss.shape) for row in numbers]
    for other in losses:
        agree(other, losses[0], budget=0, what=f"{one.what}: the loss on another rank", nan_agrees=True)
    shapes = [[*slope.shape[: one.axis], n, *slope.shape[one.axis + 1 :]] for n in one.sizes]
    gradient = torch.cat([row[size:].view(shape) for row, shape in zip(numbers, shapes, strict=True)], dim=one.axis)
    agree(losses[0], exact, budget=one.budget[0], what=f"{one.what}: loss", nan_agrees=True)
    there = torch.isfinite(slope)
    agree(gradient.where(there, NAN), slope.where(there, NAN), budget=one.budget[1], what=f"{one.what}: gradient",
          nan_agrees=True)  # fmt: skip


# Problems -------------------------------------------------------------------------------------------------------------


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


SMALL = torch.tensor([[2, 1, 0, -1, -2, 0.5, 3], [0.5, 0.1, -0.3, 1.2, 0, -4, 1], [0, 0, 7, 0, 0, 0, 0]]).double()
LABELS = torch.tensor([0, 3, 6])


def small(logits: Any = SMALL, **words: Any) -> Problem:
    return Problem(logits, {"target": LABELS, "label_smoothing": 0.1, **words})


# Errors that must be seen ---------------------------------------------------------------------------------------------


@contextmanager
def seen_to_differ(rank: int, ranks: int) -> Iterator[pytest.MonkeyPatch]:
    """See the comparison fail, on all ranks, after what is planted here."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch
    with pytest.raises(AssertionError, match="differ"):
        settle(rank, ranks)
