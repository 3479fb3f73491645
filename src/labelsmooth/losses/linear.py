"""Linear layer and loss in one: for a vocabulary so large that its logits should never stand in memory all at once.

`cross_entropy` of `functional.py` with a linear layer before it. The words are that function's, read by the same code; the
logits that they are measured against are a stand-in of the right shape without memory. What the chunked way cannot do
(derivatives by anything but the layer, function transforms, exporting) goes through `cross_entropy` and holds the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  the name the whole world uses

from . import _parallel_linear
from ._checks import check_words, floating
from ._linear_loss import chunked, head_of, mask_of, reduced_loss
from ._options import Mask, Words
from .functional import cross_entropy, read
from .module import LabelSmoothingCrossEntropy


def linear_cross_entropy(
    input: Tensor,  # noqa: A002  torch's word
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
    label_smoothing: float | Tensor = 0.0,
    prior: Tensor | None = None,
    class_mask: Mask | None = None,
    row_weight: Tensor | None = None,
    convention: str = "torch",
    weighting: str = "torch",
    z_loss: float = 0.0,
    softcap: float | None = None,
    padded_classes: int = 0,
    normalizer: float | Tensor | None = None,
    all_ignored: str = "nan",
    validate: bool | None = None,
    chunk_rows: int | None = None,
    group: Any = None,
    class_sizes: Sequence[int] | None = None,
) -> Tensor:
    """Cross-entropy of a linear layer's output with a smoothed target, without ever holding the logits.

    loss = −Σ q'·ln softmax(W·h + b), q' = (1−ε)·q + ε·u: q the label, u the prior, uniform unless given.

    Args:
        input: h, `(N, D)`, `(B, T, D)` with any number of axes before the last, or `(D,)` for a single row.
        linear_weight: W, `(K, D)`; or `(K, d1, ..., D)` for logits `(N, K, d1, ...)` of an input `(N, D)`.
        target: class indices of any integer dtype in the input's shape without its last axis (and with `d1, ...`), or
            in a floating dtype one distribution a row in the logits' shape: `(..., K)`, or `(N, K, d1, ...)`.
        linear_bias: b, `(K,)`, or the shape of W without its last axis.
        weight: as all words that are not named here, what it is for `cross_entropy`.
        ignore_index: the class that takes a row out; None is -100. Its input is not read, on a CPU not even multiplied.
        reduction: "mean", "sum" or "none"; "none" computes the logits a second time in the backward.
        label_smoothing: ε in [0, 1]: a number, a scalar tensor, or one ε a row.
        prior: where ε goes: `(K,)` or the logits' shape.
        class_mask: bool, `(K,)` or the logits' shape; "finite" masks the classes whose bias is −inf.
        row_weight: one weight a row.
        convention: whose target.
        weighting: what class weights mean.
        z_loss: λ: every row pays λ·lse² more.
        softcap: c: the logits are c·tanh(z/c).
        padded_classes: how many trailing rows of W are no classes; their gradient is 0.
        normalizer: with reduction "sum", what to divide by.
        all_ignored: the mean when no row counts: "nan" or "zero".
        validate: whether to look at values.
        chunk_rows: rows of the input whose logits are held at a time; None chooses by size, so that what lives beside
            the gradients is at most an eighth of the logits or 128 MiB, whichever is more.
        group: the ranks that hold W's other rows; they share the input, and its gradient is all-reduced. A DTensor W says it
            itself.
        class_sizes: rows of W on each rank of `group`, as for `cross_entropy`.

    Returns:
        A scalar, or with "none" the shape of the class indices; float64 for float64 inputs, float32 for all others. For a
        DTensor W a DTensor, and the mean is over all rows on the mesh.

    Raises:
        ValueError: shapes that do not fit, and as `cross_entropy`.
        TypeError: dtypes that differ where no autocast brings them together, and as `cross_entropy`.

    Example:
        >>> head = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> hidden = torch.tensor([[2.0, -1.0], [0.5, 1.5]], requires_grad=True)
        >>> loss = linear_cross_entropy(hidden, head, torch.tensor([0, 2]), label_smoothing=0.1)
        >>> loss
        tensor(0.5766, grad_fn=<_AtOnceBackward>)
        >>> torch.allclose(loss, cross_entropy(hidden @ head.T, torch.tensor([0, 2]), label_smoothing=0.1))
        True

    Reference:
        Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", section 7, 2016.

    Unlike `cross_entropy` of the logits it needs no memory for them, and its half-precision gradients are rounded once.
    Gradients by ε, prior, weights or soft targets, second derivatives, `torch.func` and `torch.export` are right and hold
    all the logits. Unlike `torch.nn.functional.linear_cross_entropy` with options it smooths without doing so.

    """
    words = Words(weight, -100 if ignore_index is None else ignore_index, reduction, label_smoothing, prior, class_mask,
                  row_weight, convention, weighting, z_loss, softcap, padded_classes, -1, normalizer, all_ignored,
                  validate, group=group, class_sizes=class_sizes)  # fmt: skip
    check_words(words)
    _check_shapes(input, linear_weight, linear_bias)
    _check_chunk(chunk_rows)
    layer = (input, linear_weight, linear_bias)
    if _parallel_linear.is_distributed(*layer, group):
        return _parallel_linear.linear_cross_entropy(*layer, target, words, chunk_rows or 0)
    deep = linear_weight.shape[1:-1]
    words = words._replace(
        class_dim=1 if deep else -1, class_mask=mask_of(class_mask, input, linear_bias, padded_classes)
    )
    if not chunked(words, *layer, target) or not all(x is None or x.numel() for x in layer):
        return _with_logits(*layer, target, words)
    batch = read(input.new_empty(1).expand(*input.shape[:-1], *linear_weight.shape[:-1]), target, words, later=True)
    head = head_of(*layer, batch.given.frame.classes, chunk_rows or 0)
    return reduced_loss(head, batch.given.label, batch.given, batch.folded, words)


def _with_logits(x: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, words: Words) -> Tensor:
    """Give the loss from all the logits."""
    logits = F.linear(x, weight.flatten(0, -2), None if bias is None else bias.flatten())
    logits = torch.unflatten(logits, -1, weight.shape[:-1])
    return cross_entropy(logits, target, **words._asdict())


# What is refused ------------------------------------------------------------------------------------------------------


def _check_shapes(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    for name, tensor in (("input", x), ("linear_weight", weight), ("linear_bias", bias)):
        if tensor is not None:
            floating(name, tensor)
            if tensor.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
                raise TypeError(f"{name} is {tensor.dtype} and input is {x.dtype}: convert one, or use autocast")
    if x.dim() < 1 or weight.dim() < 2 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(f"input of shape {tuple(x.shape)} does not fit linear_weight of shape {tuple(weight.shape)}: "
                         "expected (..., D) and (K, D)")  # fmt: skip
    if weight.dim() > 2 and x.dim() != 2:
        raise ValueError(f"linear_weight of shape {tuple(weight.shape)}, for several positions, needs an input (N, D), "
                         f"got shape {tuple(x.shape)}")  # fmt: skip
    if bias is not None and bias.shape != weight.shape[:-1]:
        raise ValueError(f"linear_bias has shape {tuple(bias.shape)}, expected {tuple(weight.shape[:-1])}, that of "
                         "linear_weight without its last axis")  # fmt: skip


def _check_chunk(chunk_rows: int | None) -> None:
    if chunk_rows is None:
        return
    if isinstance(chunk_rows, bool) or not isinstance(chunk_rows, int):
        raise TypeError(f"chunk_rows must be an integer or None, got {type(chunk_rows).__name__}")
    if chunk_rows < 1:
        raise ValueError(f"chunk_rows must be at least 1, or None to choose by size, got {chunk_rows}")


# The module -----------------------------------------------------------------------------------------------------------


class LinearLabelSmoothingCrossEntropy(LabelSmoothingCrossEntropy):
    """Cross-entropy of a linear layer's output with a smoothed target, as a module; the layer stays the model's.

    loss = (1−ε)·H(q,p) + ε·H(u,p): q the label, u the prior, uniform unless given, p = softmax(W·h + b).

    Args:
        label_smoothing: ε in [0, 1]: a number, or a scalar tensor (a buffer). ε= is the same.
        chunk_rows: rows of the input whose logits are held at a time; see `linear_cross_entropy`.
        **words: the keywords of `LabelSmoothingCrossEntropy`, without `class_dim`, `gradient_in_forward` and `inplace`.

    Returns:
        Called with an input `(N, D)`, the head's weight `(K, D)` and targets, and `linear_bias` where the head has one,
        what `linear_cross_entropy` returns.

    Raises:
        ValueError: when made: ε outside [0, 1], an unknown name. When called: see `linear_cross_entropy`.
        TypeError: a keyword that it has not; when called: see `linear_cross_entropy`.

    Example:
        >>> model, head = torch.nn.Embedding(5, 2), torch.nn.Linear(2, 5)
        >>> loss = LinearLabelSmoothingCrossEntropy(0.1, prior=torch.tensor([0.5, 0.2, 0.1, 0.1, 0.1]))
        >>> token, following = torch.tensor([0, 3]), torch.tensor([3, 1])
        >>> loss(model(token), head.weight, following, linear_bias=head.bias).backward()
        >>> head.weight.grad.shape
        torch.Size([5, 2])

    Reference:
        Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", section 7, 2016.

    Unlike `torch.nn.LinearCrossEntropyLoss` it owns no layer, so that the weight can be tied to an embedding, sharded
    or frozen where it lives.

    """

    def __init__(
        self, label_smoothing: float | Tensor | None = None, *, chunk_rows: int | None = None, **words: Any
    ) -> None:
        if wrong := [name for name in ("class_dim", "gradient_in_forward", "inplace") if name in words]:
            raise TypeError(f"{wrong[0]} is about logits, which are never whole here: drop it")
        _check_chunk(chunk_rows)
        if words.get("ignore_index", -100) is None:  # torch's word for its default
            words["ignore_index"] = -100
        super().__init__(label_smoothing, **words)
        self.class_dim = -1  # for `activation` and `decodes`, which take logits
        self.chunk_rows = chunk_rows

    def forward(  # type: ignore[override]  # called with the layer
        self,
        input: Tensor,  # noqa: A002  torch's word
        linear_weight: Tensor,
        target: Tensor,
        *,
        linear_bias: Tensor | None = None,
        class_mask: Mask | None = None,
        row_weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
        group: Any = None,
        class_sizes: Sequence[int] | None = None,
    ) -> Tensor:
        """Return the loss; what belongs to one batch or one process is given here, and a mask replaces the module's."""
        words = self._words() if class_mask is None else {**self._words(), "class_mask": class_mask}
        return linear_cross_entropy(
            input, linear_weight, target, linear_bias=linear_bias, row_weight=row_weight, normalizer=normalizer,
            chunk_rows=self.chunk_rows, group=group, class_sizes=class_sizes, **words)  # fmt: skip

    def extra_repr(self) -> str:
        """Say what was set, tensors by their shape."""
        return super().extra_repr() + ("" if self.chunk_rows is None else f", chunk_rows={self.chunk_rows}")

    def _words(self) -> dict[str, Any]:
        about_logits = ("class_dim", "gradient_in_forward", "inplace")
        return {name: value for name, value in super()._words().items() if name not in about_logits}
