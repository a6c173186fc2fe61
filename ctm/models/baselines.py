"""Published baselines as `TickModel`s: an LSTM that attends at every tick, and a feed-forward network.

Both have the same backbones and the same readout as the Continuous Thought Machine, so that results are comparable.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ctm.config import FFConfig, LSTMConfig
from ctm.models.base import TickModel, init_uniform
from ctm.modules.input_encoder import EncoderContext, InputEncoderMixin
from ctm.modules.synapses import fuse_input_projection


@dataclass(frozen=True)
class LSTMContext(EncoderContext):
    """Encoder output of an LSTM, and the weights of all layers but the first.

    The weights of the first layer are fused into the input projection of the encoder output.

    Attributes:
        encoder_output: Encoder output of all rows.
        layers: Weight and bias of all gates, for each layer after the first.
        dropout: Dropout probability between layers; 0 in eval mode.
    """

    layers: tuple[tuple[Float[Tensor, "W F"], Float[Tensor, " W"]], ...]
    dropout: float


@dataclass(frozen=True)
class LSTMState:
    """State of an LSTM between two ticks.

    Attributes:
        hidden: Hidden state of all L layers.
        cell: Cell state of all L layers.
        attention: Attention weights of the last tick; None before the first.
        elapsed_ticks: Number of ticks so far.
    """

    hidden: Float[Tensor, "L B D"]
    cell: Float[Tensor, "L B D"]
    attention: Float[Tensor, "B H N"] | None
    elapsed_ticks: int = 0

    def select_rows(self, rows: Int[Tensor, " A"], reserve_ticks: int = 0) -> "LSTMState":
        """Return a copy that holds only some batch rows; `reserve_ticks` has no effect."""
        attention = None if self.attention is None else self.attention.index_select(0, rows)
        return LSTMState(
            self.hidden.index_select(1, rows), self.cell.index_select(1, rows), attention, self.elapsed_ticks
        )

    def write_rows_(self, source: "LSTMState", slots: Int[Tensor, " A"]) -> "LSTMState":
        """Write the rows of `source` into the slots `slots`, in place."""
        self.hidden.index_copy_(1, slots, source.hidden)
        self.cell.index_copy_(1, slots, source.cell)
        return self

    def get_channels(self) -> dict[str, Tensor]:
        """Return the tensors that a recorder may record, by name, batch-first."""
        channels = {"post_activations": self.post_activations}
        return channels if self.attention is None else channels | {"attention": self.attention}

    @property
    def latent(self) -> Float[Tensor, "B D"]:
        """Readout input: the hidden state of the last layer."""
        return self.hidden[-1]

    @property
    def neuron_activations(self) -> Float[Tensor, "B D"]:
        """Cell state of the last layer."""
        return self.cell[-1]

    @property
    def post_activations(self) -> Float[Tensor, "B D"]:
        """Hidden state of the last layer."""
        return self.hidden[-1]


class LSTMBaseline(InputEncoderMixin, TickModel[LSTMContext, LSTMState]):
    """LSTM whose hidden state gives the attention query at every tick."""

    config: LSTMConfig

    def _build(self, config: LSTMConfig, in_features: int | None, generator: torch.Generator) -> None:
        width = config.d_model
        layers = config.num_layers
        self.start_hidden_state = nn.Parameter(init_uniform(1 / math.sqrt(width), layers, width))
        self.start_cell_state = nn.Parameter(init_uniform(1 / math.sqrt(width), layers, width))
        channels = self._add_backbone(config, in_features)
        self._add_kv_projection(config, channels)
        self.lstm = nn.LSTM(config.d_input, width, layers, dropout=config.dropout if layers > 1 else 0.0)
        self._add_attention(config, width)
        self.output_projector = nn.Sequential(nn.Linear(width, config.out_dims))
        self._add_energy_head(width, width)

    def encode(self, inputs: Tensor) -> LSTMContext:
        """Encode the input and collect the weights of all layers; see `TickModel.encode`."""
        first, *others = [self._get_layer_weights(number) for number in range(self.config.num_layers)]
        return LSTMContext(
            self._encode_input(inputs, partial(fuse_input_projection, *first)),
            layers=tuple(others),
            dropout=self.lstm.dropout if self.training else 0.0,
        )

    def initial_state(self, encoded: LSTMContext, reserve_ticks: int | None = None) -> LSTMState:
        """Return the learned start state; `reserve_ticks` has no effect. See `TickModel.initial_state`."""
        hidden, cell = (
            start.unsqueeze(1).expand(-1, encoded.batch_size, -1)
            for start in (self.start_hidden_state, self.start_cell_state)
        )
        return LSTMState(hidden, cell, None)

    def _transition(self, state: LSTMState, encoded: LSTMContext) -> LSTMState:
        cache, input_projection = encoded.get_tick_inputs(state.elapsed_ticks)
        assert cache is not None, "an LSTM attends"
        features, attention = cache.attend(state.latent.T)
        gates = input_projection(features, state.hidden[0].T)
        hidden: list[Tensor] = []
        cell: list[Tensor] = []
        for layer in range(len(state.hidden)):
            if layer:
                below = F.dropout(hidden[-1], encoded.dropout) if encoded.dropout else hidden[-1]
                weight, bias = encoded.layers[layer - 1]
                gates = F.linear(torch.cat((below, state.hidden[layer]), 1), weight, bias)
            next_cell, next_hidden = lstm_cell(gates, state.cell[layer])
            cell.append(next_cell)
            hidden.append(next_hidden)
        return LSTMState(torch.stack(hidden), torch.stack(cell), attention, state.elapsed_ticks + 1)

    def _get_layer_weights(self, number: int) -> tuple[Float[Tensor, "W F"], Float[Tensor, " W"]]:
        """Return weight and bias of all gates of a layer, for its input concatenated with its own hidden state."""
        get = {
            name: getattr(self.lstm, f"{name}_l{number}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        return torch.cat((get["weight_ih"], get["weight_hh"]), 1), get["bias_ih"] + get["bias_hh"]


def lstm_cell(
    gates: Float[Tensor, "B W"], cell: Float[Tensor, "B D"]
) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
    """Return the next cell and hidden state of a layer.

    Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    Args:
        gates: Pre-activations of input, forget, candidate and output gate.
        cell: Cell state before the tick.
    """
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, 1)
    cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * candidate.tanh()
    return cell, output_gate.sigmoid() * cell.tanh()


@dataclass(frozen=True)
class FFContext:
    """Encoded input of the feed-forward baseline.

    Attributes:
        mean: Mean of the backbone features over all positions.
        attention_map_shape: Always (): there is no attention.
        ticks: Always 1.
        input_ticks: Always None: the answer of the only tick counts.
        supports_row_insertion: Always False: all rows finish after the only tick, so no slot is free before.
    """

    mean: Float[Tensor, "B C"]
    attention_map_shape: ClassVar[tuple[int, ...]] = ()
    ticks: ClassVar[int] = 1
    input_ticks: ClassVar[None] = None
    supports_row_insertion: ClassVar[bool] = False

    @property
    def batch_size(self) -> int:
        """Number of batch rows."""
        return self.mean.size(0)

    def select_rows(self, rows: Int[Tensor, " A"]) -> "FFContext":
        """Return a copy that holds only some batch rows."""
        return FFContext(self.mean.index_select(0, rows))

    def compact_rows_(self, rows: Int[Tensor, " A"]) -> "FFContext":
        """Return the encoded input of some batch rows."""
        return self.select_rows(rows)

    def write_rows_(self, source: "FFContext", slots: Int[Tensor, " A"]) -> "FFContext":
        """Write the rows of `source` into the slots `slots`, in place."""
        self.mean.index_copy_(0, slots, source.mean)
        return self


@dataclass(frozen=True)
class FFState:
    """Hidden layer of the feed-forward baseline; 0 before the only tick.

    Attributes:
        latent: Hidden layer, the readout input.
    """

    latent: Float[Tensor, "B D"]

    def select_rows(self, rows: Int[Tensor, " A"], reserve_ticks: int = 0) -> "FFState":
        """Return a copy that holds only some batch rows; `reserve_ticks` has no effect."""
        return FFState(self.latent.index_select(0, rows))

    def write_rows_(self, source: "FFState", slots: Int[Tensor, " A"]) -> "FFState":
        """Write the rows of `source` into the slots `slots`, in place."""
        self.latent.index_copy_(0, slots, source.latent)
        return self

    def get_channels(self) -> dict[str, Tensor]:
        """Return the tensors that a recorder may record, by name."""
        return {"post_activations": self.post_activations}

    @property
    def neuron_activations(self) -> Float[Tensor, "B 0"]:
        """Empty: there are no activations besides the readout input."""
        return self.latent[:, :0]

    @property
    def post_activations(self) -> Float[Tensor, "B D"]:
        """Hidden layer."""
        return self.latent


class FFBaseline(InputEncoderMixin, TickModel[FFContext, FFState]):
    """One hidden layer on the mean of the backbone features. Further ticks repeat the same output."""

    config: FFConfig

    def _build(self, config: FFConfig, in_features: int | None, generator: torch.Generator) -> None:
        channels = self._add_backbone(config, in_features)
        pool = [nn.Identity() for _ in range(3)]  # indices of published layers without parameters: see `encode`
        hidden = [nn.Linear(channels, config.d_model), nn.ReLU(), nn.Dropout(config.dropout)]
        self.output_projector = nn.Sequential(*pool, *hidden, nn.Linear(config.d_model, config.out_dims))
        self._add_energy_head(config.d_model, 0)

    def encode(self, inputs: Tensor) -> FFContext:
        """Return the mean of the backbone features over all positions; see `TickModel.encode`."""
        features = self._embed_input(inputs)
        return FFContext(features.flatten(2).mean(2) if features.dim() > 2 else features)

    def initial_state(self, encoded: FFContext, reserve_ticks: int | None = None) -> FFState:
        """Return a hidden layer of zeros; `reserve_ticks` has no effect. See `TickModel.initial_state`."""
        return FFState(encoded.mean.new_zeros(encoded.batch_size, self.config.d_model))

    def _transition(self, state: FFState, encoded: FFContext) -> FFState:
        return FFState(self.output_projector[3:-1](encoded.mean))
