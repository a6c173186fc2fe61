"""Test the model catalog: bundled, trained and Hub checkpoints, and downloads that do not block."""

import json
import shutil
import threading
import time

import pytest

from tests.fake_hub.fixtures import read_dir_files
from tests.ui.conftest import make_checkpoint, make_inference_service
from tests.ui.services.test_inference_service import make_digit_image
from training.publishing.outbox import Outbox
from ui.services.downloads import MAX_CONCURRENT_DOWNLOADS
from ui.services.inference_service import format_checkpoint_label
from ui.services.model_catalog import StepStore


@pytest.fixture
def bundled_dir(tmp_path):
    """Return a directory with one bundled checkpoint."""
    make_checkpoint(tmp_path / "bundled" / "digits", "digits")
    return tmp_path / "bundled"


@pytest.fixture
def inference_service(bundled_dir, hub, tmp_path):
    return make_inference_service(
        bundled_dir, endpoint=hub.url, runs_dir=tmp_path / "runs", hub_models=["alice/listed", "alice/away"]
    )


@pytest.fixture
def parity_checkpoint(tmp_path) -> dict[str, bytes]:
    return read_dir_files(make_checkpoint(tmp_path / "parity", "parity"))


def wait_for_download(inference_service, name: str, timeout_s: float = 10.0) -> dict:
    deadline = time.monotonic() + timeout_s
    while (state := inference_service.get_download_status(name))["running"] and time.monotonic() < deadline:
        time.sleep(0.02)
    return state


def test_a_model_of_the_hub_is_described_downloaded_and_used(inference_service, hub, parity_checkpoint):
    hub.add_repo("bob/parity", parity_checkpoint)
    description = inference_service.describe("bob/parity")
    assert (
        description["origin"] == "hub"
        and not description["is_downloaded"]
        and not description["is_ready"]
        and description["title"] == "Parity"
    )
    with pytest.raises(ValueError, match="Download it in the Models tab first"):
        inference_service.predict(description["name"], "101", "")
    inference_service.download(description["name"])
    state = wait_for_download(inference_service, description["name"])
    assert state["state"] == "finished" and state["share"] == 1.0
    assert (
        description["name"] in inference_service.list_checkpoint_names()
        and inference_service.describe("bob/parity")["is_ready"]
    )
    hub.add_fault("drop", max_count=None)
    assert inference_service.predict(description["name"], "101", "")["checkpoint"] == description["name"]


def test_finished_runs_are_listed(inference_service, tmp_path):
    make_checkpoint(tmp_path / "runs" / "parity-1" / "checkpoint", "parity")
    assert inference_service.list_checkpoint_names() == ["digits", "run:parity-1"]
    assert inference_service.predict("run:parity-1", "101", "")["task"] == "parity"
    assert inference_service.describe("run:parity-1")["origin"] == "run"


def test_the_publication_status_of_a_run_is_shown(inference_service, tmp_path):
    directory = make_checkpoint(tmp_path / "runs" / "parity-1" / "checkpoint", "parity")
    assert inference_service.describe("run:parity-1")["published"] == ""
    outbox = Outbox(directory.parent)
    outbox.enqueue(directory, "alice/new", "parity")
    assert "Waiting to be sent to alice/new" in inference_service.describe("run:parity-1")["published"]
    outbox.deliver(inference_service.catalog.visitor_store)  # without a token
    assert "Not published (refused)" in inference_service.describe("run:parity-1")["published"]


def test_listed_models_are_shown_without_hub_requests(inference_service, hub):
    cards = inference_service.gallery.build_view()["cards"]
    assert [card["name"] for card in cards] == ["digits", "alice/listed", "alice/away"]
    assert not hub.requests


def test_a_private_model_is_read_with_the_owners_token_only_where_it_is_listed(
    inference_service, hub, parity_checkpoint, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    for name in ("alice/listed", "alice/secret"):
        hub.add_repo(name, parity_checkpoint, private=True)
    assert inference_service.describe("alice/listed")["title"] == "Parity"
    with pytest.raises(ValueError, match="private and this app may not see it"):
        inference_service.describe("alice/secret")


def test_a_private_model_in_the_cache_of_the_owner_is_not_available_to_visitors(
    inference_service, hub, parity_checkpoint, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    commit = hub.add_repo("alice/secret", parity_checkpoint, private=True) and hub.list_commits("alice/secret")[0].oid
    inference_service.catalog.owner_store.fetch("alice/secret")  # as a run that starts from it does
    assert not any("secret" in name for name in inference_service.list_checkpoint_names())
    for name in ("alice/secret", f"alice/secret@{commit}"):
        with pytest.raises(ValueError, match="not downloaded"):
            inference_service.predict(name, "101", "")


def test_a_bare_checkpoint_with_an_ambiguous_task_lists_task_choices(inference_service, hub, tmp_path):
    files = read_dir_files(make_checkpoint(tmp_path / "bare", "digits", backbone_type="resnet18-1"))
    hub.add_repo("bob/bare", {name: files[name] for name in ("config.json", "model.safetensors")})
    description = inference_service.describe("bob/bare")
    assert description["title"] == "" and "digits" in description["choices"]
    inference_service.download(description["name"])
    wait_for_download(inference_service, description["name"])
    description_with_task = inference_service.describe(description["name"] + "#digits")
    assert description_with_task["is_ready"] and description_with_task["name"] == description["name"] + "#digits"
    assert inference_service.get_checkpoint_info(description_with_task["name"]).input_type == "image"
    with pytest.raises(ValueError, match=r"cannot do the task 'parity'\. Its config fits: digits"):
        inference_service.describe(description["name"] + "#parity")


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("halting.json", {"policies": {"a": 5}}, "halting.json is not what it should be"),
        ("metrics.json", {"evaluations": 1}, "metrics.json is not what it should be"),
        ("task.json", {"task": "juggling"}, "juggling"),
        ("task.json", {"task": "digits", "settings": {}}, "cannot do that task"),
        ("task.json", {"task": "parity", "settings": {"length": "<b>"}}, "length"),
        ("config.json", {"d_model": "<script>"}, "d_model"),
    ],
)
def test_invalid_metadata_of_a_hub_checkpoint_are_rejected(
    inference_service, hub, parity_checkpoint, file, values, message
):
    content = json.loads(parity_checkpoint.get(file, b"{}")) | values
    hub.add_repo("bob/odd", parity_checkpoint | {file: json.dumps(content).encode()})
    with pytest.raises(ValueError, match=message):
        inference_service.describe("bob/odd")


def test_a_download_can_be_cancelled_and_restarted(inference_service, hub, parity_checkpoint):
    hub.add_repo("bob/parity", parity_checkpoint)
    name = inference_service.describe("bob/parity")["name"]
    stall = hub.add_fault("stall", r"model\.safetensors", stall_s=1, max_count=None)
    inference_service.download(name)
    inference_service.cancel_download(name)
    assert inference_service.get_download_status(name)["state"] == "cancelled"
    stall.disable()
    inference_service.download(name)
    assert wait_for_download(inference_service, name)["state"] == "finished"


def test_a_failed_download_reports_the_reason(inference_service, hub, parity_checkpoint):
    hub.add_repo("bob/parity", parity_checkpoint)
    name = inference_service.describe("bob/parity")["name"]
    hub.add_fault("wrong_bytes", r"model\.safetensors", "GET")
    inference_service.download(name)
    state = wait_for_download(inference_service, name)
    assert state["state"] == "failed" and "did not arrive as the Hub holds it" in state["sentence"]


def test_a_download_with_an_unexpected_error_is_logged_and_reported_as_failed(inference_service, monkeypatch, caplog):
    monkeypatch.setattr(inference_service.catalog.visitor_store, "fetch", lambda name, watch: 1 / 0)
    inference_service.download("bob/odd")
    state = wait_for_download(inference_service, "bob/odd")
    assert (
        state["state"] == "failed"
        and "log of the app has the reason" in state["sentence"]
        and "ZeroDivisionError" in caplog.text
    )


def test_an_unreadable_checkpoint_does_not_hide_the_others(inference_service, monkeypatch, caplog):
    monkeypatch.setattr(inference_service.catalog, "read_local", lambda name: 1 / 0)
    assert [name for _, name in inference_service.list_checkpoint_labels()] == ["digits"]


def test_a_repeated_download_is_not_started_again_and_concurrent_downloads_are_limited(
    inference_service, hub, parity_checkpoint
):
    hub.add_fault("stall", r"/api/models/", stall_s=20, max_count=None)
    names = [f"bob/m{number}" for number in range(MAX_CONCURRENT_DOWNLOADS + 1)]
    for name in (*names[:MAX_CONCURRENT_DOWNLOADS], *names[:MAX_CONCURRENT_DOWNLOADS]):
        inference_service.download(name)
    with pytest.raises(ValueError, match=f"{MAX_CONCURRENT_DOWNLOADS} downloads are running"):
        inference_service.download(names[-1])
    for name in names[:MAX_CONCURRENT_DOWNLOADS]:
        inference_service.cancel_download(name)


def test_ten_visitors_get_predictions_while_the_hub_does_not_respond(inference_service, hub):
    """The Hub does not answer for 30 seconds; downloads and lookups hang, and other requests do not."""
    hub.add_fault("stall", stall_s=30, max_count=None)
    inference_service.catalog.owner_store.seconds = inference_service.catalog.visitor_store.seconds = 30.0
    start_time = time.monotonic()
    inference_service.download("alice/listed")
    lookup_threads = [
        threading.Thread(target=expect_lookup_error, args=(inference_service, f"bob/m{number}"), daemon=True)
        for number in range(3)
    ]
    answers: list[str] = []

    def predict_repeatedly() -> None:
        for _ in range(3):
            inference_service.list_checkpoint_labels()
            answers.append(inference_service.predict("digits", make_digit_image(), "ticks=3")["label"])

    visitor_threads = [threading.Thread(target=predict_repeatedly) for _ in range(10)]
    for thread in (*lookup_threads, *visitor_threads):
        thread.start()
    for thread in visitor_threads:
        thread.join(20)
    assert len(answers) == 30 and time.monotonic() - start_time < 20
    assert inference_service.get_download_status("alice/listed")["running"] and all(
        thread.is_alive() for thread in lookup_threads
    )
    inference_service.cancel_download("alice/listed")


def expect_lookup_error(inference_service, name: str) -> None:
    with pytest.raises(ValueError):
        inference_service.describe(name)


def test_labels_abbreviate_commit_hashes():
    commit = "0123456789" * 4
    assert format_checkpoint_label(f"alice/x@{commit}:a/b#digits", "") == "alice/x @ 0123456 : a/b as digits"
    assert format_checkpoint_label("digits", "Handwritten digits") == "Handwritten digits (digits)"


def test_directories_that_are_not_steps_are_ignored(checkpoints_dir, tmp_path):
    for step in ("00000020", "5abc", "٣"):
        shutil.copytree(checkpoints_dir / "digits", tmp_path / "a-run" / "checkpoints" / step)
    assert StepStore(tmp_path).list_names() == ["a-run@20"]
