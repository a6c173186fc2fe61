"""Arithmetic of the inside view: pairs, contributions of pairs to an output, and the model of one neuron.

All functions take a `ContinuousThoughtMachine` in eval mode and recorded values of one row as NumPy arrays. The output
layer is linear, so the contributions of the pairs and the bias add up to a logit exactly. The energy head is not linear:
there, `compute_energy_gradient` gives the gradient times the value.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ctm.models.base import TickModel
from ctm.models.ctm import ContinuousThoughtMachine
from ctm.modules.neuron_level_models import NeuronLinear
from ctm.modules.synchronisation import MAX_DECAY, MIN_DECAY

Array = NDArray[np.float32]
REASONS_WITHOUT_VIEW = {
    "lstm": (
        "This model is an LSTM: it has no neurons with models of their own and no synchronisation, so there is nothing to "
        "show here."
    ),
    "ff": (
        "This model is a feed-forward network: it computes its answer in one step, without neurons that change over time."
    ),
}


@dataclass(frozen=True)
class PairTable:
    """Neuron pairs of one synchronisation.

    Attributes:
        left: Index of the first neuron of each pair, shape (S,).
        right: Index of the second neuron of each pair, shape (S,).
        decay: Decay rate r of each pair, between 0 and 15, shape (S,).
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    decay: Array


@dataclass(frozen=True)
class Contributions:
    """Contributions to one output of the model at one tick.

    Attributes:
        values: Contribution of each pair of the output synchronisation, shape (S,).
        bias: What is added to their sum: the bias of a logit; for an energy, the share of inputs that are no pairs.
        output: The logit, the difference of two logits, or the energy.
        is_exact: Whether bias and values add up to the output. False for an energy.
        weights: What the synchronisation is multiplied by, the same at every tick, shape (S,); None for an energy.
    """

    values: Array
    bias: float
    output: float
    is_exact: bool = True
    weights: Array | None = None


@dataclass(frozen=True)
class NeuronLayer:
    """One linear map of a neuron, followed by a gated linear unit. The temperature is folded into weight and bias.

    Attributes:
        weight: Shape (2 * outputs, inputs); the second half of the rows gives the gates.
        bias: Shape (2 * outputs,).
        temperature: Learned temperature by which both were divided.
        norm_weight: Scale of the layer norm of the inputs, shape (inputs,); None without one.
        norm_bias: Offset of the layer norm, shape (inputs,); None without one.
    """

    weight: Array
    bias: Array
    temperature: float
    norm_weight: Array | None = None
    norm_bias: Array | None = None


@dataclass(frozen=True)
class NeuronModel:
    """Model of one neuron and its start values.

    Attributes:
        layers: One layer, or two for deep neuron-level models.
        start_trace: Learned history before the first tick, oldest first, shape (M,).
        start_activation: Learned activation before the first tick.
    """

    layers: tuple[NeuronLayer, ...]
    start_trace: Array
    start_activation: float


def check_has_inside(model: TickModel) -> ContinuousThoughtMachine:
    """Return a model that has an inside view.

    Raises:
        ValueError: It has none. The message says why, for the user.
    """
    if not isinstance(model, ContinuousThoughtMachine):
        raise ValueError(REASONS_WITHOUT_VIEW.get(model.config.model_type, "This kind of model has no inside view."))
    return model


def get_pairs(model: ContinuousThoughtMachine, synch_type: str) -> PairTable:
    """Return the pairs of a synchronisation.

    Args:
        model: The model.
        synch_type: "out" or "action"; a model without attention has no "action".
    """
    pairs = model.build_neuron_pairs(synch_type)
    decay = getattr(model, f"decay_params_{synch_type}").detach().clamp(MIN_DECAY, MAX_DECAY)
    return PairTable(pairs.left.cpu().numpy(), pairs.right.cpu().numpy(), _to_array(decay))


def compute_contributions(
    model: ContinuousThoughtMachine, sync: Array, target: int, against: int | None = None
) -> Contributions:
    """Return the contributions of all pairs to a logit, or to its margin over another logit.

    Args:
        model: The model.
        sync: Output synchronisation at a tick, shape (S,).
        target: Index of the logit, from 0 to K - 1.
        against: Index of the logit that is subtracted; None subtracts nothing.
    """
    layer = model.output_projector[-1]
    weight, bias = _to_array(layer.weight), _to_array(layer.bias)
    row, offset = weight[target].astype(np.float64), float(bias[target])
    if against is not None:
        row, offset = row - weight[against], offset - float(bias[against])
    logits = layer.weight.detach() @ torch.from_numpy(np.ascontiguousarray(sync)).to(layer.weight) + layer.bias.detach()
    output = logits[target] - (0 if against is None else logits[against])
    return Contributions((row * sync).astype(np.float32), offset, float(output), weights=row.astype(np.float32))


@torch.no_grad()
def compute_energy_gradient(
    model: ContinuousThoughtMachine, sync: Array, activations: Array, certainty: Array
) -> Contributions:
    """Return the gradient of the energy times the value, for each pair of the output synchronisation.

    Args:
        model: The model, with an energy head.
        sync: Output synchronisation at a tick, shape (S,).
        activations: Activations at that tick, shape (D,).
        certainty: Certainty of every position at that tick, shape (P,).
    """
    first, _, second = model.energy_proj
    latent, neurons, certainties = (
        torch.from_numpy(np.array(values)).to(first.weight).unsqueeze(1) for values in (sync, activations, certainty)
    )
    features = model.build_energy_head_input(latent, neurons, certainties).squeeze(1)
    hidden = first.weight @ features + first.bias
    gate = hidden.sigmoid()
    slope = gate * (1 + hidden * (1 - gate))  # derivative of SiLU
    values = (first.weight.T @ (second.weight[0] * slope)) * features
    energy = second.weight[0] @ (hidden * gate) + second.bias[0]
    return Contributions(
        _to_array(values[: len(sync)]), float(values[len(sync) :].sum()), float(energy), is_exact=False
    )


def get_neuron_model(model: ContinuousThoughtMachine, neuron: int) -> NeuronModel:
    """Return the model of one neuron.

    Args:
        model: The model.
        neuron: Index of the neuron, from 0 to D - 1.
    """
    linear_layers = [layer for layer in model.trace_processor[0] if isinstance(layer, NeuronLinear)]
    return NeuronModel(
        tuple(_get_neuron_layer(layer, neuron) for layer in linear_layers),
        _to_array(model.start_trace[neuron]),
        model.start_activated_state[neuron].item(),
    )


def run_neuron_model(neuron_model: NeuronModel, window: Array) -> list[tuple[Array, Array]]:
    """Return values and gates of every layer of a neuron.

    Args:
        neuron_model: The model of the neuron.
        window: Its history, oldest first, shape (M,).

    Returns:
        For each layer the linear values and the gates in [0, 1], each of shape (outputs,). The output of a layer is their
        product; that of the last layer is the activation.
    """
    inputs, outputs = window, []
    for layer in neuron_model.layers:
        if layer.norm_weight is not None:
            centered = inputs - inputs.mean()
            inputs = centered / np.sqrt(centered.var() + 1e-5) * layer.norm_weight + layer.norm_bias
        values, logits = np.split(layer.weight @ inputs + layer.bias, 2)
        gates = 1 / (1 + np.exp(-logits))
        outputs.append((values, gates))
        inputs = values * gates
    return outputs


def build_window(neuron_model: NeuronModel, pre_activations: Array, tick: int) -> Array:
    """Return the history that a neuron reads at a tick.

    Args:
        neuron_model: The model of the neuron.
        pre_activations: Its pre-activations at every tick, shape (t,).
        tick: The tick, from 1.
    """
    memory = len(neuron_model.start_trace)
    return np.concatenate((neuron_model.start_trace, pre_activations[:tick]))[-memory:]


def _get_neuron_layer(layer: NeuronLinear, neuron: int) -> NeuronLayer:
    """Return the part of a layer that belongs to one neuron."""
    temperature = layer.T.item()
    norm: dict[str, Any] = {}
    if layer.layernorm is not None:
        norm = {"norm_weight": _to_array(layer.layernorm.weight), "norm_bias": _to_array(layer.layernorm.bias)}
    weight, bias = _to_array(layer.w1[:, :, neuron].T), _to_array(layer.b1[0, neuron])
    return NeuronLayer(weight / temperature, bias / temperature, temperature, **norm)


def _to_array(values: torch.Tensor) -> Array:
    return values.detach().to("cpu", torch.float32).numpy()
