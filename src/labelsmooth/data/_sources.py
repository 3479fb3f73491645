"""Where each shipped batch comes from and under what licence, as data; README.md beside it tells it at length.

`recorded.json` is no batch and has no row here. What stands here is printed by `python -m labelsmooth.data` and held
against the files and README.md by a test.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One shipped batch of logits: what it is, whose it is, and on what terms."""

    name: str  # of the file
    what: str
    rows: int
    classes: int
    origin: str  # whose images, texts or model stand behind it
    licence: str  # of that, where it asks something of whoever passes the numbers on
    script: str  # in the repository, that makes the file again; empty for what was typed in


_POST = ("Aman Arora, Label Smoothing Explained using Microsoft Excel, 2020", "none stated", "")
_DIGITS = ("E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, 1998", "CC BY 4.0")
_FASHION = ("Fashion-MNIST, Zalando SE, 2017", "MIT", "scripts/make_fashion.py")
_MAGIKA = ("Magika 1.0.3, Google LLC", "Apache-2.0", "scripts/make_filetypes.py")
_LANGUAGES = ("lid.176, Facebook AI Research; texts: Django 5.2.19", "CC BY-SA 3.0", "scripts/make_languages.py")

SOURCES = (
    Source("digits.csv", "a small network on handwritten digits", 200, 10, *_DIGITS, "scripts/make_digits.py"),
    Source("fashion_mlp_eps00.npz", "an over-fitted network, hard labels, test images", 10_000, 10, *_FASHION),
    Source("fashion_mlp_eps00_validation.npz", "the same network, held-out images", 5_000, 10, *_FASHION),
    Source("fashion_mlp_eps01.npz", "the network trained with ε = 0.1, test images", 10_000, 10, *_FASHION),
    Source("fashion_mlp_eps01_validation.npz", "the same network, held-out images", 5_000, 10, *_FASHION),
    Source("filetypes_magika.npz", "file types by content, label by extension", 2_374, 214, *_MAGIKA),
    Source("languages_lid176.npz", "languages of interface texts", 2_550, 176, *_LANGUAGES),
    Source("post_cat_dog.csv", "the post's example with two classes", 5, 2, *_POST),
    Source("post_five_animals.csv", "the post's example with five classes", 5, 5, *_POST),
)
