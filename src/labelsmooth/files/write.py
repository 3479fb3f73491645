"""Files written whole or not at all: a temporary file beside the target takes its place at the end.

A full disk, a failing writer and an interrupt leave neither half a file nor a temporary one. The temporary file is made
in the target's folder, as only a move within one file system happens at once.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labelsmooth.errors import InputError

from ._guard import named


@contextmanager
def write_atomically(path: str | Path, *, force: bool) -> Iterator[Path]:
    """Gives a temporary path beside `path`, which takes its place when the block ends and is removed when it fails.

    Args:
        path: the file to write; a link is followed.
        force: replace an existing file, and keep its permissions.

    Raises:
        InputError: the file exists, its folder is missing or cannot be written to, or the disk is full.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "note.txt")
        >>> with write_atomically(path, force=False) as temporary:
        ...     _ = temporary.write_text("whole or not at all")
        >>> path.read_text()
        'whole or not at all'
    """
    with named(path):
        target = _target(path, force=force)
        # The suffix stays: writers choose a format by it, or append one. Made here and not by tempfile, for the umask.
        suffix = target.suffix if len(target.suffix) < 20 else ""
        temporary = target.with_name(f".{secrets.token_hex(6)}{suffix}")
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot be written: {getattr(error, 'strerror', None) or error}") from error
    try:
        yield temporary
        with named(path):
            _target(path, force=force)  # somebody may have been quicker
            try:
                if target.exists():
                    shutil.copymode(target, temporary)
                temporary.replace(target)
            except OSError as error:
                raise InputError(f"cannot be replaced: {error.strerror} (is it open in a program?)") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        with named(path):
            raise InputError(f"cannot be written: {error.strerror}; nothing was left behind") from error
    finally:
        temporary.unlink(missing_ok=True)


def _target(path: str | Path, *, force: bool) -> Path:
    """The file that `path` means, if it may be written."""
    try:
        target = Path(os.path.realpath(path))
        has_folder, exists = target.parent.is_dir(), target.exists()
    except (OSError, ValueError) as error:  # a name too long, a NUL in the name
        raise InputError(f"cannot be written: {getattr(error, 'strerror', None) or error}") from error
    if not has_folder:
        raise InputError(f"the directory {str(target.parent)!r} does not exist: make it first")
    if target.is_dir():
        raise InputError("is a directory, the name of a file was expected")
    if exists and not target.is_file():  # replacing /dev/null would be no good turn
        raise InputError("is not a regular file")
    if exists and not force:
        raise InputError("exists already: pass --force to replace it")
    return target
