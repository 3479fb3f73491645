"""The verdict on other people's workbooks: a clean book is called correct, each planted departure is named with its cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from agree import FLOAT64, agree
from foreign_books import LAYOUTS, Cells, written

pytest.importorskip("openpyxl")
pytest.importorskip("xlsxwriter")

from labelsmooth.parity._foreign_judge import Judge
from labelsmooth.parity._foreign_words import departed, notes_on
from labelsmooth.parity.foreign import judges_of
from labelsmooth.workbook.foreign import LOSSES, read_foreign

ROWS = {"steps": range(3, 7), "nested": range(2, 6), "names": range(2, 7), "post": range(2, 7), "probabilities": range(3, 6),
        "hard": range(2, 6), "binary": range(2, 6)}  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """A departure: where it is planted, what is to be named, and one of the corrections."""

    layout: str
    cells: Mapping[str, float | str]
    kind: str
    named: str
    fix: tuple[str, str]


def down(layout: str, **formulas: str) -> Cells:
    """One formula for each row of a layout; a hash stands for the row."""
    return {f"{column}{row}": text.replace("#", str(row)) for column, text in formulas.items() for row in ROWS[layout]}


NESTED = "=LN(SUMPRODUCT(EXP(B{0}:D{0})))-(1-0.1)*INDEX(B{1}:D{1},A{1})-0.1*AVERAGE(B{1}:D{1})"
TWO_TABLES = "=-(1-{0})*INDEX(G{1}:I{1},MATCH(A{1},$B$1:$D$1,0))-Settings!$A$1*SUM(G{1}:I{1})/3"
PLANTED = {
    "LOG in one row": Planted(
        "steps", {"R4": "=-SUMPRODUCT(O4:Q4,LOG(I4:K4))"}, "LOG for LN", "R4", ("R4", "=-SUMPRODUCT(O4:Q4,LN(I4:K4))")
    ),
    "LOG in every row": Planted(
        "steps",
        down("steps", R="=-SUMPRODUCT(O#:Q#,LOG(I#:K#))"),
        "LOG for LN",
        "R3:R6",
        ("R6", "=-SUMPRODUCT(O6:Q6,LN(I6:K6))"),
    ),
    "LOG10": Planted(
        "steps",
        down("steps", R="=-SUMPRODUCT(O#:Q#,LOG10(I#:K#))"),
        "LOG for LN",
        "R3:R6",
        ("R3", "=-SUMPRODUCT(O3:Q3,LN(I3:K3))"),
    ),
    "LOG of base 2": Planted(
        "hard", down("hard", H="=-LOG(INDEX(E#:G#,1,D#),2)"), "LOG for LN", "H2:H5", ("H2", "=-LN(INDEX(E2:G2,1,D2))")
    ),
    "LOG of the sum, nested": Planted(
        "nested",
        down("nested", F=NESTED.format("#", "#").replace("LN", "LOG")),
        "LOG for LN",
        "F2:F5",
        ("F2", NESTED.format(2, 2)),
    ),
    "LOG twice in a binary loss": Planted(
        "binary",
        down("binary", C="=-A#*LOG(B#)-(1-A#)*LOG(1-B#)"),
        "LOG for LN",
        "C2:C5",
        ("C2", "=-A2*LN(B2)-(1-A2)*LN(1-B2)"),
    ),
    "LOG on typed targets": Planted(
        "post",
        down("post", K="=-SUMPRODUCT(B#:C#,LOG(I#:J#))"),
        "LOG for LN",
        "K2:K6",
        ("K2", "=-SUMPRODUCT(B2:C2,LN(I2:J2))"),
    ),
    "ε/(K−1) in an IF": Planted(
        "steps",
        down("steps", O="=IF(L#=1,1-$B$1,$B$1/2)", P="=IF(M#=1,1-$B$1,$B$1/2)", Q="=IF(N#=1,1-$B$1,$B$1/2)"),
        "other smoothing",
        "O3:Q6",
        ("P4", "=(1-$B$1)*M4+$B$1/3"),
    ),
    "ε/(K−1) without cells for the label": Planted(
        "names",
        down("names", I='=IF($B#="cat",1-$N$1,$N$1)'),
        "other smoothing",
        "I2:I6",
        ("I3", '=IF($B3="cat",1-($N$1*1/2),($N$1*1/2))'),
    ),
    "ε/(K−1) on probabilities": Planted(
        "probabilities",
        down(
            "probabilities",
            I="=A#*(1-$H$1)+$H$1/2*(1-A#)",
            J="=B#*(1-$H$1)+$H$1/2*(1-B#)",
            K="=C#*(1-$H$1)+$H$1/2*(1-C#)",
        ),
        "other smoothing",
        "I3:K5",
        ("J4", "=(1-$H$1)*B4+$H$1/3"),
    ),
    "1/K for ε/K": Planted(
        "steps",
        down("steps", O="=(1-$B$1)*L#+1/3", P="=(1-$B$1)*M#+1/3", Q="=(1-$B$1)*N#+1/3"),
        "other smoothing",
        "O3:Q6",
        ("O3", "=(1-$B$1)*L3+$B$1/3"),
    ),
    "softmax missing, logits in the sum": Planted(
        "steps",
        down("steps", R="=-SUMPRODUCT(O#:Q#,B#:D#)"),
        "softmax missing",
        "R3:R6",
        ("R3", "=-SUMPRODUCT(O3:Q3,B3:D3)+LN(SUMPRODUCT(EXP(B3:D3)))"),
    ),
    "softmax missing, exponentials under LN": Planted(
        "steps",
        down("steps", R="=-SUMPRODUCT(O#:Q#,LN(E#:G#))"),
        "softmax missing",
        "R3:R6",
        ("R5", "=-SUMPRODUCT(O5:Q5,LN(E5:G5))+LN(H5)"),
    ),
    "sum of another row": Planted("steps", {"H4": "=SUM(E5:G5)"}, "wrong row", "H4", ("H4", "=SUM(E4:G4)")),
    "sum one class short": Planted("steps", {"H4": "=SUM(E4:F4)"}, "wrong row", "H4", ("H4", "=SUM(E4:G4)")),
    "probabilities of another row": Planted(
        "probabilities",
        {"L4": "=-SUMPRODUCT(I4:K4,LN(E3:G3))"},
        "wrong row",
        "L4",
        ("L4", "=-SUMPRODUCT(I4:K4,LN(E4:G4))"),
    ),
    "logits of another row, nested": Planted(
        "nested", {"F3": NESTED.format(2, 3)}, "wrong row", "F3", ("F3", NESTED.format(3, 3))
    ),
    "label of another row": Planted("steps", {"L4": "=IF($A5=L$2,1,0)"}, "wrong row", "L4", ("L4", "=IF($A4=L$2,1,0)")),
    "maximum of another row": Planted("names", {"G3": "=C3-$E4-LN($F3)"}, "wrong row", "G3", ("G3", "=C3-$E3-LN($F3)")),
    "every label a row down": Planted(
        "hard",
        {f"H{r}": f"=-LN(INDEX(E{r}:G{r},1,D{r + 1}))" for r in ROWS["hard"]},
        "slipped reference",
        "H2:H5",
        ("H5", "=-LN(INDEX(E5:G5,1,D5))"),
    ),
    "sum of the first image for all": Planted(
        "down",
        {f"{c}{r + 8}": f"=LN({c}{r + 4}/$B$9)" for c in "BCDE" for r in (2, 3, 4)},
        "wrong row",
        "C10:E12",
        ("D11", "=LN(D7/$D$9)"),
    ),
    "sum not held when copied": Planted(
        "down",
        {f"{c}{r + 8}": f"=LN({c}{r + 4}/{c}{r + 7})" for c in "BCDE" for r in (2, 3, 4)},
        "slipped reference",
        "B11:E12",
        ("E12", "=LN(E8/$E$9)"),
    ),
    "sum called mean": Planted("steps", {"R7": "=SUM(R3:R6)"}, "sum and mean", "R7", ("R7", "=AVERAGE(R3:R6)")),
    "sum called mean, classes down": Planted(
        "down", {"B16": "=SUM(B15:E15)"}, "sum and mean", "B16", ("B16", "=AVERAGE(B15:E15)")
    ),
    "mean called total": Planted("nested", {"F6": "=AVERAGE(F2:F5)"}, "sum and mean", "F6", ("F6", "=SUM(F2:F5)")),
    "mean a row short": Planted("steps", {"R7": "=AVERAGE(R3:R5)"}, "wrong range", "R7", ("R7", "=AVERAGE(R3:R6)")),
    "divided by another number of rows": Planted(
        "names", {"K7": "=SUM(K2:K6)/4"}, "number in a formula", "K7", ("K7", "=SUM(K2:K6)/5")
    ),
    "number over an exponential": Planted("steps", {"E4": 4.953}, "number over a formula", "E4", ("E4", "=EXP(B4)")),
    "number over the first of a column": Planted(
        "steps", {"E3": 66.68}, "number over a formula", "E3", ("E3", "=EXP(B3)")
    ),
    "number over the last of a column": Planted(
        "steps", {"H6": 2.0}, "number over a formula", "H6", ("H6", "=SUM(E6:G6)")
    ),
    "number over a loss": Planted(
        "hard", {"H3": 0.5}, "number over a formula", "H3", ("H3", "=-LN(INDEX(E3:G3,1,D3))")
    ),
    "ε typed in one formula": Planted(
        "steps", {"O4": "=(1-0.1)*L4+0.1/3"}, "other formula", "O4", ("O4", "=(1-$B$1)*L4+$B$1/3")
    ),
    "ε typed in every formula": Planted(
        "two tables",
        {f"K{r}": TWO_TABLES.format(0.1, r) for r in (2, 3, 4)},
        "number in a formula",
        "K2:K4",
        ("K3", TWO_TABLES.format("Settings!$A$1", 3)),
    ),
    "minus lost in one row": Planted(
        "steps", {"R5": "=SUMPRODUCT(O5:Q5,LN(I5:K5))"}, "sign", "R5", ("R5", "=-SUMPRODUCT(O5:Q5,LN(I5:K5))")
    ),
    "minus lost in every row": Planted(
        "steps",
        down("steps", R="=SUMPRODUCT(O#:Q#,LN(I#:K#))"),
        "sign",
        "R3:R6",
        ("R3", "=-SUMPRODUCT(O3:Q3,LN(I3:K3))"),
    ),
    "a minus too many": Planted("steps", {"R7": "=-AVERAGE(R3:R6)"}, "sign", "R7", ("R7", "=AVERAGE(R3:R6)")),
    "labels off by one": Planted(
        "steps",
        down("steps", L="=IF($A#-1=L$2,1,0)", M="=IF($A#-1=M$2,1,0)", N="=IF($A#-1=N$2,1,0)"),
        "labels off by one",
        "L3:N6",
        ("N4", "=IF($A4=N$2,1,0)"),
    ),
    "a rounded probability": Planted(
        "steps",
        down("steps", I="=ROUND(E#/$H#,2)", J="=ROUND(F#/$H#,2)", K="=ROUND(G#/$H#,2)"),
        "rounded",
        "I3:K6",
        ("J4", "=F4/$H4"),
    ),
    "LOG and another row at once": Planted(
        "hard", {"H3": "=-LOG(INDEX(E4:G4,1,D3))"}, "LOG for LN", "H3", ("H3", "=-LN(INDEX(E3:G3,1,D3))")
    ),
}


def judged(path: Path) -> list[Judge]:
    return judges_of(read_foreign(path))


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_clean_book_is_called_correct(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    judges = judged(written(tmp_path, layout.cells))
    assert [finding.message for finding in departed(judges)] == []
    assert [judge.unexplained for judge in judges] == [[] for _ in judges]
    assert any(role.word in LOSSES for role in judges[0].roles.values())
    own = set().union(*(judge.roles for judge in judges))
    assert own == set(judges[0].web.formulas)


QUICK = {"LOG in every row", "sum of another row", "sum called mean", "number over a loss", "minus lost in one row"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PLANTED]
)
def test_a_planted_departure_is_named_with_its_cell(name: str, tmp_path: Path) -> None:
    planted = PLANTED[name]
    layout = LAYOUTS[planted.layout]
    judges = judged(written(tmp_path, layout.cells, **planted.cells))
    findings = departed(judges)
    named = [finding.cell.rpartition("!")[2] for finding in findings]
    assert (named, {finding.kind for finding in findings}) == ([planted.named], {planted.kind})
    assert findings[0].message.startswith(f"{planted.kind} at {findings[0].cell}: ")
    right = {departure.at.cell: departure.right for judge in judges for departure in judge.departures.values()}
    cell, formula = planted.fix
    assert right[cell] == formula


@pytest.mark.slow
def test_two_departures_are_two_findings(tmp_path: Path) -> None:
    changed = {"R4": "=-SUMPRODUCT(O4:Q4,LOG(I4:K4))", "E6": 0.6}
    findings = departed(judged(written(tmp_path, LAYOUTS["steps"].cells, **changed)))
    assert [(finding.kind, finding.cell) for finding in findings] == [
        ("number over a formula", "Sheet1!E6"),
        ("LOG for LN", "Sheet1!R4"),
    ]


@pytest.mark.slow
def test_the_second_table_is_judged_apart_from_the_first(tmp_path: Path) -> None:
    cells = LAYOUTS["two tables"].cells["Data"]
    changed = {f"K{r}": str(cells[f"K{r}"]).replace("-(1-S", "(1-S").replace(")*S", ")*S") for r in (13,)}
    judges = judged(written(tmp_path, LAYOUTS["two tables"].cells, **changed))
    assert judges[0].departures == {}
    assert {at.cell for at in judges[1].departures} == {"K13"}


@pytest.mark.slow
def test_approximate_match_is_wrong_where_the_headings_are_not_sorted(tmp_path: Path) -> None:
    layout = LAYOUTS["two tables"]
    cells = {**layout.cells["Data"], "B1": "c", "D1": "a"}
    plain = {
        cell: str(text).replace(",0))", "))")
        for cell, text in cells.items()
        if "MATCH" in str(text) and cell in ("K2", "K3", "K4")
    }
    judges = judged(written(tmp_path, {"Data": cells | plain, "Settings": layout.cells["Settings"]}))
    assert {finding.kind for finding in departed(judges)} == {"approximate MATCH"}
    assert judges[0].departures[min(judges[0].departures)].right == cells["K2"]


def test_typed_targets_leave_open_whose_epsilon_they_are(tmp_path: Path) -> None:
    book = read_foreign(written(tmp_path, LAYOUTS["post"].cells))
    [judge] = judges_of(book)
    [note] = notes_on(judge, book.found[0])
    assert "ε = 0.1 over all 2 classes, or ε = 0.05 over the 1 wrong one" in note.message
    assert not note.fatal


@pytest.mark.slow
def test_targets_typed_into_formulas_are_read_with_the_rounder_epsilon(tmp_path: Path) -> None:
    def typed(on: float, off: float) -> Judge:
        columns = {t: f"=IF({q}#=1,{on},{off})" for q, t in zip("LMN", "OPQ", strict=True)}
        return judged(written(tmp_path, LAYOUTS["steps"].cells, **down("steps", **columns), B1="none"))[0]

    wrong = typed(0.9, 0.05)
    agree(wrong.table.epsilon, 0.1, budget=FLOAT64, what="ε over the wrong classes")
    assert {departure.kind for departure in wrong.departures.values()} == {"other smoothing"}
    right = typed(0.8, 0.1)  # 0.3 over all three, 0.2 over the two others: both round
    agree(right.table.epsilon, 0.3, budget=FLOAT64, what="ε over all classes")
    assert right.departures == {}


def test_a_sheet_without_a_loss_of_the_chain_is_said_to_have_none(tmp_path: Path) -> None:
    strange = down("hard", H="=(1-INDEX(E#:G#,1,D#))^2*7")
    [judge] = judged(written(tmp_path, LAYOUTS["hard"].cells, **strange, H6="=SUM(H2:H5)"))
    assert judge.departures == {}
    assert {at.cell for at in judge.unexplained} == {"H6"}


@pytest.mark.slow
def test_what_is_beside_the_loss_is_left_alone(tmp_path: Path) -> None:
    extra = {"T1": "=25000*128*4/1000", "T2": "=SUM(I3:K3)", "T3": "=I3*100", "T4": "=EXP(R7)", "T5": "=MAX(I3:K3)"}
    judges = judged(written(tmp_path, LAYOUTS["steps"].cells, **extra))
    assert departed(judges) == []
