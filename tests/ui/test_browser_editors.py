"""Test the editors in a real browser: edits set the input text of the task, and typed text updates the editor."""

import re
from collections.abc import Iterator

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.ui.test_browser import browser, choose_checkpoint, locate_problem, locate_sentence, page
from training.data.maze import COLOURS
from ui import page as pages
from ui.components.inputs import JS_EDITOR_TO_TEXT, JS_TEXT_TO_EDITOR, build_editor, build_editor_value

__all__ = ["browser", "page"]
pytestmark = pytest.mark.browser
EDITOR_VALUES = {
    "long": {"kind": "bits", "length": 64, "fixed": True},
    "path": {"kind": "path", "side": 16, "frames": 6, "steps": 2, "ahead": 8},
    "digits": {"kind": "digits", "most": 4, "operations": 4},
    "invalid": {"kind": "constructor", "length": -3},
}


@pytest.fixture(scope="module")
def editors_url() -> Iterator[str]:
    """Serve a page with editors only, each with its text. Yield the address."""
    with gr.Blocks() as blocks:
        for name, value in EDITOR_VALUES.items():
            editor, text = build_editor(name, build_editor_value(value)), gr.Textbox(label=name, elem_id=f"{name}-text")
            editor.input(None, editor, text, js=JS_EDITOR_TO_TEXT)
            text.change(None, [text, editor], editor, js=JS_TEXT_TO_EDITOR)
    _, address, _ = blocks.launch(prevent_thread_lock=True, quiet=True, **pages.get_launch_options())
    yield address
    blocks.close()


@pytest.fixture(scope="module")
def editors_page(browser, editors_url) -> Iterator[Page]:
    editors_tab = browser.new_page(viewport={"width": 390, "height": 844})
    errors: list[str] = []
    editors_tab.on("pageerror", lambda error: errors.append(str(error)))
    editors_tab.goto(f"{editors_url}?__theme=dark")
    editors_tab.wait_for_selector("#path .editor-field")
    yield editors_tab
    editors_tab.close()
    assert not errors, errors


def locate_text(page: Page, name: str) -> Locator:
    return page.locator(f"#{name}-text").locator("textarea, input")


def drag(page: Page, element: Locator, *points: tuple[float, float]) -> None:
    """Drag the pointer through positions of an element, (x, y) from 0 to 1."""
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()


def test_bits_are_edited_by_click_drag_and_typing_without_server_requests(page):
    choose_checkpoint(page, "parity-16")
    bits, text = page.locator("#text-editor .editor-bit"), page.locator("#sequence textarea, #sequence input")
    expect(bits).to_have_count(16)
    expect(text).to_have_value("1011")  # the first example
    text.fill("")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url) if "queue/join" in request.url else None)
    bits.nth(3).click()
    expect(text).to_have_value("0001")
    drag(page, page.locator("#text-editor .editor-bits"), (0.06, 0.25), (0.31, 0.25))
    expect(text).to_have_value("1111")
    bits.nth(3).focus()
    for key in ("Space", "ArrowRight", "1", "0"):
        page.keyboard.press(key)
    expect(text).to_have_value("111010")
    page.get_by_label("One bit fewer").click()
    expect(text).to_have_value("11101")
    text.fill("0 1 1")
    expect(bits.nth(2)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#text-editor .editor-note")).to_have_text("3 of 16 bits")
    text.fill("01x")
    expect(page.locator("#text-editor .editor-note")).to_have_text("Bits are 0 or 1, not x")
    page.locator("#text-editor").get_by_role("button", name="Random").click()
    expect(text).to_have_value(re.compile("^[01]{2}$"))
    assert not requests
    page.locator("#text-examples button, #text-examples td").first.click()
    expect(locate_sentence(page)).to_contain_text("The number of ones")
    expect(page.locator("#text-editor .editor-note")).to_have_text("4 of 16 bits")
    choose_checkpoint(page, "arithmetic")
    expect(page.locator("#text-editor .editor-bits")).to_be_hidden()
    choose_checkpoint(page, "digits")
    expect(page.get_by_role("tab", name="Draw")).to_be_visible()
    expect(page.locator("#image-editor .editor")).to_be_hidden()


def test_an_edited_maze_gets_a_prediction(page, tmp_path):
    choose_checkpoint(page, "mazes")
    maze, note = page.locator("#image-editor canvas"), page.locator("#image-editor .editor-note")
    expect(note).to_contain_text("Shortest path: ")
    page.click("#run-editor")
    expect(locate_sentence(page)).to_contain_text("step")
    cells = np.ones((7, 7), np.uint8)
    cells[[0, -1]] = cells[:, [0, -1]] = 0
    cells[1, 1], cells[5, 5] = 2, 3
    Image.fromarray((COLOURS[cells] * 255).astype(np.uint8).repeat(9, 0).repeat(9, 1)).save(tmp_path / "maze.png")
    page.get_by_role("tab", name="Upload or webcam").click()
    page.locator("#upload input[type=file]").set_input_files(tmp_path / "maze.png")
    page.wait_for_selector("#upload img")
    page.click("#edit")
    expect(maze).to_be_visible()
    expect(note).to_contain_text("Shortest path: 8 steps")
    drag(page, maze, (0.21, 0.21), (0.79, 0.21))  # moves the start
    expect(note).to_contain_text("Shortest path: 4 steps")
    drag(page, maze, (0.64, 0.5), (0.64, 0.5))  # moves the goal
    expect(note).to_contain_text("Shortest path: 3 steps")
    page.locator("#image-editor").get_by_role("button", name="Wall").click()
    drag(page, maze, (0.21, 0.36), (0.79, 0.36))
    expect(note).to_contain_text("The goal cannot be reached")
    page.click("#run-editor")
    expect(locate_problem(page)).to_contain_text("The goal cannot be reached")
    page.locator("#image-editor").get_by_role("button", name="Path").click()
    maze.focus()
    for key in ("ArrowLeft", "ArrowUp", "Space"):  # from the last position of the pointer
        page.keyboard.press(key)
    expect(page.locator("#image-editor .editor-unseen")).to_have_text("Row 2, column 5: path")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(note).to_contain_text("Shortest path: 3 steps")
    page.click("#run-editor")
    expect(locate_sentence(page)).to_contain_text("step")
    page.click("#regenerate")
    expect(note).not_to_contain_text("Shortest path: 3 steps")  # a generated maze has paths of even length only
    page.locator("#image-editor-column").evaluate("column => column.remove()")  # as for a task without an editor
    expect(page.get_by_role("tab", name="Draw")).to_be_hidden()


def test_a_stroke_sets_the_nearest_constant_motion(editors_page):
    field, text = editors_page.locator("#path .editor-field"), locate_text(editors_page, "path")
    drag(editors_page, field, (2.5 / 16, 3.5 / 16), (7.3 / 16, 8.7 / 16))
    expect(text).to_have_value("3,2 4,3 5,4 6,5 7,6 8,7 +4")
    editors_page.locator("#path").get_by_role("button", name="2", exact=True).click()
    expect(text).to_have_value("3,2 - 5,4 6,5 7,6 8,7 +4")
    editors_page.locator("#path [data-frames='5'] circle").click()
    expect(text).to_have_value("3,2 - 5,4 6,5 7,6 - +4")
    editors_page.locator("#path input[type=range]").fill("7")
    field.focus()
    editors_page.keyboard.press("ArrowDown")
    editors_page.keyboard.press("Shift+ArrowRight")
    expect(text).to_have_value("4,2 - 6,6 7,8 8,10 - +7")
    text.fill("0,14 - 2,12 - - 5,6 +2")  # the dot bounces off the right wall
    expect(editors_page.locator("#path .editor-note")).to_have_text(
        "Start (0, 14), moving 1 cell down and 2 cells right per frame."
    )
    expect(editors_page.locator("#path .editor-dot-hidden")).to_have_count(3)
    text.fill("0,0 9,9 <b> 99,1")
    expect(editors_page.locator("#path .editor-note")).to_have_text("No constant motion fits these cells.")
    editors_page.locator("#path").get_by_role("button", name="Random").click()
    expect(text).to_have_value(re.compile(r"^(\d+,\d+ ){6}\+\d$"))


def test_digits_and_a_question_about_their_positions_are_edited(editors_page):
    digit_fields, text = editors_page.locator("#digits .editor-digit"), locate_text(editors_page, "digits")
    digit_fields.first.click()
    for key in "375":
        editors_page.keyboard.press(key)
    expect(text).to_have_value("3 7 5 : 1 + 1")
    question = editors_page.locator("#digits .editor-question select")
    question.nth(2).select_option("3")
    question.nth(3).select_option("-")
    question.nth(4).select_option("2")
    expect(text).to_have_value("3 7 5 : 1 + 3 - 2")
    expect(editors_page.locator("#digits .editor-note")).to_have_text("This asks for 3 + 5 \u2212 7.")
    text.fill("9 8 : 2 - 7 * <i>")  # there is no position 7
    expect(editors_page.locator("#digits .editor-note")).to_have_text("This asks for 8 \u2212 9.")
    expect(digit_fields.nth(2)).to_have_value("")


def test_editors_fit_on_a_phone_and_an_invalid_value_hides_the_editor(editors_page):
    cells = editors_page.locator("#long .editor-bit")
    assert min(cells.evaluate_all("all => all.map(one => Math.min(one.clientWidth, one.clientHeight))")) > 30
    cells.nth(63).click()
    expect(locate_text(editors_page, "long")).to_have_value("0" * 63 + "1")
    expect(editors_page.locator("#invalid .editor")).to_be_hidden()
    assert editors_page.evaluate("document.documentElement.scrollWidth") <= 390
