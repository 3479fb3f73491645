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

from labelsmooth import __version__
from labelsmooth._arguments import Group, as_json, emit, engine, force, read, reads_a_batch, user_input


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "--version", message="labelsmooth %(version)s")
def main() -> None:
    """Label smoothing: as a live workbook, as a PyTorch loss, and compared.

    \b
    Examples:
      labelsmooth demo                               the whole way, on the post's examples and on real images
      labelsmooth workbook batch.csv -o book.xlsx    your own logits, cell by cell
      labelsmooth compare batch.csv                  NumPy, a spreadsheet engine and PyTorch side by side
    """


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
    paths = [path for example in examples for path in example.paths]
    if as_json:
        emit(
            examples=[
                {
                    "name": e.name,
                    "losses": e.comparison.trace.row_loss,
                    "max_abs_difference": e.comparison.largest,
                    "engine": e.comparison.engine,
                    "agree": e.comparison.agree,
                }
                for e in examples
            ],
            paths=paths,
        )
    else:
        _terminal.files(paths)
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
    if not o["as_json"]:
        _terminal.losses(trace)
        return
    words = {"losses": "row_loss", "loss": "loss", "floor": "loss_floor", "excess": "loss_excess", "label_losses": "label_loss",
             "prior_losses": "prior_loss", "optimum_gap": "optimum_gap"}  # fmt: skip
    numbers = {key: getattr(trace, word) if word in trace.values else None for key, word in words.items()}
    emit(
        convention=problem.convention.full_name,
        label_smoothing=problem.given["epsilon"],
        reduction=problem.case.reduction,
        **numbers,
        row_names=problem.row_names,
        class_names=problem.class_names,
    )


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
        emit(
            path=written.path,
            sheets=written.sheets,
            formulas=written.formulas,
            rows=written.rows,
            classes=written.classes,
            layout=written.kind,
        )
        return
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
@force
@reads_a_batch
def compare(
    files: tuple[str, ...], book: str | None, engine: str, layout: str, show_steps: bool, force: bool, **o: Any
) -> None:
    """Compute the loss by NumPy, a spreadsheet engine and PyTorch, and say how far they differ.

    FILE holds logits and labels; a workbook of labelsmooth is read back, and every cell that somebody changed is named.

    \b
    Examples:
      labelsmooth compare batch.csv --steps
      labelsmooth compare book.xlsx
      labelsmooth compare students/*.xlsx
    """
    from labelsmooth import _terminal
    from labelsmooth.parity.compare import compare_problem
    from labelsmooth.workbook.read import is_our_book

    if len(files) > 1 or is_our_book(files[0]):
        sys.exit(_read_back(files, engine, in_json=o["as_json"]))
    problem, _, _ = read(files[0], o)
    with _terminal.working("recalculating"), user_input(files[0]):
        done = compare_problem(
            problem, engine=engine, path=book, force=force, layout=layout, source=Path(files[0]).name
        )
    if o["as_json"]:
        steps = [
            {"step": s.word, "cells": s.cells, "max_abs_difference": s.difference, "agree": s.agrees}
            for s in done.steps
        ]
        others = [
            {
                "name": i.name,
                "version": i.version,
                "dtype": i.dtype,
                "losses": i.row_loss,
                "loss": i.loss,
                "max_abs_difference": i.difference,
                "max_abs_gradient_difference": i.gradient_difference,
                "agree": i.agrees,
                "note": i.note,
            }
            for i in done.implementations
        ]
        emit(
            agree=done.agree,
            tolerance=done.tolerance,
            engine=done.engine,
            steps=steps,
            implementations=others,
            path=done.path,
        )
    else:
        _terminal.comparison(done)
        if show_steps or not all(s.agrees for s in done.steps):
            _terminal.steps(done)
        _terminal.verdict(done)
    sys.exit(0 if done.agree else 1)


def _read_back(files: tuple[str, ...], engine: str, *, in_json: bool) -> int:
    """Check workbooks of ours; one line a book where there are several. Returns the exit code."""
    raise NotImplementedError


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
        keys = ("name", "function", "divergence", "weighting", "since", "source", "note")
        emit(conventions=[{"target": row.family.name} | {key: getattr(row, key) for key in keys} for row in rows])
        return
    columns = ["convention", "function", "target", "loss", "class weights", "versions"]
    _terminal.table(
        "",
        columns,
        [[r.name, r.function, r.family.name, r.divergence.upper(), r.weighting, r.since] for r in rows],
        left=6,
    )
