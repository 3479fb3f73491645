"""The yellow cells of a workbook, checked one by one: numbers where numbers belong, each in its range.

A person typed them, so every fault is collected with its cell and said in one sentence; the checks that `prepare` makes on
whole arrays come after, and its message then goes to the range that it speaks of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np

from labelsmooth.maths.evaluate import Array, evaluate, natural
from labelsmooth.maths.trace import prepare

from .book import Book
from .layout import Layout, Place

Look = Callable[[str], Any]
LONGEST_SHOWN = 60  # characters of a cell's text in a message
NO_NUMBER = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}  # as the writer puts logits that no formula reads
SIZES = ("n_classes", "n_rows")  # formulas that count; whoever compares formulas compares these
UNCHANGED = 1e-9  # of a fingerprint, relative above 1; a program may have kept 15 of 17 digits
WHERE = {"soft labels": "soft_label", "prior": "prior", "class_mask": "allowed", "the label": "label"}


@dataclass(frozen=True)
class Fault:
    """An input that cannot be used: its cell and one sentence that begins with it."""

    cell: str
    says: str
    number: bool  # it is a number, but not one that can stand there


def shown(value: object) -> str:
    """A value from a cell in a message: one line, short, nothing that a terminal would obey."""
    if isinstance(value, bool | int | float) and not isinstance(value, str):
        return str(value).upper() if isinstance(value, bool) else f"{value:.10g}"
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return repr(text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…")


@dataclass(frozen=True)
class _Rule:
    """What a cell of one input may hold."""

    holds: Callable[[float, int], bool]  # the number and its class
    expected: str


def _rules(classes: int, ignored_label: float | None) -> dict[str, _Rule]:
    share = _Rule(lambda x, k: 0 <= x <= 1, "a number from 0 to 1")
    mark = _Rule(lambda x, k: x in (0, 1), "0 or 1")
    spared = "" if ignored_label is None else f", or {ignored_label:g} for a row that does not count,"
    return {
        "class_index": _Rule(lambda x, k: x == k, "the class's number, counted from 0,"),
        "ignore_index": _Rule(lambda x, k: x == int(x), "a whole number"),
        "epsilon": share,
        "label": _Rule(
            lambda x, k: x == ignored_label or (x == int(x) and 0 <= x < classes),
            f"a class number from 0 to {classes - 1}{spared}",
        ),
        "soft_label": share,
        "prior": share,
        "class_weight": _Rule(lambda x, k: x >= 0, "a number that is not negative"),
        "allowed": mark,
        "keep": mark,
        "logits": _Rule(lambda x, k: True, "a number"),
    }


def read_inputs(layout: Layout, look: Look) -> tuple[dict[str, Array], list[Fault]]:
    """Every input of a layout as (rows, classes) arrays, and the cells that cannot be used.

    Args:
        layout: where the inputs stand.
        look: gives what stands in a cell of the sheet, None where nothing does.
    """
    order = [x.word for x in layout.chain.inputs if x.word not in SIZES]
    order.sort(
        key=lambda word: (word != "ignore_index", word == "logits")
    )  # the label needs the one, the logits the rest
    given: dict[str, Array] = {}
    faults: list[Fault] = []
    for word in order:
        ignored_label = (
            float(given["ignore_index"][0, 0]) if layout.chain.case.ignored and "ignore_index" in given else None
        )
        rule = _rules(layout.classes, ignored_label)[word]
        unread = _unread(layout, given) if word == "logits" else None
        given[word] = _numbers(layout.places[word], rule, look, unread, faults)
    return given, faults


def _numbers(place: Place, rule: _Rule, look: Look, unread: Array | None, faults: list[Fault]) -> Array:
    """The numbers of one input; where `unread`, no formula reads the cell and it may hold what is no number."""
    down, across = place.shape
    out = np.full((down, across), np.nan)
    for n in range(down):
        for k in range(across):
            cell = place.cell(n, k)
            found = look(cell)
            number = _number(found)
            if unread is not None and unread[n, k] and str(found) in NO_NUMBER:
                out[n, k] = NO_NUMBER[str(found)]
            elif number is not None and rule.holds(number, k):
                out[n, k] = number
            else:
                empty = found is None or not str(found).strip()
                says = f"{place.sheet}!{cell} {'is empty' if empty else f'holds {shown(found)}'}: {rule.expected} is expected"
                faults.append(Fault(f"{place.sheet}!{cell}", says, number=number is not None))
    return out


def _number(found: object) -> float | None:
    """The number in a cell; a date, a text, TRUE and a number beyond all floats are none."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found) if isfinite(found) else None


def _unread(layout: Layout, given: Mapping[str, Array]) -> Array:
    """Where no result depends on the logit: its class is masked, or its row does not count."""
    case = layout.chain.case
    unread = np.zeros((layout.rows, layout.classes), bool)
    if "allowed" in given:
        unread |= given["allowed"] == 0
    if case.ignored:
        unread |= (given["keep"] == 0) if "keep" in given else (given["label"] == given["ignore_index"])
    return unread


def compute(
    layout: Layout,
    convention: str,
    given: Mapping[str, Array],
    *,
    kind: str,
    class_names: Sequence[str],
    row_names: Sequence[str],
) -> Book | Fault:
    """The chain on the inputs, or the fault that they have only together, such as a prior whose sum is not 1."""
    case = layout.chain.case
    plain = {x.word: natural(given[x.word], x.axes) for x in layout.chain.inputs if x.word in given}
    ignore = {"ignore_index": int(plain["ignore_index"])} if "ignore_index" in plain else {}
    try:
        problem = prepare(
            plain["logits"],
            plain["soft_label"] if case.soft else plain["label"].astype(np.int64),
            plain["epsilon"],
            convention=convention,
            prior=plain.get("prior"),
            weight=plain.get("class_weight"),
            weighting=case.weighting.name if case.weighting else "torch",
            class_mask=plain.get("allowed"),
            keep=plain.get("keep"),
            reduction=case.reduction,
            as_post=case.as_post,
            class_names=class_names,
            row_names=row_names,
            **ignore,
        )
    except ValueError as fault:
        word = next((word for start, word in WHERE.items() if str(fault).startswith(start)), "logits")
        area = layout.places[word].area.replace("$", "")
        return Fault(area, f"{area}: {fault}", number=True)
    # The sheet's formulas are those of the case that it was made for, even where no row is ignored any more.
    problem = replace(problem, case=case)
    return Book(problem, layout, evaluate(layout.chain, problem.given), kind)


def changed_inputs(stored: str, book: Book) -> tuple[str, ...]:
    """The inputs whose fingerprint is not the one that was stored.

    Raises:
        ValueError: the stored text is no list of fingerprints.
    """
    then = {word: float(number) for word, _, number in (part.partition("=") for part in stored.split())}
    now = book.fingerprint
    if set(then) != set(now):
        raise ValueError(f"{shown(stored)} does not name the inputs {', '.join(now)}")
    scale = {
        word: 1 + float(np.nansum(np.abs(np.where(np.isfinite(x), x, 0.0))))
        for word, x in book.values.items()
        if word in now
    }
    return tuple(word for word in now if not abs(now[word] - then[word]) <= UNCHANGED * scale[word])
