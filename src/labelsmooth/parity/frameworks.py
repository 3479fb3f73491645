"""What other implementations say about the same batch: one function each, and each imports its framework when called.

An implementation gives the loss of each row, of the batch, and the gradient of the latter, all as float64 arrays, so that
nothing can be compared by half. None is fed targets that we made: a framework follows its own convention, a row of
`maths/conventions.py`, and what it has no words for is refused with a reason before it is imported. `parity/judge.py` then
holds its numbers against the chain under that row.

Two frameworks fix a choice for the whole process when they are imported: Keras its backend, Triton whether it interprets.
Both are set around the import and put back; where somebody else chose before us, the framework says so and is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from labelsmooth.errors import InputError
from labelsmooth.maths.trace import Problem

from . import _frameworks_others as others
from . import _frameworks_torch as by_torch
from ._frameworks_run import Result, own_problem, refusal


@dataclass(frozen=True)
class Peer:
    """One function of one framework: what it is called, what it understands, and how it is run."""

    name: str
    row: str  # the convention that it follows, as `convention_named` finds it
    run: Callable[[Problem, str], Result]
    needs: tuple[str, ...]  # modules
    package: str  # what pip calls it
    takes: frozenset[str]  # of the features in _frameworks_run.WHY_NOT
    dtypes: tuple[str, ...] = ("float64",)  # the first is the one on record
    distributions: bool = False  # class numbers become one-hot distributions
    reasons: tuple[tuple[str, str], ...] = ()  # its own, where the ordinary reason says too little
    note: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are not installed; imports nothing."""
        return tuple(module for module in self.needs if find_spec(module) is None)

    @property
    def version(self) -> str:
        """The installed version; imports nothing."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return ""

    def own(self, problem: Problem) -> Problem:
        """The same batch under the convention that this framework follows."""
        return own_problem(problem, self.row, distributions=self.distributions)

    def refuses(self, problem: Problem) -> str:
        """Why it cannot compute a batch, in words; empty if it can."""
        return refusal(problem, self.takes, dict(self.reasons))

    def ask(self, problem: Problem, dtype: str = "") -> Result:
        """Its loss and gradient under its own convention, or the reason why it was not asked."""
        why, dtype = self.refuses(problem), dtype or self.dtypes[0]
        if not why:
            try:
                return self.run(self.own(problem), dtype)
            except ImportError as fault:  # installed, and still not to be had
                why = f"it cannot be imported: {str(fault).splitlines()[0]}"
        return Result(self.name, self.version, dtype, reason=why)


_SMOOTHED = frozenset({"smoothing", "all", "none", "mean"})
_ROWS = _SMOOTHED | {"sum"}
_TORCH = ("torch",)
_LIGER = ("torch", "triton", "liger_kernel")
_SINGLE = ("float32",)
_COUNTS_ANYWAY = ("ignored", "a row that it is told to ignore still counts in its uniform part")

_PEERS = (
    Peer("torch index", "torch", by_torch.index, _TORCH, "torch", _ROWS | {"ignored", "weight"},
         dtypes=("float64", "float32")),
    Peer("torch soft", "torch", by_torch.soft, _TORCH, "torch", _ROWS | {"soft", "weight", "soft weight"},
         distributions=True, note="on distributions, one-hot where the labels are class numbers"),
    Peer("torch linear", "torch", by_torch.linear, _TORCH, "torch", _ROWS | {"ignored", "weight"},
         note="linear_cross_entropy with the identity for its head; with ε > 0 it makes all logits after all"),
    Peer("the post", "uniform", by_torch.post, _TORCH, "torch", _ROWS, reasons=(_COUNTS_ANYWAY,),
         note="its class, told again: plain PyTorch needs super().__init__(), which fastai's Module calls unasked"),
    Peer("fastai", "fastai", by_torch.fastai, ("torch", "fastai"), "fastai", _ROWS | {"weight"},
         reasons=(_COUNTS_ANYWAY,)),
    Peer("timm", "timm", by_torch.timm, ("torch", "timm"), "timm", _SMOOTHED - {"all"}),
    Peer("transformers", "transformers", by_torch.transformers, ("torch", "transformers"), "transformers",
         _SMOOTHED | {"ignored"}, dtypes=_SINGLE, note="sums the uniform part in float32"),
    Peer("liger", "liger", by_torch.liger, _LIGER, "liger-kernel", _ROWS | {"ignored"}, dtypes=_SINGLE,
         reasons=(("weight", "its class weights fail in Triton's interpreter"),),
         note="its GPU kernel, in Triton's interpreter"),
    Peer("liger megatron", "liger.vocab_parallel_cross_entropy(megatron)", by_torch.liger_megatron, _LIGER,
         "liger-kernel", (_ROWS | {"ignored"}) - {"all"}, dtypes=_SINGLE,
         note="its GPU kernel, in Triton's interpreter; gives rows, which are averaged here"),
    Peer("keras", "keras", others.keras, ("torch", "keras"), "keras", _ROWS | {"soft", "weight"}, dtypes=_SINGLE,
         note="on its torch backend, where its mean is float32 in any dtype"),
    Peer("optax", "optax", others.optax, ("jax", "optax"), "optax", _ROWS | {"soft", "rows"},
         note="gives rows, which are averaged here"),
    Peer("scikit-learn", "uniform", others.sklearn, ("sklearn",), "scikit-learn",
         (_ROWS | {"weight"}) - {"smoothing", "all"}, note="gives no gradient",
         reasons=(("smoothing", "it has no label smoothing: ask with ε = 0"),)),
)  # fmt: skip
PEERS = {peer.name: peer for peer in _PEERS}


def torch_is_there() -> bool:
    """Whether PyTorch is installed; does not import it."""
    return find_spec("torch") is not None


def installed() -> tuple[Peer, ...]:
    """The frameworks that can be asked here; imports none of them."""
    return tuple(peer for peer in PEERS.values() if not peer.missing)


def chosen(names: Sequence[str] | None) -> tuple[Peer, ...]:
    """The frameworks of these names, in the order of the table; those that are installed when None.

    A bare framework is all its functions: "torch" is "torch index", "torch soft" and "torch linear".

    Raises:
        ValueError: a name that is none of theirs, or a framework that is not installed, with the line that installs it.
    """
    if names is None:
        return installed()
    found = set()
    for name in names:
        meant = {peer.name for peer in PEERS.values() if name.casefold() in (peer.name, peer.name.split()[0])}
        if not meant:
            raise ValueError(f"unknown framework {name!r}: choose from {', '.join(PEERS)}")
        found |= meant
    for peer in PEERS.values():
        if peer.name in found and peer.missing:
            raise InputError(f"{peer.name} is not installed here: {install_line(peer)}")
    return tuple(peer for peer in PEERS.values() if peer.name in found)


def install_line(peer: Peer) -> str:
    """The line that installs a framework."""
    extra = " triton" if "triton" in peer.needs else ""
    wanted = "'labelsmooth[torch]'" if peer.package == "torch" else peer.package + extra
    return f"pip install {wanted}, or make frameworks for all of them"
