"""Background delivery of outboxes, so that neither a training nor a page waits for an upload.

A training delivers its own outbox. The app delivers the outboxes of all runs, so no upload depends on a training process
that has ended. Both may run at the same time, because each outbox has a file lock.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ctm.stores import Destination
from training.publishing.outbox import Outbox, get_outboxes
from training.run_paths import OUTBOX_DIRNAME, SPACE_OUTBOX_DIRNAME

POLL_INTERVAL_S = 15.0
MIN_ROUND_INTERVAL_S = 0.1

log = logging.getLogger(__name__)


class UploadWorker:
    """Thread that delivers outboxes.

    Args:
        list_outboxes: Returns the outboxes; called at every round.
        store: Destination of the uploads.
    """

    def __init__(self, list_outboxes: Callable[[], Iterable[Outbox]], store: Destination) -> None:
        self.list_outboxes = list_outboxes
        self.store = store
        self._is_enabled: Callable[[], bool] = lambda: True
        self._wake_event = threading.Event()
        self._close_event = threading.Event()
        self._deadline = float("inf")  # when `close` stops waiting
        self._thread = threading.Thread(target=self._run, name="upload-worker", daemon=True)

    def start(self, is_enabled: Callable[[], bool] = lambda: True) -> None:
        """Start the thread.

        Args:
            is_enabled: Asked before every round. Of several apps on one runs directory, only the one with the lease
                delivers.
        """
        self._is_enabled = is_enabled
        self._thread.start()

    def wake(self) -> None:
        """Start the next round now, because an outbox has a new entry."""
        self._wake_event.set()

    def close(self, timeout_s: float = 0.0) -> None:
        """Stop the thread after the pending entries are delivered, or after its present upload.

        Args:
            timeout_s: Seconds to wait for pending entries; those that are not delivered in time stay in the outbox.
        """
        self._deadline = time.monotonic() + timeout_s
        self._close_event.set()
        self._wake_event.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            self._wake_event.clear()
            delay_s = self._deliver_all() if self._is_enabled() else None
            if self._close_event.is_set() and (delay_s is None or time.monotonic() + delay_s > self._deadline):
                return
            wait_s = POLL_INTERVAL_S if delay_s is None else min(delay_s, POLL_INTERVAL_S)
            self._wake_event.wait(max(wait_s, MIN_ROUND_INTERVAL_S))

    def _deliver_all(self) -> float | None:
        """Deliver every outbox once.

        Returns:
            Seconds until the next attempt is due; None if no entry is pending.
        """
        delays_s = []
        for outbox in self.list_outboxes():
            if time.monotonic() > self._deadline:
                break
            delay_s = self._deliver(outbox)
            if delay_s is not None:
                delays_s.append(delay_s)
        return min(delays_s, default=None)

    def _deliver(self, outbox: Outbox) -> float | None:
        """Deliver one outbox, and return the seconds until its next attempt; None if no entry is pending."""
        try:
            entry = outbox.deliver(self.store)
            delay_s = outbox.seconds_until_due()
        except Exception:  # one broken outbox must not block the others
            log.exception("The outbox of %s cannot be delivered just now", outbox.path.parent.name)
            return POLL_INTERVAL_S
        is_busy = entry is None and delay_s == 0.0  # another process delivers it
        return POLL_INTERVAL_S if is_busy else delay_s


def list_run_outboxes(runs_dir: Path) -> list[Outbox]:
    """Return the outboxes of all runs below a directory, by name of the run."""
    dirnames = (OUTBOX_DIRNAME, SPACE_OUTBOX_DIRNAME)
    run_paths = sorted({path.parent for dirname in dirnames for path in runs_dir.glob(f"[!.]*/{dirname}")})
    return [outbox for run_path in run_paths for outbox in get_outboxes(run_path) if outbox.path.is_dir()]
