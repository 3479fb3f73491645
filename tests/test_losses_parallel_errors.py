"""What the split loss refuses, and in which words: one process, which is one rank of one, of two or of four.

Where a message would have to come from other ranks, PyTorch's fake group stands in for them: it sends nothing, and what is
refused is refused before anything is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
dist: Any = pytest.importorskip("torch.distributed")
tensor: Any = pytest.importorskip("torch.distributed.tensor")
fake_pg: Any = pytest.importorskip("torch.testing._internal.distributed.fake_pg")

from torch.autograd import forward_ad  # noqa: E402  after the skips

from labelsmooth.losses import (  # noqa: E402
    _parallel_agreement,
    _parallel_parts,
    cross_entropy,
    loss_parts,
)

LOGITS, LABELS = torch.tensor([[4.2, -2.4, 1.0], [1.6, -0.6, 0.0]]).double(), torch.tensor([0, 2])
SOFT = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]).double()


@pytest.fixture
def two() -> Iterator[dict[str, Any]]:
    """Be the first of two ranks."""
    yield from _ranks(2)


@pytest.fixture
def four() -> Iterator[dict[str, Any]]:
    """Be the first of four ranks."""
    yield from _ranks(4)


def _ranks(ranks: int) -> Iterator[dict[str, Any]]:
    dist.init_process_group("fake", store=fake_pg.FakeStore(), rank=0, world_size=ranks)
    yield {"group": dist.group.WORLD, "class_sizes": [3] * ranks}
    dist.destroy_process_group()


@pytest.fixture
def alone() -> Iterator[dict[str, Any]]:
    """Be the only rank there is."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield {"group": dist.group.WORLD, "class_sizes": [3]}
    dist.destroy_process_group()


# A plain shard and its group ------------------------------------------------------------------------------------------


def test_what_is_no_group(two: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"group must be a torch\.distributed ProcessGroup, got str"):
        cross_entropy(LOGITS, LABELS, group="tensor parallel")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"class_sizes says how many .* each rank of group holds: pass group too"):
        loss_parts(LOGITS, LABELS, class_sizes=[3])
    with pytest.raises(ValueError, match="this rank is not in group: call the loss on the group's ranks only"):
        cross_entropy(LOGITS, LABELS, **{**two, "group": dist.new_group([1])})


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        (3, TypeError, r"class_sizes must be a list of integers not below 0, .* got 3"),
        ([3.0, 3], TypeError, r"class_sizes must be a list of integers .* got \[3\.0, 3\]"),
        ([-1, 3], TypeError, r"not below 0, one for each rank of group, got \[-1, 3\]"),
        ([3], ValueError, r"class_sizes names 1 shards, and group has 2 ranks"),
        ([4, 3], ValueError, r"rank 0 has logits of 3 classes, and class_sizes says 4: pass the sizes of all"),
    ],
)
def test_sizes_that_cannot_be(sizes: Any, error: type[Exception], message: str, two: dict[str, Any]) -> None:
    with pytest.raises(error, match=message):
        cross_entropy(LOGITS, LABELS, **{**two, "class_sizes": sizes})


def test_padding_that_leaves_no_class(two: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="padded_classes=6 leaves no class of the 6 on all ranks"):
        cross_entropy(LOGITS, LABELS, padded_classes=6, **two)


def test_other_sizes_than_when_the_group_was_first_used(alone: dict[str, Any]) -> None:
    cross_entropy(LOGITS, LABELS, group=alone["group"])
    with pytest.raises(ValueError, match="2 classes, and when this group was first used it held 3"):
        cross_entropy(LOGITS[:, :2], LABELS * 0, group=alone["group"])


def test_compiling_before_the_sizes_are_known(alone: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with pytest.raises(
        RuntimeError, match=r"under torch\.compile the sizes of the shards must be known: pass class_sizes"
    ):
        cross_entropy(LOGITS, LABELS, group=alone["group"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"target": torch.tensor([0, 6])}, "label 6 of row 1 is out of range: expected 0 to 5"),
        ({"prior": torch.ones(4) / 4}, r"prior has shape \(4,\), expected \(6,\)"),
        ({"weight": torch.ones(5)}, r"weight has shape \(5,\), expected \(6,\)"),
        ({"class_mask": torch.ones(5, dtype=torch.bool)}, r"class_mask has shape \(5,\), expected \(6,\)"),
        ({"target": torch.ones(2, 4) / 4}, r"has the logits' shape \(2, 6\), got \(2, 4\)"),
        ({"prior": torch.ones(6)}, "the prior sums to 6, expected 1"),
        ({"row_weight": torch.ones(3)}, r"row_weight has shape \(3,\), expected \(2,\)"),
        (
            {"label_smoothing": torch.tensor([0.1, 1.5])},
            r"label_smoothing of row 1 must be between 0.0 and 1.0, got 1.5",
        ),
        ({"convention": "no such"}, "no such"),
    ],
)
def test_arguments_are_measured_against_the_classes_of_all_ranks(
    words: dict[str, Any], message: str, two: dict[str, Any]
) -> None:
    for loss in (cross_entropy, loss_parts):
        with pytest.raises(ValueError, match=message):
            loss(LOGITS, **{"target": LABELS, "label_smoothing": 0.1, **words}, **two)


def test_shares_of_a_prior_that_miss_one_on_all_ranks(two: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    real = _parallel_parts.exchanged
    own = {"prior": torch.full((3,), 0.3).double()}
    for module in ("_parallel_parts", "_parallel_losses"):  # the other rank says the same
        monkeypatch.setattr(f"labelsmooth.losses.{module}.exchanged", lambda parts, shards: {
            name: torch.stack([x, x]) for name, x in real(parts, shards._replace(group=None, sizes=(3,))).items()
            for x in [x[0]]})  # fmt: skip
    with pytest.raises(ValueError, match=r"the shares of the prior sum to 1\.8 on all ranks, expected 1: divide them"):
        cross_entropy(LOGITS, LABELS, label_smoothing=0.1, **own, **two)
    with pytest.raises(ValueError, match=r"the shares of the prior of row 0 sum to 1\.8 on all ranks"):
        loss_parts(LOGITS, LABELS, label_smoothing=0.1, prior=torch.full((2, 3), 0.3).double(), **two)
    assert cross_entropy(LOGITS, LABELS, label_smoothing=0.1, validate=False, **own, **two).isfinite()


# What it does not give ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [LABELS, SOFT], ids=["the native kernel", "plain torch"])
def test_second_derivatives(target: Any, alone: dict[str, Any]) -> None:
    z = LOGITS.clone().requires_grad_()
    loss = cross_entropy(z, target, label_smoothing=0.1, **alone)
    with pytest.raises(
        RuntimeError, match="gives no second derivative, whose other parts are on other ranks: drop create_gr"
    ):
        torch.autograd.grad(loss, z, create_graph=True)


def test_many_gradients_at_once(alone: dict[str, Any]) -> None:
    z = LOGITS.clone().requires_grad_()
    loss = cross_entropy(z, LABELS, label_smoothing=0.1, **alone)
    with pytest.raises(RuntimeError, match="one at a time: drop create_graph, is_grads_batched and vectorize"):
        torch.autograd.grad(loss, z, torch.ones(2).double(), is_grads_batched=True)


def test_function_transforms(alone: dict[str, Any]) -> None:
    def loss(z: Any) -> Any:
        return cross_entropy(z, LABELS, label_smoothing=0.1, **alone)

    for way in (torch.func.grad(loss), lambda z: torch.func.vmap(loss)(z.unsqueeze(0))):
        with pytest.raises(RuntimeError, match=r"take it outside torch\.func and forward mode"):
            way(LOGITS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own, at first use
def test_forward_mode_whose_messages_would_bring_no_tangents(alone: dict[str, Any]) -> None:
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match=r"take it outside torch\.func and forward mode"):
        cross_entropy(forward_ad.make_dual(LOGITS, LOGITS), LABELS, **alone)


def test_the_gradient_in_the_forward_is_that_of_the_logits_alone(alone: dict[str, Any]) -> None:
    z, eps = LOGITS.clone().requires_grad_(), torch.tensor(0.1, requires_grad=True)
    with pytest.raises(ValueError, match="gradient of the logits alone, and label_smoothing requires one too"):
        cross_entropy(z, LABELS, label_smoothing=eps, gradient_in_forward=True, **alone)
    with pytest.raises(ValueError, match="gradient_in_forward needs one number"):
        cross_entropy(z, LABELS, gradient_in_forward=True, reduction="none", **alone)
    with pytest.raises(ValueError, match="the parts of the loss each have a gradient: drop inplace"):
        loss_parts(z, LABELS, gradient_in_forward=True, **alone)
    loss = cross_entropy(z, LABELS, gradient_in_forward=True, **alone)
    with pytest.raises(RuntimeError, match="gradient_in_forward gives no second derivative"):
        torch.autograd.grad(loss, z, create_graph=True)


def test_what_cannot_be_overwritten(alone: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = LOGITS.clone().requires_grad_()
    with pytest.raises(ValueError, match="inplace=True would overwrite a leaf that requires a gradient"):
        cross_entropy(leaf, LABELS, inplace=True, **alone)
    for words in ({"target": SOFT}, {"target": LABELS, "gradient_in_forward": True}):
        with pytest.raises(
            RuntimeError, match="inplace=True writes the gradient over the logits, which the native kernel"
        ):
            cross_entropy(leaf * 1, inplace=True, **words, **alone)
    logits = leaf * 1
    loss = cross_entropy(logits, LABELS, inplace=True, **alone)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    monkeypatch.setattr("labelsmooth.losses._kernels.serves", lambda *_: False)
    with pytest.raises(RuntimeError, match="that kernel is not in this installation"):
        cross_entropy(leaf * 1, LABELS, inplace=True, **alone)


# validate=True --------------------------------------------------------------------------------------------------------

WORDS: dict[str, Any] = {"input": LOGITS, "target": LABELS, "label_smoothing": 0.1, "validate": True}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("dtype of logits", {"input": LOGITS.float()}),
        ("shape of logits", {"input": LOGITS[:1], "target": LABELS[:1]}),
        ("dtype of target", {"target": LABELS.int()}),
        ("shape of target", {"target": LABELS[:1]}),
        ("target", {"target": LABELS.flip(0)}),
        ("label_smoothing", {"label_smoothing": 0.2}),
        ("label_smoothing", {"label_smoothing": torch.tensor([0.1, 0.2]).double()}),
        ("set of tensors among its keywords", {"row_weight": torch.ones(2)}),
        ("keyword", {"reduction": "sum"}),
        ("keyword", {"z_loss": 1e-4}),
        ("keyword", {"class_sizes": [3, 4]}),
    ],
    ids=lambda x: x if isinstance(x, str) else "-".join(x),
)
def test_ranks_that_were_given_something_else(
    name: str, changes: dict[str, Any], two: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []

    def told(own: Any, _group: Any, _ranks: int) -> Any:
        said.append(own)
        return torch.stack([said[0], said[-1]])

    monkeypatch.setattr(_parallel_agreement, "told", told)
    cross_entropy(**WORDS, **two)
    cross_entropy(**{**WORDS, **two, "class_sizes": (3, 3)})  # the same, written differently
    with pytest.raises(ValueError, match=f"rank 1 of the group has another {name} than rank 0: all ranks that share"):
        cross_entropy(**{**WORDS, **two, **changes})


# DTensor --------------------------------------------------------------------------------------------------------------


def placed(mesh: Any, *how: Any, x: Any = LOGITS) -> Any:
    return tensor.DTensor.from_local(x, mesh, how, run_check=False)


def test_meshes_that_do_not_fit(four: dict[str, Any]) -> None:
    line, square = dist.init_device_mesh("cpu", (4,)), dist.init_device_mesh("cpu", (2, 2))
    classes, rows, partial = tensor.Shard(1), tensor.Shard(0), tensor.Partial()
    for logits, words, message in (
        (placed(line, classes), {"group": four["group"]}, "group is for plain tensors, and these logits are a DTensor"),
        (
            placed(line, classes),
            {"inplace": True},
            "inplace is for plain tensors, and these logits are a DTensor: drop it",
        ),
        (placed(line, partial), {}, r"logits are placed as Partial\(sum\) on their mesh, expected Shard or Replicate"),
        (placed(square, classes, classes), {}, "classes are split over 2 dimensions of the mesh, expected one"),
        (placed(line, classes), {"prior": placed(square, rows, rows, x=torch.ones(12))}, "prior lies on another mesh"),
        (placed(square, rows, classes), {"padded_classes": 6}, "padded_classes=6 leaves no class of the 6"),
    ):
        for loss in (cross_entropy, loss_parts)[: 1 if "inplace" in words else 2]:
            with pytest.raises(ValueError, match=message):
                loss(logits, LABELS, **words)
    smaller = tensor.DTensor.from_local(LOGITS[:, :2], line, [classes], run_check=False, shape=(2, 11), stride=(11, 1))
    with pytest.raises(ValueError, match=r"rank 0 holds 2 of 11 classes, expected 3 as torch\.chunk splits them"):
        cross_entropy(smaller, LABELS)
