"""Train with our loss in other people's training loops and say how far that is from what is on record.

python scripts/record_loops.py              say it, and exit 1 where one has moved
python scripts/record_loops.py --record     say it, then write tests/golden/loops/NAME.json where one has moved or is new

A record holds what a framework did with our loss on a problem so small that a test can do the same by hand: a linear model
that starts at zero, without shuffling. So the ordinary tests hold our side of each loop where no framework is installed.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelsmooth import LabelSmoothingCrossEntropy, compute_loss_func, cross_entropy
from labelsmooth.parity.judge import TOLERANCE

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "loops"
FEATURES, CLASSES, ROWS, TRAINING, BATCH, EPOCHS, RATE = 6, 4, 24, 16, 8, 2, 0.5
WORDS, LENGTH = 7, 5
NAMES = ("ant", "bee", "cat", "dog")


def problem() -> tuple[Tensor, Tensor]:
    """Features, (24, 6), and labels, (24,): the first 16 train, the others validate."""
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, FEATURES)).round(2)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(random.integers(0, CLASSES, ROWS))


def sentences() -> tuple[Tensor, Tensor]:
    """Tokens, (8, 5), and labels, the same with −100 at the start, which nothing predicts, and in the padding."""
    tokens = torch.tensor(np.random.default_rng(1).integers(0, WORDS, (8, LENGTH)))
    labels = tokens.clone()
    labels[:, 0] = -100
    for row, length in enumerate([5, 2, 3, 5, 4, 2, 5, 3]):
        labels[row, length:] = -100
    return tokens, labels


def linear() -> nn.Linear:
    """The model: linear, from zero."""
    model = nn.Linear(FEATURES, CLASSES)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model


class Table(nn.Module):
    """A language model of one table: the logits of the next word, by the word."""

    loss_type = "ForCausalLM"  # by this Trainer knows that the first label is not predicted

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, WORDS)
        nn.init.zeros_(self.table.weight)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:  # noqa: ARG002
        """Give the logits; the labels stand here because Trainer looks for them in the signature."""
        return {"logits": self.table(input_ids)}


# The loops, a function each: what they give by its name --------------------------------------------------------------


def fastai() -> dict[str, Any]:
    """A `Learner`: training, probabilities, predictions, and one batch under MixUp."""
    from fastai.basics import SGD, Callback, Categorize, Datasets, Learner
    from fastai.callback.mixup import MixUp

    x, y = problem()
    rows = [list(range(TRAINING)), list(range(TRAINING, ROWS))]
    items = [[x.__getitem__], [lambda i: NAMES[int(y[i])], Categorize(vocab=NAMES)]]
    data = Datasets(list(range(ROWS)), items, splits=rows).dataloaders(bs=BATCH, num_workers=0)
    data.train.shuffle = False
    learner = Learner(
        data, linear(), LabelSmoothingCrossEntropy(0.1), opt_func=SGD, metrics=cross_entropy, train_bn=False
    )
    seen: dict[str, Any] = {}

    class Look(Callback):  # type: ignore[misc]  # fastai has no types
        def after_loss(self) -> None:
            mixup = getattr(self.learn, "mix_up", None)
            if mixup is not None and self.training and not seen:
                seen.update(logits=self.pred, label=self.y, other=mixup.yb1[0], share=mixup.lam, loss=self.loss_grad)

    with learner.no_logging():
        learner.fit(EPOCHS, lr=RATE, wd=0.0)
        weight, values = learner.model.weight.detach().clone(), learner.recorder.values[-1]
        probabilities, _, decoded = learner.get_preds(with_decoded=True)
        name, index, row = learner.predict(TRAINING)
        torch.manual_seed(0)
        learner.fit(1, lr=RATE, wd=0.0, cbs=[MixUp(0.4), Look()])
    if name != NAMES[int(index)]:
        raise ValueError(f"fastai predicts {name!r} for class {int(index)}")
    return {
        "weight": weight, "valid_loss": values[1], "plain_loss": values[2], "probabilities": probabilities,
        "decoded": decoded, "predicted": index, "predicted_probabilities": row,
        **{f"mixup_{word}": value for word, value in seen.items()},
    }  # fmt: skip


def transformers() -> dict[str, Any]:
    """A `Trainer` that accumulates gradients over ragged sentences, and its own `LabelSmoother` with a shift."""
    from transformers import PrinterCallback, Trainer, TrainingArguments
    from transformers.trainer_pt_utils import LabelSmoother

    tokens, labels = sentences()
    rows = [{"input_ids": t, "labels": y} for t, y in zip(tokens, labels, strict=True)]
    model = Table()
    with tempfile.TemporaryDirectory() as folder:
        words: dict[str, Any] = {
            "output_dir": folder, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "optim": "sgd",
            "num_train_epochs": EPOCHS, "learning_rate": RATE, "lr_scheduler_type": "constant", "max_grad_norm": 0.0,
            "train_sampling_strategy": "sequential", "remove_unused_columns": False, "logging_steps": 1, "use_cpu": True,
            "report_to": [], "disable_tqdm": True, "save_strategy": "no", "log_level": "error",
        }  # fmt: skip
        loss = compute_loss_func(0.1, shift_labels=True)
        trainer = Trainer(
            model, TrainingArguments(**words), train_dataset=rows, eval_dataset=rows, compute_loss_func=loss,
            preprocess_logits_for_metrics=lambda z, y: cross_entropy(z[:, :-1], y[:, 1:], class_dim=-1, reduction="none"),
            compute_metrics=lambda e: {"plain": float(e.predictions.sum() / (e.label_ids[:, 1:] != -100).sum())},
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        judged = trainer.evaluate()
    steps = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    logits = torch.tensor(np.random.default_rng(2).normal(size=(8, LENGTH, WORDS)).round(2), dtype=torch.float32)
    theirs = LabelSmoother(epsilon=0.1)({"logits": logits}, labels, shift_labels=True, num_items_in_batch=50)
    return {
        "weight": model.table.weight, "losses": steps, "valid_loss": judged["eval_loss"],
        "plain_loss": judged["eval_plain"], "smoother_logits": logits, "smoother_loss": theirs,
    }  # fmt: skip


def timm() -> dict[str, Any]:
    """`Mixup` of timm with and without its own smoothing, and its `SoftTargetCrossEntropy`."""
    mixup, loss = (_timm_file(name) for name in ("data/mixup.py", "loss/cross_entropy.py"))
    x, y = problem()
    targets = {}
    for name, smoothing in (("target", 0.1), ("unsmoothed", 0.0)):
        np.random.seed(0)  # noqa: NPY002  timm draws from it
        _, targets[name] = mixup.Mixup(mixup_alpha=0.4, label_smoothing=smoothing, num_classes=CLASSES)(x, y)
    logits = x @ torch.tensor(np.random.default_rng(3).normal(size=(FEATURES, CLASSES)).round(2), dtype=torch.float32)
    return {"logits": logits, **targets, "loss": loss.SoftTargetCrossEntropy()(logits, targets["target"])}


def _timm_file(name: str) -> Any:
    """A file of timm by its path: the package imports torchvision, which neither of these needs."""
    package = importlib.util.find_spec("timm")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("timm is not installed: make frameworks")
    place = importlib.util.spec_from_file_location(f"timm_{Path(name).stem}", Path(package.origin).parent / name)
    if place is None or place.loader is None:
        raise ModuleNotFoundError(f"timm has no {name}")
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def keras() -> dict[str, Any]:
    """`fit` on the torch backend, the loss a function of labels and logits."""
    import keras

    def smoothed(y_true: Tensor, y_pred: Tensor) -> Tensor:
        return cross_entropy(y_pred, y_true.long(), label_smoothing=0.1, reduction="none")

    x, y = (part.numpy() for part in problem())
    model = keras.Sequential([keras.layers.Input((FEATURES,)), keras.layers.Dense(CLASSES, kernel_initializer="zeros")])
    plain = keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="plain")
    model.compile(optimizer=keras.optimizers.SGD(RATE), loss=smoothed, metrics=[plain])
    valid = (x[TRAINING:], y[TRAINING:])
    words: dict[str, Any] = {"batch_size": BATCH, "epochs": EPOCHS, "shuffle": False, "verbose": 0}
    history = model.fit(x[:TRAINING], y[:TRAINING], validation_data=valid, **words).history
    kernel = keras.ops.convert_to_numpy(model.layers[0].kernel).T
    return {"weight": kernel, "valid_loss": history["val_loss"][-1], "plain_loss": history["val_plain"][-1]}


LOOPS = {"fastai": fastai, "transformers": transformers, "timm": timm, "keras": keras}

# The record ----------------------------------------------------------------------------------------------------------


def measure(name: str) -> dict[str, Any]:
    """Run a loop and give its record."""
    results = {key: _plain(value) for key, value in LOOPS[name]().items()}
    return {
        "framework": name,
        "versions": {p: version(p).partition("+")[0] for p in (name, "torch")},
        "results": results,
    }


def _plain(x: Any) -> Any:
    return np.asarray(x.detach() if isinstance(x, Tensor) else x).tolist()


def moved(now: dict[str, Any], then: dict[str, Any]) -> list[str]:
    """What is not as it was, a line each."""
    new, old = now["results"], then["results"]
    if new.keys() != old.keys():
        return [f"{sorted(new.keys() ^ old.keys())} came or went"]
    out = []
    for name in new:
        x, y = np.asarray(new[name], np.float64), np.asarray(old[name], np.float64)
        if x.shape != y.shape or not np.all(np.abs(x - y) <= TOLERANCE["float32"] * np.maximum(1, np.abs(y))):
            out.append(f"{name} has moved")
    return out


def main() -> int:
    """Measure, say, and write where asked."""
    worst = 0
    for name in LOOPS:
        now, target = measure(name), GOLDEN / f"{name}.json"
        known = target.is_file()
        faults = moved(now, json.loads(target.read_text(encoding="utf-8"))) if known else ["nothing is on record"]
        sys.stdout.write(f"{name} {now['versions'][name]}: {'; '.join(faults) or 'as recorded'}\n")
        if faults and "--record" in sys.argv:
            lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in now["results"].items()]
            head = [f" {json.dumps(key)}: {json.dumps(now[key])}" for key in ("framework", "versions")]
            body = ",\n".join([*head, ' "results": {\n' + ",\n".join(lines) + "\n }"])
            target.write_text("{\n" + body + "\n}\n", encoding="utf-8")
        elif faults:
            worst = 1
    return worst


if __name__ == "__main__":
    sys.exit(main())
