"""The verdict on a workbook that labelsmooth did not write: what stands where, what departs from the chain and in which cell.

Three witnesses are brought together. What a formula is, is known from random inputs (`_foreign_judge.py`). What the file shows
is for a spreadsheet engine to say, recalculated with every stored number poisoned. What it should show is the chain in float64
on the numbers that are typed there. A formula is called right only when the engine shows the chain's number too.

A corrected copy stands beside the original and never over it, and is judged like any other file before it is offered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from labelsmooth.errors import InputError, WorkbookError
from labelsmooth.maths.evaluate import Array
from labelsmooth.workbook._cells import Value
from labelsmooth.workbook._foreign_cells import Web
from labelsmooth.workbook._foreign_copy import corrected_copy
from labelsmooth.workbook._foreign_formula import At
from labelsmooth.workbook._foreign_inputs import shown_cells
from labelsmooth.workbook._foreign_roles import LOSSES, MINUS, true_values
from labelsmooth.workbook._foreign_worlds import actual_inputs
from labelsmooth.workbook._inputs import shown
from labelsmooth.workbook.foreign import ForeignBook, cells_of, numbers_of, read_foreign

from ._audit import WRONG, Finding
from ._foreign_choice import judged
from ._foreign_engine import STALE, Recalculated, recalculated
from ._foreign_judge import Judge
from ._foreign_slips import Departure
from ._foreign_words import TableReport, departed, notes_on, report, unlike_distributions

T = TypeVar("T")
AGREES, ONE_CAUSE, SEVERAL_CAUSES, SEVERAL_FIT, NONE_FITS = (
    "agrees", "one_cause", "several_causes", "several_fit", "none_fits",
)  # fmt: skip
TOLERANCE = 1e-9  # of a cell against the chain, relative above 1: a stranger's formula may cancel digits
UNEXPLAINED, INPUTS = "no step of the chain", "input"


@dataclass(frozen=True)
class ForeignVerdict:
    """What was found in one workbook that somebody else made."""

    path: str
    engine: str
    tables: tuple[TableReport, ...]
    findings: tuple[Finding, ...]
    departures: tuple[Departure, ...]
    ambiguous: bool = False
    largest: float = 0.0  # difference to the chain over all cells that were judged right
    checked: int = 0
    steps: tuple[tuple[str, int, float], ...] = ()  # each step found: its word, its cells, its largest difference
    asked: Mapping[str, str] = field(default_factory=dict)  # the areas that were given
    seen: Recalculated | None = field(default=None, repr=False, compare=False)

    @property
    def verdict(self) -> str:
        """`agrees`, `one_cause`, `several_causes`, `several_fit` or `none_fits`."""
        fatal = [finding for finding in self.findings if finding.fatal]
        if any(finding.kind == UNEXPLAINED for finding in fatal):
            return NONE_FITS
        if fatal:
            return ONE_CAUSE if len({finding.kind for finding in fatal}) == 1 else SEVERAL_CAUSES
        return SEVERAL_FIT if self.ambiguous else AGREES

    @property
    def agree(self) -> bool:
        """Whether nothing departs."""
        return self.verdict == AGREES

    @property
    def exit_code(self) -> int:
        """0 agrees, 1 differs."""
        return 0 if self.agree else 1

    @property
    def fixable(self) -> bool:
        """Whether a corrected copy would differ from the file."""
        return any(departure.right for departure in self.departures)

    @property
    def line(self) -> str:
        """All of it in one line."""
        if self.agree:
            found = f"within {self.largest:.1e} of float64" if self.checked else "nothing to compare"
            return f"{self.path}: agrees, {self.checked:,} cells follow the chain, {found} ({self.engine})"
        if self.verdict == SEVERAL_FIT:
            return f"{self.path}: can be read in several ways"
        count = Counter(finding.kind for finding in self.findings if finding.fatal)
        named = ", ".join(kind if many == 1 else f"{kind} ({many} places)" for kind, many in count.items())
        return f"{self.path}: differs: {named}"


def check_foreign(
    path: str | Path,
    *,
    logits: str | None = None,
    labels: str | None = None,
    probabilities: str | None = None,
    losses: str | None = None,
    engine: str = "ironcalc",
) -> ForeignVerdict:
    """Read a workbook that labelsmooth did not write, and name each formula that departs from the chain.

    Args:
        path: the .xlsx file; it is only read.
        logits: their area, such as "Sheet1!B2:F6"; found by itself where None, as are the other areas.
        labels: class numbers, names, or one cell a class.
        probabilities: where the sheet starts from those.
        losses: the cells that are to be losses of the rows; a cell there that is none is a finding.
        engine: the spreadsheet engine that recalculates; where IronCalc computes another number than is right for the
            formula and another engine is installed, that one is asked.

    Returns:
        The verdict, with what was found where.

    Raises:
        WorkbookError: the file is refused, or nothing in it can be read as logits or probabilities.
        EngineError: no engine recalculated it.

    Example:
        >>> import os, tempfile
        >>> from xlsxwriter import Workbook
        >>> path = os.path.join(tempfile.mkdtemp(), "theirs.xlsx")
        >>> with Workbook(path) as book:
        ...     sheet = book.add_worksheet("Theirs")
        ...     for row, (label, p) in enumerate([(1, 0.7), (0, 0.6), (1, 0.2)], start=1):
        ...         _ = sheet.write_row(f"A{row}", [label, p])
        ...         _ = sheet.write_formula(f"C{row}", f"=-A{row}*LOG(B{row})-(1-A{row})*LN(1-B{row})")
        >>> verdict = check_foreign(path)
        >>> verdict.verdict, verdict.findings[0].cell
        ('one_cause', 'Theirs!C1:C3')
    """
    asked = {"logits": logits, "labels": labels, "probabilities": probabilities, "losses": losses}
    book = read_foreign(path, logits=logits, labels=labels, probabilities=probabilities)
    judges = judges_of(book)
    seen = recalculated(book.web, [judge.scope for judge in judges], engine)
    findings = [*departed(judges), *_wanted(book.web, judges, losses)]
    off: dict[str, list[float]] = {}
    for judge in judges:
        bad, differences = _numbers(judge, seen)
        findings += bad
        for word, difference in differences:
            off.setdefault(word.removeprefix(MINUS), []).append(difference)
    pairs = list(zip(judges, book.found, strict=True))
    notes = [*seen.notes, *(note for judge, found in pairs for note in notes_on(judge, found))]
    return ForeignVerdict(
        path=str(path),
        engine=seen.engine,
        tables=tuple(report(judge) for judge in judges),
        findings=(*findings, *notes),
        departures=tuple(departure for judge in judges for departure in judge.departures.values()),
        ambiguous=any(found.others and found.table == judge.table for judge, found in pairs),
        largest=max((max(values) for values in off.values()), default=0.0),
        checked=sum(map(len, off.values())),
        steps=tuple((word, len(values), max(values)) for word, values in off.items()),
        asked={key: area for key, area in asked.items() if area},
        seen=seen,
    )


def judges_of(book: ForeignBook) -> list[Judge]:
    """The verdicts on the formulas of each table."""
    lines = [{at for line in found.table.lines for at in line} for found in book.found]
    every: set[At] = set().union(*lines)
    return [judged(book.web, found, frozenset(every - own)) for found, own in zip(book.found, lines, strict=True)]


def write_corrected(
    verdict: ForeignVerdict, target: str | Path, *, force: bool = False, engine: str = "ironcalc"
) -> ForeignVerdict:
    """Write a corrected copy beside the original, recalculate it, and judge it anew.

    Args:
        verdict: of the original.
        target: where the copy goes; never the original itself.
        force: replace an existing file.
        engine: as in `check_foreign`.

    Returns:
        The verdict on the copy.

    Raises:
        InputError: the target is the original, or exists; or nothing can be corrected.
    """
    source = Path(verdict.path)
    if Path(target).exists() and Path(target).samefile(source):
        raise InputError(f"{target} is the original, which is never written over: give the copy another name")
    if not verdict.fixable or verdict.seen is None:
        raise InputError(f"{source}: there is nothing that a corrected copy would change")
    corrected = _by_sheet({d.at: d.right for d in verdict.departures if d.right})
    formulas = _by_sheet(verdict.seen.web.formulas)
    corrected_copy(source, Path(target), corrected=corrected, formulas=formulas, results={}, force=force)
    done = check_foreign(target, engine=engine, **verdict.asked)
    if done.seen is not None:  # what the engine calculated is stored, for programs that show stored numbers
        results = _by_sheet(done.seen.results)
        corrected_copy(source, Path(target), corrected=corrected, formulas=formulas, results=results, force=True)
    return replace(done, findings=tuple(finding for finding in done.findings if finding.kind != STALE))


def typed_batch(
    path: str | Path,
    *,
    losses: str,
    logits: str | None = None,
    probabilities: str | None = None,
    labels: str | None = None,
) -> tuple[Array, Array, list[float]] | None:
    """Logits, labels and losses of a workbook whose losses are typed numbers; None where formulas give them.

    Raises:
        WorkbookError: the file is refused, or there are no labels, or not a loss for each row.
    """
    book = read_foreign(path, logits=logits, labels=labels, probabilities=probabilities)
    cells = cells_of(book.web, losses)
    if any(at in book.web.formulas for at in cells):
        return None
    values = [x for at in cells if isinstance(x := book.web.typed.get(at), float)]
    found = next((one for one in book.found if len(one.table.lines) == len(values)), None)
    if found is None or found.table.labels is None or len(values) != len(cells):
        raise WorkbookError(
            f"{path}: losses {losses} hold {len(values)} numbers: one a row is expected, with --logits and --labels"
        )
    z, y, _ = numbers_of(book.web, found.table)
    if y is None:
        raise WorkbookError(f"{path}: no labels are found: name them with --labels Sheet1!A2:A6")
    return z, y, values


def _by_sheet(cells: Mapping[At, T]) -> dict[str, dict[str, T]]:
    out: dict[str, dict[str, T]] = {}
    for at, content in cells.items():
        out.setdefault(at.sheet, {})[at.cell] = content
    return out


# What is wrong -------------------------------------------------------------------------------------------------------


def _wanted(web: Web, judges: Sequence[Judge], losses: str | None) -> list[Finding]:
    """Results that depend on logits and labels and are no step; and cells that were said to be losses and are none."""
    out = []
    for judge in judges:
        if judge.unexplained and not any(role.plain in LOSSES for role in judge.roles.values()):
            cells = shown_cells(judge.unexplained)
            says = f"{cells}: depends on the logits and the labels, and is no step of the loss under any reading tried"
            out.append(Finding(UNEXPLAINED, cells, says, fatal=True, cells=tuple(a.shown for a in judge.unexplained)))
    for at in cells_of(web, losses) if losses else ():
        roles = [judge.roles[at] for judge in judges if at in judge.roles]
        if not any(role.plain in LOSSES for role in roles):
            what = f"is {roles[0].word.replace('_', ' ')}" if roles else "is no step of the chain"
            says = f"{at.shown} was named as a loss and {what}"
            out.append(Finding(UNEXPLAINED, at.shown, says, fatal=True, cells=(at.shown,)))
    return out


def _numbers(judge: Judge, seen: Recalculated) -> tuple[list[Finding], list[tuple[str, float]]]:
    """Every recognised cell against the chain on the numbers that are typed in the file."""
    try:
        inputs = actual_inputs(judge.web, judge.table)
        truth = true_values(inputs)
    except (ValueError, KeyError, IndexError) as fault:
        area = shown_cells(at for line in judge.table.lines for at in line)
        return [Finding(INPUTS, area, f"{area}: {fault}", fatal=True, cells=(area,))], []
    out, bad = unlike_distributions(judge.web, judge.table)
    follow = judge.web.downstream(judge.departures) | judge.departures.keys() | seen.unconfirmed
    follow |= judge.web.moving() if judge.departures else set()
    wrong: list[tuple[At, Value, float]] = []
    differences = []
    for at, role in judge.roles.items():
        if at in follow or at not in seen.results or role.n in bad or (role.n is None and bad):
            continue
        want, got = float(truth[role][0]), seen.results[at]
        if not isinstance(got, float) or abs(got - want) > TOLERANCE * max(1.0, abs(want)):
            wrong.append((at, got, want))
        else:
            differences.append((role.word, abs(got - want)))
    if wrong:
        at, got, want = min(wrong)
        says = f"{at.shown} shows {shown(got)} where the chain gives {want:.10g}, though its formula is right"
        if isinstance(got, str):
            says += ": EXP cannot hold so large a number; take the row's largest logit out first"
        out.append(Finding(WRONG, at.shown, says, fatal=True, cells=tuple(a.shown for a, _, _ in sorted(wrong))))
    return out, differences
