"""Compare how Chromium and Python decode image files, and what the model then answers.

A file that the browser decodes in another way must be one that the page sends to the server.
"""

import base64
import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from benchmarks.load_plan import CANVAS_SIZE_PX
from ctm.checkpoint import load
from tests.paths import ROOT
from tests.ui.image_file_kinds import make_jpeg_files, make_other_files, make_png_files
from tests.ui.test_browser import browser
from tests.ui.test_browser_engine import address
from training.data.image_reader import read_image
from training.pipeline import Pipeline
from training.tasks import build_task
from training.tasks.digits import load_images
from training.tasks.splits import TEST

__all__ = ["address", "browser"]
pytestmark = [pytest.mark.browser, pytest.mark.slow]
NUM_DIGITS = 200
DECODE_FILES = """async (files) => {
  const { decodeImage } = await import("/ui/static/ctm/images/decoding.js");
  const { findServerReason, needsServer, readRgb } = await import("/ui/static/ctm/images/pixels.js");
  const encode = (bytes) => new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1]);
    reader.readAsDataURL(new Blob([bytes]));
  });
  const results = {};
  for (const [kind, text] of Object.entries(files)) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const reason = findServerReason(bytes);
    const pixels = await decodeImage(new Blob([bytes])).catch(() => null);
    const { data, width, height } = pixels ? readRgb(pixels) : { data: new Uint8Array(), width: 0, height: 0 };
    const needs = reason !== null || pixels === null || needsServer(pixels);
    results[kind] = { needsServer: needs, width, height, data: await encode(data) };
  }
  return results;
}"""
DECODE_WITH_PROFILE = """async (text) => {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes]));
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  return [...context.getImageData(0, 0, 32, 32).data];
}"""
RUN_DIGITS = """async ([files, images]) => {
  const { BrowserPipeline } = await import("/ui/static/ctm/pipeline.js");
  const { decodeImage } = await import("/ui/static/ctm/images/decoding.js");
  const { findServerReason } = await import("/ui/static/ctm/images/pixels.js");
  const toBytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const createWorker = () => new Worker("/ui/static/ctm/worker.js", { type: "module" });
  const contents = new Map(Object.entries(files).map(([name, text]) => [name, toBytes(text)]));
  const pipeline = await BrowserPipeline.load({ name: "digits", files: contents, createWorker });
  const results = [];
  for (const image of images) {
    if (findServerReason(toBytes(image)) !== null) throw new Error("The server would read this file.");
    const { answer, ticks } = await pipeline.run(await decodeImage(new Blob([toBytes(image)])));
    results.push([answer, ticks]);
  }
  pipeline.close();
  return results;
}"""


@pytest.fixture(scope="module")
def page(browser, address) -> Iterator[Page]:
    page = browser.new_page()
    page.goto(f"{address}/docs/")
    yield page
    page.close()


def encode_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def compute_differences(content: bytes, result: dict) -> np.ndarray | None:
    """Return the absolute differences of the pixels from those of Python; None if the sizes differ."""
    expected = np.asarray(read_image(content).to_8_bit().convert("RGB")).astype(int)
    if expected.shape[:2] != (result["height"], result["width"]):
        return None
    return abs(np.frombuffer(base64.b64decode(result["data"]), np.uint8).reshape(expected.shape).astype(int) - expected)


@pytest.mark.parametrize("make_files", [make_jpeg_files, make_png_files, make_other_files])
def test_files_that_the_browser_decodes_have_the_pixels_of_python(page, make_files):
    files = make_files()
    results = page.evaluate(DECODE_FILES, {kind: encode_base64(content) for kind, content in files.items()})
    wrong = []
    for kind, content in files.items():
        differences = compute_differences(content, results[kind])
        worst, mean = (differences.max(), differences.mean()) if differences is not None else (np.inf, np.inf)
        print(f"{kind:40} worst {worst:3} mean {mean:.4f} {'server' if results[kind]['needsServer'] else 'browser'}")
        if worst > 0 and not results[kind]["needsServer"]:
            wrong.append(kind)
    assert wrong == []
    read_in_browser = [kind for kind in files if not results[kind]["needsServer"]]
    assert (len(read_in_browser) > 10) == (make_files is not make_other_files)


def test_the_colour_profile_of_the_test_file_would_change_its_pixels(page):
    """The comparison of files with a profile means something, because a browser that applies it gives other pixels."""
    files = make_jpeg_files()
    with_profile, without = (
        np.array(page.evaluate(DECODE_WITH_PROFILE, encode_base64(files[kind])))
        for kind in ("JPEG with profile", "JPEG 4:2:0, photo")
    )
    assert abs(with_profile - without).max() > 20


def make_digit_files() -> list[bytes]:
    """Return test digits as JPEG files like drawings of the page, of several qualities and subsamplings."""
    images, _ = load_images(TEST)
    files = []
    for index in range(NUM_DIGITS):
        digit = Image.fromarray((255 * (1 - images[index, 0])).byte().numpy())
        drawing = digit.resize((CANVAS_SIZE_PX, CANVAS_SIZE_PX), Image.Resampling.BICUBIC).convert("RGB")
        file = io.BytesIO()
        drawing.save(
            file, "JPEG", quality=(40, 60, 75, 95)[index % 4], subsampling=index % 3, progressive=index % 5 == 0
        )
        files.append(file.getvalue())
    return files


def test_digits_as_jpeg_have_the_answers_and_ticks_of_python(page):
    checkpoint_dir = ROOT / "checkpoints" / "digits"
    checkpoint = load(checkpoint_dir)
    pipeline = Pipeline(checkpoint, build_task(checkpoint.task))
    files = make_digit_files()
    names = ("config.json", "task.json", "halting.json", "model.safetensors")
    contents = {name: encode_base64((checkpoint_dir / name).read_bytes()) for name in names}
    results = page.evaluate(RUN_DIGITS, [contents, [encode_base64(file) for file in files]])
    expected = [pipeline(file) for file in files]
    assert results == [[response["answer"], response["ticks_used"]] for response in expected]
    assert len({ticks for _, ticks in results}) > 3 and len({answer for answer, _ in results}) == 10
