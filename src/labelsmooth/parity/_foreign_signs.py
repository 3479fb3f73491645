"""Losses with the wrong sign: where a minus was lost, or where one is too many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from labelsmooth.workbook._foreign_formula import parse
from labelsmooth.workbook._foreign_roles import LOSSES, MINUS, Role

from ._foreign_edits import with_sign
from ._foreign_slips import SIGN, Departure

if TYPE_CHECKING:
    from ._foreign_judge import Judge


def turned_signs(judge: Judge) -> Iterator[Departure]:
    """A loss that stays negative to the end has lost a minus, or has one too many, where it first turned."""
    web = judge.web
    negative = [at for at, role in judge.roles.items() if role.word.startswith(MINUS) and role.plain in LOSSES]
    positive = {at for at, role in judge.roles.items() if role.word in LOSSES}
    for at in negative:
        before = web.upstream([at]) - {at}
        if before & set(negative) or web.downstream([at]) & positive:
            continue
        if positive and not before & positive:
            continue  # the loss stands elsewhere with its sign; this one may be meant as a log-likelihood
        known = judge.departures.get(at)
        formula = known.right if known else web.formula(at)
        right = with_sign(formula, parse(formula, at.sheet, web.names))
        says = "the minus is missing: the loss is negative"
        if before & positive:
            says = "a minus too many: the losses it reads are positive already"
        role = Role(judge.roles[at].plain, judge.roles[at].n, judge.roles[at].k)
        kind = known.kind if known else SIGN
        yield Departure(at, kind, f"{known.says}; besides, {says}" if known else says, web.formula(at), right, role)
