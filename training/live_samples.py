"""Live samples: the answers of a model in training to a few fixed validation inputs, for the charts of a run.

The inputs depend on the task and the seed alone. They are the same at every evaluation and after a resume.
"""

import dataclasses
import json
from typing import Any

import numpy as np
import torch

from ctm import TickModel
from ctm.checkpoint import Checkpoint
from training.config import RunConfig
from training.pipeline import Pipeline
from training.tasks import Task
from training.tasks.samples import Batch, TaskInput
from training.tasks.splits import VALIDATION, make_generator
from training.thought_record import decode_base64, encode_base64
from training.trainer_state import build_step_halting

NUM_SAMPLES = 3
NUM_CANDIDATES = 48  # validation samples among which three of different difficulty are chosen
MAX_ATTENTION_CHARS = 3_000  # base64; more is averaged over the heads first, and then left out
MAX_PICTURE_SIDE = 64  # pixels of a photograph; larger ones are reduced
MAX_RECORD_BYTES = 26_000  # with attention; `training.samples_log` then keeps about 50 evaluations
# Entries of a record that the page does not draw, or that are as large as the rest.
OMITTED_ENTRIES = ("activity", "answers_by_tick", "milliseconds")


class LiveSamples:
    """Fixed validation inputs of a run.

    Attributes:
        inputs: Title and parsed input of each; empty if the task cannot display its samples.
    """

    def __init__(self, config: RunConfig, task: Task) -> None:
        """Choose the inputs.

        Args:
            config: Settings of the run.
            task: Its task.
        """
        self.config = config
        self.task = task
        self.inputs = choose_inputs(task, config.train.seed)

    def build_samples(self, model: TickModel, step: int) -> list[dict[str, Any]]:
        """Run the model on the inputs with the policy that the Think tab uses for a saved step.

        Args:
            model: The model; it is in evaluation mode during the call.
            step: Optimiser steps done.

        Returns:
            Title, whether the answer is correct, and record of each input; see `training.thought_record`.

        Raises:
            ValueError: The run takes too long.
        """
        was_training = model.training
        model.eval()
        try:
            checkpoint = Checkpoint(model, self.task.describe(), build_step_halting(self.config), {})
            pipeline = Pipeline(checkpoint, self.task, f"step {step:,}")
            device = next(model.parameters()).device
            inputs = [dataclasses.replace(value, inputs=value.inputs.to(device)) for _, value in self.inputs]
            records = pipeline.build_records(inputs, pipeline.parse_policy(""))
        finally:
            model.train(was_training)
        return [
            {
                "title": title,
                "is_correct": record["verdict"] == "correct",
                "record": reduce_record(record | {"id": f"{step}-{number}"}),
            }
            for number, ((title, _), record) in enumerate(zip(self.inputs, records, strict=True), 1)
        ]


def choose_inputs(task: Task, seed: int) -> list[tuple[str, TaskInput]]:
    """Choose validation inputs of different difficulty.

    Args:
        task: The task.
        seed: Seed of the run.

    Returns:
        Title and parsed input of each, the easiest first.
    """
    candidates = task.sample(VALIDATION, NUM_CANDIDATES, make_generator("live samples", seed))
    order = candidates.difficulty.argsort(stable=True)
    places = [(2 * index + 1) * len(order) // (2 * NUM_SAMPLES) for index in range(NUM_SAMPLES)]
    chosen = []
    for number, row in enumerate(order[sorted(set(places))].tolist(), 1):
        rows = slice(row, row + 1)
        sample = Batch(candidates.inputs[rows], candidates.targets[rows], candidates.difficulty[rows])
        task_input = task.build_task_input(sample)
        if task_input is None:
            return []
        chosen.append((format_title(task, int(sample.difficulty), number), task_input))
    return chosen


def format_title(task: Task, difficulty: int, number: int) -> str:
    """Return the title of an input: its difficulty, or else its number."""
    if task.difficulty_name is None:
        return f"Input {number}"
    return f"{task.difficulty_name[0].upper()}{task.difficulty_name[1:]}: {difficulty}"


def reduce_record(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record in the same format that needs less space.

    Neurons are left out, numbers are rounded, large pictures are reduced, and attention is averaged over its heads or left out.

    Args:
        record: Result of `build_thought_record`.
    """
    reduced = {name: value for name, value in record.items() if name not in OMITTED_ENTRIES}
    for name in ("energy", "certainty", "p_correct", "p_last"):
        if reduced[name] is not None:
            reduced[name] = [round(value, 4) for value in reduced[name]]
    reduced["choices"] = round_probabilities(record["choices"])
    reduced["input"] = reduce_picture(record["input"])
    reduced["attention"] = reduce_attention(record["attention"])
    if count_bytes(reduced) > MAX_RECORD_BYTES:
        reduced["attention"] = None
    return reduced


def count_bytes(value: Any) -> int:
    """Return the size of a value as JSON."""
    return len(json.dumps(value, separators=(",", ":")))


def round_probabilities(choices: dict[str, Any]) -> dict[str, Any]:
    """Return the choices of a record with probabilities of two decimals."""
    return {
        name: np.round(values, 2).tolist() if name in ("probability", "probabilities") else values
        for name, values in choices.items()
    }


def reduce_picture(view: dict[str, Any]) -> dict[str, Any]:
    """Return the input of a record; a photograph of more than `MAX_PICTURE_SIDE` pixels is reduced.

    The places of a maze and the digits of a strip are pixels, so these pictures stay as they are.
    """
    is_photograph = view["kind"] == "picture" and not {"start", "phases"} & view.keys()
    if not is_photograph or max(view["width"], view["height"]) <= MAX_PICTURE_SIDE:
        return view
    pixels = decode_base64(view["data"]).reshape(view["height"], view["width"], view["channels"])
    factor = -(-max(view["width"], view["height"]) // MAX_PICTURE_SIDE)
    means = torch.nn.functional.avg_pool2d(torch.from_numpy(pixels).float().permute(2, 0, 1), factor, ceil_mode=True)
    height, width = means.shape[1:]
    return view | {"width": width, "height": height, "data": encode_base64(means.permute(1, 2, 0).numpy())}


def reduce_attention(view: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the attention of a record: of all heads, their mean, or None, whatever fits into `MAX_ATTENTION_CHARS`."""
    if view is None or len(view["data"]) <= MAX_ATTENTION_CHARS:
        return view
    weights = decode_base64(view["data"]).reshape(-1, view["heads"], int(np.prod(view["map"])))
    data = encode_base64(weights.mean(1))
    return view | {"heads": 1, "data": data} if len(data) <= MAX_ATTENTION_CHARS else None
