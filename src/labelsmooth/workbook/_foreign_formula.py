"""A stranger's formula as a tree, with the place of every part in its text.

Recognising a formula by its text would know one way of writing it. A tree can be computed on other inputs, and so be known
by what it does; and since each node keeps its start and end, a correction replaces those characters and leaves the rest as
its author wrote it. What the grammar does not know (whole columns, structured references, array constants) is an
`Unreadable` formula: its cell is not judged, never guessed at.

The gate has limited a formula to 8,192 characters and 64 parentheses, so the recursion below is shallow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from labelsmooth.workbook._package import address, column_number
from labelsmooth.workbook.layout import letters

MOST_SIGNS = 200  # in a row: `----1` nests without parentheses
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>"(?:[^"]|"")*")
  | (?P<cell>(?:(?:'(?:[^']|'')+'|[^\W\d][\w.]*)!)?\$?[A-Za-z]{1,3}\$?[1-9][0-9]{0,6}(?![\w.(!]))
  | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<call>[^\W\d][\w.]*\()
  | (?P<name>[^\W\d][\w.]*(?![\w!]))
  | (?P<sign><=|>=|<>|[-+*/^&=<>%(),:])
    )""",
    re.VERBOSE,
)
CELL = re.compile(r"(?:(?:'((?:[^']|'')+)'|([^!']+))!)?(\$?)([A-Za-z]{1,3})(\$?)([1-9][0-9]*)")
_BINDING = {"=": 1, "<": 1, ">": 1, "<=": 1, ">=": 1, "<>": 1, "&": 2, "+": 3, "-": 3, "*": 4, "/": 4, "^": 5}


class At(NamedTuple):
    """A cell of a book; row and column count from one."""

    sheet: str
    row: int
    column: int

    @property
    def cell(self) -> str:
        """`C11`."""
        return f"{letters(self.column - 1)}{self.row}"

    @property
    def shown(self) -> str:
        """`Sheet1!C11`."""
        return address(self.sheet, self.cell)


class Unreadable(ValueError):
    """A formula that the grammar does not know."""


@dataclass(frozen=True)
class Node:
    """A part of a formula: number, text, flag, cell, area, name, call, op, sign, percent or nothing.

    `start` and `end` are its characters in the text; `value` is the number, the text, the operator or the function's name;
    of a cell or an area it is the `At` of its first and last corner, and `fixed` says which of row and column have a `$`.
    """

    kind: str
    start: int
    end: int
    value: Any = None
    args: tuple[Node, ...] = ()
    fixed: tuple[bool, bool] = (False, False)
    own_sheet: bool = True  # the sheet is not written

    def walk(self) -> Iterator[Node]:
        """The node and all below it."""
        yield self
        for arg in self.args:
            yield from arg.walk()

    def cells(self) -> Iterator[At]:
        """The cells of a reference, row by row."""
        first, last = self.value
        for row in range(first.row, last.row + 1):
            for column in range(first.column, last.column + 1):
                yield At(first.sheet, row, column)

    @property
    def size(self) -> int:
        """How many cells a reference covers."""
        first, last = self.value
        return int((last.row - first.row + 1) * (last.column - first.column + 1))


Names = Mapping[str, tuple["At", "At"]]
_NO_NAMES: Names = MappingProxyType({})


def parse(formula: str, sheet: str, names: Names = _NO_NAMES) -> Node:
    """The tree of a formula that stands on `sheet`; positions count from the `=` on. `names` (in lower case) are cells.

    >>> tree = parse("=-LOG(B2/$C$9)", "S")
    >>> [(n.kind, n.value) for n in tree.walk() if n.kind in ("sign", "call")]
    [('sign', '-'), ('call', 'LOG')]
    >>> [n.value[0].cell for n in tree.walk() if n.kind == "cell"]
    ['B2', 'C9']

    Raises:
        Unreadable: the formula uses something that the grammar does not know.
    """
    reader = _Reader(formula, sheet, names)
    tree = reader.expression(0)
    if reader.now is not None:
        raise Unreadable(f"{reader.now[1]!r} is not understood there")
    return tree


class _Reader:
    """A tree by binding powers; Excel's minus before a number binds tighter than its ^."""

    def __init__(self, formula: str, sheet: str, names: Names) -> None:
        self.sheet, self.names = sheet, names
        self.tokens: list[tuple[str, str, int, int]] = []
        place = len(formula) - len(formula.lstrip("{=+ "))
        end = len(formula.rstrip("} \n\t")) if formula.startswith("{") else len(formula.rstrip())
        while place < end:
            match = _TOKEN.match(formula, place)
            if match is None or match.lastgroup is None:
                raise Unreadable(f"{formula[place : place + 10]!r} is not understood")
            kind = match.lastgroup
            self.tokens.append((kind, match[kind], match.start(kind), match.end(kind)))
            place = match.end()
        self.place = self.signs = 0

    @property
    def now(self) -> tuple[str, str, int, int] | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def take(self, wanted: str = "") -> tuple[str, str, int, int]:
        token = self.now
        if token is None or (wanted and token[1] != wanted):
            raise Unreadable(f"{wanted or 'more'} is expected, not {token[1] if token else 'the end'}")
        self.place += 1
        return token

    def expression(self, binding: int) -> Node:
        left = self.prefixed()
        while (token := self.now) is not None and token[0] == "sign":
            if token[1] == "%":
                self.take()
                left = Node("percent", left.start, token[3], args=(left,))
                continue
            power = _BINDING.get(token[1], 0)
            if power <= binding:
                break
            self.take()
            right = self.expression(power)
            left = Node("op", left.start, right.end, token[1], (left, right))
        return left

    def prefixed(self) -> Node:
        token = self.take()
        if token[0] == "sign" and token[1] in "+-":
            self.signs += 1
            if self.signs > MOST_SIGNS:
                raise Unreadable("too many signs")
            arg = self.prefixed()
            return Node("sign", token[2], arg.end, token[1], (arg,))
        if token[0] == "sign" and token[1] == "(":
            inner = self.expression(0)
            close = self.take(")")
            return Node("group", token[2], close[3], args=(inner,))
        return self.atom(token)

    def atom(self, token: tuple[str, str, int, int]) -> Node:
        kind, text, start, end = token
        if kind == "number":
            return Node("number", start, end, float(text))
        if kind == "text":
            return Node("text", start, end, text[1:-1].replace('""', '"'))
        if kind == "cell":
            return self.reference(token)
        if kind == "call":
            return self.call(token)
        if kind == "name" and (corners := self.names.get(text.lower())) is not None:
            return Node("cell" if corners[0] == corners[1] else "area", start, end, corners, fixed=(True, True))
        if kind == "name":
            flag = {"TRUE": True, "FALSE": False}.get(text.upper())
            return Node("name", start, end, text) if flag is None else Node("flag", start, end, flag)
        raise Unreadable(f"{text!r} is not understood there")

    def reference(self, token: tuple[str, str, int, int]) -> Node:
        first, fixed, own = _place(token[1], self.sheet)
        if self.now is None or self.now[1] != ":":
            return Node("cell", token[2], token[3], (first, first), fixed=fixed, own_sheet=own)
        self.take(":")
        corner = self.take()
        if corner[0] != "cell":
            raise Unreadable("a range ends in a cell")
        last, _, _ = _place(corner[1], first.sheet)
        rows, columns = sorted((first.row, last.row)), sorted((first.column, last.column))
        corners = (At(first.sheet, rows[0], columns[0]), At(first.sheet, rows[1], columns[1]))
        return Node("area", token[2], corner[3], corners, fixed=fixed, own_sheet=own)

    def call(self, token: tuple[str, str, int, int]) -> Node:
        name = token[1][:-1].upper().removeprefix("_XLFN.").removeprefix("_XLWS.")
        args: list[Node] = []
        while self.now is not None and self.now[1] != ")":
            if self.now[1] == ",":
                args.append(Node("nothing", self.now[2], self.now[2]))
            else:
                args.append(self.expression(0))
            if self.now is not None and self.now[1] == ",":
                comma = self.take(",")
                if self.now is not None and self.now[1] == ")":
                    args.append(Node("nothing", comma[3], comma[3]))
        close = self.take(")")
        return Node("call", token[2], close[3], name, tuple(args))


def _place(text: str, sheet: str) -> tuple[At, tuple[bool, bool], bool]:
    match = CELL.fullmatch(text)
    if match is None:
        raise Unreadable(f"{text!r} is no cell")
    quoted, plain, column_fixed, column, row_fixed, row = match.groups()
    named = quoted.replace("''", "'") if quoted else plain
    at = At(named or sheet, int(row), column_number(column.upper()))
    return at, (bool(row_fixed), bool(column_fixed)), named is None


def area_of(text: str) -> tuple[At, At]:
    """The corners of `Sheet1!B2:F6`, as a person or a defined name writes it.

    >>> [at.cell for at in area_of("'My sheet'!$F$6:B2")]
    ['B2', 'F6']

    Raises:
        ValueError: it is no area, or names no sheet.
    """
    try:
        tree = parse(text, "")
    except Unreadable:
        tree = None
    if tree is None or tree.kind not in ("cell", "area") or not tree.value[0].sheet:
        raise ValueError(f"{text!r} is no area: write the sheet and the cells, such as Sheet1!B2:F6")
    first, last = tree.value
    return first, last
