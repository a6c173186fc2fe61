"""Tests of the job store: allowed transitions, queue order and durability."""

import errno
import json
import threading

import pytest

from training.jobs import store as store_module
from training.jobs.job import ALLOWED_TRANSITIONS, Job
from training.jobs.store import JobStore


@pytest.fixture
def job_store(tmp_path) -> JobStore:
    return JobStore(tmp_path / "jobs.json")


def test_jobs_of_one_store_are_read_by_another_store(job_store):
    job = Job(
        "a",
        "queued",
        submitted_by="alice",
        submitted_at=3.5,
        queued_at=3.5,
        devices=2,
        status_message='Waits; it\'s "quoted" äöü',
    )
    job_store.add(job)
    assert JobStore(job_store.path).get("a") == job
    assert job_store.update("a", state="running", pid=7, exit_code=None).pid == 7


@pytest.mark.parametrize("state", ALLOWED_TRANSITIONS)
@pytest.mark.parametrize("new_state", ALLOWED_TRANSITIONS)
def test_only_allowed_transitions_are_accepted(job_store, state, new_state):
    job_store.add(Job("a", state))
    if new_state in ALLOWED_TRANSITIONS[state] or new_state == state:
        assert job_store.update("a", state=new_state).state == new_state
    else:
        with pytest.raises(ValueError, match=f"is {state}, so it cannot become {new_state}"):
            job_store.update("a", state=new_state, status_message="never")
        assert job_store.get("a") == Job("a", state)


def test_jobs_are_listed_in_queue_order(job_store):
    for job_id, queued in (("c", 1.0), ("a", 2.0), ("b", 3.0)):
        job_store.add(Job(job_id, "queued", queued_at=queued, submitted_at=9 - queued))
    job_store.update("c", state="running")
    assert [job.id for job in job_store.list_queued()] == ["a", "b"]
    assert [job.id for job in job_store.list_jobs()] == ["c", "a", "b"]
    assert [job.id for job in job_store.list_running()] == ["c"]


def test_concurrent_updates_are_not_mixed(job_store):
    job_store.add(Job("a", "queued"))
    successful = []

    def update(name: int) -> None:
        try:
            job_store.update("a", state="running", status_message=str(name))
            successful.append(name)
        except ValueError:
            return

    threads = [threading.Thread(target=update, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Setting `running` twice is allowed; the stored values must be those of one update.
    assert job_store.get("a").status_message in {str(name) for name in successful}


def test_failed_write_leaves_the_store_unchanged(job_store, monkeypatch):
    job_store.add(Job("a", "queued"))
    before = job_store.path.read_bytes()

    def raise_full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(store_module, "write_json", raise_full_disk)
        for change in (lambda: job_store.update("a", state="running"), lambda: job_store.add(Job("b", "queued"))):
            with pytest.raises(ValueError, match="cannot be written just now: No space left"):
                change()
    assert job_store.list_jobs() == [Job("a", "queued")] and job_store.path.read_bytes() == before
    job_store.update("a", state="running")
    assert JobStore(job_store.path).get("a").state == "running"
    names = {path.name for path in job_store.path.parent.iterdir()}
    assert names == {job_store.path.name, f".{job_store.path.name}.lock"}, "no temporary file remains"


def test_two_stores_that_write_concurrently_lose_no_job(job_store):
    """The writers are an app that is about to end and the next app."""
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


def test_reader_sees_the_changes_of_a_writer(job_store, monkeypatch):
    monkeypatch.setattr(store_module, "READ_CACHE_TTL_S", 0.0)
    reader = JobStore(job_store.path)
    job_store.add(Job("a", "queued"))
    assert reader.list_jobs() == [Job("a", "queued")]
    job_store.path.write_bytes(
        job_store.path.read_bytes()[:3000]
    )  # truncated, as a mounted bucket may show it for a moment
    assert reader.list_jobs() == [Job("a", "queued")]


@pytest.mark.parametrize(
    "broken",
    [b"", b"garbage " * 1000, b'{"version": 1, "jobs": [', b"[]", b'{"jobs": {}}', b'{"jobs": 3}', b"\xff\xfe"],
)
def test_damaged_store_is_renamed_and_logged(broken, tmp_path, caplog):
    path = tmp_path / "jobs.json"
    path.write_bytes(broken)
    assert JobStore(path).list_jobs() == []
    (backup,) = tmp_path.glob("jobs.json.broken-*")
    assert backup.read_bytes() == broken
    (record,) = caplog.records
    assert record.levelname == "ERROR" and "is damaged and was renamed to jobs.json.broken-" in record.message
    assert "\n" not in record.message


@pytest.mark.parametrize(
    "broken",
    [
        3,
        {},
        {"id": "b", "state": "lost"},
        {"id": "b", "state": "queued", "queued_at": "soon"},
        {"id": "b", "state": "queued", "queued_at": float("nan")},
        {"id": "b", "state": "queued", "target": None},
    ],
)
def test_readable_jobs_of_a_damaged_store_are_kept(broken, job_store, caplog):
    remote_job = Job("a", "running", target="l4x1", remote_job_id="123", timeout_minutes=60)
    job_store.add(remote_job)
    values = json.loads(job_store.path.read_text())
    values["jobs"].append(broken)
    job_store.path.write_text(json.dumps(values))
    assert JobStore(job_store.path).list_jobs() == [remote_job]
    assert len(list(job_store.path.parent.glob("jobs.json.broken-*"))) == 1
    assert "1 of its jobs are kept" in caplog.text
    assert JobStore(job_store.path).list_jobs() == [remote_job], "the store is repaired"


def test_damaged_store_on_a_full_disk_is_unchanged(job_store, monkeypatch):
    job_store.add(Job("a", "queued"))
    values = json.loads(job_store.path.read_text())
    values["jobs"].append({})
    job_store.path.write_text(json.dumps(values))
    before = job_store.path.read_bytes()

    def raise_full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module, "write_json", raise_full_disk)
    assert JobStore(job_store.path).list_jobs() == [Job("a", "queued")]
    assert job_store.path.read_bytes() == before


def test_adding_an_existing_job_is_an_error(job_store):
    job_store.add(Job("a", "queued"))
    with pytest.raises(ValueError, match="already a run called 'a'"):
        job_store.add(Job("a", "failed"))
    assert job_store.list_jobs() == [Job("a", "queued")]


def test_fields_of_a_later_version_are_ignored(job_store):
    job_store.path.write_text('{"version": 2, "jobs": [{"id": "a", "state": "queued", "color": "red"}], "more": 1}')
    assert JobStore(job_store.path).list_jobs() == [Job("a", "queued")]


@pytest.mark.parametrize("job_id", ["unknown", "", "a' OR '1'='1", "../x"])
def test_unknown_job_is_an_error(job_store, job_id):
    for method in (job_store.get, lambda job_id: job_store.update(job_id, pid=1)):
        with pytest.raises(ValueError, match="no run called"):
            method(job_id)
