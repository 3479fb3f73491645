"""The file itself: what is in it, what it allows, how large it is, and what it refuses to be made of."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, agree
from labelsmooth.maths.conventions import FAMILIES
from labelsmooth.maths.trace import prepare, trace
from labelsmooth.page.build import MOST_ROWS, WORDS, Preset, build, check, core, rows_shown, torch_lines

HOSTILE = [
    "</script><script>window.bad=1</script>",
    "<img src=x onerror=window.bad=1>",
    "<!--",
    "{{script}}",
    "a & b\u2028c",
]
LIMIT = 150_000  # bytes


def preset(logits: Any, labels: Any, **options: Any) -> Preset:
    problem = prepare(logits, labels, **options)
    rows, note = rows_shown(problem)
    return Preset("mine", "my batch", problem, rows, note)


def data_of(page: str) -> Any:
    return json.loads(page.split('id="data">')[1].split("</script>", maxsplit=1)[0])


@pytest.fixture(scope="module")
def page() -> str:
    return build([preset([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], [0, 2], class_names=["x", "y", "z"])])


def test_the_policy_allows_the_two_inline_parts_by_hash_and_nothing_else(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    for kind, tag in (("script-src", r'<script type="module">(.*?)</script>'), ("style-src", "<style>(.*?)</style>")):
        (content,) = re.findall(tag, page, re.DOTALL)
        assert rules[kind] == f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"
    assert "unsafe" not in policy[1]


def test_nothing_in_it_comes_from_elsewhere(page: str) -> None:
    assert not re.search(r"""(?:src|href)\s*=|url\((?!#)|@import|https?://(?!www\.w3\.org)""", page)
    assert not re.search(r"""\sstyle\s*=|\son\w+\s*=\s*["']""", page)  # what the policy would refuse


def test_the_mathematics_in_it_is_what_is_printed_from_the_chain(page: str) -> None:
    printed = re.sub(r"(?m)^export ", "", core())
    assert printed in page
    assert re.findall(r"Math\.(?:exp|log)\(", printed)
    assert not re.findall(r"Math\.(?:exp|log)\(", page.replace(printed, ""))


def test_names_from_outside_are_data_and_end_no_element() -> None:
    made = build([preset(np.eye(5).tolist(), range(5), class_names=HOSTILE, row_names=HOSTILE)])
    assert "window.bad=1>" not in made
    assert made.count("<script") == 2
    (mine,) = data_of(made)["presets"]
    assert mine["classes"] == mine["rows"] == HOSTILE


def test_numbers_keep_every_digit() -> None:
    z = np.random.default_rng(0).normal(size=(3, 4)) / 3
    (mine,) = data_of(build([preset(z, [0, 1, 2])]))["presets"]
    assert mine["logits"] == z.tolist()


def test_the_largest_page_stays_below_the_limit() -> None:
    z = np.random.default_rng(0).normal(size=(40, 100))
    for convention in ("torch", "renormalised"):  # two targets, and three
        assert len(build([preset(z, np.arange(40), convention=convention)]).encode()) < LIMIT


def test_of_many_rows_the_first_the_hardest_and_the_surest_are_shown() -> None:
    random = np.random.default_rng(1)
    z, y = random.normal(0, 2, (50, 4)), random.integers(0, 4, 50)
    y[0] = -100
    problem = prepare(z, y)
    rows, says = rows_shown(problem)
    done = trace(z, y)
    assert len(rows) == MOST_ROWS == len(set(rows))
    assert {1, 2, 3, 4} <= set(rows)
    assert int(np.argmax(done.row_loss)) in rows
    sure = [done.softmax[n, y[n]] - done.target[n, y[n]] for n in range(1, 50)]
    assert 1 + int(np.argmax(sure)) in rows
    assert "12 of 49 rows" in says


def test_rows_that_do_not_count_are_left_out_and_said() -> None:
    rows, says = rows_shown(prepare([[1.0, 2.0], [0.0, 1.0], [5.0, 1.0]], [0, -100, 1]))
    assert rows == [0, 2]
    assert says == "1 rows that do not count are left out."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": [1, 2]}, "no room for class weights"),
        ({"prior": [0.5, 0.5]}, "no room for a prior"),
        ({"label_smoothing": [0.1, 0.2]}, "no room for an ε for each row"),
        ({"labels": [[0.5, 0.5], [1.0, 0.0]]}, "no room for soft labels"),
        ({"class_mask": [1, 1]}, "no room for masked classes"),
        ({"convention": "unnormalised"}, "cannot show the target 'unnormalised'"),
        ({"labels": [-100, -100]}, "no row counts"),
        ({"logits": np.zeros((2, 101))}, "at most 100 classes, got 101"),
    ],
)
def test_what_the_page_cannot_show_is_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        check(prepare(**{"logits": [[1.0, 2.0], [3.0, 0.0]], "labels": [0, 1], **options}))
    assert "\n" not in str(refusal.value)


def test_another_target_is_added_to_the_choice_and_opened_with() -> None:
    made = data_of(build([preset([[1.0, 2.0, 0.0]], [0], convention="renormalised")]))
    assert [family["name"] for family in made["families"]] == ["uniform", "others", "renormalised"]
    assert made["family"] == 2


@pytest.mark.parametrize("name", ["uniform", "others", "renormalised"])
def test_the_lines_of_pytorch_run_and_give_the_chains_numbers(name: str) -> None:
    torch: Any = pytest.importorskip("torch")
    import labelsmooth

    z = torch.tensor([[4.7, -2.5, 0.6], [-1.2, 2.4, 2.6]], dtype=torch.float64, requires_grad=True)
    room = {"torch": torch, "F": torch.nn.functional, "labelsmooth": labelsmooth, "z": z, "K": 3, "eps": 0.1}
    room["y"] = torch.tensor([0, 1])
    lines = torch_lines(FAMILIES[name])
    assert tuple(lines) == WORDS
    for code in lines.values():
        exec(code, room)  # noqa: S102  a line of the page
    right = trace(z.detach().numpy(), [0, 1], 0.1, convention=name)
    for symbol, word in zip("qplhLg", WORDS, strict=True):
        agree(room[symbol], getattr(right, word), budget=FLOAT64, what=word)
