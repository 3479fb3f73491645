"""labelsmooth: label smoothing from the spreadsheet to the cluster.

The public names, and nothing computed here. Each is loaded from its room when first asked for (PEP 562), so that importing
the package loads neither PyTorch nor a spreadsheet library:

    smooth_labels, trace            the mathematics, in NumPy                    labelsmooth.maths
    convert                         the ε that means the same elsewhere          labelsmooth.maths
    cross_entropy, LabelSmoothingCrossEntropy    the loss to train with          labelsmooth.losses (needs torch)
    linear_cross_entropy, LinearLabelSmoothingCrossEntropy    with the layer before it, the logits never held
    compute_loss_func               the loss as Hugging Face's Trainer calls it  labelsmooth.losses
    write_workbook                  the same as a live workbook                  labelsmooth.workbook
    compare                         do NumPy, a spreadsheet and PyTorch agree    labelsmooth.parity
    diagnose                        why do somebody's numbers differ             labelsmooth.parity
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from labelsmooth._version import __version__

if TYPE_CHECKING:
    from labelsmooth.losses import (
        LabelSmoothingCrossEntropy,
        LinearLabelSmoothingCrossEntropy,
        compute_loss_func,
        cross_entropy,
        linear_cross_entropy,
    )
    from labelsmooth.maths.convert import convert
    from labelsmooth.maths.trace import smooth_labels, trace
    from labelsmooth.parity.compare import compare
    from labelsmooth.parity.diagnose import diagnose
    from labelsmooth.workbook.write import write_workbook

_ROOMS = {
    "LabelSmoothingCrossEntropy": "labelsmooth.losses",
    "LinearLabelSmoothingCrossEntropy": "labelsmooth.losses",
    "compare": "labelsmooth.parity.compare",
    "compute_loss_func": "labelsmooth.losses",
    "convert": "labelsmooth.maths.convert",
    "cross_entropy": "labelsmooth.losses",
    "diagnose": "labelsmooth.parity.diagnose",
    "linear_cross_entropy": "labelsmooth.losses",
    "smooth_labels": "labelsmooth.maths.trace",
    "trace": "labelsmooth.maths.trace",
    "write_workbook": "labelsmooth.workbook.write",
}

__all__ = [
    "LabelSmoothingCrossEntropy",
    "LinearLabelSmoothingCrossEntropy",
    "__version__",
    "compare",
    "compute_loss_func",
    "convert",
    "cross_entropy",
    "diagnose",
    "linear_cross_entropy",
    "smooth_labels",
    "trace",
    "write_workbook",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its room, the first time it is asked for."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_ROOMS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
