"""The shipped logits: that they are what README.md beside them says, and that anybody's door reads them."""

from __future__ import annotations

import csv
import importlib.util
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, agree
from labelsmooth import data
from labelsmooth.files import read_batch
from labelsmooth.maths.trace import trace
from test_house import ASK_THE_PATH

# Printed in the post (figure 5); its first example has no losses printed, those are ours in float64, eight decimals.
CAT_DOG = [0.331359444, 2.19508332, 2.366836152, 1.263261688, 1.985521075]
FIVE_ANIMALS = [0.44129216, 1.30485915, 1.45362283, 0.85918351, 0.60188189]
NINE_DIGITS = 5e-9  # the post's figures have up to ten digits, 2.19508332 has eight decimals


def _losses(name: str) -> np.ndarray:
    batch = read_batch(data.path(name))
    assert batch.labels is not None
    return trace(batch.logits, batch.labels, 0.1).row_loss


def test_every_name_leads_to_a_file_and_another_name_to_an_error() -> None:
    assert {"digits.csv", "post_cat_dog.csv", "post_five_animals.csv"} <= set(data.names())
    assert all(data.path(name).is_file() for name in data.names())
    with pytest.raises(ValueError, match=r"no file 'digit' among the data: choose one of digits\.csv, fashion_mlp"):
        data.path("digit")


@pytest.mark.parametrize(
    ("name", "classes", "labels"),
    [
        ("post_cat_dog.csv", ("cat", "dog"), [0, 1, 1, 0, 0]),
        ("post_five_animals.csv", ("dog", "cat", "horse", "bear", "kangaroo"), [0, 1, 2, 3, 4]),
    ],
)
def test_the_posts_examples_have_its_classes_and_labels(name: str, classes: tuple[str, ...], labels: list[int]) -> None:
    batch = read_batch(data.path(name))
    assert batch.class_names == classes
    assert batch.labels is not None
    assert batch.labels.tolist() == labels
    assert batch.logits.shape == (5, len(classes))
    assert batch.row_names == tuple(f"img-{n}.jpg" for n in range(1, 6))


@pytest.mark.parametrize(("name", "printed"), [("post_cat_dog.csv", CAT_DOG), ("post_five_animals.csv", FIVE_ANIMALS)])
def test_the_posts_examples_give_the_posts_losses(name: str, printed: list[float]) -> None:
    agree(_losses(name), printed, budget=NINE_DIGITS, what=f"losses of {name}")


def test_digits_are_200_rows_named_after_their_images_with_whole_numbers_as_labels() -> None:
    batch = read_batch(data.path("digits.csv"))
    with data.path("digits.csv").open(encoding="utf-8", newline="") as stream:
        written = [line["label"] for line in csv.DictReader(stream)]
    assert batch.class_names == tuple("0123456789")
    assert batch.logits.shape == (200, 10)
    assert batch.labels is not None
    assert batch.labels.tolist() == [int(label) for label in written]
    assert batch.row_names[:2] == ("digit-0597", "digit-0603")
    assert len(set(batch.row_names)) == 200
    agree(batch.logits, batch.logits.round(4), budget=FLOAT64, what="logits with four decimals")


def test_some_digits_are_wrong_and_some_undecided_as_the_readme_says() -> None:
    batch = read_batch(data.path("digits.csv"))
    best, second = np.sort(trace(batch.logits, batch.labels).softmax, axis=1)[:, :-3:-1].T
    assert int((batch.logits.argmax(axis=1) != batch.labels).sum()) == 13
    assert "13 of the 200 rows" in Path(data.__file__).with_name("README.md").read_text(encoding="utf-8")
    assert int((best - second < 0.3).sum()) >= 5


def test_every_file_is_named_in_the_readme() -> None:
    text = Path(data.__file__).with_name("README.md").read_text(encoding="utf-8")
    assert [name for name in data.names() if name not in text] == []


def test_the_data_are_found_in_a_package_that_is_a_zip_archive(tmp_path: Path) -> None:
    archive = tmp_path / "package.zip"
    package = Path(data.__file__).parents[1]
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("labelsmooth/__init__.py", "")
        for file in (package / "data").glob("*.*"):
            packed.write(file, f"labelsmooth/data/{file.name}")
    code = "from labelsmooth.data import path; p = path('digits.csv'); print(p); print(len(p.read_text().splitlines()))"
    done = subprocess.run(
        [sys.executable, "-c", f"{ASK_THE_PATH}; sys.path.insert(0, {str(archive)!r}); {code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    unpacked, lines = done.stdout.split()
    assert lines == "201"
    assert not Path(unpacked).exists()  # the copy lives as long as the process


# The script that made the digits -------------------------------------------------------------------------------------


def _script(root: Path) -> Any:
    spec = importlib.util.spec_from_file_location("make_digits", root / "scripts" / "make_digits.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _check(root: Path, file: Path) -> tuple[int, str, str]:
    pytest.importorskip("sklearn", reason="could not import 'sklearn', which brings the images")
    command = [sys.executable, str(root / "scripts" / "make_digits.py"), "--check", "--file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_the_script_makes_the_digits_again(root: Path) -> None:
    assert _check(root, data.path("digits.csv")) == (0, "digits.csv: the script makes it again\n", "")


@pytest.mark.slow
def test_the_script_fails_on_a_changed_file(root: Path, tmp_path: Path) -> None:
    text = data.path("digits.csv").read_text(encoding="utf-8")
    changed = tmp_path / "digits.csv"
    changed.write_text(text.replace("12.2066", "12.2086", 1), encoding="utf-8")
    code, said, fault = _check(root, changed)
    assert fault == ""
    assert code == 1
    assert re.fullmatch(r"digits\.csv: logits differ by up to 0\.00\d+, 0\.001 is allowed\n", said)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("12.2066", "12.2075", ""),
        ("12.2066", "12.2086", "logits differ by up to 0.002, 0.001 is allowed"),
        ("12.2066", "nan", "logits differ by up to nan, 0.001 is allowed"),
        ("digit-0603,4", "digit-0603,5", "other images, labels or classes"),
        ("digit-0603", "digit-0604", "other images, labels or classes"),
        ("id,label,0", "id,label,zero", "other images, labels or classes"),
        (
            "digit-0597,7,-8.2779,0.7095,1.8726,1.1218,-1.5576,-1.6019,-8.4049,12.2066,1.3209,4.1741\n",
            "",
            "other images",
        ),
    ],
)
def test_the_script_sees_what_differs(root: Path, old: str, new: str, says: str) -> None:
    text = data.path("digits.csv").read_text(encoding="utf-8")
    assert old in text
    stored, changed = (list(csv.reader(lines.splitlines())) for lines in (text, text.replace(old, new, 1)))
    assert _script(root).differences(stored, changed).startswith(says)
    assert bool(_script(root).differences(stored, changed)) == bool(says)
