"""The Read me sheet: what to do, the result, what the colours mean, and where the file comes from."""
# ruff: noqa: E501  sentences for the reader stand whole

from __future__ import annotations

from datetime import date
from typing import Any

from labelsmooth._version import __version__

from ._style import Styles, colour_verdicts
from .book import Book


def write_readme(sheet: Any, book: Book, styles: Styles, *, blank: bool, verdict: str = "ok") -> None:
    """What to do, what the colours mean, the result, and where the file comes from."""
    sheet.set_column(0, 0, 26)
    sheet.set_column(1, 1, 90)
    sheet.write_string(0, 0, "Label smoothing, cell by cell", styles("title"))
    sheet.set_row(0, 28)
    first = (
        "Go to Steps and fill in the yellow cells, block by block. The column on the right marks each row."
        if blank
        else "Go to Steps, type 0.2 in the yellow cell, watch the green column."
    )
    sheet.write_string(1, 0, first, styles("heading"))
    row = 3
    if not blank:
        row = _result(sheet, book, styles, row, verdict)
    for title, text in _sentences(book, blank=blank):
        sheet.set_row(row, 16 * (1 + len(text) // 95))
        sheet.write_string(row, 0, title, styles("bold_top"))
        sheet.write_string(row, 1, text, styles("wrap"))
        row += 1
    row += 1
    sheet.write_string(row, 0, "Colours", styles("heading"))
    legend = (
        ("input", "yellow and blue: type here"),
        ("cell", "white: a formula"),
        ("result", "green and bold: a result"),
        ("stored", "grey figures: stored when the file was made, from PyTorch"),
    )
    for line, (style, text) in enumerate(legend[: 3 if blank else 4]):
        sheet.write_number(row + 1 + line, 0, 0.1, styles(style))
        sheet.write_string(row + 1 + line, 1, text, styles("plain"))
    sheet.fit_to_pages(1, 0)


def _result(sheet: Any, book: Book, styles: Styles, row: int, verdict: str) -> int:
    if "loss" in book.chain:
        sheet.write_string(row, 0, f"{book.problem.case.reduction} loss", styles("bold"))
        sheet.write_formula(row + 1, 0, "=loss", styles("big"), book.values["loss"].item())
        sheet.write_string(row + 1, 1, "nats, at the ε of Steps", styles("plain"))
    sheet.write_string(row + 2, 0, "all checks", styles("bold"))
    sheet.write_formula(row + 3, 0, "=Checks!$B$2", styles("big_verdict"), verdict)
    colour_verdicts(sheet, row + 3, 0, row + 3, 0, styles)
    return row + 5


def _sentences(book: Book, *, blank: bool) -> list[tuple[str, str]]:
    case = book.problem.case
    out = [
        (
            "What this is",
            "Cross-entropy with label smoothing, computed one thought a cell. Every number is a live formula: change an input and all follows.",
        ),
        (
            "Steps",
            "One block a step, from the label to the gradient. Beside each: the mathematics, "
            + ("and what it is." if blank else "the formula of its first cell in grey, and what it is."),
        ),
    ]
    if not blank:
        out += [
            (
                "Play",
                "The loss over ε, other conventions, temperature, and the LOG-for-LN trap: LOG is base 10, LN is the natural logarithm.",
            ),
            ("PyTorch", "PyTorch's numbers for the same logits, and the difference, live at any ε."),
            ("Checks", "What must hold, each with a verdict."),
        ]
    out += [
        (
            "Convention",
            f"{book.problem.convention.name}: {case.family.says}."
            + (" Not ε/(K−1)." if case.family.name == "uniform" else ""),
        ),
        (
            "Notation",
            "q the label, q′ the smoothed target, p the prediction, u the prior, ε the smoothing, K the number of classes; ln is the natural logarithm.",
        ),
        (
            "Source",
            "C. Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016, section 7. The worked example follows Aman Arora, Label Smoothing Explained using Microsoft Excel, 2020.",
        ),
    ]
    if book.source:
        out.append(("Data", book.source))
    out.append(("Made", f"by labelsmooth {__version__} on {date.today().isoformat()}"))  # noqa: DTZ011  the user's own day
    if book.replaced:
        out.append(("Replaced", book.replaced))
    if case.weighting is not None:
        out.append(("Class weights", f"{case.weighting.says} ({case.weighting.users})."))
    return out
