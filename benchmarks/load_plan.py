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
# Buttons whose click runs a prediction on the server, by kind of input; those of version 0.1.0 last.
SERVER_BUTTONS = {
    "drawing": ("ask-server-drawing", "think-drawing"),
    "upload": ("ask-server-upload", "think-upload"),
    "text": ("ask-server-sequence", "think-text"),
}
FOLLOW_BUTTON = "follow-prediction"  # shows the further ticks of a long prediction; version 0.1.0 has none
NUM_REQUEST_VALUES = 3  # inputs of a run button that a request replaces: input, checkpoint and policy


def build_plan(config: dict[str, Any], checkpoints: list[str], pause: list[float]) -> dict[str, Any]:
    """Build the request plan for the page described by a Gradio `/config`, as JSON data.

    Args:
        config: the Gradio configuration.
        checkpoints: names of bundled checkpoints.
        pause: minimum and maximum seconds between two requests of a visitor.

    Returns:
        on_load: calls to the server that the page makes when it loads. requests: inputs, each with its call and the correct answer. follow:
        the call that waits for the result of a long prediction. pause: the argument.
    """
    calls_by_button = {
        button_id: call | {"other_values": values[NUM_REQUEST_VALUES:]}
        for trigger, button_id, call, values, _ in iterate_calls(config)
        if trigger == "click"
    }
    calls = {kind: find_call(kind, calls_by_button) for kind in SERVER_BUTTONS}
    requests = [request for name in checkpoints for request in iterate_requests(name, calls)]
    follow = calls_by_button.get(FOLLOW_BUTTON)
    return {"on_load": build_load_calls(config), "requests": requests, "follow": follow, "pause": pause}


def build_load_calls(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the calls to the server that a page makes when it loads."""
    return [
        call | {"data": values, "queue": is_queued}
        for trigger, _, call, values, is_queued in iterate_calls(config)
        if trigger == "load"
    ]


def iterate_calls(config: dict[str, Any]) -> Iterator[tuple[str, str | None, dict[str, Any], list[Any], bool]]:
    """Yield the calls to the server that a page can make.

    Args:
        config: the Gradio configuration.

    Yields:
        Name of the event, element id of its component, the call, the initial values of its inputs, and whether it is queued.
    """
    props = {component["id"]: component["props"] for component in config["components"]}
    for event in config["dependencies"]:
        if not event["backend_fn"]:  # the browser computes it
            continue
        for target_id, trigger in event["targets"]:
            call = {"fn_index": event["id"], "trigger_id": target_id}
            values = [props[component_id].get("value") for component_id in event["inputs"]]
            yield trigger, props.get(target_id, {}).get("elem_id"), call, values, event["queue"]


def find_call(kind: str, calls_by_button: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the call that runs a prediction of an input of this kind on the server.

    Raises:
        SystemExit: The page has no such button.
    """
    names = SERVER_BUTTONS[kind]
    if (name := next((name for name in names if name in calls_by_button), None)) is None:
        raise SystemExit(f"The page has none of the buttons {', '.join(names)}, which ask the server to predict.")
    return calls_by_button[name]


def iterate_requests(name: str, calls: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield held-out samples of a bundled checkpoint; images alternate between drawings and uploads.

    Args:
        name: name of the checkpoint.
        calls: for each kind of input the call that runs it on the server.

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
        kind = "upload" if is_upload else "drawing" if is_image else "text"
        request = {"checkpoint": name, "policy": policy, "value": value, "answer": answer, "is_upload": is_upload}
        yield request | calls[kind]


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
