"""The comparison: everything agrees on every case, and a planted error anywhere makes it differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, agree
from cases import one_in

pytest.importorskip("ironcalc")
pytest.importorskip("xlsxwriter")

from labelsmooth.maths.trace import prepare
from labelsmooth.parity import judge
from labelsmooth.parity.compare import compare, compare_problem, compare_steps, difference, torch_rows
from labelsmooth.parity.frameworks import PEERS, installed, torch_is_there
from labelsmooth.parity.judge import TOLERANCE, side_by_side
from labelsmooth.workbook.book import make_book
from labelsmooth.workbook.recalc import Recalculation, recalculate
from labelsmooth.workbook.write import save

RNG = np.random.default_rng(3)
N, K = 6, 4
LOGITS = RNG.normal(size=(N, K)) * 2
LABELS = np.array([0, 1, 2, 0, 1, 2])
IGNORING = np.array([0, 1, -100, 0, 1, 2])
SOFT = RNG.dirichlet(np.ones(K), N)
WEIGHT = np.array([1.0, 2.0, 0.5, 3.0])
PRIOR = RNG.dirichlet(np.ones(K))
PRIORS = RNG.dirichlet(np.ones(K), N)
MASK = np.array([1, 1, 1, 0])

CASES: dict[str, dict[str, Any]] = {
    "torch": {},
    "no smoothing": {"label_smoothing": 0.0},
    "all smoothing": {"label_smoothing": 1.0},
    "one epsilon a row": {"label_smoothing": np.array([0, 0.1, 0.2, 0.3, 1, 0.5])},
    "fairseq": {"convention": "fairseq"},
    "K-2": {"convention": "annotated_transformer", "ignore_index": 3},
    "renormalised": {"convention": "renormalised"},
    "unnormalised": {"convention": "unnormalised"},
    "1/K": {"convention": "1/K for ε/K"},
    "twice": {"convention": "smoothed twice"},
    "KL": {"convention": "t5x"},
    "prior": {"prior": PRIOR},
    "priors": {"prior": PRIORS},
    "soft": {"labels": SOFT},
    "soft with rows that do not count": {"labels": SOFT, "keep": [1, 1, 0, 1, 1, 0]},
    "ignored": {"labels": IGNORING},
    "masked": {"class_mask": MASK},
    "masked with a prior": {"class_mask": MASK, "prior": PRIOR},
    "weights": {"weight": WEIGHT},
    "weights, soft": {"weight": WEIGHT, "labels": SOFT},
    "weights, ignored": {"weight": WEIGHT, "labels": IGNORING},
    **{
        f"weights {name}": {"weight": WEIGHT, "weighting": name}
        for name in ("nll", "nll/N", "expected", "label", "label/N")
    },
    **{
        f"ignored {name}": {"weight": WEIGHT, "weighting": name, "labels": IGNORING}
        for name in ("nll", "expected", "label")
    },
    "sum": {"reduction": "sum"},
    "sum with weights": {"reduction": "sum", "weight": WEIGHT},
    "none": {"reduction": "none"},
    "compact": {"layout": "compact"},
    "compact, ignored": {"layout": "compact", "labels": IGNORING},
    "compact, fairseq": {"layout": "compact", "convention": "fairseq"},
    "compact, prior and soft": {"layout": "compact", "prior": PRIOR, "labels": SOFT},
}


@pytest.mark.usefixtures("ironcalc_here")
@pytest.mark.parametrize("name", one_in(3, CASES))
def test_numpy_sheet_and_pytorch_agree(name: str) -> None:
    options = dict(CASES[name])
    done = compare(LOGITS, options.pop("labels", LABELS), options.pop("label_smoothing", 0.1), **options)
    assert done.agree, [s for s in done.steps if not s.agrees] + [i for i in done.implementations if not i.agrees]
    assert done.largest <= FLOAT64
    assert {s.word for s in done.steps} >= {"row_loss", "label_loss", "prior_loss"}
    if torch_is_there():
        assert [i.dtype for i in done.implementations][:2] == ["float64", "float32"]
        assert [i.name for i in done.implementations if i.dtype == "float64"][1:4] == list(PEERS)[:3]


def test_pytorchs_own_loss_is_asked_where_it_has_the_convention_and_only_there() -> None:
    pytest.importorskip("torch")
    for name, options in CASES.items():
        words = dict(options)
        words.pop("layout", None)
        problem = prepare(LOGITS, words.pop("labels", LABELS), words.pop("label_smoothing", 0.1), **words)
        asked = not judge.only_ours(problem)
        plain = name in {"torch", "no smoothing", "all smoothing", "soft", "ignored", "weights", "weights, soft",
                         "weights, ignored", "sum", "sum with weights", "none", "compact", "compact, ignored"}  # fmt: skip
        assert asked == plain, (name, judge.only_ours(problem))


def test_the_stored_rows_give_pytorchs_loss_at_any_epsilon() -> None:
    torch = pytest.importorskip("torch")
    rows = torch_rows(prepare(LOGITS, LABELS, 0.1))
    z, y = torch.tensor(LOGITS), torch.tensor(LABELS)
    for eps in (0.0, 0.3, 1.0):
        own = torch.nn.functional.cross_entropy(z, y, label_smoothing=eps, reduction="none").numpy()
        agree((1 - eps) * rows.label_loss + eps * rows.prior_loss, own, budget=FLOAT64, what=f"rows at {eps}")


def test_a_wrong_loss_and_a_wrong_gradient_are_each_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    right = judge.torch_own

    def wrong(problem: Any, dtype: str = "float64", *, of: str) -> judge.Result:
        result = right(problem, dtype)
        return replace(result, **{of: np.asarray(getattr(result, of)) + 1e-4})

    for part in ("row_loss", "gradient"):
        monkeypatch.setattr(judge, "torch_own", lambda p, d="float64", part=part: wrong(p, d, of=part))
        done = compare_problem(prepare(LOGITS, LABELS, 0.1))
        assert not done.agree
        assert {i.name for i in done.implementations if not i.agrees} == {"torch cross_entropy"}


def test_a_wrong_cell_is_noticed_in_its_step(tmp_path: Path) -> None:
    book = make_book(prepare(LOGITS, LABELS, 0.1))
    save(book, tmp_path / "book.xlsx")
    done = recalculate(tmp_path / "book.xlsx")
    assert all(s.agrees for s in compare_steps(book, done))
    cell = book.layout.places["softmax"].cell(2, 1)
    for planted in (float(done.values["Steps"][cell]) + 1e-9, "#NUM!", "0.5", None, True):  # type: ignore[arg-type]
        values = {**done.values, "Steps": {**done.values["Steps"], cell: planted}}
        wrong = [s.word for s in compare_steps(book, Recalculation("e", "1", values, 1)) if not s.agrees]
        assert wrong == ["softmax"]


def test_the_difference_is_relative_above_1_and_infinite_for_text() -> None:
    agree(difference(2_000_001.0, 2_000_000.0), 5e-7, budget=1e-12, what="relative")
    agree(difference(0.25, 0.5), 0.25, budget=1e-12, what="absolute")
    assert difference("#NUM!", 0.0) == np.inf
    assert difference(9.99e307, np.inf) == 0
    assert difference(1.0, np.inf) > TOLERANCE["float32"]


def test_recorded_numbers_stand_in_for_pytorch_and_say_so() -> None:
    pytest.importorskip("torch")
    problem = prepare(LOGITS, LABELS, 0.1)
    recorded = torch_rows(problem)
    done = compare_problem(problem, recorded=recorded)
    assert done.agree
    assert [i.note for i in done.implementations] == ["recorded numbers: PyTorch is not installed here"]
    off = replace(recorded, row_loss=recorded.row_loss + 1e-6)
    assert not compare_problem(problem, recorded=off).agree


# Side by side --------------------------------------------------------------------------------------------------------


def beside(name: str, **options: Any) -> judge.Implementation:
    """One framework, asked in its first dtype."""
    pytest.importorskip("torch")
    words = {"logits": LOGITS, "labels": LABELS, "label_smoothing": 0.1, **options}
    shown = {i.name: i for i in reversed(side_by_side(prepare(**words), [PEERS[name]]))}
    return shown[name]


def test_a_framework_is_held_against_its_own_convention_and_told_from_ours() -> None:
    other = beside("torch index", convention="fairseq")
    assert (other.agrees, other.same, other.convention) == (True, False, "uniform")
    alike = beside("torch index")
    assert (alike.agrees, alike.same, alike.convention) == (True, True, "uniform")
    assert alike.loss == other.loss


def test_a_framework_with_another_meaning_of_class_weights_is_told_from_ours() -> None:
    index, soft = (beside(name, weight=WEIGHT) for name in ("torch index", "torch soft"))
    assert (index.same, index.convention) == (True, "uniform, weights class/label")
    assert (soft.agrees, soft.same, soft.convention) == (True, False, "uniform, weights class/N")


def test_a_kl_is_another_convention_than_its_cross_entropy() -> None:
    assert not beside("torch index", convention="wenet").same
    assert judge.convention_text(prepare(LOGITS, LABELS, convention="wenet").case) == "others, KL"


def test_what_a_framework_refuses_is_said_and_does_not_differ() -> None:
    refused = beside("the post", weight=WEIGHT)
    assert (refused.agrees, refused.same, refused.row_loss) == (True, True, None)
    assert refused.note == "not asked: it takes no class weights"


def test_a_framework_that_computes_something_else_than_its_convention_differs() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("ironcalc")
    right = PEERS["torch index"]
    for part in ("row_loss", "loss", "gradient"):

        def planted(problem: Any, dtype: str, part: str = part) -> judge.Result:
            result = right.run(problem, dtype)
            return replace(result, **{part: getattr(result, part) + 1e-5})

        wrong = replace(right, run=planted)
        found = side_by_side(prepare(LOGITS, LABELS, 0.1), [wrong])
        assert [i.agrees for i in found] == [True, True, False, False], part
        assert not compare_problem(prepare(LOGITS, LABELS, 0.1), peers=[wrong]).agree


@pytest.mark.slow
def test_a_row_of_a_framework_that_is_not_its_first_is_found_by_our_loss() -> None:
    pytest.importorskip("torch")
    for name in ("liger.vocab_parallel_cross_entropy(megatron)", "speechbrain.kldiv_loss", "K-1", "fairseq"):
        convention = "others" if name == "K-1" else name
        done = compare(LOGITS, LABELS, 0.1, convention=convention, frameworks=[])
        assert done.agree, convention
        assert [i.dtype for i in done.implementations] == ["float64", "float32"]


def test_frameworks_are_chosen_by_name_and_an_absent_one_is_refused() -> None:
    pytest.importorskip("torch")
    done = compare(LOGITS, LABELS, 0.1, frameworks=["torch"])
    assert {i.name for i in done.implementations} == {
        "labelsmooth cross_entropy",
        "torch index",
        "torch soft",
        "torch linear",
    }
    with pytest.raises(ValueError, match="unknown framework 'jaxx': choose from torch index"):
        compare(LOGITS, LABELS, 0.1, frameworks=["jaxx"])
    everybody = {i.name for i in compare(LOGITS, LABELS, 0.1).implementations}
    assert everybody == {"labelsmooth cross_entropy", *(peer.name for peer in installed())}


def test_the_workbook_is_kept_only_where_asked(tmp_path: Path) -> None:
    done = compare(LOGITS, LABELS, 0.1, path=tmp_path / "kept.xlsx")
    assert done.path == str(tmp_path / "kept.xlsx")
    assert [p.name for p in tmp_path.iterdir()] == ["kept.xlsx"]
    assert compare(LOGITS, LABELS, 0.1).path is None
