"""View models of runs, read from their run directories in any state."""

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctm.io.json_files import read_json
from ctm.stores.base import is_complete_checkpoint
from training.config import RunConfig
from training.jobs.job import Job
from training.jobs.scheduler import JobScheduler
from training.progress_summary import describe_expectation
from training.publishing.outbox import ENTRY_FILENAME, PENDING_STATES, get_outboxes
from training.run_dir import RunDir
from ui.services.file_stamps import compute_file_stamp
from ui.services.form_schema import build_settings_comparison
from ui.services.run_progress import PublishedResults, describe_run, estimate_seconds_left
from ui.services.training_curves import (
    MAX_NUMBERS_PER_COMPARED_RUN,
    MAX_NUMBERS_PER_RUN,
    build_curves_data,
    build_heatmap,
    build_run_data,
    to_finite_float,
)

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
MAX_CACHED_SAMPLES = 30  # runs, the newest evaluation of each
MAX_CACHED_COMPARISONS = 100
UNKNOWN_TASK = "?"


class RunViewModels:
    """Builds and caches view models of runs. Thread-safe.

    A view model is built again only after a file of its run has changed, because many visitors may watch one run.

    Args:
        scheduler: Scheduler of the runs.
        bundled_dir: Directory of the bundled checkpoints, whose results the runs of the same recipes are compared with.
    """

    def __init__(self, scheduler: JobScheduler, bundled_dir: Path | None = None) -> None:
        self.scheduler = scheduler
        self._published_results = PublishedResults(bundled_dir)
        self._views: dict[str, tuple[Any, Any]] = {}
        self._rows: dict[str, tuple[Any, Any]] = {}
        self._samples: dict[str, tuple[Any, Any]] = {}
        self._comparisons: dict[Any, list[list[str]]] = {}
        self._tasks: dict[str, str] = {}
        self._lock = threading.Lock()

    def list_jobs(self) -> list[Job]:
        """Return all jobs, the newest first."""
        return self.scheduler.list_jobs()

    def list_runs(self) -> list[dict[str, str]]:
        """Return id, task and state of every run, the newest first."""
        return [
            {"id": job.id, "task": self._get_task(job.id), "state": self._get_state_label(job)}
            for job in self.list_jobs()
        ]

    def _get_task(self, run_id: str) -> str:
        """Return the kind of task of a run, which never changes, so its settings are read once."""
        if run_id not in self._tasks:
            task = read_task(RunDir(self.scheduler.runs_dir / run_id))
            if task == UNKNOWN_TASK:
                return task
            self._tasks[run_id] = task
        return self._tasks[run_id]

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
        return self._get_stamped(
            cache, max_entries, job.id, stamp, lambda: build(job, run_dir, f"{job.id} {hash(stamp)}")
        )

    def _get_stamped(
        self, cache: dict[str, tuple[Any, Any]], max_entries: int, key: str, stamp: Any, build: Callable[[], Any]
    ) -> Any:
        """Return the cached value of a key, or build it if its stamp differs."""
        with self._lock:
            if key not in cache or cache[key][0] != stamp:
                while len(cache) >= max_entries:
                    del cache[next(iter(cache))]  # the least recently built one
                cache.pop(key, None)
                # the stamp was taken before reading, so a concurrent change is noticed the next time
                cache[key] = (stamp, build())
            return cache[key][1]

    def _build_view(self, job: Job, run_dir: RunDir, version: str) -> dict[str, Any]:
        lines, status = read_or_default(run_dir.read_metrics, []), read_status(run_dir)
        step, steps, speed = status["step"], status["steps"], status["steps_per_second"]
        config = read_or_default(run_dir.load_config, None)
        published = self._published_results.find(get_command(run_dir))
        entries, space_entries = (read_or_default(outbox.entries, []) for outbox in get_outboxes(run_dir.path))
        newest_entries = [*entries[-1:], *space_entries[-1:]]
        samples = count_samples_per_step(job, config)
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
            "left": estimate_seconds_left(status) if job.state == "running" else None,
            "progress": describe_run(job.state, status, config, lines, read_evaluations(run_dir), published),
            "expectation": describe_expectation(step, published),
            "speed": speed,
            "task": self._get_task(job.id),
            "data": build_run_data(job.id, lines, samples, MAX_NUMBERS_PER_RUN),
            "compared_data": build_run_data(job.id, lines, samples, MAX_NUMBERS_PER_COMPARED_RUN),
            "heatmap": build_heatmap(lines, job.id),
            "log": self.scheduler.redact_token(read_log_tail(run_dir.log_file)),
            "saved": run_dir.list_steps(),
            "finished": is_complete_checkpoint(run_dir.final_checkpoint_dir),
            "command": get_command(run_dir),
            "published": " ".join(entry.format_status() for entry in newest_entries),
            "publishing": any(entry.state in PENDING_STATES for entry in newest_entries),
            "address": entries[-1].url if entries else "",
            "size": compute_dir_size(run_dir.path),
            "place": job.target,
            "url": job.url,
            "submitted": job.submitted_at,
            "started": job.started_at,
            "ended": job.ended_at,
            "intent": job.requested_action,
            "repo": config.publish.repo if config else "",
        }

    def list_history_rows(self) -> list[list[Any]]:
        """Return one row per run: id, state, task, step, held-out accuracy, minutes, date, user, host, megabytes on disk."""
        return [self._get_cached(self._rows, MAX_CACHED_ROWS, job, self._build_history_row) for job in self.list_jobs()]

    def _build_history_row(self, job: Job, run_dir: RunDir, _: str) -> list[Any]:
        task, status = self._get_task(job.id), read_status(run_dir)
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

    def get_curves(self, run_ids: Sequence[str], shown: str) -> dict[str, Any]:
        """Return the value of the curves component.

        Args:
            run_ids: The runs in the charts, at most `MAX_COMPARED_RUNS`.
            shown: The run whose accuracy by tick is shown.
        """
        views = [self.get_run_view(run_id) for run_id in run_ids]
        key = "data" if len(views) < 2 else "compared_data"
        heatmap = next((view["heatmap"] for view in views if view["id"] == shown), None)
        return build_curves_data([view[key] for view in views], heatmap) | {
            "differences": self.get_setting_differences(run_ids)
        }

    def get_setting_differences(self, run_ids: Sequence[str]) -> list[list[str]]:
        """Return the settings that differ between runs: name, and one value per run. A run with damaged settings has none."""
        if len(run_ids) < 2:
            return []
        run_dirs = [RunDir(self.scheduler.runs_dir / run_id) for run_id in run_ids]
        key = tuple((run_dir.path.name, *compute_file_stamp(run_dir.config_file)) for run_dir in run_dirs)
        with self._lock:
            if key not in self._comparisons:
                if len(self._comparisons) >= MAX_CACHED_COMPARISONS:
                    del self._comparisons[next(iter(self._comparisons))]
                self._comparisons[key] = compare_settings(run_dirs)
            return self._comparisons[key]

    def get_samples_version(self, run_id: str) -> str:
        """Return a text that changes with the samples of a run."""
        return f"{run_id} {compute_file_stamp(RunDir(self.scheduler.runs_dir / run_id).samples_file)}"

    def get_samples(self, run_id: str, step: int | None = None) -> dict[str, Any]:
        """Return the value of the samples component.

        Args:
            run_id: Id of the run.
            step: The evaluation to show; None or an unknown step for the newest, which is read once for all readers.

        Raises:
            ValueError: There is no such run.
        """
        run_dir = self.scheduler.get_run_dir(run_id)
        newest: dict[str, Any] = self._get_stamped(
            self._samples,
            MAX_CACHED_SAMPLES,
            run_id,
            compute_file_stamp(run_dir.samples_file),
            lambda: read_newest_samples(run_dir),
        )
        if step is None or step not in newest["steps"] or step == newest["step"]:
            return newest
        return newest | {"step": step, "samples": run_dir.samples.read(step)}


def read_newest_samples(run_dir: RunDir) -> dict[str, Any]:
    """Return the value of the samples component for the newest evaluation of a run."""
    steps = read_or_default(run_dir.samples.list_steps, [])
    samples = run_dir.samples.read(steps[-1]) if steps else []
    return {"run": run_dir.path.name, "steps": steps, "step": steps[-1] if steps else None, "samples": samples}


def compare_settings(run_dirs: Sequence[RunDir]) -> list[list[str]]:
    """Return the settings that differ between runs: name, and one value per run."""
    configs = [read_or_default(run_dir.load_config, None) for run_dir in run_dirs]
    if any(config is None for config in configs):
        return []
    names = [run_dir.path.name for run_dir in run_dirs]
    rows = build_settings_comparison(list(zip(names, configs, strict=True)))
    return [row[:-1] for row in rows if row[-1]]


def read_task(run_dir: RunDir) -> str:
    """Return the kind of task of a run, or `UNKNOWN_TASK`."""
    return read_or_default(lambda: str(run_dir.load_config().last_stage.task.get("kind", UNKNOWN_TASK)), UNKNOWN_TASK)


def count_samples_per_step(job: Job, config: RunConfig | None) -> int:
    """Return the number of training samples of one step; 1 if the settings cannot be read."""
    if config is None:
        return 1
    return config.train.batch_size * config.train.gradient_accumulation_steps * max(1, job.devices)


def read_or_default(read: Callable[[], Any], default: Any) -> Any:
    """Return what a file of a run contains, or a default if it is invalid: one broken run must not hide the others."""
    try:
        return read()
    except (ValueError, OSError, TypeError, AttributeError, RecursionError):
        return default


def get_command(run_dir: RunDir) -> str:
    """Return the command of a run, or the text "unknown"."""
    return read_or_default(run_dir.read_command, "unknown")


def read_evaluations(run_dir: RunDir) -> list[Any]:
    """Return the evaluations of the final checkpoint of a run; [] without one."""
    path = run_dir.final_checkpoint_dir / "metrics.json"
    evaluations = read_or_default(lambda: read_json(path, default={}).get("evaluations"), [])
    return evaluations if isinstance(evaluations, list) else []


def read_status(run_dir: RunDir) -> dict[str, Any]:
    """Return progress and phase of a run: finite numbers, whatever its file contains."""
    status = read_or_default(run_dir.read_status, {})
    numbers = {
        name: max(0.0, to_finite_float(status.get(name)) or 0.0)
        for name in ("step", "steps", "steps_per_second", "seconds_to_finalize", "stage", "stages")
    }
    return {
        "phase": str(status.get("phase", "")),
        **numbers,
        "step": int(numbers["step"]),
        "steps": int(numbers["steps"]),
        "stage": int(numbers["stage"]),
        "stages": int(numbers["stages"]),
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
    if status.get("stages", 0) > 1:
        progress += f", stage {status['stage']} of {status['stages']}"
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
        run_dir.samples_file,
        run_dir.status_file,
        run_dir.log_file,
        run_dir.checkpoints_dir,
        run_dir.final_checkpoint_dir,
    ]
    for path in (*watched, *run_dir.path.glob(f"*outbox/*/{ENTRY_FILENAME}")):
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
