"""What stands before the page: it lets through what the page needs, within bounds, and tells browsers what they may do.

Gradio serves much that this page does not use, believes what a request says of itself, and bounds neither what is sent nor how
much of it.
"""

import asyncio
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.server.client_limits import TooMany, Visitors
from ui.server.request_info import address_of, from_own_page

MB = 2**20
LARGEST_UPLOAD, LARGEST_QUESTION = 21 * MB, 2 * MB  # a picture of 20 MB, and what a form adds to it
PATIENCE = 60.0  # seconds in which a request must have been sent whole
MOST_IN_LINE = 56  # events of one address; the queue takes a few more, for others
MOST_KEPT, KEPT_FOR = 2**31, 3600.0  # bytes and seconds of what was uploaded
NAME = r"[A-Za-z0-9_-]{1,64}"
READ = re.compile(
    r"/|/(config|gradio_api/(info|app_id|user|login_check))/?|/(gradio_api/)?theme\.css|/(favicon\.ico|robots\.txt|manifest\.json)"
    r"|/pwa_icon(/\d+)?|/(assets|static|svelte)/.+|/(login/huggingface|login/callback|logout|admin/login)"
    rf"|/gradio_api/(file=/.+|heartbeat/{NAME}|queue/(data|status)|upload_progress|call/(v2/)?\w+/{NAME})"
)
SENT = re.compile(r"/gradio_api/(upload|run/predict|queue/join|cancel|reset|call/(v2/)?\w+)|/admin/(login|logout)")
STREAMS = re.compile(r"/gradio_api/(heartbeat/.+|queue/data|upload_progress|call/.+)")
ASKING = re.compile(r"/gradio_api/(queue/join|call/.+)")
UPLOAD, FILE = "/gradio_api/upload", "/gradio_api/file"
GONE = "This file is no longer there: give it again."
EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
}
OF_A_FILE = {"Content-Disposition": "attachment", "Cache-Control": "no-store"}
RULES = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {frames}"
)  # Gradio's own scripts are in its pages, and some of them make functions from text
HUB_FRAMES = "'self' https://huggingface.co https://*.hf.space"

InLine = Callable[[], Iterable[HTTPConnection]]


class Refusal(Exception):
    """A request is not let through."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


class Guard:
    """Stands before an application.

    Args:
        app: of Gradio.
        uploads: folder of what visitors upload.
        in_line: gives the requests of all events that are not over.
        on_space: whether the page is shown within huggingface.co, behind its proxy.
        hosts: names of the app besides the one that it is asked under.
    """

    def __init__(
        self, app: ASGIApp, uploads: Path, in_line: InLine, on_space: bool = False, hosts: tuple[str, ...] = ()
    ):
        self.app, self.uploads, self.on_space, self.hosts = app, Path(os.path.abspath(uploads)), on_space, hosts
        self.in_line = in_line
        self.own = frozenset(path for path in self.uploads.rglob("*") if path.is_file())  # pictures of the page itself
        self.visitors = Visitors()
        self._headers = EVERYWHERE | {
            "Content-Security-Policy": RULES.format(frames=HUB_FRAMES if on_space else "'self'")
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        path = scope["path"]

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._say(MutableHeaders(scope=message), path)
            await send(message)

        try:
            with ExitStack() as held:
                await self._let_through(scope, receive, answer, held)
        except Refusal as refusal:
            await JSONResponse({"detail": str(refusal)}, refusal.status)(scope, receive, answer)
        except TooMany as refusal:
            await JSONResponse({"detail": str(refusal)}, 429, {"Retry-After": "5"})(scope, receive, answer)

    def _say(self, headers: MutableHeaders, path: str) -> None:
        """Complete the headers of an answer."""
        for name in [name for name in headers if name.startswith("access-control-")]:
            del headers[name]  # pages of other addresses may read nothing
        for name, value in self._headers.items():
            headers.setdefault(name, value)
        if path.startswith(FILE):
            headers.update(OF_A_FILE)

    async def _let_through(self, scope: Scope, receive: Receive, send: Send, held: ExitStack) -> None:
        visit, path, method = HTTPConnection(scope), scope["path"], scope["method"]
        if not (READ if method in ("GET", "HEAD") else SENT).fullmatch(path) or method not in ("GET", "HEAD", "POST"):
            raise Refusal(404, "Not found.")
        address = address_of(visit)
        scope = scope | {"headers": [*self._heard(scope, path)]}
        if method == "POST":
            if not sent_by_own_page(visit, self.hosts):
                raise Refusal(403, "This was sent by a page of another address: open the app itself.")
            if path == UPLOAD:
                held.enter_context(self.visitors.uploading(address))
            body = await read_whole(visit.headers, receive, LARGEST_UPLOAD if path == UPLOAD else LARGEST_QUESTION)
            if path == UPLOAD:
                await asyncio.to_thread(make_room, self.uploads, self.own)
            elif path.startswith("/gradio_api/"):
                session = session_of(self._understand(body))
                if ASKING.fullmatch(path):
                    send = self._ask(send, session or address, address)
            receive = again(body, receive)
        elif STREAMS.fullmatch(path):
            held.enter_context(self.visitors.streaming(address))
            session = self._fetches(scope)
            if session is not None:
                held.callback(self.visitors.fetched, session or address)
        await self.app(scope, receive, send)

    def _heard(self, scope: Scope, path: str) -> Iterator[tuple[bytes, bytes]]:
        """The headers of a request, but for those that Gradio would hand on to others or give back."""
        unheard = {b"x-gradio-server"}
        # that there is a proxy must be seen by whoever decides who may train
        renamed = {} if self.on_space else {b"x-forwarded-host": b"x-forwarded-unheard"}
        if path.startswith(FILE):
            unheard |= {b"range", b"if-range"}
        return ((renamed.get(name, name), value) for name, value in scope["headers"] if name not in unheard)

    def _understand(self, body: bytes) -> Any:
        """What is asked, if it names nothing of this machine but what was uploaded."""
        try:
            said = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            raise Refusal(400, "This is no JSON that can be read.") from None
        for file in files_in(said):
            place, url = Path(os.path.abspath(str(file["path"]))), file.get("url")
            if "\0" in str(place) or not place.is_relative_to(self.uploads) or not place.is_file():
                raise Refusal(400, GONE)
            if url is not None and not is_own_address(str(url)):
                raise Refusal(400, GONE)
        return said

    def _ask(self, send: Send, session: str, address: str) -> Send:
        """Let an event into the line, if not too many wait already; gives what notes whether it was taken."""
        if sum(address_of(request) == address for request in self.in_line()) >= MOST_IN_LINE:
            raise TooMany("Too many thoughts of your address are in line: let them come first.")
        self.visitors.asks(session)

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] != 200:
                self.visitors.takes_back(session)
            await send(message)

        return note

    def _fetches(self, scope: Scope) -> str | None:
        """Whose answers a stream brings; empty for those of somebody without a session, None if it brings none."""
        path = scope["path"]
        if path == "/gradio_api/queue/data":
            session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
            if not re.fullmatch(NAME, session) or not self.visitors.knows(session):
                raise Refusal(404, "Nothing was asked in this session.")
            return session
        return "" if path.startswith("/gradio_api/call/") else None


def sent_by_own_page(visit: HTTPConnection, hosts: tuple[str, ...]) -> bool:
    """Whether no page of another origin sent this. A browser says so itself, where it trusts the connection."""
    if site := visit.headers.get("sec-fetch-site"):
        return site in ("same-origin", "none")
    return from_own_page(visit, hosts)


async def read_whole(headers: Headers, receive: Receive, largest: int) -> bytes:
    """The body of a request.

    Raises:
        Refusal: it is too large, or does not arrive.
    """
    too_large = Refusal(413, f"This is too large: at most {largest // MB} MB are taken.")
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length[:12]) > largest:
        raise too_large
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(PATIENCE):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refusal(400, "It was not sent whole.")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > largest:
                    raise too_large
    except TimeoutError:
        raise Refusal(408, f"It did not arrive within {PATIENCE:.0f} seconds: send it again.") from None
    return bytes(body)


def again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already, then what comes after it."""
    given = False

    async def give() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return give


def session_of(said: Any) -> str:
    """The session that a question belongs to; empty if it names none."""
    session = said.get("session_hash") if isinstance(said, Mapping) else None
    if session is None:
        return ""
    if not isinstance(session, str) or not re.fullmatch(NAME, session):
        raise Refusal(400, "The name of this session is none.")
    return session


def files_in(said: Any) -> Iterator[Mapping[str, Any]]:
    """Everything in it that Gradio would take for a file."""
    left = [said]
    while left:
        here = left.pop()
        if isinstance(here, dict):
            if "path" in here:
                yield here
            left.extend(here.values())
        elif isinstance(here, list):
            left.extend(here)


def is_own_address(url: str) -> bool:
    """Whether a file's address holds the file, or leads to what this app serves, under whatever name it was asked."""
    if url.startswith("data:"):
        return True
    try:
        return "/gradio_api/file=" in urlsplit(url).path
    except ValueError:
        return False


def make_room(folder: Path, own: frozenset[Path] = frozenset(), most: int = MOST_KEPT, age: float = KEPT_FOR) -> None:
    """Remove what was uploaded long ago, and the oldest where there is too much; what is our own stays."""
    found = []
    for path in folder.rglob("*"):
        try:
            if path not in own and path.is_file():
                about = path.stat()  # a copy keeps the time of what was copied
                found.append((max(about.st_mtime, about.st_ctime), about.st_size, path))
        except OSError:  # somebody else removed it
            continue
    total = sum(size for _, size, _ in found)
    for changed, size, path in sorted(found):
        if total <= most and time.time() - changed < age:
            break
        path.unlink(missing_ok=True)
        total -= size
