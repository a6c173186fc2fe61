"""API of downloads and uploads: files, upload addresses of large files, commits."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import yaml

from tests.fake_hub.auth import open_readable_repo, open_writable_repo, require_account
from tests.fake_hub.messages import HubHTTPError, Request, Response, make_file_response, make_json_response
from tests.fake_hub.routing import REPO, Routes
from tests.fake_hub.state import Blob, HubState, RepoKind
from tests.fake_hub.storage_api import build_xet_token_response

TRANSFERS = Routes()


# --- downloads ---------------------------------------------------------------------------------------------------


@TRANSFERS.route("GET", "/{repo}/resolve/{revision}/{path*}")
def resolve_model_file(state: HubState, request: Request, repo: str, revision: str, path: str) -> Response:
    return resolve_file(state, request, "models", repo, revision, path)


@TRANSFERS.route("GET", "/{kind}/{repo}/resolve/{revision}/{path*}")
def resolve_file(state: HubState, request: Request, kind: RepoKind, repo: str, revision: str, path: str) -> Response:
    """Build the response with a file, or the redirect to the storage, which needs no token."""
    commit = open_readable_repo(state, request, kind, repo).find(revision)
    headers = {"X-Repo-Commit": commit.oid}
    blob = commit.files.get(path)
    if blob is None:
        raise HubHTTPError(404, "EntryNotFound", "Entry not found", headers)
    if not blob.is_lfs:
        return make_file_response(request, blob.data, headers | {"ETag": f'"{blob.oid}"'})
    headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.data))}
    location = f"{state.storage_url}/lfs/{blob.sha256}?{urlencode({'path': path}, safe='/')}"
    return Response(302, b"Found", headers | {"Location": location, "Content-Type": "text/plain"})


@TRANSFERS.route("POST", "/api/validate-yaml")
def validate_yaml(state: HubState, request: Request) -> Response:
    parts = request.json()["content"].split("---\n", 2)
    try:
        card = yaml.safe_load(parts[1]) if not parts[0] and len(parts) == 3 else None
    except yaml.YAMLError as error:
        return make_json_response({"errors": [{"message": str(error)}], "warnings": []}, 400)
    if card is not None and not isinstance(card, dict):
        return make_json_response({"errors": [{"message": "metadata must be an object"}], "warnings": []}, 400)
    return make_json_response(
        {"errors": [], "warnings": [] if card else [{"message": "empty or missing yaml metadata"}]}
    )


# --- uploads -----------------------------------------------------------------------------------------------------


@TRANSFERS.route("POST", f"{REPO}/preupload/{{revision}}")
def choose_upload_modes(state: HubState, request: Request, kind: RepoKind, repo: str, revision: str) -> Response:
    repository = open_writable_repo(state, request, kind, repo)
    commit, requested_files = repository.find(revision), request.json()["files"]
    if len(requested_files) > 256:
        raise HubHTTPError(400, message="At most 256 files a call")
    files = []
    for file in requested_files:
        large = repository.is_lfs(file["path"], file["size"], base64.b64decode(file["sample"]))
        there = commit.files.get(file["path"])
        oid = there.etag if there is not None and there.is_lfs == large else None
        mode = "lfs" if large else "regular"
        files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return make_json_response({"files": files, "commitOid": commit.oid})


@TRANSFERS.route("POST", "/{repo}.git/info/lfs/objects/batch")
def start_model_lfs_batch(state: HubState, request: Request, repo: str) -> Response:
    return start_lfs_batch(state, request, "models", repo)


@TRANSFERS.route("POST", "/{kind}/{repo}.git/info/lfs/objects/batch")
def start_lfs_batch(state: HubState, request: Request, kind: RepoKind, repo: str) -> Response:
    repository = open_writable_repo(state, request, kind, repo)
    objects = []
    for file in request.json()["objects"]:
        oid, size = file["oid"], file["size"]
        entry = {"oid": oid, "size": size}
        if oid not in state.objects:
            verify = {"href": f"{state.url}/{repository.url_path}.git/info/lfs/objects/verify"}
            entry["actions"] = {"upload": build_upload_action(state, oid, size), "verify": verify}
        objects.append(entry)
    return make_json_response({"transfer": "basic", "objects": objects})


def build_upload_action(state: HubState, oid: str, size: int) -> dict[str, Any]:
    """Build the upload actions of a large file, whole or in parts."""
    address = f"{state.storage_url}/lfs/{oid}"
    if state.part_size is None or size <= state.part_size:
        return {"href": address}
    parts = range(1, -(-size // state.part_size) + 1)
    return {
        "href": f"{address}/complete",
        "header": {"chunk_size": str(state.part_size)} | {str(number): f"{address}/{number}" for number in parts},
    }


@TRANSFERS.route("POST", "/{repo}.git/info/lfs/objects/verify", "/{kind}/{repo}.git/info/lfs/objects/verify")
def verify_lfs_object(state: HubState, request: Request, repo: str, kind: RepoKind = "models") -> Response:
    open_writable_repo(state, request, kind, repo)
    payload = request.json()
    if len(state.objects.get(payload["oid"], b"")) != payload["size"]:
        raise HubHTTPError(404, message="The object was not uploaded")
    return make_json_response({})


@TRANSFERS.route("GET", f"{REPO}/xet-write-token/{{revision}}")
def issue_xet_write_token(state: HubState, request: Request, kind: RepoKind, repo: str, revision: str) -> Response:
    open_writable_repo(state, request, kind, repo)
    return build_xet_token_response(state)


@TRANSFERS.route("POST", f"{REPO}/commit/{{revision}}")
def commit_files(state: HubState, request: Request, kind: RepoKind, repo: str, revision: str) -> Response:
    repository = open_writable_repo(state, request, kind, repo)
    if request.has_flag("create_pr"):
        raise HubHTTPError(501, message="This hub serves no pull requests")
    if revision not in repository.branches:
        raise HubHTTPError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    head = repository.find(revision)
    try:
        header, *operations = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    except ValueError:
        raise HubHTTPError(400, message="The commit is not a list of JSON lines") from None
    commit_header = header["value"]
    if commit_header.get("parentCommit") not in (None, head.oid):
        raise HubHTTPError(412, message="A commit has happened since. Please refresh and try again.")
    files = apply_operations(state, head.files, operations)
    author = require_account(state, request).name
    commit = repository.write(revision, files, commit_header["summary"], author, commit_header.get("description", ""))
    address = f"{state.url}/{repository.url_path}/commit/{quote(commit.oid)}"
    return make_json_response({"success": True, "commitOid": commit.oid, "commitUrl": address, "hookOutput": ""})


def apply_operations(state: HubState, files: Mapping[str, Blob], operations: list[dict[str, Any]]) -> dict[str, Blob]:
    """Return the files after the operations of a commit."""
    after = dict(files)
    for operation in operations:
        value = operation["value"]
        path = value["path"]
        match operation["key"]:
            case "file":
                after[path] = Blob(base64.b64decode(value["content"]))
            case "lfsFile":
                data = state.objects.get(value["oid"])
                if data is None or hashlib.sha256(data).hexdigest() != value["oid"]:
                    raise HubHTTPError(400, message=f"The large file of {path} was not uploaded")
                after[path] = Blob(data, is_lfs=True)
            case "deletedFile" if path in after:
                del after[path]
            case "deletedFolder" if any(name.startswith(f"{path.rstrip('/')}/") for name in after):
                after = {name: blob for name, blob in after.items() if not name.startswith(f"{path.rstrip('/')}/")}
            case "deletedFile" | "deletedFolder":
                raise HubHTTPError(404, "EntryNotFound", f"A file with this name doesn't exist: {path}")
            case other:
                raise HubHTTPError(400, message=f"Unknown operation {other}")
    return after
