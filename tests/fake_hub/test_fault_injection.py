"""Test faults: each kind occurs as often as it is configured, and the real client handles it."""

import http.client
import json
import time
from pathlib import Path

import pytest

from tests.fake_hub.client_process import ClientCallError
from tests.fake_hub.http_request import send_request
from tests.fake_hub.server import LoopbackHub

TEXT = bytes(range(32, 127)) * 20


# --- single requests----------------------------------------------------------------------------------------------


@pytest.fixture
def file(hub_without_client) -> str:
    """Return the URL path of a file on a hub without a client."""
    hub_without_client.add_repo("alice/x", {"a.txt": TEXT})
    return "/alice/x/resolve/main/a.txt"


def test_answer_returns_the_configured_error(hub_without_client, file):
    settings = {"status": 429, "headers": {"Retry-After": "7"}, "code": "EntryNotFound", "message": "Slow down"}
    hub_without_client.add_fault("answer", "a.txt", **settings)
    response = send_request(hub_without_client.url, file)
    assert (response.status, response.headers["retry-after"]) == (429, "7")
    assert (response.headers["x-error-code"], response.headers["x-error-message"]) == ("EntryNotFound", "Slow down")
    assert json.loads(response.body) == {"error": "Slow down"}
    assert send_request(hub_without_client.url, file).body == TEXT
    assert [(request.status, request.fault) for request in hub_without_client.requests] == [
        (429, "answer"),
        (200, None),
    ]


def test_answer_prevents_the_operation(hub_without_client):
    hub_without_client.add_fault("answer", "repos/create", status=500)
    create = {"method": "POST", "path": "/api/repos/create", "token": "hf_alice_write", "body": '{"name": "x"}'}
    assert send_request(hub_without_client.url, **create).status == 500 and not hub_without_client.has_repo("alice/x")
    assert send_request(hub_without_client.url, **create).status == 200 and hub_without_client.has_repo("alice/x")


@pytest.mark.parametrize(
    ("kind", "header", "value"),
    [("gated", "x-error-code", "GatedRepo"), ("disabled", "x-error-message", "Access to this resource is disabled.")],
)
def test_gated_and_disabled_return_the_errors_of_the_hub(hub_without_client, file, kind, header, value):
    hub_without_client.add_fault(kind)
    response = send_request(hub_without_client.url, file)
    assert (response.status, response.headers[header]) == (403, value)


def test_cut_ends_a_download_early(hub_without_client, file):
    hub_without_client.add_fault("cut", byte_offset=100)
    with pytest.raises(http.client.IncompleteRead) as exc_info:
        send_request(hub_without_client.url, file)
    assert exc_info.value.partial == TEXT[:100] and exc_info.value.expected == len(TEXT) - 100
    assert send_request(hub_without_client.url, file).body == TEXT


def test_wrong_bytes_change_the_body_only(hub_without_client, file):
    hub_without_client.add_fault("wrong_bytes", byte_offset=100)
    response, correct_response = send_request(hub_without_client.url, file), send_request(hub_without_client.url, file)
    assert len(response.body) == len(TEXT) and response.body[:100] == TEXT[:100]
    assert all(wrong != byte for wrong, byte in zip(response.body[100:], TEXT[100:], strict=True))
    assert correct_response.body == TEXT and response.headers["etag"] == correct_response.headers["etag"]


@pytest.mark.parametrize("kind", ["cut", "wrong_bytes"])
def test_cut_and_wrong_bytes_affect_downloads_only(hub_without_client, file, kind):
    fault = hub_without_client.add_fault(kind)
    assert send_request(hub_without_client.url, file, "HEAD").status == 200
    assert send_request(hub_without_client.url, "/alice/x/resolve/main/none").status == 404
    assert fault.num_triggered == 0


def test_stall_delays_the_response(hub_without_client, file):
    hub_without_client.add_fault("stall", stall_s=0.3)
    start = time.monotonic()
    assert send_request(hub_without_client.url, file).body == TEXT
    assert time.monotonic() - start >= 0.3
    hub_without_client.add_fault("stall", stall_s=30)
    with pytest.raises(TimeoutError):
        send_request(hub_without_client.url, file, timeout=0.2)


def test_drop_prevents_the_operation(hub_without_client):
    hub_without_client.add_fault("drop", "repos/create")
    with pytest.raises(http.client.RemoteDisconnected):
        send_request(hub_without_client.url, "/api/repos/create", "POST", token="hf_alice_write", body='{"name": "x"}')
    assert not hub_without_client.has_repo("alice/x")
    assert [(request.status, request.fault) for request in hub_without_client.requests] == [(None, "drop")]


def test_lost_reply_performs_the_operation(hub_without_client):
    hub_without_client.add_fault("lost_reply", "repos/create")
    with pytest.raises(http.client.RemoteDisconnected):
        send_request(hub_without_client.url, "/api/repos/create", "POST", token="hf_alice_write", body='{"name": "x"}')
    assert hub_without_client.has_repo("alice/x")
    assert [(request.status, request.fault) for request in hub_without_client.requests] == [(None, "lost_reply")]


def request_statuses(hub: LoopbackHub, path: str, count: int, method: str = "GET") -> list[int]:
    return [send_request(hub.url, path, method).status for _ in range(count)]


def test_a_fault_respects_skip_count_and_max_count(hub_without_client, file):
    fault = hub_without_client.add_fault("answer", "a.txt", "GET", max_count=2, skip_count=1)
    assert request_statuses(hub_without_client, file, 2, "HEAD") == [200, 200]
    assert request_statuses(hub_without_client, "/api/models/alice/x", 1) == [200]
    assert request_statuses(hub_without_client, file, 5) == [200, 503, 503, 200, 200]
    assert fault.num_triggered == 2


def test_faults_are_triggered_in_order(hub_without_client, file):
    hub_without_client.add_fault("answer", status=503, max_count=2)
    hub_without_client.add_fault("answer", status=429)
    hub_without_client.add_fault("answer", status=500)
    assert request_statuses(hub_without_client, file, 5) == [503, 503, 429, 500, 200]


def test_a_fault_without_max_count_is_active_until_it_is_disabled(hub_without_client, file):
    fault = hub_without_client.add_fault("answer", max_count=None)
    assert request_statuses(hub_without_client, file, 4) == [503] * 4
    fault.disable()
    assert request_statuses(hub_without_client, file, 2) == [200] * 2


def test_an_unknown_kind_of_fault_is_rejected(hub_without_client):
    with pytest.raises(ValueError, match="unknown kind of fault 'cuts'; there are answer"):
        hub_without_client.add_fault("cuts")


# --- the real client ---------------------------------------------------------------------------------------------


@pytest.fixture
def repo(hub) -> str:
    hub.add_repo("alice/x", {"a.txt": TEXT, "a.bin": TEXT})
    return "alice/x"


UPLOAD = "api.upload_file(path_or_fileobj=b'new', path_in_repo='new.txt', repo_id='alice/x')"
DOWNLOAD = "hub.hf_hub_download('alice/x', path)"


MIB = 2**20


@pytest.mark.parametrize(("size", "range_header"), [(2_000, None), (12 * MIB, f"bytes={10 * MIB}-")])
def test_a_cut_download_is_resumed(hub, client, repo, size, range_header):
    """The client resumes after the last complete 10 MiB; a smaller file starts again."""
    hub.commit(repo, {"b.bin": b"0123456789abcdef" * (size // 16)})
    hub.add_fault("cut", "b.bin", byte_offset=size - 500)
    assert Path(client(DOWNLOAD, path="b.bin")).read_bytes() == hub.read_files(repo)["b.bin"]
    first, second = hub.find_requests("b.bin", "GET")
    assert (first.status, second.status) == (200, 206 if range_header else 200)
    assert second.headers.get("range") == range_header


def test_wrong_bytes_are_not_detected_by_the_client(hub, client, repo):
    hub.add_fault("wrong_bytes", "a.bin")
    content = Path(client(DOWNLOAD, path="a.bin")).read_bytes()
    assert len(content) == len(TEXT) and content != TEXT


def test_a_cached_file_is_returned_while_the_hub_fails(hub, client, repo):
    """The client returns a cached file, even an old one, without a warning; for another file it raises after a 4xx status."""
    cached_path = client(DOWNLOAD, path="a.txt")
    hub.commit(repo, {"a.txt": "newer"})
    fault = hub.add_fault("answer", max_count=None)
    assert client(DOWNLOAD, path="a.txt") == cached_path
    fault.disable()
    hub.add_fault("answer", status=403)
    with pytest.raises(ClientCallError) as exc_info:
        client(DOWNLOAD, path="a.bin")
    assert (exc_info.value.kind, exc_info.value.cause) == ("LocalEntryNotFoundError", "HfHubHTTPError")


def test_an_upload_is_retried_before_the_commit(hub, client, repo):
    fault = hub.add_fault("answer", "preupload", status=429, headers={"Retry-After": "0"})
    client(UPLOAD)
    assert fault.num_triggered == 1 and [request.status for request in hub.find_requests("preupload")] == [429, 200]
    assert hub.read_files(repo)["new.txt"] == b"new"


@pytest.mark.parametrize("status", [403, 409, 412, 429, 503])
def test_a_commit_is_not_retried(hub, client, repo, status):
    hub.add_fault("answer", "/commit/", status=status)
    with pytest.raises(ClientCallError) as exc_info:
        client(UPLOAD)
    assert exc_info.value.status == status
    assert len(hub.find_requests("/commit/")) == 1 and "new.txt" not in hub.read_files(repo)


def test_a_file_commit_with_a_lost_reply_raises_and_exists(hub, client, repo):
    hub.add_fault("lost_reply", "/commit/")
    with pytest.raises(ClientCallError) as exc_info:
        client(UPLOAD)
    assert "RemoteProtocolError" in exc_info.value.kinds
    assert hub.read_files(repo)["new.txt"] == b"new"


def test_a_folder_commit_with_a_lost_reply_exists(hub, client, hub_and_client, repo, tmp_path):
    """With xet, the client retries and creates two commits; otherwise it raises."""
    (tmp_path / "new.txt").write_text("new")
    hub.add_fault("lost_reply", "/commit/")
    before = len(hub.list_commits(repo))
    upload = "api.upload_folder(folder_path=folder, repo_id='alice/x')"
    if hub_and_client.uses_xet:
        client(upload, folder=tmp_path)
    else:
        with pytest.raises(ClientCallError) as exc_info:
            client(upload, folder=tmp_path)
        assert "RemoteProtocolError" in exc_info.value.kinds
    assert len(hub.list_commits(repo)) == before + (2 if hub_and_client.uses_xet else 1)
    assert hub.read_files(repo)["new.txt"] == b"new"


def test_a_large_upload_is_retried_after_a_drop(hub, client, hub_and_client, repo):
    hub.add_fault("drop", "^/v1/xorbs/" if hub_and_client.uses_xet else "^/lfs/")
    data = ("xet" if hub_and_client.uses_xet else "http") * 5000
    client("api.upload_file(path_or_fileobj=data.encode(), path_in_repo='b.bin', repo_id='alice/x')", data=data)
    assert hub.read_files(repo)["b.bin"] == data.encode()
    assert "drop" in {request.fault for request in hub.find_requests(origin="storage")}


def test_a_large_upload_fails_without_the_storage_service(hub, client, hub_and_client, repo):
    """The xet client raises no HTTP error; only its message names the cause."""
    hub.add_fault(
        "answer", "xet-write-token" if hub_and_client.uses_xet else "objects/batch", status=404, max_count=None
    )
    with pytest.raises(ClientCallError) as exc_info:
        client("api.upload_file(path_or_fileobj=bytes(9), path_in_repo='c.bin', repo_id='alice/x')")
    assert exc_info.value.kind == ("ConnectionError" if hub_and_client.uses_xet else "HfHubHTTPError")
    assert "c.bin" not in hub.read_files(repo)
