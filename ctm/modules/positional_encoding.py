"""Positional encodings. Each module maps features to an encoding that the caller adds to them.

Published names: `LearnableFourierPositionalEncoding` (Li et al. 2021, arXiv 2106.02795, algorithm 1),
`MultiLearnableFourierPositionalEncoding`, `CustomRotationalEmbedding`, `CustomRotationalEmbedding1D`.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LearnableFourier(nn.Module):
    """Fourier features of the (x, y) coordinate, mapped by a small gated network."""

    def __init__(self, width: int, gamma: float = 1 / 2.5, features: int = 256, hidden: int = 128) -> None:
        super().__init__()
        self.scale = 1 / math.sqrt(features)
        self.Wr = nn.Linear(2, features // 2, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(features, hidden), nn.GLU(), nn.Linear(hidden // 2, width), nn.LayerNorm(width)
        )
        nn.init.normal_(self.Wr.weight, std=gamma**-2)

    def forward(self, features: Float[Tensor, "B d h w"]) -> Float[Tensor, "1 d h w"]:
        """Return the encoding of every place of a feature map."""
        height, width = features.shape[-2:]
        y = torch.arange(height, device=features.device, dtype=features.dtype) / max(height - 1, 1)
        x = torch.arange(width, device=features.device, dtype=features.dtype) / max(width - 1, 1)
        coordinates = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), -1)
        angles = self.Wr(coordinates)
        code = self.mlp(self.scale * torch.cat((angles.cos(), angles.sin()), -1))
        return code.permute(2, 0, 1).unsqueeze(0)


class MultiLearnableFourier(nn.Module):
    """Learned mixture of learnable Fourier encodings, from coarse to fine."""

    def __init__(self, width: int, codes: int = 10) -> None:
        super().__init__()
        gammas = torch.linspace(1.0, 0.1, codes, device="cpu").tolist()
        self.embedders = nn.ModuleList(LearnableFourier(width, gamma) for gamma in gammas)
        self.combination = nn.Parameter(torch.ones(codes))

    def forward(self, features: Float[Tensor, "B d h w"]) -> Float[Tensor, "1 d h w"]:
        """Return the encoding of every place of a feature map."""
        codes = torch.stack([embedder(features) for embedder in self.embedders])
        return torch.einsum("n,nbdhw->bdhw", self.combination.softmax(0), codes)


class Rotational(nn.Module):
    """Learned 2-D vector, rotated by 0 to 180 degrees along rows and columns.

    The published code takes both angles from the width and therefore only fits square maps; here the row angle is taken
    from the height, which is the same on square maps.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.start_vector = nn.Parameter(torch.tensor([0.0, 1.0]))
        self.projection = nn.Sequential(nn.Linear(4, width))

    def forward(self, features: Float[Tensor, "B d h w"]) -> Float[Tensor, "1 d h w"]:
        """Return the encoding of every place of a feature map."""
        height, width = features.shape[-2:]
        rows, columns = (compute_rotations(steps, self.start_vector) for steps in (height, width))
        key = torch.cat((rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)), -1)
        return self.projection(key).permute(2, 0, 1).unsqueeze(0)


class Rotational1D(nn.Module):
    """Vector (0, 1), rotated by 0 to 180 degrees along a sequence."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(2, width)

    def forward(self, features: Float[Tensor, "B d N"]) -> Float[Tensor, "1 d N"]:
        """Return the encoding of every position of a sequence."""
        start = torch.tensor([0.0, 1.0], device=features.device, dtype=features.dtype)
        return self.projection(compute_rotations(features.size(-1), start)).T.unsqueeze(0)


def compute_rotations(steps: int, vector: Float[Tensor, " 2"]) -> Float[Tensor, "N 2"]:
    """Return `vector` rotated by `steps` equally spaced angles from 0 to 180 degrees."""
    angle = torch.deg2rad(torch.linspace(0, 180, steps, device=vector.device, dtype=vector.dtype))
    x, y = vector
    return torch.stack((angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y), -1)


POSITIONAL_ENCODINGS = {
    "learnable-fourier": LearnableFourier,
    "multi-learnable-fourier": MultiLearnableFourier,
    "custom-rotational": Rotational,
    "custom-rotational-1d": Rotational1D,
}
