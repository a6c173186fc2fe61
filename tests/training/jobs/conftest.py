"""Real jobs of a tiny run: real processes, real checkpoints."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fake_hub.server import LoopbackHub
from tests.training.test_trainer import TINY
from training.config import RunConfig
from training.jobs.remote import hf_jobs
from training.jobs.scheduler import JobScheduler

ENDLESS = {"steps": 1_000_000, "save_every": 1_000_000, "eval_every": 1_000_000}
QUICK = {"fit_samples": 0}


def tiny(endless: bool = False, **train) -> RunConfig:
    """A run of a second, or one that goes on until it is stopped."""
    return RunConfig.parse(TINY | {"train": TINY["train"] | (ENDLESS if endless else {}) | train, "finish": QUICK})


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | more


def until(true: Callable[[], object], seconds: float = 90.0) -> None:
    """Wait for something to become true; say what did not."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {true}"
        time.sleep(0.05)


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[JobScheduler]:
    """A runner on an empty folder; whatever runs at the end is killed."""
    made = JobScheduler(tmp_path / "runs", environment=environment())
    made.start()
    yield made
    end(made)


def end(runner: JobScheduler) -> None:
    for job in runner.store.list_running() if runner.is_leader else []:
        runner.kill(job.id)
    runner.close(timeout_s=10.0)


def submit(runner: JobScheduler, config: RunConfig, name: str = "tiny", **place) -> str:
    return runner.submit(config, name, "python -m training train tiny.yaml", "a test", **place).id


def trains(runner: JobScheduler, id: str) -> bool:
    """Whether a job has logged its first steps."""
    return runner.get_run_dir(id).metrics.is_file()


def over(runner: JobScheduler, id: str) -> bool:
    """Whether a job has ended, in whatever way."""
    return runner.store.get(id).is_finished


def hurried(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tries: int) -> LoopbackHub:
    """A Hub with a Space on it, and nobody who waits long for it, or tries more often."""
    hub.add_repo("alice/space", kind="spaces")
    monkeypatch.setattr(hf_jobs, "RECONNECT_INTERVAL_S", 0.02)
    monkeypatch.setattr(hf_jobs, "RETRY_BACKOFF_S", (0.02,) * tries)
    monkeypatch.setattr(hf_jobs, "IDLE_CHECK_INTERVAL_S", 0.3)
    return hub
