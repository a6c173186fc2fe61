"""Motion of a dot with constant velocity that bounces off the walls of a grid. Rows and columns move independently."""

from functools import cache

import torch
from jaxtyping import Int
from torch import Tensor


def reflect_at_walls(positions: Int[Tensor, "*B"], side: int) -> Int[Tensor, "*B"]:
    """Return positions of a dot that bounces off the walls, from those of one that passes through; it turns in the outer cells."""
    period = 2 * (side - 1)
    phase = positions.remainder(period)
    return torch.minimum(phase, period - phase)


@cache
def enumerate_lines(side: int, max_speed: int, num_frames: int) -> Int[Tensor, "n F"]:
    """Return the positions of every motion along one axis, one per start and speed."""
    start = torch.arange(side)
    speed = torch.arange(-max_speed, max_speed + 1)
    positions = start[:, None, None] + speed[None, :, None] * torch.arange(num_frames)
    return reflect_at_walls(positions.flatten(0, 1), side)
