"""An explanation in words: what happened, and what to do about it in the words of one framework."""

from __future__ import annotations

from labelsmooth.maths.conventions import CONVENTIONS, FAMILIES, convention_named
from labelsmooth.maths.convert import convert

from ._recipes import Cause, Hypothesis, Recipe

# What a framework calls ε; torch's word is the default.
EPSILON_WORDS = {"fastai": "eps", "fairseq": "--label-smoothing", "keras": "label_smoothing", "optax": "alpha",
                 "timm": "smoothing", "transformers": "label_smoothing_factor", "spreadsheet": "ε", "numpy": "ε"}  # fmt: skip
PROGRAMS = ("spreadsheet", "numpy")  # words for these, too, although they are no convention


def check_framework(to: str | None) -> None:
    """Refuse a name for which there are neither words nor a convention."""
    if to is not None and to not in PROGRAMS:
        convention_named(to)


def says(hypothesis: Hypothesis) -> str:
    """What happened, in one line."""
    return " and ".join(cause.says for cause in hypothesis.causes) or "the numbers are as they should be"


def fix(hypothesis: Hypothesis, base: Recipe, convention: str, to: str | None, classes: int) -> str:
    """What to do, cause by cause."""
    return "; ".join(_fix(cause, hypothesis.recipe, base, convention, to, classes) for cause in hypothesis.causes)


def _fix(cause: Cause, recipe: Recipe, base: Recipe, convention: str, to: str | None, classes: int) -> str:
    framework = (to or convention).partition("@")[0].partition(".")[0]
    if "family" in cause.changes and recipe.link == "softmax":
        equal = equal_epsilon(recipe, base, convention if to in (None, *PROGRAMS) else str(to), classes)
        if equal:
            return equal
    if to is None:
        return cause.fix
    return cause.words.get(framework, cause.fix)


def equal_epsilon(recipe: Recipe, base: Recipe, to: str, classes: int) -> str:
    """The ε with which a framework gives the other side's target, or nothing where no ε does it.

    A framework that made the numbers is told how to give the target believed in; any other, how to give theirs.
    """
    target = convention_named(to).family.name
    wanted = base if target == recipe.family else recipe
    if target == wanted.family or not _converts(wanted.family):
        return ""
    try:
        found = convert(wanted.epsilon, source=wanted.family, target=target, num_classes=classes)
    except ValueError:
        return ""
    word = EPSILON_WORDS.get(to.partition("@")[0].partition(".")[0], "label_smoothing")
    joint = " " if word.startswith("--") else "="
    theirs = f"{user_of(wanted.family)} {wanted.epsilon:.6g} at K={classes}"
    advice = f"pass {word}{joint}{found.label_smoothing:.6g} to {to} for {theirs}"
    return advice if found.exact else f"{advice}, which fits in ratio but not in size"


def _converts(family: str) -> bool:
    return FAMILIES[family].link == "softmax" and FAMILIES[family].smallest == 2


def user_of(family: str) -> str:
    """A framework that has a target, in the genitive, or the target itself."""
    rows = [r for r in CONVENTIONS.values() if r.family.name == family]
    rows.sort(key=lambda r: ("@" in r.name, r.name != "fairseq"))
    return f"{rows[0].name}'s" if rows else f"{family!r} at"


def also_known(hypothesis: Hypothesis, classes: int) -> tuple[str, ...]:
    """The same target under another name, which no numbers can tell apart."""
    recipe = hypothesis.recipe
    if recipe.link != "softmax" or not recipe.epsilon or not _converts(recipe.family) or recipe.prior != "given":
        return ()
    other = {"others": "uniform", "renormalised": "uniform", "smoothed twice": "uniform"}.get(recipe.family)
    if other is None:
        return ()
    found = convert(recipe.epsilon, source=recipe.family, target=other, num_classes=classes)
    return (f"target {other} with ε = {found.label_smoothing:.6g}",) if found.exact else ()
