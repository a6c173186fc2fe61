"""Time from a touch to the first answer that the page draws, in a browser on this computer.

    python -m benchmarks.first_answer [--touches 30] [--json FILE]

Chromium opens the page of a server that it shares the processor with. A touch is the end of a stroke (digits), a goal that is moved
(mazes) or a bit that is typed (parity). The time ends when the page writes the answer; animations are off, as for visitors who ask for
reduced motion. The first touch of a model also fetches the engine and the weights; it is listed apart.
"""

import argparse
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from playwright.sync_api import Page, TimeoutError, sync_playwright

from benchmarks.browser_requests import BROWSER_FLAGS, LOAD_TIMEOUT_MS, SETTLE_MS, find_browser
from benchmarks.load_server import run_server
from benchmarks.load_test import format_command
from benchmarks.paths import write_figures
from benchmarks.speed import get_processor_name

RESULTS_NAME = "first_answer"
NUM_TOUCHES = 30
PAUSE_MS = 300  # between an answer and the next touch
ANSWER_TIMEOUT_MS = 30_000
WATCH = """(event) => {
  window.answerTime = null;
  const isSentence = ({ target }) =>
    (target instanceof Element ? target : target.parentElement)?.closest("[data-thought=sentence]");
  let start = null;
  document.addEventListener(event, () => { start = performance.now(); }, { capture: true, once: true });
  const observer = new MutationObserver((mutations) => {
    if (start === null || !mutations.some(isSentence)) return;
    window.answerTime = performance.now() - start;
    observer.disconnect();
  });
  observer.observe(document.querySelector("#thought"), { childList: true, characterData: true, subtree: true });
}"""


def draw_stroke(page: Page, index: int) -> None:
    """Draw a one, each time with another slope, on an empty canvas."""
    box = page.locator("#drawing canvas").bounding_box()
    assert box
    top, bottom = 0.4 + 0.04 * (index % 6), 0.4 + 0.04 * (index // 6 % 6)
    page.mouse.move(box["x"] + top * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + bottom * box["width"], box["y"] + 0.8 * box["height"], steps=8)
    page.mouse.up()


def move_goal(page: Page, index: int) -> None:
    """Move the goal of the maze to the path that is nearest to a place."""
    box = page.locator("#image-editor canvas").bounding_box()
    assert box
    column, row = index % 5, index // 5 % 6
    page.mouse.move(box["x"] + (0.15 + 0.14 * column) * box["width"], box["y"] + (0.12 + 0.13 * row) * box["height"])
    page.mouse.down()
    page.mouse.up()


def type_bit(page: Page, index: int) -> None:
    """Append a one to the sequence, which starts anew when it is full; the answer alternates, so that its sentence changes."""
    field = page.locator("#sequence textarea, #sequence input").first
    if index % 15 == 0:
        field.fill("1")
    else:
        field.press_sequentially("1")


def clear_canvas(page: Page) -> None:
    """Remove the former drawing."""
    page.get_by_role("button", name="Clear").first.click()


def choose_goal(page: Page) -> None:
    """Choose the tool that moves the goal."""
    page.locator("#image-editor").get_by_role("button", name="Goal").click()


class Touch(NamedTuple):
    """How the input of a model is touched.

    Attributes:
        event: Event of the page at which the time starts.
        perform: Touches the input; its argument is the number of the touch.
        prepare: What precedes each touch and is not timed.
    """

    event: str
    perform: Callable[[Page, int], None]
    prepare: Callable[[Page], None] = lambda _: None


TOUCHES = {
    "digits": Touch("pointerup", draw_stroke, clear_canvas),
    "mazes-15": Touch("pointerup", move_goal, choose_goal),
    "parity-16": Touch("input", type_bit),
}


def measure_touches(page: Page, address: str, name: str, touches: int) -> dict[str, Any]:
    """Touch the input of a model again and again.

    Returns:
        Milliseconds: of the first answer, and median and 95th percentile of those after it.
    """
    touch = TOUCHES[name]
    page.goto(f"{address}?model={name}")
    page.wait_for_selector("[data-thought=sentence]")
    page.wait_for_timeout(SETTLE_MS)
    times = []
    for index in range(touches + 1):
        touch.prepare(page)
        page.evaluate(WATCH, touch.event)
        touch.perform(page, index)
        try:
            page.wait_for_function("window.answerTime !== null", timeout=ANSWER_TIMEOUT_MS)
        except TimeoutError:
            raise SystemExit(f"Touch {index + 1} of {name} was not answered.") from None
        times.append(page.evaluate("window.answerTime"))
        page.wait_for_timeout(PAUSE_MS)
    later = np.array(times[1:])
    return {
        "checkpoint": name,
        "first": times[0],
        "median": float(np.median(later)),
        "p95": float(np.quantile(later, 0.95)),
        "touches": touches,
    }


def measure(touches: int) -> list[dict[str, Any]]:
    """Measure all models with a server of their own.

    Raises:
        SystemExit: There is no Chromium.
    """
    executable = find_browser("The time of an answer is measured")
    with run_server() as server, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=BROWSER_FLAGS)
        page = browser.new_context(reduced_motion="reduce").new_page()
        page.set_default_timeout(LOAD_TIMEOUT_MS)
        return [measure_touches(page, server.address, name, touches) for name in TOUCHES]


def render_table(figures: dict[str, Any]) -> str:
    """Return the figures as a table in Markdown."""
    lines = [
        "| checkpoint | first answer after a touch, median (95th percentile) | after the page was opened |",
        "|---|---|---|",
    ]
    for row in figures["rows"]:
        lines.append(
            f"| {row['checkpoint']} | {row['median']:.0f} ms ({row['p95']:.0f} ms) of {row['touches']} | {row['first']:.0f} ms |"
        )
    hardware = figures["hardware"]
    place = f"{hardware['processor']}, {hardware['cores']} cores, which server and browser share"
    lines += ["", f"Measured {figures['date']} on {place}, Chromium without animations. `{figures['command']}`."]
    return "\n".join(lines)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_answer", description=__doc__.splitlines()[0])
    parser.add_argument("--touches", type=int, default=NUM_TOUCHES, help="touches of each model (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    figures = {
        "rows": measure(args.touches),
        "command": format_command("benchmarks.first_answer"),
        "date": f"{date.today():%Y-%m-%d}",
        "hardware": {"processor": get_processor_name(), "cores": os.cpu_count()},
    }
    print(render_table(figures))
    if args.json:
        write_figures(args.json, figures)


if __name__ == "__main__":
    main()
