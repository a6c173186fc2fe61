"""Neuron-level models: every neuron computes its activation from its own history (paper section 3.3, equation 3).

z_d = g_d(A_d): A_d holds the last M pre-activations of neuron d. g_d is a linear map per neuron, or a network per
neuron with one gated hidden layer. Published names: `trace_processor`, `SuperLinear` with `w1` (M, H, D), `b1` (1, D,
H) and `T`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class NeuronLinear(nn.Module):
    """One linear map per neuron, divided by a learned temperature T.

    `w1` has the published shape (M, H, D) but is neuron-major in memory, so that the batched product of a tick reads it
    without a copy.
    """

    def __init__(self, in_dims: int, out_dims: int, neurons: int, normalise: bool, dropout: float) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_dims + out_dims)
        self.w1 = nn.Parameter(torch.empty(neurons, out_dims, in_dims).uniform_(-bound, bound).permute(2, 1, 0))
        self.b1 = nn.Parameter(torch.zeros(1, neurons, out_dims))
        self.T = nn.Parameter(torch.ones(1))
        self.layernorm = nn.LayerNorm(in_dims) if normalise else None
        self.dropout = dropout

    def prepare(self) -> "PreparedLinear":
        """Fold the temperature into the weights, once per unroll."""
        dropout = self.dropout if self.training else 0.0
        return PreparedLinear(
            self.w1.permute(2, 1, 0) / self.T, self.b1.permute(1, 2, 0) / self.T, self.layernorm, dropout
        )


@dataclass(frozen=True)
class PreparedLinear:
    """Weights of a `NeuronLinear` with the temperature folded in.

    Attributes:
        weight: Weight per neuron.
        bias: Bias per neuron.
        layernorm: Normalisation of the history; None if disabled.
        dropout: Dropout probability of the history; 0 in eval mode.
    """

    weight: Float[Tensor, "D H M"]
    bias: Float[Tensor, "D H 1"]
    layernorm: nn.LayerNorm | None
    dropout: float

    def __call__(self, x: Float[Tensor, "D M B"]) -> Float[Tensor, "D H B"]:
        """Apply the linear map of every neuron to its history."""
        if self.dropout:
            x = F.dropout(x, self.dropout)
        if self.layernorm is not None:
            x = self.layernorm(x.transpose(1, 2)).transpose(1, 2)
        return torch.baddbmm(self.bias, self.weight, x)


def make_neuron_models(
    neurons: int, memory: int, hidden: int, *, deep: bool, normalise: bool, dropout: float
) -> nn.Sequential:
    """Build the modules behind the published names `trace_processor.0.0` and, for deep models, `trace_processor.0.2`.

    Args:
        neurons: Number of neurons D.
        memory: Length of the history M.
        hidden: Hidden width H of deep models.
        deep: Add a hidden layer.
        normalise: Apply layer norm to the history.
        dropout: Dropout probability of the history.
    """
    if not deep:
        return nn.Sequential(nn.Sequential(NeuronLinear(memory, 2, neurons, normalise, dropout)))
    return nn.Sequential(
        nn.Sequential(
            NeuronLinear(memory, 2 * hidden, neurons, normalise, dropout),
            nn.GLU(dim=1),
            NeuronLinear(hidden, 2, neurons, normalise, dropout),
        )
    )


def activate(layers: Sequence[PreparedLinear], window: Float[Tensor, "D M B"]) -> Float[Tensor, "D B"]:
    """Compute the activations of all neurons from their histories: linear maps, each followed by a gated linear unit.

    Args:
        layers: Prepared layers.
        window: Pre-activations, oldest first.
    """
    x = window
    for layer in layers:
        x = F.glu(layer(x), 1)
    return x.squeeze(1)
