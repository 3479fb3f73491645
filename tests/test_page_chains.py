"""What the page computes: the printed functions run in node, against the chain, PyTorch and the figures people quote."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, agree
from labelsmooth.maths.conventions import FAMILIES, OTHERS
from labelsmooth.maths.convert import convert
from labelsmooth.maths.evaluate import evaluate
from labelsmooth.maths.steps import chain
from labelsmooth.maths.trace import prepare, trace
from labelsmooth.page import chains
from labelsmooth.page.chains import LOGARITHMS, SHOWN, WRONG_TARGETS, along_gap, core, fits, functions, needed, optimum

CASES = [
    (5, 2, 0.1, 1.0),
    (3, 5, 0.0, 1.0),
    (4, 10, 1.0, 3.0),
    (2, 100, 0.37, 1.0),
    (3, 7, 0.1, 300.0),
]  # N, K, ε, scale


def batch(rows: int, classes: int, eps: float, scale: float) -> dict[str, Any]:
    random = np.random.default_rng(rows * 1000 + classes)
    z, y = random.normal(0, scale, (rows, classes)), random.integers(0, classes, rows)
    given = {"logits": z.tolist(), "label": y.tolist(), "epsilon": eps, "n_classes": classes, "n_rows": rows}
    return given | {"class_index": list(range(classes))}


def run(node: str, tmp_path: Path, code: str, given: Any) -> Any:
    """Run a line of JavaScript over the printed module; `given` is what it was given."""
    (tmp_path / "core.mjs").write_text(core(), encoding="utf-8")
    infinite = "(_, x) => (Math.abs(x) === Infinity ? String(x) : x)"
    script = f"import {{ core }} from './core.mjs'; const given = {json.dumps(given)};\n"
    script += f"console.log(JSON.stringify({code}, {infinite}));\n"
    (tmp_path / "run.mjs").write_text(script, encoding="utf-8")
    done = subprocess.run([node, "run.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_printed_loss_is_the_chains_in_every_step(node: str, tmp_path: Path) -> None:
    given = [batch(*case) for case in CASES]
    made = run(node, tmp_path, "given.map((one) => core.loss.map((loss) => loss(one)))", given)
    for one, of_families in zip(given, made, strict=True):
        for name, values in zip(SHOWN, of_families, strict=True):
            right = trace(one["logits"], one["label"], one["epsilon"], convention=name, as_post=False)
            for step in right.chain.steps:
                got = np.array(values[step.word], np.float64)
                agree(got, getattr(right, step.word), budget=FLOAT64, what=f"{name} {step.word} K={one['n_classes']}")
            agree(values["push"], right.target - right.softmax, budget=FLOAT64, what="push")


def test_the_printed_loss_and_gradient_are_pytorchs(node: str, tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch")
    given = [batch(*case) for case in CASES]
    made = run(node, tmp_path, "given.map((one) => core.loss[0](one))", given)
    for one, values in zip(given, made, strict=True):
        z = torch.tensor(one["logits"], dtype=torch.float64, requires_grad=True)
        options = {"label_smoothing": one["epsilon"]}
        loss = torch.nn.functional.cross_entropy(z, torch.tensor(one["label"]), **options)
        loss.backward()
        agree(values["loss"], loss.item(), budget=FLOAT64, what="loss")
        agree(values["gradient"], z.grad, budget=FLOAT64, what="gradient")


def test_the_gaps_that_are_quoted_come_out_of_the_chain() -> None:
    for classes, gap in ((2, 2.944), (5, 3.829), (10, 4.511), (100, 6.804), (1000, 9.105)):
        made = evaluate(optimum(FAMILIES["uniform"]), {"epsilon": 0.1, "n_classes": classes})
        assert f"{made['optimum_gap'].item():.3f}" == f"{gap:.3f}"
        agree(made["lead"].item(), made["optimum_gap"].item(), budget=FLOAT64, what="g* in one logarithm")
        agree(made["optimum_gap"].item(), np.log(1 + classes * 0.9 / 0.1), budget=FLOAT64, what="ln(1+K(1−ε)/ε)")


def test_training_runs_as_free_logits_do_in_pytorch(node: str, tmp_path: Path) -> None:
    """The page follows the gap alone; free logits of which the wrong ones start equal have nothing else."""
    torch: Any = pytest.importorskip("torch")
    code = """given.map((epsilon) => { let gap = 0; const seen = [];
      for (let t = 0; t < 2000; t++) {
        gap = core.descent[0]({ gap, epsilon, n_classes: 5, rate: 0.5 }).next_gap; seen.push(gap); }
      return seen; })"""
    made = run(node, tmp_path, code, [0.0, 0.1, 0.3])
    printed = {0.0: {10: "2.81", 100: "5.46", 1000: "7.82", 2000: "8.51"}, 0.1: {10: "2.52", 100: "3.82", 1000: "3.83"}}
    printed[0.3] = {10: "1.97", 100: "2.54"}
    for eps, gaps in zip((0.0, 0.1, 0.3), made, strict=True):
        z = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
        y = torch.tensor([0])
        for at in range(100):
            (slope,) = torch.autograd.grad(torch.nn.functional.cross_entropy(z, y, label_smoothing=eps), z)
            z = (z - 0.5 * slope).detach().requires_grad_()
            agree(gaps[at], (z[0, 0] - z[0, 1]).item(), budget=FLOAT64, what=f"gap after {at + 1} steps at ε={eps}")
        assert {t: f"{gaps[t - 1]:.2f}" for t in printed[eps]} == printed[eps]


def test_the_loss_along_the_gap_is_the_loss_of_such_a_row() -> None:
    for name in SHOWN:
        for gap in (-2.0, 0.0, 3.5, 12.0):
            made = evaluate(along_gap(FAMILIES[name]), {"epsilon": 0.2, "n_classes": 6, "gap": gap})
            right = trace([[gap, 0, 0, 0, 0, 0]], [0], 0.2, convention=name)
            agree(made["curve_loss"].item(), right.loss, budget=FLOAT64, what=f"{name} at {gap}")
            agree(made["curve_softmax"].item(), right.softmax[0, 0], budget=FLOAT64, what="p")


def test_every_combination_of_mistakes_is_what_it_says(node: str, tmp_path: Path) -> None:
    one = batch(4, 5, 0.1, 2.0)
    code = """core.target.map((target) => Object.values(core.logarithm).map((log) => [0, 1].map((base_ten) =>
      core.mistaken({ ...given, ...target(given), ...log(given), base_ten, summed: base_ten }))))"""
    made = run(node, tmp_path, code, one)
    z = np.array(one["logits"])
    logs = {"once": trace(z, one["label"]).log_softmax, "missing": z}
    logs["twice"] = trace(trace(z, one["label"]).softmax, one["label"]).log_softmax
    for name, of_target in zip(WRONG_TARGETS, made, strict=True):
        target = trace(z, one["label"], 0.1, convention=name).target
        for kind, of_log in zip(LOGARITHMS, of_target, strict=True):
            for ten, values in enumerate(of_log):
                rows = -(target * logs[kind]).sum(axis=1) / (np.log(10) if ten else 1)
                agree(values["wrong_loss"], rows, budget=FLOAT64, what=f"{name}, softmax {kind}, LOG {ten}")
                agree(values["wrong_batch"], rows.sum() if ten else rows.mean(), budget=FLOAT64, what="batch")


def test_the_epsilon_a_mistake_amounts_to_is_the_converted_one(node: str, tmp_path: Path) -> None:
    one = batch(2, 5, 0.1, 1.0)
    made = run(node, tmp_path, "core.target.map((target) => target(given))", one)
    for name, values in zip(WRONG_TARGETS, made, strict=True):
        assert ("same_epsilon" in values) == ("sums to one" in FAMILIES[name].laws)
        if "same_epsilon" in values:
            right = convert(0.1, source=name, target="uniform", num_classes=5).label_smoothing
            agree(values["same_epsilon"], right, budget=FLOAT64, what=name)
        agree(values["target_sum"], np.sum(values["target"], axis=1), budget=FLOAT64, what=f"sum of {name}")


def test_temperature_divides_the_logits(node: str, tmp_path: Path) -> None:
    one = batch(3, 4, 0.1, 2.0) | {"temperature": 2.5, "target": np.full((3, 4), 0.25).tolist()}
    made = run(node, tmp_path, "core.heated(given)", one)
    right = trace(np.array(one["logits"]) / 2.5, one["label"]).softmax
    agree(made["heated_softmax"], right, budget=FLOAT64, what="softmax of z/T")
    agree(made["heated_gap"], right - 0.25, budget=FLOAT64, what="gap")


def test_a_chain_is_cut_to_what_is_asked_for_and_no_shorter() -> None:
    whole = chain()
    short = needed(whole, "row_loss")
    words = [s.word for s in short.steps]
    assert words == ["one_hot", "target", "row_max", "exponential", "exponential_sum", "log_softmax", "row_loss"]
    given = prepare([[1.0, 2.0]], [0]).given
    agree(evaluate(short, given)["row_loss"], evaluate(whole, given)["row_loss"], budget=FLOAT64, what="row_loss")


def test_only_targets_that_sum_to_one_are_shown() -> None:
    assert all(fits(FAMILIES[name]) for name in SHOWN)
    refused = {name for name, family in FAMILIES.items() if not fits(family)}
    assert {"gaussian", "binary", "unnormalised", "others but padding", "1/K for ε/K"} <= refused
    assert FAMILIES["others"].over == OTHERS


def test_the_module_prints_itself() -> None:
    assert chains.core().startswith("// Printed from the chain")
    names = [name for name, _ in functions()]
    assert len(names) == len(set(names))
    assert all(f"function {name}(given)" in core() for name in names)
