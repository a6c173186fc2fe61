"""What every thinker is: three pure functions and one fold. How it thinks is its own; the rest is written once, here.

    features = thinker.encode(inputs)                 once: what is seen, and weights made ready
    state = thinker.begin(features)                   learned start state
    state, output = thinker.tick(state, features)     one tick; output: answer logits, certainty, energy
    thought = thinker(inputs)                         the fold over all ticks

State is an argument: nothing is stored on the module. Features and states are frozen; both give `take(rows)`.
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

MAX_PARAMETERS = 1_000_000_000  # 4 GB of weights


class TickModel(nn.Module, ABC):
    """A network built from its config that thinks tick by tick.

    Args:
        config: the published constructor keys.
        in_features: channels of a picture, or features of a raw input; not needed for sequences of symbols.
        seed: draws start weights, and neuron pairs where there are any; the global random state is left alone.

    Raises:
        ValueError: the config asks for more than 1e9 parameters (nothing is allocated then), or lacks `in_features`.
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

    # --- the three functions -------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, inputs: Tensor) -> Any:
        """See the input, and make ready what stays the same in a thought.

        Args:
            inputs: pictures (B, c, h, w), symbols or signs (B, N), raw features (B, F), or frames as
                `ctm.modules.input_schedule.pack` makes them, as the backbone has it.
        """

    @abstractmethod
    def initial_state(self, encoded: Any, reserve_ticks: int | None = None) -> Any:
        """The start of a thought.

        Args:
            features: from `encode`.
            room: ticks to reserve memory for; those of the whole thought when not given.
        """

    def tick(self, state: Any, encoded: Any) -> tuple[Any, TickOutput]:
        """One tick of thought."""
        state = self._transition(state, encoded)
        answer, certainty, energy = self._compute_readout(state.latent.T, state.neuron_activations.T)
        return state, TickOutput(answer.T, certainty.T, energy)

    # --- the fold ------------------------------------------------------------------------------------------------

    def forward(self, inputs: Tensor, *, energy_grad_to_trunk: bool = False) -> UnrolledOutput:
        """All ticks of a thought.

        What is said does not act back on what is thought, so it is worked out for all ticks at once, after the last.

        Args:
            inputs: as for `encode`.
            energy_reaches_trunk: let gradients of the energy flow into the thinker, not only into its energy head.
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
        """Make all parameters, under their published names and in the published order."""

    @abstractmethod
    def _transition(self, state: Any, encoded: Any) -> Any:
        """All of a tick that acts on the next tick."""

    def _unroll(self, encoded: Any) -> tuple[Float[Tensor, "T S B"], Float[Tensor, "T D B"]]:
        """What the answer is read from, and what the neurons do, at every tick."""
        state, latents, neurons = self.initial_state(encoded), [], []
        for _ in range(encoded.ticks):
            state = self._transition(state, encoded)
            latents.append(state.latent.T)
            neurons.append(state.neuron_activations.T)
        return torch.stack(latents), torch.stack(neurons)

    def _add_energy_head(self, latent_size: int, num_neurons: int) -> None:
        config = self.config
        if config.energy_head_enabled:
            seen = (
                latent_size
                + num_neurons * config.energy_sees_neurons
                + NUM_CERTAINTY_FEATURES * config.energy_sees_certainty
            )
            self.energy_proj = make_energy_head(seen, config.energy_hidden_dim)

    def build_energy_head_input(
        self, latent: Float[Tensor, "*T S B"], activations: Float[Tensor, "*T D B"], certainty: Float[Tensor, "*T P B"]
    ) -> Float[Tensor, "*T F B"]:
        """What the energy head looks at: what the answer is read from, and more where the config says so."""
        seen = [latent]
        if self.config.energy_sees_neurons:
            seen.append(activations)
        if self.config.energy_sees_certainty:
            seen.append(compute_certainty_features(certainty))
        return torch.cat(seen, -2) if len(seen) > 1 else latent

    def _compute_readout(
        self, latent: Float[Tensor, "*T S B"], activations: Float[Tensor, "*T D B"], energy_grad_to_trunk: bool = False
    ) -> tuple[Float[Tensor, "*T K B"], Float[Tensor, "*T P B"], Float[Tensor, "*T B"] | None]:
        answer = project(self.output_projector[-1], latent).float()
        certainty = compute_certainty(answer, self.num_positions)
        if not self.config.energy_head_enabled:
            return answer, certainty, None
        felt = self.build_energy_head_input(latent, activations, certainty)
        return (
            answer,
            certainty,
            compute_energy(self.energy_proj, felt if energy_grad_to_trunk else felt.detach()).float(),
        )


def init_uniform(bound: float, *shape: int) -> Tensor:
    return torch.empty(shape).uniform_(-bound, bound)


def build_meta_tensors(model_class: type[TickModel], config: Config, in_features: int | None = None) -> list[Tensor]:
    """The tensors of a thinker, without allocating any."""
    with torch.device("meta"):
        return list(model_class(config, in_features).state_dict().values())


def count_class_parameters(model_class: type[TickModel], config: Config, in_features: int | None = None) -> int:
    """Number of weights of a thinker, without allocating any: its parameters, and the means that normalisation keeps."""
    return sum(
        tensor.numel() for tensor in build_meta_tensors(model_class, config, in_features) if tensor.is_floating_point()
    )


def check_class_parameter_limit(model_class: type[TickModel], config: Config, in_features: int | None) -> None:
    count = sum(
        tensor.numel() for tensor in build_meta_tensors(model_class, config, in_features)
    )  # places of neurons take room, too
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
