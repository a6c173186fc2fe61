"""Flat views of encoded inputs and states: named tensors in place of frozen dataclasses.

A graph takes and gives tensors. An interface names the tensors that differ between inputs or between ticks, and rebuilds
the dataclasses from them, so that a graph calls `TickModel.encode` and `TickModel.tick` themselves. Everything else
(prepared weights, neuron pairs) is constant and comes from the encoding of an example input.

Tensors keep the layout of the eager code, so that a tick transposes nothing; `TensorSpec.axes` names the batch axis. Every
tensor has one: rows can be selected, and rows at different ticks can form a batch.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from ctm.models.base import EncodedInput, ModelState, TickModel
from ctm.models.baselines import FFContext, FFState, LSTMContext, LSTMState
from ctm.models.ctm import ContinuousThoughtMachine, CTMContext, CTMState
from ctm.models.outputs import TickOutput
from ctm.modules.input_encoder import EncoderContext, EncoderContextT, StaticInput
from ctm.modules.state import PreActivationHistory, SyncAccumulator
from ctm.modules.synapses import FusedInputProjection

EncodedT = TypeVar("EncodedT", bound=EncodedInput)
StateT = TypeVar("StateT", bound=ModelState)

BATCH, LENGTH, HEIGHT, WIDTH, FRAMES, PLACES = "batch", "length", "height", "width", "frames", "places"
DYNAMIC_AXES = frozenset({BATCH, LENGTH, HEIGHT, WIDTH, FRAMES, PLACES})


@dataclass(frozen=True)
class TensorSpec:
    """Tensor that enters or leaves a graph.

    Attributes:
        name: Name in the graph.
        axes: Names of the axes. Those of `DYNAMIC_AXES` may have any size, the others are fixed.
        role: What the tensor holds.
        max_length: Maximum size of the axis "length"; None if any size is possible.
    """

    name: str
    axes: tuple[str, ...]
    role: str
    max_length: int | None = None


HISTORY = TensorSpec("history", ("neurons", "memory", BATCH), "pre-activations of the last ticks, oldest first")
ACTIVATIONS = TensorSpec("activations", ("neurons", BATCH), "post-activations of the last tick")
OUT_SYNC = (
    TensorSpec("out_alpha", ("pairs", BATCH), "output synchronisation: decayed sum of products"),
    TensorSpec("out_beta", ("pairs", BATCH), "output synchronisation: decayed number of ticks"),
)
ACTION_SYNC = (
    TensorSpec("action_alpha", ("pairs", BATCH), "action synchronisation: decayed sum of products"),
    TensorSpec("action_beta", ("pairs", BATCH), "action synchronisation: decayed number of ticks"),
)
KEYS_AND_VALUES = (
    TensorSpec("keys", (BATCH, "heads", "head_width", PLACES), "attention keys"),
    TensorSpec("values", (BATCH, "heads", PLACES, "head_width"), "attention values"),
)
OBSERVATION = TensorSpec("observation", (BATCH, "units"), "first linear map of the synapses, applied to the raw input")
LSTM_STATE = (
    TensorSpec("hidden", ("layers", BATCH, "neurons"), "hidden state of every layer"),
    TensorSpec("cell", ("layers", BATCH, "neurons"), "cell state of every layer"),
)
FEATURES = TensorSpec("features", (BATCH, "channels"), "mean of the backbone features over all places")


class GraphHistory(PreActivationHistory):
    """History that is copied at every tick: a graph has no memory of its own to append to."""

    append = PreActivationHistory.append_to_copy


class ModelInterface(ABC, Generic[EncodedT, StateT]):
    """Flat view of the encoded input and of the state of one model.

    Args:
        model: Model in eval mode.
        example: Its encoding of an example input, which provides everything that does not depend on the input.

    Attributes:
        encoded_specs: Tensors of the encoded input.
        state_specs: Tensors of the state.
    """

    encoded_specs: tuple[TensorSpec, ...]
    state_specs: tuple[TensorSpec, ...]

    def __init__(self, model: TickModel, example: EncodedT) -> None:
        self.model = model
        self.example = example

    def encode(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Encode the input: tensors in the order of `encoded_specs`."""
        return self.flatten_encoded(self.model.encode(inputs))

    def compute_durations(self, encoded: tuple[Tensor, ...]) -> tuple[Int[Tensor, ""], Int[Tensor, " B"]]:
        """Return the number of ticks of the unroll, and the ticks of every row before an answer counts."""
        batch = encoded[0].size(0)
        return torch.tensor(self.example.ticks), torch.zeros(batch, dtype=torch.long)

    def start(self, encoded: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the state before the first tick: tensors in the order of `state_specs`."""
        return self.flatten_state(self.model.initial_state(self.unflatten_encoded(encoded), 0))

    def tick(self, state: tuple[Tensor, ...], encoded: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], TickOutput]:
        """Compute one tick: the next state in the order of `state_specs`, and the output of the tick."""
        next_state, output = self.model.tick(self.unflatten_state(state), self.unflatten_encoded(encoded))
        return self.flatten_state(next_state), output

    @abstractmethod
    def flatten_encoded(self, encoded: EncodedT) -> tuple[Tensor, ...]:
        """Return the tensors of an encoded input, in the order of `encoded_specs`."""

    @abstractmethod
    def unflatten_encoded(self, tensors: tuple[Tensor, ...]) -> EncodedT:
        """Return the encoded input of tensors in the order of `encoded_specs`."""

    @abstractmethod
    def flatten_state(self, state: StateT) -> tuple[Tensor, ...]:
        """Return the tensors of a state, in the order of `state_specs`."""

    @abstractmethod
    def unflatten_state(self, tensors: tuple[Tensor, ...]) -> StateT:
        """Return the state of tensors in the order of `state_specs`."""


class CTMInterface(ModelInterface[CTMContext, CTMState]):
    """Flat view of a Continuous Thought Machine whose input is constant over the unroll."""

    model: ContinuousThoughtMachine

    def __init__(self, model: ContinuousThoughtMachine, example: CTMContext) -> None:
        super().__init__(model, example)
        attends = example.action_pairs is not None
        self.encoded_specs = KEYS_AND_VALUES if attends else (OBSERVATION,)
        self.state_specs = (HISTORY, ACTIVATIONS, *OUT_SYNC, *(ACTION_SYNC if attends else ()))

    def flatten_encoded(self, encoded: CTMContext) -> tuple[Tensor, ...]:
        """Return the tensors of an encoded input; see `ModelInterface.flatten_encoded`."""
        return flatten_static_input(encoded)

    def unflatten_encoded(self, tensors: tuple[Tensor, ...]) -> CTMContext:
        """Return the encoded input of tensors; see `ModelInterface.unflatten_encoded`."""
        return unflatten_static_input(self.example, tensors)

    def flatten_state(self, state: CTMState) -> tuple[Tensor, ...]:
        """Return the tensors of a state; see `ModelInterface.flatten_state`."""
        sums = [sync for sync in (state.out_sync, state.action_sync) if sync is not None]
        pairs = [tensor for sync in sums for tensor in (sync.alpha, sync.beta.expand_as(sync.alpha))]
        return state.pre_activation_history.window, state.activations, *pairs

    def unflatten_state(self, tensors: tuple[Tensor, ...]) -> CTMState:
        """Return the state of tensors; see `ModelInterface.unflatten_state`."""
        window, activations, out_alpha, out_beta, *action = tensors
        length = self.model.config.memory_length
        return CTMState(
            GraphHistory(window, length, length, [length]),
            activations,
            SyncAccumulator(*action) if action else None,
            SyncAccumulator(out_alpha, out_beta),
            attention=None,
        )


class LSTMInterface(ModelInterface[LSTMContext, LSTMState]):
    """Flat view of the LSTM baseline."""

    encoded_specs = KEYS_AND_VALUES
    state_specs = LSTM_STATE

    def flatten_encoded(self, encoded: LSTMContext) -> tuple[Tensor, ...]:
        """Return the tensors of an encoded input; see `ModelInterface.flatten_encoded`."""
        return flatten_static_input(encoded)

    def unflatten_encoded(self, tensors: tuple[Tensor, ...]) -> LSTMContext:
        """Return the encoded input of tensors; see `ModelInterface.unflatten_encoded`."""
        return unflatten_static_input(self.example, tensors)

    def flatten_state(self, state: LSTMState) -> tuple[Tensor, ...]:
        """Return the tensors of a state; see `ModelInterface.flatten_state`."""
        return state.hidden, state.cell

    def unflatten_state(self, tensors: tuple[Tensor, ...]) -> LSTMState:
        """Return the state of tensors; see `ModelInterface.unflatten_state`."""
        hidden, cell = tensors
        return LSTMState(hidden, cell, attention=None)


class FFInterface(ModelInterface[FFContext, FFState]):
    """Flat view of the feed-forward baseline, whose only tick reads no state."""

    encoded_specs = (FEATURES,)
    state_specs = ()

    def flatten_encoded(self, encoded: FFContext) -> tuple[Tensor, ...]:
        """Return the tensors of an encoded input; see `ModelInterface.flatten_encoded`."""
        return (encoded.mean,)

    def unflatten_encoded(self, tensors: tuple[Tensor, ...]) -> FFContext:
        """Return the encoded input of tensors; see `ModelInterface.unflatten_encoded`."""
        return FFContext(*tensors)

    def flatten_state(self, state: FFState) -> tuple[Tensor, ...]:
        """Return no tensors: the hidden layer is computed anew from the encoded input."""
        return ()

    def unflatten_state(self, tensors: tuple[Tensor, ...]) -> FFState:
        """Return a state without rows, which the tick does not read."""
        return FFState(torch.zeros(0, self.model.config.d_model))


def flatten_static_input(context: EncoderContext) -> tuple[Tensor, ...]:
    """Return keys and values, or without attention the projection of the raw input."""
    observation = context.observation
    assert isinstance(observation, StaticInput), "the input is constant over the unroll"
    if observation.cache is not None:
        return observation.cache.keys, observation.cache.values
    assert isinstance(observation.input_projection, FusedInputProjection), "the model is in eval mode"
    return (observation.input_projection.bias_term,)


def unflatten_static_input(example: EncoderContextT, tensors: tuple[Tensor, ...]) -> EncoderContextT:
    """Return a context with other tensors; inverse of `flatten_static_input`."""
    observation = example.observation
    assert isinstance(observation, StaticInput), "the input is constant over the unroll"
    if observation.cache is not None:
        keys, values = tensors
        observation = replace(observation, cache=replace(observation.cache, keys=keys, values=values))
    else:
        assert isinstance(observation.input_projection, FusedInputProjection), "the model is in eval mode"
        projection = replace(observation.input_projection, bias_term=tensors[0])
        observation = replace(observation, input_projection=projection)
    return replace_observation(example, observation, tensors[0].size(0))


def replace_observation(example: EncoderContextT, observation: StaticInput, batch_size: int) -> EncoderContextT:
    """Return a context with another observation of `batch_size` rows."""
    return replace(
        example, encoder_output=replace(example.encoder_output, batch_size=batch_size, observation=observation)
    )
