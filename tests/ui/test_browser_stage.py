"""Test the stage: it runs on every change of the input, goes past the stop, and a threshold can be dragged."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.ui.test_browser import browser, choose_checkpoint, locate_problem, locate_sentence, open_options, page

__all__ = ["browser", "page"]
pytestmark = pytest.mark.browser


def locate_part(page: Page, name: str):
    return page.locator(f"#thought [data-thought={name}]")


def get_policy(page: Page) -> str:
    return page.locator("#policy-text textarea, #policy-text input").input_value()


def test_a_model_runs_when_it_is_selected_and_whenever_its_input_changes(page):
    choose_checkpoint(page, "parity-16")
    expect(locate_sentence(page)).to_contain_text("The number of ones")
    expect(locate_part(page, "note")).to_contain_text("in your browser")
    bits = page.locator("#text-editor .editor-bit")
    answer = locate_part(page, "answer")
    expect(answer).to_have_attribute("aria-label", re.compile("the 4 positions read"))
    bits.nth(5).click()
    expect(answer).to_have_attribute("aria-label", re.compile("the 6 positions read"))
    page.locator("#sequence textarea, #sequence input").fill("10x")
    expect(locate_problem(page)).to_contain_text("0 and 1 only")
    expect(answer).to_have_attribute("aria-label", re.compile("the 6 positions read"))  # the former thought stays
    page.locator("#sequence textarea, #sequence input").fill("101")
    expect(answer).to_have_attribute("aria-label", re.compile("the 3 positions read"))
    expect(locate_problem(page)).to_be_hidden()


def test_keys_move_through_the_ticks_and_past_the_stop(page):
    choose_checkpoint(page, "parity-16")
    expect(locate_sentence(page)).to_contain_text("The number of ones")
    open_options(page)
    page.locator("#policy-text textarea, #policy-text input").fill("ticks=4")
    readout, slider = locate_part(page, "readout"), locate_part(page, "slider")
    expect(readout).to_have_text("Tick 4 of 4 (limit 6)")
    locate_part(page, "play").focus()
    for key, text in (
        ("Home", "Tick 1 of 4 (limit 6)"),
        ("ArrowRight", "Tick 2 of 4 (limit 6)"),
        ("End", "Tick 6, after the stop at 4"),
        ("h", "Tick 4 of 4 (limit 6)"),
    ):
        page.keyboard.press(key)
        expect(readout).to_have_text(text)
    page.keyboard.press("End")
    expect(locate_part(page, "thinking")).to_contain_text("Had it gone on to tick 6: ")
    expect(slider).to_have_attribute("aria-valuetext", re.compile("after the stop at 4"))
    page.keyboard.press("p")
    expect(readout).to_have_text(re.compile("^Tick [1-4] of 4"))


def test_a_dragged_threshold_changes_the_rule_and_where_the_model_stops(page):
    choose_checkpoint(page, "parity-16")
    expect(locate_sentence(page)).to_contain_text("The number of ones")
    open_options(page)
    policy = page.locator("#policy-text textarea, #policy-text input")
    policy.fill("certainty>0.5")
    expect(page).to_have_url(re.compile("policy=certainty%3E0.5"))  # the chart shows this rule
    expect(locate_part(page, "chart-legend")).to_be_visible()
    chart = locate_part(page, "chart")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    top, bottom = box["y"] + 38, box["y"] + 240 - 36  # edges of the plot: certainty 1 and 0
    x = box["x"] + box["width"] / 2
    expect(locate_part(page, "readout")).to_have_text(re.compile("of 6"))  # an untrained model is never so certain
    page.mouse.move(x, (top + bottom) / 2)
    page.mouse.down()
    page.mouse.move(x, bottom - 40, steps=5)
    page.mouse.move(x, bottom, steps=5)
    page.mouse.up()
    expect(policy).to_have_value(re.compile(r"^certainty>0(\.0\d*)?$"))
    expect(locate_part(page, "readout")).to_have_text("Tick 1 of 1 (limit 6)")
    assert get_policy(page) != "certainty>0.5"


def get_top(page: Page, selector: str) -> float:
    return page.locator(selector).first.evaluate("element => element.getBoundingClientRect().top")


def test_input_stage_and_controls_are_seen_without_scrolling_on_a_laptop(page):
    page.set_viewport_size({"width": 1366, "height": 768})
    choose_checkpoint(page, "mazes")
    expect(locate_sentence(page)).to_contain_text("olved")
    page.evaluate("window.scrollTo(0, 0)")
    for name in ("stage", "play", "head"):
        edge = locate_part(page, name).evaluate("element => element.getBoundingClientRect().bottom")
        assert edge <= 768, f"{name} ends at {edge}"


def test_a_phone_shows_strip_input_result_stage_and_controls_first(page):
    page.set_viewport_size({"width": 390, "height": 844})
    choose_checkpoint(page, "mazes")
    expect(locate_sentence(page)).to_contain_text("olved")
    page.evaluate("window.scrollTo(0, 0)")
    parts = ("head", "stage", "play", "chart")
    selectors = ["#gallery", "#image-editor", *(f"#thought [data-thought={name}]" for name in parts), "#image-examples"]
    tops = [get_top(page, selector) for selector in selectors]
    assert tops == sorted(tops)
    assert tops[2] < 844, "the answer begins on the first screen"
