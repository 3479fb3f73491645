"""The causes: every convention and famous mistake that the diagnosis knows, as data.

A target or a meaning of class weights is a row of `maths/conventions.py` and becomes a cause here without a line; the rest of this
file is what can befall logits, labels, rows, logarithm and divisor. Which of them a batch can show is decided by its `Facts`.
Words for one framework stand beside the general advice, where the framework has a word of its own for it.
"""
# ruff: noqa: E501  a cause is a row: what happened and what to do are read together

from __future__ import annotations

from collections.abc import Iterator
from math import log

from labelsmooth.maths.conventions import FAMILIES, NOT_PADDING, WEIGHTINGS

from ._recipes import MEAN, ROUND_TEMPERATURES, SIGMOID_MEAN, SIGMOID_SUM, SUM, Cause, Facts, Recipe

LOG_BASE = (
    Cause("log base 10", {"base": 1 / log(10)}, "the logarithm is to base 10", "use the natural logarithm",
          {"spreadsheet": "replace LOG by LN", "torch": "replace torch.log10 by torch.log", "numpy": "replace np.log10 by np.log"}),
    Cause("log base 2", {"base": 1 / log(2)}, "the logarithm is to base 2 (bits)", "multiply by ln 2 = 0.693147",
          {"fairseq": "its log shows bits: multiply by ln 2 = 0.693147", "spreadsheet": "replace LOG(x,2) by LN(x)"}),
)  # fmt: skip
SCORES = (
    Cause("softmax twice", {"scores": "softmax twice"},
          "softmax was applied twice: probabilities were passed where logits belong", "pass logits, not probabilities",
          {"torch": "remove the softmax before cross_entropy", "keras": "pass from_logits=False, or remove the last softmax",
           "optax": "pass logits to softmax_cross_entropy, not probabilities"}),
    Cause("softmax missing", {"scores": "logits for log-probabilities"},
          "logits were taken for log-probabilities: no softmax at all", "apply log-softmax first",
          {"torch": "pass log_softmax(logits, dim=-1) to nll_loss, or use cross_entropy",
           "fairseq": "pass get_normalized_probs(..., log_probs=True)"}),
    Cause("logarithm missing", {"scores": "probabilities for log-probabilities"},
          "probabilities were taken for log-probabilities: the logarithm is missing", "take the logarithm of the softmax",
          {"torch": "use log_softmax, not softmax, before nll_loss", "spreadsheet": "put LN around the probability"}),
    Cause("logits taken for probabilities", {"scores": "logits for probabilities"},
          "logits were taken for probabilities: divided by their sum, clipped to 1e-7, and no softmax",
          "apply softmax first", {"keras": "pass from_logits=True"}),
    Cause("sigmoid for softmax", {"scores": "sigmoid"}, "a sigmoid of each logit stands where softmax belongs",
          "use softmax over the classes"),
    Cause("LOG10 in the log-sum-exp", {"scores": "log10 of the sum"},
          "only the logarithm of the sum of exponentials is to base 10", "use the natural logarithm of the sum",
          {"spreadsheet": "replace LOG by LN in the log-sum-exp"}),
    Cause("LOG10 in the shifted log-sum-exp", {"scores": "log10 of the shifted sum"},
          "only the logarithm of the sum of shifted exponentials is to base 10", "use the natural logarithm of the sum",
          {"spreadsheet": "replace LOG by LN in the log-sum-exp"}),
    Cause("probabilities clipped at 1e-7", {"scores": "clipped"}, "probabilities below 1e-7 were raised to 1e-7",
          "pass logits to the loss", {"keras": "pass from_logits=True"}),
)  # fmt: skip
OVERFLOW = Cause("float16 overflow", {"scores": "float16"},
                 "float16: the sum of a row's log-probabilities is beyond 65504 and becomes infinite", "compute the loss in float32",
                 {"torch": "call cross_entropy on logits.float()"})  # fmt: skip
OVER_ROWS = Cause("softmax over the wrong axis", {"scores": "softmax over rows"},
                  "softmax was taken over the rows, not over the classes", "take softmax over the axis of classes",
                  {"torch": "pass dim=-1 to softmax", "numpy": "pass axis=-1"})  # fmt: skip
DIVERGENCES = {
    "kl": Cause("KL divergence", {"divergence": "kl"}, "the KL divergence: cross-entropy less the target's own entropy",
                "add the entropy of the target, or compare KL with KL",
                {"torch": "use cross_entropy instead of KLDivLoss, or add the entropy of the target"}),
    "ce": Cause("cross-entropy for KL", {"divergence": "ce"}, "the cross-entropy, from which the target's entropy is not subtracted",
                "subtract the entropy of the target"),
    "swapped": Cause("arguments swapped", {"divergence": "swapped"}, "target and prediction changed places: −Σ p·ln q′",
                     "swap the two arguments"),
    "reverse": Cause("KL the other way round", {"divergence": "reverse"}, "KL(p‖q′) instead of KL(q′‖p)",
                     "swap the two arguments, and mind that KL is less than the cross-entropy",
                     {"torch": "kl_div takes log-probabilities first and the target second"}),
}  # fmt: skip
SIGN = Cause("sign lost", {"sign": -1}, "the minus before the sum is missing, or there is one too many", "negate")
NO_SMOOTHING = Cause("no smoothing", {"epsilon": 0.0}, "ε is 0: the smoothing was not applied", "check that ε arrives at the loss",
                     {"torch": "pass label_smoothing to cross_entropy (a negative or NaN one is silently 0)",
                      "keras": "SparseCategoricalCrossentropy has no label_smoothing up to 3.15: use CategoricalCrossentropy"})  # fmt: skip
TEMPERATURES = tuple(
    Cause(f"temperature {t:g}", {"temperature": t}, f"the logits were divided by {t:g}", f"multiply the logits by {t:g}")
    for t in ROUND_TEMPERATURES
)  # fmt: skip


def family_causes(facts: Facts, base: Recipe) -> Iterator[Cause]:
    """The other targets, those of the conventions' table."""
    for family in FAMILIES.values():
        if facts.classes < family.smallest or (facts.soft and "soft" not in family.accepts):
            continue
        fix = f"the target is {family.name}: {'correct it' if family.mistake else 'use the ε that is equal'}"
        if family.link == "sigmoid":
            yield from _binary(family.name, family.says)
        elif family.over == NOT_PADDING:
            for pad in dict.fromkeys([0, facts.classes - 1, facts.ignore_index]):
                if 0 <= pad < facts.classes and (family.name, pad) != (base.family, base.padding):
                    changes = {"family": family.name, "padding": pad, "link": "softmax"}
                    yield Cause(f"target {family.name} (class {pad})", changes, f"{family.says}, class {pad}", fix)
        elif family.name != base.family:
            yield Cause(f"target {family.name}", {"family": family.name, "link": "softmax"}, family.says, fix)
    if not facts.soft:
        yield from _binary("uniform", "each class is a yes or no of its own, with the softmax target")


def _binary(family: str, says: str) -> Iterator[Cause]:
    for link in (SIGMOID_MEAN, SIGMOID_SUM):
        how = link.partition(", ")[2]
        yield Cause(f"binary cross-entropy, {family} target, {how} over classes", {"family": family, "link": link},
                    f"{says}; {how} over the classes", "use the softmax cross-entropy",
                    {"torch": "use cross_entropy, not binary_cross_entropy_with_logits",
                     "keras": "use CategoricalCrossentropy, not BinaryCrossentropy"})  # fmt: skip


def label_causes(facts: Facts) -> Iterator[Cause]:
    """What can befall the labels."""
    for step, word in ((1, "high"), (-1, "low")):
        yield Cause(f"labels one too {word}", {"labels": f"{step:+d}"}, f"the labels are one too {word}, around the end",
                    "count classes from 0 on both sides", {"spreadsheet": "MATCH counts from 1: subtract or add 1"})  # fmt: skip
    yield Cause(
        "classes reversed",
        {"labels": "reversed"},
        "the classes are in the opposite order",
        "put the classes in one order",
    )
    if facts.sorted_differs:
        yield Cause("classes in sorted order", {"labels": "sorted"}, "the labels count the class names in alphabetical order",
                    "map names to columns explicitly", {"torch": "ImageFolder sorts class names: use its class_to_idx"})  # fmt: skip
    if facts.rows > 1:
        for word in ("next", "previous"):
            for how, says in (("rolled", "around the end"), ("cut", "the row without one left out")):
                yield Cause(f"labels of the {word} row ({how})", {"labels": f"{word}, {how}"},
                            f"each row has the label of the {word} row, {says}", "shift labels or logits by one position",
                            {"transformers": "causal models shift inside: pass labels unshifted",
                             "torch": "compare logits[:, :-1] with labels[:, 1:]"})  # fmt: skip


def row_causes(facts: Facts) -> Iterator[Cause]:
    """What can become of rows that do not count, and of a class taken for padding."""
    if facts.ignored:
        for name, says in (
            ("counted in the divisor", "ignored rows add nothing and are counted in the mean"),
            ("taken for class 0", "ignored rows count as rows of class 0"),
            (
                "keep the uniform part",
                "ignored rows lose the label's part and keep the smoothing's, counted in the mean",
            ),
            ("become uniform", "ignored rows get a uniform target and count"),
        ):
            yield Cause(f"ignored rows {name}", {"rows": name}, says, "leave ignored rows out of sum and divisor",
                        {"fastai": "the loss has no ignore_index: take the rows out before", "torch": "pass ignore_index"})  # fmt: skip
    for pad in (0, facts.classes - 1):
        if pad in facts.labels and len(facts.labels) > 1:
            for counted, how in ((False, "dropped"), (True, "counted in the divisor")):
                yield Cause(f"class {pad} taken for padding ({how})", {"rows": f"padding {pad}{' counted' * counted}"},
                            f"rows with label {pad} were left out as padding, {how}", "say which class is padding, or none",
                            {"apex": "pass padding_idx=-1 (0 by default)", "speechbrain": "pass pad_idx (0 by default)"})  # fmt: skip


def weight_causes(facts: Facts, base: Recipe) -> Iterator[Cause]:
    """The other meanings of class weights, and none; and the prior that was not used."""
    if facts.weighted:
        for row in WEIGHTINGS.values():
            if row.name != base.weighting:
                yield Cause(f"weights {row.name}", {"weighting": row.name}, f"class weights as in {row.users}: {row.says}",
                            "use one meaning of class weights on both sides")  # fmt: skip
        if base.weighting:
            yield Cause(
                "weights not applied", {"weighting": ""}, "the class weights were not applied", "pass the class weights"
            )
    if facts.prior and base.prior == "given":
        yield Cause("prior not applied", {"prior": "uniform"}, "ε is spread uniformly, not over the prior", "pass the prior",
                    {"torch": "cross_entropy knows the uniform prior only: mix the target yourself"})  # fmt: skip


def divisor_causes(facts: Facts, base: Recipe) -> Iterator[Cause]:
    """What the sum can be divided by."""
    for name, (says, fix, words) in _divisors(facts).items():
        if name != base.divisor:
            yield Cause(
                f"{'reduction' if name in (MEAN, SUM) else 'divisor'} {name}", {"divisor": name}, says, fix, words
            )


def _divisors(facts: Facts) -> dict[str, tuple[str, str, dict[str, str]]]:
    """What happened, what to do, and words for one framework, by divisor."""
    known = {}
    if facts.per_row:
        known["classes"] = ("each row is divided by the number of classes", "sum over the classes, not mean",
                            {"torch": "sum kl_div's elements over the classes", "spreadsheet": "replace AVERAGE by SUM"})  # fmt: skip
        if facts.rows > 1:
            known["rows"] = ("each row is divided by the number of rows", "leave the division to the mean", {})
    else:
        known[MEAN] = (
            "the mean over the rows, not the sum",
            "multiply by the number of rows",
            {"torch": "pass reduction='sum'"},
        )
        known[SUM] = ("the sum over the rows, not the mean", "divide by the number of rows",
                      {"torch": "pass reduction='mean'", "spreadsheet": "replace SUM by AVERAGE"})  # fmt: skip
        known["elements"] = ("the mean over rows and classes: divided by N·K", "divide by the number of rows only",
                             {"torch": "pass reduction='batchmean' to kl_div"})  # fmt: skip
        known["twice"] = ("divided twice by the number of rows", "take the mean once", {})
        if facts.sequences > 1:
            known["sequences"] = ("the sum divided by the number of sequences", "divide by the number of rows",
                                  {"espnet": "pass normalize_length=True", "wenet": "pass normalize_length=True"})  # fmt: skip
            known["mean of means"] = ("the mean of the sequences' means", "take one mean over all rows", {})
    if facts.weighted:
        known["weights"] = ("divided by the sum of the labels' weights", "divide by the number of rows", {})
    return known


def causes_for(facts: Facts, base: Recipe, *, smoothing_given: bool) -> tuple[Cause, ...]:
    """Every cause that is possible for a batch and changes the recipe one believes in."""
    found: list[Cause] = [*LOG_BASE, *SCORES]
    if facts.rows > 1:
        found.append(OVER_ROWS)
    if facts.overflows:
        found.append(OVERFLOW)
    found += [cause for key, cause in DIVERGENCES.items() if key != base.divergence]
    found += family_causes(facts, base)
    if smoothing_given and base.epsilon > 0:
        found.append(NO_SMOOTHING)
    found += label_causes(facts)
    found += weight_causes(facts, base)
    found += row_causes(facts)
    found += divisor_causes(facts, base)
    found += [SIGN, *TEMPERATURES]
    names = [cause.name for cause in found]
    if len(set(names)) != len(names):
        raise ValueError(f"two causes are called {min(name for name in names if names.count(name) > 1)!r}")
    return tuple(found)
