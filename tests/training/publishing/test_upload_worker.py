"""Publishing from the app: at once where one asks for it, and by itself whatever waits in the outboxes."""

import os
import shutil
import threading
from pathlib import Path

import pytest
import yaml

from ctm.stores import HubStore, StoreUnavailable
from tests.fake_hub.fixtures import TOKEN, files_of
from tests.fake_hub.fixtures import hub as here
from tests.training.jobs.conftest import tiny, until
from training.__main__ import main
from training.config import PublishConfig
from training.publishing import outbox
from training.publishing import upload_worker as courier_module
from training.publishing.outbox import Entry, Outbox, Publisher
from training.publishing.run_publisher import offer
from training.publishing.upload_worker import UploadWorker
from training.run_dir import RunFolder

__all__ = ["here"]

REPO = "alice/made"
SETTINGS = PublishConfig(repo=REPO)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A finished run that was not published."""
    recipe = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(tiny().model_dump(mode="json")))
    main(["train", str(recipe), "--folder", str(recipe.parent / "run")])
    return recipe.parent / "run"


@pytest.fixture
def run(trained, tmp_path):
    """Copies of it among the runs of an app."""

    def copy(name: str) -> RunFolder:
        return RunFolder(shutil.copytree(trained, tmp_path / "runs" / name))

    return copy


@pytest.fixture
def hub(here, monkeypatch):
    """Nobody waits long for it, nor between two tries."""
    monkeypatch.setattr(courier_module, "POLL_INTERVAL_S", 0.1)
    monkeypatch.setattr(outbox, "WAITS", (0.3,) * len(outbox.WAITS))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    return here


@pytest.fixture
def store_of(hub, tmp_path):
    return lambda token=TOKEN: HubStore(
        token=token, cache_dir=tmp_path / "cache", endpoint=hub.url, timeout_s=2.0, min_free_bytes=0
    )


@pytest.fixture
def courier_of(tmp_path):
    """Make couriers; each is closed, and has ended, with the test."""
    made = []

    def make(store: HubStore) -> UploadWorker:
        made.append(UploadWorker(tmp_path / "runs", store))
        return made[-1]

    yield make
    for courier in made:
        courier.close()
        if courier._thread.ident:
            courier._thread.join(10)
            assert not courier._thread.is_alive()


@pytest.fixture
def courier(courier_of, store_of) -> UploadWorker:
    return courier_of(store_of())


def entry_of(folder: RunFolder) -> Entry:
    return Outbox(folder.path).entries()[-1]


def published(folder: RunFolder) -> bool:
    return entry_of(folder).state == "published"


def own_commits(hub, repo: str = REPO) -> list[str]:
    return [commit.title for commit in hub.commits(repo)][:-1] if hub.has(repo) else []


# --- publish now ---------------------------------------------------------------------------------------------------


def test_a_finished_run_is_published_at_once(hub, courier, run):
    """Long before the next round, for whoever asks is waiting."""
    courier_module.POLL_INTERVAL_S = 600.0  # set back by the fixture
    folder = run("first")
    courier.start()
    assert courier.enqueue_run_checkpoint(folder, SETTINGS).say() == f"Waiting to be sent to {REPO}."
    until(lambda: published(folder), 20)
    assert entry_of(folder).url == f"{hub.url}/{REPO}/commit/{hub.commits(REPO)[0].oid}"
    assert hub.commits(REPO)[0].title.startswith("first: finished, step 12 [")
    held = hub.files(REPO)
    assert held.keys() == {*files_of(folder.finished), "accuracy.png"}
    assert held["model.safetensors"] == (folder.finished / "model.safetensors").read_bytes()


def test_of_a_run_that_goes_on_the_newest_step_is_published(hub, courier, run):
    folder = run("first")
    shutil.rmtree(folder.finished)
    assert folder.steps() == [6, 12]
    courier.enqueue_run_checkpoint(folder, SETTINGS)
    courier.start()
    until(lambda: published(folder), 20)
    assert own_commits(hub)[0].startswith("first: in training, step 12 [")
    assert hub.files(REPO)["model.safetensors"] == (folder.checkpoint(12) / "model.safetensors").read_bytes()
    assert b"## Still training" in hub.files(REPO)["README.md"]


def test_a_step_that_vanishes_while_it_is_taken_gives_way_to_the_newer_one(hub, courier, run, monkeypatch):
    """A run that goes on removes old steps at any moment."""
    folder = run("first")
    shutil.rmtree(folder.finished)
    steps = iter([[6], [6], [6, 12]])
    monkeypatch.setattr(RunFolder, "steps", lambda _: next(steps))
    shutil.rmtree(folder.checkpoint(6))
    entry = courier.enqueue_run_checkpoint(folder, SETTINGS)
    assert entry.title.endswith("step 12")
    assert [path.name for path in (folder.path / "outbox").iterdir()] == [outbox.place_of(entry)], "and no half of it"


def test_what_was_published_is_not_sent_again(hub, courier, run):
    folder = run("first")
    courier.start()
    first = courier.enqueue_run_checkpoint(folder, SETTINGS)
    until(lambda: published(folder), 20)
    again = courier.enqueue_run_checkpoint(folder, SETTINGS)
    assert again.id == first.id and again.say().startswith("Published: ") and len(own_commits(hub)) == 1


def test_where_nothing_is_saved_yet_that_is_said(hub, courier, tmp_path):
    folder = RunFolder(tmp_path / "runs" / "new")
    folder.begin(tiny())
    with pytest.raises(ValueError, match="The run new has saved nothing yet that could be published"):
        courier.enqueue_run_checkpoint(folder, SETTINGS)
    assert not hub.requests and not (folder.path / "outbox").exists()


@pytest.mark.parametrize(
    ("token", "repo", "says"),
    [
        (TOKEN, "bob/his", "needs the right to write"),
        (TOKEN, "no-such-org/x", "needs the right to write"),
        ("hf_alice_read", REPO, "needs the right to write"),
        ("hf_wrong", REPO, "does not accept this token"),
    ],
)
def test_where_the_token_may_not_write_is_told_before_anything_is_kept(
    hub, courier_of, store_of, run, token, repo, says
):
    folder = run("first")
    with pytest.raises(ValueError, match=says) as caught:
        courier_of(store_of(token)).offer(folder, PublishConfig(repo=repo))
    assert not isinstance(caught.value, StoreUnavailable) and token not in str(caught.value)
    assert not (folder.path / "outbox").exists()


@pytest.mark.parametrize("repo", ["made", "alice/made@main", "alice/a:b", "../x/y", "alice/made/sub"])
def test_what_is_no_repository_is_refused(repo):
    with pytest.raises(ValueError):
        PublishConfig.parse({"repo": repo}, "publish")


def test_a_token_that_is_taken_back_ends_it_with_its_sentence(hub, courier, run):
    folder = run("first")
    courier.enqueue_run_checkpoint(folder, SETTINGS)
    hub.remove_token(TOKEN)
    courier.start()
    until(lambda: entry_of(folder).state == "refused", 20)
    assert "does not accept this token" in entry_of(folder).say() and not own_commits(hub)


# --- by itself -----------------------------------------------------------------------------------------------------


def test_a_hub_that_was_away_gets_it_when_it_is_back(hub, courier, run):
    folder = run("first")
    courier.enqueue_run_checkpoint(folder, SETTINGS)
    gone = hub.fault("answer", "", status=503, times=None)
    courier.start()
    until(lambda: entry_of(folder).tries >= 2, 20)
    assert "The Hub is busy or out of order" in entry_of(folder).say()
    gone.lift()
    until(lambda: published(folder) and not list(folder.path.glob("outbox/*/checkpoint")), 20)
    assert len(own_commits(hub)) == 1


def test_what_an_earlier_app_left_behind_is_delivered(hub, courier, run):
    """Killed while it sent: the commit had landed, nobody had heard of it."""
    folder = run("first")
    entry = offer(Outbox(folder.path), folder, folder.finished, REPO, False)
    hub.fault("drop", "/api/models/alice/made/revision/", times=1)
    assert Outbox(folder.path).deliver(courier.hub_store).state == "waiting"
    Outbox(folder.path)._note(entry, state="sending")
    courier.start()
    until(lambda: published(folder), 20)
    assert len(own_commits(hub)) == 1


@pytest.mark.parametrize("others", ["courier", "training"])
def test_two_at_once_publish_once(hub, courier, courier_of, store_of, run, others):
    """Another app on the same folder, or the training itself, which delivers its own."""
    folder = run("first")
    hub.fault("stall", "/commit/main", seconds=0.5)  # so that they meet
    courier.enqueue_run_checkpoint(folder, SETTINGS)
    if others == "courier":
        courier_of(store_of()).start()
        courier.start()
        until(lambda: published(folder), 20)
    else:
        publisher = Publisher(Outbox(folder.path), store_of())
        courier.start()
        until(lambda: published(folder), 20)
        publisher.close(5.0)
    assert len(own_commits(hub)) == 1 and len(hub.seen("/commit/main")) == 1
    assert entry_of(folder).tries == 1


def test_a_broken_outbox_does_not_keep_others_waiting(hub, courier, run):
    """The first in line is refused, the second cannot be read, the third is no folder, the fourth is one of a run elsewhere."""
    names = ["a-refused", "b-broken", "c-file", "d-elsewhere", "e-good"]
    folders = [run(name) for name in names]
    refused, broken, file, elsewhere, good = folders
    offer(Outbox(refused.path), refused, refused.finished, "bob/his", False)
    for folder in (broken, elsewhere, good):
        offer(Outbox(folder.path), folder, folder.finished, REPO, False)
    next(broken.path.glob("outbox/*/entry.json")).write_text('{"id": 3}')
    (file.path / "outbox").write_text("")
    shutil.rmtree(next(elsewhere.path.glob("outbox/*/checkpoint")))
    courier.start()
    until(lambda: published(good), 20)
    assert entry_of(refused).state == "refused" and entry_of(elsewhere).state == "waiting"
    assert [title.partition(":")[0] for title in own_commits(hub)] == ["e-good"]


def test_a_run_that_is_deleted_meanwhile_does_not_come_back(hub, courier, run):
    """The one before it keeps the courier busy while it goes; its folder must not be made anew."""
    first, second = run("a-first"), run("b-second")
    for folder in (first, second):
        offer(Outbox(folder.path), folder, folder.finished, f"alice/{folder.path.name}", False)
    stall = hub.fault("stall", "/commit/main", seconds=0.5)
    courier.start()
    until(lambda: stall.struck, 20)
    shutil.rmtree(second.path)
    until(lambda: published(first), 20)
    until(lambda: len(hub.seen("/commit/main")) == 1 and not courier._wake_event.is_set(), 5)
    courier.close()
    courier._thread.join(10)
    assert not second.path.exists() and not own_commits(hub, "alice/b-second")


def test_it_ends_with_its_app(courier):
    courier.start()
    assert "courier" in [thread.name for thread in threading.enumerate()] and courier._thread.daemon
    courier.close()
    courier._thread.join(5)
    assert not courier._thread.is_alive()


def test_the_token_is_in_no_file(hub, courier, run):
    folder = run("first")
    courier.start()
    courier.enqueue_run_checkpoint(folder, SETTINGS)
    until(lambda: published(folder), 20)
    files = [Path(at, name) for at, _, names in os.walk(folder.path) for name in names]
    assert files and not [path for path in files if TOKEN.encode() in path.read_bytes()]
