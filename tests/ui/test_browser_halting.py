"""Test the halting view in a browser."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from tests.ui.conftest import make_checkpoint, make_inference_service
from tests.ui.services.test_halting_view_model import HALTING, METRICS
from tests.ui.test_browser import browser, choose, choose_checkpoint
from ui import page as pages

__all__ = ["browser"]
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server_url(tmp_path_factory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("halting")
    for name in ("with-measurements", "without-measurements"):
        make_checkpoint(directory / name, "parity")
    for name, values in (("halting", HALTING), ("metrics", METRICS)):
        (directory / "with-measurements" / f"{name}.json").write_text(json.dumps(values))
    blocks = pages.build_page(make_inference_service(directory))
    _, address, _ = blocks.queue(max_size=64).launch(prevent_thread_lock=True, quiet=True, **pages.get_launch_options())
    yield address
    blocks.close()


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["desk", "phone"])
def page(browser, server_url, request) -> Iterator[Page]:
    width, theme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    new_page, errors = context.new_page(), []
    new_page.on("pageerror", lambda error: errors.append(str(error)))
    new_page.goto(f"{server_url}?__theme={theme}")
    expect(new_page.locator("#checkpoint input")).to_have_value(re.compile("with-measurements"))
    choose_checkpoint(new_page, "with-measurements")
    yield new_page
    context.close()
    assert errors == []


def locate_part(page: Page, name: str):
    return page.locator(f"#halting [data-halting={name}]")


def test_moving_the_budget_selects_the_policies_within_it(page):
    page.locator("#options > button").click()
    page.locator("#halting-section button").first.click()
    expect(locate_part(page, "budget-text")).to_have_text("With 3.3 of 6 ticks on average:")
    energy = locate_part(page, "levels").locator("tr").first
    expect(energy).to_contain_text("97.0%")
    expect(energy).to_contain_text("2 points")
    locate_part(page, "budget").focus()
    page.keyboard.press("End")
    expect(energy).to_contain_text("99.0%")
    expect(energy).to_contain_text("nothing")
    expect(page.locator("#halting .main-svg").first).to_be_visible()
    box = locate_part(page, "chart").bounding_box()
    page.mouse.click(box["x"] + 0.4 * box["width"], box["y"] + 80)
    expect(locate_part(page, "budget-text")).to_have_text(re.compile(r"With 2\.\d of 6"))
    energy.locator("button").click()
    expect(page.locator("#policy-text input, #policy-text textarea")).to_have_value("energy<2")
    expect(page.locator("#policy input")).to_have_value("Custom rule")
    locate_part(page, "policies").locator("tr").nth(2).locator("button").click()
    expect(page.locator("#policy input")).to_have_value("At most 1% of answers lost, with 95% confidence")
    expect(page.locator("#policy")).to_contain_text("with 95% confidence")
    expect(locate_part(page, "reliability-text")).to_contain_text("790 of 800 answers at 99.0")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_a_checkpoint_without_curves_explains_how_to_get_them(page):
    page.locator("#halting-section button").first.click()
    choose_checkpoint(page, "without-measurements")
    expect(locate_part(page, "note")).to_contain_text("fit-energy")
    expect(locate_part(page, "body")).to_be_hidden()


def test_a_guarantee_is_shown_beside_the_result_that_it_covers(page):
    delayed_routes = []
    page.locator("#options > button").click()

    def delay_policy_description(route: Route) -> None:
        if route.request.post_data_json["data"] == ["with-measurements", "energy<-1"]:
            delayed_routes.append(route)
        else:
            route.continue_()

    page.route("**/queue/join*", delay_policy_description)
    page.locator("#sequence textarea, #sequence input").fill("11")
    choose(page, "#policy", "Fastest")
    page.click("#run-text")
    expect(page.locator("#thought [data-thought=guarantee]")).to_contain_text(
        "Stopping early loses at most 5% of answers"
    )
    expect(page.locator("#policy")).not_to_contain_text("with 95% confidence")
    for route in delayed_routes:
        route.continue_()
    expect(page.locator("#policy")).to_contain_text("with 95% confidence")
