"""Data in, one HTML file out: the template, the style, the printed mathematics, the drawing code and the numbers.

The file must work from a disk, from a mail and behind any server, so nothing in it asks for anything: a content security policy
lets only the script and the style run whose hashes it names. Texts from outside reach the page as JSON in which `<`, `>` and
`&` are escaped, and the code puts them on the page as text, never as markup.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files
from typing import Any

import numpy as np

from labelsmooth.maths.conventions import ALL, FAMILIES, Family
from labelsmooth.maths.mathml import equation
from labelsmooth.maths.steps import chain
from labelsmooth.maths.trace import Problem, Trace

from . import classifier
from .chains import SHOWN, WRONG_TARGETS, core, fits, loss, optimum

SCRIPTS = ("state.js", "draw.js", "panels.js", "learn.js", "points.js", "page.js")
MOST_ROWS, MOST_CLASSES = 12, 100
WORDS = ("target", "softmax", "log_softmax", "row_loss", "loss", "gradient")  # what panel 4 writes in three notations
_TORCH = {
    "softmax": "p = torch.softmax(z, dim=-1)",
    "log_softmax": "l = torch.log_softmax(z, dim=-1)",
    "row_loss": "h = -(q * l).sum(dim=-1)",
    "loss": "L = h.mean()",
    "gradient": "L.backward(); g = z.grad",
}
_SLOT = re.compile(r"\{\{(\w+)(?: (\w+))?\}\}")


@dataclass(frozen=True)
class Preset:
    """One batch that the page can show: which of its rows, and what is to be said about them.

    `published` are losses that somebody printed for them; `formulas` has for each word of panel 4, and each row shown, the cell
    of the workbook that it stands in and the cell's formula.
    """

    key: str
    title: str
    problem: Problem
    rows: Sequence[int]
    note: str = ""
    published: Sequence[float] = ()
    formulas: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)


def build(presets: Sequence[Preset]) -> str:
    """Return the page; its first preset is what one sees, with that one's ε and target.

    Raises:
        ValueError: a target or a batch that the page cannot show.
    """
    first = presets[0].problem
    for preset in presets:
        check(preset.problem)
    shown = (*SHOWN, *([] if first.case.family.name in SHOWN else [first.case.family.name]))
    script = re.sub(r"(?m)^export ", "", core(shown)) + "".join(_file(name) for name in SCRIPTS)
    script = f'"use strict";\n{script}'
    style = _file("page.css")
    slots = {
        "style": style,
        "script": script,
        "script_hash": _hash(script),
        "style_hash": _hash(style),
        "data": _json(_data(presets, shown)),
    }

    def slot(found: re.Match[str]) -> str:
        return _equations(found[2], shown) if found[1] == "math" else slots[found[1]]

    return _SLOT.sub(slot, _file("page.html"))


def check(problem: Problem) -> None:
    """Refuse what the page cannot show, in one line."""
    case, classes = problem.case, problem.given["n_classes"]
    extras = {"soft labels": case.soft, "class weights": case.weighting is not None, "a prior": bool(case.prior),
              "an ε for each row": bool(case.smoothing), "masked classes": bool(case.mask)}  # fmt: skip
    extra = [what for what, there in extras.items() if there]
    if extra:
        raise ValueError(f"the page has no room for {', '.join(extra)}: `labelsmooth workbook` shows them")
    if not fits(case.family):
        raise ValueError(
            f"the page cannot show the target {case.family.name!r}: choose a convention whose softmax target sums to 1"
        )
    if classes > MOST_CLASSES:
        raise ValueError(f"the page shows at most {MOST_CLASSES} classes, got {classes:,}: use fewer columns")
    if not _counted(problem).any():
        raise ValueError("no row counts: every label is the ignore_index")


def rows_shown(problem: Problem, most: int = MOST_ROWS) -> tuple[list[int], str]:
    """Which rows of a batch the page holds, and a sentence where it is not all of them.

    Of many, a third each: the first, those with the largest loss, and those that are surest beyond their target.
    """
    counted = [int(n) for n in np.flatnonzero(_counted(problem))]
    if len(counted) <= most:
        left = len(problem.row_names) - len(counted)
        return counted, f"{left} rows that do not count are left out." if left else ""
    done = Trace(problem, chain(problem.case))
    label = np.clip(problem.given["label"], 0, None)
    lead = np.take_along_axis(done.softmax - done.target, label[:, None], axis=1)[:, 0]
    chosen: list[int] = []
    for order in (counted, np.argsort(-done.row_loss), np.argsort(-lead)):
        fresh = [int(n) for n in order if int(n) in set(counted) - set(chosen)]
        chosen += fresh[: most // 3]
    says = f"{len(chosen)} of {len(counted):,} rows: the first, the hardest and the surest; the mean is theirs alone."
    return sorted(chosen), says


def _counted(problem: Problem) -> Any:
    given = problem.given
    return given["keep"] > 0 if "keep" in given else given["label"] != given["ignore_index"]


def _data(presets: Sequence[Preset], shown: Sequence[str]) -> dict[str, Any]:
    first = presets[0].problem
    families = [FAMILIES[name] for name in shown]
    return {
        "eps": first.given["epsilon"],
        "family": shown.index(first.case.family.name),
        "families": [
            {"name": f.name, "says": f.says, "all": f.over == ALL, "target": torch_target(f)} for f in families
        ],
        "wrong": [{"name": name, "says": FAMILIES[name].says} for name in WRONG_TARGETS],
        "torch": _TORCH,
        "words": WORDS,
        "points": classifier.points(),
        "presets": [_preset(preset) for preset in presets],
    }


def _preset(preset: Preset) -> dict[str, Any]:
    problem, rows = preset.problem, list(preset.rows)
    return {
        "key": preset.key,
        "title": preset.title,
        "note": preset.note,
        "classes": problem.class_names,
        "rows": [problem.row_names[n] for n in rows],
        "logits": problem.given["logits"][rows].tolist(),
        "labels": problem.given["label"][rows].tolist(),
        "published": list(preset.published),
        "sheet": preset.formulas,
    }


def torch_target(family: Family) -> str:
    """The line of PyTorch that makes a family's target from `y`, `K` and `eps`; without `.to(z)` it would be float32.

    >>> torch_target(FAMILIES["uniform"])
    'q = (1 - eps) * F.one_hot(y, K).to(z) + eps / K'
    """
    if family.name == "uniform":
        return "q = (1 - eps) * F.one_hot(y, K).to(z) + eps / K"
    if family.name == "others":
        return "q = F.one_hot(y, K).to(z); q = (1 - eps) * q + eps * (1 - q) / (K - 1)"
    return f"q = torch.tensor(labelsmooth.smooth_labels(y, K, eps, convention={family.name!r}))"


def torch_lines(family: Family) -> dict[str, str]:
    """PyTorch's line for each word of panel 4, in an order in which they run."""
    return {"target": torch_target(family), **_TORCH}


def _equations(word: str, shown: Sequence[str]) -> str:
    """The equation of a step in each target's chain; the page shows the one that is chosen."""
    made = ((loss(FAMILIES[name]), optimum(FAMILIES[name])) for name in shown)
    printed = [equation((one if word in one else two)[word]) for one, two in made]
    if len(set(printed)) == 1:
        return printed[0]
    return "".join(f'<span data-family="{place}">{one}</span>' for place, one in enumerate(printed))


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"


def _json(value: Any) -> str:
    """JSON that can stand inside a script element: no character of it can end the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text)
