"""Runs that are sent to the Hub on this machine, and what they print there."""

import json

import pytest

from ctm.stores import HubStore
from tests.fake_hub.fixtures import TOKEN
from tests.fake_hub.fixtures import hub as here
from tests.training.jobs.conftest import environment, hurried, over, submit, tiny, until
from training.config import RunConfig
from training.jobs.remote import monitor
from training.jobs.remote.hf_jobs import HfJobsClient
from training.jobs.scheduler import JobScheduler
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
    monkeypatch.setattr(monitor, "RETRY_INTERVAL_S", 0.1)
    return hurried(here, monkeypatch, tries=3)


@pytest.fixture
def app(hub, tmp_path):
    """Begin an app on the one folder of runs, as often as one likes; each ends with the test."""
    begun = []

    def begin(token: str = TOKEN, **options) -> JobScheduler:
        made = JobScheduler(
            tmp_path / "runs",
            token=token,
            environment=environment(),
            jobs_client=HfJobsClient(token, hub.url, timeout_s=2.0),
            hub_store=HubStore(
                token=token, cache_dir=tmp_path / "cache", endpoint=hub.url, timeout_s=2.0, min_free_bytes=0
            ),
            space_id="alice/space",
            **options,
        )
        made.start()
        assert made.is_leader
        begun.append(made)
        return made

    yield begin
    for made in begun:
        made.close(timeout_s=1.0)


@pytest.fixture
def runner(app) -> JobScheduler:
    return app()


def config(**train) -> RunConfig:
    return tiny(**train).changed({"publish.repo": REPO})


def send(runner: JobScheduler) -> str:
    return submit(runner, config(), **PLACE)


def running(runner: JobScheduler, id: str) -> bool:
    return runner.store.get(id).state == "running"


def wait(runner: JobScheduler, id: str) -> Job:
    until(lambda: over(runner, id), 30)
    return runner.store.get(id)


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
