"""The functions of a spreadsheet that sheets about a loss use, as Excel computes them, over scalars and ranges.

A range is a list of rows. Blank is 0, TRUE is 1 and a text that reads as a number is that number, but among the cells of a
range only numbers count; an error value is raised. What is not in these tables is not known, and its cell is not judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any


class Fault(Exception):
    """An error value, such as #NUM!, or something that is not known here (#N/K)."""


UNKNOWN = "#N/K"


# One value -----------------------------------------------------------------------------------------------------------


def number(x: Any) -> float:
    """A value as arithmetic takes it: nothing is 0, TRUE is 1, a text that reads as a number is that number."""
    if isinstance(x, list):
        raise Fault("#VALUE!")
    if x is None:
        return 0.0
    if isinstance(x, str):
        try:
            return float(x)
        except ValueError:
            raise Fault("#VALUE!") from None
    return float(x)


def over(f: Callable[..., Any], *xs: Any) -> Any:
    """A function of scalars, over whatever ranges are among its arguments; one row or column serves them all."""
    lists = [x for x in xs if isinstance(x, list)]
    if not lists:
        return f(*xs)
    rows, columns = max(len(x) for x in lists), max(len(x[0]) for x in lists)

    def pick(x: Any, row: int, column: int) -> Any:
        if not isinstance(x, list):
            return x
        line = x[0 if len(x) == 1 else row] if len(x) in (1, rows) else None
        if line is None or len(line) not in (1, columns):
            raise Fault("#N/A")
        return line[0 if len(line) == 1 else column]

    return [[f(*(pick(x, row, column) for x in xs)) for column in range(columns)] for row in range(rows)]


def _power(x: Any, y: Any) -> float:
    result = number(x) ** number(y)
    if isinstance(result, complex):
        raise Fault("#NUM!")
    return float(result)


def _quotient(x: Any, y: Any) -> float:
    if number(y) == 0:
        raise Fault("#DIV/0!")
    return number(x) / number(y)


def _key(x: Any) -> tuple[int, Any]:
    """Spreadsheets order numbers before texts before FALSE before TRUE, and texts without case."""
    if isinstance(x, bool):
        return (2, x)
    return (1, x.casefold()) if isinstance(x, str) else (0, 0.0 if x is None else float(x))


def _same(x: Any, y: Any) -> bool:
    if x is None or y is None:
        other = y if x is None else x
        return other in (None, 0, "")
    return _key(x) == _key(y)


def _text(x: Any) -> str:
    return "" if x is None else str(x).upper() if isinstance(x, bool) else x if isinstance(x, str) else f"{x:.15g}"


OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": lambda x, y: number(x) + number(y),
    "-": lambda x, y: number(x) - number(y),
    "*": lambda x, y: number(x) * number(y),
    "/": _quotient,
    "^": _power,
    "&": lambda x, y: _text(x) + _text(y),
    "=": _same,
    "<>": lambda x, y: not _same(x, y),
    "<": lambda x, y: _key(x) < _key(y),
    ">": lambda x, y: _key(x) > _key(y),
    "<=": lambda x, y: _key(x) <= _key(y),
    ">=": lambda x, y: _key(x) >= _key(y),
}


def _log(x: Any, base: Any = 10.0) -> float:
    if number(x) <= 0 or number(base) <= 0:
        raise Fault("#NUM!")
    return math.log10(number(x)) if number(base) == 10 else math.log(number(x)) / math.log(number(base))


def _rounded(x: Any, digits: Any = 0.0) -> float:
    scale = 10.0 ** int(number(digits))
    return math.copysign(math.floor(abs(number(x)) * scale + 0.5) / scale, number(x))


EACH: Mapping[str, Callable[..., Any]] = {
    "EXP": lambda x: math.exp(number(x)),
    "LN": lambda x: _log(x, math.e),
    "LOG": _log,
    "LOG10": _log,
    "ABS": lambda x: abs(number(x)),
    "SQRT": lambda x: math.sqrt(number(x)),
    "POWER": _power,
    "SIGN": lambda x: (number(x) > 0) - (number(x) < 0) + 0.0,
    "ROUND": _rounded,
    "INT": lambda x: float(math.floor(number(x))),
    "MOD": lambda x, y: number(x) % number(y),
    "NOT": lambda x: not number(x),
    "N": lambda x: 0.0 if isinstance(x, str) else number(x),
    "PI": lambda: math.pi,
    "ISNUMBER": lambda x: isinstance(x, int | float) and not isinstance(x, bool),
}


# All values ----------------------------------------------------------------------------------------------------------


def flat(values: Sequence[Any]) -> Iterator[tuple[Any, bool]]:
    """Every scalar, and whether it stood in a range."""
    for value in values:
        if isinstance(value, list):
            for row in value:
                yield from ((x, True) for x in row)
        else:
            yield value, False


def _numbers(values: Sequence[Any]) -> list[float]:
    """The numbers among the values; in a range, text, TRUE and nothing do not count."""
    return [number(x) for x, ranged in flat(values) if not ranged or type(x) in (int, float)]


def _average(values: Sequence[Any]) -> float:
    return _quotient(math.fsum(_numbers(values)), len(_numbers(values)))


def _sumproduct(values: Sequence[Any]) -> float:
    def product(*xs: Any) -> float:
        return math.prod(float(x) if type(x) in (int, float) else 0.0 for x in xs)

    sizes = {(len(x), len(x[0])) if isinstance(x, list) else (1, 1) for x in values}
    if len(sizes) > 1:
        raise Fault("#VALUE!")
    return math.fsum(x for x, _ in flat([over(product, *values)]))


def _matrix_product(values: Sequence[Any]) -> Any:
    left, right = (x if isinstance(x, list) else [[x]] for x in values)
    if len(left[0]) != len(right):
        raise Fault("#VALUE!")
    columns = list(zip(*right, strict=True))
    return [
        [math.fsum(number(a) * number(b) for a, b in zip(row, column, strict=True)) for column in columns]
        for row in left
    ]


def _shape(values: Sequence[Any], side: int) -> float:
    x = values[0] if isinstance(values[0], list) else [[values[0]]]
    return float(len(x) if side == 0 else len(x[0]))


def _match(values: Sequence[Any]) -> float:
    """Without a third argument MATCH halves a range that it takes for sorted, as Excel does."""
    wanted, line = values[0], [x for x, _ in flat([values[1]])]
    kind = number(values[2]) if len(values) > 2 else 1.0
    if kind == 0:
        for place, x in enumerate(line):
            if x is not None and _same(x, wanted):
                return place + 1.0
        raise Fault("#N/A")
    low, high = 0, len(line) - 1
    while low <= high:
        middle = (low + high) // 2
        if _same(line[middle], wanted):
            while middle + 1 < len(line) and _same(line[middle + 1], wanted):
                middle += 1
            return middle + 1.0
        before = _key(line[middle]) < _key(wanted) if kind > 0 else _key(line[middle]) > _key(wanted)
        low, high = (middle + 1, high) if before else (low, middle - 1)
    if high < 0:
        raise Fault("#N/A")
    return high + 1.0


def _index(values: Sequence[Any]) -> Any:
    table = values[0] if isinstance(values[0], list) else [[values[0]]]
    row, column = int(number(values[1])), int(number(values[2])) if len(values) > 2 else None
    if column is None:
        row, column = (1, row) if len(table) == 1 else (row, 1)
    if row < 0 or column < 0 or row > len(table) or column > len(table[0]):
        raise Fault("#REF!")
    lines = table if row == 0 else [table[row - 1]]
    return lines if column == 0 else [[line[column - 1]] for line in lines] if row == 0 else lines[0][column - 1]


ALL: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    "SUM": lambda v: math.fsum(_numbers(v)),
    "AVERAGE": _average,
    "MAX": lambda v: max(_numbers(v), default=0.0),
    "MIN": lambda v: min(_numbers(v), default=0.0),
    "COUNT": lambda v: float(len(_numbers(v))),
    "COUNTA": lambda v: float(sum(x is not None for x, _ in flat(v))),
    "PRODUCT": lambda v: math.prod(_numbers(v)),
    "SUMSQ": lambda v: math.fsum(x * x for x in _numbers(v)),
    "SUMPRODUCT": _sumproduct,
    "MMULT": _matrix_product,
    "TRANSPOSE": lambda v: [list(line) for line in zip(*v[0], strict=True)] if isinstance(v[0], list) else v[0],
    "ROWS": lambda v: _shape(v, 0),
    "COLUMNS": lambda v: _shape(v, 1),
    "AND": lambda v: all(x not in (0, None) for x, _ in flat(v)),
    "OR": lambda v: any(x not in (0, None) for x, _ in flat(v)),
    "MATCH": _match,
    "INDEX": _index,
    "CHOOSE": lambda v: v[int(number(v[0]))],
}
