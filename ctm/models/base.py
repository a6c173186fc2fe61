"""Abstract base of all models that iterate internal ticks.

    encoded = model.encode(inputs)                  once: encoded input, and prepared weights
    state = model.initial_state(encoded)            learned start state
    state, output = model.tick(state, encoded)      one tick; output: answer logits, certainty, energy
    unrolled = model(inputs)                        all ticks

State is an argument: nothing is stored on the module. Encoded inputs and states are frozen dataclasses. `EncodedInput`
and `ModelState` are the protocols that they implement: the engine of `inference` uses nothing else of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ctm.config import Config
from ctm.models.meta_device import use_meta_device
from ctm.models.outputs import TickOutput, UnrolledOutput
from ctm.models.pretrained_mixin import PretrainedMixin
from ctm.modules.deferred_kv_grad import exclude_from_compilation
from ctm.modules.readout import (
    NUM_CERTAINTY_FEATURES,
    compute_certainty,
    compute_certainty_features,
    compute_energy,
    make_energy_head,
    project,
)

MAX_PARAMETERS = 1_000_000_000  # 4 GB in float32
# Names that `ModelState.get_channels` may use; each model has some of them.
STATE_CHANNELS = ("pre_activations", "post_activations", "sync_out", "sync_action", "attention")

EncodedT = TypeVar("EncodedT", bound="EncodedInput")
StateT = TypeVar("StateT", bound="ModelState")


@runtime_checkable
class EncodedInput(Protocol):
    """Encoder output of a batch, and everything else that is constant over the unroll.

    Methods whose name ends in an underscore may overwrite the memory of the object: use only what they return.
    """

    @property
    def batch_size(self) -> int:
        """Number of batch rows."""

    @property
    def attention_map_shape(self) -> tuple[int, ...]:
        """Shape of the attention map of a head; () without attention."""

    @property
    def ticks(self) -> int:
        """Maximum number of ticks of the unroll."""

    @property
    def input_ticks(self) -> Int[Tensor, " B"] | None:
        """Ticks before an answer counts, per row; None if all ticks count."""

    @property
    def supports_row_insertion(self) -> bool:
        """Whether `write_rows_` can replace rows during an unroll."""

    def select_rows(self: EncodedT, rows: Int[Tensor, " A"]) -> EncodedT:
        """Return a copy that holds only some batch rows, in the order of `rows`."""

    def compact_rows_(self: EncodedT, rows: Int[Tensor, " A"]) -> EncodedT:
        """Return the encoded input of some batch rows. Fast if most rows keep their index."""

    def write_rows_(self: EncodedT, source: EncodedT, slots: Int[Tensor, " A"]) -> EncodedT:
        """Return the encoded input with the rows of `source` in the slots `slots`."""


@runtime_checkable
class ModelState(Protocol):
    """State of a batch between two ticks.

    Methods whose name ends in an underscore may overwrite the memory of the object: use only what they return.
    """

    @property
    def latent(self) -> Float[Tensor, "B S"]:
        """Readout input."""

    @property
    def neuron_activations(self) -> Float[Tensor, "B D"]:
        """Activations that the energy head can receive besides the readout input; D may be 0."""

    def get_channels(self) -> dict[str, Tensor]:
        """Return the tensors that a recorder may record, by name (see `STATE_CHANNELS`), each of shape (B, ...)."""

    def select_rows(self: StateT, rows: Int[Tensor, " A"], reserve_ticks: int = ...) -> StateT:
        """Return a copy that holds only some batch rows, with memory for `reserve_ticks` more ticks."""

    def write_rows_(self: StateT, source: StateT, slots: Int[Tensor, " A"]) -> StateT:
        """Return the state with the rows of `source` in the slots `slots`."""


class TickModel(PretrainedMixin, nn.Module, ABC, Generic[EncodedT, StateT]):
    """Model that iterates internal ticks, built from its config.

    The type parameters are the classes of its encoded input and of its state.

    Args:
        config: Published constructor keys.
        in_features: Channels of an image, or features of a raw input; not used for token sequences.
        seed: Seed of the initial weights and of the neuron pairs; the global random state does not change.

    Raises:
        ValueError: The config asks for more than `MAX_PARAMETERS` parameters (nothing is allocated then), or
            `in_features` is missing.
    """

    config: Any
    output_projector: nn.Sequential
    energy_proj: nn.Sequential

    def __init__(self, config: Config, in_features: int | None = None, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.in_features = in_features
        self.num_positions, _ = config.answer_shape
        self._compiled_transition: Callable[[Any, Any], Any] | None = None
        if torch.get_default_device().type != "meta":
            self.check_parameter_limit(config, in_features)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self._build(config, in_features, torch.Generator().manual_seed(seed))

    # --- encode and tick ------------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, inputs: Tensor) -> EncodedT:
        """Encode the input, and prepare everything that is constant over the unroll.

        Args:
            inputs: Depends on the backbone: images (B, c, h, w), tokens or signs (B, N), raw features (B, F), or frames
                from `ctm.modules.input_schedule.pack_frames`.
        """

    @abstractmethod
    def pool_features(self, inputs: Tensor) -> Float[Tensor, "B F"]:
        """Return the mean and the standard deviation of the backbone features over the places of the input."""

    @abstractmethod
    def initial_state(self, encoded: EncodedT, reserve_ticks: int | None = None) -> StateT:
        """Return the state before the first tick.

        Args:
            encoded: Result of `encode`.
            reserve_ticks: Ticks to reserve memory for; default: all ticks of the unroll.
        """

    def silence_neurons(self, encoded: EncodedT, neurons: Sequence[int]) -> EncodedT:
        """Return the encoded input with which the activation of some neurons is 0 at every tick and before the first.

        Args:
            encoded: Result of `encode`.
            neurons: Indices of the neurons.

        Raises:
            ValueError: The model has no such neuron, or no neurons that can be silenced.
        """
        raise ValueError("Only the neurons of a Continuous Thought Machine can be silenced.")

    def tick(self, state: StateT, encoded: EncodedT) -> tuple[StateT, TickOutput]:
        """Compute one tick.

        Args:
            state: State before the tick.
            encoded: Result of `encode`.

        Returns:
            The state after the tick, and the output of the tick.
        """
        state = self._transition(state, encoded)
        answer, certainty, energy = self._compute_readout(state.latent.T, state.neuron_activations.T)
        return state, TickOutput(answer.T, certainty.T, energy)

    # --- unroll --------------------------------------------------------------------------------------------------

    def forward(
        self, inputs: Tensor, *, energy_grad_to_trunk: bool = False, with_internals: bool = False
    ) -> UnrolledOutput:
        """Compute all ticks.

        The readout does not influence later ticks, so it is computed once, for all ticks together, after the last one.

        Args:
            inputs: As for `encode`.
            energy_grad_to_trunk: Let gradients of the energy flow into the model, not only into the energy head.
            with_internals: Also return attention weights and neuron activations, with their gradients.
        """
        encoded = self.encode(inputs)
        latents, neurons, attention = self._unroll(encoded, keep_attention=with_internals)
        answer, certainty, energy = self._compute_readout(latents, neurons, energy_grad_to_trunk)
        certainty = certainty.mean(1).T
        return UnrolledOutput(
            answers=answer.permute(2, 1, 0),
            certainties=torch.stack((1 - certainty, certainty), 1),
            energies=None if energy is None else energy.T,
            input_ticks=encoded.input_ticks,
            attention=torch.stack(attention, -1) if attention else None,
            activations=neurons.permute(2, 1, 0) if with_internals else None,
        )

    def compile_transition(self, backend: str = "inductor") -> None:
        """Compile the part of a tick that influences the next tick with `torch.compile`, for unrolls with gradients.

        Parameters, outputs and unrolls without gradients stay as they are. The first unroll takes a minute or more.

        Args:
            backend: Back end of `torch.compile`.
        """
        exclude_from_compilation()
        self._compiled_transition = torch.compile(self._transition, backend=backend)

    def _get_unroll_transition(self) -> Callable[[StateT, EncodedT], StateT]:
        """Return the compiled transition where there is one and gradients are enabled, else the transition."""
        compiled = self._compiled_transition
        return compiled if compiled is not None and torch.is_grad_enabled() else self._transition

    # --- size ----------------------------------------------------------------------------------------------------

    @classmethod
    def count_parameters(cls, config: Config, in_features: int | None = None) -> int:
        """Return the number of weights of a model, without allocating any: parameters and running statistics."""
        tensors = cls._build_meta_tensors(config, in_features)
        return sum(tensor.numel() for tensor in tensors if tensor.is_floating_point())

    @classmethod
    def check_parameter_limit(cls, config: Config, in_features: int | None = None) -> None:
        """Check that a model holds at most `MAX_PARAMETERS` numbers: parameters and buffers.

        Index buffers count because they use memory, too.

        Raises:
            ValueError: It holds more; the message names the settings to lower.
        """
        count = sum(tensor.numel() for tensor in cls._build_meta_tensors(config, in_features))
        if count > MAX_PARAMETERS:
            widths = "d_model"
            if config.model_type == "ctm":
                widths = "d_model, d_input, memory_length, memory_hidden_dims or n_synch_out"
            raise ValueError(
                f"This config asks for {count / 1e9:.1f} billion parameters; at most {MAX_PARAMETERS / 1e9:.0f} "
                f"billion are accepted. Lower {widths}."
            )

    @classmethod
    def _build_meta_tensors(cls, config: Config, in_features: int | None) -> list[Tensor]:
        """Return the tensors of a model on the meta device, which allocates no memory."""
        with use_meta_device():
            return list(cls(config, in_features).state_dict().values())

    # --- parts ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def _build(self, config: Any, in_features: int | None, generator: torch.Generator) -> None:
        """Create all parameters, under the published names and in the published order."""

    @abstractmethod
    def _transition(self, state: StateT, encoded: EncodedT) -> StateT:
        """Compute the part of a tick that influences the next tick."""

    def _unroll(
        self, encoded: EncodedT, keep_attention: bool
    ) -> tuple[Float[Tensor, "T S B"], Float[Tensor, "T D B"], list[Tensor]]:
        """Compute all ticks.

        Args:
            encoded: Result of `encode`.
            keep_attention: Whether to return the attention weights.

        Returns:
            Readout input and neuron activations at every tick, and the attention weights of every tick, each of shape
            (B, H, N); an empty list if they are not kept or the model does not attend.
        """
        transition = self._get_unroll_transition()
        state = self.initial_state(encoded)
        latents: list[Tensor] = []
        neurons: list[Tensor] = []
        attention: list[Tensor] = []
        for _ in range(encoded.ticks):
            state = transition(state, encoded)
            latents.append(state.latent.T)
            neurons.append(state.neuron_activations.T)
            if keep_attention and (weights := state.get_channels().get("attention")) is not None:
                attention.append(weights)
        return torch.stack(latents), torch.stack(neurons), attention

    def _add_energy_head(self, latent_size: int, num_neurons: int) -> None:
        """Add `energy_proj` if the config enables an energy head.

        Args:
            latent_size: Size S of the readout input.
            num_neurons: Number D of neuron activations.
        """
        config = self.config
        if config.energy_head_enabled:
            num_features = (
                latent_size
                + num_neurons * config.energy_sees_neurons
                + NUM_CERTAINTY_FEATURES * config.energy_sees_certainty
            )
            self.energy_proj = make_energy_head(num_features, config.energy_hidden_dim)

    def build_energy_head_input(
        self, latent: Float[Tensor, "*T S B"], activations: Float[Tensor, "*T D B"], certainty: Float[Tensor, "*T P B"]
    ) -> Float[Tensor, "*T F B"]:
        """Concatenate the features that the energy head receives.

        `config.energy_sees_neurons` and `config.energy_sees_certainty` select the optional parts.

        Args:
            latent: Readout input.
            activations: Neuron activations (cell state for the LSTM).
            certainty: Certainty per answer position, in [0, 1].

        Returns:
            Features with F = S, plus D and plus `NUM_CERTAINTY_FEATURES` where enabled.
        """
        parts = [latent]
        if self.config.energy_sees_neurons:
            parts.append(activations)
        if self.config.energy_sees_certainty:
            parts.append(compute_certainty_features(certainty))
        return torch.cat(parts, -2) if len(parts) > 1 else latent

    def _compute_readout(
        self, latent: Float[Tensor, "*T S B"], activations: Float[Tensor, "*T D B"], energy_grad_to_trunk: bool = False
    ) -> tuple[Float[Tensor, "*T K B"], Float[Tensor, "*T P B"], Float[Tensor, "*T B"] | None]:
        """Return answer logits, certainty and energy (None without an energy head)."""
        answer = project(self.output_projector[-1], latent).float()
        certainty = compute_certainty(answer, self.num_positions)
        if not self.config.energy_head_enabled:
            return answer, certainty, None
        head_input = self.build_energy_head_input(latent, activations, certainty)
        if not energy_grad_to_trunk:
            head_input = head_input.detach()
        return answer, certainty, compute_energy(self.energy_proj, head_input).float()


def init_uniform(bound: float, *shape: int) -> Tensor:
    """Return a tensor drawn uniformly from [-bound, bound]."""
    return torch.empty(shape).uniform_(-bound, bound)
