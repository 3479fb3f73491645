"""Where does my loss stop? The floor of every recipe, compared with the number at which somebody's training ended.

A smoothed loss cannot reach 0: it stops at the entropy of the target, where the prediction is the target. That needs no logits:
a target of two numbers, on and off, and the number of classes K are enough. One number is weak evidence, so nothing is certain
here, and every recipe that stops there is listed.
"""

from __future__ import annotations

from math import log

import numpy as np

from labelsmooth.maths.conventions import FAMILIES, NOT_PADDING, OTHERS, convention_named

from ._evidence import FEW, simplest_first
from ._fixes import also_known, check_framework, fix, says
from ._intervals import observed
from ._library import DIVERGENCES, LOG_BASE, NO_SMOOTHING, SCORES, family_causes
from ._recipes import ROUND_EPSILONS, Cause, Facts, Hypothesis, Recipe, hypotheses
from .diagnose import AGREES, NEAREST, NONE_FITS, ONE_CAUSE, SEVERAL_FIT, Diagnosis, Match

STEPS = 2001  # places of the label's probability that are tried where softmax was applied twice


def diagnose_floor(
    floor: float | str,
    num_classes: int,
    *,
    label_smoothing: float | None = None,
    convention: str = "torch",
    to: str | None = None,
) -> Diagnosis:
    r"""Say which convention or mistake makes a loss stop at a number.

    $$F = -\sum_k q'_k \ln q'_k$$

    Args:
        floor: where the loss stopped; as text, zeros at the end count as digits.
        num_classes: K.
        label_smoothing: the ε that was meant to be used; None if that is not known.
        convention: what the loss is expected to follow.
        to: the framework in whose words fixes are written.

    Returns:
        A `Diagnosis`; one number is never enough to be certain.

    Raises:
        ValueError: a value that does not fit, an unknown name.

    Example:
        >>> found = diagnose_floor("0.4411", 1000, label_smoothing=0.1)
        >>> found.verdict, found.matches[0].causes
        ('several_fit', ('log base 10', 'target others'))
    """
    check_framework(to)
    believed = convention_named(convention)
    believed.family.check_classes(num_classes)
    if label_smoothing is not None and not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be between 0 and 1, got {label_smoothing:g}")
    seen = observed([floor])
    epsilon = 0.1 if label_smoothing is None else label_smoothing
    base = Recipe(family=believed.family.name, divergence=believed.divergence, epsilon=epsilon)
    tried = [
        (h, floor_of(h.recipe, num_classes))
        for h in hypotheses(
            base,
            _causes(base, num_classes, given=label_smoothing is not None),
            epsilons=ROUND_EPSILONS if label_smoothing is None else (),
        )
        if h.recipe.family != "gaussian"
    ]
    errors = [(abs(value - seen.values[0]), h, value) for h, value in tried]
    fitting = sorted((x for x in errors if x[0] <= seen.tolerance[0]), key=lambda x: simplest_first(x[1]))
    matches = _distinct(fitting, base, believed.name, to, num_classes)
    nearest = (
        () if matches else _distinct(sorted(errors, key=lambda x: x[0]), base, believed.name, to, num_classes)[:NEAREST]
    )
    agrees = any(not m.causes for m in matches)
    verdict = AGREES if agrees else NONE_FITS if not matches else ONE_CAUSE if len(matches) == 1 else SEVERAL_FIT
    return Diagnosis(
        verdict, matches, nearest, 1, seen.says, len(tried), believed.name, label_smoothing, subject="the floor"
    )


def _causes(base: Recipe, classes: int, *, given: bool) -> tuple[Cause, ...]:
    """The causes that move the floor."""
    facts = Facts(rows=2, classes=classes, labels=frozenset(), per_row=False)
    twice = next(cause for cause in SCORES if cause.name == "softmax twice")
    other = DIVERGENCES["ce" if base.divergence == "kl" else "kl"]
    none = (NO_SMOOTHING,) if given and base.epsilon > 0 else ()
    return (*LOG_BASE, twice, other, *none, *family_causes(facts, base))


def floor_of(recipe: Recipe, classes: int) -> float:
    """The smallest loss a recipe can have, for a uniform prior.

    >>> round(floor_of(Recipe(), 5), 6)
    0.389673
    """
    family, K = FAMILIES[recipe.family], classes
    keep, spread = family.keep(recipe.epsilon, K), family.spread(recipe.epsilon, K)
    others = K - {OTHERS: 1, NOT_PADDING: 2}.get(family.over, 1)
    off = spread / (others if family.over in (OTHERS, NOT_PADDING) else K)
    on = keep if family.over in (OTHERS, NOT_PADDING) else keep + off
    if recipe.link != "softmax":
        return (_binary(on) + others * _binary(off)) / (K if recipe.link.endswith("mean") else 1) * recipe.base
    own = _surprise(on) + others * _surprise(off)
    whole = on + others * off
    least = (
        _least_twice(on, off, others, K)
        if recipe.scores == "softmax twice"
        else own + whole * log(whole)
        if whole > 0
        else 0.0
    )
    return float((least - (own if recipe.divergence == "kl" else 0.0)) * recipe.base)


def _surprise(x: float) -> float:
    return -x * log(x) if x > 0 else 0.0


def _binary(x: float) -> float:
    """Entropy of a yes or no; a target above 1 has no floor."""
    return _surprise(x) + _surprise(1 - x) if 0 <= x <= 1 else -np.inf


def _least_twice(on: float, off: float, others: int, classes: int) -> float:
    """The least cross-entropy where the logits are probabilities: the label has x, the others share the rest."""
    x = np.linspace(1 / classes, 1.0, STEPS)
    rest = (1 - x) / (classes - 1)
    whole = np.log(np.exp(x) + (classes - 1) * np.exp(rest))
    return float(np.min((on + others * off) * whole - on * x - others * off * rest))


def _distinct(
    found: list[tuple[float, Hypothesis, float]], base: Recipe, convention: str, to: str | None, classes: int
) -> tuple[Match, ...]:
    """A match for each floor: recipes with one floor and as few causes are one line."""
    out: dict[float, list[Hypothesis]] = {}
    errors: dict[float, float] = {}
    for error, hypothesis, value in found:
        key = next((known for known in out if abs(known - value) <= 1e-12), value)
        errors.setdefault(key, error)
        if key not in out or len(out[key][0].causes) == len(hypothesis.causes):
            out.setdefault(key, []).append(hypothesis)
    matches = []
    for key, (first, *more) in out.items():
        names = [" and ".join(h.names) or "no cause" for h in more]
        same = tuple(dict.fromkeys([*names, *also_known(first, classes)]))
        matches.append(
            Match(
                first.names, says(first), fix(first, base, convention, to, classes), errors[key], 0.0, FEW,
                first.recipe.epsilon, same=same, separated_by="the losses of a few rows, with their logits" if same else "",
            )
        )  # fmt: skip
    return tuple(matches)
