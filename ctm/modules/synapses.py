"""Synapses: compute the next pre-activations from activations and observation (paper section 3.2, equation 1).

Depth 1 is one gated layer. Deeper synapses are a U-Net whose widths fall evenly from D to 16 and rise again, with a
normalised skip connection at every level. Published names: `synapses`, `SynapseUNET`.

Both begin with one linear map of (observation, activations), `input_linear`. It is prepared once per unroll, so that
the constant parts are computed once. `input_dropout` is the dropout on its input; `forward_rest` is everything after
it.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

BOTTLENECK_WIDTH = 16


class SynapseLayer(nn.Sequential):
    """Linear, gated linear unit, layer norm."""

    def __init__(self, in_dims: int, neurons: int, dropout: float) -> None:
        super().__init__(nn.Dropout(dropout), nn.Linear(in_dims, 2 * neurons), nn.GLU(), nn.LayerNorm(neurons))
        self.input_dropout = dropout

    @property
    def input_linear(self) -> nn.Linear:
        """First linear map."""
        return self[1]

    def forward_rest(self, x: Float[Tensor, "B E"]) -> Float[Tensor, "B D"]:
        """Apply everything after the first linear map."""
        return apply_layer_norm(self[3], F.glu(x))


class SynapseUNet(nn.Module):
    """U-Net with a bottleneck of width 16."""

    input_dropout = 0.0

    def __init__(self, in_dims: int, neurons: int, depth: int, dropout: float) -> None:
        super().__init__()
        step = (BOTTLENECK_WIDTH - neurons) / (depth - 1)
        widths = [int(neurons + step * level) for level in range(depth - 1)] + [BOTTLENECK_WIDTH]
        levels = list(pairwise(widths))
        self.first_projection = nn.Sequential(nn.Linear(in_dims, neurons), nn.LayerNorm(neurons), nn.SiLU())
        self.down_projections = nn.ModuleList(make_block(wide, narrow, dropout) for wide, narrow in levels)
        self.up_projections = nn.ModuleList(make_block(narrow, wide, dropout) for wide, narrow in levels)
        self.skip_lns = nn.ModuleList(nn.LayerNorm(wide) for wide, _ in levels)
        self.dropout = dropout

    @property
    def input_linear(self) -> nn.Linear:
        """First linear map."""
        return self.first_projection[0]

    def forward_rest(self, x: Float[Tensor, "B E"]) -> Float[Tensor, "B D"]:
        """Apply everything after the first linear map."""
        skips = [F.silu(apply_layer_norm(self.first_projection[1], x))]
        for down in self.down_projections:
            skips.append(self._apply_block(down, skips[-1]))
        x = skips.pop()
        for up, norm in zip(reversed(self.up_projections), reversed(self.skip_lns), strict=True):
            x = apply_layer_norm(norm, self._apply_block(up, x) + skips.pop())
        return x

    def _apply_block(self, layers: nn.Sequential, x: Float[Tensor, "B E"]) -> Float[Tensor, "B F"]:
        """Apply the layers of a block as functions: module calls cost more than the arithmetic at these widths."""
        if self.training and self.dropout:
            x = F.dropout(x, self.dropout)
        _, linear, norm, _ = layers
        return F.silu(apply_layer_norm(norm, F.linear(x, linear.weight, linear.bias)))


@dataclass(frozen=True)
class FusedInputProjection:
    """First linear map of the synapses with everything that is constant over the unroll folded into its weights.

    Attributes:
        observation_weight: Weight of the attention output, before its output projection; None without attention.
        state_weight: Weight of the activations.
        bias_term: Bias, including the constant part of the observation; one row, or one per batch row.
    """

    observation_weight: Float[Tensor, "E W"] | None
    state_weight: Float[Tensor, "D W"]
    bias_term: Float[Tensor, " W"] | Float[Tensor, "B W"]

    def __call__(
        self, attn_output: Float[Tensor, "B E"] | None, activations: Float[Tensor, "D B"]
    ) -> Float[Tensor, "B W"]:
        """Apply the map to the attention output (None without one at this tick) and the activations."""
        x = torch.addmm(self.bias_term, activations.T, self.state_weight)
        if attn_output is None or self.observation_weight is None:
            return x
        return torch.addmm(x, attn_output, self.observation_weight)

    def select_rows(self, rows: Int[Tensor, " A"]) -> "FusedInputProjection":
        """Return a copy that holds only some batch rows."""
        return self if self.bias_term.dim() == 1 else replace(self, bias_term=self.bias_term.index_select(0, rows))

    def write_rows_(self, source: "FusedInputProjection", slots: Int[Tensor, " A"]) -> "FusedInputProjection":
        """Write the rows of `source` into the slots `slots`, in place."""
        if self.bias_term.dim() > 1:
            self.bias_term.index_copy_(0, slots, source.bias_term)
        return self


@dataclass(frozen=True)
class UnfusedInputProjection:
    """First linear map of the synapses in training with dropout on its input, which prevents folding.

    Attributes:
        weight: Weight of (observation, activations).
        bias: Bias.
        out_proj_weight: Weight of the attention output projection; None without attention.
        observation_bias: Constant part of the observation; one row, or one per batch row.
        dropout: Dropout probability.
    """

    weight: Float[Tensor, "W F"]
    bias: Float[Tensor, " W"]
    out_proj_weight: Float[Tensor, "E E"] | None
    observation_bias: Float[Tensor, " E"] | Float[Tensor, "B E"]
    dropout: float

    def __call__(
        self, attn_output: Float[Tensor, "B E"] | None, activations: Float[Tensor, "D B"]
    ) -> Float[Tensor, "B W"]:
        """Apply the map to the attention output (None without one at this tick) and the activations."""
        observation = self.observation_bias
        if attn_output is not None and self.out_proj_weight is not None:
            observation = torch.addmm(observation, attn_output, self.out_proj_weight.T)
        return F.linear(F.dropout(torch.cat((observation, activations.T), 1), self.dropout), self.weight, self.bias)

    def select_rows(self, rows: Int[Tensor, " A"]) -> "UnfusedInputProjection":
        """Return a copy that holds only some batch rows."""
        return (
            self
            if self.observation_bias.dim() == 1
            else replace(self, observation_bias=self.observation_bias.index_select(0, rows))
        )


InputProjection = FusedInputProjection | UnfusedInputProjection


def prepare_input_projection(
    synapses: "SynapseLayer | SynapseUNet",
    out_proj_weight: Float[Tensor, "E E"] | None,
    observation_bias: Float[Tensor, " E"] | Float[Tensor, "B E"],
) -> InputProjection:
    """Prepare the first linear map of the synapses for an unroll.

    Args:
        synapses: Module whose first linear map is prepared.
        out_proj_weight: Weight of the attention output projection; None without attention.
        observation_bias: Constant part of the observation: the bias of that projection, or the raw input of every row.
    """
    weight = synapses.input_linear.weight
    bias = synapses.input_linear.bias
    if synapses.training and synapses.input_dropout:
        return UnfusedInputProjection(weight, bias, out_proj_weight, observation_bias, synapses.input_dropout)
    return fuse_input_projection(weight, bias, out_proj_weight, observation_bias)


def fuse_input_projection(
    weight: Float[Tensor, "W F"],
    bias: Float[Tensor, " W"],
    out_proj_weight: Float[Tensor, "E E"] | None,
    observation_bias: Float[Tensor, " E"] | Float[Tensor, "B E"],
) -> FusedInputProjection:
    """Fold the constant parts of a linear map of (observation, state) into its weights.

    Args:
        weight: Weight of the linear map.
        bias: Bias of the linear map.
        out_proj_weight: See `prepare_input_projection`.
        observation_bias: See `prepare_input_projection`.
    """
    observed_weight, state_weight = weight.tensor_split([observation_bias.size(-1)], 1)
    fused_weight = None if out_proj_weight is None else (observed_weight @ out_proj_weight).T
    return FusedInputProjection(fused_weight, state_weight.T, F.linear(observation_bias, observed_weight, bias))


def make_block(in_dims: int, out_dims: int, dropout: float) -> nn.Sequential:
    """Build a block of the U-Net."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(in_dims, out_dims), nn.LayerNorm(out_dims), nn.SiLU())


def apply_layer_norm(norm: nn.LayerNorm, x: Float[Tensor, "B E"]) -> Float[Tensor, "B E"]:
    """Apply a layer norm without a module call."""
    return torch.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def make_synapses(in_dims: int, neurons: int, depth: int, dropout: float) -> SynapseLayer | SynapseUNet:
    """Build synapses of the given depth.

    Args:
        in_dims: Width of (observation, activations).
        neurons: Number of neurons D.
        depth: 1 for a single layer, more for a U-Net.
        dropout: Dropout probability.
    """
    return SynapseLayer(in_dims, neurons, dropout) if depth == 1 else SynapseUNet(in_dims, neurons, depth, dropout)
