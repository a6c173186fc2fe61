"""Sessions that call the page as a browser does, and a training service with runs in every state."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import gradio as gr
import httpx
import pytest

from tests.ui.run_fixtures import ADMIN_TOKEN, create_fake_run, make_training_service
from training.publishing.upload_worker import UploadWorker
from ui.auth.access import Access
from ui.services.training_service import TrainingService

STATE_BY_RUN = {"going-1": "running", "waiting-1": "queued", "stopped-1": "cancelled", "done-1": "succeeded"}


class RecordingTrainingService(TrainingService):
    """Training service that records its calls."""

    def __init__(self, *args: Any, **more: Any):
        super().__init__(*args, **more)
        self.calls: list[str] = []


def record_calls(name: str) -> Callable[..., Any]:
    def call(self: RecordingTrainingService, *args: Any, **more: Any) -> Any:
        self.calls.append(name)
        return getattr(TrainingService, name)(self, *args, **more)

    return call


for _name in ("start_run", "stop", "kill", "resume", "delete", "publish", "create_archive", "estimate"):
    setattr(RecordingTrainingService, _name, record_calls(_name))


class GradioSession:
    """Client with its own session that calls the page as a browser does."""

    def __init__(self, address: str, blocks: gr.Blocks, headers: dict[str, str] | None = None):
        self.blocks, self.session_hash = blocks, uuid.uuid4().hex
        self.http = httpx.Client(base_url=address, headers=headers, timeout=60)

    def load_tabs(self) -> None:
        """Load the page and each of its tabs, so that the session knows the choices of the dropdowns."""
        for name in ("RunDashboard.show", "NewRunForm._refresh_choices"):
            self.call_directly(next(fn for fn in self.blocks.fns.values() if get_handler_name(fn) == name))

    def build_inputs(self, fn: Any, run_id: str = "", **values: Any) -> list[Any]:
        """Return plausible inputs of an endpoint; `values` are named after element ids, with _ for -."""
        named = {part: str(part.elem_id).replace("-", "_") for part in fn.inputs}
        assert values.keys() <= set(named.values()), "no such field"
        defaults = {
            "runs": {"selected": [run_id] if run_id else [], "shown": run_id, "has_log": True},
            "samples": {"run": run_id, "step": 20},
            "step": "newest",
            "source": "tiny",
            "hardware": "local",
            "hub_source": "bob/parity",
            "repo": "alice/new",
        } | values
        return [
            defaults[named[part]] if named[part] in defaults else None if isinstance(part, gr.State) else part.value
            for part in fn.inputs
        ]

    def build_payload(self, fn: Any, run_id: str, values: dict[str, Any]) -> dict[str, Any]:
        event_data = {"index": [0, 0], "value": "Train", "row_value": [run_id], "selected": True}
        return {
            "fn_index": fn._id,
            "data": self.build_inputs(fn, run_id, **values),
            "session_hash": self.session_hash,
            "event_data": event_data,
        }

    def call_directly(self, fn: Any, run_id: str = "", **values: Any) -> httpx.Response:
        """Call an endpoint without the queue."""
        return self.http.post("/gradio_api/run/predict", json=self.build_payload(fn, run_id, values))

    def call_queued(self, fn: Any, run_id: str = "", **values: Any) -> dict[str, Any]:
        """Call an endpoint through the queue as the page does. Return the final message."""
        event = self.http.post("/gradio_api/queue/join", json=self.build_payload(fn, run_id, values)).json()["event_id"]
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session_hash}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("msg") == "process_completed" and message["event_id"] == event:
                    return message
        raise AssertionError("the server did not answer")

    def press_button(self, button: str, run_id: str = "", **values: Any) -> list[Any]:
        """Press a button. Return the outputs."""
        message = self.call_queued(find_handler(self.blocks, button), run_id, **values)
        assert message["success"], message["output"]
        return message["output"]["data"]

    def get_button_error(self, button: str, run_id: str = "", **values: Any) -> str:
        message = self.call_queued(find_handler(self.blocks, button), run_id, **values)
        assert not message["success"], message["output"]
        return message["output"]["error"]


def get_handler_name(fn: Any) -> str:
    return fn.fn.__qualname__ if fn.fn else ""


def find_handler(blocks: gr.Blocks, button: str) -> Any:
    """Return the handler of the component with this element id."""
    component_ids = {component_id for component_id, block in blocks.blocks.items() if block.elem_id == button}
    return next(fn for fn in blocks.fns.values() if fn.fn and component_ids & {block for block, _ in fn.targets})


def make_access(mode: str, environment: dict[str, str]) -> Access:
    match mode:
        case "token":
            return Access.from_environment({"CTM_ADMIN_TOKEN": ADMIN_TOKEN}, "0.0.0.0")
        case "local":
            return Access.from_environment({}, "127.0.0.1")
        case "space":
            return Access.from_environment(environment, "0.0.0.0")
    return Access.from_environment({}, "0.0.0.0")


@pytest.fixture
def recording_service(tmp_path, checkpoints_dir, hub) -> RecordingTrainingService:
    """Return a training service with runs in every state and a Hub. No job changes its state by itself."""
    plain = make_training_service(tmp_path, checkpoints_dir, models={"endpoint": hub.url})
    upload_worker = UploadWorker(lambda: [], plain.catalog.owner_store)
    service = RecordingTrainingService(plain.scheduler, plain.catalog, plain.recipes.recipes_dir, upload_worker)
    for run_id, state in STATE_BY_RUN.items():
        create_fake_run(service, run_id, state, steps=(10, 20))
    return service
