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
    found: list[dict[str, Any]] = []
    for step in range(interval, last_step + 1, interval):
        found.append({"step": step, "loss": 1 / step, "accuracy": 0.5, "lr": 1e-3, "steps_per_second": 5.0})
        if step % (5 * interval) == 0:
            found.append({"step": step, "validation_accuracy_best": 0.9, "validation_accuracy_by_tick": [0.5, 0.9]})
    return found


def write_recipes(folder: Path, **recipes: RunConfig) -> Path:
    """Write recipes: a tiny one, and one that does not end."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, config in ({"tiny": make_tiny_config(), "endless": make_tiny_config(endless=True)} | recipes).items():
        values = config.model_dump(mode="json", exclude_defaults=True)
        (folder / f"{name}.yaml").write_text(f"# python -m training\n{yaml.safe_dump(values)}", "utf-8")
    return folder


def make_training_service(
    folder: Path, bundled_checkpoints: Path, start_jobs: bool = False, **more: Any
) -> TrainingService:
    """Return a training service over a directory.

    Args:
        folder: for runs and recipes.
        bundled: checkpoints that come with the app.
        starts: whether jobs really begin; without, what is put in line stays there.
        more: for `TrainingService`; a `token` for the runner.
    """
    runner = JobScheduler(folder / "runs", environment=build_environment(), token=more.pop("token", ""))
    services = make_inference_service(bundled_checkpoints, runs_dir=folder / "runs", **more.pop("models", {}))
    made = TrainingService(runner, services.catalog, write_recipes(folder / "configs"), **more)
    if start_jobs:
        made.start_scheduler()
    else:
        runner.is_leader = True
    return made


def create_fake_run(
    training_service: TrainingService, run_id: str, state: str = "succeeded", steps: tuple[int, ...] = (), **job: Any
) -> RunDir:
    """Create a run directory with settings, metrics, a log and checkpoints, and a job in this state."""
    folder = RunDir(training_service.scheduler.runs_dir / run_id)
    folder.initialize(make_tiny_config(steps=100))
    folder.save_command("python -m training train configs/tiny.yaml")
    last = max(steps, default=50)
    for line in make_metrics_lines(last):
        folder.log_metrics(line)
    folder.write_status("training", last, max(100, 2 * last), steps_per_second=5.0)
    folder.log_file.write_text("step 10 of 100: loss 0.1\nstep 20 of 100: loss 0.05\n")
    for step in steps:
        (
            make_checkpoint(folder.checkpoint_dir(step), "parity") / "halting.json"
        ).unlink()  # chosen after the last step alone
        folder.trainer_state_dir(step).mkdir(parents=True)
        (folder.trainer_state_dir(step) / "progress.pt").write_bytes(b"optimiser")
    if state == "succeeded":
        make_checkpoint(folder.final_checkpoint_dir, "parity")
    now = time.time()
    began = {
        "submitted_at": now,
        "queued_at": now,
        "started_at": now - 60,
        "ended_at": 0.0 if state == "running" else now,
    } | job
    training_service.scheduler.store.add(Job(run_id, state, **began))  # type: ignore[arg-type]
    return folder


def build_page(training_service: TrainingService, access: Access) -> gr.Blocks:
    made = page.build_page(InferenceService(training_service.catalog), training_service, access)
    made.queue(max_size=64)
    return made


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
