"""Dynamic batching of concurrent inference requests.

There is no batching window: a request starts at once when the model is idle. While the model is busy, requests queue;
the next batch takes the oldest request and up to `max_batch_size - 1` others with the same policy, input shape and
dtype. The batch runs in the thread of whichever caller acquires the model lock first (leader/follower).
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ctm import TickModel
from inference.engine import Engine, EngineResult, TickEvent
from inference.halting.policies import HaltingPolicy
from inference.recorder import Recorder, TickSnapshot

MAX_BATCH_SIZE = 16  # requests
BATCH_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class InferenceResult:
    """Result of one request.

    Attributes:
        engine_result: Answer and halting decision, a batch of one row.
        recorder: Recording of every tick of the row.
        duration_ms: Duration of the whole batch, in milliseconds.
        batch_size: Number of requests in the batch.
    """

    engine_result: EngineResult
    recorder: Recorder
    duration_ms: float
    batch_size: int


@dataclass(eq=False)
class PendingRequest:
    """Request in the queue.

    Attributes:
        inputs: A batch of one row.
        policy: The halting policy.
        done: Whether `result` or `error` is set.
        result: The result, if the batch succeeded.
        error: The exception of the batch, if it failed.
        batch_key: Requests with equal keys may share a batch.
    """

    inputs: Tensor
    policy: HaltingPolicy
    done: bool = False
    result: InferenceResult | None = None
    error: Exception | None = None
    batch_key: tuple = field(init=False)

    def __post_init__(self) -> None:
        self.batch_key = (str(self.policy), self.inputs.shape[1:], self.inputs.dtype)


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

    def submit(self, inputs: Tensor, policy: HaltingPolicy) -> InferenceResult:
        """Run one row of inputs. Blocks until its batch has run, in whichever thread.

        Args:
            inputs: A batch of one row.
            policy: The halting policy.

        Returns:
            The result of this row.

        Raises:
            ValueError: The policy does not fit the model, or the batch exceeds the timeout.
        """
        return self.submit_all([inputs], policy)[0]

    def submit_all(self, inputs: Sequence[Tensor], policy: HaltingPolicy) -> list[InferenceResult]:
        """Run several inputs, those of equal shape in the same batches. Blocks until all of them have run.

        Args:
            inputs: Batches of one row.
            policy: The halting policy.

        Returns:
            One result per input, in the same order.

        Raises:
            ValueError: See `submit`.
        """
        requests = [PendingRequest(row, policy) for row in inputs]
        with self._queue_lock:
            self._queue.extend(requests)
        return [self._wait(request) for request in requests]

    def _wait(self, request: PendingRequest) -> InferenceResult:
        """Run batches until a request is done; return its result or raise its error."""
        while not request.done:  # the oldest batch need not contain this request
            with self._model_lock:
                if not request.done:
                    self._run_batch(self._dequeue_batch())
        if request.error is not None:
            raise request.error
        assert request.result is not None
        return request.result

    def _dequeue_batch(self) -> list[PendingRequest]:
        """Remove the oldest request and compatible others from the queue, and return them."""
        with self._queue_lock:
            oldest = self._queue[0]
            batch = [request for request in self._queue if request.batch_key == oldest.batch_key][: self.max_batch_size]
            for request in batch:
                self._queue.remove(request)
        return batch

    def _run_batch(self, batch: Sequence[PendingRequest]) -> None:
        """Run a batch and store its results, or its exception, in every request."""
        try:
            results = self._run_engine(batch)
            for request, result in zip(batch, results, strict=True):
                request.result = result
        except Exception as error:  # raised in the thread of every request
            for request in batch:
                request.error = error
        finally:
            for request in batch:
                request.done = True

    def _run_engine(self, batch: Sequence[PendingRequest]) -> list[InferenceResult]:
        """Run the engine on a batch and return one result per request."""
        recorders: list[Recorder] = []
        start_time = time.perf_counter()

        def record_tick(tick: TickEvent) -> None:
            if time.perf_counter() - start_time > self.timeout_s:
                raise ValueError(
                    f"This takes more than {self.timeout_s:.0f} seconds here: use a policy with fewer ticks."
                )
            if not recorders:
                recorders.extend(Recorder(tick.budget, row) for row in range(len(batch)))
            snapshot = TickSnapshot.from_event(tick)
            for recorder in recorders:
                recorder.record(snapshot)

        engine = Engine(self.model, batch[0].policy, fallback=self.fallback)
        engine_result = engine.run(torch.cat([request.inputs for request in batch]), record_tick)
        duration_ms = (time.perf_counter() - start_time) * 1e3
        return [
            InferenceResult(engine_result.select_row(row), recorder, duration_ms, len(batch))
            for row, recorder in enumerate(recorders)
        ]
