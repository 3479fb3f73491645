"""Which typed cells of a stranger's workbook can be logits, probabilities, labels and ε: every reading worth a trial.

A cell is known by how formulas use it. What is exponentiated is a logit; what is only ever under a logarithm is a
probability; what selects or multiplies beside them is a label or a target. That leaves questions that the use of a cell
cannot answer: whether classes run across or down, whether labels count from 0 or 1, which of two small numbers is ε. So this
file lists readings and decides none; `foreign.py` takes the one under which most formulas turn out to be steps of the loss.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from labelsmooth.workbook._foreign_cells import Web
from labelsmooth.workbook._foreign_formula import At, Node
from labelsmooth.workbook._package import address

LOGITS, PROBABILITIES = "logits", "probabilities"
INDEX, NAMES, TARGETS = "class numbers", "class names", "one cell a class"
_INSIDE = {"EXP": "exp", "LN": "log", "LOG": "log", "LOG10": "log"}
_COMPARE = {"=", "<", ">", "<=", ">=", "<>"}
_COUNTS = {"ROW", "ROWS", "COLUMN", "COLUMNS", "COUNT", "COUNTA"}

Lines = tuple[tuple[At, ...], ...]


@dataclass(frozen=True)
class Labels:
    """How the right answers are written: one cell a row with a number or a name, or one cell a class."""

    kind: str
    cells: Lines  # (N, 1), or (N, K) for targets; (N, 1) of 0 and 1 for two classes told by one column
    base: int = 0  # the number of the first class
    names: tuple[str, ...] = ()
    soft: bool = False  # typed targets that are not one-hot


@dataclass(frozen=True)
class Table:
    """One reading of a table: rows of logits or probabilities, their labels, and ε."""

    kind: str
    lines: Lines  # (N, K) cells; (N, 1) where a second class is implied
    across: bool  # classes run across
    labels: Labels | None = None
    epsilon: At | float | None = None

    @property
    def binary(self) -> bool:
        """One number a row: the second class is what is left."""
        return len(self.lines[0]) == 1

    @property
    def classes(self) -> int:
        """K."""
        return 2 if self.binary else len(self.lines[0])

    @property
    def sheet(self) -> str:
        """Where the table stands."""
        return self.lines[0][0].sheet

    def positions(self) -> dict[int, int]:
        """Row (or column, where classes run down) of the sheet -> row of the batch."""
        return {(line[0].row if self.across else line[0].column): n for n, line in enumerate(self.lines)}

    def inputs(self) -> set[At]:
        """Every cell that the reading takes for an input."""
        cells = {at for line in self.lines for at in line}
        cells |= {at for line in self.labels.cells for at in line} if self.labels else set()
        return cells | ({self.epsilon} if isinstance(self.epsilon, At) else set())


def shown_cells(cells: Iterable[At]) -> str:
    """Cells as a person writes them: `Sheet1!B3:C7`, or several areas."""
    return ", ".join(
        address(first.sheet, first.cell if first == last else f"{first.cell}:{last.cell}")
        for first, last in rectangles(cells)
    )


# How cells are used --------------------------------------------------------------------------------------------------


def uses(web: Web) -> dict[At, set[str]]:
    """For each cell, how formulas use it: "exp", "log", "select", "factor"; through whatever cells lie between."""
    found: dict[At, set[str]] = defaultdict(set)
    for at in reversed(web.order):
        for source, use in _used(web.trees[at], found[at] or {"factor"}):
            found[source] |= use
    return found


def _used(node: Node, use: set[str]) -> Iterator[tuple[At, set[str]]]:
    if node.kind in ("cell", "area"):
        for cell in node.cells():
            yield cell, use
        return
    for place, arg in enumerate(node.args):
        inner = use
        if node.kind == "call":
            if node.value in _INSIDE and place == 0:
                inner = {_INSIDE[node.value]}
            elif node.value in _COUNTS:
                inner = {"count"}
            elif node.value == "OFFSET":
                inner = {"select"} if place else {"count"}
            elif _selects(node.value, place):
                inner = {"select"}
        elif node.kind == "op" and node.value in _COMPARE:
            inner = {"select"}
        yield from _used(arg, inner)


def _selects(name: str, place: int) -> bool:
    return name == "MATCH" or (name in ("IF", "CHOOSE") and place == 0) or (name == "INDEX" and place > 0)


def rectangles(cells: Iterable[At]) -> list[tuple[At, At]]:
    """Cells as full rectangles: runs along a row, joined with equal runs right below."""
    rows: dict[tuple[str, int], list[int]] = defaultdict(list)
    for at in sorted(set(cells)):
        rows[at.sheet, at.row].append(at.column)
    open_: dict[tuple[str, int, int], tuple[int, int]] = {}  # (sheet, columns) -> (first row, last row)
    done = []
    for (sheet, row), columns in sorted(rows.items()):
        starts = [c for c in columns if c - 1 not in set(columns)]
        ends = [c for c in columns if c + 1 not in set(columns)]
        for span in zip(starts, ends, strict=True):
            key = (sheet, *span)
            if key in open_ and open_[key][1] == row - 1:
                open_[key] = (open_[key][0], row)
                continue
            if key in open_:
                done.append((key, open_[key]))
            open_[key] = (row, row)
    done += list(open_.items())
    return sorted((At(s, top, left), At(s, low, right)) for (s, left, right), (top, low) in done)


# Tables --------------------------------------------------------------------------------------------------------------


def tables(web: Web) -> list[list[Table]]:
    """For each table of numbers the ways to read its shape; labels and ε are not looked at yet."""
    used = uses(web)
    given = [at for at in used if _is_number(web, at)]
    out: list[list[Table]] = []
    taken: set[At] = set()
    for kind, use in ((LOGITS, "exp"), (PROBABILITIES, "log")):
        cells = [at for at in given if use in used[at] and at not in taken]
        cells += _gaps(web, set(cells), used)
        blocks = [block for block in rectangles(cells) if block[0] != block[1]]
        if kind == PROBABILITIES:
            blocks = [block for block in blocks if not _is_target(web, block, out)]
        out += [_readings(kind, group) + _longer(web, kind, group, used) for group in _groups(web, blocks)]
        taken |= {at for at in cells if use == "exp"}
    return out


def _is_number(web: Web, at: At) -> bool:
    """Typed as a number, or a formula that reads nothing, such as =1/3."""
    if at in web.pasted:
        return False
    return isinstance(web.typed.get(at), float) or (at in web.trees and not web.reads[at])


def _gaps(web: Web, cells: set[At], used: dict[At, set[str]]) -> list[At]:
    """Numbers between two of the kind, which some slipped formula passed over."""
    out = set()
    for at in cells:
        for rows, columns in ((1, 0), (0, 1)):
            between = At(at.sheet, at.row + rows, at.column + columns)
            beyond = At(at.sheet, at.row + 2 * rows, at.column + 2 * columns)
            uses_of = used.get(between, set())
            if (
                between not in cells
                and beyond in cells
                and _is_number(web, between)
                and not uses_of & {"select", "exp"}
            ):
                out.add(between)
    return sorted(out)


def _longer(web: Web, kind: str, group: Sequence[tuple[At, At]], used: dict[At, set[str]]) -> list[Table]:
    """The same with one more row (or column) of numbers at an end, which a slipped formula may have left out."""
    out = []
    if len(group) == 1:
        first, last = group[0]
        for across in (True, False):
            down, right = int(across), int(not across)
            more = (
                (At(first.sheet, first.row - down, first.column - right), last),
                (first, At(last.sheet, last.row + down, last.column + right)),
            )
            for corner, end in more:
                if corner.row < 1 or corner.column < 1:
                    continue
                for table in _readings(kind, [(corner, end)]):
                    added = _added(table, first, last)
                    if table.across == across and all(
                        _is_number(web, at) and "factor" in used.get(at, ()) for at in added
                    ):
                        out.append(table)
    return out


def _added(table: Table, first: At, last: At) -> list[At]:
    return [
        at
        for line in table.lines
        for at in line
        if not (first.row <= at.row <= last.row and first.column <= at.column <= last.column)
    ]


def _is_target(web: Web, block: tuple[At, At], known: Sequence[Sequence[Table]]) -> bool:
    """Typed targets under a logarithm, as in q·LN(q/p), are no probabilities where logits of that shape are read with them."""
    count = (block[1].row - block[0].row + 1) * (block[1].column - block[0].column + 1)
    after = web.downstream([block[0]])
    for readings in known:
        table = readings[0]
        size = sum(map(len, table.lines))
        if table.kind == LOGITS and size == count and after & web.downstream([table.lines[0][0]]):
            return True
    return False


def _groups(web: Web, blocks: Sequence[tuple[At, At]]) -> list[list[tuple[At, At]]]:
    """Blocks of the same width (or height) that one formula reads together are one table with gaps."""
    groups: list[list[tuple[At, At]]] = []
    for block in blocks:
        after = web.downstream([block[0]])
        for group in groups:
            same = [_along(group[0], side) == _along(block, side) for side in (0, 1)]
            if any(same) and after & web.downstream([group[0][0]]):
                group.append(block)
                break
        else:
            groups.append([block])
    return groups


def _along(block: tuple[At, At], side: int) -> tuple[str, int, int]:
    first, last = block
    return (first.sheet, first.column, last.column) if side else (first.sheet, first.row, last.row)


def _readings(kind: str, group: Sequence[tuple[At, At]]) -> list[Table]:
    out = []
    for across in (True, False):
        if any(_along(block, int(across)) != _along(group[0], int(across)) for block in group):
            continue
        lines: list[tuple[At, ...]] = []
        for first, last in group:
            rows, columns = range(first.row, last.row + 1), range(first.column, last.column + 1)
            if across:
                lines += [tuple(At(first.sheet, row, column) for column in columns) for row in rows]
            else:
                lines += [tuple(At(first.sheet, row, column) for row in rows) for column in columns]
        out.append(Table(kind, tuple(lines), across))
    return out
