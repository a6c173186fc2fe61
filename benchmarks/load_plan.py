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


def build_plan(config: dict[str, Any], checkpoints: list[str], pause: list[float]) -> dict[str, Any]:
    """Build the request plan for the page described by a Gradio `/config`, as JSON data.

    Args:
        config: the Gradio configuration.
        checkpoints: names of bundled checkpoints.
        pause: minimum and maximum seconds between two requests of a visitor.

    Returns:
        on_load: calls that the page makes when it loads. things: inputs, each with its call and the correct answer. pause: as given.
    """
    props = {component["id"]: component["props"] for component in config["components"]}
    on_load, buttons = [], {}
    for event in config["dependencies"]:
        for target, trigger in event["targets"]:
            call = {"fn_index": event["id"], "trigger_id": target}
            if trigger == "load":
                given = [props[part].get("value") for part in event["inputs"]]
                on_load.append(call | {"data": given, "queue": event["queue"]})
            elif trigger == "click":
                others = [
                    props[part].get("value") for part in event["inputs"][3:]
                ]  # after input, checkpoint and policy
                buttons[props[target].get("elem_id")] = call | {"others": others}
    things = [thing for name in checkpoints for thing in iterate_inputs(name, buttons)]
    return {"on_load": on_load, "things": things, "pause": pause}


def iterate_inputs(name: str, buttons: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield held-out samples of a bundled checkpoint; images alternate between drawings and uploads.

    Raises:
        SystemExit: The checkpoint does not exist, or its task has no inputs that a visitor can enter.
    """
    folder = ROOT / "checkpoints" / name
    if not folder.is_dir():
        raise SystemExit(f"There is no bundled checkpoint {name}.")
    task, halting = (json.loads((folder / file).read_text("utf-8")) for file in ("task.json", "halting.json"))
    if task["task"] not in INPUT_ITERATORS:
        raise SystemExit(f"Visitors can give {', '.join(INPUT_ITERATORS)}: {name} takes {task['task']}.")
    rule = halting["policies"][halting["default"]]["policy"]
    samples = INPUT_ITERATORS[task["task"]](build_task(task), torch.Generator().manual_seed(0))
    for number, (given, answer) in enumerate(samples):
        upload = given.startswith("data:") and number % 2 == 1
        button = "run-upload" if upload else "run-drawing" if given.startswith("data:") else "run-text"
        thing = {"checkpoint": name, "rule": rule, "given": given, "answer": answer, "upload": upload}
        yield thing | buttons[button]


def iterate_digit_inputs(task: Task, generator: torch.Generator) -> Iterator[tuple[str, int]]:
    """Yield digits as drawings, dark on light and in the size of the page's canvas, with their labels."""
    pictures, labels = load_images(TEST)
    for row in torch.randperm(len(labels), generator=generator)[:SAMPLES_PER_CHECKPOINT].tolist():
        grey = Image.fromarray((255 * (1 - pictures[row, 0])).byte().numpy())
        file = io.BytesIO()
        grey.resize((CANVAS_SIZE_PX, CANVAS_SIZE_PX), Image.Resampling.BICUBIC).convert("RGBA").save(file, "PNG")
        yield f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}", labels[row].item()


def iterate_parity_inputs(task: Task, generator: torch.Generator) -> Iterator[tuple[str, list[int]]]:
    """Yield bit strings, with the parities of all prefixes."""
    batch = task.sample(TEST, SAMPLES_PER_CHECKPOINT, generator)
    for tokens, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        bits = [token for token in tokens if token in (0, 1)]  # the rest is padding
        yield join_digits(bits), targets[: len(bits)]


def iterate_arithmetic_inputs(task: Task, generator: torch.Generator) -> Iterator[tuple[str, int]]:
    """Yield number sequences, with the next number."""
    batch = task.sample(TEST, SAMPLES_PER_CHECKPOINT, generator)
    shown = batch.inputs.unflatten(1, (-1, task.settings.digits)).tolist()
    for numbers, target in zip(shown, batch.targets.tolist(), strict=True):
        yield " ".join(map(join_digits, numbers)), int(join_digits(target))


def join_digits(digits: list[int]) -> str:
    """Join digits to a string."""
    return "".join(map(str, digits))


INPUT_ITERATORS: dict[str, Callable] = {
    "digits": iterate_digit_inputs,
    "parity": iterate_parity_inputs,
    "arithmetic": iterate_arithmetic_inputs,
}
