"""Ways to write a step: spreadsheet formula, LaTeX, JavaScript, and plain text for a terminal. One tree.

MathML, the notation of browsers, stands in `mathml.py`.

The printers differ in atoms, signs and calls, not in recursion: `_infix` with one table of precedences serves them all. A
printer never simplifies and never rewrites: it prints the tree it is given, in the order it was written, so that the same
operations round the same way everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from .expr import COMPARISONS, Const, Expr, Named, factors

if TYPE_CHECKING:
    from .case import Chain

BINDS = {"+": 1, "-": 1, "*": 2, "/": 2, "neg": 3}
NO_INFINITY = "9.99E+307"  # a sheet has no infinity; this is about the largest number that can be typed


@dataclass(frozen=True)
class Dialect:
    """What differs between notations: how a name, a number, an operator and a call are written."""

    name: Callable[[Named], str]
    number: Callable[[float], str]
    signs: Mapping[str, str]
    call: Callable[[Expr, Callable[[Expr], str]], str]
    group: Callable[[str], str] = "({})".format


def _infix(x: Expr, dialect: Dialect) -> str:
    """Write a tree with the fewest parentheses that keep its order of operations."""

    def write(y: Expr) -> str:
        return _infix(y, dialect)

    if isinstance(x, Named):
        return dialect.name(x)
    if isinstance(x, Const):
        return dialect.number(x.value)
    if x.op not in dialect.signs:
        return dialect.call(x, write)
    inner = []
    for place, arg in enumerate(x.args):
        mine, its = BINDS[x.op], BINDS.get(arg.op, 9) if arg.op in dialect.signs else 9
        needs = its < mine or (place > 0 and its == mine) or (arg.op == "neg" and (place > 0 or x.op == "neg"))
        inner.append(dialect.group(write(arg)) if needs else write(arg))
    sign = dialect.signs[x.op]
    return sign + inner[0] if x.op == "neg" else sign.join(inner)


def _condition(x: Expr, write: Callable[[Expr], str], signs: Mapping[str, str]) -> str:
    return signs[x.op].join(write(arg) for arg in x.args)


def _plain_number(value: float) -> str:
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


# Spreadsheet ------------------------------------------------------------------------------------------------------------


def spreadsheet(x: Expr, cell: Callable[[Named], str], span: Callable[[Named, str], str]) -> str:
    """Formula of a step, without the equals sign, in the functions every spreadsheet program has.

    `cell(named)` is the reference to a value as seen from the cell that the formula stands in, `span(named, axis)` the
    range along an axis. Natural logarithm is LN; LOG would be base 10.

    >>> from .case import z
    >>> from .expr import exp
    >>> spreadsheet(exp(z), lambda v: "D10", lambda v, axis: "D10:E10")
    'EXP(D10)'
    """

    def call(x: Expr, write: Callable[[Expr], str]) -> str:
        if x.op == "where":
            return f"IF({_condition(x.args[0], write, SHEET_COMPARES)},{write(x.args[1])},{write(x.args[2])})"
        if x.op in COMPARISONS:
            return f"IF({_condition(x, write, SHEET_COMPARES)},1,0)"
        if x.op == "pick":
            return f"INDEX({span(_named(x.args[0]), 'k')},1,{write(x.args[1])}+1)"
        op, _, axis = x.op.partition(" ")
        if op == "fold":
            along = Dialect(lambda v: span(v, axis) if axis in v.axes else cell(v), _sheet_number, SIGNS, call)
            return f"SUMPRODUCT({_infix(x.args[0], along)})"
        if axis:
            parts = [span(_named(part), axis) for part in factors(x.args[0])]
            return f"{SHEET_REDUCES[op] if len(parts) == 1 else 'SUMPRODUCT'}({','.join(parts)})"
        return f"{SHEET_CALLS[op]}({','.join(write(arg) for arg in x.args)})"

    return _infix(x, Dialect(cell, _sheet_number, SIGNS, call))


SIGNS = {"+": "+", "-": "-", "*": "*", "/": "/", "neg": "-"}
SHEET_COMPARES = {"==": "=", ">": ">"}
SHEET_CALLS = {"exp": "EXP", "log": "LN", "log10": "LOG", "abs": "ABS"}
SHEET_REDUCES = {"sum": "SUM", "max": "MAX"}


def _sheet_number(value: float) -> str:
    return NO_INFINITY if value == inf else _plain_number(value)


def _named(x: Expr) -> Named:
    if not isinstance(x, Named):
        raise TypeError(f"only a named value has a place on the sheet, not {x.op!r}")
    return x


# LaTeX and text ---------------------------------------------------------------------------------------------------------


def latex(x: Expr) -> str:
    r"""Write an expression in LaTeX.

    >>> from .case import K, eps
    >>> latex(eps / K)
    '\\frac{\\varepsilon}{K}'
    """

    def name(v: Named) -> str:
        return v.tex + (f"_{{{v.axes}}}" if v.axes and "_" not in v.tex and "(" not in v.tex else "")

    def call(x: Expr, write: Callable[[Expr], str]) -> str:
        if x.op == "/":
            return rf"\frac{{{write(x.args[0])}}}{{{write(x.args[1])}}}"
        if x.op == "where":
            condition = _condition(x.args[0], write, TEX_COMPARES)
            return rf"\mathrm{{if}}\left({condition},\ {write(x.args[1])},\ {write(x.args[2])}\right)"
        if x.op in COMPARISONS:
            return rf"\left[{_condition(x, write, TEX_COMPARES)}\right]"
        if x.op == "pick":
            return rf"{write(x.args[0])}\,[{write(x.args[1])}]"
        op, _, axis = x.op.partition(" ")
        if axis:
            inner = write(x.args[0])
            tall = rf"\left({inner}\right)" if x.args[0].op in ("+", "-") else inner
            return rf"\max_{{{axis}}}\, {tall}" if op == "max" else rf"\sum_{{{axis}}} {tall}"
        inner = write(x.args[0])
        return rf"\left|{inner}\right|" if op == "abs" else rf"{TEX_CALLS[op]}\left({inner}\right)"

    return _infix(x, Dialect(name, lambda v: r"\infty" if v == inf else _plain_number(v), TEX_SIGNS, call))


TEX_SIGNS = {"+": " + ", "-": " - ", "*": r" \, ", "neg": "-"}
TEX_COMPARES = {"==": " = ", ">": " > "}
TEX_CALLS = {"exp": r"\exp", "log": r"\ln", "log10": r"\log_{10}"}


def text(x: Expr) -> str:
    """Write an expression in plain Unicode, for terminals and for the formula line of a block on the sheet.

    >>> from .case import K, eps
    >>> text((1 - eps) / K)
    '(1 − ε)/K'
    """

    def call(x: Expr, write: Callable[[Expr], str]) -> str:
        if x.op == "where":
            return f"if({_condition(x.args[0], write, TEXT_COMPARES)}, {write(x.args[1])}, {write(x.args[2])})"
        if x.op in COMPARISONS:
            return f"[{_condition(x, write, TEXT_COMPARES)}]"
        if x.op == "pick":
            return f"{write(x.args[0])}[{write(x.args[1])}]"
        op, _, axis = x.op.partition(" ")
        inner = write(x.args[0])
        if axis:
            inner = f"({inner})" if x.args[0].op in ("+", "-") else inner
            return f"{'max' if op == 'max' else 'Σ'}{'ₙ' if axis == 'n' else 'ₖ'} {inner}"
        return f"|{inner}|" if op == "abs" else f"{TEXT_CALLS.get(op, op)}({inner})"

    return _infix(x, Dialect(lambda v: v.symbol, lambda v: "∞" if v == inf else f"{v:.10g}", TEXT_SIGNS, call))


TEXT_SIGNS = {"+": " + ", "-": " − ", "*": "·", "/": "/", "neg": "−"}
TEXT_CALLS = {"log": "ln", "log10": "log₁₀"}
TEXT_COMPARES = {"==": " = ", ">": " > "}


# JavaScript -------------------------------------------------------------------------------------------------------------


def javascript(x: Expr) -> str:
    """Write an expression in JavaScript: values live in `v` under their words, indexed by `[n][k]`, `[n]` or `[k]`.

    >>> from .case import K, eps
    >>> javascript(eps / K)
    'v.epsilon / v.n_classes'
    """

    def name(v: Named) -> str:
        return f"v.{v.word}" + "".join(f"[{axis}]" for axis in v.axes)

    def call(x: Expr, write: Callable[[Expr], str]) -> str:
        if x.op == "where":
            return f"({_condition(x.args[0], write, JS_COMPARES)} ? {write(x.args[1])} : {write(x.args[2])})"
        if x.op in COMPARISONS:
            return f"({_condition(x, write, JS_COMPARES)} ? 1 : 0)"
        if x.op == "pick":
            rows = _named(x.args[0])
            return f"v.{rows.word}{'[n]' if 'n' in rows.axes else ''}[{write(x.args[1])}]"
        op, _, axis = x.op.partition(" ")
        if axis:
            function, size = "largest" if op == "max" else "total", "v.n_rows" if axis == "n" else "v.n_classes"
            return f"{function}({size}, ({axis}) => {write(x.args[0])})"
        return f"Math.{op}({write(x.args[0])})"

    return _infix(x, Dialect(name, lambda v: "Infinity" if v == inf else _plain_number(v), JS_SIGNS, call))


JS_SIGNS = {"+": " + ", "-": " - ", "*": " * ", "/": " / ", "neg": "-"}
JS_COMPARES = {"==": " === ", ">": " > "}
JS_LOOPS = {
    "": "{}",
    "n": "many(v.n_rows, (n) => {})",
    "k": "many(v.n_classes, (k) => {})",
    "nk": "many(v.n_rows, (n) => many(v.n_classes, (k) => {}))",
}
JS_HEAD = """\
// Printed from the chain by labelsmooth.maths.printers: do not edit.
const many = (size, f) => { const out = []; for (let i = 0; i < size; i++) out.push(f(i)); return out; };
const total = (size, f) => { let sum = 0; for (let i = 0; i < size; i++) sum += f(i); return sum; };
const largest = (size, f) => { let top = -Infinity; for (let i = 0; i < size; i++) top = Math.max(top, f(i)); return top; };
"""


def javascript_module(chain: Chain) -> str:
    """Write a chain as an ES module with one function, `chain(given)`, that returns every value by its word."""
    return JS_HEAD + "export " + javascript_function("chain", chain)


def javascript_function(name: str, chain: Chain) -> str:
    """Write a chain as a function of the values it starts from; it needs the three of `JS_HEAD`.

    >>> from .case import K, eps
    >>> from .expr import step
    >>> from .case import Case, Chain
    >>> print(javascript_function("off", Chain(Case(), (step("off", "o", "o", eps / K, "share of a class"),))))
    function off(given) {
      const v = { ...given };
      // share of a class
      v.off = v.epsilon / v.n_classes;
      return v;
    }
    <BLANKLINE>
    """
    lines = [f"  // {s.says}\n  {_assignment(s)};\n" for s in chain.steps]
    return f"function {name}(given) {{\n  const v = {{ ...given }};\n{''.join(lines)}  return v;\n}}\n"


def _assignment(s: Named) -> str:
    if s.formula is None:
        raise ValueError(f"the step {s.word!r} has no formula")
    return f"v.{s.word} = {JS_LOOPS[s.axes].replace('{}', javascript(s.formula))}"
