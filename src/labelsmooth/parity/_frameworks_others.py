"""The frameworks whose arrays or gradients are not PyTorch's, or that have none: Keras, JAX, scikit-learn."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

import numpy as np

from labelsmooth.maths.trace import Problem

from ._frameworks_run import Result, asked, quiet, run

AVERAGED = {"none": "none", "sum": "sum", "mean": "sum_over_batch_size"}  # torch's words in Keras


def keras(problem: Problem, dtype: str = "float32") -> Result:
    """`keras.losses.CategoricalCrossentropy` on the torch backend; class weights arrive as weights of the rows.

    On that backend its mean is float32 in any dtype.
    """
    with quiet(**({} if "keras" in sys.modules else {"KERAS_BACKEND": "torch"})):
        import keras

    if keras.backend.backend() != "torch":
        why = f"it runs on {keras.backend.backend()} in this process: start Python with KERAS_BACKEND=torch"
        return Result("keras", keras.__version__, dtype, reason=why)
    b = asked(problem, dtype)
    weights = None if b.weight is None else b.weight[b.labels]  # (N,)

    def loss(z: Any, reduction: str) -> Any:
        words = {"from_logits": True, "label_smoothing": b.epsilon, "reduction": AVERAGED[reduction]}
        return keras.losses.CategoricalCrossentropy(**words)(b.target, z, sample_weight=weights)

    return run("keras", keras.__version__, b, loss)


def optax(problem: Problem, dtype: str = "float64") -> Result:
    """`optax.smooth_labels` and `optax.softmax_cross_entropy`; the gradient is JAX's."""
    with quiet():
        import jax
        import optax

    case, given = problem.case, problem.given
    target = given["soft_label"] if case.soft else np.eye(int(given["n_classes"]))[given["label"]]
    epsilon = given["epsilon"][:, None] if case.smoothing else given["epsilon"]
    with jax.enable_x64(True):
        labels = optax.smooth_labels(jax.numpy.asarray(target), jax.numpy.asarray(epsilon))

        def rows(z: Any) -> Any:
            return optax.softmax_cross_entropy(z, labels)  # (N,)

        def loss(z: Any) -> Any:
            return rows(z).mean() if case.reduction == "mean" else rows(z).sum()

        z = jax.numpy.asarray(np.asarray(given["logits"], dtype))
        row_loss, gradient = np.asarray(rows(z)), np.asarray(jax.grad(loss)(z))
        whole = None if case.reduction == "none" else float(loss(z))
    return Result("optax", version("optax"), dtype, row_loss, whole, gradient)


def sklearn(problem: Problem, dtype: str = "float64") -> Result:
    """`sklearn.metrics.log_loss`: without smoothing, from probabilities; class weights arrive as weights of the rows."""
    with quiet():
        from sklearn.metrics import log_loss

    case, given = problem.case, problem.given
    z, y = np.asarray(given["logits"], dtype), np.asarray(given["label"], np.int64)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)  # (N, K)
    w = np.ones(len(y)) if case.weighting is None else np.asarray(given["class_weight"], np.float64)[y]

    def loss(part: slice, *, mean: bool) -> float:
        return float(log_loss(y[part], p[part], normalize=mean, sample_weight=w[part], labels=np.arange(z.shape[1])))

    rows = np.array([loss(slice(n, n + 1), mean=False) for n in range(len(y))])
    whole = None if case.reduction == "none" else loss(slice(None), mean=case.reduction == "mean")
    return Result("scikit-learn", version("scikit-learn"), dtype, rows, whole)
