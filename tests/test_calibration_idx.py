"""IDX files: what is declared is what is read, and a file that is cut short, goes on or lies is refused in one line."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from labelsmooth.calibration._idx import MAX_BYTES, read_idx
from labelsmooth.errors import InputError


def idx(kind: int, shape: tuple[int, ...], body: bytes) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + body


PIXELS = idx(0x08, (2, 2, 3), bytes(range(12)))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_images_come_back_as_they_were_written(packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(PIXELS) if packed else PIXELS)
    found = read_idx(path)
    assert found.dtype == np.uint8
    assert found.tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]


def test_numbers_of_several_bytes_are_big_endian(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(idx(0x0C, (2,), struct.pack(">2i", -2, 70_000)))
    assert read_idx(path).tolist() == [-2, 70_000]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is no IDX file: it begins with nothing"),
        (b"\x00\x00\x08", "is no IDX file"),
        (b"PK\x03\x04" + PIXELS, "is no IDX file: it begins with 50 4b 03 04"),
        (idx(0x07, (1,), b"a"), "is no IDX file"),
        (idx(0x08, (), b""), "is no IDX file"),
        (idx(0x08, (1,) * 5, b"a"), "is no IDX file"),
        (PIXELS[:7], "cut short within the lengths"),
        (PIXELS[:-1], "and has only 11"),
        (PIXELS + b"x", "and goes on after them"),
        (idx(0x08, (0,), b""), "expected 1 to"),
        (idx(0x0E, (2**32 - 1, 2**32 - 1), b"x"), f"expected 1 to {MAX_BYTES:,}"),
        (gzip.compress(PIXELS, mtime=0)[:-9], "damaged or cut short"),
        (gzip.compress(PIXELS, mtime=0)[:12], "damaged or cut short"),
        (gzip.compress(idx(0x08, (2**31,), b""), mtime=0), f"expected 1 to {MAX_BYTES:,}"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_it_says_is_refused_in_one_line(data: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_idx(path)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_damaged_bytes_within_gzip_are_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(PIXELS * 100))
    packed[15:30] = b"\xff" * 15
    (tmp_path / "file").write_bytes(bytes(packed))
    with pytest.raises(InputError, match="gzip archive is damaged"):
        read_idx(tmp_path / "file")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_idx(path)
