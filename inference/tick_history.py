"""What a thought has said so far: all that a halting policy may look at."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ctm import Output
from ctm.models.outputs import may_answer
from ctm.modules.readout import signals_of

NOT_YET = 1 << 30  # the class that was chosen before the first tick: none that there is


@runtime_checkable
class Noted(Protocol):
    """What was noted of n finished thoughts, with the ticks last."""

    @property
    def certainty(self) -> Float[Tensor, "n P T"]: ...

    @property
    def choices(self) -> Int[Tensor, "n P T"]: ...

    @property
    def energy(self) -> Float[Tensor, "n T"] | None: ...

    @property
    def listening(self) -> Int[Tensor, " n"] | None: ...

    @property
    def spoken(self) -> bool: ...

    @property
    def signals(self) -> dict[str, Float[Tensor, "n T"]]: ...


@dataclass(frozen=True)
class History:
    """What was said up to the current tick, oldest first. Axes: A rows still thinking, t ticks that are kept, P positions."""

    certainty: Float[Tensor, "A t P"]
    choices: Int[Tensor, "A t P"] | None  # the chosen class of every position; None where no rule asks for it
    energy: Float[Tensor, "A t"] | None  # None without an energy head
    ages: Int[Tensor, " A"] | None = None  # ticks that every row has thought; None where all of them are kept
    listening: Int[Tensor, " A"] | None = None  # ticks before an answer counts; None where all count
    signals: dict[str, Float[Tensor, "A t"]] = field(
        default_factory=dict
    )  # of `ctm.modules.readout.SIGNALS`, those asked for
    answer: Float[Tensor, "A K"] | None = None  # the newest, where a rule asks how much it changes
    spoken: bool = False  # whether an answer is said over the ticks

    @classmethod
    def of(cls, curves: "Noted") -> "History":
        """All ticks of finished thoughts."""
        certainty, choices = curves.certainty.transpose(1, 2), curves.choices.transpose(1, 2)
        return cls(
            certainty, choices, curves.energy, listening=curves.listening, signals=curves.signals, spoken=curves.spoken
        )

    @property
    def ticks(self) -> Int[Tensor, " A"]:
        """How many ticks every row has thought."""
        if self.ages is not None:
            return self.ages
        count, ticks, _ = self.certainty.shape
        return torch.full((count,), ticks, device=self.certainty.device)

    @property
    def best_tick(self) -> Int[Tensor, " A"]:
        """The tick, from 1, that answers where no rule ends the thought: that of the highest mean certainty; of what is said
        over the ticks the last one, since all of them answer."""
        if self.spoken:
            return self.ticks
        score = self.certainty.mean(2)
        counts = may_answer(self.listening, score.size(1))
        return (score if counts is None else score.masked_fill(~counts, -torch.inf)).argmax(1) + 1

    def allows(self, ended: Bool[Tensor, " A"]) -> Bool[Tensor, " A"]:
        """Of rows that a rule would end now those that may: nothing is answered before all is heard."""
        return ended if self.listening is None else ended & (self.listening < self.ticks)

    def add(self, output: Output, keep: int | None = None) -> "History":
        """The history one tick later, of which only the last `keep` ticks are kept."""
        now = first(output, self.choices is not None, self.listening, frozenset(self.signals), self.answer)
        now = replace(now, ages=self.ticks + 1)
        older = self.certainty.size(1) if keep is None else min(keep - 1, self.certainty.size(1))
        if not older:
            return now
        return replace(
            now,
            certainty=torch.cat((self.certainty[:, -older:], now.certainty), 1),
            choices=after(self.choices, now.choices, older),
            energy=after(self.energy, now.energy, older),
            signals={
                name: torch.cat((self.signals[name][:, -older:], values), 1) for name, values in now.signals.items()
            },
        )

    def take(self, rows: Int[Tensor, " R"]) -> "History":
        return self._each(
            lambda values: values.index_select(0, rows),
            ages=None if self.ages is None else self.ages.index_select(0, rows),
            listening=None if self.listening is None else self.listening.index_select(0, rows),
            answer=None if self.answer is None else self.answer.index_select(0, rows),
        )

    def welcome(self, count: int) -> "History":
        """The same with so many more rows, which have not said anything yet: no rule fires for what they did not say."""
        assert self.listening is None, "who listens for a while does not join"
        return replace(
            self,
            certainty=F.pad(self.certainty, (0, 0, 0, 0, 0, count), value=math.nan),
            choices=None if self.choices is None else F.pad(self.choices, (0, 0, 0, 0, 0, count), value=NOT_YET),
            energy=None if self.energy is None else F.pad(self.energy, (0, 0, 0, count), value=math.nan),
            ages=F.pad(self.ticks, (0, count)),
            signals={name: F.pad(values, (0, 0, 0, count), value=math.nan) for name, values in self.signals.items()},
            answer=None if self.answer is None else F.pad(self.answer, (0, 0, 0, count), value=math.nan),
        )

    def until(self, tick: int) -> "History":
        """The history of all ticks as it was after so many."""
        return self._each(lambda values: values[:, :tick], ages=None)

    def _each(self, change: Callable[[Tensor], Tensor], **more: Any) -> "History":
        """The same with all that there is of every tick changed, and more."""
        return replace(
            self,
            certainty=change(self.certainty),
            choices=None if self.choices is None else change(self.choices),
            energy=None if self.energy is None else change(self.energy),
            signals={name: change(values) for name, values in self.signals.items()},
            **more,
        )


def after(before: Tensor | None, now: Tensor | None, older: int) -> Tensor | None:
    """The newest tick behind the last ones of those before."""
    return None if before is None or now is None else torch.cat((before[:, -older:], now), 1)


def choices_of(output: Output) -> Int[Tensor, "A P"]:
    """The class that each position of the answer chooses."""
    return output.answer.unflatten(1, (output.certainty.size(1), -1)).argmax(2)


def first(
    output: Output,
    choices: bool = True,
    listening: Int[Tensor, " A"] | None = None,
    signals: frozenset[str] = frozenset(),
    before: Float[Tensor, "A K"] | None = None,
) -> History:
    """The history that begins with this tick.

    Args:
        output: of the tick.
        choices: whether any rule looks at them.
        listening: ticks before an answer counts.
        signals: what else the rules look at.
        before: the answer of the tick before, if there was one.
    """
    found = signals_of(signals, output.answer, before, output.certainty.size(1))
    return History(
        output.certainty.unsqueeze(1),
        choices_of(output).unsqueeze(1) if choices else None,
        None if output.energy is None else output.energy.unsqueeze(1),
        listening=listening,
        signals={name: values.unsqueeze(1) for name, values in found.items()},
        answer=output.answer if "change" in signals else None,
    )
