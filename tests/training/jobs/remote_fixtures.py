"""Runs that are sent to the Hub on this machine, and what they print there."""

import json

import pytest

from ctm.stores import HubStore
from tests.fake_hub.fixtures import TOKEN
from tests.fake_hub.fixtures import hub as here
from tests.training.jobs.conftest import environment, hurried, over, submit, tiny, until
from training.config import RunConfig
from training.jobs.remote import monitor
from training.jobs.remote.hf_jobs import RemoteJobs
from training.jobs.scheduler import Runner
from training.jobs.store import Job
from training.run_dir import ECHOED, RunFolder

__all__ = ["here"]

REPO = "alice/made"
PLACE = {"place": "cpu-basic", "timeout": 60, "namespace": "alice"}
FINISHED = {"reason": "finished", "sentence": "All 12 steps are done.", "time": 1.0}
STOPPED = {"reason": "stopped", "sentence": "Stopped and saved at step 8 of 12.", "time": 1.0}
ENTRY = {"id": "0123456789ab", "repo": REPO, "private": False, "title": "run: finished", "source": "x", "created": 1.5}
OWN = "outbox/000000000001500-0123456789ab/entry.json"


@pytest.fixture
def hub(here, monkeypatch):
    monkeypatch.setattr(monitor, "AGAIN", 0.1)
    return hurried(here, monkeypatch, tries=3)


@pytest.fixture
def app(hub, tmp_path):
    """Begin an app on the one folder of runs, as often as one likes; each ends with the test."""
    begun = []

    def begin(token: str = TOKEN, **options) -> Runner:
        made = Runner(
            tmp_path / "runs",
            token=token,
            environment=environment(),
            remote=RemoteJobs(token, hub.url, seconds=2.0),
            hub=HubStore(token=token, cache=tmp_path / "cache", endpoint=hub.url, seconds=2.0, spare=0),
            space="alice/space",
            **options,
        )
        made.start()
        assert made.writes
        begun.append(made)
        return made

    yield begin
    for made in begun:
        made.close(patience=1.0)


@pytest.fixture
def runner(app) -> Runner:
    return app()


def config(**train) -> RunConfig:
    return tiny(**train).changed({"publish.repo": REPO})


def send(runner: Runner) -> str:
    return submit(runner, config(), **PLACE)


def running(runner: Runner, id: str) -> bool:
    return runner.book.get(id).state == "running"


def wait(runner: Runner, id: str) -> Job:
    until(lambda: over(runner, id), 30)
    return runner.book.get(id)


def echoed(file: str, values: object) -> str:
    return f"{ECHOED}{file} {json.dumps(values)}"


def step(number: int) -> str:
    return echoed("metrics.jsonl", {"step": number, "loss": 1.0 / number})


def steps(folder: RunFolder) -> list[int]:
    return [line["step"] for line in folder.read_metrics()]


@pytest.fixture
def sent(hub, runner):
    """The id of a run, and its job, which has got its machine."""
    id = send(runner)
    until(lambda: running(runner, id))
    hub.jobs.newest.start()
    return id, hub.jobs.newest
