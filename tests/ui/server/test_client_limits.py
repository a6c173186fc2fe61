"""Test the limits of a client: disk, memory, queue and connections."""

import itertools
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import httpx
import pytest
from gradio.blocks import BlocksConfig
from gradio.utils import get_upload_folder

import app
from tests.ui.anonymous_client import AnonymousClient, anonymous_client, upload_dir
from ui.services.inference_service import InferenceService

__all__ = ["anonymous_client", "upload_dir"]

MB = 2**20
HOST_NUMBERS = itertools.count(2)
REJECTION_STATUSES = (400, 411, 413, 422, 429, 503)
EVENT_PATHS = ("run/predict", "queue/join", "call/think_sequence", "call/v2/think_sequence", "cancel", "reset")


@pytest.fixture
def more_clients(anonymous_client) -> Iterator[AnonymousClient]:
    """Return an iterator of clients, each with its own loopback address, so that limits do not carry over."""
    try:
        with socket.create_server(("127.0.0.2", 0)):
            return (AnonymousClient(anonymous_client.address, f"127.0.0.{next(HOST_NUMBERS)}") for _ in range(9))
    except OSError:
        pytest.skip("the host has only one loopback address")


def stream_multipart(name: str, *sizes: int) -> Iterator[bytes]:
    """Yield a multipart form in chunks, without a content length."""
    for size in sizes:
        yield f'--B\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'.encode()
        for _ in range(0, size, MB):
            yield secrets.token_bytes(MB)
        yield b"\r\n"
    yield b"--B--\r\n"


FORM = {"Content-Type": "multipart/form-data; boundary=B"}


def get_post_status(client: AnonymousClient, path: str, **options: object) -> int:
    """Return the status of a large POST request; 413 if the server closes the connection before it receives the whole body."""
    try:
        return client.request("POST", f"/gradio_api/{path}", **options).status_code
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return 413


def list_files(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if path.is_file()}


# --- disk --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["files", "other"])
@pytest.mark.parametrize("sizes", [(22 * MB,), (8 * MB,) * 4])
def test_an_upload_above_the_size_limit_is_rejected(anonymous_client, upload_dir, field, sizes):
    """The limit holds for any number of files, with and without a content length."""
    before = list_files(upload_dir)
    content = b"".join(stream_multipart(field, *sizes))
    for body in (content, iter([content])):
        assert get_post_status(anonymous_client, "upload", content=body, headers=FORM) in (411, 413)
    assert list_files(upload_dir) == before


def test_an_image_below_the_size_limit_is_uploaded(anonymous_client, upload_dir):
    path = Path(anonymous_client.upload("a.png", b"x" * 5 * MB).json()[0])
    assert path.is_relative_to(upload_dir) and path.stat().st_size == 5 * MB


def find_file_paths(text: str) -> set[str]:
    return {urlsplit(url).path for url in re.findall(r'"(http[^"]*/gradio_api/file=[^"]+)"', text)}


def list_page_images(client: AnonymousClient) -> set[str]:
    """Return the paths of the images that belong to the page."""
    return find_file_paths(client.request("GET", "/config").text)


@pytest.fixture
def advance_clock(monkeypatch) -> Callable[[float], None]:
    """Return a function that advances the clock by some seconds."""
    now = time.time
    return lambda seconds: monkeypatch.setattr(time, "time", lambda: now() + seconds)


def test_uploads_do_not_evict_the_images_of_the_page(anonymous_client, upload_dir, advance_clock):
    """The images of the page are copies with old modification times; those of other checkpoints are copied when shown."""
    select = anonymous_client.event_ids["_select_checkpoint"]
    first_images = list_page_images(anonymous_client)
    other_images = find_file_paths(anonymous_client.call_event(select, ["mazes", None]))
    assert first_images and other_images - first_images
    image_paths = first_images | other_images
    for path in list_files(upload_dir):
        os.utime(path, (0, 0))
    anonymous_client.upload("a.png", b"a")
    assert [path for path in image_paths if anonymous_client.request("GET", path).status_code != 200] == []
    advance_clock(7200)
    anonymous_client.upload("a.png", b"a")
    assert [
        path for path in list_page_images(anonymous_client) if anonymous_client.request("GET", path).status_code != 200
    ] == []


def test_files_of_untracked_and_incomplete_uploads_are_removed(anonymous_client, upload_dir, advance_clock):
    """Gradio does not track a file whose field has another name, or one whose client disconnects."""
    before = list_files(upload_dir)
    anonymous_client.upload("a.png", secrets.token_bytes(MB), field="other")
    with socket.create_connection(("127.0.0.1", urlsplit(anonymous_client.address).port)) as connection:
        head = "POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n"
        connection.sendall(
            f"{head}Content-Type: {FORM['Content-Type']}\r\n\r\n".encode() + next(stream_multipart("files", MB))
        )
        connection.sendall(secrets.token_bytes(MB))
        time.sleep(0.3)
    time.sleep(0.3)  # until the server detects the disconnect
    advance_clock(7200)
    upload_path = Path(anonymous_client.upload("b.png", b"b").json()[0])
    assert list_files(upload_dir) - before <= {upload_path}


def test_the_total_size_of_all_uploads_is_limited(anonymous_client, upload_dir):
    """The oldest upload is deleted, or the next one is rejected."""
    old = upload_dir / ("a" * 64) / "old.png"
    old.parent.mkdir()
    with old.open("wb") as file:
        file.truncate(60 * 2**30)  # a sparse file, which uses no disk space
    os.utime(old, (0, time.time() - 600))
    try:
        assert anonymous_client.upload("c.png", b"c").status_code in REJECTION_STATUSES or not old.exists()
        assert [
            path
            for path in list_page_images(anonymous_client)
            if anonymous_client.request("GET", path).status_code != 200
        ] == []
    finally:
        old.unlink(missing_ok=True)


def test_the_upload_directory_is_not_accessible_to_other_users_of_the_host(monkeypatch, tmp_path):
    with patch.dict(os.environ, {"CTM_HOME": str(tmp_path)}):
        del os.environ["GRADIO_TEMP_DIR"]
        monkeypatch.setattr(app, "serve", lambda *values, **more: None)
        app.main()
        directory = Path(get_upload_folder())
        directory.mkdir(parents=True, exist_ok=True)
        assert directory.stat().st_mode & 0o077 == 0


# --- memory ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EVENT_PATHS)
def test_an_event_with_oversized_data_is_rejected(anonymous_client, path):
    payload = {
        "data": ["1" * 3 * MB, "parity-16", ""],
        "fn_index": anonymous_client.event_ids["think_sequence"],
        "session_hash": "a",
    }
    assert get_post_status(anonymous_client, path, json=payload) in (411, 413)


def test_a_long_session_hash_is_rejected(anonymous_client):
    payload = {"data": [], "fn_index": anonymous_client.event_ids["describe"], "session_hash": "a" * 10_000}
    for path in ("run/predict", "queue/join"):
        assert anonymous_client.post(path, payload).status_code in REJECTION_STATUSES
    assert anonymous_client.request("GET", f"/gradio_api/heartbeat/{'a' * 10_000}").status_code in (
        *REJECTION_STATUSES,
        404,
        414,
    )


def test_unfetched_events_of_one_session_are_limited(more_clients):
    client = next(more_clients)
    event_id, statuses = client.event_ids["think_sequence"], []
    for _ in range(60):
        statuses.append(client.join_queue(event_id, ["1011", "parity-16", "ticks=1"], "never-read").status_code)
        if statuses[-1] == 429:
            return
    pytest.fail(f"all of {len(statuses)} unfetched events are accepted: {set(statuses)}")


def test_a_new_session_serializes_few_components(anonymous_client, monkeypatch):
    """Gradio serializes all components for each session: half a megabyte, which blocks other requests meanwhile."""
    calls: list[object] = []
    original_config_for_block = BlocksConfig.config_for_block

    def record_call(*args: object) -> dict:
        calls.append(args)
        return original_config_for_block(*args)

    monkeypatch.setattr(BlocksConfig, "config_for_block", staticmethod(record_call))
    assert "data" in anonymous_client.call_event(anonymous_client.event_ids["describe"], [])
    assert len(calls) < 20


# --- queue -------------------------------------------------------------------------------------------------------


def test_queued_events_cannot_be_called_without_the_queue(anonymous_client):
    """The queue limits concurrent predictions, because decoding a large image takes a gigabyte."""
    queued = [event for event in anonymous_client.events if event["queue"]]
    assert {"think_image", "think_sequence", "_predict_image"} <= {event["api_name"] for event in queued}
    for event in queued:
        payload = {"fn_index": event["id"], "data": [None] * len(event["inputs"])}
        for path in ("run/predict", f"run/{event['api_name']}", f"api/{event['api_name']}"):
            assert anonymous_client.post(path, payload).status_code == 404, event["api_name"]


def test_one_address_cannot_fill_the_queue(more_clients, monkeypatch):
    client, other_client = next(more_clients), next(more_clients)
    release_event, event_id = threading.Event(), client.event_ids["think_sequence"]

    def wait_and_fail(self: InferenceService, *args: object) -> None:
        release_event.wait(30)
        raise ValueError("The test released the prediction.")

    monkeypatch.setattr(InferenceService, "predict", wait_and_fail)
    try:
        statuses = [client.join_queue(event_id, ["1", "parity-16", ""]).status_code for _ in range(80)]
        assert statuses.count(200) < 60 and statuses[-1] in (429, 503)
        assert other_client.join_queue(event_id, ["1", "parity-16", ""]).status_code == 200
    finally:
        release_event.set()


def test_unfetched_results_do_not_block_their_address(more_clients):
    """Many users may share an address: a school, an office, or users behind one proxy."""
    client = next(more_clients)
    event_id = client.event_ids["think_sequence"]
    for _ in range(70):
        client.join_queue(event_id, ["1", "parity-16", "ticks=1"])
    deadline = time.monotonic() + 10
    while (status := client.join_queue(event_id, ["1", "parity-16", ""]).status_code) != 200:
        assert time.monotonic() < deadline, status
        time.sleep(0.2)


def test_open_connections_of_one_address_are_limited(more_clients):
    client, other_client = next(more_clients), next(more_clients)

    def open_stream(requester: AnonymousClient, stream_id: int) -> int:
        """Open a stream and return its status."""
        connection = connections.enter_context(
            socket.create_connection(
                ("127.0.0.1", urlsplit(requester.address).port), source_address=(requester.local_address, 0), timeout=10
            )
        )
        connection.sendall(f"GET /gradio_api/heartbeat/s{stream_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return int(connection.recv(1000).split()[1])

    with ExitStack() as connections:
        statuses = [open_stream(client, stream_id) for stream_id in range(300)]
        assert statuses[:20] == [200] * 20 and statuses[-1] in (429, 503)
        assert open_stream(other_client, 300) == 200
    deadline = time.monotonic() + 10
    with ExitStack() as connections:
        while (status := open_stream(client, 301)) != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
    assert status == 200, "closed connections no longer count"


# --- authorization -----------------------------------------------------------------------------------------------

ACTIONS = {
    "handle": "tiny-1",
    "handle_1": "tiny-1",
    "handle_2": "tiny-1",
    "confirm": "tiny-1",
    "confirm_1": "tiny-1",
    "_run_confirmed_action": None,
    "_create_archive": "tiny-1",
    "_fill_from_hub": "bob/digits",
    "_estimate": "tiny",
    "start": "tiny",
}


@pytest.mark.parametrize("name", ACTIONS)
def test_an_anonymous_client_cannot_call_an_owner_event_by_its_id(anonymous_client, name):
    """The client sends arbitrary triggers, event data and state values."""
    event = next(event for event in anonymous_client.events if event["api_name"] == name)
    payload = {
        "fn_index": event["id"],
        "data": [ACTIONS[name]] + [None] * (len(event["inputs"]) - 1),
        "session_hash": "acts",
    }
    responses = [anonymous_client.call_event(event["id"], payload["data"])]
    if not event["queue"]:
        for forged_fields in ({"trigger_id": 1}, {"event_data": {"value": "tiny-1"}}, {"event_id": "a"}):
            responses.append(anonymous_client.post("run/predict", payload | forged_fields).text)
    assert all("Only the administrator may train" in response for response in responses)
    assert "finished" in anonymous_client.call_event(anonymous_client.event_ids["list_history_rows"], [])
