"""How the workbook looks: colours, number formats and cell formats, in one place.

A colour never carries a meaning alone: inputs are also blue and unlocked, results bold, verdicts a word. Every pair of font
and fill keeps a contrast of 4.5:1 and reads in grey print.
"""

from __future__ import annotations

from typing import Any

INK, GREY, BLUE, WHITE = "#1F1F1F", "#595959", "#0000FF", "#FFFFFF"
INPUT, RESULT, HEAD, RULE = "#FFF2CC", "#E2EFDA", "#1F4E78", "#BFBFBF"
OK_FILL, OK_INK, BAD_FILL, BAD_INK, IDLE_FILL = "#C6EFCE", "#006100", "#FFC7CE", "#9C0006", "#EDEDED"
BANDS = ("#DDEBF7", "#FCE4D6", "#EDEDED", "#E4DFEC", "#E2EFDA")
CHART = ("#0072B2", "#D55E00", "#009E73")

TOLERANCE = 1e-10  # of the verdicts on the sheets, relative above 1; the tests hold every cell to 1e-12
NUMBER = "0.0000"
FONT = "Calibri"

_STYLES: dict[str, dict[str, Any]] = {
    "plain": {},
    "title": {"bold": True, "font_size": 18, "font_color": HEAD},
    "subtitle": {"font_size": 12, "font_color": GREY},
    "heading": {"bold": True, "font_size": 13, "font_color": HEAD},
    "wrap": {"text_wrap": True, "valign": "top"},
    "bold": {"bold": True},
    "bold_top": {"bold": True, "valign": "top"},
    "grey": {"font_color": GREY},
    "aside": {"font_color": GREY, "indent": 1},
    "aside_bold": {"bold": True, "indent": 1},
    "grey_right": {"font_color": GREY, "align": "right"},
    "math": {"font_name": "Cambria", "italic": True},
    "code": {"font_name": "Consolas", "font_color": GREY, "font_size": 10},
    "head": {"bold": True, "font_color": WHITE, "bg_color": HEAD, "align": "right", "border": 1, "border_color": RULE},
    "head_left": {"bold": True, "font_color": WHITE, "bg_color": HEAD, "border": 1, "border_color": RULE},
    "name": {"num_format": "@", "border": 1, "border_color": RULE},
    "name_quoted": {"num_format": "@", "border": 1, "border_color": RULE, "quote_prefix": True},
    "label_name": {"indent": 1, "border": 1, "border_color": RULE},
    "whole": {"num_format": "0", "border": 1, "border_color": RULE},
    "cell": {"num_format": NUMBER, "border": 1, "border_color": RULE},
    "result": {"num_format": NUMBER, "border": 1, "border_color": RULE, "bg_color": RESULT, "bold": True},
    "big": {"num_format": NUMBER, "border": 1, "border_color": RULE, "bg_color": RESULT, "bold": True, "font_size": 16},
    "input": {
        "num_format": "General",
        "border": 1,
        "border_color": RULE,
        "bg_color": INPUT,
        "font_color": BLUE,
        "locked": False,
    },
    "input_whole": {
        "num_format": "0",
        "border": 1,
        "border_color": RULE,
        "bg_color": INPUT,
        "font_color": BLUE,
        "locked": False,
    },
    "input_text": {
        "num_format": "@",
        "border": 1,
        "border_color": RULE,
        "bg_color": INPUT,
        "font_color": BLUE,
        "locked": False,
    },
    "todo": {
        "num_format": NUMBER,
        "border": 1,
        "border_color": RULE,
        "bg_color": INPUT,
        "font_color": BLUE,
        "locked": False,
    },
    "stored": {"num_format": NUMBER, "border": 1, "border_color": RULE, "font_color": GREY},
    "tiny": {"num_format": "0.0E+00", "border": 1, "border_color": RULE},
    "verdict": {"bold": True, "align": "center", "border": 1, "border_color": RULE},
    "big_verdict": {"bold": True, "align": "center", "border": 1, "border_color": RULE, "font_size": 16},
    "ok": {"bg_color": OK_FILL, "font_color": OK_INK},
    "bad": {"bg_color": BAD_FILL, "font_color": BAD_INK},
    "idle": {"bg_color": IDLE_FILL, "font_color": GREY},
    "infinite": {"num_format": '"∞"', "align": "right"},
    "minus_infinite": {"num_format": '"−∞"', "align": "right"},
    "right_class": {"bold": True, "border": 1, "border_color": HEAD},
}

CONDITIONAL = {"ok", "bad", "idle", "right_class", "infinite", "minus_infinite"}  # such formats take no font name


class Styles:
    """The formats of one workbook, made when first asked for."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._made: dict[str, Any] = {}

    def __call__(self, name: str) -> Any:
        """Return the format of that name; "band 3" is the third block's title."""
        if name not in self._made:
            kind, _, number = name.partition(" ")
            options: dict[str, Any] = {"font_name": FONT, "font_color": INK}
            if kind == "band":
                options |= {"bold": True, "font_size": 12, "bg_color": BANDS[int(number) % len(BANDS)]}
            else:
                options |= _STYLES[kind]
            if kind in CONDITIONAL:
                options = dict(_STYLES[kind])
            self._made[name] = self._book.add_format(options)
        return self._made[name]


def colour_verdicts(sheet: Any, top: int, left: int, bottom: int, right: int, styles: Styles) -> None:
    """Green, red and grey for the verdict words."""
    for word, style in (("ok", "ok"), ("CHECK", "bad"), ("inputs changed", "idle"), ("not compared", "idle")):
        sheet.conditional_format(
            top, left, bottom, right, {"type": "cell", "criteria": "==", "value": f'"{word}"', "format": styles(style)}
        )
