"""Fixtures and helpers for tests of the job client against the loopback hub."""

import time

import pytest

from ctm.stores import StoreUnavailable
from tests.fake_hub.fixtures import TOKEN
from tests.fake_hub.fixtures import hub as loopback_hub
from tests.training.jobs.conftest import shorten_hub_timeouts
from training.jobs.remote.hf_jobs import HfJobsClient

__all__ = ["loopback_hub"]

JOB_SPEC = {
    "space": "alice/space",
    "command": ["python", "-m", "training", "train", "configs/parity16.yaml"],
    "env": {"CTM_RUN": "parity-1"},
    "flavor": "t4-small",
    "timeout_minutes": 90,
    "namespace": "alice",
    "name": "parity-1",
}


@pytest.fixture
def hub(loopback_hub, monkeypatch):
    return shorten_hub_timeouts(loopback_hub, monkeypatch, max_tries=4)


@pytest.fixture
def jobs_client(hub):
    return HfJobsClient(TOKEN, hub.url, timeout_s=5.0)


@pytest.fixture
def submitted_job(hub, jobs_client):
    """Submit a job and return it as the loopback hub stores it, in stage SCHEDULING."""
    jobs_client.submit(**JOB_SPEC)
    return hub.jobs.latest


def get_permanent_error(call, *args, **kwargs) -> str:
    """Call a function, check that it raises a permanent error of one sentence, and return the message."""
    with pytest.raises(ValueError) as exc_info:
        call(*args, **kwargs)
    assert not isinstance(exc_info.value, StoreUnavailable), exc_info.value
    return check_one_sentence(exc_info.value)


def check_one_sentence(error: Exception) -> str:
    """Check that the message of an error is one sentence without the token, and return it."""
    message = str(error)
    assert message.endswith((".", ")")) and "\n" not in message and TOKEN not in message
    return message


def wait_until(condition, subject=None) -> None:
    """Wait up to 10 seconds until a condition is true; `subject` is shown on failure."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, vars(subject) if subject else "the condition is still false after 10 s"
        time.sleep(0.01)
