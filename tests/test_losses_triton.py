"""The GPU kernel against plain torch in float64: on a GPU where there is one, and everywhere as Triton interprets it.

The interpreter runs the kernel's own lines on a CPU, so indexing, masks and arithmetic are tested for what they are. What
it cannot show is a race, an alignment, a register or a nanosecond: see `test_losses_triton_compiled.py` for what the
compiler makes of the lines, and docs/gpu.md for what was never run. Triton decides when it is loaded whether it
interprets; `conftest.py` asks it to, unless `TRITON_INTERPRET=0` is set, as `make bench-gpu` does for the tests marked `gpu`.

Each block of each row costs milliseconds here: few rows, and blocks made small where there should be several.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agree import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, LossAndGradient, agree, agree_result

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="the GPU kernel needs Triton: pip install 'labelsmooth[triton]'")

from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

from charges import NAMES, draw, exact, labels, shares, variants  # noqa: E402
from labelsmooth.losses import _cpu_plain, _eager, _kernels, _triton, cross_entropy, linear_cross_entropy  # noqa: E402
from labelsmooth.losses._libraries import LIBRARIES  # noqa: E402
from labelsmooth.losses._options import Charge  # noqa: E402
from test_losses_functional_laws import DECLARED, NOT_DECLARED, THE_LAWS, Loss, batches  # noqa: E402

# NumPy, on which the interpreter computes, warns of what the kernel does on purpose with infinities and NaN.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
LOSS = dict.fromkeys(DTYPES, FLOAT32) | {torch.float64: FLOAT64}
GRADIENT = {torch.float32: FLOAT32, torch.float64: FLOAT64, torch.bfloat16: BFLOAT16, torch.float16: FLOAT16}
BLOCK = 64  # classes at a time, where `in_small_blocks`


@pytest.fixture(params=["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the device on which the kernel computes; on a CPU it stands in the native kernel's place."""
    if request.param == "cuda":
        return "cuda"
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("TRITON_INTERPRET is not 1: Triton compiles here and does not interpret")
    interpret_quickly(monkeypatch)
    monkeypatch.setitem(LIBRARIES, "cpu", _triton)
    monkeypatch.setattr(_cpu_plain, "plain_loss", lambda *_: None)  # the CPU's alone
    return "cpu"


def interpret_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Triton look for what to replace in a module once a kernel, and not at each call of each function."""
    from triton.runtime import interpreter

    run, seen = interpreter.GridExecutor.__call__, set()

    def kernel(self: Any, *args: Any, **words: Any) -> None:
        seen.clear()
        run(self, *args, **words)

    def function(self: Any, *args: Any, **words: Any) -> Any:
        if self.fn.__module__ not in seen:
            interpreter._patch_lang(self.fn)
            seen.add(self.fn.__module__)
        return self.rewrite()(*args, **words)

    monkeypatch.setattr(interpreter.GridExecutor, "__call__", kernel)
    monkeypatch.setattr(interpreter.InterpretedFunction, "__call__", function)


@pytest.fixture
def in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a row of 130 classes be three blocks."""
    monkeypatch.setattr(_triton, "launch_of", lambda *_, **__: _triton.Launch(BLOCK, 1))


def placed(charge: Charge, device: str) -> Charge:
    return Charge(*(x.to(device) if isinstance(x, torch.Tensor) else x for x in charge))


def check(logits: Any, label: Any, charge: Charge, *, up: Any = None, what: str, device: str = "cpu") -> None:
    """Compare loss and gradient with float64, in both forms: two calls and one."""
    logits, label, charge = logits.to(device), label.to(device), placed(charge, device)
    sums = _eager.wide(logits.dtype)
    up = torch.ones(logits.shape[:-1], dtype=sums, device=device) if up is None else up.to(device)
    truth = exact(logits, label, charge, up)
    z = logits.detach().requires_grad_()
    assert _kernels.serves(z, label, charge)
    loss = _kernels.row_losses(z, label, charge)
    (gradient,) = torch.autograd.grad(loss, z, up)
    at_once = _triton.forward_and_backward(up, logits, label, charge)
    for way, (value, slope) in {"two calls": (loss, gradient), "one call": at_once}.items():
        assert (slope.dtype, slope.shape, slope.device) == (logits.dtype, logits.shape, logits.device)
        if way == "two calls" or not charge.minus_floor:  # the floor is plain torch's
            agree(value, truth.loss, budget=LOSS[logits.dtype], what=f"{what}, {way}: loss", any_dtype=True)
        agree(slope, truth.gradient, budget=GRADIENT[logits.dtype], what=f"{what}, {way}: gradient", any_dtype=True)


# Against float64 ------------------------------------------------------------------------------------------------------

# Quick: each kind of charge in one dtype, and each dtype with a quarter of the kinds.
EVERY = [pytest.param(name, dtype, id=f"{name}-{dtype}", marks=() if (i + j) % len(DTYPES) == 0 else pytest.mark.slow)
         for i, name in enumerate(NAMES) for j, dtype in enumerate(DTYPES)]  # fmt: skip


@pytest.mark.parametrize(("name", "dtype"), EVERY)
@pytest.mark.usefixtures("in_small_blocks")
def test_loss_and_gradient_are_those_of_float64(device: str, name: str, dtype: Any) -> None:
    label, charge = variants(3, 130, dtype)[name]
    up = draw(8, 3, dtype=_eager.wide(dtype), scale=1.0)
    check(draw(0, 3, 130, dtype=dtype), label, charge, up=up, what=name, device=device)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_a_row_of_one_block_stays_where_it_is(device: str, name: str) -> None:
    for classes in (2, 17):
        label, charge = variants(2, classes, torch.float32)[name]
        check(draw(0, 2, classes), label, charge, what=f"{name}, {classes} classes", device=device)


@pytest.mark.parametrize(
    "dtype", [pytest.param(d, marks=() if d == torch.bfloat16 else pytest.mark.slow) for d in DTYPES]
)
def test_every_number_of_classes_ends_where_it_should(device: str, dtype: Any) -> None:
    for classes in (1, 2, 3, 31, 32, 33, 1000, 8192, 8193, 20000):
        label = torch.tensor([classes - 1, classes // 2])
        prior = shares(1, classes).to(_eager.wide(dtype))
        check(
            draw(0, 2, classes, dtype=dtype), label, Charge(0.9, 0.1, prior), what=f"{classes} classes", device=device
        )


@pytest.mark.slow
def test_a_million_classes(device: str) -> None:
    classes = 2**20
    z = draw(0, 1, classes, dtype=torch.bfloat16)
    check(z, torch.tensor([classes - 1]), Charge(0.9, 0.1), what=f"{classes} classes", device=device)


# Rows that break others -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.usefixtures("in_small_blocks")
def test_wide_gaps_and_large_logits_stay_exact(device: str, dtype: Any) -> None:
    rows = torch.zeros(3, 2 * BLOCK, dtype=torch.float64)
    rows[0, BLOCK] = 200.0  # a larger maximum in the second block
    rows[1] -= 1e4
    rows[1, [3, BLOCK + 3]] = torch.tensor([1e4, 9990.0], dtype=torch.float64)
    rows[2, 5] = 65504.0 if dtype == torch.float16 else 1e4
    y = torch.tensor([0, BLOCK + 3, 5])
    check(rows.to(dtype), y, Charge(0.9, 0.1), what="gaps", device=device)


def test_float16_with_many_classes_is_finite(device: str) -> None:
    z, y = draw(0, 2, 32000, dtype=torch.float16, scale=4.0), torch.tensor([0, 31999])
    check(z, y, Charge(0.9, 0.1), what="32,000 classes", device=device)
    assert torch.isfinite(cross_entropy(z.to(device), y.to(device), label_smoothing=0.1))


@pytest.mark.usefixtures("in_small_blocks")
def test_blocks_of_infinities_come_before_and_after_the_numbers(device: str) -> None:
    z = draw(0, 3, 3 * BLOCK)
    z[0, : BLOCK + 5], z[1, BLOCK:], z[2, 7] = -torch.inf, -torch.inf, -torch.inf
    y, allowed = torch.tensor([2 * BLOCK, 3, 9]), ~torch.isneginf(z)
    prior = allowed / allowed.sum(-1, keepdim=True)
    check(z, y, Charge(0.9, 0.1, prior=prior, allowed=allowed), what="masked", device=device)
    check(z, y, Charge(1.0, 0.0), what="no mass there", device=device)
    check(z, y, Charge(0.9, 0.1, prior=prior), what="no prior there", device=device)
    loss = cross_entropy(z.to(device), y.to(device), label_smoothing=0.1, reduction="none")
    assert loss.tolist() == [torch.inf] * 3  # with mass there it is infinite, as torch has it


@pytest.mark.usefixtures("in_small_blocks")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_reaches_its_row_alone(device: str, value: float) -> None:
    z = draw(0, 3, 2 * BLOCK)
    z[0, BLOCK + 1], z[2] = value, value
    leaf = z.to(device).requires_grad_()
    loss = cross_entropy(leaf, torch.tensor([1, 1, 1], device=device), reduction="none", validate=False)
    loss.sum().backward()
    first = value == float("-inf")  # one class out of reach is no trouble, all of them are
    assert torch.isnan(loss).tolist() == [not first, False, True]
    assert torch.isnan(leaf.grad).any(-1).tolist() == [not first, False, True]


def test_nan_in_an_ignored_row_leaves_loss_and_gradient_alone(device: str) -> None:
    z, y = draw(0, 4, 33), torch.tensor([3, -100, 5, -100])
    z[1], z[3] = torch.nan, -torch.inf
    for words in ({}, {"z_loss": 0.1, "softcap": 5.0}):
        leaf = z.to(device).requires_grad_()
        loss = cross_entropy(leaf, y.to(device), label_smoothing=0.1, **words)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(leaf.grad).all()
        assert leaf.grad[[1, 3]].abs().sum() == 0


def test_a_label_that_is_no_class_makes_its_row_nan_and_reads_nothing(device: str) -> None:
    z, y = draw(0, 4, 20).to(device), torch.tensor([3, 20, 2**40, -1], device=device)
    quiet = cross_entropy(z, y, label_smoothing=0.1, reduction="none", validate=False)
    assert torch.isnan(quiet).tolist() == [False, True, True, True]
    charge, up = (
        Charge(0.9, 0.1),
        torch.ones(4, device=device),
    )  # the kernel by itself, to which nobody says which rows are bad
    loss, stats = _triton.forward(z, y, charge)
    for gradient in (_triton.backward(up, z, y, stats, charge), _triton.forward_and_backward(up, z, y, charge)[1]):
        assert torch.isnan(loss).tolist() == torch.isnan(gradient).all(-1).tolist() == [False, True, True, True]


# Shapes and layouts ---------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[], Any]] = {
    "a single row": lambda: draw(0, 9),
    "rows apart": lambda: draw(0, 4, 30)[::2, 3:20],
    "in another order": lambda: draw(0, 2, 2, 10).transpose(0, 1),
    "all but the last token": lambda: draw(0, 2, 3, 10)[:, :-1],
    "classes apart": lambda: draw(0, 10, 3).t(),
    "one row repeated": lambda: draw(0, 1, 12).expand(3, 12),
    "four axes, apart": lambda: draw(0, 1, 2, 4, 6)[:, :, ::2],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_rows_are_found_wherever_they_lie(device: str, name: str) -> None:
    z = LAYOUTS[name]()
    rows, K = z.shape[:-1], z.shape[-1]
    y = torch.arange(rows.numel()).reshape(rows) % K
    up = draw(1, *rows) if rows else torch.tensor(0.7)
    own = shares(2, *z.shape).float()
    check(z, y, Charge(0.9, 0.1, prior=own, allowed=own > 0), up=up, what=name, device=device)


def test_labels_masses_and_pushes_may_lie_anyhow(device: str) -> None:
    z, y = draw(0, 3, 10), labels(1, 7, 10)
    for some in (y[1:4], y[::3]):  # of eight bytes each, and the first does not begin at a multiple of sixteen
        check(
            z,
            some,
            Charge(draw(3, 6)[::2], torch.tensor(0.1).expand(3)),
            up=draw(4, 6)[::2],
            what="apart",
            device=device,
        )


@pytest.mark.gpu
def test_rows_lie_more_than_two_billion_elements_apart() -> None:
    z = torch.zeros(2**31 + 64, dtype=torch.bfloat16, device="cuda").as_strided((2, 33), (2**31, 1))
    z.copy_(draw(0, 2, 33))
    check(z, torch.tensor([3, 32]), Charge(0.9, 0.1), what="apart", device="cuda")


# Autograd, operators, chunks ------------------------------------------------------------------------------------------


def both(loss: Callable[[Any], Any], z: Any) -> LossAndGradient:
    leaf = z.detach().clone().requires_grad_()
    value = loss(leaf)
    (value / 4).sum().backward()
    return LossAndGradient(value.detach(), leaf.grad)


@pytest.mark.parametrize("words", [{}, {"row_weight": [1.0, 0.5, 0, 2], "reduction": "sum"}], ids=["mean", "sum"])
@pytest.mark.parametrize("form", ["inplace", "gradient_in_forward"])
def test_in_place_and_in_one_call_are_the_same_loss(device: str, form: str, words: dict[str, Any]) -> None:
    z, y = draw(0, 4, 30, dtype=torch.float64).to(device), torch.tensor([3, -100, 5, 6], device=device)
    words = {name: torch.tensor(x, device=device) if isinstance(x, list) else x for name, x in words.items()}
    plain, other = (both(lambda x, w=way: cross_entropy(x * 1, y, label_smoothing=0.1, **words, **w), z)
                    for way in ({}, {form: True}))  # fmt: skip
    agree_result(other, plain, budget=FLOAT64, what=form)


@pytest.mark.gpu
def test_what_is_pushed_back_multiplies_the_gradient_once() -> None:
    y = torch.tensor([3, 2], device="cuda")
    leaf = draw(0, 2, 30).cuda().requires_grad_()
    for push in (1.0, 3.0):
        loss = cross_entropy(leaf, y, gradient_in_forward=True) * push
        (first,) = torch.autograd.grad(loss, leaf, retain_graph=True)
        (second,) = torch.autograd.grad(loss, leaf)
        (plain,) = torch.autograd.grad(cross_entropy(leaf, y) * push, leaf)
        agree(first, plain, budget=FLOAT32, what=f"pushed {push}, graph kept")
        agree(second, plain, budget=FLOAT32, what=f"pushed {push}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_multiplying_in_memory_touches_all_of_it_and_nothing_for_1(device: str, dtype: Any) -> None:
    x = draw(0, 1, _triton.SCALED + 3, dtype=dtype).to(device)
    for factor in (1.0, -0.25):
        y = x.clone()
        _triton.multiply(y, torch.tensor(factor, device=device))
        agree(y, x * factor, budget=0, what=f"times {factor}")


def test_in_place_whoever_still_needs_the_logits_is_told(device: str) -> None:
    x, y = draw(0, 2, 9).to(device).requires_grad_(), labels(1, 2, 9).to(device)
    logits = x * 1
    cross_entropy(logits, y, label_smoothing=0.1, inplace=True).backward()
    assert logits._version == 1
    agree(logits, x.grad, budget=0, what="the logits afterwards")
    loss = cross_entropy((x * 1).tanh(), y, label_smoothing=0.1, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.slow
@pytest.mark.parametrize("words", [{}, {"z_loss": 0.1, "softcap": 3.0}], ids=str)
def test_first_and_second_derivatives_pass_gradcheck(device: str, words: dict[str, Any]) -> None:
    z, y = draw(0, 2, 4, dtype=torch.float64).to(device).requires_grad_(), torch.tensor([3, -100], device=device)

    def loss(x: Any) -> Any:
        return cross_entropy(x, y, label_smoothing=0.1, **words)

    assert gradcheck(loss, z)
    assert gradgradcheck(loss, z)  # plain torch's, inside the backward


def test_what_the_kernel_cannot_do_goes_to_plain_torch(device: str) -> None:
    z, y = draw(0, 2, 5).to(device), torch.tensor([0, 1], device=device)
    eps = torch.tensor(0.1, device=device, requires_grad=True)
    cross_entropy(z.clone().requires_grad_(), y, label_smoothing=eps).backward()
    assert eps.grad is not None
    leaf = z.clone().requires_grad_()
    cross_entropy(leaf, y, label_smoothing=0.1).backward()
    slope = torch.func.grad(lambda x: cross_entropy(x, y, label_smoothing=0.1))(z)
    agree(slope, leaf.grad, budget=FLOAT32, what="torch.func.grad")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_large_head_computes_the_same_in_chunks(device: str, dtype: Any) -> None:
    hidden, weight = (draw(i, n, 8, dtype=dtype, scale=1.0).to(device) for i, n in ((0, 5), (1, 40)))
    y = labels(2, 5, 40).to(device)
    y[1] = -100
    results = []
    for chunked in (True, False):
        layer = [x.clone().requires_grad_() for x in (hidden, weight)]
        if chunked:
            loss = linear_cross_entropy(*layer, y, label_smoothing=0.1, chunk_rows=2, z_loss=0.01)
        else:
            wide = [x.double() for x in layer]
            loss = cross_entropy(wide[0] @ wide[1].t(), y, label_smoothing=0.1, z_loss=0.01)
        loss.backward()
        results.append(LossAndGradient(loss.detach(), torch.cat([x.grad for x in layer])))
    # On a GPU the logits themselves are in half precision, which moves the loss of a row by some of its units.
    rounded = device == "cuda" and dtype == torch.bfloat16
    agree_result(results[0], results[1], budget=BFLOAT16 if rounded else GRADIENT[dtype], what="chunks")


@pytest.mark.slow
def test_the_operators_pass_opcheck(device: str) -> None:
    from labelsmooth.losses._kernel_operators import flattened

    label, charge = variants(2, 10, torch.float32)["softcap, mask, z-loss"]
    given = [x.to(device) if isinstance(x, torch.Tensor) else x for x in (label, *flattened(charge))]
    operators = torch.ops.labelsmooth
    for logits in (draw(0, 2, 10).to(device), draw(0, 10, 2).to(device).t()):
        torch.library.opcheck(operators.row_losses.default, (logits.clone().requires_grad_(), *given))
        _, stats = operators.row_losses(logits, *given)
        torch.library.opcheck(operators.row_gradient.default, (torch.ones(2, device=device), stats, logits, *given))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_it_is_the_kernel_and_the_same_numbers(device: str) -> None:
    z, y = draw(0, 2, 40).to(device), labels(1, 2, 40).to(device)

    def loss(x: Any) -> Any:
        return cross_entropy(x, y, label_smoothing=0.1)

    seen = []

    def backend(graph: Any, _: Any) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    torch.compiler.reset()
    torch.compile(loss, fullgraph=True, backend=backend)(z)
    assert any("row_losses" in target for target in seen)
    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=True)
    for rows in (2, 3):
        z, y = draw(0, rows, 40).to(device), labels(1, rows, 40).to(device)
        agree_result(both(compiled, z), both(loss, z), budget=FLOAT32, what="compiled")


# The laws -------------------------------------------------------------------------------------------------------------

SOME = 25  # of so many examples one; the other implementations run them all


@pytest.mark.slow
@pytest.mark.parametrize("device", ["interpreter"], indirect=True)
@pytest.mark.parametrize(("family", "law"), DECLARED)
@pytest.mark.usefixtures("device")
def test_the_law_holds(family: str, law: str) -> None:
    for example in itertools.islice(batches(family), 0, None, SOME):
        THE_LAWS[law](Loss("chosen", "float32"), example)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["interpreter"], indirect=True)
@pytest.mark.parametrize(("family", "law"), NOT_DECLARED)
@pytest.mark.usefixtures("device")
def test_a_law_that_is_not_declared_fails(family: str, law: str) -> None:
    with pytest.raises(AssertionError, match=r"\d+ of \d+ differ"):
        THE_LAWS[law](Loss("chosen", "float32"), next(batches(family)))


# Planted errors -------------------------------------------------------------------------------------------------------

PLANTED = {
    "no rescaling to a larger maximum": ("s * tl.exp(m - shift)", "s"),
    "the maximum is left out": ("tl.exp(z - shift)", "tl.exp(z)"),
    "the first maximum is not moved to the row's": ("- times(spread, m - origin)", ""),
    "every row has the first one's prior": ("prior + row * prior_stride", "prior + 0 * row"),
    "every row has the first one's mask": ("allowed + row * allowed_stride", "allowed + 0 * row"),
    "the label's neighbour": ("columns == y", "columns == y + 1"),
    "a block late": ("ahead = columns + BLOCK", "ahead = columns + BLOCK + 1"),
    "the push of another row": ("row * tl.cast(grad_output_stride", "0 * tl.cast(grad_output_stride"),
    "λ without its slope": ("total += 2.0 *", "total += 0.0 *"),
    "the cap without its slope": ("g *= slope", "g *= 1.0"),
}


@pytest.mark.parametrize(
    "error", [pytest.param(x, marks=pytest.mark.slow if i % 3 else ()) for i, x in enumerate(PLANTED)]
)
@pytest.mark.usefixtures("in_small_blocks")
def test_a_planted_error_is_seen(device: str, error: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    right, wrong = PLANTED[error]
    name = f"{_triton.__package__}._triton_kernel"
    original = importlib.util.find_spec(name)
    assert original is not None
    source = Path(str(original.origin)).read_text(encoding="utf-8")
    assert right in source
    copy = tmp_path / "_triton_kernel.py"
    copy.write_text(source.replace(right, wrong), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, copy)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, name, module)
    z = draw(0, 2, 130)
    z[:, -1] = 9.0  # the maximum comes last
    a, b = torch.tensor([0.9, 0.8]), torch.tensor([0.1, 0.2])
    own, y = shares(4, 2, 130).float(), torch.tensor([3, 70])
    allowed = own > 0.002
    allowed[torch.arange(2), y] = True
    within = own * allowed / (own * allowed).sum(-1, keepdim=True)
    charge = Charge(a, b, prior=within, allowed=allowed, z_loss=0.1, softcap=20.0)
    with pytest.raises(AssertionError, match="differ"):
        check(z, y, charge, up=torch.tensor([1.0, -0.5]), what=error, device=device)


# Sizes and words ------------------------------------------------------------------------------------------------------

# Multiprocessors and L2 cache, in MiB, of the A100, the H100 and the B200.
GPUS = {"A100": (108, 40), "H100": (132, 50), "B200": (148, 126)}


@pytest.mark.parametrize("gpu", GPUS)
def test_rows_that_are_read_twice_fit_the_cache_where_one_a_processor_does(gpu: str) -> None:
    processors, size = GPUS[gpu][0], GPUS[gpu][1] * 2**20
    for classes, itemsize in ((32000, 2), (50304, 2), (128256, 2), (131072, 2), (32000, 4), (128256, 4), (2**20, 2)):
        launch = _triton.launch_of(classes, itemsize, plain=True)
        rows = _triton.rows_at_a_time(launch, classes * itemsize, processors, size)
        assert rows % processors == 0
        assert rows <= processors * (2048 // (32 * launch.warps))
        assert rows * classes * itemsize <= size or rows == processors
    fits = 132 * 131072 * 2 <= 50 * 2**20  # what docs/gpu.md says of the H100
    assert fits


def test_every_launch_is_one_that_a_gpu_takes() -> None:
    for classes in (1, 2, 3, 33, 1000, 8192, 8193, 32000, 50257, 128256, 2**20):
        for itemsize, plain in itertools.product((2, 4, 8), (True, False)):
            block, warps = _triton.launch_of(classes, itemsize, plain=plain)
            assert block & (block - 1) == warps & (warps - 1) == 0
            assert 1 <= warps <= 32
            assert 16 // itemsize <= block <= 32 * warps * 32  # elements a thread
            assert (block >= classes) is (classes * itemsize <= _triton.ONE_BLOCK)


def test_the_version_says_what_computes_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import version

    from labelsmooth.losses import kernels

    assert kernels()["cuda"].startswith(f"Triton {version('triton')} kernel")
    monkeypatch.setattr(_triton, "find_spec", lambda _: None)
    _triton._missing.cache_clear()
    try:
        assert "plain torch" in kernels()["cuda"]
        assert "pip install 'labelsmooth[triton]'" in kernels()["cuda"]
        assert not _triton.available()
    finally:
        _triton._missing.cache_clear()
