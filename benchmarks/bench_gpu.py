"""What the loss costs on a GPU beside a copy of the logits, PyTorch, torch.compile and Liger.

    make bench-gpu                             # the tests that need a GPU, then this
    python benchmarks/bench_gpu.py             # about five minutes; two tables
    python benchmarks/bench_gpu.py --tiny      # small shapes, a few times each: does the benchmark run
    python benchmarks/bench_gpu.py --record    # also appends the figures to benchmarks/results.csv

What is compared with what:

- All ways take turns, round after round, in one process; a figure is the median over the rounds, a ratio the median of the
  rounds' ratios. In its turn each way is queued twice, and the second run is timed by two CUDA events: the device never
  waits for Python, and finds the memory that it has left itself.
- "copy" reads the logits and writes as many bytes elsewhere: the least that loss and gradient can cost. Loss and backward
  in two calls read twice and write once, which is one and a half copies.
- Logits come out of a node of the graph that costs nothing and drops their gradient, as a head's output does.
- "over the logits" is the kernel by itself, loss and gradient in one call, as the chunks of a large head use it.
- Liger's loss is measured where `liger_kernel` is installed (pip install liger-kernel). It writes its gradient over the
  logits, so what stands beside it is "in one call" and "over the logits".
- The large head is measured beside its three matrix products; torch's own chunks without smoothing, since with it they
  compute all the logits. Memory is what one run adds at most, gradients included.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench_loss import record
from bench_workbook import RESULTS, commit

SHAPES = [(8192, 32000, "bfloat16"), (8192, 128256, "bfloat16"), (16384, 131072, "bfloat16"), (8192, 128256, "float32")]
TINY = [(8, 1000, "bfloat16"), (3, 9000, "float32")]
HEAD, TINY_HEAD = (4096, 4096, 128256), (16, 32, 500)  # rows, width, classes
ROUNDS, TINY_ROUNDS = 30, 2
NO_GPU = "no GPU that PyTorch can use: this benchmark measures nothing elsewhere; see docs/gpu.md for what was checked without"
PRODUCTS = "three products"

# How many copies each way may cost: rows of float32 at 128,256 classes do not fit the L2 cache while they are read twice.
COPIES = {"ours": 1.75, "ours in one call": 1.25, "ours over the logits": 1.25}
BEYOND_CACHE = {(8192, 128256, "float32"): 1.6}
HEAD_AIM = 1.5  # of the three products
PEERS = ("torch.compile", "Liger")
Ways = dict[str, Callable[[], Any]]


# The ways -------------------------------------------------------------------------------------------------------------


def trained(loss: Callable[[Any], Any], data: Any) -> Callable[[], None]:
    """Give loss and backward on logits that are no leaf and whose gradient nobody keeps."""
    import torch

    handle = torch.zeros((), requires_grad=True, device=data.device)

    class Head(torch.autograd.Function):
        @staticmethod
        def forward(_ctx: Any, _handle: Any) -> Any:
            return data.view_as(data)

        @staticmethod
        def backward(_ctx: Any, _gradient: Any) -> None:
            return None

    return lambda: loss(Head.apply(handle)).backward()


def ways(rows: int, classes: int, dtype: str, device: str) -> Ways:
    """Every way of computing loss and gradient, as a function of nothing."""
    import torch
    from torch.nn import functional

    from labelsmooth.losses import cross_entropy
    from labelsmooth.losses._cpu import BOTH
    from labelsmooth.losses._libraries import LIBRARIES
    from labelsmooth.losses._options import Charge

    data = torch.randn(rows, classes, device=device).mul_(3).to(getattr(torch, dtype))
    label = torch.randint(classes, (rows,), device=device)
    there, up = torch.empty_like(data), torch.full((rows,), 1 / rows, device=device)
    loss, stats = torch.empty(rows, device=device), torch.empty(3, rows, device=device)

    def plain(z: Any) -> Any:
        return functional.cross_entropy(z, label, label_smoothing=0.1)

    def ours(**words: Any) -> Callable[[], None]:
        return trained(lambda z: cross_entropy(z, label, label_smoothing=0.1, **words), data)

    def over() -> None:
        LIBRARIES[device].call(BOTH, there, label, Charge(0.9, 0.1), loss=loss, stats=stats, gradient=there, up=up)

    table: Ways = {
        "copy": lambda: there.copy_(data),
        "torch": trained(plain, data),
        "torch.compile": trained(torch.compile(plain, fullgraph=True), data),
        "ours": ours(),
        "ours in one call": ours(gradient_in_forward=True),
        "ours over the logits": over,
        "ours forward": lambda: cross_entropy(data, label, label_smoothing=0.1),
    }
    if find_spec("liger_kernel") is not None:
        from liger_kernel.transformers import LigerCrossEntropyLoss

        liger = LigerCrossEntropyLoss(label_smoothing=0.1)
        table["Liger"] = trained(lambda z: liger(z, label), there)  # it would overwrite what the others read
    return table


def ways_of_a_head(rows: int, width: int, classes: int, device: str) -> Ways:
    """Every way of computing a large head's loss and gradients."""
    import torch
    from torch import nn
    from torch.nn import functional

    from labelsmooth.losses import cross_entropy, linear_cross_entropy

    hidden = torch.randn(rows, width, device=device).to(torch.bfloat16).requires_grad_()
    weight = (torch.randn(classes, width, device=device) / width**0.5).to(torch.bfloat16).requires_grad_()
    label = torch.randint(classes, (rows,), device=device)

    def products() -> Any:
        with torch.no_grad():
            z = hidden @ weight.t()
            return z @ weight, z.t() @ hidden

    def step(loss: Callable[[Any, Any], Any]) -> Callable[[], None]:
        def run() -> None:
            hidden.grad = weight.grad = None
            loss(hidden, weight).backward()

        return run

    def plain(h: Any, w: Any) -> Any:
        return functional.cross_entropy(functional.linear(h, w), label, label_smoothing=0.1)

    table: Ways = {
        PRODUCTS: products,
        "ours": step(lambda h, w: linear_cross_entropy(h, w, label, label_smoothing=0.1)),
        "all the logits, ours": step(
            lambda h, w: cross_entropy(functional.linear(h, w), label, label_smoothing=0.1, inplace=True)
        ),
        "all the logits, torch": step(plain),
        "all the logits, torch.compile": step(torch.compile(plain, fullgraph=True)),
    }
    if hasattr(nn, "LinearCrossEntropyOptions"):
        chosen = nn.LinearCrossEntropyOptions()
        table["torch's chunks, no smoothing"] = step(
            lambda h, w: functional.linear_cross_entropy(h, w, label, options=chosen)
        )
    if find_spec("liger_kernel") is not None:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        liger = LigerFusedLinearCrossEntropyLoss(label_smoothing=0.1)
        table["Liger"] = step(lambda h, w: liger(w, h, label))
    return table


# The measuring --------------------------------------------------------------------------------------------------------


def clock(way: Callable[[], Any]) -> float:
    """Seconds of a run on the device, the one before it still under way when it is queued."""
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    way()
    begin.record()
    way()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def peak(way: Callable[[], Any]) -> float:
    """Bytes that one run adds at most."""
    import torch

    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    way()
    torch.cuda.synchronize()
    return float(torch.cuda.max_memory_allocated() - before)


def times(table: Ways, rounds: int) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds of every way, round by round, and why a way has none."""
    import torch

    found: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    for name, way in table.items():
        try:
            way()  # compiles what has to be compiled
            clock(way)
            found[name] = []
        except torch.OutOfMemoryError:
            failed[name] = "out of memory"
        except Exception as error:
            if "ours" in name:
                raise
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    for _ in range(rounds):
        for name, seconds in found.items():
            seconds.append(clock(table[name]))
    return found, failed


# The tables -----------------------------------------------------------------------------------------------------------


def ratio(found: dict[str, list[float]], name: str, other: str) -> float:
    """How many times longer `name` takes than `other`, in the middle of the rounds."""
    return median(a / b for a, b in zip(found[name], found[other], strict=True))


def verdict(got: float, most: float | None) -> str:
    """A ratio, and whether it is what it should be."""
    return f"{got:6.2f}" + ("" if most is None else "+" if got <= most else f" (aim {most:g})")


def lines_of_logits(shape: tuple[int, int, str], found: dict[str, list[float]], failed: dict[str, str]) -> list[str]:
    """What is printed of one shape."""
    rows, classes, dtype = shape
    moved = 2 * rows * classes * (4 if dtype == "float32" else 2)
    lines = [f"{dtype} {rows} x {classes}"]
    for name, seconds in found.items():
        aim = COPIES.get(name) if shape in SHAPES else None
        if aim is not None and name != "ours":
            aim = BEYOND_CACHE.get(shape, aim)
        line = f"  {name:<24}{median(seconds) * 1e3:10.4f} ms   copies: {verdict(ratio(found, name, 'copy'), aim)}"
        if name == "copy":
            line += f"   {moved / median(seconds) / 1e12:.2f} TB/s"
        if name.startswith("ours") and "forward" not in name:
            line += "".join(f"   of {peer}: {verdict(ratio(found, name, peer), 1.0 if shape in SHAPES else None)}"
                            for peer in PEERS if peer in found)  # fmt: skip
        lines.append(line)
    return lines + [f"  {name:<24}not measured: {why}" for name, why in failed.items()]


def lines_of_head(
    shape: tuple[int, int, int], found: dict[str, list[float]], failed: dict[str, str], peaks: dict[str, float]
) -> list[str]:
    """What is printed of the large head."""
    lines = [f"bfloat16 {' x '.join(map(str, shape))}: loss and gradients of hidden states and weight"]
    for name, seconds in found.items():
        aim = HEAD_AIM if name == "ours" and shape == HEAD else None
        line = f"  {name:<30}{median(seconds) * 1e3:10.3f} ms   of the products: {verdict(ratio(found, name, PRODUCTS), aim)}"
        lines.append(f"{line}   {peaks[name] / 1e6:9.0f} MB")
    return lines + [f"  {name:<30}not measured: {why}" for name, why in failed.items()]


def to_record(case: str, found: dict[str, list[float]], peaks: dict[str, float], device: str) -> list[list[str]]:
    """A line of results.csv for each way."""
    names = [name for name in ("torch", "triton", "liger-kernel") if find_spec(name.replace("-", "_")) is not None]
    versions = " ".join(f"{name} {version(name)}" for name in names)
    lines = []
    for name, seconds in found.items():
        tenths = quantiles(seconds, n=10, method="inclusive")
        numbers = [f"{tenths[at]:.4g}" for at in (1, 4, 7)]
        top = f"{peaks[name] / 1e6:.1f}" if name in peaks else ""
        lines.append([datetime.now(UTC).date().isoformat(), "bench_gpu", f"{case} {name}", *numbers, "s", top, device,
                      platform.python_version(), versions, commit()])  # fmt: skip
    return lines


def gpu() -> str | None:
    """Name the GPU, where there is one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def main(arguments: list[str] | None = None, device: str = "cuda") -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the loss on a GPU.")
    parser.add_argument("--tiny", action="store_true", help="small shapes, a few times each")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each way (default {ROUNDS})")
    parser.add_argument("--record", action="store_true", help="append the figures to a CSV file")
    parser.add_argument("--results", type=Path, default=RESULTS, help="that file (default benchmarks/results.csv)")
    chosen = parser.parse_args(arguments)
    name = gpu()
    if name is None:
        print(f"bench_gpu: {NO_GPU}", file=sys.stderr)
        return 2
    from labelsmooth.losses import kernels

    print(f"{name}; torch {version('torch')}; {kernels()['cuda']}")
    print("loss and gradient at label_smoothing 0.1; + where the aim is reached")
    rounds = TINY_ROUNDS if chosen.tiny else chosen.rounds
    for shape in TINY if chosen.tiny else SHAPES:
        found, failed = times(ways(*shape, device), rounds)
        print("\n".join(lines_of_logits(shape, found, failed)), flush=True)
        if chosen.record:
            record(to_record(f"{shape[2]} {shape[0]} x {shape[1]}:", found, {}, name), chosen.results)
    head = TINY_HEAD if chosen.tiny else HEAD
    table = ways_of_a_head(*head, device)
    found, failed = times(table, rounds)
    peaks = {way: peak(table[way]) for way in found}
    print("\n".join(lines_of_head(head, found, failed, peaks)), flush=True)
    if chosen.record:
        record(to_record(f"bfloat16 {' x '.join(map(str, head))}:", found, peaks, name), chosen.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
