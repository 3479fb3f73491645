"""The networks that are trained: small enough for a core and a few seconds, large enough to over-fit.

Each has a body and a head, the head being linear, so that a report can look at what the last layer is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._names import BUCKETS

if TYPE_CHECKING:
    from torch import nn

WIDTHS = {"mlp": 256, "small": 128, "student": 64}


def network(kind: str, *, inputs: int, classes: int) -> tuple[nn.Sequential, nn.Linear]:
    """Gives body and head, with weights drawn from torch's generator.

    Args:
        kind: "mlp" (two hidden layers of 256), "small" (of 128), "student" (of 64), "cnn" (two convolutions) or "bag" (the mean
            of the pieces' vectors, then a hidden layer).
        inputs: numbers a row; "cnn" takes them as a square picture, "bag" ignores it.
        classes: K.
    """
    from torch import nn

    if kind in WIDTHS:
        width = WIDTHS[kind]
        body = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        return body, nn.Linear(width, classes)
    if kind == "cnn":
        side = round(inputs**0.5)
        body = nn.Sequential(
            nn.Unflatten(1, (1, side, side)),
            nn.Conv2d(1, 8, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * (side // 4) ** 2, 64),
            nn.ReLU(),
        )
        return body, nn.Linear(64, classes)
    if kind == "bag":
        body = nn.Sequential(
            nn.EmbeddingBag(BUCKETS, 48, mode="mean", padding_idx=0), nn.ReLU(), nn.Linear(48, 256), nn.ReLU()
        )
        return body, nn.Linear(256, classes)
    raise ValueError(f"there is no network {kind!r}: choose from {', '.join([*WIDTHS, 'cnn', 'bag'])}")
