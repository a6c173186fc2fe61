"""Requests of the dynamic batcher, and the unroll of a batch that can be interrupted between two ticks.

A thread may run some ticks of a batch and leave the rest to another thread. Requests can be read while they run, and be cancelled.
"""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ctm import TickModel
from inference.engine import Engine, EngineResult, ResultCollector, TickEvent
from inference.halting.policies import HaltingPolicy
from inference.recorder import Recorder, TickSnapshot

EXPIRED_MESSAGE = "Nothing has asked for this prediction for a while, so it was stopped: run it again."


class InferenceCancelled(Exception):
    """The request was cancelled."""


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
    """Request that waits or runs. One thread runs it; others may read and cancel it.

    Attributes:
        inputs: A batch of one row.
        policy: The halting policy.
        silenced_neurons: Neurons whose activation is held at 0.
        result: The result, if the batch succeeded.
        error: The exception of the batch, if it failed, or the reason why the request was cancelled.
        is_cancelled: Whether the request leaves its batch after the next tick.
        expires_at: Value of `time.monotonic()` after which nothing waits for the result, so the request is cancelled.
        recorder: Recording of the row; None before the first tick.
        num_ticks: Number of ticks that are recorded completely.
        batch_key: Requests with equal keys may share a batch.
    """

    inputs: Tensor
    policy: HaltingPolicy
    silenced_neurons: tuple[int, ...] = ()
    result: InferenceResult | None = None
    error: Exception | None = None
    is_cancelled: bool = False
    expires_at: float = math.inf
    recorder: Recorder | None = None
    num_ticks: int = 0
    batch_key: tuple = field(init=False)
    _done_event: threading.Event = field(init=False, default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.batch_key = (str(self.policy), self.inputs.shape[1:], self.inputs.dtype, self.silenced_neurons)

    @property
    def done(self) -> bool:
        """Whether the request has a result or an error."""
        return self._done_event.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the request is done; return whether it is."""
        return self._done_event.wait(timeout_s)

    def finish(self, result: InferenceResult | None = None, error: Exception | None = None) -> None:
        """Store the result or the error, unless the request is done already."""
        if not self.done:
            self.result, self.error = result, error
            self._done_event.set()

    def finish_if_cancelled(self) -> bool:
        """Finish the request if it is cancelled or has expired; return whether it is."""
        if self.is_cancelled:
            self.finish(error=InferenceCancelled("The request was cancelled."))
        elif time.monotonic() > self.expires_at:
            self.is_cancelled = True
            self.finish(error=ValueError(EXPIRED_MESSAGE))
        return self.is_cancelled

    def get_result(self) -> InferenceResult:
        """Return the result of a request that is done, or raise its error."""
        if self.error is not None:
            raise self.error
        assert self.result is not None, "the request is not done"
        return self.result


class BatchedUnroll:
    """Unroll of a batch of requests. One thread at a time may run it.

    Args:
        model: The model, in eval mode.
        requests: The requests, at least one, with equal `batch_key`.
        timeout_s: Maximum duration of the batch, in seconds.
        fallback: Which tick answers if no policy halts a row; see `Engine`.
    """

    def __init__(
        self, model: TickModel, requests: Sequence[PendingRequest], timeout_s: float, fallback: Literal["best", "last"]
    ) -> None:
        self.model = model
        self.requests = requests
        self.timeout_s = timeout_s
        self.fallback = fallback
        self._cancelled_rows: set[int] = set()
        self._start_time = time.perf_counter()
        self._collector: ResultCollector | None = None
        self._ticks: Iterator[TickEvent] = iter(())

    def run(self, deadline: float = math.inf) -> bool:
        """Run ticks until the batch is finished or the deadline has passed. Errors are stored in the requests.

        Args:
            deadline: Value of `time.monotonic()` after which no further tick starts.

        Returns:
            Whether the batch is finished, so that every request is done.
        """
        try:
            collector = self._collector or self._start()
            for tick in self._ticks:
                collector.add(tick)
                self._record(tick)
                if time.monotonic() >= deadline:
                    return False
            self._store_results(collector.build_result())
        except Exception as error:  # raised in the thread of every request
            for request in self.requests:
                request.finish(error=error)
        return True

    def _start(self) -> ResultCollector:
        """Start the engine."""
        inputs = torch.cat([request.inputs for request in self.requests])
        first = self.requests[0]
        engine = Engine(self.model, first.policy, fallback=self.fallback, silenced_neurons=first.silenced_neurons)
        self._ticks = engine.stream(inputs, self._cancelled_rows)
        self._collector = ResultCollector(engine, len(inputs), inputs.device)
        return self._collector

    def _record(self, tick: TickEvent) -> None:
        """Record a tick, and let cancelled requests leave."""
        if time.perf_counter() - self._start_time > self.timeout_s:
            raise ValueError(f"This takes more than {self.timeout_s:.0f} seconds here: use a policy with fewer ticks.")
        snapshot = TickSnapshot.from_event(tick)
        for row, request in enumerate(self.requests):
            if request.recorder is None:
                request.recorder = Recorder(tick.budget, row)
            request.recorder.record(snapshot)
            request.num_ticks = len(request.recorder.logits)  # last: other threads read this many ticks
            if request.finish_if_cancelled():
                self._cancelled_rows.add(row)

    def _store_results(self, engine_result: EngineResult) -> None:
        """Finish all requests that are not cancelled."""
        duration_ms = (time.perf_counter() - self._start_time) * 1e3
        for row, request in enumerate(self.requests):
            if request.done:
                continue
            assert request.recorder, "no tick has run"
            result = InferenceResult(engine_result.select_row(row), request.recorder, duration_ms, len(self.requests))
            request.finish(result)
