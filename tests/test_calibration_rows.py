"""What is kept of each row: against the plain formulas, in blocks, and at the ends of what logits may be."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from agree import FLOAT32, FLOAT64, agree
from labelsmooth.calibration import rows as module
from labelsmooth.calibration.rows import NORMS, Rows, observe, observe_blocks, rows_of


def plain(z: np.ndarray, y: np.ndarray, T: float = 1.0) -> dict[str, Any]:
    """The formulas, a row at a time."""
    out: dict[str, list[float]] = {}
    for row, label in zip(z.astype(float), y, strict=True):
        p = np.exp(row / T - (row / T).max())
        p /= p.sum()
        ordered = sorted(range(len(row)), key=lambda k: (-row[k], k))
        one = np.eye(len(row))[label]
        centred = row - row.mean()
        facts = {
            "label": label,
            "predicted": ordered[0],
            "rank": ordered.index(label),
            "confidence": p.max(),
            "label_log_probability": np.log(p[label]),
            "lse": np.log(np.exp(row / T).sum()),
            "gap": row[ordered[0]] - row[ordered[1]],
            "brier": ((p - one) ** 2).sum(),
            "norm_scores": [centred.max() / (np.abs(centred) ** q).sum() ** (1 / q) for q in NORMS],
        }
        for key, value in facts.items():
            out.setdefault(key, []).append(value)
    return {key: np.array(value) for key, value in out.items()}


def same(got: Rows, expected: dict[str, Any]) -> None:
    for field in fields(Rows):
        budget = FLOAT32 if field.name == "norm_scores" else FLOAT64
        agree(getattr(got, field.name), expected[field.name], budget=budget, what=field.name, any_dtype=True)


@pytest.mark.parametrize("classes", [2, 3, 1774])
def test_the_facts_are_those_of_the_formulas(classes: int) -> None:
    random = np.random.default_rng(classes)
    z, y = random.normal(size=(7, classes)) * 4, random.integers(0, classes, 7)
    z[3] = np.round(z[3])  # with ties, where there are classes enough
    same(rows_of(z, y), plain(z, y))
    same(rows_of(z, y, 2.5), plain(z, y, 2.5))


def test_one_row_and_one_class_only() -> None:
    same(rows_of(np.array([[1.0, 2.0]]), np.array([0])), plain(np.array([[1.0, 2.0]]), np.array([0])))
    z, y = np.random.default_rng(0).normal(size=(9, 4)), np.full(9, 2)
    same(rows_of(z, y), plain(z, y))


def test_blocks_give_what_all_rows_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    z, y, t = random.normal(size=(50, 6)), random.integers(0, 6, 50), random.uniform(0.5, 2, 50)
    whole = observe(z, y, t)
    monkeypatch.setattr(module, "BLOCK", 6 * 7)
    for parts in (observe(z, y, t), observe_blocks([(z[:20], y[:20]), (z[20:21], y[20:21]), (z[21:], y[21:])], t)):
        same(parts.rows, {f.name: getattr(whole.rows, f.name) for f in fields(Rows)})
        for name in ("count", "probability", "hits"):
            agree(getattr(parts.classes, name), getattr(whole.classes, name), budget=FLOAT64, what=name)


def test_a_class_at_minus_infinity_is_no_class() -> None:
    z = np.array([[2.0, -np.inf, 1.0], [-np.inf, 0.0, -np.inf]])
    got, two = rows_of(z, [0, 1]), rows_of(z[:1, [0, 2]], [0])
    for name in ("confidence", "lse", "gap", "brier", "norm_scores"):
        agree(getattr(got, name)[:1], getattr(two, name), budget=FLOAT64, what=name)
    assert got.gap[1] == np.inf
    assert got.confidence[1] == 1.0
    assert np.isfinite(got.norm_scores).all()
    assert rows_of(z, [1, 1]).label_log_probability[0] == -np.inf


def test_half_precision_and_huge_logits_are_computed_in_float64() -> None:
    z = np.array([[10.5, -3.25, 0.5]], dtype=np.float16)
    same(rows_of(z, np.array([0])), plain(z, np.array([0])))
    huge = rows_of([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], [0, 0])
    assert huge.confidence.tolist() == [1.0, 1.0]
    agree(huge.label_log_probability, [0.0, -2e4], budget=FLOAT64, what="log p of the label")
    assert np.isfinite(huge.norm_scores).all()


@pytest.mark.parametrize(
    ("logits", "labels", "says"),
    [
        ([[0.0, 1.0], [np.nan, 1.0]], [0, 0], "row 2 of the logits holds NaN or infinity"),
        ([[0.0, 1.0], [np.inf, 1.0]], [0, 0], "row 2 of the logits holds NaN or infinity"),
        ([[0.0, 1.0], [-np.inf, -np.inf]], [0, 0], "row 2 of the logits is -inf in every class"),
        ([[0.0, 1.0]], [2], "row 1: label 2 is no class, 0 to 1 are"),
        ([[0.0, 1.0]], [-100], "row 1: label -100 is no class"),
        ([[0.0, 1.0]], [0, 1], "1 rows of logits need as many labels"),
        ([[0.0, 1.0]], [0.5], "labels must be whole numbers, got float64"),
        (np.zeros((0, 3)), np.zeros(0, int), "there are no rows"),
        ([[0.0], [1.0]], [0, 0], r"shape \(N, K\) with K >= 2"),
        ([["a", "b"]], [0], "logits must be numbers"),
    ],
)
def test_what_cannot_be_measured_is_one_line(logits: Any, labels: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        rows_of(logits, labels)


def test_a_row_of_a_later_block_is_counted_from_the_first() -> None:
    good = (np.zeros((3, 2)), np.zeros(3, int))
    with pytest.raises(ValueError, match="row 5 of the logits"):
        observe_blocks([good, (np.array([[0, 1], [np.nan, 1]]), np.zeros(2, int))])
    with pytest.raises(ValueError, match="the same number of classes"):
        observe_blocks([good, (np.zeros((3, 3)), np.zeros(3, int))])
    with pytest.raises(ValueError, match="there are no rows"):
        observe_blocks([])
