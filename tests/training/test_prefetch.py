"""Tests of the batches that a thread samples ahead."""

import itertools
import threading
import time

import pytest
import torch

from tests.training.test_trainer import load_step_weights, make_tiny_config, read_metrics
from training.prefetch import prefetch_batches
from training.run_dir import RunDir
from training.tasks import make_task
from training.tasks.samples import Batch
from training.training_loop import train


def make_batch(number: int) -> Batch:
    return Batch(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.long), torch.tensor([number]))


def is_thread_alive() -> bool:
    return any(thread.name == "prefetch" for thread in threading.enumerate())


def wait_until_thread_ends() -> None:
    deadline = time.monotonic() + 10
    while is_thread_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_thread_alive()


@pytest.mark.parametrize("kind", ["parity", "mazes"])
def test_batches_and_their_order_are_those_of_the_iterator(kind):
    task = make_task({"kind": kind})
    expected = itertools.islice(task.iterate_batches(4, seed=1, start=2), 5)
    prefetched = prefetch_batches(task.iterate_batches(4, seed=1, start=2), 3)
    for batch, other in zip(expected, prefetched, strict=False):
        assert torch.equal(batch.inputs, other.inputs) and torch.equal(batch.targets, other.targets)
    prefetched.close()
    wait_until_thread_ends()


def test_no_more_batches_are_sampled_than_fit():
    sampled = []

    def sample():
        for number in itertools.count():
            sampled.append(number)
            yield make_batch(number)

    batches = prefetch_batches(sample(), 2)
    assert next(batches).difficulty.tolist() == [0]
    time.sleep(0.3)
    assert len(sampled) <= 4  # one was taken, two wait, one waits for a place
    batches.close()
    wait_until_thread_ends()


def test_an_error_of_the_task_is_raised_after_the_batches_before_it():
    def sample():
        yield make_batch(1)
        raise ValueError("The data is gone.")

    batches = prefetch_batches(sample(), 4)
    assert next(batches).difficulty.tolist() == [1]
    with pytest.raises(ValueError, match="The data is gone"):
        next(batches)
    wait_until_thread_ends()


def test_a_run_with_prefetch_resumes_and_equals_one_without(tmp_path):
    plain, prefetched = RunDir(tmp_path / "plain"), RunDir(tmp_path / "prefetched")
    train(make_tiny_config(), plain)
    train(make_tiny_config(prefetch=2).with_overrides({"train.steps": 6}), tmp := RunDir(tmp_path / "half"))
    assert tmp.list_steps() == [6]
    train(make_tiny_config(prefetch=2), prefetched)
    expected = load_step_weights(plain, 12)
    assert all(torch.equal(value, expected[name]) for name, value in load_step_weights(prefetched, 12).items())
    assert read_metrics(plain) == read_metrics(prefetched)
    wait_until_thread_ends()
