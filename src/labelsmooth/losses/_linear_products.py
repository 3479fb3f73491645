"""The matrix products of a linear layer in chunks, and the dtype they are done in.

What shaped it:

- Half precision is multiplied in its own dtype where the processor has instructions for it. Elsewhere it is multiplied in
  float32, which is then both faster and more exact; a large weight is widened a tile of classes at a time, since a
  whole copy would take twice its memory.
- A gradient is added up in float32 even where its parts were multiplied in half precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from . import _eager

if TYPE_CHECKING:
    from ._linear_ranks import Ranks

TILE = 4 * 2**20  # bytes of the weight that are widened at a time
TILE_ELSEWHERE = 256 * 2**20  # a GPU that is given little at a time waits for the next little
# From 2.10 on a product of half-precision matrices on CUDA can be added to float32 (pytorch/pytorch#167931).
ADDS_FLOAT32 = torch.__version__ >= "2.10"  # compares versions, and not letters


def _fast_on_cpu() -> frozenset[torch.dtype]:
    """Name the half-precision dtypes that this processor multiplies with instructions of its own."""
    asked = {torch.bfloat16: ("_is_avx512_bf16_supported", "_is_amx_tile_supported"),
             torch.float16: ("_is_amx_fp16_supported",)}  # fmt: skip
    return frozenset(dtype for dtype, names in asked.items() if any(getattr(torch.cpu, name, bool)() for name in names))


FAST_ON_CPU = _fast_on_cpu()


def dtype_of_products(dtype: torch.dtype, device: str) -> torch.dtype:
    """Name the dtype to multiply in where the operands have, or autocast wants, `dtype`."""
    slow = device == "cpu" and dtype in {torch.float16, torch.bfloat16} - FAST_ON_CPU
    return torch.float32 if slow else dtype


class Plan(NamedTuple):
    """What is known of a head beside its tensors."""

    classes: int  # K
    positions: int  # P, 1 but for K-dimensional losses
    products: torch.dtype  # the dtype to multiply in
    chunk_rows: int = 0  # rows of hidden at a time, 0 to choose by size

    @property
    def outputs(self) -> int:
        """How many logits a row of `hidden` has."""
        return self.classes * self.positions

    @property
    def sums(self) -> torch.dtype:
        """The dtype of losses and sums."""
        return _eager.wide(self.products)


class Head(NamedTuple):
    """A linear layer and what goes into it."""

    hidden: Tensor  # (N, D)
    weight: Tensor  # (P·K + padded, D): K classes at each of P positions
    bias: Tensor | None  # (P·K + padded)
    plan: Plan
    ranks: Ranks | None = None  # where the classes are not all here


class Tiles:
    """The weight in the dtype of the products: itself, a copy, or tiles of classes that are copied when needed."""

    def __init__(self, head: Head) -> None:
        used = slice(0, head.plan.outputs)
        self.dtype, self.weight = head.plan.products, head.weight[used]
        self.bias = None if head.bias is None else head.bias[used].to(head.plan.products)
        # Narrowing is what autocast would do, once; widening a large weight as a whole would take twice its memory.
        a_class = head.weight.shape[1] * head.plan.products.itemsize
        widened = head.plan.products.itemsize > head.weight.itemsize
        self.classes = max(1, TILE // a_class) if widened and head.plan.outputs * a_class > TILE else head.plan.outputs
        if self.classes == head.plan.outputs:
            self.weight = self.weight.to(head.plan.products)
        else:
            self.room = self.weight.new_empty((self.classes, self.weight.shape[1]), dtype=head.plan.products)

    def _each(self) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, self.weight.shape[0], self.classes or 1):
            at = slice(start, min(start + self.classes, self.weight.shape[0]))
            tile = self.weight[at]
            yield at, tile if tile.dtype == self.dtype else self.room[: len(tile)].copy_(tile)

    def logits(self, hidden: Tensor, *, out: Tensor) -> None:
        """Write hidden·Wᵀ + b."""
        for at, weight in self._each():
            if self.bias is None:
                torch.mm(hidden, weight.t(), out=out[:, at])
            else:
                torch.addmm(self.bias[at], hidden, weight.t(), out=out[:, at])

    def through(self, gradient: Tensor) -> Tensor:
        """Give gradient·W."""
        total: Tensor | None = None
        for at, weight in self._each():
            total = gradient[:, at] @ weight if total is None else total.addmm_(gradient[:, at], weight)
        return gradient.new_zeros((gradient.shape[0], self.weight.shape[1])) if total is None else total


def add_product(total: Tensor, gradient: Tensor, hidden: Tensor, *, first: bool) -> None:
    """Add gradientᵀ·hidden to what is there, which nobody has written yet at `first`."""
    if total.dtype == gradient.dtype:
        if first:
            torch.mm(gradient.t(), hidden, out=total)
        else:
            total.addmm_(gradient.t(), hidden)
        return
    on_cpu = gradient.device.type == "cpu"
    if gradient.device.type == "cuda" and ADDS_FLOAT32:
        # The product's own accumulators are float32, and what is there is where they begin.
        if first:
            torch.mm(gradient.t(), hidden, out_dtype=total.dtype, out=total)
        else:
            torch.addmm(total, gradient.t(), hidden, out_dtype=total.dtype, out=total)
        return
    step = max(1, (TILE if on_cpu else TILE_ELSEWHERE) // (hidden.shape[1] * total.itemsize))
    for start in range(0, total.shape[0], step):
        at = slice(start, start + step)
        part = gradient[:, at].t() @ hidden
        total[at] = part if first else total[at] + part
