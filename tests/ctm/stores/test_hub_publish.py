"""Checkpoints to the Hub, with the real client in both of its ways to upload: one commit, once, or one sentence why not."""

import json

import pytest
from huggingface_hub import constants
from safetensors import safe_open

from ctm import ContinuousThoughtMachine, CTMConfig
from ctm.checkpoint import Checkpoint, save
from ctm.stores import StoreUnavailable
from tests.fake_hub.fixtures import files_of
from tests.paths import ROOT

WEIGHTS, CONFIG = "model.safetensors", "config.json"
MESSAGE = "parity-1: finished, step 100 [0123456789ab]"


@pytest.fixture(params=["http", "xet"], autouse=True)
def way(request, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", request.param == "http")
    return request.param


@pytest.fixture(autouse=True)
def card(folder):
    """The Hub warns of cards without front matter."""
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Parity\n")


def titles(hub) -> list[str]:
    return [commit.title for commit in hub.commits("alice/new")][:-1]  # the oldest is the Hub's own


def test_one_commit_holds_all_files(store, hub, folder):
    commit = store.publish(folder, "alice/new", MESSAGE)
    assert hub.files("alice/new") == files_of(folder)
    assert titles(hub) == [MESSAGE] and commit.revision == hub.commits("alice/new")[0].oid
    assert commit.url == f"{hub.url}/alice/new/commit/{commit.revision}"
    assert files_of(store.fetch(f"alice/new@{commit.revision}")) == files_of(folder)


@pytest.mark.parametrize("private", [True, False])
def test_a_new_repository_is_as_private_as_asked(store, hub, folder, private):
    store.publish(folder, "alice/new", MESSAGE, private)
    assert hub.repo("alice/new").private is private


def test_a_second_checkpoint_is_a_second_commit_and_takes_stale_files_away(store, hub, folder):
    store.publish(folder, "alice/new", MESSAGE)
    (folder / "halting.json").unlink()
    (folder / "accuracy.png").write_bytes(b"png")
    hub.commit("alice/new", {"notes.txt": "the owner's own"})
    store.publish(folder, "alice/new", "second")
    assert hub.files("alice/new") == files_of(folder) | {"notes.txt": b"the owner's own"}


def test_the_same_message_is_published_once(store, hub, folder):
    first = store.publish(folder, "alice/new", MESSAGE)
    assert store.publish(folder, "alice/new", MESSAGE) == first
    assert titles(hub) == [MESSAGE]


def test_a_subfolder_leaves_the_rest_alone(store, hub, folder):
    store.publish(folder, "alice/new", "one")
    store.publish(folder, "alice/new:runs/b", "two")
    assert hub.files("alice/new").keys() == {*files_of(folder), *(f"runs/b/{name}" for name in files_of(folder))}


def test_a_commit_whose_answer_got_lost_is_not_made_again(store, hub, folder):
    hub.fault("lost_reply", "/commit/")
    with pytest.raises(StoreUnavailable):
        store.publish(folder, "alice/new", MESSAGE)
    assert titles(hub) == [MESSAGE], "it landed"
    commit = store.publish(folder, "alice/new", MESSAGE)
    assert titles(hub) == [MESSAGE] and commit.revision == hub.commits("alice/new")[0].oid


@pytest.mark.parametrize(
    "path", ["/api/repos/create", "/commits/", r"/api/models/alice/new\?", "/preupload/", "/commit/main"]
)
@pytest.mark.parametrize("settings", [{"status": 503}, {"status": 429, "headers": {"Retry-After": "42"}}])
def test_a_busy_hub_is_unavailable_and_nothing_lands(store, hub, folder, path, settings, quick_retries):
    fault = hub.fault("answer", path, times=None, **settings)
    with pytest.raises(StoreUnavailable) as caught:
        store.publish(folder, "alice/new", MESSAGE)
    assert caught.value.retry_after_s == (42.0 if settings["status"] == 429 else None)
    fault.lift()
    store.publish(folder, "alice/new", MESSAGE)
    assert titles(hub) == [MESSAGE] and hub.files("alice/new") == files_of(folder)


@pytest.mark.parametrize("path", ["/api/repos/create", "/commits/", "/preupload/", "/commit/main"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 500])
def test_every_status_is_one_sentence_and_nothing_lands(store, hub, folder, path, status, way, quick_retries):
    if way == "xet":
        pytest.skip("the same calls as without it")
    hub.add_repo("alice/new")
    if path == "/api/repos/create" and status in (401, 403):
        pytest.skip("a token may write to a repository that it may not make")
    hub.fault("answer", path, status=status, times=None)
    with pytest.raises(ValueError) as caught:
        store.publish(folder, "alice/new", MESSAGE)
    assert "\n" not in str(caught.value) and "hf_" not in str(caught.value) and "127.0.0.1" not in str(caught.value)
    assert titles(hub) == []


def test_an_upload_that_fails_is_unavailable(store, hub, folder, way, quick_retries):
    if way == "xet":  # which tries for minutes while its storage is merely away
        fault = hub.fault("answer", "/xorbs/|/shards", status=400, times=None)
    else:
        fault = hub.fault("drop", "^/lfs/", times=None)
    with pytest.raises(StoreUnavailable):
        store.publish(folder, "alice/new", MESSAGE)
    assert fault.struck and titles(hub) == []
    fault.lift()
    store.publish(folder, "alice/new", MESSAGE)
    assert hub.files("alice/new") == files_of(folder)


def test_somebody_elses_commit_in_between_is_told_and_the_next_try_works(store, hub, folder):
    hub.add_repo("alice/new", {"a.txt": "a"})
    hub.fault("answer", "/commit/main", status=412)
    with pytest.raises(StoreUnavailable):
        store.publish(folder, "alice/new", MESSAGE)
    store.publish(folder, "alice/new", MESSAGE)
    assert hub.files("alice/new") == files_of(folder) | {"a.txt": b"a"}


def test_a_hub_that_says_yes_and_keeps_something_else_is_not_believed(store, hub, folder, monkeypatch):
    publish = store.build_api.create_commit

    def tampered(repo, operations, **options):
        publish(repo, operations, **options)
        hub.commit(repo, {CONFIG: "{}"})
        return type("Made", (), {"oid": hub.commits(repo)[0].oid})()

    monkeypatch.setattr(store.build_api, "create_commit", tampered)
    with pytest.raises(StoreUnavailable, match=r"does not hold config.json as it was sent"):
        store.publish(folder, "alice/new", MESSAGE)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("hf_alice_read", "right to write"),
        ("hf_bob_write", "right to write"),
        ("hf_wrong", "does not accept this token"),
    ],
)
def test_a_token_that_may_not_write_is_told(store_of, hub, folder, token, words):
    hub.add_repo("alice/new")
    for call in (lambda s: s.publish(folder, "alice/new", MESSAGE), lambda s: s.check_write_access("alice/new")):
        with pytest.raises(ValueError, match=words) as caught:
            call(store_of(token))
        assert not isinstance(caught.value, StoreUnavailable) and token not in str(caught.value)
    assert titles(hub) == []


def test_without_a_token_nothing_is_tried(store_of, hub, folder, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="set HF_TOKEN"):
        store_of(None).check_write_access("alice/new")


def test_a_token_is_proved_before_anything_is_sent(store, hub):
    assert store.check_write_access("alice/new", private=True) == "alice"
    assert hub.repo("alice/new").private and titles(hub) == []
    assert store.check_write_access("alice/new") == "alice"


def test_half_a_checkpoint_is_not_sent(store, hub, folder):
    (folder / WEIGHTS).unlink()
    with pytest.raises(ValueError, match="no whole checkpoint"):
        store.publish(folder, "alice/new", MESSAGE)
    assert not hub.has("alice/new")


def test_what_is_published_loads_in_the_original_code(store, hub, machine_of, tmp_path):
    """Keys, names, shapes and dtypes are those that the original code's constructor and state dict have."""
    golden = json.loads((ROOT / "tests" / "golden" / "parity-random.json").read_text())
    machine = ContinuousThoughtMachine(CTMConfig.parse(golden["config"]))
    store.publish(save(Checkpoint(machine), tmp_path / "mine"), "alice/new", MESSAGE)
    fetched = store.fetch("alice/new")
    assert json.loads((fetched / CONFIG).read_text()).keys() == golden["config"].keys()
    with safe_open(fetched / WEIGHTS, "pt") as file:
        names = list(file.keys())
        held = {
            name: (file.get_slice(name).get_shape(), str(file.get_tensor(name).dtype).removeprefix("torch."))
            for name in names
        }
    assert held == {entry["name"]: (entry["shape"], entry["dtype"]) for entry in golden["state_dict"]}
