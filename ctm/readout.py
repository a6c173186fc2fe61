"""What the machine says of its synchronisation: an answer, how certain it is of it, and the energy of being there."""

import math

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


def project(layer: nn.Linear, sync: Float[Tensor, "*T S B"]) -> Float[Tensor, "*T K B"]:
    """A linear map of neuron-major values."""
    return layer.weight @ sync + layer.bias.unsqueeze(-1)


def certainty_of(answer: Float[Tensor, "*T K B"], positions: int) -> Float[Tensor, "*T P B"]:
    """One minus normalised entropy of every position's choice; in [0, 1] (paper section 3.5)."""
    logits = answer.unflatten(-2, (positions, -1)).float()
    log_p = logits.log_softmax(-2)
    entropy = -(log_p.exp() * log_p).sum(-2)
    return (1 - entropy / math.log(logits.size(-2))).clamp(0, 1)  # rounding may step outside


def begins_to_say(label: Int[Tensor, "B T"], silence: int) -> Bool[Tensor, "B T"]:
    """At which ticks a machine that says one label at a tick says a new one (CTC): labels below `silence`, repeats aside."""
    before = F.pad(label, (1, 0), value=silence)[:, :-1]
    return (label < silence) & (label != before)


def make_energy_head(size: int, hidden: int) -> nn.Sequential:
    """Linear, SiLU, linear; published by the energy-halting fork as `energy_proj`."""
    return nn.Sequential(nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, 1))


def energy_of(head: nn.Sequential, sync: Float[Tensor, "*T S B"]) -> Float[Tensor, "*T B"]:
    return project(head[2], F.silu(project(head[0], sync))).squeeze(-2)


__all__ = ["begins_to_say", "certainty_of", "energy_of", "make_energy_head", "project"]
