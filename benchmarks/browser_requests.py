"""Requests of a real browser, recorded: those that open the page, and those of predictions in the browser."""

import shutil
from dataclasses import dataclass
from urllib.parse import urlsplit

from playwright.sync_api import Page, Request, sync_playwright

BROWSER_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_FLAGS = ("--no-sandbox", "--disable-gpu")
# Requests of the Gradio client that depend on the session; the simulated visitors make those of their own.
SESSION_PATHS = ("/gradio_api/heartbeat/", "/gradio_api/queue/")
LOAD_TIMEOUT_MS = 120_000
SETTLE_MS = 3_000  # time for requests that nothing waits for


@dataclass(frozen=True)
class RecordedRequests:
    """Paths of GET requests, with their queries, in the order of a browser.

    Attributes:
        page: What opens the page.
        model: What the first prediction fetches besides: the engine, and the files of the model.
    """

    page: list[str]
    model: list[str]


def record_requests(address: str) -> RecordedRequests:
    """Open the page in Chromium, and run its maze twice in the browser.

    Args:
        address: URL of the server, whose first model solves mazes.

    Raises:
        SystemExit: There is no Chromium, the prediction did not run in the browser, or the second one asked the server.
    """
    executable = find_browser("The requests of a visitor are recorded")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=BROWSER_FLAGS)
        page = browser.new_page()
        page.set_default_timeout(LOAD_TIMEOUT_MS)
        requests: list[Request] = []
        page.on("request", lambda request: requests.append(request))
        page.goto(address)
        page.wait_for_selector("#run-editor")
        page.wait_for_timeout(SETTLE_MS)
        num_page = len(requests)
        run_prediction(page)
        num_model = len(requests)
        run_prediction(page)
        later = [f"{request.method} {urlsplit(request.url).path}" for request in requests[num_model:]]
        if later := [name for name in later if "/heartbeat/" not in name]:
            raise SystemExit(f"A prediction in the browser asked the server: {', '.join(later)}.")
        browser.close()
    recorded = RecordedRequests(list_paths(requests[:num_page]), list_paths(requests[num_page:num_model]))
    if not any(path.endswith(".safetensors") for path in recorded.model):
        raise SystemExit("The prediction did not run in the browser: it did not load the weights of a model.")
    return recorded


def find_browser(purpose: str) -> str:
    """Return the path of Chromium or Chrome.

    Args:
        purpose: What it is needed for, as the beginning of a sentence.

    Raises:
        SystemExit: There is none.
    """
    executable = next(filter(None, map(shutil.which, BROWSER_NAMES)), None)
    if executable is None:
        raise SystemExit(f"{purpose} with Chromium or Chrome: none is on the PATH.")
    return executable


def run_prediction(page: Page) -> None:
    """Press *Run*, and wait until the page shows where it was computed."""
    page.locator("#run-editor").click()
    page.wait_for_function("document.querySelector('#thought')?.textContent.includes('in your browser')")
    page.wait_for_timeout(SETTLE_MS)


def list_paths(requests: list[Request]) -> list[str]:
    """Return path and query of the GET requests to the server, without those of the session; each once."""
    paths = []
    for request in requests:
        parts = urlsplit(request.url)
        if request.method == "GET" and parts.scheme == "http" and not parts.path.startswith(SESSION_PATHS):
            paths.append(parts.path + (f"?{parts.query}" if parts.query else ""))
    return list(dict.fromkeys(paths))
