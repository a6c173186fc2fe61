"""Accounts of the Hub, looked up by token."""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, get_session, get_token_to_send, hf_raise_for_status, httpx

from ctm.stores.base import StoreUnavailable
from ctm.stores.errors import summarize_client_error


@dataclass(frozen=True)
class Account:
    """Account on the Hub.

    Attributes:
        name: Account name.
        roles: Organisation -> role of the account in it: admin, write, contributor or read.
    """

    name: str
    roles: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _CacheEntry:
    """Cached lookup of one token. Its lock is held during the request, so that concurrent lookups send one request."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    account: Account | None = None
    error: ValueError | None = None
    expires_at: float = 0.0


class Accounts:
    """Accounts by token. Results are cached, because the Hub limits this request to a few per minute. Thread-safe.

    Args:
        endpoint: URL of another Hub.
        timeout_s: Seconds to wait for a response.
        ttl_s: Seconds for which an account is cached.
        failure_ttl_s: Seconds for which a failure is cached.
        max_entries: Maximum number of cached tokens; the least recently used one is dropped first.
        clock: Monotonic clock, seconds.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        timeout_s: float = 10.0,
        ttl_s: float = 300.0,
        failure_ttl_s: float = 10.0,
        max_entries: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self.ttl_s = ttl_s
        self.failure_ttl_s = failure_ttl_s
        self.max_entries = max_entries
        self._clock = clock
        self._entries: OrderedDict[str, _CacheEntry] = OrderedDict()  # by token hash, so that tokens are not stored
        self._lock = threading.Lock()

    def get(self, token: str) -> Account:
        """Return the account of a token.

        Raises:
            StoreUnavailable: The Hub cannot be reached.
            ValueError: The Hub does not accept the token.
        """
        entry = self._get_entry(hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest())
        with entry.lock:
            if self._clock() >= entry.expires_at:
                entry.account, entry.error = None, None
                try:
                    entry.account = self._fetch_account(token)
                except ValueError as error:
                    entry.error = error
                entry.expires_at = self._clock() + (self.ttl_s if entry.account else self.failure_ttl_s)
            if entry.account is not None:
                return entry.account
            # A new exception: the traceback of a cached one would grow with every lookup.
            raise (StoreUnavailable if isinstance(entry.error, StoreUnavailable) else ValueError)(str(entry.error))

    def _get_entry(self, key: str) -> _CacheEntry:
        with self._lock:
            entry = self._entries.setdefault(key, _CacheEntry())
            self._entries.move_to_end(key)
            while len(self._entries) > self.max_entries:
                self._entries.popitem(last=False)
            return entry

    def _fetch_account(self, token: str) -> Account:
        """Request the account from the Hub.

        `whoami` of huggingface_hub has no timeout, and uses the local token if `token` is empty.
        """
        if not token.isascii() or not token.isprintable() or not token.strip():
            raise ValueError("This is no token of the Hub.")
        address = f"{self.endpoint or constants.ENDPOINT}/api/whoami-v2"
        try:
            response = get_session().get(address, headers=build_hf_headers(token=token), timeout=self.timeout_s)
            hf_raise_for_status(response)
            return parse_account(response.json())
        except HfHubHTTPError as error:
            if error.response is not None and error.response.status_code in (401, 403):
                raise ValueError("The Hub does not accept this token.") from None
            raise StoreUnavailable(
                f"The Hub did not say whose account this is ({summarize_client_error(error)})."
            ) from None
        except (httpx.HTTPError, OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise StoreUnavailable(
                f"The Hub did not say whose account this is ({summarize_client_error(error)})."
            ) from None


def parse_account(response: Any) -> Account:
    """Parse the response of the Hub.

    Raises:
        LookupError: A key is missing.
        TypeError: A value has the wrong type.
        AttributeError: The response is not a mapping.
    """
    roles = {org["name"]: org.get("roleInOrg") or "" for org in response.get("orgs") or ()}
    if not isinstance(response["name"], str):
        raise TypeError("the name is no text")
    return Account(response["name"], roles)


def get_local_token() -> str:
    """Return the token of this host, from the environment or the local login; empty if there is none."""
    return get_token_to_send(None) or ""
