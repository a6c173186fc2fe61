"""Test the exported page in a headless browser: it is opened from a file, and there is no network."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.paths import ROOT
from tests.ui.test_browser import browser
from ui.export.cli import main

__all__ = ["browser"]
pytestmark = pytest.mark.browser
CHECKPOINTS = ("mazes-15", "digits", "parity-16", "qamnist")
DESKTOP, PHONE = {"width": 1280, "height": 1000}, {"width": 390, "height": 844}
MIN_CONTRAST = 4.5  # of text, WCAG 2.2 AA


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """Return a page with several checkpoints."""
    path = tmp_path_factory.mktemp("export") / "page.html"
    main(["page", *(str(ROOT / "checkpoints" / name) for name in CHECKPOINTS), "--out", str(path)])
    return path


def open_page(browser: Browser, file: Path, **options) -> Iterator[Page]:
    """Yield the loaded page. An error, a violation of its policy or a request to a host fails the test."""
    context = browser.new_context(offline=True, reduced_motion="reduce", **options)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console", lambda message: "GPU stall" in message.text or problems.append(message.text)
    )  # WebGL in software
    page.on(
        "request", lambda request: request.url.startswith(("file:", "blob:", "data:")) or problems.append(request.url)
    )
    page.goto(file.as_uri())
    wait_until_loaded(page)
    yield page
    context.close()
    assert not problems


@pytest.fixture
def page(browser, file) -> Iterator[Page]:
    yield from open_page(browser, file, viewport=DESKTOP)


@pytest.fixture
def phone(browser, file) -> Iterator[Page]:
    yield from open_page(browser, file, viewport=PHONE, color_scheme="dark", has_touch=True)


def wait_until_loaded(page: Page) -> None:
    expect(locate(page, "run")).to_be_enabled()


def locate(page: Page, part: str):
    return page.locator(f"[data-page={part}]")


def locate_sentence(page: Page):
    return page.locator("[data-thought=sentence]")


def choose(page: Page, name: str) -> None:
    locate(page, "checkpoint").select_option(name)
    wait_until_loaded(page)


def test_a_maze_is_solved_and_its_thought_is_drawn(page):
    page.get_by_role("button", name="Example 1").click()
    expect(locate_sentence(page)).to_contain_text("Solved: it reaches the goal in")
    for panel in ("chart", "route", "attention", "activity"):
        colours = page.locator(f"canvas[data-thought={panel}]").evaluate(
            "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
        )
        assert colours > 2, panel
    slider = page.locator("[data-thought=slider]")
    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator("[data-thought=readout]")).to_contain_text("Tick 1 of")


def test_the_inside_of_the_model_is_shown(page):
    """The exported page computes it from the same checkpoint, layout included."""
    page.get_by_role("button", name="Example 1").click()
    expect(locate_sentence(page)).to_contain_text("Solved")
    page.get_by_text("Look inside").click()
    canvas = page.locator("#inside canvas:visible").first
    expect(canvas).to_be_visible()
    expect(page.locator("#inside")).not_to_contain_text("could not")
    choose(page, "parity-16")
    page.get_by_role("button", name="1011", exact=True).click()
    expect(page.locator("#inside")).to_contain_text("neurons")
    expect(canvas).to_be_visible()


def test_a_generated_maze_and_an_edited_one_run(page):
    locate(page, "generate").click()
    expect(locate_sentence(page)).to_have_text(re.compile(r"It used|Stopped|Solved|Confidence"))
    first = locate_sentence(page).text_content()
    page.locator("#editor canvas").focus()
    page.get_by_role("button", name="Goal").click()
    page.locator("#editor canvas").press("ArrowDown")
    page.get_by_role("button", name="Clear").last.click()
    locate(page, "rule").fill("ticks=3")
    locate(page, "run").click()
    expect(locate_sentence(page)).to_contain_text("3 ticks")
    assert locate_sentence(page).text_content() != first


def test_a_digit_is_recognised_from_an_example_and_from_a_drawing(page, tmp_path):
    choose(page, "digits")
    locate(page, "run").click()
    error_text = page.locator("[data-problem=root]")
    expect(error_text).to_contain_text("There is no picture yet")
    page.get_by_role("button", name="Example 4").click()
    expect(locate_sentence(page)).to_contain_text("It is a 5.")
    page.get_by_role("button", name="Clear").click()
    box = page.locator("#drawing canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 0.8 * box["height"], steps=8)
    page.mouse.up()
    locate(page, "run").click()
    expect(locate_sentence(page)).to_contain_text("It is a 1.")


def test_an_uploaded_picture_runs_and_other_files_and_rules_get_a_sentence(page, tmp_path):
    choose(page, "digits")
    pixels = np.full((90, 90), 255, np.uint8)
    pixels[15:75, 40:52] = 0
    Image.fromarray(pixels).save(tmp_path / "one.png")
    (tmp_path / "bad.png").write_text("not a picture")
    locate(page, "file").set_input_files(tmp_path / "one.png")
    locate(page, "run").click()
    expect(locate_sentence(page)).to_contain_text("It is a 1.")
    locate(page, "file").set_input_files(tmp_path / "bad.png")
    error_text = page.locator("[data-problem=root]")
    expect(error_text).to_have_text("This file is no picture that the browser can read. Choose a PNG or JPEG file.")
    locate(page, "rule").fill("energy<")
    locate(page, "run").click()
    expect(error_text).to_contain_text("energy<")
    choose(page, "parity-16")
    locate(page, "text").fill("01x")
    locate(page, "text").press("Enter")
    expect(error_text).to_contain_text("got 'x'")


def test_text_and_editor_follow_each_other_and_a_rule_can_be_clicked(page):
    choose(page, "parity-16")
    locate(page, "text").fill("1101")
    page.locator("#editor button").first.click()
    assert locate(page, "text").input_value() != "1101"
    locate(page, "text").fill("1101")
    locate(page, "halting-section").locator("summary").click()
    page.locator("#halting [data-halting=policies] button").last.click()
    assert locate(page, "rule").input_value() == locate(page, "policy").input_value() != ""
    locate(page, "run").click()
    expect(locate_sentence(page)).to_contain_text("The number of ones is odd.")


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_verify_says_that_all_inputs_agree(page, name):
    choose(page, name)
    page.get_by_text("Does this browser compute the same?").click()
    locate(page, "verify").click()
    expect(locate(page, "verification")).to_contain_text("All 16 inputs agree with PyTorch", timeout=60_000)
    difference = float(re.search(r"logit: (\S+) of", locate(page, "verification").text_content())[1])
    assert difference < 1e-4


def test_verify_finds_a_difference(browser, file, tmp_path):
    text = file.read_text("utf-8")
    changed = re.sub(r'"ticks":\d+,"answer_tick"', '"ticks":99,"answer_tick"', text, count=1)
    assert changed != text
    (tmp_path / "page.html").write_text(changed, "utf-8")
    for page in open_page(browser, tmp_path / "page.html"):
        page.get_by_text("Does this browser compute the same?").click()
        locate(page, "verify").click()
        expect(locate(page, "verification")).to_contain_text("15 of 16 inputs agree", timeout=60_000)


def test_a_phone_in_the_dark_shows_every_checkpoint_without_overflow(phone):
    for name in CHECKPOINTS:
        choose(phone, name)
        phone.locator(".page-example").first.click()
        expect(locate_sentence(phone)).to_contain_text("Confidence")
        phone.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
        assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert phone.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 24, 39)"
    assert phone.evaluate(READ_CONTRASTS) >= MIN_CONTRAST


def test_controls_have_labels_and_the_keyboard_reaches_them(page):
    unlabelled = page.evaluate(
        "[...document.querySelectorAll('main input, main select')].filter((control) => "
        "!control.labels?.length && !control.ariaLabel).map((control) => control.outerHTML)"
    )
    assert unlabelled == []
    assert page.evaluate(READ_CONTRASTS) >= MIN_CONTRAST
    choose(page, "parity-16")
    locate(page, "text").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.page") == "run"
    page.keyboard.press("Enter")
    expect(locate_sentence(page)).to_contain_text("The number of ones")


def test_a_page_without_scripts_says_what_it_needs(browser, file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    expect(page.locator(".page-noscript")).to_contain_text("needs JavaScript")
    expect(locate(page, "main")).to_be_hidden()
    expect(locate(page, "loading")).to_be_hidden()
    context.close()


# Smallest contrast of the texts of the page itself; components have tests of their own.
READ_CONTRASTS = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const weigh = (colour) => parse(colour).slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const findGround = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return parse(colour)[3] === 0 ? findGround(element.parentElement) : colour;
  };
  const texts = [...document.querySelectorAll('header *, footer *, .page-controls > p, .page-field, .page-actions button, .page-muted')]
    .filter((element) => element.checkVisibility() && element.textContent.trim() && !element.disabled);
  return Math.min(...texts.map((element) => {
    const [a, b] = [getComputedStyle(element).color, findGround(element)].map(weigh);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
}"""
