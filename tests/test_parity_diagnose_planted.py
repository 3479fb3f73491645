"""Every cause in the library, planted by a few lines of NumPy that share nothing with the search, is found and named.

Each planted batch is also asked about without its error, and is then called correct. The last test holds the list of
planted errors against the library: a cause without one is a failure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from cases import one_in
from labelsmooth.maths.conventions import FAMILIES, WEIGHTINGS
from labelsmooth.maths.trace import smooth_labels, trace
from labelsmooth.parity._library import causes_for
from labelsmooth.parity._recipes import ROUND_TEMPERATURES, Facts, Recipe
from labelsmooth.parity.diagnose import Diagnosis, diagnose

ROWS, CLASSES, EPS = 6, 5, 0.1
RANDOM = np.random.default_rng(20)
Z = RANDOM.normal(size=(ROWS, CLASSES)) * 2
Y = np.array([0, 4, 2, 1, 4, 3])
SKIPPED = np.array([0, 4, -100, 1, 4, 3])
WEIGHT = np.array([0.5, 1.0, 2.0, 1.5, 3.0])
PRIOR = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
NAMES = ["owl", "cat", "dog", "ant", "bee"]
EXTREME = Z * 15


def softmax(z: Any, axis: int = 1) -> Any:
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def target(y: Any = Y, convention: str = "uniform", **more: Any) -> Any:
    return smooth_labels(y, CLASSES, EPS, convention=convention, **more)


def crossed(q: Any, ell: Any) -> Any:
    return -(q * ell).sum(axis=1)


def rows(q: Any = None, z: Any = Z) -> Any:
    return crossed(target() if q is None else q, np.log(softmax(z)))


def surprise(q: Any) -> Any:
    return -(q * np.log(np.where(q > 0, q, 1))).sum(axis=1)


def binary(convention: str) -> Any:
    t, s = target(convention=convention), 1 / (1 + np.exp(-Z))
    return -(t * np.log(s) + (1 - t) * np.log(1 - s))


def half_logits() -> Any:
    return np.random.default_rng(1).normal(size=(3, 9000)).astype(np.float16).astype(np.float64)


@dataclass
class Planted:
    cause: str
    numbers: Any
    right: Any = None  # what `trace` gives, unless said
    logits: Any = None
    labels: Any = None
    options: dict[str, Any] = field(default_factory=dict)  # of diagnose
    scalar: bool = False

    def ask(self, numbers: Any) -> Diagnosis:
        z, y = (Z if self.logits is None else self.logits), (Y if self.labels is None else self.labels)
        given = {"loss": float(numbers)} if self.scalar else {"losses": numbers}
        return diagnose(z, y, label_smoothing=EPS, **given, **self.options)

    def correct(self) -> Any:
        if self.right is not None:
            return self.right
        z, y = (Z if self.logits is None else self.logits), (Y if self.labels is None else self.labels)
        known = {
            k: v for k, v in self.options.items() if k in {"weight", "weighting", "prior", "convention", "ignore_index"}
        }
        run = trace(z, y, EPS, reduction="mean" if self.scalar else "none", **known)
        return run.loss if self.scalar else run.row_loss


def plain() -> list[Planted]:
    p, q, wrong = softmax(Z), target(), target(convention="others")
    lse = np.exp(Z).sum(axis=1, keepdims=True)
    top = Z.max(axis=1, keepdims=True)
    shifted = np.exp(Z - top).sum(axis=1, keepdims=True)
    share = np.clip(Z / Z.sum(axis=1, keepdims=True), 1e-7, 1 - 1e-7)
    out = [
        Planted("log base 10", rows() / np.log(10)),
        Planted("log base 2", rows() / np.log(2)),
        Planted("softmax twice", rows(z=p)),
        Planted("softmax missing", crossed(q, Z)),
        Planted("logarithm missing", crossed(q, p)),
        Planted("logits taken for probabilities", crossed(q, np.log(share))),
        Planted("sigmoid for softmax", crossed(q, -np.log(1 + np.exp(-Z)))),
        Planted("LOG10 in the log-sum-exp", crossed(q, Z - np.log10(lse))),
        Planted("LOG10 in the shifted log-sum-exp", crossed(q, Z - top - np.log10(shifted))),
        Planted("probabilities clipped at 1e-7", crossed(q, np.log(np.clip(softmax(EXTREME), 1e-7, 1 - 1e-7))), logits=EXTREME),
        Planted("softmax over the wrong axis", crossed(q, np.log(softmax(Z, axis=0)))),
        Planted("float16 overflow", np.full(3, np.inf), logits=half_logits(), labels=[0, 1, 2]),
        Planted("KL divergence", rows() - surprise(q)),
        Planted("cross-entropy for KL", rows(wrong), options={"convention": "espnet"}, right=rows(wrong) - surprise(wrong)),
        Planted("arguments swapped", crossed(p, np.log(q))),
        Planted("KL the other way round", crossed(p, np.log(q)) - surprise(p)),
        Planted("no smoothing", rows(np.eye(CLASSES)[Y])),
        Planted("sign lost", -rows()),
        Planted("divisor classes", rows() / CLASSES),
        Planted("divisor rows", rows() / ROWS),
    ]  # fmt: skip
    out += [Planted(f"temperature {t:g}", rows(z=Z / t)) for t in ROUND_TEMPERATURES]
    return out


def families() -> list[Planted]:
    out = []
    for family in FAMILIES.values():
        if family.link == "sigmoid":
            for how in ("mean", "sum"):
                name = f"binary cross-entropy, {family.name} target, {how} over classes"
                out.append(Planted(name, getattr(binary(family.name), how)(axis=1)))
        elif family.name == "others but padding":
            for pad in (0, CLASSES - 1):
                q = target(convention=family.name, ignore_index=pad)
                out.append(Planted(f"target {family.name} (class {pad})", np.where(pad == Y, 0.0, rows(q))))
        elif family.name != "uniform":
            out.append(Planted(f"target {family.name}", rows(target(convention=family.name))))
    out.append(
        Planted("target uniform", rows(), right=rows(target(convention="others")), options={"convention": "fairseq"})
    )
    uniform = binary("uniform")
    out += [
        Planted(f"binary cross-entropy, uniform target, {how} over classes", getattr(uniform, how)(axis=1))
        for how in ("mean", "sum")
    ]
    return out


def labels() -> list[Planted]:
    def of(y: Any) -> Any:
        return rows(target(y))

    nxt, previous = of(np.roll(Y, -1)), of(np.roll(Y, 1))
    alphabetical = np.array([sorted(NAMES).index(NAMES[k]) for k in Y])
    cut_next, cut_previous = nxt.copy(), previous.copy()
    cut_next[-1] = cut_previous[0] = 0.0
    return [
        Planted("labels one too high", of((Y + 1) % CLASSES)),
        Planted("labels one too low", of((Y - 1) % CLASSES)),
        Planted("classes reversed", of(CLASSES - 1 - Y)),
        Planted("classes in sorted order", of(alphabetical), options={"class_names": NAMES}),
        Planted("labels of the next row (rolled)", nxt),
        Planted("labels of the previous row (rolled)", previous),
        Planted("labels of the next row (cut)", cut_next),
        Planted("labels of the previous row (cut)", cut_previous),
        Planted("class 0 taken for padding (dropped)", np.where(Y == 0, 0, rows())[Y != 0].mean(), scalar=True),
        Planted("class 0 taken for padding (counted in the divisor)", np.where(Y == 0, 0, rows()).mean(), scalar=True),
        Planted("class 4 taken for padding (dropped)", rows()[Y != 4].mean(), scalar=True),
        Planted("class 4 taken for padding (counted in the divisor)", np.where(Y == 4, 0, rows()).mean(), scalar=True),
    ]


def ignored() -> list[Planted]:
    there = SKIPPED != -100
    kept = np.where(there, SKIPPED, 0)
    ell = np.log(softmax(Z))
    nll, even = -ell[np.arange(ROWS), kept], -ell.mean(axis=1)
    loss = np.where(there, (1 - EPS) * nll + EPS * even, 0)
    uniform = np.where(there, loss, even)
    fastai = (1 - EPS) * nll[there].mean() + EPS * even.mean()
    out = [
        Planted("ignored rows counted in the divisor", loss.mean()),
        Planted("ignored rows taken for class 0", ((1 - EPS) * nll + EPS * even).mean()),
        Planted("ignored rows keep the uniform part", fastai),
        Planted("ignored rows become uniform", uniform.mean()),
    ]
    for one in out:
        one.labels, one.scalar = SKIPPED, True
    return out


def weighted() -> list[Planted]:
    out = []
    for name in WEIGHTINGS:
        believed = "class/label" if name != "class/label" else "label"
        wrong = trace(Z, Y, EPS, weight=WEIGHT, weighting=name).loss
        out.append(Planted(f"weights {name}", wrong, options={"weight": WEIGHT, "weighting": believed}, scalar=True))
    plain = rows()
    charged = crossed(target() * WEIGHT, np.log(softmax(Z)))
    return [
        *out,
        Planted("weights not applied", plain, options={"weight": WEIGHT}),
        Planted("divisor weights", charged / WEIGHT[Y].sum(), options={"weight": WEIGHT}),
        Planted("prior not applied", plain, options={"prior": PRIOR}),
    ]


def divisors() -> list[Planted]:
    loss = rows()
    pairs = loss.reshape(2, 3)
    uneven = np.array([0, 4, -100, 1, 4, 3])
    there = (uneven != -100).reshape(2, 3)
    of_means = (np.where(there, pairs, 0).sum(axis=1) / there.sum(axis=1)).mean()
    return [
        Planted("reduction sum", loss.sum(), scalar=True),
        Planted("reduction mean", loss.mean(), right=loss.sum(), options={"reduction": "sum"}, scalar=True),
        Planted("divisor elements", loss.sum() / (ROWS * CLASSES), scalar=True),
        Planted("divisor twice", loss.mean() / ROWS, scalar=True),
        Planted("divisor sequences", loss.sum() / 2, options={"sequences": 2}, scalar=True),
        Planted("divisor mean of means", of_means, labels=uneven, options={"sequences": 2}, scalar=True),
    ]


EVERY = [*plain(), *families(), *labels(), *ignored(), *weighted(), *divisors()]


@pytest.mark.parametrize("planted", one_in(5, EVERY), ids=lambda p: p.cause)
def test_a_planted_cause_is_found_alone_and_the_batch_without_it_is_called_correct(planted: Planted) -> None:
    found = planted.ask(planted.numbers)
    named = [(m.causes, *m.same) for m in found.matches if len(m.causes) == 1]
    assert any(m[0] == (planted.cause,) or planted.cause in m[1:] for m in named), str(found)
    assert found.verdict in {"one_cause", "several_fit"}
    without = planted.ask(planted.correct())
    assert without.verdict == "agrees", str(without)
    assert without.matches[0].causes == ()


def test_every_cause_of_the_library_is_planted_once() -> None:
    every = Facts(ROWS, CLASSES, frozenset({0, 4}), ignored=True, weighted=True, prior=True, sequences=2,
                  sorted_differs=True, overflows=True)  # fmt: skip
    library = set()
    for base in (Recipe(weighting="label"), Recipe(weighting="class/label"), Recipe(family="others", divergence="kl")):
        for per_row in (True, False):
            facts = Facts(**{**vars(every), "per_row": per_row})
            for divisor in ("mean", "sum", "none"):
                one = Recipe(**{**vars(base), "divisor": divisor})
                library |= {cause.name for cause in causes_for(facts, one, smoothing_given=True)}
    planted = [one.cause for one in EVERY]
    assert len(planted) == len(set(planted))
    assert library == set(planted)


def test_a_pair_of_causes_is_found() -> None:
    numbers = -rows(target(convention="others"), z=Z / 2) / np.log(10)
    found = diagnose(Z, Y, (-numbers * np.log(10)), label_smoothing=EPS)
    assert found.matches[0].causes == ("target others", "temperature 2")
    three = diagnose(Z, Y, numbers * 1.0001, label_smoothing=EPS)
    assert three.verdict == "none_fits"
