"""Job store: one row per run with its queue position, state and outcome.

The SQLite database lives in memory and is written to its file as a whole at every change. The file is small and always
consistent, and it needs neither a journal nor SQLite's locks, which a mounted bucket supports for one host only. One
process writes (the scheduler that holds the lease); any number of processes read, at most once per `READ_CACHE_TTL_S`.
The run directory holds everything else, so a lost store is rebuilt from the run directories.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ctm.io.atomic import write_bytes
from ctm.io.locks import file_lock

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled", "interrupted"]
# Action requested for a running job. "leave": the app ends, and a later app may resume the job.
RequestedAction = Literal["", "stop", "kill", "leave"]
ALLOWED_TRANSITIONS: dict[str, set[str]] = {
    "queued": {"running", "cancelled"},
    "running": {"succeeded", "failed", "cancelled", "interrupted"},
    "succeeded": set(),
    "failed": {"queued"},
    "cancelled": {"queued"},
    "interrupted": {"queued"},
}
LOCAL_TARGET = "here"
READ_CACHE_TTL_S = 1.0


@dataclass(frozen=True)
class Job:
    """A run as the scheduler sees it. All times are seconds since the epoch.

    Attributes:
        id: Name of the run directory.
        state: State of the job; `ALLOWED_TRANSITIONS` lists the possible next states.
        intent: Action that was requested of the running job.
        place: `LOCAL_TARGET`, or the hardware of Hugging Face Jobs.
        devices: Number of training processes, one per device.
        by: User who submitted the job.
        submitted: Time of submission.
        queued: Time that determines the position in the queue.
        started: Start of the last attempt.
        ended: End of the last attempt.
        asked: Time at which a stop was requested.
        attempt: Number of starts.
        from_step: Step at which the last attempt began.
        pid: Process id of the leader of the process group; 0 if there is none.
        exit_code: Exit code of the training program; None if unknown.
        sentence: Why the job is in this state.
        namespace: Account that pays on Hugging Face Jobs.
        remote: Id of the remote job.
        url: Page of the remote job.
        timeout: Time limit of the remote job in minutes.
    """

    id: str
    state: JobState
    intent: RequestedAction = ""
    place: str = LOCAL_TARGET
    devices: int = 1
    by: str = ""
    submitted: float = 0.0
    queued: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    asked: float = 0.0
    attempt: int = 0
    from_step: int = 0
    pid: int = 0
    exit_code: int | None = None
    sentence: str = ""
    namespace: str = ""
    remote: str = ""
    url: str = ""
    timeout: int = 0

    @property
    def is_finished(self) -> bool:
        """Whether the job is neither queued nor running."""
        return self.state not in ("queued", "running")

    @property
    def is_local(self) -> bool:
        """Whether the job runs on this host."""
        return self.place == LOCAL_TARGET


COLUMNS = {field.name: field.type for field in fields(Job)}
SQLITE_TYPES = {int: "INTEGER", float: "REAL", int | None: "INTEGER"}


class JobStore:
    """Jobs on disk. Thread-safe.

    Args:
        path: Database file. A missing file is created; a broken one is renamed, and the store starts empty.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.RLock()
        self._connection = create_empty_database()
        self._stamp: tuple[int, int] | None = None  # of the file when it was last read or written
        self._last_read_at = float("-inf")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._reload()
        except sqlite3.DatabaseError:  # the file is not a database, or it is broken
            path.rename(path.with_name(f"{path.name}.broken-{int(time.time())}"))
            self._connection = create_empty_database()

    def list_jobs(self) -> list[Job]:
        """Return all jobs, newest first. Reads the file at most once per `READ_CACHE_TTL_S`."""
        with self._lock:
            if time.monotonic() - self._last_read_at > READ_CACHE_TTL_S:
                with suppress(OSError, sqlite3.DatabaseError):  # keep the jobs that were read last
                    self._reload()
            rows = self._connection.execute(f"SELECT {', '.join(COLUMNS)} FROM jobs").fetchall()
        return sorted((Job(*row) for row in rows), key=lambda job: (job.submitted, job.id), reverse=True)

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
        return sorted((job for job in self.list_jobs() if job.state == "running"), key=lambda job: job.started)

    def list_queued(self) -> list[Job]:
        """Return the queued jobs, the next one first."""
        return sorted((job for job in self.list_jobs() if job.state == "queued"), key=lambda job: (job.queued, job.id))

    def add(self, job: Job) -> Job:
        """Insert a new job and return it.

        Raises:
            ValueError: The file cannot be written.
        """
        names = ", ".join(COLUMNS)
        with self._transaction() as connection:
            connection.execute(
                f"INSERT INTO jobs ({names}) VALUES ({', '.join('?' * len(COLUMNS))})", tuple(asdict(job).values())
            )
        return job

    def update(self, job_id: str, **values: Any) -> Job:
        """Change fields of a job and return the changed job.

        Args:
            job_id: Id of the job.
            values: New values by field name.

        Raises:
            ValueError: There is no such job, the state cannot follow the present one, or the file cannot be written.
        """
        with self._transaction() as connection:
            row = connection.execute("SELECT state FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row is None:
                raise ValueError(format_unknown_job(job_id))
            new_state = values.get("state", row[0])
            if new_state != row[0] and new_state not in ALLOWED_TRANSITIONS[row[0]]:
                raise ValueError(f"The run {job_id} is {row[0]}, so it cannot become {new_state}.")
            changes = ", ".join(f"{name} = ?" for name in values)
            connection.execute(f"UPDATE jobs SET {changes} WHERE id = ?", (*values.values(), job_id))
        return self.get(job_id)

    def remove(self, job_id: str) -> None:
        """Delete a job, if it exists.

        Raises:
            ValueError: The file cannot be written.
        """
        with self._transaction() as connection:
            connection.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the database for changes that take effect as a whole, in memory and on disk, or not at all.

        An app that is about to end and its successor may write in turn. The file is therefore reloaded before each
        change.
        """
        with self._lock, file_lock(self.path.with_name(f".{self.path.name}.lock"), timeout_s=5.0):
            with suppress(OSError, sqlite3.DatabaseError):
                self._reload()
            snapshot = self._connection.serialize()
            try:
                yield self._connection
                write_bytes(self.path, self._connection.serialize())
                self._stamp = get_file_stamp(self.path)
            except BaseException as error:
                self._connection.deserialize(snapshot)
                if isinstance(error, OSError):
                    raise ValueError(
                        f"The job store {self.path} cannot be written just now: {error.strerror}."
                    ) from None
                raise

    def _reload(self) -> None:
        """Read the file again if it has changed."""
        self._last_read_at = time.monotonic()
        if not self.path.is_file() or (stamp := get_file_stamp(self.path)) == self._stamp:
            return
        database = connect_in_memory()
        database.deserialize(self.path.read_bytes())
        if database.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("the pages of the file are inconsistent")
        add_columns(database)
        self._connection = database
        self._stamp = stamp


def create_empty_database() -> sqlite3.Connection:
    """Create an in-memory database without jobs."""
    database = connect_in_memory()
    add_columns(database)
    return database


def connect_in_memory() -> sqlite3.Connection:
    """Open an empty in-memory database that several threads may use."""
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


def add_columns(connection: sqlite3.Connection) -> None:
    """Add the missing columns to a database that is new or of an earlier version, in place."""
    connection.execute("CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY)")
    column_names = {row[1] for row in connection.execute("PRAGMA table_info(jobs)")}
    for field in fields(Job):
        if field.name not in column_names:
            kind = SQLITE_TYPES.get(field.type, "TEXT")  # type: ignore[call-overload]
            default = repr(field.default) if isinstance(field.default, str | int | float) else "NULL"
            connection.execute(f"ALTER TABLE jobs ADD COLUMN {field.name} {kind} DEFAULT {default}")


def get_file_stamp(path: Path) -> tuple[int, int]:
    """Return the modification time in nanoseconds and the size in bytes of a file."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def format_unknown_job(job_id: str) -> str:
    """Format the error message for an id without a job."""
    return f"There is no run called {str(job_id)[:80]!r} (any more)."
