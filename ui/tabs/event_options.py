"""How the events of the tabs are put to Gradio. None of this keeps anybody out: see `ui.auth.access`."""

from typing import Any

PRIVATE_EVENT: dict[str, Any] = {"api_visibility": "private"}  # not listed in the page's API
UNQUEUED_EVENT: dict[str, Any] = PRIVATE_EVENT | {"queue": False}  # a full queue must not keep a run going
SILENT_EVENT: dict[str, Any] = UNQUEUED_EVENT | {"show_progress": "hidden"}  # every second, in every open tab
OWNER_EVENT: dict[str, Any] = PRIVATE_EVENT | {"concurrency_limit": 4, "concurrency_id": "training"}
ESTIMATE_EVENT: dict[str, Any] = PRIVATE_EVENT | {"concurrency_limit": 1, "concurrency_id": "measuring"}
HUB_EVENT: dict[str, Any] = PRIVATE_EVENT | {"concurrency_limit": 8, "concurrency_id": "hub"}  # may wait for the Hub
