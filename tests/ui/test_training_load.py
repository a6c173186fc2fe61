"""Test the latency of predictions while a run trains, with many viewers."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest
from gradio_client import Client

from tests.paths import ROOT
from tests.training.jobs.conftest import stop_scheduler, wait_until
from tests.ui.gradio_session import GradioSession, get_handler_name, make_access
from tests.ui.run_fixtures import build_page, make_training_service, serve_page
from training.config import RunConfig, read_recipe
from training.jobs.cpu_limits import count_available_cpus
from training.jobs.supervisor import NICENESS
from training.run_dir import RunDir
from ui.services.training_service import TrainingService

NUM_READERS = 100
ENDLESS_SETTINGS = {
    "train.steps": 1_000_000,
    "train.eval_every": 1_000_000,
    "train.save_every": 1_000_000,
    "train.log_every": 5,
}


def load_endless_recipe() -> RunConfig:
    """Return the bundled recipe without an end, so that its training uses all CPUs that it may."""
    return read_recipe(ROOT / "configs" / "parity-16.yaml").with_overrides(ENDLESS_SETTINGS | {"train.device": "cpu"})


@pytest.fixture
def training_service(tmp_path) -> Iterator[TrainingService]:
    """Return a training service with the bundled checkpoints."""
    service = make_training_service(tmp_path, ROOT / "checkpoints", start_jobs=True)
    yield service
    stop_scheduler(service.scheduler)


def start_training(training_service: TrainingService) -> tuple[str, psutil.Process]:
    """Yield a run that really trains, and its process."""
    id = training_service.scheduler.submit(load_endless_recipe(), "busy", "python -m training", "a test").id
    wait_until(lambda: training_service.scheduler.get_run_dir(id).metrics_file.is_file(), 180)
    job = training_service.scheduler.store.get(id)
    members = training_service.scheduler.launcher.get_process_group(job).list_members()
    return id, max(members, key=lambda process: process.memory_info().rss)


def measure_median_s(work: Callable[[], object], num_tries: int) -> float:
    """Return the median duration of several calls after a warm-up call."""
    work()
    durations = []
    for _ in range(num_tries):
        began = time.perf_counter()
        work()
        durations.append(time.perf_counter() - began)
    return statistics.median(durations)


def test_inference_answers_within_a_second_while_a_run_trains(training_service):
    """Through the endpoint of the page, with a bundled checkpoint. The training leaves one CPU free."""
    access = make_access("closed", {})
    with serve_page(training_service, access) as address:
        client = Client(address, verbose=False)

        def think() -> None:
            assert client.predict("1011001110", "parity-16", "ticks=40", api_name="/think_sequence")["ticks_used"] == 40

        alone = measure_median_s(think, 5)
        id, trainer = start_training(training_service)
        assert trainer.nice() == NICENESS > psutil.Process().nice(), "the page comes first"
        allowed = max(1, count_available_cpus(training_service.scheduler.launcher.environment) - 1)
        environment = trainer.environ()
        assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == str(allowed)
        before = trainer.cpu_times()
        began = time.monotonic()
        busy = measure_median_s(think, 9)
        spent = trainer.cpu_times()
        used = (spent.user + spent.system - before.user - before.system) / (time.monotonic() - began)
        assert training_service.run_views.get_run_view(id)["state"] == "running" and used > 0.05, (
            "it trained all the while"
        )
        assert used < allowed + 0.5, "it keeps to its threads"
        assert busy < max(1.0, 5 * alone), f"a thought takes {busy:.2f} s while a run trains, {alone:.2f} s otherwise"


@pytest.mark.slow
def test_a_hundred_readers_are_answered_while_a_run_is_read_once_a_change(training_service, monkeypatch):
    """All clients poll every second as open pages do, and the server still answers others."""
    reads, really = [], RunDir.read_metrics
    monkeypatch.setattr(RunDir, "read_metrics", lambda self: reads.append(time.monotonic()) or really(self))
    access = make_access("closed", {})
    blocks = build_page(training_service, access)
    show = [fn for fn in blocks.fns.values() if get_handler_name(fn) == "RunMonitor.show"]
    tick = next(fn for fn in show if any(trigger == "tick" for _, trigger in fn.targets))
    id, _ = start_training(training_service)
    directory = training_service.scheduler.get_run_dir(id)
    with serve_page(training_service, access, blocks) as address:
        visitors = [GradioSession(address, blocks) for _ in range(NUM_READERS)]
        with ThreadPoolExecutor(NUM_READERS) as pool:
            list(pool.map(lambda visitor: visitor.call_directly(show[0]), visitors))  # each opens the page
            reads.clear()
            lines, until_then = len(really(directory)), time.monotonic() + 6
            health: list[float] = []
            beat = threading.Thread(target=poll_health, args=(address, until_then, health))
            beat.start()
            answers = list(pool.map(lambda visitor: poll_view(visitor, tick, id, until_then), visitors))
            beat.join()
        changes = len(really(directory)) - lines
        reads_then = len(reads)
        for visitor in visitors:
            visitor.http.close()
    assert all(codes and set(codes) == {200} for codes in answers), "every look of everybody was answered"
    num_requests = sum(len(codes) for codes in answers)
    assert num_requests >= 2 * NUM_READERS
    # besides each logged line, the log, the status and the row of the book may change on their own
    assert 0 < reads_then <= 4 * changes + 12, f"{reads_then} reads for {changes} lines and {num_requests} looks"
    assert reads_then < num_requests / 4
    assert len(health) > 5 and statistics.median(health) < 1.0 and max(health) < 3.0, health


def poll_view(session: GradioSession, tick, run_id: str, deadline: float) -> list[int]:
    """Poll once a second as the timer of the page does. Return the status codes."""
    codes = []
    while time.monotonic() < deadline:
        began = time.monotonic()
        codes.append(session.call_directly(tick, run_id).status_code)
        time.sleep(max(0.0, 1.0 - (time.monotonic() - began)))
    return codes


def poll_health(address: str, deadline: float, durations_s: list[float]) -> None:
    """Return the seconds that a simple request takes, repeatedly."""
    with httpx.Client() as client:
        while time.monotonic() < deadline:
            began = time.monotonic()
            assert client.get(f"{address}/gradio_api/app_id", timeout=30).status_code == 200
            durations_s.append(time.monotonic() - began)
            time.sleep(0.2)
