"""Somebody who asks the page as anybody may, over the wire, and the page that they ask."""

import json
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ui.run_fixtures import ADMIN_TOKEN, create_fake_run, make_training_service, serve_page
from ui.auth.access import Access


def make_file_data(path: str | Path, **more: Any) -> dict[str, Any]:
    """A file as a page names one that it has sent before."""
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}, **more}


class AnonymousClient:
    """Somebody who talks to the page without a browser.

    Args:
        address: of the page.
        place: where on this machine they come from.
    """

    def __init__(self, address: str, local_address: str = "127.0.0.1"):
        self.address, self.local_address = address, local_address
        self.config = self.request("GET", "/config").json()
        self.events = self.config["dependencies"]
        self.event_ids = {event["api_name"]: event["id"] for event in self.events}

    def connect(self) -> httpx.Client:
        transport = httpx.HTTPTransport(verify=False, local_address=self.local_address)
        return httpx.Client(base_url=self.address, transport=transport, timeout=30)

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request, in a connection of its own."""
        with self.connect() as client:
            return client.request(method, path, **more)

    def post(self, path: str, payload: Any, **headers: str) -> httpx.Response:
        return self.request("POST", f"/gradio_api/{path}", json=payload, headers=headers)

    def join_queue(self, number: int, data: list[Any], session: str = "") -> httpx.Response:
        """Put an event in line."""
        session = session or secrets.token_hex(6)
        return self.post("queue/join", {"fn_index": number, "data": data, "session_hash": session})

    def read_events(self, session: str) -> list[dict[str, Any]]:
        """All that a session is told until its events are over."""
        found, path = [], f"/gradio_api/queue/data?session_hash={session}"
        with suppress(httpx.RemoteProtocolError), self.connect() as client, client.stream("GET", path) as answer:
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    found.append(json.loads(line[5:]))
        return found

    def call_event(self, number: int, data: list[Any], session: str = "") -> str:
        """What comes of an event, through the queue or beside it, as it came."""
        session = session or secrets.token_hex(6)
        if not next(event["queue"] for event in self.events if event["id"] == number):
            return self.post("run/predict", {"fn_index": number, "data": data, "session_hash": session}).text
        joined = self.join_queue(number, data, session)
        return json.dumps(self.read_events(session)) if joined.status_code == 200 else joined.text

    def upload(self, name: str, content: bytes, field: str = "files", **headers: str) -> httpx.Response:
        return self.request("POST", "/gradio_api/upload", files={field: (name, content)}, headers=headers)


@pytest.fixture(scope="module")
def upload_dir(tmp_path_factory) -> Iterator[Path]:
    """Where what strangers upload is kept."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("uploads")
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def anonymous_client(checkpoints_dir, upload_dir, tmp_path_factory) -> Iterator[AnonymousClient]:
    """Somebody at the page of an administrator, which has a run."""
    trainings = make_training_service(tmp_path_factory.mktemp("home"), checkpoints_dir)
    create_fake_run(trainings, "tiny-1", steps=(20,))
    access = Access.from_environment({"CTM_ADMIN_TOKEN": ADMIN_TOKEN}, "127.0.0.1")
    with serve_page(trainings, access) as address:
        yield AnonymousClient(address)
