"""The loss with its classes split over 2, 3 and 4 processes, against one process: every case of `parallel_cases.py`.

One start of the processes serves all cases of a number of ranks (`ranks.py`). `make check` runs some on two processes; on
three and four, where shards are uneven and one is empty, `make test` runs all.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("torch.distributed.tensor")

import parallel_cases
import ranks


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder in which the processes of pytest-xdist meet, or pytest's own."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if own.name.startswith("popen-") else own


@pytest.mark.slow
@pytest.mark.parametrize("case", parallel_cases.CASES)
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_all_ranks_give_what_one_process_gives(processes: int, case: str, folder: Path) -> None:
    said = ranks.outcomes("parallel_cases", processes, folder)[case]
    assert said == [ranks.FINE] * processes, "\n".join(said)
