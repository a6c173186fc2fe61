"""Authenticators: each identifies the user of a request who may train, or raises `AccessDenied`."""

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
from itsdangerous import BadSignature, TimestampSigner

from ui.server.request_info import get_client_address, is_loopback, is_proxied, parse_hostname
from ui.services.accounts import Accounts, StoreUnavailable

AccessMode = Literal["local", "token", "space", "closed"]

ADMIN_TOKEN_ENV = "CTM_ADMIN_TOKEN"
MIN_TOKEN_LENGTH = 16  # characters
ADMIN_TOKEN_HEADER = "X-Admin-Token"
ADMIN_COOKIE = "ctm_admin"
LOGIN_PATH, LOGOUT_PATH = "/admin/login", "/admin/logout"
COOKIE_TEXT = b"administrator"  # signed together with the time of the login
LOGIN_LIFETIME_HOURS = 12
WRITE_ROLES = ("admin", "write")  # roles of organization members who may train


class AccessDenied(ValueError):
    """The user may not train. The message is one sentence with the reason and the remedy."""


class TooManyLoginAttempts(AccessDenied):
    """Too many wrong tokens were sent; tokens are not checked for a while.

    Attributes:
        retry_after_s: Seconds until a token is checked again, rounded up.
    """

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = math.ceil(retry_after_s)
        super().__init__(f"Too many wrong tokens: wait {self.retry_after_s} seconds, then try again.")


@dataclass(frozen=True)
class User:
    """A user who may train.

    Attributes:
        name: Name of the account, or a fixed name for other methods.
        auth_method: How the user was identified.
    """

    name: str
    auth_method: Literal["local", "token", "oauth"]


class Authenticator(Protocol):
    """Identifies the users who may train.

    Attributes:
        mode: Name of the method.
    """

    mode: AccessMode

    def authenticate(self, connection: HTTPConnection) -> User:
        """Return the user of a request.

        Raises:
            AccessDenied: The user may not train.
        """


class ClosedAuthenticator:
    """Denies access to everybody.

    Args:
        reason: Cause and remedy, as the rest of a sentence.
    """

    mode: AccessMode = "closed"

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def authenticate(self, connection: HTTPConnection) -> User:
        """Raise `AccessDenied` with the reason."""
        raise AccessDenied(f"Training is off: {self.reason}.")


class LocalAuthenticator:
    """Admits users of this host only.

    A request through a proxy or a tunnel, or under another host name, may come from elsewhere, so it is denied.
    """

    mode: AccessMode = "local"

    def authenticate(self, connection: HTTPConnection) -> User:
        """Return the user of a request, see `Authenticator.authenticate`."""
        if is_proxied(connection) or connection.client is None or not is_loopback(connection.client.host):
            raise AccessDenied(
                "Training is off for this visitor: this request came through a proxy or from another computer. Set "
                f"{ADMIN_TOKEN_ENV} and restart the app."
            )
        host_names = connection.headers.getlist("host")
        if not host_names or not all(is_loopback(parse_hostname(name)) for name in host_names):
            raise AccessDenied(
                "Training is off under this host name: open the app as http://localhost on its own computer."
            )
        return User("local", "local")


class SpaceAuthenticator:
    """Admits the owner of the Space, and members with write access to the organization that owns it.

    Only the visitor's token is taken from the session. The Hub decides whose token it is.

    Args:
        owner: Owner of the Space.
        accounts: Looks up accounts by token.
        clock: Returns the Unix time in seconds.
    """

    mode: AccessMode = "space"

    def __init__(self, owner: str, accounts: Accounts, clock: Callable[[], float] = time.time) -> None:
        self.owner = owner
        self.accounts = accounts
        self._clock = clock

    def authenticate(self, connection: HTTPConnection) -> User:
        """Return the user of a request, see `Authenticator.authenticate`."""
        token = get_session_token(connection.scope.get("session"), self._clock())
        if token is None:
            raise AccessDenied(f"Only {self.owner} may train here: sign in with Hugging Face.")
        try:
            account = self.accounts.get(token)
        except StoreUnavailable as error:
            raise AccessDenied(f"Your account cannot be checked now. Try again in a minute: {error}") from None
        except ValueError:
            raise AccessDenied("The Hub no longer accepts your sign-in: log out and sign in again.") from None
        if account.name != self.owner and account.roles.get(self.owner) not in WRITE_ROLES:
            raise AccessDenied(
                f"Only {self.owner}, and members with write access if it is an organization, may train here; you are signed in "
                f"as {account.name}. To train, duplicate this Space."
            )
        return User(account.name, "oauth")


class TokenAuthenticator:
    """Admits users who know the administrator's token.

    A browser exchanges the token for a signed cookie that contains a fixed text and the time of the login. The key of the
    signature is derived from the token, so a new token invalidates all logins.

    Args:
        token: The administrator's token.
        clock: Returns the Unix time in seconds.

    Raises:
        ValueError: The token is too weak.
    """

    mode: AccessMode = "token"

    def __init__(self, token: str, clock: Callable[[], float] = time.time) -> None:
        token = token.strip()
        if len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError(
                f"{ADMIN_TOKEN_ENV} must have at least {MIN_TOKEN_LENGTH} printable ASCII characters without spaces: "
                "generate one with `openssl rand -hex 16`."
            )
        self._key = hashlib.sha256(b"key of " + token.encode()).digest()
        self._token_digest = self._compute_digest(token.encode())
        self._cookie_signer = CookieSigner(self._key, clock)
        self._clock = clock
        self._throttle = LoginThrottle()
        self._lock = threading.Lock()

    def authenticate(self, connection: HTTPConnection) -> User:
        """Return the user of a request, see `Authenticator.authenticate`."""
        if not self._is_valid_cookie(connection.cookies.get(ADMIN_COOKIE, "")):
            token = connection.headers.get(ADMIN_TOKEN_HEADER)
            if token is None:
                raise AccessDenied(
                    f"Only the administrator may train: log in at {LOGIN_PATH}, or send the header {ADMIN_TOKEN_HEADER}."
                )
            self.check_token(token.encode("latin-1"), get_client_address(connection))
        return User("administrator", "token")

    def check_token(self, token: bytes, address: str) -> None:
        """Check a token in constant time. Thread-safe.

        Args:
            token: Token that a client sent.
            address: Address of the client, for the throttle.

        Raises:
            AccessDenied: The token is wrong.
            TooManyLoginAttempts: Too many wrong tokens were sent.
        """
        with self._lock:
            now = self._clock()
            if wait := self._throttle.compute_wait_s(address, now):
                raise TooManyLoginAttempts(wait)
            if hmac.compare_digest(self._compute_digest(token), self._token_digest):
                return
            self._throttle.record_failure(address, now)
        logging.getLogger(__name__).warning("A wrong administrator's token came from %s", address)
        raise AccessDenied(
            f"This is not the administrator's token: it is the value of {ADMIN_TOKEN_ENV} with which the app was started."
        )

    def issue_cookie(self) -> str:
        """Return the value of a login cookie, which is valid for `LOGIN_LIFETIME_HOURS`."""
        return self._cookie_signer.sign(COOKIE_TEXT).decode()

    def _is_valid_cookie(self, cookie: str) -> bool:
        try:
            text = self._cookie_signer.unsign(cookie, max_age=LOGIN_LIFETIME_HOURS * 3600)
        except BadSignature:  # forged, signed with another token, or expired
            return False
        return text == COOKIE_TEXT

    def _compute_digest(self, token: bytes) -> bytes:
        """Return a digest of fixed length, so that comparing it takes the same time for tokens of any length."""
        return hmac.digest(self._key, token, "sha256")


class CookieSigner(TimestampSigner):
    """Signer of login cookies with HMAC-SHA256 and a replaceable clock.

    Args:
        key: Secret key.
        clock: Returns the Unix time in seconds.
    """

    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        super().__init__(key, salt=ADMIN_COOKIE, key_derivation="hmac", digest_method=hashlib.sha256)
        self._clock = clock

    def get_timestamp(self) -> int:
        """Return the Unix time in whole seconds."""
        return int(self._clock())


class LoginThrottle:
    """Limits wrong tokens in a sliding window, per address and in total.

    At most `max_total` failures are stored, because no token is checked beyond that number. Not thread-safe.

    Args:
        max_per_address: Maximum number of failures from one address.
        max_total: Maximum number of failures from all addresses.
        window_s: Length of the window, in seconds.
    """

    def __init__(self, max_per_address: int = 5, max_total: int = 100, window_s: float = 600.0) -> None:
        self.max_per_address = max_per_address
        self.max_total = max_total
        self.window_s = window_s
        self._failures: list[tuple[float, str]] = []  # (time, address), oldest first

    def compute_wait_s(self, address: str, now: float) -> float:
        """Return the seconds until a token from this address is checked again; 0 if it is checked now."""
        self._failures = [(time_s, source) for time_s, source in self._failures if now - time_s < self.window_s]
        all_times = [time_s for time_s, _ in self._failures]
        own_times = [time_s for time_s, source in self._failures if source == address]
        end_times = [
            times[-limit] + self.window_s
            for times, limit in ((own_times, self.max_per_address), (all_times, self.max_total))
            if len(times) >= limit
        ]
        return max(end_times) - now if end_times else 0.0

    def record_failure(self, address: str, now: float) -> None:
        """Store a wrong token from an address at a time in seconds."""
        self._failures.append((now, address))


def get_session_token(session: Any, now: float) -> str | None:
    """Return the Hub token of a session, or None if there is none or it has expired.

    Args:
        session: Session of the request.
        now: Unix time in seconds.
    """
    info = session.get("oauth_info") if isinstance(session, Mapping) else None
    if not isinstance(info, Mapping):
        return None
    token = info.get("access_token")
    expires_at = info.get("expires_at")
    is_valid = isinstance(token, str) and token and isinstance(expires_at, int | float) and expires_at > now
    return token if is_valid else None
