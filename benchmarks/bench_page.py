"""How long the page takes from a slider's move to the drawn frame, in a real browser.

    python benchmarks/bench_page.py             # half a minute; a table
    python benchmarks/bench_page.py --tiny      # a few moves
    python benchmarks/bench_page.py --record    # also appends the figures to benchmarks/results.csv

A move is what the browser sends when a slider is dragged: its value changes and `input` follows. `work` ends when what is
in view is drawn and laid out; what is out of view waits until the hand rests. `frame` ends after the browser has painted, with
the limit of 60 frames a second taken off, so that it counts work and not waiting. For ε the panels 2 to 4 are in view, which
draw most; for the other two sliders the panel they stand in. `cpu` is the same move in the clock of the browser's main thread,
painting included: on a busy machine it is the one to read. Needs Chromium and Playwright.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from bench_workbook import COLUMNS, RESULTS, Cases, commit, device, table
from playwright.sync_api import sync_playwright

from labelsmooth.maths.trace import prepare
from labelsmooth.page.build import Preset, build, rows_shown

SIZES = ((5, 10), (5, 100))  # N, K
SLIDERS = {"eps": (0.01, 0.99), "temperature": (-0.9, 0.9), "logit": (-4, 12)}
VIEWS = {"eps": "fig-target", "temperature": "temperature", "logit": "logit"}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-frame-rate-limit", "--disable-gpu-vsync"]
MOVE = """async ([id, moves, low, high]) => {
  const slider = document.getElementById(id), work = [], frame = [];
  const painted = () => new Promise((done) => requestAnimationFrame(() => { const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => done(); port2.postMessage(0); }));
  for (let i = 0; i < moves; i++) {
    slider.value = low + ((high - low) * ((i * 7) % moves)) / moves;
    const start = performance.now();
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    document.body.getBoundingClientRect();
    work.push(performance.now() - start);
    await painted();
    frame.push(performance.now() - start);
  }
  return { work, frame };
}"""


def page_of(rows: int, classes: int) -> str:
    """A page with a batch of that size."""
    z = np.random.default_rng(0).normal(0, 2, (rows, classes))
    problem = prepare(z, np.arange(rows) % classes)
    return build([Preset("bench", "a batch", problem, *rows_shown(problem))])


def busy_seconds(session: Any) -> float:
    """How long the main thread has run so far, in its own clock."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def measured(browser: Any, moves: int) -> Iterator[tuple[str, list[float]]]:
    """The seconds of each move, by size, slider and where the clock stops."""
    with tempfile.TemporaryDirectory() as scratch:
        for rows, classes in SIZES:
            path = Path(scratch) / "page.html"
            path.write_text(page_of(rows, classes), encoding="utf-8")
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(path.as_uri())
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            for slider, ends in SLIDERS.items():
                page.evaluate("(id) => document.getElementById(id).scrollIntoView({ block: 'center' })", VIEWS[slider])
                page.evaluate(MOVE, [slider, 10, *ends])  # the first moves compile
                name, before = f"{slider} N={rows} K={classes}", busy_seconds(session)
                for what, times in page.evaluate(MOVE, [slider, moves, *ends]).items():
                    yield f"{name}: {what}", [max(ms, 0.01) / 1000 for ms in times]
                yield f"{name}: cpu", [(busy_seconds(session) - before) / moves]
            page.close()


def record(cases: Cases, file: Path, versions: str) -> None:
    """Append a line for each case."""
    there = file.is_file()
    with file.open("a", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        if not there:
            lines.writerow(COLUMNS)
        today, who = datetime.now(UTC).date().isoformat(), (device(), platform.python_version(), versions, commit())
        for case in cases.values():
            numbers = (f"{seconds:.4g}" for seconds in case.percentiles)
            lines.writerow([today, Path(__file__).stem, case.name, *numbers, "s", "", *who])


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the page.")
    parser.add_argument("--tiny", action="store_true", help="a few moves")
    parser.add_argument("--moves", type=int, default=100, help="moves of each slider (default 100)")
    parser.add_argument("--record", action="store_true", help="append the figures to a CSV file")
    parser.add_argument("--results", type=Path, default=RESULTS, help="that file (default benchmarks/results.csv)")
    chosen = parser.parse_args(arguments)
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    cases = Cases()
    busy = f", load {os.getloadavg()[0]:.1f} before the first run" if hasattr(os, "getloadavg") else ""
    targets: dict[str, float] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        for name, times in measured(browser, 3 if chosen.tiny else chosen.moves):
            if not chosen.tiny:
                targets[name] = 0.016 if "K=10:" in name else 0.050
            for seconds in times:
                cases.add(name, seconds, None, name)
        engine = browser.version
        browser.close()
    print(
        f"{device()}{busy}; Python {platform.python_version()}, playwright {version('playwright')}, Chromium {engine}; seconds"
    )
    print(table(cases, targets))
    if chosen.record:
        record(cases, chosen.results, f"Chromium {engine}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
