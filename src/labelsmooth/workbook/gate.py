"""The safety gate: what an .xlsx file must pass before any parser touches it.

Spreadsheet files come from strangers, and the parsers behind this project are Rust, C++ and WebAssembly: a small file can
unpack to gigabytes, one lone cell in the last corner makes a reader allocate seventeen thousand million cells and abort the
process, and 5,000 nested parentheses overflow the stack. None of that can be caught in Python, so it is refused before.

What shaped it:

- The standard library only, one pass, everything streamed: nothing here holds more than a few MiB of the file.
- The scan uses patterns, and patterns can be fooled by unusual XML. So sheets are held to the plain form that spreadsheet
  programs write (UTF-8, no comments, no CDATA, one prefix, `r="C11"` on each cell) and expat has to find them well-formed.
- It reads every entry to its end, because the sizes that a zip declares are claims.

The limits, each with its reason:

    2,000 entries           a workbook of six sheets has about 30
    256 MiB                 the file, and all entries unpacked; 500,000 formulas unpack to about 60 MiB
    100 : 1 above 64 MiB    worksheets shrink 8 to 20 times, deflate's bombs 1,000 times; small files may do what they like
    2,000,000 cells         more than the largest workbook that labelsmooth writes
    20,000,000 grid cells   last row times last column: readers that fill a grid need 32 bytes each, 640 MB
    8,192 characters, 64 parentheses deep: what Excel allows in a formula
"""

from __future__ import annotations

import copy
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as ET
from xml.parsers import expat

from labelsmooth.errors import WorkbookError
from labelsmooth.workbook._cells import column_number, plain_text, relations, split_reference, worksheet_parts

MIB = 1 << 20
MAX_ENTRIES = 2_000
MAX_BYTES = 256 * MIB
FREE_BYTES = 64 * MIB
MAX_RATIO = 100
MAX_CELLS = 2_000_000
MAX_GRID = 20_000_000
MAX_FORMULA = 8_192
MAX_DEPTH = 64
MAX_TEXT = 4 * MIB  # one tag with the text behind it, outside sheets: pictures and queries are stored that way

_BLOCK = MIB
_ENTRY_MARK = b"PK\x01\x02"
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_RESAVE = "open it in a spreadsheet program and save it again as .xlsx"

_DECLARATION = re.compile(rb"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)
_ENCODING = re.compile(rb"^\s*<\?xml[^<>]*?\sencoding\s*=\s*[\"']([^\"'<>]*)[\"']")
_ENCODINGS = {b"utf-8", b"utf8", b"us-ascii", b"ascii", b"utf-16", b"iso-8859-1", b"windows-1252"}
_FORMULA = re.compile(
    rb"<(?:[\w.-]+:)?(?:f|formula[12]?|definedName|calculatedColumnFormula|totalsRowFormula)(?:\s[^<>]*)?>([^<]*)"
)
_STRING = re.compile(r'"[^"]*"')
_SPAN = re.compile(rb"<(?:[\w.-]+:)?(dimension|f|mergeCell)\s(?:[^<>]*?\s)?ref\s*=\s*[\"']([^\"'<>]*)[\"']")
_REF = re.compile(rb"ref\s*=\s*[\"']([^\"'<>]*)[\"']")  # the same without the tag, ten times faster
_RANGE = re.compile(rb"([A-Z]{1,3}[1-9][0-9]{0,6})(?::([A-Z]{1,3}[1-9][0-9]{0,6}))?")
_CELL = re.compile(rb"<c[\s/>]")
_CELL_WITH_PREFIX = re.compile(rb"<[\w.-]+:c[\s/>]")
_ROOT = re.compile(rb"<((?:[\w.-]+:)?)worksheet[\s/>]")


def check_workbook_file(path: str | Path) -> None:
    """Refuse an .xlsx file that is damaged, hostile, or larger than any workbook of this project can be.

    Args:
        path: the file, as the user named it; it is only read.

    Raises:
        WorkbookError: one line that names the file, what was found, and the limit where there is one.

    Example:
        >>> check_workbook_file("no such file.xlsx")
        Traceback (most recent call last):
        labelsmooth.errors.WorkbookError: no such file.xlsx: there is no such file
    """
    try:
        _check_container(Path(path))
        with zipfile.ZipFile(path) as archive:
            _check_entries(archive)
            _check_contents(archive)
    except WorkbookError as fault:
        raise WorkbookError(f"{path}: {fault}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as fault:
        # zipfile has no single exception for "these bytes are no zip"; ET.ParseError is none of these, see _checked_xml.
        raise WorkbookError(
            f"{path}: is damaged or cut short ({_one_line(fault)}): copy or download it again"
        ) from fault


def _one_line(fault: object) -> str:
    return " ".join(str(fault).split())[:200]


# ------------------------------------------------------------------------------------------------------- the container


def _check_container(path: Path) -> None:
    if not path.exists():
        raise WorkbookError("there is no such file")
    if not path.is_file():
        raise WorkbookError("is no file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise WorkbookError(f"has {size:,} bytes; the limit is {MAX_BYTES:,}")
    with path.open("rb") as stream:
        head = stream.read(8)
        if head == _OLE:
            raise WorkbookError(f"is protected by a password, or an old .xls: {_RESAVE}, without a password")
        if not zipfile.is_zipfile(stream):
            reason = "is cut short" if head.startswith(b"PK") else "is no .xlsx file (no zip archive)"
            raise WorkbookError(f"{reason}: copy or download it again")
        # zipfile builds an object for each entry before it can be asked how many there are.
        if (entries := _count(stream, _ENTRY_MARK)) > MAX_ENTRIES:
            raise WorkbookError(f"has {entries:,} entries; the limit is {MAX_ENTRIES:,}")


def _count(stream: IO[bytes], mark: bytes) -> int:
    stream.seek(0)
    total, tail = 0, b""
    while block := stream.read(_BLOCK):
        block = tail + block
        total += block.count(mark)
        tail = block[-len(mark) + 1 :]
    return total


def _check_entries(archive: zipfile.ZipFile) -> None:
    """Everything that the list of entries says, before the first byte is unpacked."""
    seen: set[str] = set()
    for info in archive.infolist():
        name = info.filename
        steps = name.replace("\\", "/").split("/")
        if ".." in steps or name.startswith(("/", "\\")) or ":" in steps[0]:
            raise WorkbookError(f"holds an entry named {name!r}, which points outside the file")
        if name.lower() in seen:
            raise WorkbookError(f"holds two entries named {name!r}, and programs differ in which they read")
        seen.add(name.lower())
        if info.flag_bits & 0x1:
            raise WorkbookError(f"its entry {name!r} is encrypted: {_RESAVE}, without a password")
        if "vbaproject" in name.lower() or name.lower().startswith("xl/macrosheets/"):
            raise WorkbookError(f"holds macros ({name}): save it as .xlsx, which has none")
        if name.lower().startswith("xl/externallinks/"):
            raise WorkbookError(f"has a link to another workbook ({name}): break the links (Data, Edit Links) first")
    declared = sum(info.file_size for info in archive.infolist())
    if declared > MAX_BYTES:
        raise WorkbookError(f"unpacks to {declared:,} bytes; the limit is {MAX_BYTES:,}")
    packed = sum(info.compress_size for info in archive.infolist())
    if declared > FREE_BYTES and declared > MAX_RATIO * packed:
        raise WorkbookError(f"unpacks to {declared:,} bytes, over {MAX_RATIO} times its size: a zip bomb does that")
    if "xl/workbook.xml" not in archive.namelist():
        kind = "an .xlsb: save it as .xlsx" if "xl/workbook.bin" in seen else "no .xlsx workbook"
        raise WorkbookError(f"has no xl/workbook.xml, so it is {kind}")


def _check_contents(archive: zipfile.ZipFile) -> None:
    """Unpack each entry once: first those that say what the others are, then the rest."""
    scan = _Scan(archive)
    directing = [info for info in archive.infolist() if _directs(info.filename)]
    for info in directing:
        if info.file_size > 8 * MIB:
            raise WorkbookError(f"its entry {info.filename!r} has {info.file_size:,} bytes; the limit is {8 * MIB:,}")
        scan.entry(info, is_sheet=False)
    _check_relations(archive)
    sheets = set(worksheet_parts(archive).values())
    if missing := sorted(sheets - set(archive.namelist())):
        raise WorkbookError(f"its sheet {missing[0]!r} is missing: {_RESAVE}")
    for info in archive.infolist():
        if info not in directing:
            scan.entry(info, is_sheet=info.filename in sheets)


def _directs(name: str) -> bool:
    return name.lower() in {"[content_types].xml", "_rels/.rels", "xl/workbook.xml", "xl/_rels/workbook.xml.rels"}


def _check_relations(archive: zipfile.ZipFile) -> None:
    """The same refusals by declared type: an entry may have any name."""
    types = next((name for name in archive.namelist() if name.lower() == "[content_types].xml"), None)
    if types is None:
        raise WorkbookError(f"has no [Content_Types].xml, so it is no .xlsx workbook: {_RESAVE}")
    for element in ET.fromstring(archive.read(types)):  # noqa: S314 - scanned before: no DOCTYPE
        declared = element.get("ContentType", "").lower()
        if "macroenabled" in declared or "vbaproject" in declared or "macrosheet" in declared:
            raise WorkbookError("is a workbook with macros: save it as .xlsx, which has none")
    start = [line.target for line in relations(archive, "").values() if line.kind == "officeDocument"]
    if start != ["xl/workbook.xml"]:
        raise WorkbookError(f"starts at {', '.join(start) or 'no part'!r}, not at xl/workbook.xml: {_RESAVE}")
    for line in relations(archive, "xl/workbook.xml").values():
        if line.kind in ("externalLink", "externalLinkPath"):
            raise WorkbookError(
                f"has a link to another workbook ({line.target}): break the links (Data, Edit Links) first"
            )
        if line.kind in ("vbaProject", "xlMacrosheet", "xlIntlMacrosheet"):
            raise WorkbookError(f"holds macros ({line.target}): save it as .xlsx, which has none")
        if not line.external and not line.target.lower().endswith(".xml"):
            raise WorkbookError(f"its workbook points at {line.target!r}, which is no XML part: {_RESAVE}")


# -------------------------------------------------------------------------------------------------------- the contents


@dataclass
class _Scan:
    """What all entries together have used of the limits."""

    archive: zipfile.ZipFile
    unpacked: int = 0
    cells: int = 0

    def entry(self, info: zipfile.ZipInfo, *, is_sheet: bool) -> None:
        """Unpack one entry to its end and look at it on the way."""
        blocks = self._blocks(info)
        first = next(blocks, b"")
        text = first.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
        lower = info.filename.lower()
        named_xml = lower.endswith((".xml", ".rels"))
        if named_xml and not text.startswith(b"<"):
            raise WorkbookError(f"its entry {info.filename!r} is no XML: {_RESAVE}")
        if not text.startswith(b"<") or lower.endswith(".svg"):  # a picture: no engine here reads it
            for _ in blocks:
                pass
            return
        encoding = _ENCODING.match(text)
        if encoding and encoding[1].lower() not in _ENCODINGS:
            raise WorkbookError(
                f"its entry {info.filename!r} is written in {encoding[1].decode('latin-1')!r}, not UTF-8"
            )
        pieces = _pieces(first, blocks, info.filename, well_formed=named_xml)
        sheet = _Sheet(info.filename) if is_sheet else None
        for piece in pieces:
            _check_formulas(piece, info.filename)
            if sheet is not None:
                sheet.look(piece)
                if self.cells + sheet.cells > MAX_CELLS:
                    raise WorkbookError(f"has more than {MAX_CELLS:,} cells, which is the limit")
        self.cells += sheet.cells if sheet is not None else 0

    def _blocks(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        """The entry's bytes, to the true end of its data: zipfile would stop at the size that the zip declares."""
        whole = copy.copy(info)
        whole.file_size = MAX_BYTES + 1
        size = 0
        with self.archive.open(whole) as stream:
            while block := stream.read(_BLOCK):
                size += len(block)
                self.unpacked += len(block)
                if self.unpacked > MAX_BYTES:
                    raise WorkbookError(f"unpacks to more than {MAX_BYTES:,} bytes, which is the limit")
                if size > info.file_size:
                    break
                yield block
        if size != info.file_size:
            raise WorkbookError(
                f"its entry {info.filename!r} declares {info.file_size:,} bytes and holds another number"
            )


def _pieces(first: bytes, blocks: Iterator[bytes], name: str, *, well_formed: bool) -> Iterator[bytes]:
    """The part in pieces cut before a tag, so that a tag and the text behind it always stand together.

    NULs are dropped: that turns UTF-16 into something in which the patterns still find every tag.
    """
    parser = expat.ParserCreate()
    rest, block = b"", first
    try:
        while True:
            rest += block.replace(b"\0", b"")
            if found := _DECLARATION.search(rest):
                raise WorkbookError(
                    f"its entry {name!r} holds a <!{found[1].decode().upper()}, which no workbook needs"
                )
            if well_formed:
                parser.Parse(block, False)
            cut = rest.rfind(b"<")
            if cut > 0:
                yield rest[:cut]
                rest = rest[cut:]
            if len(rest) > MAX_TEXT:
                raise WorkbookError(f"its entry {name!r} holds a text of over {MAX_TEXT:,} bytes, which is the limit")
            if not (block := next(blocks, b"")):
                break
        if well_formed:
            parser.Parse(b"", True)
    except expat.ExpatError as fault:
        raise WorkbookError(f"its entry {name!r} is no well-formed XML ({_one_line(fault)}): {_RESAVE}") from fault
    yield rest


def _check_formulas(piece: bytes, name: str) -> None:
    for formula in _FORMULA.findall(piece):
        if len(formula) <= MAX_DEPTH:  # too short to break either rule, as nearly all are
            continue
        text = formula.decode("utf-8", "replace")
        if "&" in text:
            text = plain_text(text)
        if len(text) > MAX_FORMULA:
            raise WorkbookError(f"has a formula of {len(text):,} characters in {name!r}; the limit is {MAX_FORMULA:,}")
        if (depth := _depth(text)) > MAX_DEPTH:
            raise WorkbookError(f"has a formula {depth:,} parentheses deep in {name!r}; the limit is {MAX_DEPTH}")
    if any(_area(span) > MAX_GRID for span in _REF.findall(piece)):
        _check_spans(piece, name)


def _depth(formula: str) -> int:
    depth = deepest = 0
    for sign in re.findall(r"[({)}]", _STRING.sub("", formula)):
        depth += 1 if sign in "({" else -1
        deepest = max(deepest, depth)
    return deepest


def _area(span: bytes) -> int:
    match = _RANGE.fullmatch(span)
    if match is None:
        return 0
    first, last = match[1].decode(), (match[2] or match[1]).decode()
    (top, left), (row, column) = split_reference(first), split_reference(last)
    return (abs(row - top) + 1) * (abs(column - left) + 1)


def _check_spans(piece: bytes, name: str) -> None:
    """A filter or a link may cover a whole sheet; these three make programs allocate, or fill, what they cover."""
    whats = {b"dimension": "declares the range", b"f": "has a formula over", b"mergeCell": "merges"}
    for tag, span in _SPAN.findall(piece):
        if (size := _area(span)) > MAX_GRID:
            where = f"{span.decode()} in {name!r}"
            raise WorkbookError(f"{whats[tag]} {where}, which is {size:,} cells; the limit is {MAX_GRID:,}")


@lru_cache(maxsize=8)
def _plain_cell(prefix: bytes) -> re.Pattern[bytes]:
    """A cell's tag as every spreadsheet program writes it: nothing can hide in attributes without spaces."""
    attribute = rb"[\w:]+=(?:\"[^\"<>\s]*\"|'[^'<>\s]*')"
    cell = rb"<%bc\s+(?:%b\s+)*?r=[\"']([A-Z]{1,3})([1-9][0-9]{0,6})[\"'](?:\s+%b)*\s*/?>"
    return re.compile(cell % (re.escape(prefix), attribute, attribute))


@dataclass
class _Sheet:
    """The cells of one worksheet: that they are written plainly, how many, and how far out the last stands."""

    name: str
    cells: int = 0
    prefix: bytes | None = None
    last_row: int = 0
    last_column: int = 0

    def look(self, piece: bytes) -> None:
        if b"<!" in piece:
            raise WorkbookError(f"its sheet {self.name!r} holds a comment or CDATA, where cells could hide: {_RESAVE}")
        if self.prefix is None and (root := _ROOT.search(piece)):
            self.prefix = root[1]
        started = len(_CELL.findall(piece)) + len(_CELL_WITH_PREFIX.findall(piece))
        found = _plain_cell(self.prefix or b"").findall(piece)
        if len(found) != started:
            raise WorkbookError(f"its sheet {self.name!r} has a cell without a plain address such as C11: {_RESAVE}")
        if not found:
            return
        self.cells += len(found)
        columns, rows = zip(*found, strict=True)
        self.last_row = max(self.last_row, *map(int, set(rows)))
        self.last_column = max(self.last_column, *(column_number(letters.decode()) for letters in set(columns)))
        if self.last_row > 1_048_576 or self.last_column > 16_384:
            raise WorkbookError(f"its sheet {self.name!r} has a cell beyond XFD1048576, the last one of a spreadsheet")
        if self.last_row * self.last_column > MAX_GRID:
            raise WorkbookError(
                f"its sheet {self.name!r} has cells as far out as row {self.last_row:,} and column {self.last_column:,};"
                f" programs that fill the grid between need more than {MAX_GRID:,} cells, which is the limit"
            )
