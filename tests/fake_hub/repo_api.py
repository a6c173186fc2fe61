"""API of accounts and repositories: whoami, create, delete, list and describe repositories."""

import json
from typing import Any
from urllib.parse import parse_qs, urlencode

import yaml

from tests.fake_hub.auth import get_account, open_readable_repo, open_repo, open_writable_repo, require_account
from tests.fake_hub.messages import HubHTTPError, Request, Response, make_json_response
from tests.fake_hub.routing import REPO, Routes
from tests.fake_hub.state import MAIN, HubState, Repo, RepoCommit, RepoKind, compute_git_hash, get_content, list_folders

API = Routes()


# --- accounts ----------------------------------------------------------------------------------------------------


@API.route("GET", "/api/whoami-v2")
def whoami(state: HubState, request: Request) -> Response:
    account = require_account(state, request)
    orgs = [{"type": "org", "name": name, "fullname": name, "roleInOrg": role} for name, role in account.orgs.items()]
    token = {"displayName": account.role, "role": account.role, "createdAt": "2026-01-01T00:00:00.000Z"}
    return make_json_response(
        {
            "type": "user",
            "id": compute_git_hash("user", account.name.encode())[:24],
            "name": account.name,
            "fullname": account.name.title(),
            "email": f"{account.name}@example.org",
            "emailVerified": True,
            "isPro": False,
            "avatarUrl": f"{state.url}/avatars/{account.name}.svg",
            "orgs": orgs,
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


@API.route("GET", f"{REPO}/auth-check")
def check_read_access(state: HubState, request: Request, kind: RepoKind, repo: str) -> Response:
    open_readable_repo(state, request, kind, repo)
    return make_json_response({})


@API.route("GET", f"{REPO}/auth-check/write")
def check_write_access(state: HubState, request: Request, kind: RepoKind, repo: str) -> Response:
    open_writable_repo(state, request, kind, repo)
    return make_json_response({})


@API.route("GET", "/api/agent-harnesses")
def list_agent_harnesses(state: HubState, request: Request) -> Response:
    return make_json_response({"standardEnvVars": [], "harnesses": {}})


# --- repositories ------------------------------------------------------------------------------------------------


def parse_repo_kind(body: dict[str, Any]) -> RepoKind:
    kinds: dict[str, RepoKind] = {"dataset": "datasets", "space": "spaces"}
    return kinds.get(body.get("type") or "model", "models")


@API.route("POST", "/api/repos/create")
def create_repo(state: HubState, request: Request) -> Response:
    account, payload = require_account(state, request), request.json()
    owner = payload.get("organization") or account.name
    if not account.can_write_to(owner):
        raise HubHTTPError(403, message=f"You don't have the rights to create a model under the namespace {owner!r}")
    kind, repo_id = parse_repo_kind(payload), f"{owner}/{payload['name']}"
    existing_repo = state.repos.get((kind, repo_id))
    repo = existing_repo or state.create_repo(
        kind, repo_id, account.name, private=payload.get("visibility") == "private"
    )
    body = {
        "url": f"{state.url}/{repo.url_path}",
        "name": repo_id,
        "id": compute_git_hash("repo", repo_id.encode())[:24],
    }
    if existing_repo:
        return make_json_response(body | {"error": f"You already created this {kind[:-1]} repo"}, 409)
    return make_json_response(body)


@API.route("DELETE", "/api/repos/delete")
def delete_repo(state: HubState, request: Request) -> Response:
    payload = request.json()
    owner = payload.get("organization") or require_account(state, request).name
    repo = open_writable_repo(state, request, parse_repo_kind(payload), f"{owner}/{payload['name']}")
    del state.repos[repo.kind, repo.repo_id]
    return Response(200, b"OK")


@API.route("PUT", f"{REPO}/settings")
def update_settings(state: HubState, request: Request, kind: RepoKind, repo: str) -> Response:
    repository, payload = open_writable_repo(state, request, kind, repo), request.json()
    if "visibility" in payload:
        repository.private = payload["visibility"] == "private"
    if "gated" in payload:
        repository.gated = payload["gated"]
    return make_json_response({"private": repository.private, "gated": repository.gated})


def parse_card(commit: RepoCommit) -> dict[str, Any]:
    """Parse the front matter of README.md."""
    text = commit.files["README.md"].data.decode("utf-8", "replace") if "README.md" in commit.files else ""
    parts = text.split("---\n", 2)
    if parts[0] or len(parts) < 3:
        return {}
    try:
        card = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}
    return json.loads(json.dumps(card, default=str)) if isinstance(card, dict) else {}


def describe_repo(repo: Repo, commit: RepoCommit) -> dict[str, Any]:
    card = parse_card(commit)
    named = {name: card[name] for name in ("library_name", "pipeline_tag") if name in card}
    tags = [card["tags"]] if isinstance(card.get("tags"), str) else card.get("tags") or []
    license = [f"license:{card['license']}"] if "license" in card else []
    extra = {"sdk": card.get("sdk")} if repo.kind == "spaces" else {}
    return (
        named
        | extra
        | {
            "_id": compute_git_hash("repo", repo.repo_id.encode())[:24],
            "id": repo.repo_id,
            "modelId": repo.repo_id,
            "author": repo.owner,
            "sha": commit.oid,
            "private": repo.private,
            "gated": repo.gated,
            "disabled": repo.disabled,
            "downloads": 0,
            "likes": 0,
            "createdAt": repo.created_at,
            "lastModified": commit.date,
            "cardData": card,
            "tags": list(dict.fromkeys([*named.values(), *tags, *license, "region:us"])),
            "siblings": [{"rfilename": path} for path in commit.files],
        }
    )


def select_listed_fields(description: dict[str, Any], request: Request) -> dict[str, Any]:
    """Describe a repository in a listing: a few fields, more with `full` or `expand`."""
    brief = {
        "_id",
        "id",
        "modelId",
        "private",
        "downloads",
        "likes",
        "tags",
        "library_name",
        "pipeline_tag",
        "createdAt",
    }
    full = set(description) - {"cardData"} if request.has_flag("full") else set()
    shown = set(request.query.get("expand", brief)) | {"_id", "id"} | full
    return {
        name: value
        for name, value in description.items()
        if name in shown or (name == "cardData" and request.has_flag(name))
    }


@API.route("GET", REPO, f"{REPO}/revision/{{revision}}")
def get_repo_info(state: HubState, request: Request, kind: RepoKind, repo: str, revision: str = MAIN) -> Response:
    repository = open_repo(state, request, kind, repo)
    commit = repository.find(revision)
    description = describe_repo(repository, commit)
    if request.has_flag("blobs"):
        for sibling, blob in zip(description["siblings"], commit.files.values(), strict=True):
            sibling |= {"size": len(blob.data), "blobId": blob.oid}
            if blob.is_lfs:
                sibling["lfs"] = {"sha256": blob.sha256, "size": len(blob.data), "pointerSize": len(blob.pointer)}
    return make_json_response(description)


@API.route("GET", "/api/{kind}")
def list_repos(state: HubState, request: Request, kind: RepoKind) -> Response:
    """Filter repositories by author, words of the name and tags; sort by time, newest first, or by name."""
    account, query = get_account(state, request), request.query
    descriptions = []
    for repo in state.repos.values():
        if repo.kind != kind or repo.disabled or (repo.private and not (account and account.is_member_of(repo.owner))):
            continue
        description = describe_repo(repo, repo.find(MAIN))
        if repo.owner != query.get("author", [repo.owner])[0] or not set(query.get("filter", [])) <= set(
            description["tags"]
        ):
            continue
        if query.get("search", [""])[0].lower() in repo.repo_id.lower():
            descriptions.append(description)
    descriptions.sort(key=lambda description: description["id"])
    if (order := query.get("sort", [""])[0]) in ("lastModified", "createdAt"):
        descriptions.sort(key=lambda description: description[order], reverse=True)
    return paginate(state, request, [select_listed_fields(description, request) for description in descriptions])


def paginate(state: HubState, request: Request, items: list[Any]) -> Response:
    """Build the response with one page of items and a link to the next page."""
    query = request.query
    size = min(state.page_size, int(query.get("limit", [state.page_size])[0]))
    start = int(query.pop("cursor", ["0"])[0])
    following = f"{state.url}{request.path}?{urlencode({**query, 'cursor': start + size}, doseq=True)}"
    link = {"Link": f'<{following}>; rel="next"'} if start + size < len(items) else {}
    return make_json_response(items[start : start + size], headers=link)


# --- listings ----------------------------------------------------------------------------------------------------


def build_entry(repo: Repo, commit: RepoCommit, path: str, expand: bool) -> dict[str, Any]:
    """Describe a file or a directory as tree and paths-info do."""
    blob = commit.files.get(path)
    if blob is None:
        oid = compute_git_hash("tree", json.dumps(get_content(commit, path)).encode())
        entry: dict[str, Any] = {"type": "directory", "oid": oid, "size": 0, "path": path}
    else:
        entry = {"type": "file", "oid": blob.oid, "size": len(blob.data), "path": path}
        if blob.is_lfs:
            entry["lfs"] = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": len(blob.pointer)}
    if expand:
        last = repo.find_last_change(commit, path)
        entry["lastCommit"] = {"id": last.oid, "title": last.title, "date": last.date}
    return entry


@API.route("GET", f"{REPO}/tree/{{revision}}", f"{REPO}/tree/{{revision}}/{{path*}}")
def list_tree(state: HubState, request: Request, kind: RepoKind, repo: str, revision: str, path: str = "") -> Response:
    repository = open_repo(state, request, kind, repo)
    commit = repository.find(revision)
    paths = sorted({*commit.files, *list_folders(commit.files)})
    prefix = f"{path.strip('/')}/" if path else ""
    names = [name for name in paths if name.startswith(prefix)]
    if prefix and not names:
        raise HubHTTPError(404, "EntryNotFound", f'{path} does not exist on "{revision}"')
    if not request.has_flag("recursive"):
        names = [name for name in names if "/" not in name.removeprefix(prefix)]
    return paginate(
        state, request, [build_entry(repository, commit, name, request.has_flag("expand")) for name in names]
    )


@API.route("POST", f"{REPO}/paths-info/{{revision}}")
def list_paths_info(state: HubState, request: Request, kind: RepoKind, repo: str, revision: str) -> Response:
    repository = open_repo(state, request, kind, repo)
    commit, payload = repository.find(revision), parse_qs(request.body.decode())
    known_paths = {*commit.files, *list_folders(commit.files)}
    expand = payload.get("expand", ["false"])[0].lower() == "true"
    paths = [path.strip("/") for path in payload.get("paths", [])]
    return make_json_response([build_entry(repository, commit, path, expand) for path in paths if path in known_paths])


@API.route("GET", f"{REPO}/commits/{{revision}}")
def list_commits(state: HubState, request: Request, kind: RepoKind, repo: str, revision: str) -> Response:
    repository = open_repo(state, request, kind, repo)
    shown = [
        {"id": c.oid, "title": c.title, "message": c.message, "authors": [{"user": c.author}], "date": c.date}
        for c in repository.walk(repository.find(revision))
    ]
    return paginate(state, request, shown)


@API.route("GET", f"{REPO}/refs")
def list_refs(state: HubState, request: Request, kind: RepoKind, repo: str) -> Response:
    repository = open_repo(state, request, kind, repo)

    def describe_refs(names: dict[str, str], prefix: str) -> list[dict[str, str]]:
        return [{"name": n, "ref": f"refs/{prefix}/{n}", "targetCommit": oid} for n, oid in names.items()]

    return make_json_response(
        {
            "branches": describe_refs(repository.branches, "heads"),
            "tags": describe_refs(repository.tags, "tags"),
            "converts": [],
        }
    )


@API.route("POST", f"{REPO}/branch/{{name}}")
def create_branch(state: HubState, request: Request, kind: RepoKind, repo: str, name: str) -> Response:
    repository = open_writable_repo(state, request, kind, repo)
    return create_ref(repository, repository.branches, name, request.json().get("startingPoint") or MAIN)


@API.route("POST", f"{REPO}/tag/{{revision}}")
def create_tag(state: HubState, request: Request, kind: RepoKind, repo: str, revision: str) -> Response:
    repository = open_writable_repo(state, request, kind, repo)
    return create_ref(repository, repository.tags, request.json()["tag"], revision)


def create_ref(repo: Repo, names: dict[str, str], name: str, revision: str) -> Response:
    if name in names:
        raise HubHTTPError(409, message=f"Reference {name} already exists")
    names[name] = repo.find(revision).oid
    return make_json_response({"success": True})


@API.route("DELETE", f"{REPO}/branch/{{name}}", f"{REPO}/tag/{{name}}")
def delete_ref(state: HubState, request: Request, kind: RepoKind, repo: str, name: str) -> Response:
    repository = open_writable_repo(state, request, kind, repo)
    names = repository.branches if "/branch/" in request.path else repository.tags
    if names.pop(name, None) is None:
        raise HubHTTPError(404, "RevisionNotFound", f"Reference {name} does not exist")
    return make_json_response({"success": True})
