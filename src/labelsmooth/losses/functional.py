"""The functions: read what the user gave, check it, choose a kernel.

torch's words at the door, the numbers of `_options.py` inside; the mapping stands here and nowhere else. What shaped
it:

- For torch's arguments the numbers are torch's, wherever torch's are right. The departures are in the docstrings.
- Looking at values costs a synchronisation on a GPU and a graph break under `torch.compile`. Shapes, dtypes and names
  are therefore always checked, values by default only on a CPU in eager mode. Where nobody looked, a label that is no
  class makes its row's loss NaN: never a silent number.
- A kernel is one name in `_kernel`: it takes logits, labels and a `Charge`, and returns the loss of each row. Row
  weights, divisors and reductions are row-sized work and stay here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from labelsmooth.maths.conventions import weighting_named

from . import _checks, _cpu_plain, _eager, _kernels, _parallel
from ._options import Charge, Folded, Given, Mask, Words, fold

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Kernel = Callable[[Tensor, Tensor, Charge], Tensor]


def cross_entropy(
    input: Tensor,  # noqa: A002  torch's word
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float | Tensor = 0.0,
    prior: Tensor | None = None,
    class_mask: Mask | None = None,
    row_weight: Tensor | None = None,
    convention: str = "torch",
    weighting: str = "torch",
    z_loss: float = 0.0,
    softcap: float | None = None,
    padded_classes: int = 0,
    class_dim: int | None = None,
    normalizer: float | Tensor | None = None,
    all_ignored: str = "nan",
    validate: bool | None = None,
    gradient_in_forward: bool = False,
    inplace: bool = False,
    group: ProcessGroup | None = None,
    class_sizes: Sequence[int] | None = None,
) -> Tensor:
    """Cross-entropy of logits with a smoothed target.

    loss = −Σ q'·ln softmax(z), q' = (1−ε)·q + ε·u: q the label, u the prior, uniform unless given.

    Args:
        input: logits, floating point: `(N, K)`, `(N, K, d1, ...)`, or `(K,)` for a single row.
        target: class indices of any integer dtype in the logits' shape without the class axis, or, in a floating dtype
            and exactly the logits' shape, one distribution a row.
        weight: `(K,)`, not negative; `weighting` says what it multiplies.
        ignore_index: the class index that takes a row out of loss, gradient and mean. For indices only.
        reduction: "mean", "sum" or "none".
        label_smoothing: ε in [0, 1]: a number, a scalar tensor, or one ε a row in the shape of the class indices. A
            gradient flows back to a tensor.
        prior: where ε goes: `(K,)` or the logits' shape, sums to 1.
        class_mask: bool, `(K,)` or the logits' shape, True for a class that may be predicted. A masked class is out of
            the softmax and gets no mass, the prior being renormalised over the others, and may not be a label. "finite"
            masks the logits that are −inf.
        row_weight: one weight a row, in the shape of the class indices. It multiplies the row's loss, and for the mean
            the row's part of the divisor: the mean over rows becomes Σ r·h / Σ r. A row of weight 0 is ignored like one
            of `ignore_index`, unless the weights need a gradient.
        convention: whose target: "torch", "fairseq", "fairseq@0.10", ... or the name of a target family: "others", ...
        weighting: what class weights mean: "torch" (for indices "class/label", for soft targets "class/N"), "nll",
            "nll/N", "expected", "label/N" or "label". It does not follow from `convention`.
        z_loss: λ, not negative: every row pays λ·lse² more, lse the logarithm of the softmax's denominator. Class weights
            leave it alone; `row_weight` and the divisor are the row's.
        softcap: c, positive: the logits are c·tanh(z/c), capped before any class is masked.
        padded_classes: how many trailing columns of the logits are no classes, as in a vocabulary padded to a multiple
            of 64: K is what is left, also for all other arguments.
        class_dim: the class axis of `input`; default 1, or 0 for a single row. -1 for `(N, T, K)`.
        normalizer: with reduction "sum", what to divide by: a number or a scalar tensor.
        all_ignored: the mean when no row counts: "nan", as torch has it, or "zero", with a gradient of 0.
        validate: look at values: True always, False never, None only where that is free, on a CPU outside
            `torch.compile` and `torch.func`. Unseen, an impossible label or ε makes its row NaN, and a prior or soft
            target is used as it is.
        gradient_in_forward: compute the gradient together with the loss, which saves a pass over the logits; the
            backward only multiplies it by what arrives. Numbers are the same while that is 1; float16 gradients that a
            GradScaler would have saved from underflow are not saved. No second derivative, and no gradient for anything
            but the logits. Under `torch.compile` it changes nothing.
        inplace: write the gradient over the logits. Needs the native kernel, and with `group` class indices and no mask.
        group: the ranks that hold the other classes, where `input` is this rank's shard of them. K is then that of all
            ranks, and what has K entries may also come with this rank's alone. DTensor logits say it themselves.
        class_sizes: how many classes each rank of `group` holds, padding included; None asks the ranks, once for each
            group.

    Returns:
        A scalar, or with "none" the shape of the class indices; float64 for float64 logits, float32 for all others. The
        mean is over the rows that count. For DTensor logits a DTensor, and the mean is over all rows on the mesh.

    Raises:
        ValueError: a shape, name or value that is none of the above, or a prior, soft target or mask with a convention
            that has no place for it.
        TypeError: logits or targets of a dtype that is none of the above.
        RuntimeError: `inplace` where the native kernel is not available.

    Example:
        >>> logits = torch.tensor([[4.2, -2.4], [1.6, -0.6]])
        >>> cross_entropy(logits, torch.tensor([0, 1]), label_smoothing=0.1, reduction="none")
        tensor([0.3314, 2.1951])

    Reference:
        Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", section 7, 2016.

    Unlike `torch.nn.functional.cross_entropy`, the loss of half-precision logits is float32 and summed there; a class
    of mass 0 adds nothing even where its logit is −inf; an ignored row leaves no NaN in the gradient; an ε that is
    negative or NaN, a negative weight and a soft target that does not sum to 1 are errors; a label out of range is a
    `ValueError`. With `group`, ranks tell each other their own logarithms of sums rounded to the loss's dtype: where all
    float32 logits are near 10,000, whose neighbours are 0.001 apart, the loss is right to that much only.

    """
    if (
        class_mask is None and row_weight is None and softcap is None and class_dim is None and normalizer is None
        and validate is None and group is None and class_sizes is None
        and convention == weighting == "torch" and all_ignored == "nan" and not (z_loss or padded_classes)
    ):  # fmt: skip
        # Most calls: reading them at length would take longer than a small batch's loss.
        loss = _cpu_plain.plain_loss(input, target, label_smoothing, ignore_index, reduction, weight, prior,
                                     gradient_in_forward, inplace)  # fmt: skip
        if loss is not None:
            return loss
    words = Words(
        weight, ignore_index, reduction, label_smoothing, prior, class_mask, row_weight, convention, weighting, z_loss,
        softcap, padded_classes, class_dim, normalizer, all_ignored, validate, gradient_in_forward, inplace, group,
        class_sizes)  # fmt: skip
    if _parallel.is_distributed(input, group):
        return _parallel.cross_entropy(input, target, words)
    batch = read(input, target, words)
    if gradient_in_forward:
        return _at_once(batch)
    return reduced(_kernel(batch)(batch.logits, batch.given.label, batch.folded.charge), batch)


# From words to numbers ------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """What the words came down to."""

    logits: Tensor  # (rows, K)
    given: Given
    folded: Folded
    words: Words


def _kernel(batch: Batch) -> Kernel:
    if _kernels.serves(batch.logits, batch.given.label, batch.folded.charge):
        return _kernels.row_losses_in_place if batch.words.inplace else _kernels.row_losses
    if batch.words.inplace:
        raise RuntimeError(_kernels.NOT_IN_PLACE)
    return _eager.row_losses


def _at_once(batch: Batch) -> Tensor:
    """Give the loss, the gradient computed with it."""
    _kernels.may_be_at_once(batch.words, batch.given.label)
    if _kernels.serves(batch.logits, batch.given.label, batch.folded.charge):
        return _kernels.at_once(batch.logits, batch.given.label, batch.folded.charge, lambda rows: reduced(rows, batch))

    def loss(z: Tensor) -> Tensor:
        return reduced(_eager.row_losses(z, batch.given.label, batch.folded.charge), batch)

    return _eager.at_once(loss, batch.logits)


def reduced(rows: Tensor, batch: Batch) -> Tensor:
    """Weigh the rows and take their mean or sum, as the words say."""
    words, row_weight = batch.words, batch.given.row_weight
    if row_weight is not None:
        rows = rows * row_weight
    if words.reduction == "none":
        return rows
    total = rows.sum()
    if words.reduction == "mean":
        return total / batch.folded.divisor
    return total if words.normalizer is None else total / words.normalizer


def read(logits: Tensor, target: Tensor, words: Words, *, later: bool = False) -> Batch:
    """Check what the user gave and bring it down to numbers, as far as `fold` does with `later`."""
    convention = _checks.check_words(words)
    frame = _checks.frame_of(logits, words)
    _checks.check_classes(words, convention, frame.classes)
    soft = _checks.is_soft(frame, target)
    _checks.accepted(words, convention, soft=soft)
    row_weight = None if words.row_weight is None else _checks.row_weight_of(frame, words.row_weight)
    labels = _checks.distributions if soft else _checks.indices
    label, keep, wrong = labels(frame, target, words.ignore_index, row_weight)
    prior = None if words.prior is None else _checks.prior_of(frame, words.prior, keep)
    allowed = None if words.class_mask is None else _checks.allowed_of(frame, words.class_mask)
    if allowed is not None:
        wrong = _checks.on_allowed(frame, label, allowed=allowed, prior=prior, keep=keep, wrong=wrong)
    weight = None if words.weight is None else _checks.weight_of(frame, words.weight)
    poison = None
    if wrong is not None:
        poison = torch.zeros(frame.rows, dtype=frame.dtype, device=label.device).masked_fill(wrong, torch.nan)
    epsilon = _checks.epsilon(frame, words.label_smoothing, keep)
    given = Given(frame, label, epsilon, prior, allowed, keep, weight, row_weight, poison, words.ignore_index)
    weighting = None if weight is None else weighting_named(words.weighting, soft=soft)
    folded = fold(given, convention.family, weighting, words, convention.divergence, later=later)
    return Batch(frame.logits, given, folded, words)
