"""The Checks sheet: what must hold, each with a verdict, and the verdict of all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._style import TOLERANCE, Styles, colour_verdicts
from .book import Book


def write_checks(sheet: Any, book: Book, styles: Styles, *, torch: str) -> str:
    """One row a check, and the verdict of all, which is returned; `torch` is the verdict of the PyTorch sheet."""
    sheet.write_string(0, 0, "Checks", styles("title"))
    sheet.set_row(0, 26)
    sheet.set_column(0, 0, 74)
    sheet.set_column(1, 3, 14)
    for column, title in enumerate(("what must hold", "found", "expected", "verdict")):
        sheet.write_string(3, column, title, styles("head_left" if not column else "head"))
    checks = _checks(book)
    verdicts = [torch]
    for line, check in enumerate(checks):
        row = 4 + line
        sheet.write_string(row, 0, check.says, styles("name"))
        sheet.write_formula(row, 1, f"={check.found}", styles("cell"), check.value)
        sheet.write_formula(row, 2, f"={check.expected}", styles("cell"), check.wanted)
        rule = check.rule.replace("#", f"B{row + 1}").replace("@", f"C{row + 1}")
        verdicts.append("ok" if check.holds else "CHECK")
        sheet.write_formula(row, 3, f'=IF({rule},"ok","CHECK")', styles("verdict"), verdicts[-1])
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


@dataclass(frozen=True)
class Check:
    """What must hold: a formula for what is found and one for what is expected, the rule between them, and the numbers now.

    In the rule # stands for the cell of what is found, @ for that of what is expected.
    """

    says: str
    found: str
    value: float
    expected: str
    wanted: float
    rule: str
    holds: bool = True


CLOSE = "ABS(#-@)<=tolerance*(1+ABS(@))"


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= TOLERANCE * (1 + abs(b))


def _checks(book: Book) -> list[Check]:
    """Every check that makes sense for the case."""
    return [*_of_inputs(book), *_of_sums(book), *_of_the_loss(book)]


def _of_inputs(book: Book) -> Iterator[Check]:
    """Logits are numbers, ε is a share, labels are classes."""
    places, given = book.layout.places, book.problem.given
    numbers = int(np.isfinite(given["logits"]).sum())
    says = "every logit is a number (an empty cell counts as 0 and would pass unseen)"
    yield Check(says, f"COUNT({places['logits'].area})", numbers, f"{numbers}", numbers, "#=@")
    if not book.problem.case.smoothing:
        eps = float(given["epsilon"])
        yield Check("ε lies between 0 and 1", "epsilon", eps, "epsilon", eps, "AND(#>=0,#<=1)")
    if "one_hot" in book.chain and "keep" not in book.chain:
        rows = float(book.rows)
        yield Check("every label is a class number", f"SUM({places['one_hot'].area})", rows, "n_rows", rows, "#=@")


def _of_sums(book: Book) -> Iterator[Check]:
    """Targets and probabilities sum to 1, the gradient to 0."""
    places, values, rows = book.layout.places, book.values, float(book.rows)
    sums = {"softmax": "the probabilities of every row sum to 1"}
    if "sums to one" in book.problem.case.family.laws and "keep" not in book.chain:
        sums = {"target": "the targets of every row sum to 1"} | sums
    for word, says in sums.items():
        if word in book.chain:
            mass = float(values[word].sum())
            yield Check(says, f"SUM({places[word].area})", mass, "n_rows", rows, CLOSE, _close(mass, rows))
    if "gradient" in book.chain:
        slope = float(values["gradient"].sum())
        found, fine = f"SUM({places['gradient'].area})", abs(slope) <= TOLERANCE * rows
        yield Check("the gradient sums to 0", found, slope, "0", 0.0, "ABS(#)<=tolerance*n_rows", fine)


def _of_the_loss(book: Book) -> Iterator[Check]:
    """Two ways to the loss agree, two softmaxes agree, and the loss is not below its floor."""
    places, values, chain = book.layout.places, book.values, book.chain
    if "mixture_gap" in chain:
        gap, top = float(values["mixture_gap"].max()), float(values["row_loss"].max())
        rule = f"#<=tolerance*(1+MAX({places['row_loss'].area}))"
        says = "(1−ε)·H(q,p) + ε·H(u,p) is the loss of every row"
        yield Check(says, f"MAX({places['mixture_gap'].area})", gap, "0", 0.0, rule, gap <= TOLERANCE * (1 + top))
    if "plain_softmax" in chain and "one_hot" in chain:
        yield _two_softmaxes(book)
    if "log_softmax" in chain and not book.problem.case.mask:  # a masked class shows 0 for its ln p
        yield _natural_logarithm(book)
    if book.problem.case.reduction == "mean" and book.problem.case.weighting is None and "keep" not in chain:
        loss, mean = float(values["loss"].item()), float(values["row_loss"].mean())
        average = f"AVERAGE({places['row_loss'].area})"
        yield Check("the loss is the mean of the rows' losses", "loss", loss, average, mean, CLOSE, _close(loss, mean))
    if "loss_floor" in chain:
        loss, floor = float(values["loss"].item()), float(values["loss_floor"].item())
        fine = loss >= floor - TOLERANCE
        yield Check("the loss is not below its floor", "loss", loss, "loss_floor", floor, "#>=@-tolerance", fine)


def _two_softmaxes(book: Book) -> Check:
    """The right classes' probability by both exponentials; not asked where the plain one overflows."""
    places, values = book.layout.places, book.values
    formulas = [f"SUMPRODUCT({places[w].area},{places['one_hot'].area})" for w in ("plain_softmax", "softmax")]
    plain, shifted = (float((values[w] * values["one_hot"]).sum()) for w in ("plain_softmax", "softmax"))
    logits, top = places["logits"].area, places["row_max"].area
    beyond = f"OR(MAX({logits})>=700,MIN({top})<-700)"
    says = "shifting by the largest logit changes no probability (where EXP does not overflow)"
    found, rule = f"IF({beyond},0,{formulas[0]})", f"OR({beyond},{CLOSE})"
    return Check(says, found, plain, formulas[1], shifted, rule, _close(plain, shifted))


def _natural_logarithm(book: Book) -> Check:
    """What stands as ln p against LN of p, in the least sure row: its p are the furthest from 0 and 1."""
    n = int(book.values["exponential_sum"].argmax())
    p, ell = (
        replace(at, row=at.row + n, axes="k") for at in (book.layout.places[w] for w in ("softmax", "log_softmax"))
    )
    top, log = float(np.log(book.values["softmax"][n].max())), float(book.values["log_softmax"][n].max())
    says = f"ln p is the natural logarithm of p (row {n + 1}; LOG would be base 10)"
    return Check(says, f"MAX({ell.area})", log, f"LN(MAX({p.area}))", top, CLOSE, _close(log, top))
