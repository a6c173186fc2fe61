"""Inject faults: which requests fail, how, and how often.

| kind | what the client sees |
|---|---|
| `answer` | `status` with `headers`, `code` and `message`; the operation is not performed |
| `gated`, `disabled` | the error of the Hub with that name |
| `drop` | the connection is closed at once; the operation is not performed |
| `lost_reply` | the connection is closed without a response after the operation |
| `stall` | no response for `stall_s` seconds, then the normal one |
| `cut` | a download that ends after `byte_offset` bytes of its declared length |
| `wrong_bytes` | a download of the right length with wrong bytes from `byte_offset` on |
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from tests.fake_hub.messages import HubHTTPError, Request, Response

FaultKind = Literal["answer", "gated", "disabled", "drop", "lost_reply", "stall", "cut", "wrong_bytes"]
KINDS_BEFORE_HANDLER = ("answer", "gated", "disabled", "drop", "stall")  # the other kinds act after the handler
INVERT_TABLE = bytes(255 - byte for byte in range(256))


@dataclass
class Fault:
    """A fault that affects `max_count` matching requests (None: all), after the first `skip_count` of them."""

    kind: FaultKind
    path: str = ""  # regular expression, matched against the target with its query
    method: str | None = None
    max_count: int | None = 1
    skip_count: int = 0
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    message: str = ""
    stall_s: float = 60.0
    byte_offset: int | None = None  # default: the middle of the body
    num_matches: int = 0
    num_triggered: int = 0
    is_disabled: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"unknown kind of fault {self.kind!r}; there are {', '.join(get_args(FaultKind))}")

    def disable(self) -> None:
        self.is_disabled = True

    def try_trigger(self, request: Request, response: Response | None) -> bool:
        """Return whether the fault applies now, and count it; `response` is None before the handler runs."""
        if (
            self.is_disabled
            or (response is None) != (self.kind in KINDS_BEFORE_HANDLER)
            or not self.has_match(request, response)
        ):
            return False
        self.num_matches += 1
        if self.num_matches <= self.skip_count or (self.max_count is not None and self.num_triggered >= self.max_count):
            return False
        self.num_triggered += 1
        return True

    def has_match(self, request: Request, response: Response | None) -> bool:
        if self.method not in (None, request.method) or not re.search(self.path, request.get_unquoted_target()):
            return False
        is_download = (
            request.method == "GET" and response is not None and response.status in (200, 206) and response.body
        )
        return bool(is_download) or self.kind not in ("cut", "wrong_bytes")

    def build_response(self) -> Response:
        match self.kind:
            case "gated":
                return HubHTTPError(403, "GatedRepo", "Access to this repository is restricted").response
            case "disabled":
                return HubHTTPError(403, message="Access to this resource is disabled.").response
        return HubHTTPError(self.status, self.code, self.message, self.headers).response

    def get_byte_offset(self, response: Response) -> int:
        return len(response.body) // 2 if self.byte_offset is None else self.byte_offset

    def corrupt(self, response: Response) -> Response:
        at = self.get_byte_offset(response)
        return Response(
            response.status, response.body[:at] + response.body[at:].translate(INVERT_TABLE), response.headers
        )


class FaultInjector:
    """Active faults; only the oldest one that matches a request is triggered by it."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def trigger(self, request: Request, response: Response | None = None) -> Fault | None:
        with self._lock:
            return next((fault for fault in self._faults if fault.try_trigger(request, response)), None)
