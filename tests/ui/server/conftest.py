"""Fixtures of the tests of the web server."""

from collections.abc import Iterator

import gradio as gr
import pytest
from starlette.testclient import TestClient

from ui.auth.access import Access
from ui.server.app_factory import create_fastapi_app


@pytest.fixture(scope="module")
def blank_page_client() -> Iterator[TestClient]:
    """Yield a client on this computer of an app whose page shows a text alone."""
    with gr.Blocks() as blocks:
        gr.Markdown("Nothing.")
    app = create_fastapi_app(blocks, Access.from_environment({}, "127.0.0.1"))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5000)) as client:
        yield client
