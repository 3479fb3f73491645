"""The native library: found, opened, and called with the addresses of tensors.

The library is C, knows no torch and fits every Python and every torch. What it works on reaches it in one packed struct,
which costs a microsecond where two dozen arguments would cost five. Where it was not built, `available()` says no,
`described()` says why, and plain torch computes.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import _eager
from ._options import Charge

PATHS = ("portable", "AVX2", "AVX-512")  # as the library numbers them
CHOICE = "LABELSMOOTH_CPU"  # environment variable: a path, or "eager" for plain torch
DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
LOSS, GRADIENT, BOTH = range(3)

_JOB = struct.Struct("15P20q5d")  # LabelsmoothJob in _cpu.cpp, field by field
_NO_LABEL = -(2**63)  # an ignore_index that is no label


def _load() -> tuple[ctypes.CDLL | None, int, str]:
    """Give the library, the path to take (0: the best), and what to say of it."""
    wanted = os.environ.get(CHOICE, "").strip()
    names = {name.lower().replace("-", ""): number for number, name in enumerate(PATHS)}
    key = wanted.lower().replace("-", "")
    if key and key not in names and key not in {"eager", "auto"}:
        raise ValueError(f"{CHOICE} must be portable, avx2, avx512, auto or eager, got {wanted!r}")
    if key == "eager":
        return None, 0, f"plain torch ({CHOICE}={wanted})"
    file = Path(__file__).with_name("_cpu.native")
    if not file.is_file():
        return None, 0, "plain torch (installed without a C++ compiler; install one and install labelsmooth again)"
    library = ctypes.CDLL(str(file))
    for name in ("paths", "openmp", "job_bytes", "run"):
        getattr(library, f"labelsmooth_{name}").restype = ctypes.c_int64
    library.labelsmooth_run.argtypes = [ctypes.c_char_p]
    if library.labelsmooth_job_bytes() != _JOB.size:
        return None, 0, f"plain torch ({file.name} is from another version: install labelsmooth again)"
    there = library.labelsmooth_paths()
    best = max(number for number in range(len(PATHS)) if there >> number & 1)
    path = names.get(key, best)
    if not there >> path & 1:
        raise ValueError(f"{CHOICE}={wanted}, but this machine has no {PATHS[path]}: choose another or leave it unset")
    threads = "the process's OpenMP" if library.labelsmooth_openmp() else "its own threads"
    return library, path + 1, f"native kernel, {PATHS[path]}, {threads}"


LIBRARY, PATH, _SAID = _load()


def available() -> bool:
    """Say whether the native kernel can be used here."""
    return LIBRARY is not None


def described() -> str:
    """Say in a line what computes the loss on a CPU, and why."""
    return _SAID


def grid(z: Tensor) -> tuple[int, int, int] | None:
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


def call(
    task: int,
    z: Tensor,  # (rows, K) on a grid
    label: Tensor,
    charge: Charge,
    *,
    loss: Tensor | None = None,  # (rows)
    stats: Tensor,  # (3, rows): m, s, Σc
    gradient: Tensor | None = None,  # (rows, K) dense, or z itself
    up: Tensor | None = None,  # (rows), () or expanded
    fresh: bool = False,  # nobody has touched the gradient's memory yet
    classes: tuple[int, int] = (0, 0),  # number of the first and of all, where z has only some of them
) -> None:
    """Run the kernel on what a charge says."""
    a, b, prior, weight, allowed, keep, _, z_loss, softcap = charge
    sums, K = _eager.wide(z.dtype), z.shape[-1]
    held: list[Tensor] = []
    soft = label.is_floating_point()
    a_rows, b_rows = (x if isinstance(x, Tensor) else None for x in (a, b))
    one_up = up if up is not None and not any(up.stride()) else None  # the mean's gradient: one number, expanded
    job = _JOB.pack(
        z.data_ptr(), 0 if gradient is None else gradient.data_ptr(),
        0 if soft else _address(label, torch.int64, held), 0 if loss is None else loss.data_ptr(), stats.data_ptr(),
        _address(a_rows, sums, held), _address(b_rows, sums, held),
        _address(prior, sums, held), _address(allowed, torch.bool, held), _address(keep, torch.bool, held),
        _address(label, sums, held) if soft else 0, _address(weight, sums, held),
        _address(up, sums, held) if one_up is None else one_up.data_ptr(), 0, 0, z.numel() // K, K, *(grid(z) or ()),
        a_rows is not None and a_rows.dim() > 0, b_rows is not None and b_rows.dim() > 0, one_up is None,
        0 if prior is None or prior.dim() == 1 else K, 0 if allowed is None or allowed.dim() == 1 else K,
        _NO_LABEL, False, 0, DTYPES[z.dtype], task, torch.get_num_threads(), PATH, fresh, *classes,
        0.0 if isinstance(a, Tensor) else a, 0.0 if isinstance(b, Tensor) else b, 1.0, z_loss, softcap or 0.0)  # fmt: skip
    LIBRARY.labelsmooth_run(job)  # type: ignore[union-attr]


def plain_call(
    task: int, logits: int, gradient: int, up: int, numbers: tuple[Any, ...], *, ups: bool = False, fresh: bool = True
) -> int:
    """Run the kernel on index labels and two numbers as masses.

    Returns the first row whose label is no class, or -1; the number of rows where a prior or a weight is not what it should
    be.
    """
    label, rows, stats, mean, N, K, stride, ignore_index, average, dtype, a, b, prior, weight = numbers
    check = 2 if weight else 1 if prior else 0
    return int(LIBRARY.labelsmooth_run(_JOB.pack(  # type: ignore[union-attr]
        logits, gradient, label, rows, stats, 0, 0, prior, 0, 0, 0, 0, up, mean, weight, N, K, N, 0, stride, 0, 0, ups, 0, 0,
        ignore_index, average, check, dtype, task, torch.get_num_threads(), PATH, fresh, 0, 0, a, b, 1.0, 0.0, 0.0)))  # fmt: skip


def forward(z: Tensor, label: Tensor, charge: Charge) -> tuple[Tensor, Tensor]:
    """Give the loss of each row, and what the backward needs of the forward: (rows) and (3, rows)."""
    rows = z.shape[:-1]
    loss = torch.empty(rows, dtype=_eager.wide(z.dtype))
    stats = torch.empty((3, *rows), dtype=loss.dtype)
    call(LOSS, z if grid(z) else z.contiguous(), label, charge, loss=loss, stats=stats)
    return loss, stats


def backward(up: Tensor, z: Tensor, label: Tensor, stats: Tensor, charge: Charge) -> Tensor:
    """Give the gradient, dense, classes last."""
    z, gradient = _room_for_gradient(z)
    call(GRADIENT, z, label, charge, stats=stats, gradient=gradient, up=up, fresh=z is not gradient)
    return gradient


def forward_and_backward(up: Tensor, z: Tensor, label: Tensor, charge: Charge) -> tuple[Tensor, Tensor]:
    """Give the loss of each row and, each row times `up`, the gradient: one pass over the logits."""
    loss = torch.empty(z.shape[:-1], dtype=_eager.wide(z.dtype))
    stats = torch.empty((3, *loss.shape), dtype=loss.dtype)
    z, gradient = _room_for_gradient(z)
    call(BOTH, z, label, charge, loss=loss, stats=stats, gradient=gradient, up=up, fresh=z is not gradient)
    return loss, gradient


def _room_for_gradient(z: Tensor) -> tuple[Tensor, Tensor]:
    """Give logits on a grid and memory for their gradient: where a copy has to be made anyway, the copy itself."""
    if grid(z):
        return z, torch.empty(z.shape, dtype=z.dtype)
    copy = z.contiguous()
    return copy, copy
