"""A workbook is read back as what was written, and whatever somebody broke in it is one sentence with its cell."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, agree
from cases import FIVE_CLASSES, FIVE_LABELS, TWO_CLASSES, TWO_LABELS, Example, all_examples, one_in, slow_except

openpyxl: Any = pytest.importorskip("openpyxl")
pytest.importorskip("xlsxwriter")

from labelsmooth.errors import WorkbookError  # noqa: E402
from labelsmooth.maths.conventions import CONVENTIONS, NOT_PADDING, convention_named  # noqa: E402
from labelsmooth.maths.trace import Problem, prepare  # noqa: E402
from labelsmooth.workbook._lists import settings  # noqa: E402
from labelsmooth.workbook._settings import Settings, case_of  # noqa: E402
from labelsmooth.workbook.book import make_book  # noqa: E402
from labelsmooth.workbook.read import is_our_book, open_book, read_book, read_contents  # noqa: E402
from labelsmooth.workbook.write import save  # noqa: E402

KINDS = ("uniform, unweighted", "uniform, nll, ignored", "others but padding, unweighted")
EXAMPLES = [e for e in all_examples() if e.name.startswith(KINDS)]


def two() -> Problem:
    return prepare(TWO_CLASSES, TWO_LABELS, 0.1, class_names=["cat", "dog"])


def written(problem: Problem, path: Path, layout: str = "full", *, blank: bool = False) -> Path:
    save(make_book(problem, layout=layout), path, blank=blank, force=True)
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the two classes once; what every test breaks is a copy of what can be read."""
    path = written(two(), tmp_path_factory.mktemp("books") / "book.xlsx")
    assert read_book(path).faults == ()
    return path


@pytest.fixture
def book(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(original, tmp_path / "book.xlsx"))


def edit(path: Path, change: Callable[[Any], object]) -> Path:
    """Edit and save as openpyxl does it: no stored results are left."""
    sheets = openpyxl.load_workbook(path)
    change(sheets)
    target = path.with_name("edited.xlsx")
    sheets.save(target)
    return target


def typed(path: Path, sheet: str = "Steps", **cells: Any) -> Path:
    def change(sheets: Any) -> None:
        for cell, value in cells.items():
            sheets[sheet][cell] = value

    return edit(path, change)


def surgery(path: Path, part: str, change: Callable[[str], str]) -> Path:
    """Rewrite one part of the package as text."""
    target = path.with_name("operated.xlsx")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = old.read(name)
            if name == part:
                changed = change(data.decode())
                assert changed != data.decode()
                data = changed.encode()
            new.writestr(name, data)
    return target


STEPS = "xl/worksheets/sheet2.xml"


def setting_cell(name: str) -> str:
    return f"E{5 + list(settings(make_book(two()))).index(name)}"


# What was written is what is read ------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", slow_except(EXAMPLES[::4], EXAMPLES))
@pytest.mark.parametrize("kind", ["full", "compact", "blank"])
def test_a_book_is_read_back_as_the_problem_it_was_made_from(example: Example, kind: str, tmp_path: Path) -> None:
    problem = prepare(example.logits, example.labels, example.label_smoothing, **example.options)
    try:
        made = make_book(problem, layout="compact" if kind == "compact" else "full")
    except ValueError:
        assert kind == "compact"  # it has no room for weights, masks and padding
        return
    save(made, tmp_path / "book.xlsx", blank=kind == "blank")
    ours = open_book(tmp_path / "book.xlsx")
    reading = ours.read()
    assert reading.faults == reading.changed == ()
    assert ours.blank == (kind == "blank")
    assert reading.problem.case == problem.case
    assert reading.book.kind == made.kind
    assert (reading.problem.class_names, reading.problem.row_names) == (problem.class_names, problem.row_names)
    for x in made.chain.inputs:
        got, then = reading.book.values[x.word], made.values[x.word]
        agree(got, then, budget=FLOAT64, what=x.word, nan_agrees=True)
    agree(reading.book.values["row_loss"], made.values["row_loss"], budget=FLOAT64, what="row loss", nan_agrees=True)


def test_every_convention_is_found_again_by_the_name_in_the_file() -> None:
    tried = 0
    for name, row in CONVENTIONS.items():
        if row.family.link != "softmax":
            continue
        padding = 4 if row.family.over == NOT_PADDING else -100
        problem = prepare(FIVE_CLASSES, [0, 1, 2, 3, 0], 0.1, convention=name, ignore_index=padding)
        stored = Settings({key: (text, "") for key, text in settings(make_book(problem)).items()})
        assert convention_named(stored.text("convention")) == row, name
        assert case_of(stored, 5) == problem.case, name
        tried += 1
    assert tried > 20


def test_names_from_strangers_come_back_as_they_were(tmp_path: Path) -> None:
    names = ["=1+1", "", "π & <b>", "@SUM(A1)", "12"]
    problem = prepare(FIVE_CLASSES, FIVE_LABELS, 0.1, class_names=names, row_names=[*names[::-1]])
    reading = read_book(written(problem, tmp_path / "book.xlsx"))
    assert reading.problem.class_names == tuple(names)
    assert reading.problem.row_names == tuple(names[::-1])


def test_the_formulas_that_are_expected_are_those_in_the_file(book: Path) -> None:
    ours = open_book(book)
    expected = {
        ours.layout.places[s.word].cell(n, k): f"={formula}"
        for s in ours.layout.chain.steps
        for _, _, n, k, formula in ours.layout.cells(s)
    }
    assert len(expected) > 100
    assert {cell: ours.formulas[cell] for cell in expected} == expected


def test_shared_formulas_are_read_as_the_formulas_they_stand_for(book: Path) -> None:
    ours = open_book(book)
    place = ours.layout.places["row_max"]
    first, second = place.cell(0), place.cell(1)

    def share(xml: str) -> str:
        one, two = ours.formulas[first][1:], ours.formulas[second][1:]
        xml = xml.replace(f"<f>{one}</f>", f'<f t="shared" ref="{first}:{second}" si="0">{one}</f>')
        return xml.replace(f"<f>{two}</f>", '<f t="shared" si="0"/>')

    assert open_book(surgery(book, STEPS, share)).formulas == ours.formulas


def test_a_forged_sheet_size_hides_no_cell(book: Path) -> None:
    forged = surgery(book, STEPS, lambda xml: re.sub(r'<dimension ref="[^"]*"/>', '<dimension ref="A1"/>', xml))
    assert open_book(forged).formulas == open_book(book).formulas


# Inputs that somebody changed ----------------------------------------------------------------------------------------


def place_of(path: Path, word: str, n: int = 0, k: int = 0) -> str:
    return open_book(path).layout.places[word].cell(n, k)


def test_a_changed_input_is_known_and_no_other(book: Path) -> None:
    one, other = place_of(book, "logits", 0, 0), place_of(book, "logits", 1, 0)
    assert read_book(book).changed == ()
    assert read_book(typed(book, B2=0.1, **{one: 4.2})).changed == ()
    assert read_book(typed(book, B2=0.2)).changed == ("epsilon",)
    assert read_book(typed(book, **{one: 4.2001})).changed == ("logits",)
    assert read_book(typed(book, **{one: 1.6, other: 4.2})).changed == ("logits",)  # exchanged
    assert read_book(typed(book, **{place_of(book, "label"): 1})).changed == ("label",)


def test_fifteen_digits_are_enough_to_count_as_unchanged(tmp_path: Path) -> None:
    z = np.random.default_rng(4).normal(size=(30, 6)) * 30
    path = written(prepare(z, np.arange(30) % 6, 1 / 3), tmp_path / "book.xlsx")
    place = open_book(path).layout.places["logits"]
    rounded = {place.cell(n, k): float(f"{z[n, k]:.15g}") for n, k in np.ndindex(z.shape)}
    assert any(rounded[place.cell(n, k)] != z[n, k] for n, k in np.ndindex(z.shape))
    assert read_book(typed(path, B2=float(f"{1 / 3:.15g}"), **rounded)).changed == ()


def test_the_case_stays_the_files_own_when_no_row_is_ignored_any_more(tmp_path: Path) -> None:
    path = written(prepare(FIVE_CLASSES, [0, -100, 2, 3, 4], 0.1), tmp_path / "book.xlsx")
    reading = read_book(typed(path, **{place_of(path, "label", 1): 1}))
    assert reading.faults == ()
    assert reading.problem.case.ignored
    assert reading.book.values["counted_rows"].item() == 5


def test_an_input_that_became_a_formula_takes_its_result(book: Path) -> None:
    cell = place_of(book, "logits", 1, 0)
    fresh = typed(book, **{cell: "=D30/2"})
    calculated = {"Steps": {cell: 2.5}}
    assert read_book(fresh, calculated=calculated).problem.given["logits"][1, 0] == 2.5

    def stored(xml: str) -> str:
        return re.sub(rf'(<c r="{cell}"[^>]*>)<v>[^<]*</v>', r"\1<f>D30/2</f><v>2.25</v>", xml)

    assert read_book(surgery(book, STEPS, stored)).problem.given["logits"][1, 0] == 2.25
    (fault,) = read_book(fresh).faults  # openpyxl stores no results
    assert fault.says == f"Steps!{cell} holds '=D30/2': a number is expected"


NO_INPUTS = [
    ("logits", None, "is empty: a number is expected", False),
    ("logits", "  ", "is empty: a number is expected", False),
    ("logits", "2,5", "holds '2,5': a number is expected", False),
    ("logits", "-inf", "holds '-inf': a number is expected", False),
    ("logits", True, "holds TRUE: a number is expected", False),
    ("logits", dt.date(2020, 1, 2), "a number is expected", False),
    ("label", 2, "holds 2: a class number from 0 to 1 is expected", True),
    ("label", -100, "holds -100: a class number from 0 to 1 is expected", True),
    ("label", 0.5, "holds 0.5: a class number", True),
    ("label", "dog", "holds 'dog': a class number", False),
    ("epsilon", 1.5, "holds 1.5: a number from 0 to 1 is expected", True),
    ("class_index", 7, "holds 7: the class's number, counted from 0, is expected", True),
]


@pytest.mark.parametrize(("word", "value", "says", "number"), one_in(3, NO_INPUTS))
def test_an_input_that_cannot_be_used_is_named_with_its_cell(
    word: str, value: Any, says: str, number: bool, book: Path
) -> None:
    cell = place_of(book, word)
    reading = read_book(typed(book, **{cell: value}))
    (fault,) = reading.faults
    assert fault.cell == f"Steps!{cell}"
    assert fault.says.startswith(f"Steps!{cell} ")
    assert says in fault.says
    assert fault.number is number
    with pytest.raises(WorkbookError, match=re.escape(fault.says)):
        _ = reading.book


def test_every_bad_input_is_named_at_once(book: Path) -> None:
    cells = [place_of(book, "logits", n, n % 2) for n in range(4)]
    faults = read_book(typed(book, B2="ten", **dict.fromkeys(cells))).faults
    assert [fault.cell for fault in faults] == [f"Steps!{cell}" for cell in ["B2", *cells]]


def test_a_number_beyond_all_floats_is_a_fault_and_no_crash(book: Path) -> None:
    cell = place_of(book, "logits")
    huge = surgery(
        book, STEPS, lambda xml: re.sub(rf'(<c r="{cell}"[^>]*>)<v>[^<]*</v>', rf"\1<v>{'9' * 400}</v>", xml)
    )
    (fault,) = read_book(huge).faults
    assert fault.cell == f"Steps!{cell}"
    assert len(fault.says) < 150


def test_what_inputs_break_only_together_is_named_with_its_range(tmp_path: Path) -> None:
    prior = written(prepare(TWO_CLASSES, TWO_LABELS, 0.1, prior=[0.5, 0.5]), tmp_path / "prior.xlsx")
    (fault,) = read_book(typed(prior, **{place_of(prior, "prior"): 0.75})).faults
    assert fault.cell == f"Steps!{place_of(prior, 'prior')}:{place_of(prior, 'prior', 0, 1)}"
    assert "sum" in fault.says
    mask = written(prepare(FIVE_CLASSES, FIVE_LABELS, 0.1, class_mask=[1, 1, 1, 1, 1]), tmp_path / "mask.xlsx")
    (fault,) = read_book(typed(mask, **{place_of(mask, "allowed"): 0})).faults
    assert "row 1" in fault.says
    assert read_book(prior).faults == read_book(mask).faults == ()


def test_text_for_a_logit_passes_only_where_no_formula_reads_it(tmp_path: Path) -> None:
    z = np.array(FIVE_CLASSES)
    z[:, 4] = -np.inf
    problem = prepare(z, [0, 1, 2, 3, 0], 0.1, class_mask=[1, 1, 1, 1, 0])
    path = written(problem, tmp_path / "book.xlsx")
    reading = read_book(path)
    agree(reading.problem.given["logits"], z, budget=FLOAT64, what="logits")
    assert [f.cell for f in read_book(typed(path, **{place_of(path, "logits", 0, 3): "-inf"})).faults] == [
        f"Steps!{place_of(path, 'logits', 0, 3)}"
    ]
    assert read_book(typed(path, **{place_of(path, "logits", 0, 4): "gone"})).faults != ()


# Files that are not as they were made --------------------------------------------------------------------------------

TAMPERED = [
    ("rows", "1000000000", "a whole number from 1 to 1,048,576 is expected"),
    ("rows", "1000000", "does not fit the"),
    ("rows", "many", "'many'"),
    ("rows", "-5", "a whole number"),
    ("rows", "5.0", "a whole number"),
    ("rows", "٥", "a whole number"),  # a digit, but not ours
    ("classes", "1", "a whole number from 2"),
    ("classes", "", "a whole number"),
    ("convention", "nobody", "unknown convention"),
    ("convention", "others but padding", "needs at least 3"),
    ("weighting", "by moon", "unknown weighting"),
    ("reduction", "median", "one of 'mean', 'sum', 'none'"),
    ("labels", "hard", "one of 'numbers', 'soft'"),
    ("prior", "n", "one of '', 'k', 'nk'"),
    ("smoothing", "nk", "one of '', 'n'"),
    ("mask", "yes", "one of"),
    ("ignored", "no", "one of"),
    ("exponentials", "none", "one of"),
    ("layout", "wide", "one of 'full', 'compact'"),
    ("inputs", "epsilon=ten logits=1 label=0", "could not convert"),
    ("inputs", "", "does not name the inputs"),
]


@pytest.mark.parametrize(("name", "value", "says"), one_in(3, TAMPERED))
def test_a_setting_that_cannot_be_is_refused_with_its_cell(name: str, value: str, says: str, book: Path) -> None:
    cell = setting_cell(name)
    tampered = typed(book, "Lists", **{cell: value})
    with pytest.raises(WorkbookError, match=re.escape(says)) as refusal:
        read_book(tampered)
    assert str(refusal.value).startswith(f"{tampered}: Lists!{cell}: the setting {name!r} is ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("rows", "6"), ("rows", "4"), ("classes", "3"), ("convention", "others"), ("labels", "soft"), ("prior", "k"),
     ("smoothing", "n"), ("mask", "k"), ("ignored", "yes"), ("exponentials", "shifted"), ("layout", "compact")],
)  # fmt: skip
def test_a_setting_of_another_book_does_not_fit_the_names(name: str, value: str, book: Path) -> None:
    """Each of these could be true; the places that the file's own names give say that it is not."""
    tampered = typed(book, "Lists", **{setting_cell(name): value})
    with pytest.raises(WorkbookError, match=r"the name \w+ (stands for|is missing)"):
        open_book(tampered)


def test_a_setting_cut_away_is_missed(book: Path) -> None:
    cell = setting_cell("prior").replace("E", "D")
    with pytest.raises(WorkbookError, match="no setting 'prior' any more"):
        open_book(typed(book, "Lists", **{cell: None}))


def test_names_cut_away_are_missed(book: Path) -> None:
    def cut(name: str) -> Path:
        return edit(book, lambda sheets: sheets.defined_names.pop(name))

    for name in ("epsilon", "n_classes", "loss", "logits"):
        with pytest.raises(WorkbookError, match=rf"the name {name} is missing"):
            open_book(cut(name))
    assert read_book(cut("softmax")).faults == ()  # no formula calls it


def test_an_inserted_row_is_said_as_such(book: Path) -> None:
    def move(sheets: Any) -> None:
        names = sheets.defined_names
        for name in ("logits", "softmax", "loss"):
            names[name].attr_text = re.sub(r"\$(\d+)", lambda m: f"${int(m[1]) + 1}", names[name].attr_text)

    with pytest.raises(WorkbookError, match=r"the name logits stands for 'Steps!\$D\$31.*rows, columns"):
        open_book(edit(book, move))


def test_missing_sheets_are_said(book: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkbookError, match="has no sheet Steps"):
        open_book(edit(book, lambda sheets: setattr(sheets["Steps"], "title", "Schritte")))
    with pytest.raises(WorkbookError, match="not made by labelsmooth"):
        open_book(edit(book, lambda sheets: sheets.remove(sheets["Lists"])))
    student = written(two(), tmp_path / "student.xlsx", blank=True)
    with pytest.raises(WorkbookError, match="only one of the hidden sheets"):
        open_book(edit(student, lambda sheets: sheets.remove(sheets["Marks"])))


def test_hostile_text_in_a_setting_stays_one_short_line(book: Path) -> None:
    tampered = typed(book, "Lists", **{setting_cell("reduction"): "a\nb\u202e" + "x" * 5000})
    with pytest.raises(WorkbookError) as refusal:
        open_book(tampered)
    said = str(refusal.value).removeprefix(str(tampered))
    assert said.isprintable()
    assert len(said) < 250


def test_a_foreign_or_broken_file_is_no_book_of_ours(book: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.xlsx"
    sheets = openpyxl.Workbook()
    sheets.active["A1"] = "made by"
    sheets.save(foreign)
    (tmp_path / "cut.xlsx").write_bytes(book.read_bytes()[:3000])
    (tmp_path / "batch.csv").write_text("a,b,label\n1,2,0\n")
    assert is_our_book(book)
    for path in (foreign, tmp_path / "cut.xlsx", tmp_path / "batch.csv", tmp_path / "none.xlsx", tmp_path, "-"):
        assert not is_our_book(path)
    with pytest.raises(WorkbookError, match="not made by labelsmooth"):
        open_book(foreign)
    with pytest.raises(WorkbookError, match="cut short"):
        open_book(tmp_path / "cut.xlsx")


def test_the_gate_stands_before_the_reader(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import labelsmooth.workbook.read as room

    def refuse(path: object) -> None:
        raise WorkbookError(f"{path}: refused")

    monkeypatch.setattr(room, "check_workbook_file", refuse)
    monkeypatch.setattr(room, "load_workbook", lambda *_, **__: pytest.fail("read before the gate"))
    with pytest.raises(WorkbookError, match="refused"):
        read_contents(book)


def test_what_openpyxl_raises_is_one_line(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import labelsmooth.workbook.read as room

    def fail(*_: object, **__: object) -> None:
        raise KeyError("a part\nthat is not there")

    monkeypatch.setattr(room, "load_workbook", fail)
    with pytest.raises(WorkbookError, match="cannot be read") as refusal:
        open_book(book)
    assert "\n" not in str(refusal.value)


def test_the_fingerprint_knows_each_input() -> None:
    """Moving any single number of any input moves its fingerprint."""
    example = next(e for e in EXAMPLES if "soft, one smoothing a row, prior a row, mask" in e.name)
    problem = prepare(example.logits, example.labels, example.label_smoothing, **example.options)
    made = make_book(problem, layout="full")
    for word, then in made.fingerprint.items():
        for n, k in np.argwhere(np.isfinite(made.values[word])):
            moved = made.values[word].copy()
            moved[n, k] += 1e-3
            now = replace(made, values={**made.values, word: moved}).fingerprint
            assert abs(now[word] - then) > 1e-4
            assert {w: x for w, x in now.items() if w != word} == {
                w: x for w, x in made.fingerprint.items() if w != word
            }
