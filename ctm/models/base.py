"""Abstract base of all models that iterate internal ticks.

    encoded = model.encode(inputs)                  once: encoded input, and prepared weights
    state = model.initial_state(encoded)            learned start state
    state, output = model.tick(state, encoded)      one tick; output: answer logits, certainty, energy
    unrolled = model(inputs)                        all ticks

State is an argument: nothing is stored on the module. Encoded inputs and states are frozen dataclasses, and both have
`select_rows(rows)`.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ctm.config import Config
from ctm.models.outputs import TickOutput, UnrolledOutput
from ctm.modules.readout import (
    NUM_CERTAINTY_FEATURES,
    compute_certainty,
    compute_certainty_features,
    compute_energy,
    make_energy_head,
    project,
)

MAX_PARAMETERS = 1_000_000_000  # 4 GB in float32


class TickModel(nn.Module, ABC):
    """Model that iterates internal ticks, built from its config.

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

    def __init__(self, config: Config, in_features: int | None = None, seed: int = 0):
        super().__init__()
        self.config = config
        self.in_features = in_features
        self.num_positions, _ = config.answer_shape
        if torch.get_default_device().type != "meta":
            check_class_parameter_limit(type(self), config, in_features)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self._build(config, in_features, torch.Generator().manual_seed(seed))

    # --- encode and tick ------------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, inputs: Tensor) -> Any:
        """Encode the input, and prepare everything that is constant over the unroll.

        Args:
            inputs: Depends on the backbone: images (B, c, h, w), tokens or signs (B, N), raw features (B, F), or frames
                from `ctm.modules.input_schedule.pack_frames`.
        """

    @abstractmethod
    def initial_state(self, encoded: Any, reserve_ticks: int | None = None) -> Any:
        """Return the state before the first tick.

        Args:
            encoded: Result of `encode`.
            reserve_ticks: Ticks to reserve memory for; default: all ticks of the unroll.
        """

    def tick(self, state: Any, encoded: Any) -> tuple[Any, TickOutput]:
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

    def forward(self, inputs: Tensor, *, energy_grad_to_trunk: bool = False) -> UnrolledOutput:
        """Compute all ticks.

        The readout does not influence later ticks, so it is computed once, for all ticks together, after the last one.

        Args:
            inputs: As for `encode`.
            energy_grad_to_trunk: Let gradients of the energy flow into the model, not only into the energy head.
        """
        features = self.encode(inputs)
        answer, certainty, energy = self._compute_readout(*self._unroll(features), energy_grad_to_trunk)
        certainty = certainty.mean(1).T
        return UnrolledOutput(
            answers=answer.permute(2, 1, 0),
            certainties=torch.stack((1 - certainty, certainty), 1),
            energies=None if energy is None else energy.T,
            input_ticks=features.input_ticks,
        )

    # --- parts ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def _build(self, config: Any, in_features: int | None, generator: torch.Generator) -> None:
        """Create all parameters, under the published names and in the published order."""

    @abstractmethod
    def _transition(self, state: Any, encoded: Any) -> Any:
        """Compute the part of a tick that influences the next tick."""

    def _unroll(self, encoded: Any) -> tuple[Float[Tensor, "T S B"], Float[Tensor, "T D B"]]:
        """Return the readout input and the neuron activations at every tick."""
        state, latents, neurons = self.initial_state(encoded), [], []
        for _ in range(encoded.ticks):
            state = self._transition(state, encoded)
            latents.append(state.latent.T)
            neurons.append(state.neuron_activations.T)
        return torch.stack(latents), torch.stack(neurons)

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
        return (
            answer,
            certainty,
            compute_energy(self.energy_proj, head_input if energy_grad_to_trunk else head_input.detach()).float(),
        )


def init_uniform(bound: float, *shape: int) -> Tensor:
    """Return a tensor drawn uniformly from [-bound, bound]."""
    return torch.empty(shape).uniform_(-bound, bound)


def build_meta_tensors(model_class: type[TickModel], config: Config, in_features: int | None = None) -> list[Tensor]:
    """Return the tensors of a model on the meta device, which allocates no memory."""
    with torch.device("meta"):
        return list(model_class(config, in_features).state_dict().values())


def count_class_parameters(model_class: type[TickModel], config: Config, in_features: int | None = None) -> int:
    """Return the number of weights of a model, without allocating any: parameters and running statistics."""
    return sum(
        tensor.numel() for tensor in build_meta_tensors(model_class, config, in_features) if tensor.is_floating_point()
    )


def check_class_parameter_limit(model_class: type[TickModel], config: Config, in_features: int | None) -> None:
    """Raise `ValueError` if a model would hold more than `MAX_PARAMETERS` numbers, parameters and buffers."""
    count = sum(
        tensor.numel() for tensor in build_meta_tensors(model_class, config, in_features)
    )  # index buffers use memory, too
    if count > MAX_PARAMETERS:
        widths = (
            "d_model, d_input, memory_length, memory_hidden_dims or n_synch_out"
            if config.model_type == "ctm"
            else "d_model"
        )
        raise ValueError(
            f"This config asks for {count / 1e9:.1f} billion parameters; at most {MAX_PARAMETERS / 1e9:.0f} billion "
            f"are accepted. Lower {widths}."
        )
