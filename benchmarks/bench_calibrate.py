"""How long a calibration takes, and in how much memory: small, and of more rows than fit into memory.

    python benchmarks/bench_calibrate.py             # a million rows of 1,000 classes too: 2 GB of disk, minutes
    python benchmarks/bench_calibrate.py --tiny      # small sizes, once each
    python benchmarks/bench_calibrate.py --record    # also appends the figures to benchmarks/results.csv

Each case has a process of its own. What is timed is opening the file and everything up to the recommendation; writing the file,
starting Python and importing are not. `mapped` is a .npy of float16, `parquet` a column a class of float32, `memory` an array.
The report is timed by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import bench_diagnose
from bench_workbook import RESULTS, Cases, device, peak_mb, table, timed

KINDS = ("memory", "mapped", "parquet")
SIZES = {
    "memory": ((10_000, 10), (100_000, 100)),
    "mapped": ((100_000, 1_000), (1_000_000, 1_000)),
    "parquet": ((100_000, 1_000),),
}
TINY = {"memory": ((300, 5),), "mapped": ((300, 5),), "parquet": ((300, 5),)}
AIMS = {"memory 10000 x 10": 2.0, "mapped 1000000 x 1000": 600.0}  # seconds
STEP = 10_000  # rows that are drawn at once


def blocks(rows: int, classes: int) -> Any:
    """Logits of an over-confident model and labels, some rows at a time."""
    import numpy as np

    random = np.random.default_rng(0)
    for start in range(0, rows, STEP):
        z = random.normal(0, 2, (min(STEP, rows - start), classes)).astype(np.float32)
        yield 3 * z, (z + random.gumbel(size=z.shape)).argmax(axis=1)


def written(kind: str, rows: int, classes: int, folder: Path) -> tuple[Path, Path]:
    """A file of logits and one of labels."""
    import numpy as np

    labels = np.empty(rows, np.int64)
    target = folder / ("z.npy" if kind == "mapped" else "z.parquet")
    if kind == "mapped":
        out = np.lib.format.open_memmap(target, "w+", np.float16, (rows, classes))
        for i, (z, y) in enumerate(blocks(rows, classes)):
            place = slice(i * STEP, i * STEP + len(y))
            out[place], labels[place] = z, y
        out.flush()
    else:
        import pyarrow as pa
        from pyarrow import parquet

        names = [f"c{k}" for k in range(classes)]
        schema = pa.schema([(name, pa.float32()) for name in names])
        with parquet.ParquetWriter(target, schema) as writer:
            for i, (z, y) in enumerate(blocks(rows, classes)):
                labels[i * STEP : i * STEP + len(y)] = y
                writer.write_table(pa.table(dict(zip(names, z.T, strict=True)), schema=schema))
    np.save(folder / "y.npy", labels)
    return target, folder / "y.npy"


def run(kind: str, rows: int, classes: int, runs: int, folder: str) -> dict[str, Any]:
    """Measure one case; its files were written by another process, so that the peak is the measurement's."""
    import numpy as np

    from labelsmooth.calibration.calibrate import Given, calibrate
    from labelsmooth.calibration.report import report
    from labelsmooth.files import open_stream, stream_of

    if kind == "write":
        written(Path(folder).name, rows, classes, Path(folder))
        return {}
    labels = Path(folder) / "y.npy"
    file = Path(folder) / ("z.npy" if kind == "mapped" else "z.parquet")
    if kind == "memory":
        z, y = (np.concatenate(part) for part in zip(*blocks(rows, classes), strict=True))
    seconds = []
    for _ in range(runs):
        opened = (lambda: stream_of(z, y)) if kind == "memory" else (lambda: open_stream(file, labels=labels))
        spent, found = timed(lambda opened=opened: calibrate([Given(opened())]))
        seconds.append(spent)
        if not abs(found.run.temperature.value - 3) < (1.5 if rows < STEP else 0.2):
            raise RuntimeError(f"{kind}: T = {found.run.temperature.value}, 3 is right")
    peak = peak_mb()
    return {"seconds": seconds, "peak": peak, "report": [timed(lambda: report(found))[0] for _ in range(runs)]}


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; this is also the child's door."""
    parser = argparse.ArgumentParser(description="Measure the calibration.")
    parser.add_argument("--tiny", action="store_true", help="small sizes, once each")
    parser.add_argument("--runs", type=int, default=3, help="runs of each case (default 3)")
    parser.add_argument("--record", action="store_true", help="append the figures to a CSV file")
    parser.add_argument("--results", type=Path, default=RESULTS, help="that file (default benchmarks/results.csv)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.child:
        print(json.dumps(run(*json.loads(chosen.child))))
        return 0
    cases, runs = Cases(), 1 if chosen.tiny else chosen.runs
    busy = f", load {os.getloadavg()[0]:.1f} before the first run" if hasattr(os, "getloadavg") else ""
    for kind in KINDS:
        for rows, classes in (TINY if chosen.tiny else SIZES)[kind]:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / kind
                folder.mkdir()
                if kind != "memory":
                    bench_diagnose.child(["write", rows, classes, 1, str(folder)], script=__file__)
                times = runs if rows * classes < 10**9 else 1
                answer = bench_diagnose.child([kind, rows, classes, times, str(folder)], script=__file__)
            name = f"{kind} {rows} x {classes}"
            for spent, drawing in zip(answer["seconds"], answer["report"], strict=True):
                cases.add(name, spent, answer["peak"], name)
                cases.add(f"{name}, report", drawing, None)
    print(f"{device()}{busy}; Python {platform.python_version()}; {runs} runs, of the largest 1; seconds")
    print(table(cases, {} if chosen.tiny else AIMS))
    if chosen.record:
        bench_diagnose.record(cases, chosen.results, benchmark=Path(__file__).stem)
    return 0


if __name__ == "__main__":
    sys.exit(main())
