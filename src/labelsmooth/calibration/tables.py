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
    ['Measures', 'Answering only when sure, by']
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
    return [*out, of_measures(found.run, name), of_rankings(found.run, name), of_classes(found.run, name)]


def of_measures(run: Assessment, name: str = "") -> Table:
    """Each measure as it is and after temperature, with its 95% interval, or with what chance alone makes of an ECE."""
    rows = _column(run.before)
    columns: tuple[str, ...] = ("", "as it is", "95% / chance")
    if run.after is not None:
        rows = [(*left, *right[1:]) for left, right in zip(rows, _column(run.after), strict=True)]
        rest = run.after.nll
        rows += [
            ("NLL removed by T", f"{run.before.nll - rest:.4f}", "", "", ""),
            ("NLL that stays", f"{rest:.4f}", "", "", ""),
        ]
        columns = (*columns, "after T", "95% / chance")
    empty = ("",) * (len(columns) - 2)
    rows += [("median top-2 logit gap", f"{run.median_gap:.3f}", *empty), (_aim(run), f"{_wall(run):.3f}", *empty)]
    return Table(f"Measures{name}", columns, tuple(rows))


def _column(m: Measures) -> list[tuple[str, ...]]:
    """Rows of label, number and what to hold it against."""

    def half(key: str, scale: float = 1.0, digits: int = 4) -> str:
        low, high = m.intervals[key]
        return "" if high == float("inf") else f"±{scale * (high - low) / 2:.{digits}f}"

    parts = m.decomposition
    return [
        ("accuracy", f"{m.accuracy:.4f}", half("accuracy")),
        *((f"top-{k} accuracy", f"{share:.4f}", "") for k, share in m.top_k.items()),
        ("NLL", f"{m.nll:.4f}", half("nll")),
        ("Brier score", f"{m.brier:.4f}", half("brier")),
        ("mean confidence", f"{m.mean_confidence:.4f}", ""),
        ("confidence − accuracy", f"{m.overconfidence:+.4f}", half("overconfidence")),
        ("ECE, 15 equal widths", f"{m.null.ece:.4f}", f"chance {m.null.floor:.4f}"),
        ("  p if calibrated", f"{m.null.p_value:.3f}", ""),
        ("ECE, 15 equal masses", f"{m.null_mass.ece:.4f}", f"chance {m.null_mass.floor:.4f}"),
        ("  p if calibrated", f"{m.null_mass.p_value:.3f}", ""),
        ("smooth ECE", f"{m.smooth_ece:.4f}", ""),
        ("class-wise ECE", f"{m.classwise_ece:.4f}", ""),
        ("Brier of “it is right”", f"{parts.score:.4f}", ""),
        ("  = reliability", f"{parts.reliability:.4f}", ""),
        ("  − resolution", f"{parts.resolution:.4f}", ""),
        ("  + uncertainty", f"{parts.uncertainty:.4f}", ""),
        ("  + within bins", f"{parts.within:.4f}", ""),
    ]


def shown_epsilon(run: Assessment) -> float:
    """The ε whose gap is shown: the run's, else the one it seems to have, else 0.1."""
    return run.epsilon or (run.smoothing.epsilon if run.smoothing.likely else 0.1)


def _wall(run: Assessment) -> float:
    return wall(shown_epsilon(run), run.classes)


def _aim(run: Assessment) -> str:
    return f"  ε = {shown_epsilon(run):.2g} aims at"


def of_rankings(run: Assessment, name: str = "") -> Table:
    """Selective classification by each score."""
    rows: list[tuple[str, ...]] = [
        ("AURC", *(f"{r.aurc:.4f}" for r in run.rankings)),
        ("  above the best ranking", *(f"{r.excess:.4f}" for r in run.rankings)),
    ]
    rows += [
        (f"coverage at risk {risk:g}", *(f"{r.coverage[risk]:.1%}" for r in run.rankings))
        for risk in run.rankings[0].coverage
    ]
    rows.append(("errors in the surest 10%", *(f"{r.surest_errors:.1%}" for r in run.rankings)))
    return Table(f"Answering only when sure, by{name}", ("", *(r.score for r in run.rankings)), tuple(rows))


def of_classes(run: Assessment, name: str = "") -> Table:
    """The classes with the largest class-wise ECE."""
    after = {} if run.seen_after is None else dict(enumerate(_by_class(run)))
    rows = tuple(
        (run.class_names[k], f"{error:.4f}", *([f"{after[k]:.4f}"] if after else []))
        for k, error in run.before.worst_classes
    )
    columns = ("class", "class-wise ECE", *(["after temperature"] if after else []))
    return Table(f"Worst calibrated classes{name}", columns, rows)


def _by_class(run: Assessment) -> list[float]:
    from .measures import classwise_ece

    return [] if run.seen_after is None else [float(x) for x in classwise_ece(run.seen_after.classes)]


COLUMNS = {
    "accuracy": ("accuracy", 4), "overconfidence": ("conf. − acc.", 3), "nll": ("NLL", 3), "ece": ("ECE", 4),
    "temperature": ("T", 3), "nll_after": ("NLL, T", 3), "ece_after": ("ECE, T", 4), "aurc": ("AURC", 4),
    "aurc_norm": ("AURC, norm", 4), "criterion": ("chosen by", 3),
}  # fmt: skip


def of_groups(found: Comparison) -> Table:
    """Mean over seeds of each measure, a column for each ε."""
    rows = (
        ("seeds", *(str(len(g.seeds)) for g in found.groups)),
        *((label, *(_spread(g, key, digits) for g in found.groups)) for key, (label, digits) in COLUMNS.items()),
    )
    where = "validation" if found.on_validation else "these rows"
    title = f"Mean ± deviation over seeds; chosen by NLL after T on {where}"
    return Table(title, ("", *(f"ε = {g.epsilon:g}" for g in found.groups)), rows)


def _spread(g: Group, key: str, digits: int) -> str:
    s = g.measured[key]
    return f"{s.mean:.{digits}f}" + (f" ±{s.deviation:.{digits}f}".replace("±0.", "±.") if s.seeds > 1 else "")


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
    return f"{d.mean:+.4f}", shown[0], shown[1], ("yes" if d.clear else "no") if enough else "no claim"


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
            f"{_given(run)}It looks so: {s.near:.0%} of the confidences pile up at {s.confidence:.3f}, where "
            f"ε = {s.epsilon:.2g} puts them ({s.low:.2g} to {s.high:.2g} within the pile), and {s.above:.1%} are surer."
        )
    else:
        out.append(
            f"{_given(run)}The confidences do not show it: {s.near:.0%} are at their densest place, and {s.above:.0%} are surer."
        )
    return out


def _given(run: Assessment) -> str:
    return "Trained with label smoothing? " + ("" if run.epsilon is None else f"ε = {run.epsilon:g} was given. ")
