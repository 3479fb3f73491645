"""Every checker is seen to reject a planted error.

A check that cannot fail is worse than none: it is believed. So each law of the house is handed a small tree that breaks
it, each comparison two numbers that differ, and the rules about skips a run of pytest that should not be green.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import test_house as house
from agree import BFLOAT16, FLOAT32, FLOAT64, LossAndGradient, agree, agree_result

# The comparison ------------------------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("got", "expected", "says"),
    [
        ([1.0, 2.0], [1.0, 2.0 + 1e-11], r"1 of 2 differ.*\n  \[1\]  got 2\.0  expected 2\.00000000001"),
        (1e-9, 0.0, r"1 of 1 differ"),
        (1000.0, 1000.0 + 1e-8, r"difference -1e-08"),
        ([1.0], [1.0, 1.0], r"shape \(1,\), expected \(2,\)"),
        (1.0, [1.0], r"shape \(\), expected \(1,\)"),
        ([[1.0, 2.0]], [1.0, 2.0], r"shape \(1, 2\), expected \(2,\)"),
        (np.float32(1), np.float64(1), r"dtype float32, expected float64"),
        (np.ones(2, np.int64), np.ones(2), r"dtype int64, expected float64"),
        ([NAN], [NAN], r"NaN: 1 of 1 differ"),
        ([NAN], [1.0], r"NaN: 1 of 1 differ"),
        ([1.0], [NAN], r"NaN: 1 of 1 differ"),
        ([INF], [-INF], r"got inf  expected -inf"),
        ([INF], [1e308], r"got inf"),
        ([1.0], [INF], r"expected inf"),
        ([-1e308], [1e308], r"difference -inf"),
        ([], [], r"nothing to compare"),
    ],
)
def test_agree_rejects(got: Any, expected: Any, says: str) -> None:
    with pytest.raises(AssertionError, match=says) as caught:
        agree(got, expected, budget=FLOAT64, what="planted")
    assert str(caught.value).startswith("planted: ")


@pytest.mark.parametrize(
    ("got", "expected", "options"),
    [
        (1.0, 1.0 + 1e-13, {}),
        (1e6, 1e6 + 1e-7, {}),
        (0.0, 1e-13, {}),
        ([INF, -INF, 1.0], [INF, -INF, 1.0], {}),
        ([NAN, 1.0], [NAN, 1.0], {"nan_agrees": True}),
        (np.float32(1), np.float64(1), {"any_dtype": True}),
        (np.float64(1), 1.0, {}),
        (np.ones((2, 0)), np.ones((2, 0)), {"may_be_empty": True}),
        ([True, False], [1, 0], {}),
    ],
)
def test_agree_accepts(got: Any, expected: Any, options: dict[str, bool]) -> None:
    agree(got, expected, budget=FLOAT64, what="equal", **options)


@pytest.mark.parametrize(("got", "expected"), [([NAN], [1.0]), ([1.0], [NAN])])
def test_agree_rejects_nan_on_one_side_even_where_nan_agrees(got: list[float], expected: list[float]) -> None:
    with pytest.raises(AssertionError, match="NaN"):
        agree(got, expected, budget=FLOAT64, what="planted", nan_agrees=True)


def test_agree_shows_the_first_five_offenders_and_counts_the_rest() -> None:
    with pytest.raises(AssertionError) as caught:
        agree(np.zeros((4, 3)), np.ones((4, 3)), budget=FLOAT64, what="planted")
    first, *shown, rest = str(caught.value).splitlines()
    assert first == "planted: 12 of 12 differ, budget 1e-12"
    assert [re.findall(r"\[.*?\]", line)[0] for line in shown] == ["[0, 0]", "[0, 1]", "[0, 2]", "[1, 0]", "[1, 1]"]
    assert rest == "  and 7 more"


@pytest.mark.parametrize("budget", [-1e-12, NAN, INF])
def test_agree_refuses_a_budget_that_nothing_can_exceed_or_meet(budget: float) -> None:
    with pytest.raises(ValueError, match="budget must be a finite number"):
        agree(1.0, 1.0, budget=budget, what="planted")


@pytest.mark.parametrize("thing", [None, "1.0", ["a"], 1j, object()])
def test_agree_refuses_what_is_not_a_number(thing: Any) -> None:
    with pytest.raises(TypeError, match="only real numbers"):
        agree(thing, thing, budget=FLOAT64, what="planted")


def test_agree_reads_tensors_of_any_dtype_and_device() -> None:
    torch = pytest.importorskip("torch")
    half = torch.full((2,), 1.0, dtype=torch.bfloat16, requires_grad=True)
    agree(half, torch.ones(2, dtype=torch.bfloat16), budget=0, what="equal")
    agree(half, [1.0, 1.0], budget=0, what="equal")
    with pytest.raises(AssertionError, match="dtype bfloat16, expected float32"):
        agree(half, torch.ones(2), budget=BFLOAT16, what="planted")
    with pytest.raises(AssertionError, match="2 of 2 differ"):
        agree(half, [1.1, 1.1], budget=BFLOAT16, what="planted")


def _result(loss: Any, gradient: Any) -> LossAndGradient:
    return LossAndGradient(loss=np.asarray(loss), gradient=np.asarray(gradient))


TRUTH = _result(2.0, [0.5, -0.5])


@pytest.mark.parametrize(
    ("ours", "says"),
    [
        (_result(2.1, [0.5, -0.5]), "result: loss: 1 of 1 differ"),
        (_result(2.0, [0.5, -0.6]), "result: gradient: 1 of 2 differ"),
        (_result(2.0, [[0.5, -0.5]]), "result: gradient: shape"),
        (_result(INF, [0.5, -0.5]), "result: loss"),
        (_result(2.0, [0.5, NAN]), "result: gradient: NaN"),
    ],
)
def test_a_result_is_wrong_if_either_half_is(ours: LossAndGradient, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        agree_result(ours, TRUTH, budget=FLOAT32)


def test_a_result_may_be_as_wrong_as_the_plain_path_and_no_more() -> None:
    plain = _result(np.float32(2.002), np.float32([0.5, -0.51]))
    agree_result(_result(1.998, [0.49, -0.5]), TRUTH, budget=FLOAT32, plain=plain)
    with pytest.raises(AssertionError, match="gradient"):
        agree_result(_result(2.0, [0.48, -0.5]), TRUTH, budget=FLOAT32, plain=plain)
    with pytest.raises(AssertionError, match="loss"):
        agree_result(_result(2.003, [0.5, -0.5]), TRUTH, budget=FLOAT32, plain=plain)


@pytest.mark.parametrize("broken", [INF, NAN])
def test_an_overflow_in_the_plain_path_excuses_nothing(broken: float) -> None:
    plain = _result(broken, [broken, -0.5])
    agree_result(TRUTH, TRUTH, budget=FLOAT32, plain=plain)
    with pytest.raises(AssertionError, match="gradient"):
        agree_result(_result(2.0, [0.6, -0.5]), TRUTH, budget=FLOAT32, plain=plain)
    with pytest.raises(AssertionError, match="loss"):
        agree_result(_result(broken, [0.5, -0.5]), TRUTH, budget=FLOAT32, plain=plain)


def test_a_plain_path_of_another_shape_is_no_allowance() -> None:
    with pytest.raises(AssertionError, match="plain path: shape"):
        agree_result(TRUTH, TRUTH, budget=FLOAT32, plain=_result([2.0], [0.5, -0.5]))


def test_half_a_result_is_refused() -> None:
    with pytest.raises(TypeError, match="needs a gradient"):
        LossAndGradient(loss=1.0, gradient=None)


# The house -----------------------------------------------------------------------------------------------------------


def _tree(tmp_path: Path, files: dict[str, str]) -> Path:
    """Write a small package and return its folder."""
    package = tmp_path / "labelsmooth"
    for name, text in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return package


GOOD = {
    "__init__.py": "def __getattr__(name):\n    from labelsmooth import losses\n",
    "__main__.py": "from labelsmooth.cli import main\n",
    "_arguments.py": "import click\nfrom labelsmooth.errors import InputError\n",
    "_terminal.py": "import rich\nfrom labelsmooth.maths.steps import chain\n",
    "cli.py": "import click\ndef main():\n    import torch\n    from labelsmooth import _terminal, files, parity\n",
    "errors.py": "",
    "files/__init__.py": "from .read import read_batch\n",
    "files/read.py": "from labelsmooth import errors\nfrom . import _archives\n",
    "files/_archives.py": "def read():\n    import torch, openpyxl, safetensors, pyarrow.parquet\n",
    "maths/__init__.py": "",
    "maths/conventions.py": "import numpy as np\n",
    "maths/steps.py": "from .conventions import TABLE\nfrom labelsmooth.errors import InputError\n",
    "losses/__init__.py": "import torch\nfrom labelsmooth.maths.conventions import TABLE\n",
    "losses/_triton.py": "import triton\nfrom labelsmooth.maths import conventions\n",
    "workbook/write_sheets.py": "import xlsxwriter\nfrom labelsmooth.maths import steps\n",
    "workbook/read.py": "import openpyxl\nfrom labelsmooth.maths.steps import chain\n",
    "workbook/recalc.py": "def by_ironcalc():\n    import ironcalc\n",
    "parity/compare.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
    "from labelsmooth.losses import f\n",
    "parity/frameworks.py": "def by_jax():\n    import jax\n",
}


def test_a_house_in_order_breaks_no_law(tmp_path: Path) -> None:
    package = _tree(tmp_path, GOOD)
    assert house.rooms_out_of_order(package) == []
    assert house.wrong_doors(package) == []
    assert house.too_long(package) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("maths/trespass.py", "import labelsmooth.losses"),
        ("maths/trespass.py", "from labelsmooth.files import read"),
        ("maths/trespass.py", "from ..losses import f"),
        ("maths/trespass.py", "from .. import losses"),
        ("maths/trespass.py", "def f():\n    from labelsmooth import losses"),
        ("maths/trespass.py", "import importlib\nx = importlib.import_module('labelsmooth.losses')"),
        ("losses/trespass.py", "from labelsmooth.maths.steps import chain"),
        ("losses/trespass.py", "from labelsmooth.maths import steps"),
        ("losses/trespass.py", "from labelsmooth.maths import TABLE"),
        ("losses/trespass.py", "from labelsmooth import files"),
        ("workbook/trespass.py", "from labelsmooth.losses import f"),
        ("workbook/trespass.py", "from labelsmooth.parity import compare"),
        ("workbook/trespass.py", "if TYPE_CHECKING:\n    from labelsmooth import losses"),
        ("files/read.py", "from labelsmooth.maths import steps"),
        ("files/_archives.py", "from labelsmooth.maths import steps"),
        ("_arguments.py", "from labelsmooth import __main__"),
        ("_formats.py", "from labelsmooth.errors import InputError"),
        ("parity/trespass.py", "from labelsmooth import cli"),
        ("__init__.py", "def f():\n    from labelsmooth.cli import main"),
        ("errors.py", "from labelsmooth import maths"),
        ("errors.py", "import labelsmooth"),
        ("attic.py", "import labelsmooth.errors"),
    ],
)
def test_a_room_that_enters_another_unasked_is_caught(tmp_path: Path, file: str, line: str) -> None:
    found = house.rooms_out_of_order(_tree(tmp_path, {**GOOD, file: f"{line}\n"}))
    assert len(found) == 1
    assert found[0].startswith(file)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("maths/trespass.py", "import torch"),
        ("maths/trespass.py", "def f():\n    import torch"),
        ("workbook/trespass.py", "def f():\n    from torch.nn import functional"),
        ("workbook/trespass.py", "if TYPE_CHECKING:\n    import torch"),
        ("parity/trespass.py", "import torch"),
        ("parity/trespass.py", "try:\n    import torch\nexcept ImportError:\n    torch = None"),
        ("parity/trespass.py", "if not TYPE_CHECKING:\n    import torch"),
        ("parity/trespass.py", "class A:\n    import torch"),
        ("parity/trespass.py", "from importlib import import_module\nt = import_module('torch')"),
        ("files/_archives.py", "import torch"),
        ("files/_archives.py", "import safetensors"),
        ("files/read.py", "def f():\n    import openpyxl"),
        ("files/__init__.py", "def f():\n    import pyarrow"),
        ("cli.py", "import torch"),
        ("cli.py", "def f():\n    import rich"),
        ("_arguments.py", "import rich"),
        ("_terminal.py", "import click"),
        ("losses/_eager.py", "import triton"),
        ("workbook/layout.py", "import xlsxwriter"),
        ("workbook/write.py", "import openpyxl"),
        ("workbook/read.py", "import ironcalc"),
        ("parity/compare.py", "def f():\n    import jax"),
        ("parity/frameworks.py", "import jax"),
        ("maths/printers.py", "import rich"),
        ("files/write.py", "import click"),
        ("maths/evaluate.py", "import scipy.special"),
    ],
)
def test_a_library_that_comes_in_by_another_door_is_caught(tmp_path: Path, file: str, line: str) -> None:
    found = house.wrong_doors(_tree(tmp_path, {**GOOD, file: f"{line}\n"}))
    assert len(found) == 1
    assert found[0].startswith(file)


def _function(lines: int, docstring: int = 0) -> str:
    doc = ['    """One.', *["    more"] * (docstring - 2), '    """'] if docstring else []
    return "\n".join(["def f():", *doc, *["    x = 1"] * (lines - 1)]) + "\n"


def test_a_file_or_a_function_that_grows_too_long_is_caught(tmp_path: Path) -> None:
    longest = {"a.py": "x = 1\n" * house.LONGEST_FILE, "b.py": _function(house.LONGEST_FUNCTION, docstring=20)}
    assert house.too_long(_tree(tmp_path, longest)) == []
    longer = {"a.py": "x = 1\n" * (house.LONGEST_FILE + 1), "b.py": _function(house.LONGEST_FUNCTION + 1)}
    assert house.too_long(_tree(tmp_path, longer)) == [
        f"a.py: {house.LONGEST_FILE + 1} lines, at most {house.LONGEST_FILE}",
        f"b.py:1 f: {house.LONGEST_FUNCTION + 1} lines, at most {house.LONGEST_FUNCTION}",
    ]


def test_a_test_file_that_names_no_module_is_caught(tmp_path: Path) -> None:
    package = _tree(tmp_path, {**GOOD, "losses/_cpu.py": ""})
    tests = tmp_path / "tests"
    tests.mkdir()
    named = [
        "files",
        "files_read",
        "files_read_csv",
        "maths_steps",
        "maths_steps_weights",
        "losses_cpu",
        "losses",
        "maths",
        "house",
    ]
    for name in named:
        (tests / f"test_{name}.py").touch()
    assert house.misnamed_tests(tests, package) == []
    for name in ("attic", "losses_attic", "stepson", "filesystem"):
        (tests / f"test_{name}.py").touch()
    assert [line.split()[0] for line in house.misnamed_tests(tests, package)] == [
        "test_attic.py",
        "test_filesystem.py",
        "test_losses_attic.py",
        "test_stepson.py",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "assert np.allclose(a, b)",
        "np.testing.assert_allclose(a, b)",
        "assert a == pytest.approx(b)",
        "torch.testing.assert_close(a, b)",
        "from math import isclose\nassert isclose(a, b)",
    ],
)
def test_a_second_way_to_compare_numbers_is_caught(tmp_path: Path, line: str) -> None:
    (tmp_path / "agree.py").write_text("np.allclose(a, b)\n", encoding="utf-8")
    assert house.comparisons_elsewhere(tmp_path) == []
    (tmp_path / "test_files.py").write_text(f"{line}\n", encoding="utf-8")
    assert len(house.comparisons_elsewhere(tmp_path)) == 1


PLANTED_WORDS = [
    "see /" + "tmp/x",
    "'/" + "home/me'",
    "(/" + "work/main)",
    "/" + "root",
    "# TO" + "DO: later",
    "FIX" + "ME",
    "https://download.pytorch.org/" + "whl/cpu",
]


@pytest.mark.parametrize("line", PLANTED_WORDS)
def test_an_unwelcome_word_is_caught(tmp_path: Path, line: str) -> None:
    path = tmp_path / "notes.md"
    path.write_text(f"fine\n{line}\n", encoding="utf-8")
    found = house.unwelcome_words([path], tmp_path)
    assert len(found) == 1
    assert found[0].startswith("notes.md:2 ")


@pytest.mark.parametrize("line", ["src/tmp/x", "work/home", "tmp_path / 'a'", "https://a.org/home", "/rooted"])
def test_a_harmless_word_is_left_alone(tmp_path: Path, line: str) -> None:
    path = tmp_path / "notes.md"
    path.write_text(f"{line}\n", encoding="utf-8")
    assert house.unwelcome_words([path], tmp_path) == []


def test_an_ignored_file_is_not_ours_and_a_new_one_is(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text("out/\n", encoding="utf-8")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").touch()
    (tmp_path / "new.txt").touch()
    assert house.own_files(tmp_path) == [tmp_path / ".gitignore", tmp_path / "new.txt"]


@pytest.mark.parametrize(
    ("pins", "says"),
    [
        ("numpy==2.0\n", "does not pin xlsxwriter"),
        ("numpy==2.0\nXlsxWriter==3.2+cpu\n", "is not name==version"),
        ("numpy==2.0\nXlsxWriter>=3.2\n", "is not name==version"),
        ("numpy==2.0\nxlsxwriter @ file:wheel\n", "is not name==version"),
        ("numpy==2.0\nXlsxWriter==3.2\nnumpy==2.1\n", "numpy is pinned twice"),
    ],
)
def test_a_loose_dependency_is_caught(tmp_path: Path, pins: str, says: str) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(
        '[project]\nname = "a"\ndependencies = ["numpy>=2"]\n'
        '[project.optional-dependencies]\nb = ["XlsxWriter>=3.2"]\nc = ["a[b]"]\n',
        encoding="utf-8",
    )
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("# head\nnumpy==2.0\nXlsxWriter==3.2\n", encoding="utf-8")
    assert house.unpinned(project, constraints) == []
    constraints.write_text(pins, encoding="utf-8")
    assert any(says in line for line in house.unpinned(project, constraints))


@pytest.mark.slow
def test_a_file_left_out_of_the_wheel_is_caught(tmp_path: Path) -> None:
    _tree(tmp_path / "src", {"__init__.py": "", "data/logits.csv": "", "data/source.txt": ""})
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["scikit-build-core"]\nbuild-backend = "scikit_build_core.build"\n'
        '[project]\nname = "labelsmooth"\nversion = "0"\nrequires-python = ">=3.11"\n'
        '[tool.scikit-build]\nwheel.cmake = false\nwheel.packages = ["src/labelsmooth"]\nwheel.exclude = ["*.csv"]\n',
        encoding="utf-8",
    )
    found = house.left_out_of_the_wheel(tmp_path, tmp_path / "out")
    assert found == ["labelsmooth/data/logits.csv is not in labelsmooth-0-py3-none-any.whl"]


def test_a_library_loaded_at_import_is_caught_in_a_fresh_process(tmp_path: Path) -> None:
    package = _tree(tmp_path, {"__init__.py": "", "eager.py": "import wave", "lazy.py": "def f():\n    import wave"})
    assert "wave" in house.loaded_by("labelsmooth.eager", package.parent)
    assert "wave" not in house.loaded_by("labelsmooth.lazy", package.parent)


def test_a_public_name_without_an_example_is_caught() -> None:
    def silent() -> None: ...

    def told() -> None:
        """Say something."""

    def shown() -> None:
        """Say something.

        >>> shown()
        """

    class SomeError(Exception):
        """Nothing to show."""

    things: dict[str, object] = {"silent": silent, "told": told, "shown": shown, "SomeError": SomeError, "version": "1"}
    assert house.undocumented(list(things), things) == [
        "silent has no docstring",
        "told has no example in its docstring",
    ]


# The rules about skips -----------------------------------------------------------------------------------------------


def _pytest(tmp_path: Path, test: str, *more: str, require: bool) -> SimpleNamespace:
    """Run one test file in a fresh pytest under our conftest."""
    tests = tmp_path / "repository" / "tests"
    tests.mkdir(parents=True)
    shutil.copy(house.TESTS / "conftest.py", tests)
    (tests / "test_planted.py").write_text(test, encoding="utf-8")
    # Where CI is set pytest tells a failure twice in full, in the summary as well: the count must not hang on that.
    surroundings = {name: value for name, value in os.environ.items() if name not in {"CI", "BUILD_NUMBER"}}
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tests), "-c", os.devnull]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *more, str(tests)],
        # No plug-in: what is tested is our conftest, and loading theirs takes longer than the run.
        env={**surroundings, "LABELSMOOTH_REQUIRE": "1" if require else "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return SimpleNamespace(code=done.returncode, text=done.stdout + done.stderr)


ONE_PASSES = "def test_one(): pass\n"
SKIPS = """
import pytest

@pytest.fixture
def engine(): pytest.skip("no engine")

def test_skipped_in_the_test(): pytest.skip("no engine")

def test_skipped_in_a_fixture(engine): pass

@pytest.mark.skipif(True, reason="no engine")
def test_skipped_by_a_mark(): pass

"""


def test_a_skip_is_counted_with_its_reason(tmp_path: Path) -> None:
    run = _pytest(tmp_path, ONE_PASSES + SKIPS, require=False)
    assert run.code == 0, run.text
    assert "   3  no engine\n" in run.text
    assert "1 passed, 3 skipped" in run.text


def test_a_skip_fails_where_skips_are_forbidden(tmp_path: Path) -> None:
    run = _pytest(tmp_path, ONE_PASSES + SKIPS, require=True)
    assert run.code == 1, run.text
    assert run.text.count("skipped, which LABELSMOOTH_REQUIRE forbids: no engine\n") == 3
    assert re.search(r"\b1 passed", run.text)
    assert "skipped in" not in run.text


def test_a_file_skipped_as_a_whole_fails_where_skips_are_forbidden(tmp_path: Path) -> None:
    test = "import pytest\npytest.importorskip('no_such_library')\n" + ONE_PASSES
    strict = _pytest(tmp_path, test, require=True)
    assert strict.code not in {0, 5}, strict.text
    assert "LABELSMOOTH_REQUIRE forbids: could not import 'no_such_library'" in strict.text


def test_the_workbook_that_lies_elsewhere_may_be_absent_even_so(tmp_path: Path) -> None:
    strict = _pytest(tmp_path, ONE_PASSES + "def test_two(shared): pass\n", require=True)
    assert strict.code == 0, strict.text
    assert "   1  the foreign workbook" in strict.text


@pytest.mark.slow
def test_a_gpu_may_be_absent_even_so(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    strict = _pytest(tmp_path, ONE_PASSES + "import pytest\n@pytest.mark.gpu\ndef test_two(): pass\n", require=True)
    assert strict.code == 0, strict.text
    assert ("   1  no GPU that torch can use" in strict.text) is not torch.cuda.is_available()


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    strict = _pytest(tmp_path, "import pytest\n@pytest.mark.xfail\ndef test_two(): assert False\n", require=True)
    assert strict.code == 0, strict.text


def test_a_run_that_executes_nothing_is_not_green(tmp_path: Path) -> None:
    run = _pytest(tmp_path, SKIPS, require=False)
    assert run.code == 1, run.text
    assert "No test was executed" in run.text


@pytest.mark.slow
@pytest.mark.parametrize(("test", "require", "code", "says"), [
    (ONE_PASSES + SKIPS, False, 0, "   3  no engine\n"),
    (ONE_PASSES + SKIPS, True, 1, "skipped, which LABELSMOOTH_REQUIRE forbids: no engine\n"),
    ("import pytest\npytest.importorskip('no_such_library')\n" + ONE_PASSES, True, 1, "REQUIRE forbids: could not import"),
    (SKIPS, False, 1, "No test was executed"),
])  # fmt: skip
def test_the_rules_hold_in_several_processes_too(
    test: str, require: bool, code: int, says: str, tmp_path: Path
) -> None:
    pytest.importorskip("xdist")
    run = _pytest(tmp_path, test, "-p", "xdist", "-n", "2", require=require)
    assert run.code == code, run.text
    assert says in run.text
