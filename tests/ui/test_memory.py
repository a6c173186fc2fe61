"""Test that memory does not grow: after a thousand predictions, and with a hundred open pages."""

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
    """Return the memory of the app, in MB."""
    return psutil.Process(pid).memory_info().rss // MB


def run_inference(client: AnonymousClient, session: str = "") -> None:
    assert '"success": true' in client.call_event(
        client.event_ids["think_sequence"], [BITS, "parity-16", "ticks=8"], session
    )


@pytest.mark.slow
def test_memory_stays_where_it_is(tmp_path):
    settings = {"CTM_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "GRADIO_SERVER_PORT": "0"}
    with run_server("app.py", **settings) as served:
        visitor, pid = AnonymousClient(served.address), served.process.pid
        for _ in range(100):
            run_inference(visitor)
        figures = {"before": get_resident_mb(pid)}
        for _ in range(1_000):
            run_inference(visitor)
        figures["after 1,000 thoughts"] = get_resident_mb(pid)
        with ExitStack() as open_pages:
            for _ in range(100):
                session = secrets.token_hex(6)
                assert visitor.request("GET", "/").status_code == 200
                beat = httpx.stream("GET", f"{served.address}/gradio_api/heartbeat/{session}", timeout=None)
                assert open_pages.enter_context(beat).status_code == 200
                run_inference(visitor, session)
            figures["with 100 pages open"] = get_resident_mb(pid)
        visitor.upload("a.png", Path("data/examples/digit-3.png").read_bytes())
        figures["after they were closed"] = get_resident_mb(pid)
        print(figures)  # shown by pytest -s
        assert figures["after 1,000 thoughts"] < figures["before"] + 60
        assert figures["with 100 pages open"] < figures["before"] + 150


def test_what_is_kept_of_a_visitor_has_the_form_that_gradio_expects():
    with gr.Blocks() as page:
        state, _ = gr.State(7), gr.Textbox("shown")
    ours, theirs = SlimSessionState(page), OriginalSessionState(page)
    assert vars(ours).keys() == vars(theirs).keys(), "Gradio changed: look at what it keeps now"
    ours[state._id] = 8
    assert ours[state._id] == 8 and not ours.config_values and theirs.config_values
