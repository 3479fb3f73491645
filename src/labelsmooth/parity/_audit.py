"""Every formula of a workbook of ours against the one that should stand there, and every result against float64.

A wrong cell makes all cells after it wrong, and a list of them would hide the one to repair. So the text decides who is to
blame: a cell is named when its own formula was changed or replaced by a number; a cell whose formula is as it was made and
that reads a wrong cell only follows, and is counted. A changed formula that gives the right number is tried on other
inputs, since a formula can be right by accident.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelsmooth.maths.evaluate import Array, evaluate
from labelsmooth.workbook._inputs import shown
from labelsmooth.workbook.book import SHOWN, Book
from labelsmooth.workbook.read import Calculated, OurBook

from ._causes import cause_in_text, cells_read, famous_mistakes, one_line, plain
from ._truth import TOLERANCE, Numbers, Slot, numbers, other_inputs

ROUNDED = 1e-6  # a number copied as it was shown
SIZES = ("n_classes", "n_rows")
CHANGED, PASTED, WRONG, NOTE = "formula changed", "pasted value", "wrong value", "note"

Recalculate = Callable[[Mapping[str, float]], Calculated]


@dataclass(frozen=True)
class Finding:
    """One thing that was found: where, what kind, and a sentence for a person."""

    kind: str
    cell: str  # the first of `cells`
    message: str
    fatal: bool
    cells: tuple[str, ...] = ()


def slots(ours: OurBook) -> list[Slot]:
    """The cells that must hold a formula: the sizes in the head, every step in order, and the results in the head."""
    layout = ours.layout
    out = [Slot(word, 0, 0, layout.places[word].cell(), "") for word in SIZES if word in layout.chain]
    for step in layout.chain.steps:
        place = layout.places[step.word]
        out += [Slot(step.word, n, k, place.cell(n, k), f"={formula}") for _, _, n, k, formula in layout.cells(step)]
    if not ours.blank:
        out += [Slot(word, 0, 0, place.cell(), f"={word}") for word, place in SHOWN.items() if word in layout.chain]
    return out


def edited(ours: OurBook, expected: Sequence[Slot]) -> list[Slot]:
    """The slots in which another formula stands, or none."""
    out = []
    for slot in expected:
        found = ours.formulas.get(slot.cell)
        if found is None or (slot.formula and found != slot.formula and plain(found) != plain(slot.formula)):
            out.append(slot)
    return out


def shows(ours: OurBook, calculated: Calculated, cell: str) -> Any:
    """What a cell of Steps shows: the engine's result, or what was typed."""
    return calculated.get("Steps", {}).get(cell, ours.typed.get(cell))


# The audit -----------------------------------------------------------------------------------------------------------


@dataclass
class Audit:
    """One workbook under comparison."""

    ours: OurBook
    book: Book
    calculated: Calculated
    recalculate: Recalculate
    follow: int = 0
    truth: Numbers = field(init=False)
    _mistakes: dict[str, list[tuple[str, Array]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.truth = numbers(self.book.chain, self.book.values)

    def run(self, expected: Sequence[Slot], changed: Sequence[Slot]) -> list[Finding]:
        """Name the cells that are to blame, in the order of the chain, and count those that follow."""
        wrong = {slot.cell for slot in expected if not self.truth.right(slot, self._shows(slot))}
        holds = self._hold_elsewhere([s for s in changed if s.cell not in wrong and s.cell in self.ours.formulas])
        blamed = {slot.cell for slot in changed}
        grouped: dict[tuple[str, ...], list[tuple[Slot, str, bool]]] = {}
        for slot in expected:
            if slot.cell in blamed:
                kind, phrase, alike, fatal = self._blame(slot, slot.cell in wrong, holds)
            elif slot.cell in wrong and not self._follows(slot, wrong | blamed):
                kind, phrase, alike, fatal = WRONG, f"{self._off(slot)}, though its formula is right", "", True
            else:
                self.follow += slot.cell in wrong
                continue
            grouped.setdefault((slot.word, kind, alike, str(fatal)), []).append((slot, phrase, fatal))
        found = [_finding(kind, members) for (_, kind, _, _), members in grouped.items()]
        return sorted(found, key=lambda finding: not finding.fatal)

    def _shows(self, slot: Slot) -> Any:
        return shows(self.ours, self.calculated, slot.cell)

    def _want(self, slot: Slot) -> float:
        return float(self.book.values[slot.word][slot.n, slot.k])

    def _off(self, slot: Slot) -> str:
        got = self._shows(slot)
        return f"shows {got if isinstance(got, str) else shown(got)} where {shown(self._want(slot))} is expected"

    def _follows(self, slot: Slot, bad: set[str]) -> bool:
        places = self.ours.layout.places
        named = {word.upper(): places[word].cell() for word in self.ours.layout.names if word in places}
        return any(cell in bad for cell in cells_read(slot.formula, named))

    def _blame(self, slot: Slot, wrong: bool, holds: set[str]) -> tuple[str, str, str, bool]:
        """Kind, what is said after the cell's address, what makes cells alike, and whether it is a fault."""
        expected = (
            f"where a formula is expected: {one_line(slot.formula)}"
            if slot.formula
            else "where a formula is expected that counts"
        )
        found = self.ours.formulas.get(slot.cell)
        if found is None:
            typed = self.ours.typed.get(slot.cell)
            if isinstance(typed, int | float) and not isinstance(typed, bool):
                close = abs(typed - self._want(slot)) <= ROUNDED * (1 + abs(self._want(slot)))
                today = " (right today, but it will not follow a changed input)" if close else ""
                return PASTED, f"holds the number {shown(typed)} {expected}{today}", today, True
            if slot.cell in self.calculated.get("Steps", {}):
                return CHANGED, f"is part of an array formula {expected}", "array", True
            what = "is empty" if typed is None else f"holds the text {shown(typed)}"
            return CHANGED, f"{what} {expected}", what[:8], True
        found, formula = one_line(found), one_line(slot.formula)
        if slot.cell in holds:
            return NOTE, f"is written otherwise and gives the same: {found} for {formula}", "same", False
        if not wrong:
            return (
                CHANGED,
                f"is right for these inputs only: {found} stands where {formula} is expected",
                "accident",
                True,
            )
        if cause := cause_in_text(self.ours.formulas[slot.cell], slot.formula):
            return CHANGED, f"{cause}: {found}", cause if "reads" not in cause else f"row {slot.n}", True
        if cause := self.cause_in_number(slot, self._shows(slot)):
            return CHANGED, f"{cause}: {found}", cause, True
        return CHANGED, f"{self._off(slot)}: {found} stands for {formula}", "", True

    def cause_in_number(self, slot: Slot, got: object, tolerance: float = TOLERANCE) -> str:
        """Which famous mistake, made in this step alone, gives this number and not the right one."""
        if isinstance(got, bool) or not isinstance(got, int | float):
            return ""
        if slot.word not in self._mistakes:
            self._mistakes[slot.word] = famous_mistakes(self.book, slot.word)
        want, fits = self._want(slot), {}
        for cause, values in self._mistakes[slot.word]:
            would = float(values[slot.n, slot.k])
            if abs(got - would) <= tolerance * (1 + abs(would)) and abs(would - want) > 2 * tolerance * (1 + abs(want)):
                fits[cause] = self._matches(slot, values, tolerance)
        return max(fits, key=lambda cause: fits[cause]) if fits else ""

    def _matches(self, slot: Slot, values: Array, tolerance: float) -> int:
        """How many cells of the same row a mistake explains: at one class alone, several look the same."""
        place = self.ours.layout.places[slot.word]
        row = [shows(self.ours, self.calculated, place.cell(slot.n, k)) for k in range(values.shape[1])]
        would = values[slot.n]
        return sum(
            isinstance(x, int | float) and abs(x - y) <= tolerance * (1 + abs(y))
            for x, y in zip(row, would, strict=True)
        )

    # Right by accident? ------------------------------------------------------------------------------------------------

    def _hold_elsewhere(self, suspects: list[Slot]) -> set[str]:
        """Those of the changed formulas that are right on other inputs too."""
        for given in other_inputs(self.book) if suspects else ():
            results = self.recalculate(dict(self._changes(given)))
            self._put_results(given, results)
            truth = numbers(self.book.chain, evaluate(self.book.chain, {**self.book.problem.given, **given}))
            suspects = [s for s in suspects if truth.right(s, results["Steps"].get(s.cell))]
        return {slot.cell for slot in suspects}

    def _input_cells(self, given: Mapping[str, Array]) -> Iterator[tuple[str, int, int, str]]:
        for word, x in given.items():
            for n, k in np.ndindex(x.shape):
                yield word, n, k, self.ours.layout.places[word].cell(n, k)

    def _changes(self, given: Mapping[str, Array]) -> Iterator[tuple[str, float]]:
        for word, n, k, cell in self._input_cells(given):
            if cell not in self.ours.formulas and np.isfinite(given[word][n, k]):
                yield f"Steps!{cell}", float(given[word][n, k])

    def _put_results(self, given: Mapping[str, Array], results: Calculated) -> None:
        """Inputs that somebody made formulas of follow the others."""
        for word, n, k, cell in self._input_cells(given):
            if cell in self.ours.formulas:
                got = results["Steps"].get(cell)
                given[word][n, k] = got if isinstance(got, int | float) else np.nan


def _finding(kind: str, members: Sequence[tuple[Slot, str, bool]]) -> Finding:
    slot, phrase, fatal = members[0]
    more = len(members) - 1
    alike = f" ({more:,} more {'cell' if more == 1 else 'cells'} of {slot.word!r} alike)" if more else ""
    cells = tuple(f"Steps!{member.cell}" for member, _, _ in members)
    return Finding(kind, cells[0], f"{cells[0]} {phrase}{alike}", fatal, cells)
