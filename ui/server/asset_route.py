"""Route that serves the scripts and styles of Gradio, whose names contain a hash of their content.

Gradio serves them without a lifetime and compresses them for every request: a page has about 90, so that most of the time of the server
went into them, and a second visit asked for all of them again.
"""

import mimetypes
import re
from functools import cached_property
from pathlib import Path

from gradio.route_utils import BUILD_PATH_LIB
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ui.compressed_files import JAVASCRIPT_TYPE, CompressedFiles

HASHED_NAME = re.compile(r".+-[A-Za-z0-9_-]{8,10}\.[a-z0-9]+")
CONTENT_TYPES = {".js": JAVASCRIPT_TYPE, ".css": "text/css; charset=utf-8"}


class GradioAssets:
    """Files of Gradio's page with a hash in their name. The directory is read once, so that no path of a request reaches it.

    Args:
        directory: Directory of the files.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files = CompressedFiles(self.read)

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of all files."""
        return frozenset(path.name for path in self.directory.iterdir() if HASHED_NAME.fullmatch(path.name))

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if there is no such file."""
        return (self.directory / name).read_bytes() if name in self.names else None

    async def serve(self, request: Request) -> Response:
        """Answer with a file, or with 404."""
        name = request.path_params["name"]
        suffix = Path(name).suffix
        media_type = CONTENT_TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        return await self._files.respond(request, name, media_type)


def build_asset_route() -> Route:
    """Return the route, for GET and HEAD."""
    return Route("/assets/{name}", GradioAssets(Path(BUILD_PATH_LIB)).serve, methods=["GET"])
