"""The chain: label-smoothed cross-entropy, a line per step.

*A step is a named value over rows, classes, both or neither; everything else in this repository prints a step, trains with
it, or checks it.* A step has a word, a symbol, a formula and a sentence. `chain` returns the steps that one case needs:
without class weights no step mentions weights, so the plain loss reads −Σ q'·ln p and not a general formula with factors
of 1. The branches below choose *which* lines there are; no printer ever simplifies a line.

Notation is the paper's: q the label, q' the smoothed target, p the prediction, u the prior, ε the smoothing, K the number
of classes. c is the mass a row charges to each class (q' times its weights); every convention has the one gradient
(p·Σc − c)/D.

`python -m labelsmooth.maths.steps [CONVENTION]` prints the chain as a table.

Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (2016), section 7.
"""
# ruff: noqa: E501  a step is one line: its formula and its sentence are read together
# fmt: off

from __future__ import annotations

import sys
from math import pi, sqrt

from .case import Case, Chain, K, N, count_row, ignore, j, t, w, y, z
from .conventions import NEIGHBOURS, NOT_PADDING, OTHERS, convention_named
from .expr import INFINITY, Expr, Named, Operand, above, absolute, equal, exp, largest, log, step, total, where
from .printers import text


class Lines(dict[str, Named]):
    """The steps written so far, by their word."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        self.eps = case.epsilon
        self.q = t  # the label; `_target` puts the one-hot here when labels are class numbers
        self.v = case.given_prior  # where ε goes; None stands for 1/K in every class
        self.keep = count_row if case.ignored else None

    def add(self, word: str, symbol: str, tex: str, formula: Operand, says: str, block: str = "") -> Named:
        """Write the next step and hand it back; `block` opens a heading on the sheet."""
        self[word] = step(word, symbol, tex, formula, says, block=block)
        return self[word]

    def counted(self, x: Expr) -> Expr:
        """`x`, or 0 in a row that is ignored."""
        return x if self.keep is None else where(equal(self.keep, 1), x, 0)

    def reachable(self, x: Expr) -> Expr:
        """`x`, or 0 for a class that is masked."""
        return x if self.case.allowed is None else where(equal(self.case.allowed, 1), x, 0)


def chain(case: Case = Case()) -> Chain:  # noqa: B008  a frozen default
    """Return the steps of a case.

    >>> [s.word for s in chain().steps][:4]
    ['one_hot', 'target', 'row_max', 'exponential']
    """
    if case.family.link != "softmax":
        raise ValueError(f"the target {case.family.name!r} is not a softmax target: it is there for smooth_labels only")
    lines = Lines(case)
    for part in (_target, _prediction, _charge, _loss, _decomposition, _floor, _optimum, _gradient):
        part(lines)
    return Chain(case, tuple(lines.values()))


def target_chain(case: Case) -> Chain:
    """Return the steps up to the smoothed target: all that `smooth_labels` needs."""
    lines = Lines(case)
    _target(lines)
    return Chain(case, tuple(lines.values()))


def _target(lines: Lines) -> None:
    """The label q, which rows count, and the smoothed target q'."""
    case, family, eps = lines.case, lines.case.family, lines.eps
    if not case.soft:
        lines.q = lines.add("one_hot", "q", "q", equal(j, y), "the label as a distribution: 1 at the right class, 0 elsewhere", "The label, one-hot")
    if case.ignored and not case.soft:
        lines.keep = lines.add("keep", "κ", r"\kappa", where(equal(y, ignore), 0, 1), "1 for a row that counts, 0 for one that is ignored")
    _spread(lines)
    mass = family.spread(eps, K)
    spread = mass / K if lines.v is None else mass * lines.v
    lines.add("target", "q′", "q'", family.keep(eps, K) * lines.q + spread, "the label keeps its share, the rest is spread", "The smoothed target")


def _spread(lines: Lines) -> None:
    """The distribution v that the mass is spread over, where it is neither 1/K nor the given prior."""
    case, q = lines.case, lines.q
    if case.family.over == OTHERS:
        lines.v = lines.add("spread", "v", "v", (1 - q) / (K - 1), "the wrong classes alike", "Where ε goes")
    if case.family.over == NOT_PADDING:
        free = lines.add("not_padding", "o", "o", where(equal(j, ignore), 0, 1), "0 for the padding class, 1 for the others", "The padding class gets nothing")
        lines.v = lines.add("spread", "v", "v", (1 - q) * free / (K - 2), "the classes that are neither the label nor padding", "Where ε goes")
    if case.family.over == NEIGHBOURS:
        width = lines.add("width", "σ", r"\sigma", 1 - lines.eps, "width of the density")
        far = lines.add("distance", "d", "d", (j - y) / width, "distance from the label, in widths", "Distance from the label")
        lines.v = lines.add("spread", "v", "v", exp(-(far * far) / 2) / (width * sqrt(2 * pi)), "a normal density, not normalised", "Where ε goes")
    if case.allowed is not None:
        free = case.allowed
        if lines.v is not None:
            free = lines.add("free_prior", "ũ", r"\tilde{u}", lines.v * case.allowed, "the prior of the classes that may be predicted", "The prior without the masked classes")
        room = lines.add("free_mass", "r", "r", total("k", free), "what is left of the prior")
        lines.v = lines.add("spread", "v", "v", free / room, "the prior, renormalised over the classes that may be predicted", "Where ε goes")


def _prediction(lines: Lines) -> None:
    """Logits to probabilities and their logarithms."""
    usable, allowed = z, lines.case.allowed
    if allowed is not None:
        usable = lines.add("masked_logits", "z̃", r"\tilde{z}", where(equal(allowed, 1), z, -INFINITY), "the logits, masked classes out of reach", "The logits that may be predicted")
    top = lines.add("row_max", "m", "m", largest("k", usable), "the row's largest logit")
    if lines.case.as_post:
        plain = lines.add("plain_exponential", "E", "E", exp(z), "exponentials as they stand; EXP overflows at 710", "Exponentials, as they stand")
        plain_sum = lines.add("plain_sum", "S", "S", total("k", plain), "their sum over the classes")
        lines.add("plain_softmax", "P", "P", plain / plain_sum, "probabilities from the exponentials as they stand", "Softmax, from the exponentials as they stand")
    e = lines.add("exponential", "e", "e", lines.reachable(exp(z - top)), "exponentials with the largest logit taken out: never above 1", "Exponentials, shifted: same result, cannot overflow")
    s = lines.add("exponential_sum", "s", "s", total("k", e), "their sum over the classes")
    lines.add("softmax", "p", "p", e / s, "the prediction: probabilities that sum to 1", "Softmax: the probabilities")
    lines.add("log_softmax", "ℓ", r"\ell", lines.reachable(z - top - log(s)), "natural logarithm of the probabilities: LN, not LOG", "ln of the probabilities")


def _charge(lines: Lines) -> None:
    """What the mean divides by, and what class weights make of the target."""
    case, q, target = lines.case, lines.q, lines["target"]
    weighting = case.weighting
    rows: Named | Expr = N
    if lines.keep is not None and case.reduction == "mean":
        rows = lines.add("counted_rows", "N′", "N'", total("n", lines.keep), "the number of rows that count", "The mean")
    if weighting is None:
        return
    weighs = target if weighting.charge == "expected" else q
    says = "the weight that the row's target expects" if weighting.charge == "expected" else "the weight of the row's label"
    weight = lines.add("label_weight", "ω", r"\omega", lines.counted(total("k", weighs * w)), says, "The class weights")
    if case.reduction == "mean" and weighting.divisor != "rows":
        lines.add("weight_sum", "W", "W", total("n", weight), "the sum of the rows' weights")
    if weighting.charge == "class":
        charged: Expr = target * w
    elif weighting.charge == "nll":
        kept = case.family.keep(lines.eps, K) * (q * w)
        if case.reduction == "mean" and weighting.divisor == "apart":
            kept = kept * lines.add("label_factor", "φ", r"\varphi", rows / lines["weight_sum"], "rows over weights: the label's part is averaged by weight, the rest by rows")
        mass = case.family.spread(lines.eps, K)
        charged = kept + (mass / K if lines.v is None else mass * lines.v)
    else:
        charged = target * weight
    lines.add("charged", "c", "c", charged, "mass charged to each class: the target times its weights", "The charged mass")


def _divisor(lines: Lines) -> Expr:
    """What the mean divides by."""
    weighting = lines.case.weighting
    if weighting is not None and weighting.divisor == "weights":
        return lines["weight_sum"]
    return lines.get("counted_rows", N)


def _loss(lines: Lines) -> None:
    """The loss of each row and of the batch."""
    ell, c = lines["log_softmax"], lines.get("charged", lines["target"])
    crossed = lines.counted(-total("k", c * ell))
    if lines.case.divergence == "kl":
        ln_q = lines.add("target_log", "ln q′", r"\lambda", _safe_log(c, c), "logarithm of the target; 0·ln 0 counts as 0", "ln of the target")
        own = lines.add("target_entropy", "H(q′)", "H(q')", lines.counted(-total("k", c * ln_q)), "entropy of the target")
        cross = lines.add("cross_entropy", "H(q′,p)", "H(q',p)", crossed, "cross-entropy of the target and the prediction", "The loss of each row")
        lines.add("row_loss", "h", "h", cross - own, "loss of the row: KL(q′‖p) = H(q′,p) − H(q′)")
    else:
        lines.add("row_loss", "h", "h", crossed, "loss of the row: minus the sum of target times ln p", "The loss of each row")
    summed = total("n", lines["row_loss"])
    if lines.case.reduction == "mean":
        lines.add("loss", "L", "L", summed / _divisor(lines), "loss of the batch: the mean")
    elif lines.case.reduction == "sum":
        lines.add("loss", "L", "L", summed, "loss of the batch: the sum")


def _decomposition(lines: Lines) -> None:
    """The paper's identity: H(q',p) = (1−ε)·H(q,p) + ε·H(u,p)."""
    case, q, v, ell = lines.case, lines.q, lines.v, lines["log_softmax"]
    charge = case.weighting.charge if case.weighting else ""
    label = -total("k", q * w * ell) if charge in ("class", "nll") else -total("k", q * ell)
    if charge == "class":
        prior = -(total("k", w * ell) / K) if v is None else -total("k", v * w * ell)
    else:
        prior = -(total("k", ell) / K) if v is None else -total("k", v * ell)
    if "label_factor" in lines:
        label = lines["label_factor"] * label
    if charge in ("label", "expected"):
        label, prior = lines["label_weight"] * label, lines["label_weight"] * prior
    of_v = "u" if case.family.over == "all" else "v"
    h_label = lines.add("label_loss", "H(q,p)", "H(q,p)", lines.counted(label), "cross-entropy with the label alone", "The paper's decomposition")
    h_prior = lines.add("prior_loss", f"H({of_v},p)", f"H({of_v},p)", lines.counted(prior), "cross-entropy with what ε is spread over")
    a = lines.add("label_term", "A", "A", case.family.keep(lines.eps, K) * h_label, "the label's share of the loss")
    b = lines.add("prior_term", "B", "B", case.family.spread(lines.eps, K) * h_prior, "the prior's share of the loss")
    both = lines.add("mixture", "A+B", "M", a + b, "the two shares together: the cross-entropy again")
    lines.add("mixture_gap", "|Δ|", r"\Delta", absolute(both - lines.get("cross_entropy", lines["row_loss"])), "how far the two ways differ: rounding only")


def _floor(lines: Lines) -> None:
    """The smallest loss any prediction can reach, and what is left above it."""
    case, c = lines.case, lines.get("charged", lines["target"])
    row_loss, title = lines["row_loss"], "The floor, and what can still be gained"
    if case.divergence == "kl":
        floor = lines.add("row_floor", "f", "f", 0, "KL reaches 0, where the prediction is the target", title)
    else:
        mass = None if case.plain else lines.add("charged_sum", "C", "C", total("k", c), "mass that the row charges", title)
        ln_c = lines.add("target_log", "ln q′" if case.plain else "ln c", r"\lambda", _safe_log(c, c if mass is None else c / mass),
                         "logarithm of the target; 0·ln 0 counts as 0", title if mass is None else "")
        floor = lines.add("row_floor", "f", "f", lines.counted(-total("k", c * ln_c)), "the smallest loss this row can have, reached at p = q′" if case.plain else "the smallest loss this row can have, reached at p = c/C")
    lines.add("row_excess", "h−f", "x", row_loss - floor, "what is left above the floor")
    if case.reduction != "none":
        whole: Operand = floor
        if floor.axes:
            whole = total("n", floor) / _divisor(lines) if case.reduction == "mean" else total("n", floor)
        lines.add("loss_floor", "F", "F", whole, "the smallest loss this batch can have")
        lines.add("loss_excess", "L−F", "X", lines["loss"] - lines["loss_floor"], "what is left above the floor")


def _optimum(lines: Lines) -> None:
    """How far the loss wants the right logit above the others: finite as soon as ε > 0."""
    case, eps, title = lines.case, lines.eps, "The optimum"
    says = "by how much the best logit of the label exceeds the others: infinite at ε = 0"
    if case.soft or case.prior or case.mask or case.weighting:
        c = lines.get("charged", lines["target"])
        top = lines.add("top_mass", "c*", "c^*", largest("k", c), "the largest mass of the row", title)
        lines.add("optimum_gap", "g*", "g^*", where(above(c, 0), log(top / c), INFINITY), "how far the best logits lie below the largest")
        return
    others = {OTHERS: K - 1, NOT_PADDING: K - 2}.get(case.family.over)
    off_value = case.family.spread(eps, K) / (K if others is None else others)
    off = lines.add("off", "q′ off", "q'_0", off_value, "target of a wrong class", title)
    kept = case.family.keep(eps, K)
    on = lines.add("on", "q′ on", "q'_1", kept + off if others is None else kept, "target of the right class")
    lines.add("optimum_gap", "g*", "g^*", where(above(off, 0), where(above(on, 0), log(on / off), -INFINITY), INFINITY), says)


def _gradient(lines: Lines) -> None:
    """The push on each logit: prediction minus target."""
    case, p, c = lines.case, lines["softmax"], lines.get("charged", lines["target"])
    push = p - c if case.plain else p * lines.get("charged_sum", c) - c
    formula = push / _divisor(lines) if case.reduction == "mean" else push
    what = {"mean": "the mean", "sum": "the sum", "none": "each row's own loss"}[case.reduction]
    lines.add("gradient", "g", "g", lines.counted(formula), f"derivative of {what} by the logit: it sums to 0 over the classes", "The gradient")


def _safe_log(mass: Named, x: Expr) -> Expr:
    return where(above(mass, 0), log(x), 0)


def main(convention: str = "torch") -> str:
    """Return the chain of a convention as a table: word, symbol = formula, sentence."""
    row = convention_named(convention)
    ignored = row.family.over == NOT_PADDING  # a row of padding does not count
    steps = chain(Case(row.family, row.divergence, ignored=ignored)).steps
    lines = [(s.word, f"{s.symbol} = {text(s.formula)}", s.says) for s in steps if s.formula is not None]
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    return "\n".join(f"{word:{widths[0]}}  {formula:{widths[1]}}  {says}" for word, formula, says in lines) + "\n"


if __name__ == "__main__":
    try:
        sys.stdout.write(main(*sys.argv[1:2]))
    except ValueError as fault:
        sys.exit(str(fault))
