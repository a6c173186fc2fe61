"""Record of an unroll that is still running: it can be read tick by tick, and the unroll can be cancelled.

stream = pipeline.start_record(pixels)
is_done = stream.run(0.3)                # short unrolls end here
while not is_done:
    show(stream.build_partial_record())
    is_done = stream.wait(0.25)
show(stream.build_record())
"""

import time
from typing import Any

from ctm.checkpoint import Checkpoint
from inference import HaltingPolicy
from inference.confidence import ConfidenceLimit
from inference.dynamic_batcher import DynamicBatcher
from training.familiarity import compute_input_limit
from training.tasks import Task
from training.tasks.samples import TaskInput
from training.thought_record import build_partial_record, build_thought_record, create_record_id

MAX_UNREAD_S = 10.0  # an unroll that nobody reads for this long is cancelled


class RecordStream:
    """Unroll of one input whose record can be read while it runs.

    Args:
        checkpoint: Checkpoint that runs.
        task: Task of the checkpoint.
        task_input: Input as the task parsed it.
        policy: Halting policy.
        batcher: Runs the model of the checkpoint.
        name: Name of the checkpoint in the record.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        task: Task,
        task_input: TaskInput,
        policy: HaltingPolicy,
        batcher: DynamicBatcher,
        name: str,
    ) -> None:
        self.checkpoint = checkpoint
        self.task = task
        self.task_input = task_input
        self.policy = policy
        self.batcher = batcher
        self.name = name
        self._id = create_record_id()
        self._limit: ConfidenceLimit | None = None
        self._partial: dict[str, Any] = {}
        self._request = batcher.start(task_input.inputs, policy)

    @property
    def record_id(self) -> str:
        """Id of the record."""
        return self._id

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called, or nothing has read the stream for `MAX_UNREAD_S`."""
        return self._request.is_cancelled

    def run(self, timeout_s: float) -> bool:
        """Work on the unroll in this thread for a limited time; a background thread does the rest.

        Args:
            timeout_s: Duration in seconds; it is exceeded by at most one tick.

        Returns:
            Whether the unroll has ended.
        """
        is_done = self.batcher.run_for(self._request, timeout_s)
        self._renew()
        return is_done

    def wait(self, timeout_s: float) -> bool:
        """Wait until the unroll ends, for a limited time.

        Args:
            timeout_s: Duration in seconds.

        Returns:
            Whether the unroll has ended, with a result, with an error or because it was cancelled.
        """
        self._renew()
        is_done = self._request.wait(timeout_s)
        self._renew()
        return is_done

    def cancel(self) -> None:
        """Cancel the unroll. It leaves its batch after the current tick; what is recorded stays readable."""
        self.batcher.cancel(self._request)

    def build_record(self) -> dict[str, Any]:
        """Return the complete record of an unroll that has ended, see `build_thought_record`.

        Raises:
            InferenceCancelled: The unroll was cancelled.
            ValueError: The unroll failed. The message is one sentence for the user.
        """
        result = self._request.get_result()
        record = build_thought_record(
            self.name, self.checkpoint, self.task, self.task_input, self.policy, result, self._get_limit()
        )
        return record | {"id": self._id}

    def build_partial_record(self) -> dict[str, Any]:
        """Return the record of the ticks so far, with `is_complete` false.

        It has the panels, but neither verdict nor confidence; `is_stopped` says whether the unroll was cancelled. Before the
        first tick it has no panels and `ticks` is 0.
        """
        ticks = self._request.num_ticks
        if ticks and ticks != self._partial.get("ticks"):
            assert self._request.recorder, "a tick is recorded"
            recorder = self._request.recorder.copy_first(ticks)
            self._partial = build_partial_record(
                self.name, self.checkpoint, self.task, self.task_input, self.policy, recorder, self._get_limit()
            )
        state = {"id": self._id, "is_complete": False, "is_stopped": self.is_cancelled}
        record = self._partial or {"checkpoint": self.name, "ticks": 0}
        return record | state | {"sentence": describe_progress(ticks, record.get("iterations"), self.is_cancelled)}

    def _get_limit(self) -> ConfidenceLimit:
        """Return the largest confidence that the input allows; computed once."""
        if self._limit is None:
            self._limit = compute_input_limit(self.checkpoint, self.task, self.task_input)
        return self._limit

    def _renew(self) -> None:
        """Extend the time until which the unroll goes on without being read."""
        self._request.expires_at = time.monotonic() + MAX_UNREAD_S


def describe_progress(ticks: int, iterations: int | None, is_stopped: bool) -> str:
    """Return the sentence of a partial record.

    Args:
        ticks: Ticks so far.
        iterations: Maximum number of ticks; None if it is not known yet.
        is_stopped: Whether the unroll was cancelled.
    """
    if not ticks:
        return "Stopped before the first tick." if is_stopped else "Waiting for the first tick."
    return (
        f"Stopped after {ticks} of {iterations} ticks."
        if is_stopped
        else f"Computing: tick {ticks} of at most {iterations}."
    )
