"""Request plans of the load test: the endpoints that a visitor calls, and the inputs it sends."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import torch
from PIL import Image

from benchmarks.paths import ROOT
from training.tasks import Task, build_task
from training.tasks.digits import load_images
from training.tasks.splits import TEST

SAMPLES_PER_CHECKPOINT = 200
CANVAS_SIZE_PX = 280  # size of a drawing on the page
NUM_REQUEST_VALUES = 3  # inputs of a run button that a request replaces: input, checkpoint and policy


def build_plan(config: dict[str, Any], checkpoints: list[str], pause: list[float]) -> dict[str, Any]:
    """Build the request plan for the page described by a Gradio `/config`, as JSON data.

    Args:
        config: the Gradio configuration.
        checkpoints: names of bundled checkpoints.
        pause: minimum and maximum seconds between two requests of a visitor.

    Returns:
        on_load: calls that the page makes when it loads. requests: inputs, each with its call and the correct answer. pause: the
        argument.
    """
    props = {component["id"]: component["props"] for component in config["components"]}
    on_load = []
    calls_by_button: dict[str, dict[str, Any]] = {}
    for event in config["dependencies"]:
        for target_id, trigger in event["targets"]:
            call = {"fn_index": event["id"], "trigger_id": target_id}
            initial_values = [props[component_id].get("value") for component_id in event["inputs"]]
            if trigger == "load":
                on_load.append(call | {"data": initial_values, "queue": event["queue"]})
            elif trigger == "click":
                button_id = props[target_id].get("elem_id")
                calls_by_button[button_id] = call | {"other_values": initial_values[NUM_REQUEST_VALUES:]}
    requests = [request for name in checkpoints for request in iterate_requests(name, calls_by_button)]
    return {"on_load": on_load, "requests": requests, "pause": pause}


def iterate_requests(name: str, calls_by_button: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield held-out samples of a bundled checkpoint; images alternate between drawings and uploads.

    Args:
        name: name of the checkpoint.
        calls_by_button: for each run button of the page the call that it makes.

    Raises:
        SystemExit: The checkpoint does not exist, or its task has no inputs that a visitor can enter.
    """
    checkpoint_dir = ROOT / "checkpoints" / name
    if not checkpoint_dir.is_dir():
        raise SystemExit(f"There is no bundled checkpoint {name}.")
    task, halting = (json.loads((checkpoint_dir / file).read_text("utf-8")) for file in ("task.json", "halting.json"))
    if task["task"] not in INPUT_ITERATORS:
        raise SystemExit(f"Visitors can give {', '.join(INPUT_ITERATORS)}: {name} takes {task['task']}.")
    policy = halting["policies"][halting["default"]]["policy"]
    samples = INPUT_ITERATORS[task["task"]](build_task(task), torch.Generator().manual_seed(0))
    for index, (value, answer) in enumerate(samples):
        is_image = value.startswith("data:")
        is_upload = is_image and index % 2 == 1
        button_id = "run-upload" if is_upload else "run-drawing" if is_image else "run-text"
        request = {"checkpoint": name, "policy": policy, "value": value, "answer": answer, "is_upload": is_upload}
        yield request | calls_by_button[button_id]


def iterate_digit_inputs(task: Task, generator: torch.Generator) -> Iterator[tuple[str, int]]:
    """Yield digits as drawings, dark on light and in the size of the page's canvas, with their labels."""
    images, labels = load_images(TEST)
    for row in torch.randperm(len(labels), generator=generator)[:SAMPLES_PER_CHECKPOINT].tolist():
        digit = Image.fromarray((255 * (1 - images[row, 0])).byte().numpy())
        drawing = digit.resize((CANVAS_SIZE_PX, CANVAS_SIZE_PX), Image.Resampling.BICUBIC).convert("RGBA")
        buffer = io.BytesIO()
        drawing.save(buffer, "PNG")
        yield f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}", int(labels[row])


def iterate_parity_inputs(task: Task, generator: torch.Generator) -> Iterator[tuple[str, list[int]]]:
    """Yield bit strings, with the parities of all prefixes."""
    batch = task.sample(TEST, SAMPLES_PER_CHECKPOINT, generator)
    for tokens, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        bits = [token for token in tokens if token in (0, 1)]  # the rest is padding
        yield join_digits(bits), targets[: len(bits)]


def iterate_arithmetic_inputs(task: Task, generator: torch.Generator) -> Iterator[tuple[str, int]]:
    """Yield number sequences, with the next number."""
    batch = task.sample(TEST, SAMPLES_PER_CHECKPOINT, generator)
    digits_by_sample = batch.inputs.unflatten(1, (-1, task.settings.digits)).tolist()
    for numbers, target in zip(digits_by_sample, batch.targets.tolist(), strict=True):
        yield " ".join(map(join_digits, numbers)), int(join_digits(target))


def join_digits(digits: list[int]) -> str:
    """Join digits to a string."""
    return "".join(map(str, digits))


INPUT_ITERATORS: dict[str, Callable[[Task, torch.Generator], Iterator[tuple[str, Any]]]] = {
    "digits": iterate_digit_inputs,
    "parity": iterate_parity_inputs,
    "arithmetic": iterate_arithmetic_inputs,
}
