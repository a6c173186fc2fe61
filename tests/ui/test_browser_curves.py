"""Test the training curves in a real browser: updates with a zoom, a hidden run or a crosshair."""

import math
import re
from collections.abc import Callable

import gradio as gr
import pytest
from playwright.sync_api import Page, expect

from tests.ui.test_browser import browser
from ui import page as pages
from ui.components.curves import build_curves_view
from ui.services.training_curves import ACCURACY_BY_TICK_KEY, build_curves_data

__all__ = ["browser"]
pytestmark = pytest.mark.browser
Show = Callable[[object], Page]
INVALID_VALUES = [
    None,
    7,
    "text",
    [],
    {},
    {"charts": 5, "runs": "x"},
    {"charts": [None, 3, {"id": "a"}], "runs": [None, {"name": "r"}]},
    {
        "charts": [{"id": "a", "series": [{"key": "k"}, {"key": "__proto__"}]}] * 2,
        "runs": [{"name": "r", "points": {"k": 3}}],
    },
    {
        "charts": [{"id": "a", "series": [{"key": "k"}]}],
        "runs": [{"name": "r", "points": {"k": [[1, "x", None], [2]]}}] * 2,
    },
    {
        "charts": [{"id": "a", "log": True, "percent": True, "series": [{"key": "k"}]}],
        "runs": [
            {"name": "r", "points": {"k": [[5, 5, -1e30, 1e30, 1e300], [0, -1e30, 1e30, 5e-324, 1]]}},
            {"name": "s"},
        ],
    },
    {
        "charts": [
            {
                "id": "<img src=x onerror=alert(1)>",
                "title": "{{value}} ${1}",
                "help": {},
                "series": [{"key": "k", "label": "<b>"}],
            }
        ],
        "runs": [{"name": "<script>", "steps": "x", "points": {"k": [[1], [1e-30]]}}],
        "note": {"a": 1},
    },
]


@pytest.fixture(scope="module")
def curves_server():
    """Serve a page with curves only. Yield the state that holds the value to show, and the address."""
    state: dict[str, object] = {}
    with gr.Blocks() as blocks:
        curves = build_curves_view("curves")
        gr.Button("Show", elem_id="show").click(
            lambda: (state["value"], state["count"]), None, [curves, gr.Textbox(elem_id="count")]
        )
    _, address, _ = blocks.launch(prevent_thread_lock=True, quiet=True, **pages.get_launch_options())
    yield state, address
    blocks.close()


@pytest.fixture
def show(browser, curves_server):
    """Return a function that shows a value and returns the page. An error on the page fails the test."""
    state, address = curves_server
    page = browser.new_page(viewport={"width": 1100, "height": 1400})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda message: (
            errors.append(message.text) if message.type == "error" and "resource" not in message.text else None
        ),
    )
    page.goto(address)
    page.wait_for_selector("#curves .curves", state="attached")

    def send(value: object) -> Page:
        state.update(value=value, count=str(state.get("number", 0)), number=state.get("number", 0) + 1)
        page.click("#show")
        expect(page.locator("#count textarea, #count input")).to_have_value(state["count"])
        return page

    yield send
    page.close()
    assert errors == []


def make_lines(last_step: int, time_scale: float = 1.0) -> list[dict]:
    lines = []
    for step in range(20, last_step + 1, 20):
        lines.append(
            {"step": step, "loss": 2 * math.exp(-step / 500 / time_scale), "lr": 1e-4, "steps_per_second": 9.5}
        )
        if step % 100 == 0:
            by_tick = [step / 2000 * tick / 10 for tick in range(1, 11)]
            lines.append({"step": step, "validation_accuracy_last": by_tick[-1], ACCURACY_BY_TICK_KEY: by_tick})
    return lines


def make_one_run(last_step: int) -> dict:
    return build_curves_data([("first", make_lines(last_step), 2000)])


def make_two_runs(last_step: int) -> dict:
    return build_curves_data(
        [("first", make_lines(last_step), 2000), ("second", make_lines(last_step // 2, time_scale=2), 2000)]
    )


def locate_chart(page: Page, name: str):
    return page.locator(f"#curves [data-chart={name}]")


def drag(page: Page, first: float, last: float, name: str = "loss") -> None:
    box = locate_chart(page, name).locator(".curves-overlay").bounding_box()
    page.mouse.move(box["x"] + first * box["width"], box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + last * box["width"], box["y"] + 50, steps=4)
    page.mouse.up()


def capture_chart(page: Page, name: str = "loss") -> str:
    return locate_chart(page, name).locator(".curves-lines").evaluate("canvas => canvas.toDataURL()")


def count_hues(page: Page, name: str = "loss") -> int:
    """Return the number of saturated hues in a chart."""
    return (
        locate_chart(page, name)
        .locator(".curves-lines")
        .evaluate("""canvas => {
      const seen = new Map(), data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      for (let at = 0; at < data.length; at += 4) {
        const colour = [data[at], data[at + 1], data[at + 2]];
        if (data[at + 3] < 255 || Math.max(...colour) - Math.min(...colour) < 90) continue;
        seen.set(colour.join(), (seen.get(colour.join()) ?? 0) + 1);
      }
      return [...seen.values()].filter((count) => count > 20).length;
    }""")
    )


def locate_range_label(page: Page):
    return page.locator("#curves [data-curves=position]")


def locate_reset_button(page: Page):
    return page.get_by_role("button", name="Reset zoom")


def test_new_values_are_drawn_and_their_last_value_is_shown(show):
    page = show(build_curves_data([("first", [], 2000)]))
    expect(page.locator("#curves [data-curves=note]")).to_have_text("Waiting for the first step.")
    show(make_one_run(1000))
    expect(page.locator("#curves h3")).to_have_text(
        ["Loss", "Accuracy", "Accuracy by tick, last evaluation", "Learning rate", "Speed"]
    )
    expect(locate_chart(page, "loss").locator(".curves-value")).to_have_text("0.2707")
    expect(locate_chart(page, "rate").locator(".curves-value")).to_have_text("1e\u22124")
    expect(locate_chart(page, "accuracy").locator(".curves-overlay")).to_have_attribute(
        "aria-label", re.compile(r"Accuracy, at step 1,000: held out, last tick 50%")
    )
    expect(locate_reset_button(page)).to_be_hidden()
    assert count_hues(page) == 1
    show(make_one_run(1200))
    expect(locate_chart(page, "loss").locator(".curves-value")).to_have_text("0.1814")


def test_the_zoom_is_kept_after_an_update_and_shared_by_all_step_charts(show):
    page = show(make_one_run(1000))
    full_range = {name: capture_chart(page, name) for name in ("loss", "rate", "by-tick")}
    drag(page, 0.3, 0.6)
    expect(locate_reset_button(page)).to_be_visible()
    zoomed = re.search(r"Zoomed to steps \d+ to \d+", locate_range_label(page).inner_text())[0]
    page.mouse.move(1, 1)
    assert capture_chart(page) != full_range["loss"] and capture_chart(page, "rate") != full_range["rate"]
    assert capture_chart(page, "by-tick") == full_range["by-tick"]
    before = capture_chart(page)
    show(make_one_run(1400))
    expect(locate_range_label(page)).to_have_text(re.compile(zoomed))
    assert capture_chart(page, "rate") != full_range["rate"]
    show(make_one_run(1000))
    assert capture_chart(page) == before
    locate_reset_button(page).click()
    expect(locate_reset_button(page)).to_be_hidden()
    page.mouse.move(1, 1)
    assert capture_chart(page) == full_range["loss"]


def test_a_double_click_resets_the_zoom(show):
    page = show(make_one_run(1000))
    drag(page, 0.3, 0.6)
    expect(locate_reset_button(page)).to_be_visible()
    locate_chart(page, "rate").locator(".curves-overlay").dblclick()
    expect(locate_reset_button(page)).to_be_hidden()


def test_the_zoom_is_reset_when_new_runs_have_no_values_in_its_range(show):
    page = show(make_one_run(1000))
    drag(page, 0.7, 0.9)
    expect(locate_reset_button(page)).to_be_visible()
    show(make_one_run(200))
    expect(locate_reset_button(page)).to_be_hidden()


def test_a_hidden_run_stays_hidden_after_an_update(show):
    page = show(make_two_runs(1000))
    button = page.get_by_role("button", name="second")
    assert count_hues(page) == 2
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    assert count_hues(page) == 1
    show(make_two_runs(1200))
    expect(button).to_have_attribute("aria-pressed", "false")
    assert count_hues(page) == 1
    expect(locate_chart(page, "loss").locator(".curves-chip:visible")).to_have_count(1)
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")
    assert count_hues(page) == 2


def test_all_of_several_runs_can_be_hidden_and_a_single_run_is_always_visible(show):
    page = show(make_two_runs(1000))
    for name in ("first", "second"):
        page.get_by_role("button", name=name).click()
    assert count_hues(page) == 0
    show(make_one_run(1000))
    assert count_hues(page) == 1


def test_a_run_keeps_its_colour_when_another_is_removed(show):
    page = show(make_two_runs(1000))
    dot = page.get_by_role("button", name="second").locator(".curves-dot")
    colour = dot.evaluate("dot => dot.style.background")
    show(build_curves_data([(name, make_lines(400), 2000) for name in ("third", "second")]))
    assert dot.evaluate("dot => dot.style.background") == colour


def test_the_crosshair_is_in_all_charts_and_kept_after_an_update(show):
    page = show(make_one_run(1000))
    box = locate_chart(page, "loss").locator(".curves-overlay").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    step = int(re.fullmatch(r"at step (\d+)", locate_range_label(page).inner_text())[1])
    expect(locate_chart(page, "loss").locator(".curves-value")).to_have_text(f"{2 * math.exp(-step / 500):.4g}")
    expect(locate_chart(page, "rate").locator(".curves-overlay")).to_have_attribute(
        "aria-label", re.compile(f"at step {step}:")
    )
    page.evaluate("document.querySelector('#show').click()")  # without moving the mouse
    expect(locate_range_label(page)).to_have_text(f"at step {step}")
    page.mouse.move(1, 1)
    expect(locate_range_label(page)).to_have_text("Step 1,000")


def test_keys_move_the_crosshair_zoom_and_reset(show):
    page = show(make_one_run(1000))
    overlay = locate_chart(page, "loss").locator(".curves-overlay")
    overlay.focus()
    for step in ("1,000", "980"):
        page.keyboard.press("ArrowLeft")
        expect(locate_range_label(page)).to_have_text(f"at step {step}")
    page.keyboard.press("Shift+ArrowLeft")
    expect(locate_range_label(page)).to_have_text("at step 780")
    page.keyboard.press("+")
    expect(locate_range_label(page)).to_have_text("Zoomed to steps 400 to 890, at step 780")
    page.keyboard.press("End")
    expect(locate_range_label(page)).to_have_text("Zoomed to steps 510 to 1,000, at step 1,000")
    expect(page.locator("#curves [data-curves=announcement]")).to_have_text("Loss, at step 1,000: training 0.2707")
    page.keyboard.press("0")
    expect(locate_range_label(page)).to_have_text("at step 1,000")
    page.keyboard.press("Escape")
    expect(locate_range_label(page)).to_have_text("Step 1,000")
    locate_chart(page, "by-tick").locator(".curves-overlay").focus()
    page.keyboard.press("Home")
    expect(locate_range_label(page)).to_have_text("at tick 1 of the evaluation at step 1,000")


def test_a_pinch_gesture_zooms(show):
    page = show(make_one_run(1000))
    locate_chart(page, "loss").locator(".curves-overlay").evaluate("""over => {
      const left = over.getBoundingClientRect().left, send = (type, pointerId, x) => over.dispatchEvent(new PointerEvent(type,
        { pointerId, clientX: left + x, pointerType: "touch", isPrimary: pointerId === 11, buttons: 1, bubbles: true }));
      send("pointerdown", 11, 140); send("pointerdown", 12, 180); send("pointermove", 12, 220);
      send("pointerup", 11, 140); send("pointerup", 12, 220);
    }""")
    expect(locate_range_label(page)).to_contain_text("Zoomed to steps")


def test_colours_follow_the_theme(show):
    page = show(make_one_run(1000))
    light = capture_chart(page)
    page.evaluate("document.body.classList.toggle('dark')")
    page.wait_for_timeout(100)
    assert capture_chart(page) != light


@pytest.mark.parametrize("width", [390, 1600])
def test_charts_do_not_overflow_the_page(show, width):
    page = show(make_two_runs(1000))
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width + 1
    tops = page.locator("#curves .curves-panel").evaluate_all("all => all.map(one => one.offsetTop)")
    assert (len(set(tops)) == len(tops)) == (width == 390)


def test_invalid_values_raise_no_error_and_texts_are_not_parsed_as_html(show):
    for value in INVALID_VALUES:
        page = show(value)
    expect(page.locator("#curves h3")).to_have_text(["{{value}} ${1}"])
    expect(page.locator("#curves .curves-label")).to_have_text(["<b>"])
    show(make_one_run(1000))
    assert count_hues(page) == 1
