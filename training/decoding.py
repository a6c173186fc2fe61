"""How the logits of a thought are read: an answer at every tick, or one that is said part by part over the ticks (CTC)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ctm.modules.readout import compute_ctc_emission_mask
from training.losses import chosen, is_right, per_tick, trunk_loss


class Reading(ABC):
    """Logits are (B, K, T) as the machine gives them, targets (B, L) classes."""

    positions: int  # choices a tick

    def choices(self, logits: Float[Tensor, "B K T"]) -> Int[Tensor, "B P T"]:
        """The class that each position chooses at every tick."""
        return chosen(logits.unflatten(1, (self.positions, -1)))

    @abstractmethod
    def loss(
        self,
        logits: Float[Tensor, "B K T"],
        targets: Int[Tensor, "B L"],
        certainty: Float[Tensor, "B T"],
        kind: str,
        lookahead: int | None,
        share: float,
        counts: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, ""]:
        """What the machine is trained to make small; `kind`, `lookahead`, `share` and `counts` as for `trunk_loss`."""

    @abstractmethod
    def losses(self, logits: Float[Tensor, "B K T"], targets: Int[Tensor, "B L"]) -> Float[Tensor, "B T"] | None:
        """The loss of the answer at every tick; None where only a whole thought has one."""

    @abstractmethod
    def right(self, logits: Float[Tensor, "B K T"], targets: Int[Tensor, "B L"]) -> Bool[Tensor, "B T"]:
        """Whether the answer that stands at a tick is right as a whole."""

    @abstractmethod
    def answers(self, choices: Int[Tensor, "T P"]) -> list[list[int]]:
        """The answer that stands at each tick of one thought, from what was chosen so far."""


@dataclass(frozen=True)
class AtEveryTick(Reading):
    """All positions of the answer are chosen anew at every tick.

    All of them are learned, but where the first ones are only the way to the last, only the last need be right.
    """

    positions: int
    judged: int | None = None  # how many of the last positions must be right; all where it is not said

    def loss(self, logits, targets, certainty, kind, lookahead, share, counts=None):
        losses = per_tick(logits.unflatten(1, (self.positions, -1)), targets, lookahead)
        return trunk_loss(kind, losses, certainty, share, counts)

    def losses(self, logits, targets):
        return per_tick(*self._judged(logits, targets))

    def right(self, logits, targets):
        return is_right(*self._judged(logits, targets))

    def _judged(self, logits, targets):
        first = 0 if self.judged is None else self.positions - self.judged
        return logits.unflatten(1, (self.positions, -1))[:, first:], targets[:, first:]

    def answers(self, choices):
        return choices.tolist()


@dataclass(frozen=True)
class Spoken(Reading):
    """One label a tick or silence, the last class: labels that follow each other alike are one (Graves et al. 2006).

    The published sorting is read so (paper appendix E). The answer at a tick is what was said up to it.
    """

    length: int  # of a whole answer; labels are 0 to length - 1, so the silence is the class `length`
    positions: int = 1

    def loss(self, logits, targets, certainty, kind, lookahead, share, counts=None):
        assert counts is None, "what is said is said from the first tick on"
        log_p = logits.float().log_softmax(1).permute(2, 0, 1)  # (T, B, C)
        lengths = (torch.full((len(targets),), size, dtype=torch.long) for size in (len(log_p), self.length))
        return F.ctc_loss(log_p, targets, *lengths, blank=self.length, zero_infinity=True)

    def losses(self, logits, targets):
        return None

    def right(self, logits, targets):
        label = self.choices(logits)[:, 0]
        says = compute_ctc_emission_mask(label, self.length)
        said = says.cumsum(1)
        expected = targets.gather(1, (said - 1).clamp(0, self.length - 1))
        wrong = says & ((label != expected) | (said > self.length))
        return (said == self.length) & ~wrong.cumsum(1).bool()

    def answers(self, choices):
        label = choices[:, 0]
        says = compute_ctc_emission_mask(label.unsqueeze(0), self.length)[0]
        return [label[: tick + 1][says[: tick + 1]].tolist() for tick in range(len(label))]
