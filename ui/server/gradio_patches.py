"""What Gradio remembers of a visitor: no more than the page needs.

Gradio 6.31 copies the configuration of the whole page for every visitor and keeps in it what they give and get, a third of a
megabyte each, for links to a session. This page offers none.
"""

from copy import copy
from typing import Any

import gradio as gr
from gradio import state_holder
from gradio.utils import LRUCache

MAX_UNREAD_SESSIONS = 300  # sessions whose answers wait to be fetched; Gradio keeps 2,000
MAX_SESSION_STATES = 1_000  # whose states are kept; the one that was quiet for longest goes first
OriginalSessionState = state_holder.SessionState


class SlimSessionState(OriginalSessionState):
    """The states of one visitor, and nothing else."""

    def __init__(self, blocks: gr.Blocks):
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
    """Let this page keep little of its visitors; called before it is mounted."""
    state_holder.SessionState = SlimSessionState
    blocks.state_session_capacity = MAX_SESSION_STATES
    blocks._queue.pending_messages_per_session = LRUCache(MAX_UNREAD_SESSIONS)
