"""How long the workbook takes: to write, to recalculate, and to start the command line.

    python benchmarks/bench_workbook.py             # about two minutes; a table
    python benchmarks/bench_workbook.py --tiny      # small sizes, once each: does the benchmark run
    python benchmarks/bench_workbook.py --record    # also appends the figures to benchmarks/results.csv

Every run of every case is a process of its own, because a second write in the same process finds its modules loaded and
its memory already large, and no user's does. The process says how long the call took and how much memory it ever held,
itself or a program that it started (`resource.getrusage`). This parent stays small on purpose: on Linux a child's peak
begins with what its parent held when it was started. README.md says what is timed and what is reused.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results.csv"
COLUMNS = (
    "date",
    "benchmark",
    "case",
    "p20",
    "p50",
    "p80",
    "unit",
    "peak_mb",
    "device",
    "python",
    "versions",
    "commit",
)
LIBRARIES = ("numpy", "XlsxWriter", "ironcalc")
SIZES = {"full": (1_000, 10), "compact": (10_000, 10)}
TINY = {"full": (6, 3), "compact": (8, 3)}
TARGETS = {  # seconds
    "write full": 5.0,
    "write compact": 5.0,
    "recalculate full": 1.0,
    "recalculate compact": 2.0,
    "labelsmooth --help": 0.15,
}


# In the child: one call, timed ---------------------------------------------------------------------------------------


def peak_mb() -> float | None:
    """The most memory that this process, or the largest program it started, ever held; None where nobody counts."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1e6 if sys.platform == "darwin" else 1e6 / 1024  # bytes there, KiB elsewhere
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / unit


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of wall time, and what the call returned."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def write(path: str, layout: str, rows: int, classes: int) -> dict[str, Any]:
    """`write_workbook` with PyTorch's numbers given, as `labelsmooth workbook` calls it; torch itself is not timed."""
    import numpy as np

    from labelsmooth.maths.trace import trace
    from labelsmooth.workbook.book import TorchRows
    from labelsmooth.workbook.write import write_workbook

    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (rows, classes)), rng.integers(0, classes, rows)
    at_zero, at_one, now = (trace(logits, labels, eps).row_loss for eps in (0, 1, 0.1))
    stored = TorchRows("none", "numbers of the chain", at_zero, at_one, now, now, 0.0)
    call = partial(write_workbook, path, logits, labels, 0.1, layout=layout, torch=stored, force=True)
    return {"seconds": {"": timed(call)[0]}}


def recalculate(path: str, engine: str) -> dict[str, Any]:
    """`recalculate`: the gate, poison, the engine in a process of its own, and the proof."""
    from labelsmooth.workbook.recalc import recalculate as run

    seconds, done = timed(lambda: run(path, engine=engine, timeout=600))
    return {"seconds": {"": seconds}, "engine": done.version}


def parts(path: str) -> dict[str, Any]:
    """The same with IronCalc, step by step in this process, to see where the time goes."""
    import ironcalc

    from labelsmooth.workbook._cells import poisoned_copy
    from labelsmooth.workbook.gate import check_workbook_file

    copy = Path(path).with_suffix(".poisoned.xlsx")
    seconds = {"gate": timed(lambda: check_workbook_file(path))[0]}
    seconds["poison"] = timed(lambda: poisoned_copy(Path(path), copy, {}))[0]
    seconds["engine loads"], model = timed(lambda: ironcalc.load_from_xlsx(str(copy)))
    seconds["engine evaluates"] = timed(model.evaluate)[0]
    return {"seconds": seconds}


CHILDREN: dict[str, Callable[..., dict[str, Any]]] = {"write": write, "recalculate": recalculate, "parts": parts}


# In the parent: many children, one table -----------------------------------------------------------------------------


@dataclass
class Case:
    """One line of the table: the times of its runs, and the largest peak among them."""

    name: str
    target: str = ""
    seconds: list[float] = field(default_factory=list)
    peak: float | None = None

    def add(self, seconds: float, peak: float | None) -> None:
        """One more run."""
        self.seconds.append(seconds)
        self.peak = peak if self.peak is None or peak is None else max(self.peak, peak)

    @property
    def percentiles(self) -> tuple[float, float, float]:
        """Seconds that a fifth, half and four fifths of the runs stayed below."""
        tenths = quantiles(self.seconds * 2 if len(self.seconds) == 1 else self.seconds, n=10, method="inclusive")
        return tenths[1], tenths[4], tenths[7]


class Cases(dict[str, Case]):
    """The lines by name, made when first asked for."""

    def add(self, name: str, seconds: float, peak: float | None, target: str = "") -> None:
        """One more run of a case."""
        self.setdefault(name, Case(name, target)).add(seconds, peak)


def child(job: Sequence[Any]) -> dict[str, Any]:
    """Run one job in a fresh process and return what it says: seconds, peak, the engine's version."""
    command = [sys.executable, __file__, "--child", json.dumps(job)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{job[0]} failed: {done.stderr.strip()}")
    return dict(json.loads(done.stdout))


def start_up(cases: Cases, runs: int) -> None:
    """Wall time of whole processes, taken in turns so that a busy moment of the machine hits all of them."""
    program = shutil.which("labelsmooth", path=str(Path(sys.executable).parent))
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import labelsmooth": [sys.executable, "-c", "import labelsmooth"],
        "labelsmooth --help": [program, "--help"] if program else [sys.executable, "-m", "labelsmooth", "--help"],
    }
    for _ in range(runs):
        for name, command in commands.items():
            cases.add(name, timed(partial(subprocess.run, command, capture_output=True, check=True))[0], None, name)


def workbooks(cases: Cases, sizes: Mapping[str, tuple[int, int]], runs: int, folder: Path) -> None:
    """Write and recalculate each layout; every recalculation reads the book that the last write left."""
    for layout, (rows, classes) in sizes.items():
        book, size = str(folder / f"{layout}.xlsx"), f"{rows:,} x {classes} {layout}"
        for _ in range(runs):
            answer = child(["write", book, layout, rows, classes])
            cases.add(f"write {size}", answer["seconds"][""], answer["peak"], f"write {layout}")
        for _ in range(runs):
            answer = child(["recalculate", book, "ironcalc"])
            cases.add(f"recalculate {size}, IronCalc", answer["seconds"][""], answer["peak"], f"recalculate {layout}")
        for _ in range(runs):
            answer = child(["parts", book])
            for part, seconds in answer["seconds"].items():
                cases.add(f"  of it: {part}, {size}", seconds, answer["peak"])
        if shutil.which("soffice") or shutil.which("libreoffice"):
            answer = child(["recalculate", book, "libreoffice"])
            name = f"recalculate {size}, LibreOffice {answer['engine']}, once"
            cases.add(name, answer["seconds"][""], answer["peak"])


def table(cases: Cases, targets: Mapping[str, float]) -> str:
    """The lines as text: seconds, peak and target."""
    head = f"{'case':<58} {'p20':>8} {'p50':>8} {'p80':>8}  {'peak MB':>7}  target"
    lines = [head, "-" * len(head)]
    for case in cases.values():
        low, middle, high = case.percentiles
        peak = "" if case.peak is None else f"{case.peak:.0f}"
        goal = targets.get(case.target)
        verdict = "" if goal is None else f"{goal:g} s: {'met' if middle <= goal else 'missed'}"
        line = f"{case.name:<58} {low:8.3f} {middle:8.3f} {high:8.3f}  {peak:>7}  {verdict}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def device() -> str:
    """The processor and how many of its cores there are."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{named or platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def commit() -> str:
    """The commit that was measured, with a + when the working tree differs from it in more than the figures."""
    said, but_figures = [], ["--", ".", f":(exclude){RESULTS.relative_to(ROOT)}"]
    for command in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no", *but_figures]):
        git = ["git", "-C", str(ROOT), *command]
        done = subprocess.run(git, capture_output=True, text=True, check=False)
        said.append(done.stdout.strip() if done.returncode == 0 else "")
    return said[0] + ("+" if said[1] else "") if said[0] else "unknown"


def record(cases: Cases, file: Path) -> None:
    """Append a line for each case."""
    versions = " ".join(f"{name} {version(name)}" for name in LIBRARIES)
    there = file.is_file()
    with file.open("a", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        if not there:
            lines.writerow(COLUMNS)
        today, who = datetime.now(UTC).date().isoformat(), (device(), platform.python_version(), versions, commit())
        for case in cases.values():
            peak = "" if case.peak is None else f"{case.peak:.0f}"
            numbers = (f"{seconds:.4g}" for seconds in case.percentiles)
            lines.writerow([today, Path(__file__).stem, case.name.strip(), *numbers, "s", peak, *who])


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; this is also the child's door."""
    parser = argparse.ArgumentParser(description="Measure the workbook: writing, recalculating, starting.")
    parser.add_argument("--tiny", action="store_true", help="small sizes, once each")
    parser.add_argument(
        "--runs", type=int, default=5, help="runs of each case (default 5; four times as many of start-up)"
    )
    parser.add_argument("--record", action="store_true", help="append the figures to a CSV file")
    parser.add_argument("--results", type=Path, default=RESULTS, help="that file (default benchmarks/results.csv)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.child:
        name, *rest = json.loads(chosen.child)
        print(json.dumps(CHILDREN[name](*rest) | {"peak": peak_mb()}))
        return 0
    if importlib.util.find_spec("labelsmooth") is None:
        parser.error("labelsmooth is not installed here: pip install -e .")
    cases, runs = Cases(), 1 if chosen.tiny else chosen.runs
    busy = f", load {os.getloadavg()[0]:.1f} before the first run" if hasattr(os, "getloadavg") else ""
    start_up(cases, 1 if chosen.tiny else 4 * runs)
    with tempfile.TemporaryDirectory() as folder:
        workbooks(cases, TINY if chosen.tiny else SIZES, runs, Path(folder))
    counted = "once" if runs == 1 else f"{runs} runs"
    print(f"{device()}{busy}; Python {platform.python_version()}; {counted}; seconds")
    print(table(cases, {} if chosen.tiny else TARGETS))  # a target is about a size
    if chosen.record:
        record(cases, chosen.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
