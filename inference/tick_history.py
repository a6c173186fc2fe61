"""What a thought has said so far: all that a halting policy may look at."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ctm import TickOutput
from ctm.models.outputs import compute_answer_mask
from ctm.modules.readout import compute_answer_signals

NO_CHOICE = 1 << 30  # the class that was chosen before the first tick: none that there is


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
class TickHistory:
    """What was said up to the current tick, oldest first. Axes: A rows still thinking, t ticks that are kept, P positions."""

    certainty: Float[Tensor, "A t P"]
    choices: Int[Tensor, "A t P"] | None  # the chosen class of every position; None where no rule asks for it
    energy: Float[Tensor, "A t"] | None  # None without an energy head
    tick_counts: Int[Tensor, " A"] | None = None  # ticks that every row has thought; None where all of them are kept
    input_ticks: Int[Tensor, " A"] | None = None  # ticks before an answer counts; None where all count
    signals: dict[str, Float[Tensor, "A t"]] = field(
        default_factory=dict
    )  # of `ctm.modules.readout.SIGNALS`, those asked for
    last_answer: Float[Tensor, "A K"] | None = None  # the newest, where a rule asks how much it changes
    is_ctc: bool = False  # whether an answer is said over the ticks

    @classmethod
    def from_curves(cls, curves: "Noted") -> "TickHistory":
        """All ticks of finished thoughts."""
        certainty, choices = curves.certainty.transpose(1, 2), curves.choices.transpose(1, 2)
        return cls(
            certainty,
            choices,
            curves.energy,
            input_ticks=curves.listening,
            signals=curves.signals,
            is_ctc=curves.spoken,
        )

    @property
    def ticks(self) -> Int[Tensor, " A"]:
        """How many ticks every row has thought."""
        if self.tick_counts is not None:
            return self.tick_counts
        count, ticks, _ = self.certainty.shape
        return torch.full((count,), ticks, device=self.certainty.device)

    @property
    def best_tick(self) -> Int[Tensor, " A"]:
        """The tick, from 1, that answers where no rule ends the thought: that of the highest mean certainty; of what is said
        over the ticks the last one, since all of them answer."""
        if self.is_ctc:
            return self.ticks
        score = self.certainty.mean(2)
        counts = compute_answer_mask(self.input_ticks, score.size(1))
        return (score if counts is None else score.masked_fill(~counts, -torch.inf)).argmax(1) + 1

    def mask_ready(self, halt_mask: Bool[Tensor, " A"]) -> Bool[Tensor, " A"]:
        """Of rows that a rule would end now those that may: nothing is answered before all is heard."""
        return halt_mask if self.input_ticks is None else halt_mask & (self.input_ticks < self.ticks)

    def append(self, output: TickOutput, max_length: int | None = None) -> "TickHistory":
        """The history one tick later, of which only the last `keep` ticks are kept."""
        now = start_history(
            output, self.choices is not None, self.input_ticks, frozenset(self.signals), self.last_answer
        )
        now = replace(now, tick_counts=self.ticks + 1)
        older = self.certainty.size(1) if max_length is None else min(max_length - 1, self.certainty.size(1))
        if not older:
            return now
        return replace(
            now,
            certainty=torch.cat((self.certainty[:, -older:], now.certainty), 1),
            choices=append_to_window(self.choices, now.choices, older),
            energy=append_to_window(self.energy, now.energy, older),
            signals={
                name: torch.cat((self.signals[name][:, -older:], values), 1) for name, values in now.signals.items()
            },
        )

    def select_rows(self, rows: Int[Tensor, " R"]) -> "TickHistory":
        return self._map_tensors(
            lambda values: values.index_select(0, rows),
            tick_counts=None if self.tick_counts is None else self.tick_counts.index_select(0, rows),
            input_ticks=None if self.input_ticks is None else self.input_ticks.index_select(0, rows),
            last_answer=None if self.last_answer is None else self.last_answer.index_select(0, rows),
        )

    def append_empty_rows(self, count: int) -> "TickHistory":
        """The same with so many more rows, which have not said anything yet: no rule fires for what they did not say."""
        assert self.input_ticks is None, "who listens for a while does not join"
        return replace(
            self,
            certainty=F.pad(self.certainty, (0, 0, 0, 0, 0, count), value=math.nan),
            choices=None if self.choices is None else F.pad(self.choices, (0, 0, 0, 0, 0, count), value=NO_CHOICE),
            energy=None if self.energy is None else F.pad(self.energy, (0, 0, 0, count), value=math.nan),
            tick_counts=F.pad(self.ticks, (0, count)),
            signals={name: F.pad(values, (0, 0, 0, count), value=math.nan) for name, values in self.signals.items()},
            last_answer=None if self.last_answer is None else F.pad(self.last_answer, (0, 0, 0, count), value=math.nan),
        )

    def truncate(self, tick: int) -> "TickHistory":
        """The history of all ticks as it was after so many."""
        return self._map_tensors(lambda values: values[:, :tick], tick_counts=None)

    def _map_tensors(self, change: Callable[[Tensor], Tensor], **more: Any) -> "TickHistory":
        """The same with all that there is of every tick changed, and more."""
        return replace(
            self,
            certainty=change(self.certainty),
            choices=None if self.choices is None else change(self.choices),
            energy=None if self.energy is None else change(self.energy),
            signals={name: change(values) for name, values in self.signals.items()},
            **more,
        )


def append_to_window(window: Tensor | None, latest: Tensor | None, older: int) -> Tensor | None:
    """The newest tick behind the last ones of those before."""
    return None if window is None or latest is None else torch.cat((window[:, -older:], latest), 1)


def compute_choices(output: TickOutput) -> Int[Tensor, "A P"]:
    """The class that each position of the answer chooses."""
    return output.answer.unflatten(1, (output.certainty.size(1), -1)).argmax(2)


def start_history(
    output: TickOutput,
    needs_choices: bool = True,
    input_ticks: Int[Tensor, " A"] | None = None,
    signals: frozenset[str] = frozenset(),
    previous_answer: Float[Tensor, "A K"] | None = None,
) -> TickHistory:
    """The history that begins with this tick.

    Args:
        output: of the tick.
        choices: whether any rule looks at them.
        listening: ticks before an answer counts.
        signals: what else the rules look at.
        before: the answer of the tick before, if there was one.
    """
    found = compute_answer_signals(signals, output.answer, previous_answer, output.certainty.size(1))
    return TickHistory(
        output.certainty.unsqueeze(1),
        compute_choices(output).unsqueeze(1) if needs_choices else None,
        None if output.energy is None else output.energy.unsqueeze(1),
        input_ticks=input_ticks,
        signals={name: values.unsqueeze(1) for name, values in found.items()},
        last_answer=output.answer if "change" in signals else None,
    )
