"""Dynamic batching of concurrent inference requests.

There is no batching window: a request starts at once when the model is idle. While the model is busy, requests queue;
the next batch takes the oldest request and up to `max_batch_size - 1` others with the same policy, input shape and
dtype. The batch runs in the thread of whichever caller acquires the model lock first (leader/follower).

A caller may also start a request, wait for it for a limited time and read its ticks while it runs. If the time is over, a
background thread continues the batch.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import Tensor

from ctm import TickModel
from inference.batched_unroll import BatchedUnroll, InferenceResult, PendingRequest
from inference.halting.policies import HaltingPolicy

MAX_BATCH_SIZE = 16  # requests
BATCH_TIMEOUT_S = 60.0


class DynamicBatcher:
    """Model that serves concurrent requests in batches. Thread-safe.

    Args:
        model: The model, in eval mode.
        max_batch_size: Maximum number of requests in a batch; 1 disables batching.
        timeout_s: Maximum duration of a batch, in seconds.
        fallback: Which tick answers if no policy halts a row; see `Engine`.
    """

    def __init__(
        self,
        model: TickModel,
        max_batch_size: int = MAX_BATCH_SIZE,
        timeout_s: float = BATCH_TIMEOUT_S,
        fallback: Literal["best", "last"] = "best",
    ) -> None:
        self.model = model
        self.max_batch_size = max_batch_size
        self.timeout_s = timeout_s
        self.fallback = fallback
        self._queue: deque[PendingRequest] = deque()
        self._queue_lock = threading.Lock()
        self._model_lock = threading.Lock()

    def submit(self, inputs: Tensor, policy: HaltingPolicy, silenced_neurons: tuple[int, ...] = ()) -> InferenceResult:
        """Run one row of inputs. Blocks until its batch has run, in whichever thread.

        Args:
            inputs: A batch of one row.
            policy: The halting policy.
            silenced_neurons: Neurons whose activation is held at 0, see `Engine`.

        Returns:
            The result of this row.

        Raises:
            ValueError: The policy does not fit the model, or the batch exceeds the timeout.
        """
        return self.submit_all([inputs], policy, silenced_neurons)[0]

    def submit_all(
        self, inputs: Sequence[Tensor], policy: HaltingPolicy, silenced_neurons: tuple[int, ...] = ()
    ) -> list[InferenceResult]:
        """Run several inputs, those of equal shape in the same batches. Blocks until all of them have run.

        Args:
            inputs: Batches of one row.
            policy: The halting policy.
            silenced_neurons: See `submit`.

        Returns:
            One result per input, in the same order.

        Raises:
            ValueError: See `submit`.
        """
        requests = [PendingRequest(row, policy, silenced_neurons) for row in inputs]
        with self._queue_lock:
            self._queue.extend(requests)
        for request in requests:
            self._run_until_done(request)
        return [request.get_result() for request in requests]

    def start(self, inputs: Tensor, policy: HaltingPolicy) -> PendingRequest:
        """Queue one row of inputs without waiting. `run_for` or another request of the same model runs it.

        Args:
            inputs: A batch of one row.
            policy: The halting policy.
        """
        request = PendingRequest(inputs, policy)
        with self._queue_lock:
            self._queue.append(request)
        return request

    def run_for(self, request: PendingRequest, timeout_s: float) -> bool:
        """Work on a request for a limited time. A background thread does the rest.

        Args:
            request: Result of `start`.
            timeout_s: Duration in seconds; it is exceeded by at most one tick.

        Returns:
            Whether the request is done.
        """
        deadline = time.monotonic() + timeout_s
        while not request.done:
            if not self._model_lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
                run_in_background(self._run_until_done, request)
                break
            batch = None if request.done else self._dequeue_batch()
            if batch and not self._run_batch(batch, deadline):  # the lock is held until the batch is finished
                run_in_background(self._finish_batch, batch, request)
                break
            self._model_lock.release()
        return request.done

    def cancel(self, request: PendingRequest) -> None:
        """Cancel a request. It leaves its batch after the current tick; the other requests of the batch go on."""
        request.is_cancelled = True
        with self._queue_lock:
            self._remove_cancelled()

    def _run_until_done(self, request: PendingRequest) -> None:
        """Run batches until a request is done."""
        while not request.done:  # the oldest batch need not contain this request
            with self._model_lock:
                batch = None if request.done else self._dequeue_batch()
                if batch:
                    self._run_batch(batch)

    def _finish_batch(self, batch: BatchedUnroll, request: PendingRequest) -> None:
        """Finish a batch whose thread has left, release the model, and run batches until a request is done."""
        try:
            self._run_batch(batch)
        finally:
            self._model_lock.release()
        self._run_until_done(request)

    def _dequeue_batch(self) -> BatchedUnroll | None:
        """Remove the oldest request and compatible others from the queue and return them as a batch; None without any."""
        with self._queue_lock:
            self._remove_cancelled()
            if not self._queue:
                return None
            oldest = self._queue[0]
            requests = [request for request in self._queue if request.batch_key == oldest.batch_key]
            requests = requests[: self.max_batch_size]
            for request in requests:
                self._queue.remove(request)
        return BatchedUnroll(self.model, requests, self.timeout_s, self.fallback)

    def _remove_cancelled(self) -> None:
        """Finish queued requests that are cancelled or have expired. The caller holds the lock of the queue."""
        for request in list(self._queue):
            if request.finish_if_cancelled():
                self._queue.remove(request)

    def _run_batch(self, batch: BatchedUnroll, deadline: float = math.inf) -> bool:
        """Run a batch, see `BatchedUnroll.run`. The caller holds the lock of the model."""
        return batch.run(deadline)


def run_in_background(function: Callable[..., None], *args: Any) -> None:
    """Call a function in a thread of its own; in this thread if the system cannot start another one."""
    try:
        threading.Thread(target=function, args=args, daemon=True).start()
    except RuntimeError:
        function(*args)
