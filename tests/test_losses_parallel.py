"""The loss with its classes split over 2, 3 and 4 processes, against one process: the cases of `parallel_cases.py`.

One start of the processes serves all cases of a part (`ranks.py`). `make check` runs some on two processes; `make test` runs
all on two, three and four of four processes, where shards are uneven and one is empty. What is refused stands in
test_losses_parallel_errors.py.
"""

from __future__ import annotations

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
    cross_entropy,
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder in which the processes of pytest-xdist meet, or pytest's own."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if own.name.startswith("popen-") else own


def starts() -> Iterator[Any]:
    for part, processes in (("quick", 2), ("many", 4)):
        marks = () if part == "quick" else pytest.mark.slow
        for case in parallel_cases.PARTS[part]:
            yield pytest.param(processes, part, case, marks=marks, id=f"2-{case}" if part == "quick" else case)


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
