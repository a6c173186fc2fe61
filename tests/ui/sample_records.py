"""Handwritten records of unrolls, one for each kind of panel."""

import base64
from typing import Any

import numpy as np


def make_record(ticks: int, choices: dict[str, Any], input_view: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a record with rising certainty; without energy, attention and neurons unless they are passed."""
    return {
        "id": "byhand",
        "ticks": ticks,
        "iterations": ticks,
        "answer_tick": ticks,
        "sentence": "It is done.",
        "milliseconds": 12.0,
        "energy": None,
        "p_correct": None,
        "lines": [],
        "routes": None,
        "attention": None,
        "certainty": [(tick + 1) / ticks for tick in range(ticks)],
        "choices": choices,
        "input": input_view,
    } | more


def make_tracking_record() -> dict[str, Any]:
    """Return a record of tracking: the dot bounces off the right wall, one frame is hidden, the last answer is correct."""
    items = ["5,10", "5,12", "-", "5,14", "5,12", "+3"]
    frames = [None if item == "-" else [int(x) for x in item.split(",")] for item in items[:-1]]
    path = {"side": 16, "fastest": 2, "frames": frames, "ahead": 3, "asked": "position"}
    choices = {
        "kind": "positions",
        "labels": [str(at) for at in range(16)],
        "chosen": [[8, 15], [6, 12], [5, 8], [5, 6]],
        "probability": [[0.3, 0.2], [0.5, 0.4], [0.9, 0.6], [0.99, 0.95]],
    }
    weights = np.array([[9, 1, 1, 1, 1, 9], [1, 9, 1, 1, 1, 1], [1, 1, 1, 9, 1, 1], [0, 1, 2, 4, 9, 9]], np.uint8) * 28
    attention = {"heads": 1, "map": [6], "data": base64.b64encode(weights.tobytes()).decode()}
    return make_record(
        4, choices, {"kind": "sequence", "items": items, "places": ["row", "column"], "path": path}, attention=attention
    )


def make_stack_record() -> dict[str, Any]:
    """Return a record of brackets for `([)`: the model first answers balanced, then left open, then closed wrongly."""
    display = {"kind": "sequence", "items": list("([)"), "stack": {"depths": [1, 2, 1], "tops": [1, 2, 3]}}
    choices = {
        "kind": "positions",
        "labels": ["nothing open", "( open", "[ open", "broken"],
        "chosen": [[1, 1, 0], [1, 2, 2], [1, 2, 3]],
        "probability": [[0.9, 0.4, 0.6], [0.9, 0.8, 0.7], [0.9, 0.9, 0.9]],
    }
    return make_record(3, choices, display)


def make_ctc_record() -> dict[str, Any]:
    """Return a record of sorting: four numbers over seven ticks; the third is too early, so the last is out of order."""
    numbers = [3.0, -1.5, 40.0, 7.0]
    choices = {
        "kind": "spoken",
        "of": 4,
        "chosen": [4, 1, 1, 0, 4, 2, 3],
        "probability": [0.9, 0.8, 0.7, 0.9, 0.6, 0.9, 0.95],
    }
    answers = [[], [1], [1], [1, 0], [1, 0], [1, 0, 2], [1, 0, 2, 3]]
    display = {"kind": "sequence", "items": ["3", "-1.5", "40", "7"], "numbers": numbers}
    return make_record(7, choices, display, answers_by_tick=answers)


def make_scheduled_record() -> dict[str, Any]:
    """Return a record with an input schedule: two digits, an operator, then time to answer."""
    strip = np.zeros((32, 64), np.uint8)
    strip[4:28, 14:18], strip[6:10, 38:58], strip[10:28, 54:58] = 255, 255, 255
    names = [("1st digit", 1, 3, 0), ("2nd digit", 4, 6, 1), ("+", 7, 8, None), ("answer", 9, 12, None)]
    phases = [
        {"name": name, "from": first, "until": last} | ({} if picture is None else {"picture": picture})
        for name, first, last, picture in names
    ]
    display = {"kind": "picture", "width": 64, "height": 32, "channels": 1, "phases": phases}
    weights = np.zeros((12, 2, 8, 8), np.uint8)
    weights[:3, :, 2, 3], weights[3:6, :, 1, 5] = 255, 255
    probabilities = np.full((12, 10), 0.1)
    probabilities[9:] = np.eye(10)[8] * 0.9 + 0.01
    return make_record(
        12,
        {"kind": "classes", "of": 10, "labels": list("0123456789"), "probabilities": probabilities.tolist()},
        display | {"data": base64.b64encode(strip.tobytes()).decode()},
        attention={"heads": 2, "map": [8, 8], "data": base64.b64encode(weights.tobytes()).decode()},
        listening=8,
        energy=[5.0 - tick / 3 for tick in range(12)],
    )


def make_single_tick_record() -> dict[str, Any]:
    """Return a record of a feed-forward baseline: one answer only."""
    choices = {"kind": "classes", "of": 2, "labels": ["even", "odd"], "probabilities": [[0.2, 0.8]]}
    return make_record(1, choices, {"kind": "sequence", "items": ["1"]})
