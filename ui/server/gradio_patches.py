"""All uses of Gradio internals, for the pinned version alone.

Every function here touches attributes that Gradio does not document. Importing this module under another version fails, so
an upgrade forces a review.

Gradio 6.31 copies the configuration of the whole page for every visitor and stores in it what they send and receive, a
third of a megabyte each, for links to a session. This page offers no such links: `SlimSessionState` stores `gr.State` values
only.
"""

from collections.abc import Iterable
from copy import copy
from typing import Any

import gradio as gr
from fastapi import FastAPI
from gradio import state_holder
from gradio.utils import LRUCache
from starlette.requests import HTTPConnection

GRADIO_VERSION = "6.31.0"
assert gr.__version__ == GRADIO_VERSION, (
    f"ui/server/gradio_patches.py fits Gradio {GRADIO_VERSION}, but {gr.__version__} is installed: "
    "install requirements.txt, or review the module for the new version"
)

MAX_UNREAD_SESSIONS = 300  # sessions whose messages wait to be fetched; Gradio keeps 2,000
MAX_SESSION_STATES = 1_000  # sessions whose state is stored; the least recently used is dropped first
OriginalSessionState = state_holder.SessionState


class SlimSessionState(OriginalSessionState):
    """Session state that stores the `gr.State` values of one visitor and nothing else."""

    def __init__(self, blocks: gr.Blocks) -> None:
        self.blocks_config = copy(blocks.default_config)
        self.config_values: dict[int, Any] = {}
        self.state_data: dict[int, Any] = {}
        self._state_ttl: dict[int, Any] = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = 3600

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        self.config_values.clear()

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


def install_session_patch(blocks: gr.Blocks) -> None:
    """Make a page store little of each visitor. Must run before the page is mounted."""
    state_holder.SessionState = SlimSessionState  # type: ignore[misc] # the patch replaces a class
    blocks.state_session_capacity = MAX_SESSION_STATES
    blocks._queue.pending_messages_per_session = LRUCache(MAX_UNREAD_SESSIONS)


def mark_as_launched(blocks: gr.Blocks) -> None:
    """Mark a page as launched. Gradio takes a mounted page for not launched, and then serves any file of the host."""
    blocks.has_launched = True


def get_queued_requests(blocks: gr.Blocks) -> Iterable[HTTPConnection]:
    """Return the requests of all events that are queued or running."""
    return [event.request for event in list(blocks._queue.event_ids_to_events.values())]


def close_event_streams(app: FastAPI) -> None:
    """End the event streams of all open pages. The server waits for open streams before it ends."""
    for route in app.routes:
        stop_event = getattr(getattr(route, "app", None), "stop_event", None)
        if stop_event:
            stop_event.set()
