"""What screens show of runs: read from their folders, whatever state those are in."""

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctm.stores.base import is_whole
from training.jobs.scheduler import Runner
from training.jobs.store import Job
from training.publishing.outbox import LIVE, Outbox
from training.run_dir import RunFolder
from ui.components.curves import curves_value, number
from ui.services.form_schema import side_by_side

TAIL = 24_000  # characters of a log that are shown
STATES = {
    "queued": "waiting for its turn",
    "running": "training",
    "succeeded": "finished",
    "failed": "failed",
    "cancelled": "stopped",
    "interrupted": "interrupted",
}
MOST_COMPARED = 6
MOST_VIEWS, MOST_ROWS = 30, 10_000  # runs of which what was read is remembered


class RunViews:
    """Runs as they are seen. What was read is kept until something of the run changes, for many may watch at once.

    Args:
        runner: knows them.
    """

    def __init__(self, runner: Runner):
        self.runner = runner
        self._views: dict[str, tuple[Any, Any]] = {}
        self._rows: dict[str, tuple[Any, Any]] = {}
        self._look = threading.Lock()

    def jobs(self) -> list[Job]:
        return self.runner.book.all()

    def choices(self) -> list[tuple[str, str]]:
        """Every run, with what it does, and its id."""
        return [(f"{job.id} ({STATES[job.state]})", job.id) for job in self.jobs()]

    def current(self) -> str | None:
        """The run that people want to see first: the one that runs, or else the newest."""
        running = self.runner.book.running()
        jobs = running or self.jobs()
        return jobs[0].id if jobs else None

    def watch(self, id: str) -> dict[str, Any]:
        """All that is shown of a run; read anew only when something of it has changed."""
        return self._known(self._views, MOST_VIEWS, self.runner.book.get(id), self._view)

    def _known(
        self, kept: dict[str, tuple[Any, Any]], most: int, job: Job, read: Callable[[Job, RunFolder, str], Any]
    ) -> Any:
        """What was read of a run, read again if something has changed; many may ask at once."""
        folder = RunFolder(self.runner.runs / job.id)
        stamp = (job, stamps(folder))
        with self._look:
            if job.id not in kept or kept[job.id][0] != stamp:
                while len(kept) >= most:
                    del kept[next(iter(kept))]  # the one that was read again longest ago
                kept.pop(job.id, None)
                # a version of before the reading: what is written meanwhile is read, and seen, the next time
                kept[job.id] = (stamp, read(job, folder, f"{job.id} {hash(stamp)}"))
            return kept[job.id][1]

    def _view(self, job: Job, folder: RunFolder, version: str) -> dict[str, Any]:
        lines, status = quietly(folder.read_metrics, []), status_of(folder)
        step, steps, speed = status["step"], status["steps"], status["steps_per_second"]
        entries = quietly(Outbox(folder.path).entries, [])
        return {
            "id": job.id,
            "state": job.state,
            "version": version,
            "by": job.by,
            "headline": headline(job, status),
            "sentence": job.sentence,
            "share": step / steps if steps else 0.0,
            "step": step,
            "steps": steps,
            "left": (steps - step) / speed if speed and job.state == "running" else None,
            "speed": speed,
            "curves": curves_value([(job.id, lines, steps)]),
            "log": tail(folder.log_file, self.runner.token),
            "saved": folder.steps(),
            "finished": is_whole(folder.finished),
            "command": command_of(folder),
            "published": entries[-1].say() if entries else "",
            "publishing": bool(entries and entries[-1].state in LIVE),
            "address": entries[-1].url if entries else "",
            "size": size_of(folder.path),
            "place": job.place,
            "url": job.url,
            "submitted": job.submitted,
            "started": job.started,
            "ended": job.ended,
            "intent": job.intent,
            "repo": quietly(lambda: folder.config().publish.repo, ""),
        }

    def history(self) -> list[list[Any]]:
        """A row for every run: id, state, task, step, accuracy on held-out samples, minutes, when, by whom, where, disk."""
        return [self._known(self._rows, MOST_ROWS, job, self._row) for job in self.jobs()]

    def _row(self, job: Job, folder: RunFolder, _: str) -> list[Any]:
        task, status = quietly(lambda: folder.config().task["kind"], "?"), status_of(folder)
        best = number(quietly(folder.last_validation, {}).get("validation_accuracy_best"))
        took = (job.ended or time.time()) - job.started if job.started else 0
        return [
            job.id,
            STATES[job.state],
            task,
            status["step"],
            None if best is None else round(100 * best, 2),
            round(took / 60, 1),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(job.submitted)),
            job.by,
            job.place,
            round(size_of(folder.path) / 2**20, 1),
        ]

    def compare(self, ids: Sequence[str]) -> tuple[dict[str, Any], list[list[str]]]:
        """Curves of several runs in one value, and their settings side by side."""
        folders = [self.runner.folder(id) for id in ids[:MOST_COMPARED]]
        curves = curves_value([(f.path.name, quietly(f.read_metrics, []), status_of(f)["steps"]) for f in folders])
        return curves, side_by_side([(folder.path.name, folder.config()) for folder in folders])


def quietly(read: Callable[[], Any], otherwise: Any) -> Any:
    """What a file of a run says, or `otherwise` where it is broken: one odd run must not hide the others."""
    try:
        return read()
    except (ValueError, OSError, TypeError, AttributeError, RecursionError):
        return otherwise


def command_of(folder: RunFolder) -> str:
    return quietly(folder.command, "unknown")


def status_of(folder: RunFolder) -> dict[str, Any]:
    """How far a run says that it is: numbers, whatever its file holds, and the name of its phase."""
    said = quietly(folder.status, {})
    found = {name: max(0.0, number(said.get(name)) or 0.0) for name in ("step", "steps", "steps_per_second")}
    return {"phase": str(said.get("phase", "")), **found, "step": int(found["step"]), "steps": int(found["steps"])}


def headline(job: Job, status: Mapping[str, Any]) -> str:
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
    return STATES[job.state].capitalize() + (
        f" at {reached}" if job.state in ("failed", "cancelled", "interrupted") else ""
    )


def stamps(folder: RunFolder) -> tuple[tuple[str, int, int], ...]:
    """What tells whether something of a run has changed, without reading it."""
    found = []
    watched = [
        folder.metrics,
        folder.path / "status.json",
        folder.log_file,
        folder.path / "checkpoints",
        folder.finished,
    ]
    for path in (*watched, *folder.path.glob("outbox/*/entry.json")):
        try:
            about = path.stat()
        except OSError:
            continue
        found.append((path.name, about.st_mtime_ns, about.st_size))
    return tuple(found)


def tail(path: Path, secret: str) -> str:
    """The end of a log, in whole lines, with the token blotted out should anything ever have printed it."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")
    if size > TAIL:  # the first line is cut off, and might begin in the middle of the token
        text = text.partition("\n")[2]
    return text.replace(secret, "•••") if secret else text


def size_of(folder: Path) -> int:
    """Bytes that a folder takes on the disk; what is linked is counted once."""
    found = {}
    for place, _, files in os.walk(folder):  # which passes over folders that are removed meanwhile
        for name in files:
            with contextlib.suppress(OSError):
                about = os.lstat(os.path.join(place, name))
                found[about.st_ino] = about.st_size
    return sum(found.values())
