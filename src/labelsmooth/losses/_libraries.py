"""Which native library computes on which kind of device: one name each, and the same doors behind it.

`_kernels.py`, the operators and the chunks of a large head ask here, so that what autograd may rely on is written once. The
tests put the GPU's kernel in the CPU's place where Triton interprets it, and so hold it to what the CPU's is held to.
"""

from __future__ import annotations

from typing import Any

from . import _cpu, _triton

LIBRARIES: dict[str, Any] = {"cpu": _cpu, "cuda": _triton}


def library_of(device: str) -> Any | None:
    """Give the library that computes on that kind of device here, None where plain torch does."""
    library = LIBRARIES.get(device)
    return library if library is not None and library.available() else None
