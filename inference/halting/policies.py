"""Halting policies: frozen values that compose, print and parse.

    ticks=12                  after 12 ticks
    certainty>0.8             mean certainty over the positions of the answer above 0.8 (paper section 4.1)
    certainty.min>0.8         certainty of the least certain position above 0.8: the mean also halts on half-wrong answers
    margin>0.5                margin between the two most likely classes above 0.5 at every position
    probability>0.9           probability of the most likely class above 0.9 at every position
    change<0.0005             KL divergence from the previous tick below 0.0005 (mean over positions)
    energy<-3                 learned energy below -3 (calibrated energies: P(correct) above 1 / (1 + exp(-3)) = 95 %)
    energy<[-3,-2]            one threshold per answered class; also for certainty, margin and probability
    converged<0.01x3          energy changed by less than 0.01 at three ticks in a row
    same=4                    the same answer at 4 ticks in a row
    said=10                   ten labels were emitted, by a model that emits at most one per tick (CTC)
    a|b   a&b   (a|b)&c       any of, all of

The energy-halting fork uses `energy<0.5|converged<0.01x1`. Its second half halts on plateaus, and the longest plateau is a
confident wrong answer, so no default of this project contains it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from ctm.messages import truncate_repr
from ctm.modules.readout import compute_ctc_emission_mask
from inference.tick_history import NO_CHOICE, TickHistory


class HaltingPolicy(ABC):
    """Decision, at every tick, which rows stop. `str(policy)` and `parse` are inverse to each other."""

    @property
    def needs_energy(self) -> bool:
        """Whether the policy reads the energy."""
        return False

    @property
    def needs_choices(self) -> bool:
        """Whether the policy reads the choices."""
        return False

    @property
    def signals(self) -> frozenset[str]:
        """Names of the further scores that the policy reads, of `ctm.modules.readout.SIGNALS`."""
        return frozenset()

    @property
    def answers_at_end(self) -> bool:
        """Whether the answer is emitted over the ticks, so that only the last tick has all of it."""
        return False

    @property
    def lookback(self) -> int:
        """Number of newest ticks that the policy reads."""
        return 1

    @abstractmethod
    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        """Return the rows that stop at the last tick of the history, shape (A,)."""

    def compute_halt_masks(self, history: TickHistory) -> list[tuple[str, Bool[Tensor, " A"]]]:
        """Return the parts of this policy that can halt a row by themselves, each with the rows that it halts now.

        Returns:
            Pairs of the printed policy and a mask of shape (A,), in the order of precedence.
        """
        return [(str(self), self.should_halt(history))]


@dataclass(frozen=True)
class FixedTicks(HaltingPolicy):
    """Stop after a fixed number of ticks."""

    ticks: int

    def __post_init__(self):
        check_at_least(1, ticks=self.ticks)

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        return history.ticks >= self.ticks

    def __str__(self) -> str:
        return f"ticks={self.ticks}"


class ThresholdPolicy(HaltingPolicy):
    """Policy that stops as soon as a score of the tick exceeds a level."""

    threshold: float

    @property
    @abstractmethod
    def syntax(self) -> str:
        """Text before the threshold."""

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
        return self.score(history)[:, -1] > self.level

    def __str__(self) -> str:
        return f"{self.syntax}{format_number(self.threshold)}"


@dataclass(frozen=True)
class CertaintyAbove(ThresholdPolicy):
    """Stop when the certainty is above a threshold: its mean or its minimum over the positions."""

    threshold: float
    reduction: Literal["mean", "min"] = "mean"

    @property
    def syntax(self) -> str:
        return "certainty.min>" if self.reduction == "min" else "certainty>"

    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        return history.certainty.amin(2) if self.reduction == "min" else history.certainty.mean(2)


@dataclass(frozen=True)
class SignalAbove(ThresholdPolicy):
    """Stop when the margin or the probability of the least sure position is above a threshold."""

    signal: Literal["margin", "probability"]
    threshold: float

    @property
    def signals(self) -> frozenset[str]:
        return frozenset({self.signal})

    @property
    def syntax(self) -> str:
        return f"{self.signal}>"

    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        return history.signals[self.signal]


@dataclass(frozen=True)
class ChangeBelow(ThresholdPolicy):
    """Stop when the answer changes by less than a threshold: KL divergence from the previous tick."""

    threshold: float
    signals: ClassVar[frozenset[str]] = frozenset({"change"})
    syntax: ClassVar[str] = "change<"

    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        return -history.signals["change"]


@dataclass(frozen=True)
class EnergyBelow(ThresholdPolicy):
    """Stop when the energy is below a threshold."""

    threshold: float
    needs_energy: ClassVar[bool] = True
    syntax: ClassVar[str] = "energy<"

    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        return -get_energy(history)


@dataclass(frozen=True)
class PerClassThreshold(ThresholdPolicy):
    """Stop above a level that depends on the answered class. The answer must have one position.

    Attributes:
        base_policy: the policy whose score is compared; its own threshold is not used.
        thresholds: one threshold per class.
    """

    base_policy: ThresholdPolicy
    thresholds: tuple[float, ...]
    needs_choices: ClassVar[bool] = True
    level: ClassVar[float] = 0.0

    @property
    def needs_energy(self) -> bool:
        return self.base_policy.needs_energy

    @property
    def signals(self) -> frozenset[str]:
        return self.base_policy.signals

    @property
    def syntax(self) -> str:
        return self.base_policy.syntax

    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        assert history.choices is not None, "the history must record choices where `needs_choices` is set"
        choices = history.choices[:, :, -1]
        choices = choices.masked_fill(choices == NO_CHOICE, 0)  # rows without a tick; their score is NaN
        if history.choices.size(2) > 1 or int(choices.max()) >= len(self.thresholds):
            raise ValueError(
                f"{truncate_repr(str(self))} has a threshold for each of {len(self.thresholds)} classes of a single answer; this "
                "model answers otherwise."
            )
        score = self.base_policy.score(history)
        levels = self.sign * torch.tensor(self.thresholds, dtype=score.dtype, device=score.device)
        return score - levels[choices]

    def __str__(self) -> str:
        return f"{self.syntax}[{','.join(map(format_number, self.thresholds))}]"


@dataclass(frozen=True)
class EnergyConverged(HaltingPolicy):
    """Stop when the energy changed by less than `tolerance` at each of the last `patience` ticks."""

    tolerance: float
    patience: int = 1
    needs_energy: ClassVar[bool] = True

    def __post_init__(self):
        check_at_least(1, patience=self.patience)

    @property
    def lookback(self) -> int:
        return self.patience + 1

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        energy = get_energy(history)[:, -self.patience - 1 :]
        if energy.size(1) <= self.patience:
            return torch.zeros(len(energy), dtype=torch.bool, device=energy.device)
        return (energy.diff(dim=1).abs() < self.tolerance).all(1)

    def __str__(self) -> str:
        return f"converged<{format_number(self.tolerance)}x{self.patience}"


@dataclass(frozen=True)
class SameAnswer(ThresholdPolicy):
    """Stop when the whole answer was the same at `ticks` ticks in a row."""

    ticks: int
    needs_choices: ClassVar[bool] = True

    def __post_init__(self):
        check_at_least(1, ticks=self.ticks)

    @property
    def lookback(self) -> int:
        return self.ticks

    syntax: ClassVar[str] = "same="

    @property
    def level(self) -> float:
        return self.ticks - 0.5

    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        """Return for every tick the number of ticks since the answer last changed, from 1."""
        assert history.choices is not None, "the history must record choices where `needs_choices` is set"
        same = (history.choices[:, 1:] == history.choices[:, :-1]).all(2)
        tick = torch.arange(1, same.size(1) + 2, device=same.device).expand(len(same), -1)
        start_tick = F.pad(tick[:, 1:].masked_fill(same, 1), (1, 0), value=1).cummax(1).values
        return (tick - start_tick + 1).float()

    def __str__(self) -> str:
        return f"{self.syntax}{self.ticks}"


def check_policy_fits_task(policy: HaltingPolicy, ctc_length: int | None) -> None:
    """Check that a policy for emitted labels is only used with a CTC task.

    Args:
        policy: the policy.
        ctc_length: number of labels that the task emits; None if the task gives its whole answer at every tick.

    Raises:
        ValueError: The policy waits for emissions and the task is not a CTC task.
    """
    if policy.answers_at_end and not ctc_length:
        raise ValueError(
            f"{truncate_repr(str(policy))} waits for labels that are emitted one after the other, but this model gives its whole answer at "
            "every tick: use another policy, such as certainty>0.9."
        )


@dataclass(frozen=True)
class LabelsEmitted(HaltingPolicy):
    """Stop when a number of labels was emitted (CTC). Repeats of a label count once, where they begin.

    For lists whose labels are 0 to n - 1 and whose blank is the class n, such as those of the sorting task.

    Attributes:
        labels: number of labels, and the class of the blank.
    """

    labels: int
    answers_at_end: ClassVar[bool] = True
    needs_choices: ClassVar[bool] = True
    lookback: ClassVar[int] = 1_000_000  # all ticks

    def __post_init__(self):
        check_at_least(1, labels=self.labels)

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        assert history.choices is not None, "the history must record choices where `needs_choices` is set"
        return compute_ctc_emission_mask(history.choices[:, :, 0], self.labels).sum(1) >= self.labels

    def __str__(self) -> str:
        return f"said={self.labels}"


@dataclass(frozen=True)
class CompositePolicy(HaltingPolicy):
    """Combination of several policies."""

    policies: tuple[HaltingPolicy, ...]

    @property
    def signals(self) -> frozenset[str]:
        return frozenset().union(*(policy.signals for policy in self.policies))

    @property
    def needs_energy(self) -> bool:
        return any(policy.needs_energy for policy in self.policies)

    @property
    def needs_choices(self) -> bool:
        return any(policy.needs_choices for policy in self.policies)

    @property
    def answers_at_end(self) -> bool:
        return any(policy.answers_at_end for policy in self.policies)

    @property
    def lookback(self) -> int:
        return max(policy.lookback for policy in self.policies)


@dataclass(frozen=True)
class AnyOf(CompositePolicy):
    """Stop when any of the policies would."""

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        return torch.stack([policy.should_halt(history) for policy in self.policies]).any(0)

    def compute_halt_masks(self, history: TickHistory) -> list[tuple[str, Bool[Tensor, " A"]]]:
        return [pair for policy in self.policies for pair in policy.compute_halt_masks(history)]

    def __str__(self) -> str:
        return "|".join(f"({policy})" if isinstance(policy, AnyOf) else str(policy) for policy in self.policies)


@dataclass(frozen=True)
class AllOf(CompositePolicy):
    """Stop when all of the policies would, at the same tick."""

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        return torch.stack([policy.should_halt(history) for policy in self.policies]).all(0)

    def __str__(self) -> str:
        return "&".join(f"({policy})" if isinstance(policy, AnyOf | AllOf) else str(policy) for policy in self.policies)


def format_number(value: float) -> str:
    """Format a number with as few characters as read back as the same number."""
    return text if float(text := f"{value:g}") == value else repr(value)


def get_energy(history: TickHistory):
    """Return the energies of a history.

    Raises:
        ValueError: The model has no energy head.
    """
    if history.energy is None:
        raise ValueError("This checkpoint has no energy head: choose a certainty, same-answer or fixed-ticks policy.")
    return history.energy


def check_at_least(minimum: int, **values: int) -> None:
    """Check that all values are at least `minimum`.

    Raises:
        ValueError: A value is smaller; the message names it.
    """
    for name, value in values.items():
        if value < minimum:
            raise ValueError(f"{name} must be at least {minimum}: got {value}.")
