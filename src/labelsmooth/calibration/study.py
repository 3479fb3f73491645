"""`labelsmooth study`: small networks on real data, with and without smoothing, and what that says.

    plan of runs -> a file a run (`_running`) -> table over ε and seeds (`_paired`) -> verdicts on claims (`_claims`) -> report

Nothing here is written by hand about the results: numbers come from the runs, verdicts from the rules.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelsmooth.errors import InputError
from labelsmooth.files.write import write_atomically

from ._claims import Finding, judge
from ._paired import Cell, Table, chosen, summary
from ._plan import GROUPS, plan
from ._running import Record, complete, require_torch
from .datasets import SETS
from .plots import Figure

SCHEMA = 1
RESULT, RUNS, LOGITS = "study.json", "runs", "logits"


@dataclass(frozen=True)
class Section:
    """A part of the report: a question, how to read its figures, and the figures."""

    title: str
    words: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True, eq=False)
class Study:
    """What came out.

    Attributes:
        records: a run each: settings, measures, and of the first seed the curves.
        summary: for each group and ε the means, and the differences from ε = 0 with their 95% intervals.
        findings: the claims for which there were runs, each with its verdict.
        path: the JSON that holds it all, where there is one.

    """

    records: list[Record]
    summary: list[dict[str, Any]]
    findings: list[Finding]
    path: Path | None = None

    @property
    def table(self) -> Table:
        """The measures by group, ε and seed."""
        return Table(self.records)

    def mean(self, group: str, label_smoothing: float, measure: str) -> float:
        """One number of the summary: the mean over seeds."""
        return float(self._told(group, label_smoothing)[measure]["mean"])

    def difference(self, group: str, label_smoothing: float, measure: str) -> tuple[float, float, float]:
        """The mean difference from ε = 0 within seeds, and its 95% interval."""
        mean, low, high = self._told(group, label_smoothing)[measure]["difference"]
        return mean, low, high

    def seeds(self, group: str, label_smoothing: float, measure: str) -> dict[int, float]:
        """The number of each seed."""
        return self.table.seeds(Cell(group, label_smoothing, measure))

    def chosen(self, group: str) -> float | None:
        """The smallest ε whose NLL with a temperature, on validation rows, is within a standard error of the best."""
        return chosen(self.table, group)

    def _told(self, group: str, label_smoothing: float) -> dict[str, Any]:
        for row in self.summary:
            if (row["group"], row["label_smoothing"]) == (group, label_smoothing):
                return dict(row["measures"])
        known = ", ".join(dict.fromkeys(row["group"] for row in self.summary))
        raise ValueError(f"there are no runs of {group!r} at ε = {label_smoothing:g}; groups: {known}")


def run_study(
    folder: str | Path,
    *,
    sets: Sequence[str] = SETS,
    seeds: int | None = None,
    epsilons: Sequence[float] | None = None,
    epochs: int | None = None,
    jobs: int = 1,
    data: str | Path | None = None,
    keep_logits: bool = False,
    progress: Callable[[float], None] = lambda share: None,
) -> Study:
    """Trains what is missing, and writes `study.json` and `report.html` into a folder.

    Args:
        folder: is made; holds a file for each finished run, so that the same call goes on where another one stopped.
        sets: of "fashion", "digits" and "names".
        seeds: how many, in place of each group's own number.
        epsilons: in place of each group's own; 0 is always among them.
        epochs: in place of each recipe's own.
        jobs: how many processes, each with one thread.
        data: where the files of Fashion-MNIST lie.
        keep_logits: also write each run's logits, an input of `labelsmooth calibrate`.
        progress: called with the share that is done.

    Returns:
        The study.

    Raises:
        InputError: data are missing or damaged, or the folder cannot be written to.
        MissingExtra: a package is missing.
        ValueError: a name that is no set, or a number that makes no sense.

    Example:
        >>> import tempfile
        >>> done = run_study(tempfile.mkdtemp(), sets=["digits"], seeds=2, epsilons=[0.1], epochs=2)
        >>> len(done.records), sorted(path.name for path in done.path.parent.iterdir())
        (4, ['report.html', 'runs', 'study.json'])
    """
    _check(sets, seeds, epsilons, epochs, jobs)
    require_torch()
    from ._study_report import write_report

    home = Path(folder)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{home}: the folder cannot be made: {error.strerror}") from error
    runs = plan(sets, seeds=seeds, epsilons=epsilons, epochs=epochs)
    records = complete(
        runs,
        home / RUNS,
        jobs=jobs,
        data_folder=Path(data) if data else None,
        keep=home / LOGITS if keep_logits else None,
        progress=progress,
    )
    study = study_of(records, home / RESULT)
    with write_atomically(home / RESULT, force=True) as temporary:
        temporary.write_text(
            json.dumps(as_json(study), separators=(",", ":"), ensure_ascii=False) + "\n", encoding="utf-8"
        )
    write_report(study, home / "report.html", force=True)
    return study


def _check(
    sets: Sequence[str], seeds: int | None, epsilons: Sequence[float] | None, epochs: int | None, jobs: int
) -> None:
    for name in sets:
        if name not in SETS:
            raise ValueError(f"there is no set {name!r}: choose from {', '.join(SETS)}")
    for word, number in (("seeds", seeds), ("epochs", epochs), ("jobs", jobs)):
        if number is not None and number < 1:
            raise ValueError(f"{word} must be at least 1, got {number}")
    for epsilon in epsilons or ():
        if not 0 <= epsilon < 1:
            raise ValueError(f"ε must be from 0 to below 1, got {epsilon:g}")


def study_of(records: list[Record], path: Path | None = None) -> Study:
    """Summary and verdicts of some runs."""
    table = Table(records)
    return Study(records, summary(table), judge(table), path)


def as_json(study: Study) -> dict[str, Any]:
    """The whole study as one object."""
    return {
        "schema_version": SCHEMA,
        "runs": study.records,
        "summary": [{**row, "measures": {w: _short(m) for w, m in row["measures"].items()}} for row in study.summary],
        "findings": [of_finding(finding) for finding in study.findings],
        "seconds": round(sum(record["seconds"] for record in study.records), 1),
    }


def of_finding(finding: Finding) -> dict[str, Any]:
    """One claim, what was measured, and the verdict."""
    claim, found = finding.claim, finding.measured
    return {
        "says": claim.says,
        "paper": claim.paper,
        "cite": claim.cite,
        "where": claim.where,
        "measured": claim.what,
        **_short({"mean": found.mean, "low": found.low, "high": found.high}),
        "seeds": found.seeds,
        "verdict": finding.verdict,
    }


def _short(told: dict[str, Any]) -> dict[str, Any]:
    def digits(x: Any) -> Any:
        if isinstance(x, list):
            return [digits(one) for one in x]
        return None if x is None or x != x else float(f"{x:.5g}")  # noqa: PLR0124  NaN has no place in JSON

    return {word: digits(x) for word, x in told.items()}


def read_study(path: str | Path) -> Study:
    """Reads the `study.json` of an earlier study; summary and verdicts are computed anew from its runs.

    Args:
        path: the file.

    Raises:
        InputError: it is not there or holds no study.

    Example:
        >>> import tempfile
        >>> run = {"settings": {"name": "digits", "label_smoothing": 0.1, "seed": 0}, "measures": {"accuracy": 0.9}}
        >>> file = Path(tempfile.mkdtemp(), "study.json")
        >>> _ = file.write_text(json.dumps({"schema_version": 1, "runs": [run]}))
        >>> read_study(file).mean("digits", 0.1, "accuracy")
        0.9
    """
    file = Path(path)
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{file}: is no JSON: {error}") from error
    if not isinstance(told, dict) or told.get("schema_version") != SCHEMA or not told.get("runs"):
        raise InputError(f"{file}: holds no study: an object with schema_version {SCHEMA} and runs was expected")
    return study_of(told["runs"], file)


def words(group: str) -> str:
    """What was trained in a group, for tables; a group of students is named after its teachers'."""
    name, _, student = group.partition(" ")
    if name not in GROUPS:
        return group
    told = f"{GROUPS[name].data}: {GROUPS[name].words}"
    return f"{told}; student, {student}" if student else told


def signed(x: float, digits: int) -> str:
    """A change, with a minus that is as wide as the plus.

    >>> signed(-0.5, 2)
    '−0.50'
    """
    return f"{x:+.{digits}f}".replace("-", "−")
