"""The loss inside what training scripts are made of: compilers, exporters, checkpoints, autocast, scalers, threads.

The judge is the eager loss, which the other tests hold against torch and against the chain; where the machinery has a
way of getting the built-in loss wrong, that is shown beside ours.
"""

from __future__ import annotations

import copy
import io
import threading
import warnings
from typing import Any

import pytest

from agree import FLOAT32, FLOAT64, LossAndGradient, agree, agree_result

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812  after the skip; the name the whole world uses
from torch import nn  # noqa: E402

from labelsmooth.losses import LabelSmoothingCrossEntropy, cross_entropy, loss_parts  # noqa: E402

TEN = torch.arange(10)


def both(loss: Any, logits: Any, *args: Any, **words: Any) -> LossAndGradient:
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, *args, **words)
    value.sum().backward()
    return LossAndGradient(value.detach(), logits.grad)


def draw(seed: int, *shape: int, dtype: Any = torch.float64) -> Any:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def labels(seed: int, *shape: int, classes: int = 10) -> Any:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "others": {"convention": "fairseq"},
    "weights": {"weight": torch.arange(1.0, 11), "weighting": "nll"},
    "mask": {"class_mask": TEN != 4, "ignore_index": 4},
    "prior a row": {"prior": torch.full((6, 10), 0.1), "row_weight": torch.arange(6.0)},
    "extras": {"z_loss": 0.01, "softcap": 20.0, "padded_classes": 0},
    "padded": {"padded_classes": 2, "ignore_index": 8},
    "zero": {"all_ignored": "zero", "ignore_index": 3},
}


# Derivatives ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["extras", "padded"])
def test_first_and_second_derivatives_of_the_extras_agree_with_finite_differences(variant: str) -> None:
    target = labels(1, 3, classes=5)
    eps = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    words = {**VARIANTS[variant], "ignore_index": -100}

    def loss(z: Any, e: Any) -> Any:
        return cross_entropy(z, target, label_smoothing=e, **words)

    logits = draw(1, 3, 7).requires_grad_()
    assert torch.autograd.gradcheck(loss, (logits, eps))
    assert torch.autograd.gradgradcheck(loss, (logits, eps))


def test_gradients_of_gradients_reach_a_penalty() -> None:
    """A gradient penalty: the loss's own gradient, squared, has a gradient."""
    logits, target = draw(2, 4, 10).requires_grad_(), labels(2, 4)

    def penalised(loss: Any) -> Any:
        (g,) = torch.autograd.grad(loss(logits, target, label_smoothing=0.1), logits, create_graph=True)
        (again,) = torch.autograd.grad(g.square().sum(), logits)
        return again

    agree(penalised(cross_entropy), penalised(F.cross_entropy), budget=FLOAT64, what="d |g|² / dz")


@pytest.mark.parametrize("variant", ["plain", "extras", "mask", "weights"])
def test_vmap_over_batches_and_over_epsilon_gives_each_by_itself(variant: str) -> None:
    words = {"label_smoothing": 0.1, **VARIANTS[variant]}
    logits, target = draw(3, 3, 6, 10), labels(3, 3, 6)
    target = torch.where(target == 4, 5, target)
    got = torch.func.vmap(lambda z, y: cross_entropy(z, y, **words))(logits, target)
    agree(got, torch.stack([cross_entropy(z, y, **words) for z, y in zip(logits, target, strict=True)]), budget=FLOAT64,
          what="over batches")  # fmt: skip
    many = torch.tensor([0.0, 0.1, 0.9], dtype=torch.float64)
    words.pop("label_smoothing")
    got = torch.func.vmap(lambda e: cross_entropy(logits[0], target[0], label_smoothing=e, **words))(many)
    one = [cross_entropy(logits[0], target[0], label_smoothing=e.item(), **words) for e in many]
    agree(got, torch.stack(one), budget=FLOAT64, what="over ε")


def test_an_ignored_row_under_vmap_is_zero_where_torchs_mean_is_nan() -> None:
    logits, target = draw(4, 2, 10), torch.tensor([3, -100])
    torchs = torch.func.vmap(lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1))(logits, target)
    assert torchs.isnan().tolist() == [False, True]
    ours = torch.func.vmap(lambda z, y: cross_entropy(z, y, label_smoothing=0.1, all_ignored="zero"))(logits, target)
    agree(ours, [torchs[0].item(), 0.0], budget=FLOAT64, what="one row ignored")


def test_per_example_gradients_are_the_rows_of_the_gradient() -> None:
    model, x, y = nn.Linear(4, 10).double(), draw(5, 6, 4), labels(5, 6)
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(p: Any, row: Any, label: Any) -> Any:
        return cross_entropy(torch.func.functional_call(model, p, (row,)), label, label_smoothing=0.1)

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
    cross_entropy(model(x), y, label_smoothing=0.1, reduction="sum").backward()
    agree(each["weight"].sum(0), model.weight.grad, budget=FLOAT64, what="summed over examples")
    assert each["weight"].shape == (6, 10, 4)


# Compilers and exporters ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own are not ours to fix
@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "prior a row"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_it_compiles_without_a_graph_break(variant: str, dynamic: bool) -> None:
    def loss(z: Any, y: Any) -> Any:
        return cross_entropy(z, y, label_smoothing=0.1, **VARIANTS[variant])

    torch.compiler.reset()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for rows in (6, 9):
        logits, target = draw(6, rows, 10), labels(6, rows, classes=4)
        target[0] = VARIANTS[variant].get("ignore_index", -100)
        agree_result(both(compiled, logits, target), both(loss, logits, target), budget=FLOAT64)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own are not ours to fix
def test_the_module_the_parts_and_the_gradient_in_the_forward_compile_without_a_graph_break() -> None:
    module = LabelSmoothingCrossEntropy(0.1, weight=torch.arange(1.0, 11), gradient_in_forward=True)
    logits, target = draw(7, 6, 10), labels(7, 6)
    torch.compiler.reset()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    agree_result(both(compiled, logits, target), both(module, logits, target), budget=FLOAT64)
    parts = torch.compile(lambda z, y: loss_parts(z, y, label_smoothing=0.1), backend="aot_eager", fullgraph=True)
    for got, expected in zip(parts(logits, target), loss_parts(logits, target, label_smoothing=0.1), strict=True):
        agree(got, expected, budget=FLOAT64, what="parts")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_label_out_of_range_in_a_compiled_loss_is_nan_and_not_a_number() -> None:
    torch.compiler.reset()
    compiled = torch.compile(
        lambda z, y: cross_entropy(z, y, label_smoothing=0.1, reduction="none"), backend="aot_eager", fullgraph=True
    )
    got = compiled(draw(8, 3, 10), torch.tensor([0, 10, -1]))
    assert got.isnan().tolist() == [False, True, True]


class Judged(nn.Module):
    """A loss as the last layer of a model, which is how it gets into an exported file."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Any, target: Any) -> Any:
        return self.loss(logits, target)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("dynamic", [False, True])
def test_it_exports_and_a_saved_program_computes_the_same(dynamic: bool) -> None:
    loss = LabelSmoothingCrossEntropy(0.1, weight=torch.arange(1.0, 11), prior=torch.full((10,), 0.1), z_loss=0.01)
    logits, target = draw(9, 6, 10), labels(9, 6)
    rows = {0: torch.export.Dim("rows", min=2, max=64)} if dynamic else None
    program = torch.export.export(Judged(loss), (logits, target), dynamic_shapes=(rows, rows) if dynamic else None)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for n in (6, 11) if dynamic else (6,):
        logits, target = draw(n, n, 10), labels(n, n)
        target[1] = -100
        agree(loaded(logits, target), loss(logits, target), budget=FLOAT64, what=f"{n} rows")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the exporter's own
@pytest.mark.parametrize(
    "words",
    [
        {},
        {"weight": torch.arange(1.0, 7), "reduction": "sum"},
        {"prior": torch.tensor([0.5, 0.1, 0.1, 0.1, 0.1, 0.1]), "class_mask": torch.arange(6) != 4},
        {"z_loss": 0.01, "softcap": 10.0, "convention": "fairseq"},
    ],
    ids=["plain", "weights", "prior and mask", "extras"],
)
def test_an_onnx_file_computes_the_smoothed_loss_and_torchs_own_silently_does_not(words: dict[str, Any]) -> None:
    logits, target = draw(10, 5, 6, dtype=torch.float32), torch.tensor([0, 3, 5, -100, 1])
    ours = LabelSmoothingCrossEntropy(0.1, **words)
    agree(in_onnxruntime(ours, logits, target), ours(logits, target).numpy(), budget=FLOAT32, what="ours")
    if not words:
        smoothed = F.cross_entropy(logits, target, label_smoothing=0.1).numpy()
        unsmoothed = F.cross_entropy(logits, target).numpy()
        torchs = in_onnxruntime(nn.CrossEntropyLoss(label_smoothing=0.1), logits, target)
        agree(torchs, unsmoothed, budget=FLOAT32, what="torch's smoothing got lost on the way (if not: good news)")
        assert abs(torchs - smoothed) > 0.01


def in_onnxruntime(loss: Any, logits: Any, target: Any) -> Any:
    """Export the loss to ONNX and run the file where there is no torch."""
    pytest.importorskip("onnx", reason="torch's ONNX exporter needs onnx and onnxscript: pip install onnx onnxscript")
    pytest.importorskip("onnxscript", reason="torch's ONNX exporter needs onnxscript: pip install onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="to run an ONNX file: pip install onnxruntime")
    program = torch.onnx.export(Judged(loss), (logits, target), dynamo=True, verbose=False)
    session = runtime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [x.name for x in session.get_inputs()]
    (value,) = session.run(None, dict(zip(names, [logits.numpy(), target.numpy()], strict=True)))
    return value


# Training machinery ---------------------------------------------------------------------------------------------------


def test_checkpointing_recomputes_the_loss_and_its_gradient() -> None:
    from torch.utils.checkpoint import checkpoint

    head, x, y = nn.Linear(8, 10).double(), draw(11, 6, 8).requires_grad_(), labels(11, 6)

    def step(h: Any, label: Any) -> Any:
        return cross_entropy(head(h), label, label_smoothing=0.1)

    plain = step(x, y)
    plain.backward()
    expected, x.grad = (plain.detach(), x.grad.clone(), head.weight.grad.clone()), None
    head.zero_grad()
    for words in ({}, {"gradient_in_forward": True}):
        x.grad = None
        head.zero_grad()

        def once(h: Any, label: Any, words: Any = words) -> Any:
            return cross_entropy(head(h), label, label_smoothing=0.1, **words)

        value = checkpoint(once, x, y, use_reentrant=False)
        value.backward()
        got = (value.detach(), x.grad, head.weight.grad)
        for name, a, b in zip(("loss", "x", "weight"), got, expected, strict=True):
            agree(a, b, budget=FLOAT64, what=f"{name}, {words}")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_under_autocast_the_loss_is_float32_and_right(dtype: str) -> None:
    head, x, y = nn.Linear(8, 10), draw(12, 6, 8, dtype=torch.float32), labels(12, 6)
    prior, soft = torch.full((10,), 0.1), draw(12, 6, 10, dtype=torch.float32).softmax(-1)
    with torch.autocast("cpu", dtype=getattr(torch, dtype)):
        logits = head(x)
        got = [cross_entropy(logits, t, label_smoothing=0.1, prior=prior) for t in (y, soft)]
    assert logits.dtype == getattr(torch, dtype)
    for value, target in zip(got, (y, soft), strict=True):
        assert value.dtype == torch.float32
        truth = F.cross_entropy(logits.double(), target.double() if target is soft else y, label_smoothing=0.1)
        agree(value, truth, budget=FLOAT32, what="of the same logits in float64", any_dtype=True)
    got[0].backward()
    agree(head.weight.grad.isfinite().all().item(), True, budget=0, what="gradient")


def test_a_scaler_saves_the_gradient_from_underflow() -> None:
    """1/N is not folded into a float16 gradient before the scale arrives: with 65,536 rows it would vanish."""
    logits = torch.zeros(65536, 4, dtype=torch.float16).requires_grad_()
    target, scale = torch.zeros(65536, dtype=torch.long), 65536.0
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    scaler.scale(cross_entropy(logits, target, label_smoothing=0.1)).backward()
    expected = torch.tensor([-0.675, 0.225, 0.225, 0.225])  # p − q', times scale / N = 1
    agree(logits.grad[0].float(), expected, budget=2.0**-11, what="the scaled gradient, rounded once")
    once = logits.detach().clone().requires_grad_()
    cross_entropy(once, target, label_smoothing=0.1, gradient_in_forward=True).backward(torch.tensor(scale))
    off = abs(once.grad[0].float() - expected).max()
    assert 1e-3 < off < 1e-2, "the gradient in the forward is said not to be saved, yet it is multiplied by the scale"


@pytest.mark.parametrize("normalised", [True, False])
def test_micro_batches_divided_by_all_tokens_add_up_to_the_whole_batch(normalised: bool) -> None:
    logits, target = draw(13, 12, 10), labels(13, 12)
    target[[0, 1, 2, 7]] = -100  # unequal numbers of tokens that count
    whole = both(cross_entropy, logits, target, label_smoothing=0.1, z_loss=0.01)
    tokens, pieces = (target != -100).sum(), logits.clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for part in range(3):
        rows = slice(4 * part, 4 * part + 4)
        words = {"reduction": "sum", "normalizer": tokens} if normalised else {}
        value = cross_entropy(pieces[rows], target[rows], label_smoothing=0.1, z_loss=0.01, **words)
        value = value if normalised else value / 3
        value.backward()
        total += value.detach()
    if normalised:
        agree_result(LossAndGradient(total, pieces.grad), whole, budget=FLOAT64)
    else:  # the mean of means is another number: what the normalizer is for
        assert abs(total - whole.loss) > 1e-3


def test_threads_that_call_at_once_get_what_they_get_alone() -> None:
    inputs = [(draw(seed, 16, 10), labels(seed, 16)) for seed in range(8)]
    alone = [both(cross_entropy, z, y, label_smoothing=0.1, prior=torch.full((10,), 0.1)) for z, y in inputs]
    got: list[list[LossAndGradient]] = [[] for _ in inputs]
    start = threading.Barrier(len(inputs))

    def work(i: int) -> None:
        start.wait()
        for _ in range(20):
            got[i].append(both(cross_entropy, *inputs[i], label_smoothing=0.1, prior=torch.full((10,), 0.1)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for results, expected in zip(got, alone, strict=True):
        assert len(results) == 20
        for result in results:
            agree_result(result, expected, budget=0)


def test_a_backward_may_run_in_another_thread_than_the_forward() -> None:
    logits, target = draw(14, 6, 10).requires_grad_(), labels(14, 6)
    loss = cross_entropy(logits, target, label_smoothing=0.1)
    thread = threading.Thread(target=loss.backward)
    thread.start()
    thread.join()
    agree(logits.grad, both(cross_entropy, logits, target, label_smoothing=0.1).gradient, budget=0, what="gradient")


# A training run -------------------------------------------------------------------------------------------------------


def curve(loss: Any, *, dtype: Any = torch.float32, steps: int = 60) -> Any:
    """Train a small network on the digits that scikit-learn ships, and give the loss of each step."""
    digits = pytest.importorskip("sklearn.datasets", reason="the digits come with scikit-learn").load_digits()
    x, y = torch.tensor(digits.data / 16, dtype=dtype), torch.tensor(digits.target)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).to(dtype)
        order = torch.randperm(len(x))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    losses = []
    for step in range(steps):
        rows = order[(64 * step) % 1728 : (64 * step) % 1728 + 64]
        optimiser.zero_grad()
        value = loss(model(x[rows]), y[rows])
        value.backward()
        optimiser.step()
        losses.append(value.detach())
    return torch.stack(losses)


# Two float32 runs that differ in the last bit of a gradient drift apart step by step; after 60 they are this far.
DRIFT = 2e-4


@pytest.mark.slow
@pytest.mark.parametrize("words", [{}, {"gradient_in_forward": True}], ids=["plain", "at once"])
def test_a_training_run_takes_the_same_course_as_with_torchs_loss(words: dict[str, Any]) -> None:
    ours = curve(LabelSmoothingCrossEntropy(0.1, **words))
    torchs = curve(nn.CrossEntropyLoss(label_smoothing=0.1))
    agree(ours[0], torchs[0], budget=FLOAT32, what="before the first step")
    agree(ours, torchs, budget=DRIFT, what="float32")
    exact = [curve(loss, dtype=torch.float64) for loss in (LabelSmoothingCrossEntropy(0.1, **words),
                                                           nn.CrossEntropyLoss(label_smoothing=0.1))]  # fmt: skip
    agree(*exact, budget=1e-10, what="float64, where 60 steps leave nothing to drift")
    assert torchs[-5:].mean() < 0.5 * torchs[0], "it learns"
    other = curve(LabelSmoothingCrossEntropy(0.11))
    assert abs(other - torchs).max() > 10 * DRIFT, "a slightly other loss is seen"


# Copies ---------------------------------------------------------------------------------------------------------------


def test_the_extras_survive_pickling_and_are_no_state() -> None:
    import pickle

    loss = LabelSmoothingCrossEntropy(0.2, z_loss=0.01, softcap=5.0, padded_classes=2, all_ignored="zero",
                                      gradient_in_forward=True)  # fmt: skip
    logits, target = draw(15, 6, 10), labels(15, 6, classes=8)
    for twin in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):  # noqa: S301  our own
        agree_result(both(twin, logits, target), both(loss, logits, target), budget=0)
        assert repr(twin) == repr(loss)
    assert not loss.state_dict()
    assert "z_loss=0.01, softcap=5.0, padded_classes=2" in repr(loss)


def test_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for words in VARIANTS.values():
            both(cross_entropy, draw(16, 6, 10), labels(16, 6, classes=4), label_smoothing=0.1, **words)
