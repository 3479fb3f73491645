"""The PyTorch sheet: stored numbers of PyTorch, compared live with Steps at any ε.

The loss is a straight line in ε between PyTorch's losses at 0 and 1, so both are stored and a changed ε needs no PyTorch. A
changed logit or label does: a fingerprint of the inputs notices it and turns the verdicts grey instead of red.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from labelsmooth.maths.case import Chain, K, eps
from labelsmooth.maths.evaluate import evaluate
from labelsmooth.maths.expr import Named, absolute, given, step

from ._panel import Panel
from ._style import TOLERANCE, Styles, colour_verdicts
from .book import Book, TorchRows
from .layout import FIRST_CLASS, Layout, Place, letters, plan

UNCHANGED = 1e-9  # of the fingerprint of the inputs, relative above 1
VERDICT_COLUMN = FIRST_CLASS + 6
FINGERPRINT_COLUMN = FIRST_CLASS + 9
TOP = 10


def write_torch(sheet: Any, book: Book, styles: Styles) -> str:
    """PyTorch's numbers beside the sheet's, compared live; return the verdict."""
    sheet.write_string(0, 0, "The same in PyTorch", styles("title"))
    sheet.set_row(0, 26)
    sheet.set_column(0, 0, 21)
    sheet.set_column(1, 2, 10)
    sheet.set_column(FIRST_CLASS, FIRST_CLASS + 12, 13)
    sheet.set_landscape()
    sheet.fit_to_pages(1, 0)
    _fingerprint(sheet, book, styles)
    if book.torch is None:
        sheet.write_string(
            1,
            0,
            "PyTorch was not run when this file was made. `labelsmooth compare` on the file compares it.",
            styles("subtitle"),
        )
        sheet.write_formula(
            2, 1, '=IF(inputs_changed=1,"inputs changed","not compared")', styles("verdict"), "not compared"
        )
        return "not compared"
    return _torch_panel(sheet, book, book.torch, styles)


def _torch_panel(sheet: Any, book: Book, torch: TorchRows, styles: Styles) -> str:
    """The rows: PyTorch at the ε of Steps, the difference, and a verdict each."""
    layout = _layout(book)
    numbers: dict[str, Any] = {
        "torch_label": torch.label_loss,
        "torch_prior": torch.prior_loss,
        "torch_loss": torch.row_loss,
        "epsilon": book.problem.given["epsilon"],
        "n_classes": book.classes,
        "row_loss": book.values["row_loss"],
    }
    if "target_entropy" in book.values:
        numbers["target_entropy"] = book.values["target_entropy"]
    gaps = evaluate(layout.chain, numbers)
    stored = frozenset({"torch_label", "torch_prior", "torch_loss"})
    Panel(sheet, layout, gaps, styles, book.problem.row_names, stored=stored).write()
    sheet.print_area(0, 0, layout.end, VERDICT_COLUMN)
    gap = layout.places["torch_gap"]
    block, column = layout.blocks[-1], VERDICT_COLUMN
    sheet.write_string(block.heading, column, "verdict", styles("head"))
    sheet.write_string(block.heading, column - 1, "float32 then", styles("head"))
    apart = gaps["torch_gap"][:, 0]
    for n in range(book.rows):
        fine = apart[n] <= TOLERANCE
        formula = f'=IF(inputs_changed=1,"inputs changed",IF({gap.cell(n)}<=tolerance,"ok","CHECK"))'
        _store(sheet, block.first + n, column - 1, float(torch.row_loss_single[n]), styles("stored"))
        sheet.write_formula(block.first + n, column, formula, styles("verdict"), "ok" if fine else "CHECK")
    colour_verdicts(sheet, block.first, column, block.first + book.rows - 1, column, styles)
    fine = bool(apart.max() <= TOLERANCE)
    largest = f"MAX({gap.area.split('!')[1]})"
    _torch_head(sheet, torch, styles, largest=largest, largest_now=float(apart.max()), fine=fine)
    return "ok" if fine else "CHECK"


def _layout(book: Book) -> Layout:
    """PyTorch's stored columns, their mixture at the ε of Steps, the difference; one column where the loss is no line in ε."""
    case, title = book.problem.case, "Row by row"
    places = {word: book.layout.places[word] for word in ("row_loss", "n_classes")}
    steps: list[Named] = []
    if book.linear:
        paper = case.family.name == "uniform"
        second = (
            "PyTorch's loss of each row at ε = 1" if paper else "PyTorch's cross-entropy with what ε is spread over"
        )
        zero = given(
            "torch_label", "ε = 0", "h_0", "n", "PyTorch's loss of each row at ε = 0, stored when the file was made"
        )
        one = given("torch_prior", "ε = 1", "h_1", "n", f"{second}, stored when the file was made")
        mixed = case.family.keep(eps, K) * zero + case.family.spread(eps, K) * one
        places["epsilon"] = book.layout.places["epsilon"]
        if case.divergence == "kl":
            places["target_entropy"] = book.layout.places["target_entropy"]
            mixed = mixed - book.chain["target_entropy"]
        here = step(
            "torch_loss",
            "PyTorch",
            "h_t",
            mixed,
            "PyTorch's loss at the ε of Steps: a straight line between the two",
            block=title,
        )
        steps.append(here)
    else:
        here = given(
            "torch_loss",
            "PyTorch",
            "h_t",
            "n",
            "PyTorch's loss of each row at the ε of the file, stored when the file was made",
        )
    gap = step(
        "torch_gap",
        "|Δ|",
        r"\Delta",
        absolute(here - book.chain["row_loss"]) / (1 + absolute(book.chain["row_loss"])),
        "difference to Steps, relative above 1",
        block="" if steps else title,
    )
    chain = Chain(case, (*steps, gap))
    return plan(chain, book.rows, 1, sheet="PyTorch", top=TOP, given=places, named=frozenset({"epsilon", "n_classes"}))


def _torch_head(sheet: Any, torch: TorchRows, styles: Styles, *, largest: str, largest_now: float, fine: bool) -> None:
    sheet.write_string(
        1,
        0,
        f"PyTorch {torch.version}, float64 on the CPU. Its numbers are stored; the comparison is live: change ε and it follows.",
        styles("subtitle"),
    )
    sheet.write_string(2, 0, "verdict", styles("bold"))
    sheet.write_formula(
        2,
        1,
        f'=IF(inputs_changed=1,"inputs changed",IF({largest}<=tolerance,"ok","CHECK"))',
        styles("verdict"),
        "ok" if fine else "CHECK",
    )
    colour_verdicts(sheet, 2, 1, 2, 1, styles)
    sheet.write_string(
        2,
        FIRST_CLASS,
        "Another logit, label or weight turns this grey: PyTorch has not seen it. Run `labelsmooth compare` on this file.",
        styles("grey"),
    )
    sheet.write_string(3, 0, "largest difference", styles("bold"))
    sheet.write_formula(3, 1, f"={largest}", styles("tiny"), largest_now)
    sheet.write_string(4, 0, "gradient, when made", styles("bold"))
    _store(sheet, 4, 1, torch.largest_gradient_gap, styles("tiny"))
    sheet.write_string(
        4,
        FIRST_CLASS,
        "largest difference between PyTorch's gradient and the last block of Steps, when the file was made",
        styles("grey"),
    )
    for line, text in enumerate(torch.how.splitlines()[:4]):
        sheet.write_string(5 + line, 0, text, styles("code"))


def _store(sheet: Any, row: int, column: int, number: float, style: Any) -> None:
    """A number that no formula reads; float32 may have overflowed, and a row that does not count may hold NaN."""
    if isfinite(number):
        sheet.write_number(row, column, number, style)
    else:
        sheet.write_string(row, column, str(number), style)


def _fingerprint(sheet: Any, book: Book, styles: Styles) -> None:
    """Know a changed input: one weighted sum for each column of inputs, against the sum when the file was made.

    The weights are fixed numbers without a pattern, so that exchanging two cells shows as well as changing one.
    """
    column = FINGERPRINT_COLUMN
    sheet.write_string(0, column, "Were the inputs changed?", styles("heading"))
    for at, title in enumerate(("weight", "now", "then", "changed")):
        sheet.write_string(2, column + at, title, styles("head"))
    weights = 0.5 + np.modf(np.arange(1, book.rows + 1) * 0.6180339887498949)[0].round(6)
    for n, weight in enumerate(weights):
        sheet.write_number(3 + n, column, weight, styles("stored"))
    line = 3
    for formula, then in _sums(book, weights, f"${letters(column)}$4:${letters(column)}${3 + book.rows}"):
        sheet.write_formula(line, column + 1, f"={formula}", styles("cell"), then)
        sheet.write_number(line, column + 2, then, styles("stored"))
        now, stored = f"{letters(column + 1)}{line + 1}", f"{letters(column + 2)}{line + 1}"
        sheet.write_formula(
            line, column + 3, f"=IF(ABS({now}-{stored})<={UNCHANGED:g}*(1+ABS({stored})),0,1)", styles("whole"), 0
        )
        line += 1
    mark = letters(column + 3)
    sheet.write_formula(1, column + 3, f"=IF(SUM({mark}4:{mark}{line})>0,1,0)", styles("whole"), 0)
    sheet.write_string(1, column, "1 if anything changed", styles("grey"))


def changed_place() -> Place:
    """Where the sheet says whether an input was changed."""
    return Place("PyTorch", 1, FINGERPRINT_COLUMN + 3, "")


def _sums(book: Book, weights: Any, area: str) -> list[tuple[str, float]]:
    """A formula and its value for every column of inputs; ε is no input here, since PyTorch's line holds for all of it."""
    out = []
    for value in book.chain.inputs:
        if value.word in ("class_index", "n_classes", "n_rows") or (value.word == "epsilon" and book.linear):
            continue
        place, numbers = book.layout.places[value.word], book.values[value.word]
        down, across = place.shape
        for k in range(across):
            at = letters(place.column + k)
            if down > 1:
                finite = np.where(np.isfinite(numbers[:, k]), numbers[:, k], 0.0)
                out.append(
                    (
                        f"SUMPRODUCT(Steps!${at}${place.row + 1}:${at}${place.row + down},{area})",
                        float(finite @ weights),
                    )
                )
            else:
                number = float(numbers[0, k])
                out.append((f"1*Steps!${at}${place.row + 1}", number if number - number == 0 else 0.0))
    return out
