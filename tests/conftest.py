"""What every test may rely on, and what makes green mean that something ran.

- One thread. Small tensors gain nothing from a second one, and sums stay in one order. The variable is set before NumPy
  or torch can be loaded; neither is imported here, since the tests of most rooms run where only NumPy is installed.
- `LABELSMOOTH_REQUIRE=1`, which `make test` sets, turns every skip into a failure. Two skips stay allowed, because no
  package brings what they need: a GPU, and the foreign workbook that does not belong to this repository.
- Skips are counted with their reasons at the end, and a run in which nothing was executed is a failure.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib.util
import shutil
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
REQUIRE = "LABELSMOOTH_REQUIRE"
EXECUTED = pytest.StashKey[int]()


class Elsewhere(pytest.skip.Exception):
    """A skip for something that no installation on this machine would bring: allowed under LABELSMOOTH_REQUIRE."""


# What tests ask for --------------------------------------------------------------------------------------------------


@pytest.fixture
def root() -> Path:
    """Give the root of the repository."""
    return ROOT


@pytest.fixture
def node() -> str:
    """Give the path of node, which runs the printed JavaScript."""
    return _program("node", package="nodejs")


@pytest.fixture
def soffice() -> str:
    """Give the path of LibreOffice, which recalculates workbooks."""
    return _program("soffice", "libreoffice", package="libreoffice-calc")


@pytest.fixture
def pdftoppm() -> str:
    """Give the path of pdftoppm, which shows a page as a picture."""
    return _program("pdftoppm", package="poppler-utils")


@pytest.fixture
def shared() -> Path:
    """Give a workbook that nobody here wrote; it lies beside the repository, where there is one."""
    path = ROOT.parent / "shared" / "data" / "entropy_example.xlsx"
    if not path.is_file():
        raise Elsewhere(f"the foreign workbook {path.name} is not beside this repository")
    return path


def _program(*names: str, package: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.skip(f"{names[0]} is not on PATH: sudo apt-get install -y {package}")


# What makes green mean something -------------------------------------------------------------------------------------


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None:
        return
    if importlib.util.find_spec("torch") is None:
        pytest.skip("could not import 'torch'")
    import torch

    if not torch.cuda.is_available():
        raise Elsewhere("no GPU that torch can use")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    is_skip = report.skipped and not hasattr(report, "wasxfail")  # an expected failure was executed
    if call.when == "call" and not is_skip:
        item.config.stash[EXECUTED] = _executed(item.config) + 1
    if is_skip and _required() and not (call.excinfo and isinstance(call.excinfo.value, Elsewhere)):
        _forbid(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and _required():  # `pytest.importorskip` at the head of a file skips the whole file here
        _forbid(report)
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and not session.config.option.collectonly and not _executed(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skips = Counter(_reason(report) for report in terminalreporter.getreports("skipped"))
    if skips:
        terminalreporter.section("skipped, with reasons")
        for reason, count in skips.most_common():
            terminalreporter.write_line(f"{count:4d}  {reason}")
    if not _executed(config) and not config.option.collectonly:
        terminalreporter.write_line("No test was executed: this run proves nothing and counts as failed.", red=True)


def _required() -> bool:
    return os.environ.get(REQUIRE, "") not in {"", "0"}


def _executed(config: pytest.Config) -> int:
    return config.stash.get(EXECUTED, 0)


def _forbid(report: pytest.TestReport | pytest.CollectReport) -> None:
    report.longrepr = f"skipped, which {REQUIRE} forbids: {_reason(report)}"
    report.outcome = "failed"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ").removeprefix(f"{__name__}.{Elsewhere.__name__}: ")
