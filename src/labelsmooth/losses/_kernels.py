"""The native kernels as torch's autograd sees them: when they serve, and what their backward is.

What shaped it:

- The forward keeps three numbers a row, the backward writes the gradient from the logits. A second backward, another
  grad_output and GradScaler are therefore right, and nothing of the size of the logits lives in between.
- In eager mode an autograd.Function calls the library itself; under torch.compile two operators do (`_kernel_operators.py`).
  Which library is the device's affair (`_libraries.py`).
- What the kernel cannot do is left to plain torch: gradients for anything but the logits, function transforms, forward
  mode, exporting (`serves`); double backward and batched gradients (inside the backward).
- Writing over somebody's logits is refused where autograd could not tell, and told to autograd where it could: the
  version counter goes up, so that whoever saved the logits gets autograd's own error and no wrong number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from . import _cpu as library
from . import _eager
from ._kernel_operators import row_losses_operator
from ._libraries import LIBRARIES, library_of
from ._options import Charge, Words

NOT_TWICE = (
    "inplace=True has overwritten the logits by their gradient and cannot give a second derivative: drop it where "
    "create_graph is used"
)
ONLY_ONCE = "gradient_in_forward gives no second derivative: drop it where create_graph is used"
NOT_IN_PLACE = (
    "inplace=True writes the gradient over the logits, which the native kernel does and plain torch cannot: that kernel "
    "is not in this installation, or does not serve these arguments; drop inplace"
)
LEAF = (
    "inplace=True would overwrite a leaf that requires a gradient, or a view of one: drop inplace, or pass logits that "
    "were computed from it"
)
# Whether the graph stays for another backward. Not public; where a torch has it not, every graph is treated as kept.
_kept = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)  # noqa: SLF001
_TENSORS = {Tensor, nn.Parameter}  # a subclass may be anything


def serves(logits: Tensor, label: Tensor, charge: Charge) -> bool:
    """Say whether the kernel can compute this loss."""
    there = library_of(logits.device.type)
    if there is None or logits.dtype not in there.DTYPES or not logits.numel():
        return False
    if torch.compiler.is_compiling():
        plain = not torch.compiler.is_exporting()  # what is exported must run without us
    else:
        plain = type(logits) in _TENSORS and nobody_listens() and logits.layout == torch.strided
    return plain and not any(isinstance(x, Tensor) and (x.requires_grad or x.device != logits.device)
                             for x in (label, *charge))  # fmt: skip


def nobody_listens() -> bool:
    """No function transform, dispatch mode (fake tensors), forward-mode level or tracer looks at single operations."""
    return not (
        torch._C._are_functorch_transforms_active()  # noqa: SLF001
        or torch._C._len_torch_dispatch_stack()  # noqa: SLF001
        or forward_ad._current_level >= 0  # noqa: SLF001
        or torch._C._get_tracing_state()  # noqa: SLF001
    )


def needs_plain_torch(up: Tensor) -> bool:
    """Say whether a backward is itself looked at: by create_graph, by a transform, or as one of many at once."""
    return torch.is_grad_enabled() or not nobody_listens() or not torch._C._has_storage(up)  # noqa: SLF001


def row_losses(logits: Tensor, label: Tensor, charge: Charge) -> Tensor:
    """Give the loss of each row, as `_eager.row_losses` does; `serves` has said yes."""
    if torch.compiler.is_compiling():
        loss = row_losses_operator(logits, label, charge)
    elif logits.requires_grad and torch.is_grad_enabled():
        loss = _Rows.apply(logits, label, charge, False)  # type: ignore[no-untyped-call]
    else:
        loss, _ = LIBRARIES[logits.device.type].forward(logits, label, charge)
    return _above_floor(loss, label, charge, logits.shape[-1])


def row_losses_in_place(logits: Tensor, label: Tensor, charge: Charge) -> Tensor:
    """Give the loss of each row; the backward writes the gradient over the logits."""
    if torch.compiler.is_compiling():
        raise RuntimeError("inplace=True is not available under torch.compile: drop it")
    if not logits.requires_grad or not torch.is_grad_enabled():
        return row_losses(logits, label, charge)
    may_be_overwritten(logits)
    loss = _Rows.apply(logits, label, charge, True)  # type: ignore[no-untyped-call]
    return _above_floor(loss, label, charge, logits.shape[-1])


def _above_floor(loss: Tensor, label: Tensor, charge: Charge, classes: int) -> Tensor:
    return loss - _eager.floor(label, charge, like=loss, classes=classes) if charge.minus_floor else loss


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, label: Tensor, charge: Charge, inplace: bool) -> Tensor:
        loss: Tensor
        loss, stats = LIBRARIES[logits.device.type].forward(logits, label, charge)
        ctx.save_for_backward(logits, label, stats, *(x for x in charge if isinstance(x, Tensor)))
        ctx.charge, ctx.inplace = charge, inplace
        return loss

    @staticmethod
    def backward(ctx: Any, up: Tensor) -> tuple[Tensor, None, None, None]:
        logits, label, stats, *_ = ctx.saved_tensors  # raises where one was changed since, those of the charge included
        if ctx.inplace:
            return overwrite(up, logits, label, stats, ctx.charge), None, None, None
        if needs_plain_torch(up):
            return differentiable(up, logits, label, ctx.charge), None, None, None
        gradient: Tensor = LIBRARIES[logits.device.type].backward(up, logits, label, stats, ctx.charge)
        return gradient, None, None, None


def differentiable(up: Tensor, logits: Tensor, label: Tensor, charge: Charge) -> Tensor:
    """Give the gradient in plain torch: for a second derivative, or many gradients at once."""
    with torch.enable_grad():
        z = logits if logits.requires_grad else logits.detach().requires_grad_()
        loss = _eager.row_losses(z, label, charge._replace(minus_floor=False))
        (gradient,) = torch.autograd.grad(loss, z, up, create_graph=True)
    return gradient


def overwrite(up: Tensor, logits: Tensor, label: Tensor, stats: Tensor, charge: Charge) -> Tensor:
    if needs_plain_torch(up):
        raise RuntimeError(NOT_TWICE)
    gradient = logits.detach()
    there = LIBRARIES[logits.device.type]
    there.call(library.GRADIENT, gradient, label, charge, stats=stats, gradient=gradient, up=up)
    torch.autograd.graph.increment_version(logits)
    return gradient


def may_be_overwritten(logits: Tensor) -> None:
    whole = logits._base if logits._base is not None else logits  # noqa: SLF001
    if logits.is_leaf or (whole.is_leaf and whole.requires_grad):
        raise ValueError(LEAF)
    if not _apart(logits):
        raise ValueError(f"inplace=True needs classes next to each other in memory and rows that do not overlap, got "
                         f"shape {tuple(logits.shape)} with strides {logits.stride()}: drop inplace")  # fmt: skip


def _apart(logits: Tensor) -> bool:
    """Say whether each row, and each group of rows, ends before the next begins."""
    if library.grid(logits) is None:
        return False
    axes = sorted(zip(logits.stride()[:-1], logits.shape[:-1], strict=True))
    end = logits.shape[-1]
    for stride, size in axes:
        if size > 1 and stride < end:
            return False
        end += (size - 1) * stride
    return True


# Loss and gradient in one call ----------------------------------------------------------------------------------------


def may_be_at_once(words: Words, target: Tensor) -> None:
    """Refuse what the gradient in the forward has no place for."""
    learned = [name for name, x in (*words._asdict().items(), ("target", target))
               if isinstance(x, Tensor) and x.requires_grad]  # fmt: skip
    if learned:
        raise ValueError(
            f"gradient_in_forward gives the gradient of the logits alone, and {learned[0]} requires one too"
        )
    if words.inplace:
        raise RuntimeError(NOT_IN_PLACE)


def at_once(logits: Tensor, label: Tensor, charge: Charge, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """Give the reduced loss, its gradient already written: one pass over the logits, for who will push 1 back.

    Args:
        logits: (rows, K), as `row_losses` takes them.
        label: as `row_losses` takes it.
        charge: as `row_losses` takes it.
        reduce: from the losses of the rows to a number, linear in them.

    Returns:
        A scalar. Its backward multiplies the gradient once more where something else than 1 is pushed.

    """
    if torch.compiler.is_compiling() or not (logits.requires_grad and torch.is_grad_enabled()):
        return reduce(row_losses(logits, label, charge))
    with torch.enable_grad():
        rows = logits.new_zeros(label.shape[: logits.dim() - 1], dtype=_eager.wide(logits.dtype)).requires_grad_()
        (up,) = torch.autograd.grad(reduce(rows), rows)
    once: Tensor = _AtOnce.apply(logits, label, charge, up, reduce)  # type: ignore[no-untyped-call]
    return once


class _AtOnce(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, label: Tensor, charge: Charge, up: Tensor, reduce: Callable[[Tensor], Tensor]
    ) -> Tensor:
        loss, gradient = LIBRARIES[logits.device.type].forward_and_backward(up, logits, label, charge)
        ctx.save_for_backward(gradient)
        return reduce(_above_floor(loss, label, charge, logits.shape[-1]))

    @staticmethod
    def backward(ctx: Any, push: Tensor) -> tuple[Tensor, None, None, None, None]:
        return pushed(ctx, push), None, None, None, None


def pushed(ctx: Any, push: Tensor) -> Tensor:
    """Give the gradient that the forward has made, times what arrives."""
    if torch.is_grad_enabled():  # `once_differentiable` would pass the gradient on as a constant
        raise RuntimeError(ONLY_ONCE)
    gradient: Tensor = ctx.saved_tensors[0]
    # A view shares the version counter: whoever writes into .grad and then runs a second backward is told so.
    if push.device.type == "cpu":
        return gradient * push if push.item() != 1 else gradient.view_as(gradient)
    if _kept():
        return gradient * push
    LIBRARIES[push.device.type].multiply(gradient, push)  # to look at `push` would wait for the device
    return gradient.view_as(gradient)
