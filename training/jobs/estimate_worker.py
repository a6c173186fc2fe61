"""Worker that measures the cost of runs in the background, one after the other, while no training job runs here."""

import logging
import threading
from collections.abc import Callable

from training.config import RunConfig
from training.jobs.estimate_store import EstimateStore

POLL_INTERVAL_S = 2.0
log = logging.getLogger(__name__)


class EstimateWorker:
    """Measures requested runs that have no estimate yet. Its thread exists only while there is something to measure.

    Args:
        store: Where estimates are kept.
        measure: Measures a run and saves the estimate; see `JobScheduler.estimate`.
        is_training: Whether a training job runs on this computer, which a measurement would slow down.
    """

    def __init__(
        self, store: EstimateStore, measure: Callable[[RunConfig], object], is_training: Callable[[], bool]
    ) -> None:
        self._store = store
        self._measure = measure
        self._is_training = is_training
        self._lock = threading.Lock()
        self._waiting: dict[str, RunConfig] = {}
        self._failures: dict[str, str] = {}
        self._thread: threading.Thread | None = None
        self._stop_event = threading.Event()

    @property
    def is_busy(self) -> bool:
        """Whether something is measured, or waits for its turn."""
        with self._lock:
            return bool(self._waiting)

    def is_waiting(self, config: RunConfig) -> bool:
        """Return whether a run is measured now, or waits for its turn."""
        with self._lock:
            return self._store.build_key(config) in self._waiting

    def get_failure(self, config: RunConfig) -> str:
        """Return why the last measurement of a run failed, in one sentence; empty if it did not."""
        with self._lock:
            return self._failures.get(self._store.build_key(config), "")

    def request(self, configs: list[RunConfig]) -> None:
        """Measure runs that have no estimate. Returns at once. A run whose measurement failed is not tried again."""
        with self._lock:
            for config in configs:
                key = self._store.build_key(config)
                if key not in self._failures and self._store.get(config) is None:
                    self._waiting.setdefault(key, config)
            if self._waiting and self._thread is None and not self._stop_event.is_set():
                self._thread = threading.Thread(target=self._run, name="estimates", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Measure nothing more. A measurement in progress ends by itself."""
        self._stop_event.set()

    def _run(self) -> None:
        while not self._stop_event.is_set():
            with self._lock:
                item = next(iter(self._waiting.items()), None)
                if item is None:
                    self._thread = None
                    return
            key, config = item
            if self._is_training():
                self._stop_event.wait(POLL_INTERVAL_S)
                continue
            failure = self._measure_one(config)
            with self._lock:
                self._waiting.pop(key, None)
                if failure:
                    self._failures[key] = failure

    def _measure_one(self, config: RunConfig) -> str:
        """Measure one run unless it has an estimate by now; return why it failed, or an empty text."""
        try:
            if self._store.get(config) is None:
                self._measure(config)
        except (ValueError, OSError) as error:
            log.warning("The cost of a run could not be measured: %s", error)
            return str(error) or "it could not be measured"
        return ""
