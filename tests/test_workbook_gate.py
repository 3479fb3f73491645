"""What the gate lets through, and that each hostile file is refused with one line that names the file and the limit.

The hostile files are made here, by hand, with the standard library: XlsxWriter would not write most of them.
"""

from __future__ import annotations

import contextlib
import re
import struct
import time
import zipfile
import zlib
from pathlib import Path

import pytest

from labelsmooth.errors import WorkbookError
from labelsmooth.workbook import _scan, gate
from labelsmooth.workbook.gate import check_workbook_file

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = 'xmlns="http://schemas.openxmlformats.org/package/2006'
SHEET = "xl/worksheets/sheet1.xml"

Parts = dict[str, str | bytes]


def relationships(*lines: tuple[str, str]) -> str:
    each = (
        f'<Relationship Id="rId{n}" Type="{OFFICE}/{kind}" Target="{to}"/>' for n, (kind, to) in enumerate(lines, 1)
    )
    return f'<Relationships {PACKAGE}/relationships">{"".join(each)}</Relationships>'


def sheet(
    cells: str = '<c r="A1"><v>1</v></c><c r="B1"><f>EXP(A1)</f><v>2.7</v></c>', head: str = "", tail: str = ""
) -> str:
    return f'<worksheet {MAIN}>{head}<sheetData><row r="1">{cells}</row></sheetData>{tail}</worksheet>'


def formula(text: str) -> str:
    return sheet(f'<c r="A1"><f>{text}</f></c>')


def workbook(sheets: str, tail: str = "") -> str:
    return f'<workbook {MAIN} xmlns:r="{OFFICE}"><sheets>{sheets}</sheets>{tail}</workbook>'


def parts(**replaced: str | bytes) -> Parts:
    """Give the parts of a workbook of one sheet; the keywords replace its sheet, types, links or workbook."""
    return {
        "[Content_Types].xml": replaced.get("types", f'<Types {PACKAGE}/content-types"></Types>'),
        "_rels/.rels": replaced.get("start", relationships(("officeDocument", "xl/workbook.xml"))),
        "xl/workbook.xml": replaced.get(
            "workbook",
            workbook('<sheet name="Steps" sheetId="1" r:id="rId1"/>'),
        ),
        "xl/_rels/workbook.xml.rels": replaced.get("links", relationships(("worksheet", "worksheets/sheet1.xml"))),
        SHEET: replaced.get("sheet", sheet()),
    }


def packed(folder: Path, content: Parts, *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / "book.xlsx"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    return path


def refusal(path: Path) -> str:
    """Give the words of the refusal, which is one line that starts with the file."""
    with pytest.raises(WorkbookError) as caught:
        check_workbook_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


# What passes ---------------------------------------------------------------------------------------------------------


def test_a_plain_workbook_passes(tmp_path: Path) -> None:
    check_workbook_file(packed(tmp_path, parts()))


def test_workbooks_of_real_writers_pass(tmp_path: Path) -> None:
    xlsxwriter = pytest.importorskip("xlsxwriter")
    openpyxl = pytest.importorskip("openpyxl")
    path = tmp_path / "book.xlsx"
    with xlsxwriter.Workbook(path) as book:
        first = book.add_worksheet("Read me")
        first.write_string("A1", "<!DOCTYPE html> is a text like any other")
        first.write_formula("B7", "=SUM(A1:A6)", book.add_format({"bold": True}), 0)
        first.write_comment("A1", "a note brings a .vml drawing")
        chart = book.add_chart({"type": "line"})
        chart.add_series({"values": "='Read me'!$B$7:$B$9"})
        first.insert_chart("D2", chart)
        book.define_name("epsilon", "='Read me'!$A$1")
    check_workbook_file(path)
    openpyxl.load_workbook(path).save(path)
    check_workbook_file(path)


def test_sheets_with_a_prefix_on_every_tag_pass(tmp_path: Path) -> None:
    text = sheet().replace("</", "</x:").replace("<", "<x:").replace("<x:/x:", "</x:").replace("xmlns=", "xmlns:x=")
    check_workbook_file(packed(tmp_path, parts(sheet=text)))


def test_a_cell_without_the_prefix_of_its_sheet_is_refused(tmp_path: Path) -> None:
    text = sheet().replace("</", "</x:").replace("<", "<x:").replace("<x:/x:", "</x:").replace("xmlns=", "xmlns:x=")
    bare = text.replace("<x:c ", "<c ").replace("</x:c>", "</c>")
    assert bare != text
    assert "without a plain address" in refusal(packed(tmp_path, parts(sheet=bare)))


def test_custom_parts_in_utf_16_pass(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="utf-16"?><query/>'.encode("utf-16")
    check_workbook_file(packed(tmp_path, parts() | {"customXml/item1.xml": text}))


def test_a_picture_with_a_doctype_passes(tmp_path: Path) -> None:
    check_workbook_file(packed(tmp_path, parts() | {"xl/media/image1.svg": "<!DOCTYPE svg><svg/>"}))


def test_formulas_as_long_and_as_deep_as_excel_allows_pass(tmp_path: Path) -> None:
    check_workbook_file(packed(tmp_path, parts(sheet=formula("(" * 64 + "1" + ")" * 64))))
    check_workbook_file(packed(tmp_path, parts(sheet=formula("1&amp;" * 4095 + "12"))))


def test_parentheses_inside_a_text_nest_nothing(tmp_path: Path) -> None:
    check_workbook_file(packed(tmp_path, parts(sheet=formula("LEN(&quot;" + "(" * 500 + "&quot;)"))))


def test_a_filter_over_whole_columns_passes(tmp_path: Path) -> None:
    check_workbook_file(packed(tmp_path, parts(sheet=sheet(tail='<autoFilter ref="A1:XFD1048576"/>'))))


@pytest.mark.slow
def test_a_hundred_thousand_formulas_take_about_a_second_at_most(tmp_path: Path) -> None:
    cells = "".join(
        f'<c r="{letters}{row}" s="1"><f>EXP($A{row}-$K{row})*{row}+epsilon</f><v>{row / 7!r}</v></c>'
        for row in range(1, 10_001)
        for letters in "ABCDEFGHIJ"
    )
    path = packed(tmp_path, parts(sheet=sheet(cells)))
    start = time.process_time()
    check_workbook_file(path)
    assert time.process_time() - start < 2.0  # measured 0.4 s; a limit that a busy machine keeps


# No workbook at all --------------------------------------------------------------------------------------------------


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.xlsx") == "there is no such file"
    assert refusal(tmp_path) == "is no file"


@pytest.mark.parametrize("content", [b"", b"logits,labels\n1,2\n"], ids=["empty", "text"])
def test_a_file_that_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "book.xlsx"
    path.write_bytes(content)
    assert "is no .xlsx file (no zip archive)" in refusal(path)


def test_an_ole_file_is_called_protected_or_old(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(512))
    assert "protected by a password, or an old .xls" in refusal(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path, parts())
    whole = path.read_bytes()
    for length in (30, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        assert "cut short" in refusal(path)


def test_a_flipped_bit_in_the_data_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path, parts(), method=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"EXP(A1)", b"EXP(A2)", 1))
    assert "Bad CRC-32" in refusal(path)


def test_other_zips_are_called_what_they_are(tmp_path: Path) -> None:
    assert "no .xlsx workbook" in refusal(packed(tmp_path, {"mimetype": "application/zip"}))
    assert ".xlsb: save it as .xlsx" in refusal(packed(tmp_path, {"xl/workbook.bin": b"\x83\x01"}))


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path, parts())
    raw = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.find(mark)
        raw[at + offset] |= 1
    path.write_bytes(raw)
    assert "its entry '[Content_Types].xml' is encrypted" in refusal(path)


def test_a_workbook_whose_parts_do_not_meet_is_refused(tmp_path: Path) -> None:
    no_types = parts()
    del no_types["[Content_Types].xml"]
    assert "no [Content_Types].xml" in refusal(packed(tmp_path, no_types))
    assert "not at xl/workbook.xml" in refusal(
        packed(tmp_path, parts(start=relationships(("officeDocument", "x.xml"))))
    )
    assert "is missing" in refusal(packed(tmp_path, parts(links=relationships(("worksheet", "worksheets/other.xml")))))
    assert "points at nothing" in refusal(packed(tmp_path, parts(links=relationships())))
    assert "no XML part" in refusal(packed(tmp_path, parts(links=relationships(("worksheet", "media/sheet.svg")))))


def test_two_sheets_of_one_name_are_refused(tmp_path: Path) -> None:
    # The recalculation speaks of cells by sheet name, so the second sheet would hide the first.
    names = '<sheet name="Steps" sheetId="1" r:id="rId1"/><sheet name="STEPS" sheetId="2" r:id="rId2"/>'
    links = relationships(("worksheet", "worksheets/sheet1.xml"), ("worksheet", "worksheets/sheet2.xml"))
    content = parts(workbook=workbook(names), links=links) | {"xl/worksheets/sheet2.xml": sheet()}
    assert "there twice" in refusal(packed(tmp_path, content))


# Entries -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../evil.xml", "xl/../../evil.xml", "/etc/passwd", "\\evil.xml", "C:/evil.xml", "a\\..\\b"]
)
def test_an_entry_that_points_outside_is_refused(tmp_path: Path, name: str) -> None:
    assert "points outside the file" in refusal(packed(tmp_path, parts() | {name: "<a/>"}))


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    assert "two entries named" in refusal(packed(tmp_path, parts() | {SHEET.upper(): sheet()}))


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    many: Parts = {f"x/{n}.xml": "<a/>" for n in range(2_000)}
    assert "has 2,005 entries; the limit is 2,000" in refusal(packed(tmp_path, parts() | many))


@pytest.mark.parametrize(
    "content",
    [
        parts() | {"xl/vbaProject.bin": b"\0"},
        parts() | {"xl/macrosheets/sheet1.xml": "<a/>"},
        parts(types=f'<Types {PACKAGE}/content-types"><Override ContentType="a.sheet.macroEnabled.main+xml"/></Types>'),
        parts(links=relationships(("worksheet", "worksheets/sheet1.xml"), ("vbaProject", "innocent.bin"))),
    ],
    ids=["vbaProject", "macrosheet", "type", "link"],
)
def test_macros_are_refused_under_any_name(tmp_path: Path, content: Parts) -> None:
    assert "macros" in refusal(packed(tmp_path, content))


def test_links_to_other_workbooks_are_refused_under_any_name(tmp_path: Path) -> None:
    by_name = parts() | {"xl/externalLinks/externalLink1.xml": "<a/>"}
    assert "link to another workbook" in refusal(packed(tmp_path, by_name))
    by_link = parts(links=relationships(("worksheet", "worksheets/sheet1.xml"), ("externalLink", "innocent.xml")))
    assert "link to another workbook" in refusal(packed(tmp_path, by_link))


# Sizes ---------------------------------------------------------------------------------------------------------------


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = packed(tmp_path, parts() | {"xl/media/image1.png": bytes(66 << 20)})
    assert path.stat().st_size < 100_000
    assert "over 100 times its size" in refusal(path)


def test_a_declared_size_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path, parts())
    declare(path, SHEET, 300 << 20)
    assert re.match(r"unpacks to 314,57\d,\d{3} bytes; the limit is 268,435,456", refusal(path))


def test_a_size_that_is_declared_too_small_is_refused(tmp_path: Path) -> None:
    # zipfile stops at the declared size, other programs read on; so the beginning alone must not pass for the entry.
    text = sheet(tail="<extLst>" + "x" * 5_000 + "</extLst>").encode()
    path = packed(tmp_path, parts(sheet=text))
    declare(path, SHEET, 400)
    assert "declares 400 bytes and holds another number" in refusal(path)
    declare(path, SHEET, 400, checksum=zlib.crc32(text[:400]))
    assert "Bad CRC-32" in refusal(path)


def declare(path: Path, name: str, size: int, *, checksum: int | None = None) -> None:
    """Forge the unpacked size of one entry, in its own header and in the list of entries."""
    raw = bytearray(path.read_bytes())
    for mark, at_size, at_name in ((b"PK\x03\x04", 22, 30), (b"PK\x01\x02", 24, 46)):
        at = raw.find(mark)
        while raw[at + at_name : at + at_name + len(name)] != name.encode():
            at = raw.find(mark, at + 1)
        struct.pack_into("<L", raw, at + at_size, size)
        if checksum is not None:
            struct.pack_into("<L", raw, at + at_size - 8, checksum)
    path.write_bytes(raw)


def test_the_real_bytes_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path, parts())
    monkeypatch.setattr(_scan, "MAX_BYTES", 500)
    assert "unpacks to more than 500 bytes" in refusal(path)


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path, parts())
    monkeypatch.setattr(gate, "MAX_BYTES", 100)
    assert re.match(r"has [\d,]+ bytes; the limit is 100$", refusal(path))


def test_one_endless_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scan, "MAX_TEXT", 1_000)
    assert "a text of over 1,000 bytes" in refusal(
        packed(tmp_path, parts() | {"custom.xml": f"<a>{'x' * _scan.MIB}</a>"})
    )


# Entities ------------------------------------------------------------------------------------------------------------

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BILLION_LAUGHS = f'<?xml version="1.0"?><!DOCTYPE sst [<!ENTITY l0 "ha">{LAUGHS}]><sst><si><t>&l9;</t></si></sst>'
EXTERNAL = '<!DOCTYPE worksheet [<!ENTITY secret SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize("name", ["xl/sharedStrings.xml", "xl/styles.dat", "docProps/app.xml"])
def test_billion_laughs_are_refused_wherever_they_stand(tmp_path: Path, name: str) -> None:
    assert "holds a <!DOCTYPE" in refusal(packed(tmp_path, parts() | {name: BILLION_LAUGHS}))


@pytest.mark.parametrize("part", ["sheet", "workbook", "links", "types", "start"])
def test_an_external_entity_is_refused_in_every_part(tmp_path: Path, part: str) -> None:
    names = {"sheet": SHEET, "workbook": "xl/workbook.xml", "links": "xl/_rels/workbook.xml.rels"}
    names |= {"types": "[Content_Types].xml", "start": "_rels/.rels"}
    text = EXTERNAL + str(parts()[names[part]])
    assert "holds a <!DOCTYPE" in refusal(packed(tmp_path, parts(**{part: text})))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_doctype_in_wide_characters_is_refused(tmp_path: Path, encoding: str) -> None:
    content = parts() | {"xl/sharedStrings.xml": BILLION_LAUGHS.encode(encoding)}
    assert "holds a <!DOCTYPE" in refusal(packed(tmp_path, content))


@pytest.mark.parametrize("encoding", ["UTF-7", "IBM037", "utf-32"])
def test_encodings_in_which_a_doctype_could_hide_are_refused(tmp_path: Path, encoding: str) -> None:
    content = parts() | {"xl/sharedStrings.xml": f'<?xml version="1.0" encoding="{encoding}"?><sst/>'}
    assert "not written in UTF-8" in refusal(packed(tmp_path, content))


def test_a_doctype_is_seen_across_the_border_of_two_blocks(tmp_path: Path) -> None:
    for split in range(1, 9):
        text = "<?xml version='1.0'?>".ljust(_scan.MIB - split) + "<!DOCTYPE a><a/>"
        assert "holds a <!DOCTYPE" in refusal(packed(tmp_path, parts() | {"xl/sharedStrings.xml": text}))


def test_broken_xml_is_refused(tmp_path: Path) -> None:
    assert "no well-formed XML" in refusal(packed(tmp_path, parts(sheet=sheet()[:-5])))
    assert "no well-formed XML" in refusal(packed(tmp_path, parts(workbook="<workbook>")))
    assert "is no XML" in refusal(packed(tmp_path, parts() | {"xl/styles.xml": "styles"}))


# Sheets --------------------------------------------------------------------------------------------------------------


def test_a_lone_cell_in_the_last_corner_is_refused(tmp_path: Path) -> None:
    message = refusal(packed(tmp_path, parts(sheet=sheet('<c r="A1"><v>1</v></c><c r="XFD1048576"><v>1</v></c>'))))
    assert "reaches to row 1,048,576, column 16,384" in message
    assert "the limit is 20,000,000" in message


@pytest.mark.parametrize("cell", ["A1048577", "XFE1", "ZZZ9999999"])
def test_a_cell_beyond_the_last_one_is_refused(tmp_path: Path, cell: str) -> None:
    assert "beyond XFD1048576" in refusal(packed(tmp_path, parts(sheet=sheet(f'<c r="{cell}"/>'))))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (sheet(head='<dimension ref="A1:XFD1048576"/>'), "declares the range A1:XFD1048576"),
        (sheet('<c r="A1"><f t="array" ref="A1:XFD1048576">1</f></c>'), "has a formula over A1:XFD1048576"),
        (sheet(tail='<mergeCells><mergeCell ref="A1:XFD1048576"/></mergeCells>'), "merges A1:XFD1048576"),
    ],
    ids=["dimension", "array", "merge"],
)
def test_a_forged_range_over_the_whole_grid_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(packed(tmp_path, parts(sheet=text)))


def test_too_many_cells_are_refused_over_all_sheets_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = "".join(f'<sheet name="S{n}" sheetId="{n}" r:id="rId{n}"/>' for n in (1, 2))
    links = relationships(("worksheet", "worksheets/sheet1.xml"), ("worksheet", "worksheets/sheet2.xml"))
    path = packed(tmp_path, parts(workbook=workbook(names), links=links) | {"xl/worksheets/sheet2.xml": sheet()})
    monkeypatch.setattr(_scan, "MAX_CELLS", 4)
    check_workbook_file(path)
    monkeypatch.setattr(_scan, "MAX_CELLS", 3)
    assert "more than 3 cells" in refusal(path)


def test_five_thousand_parentheses_are_refused(tmp_path: Path) -> None:
    text = formula("(" * 4_000 + "1" + ")" * 4_000)
    assert "4,000 parentheses deep" in refusal(packed(tmp_path, parts(sheet=text)))
    text = formula("(" * 5_000 + "1" + ")" * 5_000)
    assert "a formula of 10,001 characters" in refusal(packed(tmp_path, parts(sheet=text)))


@pytest.mark.parametrize(
    "text",
    [
        formula("(" * 65 + "1" + ")" * 65),
        formula("&#40;" * 65 + "1" + "&#x29;" * 65),
        formula("{" * 65 + "1" + "}" * 65),
        sheet(f'<c r="A1"><f a="&gt;>">{"(" * 65}1{")" * 65}</f></c>'),
        sheet(tail=f"<conditionalFormatting><cfRule><formula>{'(' * 65}</formula></cfRule></conditionalFormatting>"),
        sheet(tail=f"<dataValidations><formula1>{'(' * 65}</formula1></dataValidations>"),
    ],
    ids=["plain", "numbered", "braces", "attribute", "format", "validation"],
)
def test_parentheses_deeper_than_excel_allows_are_refused(tmp_path: Path, text: str) -> None:
    assert "65 parentheses deep" in refusal(packed(tmp_path, parts(sheet=text)))


def test_parentheses_in_a_defined_name_are_refused(tmp_path: Path) -> None:
    names = f"<definedNames><definedName name='a'>{'(' * 65}</definedName></definedNames>"
    text = workbook('<sheet name="Steps" sheetId="1" r:id="rId1"/>', names)
    assert "65 parentheses deep" in refusal(packed(tmp_path, parts(workbook=text)))


def test_a_formula_longer_than_excel_allows_is_refused(tmp_path: Path) -> None:
    assert "a formula of 8,193 characters" in refusal(packed(tmp_path, parts(sheet=formula("1+" * 4_096 + "1"))))


@pytest.mark.parametrize(
    "text",
    [
        sheet("<c><v>1</v></c>"),
        sheet('<c r="a1"><v>1</v></c>'),
        sheet('<c r="&#88;FD1048576"><v>1</v></c>'),
        sheet("<c x=' r=\"A1\"' r='XFD1048576'/>"),
        sheet('<c r="A1"/><y:c xmlns:y="http://schemas.openxmlformats.org/spreadsheetml/2006/main" r="XFD1048576"/>'),
    ],
    ids=["none", "lower case", "numbered", "in another attribute", "second prefix"],
)
def test_a_cell_whose_address_could_hide_is_refused(tmp_path: Path, text: str) -> None:
    assert "without a plain address" in refusal(packed(tmp_path, parts(sheet=text)))


@pytest.mark.parametrize("text", ["<!-- <c r='A1'/> -->", "<![CDATA[((((]]>"], ids=["comment", "CDATA"])
def test_a_sheet_in_which_cells_could_hide_is_refused(tmp_path: Path, text: str) -> None:
    assert "comment or CDATA" in refusal(packed(tmp_path, parts(sheet=sheet(f'<c r="A1"><f>{text}</f></c>'))))


def test_a_sheet_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    assert "not written in UTF-8" in refusal(packed(tmp_path, parts(sheet=sheet().encode("utf-16"))))
    latin = '<?xml version="1.0" encoding="ISO-8859-1"?>' + sheet()
    assert "not written in UTF-8" in refusal(packed(tmp_path, parts(sheet=latin)))


def test_hostile_patterns_take_no_longer_than_plain_ones(tmp_path: Path) -> None:
    many = 200_000
    texts = [
        sheet('<c r="A1" ' + " " * many + "/>"),
        sheet("<c " + " ".join(f'a{n}="1"' for n in range(many // 8)) + "/>"),
        sheet("<c>" * many + "</c>" * many),
        sheet("<f>" * many + "</f>" * many),
        sheet(f'<c r="A1" ref="{"ref=" * many}"/>'),
    ]
    start = time.process_time()
    for text in texts:
        path = packed(tmp_path, parts(sheet=text))
        with contextlib.suppress(WorkbookError):  # some are merely odd, and may pass
            check_workbook_file(path)
    assert time.process_time() - start < 5.0
