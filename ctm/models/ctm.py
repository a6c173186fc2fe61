"""The Continuous Thought Machine (Darlow et al. 2025, arXiv 2505.05522), as a thinker: see `ctm.models.base`.

A tick: action synchronisation -> attention -> synapses -> trace -> neuron-level models -> output synchronisation.
Parameter and buffer names are the published ones.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ctm.config import CTMConfig
from ctm.models.base import Thinker, uniform
from ctm.models.outputs import Output, Sync, Trace
from ctm.modules import synchronisation
from ctm.modules.input_encoder import Observed, add_attention, add_backbone, add_keys, observe
from ctm.modules.neuron_level_models import NeuronLinear, PreparedLinear, activate, make_neuron_models
from ctm.modules.synapses import make_synapses, prepare_entry


@dataclass(frozen=True)
class Pairing:
    """Which neurons are synchronised, and how much of a sum is kept from tick to tick."""

    left: Int[Tensor, " S"]
    right: Int[Tensor, " S"]
    rate: Float[Tensor, "S 1"]

    def products(self, z: Float[Tensor, "*T D B"]) -> Float[Tensor, "*T S B"]:
        return z.index_select(-2, self.left) * z.index_select(-2, self.right)


@dataclass(frozen=True)
class Features(Observed):
    """What does not change in a thought: the seen input, and weights made ready for ticking."""

    neuron_layers: tuple[PreparedLinear, ...]
    action: Pairing | None
    out: Pairing


@dataclass(frozen=True)
class State:
    """A thought between two ticks. Tensors are neuron-major: see `ctm.models.outputs`."""

    trace: Trace
    z: Float[Tensor, "D B"]  # post-activations
    action: Sync | None
    out: Sync
    attention: Float[Tensor, "B H N"] | None  # where it just looked
    ticks: int = 0  # thought so far, by those who began

    def take(self, rows: Int[Tensor, " A"], room: int = 16) -> "State":
        """The same for some batch rows only, with room for so many more ticks."""
        return State(
            self.trace.take(rows, room),
            self.z.index_select(1, rows),
            None if self.action is None else self.action.take(rows),
            self.out.take(rows),
            None if self.attention is None else self.attention.index_select(0, rows),
            self.ticks,
        )

    def seat_(self, newcomers: "State", seats: Int[Tensor, " A"]) -> "State":
        """Newcomers take these seats, in the memory of this state, which is lost."""
        return State(
            self.trace.seat_(newcomers.trace, seats),
            self.z.index_copy_(1, seats, newcomers.z),
            None if self.action is None or newcomers.action is None else self.action.seat_(newcomers.action, seats),
            self.out.seat_(newcomers.out, seats),
            self.attention,
            self.ticks,
        )

    @property
    def pre_activations(self) -> Float[Tensor, "B D"]:
        return self.trace.newest.T

    @property
    def post_activations(self) -> Float[Tensor, "B D"]:
        return self.z.T

    @property
    def latent(self) -> Float[Tensor, "B S"]:
        """What the answer is read from."""
        return self.sync_out

    @property
    def neurons(self) -> Float[Tensor, "B D"]:
        """What the neurons do."""
        return self.z.T

    @property
    def sync_out(self) -> Float[Tensor, "B S"]:
        return self.out.value.T

    @property
    def sync_action(self) -> Float[Tensor, "B S"] | None:
        return None if self.action is None else self.action.value.T


class ContinuousThoughtMachine(Thinker):
    """A machine built from its config."""

    config: CTMConfig

    def _build(self, config: CTMConfig, in_features: int | None, generator: torch.Generator) -> None:
        neurons, width, attends = config.d_model, config.d_input, config.heads > 0
        dropout_nlm = config.dropout if config.dropout_nlm is None else config.dropout_nlm
        self.start_activated_state = nn.Parameter(uniform(1 / math.sqrt(neurons), neurons))
        self.start_trace = nn.Parameter(
            uniform(1 / math.sqrt(neurons + config.memory_length), neurons, config.memory_length)
        )
        for place, count in (("action", config.n_synch_action), ("out", config.n_synch_out)):
            if not count or (place == "action" and not attends):
                continue
            left, right = synchronisation.choose_neurons(
                config.neuron_select_type, place, neurons, count, config.n_random_pairing_self, generator
            )
            self.register_buffer(f"{place}_neuron_indices_left", left)
            self.register_buffer(f"{place}_neuron_indices_right", right)
            self.register_parameter(f"decay_params_{place}", nn.Parameter(torch.zeros(config.synch_size(count))))

        channels = add_backbone(self, config, in_features)
        if attends:
            add_keys(self, config, channels)
            add_attention(self, config, config.synch_size(config.n_synch_action))
        observed = width if attends else channels
        self.synapses = make_synapses(observed + neurons, neurons, config.synapse_depth, config.dropout)
        self.trace_processor = make_neuron_models(
            neurons,
            config.memory_length,
            config.memory_hidden_dims,
            deep=config.deep_nlms,
            normalise=config.do_layernorm_nlm,
            dropout=dropout_nlm,
        )
        self.output_projector = nn.Sequential(nn.Linear(config.synch_size(config.n_synch_out), config.out_dims))
        self._add_energy_head(config.synch_size(config.n_synch_out), neurons)

    def encode(self, inputs: Tensor) -> Features:
        return Features(
            **vars(observe(self, inputs, partial(prepare_entry, self.synapses))),
            neuron_layers=tuple(
                layer.prepare() for layer in self.trace_processor[0] if isinstance(layer, NeuronLinear)
            ),
            action=self._pairing("action") if self.config.heads else None,
            out=self._pairing("out"),
        )

    def begin(self, features: Features, room: int | None = None) -> State:
        """The learned start; the output synchronisation already counts the start state, as published."""
        room = features.ticks if room is None else room
        z = self.start_activated_state.unsqueeze(1).expand(-1, features.batch)
        window = self.start_trace.unsqueeze(2).expand(-1, -1, features.batch)
        grows = not torch.is_grad_enabled()
        trace = Trace.of(window, room) if grows else Trace(window, window.size(1), window.size(1), [window.size(1)])
        action = synchronisation.empty(len(features.action.left), z) if features.action is not None else None
        out = synchronisation.empty(len(features.out.left), z).add(features.out.products(z), features.out.rate)
        return State(trace, z, action, out, None)

    def tick(self, state: State, features: Features) -> tuple[State, Output]:
        """One tick of thought."""
        state = self._advance(state, features)
        state = replace(state, out=state.out.add(features.out.products(state.z), features.out.rate))
        answer, certainty, energy = self._read(state.out.value, state.z)
        return state, Output(answer.T, certainty.T, energy)

    def _unroll(self, features: Features) -> tuple[Float[Tensor, "T S B"], Float[Tensor, "T D B"]]:
        """The output synchronisation of all ticks at once, and what the neurons did."""
        state, activations = self.begin(features), []
        for _ in range(features.ticks):
            state = self._advance(state, features)
            activations.append(state.z)
        neurons = torch.stack(activations)
        return synchronisation.unroll(features.out.products(neurons), state.out, features.out.rate), neurons

    def _advance(self, state: State, features: Features) -> State:
        """All of a tick that acts on the next tick: look, connect, remember, activate."""
        scene, entry = features.at(state.ticks)
        action, seen, attention = state.action, None, None
        if action is not None and features.action is not None:
            action = action.add(features.action.products(state.z), features.action.rate)
            if scene is not None:
                seen, attention = scene.look(action.value)
        pre_activations = self.synapses.after(entry(seen, state.z))
        trace = state.trace.push(pre_activations)
        z = activate(features.neuron_layers, trace.window).to(state.z.dtype)
        return State(trace, z, action, state.out, attention, state.ticks + 1)

    def _pairing(self, place: str) -> Pairing:
        left, right = (getattr(self, f"{place}_neuron_indices_{side}") for side in ("left", "right"))
        kind = self.config.neuron_select_type
        if kind == "first-last":  # the published code slices, whatever the buffers hold
            left, right = synchronisation.choose_neurons(kind, place, self.config.d_model, len(left), 0, None)
        left, right = synchronisation.pair_up(kind, left, right)
        rate = synchronisation.retention(getattr(self, f"decay_params_{place}"))
        return Pairing(left.to(rate.device), right.to(rate.device), rate)
