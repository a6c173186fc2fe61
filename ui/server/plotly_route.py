"""Route that serves plotly.js, the library of the charts, from the package `plotly` under a digest of its content."""

import functools
import hashlib
import importlib.util
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ui.compressed_files import JAVASCRIPT_TYPE, CompressedFiles

PLOTLY_PATH = r"/plotly/[0-9a-f]{16}\.js"  # regular expression of every path that is served


@functools.cache
def find_plotly_file() -> Path:
    """Return the path of plotly.min.js. The package itself is not imported, which would take a second.

    Raises:
        FileNotFoundError: The package is not installed.
    """
    spec = importlib.util.find_spec("plotly")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("The package plotly is not installed: run `pip install -r requirements.txt`.")
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"


@functools.cache
def compute_plotly_digest() -> str:
    """Return 16 hexadecimal digits that change with the content of plotly.js."""
    return hashlib.sha256(find_plotly_file().read_bytes()).hexdigest()[:16]


def build_plotly_link() -> str:
    """Return the element for the head of the page that tells the charts where plotly.js is; it loads nothing."""
    return f'<meta name="plotly" content="plotly/{compute_plotly_digest()}.js">'


def build_plotly_route() -> Route:
    """Return the route, for GET and HEAD."""
    return Route("/plotly/{digest}.js", serve_plotly, methods=["GET"])


def read_plotly(digest: str) -> bytes | None:
    """Return plotly.js; None for another digest."""
    return find_plotly_file().read_bytes() if digest == compute_plotly_digest() else None


COMPRESSED_PLOTLY = CompressedFiles(read_plotly, quality=5)  # 4.6 MB: more takes seconds


async def serve_plotly(request: Request) -> Response:
    """Answer with plotly.js, or with 404 for another digest."""
    return await COMPRESSED_PLOTLY.respond(request, request.path_params["digest"], JAVASCRIPT_TYPE)
