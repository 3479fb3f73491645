"""Draw what bench_loss.py recorded last: how many times faster than PyTorch, for docs/loss.md.

    python benchmarks/plot_loss.py        # reads benchmarks/results.csv, writes docs/pictures/loss_speed.svg

Bars are ratios of medians of one run. Nothing is measured here.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

from bench_workbook import RESULTS
from matplotlib import pyplot as plt

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "loss_speed.svg"
DTYPE = "float32"
WAYS = {"torch.compile": "#8a8a8a", "ours": "#0072b2", "ours in one call": "#e69f00", "ours in place": "#009e73"}
LEGEND = {
    "ours": "labelsmooth",
    "ours in one call": "labelsmooth, gradient_in_forward",
    "ours in place": "labelsmooth, inplace",
}


def last_run(file: Path) -> tuple[dict[str, dict[str, float]], str]:
    """Give the median seconds by shape and way of the last recorded run, and the words on where it was."""
    with file.open(encoding="utf-8", newline="") as stream:
        lines = [line for line in csv.DictReader(stream) if line["benchmark"] == "bench_loss"]
    lines = [line for line in lines if line["case"].startswith(DTYPE)]
    if not lines:
        raise SystemExit(f"{file} has no {DTYPE} figures of bench_loss: run python benchmarks/bench_loss.py --record")
    end = lines[-1]
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        if (line["date"], line["commit"]) == (end["date"], end["commit"]):
            shape, _, way = line["case"].removeprefix(f"{DTYPE} ").partition(": ")
            found.setdefault(shape.partition(",")[0], {})[way] = float(line["p50"])
    return found, f"{end['device']}, {end['versions'].split()[0]} {end['versions'].split()[1]}, {end['date']}"


def draw(found: dict[str, dict[str, float]], where: str, picture: Path) -> None:
    """Draw a group of bars for each shape."""
    plt.rcParams.update({"svg.hashsalt": "labelsmooth", "svg.fonttype": "none", "font.size": 9})
    figure, axes = plt.subplots(figsize=(8, 4.4))
    height = 0.8 / len(WAYS)
    for number, (way, colour) in enumerate(WAYS.items()):
        ratios = [times["torch"] / times[way] for times in found.values()]
        places = [row + number * height for row in range(len(found))]
        axes.barh(places, ratios, height * 0.92, color=colour, label=LEGEND.get(way, way))
        for place, ratio in zip(places, ratios, strict=True):
            axes.text(ratio, place, f" {ratio:.1f}", va="center", fontsize=7)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks([row + 0.3 for row in range(len(found))], [shape.replace(" x ", " × ") for shape in found])
    axes.invert_yaxis()
    axes.set_xlabel(f"times faster than PyTorch's eager loss and backward ({DTYPE}, ε = 0.1)")
    axes.set_title(f"Forward and backward, rows × classes\n{where}", fontsize=9, loc="left")
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(picture, metadata={"Date": None, "Title": "Speed of the loss beside PyTorch's"})


def table(found: dict[str, dict[str, float]]) -> str:
    """Give the same as a Markdown table."""
    head = ["rows × classes", "PyTorch", *(LEGEND.get(way, way) for way in WAYS)]
    lines = [head, ["---"] * len(head)]
    for shape, times in found.items():
        ratios = [f"{times['torch'] / times[way]:.1f}×" for way in WAYS]
        lines.append([shape.replace(" x ", " × "), f"{times['torch'] * 1e3:.3g} ms", *ratios])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    """Draw the picture and print the table."""
    found, where = last_run(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS)
    draw(found, where, PICTURE)
    print(where, table(found), f"wrote {PICTURE}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
