"""Delivers what lies in the outboxes of all runs, so that nothing waits for a training that is over."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from ctm.stores import HubStore
from training.config import PublishConfig
from training.publishing.outbox import Outbox, OutboxEntry
from training.publishing.run_publisher import enqueue_checkpoint
from training.run_dir import RunDir

POLL_INTERVAL_S = 15.0  # seconds between two rounds

log = logging.getLogger(__name__)


class UploadWorker:
    """Goes round the outboxes in the background of the app. A training that delivers its own is not disturbed by it.

    Args:
        runs: folder of run folders.
        store: where to.
    """

    def __init__(self, runs_dir: Path, hub_store: HubStore):
        self.runs_dir, self.hub_store = Path(runs_dir), hub_store
        self._wake_event, self._stop_event = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self, is_leader: Callable[[], bool] = lambda: True) -> None:
        """Begin to go round.

        Args:
            may_write: whether this app looks after the runs at the moment; where two share a folder, one delivers.
        """
        self._is_leader = is_leader
        self._thread.start()

    def close(self) -> None:
        self._stop_event.set()
        self._wake_event.set()

    def enqueue_run_checkpoint(self, run_dir: RunDir, settings: PublishConfig) -> OutboxEntry:
        """Take the finished checkpoint of a run, or else its newest saved step, to a repository.

        Raises:
            ValueError: there is none, or the token may not write there. `StoreUnavailable` where waiting may help.
        """
        get_newest_checkpoint(run_dir)
        self.hub_store.check_write_access(settings.repo, settings.private)
        checkpoint = get_newest_checkpoint(run_dir)
        try:
            entry = enqueue_checkpoint(Outbox(run_dir.path), run_dir, checkpoint, settings.repo, settings.private)
        except (ValueError, OSError) as error:
            newer = get_newest_checkpoint(run_dir)
            if newer == checkpoint:
                raise ValueError(f"The checkpoint could not be put into the run's outbox: {error}") from None
            # a run that goes on has removed it meanwhile
            entry = enqueue_checkpoint(Outbox(run_dir.path), run_dir, newer, settings.repo, settings.private)
        self._wake_event.set()
        return entry

    def _run(self) -> None:
        while not self._stop_event.is_set():
            for box in sorted(self.runs_dir.glob("[!.]*/outbox")) if self._is_leader() else []:
                try:
                    Outbox(box.parent).deliver(self.hub_store)
                except Exception:  # one odd outbox must not keep the others waiting
                    log.exception("The outbox of %s cannot be delivered just now", box.parent.name)
            self._wake_event.wait(POLL_INTERVAL_S)
            self._wake_event.clear()


def get_newest_checkpoint(run_dir: RunDir) -> Path:
    """The finished checkpoint of a run, or else its newest saved step."""
    if (newest := run_dir.find_latest_checkpoint()) is None:
        raise ValueError(f"The run {run_dir.path.name} has saved nothing yet that could be published.")
    return newest
