"""The command `study`: what to train, how many at a time, and what came out."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelsmooth._answers import emit
from labelsmooth._arguments import Refusal, as_json, user_input

if TYPE_CHECKING:
    from labelsmooth.calibration.study import Study

INTERRUPTED = 130  # as shells have it
STYLES = {"reproduced": "green", "not-reproduced": "red", "not-decided": ""}


@click.command()
@click.option("-o", "--out", "folder", required=True, metavar="DIR",
              help="Gets study.json, report.html and a file a run; a second call goes on where the first stopped.")  # fmt: skip
@click.option("--set", "sets", type=click.Choice(["fashion", "digits", "names"]), multiple=True,
              help="Train on this set only; may be repeated. All three otherwise.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Digits only, 10 seeds at 4 values of ε: under a minute.")
@click.option(
    "--seeds", type=click.IntRange(1), default=None, metavar="N", help="In place of each training's own 3 to 10."
)
@click.option("--label-smoothing", "--eps", "epsilons", type=click.FloatRange(0, 1, max_open=True), multiple=True,
              help="ε in place of 0, 0.05, 0.1 and 0.2; may be repeated, and 0 is always among them.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=None, metavar="N", help="In place of each training's own.")
@click.option(
    "--jobs", type=click.IntRange(1), default=None, metavar="N", help="Processes, a thread each; all cores otherwise."
)
@click.option("--data", default=None, metavar="DIR", help="Where the files of Fashion-MNIST lie.")
@click.option("--keep-logits", is_flag=True, help="Also write each run's logits, an input of `labelsmooth calibrate`.")
@as_json
def study(folder: str, sets: tuple[str, ...], quick: bool, jobs: int | None, as_json: bool, **o: Any) -> None:
    """Trains small networks on real data with and without smoothing: when does it help, and with which ε?

    Fashion-MNIST comes from its own files (Debian: dataset-fashion-mnist), digits from scikit-learn, names in more than two
    hundred languages from babel. Everything takes about a quarter of an hour on two cores.

    \b
    Examples:
      labelsmooth study -o study --quick
      labelsmooth study -o study --set fashion --jobs 2
      labelsmooth study -o study --set digits --eps 0.1 --eps 0.3 --seeds 5 --json
    """
    from labelsmooth import _terminal
    from labelsmooth.calibration.datasets import SETS
    from labelsmooth.calibration.study import run_study

    if quick and sets not in {(), ("digits",)}:
        raise Refusal("--quick is --set digits: pass one of --quick and --set")
    chosen = ("digits",) if quick else sets or SETS
    try:
        with user_input(), _terminal.bar("training") as advance:
            done = run_study(
                folder,
                sets=list(dict.fromkeys(chosen)),
                jobs=jobs or os.cpu_count() or 1,
                progress=advance,
                **{**o, "epsilons": o["epsilons"] or None},
            )
    except KeyboardInterrupt:
        _terminal.note("interrupted; finished runs are kept, and the same command goes on from them")
        sys.exit(INTERRUPTED)
    if as_json:
        emit(**of_study(done, folder))
    else:
        _show(done, folder)


def of_study(done: Study, folder: str) -> dict[str, Any]:
    """The runs without their curves, the summary and the verdicts."""
    from labelsmooth.calibration.study import as_json

    told = as_json(done)
    told.pop("schema_version")
    told["runs"] = [{word: x for word, x in run.items() if word != "curves"} for run in told["runs"]]
    return told | {"paths": [str(Path(folder, name)) for name in ("report.html", "study.json")]}


def _show(done: Study, folder: str) -> None:
    from labelsmooth import _terminal
    from labelsmooth.calibration._study_report import finding_rows, group_table
    from labelsmooth.calibration._study_report import headlines as lines

    columns = ["ε", "seeds", "accuracy, %", "ECE", "T", "ECE with T", "NLL with T", "covered at 1%"]
    places = (0, 2, 4, 5, 6, 8)
    for group in done.table.groups:
        table = group_table(done, group)
        rows = [
            [row["epsilon"], str(row["seeds"]), *(row["cells"][i]["mean"] for i in places)] for row in table["rows"]
        ]
        _terminal.table(table["words"], columns, rows)
    question = ""
    for row in finding_rows(done):
        if row["question"] != question:
            question = row["question"]
            _terminal.say(question, style="bold")
        _terminal.say(
            f"  {row['verdict']:<14} {row['says']} {row['where']}: {row['amount']}", style=STYLES[row["kind"]]
        )
    for line in lines(done):
        _terminal.say(line, style="bold")
    _terminal.say(f"Written: {Path(folder, 'report.html')} and {Path(folder, 'study.json')}")
