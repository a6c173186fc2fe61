"""What the Hub answers about accounts and repositories: who is it, make one, list them, and what is in one."""

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
def whoami(store: HubState, request: Request) -> Response:
    account = require_account(store, request)
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
            "avatarUrl": f"{store.url}/avatars/{account.name}.svg",
            "orgs": orgs,
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


@API.route("GET", f"{REPO}/auth-check")
def check_read_access(store: HubState, request: Request, kind: RepoKind, repo: str) -> Response:
    open_readable_repo(store, request, kind, repo)
    return make_json_response({})


@API.route("GET", f"{REPO}/auth-check/write")
def check_write_access(store: HubState, request: Request, kind: RepoKind, repo: str) -> Response:
    open_writable_repo(store, request, kind, repo)
    return make_json_response({})


@API.route("GET", "/api/agent-harnesses")
def list_agent_harnesses(store: HubState, request: Request) -> Response:
    return make_json_response({"standardEnvVars": [], "harnesses": {}})


# --- repositories ------------------------------------------------------------------------------------------------


def parse_repo_kind(body: dict[str, Any]) -> RepoKind:
    kinds: dict[str, RepoKind] = {"dataset": "datasets", "space": "spaces"}
    return kinds.get(body.get("type") or "model", "models")


@API.route("POST", "/api/repos/create")
def create_repo(store: HubState, request: Request) -> Response:
    account, said = require_account(store, request), request.json()
    owner = said.get("organization") or account.name
    if not account.can_write_to(owner):
        raise HubHTTPError(403, message=f"You don't have the rights to create a model under the namespace {owner!r}")
    kind, id = parse_repo_kind(said), f"{owner}/{said['name']}"
    found = store.repos.get((kind, id))
    repo = found or store.create_repo(kind, id, account.name, private=said.get("visibility") == "private")
    body = {"url": f"{store.url}/{repo.url_path}", "name": id, "id": compute_git_hash("repo", id.encode())[:24]}
    if found:
        return make_json_response(body | {"error": f"You already created this {kind[:-1]} repo"}, 409)
    return make_json_response(body)


@API.route("DELETE", "/api/repos/delete")
def delete_repo(store: HubState, request: Request) -> Response:
    said = request.json()
    owner = said.get("organization") or require_account(store, request).name
    repo = open_writable_repo(store, request, parse_repo_kind(said), f"{owner}/{said['name']}")
    del store.repos[repo.kind, repo.repo_id]
    return Response(200, b"OK")


@API.route("PUT", f"{REPO}/settings")
def update_settings(store: HubState, request: Request, kind: RepoKind, repo: str) -> Response:
    found, said = open_writable_repo(store, request, kind, repo), request.json()
    if "visibility" in said:
        found.private = said["visibility"] == "private"
    if "gated" in said:
        found.gated = said["gated"]
    return make_json_response({"private": found.private, "gated": found.gated})


def parse_card(commit: RepoCommit) -> dict[str, Any]:
    """What README.md says at its top."""
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
    """What a list of repositories says of each one: little, unless more is asked for."""
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
def get_repo_info(store: HubState, request: Request, kind: RepoKind, repo: str, revision: str = MAIN) -> Response:
    found = open_repo(store, request, kind, repo)
    commit = found.find(revision)
    said = describe_repo(found, commit)
    if request.has_flag("blobs"):
        for sibling, blob in zip(said["siblings"], commit.files.values(), strict=True):
            sibling |= {"size": len(blob.data), "blobId": blob.oid}
            if blob.is_lfs:
                sibling["lfs"] = {"sha256": blob.sha256, "size": len(blob.data), "pointerSize": len(blob.pointer)}
    return make_json_response(said)


@API.route("GET", "/api/{kind}")
def list_repos(store: HubState, request: Request, kind: RepoKind) -> Response:
    """By author, words of the name and tags; newest first if sorted by time, else by name."""
    account, query = get_account(store, request), request.query
    found = []
    for repo in store.repos.values():
        if repo.kind != kind or repo.disabled or (repo.private and not (account and account.is_member_of(repo.owner))):
            continue
        said = describe_repo(repo, repo.find(MAIN))
        if repo.owner != query.get("author", [repo.owner])[0] or not set(query.get("filter", [])) <= set(said["tags"]):
            continue
        if query.get("search", [""])[0].lower() in repo.repo_id.lower():
            found.append(said)
    found.sort(key=lambda said: said["id"])
    if (order := query.get("sort", [""])[0]) in ("lastModified", "createdAt"):
        found.sort(key=lambda said: said[order], reverse=True)
    return paginate(store, request, [select_listed_fields(said, request) for said in found])


def paginate(store: HubState, request: Request, items: list[Any]) -> Response:
    """As many items as one answer may hold, with a link to the next ones."""
    query = request.query
    size = min(store.page_size, int(query.get("limit", [store.page_size])[0]))
    start = int(query.pop("cursor", ["0"])[0])
    following = f"{store.url}{request.path}?{urlencode({**query, 'cursor': start + size}, doseq=True)}"
    link = {"Link": f'<{following}>; rel="next"'} if start + size < len(items) else {}
    return make_json_response(items[start : start + size], headers=link)


# --- listings ----------------------------------------------------------------------------------------------------


def build_entry(repo: Repo, commit: RepoCommit, path: str, expand: bool) -> dict[str, Any]:
    """A file or a folder, as tree and paths-info list it."""
    blob = commit.files.get(path)
    if blob is None:
        oid = compute_git_hash("tree", json.dumps(get_content(commit, path)).encode())
        said: dict[str, Any] = {"type": "directory", "oid": oid, "size": 0, "path": path}
    else:
        said = {"type": "file", "oid": blob.oid, "size": len(blob.data), "path": path}
        if blob.is_lfs:
            said["lfs"] = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": len(blob.pointer)}
    if expand:
        last = repo.find_last_change(commit, path)
        said["lastCommit"] = {"id": last.oid, "title": last.title, "date": last.date}
    return said


@API.route("GET", f"{REPO}/tree/{{revision}}", f"{REPO}/tree/{{revision}}/{{path*}}")
def list_tree(store: HubState, request: Request, kind: RepoKind, repo: str, revision: str, path: str = "") -> Response:
    found = open_repo(store, request, kind, repo)
    commit = found.find(revision)
    known = sorted({*commit.files, *list_folders(commit.files)})
    prefix = f"{path.strip('/')}/" if path else ""
    names = [name for name in known if name.startswith(prefix)]
    if prefix and not names:
        raise HubHTTPError(404, "EntryNotFound", f'{path} does not exist on "{revision}"')
    if not request.has_flag("recursive"):
        names = [name for name in names if "/" not in name.removeprefix(prefix)]
    return paginate(store, request, [build_entry(found, commit, name, request.has_flag("expand")) for name in names])


@API.route("POST", f"{REPO}/paths-info/{{revision}}")
def list_paths_info(store: HubState, request: Request, kind: RepoKind, repo: str, revision: str) -> Response:
    found = open_repo(store, request, kind, repo)
    commit, said = found.find(revision), parse_qs(request.body.decode())
    known = {*commit.files, *list_folders(commit.files)}
    expand = said.get("expand", ["false"])[0].lower() == "true"
    paths = [path.strip("/") for path in said.get("paths", [])]
    return make_json_response([build_entry(found, commit, path, expand) for path in paths if path in known])


@API.route("GET", f"{REPO}/commits/{{revision}}")
def list_commits(store: HubState, request: Request, kind: RepoKind, repo: str, revision: str) -> Response:
    found = open_repo(store, request, kind, repo)
    shown = [
        {"id": c.oid, "title": c.title, "message": c.message, "authors": [{"user": c.author}], "date": c.date}
        for c in found.walk(found.find(revision))
    ]
    return paginate(store, request, shown)


@API.route("GET", f"{REPO}/refs")
def list_refs(store: HubState, request: Request, kind: RepoKind, repo: str) -> Response:
    found = open_repo(store, request, kind, repo)

    def described(names: dict[str, str], folder: str) -> list[dict[str, str]]:
        return [{"name": n, "ref": f"refs/{folder}/{n}", "targetCommit": oid} for n, oid in names.items()]

    return make_json_response(
        {"branches": described(found.branches, "heads"), "tags": described(found.tags, "tags"), "converts": []}
    )


@API.route("POST", f"{REPO}/branch/{{name}}")
def create_branch(store: HubState, request: Request, kind: RepoKind, repo: str, name: str) -> Response:
    found = open_writable_repo(store, request, kind, repo)
    return create_ref(found, found.branches, name, request.json().get("startingPoint") or MAIN)


@API.route("POST", f"{REPO}/tag/{{revision}}")
def create_tag(store: HubState, request: Request, kind: RepoKind, repo: str, revision: str) -> Response:
    found = open_writable_repo(store, request, kind, repo)
    return create_ref(found, found.tags, request.json()["tag"], revision)


def create_ref(repo: Repo, names: dict[str, str], name: str, revision: str) -> Response:
    if name in names:
        raise HubHTTPError(409, message=f"Reference {name} already exists")
    names[name] = repo.find(revision).oid
    return make_json_response({"success": True})


@API.route("DELETE", f"{REPO}/branch/{{name}}", f"{REPO}/tag/{{name}}")
def delete_ref(store: HubState, request: Request, kind: RepoKind, repo: str, name: str) -> Response:
    found = open_writable_repo(store, request, kind, repo)
    names = found.branches if "/branch/" in request.path else found.tags
    if names.pop(name, None) is None:
        raise HubHTTPError(404, "RevisionNotFound", f"Reference {name} does not exist")
    return make_json_response({"success": True})
