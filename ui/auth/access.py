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

from ctm.stores.accounts import Accounts
from ui.auth.authenticators import (
    SHORTEST,
    TOKEN,
    ClosedGate,
    Gate,
    LocalGate,
    Mode,
    Person,
    Refused,
    SpaceGate,
    TokenGate,
)
from ui.server.request_info import from_own_page, is_loopback, visit_of

__all__ = ["Access", "Person", "Refused"]

OAUTH = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")
OAUTH_PACKAGES = ("authlib", "itsdangerous")


class Access:
    """The one answer to who may train. It is made once, and asked with the request of every action."""

    def __init__(self, gate: Gate, hosts: tuple[str, ...] = ()):
        self.gate = gate
        self.hosts = hosts

    @property
    def mode(self) -> Mode:
        return self.gate.mode

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], listens_on: str) -> "Access":
        """The rule for this machine.

        Args:
            environment: of the process.
            listens_on: name or address that the app listens on.

        Raises:
            ValueError: CTM_ADMIN_TOKEN is no safe secret.
        """
        if "SPACE_ID" in environment:
            owner = environment.get("SPACE_AUTHOR_NAME") or environment["SPACE_ID"].partition("/")[0]
            if reason := why_not_oauth(environment, owner):
                return cls(ClosedGate(reason))
            hosts = tuple(name.strip() for name in environment.get("SPACE_HOST", "").split(",") if name.strip())
            return cls(SpaceGate(owner, Accounts()), hosts)
        if token := environment.get(TOKEN):
            return cls(TokenGate(token))
        if is_loopback(listens_on):
            return cls(LocalGate())
        return cls(
            ClosedGate(
                f"others can reach this app at {listens_on}, and it knows no secret to tell you from them; "
                f"set {TOKEN} to one of at least {SHORTEST} characters, and start the app again"
            )
        )

    def who(self, request: Any) -> Person | None:
        """Whoever sent this request, if they may train; None for everybody else. Never raises."""
        try:
            return self.check(request)
        except Refused:
            return None

    def check(self, request: Any) -> Person:
        """Whoever sent this request.

        Args:
            request: Gradio's or Starlette's.

        Raises:
            Refused: they may not train.
        """
        visit = visit_of(request)
        if visit is None:
            raise Refused("Training is refused: nobody can tell where this request came from.")
        if self.mode != "closed" and not from_own_page(visit, self.hosts):
            raise Refused(
                "Training is refused to a page of another address than this app's: open the app itself, and if it stands "
                "behind a proxy, let the proxy pass the Host header on."
            )
        return self.gate.admit(visit)

    def say(self, request: Any) -> str:
        """Why the visitor may train, or may not, in one sentence."""
        try:
            person = self.check(request)
        except Refused as refusal:
            return str(refusal)
        match person.how:
            case "local":
                return "You may train: this app can be reached from this machine only."
            case "token":
                return "You may train: you are logged in as the administrator."
            case "oauth":
                return f"You may train: you are signed in as {person.name}."


def why_not_oauth(environment: Mapping[str, str], owner: str) -> str:
    """What keeps visitors of this Space from signing in for real, and the remedy; empty if nothing does.

    Gradio asks SYSTEM whether this is a Space. Where it takes it for a laptop, everybody who signs in becomes the account that
    HF_TOKEN belongs to.
    """
    if environment.get("SYSTEM") != "spaces":
        return (
            "this Space does not say SYSTEM=spaces, without which a sign-in proves nothing; put it into the Dockerfile"
        )
    if missing := [name for name in OAUTH if not environment.get(name)]:
        return f"this Space lacks {missing[0]}; put `hf_oauth: true` into its README.md"
    if missing := [name for name in OAUTH_PACKAGES if importlib.util.find_spec(name) is None]:
        return f"the package {missing[0]} is not installed, and nobody can sign in; install requirements.txt"
    return "" if owner else "SPACE_ID names no owner; it should be owner/name"
