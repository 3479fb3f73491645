"""Several processes on this machine, as torchrun would start them: what the tests of the parallel loss run on.

A process costs two seconds of importing PyTorch, so one is started for each number of ranks, which forks into its ranks
before PyTorch has a thread, and runs all cases one after the other. `outcomes` is asked for by every test and starts it
once, also where pytest has two processes itself.

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
from datetime import timedelta
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
TIMEOUT = timedelta(seconds=60)  # of a message between ranks
PATIENCE = 240.0  # seconds for all cases of one number of ranks, on a busy machine
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


def even(classes: int, ranks: int) -> list[int]:
    """Give the sizes of the shards that torch.chunk makes, empty ones at the end."""
    step = -(-classes // ranks)
    return [max(0, min(step, classes - step * rank)) for rank in range(ranks)]


def odd(classes: int, ranks: int) -> list[int]:
    """Give other sizes, with nothing on one rank where there are more than two."""
    few = [1] + [0] * (ranks - 2)
    return [*few, classes - 1]


def gathered(x: Any, ranks: int) -> list[Any]:
    """Give every rank's tensor; their shapes may differ."""
    import torch
    import torch.distributed as dist

    shape = torch.zeros(ranks, 8, dtype=torch.int64)
    shape[dist.get_rank(), : x.dim() + 1] = torch.tensor([x.dim(), *x.shape])
    dist.all_reduce(shape)
    room = x.new_zeros(ranks, max(1, *(torch.Size(s[1 : s[0] + 1]).numel() for s in shape.tolist())))
    room[dist.get_rank(), : x.numel()] = x.flatten()
    dist.all_reduce(room)
    return [row[: torch.Size(s[1 : s[0] + 1]).numel()].view(s[1 : s[0] + 1])
            for row, s in zip(room, shape.tolist(), strict=True)]  # fmt: skip


if __name__ == "__main__":
    fork(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
