"""Tests of dynamic batching: batched requests get the results of single requests."""

import threading
import time

import pytest
import torch

from ctm import ContinuousThoughtMachine, CTMConfig
from inference import Engine, Recorder, parse
from inference.batched_unroll import PendingRequest
from inference.dynamic_batcher import DynamicBatcher

MODEL_CONFIG = {
    "iterations": 8,
    "d_model": 24,
    "d_input": 8,
    "heads": 2,
    "n_synch_out": 8,
    "n_synch_action": 8,
    "memory_length": 4,
    "synapse_depth": 1,
    "memory_hidden_dims": 3,
    "backbone_type": "parity_backbone",
    "out_dims": 6,
    "prediction_reshaper": [3, 2],
    "energy_head_enabled": True,
    "energy_hidden_dim": 4,
}


@pytest.fixture(scope="module")
def model() -> ContinuousThoughtMachine:
    torch.manual_seed(0)
    return ContinuousThoughtMachine(CTMConfig.parse(MODEL_CONFIG), 1).eval()


def make_inputs(count: int) -> list[torch.Tensor]:
    """Sample inputs of one row each."""
    signs = torch.randint(0, 2, (count, 3), generator=torch.Generator().manual_seed(count)) * 2 - 1
    return list(signs.float().split(1))


class BatchBlocker:
    """Block the batches of a batcher until they are released, and record their sizes."""

    def __init__(self, batcher: DynamicBatcher):
        self.release_event = threading.Event()
        self.entered_event = threading.Event()
        self.batch_sizes = []
        run_batch = batcher._run_batch

        def run_when_released(batch, *deadline):
            self.batch_sizes.append(len(batch.requests))
            self.entered_event.set()
            assert self.release_event.wait(20)
            return run_batch(batch, *deadline)

        batcher._run_batch = run_when_released


def submit_concurrently(batcher: DynamicBatcher, inputs, policies) -> tuple[list, list[int]]:
    """Submit requests that all queue while the first runs; return results or error texts, and the sizes of the batches."""
    blocker = BatchBlocker(batcher)
    results = [None] * len(inputs)

    def submit(index: int) -> None:
        try:
            results[index] = batcher.submit(inputs[index], parse(policies[index]))
        except ValueError as error:
            results[index] = str(error)

    threads = [threading.Thread(target=submit, args=(index,)) for index in range(len(inputs))]
    threads[0].start()
    assert blocker.entered_event.wait(20)
    for count, thread in enumerate(threads[1:], 1):
        thread.start()
        while len(batcher._queue) < count:
            time.sleep(0.001)
    blocker.release_event.set()
    for thread in threads:
        thread.join(20)
    return results, blocker.batch_sizes


def test_batching_does_not_change_results(model):
    samples = make_inputs(6)
    first_energies = model(torch.cat(samples)).energies[:, 0].detach()
    policy = f"energy<{float(first_energies.median()):.6f}"  # half of the samples stop at the first tick
    results, sizes = submit_concurrently(DynamicBatcher(model), samples, [policy] * 6)
    assert sizes == [1, 5] and [result.batch_size for result in results] == [1, 5, 5, 5, 5, 5]
    assert len({int(result.engine_result.ticks) for result in results}) > 1, "they stop at different ticks"
    for inputs, result in zip(samples, results, strict=True):
        recorder = Recorder(8)
        expected = Engine(model, parse(policy)).run(inputs, recorder)
        for name in ("ticks", "answer_tick", "halted_by"):
            assert getattr(result.engine_result, name) == getattr(expected, name)
        for name in ("answer", "certainty", "energy"):
            torch.testing.assert_close(getattr(result.engine_result, name), getattr(expected, name))
        assert len(result.recorder.logits) == int(expected.ticks)
        for channel in recorder.channels:
            torch.testing.assert_close(
                torch.tensor(result.recorder.get_channel(channel)), torch.tensor(recorder.get_channel(channel))
            )


def test_only_compatible_requests_share_a_batch(model):
    policies = ["ticks=2", "ticks=3", "ticks=2", "ticks=3", "ticks=2"]
    results, sizes = submit_concurrently(DynamicBatcher(model), make_inputs(5), policies)
    assert sizes == [1, 2, 2]
    assert [int(result.engine_result.ticks) for result in results] == [int(policy[-1]) for policy in policies]
    short_request, long_request = (PendingRequest(torch.zeros(1, length), parse("ticks=2")) for length in (2, 3))
    assert short_request.batch_key != long_request.batch_key


@pytest.mark.parametrize("max_batch_size, sizes", [(1, [1] * 6), (2, [1, 2, 2, 1]), (16, [1, 5])])
def test_a_batch_has_at_most_max_batch_size_requests(model, max_batch_size, sizes):
    assert submit_concurrently(DynamicBatcher(model, max_batch_size), make_inputs(6), ["ticks=1"] * 6)[1] == sizes


def test_an_error_reaches_every_request_of_the_batch_and_the_next_batch_runs(model):
    batcher = DynamicBatcher(model, timeout_s=0.0)
    messages, sizes = submit_concurrently(batcher, make_inputs(3), ["ticks=2"] * 3)
    assert sizes == [1, 2] and all("takes more than 0 seconds here" in message for message in messages)
    batcher = DynamicBatcher(model)
    with pytest.raises(Exception, match="signs"):
        batcher.submit(torch.zeros(1, 3, 3, 3), parse("ticks=1"))
    assert int(batcher.submit(make_inputs(1)[0], parse("ticks=1")).engine_result.ticks) == 1


def test_concurrent_requests_get_their_own_results(model):
    batcher = DynamicBatcher(model, max_batch_size=4)
    inputs = make_inputs(40)
    answers: list = [None] * 40

    def submit(index: int) -> None:
        answers[index] = batcher.submit(inputs[index], parse("ticks=2")).engine_result.answer

    threads = [threading.Thread(target=submit, args=(index,)) for index in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = Engine(model, parse("ticks=2")).run(torch.cat(inputs)).answer
    torch.testing.assert_close(torch.cat(answers), expected)
    assert not batcher._queue
