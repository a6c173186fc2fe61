"""Test the page in a headless browser: draw, upload, type, step through ticks, read the sentence."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

pytestmark = pytest.mark.browser
expect.set_options(timeout=20_000)  # a loaded host is slow
BROWSER_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SENTENCE = re.compile(
    r"(It is an? \d|Next comes \d+|The number of ones is \w+)\.( Correct\.| Wrong: .*\.)? Confidence: .*%.*\. .*ticks?.*\."
)


@pytest.fixture(scope="module")
def browser():
    executable = next(filter(None, map(shutil.which, BROWSER_NAMES)), None)
    if executable is None:
        (pytest.fail if os.environ.get("CTM_REQUIRE_BROWSER") == "1" else pytest.skip)("no Chromium or Chrome on PATH")
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=executable, args=FLAGS)
        slow_down(chromium, float(os.environ.get("CTM_CPU_THROTTLE", "1")))
        yield chromium
        chromium.close()


def slow_down(browser: Browser, factor: float) -> None:
    """Let every page of a browser compute slower by a factor, as on a slow machine, which shows races."""
    if factor <= 1:
        return
    new_context = browser.new_context

    def create(**options: Any) -> BrowserContext:
        context = new_context(**options)
        new_page = context.new_page

        def create_page() -> Page:
            page = new_page()
            context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": factor})
            return page

        context.new_page = create_page
        return context

    browser.new_context = create


@pytest.fixture
def page(browser, server_url) -> Iterator[Page]:
    """Yield the loaded page. An error in its scripts fails the test."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 1000}, accept_downloads=True, reduced_motion="reduce"
    )
    new_page = context.new_page()
    errors: list[str] = []
    new_page.on("pageerror", lambda error: errors.append(str(error)))
    new_page.goto(server_url)
    new_page.wait_for_selector("#drawing canvas")
    yield new_page
    context.close()
    assert not errors, errors


def draw_one(page: Page) -> None:
    """Draw a vertical stroke on the sketchpad."""
    page.locator("#drawing canvas").scroll_into_view_if_needed()
    box = page.locator("#drawing canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"]
    page.mouse.move(x, y + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(x, y + 0.8 * box["height"], steps=8)
    page.mouse.up()


def locate_sentence(page: Page):
    return page.locator("#thought [data-thought=sentence]")


def choose(page: Page, box: str, option: str) -> None:
    page.locator(f"{box} input").click()
    page.get_by_role("option", name=re.compile(option)).click()


def open_options(page: Page) -> None:
    """Open the section with the stopping rule."""
    page.locator("#options button").first.click()
    expect(page.locator("#policy-text")).to_be_visible()


def locate_problem(page: Page, name: str = "input"):
    """Return the sentence below the input, or below the rule ("policy")."""
    return page.locator(f"#{name}-problem [data-problem=root]")


def choose_checkpoint(page: Page, name: str) -> None:
    """Pick a checkpoint by its card in the Think tab."""
    page.locator(f"#gallery .gallery-strip [data-name='{name}']").click()


def test_a_drawing_gets_a_prediction_and_the_slider_selects_its_ticks(page):
    open_options(page)
    page.locator("#policy-text textarea, #policy-text input").fill("ticks=5")
    draw_one(page)  # runs by itself
    expect(locate_sentence(page)).to_have_text(SENTENCE)
    expect(locate_sentence(page)).to_contain_text("set to 5 ticks")
    slider = page.locator("#thought [data-thought=slider]")
    expect(slider).to_have_attribute("max", "6")  # what would have followed is shown, too
    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator("#thought [data-thought=readout]")).to_have_text("Tick 1 of 5 (limit 6)")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#thought [data-thought=values]")).to_contain_text("tick 2: energy")
    page.keyboard.press("End")
    expect(page.locator("#thought [data-thought=readout]")).to_have_text("Tick 6, after the stop at 5")
    for panel in ("chart", "answer", "look", "attention", "activity"):
        assert is_painted(page, panel), f"the panel `{panel}` is empty"


def is_painted(page: Page, panel: str) -> bool:
    """Check whether a canvas contains more than two colours."""
    return page.locator(f"#thought canvas[data-thought={panel}]").evaluate(
        "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size > 2"
    )


def test_an_empty_drawing_is_reported_and_clear_empties_the_sketchpad(page):
    error_text = locate_problem(page)
    expect(page.locator("#thought [data-thought=empty]")).to_have_text("Pick an example, or make your own input.")
    page.click("#run-drawing")
    expect(error_text).to_contain_text("There is no picture yet")
    draw_one(page)
    expect(locate_sentence(page)).to_have_text(SENTENCE)
    expect(error_text).to_be_hidden()
    page.click("#drawing .sketchpad-clear")
    page.click("#run-drawing")
    expect(error_text).to_contain_text("There is no picture yet")


def test_an_uploaded_image_gets_a_prediction_and_an_invalid_one_an_error_message(page, tmp_path):
    image_path, invalid_path = tmp_path / "good.png", tmp_path / "bad.png"
    grey = np.full((90, 90), 255, np.uint8)
    grey[15:75, 40:52] = 0
    Image.fromarray(grey).save(image_path)
    invalid_path.write_text("not a picture")
    page.get_by_role("tab", name="Upload or webcam").click()
    page.locator("#upload input[type=file]").set_input_files(image_path)
    page.wait_for_selector("#upload img")
    page.click("#run-upload")
    expect(locate_sentence(page)).to_have_text(SENTENCE)
    page.get_by_label("Remove Image").or_(page.get_by_label("Clear")).first.click()
    page.locator("#upload input[type=file]").set_input_files(invalid_path)
    page.wait_for_selector("#upload img")
    page.click("#run-upload")
    expect(locate_problem(page)).to_contain_text("not a picture that can be read")


def test_the_page_prints_a_snippet_with_a_local_file(page):
    """Files of other servers are not fetched, so the example of Gradio would fail."""
    page.get_by_role("button", name="Use via API").click()
    docs = page.locator(".api-docs")
    expect(docs.get_by_text("handle_file('digit.png')").first).to_be_visible()
    assert "https://raw.githubusercontent.com" not in docs.inner_text()


def test_a_click_on_an_example_runs_the_model(page):
    page.locator("#image-examples img").first.click()
    expect(locate_sentence(page)).to_have_text(SENTENCE)
    sentence = locate_sentence(page).inner_text()
    page.click("#run-drawing")  # the example is in the square, so there is a picture
    expect(page.locator("#thought [data-thought=note]")).to_contain_text("Computed in")
    expect(page.locator("#thought [data-thought=empty]")).to_be_hidden()
    expect(locate_sentence(page)).to_have_text(sentence)


def test_an_error_leaves_the_former_result_in_place(page):
    page.locator("#image-examples img").first.click()
    expect(locate_sentence(page)).to_have_text(SENTENCE)
    page.click("#drawing .sketchpad-clear")
    page.click("#run-drawing")
    expect(locate_problem(page)).to_contain_text("There is no picture yet")
    expect(locate_sentence(page)).to_have_text(SENTENCE)


@pytest.mark.parametrize(
    "name, text, invalid_text, message",
    [
        ("parity-16", "1011", "10x1", "0 and 1 only"),
        ("arithmetic", "3 7 11 15", "3 7 11", "type one more number at the end"),
    ],
)
def test_enter_runs_the_model_on_a_typed_sequence(page, name, text, invalid_text, message):
    choose_checkpoint(page, name)
    text_field = page.locator("#sequence textarea, #sequence input")
    expect(text_field).to_be_visible()
    expect(page.locator("#drawing")).to_be_hidden()
    text_field.fill(text)
    text_field.press("Enter")
    expect(locate_sentence(page)).to_have_text(SENTENCE)
    text_field.fill(invalid_text)
    page.click("#run-text")
    expect(locate_problem(page)).to_contain_text(message)
    page.locator("#text-examples button, #text-examples td").last.click()
    expect(locate_problem(page)).to_be_hidden()
    expect(locate_sentence(page)).to_have_text(SENTENCE)


def test_a_generated_maze_gets_a_route_and_is_drawn(page, tmp_path):
    choose_checkpoint(page, "mazes")
    expect(page.locator("#image-hint")).to_contain_text("15 x 15")
    page.get_by_role("tab", name="Upload or webcam").click()
    page.click("#generate-image")
    expect(locate_sentence(page)).to_have_text(re.compile(r"(Solved|Not solved): .* steps?.* Confidence: "))
    expect(page.locator("#upload img")).to_be_visible()
    assert is_painted(page, "route") and is_painted(page, "attention")
    expect(page.locator("#thought canvas[data-thought=route]")).to_have_attribute(
        "aria-label", re.compile(r"path has \d+ step")
    )
    grey = tmp_path / "grey.png"
    Image.new("L", (45, 45), 255).save(grey)
    page.get_by_label("Remove Image").or_(page.get_by_label("Clear")).first.click()
    page.locator("#upload input[type=file]").set_input_files(grey)
    page.wait_for_selector("#upload img")
    page.click("#run-upload")
    expect(locate_problem(page)).to_contain_text("The picture has one colour only")
    choose_checkpoint(page, "digits")  # its first example is run at once
    expect(locate_sentence(page)).to_have_text(SENTENCE)
    expect(page.locator("#thought [data-thought=route-panel]")).to_be_hidden()


def test_panels_fill_the_width_of_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    draw_one(page)
    expect(locate_sentence(page)).to_have_text(SENTENCE)
    panels = page.locator("#thought .thought-panels > .thought-panel:visible, #thought .thought-panel-chart")
    assert min(panels.evaluate_all("all => all.map(one => one.clientWidth)")) > 280


def test_a_policy_is_selected_by_name_and_its_text_is_shown(page):
    open_options(page)
    policy_text = page.locator("#policy-text textarea, #policy-text input")
    expect(policy_text).to_have_value("energy<-0.05")
    choose(page, "#policy", "Use every tick")
    expect(policy_text).to_have_value("certainty>1")
    draw_one(page)
    expect(locate_sentence(page)).to_have_text(SENTENCE)
    policy_text.fill("")
    policy_text.press_sequentially("energy<<")
    expect(page.locator("#policy input")).to_have_value("Custom rule")
    expect(locate_problem(page, "policy")).to_contain_text("not a halting rule")
    policy_text.fill("ticks=2")
    expect(locate_problem(page, "policy")).to_be_hidden()
    expect(locate_sentence(page)).to_contain_text("set to 2 ticks")


def test_repeated_clicks_during_a_prediction_have_no_effect(page):
    draw_one(page)
    page.dblclick("#run-drawing")
    page.click("#run-drawing")
    expect(locate_sentence(page)).to_have_text(SENTENCE)


def test_a_record_is_downloaded_as_json_and_csv(page):
    open_options(page)
    page.locator("#policy-text textarea, #policy-text input").fill("ticks=4")
    draw_one(page)
    expect(locate_sentence(page)).to_have_text(SENTENCE)
    contents = {}
    for kind in ("json", "csv"):
        with page.expect_download() as download_info:
            page.click(f"#thought [data-thought={kind}]")
        contents[kind] = Path(download_info.value.path()).read_text()
    assert '"ticks": 4' in contents["json"]
    lines = contents["csv"].strip().splitlines()
    assert lines[0] == "tick,energy,p_correct,certainty,answer_1" and len(lines) == 5


@pytest.mark.parametrize("width", [360, 768, 1600])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_does_not_overflow_at_any_width(page, server_url, width, theme):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{server_url}?__theme={theme}")
    page.wait_for_selector("#drawing canvas")
    draw_one(page)
    page.click("#run-drawing")
    expect(locate_sentence(page)).to_have_text(SENTENCE)
    assert page.evaluate("document.documentElement.scrollWidth") <= width + 1
    assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")


def test_a_menu_closes_when_tab_leaves_it(page):
    open_options(page)
    page.locator("#policy input").focus()
    expect(page.get_by_role("listbox")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("listbox")).to_have_count(0)
    assert page.evaluate("document.activeElement.tagName") in ("BUTTON", "INPUT", "TEXTAREA"), (
        "the focus is on the next control"
    )


def test_the_run_button_is_reached_and_pressed_by_keyboard(page):
    """Tab moves the focus to the Run button, and Enter presses it."""
    draw_one(page)
    page.locator("#drawing .sketchpad-clear").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "run-drawing"
    page.keyboard.press("Enter")
    expect(locate_sentence(page)).to_have_text(SENTENCE)
