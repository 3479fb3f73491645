"""The Play sheet: what happens if ε, the convention, the temperature or the logarithm were another.

Each section is a small chain of its own (`_play_chains.py`), laid out by the same code as the steps: its formulas are printed,
its cached numbers evaluated, and the recalculation tests reach every cell of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from labelsmooth.maths.conventions import FAMILIES
from labelsmooth.maths.evaluate import evaluate

from ._panel import Panel
from ._play_chains import SMALLEST_LOG, comparable, convention_line, heated, label_mean, over_epsilon, prior_mean, trap
from ._style import CHART, Styles
from .book import Book
from .layout import FIRST_CLASS, Layout, Place, letters, plan

WIDEST = 40  # classes shown on this sheet
TRAP_ROWS = 5
CHART_ROWS = 20
CHART_HEIGHT = 18  # rows of the sheet
NARROWEST = 5  # columns that the text beside a formula takes
EPSILONS = tuple(i / 20 for i in range(21))
TEMPERATURES = (0.25, 0.5, 1.0, 2.0, 4.0)
SIDE_BY_SIDE = ("uniform", "others", "renormalised", "unnormalised")
BY_NAME = frozenset({"epsilon", "n_classes"})
TEMPERATURE_SAYS = (
    "Temperature divides the logits: it changes how sure the prediction is, never its order and never the target."
)
CONVENTION_SAYS = "Frameworks mean different targets by the same ε: `labelsmooth conventions` lists who means which."


@dataclass(frozen=True)
class Sheet:
    """The sheet being written, and what it needs to know."""

    workbook: Any
    sheet: Any
    book: Book
    styles: Styles

    def panel(
        self, layout: Layout, numbers: Mapping[str, Any], *, rows: int = 0, links: Mapping[str, str] | None = None
    ) -> None:
        """Write a layout with its numbers; `rows` of the batch are named."""
        names = self.book.problem.row_names[:rows]
        values = evaluate(layout.chain, numbers)
        Panel(self.sheet, layout, values, self.styles, names, self.book.problem.class_names, links or {}).write()

    def chart(self, kind: dict[str, str], title: str, axes: tuple[str, str], series: list[dict[str, Any]]) -> Any:
        """Make a chart whose axes are named and whose data are cells."""
        chart = self.workbook.add_chart(kind)
        for one in series:
            chart.add_series(one)
        chart.set_title({"name": title, "name_font": {"size": 12}})
        chart.set_x_axis(
            {"name": axes[0]} | ({"min": 0, "max": 1, "num_format": "0.0"} if kind["type"] == "scatter" else {})
        )
        chart.set_y_axis({"name": axes[1], "major_gridlines": {"visible": True, "line": {"color": "#D9D9D9"}}})
        chart.set_legend({"position": "bottom"})
        chart.set_size({"width": 520, "height": 300})
        return chart


def write_play(workbook: Any, sheet: Any, book: Book, styles: Styles) -> None:
    """Write the sections that make sense for this case, one below the other."""
    sheet.write_string(0, 0, "Play: change a yellow cell and watch", styles("title"))
    sheet.set_row(0, 26)
    sheet.set_column(0, 0, 21)
    sheet.set_column(1, 2, 10)
    sheet.set_column(FIRST_CLASS, FIRST_CLASS + max(min(book.classes, WIDEST), 9), 11)
    sheet.set_landscape()
    sheet.fit_to_pages(1, 0)
    this, top = Sheet(workbook, sheet, book, styles), 2
    if book.linear and "loss" in book.chain:
        top = _over_epsilon(this, top)
        if comparable(book.problem.case):
            top = _conventions(this, top)
    if book.kind == "full" and book.classes <= WIDEST:
        _terms_chart(this, top)
        top = max(_trap(this, top), top + CHART_HEIGHT)
        _temperature(this, top)


def _mean_links(book: Book) -> tuple[dict[str, str], dict[str, float]]:
    """Formulas and values of the batch means of the two cross-entropies."""
    case, per, size = book.problem.case, "", 1.0
    if case.reduction == "mean":
        by_weight = case.weighting is not None and case.weighting.divisor == "weights"
        per = "weight_sum" if by_weight else "counted_rows" if "counted_rows" in book.chain else "n_rows"
        size = float(book.values[per].item()) if per in book.values else float(book.rows)
    links, numbers = {}, {}
    for word, rows in (("label_mean", "label_loss"), ("prior_mean", "prior_loss")):
        links[word] = f"=SUM({book.layout.places[rows].area})" + (f"/{per}" if per else "")
        numbers[word] = float(book.values[rows].sum()) / size
    return links, numbers


def _over_epsilon(this: Sheet, top: int) -> int:
    """The loss, and its floor, over ε from 0 to 1, with its chart."""
    book = this.book
    chain = over_epsilon(book.problem.case, with_floor=comparable(book.problem.case))
    places = {"n_classes": book.layout.places["n_classes"]}
    layout = plan(chain, len(EPSILONS), 1, sheet="Play", top=top, given=places, named=BY_NAME)
    links, numbers = _mean_links(book)
    this.panel(layout, {**numbers, "epsilon_tried": EPSILONS, "n_classes": book.classes}, links=links)
    x = f"={layout.places['epsilon_tried'].area}"
    lines = (("loss_tried", CHART[0], "loss"), ("floor_tried", CHART[1], "lowest loss possible"))
    series = [
        {
            "name": title,
            "categories": x,
            "values": f"={layout.places[word].area}",
            "line": {"color": colour, "width": 2.25},
        }
        for word, colour, title in lines
        if word in layout.places
    ]
    axes = ("smoothing ε", "nats")
    chart = this.chart({"type": "scatter", "subtype": "straight"}, "The loss over the smoothing", axes, series)
    says = {"description": "Loss and lowest possible loss against the smoothing from 0 to 1"}
    this.sheet.insert_chart(layout.blocks[0].heading, FIRST_CLASS + NARROWEST + 1, chart, says)
    return layout.end + 1


def _conventions(this: Sheet, top: int) -> int:
    """One line a convention: what its target is, and what the loss would be."""
    book, sheet, styles = this.book, this.sheet, this.styles
    for column in range(9):
        sheet.write_blank(top, column, None, styles("band 1"))
    sheet.write_string(top, 0, "The ε of Steps in other conventions", styles("band 1"))
    sheet.write_string(top + 1, 0, CONVENTION_SAYS, styles("plain"))
    for column, title in enumerate(("target", "", "", "wrong class", "right class", "sum", "loss", "its floor", "KL")):
        sheet.write_string(top + 2, column, title, styles("head" if column >= FIRST_CLASS else "head_left"))
    links, numbers = _mean_links(book)
    means = {word: Place("Play", top + 8 + line, FIRST_CLASS, "") for line, word in enumerate(links)}
    for line, name in enumerate(SIDE_BY_SIDE):
        row, family = top + 3 + line, FAMILIES[name]
        sheet.write_string(row, 0, name, styles("bold"))
        sheet.write_string(row, FIRST_CLASS + 6, family.says, styles("aside"))
        chain = convention_line(book.problem.case, family)
        places = {word: book.layout.places[word] for word in ("epsilon", "n_classes")} | means
        places |= {s.word: Place("Play", row, FIRST_CLASS + column, "") for column, s in enumerate(chain.steps)}
        values = evaluate(chain, {**numbers, "epsilon": book.problem.given["epsilon"], "n_classes": book.classes})
        panel = Panel(sheet, Layout(chain, "Play", 1, 1, places, (), BY_NAME), values, styles)
        for s in chain.steps:
            panel.write_step(s)
    for mean in (label_mean, prior_mean):
        sheet.write_string(means[mean.word].row, 0, f"{mean.symbol}   {mean.word.replace('_', ' ')}", styles("bold"))
        sheet.write_formula(means[mean.word].row, FIRST_CLASS, links[mean.word], styles("cell"), numbers[mean.word])
        sheet.write_string(means[mean.word].row, FIRST_CLASS + 1, mean.says, styles("aside"))
    return top + 11


def _trap(this: Sheet, top: int) -> int:
    """LOG for LN: the day that the post's author lost."""
    book, rows = this.book, min(this.book.rows, TRAP_ROWS)
    if book.values["log_softmax"][:rows].min() <= SMALLEST_LOG:
        return top  # with a p that LOG cannot take, the ratio would not be 0.4343
    chain = trap(book.chain)
    places = {v.word: replace(book.layout.places[v.word], rows=rows) for v in chain.inputs}
    layout = plan(chain, rows, book.classes, sheet="Play", top=top, given=places, named=BY_NAME)
    this.panel(layout, {v.word: book.values[v.word][:rows] for v in chain.inputs}, rows=rows)
    return layout.end + 1


def _temperature(this: Sheet, top: int) -> int:
    """One row of the batch, its logits divided by a temperature."""
    book, sheet, styles = this.book, this.sheet, this.styles
    sheet.write_string(top, 0, "row of the batch", styles("bold"))
    sheet.write_number(top, 1, 1, styles("input_whole"))
    message = f"A row number from 1 to {book.rows}."
    rule = {"validate": "integer", "criteria": "between", "minimum": 1, "maximum": book.rows, "error_message": message}
    sheet.data_validation(top, 1, top, 1, rule)
    sheet.write_string(top, FIRST_CLASS, TEMPERATURE_SAYS, styles("plain"))
    sources = {
        "chosen_logits": "masked_logits" if "masked_logits" in book.chain else "logits",
        "chosen_target": "charged" if "charged" in book.chain else "target",
    }
    at = f"$B${top + 1}"
    if "allowed" in book.chain:
        sources["chosen_allowed"] = "allowed"
    links = {
        word: f"=INDEX({book.layout.places[source].area},{at if 'n' in book.chain[source].axes else 1},\0)"
        for word, source in sources.items()
    }
    layout = plan(heated(book.problem.case), len(TEMPERATURES), book.classes, sheet="Play", top=top + 1, named=BY_NAME)
    chosen = {word: book.values[source][0] for word, source in sources.items()}
    this.panel(layout, {**chosen, "temperature": TEMPERATURES}, links=links)
    index, predicted = book.layout.places["class_index"], layout.places["heated_softmax"]
    names = f"=Steps!$D${index.row + 2}:${letters(FIRST_CLASS + book.classes - 1)}${index.row + 2}"
    once = replace(predicted, row=predicted.row + TEMPERATURES.index(1.0), axes="k").area
    series = [
        {"name": title, "categories": names, "values": f"={area}", "fill": {"color": colour}}
        for title, area, colour in (
            ("target q′", layout.places["chosen_target"].area, CHART[0]),
            ("prediction p at T = 1", once, CHART[1]),
        )
    ]
    chart = this.chart({"type": "column"}, "Target and prediction of that row", ("class", "probability"), series)
    says = {"description": "Smoothed target and predicted probability of each class for the chosen row"}
    sheet.insert_chart(layout.blocks[0].heading, _beside(book, 2), chart, says)
    return layout.end + 1


def _terms_chart(this: Sheet, top: int) -> None:
    """The two shares of each row's loss, stacked."""
    book, rows = this.book, min(this.book.rows, CHART_ROWS)
    names = replace(book.layout.places["label_term"], column=0, rows=rows).area
    series = [
        {
            "name": title,
            "categories": f"={names}",
            "values": f"={replace(book.layout.places[word], rows=rows).area}",
            "fill": {"color": colour},
        }
        for word, colour, title in (
            ("label_term", CHART[0], "from the label"),
            ("prior_term", CHART[1], "from what ε is spread over"),
        )
    ]
    title = "What each row's loss is made of" + (f" (first {rows} rows)" if rows < book.rows else "")
    chart = this.chart({"type": "column", "subtype": "stacked"}, title, ("row", "nats"), series)
    says = {"description": "Loss of each row as a stack: the label's share and the prior's share"}
    this.sheet.insert_chart(top + 1, _beside(book, 3), chart, says)


def _beside(book: Book, after: int) -> int:
    """The column of a chart: to the right of the classes and of the columns `after` them."""
    return FIRST_CLASS + max(book.classes + after, NARROWEST + 1)
