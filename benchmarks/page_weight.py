"""Bytes and time of a first visit to the page, own files apart from those of Gradio.

    python -m benchmarks.page_weight [--visits 5] [--json FILE]

Chromium opens the page with an empty cache, several times. Bytes are those on the wire: compressed, with the headers of the responses.
The page itself counts as our own, although Gradio writes it: its size follows from the components that we build. The time to the first
picture ends when the result view has drawn its first panel.
"""

import argparse
import json
import os
import statistics
import time
from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, sync_playwright

from benchmarks.browser_requests import BROWSER_FLAGS, LOAD_TIMEOUT_MS, SETTLE_MS, find_browser
from benchmarks.load_server import run_server
from benchmarks.load_test import format_command
from benchmarks.paths import write_figures
from benchmarks.speed import get_processor_name

FIRST_PICTURE = "#thought canvas[data-thought]:visible"
VIEWPORT = {"width": 1366, "height": 900}
# Kinds of files by the beginning of their path; own files first, all others are Gradio's.
OWN_KINDS = {"/modules/": "modules", "/thumbnails/": "thumbnails and recordings", "/weights/": "models"}
GRADIO_KINDS = {"/assets/": "bundle", "/gradio_api/": "events and files", "/theme.css": "theme"}


def classify_path(path: str) -> tuple[str, str]:
    """Return whose file a path is, "own" or "gradio", and of what kind.

    Args:
        path: Path of the URL, without its query.
    """
    if path == "/":
        return "own", "page"
    for owner, kinds in (("own", OWN_KINDS), ("gradio", GRADIO_KINDS)):
        for prefix, kind in kinds.items():
            if path.startswith(prefix):
                return owner, kind
    return "gradio", "other"


def sum_bytes(responses: list[tuple[str, int]]) -> dict[str, dict[str, dict[str, int]]]:
    """Return requests and bytes by owner and kind.

    Args:
        responses: Path and bytes of every response.
    """
    sums: dict[str, dict[str, dict[str, int]]] = {"own": {}, "gradio": {}}
    for path, num_bytes in responses:
        owner, kind = classify_path(path)
        entry = sums[owner].setdefault(kind, {"requests": 0, "bytes": 0})
        entry["requests"] += 1
        entry["bytes"] += num_bytes
    return sums


def measure_visit(browser: Browser, address: str) -> tuple[list[tuple[str, int]], float]:
    """Open the page with an empty cache.

    Args:
        browser: The browser.
        address: URL of the server.

    Returns:
        Path and bytes of every response, and the seconds until the first picture.
    """
    context = browser.new_context(viewport=VIEWPORT)
    page = context.new_page()
    page.set_default_timeout(LOAD_TIMEOUT_MS)
    urls: dict[str, str] = {}
    num_bytes: dict[str, float] = defaultdict(float)
    session = context.new_cdp_session(page)
    session.on("Network.responseReceived", lambda event: urls.update({event["requestId"]: event["response"]["url"]}))
    session.on(
        "Network.loadingFinished", lambda event: num_bytes.update({event["requestId"]: event["encodedDataLength"]})
    )
    session.send("Network.enable")
    start = time.perf_counter()
    page.goto(address)
    page.locator(FIRST_PICTURE).first.wait_for()
    seconds = time.perf_counter() - start
    page.wait_for_timeout(SETTLE_MS)
    context.close()
    paths = {key: urlsplit(url) for key, url in urls.items()}
    return [(url.path, round(num_bytes[key])) for key, url in paths.items() if url.scheme == "http"], seconds


def measure(visits: int) -> dict[str, Any]:
    """Start a server and measure first visits.

    Args:
        visits: Number of visits.

    Returns:
        Bytes of the median visit by owner and kind, and the median time to the first picture.

    Raises:
        SystemExit: There is no Chromium.
    """
    executable = find_browser("First visits are measured")
    with run_server() as server, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=BROWSER_FLAGS)
        results = [measure_visit(browser, server.address) for _ in range(visits)]
        browser.close()
    results.sort(key=lambda result: sum(num_bytes for _, num_bytes in result[0]))
    responses = results[len(results) // 2][0]
    sums = sum_bytes(responses)
    totals = {owner: sum(entry["bytes"] for entry in kinds.values()) for owner, kinds in sums.items()}
    return {
        "bytes": totals | {"total": sum(totals.values())},
        "by_kind": sums,
        "first_picture_s": round(statistics.median(seconds for _, seconds in results), 2),
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page_weight", description=__doc__.splitlines()[0])
    parser.add_argument("--visits", type=int, default=5, help="number of first visits (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    figures = measure(args.visits) | {
        "visits": args.visits,
        "command": format_command("benchmarks.page_weight"),
        "date": f"{date.today():%Y-%m-%d}",
        "hardware": {"processor": get_processor_name(), "cores": os.cpu_count()},
    }
    print(json.dumps(figures, indent=2))
    if args.json:
        write_figures(args.json, figures)


if __name__ == "__main__":
    main()
