"""How much of the server one visitor may take at once: connections, uploads, thoughts that wait. Kept in memory, bounded."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

MOST_STREAMS = 200  # that an address holds open; a page that is open holds one or two
MOST_UPLOADS = 6  # that an address sends at once
MOST_UPLOADS_IN_ALL = 16  # each is held in memory until it is whole
MOST_OF_A_SESSION = 10  # answers that were not fetched
REMEMBERED = 10_000  # sessions
FORGOTTEN = 120.0  # seconds after which nobody waits for an answer any more


class TooMany(Exception):
    """One sentence for whoever takes too much."""


@dataclass
class Session:
    """What a page that is open waits for."""

    waiting: int
    since: float


class Visitors:
    """Who takes what.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._streams: Counter[str] = Counter()
        self._uploads: Counter[str] = Counter()
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # the one that asked last at the end

    def streaming(self, address: str) -> AbstractContextManager[None]:
        """While an answer to this address goes on without end."""
        return held(self._streams, address, MOST_STREAMS, "Too many pages are open at your address: close some.")

    def uploading(self, address: str) -> AbstractContextManager[None]:
        """While this address sends a file."""
        busy = "Too many files are being sent just now: try again in a moment."
        if self._uploads.total() >= MOST_UPLOADS_IN_ALL:
            raise TooMany(busy)
        return held(self._uploads, address, MOST_UPLOADS, busy)

    def asks(self, session: str) -> None:
        """Note that a session waits for one more answer.

        Raises:
            TooMany: it waits for too many.
        """
        self._forget()
        waiting = self._sessions[session].waiting if session in self._sessions else 0
        if waiting >= MOST_OF_A_SESSION:
            raise TooMany("Too many thoughts wait for you: let them come first.")
        self._sessions[session] = Session(waiting + 1, self._clock())
        self._sessions.move_to_end(session)

    def takes_back(self, session: str) -> None:
        """What a session asked for last was not accepted."""
        if (own := self._sessions.get(session)) and own.waiting:
            own.waiting -= 1

    def knows(self, session: str) -> bool:
        """Whether a session has asked for something of late."""
        return session in self._sessions

    def fetched(self, session: str) -> None:
        """A session has got all its answers, or does not wait for them any more."""
        if own := self._sessions.get(session):
            own.waiting = 0

    def _forget(self) -> None:
        now = self._clock()
        for name, session in list(self._sessions.items()):
            if now - session.since < FORGOTTEN and len(self._sessions) <= REMEMBERED:
                break
            del self._sessions[name]


@contextmanager
def held(count: Counter[str], address: str, most: int, sentence: str) -> Iterator[None]:
    if count[address] >= most:
        raise TooMany(sentence)
    count[address] += 1
    try:
        yield
    finally:
        count[address] -= 1
        if not count[address]:
            del count[address]
