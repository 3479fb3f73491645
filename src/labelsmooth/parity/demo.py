"""The main job, end to end, on the shipped examples: the post's two, and logits of a network trained on real images.

Each example becomes a workbook that is recalculated and compared; the post's also becomes a student's copy. Without PyTorch
the comparison uses PyTorch's numbers as they were recorded, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelsmooth.data import path as data_path
from labelsmooth.errors import InputError
from labelsmooth.files import read_batch
from labelsmooth.maths.trace import Problem, prepare
from labelsmooth.workbook.book import TorchRows, make_book
from labelsmooth.workbook.write import save

from .compare import Comparison, compare_problem
from .frameworks import torch_is_there

EXAMPLES = {
    "post_five_animals": "the post's first example: five images, five classes",
    "post_cat_dog": "the post's second example: cats and dogs",
    "digits": "200 handwritten digits, logits of a network trained on such images",
}
RECORDED = "recorded.json"


@dataclass(frozen=True)
class Example:
    """One example of the demo: what it is, its comparison, and the files it left."""

    name: str
    title: str
    comparison: Comparison
    paths: tuple[str, ...]


def run_demo(folder: Path, *, engine: str = "ironcalc") -> Iterator[Example]:
    """Write, recalculate and compare each example in turn, into `folder`; an earlier demo's files are replaced."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be used as a folder: {error.strerror}") from error
    for name, title in EXAMPLES.items():
        problem = example(name)
        book = folder / f"{name}.xlsx"
        recorded = None if torch_is_there() else recorded_rows(name)
        done = compare_problem(problem, engine=engine, path=book, force=True, source=title, recorded=recorded)
        paths = [str(book)]
        if name.startswith("post"):
            student = folder / f"{name}_student.xlsx"
            save(make_book(problem, layout="full", source=title), student, blank=True, force=True)
            paths.append(str(student))
        yield Example(name, title, done, tuple(paths))


def example(name: str) -> Problem:
    """Return a shipped example as a checked problem at ε = 0.1."""
    batch = read_batch(data_path(f"{name}.csv"))
    return prepare(
        batch.logits, np.asarray(batch.labels), 0.1, class_names=batch.class_names, row_names=batch.row_names
    )


def recorded_rows(name: str) -> TorchRows:
    """PyTorch's numbers for an example, as `scripts/record_torch.py` wrote them."""
    record = json.loads(data_path(RECORDED).read_text(encoding="utf-8"))
    rows = {key: np.array(value) for key, value in record["examples"][name].items() if isinstance(value, list)}
    return TorchRows(
        record["torch"], record["how"], **rows, largest_gradient_gap=record["examples"][name]["largest_gradient_gap"]
    )
