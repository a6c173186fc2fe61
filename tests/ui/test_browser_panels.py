"""What the live view shows of tasks that have a panel of their own: records made by hand go in, drawings and words come out."""

import re
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import pytest
from playwright.sync_api import Page, expect

from tests.ui import sample_records
from tests.ui.test_browser import browser
from ui import page as pages
from ui.components.thought_view import build_thought_view

__all__ = ["browser"]
pytestmark = pytest.mark.browser
Show = Callable[[object], Page]
OWN = ("field", "stack", "speech", "phases")


@pytest.fixture(scope="module")
def server():
    """A page with nothing but a thought, what it shows next, and its address."""
    following: dict[str, object] = {}
    with gr.Blocks() as built:
        thought, number = build_thought_view("thought"), gr.Textbox(elem_id="number")
        show = gr.Button("Show", elem_id="show")
        show.click(lambda: (following["value"], str(following["number"])), None, [thought, number])
    _, address, _ = built.launch(prevent_thread_lock=True, quiet=True, **pages.get_launch_options())
    yield following, address
    built.close()


@pytest.fixture(scope="module")
def show(browser, server):
    """Sends a record to the one page and gives the page back; any error of its scripts fails the module."""
    following, address = server
    page = browser.new_page(viewport={"width": 1100, "height": 1400}, reduced_motion="reduce")
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#thought .live", state="attached")

    def send(value: object) -> Page:
        following.update(value=value, number=int(str(following.get("number", 0))) + 1)
        page.click("#show")
        expect(page.locator("#number textarea, #number input")).to_have_value(str(following["number"]))
        return page

    yield send
    page.close()
    assert errors == []


def part(page: Page, name: str):
    return page.locator(f"#thought [data-live={name}]")


def says(page: Page, name: str, words: str) -> None:
    expect(part(page, name)).to_have_attribute("aria-label", re.compile(words))


def at(page: Page, tick: int) -> None:
    part(page, "slider").fill(str(tick))


def drawn(page: Page, name: str, tick: int) -> str:
    """The picture of a panel at a tick."""
    at(page, tick)
    return part(page, name).evaluate("canvas => canvas.toDataURL()")


def own_panels(page: Page) -> list[str]:
    return [name for name in OWN if part(page, f"{name}-panel").is_visible()]


def test_a_dot_is_expected_where_the_answer_says_and_judged_by_its_path(show):
    page = show(sample_records.tracked())
    says(page, "field", "expects the dot at row 5, column 6, 94 % sure, right; 4 of 5 frames are seen")
    assert own_panels(page) == ["field"] and len({drawn(page, "field", tick) for tick in (1, 2, 3, 4)}) == 4
    at(page, 1)
    says(page, "field", "row 8, column 15, 6 % sure, wrong")
    several = sample_records.tracked()
    several["input"]["path"]["frames"][1:] = [None] * 4  # from one frame nobody knows where it goes
    says(show(several), "field", "94 % sure; 1 of 5 frames")


def test_a_quarter_is_expected(show):
    record = sample_records.tracked()
    chances = [[0.1, 0.7, 0.1, 0.1]] * 3 + [[0.8, 0.1, 0.05, 0.05]]
    record["choices"] = {
        "kind": "classes",
        "of": 4,
        "labels": ["upper left", "upper right", "lower left", "lower right"],
        "probabilities": chances,
    }
    page = show(record)
    says(page, "field", "in the upper left quarter, 80 % sure, right")
    at(page, 1)
    says(page, "field", "in the upper right quarter, 70 % sure, wrong")


def test_brackets_show_what_is_believed_of_the_stack(show):
    page = show(sample_records.stacked())
    assert own_panels(page) == ["stack"] and not part(page, "answer-panel").is_visible()
    says(page, "stack", "not balanced, broken: 90 % sure, right; its belief is mistaken after 0 of 3")
    for tick, words in (
        (1, "balanced: 60 % sure, wrong; .* after 2 of 3"),
        (2, r"\[ is left open: .* right for a wrong reason; .* after 1 of"),
    ):
        at(page, tick)
        says(page, "stack", words)


def test_numbers_are_said_one_after_the_other(show, tmp_path):
    page = show(sample_records.spoken())
    assert own_panels(page) == ["speech"] and not part(page, "answer-panel").is_visible()
    says(page, "speech", "has said 4 of 4 numbers, 1 of them out of order: \u22121.5 3 40 7")
    at(page, 5)
    says(page, "speech", "2 of 4 numbers, in order: \u22121.5 3$")
    with page.expect_download() as waiting:
        part(page, "csv").click()
    said = [line.split(",")[-1] for line in Path(waiting.value.path()).read_text().splitlines()]
    assert said == ["answer_1", "", "-1.5", "", "3", "", "40", "7"]


def test_what_is_shown_comes_in_phases_and_is_looked_at_one_by_one(show):
    page = show(sample_records.in_phases())
    assert own_panels(page) == ["phases"]
    says(page, "phases", "At tick 12 comes: answer; it may answer now")
    assert len({drawn(page, "attention", tick) for tick in (2, 5, 7)}) == 3
    assert drawn(page, "attention", 1) == drawn(page, "attention", 3), "the same picture, looked at alike"
    at(page, 5)
    says(page, "phases", "At tick 5 comes: 2nd digit; it listens until tick 8")
    heard = sample_records.in_phases() | {"listening": 0}
    before = drawn(page, "chart", 5)
    assert before != drawn(show(heard), "chart", 5), "the chart shows how long it listens"


def test_an_answer_at_once_needs_no_playback(show):
    page = show(sample_records.at_once())
    expect(part(page, "transport")).to_be_hidden()
    expect(part(page, "note")).to_have_text("Thinking took 12 ms.")
    expect(part(page, "answer-title")).to_have_text("The answer")
    assert own_panels(page) == []
    expect(part(show(sample_records.spoken()), "transport")).to_be_visible()


@pytest.mark.parametrize(
    "make, key, odd",
    [
        (sample_records.tracked, "path", [None, 7, {"side": 1e9}, {"side": 16, "frames": [[1], "x", None]}]),
        (sample_records.stacked, "stack", [[], {"depths": [1, 2, 1]}, {"depths": [1], "tops": [9]}]),
        (sample_records.spoken, "numbers", [None, [1, 2], ["x", None, 3, 4]]),
        (sample_records.in_phases, "phases", [{}, [], [None], [{"name": "x", "from": 9, "until": 2}]]),
    ],
)
def test_odd_notes_of_a_task_leave_its_panel_out(show, make, key, odd):
    for value in odd:
        record = make()
        record["input"][key] = value
        page = show(record)
        expect(part(page, "sentence")).to_have_text("It is done.")
        assert own_panels(page) == []
