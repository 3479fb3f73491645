"""Reads IDX, the format in which MNIST and Fashion-MNIST are published.

Four bytes (two zeros, the type of the numbers, how many axes), the length of each axis as four bytes, then the numbers, all
big-endian; usually packed with gzip. What the head declares is held against a limit before anything is unpacked, and the body
must have exactly that many bytes: a file that was cut short, or that goes on, is refused.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from labelsmooth.errors import InputError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_AXES = 4
MAX_BYTES = 1024**3
GZIP = b"\x1f\x8b"


def read_idx(path: Path) -> NDArray[np.generic]:
    r"""Reads one IDX file, packed with gzip or not.

    Args:
        path: the file.

    Returns:
        An array with the axes that the file declares, in the machine's byte order.

    Raises:
        InputError: the file is missing, is no IDX file, declares more than a gigabyte, is cut short or goes on.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp(), "labels-idx1-ubyte")
        >>> _ = file.write_bytes(b"\x00\x00\x08\x01\x00\x00\x00\x03\x07\x00\x02")
        >>> read_idx(file).tolist()
        [7, 0, 2]

    Reference: "The MNIST database of handwritten digits", Y. LeCun, C. Cortes and C. Burges, section "The IDX file format".
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == GZIP
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            return _read(cast("BinaryIO", stream))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: the gzip archive is damaged or cut short ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read(stream: BinaryIO) -> NDArray[np.generic]:
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES or not 1 <= head[3] <= MAX_AXES:
        raise InputError(
            f"is no IDX file: it begins with {head.hex(' ') or 'nothing'}, expected 00 00, a type and 1 to 4 axes"
        )
    lengths = stream.read(4 * head[3])
    if len(lengths) < 4 * head[3]:
        raise InputError("is cut short within the lengths of its axes")
    shape = tuple(int(n) for n in np.frombuffer(lengths, ">u4"))
    dtype = np.dtype(TYPES[head[2]])
    size = math.prod(shape) * dtype.itemsize
    if not 0 < size <= MAX_BYTES:
        raise InputError(f"declares an array of shape {shape}, {size:,} bytes; expected 1 to {MAX_BYTES:,}")
    body = stream.read(size + 1)
    if len(body) != size:
        has = f"has only {len(body):,}" if len(body) < size else "goes on after them"
        raise InputError(f"declares an array of shape {shape}, {size:,} bytes, and {has}")
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="))
