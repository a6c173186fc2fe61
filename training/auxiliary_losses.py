"""Auxiliary losses of the first part of a training: where the model attends, and what its neurons encode.

Both follow the timetable of `training.pace`, or that of an input schedule. A task states the targets with
`Task.compute_auxiliary_targets`; the losses know nothing else of it. Axes: B rows, P positions of the answer, S intermediate
results, H heads, N places of the input, D neurons, T ticks.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from training.losses import IGNORE_INDEX, is_within_lookahead
from training.pace import Pace

# Keeps the logarithm finite. A larger bound would stop the gradient of heads that attend elsewhere.
MIN_ATTENTION = 1e-30


@dataclass(frozen=True)
class AuxiliaryTargets:
    """Intermediate steps of the solution of every sample, one per position of the answer or per frame of the input.

    Attributes:
        states: Class of the intermediate result after the position; `IGNORE_INDEX` where there is none.
        places: Place of the input that the position depends on; `IGNORE_INDEX` where there is none. None if the input changes
            from tick to tick.
        image_shape: Rows and columns of an image whose pixels are the places; None if every place is one token.
        probe_ticks: Tick at which each result is read from the neurons; None: the tick before its position is due.
    """

    states: Int[Tensor, "B S"]
    places: Int[Tensor, "B P"] | None = None
    image_shape: tuple[int, int] | None = None
    probe_ticks: Int[Tensor, "B S"] | None = None

    @classmethod
    def before_padding(
        cls,
        places: Int[Tensor, "B P"],
        states: Int[Tensor, "B P"],
        lengths: Int[Tensor, " B"],
        image_shape: tuple[int, int] | None = None,
    ) -> "AuxiliaryTargets":
        """Build the targets of answers that end in padding, which has none.

        Args:
            places: Place of every position.
            states: Class of the intermediate result after every position.
            lengths: Positions of each answer before its padding.
            image_shape: See `AuxiliaryTargets`.
        """
        is_padding = torch.arange(places.size(1)) >= lengths.unsqueeze(1)
        return cls(
            states.masked_fill(is_padding, IGNORE_INDEX), places.masked_fill(is_padding, IGNORE_INDEX), image_shape
        )

    def locate_features(self, num_features: int) -> Int[Tensor, "B P"]:
        """Return the index of the feature that covers each place; a square backbone output covers an image evenly.

        Args:
            num_features: Number of features N that the model attends to.
        """
        assert self.places is not None, "the settings are checked before the training"
        if self.image_shape is None:
            return self.places
        rows, columns = self.image_shape
        side = math.isqrt(num_features)
        place = self.places.clamp(min=0)
        feature = place // columns * side // rows * side + place % columns * side // columns
        return feature.masked_fill(self.places == IGNORE_INDEX, IGNORE_INDEX)

    @property
    def lengths(self) -> Int[Tensor, " B"]:
        """Positions of each answer before its padding."""
        return (self.states != IGNORE_INDEX).sum(1)

    def to(self, device: torch.device) -> "AuxiliaryTargets":
        """Return the targets on a device."""
        places = None if self.places is None else self.places.to(device)
        probe_ticks = None if self.probe_ticks is None else self.probe_ticks.to(device)
        return AuxiliaryTargets(self.states.to(device), places, self.image_shape, probe_ticks)


def attention_loss(attention: Float[Tensor, "B H N T"], places: Int[Tensor, "B P"], pace: Pace) -> Float[Tensor, ""]:
    """Return minus the logarithm of the attention weight at the place of the timetable, of the head with the largest one.

    Args:
        attention: Attention weights at every tick.
        places: See `AuxiliaryTargets`.
        pace: Timetable of the positions.
    """
    positions = pace.find_attended_positions(places.size(1), attention.size(3)).to(attention.device)
    ticks = (positions >= 0).nonzero().squeeze(1)
    place = places[:, positions[ticks]]
    mask = place != IGNORE_INDEX
    index = place.clamp(min=0)[:, None, None].expand(-1, attention.size(1), 1, -1)
    weight = attention[..., ticks].float().gather(2, index).squeeze(2).amax(1)
    return -(weight.clamp(min=MIN_ATTENTION).log() * mask).sum() / mask.sum().clamp(min=1)


class StateProbe(nn.Module):
    """Linear probe that reads the intermediate result from the neurons. It is trained with the model and is no part of it.

    Args:
        num_neurons: Number of neurons D.
        num_states: Number of classes of the intermediate result.
        seed: Seed of the initial weights; the global random state does not change.
    """

    def __init__(self, num_neurons: int, num_states: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.linear = nn.Linear(num_neurons, num_states)

    def forward(
        self,
        activations: Float[Tensor, "B D T"],
        targets: AuxiliaryTargets,
        pace: Pace,
        lookahead: int | None,
    ) -> Float[Tensor, ""]:
        """Return the cross-entropy of the intermediate results, each read at its tick.

        Args:
            activations: Activations of the neurons at every tick.
            targets: The intermediate results, and the ticks at which they are read.
            pace: Timetable of the positions, for targets without ticks.
            lookahead: Count only this many results after those that the probe reads correctly from the first one on; None
                counts all.
        """
        states, ticks = targets.states, targets.probe_ticks
        num_ticks = activations.size(2)
        if ticks is None:
            due_ticks = pace.compute_due_ticks(states.size(1), num_ticks).to(activations.device)
            ticks = (due_ticks - 1).expand_as(states)
        index = ticks.clamp(0, num_ticks - 1).unsqueeze(1).expand(-1, activations.size(1), -1)
        logits = self.linear(activations.gather(2, index).transpose(1, 2)).float()
        mask: Bool[Tensor, "B S"] = states != IGNORE_INDEX
        if lookahead is not None:
            is_right = (logits.detach().argmax(2) == states) | ~mask
            mask = mask & is_within_lookahead(is_right, lookahead)
        losses = F.cross_entropy(logits.transpose(1, 2), states, ignore_index=IGNORE_INDEX, reduction="none")
        return (losses * mask).sum() / mask.sum().clamp(min=1)
