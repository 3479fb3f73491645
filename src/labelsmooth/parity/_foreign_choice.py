"""Which reading of a table to judge by, where the best one leaves formulas over.

Reading and judging need each other: a slipped formula hides the row that it passed over, and a LOG in every loss hides which
labels they read. So where the reading that explains most is not complete, the next best are judged to the end too, and the one
under which most cells are steps, after the fewest kinds of departures, is kept.
"""

from __future__ import annotations

from dataclasses import replace

from labelsmooth.workbook._foreign_cells import Web
from labelsmooth.workbook._foreign_formula import At
from labelsmooth.workbook._foreign_inputs import Table
from labelsmooth.workbook._foreign_labels import digits
from labelsmooth.workbook._foreign_roles import LOSSES
from labelsmooth.workbook.foreign import WORTH, Found

from ._foreign_judge import Judge
from ._foreign_slips import EPSILON

FORM, LEFT_OVER = 2, 3  # what a kind of departure, and an unexplained result, count against a reading
LARGE = 3_000  # formulas above which only a few readings are judged
FEW = 3


def judged(web: Web, found: Found, elsewhere: frozenset[At]) -> Judge:
    """The verdicts on the formulas of a table; `elsewhere` are the numbers of other tables."""
    first = Judge(web, found.table, elsewhere)
    if found.complete or not found.next_best:
        return _rounder(first)
    others = found.next_best if len(first.scope) < LARGE else found.next_best[:FEW]
    return _rounder(max([first, *(Judge(web, table, elsewhere) for table in others)], key=_explains))


def _explains(judge: Judge) -> float:
    """Recognised cells, losses above all, less what had to be called a departure for it."""
    losses = sum(role.word in LOSSES for role in judge.roles.values())
    forms = {(judge.web.forms.get(at), departure.kind) for at, departure in judge.departures.items()}
    return len(judge.roles) + WORTH * losses - FORM * len(forms) - LEFT_OVER * len(judge.unexplained)


def _rounder(judge: Judge) -> Judge:
    """ε = 0.125 over all K = 5 classes is ε = 0.1 over the 4 wrong ones: somebody who typed numbers meant the rounder ε."""
    other = other_epsilon(judge.table)
    epsilon = judge.table.epsilon
    if other is None or not isinstance(epsilon, float) or digits(other) >= digits(epsilon):
        return judge
    again = Judge(judge.web, replace(judge.table, epsilon=other), judge.elsewhere)
    kinds = {departure.kind for departure in again.departures.values()}
    same = len(again.roles) >= len(judge.roles) and not again.unexplained
    return again if same and kinds <= {EPSILON} else judge


def other_epsilon(table: Table) -> float | None:
    """The ε over the K−1 wrong classes that gives the target of a typed ε over all K."""
    if not isinstance(table.epsilon, float) or not table.epsilon:
        return None
    return round(table.epsilon * (table.classes - 1) / table.classes, 12)
