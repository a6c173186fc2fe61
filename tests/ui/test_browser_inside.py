"""Test the inside view of the Think tab in a headless browser: computed by the browser and by the server."""

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.paths import ROOT
from tests.ui.conftest import make_inference_service, serve_page
from tests.ui.test_browser import browser

__all__ = ["browser"]
pytestmark = pytest.mark.browser
CHECKPOINTS = ("arithmetic", "brackets-lstm")
WITHOUT_WEBGL = """const getContext = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (type, ...options) {
  return type === "webgl2" ? null : getContext.call(this, type, ...options);
};"""
# Elements that reach beyond the right edge of the view, besides those in boxes that scroll.
FIND_OVERFLOW = """() => {
  const edge = document.querySelector(".inside").getBoundingClientRect().right + 1.5;
  const elements = [...document.querySelectorAll(".inside *")].filter((element) => !element.closest(
    ".inside-scroll, .inside-formula, math"));
  return elements.filter((element) => element.getBoundingClientRect().right > edge).map((element) => element.className);
}"""


@pytest.fixture(scope="module")
def inside_url(tmp_path_factory) -> Iterator[str]:
    """Serve the page with bundled checkpoints. Yield the address."""
    directory: Path = tmp_path_factory.mktemp("checkpoints")
    for name in CHECKPOINTS:
        shutil.copytree(ROOT / "checkpoints" / name, directory / name)
    with serve_page(make_inference_service(directory)) as address:
        yield address


@pytest.fixture
def open_page(browser, inside_url):
    """Return a function that opens the page. An error in its scripts fails the test."""
    contexts, errors = [], []

    def open_at(width: int = 1366, theme: str = "light", script: str = "", in_browser: bool = True) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        if script:
            page.add_init_script(script)
        page.goto(f"{inside_url}?__theme={theme}")
        page.wait_for_selector("#sequence textarea")
        if not in_browser:
            page.locator("#options button").first.click()
            page.locator("#in-browser input").uncheck()
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert errors == []


def run_model(page: Page, text: str = "2 4 6 8") -> None:
    """Type a sequence and wait for the answer."""
    page.locator("#sequence textarea").first.fill(text)
    page.click("#run-text")
    expect(page.locator("#thought [data-thought=sentence]")).to_have_text(re.compile(r"\w+ .*\."))


def parse_number(text: str) -> float:
    """Parse a number as the page shows it, with a minus sign and perhaps a percent sign."""
    return float(text.replace("\N{MINUS SIGN}", "-").removesuffix("%"))


def open_inside(page: Page) -> Locator:
    """Open the section and return the view."""
    page.get_by_role("button", name="Look inside").click()
    view = page.locator("#inside .inside")
    expect(view.locator(".inside-stage")).to_be_visible()
    expect(view.locator(".inside-row").first).to_be_visible()
    return view


def count_colours(part: Locator) -> int:
    """Return the number of different colours on the screen."""
    image = Image.open(io.BytesIO(part.screenshot())).convert("RGB")
    return len(image.getcolors(maxcolors=image.width * image.height) or [])


@pytest.mark.parametrize(("width", "theme"), [(1366, "dark"), (390, "light")])
def test_all_panels_are_drawn_within_the_width_of_the_page(open_page, width, theme):
    page = open_page(width, theme)
    run_model(page)
    view = open_inside(page)
    assert count_colours(view.locator(".inside-stage")) > 100, "neurons and lines are drawn"
    expect(view.locator(".inside-panel-contributions .inside-values")).to_have_text(
        re.compile(r"\d+ pairs .* \+ bias .* = score of “\d” ")
    )
    for name in ("Contributions", "Neuron", "Pair", "All neurons", "Attention"):
        view.get_by_role("tab", name=name, exact=True).click()
        panel = view.get_by_role("tabpanel")
        panel.get_by_role("button", name=re.compile("^Explain")).click()
        expect(panel.locator("math").first).to_be_visible()
        assert page.evaluate(FIND_OVERFLOW) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width + 1


def test_a_neuron_is_selected_in_the_table_silenced_and_its_pair_opened(open_page):
    page = open_page(script=WITHOUT_WEBGL)
    run_model(page)
    view = open_inside(page)
    expect(view.locator(".inside-stage")).to_have_attribute("data-renderer", "canvas")
    assert count_colours(view.locator(".inside-stage")) > 100
    view.locator("summary", has_text="All neurons at this tick").click()
    view.get_by_role("button", name="Select neuron 17", exact=True).click()
    neuron = view.locator(".inside-panel-neuron")
    expect(neuron.locator(".inside-values")).to_have_text(re.compile(r"Tick \d+: input .*, activation .*"))
    expect(neuron.locator("canvas").nth(1)).to_have_attribute("aria-label", re.compile("Model of neuron 17: 8 inputs"))
    neuron.get_by_role("button", name="Silence it").click()
    expect(neuron.get_by_text(re.compile("With neuron 17 held at zero, the answer"))).to_be_visible()
    neuron.locator(".inside-links button").first.click()
    pair = view.locator(".inside-panel-pair")
    expect(pair.get_by_text(re.compile("^Answering pair"))).to_be_visible()
    expect(pair.locator(".inside-formula math")).to_be_visible()


def test_the_view_follows_the_tick_and_the_keyboard(open_page):
    page = open_page()
    run_model(page)
    view = open_inside(page)
    page.locator("#thought [data-thought=slider]").fill("2")
    expect(view.locator(".inside-overlay")).to_have_attribute("aria-label", re.compile("at tick 2 of"))
    rows = view.get_by_role("listbox", name="Pairs by contribution")
    rows.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(view.get_by_role("tab", name="Pair", exact=True)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Escape")
    view.get_by_role("tab", name="Pair", exact=True).focus()
    page.keyboard.press("ArrowRight")
    expect(view.get_by_role("tab", name="All neurons")).to_be_focused()
    raster = view.locator(".inside-raster")
    raster.focus()
    page.keyboard.press("ArrowDown")
    expect(view.locator(".inside-panel-raster .inside-values")).to_have_text(re.compile(r"Neuron \d+ at tick 2: "))
    overlay = view.locator(".inside-overlay")
    before = view.locator(".inside-stage").screenshot()
    overlay.focus()
    page.keyboard.press("ArrowLeft")
    expect(overlay).to_be_focused()
    assert view.locator(".inside-stage").screenshot() != before


def test_another_input_replaces_the_neurons_and_the_class_can_be_chosen(open_page):
    page = open_page()
    run_model(page)
    view = open_inside(page)
    panel = view.locator(".inside-panel-contributions")
    sum_text = panel.locator(".inside-values")
    first = sum_text.inner_text()
    panel.get_by_label("Class").select_option(label="3")
    expect(sum_text).to_have_text(re.compile("score of “3”"))
    panel.get_by_label("Compare with").select_option(value="runner-up")
    expect(sum_text).to_have_text(re.compile("lead of “3” over “"))
    panel.get_by_role("button", name="Energy").click()
    expect(sum_text).to_have_text(re.compile("do not add up to the energy"))
    run_model(page, "7 8 9 10")
    expect(sum_text).to_have_text(re.compile("score of “"))
    expect(sum_text).not_to_have_text(first)


def test_the_server_gives_the_same_numbers_as_the_browser(open_page):
    tables = []
    for in_browser in (True, False):
        page = open_page(in_browser=in_browser)
        run_model(page)
        place = "in your browser" if in_browser else "on the server"
        expect(page.locator("#thought [data-thought=note]")).to_have_text(re.compile(place))
        view = open_inside(page)
        expect(view.locator(".inside-panel-contributions .inside-values")).not_to_have_text(re.compile("rounded"))
        tables.append([row.inner_text().split("\n") for row in view.locator(".inside-row").all()[:5]])
        view.locator(".inside-row").first.click()
        view.locator(".inside-panel-pair").get_by_role("button", name=re.compile("Neuron")).first.click()
        view.get_by_role("button", name="Silence it").click()
        expect(view.get_by_text(re.compile("held at zero, the answer"))).to_be_visible()
    for (name, value, share), (server_name, server_value, server_share) in zip(*tables, strict=True):
        assert name == server_name
        # The last digit may round differently.
        assert parse_number(value) == pytest.approx(parse_number(server_value), abs=0.0015)
        assert parse_number(share) == pytest.approx(parse_number(server_share), abs=1)


def test_a_baseline_says_why_it_has_no_inside_view(open_page):
    page = open_page()
    page.get_by_role("button", name="Look inside").click()
    status = page.locator("#inside .inside-empty")
    expect(status).to_have_text("Run the model first: then its neurons appear here.")
    page.locator("#gallery .gallery-strip [data-name=brackets-lstm]").click()  # its first example runs at once
    expect(status).to_have_text(re.compile("This model is an LSTM"))
