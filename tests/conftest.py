"""What every test may rely on, and what makes green mean that something ran.

- One thread. Small tensors gain nothing from a second one, and sums stay in one order. The variable is set before NumPy
  or torch can be loaded; neither is imported here, since the tests of most rooms run where only NumPy is installed.
- Triton interprets its kernels on the CPU, which it decides when it is loaded. `TRITON_INTERPRET=0 pytest -m gpu` runs the
  tests that need a GPU; with another value they are skipped.
- `LABELSMOOTH_REQUIRE=1`, which `make test` sets, turns every skip into a failure. Two skips stay allowed, because no
  package brings what they need: a GPU, and the foreign workbook that does not belong to this repository.
- Skips are counted with their reasons at the end, and a run in which nothing was executed is a failure. `pytest -n 2`
  runs the tests in processes of their own, so what was executed is counted where the reports arrive.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRITON_INTERPRET", "1")

import importlib.util
import shutil
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
REQUIRE = "LABELSMOOTH_REQUIRE"


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


@pytest.fixture(scope="session")
def chromium() -> Generator[Any]:
    """Give a browser: the system's Chromium, driven by Playwright. It is started once, and nothing leaves the machine."""
    sync_api = pytest.importorskip("playwright.sync_api")
    program = os.environ.get("CHROMIUM") or _program("chromium", "google-chrome", package="chromium")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=quiet)
        yield browser
        browser.close()


@pytest.fixture
def shared() -> Path:
    """Give a workbook that nobody here wrote; it lies beside the repository, where there is one."""
    path = ROOT.parent / "shared" / "data" / "entropy_example.xlsx"
    if not path.is_file():
        raise Elsewhere(f"the foreign workbook {path.name} is not beside this repository")
    return path


@pytest.fixture
def ironcalc_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let IronCalc calculate in this process, for tests of what is in a workbook and not of how an engine is run.

    Poison and proof stay as they are. Starting a process for each workbook costs more than calculating most of them.
    """
    pytest.importorskip("ironcalc")
    from labelsmooth.workbook import _engines, recalc

    as_users_do = recalc.run_engine

    def here(name: str, book: Path, *, cells: Any = None, **others: Any) -> Any:
        if name != "ironcalc":
            return as_users_do(name, book, cells=cells, **others)
        version, values = _engines.ENGINES[name].calculate(book, cells)
        return {"version": version, "values": values}

    monkeypatch.setattr(recalc, "run_engine", here)


def _program(*names: str, package: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.skip(f"{names[0]} is not on PATH: sudo apt-get install -y {package}")


# What makes green mean something -------------------------------------------------------------------------------------


class Count:
    """How many tests were executed, here or in the processes that pytest-xdist started."""

    def __init__(self) -> None:
        self.executed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.executed += report.when == "call" and not _is_skip(report)


COUNT = pytest.StashKey[Count]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COUNT] = Count()
    config.pluginmanager.register(config.stash[COUNT])


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None:
        return
    if importlib.util.find_spec("torch") is None:
        pytest.skip("could not import 'torch'")
    import torch

    if not torch.cuda.is_available():
        raise Elsewhere("no GPU that torch can use")
    if os.environ["TRITON_INTERPRET"] != "0":
        raise Elsewhere("Triton interprets here: make bench-gpu runs what needs a GPU")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _is_skip(report) and _required() and not (call.excinfo and isinstance(call.excinfo.value, Elsewhere)):
        _forbid(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and _required():  # `pytest.importorskip` at the head of a file skips the whole file here
        _forbid(report)
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    of_many = hasattr(session.config, "workerinput")  # one of xdist's processes may well be left without a test
    nothing = not (session.config.option.collectonly or of_many or session.config.stash[COUNT].executed)
    if exitstatus == pytest.ExitCode.OK and nothing:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skips = Counter(_reason(report) for report in terminalreporter.getreports("skipped"))
    if skips:
        terminalreporter.section("skipped, with reasons")
        for reason, count in skips.most_common():
            terminalreporter.write_line(f"{count:4d}  {reason}")
    if not config.stash[COUNT].executed and not config.option.collectonly:
        terminalreporter.write_line("No test was executed: this run proves nothing and counts as failed.", red=True)


def _required() -> bool:
    return os.environ.get(REQUIRE, "") not in {"", "0"}


def _is_skip(report: pytest.TestReport) -> bool:
    return report.skipped and not hasattr(report, "wasxfail")  # an expected failure was executed


def _forbid(report: pytest.TestReport | pytest.CollectReport) -> None:
    report.longrepr = f"skipped, which {REQUIRE} forbids: {_reason(report)}"
    report.outcome = "failed"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, (tuple, list)) else str(report.longrepr)
    return text.removeprefix("Skipped: ").removeprefix(f"{__name__}.{Elsewhere.__name__}: ")
