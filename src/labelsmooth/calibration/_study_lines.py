"""Figures over seeds: calibration error and accuracy against ε, students against temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._paired import Cell, Interval, interval, student_group
from ._plan import TEMPERATURES
from ._study_curves import COLOURS, main_group, style
from .plots import FIRST, INK, SECOND, Figure, drawn
from .study import Section, Study, words

DISTIL = "fashion-distil"
TITLES = {
    "fashion": "MLP, over-fitted",
    "fashion-noise": "MLP, 20% wrong labels",
    "fashion-cnn": "CNN, not over-fitted",
    "fashion-few": "MLP, 500 images",
    "digits": "MLP, 300 digits",
    "names": "Names, many classes",
}


def _groups(study: Study) -> list[str]:
    """Those with ε to draw a line over."""
    few = [g for g in study.table.groups if g in TITLES and len(study.table.epsilons(g)) > 1]
    return [g for g in few if len(study.table.epsilons(g)) > 2 or g == main_group(study)]


def error_by_epsilon(study: Study) -> Section | None:
    """ECE as trained and with a temperature."""
    groups = _groups(study)
    if not groups:
        return None
    return Section(
        "Calibration error against ε",
        "ECE of the test rows in 15 bins of equal width, mean and 95% interval over seeds. As trained, the best ε depends on how "
        "over-confident the network would be without. T is fitted on validation rows.",
        tuple(_errors(study, group) for group in groups),
    )


def _errors(study: Study, group: str) -> Figure:
    epsilons = study.table.epsilons(group)
    found = {
        name: [interval(study.table.seeds(Cell(group, e, measure)).values()) for e in epsilons]
        for name, measure in (("as trained", "ece"), ("with T", "ece_after"))
    }

    def draw(axes: Any) -> None:
        for (name, told), line, colour in zip(found.items(), ("o-", "s--"), (SECOND, FIRST), strict=True):
            _whiskers(axes, epsilons, told, line, colour, name)
        axes.set(xlabel="ε", ylabel="ECE", xticks=epsilons, xticklabels=[f"{e:g}" for e in epsilons])
        axes.set_ylim(bottom=0)
        axes.legend(loc="best")

    best = {name: epsilons[int(np.argmin([t.mean for t in told]))] for name, told in found.items()}
    return Figure(
        f"ece-{group}",
        TITLES[group],
        f"{words(group)}. Smallest as trained at ε = {best['as trained']:g}, with T at ε = {best['with T']:g}.",
        drawn(f"ece-{group}", draw),
        ("ε", "as trained", "95%", "with T", "95%", "seeds"),
        tuple(
            (f"{e:g}", *_numbers(a, 3, 1), *_numbers(b, 3, 1), str(a.seeds))
            for e, a, b in zip(epsilons, *found.values(), strict=True)
        ),
    )


def accuracy_gain(study: Study) -> Section | None:
    """Accuracy minus that at ε = 0, large sets and small ones apart."""
    groups = _groups(study)
    if not groups:
        return None
    large = [g for g in groups if g in {"fashion", "fashion-noise", "fashion-cnn", "names"}]
    small = [g for g in groups if g not in large]
    parts = [("accuracy", "Thousands of rows", large), ("accuracy-few", "Hundreds of rows", small)]
    return Section(
        "Accuracy gained by smoothing",
        "Accuracy minus that at ε = 0 in percentage points, within seeds; mean and 95% interval.",
        tuple(_gains(study, key, title, some) for key, title, some in parts if some),
    )


def _gains(study: Study, key: str, title: str, groups: Sequence[str]) -> Figure:
    found: dict[str, dict[float, Interval]] = {}
    for group in groups:
        base = (-1.0, Cell(group, 0.0, "accuracy"))
        found[group] = {
            e: study.table.contrast([(1.0, Cell(group, e, "accuracy")), base]) for e in study.table.epsilons(group) if e
        }

    def draw(axes: Any) -> None:
        axes.axhline(0, color=INK, linewidth=0.8, linestyle="--")
        for place, (group, told) in enumerate(found.items()):
            shifted = [e + 0.003 * (place - (len(found) - 1) / 2) for e in told]
            _whiskers(
                axes, shifted, list(told.values()), f"{'os^D'[place]}-", COLOURS[(place + 1) % 4], TITLES[group], 100
            )
        ticks = sorted({e for told in found.values() for e in told})
        axes.set(xlabel="ε", ylabel="points of accuracy", xticks=ticks, xticklabels=[f"{e:g}" for e in ticks])
        axes.legend(loc="best")

    most = max(((t.mean, g, e) for g, told in found.items() for e, t in told.items()), default=(0.0, groups[0], 0.0))
    return Figure(
        key,
        title,
        f"The most: {100 * most[0]:+.2f} points, {TITLES[most[1]]} at ε = {most[2]:g}.",
        drawn(key, draw),
        ("trained on", "ε", "points", "95%", "seeds"),
        tuple(
            (TITLES[g], f"{e:g}", *_numbers(t, 2, 100), str(t.seeds))
            for g, told in found.items()
            for e, t in told.items()
        ),
    )


def distillation(study: Study) -> Section | None:
    """Students over the temperature of their teachers."""
    table = study.table
    epsilons = table.epsilons(DISTIL)
    if len(epsilons) < 2:
        return None
    parts = (
        ("students", "Accuracy of the student", "accuracy", 100),
        ("students-nll", "NLL of the student, with T", "nll_after", 1),
    )
    return Section(
        "Teachers",
        "A smaller network learns from a teacher's probabilities at a temperature, on images that the teacher has not seen; mean "
        "and 95% interval over seeds. Papers disagree about smoothed teachers.",
        tuple(_students(study, *part) for part in parts),
    )


def _students(study: Study, key: str, title: str, measure: str, factor: int) -> Figure:
    table = study.table
    epsilons = table.epsilons(DISTIL)
    found = {
        e: [interval(table.seeds(Cell(student_group(DISTIL, f"T={t:g}"), e, measure)).values()) for t in TEMPERATURES]
        for e in epsilons
    }
    alone = interval(table.seeds(Cell(student_group(DISTIL, "labels"), 0.0, measure)).values())

    def draw(axes: Any) -> None:
        for place, (e, told) in enumerate(found.items()):
            shifted = [t * (1 + 0.03 * place) for t in TEMPERATURES]
            _whiskers(axes, shifted, told, f"{'os^D'[place % 4]}-", style(e)[1], f"teacher at ε = {e:g}", factor)
        axes.axhline(factor * alone.mean, color=INK, linewidth=0.9, linestyle="--", label="no teacher")
        axes.set_xscale("log")
        axes.set(xticks=TEMPERATURES, xticklabels=[f"{t:g}" for t in TEMPERATURES], xlabel="temperature of the teacher")
        axes.minorticks_off()
        axes.set_ylabel("accuracy, %" if factor == 100 else "NLL")
        axes.legend(loc="best")

    digits = 2 if factor == 100 else 3
    rows = [
        (f"ε = {e:g}", f"{t:g}", *_numbers(i, digits, factor), str(i.seeds))
        for e, told in found.items()
        for t, i in zip(TEMPERATURES, told, strict=True)
    ]
    rows.append(("none", "", *_numbers(alone, digits, factor), str(alone.seeds)))
    return Figure(
        key,
        title,
        f"Without a teacher: {factor * alone.mean:.{digits}f}.",
        drawn(key, draw),
        ("teacher", "T", title.partition(" of")[0], "95%", "seeds"),
        tuple(rows),
    )


def _whiskers(
    axes: Any, x: Sequence[float], told: Sequence[Interval], line: str, colour: str, name: str, factor: int = 1
) -> None:
    mean = factor * np.array([t.mean for t in told])
    half = factor * np.nan_to_num(np.array([t.high - t.mean for t in told]))
    axes.errorbar(x, mean, half, fmt=line, markersize=4, color=colour, linewidth=1.3, capsize=2.5, label=name)


def _numbers(told: Interval, digits: int, factor: float) -> tuple[str, str]:
    if told.seeds < 2:
        return f"{told.mean * factor:.{digits}f}", "one seed"
    return f"{told.mean * factor:.{digits}f}", f"{told.low * factor:.{digits}f} to {told.high * factor:.{digits}f}"
