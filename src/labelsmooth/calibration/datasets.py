"""The real data that networks of the study are trained on, and how each seed divides it.

    fashion   Fashion-MNIST: 70,000 photos of clothes, 28 x 28, 10 classes (Xiao et al., arXiv 1708.07747), from its IDX files
    digits    1,797 handwritten digits, 8 x 8, from scikit-learn
    names     names in more than two hundred languages, from the Unicode CLDR through `babel`

Nothing is downloaded. Every seed has training rows of its own, so that what differs between seeds is what another sample would
have given; where the publisher has set test rows apart, they are the test rows of all seeds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelsmooth.errors import InputError, MissingExtra

from ._idx import read_idx
from ._names import as_pieces, read_names

ENVIRONMENT = "FASHION_MNIST"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
SETS = ("fashion", "digits", "names")
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
VALIDATION = {"fashion": 5_000, "digits": 400, "names": 5_000}
TEST = {"digits": 1_097, "names": 10_000}  # drawn; Fashion-MNIST brings its own
DRAW = 2020  # the draw that sets apart the rows that all seeds share


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a set: what a network is given, and what it should say."""

    inputs: NDArray[np.generic]  # (N, D) or (N, 1, H, W) float32, for names (N, pieces) int32
    labels: NDArray[np.int64]  # (N,)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """Gives these rows, in this order."""
        return Rows(self.inputs[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Data:
    """A whole set: rows to draw from, and test rows if the publisher has set them apart."""

    name: str
    rows: Rows
    test: Rows | None
    class_names: tuple[str, ...]
    source: str  # in words, with the version where there is one

    @property
    def classes(self) -> int:
        """K."""
        return len(self.class_names)


@dataclass(frozen=True, eq=False)
class Split:
    """What one seed trains on, tunes on and is judged by."""

    train: Rows
    validation: Rows
    test: Rows


def split(data: Data, *, train: int, seed: int) -> Split:
    """Divides a set for one seed.

    Args:
        data: the set.
        train: how many training rows; a smaller number gives the first of the rows that a larger one gives.
        seed: chooses the training rows; for digits, which are few, the validation and test rows too.

    Raises:
        ValueError: there are not so many rows.

    Example:
        >>> import numpy as np
        >>> ten = Data("digits", Rows(np.zeros((1_797, 64), np.float32), np.zeros(1_797, np.int64)), None, ("a", "b"), "")
        >>> [len(part) for part in vars(split(ten, train=300, seed=0)).values()]
        [300, 400, 1097]
    """
    validation, test = VALIDATION[data.name], TEST.get(data.name, 0)
    rest = len(data.rows) - validation - test
    if not 1 <= train <= rest:
        raise ValueError(f"{data.name} leaves 1 to {rest:,} rows for training, got {train:,}")
    order = np.random.default_rng(seed if data.name == "digits" else DRAW).permutation(len(data.rows))
    held, free = order[: validation + test], order[validation + test :]
    if data.name != "digits":
        free = np.random.default_rng(seed).permutation(free)
    tested = data.rows.take(held[validation:]) if data.test is None else data.test
    return Split(data.rows.take(free[:train]), data.rows.take(held[:validation]), tested)


@cache
def load(name: str, folder: Path | None = None) -> Data:
    """Reads a set by its name; a second call gives the same object.

    Args:
        name: "fashion", "digits" or "names".
        folder: where the files of Fashion-MNIST lie; the other sets come from packages.

    Raises:
        InputError: the files are not there or cannot be read.
        MissingExtra: the package that a set comes from is not installed.
    """
    if name == "fashion":
        return _fashion(fashion_folder(folder))
    if name == "digits":
        return _digits()
    if name == "names":
        names, labels, languages, version = read_names()
        return Data(name, Rows(as_pieces(names), labels), None, languages, f"Unicode CLDR, {version}")
    raise ValueError(f"there is no set {name!r}: choose from {', '.join(SETS)}")


def fashion_folder(folder: Path | None = None) -> Path:
    """Where Fashion-MNIST lies: the folder given, the one that FASHION_MNIST names, or Debian's."""
    given = folder or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    places = [given] if given else [DEBIAN]
    for place in places:
        if place.is_dir():
            return place
    what = f"{given} is no folder" if given else "Fashion-MNIST is not on this machine"
    raise InputError(
        f"{what}: sudo apt-get install dataset-fashion-mnist, or name the folder with its four files "
        f"(train-images-idx3-ubyte.gz, ...) by --data DIR or {ENVIRONMENT}=DIR"
    )


def _fashion(folder: Path) -> Data:
    parts = []
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        images = read_idx(_file(folder, f"{part}-images", "idx3"))
        labels = read_idx(_file(folder, f"{part}-labels", "idx1"))
        if images.shape != (count, 28, 28) or labels.shape != (count,) or images.dtype != np.uint8:
            raise InputError(
                f"{folder}: {part} has images {images.shape} of {images.dtype} and labels {labels.shape}, "
                f"expected ({count}, 28, 28) of uint8 and ({count},)"
            )
        if labels.max() >= len(CLOTHES):
            raise InputError(f"{folder}: {part} has the label {labels.max()}, expected 0 to {len(CLOTHES) - 1}")
        scaled = (images.astype(np.float32) / 255 - 0.2860) / 0.3530  # mean and deviation of the training images
        parts.append(Rows(scaled.reshape(count, -1), labels.astype(np.int64)))
    return Data("fashion", parts[0], parts[1], CLOTHES, "Fashion-MNIST")


def _file(folder: Path, part: str, kind: str) -> Path:
    """The name as published, as Debian packs it, and as some copies have it; unpacked or not."""
    names = [f"{part}{dot}{kind}-ubyte{end}" for dot in "-." for end in (".gz", "")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: there is no {' or '.join(names[:2])}")


def _digits() -> Data:
    try:
        from sklearn import __version__ as version
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("scikit-learn", "study", "the set of digits") from error
    images, labels = load_digits(return_X_y=True)
    rows = Rows((images / 8 - 1).astype(np.float32), labels.astype(np.int64))
    return Data("digits", rows, None, tuple("0123456789"), f"scikit-learn {version}")


def noisy(labels: NDArray[np.int64], classes: int, share: float, seed: int) -> NDArray[np.int64]:
    """Gives wrong labels to a share of the rows: each of the other classes equally often (symmetric noise).

    Args:
        labels: (N,) the right ones.
        classes: K.
        share: which part of the rows, from 0 to 1; the nearest whole number of them, no more and no fewer.
        seed: chooses rows and labels.

    Returns:
        A new array (N,).

    Raises:
        ValueError: the share is not from 0 to 1.

    Example:
        >>> wrong = noisy(np.zeros(1000, np.int64), 10, 0.2, seed=0)
        >>> int((wrong != 0).sum()), int(wrong.max())
        (200, 9)

    Reference: Lukasik et al., "Does label smoothing mitigate label noise?", arXiv 2003.02819, 2020.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of wrong labels must be from 0 to 1, got {share!r}")
    random = np.random.default_rng([seed, 20])
    rows = random.permutation(len(labels))[: round(share * len(labels))]
    given = labels.copy()
    given[rows] = (labels[rows] + random.integers(1, classes, len(rows))) % classes
    return given


def sources(datasets: Sequence[Data]) -> str:
    """Names where the data is from, for a report."""
    return "; ".join(f"{data.name}: {data.source}" for data in datasets)
