"""The command `calibrate`: runs and what is known of them in, the answer and a report out.

A run is a file with logits and labels, and what belongs to it stands behind commas: its ε, its seed, its validation split.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelsmooth._answers import emit
from labelsmooth._arguments import Refusal, as_json, force, user_input

if TYPE_CHECKING:
    from labelsmooth.calibration.assess import Assessment, Measures, Ranking
    from labelsmooth.calibration.calibrate import Calibration, Given
    from labelsmooth.calibration.runs import Comparison

CONTEXTS = ("abstain", "distil", "features", "mixup", "few-data")
DETAILS = ("eps", "seed", "val", "labels", "name")
_OPTIONS = (
    click.option("-o", "--out", "report", default=None, metavar="REPORT.html", help="Also write a report, one file."),
    click.option("--validation", default=None, metavar="FILE", help="Rows to fit the temperature on, of a single run."),
    click.option("--label-smoothing", "--eps", "epsilon", type=float, default=None, help="ε a single run was trained with."),
    click.option("--labels", default=None, metavar="FILE", help="Labels in a file of their own (for .npy)."),
    click.option("--validation-labels", default=None, metavar="FILE", help="The same for the validation split."),
    click.option("--probs", is_flag=True, help="The files hold probabilities, or logarithms of them."),
    click.option("--logits", "assume_logits", is_flag=True, help="The files hold logits, whatever they look like."),
    click.option("--risk", "risks", type=float, multiple=True, help="Share of errors at which the coverage is wanted "
                 "(repeatable; 0.01, 0.02 and 0.05)."),
    click.option("--context", type=click.Choice(CONTEXTS), multiple=True,
                 help="What you will do with the model, or did in training (repeatable): advice that depends on it."),
    click.option("--label-noise", "noise", type=float, default=None, help="Share of wrong training labels, if you know it."),
    click.option("--ignore-index", type=int, default=-100, show_default=True, help="Label of rows that do not count."),
    force,
    as_json,
)  # fmt: skip


def _with_options(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE[,eps=E][,seed=S][,val=FILE]...")
@_with_options
def calibrate(files: tuple[str, ...], **o: Any) -> None:
    """Should I smooth, and how much? Calibration, temperature and ranking of one's own logits, and a recommendation.

    FILE holds logits and labels of rows that the model was not trained on. Several files are runs with their ε and seed,
    which an .npz may hold itself: arrays label_smoothing and seed, val_logits and val_labels. A .npy is mapped and a large
    .parquet read in parts: they may be larger than the memory.

    \b
    Examples:
      labelsmooth calibrate test.npz -o report.html
      labelsmooth calibrate test.npz --validation val.npz --risk 0.005
      labelsmooth calibrate a.npz,eps=0,seed=1,val=av.npz b.npz,eps=0.1,seed=1,val=bv.npz ...
      labelsmooth calibrate logits.npy --labels labels.npy --json
    """
    from labelsmooth import _terminal
    from labelsmooth.calibration.calibrate import calibrate as measure

    _check(o, files)
    given = [_run(text, o) for text in files]
    with user_input(), _terminal.bar("measuring") as progress:
        found = measure(
            given,
            context=o["context"],
            noise=o["noise"],
            from_probabilities=o["probs"],
            progress=progress,
            **({"risks": o["risks"]} if o["risks"] else {}),
        )
    if o["report"]:
        from labelsmooth.calibration.report import write_report

        with _terminal.working(f"writing {o['report']}"), user_input(o["report"]):
            write_report(found, o["report"], force=o["force"])
    if o["as_json"]:
        emit(**of_calibration(found), path=o["report"])
    else:
        _show(found, o["report"])


def _check(o: dict[str, Any], files: tuple[str, ...]) -> None:
    if o["noise"] is not None and not 0 <= o["noise"] <= 1:
        raise Refusal(f"--label-noise is a share from 0 to 1, got {o['noise']:g}")
    if len(files) > 1 and (o["validation"] or o["epsilon"] is not None):
        raise Refusal("--validation and --eps are of a single run: write FILE,eps=0.1,val=FILE for each of several")
    target = None if o["report"] is None else Path(o["report"])
    if target is not None and target.exists() and not o["force"]:  # before minutes of work, not after
        raise Refusal(f"{target}: exists already: pass --force to replace it")


def _run(text: str, o: dict[str, Any]) -> Given:
    """One file and what stands behind its commas."""
    from labelsmooth.calibration.calibrate import Given
    from labelsmooth.files import open_stream

    file, *parts = re.split(rf",(?=(?:{'|'.join(DETAILS)})=)", text)
    detail = dict(part.split("=", 1) for part in parts)
    options = {"probabilities": o["probs"], "assume_logits": o["assume_logits"], "ignore_index": o["ignore_index"]}
    with user_input(file):
        epsilon, seed = _number(detail, "eps"), _number(detail, "seed")
        if seed is not None and not seed.is_integer():
            raise ValueError(f"seed={detail['seed']} is no whole number")
        if epsilon is None:
            epsilon = o["epsilon"]
        if epsilon is not None and not 0 <= epsilon < 1:
            raise ValueError(f"ε is from 0 to below 1, got {epsilon:g}")
        stream = open_stream(file, labels=detail.get("labels", o["labels"]), **options)
        held = detail.get("val", o["validation"])
        validation = None if held is None else open_stream(held, labels=o["validation_labels"], **options)
        if validation is not None and validation.classes != stream.classes:
            raise ValueError(f"{held} has {validation.classes} classes, {stream.classes} were expected")
    return Given(stream, validation, epsilon, None if seed is None else int(seed), detail.get("name", Path(file).name))


def _number(detail: dict[str, str], key: str) -> float | None:
    if key not in detail:
        return None
    try:
        value = float(detail[key])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{key}={detail[key]} is no number")
    return value


def _show(found: Calibration, report: str | None) -> None:
    from labelsmooth import _terminal
    from labelsmooth.calibration.tables import facts_in_words, tables

    answer = found.recommendation
    calm = answer.key in {"leave", "no_smoothing"}
    _terminal.say(answer.verdict, style="bold green" if calm else "bold")
    run = found.run
    _terminal.say(f"{run.name}: {run.rows:,} rows, {run.classes:,} classes", style="dim")
    for table in tables(found):
        _terminal.table(table.title, table.columns, table.rows, left=table.left)
    for line in facts_in_words(run):
        _terminal.say(line)
    for title, some in (("Advice", answer.advice), ("Warnings", answer.warnings)):
        if some:
            _terminal.say(title, style="bold")
        for one in some:
            _terminal.say(f"- {one.text}")
    for line in found.notes:
        _terminal.note(line)
    _terminal.note(f"written: {report}" if report else "next: add  -o report.html  for the figures")


def of_calibration(found: Calibration) -> dict[str, Any]:
    """Measures and temperature of the run that is shown, the recommendation, and every run and ε."""
    answer, shown = found.recommendation, _of_run(found.run)
    said = {
        kind: [{"key": s.key, "text": s.text, "number": s.number} for s in some]
        for kind, some in (("advice", answer.advice), ("warnings", answer.warnings))
    }
    return {
        "measures": shown["measures"],
        "temperature": shown["temperature"],
        "recommendation": {
            "key": answer.key,
            "label_smoothing": answer.epsilon,
            "temperature": answer.temperature,
            "verdict": answer.verdict,
            "decided_by": answer.decided_by,
            "number": answer.number,
            **said,
        },
        "run": found.run.name,
        "runs": [_of_run(run) for run in found.runs],
        "comparison": None if found.comparison is None else _of_comparison(found.comparison),
        "notes": list(found.notes),
    }


def _of_run(run: Assessment) -> dict[str, Any]:
    t, s = run.temperature, run.smoothing
    return {
        "name": run.name,
        "rows": run.rows,
        "classes": run.classes,
        "label_smoothing": run.epsilon,
        "seed": run.seed,
        "measures": {
            "before": _of_measures(run.before, run),
            "after": None if run.after is None else _of_measures(run.after, run),
            "median_top2_gap": run.median_gap,
            "selective": [_of_ranking(r) for r in run.rankings],
        },
        "temperature": {
            "value": t.value, "low": t.low, "high": t.high, "usable": t.usable, "refusal": t.refusal or None,
            "fitted_on": run.fitted_on, "rows": t.rows, "sample": run.sample,
        },
        "smoothing": {
            "likely": s.likely, "label_smoothing": s.epsilon, "low": s.low, "high": s.high, "confidence": s.confidence,
            "near": s.near, "above": s.above,
        },
        "criterion": run.criterion,
    }  # fmt: skip


def _of_measures(m: Measures, run: Assessment) -> dict[str, Any]:
    chance = {
        name: {"ece": n.ece, "floor": n.floor, "floor_95": n.high, "p_value": n.p_value, "resamples": n.resamples}
        for name, n in (("equal_width", m.null), ("equal_mass", m.null_mass))
    }
    names = ("accuracy", "nll", "brier", "mean_confidence", "overconfidence", "smooth_ece", "classwise_ece")
    d = m.decomposition
    return {
        **{name: getattr(m, name) for name in names},
        "top_k": {str(k): share for k, share in m.top_k.items()},
        "ece": m.null.ece,
        "ece_bins": chance,
        "worst_classes": [{"class": run.class_names[k], "ece": error} for k, error in m.worst_classes],
        "brier_of_prediction": {
            "score": d.score, "reliability": d.reliability, "resolution": d.resolution, "uncertainty": d.uncertainty,
            "within": d.within,
        },
        "intervals": {key: list(ends) for key, ends in m.intervals.items()},
    }  # fmt: skip


def _of_ranking(r: Ranking) -> dict[str, Any]:
    return {
        "score": r.score,
        "aurc": r.aurc,
        "excess_aurc": r.excess,
        "coverage_at_risk": {f"{risk:g}": share for risk, share in r.coverage.items()},
        "errors_in_surest_tenth": r.surest_errors,
    }


def _of_comparison(found: Comparison) -> dict[str, Any]:
    groups = [
        {
            "label_smoothing": g.epsilon,
            "seeds": list(g.seeds),
            "measures": {key: {"mean": s.mean, "deviation": s.deviation} for key, s in g.measured.items()},
            "differences": {
                key: {
                    "mean": d.mean,
                    "seeds": d.seeds,
                    "rows": d.rows,
                    "paired": d.paired,
                    "clear": d.clear and found.enough,
                }
                for key, d in g.differences.items()
            },
        }
        for g in found.groups
    ]
    keys = ("best", "chosen", "error", "seeds", "same_rows", "on_validation", "resamples")
    return {"groups": groups, "enough_seeds": found.enough} | {key: getattr(found, key) for key in keys}
