"""Write examples/label_smoothing.ipynb, without outputs: a test runs it and looks at what it prints.

python scripts/make_notebook.py
"""

from __future__ import annotations

from pathlib import Path

import nbformat

TARGET = Path(__file__).parent.parent / "examples" / "label_smoothing.ipynb"
TEXT, CODE = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
CELLS = [
    TEXT("# Label smoothing, step by step\n\nFive images of cats and dogs; the labels are cat, dog, dog, cat, cat."),
    CODE(
        "import labelsmooth as ls\n\n"
        "logits = [[4.2, -2.4], [1.6, -0.6], [3.6, 1.2], [-0.5, 0.5], [-0.25, 1.7]]\n"
        "labels = [0, 1, 1, 0, 0]\n"
        't = ls.trace(logits, labels, 0.1, class_names=["cat", "dog"])\n'
        "print(t.row_loss.round(4).tolist())"
    ),
    TEXT("Every step has a word, a formula and a value. The trace shows them as a table."),
    CODE("t"),
    TEXT("The loss is a mixture of two cross-entropies: with the label, and with the uniform prior."),
    CODE("print((0.9 * t.label_loss + 0.1 * t.prior_loss - t.row_loss).round(12).tolist())"),
    TEXT("More smoothing brings the best logits closer together. Without any, there is no best."),
    CODE("print([round(ls.trace(logits, labels, eps).optimum_gap, 4) for eps in (0.0, 0.1, 0.3)])"),
    TEXT("The same as a live workbook: open it, go to *Steps*, and type another ε."),
    CODE(
        "import tempfile, pathlib\n\n"
        'book = pathlib.Path(tempfile.mkdtemp()) / "cats_and_dogs.xlsx"\n'
        'print(ls.write_workbook(book, logits, labels, 0.1, class_names=["cat", "dog"]).formulas, "formulas")'
    ),
    TEXT("And in PyTorch."),
    CODE(
        "import torch\n\n"
        "z, y = torch.tensor(logits), torch.tensor(labels)\n"
        'print(torch.nn.functional.cross_entropy(z, y, label_smoothing=0.1, reduction="none"))\n'
        'print(ls.LabelSmoothingCrossEntropy(0.1, reduction="none")(z, y))'
    ),
]


def main() -> None:
    """Write the notebook."""
    book = nbformat.v4.new_notebook(cells=CELLS)
    for number, cell in enumerate(book.cells):
        cell["id"] = f"cell-{number}"  # fixed, so that writing it again changes nothing
    book.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(book, TARGET)


if __name__ == "__main__":
    main()
