"""What a person sees: tables, verdicts and progress on the terminal (Rich). Computes nothing.

Results go to standard output, progress and notes to standard error; Rich leaves colour out where there is no terminal or
NO_COLOR is set. Text from outside is never read as markup.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from labelsmooth.maths.trace import Trace
    from labelsmooth.parity.compare import Comparison
    from labelsmooth.parity.judge import Implementation
    from labelsmooth.parity.readback import BookVerdict
    from labelsmooth.workbook.write import Written

out = Console(highlight=False, soft_wrap=False)
err = Console(stderr=True, highlight=False)
SHOWN_ROWS = 20


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something takes a while, on a terminal only."""
    with err.status(Text(what)):
        yield


@contextmanager
def bar(what: str) -> Iterator[Callable[[float], None]]:
    """Hand out a function to call with the share done; a bar appears once the work has taken a second."""
    started, shown = time.monotonic(), False
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), console=err, transient=True
    )
    task = progress.add_task(escape(what), total=1.0)

    def advance(share: float) -> None:
        nonlocal shown
        if not shown and err.is_terminal and time.monotonic() - started > 1:
            progress.start()
            shown = True
        progress.update(task, completed=share)

    try:
        yield advance
    finally:
        if shown:  # stopping what never started prints an empty line
            progress.stop()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """Print a table; the first `left` columns are text, the others numbers, which are never broken."""
    shown = Table(title=title or None, title_justify="left", header_style="bold", title_style="bold")
    for place, column in enumerate(columns):
        whole = place >= left or left == 1  # of several columns of text, the widest is folded where room is short
        shown.add_column(Text(column), justify="left" if place < left else "right", overflow="fold", no_wrap=whole)
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row))
    out.print(shown)


def say(line: str, *, style: str = "") -> None:
    """Print one line of result."""
    out.print(Text(line, style=style), soft_wrap=True)


def note(line: str) -> None:
    """Print one line beside the result, on standard error."""
    err.print(Text(line, style="dim"), soft_wrap=True)


def small(x: float | None) -> str:
    """A difference, to two digits."""
    return "" if x is None else "0" if x == 0 else f"{x:.1e}"


def losses(trace: Trace) -> None:
    """Each row's loss, its two shares, its floor and what is left above it; then the batch."""
    floor = trace.row_floor if "row_floor" in trace.values else None
    rows = []
    for n, name in enumerate(trace.problem.row_names[:SHOWN_ROWS]):
        cells = [trace.row_loss[n], trace.label_loss[n], trace.prior_loss[n]]
        if floor is not None:
            low = floor if isinstance(floor, float) else floor[n]
            cells += [low, trace.row_loss[n] - low]
        rows.append([name, *(f"{float(x):z.4f}" for x in cells)])
    symbols = [trace.chain[word].symbol for word in ("label_loss", "prior_loss")]
    columns = ["row", "loss", *symbols] + ([] if floor is None else ["floor", "excess"])
    table("", columns, rows)
    hidden = len(trace.problem.row_names) - len(rows)
    if hidden:
        say(f"… and {hidden:,} more rows (--json gives all)")
    if "loss" in trace.values:
        tail = f", floor {trace.loss_floor:.4f}, excess {trace.loss_excess:.4f}" if "loss_floor" in trace.values else ""
        say(f"{trace.problem.case.reduction} loss {trace.loss:.6f}{tail}", style="bold")
    gap = trace.optimum_gap
    if isinstance(gap, float):
        finite = gap != float("inf")
        say(
            f"optimum: the label's logit exceeds the others by {gap:.4f}"
            if finite
            else "optimum: none, the loss falls for ever as the label's logit grows (ε = 0)"
        )


def comparison(done: Comparison, *, title: str = "", most: int = SHOWN_ROWS) -> None:
    """The losses side by side, then how far each implementation is from float64, in loss and gradient."""
    seen = {short(i): i for i in reversed(done.implementations) if i.row_loss is not None}
    columns = {"NumPy": (done.trace.row_loss, getattr(done.trace, "loss", None) if _reduced(done) else None)}
    columns["spreadsheet"] = (done.sheet_losses, done.sheet_loss)
    columns |= {name: (i.row_loss, i.loss) for name, i in reversed(seen.items())}
    names = done.trace.problem.row_names[:most]
    for part in _parts(list(columns), max(map(len, names))):
        rows = [[name, *(f"{float(columns[c][0][n]):.4f}" for c in part)] for n, name in enumerate(names)]
        if _reduced(done):
            means = [columns[c][1] for c in part]
            rows.append([done.trace.problem.case.reduction, *("" if x is None else f"{x:.4f}" for x in means)])
        table(title, ["row", *part], rows)
    hidden = len(done.trace.problem.row_names) - len(names)
    if hidden > 0:
        say(f"… and {hidden:,} more rows (--json gives all)")
    _differences(done)
    _notes(done)


def short(i: Implementation) -> str:
    """The name of an implementation, as a column has room for it."""
    return i.name.removesuffix(" cross_entropy")


def _reduced(done: Comparison) -> bool:
    return done.trace.problem.case.reduction != "none"


def _parts(columns: list[str], first: int) -> Iterator[list[str]]:
    """The columns, as many at a time as the terminal is wide; two frames and a cell of 8 are 11."""
    part: list[str] = []
    for column in columns:
        if part and first + 4 + sum(max(len(c), 8) + 3 for c in [*part, column]) > out.width:
            yield part
            part = []
        part.append(column)
    yield part


def _differences(done: Comparison) -> None:
    """Each implementation's largest difference, with the convention that it was held against."""
    follows = any(i.convention for i in done.implementations)
    sheet = {s.word: s for s in done.steps}
    slope = sheet["gradient"].difference if "gradient" in sheet else None
    worst, fine = max(s.difference for s in done.steps), all(s.agrees for s in done.steps)
    count = sum(s.cells for s in done.steps)
    head = [f"{done.engine}, {count:,} cells", "float64", *([""] if follows else [])]
    rows = [[*head, small(worst), small(slope), _word(agrees=fine)]]
    for i in done.implementations:
        word = "not asked" if i.row_loss is None else _word(agrees=i.agrees)
        head = [f"{short(i)} {i.version}", i.dtype, *([i.convention] if follows else [])]
        rows.append([*head, small(i.difference), small(i.gradient_difference), word])
    columns = ["", "", *(["follows"] if follows else []), "loss", "gradient", "verdict"]
    table("Largest difference to NumPy in float64", columns, rows, left=len(columns) - 3)


def _notes(done: Comparison) -> None:
    """Who follows another convention than the batch was computed in, and what else there is to say, each thing once."""
    said: dict[str, list[str]] = {}
    for i in done.implementations:
        if not i.same:
            said.setdefault(f"another convention, {i.convention}, and so another number", []).append(short(i))
        if i.note:
            said.setdefault(i.note, []).append(short(i))
    for text, names in said.items():
        say(f"{', '.join(dict.fromkeys(names))}: {text}")


def _word(*, agrees: bool) -> str:
    return "ok" if agrees else "DIFFERS"


def steps(done: Comparison) -> None:
    """Each step of the sheet against float64."""
    rows = [[s.word, s.symbol, f"{s.cells:,}", small(s.difference), _word(agrees=s.agrees)] for s in done.steps]
    table(
        f"Every step of the sheet ({done.engine}) against float64",
        ["step", "", "cells", "largest difference", "verdict"],
        rows,
        left=2,
    )


def verdict(done: Comparison) -> None:
    """One line."""
    if done.agree:
        say(
            f"agree: every cell and every implementation within {done.tolerance:g} of float64 (float32 within 2e-06)",
            style="bold green",
        )
        return
    wrong = [s.word for s in done.steps if not s.agrees] + [
        f"{short(i)} {i.dtype}" for i in done.implementations if not i.agrees
    ]
    say(f"differs: {', '.join(wrong)}", style="bold red")


def files(paths: Sequence[str], *, page: str) -> None:
    """The files that were written, and what to do next."""
    say("")
    say("Written:", style="bold")
    for path in (*paths, page):
        say(f"  {path}")
    say(f"Open {page} in a browser, move the slider of ε, watch where the loss stops.")
    say("Open the first in a spreadsheet program, go to Steps, type 0.2 in the yellow cell, watch the green column.")


def written(done: Written, *, compared: bool) -> None:
    """What `workbook` wrote."""
    say(
        f"{done.path}: {done.rows:,} rows, {done.classes:,} classes, {done.formulas:,} formulas on Steps ({done.kind} layout)",
        style="bold",
    )
    if not compared:
        note("PyTorch is not installed, so the sheet PyTorch holds no numbers: pip install 'labelsmooth[torch]'")
    note(f"next: open it, or run  labelsmooth compare {done.path}")


def book(verdict: BookVerdict) -> None:
    """Everything that was found in one workbook."""
    for finding in verdict.findings:
        say(finding.message, style="red" if finding.fatal else "")
    say(verdict.summary, style="bold green" if verdict.agree else "bold red")
    if verdict.implementations:
        rows = [
            [
                f"{i.name.split()[0]} {i.version}",
                i.dtype,
                small(i.difference),
                small(i.gradient_difference),
                _word(agrees=i.agrees),
            ]
            for i in verdict.implementations
        ]
        table(
            "PyTorch on the inputs as they are now, largest difference to NumPy",
            ["", "", "loss", "gradient", "verdict"],
            rows,
            left=2,
        )
