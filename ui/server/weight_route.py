"""Route that serves the files of checkpoints to browsers, under a digest of their content."""

import asyncio

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ui.compressed_files import IMMUTABLE_HEADERS
from ui.services.browser_checkpoint import BrowserCheckpoints

WEIGHT_PATH = r"/weights/[0-9a-f]{16}/[a-z]+\.(safetensors|json|bin)"  # regular expression of every path that is served


def build_weight_route(checkpoints: BrowserCheckpoints) -> Route:
    """Return the route, for GET and HEAD.

    Args:
        checkpoints: The checkpoints that may be loaded.
    """

    async def serve_file(request: Request) -> Response:
        digest, file_name = request.path_params["digest"], request.path_params["file_name"]
        content = await asyncio.to_thread(checkpoints.read, digest, file_name)
        if content is None:
            return PlainTextResponse("Not found.", 404, {"Cache-Control": "no-store"})
        return Response(content, headers=IMMUTABLE_HEADERS, media_type="application/octet-stream")

    return Route("/weights/{digest}/{file_name}", serve_file, methods=["GET"])
