"""The spreadsheet engines, each run in a process of its own.

An engine here is somebody else's Rust, C++ or WebAssembly reading a file that may come from a stranger. A segmentation
fault or an abort cannot be caught in Python, so each calculation is a subprocess with limits, and a crash becomes an
`EngineError` in one line. The parent writes the job (file, cells wanted) as JSON into a private folder, starts
`python -m labelsmooth.workbook._engines JOB`, and reads the answer beside it; numbers travel with 17 digits.

What is limited: wall time everywhere; address space, processor time and file size only where Python has `resource`
(Linux, and macOS as far as its kernel heeds them). On Windows a runaway engine is ended by the wall time alone, and of
LibreOffice only the process that was started is ended, not the ones that it started.

LibreOffice needs two precautions. It does **not** recalculate an .xlsx that carries stored values unless its profile
says so (`fullCalcOnLoad` is ignored; seen in 7.4), and macros, links and the network must be off: hence the profile
written here for every run. And it writes 15 digits in every text format that it has (.xlsx, .ods, .fods, .csv and .slk
were tried; the old binary .xls keeps all bits but ends at column IV), so its values are float64 rounded at 5e-15.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelsmooth.errors import EngineError
from labelsmooth.workbook._cells import Value, read_values
from labelsmooth.workbook._package import split_reference
from labelsmooth.workbook._process import run_to_end

GIB = 1 << 30
Cells = Mapping[str, Sequence[str]]
Answer = tuple[str, dict[str, list[Value]]]  # version, values in the order of the cells asked for


# Inside the engine's process -----------------------------------------------------------------------------------------


def _ironcalc(book: Path, cells: Cells) -> Answer:
    """Evaluate and read in memory; its save is never used, it loses formulas in error (ironcalc/ironcalc#1154)."""
    import ironcalc

    model = ironcalc.load_from_xlsx(str(book))
    model.evaluate()
    index = {sheet["name"]: number for number, sheet in enumerate(model.get_worksheets_properties())}
    read = model.get_cell_value  # the raw value; the formatted one is rounded
    values = {}
    for sheet, wanted in cells.items():
        number = index[sheet]
        values[sheet] = [read(number, *split_reference(cell)) for cell in wanted]
    return ironcalc.__version__, values


def _formulon(book: Path, cells: Cells) -> Answer:
    """Calculate, save and read the saved file: one call per cell costs 0.2 ms, five times the whole save."""
    import formulon

    saved = book.with_name("formulon.xlsx")
    with formulon.Workbook.load(book.read_bytes()) as workbook:
        workbook.recalc()
        saved.write_bytes(workbook.save())
    return formulon.library_version(), read_values(saved, cells)


def _libreoffice(book: Path, cells: Cells) -> Answer:
    out = book.parent / "calculated"
    convert(book, "xlsx", out)
    return _libreoffice_version(out / book.name), read_values(out / book.name, cells)


def _libreoffice_version(converted: Path) -> str:
    """The version as LibreOffice wrote it into the file; asking the program would start it again."""
    with zipfile.ZipFile(converted) as archive:
        found = re.search(rb"LibreOffice/([0-9.]+)", archive.read("docProps/app.xml"))
    return found[1].decode() if found else "unknown"


def convert(book: Path, target: str, out: Path) -> Path:
    """Run LibreOffice on `book` with the profile that the parent wrote beside it."""
    program = find_libreoffice()
    if program is None:
        raise FileNotFoundError("LibreOffice is not installed")
    profile = (book.parent / "profile").as_uri()
    command = [program, f"-env:UserInstallation={profile}", "--headless", "--norestore", "--nolockcheck"]
    command += ["--convert-to", target, "--outdir", str(out), str(book)]
    # Neither a window nor the network: the proxy of last resort is a port on which nobody listens.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, **nowhere, "SAL_USE_VCLPLUGIN": "svp"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)
    written = out / f"{book.stem}.{target}"
    if done.returncode != 0 or not written.is_file():
        said = " ".join((done.stderr + done.stdout).split())
        raise RuntimeError(f"soffice ended with code {done.returncode} and wrote no .{target}: {said[-200:]}")
    return written


def _limit(memory: int, seconds: float) -> None:
    """Lower the limits of this process and of all that it starts; Windows has no such limits."""
    if sys.platform == "win32":
        return
    import resource

    cores = os.cpu_count() or 1
    wanted = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: math.ceil(seconds * cores) + 1,  # wall time is the parent's; this outlives a dead parent
        resource.RLIMIT_FSIZE: 2 * GIB,
        resource.RLIMIT_CORE: 0,
    }
    for what, limit in wanted.items():
        hard = resource.getrlimit(what)[1]
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some of them
            resource.setrlimit(what, (allowed, hard))


def main(job_file: str) -> int:
    """Do one job; a fault is one line on standard error and exit code 1."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    engine = ENGINES[job["engine"]]
    _limit(engine.memory, job["timeout"])
    book = Path(job["book"])
    try:
        if job["target"] == "values":
            version, values = engine.calculate(book, job["cells"])
            answer = {"version": version, "values": values}
        else:
            answer = {"written": str(convert(book, job["target"], book.parent / "converted"))}
    except Exception as fault:  # noqa: BLE001 - this process exists to turn whatever an engine raises into one line
        sys.stderr.write(f"{type(fault).__name__}: {' '.join(str(fault).split())[:300]}\n")
        return 1
    book.with_name("answer.json").write_text(json.dumps(answer), encoding="utf-8")
    return 0


# The parent's side ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Engine:
    """One spreadsheet engine: its name in messages, how it calculates, what it may use, how to get it."""

    title: str
    calculate: Callable[[Path, Cells], Answer]
    memory: int
    install: str
    present: Callable[[], bool]


def find_libreoffice() -> str | None:
    """The program, from the search path or from where its installers put it on macOS and Windows."""
    for name in ("soffice", "libreoffice"):
        if found := shutil.which(name):
            return found
    usual = [Path("/Applications/LibreOffice.app/Contents/MacOS/soffice")]
    folders = (os.environ.get(variable) for variable in ("PROGRAMFILES", "PROGRAMFILES(X86)"))
    usual += [Path(folder) / "LibreOffice" / "program" / "soffice.com" for folder in folders if folder]
    return next((str(place) for place in usual if place.is_file()), None)


def _importable(module: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(module) is not None


ENGINES: dict[str, Engine] = {
    "ironcalc": Engine("IronCalc", _ironcalc, 4 * GIB, "pip install ironcalc", _importable("ironcalc")),
    "libreoffice": Engine(
        "LibreOffice",
        _libreoffice,
        8 * GIB,
        "apt-get install libreoffice-calc, or https://www.libreoffice.org/download",
        lambda: find_libreoffice() is not None,
    ),
    # WebAssembly reserves 4 GiB of addresses before it starts.
    "formulon": Engine("formulon", _formulon, 6 * GIB, "pip install formulon", _importable("formulon")),
}

_PROFILE = (
    ("org.openoffice.Office.Calc/Formula/Load", "OOXMLRecalcMode", "0"),  # 0 is "always recalculate"
    ("org.openoffice.Office.Calc/Content/Update", "Link", "2"),  # never follow links
    ("org.openoffice.Office.Common/Security/Scripting", "MacroSecurityLevel", "3"),
    ("org.openoffice.Office.Common/Security/Scripting", "DisableMacrosExecution", "true"),
    ("org.openoffice.Office.Common/Security/Scripting", "BlockUntrustedRefererLinks", "true"),
    ("org.openoffice.Inet/Settings", "ooInetProxyType", "1"),  # by hand, and then to nowhere
    ("org.openoffice.Inet/Settings", "ooInetHTTPProxyName", "127.0.0.1"),
    ("org.openoffice.Inet/Settings", "ooInetHTTPProxyPort", "9"),
    ("org.openoffice.Inet/Settings", "ooInetHTTPSProxyName", "127.0.0.1"),
    ("org.openoffice.Inet/Settings", "ooInetHTTPSProxyPort", "9"),
)


def _write_profile(folder: Path, settings: Sequence[tuple[str, str, str]]) -> None:
    items = "".join(
        f'<item oor:path="/{path}"><prop oor:name="{name}" oor:op="fuse"><value>{value}</value></prop></item>\n'
        for path, name, value in settings
    )
    user = folder / "user"
    user.mkdir(parents=True)
    (user / "registrymodifications.xcu").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<oor:items xmlns:oor="http://openoffice.org/2001/registry">\n{items}</oor:items>\n',
        encoding="utf-8",
    )


def _command(job_file: Path) -> list[str]:
    return [sys.executable, "-P", "-m", "labelsmooth.workbook._engines", str(job_file)]


def run_engine(
    name: str, book: Path, *, shown: str, timeout: float, cells: Cells | None = None, target: str = "values"
) -> Any:
    """Start the engine on `book`, which lies in a private folder, and return its answer.

    Args:
        name: a key of `ENGINES`.
        book: the file; answer, profile and messages are written beside it.
        shown: the file's name as the user typed it, for messages.
        timeout: seconds of wall time.
        cells: sheet -> the cells to read.
        target: "values", or the extension of a file that LibreOffice is to write.

    Raises:
        EngineError: the engine is not installed, crashed, took too long, or said that it cannot.
    """
    engine = ENGINES[name]
    if not engine.present():
        raise EngineError(f"{engine.title} is not installed: {engine.install}")
    if name == "libreoffice":
        _write_profile(book.parent / "profile", _PROFILE)
    job_file = book.with_name("job.json")
    job = {"engine": name, "book": str(book), "timeout": timeout, "cells": cells or {}, "target": target}
    job_file.write_text(json.dumps(job), encoding="utf-8")
    said_file = book.with_name("said.txt")
    with said_file.open("wb") as said:
        code = run_to_end(_command(job_file), said, timeout)
    if code is None:
        raise EngineError(f"{engine.title} did not finish {shown} within {timeout:g} s: give it a longer timeout")
    if code != 0:
        raise EngineError(_verdict(engine, code, shown, said_file.read_bytes()[-4000:].decode("utf-8", "replace")))
    answer_file = book.with_name("answer.json")
    if not answer_file.is_file():
        raise EngineError(f"{engine.title} ended without an answer on {shown}")
    return json.loads(answer_file.read_text(encoding="utf-8"))


def _verdict(engine: Engine, code: int, shown: str, said: str) -> str:
    last = next((line.strip()[:300] for line in reversed(said.splitlines()) if line.strip()), "no message")
    if "MemoryError" in last or "memory allocation of" in said:
        return f"{engine.title} ran out of memory on {shown} (limit {engine.memory // GIB} GiB)"
    if code < 0 and -code == getattr(signal, "SIGXCPU", None):
        return f"{engine.title} used up its processor time on {shown}"
    if code < 0:
        return f"{engine.title} crashed on {shown} (signal {-code})"
    if code >= 0xC0000000:  # Windows says a crash so
        return f"{engine.title} crashed on {shown} (code 0x{code:X})"
    return f"{engine.title} could not calculate {shown}: {last}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
