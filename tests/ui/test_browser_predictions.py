"""Test predictions that the visitor's browser computes: no event reaches the server, and the server computes what it cannot."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Request, Route, expect

from tests.ui.test_browser import (
    browser,
    choose_checkpoint,
    draw_one,
    locate_problem,
    locate_sentence,
    open_options,
    page,
)

__all__ = ["browser", "page"]
pytestmark = pytest.mark.browser

EVENT_PATH = "/gradio_api/queue/join"
DURATION = "#thought [data-thought=note]"


@contextmanager
def record_events(page: Page) -> Iterator[list[str]]:
    """Collect the events that the page sends to the server."""
    events: list[str] = []

    def record(request: Request) -> None:
        if EVENT_PATH in request.url:
            events.append(request.post_data or "")

    page.on("request", record)
    yield events
    page.remove_listener("request", record)


def run_text(page: Page, text: str) -> None:
    """Type a sequence and run the model."""
    page.locator("#sequence textarea, #sequence input").first.fill(text)
    page.click("#run-text")


def test_a_prediction_in_the_browser_sends_nothing_to_the_server(page):
    draw_one(page)
    page.click("#run-drawing")
    expect(page.locator(DURATION)).to_contain_text("in your browser")
    with record_events(page) as events:
        page.click("#drawing .sketchpad-clear")
        draw_one(page)
        page.click("#run-drawing")
        page.wait_for_timeout(1_000)
        expect(page.locator(DURATION)).to_contain_text("in your browser")
    assert not [event for event in events if "ask-server" in event]
    assert events == []


def test_the_browser_and_the_server_give_the_same_answer(page):
    choose_checkpoint(page, "parity-16")
    expect(page.locator("#run-text")).to_be_visible()
    open_options(page)
    page.locator("#policy-text textarea, #policy-text input").fill("certainty>0.9|ticks=4")
    run_text(page, "1011")
    expect(page.locator(DURATION)).to_contain_text("in your browser")
    expect(locate_sentence(page)).to_contain_text("set to 4 ticks")
    sentence = locate_sentence(page).inner_text()
    page.locator("#in-browser input").uncheck()
    expect(page.locator(DURATION)).to_contain_text("on the server")
    assert locate_sentence(page).inner_text() == sentence


def test_an_invalid_input_is_reported_without_the_server(page):
    choose_checkpoint(page, "parity-16")
    expect(page.locator("#run-text")).to_be_visible()
    run_text(page, "1011")
    expect(page.locator(DURATION)).to_contain_text("in your browser")
    with record_events(page) as events:
        run_text(page, "10x")
        expect(locate_problem(page)).to_contain_text("Bits are 0 and 1 only, got 'x'.")
    assert not [event for event in events if '"10x"' in event and "parity" in event and "outcome" in event]
    expect(locate_sentence(page)).to_be_visible()


def test_the_server_computes_what_the_browser_cannot_and_says_why(page):
    def fail(route: Route) -> None:
        route.fulfill(status=500, body="")

    page.route("**/weights/**", fail)
    draw_one(page)
    page.click("#run-drawing")
    expect(page.locator(DURATION)).to_contain_text("on the server")
    expect(locate_sentence(page)).to_contain_text(
        "This browser could not load the model (the server answered 500), so the server computed this."
    )
    page.unroute("**/weights/**", fail)
    page.click("#run-drawing")
    expect(page.locator(DURATION)).to_contain_text("in your browser")


def test_a_damaged_image_is_reported_by_the_server(page, tmp_path):
    """The header is that of a sound PNG, so the browser tries to decode it."""
    path = tmp_path / "damaged.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[60:-60] = b"\xff" * (len(content) - 120)
    path.write_bytes(content)
    page.get_by_role("tab", name="Upload").first.click()
    page.locator("#upload input[type=file]").set_input_files(path)
    page.wait_for_selector("#upload img")
    page.click("#run-upload")
    expect(locate_problem(page)).to_contain_text("damaged")
