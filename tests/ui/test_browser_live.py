"""Test predictions of the server that take long: the page draws their ticks as they come, and the visitor can stop them."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from ctm import ContinuousThoughtMachine
from tests.tick_gate import TickGate
from tests.ui.test_browser import (
    browser,
    choose_checkpoint,
    is_painted,
    locate_problem,
    locate_sentence,
    open_options,
    page,
)
from ui.tabs import think_server

__all__ = ["browser", "page"]
pytestmark = pytest.mark.browser

PROGRESS = "#thought [data-thought=thinking]"
READOUT = "#thought [data-thought=readout]"
SLIDER = "#thought [data-thought=slider]"
STOP = "#stop-prediction"


@pytest.fixture
def gate(monkeypatch) -> Iterator[TickGate]:
    """Yield a gate before the ticks of all models of the server. Unrolls count as long from the beginning."""
    monkeypatch.setattr(think_server, "FIRST_UPDATE_S", 0.0)
    new_gate = TickGate(monkeypatch, ContinuousThoughtMachine)
    yield new_gate
    new_gate.open()


@pytest.fixture
def parity_page(page) -> Page:
    """Return the page with parity-16 computed by the server."""
    choose_checkpoint(page, "parity-16")
    expect(locate_sentence(page)).to_contain_text("The number of ones")
    open_options(page)
    page.locator("#in-browser input").uncheck()
    page.locator("#policy-text textarea, #policy-text input").fill("ticks=6")
    expect(locate_sentence(page)).to_contain_text("set to 6 ticks")
    expect(page.locator("#thought [data-thought=note]")).to_contain_text("on the server")
    page.wait_for_timeout(1_000)  # the change of the rule may run the model twice; the gate must count later runs only
    return page


def run_text(page: Page, text: str) -> None:
    page.locator("#sequence textarea, #sequence input").first.fill(text)
    page.click("#run-text")


def test_ticks_are_drawn_as_they_come_until_the_visitor_stops(parity_page, gate):
    page = parity_page
    gate.let_pass(1)
    run_text(page, "1011")
    expect(page.locator(PROGRESS)).to_contain_text("Computing: tick 1 of at most 6.")
    expect(page.locator(READOUT)).to_have_text("Tick 1 of 1 (limit 6)")
    page.evaluate("document.querySelectorAll('#thought canvas').forEach((canvas) => { canvas.wasThere = true; })")
    expect(page.locator(STOP)).to_be_visible()
    gate.let_pass(2)
    expect(page.locator(PROGRESS)).to_contain_text("Computing: tick 3 of at most 6.")
    expect(page.locator(READOUT)).to_have_text("Tick 3 of 3 (limit 6)")
    assert is_painted(page, "chart") and is_painted(page, "activity")
    assert page.evaluate("[...document.querySelectorAll('#thought canvas')].every((canvas) => canvas.wasThere)")
    expect(locate_sentence(page)).to_have_text("")
    page.click(STOP)
    expect(locate_sentence(page)).to_have_text("Stopped after 3 of 6 ticks.")
    expect(page.locator(STOP)).to_have_count(0)
    expect(page.locator(READOUT)).to_have_text("Tick 3 of 3 (limit 6)")
    gate.open()
    page.wait_for_timeout(500)
    assert len(gate.batch_sizes) == 4


def test_a_tick_that_the_visitor_chose_stays_and_the_newest_one_is_followed_again(parity_page, gate):
    page = parity_page
    gate.let_pass(2)
    run_text(page, "1011")
    expect(page.locator(READOUT)).to_have_text("Tick 2 of 2 (limit 6)")
    page.locator(SLIDER).focus()
    page.keyboard.press("Home")
    gate.let_pass(1)
    expect(page.locator(READOUT)).to_have_text("Tick 1 of 3 (limit 6)")
    page.keyboard.press("End")
    gate.let_pass(1)
    expect(page.locator(READOUT)).to_have_text("Tick 4 of 4 (limit 6)")
    gate.open()
    expect(locate_sentence(page)).to_contain_text("Confidence:")
    expect(page.locator(STOP)).to_have_count(0)
    expect(page.locator("#thought [data-thought=note]")).to_contain_text("on the server")


def test_another_question_ends_the_former_one(parity_page, gate):
    page = parity_page
    gate.let_pass(1)
    run_text(page, "1011")
    expect(page.locator(PROGRESS)).to_contain_text("tick 1 of")
    run_text(page, "111")
    page.wait_for_timeout(1_500)  # the server knows of the new one before the former one goes on
    gate.open()
    expect(page.locator("#thought canvas[data-thought=answer]")).to_have_attribute(
        "aria-label", re.compile("the 3 positions read")
    )
    expect(locate_sentence(page)).to_contain_text("Confidence:")
    expect(page.locator(STOP)).to_have_count(0)
    assert len(gate.batch_sizes) == 8


def test_an_error_between_two_ticks_is_one_sentence_above_the_ticks(parity_page, gate):
    page = parity_page
    gate.let_pass(2)
    run_text(page, "1011")
    expect(page.locator(PROGRESS)).to_contain_text("tick 2 of")
    gate.fail(RuntimeError("no memory"))
    expect(locate_problem(page)).to_contain_text("The app failed at this prediction")
    expect(page.locator(STOP)).to_have_count(0)
    expect(page.locator(PROGRESS)).not_to_contain_text("Computing")
    expect(page.locator(READOUT)).to_have_text("Tick 2 of 2 (limit 6)")


def test_a_closed_page_ends_the_prediction(parity_page, gate):
    page = parity_page
    gate.let_pass(1)
    run_text(page, "1011")
    expect(page.locator(PROGRESS)).to_contain_text("tick 1 of")
    page.wait_for_timeout(600)
    page.goto("about:blank")
    page.wait_for_timeout(1_500)
    gate.open()
    page.wait_for_timeout(500)
    assert len(gate.batch_sizes) <= 2
