"""Predictions that take long: their records while they grow, and a bounded list of them."""

import logging
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from inference.batched_unroll import InferenceCancelled
from training.record_stream import RecordStream

UPDATE_INTERVAL_S = 0.25
MAX_RUNNING = 64  # long predictions at the same time; their recordings use memory
FAILED_MESSAGE = "The app failed at this prediction; its log has the details: change the input, or report the problem."


@dataclass(eq=False)
class RunningPrediction:
    """Prediction that takes long.

    Attributes:
        stream: Its record.
        is_superseded: Whether the visitor has asked for another prediction, so that this one must not be shown.
    """

    stream: RecordStream
    is_superseded: bool = False

    def supersede(self) -> None:
        """Cancel the prediction and end `iterate_records` without a further record."""
        self.is_superseded = True
        self.stream.cancel()

    def iterate_records(self) -> Iterator[dict[str, Any]]:
        """Yield the record as it grows, one per interval even if nothing has changed; the last one is final.

        The last one is the complete record; or, if the prediction was cancelled, that of the ticks so far; or
        `{"problem": SENTENCE, "checkpoint": NAME}` if it failed. A superseded prediction ends without it. If the iterator is
        closed before its end, the prediction is cancelled.
        """
        try:
            while not self.stream.wait(UPDATE_INTERVAL_S):
                if self.is_superseded:
                    return
                record = self.stream.build_partial_record()
                yield record
                if self.stream.is_cancelled:  # the visitor does not wait for the tick that still runs
                    if not record["is_stopped"] and not self.is_superseded:
                        yield self.stream.build_partial_record()
                    return
            if not self.is_superseded:
                yield self._build_last_record()
        finally:
            self.stream.cancel()

    def _build_last_record(self) -> dict[str, Any]:
        try:
            return self.stream.build_record()
        except InferenceCancelled:
            return self.stream.build_partial_record()
        except ValueError as error:
            return {"problem": str(error), "checkpoint": self.stream.name}
        except Exception:
            logging.getLogger(__name__).exception("A prediction of %s failed", self.stream.name)
            return {"problem": FAILED_MESSAGE, "checkpoint": self.stream.name}


class RunningPredictions:
    """The long predictions of all visitors, bounded in number. Thread-safe."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[str, RunningPrediction] = OrderedDict()  # oldest first
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._by_key)

    def add(self, running: RunningPrediction) -> str:
        """Add a prediction and return its key. Those that are cancelled are removed; the oldest of too many is cancelled."""
        key = uuid.uuid4().hex
        with self._lock:
            self._by_key[key] = running
            for other_key, other in list(self._by_key.items()):
                if other.stream.is_cancelled or len(self._by_key) > MAX_RUNNING:
                    other.stream.cancel()
                    del self._by_key[other_key]
        return key

    def get(self, key: str | None) -> RunningPrediction | None:
        """Return the prediction of a key; None if it has ended."""
        with self._lock:
            return self._by_key.get(key or "")

    def remove(self, key: str | None) -> None:
        """Remove a prediction that has ended."""
        with self._lock:
            self._by_key.pop(key or "", None)
