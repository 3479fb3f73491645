"""Every block of the README and the docs runs, and says what is printed under it; so does every docstring's example.

Python blocks run through Sybil, one namespace a page; what follows `>>>` prints what stands under it. Console blocks are
commands after `$` with the output that a user sees on a terminal 100 columns wide; `<!-- file: NAME -->` above a block
writes that file first. Blocks under `<!-- framework: NAME -->` need that framework and run in `make frameworks`.
"""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import labelsmooth

sybil = pytest.importorskip("sybil")
markdown = pytest.importorskip("sybil.parsers.markdown")

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
MODULES = sorted(
    m.name for m in pkgutil.walk_packages(labelsmooth.__path__, "labelsmooth.") if not m.name.endswith("__main__")
)


FRAMEWORK = re.compile(r"<!-- framework: (\w+) -->\n```python\n.*?^```$", re.MULTILINE | re.DOTALL)


def examples(page: Path, folder: Path, frameworks: frozenset[str] = frozenset()) -> list[Any]:
    """Every block of a page, ready to run in `folder`, without those of frameworks other than the named."""

    def console(example: Any) -> str | None:
        for command, expected in commands(example.parsed):
            got = run(command, folder)
            if not same(got, expected):
                return f"$ {command}\nprinted\n{got}\nand not\n{expected}"
        return None

    def file(example: Any) -> None:
        name = re.search(r"<!-- file: ([\w.]+) -->\s*\Z", example.document.text[: example.start])
        if name:
            (folder / name[1]).write_text(example.parsed, encoding="utf-8")

    parsers = [
        markdown.PythonCodeBlockParser(doctest_optionflags=FLAGS),
        markdown.CodeBlockParser("console", console),
        markdown.CodeBlockParser("csv", file),
    ]
    document = sybil.Sybil(parsers=parsers, patterns=["*.md"], path=str(page.parent)).parse(page)
    others = [m.span() for m in FRAMEWORK.finditer(page.read_text(encoding="utf-8")) if m[1] not in frameworks]
    return [one for one in document if not any(start <= one.start < end for start, end in others)]


def commands(body: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it prints."""
    parts = re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]
    return [(part.split("\n", 1)[0], part.split("\n", 1)[1] if "\n" in part else "") for part in parts]


def run(command: str, folder: Path) -> str:
    """Run a command of the docs as a user would, on a terminal 100 columns wide."""
    words = shlex.split(command)
    if words[0] == "labelsmooth":
        words = [sys.executable, "-m", *words]
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, env=environment, timeout=120, check=False, encoding="utf-8"
    )
    return done.stdout if done.returncode in {0, 1} else done.stdout + done.stderr


def same(got: str, expected: str) -> bool:
    """Whether an output is the expected one; trailing spaces do not count, and `...` stands for anything."""
    lines = ["\n".join(line.rstrip() for line in text.strip().splitlines()) for text in (got, expected)]
    pattern = ".*".join(re.escape(part) for part in lines[1].split("..."))
    return re.fullmatch(pattern, lines[0], re.DOTALL) is not None


LONG = {"cookbook.md", "tutorial.md"}  # they train or export


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=pytest.mark.slow if p.name in LONG else ()) for p in PAGES], ids=lambda p: p.name
)
def test_blocks_of_the_page_print_what_stands_under_them(page: Path, tmp_path: Path) -> None:
    pytest.importorskip("click")
    if "import torch" in page.read_text(encoding="utf-8"):
        pytest.importorskip("torch")
    blocks = examples(page, tmp_path)
    assert blocks, f"{page.name} has no block that runs"
    for block in blocks:
        block.evaluate()


COOKBOOK = ROOT / "docs" / "cookbook.md"
LOOPS = ["fastai", "transformers", "keras", "lightning", "accelerate", "torchmetrics"]


@pytest.mark.frameworks
@pytest.mark.filterwarnings("default")  # each framework has its own to say
@pytest.mark.parametrize("name", LOOPS)
def test_blocks_of_a_framework_print_what_stands_under_them(name: str, tmp_path: Path) -> None:
    importlib.import_module(name)
    end = COOKBOOK.read_text(encoding="utf-8").index("## An ONNX file")  # the last section, which needs no framework
    blocks = [block for block in examples(COOKBOOK, tmp_path, frozenset({name})) if block.start < end]
    for block in blocks:
        block.evaluate()


def test_a_block_of_a_framework_runs_only_when_it_is_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\na = 1\n```\n\n<!-- framework: keras -->\n```python\n>>> a\n2\n\n```\n", encoding="utf-8"
    )
    assert len(examples(page, tmp_path)) == 1
    _, wrong = examples(page, tmp_path, frozenset({"keras"}))
    wrong.namespace["a"] = 1
    with pytest.raises(sybil.example.SybilFailure):
        wrong.evaluate()
    text = COOKBOOK.read_text(encoding="utf-8")
    assert {m[1] for m in FRAMEWORK.finditer(text)} == set(LOOPS)
    assert len(FRAMEWORK.findall(text)) == text.count("<!-- framework:")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (">>> 1 + 1\n2\n\n", "2\n\n"),
        (
            "$ labelsmooth convert 0.1 --from fairseq --to torch --classes 5\nfairseq 0.1 is torch 0.125 at K = 5\n...\n",
            "0.125",
        ),
    ],
    ids=["python", "console"],
)
def test_a_changed_digit_in_a_block_fails(text: str, wrong: str, tmp_path: Path) -> None:
    kind = "python" if text.startswith(">>>") else "console"
    for body, fails in ((text, False), (text.replace(wrong, "7" + wrong), True)):
        page = tmp_path / "page.md"
        page.write_text(f"# A page\n\n```{kind}\n{body}```\n", encoding="utf-8")
        (block,) = examples(page, tmp_path)
        if fails:
            with pytest.raises(sybil.example.SybilFailure):
                block.evaluate()
        else:
            block.evaluate()


def test_a_changed_digit_in_a_console_block_is_noticed() -> None:
    assert same("loss 2.1951  \n", "loss 2.1951\n")
    assert not same("loss 2.1951\n", "loss 2.1952\n")
    assert same("wrote /a/b.xlsx in 3 s", "wrote ...b.xlsx in ... s")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_of_the_page_lead_to_files_that_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if not t.startswith(("http", "#"))]
    missing = [t for t in targets if not (page.parent / t).exists()]
    assert not missing, f"{page.name} links to {missing}"


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    if name.startswith("labelsmooth.losses"):
        pytest.importorskip("torch")
    module = importlib.import_module(name)
    failures: list[str] = []
    for test in doctest.DocTestFinder().find(module):
        doctest.DocTestRunner(optionflags=FLAGS).run(test, out=failures.append)
    assert not failures, "".join(failures)


def test_the_public_functions_have_examples() -> None:
    pytest.importorskip("torch")
    public = [getattr(labelsmooth, name) for name in labelsmooth.__all__ if not name.startswith("_")]
    bare = [x.__name__ for x in public if ">>>" not in (x.__doc__ or "")]
    assert not bare
