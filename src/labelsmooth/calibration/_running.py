"""Runs the study's trainings: each in a process of its own, each result a file, so that an interrupt costs one run.

A file is written whole or not at all, carries the settings that it is the result of, and has their digest in its name: a run
with other settings is another file. What is there and fits is not computed again.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from labelsmooth.errors import InputError, MissingExtra
from labelsmooth.files.write import write_atomically

from . import _outcome
from ._plan import TEMPERATURES, Run
from .datasets import Data, Rows, Split, load, noisy, split

SCHEMA = 1
Record = dict[str, Any]


class Stopped(Exception):
    """The study was interrupted while this run was training."""


def carry_out(run: Run, data: Data, check: Callable[[], None] = lambda: None, keep: Path | None = None) -> Record:
    """Trains and measures one run.

    Args:
        run: which.
        data: the set it trains on.
        check: called after each epoch; what it raises ends the run.
        keep: a folder that gets the logits of its test and validation rows, an input of `labelsmooth calibrate`.

    Returns:
        Settings, measures, curves and the seconds of processor time that it took.
    """
    from ._training import train

    started = time.process_time()
    with _one_thread():
        drawn = split(data, train=run.group.train, seed=run.seed)
        wrong = noisy(drawn.train.labels, data.classes, run.group.noise, run.seed)
        trained = train(Rows(drawn.train.inputs, wrong), data.classes, run.recipe, run.seed, check=check)
        answer = (trained.logits(drawn.validation.inputs), trained.logits(drawn.test.inputs))
        seen = trained.logits(drawn.train.inputs)
        labels = (drawn.validation.labels, drawn.test.labels)
        record: Record = {
            "schema_version": SCHEMA,
            "settings": run.settings(),
            "source": data.source,
            "classes": data.classes,
        }
        record["measures"] = _outcome.measured(answer, *labels) | {
            "train_accuracy": float((seen.argmax(axis=1) == wrong).mean()),
            "spread_train": _outcome.spread(seen, drawn.train.labels),
            "spread_test": _outcome.spread(answer[1], labels[1]),
            "spread_penultimate": _outcome.spread(trained.penultimate(drawn.train.inputs), drawn.train.labels),
        }
        if run.group.noise:
            mistaken = noisy(labels[0], data.classes, run.group.noise, run.seed)
            record["measures"] |= _outcome.with_wrong_labels(answer, mistaken, labels[1])
        if run.seed == 0:
            record["curves"] = _outcome.curves(answer, *labels) | {"gaps_train": _outcome.histogram(_gap(seen))}
            if data.name == "fashion":
                record["curves"]["projection"] = _outcome.projection(trained, drawn.train)
        if run.group.student:
            record["students"] = _students(run, data, drawn, trained.logits, check)
    if keep:
        _keep(keep, run, answer, labels)
    record["seconds"] = round(time.process_time() - started, 2)
    record["versions"] = _versions()
    rounded: Record = _rounded(record)
    return rounded


def _gap(logits: Any) -> Any:
    top = np.partition(logits, -2, axis=1)[:, -2:]
    return top[:, 1] - top[:, 0]


def _students(run: Run, data: Data, drawn: Split, teach: Callable[[Any], Any], check: Callable[[], None]) -> Record:
    """Students of one teacher at each temperature, and one that learns from the labels instead."""
    from ._training import distilled, train

    recipe = run.group.student
    assert recipe is not None  # noqa: S101  for the type checker: the caller has asked
    both = split(data, train=run.group.train + run.group.transfer, seed=run.seed)
    rows = both.train.take(np.arange(run.group.train, len(both.train)))  # those that the teacher has not seen
    said = teach(rows.inputs)
    found = {}
    for temperature in (None, *TEMPERATURES):
        target = None if temperature is None else distilled(said, temperature)
        warmed = recipe if temperature is None else replace(recipe, temperature=temperature)
        student = train(rows, data.classes, warmed, run.seed, teacher=target, check=check)
        answer = (student.logits(drawn.validation.inputs), student.logits(drawn.test.inputs))
        word = "labels" if temperature is None else f"T={temperature:g}"
        found[word] = _outcome.measured(answer, drawn.validation.labels, drawn.test.labels)
    return found


def _keep(folder: Path, run: Run, answer: _outcome.Answer, labels: tuple[Any, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for logits, given, ending in zip(answer, labels, (".validation", ""), strict=True):
        with write_atomically(folder / f"{run.name}{ending}.npz", force=True) as temporary:
            np.savez_compressed(temporary, logits=logits, labels=given)


def _versions() -> dict[str, str]:
    import torch

    from labelsmooth._version import __version__

    return {"labelsmooth": __version__, "torch": torch.__version__, "numpy": np.__version__}


def _rounded(value: Any) -> Any:
    """Six digits of each number: more would be noise and bytes."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# Files ---------------------------------------------------------------------------------------------------------------


def record_of(run: Run, folder: Path) -> Record | None:
    """The result of a run, if it is there, whole, and of these settings."""
    path = folder / f"{run.name}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(record, dict) and record.get("schema_version") == SCHEMA and "measures" in record
    return record if whole and record.get("settings") == json.loads(json.dumps(run.settings())) else None


def _write(record: Record, run: Run, folder: Path) -> None:
    with write_atomically(folder / f"{run.name}.json", force=True) as temporary:
        temporary.write_text(json.dumps(record, separators=(",", ":")) + "\n", encoding="utf-8")


# Processes -----------------------------------------------------------------------------------------------------------


def complete(
    runs: Sequence[Run],
    folder: Path,
    *,
    jobs: int,
    data_folder: Path | None = None,
    keep: Path | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> list[Record]:
    """Gives the record of every run, training those that are not there.

    Args:
        runs: which.
        folder: holds a file a run.
        jobs: how many at a time; one is done in this process.
        data_folder: where Fashion-MNIST lies.
        keep: a folder for the logits.
        progress: called with the share that is done.

    Raises:
        KeyboardInterrupt: the runs that had finished are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [run for run in runs if record_of(run, folder) is None]
    for name in {run.group.data for run in missing}:
        load(name, data_folder)  # here first, so that what is missing is said once and at once
    total = sum(run.group.seconds for run in runs) or 1.0
    done = total - sum(run.group.seconds for run in missing)
    progress(done / total)
    work = [(run, folder, data_folder, keep) for run in missing]
    for run in _here(work) if jobs == 1 or len(work) < 2 else _in_processes(work, min(jobs, len(work))):
        done += run.group.seconds
        progress(done / total)
    records = [record_of(run, folder) for run in runs]
    if None in records:
        raise InputError(f"{folder}: a result has vanished while the study ran; run it again")
    return [record for record in records if record is not None]


Work = tuple[Run, Path, Path | None, Path | None]


def _do(work: Work, check: Callable[[], None]) -> Run:
    run, folder, data_folder, keep = work
    _write(carry_out(run, load(run.group.data, data_folder), check, keep), run, folder)
    return run


def _here(work: Sequence[Work]) -> Iterator[Run]:
    for one in work:
        yield _do(one, lambda: None)


_stop: Any = None  # in a worker: the event that tells it to give up


def _begin(stop: Any) -> None:
    global _stop  # noqa: PLW0603  a worker process has no other place
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent decides


def _in_worker(work: Work) -> Run:
    def check() -> None:
        if _stop.is_set():
            raise Stopped

    check()
    return _do(work, check)


def _in_processes(work: Sequence[Work], jobs: int) -> Iterator[Run]:
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads
    stop = context.Event()
    with ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(stop,)) as pool:
        waiting: set[Future[Run]] = {pool.submit(_in_worker, one) for one in work}
        try:
            while waiting:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for one in finished:
                    yield one.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a training process was killed (for want of memory?): finished runs are kept; run it again with fewer --jobs"
            ) from error
        except BaseException:  # an interrupt or a failed run: the others stop after their epoch
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def require_torch() -> None:
    """Says which line installs PyTorch, where it is missing."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra("PyTorch", "torch", "training networks") from error
