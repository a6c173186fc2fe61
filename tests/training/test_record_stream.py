"""Test records that are read while the unroll runs: the last one is the record of the whole unroll."""

import json
import time

import pytest

from inference.batched_unroll import InferenceCancelled
from tests.paths import ROOT
from tests.tick_gate import TickGate
from training.pipeline import Pipeline, pipeline
from training.record_stream import RecordStream

NAMES = ("parity-16", "sorting-10", "arithmetic")
RUN_KEYS = ("id", "milliseconds")  # these differ between two runs


@pytest.fixture(scope="module", params=NAMES)
def model(request) -> Pipeline:
    return pipeline(ROOT / "checkpoints" / request.param)


def get_input(model: Pipeline) -> str:
    return model.task.generate_input(1)


def remove_run_keys(record: dict) -> dict:
    return {key: value for key, value in record.items() if key not in RUN_KEYS}


def wait_for_tick(stream: RecordStream, tick: int) -> dict:
    deadline = time.monotonic() + 20
    while (record := stream.build_partial_record())["ticks"] < tick:
        assert time.monotonic() < deadline
        stream.wait(0.001)
    return record


def test_the_last_record_is_that_of_an_unroll_that_is_not_streamed(model, monkeypatch):
    expected = remove_run_keys(model.build_record(get_input(model), "", "one"))
    fast = model.start_record(get_input(model), "", "one")
    assert fast.run(60.0) and remove_run_keys(fast.build_record()) == expected
    gate = TickGate(monkeypatch, model.model)
    gate.let_pass(1)
    slow = model.start_record(get_input(model), "", "one")
    assert not slow.run(0.0)
    gate.open()
    assert slow.wait(20.0) and remove_run_keys(slow.build_record()) == expected


def test_a_partial_record_has_the_first_ticks_and_no_verdict(model, monkeypatch):
    expected = model.build_record(get_input(model), "ticks=5")
    gate = TickGate(monkeypatch, model.model)
    stream = model.start_record(get_input(model), "ticks=5")
    waiting = stream.build_partial_record()
    assert (waiting["ticks"], waiting["sentence"]) == (0, "Waiting for the first tick.")
    for tick in range(1, 5):
        gate.let_pass(1)
        if tick == 1:
            stream.run(0.0)
        record = wait_for_tick(stream, tick)
        assert json.loads(json.dumps(record)) == record
        assert record["sentence"] == f"Computing: tick {tick} of at most {expected['iterations']}."
        assert record["id"] == waiting["id"] and record["is_complete"] is False and record["is_stopped"] is False
        assert record["answers_by_tick"][0] == expected["answers_by_tick"][0]
        for key in ("certainty", "energy"):
            assert record[key] == (expected[key][:tick] if expected[key] else None)
        for key in ("input", "lines", "policy", "iterations", "checkpoint", "task"):
            assert record[key] == expected[key]
        assert not {"verdict", "p_correct", "probability", "halted_by", "truth"} & record.keys()
    gate.open()
    assert stream.wait(20.0) and stream.build_record()["id"] == waiting["id"]


def test_a_cancelled_unroll_keeps_its_ticks(model, monkeypatch):
    gate = TickGate(monkeypatch, model.model)
    gate.let_pass(2)
    stream = model.start_record(get_input(model), "ticks=5")
    stream.run(0.0)
    wait_for_tick(stream, 2)
    stream.cancel()
    gate.let_pass(1)
    assert stream.wait(20.0) and stream.is_cancelled
    with pytest.raises(InferenceCancelled):
        stream.build_record()
    record = stream.build_partial_record()
    assert record["sentence"] == f"Stopped after 3 of {record['iterations']} ticks." and record["is_stopped"]
    gate.open()
    assert len(gate.batch_sizes) == 3, "no tick runs after it was cancelled"


def test_an_unroll_that_nobody_reads_is_cancelled(model, monkeypatch):
    monkeypatch.setattr("training.record_stream.MAX_UNREAD_S", 0.0)
    gate = TickGate(monkeypatch, model.model)
    gate.let_pass(2)
    stream = model.start_record(get_input(model), "ticks=5")
    stream.run(0.0)
    gate.open()
    deadline = time.monotonic() + 20
    while not stream.is_cancelled and time.monotonic() < deadline:
        time.sleep(0.001)
    assert stream.is_cancelled and len(gate.batch_sizes) < 5


def test_invalid_input_is_reported_before_anything_runs(model):
    with pytest.raises(ValueError, match="needs a text"):
        model.start_record([[0.0]], "", "one")
    with pytest.raises(ValueError, match="not a halting rule"):
        model.start_record(get_input(model), "never")
