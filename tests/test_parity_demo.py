"""The demo: with PyTorch, without it, and onto a folder that cannot be written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agree import FLOAT64, agree

pytest.importorskip("ironcalc")
pytest.importorskip("xlsxwriter")

from labelsmooth.data import path as data_path
from labelsmooth.errors import InputError
from labelsmooth.parity import demo, frameworks
from labelsmooth.parity.compare import torch_rows

ROOT = Path(__file__).parent.parent


@pytest.mark.usefixtures("ironcalc_here")
@pytest.mark.slow
def test_without_pytorch_the_recorded_numbers_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "torch_is_there", lambda: False)
    for example in demo.run_demo(tmp_path):
        assert example.comparison.agree
        (only,) = example.comparison.implementations
        assert "recorded" in only.note
        assert all(Path(path).is_file() for path in example.paths)


def test_the_recorded_numbers_are_pytorchs() -> None:
    pytest.importorskip("torch")
    for name in demo.EXAMPLES:
        recorded, now = demo.recorded_rows(name), torch_rows(demo.example(name))
        for key in ("label_loss", "prior_loss", "row_loss"):
            agree(getattr(recorded, key), getattr(now, key), budget=FLOAT64, what=f"{key} of {name}")
        agree(recorded.row_loss_single, now.row_loss_single, budget=2e-6, what=f"float32 rows of {name}")


@pytest.mark.slow
@pytest.mark.usefixtures("ironcalc_here")
def test_a_changed_recorded_number_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    record = json.loads(data_path(demo.RECORDED).read_text(encoding="utf-8"))
    record["examples"]["post_cat_dog"]["row_loss"][2] += 1e-9
    changed = tmp_path / demo.RECORDED
    changed.write_text(json.dumps(record), encoding="utf-8")
    monkeypatch.setattr(demo, "torch_is_there", lambda: False)
    monkeypatch.setattr(demo, "data_path", lambda name: changed if name == demo.RECORDED else data_path(name))
    verdicts = {example.name: example.comparison.agree for example in demo.run_demo(tmp_path / "out")}
    assert verdicts == {"post_five_animals": True, "post_cat_dog": False, "digits": True}


@pytest.mark.slow
def test_the_record_script_says_that_nothing_changed() -> None:
    pytest.importorskip("torch")
    script = [sys.executable, str(ROOT / "scripts" / "record_torch.py"), "--check"]
    subprocess.run(script, check=True, capture_output=True, timeout=120)


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="folder"):
        next(demo.run_demo(tmp_path / "out"))


def test_pytorch_is_looked_for_without_importing_it() -> None:
    code = "import sys; from labelsmooth.parity import frameworks; frameworks.torch_is_there(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert isinstance(frameworks.torch_is_there(), bool)
