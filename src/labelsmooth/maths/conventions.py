"""What people mean by "label smoothing 0.1": the conventions and famous mistakes, as data.

Two tables. A `Family` is a target: the share left to the label, the mass spread, and over which classes,

    q' = keep(ε, K) · q + spread(ε, K) · v,      v uniform over `over`, or a given prior where the family takes one.

`keep` and `spread` are written once, as functions of anything that does arithmetic: called with numbers they give numbers,
with tensors tensors, with the expressions of `expr.py` a formula that prints. A `Convention` is what one function of one
framework does, and since which version: a family, cross-entropy or KL, a meaning of class weights.

A new convention is one row. Nothing else in the repository knows a framework by its formula.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

Share = Callable[[Any, Any], Any]

ALL, OTHERS, NOT_PADDING, NEIGHBOURS = "all", "others", "others but padding", "neighbours"
LAWS = frozenset({"shift", "permutation", "gradient sums to zero", "ignored is removed", "no smoothing is cross-entropy",
                  "floor", "decomposition", "sums to one"})  # fmt: skip


@dataclass(frozen=True)
class Family:
    """One target q' = keep·q + spread·v; see the module's docstring."""

    name: str
    keep: Share
    spread: Share
    over: str
    says: str
    smallest: int = 2
    link: str = "softmax"
    accepts: frozenset[str] = frozenset()
    laws: frozenset[str] = LAWS
    mistake: bool = False

    def on_off(self, epsilon: float, classes: int) -> tuple[float, float]:
        """Target at the label and at another class that gets mass, for a uniform prior.

        >>> FAMILIES["uniform"].on_off(0.1, 5)
        (0.92, 0.02)
        """
        self.check_classes(classes)
        if self.over == NEIGHBOURS:
            raise ValueError(f"the target {self.name!r} depends on the distance from the label: use smooth_labels")
        off = self.spread(epsilon, classes) / (classes - {ALL: 0, OTHERS: 1, NOT_PADDING: 2}[self.over])
        return self.keep(epsilon, classes) + (off if self.over == ALL else 0.0), off

    def check_classes(self, classes: int) -> None:
        """Refuse a number of classes for which the target is not defined."""
        if classes < self.smallest:
            raise ValueError(f"the target {self.name!r} needs at least {self.smallest} classes, got {classes}")


ANY_TARGET = frozenset({"prior", "soft", "mask"})
TILTED = LAWS - {"permutation"}  # one class is treated apart

_FAMILIES = (
    Family("uniform", lambda e, k: 1 - e, lambda e, k: e, ALL,
           "ε is spread over all K classes, the label included", accepts=ANY_TARGET),
    Family("others", lambda e, k: 1 - e, lambda e, k: e, OTHERS,
           "ε is spread over the K−1 wrong classes"),
    Family("others but padding", lambda e, k: 1 - e, lambda e, k: e, NOT_PADDING,
           "ε is spread over the K−2 classes that are neither the label nor padding", smallest=3, laws=TILTED),
    Family("renormalised", lambda e, k: 1 / (1 + e), lambda e, k: e / (1 + e), ALL,
           "ε/K is added to every class, then the target is divided by its sum 1+ε", accepts=ANY_TARGET),
    Family("unnormalised", lambda e, k: 1 - e, lambda e, k: e * (k - 1) / k, OTHERS,
           "1−ε at the label and ε/K elsewhere: the target sums to 1−ε/K", laws=LAWS - {"sums to one"}),
    Family("binary", lambda e, k: 1 - e, lambda e, k: e * k / 2, ALL,
           "each class is a yes or no of its own: 1−ε/2 for yes, ε/2 for no", link="sigmoid",
           laws=frozenset({"permutation"})),
    Family("multi-label", lambda e, k: 1 - 2 * e, lambda e, k: e * k, ALL,
           "each class is a yes or no of its own: 1−ε for yes, ε for no", link="sigmoid", laws=frozenset({"permutation"})),
    Family("gaussian", lambda e, k: 0, lambda e, k: 1, NEIGHBOURS,
           "a normal density of width 1−ε around the label's position, not normalised", link="target only",
           laws=frozenset()),
    Family("1/K for ε/K", lambda e, k: 1 - e, lambda e, k: 1, ALL,
           "1/K added instead of ε/K: the target sums to 2−ε", mistake=True,
           laws=LAWS - {"sums to one", "no smoothing is cross-entropy"}),
    Family("(1−ε)/K for ε/K", lambda e, k: 1 - e, lambda e, k: 1 - e, ALL,
           "(1−ε)/K added instead of ε/K", mistake=True,
           laws=LAWS - {"sums to one", "no smoothing is cross-entropy"}),
    Family("1−ε for ε", lambda e, k: e, lambda e, k: 1 - e, ALL,
           "the confidence was passed where the smoothing belongs", mistake=True,
           laws=LAWS - {"no smoothing is cross-entropy"}),
    Family("K/(K−1) slip", lambda e, k: 1 - e * k / (k - 1), lambda e, k: e, ALL,
           "the label loses εK/(K−1) and every class gains ε/K: the target sums to 1−ε/(K−1)", mistake=True,
           laws=LAWS - {"sums to one"}),
    Family("smoothed twice", lambda e, k: (1 - e) * (1 - e), lambda e, k: 1 - (1 - e) * (1 - e), ALL,
           "smoothed in the data and again in the loss", accepts=ANY_TARGET, mistake=True),
)  # fmt: skip
FAMILIES = {family.name: family for family in _FAMILIES}


@dataclass(frozen=True)
class Weighting:
    """What class weights w multiply, and what the mean divides by.

    charge: "class" q'·w, "label" q'·w_y, "expected" q'·⟨q',w⟩, "nll" (the label's part only);
    divisor of the mean: "weights" Σ of what was charged a row, "rows" the number of rows that count.
    """

    name: str
    charge: str
    divisor: str
    says: str
    users: str


_WEIGHTINGS = (
    Weighting("class/label", "class", "weights", "every class's part times its own weight, mean over the labels' weights",
              "PyTorch with class indices, Liger"),
    Weighting("class/N", "class", "rows", "every class's part times its own weight, mean over rows",
              "PyTorch with class probabilities, OpenMMLab, super-gradients"),
    Weighting("nll", "nll", "rows", "the label's part weighted and averaged by weight, the uniform part plain",
              "fastai"),
    Weighting("expected", "expected", "weights", "the row times the weight its target expects, mean over those",
              "PaddlePaddle"),
    Weighting("label/N", "label", "rows", "the row times its label's weight, mean over rows", "Keras class_weight"),
    Weighting("label", "label", "weights", "the row times its label's weight, mean over the labels' weights",
              "what pytorch issue 104776 asks for"),
)  # fmt: skip
WEIGHTINGS = {weighting.name: weighting for weighting in _WEIGHTINGS}


def weighting_named(name: str, *, soft: bool = False) -> Weighting:
    """Look a meaning of class weights up; "torch" is "class/label" for indices and "class/N" for soft targets."""
    if name == "torch":
        name = "class/N" if soft else "class/label"
    if name not in WEIGHTINGS:
        raise ValueError(f"unknown weighting {name!r}: choose one of torch, {', '.join(WEIGHTINGS)}")
    return WEIGHTINGS[name]


@dataclass(frozen=True)
class Convention:
    """What one function of one framework computes for "label smoothing ε"."""

    name: str  # framework, or framework@version for an older one
    function: str
    family: Family
    divergence: str  # "ce" or "kl"
    weighting: str  # a name of `weighting_named`, or "" where the function takes no class weights
    since: str
    source: str  # repository: file
    note: str = ""

    @property
    def full_name(self) -> str:
        """The framework, its version where it is not the newest, and the function."""
        return f"{self.name}.{self.function}"


def _row(name: str, function: str, family: str, divergence: str, weighting: str, since: str, source: str,
         note: str = "") -> Convention:  # fmt: skip
    return Convention(name, function, FAMILIES[family], divergence, weighting, since, source, note)


_CONVENTIONS = (
    _row("torch", "cross_entropy", "uniform", "ce", "torch", "1.10", "pytorch/pytorch: aten/src/ATen/native/LossNLL.cpp"),
    _row("fairseq", "label_smoothed_nll_loss", "others", "ce", "", "0.12",
         "facebookresearch/fairseq: fairseq/criterions/label_smoothed_cross_entropy.py"),
    _row("fairseq@0.10", "label_smoothed_nll_loss", "uniform", "ce", "", "0.6 to 0.10",
         "facebookresearch/fairseq: fairseq/criterions/label_smoothed_cross_entropy.py"),
)  # fmt: skip
CONVENTIONS = {row.name: row for row in _CONVENTIONS}


def convention_named(name: str) -> Convention:
    """Look a convention up by "torch", "torch.cross_entropy", "fairseq" (its newest) or "fairseq@0.10"; also by family.

    >>> convention_named("torch").family.name
    'uniform'
    """
    if name in FAMILIES:
        return Convention(name, "target", FAMILIES[name], "ce", "torch", "", "")
    for row in _CONVENTIONS:
        if name in (row.name, row.full_name):
            return row
    close = get_close_matches(name, [*CONVENTIONS, *FAMILIES], n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown convention {name!r}.{hint} `labelsmooth conventions` lists them")
