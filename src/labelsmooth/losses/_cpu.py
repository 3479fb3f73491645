"""The native CPU kernel, as torch's autograd sees it: `_cpu.cpp` through ctypes.

What shaped it:

- The library is C, knows no torch and fits every Python and torch; it gets the addresses of tensors in one packed struct.
  Where it was not built, `available()` says no, `described()` says why, and plain torch computes.
- The forward keeps three numbers a row, the backward writes the gradient from the logits. A second backward, another
  grad_output and GradScaler are therefore right, and nothing of the size of the logits lives in between.
- In eager mode an autograd.Function calls the library itself; the dispatcher would cost more than a small loss. Under
  torch.compile the same two functions are operators.
- What the kernel cannot do, it leaves to plain torch: gradients for anything but the logits, function transforms, forward
  mode, exporting (`serves`); double backward and batched gradients (inside the backward).
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from . import _eager
from ._options import Charge

PATHS = ("portable", "AVX2", "AVX-512")  # as the library numbers them
CHOICE = "LABELSMOOTH_CPU"  # environment variable: a path, or "eager" for plain torch

_DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
_JOB = struct.Struct("14P17q5d")
_LOSS, _GRADIENT, _BOTH = range(3)
_NO_LABEL = -(2**63)  # an ignore_index that is no label
_NOT_DIFFERENTIABLE_TWICE = (
    "inplace=True has overwritten the logits by their gradient and cannot give a second derivative: drop it where "
    "create_graph is used"
)

# The library ----------------------------------------------------------------------------------------------------------


def _load() -> tuple[ctypes.CDLL | None, int, str]:
    """Give the library, the path to take (0: the best), and what to say of it."""
    wanted = os.environ.get(CHOICE, "").strip()
    names = {name.lower().replace("-", ""): number for number, name in enumerate(PATHS)}
    key = wanted.lower().replace("-", "")
    if key and key not in names and key not in {"eager", "auto"}:
        raise ValueError(f"{CHOICE} must be portable, avx2, avx512, auto or eager, got {wanted!r}")
    if key == "eager":
        return None, 0, f"plain torch ({CHOICE}={wanted})"
    files = sorted(Path(__file__).parent.glob("*labelsmooth_cpu.[sd]*"))  # .so, .dylib
    if not files:
        return None, 0, "plain torch (installed without a C++ compiler; install one and install labelsmooth again)"
    library = ctypes.CDLL(str(files[0]))
    for name in ("paths", "openmp", "job_bytes", "run"):
        getattr(library, f"labelsmooth_{name}").restype = ctypes.c_int64
    library.labelsmooth_run.argtypes = [ctypes.c_char_p]
    if library.labelsmooth_job_bytes() != _JOB.size:
        return None, 0, f"plain torch ({files[0].name} is from another version: install labelsmooth again)"
    there = library.labelsmooth_paths()
    best = max(number for number in range(len(PATHS)) if there >> number & 1)
    path = names.get(key, best)
    if not there >> path & 1:
        raise ValueError(f"{CHOICE}={wanted}, but this machine has no {PATHS[path]}: choose another or leave it unset")
    threads = "the process's OpenMP" if library.labelsmooth_openmp() else "its own threads"
    return library, path + 1, f"native kernel, {PATHS[path]}, {threads}"


_LIBRARY, _PATH, _SAID = _load()


def available() -> bool:
    """Say whether the native kernel can be used here."""
    return _LIBRARY is not None


def described() -> str:
    """Say in a line what computes the loss on a CPU, and why."""
    return _SAID


# When it serves -------------------------------------------------------------------------------------------------------


def serves(logits: Tensor, label: Tensor, charge: Charge) -> bool:
    """Say whether the kernel can compute this loss."""
    if _LIBRARY is None or logits.device.type != "cpu" or logits.dtype not in _DTYPES or not logits.numel():
        return False
    if torch.compiler.is_compiling():
        plain = not torch.compiler.is_exporting()  # what is exported must run without us
    else:
        plain = type(logits) in {Tensor, nn.Parameter} and _nobody_listens() and logits.layout == torch.strided
    return plain and not any(isinstance(x, Tensor) and (x.requires_grad or x.device.type != "cpu")
                             for x in (label, *charge))  # fmt: skip


def _nobody_listens() -> bool:
    """No function transform, dispatch mode (fake tensors), forward-mode level or tracer looks at single operations."""
    return not (
        torch._C._are_functorch_transforms_active()  # noqa: SLF001
        or torch._C._len_torch_dispatch_stack()  # noqa: SLF001
        or forward_ad._current_level >= 0  # noqa: SLF001
        or torch._C._get_tracing_state()  # noqa: SLF001
    )


# One call of the library ----------------------------------------------------------------------------------------------


def _grid(z: Tensor) -> tuple[int, int, int] | None:
    """Say how rows lie, as `inner, outer stride, inner stride`; None where classes are apart or rows lie in no grid."""
    classes, axes, strides = z.shape[-1], z.dim(), z.stride()
    if strides[-1] != 1 and classes > 1:
        return None
    if axes == 2:
        return z.shape[0], 0, strides[0]
    if axes == 3:
        return z.shape[1], strides[0], strides[1]
    return (z.numel() // classes, 0, classes) if z.is_contiguous() else None


def _address(x: Tensor | None, dtype: torch.dtype, keep: list[Tensor]) -> int:
    if x is None:
        return 0
    if x.dtype != dtype or not x.is_contiguous():
        x = x.to(dtype).contiguous()
    keep.append(x)  # until the library returns
    return x.data_ptr()


def _call(
    task: int,
    z: Tensor,  # (rows, K) on a grid
    label: Tensor,
    charge: Charge,
    *,
    loss: int = 0,
    stats: Tensor | None = None,
    gradient: Tensor | None = None,
    up: Tensor | None = None,
    mean: int = 0,
    average: bool = False,
    ignore_index: int = _NO_LABEL,
    scale: float = 1.0,
) -> int:
    """Run the kernel. Returns the first row whose label is no class, or -1."""
    a, b, prior, weight, allowed, keep, _, z_loss, softcap = charge
    sums, K = _eager.wide(z.dtype), z.shape[-1]
    held: list[Tensor] = []
    soft = label if label.is_floating_point() else None
    ups = up is not None and up.dim() and any(up.stride())
    fresh = gradient is not None and gradient.data_ptr() != z.data_ptr()
    job = _JOB.pack(
        z.data_ptr(), 0 if gradient is None else gradient.data_ptr(),
        _address(label, torch.int64, held) if soft is None else 0, loss, 0 if stats is None else stats.data_ptr(),
        _address(a, sums, held) if isinstance(a, Tensor) else 0,
        _address(b, sums, held) if isinstance(b, Tensor) else 0,
        _address(prior, sums, held), _address(allowed, torch.bool, held), _address(keep, torch.bool, held),
        _address(soft, sums, held), _address(weight, sums, held),
        _address(up, sums, held) if ups or up is None else up.data_ptr(),
        mean, z.numel() // K, K, *(_grid(z) or ()),
        isinstance(a, Tensor) and a.dim() > 0, isinstance(b, Tensor) and b.dim() > 0, bool(ups),
        0 if prior is None or prior.dim() == 1 and z.dim() > 1 else K,
        0 if allowed is None or allowed.dim() == 1 and z.dim() > 1 else K,
        ignore_index, average, _DTYPES[z.dtype], task, torch.get_num_threads(), _PATH, fresh,
        0.0 if isinstance(a, Tensor) else a, 0.0 if isinstance(b, Tensor) else b, scale, z_loss, softcap or 0.0)  # fmt: skip
    return int(_LIBRARY.labelsmooth_run(job))  # type: ignore[union-attr]


def _forward(z: Tensor, label: Tensor, charge: Charge) -> tuple[Tensor, Tensor]:
    """Give the loss of each row, and m, s, Σc for the backward: (rows) and (3, rows)."""
    rows = z.shape[:-1]
    both = torch.empty((4, *rows), dtype=_eager.wide(z.dtype))
    z = z if _grid(z) else z.contiguous()
    loss = torch.empty(rows, dtype=both.dtype)
    _call(_LOSS, z, label, charge, loss=loss.data_ptr(), stats=both)
    return loss, both


def _backward(up: Tensor, z: Tensor, label: Tensor, stats: Tensor, charge: Charge) -> Tensor:
    """Give the gradient, dense, classes last."""
    if _grid(z):
        gradient = torch.empty(z.shape, dtype=z.dtype)
    else:
        z = gradient = z.contiguous()  # a copy anyway: overwrite it
    _call(_GRADIENT, z, label, charge, stats=stats, gradient=gradient, up=up)
    return gradient


# Autograd -------------------------------------------------------------------------------------------------------------


def row_losses(logits: Tensor, label: Tensor, charge: Charge) -> Tensor:
    """Give the loss of each row, as `_eager.row_losses` does; `serves` has said yes."""
    if torch.compiler.is_compiling():
        loss = _as_operator(logits, label, charge)
    elif logits.requires_grad and torch.is_grad_enabled():
        loss = _Rows.apply(logits, label, charge, False)  # type: ignore[no-untyped-call]
    else:
        loss = _forward(logits, label, charge)[0]
    return _above_floor(loss, label, charge, logits.shape[-1])


def row_losses_in_place(logits: Tensor, label: Tensor, charge: Charge) -> Tensor:
    """Give the loss of each row; the backward writes the gradient over the logits."""
    if not logits.requires_grad or not torch.is_grad_enabled():
        return row_losses(logits, label, charge)
    _may_be_overwritten(logits)
    loss = _Rows.apply(logits, label, charge, True)  # type: ignore[no-untyped-call]
    return _above_floor(loss, label, charge, logits.shape[-1])


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, label: Tensor, charge: Charge, inplace: bool) -> Tensor:  # noqa: FBT001
        loss, stats = _forward(logits, label, charge)
        ctx.save_for_backward(logits, label, stats, *(x for x in charge if isinstance(x, Tensor)))
        ctx.charge, ctx.inplace = charge, inplace
        return loss

    @staticmethod
    def backward(ctx: Any, up: Tensor) -> tuple[Tensor, None, None, None]:
        logits, label, stats, *_ = ctx.saved_tensors  # raises where one was changed since, those of the charge included
        if ctx.inplace:
            return _overwrite(up, logits, label, stats, ctx.charge), None, None, None
        if torch.is_grad_enabled() or not _nobody_listens():
            return _differentiable(up, logits, label, ctx.charge), None, None, None
        return _backward(up, logits, label, stats, ctx.charge), None, None, None


def _differentiable(up: Tensor, logits: Tensor, label: Tensor, charge: Charge) -> Tensor:
    """Give the gradient in plain torch: for a second derivative, or many gradients at once."""
    with torch.enable_grad():
        z = logits if logits.requires_grad else logits.detach().requires_grad_()
        loss = _eager.row_losses(z, label, charge._replace(minus_floor=False))
        (gradient,) = torch.autograd.grad(loss, z, up, create_graph=True)
    return gradient


def _overwrite(up: Tensor, logits: Tensor, label: Tensor, stats: Tensor, charge: Charge) -> Tensor:
    if torch.is_grad_enabled():
        raise RuntimeError(_NOT_DIFFERENTIABLE_TWICE)
    gradient = logits.detach()
    _call(_GRADIENT, gradient, label, charge, stats=stats, gradient=gradient, up=up)
    torch.autograd.graph.increment_version(logits)  # whoever saved the logits and reads them now is told by autograd
    return gradient


def _may_be_overwritten(logits: Tensor) -> None:
    whole = logits._base if logits._base is not None else logits  # noqa: SLF001
    if logits.is_leaf or (whole.is_leaf and whole.requires_grad):
        raise ValueError("inplace=True would overwrite a leaf that requires a gradient, or a view of one: drop inplace, "
                         "or pass logits that were computed from it")  # fmt: skip
    grid, K = _grid(logits), logits.shape[-1]
    apart = grid is not None and (grid[2] >= K or logits.shape[-2] == 1)
    if apart and logits.dim() == 3:
        apart = grid[1] >= (logits.shape[1] - 1) * grid[2] + K or logits.shape[0] == 1  # type: ignore[index]
    if not apart:
        raise ValueError(f"inplace=True needs logits whose classes lie next to each other in memory and whose rows do not "
                         f"overlap, got shape {tuple(logits.shape)} with strides {logits.stride()}: drop inplace")  # fmt: skip


def _above_floor(loss: Tensor, label: Tensor, charge: Charge, classes: int) -> Tensor:
    return loss - _eager.floor(label, charge, like=loss, classes=classes) if charge.minus_floor else loss
