"""What is said about a stranger's workbook: what was found where, each departure once with its cells, and what stays open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from labelsmooth.workbook._foreign_cells import Web
from labelsmooth.workbook._foreign_formula import At
from labelsmooth.workbook._foreign_inputs import INDEX, NAMES, TARGETS, Labels, Table, shown_cells
from labelsmooth.workbook._foreign_roles import LOSSES, WHOLE
from labelsmooth.workbook._foreign_worlds import actual_inputs
from labelsmooth.workbook.foreign import Found

from ._audit import NOTE, Finding
from ._causes import one_line
from ._foreign_choice import other_epsilon
from ._foreign_judge import Judge
from ._foreign_slips import EPSILON, TYPED, Departure

ROWS_SUM = "rows that do not sum to 1"
ROUNDING = 0.02  # by which typed shares may miss 1: two or three classes of two decimals


@dataclass(frozen=True)
class TableReport:
    """A table as a person wants to hear of it."""

    kind: str
    numbers: str
    rows: int
    classes: int
    across: bool
    labels: str
    labels_are: str
    epsilon: str
    row_losses: str
    whole_losses: str
    steps: tuple[str, ...]

    @property
    def line(self) -> str:
        """What was found where, in one line."""
        direction = "" if self.across else ", classes down"
        rows = "1 row" if self.rows == 1 else f"{self.rows:,} rows"
        parts = [f"{self.kind} {self.numbers} ({rows}, {self.classes:,} classes{direction})"]
        parts.append(f"labels {self.labels} ({self.labels_are})" if self.labels else "no labels")
        if self.epsilon:
            parts.append(f"ε {self.epsilon}")
        parts.append(f"losses {self.row_losses}" if self.row_losses else "no losses")
        if self.whole_losses:
            parts.append(f"of the batch {self.whole_losses}")
        return "; ".join(parts)


def report(judge: Judge) -> TableReport:
    """What was found where."""
    table = judge.table
    losses = {at: role for at, role in judge.roles.items() if role.word in LOSSES} or {
        at: role for at, role in judge.roles.items() if role.plain in LOSSES
    }
    rows = [at for at, role in losses.items() if role.plain not in WHOLE]
    whole = [at for at, role in losses.items() if role.plain in WHOLE]
    e = table.epsilon
    return TableReport(
        table.kind,
        shown_cells(at for line in table.lines for at in line),
        len(table.lines),
        table.classes,
        table.across,
        shown_cells(at for line in table.labels.cells for at in line) if table.labels else "",
        labels_are(table.labels) if table.labels else "",
        e.shown if isinstance(e, At) else f"{e:.10g}, typed in the formulas" if e else "",
        shown_cells(rows),
        shown_cells(whole),
        tuple(sorted({role.word for role in judge.roles.values()})),
    )


def labels_are(labels: Labels) -> str:
    """How the labels are written."""
    if labels.kind == INDEX:
        return f"class numbers from {labels.base}"
    if labels.kind == NAMES:
        return "class names"
    return (
        "typed targets" if labels.soft else "one-hot" if len(labels.cells[0]) > 1 else "1 for the class of the column"
    )


# Departures ----------------------------------------------------------------------------------------------------------


def departed(judges: Sequence[Judge]) -> list[Finding]:
    """One finding for all cells that hold the same departure."""
    groups: dict[tuple[str, str, str], list[Departure]] = {}
    for judge in judges:
        for departure in judge.departures.values():
            form = judge.web.forms.get(departure.at, "")
            key = (departure.at.sheet, departure.kind, "" if departure.kind == TYPED else form)
            groups.setdefault(key, []).append(departure)
    found = [_finding(sorted(group, key=lambda d: d.at)) for group in groups.values()]
    return sorted(found, key=lambda finding: finding.cells)


def _finding(group: Sequence[Departure]) -> Finding:
    first = group[0]
    cells = shown_cells(departure.at for departure in group)
    fix = f"; write {one_line(first.right)}" if first.right else ""
    fix += f" in {first.at.cell}, and so on" if fix and len(group) > 1 else ""
    says = f"{first.kind} at {cells}: {one_line(first.says)}{fix}"
    return Finding(first.kind, cells, says, fatal=True, cells=tuple(departure.at.shown for departure in group))


# Notes ---------------------------------------------------------------------------------------------------------------


def notes_on(judge: Judge, found: Found) -> Iterator[Finding]:
    """What is worth saying and is no fault."""
    table = judge.table
    area = shown_cells(at for line in table.lines for at in line)
    for other in found.others if found.table == table else ():
        says = f"{area} can be read in another way, which explains as much: {_reading(other)}; name the one you mean"
        yield _note(area, says)
    if (share := other_epsilon(table)) is not None and _is_implied(judge):
        says = (
            f"the typed targets are those of ε = {table.epsilon:.10g} over all {table.classes} classes, and of"
            f" ε = {share:.10g} over the {table.classes - 1} wrong ones: the same numbers"
        )
        yield _note(area, says)
    if isinstance(table.epsilon, float) and any(d.kind == EPSILON for d in judge.departures.values()):
        K, e = table.classes, table.epsilon
        says = f"ε = {e:.10g} over the {K - 1} wrong classes is ε = {e * K / (K - 1):.10g} over all {K}: right, if that was meant"
        yield _note(area, says)
    if table.labels is not None and table.labels.soft and (pair := _two_values(judge.web, table)):
        yield _note(area, pair)
    negative = [at for at, role in judge.roles.items() if role.word.startswith("minus ") and role.plain in LOSSES]
    negative = [at for at in negative if not judge.web.readers.get(at) and at not in judge.departures]
    if negative:
        cells = shown_cells(negative)
        yield _note(cells, f"{cells}: minus the loss, a log-likelihood; no cell turns its sign")
    yield from _matches(judge)


def _note(cell: str, says: str) -> Finding:
    return Finding(NOTE, cell, says, fatal=False, cells=(cell,))


def _reading(table: Table) -> str:
    direction = "classes across" if table.across else "classes down"
    if table.labels is None:
        return direction
    return f"{direction}, labels {shown_cells(at for line in table.labels.cells for at in line)} ({labels_are(table.labels)})"


def _is_implied(judge: Judge) -> bool:
    """Whether no formula holds ε itself, only the targets that follow from it."""
    e = judge.table.epsilon
    if any(departure.kind == EPSILON for departure in judge.departures.values()):
        return False
    numbers = {n.value for at in judge.scope for n in judge.web.trees[at].walk() if n.kind == "number"}
    return isinstance(e, float) and not any(abs(x - y) < 1e-12 for x in numbers for y in (e, 1 - e))


def _two_values(web: Web, table: Table) -> str:
    """Typed targets of two numbers: which ε they stand for, over all classes or over the wrong ones."""
    try:
        q = actual_inputs(web, table).labels[0]
    except (ValueError, KeyError):
        return ""
    values = sorted({round(float(x), 12) for x in q.ravel()}) if q.ndim == 2 else []
    K = table.classes
    if len(values) != 2 or abs(values[1] + (K - 1) * values[0] - 1) > 1e-9 or not values[0]:
        return ""
    return (
        f"targets of {values[1]:g} and {values[0]:g} are typed: ε = {values[0] * K:.6g} over all {K} classes,"
        f" or ε = {1 - values[1]:.6g} over the {K - 1} wrong ones; the file does not say which"
    )


def _matches(judge: Judge) -> Iterator[Finding]:
    """MATCH without its third argument is right by luck where its range is not sorted."""
    cells = [
        at
        for at in judge.scope
        if at not in judge.departures
        for node in judge.web.trees[at].walk()
        if node.kind == "call" and node.value == "MATCH" and len(node.args) == 2
    ]
    if cells:
        shown = shown_cells(cells)
        yield _note(
            shown, f"{shown}: MATCH without ,0 takes its range for sorted; with these labels it is right all the same"
        )


def unlike_distributions(web: Web, table: Table) -> tuple[list[Finding], set[int]]:
    """Typed targets or probabilities whose row does not sum to 1: findings, and the rows that cannot be compared."""
    out, rows = [], set()
    parts = [("probabilities", table.lines)] if table.kind == "probabilities" and not table.binary else []
    if table.labels is not None and table.labels.kind == TARGETS and len(table.labels.cells[0]) == table.classes:
        parts.append(("targets", table.labels.cells))
    for what, lines in parts:
        for n, line in enumerate(lines):
            values = [x for at in line if isinstance(x := web.typed.get(at), float)]
            if len(values) == len(line) and abs(sum(values) - 1) > 1e-9:
                rows.add(n)
                cells = shown_cells(line)
                fatal = abs(sum(values) - 1) > ROUNDING
                says = f"{cells}: the {what} sum to {sum(values):.6g}, not to 1"
                out.append(Finding(ROWS_SUM if fatal else NOTE, cells, says, fatal=fatal, cells=(cells,)))
    return out, rows
