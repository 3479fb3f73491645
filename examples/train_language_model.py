"""A small language model with a tied head, trained twice: with all the logits, and without ever holding them.

    python examples/train_language_model.py                # trains on this project's README and docs
    python examples/train_language_model.py notes.txt      # or on any text

It reads words and punctuation, predicts each from the three before it, and smooths towards how often words occur. The two
columns of losses are the same numbers; what differs is the memory, which a vocabulary of this size hardly notices and one
of 128,000 does.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from labelsmooth import cross_entropy, linear_cross_entropy

ROOT = Path(__file__).resolve().parent.parent
CONTEXT, WIDTH, ROWS = 3, 48, 256


def read(paths: list[Path]) -> tuple[Tensor, int]:
    """Turn text into numbers, one a word or punctuation mark, and count how many there are."""
    words = re.findall(r"\w+|[^\w\s]", "\n".join(path.read_text(encoding="utf-8") for path in paths).lower())
    number = {word: n for n, word in enumerate(dict.fromkeys(words))}
    return torch.tensor([number[word] for word in words]), len(number)


class Model(nn.Module):
    """Three words in, a hidden state out; the table of words is also the head."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.table = nn.Embedding(words, WIDTH)
        self.mix = nn.Sequential(nn.Linear(CONTEXT * WIDTH, 2 * WIDTH), nn.Tanh(), nn.Linear(2 * WIDTH, WIDTH))
        nn.init.normal_(self.table.weight, std=0.3)

    def forward(self, context: Tensor) -> Tensor:
        return self.mix(self.table(context).flatten(1))


def whole(hidden: Tensor, head: Tensor, target: Tensor, prior: Tensor) -> Tensor:
    return cross_entropy(hidden @ head.t(), target, label_smoothing=0.1, prior=prior)


def in_chunks(hidden: Tensor, head: Tensor, target: Tensor, prior: Tensor) -> Tensor:
    return linear_cross_entropy(hidden, head, target, label_smoothing=0.1, prior=prior, chunk_rows=64)


def train(
    loss: Callable[..., Tensor], text: Tensor, words: int, *, steps: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Train from the same start on the same batches, and give the loss of each step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Model(words).to(dtype)
        batches = [torch.randint(CONTEXT, len(text), (ROWS,)) for _ in range(steps)]
    counts = torch.bincount(text, minlength=words).to(dtype)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.15, momentum=0.9)
    losses = []
    for target in batches:
        context = torch.stack([text[target - back] for back in range(CONTEXT, 0, -1)], dim=1)
        optimiser.zero_grad()
        value = loss(model(context), model.table.weight, text[target], counts / counts.sum())
        value.backward()
        optimiser.step()
        losses.append(value.detach())
    return torch.stack(losses)


def main(paths: list[Path]) -> None:
    text, words = read(paths)
    print(f"{len(text):,} tokens, {words:,} different ones")
    print("step   all the logits   in chunks")
    ways = [train(way, text, words, steps=301) for way in (whole, in_chunks)]
    for step in range(0, 301, 50):
        print(f"{step:4}   {ways[0][step]:14.6f}   {ways[1][step]:9.6f}")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
