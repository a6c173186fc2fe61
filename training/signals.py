"""Stop requests by signal."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def catch_stop_signals() -> Iterator[list[int]]:
    """Record SIGTERM and SIGINT in a list instead of ending the process; restore the handlers afterwards.

    A second Ctrl-C acts as usual, so a user can always end the process. A second SIGTERM is only recorded: a launcher
    sends it to every process, and it must not interrupt a save.

    Yields:
        The signal numbers received so far; the list grows.
    """
    received: list[int] = []

    def record_signal(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if number == signal.SIGINT:
            signal.signal(number, previous_handlers[number])

    previous_handlers = {int(number): signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in previous_handlers:
        signal.signal(number, record_signal)
    try:
        yield received
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
