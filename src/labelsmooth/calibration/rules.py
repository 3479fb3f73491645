"""What is advised and what is warned of: rows of condition and sentence over measured numbers.

A rule is printed only when its condition is met, and its sentence holds the number that met it. Conditions compare numbers
of `facts.facts_of`; a number that was not measured is NaN, which meets no comparison. What no logits can tell (will the model
abstain, were its labels noisy) is a fact only if the user says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Facts = Mapping[str, Any]

POINT = 0.01  # a point of over- or under-confidence: less is not worth a parameter
GAIN = 0.01  # of the NLL, relative: less is not worth a parameter
CHANCE = 0.05  # p-value of a null test above which an ECE may be chance
CONTEXTS = ("abstain", "distil", "features", "mixup", "few-data")


@dataclass(frozen=True)
class Rule:
    """One sentence, and when it is said."""

    key: str
    kind: str  # "advice" or "warning"
    when: Callable[[Facts], bool]
    says: str  # a format string over the facts
    number: str  # the fact that decided


@dataclass(frozen=True)
class Said:
    """A rule whose condition was met."""

    key: str
    kind: str
    text: str
    number: float


RULES = (
    # What to do.
    Rule(
        "temperature_suffices", "advice",
        lambda f: f["runs"] == 1 and f["over"] > POINT and f["over_low"] > 0 and f["gain"] >= GAIN,
        "For calibrated probabilities a temperature is enough, with neither retraining nor smoothing: T = {T:.3g} takes the "
        "ECE from {ece:.3f} to {ece_after:.3f} and the NLL from {nll:.3f} to {nll_after:.3f}.",
        "T",
    ),
    Rule(
        "under_confident", "advice",
        lambda f: f["runs"] == 1 and f["over"] < -POINT and f["over_high"] < 0 and not f["refusal"],
        "The model is under-confident by {under_points:.1f} points: smoothing, or more of it, makes that worse; a temperature "
        "below 1 repairs it (T = {T:.3g}).",
        "over",
    ),
    Rule(
        "retrain", "advice",
        lambda f: f["runs"] == 1 and not f["eps"] > 0 and not f["smoothed"],
        "Whether smoothing would raise the accuracy ({accuracy:.1%} now) cannot be read off logits: train with ε = 0.05 and 0.1, "
        "three seeds each, and pass all runs to this command.",
        "accuracy",
    ),
    Rule(
        "few_data", "advice",
        lambda f: "few-data" in f["context"],
        "With few training data smoothing is a regulariser: try ε from 0.05 to 0.2 and a temperature after it, and judge by "
        "the NLL after temperature ({nll_after:.3f} here), not by the raw ECE, which it makes worse.",
        "nll_after",
    ),
    Rule(
        "label_noise", "advice",
        lambda f: 0.05 <= f["noise"] <= 0.4,
        "With {noise:.0%} wrong training labels ε from 0.1 to 0.2 usually raises the accuracy ({accuracy:.1%} here): try it.",
        "noise",
    ),
    Rule(
        "much_label_noise", "advice",
        lambda f: f["noise"] > 0.4,
        "With {noise:.0%} wrong training labels smoothing no longer helps: look at forward correction or negative smoothing.",
        "noise",
    ),
    Rule(
        "abstain", "advice",
        lambda f: "abstain" in f["context"] and not f["damaged"] and not f["eps"] > 0 and not f["smoothed"],
        "You will abstain by confidence: stay without smoothing, which spoils the ranking of the surest rows. Now the surest "
        "tenth has {surest:.1%} errors, and {covered:.1%} of the rows can be answered at a risk of {risk:.1%}.",
        "surest",
    ),
    Rule(
        "logit_norm", "advice",
        lambda f: f["damaged"],
        "Rank by the logit norm (p = {norm}) and not by the confidence: at a risk of {risk:.1%} it answers {covered_norm:.1%} "
        "of the rows and the confidence {covered:.1%} (AURC {aurc_norm:.4f} and {aurc:.4f}). No temperature does that.",
        "aurc_norm",
    ),
    Rule(
        "distil", "advice",
        lambda f: "distil" in f["context"] and (f["eps"] > 0 or f["smoothed"]),
        "A teacher trained with smoothing (ε about {eps_any:.2g}) tells less about the other classes: distil at T = 1 or try "
        "both; whether it makes the student worse is contested.",
        "eps_any",
    ),
    Rule(
        "features", "advice",
        lambda f: "features" in f["context"] and (f["eps"] > 0 or f["smoothed"]),
        "Features of a network trained with smoothing (ε about {eps_any:.2g}) transfer worse in published linear probes: "
        "compare with ε = 0 before you reuse them.",
        "eps_any",
    ),
    Rule(
        "mixup", "advice",
        lambda f: "mixup" in f["context"] and f["over"] < POINT,
        "Mixup and smoothing add up to under-confidence (confidence minus accuracy is {over_points:+.1f} points): halve ε, or "
        "drop it.",
        "over",
    ),
    Rule(
        "many_classes", "advice",
        lambda f: f["classes"] >= 10_000,
        "With {classes:,} classes every class gets ε/K, {floor_probability:.1e} at ε = 0.1, more than rare classes deserve: "
        "keep ε small, or spread it over the class frequencies (prior).",
        "floor_probability",
    ),
    # What to be careful with.
    Rule(
        "temperature_refused", "warning",
        lambda f: bool(f["refusal"]),
        "No temperature: {refusal}.",
        "n",
    ),
    Rule(
        "ece_is_noise", "warning",
        lambda f: f["p_value"] > CHANCE,
        "An ECE of {ece:.3f} on {n:,} rows says nothing: a perfectly calibrated model with these confidences has {floor:.3f} on "
        "average, and as much or more in {p_value:.0%} of cases.",
        "p_value",
    ),
    Rule(
        "bins_matter", "warning",
        lambda f: f["ece_100"] - f["ece_5"] > 0.005 and f["ece_100"] > 1.2 * f["ece_5"],
        "The ECE depends on the bins: {ece_5:.3f} with 5, {ece:.3f} with 15, {ece_100:.3f} with 100; the smooth ECE, which has "
        "none, is {smooth:.3f}.",
        "ece_100",
    ),
    Rule(
        "saturated", "warning",
        lambda f: f["saturated"] > 0.01,
        "{saturated:.0%} of the confidences are exactly 1 in float32: save logits, not probabilities, and check that a tool puts "
        "them into its last bin.",
        "saturated",
    ),
    Rule(
        "infinite_nll", "warning",
        lambda f: f["infinite"] > 0,
        "The NLL is infinite: {infinite:,} labels have probability 0.",
        "infinite",
    ),
    Rule(
        "from_probabilities", "warning",
        lambda f: f["from_probabilities"],
        "The logits are logarithms of the given probabilities, which changes nothing here, except that {zeros:.1%} of the rows "
        "have another class rounded to exactly 0: save logits if you can.",
        "zeros",
    ),
    Rule(
        "missing_classes", "warning",
        lambda f: f["missing"] > 0,
        "{missing:,} of {classes:,} classes never occur as a label: class-wise numbers say nothing of their accuracy.",
        "missing",
    ),
    Rule(
        "validation_noisy", "warning",
        lambda f: f["noise"] > 0 and not f["refusal"],
        "If the labels that T was fitted on are as noisy as the training labels ({noise:.0%}), T = {T:.3g} is too high for "
        "clean data: fit it on labels that somebody has checked.",
        "noise",
    ),
    Rule(
        "validation_seen", "warning",
        lambda f: f["val_accuracy"] - f["accuracy"] > 0.05,
        "The validation split has {val_accuracy:.1%} accuracy and these rows {accuracy:.1%}: it looks like training data, "
        "on which a temperature comes out too small.",
        "val_accuracy",
    ),
    Rule(
        "validation_is_test", "warning",
        lambda f: f["val_same"],
        "The validation split and the rows are the same {n:,}: what stands under after temperature is too good. Leave the "
        "split out, and the temperature is cross-fitted.",
        "n",
    ),
    Rule(
        "losses_differ", "warning",
        lambda f: f["eps"] > 0,
        "A loss with ε = {eps:g} is not comparable with one of another ε, in training or validation, and stopping early by it "
        "stops elsewhere: compare the plain NLL ({nll:.3f}).",
        "eps",
    ),
    Rule(
        "surer_than_the_target", "warning",
        lambda f: f["smoothed"] and f["accuracy_above"] < f["accuracy_near"] - 0.005,
        "Rows surer than the target 1−ε+ε/K = {target:.3f} are right less often ({accuracy_above:.1%}) than those at it "
        "({accuracy_near:.1%}): of a smoothed model the highest confidence is not the surest.",
        "accuracy_above",
    ),
    Rule(
        "ranking_unseen", "warning",
        lambda f: f["damaged"] and f["ece_after"] < f["ece"],
        "The ECE falls to {ece_after:.3f} with the temperature and the AURC stays ({aurc:.4f}, {aurc_after:.4f} after): "
        "calibration says nothing of ranking.",
        "aurc_after",
    ),
    Rule(
        "not_additive", "warning",
        lambda f: f["smoothed_after"] > f["plain_after"],
        "Smoothing and temperature do not add up: after temperature the NLL is {smoothed_after:.3f} at ε = {best_smoothed:g} and "
        "{plain_after:.3f} at ε = {plain_eps:g}.",
        "smoothed_after",
    ),
    Rule(
        "chosen_on_the_rows", "warning",
        lambda f: f["runs"] > 1 and not f["on_validation"],
        "ε was chosen on the same {n:,} rows that it is judged on, for want of validation splits: a little too good.",
        "n",
    ),
    Rule(
        "other_rows", "warning",
        lambda f: f["runs"] > 1 and not f["same_rows"],
        "The {runs} runs are not on the same rows: differences are over seeds alone, without the paired bootstrap.",
        "runs",
    ),
)  # fmt: skip


def said(facts: Facts) -> tuple[Said, ...]:
    """The rules whose condition these facts meet, in the order of `RULES`.

    >>> RULES[0].kind, sorted({rule.kind for rule in RULES})
    ('advice', ['advice', 'warning'])
    """
    met = [rule for rule in RULES if rule.when(facts)]
    return tuple(Said(rule.key, rule.kind, rule.says.format(**facts), float(facts[rule.number])) for rule in met)
