"""What the gate looks for inside the entries of an .xlsx, while they are unpacked.

Every entry is read once, in pieces of a MiB, to the true end of its data. The look is taken with patterns, which are
fast (100,000 formulas in a fraction of a second) and can be fooled by unusual XML; so worksheets are held to the plain
form that spreadsheet programs write: UTF-8, no comments and no CDATA, `r="C11"` on each cell. A file written otherwise
is refused with the advice to save it again. expat then has to find every .xml and .rels part well-formed, which is what
lets `_cells.py` edit the sheets as text.
"""

from __future__ import annotations

import copy
import re
import zipfile
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from xml.parsers import expat

from labelsmooth.errors import WorkbookError
from labelsmooth.workbook._package import column_number, plain_text, split_reference

MIB = 1 << 20
MAX_BYTES = 256 * MIB
MAX_CELLS = 2_000_000
MAX_GRID = 20_000_000
MAX_FORMULA = 8_192
MAX_DEPTH = 64
MAX_TEXT = 4 * MIB  # one tag with the text behind it; a cell holds 32,767 characters, an embedded query more
RESAVE = "open it in a spreadsheet program and save it again as .xlsx"

_DECLARATION = re.compile(rb"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)
_ENCODING = re.compile(rb"\s*<\?xml[^<>]*?\sencoding\s*=\s*[\"']([^\"'<>]*)[\"']")
_UTF_8 = {b"utf-8", b"utf8", b"us-ascii", b"ascii"}
_READABLE = _UTF_8 | {b"utf-16", b"iso-8859-1", b"windows-1252"}  # in these `<!DOCTYPE` looks as it does in ASCII
_FORMULA = re.compile(
    rb"<(?:[\w.-]+:)?(?:f|formula[12]?|definedName|calculatedColumnFormula|totalsRowFormula)(?:\s[^<>]*)?>([^<]*)"
)
_LONG = re.compile(rb">[^<]{%d}" % (MAX_DEPTH + 1))  # no formula is worth a look where no text is that long
_STRING = re.compile(r'"[^"]*"')
_SPAN = re.compile(rb"<(?:[\w.-]+:)?(dimension|f|mergeCell)\s(?:[^<>]*?\s)?ref\s*=\s*[\"']([^\"'<>]*)[\"']")
_REF = re.compile(rb"ref\s*=\s*[\"']([^\"'<>]*)[\"']")  # the same without the tag, ten times faster
_RANGE = re.compile(rb"([A-Z]{1,3}[1-9][0-9]{0,6})(?::([A-Z]{1,3}[1-9][0-9]{0,6}))?")
_CELL = re.compile(rb"<c[\s/>]")
_CELL_WITH_PREFIX = re.compile(rb"<[\w.-]+:c[\s/>]")
_ROOT = re.compile(rb"<((?:[\w.-]+:)?)worksheet[\s/>]")


@dataclass
class Scan:
    """What all entries together have used of the limits."""

    archive: zipfile.ZipFile
    unpacked: int = 0
    cells: int = 0

    def entry(self, info: zipfile.ZipInfo, *, is_sheet: bool) -> None:
        """Unpack one entry to its end and look at it on the way."""
        with closing(self._blocks(info)) as blocks:  # a refusal must not leave the file open: Windows would lock it
            first = next(blocks, b"")
            named_xml = info.filename.lower().endswith((".xml", ".rels"))
            if _looks_like_xml(first, info.filename, named_xml=named_xml, is_sheet=is_sheet):
                self._look(
                    _pieces(first, blocks, info.filename, well_formed=named_xml), info.filename, is_sheet=is_sheet
                )
            for _ in blocks:  # to the end: the sizes and the checksum count for pictures too
                pass

    def _look(self, pieces: Iterator[bytes], name: str, *, is_sheet: bool) -> None:
        sheet = _Sheet(name) if is_sheet else None
        for piece in pieces:
            _check_formulas(piece, name)
            if sheet is not None:
                sheet.look(piece)
                if self.cells + sheet.cells > MAX_CELLS:
                    raise WorkbookError(f"has more than {MAX_CELLS:,} cells, which is the limit")
        self.cells += sheet.cells if sheet is not None else 0

    def _blocks(self, info: zipfile.ZipInfo) -> Generator[bytes]:
        """The entry's bytes, to the true end of its data: zipfile would stop at the size that the zip declares."""
        whole = copy.copy(info)
        whole.file_size = MAX_BYTES + 1
        size = 0
        with self.archive.open(whole) as stream:
            while block := stream.read(MIB):
                size += len(block)
                self.unpacked += len(block)
                if self.unpacked > MAX_BYTES:
                    raise WorkbookError(f"unpacks to more than {MAX_BYTES:,} bytes, which is the limit")
                if size > info.file_size:
                    break
                yield block
        if size != info.file_size:
            raise WorkbookError(
                f"is damaged or forged: {info.filename!r} declares {info.file_size:,} bytes and holds another number"
            )


def _looks_like_xml(first: bytes, name: str, *, named_xml: bool, is_sheet: bool) -> bool:
    """Judged by the content, since a relationship may call any entry XML; only .svg pictures are left alone."""
    text = first.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    if not text.startswith(b"<"):
        if named_xml:
            raise WorkbookError(f"its entry {name!r} is no XML: {RESAVE}")
        return False
    encoding = _ENCODING.match(text)
    declared = encoding[1].lower() if encoding else b"utf-8"
    if declared not in (_UTF_8 if is_sheet else _READABLE) or (is_sheet and b"\0" in first):
        raise WorkbookError(f"its entry {name!r} is not written in UTF-8: {RESAVE}")
    return named_xml or not name.lower().endswith(".svg")


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
        raise WorkbookError(f"its entry {name!r} is no well-formed XML ({fault}): {RESAVE}") from fault
    yield rest


def _check_formulas(piece: bytes, name: str) -> None:
    for formula in _FORMULA.findall(piece) if _LONG.search(piece) else ():
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


_USUAL_CELL = re.compile(
    rb"<c r=\"([A-Z]{1,3})([1-9][0-9]{0,6})\"(?: s=\"[0-9]+\")?(?: t=\"[A-Za-z]+\")?/?>"
)  # one of the plain ones, found in half the time


def _plain_cells(piece: bytes, prefix: bytes) -> list[tuple[bytes, bytes]] | None:
    """Column and row of each cell that starts in a piece; None where one of them is not written plainly."""
    found = [] if prefix else _USUAL_CELL.findall(piece)
    may_have_prefix = b":c" in piece
    if not may_have_prefix and len(found) == piece.count(b"<c"):  # nothing else begins like a cell, as in most pieces
        return found
    started = len(_CELL.findall(piece)) + (len(_CELL_WITH_PREFIX.findall(piece)) if may_have_prefix else 0)
    if len(found) != started:
        found = _plain_cell(prefix).findall(piece)
    return found if len(found) == started else None


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
            raise WorkbookError(f"its sheet {self.name!r} holds a comment or CDATA, where cells could hide: {RESAVE}")
        if self.prefix is None and (root := _ROOT.search(piece)):
            self.prefix = root[1]
        found = _plain_cells(piece, self.prefix or b"")
        if found is None:
            raise WorkbookError(f"its sheet {self.name!r} has a cell without a plain address such as C11: {RESAVE}")
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
                f"its sheet {self.name!r} reaches to row {self.last_row:,}, column {self.last_column:,}, a grid of"
                f" {self.last_row * self.last_column:,} cells that some programs fill; the limit is {MAX_GRID:,}"
            )
