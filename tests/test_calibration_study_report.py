"""The study's report in a browser, and the committed one: it is what its numbers give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("scipy")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from labelsmooth.calibration._study_report import write_report
from labelsmooth.calibration.study import read_study

STUDY = Path(__file__).parents[1] / "docs" / "study"


def test_the_committed_study_is_the_full_one_and_small() -> None:
    study = read_study(STUDY / "study.json")
    assert len(study.records) == 136
    assert {f.verdict for f in study.findings} == {"reproduced", "not reproduced", "not decided"}
    assert sum(path.stat().st_size for path in STUDY.iterdir()) < 1_000_000


@pytest.mark.slow
def test_the_committed_report_is_what_its_numbers_give(tmp_path: Path) -> None:
    write_report(read_study(STUDY / "study.json"), tmp_path / "report.html", force=False)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == (STUDY / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_loads_nothing_fits_a_phone_and_axe_finds_nothing(scheme: Any, chromium: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = chromium.new_context(viewport={"width": 320, "height": 640}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((STUDY / "report.html").as_uri())
    assert asked == [(STUDY / "report.html").as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert page.evaluate("Math.min(...[...document.querySelectorAll('figure svg')].map(s => s.clientWidth))") > 250
    found = axe.run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:80]) for one in found] == []
    context.close()
