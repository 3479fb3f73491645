"""How long a diagnosis takes: all singles and pairs, on one core.

    python benchmarks/bench_diagnose.py             # about two minutes; a table
    python benchmarks/bench_diagnose.py --tiny      # small sizes, once each
    python benchmarks/bench_diagnose.py --record    # also appends the figures to benchmarks/results.csv

Each case has a process of its own, in which it runs several times; the first run is one of them. What is timed is
`labelsmooth.diagnose` on arrays in memory; drawing them, starting Python and importing is not.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench_workbook import COLUMNS, RESULTS, Cases, commit, device, peak_mb, table, timed

SIZES = ((6, 5), (64, 100), (1000, 10), (1000, 1000))
TINY = ((3, 3), (4, 5))
# What is asked: is ε given, are there class weights, are numbers one a row, does anything fit.
KINDS: dict[str, dict[str, bool]] = {
    "rows": {},
    "rows, ε open": {"open": True},
    "rows, weights": {"weights": True},
    "mean": {"mean": True},
    "rows, none fits": {"wrong": True},
}
TARGETS = {"rows 1000 x 1000": 5.0, "rows, weights 1000 x 1000": 5.0, "mean 1000 x 1000": 5.0}  # seconds


def run(kind: str, rows: int, classes: int, runs: int) -> dict[str, Any]:
    """One case: base-10 losses, explained."""
    import numpy as np

    from labelsmooth.maths.trace import trace
    from labelsmooth.parity.diagnose import diagnose

    o = KINDS[kind]
    random = np.random.default_rng(0)
    logits, labels = random.normal(0, 3, (rows, classes)), random.integers(0, classes, rows)
    weight = random.uniform(0.5, 2.0, classes) if o.get("weights") else None
    done = trace(logits, labels, 0.1, weight=weight)
    losses = (trace(logits, labels, 0.1, weight=weight, reduction="none").row_loss) / np.log(10)
    if o.get("wrong"):
        losses = losses + random.normal(size=rows)
    given: dict[str, Any] = {"loss": done.loss / np.log(10)} if o.get("mean") else {"losses": losses}
    epsilon = None if o.get("open") else 0.1
    seconds = []
    for _ in range(runs):
        spent, found = timed(lambda: diagnose(logits, labels, label_smoothing=epsilon, weight=weight, **given))
        seconds.append(spent)
        if bool(found.matches) == bool(o.get("wrong")):
            raise RuntimeError(f"{kind}: the diagnosis was {found.verdict}")
    return {"seconds": seconds, "peak": peak_mb(), "hypotheses": found.hypotheses}


def child(job: list[Any], script: str = __file__) -> dict[str, Any]:
    """Run one case in a fresh process, on one core."""
    command = [sys.executable, script, "--child", json.dumps(job)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{job[0]} failed: {done.stderr.strip()}")
    return dict(json.loads(done.stdout))


def record(cases: Cases, file: Path, benchmark: str = Path(__file__).stem) -> None:
    """Append a line for each case."""
    there = file.is_file()
    with file.open("a", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        if not there:
            lines.writerow(COLUMNS)
        who = (device(), platform.python_version(), f"numpy {version('numpy')}", commit())
        for case in cases.values():
            peak = "" if case.peak is None else f"{case.peak:.0f}"
            numbers = (f"{seconds:.4g}" for seconds in case.percentiles)
            today = datetime.now(UTC).date().isoformat()
            lines.writerow([today, benchmark, case.name, *numbers, "s", peak, *who])


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; this is also the child's door."""
    parser = argparse.ArgumentParser(description="Measure the diagnosis.")
    parser.add_argument("--tiny", action="store_true", help="small sizes, once each")
    parser.add_argument("--runs", type=int, default=5, help="runs of each case (default 5)")
    parser.add_argument("--record", action="store_true", help="append the figures to a CSV file")
    parser.add_argument("--results", type=Path, default=RESULTS, help="that file (default benchmarks/results.csv)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.child:
        print(json.dumps(run(*json.loads(chosen.child))))
        return 0
    cases, runs = Cases(), 1 if chosen.tiny else chosen.runs
    busy = f", load {os.getloadavg()[0]:.1f} before the first run" if hasattr(os, "getloadavg") else ""
    for rows, classes in TINY if chosen.tiny else SIZES:
        for kind in KINDS:
            answer = child([kind, rows, classes, runs])
            name = f"{kind} {rows} x {classes}"
            for seconds in answer["seconds"]:
                cases.add(f"{name}, {answer['hypotheses']} hypotheses", seconds, answer["peak"], name)
    print(f"{device()}{busy}; Python {platform.python_version()}; {runs} runs; seconds")
    print(table(cases, {} if chosen.tiny else TARGETS))
    if chosen.record:
        record(cases, chosen.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
