"""What a thought has said so far: all that a halting policy may look at."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ctm import Output


@dataclass(frozen=True)
class History:
    """Everything said up to the current tick, oldest first. Axes: A rows still thinking, t ticks so far, P positions."""

    certainty: Float[Tensor, "A t P"]
    choices: Int[Tensor, "A t P"]  # the chosen class of every position
    energy: Float[Tensor, "A t"] | None  # None without an energy head

    @property
    def ticks(self) -> int:
        return self.certainty.size(1)

    @property
    def best_tick(self) -> Int[Tensor, " A"]:
        """The tick, from 1, of the lowest energy; without an energy head, of the highest mean certainty."""
        score = self.certainty.mean(2) if self.energy is None else -self.energy
        return score.argmax(1) + 1

    def add(self, output: Output) -> "History":
        """The history one tick later."""
        now = first(output)
        return History(
            torch.cat((self.certainty, now.certainty), 1),
            torch.cat((self.choices, now.choices), 1),
            None if self.energy is None or now.energy is None else torch.cat((self.energy, now.energy), 1),
        )

    def take(self, rows: Int[Tensor, " R"]) -> "History":
        energy = None if self.energy is None else self.energy.index_select(0, rows)
        return replace(
            self,
            certainty=self.certainty.index_select(0, rows),
            choices=self.choices.index_select(0, rows),
            energy=energy,
        )

    def until(self, tick: int) -> "History":
        """The history as it was after so many ticks."""
        energy = None if self.energy is None else self.energy[:, :tick]
        return History(self.certainty[:, :tick], self.choices[:, :tick], energy)


def choices_of(output: Output) -> Int[Tensor, "A P"]:
    """The class that each position of the answer chooses."""
    return output.answer.unflatten(1, (output.certainty.size(1), -1)).argmax(2)


def first(output: Output) -> History:
    """The history after the first tick."""
    energy = None if output.energy is None else output.energy.unsqueeze(1)
    return History(output.certainty.unsqueeze(1), choices_of(output).unsqueeze(1), energy)
