"""What lies in examples/: the workbooks and the page are what the script writes today, and the notebook runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("xlsxwriter")
openpyxl: Any = pytest.importorskip("openpyxl")
ROOT = Path(__file__).parent.parent
BOOKS = ("post_cat_dog", "post_cat_dog_student", "post_five_animals", "post_five_animals_student")


def cells(path: Path) -> dict[str, Any]:
    """Every cell of a workbook, formulas and cached numbers, but for the day it was made and the versions."""
    out: dict[str, Any] = {}
    for kind, data_only in (("formula", False), ("value", True)):
        for sheet in openpyxl.load_workbook(path, data_only=data_only):
            for row in sheet.iter_rows():
                for cell in row:
                    value = cell.value
                    if value is not None and not str(value).startswith(("by labelsmooth", "PyTorch 2")):
                        out[f"{kind} {sheet.title}!{cell.coordinate}"] = value
    return out


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("examples")
    script = [sys.executable, str(ROOT / "scripts" / "make_examples.py"), str(folder)]
    subprocess.run(script, check=True, capture_output=True, timeout=120)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", BOOKS)
def test_the_workbook_is_what_the_script_writes(name: str, fresh: Path) -> None:
    then, now = cells(ROOT / "examples" / f"{name}.xlsx"), cells(fresh / f"{name}.xlsx")
    assert then.keys() == now.keys()
    for where, value in now.items():
        if isinstance(value, float):
            assert abs(then[where] - value) <= 2e-6 * max(1, abs(value)), (
                where
            )  # float32 rows of PyTorch differ a little
        else:
            assert then[where] == value, where


@pytest.mark.slow
def test_the_page_is_what_the_script_writes(fresh: Path) -> None:
    then, now = ROOT / "examples" / "page.html", fresh / "page.html"
    assert then.read_bytes() == now.read_bytes(), "run python scripts/make_examples.py"


@pytest.mark.slow
def test_the_reports_are_what_the_script_writes(tmp_path: Path) -> None:
    for library in ("scipy", "matplotlib", "jinja2"):
        pytest.importorskip(library)
    script = [sys.executable, str(ROOT / "scripts" / "make_reports.py"), str(tmp_path)]
    subprocess.run(script, check=True, capture_output=True, timeout=120)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["calibration_report.html", "calibration_report_smoothed.html"]
    for name in names:
        # A drawing's coordinates have six digits, whose last another processor may round otherwise.
        then, now = (
            re.sub(
                r"<svg.*?</svg>|labelsmooth [\d.]+", "", (folder / name).read_text(encoding="utf-8"), flags=re.DOTALL
            )
            for folder in (ROOT / "examples", tmp_path)
        )
        assert then == now, name


@pytest.mark.slow
def test_the_notebook_runs_and_prints_the_posts_numbers() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("ipykernel")
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    book = nbformat.read(ROOT / "examples" / "label_smoothing.ipynb", as_version=4)
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "[0.3314, 2.1951, 2.3668, 1.2633, 1.9855]" in printed
    assert printed.count("tensor([0.3314, 2.1951, 2.3668, 1.2633, 1.9855])") == 2
    assert "[inf, 2.9444, 1.7346]" in printed
    shown = [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert len(shown) == 1
    assert "log_softmax" in shown[0]
