"""Which parts of an .xlsx package are its sheets, and how a cell's address and text are written.

An .xlsx is a zip: `xl/workbook.xml` names the sheets, and a `.rels` part beside it says in which entry each one stands.
The gate needs to know before it can count cells, and the recalculation before it can overwrite them, so the answer is
given once, here, from the standard library. Both ask only after the gate has found no DOCTYPE in these parts.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from dataclasses import dataclass
from functools import cache
from xml.etree import ElementTree as ET

from labelsmooth.errors import WorkbookError

WORKBOOK = "xl/workbook.xml"
_ADDRESS = re.compile(r"(?:'((?:[^']|'')+)'|([^'!]+))!\$?([A-Za-z]{1,3})\$?([1-9][0-9]{0,6})")
_ENTITY = re.compile(r"&(?:#x([0-9a-fA-F]+)|#([0-9]+)|(amp|lt|gt|quot|apos));")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


# Which part is a sheet -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Relation:
    """One line of a .rels part: the last word of its type, and the part (or address, when external) it points at."""

    kind: str
    target: str
    external: bool


def relations(archive: zipfile.ZipFile, part: str) -> dict[str, Relation]:
    """What `part` points at, by relationship id; empty when it has no .rels part."""
    folder, base = posixpath.split(part)
    name = posixpath.join(folder, "_rels", base + ".rels")
    names = {entry.lower(): entry for entry in archive.namelist()}  # part names ignore case
    if name.lower() not in names:
        return {}
    found = {}
    for line in ET.fromstring(archive.read(names[name.lower()])):  # noqa: S314 - the gate refuses a DOCTYPE
        target = line.get("Target", "")
        external = line.get("TargetMode") == "External"
        if not external:
            target = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
            target = names.get(target.lower(), target)
        found[line.get("Id", "")] = Relation(line.get("Type", "").rpartition("/")[2], target, external)
    return found


def worksheet_parts(archive: zipfile.ZipFile) -> dict[str, str]:
    """The worksheets in the order of their tabs: name -> part. Chart sheets hold no cells and are left out."""
    related = relations(archive, WORKBOOK)
    sheets: dict[str, str] = {}
    for element in ET.fromstring(archive.read(WORKBOOK)).iter():  # noqa: S314 - the gate refuses a DOCTYPE
        if element.tag.rpartition("}")[2] != "sheet":
            continue
        name = element.get("name", "")
        link = next((value for key, value in element.items() if key.endswith("}id")), "")
        if link not in related:
            raise WorkbookError(f"the sheet {name!r} points at nothing: save the file again with a spreadsheet program")
        if name.casefold() in {known.casefold() for known in sheets} or related[link].target in sheets.values():
            raise WorkbookError(f"the sheet {name!r} is there twice: save the file again with a spreadsheet program")
        if related[link].kind == "worksheet":
            sheets[name] = related[link].target
    return sheets


# Cell addresses ------------------------------------------------------------------------------------------------------


@cache  # there are 16,384 columns, and a big sheet asks 100,000 times
def column_number(letters: str) -> int:
    """`"AA"` -> 27, counted from one."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def split_reference(reference: str) -> tuple[int, int]:
    """`"C11"` -> `(11, 3)`: row and column, both counted from one."""
    letters = reference.rstrip("0123456789")
    return int(reference[len(letters) :]), column_number(letters)


def address(sheet: str, cell: str) -> str:
    """`Steps!C11`, or `'Read me'!C11`: the address as a spreadsheet writes it."""
    return f"{sheet}!{cell}" if re.fullmatch(r"[^\W\d]\w*", sheet) else "'" + sheet.replace("'", "''") + f"'!{cell}"


def split_address(text: str) -> tuple[str, str]:
    """`"'Read me'!$C$4"` -> `("Read me", "C4")`."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no cell address: write the sheet and the cell, such as 'Steps!C4'")
    quoted, plain, column, row = match.groups()
    return (quoted.replace("''", "'") if quoted else plain), column.upper() + row


def plain_text(stored: str) -> str:
    """Resolve XML's five names and numbered characters; `html.unescape` knows hundreds more, which are text here."""
    return _ENTITY.sub(_character, stored)


def _character(match: re.Match[str]) -> str:
    hexadecimal, decimal, name = match.groups()
    return _NAMED[name] if name else chr(int(hexadecimal or decimal, 16 if hexadecimal else 10))
