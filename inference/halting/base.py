"""Base class of halting policies, and the numbers in their descriptions."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from jaxtyping import Bool
from torch import Tensor

from inference.tick_history import TickHistory

MAX_FLOAT_DIGITS = 17  # significant digits that represent any float exactly


class ChartLine(NamedTuple):
    """Threshold line in a chart over the ticks.

    Attributes:
        signal: Curve that the line belongs to: "energy" or "certainty".
        level: Level of the line.
    """

    signal: str
    level: float


class HaltingPolicy(ABC):
    """Decision, at every tick, which rows stop.

    `str(policy)` and `parse` are inverse to each other. A policy also describes itself: what it stops on (`describe`),
    why it stopped a row (`reason`), and its threshold lines in a chart (`chart_lines`).

    Attributes:
        examples: Policies of this class as text, for error messages and documentation.
    """

    examples: ClassVar[tuple[str, ...]] = ()

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
        """Names of the further scores that the policy reads, of `ctm.modules.readout.ANSWER_SIGNALS`."""
        return frozenset()

    @property
    def answers_at_end(self) -> bool:
        """Whether the answer is emitted over the ticks, so that only the last tick has all of it."""
        return False

    @property
    def lookback(self) -> int:
        """Number of newest ticks that the policy reads."""
        return 1

    @property
    def min_ticks(self) -> int:
        """Smallest number of ticks after which the policy can stop a row."""
        return 1

    @property
    def is_adaptive(self) -> bool:
        """Whether the number of ticks depends on the outputs of the model."""
        return True

    @abstractmethod
    def should_halt(self, history: TickHistory) -> Bool[Tensor, " A"]:
        """Return the rows that stop at the last tick of the history, shape (A,)."""

    def compute_halt_masks(self, history: TickHistory) -> list[tuple[str, Bool[Tensor, " A"]]]:
        """Return the parts of this policy that can halt a row by themselves, each with the rows that it halts now.

        Returns:
            Pairs of the printed policy and a mask of shape (A,), in the order of precedence.
        """
        return [(str(self), self.should_halt(history))]

    # --- description -----------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def condition(self) -> str:
        """Condition for stopping, as a clause: "energy is below -3"."""

    def describe(self) -> str:
        """Return one sentence for a visitor: what the policy stops on."""
        return f"Stops when {self.condition}."

    @abstractmethod
    def reason(self, history: TickHistory, row: int = 0) -> str:
        """Return why this policy stopped a row, as a phrase with the values of the tick: "energy -3.2, below -3".

        Args:
            history: Outputs up to the tick at which the row stopped.
            row: Index of the row in the history.
        """

    def chart_lines(self) -> tuple[ChartLine, ...]:
        """Return the threshold lines of the policy in a chart of energy and certainty."""
        return ()

    def describe_unreachable(self, max_ticks: int) -> tuple[str, ...]:
        """Return a sentence for each part of the policy that needs more ticks than a model has.

        Args:
            max_ticks: Number of ticks at which the model ends every row.
        """
        if self.min_ticks <= max_ticks:
            return ()
        return (
            f"The rule {self} needs {format_count(self.min_ticks, 'tick')}, but this model has {max_ticks:,}: "
            f"no more than {max_ticks:,} can run.",
        )


def format_number(value: float) -> str:
    """Format a number with as few characters as read back as the same number."""
    return text if float(text := f"{value:g}") == value else repr(value)


def format_for_display(value: float, unit: str = "", digits: int | None = None) -> str:
    """Format a number for a visitor: with a minus sign, and as a percentage if the unit is "%".

    Args:
        value: Number to format; a fraction if the unit is "%".
        unit: Text after the number.
        digits: Significant digits; None for as many as `format_number` uses.
    """
    text = f"{value:.{digits}g}" if digits else format_number(value)
    if unit == "%":
        text = f"{100 * value:.{digits or 12}g}"  # 12 digits hide the rounding error of the product
    return text.replace("-", "\N{MINUS SIGN}") + unit


def format_against_threshold(value: float, threshold: float, unit: str = "") -> str:
    """Format a value with three significant digits, or with more where rounding would move it across its threshold."""
    is_above = value > threshold
    for digits in range(3, MAX_FLOAT_DIGITS):
        rounded = float(f"{value:.{digits}g}")
        if rounded != threshold and (rounded > threshold) == is_above:
            return format_for_display(rounded, unit, digits)
    return format_for_display(value, unit, MAX_FLOAT_DIGITS)


def format_count(count: int, noun: str) -> str:
    """Return a count and its noun, in the plural where it belongs: "1 tick", "1,000 ticks"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def check_count(syntax: str, count: int) -> None:
    """Check that the number N in the text of a policy is at least 1.

    Args:
        syntax: Text of the policy with N for the number, such as "same=N".
        count: The number.

    Raises:
        ValueError: The number is smaller; the message names the policy.
    """
    if count < 1:
        raise ValueError(f"In {syntax}, N must be at least 1: got {count}.")
