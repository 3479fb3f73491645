"""Each benchmark runs, on small sizes, and writes down what it measured. No test asserts a time."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agree import FLOAT64, agree

SCRIPTS = sorted(
    script for script in (Path(__file__).parent.parent / "benchmarks").glob("bench_*.py") if script.stem != "bench_gpu"
)
HEADER = "date,benchmark,case,p20,p50,p80,unit,peak_mb,device,python,versions,commit"


def _bench(root: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, root / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bench(root: Path) -> Any:
    return _bench(root, "bench_workbook")


def test_there_are_benchmarks() -> None:
    assert SCRIPTS


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_benchmark_runs_tiny_and_records_what_it_prints(
    script: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for library in ("xlsxwriter", "ironcalc", "click"):
        pytest.importorskip(library)
    if script.stem == "bench_page":
        request.getfixturevalue("chromium")
    results = tmp_path / "results.csv"
    command = [sys.executable, str(script), "--tiny", "--record", "--results", str(results)]
    if script.stem in {"bench_loss", "bench_linear"}:
        command += [
            "--dtype",
            "bfloat16",
        ]  # compiling the peers is what takes the time, and one dtype goes the whole way
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with results.open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) > 5
    for line in lines:
        assert line["case"].rsplit(": ", 1)[-1] in done.stdout  # a shape, then what was timed
        assert 0 < float(line["p20"]) <= float(line["p50"]) <= float(line["p80"])
        assert (line["benchmark"], line["unit"]) == (script.stem, "s")
    assert "missed" not in done.stdout  # a target is about a size
    assert "(aim " not in done.stdout
    if script.stem == "bench_workbook":
        cases = " | ".join(line["case"] for line in lines)
        for case in ("python -c pass", "import labelsmooth", "labelsmooth --help", "write 6 x 3 full", "IronCalc"):
            assert case in cases
        assert cases.count("engine evaluates") == 2  # once a layout
        printed = [line.strip() for line in done.stdout.splitlines()[3:]]
        assert all(shown.startswith(f"{line['case']} ") for line, shown in zip(lines, printed, strict=True))


def test_results_are_added_below_one_header(bench: Any, tmp_path: Path) -> None:
    for library in ("xlsxwriter", "ironcalc"):
        pytest.importorskip(library, reason=f"could not import {library!r}, whose version is recorded")
    cases = bench.Cases()
    cases.add("a case", 0.25, None)
    cases.add("  of it: a part, 1,000 x 10", 0.125, 61.4)
    for _ in range(2):
        bench.record(cases, tmp_path / "results.csv")
    header, *lines = (tmp_path / "results.csv").read_text(encoding="utf-8").splitlines()
    assert header == HEADER
    assert lines[:2] == lines[2:]
    first, second = csv.reader(lines[:2])
    assert first[1:8] == ["bench_workbook", "a case", "0.25", "0.25", "0.25", "s", ""]
    assert second[1:8] == ["bench_workbook", "of it: a part, 1,000 x 10", "0.125", "0.125", "0.125", "s", "61"]
    assert len(second) == len(HEADER.split(","))


def test_percentiles_are_those_of_the_runs(bench: Any) -> None:
    case = bench.Case("any")
    for seconds in (5.0, 1.0, 3.0, 2.0, 4.0, 6.0):
        case.add(seconds, None)
    agree(case.percentiles, [2.0, 3.5, 5.0], budget=FLOAT64, what="p20, p50, p80")
    single = bench.Case("once")
    single.add(0.25, None)
    agree(single.percentiles, [0.25] * 3, budget=FLOAT64, what="of a single run")


def test_the_peak_of_a_case_is_the_largest_of_its_runs_and_empty_where_nobody_counts(bench: Any) -> None:
    case, uncounted = bench.Case("any"), bench.Case("other")
    for peak in (40.0, 60.0, 50.0):
        case.add(1.0, peak)
        uncounted.add(1.0, None)
    assert (case.peak, uncounted.peak) == (60.0, None)


@pytest.mark.slow
def test_the_peak_sees_memory_of_the_process_itself_and_of_a_program_that_it_started(bench: Any, root: Path) -> None:
    pytest.importorskip("resource", reason="could not import 'resource', which counts memory")
    measure = "import importlib.util as u, sys; s = u.spec_from_file_location('b', sys.argv[1]);"
    measure += "m = u.module_from_spec(s); sys.modules['b'] = m; s.loader.exec_module(m);"
    large = "x = bytearray(200_000_000);"
    inside = f"import subprocess; subprocess.run([sys.executable, '-c', {large!r}], check=True);"
    between = "import subprocess, sys; subprocess.run(sys.argv[1:], check=True)"  # else the peak begins with pytest's
    peaks = []
    for work in ("", large, inside):
        code = f"{measure} {work} print(m.peak_mb())"
        command = [
            sys.executable,
            "-c",
            between,
            sys.executable,
            "-c",
            code,
            str(root / "benchmarks" / f"{bench.__name__}.py"),
        ]
        peaks.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    small, itself, started = peaks
    assert small < 100
    assert itself > 190
    assert started > 190


def test_a_missed_target_is_called_so(bench: Any) -> None:
    cases = bench.Cases()
    cases.add("quick", 0.5, 10.0, "goal")
    cases.add("slow", 1.5, 10.0, "goal")
    cases.add("free", 9.0, 10.0)
    quick, slow, free = bench.table(cases, {"goal": 1.0}).splitlines()[2:]
    assert quick.endswith("1 s: met")
    assert slow.endswith("1 s: missed")
    assert free.endswith(" 10")


def test_a_child_that_fails_ends_the_benchmark_with_its_message(bench: Any) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)recalculate failed: .*no_such_book\.xlsx"):
        bench.child(["recalculate", "no_such_book.xlsx", "ironcalc"])


# The GPU's ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bench_gpu(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for library in ("torch", "xlsxwriter", "ironcalc"):
        pytest.importorskip(library)
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    return _bench(root, "bench_gpu")


def test_without_a_gpu_its_benchmark_says_so_in_a_line(
    bench_gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_gpu, "gpu", lambda: None)
    assert bench_gpu.main(["--tiny"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "no GPU that PyTorch can use" in err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_with_another_clock_the_gpus_benchmark_goes_all_its_way_on_a_cpu(
    bench_gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ways, tables and records; events and the memory's peak are the device's."""

    def clock(way: Any) -> float:
        start = time.perf_counter()
        way()
        return time.perf_counter() - start

    monkeypatch.setattr(bench_gpu, "gpu", lambda: "a device")
    monkeypatch.setattr(bench_gpu, "clock", clock)
    monkeypatch.setattr(bench_gpu, "peak", lambda way: 1e6)
    monkeypatch.setattr("torch.compile", lambda loss, **_: loss)
    results = tmp_path / "results.csv"
    assert bench_gpu.main(["--tiny", "--record", "--results", str(results)], "cpu") == 0
    printed = capsys.readouterr().out
    assert "not measured" not in printed
    with results.open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert {line["device"] for line in lines} == {"a device"}
    for line in lines:
        assert line["case"].rsplit(": ", 1)[-1] in printed
        assert 0 < float(line["p20"]) <= float(line["p50"]) <= float(line["p80"])
    assert {line["peak_mb"] for line in lines} == {"", "1.0"}


def test_a_way_of_another_project_that_fails_is_named_and_ours_is_not_excused(
    bench_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise ValueError("no such kernel")

    monkeypatch.setattr(bench_gpu, "clock", lambda way: 1.0)
    found, failed = bench_gpu.times({"copy": lambda: None, "Liger": fails}, 2)
    assert list(found) == ["copy"]
    assert failed == {"Liger": "ValueError: no such kernel"}
    with pytest.raises(ValueError, match="no such kernel"):
        bench_gpu.times({"ours": fails}, 2)
    assert "(aim 1.25)" in bench_gpu.verdict(1.3, 1.25)
    assert bench_gpu.verdict(1.2, 1.25).endswith("+")
