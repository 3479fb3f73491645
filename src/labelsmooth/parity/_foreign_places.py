"""Where a cell of a stranger's sheet stands: beside which row of the batch, at which class, among which neighbours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from labelsmooth.workbook._foreign_cells import Web
from labelsmooth.workbook._foreign_formula import At
from labelsmooth.workbook._foreign_inputs import Table
from labelsmooth.workbook._foreign_roles import Role

FAR = 60  # cells of a line that are looked at for neighbours
MEAN, SUM = ("mean", "average", "avg"), ("sum", "total")


def _beside(at: At, far: int, *, down: bool) -> At:
    return At(at.sheet, at.row + far * down, at.column + far * (not down))


class Places:
    """The geometry of one table on its sheet."""

    def __init__(self, web: Web, table: Table) -> None:
        self.web, self.table, self._rows = web, table, table.positions()

    def line(self, at: At) -> int | None:
        """The row of the batch that stands in the cell's row of the sheet (or column, where classes run down)."""
        if at.sheet != self.table.sheet:
            return None
        return self._rows.get(at.row if self.table.across else at.column)

    def in_line(self, at: At, role: Role, *, form: str = "") -> bool:
        """Whether a step of one row stands beside that row, if the cell's neighbours fill the table's rows.

        With a `form`, only neighbours that hold the same formula count: others say nothing about a cell as it stands.
        """
        here = self.line(at)
        if role.k is not None and (place := self.class_(at)) is not None and role.k != place:
            return False
        if here is None or role.n is None or role.n == here:
            return True
        peers = [peer for peer in self.run(at, along=True) if not form or self.web.forms.get(peer) == form]
        beside = sum(self.line(peer) is not None for peer in peers)
        return 2 * (beside + 1) <= len(self._rows)

    def class_(self, at: At) -> int | None:
        """The cell's place among the K cells of one formula that stand side by side, where there are just so many."""
        if (form := self.web.forms.get(at)) is None or self.table.binary:
            return None
        down = not self.table.across
        ends = []
        for step in (-1, 1):
            far = 0
            while self.web.forms.get(_beside(at, step * (far + 1), down=down)) == form:
                far += 1
            ends.append(far)
        return ends[0] if sum(ends) + 1 == self.table.classes else None

    def run(self, at: At, *, along: bool) -> Iterator[At]:
        """The formula cells that go on from a cell without a gap, in the direction of the batch's rows or of the classes."""
        down = along == self.table.across
        for step in (1, -1):
            for far in range(1, FAR):
                peer = _beside(at, step * far, down=down)
                if peer not in self.web.forms:
                    break
                yield peer

    def neighbour(self, at: At) -> At | None:
        """A cell with the formula that most neighbours hold, where this one holds another."""
        for along in (True, False):
            peers = list(self.run(at, along=along))
            forms = Counter(self.web.forms[peer] for peer in peers)
            mine = forms.get(self.web.forms.get(at, ""), 0)
            for form, count in forms.most_common(1):
                enough = count >= 2 or (along and len(self._rows) == 2)
                if form != self.web.forms.get(at) and enough and count > mine + (count > 1):
                    return next(peer for peer in peers if self.web.forms[peer] == form)
        return None

    def only_one(self, at: At, peer: At) -> bool:
        """Whether a neighbour's formula stands there once only."""
        return (
            sum(self.web.forms[one] == self.web.forms[peer] for one in self.run(at, along=True)) < 2
            and sum(self.web.forms[one] == self.web.forms[peer] for one in self.run(at, along=False)) < 2
        )

    def called(self, at: At) -> tuple[bool, bool]:
        """Whether the words beside a cell call it a mean, and whether they call it a sum."""
        steps = ((0, 1), (0, 2), (1, 0))
        texts = [self.web.typed.get(At(at.sheet, at.row - a, at.column - b)) for a, b in steps]
        words = " ".join(text.casefold() for text in texts if isinstance(text, str))
        return any(word in words for word in MEAN), any(word in words for word in SUM)
