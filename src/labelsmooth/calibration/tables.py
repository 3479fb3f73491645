"""What was measured, as tables of text: the terminal and the report print the same ones."""

from __future__ import annotations

from dataclasses import dataclass

from .assess import Assessment, Measures
from .calibrate import Calibration
from .runs import Comparison, Difference, Group
from .smoothing import wall


@dataclass(frozen=True)
class Table:
    """Columns and rows of text; the first `left` columns are words, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1


def tables(found: Calibration) -> list[Table]:
    """All tables of an answer, the comparison first where there is one.

    >>> from labelsmooth.calibration.calibrate import Given, calibrate
    >>> from labelsmooth.data import path
    >>> from labelsmooth.files import open_stream
    >>> shown = tables(calibrate([Given(open_stream(path("digits.csv")))]))
    >>> [table.title for table in shown][:2]
    ['Measures', 'Answering only when sure']
    """
    out = []
    several = found.comparison is not None and len(found.runs) > 1
    if several and found.comparison is not None:
        out += [
            of_groups(found.comparison),
            *([of_differences(found.comparison)] if len(found.comparison.groups) > 1 else []),
        ]
    elif len(found.runs) > 1:
        out.append(of_each(found.runs))
    name = f", {found.run.name}" if len(found.runs) > 1 else ""
    return [*out, of_measures(found.run, name), of_rankings(found.run, name), *of_classes(found.run, name)]


def of_measures(run: Assessment, name: str = "") -> Table:
    """Each measure as it is and after temperature, with its interval, or what chance makes of it."""
    rows = [(label, number, aside) for label, number, aside in _column(run.before, run)]
    columns: tuple[str, ...] = ("", "as it is", "95%, or chance")
    if run.after is None:
        return Table(f"Measures{name}", columns, tuple(rows))
    t = "T" if run.fitted_on == "cross-fitting" else f"T = {run.temperature.value:.3g}"
    both = [
        (*left, *("", "")) if right is None else (*left, right[1], right[2])
        for left, right in zip(rows, [*_column(run.after, None), *[None] * 9], strict=False)
    ]
    return Table(f"Measures{name}", (*columns, f"after {t}", "95%, or chance"), tuple(both))


def _column(m: Measures, run: Assessment | None) -> list[tuple[str, str, str]]:
    """Rows of label, number and what to hold it against; `run` adds what a temperature does not change."""

    def between(key: str, scale: float = 1.0, digits: int = 4) -> str:
        low, high = (scale * x for x in m.intervals[key])
        return "" if high == float("inf") else f"{low:.{digits}f} to {high:.{digits}f}"

    null, mass, parts = m.null, m.null_mass, m.decomposition
    rows = [
        ("accuracy", f"{m.accuracy:.4f}", between("accuracy")),
        *((f"top-{k} accuracy", f"{share:.4f}", "") for k, share in m.top_k.items()),
        ("NLL", f"{m.nll:.4f}", between("nll")),
        ("Brier score", f"{m.brier:.4f}", between("brier")),
        ("mean confidence", f"{m.mean_confidence:.4f}", ""),
        ("confidence − accuracy, points", f"{100 * m.overconfidence:+.2f}", between("overconfidence", 100, 2)),
        ("ECE, 15 bins of equal width", f"{null.ece:.4f}", _chance(null.floor, null.p_value)),
        ("ECE, 15 bins of equal mass", f"{mass.ece:.4f}", _chance(mass.floor, mass.p_value)),
        ("smooth ECE", f"{m.smooth_ece:.4f}", ""),
        ("class-wise ECE", f"{m.classwise_ece:.4f}", ""),
        ("Brier score of “it is right”", f"{parts.score:.4f}", ""),
        ("  + reliability", f"{parts.reliability:.4f}", ""),
        ("  − resolution", f"{parts.resolution:.4f}", ""),
        ("  + uncertainty", f"{parts.uncertainty:.4f}", ""),
        ("  + within bins", f"{parts.within:.4f}", ""),
    ]
    if run is None:
        return rows
    if run.after is not None:
        rows += [
            ("NLL: what a temperature removes", f"{m.nll - run.after.nll:.4f}", ""),
            ("NLL: what is left", f"{run.after.nll:.4f}", ""),
        ]
    return [*rows, ("median top-2 logit gap", f"{run.median_gap:.3f}", _aim(run))]


def _chance(floor: float, p: float) -> str:
    return f"{floor:.4f}, p {p:.3f}"


def _aim(run: Assessment) -> str:
    """The gap that an ε aims at: the run's, else the one it seems to have, else what 0.1 would be."""
    epsilon = run.epsilon or (run.smoothing.epsilon if run.smoothing.likely else 0.1)
    return f"ε {epsilon:.2g} aims at {wall(epsilon, run.classes):.3f}"


def of_rankings(run: Assessment, name: str = "") -> Table:
    """Selective classification by each score."""
    risks = tuple(run.rankings[0].coverage)
    rows = tuple(
        (
            r.score,
            f"{r.aurc:.4f}",
            f"{r.excess:.4f}",
            *(f"{share:.1%}" for share in r.coverage.values()),
            f"{r.surest_errors:.1%}",
        )
        for r in run.rankings
    )
    columns = ("ranked by", "AURC", "excess", *(f"covered at {risk:.3g} risk" for risk in risks), "errors, surest 10%")
    return Table(f"Answering only when sure{name}", columns, rows)


def of_classes(run: Assessment, name: str = "") -> list[Table]:
    """The classes with the largest class-wise ECE."""
    after = {} if run.seen_after is None else dict(enumerate(_by_class(run)))
    rows = tuple(
        (run.class_names[k], f"{error:.4f}", *([f"{after[k]:.4f}"] if after else []))
        for k, error in run.before.worst_classes
    )
    columns = ("class", "class-wise ECE", *(["after temperature"] if after else []))
    return [Table(f"Worst calibrated classes{name}", columns, rows)]


def _by_class(run: Assessment) -> list[float]:
    from .measures import classwise_ece

    return [] if run.seen_after is None else [float(x) for x in classwise_ece(run.seen_after.classes)]


COLUMNS = {
    "accuracy": ("accuracy", 4), "overconfidence": ("conf. − acc.", 4), "nll": ("NLL", 3), "ece": ("ECE", 4),
    "temperature": ("T", 3), "nll_after": ("NLL, T", 3), "ece_after": ("ECE, T", 4), "aurc": ("AURC", 4),
    "aurc_norm": ("AURC, norm", 4), "criterion": ("chosen by", 3),
}  # fmt: skip


def of_groups(found: Comparison) -> Table:
    """Mean over seeds of each measure, a row for each ε."""
    rows = tuple(
        (f"{g.epsilon:g}", str(len(g.seeds)), *(_spread(g, key, digits) for key, (_, digits) in COLUMNS.items()))
        for g in found.groups
    )
    where = "validation" if found.on_validation else "these rows"
    title = f"Each ε, mean ± standard deviation over seeds (chosen by: NLL after temperature on {where})"
    return Table(title, ("ε", "seeds", *(label for label, _ in COLUMNS.values())), rows)


def _spread(g: Group, key: str, digits: int) -> str:
    s = g.measured[key]
    return f"{s.mean:.{digits}f}" + (f" ±{s.deviation:.{digits}f}" if s.seeds > 1 else "")


DIFFERENCES = ("accuracy", "nll", "nll_after", "ece", "ece_after", "aurc", "aurc_norm")


def of_differences(found: Comparison) -> Table:
    """Each ε against the smallest: over seeds, and over test rows."""
    base = found.groups[0].epsilon
    rows = tuple(
        (f"{g.epsilon:g}", COLUMNS[key][0], *_gap(g.differences[key], enough=found.enough))
        for g in found.groups[1:]
        for key in DIFFERENCES
    )
    columns = ("ε", "measure", "difference", "95% over seeds", "95% over rows", "clear")
    return Table(f"Difference to ε = {base:g}", columns, rows, left=2)


def _gap(d: Difference, *, enough: bool) -> tuple[str, str, str, str]:
    shown = [
        "" if one is None or abs(one[0]) == float("inf") else f"{one[0]:+.4f} to {one[1]:+.4f}"
        for one in (d.seeds, d.rows)
    ]
    return f"{d.mean:+.4f}", *shown, ("yes" if d.clear else "no") if enough else "no claim"


def of_each(runs: tuple[Assessment, ...]) -> Table:
    """A row for each run, where they are not compared."""
    rows = tuple(
        (r.name, f"{r.before.accuracy:.4f}", f"{100 * r.before.overconfidence:+.2f}", f"{r.before.nll:.4f}",
         f"{r.before.null.ece:.4f}", f"{r.temperature.value:.3f}", f"{r.nll_after:.4f}", f"{r.rankings[0].aurc:.4f}")
        for r in runs
    )  # fmt: skip
    return Table("Runs", ("run", "accuracy", "conf. − acc., points", "NLL", "ECE", "T", "NLL, T", "AURC"), rows)


def facts_in_words(run: Assessment) -> list[str]:
    """Temperature and smoothing, a sentence each."""
    t, s = run.temperature, run.smoothing
    how = (
        f"fitted on a validation split of {t.rows:,} rows"
        if run.fitted_on == "validation"
        else "after it, every row has the T of the four fifths that it is not in"
    )
    out = [
        f"Temperature: none, {t.refusal}."
        if t.refusal
        else f"Temperature {t.value:.4g} (95%: {t.low:.4g} to {t.high:.4g}); {how}."
    ]
    if s.likely:
        out.append(
            f"Trained with label smoothing? It looks so: {s.near:.0%} of the confidences pile up at {s.confidence:.3f}, where "
            f"ε = {s.epsilon:.2g} puts them ({s.low:.2g} to {s.high:.2g} within the pile), and {s.above:.1%} are surer."
        )
    else:
        out.append(
            f"Trained with label smoothing? Nothing says so: {s.near:.0%} of the confidences are at their densest place, and "
            f"{s.above:.0%} are surer."
        )
    return out
