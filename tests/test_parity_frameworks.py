"""Asking the other frameworks: what is refused, what is not installed, and what stays as it was afterwards."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from labelsmooth.maths.conventions import convention_named
from labelsmooth.maths.trace import Problem, prepare
from labelsmooth.parity import _frameworks_torch as by_torch
from labelsmooth.parity import frameworks
from labelsmooth.parity._frameworks_run import WHY_NOT, features, quiet
from labelsmooth.parity.frameworks import PEERS, Peer, chosen, install_line, installed

LOGITS = np.random.default_rng(7).normal(size=(4, 3))
LABELS = [0, 1, 2, 0]
SOFT = [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]


def problem(**options: Any) -> Problem:
    words = {"logits": LOGITS, "labels": LABELS, "label_smoothing": 0.1, **options}
    return prepare(**words)


ASKS: dict[str, dict[str, Any]] = {
    "rows": {"label_smoothing": [0.1, 0.2, 0.3, 0.4]},
    "all": {"label_smoothing": 1.0},
    "prior": {"prior": [0.2, 0.3, 0.5]},
    "mask": {"class_mask": [1, 1, 0], "labels": [0, 1, 1, 0]},
    "soft": {"labels": SOFT},
    "ignored": {"labels": [0, -100, 2, 0]},
    "ignored soft": {"labels": SOFT, "keep": [1, 1, 1, 0]},
    "weight": {"weight": [1.0, 2.0, 3.0]},
    "soft weight": {"labels": SOFT, "weight": [1.0, 2.0, 3.0]},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none"},
}
WHO_TAKES = {
    "rows": {"optax"},
    "all": set(PEERS) - {"timm", "liger megatron", "scikit-learn"},
    "prior": set(),
    "mask": set(),
    "soft": {"torch soft", "keras", "optax"},
    "ignored": {"torch index", "torch linear", "transformers", "liger", "liger megatron"},
    "ignored soft": set(),
    "weight": {"torch index", "torch soft", "torch linear", "fastai", "keras"},
    "soft weight": {"torch soft"},
    "sum": set(PEERS) - {"timm", "transformers", "scikit-learn"},
    "none": set(PEERS) - {"scikit-learn"},
}


@pytest.mark.parametrize("feature", ASKS)
def test_a_batch_is_refused_by_those_who_have_no_words_for_it(feature: str) -> None:
    batch = problem(**ASKS[feature])
    assert feature in set(features(batch))
    takers = {peer.name for peer in PEERS.values() if not peer.refuses(batch)}
    assert takers == WHO_TAKES[feature]


def test_a_plain_batch_is_taken_by_all_and_without_smoothing_by_scikit_learn_too() -> None:
    assert {name for name, peer in PEERS.items() if peer.refuses(problem())} == {"scikit-learn"}
    assert not any(peer.refuses(problem(label_smoothing=0.0)) for peer in PEERS.values())
    assert PEERS["scikit-learn"].refuses(problem()) == "it has no label smoothing: ask with ε = 0"


def test_every_feature_has_its_reason_and_nobody_takes_what_is_none() -> None:
    assert set(WHY_NOT) == set(ASKS) | {"smoothing", "mean"}
    for peer in PEERS.values():
        assert peer.takes <= set(WHY_NOT)
        assert {feature for feature, _ in peer.reasons} <= set(WHY_NOT) - peer.takes
        assert convention_named(peer.row).family.link == "softmax"


def test_a_framework_follows_its_own_target_and_weights() -> None:
    asked = problem(convention="fairseq", weight=[1.0, 2.0, 3.0], weighting="label")
    meant = {"torch index": "class/label", "torch soft": "class/N", "fastai": "nll", "keras": "label/N"}
    for name, weighting in meant.items():
        case = PEERS[name].own(asked).case
        assert case.weighting is not None
        assert (case.family.name, case.weighting.name) == ("uniform", weighting)
    assert PEERS["liger megatron"].own(problem()).case.family.name == "others"
    assert PEERS["torch soft"].own(problem()).case.soft


# What is not here ----------------------------------------------------------------------------------------------------


def absent(name: str = "timm") -> Peer:
    return replace(PEERS[name], needs=("a_module_that_nobody_has",))


def test_a_framework_that_is_not_installed_is_refused_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(frameworks.PEERS, "timm", absent())
    assert "timm" not in {peer.name for peer in installed()}
    with pytest.raises(ValueError, match=re.escape("timm is not installed here: pip install timm, or make frameworks")):
        chosen(["timm"])
    assert "pip install liger-kernel triton" in install_line(PEERS["liger"])
    assert "pip install 'labelsmooth[torch]'" in install_line(PEERS["torch soft"])


def test_a_framework_without_a_package_has_no_version() -> None:
    assert replace(absent(), package="a-package-that-nobody-has").version == ""


def test_a_framework_that_is_installed_and_cannot_be_imported_says_so() -> None:
    def broken(_: Problem, __: str) -> Any:
        raise ImportError("libtorch_cuda.so: cannot open shared object file\nand much more")

    got = replace(PEERS["the post"], run=broken).ask(problem())
    assert got.reason == "it cannot be imported: libtorch_cuda.so: cannot open shared object file"
    assert got.row_loss is None


def test_nothing_is_imported_until_it_is_asked_and_nothing_for_what_is_refused() -> None:
    code = (
        "import sys\n"
        "from labelsmooth.maths.trace import prepare\n"
        "from labelsmooth.parity.frameworks import PEERS, installed\n"
        "batch = prepare([[1.0, 2.0]], [0], 0.1, prior=[0.5, 0.5])\n"
        "installed()\n"
        "assert all(peer.ask(batch).reason for peer in PEERS.values())\n"
        "heavy = {'torch', 'jax', 'keras', 'sklearn', 'transformers', 'timm', 'triton', 'fastai'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_triton_that_compiles_is_not_asked_to_interpret(monkeypatch: pytest.MonkeyPatch) -> None:
    class JITFunction:
        pass

    monkeypatch.setitem(sys.modules, "triton.language", SimpleNamespace(cdiv=JITFunction()))  # type: ignore[arg-type]
    monkeypatch.setattr(by_torch, "version", lambda _: "0")
    for ask in (by_torch.liger, by_torch.liger_megatron):
        assert ask(problem()).reason == by_torch.BUSY
    monkeypatch.setitem(sys.modules, "triton.language", SimpleNamespace(cdiv=len))  # type: ignore[arg-type]
    assert not by_torch._triton_is_busy()


def test_a_keras_on_another_backend_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    other = SimpleNamespace(backend=SimpleNamespace(backend=lambda: "jax"), __version__="3")
    monkeypatch.setitem(sys.modules, "keras", other)  # type: ignore[arg-type]
    got = PEERS["keras"].ask(problem())
    assert got.reason == "it runs on jax in this process: start Python with KERAS_BACKEND=torch"


def test_a_timm_whose_file_has_moved_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(by_torch, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    got = PEERS["timm"].ask(problem())
    assert got.reason.startswith("it cannot be imported: timm's loss is not where it was: no loss/cross_entropy.py")
    monkeypatch.setattr(by_torch, "find_spec", lambda _: None)
    assert "timm is not installed" in PEERS["timm"].ask(problem()).reason


# What stays as it was ------------------------------------------------------------------------------------------------


def test_quiet_puts_back_what_it_has_changed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("LABELSMOOTH_A", "before")
    monkeypatch.delenv("LABELSMOOTH_B", raising=False)
    with pytest.raises(KeyError), quiet(LABELSMOOTH_A="now", LABELSMOOTH_B="now"):  # noqa: PT012  the state is the point
        assert (os.environ["LABELSMOOTH_A"], os.environ["LABELSMOOTH_B"]) == ("now", "now")
        logging.getLogger("framework").warning("it is said")
        warnings.warn("it is said", DeprecationWarning, stacklevel=1)
        raise KeyError
    assert os.environ["LABELSMOOTH_A"] == "before"
    assert "LABELSMOOTH_B" not in os.environ
    assert not caplog.records
    logging.getLogger("framework").warning("it is said again")
    assert len(caplog.records) == 1
    with pytest.warns(DeprecationWarning, match="again"):
        warnings.warn("again", DeprecationWarning, stacklevel=1)


def test_the_class_of_the_post_fails_in_plain_pytorch_without_its_parents_init() -> None:
    torch = pytest.importorskip("torch")

    class Without(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.epsilon = 0.1

        def forward(self, logits: Any) -> Any:
            return self.epsilon * logits

    with pytest.raises(AttributeError):
        Without()(torch.zeros(2))
