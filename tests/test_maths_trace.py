"""The two doors: what they hand out, and every refusal."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, agree
from cases import LABELS, LOGITS, TWO_CLASSES, TWO_LABELS, all_examples
from labelsmooth.maths.trace import prepare, smooth_labels, trace

NAN, INF = float("nan"), float("inf")


# What comes out ------------------------------------------------------------------------------------------------------


def test_values_have_the_shape_that_their_axes_say() -> None:
    run = trace(LOGITS, LABELS, 0.1, weight=[1, 2, 3, 4, 5])
    assert run.target.shape == run.gradient.shape == (2, 5)
    assert run.row_loss.shape == run.label_weight.shape == (2,)
    assert run.class_weight.shape == (5,)
    assert isinstance(run.loss, float)
    assert run.row_loss.dtype == np.float64
    assert trace(np.float32(LOGITS), np.uint8(LABELS)).logits.dtype == np.float64


def test_words_name_everything_there_is() -> None:
    run = trace(LOGITS, LABELS)
    assert run.words[:2] == ("epsilon", "n_classes")
    assert run.words[-1] == "gradient"
    for word in run.words:
        getattr(run, word)


def test_an_unknown_word_is_refused_with_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"this case has no step 'charged'; it has epsilon, .*, gradient"):
        _ = trace(LOGITS, LABELS).charged


def test_a_trace_says_what_it_is_in_a_line() -> None:
    assert repr(trace(TWO_CLASSES, TWO_LABELS, 0.1)) == "Trace(5 rows, 2 classes, loss=1.62841)"
    assert repr(trace(TWO_CLASSES, TWO_LABELS, 0.1, reduction="none")) == "Trace(5 rows, 2 classes)"


def test_a_notebook_shows_every_step_escaped_and_the_loss() -> None:
    html = trace(TWO_CLASSES, TWO_LABELS, 0.1)._repr_html_()
    assert html.startswith("<table><caption>Trace(5 rows, 2 classes, loss=1.62841)</caption>")
    for word in ("one_hot", "target", "softmax", "row_loss", "gradient"):
        assert html.count(f"<code>{word}</code>") == 1
    assert "if(q′ &gt; 0, ln(q′), 0)" in html
    assert "1.62841" in html.split("<code>loss</code>")[1].split("</tr>")[0]
    text = re.sub(r"</?(table|caption|thead|tbody|tr|th|td|code|pre)>", "", html)
    assert not re.search(r"[<>]", text), "nothing but the table's own tags"


def test_a_problem_keeps_names_as_they_came() -> None:
    problem = prepare(LOGITS, LABELS, class_names=["=A1", "b", "c", "d", 5], row_names=["<b>", "x"])  # type: ignore[list-item]
    assert problem.class_names == ("=A1", "b", "c", "d", "5")
    assert problem.row_names == ("<b>", "x")
    assert prepare(LOGITS, LABELS).class_names == ("0", "1", "2", "3", "4")
    assert prepare(LOGITS, LABELS).row_names == ("row 1", "row 2")


def test_looking_for_what_no_trace_has_does_not_run_in_circles() -> None:
    empty = object.__new__(type(trace(LOGITS, LABELS)))
    with pytest.raises(AttributeError):
        _ = empty.loss


# As the post has it --------------------------------------------------------------------------------------------------


def test_exponentials_as_they_stand_are_shown_below_seven_hundred_only() -> None:
    assert "plain_exponential" in trace([[699.0, -699.0]], [0]).chain
    assert "plain_exponential" not in trace([[700.0, 0.0]], [0]).chain
    assert "plain_exponential" not in trace([[0.0, -700.0]], [0]).chain
    assert "plain_exponential" not in trace([[1.0, 2.0]], [0], as_post=False).chain
    assert "plain_exponential" not in trace([[1.0, 2.0, 3.0]], [0], class_mask=[1, 1, 0]).chain
    overflown = trace([[1000.0, 0.0]], [0], as_post=True)
    assert np.isnan(overflown.plain_softmax[0, 0])
    assert np.isfinite(overflown.softmax[0, 0])


# Rows and classes that do not count ----------------------------------------------------------------------------------


def test_a_masked_class_may_have_any_logit_and_changes_nothing() -> None:
    expected = trace([[1.0, 2.0], [0.5, -1.0]], [1, 0], 0.1)
    for hidden in (-INF, INF, NAN, 1e300):
        run = trace([[1.0, hidden, 2.0], [0.5, hidden, -1.0]], [2, 0], 0.1, class_mask=[1, 0, 1])
        agree(run.row_loss, expected.row_loss, budget=FLOAT64, what=f"{hidden}: loss")
        agree(run.gradient[:, [0, 2]], expected.gradient, budget=FLOAT64, what=f"{hidden}: gradient")
        agree(run.gradient[:, 1], [0, 0], budget=0, what=f"{hidden}: gradient of the masked class")
        agree(run.target[:, 1], [0, 0], budget=0, what=f"{hidden}: target of the masked class")


@pytest.mark.parametrize("hidden", [NAN, INF, -INF, 1e308])
def test_an_ignored_row_may_hold_anything(hidden: float) -> None:
    expected = trace([[1.0, 2.0]], [1], 0.1)
    for ignored in ({"labels": [1, -100]}, {"labels": [[0.0, 1.0], [1.0, 0.0]], "keep": [1, 0]}):
        run = trace([[1.0, 2.0], [hidden, hidden]], **ignored)  # type: ignore[arg-type]
        agree(run.loss, expected.loss, budget=FLOAT64, what="loss")
        agree(run.gradient[1], [0, 0], budget=0, what="gradient")


def test_another_ignore_index_can_be_chosen() -> None:
    run = trace([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], [1, 2], ignore_index=2)
    agree(run.row_loss[1], 0.0, budget=0, what="ignored")
    agree(run.loss, run.row_loss[0], budget=FLOAT64, what="mean over one row")


# Smoothed labels -----------------------------------------------------------------------------------------------------


def test_smoothed_labels_are_the_targets_of_the_trace() -> None:
    agree(smooth_labels(LABELS, 5, 0.1), trace(LOGITS, LABELS, 0.1).target, budget=0, what="targets")
    prior = [0.5, 0.2, 0.1, 0.1, 0.1]
    expected = trace(LOGITS, LABELS, [0.1, 0.3], prior=prior).target
    agree(smooth_labels(LABELS, 5, [0.1, 0.3], prior=prior), expected, budget=0, what="prior, one ε a row")


def test_smoothed_labels_come_in_every_number_of_rows() -> None:
    assert smooth_labels([], 5).shape == (0, 5)
    agree(smooth_labels(1, np.int64(3), 0.3), [[0.1, 0.8, 0.1]], budget=FLOAT64, what="one label")  # type: ignore[arg-type]


def test_smoothed_labels_can_be_written_to() -> None:
    smooth_labels([0], 2)[0, 0] = 7


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (([0], 1), {}, "num_classes must be a whole number of at least 2, got 1"),
        (([0], 5.0), {}, "num_classes must be a whole number of at least 2, got 5.0"),
        (([0, 5], 5), {}, "label 5 in row 2 is not a class number from 0 to 4"),
        (([-100], 5), {}, "label -100 in row 1 is not a class number from 0 to 4"),
        (([0], 5, 1.5), {}, "label_smoothing must be between 0 and 1, got 1.5"),
        (([0], 5), {"convention": "joeynmt"}, "'joeynmt' leaves out a padding class: give its number as ignore_index"),
        (([0], 5), {"convention": "others", "prior": [0.2] * 5}, "'others' does not take a prior"),
        (([0], 5), {"prior": [0.5, 0.5]}, "prior must have 5 numbers"),
        (([[0]], 5), {}, "labels must be (1,) class numbers"),
    ],
)
def test_smooth_labels_refuses(arguments: tuple[Any, ...], options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        smooth_labels(*arguments, **options)


# Refusals ------------------------------------------------------------------------------------------------------------

Z = [[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]]

REFUSALS: list[tuple[Any, Any, dict[str, Any], str]] = [
    ([1.0, 2.0], [0], {}, "logits must be (rows, classes) with at least one row and two classes, got shape (2,)"),
    ([[1.0]], [0], {}, "at least one row and two classes, got shape (1, 1)"),
    (np.zeros((0, 3)), [], {}, "at least one row and two classes, got shape (0, 3)"),
    ([[NAN, 1, 2], Z[1]], [0, 1], {}, "the logit of row 1, class 0 is nan: mask the class, ignore the row, or replace it"),
    ([Z[0], [0, 1, INF]], [0, 1], {}, "the logit of row 2, class 2 is inf"),
    ([Z[0], [0, -INF, 1]], [0, -100], {"ignore_index": 5}, "label -100 in row 2 is not a class number from 0 to 2"),
    ([[1, 2, -INF], Z[1]], [0, 1], {"class_mask": [1, 1, 1]}, "the logit of row 1, class 2 is -inf"),
    ([[NAN, 1, 2], Z[1]], np.eye(3)[:2], {"keep": [1, 0]}, "the logit of row 1, class 0 is nan"),
    (Z, [0, 3], {}, "label 3 in row 2 is not a class number from 0 to 2"),
    (Z, [-1, 0], {}, "label -1 in row 1 is not a class number from 0 to 2"),
    (Z, [0], {}, "labels must be (2,) class numbers or (2, 3) distributions, got int64 (1,)"),
    (Z, [0.5, 1.0], {}, "labels must be (2,) class numbers or (2, 3) distributions, got float64 (2,)"),
    (Z, [INF, 1.0], {}, "labels must be (2,) class numbers"),
    (Z, ["a", "b"], {}, "labels must be (2,) class numbers"),
    (Z, [True, False], {}, "labels must be (2,) class numbers"),
    (Z, np.eye(3, dtype=int)[:2], {}, "labels must be (2,) class numbers or (2, 3) distributions, got int64 (2, 3)"),
    (Z, [[0.5, 0.5, 0.0], [0.5, 0.6, 0.0]], {}, "soft labels must be distributions: row 2 sums to 1.1"),
    (Z, [[1.5, -0.5, 0.0], [1.0, 0.0, 0.0]], {}, "soft labels must be distributions: row 1 sums to 1"),
    (Z, [[1.0, 0.0, 0.0], [NAN, 0.0, 0.0]], {}, "soft labels must be distributions: row 2 sums to nan"),
    (Z, [0, 1], {"label_smoothing": -0.1}, "label_smoothing must be between 0 and 1, got -0.1"),
    (Z, [0, 1], {"label_smoothing": 1.5}, "label_smoothing must be between 0 and 1, got 1.5"),
    (Z, [0, 1], {"label_smoothing": NAN}, "label_smoothing must be between 0 and 1, got nan"),
    (Z, [0, 1], {"label_smoothing": [0.1, 2.0]}, "label_smoothing must be between 0 and 1, got 2"),
    (Z, [0, 1], {"label_smoothing": [0.1] * 3}, "label_smoothing must be one number or one a row (2), got shape (3,)"),
    (Z, [0, 1], {"weight": [1.0, 2.0]}, "weight must have 3 numbers, got shape (2,)"),
    (Z, [0, 1], {"weight": [1.0, -2.0, 0.0]}, "weight must be finite and not negative"),
    (Z, [0, 1], {"weight": [1.0, INF, 0.0]}, "weight must be finite and not negative"),
    (Z, [0, 1], {"weighting": "classes"}, "unknown weighting 'classes': choose one of torch"),
    (Z, [0, 1], {"prior": [0.5, 0.5]}, "prior must have 3 numbers, or (2, 3) for one a row; got shape (2,)"),
    (Z, [0, 1], {"prior": [0.5, 0.5, 0.5]}, "prior must be a distribution: not negative, and its sum 1; got the sum 1.5"),
    (Z, [0, 1], {"prior": [1.5, -0.5, 0.0]}, "prior must be a distribution"),
    (Z, [0, 1], {"prior": [NAN, 0.5, 0.5]}, "prior must be a distribution"),
    (Z, [0, 1], {"class_mask": [1, 1]}, "class_mask must hold 0 and 1, 3 of them or (2, 3); got shape (2,)"),
    (Z, [0, 1], {"class_mask": [1, 1, 2]}, "class_mask must hold 0 and 1"),
    (Z, [0, 2], {"class_mask": [1, 1, 0]}, "the label of row 2 is a masked class"),
    (Z, [[0.5, 0.5, 0], [0.5, 0, 0.5]], {"class_mask": [1, 1, 0]}, "the label of row 2 is a masked class"),
    (Z, [0, 1], {"class_mask": [[1, 1, 1], [0, 0, 0]]}, "class_mask leaves row 2 no class that the prior gives mass"),
    (Z, [0, 0], {"class_mask": [1, 1, 0], "prior": [0, 0, 1.0]}, "class_mask leaves row 1 no class that the prior"),
    (Z, [0, 1], {"keep": [1, 0]}, "keep is for soft labels; give rows with class numbers the label ignore_index"),
    (Z, np.eye(3)[:2], {"keep": [1, 0.5]}, "keep must hold 0 and 1 only"),
    (Z, np.eye(3)[:2], {"keep": [1, 0, 1]}, "keep must have 2 numbers, got shape (3,)"),
    (Z, [0, 1], {"class_names": ["a"]}, "class_names must have 3 entries, got 1"),
    (Z, [0, 1], {"row_names": ["a"]}, "row_names must have 2 entries, got 1"),
    (Z, [0, 1], {"reduction": "average"}, "reduction must be one of mean, sum, none, got 'average'"),
    (Z, [0, 1], {"convention": "pytorch"}, "unknown convention 'pytorch'. Did you mean 'torch'?"),
    (Z, [0, 1], {"convention": "keras.BinaryCrossentropy"}, "the target 'binary' is not a softmax target"),
    (Z, [0, 1], {"convention": "joeynmt"}, "'joeynmt' leaves out a padding class: give its number as ignore_index, got -100"),
    (Z, [0, 1], {"convention": "joeynmt", "ignore_index": 3}, "give its number as ignore_index, got 3"),
    (Z, [0, 1], {"convention": "fairseq", "prior": [0.5, 0.5, 0.0]}, "'others' does not take a prior"),
    (Z, np.eye(3)[:2], {"convention": "fairseq"}, "'others' does not take soft labels"),
    (Z, [0, 1], {"convention": "fairseq", "class_mask": [1, 1, 0]}, "'others' does not take masked classes"),
    (Z, [0, 1], {"convention": "espnet", "weight": [1, 1, 1]}, "KL is defined here for unweighted targets"),
]  # fmt: skip


@pytest.mark.parametrize(("logits", "labels", "options", "says"), REFUSALS)
def test_a_batch_that_does_not_fit_is_refused(logits: Any, labels: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as refused:
        trace(logits, labels, **options)
    assert "\n" not in str(refused.value)


def test_what_fits_is_not_refused() -> None:
    """The refusals above refuse for what they say: without the fault, each batch is taken."""
    trace(Z, [0, 1])
    trace(Z, [0.0, 1.0])
    trace(Z, np.eye(3)[:2], keep=[1, 0])
    trace(Z, [0, 1], [0.0, 1.0], weight=[0, 1, 2], prior=[0, 0.5, 0.5], class_mask=[[1, 1, 0], [1, 1, 1]])
    trace(Z, np.eye(3, dtype=np.float32)[:2], class_names=["a", "b", "c"], row_names=["x", "y"])
    assert sum(1 for _ in all_examples()) > 400
