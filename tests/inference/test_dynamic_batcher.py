"""Thinking together gives everybody what they would have got alone."""

import threading
import time

import pytest
import torch

from ctm import ContinuousThoughtMachine, CTMConfig
from inference import Engine, Recorder, parse
from inference.dynamic_batcher import DynamicBatcher, PendingRequest

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
    signs = torch.randint(0, 2, (count, 3), generator=torch.Generator().manual_seed(count)) * 2 - 1
    return list(signs.float().split(1))


class BlockingModel:
    """A machine whose batches wait until they are let go, and are counted."""

    def __init__(self, batcher: DynamicBatcher):
        self.release_event, self.entered_event, self.batch_sizes = threading.Event(), threading.Event(), []
        think = batcher._run_batch

        def held(batch):
            self.batch_sizes.append(len(batch))
            self.entered_event.set()
            assert self.release_event.wait(20)
            think(batch)

        batcher._run_batch = held


def submit_concurrently(batcher: DynamicBatcher, inputs, policies) -> tuple[list, list[int]]:
    """Answers, or what went wrong, of those who all came while the first was being thought; and the sizes of the batches."""
    held, answers = BlockingModel(batcher), [None] * len(inputs)

    def ask(index: int) -> None:
        try:
            answers[index] = batcher.submit(inputs[index], parse(policies[index]))
        except ValueError as error:
            answers[index] = str(error)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(inputs))]
    threads[0].start()
    assert held.entered_event.wait(20)
    for count, thread in enumerate(threads[1:], 1):
        thread.start()
        while len(batcher._queue) < count:
            time.sleep(0.001)
    held.release_event.set()
    for thread in threads:
        thread.join(20)
    return answers, held.batch_sizes


def test_batching_changes_nothing_but_the_time(model):
    asked = make_inputs(6)
    rule = f"energy<{float(model(torch.cat(asked)).energies[:, 0].detach().median()):.6f}"  # half of them stop at once
    thoughts, sizes = submit_concurrently(DynamicBatcher(model), asked, [rule] * 6)
    assert sizes == [1, 5] and [thought.batch_size for thought in thoughts] == [1, 5, 5, 5, 5, 5]
    assert len({int(thought.engine_result.ticks) for thought in thoughts}) > 1, "they stop at different ticks"
    for inputs, thought in zip(asked, thoughts, strict=True):
        recorder = Recorder(8)
        alone = Engine(model, parse(rule)).run(inputs, recorder)
        for name in ("ticks", "answer_tick", "halted_by"):
            assert getattr(thought.engine_result, name) == getattr(alone, name)
        for name in ("answer", "certainty", "energy"):
            torch.testing.assert_close(getattr(thought.engine_result, name), getattr(alone, name))
        assert len(thought.recorder.logits) == int(alone.ticks)
        for channel in recorder.channels:
            torch.testing.assert_close(
                torch.tensor(thought.recorder.get_channel(channel)), torch.tensor(recorder.get_channel(channel))
            )


def test_only_compatible_requests_share_a_batch(model):
    rules = ["ticks=2", "ticks=3", "ticks=2", "ticks=3", "ticks=2"]
    thoughts, sizes = submit_concurrently(DynamicBatcher(model), make_inputs(5), rules)
    assert sizes == [1, 2, 2]
    assert [int(thought.engine_result.ticks) for thought in thoughts] == [int(rule[-1]) for rule in rules]
    short, long = (PendingRequest(torch.zeros(1, length), parse("ticks=2")) for length in (2, 3))
    assert short.batch_key != long.batch_key


@pytest.mark.parametrize("most, sizes", [(1, [1] * 6), (2, [1, 2, 2, 1]), (16, [1, 5])])
def test_a_batch_is_bounded(model, most, sizes):
    assert submit_concurrently(DynamicBatcher(model, most), make_inputs(6), ["ticks=1"] * 6)[1] == sizes


def test_an_error_reaches_every_request_of_the_batch_and_the_next_batch_runs(model):
    together = DynamicBatcher(model, timeout_s=0.0)
    said, sizes = submit_concurrently(together, make_inputs(3), ["ticks=2"] * 3)
    assert sizes == [1, 2] and all("takes more than 0 seconds here" in text for text in said)
    together = DynamicBatcher(model)
    with pytest.raises(Exception, match="signs"):
        together.submit(torch.zeros(1, 3, 3, 3), parse("ticks=1"))
    assert int(together.submit(make_inputs(1)[0], parse("ticks=1")).engine_result.ticks) == 1


def test_many_at_once_all_get_their_own(model):
    together, asked = DynamicBatcher(model, max_batch_size=4), make_inputs(40)
    answers: list = [None] * 40

    def ask(index: int) -> None:
        answers[index] = together.submit(asked[index], parse("ticks=2")).engine_result.answer

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = Engine(model, parse("ticks=2")).run(torch.cat(asked)).answer
    torch.testing.assert_close(torch.cat(answers), alone)
    assert not together._queue
