"""Test JavaScript modules in a browser with the real middleware: delayed, missing, and mounted again."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Route, expect
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.ui import sample_records
from tests.ui.test_browser import browser
from ui.auth.access import Access
from ui.components.inputs import JS_EDITOR_TO_TEXT, build_editor, build_editor_value
from ui.components.thought_view import build_thought_view
from ui.server.app_factory import create_fastapi_app
from ui.static_files import LOAD_FAILED, PAGE_BUNDLE_PATH

__all__ = ["browser"]
pytestmark = pytest.mark.browser
PREFIX = "/under"
BUNDLE_ROUTE = f"**/modules/*/{PAGE_BUNDLE_PATH}"


def add_path_prefix(app: ASGIApp) -> ASGIApp:
    """Return an app that serves another app below a path, as a proxy does."""

    async def forward(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path.startswith(PREFIX):
            scope = scope | {"path": path.removeprefix(PREFIX) or "/", "raw_path": b""}
        await app(scope, receive, send)

    return forward


@contextmanager
def serve(below_prefix: bool = False) -> Iterator[str]:
    with gr.Blocks() as blocks:
        thought, number = build_thought_view(), gr.Textbox(elem_id="number")
        gr.Button("Show", elem_id="show").click(
            lambda: (sample_records.make_tracking_record(), "1"), None, [thought, number]
        )
        with gr.Tab("Bits"):
            editor, text = (
                build_editor("bits", build_editor_value({"kind": "bits", "length": 4})),
                gr.Textbox(elem_id="bits-text"),
            )
            editor.input(None, editor, text, js=JS_EDITOR_TO_TEXT)
        with gr.Tab("Other"):
            gr.Markdown("Nothing.")
    blocks.queue()
    app = create_fastapi_app(blocks, Access.from_environment({}, "127.0.0.1"))
    app = add_path_prefix(app) if below_prefix else app
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1, ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = server.force_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serve() as address:
        yield address


@contextmanager
def open_page(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    context = browser.new_context(viewport={"width": 1000, "height": 900}, reduced_motion="reduce")
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page, errors
    context.close()


def test_modules_load_once_and_without_content_security_policy_errors(browser, address):
    with open_page(browser) as (page, errors):
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url) if "/modules/" in request.url else None)
        page.goto(address)
        expect(page.locator("#bits .editor-bit")).to_have_count(4)
        assert requests and len(requests) == len(set(requests))
        assert not [error for error in errors if "modules" in error or "Content Security Policy" in error]


def test_a_value_that_arrives_before_the_module_is_drawn_once_the_module_is_loaded(browser, address):
    delayed_routes: list[Route] = []
    with open_page(browser) as (page, _):
        page.route(BUNDLE_ROUTE, lambda route: delayed_routes.append(route))
        page.goto(address)
        page.click("#show")
        expect(page.locator("#number textarea, #number input")).to_have_value("1")
        sentence = page.locator("#thought [data-thought=sentence]")
        expect(sentence).to_have_text("")
        for route in delayed_routes:
            route.continue_()
        expect(sentence).to_have_text("It is done.")


def test_a_module_that_does_not_load_shows_an_error_message(browser, address):
    with open_page(browser) as (page, _):
        page.route(BUNDLE_ROUTE, lambda route: route.abort())
        page.goto(address)
        for component in ("#thought", "#bits"):
            expect(page.locator(component)).to_have_text(LOAD_FAILED)


def test_a_component_that_is_mounted_again_registers_its_listeners_once(browser, address):
    with open_page(browser) as (page, _):
        page.goto(address)
        bit, text = page.locator("#bits .editor-bit").first, page.locator("#bits-text").locator("textarea, input")
        expect(bit).to_be_visible()
        for _ in range(2):
            page.get_by_role("tab", name="Other").click()
            page.get_by_role("tab", name="Bits").click()
        bit.click()
        expect(text).to_have_value("1")
        page.evaluate(
            """async () => {
            const url = performance.getEntriesByType("resource").map((entry) => entry.name)
              .find((name) => name.includes("/page-bundle.js"));
            const element = document.querySelector("#bits [data-editor=root]").parentElement;
            const module = (await import(url)).load("editors/index.js");
            module.mount(element, { value: {} }, () => {}, () => { throw new Error("mounted twice"); });
            const other = document.createElement("div");
            other.append(element.querySelector("[data-editor=root]").cloneNode());
            let watched = 0;
            for (let time = 0; time < 2; time++) {
              module.mount(other, { value: { kind: "bits", length: 2 } }, () => {}, () => watched++);
            }
            if (watched !== 1 || other.querySelectorAll("button").length < 2) throw new Error(`watched ${watched} times`);
        }"""
        )


def test_modules_load_below_a_path_of_a_proxy(browser, monkeypatch):
    monkeypatch.setenv("GRADIO_ROOT_PATH", PREFIX)
    with serve(below_prefix=True) as address, open_page(browser) as (page, _):
        page.goto(f"{address}{PREFIX}/")
        expect(page.locator("#bits .editor-bit")).to_have_count(4)
