"""The logits that come with the package: the post's two examples, and what real networks say about real input.

They are files and not arrays in a module so that a new user can look at one, copy it and put own numbers in; the
package reads them through the same door as anybody's (`labelsmooth.files.read_batch`). They are found through
`importlib.resources`, because an installed package need not be a folder: from a zip archive, a copy is unpacked that
lives as long as the process. `sources` lists them with origin and licence, README.md beside them tells the whole.
"""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from importlib.resources import as_file, files
from pathlib import Path

from ._sources import SOURCES, Source

__all__ = ["Source", "names", "path", "sources"]

_UNPACKED = ExitStack()
atexit.register(_UNPACKED.close)


def names() -> tuple[str, ...]:
    """The files, in alphabetical order.

    >>> names()[0]
    'digits.csv'
    """
    entries = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name for name in entries if name.endswith((".csv", ".json", ".npz"))))


def path(name: str) -> Path:
    """Where the file of that name lies; the suffix may be left out.

    Raises:
        ValueError: there is no such file.

    >>> path("post_cat_dog").read_text(encoding="utf-8").splitlines()[1]
    'img-1.jpg,cat,4.2,-2.4'
    """
    found = [one for one in names() if name in (one, one.rpartition(".")[0])]
    if not found:
        raise ValueError(f"there is no file {name!r} among the data: choose one of {', '.join(names())}")
    return _UNPACKED.enter_context(as_file(files(__name__) / found[0]))


def sources() -> tuple[Source, ...]:
    """Every shipped batch: its name, size, origin and licence, and the script that made it.

    >>> [(s.name, s.licence) for s in sources() if s.rows == 200]
    [('digits.csv', 'CC BY 4.0')]
    """
    return SOURCES
