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
    """Return a bundled recipe with so many steps that its run does not end during a test."""
    return read_recipe(ROOT / "configs" / "parity-16.yaml").with_overrides(ENDLESS_SETTINGS | {"train.device": "cpu"})


@pytest.fixture
def training_service(tmp_path) -> Iterator[TrainingService]:
    """Return a training service with the bundled checkpoints."""
    service = make_training_service(tmp_path, ROOT / "checkpoints", start_jobs=True)
    yield service
    stop_scheduler(service.scheduler)


def start_training(training_service: TrainingService) -> tuple[str, psutil.Process]:
    """Start a real run. Return its id and its training process."""
    run_id = training_service.scheduler.submit(load_endless_recipe(), "busy", "python -m training", "a test").id
    wait_until(lambda: training_service.scheduler.get_run_dir(run_id).metrics_file.is_file(), 180)
    job = training_service.scheduler.store.get(run_id)
    members = training_service.scheduler.launcher.get_process_group(job).list_members()
    return run_id, max(members, key=lambda process: process.memory_info().rss)


def measure_median_s(work: Callable[[], object], num_tries: int) -> float:
    """Return the median duration of several calls after a warm-up call."""
    work()
    durations = []
    for _ in range(num_tries):
        start_time = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start_time)
    return statistics.median(durations)


@pytest.mark.slow
def test_inference_answers_within_a_second_while_a_run_trains(training_service):
    """Predict through the endpoint of the page, with a bundled checkpoint. The run leaves one CPU free."""
    access = make_access("closed", {})
    with serve_page(training_service, access) as address:
        client = Client(address, verbose=False)

        def run_inference() -> None:
            assert client.predict("1011001110", "parity-16", "ticks=40", api_name="/think_sequence")["ticks_used"] == 40

        idle_s = measure_median_s(run_inference, 5)
        run_id, process = start_training(training_service)
        assert process.nice() == NICENESS > psutil.Process().nice(), "the run has a lower priority than the page"
        max_cpus = max(1, count_available_cpus(training_service.scheduler.launcher.environment) - 1)
        environment = process.environ()
        assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == str(max_cpus)
        before = process.cpu_times()
        start_time = time.monotonic()
        busy_s = measure_median_s(run_inference, 9)
        after = process.cpu_times()
        cpu_share = (after.user + after.system - before.user - before.system) / (time.monotonic() - start_time)
        assert training_service.run_views.get_run_view(run_id)["state"] == "running" and cpu_share > 0.05, (
            "the run trains during the measurement"
        )
        assert cpu_share < max_cpus + 0.5, "the run uses at most its share of the CPUs"
        assert busy_s < max(1.0, 5 * idle_s), (
            f"a prediction takes {busy_s:.2f} s while a run trains, {idle_s:.2f} s otherwise"
        )


@pytest.mark.slow
@pytest.mark.slow
def test_a_run_is_read_once_per_change_for_a_hundred_polling_sessions(training_service, monkeypatch):
    """All sessions poll every second as open pages do, and the server still responds to other requests."""
    reads, original_read_metrics = [], RunDir.read_metrics
    monkeypatch.setattr(
        RunDir, "read_metrics", lambda self: reads.append(time.monotonic()) or original_read_metrics(self)
    )
    access = make_access("closed", {})
    blocks = build_page(training_service, access)
    show = [fn for fn in blocks.fns.values() if get_handler_name(fn) == "RunDashboard.show"]
    tick = next(fn for fn in show if any(trigger == "tick" for _, trigger in fn.targets))
    run_id, _ = start_training(training_service)
    run_dir = training_service.scheduler.get_run_dir(run_id)
    with serve_page(training_service, access, blocks) as address:
        sessions = [GradioSession(address, blocks) for _ in range(NUM_READERS)]
        with ThreadPoolExecutor(NUM_READERS) as pool:
            list(pool.map(lambda session: session.call_directly(show[0]), sessions))  # opens the page
            reads.clear()
            num_lines_before, deadline = len(original_read_metrics(run_dir)), time.monotonic() + 6
            durations_s: list[float] = []
            health_thread = threading.Thread(target=poll_health, args=(address, deadline, durations_s))
            health_thread.start()
            status_codes = list(pool.map(lambda session: poll_view(session, tick, run_id, deadline), sessions))
            health_thread.join()
        num_new_lines = len(original_read_metrics(run_dir)) - num_lines_before
        num_reads = len(reads)
        for session in sessions:
            session.http.close()
    assert all(codes and set(codes) == {200} for codes in status_codes), "every poll of every session succeeds"
    num_requests = sum(len(codes) for codes in status_codes)
    assert num_requests >= 2 * NUM_READERS
    # The log, the status and the row of the job store may change without a new metrics line.
    assert 0 < num_reads <= 4 * num_new_lines + 12, (
        f"{num_reads} reads for {num_new_lines} lines and {num_requests} polls"
    )
    assert num_reads < num_requests / 4
    assert len(durations_s) > 5 and statistics.median(durations_s) < 1.0 and max(durations_s) < 3.0, durations_s


def poll_view(session: GradioSession, tick, run_id: str, deadline: float) -> list[int]:
    """Poll once a second as the timer of the page does. Return the status codes."""
    codes = []
    while time.monotonic() < deadline:
        start_time = time.monotonic()
        codes.append(session.call_directly(tick, run_id).status_code)
        time.sleep(max(0.0, 1.0 - (time.monotonic() - start_time)))
    return codes


def poll_health(address: str, deadline: float, durations_s: list[float]) -> None:
    """Append the durations of simple requests to `durations_s` until the deadline."""
    with httpx.Client() as client:
        while time.monotonic() < deadline:
            start_time = time.monotonic()
            assert client.get(f"{address}/gradio_api/app_id", timeout=30).status_code == 200
            durations_s.append(time.monotonic() - start_time)
            time.sleep(0.2)
