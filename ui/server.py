"""The page, served by a server of our own in the main thread: it ends cleanly when it is told to, and tells the jobs."""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator

import gradio as gr
import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from ui import page
from ui.access import Access
from ui.admin import add_login
from ui.gates import TokenGate

PORTS = range(7860, 7960)  # tried one after the other where none is named
PATIENCE = 3  # seconds that open requests get to finish when the server ends


def serve(
    blocks: gr.Blocks,
    access: Access,
    host: str,
    port: int | None,
    on_end: Callable[[], None],
    on_start: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or Ctrl-C, then return; a second one ends what is still open at once.

    Args:
        blocks: the page, with its queue.
        access: who may train.
        host: name or address to listen on.
        port: to listen on; None for the first free one of the usual ports.
        on_end: called when nobody is served any more, however that came.
        on_start: called as soon as the port is ours: an app that cannot serve must begin nothing.
    """
    try:
        listener = listen(host, PORTS if port is None else [port])
    except ValueError as error:
        raise SystemExit(str(error)) from None
    app = application(blocks, access)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=PATIENCE,
        proxy_headers=access.mode == "space", forwarded_allow_ips="*",  # elsewhere anybody could say to come from anywhere
    )  # fmt: skip
    server = Server(config, app, blocks, address_of(host, listener))
    try:
        on_start()
        server.run(sockets=[listener])
    finally:
        on_end()


def application(blocks: gr.Blocks, access: Access) -> FastAPI:
    """The page with what is served beside it: a sign of life, and the administrator's login where there is one."""
    app = FastAPI(openapi_url=None)
    app.add_api_route("/healthz", lambda: PlainTextResponse("ok"), methods=["GET", "HEAD"])
    if isinstance(access.gate, TokenGate):
        add_login(app, access.gate)
    return gr.mount_gradio_app(
        app, blocks, path="/", root_path=os.environ.get("GRADIO_ROOT_PATH"), enable_monitoring=False,
        **page.launch_options(),
    )  # fmt: skip


class Server(uvicorn.Server):
    """Says where it is, and ends without passing the signal on, which would leave no time for anything after it."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, blocks: gr.Blocks, address: str):
        super().__init__(config)
        self.app, self.blocks, self.address = app, blocks, address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"Open {self.address}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for route in self.app.routes:  # every page that is open holds a stream, which waits for this
            if stop := getattr(getattr(route, "app", None), "stop_event", None):
                stop.set()
        self.blocks.close(verbose=False)
        logging.getLogger("uvicorn.error").addFilter(is_no_cancellation)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def is_no_cancellation(record: logging.LogRecord) -> bool:
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


def address_of(host: str, listener: socket.socket) -> str:
    """What to type into a browser on this machine."""
    name = host.strip("[]")
    if name in ("0.0.0.0", "::", ""):
        name = "localhost"
    return f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}"
