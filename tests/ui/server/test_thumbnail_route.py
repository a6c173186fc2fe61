"""Test the route of thumbnails: under a digest, cacheable for a year, and nothing else."""

import gzip
import json

import gradio as gr
import pytest
from starlette.testclient import TestClient

from tests.ui.conftest import make_inference_service
from ui import page as pages
from ui.auth.access import Access
from ui.server.app_factory import create_fastapi_app


@pytest.fixture(scope="module")
def served(checkpoints_dir):
    """Yield a client and the address of a thumbnail."""
    service = make_inference_service(checkpoints_dir)
    card = next(card for card in service.gallery.build_view()["cards"] if card["name"] == "mazes")
    blocks = pages.build_page(service)
    app = create_fastapi_app(blocks, Access.from_environment({}, "127.0.0.1"))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5000)) as client:
        yield client, f"/{card['thumbnail']}"


def test_a_thumbnail_is_immutable_and_compressed(served):
    client, address = served
    plain = client.get(address, headers={"Accept-Encoding": "identity"})
    compressed = client.get(address, headers={"Accept-Encoding": "gzip"})
    assert plain.status_code == 200 and plain.json() == compressed.json()
    assert compressed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert compressed.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert compressed.headers["vary"] == "Accept-Encoding" and plain.headers["x-content-type-options"] == "nosniff"
    assert len(plain.json()["routes"]) == len(plain.json()["ticks"])
    assert len(gzip.compress(json.dumps(plain.json()).encode())) < 3_000


@pytest.mark.parametrize("path", ["0" * 16 + ".json", "x.json", "../app.py", "0" * 16, "%2e%2e/app.py"])
def test_other_paths_are_not_found(served, path):
    response = served[0].get(f"/thumbnails/{path}")
    assert response.status_code == 404 and "immutable" not in response.headers.get("cache-control", "")


def test_a_page_of_gradio_alone_has_no_thumbnails():
    with gr.Blocks() as blocks:
        gr.Markdown("Nothing.")
    app = create_fastapi_app(blocks, Access.from_environment({}, "127.0.0.1"))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5000)) as client:
        assert client.get(f"/thumbnails/{'0' * 16}.json").status_code == 404
