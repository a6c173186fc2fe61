"""Take the film and the screenshots of README.md, and the picture of previews of links to the page.

    python docs/screenshot.py        writes docs/maze.gif, docs/think.png, docs/halting.png and ui/static/card.png
    python docs/screenshot.py card   writes one of them: film, think, halting or card

Needs Chromium or Chrome, and requirements-dev.txt.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import gradio as gr
import imageio_ffmpeg
from PIL import Image, ImageOps
from playwright.sync_api import Browser, expect, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.halting.plots import build_figure  # noqa: E402 -- the project is not installed
from ui import page  # noqa: E402
from ui.server.card_route import CARD_SIZE  # noqa: E402
from ui.services.inference_service import InferenceService  # noqa: E402
from ui.services.model_catalog import ModelCatalog  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Five frames a second, at a size that a README shows, with the colours of this film alone.
GIF_FILTER = "fps=5,scale=810:-1:flags=lanczos,split[a][b];[a]palettegen=max_colors=96:stats_mode=full[p];[b][p]paletteuse=dither=none"
CARD_EXAMPLE = 1  # of the first model: a maze that is solved early


def main() -> None:
    """Write the screenshots that the command line names, or all of them."""
    takes = {"film": take_film, "think": take_think, "halting": take_halting, "card": take_card}
    names = sys.argv[1:] or list(takes)
    if unknown := set(names) - set(takes):
        raise SystemExit(f"There is no screenshot {', '.join(sorted(unknown))}: name {', '.join(takes)}.")
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        raise SystemExit("No Chromium or Chrome is on PATH.")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        for name in names:
            takes[name](browser)
        browser.close()


def take_film(browser: Browser) -> None:
    """Write docs/maze.gif: the film that the page saves of the stage after a maze was solved."""
    blocks, address = launch_page()
    browser_page = browser.new_page(viewport={"width": 1280, "height": 1000}, color_scheme="light")
    browser_page.goto(address)
    browser_page.locator("#image-examples button").nth(CARD_EXAMPLE).click()
    expect(browser_page.locator("#thought [data-thought=verdict]")).to_have_text("Correct", timeout=60_000)
    with browser_page.expect_download(timeout=180_000) as download:
        browser_page.locator(".thought-controls [data-share=film]").click()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-i", str(download.value.path())]
    subprocess.run([*command, "-vf", GIF_FILTER, str(ROOT / "docs" / "maze.gif")], check=True)
    blocks.close()


def launch_page() -> tuple[gr.Blocks, str]:
    """Serve the page with the bundled checkpoints; return it and its address."""
    blocks = page.build_page(InferenceService(ModelCatalog(ROOT / "checkpoints")))
    _, address, _ = blocks.queue().launch(
        prevent_thread_lock=True, quiet=True, **page.get_launch_options(blocks.extra_routes)
    )
    return blocks, address


def take_card(browser: Browser) -> None:
    """Write ui/static/card.png: the picture that the page saves of the stage after a maze was solved."""
    blocks, address = launch_page()
    browser_page = browser.new_page(
        viewport={"width": 1280, "height": 1000}, device_scale_factor=2, reduced_motion="reduce", color_scheme="light"
    )
    browser_page.goto(address)
    browser_page.locator("#image-examples button").nth(CARD_EXAMPLE).click()
    save = browser_page.locator(".thought-controls [data-share=picture]")
    expect(save).to_be_visible(timeout=60_000)
    expect(browser_page.locator("#thought [data-thought=verdict]")).to_have_text("Correct", timeout=60_000)
    with browser_page.expect_download() as download:
        save.click()
    with Image.open(download.value.path()) as picture:
        shown = ImageOps.contain(picture.convert("RGB"), CARD_SIZE, Image.Resampling.LANCZOS)
        card = ImageOps.pad(shown, CARD_SIZE, color="white")
    card.quantize(256, dither=Image.Dither.NONE).save(ROOT / "ui" / "static" / "card.png", optimize=True)
    blocks.close()


def take_think(browser: Browser) -> None:
    """Write docs/think.png."""
    blocks, address = launch_page()
    browser_page = browser.new_page(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce")
    browser_page.goto(address)
    browser_page.locator("#image-examples button").nth(CARD_EXAMPLE).click()
    expect(browser_page.locator("#thought [data-thought=verdict]")).to_have_text("Correct", timeout=60_000)
    expect(browser_page.locator("#thought [data-thought=note]")).to_contain_text("Computed in", timeout=60_000)
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


if __name__ == "__main__":
    main()
