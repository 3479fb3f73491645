"""The study's data: each seed's rows, labels that are wrong on purpose, and files that are not there."""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from labelsmooth.calibration import datasets
from labelsmooth.calibration.datasets import Data, Rows, fashion_folder, load, noisy, split
from labelsmooth.errors import InputError, MissingExtra


def numbered(name: str, rows: int, test: int = 0) -> Data:
    """A set whose inputs are the numbers of its rows."""
    inputs = np.arange(rows + test, dtype=np.float32)[:, None]
    labels = np.zeros(rows + test, np.int64)
    held = Rows(inputs[rows:], labels[rows:]) if test else None
    return Data(name, Rows(inputs[:rows], labels[:rows]), held, ("a", "b"), "numbers")


def drawn(data: Data, train: int, seed: int) -> list[list[int]]:
    parts = split(data, train=train, seed=seed)
    return [[int(x) for x in part.inputs[:, 0]] for part in (parts.train, parts.validation, parts.test)]


@pytest.mark.parametrize(("name", "rows", "test"), [("fashion", 6_000, 50), ("digits", 1_797, 0), ("names", 15_500, 0)])
def test_no_row_is_in_two_parts(name: str, rows: int, test: int) -> None:
    data = numbered(name, rows, test)
    for seed in (0, 1):
        parts = drawn(data, 100, seed)
        assert sum(map(len, parts)) == len({row for part in parts for row in part})


def test_seeds_have_training_rows_of_their_own_and_share_the_test_rows() -> None:
    for data in (numbered("fashion", 6_000, 50), numbered("names", 15_500)):
        first, second = drawn(data, 200, 0), drawn(data, 200, 1)
        assert first[0] != second[0]
        assert first[1:] == second[1:]
    few = numbered("digits", 1_797)
    assert drawn(few, 300, 0)[2] != drawn(few, 300, 1)[2]


def test_fewer_training_rows_are_the_first_of_many() -> None:
    data = numbered("fashion", 6_000, 50)
    assert drawn(data, 40, 3)[0] == drawn(data, 90, 3)[0][:40]


@pytest.mark.parametrize("train", [0, 1_001])
def test_more_rows_than_there_are_is_an_error(train: int) -> None:
    with pytest.raises(ValueError, match="fashion leaves 1 to 1,000 rows for training"):
        split(numbered("fashion", 6_000, 50), train=train, seed=0)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_exactly_the_share_of_labels_becomes_wrong(share: float) -> None:
    right = np.random.default_rng(0).integers(0, 10, 10_000)
    given = noisy(right, 10, share, seed=4)
    assert int((given != right).sum()) == round(share * 10_000)


def test_wrong_labels_are_symmetric_and_differ_between_seeds() -> None:
    right = np.repeat(np.arange(5), 4_000)
    given = noisy(right, 5, 0.5, seed=0)
    moved = np.bincount(5 * right + given, minlength=25).reshape(5, 5)
    expected = 2_000 / 4  # half of a class, over the four others; each count has a deviation of about 21
    assert np.abs(moved[~np.eye(5, dtype=bool)] - expected).max() < 5 * 21
    assert (noisy(right, 5, 0.5, seed=1) != given).any()
    assert (noisy(right, 5, 0.5, seed=0) == given).all()
    assert int((right == np.repeat(np.arange(5), 4_000)).sum()) == 20_000  # what was given is left alone


def test_a_share_beyond_one_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"from 0 to 1, got 1\.2"):
        noisy(np.zeros(5, np.int64), 2, 1.2, 0)


def test_a_missing_set_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(datasets.ENVIRONMENT, raising=False)
    monkeypatch.setattr(datasets, "DEBIAN", tmp_path / "none")
    with pytest.raises(
        InputError, match=r"apt-get install dataset-fashion-mnist, or .*--data DIR or FASHION_MNIST=DIR"
    ):
        fashion_folder()
    monkeypatch.setenv(datasets.ENVIRONMENT, str(tmp_path))
    assert fashion_folder() == tmp_path
    with pytest.raises(InputError, match=r"there is no train-images-idx3-ubyte\.gz or train-images-idx3-ubyte"):
        load("fashion", tmp_path)
    with pytest.raises(InputError, match="other is no folder"):
        fashion_folder(tmp_path / "other")


def test_files_with_other_shapes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 2, 1, 1) + b"ab")
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 2) + b"ab"))
    with pytest.raises(InputError, match=r"train has images \(2, 1, 1\) of uint8 .* expected \(60000, 28, 28\)"):
        load("fashion", tmp_path)


@pytest.mark.parametrize(("name", "package"), [("digits", "sklearn.datasets"), ("names", "babel")])
def test_a_missing_package_gives_the_line_that_installs_it(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    load.cache_clear()
    with pytest.raises(MissingExtra, match=r"pip install 'labelsmooth\[study\]'"):
        load(name)


def test_another_name_is_no_set() -> None:
    with pytest.raises(ValueError, match="there is no set 'mnist': choose from fashion, digits, names"):
        load("mnist")


@pytest.mark.slow
def test_fashion_mnist_is_read_whole() -> None:
    try:
        folder = fashion_folder()
    except InputError as error:
        pytest.skip(str(error))
    data = load("fashion", folder)
    load.cache_clear()  # 200 MB
    assert data.test is not None
    assert (data.rows.inputs.shape, data.test.inputs.shape) == ((60_000, 784), (10_000, 784))
    assert np.bincount(data.rows.labels).tolist() == [6_000] * 10
    assert np.bincount(data.test.labels).tolist() == [1_000] * 10
    assert abs(float(data.rows.inputs.mean())) < 1e-3
    assert abs(float(data.rows.inputs.std()) - 1) < 1e-3


@pytest.mark.slow
def test_the_names_are_many_classes_with_names_that_several_share() -> None:
    pytest.importorskip("babel")
    from labelsmooth.calibration._names import AT_LEAST, BUCKETS, as_pieces, read_names

    names, labels, languages, version = read_names()
    assert version.startswith("babel ")
    assert len(languages) > 200
    assert np.bincount(labels).min() >= AT_LEAST
    assert len(set(names)) < 0.8 * len(names)
    german = {name for name, label in zip(names, labels, strict=True) if languages[label] == "de"}
    assert {"Deutschland", "Schwedisch"} <= german
    table = as_pieces(names[:100])
    assert table.min() == 0
    assert table.max() < BUCKETS
    assert (table[:, 0] > 0).all()
