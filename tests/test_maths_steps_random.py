"""Random batches: what holds for the examples holds for anybody's numbers."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

from agree import FLOAT64, agree
from cases import SOFTMAX_FAMILIES
from labelsmooth.maths.conventions import FAMILIES, NOT_PADDING, WEIGHTINGS
from labelsmooth.maths.convert import convert
from labelsmooth.maths.trace import smooth_labels, trace

MANY = settings(max_examples=60, deadline=None, derandomize=True)
EPSILON = st.floats(0, 0.5)
FAMILY = st.sampled_from([name for name in SOFTMAX_FAMILIES if FAMILIES[name].over != NOT_PADDING])


@st.composite
def batches(draw: st.DrawFn, size: float = 50.0) -> tuple[np.ndarray, np.ndarray]:
    rows, classes = draw(st.integers(1, 6)), draw(st.integers(2, 9))
    numbers = st.lists(st.floats(-size, size), min_size=classes, max_size=classes)
    logits = draw(st.lists(numbers, min_size=rows, max_size=rows))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    return np.array(logits), np.array(labels)


@MANY
@given(batches(), EPSILON, FAMILY)
def test_the_loss_is_the_sum_of_target_times_log_softmax(
    batch: tuple[np.ndarray, np.ndarray], epsilon: float, family: str
) -> None:
    logits, labels = batch
    classes = logits.shape[1]
    run = trace(logits, labels, epsilon, convention=family)
    on, off = FAMILIES[family].on_off(epsilon, classes)
    target = np.where(np.arange(classes) == labels[:, None], on, off)
    log_softmax = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    agree(run.row_loss, -(target * log_softmax).sum(axis=1), budget=FLOAT64, what="row loss")
    push = np.exp(log_softmax) * target.sum(axis=1, keepdims=True) - target
    agree(run.gradient, push / len(labels), budget=FLOAT64, what="gradient")
    agree(smooth_labels(labels, classes, epsilon, convention=family), target, budget=FLOAT64, what="target")


@MANY
@given(batches(1e4), EPSILON, FAMILY, st.sampled_from(["", *WEIGHTINGS]), st.randoms(use_true_random=False))
def test_the_loss_is_finite_above_its_floor_and_pushes_in_balance(
    batch: tuple[np.ndarray, np.ndarray], epsilon: float, family: str, meaning: str, random: object
) -> None:
    logits, labels = batch
    weight = [random.uniform(0.1, 5) for _ in range(logits.shape[1])] if meaning else None  # type: ignore[attr-defined]
    run = trace(logits, labels, epsilon, convention=family, weight=weight, weighting=meaning or "torch")
    assert np.isfinite(run.loss)
    slack = FLOAT64 * (1 + np.abs(run.row_loss))
    if FAMILIES[family].on_off(epsilon, logits.shape[1])[0] > 0:  # below 0 there is no floor
        assert np.all(run.row_excess >= -slack)
    agree(run.gradient.sum(axis=1), np.zeros(len(labels)), budget=FLOAT64, what="gradient")
    agree(run.mixture, run.row_loss, budget=FLOAT64, what="decomposition")


@MANY
@given(st.floats(0, 0.5), st.integers(2, 1000))
def test_what_fairseq_smooths_torch_smooths_by_more(epsilon: float, classes: int) -> None:
    found = convert(epsilon, source="fairseq", target="torch", num_classes=classes)
    agree(found.label_smoothing, epsilon * classes / (classes - 1), budget=FLOAT64, what="ε")
    assert found.exact
