"""Route that serves the thumbnails of the gallery and their whole records, under a digest of their checkpoint."""

import asyncio
import gzip

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ui.compressed_files import IMMUTABLE_HEADERS
from ui.services.thumbnails import Thumbnails

THUMBNAIL_PATH = r"/thumbnails/[0-9a-f]{16}(-record)?\.json"  # regular expression of every path that is served


def build_thumbnail_route(thumbnails: Thumbnails) -> Route:
    """Return the route, for GET and HEAD.

    Args:
        thumbnails: The thumbnails that may be read.
    """

    async def serve_thumbnail(request: Request) -> Response:
        digest, _, part = request.path_params["name"].partition("-")
        content = await asyncio.to_thread(thumbnails.read, digest, part == "record")
        if content is None:
            return PlainTextResponse("Not found.", 404, {"Cache-Control": "no-store"})
        headers = IMMUTABLE_HEADERS
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers = IMMUTABLE_HEADERS | {"Content-Encoding": "gzip"}
        else:
            content = gzip.decompress(content)
        return Response(content, headers=headers, media_type="application/json")

    return Route("/thumbnails/{name}.json", serve_thumbnail, methods=["GET"])
