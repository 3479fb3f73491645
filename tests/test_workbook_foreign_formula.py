"""A stranger's formula as a tree: what is read, what is computed, and what a change leaves as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agree import FLOAT64, agree
from foreign_books import written

pytest.importorskip("openpyxl")

from labelsmooth.workbook._foreign_formula import At, Unreadable, area_of, parse
from labelsmooth.workbook._foreign_text import moved_reference, relative, replaced, translated
from labelsmooth.workbook._foreign_values import compute
from labelsmooth.workbook._foreign_worlds import worlds_needed

SHEET = {"A1": 2.5, "B1": -1.25, "C1": 0.5, "A2": 3.0, "B2": 1.0, "C2": 2.0, "D1": "cat", "D2": "2.5", "E1": True}
FORMULAS = (
    "=-A1^2",
    "=2^3^2",
    "=A1-B1-C1",
    "=A1/B1*C1",
    "=-(A1+B1)%",
    "=10%*A1",
    "=1+2*3",
    "=(1+2)*3",
    "=A1&D1",
    "=A1=2.5",
    "=A1<>A2",
    '=IF(D1="CAT",1,0)',
    "=A1>B1",
    "=SUM(A1:C2)",
    "=SUM(A1:D2,TRUE)",
    "=AVERAGE(A1:D1)",
    "=MAX(A1:C1)",
    "=MIN(A1:C2,-9)",
    "=COUNT(A1:D2)",
    "=COUNTA(A1:E2)",
    "=PRODUCT(A1:C1)",
    "=SUMSQ(A1:C1)",
    "=SUMPRODUCT(A1:C1,A2:C2)",
    "=EXP(B1)",
    "=LN(A1)",
    "=LOG(A1)",
    "=LOG(A1,2)",
    "=LOG10(A1)",
    "=ABS(B1)",
    "=SQRT(A1)",
    "=POWER(A1,2)",
    "=SIGN(B1)",
    "=ROUND(A1,0)",
    "=ROUND(-2.345,2)",
    "=INT(B1)",
    "=MOD(7,3)",
    "=AND(A1,B1)",
    "=OR(A1>9,B1>9)",
    "=NOT(A1)",
    "=INDEX(A1:C2,2,3)",
    "=INDEX(A1:C1,2)",
    "=INDEX(A1:A2,2)",
    "=SUM(INDEX(A1:C2,2,0))",
    "=MATCH(3,A2:C2,0)",
    "=MATCH(2,A2:C2,-1)",
    "=MATCH(0.6,B2:C2)",
    "=CHOOSE(2,A1,B1)",
    "=COLUMNS(A1:C2)",
    "=ROWS(A1:C2)",
    "=ROW(A2)",
    "=COLUMN(C1)",
    "=OFFSET(A1,1,2)",
    "=SUM(OFFSET(A1,0,0,2,3))",
    "=IFERROR(1/0,7)",
    "=IFERROR(A1,7)",
    "=A1+Z9",
    "=D2*2",
    "=N(D1)",
    "=PI()",
    "=1/0",
    "=LN(0)",
    "=D1+1",
    "=MATCH(9,A2:C2,0)",
    "=INDEX(A1:C2,5,1)",
    '=IF(A1>0,"yes","no")',
    "=E1+1",
    "=SUMPRODUCT(EXP(A1:C1))",
    "=SUMPRODUCT((A1:C1>0)*A2:C2)",
    "=MAX(A1:C1)-MIN(A1:C1)",
    "=1E-3*A1",
    "=.5+A1",
    "=SUM(C2:A1)",
)


def value(formula: str) -> Any:
    def look(at: At) -> Any:
        return SHEET.get(at.cell)

    return compute(parse(formula, "S"), look, At("S", 9, 9))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ironcalc", "libreoffice"])
def test_what_is_computed_here_is_what_an_engine_shows(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if engine == "libreoffice":
        request.getfixturevalue("soffice")
    else:
        pytest.importorskip("ironcalc")
    pytest.importorskip("xlsxwriter")
    from labelsmooth.parity._causes import needs_arrays
    from labelsmooth.workbook.recalc import recalculate

    asked = [formula for formula in FORMULAS if engine == "libreoffice" or not needs_arrays(formula)]
    cells = {"S": SHEET | {f"J{row}": formula for row, formula in enumerate(asked, start=1)}}
    shown = recalculate(written(tmp_path, cells), engine=engine).values["S"]
    for row, formula in enumerate(asked, start=1):
        got, expected = value(formula), shown[f"J{row}"]
        if str(expected).startswith("#"):  # LibreOffice says #VALUE! where Excel says #NUM!
            assert str(got).startswith("#"), formula
        elif isinstance(expected, str) or isinstance(got, str):
            assert got == expected, formula
        else:
            agree(float(got), float(expected), budget=FLOAT64, what=formula)


@pytest.mark.parametrize(
    ("line", "kind", "expected"),
    [((1, 0), "", 1.0), ((0, 1), "", 2.0), ((0.1, 0.5, 0.9), "", 3.0), ((1, 0), ",0", 1.0)],
    ids=["as Excel stored it for 1, 0", "sorted", "above all", "exact"],
)
def test_match_without_its_third_argument_halves_as_excel_does(
    line: tuple[float, ...], kind: str, expected: float
) -> None:
    tree = parse(f"=MATCH(1,A1:{'ABC'[len(line) - 1]}1{kind})", "S")
    assert compute(tree, lambda at: line[at.column - 1], At("S", 5, 5)) == expected


@pytest.mark.parametrize(
    "formula",
    [
        "=SUM(A:A)",
        "=Table1[x]",
        "={1,2}*3",
        "=SUM(1,",
        "=1 2",
        "=A1:Sheet2",
        "=" + "-" * 300 + "1",
        "=[1]Sheet1!A1",
        "=",
    ],
)
def test_what_the_grammar_does_not_know_is_not_guessed(formula: str) -> None:
    with pytest.raises(Unreadable):
        parse(formula, "S")


def test_an_unknown_function_or_name_gives_no_number() -> None:
    assert value("=1+FORECAST(1,A1:A2,B1:B2)") == value("=nobody") == "#N/K"


def test_a_range_larger_than_any_table_is_not_read() -> None:
    assert value("=SUM(A1:ZZ900000)") == "#N/K"


def test_a_change_leaves_the_rest_of_the_text() -> None:
    formula = "= - sumproduct( $A$1:B2 ,  LOG( 'My ''x'' sheet'!C3 ) )"
    tree = parse(formula, "S")
    log = next(node for node in tree.walk() if node.value == "LOG")
    arg = log.args[0]
    changed = replaced(formula, [(log, f"LN({formula[arg.start : arg.end]})")])
    assert changed == "= - sumproduct( $A$1:B2 ,  LN('My ''x'' sheet'!C3) )"
    assert arg.value[0].sheet == "My 'x' sheet"


def test_a_copied_formula_moves_as_in_a_spreadsheet() -> None:
    formula = "=SUM(B2:$C$3)+$D4*E$5-Other!F6"
    here, there = At("S", 10, 10), At("S", 12, 11)
    assert translated(formula, parse(formula, "S"), here, there) == "=SUM(C4:$C$3)+$D6*F$5-Other!G8"


def test_copies_of_a_formula_are_the_same_relative_text() -> None:
    one, copy = "=B2/$C$9", "=C3/ $C$9"
    here, there = At("S", 2, 5), At("S", 3, 6)
    assert relative(one, parse(one, "S"), here) == relative(copy, parse(copy, "S"), there)
    other = "=C4/$C$9"
    assert relative(one, parse(one, "S"), here) != relative(other, parse(other, "S"), there)


def test_a_reference_does_not_move_off_the_sheet() -> None:
    formula = "=A1"
    assert moved_reference(formula, parse(formula, "S"), rows=-1, columns=0) == "#REF!"


@pytest.mark.parametrize("text", ["B2:F6", "Sheet1", "Sheet1!B", "Sheet1!1:3", "Sheet1!B2:F6:G7", ""])
def test_what_is_no_area_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no area"):
        area_of(text)


def test_more_worlds_where_they_are_cheap() -> None:
    assert worlds_needed(5, 2) > worlds_needed(1000, 10) >= 3
