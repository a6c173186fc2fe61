"""Take the picture of README.md: the page, with a digit drawn and thought about.

python docs/screenshot.py        writes docs/think.png; needs a Chromium or Chrome and requirements-dev.txt
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from ui import page  # noqa: E402 -- the project is not installed
from ui.models import Models  # noqa: E402
from ui.services import Services  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
THREE = (
    (0.33, 0.27),
    (0.46, 0.2),
    (0.6, 0.26),
    (0.6, 0.4),
    (0.47, 0.48),
    (0.62, 0.56),
    (0.63, 0.72),
    (0.48, 0.8),
    (0.33, 0.74),
)


def main() -> None:
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        raise SystemExit("No Chromium or Chrome is on PATH.")
    built = page.build(Services(Models(ROOT / "checkpoints")))
    _, address, _ = built.queue().launch(prevent_thread_lock=True, quiet=True, **page.launch_options())
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        shown = browser.new_page(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce")
        shown.goto(address)
        shown.wait_for_selector("#drawing canvas")
        draw(shown)
        shown.click("#think-drawing")
        shown.wait_for_function("document.querySelector('#thought [data-live=sentence]').textContent !== ''")
        shown.wait_for_timeout(1_500)  # until Gradio has faded the view in again
        shown.screenshot(path=ROOT / "docs" / "think.png", full_page=True)
        browser.close()
    built.close()


def draw(shown) -> None:
    box = shown.locator("#drawing canvas").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in THREE]
    shown.mouse.move(*places[0])
    shown.mouse.down()
    for place in places[1:]:
        shown.mouse.move(*place, steps=5)
    shown.mouse.up()


if __name__ == "__main__":
    main()
