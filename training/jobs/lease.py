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

from ctm.io.atomic import locked, read_json, write_json

BEAT = 20.0  # seconds between two signs of life
SILENCE = 90.0  # seconds after which a machine is taken to be gone; a mounted bucket tells of changes within 30

log = logging.getLogger(__name__)


class Lease:
    """The right to write in a folder.

    Args:
        folder: that is held.
        machine: name of this one; apps on the same machine are kept apart by a lock alone.
        clock: seconds.
    """

    def __init__(self, folder: Path, machine: str = "", clock: Callable[[], float] = time.monotonic):
        self.machine = machine or socket.gethostname()
        self._lock, self._sign = folder / ".jobs.lock", folder / ".jobs.holder"
        self._clock = clock
        self._held = ExitStack()
        self._beaten = float("-inf")
        self._seen: tuple[dict, float] = ({}, clock())  # another machine's sign, and since when it is the same

    def take(self, patience: float = 0.0) -> bool:
        """Whether the folder is ours from now on; tried for so many seconds, if an app of this machine is just ending."""
        with ExitStack() as held:
            if not held.enter_context(locked(self._lock, patience)) or self._is_held_elsewhere():
                return False
            self._held = held.pop_all()
        self._leave_sign()
        return True

    def keep(self) -> bool:
        """Whether the folder is still ours; call it often, it does little."""
        if self._clock() - self._beaten < BEAT:
            return True
        if self._read().get("machine") not in (None, self.machine):
            log.warning("The runs were taken over by an app on another machine: this one only reads from now on")
            self._held.close()
            return False
        self._leave_sign()
        return True

    def release(self) -> None:
        """Let another app take over at once."""
        if self._read().get("machine") == self.machine:
            self._sign.unlink(missing_ok=True)
        self._held.close()

    def _is_held_elsewhere(self) -> bool:
        sign, now = self._read(), self._clock()
        if sign != self._seen[0]:
            self._seen = (sign, now)
        return bool(sign) and sign.get("machine") != self.machine and now - self._seen[1] < SILENCE

    def _leave_sign(self) -> None:
        self._beaten = self._clock()
        with suppress(OSError):  # a full disk: the lock holds here, and others see the sign before
            write_json(self._sign, {"machine": self.machine, "beat": uuid.uuid4().hex})

    def _read(self) -> dict:
        try:
            return read_json(self._sign, missing={}, most=1_000)
        except (OSError, ValueError):
            return {}
