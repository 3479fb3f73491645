"""What is said about a workbook that somebody worked in: who is to blame, who follows, what is only a note.

The five plain faults (LOG, pasted, another row's formula, deleted, text) and the way through LibreOffice are planted in
test_parity_readback_planted.py; here is the rest: every step, causes by name, accidents, the other sheets, and students.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cases import FIVE_CLASSES, FIVE_LABELS, TWO_CLASSES, TWO_LABELS, one_in

openpyxl: Any = pytest.importorskip("openpyxl")
pytest.importorskip("ironcalc")
pytest.importorskip("xlsxwriter")

from labelsmooth.errors import WorkbookError  # noqa: E402
from labelsmooth.maths.trace import prepare  # noqa: E402
from labelsmooth.parity import readback  # noqa: E402
from labelsmooth.parity._causes import cells_read, needs_arrays, plain  # noqa: E402
from labelsmooth.parity.readback import BookVerdict, check_book, check_books  # noqa: E402
from labelsmooth.workbook.book import Book, make_book  # noqa: E402
from labelsmooth.workbook.recalc import available_engines, recalculate  # noqa: E402
from labelsmooth.workbook.write import save  # noqa: E402

TWO = make_book(prepare(TWO_CLASSES, TWO_LABELS, 0.1, class_names=["cat", "dog"]))
WEIGHTS = [0.5, 2.0, 1.0, 3.0, 1.5]


@pytest.fixture(autouse=True)
def _without_torch(monkeypatch: pytest.MonkeyPatch, ironcalc_here: None) -> None:  # noqa: ARG001
    """PyTorch on the inputs has its own tests, and loading it costs more than all of these."""
    monkeypatch.setattr(readback, "implementations", lambda _: ())


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("originals")
    for name in ("book", "student"):
        save(TWO, folder / f"{name}.xlsx", blank=name == "student")
    return {name: folder / f"{name}.xlsx" for name in ("book", "student")}


@pytest.fixture
def book(originals: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copyfile(originals["book"], tmp_path / "book.xlsx"))


@pytest.fixture
def student(originals: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copyfile(originals["student"], tmp_path / "student.xlsx"))


def typed(path: Path, sheet: str = "Steps", **cells: Any) -> Path:
    """Type into a copy of a file."""
    sheets = openpyxl.load_workbook(path)
    for cell, value in cells.items():
        sheets[sheet][cell] = value
    target = path.with_name("edited.xlsx")
    sheets.save(target)
    return target


def at(word: str, n: int = 0, k: int = 0, book: Book = TWO) -> str:
    return book.layout.places[word].cell(n, k)


def formula(word: str, n: int = 0, k: int = 0, book: Book = TWO) -> str:
    return f"={book.layout.formula(book.chain[word], n, k)}"


def fatal(verdict: BookVerdict) -> list[Any]:
    return [finding for finding in verdict.findings if finding.fatal]


def the_fault(path: Path) -> Any:
    """The one fault of a file, where there is one and no more."""
    verdict = check_book(path)
    assert verdict.exit_code == 1
    (finding,) = fatal(verdict)
    assert finding.message.startswith(f"{finding.cell} ")
    assert "\n" not in finding.message
    return finding


# Clean books are clean -----------------------------------------------------------------------------------------------


def books() -> Iterator[tuple[str, Any, str]]:
    soft = np.full((5, 5), 0.05) + 0.75 * np.eye(5)
    masked = np.array(FIVE_CLASSES)
    masked[:, 4] = -np.inf
    yield "full", prepare(TWO_CLASSES, TWO_LABELS, 0.1), "full"
    yield "compact", prepare(FIVE_CLASSES, [0, 1, 2, -100, 4], 0.3), "compact"
    yield "no smoothing", prepare(FIVE_CLASSES, FIVE_LABELS, 0.0), "full"
    yield "weights", prepare(FIVE_CLASSES, FIVE_LABELS, 0.1, weight=WEIGHTS, weighting="nll"), "full"
    yield "soft", prepare(FIVE_CLASSES, soft, [0.0, 0.1, 0.2, 0.3, 0.4], keep=[1, 1, 0, 1, 1]), "full"
    yield "mask", prepare(masked, [0, 1, 2, 3, 0], 0.1, class_mask=[1, 1, 1, 1, 0]), "full"
    yield "large", prepare([[1e5, 1e5 - 3], [-2e6, 4e6]], [0, 0], 0.1), "full"
    yield "one row", prepare([[1.0, 2.0]], [0], 0.1, reduction="none"), "full"


@pytest.mark.parametrize(("name", "problem", "layout"), one_in(3, books()), ids=[name for name, _, _ in books()])
def test_an_untouched_book_is_clean_and_one_wrong_cell_is_not(
    name: str, problem: Any, layout: str, tmp_path: Path
) -> None:
    made = make_book(problem, layout=layout)
    save(made, tmp_path / "book.xlsx")
    verdict = check_book(tmp_path / "book.xlsx")
    assert verdict.findings == ()
    assert (verdict.agree, verdict.exit_code, verdict.error) == (True, 0, "")
    assert verdict.checked >= made.layout.formulas
    assert (verdict.rows, verdict.classes, verdict.blank) == (made.rows, made.classes, False)
    cell = at("row_loss", made.rows - 1, book=made)
    planted = typed(tmp_path / "book.xlsx", **{cell: formula("row_loss", made.rows - 1, book=made) + "+0.001"})
    assert the_fault(planted).cell == f"Steps!{cell}", name


def test_a_small_error_in_any_step_is_named_there(book: Path) -> None:
    assert check_book(book).findings == ()
    planted = {at(s.word): f"{formula(s.word)}+0.001" for s in TWO.chain.steps}
    verdict = check_book(typed(book, **planted))
    assert {finding.cell for finding in fatal(verdict)} == {f"Steps!{cell}" for cell in planted}
    assert verdict.follow > 10


# Who is to blame -----------------------------------------------------------------------------------------------------


def test_cells_that_follow_are_counted_and_not_named(book: Path) -> None:
    cell = at("log_softmax", 2, 1)
    verdict = check_book(typed(book, **{cell: formula("log_softmax", 2, 1).replace("LN", "LOG")}))
    assert [finding.cell for finding in fatal(verdict)] == [f"Steps!{cell}"]
    # the row's loss, the batch's, both again in the head or the decomposition, and what is left above the floor
    assert 5 < verdict.follow < 20
    assert f"{verdict.follow} cells follow from that" in verdict.line
    assert "\n" not in verdict.line + verdict.summary


def test_one_mistake_in_a_whole_block_is_one_finding(book: Path) -> None:
    cells = {at("log_softmax", n, k): formula("log_softmax", n, k).replace("LN", "LOG") for n, k in np.ndindex(5, 2)}
    finding = the_fault(typed(book, **cells))
    assert set(finding.cells) == {f"Steps!{cell}" for cell in cells}
    assert "uses LOG (base 10) where LN is expected" in finding.message
    assert "9 more cells of 'log_softmax' alike" in finding.message


CAUSES = [
    ("log_softmax", 1, 0, lambda f: f.replace("LN(", "LOG("), "uses LOG (base 10) where LN is expected"),
    ("log_softmax", 1, 0, lambda f: f.replace("LN(", "log10("), "uses LOG (base 10) where LN is expected"),
    ("log_softmax", 1, 0, lambda f: f.replace("LN(", "2*LN(10)/2*LOG10(") + "*LOG(EXP(1))", "uses LOG"),
    ("row_loss", 1, 0, lambda f: f.replace("=-", "="), "has lost its minus"),
    ("target", 1, 0, lambda f: f.replace("epsilon/n", "1/n"), "1/K added instead of ε/K"),
    ("target", 1, 0, lambda f: f.replace("n_classes", "(n_classes-1)"), "ε/(K−1) added to every class"),
    ("off", 0, 0, lambda f: f.replace("n_classes", "(n_classes-1)"), "K−1"),
    ("target", 1, 1, lambda f: f.replace("epsilon", "(1-epsilon)"), "the confidence was passed"),
    ("gradient", 1, 0, lambda f: f.replace("/n_rows", ""), "is expected"),
    ("softmax", 1, 0, lambda f: f"{f}/0", "#DIV/0!"),
]


@pytest.mark.parametrize(("word", "n", "k", "change", "says"), one_in(3, CAUSES))
def test_a_famous_mistake_is_called_by_its_name(
    word: str, n: int, k: int, change: Callable[[str], str], says: str, book: Path
) -> None:
    right = formula(word, n, k)
    assert change(right) != right
    finding = the_fault(typed(book, **{at(word, n, k): change(right)}))
    assert finding.kind == "formula changed"
    assert finding.cell == f"Steps!{at(word, n, k)}"
    assert says in finding.message
    assert change(right)[:40] in finding.message


def test_a_formula_of_another_row_says_which_cells_it_reads(book: Path) -> None:
    finding = the_fault(typed(book, **{at("exponential", 3, 1): formula("exponential", 2, 1)}))
    cells = [at("logits", 2, 1), at("row_max", 2), at("logits", 3, 1), at("row_max", 3)]
    assert "reads {}, {} where {}, {} are expected".format(*cells) in finding.message


def test_a_pasted_number_is_a_fault_even_where_it_is_right(book: Path) -> None:
    for value, today in ((float(TWO.values["target"][0, 0]), True), (0.95, True), (0.5, False)):
        finding = the_fault(typed(book, **{at("target"): value}))
        assert finding.kind == "pasted value"
        assert ("right today" in finding.message) == today


@pytest.mark.parametrize(("cell", "value"), [("E2", 1.6284), ("E3", "=1.6"), ("B3", 3), ("B4", 5), ("B4", "=5+1")])
def test_the_numbers_in_the_head_are_checked_too(cell: str, value: Any, book: Path) -> None:
    assert the_fault(typed(book, **{cell: value})).cell == f"Steps!{cell}"


def test_circles_and_array_formulas_are_faults_with_a_cell(book: Path) -> None:
    cell = at("softmax", 1, 1)
    assert the_fault(typed(book, **{cell: f"={cell}+1"})).cell == f"Steps!{cell}"
    array = openpyxl.worksheet.formula.ArrayFormula(
        f"{at('plain_exponential')}:{at('plain_exponential', 0, 1)}", "=1+1"
    )
    named = {cell for f in fatal(check_book(typed(book, **{at("plain_exponential"): array}))) for cell in f.cells}
    assert f"Steps!{at('plain_exponential')}" in named


# Written otherwise ---------------------------------------------------------------------------------------------------

ALIKE = [
    ("log_softmax", 1, 0, lambda f: f"= ( {f[1:].replace('$', '').lower()} ) + 0"),
    ("log_softmax", 1, 0, lambda _: f"=LN({at('softmax', 1, 0)})"),
    ("one_hot", 4, 1, lambda f: f.replace("IF(", "IF(1=1,IF(") + ",0)"),
    ("row_loss", 2, 0, lambda _: f"={at('label_term', 2)}+{at('prior_term', 2)}"),
    ("on", 0, 0, lambda _: "=1-(n_classes-1)*off"),
]


@pytest.mark.parametrize(("word", "n", "k", "change"), one_in(2, ALIKE))
def test_an_equal_formula_is_a_note(word: str, n: int, k: int, change: Callable[[str], str], book: Path) -> None:
    verdict = check_book(typed(book, **{at(word, n, k): change(formula(word, n, k))}))
    (finding,) = verdict.findings
    assert (finding.kind, finding.cell, finding.fatal) == ("note", f"Steps!{at(word, n, k)}", False)
    assert verdict.exit_code == 0
    assert "1 note" in verdict.line


SPELT_OTHERWISE = [
    lambda f: f.replace("$", ""),
    lambda f: f.lower(),
    lambda f: f.replace("-", " - ").replace("(", "( "),
    lambda f: re.sub(r"([A-Z]+\$?\d+)", r"Steps!\1", f.replace("$D", "D").replace("$F", "F")),
]


@pytest.mark.parametrize("change", one_in(2, SPELT_OTHERWISE))
def test_what_programs_rewrite_is_no_change_at_all(change: Callable[[str], str], book: Path) -> None:
    right = formula("log_softmax", 3, 1)
    assert change(right) != right
    assert check_book(typed(book, **{at("log_softmax", 3, 1): change(right)})).findings == ()


ACCIDENTS = [
    ("target", 0, 0, "=0.95"),
    ("target", 1, 0, f"=epsilon*{at('one_hot', 1, 1)}/2"),  # right while this label is the other class
    ("one_hot", 2, 0, formula("one_hot", 1, 0)),  # two rows of one label
    ("one_hot", 4, 0, formula("one_hot", 0, 0)),
    ("row_max", 0, 0, f"={at('logits')}"),  # right while the first logit is the largest
    ("label_loss", 0, 0, f"=-{at('log_softmax')}"),  # right while the label is 0
    ("loss", 0, 0, f"=SUM({at('row_loss')}:{at('row_loss', 4)})/5+0*n_rows+(epsilon-0.1)"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("word", "n", "k", "lucky"), ACCIDENTS)
def test_a_formula_that_is_right_by_accident_is_a_fault(word: str, n: int, k: int, lucky: str, book: Path) -> None:
    finding = the_fault(typed(book, **{at(word, n, k): lucky}))
    assert finding.cell == f"Steps!{at(word, n, k)}"
    assert "right for these inputs only" in finding.message


@pytest.mark.slow
def test_accidents_are_found_where_inputs_are_formulas_priors_masks_or_weights(tmp_path: Path) -> None:
    z = np.array(FIVE_CLASSES)
    z[:, 4] = -np.inf
    prior = [0.1, 0.2, 0.3, 0.3, 0.1]
    options: dict[str, Any] = {"class_mask": [1, 1, 1, 1, 0], "prior": prior, "weight": WEIGHTS, "weighting": "label"}
    made = make_book(prepare(z, [0, 1, 2, 3, -100], 0.2, **options), layout="full")
    path = tmp_path / "book.xlsx"
    save(made, path)
    assert check_book(path).findings == ()
    places = made.layout.places
    logit, weight = places["logits"].cell(0, 1), places["class_weight"].cell(0, 0)
    assert check_book(typed(path, **{logit: f"=2*{places['logits'].cell(1, 1)}-1"})).exit_code == 0
    lucky = {
        places["label_weight"].cell(0): f"={weight}",
        places["free_prior"].cell(): f"=0.1*{places['allowed'].cell()}",
        places["free_mass"].cell(): "=0.9",
        places["keep"].cell(1): "=1",
        places["keep"].cell(4): "=0",
    }
    verdict = check_book(typed(path, **lucky, **{logit: f"=2*{places['logits'].cell(1, 1)}-1"}))
    assert {cell for f in fatal(verdict) for cell in f.cells} == {f"Steps!{cell}" for cell in lucky}


@pytest.mark.slow
def test_arithmetic_on_ranges_is_given_to_an_engine_that_knows_it(book: Path) -> None:
    if not set(readback.SECOND_OPINIONS) & set(available_engines()):
        pytest.skip("neither LibreOffice nor formulon is installed")
    span = [f"{at(word, 1, 0)}:{at(word, 1, 1)}" for word in ("target", "softmax")]
    edited = typed(book, **{at("row_loss", 1): f"=-SUMPRODUCT({span[0]}*LN({span[1]}))"})
    alone = recalculate(edited).values["Steps"][at("row_loss", 1)]
    assert alone != recalculate(book).values["Steps"][at("row_loss", 1)]  # the day IronCalc learns it, this can go
    verdict = check_book(edited)
    assert verdict.exit_code == 0
    assert verdict.engine.split()[0] in readback.SECOND_OPINIONS
    assert any("IronCalc errs" in finding.message for finding in verdict.findings)


# Inputs and the other sheets -----------------------------------------------------------------------------------------


def test_an_input_that_is_none_is_the_only_thing_said(book: Path) -> None:
    finding = the_fault(typed(book, **{at("logits", 1, 0): None}))
    assert finding.message == f"Steps!{at('logits', 1, 0)} is empty: a number is expected"
    assert finding.kind == "input not a number"
    assert the_fault(typed(book, B2=1.5)).kind == "input out of range"


def test_changed_inputs_hide_no_fault(book: Path) -> None:
    cell = at("log_softmax", 0, 0)
    verdict = check_book(typed(book, B2=0.25, **{cell: formula("log_softmax").replace("LN", "LOG")}))
    assert [finding.cell for finding in verdict.findings] == [f"Steps!{cell}", "Steps!B2"]
    assert verdict.findings[1].message == "epsilon (Steps!B2) is 0.25; the file was made with 0.1"


@pytest.mark.parametrize("logits", [(1000, 999), (-1000, -1001), (1e5, -1e5)])
def test_logits_beyond_exp_are_no_fault(logits: tuple[float, float], book: Path) -> None:
    verdict = check_book(typed(book, **{at("logits", 0, k): logits[k] for k in (0, 1)}))
    assert verdict.exit_code == 0, verdict.line
    assert not fatal(verdict)


def test_errors_and_checks_on_other_sheets_are_findings(book: Path) -> None:
    sheet = openpyxl.load_workbook(book)["Play"]
    row = next(cell.row for (cell,) in sheet.iter_rows(max_col=1) if cell.value == "row of the batch")
    lost = the_fault(typed(book, "Play", **{f"B{row}": 99}))
    assert lost.cell.startswith("Play!")
    assert "#" in lost.message
    tolerance = next(
        c.row for (c,) in openpyxl.load_workbook(book)["Lists"].iter_rows(4, 40, 4, 4) if c.value == "tolerance"
    )
    verdict = check_book(typed(book, "Lists", **{f"E{tolerance}": -1}))
    assert verdict.exit_code == 1
    assert {finding.cell.split("!")[0] for finding in fatal(verdict)} == {"Checks"}
    assert all("shows CHECK: " in finding.message for finding in fatal(verdict))


@pytest.mark.slow
def test_another_engine_says_the_same(book: Path) -> None:
    others = [name for name in available_engines() if name != "ironcalc"]
    if not others:
        pytest.skip("neither LibreOffice nor formulon is installed")
    assert check_book(book, engine=others[0]).findings == ()
    edited = typed(book, **{at("softmax", 1, 0): "=0.1"})
    assert [f.cell for f in fatal(check_book(edited, engine=others[0]))] == [f"Steps!{at('softmax', 1, 0)}"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="could not import 'torch'")
def test_pytorch_is_asked_about_the_inputs_as_they_are(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labelsmooth.parity.compare import implementations

    monkeypatch.setattr(readback, "implementations", implementations)
    verdict = check_book(typed(book, B2=0.25))
    assert verdict.implementations
    assert verdict.agree


# Formulas as text ----------------------------------------------------------------------------------------------------


def test_plain_formulas_keep_what_matters() -> None:
    assert plain("=SUM($D$10:E10)/1E-09") == plain("= sum(d10:e$10) / 0.000000001")
    assert plain("='Steps'!B2+Steps!$C3") == "B2+C3"
    assert plain('=IF(A1="a b",1,0)') != plain('=IF(A1="ab",1,0)')
    assert plain('=IF(A1="x",1,0)') != plain('=IF(A1="X",1,0)')
    assert plain("=LOG(D1)") != plain("=LOG10(D1)")
    assert plain("=PyTorch!B2") != plain("=B2")
    assert plain("=D1+12") != plain("=D11+2")


def test_the_cells_that_a_formula_reads_are_found() -> None:
    named = {"EPSILON": "B2", "OFF": "D128"}
    assert list(cells_read("=(1-epsilon)*$D$11+SUM(D2:E3)", named)) == ["B2", "D11", "D2", "E2", "D3", "E3"]
    assert list(cells_read('=IF(off>0,"D9",LOG10(Lists!B5))', named)) == ["D128"]


def test_only_ranges_that_engines_differ_on_need_another_engine() -> None:
    assert all(map(needs_arrays, ["=SUM(D1:E1*D2:E2)", "=-SUMPRODUCT(D1:E1,LN(D2:E2))", "=EXP(Answers!$D$1:$E$1)"]))
    ours = {f for s in TWO.chain.steps for *_, f in TWO.layout.cells(s)}
    assert len(ours) > 100
    assert not any(map(needs_arrays, ours))
    assert not needs_arrays("=ROWS(D30:D34)*MAX(D1:E1)")


# Students ------------------------------------------------------------------------------------------------------------


def filled(words: list[str] | None = None) -> dict[str, Any]:
    """Every answer as a formula or, in every second step, as a number of four digits."""
    out: dict[str, Any] = {}
    for number, step in enumerate(TWO.chain.steps):
        if words is None or step.word in words:
            for _, _, n, k, right in TWO.layout.cells(step):
                # single numbers have names that belong to the answers; a student points at the cells
                own = re.sub(r"\b(loss|loss_floor|on|off)\b", lambda m: at(m[0]), right)
                value = float(f"{min(float(TWO.values[step.word][n, k]), 9.99e307):.4g}")
                out[at(step.word, n, k)] = value if number % 2 else f"={own}"
    return out


def test_a_copy_that_nobody_touched_is_not_wrong(student: Path) -> None:
    verdict = check_book(student)
    assert (verdict.blank, verdict.exit_code, verdict.right, verdict.wrong) == (True, 0, 0, 0)
    assert verdict.unfilled == verdict.checked == TWO.layout.formulas
    assert {finding.kind for finding in verdict.findings} == {"not filled in"}
    assert len(verdict.findings) == len(TWO.chain.steps)
    assert f"0 right, 0 wrong, {verdict.unfilled} not filled in" in verdict.line


def test_a_copy_filled_in_rightly_is_all_right(student: Path) -> None:
    verdict = check_book(typed(student, **filled()))
    assert fatal(verdict) == []
    assert (verdict.right, verdict.wrong, verdict.unfilled) == (TWO.layout.formulas, 0, 0)
    assert verdict.findings == ()


def test_one_wrong_answer_among_right_ones_is_named_without_the_answer(student: Path) -> None:
    answers = {**filled(), at("row_loss", 1): 2.0}
    verdict = check_book(typed(student, **answers))
    finding = fatal(verdict)[0]
    assert finding.cell == f"Steps!{at('row_loss', 1)}"
    assert finding.message == f"Steps!{at('row_loss', 1)} holds 2, off by 0.195"
    assert verdict.exit_code == 1
    assert verdict.wrong == len(fatal(verdict)) < 10  # what is computed from it is wrong as well, and comes later
    assert verdict.right + verdict.wrong == TWO.layout.formulas
    assert "2.19" not in verdict.line
    assert finding.message in verdict.line


def test_a_half_filled_copy_counts_what_is_there(student: Path) -> None:
    verdict = check_book(typed(student, **filled(["one_hot", "target"]), **{at("row_max", 2): "  "}))
    assert (verdict.right, verdict.wrong, verdict.unfilled) == (20, 0, TWO.layout.formulas - 20)
    assert verdict.exit_code == 0


STUDENTS_MISTAKES = [
    ("log_softmax", 3, 1, lambda f: f.replace("LN(", "LOG("), "LOG (base 10) gives where LN is meant"),
    ("row_loss", 1, 0, lambda f: f.replace("=-", "="), "without the minus"),
    ("target", 1, 0, lambda f: f.replace("epsilon/n", "1/n"), "1/K added instead of ε/K"),
    ("target", 1, 0, lambda _: "0,05", "holds the text '0,05': a number or a formula is expected"),
    ("target", 1, 0, lambda _: True, "holds the text TRUE"),
    ("target", 1, 0, lambda _: "=1/0", "shows #DIV/0!"),
    ("target", 1, 0, lambda _: "=nonsense", "shows #NAME?"),
]


@pytest.mark.parametrize(("word", "n", "k", "change", "says"), one_in(3, STUDENTS_MISTAKES))
def test_a_students_mistake_is_called_by_its_name(
    word: str, n: int, k: int, change: Callable[[str], Any], says: str, student: Path
) -> None:
    before = filled(["one_hot", "target", "row_max", "exponential", "exponential_sum", "log_softmax"])
    right, wrong = ({**before, at(word, n, k): x} for x in (formula(word, n, k), change(formula(word, n, k))))
    assert check_book(typed(student, **right)).wrong == 0
    (finding,) = fatal(check_book(typed(student, **wrong)))
    assert finding.cell == f"Steps!{at(word, n, k)}"
    assert says in finding.message


def test_marks_follow_the_inputs_of_the_copy(student: Path) -> None:
    cell = at("target", 0, 0)
    assert check_book(typed(student, **{cell: 0.95})).wrong == 0
    verdict = check_book(typed(student, B2=0.2, **{cell: 0.95}))
    assert (verdict.right, verdict.wrong) == (0, 1)
    assert any("epsilon (Steps!B2) is 0.2" in finding.message for finding in verdict.findings)
    assert check_book(typed(student, B2=0.2, **{cell: 0.9})).right == 1


def test_looking_at_the_hidden_answers_is_noted(student: Path) -> None:
    cells = {at("row_loss"): f"=Answers!{at('row_loss')}", at("loss"): "=loss", at("row_loss", 1): "=1.1+1.0951"}
    verdict = check_book(typed(student, **cells))
    noted = {f.cell for f in verdict.findings if "reads the hidden answers" in f.message}
    assert noted == {f"Steps!{at('row_loss')}", f"Steps!{at('loss')}"}


def test_editing_the_hidden_sheets_earns_nothing(student: Path) -> None:
    edited = typed(student, **{at("target"): 0.5})
    sheets = openpyxl.load_workbook(edited)
    sheets["Answers"][at("target")], sheets["Marks"][at("target")] = 0.5, 1
    sheets.save(edited)
    assert check_book(edited).wrong == 1


# Many files ----------------------------------------------------------------------------------------------------------


def test_many_files_give_a_line_each_whatever_they_are(book: Path, student: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.xlsx").write_bytes(book.read_bytes()[:2000])
    foreign = tmp_path / "foreign.xlsx"
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("hello.txt", "no workbook")
    paths = [book, tmp_path / "cut.xlsx", tmp_path / "none.xlsx", foreign, tmp_path, student]
    verdicts = list(check_books(paths))
    assert [verdict.exit_code for verdict in verdicts] == [0, 2, 2, 2, 2, 0]
    for path, verdict in zip(paths, verdicts, strict=True):
        assert verdict.line.startswith(str(path))
        assert verdict.line.count(str(path)) == 1
        assert verdict.line.isprintable()
        assert not (verdict.error and verdict.agree)


def test_each_verdict_comes_as_soon_as_it_is_there(book: Path) -> None:
    verdicts = check_books([book, "none.xlsx"])
    assert next(verdicts).agree
    assert next(verdicts).error


def test_a_missing_engine_is_said(book: Path) -> None:
    with pytest.raises(ValueError, match="no engine"):
        check_book(book, engine="abacus")


def test_a_foreign_workbook_is_refused_before_an_engine_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheets = openpyxl.Workbook()
    sheets.active["A1"] = "=1+1"
    sheets.save(tmp_path / "foreign.xlsx")
    monkeypatch.setattr(readback, "recalculate", lambda *_, **__: pytest.fail("an engine was asked"))
    with pytest.raises(WorkbookError, match="not made by labelsmooth"):
        check_book(tmp_path / "foreign.xlsx")
