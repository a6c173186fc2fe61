"""Checkpoints from the Hub, with the real client and a Hub on this machine: what loads, and what is refused, in which words."""

import errno
import json
import time
from types import SimpleNamespace

import pytest
import torch

from ctm.checkpoint import load
from ctm.stores import DownloadCancelled, HubStore, StoreUnavailable
from tests.fake_hub.fixtures import files_of

WEIGHTS, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
WEIGHTS_PATH = r"/resolve/[0-9a-f]{40}/model\.safetensors(\?|$)"


def refusal(call, *given) -> str:
    with pytest.raises(ValueError) as caught:
        call(*given)
    assert type(caught.value) is ValueError, f"{type(caught.value)}: {caught.value}"
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    return str(caught.value)


def unavailable(call, *given) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        call(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what loads ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_described_and_fetched_as_it_was_put_there(store, hub, digits, folder):
    about = store.describe(digits)
    commit = hub.commits(digits)[0].oid
    assert about.name == f"alice/digits@{commit}" and about.revision == commit and not about.is_downloaded
    assert about.weight_bytes == (folder / WEIGHTS).stat().st_size and about.task == {"task": "parity"}
    assert not hub.seen(WEIGHTS_PATH), "describing fetches no weights"
    fetched = store.fetch(about.name)
    assert files_of(fetched) == files_of(folder)
    theirs, ours = load(fetched).model.state_dict(), load(folder).model.state_dict()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    assert store.describe(digits).is_downloaded


def test_a_pinned_checkpoint_that_is_here_needs_no_network(store, hub, digits):
    name = store.describe(digits).name
    store.fetch(name)
    hub.forget_requests()
    store.fetch(name)
    assert not hub.requests
    hub.fault("drop", times=None)
    assert store.fetch(name).is_dir()
    assert store.describe(name).is_downloaded and store.names() == [name]


def test_a_branch_is_what_it_was_when_the_hub_cannot_be_asked(store, hub, digits):
    name = store.describe(digits).name
    store.fetch(digits)
    hub.fault("drop", times=None)
    assert store.fetch(digits) == store.fetch(name)
    assert store.describe(digits).name == name


def test_what_was_described_is_what_is_fetched(store, hub, digits, folder):
    name = store.describe(digits).name
    hub.commit(digits, {WEIGHTS: b"something else"})
    assert files_of(store.fetch(name)) == files_of(folder)
    assert "not a whole safetensors file" in refusal(lambda: load(store.fetch(digits)))


def test_a_subfolder_holds_a_checkpoint_of_its_own(store, hub, folder):
    hub.add_repo("alice/many", {f"runs/best/{name}": data for name, data in files_of(folder).items()})
    about = store.describe("alice/many:runs/best")
    assert files_of(store.fetch(about.name)) == files_of(folder)
    assert store.names() == [about.name] and about.name.endswith(":runs/best")
    assert "holds no checkpoint" in refusal(store.fetch, "alice/many")
    assert "holds no checkpoint" in refusal(store.fetch, "alice/many:runs")


def test_parted_weights_are_fetched_in_all_parts(store, hub, parted):
    hub.add_repo("alice/parted", files_of(parted) | {"other.safetensors": b"x" * 1000})
    assert load(store.fetch("alice/parted")).model.config.d_model == 12
    assert not hub.seen("other.safetensors")


def test_progress_is_told_and_ends_at_the_whole(store, digits, folder):
    told = []
    store.fetch(digits, lambda done, total: told.append((done, total)))
    size = (folder / WEIGHTS).stat().st_size
    assert told[0] == (0, size) and told[-1] == (size, size) and told == sorted(told)


def test_a_fetch_can_be_given_up_and_leaves_nothing_that_looks_whole(store, hub, digits):
    def stop(done, total):
        if done:
            raise DownloadCancelled("enough")

    with pytest.raises(DownloadCancelled):
        store.fetch(digits, stop)
    assert store.list_cached_checkpoints() == [] and not list(store.cache_dir.rglob("*.incomplete"))
    assert store.fetch(digits).is_dir()


def test_listed_models_come_first_and_other_peoples_models_are_not_shown(store_of, digits, hub):
    store = store_of(models=["SakanaAI/ctm-imagenet"])
    store.fetch(digits)
    other = store.cache_dir / "models--bob--llm" / "snapshots" / ("0" * 40)
    other.mkdir(parents=True)
    (other / CONFIG).write_text('{"hidden_size": 1}')
    (other / WEIGHTS).write_bytes(b"")
    assert store.names()[0] == "SakanaAI/ctm-imagenet" and len(store.names()) == 2


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_repository_that_is_not_there_or_private_is_refused_in_the_same_words(store_of, hub, folder):
    hub.add_repo("alice/secret", files_of(folder), private=True)
    stranger = store_of(False)
    hidden, missing = refusal(stranger.fetch, "alice/secret"), refusal(stranger.fetch, "alice/nothing")
    assert hidden.replace("secret", "nothing") == missing and "private" in missing
    assert store_of().fetch("alice/secret").is_dir(), "its owner's token sees it"


def test_a_stranger_sends_no_token(store_of, hub, digits, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    store_of(False).fetch(digits)
    assert hub.requests and not any("Authorization" in request.headers for request in hub.requests)


def test_gated_and_disabled_are_told_apart(store, hub, folder):
    hub.add_repo("bob/gated", files_of(folder), gated=True)
    hub.add_repo("bob/off", files_of(folder), disabled=True)
    assert "accept its terms" in refusal(store.fetch, "bob/gated")
    assert "disabled" in refusal(store.fetch, "bob/off")


@pytest.mark.parametrize("revision", ["nowhere", "0" * 40])
def test_a_revision_that_is_not_there_is_named(store, digits, revision):
    assert revision in refusal(store.fetch, f"{digits}@{revision}")
    assert revision in refusal(store.describe, f"{digits}@{revision}")


def test_a_repository_of_pickles_is_refused_with_the_way_out(store, hub):
    hub.add_repo("alice/old", {"mnist.pt": b"x", "README.md": "# old"})
    assert "never opened" in refusal(store.fetch, "alice/old") and "ctm.convert" in refusal(store.describe, "alice/old")
    assert not hub.seen(r"mnist\.pt")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({CONFIG: None}, "holds no checkpoint"),
        ({WEIGHTS: None}, "holds no checkpoint"),
        ({CONFIG: b"{"}, "is not JSON"),
        ({CONFIG: b"[]"}, "must hold a JSON object"),
        ({CONFIG: b" " * 2_000_000}, "2,000,000 bytes are more than"),
        ({"README.md": b" " * 2_000_000}, "2,000,000 bytes are more than"),
        ({WEIGHTS: None, INDEX: b'{"weight_map": {"x": "../../../../x.safetensors"}}'}, "plain .safetensors files"),
        ({WEIGHTS: None, INDEX: b'{"weight_map": {"x": "lost.safetensors"}}'}, "lacks lost.safetensors"),
    ],
)
def test_a_repository_that_holds_no_checkpoint_is_refused(store, hub, folder, changes, words):
    files = {name: data for name, data in (files_of(folder) | changes).items() if data is not None}
    hub.add_repo("alice/wrong", files)
    assert words in refusal(store.fetch, "alice/wrong")
    assert not hub.seen(WEIGHTS_PATH), "no weights are fetched for nothing"


def test_a_config_that_asks_for_absurd_memory_is_refused_before_weights_are_fetched(store, hub, folder):
    config = json.loads((folder / CONFIG).read_text()) | {"d_model": 60_000, "synapse_depth": 1, "n_synch_out": 100}
    hub.add_repo("alice/huge", files_of(folder) | {CONFIG: json.dumps(config)})
    assert "billion parameters" in refusal(store.fetch, "alice/huge")
    assert not hub.seen(WEIGHTS_PATH)


def test_a_disk_without_room_is_told_before_anything_is_fetched(store, hub, digits, monkeypatch):
    monkeypatch.setattr("ctm.stores.hub.shutil", SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=1)))
    assert "are free on the disk" in refusal(store.fetch, digits)
    assert not hub.seen(WEIGHTS_PATH)


def test_a_disk_that_fills_up_meanwhile_is_told(store, hub, digits, monkeypatch):
    def full(*given, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ctm.stores.hub.hf_hub_download", full)
    assert "The disk is full" in refusal(store.fetch, digits)
    assert store.list_cached_checkpoints() == []


# --- a Hub that is not well ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/models/", "/resolve/.*config.json", WEIGHTS_PATH])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [("answer", {"status": 503}), ("answer", {"status": 429, "headers": {"Retry-After": "7"}}), ("drop", {})],
)
def test_a_hub_that_is_down_is_unavailable_and_later_works(store, hub, digits, path, kind, settings, quick_retries):
    fault = hub.fault(kind, path, times=None, **settings)
    unavailable(store.fetch, digits)
    assert store.list_cached_checkpoints() == []
    fault.lift()
    assert store.fetch(digits).is_dir()


def test_how_long_to_wait_is_passed_on(store, hub, digits):
    hub.fault("answer", "/api/models/", status=429, headers={"Retry-After": "7"}, times=None)
    with pytest.raises(StoreUnavailable) as caught:
        store.describe(digits)
    assert caught.value.retry_after_s == 7.0


def test_a_connection_cut_in_the_middle_is_taken_up_again(store, hub, digits, folder, quick_retries):
    fault = hub.fault("cut", WEIGHTS, "GET", times=2)
    assert files_of(store.fetch(digits)) == files_of(folder)
    assert fault.struck == 2


def test_wrong_bytes_are_noticed_removed_and_fetched_again(store, hub, digits, folder):
    hub.fault("wrong_bytes", WEIGHTS, "GET")
    assert "did not arrive as the Hub holds it" in unavailable(store.fetch, digits)
    assert store.list_cached_checkpoints() == []
    assert files_of(store.fetch(digits)) == files_of(folder)


def test_wrong_bytes_in_the_config_are_noticed(store, hub, digits):
    hub.fault("wrong_bytes", CONFIG, "GET", at=0)
    with pytest.raises(ValueError):
        store.fetch(digits)
    assert store.list_cached_checkpoints() == []


def test_a_checkpoint_that_was_damaged_on_the_disk_is_noticed(store, digits, folder):
    fetched = store.fetch(digits)
    weights = (fetched / WEIGHTS).resolve()
    weights.write_bytes(weights.read_bytes()[::-1])
    name = store.names()[0]
    assert "did not arrive" in unavailable(store.fetch, name)
    assert files_of(store.fetch(name)) == files_of(folder)


def test_a_hub_that_says_nothing_is_unavailable_in_seconds(store_of, hub, digits):
    hub.fault("stall", seconds=30, times=None)
    started = time.monotonic()
    unavailable(store_of(timeout_s=0.3).fetch, digits)
    assert time.monotonic() - started < 5


def test_a_hub_that_is_not_there_is_unavailable(tmp_path, quick_retries):
    store = HubStore(token=False, cache_dir=tmp_path, endpoint="http://127.0.0.1:9", timeout_s=0.5)
    assert "cannot be reached" in unavailable(store.describe, "alice/digits")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 500])
def test_every_status_is_one_sentence(store, hub, digits, status):
    hub.fault("answer", "/api/models/alice/digits", status=status, times=None)
    with pytest.raises(ValueError) as caught:
        store.fetch(digits)
    assert "\n" not in str(caught.value) and "hf_" not in str(caught.value) and "127.0.0.1" not in str(caught.value)


def test_a_token_never_reaches_another_host(store, hub, digits):
    store.fetch(digits)
    assert hub.seen(origin="storage"), "large files lie elsewhere"
    assert not any("Authorization" in request.headers for request in hub.seen(origin="storage"))
