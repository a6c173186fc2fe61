"""Test the hub as a server: shutdown, incomplete requests, ranges, and the command line."""

import json
import socket
import subprocess
import sys
import threading
import time
from urllib.request import urlopen

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import RepositoryNotFoundError

from tests.fake_hub.http_request import send_request
from tests.fake_hub.server import LoopbackHub
from tests.paths import ROOT


def test_the_hub_shuts_down_while_a_request_stalls():
    errors, num_threads_before = [], threading.active_count()

    def send_stalled_request() -> None:
        try:
            send_request(hub.url, "/api/models", timeout=60)
        except OSError as error:
            errors.append(error)

    with LoopbackHub() as hub:
        fault = hub.add_fault("stall", stall_s=60)
        thread = threading.Thread(target=send_stalled_request)
        thread.start()
        while not fault.num_triggered:
            time.sleep(0.01)
        start_time = time.monotonic()
    thread.join(5)
    while threading.active_count() > num_threads_before and time.monotonic() - start_time < 5:
        time.sleep(0.01)
    assert time.monotonic() - start_time < 2 and len(errors) == 1
    with pytest.raises(ConnectionRefusedError):
        send_request(hub.url, "/api/models")


def test_the_hub_can_be_closed_unused_and_twice():
    hub = LoopbackHub()
    hub.close()
    hub.close()


@pytest.mark.parametrize("framing", ["Content-Length: 500", "Transfer-Encoding: chunked"])
def test_an_incomplete_request_is_not_handled(hub_without_client, framing):
    hub_without_client.add_repo("alice/x")
    line = json.dumps({"key": "header", "value": {"summary": "m"}})
    head = f"POST /api/models/alice/x/commit/main HTTP/1.1\r\nAuthorization: Bearer hf_alice_write\r\n{framing}\r\n\r\n"
    body = f"{line}\n" if "Length" in framing else f"{len(line) + 1:x}\r\n{line}\n\r\n"
    address = ("127.0.0.1", int(hub_without_client.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall((head + body).encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert len(hub_without_client.list_commits("alice/x")) == 1 and hub_without_client.requests == []
    with socket.create_connection(address, timeout=5) as connection:
        ending = "" if "Length" in framing else "0\r\n\r\n"
        whole = (head.replace("500", str(len(body))) + body + ending).encode()
        connection.sendall(whole)
        assert connection.recv(12) == b"HTTP/1.1 200"
    assert len(hub_without_client.list_commits("alice/x")) == 2


def test_an_internal_error_of_the_hub_is_raised_on_exit():
    with pytest.raises(RuntimeError, match="KeyError: 'name'"), LoopbackHub() as hub:
        hub.add_user("alice", "hf_alice_write")
        assert send_request(hub.url, "/api/repos/create", "POST", token="hf_alice_write", body="{}").status == 500


def test_an_unknown_route_returns_an_error(hub_without_client):
    response = send_request(hub_without_client.url, "/api/papers/alice")
    assert response.status == 501 and b"does not serve GET /api/papers/alice" in response.body


@pytest.mark.parametrize(
    ("byte_range", "status", "part"),
    [("0-3", 206, b"0123"), ("4-", 206, b"456789"), ("-2", 206, b"89"), ("8-99", 206, b"89"), ("10-", 416, None)],
)
def test_range_requests_return_parts_of_a_file(hub_without_client, byte_range, status, part):
    hub_without_client.add_repo("alice/x", {"a.txt": "0123456789"})
    address = ("127.0.0.1", int(hub_without_client.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=5) as connection, connection.makefile("rb") as response:
        head = f"GET /alice/x/resolve/main/a.txt HTTP/1.1\r\nRange: bytes={byte_range}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        received, _, body = response.read().partition(b"\r\n\r\n")
    assert received.startswith(f"HTTP/1.1 {status} ".encode())
    if part is None:
        assert b"Content-Range: bytes */10" in received
    else:
        start = b"0123456789".index(part)
        assert body == part and f"Content-Range: bytes {start}-{start + len(part) - 1}/10".encode() in received


def test_the_hub_serves_a_client_in_the_same_process(hub_without_client, monkeypatch, tmp_path):
    monkeypatch.setattr(
        constants, "HF_HUB_DISABLE_TELEMETRY", True
    )  # otherwise the client may send requests to huggingface.co
    hub_without_client.add_repo("alice/x", {"a.txt": "a", "b.bin": b"\0" * 100})
    api = HfApi(endpoint=hub_without_client.url, token="hf_alice_write")
    assert api.model_info("alice/x").sha == hub_without_client.list_commits("alice/x")[0].oid
    snapshot_dir = api.snapshot_download("alice/x", cache_dir=tmp_path)
    assert snapshot_dir.startswith(str(tmp_path))
    assert {request.token for request in hub_without_client.find_requests(origin="storage")} == {None}
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("alice/none")


def test_a_removed_token_is_rejected(hub_without_client):
    whoami = {"path": "/api/whoami-v2", "token": "hf_bob_write"}
    assert json.loads(send_request(hub_without_client.url, **whoami).body)["name"] == "bob"
    hub_without_client.remove_token("hf_bob_write")
    assert send_request(hub_without_client.url, **whoami).status == 401


def test_the_command_line_starts_a_hub_with_files(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.txt").write_text("a")
    command = [sys.executable, "-m", "tests.fake_hub", "--repo", f"alice/x={tmp_path}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            with urlopen(f"{url}/alice/x/resolve/main/sub/a.txt") as response:
                assert response.read() == b"a"
        finally:
            process.terminate()
