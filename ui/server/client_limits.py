"""How much of the server one visitor may take at once: connections, uploads, thoughts that wait. Kept in memory, bounded."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

MAX_STREAMS_PER_ADDRESS = 200  # that an address holds open; a page that is open holds one or two
MAX_UPLOADS_PER_ADDRESS = 6  # that an address sends at once
MAX_UPLOADS = 16  # each is held in memory until it is whole
MAX_PENDING_PER_SESSION = 10  # answers that were not fetched
MAX_SESSIONS = 10_000  # sessions
SESSION_TTL_S = 120.0  # seconds after which nobody waits for an answer any more


class LimitExceeded(Exception):
    """One sentence for whoever takes too much."""


@dataclass
class SessionUsage:
    """What a page that is open waits for."""

    pending: int
    last_request_at: float


class ClientLimits:
    """Who takes what.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._streams: Counter[str] = Counter()
        self._uploads: Counter[str] = Counter()
        self._sessions: OrderedDict[str, SessionUsage] = OrderedDict()  # the one that asked last at the end

    def limit_streams(self, address: str) -> AbstractContextManager[None]:
        """While an answer to this address goes on without end."""
        return limit_concurrency(
            self._streams, address, MAX_STREAMS_PER_ADDRESS, "Too many pages are open at your address: close some."
        )

    def limit_uploads(self, address: str) -> AbstractContextManager[None]:
        """While this address sends a file."""
        busy = "Too many files are being sent just now: try again in a moment."
        if self._uploads.total() >= MAX_UPLOADS:
            raise LimitExceeded(busy)
        return limit_concurrency(self._uploads, address, MAX_UPLOADS_PER_ADDRESS, busy)

    def add_pending(self, session: str) -> None:
        """Note that a session waits for one more answer.

        Raises:
            TooMany: it waits for too many.
        """
        self._prune_sessions()
        waiting = self._sessions[session].pending if session in self._sessions else 0
        if waiting >= MAX_PENDING_PER_SESSION:
            raise LimitExceeded("Too many thoughts wait for you: let them come first.")
        self._sessions[session] = SessionUsage(waiting + 1, self._clock())
        self._sessions.move_to_end(session)

    def cancel_pending(self, session: str) -> None:
        """What a session asked for last was not accepted."""
        if (own := self._sessions.get(session)) and own.pending:
            own.pending -= 1

    def has_session(self, session: str) -> bool:
        """Whether a session has asked for something of late."""
        return session in self._sessions

    def clear_pending(self, session: str) -> None:
        """A session has got all its answers, or does not wait for them any more."""
        if own := self._sessions.get(session):
            own.pending = 0

    def _prune_sessions(self) -> None:
        now = self._clock()
        for name, session in list(self._sessions.items()):
            if now - session.last_request_at < SESSION_TTL_S and len(self._sessions) <= MAX_SESSIONS:
                break
            del self._sessions[name]


@contextmanager
def limit_concurrency(counter: Counter[str], address: str, limit: int, message: str) -> Iterator[None]:
    if counter[address] >= limit:
        raise LimitExceeded(message)
    counter[address] += 1
    try:
        yield
    finally:
        counter[address] -= 1
        if not counter[address]:
            del counter[address]
