"""What stands between a file and its reader: limits before anything is read, one line after it failed.

A file may be hostile, so sizes are looked at before anything is unpacked, and whatever a parser raises over bad bytes
becomes one `InputError`. Inner code states a fault and its place; the public functions put the name of the file in
front, once (`named`). The limits are read here at each call, so that one place can change them.
"""

from __future__ import annotations

import stat
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labelsmooth.errors import InputError, LabelsmoothError

MAX_BYTES = 2 * 1024**3  # of any file, and of what an archive declares that it unpacks to
MAX_WORKBOOK_BYTES = 256 * 1024**2  # a workbook is XML: openpyxl needs many times this in memory
MAX_ENTRIES = 2_000  # of a zip archive


def check_file(path: Path, *, limit: bool = True) -> None:
    """Refuses what is missing, no file, empty or (unless it will be read in parts) too large, before anything is read."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError("no such file") from None
    except (OSError, ValueError) as error:  # a name too long, a forbidden folder, a NUL in the name
        raise InputError(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError("is a directory, a file was expected")
    if not stat.S_ISREG(status.st_mode):
        raise InputError("is not a regular file: give - to read standard input")
    check_size(status.st_size, MAX_BYTES if limit else sys.maxsize)


def check_size(size: int, limit: int, verb: str = "holds") -> None:
    """Refuses nothing at all and more than `limit` bytes."""
    if size == 0:
        raise InputError("the file is empty")
    if size > limit:
        raise InputError(f"{verb} {size / 1024**2:,.1f} MiB, more than the limit of {limit / 1024**2:,.1f} MiB")


def check_zip(path: Path, limit: int) -> None:
    """Refuses by what the directory of the archive declares; zipfile unpacks no more than that."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if len(members) > MAX_ENTRIES:
        raise InputError(f"the archive has {len(members):,} entries, more than the limit of {MAX_ENTRIES:,}")
    if any(member.flag_bits & 1 for member in members):
        raise InputError("the archive is encrypted: save it without a password")
    check_size(sum(member.file_size for member in members), limit, "unpacks to")


def standard_input() -> bytes:
    """All of standard input, unless it is too much."""
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    check_size(len(data), MAX_BYTES)
    return data


@contextmanager
def reading(kind: str) -> Iterator[None]:
    """Makes one line of whatever a parser raises over bad bytes, and keeps its warnings off the user's screen."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except LabelsmoothError:
        raise
    except PermissionError as error:
        raise InputError("permission to read it is denied") from error
    except Exception as error:  # the parsers of hostile files raise anything, MemoryError and RecursionError included
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot be read as {kind}, is it cut short? ({reason[:200]})") from error


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Puts the name of the file in front of a fault."""
    try:
        yield
    except InputError as error:
        name = "standard input" if str(path) == "-" else str(path)
        raise InputError(f"{name if name.isprintable() else repr(name)}: {error}") from error
