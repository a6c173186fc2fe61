"""Timetable of a structured answer: the tick at which the model attends to a position, and the tick from which it is correct.

Position j of an answer is due `delay` ticks after the model attends to its place in the input. The losses of
`training.losses` and `training.auxiliary_losses` follow one timetable. Axes: P positions of the answer, T ticks.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

ROUNDING_ERROR = 1e-9  # ticks; products such as 12 * (26 / 24) are not exact


@dataclass(frozen=True)
class Pace:
    """Speed at which the positions of an answer follow each other.

    Attributes:
        delay: Ticks between the attention to a position and the tick from which its answer counts.
        ticks_per_position: Ticks from one position to the next; None spreads the positions evenly over the ticks, with
            `delay` ticks left at the end.
    """

    delay: int = 3
    ticks_per_position: float | None = None

    def compute_due_ticks(self, positions: int, ticks: int) -> Int[Tensor, " P"]:
        """Return the tick from which each position counts; all positions count at the last tick.

        Args:
            positions: Number of positions P.
            ticks: Number of ticks T.
        """
        spacing = self._compute_spacing(positions, ticks)
        due = [self.delay + math.ceil(position * spacing - ROUNDING_ERROR) for position in range(positions)]
        return torch.tensor(due).clamp(max=ticks - 1)

    def find_attended_positions(self, positions: int, ticks: int) -> Int[Tensor, " T"]:
        """Return the position that the model should attend to at each tick; -1 after the last position.

        Args:
            positions: Number of positions P.
            ticks: Number of ticks T.
        """
        spacing = self._compute_spacing(positions, ticks)
        attended = [math.floor(tick / spacing + ROUNDING_ERROR) for tick in range(ticks)]
        return torch.tensor([position if position < positions else -1 for position in attended])

    def _compute_spacing(self, positions: int, ticks: int) -> float:
        """Return the ticks from one position to the next."""
        return self.ticks_per_position or max(1.0, ticks - 2 * self.delay) / positions
