"""What a workbook of ours says of itself on its sheet Lists, and the case that follows from it.

Anybody can edit these cells, and everything that is allocated later is sized by them; so each is held to the values that
the writer can have written, and a refusal names its cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labelsmooth.errors import WorkbookError
from labelsmooth.maths.case import REDUCTIONS, Case
from labelsmooth.maths.conventions import convention_named, weighting_named
from labelsmooth.maths.steps import chain

from ._inputs import shown

FIRST_SETTING, MOST_SETTINGS = 5, 40  # the first row of the table, and how far it may reach
AXES = ("", "k", "nk")


def settings_table(lists: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The settings on the sheet Lists: name -> text and cell."""
    out = {}
    for row in range(FIRST_SETTING, FIRST_SETTING + MOST_SETTINGS):
        if (name := lists.get(f"D{row}")) is not None:
            value = lists.get(f"E{row}")
            out[str(name)] = ("" if value is None else str(value), f"Lists!E{row}")
    return out


@dataclass(frozen=True)
class Settings:
    """The settings of a file: name -> text and cell."""

    table: Mapping[str, tuple[str, str]]

    def text(self, name: str) -> str:
        """The text of a setting, which must be there."""
        if name not in self.table:
            raise WorkbookError(f"the sheet Lists has no setting {name!r} any more: take the file as it was made")
        return self.table[name][0]

    def refuse(self, name: str, expected: object) -> WorkbookError:
        """The error to raise about a setting."""
        text, cell = self.table[name]
        return WorkbookError(f"{cell}: the setting {name!r} is {shown(text)}: {expected}")

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        """A setting that is one of a few words."""
        if self.text(name) not in choices:
            raise self.refuse(name, f"one of {', '.join(map(repr, choices))} is expected")
        return self.text(name)

    def whole(self, name: str, least: int, most: int) -> int:
        """A setting that is a whole number."""
        text = self.text(name)
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
            raise self.refuse(name, f"a whole number from {least:,} to {most:,} is expected")
        return int(text)


def case_of(settings: Settings, classes: int) -> Case:
    """The case that the settings name, refused where no such case exists."""
    name = "convention"
    try:
        convention = convention_named(settings.text(name))
        convention.family.check_classes(classes)
        name = "weighting"
        weighting = weighting_named(settings.text(name)) if settings.text(name) else None
        name = "made by"  # what follows depends on several of them
        case = Case(
            family=convention.family,
            divergence=convention.divergence,
            weighting=weighting,
            reduction=settings.one_of("reduction", REDUCTIONS),
            soft=settings.one_of("labels", ("numbers", "soft")) == "soft",
            prior=settings.one_of("prior", AXES),
            smoothing=settings.one_of("smoothing", ("", "n")),
            mask=settings.one_of("mask", AXES),
            ignored=settings.one_of("ignored", ("", "yes")) == "yes",
            as_post=settings.one_of("exponentials", ("both", "shifted")) == "both",
        )
        chain(case)
    except WorkbookError:
        raise
    except ValueError as fault:
        raise settings.refuse(name, fault) from None
    return case
