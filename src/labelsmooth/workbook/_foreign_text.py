"""A formula's text, changed in places: references moved, parts replaced, and the copy that a spreadsheet would make.

The rest of the text stays as its author wrote it, spaces and case included.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from labelsmooth.workbook._foreign_formula import CELL, At, Node
from labelsmooth.workbook._package import column_number
from labelsmooth.workbook.layout import letters


def replaced(formula: str, changes: Sequence[tuple[Node, str]]) -> str:
    """The formula with some of its parts written anew."""
    for node, text in sorted(changes, key=lambda change: change[0].start, reverse=True):
        formula = formula[: node.start] + text + formula[node.end :]
    return formula


def moved_reference(formula: str, node: Node, *, rows: int, columns: int, by_hand: bool = False) -> str:
    """The text of a reference moved by some rows and columns; a `$` holds its part unless the move is made by hand."""

    def moved(match: re.Match[str]) -> str:
        quoted, plain, column_fixed, column, row_fixed, row = match.groups()
        line = int(row) + (0 if row_fixed and not by_hand else rows)
        place = column_number(column.upper()) + (0 if column_fixed and not by_hand else columns)
        if line < 1 or place < 1:
            return "#REF!"
        sheet = f"'{quoted}'!" if quoted else f"{plain}!" if plain else ""
        return f"{sheet}{column_fixed}{letters(place - 1)}{row_fixed}{line}"

    return ":".join(CELL.sub(moved, part) for part in _corners(formula[node.start : node.end]))


def _corners(text: str) -> list[str]:
    """A reference's first and last corner; a quoted sheet may hold a colon."""
    sheet, mark, cells = text.rpartition("!")
    first, *last = cells.split(":")
    return [sheet + mark + first, *last]


def translated(formula: str, tree: Node, origin: At, target: At) -> str:
    """The formula as a spreadsheet would copy it from one cell to another.

    >>> from labelsmooth.workbook._foreign_formula import parse
    >>> from_b2 = "=B1/$A$1"
    >>> translated(from_b2, parse(from_b2, "S"), At("S", 2, 2), At("S", 3, 3))
    '=C2/$A$1'
    """
    rows, columns = target.row - origin.row, target.column - origin.column
    changes = [
        (node, moved_reference(formula, node, rows=rows, columns=columns))
        for node in tree.walk()
        if node.kind in ("cell", "area")
    ]
    return replaced(formula, changes)


def relative(formula: str, tree: Node, here: At) -> str:
    """The formula with its references written as distances, so that copies of one formula are the same text."""
    changes = []
    for node in tree.walk():
        if node.kind in ("cell", "area"):
            corners = [
                f"{corner.row if node.fixed[0] else f'[{corner.row - here.row}]'}"
                f"c{corner.column if node.fixed[1] else f'[{corner.column - here.column}]'}"
                for corner in node.value
            ]
            changes.append((node, f"{node.value[0].sheet}!r{':'.join(corners)}"))
    return "".join(replaced(formula, changes).split()).upper()
