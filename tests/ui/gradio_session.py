"""Programs that visit the page as a browser does, and a Train tab for them with runs in every state."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import gradio as gr
import httpx
import pytest

from tests.ui.run_fixtures import SECRET, pretend, trainings_in
from training.publishing.upload_worker import UploadWorker
from ui.auth.access import Access
from ui.services.training_service import TrainingService

RUNS = {"going-1": "running", "waiting-1": "queued", "stopped-1": "cancelled", "done-1": "succeeded"}


class Recorded(TrainingService):
    """Trainings that note what was really asked of them."""

    def __init__(self, *given: Any, **more: Any):
        super().__init__(*given, **more)
        self.acts: list[str] = []


def recorded(name: str) -> Callable[..., Any]:
    def act(self: Recorded, *given: Any, **more: Any) -> Any:
        self.acts.append(name)
        return getattr(TrainingService, name)(self, *given, **more)

    return act


for _name in ("start", "stop", "kill", "resume", "delete", "publish", "pack", "estimate"):
    setattr(Recorded, _name, recorded(_name))


class Visitor:
    """A program that speaks to the page as a browser does, in a session of its own."""

    def __init__(self, address: str, blocks: gr.Blocks, headers: dict[str, str] | None = None):
        self.blocks, self.session = blocks, uuid.uuid4().hex
        self.http = httpx.Client(base_url=address, headers=headers, timeout=60)

    def prepare(self) -> None:
        """Open the page and each of its rooms, so that the session knows what there is to choose from."""
        for name in ("Watch.show", "compare_room.<locals>.list_anew", "Form._list_anew"):
            self.direct(next(fn for fn in self.blocks.fns.values() if name_of(fn) == name))

    def fill(self, fn: Any, id: str = "", **given: Any) -> list[Any]:
        """Plausible values for an endpoint's inputs; `given` by the elem_id of a component, with _ for -."""
        named = {part: str(part.elem_id).replace("-", "_") for part in fn.inputs}
        assert given.keys() <= set(named.values()), "no such field"
        usual = {
            "run": id or None,
            "step": "newest",
            "source": "tiny",
            "compared": [id] if id else [],
            "place": "here",
            "from_hub": "bob/parity",
            "repo": "alice/new",
        } | given
        return [
            usual[named[part]] if named[part] in usual else None if isinstance(part, gr.State) else part.value
            for part in fn.inputs
        ]

    def body(self, fn: Any, id: str, given: dict[str, Any]) -> dict[str, Any]:
        picked = {"index": [0, 0], "value": "Train", "row_value": [id], "selected": True}
        return {
            "fn_index": fn._id,
            "data": self.fill(fn, id, **given),
            "session_hash": self.session,
            "event_data": picked,
        }

    def direct(self, fn: Any, id: str = "", **given: Any) -> httpx.Response:
        """Without waiting in line."""
        return self.http.post("/gradio_api/run/predict", json=self.body(fn, id, given))

    def queued(self, fn: Any, id: str = "", **given: Any) -> dict[str, Any]:
        """In line, as the page does it: what the server says at the end."""
        event = self.http.post("/gradio_api/queue/join", json=self.body(fn, id, given)).json()["event_id"]
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                said = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if said.get("msg") == "process_completed" and said["event_id"] == event:
                    return said
        raise AssertionError("the server did not answer")

    def pressed(self, button: str, id: str = "", **given: Any) -> list[Any]:
        """What pressing a button answers."""
        said = self.queued(triggered(self.blocks, button), id, **given)
        assert said["success"], said["output"]
        return said["output"]["data"]

    def refused(self, button: str, id: str = "", **given: Any) -> str:
        said = self.queued(triggered(self.blocks, button), id, **given)
        assert not said["success"], said["output"]
        return said["output"]["error"]


def name_of(fn: Any) -> str:
    return fn.fn.__qualname__ if fn.fn else ""


def triggered(blocks: gr.Blocks, button: str) -> Any:
    """What pressing a component of this elem_id calls."""
    places = {id for id, block in blocks.blocks.items() if block.elem_id == button}
    return next(fn for fn in blocks.fns.values() if fn.fn and places & {block for block, _ in fn.targets})


def access_of(mode: str, environment: dict[str, str]) -> Access:
    match mode:
        case "token":
            return Access.from_environment({"CTM_ADMIN_TOKEN": SECRET}, "0.0.0.0")
        case "local":
            return Access.from_environment({}, "127.0.0.1")
        case "space":
            return Access.from_environment(environment, "0.0.0.0")
    return Access.from_environment({}, "0.0.0.0")


@pytest.fixture
def tab(tmp_path, checkpoints, hub) -> Recorded:
    """Trainings with runs in every state, and a Hub to publish to; nothing of it moves by itself."""
    plain = trainings_in(tmp_path, checkpoints, models={"endpoint": hub.url})
    courier = UploadWorker(plain.scheduler.runs_dir, plain.catalog.owner_store)
    made = Recorded(plain.scheduler, plain.catalog, plain.recipes_dir, courier)
    for id, state in RUNS.items():
        pretend(made, id, state, steps=(10, 20))
    return made
