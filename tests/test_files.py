"""Files in, files out: every format gives the same batch, every fault one line that names file, row and column."""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import pickle
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, agree
from labelsmooth.errors import InputError, MissingExtra
from labelsmooth.files import Batch, _guard, read_batch, read_vector, write_atomically

# Quarters are exact in every float type, bfloat16 included. The third row is ignored.
Z = np.array([[2.5, -0.75, 0.25], [-1.0, 3.5, 0.0], [0.5, 0.25, -4.0], [1.0, 2.0, 3.0]])
Y = np.array([0, 1, -100, 2])
CLASSES = ("cat", "dog", "eel")
NUMBERED = ("0", "1", "2")
IDS = ("a", "b", "c", "d")
UNNAMED = tuple(f"row {n}" for n in range(1, 5))
NAMED_LABELS = ("cat", "dog", "", "eel")

Z_LISTS, Y_LIST = Z.tolist(), Y.tolist()


def table(
    separator: str = ",", *, point: str = ".", end: str = "\n", labels: Any = NAMED_LABELS, **options: Any
) -> str:
    """Give the batch as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator=end, **options)
    writer.writerow(["id", *CLASSES, "Label"])
    for name, row, label in zip(IDS, Z_LISTS, labels, strict=True):
        writer.writerow([name, *[str(z).replace(".", point) for z in row], label])
    return out.getvalue()


def rows_of_objects() -> list[dict[str, Any]]:
    return [
        {"id": name, **dict(zip(CLASSES, row, strict=True)), "label": label or None}
        for name, row, label in zip(IDS, Z_LISTS, NAMED_LABELS, strict=True)
    ]


def rows_of_lists() -> list[dict[str, Any]]:
    return [{"logits": row, "label": label} for row, label in zip(Z_LISTS, Y_LIST, strict=True)]


def json_lines(rows: list[Any]) -> str:
    return "\n".join(map(json.dumps, rows)) + "\n\n"


def workbook(path: Path, *sheets: list[list[Any]]) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, rows in enumerate(sheets, 1):
        sheet = book.create_sheet(f"Sheet {number}")
        for row in rows:
            sheet.append(row)
    book.save(path)


def sheet_rows() -> list[list[Any]]:
    head = ["id", *CLASSES, "label"]
    return [head, *[[n, *row, y or None] for n, row, y in zip(IDS, Z_LISTS, NAMED_LABELS, strict=True)]]


def safetensors(path: Path, dtype: str) -> None:
    pytest.importorskip("safetensors")
    from safetensors.numpy import save_file

    if dtype != "bfloat16":
        save_file({"logits": Z.astype(dtype), "labels": Y}, path)
        return
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_tensors

    save_tensors({"logits": torch.tensor(Z, dtype=torch.bfloat16), "labels": torch.tensor(Y)}, path)


def torch_file(path: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    logits = torch.tensor(Z, dtype=getattr(torch, dtype), requires_grad=True)
    torch.save({"logits": logits, "labels": torch.tensor(Y), "class_names": list(CLASSES)}, path)


def bare_tensor(path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.tensor(Z), path)


def parquet(path: Path, columns: dict[str, Any]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as writer

    writer.write_table(pyarrow.table(columns), path)


COLUMNS = {"id": IDS, **dict(zip(CLASSES, Z.T, strict=True)), "label": ["cat", "dog", None, "eel"]}


def text(content: str, encoding: str = "utf-8") -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content.encode(encoding)) and None


NAMED: list[tuple[str, str, Callable[[Path], None]]] = [
    ("commas", ".csv", text(table())),
    ("numbers as labels", ".csv", text(table(labels=["0", "1.0", "-100", "2"]))),
    ("the word ignored", ".csv", text(table(labels=["cat", "dog", "Ignored", "eel"]))),
    ("names and numbers as labels", ".csv", text(table(labels=["cat", "1", "nan", "2"]))),
    ("decimal commas", ".csv", text(table(";", point=","))),
    ("semicolons and points", ".csv", text(table(";"))),
    ("tabs", ".tsv", text(table("\t"))),
    ("tabs and decimal commas", ".csv", text(table("\t", point=","))),
    ("bars", ".csv", text(table("|"))),
    ("carriage returns", ".csv", text(table(end="\r\n"))),
    ("carriage returns alone", ".csv", text(table(end="\r"))),
    ("quotes", ".csv", text(table(quoting=csv.QUOTE_ALL))),
    ("spaces after commas", ".csv", text(table().replace(",", ", "))),
    ("spaces before quotes", ".csv", text(table(quoting=csv.QUOTE_ALL).replace(",", ", "))),
    ("blank last lines", ".csv", text(table() + "\n\n,,,,\n\n")),
    ("nameless empty last column", ".csv", text(table(end=",\n"))),
    ("byte-order mark", ".csv", text(table(), "utf-8-sig")),
    ("UTF-16", ".csv", text(table("\t"), "utf-16")),
    ("upper-case suffix", ".CSV", text(table())),
    ("rows of objects", ".json", text(json.dumps(rows_of_objects()))),
    ("objects in lines", ".jsonl", text(json_lines(rows_of_objects()))),
    ("lines in .json", ".json", text(json_lines(rows_of_objects()))),
    (
        "arrays of JSON",
        ".json",
        text(json.dumps({"logits": Z_LISTS, "labels": Y_LIST, "class_names": CLASSES, "ids": IDS})),
    ),
    (
        "arrays of JSON, labels by name",
        ".json",
        text(json.dumps({"predictions": Z_LISTS, "y": NAMED_LABELS, "class_names": CLASSES, "row_names": IDS})),
    ),
    ("npz", ".npz", lambda path: np.savez(path, logits=Z, labels=Y, class_names=CLASSES, id=IDS)),
    (
        "npz with words as labels",
        ".npz",
        lambda path: np.savez(path, logits=Z, labels=NAMED_LABELS, class_names=CLASSES, id=IDS),
    ),
    ("sheet", ".xlsx", lambda path: workbook(path, sheet_rows())),
    ("second sheet", ".xlsx", lambda path: workbook(path, [["notes"], ["of the day"]], [[], *sheet_rows()])),
    ("columns of Parquet", ".parquet", lambda path: parquet(path, COLUMNS)),
]

PLAIN: list[tuple[str, str, Callable[[Path], None]]] = [
    ("npz", ".npz", lambda path: np.savez(path, logits=Z, labels=Y)),
    ("npz as transformers names it", ".npz", lambda path: np.savez(path, predictions=Z, label_ids=Y)),
    ("compressed npz of float16", ".npz", lambda path: np.savez_compressed(path, logits=Z.astype("f2"), targets=Y)),
    ("npz with float labels", ".npz", lambda path: np.savez(path, logits=Z, labels=np.array([0, 1, np.nan, 2]))),
    ("npz with a column of labels", ".npz", lambda path: np.savez(path, logits=Z, labels=Y[:, None])),
    ("sequences", ".npz", lambda path: np.savez(path, logits=Z.reshape(2, 2, 3), labels=Y.reshape(2, 2))),
    ("an npz with objects that nobody asks for", ".npz", lambda path: np.savez(path, logits=Z, y=Y, o=np.array([{}]))),
    (
        "sequences of JSON",
        ".json",
        text(json.dumps({"logits": [Z_LISTS[:2], Z_LISTS[2:]], "labels": [[0, 1], [None, 2]]})),
    ),
    ("lists in lines", ".jsonl", text(json_lines(rows_of_lists()))),
    ("safetensors", ".safetensors", lambda path: safetensors(path, "float32")),
    ("safetensors of float16", ".safetensors", lambda path: safetensors(path, "float16")),
    ("safetensors of bfloat16", ".safetensors", lambda path: safetensors(path, "bfloat16")),
    ("lists of Parquet", ".parquet", lambda path: parquet(path, {"logits": Z_LISTS, "label": Y})),
]
TORCH = [
    (f"torch {dtype}", ".pt", lambda path, d=dtype: torch_file(path, d)) for dtype in ("float64", "half", "bfloat16")
]


def formats(cases: list[Any]) -> Any:
    return pytest.mark.parametrize(("suffix", "write"), [pytest.param(*case[1:], id=case[0]) for case in cases])


def same(batch: Batch, *, classes: tuple[str, ...], rows: tuple[str, ...]) -> None:
    agree(batch.logits, Z, budget=0.0, what="logits")
    assert batch.labels is not None
    agree(batch.labels, Y, budget=0.0, what="labels")
    assert batch.soft_labels is None
    assert (batch.class_names, batch.row_names) == (classes, rows)


def refused(path: str | Path, *, name: str | None = None, **options: Any) -> str:
    """Give the message of the refusal without the name of the file, which must stand in front, once."""
    with pytest.raises(InputError) as caught:
        read_batch(path, **options)
    return fault(str(caught.value), str(path) if name is None else name)


def fault(message: str, name: str) -> str:
    assert message.startswith(f"{name}: ")
    assert message.count(name) == 1
    assert len(message.splitlines()) == 1
    assert len(message) < 500 + len(name)
    return message.removeprefix(f"{name}: ")


def standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))


# Formats -------------------------------------------------------------------------------------------------------------


@formats(NAMED)
def test_every_format_with_names_gives_the_same_batch(
    suffix: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / f"batch{suffix}"
    write(path)
    batch = read_batch(path)
    same(batch, classes=CLASSES, rows=IDS)
    assert batch.source == str(path)


@formats(PLAIN)
def test_every_format_without_names_gives_the_same_batch(
    suffix: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / f"batch{suffix}"
    write(path)
    same(read_batch(path), classes=NUMBERED, rows=UNNAMED)


@formats(TORCH)
def test_tensors_of_every_width_give_the_same_batch(suffix: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / f"batch{suffix}"
    write(path)
    same(read_batch(path), classes=CLASSES, rows=UNNAMED)


@pytest.mark.parametrize(
    ("suffix", "write"),
    [
        (".npy", lambda path: np.save(path, Y)),
        (".npz", lambda path: np.savez(path, Y)),
        (".txt", text("0\n1\n\n2\n")),
        (".txt", text("label\r\n0\r\n1\r\n\r\n2\r\n")),
        (".csv", text("0\n1\n\n2\n")),
        (".csv", text("y\n0\n1\nignore\n2\n")),
        (".csv", text("name,target\na,0\nb,1\nc,\nd,2\n")),
        (".json", text(json.dumps(Y_LIST))),
        (".json", text(json.dumps({"labels": Y_LIST}))),
        (".json", text(json.dumps([{"label": y} for y in Y_LIST]))),
    ],
)
def test_labels_come_from_a_second_file(suffix: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", Z)
    labels = tmp_path / f"labels{suffix}"
    write(labels)
    same(read_batch(tmp_path / "logits.npy", labels=labels), classes=NUMBERED, rows=UNNAMED)


def test_labels_of_a_second_file_take_precedence_and_name_classes(tmp_path: Path) -> None:
    (tmp_path / "batch.csv").write_text(table(labels=["eel"] * 4))
    (tmp_path / "labels.txt").write_text("\n".join(NAMED_LABELS))
    same(read_batch(tmp_path / "batch.csv", labels=tmp_path / "labels.txt"), classes=CLASSES, rows=IDS)


def test_a_bare_tensor_or_a_headed_table_takes_labels_from_a_second_file(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", Y)
    (tmp_path / "a.csv").write_text("0,1,2\n" + "\n".join(",".join(map(str, row)) for row in Z_LISTS))
    same(read_batch(tmp_path / "a.csv", labels=tmp_path / "labels.npy"), classes=NUMBERED, rows=UNNAMED)
    bare_tensor(tmp_path / "a.pt")
    same(read_batch(tmp_path / "a.pt", labels=tmp_path / "labels.npy"), classes=NUMBERED, rows=UNNAMED)


@pytest.mark.parametrize("content", [table(), json.dumps(rows_of_objects()), "\n " + json_lines(rows_of_objects())])
def test_standard_input_is_csv_or_json_by_its_first_character(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    standard_input(monkeypatch, content.encode())
    batch = read_batch("-")
    same(batch, classes=CLASSES, rows=IDS)
    assert batch.source == "-"


def test_integer_logits_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", logits=np.array([[3, -1], [2**40, 0]]), labels=[0, 1])
    agree(read_batch(tmp_path / "a.npz").logits, [[3.0, -1.0], [2.0**40, 0.0]], budget=0.0, what="logits")


@pytest.mark.slow
def test_a_csv_survives_the_round_trip_with_any_separator(tmp_path: Path) -> None:
    hypothesis = pytest.importorskip("hypothesis")
    from hypothesis import strategies as st

    reserved = {"label", "target", "y", "id", "name", "image", "row"}
    odd = st.sampled_from(
        ["a\nb", 'say "cat"', "a;b", "a,b", "1,5", "a\tb", "a|b", "=1+1", "7", "nan", "q", "\u202eabc"]
    )
    name = (st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=8) | odd).map(
        str.strip
    )
    usable = name.filter(lambda n: n and n.lower() not in reserved and not n.startswith("q:"))

    @hypothesis.given(
        names=st.lists(usable, min_size=2, max_size=5, unique=True),
        separator=st.sampled_from(",;\t|"),
        end=st.sampled_from(["\n", "\r\n"]),
        quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        comma=st.booleans(),
        encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
        data=st.data(),
    )
    @hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    def survives(*, names: Any, separator: Any, end: Any, quoting: Any, comma: Any, encoding: Any, data: Any) -> None:
        number = st.floats(allow_nan=False, allow_infinity=False)
        row = st.tuples(st.sampled_from(names), st.lists(number, min_size=len(names), max_size=len(names)))
        rows = data.draw(st.lists(row, min_size=1, max_size=4))
        path = tmp_path / "batch.csv"
        with path.open("w", encoding=encoding, newline="") as file:
            writer = csv.writer(file, delimiter=separator, lineterminator=end, quoting=quoting)
            writer.writerow(["label", *names])
            for label, numbers in rows:
                shown = [repr(z).replace(".", "," if comma and separator != "," else ".") for z in numbers]
                writer.writerow([label, *shown])
        batch = read_batch(path, assume_logits=True)
        assert batch.class_names == tuple(names)
        assert batch.labels is not None
        assert batch.labels.tolist() == [names.index(label) for label, _ in rows]
        agree(batch.logits, [numbers for _, numbers in rows], budget=0.0, what="logits")

    survives()


def test_a_separator_inside_a_quoted_name_does_not_separate(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('c,"a;b"\n1.5,2.5\n3.5,4.5\n')
    np.save(tmp_path / "labels.npy", [0, 1])
    assert read_batch(tmp_path / "a.csv", labels=tmp_path / "labels.npy").class_names == ("c", "a;b")


@pytest.mark.parametrize("name", ['=HYPERLINK("http://x.test";"y")', "🐈\u200d⬛", "\u202eקטן", "x" * 40_000, "a\nb"])
def test_a_class_name_may_be_anything_and_stays_text(name: str, tmp_path: Path) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([["label", "other", name], [name, "1.5", "2.5"], ["other", "1", "2"]])
    (tmp_path / "a.csv").write_text(out.getvalue(), encoding="utf-8")
    batch = read_batch(tmp_path / "a.csv")
    assert batch.class_names == ("other", name)
    assert batch.labels is not None
    assert batch.labels.tolist() == [1, 0]
    (tmp_path / "a.csv").write_text(out.getvalue().replace("2.5", "oops"), encoding="utf-8")
    assert "'oops' is not a number" in refused(tmp_path / "a.csv")


# Labels, names and further columns -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "numbers"), [(["1", "3"], [0, 2]), (["0", "2"], [0, 2]), (["1", "2.0"], [1, 2]), (["", "3"], [-100, 2])]
)
def test_labels_of_classes_called_by_numbers_are_names_only_if_all_are(
    labels: list[str], numbers: list[int], tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("label,1,2,3\n" + "\n".join(f"{y},5.5,6.5,7.5" for y in labels))
    batch = read_batch(tmp_path / "a.csv")
    assert batch.labels is not None
    assert batch.labels.tolist() == numbers


def test_integer_labels_in_arrays_are_class_numbers_whatever_the_classes_are_called(tmp_path: Path) -> None:
    for path in (tmp_path / "a.json", tmp_path / "a.npz"):
        arrays = {"logits": [[5.5, 6.5, 7.5]] * 2, "labels": [1, 2], "class_names": ["1", "2", "3"]}
        path.write_text(json.dumps(arrays)) if path.suffix == ".json" else np.savez(path, **arrays)
        batch = read_batch(path)
        assert batch.labels is not None
        assert batch.labels.tolist() == [1, 2]


def test_a_class_called_like_an_ignored_label_is_a_class(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label,nan,cat\nnan,5,6\ncat,7,8\n")
    batch = read_batch(tmp_path / "a.csv")
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 1]


def test_the_letter_y_is_a_class_beside_a_label_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label,X,Y\nY,5.5,6.25\nX,7,8\n")
    assert read_batch(tmp_path / "a.csv").class_names == ("X", "Y")


def test_another_ignore_index_marks_ignored_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", logits=Z, labels=[0, -1, 1, 2])
    batch = read_batch(tmp_path / "a.npz", ignore_index=-1)
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, -1, 1, 2]
    assert "row 2: label -1 is negative" in refused(tmp_path / "a.npz")


SOFT = [[0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [0.0, 0.0, 1.0], [0.125, 0.375, 0.5]]


def test_soft_labels_come_from_arrays_and_from_q_columns_in_any_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", logits=Z, labels=SOFT)
    np.savez(tmp_path / "b.npz", logits=Z.reshape(2, 2, 3), labels=np.reshape(SOFT, (2, 2, 3)))
    head = "q:eel,q:cat,q:dog," + ",".join(CLASSES)
    rows = [",".join(map(str, (q[2], q[0], q[1], *z))) for q, z in zip(SOFT, Z_LISTS, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join([head, *rows]))
    for path in sorted(tmp_path.iterdir()):
        batch = read_batch(path)
        assert batch.labels is None
        agree(batch.soft_labels, np.array(SOFT), budget=0.0, what=path.name)
        agree(batch.logits, Z, budget=0.0, what=path.name)


def test_named_columns_are_no_classes_and_go_to_extra(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label;cat;mine;dog;yours\ncat;1,5;0,25;2;1\ndog;3;;4;inf\n")
    batch = read_batch(tmp_path / "a.csv", columns=("mine", "yours"))
    assert batch.class_names == ("cat", "dog")
    agree(batch.extra["mine"], np.array([0.25, np.nan]), budget=0.0, what="mine", nan_agrees=True)
    agree(batch.extra["yours"], np.array([1, np.inf]), budget=0.0, what="yours")
    agree(batch.logits, [[1.5, 2.0], [3.0, 4.0]], budget=0.0, what="logits")


def test_the_first_rows_keep_what_is_one_a_class(tmp_path: Path) -> None:
    extra = {"losses": np.arange(4.0), "weight": np.ones(3), "prior": np.full((4, 3), 1 / 3)}
    np.savez(tmp_path / "a.npz", logits=Z, labels=Y, **extra)
    whole = read_batch(tmp_path / "a.npz")
    first = whole.first(3)
    agree(first.logits, Z[:3], budget=0.0, what="logits")
    assert (first.labels.tolist(), first.row_names, first.soft_labels) == (Y_LIST[:3], UNNAMED[:3], None)
    assert {name: array.shape for name, array in first.extra.items()} == {
        "losses": (3,),
        "weight": (3,),
        "prior": (3, 3),
    }
    np.savez(tmp_path / "b.npz", logits=Z, labels=np.eye(4, 3) + np.eye(4, 3, -3), prior=np.full(3, 1 / 3))
    soft = read_batch(tmp_path / "b.npz").first(2)
    assert (soft.labels, soft.soft_labels.tolist()) == (None, np.eye(2, 3).tolist())
    assert soft.extra["prior"].shape == (3,)
    assert len(whole.first(9).logits) == 4


def test_arrays_bring_losses_weight_prior_and_named_ones(tmp_path: Path) -> None:
    further = {
        "losses": np.arange(4.0).reshape(2, 2),
        "weight": [1, 2, 3],
        "prior": [0.2, 0.3, 0.5],
        "mine": [4, 3, 2, 1],
    }
    np.savez(tmp_path / "a.npz", logits=Z.reshape(2, 2, 3), labels=Y.reshape(2, 2), hidden=np.zeros(7), **further)
    extra = read_batch(tmp_path / "a.npz", columns=["mine"]).extra
    assert {name: array.tolist() for name, array in extra.items()} == {
        "losses": [0, 1, 2, 3],
        "weight": [1, 2, 3],
        "prior": [0.2, 0.3, 0.5],
        "mine": [4, 3, 2, 1],
    }


# Refusals ------------------------------------------------------------------------------------------------------------

NAN, INF = math.nan, math.inf
HEAD = "label,cat,dog\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        (HEAD, "a header and no rows"),
        ("1,2,3\n4,5,6\n", "the first line holds numbers: a header such as"),
        ("cat,2.5,3.5\ndog,5,6\n", "the first line holds numbers: a header such as"),
        ("0,1,2\n4,5,6\n", "the first line holds numbers: a header such as"),
        ("0,5;1,5;2\n0,5;1,5;2\n", "the first line holds numbers: a header such as"),
        (
            "id,cat,dog\na,1,2\n",
            "no label column among 'id', 'cat', 'dog': one column must be called label, target or y",
        ),
        (
            HEAD + "cat,1,2\nbat,3,4\n",
            "line 3, column 'label': 'bat' is neither a class nor a class number, did you mean 'cat'?",
        ),
        (
            HEAD + "cat,1,2\n1.5,3,4\n",
            "line 3, column 'label': '1.5' is neither a class nor a class number; classes: 'cat', 'dog'",
        ),
        (
            HEAD + "cat,1,2\n\n1,3,4\n2,3,4\n",
            "line 5, column 'label': label 2 is out of range: the 2 classes are numbered 0 to 1",
        ),
        (HEAD + "1,1,2\n2,3,4\n", "counted from 1"),
        (
            HEAD + "-1,3,4\n",
            "line 2, column 'label': label -1 is negative: a row to be ignored has the label ignore_index",
        ),
        (HEAD + "cat,1,2\ndog,3\n", "line 3: 2 cells, but the header has 3"),
        (HEAD + "cat,1,2,3\n", "line 2: 4 cells, but the header has 3"),
        (HEAD + 'cat,1,2\n"dog",oh,4\n', "line 3, column 'cat': 'oh' is not a number"),
        (HEAD + '"c\nat",1,2\ndog,3,x\n', "line 4, column 'dog': 'x' is not a number"),
        (HEAD + "cat,1,\n", "line 2, column 'dog': the cell is empty"),
        (HEAD + "cat,1,1_000\n", "line 2, column 'dog': '1_000' is not a number"),
        (HEAD + 'cat,1,"2,5"\n', "line 2, column 'dog': '2,5' is not a number"),
        (
            "label;cat;dog\ncat;1.5;2\ndog;2;1,5\n",
            "line 3, column 'dog': '1,5' is not a number: this file has decimal commas and",
        ),
        ("label;cat;dog\ncat;1,5;2,0x\n", "line 2, column 'dog': '2,0x' is not a number"),
        (HEAD + "cat,1,nan\ndog,2,3\n", "line 2, class 'dog': nan is not finite"),
        (
            HEAD + "cat,1,2\ndog,-inf,3\ncat,inf,1\n",
            "line 3, class 'cat': -inf is not finite: correct or remove that row (2 such",
        ),
        (HEAD + "cat,1e999,2\n", "line 2, class 'cat': inf is not finite"),
        ("label,cat\ncat,1\n", "the only class is 'cat': two or more are needed"),
        ("label,id\n1,2\n", "there are no columns of classes"),
        ("label,cat,cat\ncat,1,2\n", "two columns are called 'cat'"),
        ("label,cat, cat\ncat,1,2\n", "two columns are called 'cat'"),
        (",label,cat,dog\n0,cat,1,2\n", "column 1 has no name"),
        ("label,y,cat,dog\ncat,0,1,2\n", "both columns 'label' and 'y' may be the label"),
        ("label,id,row,cat,dog\ncat,a,1,2.5,3.5\n", "both columns 'id' and 'row' may be the id"),
        ("cat,dog,q:cat,q:dog\n1,2,0.5,0.4\n", "line 2: the soft labels sum to 0.9, not to 1"),
        ("cat,dog,q:cat,q:dog\n1,2,1.5,-0.5\n", "line 2, class 'dog': -0.5 cannot be part of a distribution"),
        ("cat,dog,q:cat,q:dog\n1,2,nan,1\n", "line 2, class 'cat': nan cannot be part of a distribution"),
        ("cat,dog,q:cat\n1,2,1\n", "the columns q:<class> must be one for each class: look at 'dog'"),
        ("cat,dog,q:cat,q:dog,q:emu\n1,2,1,0,0\n", "the columns q:<class> must be one for each class: look at 'emu'"),
        ("cat,dog,q:cat,q:dog,label\n1,2,1,0,0\n", "keep one kind of labels"),
        (HEAD + "cat,0.25,0.75\ndog,0.5,0.5\n", "these rows sum to 1: they look like probabilities; pass --probs"),
        (
            HEAD + "cat,-0.6931471805599453,-0.6931471805599453\n",
            "look like log-probabilities: they are valid logits; pass --logits",
        ),
        (HEAD + 'cat,1,"2\n', "is a quotation mark missing?"),
        (HEAD + 'cat,"1"2,3\n', "line 2: "),
        (HEAD + "cat,1,2\ndog,\udcff,3\n", "line 3: byte 0xff is not utf-8"),
        (HEAD + "cat,1,\0\n", "holds NUL bytes: it is a binary file"),
        ("\x89PNG\r\n\x1a\n\0\0\0", "holds NUL bytes: it is a binary file"),
        (HEAD + "cat,1," + "9" * 200_000 + "\n", "line 2: field larger than field limit"),
    ],
)
def test_a_faulty_csv_is_refused_by_line_and_column(content: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "batch.csv"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert says in refused(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "line 1, character 2: not JSON"),
        ('{"logits": [[1, 2]],\n "labels": [0,]}', "line 2, character"),
        ("3", "holds a number, an object with logits and labels"),
        ("null", "holds null, an object"),
        ("{}", "no array is called logits or predictions, there is none"),
        ('{"a": 1, "b": 2}', "no array is called logits or predictions, there is 'a', 'b'"),
        ('{"logits": [[1, 2]]}', "there are no labels among 'logits': pass --labels FILE"),
        ("[[1, 2], [3, 4]]", "there are no labels: pass --labels FILE"),
        ("[]", "the shape of the logits is (0,)"),
        ('{"logits": 7, "labels": 0}', "the shape of the logits is ()"),
        ('{"logits": [1, 2], "labels": [0, 0]}', "the shape of the logits is (2,): (N, K) or (B, T, K) was expected"),
        ('{"logits": [[[[1, 2]]]], "labels": [0]}', "the shape of the logits is (1, 1, 1, 2)"),
        ('{"logits": [[1, 2], [3]], "labels": [0, 0]}', "logits, row 2: 1 numbers, but 2 in the first"),
        ('{"logits": [[1, 2], 3], "labels": [0, 0]}', "logits, row 2: a list and a number stand side by side"),
        ('{"logits": [[[1, 2]], [[3]]], "labels": [[0], [0]]}', "cannot be read as an array of numbers"),
        ('{"logits": [[1, 2], [3, "x"]], "labels": [0, 0]}', "logits, row 2, column 2: 'x' is not a number"),
        ('{"logits": [[1, "2"]], "labels": [0]}', "logits, row 1, column 2: '2' is not a number"),
        ('{"logits": [[1, null]], "labels": [0]}', "logits, row 1, column 2: null is not a number"),
        ('{"logits": {"a": 1}, "labels": [0]}', "logits: \"{'a': 1}\" is not a number"),
        ('{"logits": [[1, NaN]], "labels": [0]}', "row 1, class '1': nan is not finite"),
        ('{"logits": [[1, 1' + "0" * 400 + ']], "labels": [0]}', "logits cannot be read as an array of numbers"),
        ('{"logits": [[1, 1' + "0" * 5000 + ']], "labels": [0]}', "not JSON that can be read"),
        ('{"logits": [[1], [2]], "labels": [0, 0]}', "the only class is '0'"),
        ('{"logits": [[1, 2]], "labels": [0, 1]}', "2 labels for 1 rows of logits"),
        ('{"logits": [[1, 2]], "labels": [[0, 1, 1]]}', "the shape of the labels is (1, 3), but of the logits (1, 2)"),
        ('{"logits": [[1, 2]], "labels": [2]}', "row 1: label 2 is out of range: the 2 classes are numbered 0 to 1"),
        ('{"logits": [[1, 2]], "labels": [{"a": 1}]}', "row 1: a class name or a class number was expected"),
        ('{"logits": [[1, 2]], "labels": [1e300]}', "is neither a class nor a class number"),
        ('{"logits": [[1, 2]], "labels": [0], "class_names": ["a", "a"]}', "two classes are called 'a'"),
        ('{"logits": [[1, 2]], "labels": [0], "class_names": ["a"]}', "2 class_names were expected, 1 were found"),
        ('{"logits": [[1, 2]], "labels": [0], "class_names": 3}', "2 class_names were expected, something else"),
        ('{"logits": [[1, 2]], "labels": [[1e308, 1e308]]}', "row 1: the soft labels sum to inf, not to 1"),
        ('{"logits": [[1, 2]], "labels": [0], "losses": [1, 2]}', "the shape of 'losses' is (2,): (1,) was expected"),
        (
            '{"logits": [[1, 2]], "labels": [0], "prior": [1]}',
            "the shape of 'prior' is (1,): (2,) or (1, 2) was expected",
        ),
        ('{"logits": [[1, 2]], "labels": [0], "weight": ["a", 2]}', "weight, row 1: 'a' is not a number"),
        ('[{"label": 0, "a": 1, "b": 2}, 3]', "row 2: a number, an object was expected"),
        (
            '[{"label": 0, "a": 1, "b": 2}, {"lable": 0, "a": 1, "b": 2}]',
            "row 2: 'label' stands in this row or in the first",
        ),
        ('[{"label": 0, "a": 1, "b": 2}, {"label": 0, "a": "x", "b": 2}]', "row 2, column 'a': 'x' is not a number"),
        ('[{"label": 0, "a": 1, "a": 2}]', "the name 'a' stands twice in one object"),
        ('{"label": 0, "a": 1, "b": 2}\n\n{"label": 0, "a": 1, "b": null}\n', "line 3, column 'b': the cell is empty"),
        ('{"label": 0, "a": 1, "b": 2}\n{"label": 0', "line 2, character"),
        ("[" * 100_000, "the JSON is nested too deeply"),
        ('{"logits": ' + "[" * 300 + "]" * 300 + ', "labels": [0]}', "logits"),
    ],
)
def test_faulty_json_is_refused_by_its_place(content: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "batch.json"
    path.write_text(content)
    assert says in refused(path)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"logits": Z.astype("c16"), "labels": Y}, "logits are of dtype complex128, numbers were expected"),
        ({"logits": Z.astype("U"), "labels": Y}, "logits are of dtype <U"),
        (
            {"logits": Z.astype("f2").view("V2"), "labels": Y},
            "logits are of dtype |V2, numbers were expected (save bfloat16",
        ),
        ({"logits": Z, "labels": Y[:3]}, "3 labels for 4 rows of logits"),
        ({"logits": Z, "labels": Y * 0.5}, "row 2: '0.5' is neither a class nor a class number"),
        ({"logits": Z, "labels": np.array([0, 1, 2, 2**64 - 1], "u8")}, "row 4: '18446744073709551615' is neither"),
        (
            {"logits": Z, "labels": np.array([1, 1, 2, 3])},
            "row 4: label 3 is out of range: the 3 classes are numbered 0 to 2 (the labels seem",
        ),
        ({"logits": Z[:, :1], "labels": Y}, "the only class is '0'"),
        ({"logits": Z[:0], "labels": Y[:0]}, "the shape of the logits is (0, 3)"),
        ({"logits": np.where(Z == 3.5, NAN, Z), "labels": Y}, "row 2, class '1': nan is not finite"),
        ({"logits": Z, "labels": np.ones((4, 3))}, "row 1: the soft labels sum to 3, not to 1"),
        (
            {"logits": Z.reshape(2, 3, 2), "labels": np.zeros((2, 2))},
            "the shape of the labels is (2, 2), but of the logits (2, 3, 2)",
        ),
        ({"scores": Z, "labels": Y}, "no array is called logits or predictions, there is 'scores', 'labels'"),
    ],
)
def test_faulty_arrays_are_refused_by_row_and_class(arrays: dict[str, Any], says: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "batch.npz", **arrays)
    assert says in refused(tmp_path / "batch.npz")


def test_a_missing_file_a_directory_and_an_unknown_suffix_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "batch.xls").write_text("x")
    (tmp_path / "batch").write_text("x")
    assert refused(tmp_path / "none.csv") == "no such file"
    assert refused(tmp_path / "folder.csv") == "is a directory, a file was expected"
    message = refused(tmp_path / "batch.xls")
    assert all(suffix in message for suffix in (".csv", ".npz", ".xlsx", ".safetensors", ".pt", ".parquet", ".jsonl"))
    assert "the suffix ''" in refused(tmp_path / "batch")
    assert "cannot be opened" in refused(str(tmp_path / "a\0b.csv"), name=repr(str(tmp_path / "a\0b.csv")))
    assert "cannot be opened" in refused(tmp_path / ("x" * 300 + ".csv"))


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label,cat,dog,mine\ncat,1,2,3\n")
    np.savez(tmp_path / "a.npz", logits=Z, labels=Y, mine=Y)
    assert refused(tmp_path / "a.csv", columns=["Mime"]) == "there is no column 'Mime', did you mean 'mine'?"
    assert refused(tmp_path / "a.npz", columns=["mime"]) == "there is no array 'mime', did you mean 'mine'?"
    with pytest.raises(TypeError, match="a sequence of names"):
        read_batch(tmp_path / "a.csv", columns="mine")


def test_a_fault_in_the_second_file_names_the_second_file(tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", Z)
    labels = tmp_path / "labels.txt"
    logits = tmp_path / "logits.npy"
    for content, says in (
        ("0\n1\n2\n3\n", "line 4: label 3 is out of range"),
        ("label\n0\n1\n2\n3\n", "line 5, column 'label': label 3 is out of range"),
        ("0\n1\n", "2 labels for 4 rows"),
        ("", "the file is empty"),
    ):
        labels.write_text(content)
        assert says in refused(logits, labels=labels, name=str(labels))
    assert refused(logits, labels=tmp_path / "none.txt", name=str(tmp_path / "none.txt")) == "no such file"
    (tmp_path / "two.csv").write_text("a,b\n1,2\n")
    assert "no label column" in refused(logits, labels=tmp_path / "two.csv", name=str(tmp_path / "two.csv"))


def test_a_fault_on_standard_input_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for content, says in (
        (b"", "the file is empty"),
        (b"PK\3\4\0\0", "NUL bytes"),
        (b"label,a,b\n0,1,x\n", "line 2, column 'b'"),
    ):
        standard_input(monkeypatch, content)
        assert says in refused("-", name="standard input")


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "big.csv").open("wb") as file:
        file.truncate(2 * 1024**3 + 1)  # sparse
    assert "holds 2,048.0 MiB, more than the limit of 2,048.0 MiB" in refused(tmp_path / "big.csv")
    np.save(tmp_path / "a.npy", Z)
    labels = (tmp_path / "big.csv").rename(tmp_path / "big.txt")
    assert "more than the limit" in refused(tmp_path / "a.npy", labels=labels, name=str(labels))
    monkeypatch.setattr(_guard, "MAX_BYTES", 1000)
    standard_input(monkeypatch, table().encode() * 100)
    assert "more than the limit" in refused("-", name="standard input")
    np.savez_compressed(tmp_path / "a.npz", logits=np.zeros((1000, 10)), labels=np.zeros(1000))
    assert "more than the limit" in refused(tmp_path / "a.npz")


# Probabilities -------------------------------------------------------------------------------------------------------


def test_probabilities_become_their_logarithms(tmp_path: Path) -> None:
    p = np.array([[0.25, 0.75], [0.9994, 0.0004]])
    np.savez(tmp_path / "a.npz", logits=p, labels=[0, 1])
    agree(read_batch(tmp_path / "a.npz", probabilities=True).logits, np.log(p), budget=FLOAT64, what="logits")
    agree(read_batch(tmp_path / "a.npz", assume_logits=True).logits, p, budget=0.0, what="kept")


def test_log_probabilities_are_logits_on_request(tmp_path: Path) -> None:
    z = np.log([[0.25, 0.75], [0.5, 0.5]]).astype("f4")
    np.savez(tmp_path / "a.npz", logits=z, labels=[0, 1])
    assert "log-probabilities" in refused(tmp_path / "a.npz")
    agree(read_batch(tmp_path / "a.npz", assume_logits=True).logits, z.astype("f8"), budget=0.0, what="logits")


@pytest.mark.parametrize(
    ("p", "says"),
    [
        (
            [[0.5, 0.5], [1.5, -0.5]],
            "row 2, class '0': 1.5 is not a probability between 0 and 1 (2 such numbers in 1 rows)",
        ),
        ([[0.5, NAN]], "row 1, class '1': nan is not a probability"),
        ([[0.5, 0.5], [0.5, 0.4]], "row 2: the probabilities sum to 0.9, not to 1"),
        ([[1.0, 0.0]], "row 1, class '1': 0 as a probability is a logit of -inf"),
    ],
)
def test_what_is_no_probability_is_refused_by_row_and_class(p: Any, says: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", logits=p, labels=[0] * len(p))
    assert says in refused(tmp_path / "a.npz", probabilities=True)


@pytest.mark.parametrize(
    "logits",
    [
        [[0.5, 0.5], [0.5, 0.6]],
        [[1e308, 1e308], [0.5, 0.5]],
        [[0.25, 0.75], [-0.5, 1.5]],
        [[0.1, 0.2], [0.3, 0.4]],
        [[0.0, 0.0], [0.0, 0.0]],
        [[-1.0, -2.0], [-3.0, -4.0]],
        [[math.log(0.5), math.log(0.5)], [-1.0, -0.5]],
        [[math.log(0.25), math.log(0.75) + 1e-5]],
    ],
)
def test_ordinary_logits_are_not_taken_for_probabilities(logits: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", logits=logits, labels=[0] * len(logits))
    agree(read_batch(tmp_path / "a.npz").logits, np.array(logits), budget=0.0, what="logits")


def test_nonfinite_logits_are_kept_on_request(tmp_path: Path) -> None:
    z = np.array([[-INF, 0.0], [NAN, 1.0]])
    np.savez(tmp_path / "a.npz", logits=z, labels=[0, 1])
    read = read_batch(tmp_path / "a.npz", allow_nonfinite=True).logits
    agree(read, z, budget=0.0, what="logits", nan_agrees=True)
    np.savez(tmp_path / "b.npz", logits=np.array([[0.0, 1.0]]), labels=[0])
    read = read_batch(tmp_path / "b.npz", allow_nonfinite=True, probabilities=True).logits
    agree(read, np.array([[-INF, 0.0]]), budget=0.0, what="logits")


def test_numbers_cannot_be_probabilities_and_logits_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not both"):
        read_batch(tmp_path / "a.csv", probabilities=True, assume_logits=True)


# Hostile and broken files --------------------------------------------------------------------------------------------


class Trap:
    """Pickles to a call of `Trap.spring`, which must never happen."""

    sprung = False

    def __reduce__(self) -> Any:
        return Trap.spring, ()

    @staticmethod
    def spring() -> None:
        Trap.sprung = True


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    trap = np.array([Trap()], dtype=object)
    np.savez(tmp_path / "a.npz", logits=trap, labels=Y)
    np.save(tmp_path / "a.npy", trap)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("a.npz", "a.npy", "b.npy"):
        assert "holds Python objects, which are never unpickled" in refused(tmp_path / name)
    assert not Trap.sprung


def test_pickled_objects_in_a_torch_file_are_never_loaded(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"logits": Trap()}, tmp_path / "a.pt")
    torch.save({"logits": Trap()}, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "c.pt").write_bytes(pickle.dumps(Trap()))
    for name in ("a.pt", "b.pt", "c.pt"):
        assert "holds Python objects, which are never unpickled" in refused(tmp_path / name)
    assert not Trap.sprung


def test_other_contents_of_a_torch_file_are_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pt"
    torch.save((torch.tensor(Z), torch.tensor(Y)), path)
    assert "holds a tuple, a dict with the tensors logits and labels was expected" in refused(path)
    torch.save({"logits": torch.zeros(1).expand(2**40, 4), "labels": torch.zeros(1)}, path)
    assert "declares a tensor of" in refused(path)


def cut(path: Path, part: float = 0.6) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.98])
@formats([case for case in [*NAMED, *PLAIN, *TORCH] if case[1] in {".npz", ".xlsx", ".parquet", ".safetensors", ".pt"}])
def test_a_file_cut_short_is_refused(suffix: str, write: Callable[[Path], None], part: float, tmp_path: Path) -> None:
    path = tmp_path / f"batch{suffix}"
    write(path)
    cut(path, part)
    assert re.match(r"cannot be read as an? .*, is it cut short\?", refused(path))


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".xlsx", ".parquet", ".safetensors", ".pt"])
def test_text_under_a_binary_suffix_is_refused(suffix: str, tmp_path: Path) -> None:
    module = {".parquet": "pyarrow", ".safetensors": "safetensors", ".pt": "torch"}.get(suffix, "numpy")
    pytest.importorskip(module)
    path = tmp_path / f"batch{suffix}"
    path.write_text(table())
    assert refused(path)


def archive(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)


def test_a_workbook_that_unpacks_to_too_much_is_refused_unopened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.xlsx"
    archive(path, {"xl/worksheets/sheet1.xml": b"0" * 2**21})
    assert path.stat().st_size < 2**14
    monkeypatch.setattr(_guard, "MAX_WORKBOOK_BYTES", 2**20)
    assert refused(path) == "unpacks to 2.0 MiB, more than the limit of 1.0 MiB"


def test_a_workbook_that_lies_about_its_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.xlsx"
    workbook(path, sheet_rows())
    repacked(path, "xl/worksheets/sheet1.xml", b"</sheetData>", b" " * 2**21 + b"</sheetData>")
    with zipfile.ZipFile(path) as file:
        size = file.getinfo("xl/worksheets/sheet1.xml").file_size
    data = path.read_bytes()
    path.write_bytes(data.replace(size.to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    monkeypatch.setattr(_guard, "MAX_WORKBOOK_BYTES", 2**20)
    assert "cannot be read as an .xlsx workbook" in refused(path)


def test_workbooks_with_too_many_parts_or_a_password_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    archive(path, {f"{n}.xml": b"" for n in range(2001)})
    assert refused(path) == "the archive has 2,001 entries, more than the limit of 2,000"
    archive(path, {"a.xml": b"x"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    assert "the archive is encrypted" in refused(path)
    path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(512))
    assert "is encrypted or an old .xls" in refused(path)


def test_a_faulty_sheet_is_refused_by_sheet_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    head = ["label", "cat", "dog"]
    for rows, says in (
        ([[], head, ["cat", 1, 2], ["dog", "x", 4]], "sheet 'Sheet 1', row 4, column 'cat': 'x' is not a number"),
        ([head, ["cat", 1, "=1+1"]], "row 2, column 'dog': the cell is empty (or a formula without a stored value)"),
        ([head, ["cat", 1, 2], ["emu", 1, 2]], "sheet 'Sheet 1', row 3, column 'label': 'emu' is neither"),
        ([head, ["cat", 1, 2, 3]], "column 4 has no name"),
        ([head], "a header and no rows"),
        ([], "no sheet has a header row"),
        ([["id", "cat", "dog"], ["a", 1, 2]], "no label column among 'id', 'cat', 'dog'"),
    ):
        workbook(path, rows)
        assert says in refused(path)


def repacked(path: Path, part: str, pattern: bytes, new: bytes) -> None:
    """Replace something in one part of a workbook."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    changed, count = re.subn(pattern, new, members[part], flags=re.DOTALL)
    assert count == 1
    archive(path, {**members, part: changed})


@pytest.mark.parametrize("claimed", [b"A1:XFD1048576", b"A1:B2"])
def test_a_sheet_is_read_whatever_size_it_claims(claimed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    workbook(path, sheet_rows())
    repacked(path, "xl/worksheets/sheet1.xml", rb'<dimension ref="[^"]*"', b'<dimension ref="' + claimed + b'"')
    same(read_batch(path), classes=CLASSES, rows=IDS)


def test_what_openpyxl_warns_of_stays_off_the_screen(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    workbook(path, sheet_rows())
    repacked(path, "xl/styles.xml", rb"(<styleSheet[^>]*>).*(</styleSheet>)", rb"\1\2")
    openpyxl = pytest.importorskip("openpyxl")
    with pytest.warns(UserWarning, match="stylesheet"):
        openpyxl.load_workbook(path)
    same(read_batch(path), classes=CLASSES, rows=IDS)


def test_an_empty_cell_of_parquet_is_refused_by_row_and_column(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", {"label": [0, 1], "cat": [1.0, None], "dog": [2.0, 3.0]})
    assert "row 2, column 'cat': the cell is empty" in refused(tmp_path / "a.parquet")


def test_a_parquet_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(tmp_path / "a.parquet", {"label": [0] * 100_000, "cat": [1.0] * 100_000, "dog": [2.0] * 100_000})
    monkeypatch.setattr(_guard, "MAX_BYTES", 1_000_000)
    assert "unpacks to 2.3 MiB" in refused(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("suffix", "module", "line"),
    [
        (".safetensors", "safetensors", "labelsmooth[files]"),
        (".parquet", "pyarrow.parquet", "labelsmooth[files]"),
        (".pt", "torch", "labelsmooth[torch]"),
    ],
)
def test_a_missing_library_is_named_with_the_line_that_installs_it(
    suffix: str, module: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=re.escape(line)):
        read_batch(tmp_path / f"a{suffix}")


# Vectors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "write"),
    [
        (".npy", lambda path: np.save(path, [0.25, 0.25, 0.5])),
        (".npz", lambda path: np.savez(path, [0.25, 0.25, 0.5])),
        (".npz", lambda path: np.savez(path, other=Z, prior=[0.25, 0.25, 0.5])),
        (".csv", text("0.25,0.25,0.5\n")),
        (".csv", text("0.25\n0.25\n0.5\n")),
        (".csv", text("0,25\n0,25\n0,5\n".replace(",", "."))),
        (".csv", text("0,25;0,25;0,5\n")),
        (".csv", text("cat,dog,eel\n0.25,0.25,0.5\n")),
        (".csv", text("0,1,2\n0.25,0.25,0.5\n")),
        (".csv", text("class,prior\ncat,0.25\ndog,0.25\neel,0.5\n")),
        (".json", text("[0.25, 0.25, 0.5]")),
        (".json", text('{"prior": [0.25, 0.25, 0.5]}')),
        (".xlsx", lambda path: workbook(path, [["cat", "dog", "eel"], [0.25, 0.25, 0.5]])),
    ],
)
def test_a_prior_is_read_from_any_format(suffix: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / f"prior{suffix}")
    agree(read_vector(tmp_path / f"prior{suffix}", length=3), np.array([0.25, 0.25, 0.5]), budget=0.0, what="prior")


def test_a_prior_may_have_a_row_for_each_row_of_logits(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", SOFT)
    (tmp_path / "a.csv").write_text("\n".join(",".join(map(str, q)) for q in SOFT))
    for name in ("a.npy", "a.csv"):
        agree(read_vector(tmp_path / name, length=3), np.array(SOFT), budget=0.0, what=name)


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("0.5,0.5\n", {"length": 3}, "2 numbers for the prior, 3 were expected"),
        ("0.5,nan\n", {}, "the prior must be finite, nan is not"),
        ("1,2\n3,4\n", {"what": "weight"}, "the shape of the weight is (2, 2)"),
        ("a,b\n1,x\n", {}, "line 2, column 'b': 'x' is not a number"),
        ("a,b\n", {}, "a header and no rows"),
        ("", {}, "the file is empty"),
        ("1,2\n3\n", {}, "line 2: 1 cells, but the header has 2"),
    ],
)
def test_a_faulty_vector_is_refused(content: str, options: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_vector(path, **options)
    assert says in fault(str(caught.value), str(path))


def test_losses_may_be_infinite_on_request(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", loss=[1.0, INF], other=Z)
    read = read_vector(tmp_path / "a.npz", what="losses", allow_nonfinite=True)
    agree(read, np.array([1.0, INF]), budget=0.0, what="losses")


def test_an_unnamed_vector_among_several_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=[1.0], b=[2.0])
    with pytest.raises(InputError, match="no array is called prior, there is 'a', 'b'"):
        read_vector(tmp_path / "a.npz")


# Writing -------------------------------------------------------------------------------------------------------------


def written(target: Path, content: str, *, failure: BaseException | None = None, rival: str | None = None) -> None:
    """Write a file, perhaps fail before the end, perhaps find that somebody else was quicker."""
    with write_atomically(target, force=rival is None) as temporary:
        temporary.write_text(content)
        if failure is not None:
            raise failure
        if rival is not None:
            target.write_text(rival)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_written_file_appears_whole_under_its_name(tmp_path: Path) -> None:
    target = tmp_path / "a.npz"
    with write_atomically(target, force=False) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".npz"
        np.savez(temporary, x=Z)
        assert not target.exists()
    assert names_in(tmp_path) == ["a.npz"]
    (tmp_path / "plain").touch()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failure_while_writing_leaves_nothing_behind_and_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    for old in (None, "old"):
        if old is not None:
            target.write_text(old)
        for error in (RuntimeError("broken"), KeyboardInterrupt(), OSError(errno.EIO, "device")):
            with pytest.raises(type(error)):
                written(target, "half", failure=error)
            assert names_in(tmp_path) == ([] if old is None else ["a.txt"])
    assert target.read_text() == "old"


def test_a_failing_file_object_leaves_nothing_behind(tmp_path: Path) -> None:
    class Failing(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, _data: Any) -> int:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output"), write_atomically(tmp_path / "a.npy", force=False):
        np.save(Failing(), Z)
    assert names_in(tmp_path) == []


def full_disk() -> OSError:
    """Give the error of a full disk, a real one where the system has a device for it."""
    try:
        with Path("/dev/full").open("r+b", buffering=0) as file:
            file.write(b"x")
    except FileNotFoundError:
        return OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        return error
    raise AssertionError("the device took a byte")


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with pytest.raises(InputError) as caught:
        written(target, "half", failure=full_disk())
    assert "No space left on device; nothing was left behind" in fault(str(caught.value), str(target))
    assert names_in(tmp_path) == []


def unwritable(target: Path, *, force: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        write_atomically(target, force=force).__enter__()
    name = str(target) if str(target).isprintable() else repr(str(target))
    return fault(str(caught.value), name)


def test_an_existing_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    target.chmod(0o640)
    assert unwritable(target) == "exists already: pass --force to replace it"
    assert target.read_text() == "old"
    with write_atomically(target, force=True) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640
    assert names_in(tmp_path) == ["a.txt"]


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with pytest.raises(InputError, match="exists already"):
        written(target, "ours", rival="theirs")
    assert target.read_text() == "theirs"
    assert names_in(tmp_path) == ["a.txt"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with write_atomically(tmp_path / "link.txt", force=True) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "real.txt").read_text() == "new"
    assert (tmp_path / "link.txt").is_symlink()


def test_a_target_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    missing = unwritable(tmp_path / "none" / "a.txt")
    assert re.fullmatch(r"the directory '.*none' does not exist: make it first", missing)
    assert unwritable(tmp_path / "folder", force=True) == "is a directory, the name of a file was expected"
    assert "does not exist" in unwritable(tmp_path / "file" / "a.txt")
    assert "File name too long" in unwritable(tmp_path / ("x" * 300))
    assert "null byte" in unwritable(tmp_path / "a\0b")
    if Path("/dev/null").exists():
        assert unwritable(Path("/dev/null"), force=True) == "is not a regular file"

    def denied(*_arguments: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("labelsmooth.files.write.os.open", denied)
    assert unwritable(tmp_path / "a.txt") == "cannot be written: Permission denied"
    assert names_in(tmp_path) == ["file", "folder"]
