"""The command line as a user meets it: what is printed where, the exit code, and one line for bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
from click.testing import CliRunner, Result

from agree import FLOAT64, agree
from labelsmooth import _terminal
from labelsmooth.cli import main
from labelsmooth.data import path

POST = (0.331359444, 2.195083320, 2.366836152, 1.263261688, 1.985521075)


def run(*words: Any, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(w) for w in words], input=stdin, prog_name="labelsmooth")


def answer(*words: Any) -> dict[str, Any]:
    done = run(*words, "--json")
    assert done.exit_code in {0, 1}, done.output
    values = json.loads(done.stdout)
    assert values.pop("schema_version") == 1
    return dict(values)


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    file = tmp_path / "batch.csv"
    file.write_text(path("post_cat_dog.csv").read_text(encoding="utf-8"), encoding="utf-8")
    return file


BAD = {
    "an empty file": ("", "batch.csv"),
    "a header only": ("label,cat,dog\n", "batch.csv"),
    "an unknown label": ("label,cat,dog\ncat,1,2\ncow,1,2\n", "cow"),
    "a ragged row": ("label,cat,dog\ncat,1,2\ndog,1\n", "line 3"),
    "text in a number column": ("label,cat,dog\ncat,1,two\n", "two"),
    "probabilities": ("label,cat,dog\ncat,0.25,0.75\ndog,0.5,0.5\n", "--probs"),
    "NaN": ("label,cat,dog\ncat,1,2\ndog,nan,2\n", "line 3"),
    "one class": ("label,cat\ncat,1\n", "class"),
    "no label column": ("cat,dog\n1,2\n", "label"),
}


@pytest.mark.parametrize("command", ["loss", "compare", "workbook"])
@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line_and_exit_code_2(what: str, command: str, tmp_path: Path) -> None:
    text, named = BAD[what]
    file = tmp_path / "batch.csv"
    file.write_text(text, encoding="utf-8")
    refuses(command, file, tmp_path, named)


def refuses(command: str, file: Any, folder: Path, named: str, *more: str) -> None:
    """Check a refusal: exit code 2, one line that names the fault, no result, no file."""
    before = sorted(folder.iterdir())
    out = ["-o", folder / "out.xlsx"] if command in {"workbook", "compare"} else []
    done = run(command, file, *out, *more)
    assert done.exit_code == 2, done.output
    assert not done.stdout
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert named in done.stderr
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("eps", ["1.5", "-0.1", "nan"])
def test_a_smoothing_outside_0_and_1_is_refused(eps: str, batch: Path, tmp_path: Path) -> None:
    refuses("workbook", batch, tmp_path, "between 0 and 1", f"--eps={eps}")


def test_a_directory_a_missing_file_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)) * 8)
    refuses("loss", tmp_path / "folder.csv", tmp_path, "folder.csv")
    refuses("loss", tmp_path / "missing.csv", tmp_path, "missing.csv")
    refuses("loss", tmp_path / "binary.csv", tmp_path, "binary.csv")


def test_a_file_of_more_than_2_gb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as f:
        f.truncate(3 * 1024**3)  # sparse: it takes no room
    refuses("loss", huge, tmp_path, "limit")


def test_a_truncated_workbook_is_refused(batch: Path, tmp_path: Path) -> None:
    assert run("workbook", batch, "-o", tmp_path / "book.xlsx").exit_code == 0
    whole = (tmp_path / "book.xlsx").read_bytes()
    (tmp_path / "book.xlsx").write_bytes(whole[: len(whole) // 2])
    refuses("compare", tmp_path / "book.xlsx", tmp_path, "book.xlsx")


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_behind(batch: Path, tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("a limit on file size needs a POSIX system")
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "from labelsmooth.cli import main; main()"
    )
    folder = tmp_path / "full"
    folder.mkdir()
    words = [sys.executable, "-B", "-c", code, "workbook", str(batch), "-o", str(folder / "book.xlsx")]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not list(folder.iterdir())


def test_an_existing_workbook_is_not_overwritten_without_force(batch: Path, tmp_path: Path) -> None:
    book = tmp_path / "book.xlsx"
    assert run("workbook", batch, "-o", book).exit_code == 0
    before = book.read_bytes()
    done = run("workbook", batch, "-o", book)
    assert done.exit_code == 2
    assert "--force" in done.stderr
    assert book.read_bytes() == before
    assert run("workbook", batch, "-o", book, "--force", "--eps", "0.2").exit_code == 0
    assert book.read_bytes() != before


def test_loss_prints_the_posts_numbers(batch: Path) -> None:
    got = answer("loss", batch)
    agree(got["losses"], POST, budget=1e-9, what="losses of the post")
    agree(got["loss"], sum(POST) / 5, budget=1e-9, what="mean loss")
    assert set(got) >= {"convention", "label_smoothing", "losses", "loss", "floor"}
    assert "0.3314" in run("loss", batch).stdout


def test_loss_reads_standard_input(batch: Path) -> None:
    done = run("loss", "-", stdin=batch.read_text(encoding="utf-8"))
    assert "2.1951" in done.stdout


def test_an_infinite_optimum_is_null_in_json(batch: Path) -> None:
    assert answer("loss", batch, "--eps", "0")["optimum_gap"] is None


def test_options_reach_the_mathematics(batch: Path, tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("1,2\n", encoding="utf-8")
    (tmp_path / "u.csv").write_text("0.25,0.75\n", encoding="utf-8")
    plain = answer("loss", batch)["loss"]
    others = (
        ("--convention", "fairseq"),
        ("--weight", tmp_path / "w.csv"),
        ("--prior", tmp_path / "u.csv"),
        ("--prior", "from-labels"),
    )
    numbers = {answer("loss", batch, *words)["loss"] for words in others}
    assert len(numbers | {plain}) == 5
    agree(answer("loss", batch, "--reduction", "sum")["loss"], 5 * plain, budget=FLOAT64, what="sum")
    assert answer("loss", batch, "--reduction", "none")["loss"] is None


def test_rows_cuts_the_batch_as_if_the_file_ended_there(batch: Path, tmp_path: Path) -> None:
    whole = answer("loss", batch)["losses"]
    agree(answer("loss", batch, "--rows", "2")["losses"], whole[:2], budget=FLOAT64, what="the first rows")
    agree(answer("loss", batch, "--rows", "9")["losses"], whole, budget=FLOAT64, what="more than there are")
    (tmp_path / "u.json").write_text('{"prior": [[0.2, 0.8], [0.3, 0.7], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]}')
    own = ("--prior", tmp_path / "u.json")
    a_row = answer("loss", batch, *own)["losses"][:3]
    agree(answer("loss", batch, *own, "--rows", "3")["losses"], a_row, budget=FLOAT64, what="a prior a row")
    assert answer("workbook", path("fashion_mlp_eps00"), "-o", tmp_path / "b.xlsx", "--rows", "3")["rows"] == 3
    assert run("loss", batch, "--rows", "0").exit_code == 2


def test_a_table_breaks_no_number_and_shows_no_zero_as_negative(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "-0.0000" not in run("loss", path("fashion_mlp_eps00"), "--rows", "3").stdout
    monkeypatch.setenv("COLUMNS", "40")
    heads, cells = ["who", "type", "follows", "loss"], ["a name of several words", "float64", "uniform", "1.5e-16"]
    _terminal.table("", heads, [cells] * 2, left=3)
    assert capsys.readouterr().out.count("1.5e-16") == 2


def test_workbook_without_a_file_takes_the_posts_example(tmp_path: Path) -> None:
    got = answer("workbook", "-o", tmp_path / "post.xlsx")
    assert (got["rows"], got["classes"]) == (5, 2)
    assert (tmp_path / "post.xlsx").stat().st_size > 10_000


def test_compare_agrees_on_the_post_and_says_how_far(batch: Path) -> None:
    got = answer("compare", batch)
    assert got["agree"] is True
    assert {step["step"] for step in got["steps"]} >= {"target", "softmax", "row_loss", "gradient"}
    assert all(step["agree"] for step in got["steps"])
    assert run("compare", batch).exit_code == 0


def test_compare_asks_pytorch_for_loss_and_gradient(batch: Path) -> None:
    pytest.importorskip("torch")
    found = {(i["name"], i["dtype"]): i for i in answer("compare", batch)["implementations"]}
    assert set(found) >= {(n, d) for n in ("torch index", "labelsmooth cross_entropy") for d in ("float64", "float32")}
    assert all(i["convention"] == "uniform" and i["same_convention"] for i in found.values() if i["losses"])
    asked = [i for i in found.values() if i["losses"]]
    assert len(asked) >= 7
    assert all(i["max_abs_gradient_difference"] is not None for i in asked)


def test_compare_asks_the_frameworks_that_are_named(batch: Path) -> None:
    pytest.importorskip("torch")
    got = answer("compare", batch, "--frameworks", "the post", "--convention", "fairseq")
    post = {i["name"]: i for i in got["implementations"]}["the post"]
    assert (post["agree"], post["convention"], post["same_convention"]) == (True, "uniform", False)
    names = [i["name"] for i in answer("compare", batch, "--frameworks", "none")["implementations"]]
    assert set(names) == {"labelsmooth cross_entropy"}
    assert "unknown framework 'jaxx'" in run("compare", batch, "--frameworks", "jaxx").stderr
    shown = run("compare", batch, "--frameworks", "the post", "--convention", "fairseq").stdout
    assert "the post: another convention, uniform, and so another number" in shown


@pytest.mark.slow
def test_demo_compares_the_three_examples_and_replaces_its_own_files(tmp_path: Path) -> None:
    first = answer("demo", "-o", tmp_path / "out")
    assert [e["name"] for e in first["examples"]] == ["post_five_animals", "post_cat_dog", "digits"]
    assert all(e["agree"] and e["max_abs_difference"] <= FLOAT64 for e in first["examples"])
    agree(first["examples"][1]["losses"], POST, budget=1e-9, what="losses of the post")
    assert all(Path(p).is_file() for p in first["paths"])
    assert Path(first["paths"][-1]).read_text(encoding="utf-8").startswith("<!doctype html>")
    again = run("demo", "-o", tmp_path / "out")
    assert again.exit_code == 0
    assert "2.1951" in again.stdout
    assert "page.html in a browser" in " ".join(again.stdout.split())


def test_convert_and_conventions_answer() -> None:
    got = answer("convert", "0.1", "--from", "fairseq", "--to", "torch", "--classes", "5")
    agree(got["label_smoothing"], 0.125, budget=FLOAT64, what="converted smoothing")
    assert got["exact"] is True
    names = {row["name"] for row in answer("conventions")["conventions"]}
    assert {"torch", "fairseq", "keras", "optax"} <= names
    assert "fairseq" in run("conventions").stdout


def test_a_mistyped_command_and_convention_get_a_suggestion(batch: Path) -> None:
    assert "'loss'" in run("lss").stderr
    done = run("loss", batch, "--convention", "fairsek")
    assert done.exit_code == 2
    assert "'fairseq'" in done.stderr


def test_every_command_helps_with_an_example() -> None:
    for name in main.commands:
        done = run(name, "--help")
        assert done.exit_code == 0
        assert f"labelsmooth {name}" in done.output, name


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from labelsmooth.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    check = code + "bad = {'numpy', 'torch', 'xlsxwriter', 'openpyxl', 'rich'} & set(sys.modules); assert not bad, bad"
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True)


@pytest.mark.slow
def test_python_m_is_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "labelsmooth", "--version"], check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("labelsmooth 0.")


@pytest.mark.slow
def test_the_version_says_what_computes_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from labelsmooth.losses import kernels

    said = CliRunner().invoke(main, ["--version"]).stdout
    assert f"loss on cpu: {kernels()['cpu']}\n" in said
    monkeypatch.setenv("LABELSMOOTH_CPU", "eager")
    command = [sys.executable, "-m", "labelsmooth", "--version"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "loss on cpu: plain torch (LABELSMOOTH_CPU=eager)\n" in done.stdout


def test_the_version_is_known_without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelsmooth._arguments.find_spec", lambda _name: None)
    said = CliRunner().invoke(main, ["--version"]).stdout
    assert "PyTorch is not installed; pip install 'labelsmooth[torch]'" in said
