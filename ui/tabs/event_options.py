"""Options of Gradio events. None of them protects anything: see `ui.auth.access`."""

from typing import Any, TypeAlias

from gradio.blocks import Block

Updates: TypeAlias = dict[
    Block, Any
]  # what a handler returns: the new value or properties of each component it changes

PRIVATE_EVENT: dict[str, Any] = {"api_visibility": "private"}  # not listed in the page's API
UNQUEUED_EVENT: dict[str, Any] = PRIVATE_EVENT | {"queue": False}  # a full queue must not prevent stopping a run
SILENT_EVENT: dict[str, Any] = UNQUEUED_EVENT | {"show_progress": "hidden"}  # sent every second by every open page
OWNER_EVENT: dict[str, Any] = PRIVATE_EVENT | {"concurrency_limit": 4, "concurrency_id": "training"}
ESTIMATE_EVENT: dict[str, Any] = PRIVATE_EVENT | {"concurrency_limit": 1, "concurrency_id": "measuring"}
HUB_EVENT: dict[str, Any] = PRIVATE_EVENT | {"concurrency_limit": 8, "concurrency_id": "hub"}  # may block on the Hub
INFERENCE_EVENT: dict[str, Any] = {"concurrency_limit": 24, "concurrency_id": "inference", "show_progress": "minimal"}
