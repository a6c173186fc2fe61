"""Sample training batches in a thread, while the model trains on earlier ones."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from training.tasks.samples import Batch

POLL_INTERVAL_S = 0.1  # until the thread notices that nobody takes batches any more


@dataclass(frozen=True)
class _End:
    """Last item of the queue: the error that ended the iterator, or None."""

    error: Exception | None = None


def prefetch_batches(batches: Iterator[Batch], count: int) -> Iterator[Batch]:
    """Yield the batches of an iterator, which a thread asks for before they are needed.

    Order and content are those of the iterator. The thread ends when the returned iterator is closed.

    Args:
        batches: Source of batches; used by the thread alone. It must not use global random state.
        count: Batches that wait at most.

    Yields:
        The batches.

    Raises:
        Exception: The error that ended the iterator, after the batches before it.
    """
    waiting: queue.Queue[Batch | _End] = queue.Queue(count)
    is_closed = threading.Event()

    def put(item: Batch | _End) -> None:
        while not is_closed.is_set():
            try:
                waiting.put(item, timeout=POLL_INTERVAL_S)
            except queue.Full:
                continue
            return

    def sample() -> None:
        try:
            for batch in batches:
                put(batch)
                if is_closed.is_set():
                    return
        except Exception as error:  # raised again in the thread that trains
            put(_End(error))
        else:
            put(_End())

    threading.Thread(target=sample, name="prefetch", daemon=True).start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        is_closed.set()
