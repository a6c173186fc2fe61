"""Follower of the log of a remote job, across broken connections."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing

from ctm.stores import StoreUnavailable
from training.jobs.remote.log_stream import LogCursor, LogStream

# After this time without a log line, check whether the job has finished.
IDLE_CHECK_INTERVAL_S = 30.0
# Delay before a log that ended is opened again while its job runs.
RECONNECT_INTERVAL_S = 5.0
# Delays before the attempts after a failure; after the last one the log is abandoned.
RETRY_BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 60.0, 60.0)


class LogFollower:
    """Yields the log lines of one job until the job has finished.

    A broken connection is opened again. The Hub then sends the log from its beginning, and the lines that were already
    yielded are skipped.

    Args:
        open_log: Opens a connection and returns the chunks of its body; the first chunk is empty.
        is_job_finished: Asks the Hub whether the job has finished.
        translate_errors: Returns a context manager that translates the errors of a connection into `ValueError`.
        job_name: Name of the job for messages.
        silence_timeout_s: Seconds without a line after which the log of a finished job counts as read.
    """

    def __init__(
        self,
        open_log: Callable[[], Iterator[bytes]],
        is_job_finished: Callable[[], bool],
        translate_errors: Callable[[], AbstractContextManager[None]],
        job_name: str,
        silence_timeout_s: float,
    ) -> None:
        self._open_log = open_log
        self._is_job_finished = is_job_finished
        self._translate_errors = translate_errors
        self._job_name = job_name
        self._silence_timeout_s = silence_timeout_s
        self._cursor = LogCursor()
        self._is_finished = False

    def follow(self, cancel_event: threading.Event) -> Iterator[str]:
        """Yield the log lines of the job from its first line on until the job has finished.

        Args:
            cancel_event: Ends the generator within seconds when set, whatever it waits for.

        Yields:
            Lines without their line end.

        Raises:
            ValueError: The Hub rejects the request; the subclass `StoreUnavailable` after all retries.
        """
        num_failures = 0
        while not cancel_event.is_set():
            num_lines = self._cursor.num_lines
            try:
                if (yield from self._read_connection(cancel_event)):
                    return
                self._is_finished = self._is_job_finished()
                num_failures = 0
                delay_s = RECONNECT_INTERVAL_S
            except StoreUnavailable:
                num_failures = 1 if self._cursor.num_lines > num_lines else num_failures + 1
                if num_failures > len(RETRY_BACKOFF_S):
                    raise
                delay_s = RETRY_BACKOFF_S[num_failures - 1]
            if num_failures or not self._is_finished:
                cancel_event.wait(delay_s)

    def _read_connection(self, cancel_event: threading.Event) -> Generator[str, None, bool]:
        """Yield the new lines of one connection.

        Returns:
            Whether the log was read to its end after the job had finished.
        """
        index = 0
        is_caught_up = False
        last_line_at = time.monotonic()
        with closing(LogStream(self._open_log())) as stream:
            while not cancel_event.is_set():
                try:
                    with self._translate_errors():
                        line = stream.read_line()
                except EOFError:
                    if self._is_finished and not stream.is_open:
                        raise StoreUnavailable(f"The Hub does not open the log of {self._job_name}.") from None
                    return self._is_finished
                silence_s = time.monotonic() - last_line_at
                if line is not None:
                    last_line_at = time.monotonic()
                    is_caught_up = is_caught_up or self._cursor.is_new(index, line)
                    index += 1
                    if is_caught_up:
                        self._cursor.advance(line)
                        yield line.text
                elif self._is_finished and stream.is_open and silence_s > self._silence_timeout_s:
                    return True
                elif not self._is_finished and silence_s > IDLE_CHECK_INTERVAL_S:
                    self._is_finished = self._is_job_finished()
                    last_line_at = time.monotonic()
        return False
