"""What a rank does when another one fails it: an error within the group's timeout, and no hang."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from labelsmooth.losses import cross_entropy

TIMEOUT = 2.0
GROUPS: list[Any] = []  # one for each case: after an error nothing more goes through a group


def fails_in_time(group: Any) -> None:
    start = time.monotonic()
    try:
        cross_entropy(torch.zeros(2, 3), torch.tensor([0, 5]), group=group, class_sizes=[3, 3])
    except RuntimeError:
        took = time.monotonic() - start
        assert took < TIMEOUT + 3, f"the error came after {took:.1f} s, the group's timeout is {TIMEOUT} s"
    else:
        raise AssertionError("a loss without the other rank")


def absent(rank: int, _ranks: int) -> None:
    GROUPS.extend(dist.new_group([0, 1], timeout=timedelta(seconds=TIMEOUT)) for _ in range(2))
    for group in GROUPS:
        dist.barrier(group)
    if rank == 0:
        fails_in_time(GROUPS[0])
    dist.barrier()


def dead(rank: int, _ranks: int) -> None:
    if rank == 1:
        os._exit(9)
    fails_in_time(GROUPS[1])


PARTS: dict[str, dict[str, Callable[[int, int], None]]] = {"all": {"absent": absent, "dead": dead}}
