"""Charges of every kind, and what plain torch gives for them in float64: what both native kernels are held to."""

from __future__ import annotations

from typing import Any

import torch

from agree import LossAndGradient
from labelsmooth.losses import _eager
from labelsmooth.losses._options import Charge


def draw(seed: int, *shape: int, dtype: Any = torch.float32, scale: float = 3.0) -> Any:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale).to(dtype)


def labels(seed: int, rows: int, classes: int) -> Any:
    return torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed))


def shares(seed: int, *shape: int) -> Any:
    return draw(seed, *shape, dtype=torch.float64).softmax(-1)


def exact(logits: Any, label: Any, charge: Charge, up: Any) -> LossAndGradient:
    """Give what plain torch gives in float64 for the same, already rounded, numbers."""
    z = logits.detach().double().clone().requires_grad_()
    wide = Charge(*(x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in charge))
    loss = _eager.row_losses(z, label.double() if label.is_floating_point() else label, wide)
    (gradient,) = torch.autograd.grad(loss, z, up.double())
    return LossAndGradient(loss, gradient)


def variants(rows: int, classes: int, dtype: Any) -> dict[str, tuple[Any, Charge]]:
    """Every kind of charge there is."""
    sums = _eager.wide(dtype)
    y, soft = labels(1, rows, classes), shares(2, rows, classes).to(sums)
    prior, own = shares(3, classes).to(sums), shares(4, rows, classes).to(sums)
    allowed = draw(5, rows, classes) > -1.5
    allowed[torch.arange(rows), y] = True
    free = allowed[0].clone()
    free[y] = True
    a, b, keep = draw(6, rows).abs().to(sums), draw(7, rows).abs().to(sums), torch.arange(rows) % 3 != 1
    within = own * allowed / (own * allowed).sum(-1, keepdim=True)
    return {
        "no smoothing": (y, Charge(1.0, 0.0)),
        "uniform": (y, Charge(0.9, 0.1)),
        "the others only": (y, Charge(0.8, 0.2)),
        "all to the prior": (y, Charge(0.0, 1.0)),
        "negative mass": (y, Charge(-0.2, 1.2)),
        "rows that do not count": (y, Charge(0.9, 0.1, keep=keep)),
        "masses by row": (y, Charge(a, b)),
        "one mass, as tensor": (y, Charge(torch.tensor(0.7, dtype=sums), torch.tensor(0.3, dtype=sums))),
        "prior": (y, Charge(0.9, 0.1, prior=prior)),
        "prior by row": (y, Charge(0.9, 0.1, prior=own, keep=keep)),
        "prior with zeros": (y, Charge(0.9, 0.1, prior=torch.where(prior > prior.mean(), prior, 0.0))),
        "mask": (y, Charge(0.9, 0.1, prior=free / free.sum().to(sums), allowed=free)),
        "mask by row": (y, Charge(a, b, prior=within, allowed=allowed, keep=keep)),
        "soft": (soft, Charge(0.9, 0.1)),
        "soft, weighted, prior": (
            soft,
            Charge(0.9, 0.1, prior=prior, weight=a.new_tensor([*range(classes)]) / classes),
        ),
        "z-loss": (y, Charge(0.9, 0.1, z_loss=0.01, keep=keep)),
        "softcap": (y, Charge(0.9, 0.1, softcap=4.0)),
        "softcap, mask, z-loss": (y, Charge(a, b, prior=within, allowed=allowed, z_loss=0.1, softcap=6.0)),
        "KL": (y, Charge(0.9, 0.1, minus_floor=True)),
    }


NAMES = list(variants(3, 4, torch.float32))
