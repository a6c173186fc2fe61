"""Delivers what lies in the outboxes of all runs, so that nothing waits for a training that is over."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from ctm.stores import HubStore
from training.config import PublishConfig
from training.publishing.outbox import Entry, Outbox
from training.publishing.run_publisher import offer
from training.run_dir import RunFolder

ROUND = 15.0  # seconds between two rounds

log = logging.getLogger(__name__)


class Courier:
    """Goes round the outboxes in the background of the app. A training that delivers its own is not disturbed by it.

    Args:
        runs: folder of run folders.
        store: where to.
    """

    def __init__(self, runs: Path, store: HubStore):
        self.runs, self.store = Path(runs), store
        self._wake, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._go_round, name="courier", daemon=True)

    def start(self, may_write: Callable[[], bool] = lambda: True) -> None:
        """Begin to go round.

        Args:
            may_write: whether this app looks after the runs at the moment; where two share a folder, one delivers.
        """
        self._may_write = may_write
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._wake.set()

    def offer(self, folder: RunFolder, settings: PublishConfig) -> Entry:
        """Take the finished checkpoint of a run, or else its newest saved step, to a repository.

        Raises:
            ValueError: there is none, or the token may not write there. `Unavailable` where waiting may help.
        """
        newest_of(folder)
        self.store.prove_writable(settings.repo, settings.private)
        checkpoint = newest_of(folder)
        try:
            entry = offer(Outbox(folder.path), folder, checkpoint, settings.repo, settings.private)
        except (ValueError, OSError) as error:
            newer = newest_of(folder)
            if newer == checkpoint:
                raise ValueError(f"The checkpoint could not be put into the run's outbox: {error}") from None
            # a run that goes on has removed it meanwhile
            entry = offer(Outbox(folder.path), folder, newer, settings.repo, settings.private)
        self._wake.set()
        return entry

    def _go_round(self) -> None:
        while not self._ending.is_set():
            for box in sorted(self.runs.glob("[!.]*/outbox")) if self._may_write() else []:
                try:
                    Outbox(box.parent).deliver(self.store)
                except Exception:  # one odd outbox must not keep the others waiting
                    log.exception("The outbox of %s cannot be delivered just now", box.parent.name)
            self._wake.wait(ROUND)
            self._wake.clear()


def newest_of(folder: RunFolder) -> Path:
    """The finished checkpoint of a run, or else its newest saved step."""
    if (newest := folder.newest_checkpoint()) is None:
        raise ValueError(f"The run {folder.path.name} has saved nothing yet that could be published.")
    return newest
