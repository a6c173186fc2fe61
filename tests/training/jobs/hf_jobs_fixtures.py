"""Jobs for the Hub on this machine: what is sent, who sends it, and what a refusal must look like."""

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
    """A job as the Hub knows it, which waits for its machine."""
    jobs_client.submit(**JOB_SPEC)
    return hub.jobs.latest


def get_permanent_error(call, *args, **kwargs) -> str:
    """What cannot be helped by waiting, said in one sentence."""
    with pytest.raises(ValueError) as caught:
        call(*args, **kwargs)
    assert not isinstance(caught.value, StoreUnavailable), caught.value
    return check_one_sentence(caught.value)


def check_one_sentence(error: Exception) -> str:
    said = str(error)
    assert said.endswith((".", ")")) and "\n" not in said and TOKEN not in said
    return said


def wait_until(condition, subject=None) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until, vars(subject) if subject else "too late"
        time.sleep(0.01)
