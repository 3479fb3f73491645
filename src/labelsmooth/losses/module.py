"""The loss as a module and the loss in parts: what training loops look for beside the function.

- The keywords are those of `cross_entropy`; only here ε is 0.1 by default, and may be written ε, as in the post this
  project starts from.
- Everything is read at the call: fastai sets `reduction` on a loss and sets it back, and schedules change
  `label_smoothing`.
- Tensors are buffers, so that `.to(device)` and `state_dict` know them, and a learnable ε is a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from . import _eager, _parallel
from ._checks import check_words
from ._options import Mask, Words
from .functional import cross_entropy, read, reduced

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class LossParts(NamedTuple):
    """The loss and what it is made of, each reduced like the loss, which is their mixture plus the z-loss."""

    loss: Tensor
    label_loss: Tensor  # H(q,p): the loss without smoothing, exp of whose mean is the perplexity
    prior_loss: Tensor  # H(u,p), or H(v,p) where the label is left out of the spreading
    floor: Tensor  # the smallest value the loss can have
    z_loss: Tensor  # λ·lse², 0 unless asked for


class LabelSmoothingCrossEntropy(nn.Module):
    """Cross-entropy of logits with a smoothed target, as a module.

    loss = (1−ε)·H(q,p) + ε·H(u,p): q the label, u the prior, uniform unless given, p = softmax(z).

    Args:
        label_smoothing: ε in [0, 1]: a number, or a scalar tensor (a buffer) or parameter (learned). ε= is the same.
        weight: `(K,)`, a buffer.
        ignore_index: the class index that takes a row out of loss, gradient and mean.
        reduction: "mean", "sum" or "none"; may be set later.
        prior: where ε goes, `(K,)`, a buffer.
        class_mask: `(K,)` bool, True for a class that may be predicted, a buffer; or "finite".
        convention: whose target; see `cross_entropy`.
        weighting: what class weights mean; see `cross_entropy`.
        z_loss: λ: every row pays λ·lse² more.
        softcap: c: the logits are c·tanh(z/c).
        padded_classes: how many trailing columns of the logits are no classes.
        class_dim: the class axis of the logits; default 1, or 0 for a single row.
        all_ignored: the mean of no row: "nan" or "zero".
        validate: whether to look at values; see `cross_entropy`.
        gradient_in_forward: compute the gradient with the loss; see `cross_entropy`.
        inplace: write the gradient over the logits; see `cross_entropy`.
        ε: label_smoothing by the name it has in the formula.

    Returns:
        Called with logits `(N, K)` or `(N, K, d1, ...)` and targets, what `cross_entropy` returns: a scalar, or a loss
        a row; float32, or float64 for float64 logits.

    Raises:
        ValueError: when made: ε outside [0, 1], an unknown name. When called: see `cross_entropy`.
        TypeError: ε given twice; when called: see `cross_entropy`.

    Example:
        >>> loss = LabelSmoothingCrossEntropy(ε=0.1, reduction="none")
        >>> loss(torch.tensor([[4.2, -2.4], [1.6, -0.6]]), torch.tensor([0, 1]))
        tensor([0.3314, 2.1951])

    Reference:
        Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", section 7, 2016.

    Unlike `torch.nn.CrossEntropyLoss` it smooths by default. Like fastai's loss of the same name it has `activation`,
    `decodes` and `y_int`; unlike that one it ignores rows altogether, and its class weights mean what torch's do unless
    `weighting="nll"` asks for fastai's.

    """

    y_int = True  # fastai: targets are class indices
    weight: Tensor | None
    prior: Tensor | None

    def __init__(
        self,
        label_smoothing: float | Tensor | None = None,
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        prior: Tensor | None = None,
        class_mask: Mask | None = None,
        convention: str = "torch",
        weighting: str = "torch",
        z_loss: float = 0.0,
        softcap: float | None = None,
        padded_classes: int = 0,
        class_dim: int | None = None,
        all_ignored: str = "nan",
        validate: bool | None = None,
        gradient_in_forward: bool = False,
        inplace: bool = False,
        ε: float | Tensor | None = None,  # noqa: PLC2401  the paper's letter, as the post writes it
    ) -> None:
        super().__init__()
        if label_smoothing is not None and ε is not None:
            raise TypeError("label_smoothing and ε are the same thing: give one of them")
        given = ε if label_smoothing is None else label_smoothing
        self._hold("label_smoothing", 0.1 if given is None else given)
        self._hold("class_mask", class_mask)
        self.register_buffer("weight", weight)
        self.register_buffer("prior", prior)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.convention = convention
        self.weighting = weighting
        self.z_loss = z_loss
        self.softcap = softcap
        self.padded_classes = padded_classes
        self.class_dim = class_dim
        self.all_ignored = all_ignored
        self.validate = validate
        self.gradient_in_forward = gradient_in_forward
        self.inplace = inplace
        check_words(Words(**self._words()))

    def forward(
        self,
        input: Tensor,  # noqa: A002  torch's word
        target: Tensor,
        *,
        class_mask: Mask | None = None,
        row_weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
        group: ProcessGroup | None = None,
        class_sizes: Sequence[int] | None = None,
    ) -> Tensor:
        """Return the loss; what belongs to one batch or one process is given here.

        A mask given here replaces the module's. A group belongs to a process, and a module that held one could be neither
        copied nor saved.
        """
        words = self._words()
        if class_mask is not None:
            words["class_mask"] = class_mask
        return cross_entropy(input, target, row_weight=row_weight, normalizer=normalizer, group=group,
                             class_sizes=class_sizes, **words)  # fmt: skip

    def activation(self, x: Tensor) -> Tensor:
        """Turn logits into probabilities: softmax over the class axis."""
        return torch.softmax(x, self._axis(x))

    def decodes(self, x: Tensor) -> Tensor:
        """Turn logits or probabilities into class indices: the largest over the class axis."""
        return x.argmax(self._axis(x))

    def extra_repr(self) -> str:
        """Say what was set, tensors by their shape."""
        plain = Words()
        said = []
        for name, value in self._words().items():
            if isinstance(value, Tensor):
                said.append(f"{name}=tensor{tuple(value.shape)}")
            elif name == "label_smoothing" or value != getattr(plain, name):
                said.append(f"{name}={value!r}")
        return ", ".join(said)

    def _axis(self, x: Tensor) -> int:
        return min(x.dim() - 1, 1) if self.class_dim is None else self.class_dim

    def _hold(self, name: str, value: Any) -> None:
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            self.register_buffer(name, value)
        else:
            setattr(self, name, value)

    def _words(self) -> dict[str, Any]:
        names = ("label_smoothing", "weight", "ignore_index", "reduction", "prior", "class_mask", "convention",
                 "weighting", "z_loss", "softcap", "padded_classes", "class_dim", "all_ignored", "validate",
                 "gradient_in_forward", "inplace")  # fmt: skip
        return {name: getattr(self, name) for name in names}


def loss_parts(input: Tensor, target: Tensor, **words: Any) -> LossParts:  # noqa: A002  torch's word
    """Give the loss and its parts: against the label, against the prior, and the floor.

    loss = (1−ε)·H(q,p) + ε·H(u,p), floor = H(q') where nothing is weighted.

    Args:
        input: logits, as for `cross_entropy`.
        target: class indices or distributions, as for `cross_entropy`.
        **words: the keywords of `cross_entropy`.

    Returns:
        `LossParts(loss, label_loss, prior_loss, floor, z_loss)`, each in shape and dtype what `cross_entropy` returns;
        the logits are read once for all five. Class weights are in the parts as they are in the loss. For a convention
        that takes KL the loss is the mixture minus H(q'), and the floor is 0.

    Raises:
        ValueError: as `cross_entropy`, and for `gradient_in_forward` and `inplace`, which are about one loss.
        TypeError: as `cross_entropy`, and for a keyword that it has not.

    Example:
        >>> parts = loss_parts(torch.tensor([[4.2, -2.4]]), torch.tensor([0]), label_smoothing=0.1)
        >>> [round(part.item(), 4) for part in parts]
        [0.3314, 0.0014, 3.3014, 0.1985, 0.0]

    Reference:
        Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", section 7, 2016.

    Unlike `cross_entropy` it computes H(u,p) even at ε = 0, and always on the eager path.

    """
    if words.get("inplace") or words.get("gradient_in_forward"):
        raise ValueError("the parts of the loss each have a gradient: drop inplace and gradient_in_forward")
    if _parallel.is_distributed(input, words.get("group")):
        return LossParts(*_parallel.loss_parts(input, target, Words(**words)))
    batch = read(input, target, Words(**words))
    charge = batch.folded.charge
    terms = _eager.terms(batch.logits, batch.given.label, charge, both=True)
    floor = _eager.floor(batch.given.label, charge, like=terms.label_loss, classes=batch.given.frame.classes)
    return LossParts(*(reduced(rows, batch) for rows in _eager.parted(terms, batch.folded, floor)))
