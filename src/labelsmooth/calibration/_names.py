"""The many-class set: in which language is this name? From the Unicode CLDR, as the package `babel` brings it.

A class is a language, a row one of its names for languages, territories and currencies. More than a third of the rows have a
name that several languages share, so that no network can be right about all of them: real ambiguity, which label noise only
imitates. A name is read as the set of its one-, two- and three-letter pieces, each hashed into one of a few thousand buckets.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from labelsmooth.errors import MissingExtra

AT_LEAST = 200  # names a language must have to be a class
BUCKETS = 2**15  # bucket 0 is the padding
LONGEST = 96  # pieces that are looked at; one name in a hundred is longer


def read_names() -> tuple[list[str], NDArray[np.int64], tuple[str, ...], str]:
    """Gives names, the number of each one's language, the languages, and the version of what they come from."""
    try:
        import babel
        from babel.localedata import locale_identifiers
    except ImportError as error:
        raise MissingExtra("babel", "study", "the set of names") from error
    names: list[str] = []
    labels: list[int] = []
    languages: list[str] = []
    for code in sorted(one for one in locale_identifiers() if "_" not in one):
        locale = babel.Locale.parse(code)
        own = {
            str(name) for part in (locale.languages, locale.territories, locale.currencies) for name in part.values()
        }
        if len(own) >= AT_LEAST:
            names += sorted(own)
            labels += [len(languages)] * len(own)
            languages.append(code)
    return names, np.array(labels, np.int64), tuple(languages), f"babel {babel.__version__}"


def pieces(name: str) -> list[int]:
    """Gives the buckets of the pieces of a name; its ends count as letters.

    >>> len(pieces("Ob"))  # four letters with the ends: 4 + 3 + 2 pieces
    9
    >>> pieces("Ob") == pieces("OB")
    False
    """
    text = f"\N{START OF TEXT}{name}\N{END OF TEXT}"
    grams = (text[i : i + n] for n in (1, 2, 3) for i in range(len(text) - n + 1))
    return [crc32(gram.encode()) % (BUCKETS - 1) + 1 for gram in grams][:LONGEST]


def as_pieces(names: list[str]) -> NDArray[np.int32]:
    """Gives (N, LONGEST) buckets, padded with zeros."""
    table = np.zeros((len(names), LONGEST), np.int32)
    for row, name in zip(table, names, strict=True):
        found = pieces(name)
        row[: len(found)] = found
    return table
