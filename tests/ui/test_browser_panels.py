"""Test the panels of tasks in the thought view with handwritten records."""

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
TASK_PANELS = ("tracking", "stack", "ctc", "schedule")


@pytest.fixture(scope="module")
def panels_server():
    """Serve a page with the thought view only. Yield the state that holds the record to show, and the address."""
    state: dict[str, object] = {}
    with gr.Blocks() as blocks:
        thought, number = build_thought_view(), gr.Textbox(elem_id="number")
        show = gr.Button("Show", elem_id="show")
        show.click(lambda: (state["value"], str(state["number"])), None, [thought, number])
    _, address, _ = blocks.launch(prevent_thread_lock=True, quiet=True, **pages.get_launch_options())
    yield state, address
    blocks.close()


@pytest.fixture(scope="module")
def show(browser, panels_server):
    """Return a function that shows a record and returns the page. An error in the scripts fails the tests."""
    state, address = panels_server
    page = browser.new_page(viewport={"width": 1100, "height": 1400}, reduced_motion="reduce")
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#thought .thought", state="attached")

    def send(value: object) -> Page:
        state.update(value=value, number=int(str(state.get("number", 0))) + 1)
        page.click("#show")
        expect(page.locator("#number textarea, #number input")).to_have_value(str(state["number"]))
        return page

    yield send
    page.close()
    assert errors == []


def locate_part(page: Page, name: str):
    return page.locator(f"#thought [data-thought={name}]")


def expect_label(page: Page, name: str, label: str) -> None:
    expect(locate_part(page, name)).to_have_attribute("aria-label", re.compile(label))


def seek_tick(page: Page, tick: int) -> None:
    locate_part(page, "slider").fill(str(tick))


def capture_panel(page: Page, name: str, tick: int) -> str:
    """Return the image of a panel at a tick."""
    seek_tick(page, tick)
    return locate_part(page, name).evaluate("canvas => canvas.toDataURL()")


def list_task_panels(page: Page) -> list[str]:
    return [name for name in TASK_PANELS if locate_part(page, f"{name}-panel").is_visible()]


def test_the_tracking_panel_shows_the_predicted_dot_and_whether_it_is_correct(show):
    page = show(sample_records.make_tracking_record())
    expect_label(
        page, "tracking", "predicts the dot at row 5, column 6, 94% probability, correct; 4 of 5 frames are shown"
    )
    assert (
        list_task_panels(page) == ["tracking"]
        and len({capture_panel(page, "tracking", tick) for tick in (1, 2, 3, 4)}) == 4
    )
    seek_tick(page, 1)
    expect_label(page, "tracking", "row 8, column 15, 6% probability, wrong")
    single_frame_record = sample_records.make_tracking_record()
    single_frame_record["input"]["path"]["frames"][1:] = [None] * 4  # one frame does not determine the motion
    expect_label(show(single_frame_record), "tracking", "94% probability; 1 of 5 frames")


def test_the_tracking_panel_shows_the_predicted_quarter(show):
    record = sample_records.make_tracking_record()
    probabilities = [[0.1, 0.7, 0.1, 0.1]] * 3 + [[0.8, 0.1, 0.05, 0.05]]
    record["choices"] = {
        "kind": "classes",
        "of": 4,
        "labels": ["upper left", "upper right", "lower left", "lower right"],
        "probabilities": probabilities,
    }
    page = show(record)
    expect_label(page, "tracking", "in the upper left quarter, 80% probability, correct")
    seek_tick(page, 1)
    expect_label(page, "tracking", "in the upper right quarter, 70% probability, wrong")


def test_the_stack_panel_shows_the_predicted_stack_of_brackets(show):
    page = show(sample_records.make_stack_record())
    assert list_task_panels(page) == ["stack"] and not locate_part(page, "answer-panel").is_visible()
    expect_label(
        page, "stack", "not balanced, closed wrongly: 90% probability, correct; its prediction is wrong after 0 of 3"
    )
    for tick, label in (
        (1, "balanced: 60% probability, wrong; .* after 2 of 3"),
        (2, r"\[ is left open: .* correct for a wrong reason; .* after 1 of"),
    ):
        seek_tick(page, tick)
        expect_label(page, "stack", label)


def test_the_ctc_panel_shows_the_numbers_that_are_emitted_up_to_a_tick(show, tmp_path):
    page = show(sample_records.make_ctc_record())
    assert list_task_panels(page) == ["ctc"] and not locate_part(page, "answer-panel").is_visible()
    expect_label(page, "ctc", "has output 4 of 4 numbers, 1 of them out of order: \u22121.5 3 40 7")
    seek_tick(page, 5)
    expect_label(page, "ctc", "2 of 4 numbers, in order: \u22121.5 3$")
    with page.expect_download() as download_info:
        locate_part(page, "csv").click()
    cells = [line.split(",")[-1] for line in Path(download_info.value.path()).read_text().splitlines()]
    assert cells == ["answer_1", "", "-1.5", "", "3", "", "40", "7"]


def test_the_schedule_panel_shows_the_input_and_the_attention_of_each_phase(show):
    page = show(sample_records.make_scheduled_record())
    assert list_task_panels(page) == ["schedule"]
    expect_label(page, "schedule", "At tick 12 the input is answer; the model may answer")
    assert len({capture_panel(page, "attention", tick) for tick in (2, 5, 7)}) == 3
    assert capture_panel(page, "attention", 1) == capture_panel(page, "attention", 3), (
        "both ticks have the same image and the same attention"
    )
    seek_tick(page, 5)
    expect_label(page, "schedule", "At tick 5 the input is 2nd digit; it answers after tick 8")
    record_with_input_ticks = sample_records.make_scheduled_record() | {"listening": 0}
    before = capture_panel(page, "chart", 5)
    assert before != capture_panel(show(record_with_input_ticks), "chart", 5), "the chart marks the input ticks"


def test_a_record_of_one_tick_has_no_playback_controls(show):
    page = show(sample_records.make_single_tick_record())
    expect(locate_part(page, "transport")).to_be_hidden()
    expect(locate_part(page, "note")).to_have_text("Computed in 12 ms on the server.")
    expect(locate_part(page, "answer-title")).to_have_text("Answer")
    assert list_task_panels(page) == []
    expect(locate_part(show(sample_records.make_ctc_record()), "transport")).to_be_visible()


@pytest.mark.parametrize(
    "make_record, key, invalid_values",
    [
        (
            sample_records.make_tracking_record,
            "path",
            [None, 7, {"side": 1e9}, {"side": 16, "frames": [[1], "x", None]}],
        ),
        (sample_records.make_stack_record, "stack", [[], {"depths": [1, 2, 1]}, {"depths": [1], "tops": [9]}]),
        (sample_records.make_ctc_record, "numbers", [None, [1, 2], ["x", None, 3, 4]]),
        (sample_records.make_scheduled_record, "phases", [{}, [], [None], [{"name": "x", "from": 9, "until": 2}]]),
    ],
)
def test_invalid_task_data_hides_the_panel_of_the_task(show, make_record, key, invalid_values):
    for value in invalid_values:
        record = make_record()
        record["input"][key] = value
        page = show(record)
        expect(locate_part(page, "sentence")).to_have_text("It is done.")
        assert list_task_panels(page) == []
