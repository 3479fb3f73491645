"""`compare` and `diagnose` on a workbook that labelsmooth did not write, around the commands as they are for a batch.

Both commands take a file, and an .xlsx may be three things: a workbook of ours, a table of logits and labels, or somebody's own
sheet with formulas. The last is answered here; everything else goes on to the command. `--logits` is a flag for a batch and
takes an area for a workbook, which Click cannot say in one option, so the two are told apart before Click reads them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelsmooth._answers import emit
from labelsmooth._arguments import Refusal, user_input
from labelsmooth.errors import WorkbookError

if TYPE_CHECKING:
    from labelsmooth.parity.foreign import ForeignVerdict

_FOR_BATCHES = ("loss", "floor")  # options that only mean something for a batch
_OWN = ("logits_area", "probabilities_area", "fix")
EXAMPLES = """
    \b
    A workbook that somebody else made:
      labelsmooth {name} theirs.xlsx
      labelsmooth {name} theirs.xlsx --fix corrected.xlsx
      labelsmooth {name} theirs.xlsx --logits Sheet1!B2:F6 --labels Sheet1!A2:A6 --losses Sheet1!H2:H6
"""


class _AreaCommand(click.Command):
    """A command whose --logits is a flag, or takes an area such as Sheet1!B2:F6."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give `--logits AREA` the name of its own that it has inside."""
        out: list[str] = []
        for place, arg in enumerate(args):
            following = args[place + 1] if place + 1 < len(args) else ""
            flag = arg == "--logits" and "!" in following
            out.append("--logits-area" + arg.removeprefix("--logits") if flag or arg.startswith("--logits=") else arg)
        return super().parse_args(ctx, out)


def with_workbooks(command: click.Command) -> click.Command:
    """The command, with an answer of its own for somebody else's workbook."""
    known = {param.name for param in command.params}
    options: list[click.Parameter] = [
        click.Option(["--logits-area"], metavar="AREA", hidden=True),
        click.Option(["--probabilities", "probabilities_area"], metavar="AREA", help="Area of the probabilities of a workbook."),
        click.Option(["--fix"], metavar="COPY.xlsx", help="Write a corrected copy of a workbook beside the original."),
    ]  # fmt: skip
    if "losses" not in known:
        options.append(click.Option(["--losses"], metavar="AREA", help="Area of the losses of a workbook."))
    if "engine" not in known:
        kinds = click.Choice(["ironcalc", "libreoffice", "formulon"])
        options.append(click.Option(["--engine"], type=kinds, default="ironcalc", help="Engine for a workbook."))
    if "force" not in known:
        options.append(click.Option(["--force"], is_flag=True, help="Replace an existing copy."))

    def run(**o: Any) -> Any:
        code = _answer(o)
        if code is not None:
            sys.exit(code)
        if any(o[name] for name in _OWN):
            raise Refusal("--fix and areas such as Sheet1!B2:F6 are for a workbook with formulas; this is a batch")
        assert command.callback is not None  # noqa: S101  every command of ours has one
        return command.callback(**{key: value for key, value in o.items() if key in known})

    text = (command.help or "") + "\n" + EXAMPLES.format(name=command.name).replace("\n    ", "\n")
    return _AreaCommand(command.name, callback=run, params=[*command.params, *options], help=text)


def _answer(o: dict[str, Any]) -> int | None:
    """The exit code for somebody else's workbook; None where the file is something else."""
    file = _workbook(o)
    if file is None:
        return None
    from labelsmooth import _terminal
    from labelsmooth.parity.foreign import check_foreign, write_corrected
    from labelsmooth.workbook.read import is_our_book

    if is_our_book(file):
        return None if "files" in o else _ours(file, o)
    areas = {"logits": o["logits_area"], "probabilities": o["probabilities_area"]}
    areas |= {key: o[key] for key in ("labels", "losses") if o.get(key)}
    if any(area and "!" not in area for area in areas.values()):
        return None
    if areas.get("losses") and "file" in o and (batch := _typed_losses(file, areas)):
        return _explain(*batch, o)
    try:
        with _terminal.working(f"reading {file}"):
            found = check_foreign(file, engine=o["engine"], **areas)
    except WorkbookError:
        if not any(areas.values()) and not o["fix"] and not _has_formulas(file):
            return None  # a table of numbers: what the command was made for
        raise
    fixed = None
    if o["fix"]:
        with _terminal.working(f"writing {o['fix']}"):
            fixed = write_corrected(found, o["fix"], force=o["force"], engine=o["engine"])
    if o["as_json"]:
        emit(**of_foreign(found), fixed=None if fixed is None else of_foreign(fixed))
    else:
        _show(found, fixed, steps="files" in o)
    return found.exit_code


def _workbook(o: dict[str, Any]) -> str | None:
    """The .xlsx file that is asked about, if it is one and nothing asks about a batch."""
    files = o.get("files", (o.get("file"),))
    if len(files) != 1 or files[0] is None or any(o.get(name) for name in _FOR_BATCHES):
        return None
    file = str(files[0])
    return file if Path(file).suffix.lower() in (".xlsx", ".xlsm") and Path(file).is_file() else None


def _ours(file: str, o: dict[str, Any]) -> int:
    """`diagnose` on a workbook of ours is what `compare` does with it."""
    from labelsmooth import _terminal
    from labelsmooth._answers import of_books
    from labelsmooth.parity.readback import check_book

    with _terminal.working(f"recalculating {file}"):
        verdict = check_book(file, engine=o["engine"])
    if o["as_json"]:
        emit(**of_books([verdict]))
    else:
        _terminal.book(verdict)
    return verdict.exit_code


def _typed_losses(file: str, areas: dict[str, str]) -> tuple[Any, Any, list[float]] | None:
    """Logits, labels and losses where the losses are numbers without formulas, which only their values can explain."""
    from labelsmooth.parity.foreign import typed_batch

    return typed_batch(file, **areas)


def _explain(logits: Any, labels: Any, losses: list[float], o: dict[str, Any]) -> int:
    from labelsmooth import _terminal
    from labelsmooth._diagnosing import of_diagnosis
    from labelsmooth.parity._report import lines
    from labelsmooth.parity.diagnose import diagnose

    names = ("label_smoothing", "convention", "to")
    with user_input(o["file"]):
        found = diagnose(logits, labels, losses, **{name: o[name] for name in names})
    if o["as_json"]:
        emit(**of_diagnosis(found))
    else:
        for line in lines(found, everything=o["everything"]):
            _terminal.say(line)
    return 0 if found.agree else 1


def _has_formulas(file: str) -> bool:
    from labelsmooth.workbook.read import read_contents

    return any(read_contents(file).formulas.values())


def _show(found: ForeignVerdict, fixed: ForeignVerdict | None, *, steps: bool) -> None:
    from labelsmooth import _terminal

    for table in found.tables:
        _terminal.say(table.line)
    if steps:
        rows = [[word.replace("_", " "), f"{cells:,}", f"{difference:.1e}"] for word, cells, difference in found.steps]
        _terminal.table(f"Cells that follow the chain ({found.engine})", ["step", "cells", "largest difference"], rows)
    for finding in found.findings:
        _terminal.say(finding.message, style="red" if finding.fatal else "")
    _terminal.say(found.line, style="bold green" if found.agree else "bold red")
    if fixed is not None:
        _terminal.say(f"corrected copy: {fixed.line}", style="bold green" if fixed.agree else "bold red")
    elif found.fixable:
        _terminal.note("--fix COPY.xlsx writes a corrected copy; the original stays as it is")


def of_foreign(found: ForeignVerdict) -> dict[str, Any]:
    """What was found in somebody else's workbook."""
    tables = [
        {key: getattr(table, key) for key in ("kind", "numbers", "rows", "classes", "across", "labels", "labels_are",
                                               "epsilon", "row_losses", "whole_losses")}
        for table in found.tables
    ]  # fmt: skip
    matches = [
        {"causes": [d.kind], "cell": d.at.shown, "says": d.says, "formula": d.formula, "fix": d.right}
        for d in sorted(found.departures, key=lambda d: d.at)
    ]
    return {
        "path": found.path,
        "agree": found.agree,
        "verdict": found.verdict,
        "engine": found.engine,
        "checked": found.checked,
        "max_abs_difference": found.largest,
        "tables": tables,
        "matches": matches,
        "findings": [{"kind": f.kind, "cell": f.cell, "message": f.message, "fatal": f.fatal} for f in found.findings],
        "steps": [{"step": word, "cells": cells, "max_abs_difference": off} for word, cells, off in found.steps],
    }
