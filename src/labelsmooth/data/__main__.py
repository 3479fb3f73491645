"""`python -m labelsmooth.data`: the shipped batches with size, licence, and the path to give to a command."""

import sys

from . import path, sources


def main() -> str:
    """The shipped batches as a table, a line each."""
    lines = [("rows x classes", "licence", "what", "path")]
    lines += [(f"{s.rows:,} x {s.classes}", s.licence, s.what, str(path(s.name))) for s in sources()]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line[:3], widths, strict=True)), line[3]]) + "\n"
        for line in lines
    )


if __name__ == "__main__":
    sys.stdout.write(main())
