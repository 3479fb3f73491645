"""examples/train_parallel.py on two processes: its losses and gradients are those of one, and it says so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agree import FLOAT32, agree

pytest.importorskip("torch.distributed.run")


def printed(root: Path, logs: Path, *options: str) -> str:
    # torchrun makes a folder of its own for logs and leaves it in the temporary folder, unless it is told another.
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "--log-dir", str(logs), str(root / "examples" / "train_parallel.py"), *options]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def number(label: str, text: str) -> float:
    found = re.search(rf"{label} (\d[\d.e+-]*)", text)
    assert found, f"{label} is not in\n{text}"
    return float(found[1])


@pytest.mark.slow
def test_a_split_vocabulary_trains_along_the_curve_of_one_process(root: Path, tmp_path: Path) -> None:
    text = printed(root, tmp_path)
    rows = [[float(x) for x in line.split()] for line in text.splitlines() if re.match(r" *\d+ ", line)]
    assert [row[0] for row in rows] == [0, 20, 40, 60, 80, 100]
    _, split, one = zip(*rows, strict=True)
    agree(split[0], one[0], budget=FLOAT32, what="before the first step")
    agree(split, one, budget=1e-4, what="losses, which drift apart in float32")
    assert number("largest difference", text) < 1e-3
    assert one[-1] < 0.75 * one[0], "it learns"


@pytest.mark.slow
def test_ddp_with_micro_batches_has_the_gradients_of_one_process(root: Path, tmp_path: Path) -> None:
    text = printed(root, tmp_path, "--data-parallel")
    agree(number("loss of 2 processes", text), number("of one process", text), budget=2e-6, what="loss as printed")
    assert number("largest difference of a gradient", text) < 1e-5 * number("largest gradient", text)
