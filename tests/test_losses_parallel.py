"""The loss with its classes split over 2, 3 and 4 processes, against one process: the cases of `parallel_cases.py`.

One start of the processes serves all cases of a part (`ranks.py`). `make check` runs some on two processes; `make test` runs
all on two, three and four of four processes, where shards are uneven and one is empty. What is refused stands in
test_losses_parallel_errors.py.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
dist: Any = pytest.importorskip("torch.distributed")
tensor: Any = pytest.importorskip("torch.distributed.tensor")

import parallel_cases  # noqa: E402  after the skips
import ranks  # noqa: E402
from agree import FLOAT64, LossAndGradient, agree, agree_result  # noqa: E402
from labelsmooth.losses import (  # noqa: E402
    LabelSmoothingCrossEntropy,
    LinearLabelSmoothingCrossEntropy,
    _linear,
    cross_entropy,
)
from labelsmooth.losses._linear_products import Head, Plan  # noqa: E402
from labelsmooth.losses._linear_ranks import Ranks  # noqa: E402
from labelsmooth.losses._parallel_shards import Shards  # noqa: E402


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder in which the processes of pytest-xdist meet, or pytest's own."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if own.name.startswith("popen-") else own


def starts() -> Iterator[Any]:
    for part, processes in (("quick", 2), ("many", 4)):
        for case in parallel_cases.PARTS[part]:
            yield pytest.param(
                processes, part, case, marks=pytest.mark.slow, id=f"2-{case}" if part == "quick" else case
            )


@pytest.mark.parametrize(("processes", "part", "case"), list(starts()))
def test_all_ranks_give_what_one_process_gives(processes: int, part: str, case: str, folder: Path) -> None:
    said = ranks.outcomes("parallel_cases", part, processes, folder)[case]
    assert said == [ranks.FINE] * processes, "\n".join(said)


@pytest.mark.slow
def test_a_rank_that_dies_or_never_comes_is_an_error_on_the_other_within_the_timeout(folder: Path) -> None:
    said = ranks.outcomes("parallel_failures", "all", 2, folder)
    for case in ("absent", "planted"):
        assert said[case] == [ranks.FINE] * 2, "\n".join(said[case])
    survivor, victim = said["dead"]
    assert survivor == ranks.FINE
    assert "did not come so far" in victim


# What one process shows -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone() -> Iterator[Any]:
    """Give the group of the only rank there is."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield dist.group.WORLD
    dist.destroy_process_group()


LOGITS, LABELS = torch.tensor([[4.2, -2.4, 1.0], [1.6, -0.6, 0.0]]).double(), torch.tensor([0, 2])


def test_the_modules_take_the_group_of_this_process(alone: Any) -> None:
    truth = cross_entropy(LOGITS, LABELS, label_smoothing=0.1)
    for module, layer in (
        (LabelSmoothingCrossEntropy(0.1), ()),
        (LinearLabelSmoothingCrossEntropy(0.1), (torch.eye(3).double(),)),
    ):
        agree(module(LOGITS, *layer, LABELS, group=alone, class_sizes=[3]), truth, budget=FLOAT64, what="one rank")
        with pytest.raises(ValueError, match="has logits of 3 classes, and class_sizes says 4"):
            module(LOGITS, *layer, LABELS, group=alone, class_sizes=[4])


@pytest.mark.slow
def test_compiling_makes_one_graph_of_a_loss_with_a_mask_and_weights(alone: Any) -> None:
    """Compile what is told in five numbers a row; two ranks compile two numbers."""
    words: dict[str, Any] = {
        "class_mask": torch.ones(3, dtype=torch.bool),
        "weight": torch.tensor([1.0, 2, 3]).double(),
    }
    results = []
    for loss in (torch.compile(cross_entropy, fullgraph=True, backend="aot_eager"), cross_entropy):
        z = LOGITS.clone().requires_grad_()
        value = loss(z, LABELS, label_smoothing=0.1, group=alone, class_sizes=[3], **words)
        value.backward()
        results.append(LossAndGradient(value.detach(), z.grad))
    agree_result(*results, budget=FLOAT64, what="compiled")


# A linear layer before it ---------------------------------------------------------------------------------------------


def test_all_ranks_cut_the_rows_alike_however_many_classes_they_have() -> None:
    """Reckoned from a rank's own classes, the numbers would differ, and the ranks wait for each other for ever."""
    sizes = (0, 1000, 200_000)
    for dtype in (torch.float32, torch.bfloat16):
        rows, alone = set(), set()
        for rank, classes in enumerate(sizes):
            hidden, weight = (torch.empty(1, dtype=dtype).expand(n, 64) for n in (3000, classes))
            head = Head(hidden, weight, None, Plan(classes, 1, torch.float32))
            others = Ranks(Shards(None, rank, sizes), torch.zeros(3, 3000), 0.0)
            rows.add(_linear.rows_at_a_time(head._replace(ranks=others)))
            alone.add(_linear.rows_at_a_time(head) if classes else 0)
        assert len(rows) == 1
        assert len(alone) == len(sizes)
        assert rows.pop() * 4 * sizes[-1] < 4 * 3000 * sizes[-1] / 8


MEMORY = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from labelsmooth.losses import linear_cross_entropy

def held(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) * 1024

dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
torch.set_num_threads(1)

def run(rows, classes):
    hidden, weight = torch.randn(rows, 8).requires_grad_(), torch.randn(classes, 8).requires_grad_()
    y = torch.randint(classes, (rows,))
    before = held("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    linear_cross_entropy(hidden, weight, y, label_smoothing=0.1, group=dist.group.WORLD, class_sizes=[classes]).backward()
    return held("VmHWM") - before - 4 * 8 * (rows + classes)

run(2, 3)
print(run(1024, 65536))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much memory a process has held")
def test_a_rank_holds_128_mib_where_its_logits_are_256() -> None:
    ran = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, timeout=120)
    assert 2**20 < int(ran.stdout) < 128 * 2**20
