"""Test the view models of the inside view: answers to requests, and requests that are invalid."""

import base64
import json

import numpy as np
import pytest

from tests.paths import ROOT
from training.inside_view import InsideView
from training.pipeline import pipeline


def decode(array: dict[str, str]) -> np.ndarray:
    """Return an encoded array as float64."""
    return np.frombuffer(base64.b64decode(array["data"]), array["type"]).astype(np.float64)


@pytest.fixture(scope="module")
def view() -> InsideView:
    """Return the view of an arithmetic answer that uses all ticks."""
    loaded = pipeline(ROOT / "checkpoints" / "arithmetic")
    return InsideView(loaded, loaded.parse_input("2 4 6 8"), loaded.parse_policy("ticks=6"))


def test_the_overview_holds_the_recorded_states(view):
    overview = json.loads(json.dumps(view.answer({"what": "overview"}), allow_nan=False))
    ticks, neurons = overview["ticks"], overview["neurons"]
    assert (ticks, neurons, overview["positions"], overview["classes"]) == (6, 128, 3, 10)
    activations = decode(overview["activations"]).reshape(ticks, neurons)
    np.testing.assert_allclose(activations, view.activations, atol=2e-3, rtol=1e-3)
    pairs = len(decode(overview["pairs"]["left"]))
    assert decode(overview["sync_out"]).size == ticks * pairs
    assert len(overview["labels_by_tick"]) == len(overview["certainty"]) == ticks
    assert overview["labels_by_tick"][-1] == "10"
    attention = overview["attention"]
    weights = decode(attention["data"]).reshape(ticks, attention["heads"], -1)
    weights *= decode(attention["scale"]).reshape(ticks, attention["heads"], 1)
    np.testing.assert_allclose(weights.sum(2), 1, atol=0.02)


def test_contributions_name_the_bias_and_add_up(view):
    target = int(view.logits[5, :10].argmax())
    answer = view.answer({"what": "contributions", "of": "answer", "target": target, "tick": 6})
    assert answer["bias"] + decode(answer["values"]).sum() == pytest.approx(view.logits[5, target], abs=1e-4)
    assert answer["is_exact"]
    energy = view.answer({"what": "contributions", "of": "energy", "tick": 6})
    assert energy["output"] == pytest.approx(view.recorder.energy[5], abs=1e-4)
    assert not energy["is_exact"]


def test_a_silenced_neuron_changes_the_unroll_and_one_without_effect_does_not_exist(view):
    important = int(np.abs(view.activations).sum(0).argmax())
    silenced = view.answer({"what": "silence", "neuron": important})
    assert silenced["ticks"] == 6
    assert not np.allclose(decode(silenced["logits"]), view.logits.ravel(), atol=1e-3)
    again = view.answer({"what": "overview"})
    np.testing.assert_allclose(decode(again["logits"]), view.logits.ravel(), atol=1e-6)


def test_pairs_and_neurons_have_full_precision(view):
    pair = view.answer({"what": "pair", "kind": "action", "pair": 4})
    np.testing.assert_array_equal(decode(pair["left_activations"])[1:], view.activations[:, pair["left"]].astype(float))
    neuron = view.answer({"what": "neuron", "neuron": 9})
    assert len(decode(neuron["start_trace"])) == view.model.config.memory_length
    assert neuron["layers"][0]["inputs"] == view.model.config.memory_length


@pytest.mark.parametrize(
    ("request_data", "message"),
    [
        ({}, "must name one of"),
        ({"what": "neuron"}, "neuron must be a whole number from 0 to 127"),
        ({"what": "neuron", "neuron": 128}, "neuron must be"),
        ({"what": "neuron", "neuron": True}, "neuron must be"),
        ({"what": "silence", "neuron": "3"}, "neuron must be"),
        ({"what": "pair", "pair": -1}, "pair must be"),
        ({"what": "contributions", "tick": 1, "target": 30}, "target must be a whole number from 0 to 29"),
        ({"what": "contributions", "tick": 7, "target": 0}, "tick must be a whole number from 1 to 6"),
        ({"what": "contributions", "tick": 1, "target": 0, "against": 1.5}, "against must be"),
    ],
)
def test_an_invalid_request_is_reported_in_one_sentence(view, request_data, message):
    with pytest.raises(ValueError, match=message):
        view.answer(request_data)


def test_a_baseline_has_no_inside_view():
    loaded = pipeline(ROOT / "checkpoints" / "brackets-lstm")
    with pytest.raises(ValueError, match="is an LSTM"):
        InsideView(loaded, loaded.parse_input("()"), loaded.parse_policy(""))
