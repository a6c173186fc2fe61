"""Decoders of the logits of an unroll: a full answer at every tick, or labels that are emitted over the ticks (CTC).

Axes: B rows, K logits, T ticks, P positions of an answer, L labels of a target. K is positions times classes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ctm.modules.readout import compute_ctc_emission_mask
from training.losses import TickReduction, compute_answer_loss, is_correct, per_tick_loss, predict_classes


class AnswerDecoder(ABC):
    """Decoder and loss of the answers of a task.

    Attributes:
        positions: Number of positions that choose a class at every tick.
    """

    positions: int

    def choices(self, logits: Float[Tensor, "B K T"]) -> Int[Tensor, "B P T"]:
        """Return the class that each position chooses at every tick."""
        return predict_classes(logits.unflatten(1, (self.positions, -1)))

    @abstractmethod
    def loss(
        self,
        logits: Float[Tensor, "B K T"],
        targets: Int[Tensor, "B L"],
        certainty: Float[Tensor, "B T"],
        reduction: TickReduction,
        answer_mask: Bool[Tensor, "B T"] | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the training loss of the trunk, a scalar.

        Args:
            logits: Logits at every tick.
            targets: Target classes.
            certainty: Certainty at every tick.
            reduction: Which ticks and positions count.
            answer_mask: Ticks at which an answer counts; None counts all.
            lengths: Positions of each answer before its padding, which is then due with its first position; see
                `training.losses.paced_loss`.
        """

    @abstractmethod
    def tick_losses(self, logits: Float[Tensor, "B K T"], targets: Int[Tensor, "B L"]) -> Float[Tensor, "B T"] | None:
        """Return the loss of the answer at every tick, or None if only the whole unroll has a loss."""

    @abstractmethod
    def is_correct(self, logits: Float[Tensor, "B K T"], targets: Int[Tensor, "B L"]) -> Bool[Tensor, "B T"]:
        """Return whether the whole answer is correct, at every tick."""

    @abstractmethod
    def decode(self, choices: Int[Tensor, "T P"]) -> list[list[int]]:
        """Return the answer at each tick of one row, from its choices up to that tick."""


@dataclass(frozen=True)
class PerTickDecoder(AnswerDecoder):
    """Decoder of answers whose positions are all chosen again at every tick.

    All positions are trained. Only the scored ones decide whether an answer is correct: in some tasks the first positions
    are intermediate results.

    Attributes:
        positions: Number of positions.
        scored_positions: Number of last positions that must be correct; None scores all.
    """

    positions: int
    scored_positions: int | None = None

    def loss(
        self,
        logits: Float[Tensor, "B K T"],
        targets: Int[Tensor, "B L"],
        certainty: Float[Tensor, "B T"],
        reduction: TickReduction,
        answer_mask: Bool[Tensor, "B T"] | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the cross-entropy of all positions, reduced over the ticks; see `AnswerDecoder.loss`."""
        answers = logits.unflatten(1, (self.positions, -1))
        return compute_answer_loss(reduction, answers, targets, certainty, answer_mask, lengths)

    def tick_losses(self, logits: Float[Tensor, "B K T"], targets: Int[Tensor, "B L"]) -> Float[Tensor, "B T"]:
        """Return the cross-entropy of the scored positions at every tick."""
        return per_tick_loss(*self._select_scored_positions(logits, targets))

    def is_correct(self, logits: Float[Tensor, "B K T"], targets: Int[Tensor, "B L"]) -> Bool[Tensor, "B T"]:
        """Return whether all scored positions are correct, at every tick."""
        return is_correct(*self._select_scored_positions(logits, targets))

    def _select_scored_positions(
        self, logits: Float[Tensor, "B K T"], targets: Int[Tensor, "B L"]
    ) -> tuple[Float[Tensor, "B P C T"], Int[Tensor, "B P"]]:
        """Return logits and targets of the scored positions, with the C classes of a position on an axis of their own."""
        first = 0 if self.scored_positions is None else self.positions - self.scored_positions
        return logits.unflatten(1, (self.positions, -1))[:, first:], targets[:, first:]

    def decode(self, choices: Int[Tensor, "T P"]) -> list[list[int]]:
        """Return the choices of each tick, which are a full answer."""
        return choices.tolist()


@dataclass(frozen=True)
class CTCDecoder(AnswerDecoder):
    """Decoder of answers that are emitted over the ticks: one label or blank per tick (CTC, Graves et al. 2006).

    Equal labels at consecutive ticks are one emission. The last class is the blank. The paper's sorting task is decoded
    this way (appendix E). The answer at a tick is the sequence of labels emitted up to it.

    Attributes:
        answer_length: Labels of a complete answer; labels are 0 to answer_length - 1, so the blank is class answer_length.
        positions: Always 1.
    """

    answer_length: int
    positions: int = 1

    def loss(
        self,
        logits: Float[Tensor, "B K T"],
        targets: Int[Tensor, "B L"],
        certainty: Float[Tensor, "B T"],
        reduction: TickReduction,
        answer_mask: Bool[Tensor, "B T"] | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the CTC loss of the whole unroll; the arguments after `targets` do not apply to it."""
        assert answer_mask is None, "CTC answers count from the first tick"
        log_p = logits.float().log_softmax(1).permute(2, 0, 1)  # (T, B, C)
        num_ticks = torch.full((len(targets),), len(log_p), dtype=torch.long)
        num_labels = torch.full((len(targets),), self.answer_length, dtype=torch.long)
        return F.ctc_loss(log_p, targets, num_ticks, num_labels, blank=self.answer_length, zero_infinity=True)

    def tick_losses(self, logits: Float[Tensor, "B K T"], targets: Int[Tensor, "B L"]) -> None:
        """Return None: a single tick has no CTC loss."""
        return

    def is_correct(self, logits: Float[Tensor, "B K T"], targets: Int[Tensor, "B L"]) -> Bool[Tensor, "B T"]:
        """Return whether exactly the target labels were emitted, in order, up to each tick."""
        label = self.choices(logits)[:, 0]
        is_emission = compute_ctc_emission_mask(label, self.answer_length)
        num_emitted = is_emission.cumsum(1)
        expected = targets.gather(1, (num_emitted - 1).clamp(0, self.answer_length - 1))
        is_wrong = is_emission & ((label != expected) | (num_emitted > self.answer_length))
        return (num_emitted == self.answer_length) & ~is_wrong.cumsum(1).bool()

    def decode(self, choices: Int[Tensor, "T P"]) -> list[list[int]]:
        """Return the labels emitted up to each tick."""
        label = choices[:, 0]
        is_emission = compute_ctc_emission_mask(label.unsqueeze(0), self.answer_length)[0]
        return [label[: tick + 1][is_emission[: tick + 1]].tolist() for tick in range(len(label))]
