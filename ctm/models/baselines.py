"""The published baselines, as thinkers: an LSTM that looks at every tick, and a feed-forward network that looks once.

They see through the same backbones and answer through the same readout as the machine, so that they compare with it.
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ctm.config import FFConfig, LSTMConfig
from ctm.models.base import Thinker, uniform
from ctm.modules.input_encoder import Observed, add_attention, add_backbone, add_keys, observe, see
from ctm.modules.synapses import fold


@dataclass(frozen=True)
class LSTMFeatures(Observed):
    """The seen input, and the weights of all layers but the first, which is part of the observation."""

    layers: tuple[tuple[Float[Tensor, "W F"], Float[Tensor, " W"]], ...]
    dropout: float  # between layers


@dataclass(frozen=True)
class LSTMState:
    """A thought between two ticks."""

    hidden: Float[Tensor, "L B D"]
    cell: Float[Tensor, "L B D"]
    attention: Float[Tensor, "B H N"] | None  # where it just looked
    ticks: int = 0  # thought so far

    def take(self, rows: Int[Tensor, " A"], room: int = 0) -> "LSTMState":
        """The same for some batch rows only."""
        attention = None if self.attention is None else self.attention.index_select(0, rows)
        return LSTMState(self.hidden.index_select(1, rows), self.cell.index_select(1, rows), attention, self.ticks)

    def seat_(self, newcomers: "LSTMState", seats: Int[Tensor, " A"]) -> "LSTMState":
        """Newcomers take these seats, in the memory of this state, which is lost."""
        self.hidden.index_copy_(1, seats, newcomers.hidden)
        self.cell.index_copy_(1, seats, newcomers.cell)
        return self

    @property
    def latent(self) -> Float[Tensor, "B D"]:
        """What the answer is read from."""
        return self.hidden[-1]

    @property
    def neurons(self) -> Float[Tensor, "B D"]:
        """What it remembers besides."""
        return self.cell[-1]

    @property
    def post_activations(self) -> Float[Tensor, "B D"]:
        return self.hidden[-1]


class LSTMBaseline(Thinker):
    """An LSTM whose hidden state asks attention at every tick."""

    config: LSTMConfig

    def _build(self, config: LSTMConfig, in_features: int | None, generator: torch.Generator) -> None:
        width, layers = config.d_model, config.num_layers
        self.start_hidden_state = nn.Parameter(uniform(1 / math.sqrt(width), layers, width))
        self.start_cell_state = nn.Parameter(uniform(1 / math.sqrt(width), layers, width))
        channels = add_backbone(self, config, in_features)
        add_keys(self, config, channels)
        self.lstm = nn.LSTM(config.d_input, width, layers, dropout=config.dropout if layers > 1 else 0.0)
        add_attention(self, config, width)
        self.output_projector = nn.Sequential(nn.Linear(width, config.out_dims))
        self._add_energy_head(width, width)

    def encode(self, inputs: Tensor) -> LSTMFeatures:
        first, *others = [self._layer(number) for number in range(self.config.num_layers)]
        observed = observe(self, inputs, partial(fold, *first))
        return LSTMFeatures(**vars(observed), layers=tuple(others), dropout=self.lstm.dropout if self.training else 0.0)

    def begin(self, features: LSTMFeatures, room: int | None = None) -> LSTMState:
        hidden, cell = (
            start.unsqueeze(1).expand(-1, features.batch, -1)
            for start in (self.start_hidden_state, self.start_cell_state)
        )
        return LSTMState(hidden, cell, None)

    def _advance(self, state: LSTMState, features: LSTMFeatures) -> LSTMState:
        scene, entry = features.at(state.ticks)
        assert scene is not None, "an LSTM attends"
        seen, attention = scene.look(state.latent.T)
        gates = entry(seen, state.hidden[0].T)
        hidden: list[Tensor] = []
        cell: list[Tensor] = []
        for layer in range(len(state.hidden)):
            if layer:
                below = F.dropout(hidden[-1], features.dropout) if features.dropout else hidden[-1]
                weight, bias = features.layers[layer - 1]
                gates = F.linear(torch.cat((below, state.hidden[layer]), 1), weight, bias)
            keep, new = remember(gates, state.cell[layer])
            cell.append(keep)
            hidden.append(new)
        return LSTMState(torch.stack(hidden), torch.stack(cell), attention, state.ticks + 1)

    def _layer(self, number: int) -> tuple[Float[Tensor, "W F"], Float[Tensor, " W"]]:
        """Weight and bias of all gates of a layer, for what comes from below beside its own hidden state."""
        get = {
            name: getattr(self.lstm, f"{name}_l{number}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        return torch.cat((get["weight_ih"], get["weight_hh"]), 1), get["bias_ih"] + get["bias_hh"]


def remember(
    gates: Float[Tensor, "B W"], cell: Float[Tensor, "B D"]
) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
    """The next cell and hidden state of a layer (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000)."""
    enter, forget, candidate, show = gates.chunk(4, 1)
    cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
    return cell, show.sigmoid() * cell.tanh()


@dataclass(frozen=True)
class FFFeatures:
    """The mean over all places of what is seen."""

    mean: Float[Tensor, "B C"]
    places: tuple[int, ...] = ()
    ticks: int = 1
    listening: None = None
    has_seats: ClassVar[bool] = False  # all rows are done after the only tick

    @property
    def batch(self) -> int:
        return len(self.mean)

    def take(self, rows: Int[Tensor, " A"]) -> "FFFeatures":
        """The same for some batch rows only."""
        return replace(self, mean=self.mean.index_select(0, rows))

    take_ = take


@dataclass(frozen=True)
class FFState:
    """The hidden layer; 0 before the only tick."""

    latent: Float[Tensor, "B D"]  # what the answer is read from
    attention: None = None

    def take(self, rows: Int[Tensor, " A"], room: int = 0) -> "FFState":
        """The same for some batch rows only."""
        return FFState(self.latent.index_select(0, rows))

    @property
    def neurons(self) -> Float[Tensor, "B 0"]:
        """Nothing besides."""
        return self.latent[:, :0]

    @property
    def post_activations(self) -> Float[Tensor, "B D"]:
        return self.latent


class FFBaseline(Thinker):
    """One hidden layer on the mean of what is seen. Further ticks say the same again."""

    config: FFConfig

    def _build(self, config: FFConfig, in_features: int | None, generator: torch.Generator) -> None:
        channels = add_backbone(self, config, in_features)
        pool = [nn.Identity() for _ in range(3)]  # the published places of what has no parameters: see `encode`
        hidden = [nn.Linear(channels, config.d_model), nn.ReLU(), nn.Dropout(config.dropout)]
        self.output_projector = nn.Sequential(*pool, *hidden, nn.Linear(config.d_model, config.out_dims))
        self._add_energy_head(config.d_model, 0)

    def encode(self, inputs: Tensor) -> FFFeatures:
        seen = see(self, inputs)
        return FFFeatures(seen.flatten(2).mean(2) if seen.dim() > 2 else seen)

    def begin(self, features: FFFeatures, room: int | None = None) -> FFState:
        return FFState(features.mean.new_zeros(features.batch, self.config.d_model))

    def _advance(self, state: FFState, features: FFFeatures) -> FFState:
        return FFState(self.output_projector[3:-1](features.mean))
