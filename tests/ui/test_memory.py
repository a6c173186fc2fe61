"""Test the memory of the app after a thousand predictions and with a hundred open pages."""

import secrets
from contextlib import ExitStack
from pathlib import Path

import gradio as gr
import httpx
import psutil
import pytest

from tests.ui.anonymous_client import AnonymousClient
from tests.ui.server.test_serve import run_server
from ui.server.gradio_patches import OriginalSessionState, SlimSessionState

MB = 2**20
BITS = "1011001110110010"


def get_resident_mb(pid: int) -> int:
    """Return the resident memory of a process, in MB."""
    return psutil.Process(pid).memory_info().rss // MB


def run_inference(client: AnonymousClient, session: str = "") -> None:
    assert '"success": true' in client.call_event(
        client.event_ids["think_sequence"], [BITS, "parity-16", "ticks=8"], session
    )


@pytest.mark.slow
def test_memory_does_not_grow_with_predictions_or_open_pages(tmp_path):
    settings = {"CTM_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "GRADIO_SERVER_PORT": "0"}
    with run_server("app.py", **settings) as server:
        client, pid = AnonymousClient(server.address), server.process.pid
        for _ in range(100):
            run_inference(client)
        memory_mb = {"before": get_resident_mb(pid)}
        for _ in range(1_000):
            run_inference(client)
        memory_mb["after 1,000 predictions"] = get_resident_mb(pid)
        with ExitStack() as open_pages:
            for _ in range(100):
                session = secrets.token_hex(6)
                assert client.request("GET", "/").status_code == 200
                heartbeat = httpx.stream("GET", f"{server.address}/gradio_api/heartbeat/{session}", timeout=None)
                assert open_pages.enter_context(heartbeat).status_code == 200
                run_inference(client, session)
            memory_mb["with 100 pages open"] = get_resident_mb(pid)
        client.upload("a.png", Path("data/examples/digit-3.png").read_bytes())
        memory_mb["after closing the pages"] = get_resident_mb(pid)
        print(memory_mb)  # shown by pytest -s
        assert memory_mb["after 1,000 predictions"] < memory_mb["before"] + 60
        assert memory_mb["with 100 pages open"] < memory_mb["before"] + 150


def test_slim_session_state_has_the_attributes_of_the_gradio_session_state():
    with gr.Blocks() as page:
        state, _ = gr.State(7), gr.Textbox("shown")
    slim_state, gradio_state = SlimSessionState(page), OriginalSessionState(page)
    assert vars(slim_state).keys() == vars(gradio_state).keys(), (
        "SessionState of Gradio has other attributes: update SlimSessionState"
    )
    slim_state[state._id] = 8
    assert slim_state[state._id] == 8 and not slim_state.config_values and gradio_state.config_values
