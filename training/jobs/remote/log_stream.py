"""Log of a remote job.

A background thread reads the server-sent events. A cursor allows to resume after a broken connection.
"""

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

QUEUE_POLL_INTERVAL_S = 0.2
# The Hub inserts this line itself.
JOB_STARTED_HEADER = "===== Job started"


@dataclass(frozen=True)
class LogLine:
    """One line of a log.

    Attributes:
        text: The line without its line end.
        timestamp: ISO 8601 time from the Hub; comparable as text.
    """

    text: str
    timestamp: str


@dataclass
class LogCursor:
    """Position up to which a log was read.

    A new connection sends the log from its beginning, or from a later line if the Hub has dropped the first ones.

    Attributes:
        num_lines: Number of lines that were read.
        latest_timestamp: Latest timestamp of these lines.
    """

    num_lines: int = 0
    latest_timestamp: str = ""

    def is_new(self, index: int, line: LogLine) -> bool:
        """Return whether a line was not read yet.

        Args:
            index: Position of the line in the present connection.
            line: The line.
        """
        return index >= self.num_lines or line.timestamp > self.latest_timestamp

    def advance(self, line: LogLine) -> None:
        """Move the cursor behind a line."""
        self.num_lines += 1
        self.latest_timestamp = max(self.latest_timestamp, line.timestamp)


class LogStream:
    """One connection to a log, read by its own thread so that the reader never blocks on the network.

    Args:
        chunks: Chunks of the response body. The first chunk is empty and signals that the connection is open.

    Attributes:
        is_open: Whether the connection was opened.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._items: queue.Queue[LogLine | Exception] = queue.Queue(maxsize=1000)
        self._close_event = threading.Event()
        self.is_open = False
        threading.Thread(target=self._run, args=(chunks,), name="job-log", daemon=True).start()

    def read_line(self) -> LogLine | None:
        """Return the next line; None if none arrives within `QUEUE_POLL_INTERVAL_S`.

        Raises:
            EOFError: The log has ended.
            Exception: Any error of the connection.
        """
        try:
            item = self._items.get(timeout=QUEUE_POLL_INTERVAL_S)
        except queue.Empty:
            return None
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        """Stop the thread. It ends at the next chunk or at the timeout of the connection."""
        self._close_event.set()

    def _run(self, chunks: Iterator[bytes]) -> None:
        try:
            self.is_open = next(chunks, None) is not None
            for line in parse_log_lines(chunks):
                if not self._put(line):
                    return
            self._put(EOFError())
        except Exception as error:  # raised in `read_line`
            self._put(error)

    def _put(self, item: LogLine | Exception) -> bool:
        """Append an item to the queue and return whether the stream is still in use."""
        while not self._close_event.is_set():
            with suppress(queue.Full):
                self._items.put(item, timeout=QUEUE_POLL_INTERVAL_S)
                return True
        return False


def parse_log_lines(chunks: Iterator[bytes]) -> Iterator[LogLine]:
    """Parse server-sent events into log lines. An incomplete last event is dropped.

    Events are split at line feeds only: `str.splitlines` knows more line boundaries, and any of them may occur inside
    an event.
    """
    remainder = b""
    for chunk in chunks:
        *events, remainder = (remainder + chunk).split(b"\n")
        for event in events:
            if event.startswith(b"data: {"):
                values = json.loads(event.removeprefix(b"data: "))
                text = str(values.get("data", "")).rstrip("\r\n")
                if not text.startswith(JOB_STARTED_HEADER):
                    yield LogLine(text, str(values.get("timestamp", "")))
