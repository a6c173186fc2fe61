"""HTTP client of an anonymous visitor, and the page that it uses."""

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
    """Return the value that a page sends for an uploaded file."""
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}, **more}


class AnonymousClient:
    """Anonymous visitor without a browser.

    Args:
        address: URL of the page.
        local_address: Loopback address from which the client connects.
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
        """Send one request in its own connection."""
        with self.connect() as client:
            return client.request(method, path, **more)

    def post(self, path: str, payload: Any, **headers: str) -> httpx.Response:
        return self.request("POST", f"/gradio_api/{path}", json=payload, headers=headers)

    def join_queue(self, event_id: int, data: list[Any], session: str = "") -> httpx.Response:
        """Queue an event."""
        session = session or secrets.token_hex(6)
        return self.post("queue/join", {"fn_index": event_id, "data": data, "session_hash": session})

    def read_events(self, session: str) -> list[dict[str, Any]]:
        """Return all messages of a session until its events have ended."""
        results, path = [], f"/gradio_api/queue/data?session_hash={session}"
        with suppress(httpx.RemoteProtocolError), self.connect() as client, client.stream("GET", path) as response:
            for line in response.iter_lines():
                if line.startswith("data:"):
                    results.append(json.loads(line[5:]))
        return results

    def call_event(self, event_id: int, data: list[Any], session: str = "") -> str:
        """Return the raw response to an event, through the queue or directly."""
        session = session or secrets.token_hex(6)
        if not next(event["queue"] for event in self.events if event["id"] == event_id):
            return self.post("run/predict", {"fn_index": event_id, "data": data, "session_hash": session}).text
        joined = self.join_queue(event_id, data, session)
        return json.dumps(self.read_events(session)) if joined.status_code == 200 else joined.text

    def upload(self, name: str, content: bytes, field: str = "files", **headers: str) -> httpx.Response:
        return self.request("POST", "/gradio_api/upload", files={field: (name, content)}, headers=headers)


@pytest.fixture(scope="module")
def upload_dir(tmp_path_factory) -> Iterator[Path]:
    """Yield the directory of uploads."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("uploads")
        patch.setenv("GRADIO_TEMP_DIR", str(directory))
        yield directory


@pytest.fixture(scope="module")
def anonymous_client(checkpoints_dir, upload_dir, tmp_path_factory) -> Iterator[AnonymousClient]:
    """Yield an anonymous client of a page that belongs to an administrator and has a run."""
    training_service = make_training_service(tmp_path_factory.mktemp("home"), checkpoints_dir)
    create_fake_run(training_service, "tiny-1", steps=(20,))
    access = Access.from_environment({"CTM_ADMIN_TOKEN": ADMIN_TOKEN}, "127.0.0.1")
    with serve_page(training_service, access) as address:
        yield AnonymousClient(address)
