"""The same loss in five values a row, for batches too large for a cell a thought.

With lse the logarithm of the summed exponentials, −ln p_k is lse − z_k, so both cross-entropies of the paper need only the
label's logit and the prior's mean logit. Two derivations that must meet: the tests hold this against `steps.chain`.
"""
# ruff: noqa: E501  a step is one line: its formula and its sentence are read together
# fmt: off

from __future__ import annotations

from .case import Case, Chain, K, N, ignore, t, y, z
from .conventions import ALL, OTHERS
from .expr import Expr, equal, exp, folded, largest, log, pick, total, where
from .steps import Lines


def compact_chain(case: Case) -> Chain:
    """Return the short chain of a case; refuse what it cannot hold.

    >>> [s.word for s in compact_chain(Case()).steps]
    ['row_max', 'log_sum_exp', 'label_loss', 'prior_loss', 'row_loss', 'loss']
    """
    _check(case)
    lines = Lines(case)
    if case.ignored and not case.soft:
        lines.keep = lines.add("keep", "κ", r"\kappa", where(equal(y, ignore), 0, 1), "1 for a row that counts, 0 for one that is ignored")
    top = lines.add("row_max", "m", "m", largest("k", z), "the row's largest logit")
    lse = lines.add("log_sum_exp", "lse", r"\mathrm{lse}", top + log(folded("k", exp(z - top))), "logarithm of the summed exponentials")
    of_label: Expr = total("k", t * z) if case.soft else pick(z, y)
    h_label = lines.add("label_loss", "H(q,p)", "H(q,p)", lines.counted(lse - of_label), "cross-entropy with the label alone")
    of_v: Expr = total("k", z) / K if lines.v is None else total("k", lines.v * z)
    if case.family.over == OTHERS:
        of_v = (total("k", z) - lse + h_label) / (K - 1)
    of = "H(u,p)" if case.family.over == ALL else "H(v,p)"
    h_prior = lines.add("prior_loss", of, of, lines.counted(lse - of_v), "cross-entropy with what ε is spread over")
    kept, spread = case.family.keep(lines.eps, K), case.family.spread(lines.eps, K)
    row = lines.add("row_loss", "h", "h", kept * h_label + spread * h_prior, "loss of the row")
    if case.reduction == "none":
        return Chain(case, tuple(lines.values()))
    whole = total("n", row)
    if case.reduction == "mean":
        whole = whole / (N if lines.keep is None else lines.add("counted_rows", "N′", "N'", total("n", lines.keep), "the number of rows that count"))
    lines.add("loss", "L", "L", whole, f"loss of the batch: the {case.reduction}")
    return Chain(case, tuple(lines.values()))


def _check(case: Case) -> None:
    """Refuse a case whose rows need more than five values."""
    short = {
        "class weights": case.weighting is not None,
        "masked classes": bool(case.mask),
        "KL": case.divergence == "kl",
        f"the target {case.family.name!r}": case.family.over not in (ALL, OTHERS) or case.family.link != "softmax",
    }
    missing = [what for what, there in short.items() if there]
    if missing:
        raise ValueError(f"the compact layout has no room for {', '.join(missing)}: use fewer rows and the full layout")
