"""The loss as Hugging Face's `Trainer` calls it: `compute_loss_func(outputs, labels, num_items_in_batch=None)`.

- `Trainer` says how many labels the whole step holds, over all micro-batches of gradient accumulation and over all devices.
  Each call returns its sum divided by that number: the mean of the micro-batches' means is another number as soon as they hold
  different numbers of labels.
- A causal model's logit at place t is about the token at t+1. The labels are shifted here and the logits stay where they
  are: a shift of the logits would copy the largest array of the step.
- Nothing of transformers is imported. What comes is a dictionary with "logits", which its `ModelOutput` is, or a tuple.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._checks import check_words
from ._options import Words
from .functional import cross_entropy

OURS = ("reduction", "normalizer")


def compute_loss_func(
    label_smoothing: float | Tensor = 0.1,
    *,
    shift_labels: bool = False,
    ignore_index: int = -100,
    class_dim: int = -1,
    **words: Any,
) -> Callable[..., Tensor]:
    """Make the loss that `transformers.Trainer(compute_loss_func=...)` takes.

    loss = Σ h / num_items_in_batch over the labels that count, h = −Σ q'·ln softmax(z); without that number, their mean.

    Args:
        label_smoothing: ε in [0, 1].
        shift_labels: True for a causal language model whose labels are its input tokens: the logit at t is compared with
            the label at t+1.
        ignore_index: the label that takes a place out of loss and gradient.
        class_dim: the class axis of the logits: the last, as in `(B, T, K)` and `(B, K)`; 1 for `(B, K, H, W)`.
        **words: other keywords of `cross_entropy`: `prior`, `padded_classes`, `z_loss`, ...

    Returns:
        A function f(outputs, labels, num_items_in_batch=None). `outputs` is a dictionary with "logits", or a tuple that
        begins with them; `labels` are class indices in the logits' shape without the class axis. It returns a scalar,
        float32, or float64 for float64 logits.

    Raises:
        ValueError: an option that is none of the above; `reduction` or `normalizer`, which the number of items decides.
            When called: labels that are missing or have another shape; see `cross_entropy`.
        TypeError: a keyword that `cross_entropy` has not. When called: `outputs` that hold no logits.

    Example:
        >>> loss = compute_loss_func(0.1)
        >>> outputs = {"logits": torch.tensor([[4.2, -2.4], [1.6, -0.6]])}
        >>> loss(outputs, torch.tensor([0, 1]))
        tensor(1.2632)
        >>> loss(outputs, torch.tensor([0, 1]), num_items_in_batch=4)  # half of a step of four
        tensor(0.6316)

    Reference:
        Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", section 7, 2016. The signature:
        huggingface/transformers, `Trainer.compute_loss`.

    Unlike `TrainingArguments(label_smoothing_factor=)` it takes every option of `cross_entropy`, divides by the number of
    items in every version of transformers, and does not copy the logits to shift them.

    """
    if mine := [name for name in OURS if name in words]:
        raise ValueError(f"{mine[0]} follows from num_items_in_batch, which Trainer gives at each call: drop it")
    words = {**words, "label_smoothing": label_smoothing, "ignore_index": ignore_index, "class_dim": class_dim}
    check_words(Words(**words))

    def loss(outputs: Any, labels: Tensor | None, num_items_in_batch: int | Tensor | None = None) -> Tensor:
        logits = _logits(outputs)
        if labels is None:
            raise ValueError("there are no labels to compare the logits with: is there a column 'labels' in the data?")
        target = _next(labels, ignore_index) if shift_labels else labels
        if num_items_in_batch is None:
            return cross_entropy(logits, target, **words)
        if isinstance(num_items_in_batch, Tensor):
            num_items_in_batch = num_items_in_batch.to(logits.device).flatten()[0]  # DataParallel: once a device
        return cross_entropy(logits, target, reduction="sum", normalizer=num_items_in_batch, **words)

    return loss


def _logits(outputs: Any) -> Tensor:
    held = None
    if isinstance(outputs, dict):
        held = outputs.get("logits")
    elif isinstance(outputs, tuple) and outputs:
        held = outputs[0]
    if not isinstance(held, Tensor):
        raise TypeError(
            f"expected outputs with logits, a dictionary that has 'logits' or a tuple that begins with them, got {_said(outputs)}"
        )
    return held


def _said(outputs: Any) -> str:
    name = type(outputs).__name__
    return f"a {name} with {', '.join(map(str, outputs)) or 'nothing'}" if isinstance(outputs, dict) else f"a {name}"


def _next(labels: Tensor, ignore_index: int) -> Tensor:
    """Give each place the label after it; the last has none."""
    return torch.nn.functional.pad(labels[..., 1:], (0, 1), value=ignore_index)  # (B, T)
