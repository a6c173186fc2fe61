"""Advisory file locks between processes on one host."""

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def file_lock(path: Path, timeout_s: float = 0.0) -> Iterator[bool]:
    """Acquire an exclusive lock, and yield whether that succeeded. The lock is released with the process at the latest.

    Args:
        path: Lock file; created if missing.
        timeout_s: Seconds to wait for the lock.

    Yields:
        True if this process holds the lock, False if another one does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    with path.open("a") as file:
        while not (acquired := _try_lock(file)) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield acquired


def _try_lock(file: IO) -> bool:
    """Try to acquire the lock without blocking."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some mounts do not support locks: assume no other process
        logging.getLogger(__name__).warning("%s cannot be locked (%s)", file.name, error.strerror)
    return True
