"""What a formula cell is: the step of the chain that it gives on inputs nobody would meet by chance.

One batch proves little: at ε = 0.1 and K = 2 a target of 0.95 has several derivations. So a reading's inputs are replaced by
random ones, several times, every formula is computed on each, and a cell whose numbers are those of a step on all of them is
that step, however its formula is written. Beside the steps stand the numbers that people compute on the way, such as
q′·ln p or 1 − p, and the targets of other recipes, which are recognised in order to be named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from labelsmooth.maths.conventions import FAMILIES
from labelsmooth.maths.evaluate import Array
from labelsmooth.maths.trace import Trace, trace
from labelsmooth.workbook._foreign_values import Scalar
from labelsmooth.workbook._foreign_worlds import Inputs

SAME = (
    1e-9  # relative above 1: a stranger's formula may round more than ours, no two steps are this near on random inputs
)
LOSSES = ("row_loss", "label_loss", "loss", "loss_sum", "label_loss_mean", "label_loss_sum")
WHOLE = ("loss", "loss_sum", "label_loss_mean", "label_loss_sum")
MINUS = "minus "


@dataclass(frozen=True)
class Role:
    """A step of the chain by its word, for row n and class k where it has them; `wrong` says whose recipe it is instead."""

    word: str
    n: int | None = None
    k: int | None = None
    wrong: str = ""

    @property
    def plain(self) -> str:
        """The word without its minus."""
        return self.word.removeprefix(MINUS)


class Roles:
    """Every number of a reading by its worth in all worlds, ready to be looked up."""

    def __init__(self, inputs: Inputs) -> None:
        with np.errstate(all="ignore"):
            found = list(_numbers(inputs))
        self._roles: list[Role] = []
        columns = []
        for word, values, axes, wrong in found:
            W = len(inputs.cells)
            flat = np.broadcast_to(values, (W, *values.shape[1:])).reshape(W, -1)
            columns.append(flat)
            ns: list[int | None] = list(range(values.shape[1])) if "n" in axes else [None]
            ks: list[int | None] = list(range(values.shape[2])) if "k" in axes else [None]
            self._roles += [Role(word, n, k, wrong) for n in ns for k in ks]
        table_of_numbers = np.concatenate(columns, axis=1)
        order = np.argsort(table_of_numbers[0], kind="stable")
        self._roles = [self._roles[i] for i in order]
        self._rank = order  # a step of the chain before what is computed on the way to it
        self._numbers = table_of_numbers[:, order]

    def near(self, value: Scalar) -> bool:
        """Whether any step has this value in the first world."""
        if isinstance(value, str) or value is None:
            return False
        margin = SAME * max(1.0, abs(value))
        low, high = np.searchsorted(self._numbers[0], [value - margin, value + margin])
        return bool(high > low)

    def find(self, values: Sequence[Scalar]) -> list[Role]:
        """The steps that have these values in every world: the chain's own before another recipe's."""
        if any(isinstance(x, str) or x is None for x in values):
            return []
        if is_constant(values):
            return []
        got = np.array([float(x) for x in values if not isinstance(x, str) and x is not None])
        margin = SAME * max(1.0, abs(got[0]))
        low, high = np.searchsorted(self._numbers[0], [got[0] - margin, got[0] + margin])
        near = self._numbers[:, low:high]
        fits = (np.abs(near - got[:, None]) <= SAME * np.maximum(1.0, np.abs(got[:, None]))).all(axis=0)
        places = [int(low + i) for i in np.flatnonzero(fits)]
        return [self._roles[i] for i in sorted(places, key=lambda i: (bool(self._roles[i].wrong), self._rank[i]))]


def is_constant(values: Sequence[Scalar]) -> bool:
    """The same whole number everywhere: a sum of probabilities, a count, a flag."""
    numbers = [float(x) for x in values if not isinstance(x, str) and x is not None]
    if len(numbers) < len(values):
        return False
    return max(numbers) - min(numbers) < SAME and abs(numbers[0] - round(numbers[0])) < SAME


def true_values(inputs: Inputs) -> dict[Role, Array]:
    """What each step has in each world: role -> (W,)."""
    out = {}
    with np.errstate(all="ignore"):  # where EXP overflows the file shows an error too, which is for the caller to say
        found = list(_numbers(inputs))
    for word, values, axes, wrong in found:
        for n in range(values.shape[1]):
            for k in range(values.shape[2]):
                out[Role(word, n if "n" in axes else None, k if "k" in axes else None, wrong)] = values[:, n, k]
    return out


Number = tuple[str, Array, str, str]  # word, (W, N or 1, K or 1), axes, whose recipe it is


def _numbers(inputs: Inputs) -> Iterator[Number]:
    chains = _chains(inputs, "uniform")
    steps: dict[str, tuple[Array, str]] = {}
    for word in chains[0].words:
        axes = chains[0].chain[word].axes
        steps[word] = (np.stack([c.values[word] for c in chains]), axes)
    for word, (values, axes) in steps.items():
        if word in _NOT_ASKED or (word in _BY_LABEL and inputs.labels is None):
            continue
        yield (word, values, axes, "")
        if word in _WITH_MINUS:
            yield (MINUS + word, -values, axes, "")
    v = {word: values for word, (values, _) in steps.items()}
    yield from _on_the_way(v)
    if inputs.labels is not None:
        yield from _with_labels(v)
        if inputs.epsilon.any() and inputs.labels.ndim == 2:
            yield from _other_recipes(inputs)


def _chains(inputs: Inputs, family: str) -> list[Trace]:
    labels = inputs.labels
    if labels is None:
        labels = np.zeros(inputs.logits.shape[:2], dtype=np.int64)
    return [
        trace(z, y, float(e), convention=family, as_post=True)
        for z, y, e in zip(inputs.logits, labels, inputs.epsilon, strict=True)
    ]


_BY_LABEL = {
    "label", "one_hot", "target", "row_loss", "loss", "label_loss", "label_term", "mixture", "mixture_gap", "target_log",
    "row_floor", "row_excess", "loss_floor", "loss_excess", "off", "on", "optimum_gap", "gradient", "epsilon", "prior_term",
}  # fmt: skip
_NOT_ASKED = {"n_classes", "n_rows", "class_index", "mixture_gap", "plain_softmax"}  # counts, noughts, and p once more
_WITH_MINUS = {"log_softmax", "row_loss", "label_loss", "prior_loss", "label_term", "prior_term", "loss"}


def _on_the_way(v: dict[str, Array]) -> Iterator[Number]:
    """What people compute between logits and probabilities."""
    z, p, ln = v["logits"], v["softmax"], v["log_softmax"]
    yield ("shifted logit", z - v["row_max"], "nk", "")
    yield ("1 − probability", 1 - p, "nk", "")
    yield ("ln(1 − p)", np.log(-np.expm1(ln)), "nk", "")
    yield ("sigmoid", 1 / (1 + np.exp(-z)), "nk", "")
    yield ("logarithm of the sum", np.log(v["exponential_sum"]), "n", "")
    total = v["row_max"] + np.log(v["exponential_sum"])
    yield ("log-sum-exp", total, "n", "")
    yield ("sum of ln p", ln.sum(axis=2, keepdims=True), "n", "")
    yield ("largest probability", p.max(axis=2, keepdims=True), "n", "")


def _with_labels(v: dict[str, Array]) -> Iterator[Number]:
    """What people compute between labels and the loss; every sum with and without its minus."""
    q, t, z, p, ln = v.get("one_hot", v["target"]), v["target"], v["logits"], v["softmax"], v["log_softmax"]
    N = z.shape[1]
    for sign, minus in ((1, ""), (-1, MINUS)):
        yield (minus + "target times ln p", sign * t * ln, "nk", "")
        yield (minus + "label times ln p", sign * q * ln, "nk", "")
        for word, share in (("row_loss", "loss"), ("label_loss", "label_loss"), ("prior_loss", "prior_loss")):
            total = sign * v[word].sum(axis=1, keepdims=True)
            yield (minus + f"{share}_sum", total, "", "")
            if word != "row_loss":
                yield (minus + f"{share}_mean", total / N, "", "")
    yield ("1 − label", 1 - q, "nk", "")
    yield ("1 − target", 1 - t, "nk", "")
    yield ("label times logit", q * z, "nk", "")
    yield ("target times logit", t * z, "nk", "")
    yield ("label times probability", q * p, "nk", "")
    yield ("(1 − ε) times label", (1 - v["epsilon"]) * q, "nk", "")
    yield ("1 − ε", 1 - v["epsilon"], "", "")
    yield ("logit of the label", (q * z).sum(axis=2, keepdims=True), "n", "")
    yield ("target times logits, summed", (t * z).sum(axis=2, keepdims=True), "n", "")
    yield ("probability of the label", (q * p).sum(axis=2, keepdims=True), "n", "")
    yield ("softmax − target", p - t, "nk", "")
    if "label" in v:
        yield ("label from 1", v["label"] + 1, "n", "")
    yield ("e to the loss", np.exp(v["loss"]), "", "")


def _other_recipes(inputs: Inputs) -> Iterator[Number]:
    """The target, and the loss from it, by every other recipe, famous mistakes last."""
    for family in sorted(FAMILIES.values(), key=lambda f: f.mistake):
        if family.name == "uniform" or family.link != "softmax" or family.smallest > 2:  # which needs a padding class
            continue
        found: dict[str, list[Array]] = defaultdict(list)
        axes: dict[str, str] = {}
        for chain in _chains(inputs, family.name):
            for word in ("target", "on", "off", "row_loss", "loss"):
                if word in chain.values:
                    found[word].append(chain.values[word])
                    axes[word] = chain.chain[word].axes
        for word, values in found.items():
            yield (word, np.stack(values), axes[word], family.says)
            if word == "row_loss":
                yield (MINUS + word, -np.stack(values), axes[word], family.says)
                yield ("loss_sum", np.stack(values).sum(axis=1, keepdims=True), "", family.says)
