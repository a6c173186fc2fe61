"""The server as a process of its own: it starts, answers, says what is wrong, and ends when it is told to."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio_client import Client

import app
from ui.access import Access
from ui.server import address_of, listen, serve

ROOT = Path(__file__).parents[2]
SMALL = """
import os
import gradio as gr
from ui.access import Access, Refused
from ui.server import serve
from ui.tabs.login import login_row

access = Access.from_environment(os.environ, os.environ["HOST"])
with gr.Blocks() as page:
    login_row(access, page)
    said = gr.Textbox()

    def act(request: gr.Request):
        try:
            return access.check(request).name
        except Refused as refusal:
            return f"refused: {refusal}"

    def client(request: gr.Request):
        return f"{request.client.host} {request.request.url.scheme}"

    gr.Button("Act").click(act, None, said, api_name="act")
    gr.Button("Client").click(client, None, said, api_name="client")
page.queue(max_size=64)
serve(page, access, os.environ["HOST"], int(os.environ["PORT"]), lambda: print("ended", flush=True))
"""
SECRET = "a-long-enough-secret"


class Served:
    """A running server: its address, and all that it wrote."""

    def __init__(self, process: subprocess.Popen):
        self.process, self.lines = process, []
        self.opened = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("Open "):
                self.opened.set()
        self.opened.set()

    @property
    def address(self) -> str:
        assert self.opened.wait(90), self.lines
        found = re.search(r"Open (http://\S+)", self.written)
        assert found, self.written
        return found[1]

    @property
    def written(self) -> str:
        return "".join(self.lines)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(20)
        self._reader.join(5)
        return code


@contextmanager
def running(*command: str, **environment: str) -> Iterator[Served]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("GRADIO_SERVER", "SPACE_", "CTM_"))
    }
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT, env=kept | {"PYTHONPATH": str(ROOT), "GRADIO_ANALYTICS_ENABLED": "False"} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield Served(process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def small(**environment: str):
    return running("-c", SMALL, **{"HOST": "127.0.0.1", "PORT": "0"} | environment)


def outcome(environment: Mapping[str, str], *command: str) -> tuple[int, str]:
    """Exit code and last line of a server that cannot start."""
    with running(*command, **environment) as served:
        code = served.process.wait(90)
        served._reader.join(5)
        return code, served.written.strip()


def test_a_server_for_this_machine_ends_cleanly_while_pages_are_open():
    with small() as served:
        assert httpx.get(f"{served.address}/healthz").text == "ok"
        assert Client(served.address, verbose=False).predict(api_name="/act") == "local"
        for far in ("127.0.0.1", "8.8.8.8"):  # nobody comes from anywhere by saying so
            client = Client(
                served.address, verbose=False, headers={"X-Forwarded-For": far, "X-Forwarded-Proto": "https"}
            )
            assert client.predict(api_name="/act").startswith("refused")
            assert client.predict(api_name="/client") == "127.0.0.1 http"
        with httpx.stream("GET", f"{served.address}/gradio_api/heartbeat/page") as page:
            assert page.status_code == 200
            assert served.end(signal.SIGTERM) == 0
        assert served.lines[-1] == "ended\n" and "Traceback" not in served.written and "ERROR" not in served.written


def test_a_space_believes_its_proxy():
    oauth = {
        "OAUTH_CLIENT_ID": "i",
        "OAUTH_CLIENT_SECRET": "s",
        "OAUTH_SCOPES": "openid",
        "OPENID_PROVIDER_URL": "http://x",
    }
    with small(SPACE_ID="ann/ctm", SYSTEM="spaces", **oauth) as served:
        forwarded = {"X-Forwarded-For": "8.8.8.8", "X-Forwarded-Proto": "https"}
        client = Client(served.address, verbose=False, headers=forwarded)
        assert client.predict(api_name="/client") == "8.8.8.8 https"
        assert client.predict(api_name="/act").startswith("refused: Only ann may train here")


def test_the_token_works_for_programs_and_is_never_written():
    with small(CTM_ADMIN_TOKEN=SECRET) as served:
        assert Client(served.address, verbose=False).predict(api_name="/act").startswith("refused: Training is for")
        client = Client(served.address, verbose=False, headers={"X-Admin-Token": SECRET})
        assert client.predict(api_name="/act") == "administrator"
        httpx.post(f"{served.address}/admin/login", data={"token": "nearly-the-right-one"})
        httpx.get(f"{served.address}/admin/login?token={SECRET}")
        assert served.end(signal.SIGINT) == 0 and "ended" in served.written
        assert "wrong administrator's token came from 127.0.0.1" in served.written
        assert "nearly" not in served.written and SECRET not in served.written


def test_a_taken_port_is_said_in_one_sentence():
    with listen("127.0.0.1", [0]) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as caught:
            serve(gr.Blocks(), Access.from_environment({}, "127.0.0.1"), "127.0.0.1", port, on_end=lambda: None)
    assert (
        caught.value.code == f"Port {port} is taken: end what listens there, or set GRADIO_SERVER_PORT to a free one."
    )


def test_the_next_port_is_tried_where_none_is_named():
    with listen("127.0.0.1", [0]) as first:
        port = first.getsockname()[1]
        with listen("127.0.0.1", range(port, port + 50)) as second:
            assert port < second.getsockname()[1] < port + 50


@pytest.mark.parametrize("host", ["no.such.name.invalid", "", "http://localhost", "192.0.2.1", "a" * 70])
def test_an_address_that_is_none_of_this_machines_is_said(host):
    with pytest.raises(ValueError, match="set GRADIO_SERVER_NAME to") as caught:
        listen(host, [0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "host, shown",
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "localhost"), ("localhost", "localhost"), ("[::1]", "[::1]")],
)
def test_the_address_can_be_opened(host, shown):
    try:
        listener = listen(host, [0])
    except ValueError:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert address_of(host, listener) == f"http://{shown}:{listener.getsockname()[1]}"


@pytest.mark.parametrize("port", ["", "abc", "-1", "65536", "7860.5", "78 60"])
def test_a_port_that_is_none_ends_the_start(port):
    code, said = outcome({"GRADIO_SERVER_PORT": port}, "app.py")
    assert code == 1 and said.startswith("GRADIO_SERVER_PORT must be a number") and "\n" not in said


def test_a_weak_token_ends_the_start(monkeypatch):
    monkeypatch.setenv("CTM_ADMIN_TOKEN", "weak-secret")
    with pytest.raises(SystemExit, match="CTM_ADMIN_TOKEN must have at least 16 characters") as caught:
        app.find_access("127.0.0.1")
    assert "weak-secret" not in str(caught.value.code) and "\n" not in str(caught.value.code)


def test_the_app_itself_is_served(checkpoints, tmp_path):
    settings = {
        "CTM_CHECKPOINTS": str(checkpoints),
        "CTM_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "GRADIO_SERVER_PORT": "0",
    }
    with running("app.py", **settings) as served:
        said = Client(served.address, verbose=False).predict("1011", "parity-16", "", api_name="/think_sequence")
        assert len(said["answer"]) == 4
        config = httpx.get(f"{served.address}/config").json()
        assert config["footer_links"] == ["api"] and config["show_error"] is False
        assert config["max_file_size"] == 20 * 2**20
        assert served.end() == 0
