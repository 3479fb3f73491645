"""The Play sheet: what happens if ε, the convention, the temperature or the logarithm were another.

Each section is a small chain of its own, in the same language as the steps, laid out by the same code: its formulas are
printed, its cached numbers evaluated, and the recalculation tests reach every cell of it.
"""
# ruff: noqa: E501  a step is one line: its formula and its sentence are read together

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from labelsmooth.maths.case import Case, Chain, K, eps
from labelsmooth.maths.conventions import ALL, FAMILIES, NOT_PADDING, OTHERS, Family
from labelsmooth.maths.evaluate import Array, evaluate
from labelsmooth.maths.expr import Expr, Named, above, absolute, exp, given, largest, log, log10, step, total, where

from ._panel import Panel
from ._style import CHART, Styles
from .book import Book
from .layout import FIRST_CLASS, Layout, Place, letters, plan

WIDEST = 40  # classes shown on this sheet
TRAP_ROWS = 5
CHART_ROWS = 20
EPSILONS = tuple(i / 20 for i in range(21))
TEMPERATURES = (0.25, 0.5, 1.0, 2.0, 4.0)
SIDE_BY_SIDE = ("uniform", "others", "renormalised", "unnormalised")
BY_NAME = frozenset({"epsilon", "n_classes"})

label_mean = given("label_mean", "H̄(q,p)", r"\bar H(q,p)", "", "the loss at ε = 0, from Steps")
prior_mean = given("prior_mean", "H̄(v,p)", r"\bar H(v,p)", "", "cross-entropy with what ε is spread over, from Steps")


def write_play(workbook: Any, sheet: Any, book: Book, styles: Styles) -> None:
    """Write the sections that make sense for this case, one below the other."""
    sheet.write_string(0, 0, "Play: change a yellow cell and watch", styles("title"))
    sheet.set_row(0, 26)
    sheet.set_column(0, 0, 21)
    sheet.set_column(1, 2, 10)
    sheet.set_column(FIRST_CLASS, FIRST_CLASS + max(min(book.classes, WIDEST), 9), 11)
    sheet.set_landscape()
    sheet.fit_to_pages(1, 0)
    top = 2
    if book.linear and "loss" in book.chain:
        top = _over_epsilon(workbook, sheet, book, styles, top)
        if _comparable(book.problem.case):
            top = _conventions(sheet, book, styles, top)
    if book.kind == "full" and book.classes <= WIDEST:
        top = _trap(sheet, book, styles, top)
        top = _temperature(workbook, sheet, book, styles, top)
        _terms_chart(workbook, sheet, book, top)


def _comparable(case: Case) -> bool:
    """Whether other conventions can be computed from the sheet's two means: labels are classes, nothing is weighted."""
    return not (case.soft or case.prior or case.mask or case.weighting) and case.family.over in (ALL, OTHERS)


def _panel(
    sheet: Any, book: Book, styles: Styles, layout: Layout, numbers: Mapping[str, Any], links: Mapping[str, str]
) -> dict[str, Array]:
    values = evaluate(layout.chain, numbers)
    Panel(sheet, layout, values, styles, class_names=book.problem.class_names, links=links).write()
    return values


def _mean_links(book: Book) -> tuple[dict[str, str], dict[str, float]]:
    """Formulas and values of the batch means of the two cross-entropies."""
    links, numbers = {}, {}
    per = _divisor(book)
    for word, rows in (("label_mean", "label_loss"), ("prior_mean", "prior_loss")):
        links[word] = f"=SUM({book.layout.places[rows].area})" + (f"/{per[0]}" if per[0] else "")
        numbers[word] = float(book.values[rows].sum()) / per[1]
    return links, numbers


def _divisor(book: Book) -> tuple[str, float]:
    """What the loss on Steps is divided by: its name there and its number."""
    case = book.problem.case
    if case.reduction != "mean":
        return "", 1.0
    by_weight = case.weighting is not None and case.weighting.divisor == "weights"
    word = "weight_sum" if by_weight else "counted_rows" if "counted_rows" in book.chain else "n_rows"
    return word, float(book.values[word].item()) if word in book.values else float(book.rows)


def _over_epsilon(workbook: Any, sheet: Any, book: Book, styles: Styles, top: int) -> int:
    """The loss, and its floor, over ε from 0 to 1."""
    case = book.problem.case
    tried = given("epsilon_tried", "ε", r"\varepsilon", "n", "a smoothing to try")
    steps = [step("loss_tried", "L(ε)", "L", case.family.keep(tried, K) * label_mean + case.family.spread(tried, K) * prior_mean,
                  "the loss at that ε: a line, since ε only shifts weight between two cross-entropies", block="The loss over ε")]  # fmt: skip
    if _comparable(case):
        on, off, floor = _floor(case.family, tried, "tried")
        steps += [on, off, floor]
    layout = plan(
        Chain(case, tuple(steps)),
        len(EPSILONS),
        1,
        sheet="Play",
        top=top,
        given=_from_steps(book, "n_classes"),
        named=BY_NAME,
    )
    links, numbers = _mean_links(book)
    _panel(sheet, book, styles, layout, {**numbers, "epsilon_tried": EPSILONS, "n_classes": book.classes}, links)
    chart = workbook.add_chart({"type": "scatter", "subtype": "straight"})
    for word, colour, title in (("loss_tried", CHART[0], "loss"), ("floor_tried", CHART[1], "lowest loss possible")):
        if word in layout.places:
            chart.add_series({"name": title, "categories": f"={layout.places['epsilon_tried'].area}", "values": f"={layout.places[word].area}",
                              "line": {"color": colour, "width": 2.25}})  # fmt: skip
    _dress(chart, "The loss over the smoothing", "smoothing ε", "nats")
    chart.set_x_axis({"name": "smoothing ε", "min": 0, "max": 1, "num_format": "0.0"})
    sheet.insert_chart(
        layout.blocks[0].heading,
        FIRST_CLASS + 6,
        chart,
        {"description": "Loss and lowest possible loss against the smoothing from 0 to 1"},
    )
    return layout.end + 1


def _floor(family: Family, e: Named, suffix: str) -> tuple[Named, Named, Named]:
    """Target at the label, target elsewhere, and the lowest loss they allow."""
    others: Expr = K - 1
    off_value = family.spread(e, K) / (K if family.over == ALL else others)
    off = step(f"off_{suffix}", "q′ off", "q'_0", off_value, "target of a wrong class")
    on = step(
        f"on_{suffix}",
        "q′ on",
        "q'_1",
        family.keep(e, K) + off_value if family.over == ALL else family.keep(e, K),
        "target of the right class",
    )
    mass = on + (K - 1) * off
    plain = "sums to one" in family.laws
    terms = [where(above(x, 0), x * log(x if plain else x / mass), 0) for x in (on, off)]
    floor = step(f"floor_{suffix}", "floor", "f", -terms[0] - (K - 1) * terms[1], "the lowest loss possible at that ε")
    return off, on, floor


def _from_steps(book: Book, *words: str) -> dict[str, Place]:
    return {word: book.layout.places[word] for word in words}


def _conventions(sheet: Any, book: Book, styles: Styles, top: int) -> int:
    """One line a convention: what its target is, and what the loss would be."""
    sheet.merge_range(top, 0, top, 8, "The same ε in other conventions", styles("band 1"))
    sheet.write_string(
        top + 1,
        0,
        "ε is the yellow cell on Steps. Frameworks mean different targets by the same number: `labelsmooth conventions` lists who means which.",
        styles("plain"),
    )
    heads = ("target", "", "", "right class", "wrong class", "sum", "loss", "its floor", "KL")
    for column, title in enumerate(heads):
        sheet.write_string(top + 2, column, title, styles("head" if column > 2 else "head_left"))
    links, numbers = _mean_links(book)
    for line, name in enumerate(SIDE_BY_SIDE):
        row, family = top + 3 + line, FAMILIES[name]
        sheet.write_string(row, 0, name, styles("bold"))
        sheet.write_string(row, FIRST_CLASS + 7, family.says, styles("grey"))
        chain = _convention_line(book, family)
        places = _from_steps(book, "epsilon", "n_classes") | {
            "label_mean": Place("Play", top + 9, FIRST_CLASS, ""),
            "prior_mean": Place("Play", top + 10, FIRST_CLASS, ""),
        }
        places |= {s.word: Place("Play", row, FIRST_CLASS + column, "") for column, s in enumerate(chain.steps)}
        layout = Layout(chain, "Play", 1, 1, places, (), BY_NAME)
        values = evaluate(chain, {**numbers, "epsilon": book.problem.given["epsilon"], "n_classes": book.classes})
        panel = Panel(sheet, layout, values, styles)
        for s in chain.steps:
            panel.write_step(s)
    for line, word in enumerate(("label_mean", "prior_mean")):
        sheet.write_string(
            top + 9 + line,
            0,
            f"{(label_mean, prior_mean)[line].symbol}   {(label_mean, prior_mean)[line].says}",
            styles("grey"),
        )
        sheet.write_formula(top + 9 + line, FIRST_CLASS, links[word], styles("cell"), numbers[word])
    return top + 13


def _convention_line(book: Book, family: Family) -> Chain:
    """On, off, sum, loss, floor and KL of one convention, from the two means on Steps."""
    mine = book.problem.case.family.over
    uniform: Expr = prior_mean if mine == ALL else ((K - 1) * prior_mean + label_mean) / K
    others: Expr = prior_mean if mine == OTHERS else (K * prior_mean - label_mean) / (K - 1)
    off, on, floor = _floor(family, eps, "here")
    mass = step("mass_here", "Σq′", "C", on + (K - 1) * off, "what the target sums to")
    loss = step(
        "loss_here",
        "L",
        "L",
        family.keep(eps, K) * label_mean + family.spread(eps, K) * (uniform if family.over == ALL else others),
        "loss",
    )
    kl = step("kl_here", "KL", "D", loss - floor, "the loss above its floor")
    return (
        Chain(book.problem.case, (on, off, mass, loss, floor, kl))
        if family.over != NOT_PADDING
        else Chain(book.problem.case, (on, off))
    )


def _trap(sheet: Any, book: Book, styles: Styles, top: int) -> int:
    """LOG for LN: the day that the post's author lost."""
    rows = min(book.rows, TRAP_ROWS)
    p, ell, c = (
        book.chain[word] for word in ("softmax", "log_softmax", "charged" if "charged" in book.chain else "target")
    )
    tens = step(
        "log_ten",
        "log₁₀ p",
        r"\log_{10} p",
        where(above(p, 0), log10(p), 0),
        "LOG is base 10",
        block="The trap: LOG where LN is meant",
    )
    wrong = step("wrong_loss", "with LOG", "h_{10}", -total("k", c * tens), "what the sheet shows with LOG")
    right = step("right_loss", "with LN", "h", -total("k", c * ell), "the loss, with LN")
    ratio = step(
        "trap_ratio",
        "ratio",
        "r",
        where(above(absolute(right), 0), wrong / right, 0),
        "every row is 0.4343 = 1/ln 10 of the truth: that is how to know",
    )
    given_places = {v.word: replace(book.layout.places[v.word], rows=rows) for v in (p, ell, c)}
    layout = plan(
        Chain(book.problem.case, (tens, wrong, right, ratio)),
        rows,
        book.classes,
        sheet="Play",
        top=top,
        given=given_places,
        named=BY_NAME,
    )
    numbers = {v.word: book.values[v.word][:rows] for v in (p, ell, c)}
    values = evaluate(layout.chain, numbers)
    Panel(sheet, layout, values, styles, book.problem.row_names[:rows], book.problem.class_names).write()
    return layout.end + 1


def _temperature(workbook: Any, sheet: Any, book: Book, styles: Styles, top: int) -> int:
    """One row of the batch, its logits divided by a temperature."""
    sheet.write_string(top, 0, "row of the batch", styles("bold"))
    sheet.write_number(top, 1, 1, styles("input_whole"))
    sheet.data_validation(top, 1, top, 1, {"validate": "integer", "criteria": "between", "minimum": 1, "maximum": book.rows,
                                           "error_message": f"A row number from 1 to {book.rows}."})  # fmt: skip
    sheet.write_string(
        top,
        FIRST_CLASS,
        "Temperature divides the logits. It changes how sure the prediction is, never the order of the classes, and never the target.",
        styles("plain"),
    )
    at = f"$B${top + 1}"
    c = "charged" if "charged" in book.chain else "target"
    z = "masked_logits" if "masked_logits" in book.chain else "logits"
    links = {
        word: f"=INDEX({book.layout.places[source].area},{at},\0)"
        for word, source in (("chosen_logits", z), ("chosen_target", c), ("chosen_softmax", "softmax"))
    }
    layout = plan(_heated(book), len(TEMPERATURES), book.classes, sheet="Play", top=top + 1, named=BY_NAME)
    numbers = {
        "chosen_logits": book.values[z][0],
        "chosen_target": book.values[c][0],
        "chosen_softmax": book.values["softmax"][0],
        "temperature": TEMPERATURES,
    }
    _panel(sheet, book, styles, layout, numbers, links)
    chart = workbook.add_chart({"type": "column"})
    index = book.layout.places["class_index"]
    names = f"=Steps!$D${index.row + 2}:${letters(FIRST_CLASS + book.classes - 1)}${index.row + 2}"
    for word, colour, title in (("chosen_target", CHART[0], "target q′"), ("chosen_softmax", CHART[1], "prediction p")):
        chart.add_series(
            {"name": title, "categories": names, "values": f"={layout.places[word].area}", "fill": {"color": colour}}
        )
    _dress(chart, "Target and prediction of that row", "class", "probability")
    sheet.insert_chart(
        layout.end + 1,
        0,
        chart,
        {"description": "Smoothed target and predicted probability of each class for the chosen row"},
    )
    return layout.end + 1


def _heated(book: Book) -> Chain:
    """Softmax and loss of one row at each temperature of the table."""
    hot = given("temperature", "T", "T", "n", "temperature: 1 leaves the logits as they are")
    z = given("chosen_logits", "z", "z", "k", "the row's logits")
    c = given("chosen_target", "q′", "q'", "k", "the row's target")
    p = given("chosen_softmax", "p", "p", "k", "the row's prediction at T = 1")
    top = step("chosen_max", "m", "m", largest("k", z), "its largest logit", block="One row under a temperature")
    shown = step("chosen_sum", "Σp", "s", total("k", p), "its probabilities sum to 1")
    e = step(
        "heated_exponential",
        "e",
        "e",
        exp((z - top) / hot),
        "exponentials of the logits over T",
        block="Exponentials at each temperature",
    )
    s = step("heated_sum", "s", "s", total("k", e), "their sum")
    soft = step(
        "heated_softmax",
        "p(T)",
        "p_T",
        e / s,
        "the prediction at that temperature",
        block="Prediction at each temperature",
    )
    ell = step(
        "heated_log",
        "ln p(T)",
        r"\ell_T",
        where(above(soft, 0), (z - top) / hot - log(s), 0),
        "its logarithm",
        block="ln of the prediction, and the loss",
    )
    loss = step("heated_loss", "h(T)", "h_T", -total("k", c * ell), "the row's loss at that temperature")
    return Chain(book.problem.case, (top, shown, e, s, soft, ell, loss))


def _terms_chart(workbook: Any, sheet: Any, book: Book, top: int) -> None:
    """The two shares of each row's loss, stacked."""
    rows = min(book.rows, CHART_ROWS)
    chart = workbook.add_chart({"type": "column", "subtype": "stacked"})
    names = replace(book.layout.places["label_term"], column=0, rows=rows)
    for word, colour, title in (("label_term", CHART[0], "from the label"), ("prior_term", CHART[1], "from the prior")):
        area = replace(book.layout.places[word], rows=rows).area
        chart.add_series(
            {"name": title, "categories": f"={names.area}", "values": f"={area}", "fill": {"color": colour}}
        )
    _dress(
        chart, "What each row's loss is made of" + (f" (first {rows} rows)" if rows < book.rows else ""), "row", "nats"
    )
    sheet.insert_chart(
        top + 1, 8, chart, {"description": "Loss of each row as a stack: the label's share and the prior's share"}
    )


def _dress(chart: Any, title: str, x: str, y: str) -> None:
    chart.set_title({"name": title, "name_font": {"size": 12}})
    chart.set_x_axis({"name": x})
    chart.set_y_axis({"name": y, "major_gridlines": {"visible": True, "line": {"color": "#D9D9D9"}}})
    chart.set_legend({"position": "bottom"})
    chart.set_size({"width": 520, "height": 300})
