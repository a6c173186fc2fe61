"""Who may start and control training: asked on the server, inside every action, of the request that asks for it.

    on a Space              the Space's owner, signed in with Hugging Face, or who may write for the organisation that owns it
    CTM_ADMIN_TOKEN is set  whoever logged in with it, or sends it along
    on this machine only    whoever sits at it
    anywhere else           nobody

What is shown or hidden on a page protects nothing: a handler that changes something calls `Access.check` first.
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
    """The one answer to who may train. It is made once, and asked with the request of every action."""

    def __init__(self, authenticator: Authenticator, hosts: tuple[str, ...] = ()):
        self.authenticator = authenticator
        self.hosts = hosts

    @property
    def mode(self) -> AccessMode:
        return self.authenticator.mode

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], listen_host: str) -> "Access":
        """The rule for this machine.

        Args:
            environment: of the process.
            listens_on: name or address that the app listens on.

        Raises:
            ValueError: CTM_ADMIN_TOKEN is no safe secret.
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
                f"others can reach this app at {listen_host}, and it knows no secret to tell you from them; "
                f"set {ADMIN_TOKEN_ENV} to one of at least {MIN_TOKEN_LENGTH} characters, and start the app again"
            )
        )

    def get_current_user(self, request: Any) -> User | None:
        """Whoever sent this request, if they may train; None for everybody else. Never raises."""
        try:
            return self.require_owner(request)
        except AccessDenied:
            return None

    def require_owner(self, request: Any) -> User:
        """Whoever sent this request.

        Args:
            request: Gradio's or Starlette's.

        Raises:
            Refused: they may not train.
        """
        visit = get_http_connection(request)
        if visit is None:
            raise AccessDenied("Training is refused: nobody can tell where this request came from.")
        if self.mode != "closed" and not is_same_origin(visit, self.hosts):
            raise AccessDenied(
                "Training is refused to a page of another address than this app's: open the app itself, and if it stands "
                "behind a proxy, let the proxy pass the Host header on."
            )
        return self.authenticator.authenticate(visit)

    def describe_access(self, request: Any) -> str:
        """Why the visitor may train, or may not, in one sentence."""
        try:
            person = self.require_owner(request)
        except AccessDenied as refusal:
            return str(refusal)
        match person.auth_method:
            case "local":
                return "You may train: this app can be reached from this machine only."
            case "token":
                return "You may train: you are logged in as the administrator."
            case "oauth":
                return f"You may train: you are signed in as {person.name}."


def find_oauth_problem(environment: Mapping[str, str], owner: str) -> str:
    """What keeps visitors of this Space from signing in for real, and the remedy; empty if nothing does.

    Gradio asks SYSTEM whether this is a Space. Where it takes it for a laptop, everybody who signs in becomes the account that
    HF_TOKEN belongs to.
    """
    if environment.get("SYSTEM") != "spaces":
        return (
            "this Space does not say SYSTEM=spaces, without which a sign-in proves nothing; put it into the Dockerfile"
        )
    if missing := [name for name in OAUTH_VARIABLES if not environment.get(name)]:
        return f"this Space lacks {missing[0]}; put `hf_oauth: true` into its README.md"
    if missing := [name for name in OAUTH_PACKAGES if importlib.util.find_spec(name) is None]:
        return f"the package {missing[0]} is not installed, and nobody can sign in; install requirements.txt"
    return "" if owner else "SPACE_ID names no owner; it should be owner/name"
