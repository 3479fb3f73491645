"""What the other frameworks gave when they were run: it is what the chain and our loss give under their conventions.

`tests/golden/` holds a file for each framework, recorded by `scripts/record_frameworks.py`; the batches are there too, so
that a record can be read without this package.
"""

from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cases
from agree import FLOAT64, LossAndGradient, agree, agree_result
from labelsmooth.maths.conventions import convention_named
from labelsmooth.maths.steps import chain
from labelsmooth.maths.trace import Problem, Trace, prepare
from labelsmooth.parity.frameworks import PEERS
from labelsmooth.parity.judge import TOLERANCE, folded

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
BATCHES: dict[str, dict[str, Any]] = json.loads((GOLDEN / "batches.json").read_text(encoding="utf-8"))
# A logarithm of a softmax that underflows: the loss is infinite where a logit lies 104 below the largest.
UNDERFLOWS = {("liger megatron", "large logits")}
HERE = ("torch index", "torch soft", "torch linear", "the post", "scikit-learn")  # what the tests' own environment has


def problem(name: str) -> Problem:
    batch = dict(BATCHES[name])
    if np.ndim(batch["labels"]) == 2:
        batch["labels"] = np.asarray(batch["labels"], np.float64)
    return prepare(**batch)


def record(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((GOLDEN / f"{name.replace(' ', '_')}.json").read_text(encoding="utf-8"))
    return read


def computed(name: str) -> dict[str, dict[str, Any]]:
    """The batches that a framework computed, as arrays."""
    shown = {}
    for batch, result in record(name)["results"].items():
        if "refused" not in result:
            shown[batch] = {part: None if x is None else np.asarray(x, np.float64) for part, x in result.items()}
    return shown


def same_numbers(got: dict[str, Any], truth: Any, budget: float, what: str, *, rows: bool) -> None:
    """Rows, loss and gradient; where rows are not reduced, or there is no gradient, both sides leave them out."""
    if rows:
        agree(got["row_loss"], truth["row_loss"], budget=budget, what=f"{what}: rows", any_dtype=True)
    if got["gradient"] is None:
        agree(got["loss"], truth["loss"], budget=budget, what=f"{what}: loss", any_dtype=True)
        return
    sums = [np.sum(x["row_loss"]) if x["loss"] is None else x["loss"] for x in (got, truth)]
    ours, theirs = (LossAndGradient(s, x["gradient"]) for s, x in zip(sums, (got, truth), strict=True))
    agree_result(ours, theirs, budget=budget, what=what)


def by_chain(own: Problem) -> dict[str, Any]:
    run = Trace(own, chain(own.case))
    loss = None if own.case.reduction == "none" else run.loss
    return {"row_loss": run.row_loss, "loss": loss, "gradient": run.gradient}


@pytest.mark.parametrize("name", PEERS)
def test_what_a_framework_gave_is_what_the_chain_gives_under_its_convention(name: str) -> None:
    for batch, got in computed(name).items():
        own = PEERS[name].own(problem(batch))
        if (name, batch) in UNDERFLOWS:
            agree(got["gradient"], by_chain(own)["gradient"], budget=TOLERANCE["float32"], what=f"{name}, {batch}")
            assert np.isinf(got["loss"])
            continue
        budget = TOLERANCE[record(name)["dtype"]]
        same_numbers(got, by_chain(own), budget, f"{name}, {batch}", rows=not folded(own.case))


@pytest.mark.parametrize("name", PEERS)
def test_what_a_framework_gave_is_what_our_loss_gives_under_its_convention(name: str) -> None:
    pytest.importorskip("torch")
    from labelsmooth.parity.judge import torch_ours

    for batch, got in computed(name).items():
        if (name, batch) in UNDERFLOWS:
            continue
        ours = torch_ours(PEERS[name].own(problem(batch)))
        truth = {part: getattr(ours, part) for part in ("row_loss", "loss", "gradient")}
        same_numbers(got, truth, TOLERANCE[record(name)["dtype"]], f"{name}, {batch}", rows=True)


@pytest.mark.parametrize("name", PEERS)
def test_a_record_says_what_was_run_and_what_was_refused(name: str) -> None:
    peer, stored = PEERS[name], record(name)
    assert stored["framework"] == name
    assert stored["convention"] == convention_named(peer.row).full_name
    assert stored["dtype"] == peer.dtypes[0]
    assert peer.package in stored["versions"]
    assert set(stored["results"]) == set(BATCHES)
    for batch, result in stored["results"].items():
        assert result.get("refused", "") == peer.refuses(problem(batch))


def test_every_framework_is_on_record_and_nobody_else() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {"batches"} | {name.replace(" ", "_") for name in PEERS}
    assert all(computed(name) for name in PEERS)


def test_the_records_hold_the_published_numbers() -> None:
    agree(BATCHES["two classes"]["logits"], cases.TWO_CLASSES, budget=0, what="the post's logits")
    agree(BATCHES["published, weights"]["weight"], cases.WEIGHT, budget=0, what="the published weights")
    post = computed("the post")
    agree(post["two classes"]["row_loss"], cases.TWO_LOSSES, budget=1e-9, what="the post's losses")
    agree(post["five classes"]["row_loss"], cases.FIVE_LOSSES, budget=1e-8, what="the post's other losses")
    for name, mean in [
        ("torch index", 0.989757),
        ("torch soft", 2.474393),
        ("fastai", 0.908078),
        ("keras", 2.218003),
    ]:
        agree(computed(name)["published, weights"]["loss"], mean, budget=2e-6, what=f"weights in {name}")
    agree(computed("liger megatron")["published"]["loss"], 0.835219, budget=2e-6, what="ε/(K−1)")


# Run for real --------------------------------------------------------------------------------------------------------


def run_again(name: str) -> None:
    peer, then = PEERS[name], computed(name)
    for batch in BATCHES:
        now = peer.ask(problem(batch))
        assert bool(now.reason) == (batch not in then), (batch, now.reason)
        if not now.reason:
            shown = {part: getattr(now, part) for part in ("row_loss", "loss", "gradient")}
            assert now.dtype == peer.dtypes[0]
            same_numbers(shown, then[batch], TOLERANCE[now.dtype], f"{name}, {batch}", rows=True)


@pytest.mark.parametrize("name", HERE)
def test_a_framework_that_is_here_gives_what_is_on_record(name: str) -> None:
    for module in PEERS[name].needs:
        pytest.importorskip(module)
    if name == "torch linear" and not hasattr(sys.modules["torch"].nn.functional, "linear_cross_entropy"):
        pytest.skip("this PyTorch has no linear_cross_entropy")
    run_again(name)


@pytest.mark.frameworks
@pytest.mark.parametrize("name", PEERS)
def test_a_framework_gives_what_is_on_record(name: str) -> None:
    assert not PEERS[name].missing, "make frameworks installs it"
    run_again(name)


# Recording -----------------------------------------------------------------------------------------------------------


def script() -> Any:
    place = spec_from_file_location("record_frameworks", ROOT / "scripts" / "record_frameworks.py")
    assert place is not None
    assert place.loader is not None
    module = module_from_spec(place)
    place.loader.exec_module(module)
    return module


def test_a_number_a_refusal_and_a_batch_that_have_moved_are_each_said() -> None:
    room, then = script(), record("timm")
    assert room.moved(then, then) == []
    planted = json.loads(json.dumps(then))
    planted["results"]["plain"]["gradient"][0][0] += 1e-9
    planted["results"]["soft"]["refused"] = "it is tired"
    del planted["results"]["none"]
    planted["results"]["published"] = {"refused": "it is tired"}
    assert room.moved(planted, then) == [
        "none: computed is now absent",
        "plain: gradient is 1.0e-09 away",
        "published: computed is now refused (it is tired)",
        "soft: refused (it takes class numbers only) is now refused (it is tired)",
    ]
    swapped = json.loads(json.dumps(record("liger megatron")))
    swapped["results"]["large logits"]["loss"] = 1.0
    assert room.moved(swapped, record("liger megatron")) == ["large logits: loss is inf away"]


@pytest.mark.slow
def test_a_record_is_written_only_when_asked_and_only_where_something_has_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    room = script()
    monkeypatch.setattr(room, "GOLDEN", tmp_path)
    (tmp_path / "batches.json").write_text(json.dumps({"plain": BATCHES["plain"]}), encoding="utf-8")

    def main(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["record_frameworks.py", "the post", *words])
        code: int = room.main()
        return code

    target = tmp_path / "the_post.json"
    assert (main(), target.exists()) == (1, False)
    assert main("--record") == 0
    first = json.loads(target.read_text(encoding="utf-8"))
    agree(first["results"]["plain"]["loss"], computed("the post")["plain"]["loss"], budget=FLOAT64, what="loss")
    target.write_text(json.dumps({**first, "versions": {"torch": "another"}}), encoding="utf-8")
    assert main("--record") == 0
    assert "another" in target.read_text(encoding="utf-8")
    first["results"]["plain"]["loss"] += 1e-6
    target.write_text(json.dumps(first), encoding="utf-8")
    assert main() == 1
    assert json.loads(target.read_text(encoding="utf-8")) == first
    assert main("--record") == 0
    assert json.loads(target.read_text(encoding="utf-8")) != first
