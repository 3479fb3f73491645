"""The logits that come with the package: the post's two examples, and a network's on real images.

They are files and not arrays in a module so that a new user can look at one, copy it and put own numbers in; the
package reads them through the same door as anybody's (`labelsmooth.files.read_batch`). They are found through
`importlib.resources`, because an installed package need not be a folder: from a zip archive, a copy is unpacked that
lives as long as the process. Source and licence of each file stand in README.md beside them.
"""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from importlib.resources import as_file, files
from pathlib import Path

_UNPACKED = ExitStack()
atexit.register(_UNPACKED.close)


def names() -> tuple[str, ...]:
    """The files, in alphabetical order.

    >>> names()[0]
    'digits.csv'
    """
    entries = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name for name in entries if name.endswith((".csv", ".json"))))


def path(name: str) -> Path:
    """Where the file of that name lies.

    Raises:
        ValueError: there is no such file.

    >>> path("post_cat_dog.csv").read_text(encoding="utf-8").splitlines()[1]
    'img-1.jpg,cat,4.2,-2.4'
    """
    if name not in names():
        raise ValueError(f"there is no file {name!r} among the data: choose one of {', '.join(names())}")
    return _UNPACKED.enter_context(as_file(files(__name__) / name))
