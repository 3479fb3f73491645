"""What the compiler makes of the GPU kernel, for machines that are not here: no spilled register, loads of 16 bytes.

Triton compiles to a cubin without a GPU. What is read are the assembler's own report of that cubin (`cuobjdump
-res-usage`; spilled registers lie on the stack) and the PTX it was made from. It says nothing of time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton", reason="the GPU kernel needs Triton: pip install 'labelsmooth[triton]'")

pytestmark = pytest.mark.slow
Report = dict[str, Any]


def reports(root: Path, which: str, cache: Path) -> list[Report]:
    """Compile in a process in which Triton does not interpret, and with no earlier run's results."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(cache)}
    command = [sys.executable, str(root / "tests" / "compiled_kernel.py"), which]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def faults(report: Report) -> list[str]:
    """Say what is wrong with one kernel."""
    form, _, classes, *_ = report["job"]
    found = []
    if report["stack"] or report["local"]:
        found.append("spills")
    if not report["wide_loads"] or (form != "loss" and not report["wide_stores"]):
        found.append("narrow")
    # One load of 16 bits is the label's logit, by itself.
    if report["narrow_loads"] > 1:
        found.append("narrow")
    if set(report["row_products"]) - {"i64"} or set(report["row_pointers"]) - {"i64"}:
        found.append("32 bits")
    if form in {"both", "in place"} and classes > 16384 and not (report["kept"] and report["dropped"]):
        found.append("no word to the L2 cache")
    return found


def test_every_form_and_dtype_compiles_without_spills_for_three_generations(root: Path, tmp_path: Path) -> None:
    made = reports(root, "all", tmp_path)
    jobs = [tuple(one["job"]) for one in made]
    forms, dtypes = {"loss", "gradient", "both", "in place"}, {"float32", "float64", "bfloat16", "float16"}
    for form in forms:
        for dtype in dtypes:
            assert {job[-1] for job in jobs if job[:2] == (form, dtype)} == {80, 90, 100}
    assert {str(one["job"]): found for one in made if (found := faults(one))} == {}
    rows = [one for one in made if one["job"][0] != "times"]
    assert all(one["row_products"] and one["row_pointers"] for one in rows)  # something was looked at


def test_a_block_too_large_and_an_odd_number_of_classes_are_seen(root: Path, tmp_path: Path) -> None:
    large, odd = reports(root, "planted", tmp_path)
    assert "spills" in faults(large)
    assert "narrow" in faults(odd)  # 50,257 classes: rows begin anywhere, and are read two bytes at a time
