"""Runs for screens to show: some that only look as if they had been trained, and some that really train."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
import yaml

from tests.training.jobs.conftest import environment, tiny
from tests.ui.conftest import make_checkpoint, services_over
from training.config import RunConfig
from training.jobs.scheduler import JobScheduler
from training.jobs.store import Job
from training.run_dir import RunFolder
from ui import page
from ui.auth.access import Access
from ui.server.app_factory import create_fastapi_app
from ui.services.inference_service import InferenceService
from ui.services.training_service import TrainingService

SECRET = "a-long-enough-secret"


def lines_of(last: int, every: int = 10) -> list[dict[str, Any]]:
    """Figures as a training logs them."""
    found: list[dict[str, Any]] = []
    for step in range(every, last + 1, every):
        found.append({"step": step, "loss": 1 / step, "accuracy": 0.5, "lr": 1e-3, "steps_per_second": 5.0})
        if step % (5 * every) == 0:
            found.append({"step": step, "validation_accuracy_best": 0.9, "validation_accuracy_by_tick": [0.5, 0.9]})
    return found


def recipes_in(folder: Path, **recipes: RunConfig) -> Path:
    """A folder of recipes: a tiny one, and one that would not end."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, config in ({"tiny": tiny(), "endless": tiny(endless=True)} | recipes).items():
        values = config.model_dump(mode="json", exclude_defaults=True)
        (folder / f"{name}.yaml").write_text(f"# python -m training\n{yaml.safe_dump(values)}", "utf-8")
    return folder


def trainings_in(folder: Path, bundled: Path, starts: bool = False, **more: Any) -> TrainingService:
    """Trainings over a folder.

    Args:
        folder: for runs and recipes.
        bundled: checkpoints that come with the app.
        starts: whether jobs really begin; without, what is put in line stays there.
        more: for `TrainingService`; a `token` for the runner.
    """
    runner = JobScheduler(folder / "runs", environment=environment(), token=more.pop("token", ""))
    services = services_over(bundled, runs=folder / "runs", **more.pop("models", {}))
    made = TrainingService(runner, services.catalog, recipes_in(folder / "configs"), **more)
    if starts:
        made.start_scheduler()
    else:
        runner.is_leader = True
    return made


def pretend(
    trainings: TrainingService, id: str, state: str = "succeeded", steps: tuple[int, ...] = (), **job: Any
) -> RunFolder:
    """A run that looks as if it had been trained: settings, figures, a log, saved steps; finished if it succeeded."""
    folder = RunFolder(trainings.scheduler.runs_dir / id)
    folder.begin(tiny(steps=100))
    folder.remember_command("python -m training train configs/tiny.yaml")
    last = max(steps, default=50)
    for line in lines_of(last):
        folder.log(line)
    folder.say("training", last, max(100, 2 * last), steps_per_second=5.0)
    folder.log_file.write_text("step 10 of 100: loss 0.1\nstep 20 of 100: loss 0.05\n")
    for step in steps:
        (
            make_checkpoint(folder.checkpoint(step), "parity") / "halting.json"
        ).unlink()  # chosen after the last step alone
        folder.trainer(step).mkdir(parents=True)
        (folder.trainer(step) / "progress.pt").write_bytes(b"optimiser")
    if state == "succeeded":
        make_checkpoint(folder.finished, "parity")
    now = time.time()
    began = {"submitted": now, "queued": now, "started": now - 60, "ended": 0.0 if state == "running" else now} | job
    trainings.scheduler.store.add(Job(id, state, **began))  # type: ignore[arg-type]
    return folder


def built(trainings: TrainingService, access: Access) -> gr.Blocks:
    made = page.build_page(InferenceService(trainings.catalog), trainings, access)
    made.queue(max_size=64)
    return made


@contextlib.contextmanager
def served(trainings: TrainingService, access: Access, blocks: gr.Blocks | None = None) -> Iterator[str]:
    """The page on a port of this machine, as app.py serves it; its address."""
    app = create_fastapi_app(blocks or built(trainings, access), access)
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
        for route in app.routes:  # open pages hold a stream, which waits for this
            if stop := getattr(getattr(route, "app", None), "stop_event", None):
                stop.set()
        server.should_exit = True
        thread.join(10)
