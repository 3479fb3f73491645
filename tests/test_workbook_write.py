"""The file: its formulas give the chain's numbers, it holds nothing that a stranger's text could start, and it is whole.

The engine runs inside the test's process here, because a hundred processes would cost a minute; the poison and the proof
of `recalculate` are the same. `test_workbook_write_engines.py` runs the engines as users do.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

pytest.importorskip("xlsxwriter")

from agree import FLOAT64, agree
from cases import (
    MEANINGS,
    QUICK_MEANINGS,
    SOFTMAX_FAMILIES,
    TWO_CLASSES,
    TWO_LABELS,
    Example,
    all_examples,
    examples,
    one_in,
    slow_except,
)
from labelsmooth.errors import InputError
from labelsmooth.maths.conventions import FAMILIES
from labelsmooth.maths.steps import chain
from labelsmooth.maths.trace import Problem, prepare, trace
from labelsmooth.parity.compare import compare_steps, difference
from labelsmooth.workbook import write
from labelsmooth.workbook._package import split_reference, worksheet_parts
from labelsmooth.workbook._style import _STYLES, BANDS, INK
from labelsmooth.workbook.book import Book, TorchRows, make_book, place_chain
from labelsmooth.workbook.layout import Place, letters
from labelsmooth.workbook.recalc import Recalculation, recalculate
from labelsmooth.workbook.write import LONGEST_TEXT, SHEETS, STUDENT_SHEETS, save, write_workbook

XML = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
NAN, INF = float("nan"), float("inf")

# The only functions that stand in a workbook of ours: every spreadsheet program has them. LOG stands on Play alone.
FUNCTIONS = {"ABS", "AND", "AVERAGE", "COLUMNS", "COUNT", "EXP", "IF", "INDEX", "LN", "LOG", "MAX", "MIN", "OR", "ROWS",
             "SUM", "SUMPRODUCT"}  # fmt: skip


# Writing and reading -------------------------------------------------------------------------------------------------


def stand_in(book: Book) -> TorchRows:
    """PyTorch's numbers as they would be if it agreed to the last bit, so that its sheet is full without PyTorch."""
    label, prior, rows = (book.values[word][:, 0] for word in ("label_loss", "prior_loss", "row_loss"))
    return TorchRows("0", "stand-in", label, prior, rows, rows.astype(np.float32).astype(np.float64), 0.0)


def written(problem: Problem, path: Path, *, layout: str = "auto", blank: bool = False) -> Book:
    """Write a problem with a full PyTorch sheet, and give its book."""
    book = make_book(problem, layout=layout)
    book = replace(book, torch=stand_in(book))
    save(book, path, blank=blank, force=True)
    return book


@dataclass(frozen=True)
class Cell:
    """One cell as it stands in the file."""

    formula: str | None
    kind: str
    stored: str | None
    style: int


def sheet_xml(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(part).decode() for name, part in worksheet_parts(archive).items()}


def part(path: Path, name: str) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name).decode()


def cells(path: Path) -> dict[str, dict[str, Cell]]:
    return {name: dict(_cells(xml)) for name, xml in sheet_xml(path).items()}


def _cells(xml: str) -> Iterator[tuple[str, Cell]]:
    for cell in ET.fromstring(xml).iter(f"{XML}c"):  # noqa: S314  a file of our own
        formula, stored = cell.find(f"{XML}f"), cell.find(f"{XML}v")
        assert formula is None or not formula.attrib, "an array or shared formula"
        yield (
            str(cell.get("r")),
            Cell(
                None if formula is None else str(formula.text),
                cell.get("t", "n"),
                None if stored is None else stored.text,
                int(cell.get("s", "0")),
            ),
        )


def formulas(path: Path) -> dict[str, dict[str, str]]:
    return {
        sheet: {where: cell.formula for where, cell in found.items() if cell.formula is not None}
        for sheet, found in cells(path).items()
    }


def wrong_cells(path: Path, done: Recalculation, *, budget: float = FLOAT64) -> list[str]:
    """The formula cells whose recalculated value is not the cached one, and every verdict that is not a good one."""
    found, wrong = cells(path), []
    for sheet, values in done.values.items():
        for where, came in values.items():
            cell = found[sheet][where]
            if cell.kind == "n":
                apart = not difference(came, float(str(cell.stored))) <= budget
            else:
                apart = cell.kind != "str" or came != cell.stored or came == "CHECK"
            if apart:
                wrong.append(f"{sheet}!{where} ={cell.formula}: {came!r} and not {cell.stored!r}")
    assert done.formulas == sum(len(f) for f in formulas(path).values()) > 40
    return wrong


def disagreeing(book: Book, done: Recalculation) -> list[str]:
    return [step.word for step in compare_steps(book, done) if not step.agrees]


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Book]]:
    """Give a workbook of each sort, to look at and not to change."""
    folder = tmp_path_factory.mktemp("gallery")
    random = np.random.default_rng(8)
    weights: dict[str, Any] = {"weight": [1.0, 2.0, 0.5, 1.5, 3.0]}
    soft = random.dirichlet(np.ones(5), 4)
    kinds: dict[str, tuple[Problem, dict[str, Any]]] = {
        "post": (prepare(TWO_CLASSES, TWO_LABELS, 0.1, class_names=["cat", "dog"]), {}),
        "weights": (prepare(random.normal(size=(30, 5)), random.integers(0, 5, 30), 0.1, **weights), {}),
        "ignored": (prepare(random.normal(size=(4, 5)), [0, 3, -100, 1], 0.0, **weights, weighting="nll"), {}),
        "mask": (next(e for e in examples(FAMILIES["uniform"], "label") if "mask a row" in e.name).trace().problem, {}),
        "soft": (prepare(random.normal(size=(4, 5)), soft, [0, 0.1, 0.3, 1], prior=soft, keep=[1, 1, 0, 1]), {}),
        "kl": (prepare(random.normal(size=(4, 12)), [0, 3, 4, 1], 0.2, convention="t5x", reduction="sum"), {}),
        "padding": (prepare(random.normal(size=(4, 5)), [0, 4, 2, 1], 0.1, convention="joeynmt", ignore_index=4), {}),
        "none": (prepare(random.normal(size=(4, 50)), [0, 3, 4, 1], 1.0, reduction="none"), {}),
        "compact": (prepare(random.normal(size=(6, 5)), [0, 1, 2, 3, 4, 0], 0.1), {"layout": "compact"}),
        "student": (prepare(TWO_CLASSES, TWO_LABELS, 0.1), {"blank": True}),
    }
    return {
        name: (folder / f"{name}.xlsx", written(problem, folder / f"{name}.xlsx", **options))
        for name, (problem, options) in kinds.items()
    }


# Every cell gives the chain's number -----------------------------------------------------------------------------------


def a_fifth(meaning: str) -> list[Example]:
    """Of every family's examples for a meaning of weights one in five, so that all pairs of things are met."""
    return [
        example
        for i, family in enumerate(SOFTMAX_FAMILIES)
        for k, example in enumerate(examples(FAMILIES[family], meaning))
        if (i + k + MEANINGS.index(meaning)) % 5 == 0
    ]


def test_a_fifth_of_the_examples_meets_every_family_and_every_kind() -> None:
    chosen = [example.name.split(", ", 2) for meaning in MEANINGS for example in a_fifth(meaning)]
    every = [example.name.split(", ", 2) for example in all_examples()]
    for column in range(3):
        assert {name[column] for name in chosen} == {name[column] for name in every}
    assert len(chosen) > len(every) / 6


@pytest.mark.usefixtures("ironcalc_here")
@pytest.mark.parametrize("meaning", slow_except(QUICK_MEANINGS, MEANINGS))
def test_every_cell_of_every_kind_of_batch_gives_its_cached_number(meaning: str, tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    for example in a_fifth(meaning):
        book = written(example.trace().problem, path)
        done = recalculate(path)
        assert wrong_cells(path, done) == [], example.name
        assert disagreeing(book, done) == [], example.name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "meaning", "kind"),
    [
        ("uniform", "class/label", "soft, one smoothing a row, prior a row, mask, ignored row"),
        ("renormalised", "nll", "mask a row, prior"),
        ("others but padding", "kl", "ignored row"),
        ("others", "expected", "one smoothing a row"),
    ],
)
def test_libreoffice_agrees_on_the_cases_with_most_in_them(
    family: str, meaning: str, kind: str, soffice: str, tmp_path: Path
) -> None:
    assert soffice
    (example,) = [e for e in examples(FAMILIES[family], meaning) if e.name.endswith(f", {kind}")][-1:]
    book = written(example.trace().problem, tmp_path / "book.xlsx")
    done = recalculate(tmp_path / "book.xlsx", engine="libreoffice")
    assert wrong_cells(tmp_path / "book.xlsx", done) == []
    assert disagreeing(book, done) == []


SIZES = {"wide": (10, 40), "long": (60, 2), "one row": (1, 3), "thousands apart": (12, 12)}


@pytest.mark.usefixtures("ironcalc_here")
@pytest.mark.parametrize("size", one_in(2, SIZES))
@pytest.mark.parametrize("layout", ["full", "compact"])
def test_sizes_and_large_logits_agree(size: str, layout: str, tmp_path: Path) -> None:
    rows, classes = SIZES[size]
    random = np.random.default_rng(rows)
    scale = 3000 if size == "thousands apart" else 3
    problem = prepare(random.normal(size=(rows, classes)) * scale, random.integers(0, classes, rows), 0.1)
    book = written(problem, tmp_path / "book.xlsx", layout=layout)
    done = recalculate(tmp_path / "book.xlsx")
    # A difference of two numbers is known to the rounding of the numbers, here 1e4; everything else to its own.
    wrong = wrong_cells(tmp_path / "book.xlsx", done)
    if scale > 3 and layout == "full":
        gap = book.layout.places["mixture_gap"]
        rounding = {f"Steps!{gap.cell(n)} " for n in range(rows)}
        rounding |= {f"Checks!{c} " for c, cell in cells(tmp_path / "book.xlsx")["Checks"].items()
                     if cell.formula == f"MAX({gap.area})"}  # fmt: skip
        assert float(book.values["mixture_gap"].max()) < FLOAT64 * float(book.values["row_loss"].max())
        wrong = [cell for cell in wrong if not cell.startswith(tuple(rounding))]
    assert wrong == []
    assert set(disagreeing(book, done)) <= ({"mixture_gap"} if scale > 3 else set())


@pytest.mark.usefixtures("ironcalc_here")
def test_the_trap_shows_its_ratio_also_where_p_is_tiny(tmp_path: Path) -> None:
    book = written(prepare([[40.0, 0.0, 1.0], [0.0, 600.0, 1.0]], [1, 0], 0.1), tmp_path / "book.xlsx")
    done = recalculate(tmp_path / "book.xlsx")
    assert wrong_cells(tmp_path / "book.xlsx", done) == []
    at = next(
        cell for cell, formula in formulas(tmp_path / "book.xlsx")["Play"].items() if formula.startswith("IF(ABS(")
    )
    column, row = at.rstrip("0123456789"), int(at.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    ratios = [done.values["Play"][f"{column}{row + n}"] for n in range(book.rows)]
    agree(ratios, [1 / np.log(10)] * 2, budget=FLOAT64, what="LOG over LN")


@pytest.mark.usefixtures("ironcalc_here")
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_a_class_far_behind_keeps_its_logarithm_at_every_temperature(epsilon: float, tmp_path: Path) -> None:
    problem = prepare([[0.0, -745.0, 1e4], [40.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [1, 0, 2], epsilon)
    book = written(problem, tmp_path / "book.xlsx")
    done = recalculate(tmp_path / "book.xlsx")
    assert wrong_cells(tmp_path / "book.xlsx", done) == []
    # At T = 1 the row of Play is the row of Steps, though its p is 0 for two of three classes.
    place = book.layout.places["row_loss"]
    assert done.values["Steps"][place.cell(0)] in list(done.values["Play"].values())


def test_the_trap_is_shown_only_where_log_can_be_taken_of_p(tmp_path: Path) -> None:
    for gap, there in ((40, True), (800, False)):
        save(make_book(prepare([[gap, 0.0]], [0], 0.1)), tmp_path / "book.xlsx", force=True)
        assert ("LOG" in functions(formulas(tmp_path / "book.xlsx")["Play"].values())) is there


# A changed cell ------------------------------------------------------------------------------------------------------

CHANGING = {
    "plain": ("uniform", "", "plain"),
    "weights and a prior a row": ("uniform", "class/label", "prior a row"),
    "KL": ("others", "kl", "plain"),
    "mask": ("renormalised", "nll/N", "mask"),
    "padding": ("others but padding", "", "ignored row"),
    "soft": ("uniform", "", "soft"),
}


def chosen(name: str) -> Example:
    family, meaning, kind = CHANGING[name]
    return next(e for e in examples(FAMILIES[family], meaning) if e.name.endswith(f", {kind}"))


def verdicts(done: Recalculation) -> set[Any]:
    return {value for value in done.values["PyTorch"].values() if isinstance(value, str)}


@pytest.mark.usefixtures("ironcalc_here")
@pytest.mark.parametrize("name", CHANGING)
def test_another_epsilon_gives_the_loss_at_that_epsilon(name: str, tmp_path: Path) -> None:
    example, path = chosen(name), tmp_path / "book.xlsx"
    written(example.trace().problem, path)
    for epsilon in (0.0, 0.3, 1.0):
        done = recalculate(path, changes={"Steps!B2": epsilon})
        there = make_book(example.trace(label_smoothing=epsilon).problem)
        assert disagreeing(there, done) == []
        agree(done.values["Steps"]["E2"], there.values["loss"].item(), budget=FLOAT64, what="the loss in the head")
        assert done.values["Read me"]["A5"] == done.values["Steps"]["E2"]
        assert verdicts(done) == {"ok"}
        assert done.values["Checks"]["B2"] == "ok"


@pytest.mark.usefixtures("ironcalc_here")
@pytest.mark.parametrize("name", CHANGING)
def test_another_logit_gives_its_loss_and_turns_pytorch_grey_and_never_red(name: str, tmp_path: Path) -> None:
    example, path = chosen(name), tmp_path / "book.xlsx"
    book = written(example.trace().problem, path)
    logits = np.array(book.problem.given["logits"])
    logits[1, 0] = 2.75
    done = recalculate(path, changes={f"Steps!{book.layout.places['logits'].cell(1, 0)}": 2.75})
    there = make_book(replace(book.problem, given={**book.problem.given, "logits": logits}))
    assert disagreeing(there, done) == []
    assert (verdicts(done), done.values["Checks"]["B2"]) == ({"inputs changed"}, "ok")
    assert done.values["Read me"]["A7"] == "ok"


@pytest.mark.usefixtures("ironcalc_here")
@pytest.mark.parametrize("word", ["label", "class_weight", "prior", "allowed"])
def test_another_label_weight_prior_or_mask_gives_its_loss_too(word: str, tmp_path: Path) -> None:
    example = next(e for e in examples(FAMILIES["uniform"], "label/N") if e.name.endswith("mask a row, prior"))
    book = written(example.trace().problem, tmp_path / "book.xlsx")
    at, numbers = book.layout.places[word], np.array(book.values[word])
    free = [k for k in range(book.classes) if book.values["allowed"][0, k]]
    k = next(k for k in free if k != book.problem.given["label"][0]) if word in {"label", "allowed"} else 0
    where = at.cell(0, 0 if word == "label" else k)
    new = float(k) if word == "label" else 1.0 - float(numbers[0, k]) if word == "allowed" else 1.5
    numbers[(0, 0) if word == "label" else (0, k)] = new
    natural = numbers[0] if word in {"class_weight", "prior"} else numbers
    given = {**book.problem.given, word: numbers[:, 0].astype(int) if word == "label" else natural}
    done = recalculate(tmp_path / "book.xlsx", changes={f"Steps!{where}": new})
    assert disagreeing(make_book(replace(book.problem, given=given)), done) == []
    assert verdicts(done) == {"inputs changed"}


@pytest.mark.usefixtures("ironcalc_here")
def test_where_the_loss_is_no_line_in_epsilon_pytorch_turns_grey(tmp_path: Path) -> None:
    problem = prepare(TWO_CLASSES, TWO_LABELS, 0.1, weight=[1.0, 3.0], weighting="expected")
    written(problem, tmp_path / "book.xlsx")
    assert verdicts(recalculate(tmp_path / "book.xlsx")) == {"ok"}
    assert verdicts(recalculate(tmp_path / "book.xlsx", changes={"Steps!B2": 0.2})) == {"inputs changed"}


@pytest.mark.usefixtures("ironcalc_here")
def test_an_epsilon_outside_its_range_or_a_text_for_a_logit_is_not_ok(gallery: dict[str, tuple[Path, Book]]) -> None:
    path, book = gallery["post"]
    for changes in (
        {"Steps!B2": 1.5},
        {"Steps!B2": -0.1},
        {f"Steps!{book.layout.places['logits'].cell(1, 1)}": "n/a"},
        {f"Steps!{book.layout.places['label'].cell(1)}": 7},
    ):
        assert recalculate(path, changes=changes).values["Checks"]["B2"] != "ok"


@pytest.mark.slow
@pytest.mark.usefixtures("ironcalc_here")
def test_where_the_plain_exponentials_overflow_or_vanish_the_checks_go_by_the_shifted_ones(
    gallery: dict[str, tuple[Path, Book]],
) -> None:
    path, book = gallery["post"]
    logits = book.layout.places["logits"]
    for row in ([900.0, -900.0], [-1000.0, -1001.0]):
        done = recalculate(path, changes={f"Steps!{logits.cell(1, k)}": z for k, z in enumerate(row)})
        losses = trace([TWO_CLASSES[0], row, *TWO_CLASSES[2:]], TWO_LABELS, 0.1)
        agree(done.values["Steps"]["E2"], losses.loss, budget=FLOAT64, what="loss")
        assert done.values["Checks"]["B2"] == "ok"


# A planted error -----------------------------------------------------------------------------------------------------


def operated(source: Path, target: Path, places: Place, change: Callable[[str], str]) -> int:
    """Copy a workbook with the formulas of one step changed in its XML, and count how many were."""
    wanted = {places.cell(n, k) for n in range(places.shape[0]) for k in range(places.shape[1])}
    count = 0

    def operate(match: re.Match[str]) -> str:
        nonlocal count
        where, formula = match[1], match[2]
        if where not in wanted or change(formula) == formula:
            return match[0]
        count += 1
        return match[0].replace(f"<f>{formula}</f>", f"<f>{change(formula)}</f>")

    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        steps = worksheet_parts(old)[places.sheet]
        for name in old.namelist():
            content = old.read(name)
            if name == steps:
                text = re.sub(r'<c r="([A-Z]+\d+)"[^>]*><f>([^<]*)</f>', operate, content.decode())
                content = text.encode()
            new.writestr(name, content)
    return count


PLANTED: dict[str, tuple[str, Callable[[str], str]]] = {
    "LOG for LN": ("log_softmax", lambda f: f.replace("LN(", "LOG(")),
    "1/K for ε/K": ("target", lambda f: f.replace("epsilon/n_classes", "1/n_classes")),
    "ε/(K−1) for ε/K": ("target", lambda f: f.replace("epsilon/n_classes", "epsilon/(n_classes-1)")),
    "a sum without its last class": ("exponential_sum", lambda f: re.sub(r":E", ":D", f)),
    "a sign": ("row_loss", lambda f: f.lstrip("-")),
    "another label": ("one_hot", lambda f: f.replace("$5=", "$5+1=")),
    "the gradient's p twice": ("gradient", lambda f: f.replace("(", "(2*")),
    "the sum for the mean": ("loss", lambda f: f.replace("/n_rows", "")),
}


@pytest.mark.usefixtures("ironcalc_here")
@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_error_turns_the_checks_red_and_is_found_in_its_step(what: str, tmp_path: Path) -> None:
    word, change = PLANTED[what]
    book = make_book(prepare(TWO_CLASSES, TWO_LABELS, 0.1))  # without PyTorch's numbers: the sheet finds it alone
    save(book, tmp_path / "book.xlsx")
    assert recalculate(tmp_path / "book.xlsx").values["Checks"]["B2"] == "ok"
    assert operated(tmp_path / "book.xlsx", tmp_path / "planted.xlsx", book.layout.places[word], change)
    done = recalculate(tmp_path / "planted.xlsx")
    assert done.values["Checks"]["B2"] == done.values["Read me"]["A7"] == "CHECK"
    assert disagreeing(book, done)[0] == word


@pytest.mark.usefixtures("ironcalc_here")
@pytest.mark.parametrize("what", ["LOG for LN", "a sign", "another label"])
def test_pytorch_s_numbers_turn_red_too(what: str, gallery: dict[str, tuple[Path, Book]], tmp_path: Path) -> None:
    path, book = gallery["post"]
    word, change = PLANTED[what]
    assert operated(path, tmp_path / "planted.xlsx", book.layout.places[word], change)
    done = recalculate(tmp_path / "planted.xlsx")
    assert done.values["PyTorch"]["B3"] == "CHECK"
    assert list(done.values["PyTorch"].values()).count("CHECK") == 1 + 5  # of all rows, and of each


@pytest.mark.usefixtures("ironcalc_here")
def test_a_sheet_of_another_chain_disagrees(tmp_path: Path) -> None:
    book = make_book(prepare(TWO_CLASSES, TWO_LABELS, 0.1))
    other = place_chain(chain(replace(book.problem.case, family=FAMILIES["1/K for ε/K"])), 5, 2)
    tampered = replace(book, layout=replace(book.layout, chain=other.chain, blocks=other.blocks, places=other.places))
    extra = {word: np.zeros((5, 2)) for word in other.places if word not in book.values}
    save(replace(tampered, values={**book.values, **extra}), tmp_path / "book.xlsx")
    done = recalculate(tmp_path / "book.xlsx")
    assert {s.word for s in compare_steps(replace(tampered, values={**book.values, **extra}), done) if not s.agrees}
    assert wrong_cells(tmp_path / "book.xlsx", done)


# Names from outside ----------------------------------------------------------------------------------------------------

HOSTILE = [
    '=HYPERLINK("http://x.example","click")',
    "=1+1",
    "{=1+1}",
    "@SUM(A1)",
    "+1",
    "-2",
    "http://x.example/a?b=c",
    "mailto:a@x.example",
    "internal:Lists!A1",
    "=cmd|' /C calc'!A0",
    "quo\"te's",
    "a'b!c",
    "[x]",
    "two\nlines",
    "a\ttab",
    "\t=1+1",
    "😀 emoji",
    "שלום \u202eright to left",
    "&<tag/>]]>",
    "_x000D_",
    "#N/A",
    "TRUE",
    "1.5",
    "  spaces  ",
    "%s{}%",
    "x" * LONGEST_TEXT,
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give a workbook with hostile names, and the same with harmless ones."""
    folder, size = tmp_path_factory.mktemp("names"), len(HOSTILE)
    logits = np.random.default_rng(1).normal(size=(size, size))
    for name, names in (("hostile", HOSTILE), ("harmless", [f"name {i}" for i in range(size)])):
        write_workbook(folder / f"{name}.xlsx", logits, range(size), class_names=names, row_names=names)
    return folder / "hostile.xlsx", folder / "harmless.xlsx"


@pytest.mark.slow
def test_names_come_back_as_the_same_strings(hostile: tuple[Path, Path]) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.load_workbook(hostile[0])
    lists, steps = book["Lists"], book["Steps"]
    assert [lists.cell(5 + k, 2).value for k in range(len(HOSTILE))] == HOSTILE
    assert [steps.cell(11 + n, 1).value for n in range(len(HOSTILE))] == HOSTILE
    assert {lists.cell(5 + k, 2).data_type for k in range(len(HOSTILE))} == {"s"}
    for k, name in enumerate(HOSTILE):
        assert bool(lists.cell(5 + k, 2).quotePrefix) is (name[0] in "=+-@\t"), name


@pytest.mark.usefixtures("ironcalc_here")
def test_names_reach_the_headings_through_an_engine_as_they_are(hostile: tuple[Path, Path]) -> None:
    done = recalculate(hostile[0])
    assert [done.values["Steps"][f"{letters(3 + k)}6"] for k in range(len(HOSTILE))] == HOSTILE


def test_names_stand_in_no_formula_no_link_and_no_chart(hostile: tuple[Path, Path]) -> None:
    assert formulas(hostile[0]) == formulas(hostile[1])
    with zipfile.ZipFile(hostile[0]) as bad, zipfile.ZipFile(hostile[1]) as good:
        assert bad.namelist() == good.namelist()
        rules = r"<(?:dataValidation|conditionalFormatting|hyperlink|definedName)\b.*?</(?:\w+)>"
        for name in bad.namelist():
            ours, harmless = bad.read(name).decode(), good.read(name).decode()
            if name.startswith("xl/worksheets/sheet"):
                assert re.findall(rules, ours, re.DOTALL) == re.findall(rules, harmless, re.DOTALL)
                assert "<hyperlink" not in ours
            elif "charts/" in name:
                assert _without_cache(ours) == _without_cache(harmless)
            elif "sharedStrings" not in name and "core.xml" not in name and "styles.xml" not in name:
                assert ours == harmless, name


def _without_cache(chart: str) -> str:
    return re.sub(r"<c:(?:str|num)Cache>.*?</c:(?:str|num)Cache>", "", chart, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x" * (LONGEST_TEXT + 1), r"has 32,768 characters; a cell holds 32,767: shorten it"),
        ("x" * 40_000, r"has 40,000 characters; a cell holds 32,767"),
        ("😀" * 16_384, r"has 16,384 characters; a cell holds 32,767"),
        ("a\x00b", r"'a\\x00b' holds the control character '\\x00', which no cell can show: remove it"),
        ("bell\x07", r"the control character '\\x07'"),
        ("cr\rlf", r"the control character '\\r'"),
        ("lone \ud800", r"the control character '\\ud800'"),
        ("\uffff", r"the control character '\\uffff'"),
    ],
)
@pytest.mark.parametrize("what", ["class", "row"])
def test_a_name_that_no_cell_holds_is_refused_in_one_line_and_leaves_no_file(
    name: str, says: str, what: str, tmp_path: Path
) -> None:
    names: dict[str, Any] = {f"{what}_names": ["fine", name]}
    with pytest.raises(ValueError, match=rf"^(?:a|the) {what} name .*?{says}") as no:
        write_workbook(tmp_path / "book.xlsx", [[1.0, 2.0], [2.0, 1.0]], [0, 1], **names)
    assert "\n" not in str(no.value)
    assert len(str(no.value)) < 200
    assert list(tmp_path.iterdir()) == []


# What stands in the file -----------------------------------------------------------------------------------------------


def functions(texts: Any) -> set[str]:
    """The functions that formulas call; what stands between quotes is no call."""
    return {name for text in texts for name in re.findall(r"([A-Za-z_.][\w.]*)\(", re.sub('"[^"]*"', "", text))}


def test_only_functions_that_every_spreadsheet_has_are_used(gallery: dict[str, tuple[Path, Book]]) -> None:
    met: set[str] = set()
    for path, _ in gallery.values():
        for sheet, found in formulas(path).items():
            used = functions(found.values())
            met |= used
            assert used <= FUNCTIONS
            assert "LOG" not in used or sheet == "Play"
            for formula in found.values():
                assert len(formula) < 8192
                assert not re.search(r"[{}\[\]@#]|_xlfn|\b[A-Z]+:[A-Z]+\b", re.sub('"[^"]*"', "", formula))
    assert met == FUNCTIONS


def test_nothing_reaches_outside_the_file(gallery: dict[str, tuple[Path, Book]]) -> None:
    for path, _ in gallery.values():
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            assert not [
                n for n in names if re.search(r"external|vba|macro|ole|embed|connection|query", n, re.IGNORECASE)
            ]
            for name in names:
                text = archive.read(name).decode()
                assert 'TargetMode="External"' not in text
                assert "<hyperlink" not in text
                assert "<!DOCTYPE" not in text


def test_sheets_stand_in_their_order_and_the_first_is_open(gallery: dict[str, tuple[Path, Book]]) -> None:
    for name, (path, _) in gallery.items():
        blank = name == "student"
        assert tuple(sheet_xml(path)) == (STUDENT_SHEETS if blank else SHEETS)
        hidden = re.findall(r'<sheet name="([^"]*)"[^>]*state="hidden"', part(path, "xl/workbook.xml"))
        assert hidden == (["Answers", "Marks"] if blank else [])
        assert 'tabSelected="1"' in sheet_xml(path)["Read me"]


@pytest.mark.slow
def test_sheets_are_protected_without_a_password_and_only_inputs_are_open(
    gallery: dict[str, tuple[Path, Book]],
) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    for name, (path, book) in gallery.items():
        sheets = openpyxl.load_workbook(path)
        for sheet in sheets:
            assert sheet.protection.sheet
            assert sheet.protection.password is None
            assert not sheet.protection.formatCells  # formatting stays allowed
        typed = {place.cell(n, k) for word in inputs(book) for place in [book.layout.places[word]]
                 for n in range(place.shape[0]) for k in range(place.shape[1])}  # fmt: skip
        for row in sheets["Steps"].iter_rows():
            for cell in row:
                if cell.coordinate in typed:
                    assert not cell.protection.locked, cell.coordinate
                    assert cell.fill.fgColor.rgb.endswith("FFF2CC")
                elif name != "student" and cell.value is not None:
                    assert cell.protection.locked, cell.coordinate
        for other in ("Lists", "PyTorch", "Checks", "Read me", "Answers", "Marks"):
            for row in sheets[other].iter_rows() if other in sheets.sheetnames else ():
                legend = other == "Read me" and row[0].row > 10
                assert legend or all(cell.protection.locked for cell in row)


def inputs(book: Book) -> list[str]:
    return [x.word for x in book.chain.inputs if x.word not in {"class_index", "n_classes", "n_rows"}]


def test_epsilon_and_labels_are_validated(gallery: dict[str, tuple[Path, Book]]) -> None:
    for path, book in gallery.values():
        rules = re.findall(r"<dataValidation .*?</dataValidation>", sheet_xml(path)["Steps"])
        decimal, listed = ([r for r in rules if f'type="{kind}"' in r] for kind in ("decimal", "list"))
        assert len(decimal) == (not book.problem.case.smoothing)
        for rule in decimal:
            assert 'sqref="B2"' in rule
            assert "<formula1>0</formula1><formula2>1</formula2>" in rule
            assert 'showErrorMessage="1"' in rule
            assert 'promptTitle="Smoothing"' in rule
        assert len(listed) == ("label" in book.layout.places)
        for rule in listed:
            at, last = book.layout.places["label"], 4 + book.classes + ("ignore_index" in book.chain)
            sqref = at.cell(0) if at.rows == 1 else f"{at.cell(0)}:{at.cell(at.rows - 1)}"
            assert f'sqref="{sqref}"' in rule
            assert f"<formula1>Lists!$A$5:$A${last}</formula1>" in rule


CELL_LIKE = re.compile(r"[A-Z]{1,3}[0-9]{1,7}|R(?:[0-9]*)?(?:C[0-9]*)?|C[0-9]*", re.IGNORECASE)


@pytest.mark.slow
def test_every_word_is_a_name_that_excel_takes() -> None:
    words: set[str] = set()
    for example in all_examples():
        mine = [v.word for v in (*example.trace().chain.steps, *example.trace().chain.inputs)]
        assert len({w.lower() for w in mine}) == len(mine)
        words |= set(mine)
    words |= {"tolerance", "inputs_changed"}
    for word in words:
        assert re.fullmatch(r"[a-z_]+", word), word
        assert not CELL_LIKE.fullmatch(word), word
        assert word.upper() not in {*FUNCTIONS, "TRUE", "FALSE", "PRINT_AREA", "PRINT_TITLES", "CRITERIA", "DATABASE"}


def test_every_word_stands_for_its_cells(gallery: dict[str, tuple[Path, Book]]) -> None:
    for name, (path, book) in gallery.items():
        found = re.findall(r'<definedName name="([^"]+)"([^>]*)>([^<]*)<', part(path, "xl/workbook.xml"))
        names = {word: area for word, local, area in found if not local}
        steps = {s.word for s in book.chain.steps}
        for word, place in book.layout.places.items():
            away = name == "student" and word in steps
            assert names.pop(word) == (place.area.replace("Steps!", "Answers!") if away else place.area)
        assert set(names) == {"tolerance"} | (set() if name == "student" else {"inputs_changed"})
        assert names["tolerance"].startswith("Lists!$E$")


def test_heads_stay_in_sight_and_pages_are_a4(gallery: dict[str, tuple[Path, Book]]) -> None:
    for name, (path, book) in gallery.items():
        sheets = sheet_xml(path)
        assert '<pane xSplit="3" ySplit="6" topLeftCell="D7"' in sheets["Steps"]
        workbook = part(path, "xl/workbook.xml")
        assert re.search(r'_xlnm.Print_Titles" localSheetId="1">Steps!\$1:\$6<', workbook)
        assert re.search(r'_xlnm.Print_Area" localSheetId="1">Steps!\$A\$1:', workbook)
        wide = {"Steps"} if name == "student" else {"Steps", "Play", "PyTorch"}
        for sheet, xml in sheets.items():
            setup = re.search(r"<pageSetup[^>]*>", xml)
            assert setup is not None
            assert 'paperSize="9"' in setup[0]
            assert ('orientation="landscape"' in setup[0]) is (sheet in wide)
            assert "&amp;F" in xml
            assert "&amp;P" in xml
        breaks = [int(row) for row in re.findall(r'<brk id="(\d+)"', sheets["Steps"])]
        assert set(breaks) <= {block.top for block in book.layout.blocks}


def charts(path: Path) -> list[tuple[tuple[int, int, int, int], str, str]]:
    """Where each chart stands (first column and row, last column and row), its description, and its XML."""
    with zipfile.ZipFile(path) as archive:
        if "xl/drawings/drawing1.xml" not in archive.namelist():
            return []
        drawing = archive.read("xl/drawings/drawing1.xml").decode()
        found = []
        anchors = re.findall(r"<xdr:twoCellAnchor.*?</xdr:twoCellAnchor>", drawing, re.DOTALL)
        for number, anchor in enumerate(anchors, start=1):
            left, right = (int(c) for c in re.findall(r"<xdr:col>(\d+)", anchor))
            top, bottom = (int(r) for r in re.findall(r"<xdr:row>(\d+)", anchor))
            said = re.search(r'descr="([^"]*)"', anchor)
            chart = archive.read(f"xl/charts/chart{number}.xml").decode()
            found.append(((left, top, right, bottom), said[1] if said else "", chart))
        return found


def test_charts_show_cells_are_described_and_cover_no_number(gallery: dict[str, tuple[Path, Book]]) -> None:
    expected = {"post": 3, "weights": 3, "compact": 1, "none": 0, "student": 0}
    for name, (path, _) in gallery.items():
        found = charts(path)
        assert len(found) == expected.get(name, len(found))
        filled = {where for where, cell in cells(path).get("Play", {}).items() if cell.stored is not None}
        used = [split_reference(where) for where in filled]
        for (left, top, right, bottom), said, chart in found:
            assert len(said) > 20
            assert chart.count("<c:f>") >= 2
            assert "nats" in chart or "probability" in chart
            under = [(r, c) for r, c in used if top < r <= bottom + 1 and left < c <= right + 1]
            assert under == [], f"{name}: a chart covers {under[:3]}"


def test_the_file_says_what_it_is_and_who_made_it(gallery: dict[str, tuple[Path, Book]]) -> None:
    core = part(gallery["post"][0], "docProps/core.xml")
    assert "<dc:title>Label smoothing, step by step</dc:title>" in core
    assert "Made by labelsmooth." in core


def test_notes_stand_on_the_logarithm_on_the_sum_and_on_epsilon(gallery: dict[str, tuple[Path, Book]]) -> None:
    path, book = gallery["post"]
    notes = dict(
        re.findall(r'<comment ref="([A-Z]+\d+)".*?<t[^>]*>(.*?)</t>', part(path, "xl/comments1.xml"), re.DOTALL)
    )
    headings = {v.word: block.heading + 1 for block in book.layout.blocks for v in block.values}
    assert "LN" in notes[f"D{headings['log_softmax']}"]
    assert "LOG" in notes[f"D{headings['log_softmax']}"]
    assert "710" in notes[f"F{headings['plain_exponential']}"]
    assert "0.1" in notes["B2"]


def test_each_block_shows_its_mathematics_and_the_formula_of_its_first_cell(
    gallery: dict[str, tuple[Path, Book]],
) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    path, book = gallery["post"]
    steps = openpyxl.load_workbook(path)["Steps"]
    shown = {(steps.cell(row, 1).value or "", steps.cell(row, 4).value or "") for row in range(1, steps.max_row + 1)}
    texts = [str(right) for _, right in shown]
    for step in book.chain.steps:
        formula = f"={book.layout.formula(step)}"
        assert any(text.startswith(formula[:59]) and text.endswith(step.says) for text in texts), step.word
        assert any(str(left).startswith(f"{step.symbol} = ") for left, _ in shown), step.word


def test_the_first_sheet_opens_with_what_to_do_and_shows_the_result(gallery: dict[str, tuple[Path, Book]]) -> None:
    path, book = gallery["post"]
    found = cells(path)["Read me"]
    openpyxl = pytest.importorskip("openpyxl")
    first = openpyxl.load_workbook(path)["Read me"]
    assert first["A2"].value == "Go to Steps, type 0.2 in the yellow cell, watch the green column."
    assert (found["A5"].formula, found["A7"].formula) == ("loss", "Checks!$B$2")
    agree(float(str(found["A5"].stored)), book.values["loss"].item(), budget=0, what="the loss on the first sheet")
    assert found["A7"].stored == "ok"


# The numbers that a viewer shows ---------------------------------------------------------------------------------------


def test_the_cached_numbers_are_the_true_float64_to_the_last_bit(gallery: dict[str, tuple[Path, Book]]) -> None:
    for name, (path, book) in gallery.items():
        found = cells(path)["Answers" if name == "student" else "Steps"]
        for step in book.chain.steps:
            place, numbers = book.layout.places[step.word], book.values[step.word]
            for n, k in np.ndindex(place.shape):
                cell = found[place.cell(n, k)]
                assert cell.kind == "n"
                true = min(max(float(numbers[n, k]), -9.99e307), 9.99e307)
                assert float(str(cell.stored)) == true, f"{name}: {step.word}"


def test_the_inputs_are_kept_to_the_last_bit(tmp_path: Path) -> None:
    z = [[0.1 + 0.2, 1e4 / 3], [np.nextafter(1.0, 2.0), -(2.0**-1000) / 3], [5e-324, 1.0], [123456789.12345679, -0.0]]
    book = make_book(prepare(z, [0, 1, 1, 0], 1 / 3))
    save(book, tmp_path / "book.xlsx")
    found = cells(tmp_path / "book.xlsx")["Steps"]
    place = book.layout.places["logits"]
    assert [[float(str(found[place.cell(n, k)].stored)) for k in range(2)] for n in range(4)] == z
    assert float(str(found["B2"].stored)) == 1 / 3
    assert found[place.cell(2, 1)].stored == "1"  # and a short number stays short


@pytest.mark.usefixtures("ironcalc_here")
def test_numbers_that_need_their_last_digit_agree(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    z = 1e4 + random.normal(size=(6, 5)) * 1e-3
    book = written(prepare(z, [0, 1, 2, 3, 4, 0], 0.1), tmp_path / "book.xlsx")
    assert wrong_cells(tmp_path / "book.xlsx", recalculate(tmp_path / "book.xlsx")) == []
    assert book.kind == "full"


@pytest.mark.parametrize("name", ["inf", "-inf", "nan"])
def test_what_no_cell_can_hold_is_shown_in_words_where_pytorch_overflowed(name: str, tmp_path: Path) -> None:
    book = make_book(prepare(TWO_CLASSES, TWO_LABELS, 0.1))
    rows = replace(stand_in(book), row_loss_single=np.full(5, float(name)), largest_gradient_gap=float(name))
    save(replace(book, torch=rows), tmp_path / "book.xlsx")
    openpyxl = pytest.importorskip("openpyxl")
    sheet = openpyxl.load_workbook(tmp_path / "book.xlsx")["PyTorch"]
    values = [cell.value for row in sheet.iter_rows() for cell in row]
    assert values.count(name) == 6


def test_infinity_is_shown_as_a_sign(gallery: dict[str, tuple[Path, Book]]) -> None:
    for name, word, sheet in (("mask", "masked_logits", "Steps"), ("ignored", "optimum_gap", "Steps")):
        path, book = gallery[name]
        where = book.layout.places[word].area.split("!")[1].replace("$", "")
        rules = re.search(rf'<conditionalFormatting sqref="{where}">(.*?)</cond', sheet_xml(path)[sheet])
        assert rules is not None
        assert "1e+300" in rules[1].lower()
        assert np.isinf(book.values[word]).any()
    assert "∞" in part(gallery["mask"][0], "xl/styles.xml")


# Non-finite logits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wrong", "said"), [(NAN, "nan"), (INF, "inf"), (-INF, "-inf")])
def test_a_logit_that_is_no_number_is_refused_by_row_and_class(wrong: float, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^the logit of row 2, class 1 is {said}: ") as no:
        write_workbook(tmp_path / "book.xlsx", [[1.0, 2.0], [3.0, wrong]], [0, 1])
    assert "\n" not in str(no.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("ironcalc_here")
def test_a_replaced_logit_is_replaced_and_the_sheet_says_so(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    write_workbook(path, [[1.0, 2.0], [3.0, -INF]], [0, 1], 0.1, replace_nonfinite=-1e4)
    assert "1 logits were not finite; -10000 stands in their place." in part(path, "xl/sharedStrings.xml")
    losses = trace([[1.0, 2.0], [3.0, -1e4]], [0, 1], 0.1)
    done = recalculate(path)
    agree(done.values["Steps"]["E2"], losses.loss, budget=FLOAT64, what="loss")
    write_workbook(path, [[1.0, 2.0], [3.0, 4.0]], [0, 1], 0.1, replace_nonfinite=-1e4, force=True)
    assert "in their place" not in part(path, "xl/sharedStrings.xml")


# Whole or not at all ---------------------------------------------------------------------------------------------------


def test_an_existing_file_is_replaced_only_when_told(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    path.write_text("mine")
    with pytest.raises(InputError, match=r"exists already: pass --force to replace it$"):
        write_workbook(path, TWO_CLASSES, TWO_LABELS)
    assert path.read_text() == "mine"
    result = write_workbook(path, TWO_CLASSES, TWO_LABELS, force=True)
    assert (result.sheets, result.rows, result.classes, result.kind) == (SHEETS, 5, 2, "full")
    assert zipfile.is_zipfile(path)
    assert [p.name for p in tmp_path.iterdir()] == ["book.xlsx"]


def test_what_is_reported_is_what_was_written(gallery: dict[str, tuple[Path, Book]], tmp_path: Path) -> None:
    _, book = gallery["post"]
    result = save(book, tmp_path / "book.xlsx")
    steps = {place.cell(n, k) for s in book.chain.steps for place in [book.layout.places[s.word]]
             for n, k in np.ndindex(place.shape)}  # fmt: skip
    assert result.formulas == len(steps & set(formulas(tmp_path / "book.xlsx")["Steps"]))


@pytest.mark.parametrize(
    "fault", [RuntimeError("planted"), OSError(28, "No space left on device"), KeyboardInterrupt()]
)
def test_a_write_that_fails_leaves_nothing_and_spoils_nothing(
    fault: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old.xlsx").write_text("mine")

    def fails(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(write, "write_readme", fails)
    full = isinstance(fault, OSError)
    for name in ("new.xlsx", "old.xlsx"):
        with pytest.raises(InputError if full else type(fault)) as no:
            write_workbook(tmp_path / name, TWO_CLASSES, TWO_LABELS, force=True)
        if full:
            assert re.fullmatch(
                rf".*{name}: cannot be written: No space left on device; nothing was left behind", str(no.value)
            )
    assert [p.name for p in tmp_path.iterdir()] == ["old.xlsx"]
    assert (tmp_path / "old.xlsx").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on the size of a file to set")
@pytest.mark.parametrize("limit", [0, 2_000, 20_000])
def test_a_full_disk_is_one_line_and_no_file(limit: int, tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from labelsmooth.workbook.write import write_workbook\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try:\n    write_workbook(sys.argv[1], [[float(i + j) for i in range(20)] for j in range(40)], [0] * 40)\n"
        "except Exception as fault:\n    print(repr((type(fault).__name__, str(fault))))\n"
    )
    path, temporary = tmp_path / "out" / "book.xlsx", tmp_path / "temporary"
    path.parent.mkdir()
    temporary.mkdir()
    command, environment = [sys.executable, "-c", code, str(path)], {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    kind, said = ast.literal_eval(done.stdout)
    assert kind == "InputError"
    assert said.startswith(f"{path}: cannot be written: ")
    assert "\n" not in said
    assert [*path.parent.iterdir(), *temporary.iterdir()] == []


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist: make it first$"):
        write_workbook(tmp_path / "nowhere" / "book.xlsx", TWO_CLASSES, TWO_LABELS)


def test_a_students_copy_is_never_compact(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"layout must be 'full' or 'auto', got 'compact'$"):
        write_workbook(tmp_path / "book.xlsx", TWO_CLASSES, TWO_LABELS, blank=True, layout="compact")


# For every eye -----------------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """Relative luminance as the Web Content Accessibility Guidelines define it."""
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(ink: str, fill: str) -> float:
    light, dark = sorted((luminance(ink), luminance(fill)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_measured_as_the_guidelines_say() -> None:
    agree(contrast("#000000", "#FFFFFF"), 21.0, budget=1e-12, what="black on white")
    agree(contrast("#777777", "#FFFFFF"), 4.48, budget=1e-2, what="the grey just below the limit")


def test_every_font_can_be_read_on_its_fill() -> None:
    pairs = {name: (style.get("font_color", INK), style.get("bg_color", "#FFFFFF")) for name, style in _STYLES.items()}
    pairs |= {f"band {i}": (INK, fill) for i, fill in enumerate(BANDS)}
    assert {name: pair for name, pair in pairs.items() if contrast(*pair) < 4.5} == {}


def test_no_colour_speaks_alone(gallery: dict[str, tuple[Path, Book]]) -> None:
    """A conditional colour follows a word in its cell; what else a rule changes is not only a colour."""
    for path, _ in gallery.values():
        formats = re.findall(r"<dxf>.*?</dxf>", part(path, "xl/styles.xml"), re.DOTALL)
        for xml in sheet_xml(path).values():
            for rule in re.findall(r"<cfRule .*?</cfRule>", xml):
                look = formats[int(re.findall(r'dxfId="(\d+)"', rule)[0])]
                if "<fill>" in look:
                    word = re.findall(r"<formula>&quot;(.*?)&quot;|<formula>\"(.*?)\"", rule)
                    assert {"".join(w) for w in word} <= {
                        "ok", "CHECK", "inputs changed", "not compared", "right", "look again"}  # fmt: skip
                    assert word
                else:
                    assert "<b/>" in look or "<numFmt" in look


def test_results_are_bold_and_inputs_are_blue_and_not_only_filled() -> None:
    styles: Mapping[str, Mapping[str, Any]] = _STYLES
    assert all(style.get("bold") for name, style in styles.items() if style.get("bg_color") == styles["result"]["bg_color"]
               and name != "ok")  # fmt: skip
    for name, style in styles.items():
        if style.get("bg_color") == styles["input"]["bg_color"]:
            assert style["font_color"] == "#0000FF", name
            assert style["locked"] is False
