"""Exclusive write lease on a runs directory.

A file lock excludes other processes on the same host. Hosts that mount the same bucket do not share file locks, so
the holder also rewrites a heartbeat file every `HEARTBEAT_INTERVAL_S`. Another host may acquire the lease after the
heartbeat has not changed for `LEASE_TIMEOUT_S`. Only changes are observed, so clocks need not be synchronised.
"""

import logging
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from ctm.io.json_files import read_json, write_json
from ctm.io.locks import file_lock

HEARTBEAT_INTERVAL_S = 20.0
# A mounted bucket shows changes within 30 seconds.
LEASE_TIMEOUT_S = 90.0

log = logging.getLogger(__name__)


class Lease:
    """The exclusive right to write in a runs directory.

    Args:
        directory: The directory to hold.
        hostname: Name of this host; the host name of the system if empty. A file lock alone excludes apps on one host.
        clock: Monotonic clock in seconds.
    """

    def __init__(self, directory: Path, hostname: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.hostname = hostname or socket.gethostname()
        self._lock_path = directory / ".jobs.lock"
        self._heartbeat_path = directory / ".jobs.holder"
        self._clock = clock
        self._lock_stack = ExitStack()
        self._last_heartbeat_at = float("-inf")
        # The last heartbeat of another host, and the time since which it has not changed.
        self._foreign_heartbeat: tuple[dict, float] = ({}, clock())

    def acquire(self, timeout_s: float = 0.0) -> bool:
        """Acquire the lease and return whether that succeeded.

        Args:
            timeout_s: Seconds to wait for the file lock, because another app on this host may be about to end.
        """
        with ExitStack() as stack:
            if not stack.enter_context(file_lock(self._lock_path, timeout_s)) or self._is_held_by_other_host():
                return False
            self._lock_stack = stack.pop_all()
        self._write_heartbeat()
        return True

    def renew(self) -> bool:
        """Renew the heartbeat if it is due and return whether this app still holds the lease.

        Cheap between two heartbeats, so it can be called at every poll.
        """
        if self._clock() - self._last_heartbeat_at < HEARTBEAT_INTERVAL_S:
            return True
        if self._read_heartbeat().get("machine") not in (None, self.hostname):
            log.warning("The runs were taken over by an app on another machine: this one only reads from now on")
            self._lock_stack.close()
            return False
        self._write_heartbeat()
        return True

    def release(self) -> None:
        """Release the lease so that another app can acquire it at once."""
        if self._read_heartbeat().get("machine") == self.hostname:
            self._heartbeat_path.unlink(missing_ok=True)
        self._lock_stack.close()

    def _is_held_by_other_host(self) -> bool:
        heartbeat = self._read_heartbeat()
        now = self._clock()
        if heartbeat != self._foreign_heartbeat[0]:
            self._foreign_heartbeat = (heartbeat, now)
        is_foreign = bool(heartbeat) and heartbeat.get("machine") != self.hostname
        return is_foreign and now - self._foreign_heartbeat[1] < LEASE_TIMEOUT_S

    def _write_heartbeat(self) -> None:
        self._last_heartbeat_at = self._clock()
        with suppress(OSError):  # the disk is full: the file lock still holds, other hosts see the previous heartbeat
            write_json(self._heartbeat_path, {"machine": self.hostname, "beat": uuid.uuid4().hex})

    def _read_heartbeat(self) -> dict:
        try:
            return read_json(self._heartbeat_path, default={}, max_bytes=1_000)
        except (OSError, ValueError):
            return {}
