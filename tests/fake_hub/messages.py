"""What goes over the wire: a request that was read whole, the answer to it, and refusals as the Hub words them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote


@dataclass(frozen=True)
class Request:
    """A request; `target` is as it was sent, header names are in small letters."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path, still quoted, so that a quoted slash does not part it."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.target.partition("?")[2], keep_blank_values=True)

    def has_flag(self, name: str) -> bool:
        """Whether a switch of the query is on, as the client writes it: `?recursive=True`, `?blobs=1`."""
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
        """The target in readable form, which faults and questions to the log are matched against."""
        return unquote(self.target)


@dataclass(frozen=True)
class Response:
    """An answer; a stream is sent after its head as it comes, and gives nothing, often, while there is nothing."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Iterator[bytes] | None = None


class HubHTTPError(Exception):
    """A request that is answered with an error; `code` and `message` are what the client tells errors apart by."""

    def __init__(self, status: int, code: str = "", message: str = "", headers: Mapping[str, str] | None = None):
        super().__init__(f"{status} {code} {message}")
        named = {"X-Error-Code": code} if code else {}
        named |= {"X-Error-Message": message} if message else {}
        self.response = make_json_response({"error": message or code}, status, {**named, **(headers or {})})


def make_json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


def make_file_response(request: Request, data: bytes, headers: Mapping[str, str]) -> Response:
    """A file, or the part of it that a Range header asks for."""
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    asked = request.headers.get("range", "")
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
    if found is None or found[0] == "bytes=-":
        return Response(200, data, headers)
    if found[1]:
        start, end = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
    else:
        start, end = max(0, len(data) - int(found[2])), len(data) - 1
    if start > end:
        raise HubHTTPError(416, message="Range Not Satisfiable", headers={"Content-Range": f"bytes */{len(data)}"})
    return Response(206, data[start : end + 1], headers | {"Content-Range": f"bytes {start}-{end}/{len(data)}"})
