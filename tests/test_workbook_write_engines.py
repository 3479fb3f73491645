"""Every formula cell of every sheet, recalculated by real engines, holds the number that was cached in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, LIBREOFFICE
from cases import one_in, slow_except

pytest.importorskip("xlsxwriter")

from labelsmooth.maths.conventions import FAMILIES
from labelsmooth.maths.trace import prepare
from labelsmooth.parity.compare import compare_steps, difference
from labelsmooth.parity.demo import EXAMPLES, example
from labelsmooth.workbook.book import Book, TorchRows, make_book
from labelsmooth.workbook.recalc import Recalculation, available_engines, recalculate
from labelsmooth.workbook.write import save

SOFTMAX = [name for name, family in FAMILIES.items() if family.link == "softmax"]


def by_hand(book: Book) -> TorchRows:
    """Stand-ins for PyTorch's numbers, so that its sheet is full without PyTorch."""
    values = book.values
    rows = values["row_loss"][:, 0]
    return TorchRows(
        "0", "stand-in", values["label_loss"][:, 0], values["prior_loss"][:, 0], rows, rows.astype(np.float32), 0.0
    )


def written(problem: Any, path: Path, **options: Any) -> Book:
    plain = make_book(problem, **options)
    book = make_book(problem, torch=by_hand(plain), **options)
    save(book, path)
    return book


def wrong_cells(path: Path, engine: str, budget: float) -> list[str]:
    """The formula cells whose recalculated value is not the cached one."""
    return wrong_in(recalculate(path, engine=engine, timeout=300), path, budget)


def wrong_in(done: Recalculation, path: Path, budget: float) -> list[str]:
    cached = pytest.importorskip("openpyxl").load_workbook(path, data_only=True)
    wrong = []
    for sheet, cells in done.values.items():
        for cell, came in cells.items():
            truth = cached[sheet][cell].value
            apart = difference(came, truth) > budget if isinstance(truth, (int, float)) else came != truth
            if apart:
                wrong.append(f"{sheet}!{cell}: {came!r} and not {truth!r}")
    assert done.formulas > 50
    return wrong


def random_problem(seed: int) -> tuple[Any, dict[str, Any]]:
    """A batch of some size, convention and options; every seventh is compact."""
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(1, 61)), int(rng.integers(3, 41))
    family = FAMILIES[SOFTMAX[seed % len(SOFTMAX)]]
    options: dict[str, Any] = {"convention": family.name}
    logits = rng.normal(size=(n, k)) * float(rng.choice([1.0, 5.0, 100.0]))
    labels: Any = rng.integers(0, k, n)
    if family.over == "others but padding":
        options["ignore_index"] = k - 1
    if "soft" in family.accepts and rng.random() < 0.3:
        labels = rng.dirichlet(np.ones(k), n)
    else:
        labels[labels == options.get("ignore_index", -100)] = 0  # a padding label would not count
        if rng.random() < 0.4 and n > 1:
            labels[0] = options.setdefault("ignore_index", -100)
    if "prior" in family.accepts and rng.random() < 0.4:
        options["prior"] = rng.dirichlet(np.ones(k), n if rng.random() < 0.5 else None)
    compact = seed % 7 == 0 and family.over != "others but padding"
    if not compact and rng.random() < 0.5:
        options |= {
            "weight": rng.uniform(0.5, 3.0, k),
            "weighting": str(rng.choice(["torch", "nll", "expected", "label", "label/N"])),
        }
    eps: Any = (
        rng.uniform(0, 1, n)
        if rng.random() < 0.2
        else float(rng.choice([0.0, 0.1, 0.37, 0.9 if family.mistake else 1.0]))
    )
    return prepare(logits, labels, eps, **options), {"layout": "compact" if compact else "full"}


@pytest.mark.parametrize("seed", slow_except((0,), range(20)))
def test_random_batches_agree_in_every_cell_in_ironcalc(seed: int, tmp_path: Path) -> None:
    pytest.importorskip("ironcalc")
    problem, options = random_problem(seed)
    book = written(problem, tmp_path / "book.xlsx", **options)
    done = recalculate(tmp_path / "book.xlsx")
    assert not wrong_in(done, tmp_path / "book.xlsx", FLOAT64)
    assert [s.word for s in compare_steps(book, done) if not s.agrees] == []


EXTREME = {
    "plus and minus 1e4": [[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [0.0, 1e4, 1e4]],
    "a gap of 745": [[0.0, -745.0, 3.0], [745.0, 0.0, 0.0], [-745.0, 1.0, 2.0]],
    "all equal": [[2.0, 2.0, 2.0]] * 3,
    "at the edge of both exponentials": [[699.0, 698.0, -699.0], [700.0, 0.0, 1.0], [709.0, 710.0, 700.0]],
}


@pytest.mark.parametrize("name", EXTREME)
@pytest.mark.parametrize("divergence", one_in(2, ["torch", "t5x"]))
def test_extreme_logits_agree_in_every_cell(name: str, divergence: str, tmp_path: Path) -> None:
    pytest.importorskip("ironcalc")
    written(prepare(EXTREME[name], [0, 1, 2], 0.1, convention=divergence), tmp_path / "book.xlsx")
    assert not wrong_cells(tmp_path / "book.xlsx", "ironcalc", FLOAT64)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("engine", ["ironcalc", pytest.param("libreoffice", marks=pytest.mark.slow)])
def test_the_shipped_examples_agree_in_every_cell(name: str, engine: str, tmp_path: Path) -> None:
    needs(engine)
    written(example(name), tmp_path / "book.xlsx")
    assert not wrong_cells(tmp_path / "book.xlsx", engine, LIBREOFFICE)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 3, 6, 7, 11])
def test_random_batches_agree_in_every_cell_in_libreoffice(seed: int, tmp_path: Path) -> None:
    needs("libreoffice")
    problem, options = random_problem(seed)
    written(problem, tmp_path / "book.xlsx", **options)
    assert not wrong_cells(tmp_path / "book.xlsx", "libreoffice", LIBREOFFICE)


@pytest.mark.slow
def test_the_second_opinion_agrees_too(tmp_path: Path) -> None:
    needs("formulon")
    written(example("post_cat_dog"), tmp_path / "book.xlsx")
    assert not wrong_cells(tmp_path / "book.xlsx", "formulon", FLOAT64)


def needs(engine: str) -> None:
    if engine not in available_engines():
        pytest.skip(f"{engine} is not installed")


def test_another_epsilon_typed_into_the_file_gives_the_loss_at_that_epsilon(tmp_path: Path) -> None:
    pytest.importorskip("ironcalc")
    rng = np.random.default_rng(5)
    logits, labels = rng.normal(size=(7, 4)), rng.integers(0, 4, 7)
    for convention in ("torch", "fairseq", "classy_vision", "t5x"):
        path = tmp_path / f"{convention}.xlsx"
        written(prepare(logits, labels, 0.1, convention=convention), path)
        done = recalculate(path, changes={"Steps!B2": 0.35})
        book = make_book(prepare(logits, labels, 0.35, convention=convention))
        assert [s.word for s in compare_steps(book, done) if not s.agrees] == []
        assert done.values["Checks"]["B2"] == "ok"
        assert done.values["PyTorch"]["B3"] == "ok"


def test_a_changed_logit_or_label_turns_the_pytorch_sheet_grey_and_never_red(tmp_path: Path) -> None:
    pytest.importorskip("ironcalc")
    problem = example("post_cat_dog")
    book = written(problem, tmp_path / "book.xlsx")
    logit, label = (f"Steps!{book.layout.places[word].cell(2, 1)}" for word in ("logits", "label"))
    for changes in ({logit: 1.3}, {label: 0}):
        done = recalculate(tmp_path / "book.xlsx", changes=changes)
        verdicts = {v for v in done.values["PyTorch"].values() if isinstance(v, str)}
        assert verdicts == {"inputs changed"}
        assert done.values["Checks"]["B2"] == "ok"
    same = recalculate(tmp_path / "book.xlsx", changes={logit: 1.2})
    assert {v for v in same.values["PyTorch"].values() if isinstance(v, str)} == {"ok"}


def test_a_planted_wrong_number_of_pytorch_is_red(tmp_path: Path) -> None:
    pytest.importorskip("ironcalc")
    plain = make_book(example("post_cat_dog"))
    rows = by_hand(plain)
    off = rows.label_loss + 1e-6 * (np.arange(5) == 3)
    save(make_book(plain.problem, torch=replace(rows, label_loss=off)), tmp_path / "book.xlsx")
    done = recalculate(tmp_path / "book.xlsx")
    assert done.values["PyTorch"]["B3"] == "CHECK"
    assert done.values["Checks"]["B2"] == "CHECK"
    assert done.values["Read me"]["A7"] == "CHECK"
