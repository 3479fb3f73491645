"""The figures of the study in the order of the report; one whose runs are not there is left out."""

from __future__ import annotations

from collections.abc import Callable

from ._study_curves import clusters, gaps, reliability, risk
from ._study_lines import accuracy_gain, distillation, error_by_epsilon
from .study import Section, Study

MAKERS: tuple[Callable[[Study], Section | None], ...] = (
    reliability,
    error_by_epsilon,
    accuracy_gain,
    risk,
    gaps,
    clusters,
    distillation,
)


def sections(study: Study) -> list[Section]:
    """Those that the study has runs for."""
    return [section for make in MAKERS if (section := make(study)) is not None]
