"""Per-tick outputs: the history that a halting policy reads, and the curves of a finished evaluation."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ctm import TickOutput
from ctm.models.outputs import compute_answer_mask
from ctm.modules.readout import compute_answer_signals

NO_CHOICE = 1 << 30  # choice of a row that has not run a tick; equals no class


@dataclass(frozen=True)
class EvaluationCurves:
    """Outputs of a model at every tick, for n samples.

    Axes: n samples, P positions of the answer, T ticks, L labels of the target.

    Attributes:
        correct: Whether the answer at a tick is correct; False at ticks before an answer counts.
        choices: The class of the largest logit of every position.
        certainty: Certainty of every position.
        energy: Energy, or None without an energy head.
        difficulty: Difficulty of the sample, as the task defines it.
        targets: Target classes.
        input_ticks: Ticks before an answer counts; None if all ticks count.
        signals: Further scores of `ctm.modules.readout.SIGNALS`, by name.
        is_ctc: Whether the answer is emitted over the ticks (CTC).
        confidence: Further values by name, see `compute_batch_confidence` of `training.evaluation.evaluate_curves`; {} for none.
    """

    correct: Bool[Tensor, "n T"]
    choices: Int[Tensor, "n P T"]
    certainty: Float[Tensor, "n P T"]
    energy: Float[Tensor, "n T"] | None
    difficulty: Int[Tensor, " n"]
    targets: Int[Tensor, "n L"]
    input_ticks: Int[Tensor, " n"] | None = None
    signals: dict[str, Float[Tensor, "n T"]] = field(default_factory=dict)
    is_ctc: bool = False
    confidence: dict[str, Tensor] = field(default_factory=dict)

    @property
    def answer_mask(self) -> Bool[Tensor, "n T"]:
        """Ticks at which an answer counts."""
        mask = compute_answer_mask(self.input_ticks, self.correct.size(1))
        return torch.ones_like(self.correct) if mask is None else mask


@dataclass(frozen=True)
class TickHistory:
    """Outputs up to the current tick, oldest first.

    Axes: A unfinished rows, t recorded ticks, P positions of the answer, K logits.

    Attributes:
        certainty: Certainty of every position.
        choices: Class of the largest logit of every position; None if no policy needs it.
        energy: Energy; None without an energy head.
        tick_counts: Ticks that every row has run; None if all of them are recorded.
        input_ticks: Ticks before an answer counts; None if all ticks count.
        signals: Requested scores of `ctm.modules.readout.SIGNALS`, by name.
        last_answer: Newest logits, if a policy needs their change.
        is_ctc: Whether the answer is emitted over the ticks (CTC).
    """

    certainty: Float[Tensor, "A t P"]
    choices: Int[Tensor, "A t P"] | None
    energy: Float[Tensor, "A t"] | None
    tick_counts: Int[Tensor, " A"] | None = None
    input_ticks: Int[Tensor, " A"] | None = None
    signals: dict[str, Float[Tensor, "A t"]] = field(default_factory=dict)
    last_answer: Float[Tensor, "A K"] | None = None
    is_ctc: bool = False

    @classmethod
    def from_curves(cls, curves: EvaluationCurves) -> "TickHistory":
        """Return the history of all ticks of an evaluation."""
        return cls(
            curves.certainty.transpose(1, 2),
            curves.choices.transpose(1, 2),
            curves.energy,
            input_ticks=curves.input_ticks,
            signals=curves.signals,
            is_ctc=curves.is_ctc,
        )

    @property
    def ticks(self) -> Int[Tensor, " A"]:
        """Return the number of ticks that every row has run."""
        if self.tick_counts is not None:
            return self.tick_counts
        count, ticks, _ = self.certainty.shape
        return torch.full((count,), ticks, device=self.certainty.device)

    @property
    def best_tick(self) -> Int[Tensor, " A"]:
        """Return the tick, from 1, that answers if no policy halts the row.

        It is the tick of the highest mean certainty; for CTC the last tick, because the emissions of all ticks form the
        answer.
        """
        if self.is_ctc:
            return self.ticks
        score = self.certainty.mean(2)
        answer_mask = compute_answer_mask(self.input_ticks, score.size(1))
        return (score if answer_mask is None else score.masked_fill(~answer_mask, -torch.inf)).argmax(1) + 1

    def mask_ready(self, halt_mask: Bool[Tensor, " A"]) -> Bool[Tensor, " A"]:
        """Return the rows of `halt_mask` that may halt: none halts before its input ticks are over."""
        return halt_mask if self.input_ticks is None else halt_mask & (self.input_ticks < self.ticks)

    def append(self, output: TickOutput, max_length: int | None = None) -> "TickHistory":
        """Return the history after one more tick.

        Args:
            output: Outputs of the new tick.
            max_length: Number of newest ticks to keep; None keeps all.
        """
        newest = start_history(
            output, self.choices is not None, self.input_ticks, frozenset(self.signals), self.last_answer
        )
        newest = replace(newest, tick_counts=self.ticks + 1)
        older = self.certainty.size(1) if max_length is None else min(max_length - 1, self.certainty.size(1))
        if not older:
            return newest
        return replace(
            newest,
            certainty=torch.cat((self.certainty[:, -older:], newest.certainty), 1),
            choices=append_to_window(self.choices, newest.choices, older),
            energy=append_to_window(self.energy, newest.energy, older),
            signals={
                name: torch.cat((self.signals[name][:, -older:], values), 1) for name, values in newest.signals.items()
            },
        )

    def select_rows(self, rows: Int[Tensor, " R"]) -> "TickHistory":
        """Return the history of some rows."""
        return self._map_tensors(
            lambda values: values.index_select(0, rows),
            tick_counts=None if self.tick_counts is None else self.tick_counts.index_select(0, rows),
            input_ticks=None if self.input_ticks is None else self.input_ticks.index_select(0, rows),
            last_answer=None if self.last_answer is None else self.last_answer.index_select(0, rows),
        )

    def append_empty_rows(self, count: int) -> "TickHistory":
        """Return the history with `count` more rows that have not run a tick.

        Their entries are NaN or `NO_CHOICE`, for which no policy fires.
        """
        assert self.input_ticks is None, "rows with input ticks are not admitted to a running batch"
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
        """Return the history as it was after `tick` ticks; all ticks must be recorded."""
        return self._map_tensors(lambda values: values[:, :tick], tick_counts=None)

    def _map_tensors(self, function: Callable[[Tensor], Tensor], **changes: Any) -> "TickHistory":
        """Return the history with a function applied to every per-tick tensor, and other fields replaced."""
        return replace(
            self,
            certainty=function(self.certainty),
            choices=None if self.choices is None else function(self.choices),
            energy=None if self.energy is None else function(self.energy),
            signals={name: function(values) for name, values in self.signals.items()},
            **changes,
        )


def append_to_window(window: Tensor | None, latest: Tensor | None, older: int) -> Tensor | None:
    """Append the newest tick to the last `older` ticks of a window."""
    return None if window is None or latest is None else torch.cat((window[:, -older:], latest), 1)


def compute_choices(output: TickOutput) -> Int[Tensor, "A P"]:
    """Return the class of the largest logit of every position."""
    return output.answer.unflatten(1, (output.certainty.size(1), -1)).argmax(2)


def start_history(
    output: TickOutput,
    needs_choices: bool = True,
    input_ticks: Int[Tensor, " A"] | None = None,
    signals: frozenset[str] = frozenset(),
    previous_answer: Float[Tensor, "A K"] | None = None,
) -> TickHistory:
    """Return the history of the first tick.

    Args:
        output: Outputs of the tick.
        needs_choices: Whether a policy reads the choices.
        input_ticks: Ticks before an answer counts; None if all ticks count.
        signals: Names of further scores that the policies read.
        previous_answer: Logits of the tick before, if there is one.
    """
    values_by_signal = compute_answer_signals(signals, output.answer, previous_answer, output.certainty.size(1))
    return TickHistory(
        output.certainty.unsqueeze(1),
        compute_choices(output).unsqueeze(1) if needs_choices else None,
        None if output.energy is None else output.energy.unsqueeze(1),
        input_ticks=input_ticks,
        signals={name: values.unsqueeze(1) for name, values in values_by_signal.items()},
        last_answer=output.answer if "change" in signals else None,
    )
