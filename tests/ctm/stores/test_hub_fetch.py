"""Tests of downloads from the Hub with the real client and a local fake Hub."""

import errno
import json
import time
from types import SimpleNamespace

import pytest
import torch

from ctm.checkpoint import load
from ctm.stores import DownloadCancelled, HubStore, StoreUnavailable
from tests.fake_hub.fixtures import read_dir_files

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
WEIGHTS_PATH = r"/resolve/[0-9a-f]{40}/model\.safetensors(\?|$)"


def get_error_message(call, *args) -> str:
    with pytest.raises(ValueError) as exc_info:
        call(*args)
    assert type(exc_info.value) is ValueError, f"{type(exc_info.value)}: {exc_info.value}"
    assert "\n" not in str(exc_info.value) and str(exc_info.value).endswith(".")
    return str(exc_info.value)


def get_unavailable_message(call, *args) -> str:
    with pytest.raises(StoreUnavailable) as exc_info:
        call(*args)
    assert "\n" not in str(exc_info.value)
    return str(exc_info.value)


# --- successful downloads ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_described_and_fetched_unchanged(store, hub, digits_repo, checkpoint_dir):
    description = store.describe(digits_repo)
    commit = hub.list_commits(digits_repo)[0].oid
    assert (
        description.name == f"alice/digits@{commit}"
        and description.revision == commit
        and not description.is_downloaded
    )
    assert description.size_bytes == (checkpoint_dir / WEIGHTS).stat().st_size and description.task == {
        "task": "parity"
    }
    assert not hub.find_requests(WEIGHTS_PATH), "describing downloads no weights"
    fetched_dir = store.fetch(description.name)
    assert read_dir_files(fetched_dir) == read_dir_files(checkpoint_dir)
    state_dict = load(fetched_dir).model.state_dict()
    expected = load(checkpoint_dir).model.state_dict()
    assert all(torch.equal(state_dict[name], expected[name]) for name in expected)
    assert store.describe(digits_repo).is_downloaded


def test_a_cached_pinned_checkpoint_needs_no_network(store, hub, digits_repo):
    name = store.describe(digits_repo).name
    store.fetch(name)
    hub.clear_requests()
    store.fetch(name)
    assert not hub.requests
    hub.add_fault("drop", max_count=None)
    assert store.fetch(name).is_dir()
    assert store.describe(name).is_downloaded and store.list_names() == [name]


def test_a_branch_resolves_to_its_cached_commit_when_the_hub_is_unreachable(store, hub, digits_repo):
    name = store.describe(digits_repo).name
    store.fetch(digits_repo)
    hub.add_fault("drop", max_count=None)
    assert store.fetch(digits_repo) == store.fetch(name)
    assert store.describe(digits_repo).name == name


def test_the_described_commit_is_fetched_after_the_branch_moves(store, hub, digits_repo, checkpoint_dir):
    name = store.describe(digits_repo).name
    hub.commit(digits_repo, {WEIGHTS: b"something else"})
    assert read_dir_files(store.fetch(name)) == read_dir_files(checkpoint_dir)
    assert "not a whole safetensors file" in get_error_message(lambda: load(store.fetch(digits_repo)))


def test_a_subfolder_holds_a_checkpoint_of_its_own(store, hub, checkpoint_dir):
    hub.add_repo("alice/many", {f"runs/best/{name}": data for name, data in read_dir_files(checkpoint_dir).items()})
    description = store.describe("alice/many:runs/best")
    assert read_dir_files(store.fetch(description.name)) == read_dir_files(checkpoint_dir)
    assert store.list_names() == [description.name] and description.name.endswith(":runs/best")
    assert "holds no checkpoint" in get_error_message(store.fetch, "alice/many")
    assert "holds no checkpoint" in get_error_message(store.fetch, "alice/many:runs")


def test_all_shards_are_fetched(store, hub, sharded_checkpoint_dir):
    hub.add_repo("alice/parted", read_dir_files(sharded_checkpoint_dir) | {"other.safetensors": b"x" * 1000})
    assert load(store.fetch("alice/parted")).model.config.d_model == 12
    assert not hub.find_requests("other.safetensors")


def test_progress_is_reported_and_ends_at_the_total(store, digits_repo, checkpoint_dir):
    reports = []
    store.fetch(digits_repo, lambda done, total: reports.append((done, total)))
    size = (checkpoint_dir / WEIGHTS).stat().st_size
    assert reports[0] == (0, size) and reports[-1] == (size, size) and reports == sorted(reports)


def test_a_cancelled_fetch_leaves_no_incomplete_file(store, hub, digits_repo):
    def cancel_after_first_bytes(done, total):
        if done:
            raise DownloadCancelled("cancelled")

    with pytest.raises(DownloadCancelled):
        store.fetch(digits_repo, cancel_after_first_bytes)
    assert store.list_cached_checkpoints() == [] and not list(store.cache_dir.rglob("*.incomplete"))
    assert store.fetch(digits_repo).is_dir()


def test_configured_models_come_first_and_other_cached_models_are_not_listed(make_store, digits_repo, hub):
    store = make_store(models=["SakanaAI/ctm-imagenet"])
    store.fetch(digits_repo)
    other_model_dir = store.cache_dir / "models--bob--llm" / "snapshots" / ("0" * 40)
    other_model_dir.mkdir(parents=True)
    (other_model_dir / CONFIG).write_text('{"hidden_size": 1}')
    (other_model_dir / WEIGHTS).write_bytes(b"")
    assert store.list_names()[0] == "SakanaAI/ctm-imagenet" and len(store.list_names()) == 2


# --- rejected repositories -------------------------------------------------------------------------------------------------


def test_a_missing_and_a_private_repository_give_the_same_error(make_store, hub, checkpoint_dir):
    hub.add_repo("alice/secret", read_dir_files(checkpoint_dir), private=True)
    store_without_token = make_store(False)
    private_message = get_error_message(store_without_token.fetch, "alice/secret")
    missing_message = get_error_message(store_without_token.fetch, "alice/nothing")
    assert private_message.replace("secret", "nothing") == missing_message and "private" in missing_message
    assert make_store().fetch("alice/secret").is_dir(), "the owner's token has access"


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
def test_a_missing_revision_is_named(store, digits_repo, revision):
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
    assert not hub.find_requests(WEIGHTS_PATH), "the check comes before the download of weights"


def test_a_config_of_excessive_size_is_rejected_before_weights_are_fetched(store, hub, checkpoint_dir):
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
    def fail_with_full_disk(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ctm.stores.hub.hf_hub_download", fail_with_full_disk)
    assert "The disk is full" in get_error_message(store.fetch, digits_repo)
    assert store.list_cached_checkpoints() == []


# --- faults of the Hub ------------------------------------------------------------------------------------------


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


def test_the_delay_before_a_retry_is_reported(store, hub, digits_repo):
    hub.add_fault("answer", "/api/models/", status=429, headers={"Retry-After": "7"}, max_count=None)
    with pytest.raises(StoreUnavailable) as exc_info:
        store.describe(digits_repo)
    assert exc_info.value.retry_after_s == 7.0


def test_an_interrupted_download_is_resumed(store, hub, digits_repo, checkpoint_dir, no_retry_delay):
    fault = hub.add_fault("cut", WEIGHTS, "GET", max_count=2)
    assert read_dir_files(store.fetch(digits_repo)) == read_dir_files(checkpoint_dir)
    assert fault.num_triggered == 2


def test_wrong_bytes_are_detected_removed_and_fetched_again(store, hub, digits_repo, checkpoint_dir):
    hub.add_fault("wrong_bytes", WEIGHTS, "GET")
    assert "did not arrive as the Hub holds it" in get_unavailable_message(store.fetch, digits_repo)
    assert store.list_cached_checkpoints() == []
    assert read_dir_files(store.fetch(digits_repo)) == read_dir_files(checkpoint_dir)


def test_wrong_bytes_in_the_config_are_detected(store, hub, digits_repo):
    hub.add_fault("wrong_bytes", CONFIG, "GET", byte_offset=0)
    with pytest.raises(ValueError):
        store.fetch(digits_repo)
    assert store.list_cached_checkpoints() == []


def test_a_checkpoint_damaged_on_the_disk_is_detected(store, digits_repo, checkpoint_dir):
    fetched_dir = store.fetch(digits_repo)
    weights = (fetched_dir / WEIGHTS).resolve()
    weights.write_bytes(weights.read_bytes()[::-1])
    name = store.list_names()[0]
    assert "did not arrive" in get_unavailable_message(store.fetch, name)
    assert read_dir_files(store.fetch(name)) == read_dir_files(checkpoint_dir)


def test_a_hub_that_does_not_answer_is_unavailable_in_seconds(make_store, hub, digits_repo):
    hub.add_fault("stall", stall_s=30, max_count=None)
    start_time = time.monotonic()
    get_unavailable_message(make_store(timeout_s=0.3).fetch, digits_repo)
    assert time.monotonic() - start_time < 5


def test_an_unreachable_hub_is_unavailable(tmp_path, no_retry_delay):
    store = HubStore(token=False, cache_dir=tmp_path, endpoint="http://127.0.0.1:9", timeout_s=0.5)
    assert "cannot be reached" in get_unavailable_message(store.describe, "alice/digits")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 500])
def test_every_error_status_is_reported_in_one_sentence(store, hub, digits_repo, status):
    hub.add_fault("answer", "/api/models/alice/digits", status=status, max_count=None)
    with pytest.raises(ValueError) as exc_info:
        store.fetch(digits_repo)
    assert (
        "\n" not in str(exc_info.value) and "hf_" not in str(exc_info.value) and "127.0.0.1" not in str(exc_info.value)
    )


def test_a_token_never_reaches_another_host(store, hub, digits_repo):
    store.fetch(digits_repo)
    assert hub.find_requests(origin="storage"), "large files come from another host"
    assert not any("Authorization" in request.headers for request in hub.find_requests(origin="storage"))
