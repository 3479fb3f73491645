"""From a linear layer and numbers to its loss: what both front ends share, with all classes here or on several ranks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import _linear_autograd
from ._kernels import nobody_listens
from ._linear_products import Head, Plan, dtype_of_products
from ._options import Charge, Folded, Given, Mask, Words

_PLAIN = {Tensor, nn.Parameter}  # a subclass may be anything


def reduced_loss(head: Head, label: Tensor, given: Given, folded: Folded, words: Words) -> Tensor:
    """Give what the words ask for of the losses of the rows.

    Args:
        head: what makes the logits.
        label: in the shape of the rows, or with the classes that are here behind.
        given: the rows and their weights.
        folded: the charge of the classes that are here, and the divisor.
        words: the keywords.

    """
    frame, classes, row_weight = given.frame, head.plan.classes, given.row_weight
    rows = frame.rows.numel()
    label = label.reshape(rows, classes) if label.is_floating_point() else label.reshape(rows)
    charge = _flattened(folded.charge, rows, classes)
    if words.reduction == "none":
        losses = _linear_autograd.row_losses(head, label, charge).view(frame.rows)
        return losses if row_weight is None else losses * row_weight
    up = torch.ones((), dtype=frame.dtype, device=label.device)
    up = up if row_weight is None else row_weight.reshape(-1)
    if words.reduction == "mean":
        up = up / folded.divisor
    elif words.normalizer is not None:
        up = up / words.normalizer
    return _linear_autograd.total_loss(head, label, charge, up.expand(rows))


def _flattened(charge: Charge, rows: int, classes: int) -> Charge:
    """Put all rows on one axis."""
    label, spread = (x.reshape(-1) if isinstance(x, Tensor) and x.dim() else x for x in (charge.label, charge.spread))
    prior, allowed = (
        x if x is None or x.dim() == 1 else x.reshape(rows, classes) for x in (charge.prior, charge.allowed)
    )
    keep = None if charge.keep is None else charge.keep.reshape(-1)
    return charge._replace(label=label, spread=spread, prior=prior, allowed=allowed, keep=keep)


def head_of(x: Tensor, weight: Tensor, bias: Tensor | None, classes: int, chunk_rows: int) -> Head:
    """Bring the layer down to matrices, and choose the dtype to multiply in."""
    positions, device = 1, x.device.type
    if weight.dim() > 2:  # K classes next to each other at each position
        positions = weight.shape[1:-1].numel()
        weight = weight[:classes].flatten(1, -2).transpose(0, 1).flatten(0, 1)  # (P·K, D)
        bias = None if bias is None else bias[:classes].flatten(1).t().flatten()  # (P·K)
    dtype = x.dtype
    if torch.is_autocast_enabled(device) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        if dtype_of_products(dtype, device) != dtype:
            dtype = torch.float32  # what autocast is for, speed, is not to be had here
    return Head(x.reshape(-1, x.shape[-1]), weight, bias,
                Plan(classes, positions, dtype_of_products(dtype, device), chunk_rows))  # fmt: skip


def chunked(words: Words, *tensors: Tensor | None, split: bool = False) -> bool:
    """Say whether the loss can be computed chunk by chunk; `split` over ranks, all of which must come to the same answer."""
    *layer, target = (x for x in tensors if x is not None)
    if any(isinstance(x, Tensor) and x.requires_grad for x in (*words, target)):
        return False
    if torch.compiler.is_compiling():
        return not torch.compiler.is_exporting()  # what is exported must run without us
    # Who looks at single operations (a profiler of one rank) is no reason where others wait for this rank's messages.
    return (split or nobody_listens()) and all(type(x) in _PLAIN and x.layout == torch.strided for x in layer)


def mask_of(mask: Mask | None, x: Tensor, bias: Tensor | None, padded: int) -> Mask | None:
    """Read "finite" off the bias: without one a logit is finite, unless the layer itself overflows."""
    if not isinstance(mask, str) or mask != "finite":
        return mask
    if bias is None:
        return None
    allowed = ~torch.isneginf(bias[: bias.shape[0] - padded])
    return allowed if bias.dim() == 1 else allowed.expand(x.shape[0], *allowed.shape)
