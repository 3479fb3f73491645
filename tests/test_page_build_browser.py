"""The page in a real browser: its numbers, its controls, its address, and that it asks nobody for anything.

One Chromium is started; each test opens pages of its own in it. `labelsmooth.evaluated()` hands out the numbers behind the
figures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agree import FLOAT64, LIBREOFFICE, agree
from labelsmooth.maths.trace import prepare, trace
from labelsmooth.page.build import Preset, build, rows_shown
from test_page_classifier import floor_of

pytestmark = pytest.mark.slow
Open = Callable[..., Any]
HOSTILE = ["</script><script>window.bad=1</script>", "<img src=x onerror=window.bad=1>", "{{script}}"]
CASES = [(5, 2, 0.1, 1.0), (3, 5, 0.0, 1.0), (4, 10, 1.0, 3.0), (4, 3, 0.37, 100.0)]  # N, K, ε, scale
BAD_ADDRESSES = ("e=7", "e=", "e=NaN", "k=1", "k=2000", "r=99", "z=1_2", "z=1_x!", "y=9_9_9_9_9_9", "w=9_once_0_0",
                 "w=0_constructor_0_0",
                 "p=nothing", "n=9", "n=-1",
                 "f=5", "t=0", "s=-1", "d=nothing", "d=__proto__", "%E0%A4%A", "e=<script>")  # fmt: skip


def preset(name: str, logits: Any, labels: Any, **options: Any) -> Preset:
    problem = prepare(logits, labels, **options)
    rows, note = rows_shown(problem)
    return Preset(name, f"the batch {name}", problem, rows, note)


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the page of the post's examples, as the command writes it."""
    pytest.importorskip("click")
    from labelsmooth._paging import post_presets, write_page

    path = tmp_path_factory.mktemp("page") / "post.html"
    write_page(path, post_presets(), force=False)
    return path


@pytest.fixture
def open_page(chromium: Any, post: Path) -> Iterator[Open]:
    """Open a page and watch it: a request, an error or a word on its console is a failure, whatever else was tested."""
    contexts, said = [], []

    def open_one(path: Path = post, hash_: str = "", **options: Any) -> Any:
        options = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
        context = chromium.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda r: None if r.url.partition("#")[0] == path.as_uri() else said.append(r.url))
        page.on("console", lambda m: said.append(m.text))
        page.on("pageerror", lambda e: said.append(str(e)))
        page.goto(path.as_uri() + (f"#{hash_}" if hash_ else ""))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert said == []


def numbers(page: Any) -> dict[str, Any]:
    return dict(
        page.evaluate("(() => { const e = labelsmooth.evaluated(); return { ...e.v, best: e.best, hot: e.hot }; })()")
    )


def go(page: Any, address: str) -> None:
    """Change the address of an open page, and wait until the page has read it."""
    wait = "(to) => new Promise((done) => { addEventListener('hashchange', () => done(), { once: true }); location.hash = to; })"
    page.evaluate(wait, address)


def rows_of(page: Any, first: Any) -> str:
    """The page's logits as its address has them, with another first row."""
    rows = [first, *page.evaluate("labelsmooth.state().logits")[1:]]
    return "!".join("_".join(repr(float(x)) for x in row) for row in rows)


def says(page: Any, name: str) -> str:
    page.evaluate("labelsmooth.finish()")  # what is out of sight is drawn when the hand rests
    return str(page.locator(f"#says-{name}").inner_text())


# Numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES[:2], ids=str)
def test_workbook_page_and_pytorch_give_the_same_numbers(
    case: tuple[int, int, float, float], open_page: Open, soffice: str, tmp_path: Path
) -> None:
    """The three ways: LibreOffice calculates the workbook, Chromium the page, PyTorch its own loss and gradient."""
    torch: Any = pytest.importorskip("torch")
    pytest.importorskip("xlsxwriter")
    from labelsmooth.workbook.book import make_book
    from labelsmooth.workbook.recalc import recalculate
    from labelsmooth.workbook.write import save

    assert soffice
    rows, classes, eps, scale = case
    random = np.random.default_rng(7 + classes)
    z, y = random.normal(0, scale, (rows, classes)), random.integers(0, classes, rows)
    of_torch = torch.tensor(z, requires_grad=True)
    each = torch.nn.functional.cross_entropy(of_torch, torch.tensor(y), label_smoothing=eps, reduction="none")
    each.mean().backward()

    book = make_book(prepare(z, y, eps))
    save(book, tmp_path / "book.xlsx")
    cells = recalculate(tmp_path / "book.xlsx", engine="libreoffice").values["Steps"]
    places = book.layout.places
    sheet = {
        "row_loss": [cells[places["row_loss"].cell(n)] for n in range(rows)],
        "loss": cells[places["loss"].cell()],
        "gradient": [[cells[places["gradient"].cell(n, k)] for k in range(classes)] for n in range(rows)],
    }

    path = tmp_path / "page.html"
    path.write_text(build([preset("mine", z, y, label_smoothing=eps)]), encoding="utf-8")
    seen = numbers(open_page(path))
    right = {"row_loss": each.detach(), "loss": each.mean().item(), "gradient": of_torch.grad}
    for word, value in right.items():
        agree(seen[word], value, budget=FLOAT64, what=f"the page's {word} against PyTorch")
        agree(sheet[word], value, budget=LIBREOFFICE, what=f"the workbook's {word} against PyTorch")
        agree(sheet[word], seen[word], budget=LIBREOFFICE, what=f"the workbook's {word} against the page")


def test_typed_numbers_give_pytorchs_loss_and_gradient(open_page: Open, tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch")
    for rows, classes, eps, scale in CASES:
        random = np.random.default_rng(classes)
        z, y = random.normal(0, scale, (rows, classes)), random.integers(0, classes, rows)
        path = tmp_path / f"{classes}.html"
        path.write_text(build([preset("mine", np.zeros((rows, classes)), y)]), encoding="utf-8")
        address = "!".join("_".join(repr(float(x)) for x in row) for row in z)
        seen = numbers(open_page(path, f"e={eps}&z={address}"))
        of_torch = torch.tensor(z, requires_grad=True)
        loss = torch.nn.functional.cross_entropy(of_torch, torch.tensor(y), label_smoothing=eps)
        loss.backward()
        agree(seen["loss"], loss.item(), budget=FLOAT64, what=f"loss K={classes}")
        agree(seen["gradient"], of_torch.grad, budget=FLOAT64, what=f"gradient K={classes}")


def test_the_posts_five_losses_stand_beside_ours(open_page: Open) -> None:
    page = open_page(hash_="d=pets")
    table = page.locator("#mistakes tbody tr").all_inner_texts()
    printed = [row.split("\t")[1:3] for row in table[:5]]
    assert printed == [[x, x] for x in ("0.3314", "2.1951", "2.3668", "1.2633", "1.9855")]
    assert "0.1439 where PyTorch says 0.3314" in page.locator("#quiz-question").inner_text()


# What one sees -------------------------------------------------------------------------------------------------------


def test_the_resting_page_says_what_smoothing_does_before_anything_is_touched(open_page: Open) -> None:
    page = open_page()
    first = page.locator("#thesis").inner_text()
    for words in ("ε = 0.1", "all 5 classes", "0.92 instead of 1", "leads by 3.83"):
        assert words in first
    assert page.locator("#thesis").bounding_box()["y"] < 400
    for name in ("table", "target", "prediction", "loss", "push", "stop", "train", "heat", "mistake"):
        assert len(says(page, name)) > 30, name
    for name in ("hero", "target", "prediction", "loss", "push", "stop", "train", "heat"):
        assert page.locator(f"#fig-{name} svg[role=img][aria-labelledby]").count() == 1, name
    assert "no number" not in page.inner_text("main")
    assert "undefined" not in page.inner_text("main")


def test_the_push_turns_round_at_the_smoothed_target_and_never_without_smoothing(open_page: Open) -> None:
    page = open_page()
    z = numbers(page)["logits"][0]
    for eps, classes in ((0.1, 5), (0.3, 5)):
        on = 1 - eps + eps / classes
        turn = np.log(on / (1 - on) * np.exp(z[1:]).sum())  # the logit at which p_y = on
        for off, way in ((-0.02, "up"), (0.02, "down")):
            go(page, f"e={eps}&z={rows_of(page, [turn + off, *z[1:]])}")
            seen = numbers(page)
            assert np.sign(seen["push"][0][0]) == (1 if way == "up" else -1)
            assert np.sign(on - seen["softmax"][0][0]) == (1 if way == "up" else -1)
            assert f"pushed {way}" in says(page, "push")
            drawn = page.locator("#fig-push path[data-k='0']").get_attribute("d")
            base, *_, tip = [float(y) for y in re.findall(r",([\d.]+)", drawn)][:4]
            assert (tip < base) == (way == "up")  # up is less on a screen
    go(page, "e=0")
    page.locator("#logit").focus()
    page.keyboard.press("End")
    assert "pushed up" in says(page, "push") or "nowhere" in says(page, "push")
    assert numbers(page)["push"][0][0] > 0
    assert "never turns round" in says(page, "push")


@pytest.mark.parametrize(("eps", "classes"), [(0.05, 5), (0.1, 5), (0.1, 10), (0.5, 2)])
def test_the_bottom_lies_where_the_drawn_curve_is_lowest(eps: float, classes: int, open_page: Open) -> None:
    page = open_page(hash_=f"e={eps}&k={classes}")
    page.evaluate("labelsmooth.finish()")
    points = page.locator("#fig-stop polyline.line-label").get_attribute("points")
    x, y = np.array([[float(v) for v in point.split(",")] for point in points.split()]).T
    lowest = -2 + 14 * (x[np.argmax(y)] - x[0]) / (x[-1] - x[0])  # down is up on a screen
    gap = numbers(page)["best"]["optimum_gap"]
    agree(gap, np.log(1 + classes * (1 - eps) / eps), budget=FLOAT64, what="g*")
    assert abs(lowest - gap) <= 14 / 140
    assert f"g* = {gap:.3f}" in says(page, "stop")


def test_temperature_reaches_the_same_confidence_and_keeps_the_order(open_page: Open) -> None:
    page = open_page()
    found = page.evaluate("labelsmooth.temperatureFor(labelsmooth.evaluated())")
    seen = numbers(page)
    agree(found["p"][0], seen["best"]["on"], budget=FLOAT64, what="p of the label")
    z = np.array(seen["logits"][0])
    agree(found["p"], trace([z / found["T"]], [0]).softmax[0], budget=FLOAT64, what="softmax(z/T)")
    assert list(np.argsort(found["p"])) == list(np.argsort(z))
    go(page, f"z={rows_of(page, [20, 0, 0, 0, 0])}")
    found = page.evaluate("labelsmooth.temperatureFor(labelsmooth.evaluated())")
    agree(found["T"], 20 / np.log(1 + 5 * 0.9 / 0.1), budget=FLOAT64, what="T = g/g*")
    page.select_option("#row", "1")
    assert "No temperature makes cat the answer" in says(page, "heat")


def test_every_mistake_gives_itself_away(open_page: Open) -> None:
    page = open_page(hash_="d=pets")
    for control, value, sign in (
        ("wrong-base", "1", "Every row is × 0.4343, which is 1/ln 10"),
        ("wrong-sum", "1", "The batch is × 5"),
        ("wrong-target", "1", "the paper’s target at ε = 0.2."),
        ("wrong-target", "2", "the target sums to 1−ε/K"),
        ("wrong-target", "4", "the paper’s target at ε = 0.19."),
        ("wrong-logarithm", "missing", "a loss below 0 gives it away"),
        ("wrong-logarithm", "twice", "Probabilities were taken for logits"),
    ):
        page.select_option(f"#{control}", value)
        assert sign in says(page, "mistake"), control
        page.click("#reset")
        assert "No mistake" in says(page, "mistake")
    page.get_by_role("button", name="softmax twice").click()
    assert "No." in page.locator("#quiz-reply").inner_text()
    page.get_by_role("button", name="LOG for LN").click()
    assert "Yes" in page.locator("#quiz-reply").inner_text()
    assert "1/ln 10" in says(page, "mistake")


# The classifier ------------------------------------------------------------------------------------------------------


def classifier_of(torch: Any, points: Any, eps: float, noise: int, steps: int) -> tuple[Any, Any]:
    """The weights that PyTorch's loss trains on the page's points, and softmax of the fresh points."""

    def with_one(cloud: Any) -> Any:
        x = torch.tensor([cloud["first"], cloud["second"]], dtype=torch.float64) / 100
        return torch.cat([x, torch.ones(1, x.shape[1], dtype=torch.float64)]).T

    x, y = with_one(points["train"]), torch.tensor(points["train"]["label"])
    for n, k in points["wrong"][:noise]:
        y[n] = k
    weights = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(x @ weights, y, label_smoothing=eps)
        (slope,) = torch.autograd.grad(loss, weights)
        weights = (weights - 0.5 * slope).detach().requires_grad_()
    return weights.detach(), torch.softmax(with_one(points["fresh"]) @ weights, dim=1).detach()


def test_the_classifier_trains_as_in_pytorch_and_is_judged_as_by_calibration(open_page: Open) -> None:
    torch: Any = pytest.importorskip("torch")
    from labelsmooth.calibration.bins import places
    from labelsmooth.calibration.measures import ece
    from labelsmooth.page.classifier import points

    data, page = points(), open_page()
    for eps, noise, steps in ((0.1, 0, 200), (0.25, 5, 100), (0.1, 2, 0)):
        go(page, f"p=points&e={eps}&n={noise}&s={steps}")
        cells = page.locator("#measures tbody tr").all_inner_texts()
        for column, (seen, smoothing) in enumerate(
            zip(page.evaluate("labelsmooth.both()"), (0.0, eps), strict=True), 1
        ):
            weights, p = classifier_of(torch, data, smoothing, noise, steps)
            got = [seen["weights"][word] for word in ("first_weight", "second_weight", "bias")]
            agree(got, weights, budget=FLOAT64, what="weights")
            confidence, predicted = p.max(dim=1)
            correct = (predicted == torch.tensor(data["fresh"]["label"])).numpy()
            agree(seen["confidence"], confidence, budget=FLOAT64, what="confidence")
            agree(seen["correct"], correct, budget=FLOAT64, what="whether a fresh point is right")
            right = ece(seen["confidence"], correct)
            agree(seen["ece"], right, budget=FLOAT64, what="calibration error")
            agree([seen["ece_floor"], seen["floor_spread"]], floor_of(seen["confidence"]), budget=FLOAT64, what="floor")
            hits = np.bincount(places(confidence.numpy(), 15, "width"), weights=correct, minlength=15)
            agree(seen["bin_hits"], hits, budget=FLOAT64, what="right points in each bin")
            bars = drawn(page, ".kept", "height")[11 * column - 11 : 11 * column]
            agree(np.array(bars) / max(bars), hits[4:] / max(hits), budget=FLOAT64, what="bars")
            shown = [row.split("\t")[column] for row in cells]
            assert shown[:2] == [f"{100 * x:.0f}\N{NO-BREAK SPACE}%" for x in (correct.mean(), confidence.mean())]
            assert shown[2].startswith(f"{right:.3f}\nby chance {seen['ece_floor']:.3f} ±")  # no bare number


def test_the_shades_begin_where_the_classifier_is_as_sure_as_they_say(open_page: Open) -> None:
    page = open_page(hash_="p=points&s=100")
    models, shades = page.evaluate("labelsmooth.both()"), drawn(page, "polygon", "points")
    edges = [drawn(page, ".map", name) for name in ("x", "y", "width")]
    for shade, (model, level, k) in zip(shades, product((0, 1), (0.5, 0.7, 0.9, 0.99), (0, 1, 2)), strict=True):
        left, top, size = (edge[model] for edge in edges)
        at = np.array([point.split(",") for point in shade.split()], float).reshape(-1, 2)
        inner = ((at > [left + 1, top + 1]) & (at < [left + size - 1, top + size - 1])).all(axis=1)  # not the frame
        x = (2 * (at[inner] - [left, top]) / size - 1) * [3.1, -3.1]
        first, second, bias = (models[model]["weights"][w] for w in ("first_weight", "second_weight", "bias"))
        p = trace(x @ [first, second] + bias, np.zeros(len(x), int)).softmax[:, k] if len(x) else np.array([])
        assert np.abs(p - level).max(initial=0) < 0.02, (model, level, k)


def drawn(page: Any, what: str, name: str) -> list[Any]:
    """An attribute of each such element of the classifier's figure; numbers as numbers."""
    values = page.locator(f"#fig-points {what}").evaluate_all(f"(all) => all.map((e) => e.getAttribute('{name}'))")
    return values if name == "points" else [float(x) for x in values]


def test_wrong_labels_humble_a_model_that_was_too_sure(open_page: Open) -> None:
    """What the tab is there to show: at first smoothing helps, and with a sixth of the labels wrong it overdoes it."""
    page = open_page(hash_="p=points&m=predict")
    assert not page.locator("#steps").is_visible()
    page.get_by_label("that of ε = 0.1").check()
    page.locator("#ask-points button").click()
    assert page.locator("#reply-points").inner_text().startswith("Yes")
    assert page.locator("#steps").is_visible()
    assert "0.132 for hard labels" in page.locator("#reply-points").inner_text()
    first, then = says(page, "points").split(". Smoothed")
    assert first.endswith(
        "promise 96\N{NO-BREAK SPACE}% on fresh points and are right in 84\N{NO-BREAK SPACE}%: too sure"
    )
    assert "as sure as they should be" in then
    page.locator("#noise").fill("4")
    first, then = says(page, "points").split(". Smoothed")
    assert first.endswith("as sure as they should be")
    assert "not sure enough" in then
    assert page.locator("#fig-points .false").count() == 2 * 4
    go(page, "p=points&m=predict&n=4")
    assert page.locator("#ask-points legend").inner_text().startswith("With 4 of 24 labels wrong")


def test_the_classifier_waits_for_its_slider_to_rest_and_says_so(open_page: Open) -> None:
    page = open_page(hash_="p=points")
    page.locator("#fig-points").scroll_into_view_if_needed()
    before = says(page, "points")
    state = """async (last) => { const slider = document.getElementById("noise");
      for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame); // until the page knows what is in view
      for (let n = 1; n <= last; n++) { slider.value = n; slider.dispatchEvent(new Event("input", { bubbles: true })); }
      const figure = document.getElementById("fig-points");
      return [figure.className, figure.getAttribute("aria-busy"), document.getElementById("noise-out").textContent]; }"""
    assert page.evaluate(state, 8) == ["fig waiting", "true", "8 of 24"]
    page.wait_for_selector("#fig-points:not(.waiting)")
    assert says(page, "points") != before
    assert page.locator("#fig-points").get_attribute("aria-busy") == "false"


def test_tabs_are_worked_by_arrow_keys(open_page: Open) -> None:
    page = open_page()
    for key, name in (("ArrowRight", "points"), ("ArrowRight", "row"), ("End", "points"), ("Home", "row")):
        page.locator("[role=tab][aria-selected=true]").focus()
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.id") == f"tab-{name}"
        assert page.locator("[role=tab][aria-selected=true]").get_attribute("id") == f"tab-{name}"
        assert page.locator("[role=tabpanel]:visible").get_attribute("aria-labelledby") == f"tab-{name}"


# Controls ------------------------------------------------------------------------------------------------------------


def test_every_control_is_reached_by_tab_and_moved_by_keys(open_page: Open) -> None:
    page = open_page()
    every = page.evaluate("""() => [...document.querySelectorAll('input, select, button, summary, [tabindex]')]
      .filter((e) => e.checkVisibility() && e.tabIndex >= 0 && !(e.type === 'radio' && !e.checked))
      .map((e, i) => { e.dataset.stop = i; return i; }).length""")
    reached = set()
    for _ in range(every + 2):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.dataset.stop"))
        shown = page.evaluate(
            "document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle"
        )
        assert shown not in {"none", ""}
    assert reached - {None} == {str(i) for i in range(every)}
    moves = {
        "#eps": ("ArrowRight", "eps"), "#temperature": ("ArrowRight", "temperature"), "#time": ("ArrowLeft", "time"),
        "#logit": ("ArrowRight", "logits"), "#row": ("ArrowDown", "row"), "#classes": ("ArrowUp", "classes"),
        "#eps-exact": ("5", "eps"), "#rewind": ("Enter", "time"), "#step": ("Space", "time"), "#play": ("Enter", "time"),
        "#wrong-target": ("ArrowDown", "wrong"), "#wrong-logarithm": ("ArrowDown", "wrong"),
        "#wrong-base": ("ArrowDown", "wrong"),
        "#wrong-sum": ("ArrowDown", "wrong"), "#families input:checked": ("ArrowRight", "family"),
        "#table input >> nth=3": ("7", "logits"), "#table select >> nth=2": ("ArrowDown", "labels"),
        "#tab-row": ("ArrowRight", "tab"), "#noise": ("ArrowRight", "noise"), "#tab-points": ("Home", "tab"),
        "#predict": ("Space", "predict"), "#reset": ("Enter", "eps"), "#preset": ("ArrowDown", "preset"),
    }  # fmt: skip
    for control, (key, part) in moves.items():
        before = page.evaluate(f"JSON.stringify(labelsmooth.state().{part})")
        page.locator(control).first.focus()
        page.keyboard.press(key)
        assert page.evaluate(f"JSON.stringify(labelsmooth.state().{part})") != before, control


def test_sliders_say_their_value(open_page: Open) -> None:
    page = open_page()
    for slider, output in (
        ("temperature", "T = 1.05"),
        ("logit", "4.75"),
        ("time", f"{round(np.expm1(0.99 * np.log1p(2000))):,}"),
    ):
        page.locator(f"#{slider}").focus()
        page.keyboard.press("ArrowLeft" if slider == "time" else "ArrowRight")
        assert page.locator(f"#{slider}-out").inner_text() == output
    page.locator("#eps").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#eps").get_attribute("aria-valuetext") == "0.11"
    assert page.locator("#eps-exact").input_value() == "0.11"


def test_training_plays_and_under_reduced_motion_steps(open_page: Open) -> None:
    moving = open_page(reduced_motion="no-preference", hash_="s=0")
    moving.click("#play")
    for _ in range(100):
        moving.wait_for_timeout(50)
        if moving.evaluate("labelsmooth.state().time") > 3:
            break
    else:
        raise AssertionError("nothing moved in five seconds")
    moving.click("#play")
    still = open_page(hash_="s=8")
    still.click("#play")
    assert still.evaluate("labelsmooth.state().time") == 16
    assert still.locator("#play").inner_text() == "Play"


def test_a_prediction_is_asked_before_the_answer_is_shown(open_page: Open) -> None:
    page = open_page(hash_="m=predict")
    shown = page.inner_text("main")
    assert not any(figure in shown for figure in ("instead of 1", "turns round", "3.83", "3.829"))  # the answers
    for name in ("target", "prediction", "loss", "push", "stop", "train", "heat"):
        answer = page.locator(f"#ask-{name} + .answer")
        assert not answer.is_visible(), name
        page.locator(f"#ask-{name} input").first.check()
        page.locator(f"#ask-{name} button").click()
        assert answer.is_visible(), name
        assert page.locator(f"#reply-{name}").inner_text().startswith(("Yes", "It is"))
        assert answer.locator("svg").first.bounding_box()["width"] > 300
    page.check("#explore")
    assert page.locator("#ask-target input").count() == 0


def test_nothing_moves_after_a_number_is_typed(open_page: Open) -> None:
    """Or a click on what stands below it misses; only a slider may leave panels out of sight for later."""
    page = open_page()
    moved = """([id, value]) => {
        const control = document.getElementById(id), place = () => document.getElementById("families").getBoundingClientRect().y;
        control.value = value;
        control.dispatchEvent(new Event("input"));
        const before = place();
        labelsmooth.finish();
        return place() - before;
    }"""
    assert page.evaluate(moved, ["eps-exact", "0.333"]) == 0
    assert page.evaluate(moved, ["classes", "7"]) == 0


def test_a_resize_draws_what_is_in_sight_and_leaves_the_rest(open_page: Open) -> None:
    """A slider that adds a line resizes the page, and must not wait for all the panels."""
    page = open_page()
    drawn = """() => new Promise((done) => {
        window.setTimeout = () => 0;  // the hand does not rest
        const marks = ["hero", "heat"].map((name) => document.querySelector(`#fig-${name} svg`).lastElementChild);
        document.querySelector("main").append("one more line");
        const frames = (n) => requestAnimationFrame(() => (n ? frames(n - 1) : done(marks.map((mark) => !mark.isConnected))));
        frames(3);
    })"""
    assert page.evaluate(drawn) == [True, False]


# The address ---------------------------------------------------------------------------------------------------------


def test_a_link_opens_the_page_as_it_stands(open_page: Open) -> None:
    page = open_page()
    page.fill("#table input >> nth=7", "3.3125")
    page.select_option("#table select >> nth=1", "3")
    page.fill("#eps-exact", "0.333")
    page.fill("#classes", "7")
    page.check("#families input >> nth=1")
    page.select_option("#row", "1")
    page.select_option("#wrong-base", "1")
    page.locator("#temperature").fill("0.3")
    page.locator("#time").fill("40")
    page.click("#tab-points")
    page.locator("#noise").fill("3")
    page.click("#copy")
    link = page.evaluate("location.hash")
    other = open_page(hash_=link[1:])
    state = "JSON.stringify(labelsmooth.state(), (k, x) => k === 'logits' ? x.map((r) => [...r, 0, 0].slice(0, 7)) : x)"
    assert other.evaluate(state) == page.evaluate(state)
    assert other.evaluate("labelsmooth.address()") == link[1:]
    assert numbers(other) == numbers(page)
    page.click("#reset")
    assert page.evaluate("labelsmooth.address()") == ""


def test_an_address_that_means_nothing_changes_nothing(open_page: Open) -> None:
    page = open_page(hash_="e=0.2")
    for bad in BAD_ADDRESSES:
        go(page, bad)
        assert page.evaluate("labelsmooth.address()") == "", bad
        assert "0.92 instead of 1" in page.locator("#thesis").inner_text(), bad


# Safety, and everybody -----------------------------------------------------------------------------------------------


def test_a_hostile_name_is_text(open_page: Open, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    z = [[1.0, 2.0, 0.0], [3.0, 0.0, 1.0], [0.0, 0.0, 4.0]]
    path.write_text(build([preset("mine", z, [1, 0, 2], class_names=HOSTILE, row_names=HOSTILE)]), encoding="utf-8")
    page = open_page(path, "m=predict")
    assert page.evaluate("window.bad") is None
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert page.locator("#table thead th").nth(2).inner_text() == HOSTILE[0]
    assert HOSTILE[1] in page.locator("#thesis").inner_text()


def test_the_policy_stops_a_script_and_a_request_that_were_smuggled_in(
    chromium: Any, post: Path, tmp_path: Path
) -> None:
    smuggled = tmp_path / "smuggled.html"
    extra = "<script>window.bad = 1</script><img src='http://example.org/x.png'></main>"
    smuggled.write_text(post.read_text(encoding="utf-8").replace("</main>", extra), encoding="utf-8")
    page = chromium.new_page()
    said: list[str] = []
    page.on("console", lambda m: said.append(m.text))
    page.goto(smuggled.as_uri())
    assert page.evaluate("window.bad") is None
    assert sum("Content Security Policy" in line for line in said) == 2
    page.close()


@pytest.mark.parametrize(("scheme", "hash_"), [("light", "n=4"), ("dark", "n=4&m=predict")])
def test_axe_finds_nothing(scheme: str, hash_: str, open_page: Open) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(hash_=hash_, color_scheme=scheme)

    def found(part: str | None = None) -> list[tuple[str, str]]:
        return [(v["id"], v["nodes"][0]["html"]) for v in axe.Axe().run(page, context=part).response["violations"]]

    assert found() == []
    page.click("#tab-points")
    assert found("[data-panel=train]") == []
    if "predict" in hash_:
        page.click("#ask-points button")
        assert found("[data-panel=train]") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_stand_out_from_the_card_at_three_to_one(scheme: str, open_page: Open) -> None:
    page = open_page(color_scheme=scheme)
    script = "(name) => getComputedStyle(document.documentElement).getPropertyValue(name)"

    def light(name: str) -> float:
        digits = page.evaluate(script, f"--{name}").strip().lstrip("#")
        digits = "".join(c * 2 for c in digits) if len(digits) == 3 else digits
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for mark, least in (("label", 4.5), ("model", 4.5), ("noise", 4.5), ("edge", 3.0), ("ink", 7.0), ("soft", 4.5)):
        for ground in ("card", "paper"):
            high, low = sorted((light(mark), light(ground)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= least, (mark, ground)


@pytest.mark.parametrize("width", [320, 768, 3840])
def test_nothing_sticks_out_on_any_screen(width: int, open_page: Open, tmp_path: Path) -> None:
    path = tmp_path / "wide.html"
    z = np.random.default_rng(0).normal(size=(12, 100))
    path.write_text(build([preset("mine", z, np.arange(12))]), encoding="utf-8")
    for one in ({"hash_": "p=points"}, {"path": path}):
        page = open_page(viewport={"width": width, "height": 700}, **one)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width == 3840:
            assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") > 28


def test_the_printed_page_is_a_handout(open_page: Open) -> None:
    page = open_page(color_scheme="dark", hash_="p=points")
    page.emulate_media(media="print")
    assert not page.locator(".setup").is_visible()
    assert not page.get_by_role("tab").first.is_visible()
    assert page.locator("#says-points").is_visible()
    assert not page.locator("#play").is_visible()
    assert page.locator("#says-stop").is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.panel')).backgroundColor") == "rgb(255, 255, 255)"
    pages = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4", print_background=True)))
    assert 2 <= pages <= 4
