"""How the events of the tabs are put to Gradio. None of this keeps anybody out: see `ui.auth.access`."""

from typing import Any

PRIVATE: dict[str, Any] = {"api_visibility": "private"}  # not listed in the page's API
SOON: dict[str, Any] = PRIVATE | {"queue": False}  # a full queue must not keep a run going
QUIET: dict[str, Any] = SOON | {"show_progress": "hidden"}  # every second, in every open tab
ACTS: dict[str, Any] = PRIVATE | {"concurrency_limit": 4, "concurrency_id": "training"}
MEASURES: dict[str, Any] = PRIVATE | {"concurrency_limit": 1, "concurrency_id": "measuring"}
ASKS: dict[str, Any] = PRIVATE | {"concurrency_limit": 8, "concurrency_id": "hub"}  # may wait for the Hub
