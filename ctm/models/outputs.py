"""Values in flight, and the letters their axes go by.

B batch rows, T ticks, D neurons, M remembered ticks, S synchronised pairs, K answer logits (K = P * C), P positions of
a structured answer, C classes, H attention heads, N places to look at, d width of an observation.

Inside a thought tensors are *neuron-major*: neurons first, batch last. A neuron's history is then one contiguous block and
picking pairs of neurons moves whole rows, which is what makes a tick fast. What leaves the machine (`TickOutput`, `Thought`)
is batch-first, as everywhere else.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class TickOutput:
    """What the machine says at one tick."""

    answer: Float[Tensor, "B K"]  # logits
    certainty: Float[Tensor, "B P"]  # one minus normalised entropy, per position; in [0, 1]
    energy: Float[Tensor, " B"] | None  # low when the answer is right; None without an energy head


@dataclass(frozen=True)
class UnrolledOutput:
    """All ticks of one batch, laid out as in the published code."""

    answers: Float[Tensor, "B K T"]
    certainties: Float[Tensor, "B 2 T"]  # normalised entropy, and one minus it
    energies: Float[Tensor, "B T"] | None
    input_ticks: Int[Tensor, " B"] | None = None  # ticks before an answer counts; None where all count


def compute_answer_mask(input_ticks: Int[Tensor, " B"] | None, ticks: int) -> Bool[Tensor, "B T"] | None:
    """Where answers count; None where all do."""
    return None if input_ticks is None else torch.arange(ticks, device=input_ticks.device) >= input_ticks.unsqueeze(1)
