"""Test predictions of the server: short ones at once, long ones tick by tick."""

import time
from collections.abc import Iterator

import gradio as gr
import pytest

from tests.tick_gate import TickGate
from tests.ui.conftest import make_checkpoint, make_inference_service
from ui.services import running_predictions
from ui.services.running_predictions import FAILED_MESSAGE
from ui.tabs import think_server
from ui.tabs.think import ThinkTab
from ui.tabs.think_server import LOST_MESSAGE, ServerPrediction

TEXT = "1011001110001011"
POLICY = "ticks=6"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> ServerPrediction:
    directory = tmp_path_factory.mktemp("checkpoints")
    make_checkpoint(directory / "parity", "parity")
    service = make_inference_service(directory)
    with gr.Blocks():
        return ThinkTab(service, service.get_checkpoint_info("parity")).server


@pytest.fixture
def gate(server, monkeypatch) -> Iterator[TickGate]:
    """Yield a gate before the model. Unrolls count as long from the beginning."""
    monkeypatch.setattr(think_server, "FIRST_UPDATE_S", 0.0)
    monkeypatch.setattr(running_predictions, "UPDATE_INTERVAL_S", 0.01)
    new_gate = TickGate(monkeypatch, server.inference_service._models.load("parity").pipeline.model)
    yield new_gate
    new_gate.open()
    assert not len(server._running), "every prediction has ended"


def start(server: ServerPrediction, gate: TickGate, former_key: str | None = None, text: str = TEXT) -> str:
    """Start a long prediction of which one tick has run; return its key."""
    gate.let_pass(1)
    updates = server.run(lambda: text, "parity", POLICY, None, former_key)
    record = updates[server.views.thought]
    assert record["is_complete"] is False and updates[server.stop_button].visible
    return updates[server.key]


def read_until(server: ServerPrediction, updates: Iterator[dict], ticks: int) -> dict:
    """Read updates until a record has so many ticks."""
    for update in updates:
        if update[server.views.thought]["ticks"] == ticks:
            return update[server.views.thought]
    raise AssertionError(f"no record has {ticks} ticks")


def remove_run_keys(record: dict) -> dict:
    return {key: value for key, value in record.items() if key not in ("id", "milliseconds")}


def test_a_short_prediction_is_complete_at_once(server):
    updates = server.run(lambda: TEXT, "parity", POLICY)
    expected_keys = set(server.shown) - {server.views.options}
    assert updates.keys() == expected_keys, "neither the button nor the key of a long prediction"
    expected = server.inference_service.predict("parity", TEXT, POLICY)
    assert remove_run_keys(updates[server.views.thought]) == remove_run_keys(expected)


def test_a_problem_with_the_policy_appears_at_the_policy_and_opens_its_section(server):
    updates = server.run(lambda: TEXT, "parity", "energy<<")
    views = server.views
    assert "not a halting rule" in updates[views.policy_problem]["problem"] and updates[views.problem] == {}
    assert updates[views.options].open is True
    updates = server.run(lambda: "10x1", "parity", POLICY)
    assert "0 and 1 only" in updates[views.problem]["problem"] and views.policy_problem not in updates


def test_a_long_prediction_shows_its_ticks_and_then_the_result_of_a_short_one(server, gate):
    updates = server.follow(start(server, gate), None)
    assert read_until(server, updates, 1)["sentence"] == "Computing: tick 1 of at most 6."
    gate.let_pass(2)
    assert len(read_until(server, updates, 3)["certainty"]) == 3
    gate.open()
    *_, last = updates
    assert last[server.stop_button].visible is False
    expected = server.inference_service.predict("parity", TEXT, POLICY)
    assert remove_run_keys(last[server.views.thought]) == remove_run_keys(expected)


def test_a_prediction_that_shares_the_processor_waits_for_its_result(server, monkeypatch):
    monkeypatch.setattr(think_server, "FIRST_UPDATE_S", 0.0)
    monkeypatch.setattr(server, "_num_first_events", 1)  # another visitor's prediction runs
    updates = server.run(lambda: TEXT, "parity", POLICY)
    assert updates[server.views.thought].get("is_complete") is not False and server.key not in updates
    assert server._num_first_events == 1


def test_a_stopped_prediction_keeps_its_ticks(server, gate):
    key = start(server, gate)
    updates = server.follow(key, None)
    gate.let_pass(1)
    read_until(server, updates, 2)
    server.stop(key)
    *_, last = updates
    assert last[server.views.thought]["sentence"] == "Stopped after 2 of 6 ticks."
    assert last[server.views.thought]["is_stopped"] and last[server.stop_button].visible is False
    gate.open()
    time.sleep(0.05)
    assert len(gate.batch_sizes) == 3, "the model ends the tick that it runs and does no further work"


def test_another_prediction_ends_the_former_one_without_showing_it(server, gate):
    former_key = start(server, gate)
    former = server.follow(former_key, None)
    read_until(server, former, 1)
    gate.let_pass(1)
    key = start(server, gate, former_key, TEXT[::-1])
    assert list(former)[-1] == {}, "Gradio repeats the last updates: they must change nothing"
    gate.open()
    *_, last = server.follow(key, None)
    assert last[server.views.thought]["input"]["items"] == list(TEXT[::-1])


def test_a_visitor_who_leaves_ends_the_prediction(server, gate):
    key = start(server, gate)
    updates = server.follow(key, None)
    read_until(server, updates, 1)
    updates.close()  # what Gradio does once the page is closed
    gate.let_pass(1)
    gate.open()
    time.sleep(0.05)
    assert len(gate.batch_sizes) <= 3 and server._running.get(key) is None


def test_an_error_between_two_ticks_is_one_sentence(server, gate, caplog):
    updates = server.follow(start(server, gate), None)
    read_until(server, updates, 1)
    gate.fail(RuntimeError("no memory"))
    *_, last = updates
    assert last[server.views.thought] == {"problem": FAILED_MESSAGE, "checkpoint": "parity"}
    assert last[server.stop_button].visible is False and "no memory" in caplog.text


def test_a_prediction_that_has_ended_cannot_be_followed(server):
    (updates,) = server.follow("gone", None)
    assert updates[server.views.thought] == {"problem": LOST_MESSAGE}
    assert updates[server.stop_button].visible is False
    server.stop("gone")
    assert server.leave(None).visible is False


def test_the_number_of_long_predictions_is_limited(server, gate, monkeypatch):
    monkeypatch.setattr(running_predictions, "MAX_RUNNING", 2)
    first = start(server, gate)
    others = [start(server, gate, text=text) for text in ("10", "11")]
    assert server._running.get(first) is None and len(server._running) == 2
    gate.open()
    for key in others:
        assert list(server.follow(key, None))[-1][server.views.thought]["verdict"]
