"""What the machine says of its synchronisation: an answer, how certain it is of it, and the energy of being there."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

NUM_CERTAINTY_FEATURES = 4  # numbers that tell an energy head how certain an answer is
ANSWER_SIGNALS = (
    "margin",
    "probability",
    "change",
)  # of an answer, besides certainty and energy, that a rule may look at


def project(layer: nn.Linear, sync: Float[Tensor, "*T S B"]) -> Float[Tensor, "*T K B"]:
    """A linear map of neuron-major values."""
    return layer.weight @ sync + layer.bias.unsqueeze(-1)


def compute_certainty(answer: Float[Tensor, "*T K B"], num_positions: int) -> Float[Tensor, "*T P B"]:
    """One minus normalised entropy of every position's choice; in [0, 1] (paper section 3.5)."""
    logits = answer.unflatten(-2, (num_positions, -1)).float()
    log_p = logits.log_softmax(-2)
    entropy = -(log_p.exp() * log_p).sum(-2)
    return (1 - entropy / math.log(logits.size(-2))).clamp(0, 1)  # rounding may step outside


def compute_certainty_features(certainty: Float[Tensor, "*T P B"]) -> Float[Tensor, "*T E B"]:
    """What an energy head may see of the certainty: its mean and its least over the positions, as they are and as minus the
    logarithm of what they lack of 1, in which the last thousandths are as far apart as the first halves."""
    plain = torch.stack((certainty.mean(-2), certainty.amin(-2)), -2)
    return torch.cat((plain, -torch.log1p(-plain.clamp(max=1 - 1e-6))), -2)


def compute_answer_signals(
    names: frozenset[str],
    answer: Float[Tensor, "*A K"],
    previous_answer: Float[Tensor, "*A K"] | None,
    num_positions: int,
) -> dict[str, Float[Tensor, "*A"]]:
    """What else may be asked of an answer, each of its least sure position; the change is the mean over positions.

    Args:
        names: of `ANSWER_SIGNALS`.
        answer, before: logits of this tick and of the one before; None at the first.
        positions: of a structured answer.

    Returns:
        margin: between the two likeliest classes; probability: of the likeliest; change: KL divergence of the choice from
        that of the tick before, in nats, infinite at the first tick.
    """
    if not names:
        return {}
    log_p = answer.unflatten(-1, (num_positions, -1)).float().log_softmax(-1)
    p, found = log_p.exp(), {}
    if "margin" in names:
        top = p.topk(min(2, p.size(-1)), -1).values
        found["margin"] = (top[..., 0] - top[..., -1]).amin(-1)
    if "probability" in names:
        found["probability"] = p.amax(-1).amin(-1)
    if "change" in names and previous_answer is not None:
        log_q = previous_answer.unflatten(-1, (num_positions, -1)).float().log_softmax(-1)
        found["change"] = (p * (log_p - log_q)).sum(-1).mean(-1).clamp(min=0)
    elif "change" in names:
        found["change"] = torch.full(answer.shape[:-1], torch.inf, device=answer.device)
    return found


def compute_ctc_emission_mask(labels: Int[Tensor, "B T"], blank: int) -> Bool[Tensor, "B T"]:
    """At which ticks a machine that says one label at a tick says a new one (CTC): labels below `silence`, repeats aside."""
    before = F.pad(labels, (1, 0), value=blank)[:, :-1]
    return (labels < blank) & (labels != before)


def make_energy_head(size: int, hidden: int) -> nn.Sequential:
    """Linear, SiLU, linear; published by the energy-halting fork as `energy_proj`."""
    return nn.Sequential(nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, 1))


def compute_energy(head: nn.Sequential, sync: Float[Tensor, "*T S B"]) -> Float[Tensor, "*T B"]:
    return project(head[2], F.silu(project(head[0], sync))).squeeze(-2)


__all__ = [
    "ANSWER_SIGNALS",
    "NUM_CERTAINTY_FEATURES",
    "compute_answer_signals",
    "compute_certainty",
    "compute_certainty_features",
    "compute_ctc_emission_mask",
    "compute_energy",
    "make_energy_head",
    "project",
]
