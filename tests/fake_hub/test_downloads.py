"""Test queries and downloads of the real client: it receives the contents of the hub, and distinct errors."""

import json
import struct
from pathlib import Path

import pytest

from tests.fake_hub.client_process import ClientCallError

TENSORS = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
HEADER = json.dumps(TENSORS).encode()
SAFETENSORS = struct.pack("<Q", len(HEADER)) + HEADER + bytes(24)
CARD = "---\nlicense: mit\ntags: [continuous-thought-machine]\nlibrary_name: ctm\n---\nText\n"


@pytest.fixture
def repo(hub) -> str:
    hub.add_repo("alice/x", {"model.safetensors": SAFETENSORS, "README.md": CARD, "sub/a.txt": "a"})
    return "alice/x"


@pytest.mark.parametrize("path", ["sub/a.txt", "model.safetensors"])
def test_download_a_file(hub, client, repo, path):
    download = "hub.hf_hub_download('alice/x', path)"
    path_in_cache = Path(client(download, path=path))
    assert path_in_cache.read_bytes() == hub.read_files(repo)[path]
    blob = hub.list_commits(repo)[0].files[path]
    assert path_in_cache.resolve().name == (blob.sha256 if blob.is_lfs else blob.oid)
    hub.clear_requests()
    assert Path(client(download, path=path)) == path_in_cache
    assert [request.method for request in hub.requests] == ["HEAD"]


def test_a_new_commit_is_downloaded_and_the_old_one_stays_available(hub, client, repo):
    old = hub.list_commits(repo)[0].oid
    hub.commit(repo, {"sub/a.txt": "b", "README.md": None})
    assert client("Path(hub.hf_hub_download('alice/x', 'sub/a.txt')).read_text()") == "b"
    assert client("Path(hub.hf_hub_download('alice/x', 'sub/a.txt', revision=old)).read_text()", old=old) == "a"


def test_download_a_snapshot(hub, client, repo):
    snapshot_dir = Path(client("hub.snapshot_download('alice/x', allow_patterns=['*.safetensors', 'sub/*'])"))
    assert snapshot_dir.name == hub.list_commits(repo)[0].oid
    contents = {
        path.relative_to(snapshot_dir).as_posix(): path.read_bytes()
        for path in snapshot_dir.rglob("*")
        if path.is_file()
    }
    assert contents == {"model.safetensors": SAFETENSORS, "sub/a.txt": b"a"}


def test_download_a_safetensors_header_only(hub, client, repo):
    metadata = client("api.get_safetensors_metadata('alice/x')")
    assert metadata["files_metadata"]["model.safetensors"]["tensors"]["a"]["shape"] == [2, 3]
    requests = hub.find_requests("/lfs/", "GET")
    assert [request.status for request in requests] == [206] and requests[0].token is None


def test_model_info(hub, client, repo):
    info = client("api.model_info('alice/x', files_metadata=True)")
    assert info["sha"] == hub.list_commits(repo)[0].oid
    assert {"continuous-thought-machine", "ctm", "license:mit"} <= set(info["tags"])
    files = {file["rfilename"]: file for file in info["siblings"]}
    assert files["model.safetensors"]["lfs"]["size"] == len(SAFETENSORS)
    assert files["sub/a.txt"]["size"] == 1 and files["sub/a.txt"]["lfs"] is None
    assert client("api.model_info('alice/x').card_data.to_dict()")["license"] == "mit"
    assert [file["size"] for file in client("api.model_info('alice/x').siblings")] == [None] * 4


def test_list_files_tree_commits_and_paths(hub, client, repo):
    first = hub.list_commits(repo)[0]
    hub.commit(repo, {"sub/b.txt": "b"}, title="Second")
    hub.state.page_size = 2
    all_paths = [".gitattributes", "README.md", "model.safetensors", "sub/a.txt", "sub/b.txt"]
    assert client("api.list_repo_files('alice/x')") == all_paths
    assert len(hub.find_requests("/tree/", "GET")) == 3
    assert [entry["path"] for entry in client("api.list_repo_tree('alice/x')")] == [*all_paths[:3], "sub"]
    entries = client("api.list_repo_tree('alice/x', 'sub', expand=True)")
    assert [entry["last_commit"]["title"] for entry in entries] == [first.title, "Second"]
    assert [commit["title"] for commit in client("api.list_repo_commits('alice/x')")] == [
        "Second",
        first.title,
        "initial commit",
    ]
    entries = client("api.get_paths_info('alice/x', ['sub', 'model.safetensors', 'none'])")
    assert [entry["path"] for entry in entries] == ["sub", "model.safetensors"]
    assert entries[1]["lfs"]["sha256"] == first.files["model.safetensors"].sha256


def test_list_models(hub, client, repo):
    hub.add_repo("alice/hidden", private=True)
    hub.add_repo("bob/y", {"README.md": CARD})
    hub.add_repo("bob/hidden", private=True)
    ids = "[found.id for found in api.list_models({})]"
    assert client(ids.format("author='alice'")) == ["alice/hidden", "alice/x"]
    assert client(ids.format("filter='continuous-thought-machine'")) == ["alice/x", "bob/y"]
    assert client(ids.format("search='HID'")) == ["alice/hidden"]
    assert client(ids.format("limit=1, sort='last_modified'")) == ["bob/y"]
    assert client("[found.id for found in hub.HfApi(token=False).list_models(author='alice')]") == ["alice/x"]
    hub.state.page_size = 1
    assert client(ids.format("author='alice'")) == ["alice/hidden", "alice/x"]
    assert client("[found.sha for found in api.list_models(author='bob', full=True)]") == [
        hub.list_commits("bob/y")[0].oid
    ]


def test_whoami(client):
    info = client("api.whoami()")
    assert info["name"] == "alice" and info["auth"]["accessToken"]["role"] == "write"
    assert [(org["name"], org["roleInOrg"]) for org in info["orgs"]] == [("lab", "admin")]
    with pytest.raises(ClientCallError, match="Invalid user token") as exc_info:
        client("hub.HfApi(token='hf_unknown').whoami()")
    assert exc_info.value.status == 401


def test_auth_check(hub, client, repo):
    assert client("api.auth_check('alice/x', write=True)") is None
    hub.add_repo("lab/y")
    assert client("api.auth_check('lab/y', write=True)") is None
    for token, repo_id in {"hf_alice_read": "alice/x", "hf_bob_write": "lab/y"}.items():
        assert client("hub.HfApi(token=token).auth_check(id)", token=token, id=repo_id) is None
        with pytest.raises(ClientCallError) as exc_info:
            client("hub.HfApi(token=token).auth_check(id, write=True)", token=token, id=repo_id)
        assert exc_info.value.status == 403


EXPECTED_ERRORS = {
    "api.model_info('alice/none')": "RepositoryNotFoundError",
    "api.model_info('bob/hidden')": "RepositoryNotFoundError",
    "hub.HfApi(token=False).model_info('alice/none')": "RepositoryNotFoundError",
    "api.model_info('alice/x', revision='none')": "RevisionNotFoundError",
    "api.list_repo_files('alice/x', revision='0' * 40)": "RevisionNotFoundError",
    "hub.hf_hub_download('alice/x', 'none.txt')": "RemoteEntryNotFoundError",
    "hub.hf_hub_download('bob/hidden', 'a.txt')": "RepositoryNotFoundError",
    "hub.hf_hub_download('bob/gated', 'a.txt')": "GatedRepoError",
    "hub.hf_hub_download('bob/gated', 'a.txt', token=False)": "GatedRepoError",
    "api.auth_check('bob/gated')": "GatedRepoError",
    "api.model_info('bob/disabled')": "DisabledRepoError",
    "hub.hf_hub_download('alice/x', 'sub/a.txt', token='hf_unknown')": "HfHubHTTPError",
}


@pytest.mark.parametrize("expression", EXPECTED_ERRORS)
def test_errors_are_distinguished(hub, client, repo, expression):
    hub.add_repo("bob/hidden", {"a.txt": "a"}, private=True)
    hub.add_repo("bob/gated", {"a.txt": "a"}, gated="manual")
    hub.add_repo("bob/disabled", {"a.txt": "a"}, disabled=True)
    with pytest.raises(ClientCallError) as exc_info:
        client(expression)
    assert EXPECTED_ERRORS[expression] in exc_info.value.kinds


def test_a_download_from_a_disabled_repository_raises_a_network_error(hub, client):
    """The client distinguishes only status 401, missing and gated repositories from a lost network."""
    hub.add_repo("bob/disabled", {"a.txt": "a"}, disabled=True)
    with pytest.raises(ClientCallError) as exc_info:
        client("hub.hf_hub_download('bob/disabled', 'a.txt')")
    assert (exc_info.value.kind, exc_info.value.cause) == ("LocalEntryNotFoundError", "DisabledRepoError")


def test_a_user_with_granted_access_reads_a_gated_repository(hub, client):
    hub.add_repo("bob/gated", {"a.txt": "a"}, gated="auto", allowed_users={"alice"})
    assert client("Path(hub.hf_hub_download('bob/gated', 'a.txt')).read_text()") == "a"
    assert client("api.model_info('bob/gated').gated") == "auto"


def test_a_model_and_a_dataset_may_have_the_same_name(hub, client):
    hub.add_repo("alice/x", {"a.txt": "model"})
    hub.add_repo("alice/x", {"a.txt": "dataset"}, kind="datasets")
    read = "Path(hub.hf_hub_download('alice/x', 'a.txt', repo_type=kind)).read_text()"
    assert [client(read, kind=kind) for kind in ("model", "dataset")] == ["model", "dataset"]
