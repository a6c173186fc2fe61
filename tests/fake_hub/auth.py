"""Accounts of requests, and access to repositories."""

from tests.fake_hub.messages import HubHTTPError, Request
from tests.fake_hub.state import HubAccount, HubState, Repo, RepoKind


def get_account(state: HubState, request: Request) -> HubAccount | None:
    """Return the account of the token; None without a token. An invalid token is an error also for public requests."""
    if request.token is None:
        return None
    if request.token not in state.accounts:
        raise HubHTTPError(401, message="Invalid credentials in Authorization header")
    return state.accounts[request.token]


def require_account(state: HubState, request: Request) -> HubAccount:
    account = get_account(state, request)
    if account is None:
        raise HubHTTPError(401, message="Invalid username or password.")
    return account


def open_repo(state: HubState, request: Request, kind: RepoKind, repo: str) -> Repo:
    """Return a repository that the account may see; a private repository of another owner counts as missing."""
    account = get_account(state, request)
    repository = state.repos.get((kind, repo))
    if repository is None or (repository.private and not (account and account.is_member_of(repository.owner))):
        if account is None:
            raise HubHTTPError(401, "RepoNotFound", "Invalid username or password.")
        raise HubHTTPError(404, "RepoNotFound", "Repository not found")
    if repository.disabled:
        raise HubHTTPError(403, message="Access to this resource is disabled.")
    return repository


def open_readable_repo(state: HubState, request: Request, kind: RepoKind, repo: str) -> Repo:
    """Return a repository whose files the account may read."""
    repository, account = open_repo(state, request, kind, repo), get_account(state, request)
    if repository.gated and not (
        account and (account.is_member_of(repository.owner) or account.name in repository.allowed_users)
    ):
        raise HubHTTPError(
            403 if account else 401, "GatedRepo", f"Access to {repo} is restricted: you are not on its list."
        )
    return repository


def open_writable_repo(state: HubState, request: Request, kind: RepoKind, repo: str) -> Repo:
    repository, account = open_repo(state, request, kind, repo), require_account(state, request)
    if not account.can_write_to(repository.owner):
        raise HubHTTPError(403, message=f"Forbidden: you don't have the rights to write to {repo}")
    return repository
