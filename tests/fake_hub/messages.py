"""HTTP messages: requests, responses and errors in the format of the Hub."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote


@dataclass(frozen=True)
class Request:
    """A complete request; `target` is unchanged, header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """Quoted path, so that a quoted slash does not separate parts."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.target.partition("?")[2], keep_blank_values=True)

    def has_flag(self, name: str) -> bool:
        """Return whether a flag of the query is set, as the client writes it: `?recursive=True`, `?blobs=1`."""
        return self.query.get(name, ["false"])[-1].lower() in ("true", "1")

    @property
    def token(self) -> str | None:
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            raise HubHTTPError(400, message="The body is not JSON") from None

    def get_unquoted_target(self) -> str:
        """Return the unquoted target, against which faults and queries of the log are matched."""
        return unquote(self.target)


@dataclass(frozen=True)
class Response:
    """A response; a stream is sent in chunks after the head, and yields b"" while there is no data."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Iterator[bytes] | None = None


class HubHTTPError(Exception):
    """Error response; the client distinguishes errors by `code` and `message`."""

    def __init__(self, status: int, code: str = "", message: str = "", headers: Mapping[str, str] | None = None):
        super().__init__(f"{status} {code} {message}")
        named = {"X-Error-Code": code} if code else {}
        named |= {"X-Error-Message": message} if message else {}
        self.response = make_json_response({"error": message or code}, status, {**named, **(headers or {})})


def make_json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


def make_file_response(request: Request, data: bytes, headers: Mapping[str, str]) -> Response:
    """Build the response with a file, or with the part that a Range header requests."""
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    range_header = request.headers.get("range", "")
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", range_header)
    if match is None or match[0] == "bytes=-":
        return Response(200, data, headers)
    if match[1]:
        start, end = int(match[1]), min(int(match[2] or len(data)), len(data) - 1)
    else:
        start, end = max(0, len(data) - int(match[2])), len(data) - 1
    if start > end:
        raise HubHTTPError(416, message="Range Not Satisfiable", headers={"Content-Range": f"bytes */{len(data)}"})
    return Response(206, data[start : end + 1], headers | {"Content-Range": f"bytes {start}-{end}/{len(data)}"})
