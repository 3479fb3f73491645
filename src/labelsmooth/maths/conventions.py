"""What people mean by "label smoothing 0.1": the conventions and famous mistakes, as data.

Three tables. A `Family` is a target: the share left to the label, the mass spread, and over which classes,

    q' = keep(ε, K) · q + spread(ε, K) · v,      v uniform over `over`, or a given prior where the family takes one.

`keep` and `spread` are written once, as functions of anything that does arithmetic: called with numbers they give
numbers, with tensors tensors, with the expressions of `expr.py` a formula that prints. A `Weighting` is a meaning of
class weights. A `Convention` is what one function of one framework does, and in which versions: a family,
cross-entropy or KL, a meaning of class weights; those rows stand in `_frameworks.py`.

A new convention is one row. Nothing else in the repository knows a framework by its formula.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ._frameworks import FRAMEWORKS

Share = Callable[[Any, Any], Any]

ALL, OTHERS, NOT_PADDING, NEIGHBOURS = "all", "others", "others but padding", "neighbours"
LAWS = frozenset({"shift", "permutation", "gradient sums to zero", "ignored is removed",
                  "no smoothing is cross-entropy", "floor", "decomposition", "sums to one"})  # fmt: skip


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
    seen: str = ""  # where a mistake was met

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
           "each class is a yes or no of its own: 1−ε for yes, ε for no", link="sigmoid",
           laws=frozenset({"permutation"})),
    Family("gaussian", lambda e, k: 0, lambda e, k: 1, NEIGHBOURS,
           "a normal density of width 1−ε around the label's position, not normalised", link="target only",
           laws=frozenset()),
    Family("1/K for ε/K", lambda e, k: 1 - e, lambda e, k: 1, ALL,
           "1/K added instead of ε/K: the target sums to 2−ε", mistake=True,
           seen="TimDettmers/ConvE: main.py, issue 55, inside a binary cross-entropy",
           laws=LAWS - {"sums to one", "no smoothing is cross-entropy"}),
    Family("(1−ε)/K for ε/K", lambda e, k: 1 - e, lambda e, k: 1 - e, ALL,
           "(1−ε)/K added instead of ε/K: the target sums to 2(1−ε)", mistake=True,
           seen="paiml/aprender: crates/aprender-core/src/nn/loss.rs, before pull request 2199",
           laws=LAWS - {"sums to one", "no smoothing is cross-entropy"}),
    Family("1−ε for ε", lambda e, k: e, lambda e, k: 1 - e, ALL,
           "the confidence was passed where the smoothing belongs", mistake=True,
           laws=LAWS - {"no smoothing is cross-entropy"}),
    Family("1−εK/(K−1) for 1−ε", lambda e, k: 1 - e * k / (k - 1), lambda e, k: e, ALL,
           "the label loses εK/(K−1) and every class gains ε/K: the target sums to 1−ε/(K−1)", mistake=True,
           seen="fastai/fastai1: the text of pull request 1814, a paraphrase that was never released",
           laws=LAWS - {"sums to one"}),
    Family("1/(K−1) for 1/K", lambda e, k: 1 - e, lambda e, k: e * k / (k - 1), ALL,
           "ε/(K−1) added to every class, the label included: the target sums to 1+ε/(K−1)", mistake=True,
           seen="facebookresearch/fairseq: version 0.3.0 only", laws=LAWS - {"sums to one"}),
    Family("smoothed twice", lambda e, k: (1 - e) * (1 - e), lambda e, k: 1 - (1 - e) * (1 - e), ALL,
           "smoothed in the data and again in the loss", accepts=ANY_TARGET, mistake=True),
)  # fmt: skip
FAMILIES = {family.name: family for family in _FAMILIES}


@dataclass(frozen=True)
class Weighting:
    """What class weights w multiply, and what the mean divides by.

    charge: "class" q'·w, "label" q'·w_y, "expected" q'·⟨q',w⟩, "nll" (the label's part only);
    divisor of the mean: "weights" the sum of the rows' weights, "rows" the number of rows that count, "apart" the
    weights for the label's part and the rows for the rest.
    """

    name: str
    charge: str
    divisor: str
    says: str
    users: str


_WEIGHTINGS = (
    Weighting("class/label", "class", "weights",
              "every class's part times its own weight, mean over the labels' weights",
              "PyTorch with class indices, Liger"),
    Weighting("class/N", "class", "rows", "every class's part times its own weight, mean over rows",
              "PyTorch with class probabilities, OpenMMLab, super-gradients"),
    Weighting("nll", "nll", "apart", "the label's part weighted and averaged by weight, the uniform part plain",
              "fastai"),
    Weighting("nll/N", "nll", "rows", "the label's part weighted, the uniform part plain, mean over rows",
              "SpeechBrain nll_loss"),
    Weighting("expected", "expected", "weights", "the row times the weight its target expects, mean over those",
              "PaddlePaddle"),
    Weighting("label/N", "label", "rows", "the row times its label's weight, mean over rows",
              "Keras class_weight, AllenNLP alpha"),
    Weighting("label", "label", "weights", "the row times its label's weight, mean over the labels' weights",
              "Keras with reduction mean_with_sample_weight; what pytorch issue 104776 asks for"),
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
    since: str  # the versions, or the months, it holds for
    source: str  # owner/repository: file
    note: str = ""  # what the mean divides by, and what to look out for

    @property
    def full_name(self) -> str:
        """The framework, its version where it is not the newest, and the function."""
        return f"{self.name}.{self.function}"


_CONVENTIONS = tuple(Convention(row[0], row[1], FAMILIES[row[2]], *row[3:]) for row in FRAMEWORKS)
_FIRST = {row.name: row for row in reversed(_CONVENTIONS)}
# A bare framework is its first function; the others go by their full name.
CONVENTIONS = {row.name if _FIRST[row.name] is row else row.full_name: row for row in _CONVENTIONS}


def convention_named(name: str) -> Convention:
    """Look a convention up by "torch", "torch.cross_entropy", "fairseq" (its newest) or "fairseq@0.10"; also by family.

    >>> convention_named("torch").family.name
    'uniform'
    """
    families = {_folded(family): family for family in FAMILIES}
    if _folded(name) in families:
        family = FAMILIES[families[_folded(name)]]
        return Convention(family.name, "target", family, "ce", "torch", "", family.seen)
    known = {_folded(row.full_name): row for row in _CONVENTIONS} | {_folded(row.name): row for row in _FIRST.values()}
    if _folded(name) in known:
        return known[_folded(name)]
    raise ValueError(f"unknown convention {name!r}.{_hint(_folded(name), [*known, *families])} "
                     "`labelsmooth conventions` lists them")  # fmt: skip


def _hint(name: str, known: list[str]) -> str:
    kin = [key for key in CONVENTIONS if _framework(key) == _framework(name)]
    if kin:
        return f" There is {', '.join(kin)}."
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def _framework(name: str) -> str:
    return name.partition("@")[0].partition(".")[0]


def _folded(name: str) -> str:
    """Small letters and the hyphen that keyboards have: K-1 finds K−1."""
    return name.casefold().replace("−", "-")
