"""Logits, labels, probabilities, losses and ε in a workbook that anybody wrote, found by what its formulas do.

Nobody labels such a sheet for a machine, and a heading says what its author meant rather than what the formula does. So the
typed cells are sorted by use (`_foreign_inputs.py`), each way to read them is tried on random numbers (`_foreign_roles.py`),
and the reading under which most formulas turn out to be steps of the chain is taken. Readings that do equally well are all
kept: the caller says so instead of choosing for the user.

A person who knows better gives the areas (`Sheet1!B2:F6`), and nothing is searched for there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from pathlib import Path

from labelsmooth.errors import WorkbookError
from labelsmooth.maths.evaluate import Array
from labelsmooth.workbook._foreign_cells import Web, Worlds, read_web
from labelsmooth.workbook._foreign_formula import At, area_of
from labelsmooth.workbook._foreign_inputs import (
    LOGITS,
    PROBABILITIES,
    TARGETS,
    Labels,
    Lines,
    Table,
    shown_cells,
    tables,
)
from labelsmooth.workbook._foreign_labels import digits, labellings, with_epsilon, with_labels
from labelsmooth.workbook._foreign_roles import LOSSES, WHOLE, Role, Roles, is_constant
from labelsmooth.workbook._foreign_values import Scalar
from labelsmooth.workbook._foreign_worlds import actual_inputs, random_inputs

MOST_READINGS = 60
MOST_TRIALS = 10
LN_10 = log(10)
NEAR_ONE = 0.02  # typed probabilities are rounded
WORTH = 5  # a cell that is a loss counts as much as so many others


@dataclass(frozen=True)
class Found:
    """A table as it is read, the cells that are recognised in it, and the other readings that fit as well."""

    table: Table
    roles: dict[At, Role]
    score: float
    shares: bool  # the typed probabilities of each row sum to 1
    complete: bool  # no formula that depends on it is left over
    others: tuple[Table, ...] = ()  # readings that explain as much and mean something else
    next_best: tuple[Table, ...] = ()  # worth a trial where formulas are left over

    def cells(self, *words: str) -> list[At]:
        """The cells that are one of these steps."""
        return sorted(at for at, role in self.roles.items() if role.word in words and not role.wrong)


@dataclass(frozen=True)
class ForeignBook:
    """A workbook that labelsmooth did not write, as it is understood."""

    path: str
    web: Web
    found: tuple[Found, ...]


def read_foreign(
    path: str | Path, *, logits: str | None = None, labels: str | None = None, probabilities: str | None = None
) -> ForeignBook:
    """Find the tables of a workbook that labelsmooth did not write.

    Args:
        path: the .xlsx file; it is only read, and passes the gate first.
        logits: the area of the logits, such as "Sheet1!B2:F6", where the search finds none or the wrong one.
        labels: the area of the labels: class numbers, names, or one cell a class.
        probabilities: the area of the probabilities, where the sheet starts from those.

    Returns:
        The tables, each with the cells that are recognised as steps of the chain.

    Raises:
        WorkbookError: the gate refuses the file, an area holds no numbers, or no formula exponentiates or takes a logarithm.

    Example:
        >>> import os, tempfile
        >>> from xlsxwriter import Workbook
        >>> path = os.path.join(tempfile.mkdtemp(), "theirs.xlsx")
        >>> with Workbook(path) as book:
        ...     sheet = book.add_worksheet("Theirs")
        ...     _ = sheet.write_row("A2", [1, 0, 0.7, 0.3]), sheet.write_row("A3", [0, 1, 0.6, 0.4])
        ...     for row in (2, 3):
        ...         _ = sheet.write_formula(f"F{row}", f"=-SUMPRODUCT(A{row}:B{row},LN(C{row}:D{row}))")
        >>> [found] = read_foreign(path).found
        >>> found.table.kind, [at.cell for at in found.cells("row_loss")]
        ('probabilities', ['F2', 'F3'])
    """
    web = read_web(path)
    if logits or probabilities:
        shapes = [_given(web, logits or probabilities or "", LOGITS if logits else PROBABILITIES)]
    else:
        shapes = tables(web)
    if not shapes:
        raise WorkbookError(
            f"{path}: no formula takes EXP or LN of typed numbers, so no logits or probabilities are found: "
            "name them with --logits Sheet1!B2:F6"
        )
    found = []
    for shape in shapes:
        readings = [_with_area(web, one, labels) for one in shape] if labels else list(_labelled(web, shape))
        readings = [full for one in readings for full in with_epsilon(web, one)]
        found.append(best_reading(web, readings[:MOST_READINGS]))
    return ForeignBook(str(path), web, tuple(found))


def _labelled(web: Web, shape: Sequence[Table]) -> list[Table]:
    return [table for one in shape for table in with_labels(web, one)]


def best_reading(web: Web, readings: Sequence[Table]) -> Found:
    """The reading that explains most, and those that explain as much."""
    tried = [_try(web, table) for table in readings]
    best = max(tried, key=_rank)
    others = [
        one.table
        for one in tried
        if one is not best and one.score == best.score and one.shares == best.shares and _differs(one, best)
    ]
    ranked = sorted((one for one in tried if one is not best), key=_rank, reverse=True)
    return replace(best, others=tuple(others), next_best=tuple(one.table for one in ranked[:MOST_TRIALS]))


def _rank(found: Found) -> tuple[float, bool, bool, int, bool]:
    """Explained formulas first; then rows that are distributions, no ε that nothing needs, the rounder ε, classes across."""
    epsilon = found.table.epsilon
    plain = -digits(epsilon) if isinstance(epsilon, float) else 0
    return (found.score, found.shares, epsilon is None, plain, found.table.across)


def _differs(one: Found, best: Found) -> bool:
    """Whether another reading with the same score gives another meaning to the same losses."""
    if not one.cells(*LOSSES):
        return False
    return one.table.labels != best.table.labels or one.table.across != best.table.across


def _try(web: Web, table: Table) -> Found:
    """Recognise every formula cell that depends on the table, on two sets of random numbers."""
    inputs = random_inputs(table, worlds=2)
    worlds = Worlds(web, inputs.cells)
    known = Roles(inputs)
    after, own = web.downstream(table.inputs()), web.downstream(at for line in table.lines for at in line)
    roles, score, complete = {}, 0.0, True
    for at in web.order:
        if at not in after or at in web.pasted:
            continue
        values = worlds.values(at)
        if fits := known.find(values):
            roles[at] = fits[0]
            score += _worth(fits[0]) * (0.9 if fits[0].wrong else 1)
            complete = complete and not fits[0].wrong
        elif (decimal := known.find([x * LN_10 if isinstance(x, float) else x for x in values])) and not decimal[
            0
        ].wrong:
            score += 0.8 * _worth(decimal[0])  # the sheet takes LOG throughout: still the best sign of what it means
            complete = False
        else:
            complete = complete and (at not in own or is_constant(values))
    losses = any(role.word in LOSSES for role in roles.values())
    return Found(table, roles, score, _shares(web, table), complete and (losses or table.labels is None))


def _shares(web: Web, table: Table) -> bool:
    if table.kind != PROBABILITIES or table.binary:
        return True
    rows = [[x for at in line if isinstance(x := web.typed.get(at), float)] for line in table.lines]
    return all(abs(sum(row) - 1) < NEAR_ONE for row in rows)


def _worth(role: Role) -> int:
    return WORTH if role.plain in LOSSES else 1


# Areas that a person gave --------------------------------------------------------------------------------------------


def _lines(web: Web, text: str, *, across: bool, what: str) -> Lines:
    first, last = _on_a_sheet(web, text, what)
    rows, columns = range(first.row, last.row + 1), range(first.column, last.column + 1)
    if len(rows) * len(columns) > len(web.typed) + len(web.formulas):
        raise WorkbookError(f"{web.path}: {what} {text} is larger than all that the file holds")
    if across:
        return tuple(tuple(At(first.sheet, row, column) for column in columns) for row in rows)
    return tuple(tuple(At(first.sheet, row, column) for row in rows) for column in columns)


def _on_a_sheet(web: Web, text: str, what: str) -> tuple[At, At]:
    try:
        first, last = area_of(text)
    except ValueError as fault:
        raise WorkbookError(f"{what}: {fault}") from None
    sheets = {at.sheet.casefold(): at.sheet for at in (*web.typed, *web.formulas)}
    if first.sheet.casefold() not in sheets:
        raise WorkbookError(
            f"{web.path}: there is no sheet {first.sheet!r} with cells; there are {', '.join(sheets.values())}"
        )
    sheet = sheets[first.sheet.casefold()]
    return first._replace(sheet=sheet), last._replace(sheet=sheet)


def _given(web: Web, text: str, kind: str) -> list[Table]:
    out = [Table(kind, _lines(web, text, across=across, what=kind), across) for across in (True, False)]
    for line in out[0].lines:
        for at in line:
            if at not in web.formulas and not isinstance(web.typed.get(at), float):
                raise WorkbookError(f"{web.path}: {at.shown} is among the {kind} and holds no number")
    return out


def _with_area(web: Web, table: Table, text: str) -> Table:
    """The labels in an area that a person gave, read as that many rows allow."""
    rows = len(table.lines)
    for across in (table.across, not table.across):
        lines = _lines(web, text, across=across, what="labels")
        if len(lines) == rows and (labels := next(labellings(web, table, lines), None)):
            return replace(table, labels=labels)
    return table


# Numbers -------------------------------------------------------------------------------------------------------------


def numbers_of(web: Web, table: Table) -> tuple[Array, Array | None, float]:
    """Logits (N, K), labels (N,) or (N, K), and ε, as they stand in the file."""
    inputs = actual_inputs(web, table)
    return inputs.logits[0], None if inputs.labels is None else inputs.labels[0], float(inputs.epsilon[0])


def cells_of(web: Web, text: str, *, what: str = "losses") -> tuple[At, ...]:
    """The cells of an area that a person gave."""
    return tuple(at for line in _lines(web, text, across=True, what=what) for at in line)


__all__ = [
    "LOSSES",
    "TARGETS",
    "WHOLE",
    "ForeignBook",
    "Found",
    "Labels",
    "Scalar",
    "Table",
    "best_reading",
    "cells_of",
    "numbers_of",
    "read_foreign",
    "shown_cells",
]
