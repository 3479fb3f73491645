"""A fifth way to write a step: MathML, which browsers draw without a library.

Printed like the others by `_infix` from the tree as it is; only the marks differ. A name is taken from its LaTeX, where base,
prime, subscript and superscript can be told apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import inf

from .expr import COMPARISONS, Expr, Named
from .printers import Dialect, _condition, _infix, _plain_number

SIGNS = {"+": "<mo>+</mo>", "-": "<mo>−</mo>", "*": "<mo>\u2062</mo>", "neg": "<mo>−</mo>"}  # invisible times
COMPARES = {"==": "<mo>=</mo>", ">": "<mo>&gt;</mo>"}
CALLS = {
    "exp": "<mi>exp</mi>",
    "log": "<mi>ln</mi>",
    "log10": "<msub><mi>log</mi><mn>10</mn></msub>",
}
GREEK = {"alpha": "α", "delta": "δ", "Delta": "Δ", "ell": "ℓ", "eta": "η", "kappa": "κ", "lambda": "λ", "omega": "ω",
         "sigma": "σ", "tau": "τ", "varepsilon": "ε", "varphi": "φ"}  # fmt: skip
ITALIC = {c: chr(0x1D44E + ord(c) - ord("a")) for c in "abcdefgijklmnopqrstuvwxyz"} | {
    c: chr(0x1D434 + ord(c) - ord("A")) for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
}
OVER = {"tilde": "~", "bar": "¯", "hat": "^"}
_NAME = re.compile(
    r"(?:\\(?P<over>tilde|bar|hat)\b ?)?\{?(?:\\(?P<greek>[A-Za-z]+)|(?P<plain>[A-Za-z]+(?:\([^)]*\))?))\}?"
    r"(?P<prime>')?(?:_\{?(?P<below>\w+)\}?)?(?:\^\{?(?P<above>[*+\w]+)\}?)?"
)
_ROMAN = re.compile(r"\\mathrm\{(\w+)\}")


def mathml(x: Expr) -> str:
    """Write an expression in MathML, without the `<math>` around it.

    >>> from .case import K, eps
    >>> mathml(eps / K)
    '<mfrac><mrow><mi>ε</mi></mrow><mrow><mi>K</mi></mrow></mfrac>'
    """

    def call(x: Expr, write: Callable[[Expr], str]) -> str:
        if x.op == "/":
            return f"<mfrac><mrow>{write(x.args[0])}</mrow><mrow>{write(x.args[1])}</mrow></mfrac>"
        if x.op == "where":
            lines = (
                (write(x.args[1]), _condition(x.args[0], write, COMPARES)),
                (write(x.args[2]), "<mtext>else</mtext>"),
            )
            body = "".join(f"<mtr><mtd>{value}</mtd><mtd>{when}</mtd></mtr>" for value, when in lines)
            return f"<mrow><mo>{{</mo><mtable>{body}</mtable></mrow>"
        if x.op in COMPARISONS:
            return f"<mrow><mo>[</mo>{_condition(x, write, COMPARES)}<mo>]</mo></mrow>"
        if x.op == "pick":
            return f"<mrow>{write(x.args[0])}<mo>[</mo>{write(x.args[1])}<mo>]</mo></mrow>"
        op, _, axis = x.op.partition(" ")
        inner = write(x.args[0])
        if axis:
            tall = _group(inner) if x.args[0].op in ("+", "-") else inner
            return (
                f"<munder>{'<mi>max</mi>' if op == 'max' else '<mo>∑</mo>'}<mi>{axis}</mi></munder><mrow>{tall}</mrow>"
            )
        return f"<mrow><mo>|</mo>{inner}<mo>|</mo></mrow>" if op == "abs" else CALLS[op] + _group(inner)

    return _infix(x, Dialect(name, _number, SIGNS, call, _group))


def equation(s: Named) -> str:
    """Write a step as an equation, symbol = formula, in a `<math>` of its own.

    >>> from .steps import chain
    >>> equation(chain()["softmax"])[:60]
    '<math><msub><mi>p</mi><mrow><mi>n</mi><mi>k</mi></mrow></msu'
    """
    if s.formula is None:
        raise ValueError(f"the step {s.word!r} has no formula")
    return f"<math>{name(s)}<mo>=</mo>{mathml(s.formula)}</math>"


def name(v: Named) -> str:
    """Write a symbol with its subscripts, the axes it varies over included."""
    found = _NAME.fullmatch(_ROMAN.sub(r"\1", v.tex))
    if found is None:
        raise ValueError(f"the symbol {v.tex!r} cannot be written in MathML")
    letters = GREEK[found["greek"]] if found["greek"] else found["plain"].replace("'", "′")
    if found["prime"]:  # a name of two characters would stand upright, and a prime as a superscript too high
        letters = f"{ITALIC.get(letters, letters)}′"
    base = f"<mi>{letters}</mi>"
    if found["over"]:
        base = f"<mover>{base}<mo>{OVER[found['over']]}</mo></mover>"
    above = f"<mo>{found['above']}</mo>" if found["above"] else ""
    bare = "(" not in v.tex
    axes = "".join(f"<mi>{axis}</mi>" for axis in v.axes)
    below = f"<mn>{found['below']}</mn>" if found["below"] else f"<mrow>{axes}</mrow>" if axes and bare else ""
    if above and below:
        return f"<msubsup>{base}{below}{above}</msubsup>"
    return f"<msup>{base}{above}</msup>" if above else f"<msub>{base}{below}</msub>" if below else base


def _group(inner: str) -> str:
    return f"<mrow><mo>(</mo>{inner}<mo>)</mo></mrow>"


def _number(value: float) -> str:
    return f"<mn>{'∞' if value == inf else _plain_number(value)}</mn>"
