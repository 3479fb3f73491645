"""Every block of the README and the docs runs, and says what is printed under it; so does every docstring's example.

Python blocks run through Sybil, one namespace a page; what follows `>>>` prints what stands under it. Console blocks are
commands after `$` with the output that a user sees on a terminal 100 columns wide; `<!-- file: NAME -->` above a block
writes that file first. Blocks under `<!-- framework: NAME -->` need that framework and run in `make frameworks`.
"""

from __future__ import annotations

import doctest
import importlib.util
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
from agree import agree

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
    elif words[0] == "python":
        words[0] = sys.executable
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


LONG = {
    "calibration.md",
    "choosing-eps.md",
    "cookbook.md",
    "diagnose.md",
    "tutorial.md",
    "workbook.md",
}  # they measure, train, export


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.slow if p.name in LONG else ()) for p in PAGES],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_blocks_of_the_page_print_what_stands_under_them(page: Path, tmp_path: Path) -> None:
    pytest.importorskip("click")
    if "import torch" in page.read_text(encoding="utf-8"):
        pytest.importorskip("torch")
    blocks = examples(page, tmp_path)
    assert blocks or page == ROOT / "docs" / "README.md", f"{page.name} has no block that runs"
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


# Links ---------------------------------------------------------------------------------------------------------------


LINK = re.compile(r"\]\(([^)\s]+)\)")
LINKED = sorted(
    {*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md"}
    | {*(ROOT / "examples").glob("*.md"), ROOT / "src" / "labelsmooth" / "data" / "README.md"}
)
THE_POSTS_SECTIONS = [
    "Introduction",
    "Why do we need Label Smoothing?",
    "What is Label Smoothing?",
    "Label Smoothing in Microsoft Excel",
    "Fastai/PyTorch Implementation of Label Smoothing Cross Entropy loss",
    "Comparing Microsoft Excel results with PyTorch",
    "Conclusion",
    "References",
    "Credits",
]


def prose(page: Path) -> str:
    """A page without its blocks, in which a bracket is no link and a # no heading."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    """What a text links to inside the repository."""
    return [target for target in LINK.findall(text) if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The names by which the headings of a page are linked to, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head) for head in heads]
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in plain}


def broken(page: Path) -> list[str]:
    """The links of a page that lead to no file, or to no heading of one."""
    found = []
    for target in links(prose(page)):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and (file.suffix != ".md" or anchor not in anchors(file))):
            found.append(target)
    return found


@pytest.mark.parametrize("page", LINKED, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_of_the_page_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_and_a_broken_anchor_are_said(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# A `code` heading, with g\\*\n\n```sh\n# no heading\n```\n", encoding="utf-8")
    page.write_text(
        "## Here\n[a](other.md) [b](other.md#a-code-heading-with-g) [c](#here) [d](https://example.org/nothing)\n"
        "[e](gone.md) [f](other.md#no-heading) [g](#there) [![h](gone.png)](other.md)\n```\n[i](blocks.md)\n```\n",
        encoding="utf-8",
    )
    assert broken(page) == ["gone.md", "other.md#no-heading", "#there", "gone.png"]


def test_every_page_is_one_click_from_the_index_and_the_index_lists_no_other() -> None:
    index = ROOT / "docs" / "README.md"
    reached = {(index.parent / link.partition("#")[0]).resolve() for link in links(prose(index))}
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if page != index and page.resolve() not in reached]
    assert not missing


@pytest.mark.parametrize("section", THE_POSTS_SECTIONS)
def test_every_section_of_the_post_is_answered_two_clicks_from_the_readme(section: str) -> None:
    first = [link.partition("#")[0] for link in links(prose(ROOT / "README.md"))]
    answers = {}
    for link in {one for one in first if one.endswith(".md")}:
        rows = re.findall(r"^\| ([^|\n]+) \| (.+) \|$", prose(ROOT / link), re.MULTILINE)
        answers |= {name: links(cell) for name, cell in rows if name == section}
    assert answers.get(section), f"no page that the README links to has a row for {section!r}"


# Pages and pictures that a script makes ------------------------------------------------------------------------------


def run_script(name: str) -> str:
    line = [sys.executable, str(ROOT / "scripts" / name)]
    return subprocess.run(line, capture_output=True, text=True, check=True, encoding="utf-8", timeout=120).stdout


def test_the_page_of_the_command_line_is_what_its_script_prints() -> None:
    pytest.importorskip("click")
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert page == run_script("command_line_page.py"), "python scripts/command_line_page.py > docs/command-line.md"
    from labelsmooth.cli import main

    for name, command in main.commands.items():
        assert f"## labelsmooth {name}\n" in page
        shown = [option for option in command.params if not getattr(option, "hidden", False)]
        options = [name for option in shown for name in option.opts if name.startswith("-")]
        assert all(f"`{option}`" in page for option in options)


@pytest.mark.slow
def test_the_picture_of_the_gap_is_what_its_script_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("playwright")  # the script draws the page, too
    place = importlib.util.spec_from_file_location("pictures", ROOT / "scripts" / "pictures.py")
    assert place is not None
    assert place.loader is not None
    script = importlib.util.module_from_spec(place)
    place.loader.exec_module(script)
    monkeypatch.setattr(script, "FOLDER", tmp_path)
    script.of_gap()
    numbers = [
        [float(x) for x in re.findall(r"(?<![\w#.])-?\d+\.\d+", (folder / "gap.svg").read_text(encoding="utf-8"))]
        for folder in (tmp_path, ROOT / "docs" / "pictures")
    ]
    assert len(numbers[0]) > 500
    agree(*numbers, budget=1e-5, what="the curves, in points")


def test_how_it_works_draws_the_rooms_as_the_map_does() -> None:
    from test_house import ROOMS

    page = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", page, re.MULTILINE)
    drawn = {room: set(re.findall(r"`([\w.]+)`", may)) for room, may in rows if may != "all of them"}
    assert drawn == {room: may for room, may in ROOMS.items() if room not in {"cli", "__init__", "__main__"}}
    assert ROOMS["cli"] >= drawn.keys()


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
