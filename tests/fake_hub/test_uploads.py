"""Test uploads of the real client: the hub stores the files in the requested commits, or nothing after an error."""

import hashlib
import struct

import pytest

from tests.fake_hub.client_process import ClientCallError
from tests.fake_hub.storage_api import XET_TOKEN

WEIGHTS = struct.pack("<100000f", *(index * 0.001 for index in range(100_000)))


@pytest.fixture
def repo(hub) -> str:
    hub.add_repo("alice/x", {"config.json": "{}"})
    return "alice/x"


def test_create_repo(hub, client):
    assert client("api.create_repo('alice/x').repo_id") == "alice/x"
    assert [commit.title for commit in hub.list_commits("alice/x")] == ["initial commit"]
    with pytest.raises(ClientCallError) as exc_info:
        client("api.create_repo('alice/x')")
    assert exc_info.value.status == 409
    assert client("api.create_repo('alice/x', exist_ok=True)") == f"{hub.url}/alice/x"


def test_create_a_dataset_of_an_organization(hub, client):
    assert client("api.create_repo('lab/d', repo_type='dataset', private=True)") == f"{hub.url}/datasets/lab/d"
    assert hub.get_repo("lab/d", "datasets").private
    with pytest.raises(ClientCallError) as exc_info:
        client("api.create_repo('bob/x')")
    assert exc_info.value.status == 403 and not hub.has_repo("bob/x")


def test_update_settings_and_delete_repo(hub, client, repo):
    client("api.update_repo_settings('alice/x', private=True, gated='manual')")
    assert hub.get_repo(repo).private and hub.get_repo(repo).gated == "manual"
    client("api.delete_repo('alice/x')")
    assert not hub.has_repo(repo)


def test_upload_file(hub, client, repo):
    oid = client("api.upload_file(path_or_fileobj=b'hello\\n', path_in_repo='a/b.txt', repo_id='alice/x').oid")
    assert hub.read_files(repo) == {"config.json": b"{}", "a/b.txt": b"hello\n"}
    newest, *_ = hub.list_commits(repo)
    assert (newest.oid, newest.author) == (oid, "alice")
    assert newest.files["a/b.txt"].oid == "ce013625030ba8dba906f756967f9e9ca394464a"  # the output of `git hash-object`


def test_upload_folder(hub, client, hub_and_client, repo, tmp_path):
    files = {"model.safetensors": WEIGHTS, "README.md": b"---\ntags: [a]\n---\nText", "sub/config.json": b'{"a": 1}'}
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    upload = "api.upload_folder(folder_path=folder, repo_id='alice/x', commit_message='All of it').oid"
    oid = client(upload, folder=tmp_path)
    assert hub.read_files(repo) == files | {"config.json": b"{}"}
    newest, *_ = hub.list_commits(repo)
    assert newest.title == "All of it" and newest.files["model.safetensors"].is_lfs
    assert bool(hub.find_requests("/v1/xorbs/", "POST")) == hub_and_client.uses_xet
    assert bool(hub.find_requests("/lfs/", "PUT")) != hub_and_client.uses_xet
    assert client(upload, folder=tmp_path) == oid  # without changes there is no new commit
    assert len(hub.list_commits(repo)) == 3


def test_no_hub_token_is_sent_to_the_storage(hub, client, repo):
    client("api.upload_file(path_or_fileobj=data.encode(), path_in_repo='a.bin', repo_id='alice/x')", data="one" * 999)
    client("hub.hf_hub_download('alice/x', 'a.bin')")
    assert {request.token for request in hub.find_requests(origin="hub")} == {"hf_alice_write"}
    storage_requests = hub.find_requests(origin="storage")
    assert len(storage_requests) >= 2 and {request.token for request in storage_requests} <= {None, XET_TOKEN}


def test_upload_a_large_file_in_parts(hub, client, hub_and_client, repo, tmp_path):
    hub.state.part_size = 70_000
    (tmp_path / "part.bin").write_bytes(WEIGHTS[::-1])
    client("api.upload_file(path_or_fileobj=file, path_in_repo='a.bin', repo_id='alice/x')", file=tmp_path / "part.bin")
    assert hub.read_files(repo)["a.bin"] == WEIGHTS[::-1]
    oid = hashlib.sha256(WEIGHTS[::-1]).hexdigest()
    put_targets = [request.target for request in hub.find_requests(method="PUT")]
    assert put_targets == ([] if hub_and_client.uses_xet else [f"/lfs/{oid}/{number}" for number in range(1, 7)])


@pytest.mark.parametrize("files", [40, 300])
def test_upload_many_files(hub, client, hub_and_client, repo, tmp_path, files):
    """With xet, the client uploads a large folder in several commits; otherwise in one."""
    for number in range(files):
        (tmp_path / f"{number}.txt").write_text(str(number))
    client("api.upload_folder(folder_path=folder, repo_id='alice/x', commit_message='m')", folder=tmp_path)
    assert len(hub.read_files(repo)) == files + 1
    commit_titles = ["m (part 2)", "m"] if hub_and_client.uses_xet and files > 250 else ["m"]
    assert [commit.title for commit in hub.list_commits(repo)][: len(commit_titles)] == commit_titles


ADD = "[hub.CommitOperationAdd('a.txt', b'new')]"


def test_commit_requires_the_current_parent_commit(hub, client, repo):
    parent = hub.list_commits(repo)[0].oid
    commit = f"api.create_commit('alice/x', {ADD}, commit_message='m', parent_commit=parent).oid"
    oid = client(commit, parent=parent)
    assert hub.read_files(repo)["a.txt"] == b"new" and hub.list_commits(repo)[0].parent == parent
    hub.commit(repo, {"a.txt": "by another"})
    with pytest.raises(ClientCallError) as exc_info:
        client(commit, parent=oid)
    assert exc_info.value.status == 412
    assert hub.read_files(repo)["a.txt"] == b"by another"


def test_commit_deletions(hub, client, repo):
    hub.commit(repo, {"a/1.txt": "1", "a/2.txt": "2", "b.txt": "3"})
    deletions = "[hub.CommitOperationDelete('a/'), hub.CommitOperationDelete('b.txt')]"
    client(f"api.create_commit('alice/x', {deletions}, commit_message='m')")
    assert set(hub.read_files(repo)) == {"config.json"}
    with pytest.raises(ClientCallError, match="doesn't exist") as exc_info:
        client(f"api.create_commit('alice/x', {deletions}, commit_message='m')")
    assert exc_info.value.kind == "RemoteEntryNotFoundError"


def test_branches_and_tags(hub, client, repo):
    client("api.create_branch('alice/x', branch='a/b')")
    client(f"api.create_commit('alice/x', {ADD}, commit_message='m', revision='a/b')")
    assert "a.txt" in hub.read_files(repo, "a/b") and "a.txt" not in hub.read_files(repo)
    client("api.create_tag('alice/x', tag='v1', revision='a/b')")
    assert client("Path(hub.hf_hub_download('alice/x', 'a.txt', revision='v1')).read_text()") == "new"
    refs = client("api.list_repo_refs('alice/x')")
    assert [branch["name"] for branch in refs["branches"]] == ["main", "a/b"]
    assert refs["tags"][0]["target_commit"] == hub.get_repo(repo).branches["a/b"]
    client("api.delete_tag('alice/x', tag='v1')")
    assert hub.get_repo(repo).tags == {}


def test_a_card_with_invalid_yaml_is_rejected(hub, client, repo):
    content = b"---\ntags: [a\n---\n"
    with pytest.raises(ClientCallError, match=r"Invalid metadata in README\.md") as exc_info:
        client(f"api.upload_file(path_or_fileobj={content!r}, path_in_repo='README.md', repo_id='alice/x')")
    assert exc_info.value.kind == "ValueError" and len(hub.list_commits(repo)) == 2


@pytest.mark.parametrize(("token", "status"), [("hf_alice_read", 403), ("hf_bob_write", 403), ("hf_unknown", 401)])
def test_a_commit_without_write_access_is_rejected(hub, client, repo, token, status):
    commit = f"hub.HfApi(token=token).create_commit('alice/x', {ADD}, commit_message='m')"
    with pytest.raises(ClientCallError) as exc_info:
        client(commit, token=token)
    assert (exc_info.value.kind, exc_info.value.status) == ("HfHubHTTPError", status)
    assert len(hub.list_commits(repo)) == 2


def test_a_commit_to_a_missing_repository_or_revision_is_rejected(hub, client, repo):
    with pytest.raises(ClientCallError) as exc_info:
        client(f"api.create_commit('alice/none', {ADD}, commit_message='m')")
    assert exc_info.value.kind == "RepositoryNotFoundError"
    with pytest.raises(ClientCallError) as exc_info:
        client(f"api.create_commit('alice/x', {ADD}, commit_message='m', revision='none')")
    assert exc_info.value.kind == "RevisionNotFoundError"
