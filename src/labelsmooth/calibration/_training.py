"""Trains one network of the study, with our loss, and reads off what it says of validation and test rows.

One thread: a step is so small that a second thread costs more than it brings, and sums keep their order, so that a run is
repeated bit by bit on the same machine. AdamW without decay, one cycle of the learning rate (Smith, arXiv 1708.07120).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .datasets import Rows

if TYPE_CHECKING:
    from torch import Tensor, nn

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained."""

    network: str
    epochs: int
    batch: int = 128
    rate: float = 2e-3  # at the top of the cycle
    label_smoothing: float = 0.0
    mixup: float = 0.0  # both parameters of the Beta distribution; 0 mixes nothing
    temperature: float = 1.0  # of a student: its logits are divided by it, and the loss is multiplied by its square


@dataclass(frozen=True, eq=False)
class Trained:
    """A network after training."""

    body: nn.Sequential
    head: nn.Linear

    def penultimate(self, inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        """What the head is given, (N, D)."""
        return _in_parts(self.body, inputs)

    def logits(self, inputs: NDArray[np.generic]) -> Logits:
        """(N, K)."""
        return _in_parts(lambda x: self.head(self.body(x)), inputs)


def _in_parts(
    function: Callable[[Tensor], Tensor], inputs: NDArray[np.generic], size: int = 2000
) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        parts = [function(torch.from_numpy(inputs[i : i + size])).numpy() for i in range(0, len(inputs), size)]
    return np.concatenate(parts)


def train(
    rows: Rows,
    classes: int,
    recipe: Recipe,
    seed: int,
    *,
    teacher: NDArray[np.float32] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Trained:
    """Trains a network.

    Args:
        rows: what to train on.
        classes: K.
        recipe: how.
        seed: of the weights, of the order of the rows and of what is mixed.
        teacher: (N, K) distributions to learn from in place of the labels, see `distilled`.
        check: called after each epoch; what it raises ends the training.
    """
    import torch

    torch.manual_seed(seed)
    random = np.random.default_rng([seed, 7])
    body, head = _network(recipe.network, rows, classes)
    parameters = [*body.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=0.0, fused=True)
    steps = -(-len(rows) // recipe.batch) * recipe.epochs
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=recipe.rate, total_steps=steps)
    inputs, labels = torch.from_numpy(rows.inputs), torch.from_numpy(rows.labels)
    soft = None if teacher is None else torch.from_numpy(teacher)
    for _ in range(recipe.epochs):
        order = torch.from_numpy(random.permutation(len(rows)))
        for part in torch.split(order, recipe.batch):
            target = labels[part] if soft is None else soft[part]
            loss = _loss(lambda x: head(body(x)), inputs[part], target, classes, recipe, random)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            cycle.step()
        check()
    return Trained(body.eval(), head.eval())


def _network(kind: str, rows: Rows, classes: int) -> tuple[nn.Sequential, nn.Linear]:
    from ._networks import network

    return network(kind, inputs=rows.inputs.shape[1], classes=classes)


def _loss(
    function: Callable[[Tensor], Tensor],
    inputs: Tensor,
    target: Tensor,
    classes: int,
    recipe: Recipe,
    random: np.random.Generator,
) -> Any:
    from labelsmooth.losses import cross_entropy

    if recipe.mixup:
        inputs, target = mixed(inputs, target, classes, recipe.mixup, random)
    T = recipe.temperature
    return T**2 * cross_entropy(function(inputs) / T, target, label_smoothing=recipe.label_smoothing)


def mixed(
    inputs: Tensor, labels: Tensor, classes: int, alpha: float, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mixes each row of a batch with another one, target like input: mixup.

        x = λ·x_i + (1-λ)·x_j,  q = λ·δ(y_i) + (1-λ)·δ(y_j),  λ from Beta(α, α), one a batch

    Reference: Zhang et al., "mixup: beyond empirical risk minimization", arXiv 1710.09412, 2018.
    """
    import torch

    share = float(random.beta(alpha, alpha))
    other = torch.from_numpy(random.permutation(len(labels)))
    one_hot = torch.nn.functional.one_hot(labels, classes).to(inputs.dtype)  # (N, K)
    return share * inputs + (1 - share) * inputs[other], share * one_hot + (1 - share) * one_hot[other]


def distilled(logits: Logits, temperature: float) -> NDArray[np.float32]:
    """What a teacher says at a temperature: softmax(z/T), (N, K), the student's target.

    Reference: Hinton et al., "Distilling the knowledge in a neural network", arXiv 1503.02531, 2015.
    """
    scaled = logits.astype(np.float64) / temperature
    power = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = (power / power.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
