"""Several processes on this machine, as torchrun would start them: what the tests of the parallel loss run on.

A process costs two seconds of importing PyTorch, so one is started for each part, which forks into its ranks before PyTorch
has a thread, and runs all cases one after the other. `outcomes` is asked for by every test and starts it once, also where
pytest has two processes itself. A case of fewer ranks is that of the first of them (`by_the_first`).

A module of cases has PARTS, each of which is what one start runs: cases by name. A case is a function of the rank and the
number of ranks which raises where something is wrong. It compares only what it has gathered from all ranks, so that all
come to the same verdict and stay in step.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
TIMEOUT = timedelta(seconds=60)  # of a message between ranks
PATIENCE = 400.0  # seconds for all cases of a part, on a busy machine
FINE = "fine"


def outcomes(module: str, part: str, ranks: int, folder: Path) -> dict[str, list[str]]:
    """Run a part of a module's cases on so many ranks, once for a folder, and give what each rank says of each case."""
    place = folder / f"{module}-{part}-{ranks}"
    done = place / "done"
    try:
        place.mkdir()
    except FileExistsError:  # another process of pytest's has started them
        end = time.monotonic() + PATIENCE
        while not done.exists() and time.monotonic() < end:
            time.sleep(0.1)
    else:
        command = [sys.executable, __file__, module, part, str(ranks), str(place)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
        (place / "output").write_text(ran.stdout + ran.stderr)
        done.touch()
    said = [json.loads(file.read_text()) if (file := place / f"{rank}.json").exists() else {} for rank in range(ranks)]
    nothing = (place / "output").read_text()[-3000:] if (place / "output").exists() else "still running"
    return {case: [of.get(case, f"rank {rank} did not come so far:\n{nothing}") for rank, of in enumerate(said)]
            for case in {case for of in said for case in of} or {"": ""}}  # fmt: skip


def run(module: str, part: str, rank: int, ranks: int, place: Path) -> None:
    """Be one rank: run the cases, and write down after each what came of it."""
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.FileStore(str(place / "store"), ranks), rank=rank, world_size=ranks,
                            timeout=TIMEOUT)  # fmt: skip
    said: dict[str, str] = {}
    for name, case in importlib.import_module(module).PARTS[part].items():
        try:
            case(rank, ranks)
            said[name] = FINE
        except Exception:  # noqa: BLE001  whatever it is, the test that asks will show it
            said[name] = traceback.format_exc()
        file = place / f"{rank}.json"
        file.with_suffix(".new").write_text(json.dumps(said))
        file.with_suffix(".new").rename(file)
    dist.destroy_process_group()


def fork(module: str, part: str, ranks: int, place: Path) -> None:
    """Fork into the ranks and wait for them."""
    importlib.import_module(module)
    children = []
    for rank in range(ranks):
        child = os.fork()
        if not child:
            try:
                run(module, part, rank, ranks, place)
            except BaseException:  # noqa: BLE001  a child must not go on as its parent
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


# Among the ranks ------------------------------------------------------------------------------------------------------

_TEAMS: dict[int, Any] = {}  # the first so many of all ranks, as a group of their own
_NOW: list[Any] = []  # the group of the case that runs, if it is not everybody's


def by_the_first(size: int, case: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Give the case for the first so many ranks: fewer processes to start than one for each number of ranks."""
    import torch.distributed as dist

    def run(rank: int, ranks: int) -> None:
        for few in range(2, ranks):  # all ranks have to make a group, also those that are not in it
            if few not in _TEAMS:
                _TEAMS[few] = dist.new_group(list(range(few)), timeout=TIMEOUT)
        if rank < size:
            _NOW[:] = [_TEAMS[size]] if size < ranks else []
            case(rank, size)

    return run


def team() -> Any:
    """Give the group of the ranks that run this case."""
    import torch.distributed as dist

    return _NOW[0] if _NOW else dist.group.WORLD


def gathered(x: Any, ranks: int) -> list[Any]:
    """Give every rank's tensor; their shapes may differ."""
    import torch
    import torch.distributed as dist

    shape = torch.tensor([x.dim(), *x.shape, *[0] * (7 - x.dim())])
    shapes = [torch.empty_like(shape) for _ in range(ranks)]
    dist.all_gather(shapes, shape, group=team())
    sizes = [torch.Size(s[1 : s[0] + 1]) for s in shapes]
    flat = together(x.flatten(), [size.numel() for size in sizes])
    return [row.view(size) for row, size in zip(flat, sizes, strict=True)]


def together(x: Any, counts: list[int]) -> list[Any]:
    """Give every rank's numbers, (counts[rank]), which all know to be so many."""
    import torch.distributed as dist

    padded = x.new_zeros(max(1, *counts))
    padded[: x.numel()] = x
    rows = [padded.new_empty(padded.shape) for _ in counts]
    dist.all_gather(rows, padded, group=team())
    return [row[:count] for row, count in zip(rows, counts, strict=True)]


if __name__ == "__main__":
    fork(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
