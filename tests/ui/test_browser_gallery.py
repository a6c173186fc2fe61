"""Test the gallery in a real browser: by mouse, by keyboard and on a phone, in light and dark."""

import json
import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import make_checkpoint, serve_page
from tests.ui.test_browser import browser
from ui.services.inference_service import InferenceService
from ui.services.model_catalog import ModelCatalog

__all__ = ["browser"]
pytestmark = pytest.mark.browser

EVALUATION = {
    "split": "test",
    "n": 400,
    "iterations": 6,
    "accuracy_by_tick": [0.5, 0.75, 0.9, 0.8, 0.8, 0.8],
    "accuracy_halted": 0.85,
    "mean_ticks": 2.25,
}
GALLERY = """
checkpoints:
  mazes: {title: Find a way, action: Draw a maze.}
  digits: {title: Read a digit, action: Draw a digit.}
  parity: {title: Odd or even, action: Switch bits.}
  brackets: {title: Match brackets, group: experiments, action: Type brackets.}
  digits-ff: {title: Digits without ticks, group: compare, action: Draw a digit.}
studies:
  - {group: experiments, title: "Does it work?", text: "It is {brackets.accuracy}.", checkpoints: [brackets], figure: by_tick}
  - {group: compare, title: "Are ticks needed?", text: No., checkpoints: [digits, digits-ff], figure: halted}
"""
# Contrast of every text of an element against the first opaque background behind it; [ratio, text] of the worst one.
JS_WORST_CONTRAST = """(root) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const findBackground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  let worst = [21, ""];
  for (const element of root.querySelectorAll("*")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.textContent.trim()).join("");
    if (!text || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const front = luminance(parse(element instanceof SVGElement ? style.fill : style.color));
    const back = luminance(findBackground(element));
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (ratio < worst[0]) worst = [ratio, text];
  }
  return worst;
}"""
JS_LAYOUT_SHIFT = """() => new Promise((resolve) => {
  new PerformanceObserver((list) => {
    const shifts = list.getEntries().filter((entry) => entry.sources.some(({ node }) => node?.parentElement?.closest("#gallery")));
    resolve(shifts.reduce((sum, { value }) => sum + value, 0));
  }).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => resolve(0), 500);
})"""


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """Return directories of bundled checkpoints and of runs."""
    root = tmp_path_factory.mktemp("gallery")
    for name, task in {"mazes": "mazes", "digits": "digits", "parity": "parity", "brackets": "brackets"}.items():
        make_checkpoint(root / "bundled" / name, task)
    make_checkpoint(root / "bundled" / "digits-ff", "digits", kind="ff")
    for directory in (root / "bundled").iterdir():
        (directory / "metrics.json").write_text(json.dumps({"date": "2026-11-30", "evaluations": [EVALUATION]}))
    (root / "bundled" / "gallery.yaml").write_text(GALLERY)
    return root / "bundled", root / "runs"


@pytest.fixture(scope="module")
def server_url(directories) -> Iterator[str]:
    bundled, runs = directories
    catalog = ModelCatalog(bundled, runs, cache_dir=bundled / ".hub" / "cache")
    with serve_page(InferenceService(catalog)) as address:
        yield address


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["desktop", "phone"])
def page(browser, server_url, request) -> Iterator[Page]:
    width, theme = request.param
    yield from open_page(browser, f"{server_url}?__theme={theme}", width, "reduce")


@pytest.fixture
def moving_page(browser, server_url) -> Iterator[Page]:
    """Yield the page for a visitor who has nothing against motion."""
    yield from open_page(browser, server_url, 1280, "no-preference")


def open_page(browser, address: str, width: int, motion: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion=motion)
    new_page, errors = context.new_page(), []
    new_page.on("pageerror", lambda error: errors.append(str(error)))
    new_page.goto(address)
    new_page.wait_for_selector("#gallery .gallery-card")
    yield new_page
    context.close()
    assert errors == []


def locate_card(page: Page, name: str, root: str = "#gallery .gallery-strip"):
    return page.locator(f"{root} [data-name='{name}']")


def wait_until_drawn(card) -> None:
    """Wait until the canvas of a card has more than two colours."""
    card.scroll_into_view_if_needed()
    card.page.wait_for_function(
        "(canvas) => new Set(new Uint32Array(canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size > 2",
        arg=card.locator("canvas").element_handle(),
    )


def read_canvas(card) -> str:
    return card.locator("canvas").evaluate("(canvas) => canvas.toDataURL()")


def test_the_strip_picks_a_model_by_keyboard(page):
    expect(locate_card(page, "digits")).to_have_attribute("aria-pressed", "true")
    locate_card(page, "digits").focus()
    page.keyboard.press("Home")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.dataset.name") == "parity"
    page.keyboard.press("Enter")
    expect(locate_card(page, "parity")).to_have_attribute("aria-pressed", "true")
    expect(locate_card(page, "digits")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#sequence textarea, #sequence input")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.dataset.name") == "digits"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "All models", "the strip is one stop"


def test_cards_have_names_large_targets_and_contrast(page):
    expect(locate_card(page, "mazes")).to_have_accessible_name(
        "Find a way, 85.0% correct, 2.3 of 6 ticks, Draw a maze."
    )
    page.click("#gallery [data-gallery=all]")
    dialog = page.get_by_role("dialog", name="All models")
    expect(dialog.get_by_role("heading", name="Solve by thinking")).to_be_visible()
    for root in ("#gallery", "#gallery dialog"):
        sizes = page.locator(f"{root} button:visible, {root} input:visible").evaluate_all(
            "all => all.map(one => one.getBoundingClientRect()).map(({ width, height }) => Math.min(width, height))"
        )
        assert min(sizes) >= 24
        ratio, text = page.locator(root).first.evaluate(JS_WORST_CONTRAST)
        assert ratio >= 4.5, f"{text!r} has a contrast of {ratio:.2f}"
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_the_dialog_filters_picks_and_gives_the_focus_back(page):
    page.click("#gallery [data-gallery=all]")
    dialog = page.locator("#gallery dialog")
    expect(dialog.get_by_text("It is 85.0%.")).to_be_visible()
    expect(dialog.get_by_role("img", name="Correct answers by tick")).to_be_visible()
    dialog.get_by_role("searchbox").fill("digit")
    expect(dialog.locator(".gallery-card")).to_have_count(2)
    chip = dialog.get_by_role("button", name="Baseline")
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "true")
    expect(dialog.locator(".gallery-card")).to_have_count(1)
    expect(dialog.get_by_role("status")).to_have_text("1 of 5 models")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert page.evaluate("document.activeElement.textContent") == "All models"
    page.click("#gallery [data-gallery=all]")
    locate_card(page, "digits-ff", "#gallery dialog").click()
    expect(dialog).to_be_hidden()
    expect(locate_card(page, "digits-ff")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#checkpoint input")).to_have_value(re.compile("digits-ff"))


def test_the_side_sheet_holds_the_focus_and_gives_it_back(page):
    page.get_by_role("tab", name="Models").click()
    card = locate_card(page, "brackets", "#models")
    card.click()
    sheet = page.get_by_role("dialog", name="Details of the model")
    expect(sheet.locator("#model-facts")).to_contain_text("Match brackets (brackets)")
    expect(sheet.locator("#model-facts")).to_contain_text("2026-11-30")
    assert page.evaluate("document.activeElement.id") == "close-sheet"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.querySelector('#model-sheet').contains(document.activeElement)")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "close-sheet"
    box = sheet.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= page.viewport_size["width"] + 1
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    assert page.evaluate("document.activeElement.dataset.name") == "brackets"
    card.click()
    page.click("#try-model")
    expect(locate_card(page, "brackets")).to_have_attribute("aria-pressed", "true")


def test_thumbnails_are_drawn_and_stay_still_with_reduced_motion(page):
    card = locate_card(page, "mazes")
    wait_until_drawn(card)
    before = read_canvas(card)
    card.hover()
    page.wait_for_timeout(400)
    assert read_canvas(card) == before
    assert page.evaluate(JS_LAYOUT_SHIFT) < 0.01


def test_a_thumbnail_replays_on_hover_and_ends_with_the_last_tick(moving_page):
    card = locate_card(moving_page, "parity")
    wait_until_drawn(card)
    last = read_canvas(card)
    card.hover()
    moving_page.wait_for_function(
        "([canvas, last]) => canvas.toDataURL() !== last", arg=[card.locator("canvas").element_handle(), last]
    )
    moving_page.mouse.move(0, 800)
    assert read_canvas(card) == last


def test_thumbnails_are_fetched_near_the_viewport_only(browser, server_url):
    context = browser.new_context(viewport={"width": 390, "height": 300})
    page = context.new_page()
    addresses = []
    page.on("request", lambda request: addresses.append(request.url) if "/thumbnails/" in request.url else None)
    page.goto(server_url)
    page.wait_for_selector("#gallery .gallery-card")
    wait_until_drawn(locate_card(page, "digits"))
    assert len(addresses) == len(set(addresses)) <= 3, "the two models of the dialog are not fetched"
    context.close()


def test_a_finished_and_a_deleted_run_change_the_cards_without_a_reload(moving_page, directories):
    page, run = moving_page, directories[1] / "fresh-1"
    make_checkpoint(run / "checkpoint", "parity")
    page.get_by_role("tab", name="Models").click()
    expect(locate_card(page, "run:fresh-1", "#models")).to_be_visible()
    expect(page.locator("#models").get_by_role("heading", name="Trained here")).to_be_visible()
    page.get_by_role("tab", name="Think").click()
    expect(locate_card(page, "run:fresh-1")).to_have_count(1)
    locate_card(page, "run:fresh-1").click()
    expect(page.locator("#sequence textarea, #sequence input")).to_be_visible()
    shutil.rmtree(run)
    page.get_by_role("tab", name="Models").click()
    expect(locate_card(page, "run:fresh-1", "#models")).to_have_count(0)
    page.get_by_role("tab", name="Think").click()
    expect(locate_card(page, "run:fresh-1")).to_have_count(0)
    expect(page.locator("#gallery [aria-pressed=true]")).to_have_count(1)
