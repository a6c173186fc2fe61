"""The server: it answers at once, lets visitors wait until the page is built, and ends cleanly when it is told to.

A server of our own in the main thread, for Gradio's is ended by a signal before anything behind it could save.
"""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from ui.paths import STATIC_DIR

DEFAULT_PORTS = range(7860, 7960)  # tried one after the other where none is named
SHUTDOWN_TIMEOUT_S = 3  # seconds that open requests get to finish when the server ends
STARTUP_HTML = (STATIC_DIR / "pages" / "startup.html").read_text("utf-8")


class WebAppProtocol(Protocol):
    """What is served."""

    app: Starlette

    def startup(self) -> None:
        """Called before the first visitor is let in."""

    def warm_up(self) -> None:
        """Called as soon as visitors are let in: make what they will ask for first answer quickly."""

    def close_streams(self) -> None:
        """Called when the server is about to end: drop what open pages hold on to."""

    def shutdown(self) -> None:
        """Called when nobody is served any more, however that came."""


def serve(create_app: Callable[[], WebAppProtocol], host: str, port: int | None, behind_proxy: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C, then return; a second one ends what is still open at once.

    Args:
        build: makes the site. It may take long, and is called once the port is ours.
        host: name or address to listen on.
        port: to listen on; None for the first free one of the usual ports.
        behind_proxy: whether all visitors come through a proxy that says where from; anybody else could say anything.

    Raises:
        SystemExit: with one sentence: nothing can listen there, or the site cannot be built.
    """
    try:
        listener = listen(host, DEFAULT_PORTS if port is None else [port])
    except ValueError as error:
        raise SystemExit(str(error)) from None
    address = format_url(host, listener)
    door = StartupRouter(create_app, lambda: print(f"Open {address}", flush=True))
    config = uvicorn.Config(
        door,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
        ws="none",
        proxy_headers=behind_proxy,
        forwarded_allow_ips="*",
    )
    server = Server(config, door)
    print(f"Starting: {address} answers, the page follows.", file=sys.stderr, flush=True)
    try:
        server.run(sockets=[listener])
    finally:
        if door.web_app:
            door.web_app.shutdown()
    if isinstance(door.failure, ValueError):
        raise SystemExit(str(door.failure))
    if door.failure:
        raise door.failure


class StartupRouter(Router):
    """Signs of life, and all else from the site; before it is there, from a waiting room.

    `/healthz` answers as long as the process does, `/readyz` as soon as visitors are served without delay.

    Args:
        build: makes the site; called in a thread of its own.
        on_open: called when the site is there.
    """

    def __init__(self, create_app: Callable[[], WebAppProtocol], on_start: Callable[[], None]):
        signs = {"/healthz": self._handle_liveness, "/readyz": self._handle_readiness}
        super().__init__(
            [Route(path, sign) for path, sign in signs.items()], default=self._forward, lifespan=self._lifespan
        )
        self._create_app, self._on_start = create_app, on_start
        self._stop_event = asyncio.Event()
        self.web_app: WebAppProtocol | None = None
        self.failure: Exception | None = None
        self._is_started = self._is_warm = False

    def close(self) -> None:
        """Begin nothing any more, and drop what open pages hold on to."""
        self._stop_event.set()
        if self._is_started:
            self.web_app.close_streams()

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        opening = asyncio.create_task(self._start_app())
        yield
        self._stop_event.set()
        await opening

    async def _start_app(self) -> None:
        try:
            site = await asyncio.to_thread(self._create_app)
            if self._stop_event.is_set():
                return
            self.web_app = site
            await asyncio.to_thread(site.startup)
            async with site.app.router.lifespan_context(site.app):
                self._is_started = True
                self._on_start()
                await asyncio.to_thread(site.warm_up)
                self._is_warm = True
                await self._stop_event.wait()
        except Exception as error:
            self.failure = error
            signal.raise_signal(signal.SIGTERM)

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.web_app.app if self._is_started else serve_startup_page)(scope, receive, send)

    async def _handle_liveness(self, _: Request) -> Response:
        return PlainTextResponse("ok")

    async def _handle_readiness(self, _: Request) -> Response:
        return PlainTextResponse("ok") if self._is_warm else PlainTextResponse("starting", 503, {"Retry-After": "2"})


async def serve_startup_page(scope: Scope, receive: Receive, send: Send) -> None:
    """The waiting room: a page that asks again by itself, and for programs a number that says to do so."""
    is_page = scope["path"] == "/" and scope.get("method") in ("GET", "HEAD")
    answer = HTMLResponse(STARTUP_HTML) if is_page else PlainTextResponse("starting", 503)
    answer.headers.update({"Retry-After": "2", "Cache-Control": "no-store"})
    await answer(scope, receive, send)


class Server(uvicorn.Server):
    """Ends without passing the signal on, which would leave no time for anything after it."""

    def __init__(self, config: uvicorn.Config, router: StartupRouter):
        super().__init__(config)
        self.router = router

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.router.close()
        logging.getLogger("uvicorn.error").addFilter(is_not_cancellation)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def is_not_cancellation(record: logging.LogRecord) -> bool:
    """Whether a line of the log is more than the traceback of a request that the end of the server cut off."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def listen(host: str, ports: range | list[int]) -> socket.socket:
    """A socket at the first of these ports that is free.

    Raises:
        ValueError: there is none, or no such address.
    """
    for port in ports:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
            listener = socket.socket(family, kind, protocol)
        except (OSError, UnicodeError):
            raise ValueError(
                f"{host!r} is no address to listen on: set GRADIO_SERVER_NAME to one of this machine."
            ) from None
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
            return listener
        except OSError as error:
            listener.close()
            if error.errno == errno.EACCES:
                raise ValueError(
                    f"This account may not listen on port {port}: set GRADIO_SERVER_PORT to 1024 or more."
                ) from None
            if error.errno != errno.EADDRINUSE:
                raise ValueError(
                    f"Nothing can listen on {host}: set GRADIO_SERVER_NAME to an address of this machine."
                ) from None
    taken = f"Port {ports[0]} is" if len(ports) == 1 else f"Ports {ports[0]} to {ports[-1]} are"
    raise ValueError(f"{taken} taken: end what listens there, or set GRADIO_SERVER_PORT to a free one.")


def format_url(host: str, listener: socket.socket) -> str:
    """What to type into a browser on this machine."""
    name = host.strip("[]")
    if name in ("0.0.0.0", "::", ""):
        name = "localhost"
    return f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}"
