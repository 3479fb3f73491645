"""Figures over seeds: calibration error and accuracy against ε, students against temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._draw import COLOURS, MUTED, Shown, panel, svg
from ._paired import Cell, interval, student_group
from ._plan import TEMPERATURES
from ._study_curves import MAIN, main_group, style
from .study import Study, words

NOISE, DISTIL = "fashion-noise", "fashion-distil"


def error_by_epsilon(study: Study) -> Shown | None:
    groups = [g for g in study.table.groups if len(study.table.epsilons(g)) > 1 and " " not in g and _spans(study, g)]
    if not groups:
        return None
    pictures, rows = [], []
    for group in groups:
        figure, axes = panel(3.0, 2.6)
        epsilons = study.table.epsilons(group)
        for measure, line, colour, name in (
            ("ece", "o-", COLOURS[0], "as trained"),
            ("ece_after", "s--", COLOURS[2], "with T"),
        ):
            told = [interval(study.table.seeds(Cell(group, e, measure)).values()) for e in epsilons]
            _whiskers(axes, epsilons, told, line, colour, name, scale=1)
            rows += [(words(group), name, f"{e:g}", *_numbers(t, 3, 1)) for e, t in zip(epsilons, told, strict=True)]
        axes.set(xlabel="ε", ylabel="ECE", ylim=(0, None), xticks=epsilons, title=_titled(group))
        axes.legend()
        pictures.append(
            svg(figure, f"ECE against ε, {words(group)}", "As trained and with a temperature; numbers in the table.")
        )
    return Shown(
        "ece",
        "Calibration error against ε",
        "Expected calibration error of the test rows in 15 bins, mean and 95% interval over seeds. As trained, the best ε "
        "depends on how over-confident the network would be without; with a temperature little of that is left.",
        tuple(pictures),
        ("trained on", "", "ε", "ECE", "95% interval", "seeds"),
        tuple(rows),
    )


def accuracy_gain(study: Study) -> Shown | None:
    groups = [g for g in study.table.groups if len(study.table.epsilons(g)) > 1 and " " not in g and _spans(study, g)]
    if not groups:
        return None
    figure, axes = panel(6.4, 3.6)
    rows = []
    for place, group in enumerate(groups):
        epsilons = [e for e in study.table.epsilons(group) if e]
        told = [
            study.table.contrast([(1.0, Cell(group, e, "accuracy")), (-1.0, Cell(group, 0.0, "accuracy"))])
            for e in epsilons
        ]
        shifted = [e + 0.003 * (place - len(groups) / 2) for e in epsilons]
        line = f"{'os^Dvp'[place % 6]}{['-', '--', '-.', ':'][place % 4]}"
        _whiskers(axes, shifted, told, line, COLOURS[place % len(COLOURS)], _titled(group), scale=100)
        rows += [(words(group), f"{e:g}", *_numbers(t, 2, 100)) for e, t in zip(epsilons, told, strict=True)]
    axes.axhline(0, color=MUTED, linewidth=1, linestyle="--")
    axes.set(xlabel="ε", ylabel="accuracy gained, points", xticks=[0.05, 0.1, 0.2])
    axes.legend(ncols=2)
    return Shown(
        "accuracy",
        "Accuracy gained by smoothing",
        "Accuracy minus that at ε = 0 in percentage points, within seeds; mean and 95% interval.",
        (svg(figure, "Accuracy gained against ε", "One line for each training; the numbers are in the table."),),
        ("trained on", "ε", "points gained", "95% interval", "seeds"),
        tuple(rows),
    )


def distillation(study: Study) -> Shown | None:
    table = study.table
    epsilons = table.epsilons(DISTIL)
    if len(epsilons) < 2:
        return None
    figure, axes = panel(5.6, 3.2)
    rows = []
    for epsilon, line in zip(epsilons, ("o-", "s--", "^-.", "D:"), strict=False):
        told = [
            interval(table.seeds(Cell(student_group(DISTIL, f"T={t:g}"), epsilon, "accuracy")).values())
            for t in TEMPERATURES
        ]
        name = f"teacher at ε = {epsilon:g}"
        _whiskers(axes, TEMPERATURES, told, line, style(epsilon)[1], name, scale=100)
        rows += [(name, f"{t:g}", *_numbers(i, 2, 100)) for t, i in zip(TEMPERATURES, told, strict=True)]
    alone = interval(table.seeds(Cell(student_group(DISTIL, "labels"), 0.0, "accuracy")).values())
    axes.axhline(100 * alone.mean, color=MUTED, linewidth=1, linestyle="--", label="student of the labels")
    rows.append(("labels, no teacher", "", *_numbers(alone, 2, 100)))
    axes.set(xscale="log", xticks=TEMPERATURES, xticklabels=[f"{t:g}" for t in TEMPERATURES])
    axes.minorticks_off()
    axes.set(xlabel="temperature of the teacher's probabilities", ylabel="student's accuracy, %")
    axes.legend()
    return Shown(
        "distillation",
        "Teachers",
        "Accuracy of a smaller network that learns from a teacher's probabilities on images that the teacher has not seen; mean "
        "and 95% interval over seeds. Papers disagree on this one.",
        (svg(figure, "Student's accuracy against temperature", "One line for each teacher; numbers in the table."),),
        ("teacher", "T", "accuracy", "95% interval", "seeds"),
        tuple(rows),
    )


def _spans(study: Study, group: str) -> bool:
    return len(study.table.epsilons(group)) > 2 or group == main_group(study)


def _titled(group: str) -> str:
    """A short title for a small picture."""
    titles = {MAIN: "MLP, over-fitted", NOISE: "20% wrong labels", "fashion-cnn": "CNN", "fashion-few": "500 images"}
    return titles.get(group, group)


def _whiskers(
    axes: Any, x: Sequence[float], told: Sequence[Any], line: str, colour: str, name: str, *, scale: float
) -> None:
    mean = np.array([t.mean for t in told]) * scale
    half = np.nan_to_num(np.array([t.high - t.mean for t in told])) * scale
    axes.errorbar(x, mean, half, fmt=line, markersize=4.5, color=colour, linewidth=1.3, capsize=2.5, label=name)


def _numbers(told: Any, digits: int, scale: float) -> tuple[str, str, str]:
    if told.seeds < 2:
        return f"{told.mean * scale:.{digits}f}", "one seed", str(told.seeds)
    ends = f"{told.low * scale:.{digits}f} to {told.high * scale:.{digits}f}"
    return f"{told.mean * scale:.{digits}f}", ends, str(told.seeds)
