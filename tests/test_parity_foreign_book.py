"""A stranger's workbook from file to verdict: recalculated by an engine, corrected in a copy, and through the commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from foreign_books import LAYOUTS, written

pytest.importorskip("openpyxl")
pytest.importorskip("xlsxwriter")
pytest.importorskip("ironcalc")

from labelsmooth.errors import InputError, WorkbookError
from labelsmooth.parity import _foreign_engine
from labelsmooth.parity._foreign_engine import STALE
from labelsmooth.parity.foreign import check_foreign, typed_batch, write_corrected

pytestmark = pytest.mark.slow  # an engine starts in a process of its own each time
LOG_LOSS = {f"C{row}": f"=-A{row}*LOG(B{row})-(1-A{row})*LOG(1-B{row})" for row in range(2, 6)}


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A binary loss with LOG in every row."""
    return written(tmp_path, LAYOUTS["binary"].cells, **LOG_LOSS)


def run(*arguments: object) -> tuple[int, str, str]:
    testing = pytest.importorskip("click.testing")
    from labelsmooth.cli import main

    done = testing.CliRunner().invoke(main, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def test_the_clean_book_agrees_with_the_chain_in_every_cell(tmp_path: Path) -> None:
    verdict = check_foreign(written(tmp_path, LAYOUTS["down"].cells))
    assert (verdict.verdict, verdict.exit_code) == ("agrees", 0)
    assert verdict.checked == 33
    assert verdict.largest < 1e-12
    assert verdict.tables[0].line.startswith("logits S!B2:E4 (4 rows, 3 classes, classes down); labels S!B14:E14")


def test_a_stored_number_that_the_formula_does_not_give_is_noted(tmp_path: Path) -> None:
    verdict = check_foreign(written(tmp_path, LAYOUTS["down"].cells))
    assert [finding.cell for finding in verdict.findings if finding.kind == STALE] == ["S!B6"]


def test_the_corrected_copy_agrees_and_the_original_stays(book: Path) -> None:
    before = book.read_bytes()
    verdict = check_foreign(book)
    assert (verdict.verdict, verdict.findings[0].cell) == ("one_cause", "S!C2:C5")
    copy = write_corrected(verdict, book.with_name("copy.xlsx"))
    assert copy.verdict == "agrees"
    assert not [finding for finding in copy.findings if finding.kind == STALE]
    assert book.read_bytes() == before
    again = check_foreign(book.with_name("copy.xlsx"))
    assert not [finding for finding in again.findings if finding.kind == STALE]


def test_the_original_is_never_written_over(book: Path) -> None:
    verdict = check_foreign(book)
    for target in (book, book.parent / "." / book.name):
        with pytest.raises(InputError, match="never written over"):
            write_corrected(verdict, target, force=True)
    copy = write_corrected(verdict, book.with_name("copy.xlsx"))
    with pytest.raises(InputError, match="nothing that a corrected copy would change"):
        write_corrected(copy, book.with_name("third.xlsx"))


def test_a_right_formula_that_overflows_is_a_finding(tmp_path: Path) -> None:
    verdict = check_foreign(written(tmp_path, LAYOUTS["hard"].cells, A2=1000))
    assert verdict.verdict == "one_cause"
    assert "EXP cannot hold so large a number" in verdict.findings[0].message


def test_an_engine_that_computes_something_else_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_foreign_engine, "available_engines", lambda: ("ironcalc",))
    verdict = check_foreign(written(tmp_path, LAYOUTS["post"].cells))
    [note] = [finding for finding in verdict.findings if "computes something else" in finding.message]
    assert (note.cell, note.fatal) == ("Sheet1!K2", False)
    assert verdict.checked == 25  # everything but the five losses


@pytest.mark.parametrize(("value", "fatal"), [(0.6, True), (0.71, False)])
def test_probabilities_that_do_not_sum_to_one_are_named(value: float, fatal: bool, tmp_path: Path) -> None:
    verdict = check_foreign(written(tmp_path, LAYOUTS["probabilities"].cells, E3=value))
    [found] = [finding for finding in verdict.findings if "the probabilities sum to" in finding.message]
    assert (found.cell, found.fatal) == ("S!E3:G3", fatal)


def test_cells_that_were_named_as_losses_have_to_be_losses(tmp_path: Path) -> None:
    path = written(tmp_path, LAYOUTS["hard"].cells)
    assert check_foreign(path, losses="S!H2:H5").agree
    verdict = check_foreign(path, losses="S!G2:H2")
    assert verdict.verdict == "none_fits"
    assert verdict.findings[0].message == "S!G2 was named as a loss and is softmax"


def test_typed_losses_are_handed_on_as_numbers(tmp_path: Path) -> None:
    cells = {cell: value for cell, value in LAYOUTS["hard"].cells["S"].items() if cell[0] in "ABCD"}
    path = written(tmp_path, {"S": cells | {f"H{row}": 0.5 * row for row in range(2, 6)}})
    batch = typed_batch(path, logits="S!A2:C5", labels="S!D2:D5", losses="S!H2:H5")
    assert batch is not None
    z, y, losses = batch
    assert (z.shape, y.tolist(), losses) == ((4, 3), [0, 2, 1, 0], [1.0, 1.5, 2.0, 2.5])
    with pytest.raises(WorkbookError, match="one a row is expected"):
        typed_batch(path, logits="S!A2:C5", labels="S!D2:D5", losses="S!H2:H4")
    assert typed_batch(written(tmp_path, LAYOUTS["hard"].cells), losses="S!H2:H5") is None


# The commands --------------------------------------------------------------------------------------------------------


def test_diagnose_names_the_cell_and_offers_the_copy(book: Path) -> None:
    code, out, err = run("diagnose", book)
    assert code == 1
    assert "LOG for LN at S!C2:C5: LOG is base 10 here" in out
    assert "--fix COPY.xlsx" in err
    copy = book.with_name("copy.xlsx")
    code, out, _ = run("diagnose", book, "--fix", copy)
    assert "corrected copy:" in out
    assert copy.is_file()
    assert run("diagnose", copy)[0] == run("compare", copy)[0] == 0
    code, _, err = run("diagnose", book, "--fix", copy)
    assert (code, "exists" in err) == (2, True)


def test_diagnose_gives_one_object_to_machines(book: Path) -> None:
    code, out, _ = run("diagnose", book, "--json")
    answer: dict[str, Any] = json.loads(out)
    assert (code, answer["verdict"], answer["agree"]) == (1, "one_cause", False)
    assert answer["matches"][0] == {
        "causes": ["LOG for LN"],
        "cell": "S!C2",
        "says": "LOG is base 10 here, and the loss takes LN",
        "formula": LOG_LOSS["C2"],
        "fix": LOG_LOSS["C2"].replace("LOG", "LN"),
    }
    assert answer["tables"][0]["numbers"] == "S!B2:B5"


def test_areas_on_the_command_line_are_areas_and_a_bare_flag_stays_one(tmp_path: Path) -> None:
    path = written(tmp_path, LAYOUTS["hard"].cells)
    for arguments in (("--logits", "S!A2:C5"), ("--logits=S!A2:C5",)):
        assert run("diagnose", path, *arguments, "--labels", "S!D2:D5", "--losses", "S!H2:H5")[0] == 0
    code, _, err = run("diagnose", path, "--logits", "S!A1:C5")
    assert (code, "S!H1" in err or "S!A1" in err) == (2, True)
    batch = tmp_path / "batch.csv"
    batch.write_text("a,b,label,mine\n0.2,0.8,0,1.037\n", encoding="utf-8")
    assert run("diagnose", "--logits", batch, "--losses", "mine")[0] in {0, 1}


def test_compare_shows_each_step_of_a_foreign_book(tmp_path: Path) -> None:
    code, out, _ = run("compare", written(tmp_path, LAYOUTS["hard"].cells))
    assert code == 0
    assert "row loss" in out
    assert "agrees, 17 cells follow the chain" in out


def test_a_workbook_that_is_a_table_goes_to_the_batch(tmp_path: Path) -> None:
    cells = {"A1": "a", "B1": "b", "C1": "label", "A2": 4.2, "B2": -2.4, "C2": "a", "A3": 1.6, "B3": -0.6, "C3": "b"}
    code, out, _ = run("compare", written(tmp_path, {"S": cells}), "--frameworks", "none")
    assert (code, "2.1951" in out) == (0, True)


def test_the_foreign_course_file_is_diagnosed_and_corrected(shared: Path, soffice: str, tmp_path: Path) -> None:
    assert soffice
    path = Path(shutil.copyfile(shared, tmp_path / shared.name))
    verdict = check_foreign(path)
    named = [finding.cell for finding in verdict.findings if finding.fatal]
    assert named == ["entropy!D2:D6", "entropy!E2:E6", "log_entropy!E2:E6", "log_entropy!F2:F6"]
    assert verdict.verdict == "one_cause"
    copy = write_corrected(verdict, tmp_path / "copy.xlsx")
    assert copy.verdict == "agrees"
    assert copy.checked > 60
