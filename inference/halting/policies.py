"""When to stop thinking: policies are frozen values that compose, print and parse.

    ticks=12                  after 12 ticks
    certainty>0.8             mean certainty over the answer's positions above 0.8 (paper section 4.1)
    certainty.min>0.8         the least certain position above 0.8: the mean halts on half-wrong answers
    margin>0.5                the two likeliest classes of every position at least so far apart
    probability>0.9           the likeliest class of every position above 0.9
    change<0.0005             the answer moved by less than that from the tick before (KL divergence, mean over positions)
    energy<-3                 learned energy below -3 (calibrated energies: P(right) above 1 / (1 + exp(-3)) = 95 %)
    energy<[-3,-2]            a threshold for each class that is answered: also for certainty, margin and probability
    converged<0.01x3          energy moved by less than 0.01 three ticks in a row
    same=4                    the same answer at 4 ticks in a row
    said=10                   ten things were said, by a machine that says at most one a tick (CTC)
    a|b   a&b   (a|b)&c       any of, all of

The energy-halting fork's rule is `energy<0.5|converged<0.01x1`. Its second half halts on plateaus, and the longest plateau
is a confidently wrong one, so no default of ours holds it.
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
    """A rule that ends thoughts. `str(policy)` and `parse` are inverse to each other."""

    @property
    def needs_energy(self) -> bool:
        return False

    @property
    def needs_choices(self) -> bool:
        return False

    @property
    def signals(self) -> frozenset[str]:
        """What else it looks at, of `ctm.modules.readout.SIGNALS`."""
        return frozenset()

    @property
    def answers_at_end(self) -> bool:
        """Whether the answer is said over the ticks, so that the last of them has it all."""
        return False

    @property
    def lookback(self) -> int:
        """How many of the last ticks it looks at."""
        return 1

    @abstractmethod
    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        """Which rows stop at the history's last tick."""

    def compute_halt_masks(self, history: TickHistory) -> list[tuple[str, Bool[Tensor, " A"]]]:
        """The rules in here that can end a thought by themselves, and the rows that each one ends now."""
        return [(str(self), self.should_halt(history))]


@dataclass(frozen=True)
class FixedTicks(HaltingPolicy):
    """Stop after so many ticks."""

    ticks: int

    def __post_init__(self):
        check_at_least(1, ticks=self.ticks)

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        return history.ticks >= self.ticks

    def __str__(self) -> str:
        return f"ticks={self.ticks}"


class ThresholdPolicy(HaltingPolicy):
    """A rule that stops as soon as a score of the tick rises above a level."""

    threshold: float

    @property
    @abstractmethod
    def syntax(self) -> str:
        """How it is written, before its threshold."""

    @property
    def sign(self) -> int:
        """Of scores, and of levels: -1 for a rule that stops below its threshold."""
        return -1 if self.syntax.endswith("<") else 1

    @property
    def level(self) -> float:
        return self.sign * self.threshold

    @property
    def never_threshold(self) -> float:
        """A threshold that nothing passes."""
        return self.sign * 1e9

    @abstractmethod
    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        """How ready the thought is to end, at every tick of the history."""

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        return self.score(history)[:, -1] > self.level

    def __str__(self) -> str:
        return f"{self.syntax}{format_number(self.threshold)}"


@dataclass(frozen=True)
class CertaintyAbove(ThresholdPolicy):
    """Stop when the answer is certain: the mean or the minimum over its positions."""

    threshold: float
    reduction: Literal["mean", "min"] = "mean"

    @property
    def syntax(self) -> str:
        return "certainty.min>" if self.reduction == "min" else "certainty>"

    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        return history.certainty.amin(2) if self.reduction == "min" else history.certainty.mean(2)


@dataclass(frozen=True)
class SignalAbove(ThresholdPolicy):
    """Stop when a signal of the answer is strong: its margin or its probability, of the least sure position."""

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
    """Stop when what is answered hardly changes any more: KL divergence from the tick before."""

    threshold: float
    signals: ClassVar[frozenset[str]] = frozenset({"change"})
    syntax: ClassVar[str] = "change<"

    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        return -history.signals["change"]


@dataclass(frozen=True)
class EnergyBelow(ThresholdPolicy):
    """Stop when the energy is low."""

    threshold: float
    needs_energy: ClassVar[bool] = True
    syntax: ClassVar[str] = "energy<"

    def score(self, history: TickHistory) -> Float[Tensor, "A t"]:
        return -get_energy(history)


@dataclass(frozen=True)
class PerClassThreshold(ThresholdPolicy):
    """Stop above a level that depends on what is answered: a threshold for each class, for answers of one position."""

    base_policy: ThresholdPolicy  # whose own threshold does not matter
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
        assert history.choices is not None, "who keeps the history asks `needs_choices`"
        choices = history.choices[:, :, -1]
        choices = choices.masked_fill(choices == NO_CHOICE, 0)  # newcomers, who have no score there, either
        if history.choices.size(2) > 1 or int(choices.max()) >= len(self.thresholds):
            raise ValueError(
                f"{truncate_repr(str(self))} has a threshold for each of {len(self.thresholds)} classes of a single answer; this "
                "machine answers otherwise."
            )
        score = self.base_policy.score(history)
        levels = self.sign * torch.tensor(self.thresholds, dtype=score.dtype, device=score.device)
        return score - levels[choices]

    def __str__(self) -> str:
        return f"{self.syntax}[{','.join(map(format_number, self.thresholds))}]"


@dataclass(frozen=True)
class EnergyConverged(HaltingPolicy):
    """Stop when the energy moved by less than `tolerance` at each of the last `patience` ticks."""

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
    """Stop when the whole answer was the same at so many ticks in a row."""

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
        """For how many ticks the answer has been what it is."""
        assert history.choices is not None, "who keeps the history asks `needs_choices`"
        same = (history.choices[:, 1:] == history.choices[:, :-1]).all(2)
        tick = torch.arange(1, same.size(1) + 2, device=same.device).expand(len(same), -1)
        began = F.pad(tick[:, 1:].masked_fill(same, 1), (1, 0), value=1).cummax(1).values
        return (tick - began + 1).float()

    def __str__(self) -> str:
        return f"{self.syntax}{self.ticks}"


def check_policy_fits_task(policy: HaltingPolicy, ctc_length: int | None) -> None:
    """A rule that waits for what is said suits machines alone that say an answer over the ticks.

    Raises:
        ValueError: the machine gives its whole answer at every tick.
    """
    if policy.answers_at_end and not ctc_length:
        raise ValueError(
            f"{truncate_repr(str(policy))} waits for things to be said one after the other, but this machine gives its whole answer at "
            "every tick: take another rule, such as certainty>0.9."
        )


@dataclass(frozen=True)
class LabelsEmitted(HaltingPolicy):
    """Stop when so many labels were said: classes below that number, each counted when it begins.

    For lists whose labels are 0 to n - 1 and whose silence is the class n, such as those of sorting.
    """

    labels: int
    answers_at_end: ClassVar[bool] = True
    needs_choices: ClassVar[bool] = True
    lookback: ClassVar[int] = 1_000_000  # to the beginning

    def __post_init__(self):
        check_at_least(1, labels=self.labels)

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        assert history.choices is not None, "who keeps the history asks `needs_choices`"
        return compute_ctc_emission_mask(history.choices[:, :, 0], self.labels).sum(1) >= self.labels

    def __str__(self) -> str:
        return f"said={self.labels}"


@dataclass(frozen=True)
class CompositePolicy(HaltingPolicy):
    """Several rules as one."""

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
    """Stop when any of these would."""

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        return torch.stack([policy.should_halt(history) for policy in self.policies]).any(0)

    def compute_halt_masks(self, history: TickHistory) -> list[tuple[str, Bool[Tensor, " A"]]]:
        return [cause for policy in self.policies for cause in policy.compute_halt_masks(history)]

    def __str__(self) -> str:
        return "|".join(f"({policy})" if isinstance(policy, AnyOf) else str(policy) for policy in self.policies)


@dataclass(frozen=True)
class AllOf(CompositePolicy):
    """Stop when all of these would, at the same tick."""

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        return torch.stack([policy.should_halt(history) for policy in self.policies]).all(0)

    def __str__(self) -> str:
        return "&".join(f"({policy})" if isinstance(policy, AnyOf | AllOf) else str(policy) for policy in self.policies)


def format_number(value: float) -> str:
    """A number in few letters that read as the same number."""
    return text if float(text := f"{value:g}") == value else repr(value)


def get_energy(history: TickHistory):
    if history.energy is None:
        raise ValueError("This checkpoint has no energy head: choose a certainty, same-answer or fixed-ticks policy.")
    return history.energy


def check_at_least(minimum: int, **values: int) -> None:
    for name, value in values.items():
        if value < minimum:
            raise ValueError(f"{name} must be at least {minimum}: got {value}.")
