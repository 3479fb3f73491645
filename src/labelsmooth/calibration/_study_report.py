"""The study as one page that needs nothing else: verdicts, figures with their numbers, the table, how it was made."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from labelsmooth.files.write import write_atomically

from ._claims import NOT_DECIDED, NOT_REPRODUCED, REPRODUCED, Finding
from ._extras import extra
from ._paired import FEWEST, chosen
from ._study_figures import sections
from .study import Study, signed, words

# Measure, its heading, digits, the factor it is shown with, and the sign of a change for the better (0: neither).
MEASURES = (
    ("accuracy", "accuracy, %", 2, 100.0, 1),
    ("overconfidence", "confidence − accuracy, points", 1, 100.0, 0),
    ("ece", "ECE", 3, 1.0, -1),
    ("nll", "NLL", 3, 1.0, -1),
    ("temperature", "T", 2, 1.0, 0),
    ("ece_after", "ECE with T", 3, 1.0, -1),
    ("nll_after", "NLL with T", 3, 1.0, -1),
    ("aurc", "AURC", 4, 1.0, -1),
    ("coverage", "coverage at 1% risk, %", 1, 100.0, 1),
    ("coverage_norm", "the same by logit norm, %", 1, 100.0, 1),
)
METHOD = (
    "AdamW without decay, one cycle of the learning rate up to the rate in the table; the loss is labelsmooth's.",
    (
        "ECE in 15 bins of equal width; AURC and coverage by the largest probability; the norm of the logit norm is chosen on "
        "validation rows."
    ),
    (
        "Each seed trains on rows of its own. Intervals say what other training rows and weights would give; the test rows of "
        "Fashion-MNIST and names are the same for all seeds."
    ),
)
POINTS = {"accuracy", "coverage", "coverage_norm", "overconfidence"}
MARKS = {REPRODUCED: "✓", NOT_REPRODUCED: "✗", NOT_DECIDED: "?"}


def write_report(study: Study, path: Path, *, force: bool) -> None:
    """Writes the page; `force` replaces an existing file."""
    from labelsmooth._version import __version__

    jinja = extra("jinja2", "the report")
    environment = jinja.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja.StrictUndefined, keep_trailing_newline=True
    )
    page = environment.from_string(_file("study.html")).render(
        look=_file("report.html")
        .partition("<style>")[2]
        .partition("</style>")[0],  # calibrate's report, so that both look alike
        lines=headlines(study),
        findings=finding_rows(study),
        fewest=FEWEST,
        sections=sections(study),
        tables=[group_table(study, group) for group in study.table.groups],
        measures=[heading for _, heading, *_ in MEASURES],
        made=made(study),
        version=__version__,
    )
    with write_atomically(path, force=force) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def headlines(study: Study) -> list[str]:
    """How many claims went which way, and which did not come out as their paper says."""
    papers = [f for f in study.findings if f.claim.paper]
    counts = {verdict: sum(f.verdict == verdict for f in papers) for verdict in MARKS}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    subject = "1 claim of a paper was" if len(papers) == 1 else f"{len(papers)} claims of papers were"
    lines = [f"{subject} tried on these runs: {told}."] if papers else []
    against = [f for f in papers if f.verdict == NOT_REPRODUCED]
    lines += [f"Not reproduced: {f.claim.says} ({f.claim.paper}, {f.claim.where}: {amount(f)})" for f in against]
    return lines or ["These runs are about no claim of a paper."]


def finding_rows(study: Study) -> list[dict[str, Any]]:
    """The claims as the page and the terminal show them."""
    return [
        {
            "question": f.claim.question,
            "says": f.claim.says,
            "paper": f.claim.paper or "No paper's claim",
            "cite": f.claim.cite,
            "link": f"https://arxiv.org/abs/{f.claim.cite[6:]}" if f.claim.cite.startswith("arXiv:") else "",
            "where": f.claim.where,
            "what": f.claim.what,
            "amount": amount(f),
            "seeds": f"{f.measured.seeds} seed{'' if f.measured.seeds == 1 else 's'}",
            "verdict": _said(f),
            "mark": MARKS[f.verdict],
            "kind": f.verdict.replace(" ", "-"),
        }
        for f in study.findings
    ]


def _said(finding: Finding) -> str:
    """A question of ours is not reproduced but answered."""
    if finding.claim.paper or finding.verdict == NOT_DECIDED:
        return finding.verdict
    return "yes" if finding.verdict == REPRODUCED else "no"


def amount(finding: Finding) -> str:
    """The contrast with its interval, in points where it is a share of rows.

    >>> from labelsmooth.calibration._claims import CLAIMS
    >>> from labelsmooth.calibration._paired import Interval
    >>> claim = next(claim for claim in CLAIMS if claim.contrast[0][1].measure == "accuracy")
    >>> amount(Finding(claim, Interval(0.005, 0.004, 0.006, 5), "reproduced"))
    '+0.50 points [+0.40, +0.60]'
    """
    share = finding.claim.contrast[0][1].measure in POINTS
    factor, unit, digits = (100.0, " points", 2) if share else (1.0, "", 4)
    found = finding.measured
    mean, low, high = (signed(x * factor, digits) for x in (found.mean, found.low, found.high))
    return f"{mean}{unit} (one seed)" if found.seeds < 2 else f"{mean}{unit} [{low}, {high}]"


def group_table(study: Study, group: str) -> dict[str, Any]:
    """A group's means by ε, with the difference from ε = 0 under each."""
    rows = []
    for row in study.summary:
        if row["group"] == group:
            cells = [_cell(row["measures"].get(word), d, f, b) for word, _, d, f, b in MEASURES]
            rows.append({"epsilon": f"{row['label_smoothing']:g}", "seeds": len(row["seeds"]), "cells": cells})
    best = chosen(study.table, group)
    return {"group": group, "words": words(group), "rows": rows, "chosen": "" if best is None else f"{best:g}"}


def _cell(told: dict[str, Any] | None, digits: int, factor: float, better: int) -> dict[str, str]:
    if told is None:
        return {"mean": "", "change": "", "kind": ""}
    mean = f"{told['mean'] * factor:.{digits}f}".replace("-", "−")
    if told.get("difference") is None:
        return {"mean": mean, "change": "", "kind": ""}
    middle, low, high = (x * factor for x in told["difference"])
    if low != low:  # noqa: PLR0124  NaN: one seed
        return {"mean": mean, "change": signed(middle, digits), "kind": ""}
    sure = 1 if low > 0 else -1 if high < 0 else 0
    kind = {0: "", better: "better", -better: "worse"}.get(sure, "") if better else ""
    return {"mean": mean, "change": f"{signed(middle, digits)} ± {(high - low) / 2:.{digits}f}", "kind": kind}


def made(study: Study) -> dict[str, Any]:
    """What the page says on how it was made."""
    records = study.records
    sets = sorted({f"{r['settings']['data']}: {r['source']}, {r['classes']} classes" for r in records})
    versions = sorted({", ".join(f"{name} {v}" for name, v in r["versions"].items()) for r in records})
    return {
        "runs": len(records),
        "minutes": f"{sum(r['seconds'] for r in records) / 60:.1f}",
        "lines": [*sets, *(f"{one}; one thread a run" for one in versions), *METHOD],
        "recipes": [
            _recipe(next(r["settings"] for r in records if r["settings"]["name"] == g)) for g in _names(records)
        ],
    }


def _names(records: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(record["settings"]["name"] for record in records))


def _recipe(told: dict[str, Any]) -> tuple[str, ...]:
    how, besides = told["recipe"], []
    if told["noise"]:
        besides.append(f"{100 * told['noise']:g}% of the training labels wrong, validation labels right")
    if how["mixup"]:
        besides.append(f"mixup, Beta({how['mixup']:g}, {how['mixup']:g})")
    if told["student"]:
        besides.append(f"students: {told['transfer']:,} rows, {told['student']['epochs']} epochs")
    numbers = (f"{told['train']:,}", str(how["epochs"]), str(how["batch"]), f"{how['rate']:g}")
    return (words(told["name"]), *numbers, "; ".join(besides))
