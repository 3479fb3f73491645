"""A diagnosis as lines of text: at most five explanations, the simplest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .diagnose import Diagnosis, Match

SHOWN = 5


def lines(found: Diagnosis, *, everything: bool = False) -> list[str]:
    """What a person reads."""
    shown = found.matches if everything else found.matches[:SHOWN]
    out = [headline(found)]
    for place, match in enumerate(shown, start=1):
        out += explanation(match, f"{place}. " if len(found.matches) > 1 else "")
    hidden = len(found.matches) - len(shown)
    if hidden:
        out.append(f"… and {hidden:,} more that fit (--all lists them)")
    for match in found.nearest:
        out.append(f"nearest: {_named(match)}: leaves {match.max_abs_error:.2g}")
    if len(found.matches) > 1:
        out.append("One more decimal, or the losses of more rows, would tell these apart.")
    return [*out, *found.notes]


def headline(found: Diagnosis) -> str:
    """The verdict in one line."""
    numbers = f"{found.numbers:,} number{'s' if found.numbers > 1 else ''} ({found.precision})"
    tried = f"{found.hypotheses:,} hypotheses"
    if found.verdict == "agrees":
        first = next(m for m in found.matches if not m.causes)
        return f"agrees: {numbers} are {found.convention}'s at ε = {first.label_smoothing:g} ({first.certainty})"
    if found.verdict == "one_cause":
        return f"one cause fits {numbers}, of {tried}"
    if found.verdict == "several_fit":
        return f"{len(found.matches):,} explanations fit {numbers}, of {tried}"
    return f"none of {tried} fits {numbers}"


def explanation(match: Match, place: str) -> Iterator[str]:
    """The lines of one match."""
    trust = f"{match.certainty}, {max(match.bits, 0):.0f} bits, leaves {match.max_abs_error:.2g}"
    if match.rivals:
        trust = trust.replace("certain up to", f"certain up to {{{'; '.join(match.rivals)}}}")
    yield f"{place}{_named(match)} [{trust}]"
    if match.causes:
        yield f"   what: {match.says}"
        yield f"   fix:  {match.fix}"
    if match.same:
        yield f"   the same numbers: {'; '.join(match.same)}"
        yield f"   told apart by: {match.separated_by}"


def _named(match: Match) -> str:
    return f"{' + '.join(match.causes) or 'as expected'} (ε = {match.label_smoothing:.6g})"
