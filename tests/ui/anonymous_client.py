"""Somebody who asks the page as anybody may, over the wire, and the page that they ask."""

import json
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ui.run_fixtures import SECRET, pretend, served, trainings_in
from ui.auth.access import Access


def file_data(path: str | Path, **more: Any) -> dict[str, Any]:
    """A file as a page names one that it has sent before."""
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}, **more}


class Stranger:
    """Somebody who talks to the page without a browser.

    Args:
        address: of the page.
        place: where on this machine they come from.
    """

    def __init__(self, address: str, place: str = "127.0.0.1"):
        self.address, self.place = address, place
        self.config = self.ask("GET", "/config").json()
        self.events = self.config["dependencies"]
        self.number = {event["api_name"]: event["id"] for event in self.events}

    def connect(self) -> httpx.Client:
        transport = httpx.HTTPTransport(verify=False, local_address=self.place)
        return httpx.Client(base_url=self.address, transport=transport, timeout=30)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request, in a connection of its own."""
        with self.connect() as client:
            return client.request(method, path, **more)

    def post(self, path: str, said: Any, **headers: str) -> httpx.Response:
        return self.ask("POST", f"/gradio_api/{path}", json=said, headers=headers)

    def join(self, number: int, data: list[Any], session: str = "") -> httpx.Response:
        """Put an event in line."""
        session = session or secrets.token_hex(6)
        return self.post("queue/join", {"fn_index": number, "data": data, "session_hash": session})

    def told(self, session: str) -> list[dict[str, Any]]:
        """All that a session is told until its events are over."""
        found, path = [], f"/gradio_api/queue/data?session_hash={session}"
        with suppress(httpx.RemoteProtocolError), self.connect() as client, client.stream("GET", path) as answer:
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    found.append(json.loads(line[5:]))
        return found

    def answer(self, number: int, data: list[Any], session: str = "") -> str:
        """What comes of an event, through the queue or beside it, as it came."""
        session = session or secrets.token_hex(6)
        if not next(event["queue"] for event in self.events if event["id"] == number):
            return self.post("run/predict", {"fn_index": number, "data": data, "session_hash": session}).text
        joined = self.join(number, data, session)
        return json.dumps(self.told(session)) if joined.status_code == 200 else joined.text

    def upload(self, name: str, content: bytes, field: str = "files", **headers: str) -> httpx.Response:
        return self.ask("POST", "/gradio_api/upload", files={field: (name, content)}, headers=headers)


@pytest.fixture(scope="module")
def uploads(tmp_path_factory) -> Iterator[Path]:
    """Where what strangers upload is kept."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("uploads")
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def stranger(checkpoints, uploads, tmp_path_factory) -> Iterator[Stranger]:
    """Somebody at the page of an administrator, which has a run."""
    trainings = trainings_in(tmp_path_factory.mktemp("home"), checkpoints)
    pretend(trainings, "tiny-1", steps=(20,))
    access = Access.from_environment({"CTM_ADMIN_TOKEN": SECRET}, "127.0.0.1")
    with served(trainings, access) as address:
        yield Stranger(address)
