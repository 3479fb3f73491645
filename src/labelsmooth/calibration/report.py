"""An answer as one HTML file: no script, nothing loaded, every figure with its numbers beside it.

The page forbids itself all loading (Content-Security-Policy), so it can be mailed and opened anywhere. Its bytes depend on the
measured numbers and on the versions of labelsmooth and Matplotlib, and on nothing else.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from labelsmooth._version import __version__
from labelsmooth.files import write_atomically

from ._extras import extra
from .calibrate import Calibration
from .figures import figures
from .runs import SEEDS
from .tables import facts_in_words, tables
from .temperature import FOLDS


def write_report(found: Calibration, path: str | Path, *, force: bool = False) -> None:
    """Writes the report to a file, whole or not at all.

    Args:
        found: the answer of `calibrate`.
        path: of the HTML file.
        force: replace an existing file.

    Raises:
        InputError: the file exists or cannot be written.
        MissingExtra: Jinja2 or Matplotlib is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> from labelsmooth.calibration.calibrate import Given, calibrate
        >>> from labelsmooth.data import path
        >>> from labelsmooth.files import open_stream
        >>> target = pathlib.Path(tempfile.mkdtemp(), "report.html")
        >>> write_report(calibrate([Given(open_stream(path("digits.csv")))]), target)
        >>> target.read_text(encoding="utf-8").startswith("<!doctype html>")
        True
    """
    text = report(found)
    with write_atomically(path, force=force) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def report(found: Calibration) -> str:
    """The report as text; arguments and errors are those of `write_report`."""
    jinja = extra("jinja2", "writing a report")
    environment = jinja.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja.StrictUndefined, keep_trailing_newline=True
    )
    template = environment.from_string(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    headline, _, rest = found.recommendation.verdict.partition(". ")
    return str(
        template.render(
            title=f"Calibration of {found.run.name if len(found.runs) == 1 else f'{len(found.runs)} runs'}",
            run=found.run,
            runs=len(found.runs),
            answer=found.recommendation,
            headline=f"{headline.rstrip('.')}.",
            rest=rest,
            figures=figures(found),
            tables=tables(found),
            facts=facts_in_words(found.run),
            method=[*found.notes, *_method(found)],
            version=re.sub(r"\+.*", "", __version__),
        )
    )


def _method(found: Calibration) -> list[str]:
    """What a reader must know to do it again."""
    run = found.run
    lines = [
        "Everything is computed in float64 from the logits; intervals are 95%. Seeds of all random draws are 0.",
        "The smooth ECE rounds confidences to 1/4096.",
    ]
    lines.append(
        f"“Chance” is the mean ECE of {run.before.null.resamples:,} resamples whose labels are drawn from the confidences, and p "
        "the share of them with an ECE at least as large as the observed one."
    )
    if run.fitted_on == "cross-fitting":
        lines.append(
            f"What stands under “after T” is cross-fitted: in {FOLDS} parts, each at the temperature of the others."
        )
    else:
        lines.append(f"The temperature was fitted on {run.temperature.rows:,} other rows.")
    parts = "these rows, whose parts agree" if run.norm_agreed else "these rows, a majority of whose parts agree"
    split = parts if run.fitted_on == "cross-fitting" else "the validation split"
    lines.append(f"The norm of the logit norm, p = {run.norm}, was chosen for its AURC on {split}.")
    if found.comparison is not None and len(found.comparison.groups) > 1:
        c = found.comparison
        lines.append(
            f"{len(found.runs)} runs with {len(c.groups)} ε; intervals over seeds are of the t distribution"
            + (f", over rows of a paired bootstrap with {c.resamples} resamples." if c.resamples else ".")
            + f" Fewer than {SEEDS} seeds of an ε make no claim."
        )
    return lines
