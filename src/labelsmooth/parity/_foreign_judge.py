"""Which cell departs from the chain: each formula judged as if everything it reads were right.

One LOG makes every loss after it wrong, and a list of wrong losses would hide the LOG. So cells are judged in the order in
which they compute, and a departed cell shows its corrected number to those that read it: what is named is only ever the cell
where it happened.

A cell departs when it gives no step of the chain though a small change would, when its neighbours hold one formula and it
another that gives another row's number, when it gives another recipe's target, and when a number stands where its neighbours
hold a formula. A formula that is merely written differently departs from nothing. What no change explains is left alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from labelsmooth.workbook._foreign_cells import Web, Worlds
from labelsmooth.workbook._foreign_formula import At, Node, Unreadable, parse
from labelsmooth.workbook._foreign_inputs import Table
from labelsmooth.workbook._foreign_roles import LOSSES, WHOLE, Role, Roles, is_constant
from labelsmooth.workbook._foreign_text import translated
from labelsmooth.workbook._foreign_values import Scalar
from labelsmooth.workbook._foreign_worlds import random_inputs, worlds_needed

from ._causes import cause_in_text
from ._foreign_edits import edits, natural_logarithms, rewritten_target
from ._foreign_places import FAR, Places
from ._foreign_signs import turned_signs
from ._foreign_slips import (
    EPSILON,
    LOG,
    OTHER,
    REDUCTION,
    ROW,
    SIGN,
    TYPED,
    Departure,
    Edit,
    Scene,
    anchored,
)

TRIES = 4  # cells of one form for which no change was found, before the form is left alone


@dataclass
class Judge:
    """The verdicts on every formula that depends on one table."""

    web: Web
    table: Table
    elsewhere: frozenset[At] = frozenset()  # numbers of other tables: what depends on those alone is not judged here
    roles: dict[At, Role] = field(default_factory=dict)
    departures: dict[At, Departure] = field(default_factory=dict)
    unexplained: list[At] = field(default_factory=list)
    scope: set[At] = field(init=False)  # the formula cells that are judged
    _worlds: Worlds = field(init=False)
    _known: Roles = field(init=False)
    places: Places = field(init=False)
    _by_logit: set[At] = field(init=False)
    _by_label: set[At] = field(init=False)
    _open: set[At] = field(default_factory=set)
    _failed: Counter[str] = field(default_factory=Counter)
    _steps: dict[tuple[str, int | None, int | None], At] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Compute every cell on random inputs, then judge each in order."""
        table, self.places = self.table, Places(self.web, self.table)
        inputs = random_inputs(table, worlds=worlds_needed(len(table.lines), table.classes))
        self._worlds, self._known = Worlds(self.web, inputs.cells), Roles(inputs)
        self._by_logit = own = self.web.downstream(at for line in table.lines for at in line)
        self.scope = (self.web.downstream(table.inputs()) - self.web.downstream(self.elsewhere)) | own
        self._by_label = (
            self.web.downstream(at for line in table.labels.cells for at in line) if table.labels else set()
        )
        if table.labels is not None:
            for n, line in enumerate(table.labels.cells):
                for k, at in enumerate(line):
                    self._steps["one_hot", n, k] = at
            if len(table.labels.cells[0]) != table.classes:
                self._steps.clear()
        moving = self.web.moving()
        for at in sorted(self.web.order, key=moving.__contains__):
            self.judge(at)
        self._odd_ones()
        self.departures |= {departure.at: departure for departure in turned_signs(self)}

    # One cell --------------------------------------------------------------------------------------------------------

    def judge(self, at: At) -> None:
        """Say what a cell is, and correct its number for those that read it if it departs."""
        if at not in self.scope or at in self.roles or at in self._open or at in self.web.unread:
            return
        self._open.add(at)
        for source in self.web.reads[at]:
            self.judge(source)
        values = self._worlds.values(at)
        form = self.web.forms.get(at, "")
        fits = [role for role in self._known.find(values) if self.places.in_line(at, role, form=form)]
        right = [role for role in fits if not role.wrong]
        found = self._by_neighbours(at, right)
        if found is None and not right and not is_constant(values):
            found = self._by_change(at, fits)
        if found is None and right:
            found = self._by_heading(at, right[0])
        if found is not None:
            self._correct(found)
        elif right:
            self._settle(at, right[0], values)
        elif self._ends(at) and not is_constant(values):
            self.unexplained.append(at)

    def _settle(self, at: At, role: Role, values: tuple[Scalar, ...]) -> None:
        self.roles[at] = role
        self._steps.setdefault((role.word, role.n, role.k), at)
        self._worlds.put(at, values)
        if at in self.web.pasted:
            says = f"a number is typed over a formula; as in its neighbours, {self.web.pasted[at]} belongs there"
            self.departures[at] = Departure(at, TYPED, says, "", self.web.pasted[at], role)

    def _correct(self, found: Departure) -> None:
        self.departures[found.at] = found
        values = self._values(found.at, found.right)
        if found.role is not None and values is not None:
            self.roles[found.at] = found.role
            self._steps.setdefault((found.role.word, found.role.n, found.role.k), found.at)
            self._worlds.put(found.at, values)

    def _values(self, at: At, formula: str) -> tuple[Scalar, ...] | None:
        tree = self._tree(at, formula)
        return None if tree is None else self._worlds.values(at, tree)

    def _tree(self, at: At, formula: str) -> Node | None:
        try:
            return parse(formula, at.sheet, self.web.names)
        except Unreadable:
            return None

    def _roles_of(self, at: At, formula: str) -> list[Role]:
        """The right steps that a cell would be with another formula."""
        tree = self._tree(at, formula)
        if tree is None:
            return []
        for node in tree.walk():
            if node.kind == "cell" or (node.kind == "area" and node.size <= FAR):
                for source in node.cells():
                    self.judge(source)
        if not self._known.near(self._worlds.first(at, tree)):
            return []  # nearly every change ends here, after one world instead of all
        fits = self._known.find(self._worlds.values(at, tree))
        return [role for role in fits if not role.wrong and self.places.in_line(at, role)]

    def _ends(self, at: At) -> bool:
        """Whether a cell is a result of logits and labels, which should be a loss."""
        if at not in self._by_label or at not in self._by_logit:
            return False
        return not any(reader in self.scope for reader in self.web.readers.get(at, ()))

    # Neighbours ------------------------------------------------------------------------------------------------------

    def _by_neighbours(self, at: At, right: list[Role]) -> Departure | None:
        if at in self.web.pasted or (peer := self.places.neighbour(at)) is None:
            return None
        there = self.web.formula(peer)
        expected = translated(there, self.web.trees[peer], peer, at)
        meant = self._roles_of(at, expected)
        if not meant or set(meant) & set(right):
            return None
        if not self._keeps(at, expected):
            return None
        if right and (meant[0].plain != right[0].plain or self.places.only_one(at, peer)):
            return None  # a step of its own, such as the sum beside the exponentials
        here = self.web.formulas[at]
        cause = cause_in_text(here, expected)
        if cause.startswith("uses LOG"):
            kind, cause = LOG, "LOG is base 10 here, and the loss takes LN"
        else:
            kind = SIGN if "minus" in cause else ROW if cause.startswith("reads") else OTHER
        says = cause or f"is {here} where {expected} is expected, as in its neighbours"
        return Departure(at, kind, says, here, expected, meant[0])

    # Changes ---------------------------------------------------------------------------------------------------------

    def _by_change(self, at: At, fits: list[Role], wanted: str = "") -> Departure | None:
        formula, form = self.web.formula(at), self.web.forms.get(at, "")
        if (self._failed[form] >= TRIES and not wanted) or at in self.web.pasted:
            return None
        tree = self.web.trees[at]
        scene = Scene(self.table, self._steps, self.roles, self._constant)
        if fits and (found := self._rewritten(at, fits[0], scene)) is not None:
            return found
        best: tuple[int, Edit, Role] | None = None
        for edit in self._tried(at, formula, tree, scene):
            if (meant := self._roles_of(at, edit.formula)) and self._keeps(at, edit.formula):
                role = self._likely(at, meant)
                if wanted and role.word != wanted:
                    continue
                worth = 0 if role.word in LOSSES else 1 if " " not in role.word else 2
                if best is None or worth < best[0]:
                    best = (worth, edit, role)
                if worth == 0:
                    break
        if best is not None:
            _, edit, role = best
            says = fits[0].wrong if fits and edit.kind == EPSILON else edit.says
            return Departure(at, edit.kind, says, formula, edit.formula, role)
        if fits:  # another recipe's number, which no small change turns into ours
            return Departure(at, EPSILON, fits[0].wrong, formula, "", None)
        self._failed[form] += 1
        return None

    def _rewritten(self, at: At, role: Role, scene: Scene) -> Departure | None:
        """Another recipe's target, written anew from the label's cell and ε where those have cells."""
        text = rewritten_target(at, scene, role.n, role.k) if role.word == "target" else None
        if text and (meant := self._roles_of(at, text)):
            return Departure(at, EPSILON, role.wrong, self.web.formula(at), text, meant[0])
        return None

    def _tried(self, at: At, formula: str, tree: Node, scene: Scene) -> Iterator[Edit]:
        for peer in list(self.places.run(at, along=True)) + list(self.places.run(at, along=False)):
            if self.web.forms[peer] == self.web.forms[at] and peer in self.roles and peer not in self.departures:
                yield from anchored(formula, tree, self.web.formulas[peer], self.web.trees[peer])
                break
        yield from edits(at, formula, tree, scene)
        natural = natural_logarithms(formula, tree)
        if natural != formula and (other := self._tree(at, natural)) is not None:
            for edit in edits(at, natural, other, scene):
                yield Edit(edit.formula, LOG, f"LOG is base 10 here, and the loss takes LN; besides, it {edit.says}")

    def _likely(self, at: At, meant: list[Role]) -> Role:
        here = self.places.line(at)
        return next((role for role in meant if role.n == here), meant[0])

    def _keeps(self, at: At, formula: str) -> bool:
        """Whether another formula still depends on the logits and the labels, if this one does."""
        tree = self._tree(at, formula)
        if tree is None:
            return False
        read = {cell for node in tree.walk() if node.kind in ("cell", "area") for cell in node.cells()}
        parts = [(self._by_logit, {cell for line in self.table.lines for cell in line})]
        if self.table.labels is not None:
            parts.append((self._by_label, {cell for line in self.table.labels.cells for cell in line}))
        return all(at not in after or bool(read & (after | cells)) for after, cells in parts)

    def _constant(self, at: At, node: Node) -> float | None:
        """The value of a part of a formula, if it is the same number in all worlds."""
        values = self._worlds.values(at, node)
        first = values[0]
        return first if isinstance(first, float) and all(x == first for x in values) else None

    def _odd_ones(self) -> None:
        """Cells that hold the formula of many others and are something else, such as the last one, which reads a blank."""
        groups: dict[tuple[str, str], list[At]] = defaultdict(list)
        for at in self.web.order:
            if at in self.scope and at not in self.web.pasted:
                groups[at.sheet, self.web.forms[at]].append(at)
        for cells in groups.values():
            words = Counter(self.roles[at].word for at in cells if at in self.roles)
            if len(cells) < 3 or len(words) == 0 or 2 * words.most_common(1)[0][1] <= len(cells):
                continue
            word = words.most_common(1)[0][0]
            for at in cells:
                if at not in self.departures and (at not in self.roles or self.roles[at].word != word):
                    self._judge_again(at, word)

    def _judge_again(self, at: At, word: str) -> None:
        found = self._by_change(at, [], wanted=word)
        if found is None:
            return
        after = self.web.downstream([at])
        self._worlds.forget(after)
        for later in after:
            self.roles.pop(later, None)
            self.departures.pop(later, None)
        self.unexplained = [one for one in self.unexplained if one not in after and one != at]
        self._open -= after
        self._steps = {key: cell for key, cell in self._steps.items() if cell not in after}
        self._correct(found)
        for later in self.web.order:
            if later in after:
                self.judge(later)

    # Headings -------------------------------------------------------------------------------------------------

    def _by_heading(self, at: At, role: Role) -> Departure | None:
        """A cell called mean that holds a sum, or the other way round."""
        if role.plain not in WHOLE or len(self.table.lines) < 2:
            return None
        wants = self.places.called(at)
        if wants[0] == wants[1] or wants[1] == role.word.endswith("_sum"):
            return None
        word = {"loss_sum": "loss", "loss": "loss_sum"}.get(role.plain, "")
        formula, tree = self.web.formula(at), self.web.trees[at]
        for edit in edits(at, formula, tree, Scene(self.table, self._steps, self.roles, self._constant)):
            if edit.kind == REDUCTION and (meant := [r for r in self._roles_of(at, edit.formula) if r.plain == word]):
                says = f"{edit.says}: the cell is called {'mean' if wants[0] else 'sum'}"
                return Departure(at, REDUCTION, says, formula, edit.formula, meant[0])
        return None
