"""What a spreadsheet engine makes of a stranger's workbook, and where that is not what we compute.

IronCalc is quick and everywhere, and silently wrong on `SUMPRODUCT(q*LN(p))` and on MATCH without its third argument; such
formulas are what strangers write. So the engine's numbers are held against our own computing of every formula in question, and
where they part, another engine is asked if one is installed. A cell on which no engine agrees with us is not judged by number,
and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelsmooth.errors import EngineError
from labelsmooth.workbook._cells import Value, read_values
from labelsmooth.workbook._foreign_cells import Web, Worlds
from labelsmooth.workbook._foreign_formula import At
from labelsmooth.workbook._foreign_inputs import shown_cells
from labelsmooth.workbook.recalc import available_engines, recalculate

from ._audit import NOTE, Finding

SAME = 1e-9
STALE = "stored number"
KEPT = 1e-6  # stored numbers may have been cut to fewer digits


@dataclass(frozen=True)
class Recalculated:
    """The engine's numbers by cell, the engine's name and version, and the cells on which it differs from us."""

    web: Web
    engine: str
    results: Mapping[At, Value]
    unconfirmed: frozenset[At]
    notes: tuple[Finding, ...]


def recalculated(web: Web, scopes: Sequence[set[At]], engine: str) -> Recalculated:
    """Recalculate a workbook by the engine asked for, or by another where that one errs.

    Raises:
        EngineError: no engine could do it.
    """
    judged = [at for at in web.order if any(at in scope for scope in scopes) and at in web.formulas]
    ours = Worlds(web, [{}])
    others = [name for name in available_engines() if name != engine] if engine == "ironcalc" else []
    best: Recalculated | None = None
    fault: EngineError | None = None
    for name in (engine, *others):
        try:
            done = recalculate(web.path, engine=name)
        except EngineError as error:
            fault = error
            continue
        results = {
            at: value for at in web.formulas if (value := done.values.get(at.sheet, {}).get(at.cell)) is not None
        }
        doubtful = frozenset(at for at in judged if not _same(_plain_look(web, ours, at), results.get(at)))
        if best is None or len(doubtful) < len(best.unconfirmed):
            best = Recalculated(web, f"{name} {done.version}", results, doubtful, ())
        if not doubtful:
            break
    if best is None:
        raise fault or EngineError("no spreadsheet engine is installed: pip install ironcalc")
    return Recalculated(web, best.engine, best.results, best.unconfirmed, tuple(_notes(web, best)))


def _plain_look(web: Web, ours: Worlds, at: At) -> Value:
    """What we compute for a cell of the file as it is: a number typed over a formula counts as typed."""
    return ours.look(0, at) if at not in web.pasted else web.typed.get(at)


def _same(ours: Value, theirs: Value) -> bool:
    if isinstance(ours, bool | float) and isinstance(theirs, bool | float | int):
        return abs(float(ours) - float(theirs)) <= SAME * max(1.0, abs(float(ours)))
    if isinstance(ours, str) and isinstance(theirs, str):
        return ours == theirs or (ours.startswith("#") and theirs.startswith("#"))
    return False


def _notes(web: Web, seen: Recalculated) -> list[Finding]:
    out = []
    if seen.unconfirmed:
        at = min(seen.unconfirmed)
        says = (
            f"{shown_cells(seen.unconfirmed)}: {seen.engine} computes something else than this formula means, so its number"
            " is not judged; install LibreOffice or formulon to be sure"
        )
        out.append(Finding(NOTE, at.shown, says, fatal=False, cells=(at.shown,)))
    if stale := _stale(web, seen):
        more = f" (and {len(stale) - 1:,} more cells)" if len(stale) > 1 else ""
        says = (
            f"{stale[0].shown}{more}: the number stored in the file is not what the formula gives; recalculate and save"
        )
        out.append(Finding(STALE, stale[0].shown, says, fatal=False, cells=tuple(at.shown for at in stale)))
    if web.unread:
        at, why = min(web.unread.items())
        more = f" (and {len(web.unread) - 1:,} more)" if len(web.unread) > 1 else ""
        out.append(Finding(NOTE, at.shown, f"{at.shown}{more} is not judged: {why}", fatal=False, cells=(at.shown,)))
    return out


def _stale(web: Web, seen: Recalculated) -> list[At]:
    """Cells whose stored number is another than the recalculated one."""
    wanted: dict[str, list[str]] = {}
    for at in seen.results:
        wanted.setdefault(at.sheet, []).append(at.cell)
    stored = {
        (sheet, cell): value
        for sheet, values in read_values(Path(web.path), wanted).items()
        for cell, value in zip(wanted[sheet], values, strict=True)
    }
    out = []
    for at, value in seen.results.items():
        there = stored[at.sheet, at.cell]
        if isinstance(there, float) and isinstance(value, float) and abs(there - value) > KEPT * max(1.0, abs(value)):
            out.append(at)
    return sorted(out)
