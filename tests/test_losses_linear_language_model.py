"""A language model on real text, this project's own: with the logits in chunks it takes the course it takes with all of them."""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agree import FLOAT32, agree

torch = pytest.importorskip("torch")

from labelsmooth.losses import linear_cross_entropy  # noqa: E402  after the skip

# Two float32 runs that differ in the last bit of a gradient drift apart step by step; after 120 they are this far.
DRIFT = 2e-4


@pytest.fixture(scope="module")
def example() -> Any:
    path = Path(__file__).parent.parent / "examples" / "train_language_model.py"
    spec = importlib.util.spec_from_file_location("train_language_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_curve_is_that_of_the_unfused_run_and_the_model_learns(example: Any, root: Path) -> None:
    text, words = example.read([root / "README.md", root / "docs" / "loss.md"])
    assert words > 400
    train = partial(example.train, text=text, words=words)
    whole, chunks = (train(way, steps=120) for way in (example.whole, example.in_chunks))
    agree(chunks[0], whole[0], budget=FLOAT32, what="before the first step")
    agree(chunks, whole, budget=DRIFT, what="float32")
    exact = [train(way, steps=60, dtype=torch.float64) for way in (example.in_chunks, example.whole)]
    agree(*exact, budget=1e-11, what="float64, where 60 steps leave nothing to drift")
    assert whole[-10:].mean() < 0.75 * whole[0], "it learns"

    def other(hidden: Any, head: Any, target: Any, prior: Any) -> Any:
        return linear_cross_entropy(hidden, head, target, label_smoothing=0.101, prior=prior)

    assert abs(train(other, steps=120) - whole).max() > 10 * DRIFT, "a slightly other loss is seen"


@pytest.mark.slow
def test_the_example_prints_two_equal_columns(
    example: Any, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train_language_model.py"])
    example.main([root / "README.md"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [line[0] for line in lines] == [str(step) for step in range(0, 301, 50)]
    for _, whole, chunks in lines:
        agree(float(chunks), float(whole), budget=10 * DRIFT, what="a line")
