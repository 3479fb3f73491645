"""Streams: mapped, in parts or whole, the rows are the same, and so are the faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, agree
from labelsmooth.errors import InputError
from labelsmooth.files import Stream, open_stream, stream, stream_of

Z = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 5, 40)
NAMES = ("ant", "bee", "cat", "dog", "eel")


def rows(opened: Stream) -> tuple[np.ndarray, np.ndarray]:
    parts = list(opened.blocks())
    return np.concatenate([z for z, _ in parts]), np.concatenate([y for _, y in parts])


def same(opened: Stream, z: np.ndarray = Z, y: np.ndarray = Y) -> None:
    for _ in range(2):  # blocks come afresh at each call
        got, labels = rows(opened)
        agree(got, z, budget=FLOAT64, what="logits", any_dtype=True)
        agree(labels, y, budget=FLOAT64, what="labels", any_dtype=True)
    assert (opened.rows, opened.classes) == z.shape


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK_CELLS", 35)  # seven rows
    monkeypatch.setattr(stream, "LARGE_CELLS", 10)


def parquet(folder: Path, kind: str, labels: Any = None) -> Path:
    arrow, writer = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = folder / f"{kind}.parquet"
    named = [NAMES[k] for k in Y] if labels is None else labels
    columns = {name: Z[:, k] for k, name in enumerate(NAMES)}
    tables = {
        "columns": {"id": [f"r{i}" for i in range(40)], **columns, "label": named},
        "lists": {"logits": list(Z), "labels": Y},
        "bare": columns,
    }
    writer.write_table(arrow.table(tables[kind]), file, row_group_size=11)
    return file


def test_a_mapped_array_is_read_in_blocks(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", Z)
    np.save(tmp_path / "y.npy", Y)
    opened = open_stream(tmp_path / "z.npy", labels=tmp_path / "y.npy")
    same(opened)
    assert [len(y) for _, y in opened.blocks()] == [7, 7, 7, 7, 7, 5]
    assert next(opened.blocks())[0].dtype == np.float32  # as it lies on the disk


def test_a_large_mapped_array_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labelsmooth.files import _guard

    monkeypatch.setattr(_guard, "MAX_BYTES", 700)  # the limit of what is read whole
    np.save(tmp_path / "z.npy", Z)
    (tmp_path / "y.txt").write_text("\n".join(map(str, Y)), encoding="utf-8")
    same(open_stream(tmp_path / "z.npy", labels=tmp_path / "y.txt"))


@pytest.mark.parametrize("kind", ["columns", "lists"])
def test_parquet_is_read_some_rows_at_a_time(tmp_path: Path, kind: str) -> None:
    opened = open_stream(parquet(tmp_path, kind))
    same(opened)
    assert max(len(y) for _, y in opened.blocks()) <= 7
    if kind == "columns":
        assert opened.class_names == NAMES


def test_parquet_with_labels_elsewhere(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", Y)
    same(open_stream(parquet(tmp_path, "bare"), labels=tmp_path / "y.npy"))


def test_ignored_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    labels = np.where(np.arange(40) % 9 == 0, -100, Y)
    labels[7:14] = -100  # a whole block
    kept = labels != -100
    np.savez(tmp_path / "z.npz", logits=Z, labels=labels)
    np.save(tmp_path / "z.npy", Z)
    np.save(tmp_path / "y.npy", labels)
    for opened in (open_stream(tmp_path / "z.npz"), open_stream(tmp_path / "z.npy", labels=tmp_path / "y.npy")):
        same(opened, Z[kept], Y[kept])
        assert opened.ignored == 40 - kept.sum()


def test_an_archive_holds_epsilon_seed_and_a_validation_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "z.npz", logits=Z, labels=Y, eps=0.1, seed=3, val_logits=2 * Z[:9], val_labels=Y[:9])
    opened = open_stream(tmp_path / "z.npz")
    assert (opened.epsilon, opened.seed) == (0.1, 3)
    assert opened.validation is not None
    same(opened.validation, 2 * Z[:9], Y[:9])
    for wrong, says in (
        ({"seed": [1, 2]}, "seed must be one number"),
        ({"val_logits": Z[:9, :4]}, r"must be \(N, 5\)"),
    ):
        np.savez(tmp_path / "z.npz", logits=Z, labels=Y, **wrong)
        with pytest.raises(InputError, match=says):
            open_stream(tmp_path / "z.npz")


def test_probabilities_become_logarithms_block_by_block(tmp_path: Path) -> None:
    p = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
    p[30] = [0, 0, 1, 0, 0]
    np.savez(tmp_path / "p.npz", logits=p, labels=Y)
    with np.errstate(divide="ignore"):
        same(open_stream(tmp_path / "p.npz", probabilities=True), np.log(p.astype(float)))
    p[33] *= 1.1
    np.savez(tmp_path / "p.npz", logits=p, labels=Y)
    with pytest.raises(InputError, match=r"p\.npz: row 34: the probabilities sum to 1\.1, not to 1"):
        rows(open_stream(tmp_path / "p.npz", probabilities=True))


def test_faults_in_a_later_block_name_file_and_row(tmp_path: Path) -> None:
    z = Z.copy()
    z[25, 3] = np.inf
    np.save(tmp_path / "z.npy", z)
    np.save(tmp_path / "y.npy", Y)
    with pytest.raises(InputError, match=r"z\.npy: row 26, class 3: inf is no logit"):
        rows(open_stream(tmp_path / "z.npy", labels=tmp_path / "y.npy"))


@pytest.mark.parametrize(
    ("array", "labels", "says"),
    [
        (Z, None, "a .npy file holds no labels: pass --labels FILE"),
        (Z[0], Y, r"the shape of the logits is \(1,\)"),
        (Z, Y[:39], r"y\.npy: 39 labels for 40 rows of logits"),
        (Z, np.where(Y == 0, 9, Y), r"y\.npy: row \d+: label 9 is out of range"),
        (Z, np.eye(5)[Y], r"y\.npy: the labels are distributions"),
        (Z.astype(str), Y, "logits are of dtype <U"),
    ],
)
def test_what_cannot_be_opened_is_one_line(tmp_path: Path, array: np.ndarray, labels: Any, says: str) -> None:
    np.save(tmp_path / "z.npy", array)
    if labels is not None:
        np.save(tmp_path / "y.npy", labels)
    with pytest.raises(InputError, match=says):
        open_stream(tmp_path / "z.npy", labels=None if labels is None else tmp_path / "y.npy")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="never unpickled"):
        open_stream(tmp_path / "z.npy", labels=tmp_path / "z.npy")


def test_arrays_are_a_stream_too() -> None:
    same(stream_of(Z, Y, NAMES))
    with pytest.raises(ValueError, match="39 labels for 40 rows"):
        stream_of(Z, Y[:39])
