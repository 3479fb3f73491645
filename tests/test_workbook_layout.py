"""Where each step stands follows from the axes in its name, and each cell's formula from where the steps stand."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from cases import SOFTMAX_FAMILIES, all_examples
from labelsmooth.maths.case import Case, Chain, leaves
from labelsmooth.maths.compact import compact_chain
from labelsmooth.maths.conventions import FAMILIES, WEIGHTINGS
from labelsmooth.maths.expr import Named, given, step, total
from labelsmooth.maths.steps import chain
from labelsmooth.workbook.book import place_chain
from labelsmooth.workbook.layout import FIRST_CLASS, LABEL_COLUMN, Layout, Place, letters, moved, plan

CASES = {
    "plain": Case(),
    "as the post": Case(as_post=True),
    "weights": Case(weighting=WEIGHTINGS["class/label"]),
    "everything": Case(prior="nk", smoothing="n", mask="nk", ignored=True, weighting=WEIGHTINGS["nll"]),
    "soft": Case(soft=True, prior="k", mask="k", divergence="kl"),
    "others, sum": Case(family=FAMILIES["others"], reduction="sum"),
    "no reduction": Case(reduction="none"),
}


@pytest.fixture(params=CASES)
def layout(request: pytest.FixtureRequest) -> Layout:
    """Give the Steps sheet of 4 rows and 3 classes for one case after the other."""
    return place_chain(chain(CASES[request.param]), 4, 3)


def area(place: Place) -> set[tuple[int, int]]:
    """The cells of a place, counted without its own shape."""
    rows = place.rows if "n" in place.axes else 1
    columns = place.classes if "k" in place.axes else 1
    return {(place.row + n, place.column + k) for n in range(rows) for k in range(columns)}


# Addresses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "name"), [(0, "A"), (25, "Z"), (26, "AA"), (51, "AZ"), (52, "BA"), (701, "ZZ"), (702, "AAA")]
)
def test_columns_are_counted_in_letters(column: int, name: str) -> None:
    assert letters(column) == name


def test_the_last_column_of_a_sheet_is_xfd() -> None:
    assert letters(16_383) == "XFD"


@pytest.mark.parametrize(
    ("axes", "shape", "cell", "covers"),
    [
        ("nk", (4, 3), "F12", "Steps!$D$10:$F$13"),
        ("n", (4, 1), "D12", "Steps!$D$10:$D$13"),
        ("k", (1, 3), "F10", "Steps!$D$10:$F$10"),
        ("", (1, 1), "D10", "Steps!$D$10"),
    ],
)
def test_axes_make_a_block_a_column_a_row_or_a_cell(axes: str, shape: tuple[int, int], cell: str, covers: str) -> None:
    place = Place("Steps", 9, 3, axes, rows=4, classes=3)
    assert (place.shape, place.cell(2, 2), place.area) == (shape, cell, covers)


def test_one_row_or_one_class_is_no_range() -> None:
    assert Place("Steps", 9, 3, "nk", rows=1, classes=1).area == "Steps!$D$10"


# Where the steps stand -----------------------------------------------------------------------------------------------


def test_every_value_of_the_chain_has_a_place_with_its_axes(layout: Layout) -> None:
    values = (*layout.chain.inputs, *layout.chain.steps)
    assert {v.word for v in values} <= set(layout.places)
    assert {v.word: v.axes for v in values} == {v.word: layout.places[v.word].axes for v in values}


def test_no_two_values_share_a_cell(layout: Layout) -> None:
    taken: dict[tuple[int, int], str] = {}
    for word, place in layout.places.items():
        for cell in area(place):
            assert cell not in taken, f"{word} and {taken[cell]} in {cell}"
            taken[cell] = word


def test_no_value_stands_in_a_title_a_description_or_a_heading(layout: Layout) -> None:
    cells = {cell for place in layout.places.values() for cell in area(place)}
    for block in layout.blocks:
        words = len(block.values) + len(block.below)
        assert block.heading == block.top + 1 + words
        assert not {row for row, _ in cells} & set(range(block.top, block.heading + 1))


def test_blocks_are_stacked_downward_in_the_order_of_the_chain(layout: Layout) -> None:
    tops = [block.top for block in layout.blocks]
    ends = [block.end for block in layout.blocks]
    assert all(end < top for end, top in zip(ends[:-1], tops[1:], strict=True))
    assert [block.number for block in layout.blocks] == list(range(1, len(layout.blocks) + 1))
    order = [v.word for block in layout.blocks for v in (*block.values, *block.below) if v.formula is not None]
    first = {block: min(order.index(v.word) for v in values) for block, values in _computed(layout).items()}
    assert list(first.values()) == sorted(first.values())
    assert sorted(order) == sorted(s.word for s in layout.chain.steps)
    assert layout.end == ends[-1]


def _computed(layout: Layout) -> dict[int, list[Named]]:
    blocks = {b.number: [v for v in (*b.values, *b.below) if v.formula is not None] for b in layout.blocks}
    return {number: values for number, values in blocks.items() if values}


def test_classes_start_in_the_same_column_in_every_block(layout: Layout) -> None:
    columns = [layout.places[s.word].column for s in layout.chain.steps if "k" in s.axes]
    assert set(columns) == {FIRST_CLASS}
    assert layout.places["class_index"].column == layout.places["logits"].column == FIRST_CLASS


def test_rows_of_the_batch_are_rows_of_every_block(layout: Layout) -> None:
    for block in layout.blocks:
        for value in block.values:
            place = layout.places[value.word]
            assert place.row == block.first
            assert place.column >= FIRST_CLASS or value.word == "label"


def test_what_a_block_adds_per_row_stands_to_its_right_and_one_number_below() -> None:
    layout = place_chain(chain(), 4, 3)
    maximum, logits, loss = (layout.places[word] for word in ("row_max", "logits", "loss"))
    assert (maximum.row, maximum.column) == (logits.row, FIRST_CLASS + 3)
    assert (loss.row, loss.column) == (layout.places["row_loss"].row + 4, FIRST_CLASS)


def test_an_input_stands_in_front_of_the_first_step_that_uses_it(layout: Layout) -> None:
    blocks = {v.word: b.number for b in layout.blocks for v in (*b.values, *b.below)}
    for block in layout.blocks:
        for value in (*block.values, *block.below):
            if value.formula is not None:
                assert all(blocks.get(word, 0) <= block.number for word in _reads(value))


def _reads(value: Named) -> set[str]:
    return {leaf.word for leaf in leaves(value.formula)}


def test_labels_stand_beside_the_rows_names() -> None:
    assert place_chain(chain(), 4, 3).places["label"].column == LABEL_COLUMN


def test_the_width_reaches_the_last_column(layout: Layout) -> None:
    last = max(column for place in layout.places.values() for _, column in area(place))
    assert layout.width == last + 1


def test_a_new_step_needs_no_line_in_the_layout() -> None:
    base = chain()
    doubled = step("doubled", "2p", "2p", base["softmax"] * 2, "twice the prediction", block="Twice")
    weight = given("own_input", "o", "o", "n", "an input of its own")
    whole = step("whole", "Σ", "S", total("n", weight), "its sum")
    layout = place_chain(Chain(Case(), (*base.steps, doubled, whole)), 4, 3)
    assert layout.places["doubled"].shape == (4, 3)
    assert layout.formula(doubled, 2, 1) == layout.places["softmax"].cell(2, 1) + "*2"
    place = layout.places["own_input"]
    assert layout.formula(whole) == f"SUM({place.cell(0)}:{place.cell(3)})"
    assert layout.formulas == place_chain(base, 4, 3).formulas + 12 + 1


def test_moved_steps_keep_their_addresses_and_the_inputs_stay(layout: Layout) -> None:
    away = moved(layout, "Answers")
    steps = {s.word for s in layout.chain.steps}
    for word, place in layout.places.items():
        assert away.places[word] == (replace(place, sheet="Answers") if word in steps else place)


# Formulas ------------------------------------------------------------------------------------------------------------

PLAIN = {
    "one_hot": "IF(D$5=$B11,1,0)",
    "target": "(1-epsilon)*D11+epsilon/n_classes",
    "row_max": "MAX(D30:H30)",
    "exponential": "EXP(D30-$I30)",
    "exponential_sum": "SUM(D40:H40)",
    "softmax": "D40/$I40",
    "log_softmax": "D30-$I30-LN($I40)",
    "row_loss": "-SUMPRODUCT(D20:H20,D58:H58)",
    "loss": "SUM(D68:D72)/n_rows",
    "label_loss": "-SUMPRODUCT(D11:H11,D58:H58)",
    "prior_loss": "-(SUM(D58:H58)/n_classes)",
    "label_term": "(1-epsilon)*$D83",
    "prior_term": "epsilon*$E83",
    "mixture": "$F83+$G83",
    "mixture_gap": "ABS($H83-$D68)",
    "target_log": "IF(D20>0,LN(D20),0)",
    "row_floor": "-SUMPRODUCT(D20:H20,D96:H96)",
    "row_excess": "$D68-$I96",
    "loss_floor": "SUM(I96:I100)/n_rows",
    "loss_excess": "loss-loss_floor",
    "off": "epsilon/n_classes",
    "on": "1-epsilon+off",
    "optimum_gap": "IF(off>0,IF(on>0,LN(on/off),-9.99E+307),9.99E+307)",
    "gradient": "(D49-D20)/n_rows",
}


def test_the_plain_case_says_only_what_it_needs() -> None:
    layout = place_chain(chain(), 5, 5)
    said = {s.word: layout.formula(s) for s in layout.chain.steps}
    assert said == PLAIN


def test_formulas_of_other_rows_and_classes_are_moved_and_their_fixed_parts_are_not() -> None:
    layout = place_chain(chain(), 5, 5)
    steps = layout.chain
    assert layout.formula(steps["one_hot"], 4, 3) == "IF(G$5=$B15,1,0)"
    assert layout.formula(steps["target"], 4, 3) == "(1-epsilon)*G15+epsilon/n_classes"
    assert layout.formula(steps["exponential"], 4, 3) == "EXP(G34-$I34)"
    assert layout.formula(steps["row_loss"], 4) == "-SUMPRODUCT(D24:H24,D62:H62)"
    assert layout.formula(steps["gradient"], 4, 3) == "(G53-G24)/n_rows"


def test_only_weights_bring_the_charged_mass() -> None:
    plain, weighted = chain(), chain(CASES["weights"])
    assert "charged" not in plain
    layout = place_chain(weighted, 5, 5)
    charged, logs, weight = (layout.places[word] for word in ("charged", "log_softmax", "class_weight"))
    loss = layout.formula(weighted["row_loss"])
    assert loss == f"-SUMPRODUCT({charged.cell()}:{charged.cell(0, 4)},{logs.cell()}:{logs.cell(0, 4)})"
    target = layout.places["target"].cell()
    assert layout.formula(weighted["charged"]) == f"{target}*D${weight.row + 1}"
    assert layout.formula(weighted["charged"], 3, 2) == f"{layout.places['target'].cell(3, 2)}*F${weight.row + 1}"
    assert layout.formula(weighted["loss"]).endswith("/weight_sum")


def test_a_smoothing_for_each_row_is_read_in_its_row() -> None:
    layout = place_chain(chain(Case(smoothing="n")), 5, 5)
    at = layout.places["epsilon"]
    target = layout.formula(layout.chain["target"], 2, 1)
    assert target == f"(1-${at.cell(2)})*E13+${at.cell(2)}/n_classes"


def test_the_compact_layout_takes_five_formulas_a_row() -> None:
    layout = place_chain(compact_chain(Case()), 5, 5)
    said = {s.word: layout.formula(s) for s in layout.chain.steps}
    z, top = layout.places["logits"], layout.places["row_max"]
    row = f"{z.cell()}:{z.cell(0, 4)}"
    assert said["log_sum_exp"] == f"${top.cell()}+LN(SUMPRODUCT(EXP({row}-${top.cell()})))"
    assert said["label_loss"] == f"${layout.places['log_sum_exp'].cell()}-INDEX({row},1,$B{z.row + 1}+1)"
    assert layout.formulas == 5 * 5 + 1


def test_cells_are_the_formulas_one_by_one(layout: Layout) -> None:
    for line in layout.chain.steps:
        place = layout.places[line.word]
        cells = list(layout.cells(line))
        assert [(n, k) for _, _, n, k, _ in cells] == list(np.ndindex(place.shape))
        for row, column, n, k, formula in cells:
            assert f"{letters(column)}{row + 1}" == place.cell(n, k)
            assert formula == layout.formula(line, n, k)


def test_formulas_counts_the_cells_that_hold_one(layout: Layout) -> None:
    assert layout.formulas == sum(len(list(layout.cells(s))) for s in layout.chain.steps)


def test_a_formula_reads_the_cells_of_the_values_in_it_and_no_others(layout: Layout) -> None:
    owner = {(r, c): word for word, place in layout.places.items() for r, c in area(place)}
    for line in layout.chain.steps:
        reads = _reads(line)
        for _, _, _, _, formula in layout.cells(line):
            cells = re.findall(r"(?<![\w.])\$?([A-Z]{1,3})\$?(\d+)(?![\w(])", formula)
            found = {owner[int(row) - 1, _column(column)] for column, row in cells}
            assert found <= reads
            by_name = {word for word in reads if re.search(rf"(?<![\w.!]){word}(?![\w(])", formula)}
            assert found | by_name == reads
            assert by_name <= layout.names


def _column(name: str) -> int:
    number = 0
    for letter in name:
        number = number * 26 + ord(letter) - 64
    return number - 1


def test_an_input_has_no_formula() -> None:
    layout = place_chain(chain(), 5, 5)
    with pytest.raises(ValueError, match="'logits' is an input and has no formula"):
        layout.formula(layout.chain["logits"])


def test_a_layout_on_another_sheet_names_the_sheet_it_reads() -> None:
    base = place_chain(chain(), 5, 5)
    twice = step("twice", "2h", "2h", base.chain["row_loss"] * 2, "twice the loss")
    layout = plan(Chain(Case(), (twice,)), 5, 1, sheet="Play", top=2, given=base.places, named=frozenset())
    assert layout.formula(twice, 1) == f"Steps!${base.places['row_loss'].cell(1)}*2"
    assert layout.places["twice"].area.startswith("Play!")


# For every case that there is ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_case_of_every_family_finds_its_place() -> None:
    seen = set()
    for example in all_examples():
        steps = chain(example.case())
        if steps.case in seen:
            continue
        seen.add(steps.case)
        layout = place_chain(steps, 3, 4)
        cells = [cell for place in layout.places.values() for cell in area(place)]
        assert len(cells) == len(set(cells)), example.name
        for line in steps.steps:
            assert "\0" not in layout.formula(line, 0, 0), example.name
    assert len(seen) > len(SOFTMAX_FAMILIES)


def test_the_blocks_of_the_post_come_in_the_order_of_the_post() -> None:
    layout = place_chain(chain(Case(as_post=True)), 5, 2)
    assert [(b.number, b.title) for b in layout.blocks][:5] == [
        (1, "The label, one-hot"),
        (2, "The smoothed target"),
        (3, "The logits: what the model says"),
        (4, "Exponentials, as they stand"),
        (5, "Softmax, from the exponentials as they stand"),
    ]
