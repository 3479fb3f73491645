"""The chains of the Play sheet: small pieces of mathematics in the language of the steps, one for each section."""

from __future__ import annotations

from labelsmooth.maths.case import Case, Chain, K, eps
from labelsmooth.maths.conventions import ALL, OTHERS, Family
from labelsmooth.maths.expr import (
    Expr,
    Named,
    above,
    absolute,
    equal,
    exp,
    given,
    largest,
    log,
    log10,
    step,
    total,
    where,
)

SMALLEST_LOG = -690  # ln p above which p is a normal float64, so that LOG(p) is what it should be
SMALLEST_LOSS = 0.01  # below it, LOG(p) of a p near 1 has too few digits for the ratio

label_mean = given("label_mean", "H̄(q,p)", r"\bar H(q,p)", "", "the loss at ε = 0, from Steps")
prior_mean = given("prior_mean", "H̄(v,p)", r"\bar H(v,p)", "", "cross-entropy with what ε is spread over, from Steps")


def over_epsilon(case: Case, *, with_floor: bool) -> Chain:
    """The loss at each ε of a table, and the lowest loss possible there."""
    tried = given("epsilon_tried", "ε", r"\varepsilon", "n", "a smoothing to try")
    loss = step("loss_tried", "L(ε)", "L", case.family.keep(tried, K) * label_mean + case.family.spread(tried, K) * prior_mean,
                "the loss at that ε: a straight line between two cross-entropies", block="The loss over ε")  # fmt: skip
    return Chain(case, (loss, *(floor(case.family, tried, "tried") if with_floor else ())))


def floor(family: Family, e: Named, suffix: str) -> tuple[Named, Named, Named]:
    """Target elsewhere, target at the label, and the lowest loss they allow."""
    off_value = family.spread(e, K) / (K if family.over == ALL else K - 1)
    off = step(f"off_{suffix}", "q′ off", "q'_0", off_value, "target of a wrong class")
    on_value = family.keep(e, K) + off_value if family.over == ALL else family.keep(e, K)
    on = step(f"on_{suffix}", "q′ on", "q'_1", on_value, "target of the right class")
    mass = on + (K - 1) * off
    right, wrong = (where(above(x, 0), x * log(x if "sums to one" in family.laws else x / mass), 0) for x in (on, off))
    return (
        off,
        on,
        step(f"floor_{suffix}", "floor", "f", -right - (K - 1) * wrong, "the lowest loss possible at that ε"),
    )


def comparable(case: Case) -> bool:
    """Whether other conventions follow from the sheet's two means: labels are classes, and nothing is weighted."""
    return not (case.soft or case.prior or case.mask or case.weighting) and case.family.over in (ALL, OTHERS)


def convention_line(case: Case, family: Family) -> Chain:
    """Off, on, sum, loss, floor and KL of one convention, from the two means on Steps."""
    mine = case.family.over
    uniform: Expr = prior_mean if mine == ALL else ((K - 1) * prior_mean + label_mean) / K
    others: Expr = prior_mean if mine == OTHERS else (K * prior_mean - label_mean) / (K - 1)
    off, on, low = floor(family, eps, "here")
    mass = step("mass_here", "Σq′", "C", on + (K - 1) * off, "what the target sums to")
    loss = step(
        "loss_here",
        "L",
        "L",
        family.keep(eps, K) * label_mean + family.spread(eps, K) * (uniform if family.over == ALL else others),
        "loss",
    )
    return Chain(case, (off, on, mass, loss, low, step("kl_here", "KL", "D", loss - low, "the loss above its floor")))


def trap(steps: Chain) -> Chain:
    """The loss with LOG beside the loss with LN.

    Where p is too small for LOG, 0 is shown. That is asked of ln p: an engine may take a p below 2e-16 for 0.
    """
    p, ell, c = steps["softmax"], steps["log_softmax"], steps["charged" if "charged" in steps else "target"]
    tens = step(
        "log_ten",
        "log₁₀ p",
        r"\log_{10} p",
        _reachable(steps.case.allowed, where(above(ell, SMALLEST_LOG), log10(p), 0)),
        "LOG is base 10",
        block="The trap: LOG where LN is meant",
    )
    wrong = step("wrong_loss", "with LOG", "h_{10}", -total("k", c * tens), "what the sheet shows with LOG")
    right = step("right_loss", "with LN", "h", -total("k", c * ell), "the loss, with LN")
    ratio = step(
        "trap_ratio",
        "ratio",
        "r",
        where(above(absolute(right), SMALLEST_LOSS), wrong / right, 0),
        "every row is 0.4343 = 1/ln 10 of the truth (0: a loss too small to tell): that is how to know",
    )
    return Chain(steps.case, (tens, wrong, right, ratio))


def _reachable(allowed: Named | None, x: Expr) -> Expr:
    """`x`, or 0 for a class that is masked."""
    return x if allowed is None else where(equal(allowed, 1), x, 0)


def heated(case: Case) -> Chain:
    """Softmax and loss of one row at each temperature of a table."""
    hot = given("temperature", "T", "T", "n", "temperature: 1 leaves the logits as they are")
    z = given("chosen_logits", "z", "z", "k", "the row's logits")
    c = given("chosen_target", "q′", "q'", "k", "the row's target")
    allowed = given("chosen_allowed", "A", "A", "k", "the row's classes that may be predicted") if case.mask else None
    top = step("chosen_max", "m", "m", largest("k", z), "its largest logit")
    e = step(
        "heated_exponential",
        "e",
        "e",
        _reachable(allowed, exp((z - top) / hot)),
        "exponentials of the logits over T",
        block="Exponentials at each temperature",
    )
    s = step("heated_sum", "s", "s", total("k", e), "their sum")
    soft = step(
        "heated_softmax",
        "p(T)",
        "p_T",
        e / s,
        "the prediction at that temperature",
        block="Prediction at each temperature",
    )
    ell = step(
        "heated_log",
        "ln p(T)",
        r"\ell_T",
        _reachable(allowed, (z - top) / hot - log(s)),
        "its logarithm",
        block="ln of the prediction",
    )
    loss = step(
        "heated_loss",
        "h(T)",
        "h_T",
        -total("k", c * ell),
        "the row's loss at that temperature",
        block="The loss at each temperature",
    )
    return Chain(case, (top, e, s, soft, ell, loss))
