"""What you train with: label-smoothed cross-entropy for PyTorch, torch's words at the door.

`functional.py` checks and chooses a kernel, `_options.py` turns conventions and weights into plain numbers, `_eager.py`
computes. `linear.py` is the same with a linear layer before it, chunk by chunk. Nothing here reads the steps of `maths`:
two derivations that meet are the proof.
"""

import torch

from . import _cpu, _triton
from .functional import cross_entropy
from .linear import LinearLabelSmoothingCrossEntropy, linear_cross_entropy
from .module import LabelSmoothingCrossEntropy, LossParts, loss_parts
from .trainer import compute_loss_func

__all__ = [
    "LabelSmoothingCrossEntropy",
    "LinearLabelSmoothingCrossEntropy",
    "LossParts",
    "compute_loss_func",
    "cross_entropy",
    "kernels",
    "linear_cross_entropy",
    "loss_parts",
]


def kernels() -> dict[str, str]:
    """Say what computes the loss here, and why: a line for each kind of device.

    Example:
        >>> sorted(kernels())
        ['cpu', 'cuda', 'other devices']

    """
    return {
        "cpu": _cpu.described(),
        "cuda": _triton.described(),
        "other devices": f"plain torch {torch.__version__}",
    }
