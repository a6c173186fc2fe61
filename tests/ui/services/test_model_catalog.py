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


def wait_for_download(inference_service, name: str, seconds: float = 10.0) -> dict:
    deadline = time.monotonic() + seconds
    while (state := inference_service.get_download_status(name))["running"] and time.monotonic() < deadline:
        time.sleep(0.02)
    return state


def test_a_model_of_the_hub_is_described_downloaded_and_thought_with(inference_service, hub, parity_checkpoint):
    hub.add_repo("bob/parity", parity_checkpoint)
    about = inference_service.describe("bob/parity")
    assert (
        about["origin"] == "hub" and not about["is_downloaded"] and not about["is_ready"] and about["title"] == "Parity"
    )
    with pytest.raises(ValueError, match="Download it in the Models tab first"):
        inference_service.predict(about["name"], "101", "")
    inference_service.download(about["name"])
    state = wait_for_download(inference_service, about["name"])
    assert state["state"] == "finished" and state["share"] == 1.0
    assert (
        about["name"] in inference_service.list_checkpoint_names()
        and inference_service.describe("bob/parity")["is_ready"]
    )
    hub.add_fault("drop", max_count=None)
    assert inference_service.predict(about["name"], "101", "")["checkpoint"] == about["name"]


def test_finished_runs_are_listed(inference_service, tmp_path):
    make_checkpoint(tmp_path / "runs" / "parity-1" / "checkpoint", "parity")
    assert inference_service.list_checkpoint_names() == ["digits", "run:parity-1"]
    assert inference_service.predict("run:parity-1", "101", "")["task"] == "parity"
    assert inference_service.describe("run:parity-1")["origin"] == "run"


def test_how_a_runs_publication_stands_is_shown(inference_service, tmp_path):
    directory = make_checkpoint(tmp_path / "runs" / "parity-1" / "checkpoint", "parity")
    assert inference_service.describe("run:parity-1")["published"] == ""
    outbox = Outbox(directory.parent)
    outbox.enqueue(directory, "alice/new", "parity")
    assert "Waiting to be sent to alice/new" in inference_service.describe("run:parity-1")["published"]
    outbox.deliver(inference_service.catalog.visitor_store)  # without a token
    assert "Not published (refused)" in inference_service.describe("run:parity-1")["published"]


def test_listed_models_are_shown_without_asking_the_hub(inference_service, hub):
    assert [name for _, name in inference_service.list_catalog()] == ["digits", "alice/listed", "alice/away"]
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


def test_a_private_model_that_lies_in_the_owners_cache_is_nobody_elses(
    inference_service, hub, parity_checkpoint, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    commit = hub.add_repo("alice/secret", parity_checkpoint, private=True) and hub.list_commits("alice/secret")[0].oid
    inference_service.catalog.owner_store.fetch("alice/secret")  # as a training that begins with it does
    assert not any("secret" in name for name in inference_service.list_checkpoint_names())
    for name in ("alice/secret", f"alice/secret@{commit}"):
        with pytest.raises(ValueError, match="not downloaded"):
            inference_service.predict(name, "101", "")


def test_a_bare_checkpoint_whose_task_is_open_is_asked_about(inference_service, hub, tmp_path):
    files = read_dir_files(make_checkpoint(tmp_path / "bare", "digits", backbone_type="resnet18-1"))
    hub.add_repo("bob/bare", {name: files[name] for name in ("config.json", "model.safetensors")})
    about = inference_service.describe("bob/bare")
    assert about["title"] == "" and "digits" in about["choices"]
    inference_service.download(about["name"])
    wait_for_download(inference_service, about["name"])
    chosen = inference_service.describe(about["name"] + "#digits")
    assert chosen["is_ready"] and chosen["name"] == about["name"] + "#digits"
    assert inference_service.get_checkpoint_info(chosen["name"]).input_type == "image"
    with pytest.raises(ValueError, match=r"cannot do the task 'parity'\. Its config fits: digits"):
        inference_service.describe(about["name"] + "#parity")


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("halting.json", {"policies": {"a": 5}}, "halting.json is not what it should be"),
        ("metrics.json", {"evaluations": 1}, "metrics.json is not what it should be"),
        ("task.json", {"task": "juggling"}, "juggling"),
        ("task.json", {"task": "digits", "settings": {}}, "cannot do that task"),
        ("task.json", {"task": "parity", "settings": {"length": "<b>"}}, "length"),
        ("config.json", {"d_model": "<script>"}, "d_model"),
    ],
)
def test_notes_from_a_stranger_are_checked(inference_service, hub, parity_checkpoint, file, values, words):
    content = json.loads(parity_checkpoint.get(file, b"{}")) | values
    hub.add_repo("bob/odd", parity_checkpoint | {file: json.dumps(content).encode()})
    with pytest.raises(ValueError, match=words):
        inference_service.describe("bob/odd")


def test_a_download_can_be_given_up_and_begun_again(inference_service, hub, parity_checkpoint):
    hub.add_repo("bob/parity", parity_checkpoint)
    name = inference_service.describe("bob/parity")["name"]
    stall = hub.add_fault("stall", r"model\.safetensors", stall_s=1, max_count=None)
    inference_service.download(name)
    inference_service.cancel_download(name)
    assert inference_service.get_download_status(name)["state"] == "cancelled"
    stall.disable()
    inference_service.download(name)
    assert wait_for_download(inference_service, name)["state"] == "finished"


def test_a_failed_download_has_a_reason(inference_service, hub, parity_checkpoint):
    hub.add_repo("bob/parity", parity_checkpoint)
    name = inference_service.describe("bob/parity")["name"]
    hub.add_fault("wrong_bytes", r"model\.safetensors", "GET")
    inference_service.download(name)
    state = wait_for_download(inference_service, name)
    assert state["state"] == "failed" and "did not arrive as the Hub holds it" in state["sentence"]


def test_a_download_that_fails_in_an_odd_way_frees_its_place(inference_service, monkeypatch, caplog):
    monkeypatch.setattr(inference_service.catalog.visitor_store, "fetch", lambda name, watch: 1 / 0)
    inference_service.download("bob/odd")
    state = wait_for_download(inference_service, "bob/odd")
    assert (
        state["state"] == "failed"
        and "log of the app has the reason" in state["sentence"]
        and "ZeroDivisionError" in caplog.text
    )


def test_one_odd_checkpoint_does_not_hide_the_others(inference_service, monkeypatch, caplog):
    monkeypatch.setattr(inference_service.catalog, "read_local", lambda name: 1 / 0)
    assert [name for _, name in inference_service.list_checkpoint_labels()] == ["digits"]


def test_two_clicks_are_one_download_and_a_third_model_waits_its_turn(inference_service, hub, parity_checkpoint):
    hub.add_fault("stall", r"/api/models/", stall_s=20, max_count=None)
    names = [f"bob/m{number}" for number in range(MAX_CONCURRENT_DOWNLOADS + 1)]
    for name in (*names[:MAX_CONCURRENT_DOWNLOADS], *names[:MAX_CONCURRENT_DOWNLOADS]):
        inference_service.download(name)
    with pytest.raises(ValueError, match=f"{MAX_CONCURRENT_DOWNLOADS} downloads are running"):
        inference_service.download(names[-1])
    for name in names[:MAX_CONCURRENT_DOWNLOADS]:
        inference_service.cancel_download(name)


def test_ten_visitors_get_answers_while_the_hub_does_not_respond(inference_service, hub):
    """The Hub does not answer for 30 seconds; downloads and lookups hang, and other requests do not."""
    hub.add_fault("stall", stall_s=30, max_count=None)
    inference_service.catalog.owner_store.seconds = inference_service.catalog.visitor_store.seconds = 30.0
    started = time.monotonic()
    inference_service.download("alice/listed")
    looking = [
        threading.Thread(target=expect_not_downloaded, args=(inference_service, f"bob/m{number}"), daemon=True)
        for number in range(3)
    ]
    answers: list[str] = []

    def visit() -> None:
        for _ in range(3):
            inference_service.list_checkpoint_labels()
            answers.append(inference_service.predict("digits", make_digit_image(), "ticks=3")["label"])

    visitors = [threading.Thread(target=visit) for _ in range(10)]
    for thread in (*looking, *visitors):
        thread.start()
    for thread in visitors:
        thread.join(20)
    assert len(answers) == 30 and time.monotonic() - started < 20
    assert inference_service.get_download_status("alice/listed")["running"] and all(
        thread.is_alive() for thread in looking
    )
    inference_service.cancel_download("alice/listed")


def expect_not_downloaded(inference_service, name: str) -> None:
    with pytest.raises(ValueError):
        inference_service.describe(name)


def test_labels_cut_commits_short():
    commit = "0123456789" * 4
    assert format_checkpoint_label(f"alice/x@{commit}:a/b#digits", "") == "alice/x @ 0123456 : a/b as digits"
    assert format_checkpoint_label("digits", "Handwritten digits") == "Handwritten digits (digits)"


def test_folders_that_are_no_steps_are_passed_over(checkpoints_dir, tmp_path):
    for step in ("00000020", "5abc", "٣"):
        shutil.copytree(checkpoints_dir / "digits", tmp_path / "a-run" / "checkpoints" / step)
    assert StepStore(tmp_path).list_names() == ["a-run@20"]
