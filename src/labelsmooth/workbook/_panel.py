"""Blocks of a layout written onto a sheet: the same hand for the Steps, Play and PyTorch sheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any

from labelsmooth.maths.evaluate import Array
from labelsmooth.maths.expr import Named
from labelsmooth.maths.printers import NO_INFINITY, text

from ._style import Styles
from .layout import FIRST_CLASS, LABEL_COLUMN, Block, Layout, Place

RESULTS = {"row_loss", "loss", "target", "softmax"}
INFINITE = {"optimum_gap", "masked_logits", "chosen_logits"}  # values that may stand for infinity
WHOLE = {"label", "allowed", "keep", "one_hot"}
CELL_NOTES = {
    "log_softmax": "LN is the natural logarithm. LOG is base 10: with it every loss comes out 0.4343 times too small. See Play.",
    "plain_sum": "EXP overflows at 710 and shows #NUM!. The shifted block gives the same probabilities and cannot overflow.",
    "target": "The right class keeps 1−ε and gets its own part of ε back: ε/K, not 1/K.",
    "prior_loss": "Cross-entropy with what ε is spread over. For a uniform prior: the mean of −ln p.",
}
FORMULA_SHOWN = 60  # characters of a formula shown beside its mathematics


@dataclass(frozen=True)
class Panel:
    """A layout with its numbers, and what its rows and classes are called."""

    sheet: Any
    layout: Layout
    values: Mapping[str, Array]
    styles: Styles
    row_names: Sequence[str] = ()
    class_names: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)  # inputs that are formulas of their own
    stored: frozenset[str] = frozenset()  # inputs that nobody types: recorded when the file was made
    numbered: bool = False

    def write(self, *, fill: bool = True) -> None:
        """Write every block; without `fill` the steps' cells are left for a student."""
        for block in self.layout.blocks:
            self._head(block, fill=fill)
            for value in block.values + block.below:
                if value.formula is not None and fill:
                    self.write_step(value)
                elif value.formula is not None:
                    self._write_todo(value)
                else:
                    self._write_input(value)

    def _head(self, block: Block, *, fill: bool) -> None:
        """Title, a line a value (mathematics, the sheet's formula, what it is), and the heading row."""
        band = self.styles(f"band {block.number - 1}")
        for column in range(max(self.layout.width, 9)):
            self.sheet.write_blank(block.top, column, None, band)
        self.sheet.write_string(block.top, 0, f"{block.number}  {block.title}" if self.numbered else block.title, band)
        for line, value in enumerate((*block.values, *block.below)):
            self._describe(block.top + 1 + line, value, fill=fill)
        self._headings(block)
        if any("n" in v.axes for v in block.values):
            for n, name in enumerate(self.row_names):
                write_name(self.sheet, block.first + n, 0, name, self.styles)
        for line, value in enumerate(block.below):
            self.sheet.write_string(
                block.first + block.down + line,
                0,
                f"{value.symbol}   {value.word.replace('_', ' ')}",
                self.styles("bold"),
            )

    def _describe(self, row: int, value: Named, *, fill: bool) -> None:
        """One line: the mathematics, the first cell's formula unless a student is to find it, and what the value is."""
        if value.formula is None:
            typed = value.word not in self.links and value.word not in self.stored
            symbol = f"{value.symbol}   (yellow: type here)" if typed else value.symbol
            self.sheet.write_string(row, 0, symbol, self.styles("math"))
            self.sheet.write_string(row, FIRST_CLASS, value.says, self.styles("plain"))
            return
        self.sheet.write_string(row, 0, f"{value.symbol} = {text(value.formula)}", self.styles("math"))
        if not fill:
            self.sheet.write_string(row, FIRST_CLASS, value.says, self.styles("plain"))
            return
        formula = f"={self.layout.formula(value)}"
        shown = formula if len(formula) <= FORMULA_SHOWN else formula[: FORMULA_SHOWN - 1] + "…"
        self.sheet.write_rich_string(
            row, FIRST_CLASS, self.styles("code"), shown, self.styles("plain"), f"    {value.says}"
        )

    def _headings(self, block: Block) -> None:
        if self.row_names and any("n" in v.axes for v in block.values):
            self.sheet.write_string(block.heading, 0, "row", self.styles("head_left"))
        for value in block.values:
            place = self.layout.places[value.word]
            if value.word == "label":
                self.sheet.write_string(block.heading, LABEL_COLUMN, "label y", self.styles("head"))
                self.sheet.write_string(block.heading, LABEL_COLUMN + 1, "its class", self.styles("head"))
            elif "k" in value.axes:
                for k, name in enumerate(self.class_names):
                    self.sheet.write_formula(
                        block.heading, place.column + k, f"=Lists!$B${5 + k}", self.styles("head"), name
                    )
            else:
                self.sheet.write_string(block.heading, place.column, value.symbol, self.styles("head"))
            if value.word in CELL_NOTES:
                self.sheet.write_comment(block.heading, place.column, CELL_NOTES[value.word], {"x_scale": 2})

    def write_step(self, value: Named) -> None:
        """Every cell of a step: its formula, with its true number cached."""
        numbers = self.values[value.word].tolist()  # Python's floats: taking them from the array one by one is slow
        style = self.styles("result" if value.word in RESULTS else "whole" if value.word in WHOLE else "cell")
        for row, column, n, k, formula in self.layout.cells(value):
            self.sheet.write_formula(row, column, f"={formula}", style, cached(numbers[n][k]))
        if value.word in INFINITE:
            self._show_infinity(self.layout.places[value.word])

    def _show_infinity(self, place: Place) -> None:
        """Show the number that stands for infinity as the sign."""
        down, across = place.shape
        corners = (place.row, place.column, place.row + down - 1, place.column + across - 1)
        for criteria, limit, style in ((">=", 1e300, "infinite"), ("<=", -1e300, "minus_infinite")):
            rule = {"type": "cell", "criteria": criteria, "value": limit, "format": self.styles(style)}
            self.sheet.conditional_format(*corners, rule)

    def _write_todo(self, value: Named) -> None:
        place = self.layout.places[value.word]
        down, across = place.shape
        for n in range(down):
            for k in range(across):
                self.sheet.write_blank(place.row + n, place.column + k, None, self.styles("todo"))

    def _write_input(self, value: Named) -> None:
        """Yellow cells with the numbers that were given, or a link to where they stand."""
        place, given = self.layout.places[value.word], self.values[value.word]
        down, across = place.shape
        if value.word in self.links:
            for k in range(across):
                self.sheet.write_formula(
                    place.row,
                    place.column + k,
                    self.links[value.word].replace("\0", str(k + 1)),
                    self.styles("cell"),
                    cached(given[0, k]),
                )
            if value.word in INFINITE:
                self._show_infinity(place)
            return
        kind = "stored" if value.word in self.stored else "input_whole" if value.word in WHOLE else "input"
        style = self.styles(kind)
        for n in range(down):
            for k in range(across):
                number = float(given[n, k])
                if number - number == 0:
                    self.sheet.write_number(place.row + n, place.column + k, number, style)
                else:  # a masked class may hold what no cell can; the formulas never read it
                    self.sheet.write_string(place.row + n, place.column + k, str(number), style)


def write_name(sheet: Any, row: int, column: int, name: str, styles: Styles) -> None:
    """Write text from outside: always a string, marked so that it stays one when the cell is edited."""
    sheet.write_string(row, column, name, styles("name_quoted" if name[:1] in tuple("=+-@\t\r") else "name"))


def cached(number: float) -> float | str:
    """Return what to cache for a number; a sheet has no infinity, and an error where a float64 has NaN."""
    limit = float(NO_INFINITY)
    return "#NUM!" if isnan(number) else max(-limit, min(limit, float(number)))
