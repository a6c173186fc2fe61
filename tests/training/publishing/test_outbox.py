"""Tests of the outbox: no failure loses an entry or publishes it twice."""

import json
import shutil
import threading
import time

import pytest

from ctm.stores import Commit, StoreUnavailable
from tests.fake_clock import FakeClock
from training.publishing.outbox import (
    MAX_ATTEMPTS,
    MIN_COMMIT_INTERVAL_S,
    RETRY_BACKOFF_S,
    Outbox,
    OutboxEntry,
)
from training.publishing.upload_worker import UploadWorker

REPO = "alice/new"


class FakeStore:
    """Store that raises errors in turn, and records the published files by commit message."""

    def __init__(self, *failures: Exception):
        self.failures = list(failures)
        self.published_files: dict[str, dict[str, bytes]] = {}  # message -> files

    def publish(self, folder, name, message, private=False, repo_type="model") -> Commit:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None and "after the commit" not in str(failure):
            raise failure
        self.published_files.setdefault(message, {path.name: path.read_bytes() for path in folder.iterdir()})
        if failure is not None:
            raise failure
        return Commit("0" * 40, f"https://hub/{name}/commit/{'0' * 40}")


@pytest.fixture
def checkpoint(tmp_path):
    checkpoint_dir = tmp_path / "run" / "checkpoint"
    checkpoint_dir.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "README.md"):
        (checkpoint_dir / name).write_text(f"first {name}")
    return checkpoint_dir


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def outbox(checkpoint, clock) -> Outbox:
    return Outbox(checkpoint.parent, clock)


def list_states(outbox) -> list[str]:
    return [entry.state for entry in outbox.entries()]


def replace_checkpoint(checkpoint) -> None:
    """Replace the checkpoint directory as saving does."""
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()
    for name in ("config.json", "model.safetensors", "README.md"):
        (checkpoint / name).write_text(f"second {name}")


def test_enqueued_files_are_published_after_the_checkpoint_is_deleted(outbox, checkpoint):
    entry = outbox.enqueue(checkpoint, REPO, "step 1", extra_files={"README.md": b"new card", "accuracy.png": b"png"})
    shutil.rmtree(checkpoint)
    store = FakeStore()
    delivered_entry = outbox.deliver(store)
    assert delivered_entry.state == "published" and delivered_entry.url.endswith("/commit/" + "0" * 40)
    assert store.published_files[entry.commit_message] == {
        "config.json": b"first config.json",
        "model.safetensors": b"first model.safetensors",
        "README.md": b"new card",
        "accuracy.png": b"png",
    }
    assert outbox.deliver(store) is None and outbox.seconds_until_due() is None
    assert not list(outbox.path.rglob("model.safetensors")), "the files of a published entry are deleted"


def test_enqueue_does_not_change_the_checkpoint(outbox, checkpoint):
    outbox.enqueue(checkpoint, REPO, "step 1", extra_files={"README.md": b"new card"})
    assert (checkpoint / "README.md").read_text() == "first README.md"


def test_checkpoint_is_enqueued_once_per_repository(outbox, checkpoint):
    first = outbox.enqueue(checkpoint, REPO, "a")
    assert outbox.enqueue(checkpoint, REPO, "a").id == first.id
    assert outbox.enqueue(checkpoint, "alice/other", "a").id != first.id
    replace_checkpoint(checkpoint)
    assert outbox.enqueue(checkpoint, REPO, "a").id != first.id


def test_older_checkpoint_can_be_published_again_after_a_newer_one(outbox, checkpoint, clock, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "other" / "checkpoint")
    replace_checkpoint(tmp_path / "other" / "checkpoint")
    first = outbox.enqueue(checkpoint, REPO, "a")
    outbox.deliver(FakeStore())
    assert outbox.enqueue(checkpoint, REPO, "a").id == first.id
    clock.now += 1_000
    outbox.enqueue(tmp_path / "other" / "checkpoint", REPO, "b")
    outbox.deliver(FakeStore())
    second = outbox.enqueue(checkpoint, REPO, "a")
    assert second.id != first.id and second.state == "waiting"


def test_closing_the_worker_does_not_wait_for_a_later_attempt(checkpoint):
    outbox = Outbox(checkpoint.parent)
    outbox.enqueue(checkpoint, REPO, "a")
    store = FakeStore(StoreUnavailable("unreachable", retry_after_s=0.0))
    worker = UploadWorker(lambda: [outbox], store)
    worker.start()
    deadline = time.monotonic() + 5
    while not outbox.entries()[0].problem and time.monotonic() < deadline:
        time.sleep(0.01)
    start_time = time.monotonic()
    worker.close(timeout_s=1.0)
    assert time.monotonic() - start_time < 3 and list_states(outbox) == ["waiting"], (
        "the next attempt is due in 15 seconds"
    )


def test_unavailable_store_is_retried_with_backoff(outbox, checkpoint, clock):
    outbox.enqueue(checkpoint, REPO, "a")
    store = FakeStore(*[StoreUnavailable("unreachable")] * 3)
    for delay_s in RETRY_BACKOFF_S[:3]:
        entry = outbox.deliver(store)
        assert entry.state == "waiting" and entry.problem == "unreachable" and outbox.seconds_until_due() == delay_s
        assert "Waiting" in entry.format_status() and "unreachable" in entry.format_status()
        clock.now += delay_s - 0.1
        assert outbox.deliver(store) is None, "the delay has not passed"
        clock.now += 0.1
    assert outbox.deliver(store).state == "published"


def test_retry_after_of_the_store_determines_the_next_attempt(outbox, checkpoint):
    outbox.enqueue(checkpoint, REPO, "a")
    outbox.deliver(FakeStore(StoreUnavailable("busy", retry_after_s=5_000.0)))
    assert outbox.seconds_until_due() == 5_000.0


def test_number_of_attempts_is_limited(outbox, checkpoint, clock):
    outbox.enqueue(checkpoint, REPO, "a")
    store = FakeStore(*[StoreUnavailable("unreachable")] * 100)
    for _ in range(MAX_ATTEMPTS):
        outbox.deliver(store)
        clock.now += 10_000
    assert list_states(outbox) == ["given up"] and outbox.deliver(store) is None
    assert outbox.enqueue(checkpoint, REPO, "a").state == "waiting", "a repeated request creates a new entry"


def test_permanent_error_is_final_and_reported(outbox, checkpoint, clock):
    outbox.enqueue(checkpoint, REPO, "a")
    entry = outbox.deliver(FakeStore(ValueError("This token may not do that.")))
    assert entry.state == "refused" and "This token may not do that." in entry.format_status()
    assert outbox.seconds_until_due() is None


def test_lost_response_publishes_once(outbox, checkpoint, clock):
    outbox.enqueue(checkpoint, REPO, "a")
    store = FakeStore(StoreUnavailable("the response was lost after the commit"))
    assert outbox.deliver(store).state == "waiting"
    clock.now += 60
    assert outbox.deliver(store).state == "published" and len(store.published_files) == 1


def test_commits_are_at_least_ten_minutes_apart(outbox, checkpoint, clock):
    outbox.enqueue(checkpoint, REPO, "a")
    outbox.deliver(FakeStore())
    clock.now += 100
    replace_checkpoint(checkpoint)
    outbox.enqueue(checkpoint, REPO, "b")
    assert outbox.seconds_until_due() == MIN_COMMIT_INTERVAL_S - 100 and outbox.deliver(FakeStore()) is None
    clock.now += MIN_COMMIT_INTERVAL_S - 100
    assert outbox.deliver(FakeStore()).state == "published"


def test_only_the_newest_entry_is_published(outbox, checkpoint, clock):
    outbox.enqueue(checkpoint, REPO, "a")
    clock.now += 1
    replace_checkpoint(checkpoint)
    outbox.enqueue(checkpoint, REPO, "b")
    store = FakeStore()
    outbox.deliver(store)
    assert list_states(outbox) == ["superseded", "published"] and len(store.published_files) == 1
    assert next(iter(store.published_files)).startswith("b [")


def test_delivery_interrupted_by_a_crash_is_resumed(outbox, checkpoint, clock):
    entry = outbox.enqueue(checkpoint, REPO, "a")

    class ProcessKilled(BaseException):
        pass

    store = FakeStore(ProcessKilled())
    with pytest.raises(ProcessKilled):
        outbox.deliver(store)
    assert list_states(outbox) == ["sending"]
    delivered_entry = Outbox(checkpoint.parent, clock).deliver(store)
    assert delivered_entry.state == "published" and delivered_entry.id == entry.id


def test_failed_enqueue_creates_no_entry(outbox, checkpoint, monkeypatch):
    monkeypatch.setattr("training.publishing.outbox.write_json", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError):
        outbox.enqueue(checkpoint, REPO, "a")
    assert outbox.entries() == [] and outbox.seconds_until_due() is None


def test_outbox_is_delivered_by_one_process_at_a_time(outbox, checkpoint):
    outbox.enqueue(checkpoint, REPO, "a")
    has_started, may_continue = threading.Event(), threading.Event()

    class SlowStore(FakeStore):
        def publish(self, *args, **options):
            has_started.set()
            may_continue.wait(10)
            return super().publish(*args, **options)

    store, other = SlowStore(), FakeStore()
    thread = threading.Thread(target=outbox.deliver, args=(store,))
    thread.start()
    has_started.wait(10)
    assert Outbox(checkpoint.parent).deliver(other) is None
    may_continue.set()
    thread.join(10)
    assert len(store.published_files) == 1 and not other.published_files and list_states(outbox) == ["published"]


def test_worker_publishes_in_the_background_and_a_slow_store_does_not_block(checkpoint):
    outbox = Outbox(checkpoint.parent)
    may_continue = threading.Event()

    class SlowStore(FakeStore):
        def publish(self, *args, **options):
            may_continue.wait(10)
            return super().publish(*args, **options)

    worker = UploadWorker(lambda: [outbox], SlowStore())
    worker.start()
    start_time = time.monotonic()
    outbox.enqueue(checkpoint, REPO, "a")
    worker.wake()
    worker.close(timeout_s=0.2)
    assert time.monotonic() - start_time < 5 and list_states(outbox)[0] in ("waiting", "sending")
    may_continue.set()
    worker.close(timeout_s=10.0)
    assert list_states(outbox) == ["published"]


def test_entry_file_is_json_with_the_fields_of_the_entry(outbox, checkpoint):
    outbox.enqueue(checkpoint, REPO, "a", private=True)
    (path,) = outbox.path.glob("*/entry.json")
    assert OutboxEntry(**json.loads(path.read_text())).private is True
