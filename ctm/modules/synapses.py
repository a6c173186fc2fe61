"""Synapses: how neurons and observation make the next pre-activations (paper section 3.2, equation 1).

Depth 1 is one gated layer; deeper synapses are a U-Net whose widths fall evenly from D to 16 and rise again, with a
normalised skip at every level. Published names: `synapses`, `SynapseUNET`.

Both begin with one linear map of (observation, activations): the `entry`, which is made ready once a thought, so that what
does not change from tick to tick is computed once. `dropout_in` is dropout on its input; `after` is the rest.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

NARROWEST = 16


class SynapseLayer(nn.Sequential):
    """Linear, gate, norm."""

    def __init__(self, in_dims: int, neurons: int, dropout: float):
        super().__init__(nn.Dropout(dropout), nn.Linear(in_dims, 2 * neurons), nn.GLU(), nn.LayerNorm(neurons))
        self.dropout_in = dropout

    @property
    def entry(self) -> nn.Linear:
        return self[1]

    def after(self, x: Float[Tensor, "B E"]) -> Float[Tensor, "B D"]:
        return normalise(self[3], F.glu(x))


class SynapseUNet(nn.Module):
    """Down to a bottleneck of 16 and up again."""

    dropout_in = 0.0

    def __init__(self, in_dims: int, neurons: int, depth: int, dropout: float):
        super().__init__()
        step = (NARROWEST - neurons) / (depth - 1)
        widths = [int(neurons + step * level) for level in range(depth - 1)] + [NARROWEST]
        levels = list(pairwise(widths))
        self.first_projection = nn.Sequential(nn.Linear(in_dims, neurons), nn.LayerNorm(neurons), nn.SiLU())
        self.down_projections = nn.ModuleList(block(wide, narrow, dropout) for wide, narrow in levels)
        self.up_projections = nn.ModuleList(block(narrow, wide, dropout) for wide, narrow in levels)
        self.skip_lns = nn.ModuleList(nn.LayerNorm(wide) for wide, _ in levels)
        self.dropout = dropout

    @property
    def entry(self) -> nn.Linear:
        return self.first_projection[0]

    def after(self, x: Float[Tensor, "B E"]) -> Float[Tensor, "B D"]:
        passed = [F.silu(normalise(self.first_projection[1], x))]
        for down in self.down_projections:
            passed.append(self._through(down, passed[-1]))
        x = passed.pop()
        for up, norm in zip(reversed(self.up_projections), reversed(self.skip_lns), strict=True):
            x = normalise(norm, self._through(up, x) + passed.pop())
        return x

    def _through(self, layers: nn.Sequential, x: Float[Tensor, "B E"]) -> Float[Tensor, "B F"]:
        """Apply a block's layers as functions: module calls cost more than the arithmetic at these widths."""
        if self.training and self.dropout:
            x = F.dropout(x, self.dropout)
        _, linear, norm, _ = layers
        return F.silu(normalise(norm, F.linear(x, linear.weight, linear.bias)))


@dataclass(frozen=True)
class FoldedEntry:
    """The entry with all that does not change in a thought folded into its weights."""

    observed_weight: Float[Tensor, "E W"] | None
    state_weight: Float[Tensor, "D W"]
    constant: Float[Tensor, " W"] | Float[Tensor, "B W"]

    def __call__(self, seen: Float[Tensor, "B E"] | None, z: Float[Tensor, "D B"]) -> Float[Tensor, "B W"]:
        x = torch.addmm(self.constant, z.T, self.state_weight)
        if seen is None or self.observed_weight is None:
            return x
        return torch.addmm(x, seen, self.observed_weight)

    def take(self, rows: Int[Tensor, " A"]) -> "FoldedEntry":
        return self if self.constant.dim() == 1 else replace(self, constant=self.constant.index_select(0, rows))

    def seat_(self, newcomers: "FoldedEntry", seats: Int[Tensor, " A"]) -> "FoldedEntry":
        """Newcomers take these seats, in the memory of this entry, which is lost."""
        if self.constant.dim() > 1:
            self.constant.index_copy_(0, seats, newcomers.constant)
        return self


@dataclass(frozen=True)
class DroppingEntry:
    """The entry while training with dropout on its input, which forbids folding."""

    weight: Float[Tensor, "W F"]
    bias: Float[Tensor, " W"]
    projection: Float[Tensor, "E E"] | None
    handed: Float[Tensor, " E"] | Float[Tensor, "B E"]
    dropout: float

    def __call__(self, seen: Float[Tensor, "B E"] | None, z: Float[Tensor, "D B"]) -> Float[Tensor, "B W"]:
        observed = self.handed
        if seen is not None and self.projection is not None:
            observed = torch.addmm(observed, seen, self.projection.T)
        return F.linear(F.dropout(torch.cat((observed, z.T), 1), self.dropout), self.weight, self.bias)

    def take(self, rows: Int[Tensor, " A"]) -> "DroppingEntry":
        return self if self.handed.dim() == 1 else replace(self, handed=self.handed.index_select(0, rows))


Entry = FoldedEntry | DroppingEntry


def prepare_entry(
    synapses: "SynapseLayer | SynapseUNet",
    projection: Float[Tensor, "E E"] | None,
    handed: Float[Tensor, " E"] | Float[Tensor, "B E"],
) -> Entry:
    """Make the first layer ready for a thought.

    Args:
        synapses: whose entry it is.
        projection: weight of attention's output projection, or None without attention.
        handed: what is observed besides what attention sees: that projection's bias, or a raw input of every row.
    """
    weight, bias = synapses.entry.weight, synapses.entry.bias
    if synapses.training and synapses.dropout_in:
        return DroppingEntry(weight, bias, projection, handed, synapses.dropout_in)
    return fold(weight, bias, projection, handed)


def fold(
    weight: Float[Tensor, "W F"],
    bias: Float[Tensor, " W"],
    projection: Float[Tensor, "E E"] | None,
    handed: Float[Tensor, " E"] | Float[Tensor, "B E"],
) -> FoldedEntry:
    """A linear map of (observation, state) for a whole thought; the rest as for `prepare_entry`."""
    observed_weight, state_weight = weight.tensor_split([handed.size(-1)], 1)
    through = None if projection is None else (observed_weight @ projection).T
    return FoldedEntry(through, state_weight.T, F.linear(handed, observed_weight, bias))


def block(in_dims: int, out_dims: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(in_dims, out_dims), nn.LayerNorm(out_dims), nn.SiLU())


def normalise(norm: nn.LayerNorm, x: Float[Tensor, "B E"]) -> Float[Tensor, "B E"]:
    return torch.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def make_synapses(in_dims: int, neurons: int, depth: int, dropout: float) -> SynapseLayer | SynapseUNet:
    return SynapseLayer(in_dims, neurons, dropout) if depth == 1 else SynapseUNet(in_dims, neurons, depth, dropout)
