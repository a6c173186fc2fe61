"""What stands before the page: it lets through what the page needs, within bounds, and tells browsers what they may do.

Gradio serves much that this page does not use, believes what a request says of itself, and bounds neither what is sent nor how
much of it.
"""

import asyncio
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.server.client_limits import ClientLimits, LimitExceeded
from ui.server.request_info import get_client_address, is_same_origin
from ui.server.uploads import list_files, prune_uploads
from ui.static_files import MODULE_PATH

BYTES_PER_MB = 2**20
MAX_UPLOAD_BYTES, MAX_BODY_BYTES = 21 * BYTES_PER_MB, 2 * BYTES_PER_MB  # a picture of 20 MB, and what a form adds to it
BODY_TIMEOUT_S = 60.0  # seconds in which a request must have been sent whole
MAX_QUEUED_EVENTS_PER_ADDRESS = 56  # events of one address; the queue takes a few more, for others
ID_PATTERN = r"[A-Za-z0-9_-]{1,64}"
ALLOWED_GET_PATHS = re.compile(
    r"/|/(config|gradio_api/(info|app_id|user|login_check))/?|/(gradio_api/)?theme\.css|/(favicon\.ico|robots\.txt|manifest\.json)"
    r"|/pwa_icon(/\d+)?|/(assets|static|svelte)/.+|/(login/huggingface|login/callback|logout|admin/login)"
    rf"|/gradio_api/(file=/.+|heartbeat/{ID_PATTERN}|queue/(data|status)|upload_progress|call/(v2/)?\w+/{ID_PATTERN})"
    rf"|{MODULE_PATH}"
)
ALLOWED_POST_PATHS = re.compile(
    r"/gradio_api/(upload|run/predict|queue/join|cancel|reset|call/(v2/)?\w+)|/admin/(login|logout)"
)
STREAMING_PATHS = re.compile(r"/gradio_api/(heartbeat/.+|queue/data|upload_progress|call/.+)")
EVENT_PATHS = re.compile(r"/gradio_api/(queue/join|call/.+)")
UPLOAD_PATH, FILE_PATH_PREFIX = "/gradio_api/upload", "/gradio_api/file"
FILE_GONE_MESSAGE = "This file is no longer there: give it again."
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
}
FILE_HEADERS = {"Content-Disposition": "attachment", "Cache-Control": "no-store"}
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {frames}"
)  # Gradio's own scripts are in its pages, and some of them make functions from text
SPACE_FRAME_ANCESTORS = "'self' https://huggingface.co https://*.hf.space"

QueuedRequestsGetter = Callable[[], Iterable[HTTPConnection]]


class RequestRejected(Exception):
    """A request is not let through."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


class SecurityMiddleware:
    """Stands before an application.

    Args:
        app: of Gradio.
        uploads: folder of what visitors upload.
        in_line: gives the requests of all events that are not over.
        on_space: whether the page is shown within huggingface.co, behind its proxy.
        hosts: names of the app besides the one that it is asked under.
    """

    def __init__(
        self,
        app: ASGIApp,
        uploads_dir: Path,
        get_queued_requests: QueuedRequestsGetter,
        on_space: bool = False,
        hosts: tuple[str, ...] = (),
    ):
        self.app, self.uploads_dir, self.on_space, self.hosts = app, Path(uploads_dir).absolute(), on_space, hosts
        self.get_queued_requests = get_queued_requests
        self.own_files = list_files(self.uploads_dir)  # images of the page itself, never removed
        self.client_limits = ClientLimits()
        self._headers = SECURITY_HEADERS | {
            "Content-Security-Policy": CONTENT_SECURITY_POLICY.format(
                frames=SPACE_FRAME_ANCESTORS if on_space else "'self'"
            )
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        path = scope["path"]

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(MutableHeaders(scope=message), path)
            await send(message)

        try:
            with ExitStack() as held:
                await self._dispatch(scope, receive, answer, held)
        except RequestRejected as refusal:
            await JSONResponse({"detail": str(refusal)}, refusal.status)(scope, receive, answer)
        except LimitExceeded as refusal:
            await JSONResponse({"detail": str(refusal)}, 429, {"Retry-After": "5"})(scope, receive, answer)

    def _add_headers(self, headers: MutableHeaders, path: str) -> None:
        """Complete the headers of an answer."""
        for name in [name for name in headers if name.startswith("access-control-")]:
            del headers[name]  # pages of other addresses may read nothing
        for name, value in self._headers.items():
            headers.setdefault(name, value)
        if path.startswith(FILE_PATH_PREFIX):
            headers.update(FILE_HEADERS)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send, exit_stack: ExitStack) -> None:
        visit, path, method = HTTPConnection(scope), scope["path"], scope["method"]
        if not (ALLOWED_GET_PATHS if method in ("GET", "HEAD") else ALLOWED_POST_PATHS).fullmatch(
            path
        ) or method not in ("GET", "HEAD", "POST"):
            raise RequestRejected(404, "Not found.")
        address = get_client_address(visit)
        scope = scope | {"headers": [*self._filter_headers(scope, path)]}
        if method == "POST":
            if not is_trusted_origin(visit, self.hosts):
                raise RequestRejected(403, "This was sent by a page of another address: open the app itself.")
            if path == UPLOAD_PATH:
                exit_stack.enter_context(self.client_limits.limit_uploads(address))
            body = await read_body(visit.headers, receive, MAX_UPLOAD_BYTES if path == UPLOAD_PATH else MAX_BODY_BYTES)
            if path == UPLOAD_PATH:
                await asyncio.to_thread(prune_uploads, self.uploads_dir, self.own_files)
            elif path.startswith("/gradio_api/"):
                session = parse_session_hash(self._parse_body(body))
                if EVENT_PATHS.fullmatch(path):
                    send = self._enqueue_event(send, session or address, address)
            receive = replay_body(body, receive)
        elif STREAMING_PATHS.fullmatch(path):
            exit_stack.enter_context(self.client_limits.limit_streams(address))
            session = self._get_stream_session(scope)
            if session is not None:
                exit_stack.callback(self.client_limits.clear_pending, session or address)
        await self.app(scope, receive, send)

    def _filter_headers(self, scope: Scope, path: str) -> Iterator[tuple[bytes, bytes]]:
        """The headers of a request, but for those that Gradio would hand on to others or give back."""
        unheard = {b"x-gradio-server"}
        # that there is a proxy must be seen by whoever decides who may train
        renamed = {} if self.on_space else {b"x-forwarded-host": b"x-forwarded-unheard"}
        if path.startswith(FILE_PATH_PREFIX):
            unheard |= {b"range", b"if-range"}
        return ((renamed.get(name, name), value) for name, value in scope["headers"] if name not in unheard)

    def _parse_body(self, body: bytes) -> Any:
        """What is asked, if it names nothing of this machine but what was uploaded."""
        try:
            said = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            raise RequestRejected(400, "This is no JSON that can be read.") from None
        for file in find_file_data(said):
            place = Path(os.path.abspath(str(file["path"])))  # noqa: PTH100 - removes ".." without following links
            url = file.get("url")
            if "\0" in str(place) or not place.is_relative_to(self.uploads_dir) or not place.is_file():
                raise RequestRejected(400, FILE_GONE_MESSAGE)
            if url is not None and not is_own_file_url(str(url)):
                raise RequestRejected(400, FILE_GONE_MESSAGE)
        return said

    def _enqueue_event(self, send: Send, session: str, address: str) -> Send:
        """Let an event into the line, if not too many wait already; gives what notes whether it was taken."""
        if (
            sum(get_client_address(request) == address for request in self.get_queued_requests())
            >= MAX_QUEUED_EVENTS_PER_ADDRESS
        ):
            raise LimitExceeded("Too many thoughts of your address are in line: let them come first.")
        self.client_limits.add_pending(session)

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] != 200:
                self.client_limits.cancel_pending(session)
            await send(message)

        return note

    def _get_stream_session(self, scope: Scope) -> str | None:
        """Whose answers a stream brings; empty for those of somebody without a session, None if it brings none."""
        path = scope["path"]
        if path == "/gradio_api/queue/data":
            session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
            if not re.fullmatch(ID_PATTERN, session) or not self.client_limits.has_session(session):
                raise RequestRejected(404, "Nothing was asked in this session.")
            return session
        return "" if path.startswith("/gradio_api/call/") else None


def is_trusted_origin(connection: HTTPConnection, hosts: tuple[str, ...]) -> bool:
    """Whether no page of another origin sent this. A browser says so itself, where it trusts the connection."""
    if site := connection.headers.get("sec-fetch-site"):
        return site in ("same-origin", "none")
    return is_same_origin(connection, hosts)


async def read_body(headers: Headers, receive: Receive, max_bytes: int) -> bytes:
    """The body of a request.

    Raises:
        Refusal: it is too large, or does not arrive.
    """
    too_large = RequestRejected(413, f"This is too large: at most {max_bytes // BYTES_PER_MB} MB are taken.")
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length[:12]) > max_bytes:
        raise too_large
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestRejected(400, "It was not sent whole.")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > max_bytes:
                    raise too_large
    except TimeoutError:
        raise RequestRejected(408, f"It did not arrive within {BODY_TIMEOUT_S:.0f} seconds: send it again.") from None
    return bytes(body)


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already, then what comes after it."""
    given = False

    async def give() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return give


def parse_session_hash(payload: Any) -> str:
    """The session that a question belongs to; empty if it names none."""
    session = payload.get("session_hash") if isinstance(payload, Mapping) else None
    if session is None:
        return ""
    if not isinstance(session, str) or not re.fullmatch(ID_PATTERN, session):
        raise RequestRejected(400, "The name of this session is none.")
    return session


def find_file_data(payload: Any) -> Iterator[Mapping[str, Any]]:
    """Everything in it that Gradio would take for a file."""
    left = [payload]
    while left:
        here = left.pop()
        if isinstance(here, dict):
            if "path" in here:
                yield here
            left.extend(here.values())
        elif isinstance(here, list):
            left.extend(here)


def is_own_file_url(url: str) -> bool:
    """Whether a file's address holds the file, or leads to what this app serves, under whatever name it was asked."""
    if url.startswith("data:"):
        return True
    try:
        return "/gradio_api/file=" in urlsplit(url).path
    except ValueError:
        return False
