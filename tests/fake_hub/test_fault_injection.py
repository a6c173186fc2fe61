"""Every kind of fault occurs as often as it is configured, and the real client handles it."""

import http.client
import json
import time
from pathlib import Path

import pytest

from tests.fake_hub.client_process import ClientCallError
from tests.fake_hub.http_request import send_request
from tests.fake_hub.server import LoopbackHub

TEXT = bytes(range(32, 127)) * 20


# --- as they are -------------------------------------------------------------------------------------------------


@pytest.fixture
def file(hub_without_client) -> str:
    """The path of a file on a hub without a client."""
    hub_without_client.add_repo("alice/x", {"a.txt": TEXT})
    return "/alice/x/resolve/main/a.txt"


def test_answer(hub_without_client, file):
    settings = {"status": 429, "headers": {"Retry-After": "7"}, "code": "EntryNotFound", "message": "Slow down"}
    hub_without_client.add_fault("answer", "a.txt", **settings)
    got = send_request(hub_without_client.url, file)
    assert (got.status, got.headers["retry-after"]) == (429, "7")
    assert (got.headers["x-error-code"], got.headers["x-error-message"]) == ("EntryNotFound", "Slow down")
    assert json.loads(got.body) == {"error": "Slow down"}
    assert send_request(hub_without_client.url, file).body == TEXT
    assert [(seen.status, seen.fault) for seen in hub_without_client.requests] == [(429, "answer"), (200, None)]


def test_answer_does_no_work(hub_without_client):
    hub_without_client.add_fault("answer", "repos/create", status=500)
    create = {"method": "POST", "path": "/api/repos/create", "token": "hf_alice_write", "body": '{"name": "x"}'}
    assert send_request(hub_without_client.url, **create).status == 500 and not hub_without_client.has_repo("alice/x")
    assert send_request(hub_without_client.url, **create).status == 200 and hub_without_client.has_repo("alice/x")


@pytest.mark.parametrize(
    ("kind", "header", "value"),
    [("gated", "x-error-code", "GatedRepo"), ("disabled", "x-error-message", "Access to this resource is disabled.")],
)
def test_gated_and_disabled(hub_without_client, file, kind, header, value):
    hub_without_client.add_fault(kind)
    got = send_request(hub_without_client.url, file)
    assert (got.status, got.headers[header]) == (403, value)


def test_cut(hub_without_client, file):
    hub_without_client.add_fault("cut", byte_offset=100)
    with pytest.raises(http.client.IncompleteRead) as cut:
        send_request(hub_without_client.url, file)
    assert cut.value.partial == TEXT[:100] and cut.value.expected == len(TEXT) - 100
    assert send_request(hub_without_client.url, file).body == TEXT


def test_wrong_bytes(hub_without_client, file):
    hub_without_client.add_fault("wrong_bytes", byte_offset=100)
    got, right = send_request(hub_without_client.url, file), send_request(hub_without_client.url, file)
    assert len(got.body) == len(TEXT) and got.body[:100] == TEXT[:100]
    assert all(wrong != byte for wrong, byte in zip(got.body[100:], TEXT[100:], strict=True))
    assert right.body == TEXT and got.headers["etag"] == right.headers["etag"]


@pytest.mark.parametrize("kind", ["cut", "wrong_bytes"])
def test_only_downloads_are_spoilt(hub_without_client, file, kind):
    fault = hub_without_client.add_fault(kind)
    assert send_request(hub_without_client.url, file, "HEAD").status == 200
    assert send_request(hub_without_client.url, "/alice/x/resolve/main/none").status == 404
    assert fault.num_triggered == 0


def test_stall(hub_without_client, file):
    hub_without_client.add_fault("stall", stall_s=0.3)
    start = time.monotonic()
    assert send_request(hub_without_client.url, file).body == TEXT
    assert time.monotonic() - start >= 0.3
    hub_without_client.add_fault("stall", stall_s=30)
    with pytest.raises(TimeoutError):
        send_request(hub_without_client.url, file, timeout=0.2)


def test_drop(hub_without_client):
    hub_without_client.add_fault("drop", "repos/create")
    with pytest.raises(http.client.RemoteDisconnected):
        send_request(hub_without_client.url, "/api/repos/create", "POST", token="hf_alice_write", body='{"name": "x"}')
    assert not hub_without_client.has_repo("alice/x")
    assert [(seen.status, seen.fault) for seen in hub_without_client.requests] == [(None, "drop")]


def test_lost_reply(hub_without_client):
    hub_without_client.add_fault("lost_reply", "repos/create")
    with pytest.raises(http.client.RemoteDisconnected):
        send_request(hub_without_client.url, "/api/repos/create", "POST", token="hf_alice_write", body='{"name": "x"}')
    assert hub_without_client.has_repo("alice/x")
    assert [(seen.status, seen.fault) for seen in hub_without_client.requests] == [(None, "lost_reply")]


def request_statuses(hub: LoopbackHub, path: str, count: int, method: str = "GET") -> list[int]:
    return [send_request(hub.url, path, method).status for _ in range(count)]


def test_faults_are_counted(hub_without_client, file):
    fault = hub_without_client.add_fault("answer", "a.txt", "GET", max_count=2, skip_count=1)
    assert request_statuses(hub_without_client, file, 2, "HEAD") == [200, 200]
    assert request_statuses(hub_without_client, "/api/models/alice/x", 1) == [200]
    assert request_statuses(hub_without_client, file, 5) == [200, 503, 503, 200, 200]
    assert fault.num_triggered == 2


def test_faults_follow_one_another(hub_without_client, file):
    hub_without_client.add_fault("answer", status=503, max_count=2)
    hub_without_client.add_fault("answer", status=429)
    hub_without_client.add_fault("answer", status=500)
    assert request_statuses(hub_without_client, file, 5) == [503, 503, 429, 500, 200]


def test_a_fault_for_good_until_it_is_lifted(hub_without_client, file):
    fault = hub_without_client.add_fault("answer", max_count=None)
    assert request_statuses(hub_without_client, file, 4) == [503] * 4
    fault.disable()
    assert request_statuses(hub_without_client, file, 2) == [200] * 2


def test_a_misspelt_kind(hub_without_client):
    with pytest.raises(ValueError, match="unknown kind of fault 'cuts'; there are answer"):
        hub_without_client.add_fault("cuts")


# --- to the real client ------------------------------------------------------------------------------------------


@pytest.fixture
def repo(hub) -> str:
    hub.add_repo("alice/x", {"a.txt": TEXT, "a.bin": TEXT})
    return "alice/x"


UPLOAD = "api.upload_file(path_or_fileobj=b'new', path_in_repo='new.txt', repo_id='alice/x')"
DOWNLOAD = "hub.hf_hub_download('alice/x', path)"


MIB = 2**20


@pytest.mark.parametrize(("size", "again"), [(2_000, None), (12 * MIB, f"bytes={10 * MIB}-")])
def test_a_cut_download_goes_on(hub, client, repo, size, again):
    """From the last whole 10 MiB that the client has, so that a smaller file begins again."""
    hub.commit(repo, {"b.bin": b"0123456789abcdef" * (size // 16)})
    hub.add_fault("cut", "b.bin", byte_offset=size - 500)
    assert Path(client(DOWNLOAD, path="b.bin")).read_bytes() == hub.read_files(repo)["b.bin"]
    first, second = hub.find_requests("b.bin", "GET")
    assert (first.status, second.status) == (200, 206 if again else 200)
    assert second.headers.get("range") == again


def test_wrong_bytes_are_not_noticed_by_the_client(hub, client, repo):
    hub.add_fault("wrong_bytes", "a.bin")
    found = Path(client(DOWNLOAD, path="a.bin")).read_bytes()
    assert len(found) == len(TEXT) and found != TEXT


def test_a_dead_hub_and_what_is_in_the_cache(hub, client, repo):
    """A kept file is given out, however old, without a word; for another one the client tries for long, but for a 4xx."""
    kept = client(DOWNLOAD, path="a.txt")
    hub.commit(repo, {"a.txt": "newer"})
    dead = hub.add_fault("answer", max_count=None)
    assert client(DOWNLOAD, path="a.txt") == kept
    dead.disable()
    hub.add_fault("answer", status=403)
    with pytest.raises(ClientCallError) as failed:
        client(DOWNLOAD, path="a.bin")
    assert (failed.value.kind, failed.value.cause) == ("LocalEntryNotFoundError", "HfHubHTTPError")


def test_uploads_are_tried_again_before_the_commit(hub, client, repo):
    fault = hub.add_fault("answer", "preupload", status=429, headers={"Retry-After": "0"})
    client(UPLOAD)
    assert fault.num_triggered == 1 and [seen.status for seen in hub.find_requests("preupload")] == [429, 200]
    assert hub.read_files(repo)["new.txt"] == b"new"


@pytest.mark.parametrize("status", [403, 409, 412, 429, 503])
def test_a_commit_is_not_tried_again(hub, client, repo, status):
    hub.add_fault("answer", "/commit/", status=status)
    with pytest.raises(ClientCallError) as failed:
        client(UPLOAD)
    assert failed.value.status == status
    assert len(hub.find_requests("/commit/")) == 1 and "new.txt" not in hub.read_files(repo)


def test_the_reply_to_a_commit_is_lost(hub, client, repo):
    hub.add_fault("lost_reply", "/commit/")
    with pytest.raises(ClientCallError) as failed:
        client(UPLOAD)
    assert "RemoteProtocolError" in failed.value.kinds
    assert hub.read_files(repo)["new.txt"] == b"new"


def test_the_reply_to_the_commit_of_a_folder_is_lost(hub, client, hub_and_client, repo, tmp_path):
    """With xet on, the client tries again, and commits twice."""
    (tmp_path / "new.txt").write_text("new")
    hub.add_fault("lost_reply", "/commit/")
    before = len(hub.list_commits(repo))
    upload = "api.upload_folder(folder_path=folder, repo_id='alice/x')"
    if hub_and_client.uses_xet:
        client(upload, folder=tmp_path)
    else:
        with pytest.raises(ClientCallError) as failed:
            client(upload, folder=tmp_path)
        assert "RemoteProtocolError" in failed.value.kinds
    assert len(hub.list_commits(repo)) == before + (2 if hub_and_client.uses_xet else 1)
    assert hub.read_files(repo)["new.txt"] == b"new"


def test_a_large_upload_that_is_dropped_once(hub, client, hub_and_client, repo):
    hub.add_fault("drop", "^/v1/xorbs/" if hub_and_client.uses_xet else "^/lfs/")
    data = ("xet" if hub_and_client.uses_xet else "http") * 5000
    client("api.upload_file(path_or_fileobj=data.encode(), path_in_repo='b.bin', repo_id='alice/x')", data=data)
    assert hub.read_files(repo)["b.bin"] == data.encode()
    assert "drop" in {seen.fault for seen in hub.find_requests(origin="storage")}


def test_large_files_cannot_be_uploaded_without_their_service(hub, client, hub_and_client, repo):
    """The xet client gives no HTTP error: what failed is only in its words."""
    hub.add_fault(
        "answer", "xet-write-token" if hub_and_client.uses_xet else "objects/batch", status=404, max_count=None
    )
    with pytest.raises(ClientCallError) as failed:
        client("api.upload_file(path_or_fileobj=bytes(9), path_in_repo='c.bin', repo_id='alice/x')")
    assert failed.value.kind == ("ConnectionError" if hub_and_client.uses_xet else "HfHubHTTPError")
    assert "c.bin" not in hub.read_files(repo)
