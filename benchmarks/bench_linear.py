"""What a linear layer and its loss cost on a CPU beside the three matrix products that nobody can save.

    python benchmarks/bench_linear.py             # about a quarter of an hour
    python benchmarks/bench_linear.py --tiny      # small shapes, once each: does the benchmark run
    python benchmarks/bench_linear.py --record    # also appends the figures to benchmarks/results.csv

What is compared with what:

- "three products" are hidden·Wᵀ into memory that is there, and the two products that bring a gradient of the logits back.
  "three products in chunks" are the same for as many rows at a time as we take, the weight's gradient added up: what is
  left of the three when the logits may not be held. Every other way is the loss and the gradients of hidden and weight,
  pushed with 1, into gradients that are new each time.
- All ways take turns, round after round, in one process for each shape; a figure is the median over the rounds, a ratio the
  median of the rounds' ratios. In its turn each way runs twice and the second run counts. A way that is slow leaves after
  its share of the time, but not before its second round.
- torch's own chunks are measured without smoothing, since with it they compute all the logits.
- Memory is what one forward and backward adds in a process that has done nothing else, less the gradients' own.
- All the logits are computed where they take less than a gigabyte.
"""

from __future__ import annotations

import argparse
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

from bench_loss import DTYPES, headline, held, options, record, setting
from bench_workbook import commit, device

SHAPES = [(2048, 512, 32000), (1024, 256, 128256), (256, 64, 1048576)]  # rows, width, classes
TINY = [(7, 3, 500)]
ITEMSIZE = {"float32": 4, "bfloat16": 2}
BARE = "three products"
IN_CHUNKS = "three products in chunks"
AIMS = {"ours": 1.15, "ours, prior": 1.15}  # of the three products
SHARE, LEAST = 8, 128 * 2**20  # memory: an eighth of the logits, or so many bytes, whichever is more
GIGABYTE = 2**30
WEIGHED = ("ours", "ours, prior", "torch's chunks, no smoothing", "all the logits, torch")  # whose memory is measured


# In the child: every way once a round --------------------------------------------------------------------------------


def products(hidden: Any, weight: Any) -> dict[str, Callable[[], Any]]:
    """The three matrix products, at once and in as many rows at a time as we take."""
    import torch

    from labelsmooth.losses._linear import rows_at_a_time
    from labelsmooth.losses._linear_loss import head_of

    classes, logits = len(weight), []
    chunk = rows_at_a_time(head_of(hidden, weight, None, classes, 0))

    @torch.no_grad()
    def at_once() -> Any:
        if not logits:
            logits.append(hidden.new_empty(len(hidden), classes))
        torch.mm(hidden, weight.t(), out=logits[0])
        return logits[0] @ weight, logits[0].t() @ hidden

    @torch.no_grad()
    def in_chunks() -> Any:
        z, to_hidden, to_weight = hidden.new_empty(chunk, classes), torch.empty_like(hidden), torch.zeros_like(weight)
        for some, to in zip(hidden.split(chunk), to_hidden.split(chunk), strict=True):
            part = torch.mm(some, weight.t(), out=z[: len(some)])
            torch.mm(part, weight, out=to)
            to_weight.addmm_(part.t(), some)
        return to_hidden, to_weight

    return {BARE: at_once, IN_CHUNKS: in_chunks}


def ways(rows: int, width: int, classes: int, dtype: str, *, compiled: bool = True) -> dict[str, Callable[[], Any]]:
    """Every way of computing loss and gradients, as a function of nothing."""
    import torch
    from torch import nn
    from torch.nn import functional

    from labelsmooth.losses import _cpu, cross_entropy, linear_cross_entropy

    assert _cpu.available(), _cpu.described()
    kind = getattr(torch, dtype)
    hidden = torch.randn(rows, width).to(kind).requires_grad_()
    weight = (torch.randn(classes, width) / width**0.5).to(kind).requires_grad_()
    label, prior = torch.randint(classes, (rows,)), torch.rand(classes).softmax(0)

    def trained(loss: Callable[[], Any]) -> Callable[[], Any]:
        def step() -> None:
            hidden.grad = weight.grad = None
            loss().backward()

        return step

    def ours(**words: Any) -> Callable[[], Any]:
        return trained(lambda: linear_cross_entropy(hidden, weight, label, label_smoothing=0.1, **words))

    def plain(h: Any, w: Any) -> Any:
        return functional.cross_entropy(functional.linear(h, w), label, label_smoothing=0.1)

    table = {
        **products(hidden, weight),
        "ours": ours(),
        "ours, prior": ours(prior=prior),
        "ours, loss a row": trained(
            lambda: linear_cross_entropy(hidden, weight, label, label_smoothing=0.1, reduction="none").mean()
        ),
    }
    if hasattr(nn, "LinearCrossEntropyOptions"):
        options = nn.LinearCrossEntropyOptions()
        table["torch's chunks, no smoothing"] = trained(
            lambda: functional.linear_cross_entropy(hidden, weight, label, options=options)
        )
    if rows * classes * hidden.itemsize < GIGABYTE:
        table["all the logits, our loss"] = trained(
            lambda: cross_entropy(functional.linear(hidden, weight), label, label_smoothing=0.1)
        )
        table["all the logits, torch"] = trained(lambda: plain(hidden, weight))
        if compiled:
            quick = torch.compile(plain, fullgraph=True)
            table["all the logits, torch.compile"] = trained(lambda: quick(hidden, weight))
    return table


def times(rows: int, width: int, classes: int, dtype: str, seconds: float) -> dict[str, list[float]]:
    """Seconds of every way, round by round."""
    table = ways(rows, width, classes, dtype)
    table[BARE]()
    found: dict[str, list[float]] = {name: [] for name in table}
    spent = dict.fromkeys(table, 0.0)
    end = time.perf_counter() + seconds
    for done in range(100 if seconds else 1):
        if done >= 3 and time.perf_counter() > end:
            break
        for name, way in table.items():
            if done >= 2 and spent[name] > seconds / len(table):
                continue
            begin = time.perf_counter()
            way()
            start = time.perf_counter()
            way()
            found[name].append(time.perf_counter() - start)
            spent[name] += time.perf_counter() - begin
    return found


def peak(rows: int, width: int, classes: int, dtype: str, name: str) -> float | None:
    """Bytes that one run of a way adds at most, less the gradients; None where nobody counts."""
    if sys.platform != "linux":
        return None
    ways(2, 2, 3, dtype, compiled=False)[name]()  # whatever is loaded at first use
    way = ways(rows, width, classes, dtype, compiled=False)[name]
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = held()["VmRSS"]
    way()
    return (held()["VmHWM"] - before) * 1024 - (rows + classes) * width * ITEMSIZE[dtype]


CHILDREN = {"times": times, "peak": peak}


# In the parent: a line for each way -----------------------------------------------------------------------------------


def child(job: list[Any], threads: int) -> Any:
    """Run one job in a fresh process."""
    command = [sys.executable, __file__, "--child", json.dumps(job)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{job} failed: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


def line_of(case: str, name: str, found: dict[str, list[float]], top: float | None, logits: int, *, aims: bool) -> str:
    """What is printed of one way."""
    line = f"{case} {name:<30}{median(found[name]) * 1e3:12.1f} ms"
    if name != BARE:
        ratio = median(a / b for a, b in zip(found[name], found[BARE], strict=False))
        line += f"{ratio:8.2f} x {BARE}{verdict(ratio, AIMS.get(name) if aims else None)}"
    if name in AIMS:
        line += f"{median(a / b for a, b in zip(found[name], found[IN_CHUNKS], strict=False)):6.2f} x those in chunks"
    if top is not None:
        most = max(logits / SHARE, LEAST) / 1e6
        line += f"{top / 1e6:9.0f} MB{verdict(top / 1e6, most if aims and name in AIMS else None)}"
    return line


def verdict(got: float, aim: float | None) -> str:
    """Whether a figure is what it should be, where it should be anything."""
    return "" if aim is None else "+" if got <= aim else f" (aim {aim:.4g})"


def row_to_record(case: str, name: str, seconds: list[float], top: float | None) -> list[str]:
    """A line of results.csv."""
    versions = " ".join(f"{library} {version(library)}" for library in ("torch", "numpy")) + f" {setting()}"
    tenths = quantiles(seconds * 2 if len(seconds) == 1 else seconds, n=10, method="inclusive")
    return [datetime.now(UTC).date().isoformat(), "bench_linear", f"{case} {name}",
            *(f"{tenths[at]:.4g}" for at in (1, 4, 7)), "s", "" if top is None else f"{top / 1e6:.1f}", device(),
            platform.python_version(), versions, commit()]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; this is also the child's door."""
    chosen = options(arguments, "Measure a linear layer and its loss beside three matrix products.", seconds=120)
    if chosen.child:
        name, *rest = json.loads(chosen.child)
        print(json.dumps(CHILDREN[name](*rest)))
        return 0
    print(headline(chosen))
    print("loss and gradients at label_smoothing 0.1; memory beside inputs and gradients; + where the aim is reached")
    print("dtype, rows x width x classes: way")
    for dtype in chosen.dtype or DTYPES:
        for shape in TINY if chosen.tiny else SHAPES:
            if chosen.classes in {None, shape[2]} and (dtype == "float32" or shape[2] < 10**6):
                measure(shape, dtype, chosen)
    return 0


def measure(shape: tuple[int, int, int], dtype: str, chosen: argparse.Namespace) -> None:
    """Measure, print and record every way of one shape."""
    found = child(["times", *shape, dtype, 0 if chosen.tiny else chosen.seconds], chosen.threads)
    case = f"{dtype} {' x '.join(map(str, shape))}, {chosen.threads} threads:"
    logits = shape[0] * shape[2] * ITEMSIZE[dtype]
    for name, seconds in found.items():
        top = child(["peak", *shape, dtype, name], chosen.threads) if name in WEIGHED else None
        print(line_of(case, name, found, top, logits, aims=not chosen.tiny), flush=True)
        if chosen.record:
            record([row_to_record(case, name, seconds, top)], chosen.results)


if __name__ == "__main__":
    sys.exit(main())
