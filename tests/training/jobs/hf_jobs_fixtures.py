"""Jobs for the Hub on this machine: what is sent, who sends it, and what a refusal must look like."""

import time

import pytest

from ctm.stores import StoreUnavailable
from tests.fake_hub.fixtures import TOKEN
from tests.fake_hub.fixtures import hub as here
from tests.training.jobs.conftest import hurried
from training.jobs.remote.hf_jobs import HfJobsClient

__all__ = ["here"]

WHAT = {
    "space": "alice/space",
    "command": ["python", "-m", "training", "train", "configs/parity16.yaml"],
    "env": {"CTM_RUN": "parity-1"},
    "flavour": "t4-small",
    "timeout_minutes": 90,
    "namespace": "alice",
    "name": "parity-1",
}


@pytest.fixture
def hub(here, monkeypatch):
    return hurried(here, monkeypatch, tries=4)


@pytest.fixture
def jobs(hub):
    return HfJobsClient(TOKEN, hub.url, timeout_s=5.0)


@pytest.fixture
def sent(hub, jobs):
    """A job as the Hub knows it, which waits for its machine."""
    jobs.submit(**WHAT)
    return hub.jobs.newest


def refusal(call, *given, **named) -> str:
    """What cannot be helped by waiting, said in one sentence."""
    with pytest.raises(ValueError) as caught:
        call(*given, **named)
    assert not isinstance(caught.value, StoreUnavailable), caught.value
    return one_sentence(caught.value)


def one_sentence(error: Exception) -> str:
    said = str(error)
    assert said.endswith((".", ")")) and "\n" not in said and TOKEN not in said
    return said


def wait_until(reached, what=None) -> None:
    until = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < until, vars(what) if what else "too late"
        time.sleep(0.01)
