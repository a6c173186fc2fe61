"""What the Hub answers about accounts and repositories: who is it, make one, list them, and what is in one."""

import json
from typing import Any
from urllib.parse import parse_qs, urlencode

import yaml

from tests.fake_hub.auth import account_of, need_account, open_files, open_for_writing, open_repo
from tests.fake_hub.messages import Answer, Refused, Request, json_answer
from tests.fake_hub.routing import REPO, Routes
from tests.fake_hub.state import MAIN, Commit, Kind, Repo, Store, content_at, folders_of, git_hash

API = Routes()


# --- accounts ----------------------------------------------------------------------------------------------------


@API.route("GET", "/api/whoami-v2")
def whoami(store: Store, request: Request) -> Answer:
    account = need_account(store, request)
    orgs = [{"type": "org", "name": name, "fullname": name, "roleInOrg": role} for name, role in account.orgs.items()]
    token = {"displayName": account.role, "role": account.role, "createdAt": "2026-01-01T00:00:00.000Z"}
    return json_answer(
        {
            "type": "user",
            "id": git_hash("user", account.name.encode())[:24],
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
def auth_check(store: Store, request: Request, kind: Kind, repo: str) -> Answer:
    open_files(store, request, kind, repo)
    return json_answer({})


@API.route("GET", f"{REPO}/auth-check/write")
def auth_check_write(store: Store, request: Request, kind: Kind, repo: str) -> Answer:
    open_for_writing(store, request, kind, repo)
    return json_answer({})


@API.route("GET", "/api/agent-harnesses")
def agent_harnesses(store: Store, request: Request) -> Answer:
    return json_answer({"standardEnvVars": [], "harnesses": {}})


# --- repositories ------------------------------------------------------------------------------------------------


def kind_of(said: dict[str, Any]) -> Kind:
    kinds: dict[str, Kind] = {"dataset": "datasets", "space": "spaces"}
    return kinds.get(said.get("type") or "model", "models")


@API.route("POST", "/api/repos/create")
def create_repo(store: Store, request: Request) -> Answer:
    account, said = need_account(store, request), request.json()
    owner = said.get("organization") or account.name
    if not account.may_write_to(owner):
        raise Refused(403, message=f"You don't have the rights to create a model under the namespace {owner!r}")
    kind, id = kind_of(said), f"{owner}/{said['name']}"
    found = store.repos.get((kind, id))
    repo = found or store.create(kind, id, account.name, private=said.get("visibility") == "private")
    body = {"url": f"{store.url}/{repo.address}", "name": id, "id": git_hash("repo", id.encode())[:24]}
    if found:
        return json_answer(body | {"error": f"You already created this {kind[:-1]} repo"}, 409)
    return json_answer(body)


@API.route("DELETE", "/api/repos/delete")
def delete_repo(store: Store, request: Request) -> Answer:
    said = request.json()
    owner = said.get("organization") or need_account(store, request).name
    repo = open_for_writing(store, request, kind_of(said), f"{owner}/{said['name']}")
    del store.repos[repo.kind, repo.id]
    return Answer(200, b"OK")


@API.route("PUT", f"{REPO}/settings")
def settings(store: Store, request: Request, kind: Kind, repo: str) -> Answer:
    found, said = open_for_writing(store, request, kind, repo), request.json()
    if "visibility" in said:
        found.private = said["visibility"] == "private"
    if "gated" in said:
        found.gated = said["gated"]
    return json_answer({"private": found.private, "gated": found.gated})


def card_of(commit: Commit) -> dict[str, Any]:
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


def describe(repo: Repo, commit: Commit) -> dict[str, Any]:
    card = card_of(commit)
    named = {name: card[name] for name in ("library_name", "pipeline_tag") if name in card}
    tags = [card["tags"]] if isinstance(card.get("tags"), str) else card.get("tags") or []
    license = [f"license:{card['license']}"] if "license" in card else []
    extra = {"sdk": card.get("sdk")} if repo.kind == "spaces" else {}
    return (
        named
        | extra
        | {
            "_id": git_hash("repo", repo.id.encode())[:24],
            "id": repo.id,
            "modelId": repo.id,
            "author": repo.owner,
            "sha": commit.oid,
            "private": repo.private,
            "gated": repo.gated,
            "disabled": repo.disabled,
            "downloads": 0,
            "likes": 0,
            "createdAt": repo.created,
            "lastModified": commit.date,
            "cardData": card,
            "tags": list(dict.fromkeys([*named.values(), *tags, *license, "region:us"])),
            "siblings": [{"rfilename": path} for path in commit.files],
        }
    )


def listed(said: dict[str, Any], request: Request) -> dict[str, Any]:
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
    full = set(said) - {"cardData"} if request.asks("full") else set()
    shown = set(request.query.get("expand", brief)) | {"_id", "id"} | full
    return {name: value for name, value in said.items() if name in shown or (name == "cardData" and request.asks(name))}


@API.route("GET", REPO, f"{REPO}/revision/{{revision}}")
def info(store: Store, request: Request, kind: Kind, repo: str, revision: str = MAIN) -> Answer:
    found = open_repo(store, request, kind, repo)
    commit = found.find(revision)
    said = describe(found, commit)
    if request.asks("blobs"):
        for sibling, blob in zip(said["siblings"], commit.files.values(), strict=True):
            sibling |= {"size": len(blob.data), "blobId": blob.oid}
            if blob.large:
                sibling["lfs"] = {"sha256": blob.sha256, "size": len(blob.data), "pointerSize": len(blob.pointer)}
    return json_answer(said)


@API.route("GET", "/api/{kind}")
def list_repos(store: Store, request: Request, kind: Kind) -> Answer:
    """By author, words of the name and tags; newest first if sorted by time, else by name."""
    account, query = account_of(store, request), request.query
    found = []
    for repo in store.repos.values():
        if repo.kind != kind or repo.disabled or (repo.private and not (account and account.belongs_to(repo.owner))):
            continue
        said = describe(repo, repo.find(MAIN))
        if repo.owner != query.get("author", [repo.owner])[0] or not set(query.get("filter", [])) <= set(said["tags"]):
            continue
        if query.get("search", [""])[0].lower() in repo.id.lower():
            found.append(said)
    found.sort(key=lambda said: said["id"])
    if (order := query.get("sort", [""])[0]) in ("lastModified", "createdAt"):
        found.sort(key=lambda said: said[order], reverse=True)
    return page(store, request, [listed(said, request) for said in found])


def page(store: Store, request: Request, items: list[Any]) -> Answer:
    """As many items as one answer may hold, with a link to the next ones."""
    query = request.query
    size = min(store.page_size, int(query.get("limit", [store.page_size])[0]))
    start = int(query.pop("cursor", ["0"])[0])
    following = f"{store.url}{request.path}?{urlencode({**query, 'cursor': start + size}, doseq=True)}"
    link = {"Link": f'<{following}>; rel="next"'} if start + size < len(items) else {}
    return json_answer(items[start : start + size], headers=link)


# --- listings ----------------------------------------------------------------------------------------------------


def entry(repo: Repo, commit: Commit, path: str, expand: bool) -> dict[str, Any]:
    """A file or a folder, as tree and paths-info list it."""
    blob = commit.files.get(path)
    if blob is None:
        oid = git_hash("tree", json.dumps(content_at(commit, path)).encode())
        said: dict[str, Any] = {"type": "directory", "oid": oid, "size": 0, "path": path}
    else:
        said = {"type": "file", "oid": blob.oid, "size": len(blob.data), "path": path}
        if blob.large:
            said["lfs"] = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": len(blob.pointer)}
    if expand:
        last = repo.changed(commit, path)
        said["lastCommit"] = {"id": last.oid, "title": last.title, "date": last.date}
    return said


@API.route("GET", f"{REPO}/tree/{{revision}}", f"{REPO}/tree/{{revision}}/{{path*}}")
def tree(store: Store, request: Request, kind: Kind, repo: str, revision: str, path: str = "") -> Answer:
    found = open_repo(store, request, kind, repo)
    commit = found.find(revision)
    known = sorted({*commit.files, *folders_of(commit.files)})
    prefix = f"{path.strip('/')}/" if path else ""
    names = [name for name in known if name.startswith(prefix)]
    if prefix and not names:
        raise Refused(404, "EntryNotFound", f'{path} does not exist on "{revision}"')
    if not request.asks("recursive"):
        names = [name for name in names if "/" not in name.removeprefix(prefix)]
    return page(store, request, [entry(found, commit, name, request.asks("expand")) for name in names])


@API.route("POST", f"{REPO}/paths-info/{{revision}}")
def paths_info(store: Store, request: Request, kind: Kind, repo: str, revision: str) -> Answer:
    found = open_repo(store, request, kind, repo)
    commit, said = found.find(revision), parse_qs(request.body.decode())
    known = {*commit.files, *folders_of(commit.files)}
    expand = said.get("expand", ["false"])[0].lower() == "true"
    paths = [path.strip("/") for path in said.get("paths", [])]
    return json_answer([entry(found, commit, path, expand) for path in paths if path in known])


@API.route("GET", f"{REPO}/commits/{{revision}}")
def commits(store: Store, request: Request, kind: Kind, repo: str, revision: str) -> Answer:
    found = open_repo(store, request, kind, repo)
    shown = [
        {"id": c.oid, "title": c.title, "message": c.message, "authors": [{"user": c.author}], "date": c.date}
        for c in found.walk(found.find(revision))
    ]
    return page(store, request, shown)


@API.route("GET", f"{REPO}/refs")
def refs(store: Store, request: Request, kind: Kind, repo: str) -> Answer:
    found = open_repo(store, request, kind, repo)

    def described(names: dict[str, str], folder: str) -> list[dict[str, str]]:
        return [{"name": n, "ref": f"refs/{folder}/{n}", "targetCommit": oid} for n, oid in names.items()]

    return json_answer(
        {"branches": described(found.branches, "heads"), "tags": described(found.tags, "tags"), "converts": []}
    )


@API.route("POST", f"{REPO}/branch/{{name}}")
def create_branch(store: Store, request: Request, kind: Kind, repo: str, name: str) -> Answer:
    found = open_for_writing(store, request, kind, repo)
    return create_ref(found, found.branches, name, request.json().get("startingPoint") or MAIN)


@API.route("POST", f"{REPO}/tag/{{revision}}")
def create_tag(store: Store, request: Request, kind: Kind, repo: str, revision: str) -> Answer:
    found = open_for_writing(store, request, kind, repo)
    return create_ref(found, found.tags, request.json()["tag"], revision)


def create_ref(repo: Repo, names: dict[str, str], name: str, revision: str) -> Answer:
    if name in names:
        raise Refused(409, message=f"Reference {name} already exists")
    names[name] = repo.find(revision).oid
    return json_answer({"success": True})


@API.route("DELETE", f"{REPO}/branch/{{name}}", f"{REPO}/tag/{{name}}")
def delete_ref(store: Store, request: Request, kind: Kind, repo: str, name: str) -> Answer:
    found = open_for_writing(store, request, kind, repo)
    names = found.branches if "/branch/" in request.path else found.tags
    if names.pop(name, None) is None:
        raise Refused(404, "RevisionNotFound", f"Reference {name} does not exist")
    return json_answer({"success": True})
