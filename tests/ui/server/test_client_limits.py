"""How much a stranger may take: of the disk, of memory, of the queue, of connections."""

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
    """More and more people, each from an address of their own on this machine: what one of them did is no fault of the next."""
    try:
        with socket.create_server(("127.0.0.2", 0)):
            return (AnonymousClient(anonymous_client.address, f"127.0.0.{next(HOST_NUMBERS)}") for _ in range(9))
    except OSError:
        pytest.skip("this machine has one address of its own")


def stream_multipart(name: str, *sizes: int) -> Iterator[bytes]:
    """A form with files, bit by bit, that does not say how long it is."""
    for size in sizes:
        yield f'--B\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'.encode()
        for _ in range(0, size, MB):
            yield secrets.token_bytes(MB)
        yield b"\r\n"
    yield b"--B--\r\n"


FORM = {"Content-Type": "multipart/form-data; boundary=B"}


def upload_status(client: AnonymousClient, path: str, **more: object) -> int:
    """How a large request ends; 413 where the page hangs up before it was sent whole, and the client misses the reason."""
    try:
        return client.request("POST", f"/gradio_api/{path}", **more).status_code
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return 413


def list_files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


# --- the disk ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["files", "other"])
@pytest.mark.parametrize("sizes", [(22 * MB,), (8 * MB,) * 4])
def test_no_request_brings_more_than_a_picture_may_have(anonymous_client, upload_dir, field, sizes):
    """However many files it is made of, and whether or not it says how long it is."""
    before = list_files(upload_dir)
    content = b"".join(stream_multipart(field, *sizes))
    for body in (content, iter([content])):
        assert upload_status(anonymous_client, "upload", content=body, headers=FORM) in (411, 413)
    assert list_files(upload_dir) == before


def test_a_picture_can_be_uploaded(anonymous_client, upload_dir):
    path = Path(anonymous_client.upload("a.png", b"x" * 5 * MB).json()[0])
    assert path.is_relative_to(upload_dir) and path.stat().st_size == 5 * MB


def find_file_paths(text: str) -> set[str]:
    return {urlsplit(found).path for found in re.findall(r'"(http[^"]*/gradio_api/file=[^"]+)"', text)}


def list_page_images(client: AnonymousClient) -> set[str]:
    """Where the page's own pictures are."""
    return find_file_paths(client.request("GET", "/config").text)


@pytest.fixture
def advance_clock(monkeypatch) -> Callable[[float], None]:
    """Turns the clock on by some seconds."""
    now = time.time
    return lambda seconds: monkeypatch.setattr(time, "time", lambda: now() + seconds)


def test_uploads_do_not_push_out_the_pictures_of_the_page(anonymous_client, upload_dir, advance_clock):
    """They are copies, and as old as what they are copied from; those of other checkpoints are copied when they are shown."""
    select = anonymous_client.event_ids["_select_checkpoint"]
    shown = {*list_page_images(anonymous_client), *find_file_paths(anonymous_client.call_event(select, ["mazes"]))}
    assert len(shown) > 8
    for path in list_files(upload_dir):
        os.utime(path, (0, 0))
    anonymous_client.upload("a.png", b"a")
    assert [path for path in shown if anonymous_client.request("GET", path).status_code != 200] == []
    advance_clock(7200)
    anonymous_client.upload("a.png", b"a")
    assert [
        path for path in list_page_images(anonymous_client) if anonymous_client.request("GET", path).status_code != 200
    ] == []


def test_files_of_an_upload_are_removed(anonymous_client, upload_dir, advance_clock):
    """Gradio forgets a file whose field has another name, and one whose sender hangs up."""
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
    kept = Path(anonymous_client.upload("b.png", b"b").json()[0])
    assert list_files(upload_dir) - before <= {kept}


def test_all_uploads_in_total_do_not_fill_the_disk(anonymous_client, upload_dir):
    """The oldest makes room, or the next one is refused."""
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
        monkeypatch.setattr(app, "serve", lambda *given, **more: None)
        app.main()
        folder = Path(get_upload_folder())
        folder.mkdir(parents=True, exist_ok=True)
        assert folder.stat().st_mode & 0o077 == 0


# --- memory ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EVENT_PATHS)
def test_error_messages_are_short(anonymous_client, path):
    said = {
        "data": ["1" * 3 * MB, "parity-16", ""],
        "fn_index": anonymous_client.event_ids["think_sequence"],
        "session_hash": "a",
    }
    assert upload_status(anonymous_client, path, json=said) in (411, 413)


def test_a_session_has_a_short_name(anonymous_client):
    said = {"data": [], "fn_index": anonymous_client.event_ids["describe"], "session_hash": "a" * 10_000}
    for path in ("run/predict", "queue/join"):
        assert anonymous_client.post(path, said).status_code in REJECTION_STATUSES
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
    """Gradio describes all components anew for each: half a megabyte, and for that time nobody else is answered."""
    described: list[object] = []
    describe = BlocksConfig.config_for_block

    def note(*given: object) -> dict:
        described.append(given)
        return describe(*given)

    monkeypatch.setattr(BlocksConfig, "config_for_block", staticmethod(note))
    assert "data" in anonymous_client.call_event(anonymous_client.event_ids["describe"], [])
    assert len(described) < 20


# --- the queue ---------------------------------------------------------------------------------------------------


def test_nobody_passes_by_the_queue(anonymous_client):
    """It lets few think at once: a large picture takes a gigabyte while it is read."""
    queued = [event for event in anonymous_client.events if event["queue"]]
    assert {"think_image", "think_sequence", "show_picture"} <= {event["api_name"] for event in queued}
    for event in queued:
        said = {"fn_index": event["id"], "data": [None] * len(event["inputs"])}
        for path in ("run/predict", f"run/{event['api_name']}", f"api/{event['api_name']}"):
            assert anonymous_client.post(path, said).status_code == 404, event["api_name"]


def test_one_address_does_not_fill_the_queue(more_clients, monkeypatch):
    stranger, neighbour = next(more_clients), next(more_clients)
    over, number = threading.Event(), stranger.event_ids["think_sequence"]

    def think(self: InferenceService, *given: object) -> None:
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
    """Many may share an address: a school, an office, whoever comes through one proxy."""
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
        """The status of a stream, which stays open."""
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
    "ask": "tiny-1",
    "ask_1": "tiny-1",
    "_run_confirmed_action": None,
    "_create_archive": "tiny-1",
    "_fill_from_hub": "bob/digits",
    "_estimate": "tiny",
    "_start": "tiny",
}


@pytest.mark.parametrize("name", ACTIONS)
def test_no_action_is_done_for_a_stranger_who_calls_it_by_its_number(anonymous_client, name):
    """With whatever trigger, event and value of a state they make up."""
    event = next(event for event in anonymous_client.events if event["api_name"] == name)
    said = {
        "fn_index": event["id"],
        "data": [ACTIONS[name]] + [None] * (len(event["inputs"]) - 1),
        "session_hash": "acts",
    }
    refusals = [anonymous_client.call_event(event["id"], said["data"])]
    if not event["queue"]:
        for more in ({"trigger_id": 1}, {"event_data": {"value": "tiny-1"}}, {"event_id": "a"}):
            refusals.append(anonymous_client.post("run/predict", said | more).text)
    assert all("Only the administrator may train" in refusal for refusal in refusals)
    assert "finished" in anonymous_client.call_event(anonymous_client.event_ids["list_history_rows"], [])
