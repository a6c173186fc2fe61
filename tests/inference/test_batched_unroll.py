"""Test requests that are read and cancelled while they run."""

import time

import pytest
import torch

from inference import Engine, Recorder, parse
from inference.batched_unroll import EXPIRED_MESSAGE, InferenceCancelled, PendingRequest
from inference.dynamic_batcher import DynamicBatcher
from inference.engine import ResultCollector
from tests.inference.test_dynamic_batcher import make_inputs, model
from tests.tick_gate import TickGate

__all__ = ["model"]
POLICY = parse("ticks=8")


@pytest.fixture
def gate(model, monkeypatch) -> TickGate:
    return TickGate(monkeypatch, model)


def wait_for_ticks(request: PendingRequest, count: int) -> None:
    deadline = time.monotonic() + 20
    while request.num_ticks < count:
        assert time.monotonic() < deadline, f"{request.num_ticks} of {count} ticks ran"
        time.sleep(0.001)


def start_batch(batcher: DynamicBatcher, gate: TickGate, count: int) -> list[PendingRequest]:
    """Start requests of one batch and let two ticks pass."""
    requests = [batcher.start(inputs, POLICY) for inputs in make_inputs(count)]
    gate.let_pass(2)
    assert not batcher.run_for(requests[0], 0.0)
    wait_for_ticks(requests[0], 2)
    return requests


def assert_equal_to_single_run(model, request: PendingRequest, inputs: torch.Tensor) -> None:
    recorder = Recorder(8)
    expected = Engine(model, POLICY).run(inputs, recorder)
    result = request.get_result()
    for name in ("answer", "certainty", "energy", "ticks", "answer_tick"):
        torch.testing.assert_close(getattr(result.engine_result, name), getattr(expected, name))
    for channel in recorder.channels:
        torch.testing.assert_close(
            torch.tensor(result.recorder.get_channel(channel)), torch.tensor(recorder.get_channel(channel))
        )


def test_a_short_request_is_done_in_the_thread_of_its_caller(model):
    batcher = DynamicBatcher(model)
    inputs = make_inputs(1)[0]
    request = batcher.start(inputs, POLICY)
    assert batcher.run_for(request, 60.0)
    assert_equal_to_single_run(model, request, inputs)


def test_a_long_request_can_be_read_while_a_background_thread_runs_it(model, gate):
    batcher = DynamicBatcher(model)
    (request,) = start_batch(batcher, gate, 1)
    partial = request.recorder.copy_first(2)
    gate.let_pass(1)
    wait_for_ticks(request, 3)
    assert len(partial.logits) == 2 and {len(values) for values in partial.channels.values()} == {2}
    assert not request.done
    gate.open()
    assert request.wait(20.0)
    assert_equal_to_single_run(model, request, make_inputs(1)[0])
    whole = request.get_result().recorder
    for channel, values in partial.channels.items():
        torch.testing.assert_close(torch.tensor(values[1]), torch.tensor(whole.channels[channel][1]))
    assert int(batcher.submit(make_inputs(1)[0], POLICY).engine_result.ticks) == 8, "the model is free again"


def test_a_cancelled_request_frees_its_slot_and_the_others_finish(model, gate):
    batcher = DynamicBatcher(model)
    requests = start_batch(batcher, gate, 3)
    batcher.cancel(requests[1])
    gate.let_pass(1)
    assert requests[1].wait(20.0), "it ends before the others"
    assert not requests[0].done and not requests[2].done
    gate.open()
    assert requests[0].wait(20.0) and requests[2].wait(20.0)
    with pytest.raises(InferenceCancelled):
        requests[1].get_result()
    assert requests[1].num_ticks == 3 and len(requests[1].recorder.logits) == 3
    assert gate.batch_sizes[:3] == [3, 3, 3] and gate.batch_sizes[-1] == 2
    for index in (0, 2):
        assert_equal_to_single_run(model, requests[index], make_inputs(3)[index])


def test_a_batch_ends_when_all_its_requests_are_cancelled(model, gate):
    batcher = DynamicBatcher(model)
    requests = start_batch(batcher, gate, 2)
    for request in requests:
        batcher.cancel(request)
    gate.let_pass(1)
    assert all(request.wait(20.0) for request in requests)
    gate.open()
    assert int(batcher.submit(make_inputs(1)[0], parse("ticks=1")).engine_result.ticks) == 1
    assert gate.batch_sizes == [2, 2, 2, 1]


def test_a_cancelled_request_of_the_queue_does_not_run(model, gate):
    batcher = DynamicBatcher(model, max_batch_size=1)
    first, second = start_batch(batcher, gate, 2)
    assert not batcher.run_for(second, 0.0)
    batcher.cancel(second)
    assert second.wait(1.0) and second.num_ticks == 0
    gate.open()
    assert first.wait(20.0) and len(gate.batch_sizes) == 8 and not batcher._queue


def test_a_request_that_nothing_waits_for_expires(model, gate):
    batcher = DynamicBatcher(model)
    first, second = start_batch(batcher, gate, 2)
    second.expires_at = time.monotonic() - 1
    gate.let_pass(1)
    assert second.wait(20.0) and second.is_cancelled
    with pytest.raises(ValueError, match=EXPIRED_MESSAGE):
        second.get_result()
    gate.open()
    assert first.wait(20.0) and first.get_result().engine_result.halted_by == ["ticks=8"]


def test_an_error_between_two_ticks_reaches_every_request_and_frees_the_model(model, gate, monkeypatch):
    batcher = DynamicBatcher(model)
    requests = start_batch(batcher, gate, 2)
    gate.fail(RuntimeError("no memory"))
    for request in requests:
        assert request.wait(20.0)
        with pytest.raises(RuntimeError, match="no memory"):
            request.get_result()
    monkeypatch.undo()
    assert int(batcher.submit(make_inputs(1)[0], parse("ticks=1")).engine_result.ticks) == 1


def test_without_a_background_thread_the_caller_finishes_the_batch(model, monkeypatch):
    def fail(thread: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", fail)
    batcher = DynamicBatcher(model)
    request = batcher.start(make_inputs(1)[0], POLICY)
    assert batcher.run_for(request, 0.0) and request.get_result().engine_result.halted_by == ["ticks=8"]


def test_rows_that_the_engine_cancels_do_not_change_the_others(model):
    inputs = torch.cat(make_inputs(5))
    expected = Engine(model, POLICY).run(inputs)
    engine = Engine(model, POLICY)
    collector = ResultCollector(engine, 5, inputs.device)
    cancelled_rows: set[int] = set()
    rows_by_tick = []
    for tick in engine.stream(inputs, cancelled_rows):
        collector.add(tick)
        rows_by_tick.append(sorted(tick.rows.tolist()))
        cancelled_rows |= {0: {1}, 3: {4, 0}}.get(len(rows_by_tick) - 1, set())
    assert rows_by_tick == [[0, 1, 2, 3, 4]] + [[0, 2, 3, 4]] * 3 + [[2, 3]] * 4
    result = collector.build_result()
    assert result.ticks.tolist() == [0, 0, 8, 8, 0]
    torch.testing.assert_close(result.answer[2:4], expected.answer[2:4])
