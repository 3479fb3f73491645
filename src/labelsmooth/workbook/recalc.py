"""Make a spreadsheet engine recalculate an .xlsx file, and prove that it did.

An .xlsx file carries the last result of every formula beside the formula, and engines hand that result back without
calculating: LibreOffice does so by default, and libraries have been seen to do it for half of a workbook. A test that
compares such a result with NumPy compares NumPy with itself. So before an engine sees a file, every formula's stored
result is overwritten with a poison number that no correct formula gives, and afterwards every formula cell is read
back: a cell that still holds the poison was not calculated, and the whole run is refused. Where the formula cells are
is read from the file's XML (`_cells.py`), not asked of the engine.

The file passes `gate.py` first, and the engine runs in a process of its own (`_engines.py`), so neither a hostile file
nor a crash reaches the caller. `python -m labelsmooth.workbook.recalc BOOK.xlsx` shows all of it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from labelsmooth.errors import EngineError, LabelsmoothError, WorkbookError
from labelsmooth.workbook._cells import POISON, Value, poisoned_copy
from labelsmooth.workbook._engines import ENGINES, run_engine
from labelsmooth.workbook._package import address
from labelsmooth.workbook.gate import check_workbook_file

_NO_CHANGES: Mapping[str, float | str] = MappingProxyType({})


@dataclass(frozen=True)
class Recalculation:
    """What an engine calculated.

    Args:
        engine: "ironcalc", "libreoffice" or "formulon".
        version: the engine's own version.
        values: sheet -> cell -> result, for the formula cells; an error is its text, such as "#NUM!".
        formulas: how many cells were poisoned and came back calculated.
    """

    engine: str
    version: str
    values: Mapping[str, Mapping[str, Value]]
    formulas: int


def available_engines() -> tuple[str, ...]:
    """The engines that this machine has, in the order in which they should be tried."""
    return tuple(name for name, engine in ENGINES.items() if engine.present())


def recalculate(
    path: str | Path,
    *,
    engine: str = "ironcalc",
    changes: Mapping[str, float | str] = _NO_CHANGES,
    timeout: float = 60.0,
) -> Recalculation:
    """Let a spreadsheet engine calculate every formula of a workbook anew; the file itself is only read.

    Args:
        path: the .xlsx file.
        engine: "ironcalc" (fast, and right for the formulas that labelsmooth writes; it is silently wrong on a plain
            `SUMPRODUCT(q*LN(p))`), "libreoffice" (an independent program; 15 digits; `LN(0)` is #VALUE! where Excel
            says #NUM!), or "formulon" (a second opinion for other people's files; some seconds to start).
        changes: input cells to set first, such as `{"Steps!C4": 0.2, "'Read me'!B2": "cat"}`; each must exist in the
            file and hold no formula.
        timeout: seconds of wall time for the engine.

    Returns:
        The results of all formula cells as float, str, bool; None only where an array formula left a cell empty.

    Raises:
        WorkbookError: the file is refused by the gate, holds no formula, or has no such cell to change.
        EngineError: the engine is not installed, crashed, took too long, or did not calculate a cell.
        ValueError: no such engine, an address that is none, a number that a spreadsheet cannot hold.

    Example:
        >>> import tempfile, xlsxwriter
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with xlsxwriter.Workbook(folder + "/book.xlsx") as book:
        ...         sheet = book.add_worksheet("Steps")
        ...         _ = sheet.write_row("A1", [3, 4])
        ...         _ = sheet.write_formula("C1", "=SQRT(A1^2+B1^2)", None, 999)
        ...     recalculate(folder + "/book.xlsx", changes={"Steps!A1": 0}).values["Steps"]["C1"]
        4.0
    """
    if engine not in ENGINES:
        raise ValueError(f"there is no engine {engine!r}: choose one of {', '.join(ENGINES)}")
    if not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, not {timeout!r}")
    check_workbook_file(path)
    with tempfile.TemporaryDirectory(prefix="labelsmooth-") as scratch:
        book = Path(scratch) / "book.xlsx"
        try:
            poisoned = poisoned_copy(Path(path), book, changes)
        except WorkbookError as fault:
            raise WorkbookError(f"{path}: {fault}") from None
        cells = {sheet: list(formulas) for sheet, formulas in poisoned.items() if formulas}
        if not cells:
            raise WorkbookError(f"{path}: holds no formula, so there is nothing to recalculate")
        answer = run_engine(engine, book, shown=str(path), timeout=timeout, cells=cells)
    values = _paired(cells, answer["values"], ENGINES[engine].title)
    _prove(poisoned, values, ENGINES[engine].title)
    return Recalculation(engine, answer["version"], values, sum(map(len, cells.values())))


def _paired(
    cells: Mapping[str, list[str]], answer: Mapping[str, list[Value]], title: str
) -> dict[str, dict[str, Value]]:
    paired = {}
    for sheet, wanted in cells.items():
        came = answer.get(sheet, [])
        if len(came) != len(wanted):
            raise EngineError(f"{title} answered {len(came):,} of the {len(wanted):,} formula cells of sheet {sheet!r}")
        paired[sheet] = dict(zip(wanted, came, strict=True))
    return paired


def _prove(poisoned: Mapping[str, Mapping[str, bool]], values: Mapping[str, Mapping[str, Value]], title: str) -> None:
    """Refuse the run if one formula cell kept its poison, or came back empty."""
    stale, empty = [], []
    for sheet, cells in values.items():
        for cell, value in cells.items():
            if type(value) is float and value > POISON / 2:  # nearly all are, and are neither
                continue
            if _is_poison(value):
                stale.append(address(sheet, cell))
            elif value is None and poisoned[sheet][cell]:
                empty.append(address(sheet, cell))
    if stale:
        raise EngineError(f"{title} handed back the cached number of {_named(stale)} without calculating it")
    if empty:
        raise EngineError(f"{title} gave no value for {_named(empty)}")


def _is_poison(value: Value) -> bool:
    if isinstance(value, str):
        try:
            value = float(value)  # an engine may have taken the stored number for a text
        except ValueError:
            return False
    return isinstance(value, float | int) and abs(value - POISON) <= 1e-12 * abs(POISON)


def _named(cells: list[str]) -> str:
    return cells[0] if len(cells) == 1 else f"{cells[0]} (and of {len(cells) - 1:,} more cells)"


def convert_to_pdf(path: str | Path, out_dir: str | Path, *, timeout: float = 120.0) -> Path:
    """Print a workbook to PDF with LibreOffice, recalculated, and return the PDF's path in `out_dir`.

    Raises:
        WorkbookError: the gate refuses the file.
        EngineError: LibreOffice is not installed, crashed or took too long.
    """
    check_workbook_file(path)
    with tempfile.TemporaryDirectory(prefix="labelsmooth-") as scratch:
        # A copy, since LibreOffice locks files in their folder; under its own name, which a page's footer may print.
        book = Path(scratch) / Path(path).with_suffix(".xlsx").name
        shutil.copyfile(path, book)
        answer = run_engine("libreoffice", book, shown=str(path), timeout=timeout, target="pdf")
        Path(out_dir).mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(answer["written"], Path(out_dir) / Path(answer["written"]).name))


def main(arguments: list[str] | None = None) -> int:
    """Show the room: recalculate a workbook and say what was proved."""
    parser = argparse.ArgumentParser(prog="python -m labelsmooth.workbook.recalc", description=main.__doc__)
    parser.add_argument("book", help="the .xlsx file")
    parser.add_argument("--engine", choices=list(ENGINES), default="ironcalc")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds (default 60)")
    chosen = parser.parse_args(arguments)
    try:
        result = recalculate(chosen.book, engine=chosen.engine, timeout=chosen.timeout)
    except (LabelsmoothError, ValueError) as fault:
        sys.stderr.write(f"{fault}\n")
        return 2
    sheets = ", ".join(f"{name} {len(cells):,}" for name, cells in result.values.items())
    sys.stdout.write(
        f"{chosen.book}: {ENGINES[result.engine].title} {result.version} recalculated all {result.formulas:,} formulas"
        f" ({sheets}); no cached number survived\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
