"""Workbooks that labelsmooth did not write: logits, labels, probabilities, ε and losses are found by what formulas do."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from agree import FLOAT64, agree
from foreign_books import LAYOUTS, TWO, Layout, Z, written

pytest.importorskip("openpyxl")
pytest.importorskip("xlsxwriter")

from labelsmooth.errors import WorkbookError
from labelsmooth.workbook._foreign_formula import At
from labelsmooth.workbook._foreign_inputs import shown_cells
from labelsmooth.workbook.foreign import cells_of, numbers_of, read_foreign

BY_NAME = pytest.mark.parametrize("name", LAYOUTS)


def epsilon_of(found: object) -> str:
    return "" if found is None else found.shown if isinstance(found, At) else f"{found:g}"


@BY_NAME
def test_every_layout_is_found_without_being_told(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    book = read_foreign(written(tmp_path, layout.cells))
    found = book.found[0]
    table = found.table
    assert table.labels is not None
    got = {
        "kind": table.kind,
        "across": table.across,
        "logits": shown_cells(at for line in table.lines for at in line),
        "labels": shown_cells(at for line in table.labels.cells for at in line),
        "losses": shown_cells(found.cells("row_loss")),
        "epsilon": epsilon_of(table.epsilon),
    }
    assert got == {key: getattr(layout, key) for key in got}
    assert found.complete
    assert found.others == ()


@pytest.mark.slow
@BY_NAME
def test_the_numbers_of_a_layout_give_its_losses(name: str, tmp_path: Path) -> None:
    from labelsmooth import trace

    layout = LAYOUTS[name]
    book = read_foreign(written(tmp_path, layout.cells))
    z, y, epsilon = numbers_of(book.web, book.found[0].table)
    assert y is not None
    losses = trace(z, y, epsilon).row_loss
    assert len(losses) == len(book.found[0].cells("row_loss"))
    if layout.numbers:
        agree(np.round(losses, 4), np.array(layout.numbers), budget=FLOAT64, what="the post's losses")


def test_two_tables_on_a_sheet_are_two_tables(tmp_path: Path) -> None:
    book = read_foreign(written(tmp_path, LAYOUTS["two tables"].cells))
    areas = [shown_cells(at for line in found.table.lines for at in line) for found in book.found]
    assert areas == ["Data!B2:D4", "Data!B13:D15"]


def test_the_batch_loss_is_told_from_the_sum(tmp_path: Path) -> None:
    steps, nested = (read_foreign(written(tmp_path, LAYOUTS[name].cells)).found[0] for name in ("steps", "nested"))
    assert [at.cell for at in steps.cells("loss")] == ["R7"]
    assert [at.cell for at in nested.cells("loss_sum")] == ["F6"]
    assert nested.cells("loss") == []


@pytest.mark.parametrize("base", [0, 1])
def test_labels_that_could_count_from_either_are_read_by_their_formulas(base: int, tmp_path: Path) -> None:
    cells: dict[str, float | str] = {}
    for row, (z, y) in enumerate(zip(Z, (1, 2, 1, 2), strict=True), start=2):
        cells |= {f"{c}{row}": x for c, x in zip("BCD", z, strict=True)} | {f"A{row}": y}
        place = f"A{row}+1" if base == 0 else f"A{row}"
        cells[f"E{row}"] = f"=LN(SUMPRODUCT(EXP(B{row}:D{row})))-INDEX(B{row}:D{row},{place})"
    labels = read_foreign(written(tmp_path, {"S": cells})).found[0].table.labels
    assert labels is not None
    assert labels.base == base


def test_areas_that_a_person_gives_are_taken(tmp_path: Path) -> None:
    layout = LAYOUTS["steps"]
    path = written(tmp_path, layout.cells)
    [found] = read_foreign(path, logits="sheet1!$B$3:$D$6", labels="Sheet1!A3:A6").found
    assert [at.cell for at in found.cells("row_loss")] == ["R3", "R4", "R5", "R6"]
    [part] = read_foreign(path, logits="Sheet1!B3:D5").found
    assert len(part.table.lines) == 3


def test_a_table_that_reads_the_same_both_ways_has_two_readings(tmp_path: Path) -> None:
    cells: dict[str, float | str] = {"A1": 1, "B1": 0, "A2": 0, "B2": 1, "F1": "=-SUMPRODUCT(A1:B2,LN(D1:E2))"}
    both = read_foreign(written(tmp_path, {"S": cells | {"D1": 0.7, "E1": 0.3, "D2": 0.3, "E2": 0.7}})).found[0]
    assert len(both.others) == 1
    one = read_foreign(written(tmp_path, {"S": cells | {"D1": 0.7, "E1": 0.3, "D2": 0.6, "E2": 0.4}})).found[0]
    assert one.others == ()
    assert one.table.across


def test_names_in_the_book_stand_for_their_cells(tmp_path: Path) -> None:
    import xlsxwriter

    path = tmp_path / "named.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("S")
        book.define_name("smoothing", "=S!$F$1")
        sheet.write("F1", 0.1)
        for row, (z, y) in enumerate(zip(TWO, (1, 2, 2, 1, 1), strict=True), start=1):
            sheet.write_row(row, 0, [y, *z])
            line = f"B{row + 1}:C{row + 1}"
            hit, mean = f"INDEX({line},A{row + 1})", f"AVERAGE({line})"
            sheet.write_formula(row, 3, f"=LN(SUMPRODUCT(EXP({line})))-(1-smoothing)*{hit}-smoothing*{mean}")
    found = read_foreign(path).found[0]
    assert epsilon_of(found.table.epsilon) == "S!F1"
    assert len(found.cells("row_loss")) == 5


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("areas", "says"),
    [
        ({"logits": "B3:D6"}, "is no area: write the sheet"),
        ({"logits": "Elsewhere!B3:D6"}, "no sheet 'Elsewhere'"),
        ({"logits": "Sheet1!B2:D6"}, "Sheet1!B2 is among the logits and holds no number"),
        ({"logits": "Sheet1!B1:ZZ900000"}, "larger than all that the file holds"),
    ],
)
def test_an_area_that_cannot_be_is_refused_in_one_line(areas: dict[str, str], says: str, tmp_path: Path) -> None:
    path = written(tmp_path, LAYOUTS["steps"].cells)
    with pytest.raises(WorkbookError, match=r"^.*$") as fault:
        read_foreign(path, **areas)
    assert says in str(fault.value)


def test_a_book_without_logarithms_asks_for_areas(tmp_path: Path) -> None:
    path = written(tmp_path, {"S": {"A1": 1, "A2": 2, "A3": "=SUM(A1:A2)"}})
    with pytest.raises(WorkbookError, match=r"--logits Sheet1!B2:F6"):
        read_foreign(path)


def test_files_from_strangers_pass_the_gate_first(tmp_path: Path) -> None:
    path = written(tmp_path, LAYOUTS["post"].cells)
    whole = path.read_bytes()
    bad = tmp_path / "bad.xlsx"
    for content, says in (
        (whole[: len(whole) // 2], "cut short"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 600, "password"),
        (b"image,is_cat\n", "no .xlsx"),
    ):
        bad.write_bytes(content)
        with pytest.raises(WorkbookError, match=says):
            read_foreign(bad)
    for name, says in (("xl/vbaProject.bin", "macros"), ("xl/externalLinks/externalLink1.xml", "another workbook")):
        bad.write_bytes(whole)
        with zipfile.ZipFile(bad, "a") as archive:
            archive.writestr(name, "<x/>")
        with pytest.raises(WorkbookError, match=says):
            read_foreign(bad)


def test_formulas_that_read_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labelsmooth.workbook import _foreign_cells as cells

    path = written(tmp_path, LAYOUTS["steps"].cells)
    monkeypatch.setattr(cells, "MOST_READ", 20)
    with pytest.raises(WorkbookError, match="read more than 20 cells"):
        read_foreign(path)
    monkeypatch.setattr(cells, "MOST_FORMULAS", 20)
    with pytest.raises(WorkbookError, match="57 formulas"):
        read_foreign(path)


def test_a_circle_and_an_unknown_function_leave_the_rest_alone(tmp_path: Path) -> None:
    layout: Layout = LAYOUTS["hard"]
    path = written(tmp_path, layout.cells, K1="=K2+1", K2="=K1+1", K3="=FORECAST(1,A2:A5,B2:B5)", K4="=SUM(A:A)")
    book = read_foreign(path)
    assert {at.cell for at in book.web.unread} == {"K1", "K2", "K4"}
    assert [at.cell for at in book.found[0].cells("row_loss")] == ["H2", "H3", "H4", "H5"]


def test_the_cells_of_an_area_come_row_by_row(tmp_path: Path) -> None:
    book = read_foreign(written(tmp_path, LAYOUTS["post"].cells))
    assert [at.cell for at in cells_of(book.web, "Sheet1!B2:C3")] == ["B2", "C2", "B3", "C3"]


def test_the_foreign_course_file_is_read_without_options(shared: Path) -> None:
    book = read_foreign(shared)
    areas = [shown_cells(at for line in found.table.lines for at in line) for found in book.found]
    assert areas == ["softmax!B3:B7", "softmax!G3:G7", "entropy!C2:C6", "log_entropy!D2:D6"]
    assert [found.table.kind for found in book.found] == ["logits", "logits", "probabilities", "probabilities"]
