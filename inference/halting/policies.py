"""Halting policies: frozen values that compose, print and parse.

    ticks=12               after 12 ticks
    certainty>0.8          mean certainty over the answer positions above 0.8 (paper section 4.1)
    certainty.min>0.8      certainty of the least certain position above 0.8; a mean also halts on half-wrong answers
    margin>0.5             probability margin between the two most likely classes above 0.5 at every position
    probability>0.9        probability of the most likely class above 0.9 at every position
    change<0.0005          KL divergence from the previous tick below 0.0005 nats (mean over positions)
    energy<-3              learned energy below -3 (calibrated: P(correct) above 1 / (1 + exp(-3)) = 95 %)
    energy<[-3,-2]         one threshold per answered class; also for certainty, margin and probability
    converged<0.01x3       energy changed by less than 0.01 at three ticks in a row
    same=4                 the same answer at four ticks in a row
    said=10                ten labels were emitted, by a model that emits at most one per tick (CTC)
    a|b   a&b   (a|b)&c    any of, all of

The energy-halting fork uses `energy<0.5|converged<0.01x1`. Its second half halts on plateaus, and the longest plateau
is a confident wrong answer, so no default of this project contains it.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from ctm.messages import truncate_repr
from ctm.modules.readout import compute_ctc_emission_mask
from inference.halting.base import (
    ChartLine,
    HaltingPolicy,
    check_count,
    format_against_threshold,
    format_count,
    format_for_display,
    format_number,
)
from inference.halting.threshold_policies import (
    CertaintyAbove,
    ChangeBelow,
    EnergyBelow,
    PerClassThreshold,
    SameAnswer,
    SignalAbove,
    ThresholdPolicy,
    get_choices,
    get_energy,
)
from inference.tick_history import TickHistory

__all__ = [
    "AllOf",
    "AnyOf",
    "CertaintyAbove",
    "ChangeBelow",
    "CompositePolicy",
    "EnergyBelow",
    "EnergyConverged",
    "FixedTicks",
    "HaltingPolicy",
    "LabelsEmitted",
    "PerClassThreshold",
    "SameAnswer",
    "SignalAbove",
    "ThresholdPolicy",
    "check_policy_fits_task",
]


@dataclass(frozen=True)
class FixedTicks(HaltingPolicy):
    """Stop after a fixed number of ticks."""

    ticks: int
    is_adaptive: ClassVar[bool] = False
    examples: ClassVar[tuple[str, ...]] = ("ticks=12",)

    def __post_init__(self) -> None:
        check_count("ticks=N", self.ticks)

    @property
    def min_ticks(self) -> int:
        """Smallest number of ticks after which the policy can stop a row."""
        return self.ticks

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        """Return the rows that have run `ticks` ticks."""
        return history.ticks >= self.ticks

    @property
    def condition(self) -> str:
        """Condition for stopping, as a clause."""
        return f"{format_count(self.ticks, 'tick')} {'has' if self.ticks == 1 else 'have'} run"

    def describe(self) -> str:
        """Return one sentence for a visitor."""
        return f"Stops after {format_count(self.ticks, 'tick')}."

    def reason(self, history: TickHistory, row: int = 0) -> str:
        """Return that the number of ticks was fixed."""
        return f"set to {format_count(self.ticks, 'tick')}"

    def __str__(self) -> str:
        return f"ticks={self.ticks}"


@dataclass(frozen=True)
class EnergyConverged(HaltingPolicy):
    """Stop when the energy changed by less than `tolerance` at each of the last `patience` ticks."""

    tolerance: float
    patience: int = 1
    needs_energy: ClassVar[bool] = True
    examples: ClassVar[tuple[str, ...]] = ("converged<0.01x3",)

    def __post_init__(self) -> None:
        check_count(f"converged<{format_number(self.tolerance)}xN", self.patience)

    @property
    def lookback(self) -> int:
        """Number of newest ticks that the policy reads."""
        return self.patience + 1

    @property
    def min_ticks(self) -> int:
        """Smallest number of ticks after which the policy can stop a row."""
        return self.patience + 1

    @property
    def condition(self) -> str:
        """Condition for stopping, as a clause."""
        return f"the energy changes by less than {format_for_display(self.tolerance)}{self._duration}"

    def reason(self, history: TickHistory, row: int = 0) -> str:
        """Return the largest change of the last ticks, and the tolerance."""
        change = get_energy(history)[row, -self.patience - 1 :].diff().abs().amax().item()
        change_text = format_against_threshold(change, self.tolerance)
        return (
            f"energy changed by at most {change_text}, less than {format_for_display(self.tolerance)}{self._duration}"
        )

    @property
    def _duration(self) -> str:
        return "" if self.patience == 1 else f" at {self.patience:,} ticks in a row"

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        """Return the rows whose energy changed by less than the tolerance at all of the last ticks."""
        energy = get_energy(history)[:, -self.patience - 1 :]
        if energy.size(1) <= self.patience:
            return torch.zeros(len(energy), dtype=torch.bool, device=energy.device)
        return (energy.diff(dim=1).abs() < self.tolerance).all(1)

    def __str__(self) -> str:
        return f"converged<{format_number(self.tolerance)}x{self.patience}"


@dataclass(frozen=True)
class LabelsEmitted(HaltingPolicy):
    """Stop when a number of labels was emitted (CTC). Repeats of a label count once, where they begin.

    For lists whose labels are 0 to n - 1 and whose blank is the class n, such as those of the sorting task.

    Attributes:
        labels: Number of labels, and the class of the blank.
    """

    labels: int
    examples: ClassVar[tuple[str, ...]] = ("said=10",)
    answers_at_end: ClassVar[bool] = True
    needs_choices: ClassVar[bool] = True
    lookback: ClassVar[int] = 1_000_000  # all ticks

    def __post_init__(self) -> None:
        check_count("said=N", self.labels)

    @property
    def min_ticks(self) -> int:
        """Smallest number of ticks after which the policy can stop a row: one tick emits at most one label."""
        return self.labels

    @property
    def condition(self) -> str:
        """Condition for stopping, as a clause."""
        return f"all {format_count(self.labels, 'item')} of the answer are output"

    def reason(self, history: TickHistory, row: int = 0) -> str:
        """Return that the answer is complete."""
        return self.condition

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        """Return the rows that have emitted all labels."""
        return compute_ctc_emission_mask(get_choices(history)[:, :, 0], self.labels).sum(1) >= self.labels

    def __str__(self) -> str:
        return f"said={self.labels}"


@dataclass(frozen=True)
class CompositePolicy(HaltingPolicy):
    """Combination of several policies."""

    policies: tuple[HaltingPolicy, ...]

    @property
    def signals(self) -> frozenset[str]:
        """Names of the further scores that any part reads."""
        return frozenset().union(*(policy.signals for policy in self.policies))

    @property
    def needs_energy(self) -> bool:
        """Whether any part reads the energy."""
        return any(policy.needs_energy for policy in self.policies)

    @property
    def needs_choices(self) -> bool:
        """Whether any part reads the choices."""
        return any(policy.needs_choices for policy in self.policies)

    @property
    def answers_at_end(self) -> bool:
        """Whether any part waits for emitted labels."""
        return any(policy.answers_at_end for policy in self.policies)

    @property
    def lookback(self) -> int:
        """Largest number of newest ticks that a part reads."""
        return max(policy.lookback for policy in self.policies)

    @property
    def is_adaptive(self) -> bool:
        """Whether any part depends on the outputs of the model."""
        return any(policy.is_adaptive for policy in self.policies)

    def describe_unreachable(self, max_ticks: int) -> tuple[str, ...]:
        """Return the sentences of all parts, each once."""
        sentences = (sentence for policy in self.policies for sentence in policy.describe_unreachable(max_ticks))
        return tuple(dict.fromkeys(sentences))


@dataclass(frozen=True)
class AnyOf(CompositePolicy):
    """Stop when any of the policies would."""

    @property
    def min_ticks(self) -> int:
        """Smallest number of ticks after which any part can stop a row."""
        return min(policy.min_ticks for policy in self.policies)

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        """Return the rows that any part stops."""
        return torch.stack([policy.should_halt(history) for policy in self.policies]).any(0)

    def compute_halt_masks(self, history: TickHistory) -> list[tuple[str, Bool[Tensor, " A"]]]:
        """Return the masks of all parts, because each can halt a row by itself."""
        return [pair for policy in self.policies for pair in policy.compute_halt_masks(history)]

    @property
    def condition(self) -> str:
        """Conditions of the parts, joined by "or"."""
        return ", or ".join(
            f"({policy.condition})" if isinstance(policy, AnyOf) else policy.condition for policy in self.policies
        )

    def reason(self, history: TickHistory, row: int = 0) -> str:
        """Return the reason of the first part that stopped the row."""
        return next(policy.reason(history, row) for policy in self.policies if bool(policy.should_halt(history)[row]))

    def chart_lines(self) -> tuple[ChartLine, ...]:
        """Return the lines of all parts: crossing one of them stops the row."""
        return tuple(line for policy in self.policies for line in policy.chart_lines())

    def __str__(self) -> str:
        return "|".join(f"({policy})" if isinstance(policy, AnyOf) else str(policy) for policy in self.policies)


@dataclass(frozen=True)
class AllOf(CompositePolicy):
    """Stop when all of the policies would, at the same tick.

    It has no lines in a chart: crossing one of them does not stop the row.
    """

    @property
    def min_ticks(self) -> int:
        """Smallest number of ticks after which all parts can stop a row."""
        return max(policy.min_ticks for policy in self.policies)

    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        """Return the rows that all parts stop."""
        return torch.stack([policy.should_halt(history) for policy in self.policies]).all(0)

    @property
    def condition(self) -> str:
        """Conditions of the parts, joined by "and"."""
        return " and ".join(
            f"({policy.condition})" if isinstance(policy, CompositePolicy) else policy.condition
            for policy in self.policies
        )

    def reason(self, history: TickHistory, row: int = 0) -> str:
        """Return the reasons of all parts."""
        return ", and ".join(policy.reason(history, row) for policy in self.policies)

    def __str__(self) -> str:
        return "&".join(f"({policy})" if isinstance(policy, AnyOf | AllOf) else str(policy) for policy in self.policies)


def check_policy_fits_task(policy: HaltingPolicy, ctc_length: int | None) -> None:
    """Check that a policy for emitted labels is only used with a CTC task.

    Args:
        policy: Policy to check.
        ctc_length: Number of labels that the task emits; None if the task gives its whole answer at every tick.

    Raises:
        ValueError: The policy waits for emissions and the task is not a CTC task.
    """
    if policy.answers_at_end and not ctc_length:
        raise ValueError(
            f"{truncate_repr(str(policy))} waits for labels that are emitted one after the other, but this model gives "
            "its whole answer at every tick: use another policy, such as certainty>0.9."
        )
