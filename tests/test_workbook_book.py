"""What a workbook holds before it is a file: the layout that was chosen, the limits, and the numbers on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, agree
from cases import FIVE_CLASSES, FIVE_LABELS, Example, all_examples
from labelsmooth.maths.compact import compact_chain
from labelsmooth.maths.evaluate import evaluate
from labelsmooth.maths.steps import chain
from labelsmooth.maths.trace import Problem, prepare
from labelsmooth.workbook import book as room
from labelsmooth.workbook.book import (
    FORMULA_LIMIT,
    FULL_LIMIT,
    SHOWN,
    TOP,
    Book,
    finite,
    make_book,
    place_chain,
)
from labelsmooth.workbook.layout import MAX_COLUMNS, MAX_ROWS

NAN, INF = float("nan"), float("inf")


def problem(rows: int = 4, classes: int = 3, **options: Any) -> Problem:
    random = np.random.default_rng(rows * 100 + classes)
    return prepare(random.normal(size=(rows, classes)), random.integers(0, classes, rows), **options)


def formulas(of: Problem, *, compact: bool = False) -> int:
    steps = (compact_chain if compact else chain)(of.case)
    return place_chain(steps, *of.given["logits"].shape).formulas


# The numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["full", "compact"])
def test_every_value_has_the_number_that_the_chain_gives(layout: str) -> None:
    given = problem()
    made = make_book(given, layout=layout)
    expected = evaluate((compact_chain if layout == "compact" else chain)(given.case), given.given)
    assert set(made.values) == set(expected) == {v.word for v in (*made.chain.inputs, *made.chain.steps)}
    for word, numbers in expected.items():
        agree(made.values[word], numbers, budget=0, what=word)
        assert made.values[word].shape == made.layout.places[word].shape
    assert (made.rows, made.classes, made.kind) == (4, 3, layout)


def test_both_layouts_give_the_same_losses() -> None:
    full, compact = (make_book(problem(), layout=layout) for layout in ("full", "compact"))
    for word in ("row_loss", "loss", "label_loss", "prior_loss"):
        agree(compact.values[word], full.values[word], budget=FLOAT64, what=word)


def test_the_post_s_five_animals_give_the_post_s_losses() -> None:
    made = make_book(prepare(FIVE_CLASSES, FIVE_LABELS, 0.1))
    losses = [0.44129216, 1.30485915, 1.45362283, 0.85918351, 0.60188189]
    agree(made.values["row_loss"][:, 0], np.array(losses), budget=1e-8, what="printed with eight digits")


def test_no_place_lies_in_the_head_except_its_own_inputs_and_results() -> None:
    for example in all_examples():
        if example.name.startswith("uniform"):
            made = make_book(example.trace().problem)
            head = {word: place for word, place in made.layout.places.items() if place.row < TOP}
            assert set(head) <= {"epsilon", "n_classes", "n_rows", "ignore_index", "class_index"}
            cells = [place.cell() for place in (*head.values(), *SHOWN.values())]
            assert len(set(cells)) == len(cells)


# Full or compact -----------------------------------------------------------------------------------------------------


def test_the_limits_are_those_that_the_documentation_names() -> None:
    assert (FULL_LIMIT, FORMULA_LIMIT) == (50_000, 500_000)


@pytest.mark.parametrize(("room_left", "kind"), [(0, "full"), (1, "full"), (-1, "compact")])
def test_auto_is_full_up_to_the_limit_and_compact_above(
    room_left: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = problem()
    monkeypatch.setattr(room, "FULL_LIMIT", formulas(given) + room_left)
    assert make_book(given).kind == kind


@pytest.mark.parametrize("layout", ["full", "compact"])
def test_up_to_the_limit_on_formulas_and_not_one_more(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = problem()
    needed = formulas(given, compact=layout == "compact")
    monkeypatch.setattr(room, "FORMULA_LIMIT", needed)
    assert make_book(given, layout=layout).layout.formulas == needed
    monkeypatch.setattr(room, "FORMULA_LIMIT", needed - 1)
    with pytest.raises(ValueError, match=f"^4 rows of 3 classes need {needed} formulas, the limit is {needed - 1}: "):
        make_book(given, layout=layout)


def test_a_real_batch_of_fifty_thousand_formulas_turns_compact() -> None:
    small, large = problem(490, 10), problem(491, 10)
    assert formulas(small) <= 50_000 < formulas(large)
    assert (make_book(small).kind, make_book(large).kind) == ("full", "compact")


def test_beyond_half_a_million_formulas_is_refused_with_the_limit() -> None:
    with pytest.raises(
        ValueError,
        match=r"^110,000 rows of 3 classes need 550,001 formulas, the limit is 500,000: take fewer \(--rows\)$",
    ):
        make_book(problem(110_000, 3))


def test_beyond_the_columns_of_a_sheet_is_refused_with_the_grid() -> None:
    with pytest.raises(ValueError, match=r"17,000 classes need .* columns; a sheet has 1,048,576 and 16,384$") as no:
        make_book(problem(2, 17_000), layout="full")
    assert "\n" not in str(no.value)
    with pytest.raises(ValueError, match="17,000 classes need"):
        make_book(problem(2, 17_000))


@pytest.mark.parametrize("what", ["MAX_ROWS", "MAX_COLUMNS"])
def test_a_sheet_that_fits_exactly_is_taken(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = problem()
    layout = place_chain(chain(given.case), 4, 3)
    # One row is left for the print area, and a student's copy marks the rows two columns to the right.
    needed = layout.end + 1 if what == "MAX_ROWS" else layout.width + 2
    monkeypatch.setattr(room, what, needed)
    make_book(given)
    monkeypatch.setattr(room, what, needed - 1)
    with pytest.raises(ValueError, match="a sheet has"):
        make_book(given)


def test_the_grid_is_that_of_an_xlsx() -> None:
    assert (MAX_ROWS, MAX_COLUMNS) == (2**20, 2**14)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"weight": [1, 2, 3]}, "class weights"),
        ({"class_mask": [1, 1, 1]}, "masked classes"),
        ({"convention": "t5x"}, "KL"),
        ({"convention": "fairseq", "weight": [1, 2, 3]}, "class weights"),
        ({"convention": "others but padding", "ignore_index": 2}, "the target 'others but padding'"),
        ({"class_mask": [1, 1, 1], "weight": [1, 2, 3]}, "class weights, masked classes"),
    ],
)
def test_the_compact_layout_refuses_what_it_cannot_hold(
    options: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = problem(**options)
    message = f"^the compact layout has no room for {reason}: use fewer rows and the full layout$"
    with pytest.raises(ValueError, match=message):
        make_book(given, layout="compact")
    monkeypatch.setattr(room, "FULL_LIMIT", 10)
    with pytest.raises(ValueError, match=message):
        make_book(given)
    assert make_book(given, layout="full").kind == "full"


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^layout must be 'auto', 'full' or 'compact', got 'wide'$"):
        make_book(problem(), layout="wide")


# What a cell cannot hold ---------------------------------------------------------------------------------------------


def test_logits_are_replaced_only_when_asked() -> None:
    z = np.array([[1.0, NAN], [-INF, 2.0]])
    same, says = finite(z, None)
    assert same is z
    assert not says
    filled, says = finite(z, -50.0)
    agree(filled, np.array([[1.0, -50.0], [-50.0, 2.0]]), budget=0, what="replaced")
    assert says == "2 logits were not finite; -50 stands in their place."
    untouched, says = finite(np.ones((2, 2)), -50.0)
    agree(untouched, np.ones((2, 2)), budget=0, what="nothing to replace")
    assert not says


@pytest.mark.parametrize("wrong", [NAN, INF, -INF])
def test_the_replacement_is_finite(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"^replace_nonfinite must be finite, got "):
        finite(np.array([[NAN, 1.0]]), wrong)


@pytest.mark.parametrize("soft", [False, True])
def test_a_row_that_does_not_count_may_hold_anything(soft: bool) -> None:
    z = np.array([[1.0, 2.0], [NAN, INF]])
    given = (
        prepare(z, np.array([[0.5, 0.5], [1.0, 0.0]]), keep=[1, 0])
        if soft
        else prepare(z, [0, -100], ignore_index=-100)
    )
    made = make_book(given, replaced="before")
    agree(made.values["logits"], np.array([[1.0, 2.0], [0.0, 0.0]]), budget=0, what="logits")
    assert made.replaced == "before 2 logits of rows that do not count were not finite; 0 stands in their place."
    assert all(np.isfinite(made.values[s.word]).all() for s in made.chain.steps if s.word != "optimum_gap")
    agree(made.values["loss"], np.array([[made.values["row_loss"][0, 0]]]), budget=0, what="the one row that counts")


def test_a_masked_class_keeps_minus_infinity() -> None:
    made = make_book(prepare([[1.0, -INF, 2.0]], [0], class_mask=[1, 0, 1]))
    assert made.values["logits"][0, 1] == -INF
    assert not made.replaced
    assert np.isfinite(made.values["row_loss"]).all()


def test_a_row_that_counts_is_not_filled() -> None:
    with pytest.raises(ValueError, match=r"the logit of row 1, class 1 is nan: "):
        prepare([[1.0, NAN], [1.0, 2.0]], [0, -100])


@pytest.mark.parametrize(
    "options",
    [
        {"labels": [-100, -100]},
        {"labels": [0, 0], "weight": [0, 1, 1]},
        {"labels": [-100, -100], "weight": [1, 1, 1], "weighting": "nll"},
        {"labels": [0, 1], "logits": [[1.7e308, -1.7e308, 0], [0, 0, 0]], "reduction": "none"},
    ],
)
def test_a_loss_that_no_cell_can_hold_is_refused_in_one_line(options: dict[str, Any]) -> None:
    given = prepare(**{"logits": [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], "label_smoothing": 0.1} | options)
    with pytest.raises(ValueError, match=r"^the loss is (nan|inf), which no cell can hold: no row counts, [^\n]*$"):
        make_book(given)


def test_no_row_counts_is_fine_without_a_mean() -> None:
    made = make_book(prepare([[1.0, 2.0]], [-100], reduction="sum"))
    assert made.values["loss"].item() == 0


# What the file is recognised by --------------------------------------------------------------------------------------


def changed(example: Example, word: str) -> list[Book]:
    """The book with one cell of an input changed, and with two of its cells exchanged."""
    made = make_book(example.trace().problem)
    numbers = made.values[word]
    out = []
    for how in ("changed", "exchanged"):
        other = np.array(numbers)
        flat = other.reshape(-1)
        usable = np.flatnonzero(np.isfinite(flat))
        first, last = usable[0], next((i for i in usable[::-1] if flat[i] != flat[usable[0]]), usable[0])
        if how == "changed":
            flat[first] += 1e-3
        elif first == last:
            continue
        else:
            flat[first], flat[last] = flat[last], flat[first]
        out.append(Book(made.problem, made.layout, {**made.values, word: other}, made.kind))
    return out


def test_the_fingerprint_knows_a_changed_and_an_exchanged_cell_of_every_input() -> None:
    tried: set[str] = set()
    for example in all_examples():
        if not example.name.startswith(("uniform, class/label", "others but padding, unweighted")):
            continue
        before = make_book(example.trace().problem).fingerprint
        assert all(np.isfinite(number) for number in before.values())
        for word in before:
            tried.add(word)
            for book in changed(example, word):
                after = book.fingerprint
                assert {w for w in before if abs(after[w] - before[w]) > 1e-9 * (1 + abs(before[w]))} == {word}
    expected = {"epsilon", "label", "soft_label", "prior", "class_weight", "allowed", "keep", "ignore_index", "logits"}
    assert tried == expected


def test_the_loss_is_a_line_in_epsilon_unless_the_weights_depend_on_it() -> None:
    assert make_book(problem()).linear
    assert make_book(problem(weight=[1, 2, 3])).linear
    assert not make_book(problem(weight=[1, 2, 3], weighting="expected")).linear
    assert not make_book(problem(label_smoothing=[0.1, 0.2, 0.3, 0.4])).linear
