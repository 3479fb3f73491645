"""A corrected copy: the cells that were named change, and every other byte of every part stays."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from foreign_books import LAYOUTS, written

pytest.importorskip("openpyxl")
pytest.importorskip("xlsxwriter")

from labelsmooth.errors import InputError, WorkbookError
from labelsmooth.workbook._foreign_copy import corrected_copy
from labelsmooth.workbook.read import read_contents

SHEET = "xl/worksheets/sheet1.xml"


def parts(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def rewritten(path: Path, target: Path, **changed: bytes) -> Path:
    """The same package with some parts replaced; `sheet` and `chain` name two of them."""
    names = {"sheet": SHEET, "chain": "xl/calcChain.xml", "types": "[Content_Types].xml"}
    content = parts(path) | {names[key]: text for key, text in changed.items()}
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    return target


def corrected(path: Path, target: Path, cells: dict[str, str], **results: float) -> dict[str, bytes]:
    formulas = dict(read_contents(path).formulas)
    sheet = next(iter(formulas))
    corrected_copy(
        path, target, corrected={sheet: cells}, formulas=formulas, results={sheet: results} if results else {}
    )
    return parts(target)


def test_only_the_named_cells_change(tmp_path: Path) -> None:
    path = written(tmp_path, LAYOUTS["post"].cells)
    before = parts(path)
    after = corrected(path, tmp_path / "copy.xlsx", {"K2": "=-SUM(B2:C2)", "K4": '=IF(B4<1,"a&b",2)'})
    assert list(before) == list(after)
    assert {name for name in before if before[name] != after[name]} == {SHEET}
    cell = re.compile(rb'<c r="(\w+)"[^>]*>.*?</c>')
    one, two = ({m[1]: m[0] for m in cell.finditer(text[SHEET])} for text in (before, after))
    assert {name.decode() for name in one if one[name] != two[name]} == {"K2", "K4"}
    assert cell.sub(b"", before[SHEET]) == cell.sub(b"", after[SHEET])
    contents = read_contents(tmp_path / "copy.xlsx")
    assert contents.formulas["Sheet1"]["K4"] == '=IF(B4<1,"a&b",2)'


def test_a_calculated_result_is_stored_beside_its_formula(tmp_path: Path) -> None:
    path = written(tmp_path, LAYOUTS["post"].cells)
    after = corrected(path, tmp_path / "copy.xlsx", {"K2": "=1+1"}, K2=2.0, K3=0.125)
    assert b"<f>1+1</f><v>2.0</v>" in after[SHEET]
    assert b"LN(I3:J3))</f><v>0.125</v>" in after[SHEET]


def test_shared_formulas_are_written_out_before_one_changes(tmp_path: Path) -> None:
    path = written(
        tmp_path, {"S": {"A1": 1, "A2": 2, "A3": 3, "B1": "=LOG(A1)", "B2": "=LOG(A2)", "B3": "=LOG(A3)", "C1": "=A1"}}
    )
    text = parts(path)[SHEET]
    for row, formula in (
        (1, b'<f t="shared" ref="B1:B3" si="0">LOG(A1)</f>'),
        (2, b'<f t="shared" si="0"/>'),
        (3, b'<f t="shared" si="0"/>'),
    ):
        text = text.replace(b"<f>LOG(A%d)</f>" % row, formula)
    shared = rewritten(path, tmp_path / "shared.xlsx", sheet=text)
    assert read_contents(shared).formulas["S"]["B3"] == "=LOG(A3)"
    after = corrected(shared, tmp_path / "copy.xlsx", {"B1": "=LN(A1)"})
    assert b"shared" not in after[SHEET]
    assert read_contents(tmp_path / "copy.xlsx").formulas["S"] == {
        "B1": "=LN(A1)",
        "B2": "=LOG(A2)",
        "B3": "=LOG(A3)",
        "C1": "=A1",
    }


def test_a_number_that_becomes_a_formula_takes_the_chain_along(tmp_path: Path) -> None:
    path = written(tmp_path, {"S": {"A1": 1, "B1": 2.5, "C1": "=A1"}})
    types = parts(path)["[Content_Types].xml"].replace(
        b"</Types>", b'<Override PartName="/xl/calcChain.xml" ContentType="x"/></Types>'
    )
    chained = rewritten(path, tmp_path / "chained.xlsx", chain=b"<calcChain/>", types=types)
    kept = corrected(chained, tmp_path / "kept.xlsx", {"C1": "=A1+1"})
    assert "xl/calcChain.xml" in kept
    gone = corrected(chained, tmp_path / "gone.xlsx", {"B1": "=EXP(A1)"})
    assert "xl/calcChain.xml" not in gone
    assert b"calcChain" not in gone["[Content_Types].xml"]
    assert read_contents(tmp_path / "gone.xlsx").formulas["S"]["B1"] == "=EXP(A1)"


def test_an_array_formula_over_one_cell_stays_one_and_over_several_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, {"S": {"A1": 1, "A2": 2, "C1": "{=SUM(LOG(A1:A2))}"}})
    after = corrected(path, tmp_path / "copy.xlsx", {"C1": "{=SUM(LN(A1:A2))}"})
    assert b'<f t="array" ref="C1">SUM(LN(A1:A2))</f>' in after[SHEET]
    wide = rewritten(path, tmp_path / "wide.xlsx", sheet=parts(path)[SHEET].replace(b'ref="C1"', b'ref="C1:C2"'))
    with pytest.raises(WorkbookError, match="S!C1 is part of an array formula over several cells: correct it by hand"):
        corrected(wide, tmp_path / "no.xlsx", {"C1": "=1"})
    assert not (tmp_path / "no.xlsx").exists()


def test_a_copy_is_whole_or_not_there(tmp_path: Path) -> None:
    path = written(tmp_path, LAYOUTS["post"].cells)
    with pytest.raises(WorkbookError, match="Sheet1!Q99 is not in the file"):
        corrected(path, tmp_path / "copy.xlsx", {"Q99": "=1"})
    assert [file.name for file in tmp_path.iterdir()] == ["theirs.xlsx"]


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    path = written(tmp_path, LAYOUTS["post"].cells)
    target = tmp_path / "mine.xlsx"
    target.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        corrected(path, target, {"K2": "=1"})
    assert target.read_text() == "mine"
