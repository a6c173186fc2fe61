"""Who asks, and what they may do: the account of a request, and repositories opened in its name or refused."""

from tests.fake_hub.messages import Refused, Request
from tests.fake_hub.state import Account, Kind, Repo, Store


def account_of(store: Store, request: Request) -> Account | None:
    """Whose token it is; None without one. A wrong token is refused even where none is needed."""
    if request.token is None:
        return None
    if request.token not in store.accounts:
        raise Refused(401, message="Invalid credentials in Authorization header")
    return store.accounts[request.token]


def need_account(store: Store, request: Request) -> Account:
    account = account_of(store, request)
    if account is None:
        raise Refused(401, message="Invalid username or password.")
    return account


def open_repo(store: Store, request: Request, kind: Kind, repo: str) -> Repo:
    """A repository that whoever asks may know of; a private one of others is not told from none."""
    account = account_of(store, request)
    found = store.repos.get((kind, repo))
    if found is None or (found.private and not (account and account.belongs_to(found.owner))):
        if account is None:
            raise Refused(401, "RepoNotFound", "Invalid username or password.")
        raise Refused(404, "RepoNotFound", "Repository not found")
    if found.disabled:
        raise Refused(403, message="Access to this resource is disabled.")
    return found


def open_files(store: Store, request: Request, kind: Kind, repo: str) -> Repo:
    """A repository whose files whoever asks may read."""
    found, account = open_repo(store, request, kind, repo), account_of(store, request)
    if found.gated and not (account and (account.belongs_to(found.owner) or account.name in found.granted)):
        raise Refused(403 if account else 401, "GatedRepo", f"Access to {repo} is restricted: you are not on its list.")
    return found


def open_for_writing(store: Store, request: Request, kind: Kind, repo: str) -> Repo:
    found, account = open_repo(store, request, kind, repo), need_account(store, request)
    if not account.may_write_to(found.owner):
        raise Refused(403, message=f"Forbidden: you don't have the rights to write to {repo}")
    return found
