"""View models of runs, read from their run directories in any state."""

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctm.stores.base import is_complete_checkpoint
from training.jobs.job import Job
from training.jobs.scheduler import JobScheduler
from training.publishing.outbox import ENTRY_FILENAME, PENDING_STATES, Outbox
from training.run_dir import RunDir
from ui.services.form_schema import build_settings_comparison
from ui.services.training_curves import build_curves_data, to_finite_float

MAX_LOG_CHARS = 24_000  # shown from the end of a log
STATE_LABELS = {
    "queued": "queued",
    "running": "training",
    "succeeded": "finished",
    "failed": "failed",
    "cancelled": "stopped",
    "interrupted": "interrupted",
}
MAX_COMPARED_RUNS = 6
MAX_CACHED_VIEWS = 30
MAX_CACHED_ROWS = 10_000


class RunViewModels:
    """Builds and caches view models of runs. Thread-safe.

    A view model is built again only after a file of its run has changed, because many visitors may watch one run.

    Args:
        scheduler: Scheduler of the runs.
    """

    def __init__(self, scheduler: JobScheduler) -> None:
        self.scheduler = scheduler
        self._views: dict[str, tuple[Any, Any]] = {}
        self._rows: dict[str, tuple[Any, Any]] = {}
        self._lock = threading.Lock()

    def list_jobs(self) -> list[Job]:
        """Return all jobs, the newest first."""
        return self.scheduler.list_jobs()

    def list_run_choices(self) -> list[tuple[str, str]]:
        """Return label and id of every run."""
        return [(f"{job.id} ({self._get_state_label(job)})", job.id) for job in self.list_jobs()]

    def _get_state_label(self, job: Job) -> str:
        """Return the state of a run as all views name it. Only that of a running one needs its files."""
        if job.state != "running":
            return STATE_LABELS[job.state]
        return format_state(job, read_status(RunDir(self.scheduler.runs_dir / job.id)))

    def get_current_run_id(self) -> str | None:
        """Return the id of the run to show first: the running one, else the newest; None without runs."""
        running = self.scheduler.list_running_jobs()
        jobs = running or self.list_jobs()
        return jobs[0].id if jobs else None

    def get_run_view(self, run_id: str) -> dict[str, Any]:
        """Return the view model of a run, built again only after a change.

        Raises:
            ValueError: There is no such run.
        """
        return self._get_cached(self._views, MAX_CACHED_VIEWS, self.scheduler.get_job(run_id), self._build_view)

    def _get_cached(
        self, cache: dict[str, tuple[Any, Any]], max_entries: int, job: Job, build: Callable[[Job, RunDir, str], Any]
    ) -> Any:
        """Return the cached value of a run, or build it if a file of the run has changed."""
        run_dir = RunDir(self.scheduler.runs_dir / job.id)
        stamp = (job, compute_change_stamp(run_dir))
        with self._lock:
            if job.id not in cache or cache[job.id][0] != stamp:
                while len(cache) >= max_entries:
                    del cache[next(iter(cache))]  # the least recently built one
                cache.pop(job.id, None)
                # the stamp was taken before reading, so a concurrent change is noticed the next time
                cache[job.id] = (stamp, build(job, run_dir, f"{job.id} {hash(stamp)}"))
            return cache[job.id][1]

    def _build_view(self, job: Job, run_dir: RunDir, version: str) -> dict[str, Any]:
        lines, status = read_or_default(run_dir.read_metrics, []), read_status(run_dir)
        step, steps, speed = status["step"], status["steps"], status["steps_per_second"]
        entries = read_or_default(Outbox(run_dir.path).entries, [])
        return {
            "id": job.id,
            "state": job.state,
            "state_label": format_state(job, status),
            "version": version,
            "by": job.submitted_by,
            "headline": build_headline(job, status),
            "sentence": job.status_message,
            "share": step / steps if steps else 0.0,
            "step": step,
            "steps": steps,
            "left": (steps - step) / speed if speed and job.state == "running" else None,
            "speed": speed,
            "curves": build_curves_data([(job.id, lines, steps)]),
            "log": self.scheduler.redact_token(read_log_tail(run_dir.log_file)),
            "saved": run_dir.list_steps(),
            "finished": is_complete_checkpoint(run_dir.final_checkpoint_dir),
            "command": get_command(run_dir),
            "published": entries[-1].format_status() if entries else "",
            "publishing": bool(entries and entries[-1].state in PENDING_STATES),
            "address": entries[-1].url if entries else "",
            "size": compute_dir_size(run_dir.path),
            "place": job.target,
            "url": job.url,
            "submitted": job.submitted_at,
            "started": job.started_at,
            "ended": job.ended_at,
            "intent": job.requested_action,
            "repo": read_or_default(lambda: run_dir.load_config().publish.repo, ""),
        }

    def list_history_rows(self) -> list[list[Any]]:
        """Return one row per run: id, state, task, step, held-out accuracy, minutes, date, user, host, megabytes on disk."""
        return [self._get_cached(self._rows, MAX_CACHED_ROWS, job, self._build_history_row) for job in self.list_jobs()]

    def _build_history_row(self, job: Job, run_dir: RunDir, _: str) -> list[Any]:
        task, status = read_or_default(lambda: run_dir.load_config().task["kind"], "?"), read_status(run_dir)
        best = to_finite_float(read_or_default(run_dir.read_latest_validation, {}).get("validation_accuracy_best"))
        duration_s = (job.ended_at or time.time()) - job.started_at if job.started_at else 0
        return [
            job.id,
            format_state(job, status),
            task,
            status["step"],
            None if best is None else round(100 * best, 2),
            round(duration_s / 60, 1),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(job.submitted_at)),
            job.submitted_by,
            job.target,
            round(compute_dir_size(run_dir.path) / 2**20, 1),
        ]

    def compare(self, run_ids: Sequence[str]) -> tuple[dict[str, Any], list[list[str]]]:
        """Return the curves of several runs, and a table of their settings."""
        run_dirs = [self.scheduler.get_run_dir(run_id) for run_id in run_ids[:MAX_COMPARED_RUNS]]
        curves = build_curves_data(
            [(f.path.name, read_or_default(f.read_metrics, []), read_status(f)["steps"]) for f in run_dirs]
        )
        return curves, build_settings_comparison([(run_dir.path.name, run_dir.load_config()) for run_dir in run_dirs])


def read_or_default(read: Callable[[], Any], default: Any) -> Any:
    """Return what a file of a run contains, or a default if it is invalid: one broken run must not hide the others."""
    try:
        return read()
    except (ValueError, OSError, TypeError, AttributeError, RecursionError):
        return default


def get_command(run_dir: RunDir) -> str:
    """Return the command of a run, or the text "unknown"."""
    return read_or_default(run_dir.read_command, "unknown")


def read_status(run_dir: RunDir) -> dict[str, Any]:
    """Return progress and phase of a run: finite numbers, whatever its file contains."""
    status = read_or_default(run_dir.read_status, {})
    numbers = {
        name: max(0.0, to_finite_float(status.get(name)) or 0.0) for name in ("step", "steps", "steps_per_second")
    }
    return {
        "phase": str(status.get("phase", "")),
        **numbers,
        "step": int(numbers["step"]),
        "steps": int(numbers["steps"]),
    }


def format_state(job: Job, status: Mapping[str, Any]) -> str:
    """Return the state of a run in a word, the same in the list, the table, the facts and the headline."""
    if job.state != "running":
        return STATE_LABELS[job.state]
    if job.requested_action:
        return "stopping"
    if status.get("phase") in ("finishing", "finished"):
        return "finishing"
    return STATE_LABELS["running"] if status.get("steps") else "starting"


def build_headline(job: Job, status: Mapping[str, Any]) -> str:
    """Return what a run is doing, in a few words."""
    step, steps = status.get("step", 0), status.get("steps", 0)
    progress = f"step {step:,} of {steps:,}" if steps else "no step yet"
    if job.state == "running":
        if job.requested_action in ("stop", "suspend"):
            return f"Saving at {progress}"
        if job.requested_action == "kill":
            return "Stopping by force"
        phases = {
            "finishing": "Finishing: fitting energy, choosing thresholds, evaluating",
            "finished": "Finishing",
        }
        return phases.get(status.get("phase", ""), f"Training: {progress}" if steps else "Starting")
    return STATE_LABELS[job.state].capitalize() + (
        f" at {progress}" if job.state in ("failed", "cancelled", "interrupted") else ""
    )


def compute_change_stamp(run_dir: RunDir) -> tuple[tuple[str, int, int], ...]:
    """Return a value that changes with the files of a run, without reading them."""
    stamp = []
    watched = [
        run_dir.metrics_file,
        run_dir.status_file,
        run_dir.log_file,
        run_dir.checkpoints_dir,
        run_dir.final_checkpoint_dir,
    ]
    for path in (*watched, *run_dir.outbox_dir.glob(f"*/{ENTRY_FILENAME}")):
        try:
            stat = path.stat()
        except OSError:
            continue
        stamp.append((path.name, stat.st_mtime_ns, stat.st_size))
    return tuple(stamp)


def read_log_tail(path: Path) -> str:
    """Return the end of a log in whole lines.

    Args:
        path: Path of the log.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - MAX_LOG_CHARS))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")
    if size > MAX_LOG_CHARS:  # the first line is incomplete, and may begin inside a token
        text = text.partition("\n")[2]
    return text


def compute_dir_size(directory: Path) -> int:
    """Return the size of a directory in bytes; hard links count once."""
    sizes = {}
    for parent, _, files in os.walk(directory):  # skips directories that are deleted meanwhile
        for name in files:
            with contextlib.suppress(OSError):
                stat = (Path(parent) / name).lstat()
                sizes[stat.st_ino] = stat.st_size
    return sum(sizes.values())
