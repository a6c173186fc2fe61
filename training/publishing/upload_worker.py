"""Background delivery of the outboxes of all runs, so that no upload depends on a training process that has ended."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from ctm.stores import HubStore
from training.config import PublishConfig
from training.publishing.outbox import Outbox, OutboxEntry
from training.publishing.run_publisher import enqueue_checkpoint
from training.run_dir import RunDir

POLL_INTERVAL_S = 15.0

log = logging.getLogger(__name__)


class UploadWorker:
    """Thread of the app that delivers the outboxes of all runs.

    It does not interfere with training processes that deliver their own outbox, because each outbox has a file lock.

    Args:
        runs_dir: Parent of the run directories.
        hub_store: Destination of the uploads.
    """

    def __init__(self, runs_dir: Path, hub_store: HubStore):
        self.runs_dir = Path(runs_dir)
        self.hub_store = hub_store
        self._wake_event = threading.Event()
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upload-worker", daemon=True)

    def start(self, is_leader: Callable[[], bool] = lambda: True) -> None:
        """Start the thread.

        Args:
            is_leader: Returns whether this app holds the lease on the runs directory. Of several apps on one
                directory, only the leader delivers.
        """
        self._is_leader = is_leader
        self._thread.start()

    def close(self) -> None:
        """Stop the thread after its present upload, without waiting for it."""
        self._stop_event.set()
        self._wake_event.set()

    def enqueue_run_checkpoint(self, run_dir: RunDir, settings: PublishConfig) -> OutboxEntry:
        """Enqueue the final checkpoint of a run, or else its newest saved step.

        Args:
            run_dir: Run directory.
            settings: Target repository and visibility.

        Raises:
            ValueError: There is no checkpoint, or the token has no write access; the subclass `StoreUnavailable` if a
                later attempt may succeed.
        """
        get_newest_checkpoint(run_dir)
        self.hub_store.check_write_access(settings.repo, settings.private)
        checkpoint = get_newest_checkpoint(run_dir)
        try:
            entry = enqueue_checkpoint(Outbox(run_dir.path), run_dir, checkpoint, settings.repo, settings.private)
        except (ValueError, OSError) as error:
            newer_checkpoint = get_newest_checkpoint(run_dir)
            if newer_checkpoint == checkpoint:
                raise ValueError(f"The checkpoint could not be put into the run's outbox: {error}") from None
            # A running training has removed the older checkpoint in the meantime.
            entry = enqueue_checkpoint(Outbox(run_dir.path), run_dir, newer_checkpoint, settings.repo, settings.private)
        self._wake_event.set()
        return entry

    def _run(self) -> None:
        while not self._stop_event.is_set():
            for path in sorted(self.runs_dir.glob("[!.]*/outbox")) if self._is_leader() else []:
                try:
                    Outbox(path.parent).deliver(self.hub_store)
                except Exception:  # one broken outbox must not block the others
                    log.exception("The outbox of %s cannot be delivered just now", path.parent.name)
            self._wake_event.wait(POLL_INTERVAL_S)
            self._wake_event.clear()


def get_newest_checkpoint(run_dir: RunDir) -> Path:
    """Return the final checkpoint of a run, or else that of its newest saved step.

    Raises:
        ValueError: The run has no checkpoint.
    """
    if (newest := run_dir.find_latest_checkpoint()) is None:
        raise ValueError(f"The run {run_dir.path.name} has saved nothing yet that could be published.")
    return newest
