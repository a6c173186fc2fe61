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
    """Return a function that creates clients, each with its own loopback address, so that limits do not carry over."""
    try:
        with socket.create_server(("127.0.0.2", 0)):
            return (AnonymousClient(anonymous_client.address, f"127.0.0.{next(HOST_NUMBERS)}") for _ in range(9))
    except OSError:
        pytest.skip("this machine has one address of its own")


def stream_multipart(name: str, *sizes: int) -> Iterator[bytes]:
    """Yield a multipart form in chunks, without a content length."""
    for size in sizes:
        yield f'--B\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'.encode()
        for _ in range(0, size, MB):
            yield secrets.token_bytes(MB)
        yield b"\r\n"
    yield b"--B--\r\n"


FORM = {"Content-Type": "multipart/form-data; boundary=B"}


def upload_status(client: AnonymousClient, path: str, **more: object) -> int:
    """Return the status of a large request; 413 if the server closes the connection before the whole body was sent."""
    try:
        return client.request("POST", f"/gradio_api/{path}", **more).status_code
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return 413


def list_files(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if path.is_file()}


# --- the disk ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["files", "other"])
@pytest.mark.parametrize("sizes", [(22 * MB,), (8 * MB,) * 4])
def test_no_request_brings_more_than_a_picture_may_have(anonymous_client, upload_dir, field, sizes):
    """The limit holds for any number of files, with and without a content length."""
    before = list_files(upload_dir)
    content = b"".join(stream_multipart(field, *sizes))
    for body in (content, iter([content])):
        assert upload_status(anonymous_client, "upload", content=body, headers=FORM) in (411, 413)
    assert list_files(upload_dir) == before


def test_a_picture_can_be_uploaded(anonymous_client, upload_dir):
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


def test_uploads_do_not_push_out_the_pictures_of_the_page(anonymous_client, upload_dir, advance_clock):
    """They are copies with the modification times of their originals. Images of other checkpoints are copied when they are shown."""
    select = anonymous_client.event_ids["_select_checkpoint"]
    image_paths = {
        *list_page_images(anonymous_client),
        *find_file_paths(anonymous_client.call_event(select, ["mazes"])),
    }
    assert len(image_paths) > 8
    for path in list_files(upload_dir):
        os.utime(path, (0, 0))
    anonymous_client.upload("a.png", b"a")
    assert [path for path in image_paths if anonymous_client.request("GET", path).status_code != 200] == []
    advance_clock(7200)
    anonymous_client.upload("a.png", b"a")
    assert [
        path for path in list_page_images(anonymous_client) if anonymous_client.request("GET", path).status_code != 200
    ] == []


def test_files_of_an_upload_are_removed(anonymous_client, upload_dir, advance_clock):
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
    time.sleep(0.3)  # until the page has noticed
    advance_clock(7200)
    upload_path = Path(anonymous_client.upload("b.png", b"b").json()[0])
    assert list_files(upload_dir) - before <= {upload_path}


def test_all_uploads_in_total_do_not_fill_the_disk(anonymous_client, upload_dir):
    """The oldest upload is deleted, or the next one is rejected."""
    old = upload_dir / ("a" * 64) / "old.png"
    old.parent.mkdir()
    with old.open("wb") as file:
        file.truncate(60 * 2**30)  # takes no room really
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


def test_other_accounts_of_the_machine_do_not_see_what_is_uploaded(monkeypatch, tmp_path):
    with patch.dict(os.environ, {"CTM_HOME": str(tmp_path)}):
        del os.environ["GRADIO_TEMP_DIR"]
        monkeypatch.setattr(app, "serve", lambda *values, **more: None)
        app.main()
        directory = Path(get_upload_folder())
        directory.mkdir(parents=True, exist_ok=True)
        assert directory.stat().st_mode & 0o077 == 0


# --- memory ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EVENT_PATHS)
def test_error_messages_are_short(anonymous_client, path):
    payload = {
        "data": ["1" * 3 * MB, "parity-16", ""],
        "fn_index": anonymous_client.event_ids["think_sequence"],
        "session_hash": "a",
    }
    assert upload_status(anonymous_client, path, json=payload) in (411, 413)


def test_a_session_has_a_short_name(anonymous_client):
    payload = {"data": [], "fn_index": anonymous_client.event_ids["describe"], "session_hash": "a" * 10_000}
    for path in ("run/predict", "queue/join"):
        assert anonymous_client.post(path, payload).status_code in REJECTION_STATUSES
    assert anonymous_client.request("GET", f"/gradio_api/heartbeat/{'a' * 10_000}").status_code in (
        *REJECTION_STATUSES,
        404,
        414,
    )


def test_answers_that_nobody_fetches_do_not_pile_up(more_clients):
    stranger = next(more_clients)
    number, answers = stranger.event_ids["think_sequence"], []
    for _ in range(60):
        answers.append(stranger.join_queue(number, ["1011", "parity-16", "ticks=1"], "never-read").status_code)
        if answers[-1] == 429:
            return
    pytest.fail(f"{len(answers)} answers wait: {set(answers)}")


def test_a_new_session_costs_little(anonymous_client, monkeypatch):
    """Gradio serializes all components for each session: half a megabyte, which blocks other requests meanwhile."""
    described: list[object] = []
    describe = BlocksConfig.config_for_block

    def note(*values: object) -> dict:
        described.append(values)
        return describe(*values)

    monkeypatch.setattr(BlocksConfig, "config_for_block", staticmethod(note))
    assert "data" in anonymous_client.call_event(anonymous_client.event_ids["describe"], [])
    assert len(described) < 20


# --- the queue ---------------------------------------------------------------------------------------------------


def test_nobody_passes_by_the_queue(anonymous_client):
    """Few predictions run at once, because reading a large image takes a gigabyte."""
    queued = [event for event in anonymous_client.events if event["queue"]]
    assert {"think_image", "think_sequence", "_predict_image"} <= {event["api_name"] for event in queued}
    for event in queued:
        payload = {"fn_index": event["id"], "data": [None] * len(event["inputs"])}
        for path in ("run/predict", f"run/{event['api_name']}", f"api/{event['api_name']}"):
            assert anonymous_client.post(path, payload).status_code == 404, event["api_name"]


def test_one_address_does_not_fill_the_queue(more_clients, monkeypatch):
    stranger, neighbour = next(more_clients), next(more_clients)
    over, number = threading.Event(), stranger.event_ids["think_sequence"]

    def think(self: InferenceService, *values: object) -> None:
        over.wait(30)
        raise ValueError("It was thought long enough.")

    monkeypatch.setattr(InferenceService, "predict", think)
    try:
        taken = [stranger.join_queue(number, ["1", "parity-16", ""]).status_code for _ in range(80)]
        assert taken.count(200) < 60 and taken[-1] in (429, 503)
        assert neighbour.join_queue(number, ["1", "parity-16", ""]).status_code == 200
    finally:
        over.set()


def test_unfetched_answers_do_not_block_other_visitors(more_clients):
    """Many users may share an address: a school, an office, or users behind one proxy."""
    forgetful = next(more_clients)
    number = forgetful.event_ids["think_sequence"]
    for _ in range(70):
        forgetful.join_queue(number, ["1", "parity-16", "ticks=1"])
    deadline = time.monotonic() + 10
    while (status := forgetful.join_queue(number, ["1", "parity-16", ""]).status_code) != 200:
        assert time.monotonic() < deadline, status
        time.sleep(0.2)


def test_one_address_does_not_take_all_connections(more_clients):
    stranger, neighbour = next(more_clients), next(more_clients)

    def page(visitor: AnonymousClient, number: int) -> int:
        """Return the status of a stream, which stays open."""
        connection = opened.enter_context(
            socket.create_connection(
                ("127.0.0.1", urlsplit(visitor.address).port), source_address=(visitor.local_address, 0), timeout=10
            )
        )
        connection.sendall(f"GET /gradio_api/heartbeat/s{number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return int(connection.recv(1000).split()[1])

    with ExitStack() as opened:
        pages = [page(stranger, number) for number in range(300)]
        assert pages[:20] == [200] * 20 and pages[-1] in (429, 503)
        assert page(neighbour, 300) == 200
    deadline = time.monotonic() + 10
    with ExitStack() as opened:
        while (status := page(stranger, 301)) != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
    assert status == 200, "and places become free again"


# --- who may act -------------------------------------------------------------------------------------------------

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
def test_no_action_is_done_for_a_stranger_who_calls_it_by_its_number(anonymous_client, name):
    """Triggers, events and values of states are arbitrary."""
    event = next(event for event in anonymous_client.events if event["api_name"] == name)
    payload = {
        "fn_index": event["id"],
        "data": [ACTIONS[name]] + [None] * (len(event["inputs"]) - 1),
        "session_hash": "acts",
    }
    refusals = [anonymous_client.call_event(event["id"], payload["data"])]
    if not event["queue"]:
        for more in ({"trigger_id": 1}, {"event_data": {"value": "tiny-1"}}, {"event_id": "a"}):
            refusals.append(anonymous_client.post("run/predict", payload | more).text)
    assert all("Only the administrator may train" in refusal for refusal in refusals)
    assert "finished" in anonymous_client.call_event(anonymous_client.event_ids["list_history_rows"], [])
