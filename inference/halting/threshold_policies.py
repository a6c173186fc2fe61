"""Halting policies that stop when a score of the tick passes a threshold."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ctm.messages import truncate_repr
from inference.halting.base import (
    ChartLine,
    HaltingPolicy,
    check_count,
    format_against_threshold,
    format_for_display,
    format_number,
)
from inference.tick_history import NO_CHOICE, TickHistory


class ThresholdPolicy(HaltingPolicy):
    """Policy that stops as soon as a score of the tick exceeds a level.

    Attributes:
        threshold: Threshold as the policy prints it.
        unit: Unit of the threshold in descriptions; "%" displays a fraction as a percentage.
    """

    threshold: float
    unit: ClassVar[str] = ""

    @property
    @abstractmethod
    def syntax(self) -> str:
        """Text before the threshold."""

    @property
    @abstractmethod
    def quantity(self) -> str:
        """Quantity that is compared with the threshold, as a noun for a visitor."""

    @property
    def sign(self) -> int:
        """Sign of scores and levels: -1 for a policy that stops below its threshold."""
        return -1 if self.syntax.endswith("<") else 1

    @property
    def level(self) -> float:
        """Level that the score must exceed: the threshold times the sign."""
        return self.sign * self.threshold

    @property
    def never_threshold(self) -> float:
        """Threshold that no score passes."""
        return self.sign * 1e9

    @abstractmethod
    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        """Return the score of every recorded tick, shape (A, t); a higher score stops earlier."""

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        """Return the rows whose score at the last tick exceeds the level."""
        return self.score(history)[:, -1] > self.level

    @property
    def side(self) -> str:
        """Side of the threshold on which the policy stops: "above" or "below"."""
        return "below" if self.sign < 0 else "above"

    @property
    def condition(self) -> str:
        """Condition for stopping, as a clause."""
        return f"the {self.quantity} is {self.side} {format_for_display(self.threshold, self.unit)}"

    def reason(self, history: TickHistory, row: int = 0) -> str:
        """Return the value of the quantity at the last tick, and the threshold."""
        return self.compare(self.sign * self.score(history)[row, -1].item(), self.threshold)

    def compare(self, value: float, threshold: float) -> str:
        """Return a phrase that compares a value of the quantity with a threshold."""
        value_text = format_against_threshold(value, threshold, self.unit)
        return f"{self.quantity} {value_text}, {self.side} {format_for_display(threshold, self.unit)}"

    def __str__(self) -> str:
        return f"{self.syntax}{format_number(self.threshold)}"


@dataclass(frozen=True)
class CertaintyAbove(ThresholdPolicy):
    """Stop when the certainty is above a threshold: its mean or its minimum over the positions."""

    threshold: float
    reduction: Literal["mean", "min"] = "mean"
    examples: ClassVar[tuple[str, ...]] = ("certainty>0.9", "certainty.min>0.9")

    @property
    def syntax(self) -> str:
        """Text before the threshold."""
        return "certainty.min>" if self.reduction == "min" else "certainty>"

    @property
    def quantity(self) -> str:
        """Quantity that is compared with the threshold."""
        return "certainty of the least certain position" if self.reduction == "min" else "certainty"

    @property
    def is_adaptive(self) -> bool:
        """Whether the threshold can be passed: certainty is at most 1."""
        return self.threshold < 1

    def describe(self) -> str:
        """Return one sentence for a visitor."""
        if not self.is_adaptive:
            return "Uses every tick; the answer is taken from the most certain one."
        return super().describe()

    def chart_lines(self) -> tuple[ChartLine, ...]:
        """Return the line of the mean certainty; the chart does not display the minimum."""
        return (ChartLine("certainty", self.threshold),) if self.reduction == "mean" and self.is_adaptive else ()

    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        """Return the mean or minimum certainty over the positions."""
        return history.certainty.amin(2) if self.reduction == "min" else history.certainty.mean(2)


@dataclass(frozen=True)
class SignalAbove(ThresholdPolicy):
    """Stop when the margin or the probability of the least sure position is above a threshold."""

    signal: Literal["margin", "probability"]
    threshold: float
    unit: ClassVar[str] = "%"
    examples: ClassVar[tuple[str, ...]] = ("margin>0.5", "probability>0.9")

    @property
    def signals(self) -> frozenset[str]:
        """Name of the score that the policy reads."""
        return frozenset({self.signal})

    @property
    def syntax(self) -> str:
        """Text before the threshold."""
        return f"{self.signal}>"

    @property
    def quantity(self) -> str:
        """Quantity that is compared with the threshold."""
        return "lead of the top answer over the next" if self.signal == "margin" else "probability of the top answer"

    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        """Return the margin or the probability, minimum over the positions."""
        return history.signals[self.signal]


@dataclass(frozen=True)
class ChangeBelow(ThresholdPolicy):
    """Stop when the answer changes by less than a threshold: KL divergence from the previous tick."""

    threshold: float
    signals: ClassVar[frozenset[str]] = frozenset({"change"})
    syntax: ClassVar[str] = "change<"
    quantity: ClassVar[str] = "change of the answer since the previous tick"
    unit: ClassVar[str] = " nats"
    min_ticks: ClassVar[int] = 2  # the first tick has no tick before it
    examples: ClassVar[tuple[str, ...]] = ("change<0.0005",)

    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        """Return minus the change."""
        return -history.signals["change"]


@dataclass(frozen=True)
class EnergyBelow(ThresholdPolicy):
    """Stop when the energy is below a threshold."""

    threshold: float
    needs_energy: ClassVar[bool] = True
    syntax: ClassVar[str] = "energy<"
    quantity: ClassVar[str] = "energy"
    examples: ClassVar[tuple[str, ...]] = ("energy<-3",)

    def chart_lines(self) -> tuple[ChartLine, ...]:
        """Return the line of the energy."""
        return (ChartLine("energy", self.threshold),)

    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        """Return minus the energy."""
        return -get_energy(history)


@dataclass(frozen=True)
class PerClassThreshold(ThresholdPolicy):
    """Stop above a level that depends on the answered class. The answer must have one position.

    Attributes:
        base_policy: Policy whose score is compared; its own threshold is not used.
        thresholds: One threshold per class.
    """

    base_policy: ThresholdPolicy
    thresholds: tuple[float, ...]
    needs_choices: ClassVar[bool] = True
    level: ClassVar[float] = 0.0  # of the score, from which the threshold of the class is already subtracted

    @property
    def needs_energy(self) -> bool:
        """Whether the base policy reads the energy."""
        return self.base_policy.needs_energy

    @property
    def min_ticks(self) -> int:
        """Smallest number of ticks after which the base policy can stop a row."""
        return self.base_policy.min_ticks

    @property
    def signals(self) -> frozenset[str]:
        """Names of the further scores that the base policy reads."""
        return self.base_policy.signals

    @property
    def syntax(self) -> str:
        """Text before the thresholds."""
        return self.base_policy.syntax

    @property
    def quantity(self) -> str:
        """Quantity that is compared with the thresholds."""
        return self.base_policy.quantity

    @property
    def condition(self) -> str:
        """Condition for stopping, as a clause."""
        return f"the {self.quantity} is {self.side} the threshold of the current answer"

    def reason(self, history: TickHistory, row: int = 0) -> str:
        """Return the value of the quantity at the last tick, and the threshold of the answer."""
        value = self.sign * self.base_policy.score(history)[row, -1].item()
        threshold = self.thresholds[int(get_choices(history)[row, -1, 0])]
        return f"{self.base_policy.compare(value, threshold)}, the threshold of this answer"

    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        """Return the score of the base policy minus the level of the class that is answered at the last tick.

        Raises:
            ValueError: The answer has several positions, or more classes than there are thresholds.
        """
        choices_by_position = get_choices(history)
        choices = choices_by_position[:, :, -1]
        choices = choices.masked_fill(choices == NO_CHOICE, 0)  # rows without a tick; their score is NaN
        if choices_by_position.size(2) > 1 or int(choices.max()) >= len(self.thresholds):
            raise ValueError(
                f"{truncate_repr(str(self))} has a threshold for each of {len(self.thresholds)} classes of a single "
                "answer; this model answers otherwise."
            )
        score = self.base_policy.score(history)
        levels = self.sign * torch.tensor(self.thresholds, dtype=score.dtype, device=score.device)
        return score - levels[choices]

    def __str__(self) -> str:
        return f"{self.syntax}[{','.join(map(format_number, self.thresholds))}]"


@dataclass(frozen=True)
class SameAnswer(ThresholdPolicy):
    """Stop when the whole answer was the same at `ticks` ticks in a row."""

    ticks: int
    needs_choices: ClassVar[bool] = True
    syntax: ClassVar[str] = "same="
    quantity: ClassVar[str] = "number of ticks with the same answer"
    examples: ClassVar[tuple[str, ...]] = ("same=4",)

    def __post_init__(self) -> None:
        check_count("same=N", self.ticks)

    @property
    def lookback(self) -> int:
        """Number of newest ticks that the policy reads."""
        return self.ticks

    @property
    def min_ticks(self) -> int:
        """Smallest number of ticks after which the policy can stop a row."""
        return self.ticks

    @property
    def level(self) -> float:
        """Level that the score must exceed: scores are whole numbers."""
        return self.ticks - 0.5

    @property
    def condition(self) -> str:
        """Condition for stopping, as a clause."""
        return f"the answer is the same at {self.ticks:,} ticks in a row" if self.ticks > 1 else "one tick has run"

    def reason(self, history: TickHistory, row: int = 0) -> str:
        """Return for how many ticks the answer was the same."""
        return f"the same answer at {self.ticks:,} ticks in a row" if self.ticks > 1 else "the first answer"

    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        """Return for every tick the number of ticks since the answer last changed, from 1."""
        choices = get_choices(history)
        same = (choices[:, 1:] == choices[:, :-1]).all(2)
        tick = torch.arange(1, same.size(1) + 2, device=same.device).expand(len(same), -1)
        start_tick = F.pad(tick[:, 1:].masked_fill(same, 1), (1, 0), value=1).cummax(1).values
        return (tick - start_tick + 1).float()

    def __str__(self) -> str:
        return f"{self.syntax}{self.ticks}"


def get_choices(history: TickHistory) -> Int[Tensor, "A t P"]:
    """Return the choices of a history, which a policy with `needs_choices` has recorded."""
    assert history.choices is not None, "the history must record choices where `needs_choices` is set"
    return history.choices


def get_energy(history: TickHistory) -> Float[Tensor, "A t"]:
    """Return the energies of a history.

    Raises:
        ValueError: The model has no energy head.
    """
    if history.energy is None:
        raise ValueError("This checkpoint has no energy head: choose a certainty, same-answer or fixed-ticks policy.")
    return history.energy
