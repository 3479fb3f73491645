"""How figures of this room look: SVG that takes its colours from the page, so that light, dark and print are one drawing.

Matplotlib knows no CSS. Figures are drawn in the colours below, and each of them is replaced by a CSS variable with the same
colour to fall back on.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

from ._extras import extra

INK, MUTED = "#1b1f24", "#6b7280"
COLOURS = ("#b4500a", "#0b7a5b", "#1d5fc2", "#8b3fae", "#6b6b00", "#b3245c")
_VARIABLES = {INK: "--ink", MUTED: "--muted"} | {colour: f"--series-{n}" for n, colour in enumerate(COLOURS)}
_LOOK = {
    "svg.fonttype": "none",
    "svg.hashsalt": "labelsmooth",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Shown:
    """A figure of one or more pictures, what to look for, and its numbers."""

    name: str
    title: str
    caption: str
    pictures: tuple[str, ...]  # SVG
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def panel(width: float, height: float) -> tuple[Any, Any]:
    """A figure with one pair of axes, in inches; not known to pyplot, so that nothing must be closed."""
    matplotlib = extra("matplotlib", "a figure")
    figures = extra("matplotlib.figure", "a figure")
    with matplotlib.rc_context(_LOOK):
        figure = figures.Figure(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()


def svg(figure: Any, title: str, description: str) -> str:
    """The drawing as an element to stand in a page, with title and description for those who do not see it."""
    matplotlib = extra("matplotlib", "a figure")
    stream = io.StringIO()
    with matplotlib.rc_context(_LOOK):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    salt = re.sub(r"\W+", "-", title).strip("-").lower()
    text = re.sub(r'\bid="([^"]+)"', rf'id="{salt}-\1"', text)  # ids of several drawings in one page must differ
    text = re.sub(r'(href="|url\()#', rf"\1#{salt}-", text)
    for colour, variable in _VARIABLES.items():
        text = re.sub(rf"(stroke|fill): {colour}", rf"\1: var({variable}, {colour})", text)
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', text)
    width = float(size[1]) if size else 400.0
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    head = f'<svg role="img" aria-label="{_escaped(title)}" style="width:100%;max-width:{width * 96 / 72:.0f}px" '
    inside = f"<title>{_escaped(title)}</title><desc>{_escaped(description)}</desc>"
    text = head + text.removeprefix("<svg ")
    end = text.index(">") + 1
    return text[:end] + inside + text[end:]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
