"""Answers with files whose address changes with their content: cached by browsers for a year, and compressed once."""

import asyncio
import functools
import gzip
from collections.abc import Callable

import brotli
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

IMMUTABLE_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept-Encoding",
}
JAVASCRIPT_TYPE = "text/javascript; charset=utf-8"
DEFAULT_QUALITY = 10  # of Brotli: 12% smaller than with 4, and three times as fast as 11


class CompressedFiles:
    """Files that do not change while the server runs. Thread-safe.

    Args:
        read: Returns the content of a file, or None if there is no such file. Runs in another thread, once for each encoding.
        quality: Quality of Brotli, 0 to 11. A higher one takes longer, once for each file.
    """

    def __init__(self, read: Callable[[str], bytes | None], quality: int = DEFAULT_QUALITY) -> None:
        self._read = read
        self._compressors = {  # preferred ones first
            "br": functools.partial(brotli.compress, quality=quality),
            "gzip": functools.partial(gzip.compress, mtime=0),
        }
        self._contents: dict[tuple[str, str], bytes] = {}  # by name and encoding

    async def respond(self, request: Request, name: str, media_type: str) -> Response:
        """Return the response with a file, or 404 if there is no such file.

        Args:
            request: The request; its header says which encodings the client accepts.
            name: Name of the file.
            media_type: Content type of the file.
        """
        accepted = request.headers.get("accept-encoding", "")
        encoding = next((known for known in self._compressors if known in accepted), "")
        content = self._contents.get((name, encoding))
        if content is None:
            content = await asyncio.to_thread(self._load, name, encoding)
        if content is None:
            return PlainTextResponse("Not found.", 404, {"Cache-Control": "no-store"})
        headers = IMMUTABLE_HEADERS | ({"Content-Encoding": encoding} if encoding else {})
        return Response(content, headers=headers, media_type=media_type)

    def _load(self, name: str, encoding: str) -> bytes | None:
        """Read a file and compress it."""
        content = self._read(name)
        if content is not None and encoding:
            content = self._contents[name, encoding] = self._compressors[encoding](content)
        return content
