"""What the scripts that make shipped logits share: the file they write, and the figures that README.md gives of it.

Logits are stored as float16, which halves a file at a price; `write` says what it was, measured on the file itself. The
figures are computed from what is stored, so that whoever opens a file finds what was printed. Only NumPy is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parents[1] / "src" / "labelsmooth" / "data"
BINS = 15


def needs(what: str) -> NoReturn:
    """End the script with one line: what is missing, and how to get it."""
    sys.exit(f"this script needs {what}")


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Logarithms of the probabilities, (N, K)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True).astype(np.float64)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def figures(logits: NDArray[Any], labels: NDArray[np.integer[Any]]) -> dict[str, float]:
    """Accuracy, mean confidence, negative log-likelihood, and the calibration error in 15 bins of equal width."""
    log_probability = log_softmax(logits)  # (N, K)
    confidence = np.exp(log_probability.max(axis=1))  # (N,)
    right = logits.argmax(axis=1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return {
        "accuracy": float(right.mean()),
        "confidence": float(confidence.mean()),
        "nll": float(-log_probability[np.arange(len(labels)), labels].mean()),
        "ece": float(np.abs(gaps).sum() / len(labels)),
    }


def write(
    file: Path, logits: NDArray[Any], labels: NDArray[Any], class_names: Sequence[str], **about: float
) -> dict[str, float]:
    """Store a batch as float16 and print what is in it; `about` are numbers that go along, such as ε."""
    stored = logits.astype(np.float16)
    np.savez_compressed(
        file,
        logits=stored,
        labels=labels.astype(np.uint8),
        class_names=np.array(class_names),
        **{name: np.float64(value) for name, value in about.items()},
    )
    before, after = figures(logits, labels), figures(stored, labels)
    lost = ", ".join(f"{name} {after[name] - before[name]:+.2g}" for name in after if after[name] != before[name])
    furthest = np.abs(np.exp(log_softmax(stored)) - np.exp(log_softmax(logits))).max()
    print(
        f"{file.name}: {logits.shape[0]} x {logits.shape[1]}, {file.stat().st_size / 1000:.0f} kB, "
        + ", ".join(f"{name} {value:.4f}" for name, value in after.items())
    )
    print(f"  float16 moved a probability by at most {furthest:.2g}; {lost or 'no figure'}")
    return after


def stored_figures(file: Path) -> dict[str, float]:
    """The figures of a file that is there."""
    with np.load(file, allow_pickle=False) as arrays:
        return figures(arrays["logits"], arrays["labels"])


def moved(made: dict[str, float], stored: dict[str, float], allowed: dict[str, float]) -> str:
    """Which figures are further apart than allowed, in one line; empty when none is."""
    apart = {name: abs(made[name] - stored[name]) for name in allowed}
    return ", ".join(
        f"{name} differs by {gap:.3g}, {allowed[name]:g} is allowed"
        for name, gap in apart.items()
        if not gap <= allowed[name]
    )
