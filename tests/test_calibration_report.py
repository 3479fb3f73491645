"""The report: the same bytes every time, nothing loaded, readable by everybody; opened in a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelsmooth.calibration import report as module
from labelsmooth.calibration.calibrate import Calibration, Given, calibrate
from labelsmooth.calibration.plots import VARIABLES
from labelsmooth.calibration.report import report, write_report
from labelsmooth.files import stream_of

for library in ("scipy", "matplotlib", "jinja2"):
    pytest.importorskip(library)

HOSTILE = "<script>alert(1)</script>&{{ 7 * 7 }}"
TEMPLATE = Path(__file__).parents[1] / "src" / "labelsmooth" / "calibration" / "report.html"


def given(epsilon: float | None = None, seed: int = 0, name: str = HOSTILE) -> Given:
    random = np.random.default_rng(seed)
    z = random.normal(size=(600, 4)) * 2
    labels = (z + random.gumbel(size=z.shape)).argmax(axis=1)
    names = ("cat", "dog", "<b>eel</b>", "fox")
    return Given(
        stream_of((3 if epsilon is None else 1 + epsilon) * z, labels, names), epsilon=epsilon, seed=seed, name=name
    )


@pytest.fixture(scope="module")
def one() -> Calibration:
    return calibrate([given()])


@pytest.fixture(scope="module")
def page(one: Calibration) -> str:
    return report(one)


@pytest.fixture(scope="module")
def several() -> str:
    return report(calibrate([given(e, s, f"e{e}s{s}") for e in (0.0, 0.1) for s in range(3)], resamples=20))


def test_the_verdict_comes_first_with_its_number(page: str) -> None:
    body = page[page.index("<main>") :]
    assert body.index("Over-confident by") < body.index("<h2>")
    assert re.search(r"Over-confident by \d+\.\d points", body)


def test_text_from_outside_is_text(page: str) -> None:
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "{{ 7 * 7 }}" in page
    assert "<b>eel" not in page


def test_a_page_names_nothing_twice_and_refers_to_what_is_there(page: str, several: str) -> None:
    for text in (page, several):
        names = re.findall(r'\bid="([^"]+)"', text)
        assert len(names) == len(set(names))
        wanted = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
        wanted += [
            name for group in re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', text) for name in group.split()
        ]
        assert wanted
        assert set(wanted) <= set(names)


def test_every_figure_has_a_title_a_description_and_its_numbers(page: str, several: str) -> None:
    for text, count in ((page, 5), (several, 8)):
        plots = re.findall(r'<section class="plot">.*?</section>', text, flags=re.DOTALL)
        assert len(plots) == count
        for plot in plots:
            assert re.search(r'<figure role="img" aria-labelledby="[\w-]+" aria-describedby="[\w-]+">\s*<svg', plot)
            assert plot.count("<tr>") >= 2


def test_the_page_loads_nothing_and_forbids_it(page: str) -> None:
    assert "default-src 'none'" in page
    assert not re.search(r"\b(?:src|srcset|poster|action)=|@import|url\((?!#)", page)
    assert not [link for link in re.findall(r'href="([^"]*)"', page) if not link.startswith("#")]


def test_only_the_pages_colours_are_drawn(page: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{3,6}\b", drawings)) <= {"#000000"}  # of invisible paths
    assert {name for name in VARIABLES.values() if f"var(--{name})" in drawings} == set(VARIABLES.values()) - {"third"}


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: str, b: str) -> float:
    high, low = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_stand_out_in_light_in_dark_and_on_paper() -> None:
    themes = [
        dict(re.findall(r"--(\w+): (#\w{6})", part))
        for part in re.findall(r":root \{([^}]*)\}", TEMPLATE.read_text("utf-8"))
    ]
    assert len(themes) == 3
    for theme in themes:
        for name in ("first", "second", "third", "line"):
            assert _contrast(theme[name], theme["paper"]) >= 3
        for name in ("ink", "quiet", "mark"):
            assert min(_contrast(theme[name], theme[under]) for under in ("paper", "panel")) >= 4.5
        assert _contrast(theme["first"], theme["band"]) >= 2  # a line over its band


@pytest.mark.slow
def test_the_bytes_are_the_same_every_time(page: str, tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_calibration_report as t; "
    code += "t.write_report(t.calibrate([t.given()]), sys.argv[2])"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path / "again.html")]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_an_existing_file_is_replaced_only_by_force(
    one: Calibration, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "report", lambda _: page)
    target = tmp_path / "report.html"
    target.write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="exists already"):
        write_report(one, target)
    assert target.read_text(encoding="utf-8") == "mine"
    write_report(one, target, force=True)
    assert target.read_text(encoding="utf-8") == page


# In a browser --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "which"), [("light", "several"), ("dark", "page")])
def test_a_browser_asks_for_nothing_and_axe_finds_nothing(
    chromium: Any, scheme: str, which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    text = request.getfixturevalue(which)
    file, loose = tmp_path / "report.html", tmp_path / "loose.html"
    file.write_text(text, encoding="utf-8")
    context = chromium.new_context(color_scheme=scheme, offline=True)
    sheet = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    sheet.on("request", lambda one: asked.append(one.url))
    sheet.on("console", lambda message: said.append(message.text))
    sheet.goto(file.as_uri())
    for summary in sheet.locator("summary").all():
        summary.click()
    assert asked == [file.as_uri()]
    assert said == []
    # axe is a script, and the page's policy lets none in: it judges a copy without the policy.
    loose.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text), encoding="utf-8")
    sheet.goto(loose.as_uri())
    sheet.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    found = axe.Axe().run(sheet)
    assert found.violations_count == 0, found.generate_report()
    sheet.evaluate("document.querySelector('h1').remove(); document.documentElement.removeAttribute('lang')")
    assert axe.Axe().run(sheet).violations_count >= 2  # it bites
    context.close()


@pytest.mark.slow
def test_a_phone_scrolls_down_only_and_letters_stay_letters(chromium: Any, several: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(several, encoding="utf-8")
    context = chromium.new_context(viewport={"width": 320, "height": 640}, offline=True)
    sheet = context.new_page()
    sheet.goto(file.as_uri())
    sheet.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    assert sheet.evaluate("document.documentElement.scrollWidth") <= 320
    heights = sheet.eval_on_selector_all("svg text", "all => all.map(one => one.getBoundingClientRect().height)")
    assert len(heights) > 50
    assert min(heights) >= 9
    right = sheet.eval_on_selector_all(
        "svg text", "all => Math.max(...all.map(one => one.getBoundingClientRect().right))"
    )
    assert right <= 320
    context.close()
