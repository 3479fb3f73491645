"""Print docs/conventions.md from the rows of the tables, so that the page cannot say anything else than they do.

python scripts/conventions_page.py > docs/conventions.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from math import log

from labelsmooth.maths.conventions import CONVENTIONS, FAMILIES, NEIGHBOURS, NOT_PADDING, WEIGHTINGS, Family
from labelsmooth.maths.convert import convert
from labelsmooth.maths.trace import smooth_labels, trace

EPSILON, CLASSES = 0.1, 5
LOGITS, LABELS = [[2.0, 1.0, 0.0, -1.0, -2.0], [0.5, 0.1, -0.3, 1.2, 0.0]], [0, 3]
WEIGHT = [1.0, 2.0, 3.0, 4.0, 5.0]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown."""
    yield f"| {' | '.join(columns)} |"
    yield "|" + "---|" * len(columns)
    yield from (f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
    yield ""


def figures(family: Family, classes: int) -> str:
    """On / off, and the sum where it is not 1; in words where there are no two numbers."""
    if classes < family.smallest:
        return "none"
    if family.over == NEIGHBOURS:
        return " ".join(f"{x:.4f}" for x in smooth_labels([classes // 2], classes, EPSILON, convention=family.name)[0])
    on, off = family.on_off(EPSILON, classes)
    others = classes - (2 if family.over == NOT_PADDING else 1)
    whole = on + others * off
    return f"{on:.6g} / {off:.6g}" + ("" if abs(whole - 1) < 1e-12 else f" (sum {whole:.4g})")


def entropy(family: Family) -> str:
    """H(q') of a target that sums to 1: what CE has above KL."""
    if "sums to one" not in family.laws:
        return ""
    on, off = family.on_off(EPSILON, CLASSES)
    others = CLASSES - (2 if family.over == NOT_PADDING else 1)
    return f"{-on * log(on) - others * off * log(off):.6f}"


def mean(family: Family) -> str:
    """The mean loss of the two rows."""
    if family.link != "softmax":
        return ""
    padding = {"ignore_index": CLASSES - 1} if family.over == NOT_PADDING else {}
    return f"{trace(LOGITS, LABELS, EPSILON, convention=family.name, **padding).loss:.6f}"


def conversion(source: str, target: str) -> str:
    """The ε that is meant, ≈ where only the ratio is the same, and a dash where there is none."""
    try:
        found = convert(EPSILON, source=source, target=target, num_classes=CLASSES)
    except ValueError:
        return "–"
    return f"{'' if found.exact else '≈ '}{found.label_smoothing:.6g}"


def page() -> Iterator[str]:
    """The page, line by line."""
    yield "# Conventions"
    yield ""
    yield 'What frameworks mean by "label smoothing ε". `scripts/conventions_page.py` prints this page from the tables in'
    yield "`labelsmooth/maths/conventions.py` and `_frameworks.py`; `labelsmooth conventions` prints the same rows."
    yield "The numbers are for ε = 0.1. Losses are the means over two rows of five classes:"
    yield f"logits `{LOGITS[0]}` and `{LOGITS[1]}`, labels 0 and 3."
    yield ""
    for head, mistake in (("Targets", False), ("Famous mistakes", True)):
        yield f"## {head}"
        yield ""
        rows = [
            [f.name, f.says + (f" ({f.seen})" if f.seen else ""), figures(f, 5), figures(f, 2), entropy(f), mean(f)]
            for f in FAMILIES.values()
            if f.mistake is mistake
        ]
        yield from table(["target", "what it is", "K = 5: on / off", "K = 2", "H(q') at K = 5", "loss"], rows)
    yield "For the target with padding, the loss takes the last class for padding. A KL divergence is the loss less H(q')."
    yield ""
    yield "## Class weights"
    yield ""
    yield f"With weights {', '.join(f'{w:g}' for w in WEIGHT)} and the target 'uniform'."
    yield ""
    means = {name: trace(LOGITS, LABELS, EPSILON, weight=WEIGHT, weighting=name).loss for name in WEIGHTINGS}
    yield from table(
        ["weighting", "what it is", "who", "mean"],
        [[w.name, w.says, w.users, f"{means[w.name]:.6f}"] for w in WEIGHTINGS.values()],
    )
    yield "## The same smoothing elsewhere"
    yield ""
    yield "The ε of the column at which it smooths as the row does at 0.1 with five classes; ≈ where the ratio of right to"
    yield "wrong is the same and the sum is not, so that the losses differ by a factor; – where there is none."
    yield "`labelsmooth convert` says which and why, and computes it for other ε and K."
    yield ""
    rows = [[a, *(conversion(a, b) for b in FAMILIES)] for a in FAMILIES]
    yield from table(["from \\ to", *FAMILIES], rows)
    yield "```python"
    yield ">>> import labelsmooth as ls"
    yield '>>> ls.convert(0.1, source="fairseq", target="torch", num_classes=5).label_smoothing'
    yield "0.125"
    yield ""
    yield "```"
    yield ""
    yield "## Who means what"
    yield ""
    columns = ["convention", "function", "target", "loss", "class weights", "versions read or run", "source", "note"]
    cells = [
        [f"`{key}`", f"`{r.function}`", r.family.name, r.divergence.upper(), r.weighting, r.since, r.source, r.note]
        for key, r in CONVENTIONS.items()
    ]
    yield from table(columns, cells)


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a pipe on Windows is not
    sys.stdout.write("\n".join(page()).rstrip("\n") + "\n")
