"""What is refused, in one line that says what came, what was expected and what to do.

- Names and numbers are looked at always, also when a module is made; shapes and dtypes at every call; values only where
  that is free or asked for (`Frame.look`), because on a GPU looking waits for it, and under `torch.compile` it breaks
  the graph. Where nobody looked, a label that is no class makes its row's loss NaN: never a silent number.
- What passes comes back with its classes last and in the dtype of the sums, so that nothing after this file asks again.
- A batch of 16 rows should notice nothing: the plain case is read off two numbers, the smallest and largest label.
"""

from __future__ import annotations

from math import inf
from numbers import Real

import torch
from torch import Tensor

from labelsmooth.maths.conventions import CONVENTIONS, NOT_PADDING, Convention, convention_named, weighting_named

from . import _eager
from ._options import Frame, Mask, Mass, Words, counted

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# How far a distribution over classes may miss 1: what rounding its entries to their dtype can do, with room to spare.
MISSES_ONE = {torch.float16: 1e-2, torch.bfloat16: 1e-2, torch.float32: 1e-5, torch.float64: 1e-5}
MOST = torch.finfo(torch.float64).max  # the largest number that is no infinity
REDUCTIONS = ("mean", "sum", "none")
ALL_IGNORED = ("nan", "zero")

Labels = tuple[Tensor, Tensor | None, Tensor | None]  # label, rows that count, rows found wrong where nobody raises

# Words and shapes ----------------------------------------------------------------------------------------------------


def check_words(words: Words) -> Convention:
    """Refuse what can be refused without logits: names, ε, combinations."""
    convention = CONVENTIONS.get(words.convention) or convention_named(words.convention)
    weighting_named(words.weighting)
    if convention.family.link != "softmax":
        raise ValueError(f"convention {words.convention!r} is no softmax loss but a target for the diagnosis only")
    if convention.divergence == "kl" and (words.weight is not None or "sums to one" not in convention.family.laws):
        raise ValueError(f"convention {words.convention!r} is a KL divergence, defined for targets that sum to 1 and "
                         "have no class weights: drop weight, or choose a convention with cross-entropy")  # fmt: skip
    _check_reduction(words)
    if not isinstance(words.ignore_index, int):
        raise TypeError(f"ignore_index must be an integer, got {type(words.ignore_index).__name__}")
    eps = words.label_smoothing
    if not isinstance(eps, Tensor) and not 0.0 <= _number("label_smoothing", eps, or_a="tensor") <= 1.0:
        raise ValueError(f"label_smoothing must be between 0.0 and 1.0, got {eps}")
    if words.class_sizes is not None and words.group is None:
        raise ValueError("class_sizes says how many classes each rank of group holds: pass group too, or drop it")
    if words.z_loss != 0.0 or words.softcap is not None or words.padded_classes != 0:
        _check_extras(words)
    return convention


def _check_reduction(words: Words) -> None:
    if words.reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {words.reduction!r}")
    if words.all_ignored not in ALL_IGNORED:
        raise ValueError(f"all_ignored must be one of {', '.join(ALL_IGNORED)}, got {words.all_ignored!r}")
    if words.normalizer is not None and words.reduction != "sum":
        raise ValueError(f"normalizer divides a sum: use reduction='sum' with it, got {words.reduction!r}")
    if isinstance(words.normalizer, Tensor) and words.normalizer.dim():
        raise ValueError(f"normalizer has shape {tuple(words.normalizer.shape)}, expected a number or a scalar tensor")
    if words.gradient_in_forward and words.reduction == "none":
        raise ValueError("gradient_in_forward needs one number to take the gradient of: use reduction='mean' or 'sum'")


def _check_extras(words: Words) -> None:
    if not 0.0 <= _number("z_loss", words.z_loss) < inf:
        raise ValueError(f"z_loss must be a finite number not below 0, got {words.z_loss}")
    if words.softcap is not None and not 0.0 < _number("softcap", words.softcap) < inf:
        raise ValueError(f"softcap must be a finite number above 0, or None for no cap, got {words.softcap}")
    if isinstance(words.padded_classes, bool) or not isinstance(words.padded_classes, int):
        raise TypeError(f"padded_classes must be an integer, got {type(words.padded_classes).__name__}")
    if words.padded_classes < 0:
        raise ValueError(f"padded_classes must not be below 0, got {words.padded_classes}")


def check_classes(words: Words, convention: Convention, classes: int) -> None:
    family, padding = convention.family, words.ignore_index
    if family.over == NOT_PADDING and not 0 <= padding < classes:
        raise ValueError(f"convention {words.convention!r} gives the padding class no mass: ignore_index must be that "
                         f"class, 0 to {classes - 1}, got {padding}")  # fmt: skip
    if "prior" not in family.accepts:  # any number of classes will do for a target that takes any prior, as in torch
        family.check_classes(classes)


def _number(name: str, x: object, *, or_a: str = "") -> float:
    if isinstance(x, bool) or not isinstance(x, Real):
        raise TypeError(f"{name} must be a number{or_a and ' or a ' + or_a}, got {type(x).__name__}")
    return float(x)


def class_axis(logits: Tensor, words: Words) -> int:
    if not isinstance(logits, Tensor) or logits.dtype not in FLOATS:
        what = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(f"logits must be a float16, bfloat16, float32 or float64 tensor, got {what}")
    axes = logits.dim()
    axis = min(axes - 1, 1) if words.class_dim is None else words.class_dim
    if not -axes <= axis < axes or not axes:
        raise ValueError(f"logits of shape {tuple(logits.shape)} have no class axis {axis}")
    return axis


def frame_of(logits: Tensor, words: Words) -> Frame:
    axis, axes = class_axis(logits, words), logits.dim()
    if not logits.shape[axis]:
        raise ValueError(f"logits of shape {tuple(logits.shape)} have no class along axis {axis}")
    if words.padded_classes:
        logits = _without_padding(logits, axis, words.padded_classes)
    look = _looking_is_free(logits) if words.validate is None else words.validate
    z = logits if axis in {-1, axes - 1} else logits.movedim(axis, -1)
    shape = z.shape
    return Frame(z, logits.shape, axis, shape[:-1], shape[-1], look, _eager.wide(logits.dtype))


def _without_padding(logits: Tensor, axis: int, padded: int) -> Tensor:
    if logits.shape[axis] <= padded:
        raise ValueError(f"padded_classes={padded} leaves no class of logits of shape {tuple(logits.shape)}")
    return logits.narrow(axis, 0, logits.shape[axis] - padded)


def _looking_is_free(x: Tensor) -> bool:
    traced = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()  # noqa: SLF001
    return x.device.type == "cpu" and not traced


def is_soft(frame: Frame, target: Tensor) -> bool:
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


def accepted(words: Words, convention: Convention, *, soft: bool) -> None:
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


def epsilon(frame: Frame, eps: Mass, keep: Tensor | None) -> Mass:
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


def weight_of(frame: Frame, weight: Tensor) -> Tensor:
    floating("weight", weight)
    if weight.shape != (frame.classes,):
        raise ValueError(f"weight has shape {tuple(weight.shape)}, expected ({frame.classes},), one number a class")
    return _not_negative(frame, "weight", weight)


def row_weight_of(frame: Frame, row_weight: Tensor) -> Tensor:
    if not isinstance(row_weight, Tensor) or row_weight.is_complex():
        raise TypeError("row_weight must be a tensor of real numbers")
    return _not_negative(frame, "row_weight", frame.per_row("row_weight", row_weight))


def _not_negative(frame: Frame, name: str, x: Tensor) -> Tensor:
    if frame.look and not _between(x, 0.0, MOST) and (at := first(~((x >= 0) & x.isfinite()))) is not None:
        raise ValueError(f"{name}{list(at)} is {x[at].item():.6g}, expected a finite number not below 0")
    return x.to(frame.dtype)


def allowed_of(frame: Frame, mask: Mask) -> Tensor:
    if isinstance(mask, str):
        if mask != "finite":
            raise ValueError(f"class_mask must be a bool tensor or 'finite', got {mask!r}")
        return ~torch.isneginf(frame.logits)  # NaN and +inf stay in sight
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        what = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"class_mask must be a bool tensor, True for a class that may be predicted, got {what}")
    return frame.per_class("class_mask", mask)


# Values --------------------------------------------------------------------------------------------------------------


def indices(frame: Frame, target: Tensor, ignore_index: int, row_weight: Tensor | None) -> Labels:
    y = target.long()  # (rows)
    every = row_weight is None and not 0 <= ignore_index < frame.classes
    if every and frame.look and _between(y, 0, frame.classes - 1):
        return y, None, None  # every row counts, and the logits need no second copy without those that do not
    outside = (y < 0) | (y >= frame.classes)
    keep = _and(y != ignore_index, _weighed(row_weight))
    wrong = outside & keep
    if frame.look and (at := first(wrong)) is not None:
        raise ValueError(f"label {y[at].item()}{of_row(at)} is out of range: expected 0 to {frame.classes - 1}, or "
                         f"ignore_index={ignore_index} for a row to ignore")  # fmt: skip
    return torch.where(outside | ~keep, 0, y), keep, None if frame.look else wrong


def distributions(frame: Frame, target: Tensor, _ignore_index: int, row_weight: Tensor | None) -> Labels:
    floating("a soft target", target)
    keep = _weighed(row_weight)
    q = counted(target.movedim(frame.axis, -1).to(frame.dtype), keep)  # (rows, K)
    _check_distribution(frame, "the soft target", q, target.dtype, keep)
    return q, keep, None


def prior_of(frame: Frame, prior: Tensor, keep: Tensor | None) -> Tensor:
    floating("prior", prior)
    u = frame.per_class("prior", prior).to(frame.dtype)
    if u.dim() == frame.logits.dim():
        u = counted(u, keep)
    _check_distribution(frame, "the prior", u, prior.dtype, keep)
    return u


def _check_distribution(frame: Frame, name: str, x: Tensor, dtype: torch.dtype, keep: Tensor | None) -> None:
    if not frame.look:
        return
    if not _between(x, 0.0, MOST) and (at := first(~(x >= 0))) is not None:
        mass = x[at].item()
        raise ValueError(f"{name}{of_row(at[:-1])} gives class {at[-1]} the mass {mass:.6g}, expected none below 0")
    total = x.detach().sum(-1)  # (rows) or ()
    off = (total - 1).abs() > MISSES_ONE[dtype]
    if (at := first(_and(off, keep) if off.shape == frame.rows else off)) is not None:
        raise ValueError(f"{name}{of_row(at)} sums to {total[at].item():.6g}, expected 1: divide it by its sum, or "
                         "pass validate=False")  # fmt: skip


def on_allowed(
    frame: Frame, label: Tensor, *, allowed: Tensor, prior: Tensor | None, keep: Tensor | None, wrong: Tensor | None
) -> Tensor | None:
    """Find rows whose label is masked, and rows in which there is nothing left to give mass to."""
    if label.is_floating_point():
        masked = ((label > 0) & ~allowed).any(-1)
    else:
        masked = ~allowed.expand_as(frame.logits).gather(-1, label.unsqueeze(-1)).squeeze(-1)
    masked = _and(masked, keep)  # (rows)
    if not frame.look:
        return masked if wrong is None else masked | wrong
    free = allowed if prior is None else allowed & (prior > 0)
    if (at := first(_and(~free.any(-1).expand(frame.rows), keep))) is not None:
        which = "" if prior is None else " that the prior gives mass to"
        raise ValueError(f"class_mask leaves no class{which}{of_row(at)}")
    if (at := first(masked)) is not None:
        what = "soft target" if label.is_floating_point() else f"label {label[at].item()}"
        raise ValueError(f"the {what}{of_row(at)} is masked by class_mask: allow its class, or ignore the row")
    return None


def _weighed(row_weight: Tensor | None) -> Tensor | None:
    """Rows of weight 0 do not count; unless the weights are learned, since then their gradient is the row's loss."""
    return None if row_weight is None or row_weight.requires_grad else row_weight != 0


def _and(a: Tensor, b: Tensor | None) -> Tensor:
    return a if b is None else a & b


def _between(x: Tensor, low: float, high: float) -> bool:
    """Say by two numbers whether all is well: NaN is in no range, and nothing is left to the longer way."""
    if not x.numel() or x.dtype == torch.bool:
        return False
    least, most = x.detach().aminmax()
    return bool(least.item() >= low and most.item() <= high)


def floating(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor) or x.dtype not in FLOATS:
        what = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} must be a floating-point tensor, got {what}")


def first(bad: Tensor) -> tuple[int, ...] | None:
    return tuple(bad.nonzero()[0].tolist()) if bad.any() else None


def of_row(at: tuple[int, ...]) -> str:
    return f" of row {at[0] if len(at) == 1 else at}" if at else ""
