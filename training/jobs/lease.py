"""Who looks after the runs of a folder: one app at a time, wherever it runs.

A lock keeps the apps of one machine apart. Machines that mount the same folder do not see each other's locks, so whoever holds
the folder leaves a sign of life there, too. Clocks are not compared: a sign that no longer changes is that of the dead.
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

HEARTBEAT_INTERVAL_S = 20.0  # seconds between two signs of life
LEASE_TIMEOUT_S = 90.0  # seconds after which a machine is taken to be gone; a mounted bucket tells of changes within 30

log = logging.getLogger(__name__)


class Lease:
    """The right to write in a folder.

    Args:
        folder: that is held.
        machine: name of this one; apps on the same machine are kept apart by a lock alone.
        clock: seconds.
    """

    def __init__(self, directory: Path, hostname: str = "", clock: Callable[[], float] = time.monotonic):
        self.hostname = hostname or socket.gethostname()
        self._lock_path, self._heartbeat_path = directory / ".jobs.lock", directory / ".jobs.holder"
        self._clock = clock
        self._lock_stack = ExitStack()
        self._last_heartbeat_at = float("-inf")
        self._foreign_heartbeat: tuple[dict, float] = (
            {},
            clock(),
        )  # another machine's sign, and since when it is the same

    def acquire(self, timeout_s: float = 0.0) -> bool:
        """Whether the folder is ours from now on; tried for so many seconds, if an app of this machine is just ending."""
        with ExitStack() as held:
            if not held.enter_context(file_lock(self._lock_path, timeout_s)) or self._is_held_by_other_host():
                return False
            self._lock_stack = held.pop_all()
        self._write_heartbeat()
        return True

    def renew(self) -> bool:
        """Whether the folder is still ours; call it often, it does little."""
        if self._clock() - self._last_heartbeat_at < HEARTBEAT_INTERVAL_S:
            return True
        if self._read_heartbeat().get("machine") not in (None, self.hostname):
            log.warning("The runs were taken over by an app on another machine: this one only reads from now on")
            self._lock_stack.close()
            return False
        self._write_heartbeat()
        return True

    def release(self) -> None:
        """Let another app take over at once."""
        if self._read_heartbeat().get("machine") == self.hostname:
            self._heartbeat_path.unlink(missing_ok=True)
        self._lock_stack.close()

    def _is_held_by_other_host(self) -> bool:
        sign, now = self._read_heartbeat(), self._clock()
        if sign != self._foreign_heartbeat[0]:
            self._foreign_heartbeat = (sign, now)
        return (
            bool(sign) and sign.get("machine") != self.hostname and now - self._foreign_heartbeat[1] < LEASE_TIMEOUT_S
        )

    def _write_heartbeat(self) -> None:
        self._last_heartbeat_at = self._clock()
        with suppress(OSError):  # a full disk: the lock holds here, and others see the sign before
            write_json(self._heartbeat_path, {"machine": self.hostname, "beat": uuid.uuid4().hex})

    def _read_heartbeat(self) -> dict:
        try:
            return read_json(self._heartbeat_path, default={}, max_bytes=1_000)
        except (OSError, ValueError):
            return {}
