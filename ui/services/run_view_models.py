"""What screens show of runs: read from their folders, whatever state those are in."""

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctm.stores.base import is_complete_checkpoint
from training.jobs.scheduler import JobScheduler
from training.jobs.store import Job
from training.publishing.outbox import PENDING_STATES, Outbox
from training.run_dir import RunDir
from ui.services.form_schema import build_settings_comparison
from ui.services.training_curves import build_curves_data, to_finite_float

MAX_LOG_CHARS = 24_000  # characters of a log that are shown
STATE_LABELS = {
    "queued": "waiting for its turn",
    "running": "training",
    "succeeded": "finished",
    "failed": "failed",
    "cancelled": "stopped",
    "interrupted": "interrupted",
}
MAX_COMPARED_RUNS = 6
MAX_CACHED_VIEWS, MAX_CACHED_ROWS = 30, 10_000  # runs of which what was read is remembered


class RunViewModels:
    """Runs as they are seen. What was read is kept until something of the run changes, for many may watch at once.

    Args:
        runner: knows them.
    """

    def __init__(self, scheduler: JobScheduler):
        self.scheduler = scheduler
        self._views: dict[str, tuple[Any, Any]] = {}
        self._rows: dict[str, tuple[Any, Any]] = {}
        self._lock = threading.Lock()

    def list_jobs(self) -> list[Job]:
        return self.scheduler.store.list_jobs()

    def list_run_choices(self) -> list[tuple[str, str]]:
        """Every run, with what it does, and its id."""
        return [(f"{job.id} ({STATE_LABELS[job.state]})", job.id) for job in self.list_jobs()]

    def get_current_run_id(self) -> str | None:
        """The run that people want to see first: the one that runs, or else the newest."""
        running = self.scheduler.store.list_running()
        jobs = running or self.list_jobs()
        return jobs[0].id if jobs else None

    def get_run_view(self, run_id: str) -> dict[str, Any]:
        """All that is shown of a run; read anew only when something of it has changed."""
        return self._get_cached(self._views, MAX_CACHED_VIEWS, self.scheduler.store.get(run_id), self._build_view)

    def _get_cached(
        self, cache: dict[str, tuple[Any, Any]], max_entries: int, job: Job, build: Callable[[Job, RunDir, str], Any]
    ) -> Any:
        """What was read of a run, read again if something has changed; many may ask at once."""
        folder = RunDir(self.scheduler.runs_dir / job.id)
        stamp = (job, compute_change_stamp(folder))
        with self._lock:
            if job.id not in cache or cache[job.id][0] != stamp:
                while len(cache) >= max_entries:
                    del cache[next(iter(cache))]  # the one that was read again longest ago
                cache.pop(job.id, None)
                # a version of before the reading: what is written meanwhile is read, and seen, the next time
                cache[job.id] = (stamp, build(job, folder, f"{job.id} {hash(stamp)}"))
            return cache[job.id][1]

    def _build_view(self, job: Job, run_dir: RunDir, version: str) -> dict[str, Any]:
        lines, status = read_or_default(run_dir.read_metrics, []), read_status(run_dir)
        step, steps, speed = status["step"], status["steps"], status["steps_per_second"]
        entries = read_or_default(Outbox(run_dir.path).entries, [])
        return {
            "id": job.id,
            "state": job.state,
            "version": version,
            "by": job.by,
            "headline": build_headline(job, status),
            "sentence": job.sentence,
            "share": step / steps if steps else 0.0,
            "step": step,
            "steps": steps,
            "left": (steps - step) / speed if speed and job.state == "running" else None,
            "speed": speed,
            "curves": build_curves_data([(job.id, lines, steps)]),
            "log": read_log_tail(run_dir.log_file, self.scheduler.token),
            "saved": run_dir.list_steps(),
            "finished": is_complete_checkpoint(run_dir.final_checkpoint_dir),
            "command": get_command(run_dir),
            "published": entries[-1].format_status() if entries else "",
            "publishing": bool(entries and entries[-1].state in PENDING_STATES),
            "address": entries[-1].url if entries else "",
            "size": compute_dir_size(run_dir.path),
            "place": job.place,
            "url": job.url,
            "submitted": job.submitted,
            "started": job.started,
            "ended": job.ended,
            "intent": job.intent,
            "repo": read_or_default(lambda: run_dir.load_config().publish.repo, ""),
        }

    def list_history_rows(self) -> list[list[Any]]:
        """A row for every run: id, state, task, step, accuracy on held-out samples, minutes, when, by whom, where, disk."""
        return [self._get_cached(self._rows, MAX_CACHED_ROWS, job, self._build_history_row) for job in self.list_jobs()]

    def _build_history_row(self, job: Job, run_dir: RunDir, _: str) -> list[Any]:
        task, status = read_or_default(lambda: run_dir.load_config().task["kind"], "?"), read_status(run_dir)
        best = to_finite_float(read_or_default(run_dir.read_latest_validation, {}).get("validation_accuracy_best"))
        took = (job.ended or time.time()) - job.started if job.started else 0
        return [
            job.id,
            STATE_LABELS[job.state],
            task,
            status["step"],
            None if best is None else round(100 * best, 2),
            round(took / 60, 1),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(job.submitted)),
            job.by,
            job.place,
            round(compute_dir_size(run_dir.path) / 2**20, 1),
        ]

    def compare(self, run_ids: Sequence[str]) -> tuple[dict[str, Any], list[list[str]]]:
        """Curves of several runs in one value, and their settings side by side."""
        folders = [self.scheduler.get_run_dir(id) for id in run_ids[:MAX_COMPARED_RUNS]]
        curves = build_curves_data(
            [(f.path.name, read_or_default(f.read_metrics, []), read_status(f)["steps"]) for f in folders]
        )
        return curves, build_settings_comparison([(folder.path.name, folder.load_config()) for folder in folders])


def read_or_default(read: Callable[[], Any], default: Any) -> Any:
    """What a file of a run says, or `otherwise` where it is broken: one odd run must not hide the others."""
    try:
        return read()
    except (ValueError, OSError, TypeError, AttributeError, RecursionError):
        return default


def get_command(run_dir: RunDir) -> str:
    return read_or_default(run_dir.read_command, "unknown")


def read_status(run_dir: RunDir) -> dict[str, Any]:
    """How far a run says that it is: numbers, whatever its file holds, and the name of its phase."""
    said = read_or_default(run_dir.read_status, {})
    found = {name: max(0.0, to_finite_float(said.get(name)) or 0.0) for name in ("step", "steps", "steps_per_second")}
    return {"phase": str(said.get("phase", "")), **found, "step": int(found["step"]), "steps": int(found["steps"])}


def build_headline(job: Job, status: Mapping[str, Any]) -> str:
    """What a run is doing, in a few words."""
    step, steps = status.get("step", 0), status.get("steps", 0)
    reached = f"step {step:,} of {steps:,}" if steps else "no step yet"
    if job.state == "running":
        if job.intent in ("stop", "leave"):
            return f"Stopping at {reached}: it saves first"
        if job.intent == "kill":
            return "Being killed"
        phases = {
            "finishing": "Finishing: fits the energy, chooses thresholds, measures",
            "finished": "Ending: publishes what it made",
        }
        return phases.get(status.get("phase", ""), f"Training: {reached}" if steps else "Starting")
    return STATE_LABELS[job.state].capitalize() + (
        f" at {reached}" if job.state in ("failed", "cancelled", "interrupted") else ""
    )


def compute_change_stamp(run_dir: RunDir) -> tuple[tuple[str, int, int], ...]:
    """What tells whether something of a run has changed, without reading it."""
    found = []
    watched = [
        run_dir.metrics_file,
        run_dir.path / "status.json",
        run_dir.log_file,
        run_dir.path / "checkpoints",
        run_dir.final_checkpoint_dir,
    ]
    for path in (*watched, *run_dir.path.glob("outbox/*/entry.json")):
        try:
            about = path.stat()
        except OSError:
            continue
        found.append((path.name, about.st_mtime_ns, about.st_size))
    return tuple(found)


def read_log_tail(path: Path, secret: str) -> str:
    """The end of a log, in whole lines, with the token blotted out should anything ever have printed it."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - MAX_LOG_CHARS))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")
    if size > MAX_LOG_CHARS:  # the first line is cut off, and might begin in the middle of the token
        text = text.partition("\n")[2]
    return text.replace(secret, "•••") if secret else text


def compute_dir_size(directory: Path) -> int:
    """Bytes that a folder takes on the disk; what is linked is counted once."""
    found = {}
    for place, _, files in os.walk(directory):  # which passes over folders that are removed meanwhile
        for name in files:
            with contextlib.suppress(OSError):
                about = Path(place, name).lstat()
                found[about.st_ino] = about.st_size
    return sum(found.values())
