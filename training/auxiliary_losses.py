"""Auxiliary losses of the first part of a training: where the model attends, and what its neurons and features encode.

Both follow the timetable of `training.pace`, or that of an input schedule. A task states the targets with
`Task.compute_auxiliary_targets`; the losses know nothing else of it. Axes: B rows, P positions of the answer, S intermediate
results, L places of the input, H heads, N features that the model attends to, D neurons, T ticks.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

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
        place_classes: Class of every place of the input, such as the move that leads from it towards the goal;
            `IGNORE_INDEX` where there is none. None without a feature loss.
    """

    states: Int[Tensor, "B S"]
    places: Int[Tensor, "B P"] | None = None
    image_shape: tuple[int, int] | None = None
    probe_ticks: Int[Tensor, "B S"] | None = None
    place_classes: Int[Tensor, "B L"] | None = None

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
        """Return the index of the feature that covers the place of each position; see `locate_places`.

        Args:
            num_features: Number of features N that the model attends to.
        """
        assert self.places is not None, "the settings are checked before the training"
        feature = self.locate_places(self.places.clamp(min=0), num_features)
        return feature.masked_fill(self.places == IGNORE_INDEX, IGNORE_INDEX)

    def locate_places(self, places: Int[Tensor, "*B"], num_features: int) -> Int[Tensor, "*B"]:
        """Return the index of the feature that covers each place; a square backbone output covers an image evenly."""
        if self.image_shape is None:
            return places
        rows, columns = self.image_shape
        side = math.isqrt(num_features)
        return places // columns * side // rows * side + places % columns * side // columns

    @property
    def lengths(self) -> Int[Tensor, " B"]:
        """Positions of each answer before its padding."""
        return (self.states != IGNORE_INDEX).sum(1)

    def to(self, device: torch.device) -> "AuxiliaryTargets":
        """Return the targets on a device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors: dict[str, Any] = {
            name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


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


@contextmanager
def record_features(model: nn.Module) -> Iterator[list[Float[Tensor, "B N E"]]]:
    """Record the features that a model attends to while it runs: the input of keys and values, E channels.

    Args:
        model: A CTM with attention, possibly wrapped for several processes.
    """
    features: list[Tensor] = []
    kv_proj: nn.Module = getattr(model, "module", model).get_submodule("kv_proj")
    handle = kv_proj.register_forward_hook(lambda _module, _inputs, output: features.append(output))
    try:
        yield features
    finally:
        handle.remove()


class Probes(nn.Module):
    """Linear probes of the neurons and of the features. They are trained with the model and are no part of it.

    Args:
        state: Probe of the intermediate results; None without a probe loss.
        feature: Probe of the classes of the places; None without a feature loss.
    """

    def __init__(self, state: "StateProbe | None", feature: "FeatureProbe | None") -> None:
        super().__init__()
        self.state = state
        self.feature = feature

    def forward(
        self,
        activations: Float[Tensor, "B D T"],
        features: Float[Tensor, "B N E"] | None,
        targets: AuxiliaryTargets,
        pace: Pace,
        lookahead: int | None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the loss of each probe: `probe_loss`, `feature_loss`.

        Args:
            activations: Activations of the neurons at every tick.
            features: Features that the model attends to; None without a probe of them.
            targets: What the probes should read.
            pace: See `StateProbe`.
            lookahead: See `StateProbe`.
        """
        losses = {}
        if self.state is not None:
            losses["probe_loss"] = self.state(activations, targets, pace, lookahead)
        if self.feature is not None:
            losses["feature_loss"] = self.feature(features, targets)
        return losses


class SeededLinear(nn.Linear):
    """Linear layer whose initial weights depend on a seed only; the global random state does not change."""

    def __init__(self, in_features: int, out_features: int, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            super().__init__(in_features, out_features)


class FeatureProbe(nn.Module):
    """Linear probe that reads the class of a place from the feature that covers it.

    Args:
        width: Channels E of a feature.
        num_classes: Number of classes of a place.
        seed: Seed of the initial weights.
    """

    def __init__(self, width: int, num_classes: int, seed: int) -> None:
        super().__init__()
        self.linear = SeededLinear(width, num_classes, seed)

    def forward(self, features: Float[Tensor, "B N E"], targets: AuxiliaryTargets) -> Float[Tensor, ""]:
        """Return the cross-entropy of the classes of the places."""
        assert targets.place_classes is not None, "the settings are checked before the training"
        places = torch.arange(targets.place_classes.size(1), device=features.device)
        logits = self.linear(features).float()[:, targets.locate_places(places, features.size(1))]
        return F.cross_entropy(logits.transpose(1, 2), targets.place_classes, ignore_index=IGNORE_INDEX)


class StateProbe(nn.Module):
    """Linear probe that reads the intermediate result from the neurons.

    Args:
        num_neurons: Number of neurons D.
        num_states: Number of classes of the intermediate result.
        seed: Seed of the initial weights.
    """

    def __init__(self, num_neurons: int, num_states: int, seed: int) -> None:
        super().__init__()
        self.linear = SeededLinear(num_neurons, num_states, seed)

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
