"""Advisory file locks between processes on one host."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


@contextmanager
def file_lock(path: Path, timeout_s: float = 0.0) -> Iterator[bool]:
    """Acquire an exclusive lock, and yield whether that succeeded.

    The lock also excludes other threads of this process. It is released with the process at the latest. On a mount
    without locks, a warning is logged and the lock counts as acquired.

    Args:
        path: Lock file; created if missing, and not removed.
        timeout_s: Seconds to wait for the lock.

    Yields:
        True if this process holds the lock, False if another one does.

    Raises:
        OSError: The lock file cannot be created or opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a"):  # an error here is one of the file, an error of `acquire` is one of the lock
        pass
    # Not thread-local: the lease of an app is released by another thread than the one that acquired it. A soft lock
    # would outlive a process that is killed.
    lock = FileLock(path, timeout=timeout_s, thread_local=False, fallback_to_soft=False)
    acquired = True
    try:
        lock.acquire()
    except Timeout:
        acquired = False
    except OSError as error:  # some mounts do not support locks: assume no other process
        log.warning("%s cannot be locked (%s)", path, error.strerror)
    try:
        yield acquired
    finally:
        lock.release()
