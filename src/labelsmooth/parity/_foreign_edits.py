"""What somebody may have meant: each small change to a formula that undoes a known slip, with the words for it.

A formula that gives no step of the chain is tried with each of these changes; the first under which it does give one, on
random inputs, is what went wrong, and is the correction too. So the list is data about people: LOG where LN is meant, a range
one row too short, K−1 for K. It proposes and proves nothing; `_foreign_judge.py` computes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from labelsmooth.workbook._foreign_formula import At, Node
from labelsmooth.workbook._foreign_inputs import INDEX
from labelsmooth.workbook._foreign_text import replaced

from ._foreign_slips import (
    EPSILON,
    LABEL,
    LOG,
    MATCH,
    NUMBER,
    REDUCTION,
    ROUNDED,
    SIGN,
    SOFTMAX,
    Edit,
    Scene,
    references,
    same_step,
    written,
)

_DECIMAL = ("LOG", "LOG10")


def edits(at: At, formula: str, tree: Node, scene: Scene) -> Iterator[Edit]:
    """Every change worth a trial, the likeliest first; after the single ones, each together with LN for LOG."""
    yield from _logarithms(formula, tree)
    yield from _single(at, formula, tree, scene)


def _single(at: At, formula: str, tree: Node, scene: Scene) -> Iterator[Edit]:
    yield from _matches(formula, tree)
    yield from _rounded(formula, tree)
    yield from _signs(formula, tree)
    yield from _smoothing(formula, tree, at, scene)
    yield from _labels(formula, tree, scene)
    yield from same_step(at, formula, tree, scene)
    yield from references(formula, tree)
    yield from _numbers(formula, tree, at, scene)
    yield from _reductions(formula, tree)
    yield from _softmax(formula, tree, at, scene)


def natural_logarithms(formula: str, tree: Node) -> str:
    """The formula with LN in place of every LOG."""
    return replaced(formula, [(node, _ln(formula, node)) for node in _outer_logs(tree)])


def _outer_logs(tree: Node) -> list[Node]:
    found = [node for node in tree.walk() if node.kind == "call" and node.value in _DECIMAL]
    return [a for a in found if not any(b is not a and b.start <= a.start and a.end <= b.end for b in found)]


def _ln(formula: str, node: Node) -> str:
    arg = node.args[0]
    return f"LN({formula[arg.start : arg.end]})"


def _logarithms(formula: str, tree: Node) -> Iterator[Edit]:
    logs = _outer_logs(tree)
    if not logs:
        return
    base = formula[logs[0].args[1].start : logs[0].args[1].end] if len(logs[0].args) > 1 else "10"
    name = "LOG10" if logs[0].value == "LOG10" else "LOG"
    says = f"{name} is base {base} here, and the loss takes LN"
    yield Edit(natural_logarithms(formula, tree), LOG, says)
    if len(logs) > 1:
        for node in logs:
            yield Edit(replaced(formula, [(node, _ln(formula, node))]), LOG, says)


def _matches(formula: str, tree: Node) -> Iterator[Edit]:
    for node in tree.walk():
        if node.kind == "call" and node.value == "MATCH" and len(node.args) == 2:
            text = formula[node.start : node.end - 1] + ",0)"
            yield Edit(replaced(formula, [(node, text)]), MATCH, "MATCH without ,0 takes its range for sorted")


def _rounded(formula: str, tree: Node) -> Iterator[Edit]:
    for node in tree.walk():
        if node.kind == "call" and node.value in ("ROUND", "ROUNDUP", "ROUNDDOWN", "TRUNC", "INT"):
            arg = node.args[0]
            alone = node is tree or arg.kind != "op"
            text = formula[arg.start : arg.end] if alone else f"({formula[arg.start : arg.end]})"
            yield Edit(
                replaced(formula, [(node, text)]), ROUNDED, f"{node.value} rounds a number that is computed with"
            )


def _signs(formula: str, tree: Node) -> Iterator[Edit]:
    yield Edit(with_sign(formula, tree), SIGN, "a minus too many" if tree.kind == "sign" else "the minus is missing")


def with_sign(formula: str, tree: Node) -> str:
    """The formula with its sign turned."""
    if tree.kind == "sign" and tree.value == "-":
        return replaced(formula, [(tree, formula[tree.args[0].start : tree.args[0].end])])
    text = formula[tree.start : tree.end]
    return replaced(formula, [(tree, f"-({text})" if tree.kind == "op" else f"-{text}")])


# Smoothing -----------------------------------------------------------------------------------------------------------


def _smoothing(formula: str, tree: Node, at: At, scene: Scene) -> Iterator[Edit]:
    """Divisions by K−1, 1/K for ε/K; ε scaled so that the K−1 wrong classes get what ε/K would give them."""
    K, e = scene.table.classes, scene.epsilon(at.sheet)
    for node in tree.walk():
        if node.kind == "op" and node.value == "/":
            below = scene.constants(at, node.args[1])
            text = formula[node.args[1].start : node.args[1].end]
            if below == K - 1 and K > 2:
                yield Edit(
                    replaced(formula, [(node.args[1], str(K))]), EPSILON, f"divides by {text} where K = {K} is meant"
                )
            if below == K and scene.constants(at, node.args[0]) == 1:
                says = f"adds 1/{text} where ε/K is meant"
                yield Edit(replaced(formula, [(node.args[0], e)]), EPSILON, says)
    same = [node for node in tree.walk() if _is_epsilon(node, scene)]
    if same:
        scaled = f"({e}*{K - 1}/{K})"
        yield Edit(
            replaced(formula, [(node, scaled) for node in same]),
            EPSILON,
            "spreads ε over the K−1 wrong classes: ε/(K−1) where ε/K is expected",
        )


def _is_epsilon(node: Node, scene: Scene) -> bool:
    e = scene.table.epsilon
    if isinstance(e, At):
        return node.kind == "cell" and node.value[0] == e
    return node.kind == "number" and e is not None and abs(node.value - e) < 1e-12


def rewritten_target(at: At, scene: Scene, n: int | None, k: int | None) -> str | None:
    """The target of one cell written anew, from the one-hot cell and ε, where both have cells."""
    label = scene.steps.get(("one_hot", n, k))
    if label is None or n is None or k is None:
        return None
    e = scene.epsilon(at.sheet)
    return f"=(1-{e})*{written(label, at.sheet)}+{e}/{scene.table.classes}"


# Labels, numbers, reductions ---------------------------------------------------------------------------------------


def _labels(formula: str, tree: Node, scene: Scene) -> Iterator[Edit]:
    labels = scene.table.labels
    if labels is None or labels.kind != INDEX:
        return
    cells = {line[0] for line in labels.cells}
    for node in tree.walk():
        if node.kind == "op" and node.value in "+-" and node.args[1].kind == "number" and node.args[1].value == 1:
            ref = node.args[0]
            if ref.kind == "cell" and ref.value[0] in cells:
                says = f"labels count from {labels.base}, so {formula[node.start : node.end]} is another class"
                yield Edit(replaced(formula, [(node, formula[ref.start : ref.end])]), LABEL, says)
    refs = [node for node in tree.walk() if node.kind == "cell" and node.value[0] in cells]
    for step in (1, -1) if refs else ():
        changes = [(node, f"({formula[node.start : node.end]}{step:+d})") for node in refs]
        says = f"labels count from {labels.base}, and {formula[refs[0].start : refs[0].end]}{step:+d} is meant"
        yield Edit(replaced(formula, changes), LABEL, says)


def _numbers(formula: str, tree: Node, at: At, scene: Scene) -> Iterator[Edit]:
    K, N, e = scene.table.classes, len(scene.table.lines), scene.epsilon(at.sheet)
    meant: Sequence[tuple[str, str]] = [(str(N), f"N = {N}"), (str(K), f"K = {K}")]
    if scene.table.epsilon:
        shares = (f"1-{e}", f"{e}/{K}", f"1-{e}+{e}/{K}")
        meant = [*meant, (e, e), *((f"({share})", share) for share in shares)]
    for node in tree.walk():
        if node.kind != "number":
            continue
        here = formula[node.start : node.end]
        for text, shown in meant:
            if text != here:
                yield Edit(replaced(formula, [(node, text)]), NUMBER, f"{here} is typed where {shown} is meant")
    typed = [node for node in tree.walk() if node.kind == "number" and node.value not in (0, 1)]
    if len(typed) > 1 and scene.table.epsilon:  # such as =IF(B2=1,0.95,0.05)
        for on, off in ((typed[0], typed[1]), (typed[1], typed[0])):
            changes = [(on, f"(1-{e}+{e}/{K})"), (off, f"({e}/{K})")]
            shown = " and ".join(formula[node.start : node.end] for node in typed[:2])
            yield Edit(replaced(formula, changes), NUMBER, f"{shown} are typed where {e} is meant")


def _reductions(formula: str, tree: Node) -> Iterator[Edit]:
    for node in tree.walk():
        if node.kind == "call" and node.value in ("SUM", "AVERAGE"):
            other = "AVERAGE" if node.value == "SUM" else "SUM"
            rest = formula[node.start :].partition("(")[2]
            text = (
                f"{other}({rest[: node.end - node.start - len(formula[node.start : node.end].partition('(')[0]) - 1]}"
            )
            yield Edit(replaced(formula, [(node, text)]), REDUCTION, f"takes {node.value} where {other} is expected")


# Softmax -------------------------------------------------------------------------------------------------------------


def _softmax(formula: str, tree: Node, at: At, scene: Scene) -> Iterator[Edit]:
    """A logarithm of what was never divided by its sum: ln of the sum is what lacks."""
    n = scene.table.positions().get(at.row if scene.table.across else at.column)
    if n is None:
        return
    line = scene.table.lines[n]
    area = written(line[0], at.sheet) + (f":{line[-1].cell}" if len(line) > 1 else "")
    says = "the softmax is missing: what stands under LN does not sum to 1"
    for node in tree.walk():
        if node.kind == "call" and node.value == "LN" and node.args and node.args[0].kind in ("cell", "area"):
            cells = set(node.args[0].cells())
            text = formula[node.args[0].start : node.args[0].end]
            if cells <= set(line):
                yield Edit(replaced(formula, [(node, f"({text}-LN(SUMPRODUCT(EXP({area}))))")]), SOFTMAX, says)
    text = formula[tree.start : tree.end]
    total = scene.steps.get(("plain_sum", n, None))
    tail = f"LN({written(total, at.sheet)})" if total else f"LN(SUMPRODUCT(EXP({area})))"
    yield Edit(
        replaced(formula, [(tree, f"{text}+{tail}")]),
        SOFTMAX,
        "the softmax is missing: its logarithm of the sum is nowhere",
    )
