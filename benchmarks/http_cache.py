"""What a browser keeps of its responses: which request of a visitor reaches the server again."""

import re
from collections.abc import Mapping

MAX_AGE_PATTERN = re.compile(r"\bmax-age=(\d+)")
PAGE_LIFE_S = 3_600  # a response that stays fresh for so long is not asked for again


class HTTPCache:
    """Cache of one visitor, by path. A visit is short, so only responses that are fresh for an hour count as fresh."""

    def __init__(self) -> None:
        self._etags: dict[str, str] = {}
        self._fresh_paths: set[str] = set()

    def get_request_headers(self, path: str) -> dict[str, str] | None:
        """Return the headers that revalidate a response, {} if it has to be fetched, or None if no request is needed."""
        if path in self._fresh_paths:
            return None
        return {"If-None-Match": self._etags[path]} if path in self._etags else {}

    def store(self, path: str, headers: Mapping[str, str]) -> None:
        """Remember a response.

        Args:
            path: Path of the request.
            headers: Headers of the response; names in any case, if the mapping ignores it.
        """
        control = headers.get("Cache-Control", "").lower()
        self._fresh_paths.discard(path)
        if "no-store" in control:
            self._etags.pop(path, None)
            return
        if etag := headers.get("ETag"):
            self._etags[path] = etag
        max_age = MAX_AGE_PATTERN.search(control)
        if "no-cache" not in control and max_age and int(max_age[1]) >= PAGE_LIFE_S:
            self._fresh_paths.add(path)
