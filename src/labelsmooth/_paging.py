"""The command `page`: a batch, or the post's examples, as one HTML file to play with.

Apart from the other commands because the page shows less than the chain can: labels that are classes, one ε, no weights. So it
has fewer options; and it is here, where all rooms meet, that the page learns in which cell of the workbook a step stands.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelsmooth._answers import emit
from labelsmooth._arguments import as_json, force, read, user_input

if TYPE_CHECKING:
    from labelsmooth.maths.trace import Problem
    from labelsmooth.page.build import Preset

PUBLISHED = (0.3314, 2.1951, 2.3668, 1.2633, 1.9855)  # printed at the end of the post, for its cats and dogs
POST = {
    "post": ("post_five_animals", "the post's five images", ()),
    "pets": ("post_cat_dog", "the post's cats and dogs", PUBLISHED),
}
NAME = "page.html"  # in the demo's folder
_FIXED = {"prior": "uniform", "weight": None, "weighting": "torch", "reduction": "mean", "rows": None}
_OPTIONS = (
    click.option("-o", "--out", "target", required=True, metavar="PAGE.html", help="The page to write."),
    click.option("--label-smoothing", "--eps", "label_smoothing", type=float, default=0.1, show_default=True,
                 help="ε that the page opens with, from 0 to 1."),
    click.option("--convention", default="torch", show_default=True,
                 help="Whose target it opens with; `labelsmooth conventions` lists them."),
    click.option("--ignore-index", type=int, default=-100, show_default=True, help="Label of rows that do not count."),
    click.option("--labels", default=None, metavar="FILE", help="Labels in a file of their own (for .npy)."),
    click.option("--probs", is_flag=True, help="The file holds probabilities."),
    click.option("--logits", "assume_logits", is_flag=True, help="The file holds logits, whatever they look like."),
    click.option("--rows", type=click.IntRange(min=1), default=None, metavar="N", help="The first N rows only."),
    force,
    as_json,
)  # fmt: skip


def _with_options(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("file", required=False)
@_with_options
def page(file: str | None, target: str, force: bool, **o: Any) -> None:
    """The loss as a page to play with, in one HTML file that needs nothing else; without FILE, on the post's examples.

    FILE holds logits and labels. Up to 12 rows are put into the page: of more, the first, the hardest and the surest.

    \b
    Examples:
      labelsmooth page -o page.html
      labelsmooth page batch.csv -o page.html --eps 0.2
    """
    from labelsmooth import _terminal

    chosen = {name: o[name] for name in ("label_smoothing", "convention")}
    presets: list[Preset] = []
    problem = None if file is None else read(file, {**_FIXED, **o})[0]
    with user_input(file or ""):
        if file is not None and problem is not None:
            presets.append(_preset("file", Path(file).name if file != "-" else "standard input", problem))
        presets += post_presets(**chosen)
        written = write_page(target, presets, force=force)
    if o["as_json"]:
        emit(path=target, bytes=written, rows=len(presets[0].problem.row_names), presets=[p.title for p in presets])
        return
    _terminal.say(f"{target}: {written:,} bytes, opens in any browser and loads nothing", style="bold")
    if presets[0].note:
        _terminal.note(presets[0].note)


def post_presets(label_smoothing: float = 0.1, convention: str = "torch") -> list[Preset]:
    """The post's two examples, as presets of the page."""
    import numpy as np

    from labelsmooth.data import path
    from labelsmooth.files import read_batch
    from labelsmooth.maths.trace import prepare

    presets = []
    for key, (name, title, published) in POST.items():
        batch = read_batch(path(f"{name}.csv"))
        problem = prepare(
            batch.logits,
            np.asarray(batch.labels),
            label_smoothing,
            convention=convention,
            class_names=batch.class_names,
            row_names=batch.row_names,
        )
        presets.append(_preset(key, title, problem, published))
    return presets


def write_page(target: str | Path, presets: list[Preset], *, force: bool) -> int:
    """Write the page, whole or not at all; say how many bytes it has."""
    from labelsmooth.files.write import write_atomically
    from labelsmooth.page.build import build

    content = build(presets).encode()
    with write_atomically(target, force=force) as temporary:
        temporary.write_bytes(content)
    return len(content)


def _preset(key: str, title: str, problem: Problem, published: tuple[float, ...] = ()) -> Preset:
    from labelsmooth.page.build import Preset, check, rows_shown

    check(problem)
    rows, note = rows_shown(problem)
    if problem.convention.divergence == "kl":
        note += f" {problem.convention.name} gives the KL alone: here it is what the loss has above its floor."
    return Preset(key, title, problem, rows, note.strip(), published, _formulas(problem, rows))


def _formulas(problem: Problem, rows: list[int]) -> dict[str, list[tuple[str, str]]]:
    """For each word of panel 4 and each row shown, the cell at the row's label and its formula; none in the compact layout."""
    from labelsmooth.maths.steps import chain
    from labelsmooth.page.build import WORDS
    from labelsmooth.workbook.book import FULL_LIMIT, place_chain

    layout = place_chain(chain(replace(problem.case, divergence="ce")), *problem.given["logits"].shape)
    if layout.formulas > FULL_LIMIT:
        return {}
    found: dict[str, list[tuple[str, str]]] = {}
    for word in WORDS:
        step, place = layout.chain[word], layout.places[word]
        at = [(n if "n" in step.axes else 0, int(problem.given["label"][n]) if "k" in step.axes else 0) for n in rows]
        found[word] = [(place.cell(*where), layout.formula(step, *where)) for where in at]
    return found
