"""What the Hub answers to downloads and uploads: files, where large ones go, and commits."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import yaml

from tests.fake_hub.auth import need_account, open_files, open_for_writing
from tests.fake_hub.messages import Answer, Refused, Request, file_answer, json_answer
from tests.fake_hub.routing import REPO, Routes
from tests.fake_hub.state import Blob, Kind, Store
from tests.fake_hub.storage_api import xet_answer

TRANSFERS = Routes()


# --- downloads ---------------------------------------------------------------------------------------------------


@TRANSFERS.route("GET", "/{repo}/resolve/{revision}/{path*}")
def resolve_model(store: Store, request: Request, repo: str, revision: str, path: str) -> Answer:
    return resolve(store, request, "models", repo, revision, path)


@TRANSFERS.route("GET", "/{kind}/{repo}/resolve/{revision}/{path*}")
def resolve(store: Store, request: Request, kind: Kind, repo: str, revision: str, path: str) -> Answer:
    """A file, or where the storage has it; who asks is not asked again there."""
    commit = open_files(store, request, kind, repo).find(revision)
    headers = {"X-Repo-Commit": commit.oid}
    blob = commit.files.get(path)
    if blob is None:
        raise Refused(404, "EntryNotFound", "Entry not found", headers)
    if not blob.large:
        return file_answer(request, blob.data, headers | {"ETag": f'"{blob.oid}"'})
    headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.data))}
    location = f"{store.storage_url}/lfs/{blob.sha256}?{urlencode({'path': path}, safe='/')}"
    return Answer(302, b"Found", headers | {"Location": location, "Content-Type": "text/plain"})


@TRANSFERS.route("POST", "/api/validate-yaml")
def validate_yaml(store: Store, request: Request) -> Answer:
    parts = request.json()["content"].split("---\n", 2)
    try:
        card = yaml.safe_load(parts[1]) if not parts[0] and len(parts) == 3 else None
    except yaml.YAMLError as error:
        return json_answer({"errors": [{"message": str(error)}], "warnings": []}, 400)
    if card is not None and not isinstance(card, dict):
        return json_answer({"errors": [{"message": "metadata must be an object"}], "warnings": []}, 400)
    return json_answer({"errors": [], "warnings": [] if card else [{"message": "empty or missing yaml metadata"}]})


# --- uploads -----------------------------------------------------------------------------------------------------


@TRANSFERS.route("POST", f"{REPO}/preupload/{{revision}}")
def preupload(store: Store, request: Request, kind: Kind, repo: str, revision: str) -> Answer:
    found = open_for_writing(store, request, kind, repo)
    commit, asked = found.find(revision), request.json()["files"]
    if len(asked) > 256:
        raise Refused(400, message="At most 256 files a call")
    files = []
    for file in asked:
        large = found.is_large(file["path"], file["size"], base64.b64decode(file["sample"]))
        there = commit.files.get(file["path"])
        oid = there.etag if there is not None and there.large == large else None
        mode = "lfs" if large else "regular"
        files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return json_answer({"files": files, "commitOid": commit.oid})


@TRANSFERS.route("POST", "/{repo}.git/info/lfs/objects/batch")
def lfs_batch_of_model(store: Store, request: Request, repo: str) -> Answer:
    return lfs_batch(store, request, "models", repo)


@TRANSFERS.route("POST", "/{kind}/{repo}.git/info/lfs/objects/batch")
def lfs_batch(store: Store, request: Request, kind: Kind, repo: str) -> Answer:
    found = open_for_writing(store, request, kind, repo)
    objects = []
    for file in request.json()["objects"]:
        oid, size = file["oid"], file["size"]
        said = {"oid": oid, "size": size}
        if oid not in store.objects:
            verify = {"href": f"{store.url}/{found.address}.git/info/lfs/objects/verify"}
            said["actions"] = {"upload": upload_action(store, oid, size), "verify": verify}
        objects.append(said)
    return json_answer({"transfer": "basic", "objects": objects})


def upload_action(store: Store, oid: str, size: int) -> dict[str, Any]:
    """Where a large file goes: whole, or part by part."""
    address = f"{store.storage_url}/lfs/{oid}"
    if store.part_size is None or size <= store.part_size:
        return {"href": address}
    parts = range(1, -(-size // store.part_size) + 1)
    return {
        "href": f"{address}/complete",
        "header": {"chunk_size": str(store.part_size)} | {str(number): f"{address}/{number}" for number in parts},
    }


@TRANSFERS.route("POST", "/{repo}.git/info/lfs/objects/verify", "/{kind}/{repo}.git/info/lfs/objects/verify")
def lfs_verify(store: Store, request: Request, repo: str, kind: Kind = "models") -> Answer:
    open_for_writing(store, request, kind, repo)
    said = request.json()
    if len(store.objects.get(said["oid"], b"")) != said["size"]:
        raise Refused(404, message="The object was not uploaded")
    return json_answer({})


@TRANSFERS.route("GET", f"{REPO}/xet-write-token/{{revision}}")
def xet_write_token(store: Store, request: Request, kind: Kind, repo: str, revision: str) -> Answer:
    open_for_writing(store, request, kind, repo)
    return xet_answer(store)


@TRANSFERS.route("POST", f"{REPO}/commit/{{revision}}")
def commit_files(store: Store, request: Request, kind: Kind, repo: str, revision: str) -> Answer:
    found = open_for_writing(store, request, kind, repo)
    if request.asks("create_pr"):
        raise Refused(501, message="This hub serves no pull requests")
    if revision not in found.branches:
        raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    head = found.find(revision)
    try:
        header, *operations = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    except ValueError:
        raise Refused(400, message="The commit is not a list of JSON lines") from None
    said = header["value"]
    if said.get("parentCommit") not in (None, head.oid):
        raise Refused(412, message="A commit has happened since. Please refresh and try again.")
    files = apply(store, head.files, operations)
    author = need_account(store, request).name
    made = found.write(revision, files, said["summary"], author, said.get("description", ""))
    address = f"{store.url}/{found.address}/commit/{quote(made.oid)}"
    return json_answer({"success": True, "commitOid": made.oid, "commitUrl": address, "hookOutput": ""})


def apply(store: Store, files: Mapping[str, Blob], operations: list[dict[str, Any]]) -> dict[str, Blob]:
    """What files there are after the operations of a commit."""
    after = dict(files)
    for operation in operations:
        value = operation["value"]
        path = value["path"]
        match operation["key"]:
            case "file":
                after[path] = Blob(base64.b64decode(value["content"]))
            case "lfsFile":
                data = store.objects.get(value["oid"])
                if data is None or hashlib.sha256(data).hexdigest() != value["oid"]:
                    raise Refused(400, message=f"The large file of {path} was not uploaded")
                after[path] = Blob(data, large=True)
            case "deletedFile" if path in after:
                del after[path]
            case "deletedFolder" if any(name.startswith(f"{path.rstrip('/')}/") for name in after):
                after = {name: blob for name, blob in after.items() if not name.startswith(f"{path.rstrip('/')}/")}
            case "deletedFile" | "deletedFolder":
                raise Refused(404, "EntryNotFound", f"A file with this name doesn't exist: {path}")
            case other:
                raise Refused(400, message=f"Unknown operation {other}")
    return after
