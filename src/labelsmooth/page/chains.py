"""The mathematics of the page: small chains in the language of the steps, printed into `core.js` and never written twice.

The loss itself is `maths.steps.chain`, with one function for each target that the page offers. What stands here is what the page
asks beyond it: the loss along the gap between logits, a training run of free logits, a temperature, and the famous mistakes, cut
into the three stages at which they happen (target, logarithm, batch) so that any of them can be combined.

`python -m labelsmooth.page.chains` prints `core.js`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator

from labelsmooth.maths.case import Case, Chain, K, N, eps, leaves, z
from labelsmooth.maths.conventions import ALL, FAMILIES, OTHERS, Family
from labelsmooth.maths.expr import Named, above, absolute, exp, given, largest, log, step, total, where
from labelsmooth.maths.printers import JS_HEAD, javascript_function
from labelsmooth.maths.steps import chain

from . import classifier
from .classifier import rate

SHOWN = ("uniform", "others")  # the targets one can switch between
WRONG_TARGETS = ("uniform", "others", "unnormalised", "1/K for ε/K", "smoothed twice")
LOGARITHMS = ("once", "missing", "twice")

gap = given("gap", "g", "g", "", "by how much the label's logit exceeds the others, which are equal")
hot = given("temperature", "T", "T", "", "temperature: 1 leaves the logits as they are")
ell = given("wrong_log", "ℓ̃", r"\tilde{\ell}", "nk", "what stands where ln p belongs")
wrong = given("target", "q′", "q'", "nk", "the target, right or not")
base_ten = given("base_ten", "b", "b", "", "1 where LOG stands for LN")
summed = given("summed", "s", "s", "", "1 where the rows are summed, not averaged")


def fits(family: Family) -> bool:
    """Whether the page can show a target: a softmax's, spread over all or over the wrong classes, that sums to 1."""
    return family.link == "softmax" and family.over in (ALL, OTHERS) and "sums to one" in family.laws


def needed(whole: Chain, *words: str) -> Chain:
    """Cut a chain down to what some of its words depend on.

    >>> [s.word for s in needed(chain(), "optimum_gap").steps]
    ['off', 'on', 'optimum_gap']
    """
    keep, waiting = set(), [whole[word] for word in words]
    while waiting:
        one = waiting.pop()
        if one.word not in keep:
            keep.add(one.word)
            waiting.extend(leaves(one.formula))
    return Chain(whole.case, tuple(s for s in whole.steps if s.word in keep))


def _more(whole: Chain, *lines: Named) -> Chain:
    return Chain(whole.case, (*whole.steps, *lines))


def loss(family: Family) -> Chain:
    """Every step of the loss, and what the page says about it: the push on each logit, with and without smoothing."""
    whole = chain(Case(family))
    p, q, soft = whole["softmax"], whole["one_hot"], whole["target"]
    push = step(
        "push", "q′−p", "d", soft - p, "how the row's own loss pushes each logit: up where the target is larger"
    )
    plain = step("plain_push", "q−p", "d_0", q - p, "the same without smoothing")
    far = step(
        "uniform_excess", "KL(u‖p)", "x_u", whole["prior_loss"] - log(K), "how far the prediction is from uniform"
    )
    return _more(whole, push, plain, *([far] if family.over == ALL else []))


def optimum(family: Family) -> Chain:
    """Where the loss stops, and the ε of the paper's target that is the same."""
    short = needed(chain(Case(family)), "optimum_gap")
    kept = step("kept", "a", "a", family.keep(eps, K), "what the label keeps before anything comes back")
    dealt = step("spread_mass", "b", "b", family.spread(eps, K), "what is dealt out")
    lead = step("lead", "g*", "g^*", log(short["on"] / short["off"]), "the gap again, where both targets are above 0")
    return _more(short, kept, dealt, _same(short), lead)


def _same(steps: Chain) -> Named:
    return step("same_epsilon", "ε′", r"\varepsilon'", K * steps["off"], "the paper's ε with the same target")


def target(family: Family) -> Chain:
    """The target of a family, what it sums to, and where that is 1 the paper's ε with the same target."""
    short = needed(chain(Case(family)), "target", "optimum_gap")
    mass = step("target_sum", "Σq′", "C", total("k", short["target"]), "what the target sums to")
    return _more(short, mass, *([_same(short)] if "sums to one" in family.laws else []))


def along_gap(family: Family) -> Chain:
    """The loss of a row whose wrong logits are equal, as a function of the gap; q′ sums to 1."""
    short = needed(chain(Case(family)), "on", "off")
    inside = step("curve_sum", "s", "s", exp(gap) + (K - 1), "sum of the exponentials: the wrong logits are 0")
    height = step("curve_loss", "h(g)", "h", log(inside) - short["on"] * gap, "the loss at that gap")
    p = step("curve_softmax", "p_y", "p_y", exp(gap) / inside, "the prediction for the label")
    return _more(short, inside, height, p)


def descent(family: Family) -> Chain:
    """One step of gradient descent on free logits that started equal: the gap says all, as the wrong ones stay equal."""
    short = along_gap(family)
    p, on, off = short["curve_softmax"], short["on"], short["off"]
    up = step("label_push", "d_y", "d_y", on - p, "push on the label's logit")
    down = step("other_push", "d_o", "d_o", off - (1 - p) / (K - 1), "push on another's")
    then = step("next_gap", "g⁺", "g^+", gap + rate * (up - down), "the gap after the step")
    return _more(short, up, down, then)


def predicted() -> Chain:
    """The prediction alone."""
    return needed(chain(), "softmax")


def sloped() -> Chain:
    """The gradient alone, of a prediction and a target that are at hand: the classifier asks for it thousands of times."""
    return Chain(Case(), (chain()["gradient"],))


def heated() -> Chain:
    """Softmax of the logits over a temperature."""
    top = step("heated_max", "m", "m", largest("k", z), "the row's largest logit")
    e = step("heated_exponential", "e", "e", exp((z - top) / hot), "exponentials of the logits over T")
    s = step("heated_sum", "s", "s", total("k", e), "their sum")
    p = step("heated_softmax", "p(T)", "p_T", e / s, "the prediction at that temperature")
    left = step("heated_gap", "p(T)−q′", "d_T", p - wrong, "how much surer than its target it is")
    return Chain(Case(), (top, e, s, p, left))


def logarithm(kind: str) -> Chain:
    """What stands where ln p belongs: with softmax once, missing or twice."""
    short = needed(chain(), "softmax", "log_softmax")
    says = "what stands where ln p belongs"
    if kind == "missing":
        return Chain(Case(), (step("wrong_log", "ℓ̃", r"\tilde{\ell}", z, says),))
    if kind == "once":
        return _more(short, step("wrong_log", "ℓ̃", r"\tilde{\ell}", short["log_softmax"], says))
    p = short["softmax"]
    top = step("again_max", "m", "m", largest("k", p), "the row's largest probability, taken for a logit")
    e = step("again_exponential", "e", "e", exp(p - top), "exponentials of the probabilities")
    s = step("again_sum", "s", "s", total("k", e), "their sum")
    return _more(short, top, e, s, step("wrong_log", "ℓ̃", r"\tilde{\ell}", p - top - log(s), says))


def mistaken() -> Chain:
    """Rows and batch from a target and a logarithm, right or not."""
    tens = step(
        "charged_log", "ℓ", "l", where(above(base_ten, 0), ell / log(10), ell), "LOG is base 10: ln p over ln 10"
    )
    row = step("wrong_loss", "h̃", r"\tilde{h}", -total("k", wrong * tens), "the row's number, as the mistake gives it")
    whole = total("n", row)
    batch = step("wrong_batch", "L̃", r"\tilde{L}", where(above(summed, 0), whole, whole / N), "the batch's number")
    return Chain(Case(), (tens, row, batch))


def compared() -> Chain:
    """What gives a mistake away: the ratio of each row's number to the right one, and the difference."""
    one = given("wrong_loss", "h̃", r"\tilde{h}", "n", "the row's number")
    right = given("row_loss", "h", "h", "n", "the loss")
    ratio = step(
        "ratio", "h̃/h", "r", where(above(absolute(right), 0), one / right, 1), "the row's number over the loss"
    )
    return Chain(Case(), (ratio, step("difference", "h̃−h", "d", one - right, "the row's number less the loss")))


def functions(shown: Iterable[str] = SHOWN) -> Iterator[tuple[str, Chain]]:
    """Each function of `core.js` and the chain it is printed from; `shown` names the targets."""
    for place, name in enumerate(shown):
        family = FAMILIES[name]
        for what, made in (("loss", loss), ("optimum", optimum), ("alongGap", along_gap), ("descent", descent)):
            yield f"{what}{place}", made(family)
    yield "heated", heated()
    for place, name in enumerate(WRONG_TARGETS):
        yield f"target{place}", target(FAMILIES[name])
    for kind in LOGARITHMS:
        yield f"logarithm_{kind}", logarithm(kind)
    yield "mistaken", mistaken()
    yield "compared", compared()
    for on_points in (predicted, sloped, *classifier.CHAINS):
        yield on_points.__name__, on_points()


def core(shown: Iterable[str] = SHOWN) -> str:
    """The module `core.js`: every function, and the object `core` that finds them by family."""
    shown = tuple(shown)
    printed = {name: javascript_function(name, made) for name, made in functions(shown)}
    by_family = "".join(
        f"  {what}: [{', '.join(name for name in printed if re.fullmatch(rf'{what}[0-9]+', name))}],\n"
        for what in ("loss", "optimum", "alongGap", "descent", "target")
    )
    logs = f"  logarithm: {{ {', '.join(f'{kind}: logarithm_{kind}' for kind in LOGARITHMS)} }},\n"
    single = ", ".join(name for name in printed if name.isalpha())
    return (
        f"{JS_HEAD}{_said_once(''.join(printed.values()))}export const core = {{\n{by_family}{logs}  {single},\n}};\n"
    )


def _said_once(code: str) -> str:
    """Leave out a comment that a function before had: the targets share most of theirs, and the page is to stay small."""
    said: set[str] = set()
    kept = []
    for line in code.splitlines(keepends=True):
        if not line.lstrip().startswith("//") or line not in said:
            kept.append(line)
        said.add(line)
    return "".join(kept)


if __name__ == "__main__":
    sys.stdout.write(core())
