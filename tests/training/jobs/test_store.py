"""Job store: allowed transitions, queue order and durability."""

import errno
import sqlite3
import threading

import pytest

from training.jobs import store as store_module
from training.jobs.store import ALLOWED_TRANSITIONS, Job, JobStore


@pytest.fixture
def job_store(tmp_path) -> JobStore:
    return JobStore(tmp_path / "jobs.sqlite")


def test_a_second_store_reads_what_the_first_wrote(job_store):
    job = Job("a", "queued", by="alice", submitted=3.5, queued=3.5, devices=2, sentence='Waits; it\'s "quoted" äöü')
    job_store.add(job)
    assert JobStore(job_store.path).get("a") == job
    assert job_store.update("a", state="running", pid=7, exit_code=None).pid == 7


@pytest.mark.parametrize("state", ALLOWED_TRANSITIONS)
@pytest.mark.parametrize("wanted", ALLOWED_TRANSITIONS)
def test_only_allowed_transitions_are_made(job_store, state, wanted):
    job_store.add(Job("a", state))
    if wanted in ALLOWED_TRANSITIONS[state] or wanted == state:
        assert job_store.update("a", state=wanted).state == wanted
    else:
        with pytest.raises(ValueError, match=f"is {state}, so it cannot become {wanted}"):
            job_store.update("a", state=wanted, sentence="never")
        assert job_store.get("a") == Job("a", state)


def test_the_queue_keeps_its_order(job_store):
    for job_id, queued in (("c", 1.0), ("a", 2.0), ("b", 3.0)):
        job_store.add(Job(job_id, "queued", queued=queued, submitted=9 - queued))
    job_store.update("c", state="running")
    assert [job.id for job in job_store.list_queued()] == ["a", "b"]
    assert [job.id for job in job_store.list_jobs()] == ["c", "a", "b"]
    assert [job.id for job in job_store.list_running()] == ["c"]


def test_concurrent_updates_do_not_mix(job_store):
    job_store.add(Job("a", "queued"))
    successful = []

    def update(name: int) -> None:
        try:
            job_store.update("a", state="running", sentence=str(name))
            successful.append(name)
        except ValueError:
            return

    threads = [threading.Thread(target=update, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # `running` again is an allowed state: a lost or a mixed change must not happen
    assert job_store.get("a").sentence in {str(name) for name in successful}


def test_a_job_store_of_an_earlier_version_is_read(tmp_path):
    path = tmp_path / "jobs.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE jobs (id TEXT PRIMARY KEY, state TEXT, submitted REAL)")
        connection.execute("INSERT INTO jobs VALUES ('old', 'succeeded', 5.0)")
    connection.close()
    assert JobStore(path).get("old") == Job("old", "succeeded", submitted=5.0)


def test_a_change_is_on_disk_whole_or_not_at_all(job_store, monkeypatch):
    job_store.add(Job("a", "queued"))
    before = job_store.path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(store_module, "write_bytes", full)
        for change in (lambda: job_store.update("a", state="running"), lambda: job_store.add(Job("b", "queued"))):
            with pytest.raises(ValueError, match="cannot be written just now: No space left"):
                change()
    assert job_store.list_jobs() == [Job("a", "queued")] and job_store.path.read_bytes() == before
    job_store.update("a", state="running")
    assert JobStore(job_store.path).get("a").state == "running"
    names = {path.name for path in job_store.path.parent.iterdir()}
    assert names == {job_store.path.name, f".{job_store.path.name}.lock"}, "no journal, no draft"


def test_two_stores_that_write_in_turn_lose_nothing(job_store):
    """An app that is about to end, and its successor."""
    other = JobStore(job_store.path)

    def write(writer: JobStore, name: str) -> None:
        for number in range(40):
            writer.add(Job(f"{name}{number}", "queued"))

    threads = [threading.Thread(target=write, args=pair) for pair in ((job_store, "a"), (other, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(JobStore(job_store.path).list_jobs()) == 80


def test_a_reader_sees_the_changes_of_a_writer(job_store, monkeypatch):
    monkeypatch.setattr(store_module, "READ_CACHE_TTL_S", 0.0)
    reader = JobStore(job_store.path)
    job_store.add(Job("a", "queued"))
    assert reader.list_jobs() == [Job("a", "queued")]
    job_store.path.write_bytes(
        job_store.path.read_bytes()[:3000]
    )  # truncated, as a mounted bucket may show it for a moment
    assert reader.list_jobs() == [Job("a", "queued")]


@pytest.mark.parametrize("broken", [b"garbage " * 1000, b"SQLite format 3\0" + b"\1" * 5000])
def test_a_file_that_is_no_job_store_is_moved_aside(broken, tmp_path):
    path = tmp_path / "jobs.sqlite"
    path.write_bytes(broken)
    assert JobStore(path).list_jobs() == []
    assert len(list(tmp_path.glob("jobs.sqlite.broken-*"))) == 1


@pytest.mark.parametrize("job_id", ["nobody", "", "a' OR '1'='1", "../x"])
def test_an_unknown_job_is_reported(job_store, job_id):
    for ask in (job_store.get, lambda job_id: job_store.update(job_id, pid=1)):
        with pytest.raises(ValueError, match="no run called"):
            ask(job_id)
