"""Why a cell of somebody's workbook is wrong, in words: from the text of its formula, and from its number.

A formula is compared as text after what programs rewrite is taken out: spaces, `$`, case, the spelling of numbers, the
name of the sheet it stands on. The famous mistakes are known by what they give: LOG for LN and a lost minus are the step's
own formula with one operation exchanged, ε/(K−1) and 1/K are the same step in another family of `conventions.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from labelsmooth.maths.case import Case
from labelsmooth.maths.compact import compact_chain
from labelsmooth.maths.conventions import FAMILIES
from labelsmooth.maths.evaluate import Array, evaluate, value
from labelsmooth.maths.expr import Const, Expr, Named
from labelsmooth.maths.steps import chain
from labelsmooth.workbook.book import Book
from labelsmooth.workbook.layout import letters

MOST_REFERENCES = 3  # named in a message
LONGEST_FORMULA = 120  # characters of one in a message
_TOKEN = re.compile(r'"(?:[^"]|"")*"|\s+|[^\W\d][\w.$]*|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[^\s]')
_OWN_SHEET = re.compile(r"(?<![\w'])'?STEPS'?!")
_REFERENCE = re.compile(r"(?<![\w.!:$])([A-Z]{1,3})([1-9]\d{0,6})(?::([A-Z]{1,3})([1-9]\d{0,6}))?(?![\w(!])")
_WORD = re.compile(r"(?<![\w.!])[A-Z_][A-Z_]*(?![\w(.!])")
_TEXT = re.compile(r'"(?:[^"]|"")*"')
_DECIMAL = re.compile(r"\bLOG(?:10)?\(")
_OVER_RANGE = re.compile(r"\b([A-Z][A-Z0-9.]*)\((?:[\w.']+!)?[A-Z]{1,3}\d+:[A-Z]{1,3}\d+\)")
_RANGE = r"[A-Z]{1,3}\d+:[A-Z]{1,3}\d+"
_WITH_RANGE = re.compile(rf"[-+*/^]{_RANGE}|{_RANGE}[-+*/^]")
_TAKES_RANGES = {"SUM", "MAX", "MIN", "AVERAGE", "MEDIAN", "COUNT", "COUNTA", "PRODUCT", "SUMPRODUCT", "SUMSQ"}
_TAKES_RANGES |= {"ROW", "ROWS", "COLUMN", "COLUMNS", "LARGE", "SMALL"}


def plain(formula: str) -> str:
    """A formula without what differs between programs.

    >>> plain("= sum( $D$10:E10 ) * 1E-9")
    'SUM(D10:E10)*1e-09'
    """
    written = _TOKEN.sub(_token, formula.strip().removeprefix("="))
    return _OWN_SHEET.sub("", written)


def one_line(formula: str) -> str:
    """A formula from a stranger's file, fit for a message."""
    text = "".join(c if c.isprintable() else " " for c in formula)
    return text if len(text) <= LONGEST_FORMULA else text[: LONGEST_FORMULA - 1] + "…"


def _token(match: re.Match[str]) -> str:
    token = match[0]
    if token[0] == '"':
        return token
    if token[0].isdigit() or (token[0] == "." and len(token) > 1):
        return repr(float(token))
    return "" if token[0].isspace() else token.replace("$", "").upper()


def needs_arrays(formula: str) -> bool:
    """Whether engines differ over a formula: a function of one number, or arithmetic, that is given a range.

    >>> needs_arrays("=-SUMPRODUCT(D20:E20*LN(D68:E68))"), needs_arrays("=-SUMPRODUCT(D20:E20,D77:E77)")
    (True, False)
    """
    text = plain(formula)
    return bool(_WITH_RANGE.search(text)) or any(name not in _TAKES_RANGES for name in _OVER_RANGE.findall(text))


def cells_read(formula: str, named: Mapping[str, str]) -> Iterator[str]:
    """The cells of its own sheet that one of our formulas reads, those behind `named` (name in capitals -> cell) included.

    For formulas of ours only: a stranger's range may be the whole sheet.
    """
    text = _TEXT.sub('""', plain(formula))
    for word in _WORD.findall(text):
        if word in named:
            yield named[word]
    for left, top, right, bottom in _REFERENCE.findall(text):
        if not right:
            yield left + top
            continue
        first, last = sorted((_column(left), _column(right)))
        for row in range(min(int(top), int(bottom)), max(int(top), int(bottom)) + 1):
            yield from (f"{letters(column)}{row}" for column in range(first, last + 1))


def words_read(formula: str) -> set[str]:
    """The names that a formula calls, in lower case."""
    return {word.lower() for word in _WORD.findall(_TEXT.sub('""', plain(formula)))}


def _column(text: str) -> int:
    number = 0
    for letter in text:
        number = number * 26 + ord(letter) - 64
    return number - 1


def cause_in_text(found: str, expected: str) -> str:
    """What the text of a formula says about its fault, or nothing.

    >>> cause_in_text("=D30-$F30-LOG($F59)", "=D30-$F30-LN($F59)")
    'uses LOG (base 10) where LN is expected'
    >>> cause_in_text("=D30-$F31", "=D30-$F30")
    'reads F31 where F30 is expected'
    """
    here, there = plain(found), plain(expected)
    if _DECIMAL.search(here) and not _DECIMAL.search(there) and "LN(" in there:
        return "uses LOG (base 10) where LN is expected"
    if "-" + here == there:
        return "has lost its minus"
    if _REFERENCE.sub("#", here) == _REFERENCE.sub("#", there):
        mine, theirs = ([match[0] for match in _REFERENCE.finditer(text)] for text in (here, there))
        pairs = list(dict.fromkeys((a, b) for a, b in zip(mine, theirs, strict=True) if a != b))[:MOST_REFERENCES]
        read, expected = (", ".join(pair[side] for pair in pairs) for side in (0, 1))
        return f"reads {read} where {expected} {'is' if len(pairs) == 1 else 'are'} expected" if pairs else ""
    return ""


# From the number -----------------------------------------------------------------------------------------------------


def famous_mistakes(book: Book, word: str) -> list[tuple[str, Array]]:
    """What a step would hold after each famous mistake made in that step alone: the words for it, and the numbers."""
    step = book.chain[word]
    if step.formula is None:
        return []
    out = [("is what LOG (base 10) gives where LN is meant", _exchanged(step.formula, "log", "log10"))]
    if step.formula.op == "neg":
        out.append(("is what comes without the minus", step.formula.args[0]))
    with np.errstate(all="ignore"):
        values = [
            (says, np.broadcast_to(value(formula, book.values), book.values[word].shape)) for says, formula in out
        ]
    if any(leaf.word == "epsilon" for leaf in _leaves(step.formula)):
        values += _families(book, word)
    return values


def _leaves(x: Expr) -> Iterator[Named]:
    if isinstance(x, Named):
        yield x
    for arg in x.args:
        yield from _leaves(arg)


def _exchanged(x: Expr, old: str, new: str) -> Expr:
    if isinstance(x, Named | Const):
        return x
    return Expr(new if x.op == old else x.op, tuple(_exchanged(arg, old, new) for arg in x.args), x.axes)


def _families(book: Book, word: str) -> list[tuple[str, Array]]:
    """The step in the other targets, famous mistakes first."""
    case: Case = book.problem.case
    out = []
    for family in sorted(FAMILIES.values(), key=lambda f: not f.mistake):
        if family is case.family or family.link != "softmax" or book.classes < family.smallest:
            continue
        try:
            other = (chain if book.kind == "full" else compact_chain)(replace(case, family=family))
            values = evaluate(other, book.problem.given)
        except ValueError:  # the family takes no prior, soft label or mask
            continue
        if word in values and values[word].shape == book.values[word].shape:
            out.append((f"is what another recipe gives ({family.says})", values[word]))
    return out
