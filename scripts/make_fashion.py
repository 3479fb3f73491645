"""Make `src/labelsmooth/data/fashion_mlp_*.npz`: logits of two networks on Fashion-MNIST, without and with smoothing.

    python scripts/make_fashion.py            # writes the four files; under two minutes on one core
    python scripts/make_fashion.py --check    # trains again, and compares with the files

The images are Zalando's, in the files that they are published in: Debian's package dataset-fashion-mnist, or a folder
named with --images. A network 784-256-256-10 is trained for 40 epochs on 10,000 of the 60,000 training images, by
labelsmooth's own loss, at ε = 0 and at ε = 0.1, everything else being equal. That is long enough to learn the training
images by heart, so the first network is over-confident; it is the case that label smoothing is praised for. Written are
the logits of all 10,000 test images, and of 5,000 training images that were not trained on, for whoever chooses a
temperature.

Training amplifies rounding: another processor or another PyTorch ends at another network, as another seed would. So
`--check` compares no logits but the figures, within what seeds differ by.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shipped import FOLDER, moved, needs, stored_figures, write

IMAGES = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
TRAINING, VALIDATION, EPOCHS, SEED = 10_000, 5_000, 40, 0
HIDDEN, BATCH, RATE = 256, 128, 2e-3
MEAN, DEVIATION = 0.2860, 0.3530  # of the training pixels
EPSILONS = {"eps00": 0.0, "eps01": 0.1}
ALLOWED = {"accuracy": 0.01, "confidence": 0.01, "nll": 0.1, "ece": 0.02}  # about five deviations over seeds


def idx(file: Path) -> NDArray[np.uint8]:
    """One file of the images' own format: two zeros, a type, the number of axes, their lengths, the bytes."""
    if not file.is_file():
        needs(f"{file}: install Debian's dataset-fashion-mnist, or name a folder with --images")
    content = gzip.decompress(file.read_bytes())
    axes = content[3]
    shape = np.frombuffer(content, ">u4", count=axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def images(folder: Path, split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pixels, standardised, (N, 784), and what they show, (N,)."""
    pixels = idx(folder / f"{split}-images-idx3-ubyte.gz").reshape(-1, 784)
    labels = idx(folder / f"{split}-labels-idx1-ubyte.gz").astype(np.int64)
    return ((pixels / np.float32(255) - MEAN) / DEVIATION).astype(np.float32), labels


def network(pixels: NDArray[np.float32], labels: NDArray[np.int64], epsilon: float, epochs: int) -> Any:
    """Train 784-256-256-10: AdamW without decay, one cycle of the learning rate, batches of 128."""
    import torch
    from torch import nn

    import labelsmooth

    torch.manual_seed(SEED)
    x, y = torch.from_numpy(pixels), torch.from_numpy(labels)  # (N, 784), (N,)
    model = nn.Sequential(
        nn.Linear(784, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, len(CLASSES))
    )
    criterion = labelsmooth.LabelSmoothingCrossEntropy(epsilon)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0)
    steps = epochs * -(-len(y) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(y)).split(BATCH):
            optimizer.zero_grad()
            criterion(model(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    return model


def logits_of(model: Any, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 10)."""
    import torch

    with torch.no_grad():
        return np.asarray(model(torch.from_numpy(pixels)))


def make(out: Path, folder: Path, training: int, epochs: int) -> dict[str, dict[str, float]]:
    """Train both networks and write the four files; return the figures by file name."""
    seen, shown = images(folder, "train")
    test, test_labels = images(folder, "t10k")
    order = np.random.default_rng(SEED).permutation(len(shown))
    rows, held_out = order[:training], order[TRAINING : TRAINING + VALIDATION]
    found = {}
    for name, epsilon in EPSILONS.items():
        model = network(seen[rows], shown[rows], epsilon, epochs)
        learned = (logits_of(model, seen[rows]).argmax(axis=1) == shown[rows]).mean()
        print(f"ε = {epsilon:g}: {learned:.1%} of the {training:,} training images right")
        for suffix, pixels, labels in (("", test, test_labels), ("_validation", seen[held_out], shown[held_out])):
            file = out / f"fashion_mlp_{name}{suffix}.npz"
            about = {"label_smoothing": epsilon, "seed": SEED}
            found[file.name] = write(file, logits_of(model, pixels), labels, CLASSES, **about)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or compare them with what would be written."""
    parser = argparse.ArgumentParser(description="Make or check the logits of the Fashion-MNIST networks.")
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder (default: the package's)")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the four *-ubyte.gz files")
    parser.add_argument("--training", type=int, default=TRAINING, help="training images")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    chosen = parser.parse_args(arguments)
    try:
        import torch
    except ImportError:
        needs("PyTorch: pip install 'labelsmooth[torch]'")
    torch.set_num_threads(1)  # so that the same machine comes to the same file
    if not chosen.check:
        make(chosen.out, chosen.images, chosen.training, chosen.epochs)
        return 0
    faults = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name, made in make(Path(scratch), chosen.images, chosen.training, chosen.epochs).items():
            fault = moved(made, stored_figures(chosen.out / name), ALLOWED)
            faults += bool(fault)
            print(f"{name}: {fault or 'the script makes such a file again'}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
