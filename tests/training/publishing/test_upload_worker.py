"""Tests of the upload worker of the app: immediate publication on request and background delivery of all outboxes."""

import os
import shutil
import threading
from pathlib import Path

import pytest
import yaml

from ctm.stores import HubStore, StoreUnavailable
from tests.fake_hub.fixtures import TOKEN, read_dir_files
from tests.fake_hub.fixtures import hub as loopback_hub
from tests.training.jobs.conftest import make_tiny_config, wait_until
from training.__main__ import main
from training.config import PublishConfig
from training.publishing import outbox
from training.publishing import upload_worker as upload_worker_module
from training.publishing.outbox import Outbox, OutboxEntry
from training.publishing.run_publisher import enqueue_checkpoint, enqueue_newest_checkpoint
from training.publishing.upload_worker import UploadWorker, list_run_outboxes
from training.run_dir import RunDir

__all__ = ["loopback_hub"]

REPO = "alice/made"
SETTINGS = PublishConfig(repo=REPO)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> Path:
    """Train a run that is not published, and return its directory."""
    recipe = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(make_tiny_config().model_dump(mode="json")))
    main(["train", str(recipe), "--run-dir", str(recipe.parent / "run")])
    return recipe.parent / "run"


@pytest.fixture
def copy_run(finished_run, tmp_path):
    """Return a function that copies the finished run into the runs directory of an app."""

    def copy(name: str) -> RunDir:
        return RunDir(shutil.copytree(finished_run, tmp_path / "runs" / name))

    return copy


@pytest.fixture
def hub(loopback_hub, monkeypatch):
    """Shorten the delays between polls and attempts, and disable xet."""
    monkeypatch.setattr(upload_worker_module, "POLL_INTERVAL_S", 0.1)
    monkeypatch.setattr(outbox, "RETRY_BACKOFF_S", (0.3,) * len(outbox.RETRY_BACKOFF_S))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    return loopback_hub


@pytest.fixture
def make_store(hub, tmp_path):
    return lambda token=TOKEN: HubStore(
        token=token, cache_dir=tmp_path / "cache", endpoint=hub.url, timeout_s=2.0, min_free_bytes=0
    )


@pytest.fixture
def make_upload_worker(tmp_path):
    """Return a function that creates upload workers; all are closed after the test."""
    workers = []

    def make(store: HubStore) -> UploadWorker:
        workers.append(UploadWorker(lambda: list_run_outboxes(tmp_path / "runs"), store))
        return workers[-1]

    yield make
    for upload_worker in workers:
        upload_worker.close()
        if upload_worker._thread.ident:
            upload_worker._thread.join(10)
            assert not upload_worker._thread.is_alive()


@pytest.fixture
def upload_worker(make_upload_worker, make_store) -> UploadWorker:
    return make_upload_worker(make_store())


def publish_now(worker: UploadWorker, run_dir: RunDir, settings: PublishConfig = SETTINGS) -> OutboxEntry:
    """Enqueue the newest checkpoint of a run and wake the worker, as the app does on request."""
    entry = enqueue_newest_checkpoint(run_dir, settings, worker.store)
    worker.wake()
    return entry


def get_last_entry(run_dir: RunDir) -> OutboxEntry:
    return Outbox(run_dir.path).entries()[-1]


def is_published(run_dir: RunDir) -> bool:
    return get_last_entry(run_dir).state == "published"


def list_run_commits(hub, repo: str = REPO) -> list[str]:
    return [commit.title for commit in hub.list_commits(repo)][:-1] if hub.has_repo(repo) else []


# --- publish now ---------------------------------------------------------------------------------------------------


def test_finished_run_is_published_at_once(hub, upload_worker, copy_run):
    """A request wakes the worker long before its next poll."""
    upload_worker_module.POLL_INTERVAL_S = 600.0  # the fixture restores the value
    run_dir = copy_run("first")
    upload_worker.start()
    assert publish_now(upload_worker, run_dir).format_status() == f"Waiting to be sent to {REPO}."
    wait_until(lambda: is_published(run_dir), 20)
    assert get_last_entry(run_dir).url == f"{hub.url}/{REPO}/commit/{hub.list_commits(REPO)[0].oid}"
    assert hub.list_commits(REPO)[0].title.startswith("first: finished, step 12 [")
    files = hub.read_files(REPO)
    assert files.keys() == {*read_dir_files(run_dir.final_checkpoint_dir), "accuracy.png", "preview.json"}
    assert files["model.safetensors"] == (run_dir.final_checkpoint_dir / "model.safetensors").read_bytes()


def test_newest_step_of_a_running_training_is_published(hub, upload_worker, copy_run):
    run_dir = copy_run("first")
    shutil.rmtree(run_dir.final_checkpoint_dir)
    assert run_dir.list_steps() == [6, 12]
    publish_now(upload_worker, run_dir)
    upload_worker.start()
    wait_until(lambda: is_published(run_dir), 20)
    assert list_run_commits(hub)[0].startswith("first: in training, step 12 [")
    assert hub.read_files(REPO)["model.safetensors"] == (run_dir.checkpoint_dir(12) / "model.safetensors").read_bytes()
    assert b"## Still training" in hub.read_files(REPO)["README.md"]


def test_step_deleted_during_the_copy_is_replaced_by_the_newer_step(hub, upload_worker, copy_run, monkeypatch):
    """A running training removes old steps at any time."""
    run_dir = copy_run("first")
    shutil.rmtree(run_dir.final_checkpoint_dir)
    steps = iter([[6], [6], [6, 12]])
    monkeypatch.setattr(RunDir, "list_steps", lambda _: next(steps))
    shutil.rmtree(run_dir.checkpoint_dir(6))
    entry = publish_now(upload_worker, run_dir)
    assert entry.title.endswith("step 12")
    assert [path.name for path in (run_dir.path / "outbox").iterdir()] == [outbox.get_entry_dir_name(entry)], (
        "no incomplete entry remains"
    )


def test_published_checkpoint_is_not_published_again(hub, upload_worker, copy_run):
    run_dir = copy_run("first")
    upload_worker.start()
    first = publish_now(upload_worker, run_dir)
    wait_until(lambda: is_published(run_dir), 20)
    second = publish_now(upload_worker, run_dir)
    assert (
        second.id == first.id and second.format_status().startswith("Published: ") and len(list_run_commits(hub)) == 1
    )


def test_run_without_a_saved_step_is_reported(hub, upload_worker, tmp_path):
    run_dir = RunDir(tmp_path / "runs" / "new")
    run_dir.initialize(make_tiny_config())
    with pytest.raises(ValueError, match="The run new has no checkpoint yet"):
        publish_now(upload_worker, run_dir)
    assert not hub.requests and not (run_dir.path / "outbox").exists()


@pytest.mark.parametrize(
    ("token", "repo", "expected_text"),
    [
        (TOKEN, "bob/model", "needs the right to write"),
        (TOKEN, "no-such-org/x", "needs the right to write"),
        ("hf_alice_read", REPO, "needs the right to write"),
        ("hf_wrong", REPO, "does not accept this token"),
    ],
)
def test_missing_write_access_is_reported_before_enqueueing(
    hub, make_upload_worker, make_store, copy_run, token, repo, expected_text
):
    run_dir = copy_run("first")
    with pytest.raises(ValueError, match=expected_text) as exc_info:
        publish_now(make_upload_worker(make_store(token)), run_dir, PublishConfig(repo=repo))
    assert not isinstance(exc_info.value, StoreUnavailable) and token not in str(exc_info.value)
    assert not (run_dir.path / "outbox").exists()


@pytest.mark.parametrize("repo", ["made", "alice/made@main", "alice/a:b", "../x/y", "alice/made/sub"])
def test_invalid_repository_is_rejected(repo):
    with pytest.raises(ValueError):
        PublishConfig.parse({"repo": repo}, "publish")


def test_revoked_token_rejects_the_entry_with_a_message(hub, upload_worker, copy_run):
    run_dir = copy_run("first")
    publish_now(upload_worker, run_dir)
    hub.remove_token(TOKEN)
    upload_worker.start()
    wait_until(lambda: get_last_entry(run_dir).state == "refused", 20)
    assert "does not accept this token" in get_last_entry(run_dir).format_status() and not list_run_commits(hub)


# --- background -----------------------------------------------------------------------------------------------------


def test_entry_is_published_after_a_hub_outage(hub, upload_worker, copy_run):
    run_dir = copy_run("first")
    publish_now(upload_worker, run_dir)
    outage = hub.add_fault("answer", "", status=503, max_count=None)
    upload_worker.start()
    wait_until(lambda: get_last_entry(run_dir).tries >= 2, 20)
    assert "The Hub is busy or out of order" in get_last_entry(run_dir).format_status()
    outage.disable()
    wait_until(lambda: is_published(run_dir) and not list(run_dir.path.glob("outbox/*/checkpoint")), 20)
    assert len(list_run_commits(hub)) == 1


def test_pending_entries_of_an_earlier_app_are_delivered(hub, upload_worker, copy_run):
    """The previous app was killed after the commit succeeded and before the response arrived."""
    run_dir = copy_run("first")
    entry = enqueue_checkpoint(Outbox(run_dir.path), run_dir, run_dir.final_checkpoint_dir, REPO, False)
    hub.add_fault("drop", "/api/models/alice/made/revision/", max_count=1)
    assert Outbox(run_dir.path).deliver(upload_worker.store).state == "waiting"
    Outbox(run_dir.path)._update_entry(entry, state="sending")
    upload_worker.start()
    wait_until(lambda: is_published(run_dir), 20)
    assert len(list_run_commits(hub)) == 1


@pytest.mark.parametrize("other_process", ["upload worker", "training"])
def test_concurrent_deliveries_publish_once(
    hub, upload_worker, make_upload_worker, make_store, copy_run, other_process
):
    """The other process is an app on the same directory, or the training, which delivers its own outbox."""
    run_dir = copy_run("first")
    hub.add_fault("stall", "/commit/main", stall_s=0.5)  # so that the deliveries overlap
    publish_now(upload_worker, run_dir)
    if other_process == "upload worker":
        make_upload_worker(make_store()).start()
        upload_worker.start()
        wait_until(lambda: is_published(run_dir), 20)
    else:
        publisher = UploadWorker(lambda: [Outbox(run_dir.path)], make_store())
        publisher.start()
        upload_worker.start()
        wait_until(lambda: is_published(run_dir), 20)
        publisher.close(5.0)
    assert len(list_run_commits(hub)) == 1 and len(hub.find_requests("/commit/main")) == 1
    assert get_last_entry(run_dir).tries == 1


def test_invalid_outboxes_do_not_block_other_outboxes(hub, upload_worker, copy_run):
    """The outboxes: rejected upload, unreadable entry, file instead of a directory, remote run, valid entry."""
    names = ["a-rejected", "b-invalid", "c-file", "d-remote", "e-good"]
    run_dirs = [copy_run(name) for name in names]
    rejected, invalid, file_run, remote, valid = run_dirs
    enqueue_checkpoint(Outbox(rejected.path), rejected, rejected.final_checkpoint_dir, "bob/model", False)
    for run_dir in (invalid, remote, valid):
        enqueue_checkpoint(Outbox(run_dir.path), run_dir, run_dir.final_checkpoint_dir, REPO, False)
    next(invalid.path.glob("outbox/*/entry.json")).write_text('{"id": 3}')
    (file_run.path / "outbox").write_text("")
    shutil.rmtree(next(remote.path.glob("outbox/*/checkpoint")))
    upload_worker.start()
    wait_until(lambda: is_published(valid), 20)
    assert get_last_entry(rejected).state == "refused" and get_last_entry(remote).state == "waiting"
    assert [title.partition(":")[0] for title in list_run_commits(hub)] == ["e-good"]


def test_deleted_run_is_not_created_again(hub, upload_worker, copy_run):
    """The worker is busy with another run during the deletion and must not create the directory again."""
    first, second = copy_run("a-first"), copy_run("b-second")
    for run_dir in (first, second):
        enqueue_checkpoint(
            Outbox(run_dir.path), run_dir, run_dir.final_checkpoint_dir, f"alice/{run_dir.path.name}", False
        )
    stall = hub.add_fault("stall", "/commit/main", stall_s=0.5)
    upload_worker.start()
    wait_until(lambda: stall.num_triggered, 20)
    shutil.rmtree(second.path)
    wait_until(lambda: is_published(first), 20)
    wait_until(lambda: len(hub.find_requests("/commit/main")) == 1 and not upload_worker._wake_event.is_set(), 5)
    upload_worker.close()
    upload_worker._thread.join(10)
    assert not second.path.exists() and not list_run_commits(hub, "alice/b-second")


def test_closing_the_worker_ends_its_thread(upload_worker):
    upload_worker.start()
    assert "upload-worker" in [thread.name for thread in threading.enumerate()] and upload_worker._thread.daemon
    upload_worker.close()
    upload_worker._thread.join(5)
    assert not upload_worker._thread.is_alive()


def test_token_is_not_written_to_the_run_directory(hub, upload_worker, copy_run):
    run_dir = copy_run("first")
    upload_worker.start()
    publish_now(upload_worker, run_dir)
    wait_until(lambda: is_published(run_dir), 20)
    files = [Path(directory, name) for directory, _, names in os.walk(run_dir.path) for name in names]
    assert files and not [path for path in files if TOKEN.encode() in path.read_bytes()]
