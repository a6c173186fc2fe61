"""Fixtures for jobs that train a tiny model in real processes with real checkpoints."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fake_hub.server import LoopbackHub
from tests.training.test_trainer import TINY_RECIPE
from training.config import RunConfig
from training.jobs.remote import log_follower
from training.jobs.scheduler import JobScheduler

ENDLESS_TRAIN_SETTINGS = {"steps": 1_000_000, "save_every": 1_000_000, "eval_every": 1_000_000}
QUICK_FINALIZE_SETTINGS = {"fit_samples": 0}


def make_tiny_config(endless: bool = False, **train) -> RunConfig:
    """Return the configuration of a run that takes about one second, or that runs until it is stopped."""
    return RunConfig.parse(
        TINY_RECIPE
        | {
            "train": TINY_RECIPE["train"] | (ENDLESS_TRAIN_SETTINGS if endless else {}) | train,
            "finalize": QUICK_FINALIZE_SETTINGS,
        }
    )


def build_environment(**more: str) -> dict[str, str]:
    """Return the environment of this process without Hub variables, plus the given variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | more


def wait_until(condition: Callable[[], object], timeout_s: float = 90.0) -> None:
    """Wait until a condition is true, and fail after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"the condition is still false after {timeout_s} s: {condition}"
        time.sleep(0.05)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[JobScheduler]:
    """Start a scheduler on an empty runs directory; jobs that still run at the end of the test are killed."""
    scheduler = JobScheduler(tmp_path / "runs", environment=build_environment())
    scheduler.start()
    yield scheduler
    stop_scheduler(scheduler)


def stop_scheduler(scheduler: JobScheduler) -> None:
    """Kill the running jobs of a scheduler and close it."""
    for job in scheduler.store.list_running() if scheduler.is_leader else []:
        scheduler.kill(job.id)
    scheduler.close(timeout_s=10.0)


def submit_job(scheduler: JobScheduler, config: RunConfig, name: str = "tiny", **target) -> str:
    """Submit a job and return its id."""
    return scheduler.submit(config, name, "python -m training train tiny.yaml", "a test", **target).id


def has_logged_steps(scheduler: JobScheduler, job_id: str) -> bool:
    """Return whether a job has logged its first steps."""
    return scheduler.get_run_dir(job_id).metrics_file.is_file()


def is_finished(scheduler: JobScheduler, job_id: str) -> bool:
    """Return whether a job has ended, for any reason."""
    return scheduler.store.get(job_id).is_finished


def shorten_hub_timeouts(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, max_tries: int) -> LoopbackHub:
    """Add a Space to the loopback hub and shorten the delays and retries of the job client."""
    hub.add_repo("alice/space", kind="spaces")
    monkeypatch.setattr(log_follower, "RECONNECT_INTERVAL_S", 0.02)
    monkeypatch.setattr(log_follower, "RETRY_BACKOFF_S", (0.02,) * max_tries)
    monkeypatch.setattr(log_follower, "IDLE_CHECK_INTERVAL_S", 0.3)
    return hub
