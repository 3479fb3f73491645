"""A corrected copy of a stranger's workbook: the formulas that departed are replaced, and nothing else is touched.

A library that loads and saves a workbook drops what it does not know: charts, pictures, slicers, comments. So the copy is the
same package with some cells of some sheets edited as text, which is safe because the gate has made sure of how cells are
written. Two things follow from the format. Formulas that share one text are written out before one of them changes. And a
cell that held a number and now holds a formula is unknown to the calculation chain, which is then left out: programs make it
anew.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from xml.sax.saxutils import escape

from labelsmooth.errors import WorkbookError
from labelsmooth.files import write_atomically
from labelsmooth.workbook._cells import _TYPE, Value, _Patterns, _pieces, _reference
from labelsmooth.workbook._package import address, worksheet_parts

_SHARED = re.compile(rb"\st=[\"']shared[\"']")
_GROUP = re.compile(rb"\ssi=[\"'](\d+)[\"']")
_ARRAY = re.compile(rb"\st=[\"']array[\"']")
_SPAN = re.compile(rb"\sref=[\"']([A-Z]+[0-9]+)(?::([A-Z]+[0-9]+))?[\"']")
_TABLE = re.compile(rb"\st=[\"']dataTable[\"']")
_CHAIN = "xl/calcChain.xml"
_CHAIN_LINES = {
    "[Content_Types].xml": re.compile(rb"<Override\b[^<>]*calcChain[^<>]*/>"),
    "xl/_rels/workbook.xml.rels": re.compile(rb"<Relationship\b[^<>]*calcChain[^<>]*/>"),
}

Formulas = Mapping[str, Mapping[str, str]]  # sheet -> cell -> formula with its =
Results = Mapping[str, Mapping[str, Value]]


@dataclass
class _Sheet:
    """The editing of one sheet."""

    name: str
    corrected: Mapping[str, str]  # cells whose formula changes
    formulas: Mapping[str, str]  # all formulas, as a person reads them
    results: Mapping[str, Value]
    groups: set[bytes] = field(default_factory=set)  # of shared formulas that are written out
    done: set[str] = field(default_factory=set)
    new: bool = False  # a number became a formula

    def look(self, text: bytes, patterns: _Patterns) -> None:
        for attributes, _, options, _, _ in patterns.cell.findall(text):
            if (
                _reference(attributes) in self.corrected
                and _SHARED.search(options)
                and (group := _GROUP.search(options))
            ):
                self.groups.add(group[1])

    def cell(self, patterns: _Patterns, match: re.Match[bytes]) -> bytes:
        attributes, formula, options, value, rest = match.groups()
        cell, options = _reference(attributes), options or b""
        text = self._text(cell, options)
        if text is None and (formula is None or cell not in self.results):
            return match[0]
        if cell in self.corrected:
            self.done.add(cell)
            self.new = self.new or formula is None
        p = patterns.prefix
        body = formula or b""
        if text is not None:
            kept = options if _ARRAY.search(options) else b""
            body = b"<%bf%b>%b</%bf>" % (p, kept, escape(text.strip("{}").removeprefix("=")).encode(), p)
        attributes, stored = self._stored(cell, attributes, value, p)
        return b"<%bc%b>%b%b%b</%bc>" % (p, attributes, body, stored, patterns.inline.sub(b"", rest or b""), p)

    def _text(self, cell: str, options: bytes) -> str | None:
        """The formula to write, or None where it stays as it is."""
        if cell in self.corrected:
            span = _SPAN.search(options) if _ARRAY.search(options) else None
            if _TABLE.search(options) or (span and span[2] and span[1] != span[2]):
                raise WorkbookError(
                    f"{address(self.name, cell)} is part of an array formula over several cells: correct it by hand"
                )
            return self.corrected[cell]
        group = _GROUP.search(options) if _SHARED.search(options) else None
        return self.formulas[cell] if group and group[1] in self.groups else None

    def _stored(self, cell: str, attributes: bytes, value: bytes | None, p: bytes) -> tuple[bytes, bytes]:
        if cell not in self.results:
            return attributes, b"" if value is None else b"<%bv>%b</%bv>" % (p, value, p)
        result = self.results[cell]
        kind = b""
        if isinstance(result, bool):
            kind, text = b' t="b"', str(int(result))
        elif isinstance(result, str):
            kind, text = (b' t="e"' if result.startswith("#") else b' t="str"'), escape(result)
        else:
            text = "" if result is None else repr(float(result))
        return _TYPE.sub(b"", attributes) + kind, b"<%bv>%b</%bv>" % (p, text.encode(), p)


def corrected_copy(
    source: Path, target: Path, *, corrected: Formulas, formulas: Formulas, results: Results, force: bool = False
) -> None:
    """Write `target`: `source` with some formulas replaced, and the results that an engine calculated for formula cells.

    Args:
        source: the workbook, which passed the gate.
        target: the copy, written whole or not at all.
        corrected: the formulas to write.
        formulas: every formula of the book, to write out shared ones.
        results: results to store beside formulas; the others keep what is stored.
        force: replace an existing file.

    Raises:
        WorkbookError: a cell is not in the file, or is part of an array formula over several cells.
        InputError: the target exists.
    """
    with (
        write_atomically(target, force=force) as temporary,
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        edited = {}
        for name, part in worksheet_parts(old).items():
            if corrected.get(name) or results.get(name):
                sheet = _Sheet(name, corrected.get(name, {}), formulas.get(name, {}), results.get(name, {}))
                edited[part] = _edited(old, part, sheet)
        no_chain = any(changed for _, changed in edited.values())
        for info in old.infolist():
            if info.is_dir() or (no_chain and info.filename == _CHAIN):
                continue
            content = edited[info.filename][0] if info.filename in edited else old.read(info)
            if no_chain and info.filename in _CHAIN_LINES:
                content = _CHAIN_LINES[info.filename].sub(b"", content)
            new.writestr(zipfile.ZipInfo(info.filename, info.date_time), content, zipfile.ZIP_DEFLATED)


def _edited(archive: zipfile.ZipFile, part: str, sheet: _Sheet) -> tuple[bytes, bool]:
    """A sheet's new text, and whether a number became a formula."""
    with archive.open(part) as stream:
        for piece, patterns in _pieces(stream):
            sheet.look(piece, patterns)
    out = []
    with archive.open(part) as stream:
        for piece, patterns in _pieces(stream):
            out.append(patterns.cell.sub(partial(sheet.cell, patterns), piece))
    if missing := sorted(set(sheet.corrected) - sheet.done):
        raise WorkbookError(f"{address(sheet.name, missing[0])} is not in the file, so it cannot be corrected")
    return b"".join(out), sheet.new
