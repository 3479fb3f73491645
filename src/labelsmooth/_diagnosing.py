"""The command `diagnose`: which numbers are in question, and what they were computed from.

Apart from the other commands because it reads two things: a batch, and somebody's numbers for it, which stand in a column of the
same file, in a file of their own, among the arrays of an archive, or on the command line with the digits that were printed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelsmooth._answers import emit
from labelsmooth._arguments import Refusal, _prior, as_json, user_input

if TYPE_CHECKING:
    from labelsmooth.files import Batch
    from labelsmooth.parity.diagnose import Diagnosis

KEYS = ("causes", "says", "fix", "max_abs_error", "bits", "certainty", "label_smoothing", "temperature", "same",
        "separated_by", "rivals")  # fmt: skip
_OPTIONS = (
    click.option("--losses", default=None, metavar="COLUMN|FILE", help="The numbers in question, one a row."),
    click.option("--loss", default=None, metavar="X", help="One number for the batch instead, as it was printed."),
    click.option("--floor", default=None, metavar="X", help="Where the loss stopped; needs --classes and no file."),
    click.option("--classes", type=int, default=None, metavar="K", help="Number of classes, for --floor."),
    click.option("--label-smoothing", "--eps", "label_smoothing", type=float, default=None,
                 help="ε that was meant; without it the common ones are tried."),
    click.option("--convention", default="torch", show_default=True, help="What the numbers are expected to follow."),
    click.option("--reduction", type=click.Choice(["mean", "sum"]), default="mean", show_default=True,
                 help="What --loss is expected to be."),
    click.option("--prior", default="uniform", show_default=True, metavar="uniform|FILE|from-labels",
                 help="What ε is expected to be spread over."),
    click.option("--weight", default=None, metavar="FILE", help="Class weights, one number a class."),
    click.option("--weighting", default="torch", show_default=True, help="What they are expected to mean."),
    click.option("--ignore-index", type=int, default=-100, show_default=True, help="Label of rows that do not count."),
    click.option("--sequences", type=int, default=0, metavar="B", help="How many sequences the rows come from."),
    click.option("--labels", default=None, metavar="FILE", help="Labels in a file of their own (for .npy)."),
    click.option("--probs", is_flag=True, help="The file holds probabilities."),
    click.option("--logits", "assume_logits", is_flag=True, help="The file holds logits, whatever they look like."),
    click.option("--to", default=None, metavar="NAME", help="Write the fix for this framework, or for a spreadsheet."),
    click.option("--all", "everything", is_flag=True, help="List every explanation that fits."),
    as_json,
)  # fmt: skip


def _with_options(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("file", required=False)
@_with_options
def diagnose(file: str | None, **o: Any) -> None:
    """Why are these losses not the expected ones? Which convention or mistake, or pair of them, gives them.

    FILE holds logits and labels; the numbers in question are a column of it, a file of their own, or one number.

    \b
    Examples:
      labelsmooth diagnose batch.csv --losses mine --eps 0.1 --to spreadsheet
      labelsmooth diagnose batch.npz                              an archive with logits, labels and losses
      labelsmooth diagnose batch.csv --loss 1.42 --eps 0.1
      labelsmooth diagnose --floor 0.44 --classes 1000 --eps 0.1
    """
    from labelsmooth import _terminal
    from labelsmooth.parity._report import lines

    found = _floor(o) if o["floor"] is not None else _batch(file, o)
    if o["as_json"]:
        emit(**of_diagnosis(found))
    else:
        first, *others = lines(found, everything=o["everything"])
        _terminal.say(first, style="bold green" if found.agree else "bold")
        for line in others:
            _terminal.say(line)
    sys.exit(0 if found.agree else 1)


def _floor(o: dict[str, Any]) -> Diagnosis:
    from labelsmooth.parity.floors import diagnose_floor

    if o["classes"] is None:
        raise Refusal("--floor needs --classes K, the number of classes")
    with user_input("--floor"):
        return diagnose_floor(
            o["floor"], o["classes"], label_smoothing=o["label_smoothing"], convention=o["convention"], to=o["to"]
        )


def _batch(file: str | None, o: dict[str, Any]) -> Diagnosis:
    import numpy as np

    from labelsmooth.files import read_batch, read_vector
    from labelsmooth.parity.diagnose import diagnose as explain

    if file is None:
        raise Refusal("which file? Pass FILE with logits and labels, or --floor X --classes K")
    apart = o["losses"] is not None and Path(o["losses"]).is_file()
    columns = () if o["losses"] is None or apart else (o["losses"],)
    names = ("labels", "assume_logits", "ignore_index")
    batch = read_batch(file, probabilities=o["probs"], columns=columns, **{name: o[name] for name in names})
    classes = batch.logits.shape[1]
    weight = (
        batch.extra.get("weight") if o["weight"] is None else read_vector(o["weight"], what="weight", length=classes)
    )
    losses = read_vector(o["losses"], what="losses", allow_nonfinite=True) if apart else _losses(batch, o)
    with user_input(file), _progress(f"diagnosing {file}") as progress:
        return explain(
            batch.logits,
            np.asarray(batch.soft_labels if batch.labels is None else batch.labels),
            losses,
            loss=o["loss"],
            prior=_prior(o, batch, classes) if o["prior"] != "uniform" else batch.extra.get("prior"),
            weight=weight,
            class_names=batch.class_names,
            progress=progress,
            **{
                name: o[name]
                for name in (
                    "label_smoothing",
                    "convention",
                    "reduction",
                    "weighting",
                    "ignore_index",
                    "sequences",
                    "to",
                )
            },
        )


def _losses(batch: Batch, o: dict[str, Any]) -> Any:
    """The numbers in question, from the file itself; None where they are one number."""
    if o["loss"] is not None:
        if o["losses"] is not None:
            raise Refusal("pass --losses or --loss, not both")
        return None
    name = o["losses"] or "losses"
    if name not in batch.extra:
        raise Refusal(f"{batch.source}: which numbers? Pass --losses COLUMN, --losses FILE or --loss X")
    return batch.extra[name]


@contextmanager
def _progress(what: str) -> Iterator[Any]:
    """A bar on a terminal, once the work has taken a second."""
    from labelsmooth import _terminal

    with _terminal.bar(what) as advance:
        yield advance


def of_diagnosis(found: Diagnosis) -> dict[str, Any]:
    """The verdict and every explanation; `nearest` where none fits."""
    matches, nearest = (
        [{key: getattr(m, key) for key in KEYS} for m in some] for some in (found.matches, found.nearest)
    )
    return {
        "verdict": found.verdict,
        "matches": matches,
        "nearest": nearest,
        "numbers": found.numbers,
        "precision": found.precision,
        "hypotheses": found.hypotheses,
        "convention": found.convention,
        "label_smoothing": found.label_smoothing,
        "notes": found.notes,
    }
