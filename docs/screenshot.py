"""Take the pictures of README.md: the page, with a digit drawn and thought about, and the frontiers of the halting rules.

python docs/screenshot.py        writes docs/think.png, docs/halting.png; needs a Chromium or Chrome and requirements-dev.txt
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
SEVEN = (  # strokes; the bar makes it think for longer
    ((0.3, 0.25), (0.68, 0.25), (0.55, 0.5), (0.45, 0.8)),
    ((0.38, 0.52), (0.64, 0.5)),
)


def main() -> None:
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        raise SystemExit("No Chromium or Chrome is on PATH.")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        take_think(browser)
        take_halting(browser)
        browser.close()


def take_think(browser: Browser) -> None:
    built = page.build_page(InferenceService(ModelCatalog(ROOT / "checkpoints")))
    _, address, _ = built.queue().launch(prevent_thread_lock=True, quiet=True, **page.get_launch_options())
    shown = browser.new_page(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce")
    shown.goto(address)
    shown.wait_for_selector("#drawing canvas")
    draw(shown)
    shown.click("#think-drawing")
    shown.wait_for_function("document.querySelector('#thought [data-thought=sentence]').textContent !== ''")
    shown.wait_for_timeout(1_500)  # until Gradio has faded the view in again
    shown.screenshot(path=ROOT / "docs" / "think.png", full_page=True)
    built.close()


def take_halting(browser: Browser) -> None:
    figure = build_figure(json.loads((ROOT / "benchmarks" / "halting.json").read_text("utf-8")))
    shown = browser.new_page(viewport={"width": figure.layout.width + 20, "height": figure.layout.height})
    shown.set_content(figure.to_html(include_plotlyjs=True, config={"staticPlot": True}))
    shown.wait_for_selector(".legend .traces")
    shown.screenshot(path=ROOT / "docs" / "halting.png", full_page=True)


def draw(shown: Page) -> None:
    box = shown.locator("#drawing canvas").bounding_box()
    for stroke in SEVEN:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        shown.mouse.move(*places[0])
        shown.mouse.down()
        for place in places[1:]:
            shown.mouse.move(*place, steps=5)
        shown.mouse.up()


if __name__ == "__main__":
    main()
