"""Test the route of Gradio's own files: unchanged, compressed, cacheable for a year, and nothing else."""

from pathlib import Path

import brotli
import pytest
from gradio.route_utils import BUILD_PATH_LIB

from ui.server.asset_route import GradioAssets

ASSETS = GradioAssets(Path(BUILD_PATH_LIB))
SCRIPT = min(name for name in ASSETS.names if name.startswith("index-") and name.endswith(".js"))


@pytest.mark.parametrize("encoding", ["br", "gzip", "identity"])
def test_a_script_is_served_unchanged_and_immutable(blank_page_client, encoding):
    content = ASSETS.read(SCRIPT)
    for _ in range(2):  # the second answer comes from memory
        response = blank_page_client.get(f"/assets/{SCRIPT}", headers={"Accept-Encoding": encoding})
        assert response.status_code == 200 and response.content == content
        assert response.headers.get("content-encoding", "identity") == encoding
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert response.headers["content-type"] == "text/javascript; charset=utf-8"
        assert response.headers["vary"] == "Accept-Encoding"
        assert "content-security-policy" in response.headers and response.headers["x-content-type-options"] == "nosniff"
    assert int(
        blank_page_client.head(f"/assets/{SCRIPT}", headers={"Accept-Encoding": "br"}).headers["content-length"]
    ) == len(brotli.compress(content, quality=10))


def test_every_kind_of_file_has_its_content_type(blank_page_client):
    types = {"css": "text/css; charset=utf-8", "svg": "image/svg+xml", "woff2": "font/woff2"}
    for suffix, content_type in types.items():
        name = next(name for name in sorted(ASSETS.names) if name.endswith(f".{suffix}"))
        assert blank_page_client.get(f"/assets/{name}").headers["content-type"] == content_type


def test_all_files_of_gradio_have_a_hash_in_their_name():
    assert {path.name for path in ASSETS.directory.iterdir()} == ASSETS.names


@pytest.mark.parametrize(
    "name", ["none-12345678.js", "%2e%2e/index.html", "../index.html", ".", "%00-12345678.js", "x"]
)
def test_other_names_are_not_found(blank_page_client, name):
    response = blank_page_client.get(f"/assets/{name}")
    assert response.status_code in (400, 403, 404) and "immutable" not in response.headers.get("cache-control", "")
