"""Fixtures and helpers for remote jobs on the loopback hub and for the events that they print."""

import json

import pytest

from ctm.stores import HubStore
from tests.fake_hub.fixtures import TOKEN
from tests.fake_hub.fixtures import hub as loopback_hub
from tests.training.jobs.conftest import (
    build_environment,
    is_finished,
    make_tiny_config,
    shorten_hub_timeouts,
    submit_job,
    wait_until,
)
from training.config import RunConfig
from training.event_stream import EVENT_PREFIX
from training.jobs.job import Job
from training.jobs.remote import monitor
from training.jobs.remote.hf_jobs import HfJobsClient
from training.jobs.scheduler import JobScheduler
from training.run_dir import RunDir

__all__ = ["loopback_hub"]

REPO = "alice/made"
REMOTE_TARGET = {"target": "cpu-basic", "timeout_minutes": 60, "namespace": "alice"}
FINISHED_OUTCOME = {"reason": "finished", "sentence": "All 12 steps are done.", "time": 1.0}
STOPPED_OUTCOME = {"reason": "stopped", "sentence": "Stopped and saved at step 8 of 12.", "time": 1.0}
OUTBOX_ENTRY = {
    "id": "0123456789ab",
    "repo": REPO,
    "private": False,
    "title": "run: finished",
    "source": "x",
    "created": 1.5,
}
ENTRY_PATH = "outbox/000000000001500-0123456789ab/entry.json"


@pytest.fixture
def hub(loopback_hub, monkeypatch):
    monkeypatch.setattr(monitor, "RETRY_INTERVAL_S", 0.1)
    return shorten_hub_timeouts(loopback_hub, monkeypatch, max_tries=3)


@pytest.fixture
def start_scheduler(hub, tmp_path):
    """Return a function that starts a scheduler on the same runs directory; all are closed after the test."""
    schedulers = []

    def start(token: str = TOKEN, **options) -> JobScheduler:
        scheduler = JobScheduler(
            tmp_path / "runs",
            token=token,
            environment=build_environment(),
            jobs_client=HfJobsClient(token, hub.url, timeout_s=2.0),
            hub_store=HubStore(
                token=token, cache_dir=tmp_path / "cache", endpoint=hub.url, timeout_s=2.0, min_free_bytes=0
            ),
            space_id="alice/space",
            **options,
        )
        scheduler.start()
        assert scheduler.is_leader
        schedulers.append(scheduler)
        return scheduler

    yield start
    for scheduler in schedulers:
        scheduler.close(timeout_s=1.0)


@pytest.fixture
def scheduler(start_scheduler) -> JobScheduler:
    return start_scheduler()


def make_remote_config(**train) -> RunConfig:
    return make_tiny_config(**train).with_overrides({"publish.repo": REPO})


def submit_remote_job(scheduler: JobScheduler) -> str:
    return submit_job(scheduler, make_remote_config(), **REMOTE_TARGET)


def is_running(scheduler: JobScheduler, job_id: str) -> bool:
    return scheduler.store.get(job_id).state == "running"


def wait_for_job(scheduler: JobScheduler, job_id: str) -> Job:
    wait_until(lambda: is_finished(scheduler, job_id), 120)
    return scheduler.store.get(job_id)


def format_event_line(file: str, values: object) -> str:
    return f"{EVENT_PREFIX}{file} {json.dumps(values)}"


def format_step_event(number: int) -> str:
    return format_event_line("metrics.jsonl", {"step": number, "loss": 1.0 / number})


def read_logged_steps(run_dir: RunDir) -> list[int]:
    return [line["step"] for line in run_dir.read_metrics()]


@pytest.fixture
def submitted_job(hub, scheduler):
    """Submit a remote job, start it on the loopback hub, and return its run id and the hub's job."""
    job_id = submit_remote_job(scheduler)
    wait_until(lambda: is_running(scheduler, job_id))
    hub.jobs.latest.start()
    return job_id, hub.jobs.latest
