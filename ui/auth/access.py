"""Authorization: who may start and control training. Checked on the server, for the request of every action.

    on a Space                    its owner, signed in with Hugging Face, or a member with write access to the owning
                                  organization
    CTM_ADMIN_TOKEN is set        users who log in with the token or send it in a header
    listens on this host only     users of this host
    otherwise                     nobody

Hiding a control on the page protects nothing: a handler that changes something calls `Access.require_owner` first.
"""

import importlib.util
from collections.abc import Mapping
from typing import Any

from ui.auth.authenticators import (
    ADMIN_TOKEN_ENV,
    MIN_TOKEN_LENGTH,
    AccessDenied,
    AccessMode,
    Authenticator,
    ClosedAuthenticator,
    LocalAuthenticator,
    SpaceAuthenticator,
    TokenAuthenticator,
    User,
)
from ui.server.request_info import get_http_connection, is_loopback, is_same_origin
from ui.services.accounts import Accounts

__all__ = ["Access", "AccessDenied", "User"]

OAUTH_VARIABLES = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")
OAUTH_PACKAGES = ("authlib", "itsdangerous")


class Access:
    """Decides who may train. Built once per app and called with the request of every action.

    Args:
        authenticator: Identifies the user of a request.
        hosts: Host names of the app besides the one in a request.
    """

    def __init__(self, authenticator: Authenticator, hosts: tuple[str, ...] = ()) -> None:
        self.authenticator = authenticator
        self.hosts = hosts

    @property
    def mode(self) -> AccessMode:
        """Return how users are identified."""
        return self.authenticator.mode

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], listen_host: str) -> "Access":
        """Choose the authenticator for this host.

        Args:
            environment: Environment of the process.
            listen_host: Name or address that the app listens on.

        Raises:
            ValueError: CTM_ADMIN_TOKEN is too weak.
        """
        if "SPACE_ID" in environment:
            owner = environment.get("SPACE_AUTHOR_NAME") or environment["SPACE_ID"].partition("/")[0]
            if reason := find_oauth_problem(environment, owner):
                return cls(ClosedAuthenticator(reason))
            hosts = tuple(name.strip() for name in environment.get("SPACE_HOST", "").split(",") if name.strip())
            return cls(SpaceAuthenticator(owner, Accounts()), hosts)
        if token := environment.get(ADMIN_TOKEN_ENV):
            return cls(TokenAuthenticator(token))
        if is_loopback(listen_host):
            return cls(LocalAuthenticator())
        return cls(
            ClosedAuthenticator(
                f"other computers can reach this app at {listen_host}, and no administrator's token is set; "
                f"set {ADMIN_TOKEN_ENV} to a secret of at least {MIN_TOKEN_LENGTH} characters and restart the app"
            )
        )

    def get_current_user(self, request: Any) -> User | None:
        """Return the user of a request if they may train, else None. Never raises."""
        try:
            return self.require_owner(request)
        except AccessDenied:
            return None

    def require_owner(self, request: Any) -> User:
        """Return the user of a request, who may train.

        Args:
            request: Request of Gradio or Starlette.

        Raises:
            AccessDenied: The user may not train.
        """
        connection = get_http_connection(request)
        if connection is None:
            raise AccessDenied("Training is off for this request: its origin is unknown.")
        if self.mode != "closed" and not is_same_origin(connection, self.hosts):
            raise AccessDenied(
                "This request came from a page of another origin: open the app itself. If the app is behind a proxy, the "
                "proxy must forward the Host header."
            )
        return self.authenticator.authenticate(connection)

    def describe_access(self, request: Any) -> str:
        """Return one sentence that says whether the visitor may train, and why."""
        try:
            user = self.require_owner(request)
        except AccessDenied as error:
            return str(error)
        match user.auth_method:
            case "local":
                return "Training is on: only this computer can reach the app."
            case "token":
                return "Training is on: you are logged in as the administrator."
            case "oauth":
                return f"Training is on: you are signed in as {user.name}."


def find_oauth_problem(environment: Mapping[str, str], owner: str) -> str:
    """Return why visitors of this Space cannot sign in, with the remedy; empty if they can.

    Gradio decides by SYSTEM whether this is a Space. If it is not, Gradio mocks the sign-in: every visitor becomes the
    account that HF_TOKEN belongs to.

    Args:
        environment: Environment of the process.
        owner: Owner of the Space.
    """
    if environment.get("SYSTEM") != "spaces":
        return "SYSTEM=spaces is not set, so sign-ins cannot be verified; set it in the Dockerfile"
    if missing := [name for name in OAUTH_VARIABLES if not environment.get(name)]:
        return f"{missing[0]} is not set; add `hf_oauth: true` to README.md"
    if missing := [name for name in OAUTH_PACKAGES if importlib.util.find_spec(name) is None]:
        return f"the package {missing[0]} is not installed, so nobody can sign in; install requirements.txt"
    return "" if owner else "SPACE_ID names no owner; it should be owner/name"
