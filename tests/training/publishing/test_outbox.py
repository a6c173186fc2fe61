"""Publishing that survives: whatever goes wrong, nothing is lost and nothing goes out twice."""

import json
import shutil
import threading
import time

import pytest

from ctm.stores import Commit, StoreUnavailable
from tests.fake_clock import Clock
from training.publishing.outbox import BETWEEN, MOST_TRIES, WAITS, Entry, Outbox, Publisher

REPO = "alice/new"


class FakeStore:
    """A store that fails as it is told to, and keeps what it was given."""

    def __init__(self, *failures: Exception):
        self.failures = list(failures)
        self.landed: dict[str, dict[str, bytes]] = {}  # message -> files

    def publish(self, folder, name, message, private=False) -> Commit:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None and "landed" not in str(failure):
            raise failure
        self.landed.setdefault(message, {path.name: path.read_bytes() for path in folder.iterdir()})
        if failure is not None:
            raise failure
        return Commit("0" * 40, f"https://hub/{name}/commit/{'0' * 40}")


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "run" / "checkpoint"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "README.md"):
        (folder / name).write_text(f"first {name}")
    return folder


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outbox(checkpoint, clock) -> Outbox:
    return Outbox(checkpoint.parent, clock)


def states(outbox) -> list[str]:
    return [entry.state for entry in outbox.entries()]


def change(checkpoint) -> None:
    """Replace the checkpoint as saving does: by another folder in its place."""
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()
    for name in ("config.json", "model.safetensors", "README.md"):
        (checkpoint / name).write_text(f"second {name}")


def test_what_was_put_in_goes_out_as_it_was_then(outbox, checkpoint):
    entry = outbox.put(checkpoint, REPO, "step 1", extra={"README.md": b"dressed", "accuracy.png": b"png"})
    shutil.rmtree(checkpoint)
    store = FakeStore()
    sent = outbox.deliver(store)
    assert sent.state == "published" and sent.url.endswith("/commit/" + "0" * 40)
    assert store.landed[entry.message] == {
        "config.json": b"first config.json",
        "model.safetensors": b"first model.safetensors",
        "README.md": b"dressed",
        "accuracy.png": b"png",
    }
    assert outbox.deliver(store) is None and outbox.waits() is None
    assert not list(outbox.path.rglob("model.safetensors")), "what is published takes no room"


def test_the_original_is_left_as_it_is(outbox, checkpoint):
    outbox.put(checkpoint, REPO, "step 1", extra={"README.md": b"dressed"})
    assert (checkpoint / "README.md").read_text() == "first README.md"


def test_the_same_checkpoint_is_put_in_once(outbox, checkpoint):
    first = outbox.put(checkpoint, REPO, "a")
    assert outbox.put(checkpoint, REPO, "a").id == first.id
    assert outbox.put(checkpoint, "alice/other", "a").id != first.id
    change(checkpoint)
    assert outbox.put(checkpoint, REPO, "a").id != first.id


def test_an_older_checkpoint_can_be_sent_again_after_a_newer_one(outbox, checkpoint, clock, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "other" / "checkpoint")
    change(tmp_path / "other" / "checkpoint")
    first = outbox.put(checkpoint, REPO, "a")
    outbox.deliver(FakeStore())
    assert outbox.put(checkpoint, REPO, "a").id == first.id
    clock.now += 1_000
    outbox.put(tmp_path / "other" / "checkpoint", REPO, "b")
    outbox.deliver(FakeStore())
    again = outbox.put(checkpoint, REPO, "a")
    assert again.id != first.id and again.state == "waiting"


def test_closing_waits_for_what_is_due_soon_and_no_longer(checkpoint):
    outbox = Outbox(checkpoint.parent)
    outbox.put(checkpoint, REPO, "a")
    store = FakeStore(StoreUnavailable("away", retry_after_s=0.0))
    publisher = Publisher(outbox, store)
    wait_until = time.monotonic() + 5
    while not outbox.entries()[0].problem and time.monotonic() < wait_until:
        time.sleep(0.01)
    started = time.monotonic()
    publisher.close(patience=1.0)
    assert time.monotonic() - started < 3 and states(outbox) == ["waiting"], "the next try is 15 seconds away"


def test_a_store_that_is_away_is_tried_again_later_and_later(outbox, checkpoint, clock):
    outbox.put(checkpoint, REPO, "a")
    store = FakeStore(*[StoreUnavailable("away")] * 3)
    for wait in WAITS[:3]:
        entry = outbox.deliver(store)
        assert entry.state == "waiting" and entry.problem == "away" and outbox.waits() == wait
        assert "Waiting" in entry.say() and "away" in entry.say()
        clock.now += wait - 0.1
        assert outbox.deliver(store) is None, "not yet"
        clock.now += 0.1
    assert outbox.deliver(store).state == "published"


def test_a_store_that_asks_to_wait_is_obeyed(outbox, checkpoint):
    outbox.put(checkpoint, REPO, "a")
    outbox.deliver(FakeStore(StoreUnavailable("busy", retry_after_s=5_000.0)))
    assert outbox.waits() == 5_000.0


def test_trying_ends(outbox, checkpoint, clock):
    outbox.put(checkpoint, REPO, "a")
    store = FakeStore(*[StoreUnavailable("away")] * 100)
    for _ in range(MOST_TRIES):
        outbox.deliver(store)
        clock.now += 10_000
    assert states(outbox) == ["given up"] and outbox.deliver(store) is None
    assert outbox.put(checkpoint, REPO, "a").state == "waiting", "asking again begins anew"


def test_a_refusal_is_final_and_says_why(outbox, checkpoint, clock):
    outbox.put(checkpoint, REPO, "a")
    entry = outbox.deliver(FakeStore(ValueError("This token may not do that.")))
    assert entry.state == "refused" and "This token may not do that." in entry.say()
    assert outbox.waits() is None


def test_a_reply_that_got_lost_publishes_once(outbox, checkpoint, clock):
    outbox.put(checkpoint, REPO, "a")
    store = FakeStore(StoreUnavailable("the answer was lost after it landed"))
    assert outbox.deliver(store).state == "waiting"
    clock.now += 60
    assert outbox.deliver(store).state == "published" and len(store.landed) == 1


def test_two_commits_are_ten_minutes_apart(outbox, checkpoint, clock):
    outbox.put(checkpoint, REPO, "a")
    outbox.deliver(FakeStore())
    clock.now += 100
    change(checkpoint)
    outbox.put(checkpoint, REPO, "b")
    assert outbox.waits() == BETWEEN - 100 and outbox.deliver(FakeStore()) is None
    clock.now += BETWEEN - 100
    assert outbox.deliver(FakeStore()).state == "published"


def test_only_the_newest_goes_out(outbox, checkpoint, clock):
    outbox.put(checkpoint, REPO, "a")
    clock.now += 1
    change(checkpoint)
    outbox.put(checkpoint, REPO, "b")
    store = FakeStore()
    outbox.deliver(store)
    assert states(outbox) == ["superseded", "published"] and len(store.landed) == 1
    assert next(iter(store.landed)).startswith("b [")


def test_a_process_that_died_while_sending_is_taken_up_again(outbox, checkpoint, clock):
    entry = outbox.put(checkpoint, REPO, "a")

    class Killed(BaseException):
        pass

    store = FakeStore(Killed())
    with pytest.raises(Killed):
        outbox.deliver(store)
    assert states(outbox) == ["sending"]
    sent = Outbox(checkpoint.parent, clock).deliver(store)
    assert sent.state == "published" and sent.id == entry.id


def test_a_process_that_died_while_putting_in_leaves_nothing_to_send(outbox, checkpoint, monkeypatch):
    monkeypatch.setattr("training.publishing.outbox.write_json", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError):
        outbox.put(checkpoint, REPO, "a")
    assert outbox.entries() == [] and outbox.waits() is None


def test_one_delivers_at_a_time(outbox, checkpoint):
    outbox.put(checkpoint, REPO, "a")
    reached, go_on = threading.Event(), threading.Event()

    class Slow(FakeStore):
        def publish(self, *given, **options):
            reached.set()
            go_on.wait(10)
            return super().publish(*given, **options)

    store, other = Slow(), FakeStore()
    thread = threading.Thread(target=outbox.deliver, args=(store,))
    thread.start()
    reached.wait(10)
    assert Outbox(checkpoint.parent).deliver(other) is None
    go_on.set()
    thread.join(10)
    assert len(store.landed) == 1 and not other.landed and states(outbox) == ["published"]


def test_the_publisher_sends_in_the_background_and_a_slow_store_holds_nobody_up(checkpoint):
    outbox = Outbox(checkpoint.parent)
    go_on = threading.Event()

    class Slow(FakeStore):
        def publish(self, *given, **options):
            go_on.wait(10)
            return super().publish(*given, **options)

    publisher = Publisher(outbox, Slow())
    started = time.monotonic()
    outbox.put(checkpoint, REPO, "a")
    publisher.wake()
    publisher.close(patience=0.2)
    assert time.monotonic() - started < 5 and states(outbox)[0] in ("waiting", "sending")
    go_on.set()
    publisher.close(patience=10.0)
    assert states(outbox) == ["published"]


def test_an_entry_is_plain_json(outbox, checkpoint):
    outbox.put(checkpoint, REPO, "a", private=True)
    (path,) = outbox.path.glob("*/entry.json")
    assert Entry(**json.loads(path.read_text())).private is True
