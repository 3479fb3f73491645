"""How often a diagnosis is right, certain, and certain but wrong: the tables in docs/diagnose.md.

    python scripts/diagnose_table.py            # prints the tables; ten minutes or so
    python scripts/diagnose_table.py --write    # puts them into docs/diagnose.md
    python scripts/diagnose_table.py --tiny     # a few trials: does it run

Random batches (K from 2 to 1,000, N from 1 to 64; some with class weights, some with ignored rows), numbers a row and
means, with all digits and with four decimals. The truth is a single cause or a pair of the library, which must be listed;
the same with one of its causes withheld from the search; three causes at once; and what other frameworks gave on recorded
batches (tests/golden).

An explanation is wrong if it gives other numbers than the truth on this batch at full precision and on fresh batches. One
with a value of ε or of the temperature that was found from rounded numbers is right if all digits of the numbers make it
the truth.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from labelsmooth.parity._data import Data
from labelsmooth.parity._intervals import observed
from labelsmooth.parity._predictions import Predictor
from labelsmooth.parity._recipes import PER_ROW, Cause, Hypothesis, Recipe
from labelsmooth.parity._search import same
from labelsmooth.parity._solve import solve
from labelsmooth.parity._stages import Question
from labelsmooth.parity.diagnose import Diagnosis, answer, diagnose

ROOT = Path(__file__).resolve().parents[1]
PAGE, GOLDEN = ROOT / "docs" / "diagnose.md", ROOT / "tests" / "golden"
START, END = "<!-- tables of scripts/diagnose_table.py: start -->", "<!-- tables: end -->"
CLASSES = (2, 3, 5, 10, 100, 1000)
ROWS = (1, 2, 4, 8, 64)
DIGITS: tuple[int | None, ...] = (None, 4)
LISTED, WITHHELD, TRIPLE, RECORDED = "in the library", "one cause withheld", "three causes", "other frameworks"
KINDS = {LISTED: (1, 2), WITHHELD: (1, 2), TRIPLE: (3,)}
SEED = 5
CLOSE = 1e-5  # of a recorded number, which may be a float32
Key = tuple[str, bool, int, int | None]  # kind, numbers a row, N, digits


class Remembering(Predictor):
    """A predictor that computes each recipe once a batch."""

    def __init__(self, data: Data, *, per_row: bool) -> None:
        super().__init__(data, per_row=per_row)
        self.known: dict[Recipe, Any] = {}

    def predict(self, r: Recipe) -> Any:
        """As the predictor, from memory where it can."""
        if r not in self.known:
            self.known[r] = super().predict(r)
        return self.known[r]


@dataclass
class Count:
    """What happened over the trials of one kind."""

    trials: int = 0
    listed: int = 0
    certain: int = 0
    wrong: int = 0  # certain and wrong

    def plus(self, other: Count) -> Count:
        """Both together."""
        return Count(*(getattr(self, f) + getattr(other, f) for f in ("trials", "listed", "certain", "wrong")))


Counts = dict[Key, Count]


def batch(random: np.random.Generator, rows: int, classes: int) -> Data:
    """A random batch, peaked or flat."""
    logits = random.normal(size=(rows, classes)) * random.choice([1.0, 2.0, 4.0])
    labels = random.integers(0, classes, rows)
    counts = random.random(rows) > (0.2 if rows > 2 and random.random() < 0.3 else 0.0)
    counts[0] = True
    weight = random.uniform(0.5, 3, classes) if random.random() < 0.3 else None
    return Data(logits, np.where(counts, labels, 0), counts, weight=weight)


def question(data: Data, *, per_row: bool) -> Question:
    """A question without its numbers."""
    weighting = "class/label" if data.weight is not None else ""
    base = Recipe(divisor=PER_ROW if per_row else "mean", weighting=weighting)
    return Question(data, observed([0.0]), base, per_row, epsilon_given=True)


def truths(q: Question, random: np.random.Generator, count: int, causes: int) -> Iterator[Hypothesis]:
    """Random hypotheses of so many causes, at most `count`."""
    for _ in range(20 * count):
        made = composed(q.base, [q.causes[i] for i in random.choice(len(q.causes), causes, replace=False)])
        if made is not None:
            yield made
            count -= 1
            if not count:
                return


def composed(base: Recipe, chosen: Sequence[Cause]) -> Hypothesis | None:
    """The recipe with some causes, if they can meet."""
    if any(a.changes.keys() & b.changes.keys() for a, b in combinations(chosen, 2)):
        return None
    recipe = replace(base, **{key: value for cause in chosen for key, value in cause.changes.items()})
    return Hypothesis(recipe, tuple(chosen)) if recipe.makes_sense() else None


def shown(numbers: Any, digits: int | None) -> Any:
    """Numbers as they would be printed."""
    return numbers if digits is None else [f"{x:.{digits}f}" for x in numbers]


def trial(kind: str, q: Question, truth: Hypothesis, digits: int | None, memory: Remembering, seed: int) -> Count:
    """One truth, hidden behind its numbers."""
    numbers = memory.predict(truth.recipe)
    if not np.isfinite(numbers).all():
        return Count()
    random = np.random.default_rng(seed)
    without = frozenset({truth.names[int(random.integers(len(truth.causes)))]}) if kind == WITHHELD else frozenset()
    found = answer(replace(q, seen=observed(shown(numbers, digits)), without=without), predictor=memory)
    listed = any(same(memory.predict(h.recipe), numbers) for h in found.explanations)
    if not is_certain(found):
        return Count(1, listed)
    wrong = is_wrong(q, found.explanations[0], truth, memory, random)
    if wrong:
        case = f"K={memory.classes}, N={memory.rows}, {digits or 'all'} digits, {'rows' if q.per_row else 'mean'}"
        sys.stderr.write(f"wrong: {truth.names} taken for {found.matches[0].causes}; {case}\n")
    return Count(1, listed, 1, wrong)


def is_certain(found: Diagnosis) -> bool:
    """Whether the diagnosis claims to know."""
    return bool(found.matches) and found.matches[0].certainty == "certain"


def is_wrong(
    q: Question, said: Hypothesis, truth: Hypothesis, memory: Remembering, random: np.random.Generator
) -> bool:
    """Whether an explanation differs from the truth, here and on fresh batches."""
    numbers = memory.predict(truth.recipe)
    for parameter in ("epsilon", "temperature"):
        if said.solved == parameter or any(c.found and parameter in c.changes for c in said.causes):
            exact = [h for h, _ in solve(memory, observed(numbers), said, parameter)]
            said = next(
                (h for h in exact if np.allclose(memory.predict(h.recipe), numbers, rtol=1e-7, atol=1e-7)), said
            )
            if said in exact:
                return False
    if same(memory.predict(said.recipe), numbers):
        return False
    rows, classes = q.data.logits.shape
    for _ in range(3):
        fresh = batch(random, rows, classes)
        fresh = replace(
            fresh, weight=q.data.weight, counts=q.data.counts, labels=np.where(q.data.counts, fresh.labels, 0)
        )
        probe = Predictor(fresh, per_row=q.per_row)
        if not same(probe.predict(said.recipe), probe.predict(truth.recipe)):
            return True
    return False


def drawn(batches: int, each: int) -> Counts:
    """The trials on random batches."""
    counts: Counts = {}
    for rows, classes, number, per_row in (
        (n, k, b, r) for n in ROWS for k in CLASSES for b in range(batches) for r in (True, False)
    ):
        random = np.random.default_rng([SEED, classes, rows, number])
        data = batch(random, rows, classes)
        q, memory = question(data, per_row=per_row), Remembering(data, per_row=per_row)
        for kind, size in ((kind, size) for kind, sizes in KINDS.items() for size in sizes):
            for truth in truths(q, random, each, size):
                for digits in DIGITS:
                    key = (kind, per_row, rows, digits)
                    counts[key] = counts.get(key, Count()).plus(
                        trial(kind, q, truth, digits, memory, int(random.integers(2**31)))
                    )
    return counts


def recorded() -> Counts:
    """What the frameworks gave on the recorded batches, explained from torch's point of view."""
    counts: Counts = {}
    batches = json.loads((GOLDEN / "batches.json").read_text(encoding="utf-8"))
    for file in sorted(GOLDEN.glob("*.json")):
        results = json.loads(file.read_text(encoding="utf-8")).get("results", {}) if file.stem != "batches" else {}
        for name, result in results.items():
            given = batches[name]
            if isinstance(given["label_smoothing"], list):
                continue
            for per_row, numbers in ((True, result.get("row_loss")), (False, result.get("loss"))):
                if numbers is None or not np.isfinite(np.asarray(numbers, float)).all():
                    continue
                for digits in DIGITS:
                    key = (RECORDED, per_row, len(given["labels"]), digits)
                    counts[key] = counts.get(key, Count()).plus(
                        _explained(given, np.atleast_1d(numbers), digits, per_row=per_row)
                    )
    return counts


def _explained(given: dict[str, Any], numbers: Any, digits: int | None, *, per_row: bool) -> Count:
    """One recorded batch."""
    losses = {"losses": shown(numbers, digits)} if per_row else {"loss": shown(numbers, digits)[0]}
    reduction = "sum" if given.get("reduction") == "sum" else "mean"
    labels = np.asarray(given["labels"], float if np.ndim(given["labels"]) == 2 else int)
    found = diagnose(given["logits"], labels, label_smoothing=given["label_smoothing"], weight=given.get("weight"),
                     reduction=reduction, **losses)  # fmt: skip
    full = diagnose(given["logits"], labels, label_smoothing=given["label_smoothing"], weight=given.get("weight"),
                    reduction=reduction, **({"losses": numbers} if per_row else {"loss": numbers[0]}))  # fmt: skip
    if not is_certain(found):
        return Count(1, bool(found.matches))
    names = [m.causes for m in full.matches]
    wrong = found.matches[0].causes not in names and bool(names)
    if wrong:
        sys.stderr.write(f"wrong: recorded {numbers} taken for {found.matches[0].causes}; {names}\n")
    return Count(1, bool(found.matches), 1, wrong)


# --- tables -------------------------------------------------------------------------------------------------------------


def tables(counts: Counts, seconds: float) -> str:
    """Both tables as Markdown."""
    out = [
        "| truth | numbers | digits | trials | listed | certain | certain and wrong |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for kind in (*KINDS, RECORDED):
        for per_row in (True, False):
            for digits in DIGITS:
                c = _sum(counts, lambda key, k=kind, r=per_row, d=digits: (key[0], key[1], key[3]) == (k, r, d))
                if c.trials:
                    cells = [
                        kind,
                        "a row" if per_row else "a mean",
                        "all" if digits is None else str(digits),
                        f"{c.trials:,}",
                    ]
                    cells += [f"{100 * c.listed / c.trials:.1f}%", f"{100 * c.certain / c.trials:.0f}%", str(c.wrong)]
                    out.append(f"| {' | '.join(cells)} |")
    out += ["", f"| certain, {LISTED} | " + " | ".join(f"N = {n}" for n in ROWS) + " |", "|---|" + "---:|" * len(ROWS)]
    for per_row in (True, False):
        for digits in DIGITS:
            cells = []
            for rows in ROWS:
                c = counts.get((LISTED, per_row, rows, digits), Count())
                cells.append(f"{100 * c.certain / c.trials:.0f}%" if c.trials else "")
            name = f"{'a row' if per_row else 'a mean'}, {'all' if digits is None else digits} digits"
            out.append(f"| {name} | {' | '.join(cells)} |")
    trials = sum(c.trials for c in counts.values())
    return "\n".join([*out, "", f"{trials:,} trials in {seconds / 60:.0f} minutes on one core; seed {SEED}."])


def _sum(counts: Counts, wanted: Any) -> Count:
    whole = Count()
    for key, count in counts.items():
        if wanted(key):
            whole = whole.plus(count)
    return whole


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure how often a diagnosis is right, and certain.")
    parser.add_argument("--batches", type=int, default=2, help="of each size (default 2)")
    parser.add_argument("--each", type=int, default=4, help="truths of each kind a batch (default 4)")
    parser.add_argument("--tiny", action="store_true", help="one batch of each size, one truth of each kind")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/diagnose.md")
    chosen = parser.parse_args(arguments)
    start = time.process_time()
    counts = drawn(1, 1) if chosen.tiny else drawn(chosen.batches, chosen.each)
    text = tables(counts | recorded(), time.process_time() - start)
    print(text)
    if chosen.write:
        page = PAGE.read_text(encoding="utf-8")
        head, _, tail = page.partition(START)
        PAGE.write_text(f"{head}{START}\n\n{text}\n\n{END}{tail.partition(END)[2]}", encoding="utf-8")
    return 1 if any(c.wrong for key, c in counts.items() if key[3] is None) else 0


if __name__ == "__main__":
    sys.exit(main())
