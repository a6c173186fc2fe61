"""Test the server in its own process: startup, answers, errors and shutdown."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
import pytest
from gradio_client import Client
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.paths import ROOT
from tests.training.jobs.conftest import wait_until
from ui.server.serve import StartupRouter, format_url, listen, serve

SMALL_APP_PROGRAM = """
import os
import gradio as gr
from ui.auth.access import Access, AccessDenied
from ui.server.app_factory import WebApp
from ui.server.serve import serve
from ui.tabs.login import build_login_row

access = Access.from_environment(os.environ, os.environ["HOST"])
with gr.Blocks() as page:
    build_login_row(access, page)
    answer = gr.Textbox()

    def act(request: gr.Request):
        try:
            return access.require_owner(request).name
        except AccessDenied as error:
            return f"denied: {error}"

    def client(request: gr.Request):
        return f"{request.client.host} {request.request.url.scheme}"

    gr.Button("Act").click(act, None, answer, api_name="act")
    gr.Button("Client").click(client, None, answer, api_name="client")
web_app = WebApp(page, access, shutdown=lambda: print("ended", flush=True))
serve(lambda: web_app, os.environ["HOST"], int(os.environ["PORT"]), behind_proxy="SPACE_ID" in os.environ)
"""
SECRET = "a-long-enough-secret"


class RunningServer:
    """Server process whose output is collected."""

    def __init__(self, process: subprocess.Popen):
        self.process, self.lines = process, []
        self.ready_event = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("Open "):
                self.ready_event.set()
        self.ready_event.set()

    @property
    def address(self) -> str:
        assert self.ready_event.wait(90), self.lines
        match = re.search(r"Open (http://\S+)", self.output)
        assert match, self.output
        return match[1]

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        self.process.send_signal(signal_number)
        code = self.process.wait(20)
        self._reader.join(5)
        return code


@contextmanager
def run_server(*command: str, **environment: str) -> Iterator[RunningServer]:
    inherited_env = {
        name: value for name, value in os.environ.items() if not name.startswith(("GRADIO_SERVER", "SPACE_", "CTM_"))
    }
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=inherited_env | {"PYTHONPATH": str(ROOT), "GRADIO_ANALYTICS_ENABLED": "False"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield RunningServer(process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def run_small_server(**environment: str):
    return run_server("-c", SMALL_APP_PROGRAM, **{"HOST": "127.0.0.1", "PORT": "0"} | environment)


def get_startup_failure(environment: Mapping[str, str], *command: str) -> tuple[int, str]:
    """Return exit code and output of a server that cannot start."""
    with run_server(*command, **environment) as server:
        code = server.process.wait(90)
        server._reader.join(5)
        return code, server.output.strip()


def test_a_local_server_ignores_forwarded_headers_and_shuts_down_with_open_pages():
    with run_small_server() as server:
        assert httpx.get(f"{server.address}/healthz").text == "ok"
        assert Client(server.address, verbose=False).predict(api_name="/act") == "local"
        for forwarded_for in ("127.0.0.1", "8.8.8.8"):  # forged headers of a direct client
            client = Client(
                server.address, verbose=False, headers={"X-Forwarded-For": forwarded_for, "X-Forwarded-Proto": "https"}
            )
            assert client.predict(api_name="/act").startswith("denied")
            assert client.predict(api_name="/client") == "127.0.0.1 http"
        with httpx.stream("GET", f"{server.address}/gradio_api/heartbeat/page") as page:
            assert page.status_code == 200
            assert server.stop(signal.SIGTERM) == 0
        assert server.lines[-1] == "ended\n" and "Traceback" not in server.output and "ERROR" not in server.output


def test_a_space_trusts_the_headers_of_its_proxy():
    oauth = {
        "OAUTH_CLIENT_ID": "i",
        "OAUTH_CLIENT_SECRET": "s",
        "OAUTH_SCOPES": "openid",
        "OPENID_PROVIDER_URL": "http://x",
    }
    with run_small_server(SPACE_ID="ann/ctm", SYSTEM="spaces", **oauth) as server:
        forwarded = {"X-Forwarded-For": "8.8.8.8", "X-Forwarded-Proto": "https"}
        client = Client(server.address, verbose=False, headers=forwarded)
        assert client.predict(api_name="/client") == "8.8.8.8 https"
        assert client.predict(api_name="/act").startswith("denied: Only ann may train here")


def test_the_admin_token_header_is_accepted_and_no_token_is_logged():
    with run_small_server(CTM_ADMIN_TOKEN=SECRET) as server:
        assert (
            Client(server.address, verbose=False)
            .predict(api_name="/act")
            .startswith("denied: Only the administrator may train")
        )
        client = Client(server.address, verbose=False, headers={"X-Admin-Token": SECRET})
        assert client.predict(api_name="/act") == "administrator"
        httpx.post(f"{server.address}/admin/login", data={"token": "nearly-the-right-one"})
        httpx.get(f"{server.address}/admin/login?token={SECRET}")
        assert server.stop(signal.SIGINT) == 0 and "ended" in server.output
        assert "wrong administrator's token came from 127.0.0.1" in server.output
        assert "nearly" not in server.output and SECRET not in server.output


def test_a_port_in_use_is_reported_in_one_sentence():
    with listen("127.0.0.1", [0]) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(SystemExit) as caught:
            serve(pytest.fail, "127.0.0.1", port)
    assert caught.value.code == f"Port {port} is in use: set GRADIO_SERVER_PORT to a free port."


def test_the_next_free_port_is_used_when_no_port_is_set():
    with listen("127.0.0.1", [0]) as first:
        port = first.getsockname()[1]
        with listen("127.0.0.1", range(port, port + 50)) as second:
            assert port < second.getsockname()[1] < port + 50


@pytest.mark.parametrize("host", ["no.such.name.invalid", "", "http://localhost", "192.0.2.1", "a" * 70])
def test_a_host_that_is_not_local_is_rejected(host):
    with pytest.raises(ValueError, match="set GRADIO_SERVER_NAME to") as caught:
        listen(host, [0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "host, url_host",
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "localhost"), ("localhost", "localhost"), ("[::1]", "[::1]")],
)
def test_the_printed_url_has_a_host_that_a_browser_can_open(host, url_host):
    try:
        listener = listen(host, [0])
    except ValueError:
        pytest.skip("the host has no IPv6")
    with listener:
        assert format_url(host, listener) == f"http://{url_host}:{listener.getsockname()[1]}"


def test_the_server_exits_with_one_line_per_invalid_variable():
    code, message = get_startup_failure({"GRADIO_SERVER_PORT": "abc", "CTM_RESUME": "maybe"}, "app.py")
    assert code == 1 and [line.partition(" ")[0] for line in message.splitlines()] == [
        "GRADIO_SERVER_PORT",
        "CTM_RESUME",
    ]


def test_the_server_exits_when_the_app_cannot_be_built(tmp_path):
    environment = {"GRADIO_SERVER_PORT": "0", "CTM_HOME": str(tmp_path), "CTM_ADMIN_TOKEN": "weak-secret"}
    code, message = get_startup_failure(environment, "app.py")
    assert code == 1 and message.splitlines()[-1].startswith("CTM_ADMIN_TOKEN must have at least 16 printable")
    assert "weak-secret" not in message and "Traceback" not in message


class SlowApp:
    """App whose build and warm-up wait for events that a test sets."""

    def __init__(self):
        self.app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("the page"))])
        self.built_event, self.warm_event = threading.Event(), threading.Event()
        self.calls: list[str] = []

    def build(self) -> "SlowApp":
        assert self.built_event.wait(20)
        return self

    def set_local_url(self, url: str) -> None:
        self.calls.append(f"set_local_url {url}")

    def startup(self) -> None:
        self.calls.append("startup")

    def warm_up(self) -> None:
        assert self.warm_event.wait(20)

    def close_streams(self) -> None:
        self.calls.append("close_streams")


def test_the_startup_router_serves_a_waiting_page_until_the_app_is_built():
    slow_app, ready_event = SlowApp(), threading.Event()
    router = StartupRouter(slow_app.build, ready_event.set, "http://127.0.0.1:7860")
    with TestClient(router) as client:
        page_response, config_response = client.get("/"), client.get("/config")
        assert page_response.status_code == 200 and "Starting" in page_response.text and "refresh" in page_response.text
        assert config_response.status_code == 503 and config_response.headers["Retry-After"] == "2"
        assert [client.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 503]
        slow_app.built_event.set()
        assert ready_event.wait(20) and client.get("/").text == "the page"
        assert client.get("/readyz").status_code == 503
        slow_app.warm_event.set()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        router.close()
    assert slow_app.calls == ["set_local_url http://127.0.0.1:7860", "startup", "close_streams"]


def test_closing_the_router_during_the_build_starts_no_app():
    slow_app = SlowApp()
    router = StartupRouter(slow_app.build, pytest.fail)
    with TestClient(router) as client:
        client.get("/healthz")
        router.close()
        slow_app.built_event.set()
    assert slow_app.calls == [] and router.web_app is None


def test_the_app_program_serves_predictions_and_its_config(checkpoints_dir, tmp_path):
    settings = {
        "CTM_CHECKPOINTS": str(checkpoints_dir),
        "CTM_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "GRADIO_SERVER_PORT": "0",
    }
    with run_server("app.py", **settings) as server:
        record = Client(server.address, verbose=False).predict("1011", "parity-16", "", api_name="/think_sequence")
        assert len(record["answer"]) == 4
        config = httpx.get(f"{server.address}/config").json()
        assert config["footer_links"] == ["api"] and config["show_error"] is False
        assert config["max_file_size"] == 20 * 2**20
        assert server.stop() == 0
