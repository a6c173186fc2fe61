"""The log of a job elsewhere, as a stream of events: read in the background, given line by line, taken up where it broke."""

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

QUEUE_POLL_INTERVAL_S = 0.2  # seconds that are waited for a line at a time
JOB_STARTED_HEADER = "===== Job started"  # the Hub's own line


@dataclass(frozen=True)
class LogLine:
    text: str
    timestamp: str  # ISO, as the Hub writes it


@dataclass
class LogCursor:
    """How far a log was given. A connection brings it from the beginning, or from later on if the Hub forgot some of it."""

    num_lines: int = 0  # lines
    latest_timestamp: str = ""  # of their times

    def is_new(self, index: int, line: LogLine) -> bool:
        return index >= self.num_lines or line.timestamp > self.latest_timestamp

    def advance(self, line: LogLine) -> None:
        self.num_lines += 1
        self.latest_timestamp = max(self.latest_timestamp, line.timestamp)


class LogStream:
    """One connection, read by a thread of its own, so that whoever wants the lines need not wait for the other side.

    Args:
        chunks: bytes as they come; the first ones, which are none, say that the log was opened.
    """

    def __init__(self, chunks: Iterator[bytes]):
        self._items: queue.Queue[LogLine | Exception] = queue.Queue(maxsize=1000)
        self._close_event = threading.Event()
        self.is_open = False
        threading.Thread(target=self._run, args=(chunks,), name="job-log", daemon=True).start()

    def read_line(self) -> LogLine | None:
        """The next line; None if there is none yet.

        Raises:
            EOFError: there will be none.
        """
        try:
            item = self._items.get(timeout=QUEUE_POLL_INTERVAL_S)
        except queue.Empty:
            return None
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        """Nobody wants more; the thread ends when it next hears from the other side, or has waited its time."""
        self._close_event.set()

    def _run(self, chunks: Iterator[bytes]) -> None:
        try:
            self.is_open = next(chunks, None) is not None
            for line in parse_log_lines(chunks):
                if not self._put(line):
                    return
            self._put(EOFError())
        except Exception as error:  # whatever it is, it is raised where the lines are wanted
            self._put(error)

    def _put(self, item: LogLine | Exception) -> bool:
        """Whether it is still wanted."""
        while not self._close_event.is_set():
            with suppress(queue.Full):
                self._items.put(item, timeout=QUEUE_POLL_INTERVAL_S)
                return True
        return False


def parse_log_lines(chunks: Iterator[bytes]) -> Iterator[LogLine]:
    """The lines of a log out of the events that they come in; an event that was cut off is none.

    Only the line feed parts events: there are more characters that part lines, and any of them may be inside one.
    """
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for event in whole:
            if event.startswith(b"data: {"):
                said = json.loads(event.removeprefix(b"data: "))
                text = str(said.get("data", "")).rstrip("\r\n")
                if not text.startswith(JOB_STARTED_HEADER):
                    yield LogLine(text, str(said.get("timestamp", "")))
