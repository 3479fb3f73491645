"""Where each step stands on a sheet, and the formula in each of its cells. Knows no file format.

A step over rows and classes is a block, over rows a column, over classes a row, over nothing one cell: the axes in a
step's name decide everything here, so a new step needs no line in this file. Blocks are stacked downward in the order of
the chain, rows of the batch as rows, classes as columns; what a block's own steps add per row stands to its right, and one
number stands below. An input takes its place in front of the first step that uses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from labelsmooth.maths.case import Chain, leaves
from labelsmooth.maths.expr import Named
from labelsmooth.maths.printers import spreadsheet

MAX_ROWS, MAX_COLUMNS = 1_048_576, 16_384
FIRST_CLASS = 3  # columns A, B, C hold the row's name, its label and the label's name
LABEL_COLUMN = 1


def letters(column: int) -> str:
    """Letters of a column, 0 for A.

    >>> letters(0), letters(27)
    ('A', 'AB')
    """
    out = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        out = chr(65 + rest) + out
    return out


@dataclass(frozen=True)
class Place:
    """The cells of one value: the sheet, the top left cell (from 0), and how far it reaches."""

    sheet: str
    row: int
    column: int
    axes: str
    rows: int = 1
    classes: int = 1

    def cell(self, n: int = 0, k: int = 0) -> str:
        """Address of one entry, as in ``D10``."""
        return f"{letters(self.column + (k if 'k' in self.axes else 0))}{self.row + (n if 'n' in self.axes else 0) + 1}"

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and columns of cells."""
        return (self.rows if "n" in self.axes else 1, self.classes if "k" in self.axes else 1)

    @property
    def area(self) -> str:
        """All of it, absolute, with its sheet: ``Steps!$D$10:$E$14``."""
        down, across = self.shape
        first = f"${letters(self.column)}${self.row + 1}"
        last = f"${letters(self.column + across - 1)}${self.row + down}"
        return f"{self.sheet}!{first}" + (f":{last}" if first != last else "")


@dataclass(frozen=True)
class Block:
    """One band of the sheet: a title, a line for each value, a heading, the rows, and single numbers below."""

    title: str
    number: int
    top: int
    values: tuple[Named, ...]  # beside each other
    below: tuple[Named, ...]  # one number each
    heading: int
    first: int
    down: int

    @property
    def end(self) -> int:
        """The row after the block's last."""
        return self.first + self.down + len(self.below)


@dataclass(frozen=True)
class Layout:
    """Places for every value of a chain on one sheet."""

    chain: Chain
    sheet: str
    rows: int
    classes: int
    places: Mapping[str, Place]
    blocks: tuple[Block, ...] = ()
    names: frozenset[str] = field(default_factory=frozenset)  # single numbers that formulas call by name

    @property
    def formulas(self) -> int:
        """How many cells of this layout hold a formula."""
        return sum(down * across for s in self.chain.steps for down, across in [self.places[s.word].shape])

    @property
    def end(self) -> int:
        """The row after the last block."""
        return self.blocks[-1].end

    @property
    def width(self) -> int:
        """How many columns the blocks take."""
        ends = [p.column + p.shape[1] for p in self.places.values() if p.sheet == self.sheet]
        return max(ends)

    def formula(self, step: Named, n: int = 0, k: int = 0) -> str:
        """Formula of one cell of a step, without the equals sign."""
        pattern = self._pattern(step)
        return pattern.row(n) % pattern.columns_at(k)

    def cells(self, step: Named) -> Iterator[tuple[int, int, int, int, str]]:
        """Every cell of a step: its row and column on the sheet, n, k, and its formula."""
        place = self.places[step.word]
        down, across = place.shape
        pattern = self._pattern(step)
        columns = [pattern.columns_at(k) for k in range(across)]
        for n in range(down):
            row = pattern.row(n)
            for k, at in enumerate(columns):
                yield place.row + n, place.column + k, n, k, row % at

    def _pattern(self, step: Named) -> _Pattern:
        """Formula of a step, printed with rows and columns open: \\2row\\3 and \\0column\\1, of the first cell."""
        if step.formula is None:
            raise ValueError(f"{step.word!r} is an input and has no formula")
        here = self.places[step.word].sheet

        def on(place: Place) -> str:
            return "" if place.sheet == here else f"{place.sheet}!"

        def cell(v: Named) -> str:
            if v.word in self.names:
                return v.word
            place = self.places[v.word]
            row = f"\2{place.row + 1}\3" if "n" in v.axes else f"${place.row + 1}"
            column = f"\0{place.column}\1" if "k" in v.axes else f"${letters(place.column)}"
            return f"{on(place)}{column}{row}"

        def span(v: Named, axis: str) -> str:
            place = self.places[v.word]
            if axis == "n":
                first, last = place.row + 1, place.row + place.rows
                column = letters(place.column)
                return f"{on(place)}{column}{first}:{column}{last}"
            row = f"\2{place.row + 1}\3" if "n" in v.axes else f"${place.row + 1}"
            return f"{on(place)}{letters(place.column)}{row}:{letters(place.column + place.classes - 1)}{row}"

        return _Pattern.of(spreadsheet(step.formula, cell, span))


@dataclass(frozen=True)
class _Pattern:
    """A step's formula with rows and columns left open, to be filled in for each of its cells.

    The formulas of a step differ in these alone; printing the tree for each cell was a fifth of writing a large file. So
    it is printed once, as a %-template of which two fillings are left: rows, then columns.
    """

    text: str
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @staticmethod
    def of(printed: str) -> _Pattern:
        """Take apart what the printer gave; a % in it is text and comes out of both fillings as it was."""
        open_row, open_column = re.compile("\2([0-9]+)\3"), re.compile("\0([0-9]+)\1")
        text = open_row.sub("%d", open_column.sub("%%s", printed.replace("%", "%%%%")))
        return _Pattern(text, tuple(map(int, open_row.findall(printed))), tuple(map(int, open_column.findall(printed))))

    def row(self, n: int) -> str:
        """The formula in row n of the batch, its columns still open."""
        return self.text % tuple(row + n for row in self.rows)

    def columns_at(self, k: int) -> tuple[str, ...]:
        """What fills the columns for class k."""
        return tuple(letters(column + k) for column in self.columns)


@dataclass
class _Pen:
    """Where the next block goes; used by `plan` while it walks down the chain."""

    sheet: str
    rows: int
    classes: int
    row: int
    places: dict[str, Place]
    blocks: list[Block] = field(default_factory=list)

    def open(self, title: str, values: list[Named], notes: int) -> None:
        """Place a block: what varies over classes first, then what varies over rows, single numbers below."""
        beside = sorted((v for v in values if v.axes), key=lambda v: "k" not in v.axes)
        below = [v for v in values if not v.axes]
        down = self.rows if any("n" in v.axes for v in beside) else (1 if beside else 0)
        heading = self.row + 1 + notes
        first, column = heading + 1, FIRST_CLASS
        for v in beside:
            at = LABEL_COLUMN if v.word == "label" else column
            self.places[v.word] = Place(self.sheet, first, at, v.axes, self.rows, self.classes)
            column += 0 if v.word == "label" else self.places[v.word].shape[1]
        for line, v in enumerate(below):
            self.places[v.word] = Place(self.sheet, first + down + line, FIRST_CLASS, "")
        block = Block(title, len(self.blocks) + 1, self.row, tuple(beside), tuple(below), heading, first, down)
        self.blocks.append(block)
        self.row = block.end + 1


def plan(
    chain: Chain,
    rows: int,
    classes: int,
    *,
    sheet: str = "Steps",
    top: int = 6,
    given: Mapping[str, Place] | None = None,
    named: frozenset[str] | None = None,
) -> Layout:
    """Give every value of a chain its place.

    Args:
        chain: the steps.
        rows: N, or how many rows the table has.
        classes: K.
        sheet: name of the sheet.
        top: first free row of it.
        given: places of inputs that stand somewhere else; the class numbers' row must be among them, or be no input.
        named: single numbers that formulas call by name, the others by their cell; all of them by default.
    """
    pen = _Pen(sheet, rows, classes, top, dict(given or {}))
    titles: list[tuple[str, list[Named]]] = []
    placed = set(pen.places)
    for step in chain.steps:
        new = [v for v in dict.fromkeys(leaves(step.formula)) if v.word not in placed and v.formula is None]
        placed |= {step.word, *(v.word for v in new)}
        titles += [(TITLES.get(v.word, v.says), [v]) for v in new if "k" in v.axes]
        if step.block or not titles:
            titles.append((step.block or chain.steps[-1].says, []))
        titles[-1][1].extend([v for v in new if "k" not in v.axes])
        titles[-1][1].append(step)
    for title, values in titles:
        pen.open(title, values, len(values))
    if named is None:
        named = frozenset(v.word for v in (*chain.inputs, *chain.steps) if not v.axes)
    return Layout(chain, sheet, rows, classes, pen.places, tuple(pen.blocks), named)


TITLES = {
    "logits": "The logits: what the model says",
    "soft_label": "The label, a distribution",
    "prior": "The prior: what ε is spread over",
    "class_weight": "The class weights",
    "allowed": "Classes that may be predicted",
}


def moved(layout: Layout, sheet: str) -> Layout:
    """The same steps at the same addresses on another sheet; the inputs stay where they are."""
    steps = {s.word for s in layout.chain.steps}
    places = {word: replace(place, sheet=sheet) if word in steps else place for word, place in layout.places.items()}
    return replace(layout, sheet=sheet, places=places)
