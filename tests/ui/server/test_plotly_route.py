"""Test the route of plotly.js: under a digest, cacheable for a year, compressed, and loaded by no page by itself."""

import gzip
import hashlib
import re

import pytest

from ui import page as pages
from ui.server.plotly_route import find_plotly_file


def test_plotly_is_served_unchanged_compressed_and_immutable(blank_page_client):
    head = pages.get_launch_options()["head"]
    (address,) = re.findall(r'<meta name="plotly" content="([^"]+)">', head)
    plain = blank_page_client.get(f"/{address}", headers={"Accept-Encoding": "identity"})
    compressed = blank_page_client.get(f"/{address}", headers={"Accept-Encoding": "gzip"})
    content = find_plotly_file().read_bytes()
    assert plain.status_code == 200 and plain.content == content == compressed.content
    assert hashlib.sha256(content).hexdigest().startswith(re.findall(r"[0-9a-f]{16}", address)[0])
    assert compressed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert int(compressed.headers["content-length"]) < len(content) / 3
    assert compressed.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert compressed.headers["vary"] == "Accept-Encoding" and plain.headers["x-content-type-options"] == "nosniff"
    assert plain.headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize("path", ["0" * 16 + ".js", "x.js", "plotly.min.js", "../app.py", "%2e%2e/app.py", ""])
def test_other_paths_are_not_found(blank_page_client, path):
    response = blank_page_client.get(f"/plotly/{path}")
    assert response.status_code == 404 and "immutable" not in response.headers.get("cache-control", "")


def test_the_head_of_the_page_loads_no_plotly():
    head = pages.get_launch_options()["head"]
    assert "plotly/" not in re.sub(r'<meta name="plotly"[^>]*>', "", head)
    assert len(gzip.compress(head.encode())) < 20_000
