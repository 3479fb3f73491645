"""Compile the GPU kernel for machines that are not here, and print what became of it: a JSON object a line.

    TRITON_INTERPRET=0 python tests/compiled_kernel.py all     # or: planted

`test_losses_triton_compiled.py` starts it in a process of its own, since Triton compiles or interprets for a process's
whole life. The arguments are those that `_triton.prepared` gives for tensors without memory, so what is compiled is what
would be launched.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from labelsmooth.losses import _triton
from labelsmooth.losses._options import Charge
from labelsmooth.losses._triton_kernel import rows_kernel, times_kernel

POINTERS = {torch.float32: "*fp32", torch.float64: "*fp64", torch.bfloat16: "*bf16", torch.float16: "*fp16",
            torch.int64: "*i64", torch.uint8: "*u8"}  # fmt: skip
FORMS = {"loss": _triton.LOSS, "gradient": _triton.GRADIENT, "both": _triton.BOTH, "in place": _triton.BOTH}
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32, "float64": torch.float64}
ARCHITECTURES = (80, 90, 100)
BINARIES = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
ROWS = 4


def compiled(
    kernel: Any, arguments: dict[str, Any], constants: dict[str, Any], architecture: int, options: dict[str, Any]
) -> Any:
    """Compile for tensors whose memory begins at a multiple of 16 bytes, as torch's allocator gives it."""
    signature, hints = {}, {}
    for place, parameter in enumerate(kernel.params):
        name = parameter.name
        if name in constants:
            signature[name] = "constexpr"
            continue
        value = arguments[name]
        is_tensor = isinstance(value, torch.Tensor)
        signature[name] = POINTERS[value.dtype] if is_tensor else parameter.annotation_type
        if is_tensor or (isinstance(value, int) and value % 16 == 0):
            hints[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=hints)
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)


def row_kernel(form: str, dtype: str, classes: int, kind: str, architecture: int) -> Any:
    """Compile what would be launched for that many classes."""
    kept = DTYPES[dtype]
    sums = torch.float64 if dtype == "float64" else torch.float32

    def empty(*shape: int, dtype: Any = sums) -> Any:
        return torch.empty(shape, dtype=dtype, device="meta")

    z, label = empty(ROWS, classes, dtype=kept), empty(ROWS, dtype=torch.int64)
    charge = Charge(0.9, 0.1)
    if kind != "plain":
        masks = {"allowed": empty(ROWS, classes, dtype=torch.bool), "keep": empty(ROWS, dtype=torch.bool)}
        charge = Charge(empty(ROWS), empty(ROWS), empty(ROWS, classes), z_loss=0.1, softcap=30.0, **masks)
    if kind == "soft":
        label, charge = empty(ROWS, classes), charge._replace(weight=empty(classes))
    gradient = z if form == "in place" else empty(ROWS, classes, dtype=kept)
    given = _triton.prepared(FORMS[form], z, label, charge, empty(ROWS), empty(3, ROWS), gradient, empty(ROWS))
    arguments, constants, launch = given
    return compiled(rows_kernel, arguments, constants, architecture, _triton.options_of(launch))


def report(kernel: Any) -> dict[str, Any]:
    """Say what the assembler made: registers, bytes of local memory, and how wide memory is read and written."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(kernel.asm["cubin"])
        said = subprocess.run([BINARIES / "cuobjdump", "-res-usage", file], capture_output=True, text=True, check=True)
    found = {key.lower(): int(n) for key, n in re.findall(r"(REG|STACK|LOCAL|SHARED):(\d+)", said.stdout)}
    ptx, ir = kernel.asm["ptx"], kernel.asm["ttir"]
    wide = r"\.(?:v4\.[bf]32|v2\.[bf]64|v8\.[bf]16)"
    return {
        **found,
        "wide_loads": len(re.findall(rf"ld\.global\S*{wide}", ptx)),
        "narrow_loads": len(re.findall(r"ld\.global\S*\.b16", ptx)),
        "wide_stores": len(re.findall(rf"st\.global\S*{wide}", ptx)),
        "kept": len(re.findall(r"ld\.global\S*evict_last\S*cache_hint", ptx)),
        "dropped": len(re.findall(r"ld\.global\S*evict_first\S*cache_hint", ptx)),
        "row_products": re.findall(r"arith\.muli %at, \S+ : (\w+)", ir),
        "row_pointers": re.findall(r"tt\.addptr %(?:logits|gradient|label|prior|allowed), \S+ : \S+, (\w+)", ir),
    }


def jobs(which: str) -> Iterator[tuple[str, str, int, str, int]]:
    """Give form, dtype, classes, kind and architecture of what is to be compiled."""
    if which == "planted":
        yield "both", "bfloat16", 128256, "plain", 90
        yield "both", "bfloat16", 50257, "plain", 90
        return
    for dtype, form in itertools.product(DTYPES, FORMS):
        for architecture in ARCHITECTURES:
            yield form, dtype, 128256, "plain", architecture
    for dtype, form in itertools.product(("bfloat16", "float32"), ("both", "gradient")):
        for kind in ("masked", "soft"):
            yield form, dtype, 128256, kind, 90
    for dtype, classes in itertools.product(("bfloat16", "float32"), (1000, 32000, 65536)):
        yield "both", dtype, classes, "plain", 90
    yield "both", "float64", 128256, "soft", 90
    yield "both", "float32", 1000, "soft", 90


def say(job: tuple[Any, ...], kernel: Any) -> None:
    """Print one kernel's report."""
    sys.stdout.write(json.dumps({"job": job, **report(kernel)}) + "\n")


def plant() -> None:
    """Give each thread four times the work, which no number of registers holds."""
    _triton.LOADED *= 4


def main(which: str) -> None:
    """Compile and print, one after the other."""
    if which == "planted":
        plant()
    for job in jobs(which):
        say(job, row_kernel(*job))
    for architecture in ARCHITECTURES if which == "all" else ():
        x, factor = (torch.empty(8, device="meta", dtype=kind) for kind in (torch.bfloat16, torch.float32))
        arguments = {"x": x, "factor": factor, "count": 2**31 + 16}
        kernel = compiled(times_kernel, arguments, {"BLOCK": _triton.SCALED}, architecture, {"enable_fp_fusion": True})
        say(("times", "bfloat16", 0, "plain", architecture), kernel)


if __name__ == "__main__":
    main(sys.argv[1])
