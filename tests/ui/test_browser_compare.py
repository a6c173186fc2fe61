"""Test the comparison, the difficulty, moving the start of a maze, and the explanation in a browser, with bundled models."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import make_inference_service, serve_page
from tests.ui.test_browser import browser, choose_checkpoint, locate_sentence

__all__ = ["browser"]
pytestmark = pytest.mark.browser

CHECKPOINTS = ("brackets", "brackets-lstm", "brackets-ff", "mazes-15", "mazes-15-untaught")
STATUS = ".compare-status"
FINISHED = re.compile(r"stopped after \d+ of \d+ ticks|one pass, no ticks")


@pytest.fixture(scope="module")
def server_url(tmp_path_factory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("compare")
    for name in CHECKPOINTS:
        shutil.copytree(Path("checkpoints") / name, directory / name)
    with serve_page(make_inference_service(directory)) as address:
        yield address


@pytest.fixture(params=[1280, 390], ids=["desk", "phone"])
def page(browser, server_url, request) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": request.param, "height": 900}, reduced_motion="reduce")
    new_page, errors = context.new_page(), []
    new_page.on("pageerror", lambda error: errors.append(str(error)))
    new_page.goto(server_url)
    new_page.wait_for_selector("#gallery .gallery-strip [data-name]")
    yield new_page
    assert new_page.evaluate("document.documentElement.scrollWidth") <= request.param
    context.close()
    assert errors == []


def choose_brackets(page: Page) -> None:
    """Select the checkpoint, and wait for what the page knows of it and for the answer to its first example."""
    choose_checkpoint(page, "brackets")
    button = page.locator("[data-compare=models]")
    expect(button).to_have_text("with the LSTM and the feed-forward model")
    expect(locate_sentence(page)).to_contain_text("The brackets are balanced.")


def run_brackets(page: Page, text: str) -> None:
    page.locator("#sequence textarea, #sequence input").fill(text)
    page.click("#run-text")


def test_a_prediction_is_compared_with_the_baselines_and_follows_the_input(page):
    button = page.locator("[data-compare=models]")
    choose_brackets(page)
    run_brackets(page, "([)]")
    expect(locate_sentence(page)).to_contain_text("not balanced")
    button.click()
    expect(page.locator(STATUS)).to_have_count(3)
    for index in range(3):
        expect(page.locator(STATUS).nth(index)).to_have_text(FINISHED)
    expect(page.locator(STATUS).nth(2)).to_contain_text(re.compile(r"one pass, no ticks: .*[\d.]+ m?s\)"))
    expect(page.locator(".compare-single i")).to_have_text(re.compile("balanced"))
    expect(page.locator(".compare-mark").first).to_have_text("\N{CHECK MARK}")
    assert "in your browser" in page.locator("#thought [data-thought=note]").inner_text()
    run_brackets(page, "[]")
    for index in range(2):  # the feed-forward model is wrong here
        expect(page.locator(STATUS).nth(index)).to_contain_text(": balanced (correct")
    page.locator("#thought [data-thought=slider]").focus()
    page.keyboard.press("Home")
    expect(page.locator(STATUS).first).to_have_text(re.compile(r"^tick 1: "))
    page.locator("[data-compare=end]").click()
    expect(page.locator(STATUS)).to_have_count(0)


def test_the_server_compares_if_it_computes_the_prediction(page):
    choose_brackets(page)
    page.locator("#options button").first.click()
    page.locator("#in-browser input").uncheck()
    run_brackets(page, "[]")
    expect(page.locator("#thought [data-thought=note]")).to_contain_text("on the server")
    page.locator("[data-compare=rules]").click()
    expect(page.locator(STATUS).nth(1)).to_have_text(FINISHED)
    page.locator(".compare summary").click()
    box = page.locator("[data-compare=choices] input[value='model:brackets-ff']")
    expect(box).not_to_be_checked()
    box.check()
    expect(page.locator("[data-compare=root]")).to_contain_text("one pass, no ticks")
    expect(page.locator(STATUS)).to_have_count(4)


def test_a_maze_that_is_too_hard_is_solved_in_parts(page):
    choose_checkpoint(page, "mazes-15-untaught")
    expect(page.locator("#difficulty")).to_contain_text("% of such mazes are solved (n = ")
    expect(page.locator("#image-examples")).to_contain_text("Easy: 10 steps to the goal; Typical: 22")
    page.locator("#image-examples button").nth(0).click()
    expect(locate_sentence(page)).to_contain_text("Solved: it reaches the goal in 10 steps")
    expect(locate_sentence(page)).to_contain_text("ticks saved")
    expect(page.locator("[data-teleport=root]")).to_be_hidden()
    page.locator("#image-examples button").nth(2).click()
    expect(locate_sentence(page)).to_contain_text("Not solved")
    page.locator("[data-teleport=go]").click()
    expect(page.locator("[data-teleport=status]")).to_have_text("Goal reached after 2 parts and 42 steps.")
    expect(page.locator("#thought [data-thought=route-caption]")).to_contain_text("Orange: the parts before it.")
    page.locator("#difficulty input").focus()
    page.keyboard.press("Home")
    expect(page.locator("#difficulty")).to_contain_text("Difficulty of a random input: 2 steps to the goal")
    page.click("#regenerate")
    expect(locate_sentence(page)).to_contain_text("in 2 steps")
    expect(page.locator("#thought [data-thought=route-caption]")).not_to_contain_text("Orange")


def test_a_step_of_the_explanation_marks_its_panel_and_moves_the_stage(page):
    choose_brackets(page)
    run_brackets(page, "([])[]")
    expect(locate_sentence(page)).to_contain_text("balanced")
    readout = page.locator("#thought [data-thought=readout]")
    last = readout.inner_text()
    steps = page.locator("#explanation [data-explanation=dots] button")
    expect(steps).to_have_count(4)
    steps.nth(0).click()
    expect(readout).to_contain_text("Tick 1 of")
    steps.nth(3).click()
    expect(readout).to_have_text(last)
    expect(page.locator("#thought [data-thought=chart-panel]")).to_have_class(re.compile("thought-explained"))
    term = page.locator("#explanation [data-step=memory] button")
    term.focus()
    expect(page.locator("#thought [data-thought=activity-panel]")).to_have_class(re.compile("thought-explained"))
    scroller = page.locator("#explanation [data-explanation=steps]")
    scroller.evaluate("element => element.scrollTo({ left: 0, behavior: 'instant' })")
    page.wait_for_timeout(300)
    expect(readout).to_have_text(last)  # reduced motion: scrolling moves nothing


def test_scrolling_through_the_explanation_moves_the_stage(browser, server_url):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(server_url)
    choose_brackets(page)
    run_brackets(page, "([])[]")
    expect(locate_sentence(page)).to_contain_text("balanced", timeout=20_000)
    scroller = page.locator("#explanation [data-explanation=steps]")
    scroller.scroll_into_view_if_needed()
    scroller.evaluate("element => { element.scrollLeft = element.scrollWidth; }")
    expect(page.locator("#thought .thought-explained")).to_have_attribute("data-thought", "chart-panel")
    scroller.evaluate("element => { element.scrollLeft = 0; }")
    expect(page.locator("#thought [data-thought=readout]")).to_contain_text("Tick 1 of")
    context.close()
