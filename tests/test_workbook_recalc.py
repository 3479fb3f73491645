"""Three engines calculate what NumPy calculates, and a run in which a formula was not calculated is refused.

Every workbook made here carries wrong stored results on purpose: a test that read them back would fail.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, LIBREOFFICE, agree
from labelsmooth.errors import EngineError, WorkbookError
from labelsmooth.workbook import _cells, _engines
from labelsmooth.workbook._cells import POISON, poisoned_copy, read_values
from labelsmooth.workbook._package import address, split_address, split_reference
from labelsmooth.workbook.recalc import available_engines, convert_to_pdf, main, recalculate

Z = np.array([[4.2, -2.4], [1.6, -0.6], [3.6, 1.2], [-0.5, 0.5], [-0.25, 1.7]])
WRONG = 999
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and limits of this kind exist on Linux and macOS only")


LIBREOFFICE_RUN = pytest.param("libreoffice", marks=pytest.mark.slow)
FORMULON_RUN = pytest.param("formulon", marks=pytest.mark.slow)


@pytest.fixture(params=["ironcalc", LIBREOFFICE_RUN, FORMULON_RUN])
def engine(request: pytest.FixtureRequest) -> str:
    """Give each engine in turn, or skip."""
    if request.param == "libreoffice":
        request.getfixturevalue("soffice")
    else:
        pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    """Give a workbook of two sheets: losses on the first, the other kinds of results on the second."""
    xlsxwriter = pytest.importorskip("xlsxwriter")
    path = tmp_path / "lesson.xlsx"
    with xlsxwriter.Workbook(path) as book:
        steps, other = book.add_worksheet("Steps"), book.add_worksheet("It's other")
        steps.write("A1", 0.1)
        book.define_name("epsilon", "=Steps!$A$1")
        for row, (cat, dog) in enumerate(Z, start=2):
            steps.write_row(f"A{row}", [cat, dog])
            steps.write_formula(f"C{row}", f"=MAX(A{row}:B{row})", None, WRONG)
            steps.write_formula(f"D{row}", f"=LN(EXP(A{row}-C{row})+EXP(B{row}-C{row}))+C{row}", None, WRONG)
            steps.write_formula(f"E{row}", f"=D{row}-(1-epsilon)*A{row}-epsilon*SUM(A{row}:B{row})/2", None, WRONG)
        steps.write_formula("E8", "=AVERAGE(E2:E6)", book.add_format({"bold": True}), WRONG)
        other.write_string("A1", "cat & dog")
        other.write_formula("A2", "=Steps!E8*2", None, WRONG)
        other.write_formula("A3", '=A1&" <b>"', None, "stale text")
        other.write_formula("A4", "=Steps!A1<1", None, False)
        other.write_formula("A5", '=IF(Steps!A1<1,"","no")', None, "stale text")
        other.write_formula("A6", "=EXP(1000)", None, WRONG)
        other.write_formula("A7", "=1/0", None, "#N/A")
        other.write_formula("A8", "=Z99", None, WRONG)
        other.write_array_formula("B1:B3", "{=EXP(Steps!A2:A4)}", None, WRONG)
        other.write("B2", WRONG)
        other.write("B3", WRONG)
    return path


def losses(epsilon: float) -> Any:
    row = np.log(np.exp(Z).sum(axis=1)) - (1 - epsilon) * Z[:, 0] - epsilon * Z.mean(axis=1)
    return np.append(row, row.mean())


def column(result: Any, cells: str) -> list[Any]:
    return [result.values["Steps"][cell] for cell in cells.split()]


def fake_engine(code: str) -> Callable[[Path], list[str]]:
    """Give a stand-in for the engine's process; in it, `job` is the job and `answer(...)` writes the answer."""
    head = (
        "import json, os, signal, sys, time\nfrom pathlib import Path\n"
        "job = json.loads(Path(sys.argv[1]).read_text()); book = Path(job['book'])\n"
        "def answer(values):\n"
        "    book.with_name('answer.json').write_text(json.dumps({'version': '0', 'values': values}))\n"
    )
    return lambda job: [sys.executable, "-c", head + code, str(job)]


# What the engines calculate ------------------------------------------------------------------------------------------


def test_every_engine_calculates_what_numpy_calculates(lesson: Path, engine: str) -> None:
    result = recalculate(lesson, engine=engine, timeout=300)  # formulon starts slowly on a busy machine
    budget = LIBREOFFICE if engine == "libreoffice" else FLOAT64
    agree(column(result, "E2 E3 E4 E5 E6 E8"), losses(0.1), budget=budget, what=f"losses by {engine}")
    other = result.values["It's other"]
    agree(other["A2"], 2 * losses(0.1)[-1], budget=budget, what="a formula across sheets")
    agree([other["B1"], other["B2"], other["B3"]], np.exp(Z[:3, 0]), budget=budget, what="an array formula")
    assert [other[f"A{row}"] for row in range(3, 9)] == ["cat & dog <b>", True, "", "#NUM!", "#DIV/0!", 0.0]
    assert isinstance(other["A4"], bool)
    assert (result.engine, result.formulas) == (engine, 16 + 10)
    assert re.match(r"\d+\.\d+", result.version)


@pytest.mark.parametrize("engine", ["ironcalc", LIBREOFFICE_RUN], indirect=True)
def test_changes_reach_the_formulas(lesson: Path, engine: str) -> None:
    changes = {"Steps!A1": 0.25, "'It''s other'!$A$1": "a<b> & c"}
    result = recalculate(lesson, engine=engine, changes=changes, timeout=300)
    budget = LIBREOFFICE if engine == "libreoffice" else FLOAT64
    agree(column(result, "E2 E3 E4 E5 E6 E8"), losses(0.25), budget=budget, what=f"changed losses by {engine}")
    assert result.values["It's other"]["A3"] == "a<b> & c <b>"


def test_no_digit_is_lost_on_the_way_from_ironcalc(tmp_path: Path) -> None:
    xlsxwriter = pytest.importorskip("xlsxwriter")
    pytest.importorskip("ironcalc")
    with xlsxwriter.Workbook(tmp_path / "digits.xlsx") as book:
        sheet = book.add_worksheet("Steps")
        for row, formula in enumerate(["=0.1+0.2", "=1/3", "=2^-1000/3", "=-1E308/3"]):
            sheet.write_formula(row, 0, formula, None, WRONG)
    values = list(recalculate(tmp_path / "digits.xlsx").values["Steps"].values())
    assert values == [0.1 + 0.2, 1 / 3, 2.0**-1000 / 3, -1e308 / 3]


def test_the_file_is_only_read_and_nothing_is_left(
    lesson: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ironcalc")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = lesson.read_bytes()
    recalculate(lesson, changes={"Steps!A1": 0.5})
    assert lesson.read_bytes() == before
    assert list(scratch.iterdir()) == []
    assert sorted(tmp_path.iterdir()) == [lesson, scratch]


def test_available_engines_are_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    has = {"ironcalc": False, "libreoffice": True, "formulon": True}
    for name, engine in list(_engines.ENGINES.items()):
        monkeypatch.setitem(_engines.ENGINES, name, replace(engine, present=lambda there=has[name]: there))
    assert available_engines() == ("libreoffice", "formulon")


# The proof -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_libreoffice_without_its_recalculation_mode_is_caught(
    lesson: Path, soffice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert soffice
    without = tuple(line for line in _engines._PROFILE if line[1] != "OOXMLRecalcMode")
    assert len(without) == len(_engines._PROFILE) - 1
    monkeypatch.setattr(_engines, "_PROFILE", without)
    with pytest.raises(
        EngineError, match=r"LibreOffice handed back the cached number of Steps!C2 .* without calculating"
    ):
        recalculate(lesson, engine="libreoffice")


CACHES = "from labelsmooth.workbook._cells import read_values\nvalues = read_values(book, job['cells'])\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (CACHES + "answer(values)", "handed back the cached number of Steps!C2 (and of 25 more cells) without"),
        (CACHES + "answer({s: [str(v) for v in vs] for s, vs in values.items()})", "handed back the cached number"),
        (
            "answer({s: [1.0] * len(c) for s, c in job['cells'].items()} | {'Steps': [None] * 16})",
            "no value for Steps!C2",
        ),
        (
            "answer({s: [1.0] * (len(c) - 1) for s, c in job['cells'].items()})",
            "15 of the 16 formula cells of sheet 'Steps'",
        ),
        ("answer({})", "0 of the 16 formula cells"),
        ("", "ended without an answer"),
    ],
    ids=["caches", "caches as text", "no value", "too few", "none", "no answer"],
)
def test_an_engine_that_does_not_calculate_is_refused(
    lesson: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    monkeypatch.setitem(_engines.ENGINES, "ironcalc", replace(_engines.ENGINES["ironcalc"], present=lambda: True))
    monkeypatch.setattr(_engines, "_command", fake_engine(code))
    with pytest.raises(EngineError, match=re.escape(said)):
        recalculate(lesson)


@pytest.mark.parametrize("last", [0, 15], ids=["first", "last"])
def test_one_stale_cell_among_calculated_ones_is_named(
    lesson: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    monkeypatch.setitem(_engines.ENGINES, "ironcalc", replace(_engines.ENGINES["ironcalc"], present=lambda: True))
    code = f"v = {{s: [1.0] * len(c) for s, c in job['cells'].items()}}; v['Steps'][{last}] = {POISON!r}; answer(v)"
    monkeypatch.setattr(_engines, "_command", fake_engine(code))
    cell = ("Steps!C2", "Steps!E8")[last > 0]
    with pytest.raises(EngineError, match=rf"the cached number of {cell} without calculating it"):
        recalculate(lesson)


def test_the_poison_survives_fifteen_digits() -> None:
    assert float(f"{POISON:.15g}") == POISON
    assert float(_cells._POISON_XML) == POISON


def test_a_workbook_without_formulas_proves_nothing_and_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkbookError, match="holds no formula"):
        recalculate(book_of(tmp_path, '<c r="A1"><v>1</v></c>'))


# Engines that fail ---------------------------------------------------------------------------------------------------


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a workbook of one formula, and let IronCalc count as installed: these tests replace its process."""
    monkeypatch.setitem(_engines.ENGINES, "ironcalc", replace(_engines.ENGINES["ironcalc"], present=lambda: True))
    return book_of(tmp_path, '<c r="A1"><f>1+1</f><v>7</v></c>')


@POSIX
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_a_crash_is_reported_with_its_signal(plain: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(_engines, "_command", fake_engine(f"os.kill(os.getpid(), signal.{name})"))
    number = int(getattr(signal, name))
    with pytest.raises(EngineError, match=re.escape(f"IronCalc crashed on {plain} (signal {number})")):
        recalculate(plain)


@pytest.mark.slow
def test_an_engine_that_hangs_is_ended_with_all_that_it_started(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "trace"
    child = f"import time, pathlib; time.sleep(2); pathlib.Path({str(trace)!r}).touch()"
    code = f"import subprocess; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    monkeypatch.setattr(_engines, "_command", fake_engine(code))
    start = time.monotonic()
    with pytest.raises(EngineError, match=re.escape(f"IronCalc did not finish {plain} within 0.5 s")):
        recalculate(plain, timeout=0.5)
    assert time.monotonic() - start < 10
    if os.name == "posix":
        time.sleep(2.5)
        assert not trace.exists()


def test_what_an_engine_says_is_handed_on_in_one_line(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_engines, "_command", fake_engine("sys.exit('first line\\nSheetError: no such function')"))
    with pytest.raises(EngineError) as caught:
        recalculate(plain)
    assert str(caught.value) == f"IronCalc could not calculate {plain}: SheetError: no such function"


@POSIX
def test_memory_is_limited(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux heeds the limit on address space")
    code = "from labelsmooth.workbook._engines import _limit\n_limit(1 << 30, 60)\nbytearray(2 << 30)"
    monkeypatch.setattr(_engines, "_command", fake_engine(code))
    with pytest.raises(EngineError, match="IronCalc ran out of memory"):
        recalculate(plain)


def test_a_panic_in_rust_is_reported_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ironcalc")
    path = book_of(tmp_path, '<c r="A1" s="99999"><f>1+1</f><v>7</v></c>')  # there is no such style
    with pytest.raises(EngineError, match=r"IronCalc could not calculate .*book\.xlsx: ") as caught:
        recalculate(path)
    assert "\n" not in str(caught.value)


def test_an_engine_that_is_not_installed_answers_with_the_install_line(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_engines.ENGINES, "formulon", replace(_engines.ENGINES["formulon"], present=lambda: False))
    with pytest.raises(EngineError, match="formulon is not installed: pip install formulon"):
        recalculate(plain, engine="formulon")


def test_no_engine_sees_a_file_that_the_gate_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "started"
    monkeypatch.setattr(_engines, "_command", fake_engine(f"Path({str(started)!r}).touch()"))
    path = book_of(tmp_path, f'<c r="A1"><f>{"(" * 5_000}</f></c>')
    with pytest.raises(WorkbookError, match="parentheses deep"):
        recalculate(path)
    with pytest.raises(WorkbookError, match="parentheses deep"):
        convert_to_pdf(path, tmp_path)
    assert not started.exists()


# Wrong arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"Steps!C2": 1.0}, WorkbookError, "lesson.xlsx: Steps!C2 holds a formula"),
        ({"'It''s other'!B2": 1.0}, WorkbookError, "'It''s other'!B2 holds a formula"),
        ({"Steps!Q99": 1.0}, WorkbookError, "Steps!Q99 is not in the file"),
        ({"Step!A1": 1.0}, WorkbookError, "there is no sheet 'Step'; the file has 'Steps', \"It's other\""),
        ({"A1": 1.0}, ValueError, "'A1' is no cell address"),
        ({"Steps!A1:B2": 1.0}, ValueError, "'Steps!A1:B2' is no cell address"),
        ({"Steps!A1": math.inf}, ValueError, "Steps!A1 cannot become inf"),
        ({"Steps!A1": math.nan}, ValueError, "Steps!A1 cannot become nan"),
        ({"Steps!A1": "a\x07b"}, ValueError, "no control characters"),
        ({"Steps!A1": "x" * 32_768}, ValueError, "32,767 characters"),
        ({"Steps!A1": None}, TypeError, "Steps!A1 cannot become a NoneType"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(
    lesson: Path, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=re.escape(said)):
        recalculate(lesson, changes=changes)


def test_wrong_options_are_refused(lesson: Path) -> None:
    with pytest.raises(ValueError, match="there is no engine 'excel': choose one of ironcalc, libreoffice, formulon"):
        recalculate(lesson, engine="excel")
    for timeout in (0, -1.0, math.nan):
        with pytest.raises(ValueError, match="timeout must be a positive number"):
            recalculate(lesson, timeout=timeout)


# The poisoned copy ---------------------------------------------------------------------------------------------------

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = 'xmlns="http://schemas.openxmlformats.org/package/2006'
SHEET = "xl/worksheets/sheet1.xml"
P = "-8.7654321E+77"


def book_of(folder: Path, cells: str) -> Path:
    """Write a workbook of one sheet, by hand."""
    path = folder / "book.xlsx"
    relations = f'<Relationships {PACKAGE}/relationships"><Relationship Id="rId1" Type="{OFFICE}/%s" Target="%s"/>'
    parts = {
        "[Content_Types].xml": f'<Types {PACKAGE}/content-types"/>',
        "_rels/.rels": relations % ("officeDocument", "xl/workbook.xml") + "</Relationships>",
        "xl/workbook.xml": f'<workbook {MAIN} xmlns:r="{OFFICE}"><sheets><sheet name="Steps" sheetId="1" r:id="rId1"/>'
        "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": relations % ("worksheet", "worksheets/sheet1.xml") + "</Relationships>",
        SHEET: f'<worksheet {MAIN}><sheetData><row r="1">{cells}</row></sheetData></worksheet>',
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return path


def poisoned(folder: Path, cells: str, **changes: Any) -> tuple[str, dict[str, bool]]:
    copy = folder / "copy.xlsx"
    found = poisoned_copy(book_of(folder, cells), copy, {f"Steps!{cell}": value for cell, value in changes.items()})
    text = zipfile.ZipFile(copy).read(SHEET).decode()
    return text.partition('<row r="1">')[2].partition("</row>")[0], found["Steps"]


@pytest.mark.parametrize(
    ("cell", "copied"),
    [
        ('<c r="A1"><f>B1</f><v>1</v></c>', f'<c r="A1"><f>B1</f><v>{P}</v></c>'),
        ('<c r="A1" s="3" t="str"><f>B1</f><v>cat</v></c>', f'<c r="A1" s="3"><f>B1</f><v>{P}</v></c>'),
        ('<c r="A1" t="e" s="3"><f>B1</f><v>#N/A</v></c>', f'<c r="A1" s="3"><f>B1</f><v>{P}</v></c>'),
        ('<c r="A1"><f>B1</f><v/></c>', f'<c r="A1"><f>B1</f><v>{P}</v></c>'),
        ('<c r="A1"><f>B1</f></c>', f'<c r="A1"><f>B1</f><v>{P}</v></c>'),
        (
            '<c r="A1" t="inlineStr"><f>B1</f><is><t>cat</t></is></c>',
            f'<c r="A1"><f>B1</f><v>{P}</v></c>',
        ),
        ('<c r="A1"><f t="shared" si="0"/><v>1</v></c>', f'<c r="A1"><f t="shared" si="0"/><v>{P}</v></c>'),
        (
            '<c r="A1"><f t="shared" ref="A1:A9" si="0">B1&amp;"&lt;c&gt;"</f><v xml:space="preserve"> 1 </v></c>',
            f'<c r="A1"><f t="shared" ref="A1:A9" si="0">B1&amp;"&lt;c&gt;"</f><v>{P}</v></c>',
        ),
        ('<c r="A1">\n  <f>B1</f>\n  <v>1</v>\n</c>', f'<c r="A1"><f>B1</f><v>{P}</v>\n</c>'),
        ("<c r='A1' t='b'><f>B1</f><v>1</v></c>", f"<c r='A1'><f>B1</f><v>{P}</v></c>"),
    ],
    ids=["number", "text", "error", "empty", "none", "inline", "shared", "origin", "indented", "quotes"],
)
def test_the_stored_result_of_every_kind_of_formula_is_replaced(tmp_path: Path, cell: str, copied: str) -> None:
    before, after = '<c r="@1" s="1"><v>1</v></c>'.replace("@", "AB"), '<c r="AC1"/><c r="AD1" t="s"><v>0</v></c>'
    text, found = poisoned(tmp_path, before + cell + after)
    assert text == before + copied + after
    assert found == {"A1": True}


def test_the_other_cells_of_an_array_are_poisoned_too(tmp_path: Path) -> None:
    array = '<c r="A1"><f t="array" ref="A1:B1">X</f><v>1</v></c><c r="B1"><v>2</v></c><c r="C1"><v>3</v></c>'
    text, found = poisoned(tmp_path, array)
    assert f'<c r="B1"><v>{P}</v></c><c r="C1"><v>3</v></c>' in text
    assert found == {"A1": True, "B1": False}


def test_changes_replace_values_of_every_kind(tmp_path: Path) -> None:
    cells = '<c r="A1" s="2" t="s"><v>0</v></c><c r="B1" s="2"/><c r="C1"><v>1</v></c><c r="D1"><v>1</v></c>'
    text, _ = poisoned(tmp_path, cells, A1=0.1, B1="a < b", C1=True, D1=-3)
    assert text == (
        '<c r="A1" s="2"><v>0.1</v></c>'
        '<c r="B1" s="2" t="inlineStr"><is><t xml:space="preserve">a &lt; b</t></is></c>'
        '<c r="C1" t="b"><v>1</v></c><c r="D1"><v>-3.0</v></c>'
    )


def test_everything_but_the_formula_cells_is_copied_byte_for_byte(lesson: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.xlsx"
    poisoned_copy(lesson, copy, {})
    with zipfile.ZipFile(lesson) as old, zipfile.ZipFile(copy) as new:
        assert new.namelist() == old.namelist()
        for name in old.namelist():
            if not name.startswith("xl/worksheets/"):
                assert new.read(name) == old.read(name)
        before, after = old.read(SHEET).decode(), new.read(SHEET).decode()
    assert before.count("<f>") == 16
    assert after == re.sub(r"(</f><v>)[^<]*(</v>)", rf"\g<1>{P}\g<2>", before)


def test_cells_are_found_whole_wherever_a_block_ends(
    lesson: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, copy = tmp_path / "whole.xlsx", tmp_path / "copy.xlsx"
    found = poisoned_copy(lesson, whole, {})
    for block in (250, 251, 300, 997):
        monkeypatch.setattr(_cells, "_BLOCK", block)
        assert poisoned_copy(lesson, copy, {}) == found
        assert zipfile.ZipFile(copy).read(SHEET) == zipfile.ZipFile(whole).read(SHEET)
        assert read_values(copy, {"Steps": ["A2", "C2", "E8", "Z1"]}) == {"Steps": [4.2, POISON, POISON, None]}


def test_the_quick_way_poisons_what_the_careful_way_does(
    lesson: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    careful, quick = tmp_path / "careful.xlsx", tmp_path / "quick.xlsx"
    taken = []
    usual = _cells._Sheet._usual

    def watched(*given: Any) -> bytes | None:
        taken.append(usual(*given))
        return taken[-1]

    monkeypatch.setattr(_cells._Sheet, "_usual", watched)
    found = poisoned_copy(lesson, quick, {})
    assert any(taken)
    monkeypatch.setattr(_cells._Sheet, "_usual", lambda *_: None)
    assert poisoned_copy(lesson, careful, {}) == found
    with zipfile.ZipFile(careful) as slow, zipfile.ZipFile(quick) as fast:
        assert {name: slow.read(name) for name in slow.namelist()} == {
            name: fast.read(name) for name in fast.namelist()
        }


def test_a_cell_inside_a_cell_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkbookError, match="a cell inside a cell"):
        poisoned(tmp_path, '<c r="A1"><f>1</f><c r="B1"><v>1</v></c></c>')


def test_a_formula_behind_its_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkbookError, match="a value before its formula"):
        poisoned(tmp_path, '<c r="A1"><v>1</v><f>1</f></c>')


def test_values_are_read_as_every_engine_writes_them(tmp_path: Path) -> None:
    cells = (
        '<c r="A1" t="n"><v>1.5E-300</v></c><c r="B1" t="str"><f>x</f><v>&lt;a&gt;&#10;&amp;copy</v></c>'
        '<c r="C1" t="str"><v></v></c><c r="D1" t="b"><v>0</v></c><c r="E1" t="e"><v>#NUM!</v></c>'
        '<c r="F1" t="inlineStr"><is><r><t>one</t></r><r><t xml:space="preserve"> two</t></r></is></c><c r="G1"/>'
    )
    values = read_values(book_of(tmp_path, cells), {"Steps": ["G1", "F1", "E1", "D1", "C1", "B1", "A1"]})
    assert values == {"Steps": [None, "one two", "#NUM!", False, "", "<a>\n&copy", 1.5e-300]}
    assert values["Steps"][3] is False  # and not the number 0, which Python takes for equal


def test_addresses_are_written_and_read_as_a_spreadsheet_does() -> None:
    assert split_reference("XFD1048576") == (1_048_576, 16_384)
    for sheet, cell, text in [("Steps", "C4", "Steps!C4"), ("It's", "AA10", "'It''s'!AA10"), ("2nd", "A1", "'2nd'!A1")]:
        assert address(sheet, cell) == text
        assert split_address(text) == (sheet, cell)


# The room shows itself -----------------------------------------------------------------------------------------------


def test_the_command_line_says_what_was_proved(lesson: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ironcalc")
    assert main([str(lesson)]) == 0
    assert re.search(
        r"IronCalc [\d.]+ recalculated all 26 formulas \(Steps 16, It's other 10\)", capsys.readouterr().out
    )


def test_the_command_line_says_a_fault_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.xlsx")]) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'none.xlsx'}: there is no such file\n"


@pytest.mark.slow
def test_a_workbook_is_printed_to_pdf(lesson: Path, soffice: str, tmp_path: Path) -> None:
    assert soffice
    named = Path(shutil.copy(lesson, tmp_path / "two words.xlsx"))
    pdf = convert_to_pdf(named, tmp_path / "out")
    assert pdf == tmp_path / "out" / "two words.pdf"
    assert pdf.read_bytes().startswith(b"%PDF-")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lesson.xlsx", "out", "two words.xlsx"]
    assert json.dumps(sorted(path.name for path in (tmp_path / "out").iterdir())) == '["two words.pdf"]'
