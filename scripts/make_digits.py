"""Make `src/labelsmooth/data/digits.csv`: logits of a network trained on real images, the real input of the demo.

    python scripts/make_digits.py            # writes the file
    python scripts/make_digits.py --check    # makes the logits again and compares them with the file

The images are the 1,797 handwritten digits of 8 x 8 pixels that scikit-learn brings along, so nothing is downloaded.
The network is trained without label smoothing, on hard labels. What shaped this script is that another machine must
come to the same file. Training amplifies rounding, and a matrix product rounds differently on different processors, so
whatever makes a small difference grow was left out: float64, the whole training set in every step (no shuffled
batches), plain gradient steps with momentum instead of Adam (which divides by numbers near zero), tanh instead of ReLU
(which switches), and a number of steps that is fixed, not chosen on the way. Pixels moved by 1e-12 move no logit by
more than 1e-9; `--check` allows 1e-3.

Images and rows were not picked: the first 597 images in the data set's order train the network, every sixth of the
other 1,200 is a row of the file. Some of the 200 rows come out wrong and some undecided, as in any real batch.
"""

from __future__ import annotations

import argparse
import csv
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FILE = Path(__file__).resolve().parents[1] / "src" / "labelsmooth" / "data" / "digits.csv"
TRAINING = 597  # images, from the first
EVERY = 6  # of the others, which leaves 200
HIDDEN, STEPS, RATE, MOMENTUM = 32, 400, 0.2, 0.9
TOLERANCE = 1e-3


def images() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pixels from 0 to 1, (1797, 64), and the digits that they show, (1797,)."""
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    return pixels / 16, digits


def network(pixels: NDArray[np.float64], digits: NDArray[np.int64]) -> Any:
    """Train 64 -> 32 -> 10 on the first images and return it."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        (HIDDEN,),
        activation="tanh",
        solver="sgd",
        alpha=0,
        batch_size=TRAINING,
        learning_rate_init=RATE,
        momentum=MOMENTUM,
        max_iter=STEPS,
        tol=0,
        n_iter_no_change=STEPS,
        shuffle=False,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of steps is the plan, not an accident
        return model.fit(pixels[:TRAINING], digits[:TRAINING])


def logits_of(model: Any, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """What enters the softmax, which scikit-learn does not hand out: (N, 10)."""
    hidden = np.tanh(pixels @ model.coefs_[0] + model.intercepts_[0])  # (N, HIDDEN)
    return np.asarray(hidden @ model.coefs_[1] + model.intercepts_[1])


def table() -> list[list[str]]:
    """The file, line by line: a header, then image, label and ten logits."""
    pixels, digits = images()
    model = network(pixels, digits)
    chosen = np.arange(TRAINING, len(digits), EVERY)
    logits = logits_of(model, pixels[chosen])
    lines = [["id", "label", *(str(digit) for digit in range(10))]]
    for image, row in zip(chosen, logits, strict=True):
        lines.append([f"digit-{image:04d}", str(digits[image]), *(f"{z:.4f}" for z in row)])
    return lines


def differences(made: list[list[str]], stored: list[list[str]]) -> str:
    """What is different beyond rounding, in one line; empty when nothing is."""
    if [line[:2] for line in made] != [line[:2] for line in stored] or made[0] != stored[0]:
        return "other images, labels or classes"
    gap = np.abs(_numbers(made) - _numbers(stored)).max()
    return "" if gap <= TOLERANCE else f"logits differ by up to {gap:.3g}, {TOLERANCE:g} is allowed"


def _numbers(lines: list[list[str]]) -> NDArray[np.float64]:
    return np.array([line[2:] for line in lines[1:]], dtype=np.float64)


def main(arguments: list[str] | None = None) -> int:
    """Write the file, or compare it with what would be written."""
    parser = argparse.ArgumentParser(description="Make or check the logits of the handwritten digits.")
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    parser.add_argument("--file", type=Path, default=FILE, help="the CSV (default: the one in the package)")
    chosen = parser.parse_args(arguments)
    made = table()
    if chosen.check:
        with chosen.file.open(encoding="utf-8", newline="") as stream:
            fault = differences(made, list(csv.reader(stream)))
        print(f"{chosen.file.name}: {fault or 'the script makes it again'}")
        return 1 if fault else 0
    with chosen.file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(made)
    numbers, labels = _numbers(made), [int(line[1]) for line in made[1:]]
    wrong = int((numbers.argmax(axis=1) != np.array(labels)).sum())
    print(f"{chosen.file}: {len(labels)} rows, {wrong} of them wrong, logits {numbers.min():g} to {numbers.max():g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
