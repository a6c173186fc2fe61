"""Who asks, and what they may do: the account of a request, and repositories opened in its name or refused."""

from tests.fake_hub.messages import HubHTTPError, Request
from tests.fake_hub.state import HubAccount, HubState, Repo, RepoKind


def get_account(store: HubState, request: Request) -> HubAccount | None:
    """Whose token it is; None without one. A wrong token is refused even where none is needed."""
    if request.token is None:
        return None
    if request.token not in store.accounts:
        raise HubHTTPError(401, message="Invalid credentials in Authorization header")
    return store.accounts[request.token]


def require_account(store: HubState, request: Request) -> HubAccount:
    account = get_account(store, request)
    if account is None:
        raise HubHTTPError(401, message="Invalid username or password.")
    return account


def open_repo(store: HubState, request: Request, kind: RepoKind, repo: str) -> Repo:
    """A repository that whoever asks may know of; a private one of others is not told from none."""
    account = get_account(store, request)
    found = store.repos.get((kind, repo))
    if found is None or (found.private and not (account and account.is_member_of(found.owner))):
        if account is None:
            raise HubHTTPError(401, "RepoNotFound", "Invalid username or password.")
        raise HubHTTPError(404, "RepoNotFound", "Repository not found")
    if found.disabled:
        raise HubHTTPError(403, message="Access to this resource is disabled.")
    return found


def open_readable_repo(store: HubState, request: Request, kind: RepoKind, repo: str) -> Repo:
    """A repository whose files whoever asks may read."""
    found, account = open_repo(store, request, kind, repo), get_account(store, request)
    if found.gated and not (account and (account.is_member_of(found.owner) or account.name in found.allowed_users)):
        raise HubHTTPError(
            403 if account else 401, "GatedRepo", f"Access to {repo} is restricted: you are not on its list."
        )
    return found


def open_writable_repo(store: HubState, request: Request, kind: RepoKind, repo: str) -> Repo:
    found, account = open_repo(store, request, kind, repo), require_account(store, request)
    if not account.can_write_to(found.owner):
        raise HubHTTPError(403, message=f"Forbidden: you don't have the rights to write to {repo}")
    return found
