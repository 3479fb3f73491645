"""Write the workbooks in examples/: the post's two examples and their student's copies; and the page of both.

python scripts/make_examples.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

from labelsmooth._paging import post_presets, write_page
from labelsmooth.parity.compare import torch_rows
from labelsmooth.parity.demo import EXAMPLES, example
from labelsmooth.workbook.book import make_book
from labelsmooth.workbook.write import save

FOLDER = Path(__file__).parent.parent / "examples"


def main(folder: Path = FOLDER) -> None:
    """Write each example twice: complete, with PyTorch's numbers, and blank."""
    for name, title in EXAMPLES.items():
        if name.startswith("post"):
            problem = example(name)
            save(make_book(problem, torch=torch_rows(problem), source=title), folder / f"{name}.xlsx", force=True)
            save(
                make_book(problem, layout="full", source=title), folder / f"{name}_student.xlsx", blank=True, force=True
            )
    write_page(folder / "page.html", post_presets(), force=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
