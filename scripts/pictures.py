"""Draw the pictures of the README and docs: from a real workbook, which LibreOffice prints, and from the page in Chromium.

    python scripts/pictures.py                  write docs/pictures/*.png
    python scripts/pictures.py workbook|page    one of the two

Needs LibreOffice and pdftoppm (Debian: libreoffice-calc, poppler-utils), or Chromium and Playwright; and Pillow, which comes
with Matplotlib.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops
from playwright.sync_api import sync_playwright

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
    "page_dark": ("dark", "d=pets&w=0_once_1_0", ("[data-panel=stop]", "[data-panel=mistakes]"), 1100),
}


def main() -> None:
    """Draw what was asked for, or everything."""
    asked = sys.argv[1:] or ["workbook", "page"]
    FOLDER.mkdir(parents=True, exist_ok=True)
    if "workbook" in asked:
        of_workbook()
    if "page" in asked:
        of_page()


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
