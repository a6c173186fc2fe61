"""Tests of uploads to the Hub with both upload protocols of the real client: an upload makes one commit or raises one sentence."""

import json

import pytest
from huggingface_hub import constants
from safetensors import safe_open

from ctm import ContinuousThoughtMachine, CTMConfig
from ctm.checkpoint import Checkpoint, save
from ctm.stores import StoreUnavailable
from tests.fake_hub.fixtures import read_dir_files
from tests.paths import ROOT

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
MESSAGE = "parity-1: finished, step 100 [0123456789ab]"


@pytest.fixture(params=["http", "xet"], autouse=True)
def upload_protocol(request, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", request.param == "http")
    return request.param


@pytest.fixture(autouse=True)
def model_card(checkpoint_dir):
    """Write a card with front matter; the Hub warns about cards without it."""
    (checkpoint_dir / "README.md").write_text("---\nlicense: mit\n---\n# Parity\n")


def list_commit_titles(hub) -> list[str]:
    return [commit.title for commit in hub.list_commits("alice/new")][:-1]  # the oldest is the Hub's own


def test_one_commit_holds_all_files(store, hub, checkpoint_dir):
    commit = store.publish(checkpoint_dir, "alice/new", MESSAGE)
    assert hub.read_files("alice/new") == read_dir_files(checkpoint_dir)
    assert list_commit_titles(hub) == [MESSAGE] and commit.revision == hub.list_commits("alice/new")[0].oid
    assert commit.url == f"{hub.url}/alice/new/commit/{commit.revision}"
    assert read_dir_files(store.fetch(f"alice/new@{commit.revision}")) == read_dir_files(checkpoint_dir)


@pytest.mark.parametrize("private", [True, False])
def test_a_new_repository_has_the_requested_visibility(store, hub, checkpoint_dir, private):
    store.publish(checkpoint_dir, "alice/new", MESSAGE, private)
    assert hub.get_repo("alice/new").private is private


def test_a_second_checkpoint_is_a_second_commit_and_deletes_stale_files(store, hub, checkpoint_dir):
    store.publish(checkpoint_dir, "alice/new", MESSAGE)
    (checkpoint_dir / "halting.json").unlink()
    (checkpoint_dir / "accuracy.png").write_bytes(b"png")
    hub.commit("alice/new", {"notes.txt": "the owner's own"})
    store.publish(checkpoint_dir, "alice/new", "second")
    assert hub.read_files("alice/new") == read_dir_files(checkpoint_dir) | {"notes.txt": b"the owner's own"}


def test_the_same_message_is_published_once(store, hub, checkpoint_dir):
    first = store.publish(checkpoint_dir, "alice/new", MESSAGE)
    assert store.publish(checkpoint_dir, "alice/new", MESSAGE) == first
    assert list_commit_titles(hub) == [MESSAGE]


def test_a_subfolder_does_not_change_other_files(store, hub, checkpoint_dir):
    store.publish(checkpoint_dir, "alice/new", "one")
    store.publish(checkpoint_dir, "alice/new:runs/b", "two")
    assert hub.read_files("alice/new").keys() == {
        *read_dir_files(checkpoint_dir),
        *(f"runs/b/{name}" for name in read_dir_files(checkpoint_dir)),
    }


def test_a_commit_whose_response_is_lost_is_not_repeated(store, hub, checkpoint_dir):
    hub.add_fault("lost_reply", "/commit/")
    with pytest.raises(StoreUnavailable):
        store.publish(checkpoint_dir, "alice/new", MESSAGE)
    assert list_commit_titles(hub) == [MESSAGE], "the commit exists"
    commit = store.publish(checkpoint_dir, "alice/new", MESSAGE)
    assert list_commit_titles(hub) == [MESSAGE] and commit.revision == hub.list_commits("alice/new")[0].oid


@pytest.mark.parametrize(
    "path", ["/api/repos/create", "/commits/", r"/api/models/alice/new\?", "/preupload/", "/commit/main"]
)
@pytest.mark.parametrize("settings", [{"status": 503}, {"status": 429, "headers": {"Retry-After": "42"}}])
def test_a_busy_hub_is_unavailable_and_nothing_is_committed(store, hub, checkpoint_dir, path, settings, no_retry_delay):
    fault = hub.add_fault("answer", path, max_count=None, **settings)
    with pytest.raises(StoreUnavailable) as exc_info:
        store.publish(checkpoint_dir, "alice/new", MESSAGE)
    assert exc_info.value.retry_after_s == (42.0 if settings["status"] == 429 else None)
    fault.disable()
    store.publish(checkpoint_dir, "alice/new", MESSAGE)
    assert list_commit_titles(hub) == [MESSAGE] and hub.read_files("alice/new") == read_dir_files(checkpoint_dir)


@pytest.mark.parametrize("path", ["/api/repos/create", "/commits/", "/preupload/", "/commit/main"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 500])
def test_every_error_status_is_reported_and_nothing_is_committed(
    store, hub, checkpoint_dir, path, status, upload_protocol, no_retry_delay
):
    if upload_protocol == "xet":
        pytest.skip("the same calls as with http")
    hub.add_repo("alice/new")
    if path == "/api/repos/create" and status in (401, 403):
        pytest.skip("a token may write to a repository that it may not create")
    hub.add_fault("answer", path, status=status, max_count=None)
    with pytest.raises(ValueError) as exc_info:
        store.publish(checkpoint_dir, "alice/new", MESSAGE)
    assert (
        "\n" not in str(exc_info.value) and "hf_" not in str(exc_info.value) and "127.0.0.1" not in str(exc_info.value)
    )
    assert list_commit_titles(hub) == []


def test_an_upload_that_fails_is_unavailable(store, hub, checkpoint_dir, upload_protocol, no_retry_delay):
    if upload_protocol == "xet":  # it retries for minutes while its storage is unreachable
        fault = hub.add_fault("answer", "/xorbs/|/shards", status=400, max_count=None)
    else:
        fault = hub.add_fault("drop", "^/lfs/", max_count=None)
    with pytest.raises(StoreUnavailable):
        store.publish(checkpoint_dir, "alice/new", MESSAGE)
    assert fault.num_triggered and list_commit_titles(hub) == []
    fault.disable()
    store.publish(checkpoint_dir, "alice/new", MESSAGE)
    assert hub.read_files("alice/new") == read_dir_files(checkpoint_dir)


def test_a_concurrent_commit_is_reported_and_the_next_try_works(store, hub, checkpoint_dir):
    hub.add_repo("alice/new", {"a.txt": "a"})
    hub.add_fault("answer", "/commit/main", status=412)
    with pytest.raises(StoreUnavailable):
        store.publish(checkpoint_dir, "alice/new", MESSAGE)
    store.publish(checkpoint_dir, "alice/new", MESSAGE)
    assert hub.read_files("alice/new") == read_dir_files(checkpoint_dir) | {"a.txt": b"a"}


def test_a_commit_is_verified_after_the_hub_accepts_it(store, hub, checkpoint_dir, monkeypatch):
    create_commit = store.api.create_commit

    def create_commit_and_change_config(repo, operations, **options):
        create_commit(repo, operations, **options)
        hub.commit(repo, {CONFIG: "{}"})
        return type("CommitInfo", (), {"oid": hub.list_commits(repo)[0].oid})()

    monkeypatch.setattr(store.api, "create_commit", create_commit_and_change_config)
    with pytest.raises(StoreUnavailable, match=r"does not hold config.json as it was sent"):
        store.publish(checkpoint_dir, "alice/new", MESSAGE)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("hf_alice_read", "right to write"),
        ("hf_bob_write", "right to write"),
        ("hf_wrong", "does not accept this token"),
    ],
)
def test_a_token_without_write_access_is_reported(make_store, hub, checkpoint_dir, token, words):
    hub.add_repo("alice/new")
    for call in (
        lambda store: store.publish(checkpoint_dir, "alice/new", MESSAGE),
        lambda store: store.check_write_access("alice/new"),
    ):
        with pytest.raises(ValueError, match=words) as exc_info:
            call(make_store(token))
        assert not isinstance(exc_info.value, StoreUnavailable) and token not in str(exc_info.value)
    assert list_commit_titles(hub) == []


def test_without_a_token_publishing_is_rejected(make_store, hub, checkpoint_dir, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="set HF_TOKEN"):
        make_store(None).check_write_access("alice/new")


def test_write_access_is_checked_before_anything_is_sent(store, hub):
    assert store.check_write_access("alice/new", private=True) == "alice"
    assert hub.get_repo("alice/new").private and list_commit_titles(hub) == []
    assert store.check_write_access("alice/new") == "alice"


def test_an_incomplete_checkpoint_is_not_sent(store, hub, checkpoint_dir):
    (checkpoint_dir / WEIGHTS).unlink()
    with pytest.raises(ValueError, match="no whole checkpoint"):
        store.publish(checkpoint_dir, "alice/new", MESSAGE)
    assert not hub.has_repo("alice/new")


def test_a_published_checkpoint_matches_the_original_code(store, hub, make_model, tmp_path):
    """Check that keys, names, shapes and dtypes are those of the original constructor and state dict."""
    golden = json.loads((ROOT / "tests" / "golden" / "parity-random.json").read_text())
    model = ContinuousThoughtMachine(CTMConfig.parse(golden["config"]))
    store.publish(save(Checkpoint(model), tmp_path / "mine"), "alice/new", MESSAGE)
    fetched_dir = store.fetch("alice/new")
    assert json.loads((fetched_dir / CONFIG).read_text()).keys() == golden["config"].keys()
    with safe_open(fetched_dir / WEIGHTS, "pt") as file:
        names = list(file.keys())
        file_entries = {
            name: (file.get_slice(name).get_shape(), str(file.get_tensor(name).dtype).removeprefix("torch."))
            for name in names
        }
    assert file_entries == {entry["name"]: (entry["shape"], entry["dtype"]) for entry in golden["state_dict"]}
