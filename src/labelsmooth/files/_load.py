"""One door for every format: the suffix chooses the reader, and a raw table or raw arrays come out."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from labelsmooth.errors import InputError

from ._archives import read_numpy, read_parquet, read_safetensors, read_torch, read_xlsx
from ._guard import check_file, standard_input
from ._table import Arrays, Table, show
from ._text import decoded_text, parse_csv, parse_json, parse_json_lines, parse_text, read_text

READERS: dict[str, Callable[[Path, Collection[str]], Table | Arrays]] = {
    ".csv": lambda path, _: parse_csv(read_text(path)),
    ".tsv": lambda path, _: parse_csv(read_text(path), separators="\t,;|"),
    ".npz": read_numpy,
    ".npy": read_numpy,
    ".json": lambda path, _: parse_json(read_text(path)),
    ".jsonl": lambda path, _: parse_json_lines(read_text(path)),
    ".xlsx": read_xlsx,
    ".safetensors": read_safetensors,
    ".pt": read_torch,
    ".parquet": read_parquet,
}


def load(path: Path, *, wanted: Collection[str] = ()) -> Table | Arrays:
    """Reads a file of any known format, "-" as text from standard input. `wanted` spares unpacking other arrays."""
    if str(path) == "-":
        return parse_text(decoded_text(standard_input()))
    check_file(path)
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise InputError(f"the suffix {show(suffix)} is not one of those that are read: {' '.join(READERS)}")
    return READERS[suffix](path, wanted)
