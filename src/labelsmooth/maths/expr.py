"""The language the mathematics is written in: a value is an operation on values.

Axes are named: ``"nk"`` varies over rows n and classes k, ``"n"`` over rows, ``"k"`` over classes, ``""`` is one number.
The names alone decide shapes in NumPy, places in the sheet, subscripts in LaTeX and indices in JavaScript, so no other
file holds shape code.

Two rules keep a printed step readable. An operation is written with Python's own operators, so a formula in `steps.py`
looks like the formula in a paper. And a sum or a maximum takes a named value or a product of named values only (*one cell,
one thought*): it then prints as ``SUM(range)`` or ``SUMPRODUCT(range, range)``. A compound argument is refused with the
advice to name it. `folded` is the one exception, for the compact workbook that has no room for a cell a thought.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Union

AXES = "nk"
Operand = Union["Expr", int, float]


@dataclass(frozen=True, eq=False)
class Expr:
    """An operation on values; `axes` says what the result varies over."""

    op: str
    args: tuple[Expr, ...]
    axes: str

    def __add__(self, other: Operand) -> Expr:
        return combine("+", self, other)

    def __radd__(self, other: Operand) -> Expr:
        return combine("+", other, self)

    def __sub__(self, other: Operand) -> Expr:
        return combine("-", self, other)

    def __rsub__(self, other: Operand) -> Expr:
        return combine("-", other, self)

    def __mul__(self, other: Operand) -> Expr:
        return combine("*", self, other)

    def __rmul__(self, other: Operand) -> Expr:
        return combine("*", other, self)

    def __truediv__(self, other: Operand) -> Expr:
        return combine("/", self, other)

    def __rtruediv__(self, other: Operand) -> Expr:
        return combine("/", other, self)

    def __neg__(self) -> Expr:
        return Expr("neg", (self,), self.axes)


@dataclass(frozen=True, eq=False)
class Const(Expr):
    """A number written in a formula."""

    value: float = 0.0


@dataclass(frozen=True, eq=False)
class Named(Expr):
    """A value with a name: given from outside (`formula` is None) or a step computed from other values.

    The word is for machines (Python attribute, sheet name, JSON key, JavaScript property), the symbol and `tex` for eyes.
    """

    word: str = ""
    symbol: str = ""
    tex: str = ""
    says: str = ""
    formula: Expr | None = None
    block: str = ""


def given(word: str, symbol: str, tex: str, axes: str, says: str) -> Named:
    """Name a value that comes from outside."""
    return Named("name", (), axes, word, symbol, tex, says)


def step(word: str, symbol: str, tex: str, formula: Operand, says: str, *, block: str = "") -> Named:
    """Name a value computed by `formula`; `block` is the heading it opens on the sheet."""
    formula = lift(formula)
    return Named("name", (), formula.axes, word, symbol, tex, says, formula, block)


def lift(x: Operand) -> Expr:
    """Turn a number into an expression; leave an expression as it is."""
    return x if isinstance(x, Expr) else Const("const", (), "", float(x))


def combine(op: str, *operands: Operand) -> Expr:
    """An elementwise operation: it varies over every axis that one of its operands varies over."""
    args = tuple(lift(x) for x in operands)
    return Expr(op, args, "".join(axis for axis in AXES if any(axis in x.axes for x in args)))


def exp(x: Operand) -> Expr:
    """Exponential."""
    return combine("exp", x)


def log(x: Operand) -> Expr:
    """Natural logarithm: ``LN`` in a sheet, where ``LOG`` is base 10."""
    return combine("log", x)


def log10(x: Operand) -> Expr:
    """Logarithm to base 10, which spreadsheets call ``LOG``: here to show the trap, never in the chain."""
    return combine("log10", x)


def absolute(x: Operand) -> Expr:
    """Absolute value."""
    return combine("abs", x)


def equal(a: Operand, b: Operand) -> Expr:
    """1 where a = b, else 0."""
    return combine("==", a, b)


def above(a: Operand, b: Operand) -> Expr:
    """1 where a > b, else 0."""
    return combine(">", a, b)


def where(condition: Expr, then: Operand, otherwise: Operand) -> Expr:
    """`then` where the comparison holds, else `otherwise`; the branch not taken may be undefined (``0 · log 0``)."""
    if condition.op not in COMPARISONS:
        raise ValueError(f"where() takes a comparison such as above(a, b) or equal(a, b), not {condition.op!r}")
    return combine("where", condition, then, otherwise)


def total(axis: str, x: Expr) -> Expr:
    """Sum over an axis of a named value or a product of named values."""
    return _over("sum", axis, x)


def largest(axis: str, x: Expr) -> Expr:
    """Maximum over an axis of a named value."""
    return _over("max", axis, x)


def folded(axis: str, x: Expr) -> Expr:
    """Sum over an axis of any expression in one cell: for the compact workbook only."""
    if axis not in x.axes:
        raise ValueError(f"a sum over {axis!r} needs a value that varies over it, not over {x.axes!r}")
    return Expr(f"fold {axis}", (x,), x.axes.replace(axis, ""))


def pick(x: Named, index: Named) -> Expr:
    """The entry of each row of `x` at that row's class number, 0 for the first."""
    if x.axes[-1:] != "k" or "k" in index.axes:
        raise ValueError(
            f"pick() takes a value over classes and a class number a row, not {x.axes!r} and {index.axes!r}"
        )
    return Expr("pick", (x, index), "n" if "n" in x.axes + index.axes else "")


COMPARISONS = ("==", ">")
INFINITY = Const("const", (), "", inf)


def factors(x: Expr) -> tuple[Expr, ...]:
    """The factors of a product, in the order they were written; a value that is no product is its own only factor."""
    return factors(x.args[0]) + factors(x.args[1]) if x.op == "*" else (x,)


def _over(op: str, axis: str, x: Expr) -> Expr:
    parts = factors(x)
    if not all(isinstance(part, Named) for part in parts) or (op == "max" and len(parts) > 1):
        raise ValueError(f"a {op} over {axis!r} takes named steps only: give the argument a name and a line of its own")
    if not all(axis in part.axes for part in parts):
        raise ValueError(f"every factor of a {op} over {axis!r} must vary over it: take the others out of the sum")
    axes = "".join(a for a in AXES if a != axis and any(a in part.axes for part in parts))
    return Expr(f"{op} {axis}", (x,), axes)
