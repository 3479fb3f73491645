"""Draw the pictures of the README and docs from a real workbook: LibreOffice prints it, pdftoppm draws the page.

    python scripts/pictures.py        write docs/pictures/*.png

Needs LibreOffice and pdftoppm (Debian: libreoffice-calc, poppler-utils) and Pillow, which comes with Matplotlib.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

from labelsmooth.parity.compare import torch_rows
from labelsmooth.parity.demo import EXAMPLES, example
from labelsmooth.workbook.book import make_book
from labelsmooth.workbook.recalc import convert_to_pdf
from labelsmooth.workbook.write import save

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
PAGES = {"steps": 2, "play": 7}  # page of the printed workbook
DOTS_PER_INCH = 110
MARGIN = 12


def main() -> None:
    """Write the workbook of the post's second example, print it, and keep two of its pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
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
