"""Thoughts that are asked for at the same time are thought in one batch.

No thought waits for company: while a machine is busy, those who come line up, and its next batch takes all of them that it can.
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

MAX_BATCH_SIZE = 16  # thoughts in a batch
BATCH_TIMEOUT_S = 60.0  # seconds that a batch may take


@dataclass(frozen=True)
class InferenceResult:
    """One row's thought, from beginning to end."""

    engine_result: EngineResult
    recorder: Recorder
    duration_ms: float  # that its batch took
    batch_size: int  # thoughts in its batch


@dataclass(eq=False)
class PendingRequest:
    """Somebody who waits for a thought."""

    inputs: Tensor
    policy: HaltingPolicy
    done: bool = False
    result: InferenceResult | None = None
    error: Exception | None = None
    batch_key: tuple = field(init=False)

    def __post_init__(self):
        self.batch_key = (
            str(self.policy),
            self.inputs.shape[1:],
            self.inputs.dtype,
        )  # what may be thought in one batch


class DynamicBatcher:
    """A machine that many think with at once.

    Args:
        machine: in eval mode.
        most: thoughts in a batch; 1 for one after the other.
        limit: seconds that a batch may take.
        fallback: which tick answers where no rule ends a thought: see `Engine`.
    """

    def __init__(
        self,
        model: TickModel,
        max_batch_size: int = MAX_BATCH_SIZE,
        timeout_s: float = BATCH_TIMEOUT_S,
        fallback: Literal["best", "last"] = "best",
    ):
        self.model, self.max_batch_size, self.timeout_s, self.fallback = model, max_batch_size, timeout_s, fallback
        self._queue: deque[PendingRequest] = deque()
        self._queue_lock, self._model_lock = threading.Lock(), threading.Lock()

    def submit(self, inputs: Tensor, policy: HaltingPolicy) -> InferenceResult:
        """Think about one row of inputs; comes back when that is done, whoever's batch it was in.

        Args:
            inputs: a batch of one.
            policy: when to stop.

        Raises:
            ValueError: the policy does not suit the machine, or the thought takes too long.
        """
        asked = PendingRequest(inputs, policy)
        with self._queue_lock:
            self._queue.append(asked)
        while not asked.done:  # whoever is let in thinks for those who came first, who may be others
            with self._model_lock:
                if not asked.done:
                    self._run_batch(self._dequeue_batch())
        if asked.error is not None:
            raise asked.error
        assert asked.result is not None
        return asked.result

    def _dequeue_batch(self) -> list[PendingRequest]:
        """Whoever has waited longest, and those who can be taken along."""
        with self._queue_lock:
            first = self._queue[0]
            batch = [asked for asked in self._queue if asked.batch_key == first.batch_key][: self.max_batch_size]
            for asked in batch:
                self._queue.remove(asked)
        return batch

    def _run_batch(self, batch: Sequence[PendingRequest]) -> None:
        try:
            thoughts = self._run_engine(batch)
            for asked, thought in zip(batch, thoughts, strict=True):
                asked.result = thought
        except Exception as error:  # which every one of them is told
            for asked in batch:
                asked.error = error
        finally:
            for asked in batch:
                asked.done = True

    def _run_engine(self, batch: Sequence[PendingRequest]) -> list[InferenceResult]:
        recorders: list[Recorder] = []
        started = time.perf_counter()

        def watch(tick: TickEvent) -> None:
            if time.perf_counter() - started > self.timeout_s:
                raise ValueError(
                    f"This takes more than {self.timeout_s:.0f} seconds here: let the machine think fewer ticks."
                )
            if not recorders:
                recorders.extend(Recorder(tick.budget, row) for row in range(len(batch)))
            frame = TickSnapshot.from_event(tick)
            for recorder in recorders:
                recorder.record(frame)

        engine = Engine(self.model, batch[0].policy, fallback=self.fallback)
        verdict = engine.run(torch.cat([asked.inputs for asked in batch]), watch)
        milliseconds = (time.perf_counter() - started) * 1e3
        return [
            InferenceResult(verdict.select_row(row), recorder, milliseconds, len(batch))
            for row, recorder in enumerate(recorders)
        ]
