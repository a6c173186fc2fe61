"""The Continuous Thought Machine (Darlow et al. 2025, arXiv 2505.05522) as a `TickModel`.

One tick: action synchronisation -> attention -> synapses -> pre-activation history -> neuron-level models -> output
synchronisation. Parameter and buffer names are the published ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ctm.config import CTMConfig
from ctm.models.base import TickModel, init_uniform
from ctm.models.outputs import TickOutput
from ctm.modules import synchronisation
from ctm.modules.input_encoder import EncoderContext, InputEncoderMixin
from ctm.modules.neuron_level_models import NeuronLinear, PreparedLinear, activate, make_neuron_models
from ctm.modules.state import PreActivationHistory, SyncAccumulator
from ctm.modules.synapses import make_synapses, prepare_input_projection


@dataclass(frozen=True)
class NeuronPairs:
    """Synchronised neuron pairs.

    Attributes:
        left: Index of the first neuron of each pair.
        right: Index of the second neuron of each pair.
        retention: Fraction of the running sums that is kept from one tick to the next.
    """

    left: Int[Tensor, " S"]
    right: Int[Tensor, " S"]
    retention: Float[Tensor, "S 1"]

    def compute_products(self, activations: Float[Tensor, "*T D B"]) -> Float[Tensor, "*T S B"]:
        """Return the product of the two activations of each pair."""
        return activations.index_select(-2, self.left) * activations.index_select(-2, self.right)


@dataclass(frozen=True)
class CTMContext(EncoderContext):
    """Constants of an unroll: the encoder output, and prepared weights.

    Attributes:
        encoder_output: Encoder output of all rows.
        neuron_layers: Prepared layers of the neuron-level models.
        action_pairs: Pairs of the action synchronisation; None without attention.
        out_pairs: Pairs of the output synchronisation.
        neuron_mask: 0 for a neuron that is silenced, 1 for the others; None if no neuron is silenced.
    """

    neuron_layers: tuple[PreparedLinear, ...]
    action_pairs: NeuronPairs | None
    out_pairs: NeuronPairs
    neuron_mask: Float[Tensor, "D 1"] | None = None


@dataclass(frozen=True)
class CTMState:
    """State between two ticks. Tensors are neuron-major: see `ctm.modules.state`.

    Attributes:
        pre_activation_history: Last M pre-activations of every neuron.
        activations: Post-activations.
        action_sync: Running action synchronisation; None without attention.
        out_sync: Running output synchronisation.
        attention: Attention weights of the last tick; None before the first tick and without attention.
        elapsed_ticks: Number of ticks so far, counted for the rows that were in the first batch.
    """

    pre_activation_history: PreActivationHistory
    activations: Float[Tensor, "D B"]
    action_sync: SyncAccumulator | None
    out_sync: SyncAccumulator
    attention: Float[Tensor, "B H N"] | None
    elapsed_ticks: int = 0

    def select_rows(self, rows: Int[Tensor, " A"], reserve_ticks: int = 16) -> "CTMState":
        """Return a copy that holds only some batch rows, with memory for `reserve_ticks` more ticks."""
        return CTMState(
            self.pre_activation_history.select_rows(rows, reserve_ticks),
            self.activations.index_select(1, rows),
            None if self.action_sync is None else self.action_sync.select_rows(rows),
            self.out_sync.select_rows(rows),
            None if self.attention is None else self.attention.index_select(0, rows),
            self.elapsed_ticks,
        )

    def write_rows_(self, source: "CTMState", slots: Int[Tensor, " A"]) -> "CTMState":
        """Write the rows of `source` into the slots `slots`; overwrites the memory of this state."""
        return CTMState(
            self.pre_activation_history.write_rows_(source.pre_activation_history, slots),
            self.activations.index_copy_(1, slots, source.activations),
            None
            if self.action_sync is None or source.action_sync is None
            else self.action_sync.write_rows_(source.action_sync, slots),
            self.out_sync.write_rows_(source.out_sync, slots),
            self.attention,
            self.elapsed_ticks,
        )

    def get_channels(self) -> dict[str, Tensor]:
        """Return the tensors that a recorder may record, by name, batch-first."""
        channels = {
            "pre_activations": self.pre_activations,
            "post_activations": self.post_activations,
            "sync_out": self.sync_out,
            "sync_action": self.sync_action,
            "attention": self.attention,
        }
        return {name: values for name, values in channels.items() if values is not None}

    @property
    def pre_activations(self) -> Float[Tensor, "B D"]:
        """Pre-activations of the last tick, batch-first."""
        return self.pre_activation_history.latest.T

    @property
    def post_activations(self) -> Float[Tensor, "B D"]:
        """Post-activations of the last tick, batch-first."""
        return self.activations.T

    @property
    def latent(self) -> Float[Tensor, "B S"]:
        """Readout input: the output synchronisation."""
        return self.sync_out

    @property
    def neuron_activations(self) -> Float[Tensor, "B D"]:
        """Post-activations of the last tick, batch-first."""
        return self.activations.T

    @property
    def sync_out(self) -> Float[Tensor, "B S"]:
        """Output synchronisation, batch-first."""
        return self.out_sync.value.T

    @property
    def sync_action(self) -> Float[Tensor, "B S"] | None:
        """Action synchronisation, batch-first; None without attention."""
        return None if self.action_sync is None else self.action_sync.value.T


class ContinuousThoughtMachine(InputEncoderMixin, TickModel[CTMContext, CTMState]):
    """Continuous Thought Machine, built from its config."""

    config: CTMConfig

    def _build(self, config: CTMConfig, in_features: int | None, generator: torch.Generator) -> None:
        neurons = config.d_model
        attends = config.heads > 0
        dropout_nlm = config.dropout if config.dropout_nlm is None else config.dropout_nlm
        self.start_activated_state = nn.Parameter(init_uniform(1 / math.sqrt(neurons), neurons))
        self.start_trace = nn.Parameter(
            init_uniform(1 / math.sqrt(neurons + config.memory_length), neurons, config.memory_length)
        )
        if attends:
            self._add_synchronisation(config, "action", config.n_synch_action, generator)
        self._add_synchronisation(config, "out", config.n_synch_out, generator)
        channels = self._add_backbone(config, in_features)
        if attends:
            self._add_kv_projection(config, channels)
            self._add_attention(config, config.compute_synch_size(config.n_synch_action))
        observation_width = config.d_input if attends else channels
        self.synapses = make_synapses(observation_width + neurons, neurons, config.synapse_depth, config.dropout)
        self.trace_processor = make_neuron_models(
            neurons,
            config.memory_length,
            config.memory_hidden_dims,
            deep=config.deep_nlms,
            normalise=config.do_layernorm_nlm,
            dropout=dropout_nlm,
        )
        self.output_projector = nn.Sequential(nn.Linear(config.compute_synch_size(config.n_synch_out), config.out_dims))
        self._add_energy_head(config.compute_synch_size(config.n_synch_out), neurons)

    def _add_synchronisation(self, config: CTMConfig, synch_type: str, count: int, generator: torch.Generator) -> None:
        """Add the neuron indices and the decay rates of a synchronisation.

        Args:
            config: Config of the model.
            synch_type: "action" or "out".
            count: Number of selected neurons.
            generator: Source of randomness.
        """
        left, right = synchronisation.choose_neurons(
            config.neuron_select_type, synch_type, config.d_model, count, config.n_random_pairing_self, generator
        )
        self.register_buffer(f"{synch_type}_neuron_indices_left", left)
        self.register_buffer(f"{synch_type}_neuron_indices_right", right)
        decay = nn.Parameter(torch.zeros(config.compute_synch_size(count)))
        self.register_parameter(f"decay_params_{synch_type}", decay)

    def encode(self, inputs: Tensor) -> CTMContext:
        """Encode the input and prepare the weights of an unroll; see `TickModel.encode`."""
        return CTMContext(
            self._encode_input(inputs, partial(prepare_input_projection, self.synapses)),
            neuron_layers=tuple(
                layer.prepare() for layer in self.trace_processor[0] if isinstance(layer, NeuronLinear)
            ),
            action_pairs=self.build_neuron_pairs("action") if self.config.heads else None,
            out_pairs=self.build_neuron_pairs("out"),
        )

    def silence_neurons(self, encoded: CTMContext, neurons: Sequence[int]) -> CTMContext:
        """Return the encoded input with which some neurons have activation 0; see `TickModel.silence_neurons`."""
        count = self.config.d_model
        if invalid := [neuron for neuron in neurons if not 0 <= neuron < count]:
            raise ValueError(f"The model has the neurons 0 to {count - 1:,}: got {invalid[0]}.")
        mask = torch.ones_like(self.start_activated_state.detach()).unsqueeze(1)
        mask[list(neurons)] = 0
        return replace(encoded, neuron_mask=mask)

    def initial_state(self, encoded: CTMContext, reserve_ticks: int | None = None) -> CTMState:
        """Return the learned start state; see `TickModel.initial_state`.

        The output synchronisation already includes the start activations, as in the published code.
        """
        reserve_ticks = encoded.ticks if reserve_ticks is None else reserve_ticks
        z = self.start_activated_state.unsqueeze(1).expand(-1, encoded.batch_size)
        if encoded.neuron_mask is not None:
            z = z * encoded.neuron_mask
        window = self.start_trace.unsqueeze(2).expand(-1, -1, encoded.batch_size)
        appends_in_place = not torch.is_grad_enabled()
        history = (
            PreActivationHistory.from_window(window, reserve_ticks)
            if appends_in_place
            else PreActivationHistory(window, window.size(1), window.size(1), [window.size(1)])
        )
        action = (
            synchronisation.make_zero_accumulator(len(encoded.action_pairs.left), z)
            if encoded.action_pairs is not None
            else None
        )
        out = synchronisation.make_zero_accumulator(len(encoded.out_pairs.left), z).update(
            encoded.out_pairs.compute_products(z), encoded.out_pairs.retention
        )
        return CTMState(history, z, action, out, None)

    def tick(self, state: CTMState, encoded: CTMContext) -> tuple[CTMState, TickOutput]:
        """Compute one tick; see `TickModel.tick`."""
        state = self._transition(state, encoded)
        state = replace(
            state,
            out_sync=state.out_sync.update(
                encoded.out_pairs.compute_products(state.activations), encoded.out_pairs.retention
            ),
        )
        answer, certainty, energy = self._compute_readout(state.out_sync.value, state.activations)
        return state, TickOutput(answer.T, certainty.T, energy)

    def _unroll(
        self, encoded: CTMContext, keep_attention: bool
    ) -> tuple[Float[Tensor, "T S B"], Float[Tensor, "T D B"], list[Tensor]]:
        """Return the output synchronisation and the activations at every tick; see `TickModel._unroll`.

        The synchronisation of all ticks is computed after the last one, because ticks do not depend on it.
        """
        transition = self._get_unroll_transition()
        state = self.initial_state(encoded)
        activations: list[Tensor] = []
        attention: list[Tensor] = []
        for _ in range(encoded.ticks):
            state = transition(state, encoded)
            activations.append(state.activations)
            if keep_attention and state.attention is not None:
                attention.append(state.attention)
        neurons = torch.stack(activations)
        latents = synchronisation.unroll_synchronisation(
            encoded.out_pairs.compute_products(neurons), state.out_sync, encoded.out_pairs.retention
        )
        return latents, neurons, attention

    def _transition(self, state: CTMState, encoded: CTMContext) -> CTMState:
        """Compute attention, synapses, history and activations of a tick."""
        cache, input_projection = encoded.get_tick_inputs(state.elapsed_ticks)
        action = state.action_sync
        attn_output: Tensor | None = None
        attention: Tensor | None = None
        if action is not None and encoded.action_pairs is not None:
            action = action.update(
                encoded.action_pairs.compute_products(state.activations), encoded.action_pairs.retention
            )
            if cache is not None:
                attn_output, attention = cache.attend(action.value)
        pre_activations = self.synapses.forward_rest(input_projection(attn_output, state.activations))
        history = state.pre_activation_history.append(pre_activations)
        z = activate(encoded.neuron_layers, history.window).to(state.activations.dtype)
        if encoded.neuron_mask is not None:
            z = z * encoded.neuron_mask
        return CTMState(history, z, action, state.out_sync, attention, state.elapsed_ticks + 1)

    def build_neuron_pairs(self, synch_type: str) -> NeuronPairs:
        """Return the pairs of a synchronisation ("action" or "out")."""
        left, right = (getattr(self, f"{synch_type}_neuron_indices_{side}") for side in ("left", "right"))
        kind = self.config.neuron_select_type
        if kind == "first-last":  # the published code slices and ignores the buffers
            left, right = synchronisation.choose_neurons(kind, synch_type, self.config.d_model, len(left), 0, None)
        left, right = synchronisation.expand_pairs(kind, left, right)
        rate = synchronisation.compute_retention(getattr(self, f"decay_params_{synch_type}"))
        return NeuronPairs(left.to(rate.device), right.to(rate.device), rate)
