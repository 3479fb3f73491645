"""The formula cells of an .xlsx file: overwrite their stored values, and read the values that an engine wrote.

The proof of `recalc.py` stands on this file, so it depends on no engine: it finds the formula cells itself. Two
constraints shaped it. Everything but the touched cells is copied byte for byte, therefore the sheets are edited as text
and never parsed and printed again. And it runs after `gate.py`, which has made sure of what the patterns below rely on:
well-formed UTF-8 without comments or CDATA, one namespace prefix, and a plain `r="C11"` on every cell.

A sheet is read in pieces that end where a cell begins, so memory stays small whatever the size of the sheet.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as ET

from labelsmooth.errors import WorkbookError
from labelsmooth.workbook._package import (
    WORKBOOK,
    address,
    plain_text,
    relations,
    split_address,
    split_reference,
    worksheet_parts,
)

Value = float | str | bool | None

POISON = -8.7654321e77  # no loss, logit or probability can be this, and 15 printed digits keep it exactly
_POISON_XML = b"-8.7654321E+77"
_BLOCK = 1 << 20
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})  # xml.sax takes a network library along
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_RESAVE = "save the file again with a spreadsheet program"


# Cells as text -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Patterns:
    """The patterns of one sheet; some programs write every tag with a prefix (`<x:c>`)."""

    prefix: bytes
    start: re.Pattern[bytes]
    cell: re.Pattern[bytes]  # groups: attributes, formula, the formula's attributes, value, what else is inside
    formula: re.Pattern[bytes]
    inline: re.Pattern[bytes]
    text: re.Pattern[bytes]


@lru_cache(maxsize=8)
def _patterns(prefix: bytes) -> _Patterns:
    p = re.escape(prefix)
    some = rb"((?:\s[^<>]*?)?)"
    formula = rb"(<" + p + rb"f" + some + rb"(?:/>|>[^<]*</" + p + rb"f>))"
    value = rb"<" + p + rb"v(?:\s[^<>]*?)?(?:/>|>([^<]*)</" + p + rb"v>)"
    rest = rb"([^<]*(?:<(?!/?" + p + rb"c[\s/>])[^<]*)*)"  # stops at the next cell, so a broken cell costs no rescan
    inside = rb"\s*" + formula + rb"?\s*(?:" + value + rb")?" + rest
    return _Patterns(
        prefix,
        re.compile(rb"<" + p + rb"c[\s/>]"),
        re.compile(rb"<" + p + rb"c" + some + rb"(?:/>|>" + inside + rb"</" + p + rb"c>)"),
        re.compile(formula),
        re.compile(rb"<" + p + rb"is>(.*?)</" + p + rb"is>", re.DOTALL),
        re.compile(rb"<" + p + rb"t(?:\s[^<>]*?)?>([^<]*)<"),
    )


# A formula cell as most programs write it, cut where the poison goes: the tag up to its style (and within it the address),
# the formula with the tag of the value. And the cells without a formula that may stand beside such cells.
_USUAL_FORMULA = re.compile(
    rb'(<c r="([A-Z]+[0-9]+)"(?: s="[0-9]+")?)(?: t="(?:str|e|b|n)")?>(<f>[^<]*</f><v>)[^<]*(?=</v></c>)'
)
_USUAL_VALUE = re.compile(rb'<c r="[A-Z]+[0-9]+"(?: s="[0-9]+")?(?: t="[sbn]")?(?:/>|><v>[^<]*</v></c>)')
_REFERENCE = re.compile(rb"\sr=[\"']([A-Z]+[0-9]+)[\"']")
_TYPE = re.compile(rb"\st\s*=\s*[\"'](\w*)[\"']")
_ARRAY = re.compile(rb"\st\s*=\s*[\"'](?:array|dataTable)[\"']")
_RANGE = re.compile(rb"\sref\s*=\s*[\"']([A-Z]+[0-9]+)(?::([A-Z]+[0-9]+))?[\"']")


def _pieces(stream: IO[bytes]) -> Iterator[tuple[bytes, _Patterns]]:
    rest = stream.read(_BLOCK)
    if (root := re.search(rb"<((?:[\w.-]+:)?)worksheet[\s/>]", rest)) is None:
        raise WorkbookError(f"one of its sheets is no worksheet: {_RESAVE}")
    patterns = _patterns(root[1])
    mark = b"<" + patterns.prefix + b"c "
    while block := stream.read(_BLOCK):
        rest += block
        cut = rest.rfind(mark)
        if cut > 0:
            yield rest[:cut], patterns
            rest = rest[cut:]
    yield rest, patterns


# A poisoned copy -----------------------------------------------------------------------------------------------------


@dataclass
class _Sheet:
    """The rewriting of one sheet: what is to be changed in it, and what was found on the way."""

    name: str
    changes: dict[str, float | str]
    formulas: dict[str, bool] = field(default_factory=dict)
    _arrays: list[tuple[int, int, int, int]] = field(default_factory=list)

    def rewrite(self, stream: IO[bytes], write: Callable[[bytes], object]) -> None:
        for piece, patterns in _pieces(stream):
            if (usual := self._usual(piece, patterns)) is not None:
                write(usual)
                continue
            text, matched = patterns.cell.subn(partial(self._cell, patterns), piece)
            if matched != len(patterns.start.findall(piece)):
                raise WorkbookError(f"sheet {self.name!r} holds a cell inside a cell: {_RESAVE}")
            write(text)
        if self.changes:
            cell = address(self.name, next(iter(self.changes)))
            raise WorkbookError(f"{cell} is not in the file: only a cell that already exists can be changed")

    def _usual(self, piece: bytes, patterns: _Patterns) -> bytes | None:
        """The piece with its poison, where every cell is written as usual; a call for each cell takes thrice the time."""
        if patterns.prefix or self.changes or self._arrays:
            return None
        parts = _USUAL_FORMULA.split(piece)  # between, tag, address, formula; and so on; between
        known = len(parts) // 4 + len(_USUAL_VALUE.findall(piece))
        if known != piece.count(b"<c") and known != len(patterns.start.findall(piece)):
            return None
        self.formulas.update(dict.fromkeys(b" ".join(parts[2::4]).decode().split(), True))
        parts[2::4] = [b">"] * (len(parts) // 4)
        parts[3::4] = [formula + _POISON_XML for formula in parts[3::4]]
        return b"".join(parts)

    def _cell(self, patterns: _Patterns, match: re.Match[bytes]) -> bytes:
        attributes, formula, options, _, rest = match.groups()
        if formula is None and not rest and not self._arrays and not self.changes:
            return match[0]
        if formula is None and rest and patterns.formula.search(rest):
            raise WorkbookError(
                f"sheet {self.name!r} has a value before its formula: save it with a spreadsheet program"
            )
        reference = _reference(attributes)
        if formula is None and not self._in_array(reference):
            value = self.changes.pop(reference, None)
            return match[0] if value is None else _with_value(attributes, value, patterns.prefix)
        if reference in self.changes:
            raise WorkbookError(f"{address(self.name, reference)} holds a formula: change a cell that it reads")
        self.formulas[reference] = formula is not None
        if options and _ARRAY.search(options) and (span := _RANGE.search(options)):
            # The other cells of an array hold results too, though no formula of their own.
            first, last = span[1].decode(), (span[2] or span[1]).decode()
            self._arrays.append((*split_reference(first), *split_reference(last)))
        return _with_poison(attributes, formula or b"", rest or b"", patterns)

    def _in_array(self, reference: str) -> bool:
        if not self._arrays:
            return False
        row, column = split_reference(reference)
        return any(top <= row <= low and left <= column <= right for top, left, low, right in self._arrays)


def _reference(attributes: bytes) -> str:
    found = _REFERENCE.search(attributes)
    if found is None:
        raise WorkbookError(f"one of its cells has no address: {_RESAVE}")
    return found[1].decode()


def _with_poison(attributes: bytes, formula: bytes, rest: bytes, patterns: _Patterns) -> bytes:
    p = patterns.prefix
    if rest:
        rest = patterns.inline.sub(b"", rest)
    if b"t" in attributes:
        attributes = _TYPE.sub(b"", attributes)  # the stored result may have been a text, the poison is a number
    return b"<%bc%b>%b<%bv>%b</%bv>%b</%bc>" % (p, attributes, formula, p, _POISON_XML, p, rest, p)


def _with_value(attributes: bytes, value: float | str, prefix: bytes) -> bytes:
    p, kind = prefix.decode(), ""
    if isinstance(value, bool):
        kind, body = ' t="b"', f"<{p}v>{value:d}</{p}v>"
    elif isinstance(value, str):
        kind, body = ' t="inlineStr"', f'<{p}is><{p}t xml:space="preserve">{value.translate(_ESCAPES)}</{p}t></{p}is>'
    else:
        body = f"<{p}v>{float(value)!r}</{p}v>"
    return b"<" + prefix + b"c" + _TYPE.sub(b"", attributes) + f"{kind}>{body}</{p}c>".encode()


def _check_change(where: str, value: object) -> None:
    if not isinstance(value, int | float | str):
        raise TypeError(f"{where} cannot become a {type(value).__name__}: give a number or a text")
    if isinstance(value, str) and (len(value) > 32_767 or _CONTROL.search(value)):
        raise ValueError(f"{where} cannot hold this text: a cell takes 32,767 characters and no control characters")
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise ValueError(f"{where} cannot become {value}: a spreadsheet has no such number")


def _by_sheet(changes: Mapping[str, float | str], sheets: Mapping[str, str]) -> dict[str, dict[str, float | str]]:
    known = {name.casefold(): name for name in sheets}
    sorted_out: dict[str, dict[str, float | str]] = {name: {} for name in sheets}
    for where, value in changes.items():
        sheet, cell = split_address(where)
        _check_change(where, value)
        if sheet.casefold() not in known:
            raise WorkbookError(f"{where}: there is no sheet {sheet!r}; the file has {', '.join(map(repr, sheets))}")
        sorted_out[known[sheet.casefold()]][cell] = value
    return sorted_out


def poisoned_copy(source: Path, target: Path, changes: Mapping[str, float | str]) -> dict[str, dict[str, bool]]:
    """Write `target`: `source` with `changes` applied and every stored formula result replaced by `POISON`.

    Returns:
        For each worksheet, the cells that were poisoned; True where the cell holds a formula of its own, False where it
        only receives a part of an array formula's result.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        parts = worksheet_parts(old)
        wanted = _by_sheet(changes, parts)
        sheets = {part: _Sheet(name, wanted[name]) for name, part in parts.items()}
        for info in old.infolist():
            if info.is_dir():
                continue
            with old.open(info) as stream, new.open(info.filename, "w", force_zip64=True) as out:
                if info.filename in sheets:
                    sheets[info.filename].rewrite(stream, out.write)
                    continue
                if info.filename.startswith("xl/worksheets/_rels/"):
                    # openpyxl writes absolute targets, and IronCalc 0.9 looks for such comments in the wrong place.
                    out.write(stream.read().replace(b'Target="/xl/', b'Target="../'))
                    continue
                while block := stream.read(_BLOCK):
                    out.write(block)
    return {sheet.name: sheet.formulas for sheet in sheets.values()}


# What an engine wrote back -------------------------------------------------------------------------------------------


def read_values(path: Path, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Value]]:
    """The stored values of the `wanted` cells of each sheet, in the given order; None where a cell has none."""
    with zipfile.ZipFile(path) as archive:
        parts = worksheet_parts(archive)
        missing = sorted(set(wanted) - set(parts))
        if missing:
            raise WorkbookError(f"the sheet {missing[0]!r} is not in the file that came back")
        strings = _shared_strings(archive)
        answer = {}
        for name, cells in wanted.items():
            with archive.open(parts[name]) as stream:
                values = _sheet_values(stream, set(cells), strings)
            answer[name] = [values.get(cell) for cell in cells]
        return answer


def _sheet_values(stream: IO[bytes], wanted: set[str], strings: Sequence[str]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for piece, patterns in _pieces(stream):
        for attributes, _, _, stored, rest in patterns.cell.findall(piece):
            if (reference := _reference(attributes)) not in wanted:
                continue
            kind = _TYPE.search(attributes)
            if kind is not None and kind[1] == b"inlineStr":
                inline = patterns.inline.search(rest)
                values[reference] = "".join(
                    plain_text(run.decode()) for run in patterns.text.findall(inline[1] if inline else b"")
                )
            else:
                values[reference] = _decode(kind[1] if kind else b"n", stored, strings)
    return values


def _decode(kind: bytes, stored: bytes, strings: Sequence[str]) -> Value:
    if kind in (b"str", b"e"):
        return plain_text(stored.decode())
    if not stored.strip():
        return None
    if kind == b"s":
        return strings[int(stored)]
    return stored.strip() in (b"1", b"true") if kind == b"b" else float(stored)


def _shared_strings(archive: zipfile.ZipFile) -> list[str]:
    part = next((line.target for line in relations(archive, WORKBOOK).values() if line.kind == "sharedStrings"), None)
    if part is None or part not in archive.namelist():
        return []
    strings = []
    for entry in ET.fromstring(archive.read(part)):  # noqa: S314 - written by our own engine process
        runs = (node.text or "" for node in entry.iter() if node.tag.rpartition("}")[2] == "t")
        strings.append("".join(runs))
    return strings
