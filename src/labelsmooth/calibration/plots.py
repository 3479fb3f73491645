"""The drawings of a report: SVG that stands inside a page, takes the page's colours, and is the same bytes every time.

Text and lines are drawn in marker colours that become CSS variables, so that one drawing serves light, dark and paper. Every
name inside an SVG gets a prefix of its figure, because a page may not have a name twice. Drawings are narrow: at 320 pixels
their letters are still letters.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._extras import extra

WIDTH, HEIGHT = 3.5, 2.9  # inches: 252 points, about the pixels that a phone has
INK, FIRST, SECOND, THIRD, BAND = "#010203", "#010204", "#010205", "#010206", "#010207"  # no other colour is drawn
VARIABLES = {INK: "ink", FIRST: "first", SECOND: "second", THIRD: "third", BAND: "band"}
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.5,
    "hatch.linewidth": 0.5,
}


@dataclass(frozen=True)
class Figure:
    """A drawing with what it says in words and in numbers."""

    key: str
    title: str
    description: str
    svg: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def drawn(key: str, draw: Callable[[Any], None]) -> str:
    """Draw on axes and return the SVG element, with nothing in it that changes from one run to the next.

    Args:
        key: of the figure, a word; its names begin with it.
        draw: what draws, given Matplotlib's axes.

    Returns:
        `<svg ...>...</svg>`, hidden from screen readers, which get the title and the table.

    Raises:
        MissingExtra: Matplotlib is not installed.

    Example:
        >>> drawn("line", lambda axes: axes.plot([0, 1], color=FIRST)).startswith("<svg")
        True
    """
    matplotlib = extra("matplotlib", "drawing a report")
    figure = extra("matplotlib.figure", "drawing a report")
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": key}):
        sheet = figure.Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        draw(sheet.add_subplot())
        out = io.StringIO()
        sheet.savefig(
            out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return _embedded(out.getvalue(), key)


def legend(axes: Any, columns: int = 2) -> None:
    """The names of what is drawn, above it, where they cover nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, columnspacing=1.2)


def _embedded(svg: str, key: str) -> str:
    """An SVG file as an element of a page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{key}-", svg)
    for colour, name in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name})")
    viewbox = re.search(r'viewBox="[^"]*"', svg)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {viewbox.group() if viewbox else ""} aria-hidden="true" focusable="false">'
    svg = head + svg[svg.index(">") + 1 :]
    return "\n".join(line.rstrip() for line in svg.splitlines())
