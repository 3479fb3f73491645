"""One tree, four renderings: what they say is pinned, and that they mean the same is run.

NumPy's numbers are the reference; the JavaScript is run in node over every kind of case, in every cell. LaTeX is read by a
parser. The spreadsheet's formulas are run by spreadsheet engines in the tests of the workbook; here their text is pinned.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, agree
from cases import LABELS, LOGITS, SOFTMAX_FAMILIES, Example, all_examples, examples
from labelsmooth.maths.case import Case, Chain, K, eps, given, w, y, z
from labelsmooth.maths.compact import compact_chain
from labelsmooth.maths.conventions import ALL, FAMILIES, OTHERS, WEIGHTINGS
from labelsmooth.maths.evaluate import natural
from labelsmooth.maths.expr import (
    INFINITY,
    Expr,
    Named,
    above,
    absolute,
    equal,
    exp,
    largest,
    log,
    log10,
    pick,
    total,
    where,
)
from labelsmooth.maths.printers import javascript, javascript_module, latex, spreadsheet, text
from labelsmooth.maths.steps import chain, target_chain
from labelsmooth.maths.trace import Trace, trace

A, B, C = (given(letter, letter, letter, "", letter) for letter in "abc")
PLACES = {"logits": "D", "label": "B", "prior": "P", "softmax": "S", "target": "Q"}


def cell(named: Named) -> str:
    return named.word


def span(named: Named, axis: str) -> str:
    return f"{named.word}[{axis}]"


def sheet(x: Expr) -> str:
    return spreadsheet(x, cell, span)


# Parentheses ---------------------------------------------------------------------------------------------------------

PARENTHESES = [
    (A - (B - C), "a-(b-c)"),
    (A - B - C, "a-b-c"),
    (A - (B + C), "a-(b+c)"),
    (A + (B - C), "a+(b-c)"),
    (A / (B * C), "a/(b*c)"),
    (A / B / C, "a/b/c"),
    (A / (B / C), "a/(b/c)"),
    (A * (B / C), "a*(b/c)"),
    (A * B / C, "a*b/c"),
    (A * (B + C), "a*(b+c)"),
    ((A + B) * C, "(a+b)*c"),
    (A * B + C, "a*b+c"),
    (-(A * B), "-(a*b)"),
    (-(A + B), "-(a+b)"),
    (-A * B, "-a*b"),
    (-A + B, "-a+b"),
    (A - -B, "a-(-b)"),
    (A * -B, "a*(-b)"),
    (-Expr("neg", (A,), ""), "-(-a)"),
    (exp(A - B) / C, "EXP(a-b)/c"),
]


@pytest.mark.parametrize(("x", "expected"), PARENTHESES)
def test_parentheses_keep_the_order_of_operations(x: Expr, expected: str) -> None:
    assert sheet(x) == expected


@pytest.mark.parametrize(("x", "expected"), PARENTHESES)
def test_parentheses_mean_in_python_what_the_tree_means(x: Expr, expected: str) -> None:
    """The same text, read by a parser that is not ours, has the value of the tree."""
    from labelsmooth.maths.evaluate import value

    numbers = {"a": 2.0, "b": 3.0, "c": 7.0}
    read = eval(expected, {"EXP": np.exp, **numbers})  # noqa: S307  a formula of this file
    agree(read, value(x, {k: np.full((1, 1), v) for k, v in numbers.items()}).item(), budget=FLOAT64, what=expected)


def test_a_sign_is_never_doubled_in_javascript() -> None:
    assert javascript(-Expr("neg", (A,), "")) == "-(-v.a)"
    assert "--" not in javascript(A - (-B))


# The spreadsheet -----------------------------------------------------------------------------------------------------

FORMULAS = [
    ("one_hot", "IF(class_index=label,1,0)"),
    ("target", "(1-epsilon)*one_hot+epsilon/n_classes"),
    ("row_max", "MAX(logits[k])"),
    ("plain_exponential", "EXP(logits)"),
    ("exponential", "EXP(logits-row_max)"),
    ("exponential_sum", "SUM(exponential[k])"),
    ("softmax", "exponential/exponential_sum"),
    ("log_softmax", "logits-row_max-LN(exponential_sum)"),
    ("row_loss", "-SUMPRODUCT(target[k],log_softmax[k])"),
    ("loss", "SUM(row_loss[n])/n_rows"),
    ("label_loss", "-SUMPRODUCT(one_hot[k],log_softmax[k])"),
    ("prior_loss", "-(SUM(log_softmax[k])/n_classes)"),
    ("mixture_gap", "ABS(mixture-row_loss)"),
    ("target_log", "IF(target>0,LN(target),0)"),
    ("row_floor", "-SUMPRODUCT(target[k],target_log[k])"),
    ("optimum_gap", "IF(off>0,IF(on>0,LN(on/off),-9.99E+307),9.99E+307)"),
    ("gradient", "(softmax-target)/n_rows"),
]


@pytest.mark.parametrize(("word", "expected"), FORMULAS)
def test_a_formula_on_the_sheet_is_what_one_would_type(word: str, expected: str) -> None:
    formula = chain(Case(as_post=True))[word].formula
    assert formula is not None
    assert sheet(formula) == expected


@pytest.mark.parametrize(
    ("case", "word", "expected"),
    [
        (Case(ignored=True), "keep", "IF(label=ignore_index,0,1)"),
        (Case(ignored=True), "row_loss", "IF(keep=1,-SUMPRODUCT(target[k],log_softmax[k]),0)"),
        (Case(mask="k"), "masked_logits", "IF(allowed=1,logits,-9.99E+307)"),
        (Case(weighting=WEIGHTINGS["class/label"]), "label_weight", "SUMPRODUCT(one_hot[k],class_weight[k])"),
        (Case(weighting=WEIGHTINGS["class/label"]), "charged", "target*class_weight"),
        (Case(weighting=WEIGHTINGS["class/label"]), "gradient", "(softmax*charged_sum-charged)/weight_sum"),
        (Case(FAMILIES["others"]), "target", "(1-epsilon)*one_hot+epsilon*spread"),
    ],
)
def test_a_formula_of_another_case_says_what_that_case_needs(case: Case, word: str, expected: str) -> None:
    formula = chain(case)[word].formula
    assert formula is not None
    assert sheet(formula) == expected


def test_the_compact_sheet_folds_a_sum_into_one_cell() -> None:
    short = compact_chain(Case(FAMILIES["others"]))
    formulas = [sheet(s.formula) for s in short.steps if s.formula is not None]
    assert formulas == [
        "MAX(logits[k])",
        "row_max+LN(SUMPRODUCT(EXP(logits[k]-row_max)))",
        "log_sum_exp-INDEX(logits[k],1,label+1)",
        "log_sum_exp-(SUM(logits[k])-log_sum_exp+label_loss)/(n_classes-1)",
        "(1-epsilon)*label_loss+epsilon*prior_loss",
        "SUM(row_loss[n])/n_rows",
    ]


def test_the_natural_logarithm_is_ln_and_log_is_base_ten() -> None:
    assert sheet(log(A)) == "LN(a)"
    assert sheet(log10(A)) == "LOG(a)"
    for example in examples(FAMILIES["uniform"], "class/label"):
        assert not any("LOG(" in sheet(s.formula) for s in example.trace().chain.steps if s.formula is not None)


def test_numbers_on_the_sheet_are_typed_as_numbers() -> None:
    assert [sheet(A * x) for x in (1, 0.5, 1e-20, INFINITY, -INFINITY)] == [
        "a*1", "a*0.5", "a*1e-20", "a*9.99E+307", "a*(-9.99E+307)",
    ]  # fmt: skip


def test_only_a_named_value_has_a_place() -> None:
    with pytest.raises(TypeError, match="only a named value has a place on the sheet, not '\\+'"):
        sheet(Expr("pick", (z + 1, y), "n"))


# Text ----------------------------------------------------------------------------------------------------------------

LINES = [
    ("one_hot", "q = [k = y]"),
    ("target", "q′ = (1 − ε)·q + ε/K"),
    ("softmax", "p = e/s"),
    ("row_loss", "h = −Σₖ q′·ℓ"),
    ("loss", "L = Σₙ h/N"),
    ("prior_loss", "H(u,p) = −(Σₖ ℓ/K)"),
    ("mixture_gap", "|Δ| = |A+B − h|"),
    ("optimum_gap", "g* = if(q′ off > 0, if(q′ on > 0, ln(q′ on/q′ off), −∞), ∞)"),
    ("gradient", "g = (p − q′)/N"),
]


@pytest.mark.parametrize(("word", "expected"), LINES)
def test_a_step_reads_as_the_paper_has_it(word: str, expected: str) -> None:
    line = chain()[word]
    assert line.formula is not None
    assert f"{line.symbol} = {text(line.formula)}" == expected


def test_text_writes_what_the_chain_does_not_use_too() -> None:
    assert text(log10(A) * 0.5) == "log₁₀(a)·0.5"
    assert text(pick(z, y)) == "z[y]"
    assert text(largest("n", y)) == "maxₙ y"
    assert text(absolute(A)) == "|a|"


# LaTeX ---------------------------------------------------------------------------------------------------------------


def test_latex_is_what_the_paper_would_print() -> None:
    line = chain()["target"]
    assert line.formula is not None
    assert latex(line) == "q'_{nk}"
    assert latex(line.formula) == r"(1 - \varepsilon) \, q_{nk} + \frac{\varepsilon}{K}"
    assert latex(total("k", w * z)) == r"\sum_{k} w_{k} \, z_{nk}"
    assert (
        latex(where(above(A, 0), log(A), -INFINITY)) == r"\mathrm{if}\left(a > 0,\ \ln\left(a\right),\ -\infty\right)"
    )


def parse(source: str) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.mathtext import MathTextParser

    MathTextParser("path").parse(f"${source}$")


def every_chain() -> Iterator[tuple[str, Chain]]:
    for example in all_examples():
        yield example.name, example.trace(as_post="mask" not in example.name).chain
    for family in SOFTMAX_FAMILIES:
        if FAMILIES[family].over in {ALL, OTHERS}:
            yield f"compact, {family}", compact_chain(Case(FAMILIES[family]))
    for name, family_ in FAMILIES.items():
        yield f"target, {name}", target_chain(Case(family_))


@pytest.mark.slow
def test_the_latex_of_every_step_parses() -> None:
    sources = {
        f"{latex(line)} = {latex(line.formula)}": name
        for name, steps in every_chain()
        for line in steps.steps
        if line.formula is not None
    }
    assert len(sources) > 100
    for source in sources:
        parse(source)
    for other in (log10(A), pick(z, y), largest("k", z), absolute(-A), equal(A, B)):
        parse(latex(other))


def test_the_latex_of_the_plain_chain_parses() -> None:
    for line in chain().steps:
        assert line.formula is not None
        parse(f"{latex(line)} = {latex(line.formula)}")


@pytest.mark.parametrize("broken", [r"\frac{a}{", r"\sum_{k", r"\left(a", r"\nosuchcommand a", "a_{b}_{c}"])
def test_the_parser_rejects_broken_latex(broken: str) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match=r"."):
        parse(broken)


# JavaScript ----------------------------------------------------------------------------------------------------------

DRIVER = """\
import { readFileSync, writeFileSync } from "node:fs";
const far = { NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };
const { cases } = JSON.parse(readFileSync("given.json", "utf8"), (_, x) => (typeof x === "string" && x in far ? far[x] : x));
const out = [];
for (const { module, given } of cases) out.push((await import(module)).chain(given));
writeFileSync("got.json", JSON.stringify(out, (_, x) => (typeof x === "number" && !Number.isFinite(x) ? String(x) : x)));
"""


def spelled(x: Any) -> Any:
    """Spell what JSON has no number for."""
    if isinstance(x, list):
        return [spelled(one) for one in x]
    return x if isfinite(x) else {inf: "Infinity", -inf: "-Infinity"}.get(x, "NaN")


def numbers(x: Any) -> Any:
    return [numbers(one) for one in x] if isinstance(x, list) else float(x)


def in_node(node: str, folder: Path, runs: list[Trace]) -> list[dict[str, Any]]:
    """Run the printed module of each trace on the trace's own inputs, all in one process."""
    modules: dict[str, str] = {}
    cases = []
    for run in runs:
        source = javascript_module(run.chain)
        module = modules.setdefault(source, f"./chain_{len(modules)}.mjs")
        (folder / module).write_text(source, encoding="utf-8")
        inputs = {"n_rows": len(run.logits), "n_classes": run.logits.shape[1]}
        for word in run.words:
            if word in {x.word for x in run.chain.inputs}:
                inputs[word] = np.asarray(getattr(run, word)).tolist()
        cases.append({"module": module, "given": {word: spelled(x) for word, x in inputs.items()}})
    (folder / "given.json").write_text(json.dumps({"cases": cases}), encoding="utf-8")
    (folder / "driver.mjs").write_text(DRIVER, encoding="utf-8")
    subprocess.run([node, "driver.mjs"], cwd=folder, check=True)
    got: list[dict[str, Any]] = json.loads((folder / "got.json").read_text(encoding="utf-8"))
    return got


def compare(runs: list[Trace], names: list[str], got: list[dict[str, Any]]) -> None:
    for run, name, values in zip(runs, names, got, strict=True):
        for word in run.words:
            expected = natural(run.values[word], run.chain[word].axes)
            what = f"{name}: {word}"
            agree(numbers(values[word]), expected, budget=FLOAT64, what=what, nan_agrees=True)


def compactly(example: Example) -> bool:
    return not ({"weight", "class_mask"} & set(example.options) or example.kl) and example.family.over in {ALL, OTHERS}


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_javascript_agrees_with_numpy_in_every_cell_of_every_case(every: int, node: str, tmp_path: Path) -> None:
    runs, names = [], []
    for example in list(all_examples())[::every]:
        for reduction in ("mean", "sum", "none"):
            runs.append(example.trace(reduction=reduction))
            names.append(f"{example.name}, {reduction}")
        if compactly(example):
            runs.append(example.trace(compact_chain))
            names.append(f"{example.name}, compact")
    assert len(runs) > 1400 / every
    compare(runs, names, in_node(node, tmp_path, runs))


def test_a_wrong_number_from_javascript_is_noticed(node: str, tmp_path: Path) -> None:
    runs = [trace(LOGITS, LABELS, 0.1)]
    got = in_node(node, tmp_path, runs)
    compare(runs, ["right"], got)
    got[0]["gradient"][1][4] += 1e-11
    with pytest.raises(AssertionError, match="planted: gradient: 1 of 10 differ"):
        compare(runs, ["planted"], got)


def test_javascript_is_written_with_words_and_indices() -> None:
    assert javascript(total("k", w * z)) == "total(v.n_classes, (k) => v.class_weight[k] * v.logits[n][k])"
    assert javascript(largest("n", y)) == "largest(v.n_rows, (n) => v.label[n])"
    assert javascript(where(above(A, B), A, -INFINITY)) == "(v.a > v.b ? v.a : -Infinity)"
    assert javascript(equal(A, 0.5)) == "(v.a === 0.5 ? 1 : 0)"
    assert javascript(pick(z, y)) == "v.logits[n][v.label[n]]"
    assert javascript(log(eps / K)) == "Math.log(v.epsilon / v.n_classes)"
    head = javascript_module(chain()).splitlines()
    assert head[0].startswith("// Printed from the chain")
    assert "  // the label as a distribution: 1 at the right class, 0 elsewhere" in head
