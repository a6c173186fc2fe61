"""Golden samples: inputs and what Python computes for them, with which the exported page checks the browser."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from inference import Engine
from training.pipeline import Pipeline
from training.tasks import Task
from ui.services.image_decoding import decode_image, encode_data_url

NUM_SAMPLES = 16
MAX_TOTAL_LOGITS = 32_768  # of all samples of a checkpoint
MAX_IMAGE_CHARS = 40_000  # of one data URL


@dataclass(frozen=True)
class GoldenSample:
    """An input and its result under the default policy.

    Attributes:
        user_input: A text, or the data URL of a PNG image.
        ticks: Ticks until the policy halted.
        answer_tick: Tick whose answer counts, from 1.
        label: The answer as a short text.
        logits: Logits at the answer tick, shape (K,).
    """

    user_input: str
    ticks: int
    answer_tick: int
    label: str
    logits: np.ndarray


def compute_golden_samples(pipeline: Pipeline, examples: Sequence[str]) -> list[GoldenSample]:
    """Run the model on a few inputs.

    Args:
        pipeline: The checkpoint.
        examples: Example inputs of the page, as texts or data URLs.

    Returns:
        At most `NUM_SAMPLES` samples; fewer if the answers have many logits, or if the task has few inputs.
    """
    count = max(1, min(NUM_SAMPLES, MAX_TOTAL_LOGITS // pipeline.model.config.out_dims))
    return list(islice(_iterate_samples(pipeline, examples), count))


def _iterate_samples(pipeline: Pipeline, examples: Sequence[str]) -> Iterator[GoldenSample]:
    """Yield the samples of those inputs that the task reads."""
    for user_input in iterate_inputs(pipeline.task, examples):
        try:
            raw_input = user_input if pipeline.task.input_type == "text" else decode_image(user_input)
            yield compute_golden_sample(pipeline, user_input, raw_input)
        except ValueError:  # a turned example that the task does not read
            continue


@torch.inference_mode()
def compute_golden_sample(pipeline: Pipeline, user_input: str, raw_input: Any) -> GoldenSample:
    """Run the model on one input.

    Args:
        pipeline: The checkpoint.
        user_input: The input as the page holds it.
        raw_input: The same input as the pipeline reads it.

    Raises:
        ValueError: The task cannot read the input.
    """
    record = pipeline.build_record(raw_input)
    engine = Engine(pipeline.model, pipeline.parse_policy(f"ticks={record['answer_tick']}"), fallback="last")
    logits = engine.run(pipeline.parse_input(raw_input).inputs).answer[0].numpy()
    return GoldenSample(user_input, record["ticks"], record["answer_tick"], record["label"], logits)


def iterate_inputs(task: Task, examples: Sequence[str]) -> Iterator[str]:
    """Yield inputs: generated ones; without a generator the examples, and for images their mirrored and turned copies."""
    if task.supports_generation:
        for seed in range(NUM_SAMPLES):
            generated = task.generate_input(seed)
            yield generated if task.input_type == "text" else encode_data_url(generated / np.float32(255))
        return
    yield from examples
    if task.input_type == "text":
        return
    for turn in (np.fliplr, np.rot90, np.flipud):
        for example in examples:
            if len(example) <= MAX_IMAGE_CHARS:
                yield encode_data_url(turn(decode_image(example)))
