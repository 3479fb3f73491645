"""Figures of single networks, those of the first seed: reliability, risk against coverage, gaps, clusters."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np

from ._draw import COLOURS, INK, MUTED, Shown, panel, svg
from ._outcome import COVERAGES, GAP_EDGES, SHOWN_CLASSES
from .datasets import CLOTHES
from .study import Study, words

MAIN = "fashion"
STYLE = {0.0: ("o", COLOURS[0]), 0.05: ("s", COLOURS[1]), 0.1: ("^", COLOURS[2]), 0.2: ("D", COLOURS[3])}
_ASKED = (0.05, 0.1, 0.2, 0.5, 0.8, 1.0)


def wall(classes: int, label_smoothing: float) -> float:
    """By how much the label's logit exceeds the others where the smoothed loss is smallest: log(1 + K(1-ε)/ε).

    >>> round(wall(10, 0.1), 2)
    4.51
    """
    return log(1 + classes * (1 - label_smoothing) / label_smoothing)


def main_group(study: Study) -> str:
    """The group that figures of one group show: the first with curves."""
    return next((g for g in (MAIN, "digits", "names") if _curves(study, g)), "")


def _curves(study: Study, group: str) -> dict[float, dict[str, Any]]:
    """The curves of a group's first seed by ε."""
    return {
        float(record["settings"]["label_smoothing"]): record["curves"]
        for record in study.records
        if record["settings"]["name"] == group and "curves" in record
    }


def style(epsilon: float) -> tuple[str, str]:
    return STYLE.get(epsilon, ("v", INK))


def _named(epsilon: float) -> str:
    return f"ε = {epsilon:g}"


def reliability(study: Study) -> Shown | None:
    group = main_group(study)
    found = _curves(study, group)
    wanted = [(e, "reliability", _named(e)) for e in (0.0, 0.05, 0.2) if e in found]
    if 0.0 in found:
        wanted.append((0.0, "reliability_after", "ε = 0 with a temperature"))
    if not wanted:
        return None
    pictures, rows = [], []
    for epsilon, kind, name in wanted:
        bins = found[epsilon][kind]
        pictures.append(_reliability_panel(bins, name, epsilon))
        rows += [
            (name, f"{low:.2f}", f"{n:,}", f"{p:.3f}", f"{hit:.3f}")
            for low, n, p, hit in zip(*(bins[w] for w in ("lower", "count", "confidence", "accuracy")), strict=True)
        ]
    return Shown(
        "reliability",
        "Does confidence keep its promise?",
        f"Each mark is a bin of test rows ({words(group)}, first seed): on the dashed line the share of right answers is the "
        "confidence. Below it the network promises too much, above it too little. Bars at the foot: how many rows; whiskers: "
        "95% of what chance does to a bin.",
        tuple(pictures),
        ("network", "bin from", "rows", "confidence", "right"),
        tuple(rows),
    )


def _reliability_panel(bins: dict[str, list[float]], name: str, epsilon: float) -> str:
    figure, axes = panel(3.0, 3.0)
    p, hit, n = (np.array(bins[word], dtype=float) for word in ("confidence", "accuracy", "count"))
    half = 1.96 * np.sqrt(np.maximum(hit * (1 - hit), 0.25 / n) / n)
    marker, colour = style(epsilon)
    axes.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1)
    axes.bar(np.array(bins["lower"]) + 1 / 30, 0.22 * n / n.max(), 1 / 15, color=colour, alpha=0.35)
    axes.errorbar(p, hit, np.minimum(half, 1), fmt=marker, markersize=4.5, color=colour, linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="share of right answers", title=name)
    return svg(
        figure, f"Reliability, {name}", "Share of right answers against confidence; the numbers are in the table."
    )


def risk(study: Study) -> Shown | None:
    group = main_group(study)
    found = _curves(study, group)
    if len(found) < 2:
        return None
    figure, axes = panel(6.4, 3.6)
    rows = []
    for epsilon, curves in sorted(found.items()):
        marker, colour = style(epsilon)
        for kind, line, name in (("risk", "-", "confidence"), ("risk_norm", ":", "logit norm")):
            if kind == "risk_norm" and epsilon == 0:
                continue
            risk = 100 * np.array(curves[kind])
            axes.plot(
                100 * COVERAGES, risk, line, color=colour, marker=marker, markevery=(3, 12), markersize=4, linewidth=1.4,
                label=f"{_named(epsilon)}, {name}",
            )  # fmt: skip
            rows.append((_named(epsilon), name, *(f"{np.interp(c, COVERAGES, risk):.2f}" for c in _ASKED)))
    axes.set(
        xlabel="coverage: share of rows answered, the surest first, %",
        ylabel="errors among them, %",
        xlim=(0, 100),
        ylim=(0, None),
    )
    axes.legend(fontsize=7)
    return Shown(
        "risk",
        "Which answers can be trusted?",
        f"A network answers only the rows that it is surest of ({words(group)}, first seed). A line that goes up on the left has "
        "errors among its surest answers. Dotted: the same networks, rows ranked by the largest logit over the norm of all.",
        (svg(figure, "Risk against coverage", "One line for each ε and score; the numbers are in the table."),),
        ("network", "ranked by", *(f"errors at {100 * c:.0f}%" for c in _ASKED)),
        tuple(rows),
    )


def gaps(study: Study) -> Shown | None:
    group = main_group(study)
    found = _curves(study, group)
    if len(found) < 2:
        return None
    classes = next(r["classes"] for r in study.records if r["settings"]["name"] == group)
    pictures, rows = [], []
    for kind, name in (("gaps_train", "training rows"), ("gaps", "test rows")):
        figure, axes = panel(4.6, 3.2)
        for epsilon, curves in sorted(found.items()):
            counts = np.array(curves[kind], dtype=float)
            share = 100 * counts / counts.sum()
            _, colour = style(epsilon)
            axes.stairs(
                np.where(share > 0, share, np.nan), GAP_EDGES, color=colour, linewidth=1.3, label=_named(epsilon)
            )
            if epsilon:
                axes.axvline(wall(classes, epsilon), color=colour, linewidth=1, linestyle="--")
            middle = np.interp([0.5, 0.95], np.cumsum(counts) / counts.sum(), GAP_EDGES[1:])
            told = f"{wall(classes, epsilon):.2f}" if epsilon else "none"
            rows.append((name, _named(epsilon), f"{middle[0]:.1f}", f"{middle[1]:.1f}", told))
        axes.set(
            xlabel="largest logit minus the second", ylabel="rows, % (log)", yscale="log", title=name, xlim=(0, 30)
        )
        axes.legend()
        pictures.append(
            svg(figure, f"Gap between the two largest logits, {name}", "One line for each ε; numbers in the table.")
        )
    return Shown(
        "gaps",
        "The wall",
        f"How far the largest logit is above the second ({words(group)}, first seed). Without smoothing the gap grows as long as "
        "training goes on. With it the loss is smallest at log(1 + K(1-ε)/ε), the dashed line of the same colour.",
        tuple(pictures),
        ("rows", "network", "median gap", "95% below", "theory"),
        tuple(rows),
    )


def clusters(study: Study) -> Shown | None:
    found = {e: c["projection"] for e, c in _curves(study, MAIN).items() if "projection" in c and e in (0.0, 0.1)}
    if len(found) < 2:
        return None
    pictures, rows = [], []
    for epsilon, told in sorted(found.items()):
        figure, axes = panel(3.4, 3.2)
        corners = np.array(told["templates"])
        for place, (number, marker) in enumerate(zip(SHOWN_CLASSES, "os^", strict=True)):
            points = np.array(told["points"][str(number)])
            axes.plot(*points.T, marker, color=COLOURS[place], markersize=3.5, alpha=0.6, label=CLOTHES[number])
            middle, width = points.mean(axis=0), points.std(axis=0)
            rows.append(
                (_named(epsilon), CLOTHES[number], *(f"{x:.1f}" for x in middle), f"{float(np.hypot(*width)):.2f}")
            )
        axes.plot(*np.vstack([corners, corners[:1]]).T, "-", color=MUTED, linewidth=1)
        axes.set(title=_named(epsilon), aspect="equal")
        axes.set_adjustable("datalim")
        axes.legend(fontsize=7)
        pictures.append(
            svg(
                figure, f"Penultimate layer, {_named(epsilon)}", "Training rows of three classes; numbers in the table."
            )
        )
    return Shown(
        "clusters",
        "What the last layer is given",
        "Training rows of three classes in the plane through the three classes' templates, rows of the last layer's weight; the "
        "templates are the corners of the triangle. Mind the axes: the scale differs.",
        tuple(pictures),
        ("network", "class", "mean, first axis", "mean, second axis", "spread"),
        tuple(rows),
    )
