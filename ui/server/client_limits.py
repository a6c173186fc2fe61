"""Limits per client: open streams, concurrent uploads and pending results. Stored in memory, with bounded size."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

MAX_STREAMS_PER_ADDRESS = 200  # an open page needs one or two
MAX_UPLOADS_PER_ADDRESS = 6
MAX_UPLOADS = 16  # each is buffered in memory until it is complete
MAX_PENDING_PER_SESSION = 10  # results that the client has not fetched
MAX_SESSIONS = 10_000
SESSION_TTL_S = 120.0  # a client that has not sent an event for this long no longer waits for a result


class LimitExceeded(Exception):
    """A client exceeds a limit. The message is one sentence for the client."""


@dataclass
class SessionUsage:
    """Usage of one session.

    Attributes:
        pending: Number of results that the client has not fetched.
        last_request_at: Time of the last event, in seconds.
    """

    pending: int
    last_request_at: float


class ClientLimits:
    """Counts what clients use, and rejects what exceeds a limit. Not thread-safe: used by the event loop only.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._streams: Counter[str] = Counter()
        self._uploads: Counter[str] = Counter()
        self._sessions: OrderedDict[str, SessionUsage] = OrderedDict()  # least recent event first

    def limit_streams(self, address: str) -> AbstractContextManager[None]:
        """Return a context manager that counts an open stream of this address."""
        return limit_concurrency(
            self._streams, address, MAX_STREAMS_PER_ADDRESS, "Too many pages are open at your address. Close some."
        )

    def limit_uploads(self, address: str) -> AbstractContextManager[None]:
        """Return a context manager that counts an upload from this address."""
        message = "Too many files are being uploaded. Try again in a moment."
        if self._uploads.total() >= MAX_UPLOADS:
            raise LimitExceeded(message)
        return limit_concurrency(self._uploads, address, MAX_UPLOADS_PER_ADDRESS, message)

    def add_pending(self, session: str) -> None:
        """Count one more pending result of a session.

        Raises:
            LimitExceeded: Too many results are pending.
        """
        self._prune_sessions()
        pending = self._sessions[session].pending if session in self._sessions else 0
        if pending >= MAX_PENDING_PER_SESSION:
            raise LimitExceeded("Too many results wait for you. Fetch them first.")
        self._sessions[session] = SessionUsage(pending + 1, self._clock())
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
            if now - session.last_request_at < SESSION_TTL_S and len(self._sessions) <= MAX_SESSIONS:
                break
            del self._sessions[name]


@contextmanager
def limit_concurrency(counter: Counter[str], address: str, limit: int, message: str) -> Iterator[None]:
    """Count an address while the context is open.

    Args:
        counter: Open contexts by address.
        address: Address of the client.
        limit: Maximum number of open contexts of one address.
        message: Text of the error.

    Raises:
        LimitExceeded: The limit is reached.
    """
    if counter[address] >= limit:
        raise LimitExceeded(message)
    counter[address] += 1
    try:
        yield
    finally:
        counter[address] -= 1
        if not counter[address]:
            del counter[address]
