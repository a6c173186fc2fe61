"""Build the preview of a checkpoint that is published: example inputs, and the record of one prediction."""

import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ctm.checkpoint import load
from ctm.checkpoint.preview import MAX_PREVIEW_BYTES, MAX_PREVIEW_INPUTS, Preview, encode_image_url
from ctm.stores import StoreUnavailable
from training.data.image_inputs import read_image_input
from training.pipeline import Pipeline
from training.tasks import Task
from training.tasks.registry import resolve_task

MAX_INPUT_CHARS = 100_000  # of all example inputs; the record may use the rest
NUM_GENERATED_INPUTS = 3
LARGE_PARTS = ("activity", "attention")  # parts of a record that may be missing, the largest one first

log = logging.getLogger(__name__)


def build_preview_file(checkpoint_dir: Path, name: str, *, example_images: bool) -> bytes | None:
    """Return the content of preview.json.

    Args:
        checkpoint_dir: Checkpoint directory.
        name: Name of the checkpoint in the record.
        example_images: Whether images of the data set may be published, if the task has no other example inputs.

    Returns:
        At most `MAX_PREVIEW_BYTES`; None if the checkpoint has no known task or no example inputs, or its examples cannot be
        read. The reason is logged.
    """
    try:
        checkpoint = load(checkpoint_dir)
        task = resolve_task(checkpoint.task, checkpoint.model.config.to_dict(), "")
        examples = list_example_inputs(task, example_images)
        if not examples:
            return None
        record = Pipeline(checkpoint, task, name).build_record(read_example(examples[0]))
        return encode_preview(task, examples, record)
    except (ValueError, OSError, StoreUnavailable) as error:
        log.warning("The checkpoint is published without a preview: %s", error)
        return None


def list_example_inputs(task: Task, example_images: bool) -> list[Any]:
    """Return example inputs of a task: bundled ones, else generated ones, else held-out images of its data set."""
    examples = list(task.get_examples())
    if not examples and task.supports_generation:
        examples = [task.generate_input(seed) for seed in range(NUM_GENERATED_INPUTS)]
    if not examples and example_images:
        examples = task.load_example_images(MAX_PREVIEW_INPUTS)
    return examples[:MAX_PREVIEW_INPUTS]


def read_example(example: Any) -> Any:
    """Return an example input as `Pipeline.build_record` takes it."""
    return example if isinstance(example, str) else read_image_input(example).to_array()


def encode_preview(task: Task, examples: list[Any], record: dict[str, Any]) -> bytes:
    """Return a preview as JSON; parts of the record are left out until it is small enough."""
    inputs: list[str] = []
    for text in map(encode_example, examples):
        if sum(map(len, inputs)) + len(text) <= MAX_INPUT_CHARS:
            inputs.append(text)
    candidates: list[dict[str, Any] | None] = [
        record | dict.fromkeys(LARGE_PARTS[:count]) for count in range(len(LARGE_PARTS) + 1)
    ]
    for candidate in (*candidates, None):
        preview = Preview.model_validate({"input_type": task.input_type, "inputs": inputs, "record": candidate})
        content = json.dumps(preview.model_dump(), allow_nan=False, separators=(",", ":")).encode()
        if len(content) <= MAX_PREVIEW_BYTES:
            break
    return content


def encode_example(example: Any) -> str:
    """Return an example input as preview.json holds it: a text, or an image as a `data:` URL."""
    if isinstance(example, str):
        return example
    if isinstance(example, Path):
        return encode_image_url(example.read_bytes(), example.suffix.lstrip(".").replace("jpg", "jpeg"))
    content = io.BytesIO()
    Image.fromarray(np.asarray(example, dtype=np.uint8)).save(content, "PNG")
    return encode_image_url(content.getvalue(), "png")
