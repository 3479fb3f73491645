"""What ranks send each other, noted as it leaves, and how many matrices they multiply."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class Messages(TorchDispatchMode):
    """Note every collective with the bytes that a rank gives to it, and count products of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, int]] = []
        self.products = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.products += str(operator).removeprefix("aten.").startswith(("mm", "addmm"))
        silent = "wait" in str(operator) or "wrap" in str(operator)
        if operator.namespace in {"c10d", "_c10d_functional"} and not silent:
            given = args[1] if operator.namespace == "c10d" else args[0]  # c10d's first is where the answer goes
            self.sent.append((str(operator), sum(x.nbytes for x in (given if isinstance(given, list) else [given]))))
        return operator(*args, **(kwargs or {}))
