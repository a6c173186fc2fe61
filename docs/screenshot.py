"""Take the screenshots of README.md: the page after a prediction for a drawn digit, and the Pareto frontiers.

    python docs/screenshot.py        writes docs/think.png and docs/halting.png

Needs Chromium or Chrome, and requirements-dev.txt.
"""

import json
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.halting.plots import build_figure  # noqa: E402 -- the project is not installed
from ui import page  # noqa: E402
from ui.services.inference_service import InferenceService  # noqa: E402
from ui.services.model_catalog import ModelCatalog  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SEVEN_STROKES = (  # the bar makes the model use more ticks
    ((0.3, 0.25), (0.68, 0.25), (0.55, 0.5), (0.45, 0.8)),
    ((0.38, 0.52), (0.64, 0.5)),
)


def main() -> None:
    """Write both screenshots."""
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        raise SystemExit("No Chromium or Chrome is on PATH.")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        take_think(browser)
        take_halting(browser)
        browser.close()


def take_think(browser: Browser) -> None:
    """Write docs/think.png."""
    blocks = page.build_page(InferenceService(ModelCatalog(ROOT / "checkpoints")))
    _, address, _ = blocks.queue().launch(
        prevent_thread_lock=True, quiet=True, **page.get_launch_options(blocks.extra_routes)
    )
    browser_page = browser.new_page(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce")
    browser_page.goto(address)
    browser_page.wait_for_selector("#drawing canvas")
    draw(browser_page)
    browser_page.click("#run-drawing")
    browser_page.wait_for_function("document.querySelector('#thought [data-thought=sentence]').textContent !== ''")
    browser_page.wait_for_timeout(1_500)  # Gradio fades the view in
    browser_page.screenshot(path=ROOT / "docs" / "think.png", full_page=True)
    blocks.close()


def take_halting(browser: Browser) -> None:
    """Write docs/halting.png."""
    figure = build_figure(json.loads((ROOT / "benchmarks" / "halting.json").read_text("utf-8")))
    browser_page = browser.new_page(viewport={"width": figure.layout.width + 20, "height": figure.layout.height})
    browser_page.set_content(figure.to_html(include_plotlyjs=True, config={"staticPlot": True}))
    browser_page.wait_for_selector(".legend .traces")
    browser_page.screenshot(path=ROOT / "docs" / "halting.png", full_page=True)


def draw(browser_page: Page) -> None:
    """Draw a seven on the sketchpad."""
    box = browser_page.locator("#drawing canvas").bounding_box()
    for stroke in SEVEN_STROKES:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        browser_page.mouse.move(*points[0])
        browser_page.mouse.down()
        for point in points[1:]:
            browser_page.mouse.move(*point, steps=5)
        browser_page.mouse.up()


if __name__ == "__main__":
    main()
