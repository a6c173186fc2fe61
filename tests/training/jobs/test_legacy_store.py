"""Tests of the import of `jobs.sqlite` of version 0.1.0 into the job store."""

import sqlite3
from pathlib import Path

import pytest

from training.jobs.job import Job
from training.jobs.legacy_store import RENAMED_COLUMNS
from training.jobs.store import JobStore

COLUMN_TYPES = {
    "id": "TEXT PRIMARY KEY",
    "state": "TEXT DEFAULT NULL",
    "intent": "TEXT DEFAULT ''",
    "place": "TEXT DEFAULT 'here'",
    "devices": "INTEGER DEFAULT 1",
    "by": "TEXT DEFAULT ''",
    "submitted": "REAL DEFAULT 0.0",
    "queued": "REAL DEFAULT 0.0",
    "started": "REAL DEFAULT 0.0",
    "ended": "REAL DEFAULT 0.0",
    "asked": "REAL DEFAULT 0.0",
    "attempt": "INTEGER DEFAULT 0",
    "from_step": "INTEGER DEFAULT 0",
    "pid": "INTEGER DEFAULT 0",
    "exit_code": "INTEGER DEFAULT NULL",
    "sentence": "TEXT DEFAULT ''",
    "namespace": "TEXT DEFAULT ''",
    "remote": "TEXT DEFAULT ''",
    "url": "TEXT DEFAULT ''",
    "timeout": "INTEGER DEFAULT 0",
}
COLUMNS = {
    "id": "mazes-1",
    "state": "running",
    "intent": "leave",
    "place": "l4x1",
    "devices": 4,
    "by": "Jörg",
    "submitted": 1.5,
    "queued": 2.5,
    "started": 3.5,
    "ended": 4.5,
    "asked": 5.5,
    "attempt": 6,
    "from_step": 7,
    "pid": 8,
    "exit_code": -9,
    "sentence": 'It\'s "so".',
    "namespace": "alice",
    "remote": "68e0",
    "url": "https://huggingface.co/jobs/alice/68e0",
    "timeout": 90,
}
JOB = Job(
    "mazes-1",
    "running",
    requested_action="suspend",
    target="l4x1",
    devices=4,
    submitted_by="Jörg",
    submitted_at=1.5,
    queued_at=2.5,
    started_at=3.5,
    ended_at=4.5,
    stop_requested_at=5.5,
    attempt=6,
    resumed_from_step=7,
    pid=8,
    exit_code=-9,
    status_message='It\'s "so".',
    namespace="alice",
    remote_job_id="68e0",
    url="https://huggingface.co/jobs/alice/68e0",
    timeout_minutes=90,
)


def write_legacy_store(path: Path, *jobs: dict[str, object], columns: tuple[str, ...] = tuple(COLUMN_TYPES)) -> None:
    """Write a store as version 0.1.0 did, with some of its columns."""
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE jobs ({', '.join(f'{name} {COLUMN_TYPES[name]}' for name in columns)})")
        for job in jobs:
            names = [name for name in job if name in columns]
            marks = ", ".join("?" * len(names))
            connection.execute(
                f"INSERT INTO jobs ({', '.join(names)}) VALUES ({marks})", tuple(job[name] for name in names)
            )
    connection.close()


@pytest.fixture
def legacy_path(tmp_path) -> Path:
    return tmp_path / "jobs.sqlite"


def test_every_column_of_the_legacy_store_is_imported(legacy_path):
    write_legacy_store(legacy_path, COLUMNS)
    assert JobStore(legacy_path.with_name("jobs.json")).list_jobs() == [JOB]
    assert not JOB.is_local, "a remote job is imported as a remote job"


@pytest.mark.parametrize("number", range(2, len(COLUMN_TYPES)))
def test_column_missing_in_an_earlier_version_gets_its_default(legacy_path, number):
    """Each version appended columns to those of earlier versions."""
    columns = tuple(COLUMN_TYPES)[:number]
    write_legacy_store(legacy_path, COLUMNS, columns=columns)
    fields = {RENAMED_COLUMNS.get(name, name) for name in columns}
    expected = {name: value for name, value in vars(JOB).items() if name in fields}
    assert JobStore(legacy_path.with_name("jobs.json")).list_jobs() == [Job(**expected)]


@pytest.mark.parametrize("missing", [name for name in COLUMN_TYPES if name not in ("id", "state")])
def test_any_missing_column_gets_its_default(legacy_path, missing):
    write_legacy_store(legacy_path, COLUMNS, columns=tuple(name for name in COLUMN_TYPES if name != missing))
    field = RENAMED_COLUMNS.get(missing, missing)
    expected = {name: value for name, value in vars(JOB).items() if name != field}
    assert JobStore(legacy_path.with_name("jobs.json")).list_jobs() == [Job(**expected)]


def test_local_job_is_imported_as_a_local_job(legacy_path):
    write_legacy_store(legacy_path, {"id": "a", "state": "queued", "submitted": 5.0})
    (job,) = JobStore(legacy_path.with_name("jobs.json")).list_jobs()
    assert job == Job("a", "queued", submitted_at=5.0) and job.is_local


def test_first_change_writes_all_imported_jobs(legacy_path):
    write_legacy_store(legacy_path, COLUMNS, {"id": "b", "state": "queued"})
    path = legacy_path.with_name("jobs.json")
    JobStore(path).list_jobs()
    assert not path.exists() and legacy_path.exists(), "reading does not write the store"
    JobStore(path).update("b", state="running")
    assert {job.id: job.state for job in JobStore(path).list_jobs()} == {"mazes-1": "running", "b": "running"}
    assert not legacy_path.exists() and legacy_path.with_name("jobs.sqlite.imported").exists()


def test_store_opened_before_a_write_reads_the_change(legacy_path, monkeypatch):
    monkeypatch.setattr("training.jobs.store.READ_CACHE_TTL_S", 0.0)
    write_legacy_store(legacy_path, {"id": "b", "state": "queued"})
    path = legacy_path.with_name("jobs.json")
    reader, writer = JobStore(path), JobStore(path)
    writer.update("b", state="running")
    assert reader.get("b").state == "running"


def test_jobs_are_imported_once(legacy_path):
    """A second import would restore jobs that have ended or were deleted since the first."""
    write_legacy_store(legacy_path, {"id": "b", "state": "queued"})
    path = legacy_path.with_name("jobs.json")
    JobStore(path).remove("b")
    path.write_text("damaged")
    assert JobStore(path).list_jobs() == [] and JobStore(path).list_jobs() == []


def test_an_existing_store_takes_precedence(legacy_path):
    path = legacy_path.with_name("jobs.json")
    JobStore(path).add(Job("new", "succeeded"))
    write_legacy_store(legacy_path, {"id": "old", "state": "queued"})
    assert [job.id for job in JobStore(path).list_jobs()] == ["new"]


def test_legacy_store_without_a_jobs_table_is_empty(legacy_path):
    with sqlite3.connect(legacy_path) as connection:
        connection.execute("CREATE TABLE other (id TEXT)")
    connection.close()
    assert JobStore(legacy_path.with_name("jobs.json")).list_jobs() == []


@pytest.mark.parametrize("broken", [b"garbage " * 1000, b"SQLite format 3\0" + b"\1" * 5000])
def test_damaged_legacy_store_is_renamed(broken, legacy_path, caplog):
    legacy_path.write_bytes(broken)
    assert JobStore(legacy_path.with_name("jobs.json")).list_jobs() == []
    (backup,) = legacy_path.parent.glob("jobs.sqlite.broken-*")
    assert backup.read_bytes() == broken and "version 0.1.0 is damaged" in caplog.text
