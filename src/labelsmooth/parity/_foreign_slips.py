"""Slipped references: another row's number, a range too short, a reference that moved when its formula was copied.

Also what every change to a formula is made of: the change itself, and the scene that it may draw on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from labelsmooth.workbook._foreign_formula import At, Node
from labelsmooth.workbook._foreign_inputs import Table
from labelsmooth.workbook._foreign_roles import Role
from labelsmooth.workbook._foreign_text import moved_reference, replaced
from labelsmooth.workbook._package import address

LOG, SIGN, RANGE, SLIPPED, NUMBER, EPSILON, REDUCTION, SOFTMAX, LABEL, MATCH, ROUNDED, TYPED, ROW, OTHER = (
    "LOG for LN", "sign", "wrong range", "slipped reference", "number in a formula", "other smoothing", "sum and mean",
    "softmax missing", "labels off by one", "approximate MATCH", "rounded", "number over a formula", "wrong row",
    "other formula",
)  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """A changed formula, what kind of slip it undoes, and what is said about the formula as it stands."""

    formula: str
    kind: str
    says: str


@dataclass(frozen=True)
class Departure:
    """A cell whose formula is not what the chain needs there."""

    at: At
    kind: str
    says: str
    formula: str  # as it stands; empty where a number was typed
    right: str  # as it should stand; empty where that is not known
    role: Role | None  # the step that is meant


@dataclass(frozen=True)
class Scene:
    """What a formula may have meant to read: the reading, and where each step of it stands."""

    table: Table
    steps: Mapping[tuple[str, int | None, int | None], At]  # word, row, class -> the cell that is it
    roles: Mapping[At, Role]
    constants: Callable[[At, Node], float | None]  # the value of a part of a formula, if it is the same in all worlds

    def epsilon(self, sheet: str) -> str:
        """ε as a formula on `sheet` writes it: its cell, or the number."""
        e = self.table.epsilon
        return written(e, sheet, fixed=True) if isinstance(e, At) else f"{e:.12g}" if e else "0"


def same_step(at: At, formula: str, tree: Node, scene: Scene) -> Iterator[Edit]:
    """A reference to another row's number, however far away, turned to the same number of the row that the cell stands in."""
    here = scene.table.positions().get(at.row if scene.table.across else at.column)
    for node in tree.walk():
        if here is None or node.kind not in ("cell", "area"):
            continue
        first = node.value[0]
        role = scene.roles.get(first)
        if role is None or role.n in (None, here) or (there := scene.steps.get((role.word, here, role.k))) is None:
            continue
        if there.sheet == first.sheet:
            text = moved_reference(
                formula, node, rows=there.row - first.row, columns=there.column - first.column, by_hand=True
            )
            yield Edit(
                replaced(formula, [(node, text)]),
                ROW,
                f"reads {formula[node.start : node.end]} where {text} is expected",
            )


def references(formula: str, tree: Node) -> Iterator[Edit]:
    for node in tree.walk():
        if node.kind not in ("cell", "area"):
            continue
        here = formula[node.start : node.end]
        for text in _moves(formula, node):
            if "#REF!" not in text:
                kind = SLIPPED if node.kind == "cell" else RANGE
                yield Edit(replaced(formula, [(node, text)]), kind, f"reads {here} where {text} is expected")


def _moves(formula: str, node: Node) -> Iterator[str]:
    steps = ((1, 0), (-1, 0), (0, 1), (0, -1))
    for rows, columns in steps:
        yield moved_reference(formula, node, rows=rows, columns=columns, by_hand=True)
    if node.kind == "area" and ":" in formula[node.start : node.end]:
        first, last = formula[node.start : node.end].rsplit(":", 1)
        for rows, columns in steps:
            moved = moved_reference(formula, node, rows=rows, columns=columns, by_hand=True).rsplit(":", 1)
            yield f"{moved[0]}:{last}"
            yield f"{first}:{moved[1]}"


def anchored(formula: str, tree: Node, peer: str, peer_tree: Node) -> Iterator[Edit]:
    """The formula with one reference taken from a copy of it that is right: a reference that should not have moved."""
    pairs = [
        (mine, theirs)
        for mine, theirs in zip(_references_of(tree), _references_of(peer_tree), strict=False)
        if mine.value != theirs.value and mine.kind == theirs.kind
    ]
    for mine, theirs in pairs:
        text = peer[theirs.start : theirs.end]
        there = ":".join(_dollars(part) for part in text.split(":"))
        says = f"reads {formula[mine.start : mine.end]} where {text} is expected: the reference slipped"
        yield Edit(replaced(formula, [(mine, there)]), SLIPPED, says)


def _references_of(tree: Node) -> list[Node]:
    return [node for node in tree.walk() if node.kind in ("cell", "area")]


def _dollars(reference: str) -> str:
    sheet, mark, cell = reference.rpartition("!")
    cell = cell.replace("$", "")
    letters = cell.rstrip("0123456789")
    return f"{sheet}{mark}${letters}${cell[len(letters) :]}"


def written(at: At, sheet: str, *, fixed: bool = False) -> str:
    cell = _dollars(at.cell) if fixed else at.cell
    return cell if at.sheet == sheet else address(at.sheet, cell)
