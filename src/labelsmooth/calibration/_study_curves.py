"""Figures of single networks, those of the first seed: reliability, risk against coverage, gaps, clusters."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._outcome import COVERAGES, GAP_EDGES, SHOWN_CLASSES
from .datasets import CLOTHES
from .plots import BAND, FIRST, INK, SECOND, THIRD, Figure, drawn
from .smoothing import wall
from .study import Section, Study, words
from .temperature import QUANTILE

MAIN = "fashion"
COLOURS = (INK, FIRST, SECOND, THIRD)
STYLE = {0.0: ("o", INK), 0.05: ("s", FIRST), 0.1: ("^", SECOND), 0.2: ("D", THIRD)}
ASKED = (0.05, 0.1, 0.2, 0.5, 0.8, 1.0)  # coverages in the table
POOR = 15.0  # percent of errors, beyond which the picture does not go


def main_group(study: Study) -> str:
    """The group that figures of one group show: the first that has curves."""
    return next((g for g in (MAIN, "digits", "names") if _curves(study, g)), "")


def style(epsilon: float) -> tuple[str, str]:
    """Mark and colour of an ε."""
    return STYLE.get(epsilon, ("v", FIRST))


def _curves(study: Study, group: str) -> dict[float, dict[str, Any]]:
    """The curves of a group's first seed by ε, rising."""
    found = {
        float(record["settings"]["label_smoothing"]): record["curves"]
        for record in study.records
        if record["settings"]["name"] == group and "curves" in record
    }
    return dict(sorted(found.items()))


def _named(epsilon: float) -> str:
    return f"ε = {epsilon:g}"


def _key(*parts: object) -> str:
    return "-".join(str(part).replace(".", "") for part in parts)


def reliability(study: Study) -> Section | None:
    """ε = 0, a good one, too much, and ε = 0 with a temperature."""
    group = main_group(study)
    found = _curves(study, group)
    wanted = [(e, "reliability", _named(e)) for e in (0.0, 0.05, 0.2) if e in found]
    if 0.0 in found:
        wanted.append((0.0, "reliability_after", "ε = 0 with a temperature"))
    if not wanted:
        return None
    return Section(
        "Does confidence keep its promise?",
        f"{words(group)}, first seed. On the dashed line the share of right answers is the confidence; below it the network "
        "promises too much, above it too little. The area of a mark is its number of test rows; the band is where chance alone "
        "puts a calibrated network's marks.",
        tuple(_reliability(found[epsilon][kind], name, epsilon, _key(kind, epsilon)) for epsilon, kind, name in wanted),
    )


def _reliability(bins: dict[str, list[float]], name: str, epsilon: float, key: str) -> Figure:
    p, hit, n = (np.array(bins[word], dtype=float) for word in ("confidence", "accuracy", "count"))
    half = QUANTILE * np.sqrt(p * (1 - p) / n)
    mark, colour = style(epsilon)

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--")
        axes.fill_between(p, p - half, p + half, color=BAND, linewidth=0)
        axes.vlines(p, p, hit, color=colour, linewidth=1)
        axes.scatter(p, hit, s=8 + 90 * n / n.max(), color=colour, marker=mark, zorder=3)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="share of right answers")

    off, worth = float((n * (p - hit)).sum() / n.sum()), float((n * np.abs(p - hit)).sum() / n.sum())
    return Figure(
        key,
        name,
        f"ECE {worth:.3f}; mean confidence minus accuracy {100 * off:+.1f} points.",
        drawn(key, draw),
        ("bin from", "rows", "confidence", "right", "chance ±"),
        tuple(
            (f"{a:.3f}", f"{b:,.0f}", f"{c:.3f}", f"{d:.3f}", f"{h:.3f}")
            for a, b, c, d, h in zip(bins["lower"], n, p, hit, half, strict=True)
        ),
    )


def risk(study: Study) -> Section | None:
    """Errors among the surest answers, by confidence and by the logit norm."""
    group = main_group(study)
    found = _curves(study, group)
    if len(found) < 2:
        return None
    kinds = (("risk", "Ranked by confidence", "-"), ("risk_norm", "Ranked by the logit norm", ":"))
    return Section(
        "Which answers can be trusted?",
        f"{words(group)}, first seed. The network answers only the test rows that it is surest of. A line that is high on the "
        "left has errors among its surest answers. The logit norm is the largest logit over the norm of all, after centring.",
        tuple(_risk(found, kind, title, line) for kind, title, line in kinds),
    )


def _risk(found: dict[float, dict[str, Any]], kind: str, title: str, line: str) -> Figure:
    errors = {epsilon: 100 * np.array(curves[kind]) for epsilon, curves in found.items()}

    def draw(axes: Any) -> None:
        for epsilon, percent in errors.items():
            mark, colour = style(epsilon)
            axes.plot(
                100 * COVERAGES,
                percent,
                line,
                color=colour,
                marker=mark,
                markevery=(4, 10),
                markersize=4,
                label=_named(epsilon),
            )
        top = min(POOR, 1.05 * max(float(percent.max()) for percent in errors.values()))
        axes.set(xlim=(0, 100), ylim=(0, top), xlabel="coverage, % of rows", ylabel="errors among them, %")
        axes.legend(loc="upper left")

    tenth = ", ".join(f"{np.interp(0.1, COVERAGES, percent):.1f}% at {_named(e)}" for e, percent in errors.items())
    return Figure(
        kind,
        title,
        f"Errors among the surest tenth: {tenth}.",
        drawn(kind.replace("_", "-"), draw),
        ("network", *(f"errors, % at {100 * c:.0f}%" for c in ASKED)),
        tuple(
            (_named(e), *(f"{np.interp(c, COVERAGES, percent):.2f}" for c in ASKED)) for e, percent in errors.items()
        ),
    )


def gaps(study: Study) -> Section | None:
    """How far the largest logit is above the second, against the wall."""
    group = main_group(study)
    found = _curves(study, group)
    if len(found) < 2:
        return None
    classes = next(r["classes"] for r in study.records if r["settings"]["name"] == group)
    return Section(
        "The wall",
        f"{words(group)}, first seed. Without smoothing the gap between the two largest logits grows as long as training goes "
        "on. With it the loss is smallest where the gap is log(1 + K(1-ε)/ε), drawn as a vertical line.",
        tuple(
            _gaps(found, kind, title, classes)
            for kind, title in (("gaps_train", "Training rows"), ("gaps", "Test rows"))
        ),
    )


def _gaps(found: dict[float, dict[str, Any]], kind: str, title: str, classes: int) -> Figure:
    shares = {epsilon: 100 * np.array(curves[kind]) / sum(curves[kind]) for epsilon, curves in found.items()}

    def draw(axes: Any) -> None:
        for epsilon, share in shares.items():
            _, colour = style(epsilon)
            axes.stairs(
                np.where(share > 0, share, np.nan), GAP_EDGES, color=colour, linewidth=1.2, label=_named(epsilon)
            )
            if epsilon:
                axes.axvline(wall(epsilon, classes), color=colour, linewidth=0.9, linestyle="--")
        axes.set(xlim=(0, 25), xlabel="largest logit minus the second", ylabel="rows, %, log scale", yscale="log")
        axes.legend(loc="upper right")

    def below(epsilon: float, share: float) -> str:
        return f"{np.interp(100 * share, np.cumsum(shares[epsilon]), GAP_EDGES[1:]):.1f}"

    middle = ", ".join(f"{below(e, 0.5)} at {_named(e)}" for e in shares)
    return Figure(
        kind,
        title,
        f"Median gap: {middle}.",
        drawn(kind.replace("_", "-"), draw),
        ("network", "median", "95% below", "wall"),
        tuple((_named(e), below(e, 0.5), below(e, 0.95), f"{wall(e, classes):.2f}" if e else "none") for e in shares),
    )


def clusters(study: Study) -> Section | None:
    """Three classes in the plane through their templates."""
    found = {e: c["projection"] for e, c in _curves(study, MAIN).items() if "projection" in c and e in (0.0, 0.1)}
    if len(found) < 2:
        return None
    return Section(
        "What the last layer is given",
        "Training rows of three classes in the plane through the three classes' templates (rows of the last layer's weight), "
        "which are the corners of the triangle. The axes of the two pictures differ in scale.",
        tuple(_clusters(told, epsilon) for epsilon, told in found.items()),
    )


def _clusters(told: dict[str, Any], epsilon: float) -> Figure:
    corners = np.array(told["templates"])
    points = {CLOTHES[number]: np.array(told["points"][str(number)]) for number in SHOWN_CLASSES}

    def draw(axes: Any) -> None:
        for (name, places), mark, colour in zip(points.items(), "os^", (FIRST, SECOND, THIRD), strict=True):
            axes.plot(
                *places.T, mark, color=colour, markersize=3.5, markerfacecolor="none", markeredgewidth=0.9, label=name
            )
        axes.plot(*np.vstack([corners, corners[:1]]).T, color=INK, linewidth=1)
        axes.set_aspect("equal", adjustable="datalim")
        axes.legend(loc="best")

    middles = {name: places.mean(axis=0) for name, places in points.items()}
    widths = {name: float(np.hypot(*places.std(axis=0))) for name, places in points.items()}
    apart = float(np.mean([np.hypot(*(a - b)) for a in middles.values() for b in middles.values() if a is not b]))
    key = _key("clusters", epsilon)
    return Figure(
        key,
        _named(epsilon),
        f"The classes' middles are {apart:.1f} apart on average, and their rows {np.mean(list(widths.values())):.1f} from them.",
        drawn(key, draw),
        ("class", "middle, first axis", "second axis", "rows from it"),
        tuple((name, *(f"{x:.1f}" for x in middles[name]), f"{widths[name]:.2f}") for name in points),
    )
