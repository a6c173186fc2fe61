"""HTTP server: reads complete requests, and sends responses with or without a fault."""

import contextlib
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from tests.fake_hub.fault_injection import Fault, FaultInjector
from tests.fake_hub.messages import Request, Response, make_json_response
from tests.fake_hub.routing import Routes
from tests.fake_hub.state import HubState

HOST = "127.0.0.1"


class HubProtocol(Protocol):
    """Members of the hub that its HTTP servers use."""

    state: HubState
    faults: FaultInjector
    lock: threading.RLock
    shutdown_event: threading.Event

    def log_request(self, origin: str, request: Request, response: Response | None, fault: Fault | None) -> None: ...

    def record_crash(self, error: BaseException) -> None: ...


class HubHTTPServer(ThreadingHTTPServer):
    """Server of one origin of the hub, with one thread per connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub: HubProtocol, origin: str, routes: Routes, port: int):
        self.hub, self.origin, self.routes = hub, origin, routes
        self.connections: set[socket.socket] = set()
        self.thread: threading.Thread | None = None
        super().__init__((HOST, port), HubRequestHandler)
        self.url = f"http://{HOST}:{self.server_address[1]}"

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer looks up the host name, which can take long
        self.server_name, self.server_port = HOST, self.server_address[1]

    def start(self) -> None:
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), name=self.origin, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        if self.thread is not None:
            self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def close_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Record errors of the hub; a client that closes its connection is no error."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            self.hub.record_crash(error)

    def dispatch(self, request: Request) -> Response:
        with self.hub.lock:
            try:
                return self.routes.dispatch(self.hub.state, request)
            except Exception as error:
                self.hub.record_crash(error)
                return make_json_response({"error": f"the loopback hub itself failed: {error!r}"}, 500)


class HubRequestHandler(BaseHTTPRequestHandler):
    """Handler of the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HubHTTPServer

    def respond(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.read_body())
        hub = self.server.hub
        fault = hub.faults.trigger(request)
        if fault is not None and fault.kind == "stall":
            hub.shutdown_event.wait(fault.stall_s)
        if hub.shutdown_event.is_set() or (fault is not None and fault.kind == "drop"):
            self.drop_connection(request, fault)
        elif fault is not None and fault.kind != "stall":
            self.send_with_fault(request, fault.build_response(), fault)
        else:
            response = self.server.dispatch(request)
            self.send_with_fault(request, response, hub.faults.trigger(request, response) or fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = respond  # noqa: N815 - names of http.server

    def send_with_fault(self, request: Request, response: Response, fault: Fault | None) -> None:
        """Send a response, changed by the fault."""
        if fault is not None and fault.kind == "lost_reply":
            self.drop_connection(request, fault)
            return
        self.server.hub.log_request(self.server.origin, request, response, fault)
        if fault is not None and fault.kind == "cut":
            self.send_response_bytes(response, max_bytes=fault.get_byte_offset(response))
            self.shutdown_socket()
        else:
            self.send_response_bytes(
                fault.corrupt(response) if fault is not None and fault.kind == "wrong_bytes" else response
            )

    def read_body(self) -> bytes:
        """Read the complete body; a body that ends early is an error."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.read_exactly(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while length := int(self.read_line().partition(b";")[0], 16):
            chunks.append(self.read_exactly(length))
            self.read_line()
        while self.read_line().strip():
            pass
        return b"".join(chunks)

    def read_exactly(self, length: int) -> bytes:
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionAbortedError(f"{len(data)} of {length} bytes came")
        return data

    def read_line(self) -> bytes:
        if not (line := self.rfile.readline()):
            raise ConnectionAbortedError("the body ended early")
        return line

    def send_response_bytes(self, response: Response, max_bytes: int | None = None) -> None:
        """Send the head for the complete body, and the body or its first `max_bytes` bytes."""
        length = {"Transfer-Encoding": "chunked"} if response.stream else {"Content-Length": str(len(response.body))}
        headers = {**response.headers, **length}
        lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        body = b"" if self.command == "HEAD" else response.body[:max_bytes]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        if response.stream is not None:
            self.send_stream(response.stream)

    def send_stream(self, pieces: Iterator[bytes]) -> None:
        """Send chunks until there are no more or the hub closes; an error of the iterator breaks the connection."""
        for piece in pieces:
            if self.server.hub.shutdown_event.is_set():
                self.shutdown_socket()
                return
            if piece:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def drop_connection(self, request: Request, fault: Fault | None) -> None:
        self.server.hub.log_request(self.server.origin, request, None, fault)
        self.shutdown_socket()

    def shutdown_socket(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing, because the hub records its requests."""
