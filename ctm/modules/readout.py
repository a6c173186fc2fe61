"""Readout of a model: answer logits, certainty, energy, and signals for halting policies."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

NUM_CERTAINTY_FEATURES = 4
# Signals besides certainty and energy that a halting policy may read.
ANSWER_SIGNALS = ("margin", "probability", "change")


def project(layer: nn.Linear, sync: Float[Tensor, "*T S B"]) -> Float[Tensor, "*T K B"]:
    """Apply a linear layer to neuron-major values."""
    return layer.weight @ sync + layer.bias.unsqueeze(-1)


def compute_certainty(answer: Float[Tensor, "*T K B"], num_positions: int) -> Float[Tensor, "*T P B"]:
    """Return one minus normalised entropy per answer position, in [0, 1] (paper section 3.5)."""
    logits = answer.unflatten(-2, (num_positions, -1)).float()
    log_p = logits.log_softmax(-2)
    entropy = -(log_p.exp() * log_p).sum(-2)
    return (1 - entropy / math.log(logits.size(-2))).clamp(0, 1)  # rounding may leave the interval


def compute_certainty_features(certainty: Float[Tensor, "*T P B"]) -> Float[Tensor, "*T E B"]:
    """Return the certainty features of the energy head.

    They are the mean and the minimum over the positions, and minus the logarithm of one minus each. On the logarithmic
    scale the step from 0.99 to 0.999 is as large as the step from 0 to 0.9.
    """
    plain = torch.stack((certainty.mean(-2), certainty.amin(-2)), -2)
    return torch.cat((plain, -torch.log1p(-plain.clamp(max=1 - 1e-6))), -2)


def compute_answer_signals(
    names: frozenset[str],
    answer: Float[Tensor, "*A K"],
    previous_answer: Float[Tensor, "*A K"] | None,
    num_positions: int,
) -> dict[str, Float[Tensor, "*A"]]:
    """Compute signals of an answer that halting policies may read besides certainty and energy.

    Args:
        names: Signals to compute, of `ANSWER_SIGNALS`.
        answer: Logits of this tick.
        previous_answer: Logits of the previous tick; None at the first tick.
        num_positions: Number of answer positions.

    Returns:
        Signal name -> value. margin: probability difference of the two most likely classes, minimum over positions.
        probability: probability of the most likely class, minimum over positions. change: KL divergence of this tick's
            distribution from that of the previous tick in nats, mean over positions, infinite at the first tick.
    """
    if not names:
        return {}
    log_p = answer.unflatten(-1, (num_positions, -1)).float().log_softmax(-1)
    p = log_p.exp()
    signals = {}
    if "margin" in names:
        top = p.topk(min(2, p.size(-1)), -1).values
        signals["margin"] = (top[..., 0] - top[..., -1]).amin(-1)
    if "probability" in names:
        signals["probability"] = p.amax(-1).amin(-1)
    if "change" in names and previous_answer is not None:
        log_q = previous_answer.unflatten(-1, (num_positions, -1)).float().log_softmax(-1)
        signals["change"] = (p * (log_p - log_q)).sum(-1).mean(-1).clamp(min=0)
    elif "change" in names:
        signals["change"] = torch.full(answer.shape[:-1], torch.inf, device=answer.device)
    return signals


def compute_ctc_emission_mask(labels: Int[Tensor, "B T"], blank: int) -> Bool[Tensor, "B T"]:
    """Return the ticks at which a CTC model emits a label.

    These are the ticks with a label below `blank` that differs from the label of the previous tick.
    """
    before = F.pad(labels, (1, 0), value=blank)[:, :-1]
    return (labels < blank) & (labels != before)


def make_energy_head(size: int, hidden: int) -> nn.Sequential:
    """Build an energy head: linear, SiLU, linear. The energy-halting fork publishes it as `energy_proj`."""
    return nn.Sequential(nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, 1))


def compute_energy(head: nn.Sequential, sync: Float[Tensor, "*T S B"]) -> Float[Tensor, "*T B"]:
    """Apply an energy head to neuron-major features."""
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
