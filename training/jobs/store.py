"""The book of jobs: one row a run, with its place in the queue, its state and what became of it.

SQLite in memory, written to its file as a whole at every change: the file is small, always sound, and needs neither journal nor
locks, which a mounted bucket has for one machine alone. One process writes (the runner makes sure of it), any number read, at
most once a second, for many may watch at once. A run's folder holds everything else; a lost book is written anew from them.
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
RequestedAction = Literal[
    "", "stop", "kill", "leave"
]  # what somebody wants of a running job; leave: the app ends, go on later
ALLOWED_TRANSITIONS: dict[str, set[str]] = {
    "queued": {"running", "cancelled"},
    "running": {"succeeded", "failed", "cancelled", "interrupted"},
    "succeeded": set(),
    "failed": {"queued"},
    "cancelled": {"queued"},
    "interrupted": {"queued"},
}
LOCAL_TARGET = "here"
READ_CACHE_TTL_S = 1.0  # seconds for which what was read is taken to be so still


@dataclass(frozen=True)
class Job:
    """A run as this app schedules it."""

    id: str  # the run folder's name
    state: JobState
    intent: RequestedAction = ""
    place: str = LOCAL_TARGET  # or the hardware of Hugging Face Jobs that it runs on
    devices: int = 1  # processes, one a device
    by: str = ""  # who asked for it
    submitted: float = 0.0  # seconds since the epoch, as all times here
    queued: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    asked: float = 0.0  # when it was asked to stop
    attempt: int = 0  # how often it was started
    from_step: int = 0  # where its last attempt began
    pid: int = 0  # of the leader of its process group
    exit_code: int | None = None
    sentence: str = ""  # why it is in this state
    namespace: str = ""  # who pays on Hugging Face Jobs
    remote: str = ""  # its id there
    url: str = ""  # its page there
    timeout: int = 0  # minutes that it may take there

    @property
    def is_finished(self) -> bool:
        return self.state not in ("queued", "running")

    @property
    def is_local(self) -> bool:
        return self.place == LOCAL_TARGET


COLUMNS = {field.name: field.type for field in fields(Job)}
SQLITE_TYPES = {int: "INTEGER", float: "REAL", int | None: "INTEGER"}


class JobStore:
    """Jobs on disk.

    Args:
        path: the database file; it is made if need be, and begun anew if it is broken.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.RLock()
        self._connection = create_empty_database()
        self._stamp: tuple[int, int] | None = None  # of the file as it was last read or written
        self._last_read_at = float("-inf")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._reload()
        except sqlite3.DatabaseError:  # no database, or a broken one
            path.rename(path.with_name(f"{path.name}.broken-{int(time.time())}"))
            self._connection = create_empty_database()

    def list_jobs(self) -> list[Job]:
        """Every job, the newest first."""
        with self._lock:
            if time.monotonic() - self._last_read_at > READ_CACHE_TTL_S:
                with suppress(OSError, sqlite3.DatabaseError):  # what was read last still stands
                    self._reload()
            rows = self._connection.execute(f"SELECT {', '.join(COLUMNS)} FROM jobs").fetchall()
        return sorted((Job(*row) for row in rows), key=lambda job: (job.submitted, job.id), reverse=True)

    def get(self, job_id: str) -> Job:
        """Raises `ValueError` for a job that is not there."""
        found = next((job for job in self.list_jobs() if job.id == job_id), None)
        if found is None:
            raise ValueError(format_unknown_job(job_id))
        return found

    def list_running(self) -> list[Job]:
        """Jobs that run, the one that began first at the front."""
        return sorted((job for job in self.list_jobs() if job.state == "running"), key=lambda job: job.started)

    def list_queued(self) -> list[Job]:
        """Jobs that wait for their turn, the next one first."""
        return sorted((job for job in self.list_jobs() if job.state == "queued"), key=lambda job: (job.queued, job.id))

    def add(self, job: Job) -> Job:
        names = ", ".join(COLUMNS)
        with self._transaction() as connection:
            connection.execute(
                f"INSERT INTO jobs ({names}) VALUES ({', '.join('?' * len(COLUMNS))})", tuple(asdict(job).values())
            )
        return job

    def update(self, job_id: str, **values: Any) -> Job:
        """Change a job; a new state must be a legal next one.

        Raises:
            ValueError: it is not. The sentence says what the job is.
        """
        with self._transaction() as connection:
            row = connection.execute("SELECT state FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row is None:
                raise ValueError(format_unknown_job(job_id))
            wanted = values.get("state", row[0])
            if wanted != row[0] and wanted not in ALLOWED_TRANSITIONS[row[0]]:
                raise ValueError(f"The run {job_id} is {row[0]}, so it cannot become {wanted}.")
            changes = ", ".join(f"{name} = ?" for name in values)
            connection.execute(f"UPDATE jobs SET {changes} WHERE id = ?", (*values.values(), job_id))
        return self.get(job_id)

    def remove(self, job_id: str) -> None:
        with self._transaction() as connection:
            connection.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """The book, for changes that are kept as a whole, on disk too, or not at all.

        An app that is just ending and its successor may write in turn: what one wrote is read before the other writes.
        """
        with self._lock, file_lock(self.path.with_name(f".{self.path.name}.lock"), timeout_s=5.0):
            with suppress(OSError, sqlite3.DatabaseError):
                self._reload()
            before = self._connection.serialize()
            try:
                yield self._connection
                write_bytes(self.path, self._connection.serialize())
                self._stamp = get_file_stamp(self.path)
            except BaseException as error:
                self._connection.deserialize(before)
                if isinstance(error, OSError):
                    raise ValueError(
                        f"The book of jobs {self.path} cannot be written just now: {error.strerror}."
                    ) from None
                raise

    def _reload(self) -> None:
        """Take in what is on disk, if that has changed."""
        self._last_read_at = time.monotonic()
        if not self.path.is_file() or (stamp := get_file_stamp(self.path)) == self._stamp:
            return
        book = connect_in_memory()
        book.deserialize(self.path.read_bytes())
        if book.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("its pages do not fit together")
        add_columns(book)
        self._connection, self._stamp = book, stamp


def create_empty_database() -> sqlite3.Connection:
    """A book without jobs."""
    book = connect_in_memory()
    add_columns(book)
    return book


def connect_in_memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


def add_columns(connection: sqlite3.Connection) -> None:
    """Give a book the columns that it lacks: it may be new, or one of an earlier version."""
    connection.execute("CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY)")
    there = {row[1] for row in connection.execute("PRAGMA table_info(jobs)")}
    for field in fields(Job):
        if field.name not in there:
            kind = SQLITE_TYPES.get(field.type, "TEXT")  # type: ignore[call-overload]
            default = repr(field.default) if isinstance(field.default, str | int | float) else "NULL"
            connection.execute(f"ALTER TABLE jobs ADD COLUMN {field.name} {kind} DEFAULT {default}")


def get_file_stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def format_unknown_job(job_id: str) -> str:
    return f"There is no run called {str(job_id)[:80]!r} (any more)."
