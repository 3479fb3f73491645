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

from collections.abc import Callable
from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor

from labelsmooth.maths.conventions import CONVENTIONS, NOT_PADDING, Convention, convention_named, weighting_named

from . import _eager, _options
from ._options import FLOATS, Charge, Folded, Frame, Given, Mask, Mass, Words, counted, first, floating, fold, of_row

Kernel = Callable[[Tensor, Tensor, Charge], Tensor]

REDUCTIONS = ("mean", "sum", "none")


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
    class_dim: int | None = None,
    normalizer: float | Tensor | None = None,
    validate: bool | None = None,
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
        class_dim: the class axis of `input`; default 1, or 0 for a single row. -1 for `(N, T, K)`.
        normalizer: with reduction "sum", what to divide by: a number or a scalar tensor.
        validate: look at values: True always, False never, None only where that is free, on a CPU outside
            `torch.compile` and `torch.func`. Unseen, an impossible label or ε makes its row NaN, and a prior or soft
            target is used as it is.

    Returns:
        A scalar, or with "none" the shape of the class indices; float64 for float64 logits, float32 for all others. The
        mean is over the rows that count and NaN if there is none.

    Raises:
        ValueError: a shape, name or value that is none of the above, or a prior, soft target or mask with a convention
            that has no place for it.
        TypeError: logits or targets of a dtype that is none of the above.

    Example:
        >>> logits = torch.tensor([[4.2, -2.4], [1.6, -0.6]])
        >>> cross_entropy(logits, torch.tensor([0, 1]), label_smoothing=0.1, reduction="none")
        tensor([0.3314, 2.1951])

    Reference:
        Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", section 7, 2016.

    Unlike `torch.nn.functional.cross_entropy`, the loss of half-precision logits is float32 and summed there; a class
    of mass 0 adds nothing even where its logit is −inf; an ignored row leaves no NaN in the gradient; an ε that is
    negative or NaN, a negative weight and a soft target that does not sum to 1 are errors; a label out of range is a
    `ValueError`.

    """
    batch = read(input, target, Words(
        weight=weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing, prior=prior,
        class_mask=class_mask, row_weight=row_weight, convention=convention, weighting=weighting, class_dim=class_dim,
        normalizer=normalizer, validate=validate))  # fmt: skip
    return reduced(_kernel(batch)(batch.logits, batch.given.label, batch.folded.charge), batch)


# From words to numbers ------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """What the words came down to."""

    logits: Tensor  # (rows, K)
    given: Given
    folded: Folded
    words: Words


def _kernel(batch: Batch) -> Kernel:  # noqa: ARG001  the door at which a native kernel will look at the batch
    return _eager.row_losses


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


def read(logits: Tensor, target: Tensor, words: Words) -> Batch:
    """Check what the user gave and bring it down to numbers."""
    frame = _frame(logits, words)
    convention = _convention(words, frame.classes)
    soft = _is_soft(frame, target)
    _accepted(words, convention, soft=soft)
    row_weight = None if words.row_weight is None else _row_weight(frame, words.row_weight)
    labels = _options.distributions if soft else _options.indices
    label, keep, wrong = labels(frame, target, words.ignore_index, row_weight)
    prior = None if words.prior is None else _options.prior(frame, words.prior, keep)
    allowed = None if words.class_mask is None else _allowed(frame, words.class_mask)
    if allowed is not None:
        wrong = _options.on_allowed(frame, label, allowed=allowed, prior=prior, keep=keep, wrong=wrong)
    weight = None if words.weight is None else _weight(frame, words.weight)
    poison = None
    if wrong is not None:
        poison = torch.zeros(frame.rows, dtype=frame.dtype, device=label.device).masked_fill(wrong, torch.nan)
    given = Given(
        frame=frame, label=label, epsilon=_epsilon(frame, words.label_smoothing, keep), prior=prior, allowed=allowed,
        keep=keep, weight=weight, row_weight=row_weight, poison=poison, padding=words.ignore_index)  # fmt: skip
    weighs = weighting_named(words.weighting, soft=soft)
    folded = fold(given, convention.family, weighs, mean=words.reduction == "mean", kl=convention.divergence == "kl")
    return Batch(frame.logits, given, folded, words)


def _frame(logits: Tensor, words: Words) -> Frame:
    if not isinstance(logits, Tensor) or logits.dtype not in FLOATS:
        what = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(f"logits must be a float16, bfloat16, float32 or float64 tensor, got {what}")
    axes = logits.dim()
    axis = min(axes - 1, 1) if words.class_dim is None else words.class_dim
    if not -axes <= axis < axes or not axes:
        raise ValueError(f"logits of shape {tuple(logits.shape)} have no class axis {axis}")
    if not logits.shape[axis]:
        raise ValueError(f"logits of shape {tuple(logits.shape)} have no class along axis {axis}")
    look = _looking_is_free(logits) if words.validate is None else words.validate
    z = logits.movedim(axis, -1)
    return Frame(z, logits.shape, axis, z.shape[:-1], z.shape[-1], look, _eager.wide(logits.dtype))


def _looking_is_free(x: Tensor) -> bool:
    traced = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()  # noqa: SLF001
    return x.device.type == "cpu" and not traced


def _convention(words: Words, classes: int) -> Convention:
    convention = check_words(words)
    family, padding = convention.family, words.ignore_index
    if family.over == NOT_PADDING and not 0 <= padding < classes:
        raise ValueError(f"convention {words.convention!r} gives the padding class no mass: ignore_index must be that "
                         f"class, 0 to {classes - 1}, got {padding}")  # fmt: skip
    if "prior" not in family.accepts:  # any number of classes will do for a target that takes any prior, as in torch
        family.check_classes(classes)
    return convention


def check_words(words: Words) -> Convention:
    """Refuse what can be refused without logits: names, ε, combinations."""
    convention = CONVENTIONS.get(words.convention) or convention_named(words.convention)
    weighting_named(words.weighting)
    if convention.family.link != "softmax":
        raise ValueError(f"convention {words.convention!r} is no softmax loss but a target for the diagnosis only")
    if convention.divergence == "kl" and (words.weight is not None or "sums to one" not in convention.family.laws):
        raise ValueError(f"convention {words.convention!r} is a KL divergence, defined for targets that sum to 1 and "
                         "have no class weights: drop weight, or choose a convention with cross-entropy")  # fmt: skip
    if words.reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {words.reduction!r}")
    if words.normalizer is not None and words.reduction != "sum":
        raise ValueError(f"normalizer divides a sum: use reduction='sum' with it, got {words.reduction!r}")
    if isinstance(words.normalizer, Tensor) and words.normalizer.dim():
        raise ValueError(f"normalizer has shape {tuple(words.normalizer.shape)}, expected a number or a scalar tensor")
    if not isinstance(words.ignore_index, int):
        raise TypeError(f"ignore_index must be an integer, got {type(words.ignore_index).__name__}")
    eps = words.label_smoothing
    if not isinstance(eps, Tensor):
        if isinstance(eps, bool) or not isinstance(eps, Real):
            raise TypeError(f"label_smoothing must be a number or a tensor, got {type(eps).__name__}")
        if not 0.0 <= eps <= 1.0:
            raise ValueError(f"label_smoothing must be between 0.0 and 1.0, got {eps}")
    return convention


def _is_soft(frame: Frame, target: Tensor) -> bool:
    if not isinstance(target, Tensor) or target.dtype == torch.bool or target.is_complex():
        what = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise TypeError(f"target must be a tensor of class indices (integer) or distributions (floating), got {what}")
    soft, shape = target.is_floating_point(), tuple(target.shape)
    if soft and target.shape != frame.shape:
        raise ValueError(f"a floating target is one distribution a row and has the logits' shape {tuple(frame.shape)}, "
                         f"got {shape}: class indices need an integer dtype, as target.long() gives")  # fmt: skip
    if not soft and target.shape != frame.rows:
        hint = ": one-hot targets must be floating point" if target.shape == frame.shape else ""
        raise ValueError(f"class indices for logits of shape {tuple(frame.shape)} have shape {tuple(frame.rows)}, "
                         f"got {shape}{hint}")  # fmt: skip
    return soft


def _accepted(words: Words, convention: Convention, *, soft: bool) -> None:
    asked = {"prior": ("a prior", words.prior is not None), "soft": ("soft targets", soft),
             "mask": ("a class mask", words.class_mask is not None)}  # fmt: skip
    for key, (what, there) in asked.items():
        if there and key not in convention.family.accepts:
            able = [row for row in CONVENTIONS.values() if key in row.family.accepts]
            targets = " or ".join(dict.fromkeys(row.family.name for row in able))
            names = ", ".join(row.name for row in able[:3])
            raise ValueError(f"convention {words.convention!r} does not take {what}: use one whose target is {targets}, "
                             f"such as {names}")  # fmt: skip
    if soft and words.ignore_index >= 0:
        raise ValueError(f"soft targets have no index to ignore, got ignore_index={words.ignore_index}: use row_weight")


def _epsilon(frame: Frame, eps: Mass, keep: Tensor | None) -> Mass:
    if not isinstance(eps, Tensor):
        return float(eps)  # NumPy's float64 would make an array of a tensor that it is multiplied with
    floating("label_smoothing", eps)
    eps = eps.to(frame.dtype)
    if eps.dim():
        eps = counted(frame.per_row("label_smoothing", eps), keep)
    inside = (eps >= 0.0) & (eps <= 1.0)
    if not frame.look:
        return torch.where(inside, eps, torch.nan)
    if (at := first(~inside)) is not None:
        raise ValueError(f"label_smoothing{of_row(at)} must be between 0.0 and 1.0, got {eps[at].item():.6g}")
    return eps


def _weight(frame: Frame, weight: Tensor) -> Tensor:
    floating("weight", weight)
    if weight.shape != (frame.classes,):
        raise ValueError(f"weight has shape {tuple(weight.shape)}, expected ({frame.classes},), one number a class")
    return _not_negative(frame, "weight", weight)


def _row_weight(frame: Frame, row_weight: Tensor) -> Tensor:
    if not isinstance(row_weight, Tensor) or row_weight.is_complex():
        raise TypeError("row_weight must be a tensor of real numbers")
    return _not_negative(frame, "row_weight", frame.per_row("row_weight", row_weight))


def _not_negative(frame: Frame, name: str, x: Tensor) -> Tensor:
    if frame.look and (at := first(~((x >= 0) & x.isfinite()))) is not None:
        raise ValueError(f"{name}{list(at)} is {x[at].item():.6g}, expected a finite number not below 0")
    return x.to(frame.dtype)


def _allowed(frame: Frame, mask: Mask) -> Tensor:
    if isinstance(mask, str):
        if mask != "finite":
            raise ValueError(f"class_mask must be a bool tensor or 'finite', got {mask!r}")
        return ~torch.isneginf(frame.logits)  # NaN and +inf stay in sight
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        what = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"class_mask must be a bool tensor, True for a class that may be predicted, got {what}")
    return frame.per_class("class_mask", mask)
