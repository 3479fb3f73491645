"""The Checks sheet: what must hold, each with a verdict, and the verdict of all."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._style import TOLERANCE, Styles, colour_verdicts
from .book import Book


def write_checks(sheet: Any, book: Book, styles: Styles, *, torch: str) -> str:
    """One row a check, and the verdict of all, which is returned; `torch` is the verdict of the PyTorch sheet."""
    sheet.write_string(0, 0, "Checks", styles("title"))
    sheet.set_row(0, 26)
    sheet.set_column(0, 0, 62)
    sheet.set_column(1, 3, 14)
    for column, title in enumerate(("what must hold", "found", "expected", "verdict")):
        sheet.write_string(3, column, title, styles("head_left" if not column else "head"))
    checks = _checks(book)
    verdicts = [torch]
    for line, (says, found, value, expected, expected_value, rule, holds) in enumerate(checks):
        row = 4 + line
        sheet.write_string(row, 0, says, styles("name"))
        sheet.write_formula(row, 1, f"={found}", styles("cell"), value)
        sheet.write_formula(row, 2, f"={expected}", styles("cell"), expected_value)
        text = rule.replace("#", f"B{row + 1}").replace("@", f"C{row + 1}")
        sheet.write_formula(row, 3, f'=IF({text},"ok","CHECK")', styles("verdict"), "ok" if holds else "CHECK")
        verdicts.append("ok" if holds else "CHECK")
    row = 4 + len(checks)
    sheet.write_string(row, 0, "the sheet equals PyTorch (see the sheet PyTorch)", styles("name"))
    sheet.write_formula(row, 3, "=PyTorch!$B$3", styles("verdict"), torch)
    sheet.write_string(1, 0, "all checks", styles("bold"))
    bad = "+".join(f'IF(D{r}="CHECK",1,0)' for r in range(5, row + 2))
    overall = "CHECK" if "CHECK" in verdicts else "ok"
    sheet.write_formula(1, 1, f'=IF({bad}=0,"ok","CHECK")', styles("verdict"), overall)
    colour_verdicts(sheet, 4, 3, row, 3, styles)
    colour_verdicts(sheet, 1, 1, 1, 1, styles)
    sheet.fit_to_pages(1, 0)
    return overall


Check = tuple[str, str, float, str, float, str, bool]
CLOSE = "ABS(#-@)<=tolerance*(1+ABS(@))"


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= TOLERANCE * (1 + abs(b))


def _checks(book: Book) -> list[Check]:
    """What must hold: found and expected, each as formula and value, the rule (# found, @ expected), and the verdict."""
    case, chain, places = book.problem.case, book.chain, book.layout.places
    rows, values = float(book.rows), book.values
    out: list[Check] = []
    numbers = int(np.isfinite(book.problem.given["logits"]).sum())
    out.append(
        (
            "every logit is a number (an empty cell counts as 0 and would pass unseen)",
            f"COUNT({places['logits'].area})",
            numbers,
            f"{numbers}",
            numbers,
            "#=@",
            True,
        )
    )
    if not case.smoothing:
        eps_now = float(book.problem.given["epsilon"])
        out.append(("ε lies between 0 and 1", "epsilon", eps_now, "epsilon", eps_now, "AND(#>=0,#<=1)", True))
    if "one_hot" in chain and "keep" not in chain:
        out.append(
            ("every label is a class number", f"SUM({places['one_hot'].area})", rows, "n_rows", rows, "#=@", True)
        )
    for word, says in (
        ("target", "the targets of every row sum to 1"),
        ("softmax", "the probabilities of every row sum to 1"),
    ):
        if word in chain and (word == "softmax" or ("sums to one" in case.family.laws and "keep" not in chain)):
            mass = float(values[word].sum())
            out.append((says, f"SUM({places[word].area})", mass, "n_rows", rows, CLOSE, _close(mass, rows)))
    if "mixture_gap" in chain:
        gap, top = float(values["mixture_gap"].max()), float(values["row_loss"].max())
        rule = f"#<=tolerance*(1+MAX({places['row_loss'].area}))"
        out.append(
            (
                "(1−ε)·H(q,p) + ε·H(u,p) is the loss of every row",
                f"MAX({places['mixture_gap'].area})",
                gap,
                "0",
                0.0,
                rule,
                gap <= TOLERANCE * (1 + top),
            )
        )
    if "plain_softmax" in chain and "one_hot" in chain:
        out.append(_two_softmaxes(book))
    if "gradient" in chain:
        slope = float(values["gradient"].sum())
        out.append(
            (
                "the gradient sums to 0",
                f"SUM({places['gradient'].area})",
                slope,
                "0",
                0.0,
                "ABS(#)<=tolerance*n_rows",
                abs(slope) <= TOLERANCE * rows,
            )
        )
    if "loss_floor" in chain:
        loss, floor = float(values["loss"].item()), float(values["loss_floor"].item())
        out.append(
            (
                "the loss is not below its floor",
                "loss",
                loss,
                "loss_floor",
                floor,
                "#>=@-tolerance",
                loss >= floor - TOLERANCE,
            )
        )
    return out


def _two_softmaxes(book: Book) -> Check:
    """The right classes' probability by both exponentials; not asked where the plain one overflows."""
    places, values = book.layout.places, book.values
    formulas = [f"SUMPRODUCT({places[w].area},{places['one_hot'].area})" for w in ("plain_softmax", "softmax")]
    plain, shifted = (float((values[w] * values["one_hot"]).sum()) for w in ("plain_softmax", "softmax"))
    logits, top = places["logits"].area, places["row_max"].area
    rule = f"OR(MAX({logits})>=700,MAX({top})<-700,{CLOSE})"
    says = "shifting by the largest logit changes no probability (where EXP does not overflow)"
    return says, f"IF(MAX({logits})>=700,0,{formulas[0]})", plain, formulas[1], shifted, rule, _close(plain, shifted)
