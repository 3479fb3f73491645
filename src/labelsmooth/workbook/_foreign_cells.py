"""All cells of a stranger's workbook as one web: what reads what, in which order they compute, and what they give.

A number typed where its neighbours hold one formula is treated as if it held that formula too (`pasted`), because a web with
a hole in it leads nowhere: what was logit, exponential and sum is found again, and the typed number is named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelsmooth.errors import WorkbookError
from labelsmooth.workbook._foreign_formula import At, Names, Node, Unreadable, area_of, parse
from labelsmooth.workbook._foreign_text import relative, translated
from labelsmooth.workbook._foreign_values import Scalar, compute
from labelsmooth.workbook._package import split_reference
from labelsmooth.workbook.read import Contents, read_contents

MOST_FORMULAS = 60_000
MOST_READ = 4_000_000  # cells that all formulas read together
CIRCLE = "#REF!"


@dataclass
class Web:
    """Formulas with their trees, typed values, and who reads whom."""

    path: str
    formulas: dict[At, str]
    typed: dict[At, Scalar]
    trees: dict[At, Node] = field(default_factory=dict)
    unread: dict[At, str] = field(default_factory=dict)  # formulas that are not understood: why
    pasted: dict[At, str] = field(default_factory=dict)  # typed numbers: the formula that their neighbours hold
    reads: dict[At, tuple[At, ...]] = field(default_factory=dict)
    readers: dict[At, list[At]] = field(default_factory=lambda: defaultdict(list))
    names: Names = field(default_factory=dict)  # defined names that stand for cells
    order: tuple[At, ...] = ()  # formula cells, each after what it reads
    forms: dict[At, str] = field(default_factory=dict)  # formulas in relative writing

    def formula(self, at: At) -> str:
        """The formula of a cell, or the one that its neighbours say belongs there."""
        return self.pasted.get(at) or self.formulas[at]

    def look(self, at: At) -> Any:
        """What a person sees in a cell that no formula fills."""
        return self.typed.get(at)

    def downstream(self, starts: Iterable[At]) -> set[At]:
        """The formula cells that depend on any of these cells."""
        found, todo = set(), list(starts)
        while todo:
            for reader in self.readers.get(todo.pop(), ()):
                if reader not in found:
                    found.add(reader)
                    todo.append(reader)
        return found

    def moving(self) -> set[At]:
        """Cells that read by OFFSET, so that what they read is known only when they compute; and those that read them."""
        starts = {
            at for at, tree in self.trees.items() if any(n.value == "OFFSET" for n in tree.walk() if n.kind == "call")
        }
        return starts | self.downstream(starts)

    def upstream(self, starts: Iterable[At]) -> set[At]:
        """Everything that these cells depend on, themselves included."""
        found, todo = set(starts), list(starts)
        while todo:
            for source in self.reads.get(todo.pop(), ()):
                if source not in found:
                    found.add(source)
                    todo.append(source)
        return found


def read_web(path: str | Path) -> Web:
    """Read a workbook that anybody wrote.

    Raises:
        WorkbookError: the gate or the reader refuses the file, or it holds more than can be followed.
    """
    contents = read_contents(path)
    count = sum(map(len, contents.formulas.values()))
    if count > MOST_FORMULAS:
        raise WorkbookError(
            f"{path}: holds {count:,} formulas, and up to {MOST_FORMULAS:,} are followed: keep the sheet in question only"
        )
    web = Web(str(path), dict(_placed(contents.formulas)), {at: _scalar(x) for at, x in _placed(contents.typed)})
    web.names = names = _names(contents)
    for at, formula in web.formulas.items():
        try:
            web.trees[at] = parse(formula, at.sheet, names)
        except Unreadable as fault:
            web.unread[at] = str(fault)
        else:
            web.forms[at] = relative(formula, web.trees[at], at)
    _fill_holes(web)
    _connect(web)
    return web


def _placed(sheets: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[At, Any]]:
    for sheet, cells in sheets.items():
        for cell, value in cells.items():
            yield At(sheet, *split_reference(cell)), value


def _scalar(value: Any) -> Scalar:
    if isinstance(value, bool | str):
        return value
    return float(value) if isinstance(value, int | float) else str(value)


def _names(contents: Contents) -> dict[str, tuple[At, At]]:
    known = {}
    for name, meaning in contents.names.items():
        try:
            known[name] = area_of(meaning.lstrip("="))
        except ValueError:
            continue  # a name for a number or a formula: formulas that use it are not judged
    return known


# Numbers typed over formulas -----------------------------------------------------------------------------------------


def _fill_holes(web: Web) -> None:
    for at, value in list(web.typed.items()):
        if isinstance(value, bool) or not isinstance(value, float):
            continue
        for rows, columns in ((1, 0), (0, 1)):
            if (source := _between(web, at, rows, columns)) is not None:
                formula = translated(web.formulas[source], web.trees[source], source, at)
                try:
                    tree = parse(formula, at.sheet, web.names)
                except Unreadable:
                    continue
                web.pasted[at], web.trees[at] = formula, tree
                web.forms[at] = web.forms[source]
                break


def _between(web: Web, at: At, rows: int, columns: int) -> At | None:
    """A neighbour whose formula belongs here too: one on each side, or two on one side where the line goes on beside it."""

    def step(far: int) -> At:
        return At(at.sheet, at.row + far * rows, at.column + far * columns)

    form = {far: web.forms.get(step(far), "") for far in (-2, -1, 1, 2)}
    if form[-1] and form[-1] == form[1] and _reads_numbers(web, step(1), at):
        return step(1)
    for near, far in ((-1, -2), (1, 2)):
        if form[near] and form[near] == form[far] and not form[-near] and _reads_numbers(web, step(near), at):
            # At the end of a line only if another column (or row) of formulas goes one further, up to this cell.
            for side in (-1, 1):
                beside = At(at.sheet, at.row + side * columns, at.column + side * rows)
                along = At(at.sheet, beside.row + near * rows, beside.column + near * columns)
                if web.forms.get(beside) and web.forms.get(beside) == web.forms.get(along):
                    return step(near)
    return None


def _reads_numbers(web: Web, source: At, at: At) -> bool:
    """Whether the neighbour's formula, written here, would read numbers and not this cell's own neighbour."""
    rows, columns = at.row - source.row, at.column - source.column
    for node in web.trees[source].walk():
        if node.kind not in ("cell", "area"):
            continue
        moved = [
            At(c.sheet, c.row + rows * (not node.fixed[0]), c.column + columns * (not node.fixed[1]))
            for c in node.value
        ]
        if at in node.cells() or source in (corner for corner in moved):
            return False  # a running sum starts with a typed number, rightly
        value = web.typed.get(moved[0])
        if moved[0] not in web.formulas and (value is None or isinstance(value, str)) and not node.fixed[0]:
            return False
    return True


# Who reads whom ------------------------------------------------------------------------------------------------------


def _connect(web: Web) -> None:
    known = set(web.formulas) | set(web.typed)
    read = 0
    for at, tree in web.trees.items():
        sources: dict[At, None] = {}
        for node in tree.walk():
            if node.kind not in ("cell", "area"):
                continue
            read += node.size
            if read > MOST_READ:
                raise WorkbookError(
                    f"{web.path}: its formulas read more than {MOST_READ:,} cells, which is the limit:"
                    " keep the sheet in question only"
                )
            sources.update(dict.fromkeys(cell for cell in node.cells() if cell in known))
        web.reads[at] = tuple(sources)
        for source in sources:
            web.readers[source].append(at)
    waiting = {at: sum(source in web.trees for source in sources) for at, sources in web.reads.items()}
    ready = [at for at, count in waiting.items() if count == 0]
    order = []
    while ready:
        at = ready.pop()
        order.append(at)
        for reader in web.readers.get(at, ()):
            waiting[reader] -= 1
            if waiting[reader] == 0:
                ready.append(reader)
    for at in set(web.trees) - set(order):
        web.unread[at] = "it reads itself, directly or through others"
    web.order = tuple(order)


# Values --------------------------------------------------------------------------------------------------------------


class Worlds:
    """The values of formula cells on several sets of inputs at once; cells are computed when first asked for."""

    def __init__(self, web: Web, inputs: Sequence[Mapping[At, Scalar]]) -> None:
        self.web, self.inputs = web, inputs
        self._known: list[dict[At, Scalar]] = [{} for _ in inputs]

    def __len__(self) -> int:
        return len(self.inputs)

    def look(self, world: int, at: At) -> Scalar:
        """What stands in a cell in one of the worlds."""
        if at in self.inputs[world]:
            return self.inputs[world][at]
        known = self._known[world]
        if at in known:
            return known[at]
        tree = self.web.trees.get(at)
        if tree is None:
            return "#N/K" if at in self.web.formulas else self.web.typed.get(at)
        known[at] = CIRCLE  # until it is computed, so that a circle ends
        known[at] = compute(tree, lambda source: self.look(world, source), at)
        return known[at]

    def values(self, at: At, tree: Node | None = None) -> tuple[Scalar, ...]:
        """The value of a cell in every world; or what it would be with another formula."""
        if tree is None:
            return tuple(self.look(world, at) for world in range(len(self)))

        def looking(world: int) -> Any:
            return lambda source: self.look(world, source)

        return tuple(compute(tree, looking(world), at) for world in range(len(self)))

    def first(self, at: At, tree: Node) -> Scalar:
        """What another formula would give in the first world alone."""
        return compute(tree, lambda source: self.look(0, source), at)

    def put(self, at: At, values: Sequence[Scalar]) -> None:
        """From now on the cell shows these values, as if it had been corrected."""
        for known, value in zip(self._known, values, strict=True):
            known[at] = value

    def forget(self, cells: Iterable[At]) -> None:
        """Compute these cells anew when they are asked for."""
        for at in cells:
            for known in self._known:
                known.pop(at, None)
