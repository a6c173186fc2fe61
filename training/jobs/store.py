"""Job store: one record per run with its queue position, state and outcome, in one JSON file.

    {"version": 1, "jobs": [{"id": "digits-20260101-120000", "state": "queued", ...}, ...]}

The file is small and is replaced atomically at every change, under a file lock. One process writes (the scheduler that
holds the lease); any number of processes read, at most once per `READ_CACHE_TTL_S`. The run directory holds everything
else, so a lost store is rebuilt from the run directories.

A store without a file imports `jobs.sqlite` of version 0.1.0 from the same directory. Reading alone writes nothing. The
first change writes the imported jobs and renames `jobs.sqlite`, so that its jobs are imported once.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ctm.io.json_files import read_json, write_json
from ctm.io.locks import file_lock
from training.jobs.job import ALLOWED_TRANSITIONS, Job, parse_jobs
from training.jobs.legacy_store import LEGACY_STORE_FILENAME, read_legacy_jobs

STORE_FILENAME = "jobs.json"
STORE_VERSION = 1
IMPORTED_SUFFIX = ".imported"

READ_CACHE_TTL_S = 1.0

log = logging.getLogger(__name__)


class JobStore:
    """Jobs on disk. Thread-safe.

    A damaged file is renamed, and the jobs in it that can be read are kept; the log says how many cannot.

    Args:
        path: File of the store; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._stamp: tuple[int, int] | None = None  # of the file when it was last read or written
        self._last_read_at = float("-inf")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            self._import_legacy_store()
            return
        try:
            self._reload()
        except ValueError:
            self._repair()

    def list_jobs(self) -> list[Job]:
        """Return all jobs, newest first. Reads the file at most once per `READ_CACHE_TTL_S`."""
        with self._lock:
            if time.monotonic() - self._last_read_at > READ_CACHE_TTL_S:
                with suppress(OSError, ValueError):  # keep the jobs that were read last
                    self._reload()
            jobs = list(self._jobs.values())
        return sorted(jobs, key=lambda job: (job.submitted_at, job.id), reverse=True)

    def get(self, job_id: str) -> Job:
        """Return a job by its id.

        Raises:
            ValueError: There is no such job.
        """
        job = next((job for job in self.list_jobs() if job.id == job_id), None)
        if job is None:
            raise ValueError(format_unknown_job(job_id))
        return job

    def list_running(self) -> list[Job]:
        """Return the running jobs, the one that started first at the front."""
        return sorted((job for job in self.list_jobs() if job.state == "running"), key=lambda job: job.started_at)

    def list_queued(self) -> list[Job]:
        """Return the queued jobs, the next one first."""
        jobs = [job for job in self.list_jobs() if job.state == "queued"]
        return sorted(jobs, key=lambda job: (job.queued_at, job.id))

    def add(self, job: Job) -> Job:
        """Insert a new job and return it.

        Raises:
            ValueError: There is a job of this id, or the file cannot be written.
        """
        with self._transaction() as jobs:
            if job.id in jobs:
                raise ValueError(f"There is already a run called {job.id!r}.")
            jobs[job.id] = job
        return job

    def update(self, job_id: str, **values: Any) -> Job:
        """Change fields of a job and return the changed job.

        Args:
            job_id: Id of the job.
            values: New values by field name.

        Raises:
            ValueError: There is no such job, the state cannot follow the present one, or the file cannot be written.
        """
        with self._transaction() as jobs:
            job = jobs.get(job_id)
            if job is None:
                raise ValueError(format_unknown_job(job_id))
            new_state = values.get("state", job.state)
            if new_state != job.state and new_state not in ALLOWED_TRANSITIONS[job.state]:
                raise ValueError(f"The run {job_id} is {job.state}, so it cannot become {new_state}.")
            job = jobs[job_id] = replace(job, **values)
        return job

    def remove(self, job_id: str) -> None:
        """Delete a job, if it exists.

        Raises:
            ValueError: The file cannot be written.
        """
        with self._transaction() as jobs:
            jobs.pop(job_id, None)

    @contextmanager
    def _transaction(self) -> Iterator[dict[str, Job]]:
        """Yield the jobs by id for changes that take effect as a whole, in memory and on disk, or not at all.

        An app that is about to end and its successor may write in turn. The file is therefore reloaded before each
        change.
        """
        with self._lock, file_lock(self.path.with_name(f".{self.path.name}.lock"), timeout_s=5.0):
            try:
                self._reload()
            except (OSError, ValueError) as error:
                log.warning("%s The jobs that were read last are written instead.", error)
            jobs = dict(self._jobs)
            yield jobs
            self._write(jobs)

    def _write(self, jobs: dict[str, Job]) -> None:
        """Replace the file, then the jobs in memory."""
        values = {"version": STORE_VERSION, "jobs": [asdict(job) for job in jobs.values()]}
        try:
            write_json(self.path, values)
            self._stamp = get_file_stamp(self.path)
        except OSError as error:
            raise ValueError(f"The job store {self.path} cannot be written just now: {error.strerror}.") from None
        self._jobs = jobs
        legacy_path = self.path.with_name(LEGACY_STORE_FILENAME)
        if legacy_path.is_file():
            with suppress(OSError):  # it is renamed at the next change
                legacy_path.rename(legacy_path.with_name(legacy_path.name + IMPORTED_SUFFIX))

    def _reload(self) -> None:
        """Read the file again if it has changed.

        Raises:
            ValueError: The file is damaged; the jobs in memory are as before.
            OSError: The file cannot be read.
        """
        self._last_read_at = time.monotonic()
        if not self.path.is_file() or (stamp := get_file_stamp(self.path)) == self._stamp:
            return
        jobs, num_invalid = parse_jobs(read_json(self.path).get("jobs"))
        if num_invalid:
            raise ValueError(f"{self.path.name} is damaged: {num_invalid} of its jobs cannot be read.")
        self._jobs = jobs
        self._stamp = stamp

    def _import_legacy_store(self) -> None:
        """Read the jobs of version 0.1.0 into memory, if there are any."""
        legacy_path = self.path.with_name(LEGACY_STORE_FILENAME)
        if not legacy_path.is_file():
            return
        try:
            self._jobs, num_invalid = parse_jobs(read_legacy_jobs(legacy_path))
        except ValueError:
            backup = set_aside(legacy_path)
            log.error("The job store %s of version 0.1.0 is damaged; it was renamed to %s.", legacy_path, backup.name)
            return
        if num_invalid:
            log.error("%d jobs of %s cannot be read; the file is kept.", num_invalid, legacy_path)

    def _repair(self) -> None:
        """Rename the damaged file, and write the jobs in it that can be read."""
        try:
            jobs, _ = parse_jobs(read_json(self.path).get("jobs"))
        except ValueError:
            jobs = {}
        backup = set_aside(self.path)
        log.error(
            "The job store %s is damaged and was renamed to %s: %d of its jobs are kept, and runs that have a directory "
            "are added again.",
            self.path,
            backup.name,
            len(jobs),
        )
        if jobs:
            try:
                self._write(jobs)
            except ValueError:
                backup.rename(self.path)  # a later store repairs it
                self._jobs = jobs


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that its content is kept, and return its new path."""
    backup = path.with_name(f"{path.name}.broken-{int(time.time())}")
    path.rename(backup)
    return backup


def get_file_stamp(path: Path) -> tuple[int, int]:
    """Return the modification time in nanoseconds and the size in bytes of a file."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def format_unknown_job(job_id: str) -> str:
    """Format the error message for an id without a job."""
    return f"There is no run called {str(job_id)[:80]!r} (any more)."
