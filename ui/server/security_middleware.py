"""ASGI middleware in front of Gradio: path allow-list, size and concurrency limits, security headers.

Gradio exposes routes that this app does not use, trusts file paths and headers of clients, and limits neither the size nor
the number of requests.
"""

import asyncio
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.server.api_calls import (
    ID_PATTERN,
    check_content_type,
    check_result_exists,
    list_endpoints,
    read_event,
)
from ui.server.card_route import CARD_PATH
from ui.server.client_limits import BODY_TIMEOUT_S, ClientLimits
from ui.server.plotly_route import PLOTLY_PATH
from ui.server.request_errors import ErrorSentences, LimitExceeded, RequestRejected
from ui.server.request_info import get_client_address, is_same_origin
from ui.server.thumbnail_route import THUMBNAIL_PATH
from ui.server.uploads import list_files, prune_uploads
from ui.server.weight_route import WEIGHT_PATH
from ui.static_files import MODULE_PATH

if TYPE_CHECKING:
    from ui.server.gradio_patches import GradioState

__all__ = ["BODY_TIMEOUT_S", "MAX_QUEUED_EVENTS_PER_ADDRESS", "SecurityMiddleware"]

BYTES_PER_MB = 2**20
MAX_UPLOAD_BYTES, MAX_BODY_BYTES = (
    21 * BYTES_PER_MB,
    2 * BYTES_PER_MB,
)  # an image of 20 MB plus the overhead of the form
MAX_QUEUED_EVENTS_PER_ADDRESS = 56  # the queue itself accepts a few more, for other addresses
ALLOWED_GET_PATHS = re.compile(
    r"/|/(config|gradio_api/(info|app_id|user|login_check))/?|/(gradio_api/)?theme\.css|/(favicon\.ico|robots\.txt|manifest\.json)"
    r"|/pwa_icon(/\d+)?|/(assets|static|svelte)/.+|/(login/huggingface|login/callback|logout|admin/login)"
    rf"|/gradio_api/(file=/.+|heartbeat/{ID_PATTERN}|queue/(data|status)|upload_progress|call/(v2/)?\w+/{ID_PATTERN})"
    rf"|{MODULE_PATH}|{PLOTLY_PATH}|{WEIGHT_PATH}|{THUMBNAIL_PATH}|{re.escape(CARD_PATH)}"
)
ALLOWED_POST_PATHS = re.compile(
    r"/gradio_api/(upload|run/predict|queue/join|cancel|reset|call/(v2/)?\w+)|/admin/(login|logout)"
)
STREAMING_PATHS = re.compile(r"/gradio_api/(heartbeat/.+|queue/data|upload_progress|call/.+)")
EVENT_PATHS = re.compile(r"/gradio_api/(queue/join|call/.+)")
API_PREFIX = "/gradio_api/"
MCP_PATH = re.compile(r"/gradio_api/mcp/?")
MCP_METHODS = ("GET", "HEAD", "POST", "DELETE")
UPLOAD_PATH, FILE_PATH_PREFIX = "/gradio_api/upload", "/gradio_api/file"
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
)  # Gradio's pages contain inline scripts, and some of them compile functions from text
SPACE_FRAME_ANCESTORS = "'self' https://huggingface.co https://*.hf.space"
# Every site may frame the views of the stage and of the charts, which have no other controls: see `build_embedded_views_head`. A site
# that frames the whole page could lead an owner to press its buttons.
EMBEDDED_FRAME_ANCESTORS = "*"
EMBEDDED_VIEWS = ("stage", "charts")


class SecurityMiddleware:
    """Checks each request, and adds security headers to each response.

    Args:
        app: Application of Gradio.
        uploads_dir: Directory into which Gradio writes uploads.
        gradio_state: Events of the page, and its queue.
        on_space: Whether the page is embedded in huggingface.co, behind its proxy.
        hosts: Host names of the app besides the one in a request.
        mcp_server: Whether the tools of the Model Context Protocol are reachable.
    """

    def __init__(
        self,
        app: ASGIApp,
        uploads_dir: Path,
        gradio_state: "GradioState",
        on_space: bool = False,
        hosts: tuple[str, ...] = (),
        mcp_server: bool = False,
    ) -> None:
        self.app = app
        self.mcp_server = mcp_server
        self.uploads_dir = Path(uploads_dir).absolute()
        self.on_space = on_space
        self.hosts = hosts
        self.gradio_state = gradio_state
        self.own_files = list_files(self.uploads_dir)  # images of the page itself, never removed
        self.client_limits = ClientLimits()
        self._frames = SPACE_FRAME_ANCESTORS if on_space else "'self'"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection: forward it with safe headers, or answer with the reason of the rejection."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        path = scope["path"]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(MutableHeaders(scope=message), path, is_embedded_view(scope))
            await send(message)

        try:
            with ExitStack() as exit_stack:
                await self._dispatch(scope, receive, send_with_headers, exit_stack)
        except RequestRejected as error:
            await JSONResponse({"detail": str(error)}, error.status)(scope, receive, send_with_headers)
        except LimitExceeded as error:
            await JSONResponse({"detail": str(error)}, 429, error.headers)(scope, receive, send_with_headers)

    def _add_headers(self, headers: MutableHeaders, path: str, is_embedded: bool) -> None:
        """Complete the headers of a response, in place."""
        frames = EMBEDDED_FRAME_ANCESTORS if is_embedded else self._frames
        policy = {"Content-Security-Policy": CONTENT_SECURITY_POLICY.format(frames=frames)}
        for name in [name for name in headers if name.startswith("access-control-")]:
            del headers[name]  # no cross-origin reads
        for name, value in (SECURITY_HEADERS | policy).items():
            headers.setdefault(name, value)
        if path.startswith(FILE_PATH_PREFIX):
            headers.update(FILE_HEADERS)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send, exit_stack: ExitStack) -> None:
        connection = HTTPConnection(scope)
        path = scope["path"]
        method = scope["method"]
        if self.mcp_server and MCP_PATH.fullmatch(path) and method in MCP_METHODS:
            await self._dispatch_mcp(scope, receive, send, exit_stack)
            return
        if not (ALLOWED_GET_PATHS if method in ("GET", "HEAD") else ALLOWED_POST_PATHS).fullmatch(
            path
        ) or method not in ("GET", "HEAD", "POST"):
            raise RequestRejected(404, self._describe_missing_path(path))
        address = get_client_address(connection)
        scope = {**scope, "headers": [*self._filter_headers(scope, path)]}
        if method == "POST":
            if not is_trusted_origin(connection, self.hosts):
                raise RequestRejected(403, "This was sent by a page of another origin. Open the app itself.")
            if path == UPLOAD_PATH:
                check_upload_type(connection.headers.get("content-type", ""))
                exit_stack.enter_context(self.client_limits.limit_uploads(address))
            body = await read_body(
                connection.headers, receive, MAX_UPLOAD_BYTES if path == UPLOAD_PATH else MAX_BODY_BYTES
            )
            if path == UPLOAD_PATH:
                await asyncio.to_thread(prune_uploads, self.uploads_dir, self.own_files)
            elif path.startswith(API_PREFIX):
                check_content_type(path, connection.headers.get("content-type", ""))
                session, body = read_event(path, body, self.uploads_dir, self.gradio_state)
                if EVENT_PATHS.fullmatch(path):
                    send = self._enqueue_event(send, session or address, address)
                scope = {**scope, "headers": replace_content_length(scope["headers"], len(body))}
            receive = replay_body(body, receive)
        elif STREAMING_PATHS.fullmatch(path):
            exit_stack.enter_context(self.client_limits.limit_streams(address))
            check_result_exists(path, self.gradio_state)
            stream_session = self._get_stream_session(scope)
            if stream_session is not None:
                exit_stack.callback(self.client_limits.clear_pending, stream_session or address)
        if path.startswith(API_PREFIX):
            send = ErrorSentences(send, self.gradio_state.estimate_wait_s)
        await self.app(scope, receive, send)

    async def _dispatch_mcp(self, scope: Scope, receive: Receive, send: Send, exit_stack: ExitStack) -> None:
        """Forward a request of the Model Context Protocol. The tools call the API, which has its own checks and limits."""
        connection = HTTPConnection(scope)
        if not is_trusted_origin(connection, self.hosts):
            raise RequestRejected(403, "This was sent by a page of another origin. Connect to the app itself.")
        exit_stack.enter_context(self.client_limits.limit_streams(get_client_address(connection)))
        scope = {**scope, "headers": [*self._filter_headers(scope, scope["path"])]}
        if scope["method"] == "POST":
            receive = replay_body(await read_body(connection.headers, receive, MAX_BODY_BYTES), receive)
        await self.app(scope, receive, send)

    def _filter_headers(self, scope: Scope, path: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield the headers of a request without those that Gradio trusts or passes on."""
        removed = {b"x-gradio-server"}
        # the authenticators must still see that there is a proxy
        renamed = {} if self.on_space else {b"x-forwarded-host": b"x-forwarded-unheard"}
        if path.startswith(FILE_PATH_PREFIX):
            removed |= {b"range", b"if-range"}
        return ((renamed.get(name, name), value) for name, value in scope["headers"] if name not in removed)

    def _describe_missing_path(self, path: str) -> str:
        """Return a sentence for a path that does not exist or that this app does not use."""
        if not path.startswith(API_PREFIX):
            return "There is nothing at this address."
        names = list_endpoints(self.gradio_state)
        return (
            f"There is nothing at this address: call an endpoint with POST /gradio_api/call/NAME; there are: {names}."
        )

    def _enqueue_event(self, send: Send, session: str, address: str) -> Send:
        """Count a queued event of a client.

        Returns:
            A `send` that takes the event back if the queue rejects it.

        Raises:
            LimitExceeded: Too many events of the address or the session are queued.
        """
        if (
            sum(get_client_address(request) == address for request in self.gradio_state.get_queued_requests())
            >= MAX_QUEUED_EVENTS_PER_ADDRESS
        ):
            raise LimitExceeded(
                "Too many requests from your address are queued: fetch their results, or send this again in {seconds}.",
                self.gradio_state.estimate_wait_s(),
            )
        self.client_limits.add_pending(session)

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] != 200:
                self.client_limits.cancel_pending(session)
            await send(message)

        return send_and_count

    def _get_stream_session(self, scope: Scope) -> str | None:
        """Return the session whose results a stream carries; empty without a session, None if it carries no results."""
        path = scope["path"]
        if path == "/gradio_api/queue/data":
            session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
            if not re.fullmatch(ID_PATTERN, session) or not self.client_limits.has_session(session):
                raise RequestRejected(404, "This session has no pending request: send one first.")
            return session
        return "" if path.startswith("/gradio_api/call/") else None


def is_embedded_view(scope: Scope) -> bool:
    """Return whether a request asks for the view of the stage or of the charts alone, as a browser reads its address."""
    views = parse_qs(scope["query_string"].decode("latin-1")).get("view", [])
    return scope["path"] == "/" and len(views) == 1 and views[0] in EMBEDDED_VIEWS


def is_trusted_origin(connection: HTTPConnection, hosts: tuple[str, ...]) -> bool:
    """Return whether no page of another origin sent this. Browsers declare it themselves on secure connections."""
    if site := connection.headers.get("sec-fetch-site"):
        return site in ("same-origin", "none")
    return is_same_origin(connection, hosts)


async def read_body(headers: Headers, receive: Receive, max_bytes: int) -> bytes:
    """Return the body of a request.

    Args:
        headers: Headers of the request.
        receive: ASGI receive function.
        max_bytes: Maximum size of the body.

    Raises:
        RequestRejected: The body is too large, incomplete, or does not arrive in time.
    """
    too_large = RequestRejected(
        413, f"This is too large: the limit is {max_bytes // BYTES_PER_MB} MB{get_size_hint(max_bytes)}."
    )
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length[:12]) > max_bytes:
        raise too_large
    body = bytearray()
    has_more = True
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while has_more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestRejected(400, "The request ended early.")
                body += message.get("body", b"")
                has_more = message.get("more_body", False)
                if len(body) > max_bytes:
                    raise too_large
    except TimeoutError:
        raise RequestRejected(
            408, f"The request did not arrive within {BODY_TIMEOUT_S:.0f} seconds. Send it again."
        ) from None
    return bytes(body)


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Return a receive function that yields a body that was already read, then what follows it."""
    is_replayed = False

    async def receive_again() -> Message:
        nonlocal is_replayed
        if not is_replayed:
            is_replayed = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return receive_again


def replace_content_length(headers: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request whose body was replaced."""
    kept = [(name, value) for name, value in headers if name not in (b"content-length", b"transfer-encoding")]
    return [*kept, (b"content-length", str(length).encode())]


def check_upload_type(content_type: str) -> None:
    """Check that an upload is a form with files."""
    if not content_type.lower().startswith("multipart/form-data"):
        raise RequestRejected(
            400, "An upload must be a multipart form with the field `files` (curl: -F files=@digit.png): got no form."
        )


def get_size_hint(max_bytes: int) -> str:
    """Return what to do instead, for the message of a body that is too large."""
    return "" if max_bytes == MAX_UPLOAD_BYTES else "; upload a larger picture with POST /gradio_api/upload"
