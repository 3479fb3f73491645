"""The GPU kernel's launcher: where it runs, in how large blocks, and what it is given.

It has the doors of `_cpu.py`, so that autograd, operators and chunks (`_kernels.py`, `_kernel_operators.py`,
`_linear_rows.py`) know no difference. What shaped it:

- Nothing looks at a value, so nothing waits for the device, and a CUDA graph can hold it.
- Triton is loaded at the first launch and not before: `import labelsmooth` must not pay for it.
- Blocks and warps are a table, not a search: a first call that times a dozen variants would surprise everybody.
- In one call a row is read twice, and the second reading should find it in the L2 cache. No more rows are under way than
  fit there.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from math import gcd
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import _eager
from ._cpu import BOTH, GRADIENT, LOSS, grid
from ._options import Charge, Mass

DTYPES = {torch.float32, torch.float64, torch.bfloat16, torch.float16}
LEAST_CAPABILITY = (8, 0)  # NVIDIA's: bfloat16, and what the kernel was compiled for in the tests
KEPT = 0.7  # of the L2 cache may hold rows that are to be read again
THREADS = 2048  # of a multiprocessor, at most
SCALED = 1024  # elements a program multiplies at a time


class Launch(NamedTuple):
    """How a row is cut up."""

    block: int  # classes at a time
    warps: int


# A row that fits one block is read once. A longer one is read by threads that each have four loads of 16 bytes before
# them and four more on the way, which asks enough of the memory with 512 threads a processor: the longer a row, the fewer
# of them fit the cache, and the more warps each gets. Half of that where a class brings more than its logit, or a
# double, lest registers spill (tests/test_losses_triton_compiled.py).
ONE_BLOCK = 16 * 2**10  # bytes
LOADED = 64  # bytes a thread
REGISTERS = 128  # a thread, at most: the assembler may aim at fewer, and spill
WARPS = ((64 * 2**10, 4), (128 * 2**10, 8), (2**62, 16))  # up to so many bytes of a row


def launch_of(classes: int, itemsize: int, *, plain: bool) -> Launch:
    """Choose block and warps for rows of so many classes; `plain` where the logits are all that has classes."""
    row_bytes = classes * itemsize
    if row_bytes <= ONE_BLOCK:
        block = max(32, 1 << (classes - 1).bit_length())
        return Launch(block, min(max(block * itemsize // 1024, 1), 16))
    warps = next(warps for most, warps in WARPS if row_bytes <= most)
    return Launch(32 * warps * LOADED // itemsize // (1 if plain and itemsize < 8 else 2), warps)


def options_of(launch: Launch) -> dict[str, Any]:
    """Give what the compiler is told."""
    # A product and a sum become one instruction; said aloud, because Triton's default is about to change.
    return {"num_warps": launch.warps, "maxnreg": REGISTERS, "enable_fp_fusion": True}


def rows_at_a_time(launch: Launch, row_bytes: int, processors: int, cache_bytes: int) -> int:
    """Choose how many rows are under way where each is read twice: as many as fit the cache, and one a processor."""
    at_once = int(KEPT * cache_bytes) // (processors * row_bytes)
    return processors * max(1, min(at_once, THREADS // (32 * launch.warps)))


# Where it runs --------------------------------------------------------------------------------------------------------


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # a graph must not look for packages and devices
def available() -> bool:
    """Say whether the kernel can be used on this machine's GPU."""
    return not _missing()


def described() -> str:
    """Say in a line what computes the loss on a GPU, and why."""
    if missing := _missing():
        return f"plain torch {torch.__version__} ({missing})"
    return f"Triton {version('triton')} kernel" + ("" if torch.cuda.is_available() else " (no GPU here)")


@cache
def _missing() -> str:
    """Say what keeps the kernel from running, nothing if nothing does."""
    if find_spec("triton") is None:
        return "Triton is not installed: pip install 'labelsmooth[triton]'"
    if torch.version.hip is not None:
        return "the kernel was never tried on an AMD GPU"
    if torch.cuda.is_available():
        least = min(torch.cuda.get_device_capability(n) for n in range(torch.cuda.device_count()))
        if least < LEAST_CAPABILITY:
            have, need = (".".join(map(str, x)) for x in (least, LEAST_CAPABILITY))
            return f"the kernel needs a GPU of compute capability {need}, this one has {have}"
    return ""


@cache
def _device(index: int) -> tuple[int, int]:
    """Give the number of multiprocessors and the bytes of the L2 cache."""
    found = torch.cuda.get_device_properties(index)
    return found.multi_processor_count, found.L2_cache_size


# Launching ------------------------------------------------------------------------------------------------------------


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
    fresh: bool = False,  # noqa: ARG001  the CPU's affair
) -> None:
    """Run the kernel on what a charge says."""
    from ._triton_kernel import rows_kernel

    arguments, constants, launch = prepared(task, z, label, charge, loss, stats, gradient, up)
    rows = programs = arguments["rows"]
    if z.is_cuda and task == BOTH and not constants["ONE"]:
        programs = min(rows, rows_at_a_time(launch, z.shape[-1] * z.itemsize, *_device(z.device.index or 0)))
    with torch.cuda.device(z.device) if z.is_cuda else nullcontext():
        rows_kernel[programs,](**arguments, **constants, **options_of(launch))


def prepared(
    task: int,
    z: Tensor,
    label: Tensor,
    charge: Charge,
    loss: Tensor | None,
    stats: Tensor,
    gradient: Tensor | None,
    up: Tensor | None,
) -> tuple[dict[str, Any], dict[str, Any], Launch]:
    """Give the kernel's arguments, its constants, and how rows are cut up."""
    a, b, prior, weight, allowed, keep, _, z_loss, softcap = charge
    sums, K, soft = _eager.wide(z.dtype), z.shape[-1], label.is_floating_point()
    plain = not (soft or softcap) and prior is allowed is None
    launch = launch_of(K, z.itemsize, plain=plain)
    inner, outer_stride, inner_stride = grid(z) or (1, 0, K)
    # A pointer that is not used has to be one all the same.
    label_mass, label_mass_stride = _by_row(a, sums, stats)
    spread_mass, spread_mass_stride = _by_row(b, sums, stats)
    ups, up_stride = _by_row(up, sums, stats)
    arguments = {
        "logits": z.detach(), "gradient": (z if gradient is None else gradient).detach(),
        "label": _dense(label, sums if soft else torch.int64), "loss": stats if loss is None else loss, "stats": stats,
        "label_mass": label_mass, "spread_mass": spread_mass, "prior": stats if prior is None else _dense(prior, sums),
        "allowed": stats if allowed is None else allowed.contiguous().view(torch.uint8),
        "keep": stats if keep is None else keep.contiguous().view(torch.uint8),
        "weight": stats if weight is None else _dense(weight, sums), "grad_output": ups, "rows": z.numel() // K, "K": K,
        "inner": inner, "outer_stride": outer_stride, "inner_stride": inner_stride,
        "label_mass_stride": label_mass_stride, "spread_mass_stride": spread_mass_stride,
        "grad_output_stride": up_stride, "prior_stride": _row_stride(prior), "allowed_stride": _row_stride(allowed),
        "a": 0.0 if isinstance(a, Tensor) else a, "b": 0.0 if isinstance(b, Tensor) else b, "z_loss": z_loss,
        "softcap": softcap or 0.0}  # fmt: skip
    constants = {
        "TASK": task, "NESTED": outer_stride != 0, "IN_PLACE": gradient is z, "SOFT": soft, "WEIGHT": weight is not None,
        "A_ROWS": isinstance(a, Tensor), "B_ROWS": isinstance(b, Tensor), "SPREAD": isinstance(b, Tensor) or b != 0,
        "PRIOR": prior is not None, "ALLOWED": allowed is not None, "KEEP": keep is not None, "Z_LOSS": z_loss != 0,
        "SOFTCAP": bool(softcap), "ONE": launch.block >= K,
        "FIRST": "evict_last" if task == BOTH else "evict_first",
        "SECOND": "evict_first", "SUMS": _triton_name(sums),
        "UNIT": gcd(K, outer_stride, inner_stride, 16), "VECTOR": min(16 // z.itemsize, launch.block),
        "BLOCK": launch.block}  # fmt: skip
    return arguments, constants, launch


def _triton_name(dtype: torch.dtype) -> Any:
    import triton.language as tl

    return tl.float64 if dtype == torch.float64 else tl.float32


def _dense(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.detach().to(dtype).contiguous()


def _by_row(x: Mass | None, dtype: torch.dtype, nothing: Tensor) -> tuple[Tensor, int]:
    """Give what has a number a row, or one for all, and the step from one row to the next."""
    if not isinstance(x, Tensor):
        return nothing, 0
    if not any(x.stride()):  # the mean's gradient: one number, expanded
        return x.detach().to(dtype), 0
    return _dense(x, dtype), 1


def _row_stride(x: Tensor | None) -> int:
    return 0 if x is None or x.dim() == 1 else x.shape[-1]


# The doors of `_cpu.py` ----------------------------------------------------------------------------------------------


def forward(z: Tensor, label: Tensor, charge: Charge) -> tuple[Tensor, Tensor]:
    """Give the loss of each row, and what the backward needs of the forward: (rows) and (3, rows)."""
    loss, stats = _room_for_losses(z)
    call(LOSS, z if grid(z) else z.contiguous(), label, charge, loss=loss, stats=stats)
    return loss, stats


def backward(up: Tensor, z: Tensor, label: Tensor, stats: Tensor, charge: Charge) -> Tensor:
    """Give the gradient, dense, classes last."""
    z, gradient = _room_for_gradient(z)
    call(GRADIENT, z, label, charge, stats=stats, gradient=gradient, up=up)
    return gradient


def forward_and_backward(up: Tensor, z: Tensor, label: Tensor, charge: Charge) -> tuple[Tensor, Tensor]:
    """Give the loss of each row and, each row times `up`, the gradient: the second reading comes from the cache."""
    loss, stats = _room_for_losses(z)
    z, gradient = _room_for_gradient(z)
    call(BOTH, z, label, charge, loss=loss, stats=stats, gradient=gradient, up=up)
    return loss, gradient


def multiply(gradient: Tensor, factor: Tensor) -> None:
    """Multiply in memory, (any) times (); costs no pass over the gradient where the factor is 1."""
    from ._triton_kernel import times_kernel

    programs = -(-gradient.numel() // SCALED)
    if gradient.is_cuda:
        programs = min(programs, 16 * _device(gradient.device.index or 0)[0])
    with torch.cuda.device(gradient.device) if gradient.is_cuda else nullcontext():
        times_kernel[programs,](gradient, factor.detach(), gradient.numel(), BLOCK=SCALED, enable_fp_fusion=True)


def _room_for_losses(z: Tensor) -> tuple[Tensor, Tensor]:
    loss = torch.empty(z.shape[:-1], dtype=_eager.wide(z.dtype), device=z.device)
    return loss, torch.empty((3, *loss.shape), dtype=loss.dtype, device=z.device)


def _room_for_gradient(z: Tensor) -> tuple[Tensor, Tensor]:
    """Give logits on a grid and memory for their gradient: where a copy has to be made anyway, the copy itself."""
    if grid(z):
        return z, torch.empty(z.shape, dtype=z.dtype, device=z.device)
    copy = z.contiguous()
    return copy, copy
