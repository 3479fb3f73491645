"""Which typed cells of a stranger's workbook can be the labels of a table, how they are written, and what can be ε.

Labels are numbers from 0 or from 1, names that a heading repeats, or one cell a class; ε is a cell of its own, or a number in
the formulas, or shows only in the targets that follow from it. Every possibility is listed, none is chosen here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from labelsmooth.workbook._foreign_cells import Web
from labelsmooth.workbook._foreign_formula import At
from labelsmooth.workbook._foreign_inputs import INDEX, NAMES, TARGETS, Labels, Lines, Table, rectangles
from labelsmooth.workbook._foreign_values import compute

HEADERS = 6  # rows above (or columns beside) a table in which its class names may stand
MOST_EPSILONS = 8


def with_labels(web: Web, table: Table) -> Iterator[Table]:
    """The table with every labelling that its formulas may mean; without one where no formula reads any."""
    own = {at for line in table.lines for at in line}
    after = web.downstream(own)
    related = {at for at in web.upstream(after) if at not in own and (at not in web.trees or not web.reads[at])}
    related = {at for at in related if web.typed.get(at) is not None or at in web.trees}
    found = False
    for cells in _beside(web, table, related):
        for labels in labellings(web, table, cells):
            found = True
            yield replace(table, labels=labels)
    if not found:
        yield table


def _beside(web: Web, table: Table, related: set[At]) -> Iterator[Lines]:
    """Vectors of N cells and blocks of N times K cells among the typed cells that the same formulas read."""
    positions, seen = list(table.positions()), set()
    widths = {1, table.classes}
    for at in sorted(related):
        if (at.row if table.across else at.column) not in positions[:2] or at.sheet != table.sheet:
            continue
        for width in sorted(widths, reverse=True):
            lines = tuple(tuple(_turned(at, place, k, table.across) for k in range(width)) for place in positions)
            flat = [cell for line in lines for cell in line]
            known = sum(cell in related for cell in flat)
            there = all(cell in related or cell in web.typed for cell in flat)
            if 2 * known > len(flat) and there and lines not in seen:
                seen.add(lines)
                yield lines
    for first, last in rectangles(related):
        rows, columns = range(first.row, last.row + 1), range(first.column, last.column + 1)
        for across in (table.across, not table.across):
            outer, inner = (rows, columns) if across else (columns, rows)
            if len(outer) == len(positions) and len(inner) in widths:
                lines = tuple(tuple(At(first.sheet, *((a, b) if across else (b, a))) for b in inner) for a in outer)
                if lines not in seen:
                    seen.add(lines)
                    yield lines


def _turned(at: At, place: int, k: int, across: bool) -> At:
    return At(at.sheet, place, at.column + k) if across else At(at.sheet, at.row + k, place)


def labellings(web: Web, table: Table, cells: Lines) -> Iterator[Labels]:
    values = [[value_of(web, at) for at in line] for line in cells]
    flat = [x for line in values for x in line]
    if all(isinstance(x, str) for x in flat) and len(cells[0]) == 1:
        texts = [str(x) for x in flat]
        if names := class_names(web, table, texts):
            yield Labels(NAMES, cells, names=names)
        return
    if not all(isinstance(x, float) for x in flat):
        return
    numbers = [x for x in flat if isinstance(x, float)]
    share = all(0 <= x <= 1 for x in numbers)
    if len(cells[0]) == table.classes and share and any(numbers):
        yield Labels(TARGETS, cells, soft=any(x not in (0, 1) for x in numbers))
    elif table.binary and all(x in (0, 1) for x in numbers):
        yield Labels(TARGETS, cells)
    elif len(cells[0]) == 1 and all(x == int(x) for x in numbers):
        for base in (0, 1):
            if base <= min(numbers) and max(numbers) <= table.classes - 1 + base:
                yield Labels(INDEX, cells, base=base)


def value_of(web: Web, at: At) -> object:
    if at in web.typed:
        return web.typed[at]
    return compute(web.trees[at], web.look, at)


def class_names(web: Web, table: Table, texts: Sequence[str]) -> tuple[str, ...]:
    """The class names as the labels write them: from a heading of the classes, else from the formulas that compare."""
    for far in range(1, HEADERS + 1):
        heads = [
            web.typed.get(At(at.sheet, at.row - far * table.across, at.column - far * (not table.across)))
            for at in table.lines[0]
        ]
        if all(isinstance(head, str) for head in heads) and (
            names := _as_written([str(head) for head in heads], texts)
        ):
            return names
    constants = dict.fromkeys(
        str(node.value)
        for at in sorted(web.downstream([at for line in table.lines for at in line]))
        for source in (at, *web.reads[at])
        if source in web.trees
        for node in web.trees[source].walk()
        if node.kind == "text"
    )
    if len(constants) == table.classes:
        return _as_written(list(constants), texts)
    return ()


def _as_written(heads: Sequence[str], texts: Sequence[str]) -> tuple[str, ...]:
    """Each class in the words of the labels: the heading itself, or the label that stands in it as a word."""
    plain = {text.strip().casefold(): text for text in texts}
    names = []
    for head in heads:
        key = head.strip().casefold()
        inside = [text for word, text in plain.items() if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", key)]
        if key not in plain and len(inside) > 1:
            return ()
        names.append(plain[key] if key in plain else inside[0] if inside else head)
    known = {name.strip().casefold() for name in names}
    return tuple(names) if set(plain) <= known and len(known) == len(heads) else ()


# ε -------------------------------------------------------------------------------------------------------------------


def with_epsilon(web: Web, table: Table) -> Iterator[Table]:
    """The table with each ε that its formulas may mean: a cell of its own, a number in a formula, or none."""
    yield table
    if table.labels is None:
        return
    inputs = table.inputs()
    after = web.downstream(inputs)
    single = [
        at
        for at in sorted(web.upstream(after))
        if at not in inputs and isinstance(x := web.typed.get(at), float) and 0 < x < 1 and at not in web.pasted
    ]
    for at in single[:MOST_EPSILONS]:
        yield replace(table, epsilon=at)
    typed = {n.value for at in after for n in web.trees[at].walk() if n.kind == "number" and 0 < n.value < 1}
    typed -= {x for at in single if isinstance(x := web.typed[at], float)}  # which has a cell of its own
    for number in _epsilons(typed, table.classes):
        yield replace(table, epsilon=number)


def _epsilons(typed: set[float], classes: int) -> list[float]:
    """ε that a typed number may stand for: itself, 1−ε, ε/K, ε/(K−1), 1−ε+ε/K; the roundest first."""
    share = classes / (classes - 1)
    out = {round(e, 12) for x in typed for e in (x, 1 - x, x * classes, x * (classes - 1), (1 - x) * share)}
    return sorted((e for e in out if 0 < e < 1), key=lambda e: (digits(e), e))[:MOST_EPSILONS]


def digits(x: float) -> int:
    """How many digits a number needs: the fewer, the likelier that somebody typed it.

    >>> digits(0.1), digits(0.125)
    (1, 3)
    """
    return len(f"{x:.12g}".replace(".", "").strip("0"))
