"""Make `src/labelsmooth/data/filetypes_magika.npz`: what Magika says about the files of a Debian system, 214 classes.

    python scripts/make_filetypes.py            # writes the file; one to three minutes
    python scripts/make_filetypes.py --check    # asks the model again and compares the figures

Needs `pip install magika==1.0.3`, no network, and a Debian system: the files are those that its installed packages list.
The label of a file is the type that its extension belongs to, by Magika's own table; an extension of several types is
left out. Such labels are noisy: a `.crt` here is PEM text, a header is C or C++. At most 100 files a type are drawn by a
fixed seed and shuffled; those too small for the model are left out. Another system has other files, so `--check` compares
figures.

Stored are the logarithms of the model's probabilities; neither content nor name of any file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shipped import FOLDER, figures, moved, needs, stored_figures, write

FILE = "filetypes_magika.npz"
LISTS = Path("/var/lib/dpkg/info")
FILES, SEED = 100, 0  # a type
ALLOWED = {"accuracy": 0.05, "confidence": 0.03, "nll": 0.2, "ece": 0.03}


def types_by_extension(package: Path, names: list[str]) -> dict[str, str]:
    """The extensions that belong to one type, if the model knows it."""
    known = json.loads((package / "config" / "content_types_kb.min.json").read_text(encoding="utf-8"))
    owners: dict[str, list[str]] = {}
    for name, about in known.items():
        for extension in about["extensions"]:
            owners.setdefault(extension, []).append(name)
    return {extension: types[0] for extension, types in owners.items() if len(types) == 1 and types[0] in names}


def files_by_type(lists: Path, types: dict[str, str]) -> dict[str, list[Path]]:
    """The files of all installed packages, by type."""
    found: dict[str, set[Path]] = {}
    for one in lists.glob("*.list"):
        for line in one.read_text(encoding="utf-8").splitlines():
            file = Path(line)
            kind = types.get(file.suffix.removeprefix(".").lower())
            if kind and file.is_file() and not file.is_symlink():
                found.setdefault(kind, set()).add(file)
    return {kind: sorted(files) for kind, files in sorted(found.items())}


def batch(lists: Path) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    """Logarithms of probabilities (N, 214), labels (N,), and the names of the classes."""
    try:
        import magika
    except ImportError:
        needs("Magika: pip install magika==1.0.3")
    if not any(lists.glob("*.list")):
        needs(f"a Debian system: no list of a package's files is in {lists}")
    package, model = Path(magika.__file__).parent, magika.Magika()
    config = package / "models" / model.get_model_name() / "config.min.json"
    names: list[str] = json.loads(config.read_text(encoding="utf-8"))["target_labels_space"]
    random = np.random.default_rng(SEED)
    rows: list[list[float]] = []
    labels: list[int] = []
    for kind, files in files_by_type(lists, types_by_extension(package, names)).items():
        drawn = [files[i] for i in random.permutation(len(files))[:FILES]]
        # The public methods give the best class only.
        read = [(file, model._get_result_or_features_from_path(file)[1]) for file in drawn]  # noqa: SLF001
        read = [(file, features) for file, features in read if features is not None]
        rows += model._get_raw_predictions(read)  # noqa: SLF001
        labels += [names.index(kind)] * len(read)
    order = random.permutation(len(labels))  # so that any part of the file has all types
    return np.log(np.array(rows))[order], np.array(labels)[order], names


def main(arguments: list[str] | None = None) -> int:
    """Write the file, or compare it with what would be written."""
    parser = argparse.ArgumentParser(description="Make or check the logits of the file types.")
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder (default: the package's)")
    parser.add_argument("--lists", type=Path, default=LISTS, help="folder of the packages' lists of files")
    chosen = parser.parse_args(arguments)
    logits, labels, names = batch(chosen.lists)
    if not chosen.check:
        write(chosen.out / FILE, logits, labels, names)
        return 0
    fault = moved(figures(logits, labels), stored_figures(chosen.out / FILE), ALLOWED)
    print(f"{FILE}: {fault or 'the script makes such a file again'}")
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
