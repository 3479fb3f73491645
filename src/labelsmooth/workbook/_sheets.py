"""The sheets around the lesson: Read me, PyTorch, Checks and Lists."""
# ruff: noqa: E501  sentences for the reader stand whole

from __future__ import annotations

from typing import Any

import numpy as np

from labelsmooth.maths.case import Chain, K, eps
from labelsmooth.maths.evaluate import evaluate
from labelsmooth.maths.expr import absolute, given, step

from ._panel import Panel, write_name
from ._style import Styles
from .book import Book, TorchRows
from .layout import FIRST_CLASS, Place, letters, plan

TOLERANCE = 1e-10  # of the verdicts on the sheets, relative above 1; the tests hold every cell to 1e-12
UNCHANGED = 1e-9  # of the fingerprint of the inputs, relative above 1
VERDICT_COLUMN = FIRST_CLASS + 6


def write_lists(sheet: Any, book: Book, styles: Styles, *, tolerance: float) -> None:
    """Class numbers and names, the source of the drop-downs; and what a reader needs to know the file again."""
    sheet.write_string(0, 0, "Lists", styles("title"))
    sheet.write_string(1, 0, "class numbers and names; the drop-downs of Steps read them", styles("subtitle"))
    sheet.write_string(3, 0, "number", styles("head"))
    sheet.write_string(3, 1, "class", styles("head_left"))
    for k, name in enumerate(book.problem.class_names):
        sheet.write_number(4 + k, 0, k, styles("whole"))
        write_name(sheet, 4 + k, 1, name, styles)
    if "ignore_index" in book.chain:
        sheet.write_formula(4 + book.classes, 0, "=ignore_index", styles("whole"), book.problem.given["ignore_index"])
        sheet.write_string(4 + book.classes, 1, "this row does not count", styles("grey"))
    sheet.write_string(3, 3, "setting", styles("head_left"))
    sheet.write_string(3, 4, "value", styles("head_left"))
    for line, (name, value) in enumerate(settings(book).items()):
        sheet.write_string(4 + line, 3, name, styles("name"))
        sheet.write_string(4 + line, 4, value, styles("name"))
    line = 4 + len(settings(book))
    sheet.write_string(line, 3, "tolerance", styles("name"))
    sheet.write_number(line, 4, tolerance, styles("tiny"))
    sheet.set_column(0, 0, 10)
    sheet.set_column(1, 1, 30)
    sheet.set_column(3, 4, 20)


def tolerance_place(book: Book) -> Place:
    """Where the tolerance stands."""
    return Place("Lists", 4 + len(settings(book)), 4, "")


def settings(book: Book) -> dict[str, str]:
    """What the file was made with, so that it can be read back."""
    case = book.problem.case
    return {
        "made by": "labelsmooth",
        "layout": book.kind,
        "convention": book.problem.convention.name,
        "weighting": case.weighting.name if case.weighting else "",
        "reduction": case.reduction,
        "labels": "soft" if case.soft else "numbers",
        "prior": case.prior,
        "smoothing": case.smoothing,
        "mask": case.mask,
        "ignored": "yes" if case.ignored else "",
        "exponentials": "both" if case.as_post else "shifted",
        "rows": str(book.rows),
        "classes": str(book.classes),
    }


def write_torch(sheet: Any, book: Book, styles: Styles) -> None:
    """PyTorch's numbers beside the sheet's, compared live."""
    sheet.write_string(0, 0, "The same in PyTorch", styles("title"))
    sheet.set_row(0, 26)
    sheet.set_column(0, 0, 21)
    sheet.set_column(1, 2, 10)
    sheet.set_column(FIRST_CLASS, FIRST_CLASS + 12, 13)
    sheet.set_landscape()
    sheet.fit_to_pages(1, 0)
    _fingerprint(sheet, book, styles)
    if book.torch is None:
        sheet.write_string(1, 0, "PyTorch was not run when this file was made. `labelsmooth compare` on the file compares it.", styles("subtitle"))
        sheet.write_formula(2, 1, '=IF(inputs_changed=1,"inputs changed","not compared")', styles("verdict"), "not compared")
        return
    _torch_panel(sheet, book, book.torch, styles)


def _torch_panel(sheet: Any, book: Book, torch: TorchRows, styles: Styles) -> None:
    case = book.problem.case
    h = book.chain["row_loss"]
    places = {"row_loss": book.layout.places["row_loss"], "n_classes": book.layout.places["n_classes"]}
    if book.linear:
        zero = given("torch_label", "ε = 0", "h_0", "n", "PyTorch's loss of each row at ε = 0, stored when the file was made")
        one = given("torch_prior", "ε = 1", "h_1", "n", "PyTorch's loss of each row at ε = 1, stored when the file was made" if case.family.name == "uniform" else "PyTorch's cross-entropy with what ε is spread over, stored when the file was made")
        places["epsilon"] = book.layout.places["epsilon"]
        mixed = case.family.keep(eps, K) * zero + case.family.spread(eps, K) * one
        if case.divergence == "kl":
            places["target_entropy"] = book.layout.places["target_entropy"]
            mixed = mixed - book.chain["target_entropy"]
        here = step("torch_loss", "PyTorch at ε", "h_t", mixed, "PyTorch's loss at the ε of Steps: the loss is a straight line between the two", block="Row by row")
        steps = [here]
    else:
        here = given("torch_loss", "PyTorch", "h_t", "n", "PyTorch's loss of each row at the ε of the file, stored when the file was made")
        steps = []
    steps.append(step("torch_gap", "|Δ|", r"\Delta", absolute(here - h), "difference to Steps", block="" if steps else "Row by row"))
    layout = plan(Chain(case, tuple(steps)), book.rows, 1, sheet="PyTorch", top=10, given=places, named=frozenset({"epsilon", "n_classes"}))
    numbers = {"torch_label": torch.label_loss, "torch_prior": torch.prior_loss, "epsilon": book.problem.given["epsilon"], "n_classes": book.classes,
               "row_loss": book.values["row_loss"][:, 0], "target_entropy": book.values.get("target_entropy", np.zeros(1))[:, :1].reshape(-1) if case.divergence == "kl" else None,
               "torch_loss": torch.row_loss}  # fmt: skip
    values = evaluate(layout.chain, numbers)
    Panel(sheet, layout, values, styles, book.problem.row_names).write()
    gap, loss = layout.places["torch_gap"], book.layout.places["row_loss"]
    block = layout.blocks[-1]
    column = VERDICT_COLUMN
    sheet.write_string(block.heading, column, "verdict", styles("head"))
    sheet.write_string(block.heading, column - 1, "float32 then", styles("head"))
    worst = 0
    for n in range(book.rows):
        scale = abs(float(book.values["row_loss"][n, 0]))
        fine = float(values["torch_gap"][n, 0]) <= TOLERANCE * (1 + scale)
        worst += not fine
        rule = f"{gap.cell(n)}<=tolerance*(1+ABS(Steps!{loss.cell(n)}))"
        sheet.write_number(block.first + n, column - 1, float(torch.row_loss_single[n]), styles("stored"))
        sheet.write_formula(block.first + n, column, f'=IF(inputs_changed=1,"inputs changed",IF({rule},"ok","CHECK"))', styles("verdict"), "ok" if fine else "CHECK")
    first, last = f"{letters(column)}{block.first + 1}", f"{letters(column)}{block.first + book.rows}"
    colour_verdicts(sheet, block.first, column, block.first + book.rows - 1, column, styles)
    _torch_head(sheet, book, torch, styles, f"MAX({gap.area.split('!')[1]})", float(values["torch_gap"].max()), f"{first}:{last}", worst == 0)


def _torch_head(sheet: Any, book: Book, torch: TorchRows, styles: Styles, largest: str, largest_now: float, verdicts: str, fine: bool) -> None:
    sheet.write_string(1, 0, f"PyTorch {torch.version}, float64 on the CPU. Its numbers are stored; the comparison is live: change ε and it follows.", styles("subtitle"))
    sheet.write_string(2, 0, "verdict", styles("bold"))
    loss = book.layout.places["row_loss"]
    worst = f"{largest}<=tolerance*(1+MAX({loss.area}))"
    sheet.write_formula(2, 1, f'=IF(inputs_changed=1,"inputs changed",IF({worst},"ok","CHECK"))', styles("verdict"), "ok" if fine else "CHECK")
    colour_verdicts(sheet, 2, 1, 2, 1, styles)
    sheet.write_string(2, FIRST_CLASS, "Another logit, label or weight makes this grey, not wrong: PyTorch has not seen it. Then run `labelsmooth compare` on this file.", styles("grey"))
    sheet.write_string(3, 0, "largest difference", styles("bold"))
    sheet.write_formula(3, 1, f"={largest}", styles("tiny"), largest_now)
    sheet.write_string(4, 0, "gradient, when made", styles("bold"))
    sheet.write_number(4, 1, torch.largest_gradient_gap, styles("tiny"))
    sheet.write_string(4, FIRST_CLASS, "largest difference between PyTorch's gradient and the last block of Steps, when the file was made", styles("grey"))
    for line, text in enumerate(torch.how.splitlines()[:4]):
        sheet.write_string(5 + line, 0, text, styles("code"))


def _fingerprint(sheet: Any, book: Book, styles: Styles) -> None:
    """Know a changed input: one weighted sum for each column of inputs, against the sum when the file was made.

    The weights are fixed numbers without a pattern, so that exchanging two cells shows as well as changing one.
    """
    column = FIRST_CLASS + 9
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
        sheet.write_formula(line, column + 3, f"=IF(ABS({now}-{stored})<={UNCHANGED:g}*(1+ABS({stored})),0,1)", styles("whole"), 0)
        line += 1
    mark = letters(column + 3)
    sheet.write_formula(1, column + 3, f"=IF(SUM({mark}4:{mark}{line})>0,1,0)", styles("whole"), 0)
    sheet.write_string(1, column, "1 if anything changed", styles("grey"))


def changed_place() -> Place:
    """Where the sheet says whether an input was changed."""
    return Place("PyTorch", 1, FIRST_CLASS + 12, "")


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
                out.append((f"SUMPRODUCT(Steps!${at}${place.row + 1}:${at}${place.row + down},{area})", float(finite @ weights)))
            else:
                number = float(numbers[0, k])
                out.append((f"1*Steps!${at}${place.row + 1}", number if number - number == 0 else 0.0))
    return out


def write_checks(sheet: Any, book: Book, styles: Styles) -> None:
    """One row a check, and the verdict of all."""
    sheet.write_string(0, 0, "Checks", styles("title"))
    sheet.set_row(0, 26)
    sheet.set_column(0, 0, 62)
    sheet.set_column(1, 3, 14)
    for column, title in enumerate(("what must hold", "found", "expected", "verdict")):
        sheet.write_string(3, column, title, styles("head_left" if not column else "head"))
    checks = _checks(book)
    for line, (says, found, value, expected, expected_value, rule) in enumerate(checks):
        row = 4 + line
        sheet.write_string(row, 0, says, styles("name"))
        sheet.write_formula(row, 1, f"={found}", styles("cell"), value)
        sheet.write_formula(row, 2, f"={expected}", styles("cell"), expected_value)
        text = rule.replace("#", f"B{row + 1}").replace("@", f"C{row + 1}")
        sheet.write_formula(row, 3, f'=IF({text},"ok","CHECK")', styles("verdict"), "ok")
    row = 4 + len(checks)
    sheet.write_string(row, 0, "the sheet equals PyTorch (see the sheet PyTorch)", styles("name"))
    verdict = "ok" if book.torch is not None else "not compared"
    sheet.write_formula(row, 3, "=PyTorch!$B$3", styles("verdict"), verdict)
    sheet.write_string(1, 0, "all checks", styles("bold"))
    bad = "+".join(f'IF(D{r}="CHECK",1,0)' for r in range(5, row + 2))
    sheet.write_formula(1, 1, f'=IF({bad}=0,"ok","CHECK")', styles("verdict"), "ok")
    colour_verdicts(sheet, 4, 3, row, 3, styles)
    colour_verdicts(sheet, 1, 1, 1, 1, styles)
    sheet.fit_to_pages(1, 0)


Check = tuple[str, str, float, str, float, str]
CLOSE = "ABS(#-@)<=tolerance*(1+ABS(@))"


def _checks(book: Book) -> list[Check]:
    """What must hold, the formula of what is found, its value, what is expected, its value, and the rule (# found, @ expected)."""
    case, chain, places = book.problem.case, book.chain, book.layout.places
    rows = float(book.rows)
    counted = ("counted_rows", float(book.values["counted_rows"].item())) if "counted_rows" in chain else ("n_rows", rows)
    out: list[Check] = []
    numbers = int(np.isfinite(book.problem.given["logits"]).sum())
    out.append(("every logit is a number (an empty cell counts as 0 and would pass unseen)", f"COUNT({places['logits'].area})", numbers, f"{numbers}", numbers, "#=@"))
    if not case.smoothing:
        out.append(("ε lies between 0 and 1", "epsilon", float(book.problem.given["epsilon"]), "epsilon", float(book.problem.given["epsilon"]), "AND(#>=0,#<=1)"))
    if "one_hot" in chain and "keep" not in chain:
        out.append(("every label is a class number", f"SUM({places['one_hot'].area})", rows, "n_rows", rows, "#=@"))
    for word, says in (("target", "the targets of every row sum to 1"), ("softmax", "the probabilities of every row sum to 1")):
        if word in chain and (word == "softmax" or ("sums to one" in case.family.laws and "keep" not in chain)):
            out.append((says, f"SUM({places[word].area})", rows, "n_rows", rows, CLOSE))
    if "mixture_gap" in chain:
        out.append(("(1−ε)·H(q,p) + ε·H(u,p) is the loss of every row", f"MAX({places['mixture_gap'].area})", float(book.values["mixture_gap"].max()), "0", 0.0, f"#<=tolerance*(1+MAX({places['row_loss'].area}))"))
    if "plain_softmax" in chain and "one_hot" in chain:
        both = [f"SUMPRODUCT({places[w].area},{places['one_hot'].area})" for w in ("plain_softmax", "softmax")]
        values = [float((book.values[w] * book.values["one_hot"]).sum()) for w in ("plain_softmax", "softmax")]
        safe = f"OR(MAX({places['logits'].area})>=700,MAX({places['row_max'].area})<-700,{CLOSE})"
        large = f"IF(MAX({places['logits'].area})>=700,0,{both[0]})"
        out.append(("shifting by the largest logit changes no probability (where EXP does not overflow)", large, values[0], both[1], values[1], safe))
    if "gradient" in chain:
        out.append(("the gradient sums to 0", f"SUM({places['gradient'].area})", float(book.values["gradient"].sum()), "0", 0.0, f"ABS(#)<=tolerance*{counted[0]}"))
    if "loss_floor" in chain:
        out.append(("the loss is not below its floor", "loss", float(book.values["loss"].item()), "loss_floor", float(book.values["loss_floor"].item()), "#>=@-tolerance"))
    return out


def colour_verdicts(sheet: Any, top: int, left: int, bottom: int, right: int, styles: Styles) -> None:
    """Green, red and grey for the verdict words."""
    for word, style in (("ok", "ok"), ("CHECK", "bad"), ("inputs changed", "idle"), ("not compared", "idle")):
        sheet.conditional_format(top, left, bottom, right, {"type": "cell", "criteria": "==", "value": f'"{word}"', "format": styles(style)})


def write_readme(sheet: Any, book: Book, styles: Styles, *, blank: bool) -> None:
    """What to do, what the colours mean, the result, and where the file comes from."""
    sheet.set_column(0, 0, 26)
    sheet.set_column(1, 1, 90)
    sheet.write_string(0, 0, "Label smoothing, cell by cell", styles("title"))
    sheet.set_row(0, 28)
    first = "Go to Steps and fill in the yellow cells, block by block. The column on the right marks each row." if blank else "Go to Steps, type 0.2 in the yellow cell, watch the green column."
    sheet.write_string(1, 0, first, styles("heading"))
    row = 3
    if not blank:
        row = _result(sheet, book, styles, row)
    for title, text in _sentences(book, blank=blank):
        sheet.set_row(row, 16 * (1 + len(text) // 95))
        sheet.write_string(row, 0, title, styles("bold_top"))
        sheet.write_string(row, 1, text, styles("wrap"))
        row += 1
    row += 1
    sheet.write_string(row, 0, "Colours", styles("heading"))
    legend = (("input", "yellow and blue: type here"), ("cell", "white: a formula"), ("result", "green and bold: a result"), ("stored", "grey figures: stored when the file was made, from PyTorch"))
    for line, (style, text) in enumerate(legend[: 3 if blank else 4]):
        sheet.write_number(row + 1 + line, 0, 0.1, styles(style))
        sheet.write_string(row + 1 + line, 1, text, styles("plain"))
    sheet.fit_to_pages(1, 0)


def _result(sheet: Any, book: Book, styles: Styles, row: int) -> int:
    if "loss" in book.chain:
        sheet.write_string(row, 0, f"{book.problem.case.reduction} loss", styles("bold"))
        sheet.write_formula(row + 1, 0, "=loss", styles("big"), book.values["loss"].item())
        sheet.write_string(row + 1, 1, "nats, at the ε of Steps", styles("plain"))
    sheet.write_string(row + 2, 0, "all checks", styles("bold"))
    sheet.write_formula(row + 3, 0, "=Checks!$B$2", styles("big_verdict"), "ok")
    colour_verdicts(sheet, row + 3, 0, row + 3, 0, styles)
    return row + 5


def _sentences(book: Book, *, blank: bool) -> list[tuple[str, str]]:
    case = book.problem.case
    out = [
        ("What this is", "Cross-entropy with label smoothing, computed one thought a cell. Every number is a live formula: change an input and all follows."),
        ("Steps", "One block a step, from the label to the gradient. Beside each: the mathematics, the formula of its first cell in grey, and what it is."),
    ]
    if not blank:
        out += [
            ("Play", "The loss over ε, other conventions, temperature, and the LOG-for-LN trap: LOG is base 10, LN is the natural logarithm."),
            ("PyTorch", "PyTorch's numbers for the same logits, and the difference, live at any ε."),
            ("Checks", "What must hold, each with a verdict."),
        ]
    out += [
        ("Convention", f"{book.problem.convention.name}: {case.family.says}." + (" Not ε/(K−1)." if case.family.name == "uniform" else "")),
        ("Notation", "q the label, q′ the smoothed target, p the prediction, u the prior, ε the smoothing, K the number of classes; ln is the natural logarithm."),
        ("Source", "C. Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016, section 7. The worked example follows Aman Arora, Label Smoothing Explained using Microsoft Excel, 2020."),
    ]
    if book.source:
        out.append(("Data", book.source))
    if book.replaced:
        out.append(("Replaced", book.replaced))
    if case.weighting is not None:
        out.append(("Class weights", f"{case.weighting.says} ({case.weighting.users})."))
    return out
