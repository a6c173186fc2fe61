"""Outputs of a model, batch-first. See `ctm.modules.state` for the axis letters."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class TickOutput:
    """Output of one tick.

    Attributes:
        answer: Answer logits.
        certainty: One minus normalised entropy per answer position, in [0, 1].
        energy: Output of the energy head, low if the answer is likely correct; None without an energy head.
    """

    answer: Float[Tensor, "B K"]
    certainty: Float[Tensor, "B P"]
    energy: Float[Tensor, " B"] | None


@dataclass(frozen=True)
class UnrolledOutput:
    """Output of all ticks of one batch, in the layout of the published code.

    Attributes:
        answers: Answer logits at each tick.
        certainties: Normalised entropy and one minus it, averaged over answer positions.
        energies: Output of the energy head; None without an energy head.
        input_ticks: Ticks before an answer counts, per row; None if all ticks count.
        attention: Attention weights at each tick; None unless internals are requested, or without attention.
        activations: Post-activations of the neurons at each tick; None unless internals are requested.
    """

    answers: Float[Tensor, "B K T"]
    certainties: Float[Tensor, "B 2 T"]
    energies: Float[Tensor, "B T"] | None
    input_ticks: Int[Tensor, " B"] | None = None
    attention: Float[Tensor, "B H N T"] | None = None
    activations: Float[Tensor, "B D T"] | None = None


def compute_answer_mask(input_ticks: Int[Tensor, " B"] | None, ticks: int) -> Bool[Tensor, "B T"] | None:
    """Return the mask of ticks at which answers count; None if all ticks count.

    Args:
        input_ticks: Ticks before an answer counts, per row; None if all ticks count.
        ticks: Number of ticks T.
    """
    return None if input_ticks is None else torch.arange(ticks, device=input_ticks.device) >= input_ticks.unsqueeze(1)
