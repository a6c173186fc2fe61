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
from tests.ui.anonymous_client import Stranger, stranger, uploads
from ui.services.inference_service import InferenceService

__all__ = ["stranger", "uploads"]

MB = 2**20
PLACES = itertools.count(2)
REFUSED = (400, 411, 413, 422, 429, 503)
EVERYWHERE = ("run/predict", "queue/join", "call/think_sequence", "call/v2/think_sequence", "cancel", "reset")


@pytest.fixture
def others(stranger) -> Iterator[Stranger]:
    """More and more people, each from an address of their own on this machine: what one of them did is no fault of the next."""
    try:
        with socket.create_server(("127.0.0.2", 0)):
            return (Stranger(stranger.address, f"127.0.0.{next(PLACES)}") for _ in range(9))
    except OSError:
        pytest.skip("this machine has one address of its own")


def parts(name: str, *sizes: int) -> Iterator[bytes]:
    """A form with files, bit by bit, that does not say how long it is."""
    for size in sizes:
        yield f'--B\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'.encode()
        for _ in range(0, size, MB):
            yield secrets.token_bytes(MB)
        yield b"\r\n"
    yield b"--B--\r\n"


FORM = {"Content-Type": "multipart/form-data; boundary=B"}


def status_of(visitor: Stranger, path: str, **more: object) -> int:
    """How a large request ends; 413 where the page hangs up before it was sent whole, and the client misses the reason."""
    try:
        return visitor.ask("POST", f"/gradio_api/{path}", **more).status_code
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return 413


def there(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


# --- the disk ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["files", "other"])
@pytest.mark.parametrize("sizes", [(22 * MB,), (8 * MB,) * 4])
def test_no_request_brings_more_than_a_picture_may_have(stranger, uploads, field, sizes):
    """However many files it is made of, and whether or not it says how long it is."""
    before = there(uploads)
    content = b"".join(parts(field, *sizes))
    for body in (content, iter([content])):
        assert status_of(stranger, "upload", content=body, headers=FORM) in (411, 413)
    assert there(uploads) == before


def test_a_picture_can_be_uploaded(stranger, uploads):
    path = Path(stranger.upload("a.png", b"x" * 5 * MB).json()[0])
    assert path.is_relative_to(uploads) and path.stat().st_size == 5 * MB


def addresses_in(said: str) -> set[str]:
    return {urlsplit(found).path for found in re.findall(r'"(http[^"]*/gradio_api/file=[^"]+)"', said)}


def pictures_of(visitor: Stranger) -> set[str]:
    """Where the page's own pictures are."""
    return addresses_in(visitor.ask("GET", "/config").text)


@pytest.fixture
def later(monkeypatch) -> Callable[[float], None]:
    """Turns the clock on by some seconds."""
    now = time.time
    return lambda seconds: monkeypatch.setattr(time, "time", lambda: now() + seconds)


def test_uploads_do_not_push_out_the_pictures_of_the_page(stranger, uploads, later):
    """They are copies, and as old as what they are copied from; those of other checkpoints are copied when they are shown."""
    pick = stranger.number["pick"]
    shown = {*pictures_of(stranger), *addresses_in(stranger.answer(pick, ["mazes"]))}
    assert len(shown) > 8
    for path in there(uploads):
        os.utime(path, (0, 0))
    stranger.upload("a.png", b"a")
    assert [path for path in shown if stranger.ask("GET", path).status_code != 200] == []
    later(7200)
    stranger.upload("a.png", b"a")
    assert [path for path in pictures_of(stranger) if stranger.ask("GET", path).status_code != 200] == []


def test_what_an_upload_leaves_behind_does_not_stay(stranger, uploads, later):
    """Gradio forgets a file whose field has another name, and one whose sender hangs up."""
    before = there(uploads)
    stranger.upload("a.png", secrets.token_bytes(MB), field="other")
    with socket.create_connection(("127.0.0.1", urlsplit(stranger.address).port)) as connection:
        head = "POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n"
        connection.sendall(f"{head}Content-Type: {FORM['Content-Type']}\r\n\r\n".encode() + next(parts("files", MB)))
        connection.sendall(secrets.token_bytes(MB))
        time.sleep(0.3)
    time.sleep(0.3)  # until the page has noticed
    later(7200)
    kept = Path(stranger.upload("b.png", b"b").json()[0])
    assert there(uploads) - before <= {kept}


def test_all_uploads_together_do_not_fill_the_disk(stranger, uploads):
    """The oldest makes room, or the next one is refused."""
    old = uploads / ("a" * 64) / "old.png"
    old.parent.mkdir()
    with old.open("wb") as file:
        file.truncate(60 * 2**30)  # takes no room really
    os.utime(old, (0, time.time() - 600))
    try:
        assert stranger.upload("c.png", b"c").status_code in REFUSED or not old.exists()
        assert [path for path in pictures_of(stranger) if stranger.ask("GET", path).status_code != 200] == []
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


@pytest.mark.parametrize("path", EVERYWHERE)
def test_what_is_said_is_short(stranger, path):
    said = {"data": ["1" * 3 * MB, "parity-16", ""], "fn_index": stranger.number["think_sequence"], "session_hash": "a"}
    assert status_of(stranger, path, json=said) in (411, 413)


def test_a_session_has_a_short_name(stranger):
    said = {"data": [], "fn_index": stranger.number["say"], "session_hash": "a" * 10_000}
    for path in ("run/predict", "queue/join"):
        assert stranger.post(path, said).status_code in REFUSED
    assert stranger.ask("GET", f"/gradio_api/heartbeat/{'a' * 10_000}").status_code in (*REFUSED, 404, 414)


def test_answers_that_nobody_fetches_do_not_pile_up(others):
    stranger = next(others)
    number, answers = stranger.number["think_sequence"], []
    for _ in range(60):
        answers.append(stranger.join(number, ["1011", "parity-16", "ticks=1"], "never-read").status_code)
        if answers[-1] == 429:
            return
    pytest.fail(f"{len(answers)} answers wait: {set(answers)}")


def test_a_new_session_costs_little(stranger, monkeypatch):
    """Gradio describes all components anew for each: half a megabyte, and for that time nobody else is answered."""
    described: list[object] = []
    describe = BlocksConfig.config_for_block

    def note(*given: object) -> dict:
        described.append(given)
        return describe(*given)

    monkeypatch.setattr(BlocksConfig, "config_for_block", staticmethod(note))
    assert "data" in stranger.answer(stranger.number["say"], [])
    assert len(described) < 20


# --- the queue ---------------------------------------------------------------------------------------------------


def test_nobody_passes_by_the_queue(stranger):
    """It lets few think at once: a large picture takes a gigabyte while it is read."""
    queued = [event for event in stranger.events if event["queue"]]
    assert {"think_image", "think_sequence", "show_picture"} <= {event["api_name"] for event in queued}
    for event in queued:
        said = {"fn_index": event["id"], "data": [None] * len(event["inputs"])}
        for path in ("run/predict", f"run/{event['api_name']}", f"api/{event['api_name']}"):
            assert stranger.post(path, said).status_code == 404, event["api_name"]


def test_one_address_does_not_fill_the_queue(others, monkeypatch):
    stranger, neighbour = next(others), next(others)
    over, number = threading.Event(), stranger.number["think_sequence"]

    def think(self: InferenceService, *given: object) -> None:
        over.wait(30)
        raise ValueError("It was thought long enough.")

    monkeypatch.setattr(InferenceService, "predict", think)
    try:
        taken = [stranger.join(number, ["1", "parity-16", ""]).status_code for _ in range(80)]
        assert taken.count(200) < 60 and taken[-1] in (429, 503)
        assert neighbour.join(number, ["1", "parity-16", ""]).status_code == 200
    finally:
        over.set()


def test_answers_that_were_not_fetched_keep_nobody_away(others):
    """Many may share an address: a school, an office, whoever comes through one proxy."""
    forgetful = next(others)
    number = forgetful.number["think_sequence"]
    for _ in range(70):
        forgetful.join(number, ["1", "parity-16", "ticks=1"])
    deadline = time.monotonic() + 10
    while (status := forgetful.join(number, ["1", "parity-16", ""]).status_code) != 200:
        assert time.monotonic() < deadline, status
        time.sleep(0.2)


def test_one_address_does_not_take_all_connections(others):
    stranger, neighbour = next(others), next(others)

    def page(visitor: Stranger, number: int) -> int:
        """The status of a stream, which stays open."""
        connection = opened.enter_context(
            socket.create_connection(
                ("127.0.0.1", urlsplit(visitor.address).port), source_address=(visitor.place, 0), timeout=10
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
    "_do_asked": None,
    "_pack": "tiny-1",
    "_fill_from_hub": "bob/digits",
    "_estimate": "tiny",
    "_start": "tiny",
}


@pytest.mark.parametrize("name", ACTIONS)
def test_no_action_is_done_for_a_stranger_who_calls_it_by_its_number(stranger, name):
    """With whatever trigger, event and value of a state they make up."""
    event = next(event for event in stranger.events if event["api_name"] == name)
    said = {
        "fn_index": event["id"],
        "data": [ACTIONS[name]] + [None] * (len(event["inputs"]) - 1),
        "session_hash": "acts",
    }
    refusals = [stranger.answer(event["id"], said["data"])]
    if not event["queue"]:
        for more in ({"trigger_id": 1}, {"event_data": {"value": "tiny-1"}}, {"event_id": "a"}):
            refusals.append(stranger.post("run/predict", said | more).text)
    assert all("Training is for this app's administrator" in refusal for refusal in refusals)
    assert "finished" in stranger.answer(stranger.number["history"], [])
