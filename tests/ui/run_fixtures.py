"""Fake and real runs for tests of the page."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
import yaml

from tests.training.jobs.conftest import build_environment, make_tiny_config
from tests.ui.conftest import make_checkpoint, make_inference_service
from training.config import RunConfig
from training.jobs.job import Job
from training.jobs.scheduler import JobScheduler
from training.run_dir import RunDir
from ui import page
from ui.auth.access import Access
from ui.server.app_factory import create_fastapi_app
from ui.server.gradio_patches import close_event_streams
from ui.services.inference_service import InferenceService
from ui.services.training_service import TrainingService

ADMIN_TOKEN = "a-long-enough-secret"


def make_metrics_lines(last_step: int, interval: int = 10) -> list[dict[str, Any]]:
    """Return metrics as a training logs them."""
    lines: list[dict[str, Any]] = []
    for step in range(interval, last_step + 1, interval):
        lines.append({"step": step, "loss": 1 / step, "accuracy": 0.5, "lr": 1e-3, "steps_per_second": 5.0})
        if step % (5 * interval) == 0:
            lines.append({"step": step, "validation_accuracy_best": 0.9, "validation_accuracy_by_tick": [0.5, 0.9]})
    return lines


def write_recipes(directory: Path, **recipes: RunConfig) -> Path:
    """Write recipes: a tiny one, and one that does not end."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, config in ({"tiny": make_tiny_config(), "endless": make_tiny_config(endless=True)} | recipes).items():
        values = config.model_dump(mode="json", exclude_defaults=True)
        (directory / f"{name}.yaml").write_text(f"# python -m training\n{yaml.safe_dump(values)}", "utf-8")
    return directory


def make_training_service(
    directory: Path, bundled_checkpoints: Path, start_jobs: bool = False, **more: Any
) -> TrainingService:
    """Return a training service over a directory.

    Args:
        directory: Directory for runs and recipes.
        bundled_checkpoints: Directory of the bundled checkpoints.
        start_jobs: Whether queued jobs start; otherwise they stay queued.
        more: Arguments of `TrainingService`; also `token` for the scheduler and `models` for the inference service.
    """
    scheduler = JobScheduler(directory / "runs", environment=build_environment(), token=more.pop("token", ""))
    inference_service = make_inference_service(
        bundled_checkpoints, runs_dir=directory / "runs", **more.pop("models", {})
    )
    service = TrainingService(scheduler, inference_service.catalog, write_recipes(directory / "configs"), **more)
    if start_jobs:
        service.start_scheduler()
    else:
        scheduler.is_leader = True
    return service


def create_fake_run(
    training_service: TrainingService, run_id: str, state: str = "succeeded", steps: tuple[int, ...] = (), **job: Any
) -> RunDir:
    """Create a run directory with settings, metrics, a log and checkpoints, and a job in this state."""
    run_dir = RunDir(training_service.scheduler.runs_dir / run_id)
    run_dir.initialize(make_tiny_config(steps=100))
    run_dir.save_command("python -m training train configs/tiny.yaml")
    last = max(steps, default=50)
    for line in make_metrics_lines(last):
        run_dir.log_metrics(line)
    run_dir.write_status("training", last, max(100, 2 * last), steps_per_second=5.0)
    run_dir.log_file.write_text("step 10 of 100: loss 0.1\nstep 20 of 100: loss 0.05\n")
    for step in steps:
        (
            make_checkpoint(run_dir.checkpoint_dir(step), "parity") / "halting.json"
        ).unlink()  # policies are chosen after the last step only
        run_dir.trainer_state_dir(step).mkdir(parents=True)
        (run_dir.trainer_state_dir(step) / "progress.pt").write_bytes(b"optimiser")
    if state == "succeeded":
        make_checkpoint(run_dir.final_checkpoint_dir, "parity")
    now = time.time()
    job_fields = {
        "submitted_at": now,
        "queued_at": now,
        "started_at": now - 60,
        "ended_at": 0.0 if state == "running" else now,
    } | job
    training_service.scheduler.store.add(Job(run_id, state, **job_fields))  # type: ignore[arg-type]
    return run_dir


def build_page(training_service: TrainingService, access: Access) -> gr.Blocks:
    blocks = page.build_page(InferenceService(training_service.catalog), training_service, access)
    blocks.queue(max_size=64)
    return blocks


@contextlib.contextmanager
def serve_page(training_service: TrainingService, access: Access, blocks: gr.Blocks | None = None) -> Iterator[str]:
    """Serve the page on a free port as app.py does. Yield the address."""
    app = create_fastapi_app(blocks or build_page(training_service, access), access)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1, ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the page is not served"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        close_event_streams(app)
        server.should_exit = True
        thread.join(10)
