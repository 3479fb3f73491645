"""What a stranger's formulas give on other inputs, in float64.

A spreadsheet engine is the judge of what a file shows (`recalc.py`), but it takes a tenth of a second to some seconds an
answer, and recognising a formula by what it does takes thousands of answers. So the formulas of a loss are computed here:
the functions that such sheets use, over scalars and ranges. What is computed here is believed only where the engine, on the
file's own inputs, shows the same number; `parity/foreign.py` holds the two together.

Ranges are lists of rows. An error is raised, and stands in a cell as the text that a spreadsheet shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from labelsmooth.workbook._foreign_formula import At, Node
from labelsmooth.workbook._foreign_functions import ALL, EACH, OPERATORS, UNKNOWN, Fault, number, over

Scalar = float | str | bool | None
Look = Callable[[At], Scalar]
LARGEST_RANGE = 200_000  # cells one formula may read


def compute(tree: Node, look: Look, here: At) -> Scalar:
    """The value of a formula; an error is its text.

    >>> from labelsmooth.workbook._foreign_formula import parse
    >>> compute(parse("=-LOG(B2)+LN(1)", "S"), lambda at: 100.0, At("S", 1, 1))
    -2.0
    """
    try:
        value = _Run(look, here).value(tree)
        while isinstance(value, list):
            value = value[0][0]
    except Fault as fault:
        return str(fault)
    except (OverflowError, ValueError, ZeroDivisionError):
        return "#NUM!"
    if isinstance(value, float | int) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else "#NUM!"
    return 0.0 if value is None else value


class _Run:
    """One formula being computed."""

    def __init__(self, look: Look, here: At) -> None:
        self.look, self.here = look, here

    def value(self, node: Node) -> Any:
        if node.kind in ("number", "text", "flag"):
            return node.value
        if node.kind == "nothing":
            return None
        if node.kind == "cell":
            return self._cell(node.value[0])
        if node.kind == "area":
            return self.area(*node.value)
        if node.kind == "group":
            return self.value(node.args[0])
        if node.kind == "sign":
            one = self.value(node.args[0])
            return one if node.value == "+" else over(lambda x: -number(x), one)
        if node.kind == "percent":
            return over(lambda x: number(x) / 100, self.value(node.args[0]))
        if node.kind == "op":
            return over(OPERATORS[node.value], *(self.value(arg) for arg in node.args))
        if node.kind == "call":
            return self._call(node)
        raise Fault(UNKNOWN)

    def _cell(self, at: At) -> Scalar:
        value = self.look(at)
        if isinstance(value, str) and value.startswith("#"):
            raise Fault(value)
        return value

    def area(self, first: At, last: At) -> Any:
        if (last.row - first.row + 1) * (last.column - first.column + 1) > LARGEST_RANGE:
            raise Fault(UNKNOWN)
        return [
            [self._cell(At(first.sheet, row, column)) for column in range(first.column, last.column + 1)]
            for row in range(first.row, last.row + 1)
        ]

    def _call(self, node: Node) -> Any:
        if (lazy := _LAZY.get(node.value)) is not None:
            return lazy(self, node)
        if node.value in EACH:
            return over(EACH[node.value], *(self.value(arg) for arg in node.args))
        if node.value in ALL:
            return ALL[node.value]([self.value(arg) for arg in node.args])
        raise Fault(UNKNOWN)


# Those that must not compute every argument --------------------------------------------------------------------------


def _if(run: _Run, node: Node) -> Any:
    condition = run.value(node.args[0])
    if not isinstance(condition, list):
        branch = 1 if number(condition) else 2
        return run.value(node.args[branch]) if branch < len(node.args) else False
    branches = [run.value(arg) for arg in node.args[1:]] + [False] * (3 - len(node.args))
    return over(lambda c, yes, no: yes if number(c) else no, condition, *branches)


def _iferror(run: _Run, node: Node) -> Any:
    try:
        return run.value(node.args[0])
    except (Fault, OverflowError, ValueError):
        return run.value(node.args[1])


def _offset(run: _Run, node: Node) -> Any:
    if node.args[0].kind not in ("cell", "area"):
        raise Fault(UNKNOWN)
    first, last = node.args[0].value
    rows, columns = (int(number(run.value(arg))) for arg in node.args[1:3])
    sizes = [int(number(run.value(arg))) if arg.kind != "nothing" else 0 for arg in node.args[3:5]]
    height, width = [size or old for size, old in zip(
        [*sizes, 0, 0][:2], (last.row - first.row + 1, last.column - first.column + 1), strict=True)]  # fmt: skip
    corner = At(first.sheet, first.row + rows, first.column + columns)
    if min(corner.row, corner.column, height, width) < 1:
        raise Fault("#REF!")
    table = run.area(corner, At(corner.sheet, corner.row + height - 1, corner.column + width - 1))
    return table[0][0] if height == width == 1 else table


def _position(side: int) -> Callable[[_Run, Node], Any]:
    def position(run: _Run, node: Node) -> float:
        at = node.args[0].value[0] if node.args else run.here
        return float(at[1 + side])

    return position


_LAZY: Mapping[str, Callable[[_Run, Node], Any]] = {
    "IF": _if,
    "IFERROR": _iferror,
    "OFFSET": _offset,
    "ROW": _position(0),
    "COLUMN": _position(1),
}
