"""Limits per client: open streams, concurrent uploads and pending results. Stored in memory, with bounded size.

Each error names the time after which the request will be accepted, if the server knows it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from ui.server.request_errors import LimitExceeded

BODY_TIMEOUT_S = 60.0  # for the whole body of a request
MAX_STREAMS_PER_ADDRESS = 200  # an open page needs one or two
MAX_UPLOADS_PER_ADDRESS = 6
MAX_UPLOADS = 16  # each is buffered in memory until it is complete
MAX_PENDING_PER_SESSION = 10  # results that the client has not fetched
MAX_SESSIONS = 10_000
SESSION_TTL_S = 120.0  # a client that has not sent an event for this long no longer waits for a result


@dataclass
class SessionUsage:
    """Usage of one session.

    Attributes:
        pending: Number of results that the client has not fetched.
        expires_at: Time from which the client no longer waits for them, in seconds.
    """

    pending: int
    expires_at: float


class ConcurrencyLimit:
    """Counts what addresses use at the same time.

    Args:
        clock: Returns the time in seconds.
        max_per_address: Maximum number of one address.
        max_total: Maximum number of all addresses.
        max_duration_s: Duration after which a use no longer counts; None if it has no limit.
        message: Text of the error, see `LimitExceeded`.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        max_per_address: int,
        message: str,
        max_total: int | None = None,
        max_duration_s: float | None = None,
    ) -> None:
        self._clock = clock
        self._max_per_address = max_per_address
        self._max_total = max_total
        self._max_duration_s = max_duration_s
        self._message = message
        self._uses: dict[object, tuple[str, float]] = {}  # address and start of every use, the oldest first

    @contextmanager
    def count(self, address: str) -> Iterator[None]:
        """Count an address while the context is open.

        Raises:
            LimitExceeded: The limit of the address, or of all addresses, is reached.
        """
        self._check(address)
        key = object()
        self._uses[key] = (address, self._clock())
        try:
            yield
        finally:
            del self._uses[key]

    def _check(self, address: str) -> None:
        now = self._clock()
        uses = [(user, start) for user, start in self._uses.values() if not self._has_expired(start, now)]
        own_starts = [start for user, start in uses if user == address]
        is_total_exceeded = self._max_total is not None and len(uses) >= self._max_total
        if len(own_starts) < self._max_per_address and not is_total_exceeded:
            return
        raise LimitExceeded(self._message, self._compute_wait_s(uses, own_starts, now))

    def _has_expired(self, start: float, now: float) -> bool:
        return self._max_duration_s is not None and now >= start + self._max_duration_s

    def _compute_wait_s(self, uses: list[tuple[str, float]], own_starts: list[float], now: float) -> float | None:
        """Return the seconds after which enough uses have expired; None if they have no limit."""
        if self._max_duration_s is None:
            return None
        ends = [now]
        if len(own_starts) >= self._max_per_address:
            ends.append(own_starts[len(own_starts) - self._max_per_address] + self._max_duration_s)
        if self._max_total is not None and len(uses) >= self._max_total:
            ends.append(uses[len(uses) - self._max_total][1] + self._max_duration_s)
        return max(ends) - now


class ClientLimits:
    """Counts what clients use, and rejects what exceeds a limit. Not thread-safe: used by the event loop only.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._streams = ConcurrencyLimit(
            clock, MAX_STREAMS_PER_ADDRESS, "Too many pages are open at your address: close some of them."
        )
        self._uploads = ConcurrencyLimit(
            clock,
            MAX_UPLOADS_PER_ADDRESS,
            "Too many files are being uploaded: there is room in {seconds} at the latest, send this one again then.",
            MAX_UPLOADS,
            BODY_TIMEOUT_S,
        )
        self._sessions: OrderedDict[str, SessionUsage] = OrderedDict()  # least recent event first

    def limit_streams(self, address: str) -> AbstractContextManager[None]:
        """Return a context manager that counts an open stream of this address."""
        return self._streams.count(address)

    def limit_uploads(self, address: str) -> AbstractContextManager[None]:
        """Return a context manager that counts an upload from this address."""
        return self._uploads.count(address)

    def add_pending(self, session: str) -> None:
        """Count one more pending result of a session.

        Raises:
            LimitExceeded: Too many results are pending.
        """
        self._prune_sessions()
        usage = self._sessions.get(session)
        pending = usage.pending if usage else 0
        if usage and pending >= MAX_PENDING_PER_SESSION:
            raise LimitExceeded(
                f"You have not fetched {pending} results: fetch them, or send this again in {{seconds}}.",
                usage.expires_at - self._clock(),
            )
        self._sessions[session] = SessionUsage(pending + 1, self._clock() + SESSION_TTL_S)
        self._sessions.move_to_end(session)

    def cancel_pending(self, session: str) -> None:
        """Remove one pending result: the last event of the session was rejected."""
        if (usage := self._sessions.get(session)) and usage.pending:
            usage.pending -= 1

    def has_session(self, session: str) -> bool:
        """Return whether a session has sent an event recently."""
        return session in self._sessions

    def clear_pending(self, session: str) -> None:
        """Remove all pending results: the session has fetched them or no longer waits for them."""
        if usage := self._sessions.get(session):
            usage.pending = 0

    def _prune_sessions(self) -> None:
        now = self._clock()
        for name, session in list(self._sessions.items()):
            if now < session.expires_at and len(self._sessions) <= MAX_SESSIONS:
                break
            del self._sessions[name]
