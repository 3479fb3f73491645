"""The verdict on a workbook of ours that somebody worked in: which cells are to blame, or how far a student is.

The workbook is recalculated by an engine, poison first (`workbook/recalc.py`), so that no number that was stored in the
file is believed; the chain on the inputs as they now are says what every cell should show. A full workbook is audited cell
by cell (`_audit.py`); of a student's copy the typed answers are marked as the sheet marks them, and no answer is printed.
The sheets around Steps are judged by what they show: an error or the word CHECK is a finding, unless Steps explains it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelsmooth.errors import LabelsmoothError
from labelsmooth.workbook._inputs import Fault, shown
from labelsmooth.workbook._panel import cached
from labelsmooth.workbook._student import MARKING_TOLERANCE
from labelsmooth.workbook.book import Book
from labelsmooth.workbook.read import Calculated, OurBook, open_book
from labelsmooth.workbook.recalc import available_engines, recalculate

from ._audit import NOTE, WRONG, Audit, Finding, edited, shows, slots
from ._causes import needs_arrays, one_line, words_read
from ._truth import Slot
from .judge import Implementation, implementations

NO_NUMBER, NO_INPUT, UNFILLED = "input not a number", "input out of range", "not filled in"
SECOND_OPINIONS = ("libreoffice", "formulon")  # for formulas that IronCalc is known to get wrong
AROUND = ("Play", "PyTorch", "Checks")
FIRST_CHECK = 5  # row of the sheet Checks


@dataclass(frozen=True)
class BookVerdict:
    """What was found in one workbook."""

    path: str
    blank: bool = False  # a student's copy
    rows: int = 0
    classes: int = 0
    engine: str = ""
    checked: int = 0  # cells that hold, or are to hold, a formula
    findings: tuple[Finding, ...] = ()
    follow: int = 0  # cells that are wrong only because an earlier one is
    right: int = 0  # of a student's cells
    wrong: int = 0
    unfilled: int = 0
    error: str = ""  # why the file could not be checked at all
    implementations: tuple[Implementation, ...] = ()  # PyTorch on the inputs as they now are, where it is installed

    @property
    def agree(self) -> bool:
        """Whether nothing is wrong; what is not filled in is not wrong."""
        fine = not any(finding.fatal for finding in self.findings) and all(i.agrees for i in self.implementations)
        return fine and not self.error

    @property
    def exit_code(self) -> int:
        """0 right, 1 wrong, 2 unreadable."""
        return 2 if self.error else 0 if self.agree else 1

    @property
    def line(self) -> str:
        """All of it in one line."""
        if self.error:
            return self.error if self.error.startswith(self.path) else f"{self.path}: {self.error}"
        fatal = [finding for finding in self.findings if finding.fatal]
        if self.blank:
            marks = f"{self.right:,} right, {self.wrong:,} wrong, {self.unfilled:,} not filled in"
            first = f"; first: {fatal[0].message}" if fatal else ""
            return f"{self.path}: {marks}{first}"
        if not fatal:
            notes = Counter(finding.kind for finding in self.findings)[NOTE]
            said = f", {notes} {'note' if notes == 1 else 'notes'}" if notes else ""
            return f"{self.path}: all {self.checked:,} formulas are right{said}"
        more = f"; {len(fatal) - 1} more" if len(fatal) > 1 else ""
        return f"{self.path}: {fatal[0].message}{more}{follow_sentence(self.follow)}"

    @property
    def summary(self) -> str:
        """One line to stand under the findings."""
        blamed = sum(finding.fatal for finding in self.findings)
        if self.blank or self.agree or not blamed:
            return self.line
        return (
            f"{self.path}: differs, {blamed} {'finding' if blamed == 1 else 'findings'}{follow_sentence(self.follow)}"
        )


def follow_sentence(follow: int) -> str:
    """How many cells are wrong only because an earlier one is."""
    return f"; {follow:,} {'cell follows' if follow == 1 else 'cells follow'} from that" if follow else ""


def check_book(path: str | Path, *, engine: str = "ironcalc") -> BookVerdict:
    """Check a workbook that labelsmooth made and somebody worked in.

    Args:
        path: the .xlsx file, full, compact or a student's copy; it is only read.
        engine: the spreadsheet engine, as in `recalculate`; where a formula is one that IronCalc gets wrong and another
            engine is installed, that one calculates, and the verdict says so.

    Returns:
        The verdict: the cells to blame first, then notes.

    Raises:
        WorkbookError: the file is refused, or is none of ours.
        EngineError: the engine is missing or failed.

    Example:
        >>> import os, tempfile
        >>> from labelsmooth import write_workbook
        >>> path = os.path.join(tempfile.mkdtemp(), "book.xlsx")
        >>> _ = write_workbook(path, [[4.2, -2.4], [1.6, -0.6]], [0, 1], 0.1)
        >>> check_book(path).agree
        True
    """
    ours = open_book(path)
    expected = slots(ours)
    changed = edited(ours, expected)
    engine, notes = _engine(engine, ours, changed)
    done = recalculate(path, engine=engine)
    reading = ours.read(done.values)
    about: dict[str, Any] = {
        "path": str(path),
        "blank": ours.blank,
        "rows": ours.layout.rows,
        "classes": ours.layout.classes,
        "engine": f"{engine} {done.version}",
        "checked": len(expected),
    }
    if reading.computed is None:
        return BookVerdict(**about, findings=tuple(_unusable(fault) for fault in reading.faults))
    notes += _changed_inputs(ours, reading.computed, reading.changed)

    def again(changes: Mapping[str, float]) -> Calculated:
        return recalculate(path, engine=engine, changes=changes).values

    audit = Audit(ours, reading.computed, done.values, again)
    if ours.blank:
        return _mark(audit, expected, notes, about)
    findings = audit.run(expected, changed)
    around = _around(ours, reading.computed, done.values)
    if any(finding.fatal for finding in findings):
        audit.follow += sum(len(finding.cells) for finding in around)
        around = []
    findings = sorted([*findings, *around], key=lambda finding: not finding.fatal)
    about["implementations"] = implementations(reading.computed.problem)
    return BookVerdict(**about, findings=(*findings, *notes), follow=audit.follow)


def check_books(paths: Sequence[str | Path], *, engine: str = "ironcalc") -> Iterator[BookVerdict]:
    """Check many workbooks, one verdict a file as soon as it is there; a file that cannot be checked does not stop the rest."""
    for path in paths:
        try:
            yield check_book(path, engine=engine)
        except (LabelsmoothError, OSError) as fault:
            yield BookVerdict(str(path), error=" ".join(str(fault).split()))


def _engine(asked: str, ours: OurBook, changed: Sequence[Slot]) -> tuple[str, list[Finding]]:
    """The engine to use: not IronCalc for a formula that it is silently wrong on, if there is another."""
    doubtful = [s.cell for s in changed if s.cell in ours.formulas and needs_arrays(ours.formulas[s.cell])]
    if asked != "ironcalc" or not doubtful:
        return asked, []
    cell = f"Steps!{doubtful[0]}"
    there = [name for name in SECOND_OPINIONS if name in available_engines()]
    formula = one_line(ours.formulas[doubtful[0]])
    if there:
        says = f"{cell} computes with a whole range, where IronCalc errs, so {there[0]} calculated the file: {formula}"
    else:
        says = f"{cell} computes with a whole range, where IronCalc may err; install formulon to be sure: {formula}"
    return (there or [asked])[0], [Finding(NOTE, cell, says, fatal=False, cells=(cell,))]


def _unusable(fault: Fault) -> Finding:
    return Finding(NO_INPUT if fault.number else NO_NUMBER, fault.cell, fault.says, fatal=True, cells=(fault.cell,))


def _changed_inputs(ours: OurBook, book: Book, words: Sequence[str]) -> list[Finding]:
    out = []
    then = dict(part.split("=", 1) for part in ours.settings.text("inputs").split())
    for word in words:
        area = ours.layout.places[word].area.replace("$", "")
        what = f"{word.replace('_', ' ')} ({area})"
        if book.values[word].size == 1:
            says = (
                f"{what} is {shown(float(book.values[word].item()))}; the file was made with {shown(float(then[word]))}"
            )
        else:
            says = f"{what}: not what the file was made with; everything is compared on what is there now"
        out.append(Finding(NOTE, area, says, fatal=False, cells=(area,)))
    return out


# The sheets around Steps ---------------------------------------------------------------------------------------------


def _around(ours: OurBook, book: Book, calculated: Calculated) -> list[Finding]:
    """Errors and the word CHECK on the other sheets: a finding for each check, and one for each other sheet."""
    out = []
    for sheet in AROUND:
        bad = [cell for cell, got in calculated.get(sheet, {}).items() if got == "CHECK" or _is_error(got)]
        if sheet == "Checks":
            bad = [cell for cell in bad if cell[0] == "D" and int(cell[1:]) >= FIRST_CHECK]
        for cells in [[cell] for cell in bad] if sheet == "Checks" else [bad] if bad else []:
            got = calculated[sheet][cells[0]]
            label = ours.contents.typed[sheet].get(f"A{cells[0].lstrip('D')}") if sheet == "Checks" else None
            more = f" ({len(cells) - 1:,} more on that sheet)" if len(cells) > 1 else ""
            says = f"{sheet}!{cells[0]} shows {got}{more}" + (f": {one_line(str(label))}" if label else "")
            overflow = _is_error(got) and _undefined(book)
            if overflow:
                says += "; a logit is beyond what EXP can hold"
            kind = NOTE if overflow else WRONG
            out.append(Finding(kind, f"{sheet}!{cells[0]}", says, not overflow, tuple(f"{sheet}!{c}" for c in cells)))
    return out


def _is_error(got: object) -> bool:
    return isinstance(got, str) and got.startswith("#")


def _undefined(book: Book) -> bool:
    """Whether float64 has no number for some step either, as for exponentials that are not shifted."""
    return any(bool(np.isnan(book.values[step.word]).any()) for step in book.chain.steps)


# A student's copy ----------------------------------------------------------------------------------------------------


def _mark(audit: Audit, expected: Sequence[Slot], notes: list[Finding], about: Mapping[str, Any]) -> BookVerdict:
    """Mark every cell that is to be filled in, as the hidden sheets do; the answer itself is never in a message."""
    cells = [slot for slot in expected if slot.formula]
    todo: dict[str, list[str]] = {}
    wrong = []
    for slot in cells:
        formula = audit.ours.formulas.get(slot.cell)
        got = shows(audit.ours, audit.calculated, slot.cell)
        if formula is None and (got is None or not str(got).strip()):
            todo.setdefault(slot.word, []).append(f"Steps!{slot.cell}")
        elif said := _mistake(audit, slot, got):
            wrong.append(Finding(WRONG, f"Steps!{slot.cell}", said, fatal=True, cells=(f"Steps!{slot.cell}",)))
        if formula is not None and _peeks(audit.ours, formula):
            says = f"Steps!{slot.cell} reads the hidden answers: {one_line(formula)}"
            notes.append(Finding(NOTE, f"Steps!{slot.cell}", says, fatal=False, cells=(f"Steps!{slot.cell}",)))
    left = sum(len(cells) for cells in todo.values())
    for word, blanks in todo.items():
        more = f" and {len(blanks) - 1:,} more of {word!r} are" if len(blanks) > 1 else f" ({word!r}) is"
        says = f"{blanks[0]}{more} not filled in"
        notes.append(Finding(UNFILLED, blanks[0], says, fatal=False, cells=tuple(blanks)))
    right = len(cells) - left - len(wrong)
    about = {**about, "checked": len(cells)}
    return BookVerdict(**about, findings=(*wrong, *notes), right=right, wrong=len(wrong), unfilled=left)


def _mistake(audit: Audit, slot: Slot, got: object) -> str:
    """What is wrong with a student's cell, or nothing."""
    cell, want = f"Steps!{slot.cell}", float(audit.book.values[slot.word][slot.n, slot.k])
    if isinstance(got, bool) or not isinstance(got, int | float):
        if _is_error(got):
            return "" if audit.truth.may_be_an_error(slot) else f"{cell} shows {got}"
        return f"{cell} holds the text {shown(got)}: a number or a formula is expected"
    if np.isnan(want):
        return f"{cell} holds {shown(got)} where a spreadsheet shows an error"
    want = float(cached(want))
    if abs(got - want) <= MARKING_TOLERANCE * (1 + abs(want)):
        return ""
    cause = audit.cause_in_number(slot, got, MARKING_TOLERANCE)
    return f"{cell} holds {shown(got)}, off by {abs(got - want):.3g}" + (f": it {cause}" if cause else "")


def _peeks(ours: OurBook, formula: str) -> bool:
    """Whether a student's formula takes its result from the hidden answers, by sheet or by name."""
    steps = {step.word for step in ours.layout.chain.steps}
    return "answers!" in formula.lower().replace("'", "") or bool(words_read(formula) & steps)
