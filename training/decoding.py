"""How the logits of a thought are read: an answer at every tick, or one that is said part by part over the ticks (CTC)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ctm.modules.readout import compute_ctc_emission_mask
from training.losses import is_correct, per_tick_loss, predict_classes, reduce_tick_losses


class AnswerDecoder(ABC):
    """Logits are (B, K, T) as the machine gives them, targets (B, L) classes."""

    positions: int  # choices a tick

    def choices(self, logits: Float[Tensor, "B K T"]) -> Int[Tensor, "B P T"]:
        """The class that each position chooses at every tick."""
        return predict_classes(logits.unflatten(1, (self.positions, -1)))

    @abstractmethod
    def loss(
        self,
        logits: Float[Tensor, "B K T"],
        targets: Int[Tensor, "B L"],
        certainty: Float[Tensor, "B T"],
        reduction: str,
        lookahead: int | None,
        mean_share: float,
        answer_mask: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, ""]:
        """What the machine is trained to make small; `kind`, `lookahead`, `share` and `counts` as for `reduce_tick_losses`."""

    @abstractmethod
    def tick_losses(self, logits: Float[Tensor, "B K T"], targets: Int[Tensor, "B L"]) -> Float[Tensor, "B T"] | None:
        """The loss of the answer at every tick; None where only a whole thought has one."""

    @abstractmethod
    def is_correct(self, logits: Float[Tensor, "B K T"], targets: Int[Tensor, "B L"]) -> Bool[Tensor, "B T"]:
        """Whether the answer that stands at a tick is right as a whole."""

    @abstractmethod
    def decode(self, choices: Int[Tensor, "T P"]) -> list[list[int]]:
        """The answer that stands at each tick of one thought, from what was chosen so far."""


@dataclass(frozen=True)
class PerTickDecoder(AnswerDecoder):
    """All positions of the answer are chosen anew at every tick.

    All of them are learned, but where the first ones are only the way to the last, only the last need be right.
    """

    positions: int
    scored_positions: int | None = None  # how many of the last positions must be right; all where it is not said

    def loss(self, logits, targets, certainty, reduction, lookahead, mean_share, answer_mask=None):
        losses = per_tick_loss(logits.unflatten(1, (self.positions, -1)), targets, lookahead)
        return reduce_tick_losses(reduction, losses, certainty, mean_share, answer_mask)

    def tick_losses(self, logits, targets):
        return per_tick_loss(*self._select_scored_positions(logits, targets))

    def is_correct(self, logits, targets):
        return is_correct(*self._select_scored_positions(logits, targets))

    def _select_scored_positions(self, logits, targets):
        first = 0 if self.scored_positions is None else self.positions - self.scored_positions
        return logits.unflatten(1, (self.positions, -1))[:, first:], targets[:, first:]

    def decode(self, choices):
        return choices.tolist()


@dataclass(frozen=True)
class CTCDecoder(AnswerDecoder):
    """One label a tick or silence, the last class: labels that follow each other alike are one (Graves et al. 2006).

    The published sorting is read so (paper appendix E). The answer at a tick is what was said up to it.
    """

    answer_length: int  # of a whole answer; labels are 0 to length - 1, so the silence is the class `length`
    positions: int = 1

    def loss(self, logits, targets, certainty, reduction, lookahead, mean_share, answer_mask=None):
        assert answer_mask is None, "what is said is said from the first tick on"
        log_p = logits.float().log_softmax(1).permute(2, 0, 1)  # (T, B, C)
        lengths = (torch.full((len(targets),), size, dtype=torch.long) for size in (len(log_p), self.answer_length))
        return F.ctc_loss(log_p, targets, *lengths, blank=self.answer_length, zero_infinity=True)

    def tick_losses(self, logits, targets):
        return None

    def is_correct(self, logits, targets):
        label = self.choices(logits)[:, 0]
        says = compute_ctc_emission_mask(label, self.answer_length)
        said = says.cumsum(1)
        expected = targets.gather(1, (said - 1).clamp(0, self.answer_length - 1))
        wrong = says & ((label != expected) | (said > self.answer_length))
        return (said == self.answer_length) & ~wrong.cumsum(1).bool()

    def decode(self, choices):
        label = choices[:, 0]
        says = compute_ctc_emission_mask(label.unsqueeze(0), self.answer_length)[0]
        return [label[: tick + 1][says[: tick + 1]].tolist() for tick in range(len(label))]
