"""What a thought has said so far: all that a halting policy may look at."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ctm import Output
from ctm.types import may_answer


@dataclass(frozen=True)
class History:
    """What was said up to the current tick, oldest first. Axes: A rows still thinking, t ticks so far, P positions."""

    certainty: Float[Tensor, "A t P"]
    choices: Int[Tensor, "A t P"] | None  # the chosen class of every position; None where no rule asks for it
    energy: Float[Tensor, "A t"] | None  # None without an energy head
    forgotten: int = 0  # ticks before the first that is kept
    listening: Int[Tensor, " A"] | None = None  # ticks before an answer counts; None where all count

    @property
    def ticks(self) -> int:
        return self.forgotten + self.certainty.size(1)

    @property
    def best_tick(self) -> Int[Tensor, " A"]:
        """The tick, from 1, of the lowest energy; without an energy head, of the highest mean certainty."""
        score = score_of(self.certainty, self.energy)
        counts = may_answer(self.listening, score.size(1))
        return (score if counts is None else score.masked_fill(~counts, -torch.inf)).argmax(1) + 1

    def allows(self, ended: Bool[Tensor, " A"]) -> Bool[Tensor, " A"]:
        """Of rows that a rule would end now those that may: nothing is answered before all is heard."""
        return ended if self.listening is None else ended & (self.listening < self.ticks)

    def add(self, output: Output, keep: int | None = None) -> "History":
        """The history one tick later, of which only the last `keep` ticks are kept."""
        now = first(output, self.choices is not None, self.listening)
        older = self.certainty.size(1) if keep is None else min(keep - 1, self.certainty.size(1))
        forgotten = self.ticks - older
        if not older:
            return replace(now, forgotten=forgotten)
        return History(
            torch.cat((self.certainty[:, -older:], now.certainty), 1),
            None
            if self.choices is None or now.choices is None
            else torch.cat((self.choices[:, -older:], now.choices), 1),
            None if self.energy is None or now.energy is None else torch.cat((self.energy[:, -older:], now.energy), 1),
            forgotten,
            self.listening,
        )

    def take(self, rows: Int[Tensor, " R"]) -> "History":
        return replace(
            self,
            certainty=self.certainty.index_select(0, rows),
            choices=None if self.choices is None else self.choices.index_select(0, rows),
            energy=None if self.energy is None else self.energy.index_select(0, rows),
            listening=None if self.listening is None else self.listening.index_select(0, rows),
        )

    def until(self, tick: int) -> "History":
        """The history as it was after so many ticks."""
        return replace(
            self,
            certainty=self.certainty[:, :tick],
            choices=None if self.choices is None else self.choices[:, :tick],
            energy=None if self.energy is None else self.energy[:, :tick],
        )


def score_of(certainty: Float[Tensor, "*A P"], energy: Float[Tensor, "*A"] | None) -> Float[Tensor, "*A"]:
    """How good it is to answer at a tick, by the machine's own estimate."""
    return certainty.mean(-1) if energy is None else -energy


def choices_of(output: Output) -> Int[Tensor, "A P"]:
    """The class that each position of the answer chooses."""
    return output.answer.unflatten(1, (output.certainty.size(1), -1)).argmax(2)


def first(output: Output, choices: bool = True, listening: Int[Tensor, " A"] | None = None) -> History:
    """The history after the first tick."""
    energy = None if output.energy is None else output.energy.unsqueeze(1)
    chosen = choices_of(output).unsqueeze(1) if choices else None
    return History(output.certainty.unsqueeze(1), chosen, energy, listening=listening)
