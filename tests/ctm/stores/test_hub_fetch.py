"""Test downloads from the Hub with the real client and a local fake Hub."""

import errno
import json
import time
from types import SimpleNamespace

import pytest
import torch

from ctm.checkpoint import load
from ctm.stores import DownloadCancelled, HubStore, StoreUnavailable
from tests.fake_hub.fixtures import read_dir_files

WEIGHTS, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
WEIGHTS_PATH = r"/resolve/[0-9a-f]{40}/model\.safetensors(\?|$)"


def get_error_message(call, *args) -> str:
    with pytest.raises(ValueError) as caught:
        call(*args)
    assert type(caught.value) is ValueError, f"{type(caught.value)}: {caught.value}"
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    return str(caught.value)


def get_unavailable_message(call, *args) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what loads ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_described_and_fetched_as_it_was_put_there(store, hub, digits_repo, checkpoint_dir):
    about = store.describe(digits_repo)
    commit = hub.list_commits(digits_repo)[0].oid
    assert about.name == f"alice/digits@{commit}" and about.revision == commit and not about.is_downloaded
    assert about.size_bytes == (checkpoint_dir / WEIGHTS).stat().st_size and about.task == {"task": "parity"}
    assert not hub.find_requests(WEIGHTS_PATH), "describing fetches no weights"
    fetched = store.fetch(about.name)
    assert read_dir_files(fetched) == read_dir_files(checkpoint_dir)
    theirs, ours = load(fetched).model.state_dict(), load(checkpoint_dir).model.state_dict()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    assert store.describe(digits_repo).is_downloaded


def test_a_pinned_checkpoint_that_is_here_needs_no_network(store, hub, digits_repo):
    name = store.describe(digits_repo).name
    store.fetch(name)
    hub.clear_requests()
    store.fetch(name)
    assert not hub.requests
    hub.add_fault("drop", max_count=None)
    assert store.fetch(name).is_dir()
    assert store.describe(name).is_downloaded and store.list_names() == [name]


def test_a_branch_is_what_it_was_when_the_hub_cannot_be_asked(store, hub, digits_repo):
    name = store.describe(digits_repo).name
    store.fetch(digits_repo)
    hub.add_fault("drop", max_count=None)
    assert store.fetch(digits_repo) == store.fetch(name)
    assert store.describe(digits_repo).name == name


def test_what_was_described_is_what_is_fetched(store, hub, digits_repo, checkpoint_dir):
    name = store.describe(digits_repo).name
    hub.commit(digits_repo, {WEIGHTS: b"something else"})
    assert read_dir_files(store.fetch(name)) == read_dir_files(checkpoint_dir)
    assert "not a whole safetensors file" in get_error_message(lambda: load(store.fetch(digits_repo)))


def test_a_subfolder_holds_a_checkpoint_of_its_own(store, hub, checkpoint_dir):
    hub.add_repo("alice/many", {f"runs/best/{name}": data for name, data in read_dir_files(checkpoint_dir).items()})
    about = store.describe("alice/many:runs/best")
    assert read_dir_files(store.fetch(about.name)) == read_dir_files(checkpoint_dir)
    assert store.list_names() == [about.name] and about.name.endswith(":runs/best")
    assert "holds no checkpoint" in get_error_message(store.fetch, "alice/many")
    assert "holds no checkpoint" in get_error_message(store.fetch, "alice/many:runs")


def test_parted_weights_are_fetched_in_all_parts(store, hub, sharded_checkpoint_dir):
    hub.add_repo("alice/parted", read_dir_files(sharded_checkpoint_dir) | {"other.safetensors": b"x" * 1000})
    assert load(store.fetch("alice/parted")).model.config.d_model == 12
    assert not hub.find_requests("other.safetensors")


def test_progress_is_reported_and_ends_at_the_total(store, digits_repo, checkpoint_dir):
    told = []
    store.fetch(digits_repo, lambda done, total: told.append((done, total)))
    size = (checkpoint_dir / WEIGHTS).stat().st_size
    assert told[0] == (0, size) and told[-1] == (size, size) and told == sorted(told)


def test_a_cancelled_fetch_keeps_nothing_that_looks_complete(store, hub, digits_repo):
    def stop(done, total):
        if done:
            raise DownloadCancelled("enough")

    with pytest.raises(DownloadCancelled):
        store.fetch(digits_repo, stop)
    assert store.list_cached_checkpoints() == [] and not list(store.cache_dir.rglob("*.incomplete"))
    assert store.fetch(digits_repo).is_dir()


def test_listed_models_come_first_and_other_peoples_models_are_not_shown(make_store, digits_repo, hub):
    store = make_store(models=["SakanaAI/ctm-imagenet"])
    store.fetch(digits_repo)
    other = store.cache_dir / "models--bob--llm" / "snapshots" / ("0" * 40)
    other.mkdir(parents=True)
    (other / CONFIG).write_text('{"hidden_size": 1}')
    (other / WEIGHTS).write_bytes(b"")
    assert store.list_names()[0] == "SakanaAI/ctm-imagenet" and len(store.list_names()) == 2


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_missing_and_a_private_repository_give_the_same_error(make_store, hub, checkpoint_dir):
    hub.add_repo("alice/secret", read_dir_files(checkpoint_dir), private=True)
    stranger = make_store(False)
    hidden, missing = (
        get_error_message(stranger.fetch, "alice/secret"),
        get_error_message(stranger.fetch, "alice/nothing"),
    )
    assert hidden.replace("secret", "nothing") == missing and "private" in missing
    assert make_store().fetch("alice/secret").is_dir(), "its owner's token sees it"


def test_a_store_without_a_token_sends_none(make_store, hub, digits_repo, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    make_store(False).fetch(digits_repo)
    assert hub.requests and not any("Authorization" in request.headers for request in hub.requests)


def test_gated_and_disabled_repositories_give_different_errors(store, hub, checkpoint_dir):
    hub.add_repo("bob/gated", read_dir_files(checkpoint_dir), gated=True)
    hub.add_repo("bob/off", read_dir_files(checkpoint_dir), disabled=True)
    assert "accept its terms" in get_error_message(store.fetch, "bob/gated")
    assert "disabled" in get_error_message(store.fetch, "bob/off")


@pytest.mark.parametrize("revision", ["nowhere", "0" * 40])
def test_a_revision_that_is_not_there_is_named(store, digits_repo, revision):
    assert revision in get_error_message(store.fetch, f"{digits_repo}@{revision}")
    assert revision in get_error_message(store.describe, f"{digits_repo}@{revision}")


def test_a_repository_of_pickles_is_rejected_with_the_remedy(store, hub):
    hub.add_repo("alice/old", {"mnist.pt": b"x", "README.md": "# old"})
    assert "never opened" in get_error_message(store.fetch, "alice/old") and "ctm.convert" in get_error_message(
        store.describe, "alice/old"
    )
    assert not hub.find_requests(r"mnist\.pt")


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
def test_a_repository_without_a_checkpoint_is_rejected(store, hub, checkpoint_dir, changes, words):
    files = {name: data for name, data in (read_dir_files(checkpoint_dir) | changes).items() if data is not None}
    hub.add_repo("alice/wrong", files)
    assert words in get_error_message(store.fetch, "alice/wrong")
    assert not hub.find_requests(WEIGHTS_PATH), "no weights are fetched for nothing"


def test_a_config_that_needs_absurd_memory_is_rejected_before_weights_are_fetched(store, hub, checkpoint_dir):
    config = json.loads((checkpoint_dir / CONFIG).read_text()) | {
        "d_model": 60_000,
        "synapse_depth": 1,
        "n_synch_out": 100,
    }
    hub.add_repo("alice/huge", read_dir_files(checkpoint_dir) | {CONFIG: json.dumps(config)})
    assert "billion parameters" in get_error_message(store.fetch, "alice/huge")
    assert not hub.find_requests(WEIGHTS_PATH)


def test_a_full_disk_is_reported_before_anything_is_fetched(store, hub, digits_repo, monkeypatch):
    monkeypatch.setattr("ctm.stores.hub.shutil", SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=1)))
    assert "are free on the disk" in get_error_message(store.fetch, digits_repo)
    assert not hub.find_requests(WEIGHTS_PATH)


def test_a_disk_that_fills_up_during_a_fetch_is_reported(store, hub, digits_repo, monkeypatch):
    def full(*given, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ctm.stores.hub.hf_hub_download", full)
    assert "The disk is full" in get_error_message(store.fetch, digits_repo)
    assert store.list_cached_checkpoints() == []


# --- a Hub that is not well ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/models/", "/resolve/.*config.json", WEIGHTS_PATH])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [("answer", {"status": 503}), ("answer", {"status": 429, "headers": {"Retry-After": "7"}}), ("drop", {})],
)
def test_a_hub_that_is_down_is_unavailable_and_later_works(
    store, hub, digits_repo, path, kind, settings, no_retry_delay
):
    fault = hub.add_fault(kind, path, max_count=None, **settings)
    get_unavailable_message(store.fetch, digits_repo)
    assert store.list_cached_checkpoints() == []
    fault.disable()
    assert store.fetch(digits_repo).is_dir()


def test_how_long_to_wait_is_passed_on(store, hub, digits_repo):
    hub.add_fault("answer", "/api/models/", status=429, headers={"Retry-After": "7"}, max_count=None)
    with pytest.raises(StoreUnavailable) as caught:
        store.describe(digits_repo)
    assert caught.value.retry_after_s == 7.0


def test_a_connection_cut_in_the_middle_is_resumed(store, hub, digits_repo, checkpoint_dir, no_retry_delay):
    fault = hub.add_fault("cut", WEIGHTS, "GET", max_count=2)
    assert read_dir_files(store.fetch(digits_repo)) == read_dir_files(checkpoint_dir)
    assert fault.num_triggered == 2


def test_wrong_bytes_are_noticed_removed_and_fetched_again(store, hub, digits_repo, checkpoint_dir):
    hub.add_fault("wrong_bytes", WEIGHTS, "GET")
    assert "did not arrive as the Hub holds it" in get_unavailable_message(store.fetch, digits_repo)
    assert store.list_cached_checkpoints() == []
    assert read_dir_files(store.fetch(digits_repo)) == read_dir_files(checkpoint_dir)


def test_wrong_bytes_in_the_config_are_noticed(store, hub, digits_repo):
    hub.add_fault("wrong_bytes", CONFIG, "GET", byte_offset=0)
    with pytest.raises(ValueError):
        store.fetch(digits_repo)
    assert store.list_cached_checkpoints() == []


def test_a_checkpoint_that_was_damaged_on_the_disk_is_noticed(store, digits_repo, checkpoint_dir):
    fetched = store.fetch(digits_repo)
    weights = (fetched / WEIGHTS).resolve()
    weights.write_bytes(weights.read_bytes()[::-1])
    name = store.list_names()[0]
    assert "did not arrive" in get_unavailable_message(store.fetch, name)
    assert read_dir_files(store.fetch(name)) == read_dir_files(checkpoint_dir)


def test_a_hub_that_does_not_answer_is_unavailable_in_seconds(make_store, hub, digits_repo):
    hub.add_fault("stall", stall_s=30, max_count=None)
    started = time.monotonic()
    get_unavailable_message(make_store(timeout_s=0.3).fetch, digits_repo)
    assert time.monotonic() - started < 5


def test_a_hub_that_is_not_there_is_unavailable(tmp_path, no_retry_delay):
    store = HubStore(token=False, cache_dir=tmp_path, endpoint="http://127.0.0.1:9", timeout_s=0.5)
    assert "cannot be reached" in get_unavailable_message(store.describe, "alice/digits")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 500])
def test_every_status_is_one_sentence(store, hub, digits_repo, status):
    hub.add_fault("answer", "/api/models/alice/digits", status=status, max_count=None)
    with pytest.raises(ValueError) as caught:
        store.fetch(digits_repo)
    assert "\n" not in str(caught.value) and "hf_" not in str(caught.value) and "127.0.0.1" not in str(caught.value)


def test_a_token_never_reaches_another_host(store, hub, digits_repo):
    store.fetch(digits_repo)
    assert hub.find_requests(origin="storage"), "large files lie elsewhere"
    assert not any("Authorization" in request.headers for request in hub.find_requests(origin="storage"))
