"""The figures of several ε: what one is chosen by, what the ECE would say, and the accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .plots import FIRST, INK, SECOND, Figure, drawn, legend
from .runs import Comparison


def of_comparison(found: Comparison) -> list[Figure]:
    """The three figures of a comparison of two or more ε."""
    smallest = min(found.groups, key=lambda g: g.measured["ece"].mean).epsilon
    where = "validation rows" if found.on_validation else "these rows"
    return [
        _lines(
            found,
            "epsilons",
            "Which ε",
            f"ε = {found.chosen:g} is chosen: the smallest whose NLL after temperature on {where} is within a standard error of "
            f"the best, ε = {found.best:g}. Bars are standard deviations over seeds.",
            "NLL after temperature",
            {"NLL after temperature": "criterion"},
        ),
        _lines(
            found,
            "eces",
            "ECE against ε",
            f"The raw ECE is smallest at ε = {smallest:g}: it asks whether smoothing happens to offset over-confidence, which a "
            "temperature does for any ε. Bars are standard deviations over seeds.",
            "ECE",
            {"as it is": "ece", "after temperature": "ece_after"},
        ),
        _accuracies(found),
    ]


def _lines(found: Comparison, key: str, title: str, words: str, axis: str, parts: dict[str, str]) -> Figure:
    """Measures against ε, a line each."""
    x = [g.epsilon for g in found.groups]
    spreads = {label: [g.measured[name] for g in found.groups] for label, name in parts.items()}

    def draw(axes: Any) -> None:
        for (label, values), colour, line in zip(spreads.items(), (FIRST, SECOND), ("-", "--"), strict=False):
            mean, error = [s.mean for s in values], [0.0 if s.seeds < 2 else s.deviation for s in values]
            axes.errorbar(
                x, mean, error, color=colour, linestyle=line, marker="o", markersize=4, capsize=3, label=label
            )
        axes.set(xlabel="ε", ylabel=axis, xticks=x, xticklabels=[f"{e:g}" for e in x])
        if len(parts) > 1:
            axes.set_ylim(bottom=0)
            legend(axes)

    rows = tuple(
        (f"{e:g}", *(text for s in spreads.values() for text in (f"{s[i].mean:.4f}", f"{s[i].deviation:.4f}")))
        for i, e in enumerate(x)
    )
    columns = ("ε", *(name for label in spreads for name in (label, "deviation")))
    return Figure(key, title, words, drawn(key, draw), columns, rows)


def _accuracies(found: Comparison) -> Figure:
    """Difference of accuracy to the smallest ε, over seeds and over rows."""
    base, others = found.groups[0], found.groups[1:]
    gaps = [g.differences["accuracy"] for g in others]
    none = (float("nan"), float("nan"))
    kinds = {"95% over seeds": [d.seeds for d in gaps], "95% over rows": [d.rows or none for d in gaps]}

    def draw(axes: Any) -> None:
        axes.axhline(0, color=INK, linewidth=0.8, linestyle="--")
        for (label, ends), shift, colour, mark in zip(
            kinds.items(), (-0.08, 0.08), (FIRST, SECOND), ("o", "s"), strict=True
        ):
            kept = [i for i, end in enumerate(ends) if np.isfinite(end[0])]
            if kept:
                mean = 100 * np.array([gaps[i].mean for i in kept])
                low, high = 100 * np.array([ends[i] for i in kept]).T
                axes.errorbar([i + shift for i in kept], mean, [mean - low, high - mean], color=colour, marker=mark,
                              markersize=4, capsize=3, linestyle="none", label=label)  # fmt: skip
        axes.scatter(range(len(gaps)), [100 * d.mean for d in gaps], color=INK, marker="_", s=60)
        axes.set(xlabel="ε", ylabel="points of accuracy", xlim=(-0.5, len(others) - 0.5), xticks=range(len(others)),
                 xticklabels=[f"{g.epsilon:g}" for g in others])  # fmt: skip
        if axes.get_legend_handles_labels()[0]:
            legend(axes)

    def words(end: tuple[float, float]) -> str:
        return f"{100 * end[0]:+.2f} to {100 * end[1]:+.2f}" if np.isfinite(end[0]) else "–"

    claim = "" if found.enough else " With so few seeds nothing is claimed."
    return Figure(
        "accuracies",
        f"Accuracy against that at ε = {base.epsilon:g}",
        f"Difference in points, with two intervals: what other seeds would give, and what other test rows would give.{claim}",
        drawn("accuracies", draw),
        ("ε", "points", *kinds),
        tuple(
            (f"{g.epsilon:g}", f"{100 * d.mean:+.2f}", *(words(kinds[k][i]) for k in kinds))
            for i, (g, d) in enumerate(zip(others, gaps, strict=True))
        ),
    )
