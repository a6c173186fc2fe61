"""The ways to decide who may train: each is a gate that looks at a request, and names a person or refuses."""

import hashlib
import hmac
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from fastapi.requests import HTTPConnection

from ctm.stores.accounts import Accounts
from ctm.stores.base import Unavailable
from ui.server.request_info import address_of, host_of, is_loopback, passed_on

Mode = Literal["local", "token", "space", "closed"]

TOKEN = "CTM_ADMIN_TOKEN"
SHORTEST = 16  # characters of the administrator's token
HEADER = "X-Admin-Token"
COOKIE = "ctm_admin"
LOGIN, LOGOUT = "/admin/login", "/admin/logout"
HOURS = 12  # that a login lasts
WRITERS = ("admin", "write")  # roles in an organisation that may train for it


class Refused(ValueError):
    """Somebody may not train; one sentence that says why, and what to do."""


class TooManyTries(Refused):
    """No token is looked at for so many seconds."""

    def __init__(self, seconds: float):
        self.seconds = math.ceil(seconds)
        super().__init__(f"There were too many wrong tokens: wait {self.seconds} seconds, then try again.")


@dataclass(frozen=True)
class Person:
    """Somebody who may train."""

    name: str
    how: Literal["local", "token", "oauth"]


class Gate(Protocol):
    """One way to decide."""

    mode: Mode

    def admit(self, visit: HTTPConnection) -> Person:
        """Who it is that may pass; `Refused` for everybody else."""


class ClosedGate:
    """Nobody may train.

    Args:
        reason: what is amiss and what to do, to go on a sentence.
    """

    mode: Mode = "closed"

    def __init__(self, reason: str):
        self.reason = reason

    def admit(self, visit: HTTPConnection) -> Person:
        raise Refused(f"Training is closed to everybody: {self.reason}.")


class LocalGate:
    """Whoever sits at this machine. A name that merely leads here, a proxy or a tunnel brings others, so it is refused."""

    mode: Mode = "local"

    def admit(self, visit: HTTPConnection) -> Person:
        if passed_on(visit) or visit.client is None or not is_loopback(visit.client.host):
            raise Refused(
                "Training is refused: this request came through a proxy or from another machine, where others can come "
                f"from, too; set {TOKEN}, and start the app again."
            )
        names = visit.headers.getlist("host")
        if not names or not all(is_loopback(host_of(name)) for name in names):
            raise Refused("Training is refused under this name: open the app as http://localhost, on its own machine.")
        return Person("local", "local")


class SpaceGate:
    """The Space's owner, and who may write for the organisation that owns it.

    The session is taken for no more than a place where the visitor's token lies: the Hub itself says whose it is.
    """

    mode: Mode = "space"

    def __init__(self, owner: str, accounts: Accounts, clock: Callable[[], float] = time.time):
        self.owner, self.accounts, self._clock = owner, accounts, clock

    def admit(self, visit: HTTPConnection) -> Person:
        token = token_of(visit.scope.get("session"), self._clock())
        if token is None:
            raise Refused(f"Only {self.owner} may train here: sign in with Hugging Face to show who you are.")
        try:
            account = self.accounts.of(token)
        except Unavailable as error:
            raise Refused(f"Who you are cannot be found out just now, so try again in a minute: {error}") from None
        except ValueError:
            raise Refused("The Hub does not accept your sign-in any more: log out, and sign in again.") from None
        if account.name != self.owner and account.roles.get(self.owner) not in WRITERS:
            raise Refused(
                f"Only {self.owner} may train here, or who may write for it if it is an organisation, and you are signed "
                f"in as {account.name}: to train, duplicate this Space."
            )
        return Person(account.name, "oauth")


class TokenGate:
    """Whoever knows the administrator's token.

    A browser gets a pass for it, which holds no more than when it ends, and a signature under that. The key of the signature
    comes from the token, so that a new token ends all logins.
    """

    mode: Mode = "token"

    def __init__(self, token: str, clock: Callable[[], float] = time.time):
        token = token.strip()
        if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError(
                f"{TOKEN} must have at least {SHORTEST} characters, of letters, digits and signs without spaces: make one "
                "with `openssl rand -hex 16`."
            )
        self._key = hashlib.sha256(b"key of " + token.encode()).digest()
        self._token = self._signature(token.encode())
        self._clock = clock
        self._wrong = WrongTries()
        self._trying = threading.Lock()

    def admit(self, visit: HTTPConnection) -> Person:
        if not self._is_pass(visit.cookies.get(COOKIE, "")):
            given = visit.headers.get(HEADER)
            if given is None:
                raise Refused(f"Training is for this app's administrator: log in at {LOGIN}, or send {HEADER} along.")
            self.try_token(given.encode("latin-1"), address_of(visit))
        return Person("administrator", "token")

    def try_token(self, given: bytes, address: str) -> None:
        """Do nothing if this is the token.

        Raises:
            Refused: it is not, or there were too many wrong ones.
        """
        with self._trying:
            now = self._clock()
            if wait := self._wrong.wait(address, now):
                raise TooManyTries(wait)
            if hmac.compare_digest(self._signature(given), self._token):
                return
            self._wrong.note(address, now)
        logging.getLogger(__name__).warning("A wrong administrator's token came from %s", address)
        raise Refused(f"This is not the administrator's token: look up {TOKEN} where the app was started.")

    def make_pass(self) -> str:
        """What a browser keeps after a login."""
        until = str(int(self._clock()) + HOURS * 3600)
        return f"{until}.{self._signature(until.encode()).hex()}"

    def _is_pass(self, text: str) -> bool:
        until, _, signature = text.partition(".")
        genuine = hmac.compare_digest(signature.encode(), self._signature(until.encode()).hex().encode())
        return genuine and int(until) > self._clock()

    def _signature(self, text: bytes) -> bytes:
        return hmac.digest(self._key, text, "sha256")


class WrongTries:
    """Wrong tokens of late: past a number from one address, or in all, none is looked at for a while.

    So no more than the number in all is ever kept.
    """

    def __init__(self, each: int = 5, total: int = 100, seconds: float = 600.0):
        self.each, self.total, self.seconds = each, total, seconds
        self._tries: list[tuple[float, str]] = []  # (time, address), oldest first

    def wait(self, address: str, now: float) -> float:
        """Seconds until a token from there is looked at again; 0 if it is now."""
        self._tries = [(then, place) for then, place in self._tries if now - then < self.seconds]
        everyone = [then for then, _ in self._tries]
        own = [then for then, place in self._tries if place == address]
        ends = [
            past[-most] + self.seconds for past, most in ((own, self.each), (everyone, self.total)) if len(past) >= most
        ]
        return max(ends) - now if ends else 0.0

    def note(self, address: str, now: float) -> None:
        self._tries.append((now, address))


def token_of(session: Any, now: float) -> str | None:
    """The Hub's token in the session of somebody signed in; None if there is none, or its time is over."""
    info = session.get("oauth_info") if isinstance(session, Mapping) else None
    if not isinstance(info, Mapping):
        return None
    token, until = info.get("access_token"), info.get("expires_at")
    valid = isinstance(token, str) and token and isinstance(until, int | float) and until > now
    return token if valid else None
