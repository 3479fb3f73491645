"""What `--json` prints: one object a command. The keys named in the documentation stay stable; others may be added."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelsmooth.maths.conventions import Convention
    from labelsmooth.maths.trace import Trace
    from labelsmooth.parity.compare import Comparison
    from labelsmooth.parity.demo import Example
    from labelsmooth.parity.judge import Implementation
    from labelsmooth.parity.readback import BookVerdict
    from labelsmooth.workbook.write import Written

SCHEMA = 1
LOSS_WORDS = {
    "losses": "row_loss",
    "loss": "loss",
    "floor": "loss_floor",
    "excess": "loss_excess",
    "label_losses": "label_loss",
    "prior_losses": "prior_loss",
    "optimum_gap": "optimum_gap",
}


def emit(**values: Any) -> None:
    """Print one JSON object; what has no number in JSON (an infinite gap) is null."""
    answer = {"schema_version": SCHEMA, **_plain(values)}
    sys.stdout.write(json.dumps(answer, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {key: _plain(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [_plain(value) for value in x]
    if hasattr(x, "tolist"):
        return _plain(x.tolist())
    return None if isinstance(x, float) and (x != x or x in {float("inf"), float("-inf")}) else x  # noqa: PLR0124  NaN


def of_demo(examples: Sequence[Example], page: str) -> dict[str, Any]:
    """Each example's losses and how far the implementations differ; the files."""
    shown = [
        {
            "name": e.name,
            "losses": e.comparison.trace.row_loss,
            "max_abs_difference": e.comparison.largest,
            "engine": e.comparison.engine,
            "agree": e.comparison.agree,
        }
        for e in examples
    ]
    return {"examples": shown, "paths": [*(path for e in examples for path in e.paths), page]}


def of_loss(trace: Trace) -> dict[str, Any]:
    """The losses, their shares, floor and optimum; null where the case has no such number."""
    problem = trace.problem
    numbers = {key: getattr(trace, word) if word in trace.values else None for key, word in LOSS_WORDS.items()}
    return {
        "convention": problem.convention.full_name,
        "label_smoothing": problem.given["epsilon"],
        "reduction": problem.case.reduction,
        **numbers,
        "row_names": problem.row_names,
        "class_names": problem.class_names,
    }


def of_workbook(written: Written) -> dict[str, Any]:
    """The file and its size."""
    keys = ("path", "sheets", "formulas", "rows", "classes")
    return {key: getattr(written, key) for key in keys} | {"layout": written.kind}


def of_comparison(done: Comparison) -> dict[str, Any]:
    """The verdict, every step of the sheet, and every implementation."""
    steps = [
        {"step": s.word, "cells": s.cells, "max_abs_difference": s.difference, "agree": s.agrees} for s in done.steps
    ]
    return {
        "agree": done.agree,
        "tolerance": done.tolerance,
        "engine": done.engine,
        "steps": steps,
        "implementations": [of_implementation(i) for i in done.implementations],
        "path": done.path,
    }


def of_implementation(i: Implementation) -> dict[str, Any]:
    """One implementation: its losses and how far it is from the chain."""
    return {
        "name": i.name,
        "version": i.version,
        "dtype": i.dtype,
        "convention": i.convention,
        "same_convention": i.same,
        "losses": i.row_loss,
        "loss": i.loss,
        "max_abs_difference": i.difference,
        "max_abs_gradient_difference": i.gradient_difference,
        "agree": i.agrees,
        "note": i.note,
    }


def of_books(verdicts: Sequence[BookVerdict]) -> dict[str, Any]:
    """What was found in each workbook."""
    keys = (
        "path",
        "agree",
        "blank",
        "rows",
        "classes",
        "engine",
        "checked",
        "right",
        "wrong",
        "unfilled",
        "follow",
        "error",
    )
    books = [
        {key: getattr(v, key) for key in keys}
        | {"findings": [{"kind": f.kind, "cell": f.cell, "message": f.message, "fatal": f.fatal} for f in v.findings]}
        for v in verdicts
    ]
    return {"agree": all(v.agree for v in verdicts), "books": books}


def of_conventions(rows: Sequence[Convention]) -> dict[str, Any]:
    """The table of conventions."""
    keys = ("name", "function", "divergence", "weighting", "since", "source", "note")
    return {"conventions": [{"target": r.family.name} | {key: getattr(r, key) for key in keys} for r in rows]}
