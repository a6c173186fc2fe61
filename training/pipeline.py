"""High-level inference: a checkpoint, its task and the engine behind one call.

    pipeline = ctm.pipeline("me/ctm-digits")
    result = pipeline("digit.png")                      # the dictionary of the HTTP API
    results = pipeline(["one.png", "two.png"])          # a list is a batch and gives a list
    for tick in pipeline.stream("digit.png"):           # one dictionary per tick
        print(tick["tick"], tick["label"], tick["certainty"])

The web app runs its predictions with the same class.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ctm.checkpoint import Checkpoint, load
from ctm.checkpoint.metadata import HaltingMetadata
from ctm.config import get_max_ticks
from ctm.messages import describe_value
from ctm.models.base import TickModel
from ctm.pretrained import resolve_pretrained
from inference import Engine, HaltingPolicy, Recorder, parse
from inference.batched_unroll import InferenceResult
from inference.confidence import ConfidenceLimit
from inference.dynamic_batcher import MAX_BATCH_SIZE, DynamicBatcher
from inference.engine import ResultCollector
from inference.halting.policies import check_policy_fits_task
from inference.halting.stored_policies import get_default_policy_text
from training.data.image_inputs import read_image_input
from training.familiarity import compute_input_limit
from training.record_stream import RecordStream
from training.tasks import Task
from training.tasks.registry import resolve_task
from training.tasks.samples import TaskInput
from training.thought_record import build_thought_record, build_tick_view

MAX_TEXT_CHARS = 1_000
RESPONSE_KEYS = (
    "answer",
    "label",
    "probability",
    "p_correct",
    "p_last",
    "verdict",
    "truth",
    "unfamiliar",
    "ticks_used",
    "iterations",
    "halted_by",
    "energy",
    "certainty",
    "answers_by_tick",
    "likeliest",
    "policy",
    "promise",
    "checkpoint",
    "sentence",
    "milliseconds",
    "notes",
)


def pipeline(
    model: str | Path | Checkpoint,
    *,
    task: str = "",
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    max_batch_size: int = MAX_BATCH_SIZE,
) -> "Pipeline":
    """Load a checkpoint for inference.

    Args:
        model: Directory of a checkpoint, name on the Hub, or a loaded checkpoint; see `ctm.load_pretrained`.
        task: Name of the task, for a checkpoint without task.json whose config fits several tasks.
        revision: See `ctm.load_pretrained`.
        token: See `ctm.load_pretrained`.
        cache_dir: See `ctm.load_pretrained`.
        local_files_only: See `ctm.load_pretrained`.
        force_download: See `ctm.load_pretrained`.
        max_batch_size: Maximum number of inputs that run in one batch.

    Raises:
        StoreUnavailable: The Hub cannot be reached.
        ValueError: The checkpoint does not exist or is invalid, or its task is unknown.
    """
    if isinstance(model, Checkpoint):
        checkpoint, name = model, ""
    else:
        checkpoint_dir, name = resolve_pretrained(
            model,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        checkpoint = load(checkpoint_dir)
    resolved_task = resolve_task(checkpoint.task, checkpoint.model.config.to_dict(), task)
    return Pipeline(checkpoint, resolved_task, name, max_batch_size)


class Pipeline:
    """A checkpoint with its task. Thread-safe: concurrent calls share batches.

    Args:
        checkpoint: The checkpoint.
        task: Its task.
        name: Name of the checkpoint in results.
        max_batch_size: Maximum number of inputs that run in one batch.
    """

    def __init__(
        self, checkpoint: Checkpoint, task: Task, name: str = "", max_batch_size: int = MAX_BATCH_SIZE
    ) -> None:
        self.checkpoint = checkpoint
        self.task = task
        self.name = name
        self.max_batch_size = max_batch_size
        self._ctc_length = task.get_spec().ctc_length
        self._fallback: Literal["best", "last"] = "last" if self._ctc_length else "best"
        self.batcher = DynamicBatcher(checkpoint.model, max_batch_size, fallback=self._fallback)

    @property
    def model(self) -> TickModel:
        """Model of the checkpoint, in eval mode."""
        return self.checkpoint.model

    @property
    def default_policy(self) -> str:
        """Halting policy of an empty `policy`, as text."""
        metadata = HaltingMetadata.model_validate(self.checkpoint.halting)
        return get_default_policy_text(metadata, get_max_ticks(self.model.config.to_dict()), bool(self._ctc_length))

    def __call__(self, inputs: Any, policy: str | HaltingPolicy = "") -> dict[str, Any] | list[dict[str, Any]]:
        """Run the model until the halting policy stops it.

        Args:
            inputs: A text, or an image as `training.data.image_inputs.read_image_input` reads it; or a list of these.
            policy: Halting policy; empty for the default of the checkpoint. `certainty>0.9|ticks=8` limits the ticks.

        Returns:
            The dictionary of the HTTP API (see docs/api.md); a list of dictionaries for a list.

        Raises:
            ValueError: An input or the policy is invalid. The message is one sentence.
        """
        if not isinstance(inputs, list | tuple):
            return self._run_batch([self._read_input(inputs)], self.parse_policy(policy))[0]
        parsed = []
        for number, value in enumerate(inputs, 1):
            try:
                parsed.append(self._read_input(value))
            except ValueError as error:
                raise ValueError(f"Input {number} of {len(inputs)}: {error}") from None
        return self._run_batch(parsed, self.parse_policy(policy))

    def stream(self, user_input: Any, policy: str | HaltingPolicy = "") -> Iterator[dict[str, Any]]:
        """Run the model on one input and yield every tick as it is computed.

        Args:
            user_input: See `__call__`; one input.
            policy: See `__call__`.

        Returns:
            An iterator of dictionaries, see `build_tick_view`. The last one has the result of `__call__` as `result`; it is
            None before.

        Raises:
            ValueError: See `__call__`.
        """
        task_input, notes = self._read_input(user_input)
        return self._iterate_ticks(task_input, notes, self.parse_policy(policy))

    def build_record(self, user_input: Any, policy: str | HaltingPolicy = "", name: str = "") -> dict[str, Any]:
        """Run the model on one input and return everything that the page shows.

        Args:
            user_input: A text, or pixels of shape (H, W, 3) in [0, 1].
            policy: See `__call__`.
            name: Name of the checkpoint in the record; default: that of the pipeline.

        Returns:
            The record of the unroll, see `build_thought_record`.

        Raises:
            ValueError: See `__call__`.
        """
        task_input, halting_policy = self.parse_input(user_input, name), self.parse_policy(policy)
        return self._build_record(task_input, halting_policy, self.run_input(task_input, halting_policy), name)

    def build_records(
        self, task_inputs: Sequence[TaskInput], policy: HaltingPolicy, name: str = ""
    ) -> list[dict[str, Any]]:
        """Run the model on parsed inputs, those of equal shape in one batch, and return their records.

        Args:
            task_inputs: The inputs, at most `max_batch_size`, because recordings use memory.
            policy: The halting policy.
            name: See `build_record`.

        Raises:
            ValueError: The run takes too long. The message is one sentence.
        """
        results = self.batcher.submit_all([task_input.inputs for task_input in task_inputs], policy)
        return [
            self._build_record(task_input, policy, result, name)
            for task_input, result in zip(task_inputs, results, strict=True)
        ]

    def run_input(
        self, task_input: TaskInput, policy: HaltingPolicy, silenced_neurons: tuple[int, ...] = ()
    ) -> InferenceResult:
        """Run the model on a parsed input and record its states.

        Args:
            task_input: The input.
            policy: The halting policy.
            silenced_neurons: Neurons whose activation is held at 0.

        Raises:
            ValueError: The model has no such neurons, or the run takes too long. The message is one sentence.
        """
        return self.batcher.submit(task_input.inputs, policy, silenced_neurons)

    def format_answers(self, task_input: TaskInput, logits: np.ndarray) -> list[str]:
        """Return the answer at every tick as text.

        Args:
            task_input: The input.
            logits: Logits at every tick, shape (t, P, C).
        """
        choices = torch.from_numpy(logits[:, : task_input.positions].argmax(2))
        return [self.task.format_answer(task_input, row).label for row in self.task.decoder.decode(choices)]

    def start_record(self, user_input: Any, policy: str | HaltingPolicy = "", name: str = "") -> RecordStream:
        """Queue one input and return its record while it grows.

        Args:
            user_input: See `build_record`.
            policy: See `__call__`.
            name: See `build_record`.

        Returns:
            The stream; `RecordStream.run` works on it.

        Raises:
            ValueError: See `__call__`.
        """
        task_input = self.parse_input(user_input, name)
        halting_policy = self.parse_policy(policy)
        return RecordStream(self.checkpoint, self.task, task_input, halting_policy, self.batcher, name or self.name)

    def parse_input(self, user_input: Any, name: str = "") -> TaskInput:
        """Check the type of an input and parse it.

        Args:
            user_input: A text, or pixels of shape (H, W, 3) in [0, 1].
            name: Name of the checkpoint in error messages; default: that of the pipeline.

        Raises:
            ValueError: The input is invalid. The message is one sentence.
        """
        if isinstance(user_input, str) and len(user_input) > MAX_TEXT_CHARS:
            raise ValueError(f"The text has {len(user_input):,} characters; the limit is {MAX_TEXT_CHARS:,}.")
        if isinstance(user_input, str) is not (self.task.input_type == "text"):
            expected = "a text" if self.task.input_type == "text" else "a picture"
            raise ValueError(f"The checkpoint {(name or self.name)[:80]} needs {expected}.")
        return self.task.parse_input(user_input)

    def parse_policy(self, policy: str | HaltingPolicy) -> HaltingPolicy:
        """Return a halting policy that fits the checkpoint.

        Args:
            policy: See `__call__`.

        Raises:
            ValueError: The policy is invalid or does not fit the task. The message is one sentence.
        """
        halting_policy = parse(str(policy or "").strip() or self.default_policy)
        check_policy_fits_task(halting_policy, self._ctc_length)
        return halting_policy

    def _read_input(self, value: Any) -> tuple[TaskInput, tuple[str, ...]]:
        """Parse an input of a program; return it with sentences about how its file was read."""
        if self.task.input_type == "text":
            if not isinstance(value, str):
                raise ValueError(f"An input must be a text: got {describe_value(value)}. Give {self.task.input_hint}.")
            return self.parse_input(value), ()
        image = read_image_input(value)
        return self.parse_input(image.to_array()), image.notes

    def _run_batch(
        self, parsed: Sequence[tuple[TaskInput, tuple[str, ...]]], policy: HaltingPolicy
    ) -> list[dict[str, Any]]:
        """Run parsed inputs, at most `max_batch_size` at a time, because recordings use memory."""
        responses = []
        for start in range(0, len(parsed), self.max_batch_size):
            chunk = parsed[start : start + self.max_batch_size]
            records = self.build_records([task_input for task_input, _ in chunk], policy)
            responses += [build_response(record, notes) for record, (_, notes) in zip(records, chunk, strict=True)]
        return responses

    def _iterate_ticks(
        self, task_input: TaskInput, notes: tuple[str, ...], policy: HaltingPolicy
    ) -> Iterator[dict[str, Any]]:
        """Yield the ticks of one input; see `stream`."""
        engine = Engine(self.model, policy, fallback=self._fallback)
        collector = ResultCollector(engine, 1, task_input.inputs.device)
        metadata = HaltingMetadata.model_validate(self.checkpoint.halting)
        limit = compute_input_limit(self.checkpoint, self.task, task_input)
        recorder: Recorder | None = None
        duration_s, start_time = 0.0, time.perf_counter()
        for event in engine.stream(task_input.inputs):
            recorder = recorder or Recorder(event.budget)
            recorder(event)
            collector.add(event)
            duration_s += time.perf_counter() - start_time
            view = build_tick_view(metadata, self.task, task_input, recorder, limit)
            result = None
            if event.halt_reasons:
                inference_result = InferenceResult(collector.build_result(), recorder, duration_s * 1e3, 1)
                result = build_response(self._build_record(task_input, policy, inference_result, limit=limit), notes)
            yield view | {"halted_by": event.halt_reasons[0] if event.halt_reasons else None, "result": result}
            start_time = time.perf_counter()

    def _build_record(
        self,
        task_input: TaskInput,
        policy: HaltingPolicy,
        result: InferenceResult,
        name: str = "",
        limit: ConfidenceLimit | None = None,
    ) -> dict[str, Any]:
        """Build the record of one result; see `build_thought_record`. The limit is computed if it is not given."""
        limit = limit or compute_input_limit(self.checkpoint, self.task, task_input)
        return build_thought_record(name or self.name, self.checkpoint, self.task, task_input, policy, result, limit)


def build_response(record: dict[str, Any], notes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the part of a record that programs need: the answer of the HTTP API and of `Pipeline`.

    Args:
        record: Result of `build_thought_record`.
        notes: Sentences about how the file was read; those about the content of the input follow.
    """
    record = record | {"ticks_used": record["ticks"], "notes": [*notes, *record["notes"]]}
    return {key: record[key] for key in RESPONSE_KEYS}
