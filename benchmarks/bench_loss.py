"""How fast the loss is on a CPU, and how much memory it takes, beside PyTorch's own in the same minutes.

    python benchmarks/bench_loss.py             # about ten minutes; a table for each dtype
    python benchmarks/bench_loss.py --tiny      # small shapes, once each: does the benchmark run
    python benchmarks/bench_loss.py --record    # also appends the figures to benchmarks/results.csv

What is compared with what:

- All ways take turns, round after round, in one process for each shape; a figure is the median over the rounds, a ratio
  the median of the rounds' ratios. A busy moment of the machine hits both sides of it.
- In its turn each way runs twice and the second run counts: it finds the memory that it has left itself, as in a training
  loop. A virtual machine takes free memory away within seconds, and the first run would pay for getting it back.
- Logits come out of a node of the graph that costs nothing and drops their gradient, as a head's output does: no leaf,
  so that the gradient may be written over them, and no accumulation into `.grad`. Its memory is allocated anew in each
  round, except where "in place" or "reused" says otherwise.
- "timm's form" is log-softmax, the label's entry and the mean of all, as timm's LabelSmoothingCrossEntropy has it.
- "copy" reads the logits and writes them elsewhere, into memory that is there already: the least that reading and writing
  can cost. Two reads and a write, which is what a loss and its backward need, are one and a half copies.
- Peak memory is what one forward and backward adds in a process that has done nothing else, over the logits' size.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench_workbook import COLUMNS, RESULTS, commit, device

SHAPES = [(16, 10), (256, 10), (256, 1000), (4096, 1000), (512, 21841), (1024, 32000), (512, 128256)]
TINY = [(3, 5000)]
DTYPES = ("float32", "bfloat16")
ROUNDS = 400  # at most, where the time allows so many
PEERS = {  # what each of our ways is measured against
    "ours": "torch",
    "ours, pushed 1/4": "torch, pushed 1/4",
    "ours in place": "torch",
    "ours in one call": "torch",
    "ours forward": "torch forward",
}
# At least so many times faster than the peer, at most so many copies; for the large shapes in the order of SHAPES[2:].
FASTER = {
    "ours": (1.8, 3, 5.5, 5.5, 5.5),
    "ours, pushed 1/4": (1.8, 3, 5.5, 5.5, 5.5),
    "ours in place": (0, 0, 10, 10, 10),
    "ours in one call": (0, 0, 6.5, 6.5, 6.5),
    "ours forward": (3.5, 3.5, 8, 8, 8),
}
COPIES = {"ours in place": 1.9, "ours in one call, reused": 1.35}
MEMORY = {"ours": 1.0, "ours in place": 0.05}
SMALL = 1.0  # no slower than PyTorch on the first two shapes


# In the child: every way once a round --------------------------------------------------------------------------------


def ways(rows: int, classes: int, dtype: str, *, compiled: bool = True) -> dict[str, Callable[[], Any]]:
    """Every way of computing loss and gradient, as a function of nothing."""
    import torch
    from torch.nn import functional

    from labelsmooth.losses import _cpu as library
    from labelsmooth.losses import cross_entropy
    from labelsmooth.losses._options import Charge

    assert library.available(), library.described()
    data = (torch.randn(rows, classes) * 3).to(getattr(torch, dtype))
    label, handle = torch.randint(classes, (rows,)), torch.zeros((), requires_grad=True)
    reused = torch.empty_like(data)

    class Head(torch.autograd.Function):
        @staticmethod
        def forward(_ctx: Any, _handle: Any) -> Any:
            return data.view_as(data)

        @staticmethod
        def backward(_ctx: Any, _gradient: Any) -> None:
            return None

    def trained(loss: Callable[[Any], Any]) -> Callable[[], Any]:
        return lambda: loss(Head.apply(handle)).backward()

    def plain(z: Any) -> Any:
        return functional.cross_entropy(z, label, label_smoothing=0.1)

    def timms(z: Any) -> Any:
        log_p = z.log_softmax(-1)
        return (-0.9 * log_p.gather(-1, label[:, None])[:, 0] - 0.1 * log_p.mean(-1)).mean()

    def ours(z: Any, **words: Any) -> Any:
        return cross_entropy(z, label, label_smoothing=0.1, **words)

    def once() -> Any:
        up = torch.full((rows,), 1 / rows)
        loss, stats = torch.empty(rows), torch.empty(3, rows)
        library.call(library.BOTH, data, label, Charge(0.9, 0.1), loss=loss, stats=stats, gradient=reused, up=up)
        return loss.mean()

    table = {
        "copy": lambda: reused.copy_(data),
        "torch": trained(plain),
        "torch, pushed 1/4": trained(lambda z: plain(z) / 4),
        "torch forward": lambda: plain(data),
        "timm's form": trained(timms),
        "ours": trained(ours),
        "ours, pushed 1/4": trained(lambda z: ours(z) / 4),
        "ours in one call": trained(lambda z: ours(z, gradient_in_forward=True)),
        "ours in one call, reused": once,
        "ours forward": lambda: ours(data),
        "ours in place": trained(lambda z: ours(z, inplace=True)),
    }
    if compiled:
        quick = torch.compile(plain, fullgraph=True)
        table["torch.compile"] = trained(quick)
        table["torch.compile forward"] = lambda: quick(data)
    return table


def times(rows: int, classes: int, dtype: str, seconds: float) -> dict[str, list[float]]:
    """Seconds of every way, round by round."""
    table = ways(rows, classes, dtype)
    for way in table.values():
        way()
        way()
    found: dict[str, list[float]] = {name: [] for name in table}
    end = time.perf_counter() + seconds
    for done in range(ROUNDS if seconds else 1):
        if done >= 5 and time.perf_counter() > end:
            break
        for name, way in table.items():
            way()
            start = time.perf_counter()
            way()
            found[name].append(time.perf_counter() - start)
    return found


def peak(rows: int, classes: int, dtype: str, name: str) -> float | None:
    """Bytes that one run of a way adds at most, over those of the logits; None where nobody counts."""
    if sys.platform != "linux":
        return None
    ways(2, 3, dtype, compiled=False)[name]()  # whatever is loaded at first use
    table = ways(rows, classes, dtype, compiled=False)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = held()["VmRSS"]
    table[name]()
    itemsize = {"float32": 4, "bfloat16": 2}[dtype]
    return (held()["VmHWM"] - before) * 1024 / (rows * classes * itemsize)


def held() -> dict[str, int]:
    """Kilobytes of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return {
        key: int(rest.split()[0]) for key, _, rest in (line.partition(":") for line in lines) if rest.endswith("kB")
    }


CHILDREN = {"times": times, "peak": peak}


# In the parent: a table -----------------------------------------------------------------------------------------------


def child(job: list[Any], threads: int) -> Any:
    """Run one job in a fresh process."""
    command = [sys.executable, __file__, "--child", json.dumps(job)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{job} failed: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


def ratio(found: dict[str, list[float]], name: str, other: str) -> float:
    """How many times faster `name` is than `other`, in the middle of the rounds."""
    return median(b / a for a, b in zip(found[name], found[other], strict=True))


def verdict(at_least: float, got: float) -> str:
    """A ratio, and whether it is what it should be."""
    return f"{got:6.2f}" + (" " if not at_least else "+" if got >= at_least else f"  (aim {at_least:g})")


def report(shape: tuple[int, int], found: dict[str, list[float]], peaks: dict[str, float | None]) -> list[str]:
    """The lines of one shape."""
    rows, classes = shape
    lines = [f"{rows} x {classes}"]
    place = SHAPES.index(shape) - 2 if shape in SHAPES else None
    for name, seconds in found.items():
        line = f"  {name:<26}{median(seconds) * 1e3:12.4f} ms"
        if peer := PEERS.get(name):
            aim = (
                0.0 if place is None else (SMALL if "one call" not in name else 0) if place < 0 else FASTER[name][place]
            )
            line += f"   faster than {peer}: {verdict(aim, ratio(found, name, peer))}"
            line += f", than torch.compile: {ratio(found, name, compiled_peer(name)):.2f}"
        if name != "copy" and (place is None or place >= 0):
            copies = 1 / ratio(found, name, "copy")
            aim = COPIES.get(name) if place is not None and place >= 2 else None
            line += f"   copies: {copies:.2f}" + ("" if aim is None else "+" if copies <= aim else f" (aim {aim:g})")
        if peaks.get(name) is not None:
            line += f"   memory: {peaks[name]:.2f} x the logits"
            if name in MEMORY and place is not None and place >= 2:
                line += "+" if peaks[name] <= MEMORY[name] + 0.02 else f" (aim {MEMORY[name]:g})"  # 0.02: the labels
        lines.append(line)
    return lines


def compiled_peer(name: str) -> str:
    """The same work compiled."""
    return "torch.compile forward" if "forward" in name else "torch.compile"


def record(lines: list[list[str]], file: Path) -> None:
    """Append lines, the columns' names first where there is no file yet."""
    there = file.is_file()
    with file.open("a", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if not there:
            writer.writerow(COLUMNS)
        writer.writerows(lines)


def rows_to_record(
    case: str, found: dict[str, list[float]], peaks: dict[str, float | None], mb: float
) -> list[list[str]]:
    """A line for each way of one shape."""
    versions = " ".join(f"{name} {version(name)}" for name in ("torch", "numpy")) + f" {setting()}"
    who = [device(), platform.python_version(), versions, commit()]
    lines = []
    for name, seconds in found.items():
        tenths = quantiles(seconds * 2 if len(seconds) == 1 else seconds, n=10, method="inclusive")
        top = peaks.get(name)
        numbers = [f"{tenths[at]:.4g}" for at in (1, 4, 7)]
        today = datetime.now(UTC).date().isoformat()
        lines.append(
            [today, "bench_loss", f"{case} {name}", *numbers, "s", "" if top is None else f"{top * mb:.1f}", *who]
        )
    return lines


def setting() -> str:
    """What of the allocator was set from outside, since page faults are half of what is measured."""
    names = ("THP_MEM_ALLOC_ENABLE", "GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "LD_PRELOAD", "LABELSMOOTH_CPU")
    said = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    return "allocator " + (" ".join(said) or "default")


def options(arguments: list[str] | None, description: str, seconds: float) -> argparse.Namespace:
    """Read what the loss's benchmarks are asked for."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--tiny", action="store_true", help="small shapes, once each")
    parser.add_argument(
        "--seconds", type=float, default=seconds, help=f"for each shape and dtype (default {seconds:g})"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads (default: one a core)")
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="only this one")
    parser.add_argument("--classes", type=int, help="only shapes with so many classes")
    parser.add_argument("--record", action="store_true", help="append the figures to a CSV file")
    parser.add_argument("--results", type=Path, default=RESULTS, help="that file (default benchmarks/results.csv)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def headline(chosen: argparse.Namespace) -> str:
    """Say where this is measured."""
    where = f"{device()}; {chosen.threads} threads; Python {platform.python_version()}; torch {version('torch')}"
    return f"{where}; {setting()}"


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; this is also the child's door."""
    chosen = options(arguments, "Measure the loss on a CPU beside PyTorch's own.", seconds=20)
    if chosen.child:
        name, *rest = json.loads(chosen.child)
        print(json.dumps(CHILDREN[name](*rest)))
        return 0
    print(headline(chosen))
    for dtype in chosen.dtype or DTYPES:
        print(f"\n{dtype}, label_smoothing 0.1; + where the aim is met")
        for shape in TINY if chosen.tiny else SHAPES:
            if chosen.classes in {None, shape[1]}:
                found = child(["times", *shape, dtype, 0 if chosen.tiny else chosen.seconds], chosen.threads)
                large = chosen.tiny or shape[0] * shape[1] > 10**6
                names = ("torch", "ours", "ours in place") if large else ()
                peaks = {name: child(["peak", *shape, dtype, name], chosen.threads) for name in names}
                print("\n".join(report(shape, found, peaks)), flush=True)
                if chosen.record:
                    mb = shape[0] * shape[1] * (4 if dtype == "float32" else 2) / 1e6
                    case = f"{dtype} {shape[0]} x {shape[1]}, {chosen.threads} threads:"
                    record(rows_to_record(case, found, peaks, mb), chosen.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
