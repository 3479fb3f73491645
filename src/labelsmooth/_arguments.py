"""What the commands have in common: options, reading a file, and errors as one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from labelsmooth._version import __version__
from labelsmooth.errors import InputError, LabelsmoothError

if TYPE_CHECKING:
    from labelsmooth.files import Batch
    from labelsmooth.maths.trace import Problem

Command = Callable[..., Any]


class Refusal(click.ClickException):
    """One line on standard error, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:  # noqa: ARG002  Click's signature
        """Print the line."""
        click.echo(f"labelsmooth: {self.message}", err=True)


class Group(click.Group):
    """A group of commands that turns an error meant for the user into one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except LabelsmoothError as error:
            raise Refusal(str(error)) from error

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a command, and suggest one when there is none of that name."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            close = get_close_matches(args[0], list(self.commands), n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Commands: {', '.join(sorted(self.commands))}."
            raise Refusal(f"there is no command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)


@contextmanager
def user_input(what: str = "") -> Iterator[None]:
    """What the user gave is checked inside: a ValueError there is a message for the user."""
    try:
        yield
    except LabelsmoothError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(f"{what}: {error}" if what else str(error)) from error


def _print_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Print the version and, where PyTorch is, what computes the loss."""
    if not wanted or context.resilient_parsing:
        return
    click.echo(f"labelsmooth {__version__}")
    if find_spec("torch") is None:
        click.echo("loss: PyTorch is not installed; pip install 'labelsmooth[torch]'")
    else:
        from labelsmooth.losses import kernels

        for device, kernel in kernels().items():
            click.echo(f"loss on {device}: {kernel}")
    context.exit()


version = click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and what computes the loss, and exit.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
engine = click.option(
    "--engine",
    type=click.Choice(["ironcalc", "libreoffice", "formulon"]),
    default="ironcalc",
    show_default=True,
    help="Spreadsheet engine.",
)
force = click.option("--force", is_flag=True, help="Replace an existing file.")
_BATCH = (
    click.option(
        "--label-smoothing",
        "--eps",
        "label_smoothing",
        type=float,
        default=0.1,
        show_default=True,
        help="ε, from 0 to 1.",
    ),
    click.option(
        "--convention",
        default="torch",
        show_default=True,
        help="Whose smoothing; `labelsmooth conventions` lists them.",
    ),
    click.option(
        "--prior",
        default="uniform",
        show_default=True,
        metavar="uniform|FILE|from-labels",
        help="What ε is spread over.",
    ),
    click.option("--weight", default=None, metavar="FILE", help="Class weights, one number a class."),
    click.option(
        "--weighting",
        default="torch",
        show_default=True,
        help="What class weights mean: torch, nll, nll/N, expected, label/N, label.",
    ),
    click.option("--ignore-index", type=int, default=-100, show_default=True, help="Label of rows that do not count."),
    click.option(
        "--reduction",
        type=click.Choice(["mean", "sum", "none"]),
        default="mean",
        show_default=True,
        help="Of the rows' losses.",
    ),
    click.option("--labels", default=None, metavar="FILE", help="Labels in a file of their own (for .npy)."),
    click.option("--probs", is_flag=True, help="The file holds probabilities."),
    click.option("--logits", "assume_logits", is_flag=True, help="The file holds logits, whatever they look like."),
    click.option("--rows", type=click.IntRange(min=1), default=None, metavar="N", help="The first N rows only."),
    as_json,
)


def reads_a_batch(command: Command) -> Command:
    """Give a command the options that say what the loss is."""
    for option in reversed(_BATCH):
        command = option(command)
    return command


def read(file: str, o: dict[str, Any], *, replace: float | None = None) -> tuple[Problem, Batch, str]:
    """Read a file and check it against the options; also say what was put in place of non-finite logits."""
    import numpy as np

    from labelsmooth.files import read_batch, read_vector
    from labelsmooth.maths.trace import prepare
    from labelsmooth.workbook.book import finite

    names = ("labels", "assume_logits", "ignore_index")
    batch = read_batch(
        file, probabilities=o["probs"], allow_nonfinite=replace is not None, **{name: o[name] for name in names}
    )
    batch = batch if o["rows"] is None else batch.first(o["rows"])
    classes = batch.logits.shape[1]
    weight = None if o["weight"] is None else read_vector(o["weight"], what="weight", length=classes)
    with user_input(batch.source):
        logits, replaced = finite(batch.logits, replace)
        problem = prepare(
            logits,
            np.asarray(batch.soft_labels if batch.labels is None else batch.labels),
            o["label_smoothing"],
            prior=_prior(o, batch, classes),
            weight=weight,
            class_names=batch.class_names,
            row_names=batch.row_names,
            **{name: o[name] for name in ("convention", "weighting", "ignore_index", "reduction")},
        )
    return problem, batch, replaced


def _prior(o: dict[str, Any], batch: Batch, classes: int) -> Any:
    """None for uniform, the classes' frequencies among the labels, or the file's numbers."""
    import numpy as np

    from labelsmooth.files import read_vector

    if o["prior"] == "uniform":
        return None
    if o["prior"] != "from-labels":
        prior = read_vector(o["prior"], what="prior", length=classes)
        return prior if prior.ndim == 1 else prior[: o["rows"]]
    if batch.soft_labels is not None:
        counted = batch.soft_labels.sum(axis=0)
    else:
        labels = np.asarray(batch.labels)
        counted = np.bincount(labels[labels != o["ignore_index"]], minlength=classes)
    return counted / max(counted.sum(), 1)
