"""The safety gate: what an .xlsx file must pass before any parser touches it.

Spreadsheet files come from strangers, and the parsers behind this project are Rust, C++ and WebAssembly: a small file
can unpack to gigabytes, one lone cell in the last corner makes a reader allocate 17 thousand million cells and abort,
and 5,000 nested parentheses overflow the stack. None of that can be caught in Python, so it is refused before. The gate
itself uses the standard library only and reads everything in pieces of a MiB.

The limits, each with its reason:

    2,000 entries           a workbook of six sheets has about 30
    256 MiB                 the file, and all its entries unpacked; 500,000 formulas unpack to about 60 MiB
    100 : 1 above 64 MiB    worksheets shrink 5 to 20 times, a bomb 1,000 times; under 64 MiB neither can hurt
    2,000,000 cells         more than the largest workbook that labelsmooth writes
    20,000,000 grid cells   last row times last column: readers that fill the grid need some 32 bytes each, 640 MB
    8,192 characters and 64 parentheses deep: what Excel allows in a formula

Refused whatever their size: encryption, macros, links to other workbooks, a DOCTYPE or ENTITY, entries that point
outside the file or have the same name, and everything that is damaged. What is looked for inside is in `_scan.py`.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as ET

from labelsmooth.errors import WorkbookError
from labelsmooth.workbook._package import WORKBOOK, relations, worksheet_parts
from labelsmooth.workbook._scan import MAX_BYTES, MIB, RESAVE, Scan

MAX_ENTRIES = 2_000
FREE_BYTES = 64 * MIB
MAX_RATIO = 100
MAX_DIRECTING = 8 * MIB  # the four parts that say what the others are; a thousand sheets need a tenth of that

_ENTRY_MARK = b"PK\x01\x02"
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_DIRECTING = {"[content_types].xml", "_rels/.rels", WORKBOOK, "xl/_rels/workbook.xml.rels"}
_UNLINK = "break the links first (in Excel: Data, Edit Links, Break Link)"
_NO_ZIP = (  # zipfile has no single exception for "these bytes are no zip"
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    ET.ParseError,
)


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
            _check_entries(archive, Path(path).stat().st_size)
            _check_contents(archive)
    except WorkbookError as fault:
        raise WorkbookError(f"{path}: {fault}") from None
    except PermissionError as fault:
        raise WorkbookError(f"{path}: cannot be opened ({fault.strerror}): change its permissions") from fault
    except _NO_ZIP as fault:
        reason = " ".join(str(fault).split())[:200]
        raise WorkbookError(f"{path}: is damaged or cut short ({reason}): copy or download it again") from fault


# The container -------------------------------------------------------------------------------------------------------


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
            raise WorkbookError(f"is protected by a password, or an old .xls: {RESAVE}, without a password")
        if not zipfile.is_zipfile(stream):
            reason = "is cut short" if head.startswith(b"PK") else "is no .xlsx file (no zip archive)"
            raise WorkbookError(f"{reason}: copy or download it again")
        # zipfile builds an object for each entry before it can be asked how many there are.
        if (entries := _count(stream, _ENTRY_MARK)) > MAX_ENTRIES:
            raise WorkbookError(f"has {entries:,} entries; the limit is {MAX_ENTRIES:,}")


def _count(stream: IO[bytes], mark: bytes) -> int:
    stream.seek(0)
    total, tail = 0, b""
    while block := stream.read(MIB):
        block = tail + block
        total += block.count(mark)
        tail = block[-len(mark) + 1 :]
    return total


def _check_entries(archive: zipfile.ZipFile, size: int) -> None:
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
            raise WorkbookError(f"its entry {name!r} is encrypted: {RESAVE}, without a password")
        if "vbaproject" in name.lower() or name.lower().startswith("xl/macrosheets/"):
            raise WorkbookError(f"holds macros ({name}): save it as .xlsx, which has none")
        if name.lower().startswith("xl/externallinks/"):
            raise WorkbookError(f"has a link to another workbook ({name}): {_UNLINK}")
    declared = sum(info.file_size for info in archive.infolist())
    if declared > MAX_BYTES:
        raise WorkbookError(f"unpacks to {declared:,} bytes; the limit is {MAX_BYTES:,}")
    if declared > FREE_BYTES and declared > MAX_RATIO * size:  # not of the packed sizes that the zip declares
        raise WorkbookError(f"unpacks to {declared:,} bytes, over {MAX_RATIO} times its size: a zip bomb does that")
    if WORKBOOK not in archive.namelist():
        kind = "an .xlsb: save it as .xlsx" if "xl/workbook.bin" in seen else "no .xlsx workbook"
        raise WorkbookError(f"has no xl/workbook.xml, so it is {kind}")


def _check_contents(archive: zipfile.ZipFile) -> None:
    """Unpack each entry once: first those that say what the others are, then the rest."""
    scan = Scan(archive)
    directing = [info for info in archive.infolist() if info.filename.lower() in _DIRECTING]
    for info in directing:
        if info.file_size > MAX_DIRECTING:
            raise WorkbookError(f"its {info.filename!r} has {info.file_size:,} bytes; the limit is {MAX_DIRECTING:,}")
        scan.entry(info, is_sheet=False)
    _check_relations(archive)
    sheets = set(worksheet_parts(archive).values())
    if missing := sorted(sheets - set(archive.namelist())):
        raise WorkbookError(f"its sheet {missing[0]!r} is missing: {RESAVE}")
    for info in archive.infolist():
        if info not in directing:
            scan.entry(info, is_sheet=info.filename in sheets)


def _check_relations(archive: zipfile.ZipFile) -> None:
    """The same refusals by declared type: an entry may have any name."""
    types = next((name for name in archive.namelist() if name.lower() == "[content_types].xml"), None)
    if types is None:
        raise WorkbookError(f"has no [Content_Types].xml, so it is no .xlsx workbook: {RESAVE}")
    for element in ET.fromstring(archive.read(types)):  # noqa: S314 - scanned before: no DOCTYPE
        declared = element.get("ContentType", "").lower()
        if "macroenabled" in declared or "vbaproject" in declared or "macrosheet" in declared:
            raise WorkbookError("is a workbook with macros: save it as .xlsx, which has none")
    start = [line.target for line in relations(archive, "").values() if line.kind == "officeDocument"]
    if start != [WORKBOOK]:
        raise WorkbookError(f"starts at {', '.join(start) or 'no part'!r}, not at xl/workbook.xml: {RESAVE}")
    for line in relations(archive, WORKBOOK).values():
        if line.kind in ("externalLink", "externalLinkPath"):
            raise WorkbookError(f"has a link to another workbook ({line.target}): {_UNLINK}")
        if line.kind in ("vbaProject", "xlMacrosheet", "xlIntlMacrosheet"):
            raise WorkbookError(f"holds macros ({line.target}): save it as .xlsx, which has none")
        if not line.external and not line.target.lower().endswith(".xml"):
            raise WorkbookError(f"its workbook points at {line.target!r}, which is no XML part: {RESAVE}")
