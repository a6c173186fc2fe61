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

from ui.server.request_info import get_client_address, is_loopback, is_proxied, parse_hostname
from ui.services.accounts import Accounts, StoreUnavailable

AccessMode = Literal["local", "token", "space", "closed"]

ADMIN_TOKEN_ENV = "CTM_ADMIN_TOKEN"
MIN_TOKEN_LENGTH = 16  # characters of the administrator's token
ADMIN_TOKEN_HEADER = "X-Admin-Token"
ADMIN_COOKIE = "ctm_admin"
LOGIN_PATH, LOGOUT_PATH = "/admin/login", "/admin/logout"
LOGIN_LIFETIME_HOURS = 12  # that a login lasts
WRITE_ROLES = ("admin", "write")  # roles in an organisation that may train for it


class AccessDenied(ValueError):
    """Somebody may not train; one sentence that says why, and what to do."""


class TooManyLoginAttempts(AccessDenied):
    """No token is looked at for so many seconds."""

    def __init__(self, retry_after_s: float):
        self.retry_after_s = math.ceil(retry_after_s)
        super().__init__(f"There were too many wrong tokens: wait {self.retry_after_s} seconds, then try again.")


@dataclass(frozen=True)
class User:
    """Somebody who may train."""

    name: str
    auth_method: Literal["local", "token", "oauth"]


class Authenticator(Protocol):
    """One way to decide."""

    mode: AccessMode

    def authenticate(self, connection: HTTPConnection) -> User:
        """Who it is that may pass; `AccessDenied` for everybody else."""


class ClosedAuthenticator:
    """Nobody may train.

    Args:
        reason: what is amiss and what to do, to go on a sentence.
    """

    mode: AccessMode = "closed"

    def __init__(self, reason: str):
        self.reason = reason

    def authenticate(self, connection: HTTPConnection) -> User:
        raise AccessDenied(f"Training is closed to everybody: {self.reason}.")


class LocalAuthenticator:
    """Whoever sits at this machine. A name that merely leads here, a proxy or a tunnel brings others, so it is refused."""

    mode: AccessMode = "local"

    def authenticate(self, connection: HTTPConnection) -> User:
        if is_proxied(connection) or connection.client is None or not is_loopback(connection.client.host):
            raise AccessDenied(
                "Training is refused: this request came through a proxy or from another machine, where others can come "
                f"from, too; set {ADMIN_TOKEN_ENV}, and start the app again."
            )
        names = connection.headers.getlist("host")
        if not names or not all(is_loopback(parse_hostname(name)) for name in names):
            raise AccessDenied(
                "Training is refused under this name: open the app as http://localhost, on its own machine."
            )
        return User("local", "local")


class SpaceAuthenticator:
    """The Space's owner, and who may write for the organisation that owns it.

    The session is taken for no more than a place where the visitor's token lies: the Hub itself says whose it is.
    """

    mode: AccessMode = "space"

    def __init__(self, owner: str, accounts: Accounts, clock: Callable[[], float] = time.time):
        self.owner, self.accounts, self._clock = owner, accounts, clock

    def authenticate(self, connection: HTTPConnection) -> User:
        token = get_session_token(connection.scope.get("session"), self._clock())
        if token is None:
            raise AccessDenied(f"Only {self.owner} may train here: sign in with Hugging Face to show who you are.")
        try:
            account = self.accounts.get(token)
        except StoreUnavailable as error:
            raise AccessDenied(f"Who you are cannot be found out just now, so try again in a minute: {error}") from None
        except ValueError:
            raise AccessDenied("The Hub does not accept your sign-in any more: log out, and sign in again.") from None
        if account.name != self.owner and account.roles.get(self.owner) not in WRITE_ROLES:
            raise AccessDenied(
                f"Only {self.owner} may train here, or who may write for it if it is an organisation, and you are signed "
                f"in as {account.name}: to train, duplicate this Space."
            )
        return User(account.name, "oauth")


class TokenAuthenticator:
    """Whoever knows the administrator's token.

    A browser gets a pass for it, which holds no more than when it ends, and a signature under that. The key of the signature
    comes from the token, so that a new token ends all logins.
    """

    mode: AccessMode = "token"

    def __init__(self, token: str, clock: Callable[[], float] = time.time):
        token = token.strip()
        if len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError(
                f"{ADMIN_TOKEN_ENV} must have at least {MIN_TOKEN_LENGTH} characters, of letters, digits and signs without spaces: make one "
                "with `openssl rand -hex 16`."
            )
        self._key = hashlib.sha256(b"key of " + token.encode()).digest()
        self._token = self._sign(token.encode())
        self._clock = clock
        self._throttle = LoginThrottle()
        self._lock = threading.Lock()

    def authenticate(self, connection: HTTPConnection) -> User:
        if not self._is_valid_cookie(connection.cookies.get(ADMIN_COOKIE, "")):
            given = connection.headers.get(ADMIN_TOKEN_HEADER)
            if given is None:
                raise AccessDenied(
                    f"Training is for this app's administrator: log in at {LOGIN_PATH}, or send {ADMIN_TOKEN_HEADER} along."
                )
            self.check_token(given.encode("latin-1"), get_client_address(connection))
        return User("administrator", "token")

    def check_token(self, token: bytes, address: str) -> None:
        """Do nothing if this is the token.

        Raises:
            Refused: it is not, or there were too many wrong ones.
        """
        with self._lock:
            now = self._clock()
            if wait := self._throttle.compute_wait_s(address, now):
                raise TooManyLoginAttempts(wait)
            if hmac.compare_digest(self._sign(token), self._token):
                return
            self._throttle.record_failure(address, now)
        logging.getLogger(__name__).warning("A wrong administrator's token came from %s", address)
        raise AccessDenied(
            f"This is not the administrator's token: look up {ADMIN_TOKEN_ENV} where the app was started."
        )

    def issue_cookie(self) -> str:
        """What a browser keeps after a login."""
        until = str(int(self._clock()) + LOGIN_LIFETIME_HOURS * 3600)
        return f"{until}.{self._sign(until.encode()).hex()}"

    def _is_valid_cookie(self, text: str) -> bool:
        until, _, signature = text.partition(".")
        genuine = hmac.compare_digest(signature.encode(), self._sign(until.encode()).hex().encode())
        return genuine and int(until) > self._clock()

    def _sign(self, text: bytes) -> bytes:
        return hmac.digest(self._key, text, "sha256")


class LoginThrottle:
    """Wrong tokens of late: past a number from one address, or in all, none is looked at for a while.

    So no more than the number in all is ever kept.
    """

    def __init__(self, max_per_address: int = 5, max_total: int = 100, window_s: float = 600.0):
        self.max_per_address, self.max_total, self.window_s = max_per_address, max_total, window_s
        self._failures: list[tuple[float, str]] = []  # (time, address), oldest first

    def compute_wait_s(self, address: str, now: float) -> float:
        """Seconds until a token from there is looked at again; 0 if it is now."""
        self._failures = [(then, place) for then, place in self._failures if now - then < self.window_s]
        everyone = [then for then, _ in self._failures]
        own = [then for then, place in self._failures if place == address]
        ends = [
            past[-most] + self.window_s
            for past, most in ((own, self.max_per_address), (everyone, self.max_total))
            if len(past) >= most
        ]
        return max(ends) - now if ends else 0.0

    def record_failure(self, address: str, now: float) -> None:
        self._failures.append((now, address))


def get_session_token(session: Any, now: float) -> str | None:
    """The Hub's token in the session of somebody signed in; None if there is none, or its time is over."""
    info = session.get("oauth_info") if isinstance(session, Mapping) else None
    if not isinstance(info, Mapping):
        return None
    token, until = info.get("access_token"), info.get("expires_at")
    valid = isinstance(token, str) and token and isinstance(until, int | float) and until > now
    return token if valid else None
