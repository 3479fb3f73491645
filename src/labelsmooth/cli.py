"""The command line: one subcommand a room. Each parses, makes one call and prints.

Nothing heavy is imported before the command that needs it runs, so that `labelsmooth --help` answers at once. Results go to
standard output (`--json`: one object), progress and notes to standard error. Exit code as diff(1): 0 same or done, 1 differs,
2 usage or unreadable input. An error meant for the user is one line; anything else is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from labelsmooth._answers import emit, of_books, of_comparison, of_conventions, of_demo, of_loss, of_workbook
from labelsmooth._arguments import Group, as_json, engine, force, read, reads_a_batch, user_input, version
from labelsmooth._books import with_workbooks
from labelsmooth._calibrating import calibrate
from labelsmooth._diagnosing import diagnose
from labelsmooth._paging import NAME, page, post_presets, write_page
from labelsmooth._studying import study


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@version
def main() -> None:
    """Label smoothing: as a live workbook, as a PyTorch loss, and compared.

    \b
    Examples:
      labelsmooth demo                               the whole way, on the post's examples and on real images
      labelsmooth workbook batch.csv -o book.xlsx    your own logits, cell by cell
      labelsmooth compare batch.csv                  NumPy, a spreadsheet engine and PyTorch side by side
      labelsmooth diagnose batch.csv --losses mine   which convention or mistake gives these numbers
      labelsmooth page -o page.html                  the loss to play with, in a browser
      labelsmooth calibrate test.npz                 should I smooth, and how much? from one's own logits
    """


main.add_command(with_workbooks(diagnose))
main.add_command(page)
main.add_command(calibrate)
main.add_command(study)


@main.command()
@click.option(
    "-o",
    "--out",
    "folder",
    default="out",
    show_default=True,
    metavar="DIR",
    help="Folder; an earlier demo's files are replaced.",
)
@engine
@as_json
def demo(folder: str, engine: str, as_json: bool) -> None:
    """The main job on the post's two examples and on logits of a network trained on real images.

    \b
    Example:
      labelsmooth demo -o out
    """
    from labelsmooth import _terminal
    from labelsmooth.parity.demo import run_demo

    examples = []
    for example in run_demo(Path(folder), engine=engine):
        examples.append(example)
        if not as_json:
            _terminal.comparison(example.comparison, title=example.title, most=5)
            _terminal.verdict(example.comparison)
    write_page(made := str(Path(folder) / NAME), post_presets(), force=True)
    if as_json:
        emit(**of_demo(examples, made))
    else:
        _terminal.files([path for example in examples for path in example.paths], page=made)
    sys.exit(0 if all(e.comparison.agree for e in examples) else 1)


@main.command()
@click.argument("file")
@reads_a_batch
def loss(file: str, **o: Any) -> None:
    """The loss of each row and of the batch, its two shares, its floor and the excess over it.

    \b
    Examples:
      labelsmooth loss batch.csv
      labelsmooth loss batch.npz --eps 0.2 --convention fairseq --json
      cat batch.csv | labelsmooth loss -
    """
    from labelsmooth import _terminal
    from labelsmooth.maths.steps import chain
    from labelsmooth.maths.trace import Trace

    problem, _, _ = read(file, o)
    with user_input(file):
        trace = Trace(problem, chain(problem.case))
    if o["as_json"]:
        emit(**of_loss(trace))
    else:
        _terminal.losses(trace)


@main.command()
@click.argument("file", required=False)
@click.option("-o", "--out", "book", required=True, metavar="BOOK.xlsx", help="The workbook to write.")
@click.option("--layout", type=click.Choice(["auto", "full", "compact"]), default="auto", show_default=True,
              help="A cell a thought, or five formulas a row; auto is full up to 50,000 formulas.")  # fmt: skip
@click.option("--blank", is_flag=True, help="A student's copy: steps to fill in, with self-marking.")
@click.option(
    "--replace-nonfinite",
    type=float,
    default=None,
    metavar="X",
    help="Write X in place of infinite or NaN logits; the sheet says so.",
)
@force
@reads_a_batch
def workbook(
    file: str | None, book: str, layout: str, blank: bool, replace_nonfinite: float | None, force: bool, **o: Any
) -> None:
    """The loss as a workbook of live formulas; without FILE, on the post's example.

    \b
    Examples:
      labelsmooth workbook -o post.xlsx
      labelsmooth workbook batch.csv -o book.xlsx --eps 0.2
      labelsmooth workbook batch.csv -o student.xlsx --blank
    """
    from labelsmooth import _terminal
    from labelsmooth.data import path
    from labelsmooth.parity.compare import torch_rows
    from labelsmooth.parity.demo import EXAMPLES
    from labelsmooth.parity.frameworks import torch_is_there
    from labelsmooth.workbook.book import make_book
    from labelsmooth.workbook.write import save

    example = "post_cat_dog"
    problem, _, replaced = read(file or str(path(f"{example}.csv")), o, replace=replace_nonfinite)
    source = EXAMPLES[example] if file is None else Path(file).name
    with _terminal.working(f"writing {book}"), user_input(file or ""):
        rows = torch_rows(problem) if torch_is_there() and not blank else None
        content = make_book(problem, layout="full" if blank else layout, torch=rows, source=source, replaced=replaced)
        written = save(content, book, blank=blank, force=force)
    if o["as_json"]:
        emit(**of_workbook(written))
    else:
        _terminal.written(written, compared=rows is not None or blank)


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE|BOOK.xlsx...")
@click.option(
    "-o", "--out", "book", default=None, metavar="BOOK.xlsx", help="Keep the workbook that is made for the comparison."
)
@engine
@click.option(
    "--layout",
    type=click.Choice(["auto", "full", "compact"]),
    default="auto",
    show_default=True,
    help="Layout of that workbook.",
)
@click.option("--steps", "show_steps", is_flag=True, help="Show every step of the sheet.")
@click.option("--frameworks", default="all", show_default=True, metavar="all|none|NAME,...",
              help="Whom to ask beside NumPy and the spreadsheet; all are those that are installed.")  # fmt: skip
@force
@reads_a_batch
def compare(
    files: tuple[str, ...],
    book: str | None,
    engine: str,
    layout: str,
    show_steps: bool,
    frameworks: str,
    force: bool,
    **o: Any,
) -> None:
    """Compute the loss by NumPy, a spreadsheet engine and every framework, and say how far they differ.

    A framework follows its own convention and is held against NumPy under that one; where it is another than asked for,
    the answer says so. FILE holds logits and labels; a workbook of labelsmooth is read back, and every cell that
    somebody changed is named.

    \b
    Examples:
      labelsmooth compare batch.csv --steps
      labelsmooth compare batch.csv --frameworks torch,timm,keras
      labelsmooth compare book.xlsx
      labelsmooth compare students/*.xlsx
    """
    from labelsmooth import _terminal
    from labelsmooth.parity.compare import compare_problem
    from labelsmooth.parity.frameworks import chosen
    from labelsmooth.workbook.read import is_our_book

    if len(files) > 1 or is_our_book(files[0]):
        sys.exit(_read_back(files, engine, in_json=o["as_json"]))
    with user_input("--frameworks"):
        peers = chosen(None if frameworks == "all" else [] if frameworks == "none" else frameworks.split(","))
    problem, _, _ = read(files[0], o)
    with _terminal.working("recalculating"), user_input(files[0]):
        done = compare_problem(
            problem, engine=engine, path=book, force=force, layout=layout, source=Path(files[0]).name, peers=peers
        )
    if o["as_json"]:
        emit(**of_comparison(done))
    else:
        _terminal.comparison(done)
        if show_steps or not all(s.agrees for s in done.steps):
            _terminal.steps(done)
        _terminal.verdict(done)
    sys.exit(0 if done.agree else 1)


main.add_command(with_workbooks(compare))


def _read_back(files: tuple[str, ...], engine: str, *, in_json: bool) -> int:
    """Check workbooks of ours, a line a book where there are several; return the exit code."""
    from labelsmooth import _terminal
    from labelsmooth.parity.readback import check_book, check_books

    if len(files) == 1:
        with _terminal.working(f"recalculating {files[0]}"):
            verdicts = [check_book(files[0], engine=engine)]
        if not in_json:
            _terminal.book(verdicts[0])
    else:
        verdicts = []
        for verdict in check_books(files, engine=engine):
            verdicts.append(verdict)
            if not in_json:
                _terminal.say(verdict.line, style="" if verdict.agree else "red")
    if in_json:
        emit(**of_books(verdicts))
    return max(v.exit_code for v in verdicts)


@main.command()
@click.argument("epsilon", type=float)
@click.option("--from", "source", required=True, help="Convention that ε is given in.")
@click.option("--to", "target", required=True, help="Convention to express it in.")
@click.option("--classes", type=int, required=True, help="Number of classes K.")
@as_json
def convert(epsilon: float, source: str, target: str, classes: int, as_json: bool) -> None:
    """The ε that gives the same target in another convention.

    \b
    Example:
      labelsmooth convert 0.1 --from fairseq --to torch --classes 5
    """
    from labelsmooth import _terminal
    from labelsmooth.maths.convert import convert as convert_epsilon

    with user_input():
        done = convert_epsilon(epsilon, source=source, target=target, num_classes=classes)
    if as_json:
        emit(label_smoothing=done.label_smoothing, exact=done.exact, on=done.on, off=done.off, note=done.note)
        return
    _terminal.say(
        f"{source} {epsilon:g} is {target} {done.label_smoothing:.10g} at K = {classes}"
        + ("" if done.exact else ", not exactly"),
        style="bold",
    )
    _terminal.say(f"target: {done.on:.6g} for the right class, {done.off:.6g} for another")
    if done.note:
        _terminal.say(done.note)


@main.command()
@as_json
def conventions(as_json: bool) -> None:
    """Who means which target by "label smoothing ε", and since when.

    \b
    Example:
      labelsmooth conventions
    """
    from labelsmooth import _terminal
    from labelsmooth.maths.conventions import CONVENTIONS

    rows = list(CONVENTIONS.values())
    if as_json:
        emit(**of_conventions(rows))
        return
    columns = ["convention", "target", "loss", "class weights", "versions"]
    cells = [[r.name, r.family.name, r.divergence.upper(), r.weighting, r.since] for r in rows]
    _terminal.table("", columns, cells, left=5)
    _terminal.note("--json adds each function, its source file and a note")
