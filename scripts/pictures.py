"""Draw the pictures of the README and docs: a real workbook, the page in Chromium, and the loss against the logit gap.

    python scripts/pictures.py                      write all of docs/pictures
    python scripts/pictures.py workbook|page|gap    one of the three

For the workbook LibreOffice prints and pdftoppm draws the page (Debian: libreoffice-calc, poppler-utils); for the page
Chromium and Playwright. Pillow comes with Matplotlib. The curves of gap.svg are the chain's steps on a grid of logits.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")

from matplotlib import pyplot as plt
from PIL import Image, ImageChops
from playwright.sync_api import sync_playwright

from labelsmooth import trace
from labelsmooth._paging import post_presets, write_page
from labelsmooth.parity.compare import torch_rows
from labelsmooth.parity.demo import EXAMPLES, example
from labelsmooth.workbook.book import make_book
from labelsmooth.workbook.recalc import convert_to_pdf
from labelsmooth.workbook.write import save

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
PAGES = {"steps": 2, "play": 7}  # page of the printed workbook
DOTS_PER_INCH = 110
MARGIN = 12
# Of the page: colours, address, what is in the picture from its first element to its last, and how wide the window is.
SHOTS = {
    "page": ("light", "", (".hero", "[data-panel=prediction]"), 1100),
    "page_points": ("light", "p=points", ("[data-panel=train]", "[data-panel=train]"), 760),
    "page_dark": ("dark", "d=pets&w=0_once_1_0", ("[data-panel=stop]", "[data-panel=mistakes]"), 1100),
}

CLASSES = 10
# Colour, line and where its name stands, by ε: all three are seen on white and on black, and told apart without colour.
CURVES = {0.0: ("#0072b2", "-"), 0.1: ("#d55e00", "--"), 0.3: ("#009e73", "-.")}
INK = "#808080"  # between white and black: 3.9 to 1 against the one, 5.3 to 1 against the other


def main() -> None:
    """Draw what was asked for, or everything."""
    draw = {"workbook": of_workbook, "page": of_page, "gap": of_gap}
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or draw:
        draw[name]()


def of_gap() -> None:
    """Draw the loss, and the push on the label's logit, against its distance from the others."""
    grid = np.linspace(-2, 12, 281)
    logits = np.zeros((len(grid), CLASSES))
    logits[:, 0] = grid
    ink = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    words = {"svg.hashsalt": "labelsmooth", "svg.fonttype": "none", "font.size": 10, **dict.fromkeys(ink, INK)}
    with plt.rc_context(words):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8))
        for eps, (colour, line) in CURVES.items():
            steps = trace(logits, np.zeros(len(grid), int), eps, reduction="none")
            at = trace([[_optimum(eps), *[0.0] * (CLASSES - 1)]], [0], eps, reduction="none") if eps else None
            for axes, curve, dot in (
                (left, steps.row_loss, at and at.row_loss[0]),
                (right, -steps.gradient[:, 0], at and -at.gradient[0, 0]),
            ):
                axes.plot(grid, curve, line, color=colour, linewidth=2, label=f"ε = {eps:g}")
                if dot is not None:
                    axes.plot([_optimum(eps)], [dot], "o", color=colour, markersize=7)
        _label(left, "loss", "The loss: an endless descent, or a bowl")
        _label(right, "push on the label's logit", "The push: with smoothing it changes sign")
        right.axhline(0, color=INK, linewidth=0.8)
        left.legend(frameon=False)
        figure.tight_layout()
        figure.savefig(
            FOLDER / "gap.svg",
            transparent=True,
            metadata={"Date": None, "Title": "Loss and push against the logit gap"},
        )
        plt.close(figure)


def _optimum(eps: float) -> float:
    """Where the chain says that the loss is smallest."""
    return float(trace(np.zeros((1, CLASSES)), [0], eps).optimum_gap)


def _label(axes: Any, y: str, title: str) -> None:
    axes.set_xlabel("the label's logit above the others")
    axes.set_ylabel(y)
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def of_page() -> None:
    """Write the page of the post's examples, and keep two parts of it."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        file = Path(scratch) / "page.html"
        write_page(file, post_presets(), force=True)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for name, (scheme, address, (first, last), width) in SHOTS.items():
            window = browser.new_page(
                viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
            )
            window.goto(f"{file.as_uri()}#{address}")
            window.evaluate("labelsmooth.finish()")
            top, bottom = (window.locator(element).bounding_box() for element in (first, last))
            if top is None or bottom is None:
                raise ValueError(f"{first} or {last} is not on the page")
            clip = {"x": 0, "y": top["y"], "width": width, "height": bottom["y"] + bottom["height"] - top["y"] + MARGIN}
            target = FOLDER / f"{name}.png"
            window.screenshot(path=target, clip=clip, full_page=True)
            with Image.open(target) as shot:
                shot.convert("RGB").quantize(128).save(target, optimize=True)
        browser.close()


def of_workbook() -> None:
    """Write the workbook of the post's second example, print it, and keep two of its pages."""
    problem = example("post_cat_dog")
    with tempfile.TemporaryDirectory() as scratch:
        book = Path(scratch) / "post_cat_dog.xlsx"
        save(make_book(problem, torch=torch_rows(problem), source=EXAMPLES["post_cat_dog"]), book)
        pdf = convert_to_pdf(book, scratch)
        for name, page in PAGES.items():
            target = FOLDER / name
            numbers = ["-f", str(page), "-l", str(page), "-r", str(DOTS_PER_INCH)]
            subprocess.run(["pdftoppm", "-png", "-singlefile", *numbers, str(pdf), str(target)], check=True)  # noqa: S607
            _trim(target.with_suffix(".png"))


def _trim(path: Path) -> None:
    """Cut the white border and the footer of a page."""
    with Image.open(path) as page:
        sheet = page.convert("RGB").crop((0, 0, page.width, int(page.height * 0.93)))
    box = ImageChops.difference(sheet, Image.new("RGB", sheet.size, "white")).getbbox()
    if box is None:
        raise ValueError(f"{path} is an empty page")
    left, top, right, bottom = box
    edges = (
        max(0, left - MARGIN),
        max(0, top - MARGIN),
        min(sheet.width, right + MARGIN),
        min(sheet.height, bottom + MARGIN),
    )
    sheet.crop(edges).quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    main()
