"""Run a program to its end or to its time, and leave none of its processes behind.

`subprocess` can wait with a limit, but then it looks every 50 ms, a tenth of what a small workbook takes; Linux tells us
at once. The program gets a group of its own, so that what it starts ends with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO


def run_to_end(command: Sequence[str], said: IO[bytes], timeout: float) -> int | None:
    """The exit code, or None when the time ran out; whatever happens, no process is left behind."""
    here = str(Path(__file__).resolve().parents[2])  # the child must find the package that this process runs
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=said,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # a group of its own, so that LibreOffice's children end with it
    )
    try:
        return _ended(process, timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody left, or on macOS: only zombies left
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _ended(process: subprocess.Popen[bytes], timeout: float) -> int:
    """The exit code, as soon as there is one."""
    if sys.platform == "linux":
        started = time.monotonic()
        with contextlib.suppress(OSError):  # an old kernel, or one that does not allow it
            watched = os.pidfd_open(process.pid)
            try:
                poll = select.poll()
                poll.register(watched, select.POLLIN)
                poll.poll(min(timeout, 1e6) * 1000)  # milliseconds as a C int
            finally:
                os.close(watched)
        timeout = max(0.0, timeout - (time.monotonic() - started))
    return process.wait(timeout)
