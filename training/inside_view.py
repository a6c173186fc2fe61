"""View models of the inside of an unroll: what "Look inside" shows, as plain data ready for JSON.

Requests are dictionaries with a `what`:

    {"what": "overview"}
    {"what": "neuron", "neuron": 17}
    {"what": "pair", "kind": "out" | "action", "pair": 3}
    {"what": "contributions", "of": "answer", "target": 12, "against": null | 13, "tick": 5}
    {"what": "contributions", "of": "energy", "tick": 5}
    {"what": "silence", "neuron": 17}

`ui/static/ctm/inside.js` gives the same answers in the browser. Arrays are `{"type": "float16" | ..., "data": base64}`,
little-endian.
"""

import base64
from dataclasses import asdict
from typing import Any

import numpy as np

from ctm.config import get_max_ticks
from ctm.inside import (
    NeuronLayer,
    PairTable,
    check_has_inside,
    compute_contributions,
    compute_energy_gradient,
    get_neuron_model,
    get_pairs,
)
from inference import HaltingPolicy, Recorder
from training.pipeline import Pipeline
from training.tasks import Task
from training.tasks.samples import TaskInput

MAX_OVERVIEW_BYTES = 12 * 2**20  # arrays of an overview before base64
TOO_LARGE = "The inside of this model is too large to show: {size:,.0f} MB for one answer, and at most {limit:,.0f} MB are sent."
REQUEST_NAMES = ("overview", "neuron", "pair", "contributions", "silence")


class InsideView:
    """The inside of one unroll. It is computed again from the input, with all states recorded.

    Args:
        pipeline: The checkpoint that ran.
        task_input: Its input.
        policy: The halting policy of the run.

    Raises:
        ValueError: The model has no inside view, or one that is too large. The message is one sentence.
    """

    def __init__(self, pipeline: Pipeline, task_input: TaskInput, policy: HaltingPolicy) -> None:
        self.model = check_has_inside(pipeline.model)
        self.pipeline = pipeline
        self.task_input = task_input
        self.policy = policy
        check_overview_size(pipeline)
        result = pipeline.run_input(task_input, policy)
        self.engine_result, self.recorder = result.engine_result, result.recorder
        self.pre_activations = self._get_full_channel("pre_activations")
        self.activations = self._get_full_channel("post_activations")
        self.sync_out = self._get_full_channel("sync_out")
        self.sync_action = self._get_full_channel("sync_action") if self.model.config.heads else None
        self.logits = np.stack(self.recorder.logits).reshape(len(self.activations), -1)

    @property
    def ticks(self) -> int:
        """Number of ticks that ran."""
        return len(self.activations)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a request.

        Args:
            request: See the module. It comes from a browser, so it may hold anything.

        Raises:
            ValueError: The request is invalid. The message is one sentence.
        """
        what = request.get("what")
        neurons = self.model.config.d_model
        if what == "overview":
            return self.build_overview()
        if what == "neuron":
            return self.build_neuron(read_index(request, "neuron", neurons))
        if what == "pair":
            kind = "action" if request.get("kind") == "action" and self.sync_action is not None else "out"
            return self.build_pair(kind, read_index(request, "pair", len(get_pairs(self.model, kind).left)))
        if what == "contributions":
            return self._answer_contributions(request)
        if what == "silence":
            return self.build_silenced(read_index(request, "neuron", neurons))
        raise ValueError(f"A request must name one of {', '.join(REQUEST_NAMES)}.")

    def build_overview(self) -> dict[str, Any]:
        """Return activations, synchronisation, logits and attention at every tick, and what is constant."""
        config, task = self.model.config, self.pipeline.task
        positions, classes = config.answer_shape
        energy = self.recorder.energy
        return {
            "neurons": config.d_model,
            "ticks": self.ticks,
            "answer_tick": int(self.engine_result.answer_tick[0]),
            "memory": config.memory_length,
            "positions": min(positions, self.task_input.positions),
            "main_position": find_main_position(task, self.task_input),
            "classes": classes,
            "labels": task.get_labels(),
            "has_energy": bool(energy),
            "energy": [round(value, 7) for value in energy] if energy else None,
            "certainty": [round(float(values.mean()), 7) for values in self.recorder.certainty],
            "labels_by_tick": self._format_answers(self.recorder),
            "pre_activations": encode_array(self.pre_activations, "float16"),
            "activations": encode_array(self.activations, "float16"),
            "start_activations": encode_array(self.model.start_activated_state.detach().cpu().numpy(), "float16"),
            "sync_out": encode_array(self.sync_out, "float16"),
            "sync_action": None if self.sync_action is None else encode_array(self.sync_action, "float16"),
            "logits": encode_array(self.logits, "float32"),
            "pairs": encode_pairs(get_pairs(self.model, "out")),
            "action_pairs": None if self.sync_action is None else encode_pairs(get_pairs(self.model, "action")),
            "attention": encode_attention(self.recorder),
            "layout": self.pipeline.checkpoint.layout or None,
        }

    def build_neuron(self, neuron: int) -> dict[str, Any]:
        """Return the model of a neuron and its activations."""
        neuron_model = get_neuron_model(self.model, neuron)
        return {
            "neuron": neuron,
            "layers": [encode_layer(layer) for layer in neuron_model.layers],
            "start_trace": encode_array(neuron_model.start_trace, "float32"),
            "start_activation": neuron_model.start_activation,
            "pre_activations": encode_array(self.pre_activations[:, neuron], "float32"),
            "activations": encode_array(self.activations[:, neuron], "float32"),
        }

    def build_pair(self, kind: str, pair: int) -> dict[str, Any]:
        """Return the activations of both neurons of a pair, from before the first tick, and its synchronisation."""
        table = get_pairs(self.model, kind)
        left, right = int(table.left[pair]), int(table.right[pair])
        start = self.model.start_activated_state.detach().cpu().numpy()[None]
        activations = np.concatenate((start, self.activations))
        sync = self.sync_action if kind == "action" else self.sync_out
        assert sync is not None
        return {
            "kind": kind,
            "pair": pair,
            "left": left,
            "right": right,
            "decay": float(table.decay[pair]),
            "left_activations": encode_array(activations[:, left], "float32"),
            "right_activations": encode_array(activations[:, right], "float32"),
            "sync": encode_array(sync[:, pair], "float32"),
        }

    def _answer_contributions(self, request: dict[str, Any]) -> dict[str, Any]:
        tick = read_index(request, "tick", self.ticks, first=1) - 1
        if request.get("of") == "energy":
            if not self.model.config.energy_head_enabled:
                raise ValueError("This model has no energy head.")
            contributions = compute_energy_gradient(
                self.model, self.sync_out[tick], self.activations[tick], self.recorder.certainty[tick]
            )
        else:
            target = read_index(request, "target", self.logits.shape[1])
            against = None
            if request.get("against") is not None:
                against = read_index(request, "against", self.logits.shape[1])
            contributions = compute_contributions(self.model, self.sync_out[tick], target, against)
        weights = None if contributions.weights is None else encode_array(contributions.weights, "float32")
        values = encode_array(contributions.values, "float32")
        return asdict(contributions) | {"values": values, "weights": weights, "tick": tick + 1}

    def build_silenced(self, neuron: int) -> dict[str, Any]:
        """Run the model again with the activation of a neuron held at 0, and return answers, certainty and energy by tick."""
        result = self.pipeline.run_input(self.task_input, self.policy, (neuron,))
        recorder, energy = result.recorder, result.recorder.energy
        return {
            "neuron": neuron,
            "ticks": len(recorder.logits),
            "answer_tick": int(result.engine_result.answer_tick[0]),
            "certainty": [round(float(values.mean()), 7) for values in recorder.certainty],
            "energy": [round(value, 7) for value in energy] if energy else None,
            "labels_by_tick": self._format_answers(recorder),
            "logits": encode_array(np.stack(recorder.logits).reshape(len(recorder.logits), -1), "float32"),
        }

    def _format_answers(self, recorder: Recorder) -> list[str]:
        """Return the answer at every tick as text."""
        return self.pipeline.format_answers(self.task_input, np.stack(recorder.logits))

    def _get_full_channel(self, name: str) -> np.ndarray:
        """Return a channel with all its entries, ticks first."""
        channel = self.recorder.get_channel(name)
        assert channel is not None, "check_overview_size keeps channels within the memory of a recorder"
        return channel


def find_main_position(task: Task, task_input: TaskInput) -> int:
    """Return the position that is explained first: the first one that decides whether the answer is correct."""
    scored_positions = task.get_spec().scored_positions
    return max(0, task_input.positions - scored_positions) if scored_positions else 0


def check_overview_size(pipeline: Pipeline) -> None:
    """Check that the overview of a model is small enough to be recorded and sent.

    Raises:
        ValueError: It is not. The message is one sentence.
    """
    config = pipeline.model.config
    ticks = get_max_ticks(config.to_dict())
    sync_sizes = [config.compute_synch_size(config.n_synch_out)]
    if config.heads:
        sync_sizes.append(config.compute_synch_size(config.n_synch_action))
    num_bytes = 2 * ticks * (2 * config.d_model + sum(sync_sizes)) + 4 * ticks * config.out_dims
    is_recorded = max(config.d_model, *sync_sizes) * 4 <= Recorder.max_bytes // 5 // ticks
    if num_bytes > MAX_OVERVIEW_BYTES or not is_recorded:
        raise ValueError(TOO_LARGE.format(size=num_bytes / 2**20, limit=MAX_OVERVIEW_BYTES / 2**20))


def read_index(request: dict[str, Any], name: str, count: int, first: int = 0) -> int:
    """Return an index of a request.

    Args:
        request: The request.
        name: Its key.
        count: Number of valid values.
        first: Smallest valid value.

    Raises:
        ValueError: It is no valid index. The message is one sentence.
    """
    value = request.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not first <= value < first + count:
        raise ValueError(f"{name} must be a whole number from {first} to {first + count - 1:,}.")
    return value


def encode_array(values: np.ndarray, array_type: str) -> dict[str, str]:
    """Return an array as JSON data, little-endian.

    Args:
        values: The array; its shape is not kept.
        array_type: "float16", "float32", "uint16" or "uint8".
    """
    limits = np.finfo(np.float16)
    if array_type == "float16":
        values = np.clip(values, limits.min, limits.max)
    content = np.ascontiguousarray(values, dtype=np.dtype(array_type).newbyteorder("<")).tobytes()
    return {"type": array_type, "data": base64.b64encode(content).decode("ascii")}


def encode_pairs(table: PairTable) -> dict[str, Any]:
    """Return the pairs of a synchronisation as JSON data."""
    return {
        "left": encode_array(table.left, "uint16"),
        "right": encode_array(table.right, "uint16"),
        "decay": encode_array(table.decay, "float16"),
    }


def encode_layer(layer: NeuronLayer) -> dict[str, Any]:
    """Return a layer of a neuron as JSON data."""
    return {
        "inputs": layer.weight.shape[1],
        "weight": encode_array(layer.weight, "float32"),
        "bias": encode_array(layer.bias, "float32"),
        "temperature": layer.temperature,
        "norm_weight": None if layer.norm_weight is None else encode_array(layer.norm_weight, "float32"),
        "norm_bias": None if layer.norm_bias is None else encode_array(layer.norm_bias, "float32"),
    }


def encode_attention(recorder: Recorder) -> dict[str, Any] | None:
    """Return the attention weights of all heads at every tick: a byte per weight, and a scale per tick and head.

    A weight is its byte times the scale. Unlike in the record of the page, heads and ticks can be compared.
    """
    weights = recorder.get_channel("attention")  # (t, H, N)
    if weights is None:
        return None
    scale = np.maximum(weights.max(2, keepdims=True), 1e-9) / 255
    return {
        "heads": weights.shape[1],
        "map": list(recorder.attention_map_shape),
        "scale": encode_array(scale, "float32"),
        "data": encode_array(np.rint(weights / scale), "uint8"),
    }
