"""The frameworks on PyTorch's autograd, a function each: how each is called, and nothing about what it should give.

A loss that gives a mean only is asked one row at a time for its rows. timm's file is loaded by its path, because the package
imports torchvision, which it needs for everything but this.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from labelsmooth.maths.trace import Problem

from ._frameworks_run import Asked, Result, asked, counts, quiet, run

BUSY = "Triton is loaded for a GPU in this process: start Python with TRITON_INTERPRET=1 to have it interpreted"


def index(problem: Problem, dtype: str = "float64") -> Result:
    """`torch.nn.functional.cross_entropy` on class numbers."""
    import torch
    from torch.nn import functional

    b = asked(problem, dtype)
    words = {"label_smoothing": b.epsilon, "weight": b.weight, "ignore_index": b.ignore_index}

    def loss(z: Any, reduction: str) -> Any:
        return functional.cross_entropy(z, b.labels, reduction=reduction, **words)

    return run("torch index", torch.__version__, b, loss)


def soft(problem: Problem, dtype: str = "float64") -> Result:
    """`torch.nn.functional.cross_entropy` on distributions."""
    import torch
    from torch.nn import functional

    b = asked(problem, dtype)

    def loss(z: Any, reduction: str) -> Any:
        return functional.cross_entropy(z, b.target, reduction=reduction, label_smoothing=b.epsilon, weight=b.weight)

    return run("torch soft", torch.__version__, b, loss)


def linear(problem: Problem, dtype: str = "float64") -> Result:
    """`torch.nn.functional.linear_cross_entropy`, with the logits for its input and the identity for its head."""
    import torch
    from torch.nn import functional

    if not hasattr(functional, "linear_cross_entropy"):
        return Result("torch linear", torch.__version__, dtype, reason="it came with PyTorch 2.13")
    b = asked(problem, dtype)
    head = torch.eye(b.logits.shape[1], dtype=b.logits.dtype)  # (K, K)
    words = {"label_smoothing": b.epsilon, "weight": b.weight, "ignore_index": b.ignore_index}

    def loss(z: Any, reduction: str) -> Any:
        return functional.linear_cross_entropy(z, head, b.labels, reduction=reduction, **words)

    with quiet():  # it warns that it makes all logits when it is to smooth
        return run("torch linear", torch.__version__, b, loss)


def post(problem: Problem, dtype: str = "float64") -> Result:
    """The class of "Label Smoothing Explained using Microsoft Excel" (2020), told again."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Smoothed(nn.Module):
        def __init__(self, epsilon: float, reduction: str) -> None:
            super().__init__()  # missing in the post: fastai's Module calls it by itself, and plain PyTorch fails without
            self.epsilon, self.reduction = epsilon, reduction

        def forward(self, logits: Any, labels: Any) -> Any:
            logs = functional.log_softmax(logits, dim=-1)  # (N, K)
            by_label = functional.nll_loss(logs, labels, reduction=self.reduction)
            over_all = -logs.sum(dim=-1)  # (N,)
            if self.reduction != "none":
                over_all = getattr(over_all, self.reduction)()
            return (1 - self.epsilon) * by_label + self.epsilon * over_all / logits.shape[-1]

    b = asked(problem, dtype)
    return run("the post", torch.__version__, b, lambda z, reduction: Smoothed(b.epsilon, reduction)(z, b.labels))


def fastai(problem: Problem, dtype: str = "float64") -> Result:
    """`fastai.losses.LabelSmoothingCrossEntropy`."""
    with quiet():
        from fastai.losses import LabelSmoothingCrossEntropy

    b = asked(problem, dtype)

    def loss(z: Any, reduction: str) -> Any:
        return LabelSmoothingCrossEntropy(eps=b.epsilon, weight=b.weight, reduction=reduction)(z, b.labels)

    return run("fastai", version("fastai"), b, loss)


def timm(problem: Problem, dtype: str = "float64") -> Result:
    """`timm.loss.LabelSmoothingCrossEntropy`."""
    b = asked(problem, dtype)
    loss = _timm_file().LabelSmoothingCrossEntropy(smoothing=b.epsilon)
    return run("timm", version("timm"), b, lambda z, reduction: _one_by_one(loss, b, z, reduction))


def _timm_file() -> Any:
    package = find_spec("timm")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("timm is not installed: pip install timm")
    file = Path(package.origin).parent / "loss" / "cross_entropy.py"
    place = spec_from_file_location("timm_loss_cross_entropy", file)
    if place is None or place.loader is None or not file.is_file():
        raise ModuleNotFoundError(f"timm's loss is not where it was: no loss/cross_entropy.py beside {package.origin}")
    module = module_from_spec(place)
    place.loader.exec_module(module)
    return module


def _one_by_one(loss: Any, b: Asked, z: Any, reduction: str) -> Any:
    import torch

    if reduction == "mean":
        return loss(z, b.labels)
    return torch.stack([loss(z[n : n + 1], b.labels[n : n + 1]) for n in range(len(z))])


def transformers(problem: Problem, dtype: str = "float32") -> Result:
    """`transformers.trainer_pt_utils.LabelSmoother`; its sum over the classes is float32 in any dtype."""
    with quiet():
        from transformers.trainer_pt_utils import LabelSmoother

    b = asked(problem, dtype)
    smoother = LabelSmoother(epsilon=b.epsilon, ignore_index=b.ignore_index)

    def loss(z: Any, labels: Any) -> Any:
        alone = {"num_items_in_batch": 1} if len(z) == 1 else {}  # else an ignored row alone is 0/0
        return smoother({"logits": z}, labels, **alone)

    return run("transformers", version("transformers"), b, lambda z, reduction: _one_by_one(loss, b, z, reduction))


def liger(problem: Problem, dtype: str = "float32") -> Result:
    """`liger_kernel.transformers.LigerCrossEntropyLoss`: its Triton kernel, interpreted."""
    if _triton_is_busy():
        return Result("liger", version("liger-kernel"), dtype, reason=BUSY)
    with quiet(TRITON_INTERPRET="1"):
        from liger_kernel.transformers.cross_entropy import LigerCrossEntropyLoss

        b = asked(problem, dtype)

        def loss(z: Any, reduction: str) -> Any:
            words = {"ignore_index": b.ignore_index, "label_smoothing": b.epsilon, "reduction": reduction}
            return LigerCrossEntropyLoss(**words)(z.clone(), b.labels)  # the kernel writes its gradient over the logits

        return run("liger", version("liger-kernel"), b, loss)


def liger_megatron(problem: Problem, dtype: str = "float32") -> Result:
    """`liger_kernel.transformers.LigerVocabParallelCrossEntropy` with Megatron-LM's formula, on one rank."""
    if _triton_is_busy():
        return Result("liger megatron", version("liger-kernel"), dtype, reason=BUSY)
    with quiet(TRITON_INTERPRET="1"):
        from liger_kernel.transformers.vocab_parallel_cross_entropy import LigerVocabParallelCrossEntropy

        b = asked(problem, dtype)
        words = {"ignore_index": b.ignore_index, "label_smoothing": b.epsilon, "label_smoothing_formula": "megatron"}
        smoothed = LigerVocabParallelCrossEntropy(**words)

        def loss(z: Any, reduction: str) -> Any:
            rows = smoothed(z.clone()[:, None], b.labels[:, None])[:, 0]  # (N, 1, K) in, (N, 1) out
            return rows if reduction == "none" else rows.sum() / (counts(b) if reduction == "mean" else 1)

        return run("liger megatron", version("liger-kernel"), b, loss)


def _triton_is_busy() -> bool:
    """Whether Triton was imported to compile, so that its kernels cannot be interpreted any more."""
    triton = sys.modules.get("triton.language")
    return triton is not None and type(getattr(triton, "cdiv", None)).__name__ == "JITFunction"
