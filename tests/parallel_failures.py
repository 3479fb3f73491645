"""What a rank does when another one fails it: an error within the group's timeout, and no hang."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist

from labelsmooth.losses import cross_entropy

TIMEOUT = 1.0
GROUPS: dict[str, Any] = {}  # one for each try: after an error nothing more goes through a group


def loss_of(group: Any) -> None:
    cross_entropy(torch.zeros(2, 3), torch.tensor([0, 5]), group=group, class_sizes=[3, 3])


def fails_in_time(group: Any, timeout: float = TIMEOUT, more: float = 3.0) -> None:
    """Ask for a loss that must fail within the group's timeout, and what a busy machine takes more."""
    start = time.monotonic()
    try:
        loss_of(group)
    except RuntimeError:
        took = time.monotonic() - start
        assert took < timeout + more, f"the error came after {took:.1f} s, the group's timeout is {timeout} s"
    else:
        raise AssertionError("a loss without the other rank")


def absent(rank: int, _ranks: int) -> None:
    for name in ("absent", "dead", "late", "there"):
        GROUPS[name] = dist.new_group([0, 1], timeout=timedelta(seconds=TIMEOUT if name != "there" else 60))
        dist.barrier(GROUPS[name])
    if rank == 0:
        fails_in_time(GROUPS["absent"])
    dist.barrier()


def planted(rank: int, _ranks: int) -> None:
    """See the judge say so where an error comes after the timeout, and where none comes."""
    if rank == 0:
        with pytest.raises(AssertionError, match=r"the error came after .* s, the group's timeout is 0\.1 s"):
            fails_in_time(GROUPS["late"], timeout=0.1, more=0.1)
        with pytest.raises(AssertionError, match="a loss without the other rank"):
            fails_in_time(GROUPS["there"])
    else:
        loss_of(GROUPS["there"])
    dist.barrier()


def dead(rank: int, _ranks: int) -> None:
    if rank == 1:
        os._exit(9)
    fails_in_time(GROUPS["dead"])


PARTS: dict[str, dict[str, Callable[[int, int], None]]] = {"all": {"absent": absent, "planted": planted, "dead": dead}}
