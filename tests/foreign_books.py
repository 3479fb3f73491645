"""Workbooks as other people lay them out, for the tests of reading them: each a dictionary of cells, and what is to be found.

They are typed here, not taken from anybody: the post's two classes, five classes with steps, one nested formula a row, names
for labels, classes downward, a single column of probabilities, several tables on a sheet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Cells = dict[str, float | str]
Z = ((4.2, -2.4, 0.3), (1.6, -0.6, 1.1), (3.6, 1.2, -0.7), (-0.5, 0.5, 2.0))
TWO = ((4.2, -2.4), (1.6, -0.6), (3.6, 1.2), (-0.5, 0.5), (-0.25, 1.7))


@dataclass(frozen=True)
class Layout:
    """The cells by sheet, and where the inputs and the losses of its first table stand."""

    cells: Mapping[str, Cells]
    logits: str
    labels: str
    losses: str
    across: bool = True
    kind: str = "logits"
    epsilon: str = ""
    whole: str = ""  # the cell of the batch's loss
    numbers: tuple[float, ...] = field(default=())  # the losses, rounded to four digits


def written(folder: Path, cells: Mapping[str, Cells], name: str = "theirs.xlsx", **changed: float | str) -> Path:
    """Write the cells to a file, `changed` on the first sheet; a text that begins with = is a formula."""
    import xlsxwriter

    path = folder / name
    with xlsxwriter.Workbook(path) as book:
        for place, (title, content) in enumerate(cells.items()):
            sheet = book.add_worksheet(title)
            for cell, value in {**content, **(changed if place == 0 else {})}.items():
                if isinstance(value, str) and value.startswith("{"):
                    sheet.write_array_formula(f"{cell}:{cell}", value)
                elif isinstance(value, str) and value.startswith("="):
                    sheet.write_formula(cell, value, None, 0)
                else:
                    sheet.write(cell, value)
    return path


def _steps() -> Layout:
    """Every step in cells of its own, labels from 0, ε in a cell."""
    cells: Cells = {"A1": "epsilon", "B1": 0.1, "A2": "label", "R2": "loss", "Q7": "mean"}
    cells |= {f"{c}2": k for k, c in enumerate("LMN")} | {f"{c}2": name for c, name in zip("BCD", "xyz", strict=True)}
    for row, (z, y) in enumerate(zip(Z, (0, 2, 1, 0), strict=True), start=3):
        cells |= {f"A{row}": y} | {f"{c}{row}": x for c, x in zip("BCD", z, strict=True)}
        for c, e, p, q, t in zip("BCD", "EFG", "IJK", "LMN", "OPQ", strict=True):
            cells |= {f"{e}{row}": f"=EXP({c}{row})", f"{p}{row}": f"={e}{row}/$H{row}"}
            cells |= {f"{q}{row}": f"=IF($A{row}={q}$2,1,0)", f"{t}{row}": f"=(1-$B$1)*{q}{row}+$B$1/3"}
        cells |= {f"H{row}": f"=SUM(E{row}:G{row})", f"R{row}": f"=-SUMPRODUCT(O{row}:Q{row},LN(I{row}:K{row}))"}
    cells["R7"] = "=AVERAGE(R3:R6)"
    return Layout({"Sheet1": cells}, "Sheet1!B3:D6", "Sheet1!A3:A6", "Sheet1!R3:R6", epsilon="Sheet1!B1", whole="R7")


def _nested() -> Layout:
    """One formula a row, labels from 1, ε typed into it."""
    cells: Cells = {"A1": "label", "F1": "loss", "E6": "total"}
    for row, (z, y) in enumerate(zip(Z, (1, 3, 2, 1), strict=True), start=2):
        cells |= {f"A{row}": y} | {f"{c}{row}": x for c, x in zip("BCD", z, strict=True)}
        line = f"B{row}:D{row}"
        cells[f"F{row}"] = f"=LN(SUMPRODUCT(EXP({line})))-(1-0.1)*INDEX({line},A{row})-0.1*AVERAGE({line})"
    cells["F6"] = "=SUM(F2:F5)"
    return Layout(
        {"My sheet": cells}, "'My sheet'!B2:D5", "'My sheet'!A2:A5", "'My sheet'!F2:F5", epsilon="0.1", whole="F6"
    )


def _names() -> Layout:
    """Labels by name, headings such as logit(cat), maximum taken out, products in cells."""
    cells: Cells = {"A1": "image", "B1": "is", "C1": "logit(cat)", "D1": "logit(dog)", "K1": "loss", "N1": 0.2}
    for row, (z, y) in enumerate(zip(TWO, ("cat", "dog", "dog", "cat", "cat"), strict=True), start=2):
        cells |= {f"A{row}": f"img-{row}", f"B{row}": y, f"C{row}": z[0], f"D{row}": z[1]}
        cells |= {f"E{row}": f"=MAX(C{row}:D{row})", f"F{row}": f"=EXP(C{row}-$E{row})+EXP(D{row}-$E{row})"}
        cells |= {f"G{row}": f"=C{row}-$E{row}-LN($F{row})", f"H{row}": f"=D{row}-$E{row}-LN($F{row})"}
        cells |= {f"I{row}": f'=IF($B{row}="cat",1-$N$1/2,$N$1/2)', f"J{row}": f"=1-I{row}"}
        cells[f"K{row}"] = f"=-(I{row}*G{row}+J{row}*H{row})"
    cells["K7"] = "=SUM(K2:K6)/5"
    return Layout({"S": cells}, "S!C2:D6", "S!B2:B6", "S!K2:K6", epsilon="S!N1", whole="K7")


def _post() -> Layout:
    """The post's fourth and fifth figures: smoothed targets typed, no ε anywhere."""
    cells: Cells = {"A1": "image_name", "B1": "is_cat", "C1": "is_dog", "K1": "LS X-entropy"}
    for row, (z, y) in enumerate(zip(TWO, (0, 1, 1, 0, 0), strict=True), start=2):
        cells |= {f"A{row}": f"img-{row - 1}.jpg", f"B{row}": (0.95, 0.05)[y], f"C{row}": (0.05, 0.95)[y]}
        cells |= {f"D{row}": z[0], f"E{row}": z[1], f"F{row}": f"=EXP(D{row})", f"G{row}": f"=EXP(E{row})"}
        cells |= {f"H{row}": f"=F{row}+G{row}", f"I{row}": f"=F{row}/H{row}", f"J{row}": f"=G{row}/H{row}"}
        cells[f"K{row}"] = f"=-SUMPRODUCT(B{row}:C{row},LN(I{row}:J{row}))"
    return Layout(
        {"Sheet1": cells}, "Sheet1!D2:E6", "Sheet1!B2:C6", "Sheet1!K2:K6",
        numbers=(0.3314, 2.1951, 2.3668, 1.2633, 1.9855),
    )  # fmt: skip


def _probabilities() -> Layout:
    """Probabilities typed, one-hot labels typed, smoothed in the sheet."""
    cells: Cells = {"H1": 0.3, "G1": "eps"}
    lines = ((0.7, 0.2, 0.1), (0.25, 0.25, 0.5), (0.1, 0.6, 0.3))
    for row, (p, y) in enumerate(zip(lines, (0, 2, 2), strict=True), start=3):
        for k, (a, b, c) in enumerate(zip("ABC", "EFG", "IJK", strict=True)):
            cells |= {
                f"{a}{row}": float(k == y),
                f"{b}{row}": p[k],
                f"{c}{row}": f"={a}{row}*(1-$H$1)+$H$1/COLUMNS($A{row}:$C{row})",
            }
        cells[f"L{row}"] = f"=-SUMPRODUCT(I{row}:K{row},LN(E{row}:G{row}))"
    cells["L6"] = "=AVERAGE(L3:L5)"
    return Layout({"S": cells}, "S!E3:G5", "S!A3:C5", "S!L3:L5", kind="probabilities", epsilon="S!H1", whole="L6")


def _down() -> Layout:
    """Classes downward, an image a column."""
    cells: Cells = {"A1": "class", "A14": "label", "A15": "loss", "A16": "mean loss", "G1": 0.1}
    for c, z, y in zip("BCDE", Z, (1, 3, 2, 1), strict=True):
        cells |= {f"{c}{row}": x for row, x in enumerate(z, start=2)} | {f"{c}14": y}
        cells |= {f"{c}{row + 4}": f"=EXP({c}{row})" for row in (2, 3, 4)} | {f"{c}9": f"=SUM({c}6:{c}8)"}
        cells |= {f"{c}{row + 8}": f"=LN({c}{row + 4}/{c}$9)" for row in (2, 3, 4)}
        cells[f"{c}15"] = f"=-(1-$G$1)*INDEX({c}10:{c}12,{c}14)-$G$1*AVERAGE({c}10:{c}12)"
    cells |= {"B16": "=AVERAGE(B15:E15)"}
    return Layout({"S": cells}, "S!B2:E4", "S!B14:E14", "S!B15:E15", across=False, epsilon="S!G1", whole="B16")


def _hard() -> Layout:
    """Plain cross-entropy, no smoothing: -LN of the right class's probability."""
    cells: Cells = {"H1": "loss"}
    for row, (z, y) in enumerate(zip(Z, (1, 3, 2, 1), strict=True), start=2):
        cells |= {f"{c}{row}": x for c, x in zip("ABC", z, strict=True)} | {f"D{row}": y}
        for c, e in zip("ABC", "EFG", strict=True):
            cells[f"{e}{row}"] = f"=EXP({c}{row})/(EXP($A{row})+EXP($B{row})+EXP($C{row}))"
        cells[f"H{row}"] = f"=-LN(INDEX(E{row}:G{row},1,D{row}))"
    cells["H6"] = "=AVERAGE(H2:H5)"
    return Layout({"S": cells}, "S!A2:C5", "S!D2:D5", "S!H2:H5", whole="H6")


def _binary() -> Layout:
    """One column of probabilities, labels 0 and 1."""
    cells: Cells = {"A1": "y", "B1": "p", "C1": "loss"}
    for row, (p, y) in enumerate(((0.5, 1), (0.98, 1), (0.9, 0), (0.5, 0)), start=2):
        cells |= {f"A{row}": y, f"B{row}": p, f"C{row}": f"=-A{row}*LN(B{row})-(1-A{row})*LN(1-B{row})"}
    cells["C6"] = "=AVERAGE(C2:C5)"
    return Layout({"S": cells}, "S!B2:B5", "S!A2:A5", "S!C2:C5", kind="probabilities", whole="C6")


def _two_tables() -> Layout:
    """Two tables on one sheet, ε on another, one-hot by MATCH against the headings."""
    cells: Cells = {}
    for top, block, labels in ((1, Z[:3], ("b", "a", "c")), (12, Z[1:], ("c", "a", "b"))):
        cells |= {f"{c}{top}": name for c, name in zip("BCD", "abc", strict=True)}
        for row, (z, y) in enumerate(zip(block, labels, strict=True), start=top + 1):
            cells |= {f"A{row}": y} | {f"{c}{row}": x for c, x in zip("BCD", z, strict=True)}
            line = f"B{row}:D{row}"
            for c, g in zip("BCD", "GHI", strict=True):
                cells[f"{g}{row}"] = f"={c}{row}-LN(SUMPRODUCT(EXP($B{row}:$D{row})))"
            hit = f"INDEX(G{row}:I{row},MATCH(A{row},$B${top}:$D${top},0))"
            cells[f"K{row}"] = f"=-(1-Settings!$A$1)*{hit}-Settings!$A$1*SUM(G{row}:I{row})/COUNT({line})"
        cells[f"K{top + 4}"] = f"=AVERAGE(K{top + 1}:K{top + 3})"
    return Layout(
        {"Data": cells, "Settings": {"A1": 0.15}}, "Data!B2:D4", "Data!A2:A4", "Data!K2:K4",
        epsilon="Settings!A1", whole="K5",
    )  # fmt: skip


LAYOUTS = {
    "steps": _steps(),
    "nested": _nested(),
    "names": _names(),
    "post": _post(),
    "probabilities": _probabilities(),
    "down": _down(),
    "hard": _hard(),
    "binary": _binary(),
    "two tables": _two_tables(),
}
