"""Arrays from outside, checked before they enter the chain: shape, type, range, each fault named by row and class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .conventions import NOT_PADDING, Convention
from .evaluate import Array


def matrix(logits: ArrayLike) -> Array:
    z = np.asarray(logits, np.float64)
    if z.ndim != 2 or not z.size or z.shape[1] < 2:
        raise ValueError(f"logits must be (rows, classes) with at least one row and two classes, got shape {z.shape}")
    return z


def check_padding(row: Convention, ignore_index: int, classes: int) -> None:
    if row.family.over == NOT_PADDING and not 0 <= ignore_index < classes:
        raise ValueError(
            f"the convention {row.name!r} leaves out a padding class: give its number as ignore_index, got {ignore_index}"
        )


def vector(x: ArrayLike, length: int, what: str) -> Array:
    array = np.asarray(x, np.float64)
    if array.shape != (length,):
        raise ValueError(f"{what} must have {length} numbers, got shape {array.shape}")
    if not np.all(np.isfinite(array)) or np.any(array < 0):
        raise ValueError(f"{what} must be finite and not negative")
    return array


def names_for(names: Sequence[str] | None, otherwise: Sequence[str], what: str) -> tuple[str, ...]:
    """The names that were given, or the ones that stand in for them."""
    if names is not None and len(names) != len(otherwise):
        raise ValueError(f"{what} must have {len(otherwise)} entries, got {len(names)}")
    return tuple(str(name) for name in (otherwise if names is None else names))


def sizes(z: Array, ignore_index: int) -> dict[str, Any]:
    """The logits, and what follows from their shape."""
    rows, classes = z.shape
    index = np.arange(classes)
    return {"logits": z, "class_index": index, "n_classes": classes, "n_rows": rows, "ignore_index": ignore_index}


def smoothing_of(label_smoothing: ArrayLike, rows: int) -> tuple[Any, str]:
    eps = np.asarray(label_smoothing, np.float64)
    bad = ~((eps >= 0) & (eps <= 1))  # catches NaN as well
    if np.any(bad):
        raise ValueError(f"label_smoothing must be between 0 and 1, got {eps[bad].flat[0]:g}")
    if eps.ndim == 0:
        return float(eps), ""
    if eps.shape != (rows,):
        raise ValueError(f"label_smoothing must be one number or one a row ({rows}), got shape {eps.shape}")
    return eps, "n"


def take_labels(labels: ArrayLike, z: Array, given: dict[str, Any], ignore_index: int | None) -> bool:
    """Check the labels, put them among the given values, and say whether they are soft."""
    y = np.asarray(labels)
    rows, classes = z.shape
    if y.shape == z.shape and y.dtype.kind == "f":
        off = np.abs(y.sum(axis=1) - 1) > 1e-6
        if np.any(off) or np.any(y < 0) or not np.all(np.isfinite(y)):
            first = int(np.argmax(off | np.any(~(y >= 0), axis=1)))
            raise ValueError(f"soft labels must be distributions: row {first + 1} sums to {y[first].sum():g}")
        given["soft_label"] = y.astype(np.float64)
        return True
    if y.dtype.kind == "f" and np.all(np.isfinite(y) & (y == np.floor(y))):
        y = y.astype(np.int64)
    if y.shape != (rows,) or y.dtype.kind not in "iu":
        raise ValueError(f"labels must be ({rows},) class numbers or {z.shape} distributions, got {y.dtype} {y.shape}")
    bad = ((y < 0) | (y >= classes)) & (y != ignore_index if ignore_index is not None else True)
    if np.any(bad):
        first = int(np.argmax(bad))
        raise ValueError(f"label {y[first]} in row {first + 1} is not a class number from 0 to {classes - 1}")
    given["label"] = y
    return False


def take_keep(keep: ArrayLike | None, given: dict[str, Any], *, soft: bool, ignore_index: int, rows: int) -> bool:
    """Whether some rows do not count; soft labels say so by `keep`, class numbers by `ignore_index`."""
    if keep is None:
        return not soft and bool(np.any(given["label"] == ignore_index))
    if not soft:
        raise ValueError("keep is for soft labels; give rows with class numbers the label ignore_index")
    given["keep"] = vector(keep, rows, "keep")
    if not np.all(np.isin(given["keep"], (0, 1))):
        raise ValueError("keep must hold 0 and 1 only")
    return True


def take_prior(prior: ArrayLike | None, given: dict[str, Any], shape: tuple[int, int]) -> str:
    if prior is None:
        return ""
    u = np.asarray(prior, np.float64)
    if u.shape not in (shape[1:], shape):
        raise ValueError(f"prior must have {shape[1]} numbers, or {shape} for one a row; got shape {u.shape}")
    if not np.all(u >= 0) or np.any(np.abs(u.sum(axis=-1) - 1) > 1e-6):
        raise ValueError(
            f"prior must be a distribution: not negative, and its sum 1; got the sum {np.ravel(u.sum(axis=-1))[0]:g}"
        )
    given["prior"] = u
    return "k" if u.ndim == 1 else "nk"


def take_mask(class_mask: ArrayLike | None, given: dict[str, Any], shape: tuple[int, int]) -> str:
    if class_mask is None:
        return ""
    mask = np.asarray(class_mask).astype(np.float64)
    if mask.shape not in (shape[1:], shape) or not np.all(np.isin(mask, (0, 1))):
        raise ValueError(f"class_mask must hold 0 and 1, {shape[1]} of them or {shape}; got shape {mask.shape}")
    room = np.broadcast_to(mask, shape) * np.broadcast_to(given.get("prior", 1.0), shape)
    if np.any(room.sum(axis=1) <= 0):
        raise ValueError(
            f"class_mask leaves row {int(np.argmax(room.sum(axis=1) <= 0)) + 1} no class that the prior gives mass"
        )
    charged = given["soft_label"] if "soft_label" in given else np.arange(shape[1]) == given["label"][:, None]
    masked = (charged * (1 - np.broadcast_to(mask, shape))).sum(axis=1) > 0
    if np.any(masked):
        raise ValueError(f"the label of row {int(np.argmax(masked)) + 1} is a masked class")
    given["allowed"] = mask
    return "k" if mask.ndim == 1 else "nk"


def check_finite(z: Array, given: dict[str, Any]) -> None:
    counts = np.ones(len(z)) if "label" not in given else given["label"] != given["ignore_index"]
    needed = np.broadcast_to(given.get("allowed", 1.0), z.shape) * np.reshape(given.get("keep", counts), (-1, 1)) > 0
    bad = ~np.isfinite(z) & needed
    if np.any(bad):
        n, k = (int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"the logit of row {n + 1}, class {k} is {z[n, k]}: mask the class, ignore the row, or replace it by a finite number"
        )
