"""HTTP server: serves a startup page at once, the app as soon as it is built, and shuts down cleanly on a signal.

Gradio's own server ends on a signal before the services could save anything, so uvicorn runs here in the main thread.
"""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol, TextIO

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from ui.paths import STATIC_DIR

DEFAULT_PORTS = range(7860, 7960)  # tried in order if no port is set
SHUTDOWN_TIMEOUT_S = 3  # for open requests to finish
STARTUP_HTML = (STATIC_DIR / "pages" / "startup.html").read_text("utf-8")


class WebAppProtocol(Protocol):
    """The app that the server starts, serves and ends.

    Attributes:
        app: The application to serve.
    """

    app: Starlette

    def set_local_url(self, url: str) -> None:
        """Set the address under which this host reaches the app. Called before `startup`."""

    def startup(self) -> None:
        """Start background work. Called before the first request is forwarded."""

    def warm_up(self) -> None:
        """Prepare the first requests to be answered quickly. Called as soon as requests are forwarded."""

    def close_streams(self) -> None:
        """End the streams of open pages. Called when the server is about to end."""

    def shutdown(self) -> None:
        """Stop background work. Called after the last request, also after an error."""


def serve(create_app: Callable[[], WebAppProtocol], host: str, port: int | None, behind_proxy: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C, then return. A second signal closes open connections at once.

    Args:
        create_app: Builds the app. May take long; called once the server listens.
        host: Name or address to listen on.
        port: Port to listen on; None for the first free default port.
        behind_proxy: Whether all clients connect through a proxy that sets forwarding headers. Otherwise clients could
            forge them.

    Raises:
        SystemExit: The address cannot be used, or the app cannot be built. The message is one sentence.
    """
    try:
        listener = listen(host, DEFAULT_PORTS if port is None else [port])
    except ValueError as error:
        raise SystemExit(str(error)) from None
    address = format_url(host, listener)
    router = StartupRouter(create_app, lambda: write_line(f"Open {address}", sys.stdout), address)
    config = uvicorn.Config(
        router,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
        ws="none",
        proxy_headers=behind_proxy,
        forwarded_allow_ips="*",
    )
    server = Server(config, router)
    write_line(f"Starting: {address} answers, the page follows.", sys.stderr)
    try:
        server.run(sockets=[listener])
    finally:
        if router.web_app:
            router.web_app.shutdown()
    if isinstance(router.failure, ValueError):
        raise SystemExit(str(router.failure))
    if router.failure:
        raise router.failure


def write_line(text: str, stream: TextIO) -> None:
    """Write a line to a terminal at once, also if the output is buffered."""
    stream.write(f"{text}\n")
    stream.flush()


class StartupRouter(Router):
    """Routes requests to the startup page until the app is built, then to the app; answers health probes itself.

    `/healthz` answers 200 while the process is alive, `/readyz` once the app is warmed up.

    Args:
        create_app: Builds the app; called in a thread.
        on_start: Called when the app begins to serve.
        local_url: Address under which this host reaches the app.

    Attributes:
        web_app: The app, or None before it is built.
        failure: The exception that ended the startup, or None.
    """

    def __init__(
        self, create_app: Callable[[], WebAppProtocol], on_start: Callable[[], None], local_url: str = ""
    ) -> None:
        probes = {"/healthz": self._handle_liveness, "/readyz": self._handle_readiness}
        super().__init__(
            [Route(path, probe) for path, probe in probes.items()], default=self._forward, lifespan=self._lifespan
        )
        self._create_app = create_app
        self._on_start = on_start
        self._local_url = local_url
        self._stop_event = asyncio.Event()
        self.web_app: WebAppProtocol | None = None
        self.failure: Exception | None = None
        self._is_started = False
        self._is_warm = False

    def close(self) -> None:
        """Cancel the startup, and end the streams of open pages."""
        self._stop_event.set()
        if self.web_app and self._is_started:
            self.web_app.close_streams()

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        startup = asyncio.create_task(self._start_app())
        yield
        self._stop_event.set()
        await startup

    async def _start_app(self) -> None:
        try:
            web_app = await asyncio.to_thread(self._create_app)
            if self._stop_event.is_set():
                return
            self.web_app = web_app
            web_app.set_local_url(self._local_url)
            await asyncio.to_thread(web_app.startup)
            async with web_app.app.router.lifespan_context(web_app.app):
                self._is_started = True
                self._on_start()
                await asyncio.to_thread(web_app.warm_up)
                self._is_warm = True
                await self._stop_event.wait()
        except Exception as error:
            self.failure = error
            signal.raise_signal(signal.SIGTERM)

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.web_app.app if self.web_app and self._is_started else serve_startup_page
        await app(scope, receive, send)

    async def _handle_liveness(self, _: Request) -> Response:
        return PlainTextResponse("ok")

    async def _handle_readiness(self, _: Request) -> Response:
        return PlainTextResponse("ok") if self._is_warm else PlainTextResponse("starting", 503, {"Retry-After": "2"})


async def serve_startup_page(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the startup page, which reloads itself, or with status 503 for other paths."""
    is_page = scope["path"] == "/" and scope.get("method") in ("GET", "HEAD")
    response = HTMLResponse(STARTUP_HTML) if is_page else PlainTextResponse("starting", 503)
    response.headers.update({"Retry-After": "2", "Cache-Control": "no-store"})
    await response(scope, receive, send)


class Server(uvicorn.Server):
    """uvicorn server that does not raise the signal again when it ends: the caller still has to stop its services."""

    def __init__(self, config: uvicorn.Config, router: StartupRouter) -> None:
        super().__init__(config)
        self.router = router

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams of open pages, then shut down as uvicorn does."""
        self.router.close()
        logging.getLogger("uvicorn.error").addFilter(is_not_cancellation)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM while the context is open."""
        previous_handlers = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in previous_handlers.items():
                signal.signal(number, handler)


def is_not_cancellation(record: logging.LogRecord) -> bool:
    """Return whether a log record is something other than the traceback of a request that the shutdown cancelled."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def listen(host: str, ports: range | list[int]) -> socket.socket:
    """Return a listening socket on the first free port.

    Args:
        host: Name or address to listen on.
        ports: Ports to try, in order; 0 for any free port.

    Raises:
        ValueError: No port is free, or the address is not one of this host.
    """
    for port in ports:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
            listener = socket.socket(family, kind, protocol)
        except (OSError, UnicodeError):
            raise ValueError(
                f"{host!r} is not an address to listen on: set GRADIO_SERVER_NAME to an address of this host."
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
                    f"The app cannot listen on {host}: set GRADIO_SERVER_NAME to an address of this host."
                ) from None
    subject = f"Port {ports[0]} is" if len(ports) == 1 else f"Ports {ports[0]} to {ports[-1]} are"
    raise ValueError(f"{subject} in use: set GRADIO_SERVER_PORT to a free port.")


def format_url(host: str, listener: socket.socket) -> str:
    """Return the URL of the server for a browser on this host."""
    name = host.strip("[]")
    if name in ("0.0.0.0", "::", ""):
        name = "localhost"
    return f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}"
